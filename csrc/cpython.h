/* The one function that cffi sees of cpython.c. */
#ifndef CFFIMMAP_CPYTHON_H
#define CFFIMMAP_CPYTHON_H

/* Puts the type `Base` and the function `_expose` into an imported module; -1 if that failed. cffi calls it without
 * the GIL. */
int cm_make_base(const char *module);

#endif

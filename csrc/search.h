/* The kernels of search.c, which its test drives one by one: the same search, for each kind of processor. */
#ifndef CFFIMMAP_SEARCH_H
#define CFFIMMAP_SEARCH_H

#include <stddef.h>

/* The first place of the needle in the text, or the last one, or CM_ABSENT. 1 <= count <= length. */
typedef ptrdiff_t cm_searcher(const unsigned char *text, size_t length, const unsigned char *needle, size_t count);

typedef struct {
    const char *name;
    cm_searcher *find, *rfind;
} cm_kernel;

/* Those that this processor can run, the quickest first, which is the one in use; NULL after the last. */
const cm_kernel *cm_search_kernel(size_t index);

#endif

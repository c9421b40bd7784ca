/* What a platform lacks is one line each, at the end of its file: this header comes before those lines. */
#ifndef CFFIMMAP_UNSUPPORTED_H
#define CFFIMMAP_UNSUPPORTED_H

#if defined(__GNUC__)
#pragma GCC diagnostic ignored "-Wunused-parameter"
#endif

#define UNSUPPORTED { return CM_UNSUPPORTED; }

#endif

/* Copies in, out of and within a mapping: the same on every platform. */
#include "cffimmap.h"

#include <string.h>

void cm_move(unsigned char *base, size_t target, size_t source, size_t count)
{
    memmove(base + target, base + source, count);
}

void cm_store(unsigned char *base, size_t offset, const unsigned char *source, size_t count)
{
    memmove(base + offset, source, count);
}

/* The steps between positions are taken on indices, as a pointer must not leave its mapping even for a moment. */

void cm_gather(unsigned char *base, size_t start, ptrdiff_t step, size_t count, unsigned char *target)
{
    size_t position = start;

    for (size_t i = 0; i < count; i++, position += (size_t)step)
        target[i] = base[position];
}

void cm_scatter(unsigned char *base, size_t start, ptrdiff_t step, size_t count, const unsigned char *source)
{
    size_t position = start;

    for (size_t i = 0; i < count; i++, position += (size_t)step)
        base[position] = source[i];
}

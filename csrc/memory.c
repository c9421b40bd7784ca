/* Copies in, out of and within a mapping: the same on every platform. */
#include "cffimmap.h"

#include "guard.h"

int cm_move(unsigned char *base, size_t target, size_t source, size_t count)
{
    return cm_copy(base + target, base + source, count);
}

int cm_load(const unsigned char *base, size_t offset, size_t count, unsigned char *target)
{
    return cm_copy(target, base + offset, count);
}

int cm_store(unsigned char *base, size_t offset, const unsigned char *source, size_t count)
{
    return cm_copy(base + offset, source, count);
}

/* The steps between positions are taken on indices, as a pointer must not leave its mapping even for a moment. */
typedef struct {
    unsigned char *target;
    const unsigned char *source;
    size_t start, count;
    ptrdiff_t step;
} strides;

static void gather(void *arguments)
{
    const strides *s = arguments;
    size_t position = s->start;

    for (size_t i = 0; i < s->count; i++, position += (size_t)s->step)
        s->target[i] = s->source[position];
}

static void scatter(void *arguments)
{
    const strides *s = arguments;
    size_t position = s->start;

    for (size_t i = 0; i < s->count; i++, position += (size_t)s->step)
        s->target[position] = s->source[i];
}

int cm_gather(const unsigned char *base, size_t start, ptrdiff_t step, size_t count, unsigned char *target)
{
    strides s = {target, base, start, count, step};

    return cm_guard(gather, &s);
}

int cm_scatter(unsigned char *base, size_t start, ptrdiff_t step, size_t count, const unsigned char *source)
{
    strides s = {base, source, start, count, step};

    return cm_guard(scatter, &s);
}

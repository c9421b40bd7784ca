/* What mapping.c asks of resize_unix.c and resize_windows.c. Nobody else is at the mapping while these run. */
#ifndef CFFIMMAP_MAPPING_H
#define CFFIMMAP_MAPPING_H

#include "cffimmap.h"

#include "count.h"

/* Says which function of the contract failed, if it did. */
static inline int cm_note(cm_mapping *m, const char *function, int error)
{
    if (error != 0)
        m->failed = function;
    return error;
}

/* Says how many bytes of a span may be accessed: after pages have come, and before any are taken away. */
static inline void cm_set_length(cm_span *span, ptrdiff_t length)
{
    span->length = length;
    cm_put((uintptr_t *)&span->changes, (uintptr_t)span->changes + 1);
}

/* The size of a file, in bytes, before a change, and the one that it shall have: the same without a file. */
typedef struct {
    long long before, after;
} cm_sizes;

int cm_measure(cm_mapping *m, cm_file file, long long after, cm_sizes *sizes);

/* Whether the file is longer than it was by what was to be mapped of it, and by nobody else. */
int cm_is_longer(cm_file file, const cm_sizes *sizes);

/* Takes back what made it longer, unless somebody has changed the size since. */
void cm_take_back(cm_file file, const cm_sizes *sizes);

/* The length of what a file has from the offset on. */
int cm_rest_of_file(long long size, long long offset, size_t *length);

/* Maps what cm_mapping_open is to map. */
int cm_attach(cm_mapping *m, cm_file source, size_t length);

/* Changes the length of an open mapping and of its file, as cm_mapping_resize says. */
int cm_change(cm_mapping *m, size_t length, cm_span *fresh);

/* Takes the pages away from a span that is kept: whoever has the addresses meets zeros, where the platform can do that. */
int cm_vacate(cm_span *span);

/* What a close leaves to be given back, which nobody can reach any more. */
typedef struct {
    cm_range range;
    cm_file file, section;
} cm_rest;

/* The close in two steps, for who holds a lock over the first one: it takes no longer than a look, but for pages that
 * must be replaced. */
int cm_mapping_detach(cm_mapping *m, cm_rest *rest);
void cm_rest_end(cm_rest *rest);

/* The resize in two steps, for who holds a lock over the first one alone. After it nobody else is at the mapping until the
 * second is done; CM_BUSY if somebody is. */
int cm_mapping_claim(cm_mapping *m);
int cm_mapping_change(cm_mapping *m, size_t length, cm_span *fresh);

/* Whether somebody is between the two, in this process. */
int cm_mapping_is_claimed(cm_mapping *m);

#endif

/*
 * What a mapping is made of, and how its length changes, on Unix.
 *
 * Where nobody else can have the addresses, memory grows by mremap and shrinks by munmap of its end. Where somebody can
 * (`kept`), none are ever given back: what is cut off becomes pages of zeros, and what cannot grow where it is becomes
 * a second mapping in a fresh span. Both keep the pages of a private mapping, what the kernel was advised of them, and
 * what is sparse. The kernel's record of a mapping is split by advice for a part of it, and mremap refuses it then
 * (EFAULT): the end is mapped behind it by itself, or all of it elsewhere.
 */
#include "mapping.h"

#include <errno.h>
#include <sys/mman.h>

/* ---- pages ---- */

static size_t whole_pages(const cm_mapping *m, size_t length)
{
    size_t page = (size_t)m->page;

    return (length + page - 1) / page * page;
}

/* The bytes of a span that are the mapping's pages. Those behind them are its addresses alone. */
static size_t mapped_bytes(const cm_mapping *m)
{
    return whole_pages(m, (size_t)m->span->length);
}

int cm_vacate(cm_span *span)
{
    return cm_blank(span->range.base, (size_t)span->range.length);
}

typedef int mapper(unsigned char *, cm_file, size_t, int, int, long long);

/* Maps a part of m's addresses as m is mapped. */
static int map_part(const cm_mapping *m, size_t from, size_t to, mapper *map)
{
    unsigned char *base = m->span->range.base;

    return from < to ? map(base + from, m->file, to - from, m->prot, m->flags, m->offset + (long long)from) : 0;
}

/* Looks at the file that is to be mapped: how much of it there is, and whether its pages are huge. Only a regular file's
 * size says how much of it can be mapped. */
static int look(cm_mapping *m, cm_file source, size_t *length)
{
    long long size;
    ptrdiff_t page;
    int regular;
    int error = cm_note(m, "cm_status", cm_shape(source, &size, &regular, &page));

    if (error != 0)
        return error;
    if (!m->anonymous)
        m->page = page;
    if (!regular)
        return 0;
    if (*length == 0)
        return cm_rest_of_file(size, m->offset, length);
    return m->offset > size || size - m->offset < (long long)*length ? CM_SHORT : 0;
}

/* POSIX leaves both to the system; Linux answers EINVAL, and so does every Unix for us. */
static int check_range(cm_mapping *m, size_t length)
{
    return cm_note(m, "cm_map", length == 0 || m->offset % cm_granularity() != 0 ? EINVAL : 0);
}

/* Maps what there is. A file may have become shorter by then. */
static int map_seen(cm_mapping *m, cm_file source, size_t length, cm_range *range)
{
    int error = cm_note(m, "cm_map", cm_map(m->anonymous ? -1 : source, length, m->prot, m->flags, m->offset, range));

    if (error != 0)
        return error;
    range->length = (ptrdiff_t)whole_pages(m, length);
    error = source == -1 ? 0 : look(m, source, &length);
    if (error != 0)
        (void)cm_unmap(range);
    return error;
}

int cm_attach(cm_mapping *m, cm_file source, size_t length)
{
    cm_range range;
    int error = 0;

    if (m->anonymous)
        m->page = cm_huge_page(m->flags);
    if (source != -1) {
        /* Where pages may lack what was written just before. What fails here, the standard library passes over too. */
        (void)cm_sync_file(source);
        error = look(m, source, &length);
    }
    if (error == 0)
        error = check_range(m, length);
    if (error == 0)
        error = map_seen(m, source, length, &range);
    if (error != 0)
        return error;
    m->span->range = range;
    cm_set_length(m->span, (ptrdiff_t)length);
    return 0;
}

/* ---- the file ---- */

static int lengthen(cm_mapping *m, const cm_sizes *s)
{
    return s->after > s->before ? cm_note(m, "cm_truncate", cm_truncate(m->file, s->after)) : 0;
}

static int shorten(cm_mapping *m, const cm_sizes *s)
{
    return s->after < s->before ? cm_note(m, "cm_truncate", cm_truncate(m->file, s->after)) : 0;
}

/* ---- copies ---- */

/* A second mapping of m's length bytes from `from` on, with what m has in the first `count` of them if that lies in no
 * file. */
static int copy_part(const cm_mapping *m, size_t from, size_t count, size_t length, cm_range *place)
{
    int error = cm_map(m->file, length, m->prot, m->flags, m->offset + (long long)from, place);

    if (error != 0 || !(m->copies || m->anonymous))
        return error;
    error = m->prot & PROT_READ ? cm_store(place->base, 0, m->span->range.base + from, count) : EFAULT;
    if (error != 0)
        (void)cm_unmap(place);
    return error;
}

/* Maps m's bytes from `from` on as they were, after they had been blanked; `copy` is empty where the file has them. */
static int uncover(const cm_mapping *m, size_t from, size_t length, const cm_range *copy)
{
    int error = map_part(m, from, from + length, cm_map_over);

    if (error == 0 && copy->base != NULL)
        error = cm_store(m->span->range.base, from, copy->base, (size_t)copy->length);
    return error;
}

/* ---- less ---- */

/* The end of a private mapping of a file, which holds what the file does not: put aside while the file may refuse. */
typedef struct {
    cm_range range;
    int moved;
} aside;

static int put_aside(const cm_mapping *m, size_t from, const cm_range *end, const cm_sizes *s, aside *a)
{
    long long left = s->before - m->offset - (long long)from;
    size_t count = (size_t)end->length;

    *a = (aside){{NULL, 0}, 0};
    if (!m->copies || left <= 0 || count == 0)
        return 0;
    a->moved = cm_move_pages(end, &a->range) == 0;
    if (a->moved)
        return 0;
    /* Nobody can read what another has cut off the file. */
    if (left < end->length && whole_pages(m, (size_t)left) < count)
        count = whole_pages(m, (size_t)left);
    return copy_part(m, from, count, count, &a->range);
}

static void bring_back(const cm_mapping *m, size_t from, const cm_range *end, int blanked, aside *a)
{
    if (a->moved)
        (void)cm_move_pages_back(&a->range, end);
    else if (blanked)
        (void)uncover(m, from, (size_t)end->length, &a->range);
}

static int cut_blanked(cm_mapping *m, size_t from, const cm_range *end, const cm_sizes *s)
{
    aside a;
    int error = cm_note(m, "cm_map", put_aside(m, from, end, s, &a)), blanked;

    if (error != 0)
        return error;
    error = end->length > 0 ? cm_note(m, "cm_blank", cm_blank(end->base, (size_t)end->length)) : 0;
    blanked = error == 0;
    if (blanked)
        error = shorten(m, s);
    if (error != 0)
        bring_back(m, from, end, blanked, &a);
    if (a.range.base != NULL)
        (void)cm_unmap(&a.range);
    return error;
}

/* Cuts the file, with blank pages in the place of those that it loses before it loses them: whoever still reads there
 * meets zeros. */
static int cut_kept(cm_mapping *m, size_t length, const cm_sizes *s)
{
    cm_span *span = m->span;
    ptrdiff_t before = span->length;
    size_t pages = whole_pages(m, length);
    cm_range end = {span->range.base + pages, (ptrdiff_t)(mapped_bytes(m) - pages)};
    int error;

    cm_set_length(span, (ptrdiff_t)length);
    error = cut_blanked(m, pages, &end, s);
    if (error != 0)
        cm_set_length(span, before);
    return error;
}

static int cut(cm_mapping *m, size_t length, const cm_sizes *s)
{
    cm_span *span = m->span;
    size_t pages = whole_pages(m, length);
    cm_range end = {span->range.base + pages, span->range.length - (ptrdiff_t)pages};
    int error = shorten(m, s);

    if (error != 0)
        return error;
    cm_set_length(span, (ptrdiff_t)length);
    /* What cannot be unmapped stays the span's. */
    if (end.length > 0 && cm_unmap(&end) == 0)
        span->range.length = (ptrdiff_t)pages;
    return 0;
}

static int shrink(cm_mapping *m, size_t length, const cm_sizes *s)
{
    int error = lengthen(m, s);    /* another may have cut the file */

    if (error == 0)
        error = m->span->kept ? cut_kept(m, length, s) : cut(m, length, s);
    if (error != 0)
        cm_take_back(m->file, s);
    return error;
}

/* ---- more ---- */

/* Makes the mapping longer where it is. The addresses behind it may be the span's already. */
static int grow_here(cm_mapping *m, size_t length)
{
    cm_span *span = m->span;
    size_t from = mapped_bytes(m), to = whole_pages(m, length), owned = (size_t)span->range.length;
    int error = from == owned ? cm_extend(&span->range, to) : CM_UNSUPPORTED;

    if (error != 0) {
        /* What lies behind the span first, as it may be another's. */
        error = map_part(m, owned, to, cm_map_at);
        if (error != 0)
            return error;
        if (owned < to)
            span->range.length = (ptrdiff_t)to;
        error = map_part(m, from, to < owned ? to : owned, cm_map_over);
        if (error != 0)
            return error;
    }
    cm_set_length(span, (ptrdiff_t)length);
    return 0;
}

/* Moves the pages of a private mapping. */
static int move_elsewhere(const cm_mapping *m, const cm_range *pages, size_t length, cm_range *place)
{
    int error = cm_move_pages(pages, place);

    if (error != 0)
        return error;
    error = cm_remap(place, whole_pages(m, length));
    if (error != 0)
        (void)cm_move_pages_back(place, pages);
    return error;
}

/* Ends a place that was found in vain. */
static void undo_elsewhere(cm_range *place, const cm_range *pages, int moved)
{
    if (!moved) {
        (void)cm_unmap(place);
        return;
    }
    (void)cm_remap(place, (size_t)pages->length);
    (void)cm_move_pages_back(place, pages);
}

/* Finds a place elsewhere with what the mapping has. Who comes meanwhile to addresses that are kept finds that they have
 * no length, and after that, zeros. */
static int find_elsewhere(cm_mapping *m, size_t length, cm_range *place)
{
    cm_span *span = m->span;
    ptrdiff_t before = span->length;
    cm_range pages = {span->range.base, (ptrdiff_t)mapped_bytes(m)};
    int moved, error;

    if (span->kept)
        cm_set_length(span, 0);
    error = m->copies ? move_elsewhere(m, &pages, length, place) : cm_twin(pages.base, length, place);
    moved = m->copies && error == 0;
    if (error != 0)
        error = copy_part(m, 0, (size_t)before, length, place);
    if (error == 0 && span->kept) {
        error = cm_vacate(span);
        if (error != 0)
            undo_elsewhere(place, &pages, moved);
    }
    if (error != 0)
        cm_set_length(span, before);
    return error;
}

/* Maps all of it elsewhere. */
static int grow_elsewhere(cm_mapping *m, size_t length, cm_span *fresh)
{
    cm_span *span = m->span;
    cm_range place = {NULL, 0};
    int error = find_elsewhere(m, length, &place);

    if (error != 0)
        return error;
    if (span->kept)
        span = fresh;
    else
        (void)cm_unmap(&span->range);
    span->range = (cm_range){place.base, (ptrdiff_t)whole_pages(m, length)};
    cm_set_length(span, (ptrdiff_t)length);
    m->span = span;
    return 0;
}

/* Lets mremap find the place, where nobody else has the addresses. */
static int grow_anywhere(cm_mapping *m, size_t length)
{
    cm_span *span = m->span;
    int error = span->kept ? CM_UNSUPPORTED : cm_note(m, "cm_remap", cm_remap(&span->range, whole_pages(m, length)));

    if (error == 0)
        cm_set_length(span, (ptrdiff_t)length);
    return error;
}

static int grow(cm_mapping *m, size_t length, cm_span *fresh)
{
    int error = grow_anywhere(m, length);

    /* Want of memory is the same everywhere. */
    if (error == 0 || error == ENOMEM)
        return error;
    return grow_here(m, length) == 0 ? 0 : cm_note(m, "cm_map", grow_elsewhere(m, length, fresh));
}

/* Maps again where the mapping was before it grew, with what it has by now. */
static int return_to(cm_mapping *m, cm_span *old, size_t length)
{
    cm_span *fresh = m->span;
    cm_range copy = {m->copies ? fresh->range.base : NULL, (ptrdiff_t)length};
    int error;

    cm_set_length(fresh, 0);
    m->span = old;
    error = uncover(m, 0, whole_pages(m, length), &copy);
    if (error != 0) {
        cm_set_length(fresh, (ptrdiff_t)length);
        m->span = fresh;
        return error;
    }
    cm_set_length(old, (ptrdiff_t)length);
    cm_span_end(fresh);
    return 0;
}

static void undo_growth(cm_mapping *m, cm_span *old, size_t length)
{
    const cm_sizes none = {0, 0};

    if (m->span == old || return_to(m, old, length) != 0)
        (void)(m->span->kept ? cut_kept : cut)(m, length, &none);
}

static int grow_with_file(cm_mapping *m, size_t length, const cm_sizes *s, cm_span *fresh)
{
    cm_span *span = m->span;
    size_t before = (size_t)span->length;
    int error = lengthen(m, s);

    if (error != 0)
        return error;
    error = grow(m, length, fresh);
    if (error != 0) {
        cm_take_back(m->file, s);
        return error;
    }
    /* A mapping of a part of the file: what lies behind the new length is cut off. */
    error = shorten(m, s);
    if (error != 0)
        undo_growth(m, span, before);
    return error;
}

int cm_change(cm_mapping *m, size_t length, cm_span *fresh)
{
    cm_sizes s;
    int error = cm_measure(m, m->file, m->offset + (long long)length, &s);

    if (error != 0)
        return error;
    if (whole_pages(m, length) > mapped_bytes(m))
        return grow_with_file(m, length, &s, fresh);
    return shrink(m, length, &s);
}

/*
 * What a mapping is made of, and how its length changes, on Windows.
 *
 * A view is as long as it was made. Every other length is another view of another section, and the old one ends then,
 * but where somebody may have its addresses (`kept`). Nor does Windows make a file shorter while a view of it is there:
 * the view ends first, and if the system should refuse to map the file again after that, the mapping is closed.
 *
 * A tag belongs to a section: it is left for another length, and taken again. What cannot be written is not resized.
 */
#define WIN32_LEAN_AND_MEAN

#include "mapping.h"

#include <limits.h>
#include <windows.h>

/* There are no pages to put in the place of a view's. */
int cm_vacate(cm_span *span)
{
    (void)span;
    return 0;
}

/* ---- sections and views ---- */

typedef struct {
    cm_range range;
    cm_file section;            /* keeps the tag; -1: none */
} view;

static int make_section(cm_mapping *m, cm_file source, long long size, int own, cm_file *section)
{
    int existed;
    int error = cm_make_section(source, m->prot, size, m->tag, section, &existed);

    if (error == 0 && own && existed) {
        /* Whoever took the tag after this mapping had left it has other memory. */
        (void)cm_close(*section);
        m->tag = NULL;
        error = ERROR_ALREADY_EXISTS;
    }
    return cm_note(m, "cm_make_section", error);
}

static int map_section(cm_mapping *m, size_t length, view *v)
{
    int error = cm_note(m, "cm_map", cm_map(v->section, length, m->prot, m->flags, m->offset, &v->range));

    if (error != 0 || m->tag == NULL) {
        (void)cm_close(v->section);
        v->section = -1;
    }
    return error;
}

/* Maps length bytes of a new section of `size` bytes; 0: as many as the file has. With `own` the tag must be free. */
static int map_anew(cm_mapping *m, cm_file source, long long size, size_t length, int own, view *v)
{
    cm_sizes s;
    int error = cm_measure(m, source, size, &s);

    if (error != 0)
        return error;
    error = make_section(m, source, size, own, &v->section);
    if (error == 0)
        error = map_section(m, length, v);
    if (error != 0)
        cm_take_back(source, &s);
    return error;
}

static void drop(view *v)
{
    cm_rest rest = {v->range, -1, v->section};

    cm_rest_end(&rest);
}

static void show(cm_mapping *m, cm_span *span, const view *v, size_t length)
{
    span->range = v->range;
    cm_set_length(span, (ptrdiff_t)length);
    m->section = v->section;
    m->span = span;
}

/* Puts a view in the place of the mapping's. */
static void replace(cm_mapping *m, const view *v, size_t length, cm_span *fresh)
{
    cm_span *span = m->span;

    if (span->kept) {
        cm_set_length(span, 0);
        show(m, fresh, v, length);
    } else {
        /* What cannot be unmapped costs addresses, and no more. */
        (void)cm_unmap(&span->range);
        show(m, span, v, length);
    }
}

/* The length of a mapping that is to end where the file does, and whether it is one. */
static int measure_rest(cm_mapping *m, cm_file source, size_t *length, int *whole)
{
    long long size;
    int regular, error;

    *whole = source != -1 && *length == 0;
    if (!*whole)
        return 0;
    error = cm_note(m, "cm_status", cm_status(source, &size, &regular));
    return error == 0 ? cm_rest_of_file(size, m->offset, length) : error;
}

/* Looked at first, as a section would make the file longer before it is mapped. */
static int check_range(cm_mapping *m, size_t length)
{
    if (length == 0 || (unsigned long long)length > (unsigned long long)(LLONG_MAX - m->offset))
        return cm_note(m, "cm_make_section", ERROR_INVALID_PARAMETER);
    return cm_note(m, "cm_map", m->offset % cm_granularity() == 0 ? 0 : ERROR_MAPPED_ALIGNMENT);
}

int cm_attach(cm_mapping *m, cm_file source, size_t length)
{
    view v;
    int whole;
    int error = measure_rest(m, source, &length, &whole);

    if (error == 0)
        error = check_range(m, length);
    if (error == 0)
        error = map_anew(m, source, whole ? 0 : m->offset + (long long)length, length, 0, &v);
    if (error == 0)
        show(m, m->span, &v, length);
    return error;
}

/* ---- the tag ---- */

/* Whether memory of that length can be had. */
static int rehearse(cm_mapping *m, size_t length)
{
    const wchar_t *tag = m->tag;
    view v;
    int error;

    m->tag = NULL;
    error = map_anew(m, -1, m->offset + (long long)length, length, 1, &v);
    m->tag = tag;
    if (error == 0)
        drop(&v);
    return error;
}

/* Frees the tag for a section of another length, unless somebody else has this one open. */
static int leave_tag(cm_mapping *m, size_t length)
{
    cm_file section = m->section;
    int error;

    if (section == -1)
        return 0;
    /* There is no way back to memory that lies in no file. */
    error = m->anonymous ? rehearse(m, length) : 0;
    if (error != 0)
        return error;
    m->section = -1;
    (void)cm_close(section);
    error = cm_open_section(m->tag, &m->section);
    if (error == 0)
        return cm_note(m, "cm_make_section", ERROR_USER_MAPPED_FILE);
    return error == ERROR_FILE_NOT_FOUND ? 0 : cm_note(m, "cm_open_section", error);
}

/* Takes a tag again that a failed resize had left, where a file makes a new section like the old one. What failed before
 * is what is told. */
static void retake_tag(cm_mapping *m)
{
    const char *failed = m->failed;

    if (m->tag == NULL || m->section != -1)
        return;
    if (m->anonymous || make_section(m, m->file, m->offset + m->span->length, 1, &m->section) != 0)
        m->tag = NULL;
    m->failed = failed;
}

/* ---- memory ---- */

/* A view like the mapping's of another length, with what the mapping has. Who comes meanwhile to addresses that are kept
 * finds that they have no length. */
static int copy(cm_mapping *m, size_t length, view *v)
{
    cm_span *span = m->span;
    ptrdiff_t before = span->length;
    int error = map_anew(m, -1, m->offset + (long long)length, length, 1, v);

    if (error != 0)
        return error;
    if (span->kept)
        cm_set_length(span, 0);
    error = cm_note(m, NULL, cm_store(v->range.base, 0, span->range.base,
                                            (size_t)before < length ? (size_t)before : length));
    if (error != 0) {
        cm_set_length(span, before);
        drop(v);
    }
    return error;
}

static int change_memory(cm_mapping *m, size_t length, cm_span *fresh)
{
    view v;
    int error = leave_tag(m, length);

    if (error == 0)
        error = copy(m, length, &v);
    if (error == 0)
        replace(m, &v, length, fresh);
    return error;
}

/* ---- files ---- */

static int unmap(cm_mapping *m)
{
    cm_span *span = m->span;
    ptrdiff_t length = span->length;
    int error;

    cm_set_length(span, 0);
    error = cm_note(m, "cm_unmap", cm_unmap(&span->range));
    if (error != 0)
        cm_set_length(span, length);
    return error;
}

/* Maps what the file has of `most` bytes, and never makes it longer. */
static int map_rest(cm_mapping *m, size_t most)
{
    long long length;
    cm_sizes s;
    view v;
    int error = cm_measure(m, m->file, 0, &s);

    if (error != 0)
        return error;
    length = s.before - m->offset < (long long)most ? s.before - m->offset : (long long)most;
    if (length <= 0)
        return cm_note(m, "cm_map", ERROR_INVALID_PARAMETER);
    error = map_anew(m, m->file, 0, (size_t)length, 1, &v);
    if (error == 0)
        show(m, m->span, &v, (size_t)length);
    return error;
}

/* Maps a file again that had to be unmapped: without the tag, if it cannot be had with it, which is an error still. */
static int map_again(cm_mapping *m, size_t most)
{
    int tagged = m->tag != NULL;
    int error = map_rest(m, most), last = error;

    if (error != 0 && tagged) {
        m->tag = NULL;
        last = map_rest(m, most);
    }
    if (last == 0)
        return error;
    cm_mapping_end(m);
    return last;
}

/* Sets the file's size, which no view may prevent, and maps at most `now` bytes of it, or `before` where it refuses. */
static int cut(cm_mapping *m, long long size, size_t now, size_t before)
{
    int refused, error = unmap(m);

    if (error != 0)
        return error;
    refused = cm_truncate(m->file, size);
    error = map_again(m, refused ? before : now);
    return refused && !m->closed ? cm_note(m, "cm_truncate", refused) : error;
}

static int shrink_file(cm_mapping *m, size_t length, const cm_sizes *s)
{
    int error = m->span->kept ? cm_note(m, "cm_unmap", ERROR_USER_MAPPED_FILE) : leave_tag(m, length);

    return error != 0 ? error : cut(m, s->after, length, (size_t)m->span->length);
}

/* A section, gone by now, may have made the file's pages as many as it had itself, and the view holds them. */
static int undo_growth(cm_mapping *m, const cm_sizes *s, int error)
{
    const char *failed = m->failed;
    size_t length = (size_t)m->span->length;
    int undone;

    if (m->span->kept || !cm_is_longer(m->file, s))
        return error;
    undone = cut(m, s->before, length, length);
    if (m->closed)
        return undone;
    m->failed = failed;
    return error;
}

static int grow_file(cm_mapping *m, size_t length, const cm_sizes *s, cm_span *fresh)
{
    view v;
    int error = leave_tag(m, length);

    if (error != 0)
        return error;
    error = map_anew(m, m->file, s->after, length, 1, &v);
    if (error != 0)
        return undo_growth(m, s, error);
    replace(m, &v, length, fresh);
    return 0;
}

static int change_file(cm_mapping *m, size_t length, cm_span *fresh)
{
    cm_sizes s;
    int error = cm_measure(m, m->file, m->offset + (long long)length, &s);

    if (error != 0)
        return error;
    return s.after < s.before ? shrink_file(m, length, &s) : grow_file(m, length, &s, fresh);
}

int cm_change(cm_mapping *m, size_t length, cm_span *fresh)
{
    int error = m->anonymous ? change_memory(m, length, fresh) : change_file(m, length, fresh);

    if (error != 0 && !m->closed)
        retake_tag(m);
    return error;
}

/*
 * What a map does, with arguments that are plain already: as the class's own methods call it (methods.c), and as Python's
 * do through `Memory` (members.c). Each runs under the lock of the memory and lets it go for long work alone.
 */
#include "memory.h"

/* Takes the position past a range before what is done there without the lock; a failure takes it back, unless another
 * thread has moved it. */
static void take_back(memory *m, Py_ssize_t start, Py_ssize_t stop)
{
    if (m->position == stop)
        m->position = start;
}

static PyObject *read_range(memory *m, Py_ssize_t start, Py_ssize_t stop)
{
    PyObject *result;

    m->position = stop;
    result = cm_bytes(m, start, stop - start);
    if (result == NULL)
        take_back(m, start, stop);
    return result;
}

/* ---- reading ---- */

PyObject *cm_read(memory *m, Py_ssize_t wanted)
{
    Py_ssize_t length = cm_accessible_length(m);
    Py_ssize_t rest;

    if (length == -1)
        return NULL;
    rest = length > m->position ? length - m->position : 0;
    if (wanted < 0 || wanted > rest)
        wanted = rest;
    return read_range(m, m->position, m->position + wanted);
}

PyObject *cm_read_byte(memory *m)
{
    Py_ssize_t length = cm_accessible_length(m);
    PyObject *result;

    if (length == -1)
        return NULL;
    if (m->position >= length) {
        PyErr_SetString(PyExc_ValueError, "read byte out of range");
        return NULL;
    }
    result = cm_octet(m, m->position);
    if (result != NULL)
        m->position++;
    return result;
}

/* The position after the next newline in a part of the memory, or its end; -1 with an exception. */
static Py_ssize_t line_end_in(memory *m, Py_ssize_t start, Py_ssize_t end)
{
    ptrdiff_t found;
    int done;

    if (end - start < m->state->long_call) {
        found = cm_line_end(m->mapping.span->range.base, start, end);
        done = cm_answered(m, cm_code_of(found), NULL);
    } else {
        RUN(m, done, cm_code_of(found = cm_run_line_end(&m->mapping, start, end)), NULL);
    }
    return done == -1 ? -1 : found;
}

/* Whether a newline comes right before a position, or -1 with an exception. The lock may have been let go. */
static int ends_line(memory *m, Py_ssize_t position, Py_ssize_t end)
{
    unsigned char last;

    if (m->mapping.closed || m->mapping.span->length < end)
        return cm_answered(m, CM_GONE, NULL);
    return cm_read_bytes(m, position - 1, &last, 1) == -1 ? -1 : last == '\n';
}

/* The same in parts. The first one is short, as a line is, and searched under the lock. */
static Py_ssize_t line_end(memory *m, Py_ssize_t start, Py_ssize_t end)
{
    pace p = cm_under_the_lock(m, 0);
    Py_ssize_t stop, found;
    int ends;

    for (;; start = stop) {
        stop = end - start > p.bytes ? start + p.bytes : end;
        found = line_end_in(m, start, stop);
        if (found < stop || stop == end)
            return found;
        ends = cm_next_part(m, &p) == -1 ? -1 : ends_line(m, stop, end);
        if (ends != 0)
            return ends == -1 ? -1 : stop;
    }
}

/* A line that is not all near by. */
static CM_NEVER_INLINE PyObject *read_long_line(memory *m)
{
    Py_ssize_t start, stop, length;

    do {
        length = cm_accessible_length(m);
        if (length == -1)
            return NULL;
        start = m->position;
        if (start >= length)
            return PyBytes_FromStringAndSize(NULL, 0);
        stop = line_end(m, start, length);
        if (stop == -1)
            return NULL;
        /* During a long search another thread may have taken the line. */
    } while (m->position != start);
    return read_range(m, start, stop);
}

PyObject *cm_readline(memory *m)
{
    Py_ssize_t length = cm_accessible_length(m);
    Py_ssize_t start = m->position;
    Py_ssize_t short_way = m->state->long_call - 1;
    Py_ssize_t end;
    ptrdiff_t stop;

    if (length == -1)
        return NULL;
    if (start >= length)
        return PyBytes_FromStringAndSize(NULL, 0);
    end = length - start > short_way ? start + short_way : length;
    stop = cm_line_end(m->mapping.span->range.base, start, end);
    if (stop > start && (stop < end || end == length))
        return read_range(m, start, stop);
    return read_long_line(m);
}

/* ---- writing ---- */

/* The length of a map that may be written; -1 with an exception, which is that of a closed map first. */
static Py_ssize_t writable_length(const memory *m)
{
    if (cm_length(m) == -1 || cm_check_writable(m) == -1)
        return -1;
    return cm_accessible_length(m);
}

/* Writes at the position and moves it on; -1 with an exception. */
static int write_source(memory *m, const source *s)
{
    Py_ssize_t length = writable_length(m);
    Py_ssize_t start = m->position;

    if (length == -1)
        return -1;
    if (s->count > length - start) {
        PyErr_SetString(PyExc_ValueError, "data out of range");
        return -1;
    }
    m->position = start + s->count;
    if (s->count > 0 && cm_write_bytes(m, start, s->data, s->count) == -1) {
        take_back(m, start, start + s->count);
        return -1;
    }
    return 0;
}

/* The answer is made first, as it may fail for want of memory. */
PyObject *cm_write(memory *m, PyObject *data)
{
    PyObject *result;
    source s;

    if (cm_take(data, &s) == -1)
        return NULL;
    result = PyLong_FromSsize_t(s.count);
    if (result != NULL && write_source(m, &s) == -1)
        Py_CLEAR(result);
    cm_let_go(&s);
    return result;
}

PyObject *cm_write_byte(memory *m, unsigned char octet)
{
    Py_ssize_t length = writable_length(m);

    if (length == -1)
        return NULL;
    if (m->position >= length) {
        PyErr_SetString(PyExc_ValueError, "write byte out of range");
        return NULL;
    }
    if (cm_write_bytes(m, m->position, &octet, 1) == -1)
        return NULL;
    m->position++;
    Py_RETURN_NONE;
}

/* A part of a move, which begins at the end if that is what the target would overwrite. */
static int move_part(memory *m, Py_ssize_t target, Py_ssize_t start, Py_ssize_t left, Py_ssize_t done, Py_ssize_t bytes)
{
    Py_ssize_t before = target > start ? left - bytes : done;

    return cm_run_move(&m->mapping, (size_t)(target + before), (size_t)(start + before), (size_t)bytes);
}

PyObject *cm_move_within(memory *m, Py_ssize_t target, Py_ssize_t start, Py_ssize_t count)
{
    Py_ssize_t length = writable_length(m);
    Py_ssize_t room = count < 0 ? -1 : length - count;
    int result;

    if (length == -1)
        return NULL;
    if (target < 0 || target > room || start < 0 || start > room) {
        PyErr_SetString(PyExc_ValueError, "source, destination, or count out of range");
        return NULL;
    }
    if (count < m->state->long_call)
        result = cm_answered(m, cm_move(m->mapping.span->range.base, (size_t)target, (size_t)start, (size_t)count), NULL);
    else
        RUN_PARTS(m, result, count, move_part(m, target, start, count - done, done, bytes));
    return cm_none_or_error(result);
}

/* ---- the position ---- */

PyObject *cm_seek(memory *m, Py_ssize_t distance, Py_ssize_t whence)
{
    Py_ssize_t length = cm_length(m);
    Py_ssize_t origin;
    PyObject *result;

    if (length == -1)
        return NULL;
    if (whence < 0 || whence > 2) {
        PyErr_SetString(PyExc_ValueError, "unknown seek type");
        return NULL;
    }
    origin = whence == 0 ? 0 : whence == 1 ? m->position : length;
    /* A position may lie beyond the end of a map that has shrunk. */
    if (distance < -origin || distance > length - origin) {
        PyErr_SetString(PyExc_ValueError, "seek out of range");
        return NULL;
    }
    result = PyLong_FromSsize_t(origin + distance);
    if (result != NULL)
        m->position = origin + distance;
    return result;
}

PyObject *cm_tell(memory *m)
{
    return cm_length(m) == -1 ? NULL : PyLong_FromSsize_t(m->position);
}

/* ---- the file ---- */

static PyObject *size_of_file(memory *m)
{
    long long size;
    int done;

    RUN(m, done, cm_code_of(size = cm_run_size(&m->mapping)), "cm_status");
    return done == -1 ? NULL : PyLong_FromLongLong(size);
}

PyObject *cm_size(memory *m)
{
    Py_ssize_t length = cm_length(m);

    if (length == -1)
        return NULL;
    if (!m->tracked) {
        PyErr_SetString(PyExc_ValueError, "can't get size with trackfd=False");
        return NULL;
    }
    return m->mapping.anonymous ? PyLong_FromSsize_t(length) : size_of_file(m);
}

PyObject *cm_sync_range(memory *m, Py_ssize_t start, Py_ssize_t count, int flags, int with_file)
{
    int done;

    RUN(m, done, cm_run_sync(&m->mapping, (size_t)start, (size_t)count, flags), "cm_sync");
    if (done == 0 && with_file)
        RUN(m, done, cm_run_sync_file(&m->mapping), "cm_sync_file");
    return cm_none_or_error(done);
}

PyObject *cm_flush(memory *m, Py_ssize_t start, Py_ssize_t count)
{
    Py_ssize_t length = cm_length(m);

    if (length == -1)
        return NULL;
    if (count == -1 && start >= 0)
        count = length - start;
    if (start < 0 || count < 0 || start > length - count) {
        PyErr_SetString(PyExc_ValueError, "flush values out of range");
        return NULL;
    }
    if (m->access == ACCESS_READ || m->access == ACCESS_COPY)
        Py_RETURN_NONE;
    return cm_sync_range(m, start, count, m->state->sync_flags, m->state->sync_file);
}

/* ---- search ---- */

typedef struct {
    source needle;
    PyObject *copy;             /* of a needle that is no bytes, or NULL */
    Py_ssize_t start, end;
    int backwards;
} query;

/* Another thread may change a needle that is no bytes, while a search runs without the lock: it gets a copy. */
static int keep_needle(query *q)
{
    if (q->needle.view.obj == NULL || q->copy != NULL)
        return 0;
    q->copy = PyBytes_FromStringAndSize((const char *)q->needle.data, q->needle.count);
    if (q->copy == NULL)
        return -1;
    q->needle.data = (const unsigned char *)PyBytes_AsString(q->copy);
    return 0;
}

/* Searches a part of the range; -1 with an exception. */
static int search_part(memory *m, query *q, Py_ssize_t start, Py_ssize_t end, ptrdiff_t *found)
{
    size_t from = (size_t)start, to = (size_t)end, count = (size_t)q->needle.count;
    int done;

    if (end - start < m->state->long_call) {
        *found = (q->backwards ? cm_rfind : cm_find)(m->mapping.span->range.base, from, to, q->needle.data, count);
        return cm_answered(m, cm_code_of(*found), NULL);
    }
    if (keep_needle(q) == -1)
        return -1;
    RUN(m, done, cm_code_of(*found = cm_run_find(&m->mapping, from, to, q->needle.data, count, q->backwards)), NULL);
    return done;
}

/* Searches in parts, which overlap by what a match may straddle; less than CM_ABSENT with an exception. The first part is
 * short, as most ways to a match are, and searched under the lock. */
static ptrdiff_t search(memory *m, query *q)
{
    Py_ssize_t overlap = q->needle.count - 1;
    Py_ssize_t start = q->start, end = q->end;
    ptrdiff_t found = CM_ABSENT;
    pace p = cm_under_the_lock(m, overlap);

    while (end - start > overlap) {
        Py_ssize_t bytes = (p.bytes > overlap ? p.bytes : overlap + 1) + overlap;
        Py_ssize_t from = start, to = end;

        if (end - start > bytes) {
            if (q->backwards)
                from = end - bytes;
            else
                to = start + bytes;
        }
        if (search_part(m, q, from, to, &found) == -1)
            return CM_GONE;
        if (found != CM_ABSENT || (from == start && to == end))
            return found;
        if (q->backwards)
            end = from + overlap;
        else
            start = to - overlap;
        if (cm_next_part(m, &p) == -1)
            return CM_GONE;
        if (m->mapping.closed || m->mapping.span->length < q->end)
            return cm_answered(m, CM_GONE, NULL), CM_GONE;
    }
    return CM_ABSENT;
}

/* A start or an end as slices understand it, within [0, length]. */
static Py_ssize_t clip(limit value, Py_ssize_t fallback, Py_ssize_t length)
{
    if (!value.given)
        return fallback;
    if (value.number < 0)
        return value.number + length > 0 ? value.number + length : 0;
    return value.number < length ? value.number : length;
}

/* Searches for a needle that was taken. A start beyond the end, the position too, leaves no range. */
static ptrdiff_t search_taken(memory *m, query *q, limit start, limit end)
{
    Py_ssize_t length = cm_accessible_length(m);

    if (length == -1)
        return CM_GONE;
    q->end = clip(end, length, length);
    q->start = start.given && start.number > length ? start.number : clip(start, m->position, length);
    if (q->needle.count > 0)
        return search(m, q);
    return q->start > q->end ? CM_ABSENT : q->backwards ? q->end : q->start;
}

ptrdiff_t cm_search(memory *m, PyObject *needle, limit start, limit end, int backwards)
{
    query q = {.copy = NULL, .backwards = backwards};
    ptrdiff_t found;

    if (cm_take(needle, &q.needle) == -1)
        return CM_GONE;
    found = search_taken(m, &q, start, end);
    Py_XDECREF(q.copy);
    cm_let_go(&q.needle);
    return found;
}

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
    unsigned char octet;
    PyObject *result;

    if (length == -1)
        return NULL;
    if (m->position >= length) {
        PyErr_SetString(PyExc_ValueError, "read byte out of range");
        return NULL;
    }
    if (cm_read_bytes(m, m->position, &octet, 1) == -1)
        return NULL;
    result = PyLong_FromLong(octet);
    if (result != NULL)
        m->position++;
    return result;
}

/* What is left of a search for a line's end, and the position after it once it is `over`. */
typedef struct {
    Py_ssize_t start, end;
    ptrdiff_t stop;
    int over;
} line_search;

/* Searches the next part: 0, or a code of the contract. */
static int next_part_of_line(memory *m, line_search *l)
{
    Py_ssize_t end = l->start + cm_part_of(m, l->end - l->start);
    unsigned char last = '\n';
    int code;

    l->stop = cm_run_line_end(&m->mapping, l->start, end);
    code = cm_code_of(l->stop);
    /* The end of a part is that of a line if a newline is there. */
    if (code == 0 && l->stop == end && end < l->end)
        code = cm_run_load(&m->mapping, (size_t)end - 1, 1, &last);
    l->over = code == 0 && last == '\n';
    if (code == 0)
        l->start = end;
    return code;
}

/* Reads a line that is not all near by. NULL without an exception: meanwhile another thread has moved the position, or made
 * the line a short one, whose bytes may be others by now or gone. */
static CM_NEVER_INLINE PyObject *read_long_line(memory *m, Py_ssize_t start, Py_ssize_t length)
{
    line_search l = {start, length, 0, 0};
    int result;

    RUN_WHILE(m, result, !l.over, next_part_of_line(m, &l), NULL);
    if (result == -1 || m->position != start || l.stop - start < m->state->long_call)
        return NULL;
    return read_range(m, start, l.stop);
}

/* The same for every line: what is shorter than a long call is found and read under the lock. */
static inline PyObject *read_line(memory *m)
{
    Py_ssize_t length = cm_accessible_length(m);
    Py_ssize_t start = m->position;
    Py_ssize_t end;
    ptrdiff_t stop;

    if (length == -1)
        return NULL;
    if (start >= length)
        return PyBytes_FromStringAndSize(NULL, 0);
    end = length - start > m->state->long_call ? start + m->state->long_call : length;
    stop = cm_line_end(m->mapping.span->range.base, start, end);
    if (stop > start && (stop < end || end == length))
        return read_range(m, start, stop);
    return read_long_line(m, start, length);
}

PyObject *cm_readline(memory *m)
{
    PyObject *line;

    do
        line = read_line(m);
    while (line == NULL && !PyErr_Occurred());
    return line;
}

/* ---- writing ---- */

/* The length of a map that may be written; -1 with an exception, which is that of a closed map first. */
static Py_ssize_t writable_length(memory *m)
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

/* Whether the needle may still lie in what is left of the range. */
static int is_left(const query *q)
{
    return q->end - q->start >= q->needle.count;
}

/* The part of what is left that comes first. Parts overlap by what a match may straddle. */
static void choose_part(const query *q, Py_ssize_t places, Py_ssize_t *from, Py_ssize_t *to)
{
    Py_ssize_t bytes = (places > 1 ? places : 1) + q->needle.count - 1;

    *from = q->backwards && q->end - q->start > bytes ? q->end - bytes : q->start;
    *to = !q->backwards && q->end - q->start > bytes ? q->start + bytes : q->end;
}

static void leave_part(query *q, Py_ssize_t from, Py_ssize_t to)
{
    if (q->backwards)
        q->end = from + q->needle.count - 1;
    else
        q->start = to - q->needle.count + 1;
}

/* Searches under the lock what is near, as most matches are, unless the needle alone is long; -1 with an exception. */
static int search_near(memory *m, query *q, ptrdiff_t *found)
{
    Py_ssize_t most = m->state->long_call - 1;
    Py_ssize_t from, to;

    choose_part(q, most - q->needle.count + 1, &from, &to);
    if (to - from > most)
        return 0;
    *found = (q->backwards ? cm_rfind : cm_find)(m->mapping.span->range.base, (size_t)from, (size_t)to, q->needle.data,
                                                 (size_t)q->needle.count);
    leave_part(q, from, to);
    return cm_answered(m, cm_code_of(*found), NULL);
}

/* Searches the next part: 0, or a code of the contract. */
static int search_part(memory *m, query *q, ptrdiff_t *found)
{
    Py_ssize_t from, to;
    int code;

    choose_part(q, m->state->part, &from, &to);
    *found = cm_run_find(&m->mapping, (size_t)from, (size_t)to, q->needle.data, (size_t)q->needle.count, q->backwards);
    code = cm_code_of(*found);
    if (code == 0)
        leave_part(q, from, to);
    return code;
}

static CM_NEVER_INLINE ptrdiff_t search_further(memory *m, query *q)
{
    ptrdiff_t found = CM_ABSENT;
    int result;

    if (keep_needle(q) == -1)
        return CM_GONE;
    RUN_WHILE(m, result, found == CM_ABSENT && is_left(q), search_part(m, q, &found), NULL);
    return result == -1 ? CM_GONE : found;
}

/* Less than CM_ABSENT with an exception. */
static ptrdiff_t search(memory *m, query *q)
{
    ptrdiff_t found = CM_ABSENT;

    if (!is_left(q))
        return CM_ABSENT;
    if (search_near(m, q, &found) == -1)
        return CM_GONE;
    return found != CM_ABSENT || !is_left(q) ? found : search_further(m, q);
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

/* The members of `Memory`, which _native.py describes. Arguments are plain integers and bytes-like objects. */
#include "memory.h"

/* ---- arguments ---- */

static int check_count(const char *name, Py_ssize_t count, Py_ssize_t wanted)
{
    if (count == wanted)
        return 0;
    PyErr_Format(PyExc_TypeError, "%s() takes %zd arguments (%zd given)", name, wanted, count);
    return -1;
}

/* Reads integers; -1 with an exception if one is none, or too large. */
static int as_sizes(const char *name, PyObject *const *arguments, Py_ssize_t count, Py_ssize_t wanted, Py_ssize_t *sizes)
{
    if (check_count(name, count, wanted) == -1)
        return -1;
    for (Py_ssize_t i = 0; i < wanted; i++) {
        sizes[i] = PyLong_AsSsize_t(arguments[i]);
        if (sizes[i] == -1 && PyErr_Occurred())
            return -1;
    }
    return 0;
}

/* None, or what was made under the lock. */
static PyObject *none_or_error(int result)
{
    if (result == -1)
        return NULL;
    Py_RETURN_NONE;
}

/* A method that is one step under the lock. */
#define STEP(name)                                                                              \
    static PyObject *name##_method(PyObject *self, PyObject *const *arguments, Py_ssize_t count)\
    {                                                                                           \
        PyObject *result;                                                                       \
                                                                                                \
        LOCK(self);                                                                             \
        result = name##_step((memory *)self, arguments, count);                                 \
        UNLOCK();                                                                               \
        return result;                                                                          \
    }

/* ---- items ---- */

static PyObject *octet_step(memory *m, PyObject *const *arguments, Py_ssize_t count)
{
    Py_ssize_t index;

    if (check_count("octet", count, 1) == -1 || cm_accessible_length(m) == -1)
        return NULL;
    index = PyLong_AsSsize_t(arguments[0]);
    if (index == -1 && PyErr_Occurred()) {
        if (PyErr_ExceptionMatches(PyExc_OverflowError))
            PyErr_SetString(PyExc_IndexError, "mmap index out of range");
        return NULL;
    }
    return cm_octet(m, index);
}

static PyObject *put_step(memory *m, PyObject *const *arguments, Py_ssize_t count)
{
    return none_or_error(check_count("put", count, 2) == -1 ? -1 : cm_put_octet(m, arguments[0], arguments[1]));
}

static PyObject *slice_step(memory *m, PyObject *const *arguments, Py_ssize_t count)
{
    return check_count("slice", count, 1) == -1 ? NULL : cm_get_slice(m, arguments[0]);
}

static PyObject *assign_step(memory *m, PyObject *const *arguments, Py_ssize_t count)
{
    return none_or_error(check_count("assign", count, 2) == -1 ? -1 : cm_set_slice(m, arguments[0], arguments[1]));
}

STEP(octet)
STEP(put)
STEP(slice)
STEP(assign)

/* ---- file ---- */

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

static PyObject *read_step(memory *m, PyObject *const *arguments, Py_ssize_t count)
{
    Py_ssize_t length, wanted, rest;

    if (as_sizes("read", arguments, count, 1, &wanted) == -1)
        return NULL;
    length = cm_accessible_length(m);
    if (length == -1)
        return NULL;
    rest = length > m->position ? length - m->position : 0;
    if (wanted < 0 || wanted > rest)
        wanted = rest;
    return read_range(m, m->position, m->position + wanted);
}

static PyObject *read_byte_step(memory *m, PyObject *const *arguments, Py_ssize_t count)
{
    Py_ssize_t length = cm_accessible_length(m);
    PyObject *result;

    (void)arguments;
    if (length == -1 || check_count("read_byte", count, 0) == -1)
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
        if (done == 0)
            done = PyErr_CheckSignals();
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
    Py_ssize_t part = m->state->long_call - 1;
    Py_ssize_t stop, found;
    int ends;

    for (;; start = stop, part = m->state->part) {
        stop = end - start > part ? start + part : end;
        found = line_end_in(m, start, stop);
        if (found < stop || stop == end)
            return found;
        ends = ends_line(m, stop, end);
        if (ends != 0)
            return ends == -1 ? -1 : stop;
    }
}

static PyObject *readline_step(memory *m, PyObject *const *arguments, Py_ssize_t count)
{
    Py_ssize_t start, stop, length;

    (void)arguments;
    if (check_count("readline", count, 0) == -1)
        return NULL;
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

/* The length of a map that may be written; -1 with an exception, which is that of a closed map first. */
static Py_ssize_t writable_length(const memory *m)
{
    if (cm_length(m) == -1 || cm_check_writable(m) == -1)
        return -1;
    return cm_accessible_length(m);
}

static PyObject *write_source(memory *m, const source *s)
{
    Py_ssize_t length = writable_length(m);
    Py_ssize_t start = m->position;

    if (length == -1)
        return NULL;
    if (s->count > length - start) {
        PyErr_SetString(PyExc_ValueError, "data out of range");
        return NULL;
    }
    m->position = start + s->count;
    if (s->count > 0 && cm_write_bytes(m, start, s->data, s->count) == -1) {
        take_back(m, start, start + s->count);
        return NULL;
    }
    return PyLong_FromSsize_t(s->count);
}

static PyObject *write_step(memory *m, PyObject *const *arguments, Py_ssize_t count)
{
    PyObject *result;
    source s;

    if (check_count("write", count, 1) == -1 || cm_take(arguments[0], &s) == -1)
        return NULL;
    result = write_source(m, &s);
    cm_let_go(&s);
    return result;
}

static PyObject *write_byte_step(memory *m, PyObject *const *arguments, Py_ssize_t count)
{
    Py_ssize_t octet, length;
    unsigned char byte;

    if (as_sizes("write_byte", arguments, count, 1, &octet) == -1)
        return NULL;
    length = writable_length(m);
    if (length == -1)
        return NULL;
    if (m->position >= length) {
        PyErr_SetString(PyExc_ValueError, "write byte out of range");
        return NULL;
    }
    byte = (unsigned char)octet;
    if (cm_write_bytes(m, m->position, &byte, 1) == -1)
        return NULL;
    m->position++;
    Py_RETURN_NONE;
}

static PyObject *seek_step(memory *m, PyObject *const *arguments, Py_ssize_t count)
{
    Py_ssize_t given[2], length, origin;

    if (as_sizes("seek", arguments, count, 2, given) == -1)
        return NULL;
    length = cm_length(m);
    if (length == -1)
        return NULL;
    if (given[1] < 0 || given[1] > 2) {
        PyErr_SetString(PyExc_ValueError, "unknown seek type");
        return NULL;
    }
    origin = given[1] == 0 ? 0 : given[1] == 1 ? m->position : length;
    /* A position may lie beyond the end of a map that has shrunk. */
    if (given[0] < -origin || given[0] > length - origin) {
        PyErr_SetString(PyExc_ValueError, "seek out of range");
        return NULL;
    }
    m->position = origin + given[0];
    return PyLong_FromSsize_t(m->position);
}

static PyObject *tell_step(memory *m, PyObject *const *arguments, Py_ssize_t count)
{
    (void)arguments;
    if (check_count("tell", count, 0) == -1 || cm_length(m) == -1)
        return NULL;
    return PyLong_FromSsize_t(m->position);
}

static PyObject *size_of_file(memory *m)
{
    long long size;
    int done;

    RUN(m, done, cm_code_of(size = cm_run_size(&m->mapping)), "cm_status");
    return done == -1 ? NULL : PyLong_FromLongLong(size);
}

static PyObject *size_step(memory *m, PyObject *const *arguments, Py_ssize_t count)
{
    Py_ssize_t length = cm_length(m);

    (void)arguments;
    if (length == -1 || check_count("size", count, 0) == -1)
        return NULL;
    if (!m->tracked) {
        PyErr_SetString(PyExc_ValueError, "can't get size with trackfd=False");
        return NULL;
    }
    return m->mapping.anonymous ? PyLong_FromSsize_t(length) : size_of_file(m);
}

STEP(read)
STEP(read_byte)
STEP(readline)
STEP(write)
STEP(write_byte)
STEP(seek)
STEP(tell)
STEP(size)

/* ---- search ---- */

typedef struct {
    source needle;
    Py_ssize_t start, end;
    int backwards;
} query;

/* Searches a part of the memory; -1 with an exception. */
static int search_part(memory *m, const query *q, Py_ssize_t start, Py_ssize_t end, ptrdiff_t *found)
{
    const unsigned char *needle = q->needle.data;
    size_t from = (size_t)start, to = (size_t)end, count = (size_t)q->needle.count;
    const unsigned char *base = m->mapping.span->range.base;
    int done;

    if (end - start < m->state->long_call) {
        *found = q->backwards ? cm_rfind(base, from, to, needle, count) : cm_find(base, from, to, needle, count);
        return cm_answered(m, cm_code_of(*found), NULL);
    }
    RUN(m, done, cm_code_of(*found = cm_run_find(&m->mapping, from, to, needle, count, q->backwards)), NULL);
    return done == -1 ? -1 : PyErr_CheckSignals();
}

/* Searches in parts, which overlap by what a match may straddle; less than CM_ABSENT with an exception. */
static ptrdiff_t search(memory *m, const query *q)
{
    Py_ssize_t overlap = q->needle.count - 1;
    Py_ssize_t step = m->state->part > overlap ? m->state->part : overlap + 1;
    Py_ssize_t start = q->start, end = q->end;
    ptrdiff_t found = CM_ABSENT;

    while (end - start > overlap) {
        Py_ssize_t from = start, to = end;

        if (end - start > step + overlap) {
            if (q->backwards)
                from = end - step - overlap;
            else
                to = start + step + overlap;
        }
        if (search_part(m, q, from, to, &found) == -1)
            return CM_GONE;
        if (found != CM_ABSENT || (from == start && to == end))
            return found;
        if (q->backwards)
            end = from + overlap;
        else
            start = to - overlap;
        if (m->mapping.closed || m->mapping.span->length < q->end)
            return cm_answered(m, CM_GONE, NULL), CM_GONE;
    }
    return CM_ABSENT;
}

/* A start or an end as slices understand it, within [0, length]. */
static int clip(PyObject *value, Py_ssize_t fallback, Py_ssize_t length, Py_ssize_t *clipped)
{
    Py_ssize_t number;

    *clipped = fallback;
    if (value == Py_None)
        return 0;
    number = PyLong_AsSsize_t(value);
    if (number == -1 && PyErr_Occurred())
        return -1;
    if (number < 0)
        *clipped = number + length > 0 ? number + length : 0;
    else
        *clipped = number < length ? number : length;
    return 0;
}

/* The range to search. A start beyond the end, the position too, leaves none. */
static int set_range(const memory *m, query *q, PyObject *start, PyObject *end)
{
    Py_ssize_t length = cm_accessible_length(m);
    Py_ssize_t number;

    if (length == -1 || clip(end, length, length, &q->end) == -1 || clip(start, m->position, length, &q->start) == -1)
        return -1;
    if (start != Py_None) {
        number = PyLong_AsSsize_t(start);
        if (number > length)
            q->start = number;
    }
    return 0;
}

static PyObject *find_in(memory *m, query *q, PyObject *start, PyObject *end)
{
    ptrdiff_t found = CM_ABSENT;

    if (set_range(m, q, start, end) == -1)
        return NULL;
    if (q->needle.count == 0)
        found = q->start > q->end ? CM_ABSENT : q->backwards ? q->end : q->start;
    else
        found = search(m, q);
    return found < CM_ABSENT ? NULL : PyLong_FromSsize_t(found);
}

/* Another thread may change a needle that is no bytes, while a search runs without the lock: it gets a copy. */
static PyObject *find_copied(memory *m, query *q, PyObject *start, PyObject *end)
{
    PyObject *copy = PyBytes_FromStringAndSize((const char *)q->needle.data, q->needle.count);
    PyObject *result;

    if (copy == NULL)
        return NULL;
    q->needle.data = (const unsigned char *)PyBytes_AsString(copy);
    result = find_in(m, q, start, end);
    Py_DECREF(copy);
    return result;
}

static PyObject *find_step(memory *m, PyObject *const *arguments, Py_ssize_t count)
{
    PyObject *result;
    query q;

    if (check_count("find", count, 4) == -1 || cm_take(arguments[0], &q.needle) == -1)
        return NULL;
    q.backwards = arguments[3] == Py_True;
    if (q.needle.view.obj == NULL || m->mapping.span->length < m->state->long_call)
        result = find_in(m, &q, arguments[1], arguments[2]);
    else
        result = find_copied(m, &q, arguments[1], arguments[2]);
    cm_let_go(&q.needle);
    return result;
}

STEP(find)

/* ---- memory ---- */

static PyObject *move_step(memory *m, PyObject *const *arguments, Py_ssize_t count)
{
    Py_ssize_t given[3], length, room;
    size_t target, source_, number;
    int done;

    if (as_sizes("move", arguments, count, 3, given) == -1)
        return NULL;
    length = writable_length(m);
    if (length == -1)
        return NULL;
    room = given[2] < 0 ? -1 : length - given[2];
    if (given[0] < 0 || given[0] > room || given[1] < 0 || given[1] > room) {
        PyErr_SetString(PyExc_ValueError, "source, destination, or count out of range");
        return NULL;
    }
    target = (size_t)given[0], source_ = (size_t)given[1], number = (size_t)given[2];
    if (given[2] < m->state->long_call)
        done = cm_answered(m, cm_move(m->mapping.span->range.base, target, source_, number), NULL);
    else
        RUN(m, done, cm_run_move(&m->mapping, target, source_, number), NULL);
    return none_or_error(done);
}

/* Whether a range is one at all; the call itself looks whether it lies within the memory. */
static int check_range(Py_ssize_t start, Py_ssize_t count)
{
    if (start >= 0 && count >= 0)
        return 0;
    PyErr_SetString(PyExc_ValueError, "range out of bounds");
    return -1;
}

static PyObject *sync_step(memory *m, PyObject *const *arguments, Py_ssize_t count)
{
    Py_ssize_t given[3];
    int done;

    if (check_count("sync", count, 4) == -1 || as_sizes("sync", arguments, 3, 3, given) == -1 ||
        check_range(given[0], given[1]) == -1)
        return NULL;
    RUN(m, done, cm_run_sync(&m->mapping, (size_t)given[0], (size_t)given[1], (int)given[2]), "cm_sync");
    if (done == 0 && arguments[3] == Py_True)
        RUN(m, done, cm_run_sync_file(&m->mapping), "cm_sync_file");
    return none_or_error(done);
}

static PyObject *advise_step(memory *m, PyObject *const *arguments, Py_ssize_t count)
{
    Py_ssize_t given[3];
    int done;

    if (as_sizes("advise", arguments, count, 3, given) == -1 || check_range(given[0], given[1]) == -1)
        return NULL;
    RUN(m, done, cm_run_advise(&m->mapping, (size_t)given[0], (size_t)given[1], (int)given[2]), "cm_advise");
    return none_or_error(done);
}

/* A kernel that knows no names: so does the standard library's method nothing outside development mode. */
static int unless_unsupported(int code)
{
    return code == CM_UNSUPPORTED ? 0 : code;
}

static PyObject *set_name_step(memory *m, PyObject *const *arguments, Py_ssize_t count)
{
    const char *name;
    int done;

    if (check_count("set_name", count, 1) == -1)
        return NULL;
    name = PyBytes_AsString(arguments[0]);
    if (name == NULL)
        return NULL;
    RUN(m, done, unless_unsupported(cm_run_set_name(&m->mapping, name)), "cm_set_name");
    return none_or_error(done);
}

STEP(move)
STEP(sync)
STEP(advise)
STEP(set_name)

#define FAST(name) {#name, (PyCFunction)(void (*)(void))name##_method, METH_FASTCALL, NULL}

PyMethodDef cm_memory_methods[] = {
    FAST(octet), FAST(put), FAST(slice), FAST(assign), FAST(read), FAST(read_byte), FAST(readline), FAST(write),
    FAST(write_byte), FAST(seek), FAST(tell), FAST(size), FAST(find), FAST(move), FAST(sync), FAST(advise),
    FAST(set_name),
    {"close", cm_close_memory, METH_NOARGS, NULL},
    {"resize", (PyCFunction)(void (*)(void))cm_resize_memory, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

/* ---- attributes ---- */

static PyObject *size_or_error(Py_ssize_t size)
{
    return size == -1 ? NULL : PyLong_FromSsize_t(size);
}

static PyObject *tag_of(const memory *m)
{
    PyObject *tag = m->mapping.tag == NULL ? Py_None : m->tag;

    Py_INCREF(tag);
    return tag;
}

/* Read under the lock: another thread may be in the midst of a resize. */
#define GETTER(name, value)                                                     \
    static PyObject *get_##name(PyObject *self, void *closure)                  \
    {                                                                           \
        const memory *m = (const memory *)self;                                 \
        PyObject *result;                                                       \
                                                                                \
        (void)closure;                                                          \
        LOCK(self);                                                             \
        result = (value);                                                       \
        UNLOCK();                                                               \
        return result;                                                          \
    }

GETTER(closed, PyBool_FromLong(m->mapping.closed))
GETTER(length, size_or_error(cm_length(m)))
GETTER(accessible_length, size_or_error(cm_accessible_length(m)))
GETTER(position, PyLong_FromSsize_t(m->position))
GETTER(tag, tag_of(m))
GETTER(access, PyLong_FromLong(m->access))
GETTER(offset, PyLong_FromLongLong(m->mapping.offset))
GETTER(anonymous, PyBool_FromLong(m->mapping.anonymous))
GETTER(copies, PyBool_FromLong(m->mapping.copies))
GETTER(tracked, PyBool_FromLong(m->tracked))
GETTER(writable, PyBool_FromLong(m->writable))

#define ATTRIBUTE(name) {#name, get_##name, NULL, NULL, NULL}

PyGetSetDef cm_memory_attributes[] = {
    ATTRIBUTE(closed), ATTRIBUTE(access), ATTRIBUTE(offset), ATTRIBUTE(anonymous), ATTRIBUTE(tracked), ATTRIBUTE(writable),
    ATTRIBUTE(copies), ATTRIBUTE(tag), ATTRIBUTE(position), ATTRIBUTE(length), ATTRIBUTE(accessible_length),
    {NULL, NULL, NULL, NULL, NULL},
};

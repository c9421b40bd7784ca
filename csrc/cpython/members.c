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
    return check_count("octet", count, 1) == -1 ? NULL : cm_get_octet(m, arguments[0]);
}

static PyObject *put_step(memory *m, PyObject *const *arguments, Py_ssize_t count)
{
    return cm_none_or_error(check_count("put", count, 2) == -1 ? -1 : cm_put_octet(m, arguments[0], arguments[1]));
}

static PyObject *slice_step(memory *m, PyObject *const *arguments, Py_ssize_t count)
{
    return check_count("slice", count, 1) == -1 ? NULL : cm_get_slice(m, arguments[0]);
}

static PyObject *assign_step(memory *m, PyObject *const *arguments, Py_ssize_t count)
{
    return cm_none_or_error(check_count("assign", count, 2) == -1 ? -1 : cm_set_slice(m, arguments[0], arguments[1]));
}

STEP(octet)
STEP(put)
STEP(slice)
STEP(assign)

/* ---- file ---- */

static PyObject *read_step(memory *m, PyObject *const *arguments, Py_ssize_t count)
{
    Py_ssize_t wanted;

    return as_sizes("read", arguments, count, 1, &wanted) == -1 ? NULL : cm_read(m, wanted);
}

static PyObject *write_step(memory *m, PyObject *const *arguments, Py_ssize_t count)
{
    return check_count("write", count, 1) == -1 ? NULL : cm_write(m, arguments[0]);
}

static PyObject *write_byte_step(memory *m, PyObject *const *arguments, Py_ssize_t count)
{
    Py_ssize_t octet;

    return as_sizes("write_byte", arguments, count, 1, &octet) == -1 ? NULL : cm_write_byte(m, (unsigned char)octet);
}

static PyObject *seek_step(memory *m, PyObject *const *arguments, Py_ssize_t count)
{
    Py_ssize_t given[2];

    return as_sizes("seek", arguments, count, 2, given) == -1 ? NULL : cm_seek(m, given[0], given[1]);
}

/* A method without arguments. */
#define PLAIN_STEP(name)                                                                            \
    static PyObject *name##_step(memory *m, PyObject *const *arguments, Py_ssize_t count)           \
    {                                                                                               \
        (void)arguments;                                                                            \
        return check_count(#name, count, 0) == -1 ? NULL : cm_##name(m);                            \
    }                                                                                               \
    STEP(name)

STEP(read)
STEP(write)
STEP(write_byte)
STEP(seek)
PLAIN_STEP(read_byte)
PLAIN_STEP(readline)
PLAIN_STEP(tell)
PLAIN_STEP(size)

/* ---- search ---- */

/* A start or an end, or none: -1 with an exception. */
static int as_limit(PyObject *value, limit *l)
{
    *l = (limit){0, value != Py_None};
    if (!l->given)
        return 0;
    l->number = PyLong_AsSsize_t(value);
    return l->number == -1 && PyErr_Occurred() ? -1 : 0;
}

static PyObject *find_step(memory *m, PyObject *const *arguments, Py_ssize_t count)
{
    limit start, end;

    if (check_count("find", count, 4) == -1 || as_limit(arguments[1], &start) == -1 || as_limit(arguments[2], &end) == -1)
        return NULL;
    return cm_position(cm_search(m, arguments[0], start, end, arguments[3] == Py_True));
}

STEP(find)

/* ---- memory ---- */

static PyObject *move_step(memory *m, PyObject *const *arguments, Py_ssize_t count)
{
    Py_ssize_t given[3];

    return as_sizes("move", arguments, count, 3, given) == -1 ? NULL : cm_move_within(m, given[0], given[1], given[2]);
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

    if (check_count("sync", count, 4) == -1 || as_sizes("sync", arguments, 3, 3, given) == -1 ||
        check_range(given[0], given[1]) == -1)
        return NULL;
    return cm_sync_range(m, given[0], given[1], (int)given[2], arguments[3] == Py_True);
}

static PyObject *advise_step(memory *m, PyObject *const *arguments, Py_ssize_t count)
{
    Py_ssize_t given[3];
    int done;

    if (as_sizes("advise", arguments, count, 3, given) == -1 || check_range(given[0], given[1]) == -1)
        return NULL;
    RUN(m, done, cm_run_advise(&m->mapping, (size_t)given[0], (size_t)given[1], (int)given[2]), "cm_advise");
    return cm_none_or_error(done);
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
    return cm_none_or_error(done);
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
        memory *m = (memory *)self;                                             \
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

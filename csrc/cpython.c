/*
 * The base type of Mapping on CPython and the type of its windows, and the only C here that touches Python's own API.
 *
 * Indices, slices and iteration are answered here, as a method written in Python costs several times what they do;
 * whatever is not plain (other types, steps, memory that is withdrawn, long copies) goes to the methods `_item`,
 * `_set_item` and `_delete_item` in Python. On CPython <= 3.11 the type also gives classes the buffer protocol, which
 * the interpreter has for them from 3.12 on (PEP 688).
 *
 * Under the GIL nothing happens between a check and the access it is made for, as long as no Python code runs in
 * between: wherever some may have run, the span is read again. Free-threaded interpreters do without the base type's
 * subscripts. A span holds a reference to what keeps its memory mapped, so that it cannot dangle.
 *
 * A window is memory that stays the same as long as the window lives: what Python accesses by index and by slice.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>

#include "cffimmap.h"
#include "cpython.h"
#include "guard.h"

typedef struct {
    PyObject_HEAD
    PyObject *owner;            /* keeps the memory mapped; NULL: no memory */
    unsigned char *base;
    Py_ssize_t length;          /* bytes; 0: no memory */
    int writable;
} span;

/* Longer copies have their pages brought in first, without the GIL: LONG_COPY in _mapping.py. */
enum { LONG_COPY = 1 << 20 };

/* ---- lifetime ---- */

static int clear(PyObject *self)
{
    span *s = (span *)self;

    s->base = NULL;
    s->length = 0;
    Py_CLEAR(s->owner);
    return 0;
}

static int traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((span *)self)->owner);
    return 0;
}

static void dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);

    PyObject_GC_UnTrack(self);
    clear(self);
    release(self);
    Py_DECREF(type);
}

/* _expose(mapping, owner, address, length, writable): the memory that subscripts access from now on; an owner of None
 * takes it away. */
static PyObject *expose(PyObject *type, PyObject *arguments)
{
    PyObject *self, *owner;
    unsigned long long address;
    Py_ssize_t length;
    int writable;
    span *s;

    if (!PyArg_ParseTuple(arguments, "OOKnp", &self, &owner, &address, &length, &writable))
        return NULL;
    if (!PyObject_TypeCheck(self, (PyTypeObject *)type)) {
        PyErr_SetString(PyExc_TypeError, "a mapping is required");
        return NULL;
    }
    s = (span *)self;
    clear(self);
    if (owner != Py_None) {
        Py_INCREF(owner);
        s->owner = owner;
        s->base = (unsigned char *)(uintptr_t)address;
        s->length = length;
        s->writable = writable;
    }
    Py_RETURN_NONE;
}

static PyMethodDef expose_definition = {"_expose", expose, METH_VARARGS, NULL};

/* ---- accesses ---- */

/* Raises OSError for a page that is lost or protected. */
static void raise_error(int error)
{
#if defined(_WIN32)
    PyErr_SetFromWindowsErr(error);
#else
    errno = error;
    PyErr_SetFromErrno(PyExc_OSError);
#endif
}

/* The byte at an address, or -1 with an exception. */
static int read_octet(const unsigned char *place)
{
    unsigned char octet;
    int error = cm_copy(&octet, place, 1);

    if (error == 0)
        return octet;
    raise_error(error);
    return -1;
}

/* Writes bytes; -1 with an exception if that fails. */
static int write_bytes(unsigned char *place, const void *source, Py_ssize_t count)
{
    int error = cm_copy(place, source, (size_t)count);

    if (error == 0)
        return 0;
    raise_error(error);
    return -1;
}

static PyObject *read_bytes(const unsigned char *place, Py_ssize_t count)
{
    /* The guard may leave an access in the midst, so that nothing is allocated there. */
    PyObject *result = PyBytes_FromStringAndSize(NULL, count);
    int error = result == NULL ? 0 : cm_copy((unsigned char *)PyBytes_AsString(result), place, (size_t)count);

    if (error == 0)
        return result;
    Py_DECREF(result);
    raise_error(error);
    return NULL;
}

static PyObject *octet_as_int(const unsigned char *place)
{
    int octet = read_octet(place);

    return octet == -1 ? NULL : PyLong_FromLong(octet);
}

/* ---- keys and values ---- */

/* A plain int as an index of the span, or -1 for what Python must look at. */
static Py_ssize_t plain_index(const span *s, PyObject *key)
{
    Py_ssize_t index;

    if (!PyLong_CheckExact(key))
        return -1;
    index = PyLong_AsSsize_t(key);
    if (index == -1 && PyErr_Occurred()) {
        PyErr_Clear();
        return -1;
    }
    if (index < 0)
        index += s->length;
    return index >= 0 && index < s->length ? index : -1;
}

/* A slice that is known, with its range of bytes in the span. */
typedef struct {
    Py_ssize_t start, stop, step;
    Py_ssize_t first, count;
} range;

/* Reads a slice; -1 with an exception if it has no integers. This may run an __index__, once, which may close or resize
 * the mapping: the range is one of the span as it is then. */
static int read_slice(const span *s, PyObject *key, range *r)
{
    Py_ssize_t stop;

    if (PySlice_Unpack(key, &r->start, &r->stop, &r->step) == -1)
        return -1;
    r->first = r->start;
    stop = r->stop;
    r->count = PySlice_AdjustIndices(s->length, &r->first, &stop, r->step);
    return 0;
}

/* A value from 0 to 255 given as a plain int, or -1 for what Python must look at. */
static int plain_octet(PyObject *value)
{
    long octet;

    if (!PyLong_CheckExact(value))
        return -1;
    octet = PyLong_AsLong(value);
    if (octet == -1 && PyErr_Occurred())
        PyErr_Clear();
    return octet >= 0 && octet <= 255 ? (int)octet : -1;
}

/* ---- windows ---- */

static PyObject *look(PyObject *self, PyObject *key)
{
    const span *s = (const span *)self;
    Py_ssize_t index = plain_index(s, key);
    range r;

    if (index >= 0)
        return octet_as_int(s->base + index);
    if (!PySlice_Check(key)) {
        PyErr_SetString(PyExc_IndexError, "mmap index out of range");
        return NULL;
    }
    return read_slice(s, key, &r) == -1 ? NULL : read_bytes(s->base + r.first, r.count);
}

static int write_slice(const span *s, PyObject *key, PyObject *value)
{
    range r;

    if (read_slice(s, key, &r) == -1)
        return -1;
    if (PyBytes_CheckExact(value) && r.count == PyBytes_Size(value))
        return write_bytes(s->base + r.first, PyBytes_AsString(value), r.count);
    /* Whoever asks has measured: the mapping was another one then. */
    PyErr_SetString(PyExc_ValueError, "mmap resized during the operation");
    return -1;
}

static int put(PyObject *self, PyObject *key, PyObject *value)
{
    const span *s = (const span *)self;
    Py_ssize_t index = plain_index(s, key);
    int octet = value == NULL ? -1 : plain_octet(value);
    unsigned char byte = (unsigned char)octet;

    if (!s->writable || value == NULL) {
        PyErr_SetString(PyExc_TypeError, "mmap can't modify a readonly memory map.");
        return -1;
    }
    if (PySlice_Check(key))
        return write_slice(s, key, value);
    if (index >= 0 && octet >= 0)
        return write_bytes(s->base + index, &byte, 1);
    PyErr_SetString(PyExc_IndexError, "mmap index out of range");
    return -1;
}

static PyType_Slot window_slots[] = {
    {Py_tp_clear, (void *)clear},
    {Py_tp_traverse, (void *)traverse},
    {Py_tp_dealloc, (void *)dealloc},
    {Py_mp_subscript, (void *)look},
    {Py_mp_ass_subscript, (void *)put},
    {0, NULL},
};

static PyType_Spec window_spec = {
    .name = "cffimmap.Window",
    .basicsize = sizeof(span),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = window_slots,
};

/* ---- subscripts ---- */

#if !defined(Py_GIL_DISABLED)

static int is_plain(const span *s, const range *r)
{
    return r->step == 1 && s->length > 0 && r->count < LONG_COPY;
}

/* The slice again, of plain integers: for Python, where its __index__ must not run a second time. */
static PyObject *plain_slice(const range *r)
{
    PyObject *start = PyLong_FromSsize_t(r->start);
    PyObject *stop = PyLong_FromSsize_t(r->stop);
    PyObject *step = PyLong_FromSsize_t(r->step);
    PyObject *result = start != NULL && stop != NULL && step != NULL ? PySlice_New(start, stop, step) : NULL;

    Py_XDECREF(start);
    Py_XDECREF(stop);
    Py_XDECREF(step);
    return result;
}

static PyObject *subscript_slice(PyObject *self, PyObject *key)
{
    const span *s = (const span *)self;
    PyObject *plain, *result;
    range r;

    if (read_slice(s, key, &r) == -1)
        return NULL;
    if (is_plain(s, &r))
        return read_bytes(s->base + r.first, r.count);
    plain = plain_slice(&r);
    if (plain == NULL)
        return NULL;
    result = PyObject_CallMethod(self, "_item", "(O)", plain);
    Py_DECREF(plain);
    return result;
}

static PyObject *subscript(PyObject *self, PyObject *key)
{
    const span *s = (const span *)self;
    Py_ssize_t index = plain_index(s, key);

    if (index >= 0)
        return octet_as_int(s->base + index);
    if (PySlice_Check(key) && s->length > 0)
        return subscript_slice(self, key);
    return PyObject_CallMethod(self, "_item", "(O)", key);
}

static int discard(PyObject *result)
{
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

static int assign_slice(PyObject *self, PyObject *key, PyObject *value)
{
    const span *s = (const span *)self;
    PyObject *plain;
    int result;
    range r;

    if (read_slice(s, key, &r) == -1)
        return -1;
    if (is_plain(s, &r) && PyBytes_CheckExact(value) && r.count == PyBytes_Size(value))
        return write_bytes(s->base + r.first, PyBytes_AsString(value), r.count);
    plain = plain_slice(&r);
    if (plain == NULL)
        return -1;
    result = discard(PyObject_CallMethod(self, "_set_item", "(OO)", plain, value));
    Py_DECREF(plain);
    return result;
}

static int assign(PyObject *self, PyObject *key, PyObject *value)
{
    const span *s = (const span *)self;
    unsigned char byte;
    Py_ssize_t index;
    int octet;

    if (value == NULL)
        return discard(PyObject_CallMethod(self, "_delete_item", "(O)", key));
    if (s->writable) {
        index = plain_index(s, key);
        octet = index >= 0 ? plain_octet(value) : -1;
        if (octet >= 0) {
            byte = (unsigned char)octet;
            return write_bytes(s->base + index, &byte, 1);
        }
        if (PySlice_Check(key) && s->length > 0)
            return assign_slice(self, key, value);
    }
    return discard(PyObject_CallMethod(self, "_set_item", "(OO)", key, value));
}

/* _line(position): the bytes from there to the next newline, which belongs to them, or to the end. */
static PyObject *line(PyObject *self, PyObject *position)
{
    const span *s = (const span *)self;
    Py_ssize_t start = PyLong_AsSsize_t(position);
    Py_ssize_t end;

    if (start == -1 && PyErr_Occurred())
        return NULL;
    if (start < 0 || start >= s->length)
        return PyObject_CallMethod(self, "_slow_line", "n", start);
    end = cm_line_end(s->base, start, s->length);
    if (end >= 0)
        return read_bytes(s->base + start, end - start);
    raise_error((int)CM_FAILED(end));
    return NULL;
}

static PyMethodDef methods[] = {
    {"_line", line, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

/* ---- iteration: bytes of length 1, as in the standard library ---- */

/* The attribute of the base type that holds the type of its iterators. */
#define ITERATOR "_Iterator"

typedef struct {
    PyObject_HEAD
    PyObject *mapping;          /* NULL once exhausted */
    Py_ssize_t position;
} iterator;

/* The type made here, whatever was derived from it since. */
static PyTypeObject *base_type(PyTypeObject *type)
{
    PyTypeObject *above;

    while ((above = (PyTypeObject *)PyType_GetSlot(type, Py_tp_base)) != &PyBaseObject_Type)
        type = above;
    return type;
}

static PyObject *iterate(PyObject *self)
{
    PyObject *type = PyObject_GetAttrString((PyObject *)base_type(Py_TYPE(self)), ITERATOR);
    iterator *new;

    if (type == NULL)
        return NULL;
    new = PyObject_GC_New(iterator, (PyTypeObject *)type);
    Py_DECREF(type);
    if (new == NULL)
        return NULL;
    Py_INCREF(self);
    new->mapping = self;
    new->position = 0;
    PyObject_GC_Track((PyObject *)new);
    return (PyObject *)new;
}

static PyObject *next_octet(iterator *it, const span *s)
{
    int octet = read_octet(s->base + it->position);
    char byte = (char)octet;

    if (octet == -1)
        return NULL;
    it->position++;
    return PyBytes_FromStringAndSize(&byte, 1);
}

static PyObject *next_item(PyObject *self)
{
    iterator *it = (iterator *)self;
    const span *s = (const span *)it->mapping;
    PyObject *result;

    if (s == NULL)
        return NULL;
    if (it->position < s->length)
        return next_octet(it, s);
    result = PyObject_CallMethod(it->mapping, "_single", "n", it->position);
    if (result != NULL) {
        it->position++;
    } else if (PyErr_ExceptionMatches(PyExc_IndexError)) {
        PyErr_Clear();
        Py_CLEAR(it->mapping);
    }
    return result;
}

static int clear_iterator(PyObject *self)
{
    Py_CLEAR(((iterator *)self)->mapping);
    return 0;
}

static int traverse_iterator(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((iterator *)self)->mapping);
    return 0;
}

static void dealloc_iterator(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    clear_iterator(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyType_Slot iterator_slots[] = {
    {Py_tp_clear, (void *)clear_iterator},
    {Py_tp_traverse, (void *)traverse_iterator},
    {Py_tp_dealloc, (void *)dealloc_iterator},
    {Py_tp_iter, (void *)PyObject_SelfIter},
    {Py_tp_iternext, (void *)next_item},
    {0, NULL},
};

static PyType_Spec iterator_spec = {
    .name = "cffimmap.iterator",
    .basicsize = sizeof(iterator),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = iterator_slots,
};

static int add_iterator(PyObject *base)
{
    PyObject *type = PyType_FromSpec(&iterator_spec);
    int result = type == NULL ? -1 : PyObject_SetAttrString(base, ITERATOR, type);

    Py_XDECREF(type);
    return result;
}

#else

static int add_iterator(PyObject *base)
{
    (void)base;
    return 0;
}

#endif

/* ---- the buffer protocol ---- */

#if PY_VERSION_HEX < 0x030C0000

static int get_buffer(PyObject *self, Py_buffer *buffer, int flags)
{
    PyObject *view = PyObject_CallMethod(self, "__buffer__", "i", flags);
    int result;

    if (view == NULL) {
        buffer->obj = NULL;
        return -1;
    }
    /* The buffer owns the memoryview from here on, which owns the memory. */
    result = PyObject_GetBuffer(view, buffer, flags);
    Py_DECREF(view);
    return result;
}

/* Never called, as the exporter named in the buffer is the memoryview. The slot must exist all the same: without it
 * numpy keeps no export and its array would dangle. */
static void release_buffer(PyObject *self, Py_buffer *buffer)
{
    (void)self, (void)buffer;
}

#endif

/* ---- the type ---- */

static PyType_Slot slots[] = {
    {Py_tp_clear, (void *)clear},
    {Py_tp_traverse, (void *)traverse},
    {Py_tp_dealloc, (void *)dealloc},
#if !defined(Py_GIL_DISABLED)
    {Py_mp_subscript, (void *)subscript},
    {Py_mp_ass_subscript, (void *)assign},
    {Py_tp_iter, (void *)iterate},
    {Py_tp_methods, (void *)methods},
#endif
#if PY_VERSION_HEX < 0x030C0000
    {Py_bf_getbuffer, (void *)get_buffer},
    {Py_bf_releasebuffer, (void *)release_buffer},
#endif
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "cffimmap.Base",
    .basicsize = sizeof(span),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};

static int add_window(PyObject *module, PyObject *base)
{
    PyObject *bases = PyTuple_Pack(1, base);
    PyObject *type = bases == NULL ? NULL : PyType_FromSpecWithBases(&window_spec, bases);
    int result = type == NULL ? -1 : PyObject_SetAttrString(module, "Window", type);

    Py_XDECREF(type);
    Py_XDECREF(bases);
    return result;
}

static int install(PyObject *module)
{
    PyObject *type = PyType_FromSpec(&spec);
    PyObject *function = type == NULL ? NULL : PyCFunction_NewEx(&expose_definition, type, NULL);
    int result = -1;

    if (function != NULL && add_iterator(type) == 0 && add_window(module, type) == 0 &&
        PyObject_SetAttrString(module, "Base", type) == 0)
        result = PyObject_SetAttrString(module, "_expose", function);
    Py_XDECREF(function);
    Py_XDECREF(type);
    return result;
}

int cm_make_base(const char *module)
{
    PyGILState_STATE state = PyGILState_Ensure();
    PyObject *target = PyImport_ImportModule(module);
    int result = target == NULL ? -1 : install(target);

    if (result == -1)
        PyErr_Clear();
    Py_XDECREF(target);
    PyGILState_Release(state);
    return result;
}

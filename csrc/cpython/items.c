/* The class mmap as C sees it: made of a mapping, a buffer and a sequence. Its methods are in methods.c. */
#include "memory.h"

static PyObject *out_of_range(void)
{
    PyErr_SetString(PyExc_IndexError, "mmap index out of range");
    return NULL;
}

/* ---- one byte ---- */

/* Where an index lies, counted from the end if it is negative; NULL with an exception. */
static unsigned char *place_of(memory *m, Py_ssize_t index)
{
    Py_ssize_t length = cm_accessible_length(m);

    if (index < 0)
        index += length;
    if (index >= 0 && index < length)
        return m->mapping.span->range.base + index;
    if (length != -1)
        out_of_range();
    return NULL;
}

/* The byte at an index; -1 with an exception. */
static int octet_at(memory *m, Py_ssize_t index)
{
    const unsigned char *place = place_of(m, index);
    unsigned char octet;
    int error;

    if (place == NULL)
        return -1;
    error = cm_copy(&octet, place, 1);
    if (error == 0)
        return octet;
    cm_raise(m->state, error, NULL);
    return -1;
}

static PyObject *item_at(memory *m, Py_ssize_t index)
{
    int octet = octet_at(m, index);

    return octet == -1 ? NULL : PyLong_FromLong(octet);
}

static PyObject *single(memory *m, Py_ssize_t index)
{
    int octet = octet_at(m, index);
    PyObject *byte = octet == -1 ? NULL : m->state->bytes[octet];

    Py_XINCREF(byte);
    return byte;
}

static int write_octet(memory *m, Py_ssize_t index, unsigned char octet)
{
    unsigned char *place = place_of(m, index);
    int error;

    if (place == NULL)
        return -1;
    error = cm_copy(place, &octet, 1);
    if (error == 0)
        return 0;
    cm_raise(m->state, error, NULL);
    return -1;
}

/* A plain int as an index. One that is too large for C is one that no map has. */
static int as_index(PyObject *key, Py_ssize_t *index)
{
    *index = PyLong_AsSsize_t(key);
    if (*index != -1 || !PyErr_Occurred())
        return 0;
    if (PyErr_ExceptionMatches(PyExc_OverflowError))
        out_of_range();
    return -1;
}

PyObject *cm_get_octet(memory *m, PyObject *key)
{
    Py_ssize_t index;

    return cm_accessible_length(m) == -1 || as_index(key, &index) == -1 ? NULL : item_at(m, index);
}

/* Stores a plain int at another one. What it is comes before whether there is such a place. */
int cm_put_octet(memory *m, PyObject *key, PyObject *value)
{
    Py_ssize_t index;
    long octet;

    if (cm_check_writable(m) == -1 || as_index(key, &index) == -1)
        return -1;
    octet = PyLong_AsLong(value);
    if (octet == -1 && PyErr_Occurred()) {
        if (!PyErr_ExceptionMatches(PyExc_OverflowError))
            return -1;
        PyErr_Clear();
    }
    if (octet < 0 || octet > 255) {
        PyErr_SetString(PyExc_ValueError, "mmap item value must be in range(0, 256)");
        return -1;
    }
    return write_octet(m, index, (unsigned char)octet);
}

/* ---- slices ---- */

/* A slice, with its range of bytes in the memory. */
typedef struct {
    Py_ssize_t start, stop, step, count;
} range;

static void adjust(range *r, Py_ssize_t length)
{
    r->count = PySlice_AdjustIndices(length, &r->start, &r->stop, r->step);
}

/* Where the part of a slice begins that has so many bytes of it before. */
static size_t place_in(const range *r, Py_ssize_t before)
{
    return (size_t)r->start + (size_t)before * (size_t)r->step;
}

static CM_NEVER_INLINE PyObject *gather(memory *m, const range *r)
{
    PyObject *result = PyBytes_FromStringAndSize(NULL, r->count);
    unsigned char *target = result == NULL ? NULL : (unsigned char *)PyBytes_AsString(result);
    int failed;

    if (result == NULL || r->count == 0)
        return result;
    if (r->count < m->state->long_call)
        failed = cm_answered(m, cm_gather(m->mapping.span->range.base, (size_t)r->start, r->step, (size_t)r->count, target),
                             NULL);
    else
        RUN_PARTS(m, failed, r->count,
                  cm_run_gather(&m->mapping, place_in(r, done), r->step, (size_t)bytes, target + done));
    if (failed == -1)
        Py_CLEAR(result);
    return result;
}

static CM_NEVER_INLINE int scatter(memory *m, const range *r, const unsigned char *data)
{
    int result;

    if (r->count < m->state->long_call)
        return cm_answered(
            m, cm_scatter(m->mapping.span->range.base, (size_t)r->start, r->step, (size_t)r->count, data), NULL);
    RUN_PARTS(m, result, r->count, cm_run_scatter(&m->mapping, place_in(r, done), r->step, (size_t)bytes, data + done));
    return result;
}

/* Reading a slice may run an __index__, which may close or resize the map: the length is looked at afterwards. */
PyObject *cm_get_slice(memory *m, PyObject *key)
{
    Py_ssize_t length;
    range r;

    if (cm_accessible_length(m) == -1 || PySlice_Unpack(key, &r.start, &r.stop, &r.step) == -1)
        return NULL;
    length = cm_accessible_length(m);
    if (length == -1)
        return NULL;
    adjust(&r, length);
    return r.step == 1 ? cm_bytes(m, r.start, r.count) : gather(m, &r);
}

static int assign_source(memory *m, range *r, const source *s)
{
    Py_ssize_t length = cm_accessible_length(m);

    if (length == -1)
        return -1;
    adjust(r, length);
    if (s->count != r->count) {
        PyErr_SetString(PyExc_IndexError, "mmap slice assignment is wrong size");
        return -1;
    }
    if (r->count == 0)
        return 0;
    return r->step == 1 ? cm_write_bytes(m, r->start, s->data, r->count) : scatter(m, r, s->data);
}

int cm_set_slice(memory *m, PyObject *key, PyObject *value)
{
    source s;
    range r;
    int result;

    if (cm_check_writable(m) == -1 || PySlice_Unpack(key, &r.start, &r.stop, &r.step) == -1 || cm_take(value, &s) == -1)
        return -1;
    result = assign_source(m, &r, &s);
    cm_let_go(&s);
    return result;
}

/* ---- subscripts ---- */

static PyObject *subscript_step(PyObject *self, memory *m, PyObject *key)
{
    if (m->state->quick) {
        if (PyLong_CheckExact(key))
            return cm_get_octet(m, key);
        if (PySlice_Check(key))
            return cm_get_slice(m, key);
    }
    return cm_ask(self, METHOD_GETITEM, &key, 1);
}

static PyObject *subscript(PyObject *self, PyObject *key)
{
    memory *m = memory_in(self);
    PyObject *result;

    LOCK(m);
    result = subscript_step(self, m, key);
    UNLOCK();
    return result;
}

static int discard(PyObject *result)
{
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

static int assign_step(PyObject *self, memory *m, PyObject *key, PyObject *value)
{
    PyObject *both[] = {key, value};

    if (value == NULL)
        return discard(cm_ask(self, METHOD_DELITEM, &key, 1));
    if (m->state->quick) {
        if (PyLong_CheckExact(key) && PyLong_CheckExact(value))
            return cm_put_octet(m, key, value);
        if (PySlice_Check(key))
            return cm_set_slice(m, key, value);
    }
    return discard(cm_ask(self, METHOD_SETITEM, both, 2));
}

static int assign(PyObject *self, PyObject *key, PyObject *value)
{
    memory *m = memory_in(self);
    int result;

    LOCK(m);
    result = assign_step(self, m, key, value);
    UNLOCK();
    return result;
}

/* ---- the sequence that C and iteration see: of bytes of length 1. In a subclass made in Python m[i] takes their place,
 * as with the standard library's. ---- */

static Py_ssize_t length_of(PyObject *self)
{
    memory *m = memory_in(self);
    Py_ssize_t length;

    LOCK(m);
    length = cm_length(m);
    UNLOCK();
    return length;
}

static PyObject *item(PyObject *self, Py_ssize_t index)
{
    memory *m = memory_in(self);
    PyObject *result;

    LOCK(m);
    /* Negative ones were counted from the end by whoever asks. */
    result = index < 0 && cm_accessible_length(m) != -1 ? out_of_range() : single(m, index);
    UNLOCK();
    return result;
}

static int assign_item_step(PyObject *self, memory *m, Py_ssize_t index, PyObject *value)
{
    if (value == NULL) {
        PyErr_SetString(PyExc_TypeError, "mmap object doesn't support item deletion");
        return -1;
    }
    (void)self;
    if (cm_check_writable(m) == -1)
        return -1;
    if (!PyBytes_Check(value) || PyBytes_Size(value) != 1) {
        PyErr_SetString(PyExc_IndexError, "mmap assignment must be length-1 bytes()");
        return -1;
    }
    if (index < 0)
        index = PY_SSIZE_T_MAX;
    return write_octet(m, index, (unsigned char)*PyBytes_AsString(value));
}

static int assign_item(PyObject *self, Py_ssize_t index, PyObject *value)
{
    memory *m = memory_in(self);
    int result;

    LOCK(m);
    result = assign_item_step(self, m, index, value);
    UNLOCK();
    return result;
}

static int contains_step(PyObject *self, memory *m, PyObject *value)
{
    const limit start = {0, 1}, none = {0, 0};
    PyObject *answer;
    ptrdiff_t found;
    int result;

    /* The items of a subclass are what its iteration gives. */
    if (m->state->quick && PyBytes_CheckExact(value) && Py_TYPE(self) == m->state->mmap_type) {
        if (PyBytes_Size(value) != 1)
            return cm_accessible_length(m) == -1 ? -1 : 0;
        found = cm_search(m, value, start, none, 0);
        return found < CM_ABSENT ? -1 : found != CM_ABSENT;
    }
    answer = cm_ask(self, METHOD_CONTAINS, &value, 1);
    result = answer == NULL ? -1 : PyObject_IsTrue(answer);
    Py_XDECREF(answer);
    return result;
}

static int contains(PyObject *self, PyObject *value)
{
    memory *m = memory_in(self);
    int result;

    LOCK(m);
    result = contains_step(self, m, value);
    UNLOCK();
    return result;
}

/* ---- the class ---- */

/* The module whose class a type derives from. */
static PyObject *module_of(PyTypeObject *type)
{
    PyObject *module;

    for (; type != NULL; type = (PyTypeObject *)PyType_GetSlot(type, Py_tp_base)) {
        if (!(PyType_GetFlags(type) & Py_TPFLAGS_HEAPTYPE))
            break;
        module = PyType_GetModule(type);
        if (module == NULL)
            PyErr_Clear();
        else if (PyModule_GetDef(module) == &cm_module)
            return module;
    }
    PyErr_SetString(PyExc_TypeError, "no subclass of mmap");
    return NULL;
}

/* An object of the class that holds the memory, whose reference it takes over. */
static PyObject *hold(PyTypeObject *type, memory *held)
{
    PyObject *new = ((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);

    if (new == NULL)
        Py_DECREF(held);
    else
        ((holder *)new)->memory = held;
    return new;
}

static int audit(const state *s, const request *r)
{
    PyObject *answer = NULL;

    if (s->audit != NULL)
        answer = PyObject_CallFunction(s->audit, "snniL", "mmap.__new__", (Py_ssize_t)r->file, r->length, r->access,
                                       r->offset);
    else
        PyErr_SetString(PyExc_RuntimeError, "the interpreter is ending");
    Py_XDECREF(answer);
    return answer == NULL ? -1 : 0;
}

static int is_plain(PyObject *argument)
{
    return PyLong_CheckExact(argument) || PyBool_Check(argument) || argument == Py_None;
}

/* Whether reading the arguments runs no Python code. */
static int are_plain(PyObject *arguments, PyObject *keywords)
{
    PyObject *name, *value;
    Py_ssize_t at = 0;

    for (Py_ssize_t i = PyTuple_Size(arguments); i-- > 0;)
        if (!is_plain(PyTuple_GetItem(arguments, i)))
            return 0;
    while (keywords != NULL && PyDict_Next(keywords, &at, &name, &value))
        if (!is_plain(value))
            return 0;
    return 1;
}

static PyObject *make_plain(PyTypeObject *type, PyObject *module, request *r)
{
    const state *s = PyModule_GetState(module);
    memory *made;
    int error;

    if (audit(s, r) == -1)
        return NULL;
    error = r->file == -1 ? 0 : cm_file_of((int)r->file, &r->file);
    if (error != 0) {
        cm_raise(s, error, "cm_file_of");
        return NULL;
    }
    made = cm_open(module, r, Py_None);
    return made == NULL ? NULL : hold(type, made);
}

/* By the __new__ that Python has handed over. */
static PyObject *make(PyTypeObject *type, PyObject *module, PyObject *arguments, PyObject *keywords)
{
    PyObject *first = PyTuple_Pack(1, type);
    PyObject *all = first == NULL ? NULL : PySequence_Concat(first, arguments);
    PyObject *result = all == NULL ? NULL : cm_call(PyModule_GetState(module), METHOD_NEW, all, keywords);

    Py_XDECREF(first);
    Py_XDECREF(all);
    return result;
}

/* The class's __new__. */
static PyObject *construct(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    PyObject *module = module_of(type);
    request r;

    if (module == NULL)
        return NULL;
    if (((state *)PyModule_GetState(module))->quick && are_plain(arguments, keywords) &&
        cm_plain_request(arguments, keywords, &r))
        return make_plain(type, module, &r);
    return make(type, module, arguments, keywords);
}

/* new(class, memory): an object of the class. */
PyObject *cm_new_holder(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    state *s = PyModule_GetState(module);

    if (count != 2 || !PyType_Check(arguments[0]) || Py_TYPE(arguments[1]) != s->memory_type ||
        !PyType_IsSubtype((PyTypeObject *)arguments[0], s->mmap_type)) {
        PyErr_SetString(PyExc_TypeError, "new() takes a subclass of mmap and a Memory");
        return NULL;
    }
    Py_INCREF(arguments[1]);
    return hold((PyTypeObject *)arguments[0], (memory *)arguments[1]);
}

static int traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static void dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    if (((holder *)self)->weak_references != NULL)
        PyObject_ClearWeakRefs(self);
    Py_CLEAR(((holder *)self)->memory);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static PyMemberDef members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(holder, weak_references), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_new, (void *)construct},
    {Py_tp_traverse, (void *)traverse},
    {Py_tp_dealloc, (void *)dealloc},
    {Py_tp_members, members},
    {Py_mp_length, (void *)length_of},
    {Py_mp_subscript, (void *)subscript},
    {Py_mp_ass_subscript, (void *)assign},
    {Py_sq_length, (void *)length_of},
    {Py_sq_item, (void *)item},
    {Py_sq_ass_item, (void *)assign_item},
    {Py_sq_contains, (void *)contains},
    {Py_bf_getbuffer, (void *)cm_get_buffer},
    {Py_bf_releasebuffer, (void *)cm_release_buffer},
    {0, NULL},
};

/* The name is what messages of the interpreter show, the standard library's; its module is set in Python. */
PyType_Spec cm_mmap_spec = {
    .name = "mmap.mmap",
    .basicsize = sizeof(holder),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};

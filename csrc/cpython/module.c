/* The module `_memory`: what Python's side of the package is given, and what it hands over. */
#include "memory.h"

static state *state_in(PyObject *module)
{
    return PyModule_GetState(module);
}

/* memory_of(m) */
static PyObject *memory_of(PyObject *module, PyObject *m)
{
    PyObject *held;

    if (!PyObject_TypeCheck(m, state_in(module)->mmap_type)) {
        PyErr_Format(PyExc_TypeError, "a map is required, not %R", (PyObject *)Py_TYPE(m));
        return NULL;
    }
    held = (PyObject *)memory_in(m);
    Py_INCREF(held);
    return held;
}

static void replace(PyObject **place, PyObject *value)
{
    PyObject *before = *place;

    Py_INCREF(value);
    *place = value;
    Py_XDECREF(before);
}

/* hand_over(functions, texts, failure, audit, sync_flags, sync_file): Python's methods by name, and what the class's own
 * say of themselves. */
static PyObject *hand_over(PyObject *module, PyObject *given)
{
    state *s = state_in(module);
    PyObject *functions, *texts, *failure, *audit, *function;

    if (!PyArg_ParseTuple(given, "O!O!OOip", &PyDict_Type, &functions, &PyDict_Type, &texts, &failure, &audit,
                          &s->sync_flags, &s->sync_file))
        return NULL;
    for (int method = 0; method < METHODS; method++) {
        function = PyDict_GetItemString(functions, cm_methods[method].ml_name);
        if (function == NULL)
            return PyErr_Format(PyExc_KeyError, "no %s", cm_methods[method].ml_name);
        replace(&s->meanings[method], function);
    }
    replace(&s->failure, failure);
    replace(&s->audit, audit);
    return cm_none_or_error(cm_add_methods(s, texts));
}

/* tune(long, part, turn, quick): for the tests. */
static PyObject *tune(PyObject *module, PyObject *arguments)
{
    state *s = state_in(module);
    Py_ssize_t long_call, part;
    unsigned turn;
    int quick;

    if (!PyArg_ParseTuple(arguments, "nnIp", &long_call, &part, &turn, &quick))
        return NULL;
    if (long_call < 2 || part < 1) {
        PyErr_SetString(PyExc_ValueError, "too small");
        return NULL;
    }
    s->long_call = long_call;
    s->part = part;
    s->turn = turn;
    s->quick = quick;
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"open_memory", cm_open_memory, METH_O, NULL},
    {"new", (PyCFunction)(void (*)(void))cm_new_holder, METH_FASTCALL, NULL},
    {"memory_of", memory_of, METH_O, NULL},
    {"hand_over", hand_over, METH_VARARGS, NULL},
    {"tune", tune, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject *add_type(PyObject *module, PyType_Spec *spec)
{
    return (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
}

/* Before 3.10 no flag says so, and a structure that nobody filled in must not be had. */
static void forbid_construction(PyTypeObject *type)
{
#if PY_VERSION_HEX < 0x030A0000
    type->tp_new = NULL;
#else
    (void)type;
#endif
}

static int make_bytes(state *s)
{
    for (int octet = 0; octet < 256; octet++) {
        char byte = (char)octet;

        s->bytes[octet] = PyBytes_FromStringAndSize(&byte, 1);
        if (s->bytes[octet] == NULL)
            return -1;
    }
    return 0;
}

static int execute(PyObject *module)
{
    state *s = state_in(module);

    s->long_call = 1 << 16;
    s->part = 1 << 20;
    s->turn = 8;
    s->quick = 1;
    s->memory_type = add_type(module, &cm_memory_spec);
    s->mmap_type = add_type(module, &cm_mmap_spec);
    if (s->memory_type == NULL || s->mmap_type == NULL || make_bytes(s) == -1)
        return -1;
    forbid_construction(s->memory_type);
    return PyObject_SetAttrString(module, "mmap", (PyObject *)s->mmap_type);
}

static int traverse(PyObject *module, visitproc visit, void *arg)
{
    state *s = state_in(module);

    Py_VISIT(s->memory_type);
    Py_VISIT(s->mmap_type);
    for (int method = 0; method < METHODS; method++)
        Py_VISIT(s->meanings[method]);
    Py_VISIT(s->failure);
    Py_VISIT(s->audit);
    return 0;
}

static int clear(PyObject *module)
{
    state *s = state_in(module);

    Py_CLEAR(s->memory_type);
    Py_CLEAR(s->mmap_type);
    for (int method = 0; method < METHODS; method++)
        Py_CLEAR(s->meanings[method]);
    Py_CLEAR(s->failure);
    Py_CLEAR(s->audit);
    return 0;
}

/* The texts last as long as the definitions that point into them, the bytes as any map. */
static void release(void *module)
{
    state *s = state_in(module);

    clear(module);
    for (int method = 0; method < METHODS; method++)
        Py_CLEAR(s->docs[method]);
    for (int octet = 0; octet < 256; octet++)
        Py_CLEAR(s->bytes[octet]);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)execute},
#if defined(Py_GIL_DISABLED)
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

struct PyModuleDef cm_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "cffimmap._memory",
    .m_size = sizeof(state),
    .m_methods = functions,
    .m_slots = slots,
    .m_traverse = traverse,
    .m_clear = clear,
    .m_free = release,
};

PyMODINIT_FUNC PyInit__memory(void)
{
    return PyModuleDef_Init(&cm_module);
}

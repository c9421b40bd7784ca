/*
 * The buffer protocol for Python classes on CPython <= 3.11; from 3.12 on the interpreter has it (PEP 688).
 *
 * A base type whose buffer slot asks the object's own __buffer__ method for a memoryview and exports that.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

int cm_make_exporter(const char *module, const char *name);

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

static PyType_Slot slots[] = {
    {Py_bf_getbuffer, (void *)get_buffer},
    {Py_bf_releasebuffer, (void *)release_buffer},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "cffimmap.Exporter",
    .basicsize = sizeof(PyObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = slots,
};

static int make_exporter(const char *module, const char *name)
{
    PyObject *target = PyImport_ImportModule(module);
    PyObject *type = target == NULL ? NULL : PyType_FromSpec(&spec);
    int result = type == NULL ? -1 : PyObject_SetAttrString(target, name, type);

    if (result == -1)
        PyErr_Clear();
    Py_XDECREF(type);
    Py_XDECREF(target);
    return result;
}

/* Puts the type into an imported module; -1 if that failed. cffi calls without the GIL. */
int cm_make_exporter(const char *module, const char *name)
{
    PyGILState_STATE state = PyGILState_Ensure();
    int result = make_exporter(module, name);

    PyGILState_Release(state);
    return result;
}

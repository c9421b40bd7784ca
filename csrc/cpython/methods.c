/*
 * The methods of the class mmap. Plain arguments are answered here, as a method written in Python costs several times what
 * it does; Python's method of the same name has the meaning of all others, and of all if the tests say so.
 */
#include "memory.h"

#include <string.h>

/* ---- Python's answers ---- */

static PyObject *with_self(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    PyObject *all = PyTuple_New(count + 1);

    if (all == NULL)
        return NULL;
    Py_INCREF(self);
    (void)PyTuple_SetItem(all, 0, self);
    for (Py_ssize_t i = 0; i < count; i++) {
        Py_INCREF(arguments[i]);
        (void)PyTuple_SetItem(all, i + 1, arguments[i]);
    }
    return all;
}

PyObject *cm_call(const state *s, int method, PyObject *all, PyObject *keywords)
{
    PyObject *asked = s->meanings[method];
    PyObject *result;

    if (asked == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the interpreter is ending");
        return NULL;
    }
    /* Whoever runs it may have Python hand over another. */
    Py_INCREF(asked);
    result = PyObject_Call(asked, all, keywords);
    Py_DECREF(asked);
    return result;
}

static PyObject *ask(PyObject *self, int method, PyObject *const *arguments, Py_ssize_t count, PyObject *keywords)
{
    PyObject *all = with_self(self, arguments, count);
    PyObject *result;

    if (all == NULL)
        return NULL;
    result = cm_call(memory_in(self)->state, method, all, keywords);
    Py_DECREF(all);
    return result;
}

PyObject *cm_ask(PyObject *self, int method, PyObject *const *arguments, Py_ssize_t count)
{
    return ask(self, method, arguments, count, NULL);
}

/* ---- plain arguments ---- */

/* A start or an end that is None or a plain int: 1, else 0. */
static int is_limit(PyObject *value, limit *l)
{
    l->number = 0;
    l->given = value != Py_None;
    return !l->given || cm_is_size(value, &l->number);
}

static int are_sizes(PyObject *const *arguments, Py_ssize_t count, Py_ssize_t *sizes)
{
    for (Py_ssize_t i = 0; i < count; i++)
        if (!cm_is_size(arguments[i], &sizes[i]))
            return 0;
    return 1;
}

/* A method that answers plain arguments under the lock: `plain` says whether they are. */
#define ANSWER(self, method, arguments, count, plain, answer)                           \
    do {                                                                                \
        memory *m = memory_in(self);                                                    \
        PyObject *result;                                                               \
                                                                                        \
        if (!(m->state->quick && (plain)))                                              \
            return cm_ask(self, method, arguments, count);              \
        LOCK(m);                                                                        \
        result = (answer);                                                              \
        UNLOCK();                                                                       \
        return result;                                                                  \
    } while (0)

/* A method that takes nothing. */
#define WITHOUT_ARGUMENTS(name, method)                                                 \
    static PyObject *name##_method(PyObject *self, PyObject *none)                      \
    {                                                                                   \
        (void)none;                                                                     \
        ANSWER(self, method, NULL, 0, 1, cm_##name(m));                                 \
    }

WITHOUT_ARGUMENTS(read_byte, METHOD_READ_BYTE)
WITHOUT_ARGUMENTS(readline, METHOD_READLINE)
WITHOUT_ARGUMENTS(tell, METHOD_TELL)
WITHOUT_ARGUMENTS(size, METHOD_SIZE)

/* Waits for others without the lock. */
static PyObject *close_method(PyObject *self, PyObject *none)
{
    memory *m = memory_in(self);

    return m->state->quick ? cm_close_memory((PyObject *)m, none) : cm_ask(self, METHOD_CLOSE, NULL, 0);
}

static PyObject *read_method(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    limit wanted = {-1, 0};

    ANSWER(self, METHOD_READ, arguments, count, count == 0 || (count == 1 && is_limit(arguments[0], &wanted)),
           cm_read(m, count == 1 && wanted.given ? wanted.number : -1));
}

static PyObject *write_method(PyObject *self, PyObject *data)
{
    ANSWER(self, METHOD_WRITE, &data, 1, 1, cm_write(m, data));
}

static PyObject *write_byte_method(PyObject *self, PyObject *octet)
{
    Py_ssize_t number;

    ANSWER(self, METHOD_WRITE_BYTE, &octet, 1, cm_is_size(octet, &number) && number >= 0 && number <= 255,
           cm_write_byte(m, (unsigned char)number));
}

static PyObject *seek_method(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    Py_ssize_t given[2] = {0, 0};

    ANSWER(self, METHOD_SEEK, arguments, count,
           count >= 1 && count <= 2 && are_sizes(arguments, count, given) && given[1] >= 0 && given[1] <= 2,
           cm_seek(m, given[0], given[1]));
}

static PyObject *find_in(PyObject *self, int method, PyObject *const *arguments, Py_ssize_t count, int backwards)
{
    limit start = {0, 0}, end = {0, 0};

    ANSWER(self, method, arguments, count,
           count >= 1 && count <= 3 && (count < 2 || is_limit(arguments[1], &start)) &&
               (count < 3 || is_limit(arguments[2], &end)),
           cm_position(cm_search(m, arguments[0], start, end, backwards)));
}

static PyObject *find_method(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    return find_in(self, METHOD_FIND, arguments, count, 0);
}

static PyObject *rfind_method(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    return find_in(self, METHOD_RFIND, arguments, count, 1);
}

static PyObject *move_method(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    Py_ssize_t given[3];

    ANSWER(self, METHOD_MOVE, arguments, count, count == 3 && are_sizes(arguments, 3, given),
           cm_move_within(m, given[0], given[1], given[2]));
}

/* Keyword arguments as a dict of their names and the values that follow the others. */
static PyObject *keywords_of(PyObject *names, PyObject *const *values)
{
    PyObject *keywords = PyDict_New();

    for (Py_ssize_t i = 0; keywords != NULL && i < PyTuple_Size(names); i++)
        if (PyDict_SetItem(keywords, PyTuple_GetItem(names, i), values[i]) == -1)
            Py_CLEAR(keywords);
    return keywords;
}

static PyObject *flush_with(PyObject *self, PyObject *const *arguments, Py_ssize_t count, PyObject *names)
{
    PyObject *keywords = keywords_of(names, arguments + count);
    PyObject *result = NULL;

    if (keywords != NULL)
        result = ask(self, METHOD_FLUSH, arguments, count, keywords);
    Py_XDECREF(keywords);
    return result;
}

static PyObject *flush_method(PyObject *self, PyObject *const *arguments, Py_ssize_t count, PyObject *names)
{
    Py_ssize_t given[2] = {0, -1};

    if (names != NULL)
        return flush_with(self, arguments, count, names);
    ANSWER(self, METHOD_FLUSH, arguments, count, count <= 2 && are_sizes(arguments, count, given),
           cm_flush(m, given[0], given[1]));
}

static PyObject *get_closed(PyObject *self, void *closure)
{
    (void)closure;
    ANSWER(self, METHOD_CLOSED, NULL, 0, 1, PyBool_FromLong(m->mapping.closed));
}

/* ---- the class ---- */

#define FAST(function) (PyCFunction)(void (*)(void))(function), METH_FASTCALL

const PyMethodDef cm_methods[METHODS] = {
    /* Of these the class has slots, in items.c. */
    [METHOD_NEW] = {"__new__", NULL, 0, NULL},
    [METHOD_GETITEM] = {"__getitem__", NULL, 0, NULL},
    [METHOD_SETITEM] = {"__setitem__", NULL, 0, NULL},
    [METHOD_DELITEM] = {"__delitem__", NULL, 0, NULL},
    [METHOD_CONTAINS] = {"__contains__", NULL, 0, NULL},

    [METHOD_CLOSED] = {"closed", NULL, 0, NULL},
    [METHOD_CLOSE] = {"close", close_method, METH_NOARGS, NULL},
    [METHOD_READ] = {"read", FAST(read_method), NULL},
    [METHOD_READ_BYTE] = {"read_byte", read_byte_method, METH_NOARGS, NULL},
    [METHOD_READLINE] = {"readline", readline_method, METH_NOARGS, NULL},
    [METHOD_WRITE] = {"write", write_method, METH_O, NULL},
    [METHOD_WRITE_BYTE] = {"write_byte", write_byte_method, METH_O, NULL},
    [METHOD_SEEK] = {"seek", FAST(seek_method), NULL},
    [METHOD_TELL] = {"tell", tell_method, METH_NOARGS, NULL},
    [METHOD_SIZE] = {"size", size_method, METH_NOARGS, NULL},
    [METHOD_FIND] = {"find", FAST(find_method), NULL},
    [METHOD_RFIND] = {"rfind", FAST(rfind_method), NULL},
    [METHOD_MOVE] = {"move", FAST(move_method), NULL},
    [METHOD_FLUSH] = {"flush", FAST(flush_method) | METH_KEYWORDS, NULL},
};

/* The text of a method, which the state keeps as the definition points into it. */
static const char *text_of(state *s, int method, const char *name, PyObject *texts)
{
    if (s->docs[method] == NULL) {
        s->docs[method] = PyDict_GetItemString(texts, name);
        Py_XINCREF(s->docs[method]);
    }
    if (s->docs[method] == NULL) {
        PyErr_Format(PyExc_KeyError, "no text for %s", name);
        return NULL;
    }
    return PyUnicode_AsUTF8AndSize(s->docs[method], NULL);
}

static int add(state *s, const char *name, PyObject *descriptor)
{
    int result = descriptor == NULL ? -1 : PyObject_SetAttrString((PyObject *)s->mmap_type, name, descriptor);

    Py_XDECREF(descriptor);
    return result;
}

static int add_method(state *s, int method, PyObject *texts)
{
    PyMethodDef *definition = &s->definitions[method];

    *definition = cm_methods[method];
    definition->ml_doc = text_of(s, method, definition->ml_name, texts);
    return definition->ml_doc == NULL ? -1 : add(s, definition->ml_name, PyDescr_NewMethod(s->mmap_type, definition));
}

int cm_add_methods(state *s, PyObject *texts)
{
    const char *text = text_of(s, METHOD_CLOSED, "closed", texts);

    if (text == NULL)
        return -1;
    s->closed = (PyGetSetDef){"closed", get_closed, NULL, text, NULL};
    if (add(s, "closed", PyDescr_NewGetSet(s->mmap_type, &s->closed)) == -1)
        return -1;
    for (int method = METHOD_CLOSE; method < METHODS; method++)
        if (add_method(s, method, texts) == -1)
            return -1;
    return 0;
}

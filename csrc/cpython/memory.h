/*
 * `Memory` on CPython: one mapping, who holds its addresses, its position, and the class mmap over it.
 *
 * What must be whole happens under the interpreter's lock, or on interpreters without one under the object's critical
 * section, which is let go at the same places: where Python code may run, and where a call runs without it. After each
 * of them everything is looked at again. No other lock is held, so that a fork finds none.
 */
#ifndef CFFIMMAP_MEMORY_H
#define CFFIMMAP_MEMORY_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include "../guard.h"
#include "../mapping.h"

/* The ACCESS_ names of the public module. */
enum { ACCESS_DEFAULT, ACCESS_READ, ACCESS_WRITE, ACCESS_COPY };

/* The methods of the class that C answers for plain arguments. */
enum {
    METHOD_NEW, METHOD_GETITEM, METHOD_SETITEM, METHOD_DELITEM, METHOD_CONTAINS, METHOD_CLOSED,
    METHOD_CLOSE, METHOD_READ, METHOD_READ_BYTE, METHOD_READLINE, METHOD_WRITE, METHOD_WRITE_BYTE, METHOD_SEEK, METHOD_TELL,
    METHOD_SIZE, METHOD_FIND, METHOD_RFIND, METHOD_MOVE, METHOD_FLUSH,
    METHODS
};

/* What the module keeps. Pointers are NULL before Python has handed them over, and after the module was cleared. */
typedef struct {
    PyTypeObject *memory_type, *mmap_type;
    PyObject *meanings[METHODS];     /* Python's methods: what is done with every argument */
    PyObject *docs[METHODS];         /* texts that the definitions below point into */
    PyMethodDef definitions[METHODS];
    PyGetSetDef closed;
    PyObject *bytes[256];       /* of length 1, which iteration gives out */
    PyObject *failure;          /* makes an exception of an error and a function's name */
    PyObject *audit;            /* sys.audit; PySys_Audit is in the limited API from 3.13 on */
    int sync_flags, sync_file;  /* what flush does unless it is told otherwise */
    int quick;                  /* whether plain arguments are answered here; the tests ask for Python's answers too */
    Py_ssize_t long_call;       /* bytes from which on a call runs without the interpreter's lock */
    Py_ssize_t part;            /* bytes that it works on before it looks at the clock */
    uint32_t turn;              /* milliseconds after which it looks for signals */
} state;

/* One range of addresses. Those that were replaced and may be in somebody's hands stay until the object dies. */
typedef struct node {
    cm_span span;
    struct node *next;
} node;

typedef struct {
    PyObject_HEAD
    PyObject *module;           /* keeps the state */
    state *state;
    cm_mapping mapping;
    node first;
    Py_ssize_t exports;
    Py_ssize_t position;
    PyObject *tag;              /* a str, or NULL */
    wchar_t *tag_text;
    int access;
    char readable, writable, tracked;
    char ready;                 /* open and readable, and nobody is resizing it without the lock */
} memory;

/* An object of the class mmap. */
typedef struct {
    PyObject_HEAD
    memory *memory;
    PyObject *weak_references;
} holder;

static inline memory *memory_in(PyObject *self)
{
    return ((holder *)self)->memory;
}

#if defined(Py_GIL_DISABLED)
#define LOCK(object) Py_BEGIN_CRITICAL_SECTION(object)
#define UNLOCK() Py_END_CRITICAL_SECTION()
#else
#define LOCK(object) {
#define UNLOCK() }
#endif

/* ---- memory.c ---- */

extern PyType_Spec cm_memory_spec;

/* What is to be mapped: see Request in _request.py. */
typedef struct {
    cm_file file;
    Py_ssize_t length;
    long long offset;
    int access, prot, flags;
    int readable, writable, copies, track, anonymous;
} request;

/* A `Memory`, or NULL with an exception. */
memory *cm_open(PyObject *module, const request *r, PyObject *tag);
PyObject *cm_open_memory(PyObject *module, PyObject *asked);

/* The length of a map that is not ready; it may have to wait for another thread. */
Py_ssize_t cm_find_length(memory *m, int accessible);
int cm_refuse_writing(void);

/* The length in bytes, or -1 with an exception: of an open map, and of one whose memory may be accessed. */
static inline Py_ssize_t cm_length(memory *m)
{
    return m->ready ? m->mapping.span->length : cm_find_length(m, 0);
}

static inline Py_ssize_t cm_accessible_length(memory *m)
{
    return m->ready ? m->mapping.span->length : cm_find_length(m, 1);
}

static inline int cm_check_writable(const memory *m)
{
    return m->writable ? 0 : cm_refuse_writing();
}

void cm_raise_closed(void);
/* Raises OSError for an error; the function is NULL for an access to the memory. */
void cm_raise(const state *s, int error, const char *function);

/* What becomes of a call's answer: 0, it is done; 1, it is to be made again; -1, with an exception. */
int cm_settle(const memory *m, int code, const char *function);

static inline int cm_answered(const memory *m, int code, const char *function)
{
    return code == 0 ? 0 : cm_settle(m, code, function);
}

/* Makes counted calls without the interpreter's lock while there is `more` to do, and again while somebody waits to close or
 * resize. After a turn signals have theirs. It is a time, as memory may be slow, and not the shortest, as whoever asks for
 * the lock of a busy program waits for it. `result` becomes 0, or -1 with an exception. */
#define RUN_WHILE(m, result, more, call, function)                                      \
    do {                                                                                \
        uint32_t run_began;                                                             \
        int run_code;                                                                   \
                                                                                        \
        Py_BEGIN_ALLOW_THREADS                                                          \
        run_began = cm_clock();                                                         \
        do                                                                              \
            run_code = (call);                                                          \
        while (run_code == 0 && (more) && cm_clock() - run_began < (m)->state->turn);   \
        Py_END_ALLOW_THREADS                                                            \
        result = cm_answered(m, run_code, function);                                    \
        if (result == 0 && (more))                                                      \
            result = PyErr_CheckSignals() == 0 ? 1 : -1;                                \
    } while (result == 1)

/* The same for one call. */
#define RUN(m, result, call, function) RUN_WHILE(m, result, 0, call, function)

/* How much of what is left is done in one call, in bytes. */
static inline Py_ssize_t cm_part_of(const memory *m, Py_ssize_t left)
{
    return left < m->state->part ? left : m->state->part;
}

/* Makes a counted call for each part of count bytes: `done` of them are behind, `bytes` are its own. */
#define RUN_PARTS(m, result, count, call)                                                                       \
    do {                                                                                                        \
        Py_ssize_t done = 0, bytes = 0;                                                                         \
        int part_code;                                                                                          \
                                                                                                                \
        RUN_WHILE(m, result, done < (count),                                                                    \
                  (bytes = cm_part_of(m, (count) - done), part_code = (call), done += part_code == 0 ? bytes : 0, \
                   part_code),                                                                                  \
                  NULL);                                                                                        \
    } while (0)

/* The code of an answer that is a position, or the length of a file. */
static inline int cm_code_of(long long answer)
{
    if (answer >= CM_ABSENT)
        return 0;
    return answer <= CM_FAILED(0) ? (int)CM_FAILED(answer) : (int)answer;
}

/* Copies between the memory and a buffer, without the interpreter's lock if that is long; -1 with an exception. */
int cm_read_long(memory *m, Py_ssize_t start, unsigned char *target, Py_ssize_t count);
int cm_write_long(memory *m, Py_ssize_t start, const unsigned char *data, Py_ssize_t count);

static inline int cm_read_bytes(memory *m, Py_ssize_t start, void *target, Py_ssize_t count)
{
    if (count >= m->state->long_call)
        return cm_read_long(m, start, target, count);
    return cm_answered(m, cm_copy(target, m->mapping.span->range.base + start, (size_t)count), NULL);
}

static inline int cm_write_bytes(memory *m, Py_ssize_t start, const void *data, Py_ssize_t count)
{
    if (count >= m->state->long_call)
        return cm_write_long(m, start, data, count);
    return cm_answered(m, cm_copy(m->mapping.span->range.base + start, data, (size_t)count), NULL);
}

/* The bytes of a range that lies within the memory. */
static inline PyObject *cm_bytes(memory *m, Py_ssize_t start, Py_ssize_t count)
{
    PyObject *result = PyBytes_FromStringAndSize(NULL, count);

    if (result != NULL && count > 0 && cm_read_bytes(m, start, PyBytes_AsString(result), count) == -1)
        Py_CLEAR(result);
    return result;
}

int cm_get_buffer(PyObject *self, Py_buffer *buffer, int flags);
void cm_release_buffer(PyObject *self, Py_buffer *buffer);

PyObject *cm_close_memory(PyObject *self, PyObject *none);
PyObject *cm_resize_memory(PyObject *self, PyObject *const *arguments, Py_ssize_t count);

/* The bytes of any bytes-like object. Getting them may run Python code. */
typedef struct {
    const unsigned char *data;
    Py_ssize_t count;
    Py_buffer view;             /* its obj is NULL if the object needs no release */
} source;

int cm_take_buffer(PyObject *object, source *s);

static inline int cm_take(PyObject *object, source *s)
{
    if (!PyBytes_CheckExact(object))
        return cm_take_buffer(object, s);
    s->view.obj = NULL;
    s->data = (const unsigned char *)PyBytes_AsString(object);
    s->count = PyBytes_Size(object);
    return 0;
}

static inline void cm_let_go(source *s)
{
    if (s->view.obj != NULL)
        PyBuffer_Release(&s->view);
}

/* ---- operations.c ---- */

/* A start or an end of a search. */
typedef struct {
    Py_ssize_t number;
    int given;
} limit;

PyObject *cm_read(memory *m, Py_ssize_t wanted);
PyObject *cm_read_byte(memory *m);
PyObject *cm_readline(memory *m);
PyObject *cm_write(memory *m, PyObject *data);
PyObject *cm_write_byte(memory *m, unsigned char octet);
PyObject *cm_move_within(memory *m, Py_ssize_t target, Py_ssize_t start, Py_ssize_t count);
PyObject *cm_seek(memory *m, Py_ssize_t distance, Py_ssize_t whence);
PyObject *cm_tell(memory *m);
PyObject *cm_size(memory *m);
PyObject *cm_flush(memory *m, Py_ssize_t start, Py_ssize_t count);

/* The range lies within the memory, or the call says that it is gone. */
PyObject *cm_sync_range(memory *m, Py_ssize_t start, Py_ssize_t count, int flags, int with_file);

/* A position, CM_ABSENT, or less with an exception. */
ptrdiff_t cm_search(memory *m, PyObject *needle, limit start, limit end, int backwards);

static inline PyObject *cm_position(ptrdiff_t found)
{
    return found < CM_ABSENT ? NULL : PyLong_FromSsize_t(found);
}

static inline PyObject *cm_none_or_error(int result)
{
    if (result == -1)
        return NULL;
    Py_RETURN_NONE;
}

/* ---- members.c: the members of Memory ---- */

extern PyMethodDef cm_memory_methods[];
extern PyGetSetDef cm_memory_attributes[];

/* ---- request_unix.c, request_windows.c ---- */

/* The constructor's arguments as a request, if they are plain and Python has nothing against them: 1, else 0. The file is
 * as the user has named it. */
int cm_plain_request(PyObject *arguments, PyObject *keywords, request *r);

/* ---- methods.c: the methods of the class mmap that are answered in C ---- */

/* Their names in Python, and what the class has for them. */
extern const PyMethodDef cm_methods[METHODS];

/* Gives the class its methods, once the state has what Python's are; -1 with an exception. */
int cm_add_methods(state *s, PyObject *texts);

/* Python's method, with an object of the class and other arguments; the same with all of them. */
PyObject *cm_ask(PyObject *self, int method, PyObject *const *arguments, Py_ssize_t count);
PyObject *cm_call(const state *s, int method, PyObject *all, PyObject *keywords);

/* A plain int that is a C ssize_t: 1, else 0. */
static inline int cm_is_size(PyObject *value, Py_ssize_t *size)
{
    if (!PyLong_CheckExact(value))
        return 0;
    *size = PyLong_AsSsize_t(value);
    if (*size != -1 || !PyErr_Occurred())
        return 1;
    PyErr_Clear();
    return 0;
}

/* ---- items.c: the class mmap, its indices and slices ---- */

extern PyType_Spec cm_mmap_spec;

PyObject *cm_get_octet(memory *m, PyObject *index);
int cm_put_octet(memory *m, PyObject *index, PyObject *value);
PyObject *cm_get_slice(memory *m, PyObject *key);
int cm_set_slice(memory *m, PyObject *key, PyObject *value);

PyObject *cm_new_holder(PyObject *module, PyObject *const *arguments, Py_ssize_t count);

/* ---- module.c ---- */

extern struct PyModuleDef cm_module;

#endif

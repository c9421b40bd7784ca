/* The lifetime of a mapping: opened, exported, accessed, closed, resized. Nothing of Python runs within a step. */
#include "memory.h"

/* ---- errors ---- */

void cm_raise_closed(void)
{
    PyErr_SetString(PyExc_ValueError, "mmap closed or invalid");
}

/* Raises OSError; `ended` says that the map could not be kept open. */
static void raise_failure(const state *s, int error, const char *function, int ended)
{
    PyObject *exception;

    if (s->failure == NULL) {
        PyErr_Format(PyExc_OSError, "error %d", error);
        return;
    }
    exception = PyObject_CallFunction(s->failure, "izi", error, function, ended);
    if (exception == NULL)
        return;
    PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
    Py_DECREF(exception);
}

void cm_raise(const state *s, int error, const char *function)
{
    raise_failure(s, error, function, 0);
}

int cm_refuse_writing(void)
{
    PyErr_SetString(PyExc_TypeError, "mmap can't modify a readonly memory map.");
    return -1;
}

/* ---- waiting ---- */

/* Lets others go on for a moment: 1, or -1 with the exception of a signal handler. */
static int wait_a_moment(void)
{
    Py_BEGIN_ALLOW_THREADS
    cm_pause();
    Py_END_ALLOW_THREADS
    return PyErr_CheckSignals() == 0 ? 1 : -1;
}

Py_ssize_t cm_find_length(memory *m, int accessible)
{
    while (cm_mapping_is_claimed(&m->mapping))
        if (wait_a_moment() == -1)
            return -1;
    if (m->mapping.closed) {
        cm_raise_closed();
        return -1;
    }
    m->ready = m->readable;
    if (m->ready || !accessible)
        return m->mapping.span->length;
    PyErr_SetString(PyExc_TypeError, "mmap can't access memory without PROT_READ or PROT_WRITE.");
    return -1;
}

int cm_settle(const memory *m, int code, const char *function)
{
    if (code == CM_BUSY)
        return wait_a_moment();
    if (code != CM_GONE)
        cm_raise(m->state, code, function);
    else if (m->mapping.closed)
        cm_raise_closed();
    else
        PyErr_SetString(PyExc_ValueError, "mmap resized during the operation");
    return -1;
}

/* Collects what reference cycles hold, among it maps with their descriptors and memory, also where the program has
 * disabled the collector: PyGC_Collect would do nothing there. -1 with an exception. */
static int collect(void)
{
    PyObject *gc = PyImport_ImportModule("gc");
    PyObject *count = gc == NULL ? NULL : PyObject_CallMethod(gc, "collect", NULL);

    Py_XDECREF(gc);
    Py_XDECREF(count);
    return count == NULL ? -1 : 0;
}

/* ---- opening ---- */

static memory *new_memory(PyObject *module, const request *r)
{
    state *s = PyModule_GetState(module);
    memory *m = PyObject_New(memory, s->memory_type);

    if (m == NULL)
        return NULL;
    Py_INCREF(module);
    m->module = module;
    m->state = s;
    m->mapping = (cm_mapping){
        .span = &m->first.span,
        .offset = r->offset,
        .prot = r->prot,
        .flags = r->flags,
        .anonymous = r->anonymous,
        .copies = r->copies,
        .file = -1,
        .section = -1,
        .closed = 1,
    };
    m->first = (node){0};
    m->exports = m->position = 0;
    m->tag = NULL;
    m->tag_text = NULL;
    m->access = r->access;
    m->readable = r->readable != 0;
    m->ready = 0;
    m->writable = r->writable != 0;
    m->tracked = r->track != 0;
    return m;
}

/* The tag as the system takes it. */
static int set_tag(memory *m, PyObject *tag)
{
    if (tag == Py_None)
        return 0;
    m->tag_text = PyUnicode_AsWideCharString(tag, NULL);
    if (m->tag_text == NULL)
        return -1;
    Py_INCREF(tag);
    m->tag = tag;
    m->mapping.tag = m->tag_text;
    return 0;
}

static int open_mapping(memory *m, cm_file file, Py_ssize_t length)
{
    int track = m->tracked;
    int code = cm_mapping_open(&m->mapping, file, track, (size_t)length);

    if (code > 0 && cm_exhausted(code)) {
        if (collect() == -1)
            return -1;
        code = cm_mapping_open(&m->mapping, file, track, (size_t)length);
    }
    if (code == 0)
        return 0;
    cm_raise(m->state, code, m->mapping.failed);
    return -1;
}

memory *cm_open(PyObject *module, const request *r, PyObject *tag)
{
    memory *m = new_memory(module, r);

    if (m != NULL && (set_tag(m, tag) == -1 || open_mapping(m, r->file, r->length) == -1))
        Py_CLEAR(m);
    return m;
}

/* open_memory(request) */
PyObject *cm_open_memory(PyObject *module, PyObject *asked)
{
    PyObject *tag;
    request r;

    if (!PyArg_ParseTuple(asked, "nnL(iiippp)ppO", &r.file, &r.length, &r.offset, &r.access, &r.prot, &r.flags, &r.readable,
                          &r.writable, &r.copies, &r.track, &r.anonymous, &tag))
        return NULL;
    return (PyObject *)cm_open(module, &r, tag);
}

static void dealloc(PyObject *self)
{
    memory *m = (memory *)self;
    PyTypeObject *type = Py_TYPE(self);
    node *next;

    cm_mapping_end(&m->mapping);
    cm_span_end(&m->first.span);
    for (node *n = m->first.next; n != NULL; n = next) {
        next = n->next;
        cm_span_end(&n->span);
        PyMem_Free(n);
    }
    Py_CLEAR(m->tag);
    PyMem_Free(m->tag_text);
    Py_DECREF(m->module);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

/* ---- exports ---- */

int cm_get_buffer(PyObject *self, Py_buffer *buffer, int flags)
{
    memory *m = memory_in(self);
    int result = -1;

    buffer->obj = NULL;
    LOCK(m);
    if (cm_accessible_length(m) != -1) {
        cm_span *span = m->mapping.span;

        result = PyBuffer_FillInfo(buffer, self, span->range.base, span->length, !m->writable, flags);
        if (result == 0) {
            m->exports++;
            /* Some consumers release the buffer and keep its addresses. */
            span->kept = CM_BLANKS;
        }
    }
    UNLOCK();
    return result;
}

void cm_release_buffer(PyObject *self, Py_buffer *buffer)
{
    memory *m = memory_in(self);

    (void)buffer;
    LOCK(m);
    m->exports--;
    UNLOCK();
}

/* ---- bytes-like objects ---- */

int cm_take_buffer(PyObject *object, source *s)
{
    s->view.obj = NULL;
    if (PyObject_GetBuffer(object, &s->view, PyBUF_SIMPLE) == -1)
        return -1;
    s->data = s->view.buf;
    s->count = s->view.len;
    return 0;
}

/* ---- accesses ---- */

int cm_read_long(memory *m, Py_ssize_t start, unsigned char *target, Py_ssize_t count)
{
    int result;

    RUN_PARTS(m, result, count, cm_run_load(&m->mapping, (size_t)(start + done), (size_t)bytes, target + done));
    return result;
}

int cm_write_long(memory *m, Py_ssize_t start, const unsigned char *data, Py_ssize_t count)
{
    int result;

    RUN_PARTS(m, result, count, cm_run_store(&m->mapping, (size_t)(start + done), data + done, (size_t)bytes));
    return result;
}

/* ---- closing ---- */

/* Takes everything away if nobody holds it, in one step under the lock. */
static int detach(memory *m, cm_rest *rest)
{
    int code = CM_BUSY;

    LOCK(m);
    if (m->exports > 0) {
        *rest = (cm_rest){{NULL, 0}, -1, -1};
        PyErr_SetString(PyExc_BufferError, "cannot close exported pointers exist");
    } else {
        code = cm_mapping_detach(&m->mapping, rest);
        m->ready = 0;
    }
    UNLOCK();
    return code;
}

PyObject *cm_close_memory(PyObject *self, PyObject *none)
{
    memory *m = (memory *)self;
    cm_rest rest;
    int code, again;

    (void)none;
    do {
        code = detach(m, &rest);
        if (PyErr_Occurred())
            return NULL;
        /* Nobody else can reach it any more. */
        Py_BEGIN_ALLOW_THREADS
        cm_rest_end(&rest);
        Py_END_ALLOW_THREADS
        again = cm_answered(m, code, m->mapping.failed);
    } while (again == 1);
    if (again == -1)
        return NULL;
    Py_RETURN_NONE;
}

/* ---- resizing ---- */

/* Raises what speaks against it: an export before anything else. */
static int check_resize(memory *m, PyObject *objection)
{
    if (cm_length(m) == -1)
        return -1;
    if (m->exports > 0)
        PyErr_SetString(PyExc_BufferError, "mmap can't resize with extant buffers exported.");
    else if (objection != Py_None)
        PyErr_SetObject((PyObject *)Py_TYPE(objection), objection);
    else
        return 0;
    return -1;
}

static void unlink_node(memory *m, const node *n)
{
    node *before = &m->first;

    while (before->next != n)
        before = before->next;
    before->next = n->next;
}

/* Other threads go on while much is mapped or given back. They wait if they come to this map. */
static int change(memory *m, size_t length, cm_span *fresh)
{
    size_t most = (size_t)m->state->part;
    int code;

    if (length < most && (size_t)m->mapping.span->length < most)
        return cm_mapping_change(&m->mapping, length, fresh);
    Py_BEGIN_ALLOW_THREADS
    code = cm_mapping_change(&m->mapping, length, fresh);
    Py_END_ALLOW_THREADS
    return code;
}

/* Resizes in one step. The spare node is used up if the old addresses must stay; it is the object's from before on, as a
 * forked child has nobody who would do the rest. */
static int resize_once(memory *m, size_t length, node **spare)
{
    node *fresh = *spare;
    int code = cm_mapping_claim(&m->mapping);

    if (code != 0)
        return code;
    m->ready = 0;
    fresh->next = m->first.next;
    m->first.next = fresh;
    code = change(m, length, &fresh->span);
    if (fresh->span.range.base == NULL && m->mapping.span != &fresh->span)
        unlink_node(m, fresh);
    else
        *spare = NULL;
    return code;
}

/* 0, 1 to be asked again, -1 with an exception. */
static int resize_or_wait(memory *m, size_t length, PyObject *objection, node **spare, int *collected)
{
    int code;

    if (check_resize(m, objection) == -1)
        return -1;
    code = resize_once(m, length, spare);
    if (code > 0 && !*collected && cm_exhausted(code)) {
        *collected = 1;
        return collect() == -1 ? -1 : 1;
    }
    if (code > 0 && m->mapping.closed) {
        raise_failure(m->state, code, m->mapping.failed, 1);
        return -1;
    }
    return cm_answered(m, code, m->mapping.failed);
}

static int resize(memory *m, size_t length, PyObject *objection, node **spare)
{
    int collected = 0;
    int again;

    do {
        LOCK(m);
        again = resize_or_wait(m, length, objection, spare, &collected);
        UNLOCK();
    } while (again == 1);
    return again;
}

/* resize(length, objection) */
PyObject *cm_resize_memory(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    memory *m = (memory *)self;
    node *spare;
    Py_ssize_t length;
    int result;

    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "resize() takes 2 arguments");
        return NULL;
    }
    length = PyLong_AsSsize_t(arguments[0]);
    if (length == -1 && PyErr_Occurred())
        return NULL;
    if (length <= 0 && arguments[1] == Py_None) {
        PyErr_SetString(PyExc_ValueError, "new size out of range");
        return NULL;
    }
    spare = PyMem_Calloc(1, sizeof *spare);
    if (spare == NULL)
        return PyErr_NoMemory();
    result = resize(m, (size_t)length, arguments[1], &spare);
    PyMem_Free(spare);
    if (result == -1)
        return NULL;
    Py_RETURN_NONE;
}

/* ---- the type ---- */

static PyType_Slot slots[] = {
    {Py_tp_dealloc, (void *)dealloc},
    {Py_tp_methods, cm_memory_methods},
    {Py_tp_getset, cm_memory_attributes},
    {0, NULL},
};

#if PY_VERSION_HEX >= 0x030A0000
#define FLAGS (Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION)
#else
#define FLAGS Py_TPFLAGS_DEFAULT        /* module.c does the rest */
#endif

PyType_Spec cm_memory_spec = {
    .name = "cffimmap._memory.Memory",
    .basicsize = sizeof(memory),
    .flags = FLAGS,
    .slots = slots,
};

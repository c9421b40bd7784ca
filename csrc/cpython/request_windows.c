/* How the constructor's plain arguments become a request on Windows: as in _windows.py, which has the words for what is
 * wrong. A tag, and the descriptor 0, which is no file, are left to it. */
#include "memory.h"

int cm_plain_request(PyObject *arguments, PyObject *keywords, request *r)
{
    static char *names[] = {"fileno", "length", "tagname", "access", "offset", "trackfd", NULL};
    static const int protections[] = {CM_WRITE, CM_READ, CM_WRITE, CM_COPY};
    PyObject *tag = Py_None;
    int file;

    *r = (request){.track = 1, .readable = 1};
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "in|OiL$p:mmap", names, &file, &r->length, &tag, &r->access,
                                     &r->offset, &r->track)) {
        PyErr_Clear();
        return 0;
    }
    if (r->length < 0 || r->offset < 0 || r->access < 0 || r->access > ACCESS_COPY || tag != Py_None || file == 0)
        return 0;
    r->file = file;
    r->prot = protections[r->access];
    r->writable = r->access != ACCESS_READ;
    r->copies = r->access == ACCESS_COPY;
    r->anonymous = file == -1;
    return 1;
}

/* How the constructor's plain arguments become a request on Unix: as in _unix.py, which has the words for what is wrong. */
#include "memory.h"

#include <sys/mman.h>

#ifndef MAP_ANONYMOUS
#define MAP_ANONYMOUS MAP_ANON
#endif

enum { BOTH = PROT_READ | PROT_WRITE };

/* The access that a protection is shown as. */
static int access_of(int prot)
{
    if ((prot & BOTH) == BOTH)
        return ACCESS_DEFAULT;
    return prot & PROT_WRITE ? ACCESS_WRITE : ACCESS_READ;
}

/* What the three arguments describe together; 0 if there is no such thing. */
static int set_protection(request *r)
{
    if (r->access == ACCESS_DEFAULT)
        r->access = access_of(r->prot);
    else if (r->access < 0 || r->access > ACCESS_COPY || r->flags != MAP_SHARED || r->prot != BOTH)
        return 0;
    else if (r->access == ACCESS_READ)
        r->prot = PROT_READ;
    else if (r->access == ACCESS_COPY)
        r->flags = MAP_PRIVATE;
    r->readable = (r->prot & BOTH) != 0;
    r->writable = (r->prot & PROT_WRITE) != 0;
    r->copies = (r->flags & (MAP_PRIVATE | MAP_SHARED)) == MAP_PRIVATE;
    return 1;
}

int cm_plain_request(PyObject *arguments, PyObject *keywords, request *r)
{
    static char *names[] = {"fileno", "length", "flags", "prot", "access", "offset", "trackfd", NULL};
    int file;

    *r = (request){.flags = MAP_SHARED, .prot = BOTH, .track = 1};
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "in|iiiL$p:mmap", names, &file, &r->length, &r->flags, &r->prot,
                                     &r->access, &r->offset, &r->track)) {
        PyErr_Clear();
        return 0;
    }
    if (r->length < 0 || r->offset < 0 || !set_protection(r))
        return 0;
    r->file = file;
    if (file == -1)
        r->flags |= MAP_ANONYMOUS;
    /* With the flag the kernel ignores a file, so that a resize must not touch it either. */
    r->anonymous = (r->flags & MAP_ANONYMOUS) != 0;
    return 1;
}

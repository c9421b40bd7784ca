/*
 * Accesses to mapped memory. Where the platform lets a thread survive a page that is lost or protected, which is on
 * Windows so far, such an access ends there and is an error; elsewhere it ends the process by SIGBUS or SIGSEGV.
 */
#ifndef CFFIMMAP_GUARD_H
#define CFFIMMAP_GUARD_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Keeps a rare way out of the frequent one before it, which would save and restore registers for it. */
#if defined(_MSC_VER) && !defined(__clang__)
#define CM_NEVER_INLINE __declspec(noinline)
#else
#define CM_NEVER_INLINE __attribute__((noinline))
#endif

/* What accesses memory, and no more: it may be left in the midst, so that it must hold nothing and call nobody. */
typedef void cm_access(void *arguments);

#if defined(_WIN32)
/* Calls access(arguments); 0, or the system's error for the page. */
int cm_guard(cm_access *access, void *arguments);
#else
static inline int cm_guard(cm_access *access, void *arguments)
{
    access(arguments);
    return 0;
}
#endif

typedef struct {
    unsigned char *target;
    const unsigned char *source;
    size_t count;
} cm_copying;

/* A number, in one access where it is aligned: compilers make one of a memcpy whose size they know. A memmove of 2 bytes
 * may be two accesses (glibc), between which another process sees half of it, and one of 4 or 8 the same one twice, which
 * a device's register counts. */
#define CM_COPY_NUMBER(type)                            \
    case sizeof(type): {                                \
        type number;                                    \
                                                        \
        memcpy(&number, c->source, sizeof number);      \
        memcpy(c->target, &number, sizeof number);      \
        return;                                         \
    }

static inline void cm_copy_unguarded(void *arguments)
{
    const cm_copying *c = arguments;

    switch (c->count) {
    CM_COPY_NUMBER(uint8_t)
    CM_COPY_NUMBER(uint16_t)
    CM_COPY_NUMBER(uint32_t)
    CM_COPY_NUMBER(uint64_t)
    }
    memmove(c->target, c->source, c->count);
}

/* Copies count bytes, which may overlap; either side may be mapped memory. After an error some of them are copied. */
static inline int cm_copy(unsigned char *target, const unsigned char *source, size_t count)
{
    cm_copying copying = {target, source, count};

    return cm_guard(cm_copy_unguarded, &copying);
}

#endif

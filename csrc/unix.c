/* The contract on Unix: Linux, macOS and the BSDs. */
#if defined(__linux__)
#define _GNU_SOURCE             /* mremap, F_DUPFD_CLOEXEC under -std=c11 */
#endif
#define _FILE_OFFSET_BITS 64    /* off_t of 64 bits on 32-bit systems too */

#include "cffimmap.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#if defined(__linux__)
#include <sys/prctl.h>
/* Kernel constants (linux/prctl.h, asm-generic/mman-common.h) that the C library's headers may be too old for. */
#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif
#ifndef PR_SET_VMA_ANON_NAME
#define PR_SET_VMA_ANON_NAME 0
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#endif

#ifndef MAP_ANONYMOUS
#define MAP_ANONYMOUS MAP_ANON
#endif
#ifndef MAP_NORESERVE
#define MAP_NORESERVE 0         /* FreeBSD, OpenBSD: memory is never reserved in advance */
#endif

size_t cm_page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

size_t cm_granularity(void)
{
    return cm_page_size();
}

int cm_status(cm_file file, long long *size, int *regular)
{
    struct stat status;

    if (fstat((int)file, &status) == -1)
        return errno;
    *size = (long long)status.st_size;
    *regular = S_ISREG(status.st_mode) != 0;
    return 0;
}

int cm_truncate(cm_file file, long long size)
{
    while (ftruncate((int)file, (off_t)size) == -1)
        if (errno != EINTR)
            return errno;
    return 0;
}

int cm_duplicate(cm_file file, cm_file *copy)
{
    int descriptor = fcntl((int)file, F_DUPFD_CLOEXEC, 0);

    if (descriptor == -1)
        return errno;
    *copy = descriptor;
    return 0;
}

int cm_close(cm_file file)
{
    /* After EINTR Linux has closed the descriptor all the same (close(2)): a second try could close another's. */
    if (close((int)file) == -1 && errno != EINTR)
        return errno;
    return 0;
}

static int map(void *where, int file, size_t length, int prot, int flags, long long offset, unsigned char **base)
{
    void *address = mmap(where, length, prot, flags, file, (off_t)offset);

    if (address == MAP_FAILED)
        return errno;
    *base = address;
    return 0;
}

int cm_map(cm_file file, size_t length, int prot, int flags, long long offset, unsigned char **base)
{
    return map(NULL, (int)file, length, prot, file == -1 ? flags | MAP_ANONYMOUS : flags, offset, base);
}

int cm_unmap(unsigned char *base, size_t length)
{
    return munmap(base, length) == -1 ? errno : 0;
}

int cm_blank(unsigned char *base, size_t length)
{
    return map(base, -1, length, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, 0,
               &base);
}

#if defined(__linux__)
static int remap(unsigned char *base, size_t length, size_t new_length, unsigned char **new_base)
{
    void *address = mremap(base, length, new_length, MREMAP_MAYMOVE);

    if (address == MAP_FAILED)
        return errno;
    *new_base = address;
    return 0;
}

int cm_remap(unsigned char *base, size_t length, size_t new_length, unsigned char **new_base)
{
    return remap(base, length, new_length, new_base);
}

int cm_twin(unsigned char *base, size_t length, unsigned char **twin)
{
    /* An old size of 0 asks for another mapping of the same shareable pages (mremap(2)). */
    return remap(base, 0, length, twin);
}

int cm_set_name(unsigned char *base, size_t length, const char *name)
{
    return prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, base, length, name) == -1 ? errno : 0;
}
#else
int cm_remap(unsigned char *base, size_t length, size_t new_length, unsigned char **new_base)
{
    (void)base, (void)length, (void)new_length, (void)new_base;
    return CM_UNSUPPORTED;
}

int cm_twin(unsigned char *base, size_t length, unsigned char **twin)
{
    (void)base, (void)length, (void)twin;
    return CM_UNSUPPORTED;
}

int cm_set_name(unsigned char *base, size_t length, const char *name)
{
    (void)base, (void)length, (void)name;
    return CM_UNSUPPORTED;
}
#endif

int cm_sync(unsigned char *base, size_t offset, size_t length, int flags)
{
    return msync(base + offset, length, flags) == -1 ? errno : 0;
}

int cm_advise(unsigned char *base, size_t offset, size_t length, int advice)
{
    return madvise(base + offset, length, advice) == -1 ? errno : 0;
}

int cm_populate(unsigned char *base, size_t offset, size_t length)
{
#if defined(MADV_POPULATE_READ)
    /* POSIX wants the address of a page; mmap gave base one, so the rounding stays within the mapping. */
    size_t into_page = offset % cm_page_size();

    return madvise(base + offset - into_page, length + into_page, MADV_POPULATE_READ) == -1 ? errno : 0;
#else
    (void)base, (void)offset, (void)length;
    return CM_UNSUPPORTED;
#endif
}

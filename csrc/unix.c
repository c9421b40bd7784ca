/* The contract on Unix: Linux, macOS and the BSDs. */
#if defined(__linux__)
#define _GNU_SOURCE             /* mremap, F_DUPFD_CLOEXEC under -std=c11 */
#endif
#define _FILE_OFFSET_BITS 64    /* off_t of 64 bits on 32-bit systems too */

#include "cffimmap.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#if defined(__linux__)
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/vfs.h>
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
#ifndef HUGETLBFS_MAGIC
#define HUGETLBFS_MAGIC 0x958458f6u
#endif
#ifndef MAP_HUGE_SHIFT
#define MAP_HUGE_SHIFT 26
#define MAP_HUGE_MASK 0x3f
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4      /* Linux 5.7; for files 5.13 */
#endif
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000    /* Linux 4.17 */
#endif
#define MAP_UNOCCUPIED MAP_FIXED_NOREPLACE
#elif defined(MAP_FIXED) && defined(MAP_EXCL)
#define MAP_UNOCCUPIED (MAP_FIXED | MAP_EXCL)   /* FreeBSD */
#else
#define MAP_UNOCCUPIED 0
#endif

#ifndef MAP_ANONYMOUS
#define MAP_ANONYMOUS MAP_ANON
#endif
#ifndef MAP_NORESERVE
#define MAP_NORESERVE 0         /* where memory is never reserved in advance, as on FreeBSD */
#endif

ptrdiff_t cm_page_size(void)
{
    return sysconf(_SC_PAGESIZE);
}

ptrdiff_t cm_granularity(void)
{
    return cm_page_size();
}

uint32_t cm_clock(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint32_t)now.tv_sec * 1000u + (uint32_t)(now.tv_nsec / 1000000);
}

int cm_around_forks(void (*before)(void), void (*in_parent)(void), void (*in_child)(void))
{
    return pthread_atfork(before, in_parent, in_child);
}

int cm_exhausted(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOMEM;
}

void cm_pause(void)
{
    struct timespec moment = {0, 200000};

    nanosleep(&moment, NULL);
}

int cm_file_of(int descriptor, cm_file *file)
{
    *file = descriptor;
    return 0;
}

#if defined(__linux__)
/* The size of huge pages that a flag asks for without saying which: 2 MiB on most machines. */
static ptrdiff_t default_huge_page(void)
{
    char text[4096];
    int descriptor = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
    ssize_t count = descriptor == -1 ? -1 : read(descriptor, text, sizeof text - 1);
    const char *line;

    if (descriptor != -1)
        close(descriptor);
    text[count < 0 ? 0 : count] = 0;
    line = strstr(text, "Hugepagesize:");
    return line == NULL ? cm_page_size() : (ptrdiff_t)strtol(line + strlen("Hugepagesize:"), NULL, 10) * 1024;
}

static int is_huge(int descriptor, const struct stat *status)
{
    struct statfs system;

    return status->st_blksize > cm_page_size() && fstatfs(descriptor, &system) == 0 &&
           (uint32_t)system.f_type == HUGETLBFS_MAGIC;
}

ptrdiff_t cm_huge_page(int flags)
{
    int bits = flags >> MAP_HUGE_SHIFT & MAP_HUGE_MASK;

    if (!(flags & MAP_HUGETLB))
        return cm_page_size();
    return bits == 0 ? default_huge_page() : (ptrdiff_t)1 << bits;
}
#else
static int is_huge(int descriptor, const struct stat *status)
{
    (void)descriptor, (void)status;
    return 0;
}

ptrdiff_t cm_huge_page(int flags)
{
    (void)flags;
    return cm_page_size();
}
#endif

int cm_shape(cm_file file, long long *size, int *regular, ptrdiff_t *page)
{
    struct stat status;

    if (fstat((int)file, &status) == -1)
        return errno;
    *size = (long long)status.st_size;
    *regular = S_ISREG(status.st_mode) != 0;
    *page = is_huge((int)file, &status) ? (ptrdiff_t)status.st_blksize : cm_page_size();
    return 0;
}

int cm_status(cm_file file, long long *size, int *regular)
{
    ptrdiff_t page;

    return cm_shape(file, size, regular, &page);
}

int cm_truncate(cm_file file, long long size)
{
    while (ftruncate((int)file, (off_t)size) == -1)
        if (errno != EINTR)
            return errno;
    return 0;
}

int cm_sync_file(cm_file file)
{
#if defined(F_FULLFSYNC)
    /* fsync() does not reach the disk on macOS, and a map may show what is there (CPython's issue 11277). */
    return fcntl((int)file, F_FULLFSYNC) == -1 ? errno : 0;
#else
    (void)file;
    return CM_UNSUPPORTED;
#endif
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

/* The outcome of mmap and mremap, which share their failure value. */
static int mapped(void *address, size_t length, cm_range *range)
{
    if (address == MAP_FAILED)
        return errno;
    range->base = address;
    range->length = (ptrdiff_t)length;
    return 0;
}

int cm_map(cm_file source, size_t length, int prot, int flags, long long offset, cm_range *range)
{
    return mapped(mmap(NULL, length, prot, flags, (int)source, (off_t)offset), length, range);
}

int cm_unmap(cm_range *range)
{
    if (munmap(range->base, (size_t)range->length) == -1)
        return errno;
    *range = (cm_range){NULL, 0};
    return 0;
}

int cm_blank(unsigned char *base, size_t length)
{
    cm_range range;
    int flags = MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

    return mapped(mmap(base, length, PROT_READ | PROT_WRITE, flags, -1, 0), length, &range);
}

int cm_map_over(unsigned char *base, cm_file source, size_t length, int prot, int flags, long long offset)
{
    void *address = mmap(base, length, prot, (flags & ~MAP_UNOCCUPIED) | MAP_FIXED, (int)source, (off_t)offset);

    return address == MAP_FAILED ? errno : 0;
}

int cm_map_at(unsigned char *base, cm_file source, size_t length, int prot, int flags, long long offset)
{
    void *address = mmap(base, length, prot, flags | MAP_UNOCCUPIED, (int)source, (off_t)offset);

    if (address == MAP_FAILED)
        return errno;
    if (address == base)
        return 0;
    /* Where the flag is not known, the address was no more than a hint. */
    munmap(address, length);
    return EEXIST;
}

#if defined(__linux__)
int cm_extend(cm_range *range, size_t length)
{
    return mapped(mremap(range->base, (size_t)range->length, length, 0), length, range);
}

int cm_move_pages(const cm_range *range, cm_range *place)
{
    size_t length = (size_t)range->length;

    return mapped(mremap(range->base, length, length, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL), length, place);
}

int cm_move_pages_back(cm_range *place, const cm_range *range)
{
    size_t length = (size_t)range->length;
    void *address = mremap(place->base, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, range->base);

    if (address == MAP_FAILED)
        return errno;
    *place = (cm_range){NULL, 0};
    return 0;
}

int cm_remap(cm_range *range, size_t length)
{
    return mapped(mremap(range->base, (size_t)range->length, length, MREMAP_MAYMOVE), length, range);
}

int cm_twin(unsigned char *base, size_t length, cm_range *twin)
{
    /* An old size of 0 asks for another mapping of the same shareable pages (mremap(2)). */
    return mapped(mremap(base, 0, length, MREMAP_MAYMOVE), length, twin);
}

static int set_name(void *base, size_t length, const char *name)
{
    return prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, base, length, name) == -1 ? errno : 0;
}

/* Whether the kernel knows names at all (5.17, CONFIG_ANON_VMA_NAME): one that does not answers EINVAL, as it does to a
 * bad name. */
static int knows_names(void)
{
    size_t length = (size_t)cm_page_size();
    void *page = mmap(NULL, length, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int known = page == MAP_FAILED || set_name(page, length, "cffimmap") == 0;

    if (page != MAP_FAILED)
        munmap(page, length);
    return known;
}

int cm_set_name(unsigned char *base, size_t length, const char *name)
{
    int error = set_name(base, length, name);

    return error == EINVAL && !knows_names() ? CM_UNSUPPORTED : error;
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
    size_t into_page = offset % (size_t)cm_page_size();

    return madvise(base + offset - into_page, length + into_page, MADV_POPULATE_READ) == -1 ? errno : 0;
#else
    (void)base, (void)offset, (void)length;
    return CM_UNSUPPORTED;
#endif
}

/* ---- what is Windows's or Linux's alone ---- */

#include "unsupported.h"

int cm_make_section(cm_file file, int prot, long long size, const wchar_t *tag, cm_file *section, int *existed) UNSUPPORTED
int cm_open_section(const wchar_t *tag, cm_file *section) UNSUPPORTED

#if !defined(__linux__)
int cm_extend(cm_range *range, size_t length) UNSUPPORTED
int cm_remap(cm_range *range, size_t length) UNSUPPORTED
int cm_twin(unsigned char *base, size_t length, cm_range *twin) UNSUPPORTED
int cm_move_pages(const cm_range *range, cm_range *place) UNSUPPORTED
int cm_move_pages_back(cm_range *place, const cm_range *range) UNSUPPORTED
int cm_set_name(unsigned char *base, size_t length, const char *name) UNSUPPORTED
#endif

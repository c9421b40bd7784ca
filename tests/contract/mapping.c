/*
 * The third floor of csrc/cffimmap.h, one mapping, on Unix and on Windows, without Python.
 *
 * With -DFAILING, and with the linker told to --wrap what is named below, each call of a lower floor is made to fail in
 * its turn: after that a mapping is as before or as after, and nothing is left over. On Unix these are the system's own
 * calls, on Windows the contract's. The last line says how many tests passed and failed.
 */
#if defined(_WIN32)
#if !defined(_WIN32_WINNT)
#define _WIN32_WINNT 0x0603
#endif
#define WIN32_LEAN_AND_MEAN
#elif defined(__linux__)
#define _GNU_SOURCE             /* MAP_ANONYMOUS, MADV_RANDOM under -std=c11 */
#endif
#define _FILE_OFFSET_BITS 64

#include "cffimmap.h"

#include "checks.h"

#include <string.h>

#if defined(_WIN32)
#include <windows.h>
#else
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

/* ---- the system ---- */

#if defined(_WIN32)

enum { SHARED = CM_WRITE, PRIVATE = CM_COPY, IN_USE = ERROR_USER_MAPPED_FILE };

static cm_file open_file(void)
{
    wchar_t folder[MAX_PATH], path[MAX_PATH];
    HANDLE file;

    if (!GetTempPathW(MAX_PATH, folder) || !GetTempFileNameW(folder, L"map", 0, path))
        give_up("GetTempFileName");
    file = CreateFileW(path, GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                       OPEN_EXISTING, FILE_FLAG_DELETE_ON_CLOSE, NULL);
    if (file == INVALID_HANDLE_VALUE)
        give_up("CreateFile");
    return (cm_file)file;
}

static void transfer(cm_file file, unsigned char *bytes, size_t count, int writes)
{
    OVERLAPPED start = {0};
    DWORD done = 0;
    BOOL good = writes ? WriteFile((HANDLE)file, bytes, (DWORD)count, &done, &start)
                       : ReadFile((HANDLE)file, bytes, (DWORD)count, &done, &start);

    if (!good || done != count)
        give_up("ReadFile or WriteFile");
}

/* What a process holds: the views, and its handles. */
static size_t mapped_now(void)
{
    MEMORY_BASIC_INFORMATION entry;
    unsigned char *address = NULL;
    size_t sum = 0;

    for (; VirtualQuery(address, &entry, sizeof entry) != 0; address += entry.RegionSize)
        if (entry.State != MEM_FREE && entry.Type == MEM_MAPPED)
            sum += entry.RegionSize;
    return sum;
}

static size_t open_now(void)
{
    DWORD count = 0;

    if (!GetProcessHandleCount(GetCurrentProcess(), &count))
        give_up("GetProcessHandleCount");
    return count;
}

#else

enum { SHARED = MAP_SHARED, PRIVATE = MAP_PRIVATE };

static cm_file open_file(void)
{
    char path[4096];
    const char *folder = getenv("TMPDIR");
    int descriptor;

    snprintf(path, sizeof path, "%s/mapping-XXXXXX", folder == NULL ? "/tmp" : folder);
    descriptor = mkstemp(path);
    if (descriptor == -1)
        give_up("mkstemp");
    unlink(path);
    return descriptor;
}

static void transfer(cm_file file, unsigned char *bytes, size_t count, int writes)
{
    ssize_t done = writes ? pwrite((int)file, bytes, count, 0) : pread((int)file, bytes, count, 0);

    if (done != (ssize_t)count)
        give_up("pread or pwrite");
}

/* Bytes of address space; 0 where the system does not tell. */
static size_t mapped_now(void)
{
    char text[64] = "";
    int descriptor = open("/proc/self/statm", O_RDONLY);

    if (descriptor == -1)
        return 0;
    if (read(descriptor, text, sizeof text - 1) <= 0)
        give_up("/proc/self/statm");
    close(descriptor);
    return (size_t)strtoull(text, NULL, 10) * (size_t)sysconf(_SC_PAGESIZE);
}

static size_t open_now(void)
{
    size_t count = 0;

    for (int descriptor = 0; descriptor < 64; descriptor++)
        count += fcntl(descriptor, F_GETFD) != -1;
    return count;
}

#endif

static long long size_of(cm_file file)
{
    long long size = -1;
    int regular;

    return cm_status(file, &size, &regular) == 0 ? size : -1;
}

/* ---- calls that fail ---- */

enum { NONE = 0, ALWAYS = -1 };

static struct {
    int number;                 /* of the call that fails; ALWAYS: every one that may move pages */
    int row;                    /* how many calls after that one fail, too */
    int error;
    int calls;
    int met;                    /* whether one has failed */
    size_t allowed;             /* bytes that a call that unmaps has left over */
    void (*before)(void);       /* what is done in the midst of the next call */
    unsigned char *room;        /* where the next mapping shall lie */
} fault;

#if defined(FAILING)

static int fails(void)
{
    void (*before)(void) = fault.before;

    fault.before = NULL;
    if (before != NULL)
        before();
    fault.calls++;
    if (fault.calls < fault.number || fault.calls > fault.number + fault.row || fault.number <= 0)
        return 0;
    fault.met = 1;
    return 1;
}

#if defined(_WIN32)

#define WRAP(name, parameters, arguments)       \
    int __real_##name parameters;               \
    int __wrap_##name parameters;               \
    int __wrap_##name parameters                \
    {                                           \
        return fails() ? fault.error : __real_##name arguments; \
    }

WRAP(cm_map, (cm_file source, size_t length, int prot, int flags, long long offset, cm_range *range),
     (source, length, prot, flags, offset, range))
WRAP(cm_truncate, (cm_file file, long long size), (file, size))
WRAP(cm_status, (cm_file file, long long *size, int *regular), (file, size, regular))
WRAP(cm_duplicate, (cm_file file, cm_file *copy), (file, copy))
WRAP(cm_make_section, (cm_file file, int prot, long long size, const wchar_t *tag, cm_file *section, int *existed),
     (file, prot, size, tag, section, existed))
WRAP(cm_open_section, (const wchar_t *tag, cm_file *section), (tag, section))
WRAP(cm_store, (unsigned char *base, size_t offset, const unsigned char *source, size_t count),
     (base, offset, source, count))

int __real_cm_unmap(cm_range *range);
int __wrap_cm_unmap(cm_range *range);
int __wrap_cm_unmap(cm_range *range)
{
    if (!fails())
        return __real_cm_unmap(range);
    fault.allowed += (size_t)range->length + (size_t)cm_page_size();
    return fault.error;
}

int __real_cm_close(cm_file file);
int __wrap_cm_close(cm_file file);
/* It closes the file all the same: a tag that stays open would be another's for all that follows. */
int __wrap_cm_close(cm_file file)
{
    int error = fails() ? fault.error : 0;
    int closed = __real_cm_close(file);

    return error != 0 ? error : closed;
}

#else

/* The GNU C library has these under other names where offsets have 64 bits. */
#if defined(__GLIBC__)
#define SYSTEM_(prefix, name) prefix##name##64
#else
#define SYSTEM_(prefix, name) prefix##name
#endif
#define REAL(name) SYSTEM_(__real_, name)
#define WRAPPED(name) SYSTEM_(__wrap_, name)

static int fails_with_errno(void)
{
    if (!fails())
        return 0;
    errno = fault.error;
    return 1;
}

int REAL(ftruncate)(int descriptor, off_t size);
int WRAPPED(ftruncate)(int descriptor, off_t size);
int WRAPPED(ftruncate)(int descriptor, off_t size)
{
    return fails_with_errno() ? -1 : REAL(ftruncate)(descriptor, size);
}

int REAL(fstat)(int descriptor, struct stat *status);
int WRAPPED(fstat)(int descriptor, struct stat *status);
int WRAPPED(fstat)(int descriptor, struct stat *status)
{
    return fails_with_errno() ? -1 : REAL(fstat)(descriptor, status);
}

int REAL(fcntl)(int descriptor, int command, ...);
int WRAPPED(fcntl)(int descriptor, int command, ...);
int WRAPPED(fcntl)(int descriptor, int command, ...)
{
    return fails_with_errno() ? -1 : REAL(fcntl)(descriptor, command, 0);
}

void *REAL(mmap)(void *address, size_t length, int prot, int flags, int descriptor, off_t offset);
void *WRAPPED(mmap)(void *address, size_t length, int prot, int flags, int descriptor, off_t offset);
void *WRAPPED(mmap)(void *address, size_t length, int prot, int flags, int descriptor, off_t offset)
{
    if (fails_with_errno())
        return MAP_FAILED;
    if (address == NULL && fault.room != NULL) {
        address = fault.room;
        fault.room = NULL;
    }
    return REAL(mmap)(address, length, prot, flags, descriptor, offset);
}

int __real_cm_around_forks(void (*before)(void), void (*in_parent)(void), void (*in_child)(void));
int __wrap_cm_around_forks(void (*before)(void), void (*in_parent)(void), void (*in_child)(void));
int __wrap_cm_around_forks(void (*before)(void), void (*in_parent)(void), void (*in_child)(void))
{
    return fails() ? fault.error : __real_cm_around_forks(before, in_parent, in_child);
}

/* The last file that was synchronised, and how many of the calls above had come before. */
static cm_file synchronised;
static int calls_before;

int __real_cm_sync_file(cm_file file);
int __wrap_cm_sync_file(cm_file file);
int __wrap_cm_sync_file(cm_file file)
{
    synchronised = file;
    calls_before = fault.calls;
    return __real_cm_sync_file(file);
}

int __real_munmap(void *address, size_t length);
int __wrap_munmap(void *address, size_t length);
int __wrap_munmap(void *address, size_t length)
{
    if (!fails_with_errno())
        return __real_munmap(address, length);
    fault.allowed += length + (size_t)cm_page_size();
    return -1;
}

#if defined(__linux__)
void *__real_mremap(void *address, size_t before, size_t after, int flags, void *place);
void *__wrap_mremap(void *address, size_t before, size_t after, int flags, ...);
void *__wrap_mremap(void *address, size_t before, size_t after, int flags, ...)
{
    va_list arguments;
    void *place;

    va_start(arguments, flags);
    place = flags & 2 ? va_arg(arguments, void *) : NULL;   /* MREMAP_FIXED */
    va_end(arguments);
    if (fails_with_errno() || fault.number == ALWAYS) {
        errno = fault.error;
        fault.met = 1;
        return MAP_FAILED;
    }
    return __real_mremap(address, before, after, flags, place);
}
#endif

#endif

#endif

static void let_fail(int number, int error)
{
    fault.number = number;
    fault.error = error;
    fault.row = fault.calls = fault.met = 0;
}

/* ---- a mapping and what it should hold ---- */

#define MOST ((size_t)(48 * 65536))

enum { SPANS = 8 };

typedef struct {
    const char *name;
    int file;                   /* whether there is one */
    int how;                    /* SHARED or PRIVATE */
    int offset;                 /* in granules */
    int part;                   /* the mapping ends before the file does */
    const wchar_t *tag;
    int grows;                  /* whether it can */
} kind;

/* In which ways a kind is put to a test. */
typedef struct {
    int kept;
    int room;                   /* nothing lies behind it, if that can be had */
    int advised;                /* the system knows it in parts */
} manner;

static struct {
    const kind *kind;
    manner manner;
    cm_mapping m;
    cm_span spans[SPANS];
    unsigned char *had[SPANS];  /* addresses that somebody may have */
    size_t had_bytes[SPANS];
    int used;
    cm_file file;
    size_t offset, length;
    size_t mapped, open;
    cm_range fence;
} now;

/* The file and the memory as they should be, and as they were found. */
static unsigned char in_file[MOST], in_memory[MOST], found[MOST];
static size_t file_size;

static size_t granule(void)
{
    return (size_t)cm_granularity();
}

static void fill(unsigned char *bytes, size_t count, unsigned seed)
{
    for (size_t i = 0; i < count; i++)
        bytes[i] = (unsigned char)(1 + (i * 7 + i / 251 + seed) % 255);
}

static void make_file(const kind *k)
{
    file_size = 5 * granule() + 100;
    memset(in_file, 0, MOST);
    fill(in_file, file_size, 3);
    now.file = open_file();
    transfer(now.file, in_file, file_size, 1);
    now.offset = (size_t)k->offset * granule();
    now.length = k->part ? 2 * granule() + 50 : file_size - now.offset;
}

static void make_source(const kind *k)
{
    memset(in_memory, 0, MOST);
    if (k->file) {
        make_file(k);
        memcpy(in_memory, in_file + now.offset, now.length);
    } else {
        now.file = -1;
        now.offset = 0;
        now.length = 4 * granule() + 100;
    }
}

static void make_mapping(const kind *k)
{
    memset(&now.m, 0, sizeof now.m);
    memset(now.spans, 0, sizeof now.spans);
    now.used = 1;
    now.m.span = now.spans;
    now.m.tag = k->tag;
    now.m.offset = (long long)now.offset;
#if defined(_WIN32)
    now.m.prot = k->how;
#else
    now.m.prot = PROT_READ | PROT_WRITE;
    now.m.flags = k->how | (k->file ? 0 : MAP_ANON);
#endif
    now.m.anonymous = !k->file;
    now.m.copies = k->how == PRIVATE;
}

static void write_memory(void)
{
    fill(in_memory, now.length, 77);
    memcpy(now.m.span->range.base, in_memory, now.length);
    if (now.kind->file && now.kind->how == SHARED)
        memcpy(in_file + now.offset, in_memory, now.length);
}

/* Somebody takes the addresses of the mapping. */
static void take_addresses(void)
{
    int i = (int)(now.m.span - now.spans);

    now.spans[i].kept = 1;
    now.had[i] = now.m.span->range.base;
    if ((size_t)now.m.span->length > now.had_bytes[i])
        now.had_bytes[i] = (size_t)now.m.span->length;
}

static void make_room(void)
{
#if defined(FAILING) && !defined(_WIN32)
    cm_range range;

    fault.room = NULL;
    if (!now.manner.room || cm_map(-1, 64 * granule(), PROT_NONE, MAP_PRIVATE | MAP_ANON, 0, &range) != 0)
        return;
    fault.room = range.base;
    (void)cm_unmap(&range);
#endif
}

/* Lets nothing be mapped behind the mapping. */
static void fence_in(void)
{
    now.fence = (cm_range){NULL, 0};
#if !defined(_WIN32)
    unsigned char *end = now.m.span->range.base + now.m.span->range.length;
    size_t page = (size_t)cm_page_size();

    if (!now.manner.room && cm_map_at(end, -1, page, PROT_NONE, MAP_PRIVATE | MAP_ANON, 0) == 0)
        now.fence = (cm_range){end, (ptrdiff_t)page};
#endif
}

static void advise_a_part(void)
{
#if !defined(_WIN32)
    if (now.manner.advised && cm_advise(now.m.span->range.base, granule(), granule(), MADV_RANDOM) != 0)
        give_up("madvise");
#endif
}

static int open_mapping(void)
{
    return cm_mapping_open(&now.m, now.file, 1, now.kind->file && !now.kind->part ? 0 : now.length);
}

static void prepare(const kind *k, const manner *how)
{
    memset(&now, 0, sizeof now);
    memset(&fault, 0, sizeof fault);
    now.kind = k;
    now.manner = *how;
    make_source(k);
    make_mapping(k);
    now.mapped = mapped_now();
    now.open = open_now();
}

static void begin(const kind *k, const manner *how)
{
    prepare(k, how);
    make_room();
    if (open_mapping() != 0)
        give_up("cm_mapping_open");
    fault.room = NULL;
    write_memory();
    fence_in();
    advise_a_part();
    if (how->kept)
        take_addresses();
}

#if !defined(_WIN32)
static int is_zero(const unsigned char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (bytes[i] != 0)
            return 0;
    return 1;
}
#endif

/* Whoever has the addresses of memory that was taken away finds zeros there, or on Windows the memory. */
static int old_addresses_are_good(void)
{
    for (int i = 0; i < SPANS; i++) {
        if (now.had[i] == NULL || (&now.spans[i] == now.m.span && !now.m.closed))
            continue;
#if defined(_WIN32)
        memcpy(found, now.had[i], now.had_bytes[i]);
#else
        if (!is_zero(now.had[i], now.had_bytes[i]))
            return 0;
#endif
    }
    /* What was cut off is there, too. */
    if (now.m.span->kept)
        memcpy(found, now.had[now.m.span - now.spans], now.had_bytes[now.m.span - now.spans]);
    return 1;
}

static int file_is_as_it_should_be(void)
{
    if (now.file == -1)
        return 1;
    if (size_of(now.file) != (long long)file_size)
        return 0;
    transfer(now.file, found, file_size, 0);
    return memcmp(found, in_file, file_size) == 0;
}

/* That the mapping has what it should have. */
static void check_contents(void)
{
    CHECK(!now.m.closed);
    CHECK(now.m.span->length == (ptrdiff_t)now.length);
    CHECK(now.m.span->range.length >= now.m.span->length);
    CHECK(cm_run_load(&now.m, 0, now.length, found) == 0);
    CHECK(memcmp(found, in_memory, now.length) == 0);
    CHECK(cm_run_load(&now.m, now.length, 1, found) == CM_GONE);
    CHECK(file_is_as_it_should_be());
    CHECK(old_addresses_are_good());
}

static void check_nothing_is_left(void)
{
    if (now.mapped != 0)
        CHECK(mapped_now() <= now.mapped + fault.allowed);
    CHECK(open_now() <= now.open);
}

static void check_closed(void)
{
    let_fail(NONE, 0);
    CHECK(now.m.closed);
    CHECK(now.m.file == -1 && now.m.section == -1);
    CHECK(now.m.span->length == 0);
    CHECK(cm_run_load(&now.m, 0, 0, found) == CM_GONE);
    CHECK(cm_mapping_resize(&now.m, 1, NULL) == CM_GONE);
    CHECK(cm_mapping_close(&now.m) == 0);
    CHECK(old_addresses_are_good());
    for (int i = 0; i < SPANS; i++)
        cm_span_end(&now.spans[i]);
    if (now.fence.base != NULL)
        (void)cm_unmap(&now.fence);
    check_nothing_is_left();
    if (now.file != -1)
        cm_close(now.file);
}

static void end(void)
{
    if (broken)
        return;
    CHECK(cm_mapping_close(&now.m) == 0);
    check_closed();
}

/* What a resize should make of it. */
static void expect(size_t length)
{
    if (now.kind->file) {
        file_size = now.offset + length;
        memset(in_file + file_size, 0, MOST - file_size);
    }
    if (length > now.length) {
        memset(in_memory + now.length, 0, MOST - now.length);
        if (now.kind->file)
            memcpy(in_memory + now.length, in_file + now.offset + now.length, length - now.length);
    }
    now.length = length;
}

static int resize(size_t length)
{
    return cm_mapping_resize(&now.m, length, &now.spans[now.used++]);
}

/* A resize that may be refused for reasons of Windows. */
static int is_refused(size_t length)
{
#if defined(_WIN32)
    return now.kind->file && now.m.span->kept && now.offset + length < file_size;
#else
    (void)length;
    return 0;
#endif
}

static void resize_well(size_t length)
{
    int refused = is_refused(length);
    int error = resize(length);

#if defined(_WIN32)
    CHECK(error == (refused ? IN_USE : 0));
#else
    CHECK(error == 0);
#endif
    if (!refused)
        expect(length);
    check_contents();
}

/* ---- the tests ---- */

static const kind kinds[] = {
    {"shared file", 1, SHARED, 0, 0, NULL, 1},
    {"shared file at an offset", 1, SHARED, 2, 0, NULL, 1},
    {"part of a shared file", 1, SHARED, 0, 1, NULL, 1},
    {"part of a shared file at an offset", 1, SHARED, 1, 1, NULL, 1},
#if defined(_WIN32)
    {"memory", 0, SHARED, 0, 0, NULL, 1},
    {"memory with a tag", 0, SHARED, 0, 0, L"cffimmap-test-memory", 1},
    {"shared file with a tag", 1, SHARED, 0, 0, L"cffimmap-test-file", 1},
    {"part of a shared file with a tag", 1, SHARED, 1, 1, L"cffimmap-test-part", 1},
#else
    {"private file", 1, PRIVATE, 0, 0, NULL, 1},
    {"private file at an offset", 1, PRIVATE, 2, 0, NULL, 1},
    {"part of a private file", 1, PRIVATE, 0, 1, NULL, 1},
    {"private memory", 0, PRIVATE, 0, 0, NULL, 1},
    {"shared memory", 0, SHARED, 0, 0, NULL, 0},
#endif
};

enum { KINDS = sizeof kinds / sizeof kinds[0] };

/* What a mapping is resized to, in granules and bytes. */
static const struct {
    int granules, bytes;
} lengths[] = {{0, 1}, {0, 100}, {1, 0}, {1, 1}, {2, 49}, {2, 50}, {2, 51}, {3, 0}, {4, 99}, {4, 101}, {7, 0}, {40, 13}};

enum { LENGTHS = sizeof lengths / sizeof lengths[0] };

static size_t length_at(int i)
{
    return (size_t)lengths[i].granules * granule() + (size_t)lengths[i].bytes;
}

static const manner manners[] = {{0, 0, 0}, {0, 1, 0}, {0, 0, 1}, {0, 1, 1}, {1, 0, 0}, {1, 1, 0}, {1, 0, 1}, {1, 1, 1}};

/* Windows knows no room and no advice. */
#if defined(_WIN32)
enum { STEP = 4 };
#else
enum { STEP = 1 };
#endif
enum { MANNERS = sizeof manners / sizeof manners[0] };

static char label[200];

static void tell(const char *what, const kind *k, const manner *how, size_t length, int number)
{
    snprintf(label, sizeof label, "%s: %s%s%s%s, %lu bytes, call %d", what, k->name, how->kept ? ", kept" : "",
             how->room ? ", with room" : "", how->advised ? ", advised" : "", (unsigned long)length, number);
    running = label;
}

/* Calls for every kind, manner and length until one is broken. */
static void for_all(const char *what, void (*test)(size_t length))
{
    for (int k = 0; k < KINDS && !broken; k++)
        for (int how = 0; how < MANNERS && !broken; how += STEP)
            for (int i = 0; i < LENGTHS && !broken; i++) {
                begin(&kinds[k], &manners[how]);
                tell(what, &kinds[k], &manners[how], length_at(i), 0);
                if (length_at(i) <= now.length || kinds[k].grows)
                    test(length_at(i));
                end();
            }
}

static void resize_once(size_t length)
{
    check_contents();
    if (!broken)
        resize_well(length);
}

static void resize_keeps_what_fits(void)
{
    for_all("resize", resize_once);
}

/* Pages that were cut off within the last page are not cleared where they are no file's. */
static int can_be_foreseen(void)
{
    return now.kind->file && now.kind->how == SHARED;
}

static void resize_often(size_t length)
{
    size_t sizes[] = {length, 3 * granule(), 6 * granule() + 5, length};

    for (int i = 0; i < 4 && can_be_foreseen() && !broken; i++) {
        resize_well(sizes[i]);
        if (now.manner.kept && !broken)
            take_addresses();
    }
}

static void resize_may_be_repeated(void)
{
    for_all("resize again", resize_often);
}

static void write_and_see(size_t length)
{
    unsigned char byte = 200;

    if (is_refused(length))
        return;
    resize_well(length);
    if (broken)
        return;
    CHECK(cm_run_store(&now.m, length - 1, &byte, 1) == 0);
    in_memory[length - 1] = byte;
    if (can_be_foreseen())
        in_file[now.offset + length - 1] = byte;
    check_contents();
}

static void writes_go_where_they_should_after_a_resize(void)
{
    for_all("write", write_and_see);
}

static void calls_beyond_the_end_are_gone(void)
{
    const manner plain = {0, 0, 0};
    unsigned char byte = 'x';

    begin(&kinds[0], &plain);
    resize_well(100);
    CHECK(cm_run_store(&now.m, 99, &byte, 1) == 0);
    CHECK(cm_run_store(&now.m, 100, &byte, 1) == CM_GONE);
    CHECK(cm_run_store(&now.m, 100, &byte, 0) == 0);
    CHECK(cm_run_move(&now.m, 0, 50, 51) == CM_GONE);
    CHECK(cm_run_move(&now.m, 51, 0, 50) == CM_GONE);
    CHECK(cm_run_move(&now.m, 50, 0, 50) == 0);
    CHECK(cm_run_gather(&now.m, 0, 33, 4, found) == 0);
    CHECK(cm_run_gather(&now.m, 1, 33, 4, found) == CM_GONE);
    CHECK(cm_run_gather(&now.m, 99, -33, 4, found) == 0);
    CHECK(cm_run_gather(&now.m, 100, -33, 4, found) == CM_GONE);
    CHECK(cm_run_gather(&now.m, 5000, -33, 0, found) == 0);
    CHECK(cm_run_scatter(&now.m, 100, -33, 4, found) == CM_GONE);
    CHECK(cm_run_line_end(&now.m, 0, 101) == CM_GONE);
    CHECK(cm_run_line_end(&now.m, 0, 100) > 0);
    CHECK(cm_run_find(&now.m, 0, 101, &byte, 1, 0) == CM_GONE);
    CHECK(cm_run_find(&now.m, 0, 100, &byte, 1, 0) >= 0);
    CHECK(cm_run_find(&now.m, 0, 100, &byte, 1, 1) >= 49);
    CHECK(cm_run_size(&now.m) == 100);
    CHECK(cm_run_sync(&now.m, 0, 101, 0) == CM_GONE);
    CHECK(cm_mapping_close(&now.m) == 0);
    CHECK(cm_run_size(&now.m) == CM_GONE);
    check_closed();
}

static void private_maps_leave_the_file(void)
{
    const kind copies = {"private file", 1, PRIVATE, 1, 0, NULL, 0};
    const manner plain = {0, 0, 0};

    begin(&copies, &plain);
    check_contents();
    end();
}

static void a_map_without_the_file_s_name_holds_none(void)
{
    const manner plain = {0, 0, 0};

    prepare(&kinds[0], &plain);
    CHECK(cm_mapping_open(&now.m, now.file, 0, 0) == 0);
    CHECK(now.m.file == -1);
    CHECK(cm_run_load(&now.m, 0, now.length, found) == 0);
    CHECK(memcmp(found, in_memory, now.length) == 0);
    end();
}

static void what_is_dropped_is_ended_by_the_destructors(void)
{
    for (int kept = 0; kept < 2 && !broken; kept++) {
        const manner how = {kept, 0, 0};

        begin(&kinds[1], &how);
        cm_mapping_end(&now.m);
        cm_span_end(now.m.span);
        CHECK(now.m.closed && now.m.file == -1);
        if (kept)
            now.had[0] = NULL, now.spans[0].kept = 0;
        check_closed();
    }
}

static void bare_addresses_are_never_given_back(void)
{
    const manner kept = {1, 0, 0};
    cm_range range;

    begin(&kinds[0], &kept);
    range = now.spans[0].range;
    now.spans[0].bare = 1;
    CHECK(cm_mapping_close(&now.m) == 0);
    cm_span_end(&now.spans[0]);
    CHECK(old_addresses_are_good());
    now.had[0] = NULL;
    now.spans[0].kept = 0;
    now.spans[0].range = (cm_range){NULL, 0};
    CHECK(cm_unmap(&range) == 0);
    check_closed();
}

/* ---- a twin ---- */

#if !defined(_WIN32)

/* Pages of the caller's, in the place of which the mapping's are to be mapped once more. */
static unsigned char *make_place(void)
{
    cm_range range;

    if (cm_map(-1, now.length, PROT_READ, MAP_PRIVATE | MAP_ANON, 0, &range) != 0)
        give_up("cm_map");
    return range.base;
}

static void end_place(unsigned char *place)
{
    cm_range range = {place, now.m.twin_length != 0 ? (ptrdiff_t)now.m.twin_length : (ptrdiff_t)now.length};

    if (cm_unmap(&range) != 0)
        give_up("cm_unmap");
}

static void a_twin_shows_the_pages_until_the_close(void)
{
    const manner kept = {1, 0, 0};

    for (int k = 0; k < 2; k++) {
        unsigned char *place, *other;

        begin(&kinds[k], &kept);
        place = make_place();
        other = make_place();
        CHECK(cm_run_twin(&now.m, place, now.length) == 0);
        CHECK(memcmp(place, in_memory, now.length) == 0);
        now.m.span->range.base[7] = in_memory[7] = in_file[now.offset + 7] = 1;
        CHECK(place[7] == 1);
        CHECK(cm_run_twin(&now.m, other, now.length) == CM_UNSUPPORTED);
        CHECK(is_zero(other, now.length));
        check_contents();
        CHECK(cm_mapping_close(&now.m) == 0);
        CHECK(is_zero(place, now.length));
        CHECK(cm_run_twin(&now.m, other, now.length) == CM_GONE);
        end_place(place);
        end_place(other);
        check_closed();
    }
}

static void refuse_twin(const kind *k, int tracked, size_t length)
{
    const manner kept = {1, 0, 0};
    unsigned char *place;

    prepare(k, &kept);
    CHECK(cm_mapping_open(&now.m, now.file, tracked, now.length) == 0);
    write_memory();
    place = make_place();
    CHECK(cm_run_twin(&now.m, place, length != 0 ? length : now.length) != 0);
    CHECK(now.m.twin == 0);
    CHECK(is_zero(place, now.length));
    check_contents();
    end_place(place);
    end();
}

static void a_twin_needs_a_file_of_that_length(void)
{
    refuse_twin(&kinds[0], 0, 0);
    refuse_twin(&kinds[0], 1, 1);
    refuse_twin(&kinds[KINDS - 1], 1, 0);
    refuse_twin(&kinds[KINDS - 2], 1, 0);
}

#if defined(FAILING)

static void a_twin_that_fails_leaves_the_place(void)
{
    const manner kept = {1, 0, 0};
    unsigned char *place;

    begin(&kinds[0], &kept);
    place = make_place();
    let_fail(1, ENOMEM);
    CHECK(cm_run_twin(&now.m, place, now.length) == ENOMEM);
    let_fail(NONE, 0);
    CHECK(is_zero(place, now.length));
    check_contents();
    CHECK(cm_run_twin(&now.m, place, now.length) == 0);
    CHECK(memcmp(place, in_memory, now.length) == 0);
    CHECK(cm_mapping_close(&now.m) == 0);
    end_place(place);
    check_closed();
}

static int close_twin_with_fault(const kind *k, int number)
{
    const manner kept = {1, 0, 0};
    unsigned char *place;
    int error, met;

    begin(k, &kept);
    place = make_place();
    if (cm_run_twin(&now.m, place, now.length) != 0)
        give_up("cm_run_twin");
    let_fail(number, ENOMEM);
    error = cm_mapping_close(&now.m);
    met = fault.met;
    let_fail(NONE, 0);
    if (error != 0) {
        check_contents();
        broken |= memcmp(place, in_memory, now.length) != 0;
    }
    broken |= cm_mapping_close(&now.m) != 0 || !is_zero(place, now.length);
    end_place(place);
    check_closed();
    return met;
}

static void a_close_that_fails_leaves_the_twin_too(void)
{
    int number = 1;

    for (int k = 0; k < 2; k++)
        for (number = 1; !broken && close_twin_with_fault(&kinds[k], number); number++)
            ;
    CHECK(number == 3);
}

#endif

#endif

/* ---- searches that are not counted ---- */

static ptrdiff_t look_near(ptrdiff_t start, ptrdiff_t end, const char *needle, int backwards)
{
    size_t count = strlen(needle);
    uint64_t number = 0;
    ptrdiff_t found = cm_find_bytes_near(now.m.span, start, end, (const unsigned char *)needle, (ptrdiff_t)count, backwards,
                                         1000);

    for (size_t i = 0; i < count; i++)
        number |= (uint64_t)(unsigned char)needle[i] << 8 * i;
    if (cm_find_near(now.m.span, start, end, (int64_t)number, (ptrdiff_t)count, backwards, 1000) != found)
        give_up("cm_find_near");
    return found;
}

static void what_is_near_is_found_without_a_count(void)
{
    const manner plain = {0, 0, 0};
    ptrdiff_t length;
    unsigned char *base;

    begin(&kinds[0], &plain);
    length = now.m.span->length;
    base = now.m.span->range.base;
    memset(base, '.', (size_t)length);
    memcpy(base + 990, "an\xffother", 8);
    memcpy(base + length - 900, "last", 4);
    CHECK(look_near(0, length, "an\xffother", 0) == 990);
    CHECK(look_near(990, 998, "an\xffother", 1) == 990);
    CHECK(look_near(990, 997, "an\xffother", 1) == CM_ABSENT);
    CHECK(look_near(991, 1990, "an\xff", 0) == CM_ABSENT);
    CHECK(look_near(991, 1992, "an\xff", 0) == CM_BUSY);
    CHECK(look_near(0, length, "last", 0) == CM_BUSY);
    CHECK(look_near(0, length, "last", 1) == length - 900);
    CHECK(look_near(0, length, "other", 1) == CM_BUSY);
    CHECK(look_near(-900, PTRDIFF_MAX, "last", 0) == length - 900);
    CHECK(look_near(-899, PTRDIFF_MAX, "last", 0) == CM_ABSENT);
    CHECK(look_near(PTRDIFF_MIN, -length, "a", 0) == CM_ABSENT);
    CHECK(look_near(length + 1, PTRDIFF_MAX, "a", 0) == CM_ABSENT);
    CHECK(look_near(length, PTRDIFF_MAX, "", 0) == length);
    CHECK(look_near(length + 1, PTRDIFF_MAX, "", 0) == CM_ABSENT);
    CHECK(look_near(5, 5, "a", 0) == CM_ABSENT);
    CHECK(look_near(9, 5, "a", 1) == CM_ABSENT);
    write_memory();
    end();
    CHECK(look_near(0, 100, "a", 0) == CM_BUSY);
}

/* What an open answers of a file of so many bytes, from an offset on. */
static void check_refusal(long long size, long long offset, size_t length, int answer)
{
    const manner plain = {0, 0, 0};

    prepare(&kinds[0], &plain);
    CHECK(cm_truncate(now.file, size) == 0);
    now.m.offset = offset;
    CHECK(cm_mapping_open(&now.m, now.file, 1, length) == answer);
    CHECK(size_of(now.file) == size);
    check_closed();
}

static void what_the_file_does_not_have_is_refused(void)
{
    check_refusal(0, 0, 0, CM_EMPTY);
    check_refusal(10, granule(), 0, CM_BEYOND);
    check_refusal(granule(), granule(), 0, CM_BEYOND);
#if !defined(_WIN32)
    check_refusal(10, 0, 11, CM_SHORT);
    check_refusal(10, granule(), 1, CM_SHORT);
    check_refusal(granule(), 1, 1, EINVAL);
#else
    check_refusal(granule(), 1, 2 * granule(), ERROR_MAPPED_ALIGNMENT);
    check_refusal(granule(), LLONG_MAX - granule() + 1, 2 * granule(), ERROR_INVALID_PARAMETER);
#endif
}

/* ---- failures ---- */

#if defined(FAILING)

#if !defined(_WIN32)
/* The first test, as forks are watched from the first open on that succeeds. */
static void nothing_is_opened_unless_forks_are_watched(void)
{
    const manner plain = {0, 0, 0};

    prepare(&kinds[0], &plain);
    fault.calls = 0;
    fault.number = 1;
    fault.error = ENOMEM;
    CHECK(open_mapping() == ENOMEM);
    CHECK(strcmp(now.m.failed, "cm_around_forks") == 0);
    fault.number = NONE;
    check_closed();
}

/* But for the name that it is given. */
static void a_file_is_synchronised_before_anything_else(void)
{
    const manner plain = {0, 0, 0};

    for (int k = 0; k < KINDS && !broken; k++) {
        prepare(&kinds[k], &plain);
        synchronised = -1;
        fault.calls = 0;
        CHECK(open_mapping() == 0);
        CHECK(synchronised == now.file);
        CHECK(now.file == -1 || calls_before == 1);
        write_memory();
        end();
    }
}
#endif

#if defined(_WIN32)
static const int errors[] = {ERROR_NOT_ENOUGH_MEMORY};
#else
static const int errors[] = {ENOMEM, EFAULT};
#endif

/* A mapping that Windows would not map again. */
static int was_closed(size_t length)
{
#if defined(_WIN32)
    long long size = size_of(now.file);

    return now.m.closed && now.m.span->range.base == NULL && !now.manner.kept &&
           (size == (long long)file_size || size == (long long)(now.offset + length));
#else
    (void)length;
    return 0;
#endif
}

/* What a failure may have changed on Windows: no file becomes shorter under a view that must stay, so that what a section
 * has added cannot be undone; and no file that was cut is made whole when the tag alone cannot be had again. */
static void forgive(size_t length)
{
#if defined(_WIN32)
    size_t size = now.offset + length;

    if (!now.kind->file || size_of(now.file) != (long long)size)
        return;
    if (now.manner.kept)
        file_size = size;
    else if (now.kind->tag != NULL && now.m.tag == NULL && size < file_size)
        expect(length);
#else
    (void)length;
#endif
}

static void resize_with_fault(size_t length, int number, int error)
{
    int refused = is_refused(length), answer;

    let_fail(number, error);
    answer = resize(length);
    let_fail(NONE, fault.met);
    if (was_closed(length))
        return;
    if (answer == 0) {
        CHECK(!refused);
        expect(length);
    } else {
        CHECK(refused || fault.error || number == ALWAYS);
        CHECK(refused || number == ALWAYS || answer == error);
        CHECK(now.m.span == now.spans);
        if (!refused)
            forgive(length);
    }
    check_contents();
    if (!broken && answer != 0 && !refused)
        resize_well(length);
}

/* Whether the call of that number is made. */
static int try_fault(const kind *k, const manner *how, size_t length, int number, int error)
{
    int met;

    begin(k, how);
    tell("failing resize", k, how, length, number);
    if (length <= now.length || k->grows)
        resize_with_fault(length, number, error);
    met = fault.error;
    if (!broken && now.m.closed)
        check_closed();
    else
        end();
    return met;
}

static void try_faults(const kind *k, const manner *how, size_t length, int error)
{
    int number = 1;

    while (!broken && try_fault(k, how, length, number, error))
        number++;
    if (!broken)
        try_fault(k, how, length, ALWAYS, error);
}

static void a_resize_that_fails_changes_nothing(void)
{
    for (int k = 0; k < KINDS; k++)
        for (int how = 0; how < MANNERS; how += STEP)
            for (int i = 0; i < LENGTHS; i++)
                for (size_t e = 0; e < sizeof errors / sizeof errors[0] && !broken; e++)
                    try_faults(&kinds[k], &manners[how], length_at(i), errors[e]);
}

/* A file that opening is to make longer, which Windows does. */
static void shorten_file(void)
{
#if defined(_WIN32)
    if (now.kind->file && now.kind->part && now.kind->how == SHARED) {
        file_size = now.offset + 100;
        if (cm_truncate(now.file, (long long)file_size) != 0)
            give_up("cm_truncate");
    }
#endif
}

static int open_with_fault(const kind *k, int number)
{
    const manner plain = {0, 0, 0};
    int error, met;

    prepare(k, &plain);
    shorten_file();
    tell("failing open", k, &plain, now.length, number);
    let_fail(number, errors[0]);
    error = open_mapping();
    met = fault.met;
    let_fail(NONE, 0);
    if (error == 0) {
        end();
        return met;
    }
    if (error != errors[0] || !file_is_as_it_should_be()) {
        printf("FAILED %s: %d\n", running, error);
        broken = 1;
    }
    check_closed();
    return met;
}

static void an_open_that_fails_leaves_nothing(void)
{
    for (int k = 0; k < KINDS; k++)
        for (int number = 1; !broken && open_with_fault(&kinds[k], number); number++)
            ;
}

static int close_with_fault(const kind *k, const manner *how, int number)
{
    int error, met;

    begin(k, how);
    tell("failing close", k, how, now.length, number);
    let_fail(number, errors[0]);
    error = cm_mapping_close(&now.m);
    met = fault.met;
    let_fail(NONE, 0);
    if (error != 0)
        check_contents();
    end();
    return met;
}

static void a_close_that_fails_changes_nothing(void)
{
    for (int k = 0; k < KINDS; k++)
        for (int how = 0; how < MANNERS; how += STEP)
            for (int number = 1; !broken && close_with_fault(&kinds[k], &manners[how], number); number++)
                ;
}

/* ---- in the midst of a call ---- */

static int answers[6];

static void use_meanwhile(void)
{
    cm_span fresh = {{NULL, 0}, 0, 0, 0, 0};
    unsigned char byte;

    answers[0] = cm_run_load(&now.m, 0, 1, &byte);
    answers[1] = cm_mapping_close(&now.m);
    answers[2] = cm_mapping_resize(&now.m, 1, &fresh);
    answers[3] = cm_run_load(&now.m, 0, 1, &byte);
}

static void who_waits_keeps_new_calls_out_for_a_while(void)
{
    const manner plain = {0, 0, 0};
    unsigned char byte;
    int turns = 0;

    begin(&kinds[0], &plain);
    fault.before = use_meanwhile;
    CHECK(cm_run_size(&now.m) == (long long)file_size);
    CHECK(answers[0] == 0);
    CHECK(answers[1] == CM_BUSY && answers[2] == CM_BUSY && answers[3] == CM_BUSY);
    while (cm_run_load(&now.m, 0, 1, &byte) == CM_BUSY && turns < 10000) {
        cm_pause();
        turns++;
    }
    CHECK(turns > 0 && turns < 10000);
    check_contents();
    fault.before = use_meanwhile;
    CHECK(cm_run_size(&now.m) == (long long)file_size);
    end();
}

static void call_from_a_resize(void)
{
    unsigned char byte;

    answers[0] = cm_run_load(&now.m, 0, 1, &byte);
    answers[1] = cm_mapping_close(&now.m);
}

static void nobody_enters_while_the_mapping_is_resized(void)
{
    const manner plain = {0, 0, 0};

    begin(&kinds[0], &plain);
    fault.before = call_from_a_resize;
    resize_well(100);
    CHECK(answers[0] == CM_BUSY && answers[1] == CM_BUSY);
    end();
}

#if !defined(_WIN32)
static void close_in_a_child(void)
{
    pid_t child = fork();
    int status = -1;

    if (child == 0) {
        cm_span fresh = {{NULL, 0}, 0, 0, 0, 0};
        unsigned char byte;
        int good = cm_run_load(&now.m, 0, 1, &byte) == 0 && cm_mapping_resize(&now.m, now.length, &fresh) == 0 &&
                   cm_mapping_close(&now.m) == 0;

        _exit(good ? 0 : 1);
    }
    if (child == -1 || waitpid(child, &status, 0) != child)
        give_up("fork");
    answers[0] = status;
}

static void a_forked_child_has_none_of_its_parent_s_calls(void)
{
    const manner plain = {0, 0, 0};

    begin(&kinds[0], &plain);
    fault.before = close_in_a_child;
    answers[0] = -1;
    CHECK(cm_run_size(&now.m) == (long long)file_size);
    CHECK(answers[0] == 0);
    check_contents();
    end();
}
#endif

#endif

/* ---- threads ---- */

#if !defined(_WIN32)

enum { THREADS = 3, TURNS = 300 };

static int stop;

/* Loads and stores until told to stop; whether all answers made sense. */
static void *work(void *seed)
{
    unsigned char bytes[64];
    size_t offset = (size_t)(uintptr_t)seed * 64;

    while (!__atomic_load_n(&stop, __ATOMIC_SEQ_CST)) {
        int error = cm_run_store(&now.m, offset, in_memory + offset, sizeof bytes);

        if (error == 0)
            error = cm_run_load(&now.m, offset, sizeof bytes, bytes);
        if (error == CM_BUSY)
            cm_pause();
        else if (error == CM_GONE)
            return NULL;
        else if (error != 0 || memcmp(bytes, in_memory + offset, sizeof bytes) != 0)
            return seed;
    }
    return NULL;
}

static int patiently(int (*call)(void))
{
    int error;

    while ((error = call()) == CM_BUSY)
        cm_pause();
    return error;
}

static size_t next_length;

static int resize_next(void)
{
    cm_span fresh = {{NULL, 0}, 0, 0, 0, 0};

    return cm_mapping_resize(&now.m, next_length, &fresh);
}

static int close_it(void)
{
    return cm_mapping_close(&now.m);
}

static void threads_and_resizes_get_along(void)
{
    const manner plain = {0, 0, 0};
    pthread_t threads[THREADS];
    void *answer;
    int wrong = 0;

    begin(&kinds[0], &plain);
    stop = 0;
    for (uintptr_t i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, work, (void *)(i + 1)) != 0)
            give_up("pthread_create");
    for (int i = 0; i < TURNS && !wrong; i++) {
        next_length = 1000 + (size_t)(i % 7) * granule();
        wrong = patiently(resize_next) != 0;
    }
    wrong |= patiently(close_it) != 0;
    __atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], &answer);
        wrong |= answer != NULL;
    }
    CHECK(!wrong);
    now.mapped = 0;             /* the threads' stacks stay */
    check_closed();
}

#endif

/* ---- Windows: tags ---- */

#if defined(_WIN32)

#define TAG L"cffimmap-test"

static const kind tagged_memory = {"memory with a tag", 0, SHARED, 0, 0, TAG, 1};
static const kind tagged_file = {"file with a tag", 1, SHARED, 0, 0, TAG, 1};
static const manner plain_manner = {0, 0, 0};

/* Another mapping of the tag; its first byte, or the error as a negative number. */
static cm_span other_span;
static cm_mapping other;

static int open_other(void)
{
    other_span = (cm_span){{NULL, 0}, 0, 0, 0, 0};
    other = (cm_mapping){.span = &other_span, .tag = TAG, .prot = CM_WRITE, .anonymous = 1};
    return cm_mapping_open(&other, -1, 1, 100);
}

static void close_other(void)
{
    (void)cm_mapping_close(&other);
}

/* The first byte of whoever has the tag now. */
static int seen_by_others(void)
{
    int byte;

    if (open_other() != 0)
        return -1;
    byte = other_span.range.base[0];
    close_other();
    return byte;
}

static void whoever_gives_the_tag_gets_the_memory(void)
{
    begin(&tagged_memory, &plain_manner);
    CHECK(seen_by_others() == in_memory[0]);
    end();
    CHECK(seen_by_others() == 0);
}

static void the_tag_moves_with_what_is_resized(void)
{
    const kind *both[] = {&tagged_memory, &tagged_file};

    for (int i = 0; i < 2; i++)
        for (int j = 1; j < LENGTHS && !broken; j++) {
            begin(both[i], &plain_manner);
            resize_well(length_at(j));
            if (broken)
                return;
            CHECK(seen_by_others() == in_memory[0]);
            CHECK(now.m.tag != NULL);
            end();
            CHECK(seen_by_others() == 0);
        }
}

static void another_s_tag_refuses_a_resize(void)
{
    const kind *both[] = {&tagged_memory, &tagged_file};

    for (int i = 0; i < 2; i++)
        for (int j = 0; j < LENGTHS; j++) {
            begin(both[i], &plain_manner);
            CHECK(open_other() == 0);
            CHECK(resize(length_at(j)) == IN_USE);
            check_contents();
            if (broken)
                return;
            CHECK(other_span.range.base[0] == in_memory[0]);
            close_other();
            CHECK(seen_by_others() == in_memory[0]);
            resize_well(length_at(j));
            end();
        }
}

static void what_cannot_be_had_leaves_memory_and_tag(void)
{
    begin(&tagged_memory, &plain_manner);
    CHECK(resize((size_t)1 << (8 * sizeof(size_t) - 3)) != 0);
    check_contents();
    if (!broken)
        CHECK(seen_by_others() == in_memory[0]);
    end();
}

static void a_file_that_cannot_grow_keeps_its_tag(void)
{
    begin(&tagged_file, &plain_manner);
    CHECK(resize((size_t)1 << (8 * sizeof(size_t) - 3)) != 0);
    check_contents();
    if (!broken)
        CHECK(seen_by_others() == in_memory[0]);
    end();
}

static void a_file_under_another_view_keeps_its_length(void)
{
    cm_span span = {{NULL, 0}, 0, 0, 0, 0};
    cm_mapping second;

    begin(&kinds[0], &plain_manner);
    second = (cm_mapping){.span = &span, .prot = CM_WRITE};
    CHECK(cm_mapping_open(&second, now.file, 0, 0) == 0);
    CHECK(resize(100) == IN_USE);
    check_contents();
    CHECK(cm_mapping_close(&second) == 0);
    resize_well(100);
    end();
}

static void opening_makes_a_file_longer(void)
{
    prepare(&kinds[0], &plain_manner);
    now.length = file_size + granule();
    CHECK(cm_mapping_open(&now.m, now.file, 1, now.length) == 0);
    file_size = now.length;
    memset(in_memory + now.length - granule(), 0, granule());
    check_contents();
    end();
}

#if defined(FAILING)

/* What fails from a call of a shrink on: status, unmap, truncate, status, ... */
static void close_by_faults(const kind *k, int number, int shorter)
{
    long long size;

    begin(k, &plain_manner);
    size = shorter ? (long long)now.offset + 100 : (long long)file_size;
    let_fail(number, ERROR_NOT_ENOUGH_MEMORY);
    fault.row = 100;
    CHECK(resize(100) == ERROR_NOT_ENOUGH_MEMORY);
    let_fail(NONE, 0);
    CHECK(now.m.closed && now.m.span->range.base == NULL);
    CHECK(size_of(now.file) == size);
    check_closed();
}

static void what_cannot_be_mapped_again_is_closed(void)
{
    close_by_faults(&kinds[1], 3, 0);
    if (!broken)
        close_by_faults(&kinds[1], 4, 1);
}

/* The file that was emptied while nothing was mapped. */
static void empty_file(void)
{
    if (now.m.span->range.base == NULL)
        (void)__real_cm_truncate(now.file, 0);
    else
        fault.before = empty_file;
}

static void a_file_that_is_emptied_meanwhile_is_closed(void)
{
    begin(&kinds[1], &plain_manner);
    fault.before = empty_file;
    let_fail(3, IN_USE);
    CHECK(resize(100) == ERROR_INVALID_PARAMETER);
    let_fail(NONE, 0);
    CHECK(now.m.closed);
    CHECK(size_of(now.file) == 0);
    check_closed();
}

/* Somebody makes other memory with the tag while it is free, after so many calls that find it so. */
static int turns_left;

static void take_tag(void)
{
    cm_file found_section;

    fault.before = take_tag;
    if (__real_cm_open_section(TAG, &found_section) == 0)
        (void)__real_cm_close(found_section);
    else if (turns_left-- == 0) {
        fault.before = NULL;
        if (open_other() != 0)
            give_up("cm_mapping_open");
    }
}

/* Whether the tag was taken. */
static int take_tag_during(const kind *k, size_t length, int turns)
{
    int error, cut;

    begin(k, &plain_manner);
    tell("taken tag", k, &plain_manner, length, turns);
    cut = k->file && length < now.length;
    other.closed = 1;
    turns_left = turns;
    fault.before = take_tag;
    error = resize(length);
    fault.before = NULL;
    if (other.closed) {
        if (error == 0)
            expect(length);
        check_contents();
        end();
        return 0;
    }
    /* Taken before the mapping could look, it is like one that another had all the time. */
    if (error != (turns == 0 ? IN_USE : ERROR_ALREADY_EXISTS) || (turns > 0 && now.m.tag != NULL) ||
        other_span.range.base[0] != 0)
        broken = 1;
    if (cut && turns > 0)
        expect(length);
    check_contents();
    if (turns == 0)
        close_other();
    if (!broken)
        resize_well(granule());
    if (turns > 0) {
        if (other_span.range.base[0] != 0)
            broken = 1;
        close_other();
    }
    end();
    return 1;
}

static void who_takes_the_tag_meanwhile_keeps_it(void)
{
    const kind *both[] = {&tagged_memory, &tagged_file};

    for (int k = 0; k < 2; k++)
        for (int i = 0; i < LENGTHS; i++)
            for (int turns = 0; !broken && take_tag_during(both[k], length_at(i), turns); turns++)
                ;
}

#endif

#endif

/* ---- all of them ---- */

static const test tests[] = {
#if defined(FAILING) && !defined(_WIN32)
    TEST(nothing_is_opened_unless_forks_are_watched),
#endif
    TEST(resize_keeps_what_fits),
    TEST(resize_may_be_repeated),
    TEST(writes_go_where_they_should_after_a_resize),
    TEST(calls_beyond_the_end_are_gone),
    TEST(private_maps_leave_the_file),
    TEST(a_map_without_the_file_s_name_holds_none),
    TEST(what_is_dropped_is_ended_by_the_destructors),
    TEST(bare_addresses_are_never_given_back),
    TEST(what_is_near_is_found_without_a_count),
    TEST(what_the_file_does_not_have_is_refused),
#if defined(FAILING)
    TEST(an_open_that_fails_leaves_nothing),
    TEST(a_close_that_fails_changes_nothing),
    TEST(a_resize_that_fails_changes_nothing),
    TEST(who_waits_keeps_new_calls_out_for_a_while),
    TEST(nobody_enters_while_the_mapping_is_resized),
#if !defined(_WIN32)
    TEST(a_twin_that_fails_leaves_the_place),
    TEST(a_close_that_fails_leaves_the_twin_too),
    TEST(a_file_is_synchronised_before_anything_else),
    TEST(a_forked_child_has_none_of_its_parent_s_calls),
#endif
#endif
#if defined(_WIN32)
    TEST(whoever_gives_the_tag_gets_the_memory),
    TEST(the_tag_moves_with_what_is_resized),
    TEST(another_s_tag_refuses_a_resize),
    TEST(what_cannot_be_had_leaves_memory_and_tag),
    TEST(a_file_that_cannot_grow_keeps_its_tag),
    TEST(a_file_under_another_view_keeps_its_length),
    TEST(opening_makes_a_file_longer),
#if defined(FAILING)
    TEST(what_cannot_be_mapped_again_is_closed),
    TEST(a_file_that_is_emptied_meanwhile_is_closed),
    TEST(who_takes_the_tag_meanwhile_keeps_it),
#endif
#else
    TEST(a_twin_shows_the_pages_until_the_close),
    TEST(a_twin_needs_a_file_of_that_length),
    TEST(threads_and_resizes_get_along),
#endif
};

int main(void)
{
    return run_all(tests, sizeof tests / sizeof tests[0], 0);
}

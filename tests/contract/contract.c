/*
 * The contract of csrc/cffimmap.h, put to one platform's file without Python: `nox -s cross` runs it.
 *
 * Only the header's functions are under test. What asks the system itself does so to see what they have done. The
 * last line says how many tests passed and failed.
 */
#if defined(__linux__)
#define _GNU_SOURCE             /* mincore, MADV_ names under -std=c11 */
#endif
#define _FILE_OFFSET_BITS 64    /* pread beyond 2 GiB on 32-bit systems */

#include "cffimmap.h"

#include "checks.h"
#include "memory.h"

#include <errno.h>
#include <string.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__linux__)
#include <sys/prctl.h>
#endif

#define GIB (1024LL * 1024 * 1024)

/* ---- what the system is asked ---- */

typedef char file_name[4096];

static int create(file_name path)
{
    const char *folder = getenv("TMPDIR");
    int descriptor;

    snprintf(path, sizeof(file_name), "%s/contract-XXXXXX", folder == NULL ? "/tmp" : folder);
    descriptor = mkstemp(path);
    if (descriptor == -1)
        give_up("mkstemp");
    return descriptor;
}

/* An empty file without a name. */
static int open_file(void)
{
    file_name path;
    int descriptor = create(path);

    unlink(path);
    return descriptor;
}

/* A file of three bytes that may not be written. */
static int open_read_only(void)
{
    file_name path;
    int writer = create(path), reader = open(path, O_RDONLY);

    unlink(path);
    if (reader == -1 || write(writer, "abc", 3) != 3)
        give_up("open");
    close(writer);
    return reader;
}

/* A number that is no descriptor. */
static cm_file closed_file(void)
{
    int descriptor = open_file();

    close(descriptor);
    return descriptor;
}

static void write_at(int descriptor, const char *text, long long offset)
{
    if (pwrite(descriptor, text, strlen(text), (off_t)offset) != (ssize_t)strlen(text))
        give_up("pwrite");
}

/* The file's byte there, or -1 past its end. */
static int byte_at(int descriptor, long long offset)
{
    unsigned char byte;

    return pread(descriptor, &byte, 1, (off_t)offset) == 1 ? byte : -1;
}

/* A file of `pages` pages, each beginning with its letter, from `a` on. */
static int lettered_file(int pages)
{
    int descriptor = open_file();
    char letter[] = "a";

    for (int i = 0; i < pages; i++, letter[0]++)
        write_at(descriptor, letter, (long long)i * (long long)page_size());
    if (ftruncate(descriptor, (off_t)pages * (off_t)page_size()) == -1)
        give_up("ftruncate");
    return descriptor;
}

/* Whether what a child process writes there is seen here. */
static int is_shared(unsigned char *base)
{
    unsigned char before = *base;
    pid_t child = fork();

    if (child == -1)
        give_up("fork");
    if (child == 0) {
        *base = (unsigned char)(before + 1);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    return *base != before;
}

/* Whether nothing is mapped at this page, by POSIX's msync. */
static int is_gone(unsigned char *base)
{
    return msync(base, page_size(), MS_ASYNC) == -1 && errno == ENOMEM;
}

#if defined(__linux__)
static int is_resident(unsigned char *base)
{
    unsigned char answer = 0;

    return mincore(base, page_size(), &answer) == 0 && (answer & 1) == 1;
}

/* Whether the line of /proc/self/maps that an address lies in has a text. */
static int maps_say(const void *address, const char *text)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    unsigned long long start, end, wanted = (uintptr_t)address;
    char line[4096];
    int found = 0;

    if (maps == NULL)
        give_up("/proc/self/maps");
    while (fgets(line, sizeof line, maps) != NULL)
        if (sscanf(line, "%llx-%llx", &start, &end) == 2 && start <= wanted && wanted < end)
            found = strstr(line, text) != NULL;
    fclose(maps);
    return found;
}

static int kernel_names_memory(void)
{
    unsigned char *base = fenced(1);

    return prctl(0x53564d41, 0, base, page_size(), "probe") == 0 && maps_say(base, "[anon:probe]");
}

/* Linux has MADV_POPULATE_READ, 22, from 5.14 on; emulators ignore advice that they do not know. */
static int kernel_populates(void)
{
    unsigned char *base = fenced(1);

    return madvise(base, page_size(), 22) == 0 && is_resident(base);
}
#endif

/* ---- helpers ---- */

static cm_range map(int descriptor, size_t pages, int prot, int flags)
{
    cm_range range = {NULL, 0};

    errno = cm_map(descriptor, pages * page_size(), prot, flags, 0, &range);
    if (errno != 0)
        give_up("cm_map");
    return range;
}

static cm_range memory(size_t pages)
{
    return map(-1, pages, READ_WRITE, PRIVATE_MEMORY);
}

static void unmap(cm_range range)
{
    errno = cm_unmap(&range);
    if (errno != 0)
        give_up("cm_unmap");
}

/* What outputs hold before a call that must not write them. */
static unsigned char marker;
static const cm_range untouched = {&marker, 77};

static int is_untouched(cm_range range)
{
    return range.base == untouched.base && range.length == untouched.length;
}

static int is_zero(const unsigned char *base, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (base[i] != 0)
            return 0;
    return 1;
}

static long long size_of(int descriptor)
{
    long long size = -1;
    int regular = -1;

    return cm_status(descriptor, &size, &regular) == 0 && regular == 1 ? size : -1;
}

/* ---- the system ---- */

static void page_size_and_granularity_are_those_of_the_system(void)
{
    CHECK(cm_page_size() == (ptrdiff_t)page_size());
    CHECK(cm_granularity() > 0);
    CHECK(cm_granularity() % cm_page_size() == 0);
}

static long long constant(const char *name)
{
    for (size_t i = 0; i < cm_constant_count; i++)
        if (strcmp(cm_constants[i].name, name) == 0)
            return cm_constants[i].value;
    return -1;
}

static void constants_have_the_values_of_the_headers(void)
{
    CHECK(constant("PROT_NONE") == PROT_NONE);
    CHECK(constant("PROT_READ") == PROT_READ);
    CHECK(constant("PROT_WRITE") == PROT_WRITE);
    CHECK(constant("MAP_SHARED") == MAP_SHARED);
    CHECK(constant("MAP_PRIVATE") == MAP_PRIVATE);
    CHECK(constant("MAP_ANON") == MAP_ANON);
    CHECK(constant("MS_SYNC") == MS_SYNC);
}

static void no_constant_is_listed_twice(void)
{
    for (size_t i = 0; i < cm_constant_count; i++)
        for (size_t j = 0; j < i; j++)
            CHECK(strcmp(cm_constants[i].name, cm_constants[j].name) != 0);
}

/* ---- files ---- */

static void file_of_a_descriptor_is_the_same_file(void)
{
    int descriptor = lettered_file(1);
    cm_file file = -1;
    long long size;
    int regular;

    CHECK(cm_file_of(descriptor, &file) == 0);
    CHECK(cm_status(file, &size, &regular) == 0);
    CHECK(size == (long long)page_size());
    CHECK(byte_at(descriptor, 0) == 'a');
    close(descriptor);
}

static void status_of_a_regular_file(void)
{
    int descriptor = open_file();

    CHECK(size_of(descriptor) == 0);
    write_at(descriptor, "abc", 0);
    CHECK(size_of(descriptor) == 3);
    close(descriptor);
}

static void status_of_a_pipe_is_not_regular(void)
{
    int ends[2], regular = -1;
    long long size = -1;

    CHECK(pipe(ends) == 0);
    CHECK(cm_status(ends[0], &size, &regular) == 0);
    CHECK(regular == 0);
    close(ends[0]);
    close(ends[1]);
}

static void status_of_no_file_writes_nothing(void)
{
    long long size = 77;
    int regular = 77;

    CHECK(cm_status(closed_file(), &size, &regular) == EBADF);
    CHECK(size == 77);
    CHECK(regular == 77);
}

static void status_beyond_2_gib(void)
{
    int descriptor = open_file();

    CHECK(cm_truncate(descriptor, 3 * GIB) == 0);
    CHECK(size_of(descriptor) == 3 * GIB);
    CHECK(cm_truncate(descriptor, 5 * GIB + 1) == 0);
    CHECK(size_of(descriptor) == 5 * GIB + 1);
    close(descriptor);
}

static void truncate_lengthens_with_zeros_and_shortens(void)
{
    int descriptor = open_file();

    write_at(descriptor, "abc", 0);
    CHECK(cm_truncate(descriptor, 10) == 0);
    CHECK(size_of(descriptor) == 10);
    CHECK(byte_at(descriptor, 2) == 'c');
    CHECK(byte_at(descriptor, 9) == 0);
    CHECK(cm_truncate(descriptor, 2) == 0);
    CHECK(size_of(descriptor) == 2);
    CHECK(cm_truncate(descriptor, 3) == 0);
    CHECK(byte_at(descriptor, 2) == 0);
    close(descriptor);
}

static void truncate_leaves_the_position(void)
{
    int descriptor = open_file();

    CHECK(lseek(descriptor, 5, SEEK_SET) == 5);
    CHECK(cm_truncate(descriptor, 100) == 0);
    CHECK(cm_truncate(descriptor, 1) == 0);
    CHECK(lseek(descriptor, 0, SEEK_CUR) == 5);
    close(descriptor);
}

static void truncate_that_fails_changes_nothing(void)
{
    int descriptor = lettered_file(1);

    CHECK(cm_truncate(closed_file(), 0) == EBADF);
    CHECK(cm_truncate(descriptor, -1) == EINVAL);
    CHECK(size_of(descriptor) == (long long)page_size());
    close(descriptor);
}

static void sync_file_is_there_where_a_map_needs_it(void)
{
    int descriptor = lettered_file(1);

#if defined(__APPLE__)
    CHECK(cm_sync_file(descriptor) == 0);
    CHECK(cm_sync_file(closed_file()) == EBADF);
#else
    CHECK(cm_sync_file(descriptor) == CM_UNSUPPORTED);
#endif
    close(descriptor);
}

static void duplicate_is_not_inherited(void)
{
    int descriptor = open_file();
    cm_file copy = -1;

    CHECK(cm_duplicate(descriptor, &copy) == 0);
    CHECK(copy != descriptor);
    CHECK((fcntl((int)copy, F_GETFD) & FD_CLOEXEC) != 0);
    CHECK(cm_close(copy) == 0);
    close(descriptor);
}

static void duplicate_is_the_same_open_file_and_outlives_the_first(void)
{
    int descriptor = lettered_file(1);
    cm_file copy = -1;

    CHECK(cm_duplicate(descriptor, &copy) == 0);
    CHECK(lseek(descriptor, 5, SEEK_SET) == 5);
    CHECK(lseek((int)copy, 0, SEEK_CUR) == 5);
    CHECK(cm_close(descriptor) == 0);
    CHECK(byte_at((int)copy, 0) == 'a');
    CHECK(cm_close(copy) == 0);
}

static void duplicate_of_no_file_writes_nothing(void)
{
    cm_file copy = 77;

    CHECK(cm_duplicate(closed_file(), &copy) == EBADF);
    CHECK(copy == 77);
}

static void close_twice_is_an_error(void)
{
    int descriptor = open_file();

    CHECK(cm_close(descriptor) == 0);
    CHECK(cm_close(descriptor) == EBADF);
}

/* ---- maps ---- */

static void sections_are_for_windows_alone(void)
{
    cm_file section = 77;
    int existed = 78;

    CHECK(cm_make_section(-1, CM_WRITE, 1, NULL, &section, &existed) == CM_UNSUPPORTED);
    CHECK(cm_open_section(L"tag", &section) == CM_UNSUPPORTED);
    CHECK(section == 77 && existed == 78);
}

static void shared_map_writes_the_file(void)
{
    int descriptor = lettered_file(2);
    cm_range range = map(descriptor, 2, READ_WRITE, MAP_SHARED);

    CHECK(range.length == (ptrdiff_t)(2 * page_size()));
    CHECK(range.base[page_size()] == 'b');
    range.base[1] = 'x';
    CHECK(byte_at(descriptor, 1) == 'x');
    write_at(descriptor, "y", 2);
    CHECK(range.base[2] == 'y');
    unmap(range);
    close(descriptor);
}

static void private_map_leaves_the_file(void)
{
    int descriptor = lettered_file(1);
    cm_range range = map(descriptor, 1, READ_WRITE, MAP_PRIVATE);

    CHECK(range.base[0] == 'a');
    range.base[0] = 'x';
    CHECK(byte_at(descriptor, 0) == 'a');
    unmap(range);
    close(descriptor);
}

static void anonymous_map_is_zero(void)
{
    cm_range range = memory(3);

    CHECK(is_zero(range.base, 3 * page_size()));
    CHECK(!is_shared(range.base));
    unmap(range);
}

static void map_outlives_the_descriptor(void)
{
    int descriptor = lettered_file(1);
    cm_range range = map(descriptor, 1, PROT_READ, MAP_SHARED);

    close(descriptor);
    CHECK(range.base[0] == 'a');
    unmap(range);
}

static void map_starts_at_the_offset(void)
{
    int descriptor = lettered_file(3);
    cm_range range = untouched;

    CHECK(cm_map(descriptor, page_size(), PROT_READ, MAP_SHARED, 2 * (long long)page_size(), &range) == 0);
    CHECK(range.length == (ptrdiff_t)page_size());
    CHECK(range.base[0] == 'c');
    unmap(range);
    close(descriptor);
}

static void map_beyond_4_gib(void)
{
    int descriptor = open_file();
    cm_range range = untouched;

    CHECK(cm_truncate(descriptor, 5 * GIB + (long long)page_size()) == 0);
    CHECK(cm_map(descriptor, page_size(), READ_WRITE, MAP_SHARED, 5 * GIB, &range) == 0);
    range.base[1] = 'x';
    CHECK(byte_at(descriptor, 5 * GIB + 1) == 'x');
    CHECK(byte_at(descriptor, GIB + 1) == 0);
    unmap(range);
    close(descriptor);
}

static int failed_map(cm_file file, size_t length, int prot, long long offset)
{
    cm_range range = untouched;
    int code = cm_map(file, length, prot, MAP_SHARED, offset, &range);

    return is_untouched(range) ? code : 0;
}

static void map_that_fails_writes_nothing(void)
{
    int descriptor = lettered_file(1), ends[2];

    CHECK(pipe(ends) == 0);
    CHECK(failed_map(closed_file(), page_size(), PROT_READ, 0) == EBADF);
    CHECK(failed_map(descriptor, 0, PROT_READ, 0) == EINVAL);
    CHECK(failed_map(descriptor, page_size(), PROT_READ, 1) == EINVAL);
    CHECK(failed_map(ends[1], page_size(), READ_WRITE, 0) != 0);
    close(ends[0]);
    close(ends[1]);
    close(descriptor);
}

static void file_for_reading_is_not_written(void)
{
    int descriptor = open_read_only();

    CHECK(failed_map(descriptor, page_size(), READ_WRITE, 0) == EACCES);
    CHECK(cm_truncate(descriptor, 0) > 0);
    CHECK(size_of(descriptor) == 3);
    close(descriptor);
}

static void unmap_ends_just_what_it_is_given(void)
{
    size_t page = page_size();
    cm_range range = memory(3);
    cm_range middle = {range.base + page, (ptrdiff_t)page};
    cm_range misaligned = {range.base + 1, (ptrdiff_t)page};

    range.base[0] = range.base[2 * page] = 'x';
    CHECK(cm_unmap(&middle) == 0);
    CHECK(middle.base == NULL && middle.length == 0);
    CHECK(is_gone(range.base + page));
    CHECK(range.base[0] == 'x');
    CHECK(range.base[2 * page] == 'x');
    CHECK(cm_unmap(&misaligned) == EINVAL);
    CHECK(misaligned.base == range.base + 1 && misaligned.length == (ptrdiff_t)page);
    CHECK(range.base[0] == 'x');
    unmap(range);
    CHECK(is_gone(range.base));
}

/* ---- blank ---- */

static void blank_pages_are_zero_and_writable(void)
{
    int descriptor = lettered_file(3);
    size_t page = page_size();
    cm_range range = map(descriptor, 3, PROT_READ, MAP_SHARED);

    CHECK(cm_blank(range.base, 2 * page) == 0);
    CHECK(is_zero(range.base, 2 * page));
    CHECK(range.base[2 * page] == 'c');
    range.base[0] = range.base[page] = 'x';
    CHECK(byte_at(descriptor, 0) == 'a');
    CHECK(byte_at(descriptor, (long long)page) == 'b');
    unmap(range);
    close(descriptor);
}

static void blank_pages_are_private(void)
{
    cm_range range = map(-1, 1, READ_WRITE, MAP_SHARED | MAP_ANON);

    CHECK(is_shared(range.base));
    CHECK(cm_blank(range.base, page_size()) == 0);
    CHECK(!is_shared(range.base));
    unmap(range);
}

static void blank_lets_the_file_go(void)
{
    int descriptor = lettered_file(1);
    cm_range range = map(descriptor, 1, READ_WRITE, MAP_SHARED);

#if defined(__linux__)
    CHECK(maps_say(range.base, "contract-"));
#endif
    CHECK(cm_blank(range.base, page_size()) == 0);
#if defined(__linux__)
    CHECK(!maps_say(range.base, "contract-"));
#endif
    /* A page of a file would be gone now. */
    CHECK(cm_truncate(descriptor, 0) == 0);
    CHECK(range.base[0] == 0);
    unmap(range);
    close(descriptor);
}

#if defined(__linux__)
static void blank_pages_cost_nothing(void)
{
    cm_range range = memory(2);

    memset(range.base, 'x', 2 * page_size());
    CHECK(is_resident(range.base));
    CHECK(cm_blank(range.base, 2 * page_size()) == 0);
    CHECK(!is_resident(range.base));
    CHECK(!is_resident(range.base + page_size()));
    unmap(range);
}
#endif

static void blank_that_fails_changes_nothing(void)
{
    cm_range range = memory(2);

    range.base[1] = 'x';
    CHECK(cm_blank(range.base + 1, page_size()) == EINVAL);
    CHECK(range.base[1] == 'x');
    unmap(range);
}

/* ---- remap and twin ---- */

#if defined(__linux__)
static void remap_moves_with_the_content(void)
{
    size_t page = page_size();
    cm_range both = memory(2), first = {both.base, (ptrdiff_t)page};

    both.base[7] = 'x';
    both.base[page] = 'y';
    /* The second page stands in the way. */
    CHECK(cm_remap(&first, 5 * page) == 0);
    CHECK(first.base != both.base);
    CHECK(first.length == (ptrdiff_t)(5 * page));
    CHECK(first.base[7] == 'x');
    CHECK(is_zero(first.base + page, 4 * page));
    CHECK(is_gone(both.base));
    CHECK(both.base[page] == 'y');
    unmap(first);
}

static void remap_shortens(void)
{
    size_t page = page_size();
    cm_range range = memory(3), whole = range;

    range.base[0] = 'x';
    CHECK(cm_remap(&range, page) == 0);
    CHECK(range.length == (ptrdiff_t)page);
    CHECK(range.base[0] == 'x');
    CHECK(is_gone(whole.base + 2 * page));
    unmap(range);
}

static void remap_follows_a_file_that_grew(void)
{
    int descriptor = lettered_file(1);
    cm_range range = map(descriptor, 1, READ_WRITE, MAP_SHARED);

    CHECK(cm_truncate(descriptor, 4 * (long long)page_size()) == 0);
    CHECK(cm_remap(&range, 4 * page_size()) == 0);
    CHECK(range.base[0] == 'a');
    range.base[3 * page_size()] = 'x';
    CHECK(byte_at(descriptor, 3 * (long long)page_size()) == 'x');
    unmap(range);
    close(descriptor);
}

static void remap_that_fails_changes_nothing(void)
{
    cm_range range = memory(1), before = range;

    range.base[0] = 'x';
    CHECK(cm_remap(&range, 0) == EINVAL);
    CHECK(cm_remap(&range, SIZE_MAX - 2 * page_size() + 1) > 0);
    CHECK(range.base == before.base && range.length == before.length);
    CHECK(range.base[0] == 'x');
    unmap(range);
}

static void twin_has_the_same_pages(void)
{
    size_t page = page_size();
    cm_range range = map(-1, 2, READ_WRITE, MAP_SHARED | MAP_ANON), twin = untouched;

    CHECK(cm_twin(range.base, 2 * page, &twin) == 0);
    CHECK(twin.length == (ptrdiff_t)(2 * page));
    CHECK(twin.base != range.base);
    range.base[page] = 'x';
    CHECK(twin.base[page] == 'x');
    twin.base[0] = 'y';
    CHECK(range.base[0] == 'y');
    unmap(twin);
    CHECK(range.base[page] == 'x');
    unmap(range);
}

static void twin_of_a_file_may_be_longer(void)
{
    int descriptor = lettered_file(3);
    cm_range range = map(descriptor, 1, READ_WRITE, MAP_SHARED), twin = untouched;

    CHECK(cm_twin(range.base, 3 * page_size(), &twin) == 0);
    CHECK(twin.base[2 * page_size()] == 'c');
    unmap(range);
    twin.base[0] = 'x';
    CHECK(byte_at(descriptor, 0) == 'x');
    unmap(twin);
    close(descriptor);
}

static void twin_that_fails_writes_nothing(void)
{
    cm_range range = map(-1, 1, READ_WRITE, MAP_SHARED | MAP_ANON), twin = untouched;

    range.base[0] = 'x';
    CHECK(cm_twin(range.base, 0, &twin) == EINVAL);
    CHECK(is_untouched(twin));
    CHECK(range.base[0] == 'x');
    unmap(range);
}
#else
static void remap_and_twin_are_not_supported(void)
{
    cm_range range = memory(1), before = range, twin = untouched;

    range.base[0] = 'x';
    CHECK(cm_remap(&range, 2 * page_size()) == CM_UNSUPPORTED);
    CHECK(range.base == before.base && range.length == before.length);
    CHECK(cm_twin(range.base, page_size(), &twin) == CM_UNSUPPORTED);
    CHECK(is_untouched(twin));
    CHECK(range.base[0] == 'x');
    unmap(range);
}
#endif

/* ---- sync, advice, names ---- */

static void sync_covers_the_range_from_the_offset_on(void)
{
    int descriptor = lettered_file(2);
    size_t page = page_size();
    cm_range range = map(descriptor, 2, READ_WRITE, MAP_SHARED);
    cm_range second = {range.base + page, (ptrdiff_t)page};

    CHECK(cm_sync(range.base, 0, 2 * page, MS_SYNC) == 0);
    CHECK(cm_sync(range.base, page, page, MS_ASYNC) == 0);
    CHECK(cm_unmap(&second) == 0);
    CHECK(cm_sync(range.base, 0, page, MS_SYNC) == 0);
    CHECK(cm_sync(range.base, page, page, MS_SYNC) == ENOMEM);
    CHECK(cm_sync(range.base, 0, page, MS_SYNC | MS_ASYNC) == EINVAL);
    unmap(range);
    close(descriptor);
}

static void advice_is_taken_or_refused(void)
{
    cm_range range = memory(2);

    CHECK(cm_advise(range.base, 0, 2 * page_size(), MADV_NORMAL) == 0);
    CHECK(cm_advise(range.base, page_size(), page_size(), MADV_RANDOM) == 0);
    CHECK(cm_advise(range.base, 0, page_size(), 12345) == EINVAL);
    unmap(range);
}

#if defined(__linux__)
static void advice_is_for_the_range_from_the_offset_on(void)
{
    size_t page = page_size();
    cm_range range = memory(3);

    memset(range.base, 'x', 3 * page);
    /* Here it is no mere advice: the pages are zero at once. */
    CHECK(cm_advise(range.base, page, page, MADV_DONTNEED) == 0);
    CHECK(range.base[page - 1] == 'x');
    CHECK(is_zero(range.base + page, page));
    CHECK(range.base[2 * page] == 'x');
    CHECK(cm_advise(range.base, 1, page, MADV_DONTNEED) == EINVAL);
    unmap(range);
}

static void populate_brings_in_every_page_that_the_range_touches(void)
{
    size_t page = page_size();
    cm_range range = memory(4);

    if (!kernel_populates()) {
        skip("the kernel lacks MADV_POPULATE_READ");
        return;
    }
    CHECK(cm_populate(range.base, 2 * page - 1, 2) == 0);
    CHECK(!is_resident(range.base));
    CHECK(is_resident(range.base + page));
    CHECK(is_resident(range.base + 2 * page));
    CHECK(!is_resident(range.base + 3 * page));
    unmap(range);
}

static void populate_past_the_end_of_the_file_is_an_error(void)
{
    int descriptor = lettered_file(1);
    cm_range range = map(descriptor, 3, READ_WRITE, MAP_SHARED);

    if (!kernel_populates()) {
        skip("the kernel lacks MADV_POPULATE_READ");
        return;
    }
    CHECK(cm_populate(range.base, 0, 1) == 0);
    CHECK(cm_populate(range.base, 0, 3 * page_size()) == EFAULT);
    CHECK(range.base[0] == 'a');
    unmap(range);
    close(descriptor);
}

static void name_is_seen_in_the_list_of_mappings(void)
{
    cm_range range = memory(1);

    if (!kernel_names_memory()) {
        CHECK(cm_set_name(range.base, page_size(), "contract") == CM_UNSUPPORTED);
        skip("the kernel lacks PR_SET_VMA_ANON_NAME");
        return;
    }
    CHECK(cm_set_name(range.base, page_size(), "contract") == 0);
    CHECK(maps_say(range.base, "[anon:contract]"));
    CHECK(cm_set_name(range.base, page_size(), "a[b") == EINVAL);
    unmap(range);
}
#else
static void populate_and_names_are_not_supported(void)
{
    cm_range range = memory(1);

#if !defined(MADV_POPULATE_READ)
    CHECK(cm_populate(range.base, 0, page_size()) == CM_UNSUPPORTED);
#endif
    CHECK(cm_set_name(range.base, page_size(), "contract") == CM_UNSUPPORTED);
    unmap(range);
}
#endif

/* ---- copies ---- */

enum { SMALL = 300 };

static void move_lets_source_and_target_overlap(void)
{
    unsigned char memory[SMALL], expected[SMALL], saved[SMALL];

    for (int round = 0; round < 2000; round++) {
        size_t count = chance(SMALL + 1);
        size_t source = chance(SMALL - count + 1), target = chance(SMALL - count + 1);

        fill(memory, SMALL, 26);
        memcpy(expected, memory, SMALL);
        memcpy(saved, memory, SMALL);
        for (size_t i = 0; i < count; i++)
            expected[target + i] = saved[source + i];
        CHECK(cm_move(memory, target, source, count) == 0);
        CHECK(memcmp(memory, expected, SMALL) == 0);
    }
}

static void store_copies_from_elsewhere_and_from_the_same_memory(void)
{
    unsigned char memory[] = "abcdef";

    CHECK(cm_store(memory, 2, (const unsigned char *)"xy", 2) == 0);
    CHECK(strcmp((char *)memory, "abxyef") == 0);
    CHECK(cm_store(memory, 1, memory, 5) == 0);
    CHECK(strcmp((char *)memory, "aabxye") == 0);
    CHECK(cm_store(memory, 0, memory + 1, 5) == 0);
    CHECK(strcmp((char *)memory, "abxyee") == 0);
    CHECK(cm_store(memory, 6, memory, 0) == 0);
    CHECK(strcmp((char *)memory, "abxyee") == 0);
}

/* Writes one of two numbers of so many bytes, in turn, until it is ended. */
static void write_for_ever(unsigned char *memory, size_t count)
{
    static const unsigned char numbers[2][8] = {{0}, {255, 255, 255, 255, 255, 255, 255, 255}};

    for (;;)
        for (int i = 0; i < 2; i++)
            cm_store(memory, 64, numbers[i], count);
}

static void nobody_sees_half_of_an_aligned_number(void)
{
    unsigned char seen[8];
    cm_range range;

    CHECK(cm_map(-1, page_size(), READ_WRITE, MAP_SHARED | MAP_ANON, 0, &range) == 0);
    for (size_t count = 2; count <= sizeof(void *); count *= 2) {
        pid_t child = fork();
        int halves = 0;

        CHECK(child != -1);
        if (child == 0)
            write_for_ever(range.base, count);
        for (int i = 0; i < 2000000; i++) {
            CHECK(cm_load(range.base, 64, count, seen) == 0);
            halves += memcmp(seen, seen + 1, count - 1) != 0;
        }
        CHECK(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
        CHECK(halves == 0);
        memset(range.base, 0, page_size());
    }
    CHECK(cm_unmap(&range) == 0);
}

static void load_copies_to_elsewhere_and_to_the_same_memory(void)
{
    unsigned char memory[] = "abcdef", target[] = "....";

    CHECK(cm_load(memory, 2, 3, target) == 0);
    CHECK(strcmp((char *)target, "cde.") == 0);
    CHECK(cm_load(memory, 0, 5, memory + 1) == 0);
    CHECK(strcmp((char *)memory, "aabcde") == 0);
    CHECK(cm_load(memory, 6, 0, target) == 0);
    CHECK(strcmp((char *)target, "cde.") == 0);
}

typedef struct {
    size_t start, count;
    ptrdiff_t step;
} stride;

/* One of those that stay within SMALL bytes. */
static stride any_stride(void)
{
    size_t step = chance(20), count = 1 + chance(SMALL / (step + 1));
    size_t length = (count - 1) * step + 1, start = chance(SMALL - length + 1);

    if (chance(2) == 0)
        return (stride){start, count, (ptrdiff_t)step};
    return (stride){start + length - 1, count, -(ptrdiff_t)step};
}

static size_t place(stride s, size_t i)
{
    return (size_t)((ptrdiff_t)s.start + (ptrdiff_t)i * s.step);
}

static void gather_takes_every_step_either_way(void)
{
    unsigned char memory[SMALL], target[SMALL];

    fill(memory, SMALL, 200);
    for (int round = 0; round < 2000; round++) {
        stride s = any_stride();

        memset(target, 0, SMALL);
        CHECK(cm_gather(memory, s.start, s.step, s.count, target) == 0);
        for (size_t i = 0; i < s.count; i++)
            CHECK(target[i] == memory[place(s, i)]);
        CHECK(is_zero(target + s.count, SMALL - s.count));
    }
}

static void scatter_sets_every_step_either_way(void)
{
    unsigned char memory[SMALL], expected[SMALL], source[SMALL];

    fill(source, SMALL, 200);
    for (int round = 0; round < 2000; round++) {
        stride s = any_stride();

        memset(memory, 0, SMALL);
        memset(expected, 0, SMALL);
        for (size_t i = 0; i < s.count; i++)
            expected[place(s, i)] = source[i];
        CHECK(cm_scatter(memory, s.start, s.step, s.count, source) == 0);
        CHECK(memcmp(memory, expected, SMALL) == 0);
    }
}

static void strides_in_the_same_memory_read_what_it_has_become(void)
{
    unsigned char memory[] = "abcdef";

    CHECK(cm_scatter(memory, 1, 1, 5, memory) == 0);
    CHECK(strcmp((char *)memory, "aaaaaa") == 0);
    memory[5] = 'z';
    CHECK(cm_gather(memory, 5, -1, 5, memory + 1) == 0);
    CHECK(strcmp((char *)memory, "azaaaz") == 0);
    CHECK(cm_gather(memory, 0, 1, 0, memory) == 0);
    CHECK(cm_scatter(memory, 0, 1, 0, memory) == 0);
    CHECK(strcmp((char *)memory, "azaaaz") == 0);
}

/* ---- all of them ---- */

/* What emulators of another processor answer themselves, and not as the kernel does (QEMU 7.2: offsets beyond 4 GiB
 * on 32-bit systems, memory that was unmapped, the errors of mremap and madvise). */

static const test tests[] = {
    TEST(page_size_and_granularity_are_those_of_the_system),
    TEST(constants_have_the_values_of_the_headers),
    TEST(no_constant_is_listed_twice),
    TEST(file_of_a_descriptor_is_the_same_file),
    TEST(status_of_a_regular_file),
    TEST(status_of_a_pipe_is_not_regular),
    TEST(status_of_no_file_writes_nothing),
    TEST(status_beyond_2_gib),
    TEST(truncate_lengthens_with_zeros_and_shortens),
    TEST(truncate_leaves_the_position),
    TEST(truncate_that_fails_changes_nothing),
    TEST(sync_file_is_there_where_a_map_needs_it),
    TEST(duplicate_is_not_inherited),
    TEST(duplicate_is_the_same_open_file_and_outlives_the_first),
    TEST(duplicate_of_no_file_writes_nothing),
    TEST(close_twice_is_an_error),
    TEST(sections_are_for_windows_alone),
    TEST(shared_map_writes_the_file),
    TEST(private_map_leaves_the_file),
    TEST(anonymous_map_is_zero),
    TEST(map_outlives_the_descriptor),
    TEST(map_starts_at_the_offset),
    TEST_OF_KERNEL(map_beyond_4_gib),
    TEST(map_that_fails_writes_nothing),
    TEST(file_for_reading_is_not_written),
    TEST_OF_KERNEL(unmap_ends_just_what_it_is_given),
    TEST(blank_pages_are_zero_and_writable),
    TEST(blank_pages_are_private),
    TEST(blank_lets_the_file_go),
    TEST(blank_that_fails_changes_nothing),
#if defined(__linux__)
    TEST(blank_pages_cost_nothing),
    TEST(advice_is_for_the_range_from_the_offset_on),
    TEST_OF_KERNEL(remap_moves_with_the_content),
    TEST_OF_KERNEL(remap_shortens),
    TEST(remap_follows_a_file_that_grew),
    TEST_OF_KERNEL(remap_that_fails_changes_nothing),
    TEST_OF_KERNEL(twin_has_the_same_pages),
    TEST_OF_KERNEL(twin_of_a_file_may_be_longer),
    TEST_OF_KERNEL(twin_that_fails_writes_nothing),
    TEST_OF_KERNEL(populate_brings_in_every_page_that_the_range_touches),
    TEST_OF_KERNEL(populate_past_the_end_of_the_file_is_an_error),
    TEST_OF_KERNEL(name_is_seen_in_the_list_of_mappings),
#else
    TEST(remap_and_twin_are_not_supported),
    TEST(populate_and_names_are_not_supported),
#endif
    TEST_OF_KERNEL(sync_covers_the_range_from_the_offset_on),
    TEST_OF_KERNEL(advice_is_taken_or_refused),
    TEST(move_lets_source_and_target_overlap),
    TEST(store_copies_from_elsewhere_and_from_the_same_memory),
    TEST(load_copies_to_elsewhere_and_to_the_same_memory),
    TEST(nobody_sees_half_of_an_aligned_number),
    TEST(gather_takes_every_step_either_way),
    TEST(scatter_sets_every_step_either_way),
    TEST(strides_in_the_same_memory_read_what_it_has_become),
};

int main(int count, char **arguments)
{
    return run_all(tests, sizeof tests / sizeof tests[0], is_emulated(count, arguments));
}

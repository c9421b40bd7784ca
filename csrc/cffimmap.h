/*
 * The contract between the two kinds of `Memory`, CPython's in C and PyPy's in Python, and one platform.
 *
 * It has three floors. unix.c and windows.c define the same functions: system calls and nothing else. memory.c and
 * search.c access memory. mapping.c, with resize_unix.c or resize_windows.c, puts them together to what must not be left
 * half-way: one mapping that is opened, used by several threads, resized and closed. Arguments are checked and
 * messages are worded above.
 *
 * A function that can fail returns an int: 0 for success, one of the negative codes below, else the system's own
 * error number (errno; GetLastError on Windows), read before any clean-up. On failure the outputs are not written and
 * nothing has changed. Lengths, offsets and positions are bytes. No function allocates memory or keeps any state, but
 * for what guard.c says, and mapping.c for forks.
 */
#ifndef CFFIMMAP_H
#define CFFIMMAP_H

#include <stddef.h>
#include <stdint.h>

/* A file as the platform names it: a descriptor, or a HANDLE on Windows, of a file or a section. -1 is no file:
 * anonymous memory. */
typedef intptr_t cm_file;

/* What Windows knows of protections and flags, in the place of `prot`; `flags` are 0 there. */
enum { CM_READ = 1, CM_WRITE = 2, CM_COPY = 3 };

/* One name of the public module that this platform has. */
typedef struct {
    const char *name;
    long long value;
} cm_constant;

/* A range of mapped memory; a base of NULL is none. A function that makes or changes one writes both members when it has
 * succeeded and neither when it has failed, so that a range always says what is mapped. The length is signed, as PyPy
 * makes a slow long integer of every unsigned one. */
typedef struct {
    unsigned char *base;
    ptrdiff_t length;
} cm_range;

/* Negative, so that they can be no errno and no Windows error. */
#define CM_UNSUPPORTED (-1)     /* the platform lacks the call */
#define CM_GONE (-2)            /* the mapping is closed, or has become shorter than the call needs */
#define CM_BUSY (-3)            /* somebody else is at it: ask again after a cm_pause */
#define CM_SHORT (-4)           /* the file is shorter than what was to be mapped of it */
#define CM_EMPTY (-5)           /* the file has no bytes */
#define CM_BEYOND (-6)          /* the offset is not within the file */
#define CM_LARGE (-7)           /* the rest of the file is longer than addresses go */

/* Whether the pages of a mapping can be replaced by others in one step: cm_blank. */
#if defined(_WIN32)
#define CM_BLANKS 0
#else
#define CM_BLANKS 1
#endif

extern const cm_constant cm_constants[];
extern const size_t cm_constant_count;

ptrdiff_t cm_page_size(void);
ptrdiff_t cm_granularity(void);    /* what an offset must be a multiple of */

/* Milliseconds of a clock that is never set back; they wrap around. */
uint32_t cm_clock(void);

/* Whether an error is want of what dropped maps hold until the collector runs: descriptors, memory. */
int cm_exhausted(int error);

/* Has functions called around every fork of this process from now on: before it, and after it in the parent and in the
 * child. Nothing where processes do not fork. */
int cm_around_forks(void (*before)(void), void (*in_parent)(void), void (*in_child)(void));

/* Waits for a fraction of a millisecond. */
void cm_pause(void);

/* The file of a descriptor, which stays the descriptor's. */
int cm_file_of(int descriptor, cm_file *file);

/* The file's size, and whether it is a regular file: the size of anything else says nothing about its length. */
int cm_status(cm_file file, long long *size, int *regular);

/* The same, and the bytes of a page of a mapping of it: more than usual in a file system of huge pages (Unix). */
int cm_shape(cm_file file, long long *size, int *regular, ptrdiff_t *page);

/* The bytes of a page of anonymous memory that is mapped with these flags (Unix). */
ptrdiff_t cm_huge_page(int flags);

/* Sets the file's size, shorter or longer. Its position, which others share, stays. */
int cm_truncate(cm_file file, long long size);

/* Brings what was written on its way to the disk, where a map needs that beyond what cm_sync does: macOS before it
 * maps, Windows after cm_sync. */
int cm_sync_file(cm_file file);

/* Another name of the same open file, not inherited by programs that this process starts. The caller closes it. */
int cm_duplicate(cm_file file, cm_file *copy);
int cm_close(cm_file file);

/* Makes a section, which is what Windows maps in the place of a file, `size` bytes long: of a file, which is made that
 * long if it is shorter, or of anonymous memory. Whoever gives the same tag gets the same section while somebody has it
 * open, and `existed` says that somebody had; a tag of NULL is none. A size of 0 is the file's. The caller closes it. */
int cm_make_section(cm_file file, int prot, long long size, const wchar_t *tag, cm_file *section, int *existed);

/* The section that has a tag, if there is one. The caller closes it. */
int cm_open_section(const wchar_t *tag, cm_file *section);

/* Maps length bytes of the file or section from offset on; the caller unmaps them, which leaves an empty range. */
int cm_map(cm_file source, size_t length, int prot, int flags, long long offset, cm_range *range);
int cm_unmap(cm_range *range);

/* Replaces the pages in one atomic step by private, zero, writable ones that cost nothing until they are written:
 * the file is let go, and whoever still has the address meets memory. The range stays the caller's to unmap. */
int cm_blank(unsigned char *base, size_t length);

/* Resizes a mapping that nobody else knows, moving it if need be: the old base is gone then. */
int cm_remap(cm_range *range, size_t length);

/* A second mapping of the same shared pages, length bytes from base on; the first one stays. */
int cm_twin(unsigned char *base, size_t length, cm_range *twin);

/* Maps in the place of pages that the caller owns, in one atomic step. */
int cm_map_over(unsigned char *base, cm_file source, size_t length, int prot, int flags, long long offset);

/* Maps at an address where nothing is mapped; an error if something is. */
int cm_map_at(unsigned char *base, cm_file source, size_t length, int prot, int flags, long long offset);

/* Makes a mapping longer where it is. */
int cm_extend(cm_range *range, size_t length);

/* Moves private pages to another place; the old addresses stay mapped, with pages as new ones are. */
int cm_move_pages(const cm_range *range, cm_range *place);
/* And back to where they were. The place is gone then. */
int cm_move_pages_back(cm_range *place, const cm_range *range);

int cm_sync(unsigned char *base, size_t offset, size_t length, int flags);
int cm_advise(unsigned char *base, size_t offset, size_t length, int advice);

/* Brings the pages of the range in, so that a copy made under the interpreter's lock waits for no disk. */
int cm_populate(unsigned char *base, size_t offset, size_t length);

/* Names anonymous memory, for whoever reads the process's list of mappings. CM_UNSUPPORTED where the kernel has no names. */
int cm_set_name(unsigned char *base, size_t length, const char *name);

/* ---- accesses ---- */

/* The functions from here on access the memory themselves. Where a page that is lost or protected can be survived (see
 * guard.h), they end there and answer with its error; what was written before stays. */

/* Copies within, out of and into a mapping. Source and target may overlap. */
int cm_move(unsigned char *base, size_t target, size_t source, size_t count);
int cm_load(const unsigned char *base, size_t offset, size_t count, unsigned char *target);
int cm_store(unsigned char *base, size_t offset, const unsigned char *source, size_t count);

/* Every step-th byte from start on, count of them, one after the other; step may be negative. A source that lies in
 * the same memory is read as it has become by then. */
int cm_gather(const unsigned char *base, size_t start, ptrdiff_t step, size_t count, unsigned char *target);
int cm_scatter(unsigned char *base, size_t start, ptrdiff_t step, size_t count, const unsigned char *source);

/* What a function that returns a position answers for an error, which is positive: less than any other answer, and than
 * any negative code. */
#define CM_FAILED(error) (-16 - (ptrdiff_t)(error))
#define CM_ABSENT (-1)

/* The position after the next newline in [start, end), or end. Signed, as PyPy converts signed integers at twice the
 * speed, and a line is short. */
ptrdiff_t cm_line_end(const unsigned char *base, ptrdiff_t start, ptrdiff_t end);

/* The position of the first (last) needle of count bytes that lies within [start, end), or CM_ABSENT. start <= end. */
ptrdiff_t cm_find(const unsigned char *base, size_t start, size_t end, const unsigned char *needle, size_t count);
ptrdiff_t cm_rfind(const unsigned char *base, size_t start, size_t end, const unsigned char *needle, size_t count);

/* ---- one mapping ---- */

/* Addresses and what may be accessed of them. Whoever accesses memory without a lock looks at the changes after the
 * access, and before it if he writes: they are counted before pages are taken away, so that an access that met other pages
 * can tell. */
typedef struct {
    cm_range range;             /* all addresses that cm_span_end gives back; a base of NULL: none */
    ptrdiff_t length;           /* bytes that may be accessed; 0 once the memory was taken away */
    intptr_t changes;           /* how often the length was set; whoever sees a new count sees the length, too */
    int kept;                   /* somebody may have the addresses whom nobody counts: pages there are replaced by others
                                 * and the addresses given back by cm_span_end alone. Set by the caller, never cleared */
    int bare;                   /* nor are they given back then: they may be in use after that, too */
} cm_span;

/* One mapping. The caller fills in the first part, with zeros in the second one, before cm_mapping_open. */
typedef struct {
    cm_span *span;              /* what is mapped now; the struct is the caller's. cm_mapping_resize may put another there */
    const wchar_t *tag;         /* Windows; the caller's, NULL: none. cm_mapping_resize forgets a tag that was lost */
    long long offset;           /* bytes */
    int prot, flags;
    int anonymous;              /* there is no file */
    int copies;                 /* what is written stays in this process */

    cm_file file;               /* its own name of the file; -1: none */
    cm_file section;            /* Windows: keeps the tag; -1: none */
    int closed;
    ptrdiff_t page;             /* Unix: bytes of one of its pages, of which all is mapped or nothing */
    const char *failed;         /* what failed in a cm_mapping_...: a function of the floor below; NULL: an access */
    intptr_t position;          /* of the next read or write: the caller's, who sets it or has it moved on */
    uintptr_t calls;            /* see mapping.c */
    uintptr_t wanted;
    uintptr_t twin;             /* an address of the caller's where the pages are mapped once more: see cm_run_twin */
    size_t twin_length;
} cm_mapping;

/* Maps length bytes of a file; 0: what it has from the offset on. With `track` the mapping keeps a name of the file. An
 * anonymous mapping takes its length from the source if there is one, and no more of it. */
int cm_mapping_open(cm_mapping *m, cm_file source, int track, size_t length);

/* Ends it: nothing remains but a span that is kept, whose pages are zeros then (on Windows, what they were). CM_BUSY while
 * a call runs. Fails if the pages of a kept span cannot be replaced; the mapping is as before then. */
int cm_mapping_close(cm_mapping *m);

/* Changes the length of the mapping, and of its file, to offset + length, if it has one. CM_BUSY while a call runs. `fresh`
 * is an empty span of the caller's, which becomes the mapping's if a kept span had to stay where it is. A failure changes
 * nothing, neither file nor memory; but see `closed` on Windows: what had to be unmapped could not be mapped again. */
int cm_mapping_resize(cm_mapping *m, size_t length, cm_span *fresh);

/* Moves the position on from where the caller has seen it, so that of several threads each gets bytes of its own. CM_BUSY
 * if it is elsewhere by now. */
int cm_move_on(cm_mapping *m, ptrdiff_t from, ptrdiff_t to);

/* Destructors: nobody uses the mapping or the addresses any more. */
void cm_mapping_end(cm_mapping *m);
void cm_span_end(cm_span *span);

/* Searches that are not counted, where pages can be replaced: they look at the span's changes when they are done. CM_BUSY
 * if there was one, if the span has no memory, or if nothing is near of more than `short_range` bytes: nothing is known
 * then, and the caller has to be counted.
 *
 * `start` and `end` are what slices understand by them. A needle of 1 to 8 bytes is a number, its first byte the lowest:
 * PyPy passes a number in a fraction of the time that it needs for bytes. */
ptrdiff_t cm_find_near(cm_span *span, ptrdiff_t start, ptrdiff_t end, int64_t needle, ptrdiff_t count, int backwards,
                       ptrdiff_t short_range);
ptrdiff_t cm_find_bytes_near(cm_span *span, ptrdiff_t start, ptrdiff_t end, const unsigned char *needle,
                             ptrdiff_t count, int backwards, ptrdiff_t short_range);

/* Calls that run on the mapping's memory or file: meanwhile nobody closes or resizes it. CM_GONE if the range of bytes
 * is not there (any more), CM_BUSY if somebody waits to close or resize. Else as the functions above. */
int cm_run_move(cm_mapping *m, size_t target, size_t source, size_t count);
int cm_run_load(cm_mapping *m, size_t offset, size_t count, unsigned char *target);
int cm_run_store(cm_mapping *m, size_t offset, const unsigned char *source, size_t count);
int cm_run_gather(cm_mapping *m, size_t start, ptrdiff_t step, size_t count, unsigned char *target);
int cm_run_scatter(cm_mapping *m, size_t start, ptrdiff_t step, size_t count, const unsigned char *source);
ptrdiff_t cm_run_line_end(cm_mapping *m, ptrdiff_t start, ptrdiff_t end);
ptrdiff_t cm_run_find(cm_mapping *m, size_t start, size_t end, const unsigned char *needle, size_t count, int backwards);
int cm_run_sync(cm_mapping *m, size_t offset, size_t length, int flags);
int cm_run_advise(cm_mapping *m, size_t offset, size_t length, int advice);
int cm_run_populate(cm_mapping *m, size_t offset, size_t length);
int cm_run_set_name(cm_mapping *m, const char *name);

/* Maps the file's pages once more, in the place of pages that are the caller's and stay his as long as the mapping is there.
 * The close replaces them by zeros, too. CM_UNSUPPORTED if there is such a place, no file, or another length. The mapping
 * is never resized. */
int cm_run_twin(cm_mapping *m, unsigned char *place, size_t length);

/* Marks the mapping's span as kept: whoever takes memory away looks at that when no call runs. */
int cm_run_keep(cm_mapping *m);

/* The file's size in bytes, or as the functions that return a position. There is a file. */
long long cm_run_size(cm_mapping *m);

/* cm_sync_file of the mapping's file; nothing without one. */
int cm_run_sync_file(cm_mapping *m);

#endif

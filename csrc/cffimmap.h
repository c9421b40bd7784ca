/*
 * The contract between the Python package and one platform.
 *
 * unix.c and windows.c define the same functions: system calls and nothing else. Arguments are checked and
 * messages are worded in Python.
 *
 * A function that can fail returns an int: 0 for success, CM_UNSUPPORTED where the platform lacks the call, else
 * the system's own error number (errno; GetLastError on Windows), read before any clean-up. On failure the
 * outputs are not written and nothing has changed. Lengths, offsets and positions are bytes. No function
 * allocates memory or keeps any state, but for what guard.c says. A base stays the caller's: only cm_unmap, cm_blank and cm_remap end what
 * was mapped there.
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

/* Negative, so that it can be no errno and no Windows error. */
#define CM_UNSUPPORTED (-1)

extern const cm_constant cm_constants[];
extern const size_t cm_constant_count;

ptrdiff_t cm_page_size(void);
ptrdiff_t cm_granularity(void);    /* what an offset must be a multiple of */

/* The file of a descriptor, which stays the descriptor's. */
int cm_file_of(int descriptor, cm_file *file);

/* The file's size, and whether it is a regular file: the size of anything else says nothing about its length. */
int cm_status(cm_file file, long long *size, int *regular);

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

int cm_sync(unsigned char *base, size_t offset, size_t length, int flags);
int cm_advise(unsigned char *base, size_t offset, size_t length, int advice);

/* Brings the pages of the range in, so that a copy made under the interpreter's lock waits for no disk. */
int cm_populate(unsigned char *base, size_t offset, size_t length);

/* Names anonymous memory, for whoever reads the process's list of mappings. */
int cm_set_name(unsigned char *base, size_t length, const char *name);

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

/* What a function that returns a position answers for an error, which is positive: less than any other answer. */
#define CM_FAILED(error) (CM_ABSENT - (ptrdiff_t)(error))
#define CM_ABSENT (-1)

/* The position after the next newline in [start, end), or end. Signed, as PyPy converts signed integers at twice the
 * speed, and a line is short. */
ptrdiff_t cm_line_end(const unsigned char *base, ptrdiff_t start, ptrdiff_t end);

/* The position of the first (last) needle of count bytes that lies within [start, end), or CM_ABSENT. start <= end. */
ptrdiff_t cm_find(const unsigned char *base, size_t start, size_t end, const unsigned char *needle, size_t count);
ptrdiff_t cm_rfind(const unsigned char *base, size_t start, size_t end, const unsigned char *needle, size_t count);

#endif

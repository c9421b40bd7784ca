/* The names of the public module that this platform has, with their values. */
#if defined(__linux__)
#define _GNU_SOURCE
#endif
#if defined(__APPLE__)
#define _DARWIN_C_SOURCE
#endif

#include "cffimmap.h"

#if defined(_WIN32)
/* For flush() alone, with the numbers of Linux: Windows has no names for the two ways. */
#define MS_ASYNC 1
#define MS_SYNC 4
#else
#include <sys/mman.h>
#endif

/* What the kernel has and an older C library's headers lack. The numbers are those of asm-generic/mman-common.h and
 * mman.h, which alpha, mips, parisc, powerpc, sparc and xtensa change in part: there the headers alone decide. */
#if defined(__linux__) && (defined(__x86_64__) || defined(__i386__) || defined(__aarch64__) || defined(__arm__) || \
                           defined(__riscv) || defined(__s390x__) || defined(__loongarch__))
#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif
#ifndef MADV_KEEPONFORK
#define MADV_KEEPONFORK 19
#endif
#ifndef MADV_COLD
#define MADV_COLD 20
#endif
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MAP_SYNC
#define MAP_SYNC 0x080000
#endif
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#endif

/* linux/mman.h: the base 2 logarithm of the page size, shifted by 26, on every processor. */
#if defined(__linux__)
#ifndef MAP_HUGE_2MB
#define MAP_HUGE_2MB (21 << 26)
#endif
#ifndef MAP_HUGE_1GB
#define MAP_HUGE_1GB (30 << 26)
#endif
#endif

#define NAME(name) {#name, name}

const cm_constant cm_constants[] = {
#ifdef PROT_NONE
    NAME(PROT_NONE),
#endif
#ifdef PROT_READ
    NAME(PROT_READ),
#endif
#ifdef PROT_WRITE
    NAME(PROT_WRITE),
#endif
#ifdef PROT_EXEC
    NAME(PROT_EXEC),
#endif
#ifdef MS_SYNC
    NAME(MS_SYNC),
#endif
#ifdef MS_ASYNC
    NAME(MS_ASYNC),
#endif
#ifdef MS_INVALIDATE
    NAME(MS_INVALIDATE),
#endif
#ifdef MAP_SHARED
    NAME(MAP_SHARED),
#endif
#ifdef MAP_PRIVATE
    NAME(MAP_PRIVATE),
#endif
#ifdef MAP_ANON
    NAME(MAP_ANON),
#endif
#ifdef MAP_ANONYMOUS
    NAME(MAP_ANONYMOUS),
#endif
#ifdef MAP_DENYWRITE
    NAME(MAP_DENYWRITE),
#endif
#ifdef MAP_EXECUTABLE
    NAME(MAP_EXECUTABLE),
#endif
#ifdef MAP_POPULATE
    NAME(MAP_POPULATE),
#endif
#ifdef MAP_STACK
    NAME(MAP_STACK),
#endif
#ifdef MAP_NORESERVE
    NAME(MAP_NORESERVE),
#endif
#ifdef MAP_HUGETLB
    NAME(MAP_HUGETLB),
#endif
#ifdef MAP_HUGE_2MB
    NAME(MAP_HUGE_2MB),
#endif
#ifdef MAP_HUGE_1GB
    NAME(MAP_HUGE_1GB),
#endif
#ifdef MAP_LOCKED
    NAME(MAP_LOCKED),
#endif
#ifdef MAP_FIXED_NOREPLACE
    NAME(MAP_FIXED_NOREPLACE),
#endif
#ifdef MAP_SYNC
    NAME(MAP_SYNC),
#endif
#ifdef MAP_GROWSDOWN
    NAME(MAP_GROWSDOWN),
#endif
#ifdef MAP_ALIGNED_SUPER
    NAME(MAP_ALIGNED_SUPER),
#endif
#ifdef MAP_CONCEAL
    NAME(MAP_CONCEAL),
#endif
#ifdef MAP_NOEXTEND
    NAME(MAP_NOEXTEND),
#endif
#ifdef MAP_HASSEMAPHORE
    NAME(MAP_HASSEMAPHORE),
#endif
#ifdef MAP_NOCACHE
    NAME(MAP_NOCACHE),
#endif
#ifdef MAP_JIT
    NAME(MAP_JIT),
#endif
#ifdef MAP_RESILIENT_CODESIGN
    NAME(MAP_RESILIENT_CODESIGN),
#endif
#ifdef MAP_RESILIENT_MEDIA
    NAME(MAP_RESILIENT_MEDIA),
#endif
#ifdef MAP_32BIT
    NAME(MAP_32BIT),
#endif
#ifdef MAP_TRANSLATED_ALLOW_EXECUTE
    NAME(MAP_TRANSLATED_ALLOW_EXECUTE),
#endif
#ifdef MAP_UNIX03
    NAME(MAP_UNIX03),
#endif
#ifdef MAP_TPRO
    NAME(MAP_TPRO),
#endif
#ifdef MADV_NORMAL
    NAME(MADV_NORMAL),
#endif
#ifdef MADV_RANDOM
    NAME(MADV_RANDOM),
#endif
#ifdef MADV_SEQUENTIAL
    NAME(MADV_SEQUENTIAL),
#endif
#ifdef MADV_WILLNEED
    NAME(MADV_WILLNEED),
#endif
#ifdef MADV_DONTNEED
    NAME(MADV_DONTNEED),
#endif
#ifdef MADV_REMOVE
    NAME(MADV_REMOVE),
#endif
#ifdef MADV_DONTFORK
    NAME(MADV_DONTFORK),
#endif
#ifdef MADV_DOFORK
    NAME(MADV_DOFORK),
#endif
#ifdef MADV_HWPOISON
    NAME(MADV_HWPOISON),
#endif
#ifdef MADV_MERGEABLE
    NAME(MADV_MERGEABLE),
#endif
#ifdef MADV_UNMERGEABLE
    NAME(MADV_UNMERGEABLE),
#endif
#ifdef MADV_SOFT_OFFLINE
    NAME(MADV_SOFT_OFFLINE),
#endif
#ifdef MADV_HUGEPAGE
    NAME(MADV_HUGEPAGE),
#endif
#ifdef MADV_NOHUGEPAGE
    NAME(MADV_NOHUGEPAGE),
#endif
#ifdef MADV_DONTDUMP
    NAME(MADV_DONTDUMP),
#endif
#ifdef MADV_DODUMP
    NAME(MADV_DODUMP),
#endif
#ifdef MADV_FREE
    NAME(MADV_FREE),
#endif
#ifdef MADV_NOSYNC
    NAME(MADV_NOSYNC),
#endif
#ifdef MADV_AUTOSYNC
    NAME(MADV_AUTOSYNC),
#endif
#ifdef MADV_NOCORE
    NAME(MADV_NOCORE),
#endif
#ifdef MADV_CORE
    NAME(MADV_CORE),
#endif
#ifdef MADV_PROTECT
    NAME(MADV_PROTECT),
#endif
#ifdef MADV_FREE_REUSABLE
    NAME(MADV_FREE_REUSABLE),
#endif
#ifdef MADV_FREE_REUSE
    NAME(MADV_FREE_REUSE),
#endif
#ifdef MADV_POPULATE_READ
    NAME(MADV_POPULATE_READ),
#endif
#ifdef MADV_POPULATE_WRITE
    NAME(MADV_POPULATE_WRITE),
#endif
#ifdef MADV_COLD
    NAME(MADV_COLD),
#endif
#ifdef MADV_PAGEOUT
    NAME(MADV_PAGEOUT),
#endif
#ifdef MADV_COLLAPSE
    NAME(MADV_COLLAPSE),
#endif
#ifdef MADV_WIPEONFORK
    NAME(MADV_WIPEONFORK),
#endif
#ifdef MADV_KEEPONFORK
    NAME(MADV_KEEPONFORK),
#endif
#ifdef MADV_DONTNEED_LOCKED
    NAME(MADV_DONTNEED_LOCKED),
#endif
};

const size_t cm_constant_count = sizeof cm_constants / sizeof cm_constants[0];

/* Words that several threads change without a lock: what mapping.c needs. */
#ifndef CFFIMMAP_COUNT_H
#define CFFIMMAP_COUNT_H

#include <stdint.h>

#if defined(_MSC_VER)

#include <intrin.h>
#include <windows.h>

static inline uintptr_t cm_get(uintptr_t *word)
{
    return (uintptr_t)_InterlockedCompareExchangePointer((void *volatile *)word, NULL, NULL);
}

static inline void cm_put(uintptr_t *word, uintptr_t value)
{
    (void)_InterlockedExchangePointer((void *volatile *)word, (void *)value);
}

/* Puts a new value in the place of the expected one; 0, and the value that is there, if it is another. */
static inline int cm_exchange(uintptr_t *word, uintptr_t *expected, uintptr_t value)
{
    uintptr_t found = (uintptr_t)_InterlockedCompareExchangePointer((void *volatile *)word, (void *)value,
                                                                    (void *)*expected);

    if (found == *expected)
        return 1;
    *expected = found;
    return 0;
}

static inline void cm_read_first(void)
{
    MemoryBarrier();
}

#else

/* What was read before is read before what is read from here on. ThreadSanitizer knows no fences (gcc 12). */
static inline void cm_read_first(void)
{
#if !defined(__SANITIZE_THREAD__)
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
#endif
}

static inline uintptr_t cm_get(uintptr_t *word)
{
    return __atomic_load_n(word, __ATOMIC_SEQ_CST);
}

static inline void cm_put(uintptr_t *word, uintptr_t value)
{
    __atomic_store_n(word, value, __ATOMIC_SEQ_CST);
}

/* Puts a new value in the place of the expected one; 0, and the value that is there, if it is another. */
static inline int cm_exchange(uintptr_t *word, uintptr_t *expected, uintptr_t value)
{
    return __atomic_compare_exchange_n(word, expected, value, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

#endif

#endif

/* Memory that the tests in C put to the contract, and what they fill it with. */
#ifndef CFFIMMAP_TEST_MEMORY_H
#define CFFIMMAP_TEST_MEMORY_H

#include "checks.h"

#include <stdint.h>

#include <sys/mman.h>
#include <unistd.h>

enum { READ_WRITE = PROT_READ | PROT_WRITE, PRIVATE_MEMORY = MAP_PRIVATE | MAP_ANON };

static inline size_t page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

/* Memory between two pages that nobody may touch. */
static inline unsigned char *fenced(size_t pages)
{
    size_t page = page_size();
    unsigned char *whole = mmap(NULL, (pages + 2) * page, PROT_NONE, PRIVATE_MEMORY, -1, 0);

    if (whole == MAP_FAILED || mprotect(whole + page, pages * page, READ_WRITE) == -1)
        give_up("mmap");
    return whole + page;
}

/* A number below the limit, the same ones in every run (xorshift, Marsaglia 2003). */
static inline size_t chance(size_t limit)
{
    static uint32_t state = 20031120;

    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state % limit;
}

static inline void fill(unsigned char *target, size_t count, size_t letters)
{
    for (size_t i = 0; i < count; i++)
        target[i] = (unsigned char)('a' + chance(letters));
}

#endif

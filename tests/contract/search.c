/*
 * The search of csrc/search.c without Python: `nox -s cross` runs it.
 *
 * Each kernel that the processor can run is put to the same tests, and so is the Two-Way search alone. Text and needle
 * lie beside pages that nobody may touch, or in blocks of their own, around which AddressSanitizer sees every byte.
 */
#if defined(__linux__)
#define _GNU_SOURCE             /* MAP_ANON under -std=c11 */
#endif

#include "cffimmap.h"
#include "search.h"

#include "checks.h"
#include "memory.h"

#include <string.h>

#include <sys/wait.h>

enum { TEXT_PAGES = 10, NEEDLE_PAGES = 1, LEAST_PAGE = 4096, TEXT = TEXT_PAGES * LEAST_PAGE };

static unsigned char *text_memory, *needle_memory;

/* `length` bytes that touch the one fence or the other. */
static unsigned char *at_the_start(unsigned char *memory, size_t pages, size_t length)
{
    (void)pages, (void)length;
    return memory;
}

static unsigned char *at_the_end(unsigned char *memory, size_t pages, size_t length)
{
    return memory + pages * page_size() - length;
}

static unsigned char *beside_a_fence(unsigned char *memory, size_t pages, size_t length)
{
    return (chance(2) == 0 ? at_the_start : at_the_end)(memory, pages, length);
}

/* ---- what is asked, and the answer ---- */

typedef struct {
    const unsigned char *text;
    size_t length;
    const unsigned char *needle;
    size_t count;
} query;

static ptrdiff_t naive_find(const query *q)
{
    for (size_t i = 0; i + q->count <= q->length; i++)
        if (memcmp(q->text + i, q->needle, q->count) == 0)
            return (ptrdiff_t)i;
    return CM_ABSENT;
}

static ptrdiff_t naive_rfind(const query *q)
{
    for (size_t i = q->length + 1; i-- > q->count;)
        if (memcmp(q->text + i - q->count, q->needle, q->count) == 0)
            return (ptrdiff_t)(i - q->count);
    return CM_ABSENT;
}

/* Whether every kernel gives these answers. */
static int all_answer(const query *q, ptrdiff_t first, ptrdiff_t last)
{
    const cm_kernel *kernel;

    for (size_t i = 0; (kernel = cm_search_kernel(i)) != NULL; i++) {
        ptrdiff_t found = kernel->find(q->text, q->length, q->needle, q->count);
        ptrdiff_t rfound = kernel->rfind(q->text, q->length, q->needle, q->count);

        if (found != first || rfound != last) {
            printf("%s: %td and %td, not %td and %td, of %zu in %zu\n", kernel->name, found, rfound, first, last,
                   q->count, q->length);
            return 0;
        }
    }
    return 1;
}

static int all_agree(const query *q)
{
    return all_answer(q, naive_find(q), naive_rfind(q));
}

/* ---- the contract ---- */

static void line_ends_after_the_newline_or_at_the_end(void)
{
    const unsigned char *text = (const unsigned char *)"ab\n\ncd\n";

    CHECK(cm_line_end(text, 0, 7) == 3);
    CHECK(cm_line_end(text, 2, 7) == 3);
    CHECK(cm_line_end(text, 3, 7) == 4);
    CHECK(cm_line_end(text, 4, 7) == 7);
    CHECK(cm_line_end(text, 4, 6) == 6);
    CHECK(cm_line_end(text, 0, 2) == 2);
    CHECK(cm_line_end(text, 5, 5) == 5);
}

static void positions_are_those_of_the_whole(void)
{
    const unsigned char *text = (const unsigned char *)"abcabcabc";

    CHECK(cm_find(text, 1, 9, text, 2) == 3);
    CHECK(cm_rfind(text, 1, 8, text, 2) == 6);
    CHECK(cm_rfind(text, 1, 7, text, 2) == 3);
    CHECK(cm_find(text, 1, 4, text, 2) == CM_ABSENT);
    CHECK(cm_find(text, 1, 9, text, 1) == 3);
    CHECK(cm_rfind(text, 1, 6, text, 1) == 3);
}

static void empty_needle_is_at_either_end(void)
{
    const unsigned char *text = (const unsigned char *)"abc";

    CHECK(cm_find(text, 1, 3, text, 0) == 1);
    CHECK(cm_rfind(text, 1, 3, text, 0) == 3);
    CHECK(cm_find(text, 2, 2, text, 0) == 2);
    CHECK(cm_rfind(text, 2, 2, text, 0) == 2);
}

static void needle_longer_than_the_range_is_not_there(void)
{
    const unsigned char *text = (const unsigned char *)"abc";

    CHECK(cm_find(text, 0, 2, text, 3) == CM_ABSENT);
    CHECK(cm_rfind(text, 0, 2, text, 3) == CM_ABSENT);
    CHECK(cm_find(text, 3, 3, text, 1) == CM_ABSENT);
    CHECK(cm_rfind(text, 3, 3, text, 1) == CM_ABSENT);
}

static void the_best_kernel_comes_first_and_two_way_last(void)
{
    const cm_kernel *kernel, *last = NULL;
    size_t kernels = 0;

    printf("kernels:");
    for (; (kernel = cm_search_kernel(kernels)) != NULL; kernels++) {
        last = kernel;
        printf(" %s", kernel->name);
    }
    printf("\n");
    CHECK(kernels >= 2);
    CHECK(strcmp(last->name, "Two-Way") == 0);
#if defined(__x86_64__)
    CHECK(strcmp(cm_search_kernel(0)->name, __builtin_cpu_supports("avx2") ? "AVX2" : "SSE2") == 0);
#elif defined(__aarch64__)
    CHECK(strcmp(cm_search_kernel(0)->name, "NEON") == 0);
#endif
    CHECK(cm_search_kernel(kernels + 1) == NULL);
}

/* ---- every length, every alignment ---- */

enum { LONGEST_NEEDLE = 300, ALIGNMENTS = 64 };

/* A needle in which only the last byte, or only the first one, is a b. */
static void make_needle(unsigned char *needle, size_t count, int b_is_first)
{
    memset(needle, 'a', count);
    needle[b_is_first ? 0 : count - 1] = 'b';
}

/* With the needle absent, at the start, at the end and at both; what lies next to it outside the text would make up what
 * is lacking, if it were looked at. */
static int agrees_at_both_ends(unsigned char *text, size_t length, const unsigned char *needle, size_t count)
{
    const query q = {text, length, needle, count};
    ptrdiff_t end = (ptrdiff_t)(length - count);
    int well;

    memset(text, 'c', length);
    well = all_answer(&q, CM_ABSENT, CM_ABSENT);
    memcpy(text, needle, count);
    well = well && all_answer(&q, 0, 0);
    memmove(text + end, needle, count);
    well = well && (end < (ptrdiff_t)count || all_answer(&q, 0, end));
    text[0] ^= 1;
    return well && (end == 0 || all_answer(&q, end, end));
}

/* How long the text is beyond the needle: each number below 64, with some stripes more now and then. */
static size_t beyond(size_t count, size_t i)
{
    return i + ALIGNMENTS * ((count + i) % 4);
}

static void nothing_is_read_beyond_the_fences(void)
{
    for (size_t count = 1; count <= LONGEST_NEEDLE; count++)
        for (size_t i = 0; i < ALIGNMENTS; i++) {
            size_t length = count + beyond(count, i);
            unsigned char *needle = beside_a_fence(needle_memory, NEEDLE_PAGES, count);

            make_needle(needle, count, (int)(i % 2));
            CHECK(agrees_at_both_ends(at_the_end(text_memory, TEXT_PAGES, length), length, needle, count));
            CHECK(agrees_at_both_ends(at_the_start(text_memory, TEXT_PAGES, length), length, needle, count));
        }
}

/* The first byte of the text has each alignment; a block's is that of the allocator. */
static void nothing_is_read_beyond_a_block(void)
{
    for (size_t count = 1; count <= LONGEST_NEEDLE; count += 1 + count / 64)
        for (size_t i = 0; i < ALIGNMENTS; i++) {
            size_t length = count + beyond(count, i);
            unsigned char *text = malloc(length), *needle = malloc(count);
            int well;

            if (text == NULL || needle == NULL)
                give_up("malloc");
            make_needle(needle, count, (int)(i % 2));
            well = agrees_at_both_ends(text, length, needle, count);
            free(text);
            free(needle);
            CHECK(well);
        }
}

/* What lies around the text would be a match with it. */
static void nothing_around_the_text_is_found(void)
{
    static unsigned char around[ALIGNMENTS + 1000 + ALIGNMENTS];
    unsigned char *needle = needle_memory;

    for (size_t count = 2; count <= LONGEST_NEEDLE; count += 1 + count / 16)
        for (size_t start = 1; start <= ALIGNMENTS; start++) {
            size_t length = count + (start * 7) % 600;
            const query q = {around + start, length, needle, count};

            make_needle(needle, count, 1);
            memset(around, 'c', sizeof around);
            memset(around + start, 'a', count - 1);
            around[start - 1] = 'b';
            CHECK(all_answer(&q, CM_ABSENT, CM_ABSENT));
            make_needle(needle, count, 0);
            memset(around + start, 'c', length);
            memset(around + start + length - count + 1, 'a', count - 1);
            around[start + length] = 'b';
            CHECK(all_answer(&q, CM_ABSENT, CM_ABSENT));
        }
}

static void needle_is_found_wherever_it_is(void)
{
    static const size_t counts[] = {1, 2, 3, 7, 8, 9, 31, 32, 33, 64, 65, 300};
    enum { LENGTH = 1500 };

    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        size_t count = counts[i];
        unsigned char *needle = beside_a_fence(needle_memory, NEEDLE_PAGES, count);
        unsigned char *text = beside_a_fence(text_memory, TEXT_PAGES, LENGTH);
        const query q = {text, LENGTH, needle, count};

        memset(text, 'c', LENGTH);
        for (size_t place = 0; place + count <= LENGTH; place++) {
            make_needle(needle, count, (int)(place % 2));
            memcpy(text + place, needle, count);
            CHECK(all_answer(&q, (ptrdiff_t)place, (ptrdiff_t)place));
            memset(text + place, 'c', count);
        }
    }
}

/* ---- against a naive search ---- */

static query any_query(size_t length, size_t count, size_t letters)
{
    unsigned char *text = beside_a_fence(text_memory, TEXT_PAGES, length);
    unsigned char *needle = beside_a_fence(needle_memory, NEEDLE_PAGES, count);

    fill(text, length, letters);
    /* Half the needles are made like the text, the others are taken from it. */
    if (chance(2) == 0)
        fill(needle, count, letters);
    else
        memcpy(needle, text + chance(length - count + 1), count);
    return (query){text, length, needle, count};
}

static void random_texts_agree(void)
{
    static const size_t letters[] = {1, 2, 3, 4, 26, 150};

    for (int round = 0; round < 30000; round++) {
        size_t count = 1 + chance(round % 2 ? 5 : 70);
        query q = any_query(count + chance(round % 8 ? 200 : 3000), count, letters[round % 6]);

        CHECK(all_agree(&q));
    }
}

/* Every text and every needle of two letters up to some length, alone and in the midst of others. */
static void words_of_two_letters_agree(void)
{
    enum { LETTERS = 9, NEEDLE = 5, AROUND = 130 };
    unsigned char text[AROUND + LETTERS + AROUND], needle[NEEDLE];

    memset(text, 'c', sizeof text);
    for (unsigned word = 0; word < 1u << LETTERS; word++) {
        for (unsigned i = 0; i < LETTERS; i++)
            text[AROUND + i] = word >> i & 1 ? 'b' : 'a';
        for (unsigned count = 1; count <= NEEDLE; count++)
            for (unsigned sought = 0; sought < 1u << count; sought++) {
                const query alone = {text + AROUND, LETTERS, needle, count}, among = {text, sizeof text, needle, count};
                ptrdiff_t first, last;

                for (unsigned i = 0; i < count; i++)
                    needle[i] = sought >> i & 1 ? 'b' : 'a';
                first = naive_find(&alone);
                last = naive_rfind(&alone);
                CHECK(all_answer(&alone, first, last));
                CHECK(all_answer(&among, first < 0 ? first : first + AROUND, last < 0 ? last : last + AROUND));
            }
    }
}

/* Two letters in a pattern that repeats, with a few faults. */
static void fill_with_a_period(unsigned char *target, size_t count, size_t period, size_t faults)
{
    fill(target, period, 2);
    for (size_t i = period; i < count; i++)
        target[i] = target[i - period];
    while (faults-- > 0)
        target[chance(count)] ^= 'a' ^ 'b';
}

static query repetitive_query(void)
{
    size_t length = TEXT / 2 + chance(TEXT / 2 + 1), count = 2 + chance(chance(3) ? 80 : 600);
    unsigned char *text = beside_a_fence(text_memory, TEXT_PAGES, length);
    unsigned char *needle = beside_a_fence(needle_memory, NEEDLE_PAGES, count);

    fill_with_a_period(text, length, 1 + chance(12), chance(12));
    memcpy(needle, text + chance(length - count + 1), count);
    if (chance(3) != 0)
        needle[chance(count)] ^= 'a' ^ 'b';
    return (query){text, length, needle, count};
}

static void repetitive_texts_agree(void)
{
    for (int round = 0; round < 150; round++) {
        query q = repetitive_query();

        CHECK(all_agree(&q));
    }
}

/* Mostly one letter, so that many places fit nearly: no pair is any good, and Two-Way does the rest. */
static query costly_query(void)
{
    size_t length = TEXT, count = 30 + chance(250);
    unsigned char *text = beside_a_fence(text_memory, TEXT_PAGES, length);
    unsigned char *needle = beside_a_fence(needle_memory, NEEDLE_PAGES, count);

    for (size_t i = 0; i < length; i++)
        text[i] = chance(count / 4) == 0 ? 'b' : 'a';
    memset(needle, 'a', count);
    if (chance(2) == 0)
        needle[chance(count)] = 'b';
    /* It is once in the midst, or far from where the search begins. */
    if (chance(3) != 0)
        memcpy(text + chance(length - count + 1), needle, count);
    if (chance(3) == 0)
        needle[chance(count)] = 'c';
    return (query){text, length, needle, count};
}

static void costly_texts_agree(void)
{
    for (int round = 0; round < 300; round++) {
        query q = costly_query();

        CHECK(all_agree(&q));
    }
}

/* Whether a needle of one letter is found at each place of a text, after what is costly. */
static int agrees_at_each_place(unsigned char *text, size_t length, size_t count)
{
    unsigned char before[LONGEST_NEEDLE];
    const query q = {text, length, needle_memory, count};
    int well = 1;

    memset(needle_memory, 'a', count);
    for (size_t place = 0; place + count <= length && well; place++) {
        memcpy(before, text + place, count);
        memcpy(text + place, needle_memory, count);
        well = all_agree(&q);
        memcpy(text + place, before, count);
    }
    return well;
}

/* Somewhere the search goes over to Two-Way, and nothing is lost there. */
static void needle_is_found_where_two_way_begins(void)
{
    enum { LENGTH = 3000, COUNT = 140 };
    static unsigned char text[LENGTH];

    for (int round = 0; round < 5; round++) {
        memset(text, 'a', LENGTH);
        for (size_t i = chance(COUNT); i < LENGTH; i += COUNT / 2 + chance(COUNT / 2))
            text[i] = 'b';
        CHECK(agrees_at_each_place(text, LENGTH, COUNT - 20 * (size_t)round));
    }
}

/* `as` of the letter a, then a b, then `more` of a. */
static size_t a_b_a(unsigned char *needle, size_t as, size_t more)
{
    memset(needle, 'a', as + 1 + more);
    needle[as] = 'b';
    return as + 1 + more;
}

static void needles_of_one_letter_with_a_fault_agree(void)
{
    query q = {text_memory, TEXT, needle_memory, 0};

    memset(text_memory, 'a', TEXT);
    for (size_t as = 0; as <= 400; as += 100)
        for (size_t more = 0; more <= 400; more += 100) {
            ptrdiff_t place = (ptrdiff_t)(TEXT - 1000 - as);

            q.count = a_b_a(needle_memory, as, more);
            text_memory[TEXT - 1000] = 'a';
            CHECK(all_answer(&q, CM_ABSENT, CM_ABSENT));
            text_memory[TEXT - 1000] = 'b';
            CHECK(all_answer(&q, place, place));
        }
}

/* Each word of Fibonacci begins with the one before it: what is hardest on searches that compare from one end. */
static void words_of_fibonacci_agree(void)
{
    size_t before = 1, length = 2;

    memcpy(text_memory, "ab", 2);
    while (length + before <= TEXT) {
        memcpy(text_memory + length, text_memory, before);
        length += before;
        before = length - before;
    }
    for (int round = 0; round < 150; round++) {
        size_t count = 20 + chance(500);
        unsigned char *needle = beside_a_fence(needle_memory, NEEDLE_PAGES, count);
        query q = {text_memory, length, needle, count};

        memcpy(needle, text_memory + chance(length - count), count);
        needle[round % 2 ? count - 1 : chance(count)] ^= 'a' ^ 'b';
        CHECK(all_agree(&q));
    }
}

/* ---- memory that changes ---- */

static uint32_t *shared_between_fences(size_t pages)
{
    size_t page = page_size();
    unsigned char *base = fenced(pages);

    if (mmap(base, pages * page, READ_WRITE, MAP_SHARED | MAP_ANON | MAP_FIXED, -1, 0) != base)
        give_up("mmap");
    return (uint32_t *)base;
}

/* Has another process change bytes until it is killed. */
static pid_t start_changing(uint32_t *text, uint32_t *needle)
{
    pid_t child = fork();

    if (child == -1)
        give_up("fork");
    while (child == 0) {
        ((volatile unsigned char *)text)[chance(page_size())] = (unsigned char)('a' + chance(2));
        ((volatile unsigned char *)needle)[chance(page_size())] = (unsigned char)('a' + chance(2));
    }
    return child;
}

static int in_bounds(ptrdiff_t found, size_t length, size_t count)
{
    return found == CM_ABSENT || (found >= 0 && (size_t)found <= length - count);
}

/* Whatever is read, a search ends, stays within the fences and answers with a place. */
static int all_stay_in_bounds(const unsigned char *text, size_t length, const unsigned char *needle, size_t count)
{
    const cm_kernel *kernel;
    int well = 1;

    for (size_t i = 0; (kernel = cm_search_kernel(i)) != NULL; i++)
        well = well && in_bounds(kernel->find(text, length, needle, count), length, count) &&
               in_bounds(kernel->rfind(text, length, needle, count), length, count);
    return well;
}

static void text_and_needle_may_change_meanwhile(void)
{
    size_t page = page_size();
    uint32_t *text = shared_between_fences(1), *needle = shared_between_fences(1);
    pid_t child;
    int well = 1;

    memset(text, 'a', page);
    memset(needle, 'a', page);
    child = start_changing(text, needle);
    for (int round = 0; round < 3000 && well; round++) {
        size_t count = 1 + chance(round % 3 ? 100 : page);
        unsigned char *sought = beside_a_fence((unsigned char *)needle, 1, count);

        well = all_stay_in_bounds((unsigned char *)text, page, sought, count);
    }
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    CHECK(well);
}

/* ---- all of them ---- */

static const test tests[] = {
    TEST(line_ends_after_the_newline_or_at_the_end),
    TEST(positions_are_those_of_the_whole),
    TEST(empty_needle_is_at_either_end),
    TEST(needle_longer_than_the_range_is_not_there),
    TEST(the_best_kernel_comes_first_and_two_way_last),
    TEST(nothing_is_read_beyond_the_fences),
    TEST(nothing_is_read_beyond_a_block),
    TEST(nothing_around_the_text_is_found),
    TEST(needle_is_found_wherever_it_is),
    TEST(random_texts_agree),
    TEST(words_of_two_letters_agree),
    TEST(repetitive_texts_agree),
    TEST(costly_texts_agree),
    TEST(needle_is_found_where_two_way_begins),
    TEST(needles_of_one_letter_with_a_fault_agree),
    TEST(words_of_fibonacci_agree),
    TEST(text_and_needle_may_change_meanwhile),
};

int main(int count, char **arguments)
{
    text_memory = fenced(TEXT_PAGES);
    needle_memory = fenced(NEEDLE_PAGES);
    return run_all(tests, sizeof tests / sizeof tests[0], is_emulated(count, arguments));
}

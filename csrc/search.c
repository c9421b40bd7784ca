/*
 * Search over memory, the same on every platform.
 *
 * The needle is sought at 64 places at once: where two of its bytes fit that are rare in what people keep in files, two
 * others are asked for, and then the rest. Where too many of these places are false, the last of them shows a byte that
 * did not fit, which is asked for first from then on. After some such turns, where places are false whatever is asked
 * for, the rest is searched by the Two-Way algorithm (Crochemore and Perrin, 1991), which is linear for every needle and
 * needs no memory. search_kernel.h has the search by vectors, once for all kinds of them and both directions.
 *
 * The text may change meanwhile, and so may a needle that is another thread's: a byte that is read twice may be two. No
 * index is made of a byte, but one into a table of 256, and every loop goes on by at least one place whatever it reads.
 */
#include "search.h"

#include "cffimmap.h"

#include "guard.h"

#include <string.h>

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#endif

/* Microsoft's compiler does not say so, but every x64 processor has SSE2. */
#if defined(__SSE2__) || defined(_M_X64)
#define HAS_SSE2 1
#include <emmintrin.h>
#endif
/* gcc for Windows keeps these vectors on its stack as if that were aligned for them (its bug 54412). */
#if (defined(__x86_64__) || defined(_M_X64)) && !(defined(__MINGW32__) && !defined(__clang__))
#define HAS_AVX2 1
#include <immintrin.h>
#endif
#if (defined(__aarch64__) && defined(__ARM_NEON) && !defined(__AARCH64EB__)) || defined(_M_ARM64)
#define HAS_NEON 1
#include <arm_neon.h>
#endif

#if defined(_MSC_VER) && !defined(__clang__)
#define IS_MSVC 1
#include <intrin.h>
#define ALWAYS_INLINE __forceinline
#define FOR_AVX2
#else
#define ALWAYS_INLINE inline __attribute__((always_inline))
#define FOR_AVX2 __attribute__((target("avx2")))
#endif

/* The lowest and the highest bit that is set; some bit is. */
#if defined(IS_MSVC)
static inline unsigned lowest(uint64_t mask)
{
    unsigned long bit;

    if (_BitScanForward(&bit, (unsigned long)mask))
        return bit;
    _BitScanForward(&bit, (unsigned long)(mask >> 32));
    return bit + 32;
}

static inline unsigned highest(uint64_t mask)
{
    unsigned long bit;

    if (_BitScanReverse(&bit, (unsigned long)(mask >> 32)))
        return bit + 32;
    _BitScanReverse(&bit, (unsigned long)mask);
    return bit;
}
#else
static inline unsigned lowest(uint64_t mask)
{
    return (unsigned)__builtin_ctzll(mask);
}

static inline unsigned highest(uint64_t mask)
{
    return 63u - (unsigned)__builtin_clzll(mask);
}
#endif

/* ---- Two-Way ---- */

/* Text and needle are read forwards from their first byte on (step 1) or backwards from their last one (step -1). The
 * step is a constant of each caller, so that the compiler makes two searches of one. */
#define AT(origin, index) ((origin)[(index) * step])

/* Where the greatest suffix starts, by the order of bytes or by its opposite, and that suffix's period. Whatever the
 * bytes are it ends, as `candidate` never falls and `matched` only where that grows, and start + period <= count. */
static ALWAYS_INLINE ptrdiff_t greatest_suffix(const unsigned char *needle, ptrdiff_t count, const ptrdiff_t step,
                                               int opposite, ptrdiff_t *period)
{
    ptrdiff_t suffix = -1, candidate = 0, matched = 1;

    *period = 1;
    while (candidate + matched < count) {
        unsigned char a = AT(needle, candidate + matched);
        unsigned char b = AT(needle, suffix + matched);

        if (a == b) {
            if (matched == *period) {
                candidate += *period;
                matched = 1;
            } else {
                matched++;
            }
        } else if ((a < b) != opposite) {
            candidate += matched;
            matched = 1;
            *period = candidate - suffix;
        } else {
            suffix = candidate++;
            matched = *period = 1;
        }
    }
    return suffix + 1;
}

static ALWAYS_INLINE int repeats(const unsigned char *needle, const ptrdiff_t step, ptrdiff_t split, ptrdiff_t period)
{
    for (ptrdiff_t i = 0; i < split; i++)
        if (AT(needle, i) != AT(needle, i + period))
            return 0;
    return 1;
}

static ALWAYS_INLINE ptrdiff_t two_way(const unsigned char *text, ptrdiff_t length, const unsigned char *needle,
                                       ptrdiff_t count, const ptrdiff_t step)
{
    ptrdiff_t period, other_period;
    ptrdiff_t split = greatest_suffix(needle, count, step, 0, &period);
    ptrdiff_t other_split = greatest_suffix(needle, count, step, 1, &other_period);
    ptrdiff_t known = 0, memory = 0;

    if (other_split > split) {
        split = other_split;
        period = other_period;
    }
    if (repeats(needle, step, split, period))
        known = count - period;
    else
        period = (split > count - split ? split : count - split) + 1;

    for (ptrdiff_t position = 0; position <= length - count;) {
        ptrdiff_t i = split > memory ? split : memory;

        while (i < count && AT(needle, i) == AT(text, position + i))
            i++;
        if (i < count) {
            position += i - split + 1;
            memory = 0;
            continue;
        }
        i = split;
        while (i > memory && AT(needle, i - 1) == AT(text, position + i - 1))
            i--;
        if (i <= memory)
            return position;
        position += period;
        memory = known;
    }
    return CM_ABSENT;
}

static ptrdiff_t two_way_find(const unsigned char *text, size_t length, const unsigned char *needle, size_t count)
{
    return two_way(text, (ptrdiff_t)length, needle, (ptrdiff_t)count, 1);
}

static ptrdiff_t two_way_rfind(const unsigned char *text, size_t length, const unsigned char *needle, size_t count)
{
    ptrdiff_t found = two_way(text + length - 1, (ptrdiff_t)length, needle + count - 1, (ptrdiff_t)count, -1);

    return found == CM_ABSENT ? found : (ptrdiff_t)(length - count) - found;
}

/* ---- the pair ---- */

/* How common a byte is, by the logarithm of its share: counted over prose, source code, markup, tables, messages in many
 * languages and machine code, each kind with the same weight. */
static const unsigned char commonness[256] = {
    247, 131,  98,  86,  91,  85,  65,  69, 112, 131, 184,  47,  54,  71,  75, 128,
     88,  54,  64,  38,  46,  45,  36,  28,  70,  28,  21,  30,  38,  27,  24,  79,
    255,  41, 163,  99, 121,  97,  56,  86, 131, 130, 113,  69, 150, 163, 170, 182,
    172, 171, 162, 157, 153, 145, 150, 139, 144, 147, 136,  95, 159, 136, 160,  24,
    106, 144, 110, 139, 128, 152, 110, 110, 160, 149,  58,  85, 143, 114, 134, 124,
    128,  38, 127, 153, 139, 106,  77,  76, 109,  65,  73,  68,  62,  71,  24, 186,
     61, 219, 172, 200, 195, 232, 182, 165, 173, 212, 101, 140, 201, 180, 211, 209,
    184,  64, 208, 213, 219, 181, 141, 136, 146, 150,  99,  66,  54,  65,  22,  17,
     86,  57,  49, 103,  94,  95,  32,  51,  44, 133,  14, 122,  35, 108,  14,  27,
     54,   8,   9,  14,  31,  36,  23,  15,  26,  33,  15,  27,  30,  26,  20,  23,
     69,  28,  19,  15,  83,  39,  21,  13,  49,  15,  77,  44,  91,  52,  26,  22,
     71,  20,  27,  29,  28,  28,  60,  41,  55,  32,  60,  32,  47,  37,  72,  55,
     92,  54,  71,  89,  73,  63,  47,  69,  45,  36,  11,   0,   7,   4,  15,   9,
    100,  77,  39,  12,   4,   4,  15,  44,  45,  29,  13,  28,   3,  14,  18,  47,
    131,  20,  50,  22,  19,  17,  24,  27, 108,  81,  23,  49,  35,  32,  34,  51,
     38,  10,  17,  21,  10,  12,  46,  32,  47,  29,  38,  36,  42,  54,  68, 151,
};

/* Two bytes of the needle. */
typedef struct {
    size_t first, second;           /* where they are in it */
    unsigned char first_byte, second_byte;
} pair;

static inline pair pair_at(const unsigned char *needle, size_t first, size_t second)
{
    return (pair){first, second, needle[first], needle[second]};
}

/* How much of the needle is looked at, and how much more common its rarest byte makes the neighbours: "u" tells little
 * beside "q". */
enum { EXAMINED = 64, OFTEN_TOGETHER = 32, UNKNOWN = 1024 * EXAMINED };

/* The rarest byte, and the rarest of those that differ from it: in a text of one letter no place fits both. Without a
 * branch, as none could be foretold. */
static pair choose(const unsigned char *needle, size_t count)
{
    size_t examined = count < EXAMINED ? count : EXAMINED;
    size_t first, second;
    unsigned rarest = UNKNOWN, next = UNKNOWN;

    for (unsigned i = 0; i < examined; i++) {
        unsigned here = commonness[needle[i]] * EXAMINED + i;

        rarest = here < rarest ? here : rarest;
    }
    first = rarest % EXAMINED;
    for (unsigned i = 0; i < examined; i++) {
        unsigned here = commonness[needle[i]] * EXAMINED + i;

        here += i + 1 - first <= 2 ? OFTEN_TOGETHER * EXAMINED : 0;
        here = needle[i] == needle[first] ? UNKNOWN : here;
        next = here < next ? here : next;
    }
    second = next == UNKNOWN ? count - 1 : next % EXAMINED;
    return pair_at(needle, first, second);
}

/* ---- a search on its way ---- */

/* A place is an offset at which the needle may be. So many are tried at once, and so many by the needle's ends before a
 * pair is chosen, which takes as long. */
enum { STRIPE = 64, NEARBY = 512 };

/* Of a stripe's places that fit both pairs, as happens where letters are few, those are left where so many of the
 * needle's first bytes fit, too. */
enum { SIEVED = 16 };

/* What false places cost, in bytes compared: each beside its comparison, and to ask a stripe for two more bytes. Beyond
 * what is allowed for every byte gone past, another pair is tried; after so many turns more is allowed, and beyond that
 * Two-Way is quicker. */
enum { FALSE_PLACE = 16, ONE_SIEVE = 8, ALLOWED_AT_ONCE = 4096, ALLOWED = 1, ALLOWED_LAST = 4, TURNS = 24 };

/* What a search answers that is to go on otherwise. */
enum { DEAR = CM_ABSENT - 1 };

typedef struct {
    const unsigned char *text, *needle;
    size_t count, places;
    size_t from, to;                /* the places to be tried next */
    pair pair, other;               /* the other one is asked where this one fits */
    size_t spent, allowed;          /* on false places with this pair, and for each byte gone past */
    size_t agreed;                  /* bytes at the last of them */
} hunt;

static ALWAYS_INLINE hunt begin(const unsigned char *text, size_t length, const unsigned char *needle, size_t count,
                                const int backwards)
{
    size_t places = length - count + 1;
    size_t nearby = places < NEARBY ? places : NEARBY;

    return (hunt){text, needle, count, places, backwards ? places - nearby : 0, backwards ? places : nearby,
                  pair_at(needle, 0, count - 1), pair_at(needle, 1, count / 2), 0, ALLOWED, 0};
}

/* From those places that are done to all others; 0 if there are none. */
static ALWAYS_INLINE int widen(hunt *h, const int backwards)
{
    if (backwards) {
        h->to = h->from;
        h->from = 0;
    } else {
        h->from = h->to;
        h->to = h->places;
    }
    h->spent = 0;
    return h->from != h->to;
}

/* Whether false places have become too dear, the last of which is `place`: if so, the search goes on behind it. */
static ALWAYS_INLINE int is_dear(hunt *h, size_t place, size_t agreed, const int backwards)
{
    size_t gone = backwards ? h->to - place : place - h->from;

    h->spent += FALSE_PLACE + agreed;
    if (h->spent <= ALLOWED_AT_ONCE + h->allowed * gone)
        return 0;
    h->spent = 0;
    h->agreed = agreed;
    if (backwards)
        h->to = place;
    else
        h->from = place + 1;
    return 1;
}

/* A byte that did not fit comes into the pair for the one that is there for longer. */
static void learn(hunt *h, const int backwards)
{
    const unsigned char *place = h->text + (backwards ? h->to : h->from - 1);
    size_t i = h->agreed;

    while (i < h->count && place[i] == h->needle[i])
        i++;
    if (i < h->count)
        h->pair = pair_at(h->needle, h->pair.second, i);
}

static ptrdiff_t two_way_rest(const hunt *h, const int backwards)
{
    ptrdiff_t found;

    if (backwards)
        return two_way_rfind(h->text, h->to + h->count - 1, h->needle, h->count);
    found = two_way_find(h->text + h->from, h->places - h->from + h->count - 1, h->needle, h->count);
    return found == CM_ABSENT ? found : found + (ptrdiff_t)h->from;
}

static ptrdiff_t find_byte(const unsigned char *text, size_t length, unsigned char byte)
{
    const unsigned char *found = memchr(text, byte, length);

    return found == NULL ? CM_ABSENT : found - text;
}

/* ---- less than a vector ---- */

static inline uint64_t byte_few(const unsigned char *place, size_t places, const pair *p, const int single)
{
    uint64_t fitting = 0;

    for (size_t i = 0; i < places; i++) {
        int fits = place[i + p->first] == p->first_byte && (single || place[i + p->second] == p->second_byte);

        fitting |= (uint64_t)fits << i;
    }
    return fitting;
}

/* Compares less than 8 bytes, two of them or more: the first and the last four, or two. */
#define SAME_ENDS(type)                                                 \
    do {                                                                \
        type x, y, z, w;                                                \
                                                                        \
        memcpy(&x, a, sizeof x);                                        \
        memcpy(&y, b, sizeof y);                                        \
        memcpy(&z, a + count - sizeof z, sizeof z);                     \
        memcpy(&w, b + count - sizeof w, sizeof w);                     \
        return ((x ^ y) | (z ^ w)) == 0 ? count : 0;                    \
    } while (0)

static inline size_t byte_agreed(const unsigned char *a, const unsigned char *b, size_t count)
{
    if (count >= sizeof(uint32_t))
        SAME_ENDS(uint32_t);
    SAME_ENDS(uint16_t);
}

/* ---- plain C: eight bytes in a word ---- */

#define KERNEL(name) plain_##name
#define NARROWER(name) byte_##name
#define TARGET
#define WIDTH 8

#define EACH_BYTE(value) ((value) * (uint64_t)0x0101010101010101)

typedef struct {
    uint64_t first, second;
    size_t at, then;
} plain_probe;

static inline plain_probe plain_probe_of(const pair *p)
{
    return (plain_probe){EACH_BYTE(p->first_byte), EACH_BYTE(p->second_byte), p->first, p->second};
}

static inline uint64_t plain_load(const unsigned char *place)
{
    uint64_t word;

    memcpy(&word, place, sizeof word);
    return word;
}

/* The high bit of each byte at whose place both fit. */
static inline uint64_t plain_hits(const unsigned char *place, const plain_probe *p, const int single)
{
    const uint64_t low_bits = EACH_BYTE(0x7f);
    uint64_t differ = plain_load(place + p->at) ^ p->first;

    if (!single)
        differ |= plain_load(place + p->then) ^ p->second;
    return ~(((differ & low_bits) + low_bits) | differ | low_bits);
}

/* One bit for each byte, the lowest for the first. */
static inline uint64_t plain_mask(uint64_t hits)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    hits = __builtin_bswap64(hits);
#endif
    return (hits >> 7) * 0x0102040810204080 >> 56;
}

static inline uint64_t plain_stripe(const unsigned char *place, const plain_probe *p, const int single)
{
    uint64_t fitting = 0;

    for (unsigned i = 0; i < STRIPE; i += WIDTH) {
        uint64_t hits = plain_hits(place + i, p, single);

        if (hits != 0)
            fitting |= plain_mask(hits) << i;
    }
    return fitting;
}

static inline int plain_same(const unsigned char *a, const unsigned char *b)
{
    return plain_load(a) == plain_load(b);
}

#include "search_kernel.h"

static const cm_kernel plain = {"plain", plain_find, plain_rfind};

/* ---- SSE2 ---- */

#if defined(HAS_SSE2)
#define KERNEL(name) sse2_##name
#define NARROWER(name) plain_##name
#define TARGET
#define WIDTH 16

typedef struct {
    __m128i first, second;
    size_t at, then;
} sse2_probe;

static ALWAYS_INLINE sse2_probe sse2_probe_of(const pair *p)
{
    return (sse2_probe){_mm_set1_epi8((char)p->first_byte), _mm_set1_epi8((char)p->second_byte), p->first, p->second};
}

static ALWAYS_INLINE __m128i sse2_load(const unsigned char *place)
{
    return _mm_loadu_si128((const __m128i *)place);
}

static ALWAYS_INLINE __m128i sse2_hits(const unsigned char *place, const sse2_probe *p, const int single)
{
    __m128i hits = _mm_cmpeq_epi8(sse2_load(place + p->at), p->first);

    return single ? hits : _mm_and_si128(hits, _mm_cmpeq_epi8(sse2_load(place + p->then), p->second));
}

static ALWAYS_INLINE uint64_t sse2_mask(__m128i hits)
{
    return (unsigned)_mm_movemask_epi8(hits);
}

static ALWAYS_INLINE uint64_t sse2_stripe(const unsigned char *place, const sse2_probe *p, const int single)
{
    __m128i a = sse2_hits(place, p, single), b = sse2_hits(place + 16, p, single);
    __m128i c = sse2_hits(place + 32, p, single), d = sse2_hits(place + 48, p, single);

    if (_mm_movemask_epi8(_mm_or_si128(_mm_or_si128(a, b), _mm_or_si128(c, d))) == 0)
        return 0;
    return sse2_mask(a) | sse2_mask(b) << 16 | sse2_mask(c) << 32 | sse2_mask(d) << 48;
}

static ALWAYS_INLINE int sse2_same(const unsigned char *a, const unsigned char *b)
{
    return _mm_movemask_epi8(_mm_cmpeq_epi8(sse2_load(a), sse2_load(b))) == 0xffff;
}

#include "search_kernel.h"

static const cm_kernel sse2 = {"SSE2", sse2_find, sse2_rfind};
#endif

/* ---- AVX2 ---- */

#if defined(HAS_AVX2)
#define KERNEL(name) avx2_##name
#define NARROWER(name) sse2_##name
#define TARGET FOR_AVX2
#define WIDTH 32

typedef struct {
    __m256i first, second;
    size_t at, then;
} avx2_probe;

FOR_AVX2 static ALWAYS_INLINE avx2_probe avx2_probe_of(const pair *p)
{
    return (avx2_probe){_mm256_set1_epi8((char)p->first_byte), _mm256_set1_epi8((char)p->second_byte), p->first,
                        p->second};
}

FOR_AVX2 static ALWAYS_INLINE __m256i avx2_load(const unsigned char *place)
{
    return _mm256_loadu_si256((const __m256i *)place);
}

FOR_AVX2 static ALWAYS_INLINE __m256i avx2_hits(const unsigned char *place, const avx2_probe *p, const int single)
{
    __m256i hits = _mm256_cmpeq_epi8(avx2_load(place + p->at), p->first);

    return single ? hits : _mm256_and_si256(hits, _mm256_cmpeq_epi8(avx2_load(place + p->then), p->second));
}

FOR_AVX2 static ALWAYS_INLINE uint64_t avx2_mask(__m256i hits)
{
    return (uint32_t)_mm256_movemask_epi8(hits);
}

FOR_AVX2 static ALWAYS_INLINE uint64_t avx2_stripe(const unsigned char *place, const avx2_probe *p, const int single)
{
    __m256i a = avx2_hits(place, p, single), b = avx2_hits(place + 32, p, single);

    if (_mm256_movemask_epi8(_mm256_or_si256(a, b)) == 0)
        return 0;
    return avx2_mask(a) | avx2_mask(b) << 32;
}

FOR_AVX2 static ALWAYS_INLINE int avx2_same(const unsigned char *a, const unsigned char *b)
{
    return _mm256_movemask_epi8(_mm256_cmpeq_epi8(avx2_load(a), avx2_load(b))) == -1;
}

#include "search_kernel.h"

static const cm_kernel avx2 = {"AVX2", avx2_find, avx2_rfind};

/* Whether processor and system have it. Neither keeps anything here: cpuid itself is slow in a virtual machine. */
static inline int has_avx2(void)
{
#if defined(_WIN32)
    return IsProcessorFeaturePresent(40);       /* PF_AVX2_INSTRUCTIONS_AVAILABLE, which older headers lack */
#else
    return __builtin_cpu_supports("avx2") != 0;
#endif
}
#endif

/* ---- NEON ---- */

#if defined(HAS_NEON)
#define KERNEL(name) neon_##name
#define NARROWER(name) plain_##name
#define TARGET
#define WIDTH 16

typedef struct {
    uint8x16_t first, second;
    size_t at, then;
} neon_probe;

static ALWAYS_INLINE neon_probe neon_probe_of(const pair *p)
{
    neon_probe probe = {vdupq_n_u8(p->first_byte), vdupq_n_u8(p->second_byte), p->first, p->second};

    return probe;
}

static ALWAYS_INLINE uint8x16_t neon_hits(const unsigned char *place, const neon_probe *p, const int single)
{
    uint8x16_t hits = vceqq_u8(vld1q_u8(place + p->at), p->first);

    return single ? hits : vandq_u8(hits, vceqq_u8(vld1q_u8(place + p->then), p->second));
}

/* Of each byte the bit of its number in its eight. */
static ALWAYS_INLINE uint8x16_t neon_bits(uint8x16_t hits)
{
    static const uint8_t bits[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};

    return vandq_u8(hits, vld1q_u8(bits));
}

static ALWAYS_INLINE uint64_t neon_mask(uint8x16_t hits)
{
    uint8x16_t sums = neon_bits(hits);

    sums = vpaddq_u8(sums, sums);
    sums = vpaddq_u8(sums, sums);
    sums = vpaddq_u8(sums, sums);
    return vgetq_lane_u16(vreinterpretq_u16_u8(sums), 0);
}

static ALWAYS_INLINE uint64_t neon_stripe(const unsigned char *place, const neon_probe *p, const int single)
{
    uint8x16_t a = neon_hits(place, p, single), b = neon_hits(place + 16, p, single);
    uint8x16_t c = neon_hits(place + 32, p, single), d = neon_hits(place + 48, p, single);
    uint8x16_t any = vorrq_u8(vorrq_u8(a, b), vorrq_u8(c, d));
    uint8x16_t sums;

    if (vmaxvq_u32(vreinterpretq_u32_u8(any)) == 0)
        return 0;
    sums = vpaddq_u8(vpaddq_u8(neon_bits(a), neon_bits(b)), vpaddq_u8(neon_bits(c), neon_bits(d)));
    return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(sums, sums)), 0);
}

static ALWAYS_INLINE int neon_same(const unsigned char *a, const unsigned char *b)
{
    return vminvq_u8(vceqq_u8(vld1q_u8(a), vld1q_u8(b))) == 0xff;
}

#include "search_kernel.h"

static const cm_kernel neon = {"NEON", neon_find, neon_rfind};
#endif

/* ---- the kernels ---- */

static const cm_kernel two_way_alone = {"Two-Way", two_way_find, two_way_rfind};

const cm_kernel *cm_search_kernel(size_t index)
{
    static const cm_kernel *const kernels[] = {
#if defined(HAS_AVX2)
        &avx2,
#endif
#if defined(HAS_SSE2)
        &sse2,
#endif
#if defined(HAS_NEON)
        &neon,
#endif
        &plain, &two_way_alone};

#if defined(HAS_AVX2)
    index += !has_avx2();
#endif
    return index < sizeof kernels / sizeof kernels[0] ? kernels[index] : NULL;
}

/* ---- the contract ---- */

typedef struct {
    cm_searcher *searcher;
    const unsigned char *text;
    size_t length;
    const unsigned char *needle;
    size_t count;
    ptrdiff_t found;
} search;

static void look(void *arguments)
{
    search *s = arguments;

    s->found = s->searcher(s->text, s->length, s->needle, s->count);
}

static ptrdiff_t within(cm_searcher *searcher, const unsigned char *base, size_t start, size_t end,
                        const unsigned char *needle, size_t count)
{
    search s = {searcher, base + start, end - start, needle, count, CM_ABSENT};
    int error = count > s.length ? 0 : cm_guard(look, &s);

    if (error != 0)
        return CM_FAILED(error);
    return s.found == CM_ABSENT ? CM_ABSENT : s.found + (ptrdiff_t)start;
}

ptrdiff_t cm_find(const unsigned char *base, size_t start, size_t end, const unsigned char *needle, size_t count)
{
    return count == 0 ? (ptrdiff_t)start : within(cm_search_kernel(0)->find, base, start, end, needle, count);
}

ptrdiff_t cm_rfind(const unsigned char *base, size_t start, size_t end, const unsigned char *needle, size_t count)
{
    return count == 0 ? (ptrdiff_t)end : within(cm_search_kernel(0)->rfind, base, start, end, needle, count);
}

typedef struct {
    const unsigned char *text;
    size_t length;
    const unsigned char *newline;
} line;

static void find_newline(void *arguments)
{
    line *l = arguments;

    l->newline = memchr(l->text, '\n', l->length);
}

ptrdiff_t cm_line_end(const unsigned char *base, ptrdiff_t start, ptrdiff_t end)
{
    line l = {base + start, (size_t)(end - start), NULL};
    int error = cm_guard(find_newline, &l);

    if (error != 0)
        return CM_FAILED(error);
    return l.newline == NULL ? end : l.newline - base + 1;
}

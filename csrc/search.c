/*
 * Search over memory, the same on every platform.
 *
 * One byte: memchr. Longer needles: positions whose first and last byte fit are found sixteen at a time and then
 * compared. Where that meets too many false ones, as with "aaaa...b" in "aaaa...", the rest is searched by the
 * Two-Way algorithm (Crochemore and Perrin, 1991), which is linear for every needle and needs no memory.
 */
#if defined(__linux__)
#define _GNU_SOURCE     /* memrchr */
#endif

#include "cffimmap.h"

#include "guard.h"

#include <string.h>

/* Microsoft's compiler does not say so, but every x64 processor has it. */
#if defined(__SSE2__) || defined(_M_X64)
#define HAS_SSE2 1
#include <emmintrin.h>
#endif

#if defined(_MSC_VER)
#include <intrin.h>
#endif

/* A sequence of bytes read forwards (step 1) or, from its last byte on, backwards (step -1). */
typedef struct {
    const unsigned char *origin;
    ptrdiff_t step;
    ptrdiff_t length;
} sequence;

static inline unsigned char at(sequence s, ptrdiff_t index)
{
    return s.origin[index * s.step];
}

/* ---- Two-Way ---- */

/* Where the greatest suffix starts, by the order of bytes or by its opposite, and that suffix's period. */
static ptrdiff_t greatest_suffix(sequence needle, int opposite, ptrdiff_t *period)
{
    ptrdiff_t suffix = -1, candidate = 0, matched = 1;

    *period = 1;
    while (candidate + matched < needle.length) {
        unsigned char a = at(needle, candidate + matched);
        unsigned char b = at(needle, suffix + matched);

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

static int repeats(sequence needle, ptrdiff_t split, ptrdiff_t period)
{
    for (ptrdiff_t i = 0; i < split; i++)
        if (at(needle, i) != at(needle, i + period))
            return 0;
    return 1;
}

static ptrdiff_t two_way(sequence text, sequence needle)
{
    ptrdiff_t period, other_period;
    ptrdiff_t split = greatest_suffix(needle, 0, &period);
    ptrdiff_t other_split = greatest_suffix(needle, 1, &other_period);
    ptrdiff_t known = 0, memory = 0;

    if (other_split > split) {
        split = other_split;
        period = other_period;
    }
    if (repeats(needle, split, period))
        known = needle.length - period;
    else
        period = (split > needle.length - split ? split : needle.length - split) + 1;

    for (ptrdiff_t position = 0; position <= text.length - needle.length;) {
        ptrdiff_t i = split > memory ? split : memory;

        while (i < needle.length && at(needle, i) == at(text, position + i))
            i++;
        if (i < needle.length) {
            position += i - split + 1;
            memory = 0;
            continue;
        }
        i = split;
        while (i > memory && at(needle, i - 1) == at(text, position + i - 1))
            i--;
        if (i <= memory)
            return position;
        position += period;
        memory = known;
    }
    return -1;
}

/* ---- first and last byte ---- */

/* What a false candidate may cost, in bytes compared, for every byte gone past; beyond that Two-Way is quicker. */
enum { CHEAP = 16, PROBE = 64, ALLOWED_PER_BYTE = 4, ALLOWED_AT_ONCE = 1 << 16 };

typedef struct {
    const unsigned char *needle;
    size_t count;
    size_t spent;
} comparison;

static inline int fits(comparison *c, const unsigned char *place)
{
    size_t probe = c->count < PROBE ? c->count : PROBE;

    c->spent += CHEAP;
    if (memcmp(place, c->needle, probe) != 0)
        return 0;
    c->spent += c->count;
    return memcmp(place + probe, c->needle + probe, c->count - probe) == 0;
}

static inline int too_dear(const comparison *c, size_t gone)
{
    return c->spent > ALLOWED_AT_ONCE + ALLOWED_PER_BYTE * gone;
}

#if defined(HAS_SSE2)
enum { BLOCK = 16 };

typedef struct {
    __m128i first, last;
} ends;

static inline ends ends_of(const unsigned char *needle, size_t count)
{
    return (ends){_mm_set1_epi8((char)needle[0]), _mm_set1_epi8((char)needle[count - 1])};
}

/* Bit i is set where place[i] and place[i + count - 1] are the needle's first and last byte. */
static inline unsigned candidates(ends e, const unsigned char *place, size_t count)
{
    __m128i first = _mm_loadu_si128((const __m128i *)place);
    __m128i last = _mm_loadu_si128((const __m128i *)(place + count - 1));

    return (unsigned)_mm_movemask_epi8(
        _mm_and_si128(_mm_cmpeq_epi8(first, e.first), _mm_cmpeq_epi8(last, e.last)));
}
#else
enum { BLOCK = 8 };

typedef struct {
    unsigned char first, last;
} ends;

static inline ends ends_of(const unsigned char *needle, size_t count)
{
    return (ends){needle[0], needle[count - 1]};
}

static inline unsigned candidates(ends e, const unsigned char *place, size_t count)
{
    unsigned mask = 0;

    for (unsigned i = 0; i < BLOCK; i++)
        mask |= (unsigned)((place[i] == e.first) & (place[i + count - 1] == e.last)) << i;
    return mask;
}
#endif

/* The lowest and the highest bit that is set; some bit is. */
#if defined(_MSC_VER)
static inline unsigned lowest(unsigned mask)
{
    unsigned long bit;

    _BitScanForward(&bit, mask);
    return bit;
}

static inline unsigned highest(unsigned mask)
{
    unsigned long bit;

    _BitScanReverse(&bit, mask);
    return bit;
}
#else
static inline unsigned lowest(unsigned mask)
{
    return (unsigned)__builtin_ctz(mask);
}

static inline unsigned highest(unsigned mask)
{
    return 31u - (unsigned)__builtin_clz(mask);
}
#endif

static ptrdiff_t find_long(const unsigned char *text, size_t length, const unsigned char *needle, size_t count)
{
    comparison c = {needle, count, 0};
    ends e = ends_of(needle, count);
    size_t places = length - count + 1;

    for (size_t place = 0; place + BLOCK <= places; place += BLOCK) {
        for (unsigned mask = candidates(e, text + place, count); mask != 0; mask &= mask - 1)
            if (fits(&c, text + place + lowest(mask)))
                return (ptrdiff_t)(place + lowest(mask));
        if (too_dear(&c, place)) {
            ptrdiff_t found = two_way((sequence){text + place, 1, (ptrdiff_t)(length - place)},
                                      (sequence){needle, 1, (ptrdiff_t)count});
            return found < 0 ? found : found + (ptrdiff_t)place;
        }
    }
    for (size_t place = places - places % BLOCK; place < places; place++)
        if (fits(&c, text + place))
            return (ptrdiff_t)place;
    return -1;
}

static ptrdiff_t rfind_long(const unsigned char *text, size_t length, const unsigned char *needle, size_t count)
{
    comparison c = {needle, count, 0};
    ends e = ends_of(needle, count);
    size_t places = length - count + 1;
    size_t left = places;

    for (; left >= BLOCK; left -= BLOCK) {
        const unsigned char *block = text + left - BLOCK;

        for (unsigned mask = candidates(e, block, count); mask != 0; mask ^= 1u << highest(mask))
            if (fits(&c, block + highest(mask)))
                return block + highest(mask) - text;
        if (too_dear(&c, places - left)) {
            ptrdiff_t rest = (ptrdiff_t)(left + count - 1);
            ptrdiff_t found = two_way((sequence){text + rest - 1, -1, rest},
                                      (sequence){needle + count - 1, -1, (ptrdiff_t)count});
            return found < 0 ? found : rest - found - (ptrdiff_t)count;
        }
    }
    while (left-- > 0)
        if (fits(&c, text + left))
            return (ptrdiff_t)left;
    return -1;
}

/* ---- one byte ---- */

static ptrdiff_t find_byte(const unsigned char *text, size_t length, unsigned char byte)
{
    const unsigned char *found = memchr(text, byte, length);

    return found == NULL ? -1 : found - text;
}

static ptrdiff_t rfind_byte(const unsigned char *text, size_t length, unsigned char byte)
{
#if defined(__linux__)
    const unsigned char *found = memrchr(text, byte, length);

    return found == NULL ? -1 : found - text;
#else
    while (length-- > 0)
        if (text[length] == byte)
            return (ptrdiff_t)length;
    return -1;
#endif
}

/* ---- the contract ---- */

/* One way of the search: for a single byte, and for longer needles. */
typedef struct {
    ptrdiff_t (*byte)(const unsigned char *text, size_t length, unsigned char byte);
    ptrdiff_t (*needle)(const unsigned char *text, size_t length, const unsigned char *needle, size_t count);
} direction;

static const direction forwards = {find_byte, find_long}, backwards = {rfind_byte, rfind_long};

typedef struct {
    const direction *way;
    const unsigned char *text;
    size_t length;
    const unsigned char *needle;
    size_t count;
    ptrdiff_t found;
} search;

static void look(void *arguments)
{
    search *s = arguments;

    if (s->count == 1)
        s->found = s->way->byte(s->text, s->length, s->needle[0]);
    else
        s->found = s->way->needle(s->text, s->length, s->needle, s->count);
}

static ptrdiff_t within(const direction *way, const unsigned char *base, size_t start, size_t end,
                        const unsigned char *needle, size_t count)
{
    search s = {way, base + start, end - start, needle, count, CM_ABSENT};
    int error = count > s.length ? 0 : cm_guard(look, &s);

    if (error != 0)
        return CM_FAILED(error);
    return s.found < 0 ? CM_ABSENT : s.found + (ptrdiff_t)start;
}

ptrdiff_t cm_find(const unsigned char *base, size_t start, size_t end, const unsigned char *needle, size_t count)
{
    return count == 0 ? (ptrdiff_t)start : within(&forwards, base, start, end, needle, count);
}

ptrdiff_t cm_rfind(const unsigned char *base, size_t start, size_t end, const unsigned char *needle, size_t count)
{
    return count == 0 ? (ptrdiff_t)end : within(&backwards, base, start, end, needle, count);
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

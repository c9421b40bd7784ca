/*
 * The search by one kind of vectors. search.c includes it once for each, after the kernel's own functions and
 *
 *   KERNEL(name)    what the kernel calls its own
 *   NARROWER(name)  that of the kernel for what is shorter than a vector
 *   TARGET          what the compiler must be told of the processor
 *   WIDTH           bytes of a vector
 */

/* Whether each of the next `places` fits the pair, less than STRIPE of them: bit i for the i-th. */
TARGET static ALWAYS_INLINE uint64_t KERNEL(few)(const unsigned char *place, size_t places, const pair *p,
                                                 const int single)
{
    KERNEL(probe) probe;
    uint64_t fitting = 0;
    size_t i = 0;

    if (places < WIDTH)
        return NARROWER(few)(place, places, p, single);
    probe = KERNEL(probe_of)(p);
    for (; i + WIDTH <= places; i += WIDTH)
        fitting |= KERNEL(mask)(KERNEL(hits)(place + i, &probe, single)) << i;
    if (i < places)
        fitting |= KERNEL(mask)(KERNEL(hits)(place + places - WIDTH, &probe, single)) << (places - WIDTH);
    return fitting;
}

/* How many bytes are known to be the same: `count` if all are. */
TARGET static ALWAYS_INLINE size_t KERNEL(agreed)(const unsigned char *a, const unsigned char *b, size_t count)
{
    size_t i = 0;

    if (count < WIDTH)
        return NARROWER(agreed)(a, b, count);
    for (; i + WIDTH <= count; i += WIDTH)
        if (!KERNEL(same)(a + i, b + i))
            return i;
    return i == count || KERNEL(same)(a + count - WIDTH, b + count - WIDTH) ? count : i;
}

/* Compares the needle with what is at the places of a mask, the first of which is at `from`. */
TARGET static ALWAYS_INLINE ptrdiff_t KERNEL(verify)(hunt *h, size_t from, uint64_t fitting, const int backwards)
{
    while (fitting != 0) {
        unsigned bit = backwards ? highest(fitting) : lowest(fitting);
        size_t place = from + bit;
        size_t agreed = KERNEL(agreed)(h->text + place, h->needle, h->count);

        if (agreed == h->count)
            return (ptrdiff_t)place;
        if (is_dear(h, place, agreed, backwards))
            return DEAR;
        fitting ^= (uint64_t)1 << bit;
    }
    return CM_ABSENT;
}

/* Leaves of the places of a stripe that fit one pair those that fit the other one, and of these, while there are several,
 * those where more bytes fit. */
TARGET static ALWAYS_INLINE uint64_t KERNEL(sieve)(hunt *h, size_t stripe, uint64_t fitting,
                                                   const KERNEL(probe) *other)
{
    size_t sieved = h->count < SIEVED ? h->count : SIEVED;

    fitting &= KERNEL(stripe)(h->text + stripe, other, 0);
    for (size_t i = 0; i + 1 < sieved && (fitting & (fitting - 1)) != 0; i += 2) {
        pair p = pair_at(h->needle, i, i + 1);
        KERNEL(probe) probe = KERNEL(probe_of)(&p);

        fitting &= KERNEL(stripe)(h->text + stripe, &probe, 0);
        h->spent += ONE_SIEVE;
    }
    return fitting;
}

/* Searches the places of the hunt, the nearest first; DEAR with those that are left. `single`: for the pair's first byte
 * alone. */
TARGET static ALWAYS_INLINE ptrdiff_t KERNEL(scan)(hunt *h, const int backwards, const int single)
{
    const KERNEL(probe) probe = KERNEL(probe_of)(&h->pair), other = KERNEL(probe_of)(&h->other);
    size_t from = h->from, to = h->to;
    uint64_t fitting;
    ptrdiff_t found;

    while (to - from >= STRIPE) {
        size_t stripe = backwards ? to - STRIPE : from;

        fitting = KERNEL(stripe)(h->text + stripe, &probe, single);
        if (fitting != 0) {
            if (single)
                return (ptrdiff_t)(stripe + (backwards ? highest(fitting) : lowest(fitting)));
            found = KERNEL(verify)(h, stripe, KERNEL(sieve)(h, stripe, fitting, &other), backwards);
            if (found != CM_ABSENT)
                return found;
        }
        if (backwards)
            to -= STRIPE;
        else
            from += STRIPE;
    }
    if (from == to)
        return CM_ABSENT;
    fitting = KERNEL(few)(h->text + from, to - from, &h->pair, single);
    if (fitting == 0)
        return CM_ABSENT;
    if (single)
        return (ptrdiff_t)(from + (backwards ? highest(fitting) : lowest(fitting)));
    return KERNEL(verify)(h, from, fitting, backwards);
}

/* The search for two bytes and more, from the nearest places on. */
TARGET static ALWAYS_INLINE ptrdiff_t KERNEL(search)(const unsigned char *text, size_t length,
                                                     const unsigned char *needle, size_t count, const int backwards)
{
    hunt h = begin(text, length, needle, count, backwards);

    for (int turns = 0;;) {
        ptrdiff_t found = KERNEL(scan)(&h, backwards, 0);

        if (found == DEAR) {
            if (turns == TURNS)
                return two_way_rest(&h, backwards);
            if (++turns == TURNS)
                h.allowed = ALLOWED_LAST;
            learn(&h, backwards);
        } else if (found != CM_ABSENT || !widen(&h, backwards)) {
            return found;
        } else if (turns == 0) {
            h.pair = choose(needle, count);
        }
    }
}

/* Apart from what follows, so that a search for one byte pays for no more. */
TARGET static CM_NEVER_INLINE ptrdiff_t KERNEL(find_long)(const unsigned char *text, size_t length,
                                                          const unsigned char *needle, size_t count)
{
    return KERNEL(search)(text, length, needle, count, 0);
}

TARGET static CM_NEVER_INLINE ptrdiff_t KERNEL(rfind_long)(const unsigned char *text, size_t length,
                                                           const unsigned char *needle, size_t count)
{
    return KERNEL(search)(text, length, needle, count, 1);
}

static ptrdiff_t KERNEL(find)(const unsigned char *text, size_t length, const unsigned char *needle, size_t count)
{
    return count == 1 ? find_byte(text, length, needle[0]) : KERNEL(find_long)(text, length, needle, count);
}

TARGET static ptrdiff_t KERNEL(rfind)(const unsigned char *text, size_t length, const unsigned char *needle,
                                      size_t count)
{
    hunt h;

    if (count > 1)
        return KERNEL(rfind_long)(text, length, needle, count);
    h = (hunt){.text = text, .to = length, .pair = pair_at(needle, 0, 0)};
    return KERNEL(scan)(&h, 1, 1);
}

#undef KERNEL
#undef NARROWER
#undef TARGET
#undef WIDTH

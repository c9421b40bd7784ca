/*
 * One mapping and those who use it at the same time, the same on every platform.
 *
 * A call that runs on the memory is counted; whoever closes or resizes claims the mapping, which he can if no call runs.
 * If one does, he says that he wants it, which keeps new calls out for a while, and asks again. Nobody waits here and
 * nobody holds a lock: what a thread wants lapses by itself, so that it may be interrupted at any time.
 *
 * The count is worth something in the process that wrote it alone. A forked child has none of its parent's other
 * threads, so that their calls never end there: the count carries a number that every child changes, and one with another
 * number is no count.
 */
#include "mapping.h"

/* ---- the count: the process above, the calls below ---- */

/* The rest has the number of a process among its forefathers. */
enum { COUNT_BITS = sizeof(uintptr_t) * 4 };

#define CLAIMED (((uintptr_t)1 << COUNT_BITS) - 1)

/* How long others are kept out by who waits and asks again, in milliseconds. */
enum { PATIENCE = 100 };

/* How many forks lie between this process and the first one that watched them. */
static uintptr_t generation;

static uintptr_t counted(uintptr_t calls)
{
    return cm_get(&generation) << COUNT_BITS | calls;
}

/* The calls that a word counts in this process. */
static uintptr_t calls_in(uintptr_t word)
{
    return (word ^ counted(0)) <= CLAIMED ? word & CLAIMED : 0;
}

static int is_wanted(cm_mapping *m)
{
    uintptr_t until = cm_get(&m->wanted);

    return until != 0 && (int32_t)((uint32_t)until - cm_clock()) > 0;
}

static int enter(cm_mapping *m, size_t end)
{
    uintptr_t word = cm_get(&m->calls);
    uintptr_t calls;

    do {
        calls = calls_in(word);
        if (calls >= CLAIMED - 1 || is_wanted(m))
            return CM_BUSY;
    } while (!cm_exchange(&m->calls, &word, counted(calls + 1)));
    return m->closed || end > (size_t)m->span->length ? CM_GONE : 0;
}

static void leave(cm_mapping *m)
{
    uintptr_t word = cm_get(&m->calls);

    while (!cm_exchange(&m->calls, &word, word - 1))
        ;
}

/* ---- forks: a child that is born while another thread is at a mapping would have half of it for ever ---- */

/* How many mappings are claimed in this process, and how many threads fork. */
static uintptr_t claims, forks;

static void add(uintptr_t *word, int change)
{
    uintptr_t value = cm_get(word);

    while (!cm_exchange(word, &value, value + (uintptr_t)change))
        ;
}

/* Waits for system calls of others, and keeps them from more. */
static void before_fork(void)
{
    add(&forks, 1);
    while (cm_get(&claims) != 0)
        cm_pause();
}

static void after_fork(void)
{
    add(&forks, -1);
}

static void after_fork_in_child(void)
{
    /* Another thread may have been about to look at the forks. */
    cm_put(&claims, 0);
    cm_put(&forks, 0);
    cm_put(&generation, cm_get(&generation) + 1);
}

static int watch_forks(void)
{
    static uintptr_t watched;
    uintptr_t unwatched = 0;
    int error;

    if (cm_get(&watched) != 0 || !cm_exchange(&watched, &unwatched, 1))
        return 0;
    error = cm_around_forks(before_fork, after_fork, after_fork_in_child);
    if (error != 0)
        cm_put(&watched, 0);
    return error;
}

/* ---- claims ---- */

static int claim_now(cm_mapping *m)
{
    uintptr_t word = cm_get(&m->calls);

    if (cm_get(&forks) != 0)
        return CM_BUSY;
    do {
        if (calls_in(word) != 0) {
            cm_put(&m->wanted, (cm_clock() + PATIENCE) | 1);
            return CM_BUSY;
        }
    } while (!cm_exchange(&m->calls, &word, counted(CLAIMED)));
    return 0;
}

static int claim(cm_mapping *m)
{
    int error;

    /* First, as a fork looks at it last: one of the two sees the other. */
    add(&claims, 1);
    error = claim_now(m);
    if (error != 0)
        add(&claims, -1);
    return error;
}

static void release(cm_mapping *m)
{
    uintptr_t word = cm_get(&m->calls);

    cm_put(&m->wanted, 0);
    while (!cm_exchange(&m->calls, &word, counted(0)))
        ;
    add(&claims, -1);
}

/* ---- lifetime ---- */

int cm_rest_of_file(long long size, long long offset, size_t *length)
{
    if (size == 0)
        return CM_EMPTY;
    if (offset >= size)
        return CM_BEYOND;
    if (size - offset > PTRDIFF_MAX)
        return CM_LARGE;
    *length = (size_t)(size - offset);
    return 0;
}

int cm_mapping_open(cm_mapping *m, cm_file source, int track, size_t length)
{
    int error = cm_note(m, "cm_around_forks", watch_forks());

    m->closed = 1;
    m->file = m->section = -1;
    if (error == 0 && track && source != -1 && !m->anonymous)
        error = cm_note(m, "cm_duplicate", cm_duplicate(source, &m->file));
    if (error == 0)
        error = cm_attach(m, source, length);
    if (error == 0)
        m->closed = 0;
    else
        cm_mapping_end(m);
    return error;
}

void cm_rest_end(cm_rest *rest)
{
    cm_file held[] = {rest->section, rest->file};

    /* What fails here costs memory or a descriptor, and no more: nobody could do anything about it. */
    if (rest->range.base != NULL)
        (void)cm_unmap(&rest->range);
    for (int i = 0; i < 2; i++)
        if (held[i] != -1)
            (void)cm_close(held[i]);
}

void cm_mapping_end(cm_mapping *m)
{
    cm_rest rest = {{NULL, 0}, m->file, m->section};

    m->closed = 1;
    m->file = m->section = -1;
    cm_rest_end(&rest);
}

void cm_span_end(cm_span *span)
{
    cm_set_length(span, 0);
    if (span->range.base == NULL)
        return;
    if (span->bare && span->kept)
        (void)cm_vacate(span);
    else
        (void)cm_unmap(&span->range);
}

/* Takes the pages from all addresses that somebody may have. */
static int vacate(cm_mapping *m)
{
    unsigned char *twin = (unsigned char *)m->twin;
    int error = twin == NULL ? 0 : cm_blank(twin, m->twin_length);

    if (error == 0)
        error = cm_vacate(m->span);
    if (error != 0 && twin != NULL)
        (void)cm_map_over(twin, m->file, m->twin_length, m->prot, m->flags, m->offset);
    if (error == 0)
        m->twin = 0;
    return cm_note(m, "cm_blank", error);
}

static int detach(cm_mapping *m, cm_rest *rest)
{
    cm_span *span = m->span;
    ptrdiff_t length = span->length;
    int error;

    cm_set_length(span, 0);
    if (span->kept) {
        error = vacate(m);
        if (error != 0) {
            cm_set_length(span, length);
            return error;
        }
    } else {
        rest->range = span->range;
        span->range = (cm_range){NULL, 0};
    }
    rest->file = m->file;
    rest->section = m->section;
    m->file = m->section = -1;
    m->closed = 1;
    return 0;
}

int cm_mapping_detach(cm_mapping *m, cm_rest *rest)
{
    int error = claim(m);

    *rest = (cm_rest){{NULL, 0}, -1, -1};
    if (error != 0)
        return error;
    if (!m->closed)
        error = detach(m, rest);
    release(m);
    return error;
}

int cm_mapping_close(cm_mapping *m)
{
    cm_rest rest;
    int error = cm_mapping_detach(m, &rest);

    cm_rest_end(&rest);
    return error;
}

int cm_mapping_claim(cm_mapping *m)
{
    return claim(m);
}

int cm_mapping_is_claimed(cm_mapping *m)
{
    return calls_in(cm_get(&m->calls)) == CLAIMED;
}

int cm_mapping_change(cm_mapping *m, size_t length, cm_span *fresh)
{
    int error = m->closed ? CM_GONE : cm_change(m, length, fresh);

    release(m);
    return error;
}

int cm_mapping_resize(cm_mapping *m, size_t length, cm_span *fresh)
{
    int error = claim(m);

    return error != 0 ? error : cm_mapping_change(m, length, fresh);
}

/* ---- the file ---- */

int cm_measure(cm_mapping *m, cm_file file, long long after, cm_sizes *sizes)
{
    int regular;

    *sizes = (cm_sizes){0, file == -1 ? 0 : after};
    return file == -1 ? 0 : cm_note(m, "cm_status", cm_status(file, &sizes->before, &regular));
}

int cm_is_longer(cm_file file, const cm_sizes *sizes)
{
    long long now;
    int regular;

    return sizes->after > sizes->before && cm_status(file, &now, &regular) == 0 && now == sizes->after;
}

void cm_take_back(cm_file file, const cm_sizes *sizes)
{
    if (cm_is_longer(file, sizes))
        (void)cm_truncate(file, sizes->before);
}

/* ---- the position ---- */

int cm_move_on(cm_mapping *m, ptrdiff_t from, ptrdiff_t to)
{
    uintptr_t seen = (uintptr_t)from;

    return cm_exchange((uintptr_t *)&m->position, &seen, (uintptr_t)to) ? 0 : CM_BUSY;
}

/* ---- searches that are not counted ---- */

/* How far a search looks for what is near, in bytes, before it goes on in parts that are counted. */
enum { NEAR = 4096 };

static uintptr_t changes_of(cm_span *span)
{
    return cm_get((uintptr_t *)&span->changes);
}

/* Whether what was read since then was the span's. */
static int is_as_before(cm_span *span, uintptr_t changes)
{
    cm_read_first();
    return changes_of(span) == changes;
}

static ptrdiff_t clipped(ptrdiff_t place, ptrdiff_t length)
{
    if (place >= 0)
        return place < length ? place : length;
    return place + length > 0 ? place + length : 0;
}

ptrdiff_t cm_find_bytes_near(cm_span *span, ptrdiff_t start, ptrdiff_t end, const unsigned char *needle,
                             ptrdiff_t count, int backwards, ptrdiff_t short_range)
{
    uintptr_t changes = changes_of(span);
    ptrdiff_t length = span->length;
    ptrdiff_t first = start > length ? start : clipped(start, length);
    ptrdiff_t stop = clipped(end, length);
    ptrdiff_t found = CM_ABSENT;
    int all = stop - first <= short_range;

    if (length == 0)
        return CM_BUSY;
    if (!all && backwards)
        first = stop - (short_range < NEAR ? short_range : NEAR);
    else if (!all)
        stop = first + (short_range < NEAR ? short_range : NEAR);
    if (first <= stop - count && backwards)
        found = cm_rfind(span->range.base, (size_t)first, (size_t)stop, needle, (size_t)count);
    else if (first <= stop - count)
        found = cm_find(span->range.base, (size_t)first, (size_t)stop, needle, (size_t)count);
    return (found != CM_ABSENT || all) && is_as_before(span, changes) ? found : CM_BUSY;
}

/* Without a loop, so that compilers make one store of it where the lowest byte comes first. */
#define BYTES_OF(n)                                                                                             \
    {(unsigned char)(n), (unsigned char)((n) >> 8), (unsigned char)((n) >> 16), (unsigned char)((n) >> 24),     \
     (unsigned char)((n) >> 32), (unsigned char)((n) >> 40), (unsigned char)((n) >> 48), (unsigned char)((n) >> 56)}

ptrdiff_t cm_find_near(cm_span *span, ptrdiff_t start, ptrdiff_t end, int64_t needle, ptrdiff_t count, int backwards,
                       ptrdiff_t short_range)
{
    unsigned char bytes[] = BYTES_OF((uint64_t)needle);

    return cm_find_bytes_near(span, start, end, bytes, count, backwards, short_range);
}

/* ---- calls ---- */

/* What a counted call answers: `call`, unless the first `end` bytes of the mapping cannot be had. */
#define RUN(type, m, end, call)         \
    do {                                \
        type answer = enter(m, end);    \
                                        \
        if (answer == CM_BUSY)          \
            return answer;              \
        if (answer == 0)                \
            answer = (call);            \
        leave(m);                       \
        return answer;                  \
    } while (0)

#define BASE(m) ((m)->span->range.base)

static size_t greater(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* The end of what a walk in steps meets. */
static size_t end_of_steps(size_t start, ptrdiff_t step, size_t count)
{
    return count == 0 ? 0 : greater(start, start + (size_t)step * (count - 1)) + 1;
}

int cm_run_move(cm_mapping *m, size_t target, size_t source, size_t count)
{
    RUN(int, m, greater(target, source) + count, cm_move(BASE(m), target, source, count));
}

int cm_run_load(cm_mapping *m, size_t offset, size_t count, unsigned char *target)
{
    RUN(int, m, offset + count, cm_load(BASE(m), offset, count, target));
}

int cm_run_store(cm_mapping *m, size_t offset, const unsigned char *source, size_t count)
{
    RUN(int, m, offset + count, cm_store(BASE(m), offset, source, count));
}

int cm_run_gather(cm_mapping *m, size_t start, ptrdiff_t step, size_t count, unsigned char *target)
{
    RUN(int, m, end_of_steps(start, step, count), cm_gather(BASE(m), start, step, count, target));
}

int cm_run_scatter(cm_mapping *m, size_t start, ptrdiff_t step, size_t count, const unsigned char *source)
{
    RUN(int, m, end_of_steps(start, step, count), cm_scatter(BASE(m), start, step, count, source));
}

ptrdiff_t cm_run_line_end(cm_mapping *m, ptrdiff_t start, ptrdiff_t end)
{
    RUN(ptrdiff_t, m, (size_t)end, cm_line_end(BASE(m), start, end));
}

ptrdiff_t cm_run_find(cm_mapping *m, size_t start, size_t end, const unsigned char *needle, size_t count, int backwards)
{
    RUN(ptrdiff_t, m, end,
        backwards ? cm_rfind(BASE(m), start, end, needle, count) : cm_find(BASE(m), start, end, needle, count));
}

int cm_run_sync(cm_mapping *m, size_t offset, size_t length, int flags)
{
    RUN(int, m, offset + length, cm_sync(BASE(m), offset, length, flags));
}

int cm_run_advise(cm_mapping *m, size_t offset, size_t length, int advice)
{
    RUN(int, m, offset + length, cm_advise(BASE(m), offset, length, advice));
}

int cm_run_populate(cm_mapping *m, size_t offset, size_t length)
{
    RUN(int, m, offset + length, cm_populate(BASE(m), offset, length));
}

int cm_run_set_name(cm_mapping *m, const char *name)
{
    RUN(int, m, 0, cm_set_name(BASE(m), (size_t)m->span->length, name));
}

static int map_twin(cm_mapping *m, unsigned char *place, size_t length)
{
    uintptr_t none = 0;
    int error;

    /* A file of huge pages would take more addresses than these. */
    if (m->file == -1 || length != (size_t)m->span->length || m->page != cm_page_size())
        return CM_UNSUPPORTED;
    /* Other calls may run: one of them has it. */
    if (!cm_exchange(&m->twin, &none, (uintptr_t)place))
        return CM_UNSUPPORTED;
    error = cm_map_over(place, m->file, length, m->prot, m->flags, m->offset);
    m->twin_length = length;
    if (error != 0)
        cm_put(&m->twin, 0);
    return error;
}

int cm_run_twin(cm_mapping *m, unsigned char *place, size_t length)
{
    RUN(int, m, length, map_twin(m, place, length));
}

static int keep(cm_span *span)
{
    span->kept = 1;
    return 0;
}

int cm_run_keep(cm_mapping *m)
{
    RUN(int, m, 0, keep(m->span));
}

static long long size_of(cm_file file)
{
    long long size;
    int regular;
    int error = cm_status(file, &size, &regular);

    return error == 0 ? size : CM_FAILED(error);
}

long long cm_run_size(cm_mapping *m)
{
    RUN(long long, m, 0, size_of(m->file));
}

int cm_run_sync_file(cm_mapping *m)
{
    RUN(int, m, 0, m->file == -1 ? 0 : cm_sync_file(m->file));
}

/* What the tests in C share: each is a function without arguments that ends at its first failure, as what follows may need
 * what is lacking. */
#ifndef CFFIMMAP_CHECKS_H
#define CFFIMMAP_CHECKS_H

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *name;
    void (*run)(void);
    int of_kernel;              /* a system call is under test, which an emulator answers in its own way */
} test;

#define TEST(name) {#name, name, 0}
#define TEST_OF_KERNEL(name) {#name, name, 1}

static const char *running;
static int passed, failed, broken, skipped;

#define CHECK(condition)                                                                                          \
    do {                                                                                                          \
        if (!(condition)) {                                                                                       \
            printf("FAILED %s, line %d: %s\n", running, __LINE__, #condition);                                    \
            broken = 1;                                                                                           \
            return;                                                                                               \
        }                                                                                                         \
    } while (0)

/* What this system cannot show is said, and neither passes nor fails. */
static inline void skip(const char *reason)
{
    printf("not checked: %s: %s\n", running, reason);
    skipped = 1;
}

static inline int finish(void)
{
    printf("%d passed, %d failed\n", passed, failed);
    fflush(stdout);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* A page that should be there and is not ends the run, but not without its name. */
static inline void crashed(int number)
{
    printf("FAILED %s: signal %d\n", running, number);
    failed++;
    _Exit(finish());
}

/* What a test cannot do without. */
static inline void give_up(const char *what)
{
    printf("FAILED %s: ", running);
    fflush(stdout);
    perror(what);
    failed++;
    exit(finish());
}

static inline void run(const test *t, int emulated)
{
    running = t->name;
    broken = skipped = 0;
    if (t->of_kernel && emulated)
        skip("an emulator answers");
    else
        t->run();
    failed += broken;
    passed += !broken && !skipped;
    fflush(stdout);
}

/* --emulated: another processor is played, and its system calls with it. */
static inline int is_emulated(int count, char **arguments)
{
    return count > 1 && strcmp(arguments[1], "--emulated") == 0;
}

/* The program's exit status. */
static inline int run_all(const test *tests, size_t count, int emulated)
{
#if !defined(_WIN32)
    signal(SIGSEGV, crashed);
    signal(SIGBUS, crashed);
#endif
    for (size_t i = 0; i < count; i++)
        run(&tests[i], emulated);
    return finish();
}

#endif

/*
 * The guard on Windows. A page of a file that can no longer be read (a network drive that is gone, a bad disk) is
 * EXCEPTION_IN_PAGE_ERROR there, a protected one EXCEPTION_ACCESS_VIOLATION.
 */
#if !defined(_WIN32_WINNT)
#define _WIN32_WINNT 0x0603
#endif
#define WIN32_LEAN_AND_MEAN

#include "guard.h"

#include <windows.h>

#include <ntsecapi.h>

static int is_of_a_page(const EXCEPTION_RECORD *record)
{
    return record->ExceptionCode == EXCEPTION_IN_PAGE_ERROR || record->ExceptionCode == EXCEPTION_ACCESS_VIOLATION;
}

/* The error behind an exception of a page. The third parameter of an in-page error is the NTSTATUS of the read that
 * failed (EXCEPTION_RECORD's documentation). */
static int page_error(const EXCEPTION_RECORD *record)
{
    if (record->ExceptionCode == EXCEPTION_IN_PAGE_ERROR && record->NumberParameters >= 3)
        return (int)LsaNtStatusToWinError((NTSTATUS)record->ExceptionInformation[2]);
    return ERROR_NOACCESS;
}

/* Structured exceptions cost nothing until there is one. Microsoft's compiler has them, and clang where it is told so. */
#if defined(_MSC_VER) || defined(CM_HAS_TRY)

static int choose(const EXCEPTION_POINTERS *pointers, int *error)
{
    if (!is_of_a_page(pointers->ExceptionRecord))
        return EXCEPTION_CONTINUE_SEARCH;
    *error = page_error(pointers->ExceptionRecord);
    return EXCEPTION_EXECUTE_HANDLER;
}

int cm_guard(cm_access *access, void *arguments)
{
    int error = 0;

    __try {
        access(arguments);
    } __except (choose(GetExceptionInformation(), &error)) {
    }
    return error;
}

#else

#include <setjmp.h>

#if defined(__x86_64__)
/* Without a frame longjmp restores the registers and no more: there is nothing to unwind, and it starts in the midst
 * of the system's own frames. */
#define MARK(landing) _setjmp((landing), NULL)
#else
#define MARK(landing) setjmp(landing)
#endif

/* Where a thread goes on when its access has failed. */
typedef struct {
    jmp_buf landing;
    int error;
} guard;

/* What the handler must find: the slot of each thread that holds its guard, or NULL. A variable of the thread would
 * look unused to the compiler, which knows nothing of the handler. */
static INIT_ONCE prepared = INIT_ONCE_STATIC_INIT;
static DWORD slot;

/* The guard of this thread. TlsGetValue clears the last error, which is the interrupted code's. */
static guard *current_guard(void)
{
    DWORD last_error = GetLastError();
    guard *g = TlsGetValue(slot);

    SetLastError(last_error);
    return g;
}

static LONG CALLBACK handle(EXCEPTION_POINTERS *pointers)
{
    guard *g = is_of_a_page(pointers->ExceptionRecord) ? current_guard() : NULL;

    if (g == NULL)
        return EXCEPTION_CONTINUE_SEARCH;
    g->error = page_error(pointers->ExceptionRecord);
    longjmp(g->landing, 1);
}

static BOOL CALLBACK prepare(INIT_ONCE *once, void *parameter, void **context)
{
    (void)once, (void)parameter, (void)context;
    slot = TlsAlloc();
    return slot != TLS_OUT_OF_INDEXES && AddVectoredExceptionHandler(1, handle) != NULL;
}

int cm_guard(cm_access *access, void *arguments)
{
    guard g;

    if (!InitOnceExecuteOnce(&prepared, prepare, NULL, NULL))
        return ERROR_NOT_ENOUGH_MEMORY;
    g.error = 0;
    if (MARK(g.landing) == 0) {
        TlsSetValue(slot, &g);
        access(arguments);
    }
    TlsSetValue(slot, NULL);
    return g.error;
}

#endif

/*
 * The guard of csrc/guard.h on Windows, without Python: `nox -s windows` builds it with and without structured
 * exceptions and runs both. The last line says how many tests passed and failed.
 */
#if !defined(_WIN32_WINNT)
#define _WIN32_WINNT 0x0603
#endif
#define WIN32_LEAN_AND_MEAN

#include "guard.h"

#include "checks.h"

#include <windows.h>

#include <setjmp.h>

/* ntstatus.h, which windows.h excludes */
#define IO_DEVICE 0xC0000185u
#define END_OF_FILE 0xC0000011u

enum { PAGE = 4096, PAGES = 3, TURNS = 2000 };

static unsigned char *memory;

static void protect(DWORD protection)
{
    DWORD before;

    if (!VirtualProtect(memory + PAGE, PAGE, protection, &before))
        abort();
}

static void a_copy_of_good_pages_is_made(void)
{
    unsigned char copy[10];

    memset(memory, 7, PAGE);
    CHECK(cm_copy(copy, memory + 5, sizeof copy) == 0);
    CHECK(copy[0] == 7 && copy[9] == 7);
    CHECK(cm_copy(memory + 1, memory, 10) == 0);
}

static void a_protected_page_is_an_error_each_time(void)
{
    unsigned char octet = 9;

    protect(PAGE_NOACCESS);
    for (int i = 0; i < TURNS; i++) {
        CHECK(cm_copy(&octet, memory + PAGE, 1) == ERROR_NOACCESS);
        CHECK(cm_copy(memory + PAGE, &octet, 1) == ERROR_NOACCESS);
    }
    CHECK(octet == 9);
    protect(PAGE_READONLY);
    CHECK(cm_copy(&octet, memory + PAGE, 1) == 0);
    CHECK(octet == 0);
    CHECK(cm_copy(memory + PAGE, &octet, 1) == ERROR_NOACCESS);
    protect(PAGE_READWRITE);
    CHECK(cm_copy(memory + PAGE, &octet, 1) == 0);
}

/* What the system raises for a page that it could not read. */
static void fail_to_read(void *status)
{
    ULONG_PTR information[3] = {0, 0, *(DWORD *)status};

    RaiseException(EXCEPTION_IN_PAGE_ERROR, 0, 3, information);
}

static void fail_without_reason(void *unused)
{
    (void)unused;
    RaiseException(EXCEPTION_IN_PAGE_ERROR, 0, 0, NULL);
}

static void an_in_page_error_has_the_reason_of_the_read(void)
{
    DWORD io_device = IO_DEVICE, end_of_file = END_OF_FILE;

    CHECK(cm_guard(fail_to_read, &io_device) == ERROR_IO_DEVICE);
    CHECK(cm_guard(fail_to_read, &end_of_file) == ERROR_HANDLE_EOF);
    CHECK(cm_guard(fail_without_reason, NULL) == ERROR_NOACCESS);
}

/* ---- what is not the guard's ---- */

static DWORD caught, seen_error;

static void note(const EXCEPTION_POINTERS *pointers)
{
    caught = pointers->ExceptionRecord->ExceptionCode;
    seen_error = GetLastError();
}

/* Calls something with a handler around it that the guard comes before. */
#if defined(CM_HAS_TRY)
static void catch(void (*call)(void *), void *argument)
{
    caught = 0;
    SetLastError(ERROR_FILE_NOT_FOUND);
    __try {
        call(argument);
    } __except (note(GetExceptionInformation()), EXCEPTION_EXECUTE_HANDLER) {
    }
}
#else
static jmp_buf landing;

static LONG CALLBACK handle(EXCEPTION_POINTERS *pointers)
{
    note(pointers);
    longjmp(landing, 1);
}

static void catch(void (*call)(void *), void *argument)
{
    PVOID added = AddVectoredExceptionHandler(0, handle);

    caught = 0;
    SetLastError(ERROR_FILE_NOT_FOUND);
    if (setjmp(landing) == 0)
        call(argument);
    RemoveVectoredExceptionHandler(added);
}
#endif

static void raise_another(void *unused)
{
    (void)unused;
    RaiseException(EXCEPTION_INT_OVERFLOW, 0, 0, NULL);
}

static void touch(void *place)
{
    *(volatile unsigned char *)place = 1;
}

static void guarded(void *access)
{
    cm_guard(*(cm_access **)access, NULL);
}

static void an_access_outside_the_guard_goes_to_other_handlers(void)
{
    unsigned char octet;

    protect(PAGE_NOACCESS);
    CHECK(cm_copy(&octet, memory + PAGE, 1) == ERROR_NOACCESS);
    catch(touch, memory + PAGE);
    CHECK(caught == EXCEPTION_ACCESS_VIOLATION);
    CHECK(seen_error == ERROR_FILE_NOT_FOUND);
    protect(PAGE_READWRITE);
}

static void another_exception_goes_to_other_handlers(void)
{
    cm_access *access = raise_another;

    catch(guarded, &access);
    CHECK(caught == EXCEPTION_INT_OVERFLOW);
}

/* ---- threads ---- */

static DWORD CALLBACK fail_often(void *place)
{
    unsigned char octet;

    for (int i = 0; i < TURNS; i++)
        if (cm_copy(&octet, place, 1) != ERROR_NOACCESS)
            return 1;
    return 0;
}

static DWORD CALLBACK succeed_often(void *place)
{
    unsigned char octet;

    for (int i = 0; i < TURNS; i++)
        if (cm_copy(&octet, place, 1) != 0)
            return 1;
    return 0;
}

static void each_thread_has_its_own(void)
{
    HANDLE threads[4];
    DWORD code, sum = 0;

    protect(PAGE_NOACCESS);
    for (int i = 0; i < 4; i++)
        threads[i] = CreateThread(NULL, 0, i % 2 ? fail_often : succeed_often, memory + i % 2 * PAGE, 0, NULL);
    for (int i = 0; i < 4; i++) {
        CHECK(WaitForSingleObject(threads[i], INFINITE) == WAIT_OBJECT_0);
        CHECK(GetExitCodeThread(threads[i], &code));
        sum += code;
    }
    protect(PAGE_READWRITE);
    CHECK(sum == 0);
}

static const test tests[] = {
    TEST(a_copy_of_good_pages_is_made),
    TEST(a_protected_page_is_an_error_each_time),
    TEST(an_in_page_error_has_the_reason_of_the_read),
    TEST(an_access_outside_the_guard_goes_to_other_handlers),
    TEST(another_exception_goes_to_other_handlers),
    TEST(each_thread_has_its_own),
};

int main(void)
{
    memory = VirtualAlloc(NULL, PAGES * PAGE, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE);
    if (memory == NULL)
        abort();
    return run_all(tests, sizeof tests / sizeof tests[0], 0);
}

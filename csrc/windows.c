/* The contract on Windows, from 8.1 on. */
#if !defined(_WIN32_WINNT)
#define _WIN32_WINNT 0x0603     /* PrefetchVirtualMemory */
#endif
#define WIN32_LEAN_AND_MEAN

#include "cffimmap.h"

#include <windows.h>

#include <io.h>
#include <stdlib.h>

#if defined(__MINGW32__)
/* Older headers of MinGW-w64 lack it (10.0). */
__declspec(dllimport) _invalid_parameter_handler __cdecl
_set_thread_local_invalid_parameter_handler(_invalid_parameter_handler);
#endif

/* The error of the call that has just failed: never 0, which would mean success. */
static int last_error(void)
{
    DWORD error = GetLastError();

    return error == ERROR_SUCCESS ? ERROR_GEN_FAILURE : (int)error;
}

static int outcome(BOOL succeeded)
{
    return succeeded ? 0 : last_error();
}

/* A file offset as the functions of the 1990s take it. */
static DWORD high_half(long long offset)
{
    return (DWORD)((unsigned long long)offset >> 32);
}

static DWORD low_half(long long offset)
{
    return (DWORD)((unsigned long long)offset & 0xFFFFFFFFu);
}

static HANDLE handle(cm_file file)
{
    return (HANDLE)file;
}

/* ---- the system ---- */

static SYSTEM_INFO system_info(void)
{
    SYSTEM_INFO info;

    GetSystemInfo(&info);
    return info;
}

ptrdiff_t cm_page_size(void)
{
    return (ptrdiff_t)system_info().dwPageSize;
}

ptrdiff_t cm_granularity(void)
{
    return (ptrdiff_t)system_info().dwAllocationGranularity;
}

uint32_t cm_clock(void)
{
    return (uint32_t)GetTickCount64();
}

int cm_exhausted(int error)
{
    switch (error) {
    case ERROR_TOO_MANY_OPEN_FILES:
    case ERROR_NOT_ENOUGH_MEMORY:
    case ERROR_OUTOFMEMORY:
    case ERROR_NO_SYSTEM_RESOURCES:
    case ERROR_COMMITMENT_LIMIT:
        return 1;
    default:
        return 0;
    }
}

void cm_pause(void)
{
    Sleep(1);
}

/* ---- files ---- */

/* The C runtime ends the process for a descriptor it does not know, unless the thread has a handler that returns. */
static void __cdecl accept(const wchar_t *expression, const wchar_t *function, const wchar_t *file, unsigned line,
                   uintptr_t reserved)
{
    (void)expression, (void)function, (void)file, (void)line, (void)reserved;
}

int cm_file_of(int descriptor, cm_file *file)
{
    _invalid_parameter_handler before = _set_thread_local_invalid_parameter_handler(accept);
    intptr_t found = _get_osfhandle(descriptor);

    _set_thread_local_invalid_parameter_handler(before);
    /* -2 is a standard stream without a file (the C runtime's documentation). */
    if (found == -1 || found == -2)
        return ERROR_INVALID_HANDLE;
    *file = found;
    return 0;
}

int cm_status(cm_file file, long long *size, int *regular)
{
    LARGE_INTEGER length;

    if (!GetFileSizeEx(handle(file), &length))
        return last_error();
    *size = length.QuadPart;
    *regular = GetFileType(handle(file)) == FILE_TYPE_DISK;
    return 0;
}

int cm_truncate(cm_file file, long long size)
{
    FILE_END_OF_FILE_INFO end;

    end.EndOfFile.QuadPart = size;
    return outcome(SetFileInformationByHandle(handle(file), FileEndOfFileInfo, &end, sizeof end));
}

int cm_sync_file(cm_file file)
{
    return outcome(FlushFileBuffers(handle(file)));
}

int cm_duplicate(cm_file file, cm_file *copy)
{
    HANDLE process = GetCurrentProcess();
    HANDLE duplicate;

    if (!DuplicateHandle(process, handle(file), process, &duplicate, 0, FALSE, DUPLICATE_SAME_ACCESS))
        return last_error();
    *copy = (cm_file)duplicate;
    return 0;
}

int cm_close(cm_file file)
{
    return outcome(CloseHandle(handle(file)));
}

/* ---- sections ---- */

static DWORD page_protection(int prot)
{
    return prot == CM_READ ? PAGE_READONLY : prot == CM_COPY ? PAGE_WRITECOPY : PAGE_READWRITE;
}

static DWORD view_access(int prot)
{
    return prot == CM_READ ? FILE_MAP_READ : prot == CM_COPY ? FILE_MAP_COPY : FILE_MAP_WRITE;
}

int cm_make_section(cm_file file, int prot, long long size, const wchar_t *tag, cm_file *section, int *existed)
{
    /* Here -1 is INVALID_HANDLE_VALUE, which stands for the paging file. */
    HANDLE made = CreateFileMappingW(handle(file), NULL, page_protection(prot), high_half(size), low_half(size), tag);

    if (made == NULL)
        return last_error();
    *existed = tag != NULL && GetLastError() == ERROR_ALREADY_EXISTS;
    *section = (cm_file)made;
    return 0;
}

int cm_open_section(const wchar_t *tag, cm_file *section)
{
    HANDLE found = OpenFileMappingW(FILE_MAP_WRITE, FALSE, tag);

    if (found == NULL)
        return last_error();
    *section = (cm_file)found;
    return 0;
}

/* ---- memory ---- */

int cm_map(cm_file source, size_t length, int prot, int flags, long long offset, cm_range *range)
{
    void *address = MapViewOfFile(handle(source), view_access(prot), high_half(offset), low_half(offset), length);

    (void)flags;
    if (address == NULL)
        return last_error();
    range->base = address;
    range->length = (ptrdiff_t)length;
    return 0;
}

int cm_unmap(cm_range *range)
{
    if (!UnmapViewOfFile(range->base))
        return last_error();
    *range = (cm_range){NULL, 0};
    return 0;
}

int cm_sync(unsigned char *base, size_t offset, size_t length, int flags)
{
    (void)flags;
    /* A length of 0 would mean all to the end of the mapping. */
    return length == 0 ? 0 : outcome(FlushViewOfFile(base + offset, length));
}

int cm_populate(unsigned char *base, size_t offset, size_t length)
{
    WIN32_MEMORY_RANGE_ENTRY entry;

    entry.VirtualAddress = base + offset;
    entry.NumberOfBytes = length;
    return outcome(PrefetchVirtualMemory(GetCurrentProcess(), 1, &entry, 0));
}

/* ---- what Windows lacks ---- */

#include "unsupported.h"

/* Windows can take a view away and put other pages there, but not in one step: another thread could fall between. */
int cm_blank(unsigned char *base, size_t length) UNSUPPORTED
int cm_map_over(unsigned char *base, cm_file source, size_t length, int prot, int flags, long long offset) UNSUPPORTED

/* A view stays where it is, as long as it is. */
int cm_map_at(unsigned char *base, cm_file source, size_t length, int prot, int flags, long long offset) UNSUPPORTED
int cm_extend(cm_range *range, size_t length) UNSUPPORTED
int cm_remap(cm_range *range, size_t length) UNSUPPORTED
int cm_twin(unsigned char *base, size_t length, cm_range *twin) UNSUPPORTED
int cm_move_pages(const cm_range *range, cm_range *place) UNSUPPORTED
int cm_move_pages_back(cm_range *place, const cm_range *range) UNSUPPORTED

int cm_advise(unsigned char *base, size_t offset, size_t length, int advice) UNSUPPORTED
int cm_set_name(unsigned char *base, size_t length, const char *name) UNSUPPORTED

int cm_around_forks(void (*before)(void), void (*in_parent)(void), void (*in_child)(void))
{
    (void)before;
    (void)in_parent;
    (void)in_child;
    return 0;
}

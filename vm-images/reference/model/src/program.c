/*
 * The programs that processes run, as ALE_APP_ID names them: the image's NT path in small letters, its terminating null
 * included. Each name is kept once and for ever, since a classify may still hold it.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "model.h"

enum { PATH_ROOM = 1024 };
static SRWLOCK program_lock = SRWLOCK_INIT; /* both below */
static struct program *programs;
static UINT32 last_number;

static const struct program *intern(const wchar_t *path)
{
    UINT32 size = (UINT32)((wcslen(path) + 1) * sizeof *path);
    struct program *found;
    AcquireSRWLockExclusive(&program_lock);
    for (found = programs; found && !(found->path.size == size && !memcmp(found->path.data, path, size)); found = found->next)
        ;
    if (!found) {
        found = mem_alloc(sizeof *found + size);
        found->number = ++last_number;
        found->path.size = size;
        found->path.data = (UINT8 *)(found + 1);
        memcpy(found->path.data, path, size);
        found->next = programs;
        programs = found;
    }
    ReleaseSRWLockExclusive(&program_lock);
    return found;
}

const struct program *program_of(UINT32 pid)
{
    wchar_t path[PATH_ROOM] = {0};
    DWORD length = PATH_ROOM - 1;
    HANDLE process = pid ? OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, FALSE, pid) : NULL;
    if (!process)
        return NULL;
    BOOL known = QueryFullProcessImageNameW(process, PROCESS_NAME_NATIVE, path, &length);
    length = PATH_ROOM - 1;
    if (!known) /* a volume without a device: its letter is better than nothing */
        known = QueryFullProcessImageNameW(process, 0, path, &length);
    CloseHandle(process);
    for (wchar_t *c = path; known && *c; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (wchar_t)(*c - 'A' + 'a');
    return known ? intern(path) : NULL;
}

const struct program *program_by_number(UINT32 number)
{
    AcquireSRWLockShared(&program_lock);
    struct program *found = programs;
    while (found && found->number != number)
        found = found->next;
    ReleaseSRWLockShared(&program_lock);
    return found;
}

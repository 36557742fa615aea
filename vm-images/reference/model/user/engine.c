/* Sessions, transactions, memory, and names of programs. SPDX-License-Identifier: MIT */
#include "user.h"

#include <string.h>
#include <wchar.h>

enum { AUTHN_WINNT = 10 };
static const UINT32 AUTHN_DEFAULT = 0xffffffff;
static SRWLOCK engines_lock = SRWLOCK_INIT; /* the list; nothing else is taken below it */
static struct engine *engines;

DWORD engine_find(HANDLE handle, HANDLE *device, UINT64 *number)
{
    AcquireSRWLockShared(&engines_lock);
    struct engine *engine = engines;
    while (engine && engine != (struct engine *)handle)
        engine = engine->next;
    if (engine) {
        *device = engine->device;
        if (number)
            *number = engine->number;
    }
    ReleaseSRWLockShared(&engines_lock);
    return engine ? ERROR_SUCCESS : ERROR_INVALID_HANDLE;
}

DWORD WINAPI FwpmEngineOpen0(const wchar_t *server, UINT32 service, void *identity, const FWPM_SESSION0 *session, HANDLE *out)
{
    struct manage_request request = {.operation = MANAGE_OPEN, .flags = session ? MANAGE_FLAG : 0};
    struct answer answer;
    (void)identity;
    if (!out)
        return error_of(STATUS_FWP_NULL_POINTER);
    if (server || (service != AUTHN_WINNT && service != AUTHN_DEFAULT))
        return ERROR_NOT_SUPPORTED;
    HANDLE device = device_open();
    if (device == INVALID_HANDLE_VALUE)
        return EPT_S_NOT_REGISTERED;
    DWORD error = ask_device(device, &request, session ? &shape_session : NULL, session, &answer);
    if (error) {
        CloseHandle(device);
        return error;
    }
    mem_free(answer.bytes);
    struct engine *engine = mem_alloc(sizeof *engine);
    engine->device = device;
    engine->number = answer.head.id;
    AcquireSRWLockExclusive(&engines_lock);
    engine->next = engines;
    engines = engine;
    ReleaseSRWLockExclusive(&engines_lock);
    *out = engine;
    return ERROR_SUCCESS;
}

DWORD WINAPI FwpmEngineClose0(HANDLE handle)
{
    struct manage_request request = {.operation = MANAGE_CLOSE};
    struct engine *found = NULL;
    AcquireSRWLockExclusive(&engines_lock);
    for (struct engine **at = &engines; *at; at = &(*at)->next)
        if (*at == (struct engine *)handle) {
            found = *at;
            *at = found->next;
            break;
        }
    ReleaseSRWLockExclusive(&engines_lock);
    if (!found)
        return ERROR_INVALID_HANDLE;
    ask_device(found->device, &request, NULL, NULL, NULL); /* it is over when this returns, not some time after it */
    CloseHandle(found->device);
    mem_free(found);
    return ERROR_SUCCESS;
}

DWORD WINAPI FwpmTransactionBegin0(HANDLE engine, UINT32 flags)
{
    return ask(engine, &(struct manage_request){.operation = MANAGE_BEGIN, .flags = flags}, NULL, NULL, NULL);
}

DWORD WINAPI FwpmTransactionCommit0(HANDLE engine)
{
    return ask(engine, &(struct manage_request){.operation = MANAGE_COMMIT}, NULL, NULL, NULL);
}

DWORD WINAPI FwpmTransactionAbort0(HANDLE engine)
{
    return ask(engine, &(struct manage_request){.operation = MANAGE_ABORT}, NULL, NULL, NULL);
}

void WINAPI FwpmFreeMemory0(void **block)
{
    if (block) {
        mem_free(*block);
        *block = NULL;
    }
}

/* The device path of a file in lower case, its zero included, as the ALE layers name programs. */
DWORD WINAPI FwpmGetAppIdFromFileName0(const wchar_t *file, FWP_BYTE_BLOB **out)
{
    wchar_t full[MAX_PATH], device[MAX_PATH], drive[3];
    if (!file || !out)
        return error_of(STATUS_FWP_NULL_POINTER);
    if (GetFileAttributesW(file) == INVALID_FILE_ATTRIBUTES)
        return GetLastError();
    DWORD length = GetFullPathNameW(file, MAX_PATH, full, NULL);
    if (!length || length >= MAX_PATH || full[1] != L':')
        return ERROR_PATH_NOT_FOUND;
    memcpy(drive, full, 2 * sizeof *drive);
    drive[2] = 0;
    if (!QueryDosDeviceW(drive, device, MAX_PATH))
        return GetLastError();
    size_t root = wcslen(device), rest = wcslen(full + 2), size = (root + rest + 1) * sizeof *device;
    FWP_BYTE_BLOB *blob = mem_alloc(sizeof *blob + size);
    wchar_t *path = (wchar_t *)(blob + 1);
    memcpy(path, device, root * sizeof *device);
    memcpy(path + root, full + 2, (rest + 1) * sizeof *device);
    CharLowerBuffW(path, (DWORD)(root + rest));
    blob->size = (UINT32)size;
    blob->data = (UINT8 *)path;
    *out = blob;
    return ERROR_SUCCESS;
}

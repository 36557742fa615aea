/* Asking the engine, and what its answers are in user mode. SPDX-License-Identifier: MIT */
#include "user.h"

#include <string.h>

enum { FIRST_ROOM = 64 * 1024 };
#define FWP_STATUS 0xC0220000u
#define FWP_ERROR 0x80320000u

ULONG NTAPI RtlNtStatusToDosError(LONG status);

void *mem_alloc(size_t size)
{
    void *block = HeapAlloc(GetProcessHeap(), HEAP_ZERO_MEMORY, size ? size : 1);
    if (!block)
        RaiseException((DWORD)STATUS_NO_MEMORY, EXCEPTION_NONCONTINUABLE, 0, NULL);
    return block;
}

void mem_free(void *block)
{
    if (block)
        HeapFree(GetProcessHeap(), 0, block);
}

DWORD error_of(LONG status)
{
    if (((DWORD)status & 0xffff0000) == FWP_STATUS)
        return FWP_ERROR | ((DWORD)status & 0xffff);
    if (status == EPT_NT_NOT_REGISTERED)
        return EPT_S_NOT_REGISTERED;
    return status ? RtlNtStatusToDosError(status) : ERROR_SUCCESS;
}

HANDLE device_open(void)
{
    return CreateFileW(WFPMODEL_WIN32_DEVICE_NAME, GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL,
                       OPEN_EXISTING, 0, NULL);
}

/* One exchange of bytes: the answer and what is behind it, in a block. */
static DWORD exchange(HANDLE device, const void *in, size_t in_size, size_t room, UINT8 **out, DWORD *done)
{
    *out = mem_alloc(room);
    if (DeviceIoControl(device, IOCTL_WFPMODEL_MANAGE, (void *)in, (DWORD)in_size, *out, (DWORD)room, done, NULL) &&
        *done >= sizeof(struct manage_answer))
        return ERROR_SUCCESS;
    DWORD error = GetLastError();
    mem_free(*out);
    return error ? error : ERROR_INVALID_DATA;
}

DWORD ask_raw(HANDLE device, struct manage_request *request, const void *body, size_t body_size, struct answer *answer)
{
    struct manage_answer head;
    size_t size = sizeof *request + body_size;
    UINT8 *in = mem_alloc(size), *out;
    DWORD done;
    memcpy(in, request, sizeof *request);
    if (body_size)
        memcpy(in + sizeof *request, body, body_size);
    DWORD error = exchange(device, in, size, FIRST_ROOM, &out, &done);
    mem_free(in);
    if (error)
        return error;
    memcpy(&head, out, sizeof head);
    if (head.size > done - sizeof head && head.size <= MANAGE_BYTES_MAX) {
        struct manage_request rest = {.operation = MANAGE_REST};
        mem_free(out);
        error = exchange(device, &rest, sizeof rest, sizeof head + head.size, &out, &done);
        if (error)
            return error;
        memcpy(&head, out, sizeof head);
    }
    error = error_of(head.status);
    if (!error && head.size > done - sizeof head)
        error = ERROR_INVALID_DATA;
    if (answer && !error) {
        answer->head = head;
        answer->size = (size_t)head.size;
        answer->bytes = mem_alloc(answer->size);
        memcpy(answer->bytes, out + sizeof head, answer->size);
    }
    mem_free(out);
    return error;
}

DWORD ask_device(HANDLE device, struct manage_request *request, const struct shape *shape, const void *body, struct answer *answer)
{
    if (!shape)
        return ask_raw(device, request, NULL, 0, answer);
    size_t size = shape_pack(shape, body, NULL, 0);
    if (size > MANAGE_BYTES_MAX - sizeof *request)
        return ERROR_INVALID_PARAMETER;
    void *packed = mem_alloc(size);
    shape_pack(shape, body, packed, size);
    DWORD error = ask_raw(device, request, packed, size, answer);
    mem_free(packed);
    return error;
}

DWORD ask(HANDLE handle, struct manage_request *request, const struct shape *shape, const void *body, struct answer *answer)
{
    HANDLE device;
    DWORD error = engine_find(handle, &device, NULL);
    return error ? error : ask_device(device, request, shape, body, answer);
}

DWORD unimplemented(const char *function)
{
    struct manage_request request = {.operation = MANAGE_UNIMPLEMENTED};
    HANDLE device = device_open();
    if (device != INVALID_HANDLE_VALUE) {
        ask_raw(device, &request, function, strlen(function), NULL);
        CloseHandle(device);
    }
    SetLastError(ERROR_CALL_NOT_IMPLEMENTED);
    return ERROR_CALL_NOT_IMPLEMENTED;
}

/* The engine's device. SPDX-License-Identifier: MIT */
#include "shim.h"

#include <string.h>

enum { PATIENCE_MS = 20000 };

/* What the device writes into; it outlives a caller who gave up waiting. */
typedef struct request {
    OVERLAPPED overlapped;
    size_t out_size;
    uint8_t *out;
    uint8_t in[];
} request;

static SRWLOCK device_lock = SRWLOCK_INIT;
static HANDLE device; /* by device_lock; stays open, its end tells the engine of the process's */

static HANDLE device_open(void)
{
    AcquireSRWLockExclusive(&device_lock);
    if (!device) {
        HANDLE made = CreateFileW(WFPMODEL_WIN32_DEVICE_NAME, GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE,
                                  NULL, OPEN_EXISTING, FILE_FLAG_OVERLAPPED, NULL);
        device = made == INVALID_HANDLE_VALUE ? NULL : made;
    }
    HANDLE found = device;
    ReleaseSRWLockExclusive(&device_lock);
    return found;
}

/* The engine has gone: it is looked for anew the next time. */
static void device_lost(HANDLE lost)
{
    AcquireSRWLockExclusive(&device_lock);
    if (device == lost) {
        device = NULL;
        CloseHandle(lost);
    }
    ReleaseSRWLockExclusive(&device_lock);
}

static void request_free(request *r)
{
    CloseHandle(r->overlapped.hEvent);
    shim_free(r->out);
    shim_free(r);
}

static bool transact(const WFPMODEL_CALL *call, const void *bytes, size_t size, WFPMODEL_ANSWER *answer, void *out, size_t room)
{
    HANDLE to = device_open();
    request *r = to ? shim_alloc(sizeof *r + sizeof *call + size) : NULL;
    DWORD got = 0;
    if (!r)
        return false;
    r->out_size = sizeof *answer + room;
    r->out = shim_alloc(r->out_size);
    r->overlapped.hEvent = CreateEventW(NULL, TRUE, FALSE, NULL);
    memcpy(r->in, call, sizeof *call);
    if (size)
        memcpy(r->in + sizeof *call, bytes, size);
    if (!r->out || !DeviceIoControl(to, IOCTL_WFPMODEL_CALL, r->in, (DWORD)(sizeof *call + size), r->out, (DWORD)r->out_size, NULL, &r->overlapped)) {
        if (!r->out || GetLastError() != ERROR_IO_PENDING) {
            request_free(r);
            device_lost(to);
            return false;
        }
        if (WaitForSingleObject(r->overlapped.hEvent, PATIENCE_MS)) {
            CancelIoEx(to, &r->overlapped);
            return false; /* the request stays: it may still be written to */
        }
    }
    bool done = GetOverlappedResult(to, &r->overlapped, &got, TRUE) && got >= sizeof *answer;
    if (done) {
        memcpy(answer, r->out, sizeof *answer);
        if (room)
            memcpy(out, r->out + sizeof *answer, got - sizeof *answer < room ? got - sizeof *answer : room);
    }
    request_free(r);
    if (!done)
        device_lost(to);
    return done;
}

void engine_call(WFPMODEL_CALL *call, const shim_socket *socket, uint32_t op)
{
    memset(call, 0, sizeof *call);
    call->op = op;
    call->process_id = GetCurrentProcessId();
    call->family = (uint8_t)socket->family;
    call->protocol = (uint8_t)socket->protocol;
    call->endpoint = socket->endpoint;
    call->flags = socket->type == SOCK_RAW ? WFPMODEL_RAW : 0;
}

void call_local(WFPMODEL_CALL *call, const shim_address *address)
{
    call->family = address->family;
    memcpy(call->local, address->bytes, sizeof call->local);
    call->local_port = address->port;
}

void call_remote(WFPMODEL_CALL *call, const shim_address *address)
{
    call->family = address->family;
    memcpy(call->remote, address->bytes, sizeof call->remote);
    call->remote_port = address->port;
}

bool engine_ask(shim_socket *socket, WFPMODEL_CALL *call, const void *bytes, size_t size, WFPMODEL_ANSWER *answer)
{
    if (!transact(call, bytes, size, answer, NULL, 0))
        return false;
    if (answer->endpoint)
        socket->endpoint = answer->endpoint;
    return true;
}

bool engine_query(WFPMODEL_CALL *call, WFPMODEL_ANSWER *answer, void *out, size_t room)
{
    return transact(call, NULL, 0, answer, out, room);
}

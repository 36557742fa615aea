/* See inject_rig.h. SPDX-License-Identifier: MIT */
#include "inject_rig.h"

volatile LONG completions, completed_lists;
static HANDLE done;
static NTSTATUS last_status;

void inject_rig_begin(void)
{
    done = CreateSemaphoreW(NULL, 0, 1000, NULL);
}

void inject_rig_end(void)
{
    CloseHandle(done);
}

void NTAPI on_injected(void *context, NET_BUFFER_LIST *nbl, BOOLEAN dispatch)
{
    (void)context, (void)dispatch;
    last_status = nbl->Status;
    for (NET_BUFFER_LIST *next; nbl; nbl = next) {
        next = nbl->Next;
        InterlockedIncrement(&completed_lists);
        nbl_release(nbl);
    }
    InterlockedIncrement(&completions);
    ReleaseSemaphore(done, 1, NULL);
}

NTSTATUS injected_wait(void)
{
    return WaitForSingleObject(done, 60000) == WAIT_OBJECT_0 ? last_status : STATUS_TIMEOUT;
}

NET_BUFFER_LIST *list_of(const uint8_t *bytes, size_t length)
{
    uint8_t *copy = mem_alloc(length + 1);
    memcpy(copy, bytes, length);
    return nbl_wrap(copy, length, 0, length);
}

NET_BUFFER_LIST *list_at(NET_BUFFER_LIST *nbl, size_t offset)
{
    size_t length = nbl->FirstNetBuffer->DataLength;
    uint8_t *copy = mem_alloc(offset + length + 1);
    nb_copy(nbl->FirstNetBuffer, copy + offset, length);
    nbl_release(nbl);
    return nbl_wrap(copy, offset + length, offset, length);
}

UINT16 folded(const uint8_t *p, size_t length, UINT32 sum)
{
    for (size_t i = 0; i < length; i++)
        sum += i & 1 ? p[i] : (UINT32)p[i] << 8;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (UINT16)sum;
}

BOOL sums_hold(const uint8_t *frame)
{
    const uint8_t *ip = frame + ETHERNET;
    size_t size = (size_t)get16(ip + 2) - 20;
    return folded(ip, 20, 0) == 0xffff && folded(ip + 20, size, folded(ip + 12, 8, ip[9] + (UINT32)size)) == 0xffff;
}

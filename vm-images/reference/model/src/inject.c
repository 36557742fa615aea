/*
 * Packet injection (W238 to W274): handles, one worker that puts injected packets on their way in the order in which
 * they were injected, and the state by which a driver recognises its own. What happens to a packet is in inject_run.c.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "inject.h"

static SRWLOCK inject_lock = SRWLOCK_INIT; /* all below */
static struct injector *injectors;
static UINT64 last_id;
static struct job *queue, **queue_end = &queue;
static CONDITION_VARIABLE queued = CONDITION_VARIABLE_INIT, drained = CONDITION_VARIABLE_INIT;
static volatile LONG not_ready;

static struct injector *find(HANDLE handle)
{
    struct injector *injector = injectors;
    while (injector && injector != (struct injector *)handle)
        injector = injector->next;
    return injector;
}

void inject_not_ready(unsigned times)
{
    InterlockedExchange(&not_ready, (LONG)(times < 1000 ? times : 1000));
}

/* Before tcpip.sys is up (W238, W244), or as if. */
static BOOL stack_is_ready(void)
{
    LONG left = not_ready;
    while (left > 0) {
        LONG seen = InterlockedCompareExchange(&not_ready, left - 1, left);
        if (seen == left)
            return FALSE;
        left = seen;
    }
    return wire.up != 0;
}

NTSTATUS NTAPI FwpsInjectionHandleCreate0(ADDRESS_FAMILY family, UINT32 flags, HANDLE *handle)
{
    if (!handle || flags & ~0x3fu || (family != AF_UNSPEC && family != AF_INET && family != AF_INET6) ||
        ((flags & INJECT_NETWORK) && family == AF_UNSPEC)) /* W240 */
        return STATUS_INVALID_PARAMETER;
    if (!stack_is_ready())
        return STATUS_FWP_TCPIP_NOT_READY;
    struct injector *made = mem_alloc(sizeof *made);
    made->types = flags ? flags : INJECT_TRANSPORT | INJECT_STREAM | INJECT_FORWARD; /* W239 */
    made->family = family;
    AcquireSRWLockExclusive(&inject_lock);
    made->id = ++last_id;
    made->next = injectors;
    injectors = made;
    ReleaseSRWLockExclusive(&inject_lock);
    held_add(HOLD_INJECTION, made, 0, 0);
    *handle = made;
    return STATUS_SUCCESS;
}

NTSTATUS NTAPI FwpsInjectionHandleDestroy0(HANDLE handle)
{
    AcquireSRWLockExclusive(&inject_lock);
    struct injector *injector = find(handle);
    if (!injector || injector->closing) {
        ReleaseSRWLockExclusive(&inject_lock);
        return STATUS_INVALID_HANDLE;
    }
    injector->closing = TRUE;
    while (injector->pending) /* W241 */
        SleepConditionVariableSRW(&drained, &inject_lock, INFINITE, 0);
    for (struct injector **at = &injectors; *at; at = &(*at)->next)
        if (*at == injector) {
            *at = injector->next;
            break;
        }
    ReleaseSRWLockExclusive(&inject_lock);
    held_drop(HOLD_INJECTION, injector);
    mem_free(injector);
    return STATUS_SUCCESS;
}

static NTSTATUS admit(HANDLE handle, UINT32 type, struct injector **out)
{
    struct injector *injector = *out = find(handle);
    if (!injector)
        return STATUS_INVALID_HANDLE;
    if (injector->closing)
        return STATUS_FWP_INJECT_HANDLE_CLOSING; /* W242 */
    return injector->types & type ? STATUS_SUCCESS : STATUS_FWP_INJECT_HANDLE_STALE; /* W243 */
}

NTSTATUS inject_begin(HANDLE handle, UINT32 type, struct injector **injector)
{
    if (!stack_is_ready())
        return STATUS_FWP_TCPIP_NOT_READY;
    AcquireSRWLockExclusive(&inject_lock);
    NTSTATUS status = admit(handle, type, injector);
    if (!status)
        (*injector)->pending++;
    ReleaseSRWLockExclusive(&inject_lock);
    return status;
}

void inject_more(struct injector *injector)
{
    AcquireSRWLockExclusive(&inject_lock);
    injector->pending++;
    ReleaseSRWLockExclusive(&inject_lock);
}

void inject_done(struct injector *injector)
{
    AcquireSRWLockExclusive(&inject_lock);
    injector->pending--;
    WakeAllConditionVariable(&drained);
    ReleaseSRWLockExclusive(&inject_lock);
}

static NTSTATUS enqueue(HANDLE handle, const struct job *wanted, UINT32 type, UINT32 flags, const char *function)
{
    BOOL mac = type == INJECT_L2;
    if (flags) /* W247 */
        contract_broken("W247", function, "the flags are 0x%x: they are reserved, 0 is wanted", flags);
    if (!wanted->nbl || (!wanted->complete && !mac))
        return STATUS_FWP_NULL_POINTER;
    if (wanted->nbl->Next && !mac) { /* W260: a group of fragments is one packet first; elsewhere a packet is one list */
        contract_broken("W260", function, "the NET_BUFFER_LIST is a chain: a packet is one list, and a group of fragments is made one first");
        return STATUS_INVALID_PARAMETER;
    }
    if (!stack_is_ready())
        return STATUS_FWP_TCPIP_NOT_READY;
    struct nbl_block *block = nbl_block_of(wanted->nbl);
    if (block && block->flying) {
        contract_broken("W245", function, "the NET_BUFFER_LIST was injected before and its completionFn has not run: it is the stack's until then");
        return STATUS_INVALID_PARAMETER;
    }
    struct job *job = mem_alloc(sizeof *job);
    *job = *wanted;
    origin_capture(&job->made, FRAMES_KEPT);
    if (job->remote)
        memcpy(job->remote_then, job->remote, job->family == FAMILY_V6 ? 16 : 4);
    if (block)
        block->flying = TRUE;
    AcquireSRWLockExclusive(&inject_lock);
    NTSTATUS status = admit(handle, type, &job->injector);
    if (!status) {
        job->injector->pending++;
        *queue_end = job;
        queue_end = &job->next;
        WakeConditionVariable(&queued);
    } else if (block) {
        block->flying = FALSE;
    }
    ReleaseSRWLockExclusive(&inject_lock);
    if (status)
        mem_free(job);
    return status;
}

/* Of what a classifyFn may not do to the packet that it is being shown (W253, W254). */
static void check_inline(const NET_BUFFER_LIST *nbl, BOOL receive, const char *function)
{
    const struct classification *now = thread_now()->classify;
    const struct nbl_block *block = nbl_block_of(nbl);
    UINT16 layer = now ? layer_v4(now->layer->id) : 0;
    if (now && (layer == LAYER_INBOUND_TRANSPORT_V4 || layer == LAYER_OUTBOUND_TRANSPORT_V4) && now->protocol == IPPROTO_TCP)
        contract_broken("W253", function, "a TCP segment is injected from classifyFn at %s: it has to be left to a DPC or a work item", now->layer->name);
    if (receive && block && block->ale_required)
        contract_broken("W254", function, "the packet was taken at a transport layer where FWPS_METADATA_FIELD_ALE_CLASSIFY_REQUIRED was set: it has to be permitted there, and injected from RECV_ACCEPT");
}

NTSTATUS NTAPI FwpsInjectNetworkSendAsync0(HANDLE handle, HANDLE context, UINT32 flags, ULONG compartment, NET_BUFFER_LIST *nbl,
                                           INJECT_COMPLETE complete, HANDLE complete_context)
{
    struct job job = {.path = NETWORK_SEND, .context = context, .nbl = nbl, .complete = complete, .complete_context = complete_context};
    (void)compartment;
    return enqueue(handle, &job, INJECT_NETWORK, flags, "FwpsInjectNetworkSendAsync0");
}

static void check_interface(ULONG if_index, const char *function)
{
    if (if_index && wire.interface_index && if_index != wire.interface_index) /* W273 */
        contract_broken("W273", function, "it names interface %u: %u is wanted, that of the packets", (unsigned)if_index, wire.interface_index);
}

NTSTATUS NTAPI FwpsInjectNetworkReceiveAsync0(HANDLE handle, HANDLE context, UINT32 flags, ULONG compartment, ULONG if_index,
                                              ULONG sub_interface, NET_BUFFER_LIST *nbl, INJECT_COMPLETE complete,
                                              HANDLE complete_context)
{
    struct job job = {.path = NETWORK_RECEIVE, .context = context, .nbl = nbl, .complete = complete, .complete_context = complete_context};
    (void)compartment, (void)sub_interface;
    check_interface(if_index, "FwpsInjectNetworkReceiveAsync0");
    return enqueue(handle, &job, INJECT_NETWORK, flags, "FwpsInjectNetworkReceiveAsync0");
}

NTSTATUS NTAPI FwpsInjectForwardAsync0(HANDLE handle, HANDLE context, UINT32 flags, ADDRESS_FAMILY family, ULONG compartment,
                                       ULONG if_index, NET_BUFFER_LIST *nbl, INJECT_COMPLETE complete, HANDLE complete_context)
{
    struct job job = {.path = FORWARD, .context = context, .nbl = nbl, .complete = complete, .complete_context = complete_context};
    (void)family, (void)compartment, (void)if_index;
    return enqueue(handle, &job, INJECT_FORWARD, flags, "FwpsInjectForwardAsync0");
}

static NTSTATUS send_transport(HANDLE handle, struct job *job, UINT32 flags, ADDRESS_FAMILY family)
{
    job->family = (uint8_t)family;
    if (job->remote && family != AF_INET && family != AF_INET6)
        return STATUS_INVALID_PARAMETER;
    if (job->nbl)
        check_inline(job->nbl, FALSE, "FwpsInjectTransportSendAsync");
    return enqueue(handle, job, INJECT_TRANSPORT, flags, "FwpsInjectTransportSendAsync");
}

NTSTATUS NTAPI FwpsInjectTransportSendAsync1(HANDLE handle, HANDLE context, UINT64 endpoint, UINT32 flags,
                                             FWPS_TRANSPORT_SEND_PARAMS1 *arguments, ADDRESS_FAMILY family, ULONG compartment,
                                             NET_BUFFER_LIST *nbl, INJECT_COMPLETE complete, HANDLE complete_context)
{
    struct job job = {.path = TRANSPORT_SEND, .context = context, .nbl = nbl, .complete = complete,
                      .complete_context = complete_context, .endpoint = endpoint};
    (void)compartment;
    if (arguments) {
        job.remote = arguments->remoteAddress;
        job.include = arguments->headerIncludeHeaderLength ? arguments->headerIncludeHeader : NULL;
        job.include_length = job.include ? arguments->headerIncludeHeaderLength : 0;
    }
    return send_transport(handle, &job, flags, family);
}

/* FWPS_TRANSPORT_SEND_PARAMS0 is the beginning of version 1: it ends before the header of header-include sockets. */
NTSTATUS NTAPI FwpsInjectTransportSendAsync0(HANDLE handle, HANDLE context, UINT64 endpoint, UINT32 flags,
                                             FWPS_TRANSPORT_SEND_PARAMS1 *arguments, ADDRESS_FAMILY family, ULONG compartment,
                                             NET_BUFFER_LIST *nbl, INJECT_COMPLETE complete, HANDLE complete_context)
{
    struct job job = {.path = TRANSPORT_SEND, .context = context, .nbl = nbl, .complete = complete,
                      .complete_context = complete_context, .endpoint = endpoint,
                      .remote = arguments ? arguments->remoteAddress : NULL};
    (void)compartment;
    return send_transport(handle, &job, flags, family);
}

NTSTATUS NTAPI FwpsInjectTransportReceiveAsync0(HANDLE handle, HANDLE context, void *reserved, UINT32 flags, ADDRESS_FAMILY family,
                                                ULONG compartment, ULONG if_index, ULONG sub_interface, NET_BUFFER_LIST *nbl,
                                                INJECT_COMPLETE complete, HANDLE complete_context)
{
    struct job job = {.path = TRANSPORT_RECEIVE, .context = context, .nbl = nbl, .complete = complete, .complete_context = complete_context};
    (void)family, (void)compartment, (void)sub_interface;
    if (reserved)
        contract_broken("W247", "FwpsInjectTransportReceiveAsync0", "the reserved pointer is not NULL");
    check_interface(if_index, "FwpsInjectTransportReceiveAsync0");
    if (nbl)
        check_inline(nbl, TRUE, "FwpsInjectTransportReceiveAsync0");
    return enqueue(handle, &job, INJECT_TRANSPORT, flags, "FwpsInjectTransportReceiveAsync0");
}

static NTSTATUS inject_mac(HANDLE handle, struct job *job, UINT32 flags, UINT16 ethernet, UINT16 native, const char *function)
{
    if (job->layer != ethernet && job->layer != native)
        return STATUS_INVALID_PARAMETER;
    return enqueue(handle, job, INJECT_L2, flags, function);
}

NTSTATUS NTAPI FwpsInjectMacSendAsync0(HANDLE handle, HANDLE context, UINT32 flags, UINT16 layer, ULONG if_index, ULONG port,
                                       NET_BUFFER_LIST *nbl, INJECT_COMPLETE complete, HANDLE complete_context)
{
    struct job job = {.path = MAC_SEND, .context = context, .nbl = nbl, .complete = complete, .complete_context = complete_context, .layer = layer};
    (void)port;
    check_interface(if_index, "FwpsInjectMacSendAsync0");
    return inject_mac(handle, &job, flags, LAYER_OUTBOUND_MAC_FRAME_ETHERNET, LAYER_OUTBOUND_MAC_FRAME_NATIVE, "FwpsInjectMacSendAsync0");
}

NTSTATUS NTAPI FwpsInjectMacReceiveAsync0(HANDLE handle, HANDLE context, UINT32 flags, UINT16 layer, ULONG if_index, ULONG port,
                                          NET_BUFFER_LIST *nbl, INJECT_COMPLETE complete, HANDLE complete_context)
{
    struct job job = {.path = MAC_RECEIVE, .context = context, .nbl = nbl, .complete = complete, .complete_context = complete_context, .layer = layer};
    (void)port;
    check_interface(if_index, "FwpsInjectMacReceiveAsync0");
    return inject_mac(handle, &job, flags, LAYER_INBOUND_MAC_FRAME_ETHERNET, LAYER_INBOUND_MAC_FRAME_NATIVE, "FwpsInjectMacReceiveAsync0");
}

UINT32 NTAPI FwpsQueryPacketInjectionState0(HANDLE handle, const NET_BUFFER_LIST *nbl, HANDLE *context)
{
    struct nbl_block *block = nbl_block_of(nbl);
    AcquireSRWLockShared(&inject_lock);
    struct injector *injector = find(handle);
    UINT64 id = injector ? injector->id : 0;
    ReleaseSRWLockShared(&inject_lock);
    if (!block || !block->marks)
        return 0;
    for (unsigned i = block->marks; i-- > 0;) {
        if (block->mark[i].handle != id)
            continue;
        if (context)
            *context = block->mark[i].context;
        thread_now()->knows_own = TRUE;
        return i == block->marks - 1 ? 1 : 3;
    }
    return 2;
}

static void complete(const struct job *job, NET_BUFFER_LIST *nbl)
{
    if (!job->complete)
        return;
    UINT32 before = irql_enter(IRQL_DISPATCH); /* as from a miniport's send completion or a receive DPC (W246) */
    job->complete(job->complete_context, nbl, TRUE);
    irql_leave(before, IRQL_DISPATCH, "completionFn", job->complete);
}

/* One list and its completion; of a chain at the MAC layers the first list alone, then the rest (W270). */
static void work_off(const struct job *job)
{
    NET_BUFFER_LIST *first = job->nbl, *rest = first->Next;
    if (job->remote && memcmp(job->remote, job->remote_then, job->family == FAMILY_V6 ? 16 : 4))
        contract_broken_at("W250", "FwpsInjectTransportSendAsync", &job->made, "remoteAddress of sendArgs has changed since the call: what it points at has to stay until completionFn");
    for (NET_BUFFER_LIST *nbl = first; nbl; nbl = nbl->Next) {
        nbl->Status = inject_list(job, nbl);
        if (nbl_block_of(nbl))
            nbl_block_of(nbl)->flying = FALSE;
    }
    first->Next = NULL;
    complete(job, first);
    if (rest)
        complete(job, rest);
}

static DWORD WINAPI worker(void *unused)
{
    (void)unused;
    for (;;) {
        AcquireSRWLockExclusive(&inject_lock);
        while (!queue)
            SleepConditionVariableSRW(&queued, &inject_lock, INFINITE, 0);
        struct job *job = queue;
        queue = job->next;
        if (!queue)
            queue_end = &queue;
        ReleaseSRWLockExclusive(&inject_lock);

        work_off(job);

        inject_done(job->injector);
        mem_free(job);
    }
    return 0;
}

void inject_start(void)
{
    CloseHandle(CreateThread(NULL, 0, worker, NULL, 0, NULL));
}

/*
 * Packet injection (W238 to W274): handles, one worker that puts injected packets on their way in the order in which
 * they were injected, and the state by which a driver recognises its own.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "model.h"

enum { PACKET_MAX = 65535 };

struct injector {
    struct injector *next;
    UINT64 id;
    UINT32 types;
    ADDRESS_FAMILY family;
    BOOL closing;
    unsigned pending;
};

enum path { NETWORK_SEND, NETWORK_RECEIVE, TRANSPORT_SEND, TRANSPORT_RECEIVE };

struct job {
    struct job *next;
    enum path path;
    struct injector *injector;
    HANDLE context;
    NET_BUFFER_LIST *nbl;
    INJECT_COMPLETE complete;
    HANDLE complete_context;
    UINT64 endpoint;
    const FWPS_TRANSPORT_SEND_PARAMS1 *arguments;
    uint8_t family; /* of remote */
    UCHAR *remote; /* in the driver's memory, valid until completion (W250) */
};

static SRWLOCK inject_lock = SRWLOCK_INIT; /* all below */
static struct injector *injectors;
static UINT64 last_id;
static struct job *queue, **queue_end = &queue;
static CONDITION_VARIABLE queued = CONDITION_VARIABLE_INIT, drained = CONDITION_VARIABLE_INIT;

static struct injector *find(HANDLE handle)
{
    struct injector *injector = injectors;
    while (injector && injector != (struct injector *)handle)
        injector = injector->next;
    return injector;
}

NTSTATUS NTAPI FwpsInjectionHandleCreate0(ADDRESS_FAMILY family, UINT32 flags, HANDLE *handle)
{
    if (!handle || flags & ~0x3fu || ((flags & INJECT_NETWORK) && family == AF_UNSPEC))
        return STATUS_INVALID_PARAMETER;
    struct injector *made = mem_alloc(sizeof *made);
    made->types = flags ? flags : INJECT_TRANSPORT | INJECT_STREAM | INJECT_FORWARD;
    made->family = family;
    AcquireSRWLockExclusive(&inject_lock);
    made->id = ++last_id;
    made->next = injectors;
    injectors = made;
    ReleaseSRWLockExclusive(&inject_lock);
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
    mem_free(injector);
    return STATUS_SUCCESS;
}

static NTSTATUS enqueue(HANDLE handle, const struct job *wanted, UINT32 type, UINT32 flags, const char *function)
{
    NTSTATUS status = STATUS_SUCCESS;
    if (flags)
        model_lint("%s with reserved flags 0x%x", function, flags);
    if (!wanted->nbl || !wanted->complete)
        return STATUS_FWP_NULL_POINTER;
    if (!wire.up)
        return STATUS_FWP_TCPIP_NOT_READY;
    struct job *job = mem_alloc(sizeof *job);
    *job = *wanted;
    AcquireSRWLockExclusive(&inject_lock);
    job->injector = find(handle);
    if (!job->injector)
        status = STATUS_INVALID_HANDLE;
    else if (job->injector->closing)
        status = STATUS_FWP_INJECT_HANDLE_CLOSING;
    else if (!(job->injector->types & type))
        status = STATUS_FWP_INJECT_HANDLE_STALE;
    if (!status) {
        job->injector->pending++;
        *queue_end = job;
        queue_end = &job->next;
        WakeConditionVariable(&queued);
    }
    ReleaseSRWLockExclusive(&inject_lock);
    if (status)
        mem_free(job);
    return status;
}

NTSTATUS NTAPI FwpsInjectNetworkSendAsync0(HANDLE handle, HANDLE context, UINT32 flags, ULONG compartment, NET_BUFFER_LIST *nbl,
                                           INJECT_COMPLETE complete, HANDLE complete_context)
{
    struct job job = {.path = NETWORK_SEND, .context = context, .nbl = nbl, .complete = complete, .complete_context = complete_context};
    (void)compartment;
    return enqueue(handle, &job, INJECT_NETWORK, flags, "FwpsInjectNetworkSendAsync0");
}

NTSTATUS NTAPI FwpsInjectNetworkReceiveAsync0(HANDLE handle, HANDLE context, UINT32 flags, ULONG compartment, ULONG if_index,
                                              ULONG sub_interface, NET_BUFFER_LIST *nbl, INJECT_COMPLETE complete,
                                              HANDLE complete_context)
{
    struct job job = {.path = NETWORK_RECEIVE, .context = context, .nbl = nbl, .complete = complete, .complete_context = complete_context};
    (void)compartment, (void)if_index, (void)sub_interface;
    return enqueue(handle, &job, INJECT_NETWORK, flags, "FwpsInjectNetworkReceiveAsync0");
}

NTSTATUS NTAPI FwpsInjectTransportSendAsync1(HANDLE handle, HANDLE context, UINT64 endpoint, UINT32 flags,
                                             FWPS_TRANSPORT_SEND_PARAMS1 *arguments, ADDRESS_FAMILY family, ULONG compartment,
                                             NET_BUFFER_LIST *nbl, INJECT_COMPLETE complete, HANDLE complete_context)
{
    struct job job = {.path = TRANSPORT_SEND, .context = context, .nbl = nbl, .complete = complete,
                      .complete_context = complete_context, .endpoint = endpoint,
                      .family = (uint8_t)family, .remote = arguments ? arguments->remoteAddress : NULL};
    (void)compartment;
    if (job.remote && family != AF_INET && family != AF_INET6)
        return STATUS_INVALID_PARAMETER;
    return enqueue(handle, &job, INJECT_TRANSPORT, flags, "FwpsInjectTransportSendAsync");
}

NTSTATUS NTAPI FwpsInjectTransportSendAsync0(HANDLE handle, HANDLE context, UINT64 endpoint, UINT32 flags,
                                             FWPS_TRANSPORT_SEND_PARAMS1 *arguments, ADDRESS_FAMILY family, ULONG compartment,
                                             NET_BUFFER_LIST *nbl, INJECT_COMPLETE complete, HANDLE complete_context)
{
    /* FWPS_TRANSPORT_SEND_PARAMS0 begins like version 1, and only the address is used here */
    return FwpsInjectTransportSendAsync1(handle, context, endpoint, flags, arguments, family, compartment, nbl, complete,
                                         complete_context);
}

NTSTATUS NTAPI FwpsInjectTransportReceiveAsync0(HANDLE handle, HANDLE context, void *reserved, UINT32 flags, ADDRESS_FAMILY family,
                                                ULONG compartment, ULONG if_index, ULONG sub_interface, NET_BUFFER_LIST *nbl,
                                                INJECT_COMPLETE complete, HANDLE complete_context)
{
    struct job job = {.path = TRANSPORT_RECEIVE, .context = context, .nbl = nbl, .complete = complete, .complete_context = complete_context};
    (void)reserved, (void)family, (void)compartment, (void)if_index, (void)sub_interface;
    return enqueue(handle, &job, INJECT_TRANSPORT, flags, "FwpsInjectTransportReceiveAsync0");
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
        return i == block->marks - 1 ? 1 : 3;
    }
    return 2;
}

static size_t header_size(uint8_t family)
{
    return family == FAMILY_V6 ? 40 : 20;
}

/* In front of a transport header: the IP header that the stack would build. */
static size_t build_ip(uint8_t *ip, const struct job *job, size_t transport_size)
{
    struct flow *flow = job->endpoint ? flow_find_id(job->endpoint) : NULL;
    struct address remote = address_of(job->family, job->remote);
    const struct address *own = wire_address(job->family), *local = flow ? &flow->local : own ? own : &remote;
    const uint8_t *transport = ip + header_size(job->family);
    BOOL udp = transport_size >= 8 && get16(transport + 4) == transport_size;
    size_t size = ip_header(ip, local, &remote, flow ? flow->protocol : udp ? IPPROTO_UDP : IPPROTO_TCP, transport_size);
    /* The header is the stack's, the transport checksum the driver's: what it gave goes out as it is. */
    if (job->family == FAMILY_V4)
        put16(ip + 10, ip_checksum(ip, size, 0));
    flow_release(flow);
    return size + transport_size;
}

static NTSTATUS run(struct job *job)
{
    static uint8_t frame[ETHERNET + 40 + PACKET_MAX]; /* by the one worker */
    BOOL outbound = job->path == NETWORK_SEND || job->path == TRANSPORT_SEND;
    BOOL build = job->path == TRANSPORT_SEND && job->remote;
    uint8_t *ip = frame + ETHERNET;
    for (NET_BUFFER *nb = job->nbl->FirstNetBuffer; nb; nb = nb->Next) {
        size_t length = nb_copy(nb, ip + (build ? header_size(job->family) : 0), PACKET_MAX - 40);
        if (build)
            length = build_ip(ip, job, length);
        if (!stack_frame_for(outbound, ip, frame))
            return STATUS_UNSUCCESSFUL;
        struct packet *packet = packet_new(frame, ETHERNET + length, outbound);
        if (!packet)
            return STATUS_DATA_NOT_ACCEPTED;
        struct nbl_block *to = nbl_block_of(packet->nbl), *from = nbl_block_of(job->nbl);
        if (from) {
            to->marks = from->marks;
            memcpy(to->mark, from->mark, sizeof to->mark);
        }
        if (to->marks == MARKS_MAX) {
            memmove(to->mark, to->mark + 1, (MARKS_MAX - 1) * sizeof to->mark[0]);
            to->marks--;
        }
        to->mark[to->marks].handle = job->injector->id;
        to->mark[to->marks++].context = job->context;
        COUNT(injected);
        enum stack_start start = job->path == TRANSPORT_SEND || job->path == TRANSPORT_RECEIVE ? START_TRANSPORT : START_NETWORK;
        if (outbound)
            stack_outbound(packet, start);
        else
            stack_inbound(packet, start);
    }
    return STATUS_SUCCESS;
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

        job->nbl->Status = run(job);
        UINT32 before = irql_enter(IRQL_DISPATCH); /* as from a miniport's send completion or a receive DPC (W246) */
        job->complete(job->complete_context, job->nbl, TRUE);
        irql_leave(before, IRQL_DISPATCH, "completionFn");

        AcquireSRWLockExclusive(&inject_lock);
        job->injector->pending--;
        WakeAllConditionVariable(&drained);
        ReleaseSRWLockExclusive(&inject_lock);
        mem_free(job);
    }
    return 0;
}

void inject_start(void)
{
    CloseHandle(CreateThread(NULL, 0, worker, NULL, 0, NULL));
}

NTSTATUS NTAPI FwpsConstructIpHeaderForTransportPacket0(NET_BUFFER_LIST *nbl, ULONG include_length, ADDRESS_FAMILY family,
                                                        const UCHAR *source, const UCHAR *remote, int protocol, UINT64 endpoint,
                                                        const void *control, ULONG control_length, UINT32 flags, void *reserved,
                                                        ULONG if_index, ULONG sub_interface);
int NTAPI NdisRetreatNetBufferDataStart(NET_BUFFER *nb, ULONG delta, ULONG backfill, void *allocate);
void *NTAPI NdisGetDataBuffer(NET_BUFFER *nb, ULONG needed, void *storage, UINT32 multiple, UINT32 offset);

/* Only contiguous packets: header and payload in one MDL, as the model indicates them. */
NTSTATUS NTAPI FwpsConstructIpHeaderForTransportPacket0(NET_BUFFER_LIST *nbl, ULONG include_length, ADDRESS_FAMILY family,
                                                        const UCHAR *source, const UCHAR *remote, int protocol, UINT64 endpoint,
                                                        const void *control, ULONG control_length, UINT32 flags, void *reserved,
                                                        ULONG if_index, ULONG sub_interface)
{
    (void)endpoint, (void)control, (void)control_length, (void)flags, (void)reserved, (void)if_index, (void)sub_interface;
    if (!nbl || !source || !remote || (family != AF_INET && family != AF_INET6))
        return STATUS_INVALID_PARAMETER;
    struct address from = address_of((uint8_t)family, source), to = address_of((uint8_t)family, remote);
    for (NET_BUFFER *nb = nbl->FirstNetBuffer; nb; nb = nb->Next) {
        if (!include_length)
            NdisRetreatNetBufferDataStart(nb, (ULONG)header_size((uint8_t)family), 0, NULL);
        ULONG head = include_length ? include_length : (ULONG)header_size((uint8_t)family);
        uint8_t *ip = NdisGetDataBuffer(nb, nb->DataLength, NULL, 1, 0);
        if (!ip) {
            model_log("FwpsConstructIpHeaderForTransportPacket0 on a packet in several MDLs is not modelled");
            return STATUS_NOT_SUPPORTED;
        }
        struct packet view = {.frame = ip - ETHERNET, .ip = ETHERNET, .ihl = head, .end = ETHERNET + nb->DataLength};
        view.thl = protocol == IPPROTO_TCP ? 20 : protocol == IPPROTO_UDP ? 8 : 0;
        view.tuple.protocol = (uint8_t)protocol;
        ip_header(ip, &from, &to, (uint8_t)protocol, nb->DataLength - (family == AF_INET6 ? head : 20));
        if (family == AF_INET)
            ip[0] = (uint8_t)(0x40 | head / 4);
        packet_fix_sums(&view);
    }
    return STATUS_SUCCESS;
}

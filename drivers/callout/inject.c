/*
 * Injection. classifyFn only clones or copies and queues; a work item injects, because TCP must not be injected inline
 * from the transport layers. A job counts as pending from the moment it is queued until its completionFn has run.
 *
 * SPDX-License-Identifier: MIT
 */
#include "callout.h"

typedef struct JOB {
    LIST_ENTRY link;
    NET_BUFFER_LIST *list;
    UINT8 *bytes;  /* of a copy; NULL for a clone */
    MDL *mdl;
    UINT8 path, family;
    UINT16 layer;
    UINT64 rule, endpoint;
    COMPARTMENT_ID compartment;
    IF_INDEX interface_index, sub_interface;
    FWPS_TRANSPORT_SEND_PARAMS1 arguments;
    UINT8 remote[16];
    void *control;
    WFPCALLOUT_EVENT event;
} JOB;

static LIST_ENTRY queue, held;
static KSPIN_LOCK lock;
static KEVENT idle;
static PIO_WORKITEM work;
static BOOLEAN working;
static UINT64 pending, held_count, injected, failed;

NTSTATUS inject_start(void)
{
    InitializeListHead(&queue);
    InitializeListHead(&held);
    KeInitializeSpinLock(&lock);
    KeInitializeEvent(&idle, NotificationEvent, TRUE);
    working = FALSE;
    pending = held_count = injected = failed = 0;
    work = IoAllocateWorkItem(driver.device);
    return work ? STATUS_SUCCESS : STATUS_INSUFFICIENT_RESOURCES;
}

HANDLE inject_handle(const LAYER *layer)
{
    return layer->kind == LAYER_IPPACKET ? driver.network[layer->family == 6] : driver.transport;
}

static void free_job(JOB *job)
{
    if (job->list) {
        if (job->bytes)
            FwpsFreeNetBufferList0(job->list);
        else
            FwpsFreeCloneNetBufferList0(job->list, 0);
    }
    if (job->mdl)
        IoFreeMdl(job->mdl);
    if (job->bytes)
        ExFreePoolWithTag(job->bytes, TAG);
    if (job->control)
        ExFreePoolWithTag(job->control, TAG);
    ExFreePoolWithTag(job, TAG);
}

static void finish(JOB *job, NTSTATUS status, UINT8 kind)
{
    KIRQL irql;
    job->event.kind = kind;
    job->event.status = status;
    event_record(&job->event);
    free_job(job);
    KeAcquireSpinLock(&lock, &irql);
    if (!NT_SUCCESS(status))
        failed++;
    if (--pending == 0)
        KeSetEvent(&idle, IO_NO_INCREMENT, FALSE);
    KeReleaseSpinLock(&lock, irql);
}

static void NTAPI completed(void *context, NET_BUFFER_LIST *list, BOOLEAN dispatch)
{
    UNREFERENCED_PARAMETER(dispatch);
    finish(context, NET_BUFFER_LIST_STATUS(list), WFPCALLOUT_EVENT_INJECT_COMPLETE);
}

static NTSTATUS send_job(JOB *job)
{
    ADDRESS_FAMILY family = job->family == 6 ? AF_INET6 : AF_INET;
    HANDLE network = driver.network[job->family == 6];
    switch (job->path) {
    case WFPCALLOUT_INJECT_NETWORK_SEND:
        return FwpsInjectNetworkSendAsync0(network, NULL, 0, job->compartment, job->list, completed, job);
    case WFPCALLOUT_INJECT_NETWORK_RECEIVE:
        return FwpsInjectNetworkReceiveAsync0(network, NULL, 0, job->compartment, job->interface_index,
                                              job->sub_interface, job->list, completed, job);
    case WFPCALLOUT_INJECT_TRANSPORT_SEND:
        return FwpsInjectTransportSendAsync1(driver.transport, NULL, job->endpoint, 0, &job->arguments, family,
                                             job->compartment, job->list, completed, job);
    default:
        return FwpsInjectTransportReceiveAsync0(driver.transport, NULL, NULL, 0, family, job->compartment,
                                                job->interface_index, job->sub_interface, job->list, completed, job);
    }
}

static NTSTATUS inject(JOB *job)
{
    WFPCALLOUT_EVENT event = job->event; /* the job may be gone when the call returns */
    UINT8 path = job->path;
    NTSTATUS status = send_job(job);
    KIRQL irql;

    event.kind = WFPCALLOUT_EVENT_INJECT;
    event.status = status;
    event.value = path;
    if (NT_SUCCESS(status)) {
        KeAcquireSpinLock(&lock, &irql);
        injected++;
        KeReleaseSpinLock(&lock, irql);
        event_record(&event);
    } else {
        /* Refused: completionFn does not run, and the list is still ours. */
        finish(job, status, WFPCALLOUT_EVENT_INJECT);
    }
    return status;
}

static void NTAPI work_through(DEVICE_OBJECT *device, void *context)
{
    UNREFERENCED_PARAMETER(device);
    UNREFERENCED_PARAMETER(context);
    for (;;) {
        JOB *job = NULL;
        KIRQL irql;
        KeAcquireSpinLock(&lock, &irql);
        if (IsListEmpty(&queue))
            working = FALSE;
        else
            job = CONTAINING_RECORD(RemoveHeadList(&queue), JOB, link);
        KeReleaseSpinLock(&lock, irql);
        if (!job)
            return;
        inject(job);
    }
}

/* Under the lock: whether the work item has to be queued. */
static BOOLEAN claim_work(void)
{
    if (working || IsListEmpty(&queue))
        return FALSE;
    working = TRUE;
    return TRUE;
}

static void submit(JOB *job, BOOLEAN hold)
{
    BOOLEAN start;
    KIRQL irql;
    KeAcquireSpinLock(&lock, &irql);
    if (hold) {
        InsertTailList(&held, &job->link);
        held_count++;
    } else {
        InsertTailList(&queue, &job->link);
        if (pending++ == 0)
            KeClearEvent(&idle);
    }
    start = claim_work();
    KeReleaseSpinLock(&lock, irql);
    if (start)
        IoQueueWorkItem(work, work_through, DelayedWorkQueue, NULL);
}

void inject_release_held(UINT64 rule)
{
    for (;;) {
        LIST_ENTRY *link;
        JOB *job = NULL;
        KIRQL irql;
        KeAcquireSpinLock(&lock, &irql);
        for (link = held.Flink; link != &held; link = link->Flink) {
            JOB *entry = CONTAINING_RECORD(link, JOB, link);
            if (!rule || entry->rule == rule) {
                RemoveEntryList(link);
                held_count--;
                job = entry;
                break;
            }
        }
        KeReleaseSpinLock(&lock, irql);
        if (!job)
            return;
        submit(job, FALSE);
    }
}

NTSTATUS inject_drain(ULONG milliseconds)
{
    LARGE_INTEGER timeout;
    timeout.QuadPart = -(LONGLONG)milliseconds * 10000;
    if (KeWaitForSingleObject(&idle, Executive, KernelMode, FALSE, &timeout) == STATUS_TIMEOUT)
        return STATUS_IO_TIMEOUT;
    return STATUS_SUCCESS;
}

void inject_stats(WFPCALLOUT_STATS *stats)
{
    KIRQL irql;
    KeAcquireSpinLock(&lock, &irql);
    stats->pending_injections = pending;
    stats->held_clones = held_count;
    stats->injected = injected;
    stats->inject_failed = failed;
    KeReleaseSpinLock(&lock, irql);
}

/* A list over memory of our own. */
static NTSTATUS wrap(JOB *job, ULONG length)
{
    job->mdl = IoAllocateMdl(job->bytes, length, FALSE, FALSE, NULL);
    if (!job->mdl)
        return STATUS_INSUFFICIENT_RESOURCES;
    MmBuildMdlForNonPagedPool(job->mdl);
    return FwpsAllocateNetBufferAndNetBufferList0(driver.pool, 0, 0, job->mdl, 0, length, &job->list);
}

static const UINT8 *source_of(const TRAFFIC *traffic)
{
    return traffic->inbound ? traffic->event.remote_addr : traffic->event.local_addr;
}

/* Changes a copy as the rule says; `ip` is the size of the IP header in front, 0 at the outbound transport layers. */
static void modify(TRAFFIC *traffic, const WFPCALLOUT_RULE *rule, JOB *job, ULONG length, ULONG ip)
{
    UINT8 family = traffic->layer->family, protocol = traffic->event.protocol;
    UINT8 *transport = job->bytes + ip;
    ULONG rest = length - ip, header, size = family == 4 ? 4 : 16;
    UINT8 source[16], destination[16];

    RtlCopyMemory(source, source_of(traffic), 16);
    RtlCopyMemory(destination, traffic->inbound ? traffic->event.local_addr : traffic->event.remote_addr, 16);
    header = protocol == IPPROTO_TCP && rest >= 20 ? (ULONG)(transport[12] >> 4) * 4 : 8;
    if (rule->action == WFPCALLOUT_ACTION_REPLACE && header <= rest)
        packet_replace(transport + header, rest - header, rule);
    if (rule->action == WFPCALLOUT_ACTION_REWRITE) {
        /* The remote end: the source of what comes in, the destination of what goes out. */
        if (!is_zero(rule->new_addr, size)) {
            UINT8 *where = traffic->inbound ? source : destination;
            RtlCopyMemory(where, rule->new_addr, size);
            if (!traffic->inbound)
                RtlCopyMemory(job->remote, rule->new_addr, size);
            if (ip)
                RtlCopyMemory(job->bytes + (family == 4 ? 12 : 8) + (traffic->inbound ? 0 : size), where, size);
        }
        if (rule->new_port && rest >= 4 && (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP)) {
            UINT8 *port = transport + (traffic->inbound ? 0 : 2);
            port[0] = (UINT8)(rule->new_port >> 8);
            port[1] = (UINT8)rule->new_port;
        }
    }
    if (ip && family == 4) {
        UINT32 total = 0;
        ULONG i;
        job->bytes[10] = job->bytes[11] = 0;
        for (i = 0; i + 1 < ip; i += 2)
            total += (UINT32)(job->bytes[i] << 8 | job->bytes[i + 1]);
        while (total >> 16)
            total = (total & 0xFFFF) + (total >> 16);
        job->bytes[10] = (UINT8)(~total >> 8);
        job->bytes[11] = (UINT8)~total;
    }
    packet_checksums(transport, rest, family, source, destination, protocol);
}

static NTSTATUS fill_path(TRAFFIC *traffic, JOB *job)
{
    const FWPS_INCOMING_METADATA_VALUES0 *metadata = traffic->metadata;
    UINT32 present = metadata->currentMetadataValues;
    const LAYER *layer = traffic->layer;

    job->family = layer->family;
    job->layer = layer->id;
    job->rule = traffic->event.rule;
    job->event = traffic->event;
    job->compartment = present & FWPS_METADATA_FIELD_COMPARTMENT_ID ? metadata->compartmentId
                                                                    : UNSPECIFIED_COMPARTMENT_ID;
    if (layer->interface_index != NO_FIELD && layer->interface_index < traffic->values->valueCount)
        job->interface_index = traffic->values->incomingValue[layer->interface_index].value.uint32;
    if (layer->sub_interface != NO_FIELD && layer->sub_interface < traffic->values->valueCount)
        job->sub_interface = traffic->values->incomingValue[layer->sub_interface].value.uint32;
    if (layer->kind == LAYER_IPPACKET) {
        job->path = traffic->inbound ? WFPCALLOUT_INJECT_NETWORK_RECEIVE : WFPCALLOUT_INJECT_NETWORK_SEND;
        return STATUS_SUCCESS;
    }
    job->path = traffic->inbound ? WFPCALLOUT_INJECT_TRANSPORT_RECEIVE : WFPCALLOUT_INJECT_TRANSPORT_SEND;
    if (traffic->inbound)
        return STATUS_SUCCESS;
    /* The arguments have to live until completion: everything they point at is copied. */
    RtlCopyMemory(job->remote, traffic->event.remote_addr, sizeof job->remote);
    job->arguments.remoteAddress = job->remote;
    if (present & FWPS_METADATA_FIELD_TRANSPORT_ENDPOINT_HANDLE)
        job->endpoint = metadata->transportEndpointHandle;
    if (present & FWPS_METADATA_FIELD_REMOTE_SCOPE_ID)
        job->arguments.remoteScopeId = metadata->remoteScopeId;
    if ((present & FWPS_METADATA_FIELD_TRANSPORT_CONTROL_DATA) && metadata->controlDataLength) {
        job->control = allocate(metadata->controlDataLength);
        if (!job->control)
            return STATUS_INSUFFICIENT_RESOURCES;
        RtlCopyMemory(job->control, metadata->controlData, metadata->controlDataLength);
        job->arguments.controlData = job->control;
        job->arguments.controlDataLength = metadata->controlDataLength;
    }
    return STATUS_SUCCESS;
}

/* Copies one packet from where an injection has to begin. */
static NTSTATUS copy(TRAFFIC *traffic, const WFPCALLOUT_RULE *rule, JOB *job, NET_BUFFER *buffer, ULONG back)
{
    ULONG length = NET_BUFFER_DATA_LENGTH(buffer), ip = back ? traffic->ip_header : 0, offset = 0;
    const UINT8 *bytes;
    UINT8 protocol;

    if (!length)
        return STATUS_DATA_NOT_ACCEPTED;
    job->bytes = allocate(length);
    if (!job->bytes)
        return STATUS_INSUFFICIENT_RESOURCES;
    bytes = NdisGetDataBuffer(buffer, length, job->bytes, 1, 0);
    if (!bytes)
        return STATUS_DATA_NOT_ACCEPTED;
    if (bytes != job->bytes)
        RtlCopyMemory(job->bytes, bytes, length);
    if (traffic->layer->kind == LAYER_IPPACKET) {
        if (!packet_transport(job->bytes, length, &protocol, &offset))
            return STATUS_DATA_NOT_ACCEPTED;
        ip = offset;
    }
    if (ip > length)
        return STATUS_DATA_NOT_ACCEPTED;
    modify(traffic, rule, job, length, ip);
    return wrap(job, length);
}

static BOOLEAN make_job(TRAFFIC *traffic, const WFPCALLOUT_RULE *rule, NET_BUFFER_LIST *list, NET_BUFFER *buffer,
                        ULONG back)
{
    JOB *job = allocate(sizeof *job);
    NTSTATUS status;

    if (!job)
        return FALSE;
    status = fill_path(traffic, job);
    if (NT_SUCCESS(status))
        status = buffer ? copy(traffic, rule, job, buffer, back)
                        : FwpsAllocateCloneNetBufferList0(list, NULL, NULL, 0, &job->list);
    if (!NT_SUCCESS(status)) {
        free_job(job);
        return FALSE;
    }
    submit(job, (rule->flags & WFPCALLOUT_RULE_HOLD) != 0);
    return TRUE;
}

BOOLEAN inject_packet(TRAFFIC *traffic, const WFPCALLOUT_RULE *rule, NET_BUFFER_LIST *list)
{
    NET_BUFFER *buffer = NET_BUFFER_LIST_FIRST_NB(list), *done = NULL;
    BOOLEAN modified = rule->action != WFPCALLOUT_ACTION_REINJECT, ok = TRUE;
    ULONG back = 0;

    /* Inbound the offset is behind the headers that an injection has to begin with. */
    if (traffic->inbound)
        back = traffic->ip_header + (traffic->layer->kind == LAYER_IPPACKET ? 0 : traffic->transport_header);
    if (!buffer)
        return FALSE;
    for (; buffer && ok; buffer = NET_BUFFER_NEXT_NB(buffer))
        if (back && NdisRetreatNetBufferDataStart(buffer, back, 0, NULL) != NDIS_STATUS_SUCCESS)
            ok = FALSE;
        else
            done = buffer;
    if (ok && modified) {
        for (buffer = NET_BUFFER_LIST_FIRST_NB(list); buffer && ok; buffer = NET_BUFFER_NEXT_NB(buffer))
            ok = make_job(traffic, rule, list, buffer, back);
    } else if (ok) {
        ok = make_job(traffic, rule, list, NULL, back);
    } else if (done == NULL) {
        return FALSE;
    }
    for (buffer = NET_BUFFER_LIST_FIRST_NB(list); buffer && back; buffer = NET_BUFFER_NEXT_NB(buffer)) {
        NdisAdvanceNetBufferDataStart(buffer, back, FALSE, NULL);
        if (buffer == done)
            break;
    }
    return ok;
}

NTSTATUS inject_bytes(const WFPCALLOUT_INJECT *request, const UINT8 *bytes)
{
    JOB *job;
    NTSTATUS status;
    KIRQL irql;

    if (request->path < WFPCALLOUT_INJECT_NETWORK_SEND || request->path > WFPCALLOUT_INJECT_TRANSPORT_RECEIVE ||
        (request->family != 4 && request->family != 6))
        return STATUS_INVALID_PARAMETER;
    job = allocate(sizeof *job);
    if (!job)
        return STATUS_INSUFFICIENT_RESOURCES;
    job->path = request->path;
    job->family = request->family;
    job->compartment = DEFAULT_COMPARTMENT_ID;
    job->interface_index = request->interface_index;
    RtlCopyMemory(job->remote, request->remote_addr, sizeof job->remote);
    job->arguments.remoteAddress = job->remote;
    job->event.family = request->family;
    RtlCopyMemory(job->event.local_addr, request->local_addr, 16);
    RtlCopyMemory(job->event.remote_addr, request->remote_addr, 16);
    job->event.data_length = request->length;
    job->bytes = allocate(request->length);
    status = STATUS_INSUFFICIENT_RESOURCES;
    if (job->bytes) {
        RtlCopyMemory(job->bytes, bytes, request->length);
        status = wrap(job, request->length);
    }
    if (!NT_SUCCESS(status)) {
        free_job(job);
        return status;
    }
    KeAcquireSpinLock(&lock, &irql);
    if (pending++ == 0)
        KeClearEvent(&idle);
    KeReleaseSpinLock(&lock, irql);
    return inject(job);
}

NTSTATUS injection_create(void)
{
    NTSTATUS status = FwpsInjectionHandleCreate0(AF_UNSPEC, FWPS_INJECTION_TYPE_TRANSPORT, &driver.transport);
    if (NT_SUCCESS(status))
        status = FwpsInjectionHandleCreate0(AF_INET, FWPS_INJECTION_TYPE_NETWORK, &driver.network[0]);
    if (NT_SUCCESS(status))
        status = FwpsInjectionHandleCreate0(AF_INET6, FWPS_INJECTION_TYPE_NETWORK, &driver.network[1]);
    return status;
}

/* Each destroy waits for the injections of its handle; what is still queued has to be injected first. */
void injection_destroy(void)
{
    HANDLE *handles[] = {&driver.transport, &driver.network[0], &driver.network[1]};
    ULONG i;

    inject_release_held(0);
    KeWaitForSingleObject(&idle, Executive, KernelMode, FALSE, NULL);
    for (i = 0; i < sizeof handles / sizeof handles[0]; i++) {
        if (*handles[i])
            FwpsInjectionHandleDestroy0(*handles[i]);
        *handles[i] = NULL;
    }
}

/* Waits for the work item itself to be over, not only for its work. */
void inject_stop(void)
{
    LARGE_INTEGER pause;
    BOOLEAN busy;
    KIRQL irql;

    pause.QuadPart = -10 * 1000; /* 1 ms */
    do {
        KeAcquireSpinLock(&lock, &irql);
        busy = working;
        KeReleaseSpinLock(&lock, irql);
        if (busy)
            KeDelayExecutionThread(KernelMode, FALSE, &pause);
    } while (busy);
    if (work)
        IoFreeWorkItem(work);
    work = NULL;
}

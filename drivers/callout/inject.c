/*
 * Injection. classifyFn only clones or copies and queues; a work item injects, because TCP must not be injected inline
 * from the transport layers. A job counts as pending from the moment it is queued until its completionFn has run.
 *
 * SPDX-License-Identifier: MIT
 */
#include "job.h"

#define READY_TRIES 50 /* five seconds */

/* All by the lock. `users`: classifies and injections that hold a handle right now; none begins while `closing`. */
static LIST_ENTRY queue, held;
static KSPIN_LOCK lock;
static KEVENT idle;
static PIO_WORKITEM work;
static BOOLEAN working, closing;
static UINT64 pending, held_count, injected, failed, users;

NTSTATUS inject_start(void)
{
    InitializeListHead(&queue);
    InitializeListHead(&held);
    KeInitializeSpinLock(&lock);
    KeInitializeEvent(&idle, NotificationEvent, TRUE);
    working = closing = FALSE;
    pending = held_count = injected = failed = users = 0;
    work = IoAllocateWorkItem(driver.device);
    return work ? STATUS_SUCCESS : STATUS_INSUFFICIENT_RESOURCES;
}

BOOLEAN inject_enter(void)
{
    BOOLEAN open;
    KIRQL irql;
    KeAcquireSpinLock(&lock, &irql);
    open = !closing;
    if (open)
        users++;
    KeReleaseSpinLock(&lock, irql);
    return open;
}

void inject_leave(void)
{
    KIRQL irql;
    KeAcquireSpinLock(&lock, &irql);
    users--;
    KeReleaseSpinLock(&lock, irql);
}

FWPS_PACKET_INJECTION_STATE inject_state(const LAYER *layer, const NET_BUFFER_LIST *list)
{
    HANDLE handle = layer->kind == LAYER_MAC        ? driver.layer2
                    : layer->kind == LAYER_FORWARD  ? driver.forward
                    : layer->kind == LAYER_IPPACKET ? driver.network[layer->family == 6]
                                                    : driver.transport;
    return !handle ? FWPS_PACKET_NOT_INJECTED : FwpsQueryPacketInjectionState0(handle, list, NULL);
}

void job_free(JOB *job)
{
    if (job->list) {
        if (job->path == WFPCALLOUT_INJECT_STREAM && !job->bytes)
            FwpsDiscardClonedStreamData0(job->list, 0, KeGetCurrentIrql() == DISPATCH_LEVEL);
        else if (job->bytes)
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
    if (job->header)
        ExFreePoolWithTag(job->header, TAG);
    ExFreePoolWithTag(job, TAG);
}

static void finish(JOB *job, NTSTATUS status, UINT8 kind)
{
    struct STREAM *stream = job->stream;
    KIRQL irql;
    job->event.kind = kind;
    job->event.status = status;
    event_record(&job->event);
    job_free(job);
    if (stream)
        stream_done(stream);
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

void NTAPI job_list_completed(void *context, NET_BUFFER_LIST *list, BOOLEAN dispatch)
{
    JOB *job = context;
    UNREFERENCED_PARAMETER(dispatch);
    if (!NT_SUCCESS(NET_BUFFER_LIST_STATUS(list)))
        job->status = NET_BUFFER_LIST_STATUS(list);
    if (job->bytes)
        FwpsFreeNetBufferList0(list);
    else
        FwpsFreeCloneNetBufferList0(list, 0);
    if (InterlockedDecrement(&job->lists) == 0) {
        job->list = NULL;
        finish(job, job->status, WFPCALLOUT_EVENT_INJECT_COMPLETE);
    }
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
    case WFPCALLOUT_INJECT_FORWARD:
        return FwpsInjectForwardAsync0(driver.forward, NULL, 0, family, job->compartment, job->interface_index, job->list,
                                       completed, job);
    case WFPCALLOUT_INJECT_MAC_SEND:
        return driver.layer2 ? FwpsInjectMacSendAsync0(driver.layer2, NULL, 0, job->layer, job->interface_index, job->port,
                                                       job->list, completed, job)
                             : STATUS_FWP_L2_DRIVER_NOT_READY;
    case WFPCALLOUT_INJECT_MAC_RECEIVE:
        return driver.layer2 ? FwpsInjectMacReceiveAsync0(driver.layer2, NULL, 0, job->layer, job->interface_index,
                                                          job->port, job->list, completed, job)
                             : STATUS_FWP_L2_DRIVER_NOT_READY;
    case WFPCALLOUT_INJECT_STREAM:
    case WFPCALLOUT_INJECT_STREAM_CONTINUE:
        return stream_send(job);
    default:
        return FwpsInjectTransportReceiveAsync0(driver.transport, NULL, NULL, 0, family, job->compartment,
                                                job->interface_index, job->sub_interface, job->list, completed, job);
    }
}

/* The job is pending: until `pending` is zero nobody takes the handles away. */
static NTSTATUS inject(JOB *job)
{
    WFPCALLOUT_EVENT event = job->event; /* the job may be gone when the call returns */
    UINT8 path = job->path;
    BOOLEAN completes = job->list != NULL; /* a FIN alone and a stream that goes on call no completionFn */
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
        if (!completes)
            finish(job, status, WFPCALLOUT_EVENT_INJECT_COMPLETE);
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
    lab_crash(WFPCALLOUT_CRASH_WORKER);
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

/* Under the lock. */
static void count_pending(void)
{
    if (pending++ == 0)
        KeClearEvent(&idle);
}

/* Under the lock; TRUE when the work item has to be queued afterwards. */
static BOOLEAN enqueue(JOB *job)
{
    BOOLEAN start = !working;
    InsertTailList(&queue, &job->link);
    count_pending();
    working = TRUE;
    return start;
}

void job_submit(JOB *job, BOOLEAN hold)
{
    BOOLEAN start = FALSE;
    KIRQL irql;
    KeAcquireSpinLock(&lock, &irql);
    if (hold) {
        InsertTailList(&held, &job->link);
        held_count++;
    } else {
        start = enqueue(job);
    }
    KeReleaseSpinLock(&lock, irql);
    if (start)
        IoQueueWorkItem(work, work_through, DelayedWorkQueue, NULL);
}

NTSTATUS job_inject_now(JOB *job)
{
    KIRQL irql;
    KeAcquireSpinLock(&lock, &irql);
    count_pending();
    KeReleaseSpinLock(&lock, irql);
    return inject(job);
}

/* In one go: a job that is neither held nor pending would be missed by whoever waits to take the handles away. */
void inject_release_held(UINT64 rule)
{
    LIST_ENTRY *link, *next;
    BOOLEAN start = FALSE;
    KIRQL irql;

    KeAcquireSpinLock(&lock, &irql);
    for (link = held.Flink; link != &held; link = next) {
        JOB *job = CONTAINING_RECORD(link, JOB, link);
        next = link->Flink;
        if (rule && job->rule != rule)
            continue;
        RemoveEntryList(link);
        held_count--;
        if (enqueue(job))
            start = TRUE;
    }
    KeReleaseSpinLock(&lock, irql);
    if (start)
        IoQueueWorkItem(work, work_through, DelayedWorkQueue, NULL);
}

NTSTATUS inject_drain(ULONG milliseconds)
{
    LARGE_INTEGER timeout;
    /* Bounded: the wait cannot be interrupted, and a process must be able to end. */
    timeout.QuadPart = -(LONGLONG)(milliseconds < DRAIN_MAX_MS ? milliseconds : DRAIN_MAX_MS) * 10000;
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

static NTSTATUS create_first(void)
{
    LARGE_INTEGER pause;
    NTSTATUS status;
    ULONG tries = READY_TRIES;

    pause.QuadPart = -100 * 10 * 1000; /* 100 ms */
    do { /* the driver may have been loaded before TCP/IP */
        status = FwpsInjectionHandleCreate0(AF_UNSPEC, FWPS_INJECTION_TYPE_TRANSPORT, &driver.transport);
        if (status == STATUS_FWP_TCPIP_NOT_READY)
            KeDelayExecutionThread(KernelMode, FALSE, &pause);
    } while (status == STATUS_FWP_TCPIP_NOT_READY && --tries);
    return status;
}

NTSTATUS injection_create(void)
{
    KIRQL irql;
    NTSTATUS status = create_first();
    if (NT_SUCCESS(status))
        status = FwpsInjectionHandleCreate0(AF_UNSPEC, FWPS_INJECTION_TYPE_STREAM, &driver.stream);
    if (NT_SUCCESS(status))
        status = FwpsInjectionHandleCreate0(AF_INET, FWPS_INJECTION_TYPE_NETWORK, &driver.network[0]);
    if (NT_SUCCESS(status))
        status = FwpsInjectionHandleCreate0(AF_INET6, FWPS_INJECTION_TYPE_NETWORK, &driver.network[1]);
    if (NT_SUCCESS(status))
        status = FwpsInjectionHandleCreate0(AF_UNSPEC, FWPS_INJECTION_TYPE_FORWARD, &driver.forward);
    /* Without layer 2 the driver does all the rest. */
    if (NT_SUCCESS(status) && !NT_SUCCESS(FwpsInjectionHandleCreate0(AF_UNSPEC, FWPS_INJECTION_TYPE_L2, &driver.layer2)))
        driver.layer2 = NULL;
    if (NT_SUCCESS(status)) {
        KeAcquireSpinLock(&lock, &irql);
        closing = FALSE;
        KeReleaseSpinLock(&lock, irql);
    }
    return status;
}

/* Nobody begins to use a handle any more, and everybody who did is done. */
static void close_entrance(void)
{
    LARGE_INTEGER pause;
    UINT64 left;
    KIRQL irql;

    pause.QuadPart = -10 * 1000; /* 1 ms */
    do {
        KeAcquireSpinLock(&lock, &irql);
        closing = TRUE;
        left = users;
        KeReleaseSpinLock(&lock, irql);
        if (left)
            KeDelayExecutionThread(KernelMode, FALSE, &pause);
    } while (left);
}

/* Each destroy waits for the injections of its handle; what is still queued has to be injected first. */
void injection_destroy(void)
{
    HANDLE *handles[] = {&driver.transport, &driver.stream, &driver.network[0], &driver.network[1], &driver.forward,
                         &driver.layer2};
    ULONG i;

    close_entrance();
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

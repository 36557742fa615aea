/*
 * The end of what was put off: on request, when its rule goes, at a drain, by a work item as soon as possible, and at
 * unload. Each is completed exactly once, outside of classifyFn and with no lock held, because the engine may
 * reauthorize before FwpsCompleteOperation0 returns.
 *
 * SPDX-License-Identifier: MIT
 */
#include "pend.h"

static KSPIN_LOCK lock; /* of `working`: the work item is queued or runs */
static BOOLEAN working;
static PIO_WORKITEM work;

NTSTATUS pend_start(void)
{
    KeInitializeSpinLock(&lock);
    working = FALSE;
    work = IoAllocateWorkItem(driver.device);
    return work ? pended_start() : STATUS_INSUFFICIENT_RESOURCES;
}

static void record(const PEND *pend, UINT32 action, NTSTATUS status)
{
    WFPCALLOUT_EVENT event = pend->event;
    event.kind = WFPCALLOUT_EVENT_COMPLETE;
    event.action = action;
    event.status = status;
    event.value = pend->number;
    event_record(&event);
}

/* Nothing of the pend is touched after the call: the engine classifies again, maybe before it returns, and that ends the pend. */
static void complete_connect(PEND *pend, FWP_ACTION_TYPE action)
{
    HANDLE context = pend->context;
    record(pend, action, STATUS_SUCCESS);
    pend->decision = action;
    decided_insert(pend);
    FwpsCompleteOperation0(context, NULL);
}

/* An accept is completed with the clone of its packet, which is injected then; without it, it is given up. */
static void complete_accept(PEND *pend, FWP_ACTION_TYPE action)
{
    JOB *job = NULL;
    record(pend, action, STATUS_SUCCESS);
    if (action == FWP_ACTION_PERMIT && !IsListEmpty(&pend->jobs))
        job = CONTAINING_RECORD(pend->jobs.Flink, JOB, link);
    FwpsCompleteOperation0(pend->context, job ? job->list : NULL);
    if (job)
        pend_inject(pend);
    pend_free(pend);
}

static void complete_classify(PEND *pend, UINT8 action)
{
    NTSTATUS status = STATUS_SUCCESS;
    FWP_ACTION_TYPE decided_action = action == WFPCALLOUT_COMPLETE_BLOCK ? FWP_ACTION_BLOCK : FWP_ACTION_PERMIT;

    if (action == WFPCALLOUT_COMPLETE_REDIRECT)
        status = redirect_apply(pend->classify, pend->filter, &pend->redirect, &pend->event, &pend->out);
    pend->out.actionType = decided_action;
    if (decided_action == FWP_ACTION_BLOCK)
        pend->out.rights &= ~FWPS_RIGHT_ACTION_WRITE;
    else
        pend->out.rights |= FWPS_RIGHT_ACTION_WRITE;
    record(pend, action == WFPCALLOUT_COMPLETE_AGAIN ? 0 : decided_action, status);
    FwpsCompleteClassify0(pend->classify, 0, action == WFPCALLOUT_COMPLETE_AGAIN ? NULL : &pend->out);
    FwpsReleaseClassifyHandle0(pend->classify);
    pend_free(pend);
}

static void complete(PEND *pend, UINT8 action)
{
    FWP_ACTION_TYPE decision = action == WFPCALLOUT_COMPLETE_BLOCK ? FWP_ACTION_BLOCK : FWP_ACTION_PERMIT;
    if (pend->classify)
        complete_classify(pend, action);
    else if (pend->inbound)
        complete_accept(pend, decision);
    else
        complete_connect(pend, decision);
    pended_done();
}

static void complete_all(UINT64 rule, UINT32 flags, UINT8 action)
{
    PEND *pend;
    while ((pend = pended_claim(0, rule, flags)) != NULL)
        complete(pend, action);
}

static void NTAPI work_through(DEVICE_OBJECT *device, void *context)
{
    BOOLEAN more = TRUE;
    KIRQL irql;

    UNREFERENCED_PARAMETER(device);
    UNREFERENCED_PARAMETER(context);
    while (more) {
        complete_all(0, WFPCALLOUT_RULE_PEND_AT_ONCE, WFPCALLOUT_COMPLETE_PERMIT);
        KeAcquireSpinLock(&lock, &irql);
        more = pended_has(WFPCALLOUT_RULE_PEND_AT_ONCE); /* one came in between, and did not queue the item */
        working = more;
        KeReleaseSpinLock(&lock, irql);
    }
}

void complete_at_once(void)
{
    BOOLEAN start;
    KIRQL irql;
    KeAcquireSpinLock(&lock, &irql);
    start = !working;
    working = TRUE;
    KeReleaseSpinLock(&lock, irql);
    if (start)
        IoQueueWorkItem(work, work_through, DelayedWorkQueue, NULL);
}

NTSTATUS pend_complete(const WFPCALLOUT_COMPLETE *request)
{
    PEND *pend;
    if (request->action < WFPCALLOUT_COMPLETE_PERMIT || request->action > WFPCALLOUT_COMPLETE_AGAIN)
        return STATUS_INVALID_PARAMETER;
    pend = request->number ? pended_claim(request->number, 0, 0) : NULL;
    if (!pend)
        return STATUS_NOT_FOUND;
    RtlCopyMemory(pend->redirect.new_addr, request->new_addr, sizeof request->new_addr);
    pend->redirect.new_port = request->new_port;
    pend->redirect.target_pid = request->target_pid;
    pend->redirect.context = request->context;
    complete(pend, request->action);
    return STATUS_SUCCESS;
}

void pend_complete_rule(UINT64 rule, BOOLEAN filter_is_gone)
{
    complete_all(rule, 0, WFPCALLOUT_COMPLETE_PERMIT);
    if (filter_is_gone) /* nobody will be asked about them any more */
        decided_clear(rule);
}

void pend_drain(UINT32 milliseconds)
{
    LARGE_INTEGER timeout;
    timeout.QuadPart = -(LONGLONG)(milliseconds < DRAIN_MAX_MS ? milliseconds : DRAIN_MAX_MS) * 10000;
    complete_all(0, WFPCALLOUT_RULE_HOLD | WFPCALLOUT_RULE_PEND_AT_ONCE, WFPCALLOUT_COMPLETE_PERMIT);
    pended_settle(&timeout); /* what others complete right now */
}

/* While the filters are there: what is put off is refused, as a firewall that goes should. */
void pend_close(void)
{
    pended_close();
    complete_all(0, 0, WFPCALLOUT_COMPLETE_BLOCK);
}

/* After the callouts are unregistered: nothing is put off any more, and what slipped in before is completed. */
void pend_stop(void)
{
    LARGE_INTEGER pause;
    BOOLEAN busy_now;
    KIRQL irql;

    complete_all(0, 0, WFPCALLOUT_COMPLETE_BLOCK);
    decided_clear(0);
    pause.QuadPart = -10 * 1000; /* 1 ms */
    do {
        KeAcquireSpinLock(&lock, &irql);
        busy_now = working;
        KeReleaseSpinLock(&lock, irql);
        busy_now = busy_now || pended_is_busy();
        if (busy_now)
            KeDelayExecutionThread(KernelMode, FALSE, &pause);
    } while (busy_now);
    if (work)
        IoFreeWorkItem(work);
    work = NULL;
}

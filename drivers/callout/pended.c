/* The book of what is put off. SPDX-License-Identifier: MIT */
#include "pend.h"

#define DECIDED_MAX 64 /* connects that were completed and never asked about, because they went */

/* All by the lock. */
static LIST_ENTRY pended, decided;
static KSPIN_LOCK lock;
static KEVENT changed, idle; /* something was put off; nobody completes anything right now */
static BOOLEAN closing;
static UINT64 last_number, decided_count, busy;

NTSTATUS pended_start(void)
{
    InitializeListHead(&pended);
    InitializeListHead(&decided);
    KeInitializeSpinLock(&lock);
    KeInitializeEvent(&changed, NotificationEvent, FALSE);
    KeInitializeEvent(&idle, NotificationEvent, TRUE);
    closing = FALSE;
    last_number = decided_count = busy = 0;
    return STATUS_SUCCESS;
}

void pended_close(void)
{
    KIRQL irql;
    KeAcquireSpinLock(&lock, &irql);
    closing = TRUE;
    KeReleaseSpinLock(&lock, irql);
}

BOOLEAN pended_is_open(void)
{
    BOOLEAN open;
    KIRQL irql;
    KeAcquireSpinLock(&lock, &irql);
    open = !closing;
    KeReleaseSpinLock(&lock, irql);
    return open;
}

BOOLEAN pended_is_busy(void)
{
    BOOLEAN result;
    KIRQL irql;
    KeAcquireSpinLock(&lock, &irql);
    result = busy != 0;
    KeReleaseSpinLock(&lock, irql);
    return result;
}

PEND *pend_new(const TRAFFIC *traffic, const WFPCALLOUT_RULE *rule)
{
    PEND *pend = allocate(sizeof *pend);
    KIRQL irql;
    if (!pend)
        return NULL;
    KeAcquireSpinLock(&lock, &irql);
    pend->number = ++last_number;
    KeReleaseSpinLock(&lock, irql);
    InitializeListHead(&pend->jobs);
    pend->rule = traffic->event.rule;
    pend->flags = rule->flags;
    pend->inbound = traffic->inbound;
    pend->redirect = *rule;
    pend->event = traffic->event;
    return pend;
}

void pend_free(PEND *pend)
{
    while (!IsListEmpty(&pend->jobs))
        job_free(CONTAINING_RECORD(RemoveHeadList(&pend->jobs), JOB, link));
    ExFreePoolWithTag(pend, TAG);
}

/* Whoever queues holds the entrance to the injection handles: they may be on their way out. */
void pend_inject(PEND *pend)
{
    if (!inject_enter())
        return;
    while (!IsListEmpty(&pend->jobs))
        job_submit(CONTAINING_RECORD(RemoveHeadList(&pend->jobs), JOB, link), FALSE);
    inject_leave();
}

static BOOLEAN same_connect(const WFPCALLOUT_EVENT *a, const WFPCALLOUT_EVENT *b)
{
    return a->rule == b->rule && a->layer == b->layer && a->protocol == b->protocol && a->local_port == b->local_port &&
           a->remote_port == b->remote_port && RtlCompareMemory(a->local_addr, b->local_addr, 16) == 16 &&
           RtlCompareMemory(a->remote_addr, b->remote_addr, 16) == 16;
}

/* Under the lock: the first of the completed ones that is about this connect, or that is of this rule; out of the list. */
static PEND *unlink_decided(const WFPCALLOUT_EVENT *connect, UINT64 rule)
{
    LIST_ENTRY *link;
    for (link = decided.Flink; link != &decided; link = link->Flink) {
        PEND *pend = CONTAINING_RECORD(link, PEND, link);
        if (connect ? same_connect(&pend->event, connect) : !rule || pend->rule == rule) {
            RemoveEntryList(link);
            decided_count--;
            return pend;
        }
    }
    return NULL;
}

static PEND *take(const WFPCALLOUT_EVENT *connect, UINT64 rule)
{
    PEND *pend;
    KIRQL irql;
    KeAcquireSpinLock(&lock, &irql);
    pend = unlink_decided(connect, rule);
    KeReleaseSpinLock(&lock, irql);
    return pend;
}

PEND *decided_take(const TRAFFIC *traffic)
{
    if ((traffic->metadata->currentMetadataValues & FWPS_METADATA_FIELD_PACKET_DIRECTION) &&
        traffic->metadata->packetDirection != FWP_DIRECTION_OUTBOUND)
        return NULL;
    return take(&traffic->event, 0);
}

void decided_clear(UINT64 rule)
{
    PEND *pend;
    while ((pend = take(NULL, rule)) != NULL)
        pend_free(pend);
}

void decided_insert(PEND *pend)
{
    PEND *oldest = NULL;
    KIRQL irql;
    KeAcquireSpinLock(&lock, &irql);
    InsertTailList(&decided, &pend->link);
    if (++decided_count > DECIDED_MAX)
        oldest = unlink_decided(NULL, 0);
    KeReleaseSpinLock(&lock, irql);
    if (oldest)
        pend_free(oldest);
}

void pended_insert(PEND *pend)
{
    UINT32 flags = pend->flags;
    PEND *stale;
    KIRQL irql;
    KeAcquireSpinLock(&lock, &irql);
    stale = unlink_decided(&pend->event, 0); /* the same ports again: the earlier connect was never asked about */
    InsertTailList(&pended, &pend->link);
    KeSetEvent(&changed, IO_NO_INCREMENT, FALSE);
    KeReleaseSpinLock(&lock, irql);
    if (stale)
        pend_free(stale);
    if (flags & WFPCALLOUT_RULE_PEND_AT_ONCE) /* the pend itself may be gone by now */
        complete_at_once();
}

/* Under the lock. */
static PEND *find(UINT64 number, UINT64 rule, UINT32 flags)
{
    LIST_ENTRY *link;
    for (link = pended.Flink; link != &pended; link = link->Flink) {
        PEND *pend = CONTAINING_RECORD(link, PEND, link);
        if ((!number || pend->number == number) && (!rule || pend->rule == rule) && (!flags || (pend->flags & flags)))
            return pend;
    }
    return NULL;
}

PEND *pended_claim(UINT64 number, UINT64 rule, UINT32 flags)
{
    PEND *found;
    KIRQL irql;
    KeAcquireSpinLock(&lock, &irql);
    found = find(number, rule, flags);
    if (found) {
        RemoveEntryList(&found->link);
        if (busy++ == 0)
            KeClearEvent(&idle);
    }
    KeReleaseSpinLock(&lock, irql);
    return found;
}

void pended_done(void)
{
    KIRQL irql;
    KeAcquireSpinLock(&lock, &irql);
    if (--busy == 0)
        KeSetEvent(&idle, IO_NO_INCREMENT, FALSE);
    KeReleaseSpinLock(&lock, irql);
}

BOOLEAN pended_has(UINT32 flags)
{
    BOOLEAN has;
    KIRQL irql;
    KeAcquireSpinLock(&lock, &irql);
    has = find(0, 0, flags) != NULL;
    KeReleaseSpinLock(&lock, irql);
    return has;
}

void pended_settle(LARGE_INTEGER *timeout)
{
    KeWaitForSingleObject(&idle, Executive, KernelMode, FALSE, timeout);
}

static BOOLEAN oldest(UINT64 rule, UINT64 *number)
{
    PEND *pend;
    KIRQL irql;
    KeAcquireSpinLock(&lock, &irql);
    pend = find(0, rule, 0);
    *number = pend ? pend->number : 0;
    if (!pend)
        KeClearEvent(&changed);
    KeReleaseSpinLock(&lock, irql);
    return pend != NULL;
}

NTSTATUS pend_wait(UINT64 rule, UINT32 milliseconds, UINT64 *number)
{
    LARGE_INTEGER start = KeQueryPerformanceCounter(NULL), frequency, now;
    LONGLONG limit = (LONGLONG)(milliseconds < DRAIN_MAX_MS ? milliseconds : DRAIN_MAX_MS) * 10000;
    while (!oldest(rule, number)) {
        LARGE_INTEGER timeout;
        now = KeQueryPerformanceCounter(&frequency);
        timeout.QuadPart = (now.QuadPart - start.QuadPart) * 1000 / frequency.QuadPart * 10000 - limit;
        if (timeout.QuadPart >= 0 ||
            KeWaitForSingleObject(&changed, Executive, KernelMode, FALSE, &timeout) == STATUS_TIMEOUT)
            return oldest(rule, number) ? STATUS_SUCCESS : STATUS_IO_TIMEOUT;
    }
    return STATUS_SUCCESS;
}

UINT64 pend_count(void)
{
    LIST_ENTRY *link;
    UINT64 count = 0;
    KIRQL irql;
    KeAcquireSpinLock(&lock, &irql);
    for (link = pended.Flink; link != &pended; link = link->Flink)
        count++;
    KeReleaseSpinLock(&lock, irql);
    return count;
}


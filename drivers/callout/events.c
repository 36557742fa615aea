/* The ring of events. The oldest goes when it is full, and is counted. SPDX-License-Identifier: MIT */
#include "callout.h"

#define RING 4096

static WFPCALLOUT_EVENT *ring;
static KSPIN_LOCK lock;
static UINT64 head, tail, dropped; /* numbers of the oldest event kept and of the next one, from 1 */

NTSTATUS events_start(void)
{
    KeInitializeSpinLock(&lock);
    head = tail = 1;
    dropped = 0;
    ring = allocate(RING * sizeof *ring);
    return ring ? STATUS_SUCCESS : STATUS_INSUFFICIENT_RESOURCES;
}

void events_stop(void)
{
    if (ring)
        ExFreePoolWithTag(ring, TAG);
    ring = NULL;
}

/* KeQueryInterruptTime is a read of a fixed kernel address on x64, which Wine can only emulate; this is a call. */
static UINT64 now(void)
{
    LARGE_INTEGER frequency, ticks = KeQueryPerformanceCounter(&frequency);
    UINT64 seconds = (UINT64)ticks.QuadPart / (UINT64)frequency.QuadPart;
    UINT64 rest = (UINT64)ticks.QuadPart % (UINT64)frequency.QuadPart;
    return seconds * 10000000 + rest * 10000000 / (UINT64)frequency.QuadPart;
}

UINT64 event_record(WFPCALLOUT_EVENT *event)
{
    KIRQL irql;
    UINT64 number;

    event->time_100ns = now();
    KeAcquireSpinLock(&lock, &irql);
    event->irql = irql;
    number = event->seq = tail++;
    ring[number % RING] = *event;
    if (tail - head > RING) {
        head++;
        dropped++;
    }
    KeReleaseSpinLock(&lock, irql);
    return number;
}

UINT64 event_simple(UINT8 kind, UINT16 layer, NTSTATUS status, UINT64 rule, UINT64 value)
{
    WFPCALLOUT_EVENT event = {0};
    event.kind = kind;
    event.layer = layer;
    event.status = status;
    event.rule = rule;
    event.value = value;
    return event_record(&event);
}

ULONG events_read(WFPCALLOUT_EVENTS *out, ULONG capacity)
{
    WFPCALLOUT_EVENT *events = (WFPCALLOUT_EVENT *)(out + 1);
    ULONG count = 0;
    KIRQL irql;

    KeAcquireSpinLock(&lock, &irql);
    while (count < capacity && head != tail)
        events[count++] = ring[head++ % RING];
    out->count = count;
    out->event_size = sizeof *events;
    out->dropped = dropped;
    out->next_seq = head;
    KeReleaseSpinLock(&lock, irql);
    return count;
}

void events_last(WFPCALLOUT_EVENTS *out, ULONG most)
{
    WFPCALLOUT_EVENT *events = (WFPCALLOUT_EVENT *)(out + 1);
    UINT64 number = tail > most ? tail - most : 1;

    out->count = 0;
    out->event_size = sizeof *events;
    out->dropped = dropped;
    out->next_seq = tail;
    while (ring && number < tail)
        events[out->count++] = ring[number++ % RING];
}

void events_stats(WFPCALLOUT_STATS *stats)
{
    KIRQL irql;
    KeAcquireSpinLock(&lock, &irql);
    stats->events = tail - 1;
    stats->events_dropped = dropped;
    KeReleaseSpinLock(&lock, irql);
}

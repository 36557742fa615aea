/*
 * What every classify reads without a lock: the filters of a layer. A writer publishes a new array and retires the old
 * one, with the filters that are gone; a retired block is freed when no thread reads any more that began before.
 *
 * Each thread has a record of its own: its IRQL, and the epoch in which its outermost read began, 0 outside of one.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model.h"

struct retired {
    struct retired *next;
    LONG64 epoch;
    void *block;
    void (*dispose)(void *);
};

static volatile LONG slot; /* of fiber local storage, plus one */
static struct thread *volatile threads;
static volatile LONG64 epoch = 1;
static SRWLOCK retired_lock = SRWLOCK_INIT; /* the list below; no other lock is taken while it is held */
static struct retired *retired;

static void NTAPI thread_ended(void *record)
{
    if (record)
        InterlockedExchange(&((struct thread *)record)->taken, 0);
}

static DWORD slot_index(void)
{
    if (!slot) {
        DWORD made = FlsAlloc(thread_ended);
        if (InterlockedCompareExchange(&slot, (LONG)made + 1, 0))
            FlsFree(made);
    }
    return (DWORD)(slot - 1);
}

static struct thread *thread_new(void)
{
    struct thread *record = threads;
    while (record && InterlockedCompareExchange(&record->taken, 1, 0))
        record = record->next;
    if (!record) {
        record = mem_alloc(sizeof *record);
        record->taken = 1;
        do
            record->next = threads;
        while (InterlockedCompareExchangePointer((void *volatile *)&threads, record, record->next) != record->next);
    }
    record->irql = 0;
    record->depth = 0;
    record->regions = 0;
    record->conduct = NULL;
    FlsSetValue(slot_index(), record);
    return record;
}

struct thread *thread_now(void)
{
    DWORD error = GetLastError(); /* FlsGetValue clears it, and a driver's caller may look at it */
    struct thread *record = FlsGetValue(slot_index());
    if (!record)
        record = thread_new();
    SetLastError(error);
    return record;
}

void read_begin(struct thread *thread)
{
    if (thread->depth++ == 0)
        InterlockedExchange64(&thread->reading, epoch); /* seen by all before anything is read */
}

void read_end(struct thread *thread)
{
    if (--thread->depth == 0)
        InterlockedExchange64(&thread->reading, 0);
}

static BOOL somebody_reads(LONG64 before)
{
    for (const struct thread *t = threads; t; t = t->next)
        if (t->reading && t->reading < before)
            return TRUE;
    return FALSE;
}

void retire(void *block, void (*dispose)(void *))
{
    struct retired *entry = mem_alloc(sizeof *entry), *free_now = NULL;
    entry->block = block;
    entry->dispose = dispose;
    AcquireSRWLockExclusive(&retired_lock);
    entry->epoch = InterlockedIncrement64(&epoch); /* whoever begins to read from here on cannot find the block */
    entry->next = retired;
    retired = entry;
    for (struct retired **at = &retired; *at;) {
        struct retired *one = *at;
        if (somebody_reads(one->epoch)) {
            at = &one->next;
            continue;
        }
        *at = one->next;
        one->next = free_now;
        free_now = one;
    }
    ReleaseSRWLockExclusive(&retired_lock);
    while (free_now) {
        struct retired *next = free_now->next;
        free_now->dispose(free_now->block);
        mem_free(free_now);
        free_now = next;
    }
}

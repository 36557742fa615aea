/*
 * The state of the filter engine, which on Windows is that of the service BFE. It runs from boot on, and is stopped and
 * started on request (W069 to W072): static and dynamic objects end with it, sessions are cancelled, persistent filters
 * are enforced again when it is back.
 *
 * SPDX-License-Identifier: MIT
 */
#include "bfe.h"
#include "store.h"

enum { F_BOOTTIME = 2 };

struct subscriber {
    struct subscriber *next;
    LONG calls; /* under way */
    BOOL gone, left_inside; /* unsubscribed; from inside of its own callback */
    STATE_CALLBACK callback;
    void *context;
};

static SRWLOCK state_lock = SRWLOCK_INIT; /* the subscribers; a callback runs without it */
static SRWLOCK change_lock = SRWLOCK_INIT; /* one change of state at a time; the only lock held around callbacks */
static CONDITION_VARIABLE quiet = CONDITION_VARIABLE_INIT;
static struct subscriber *subscribers;
static volatile LONG state = BFE_RUNNING;
static volatile LONG announcing; /* thread that calls subscribers, or 0 */

BOOL bfe_running(void)
{
    return state == BFE_RUNNING;
}

int NTAPI FwpmBfeStateGet0(void)
{
    return (int)state;
}

NTSTATUS NTAPI FwpmBfeStateSubscribeChanges0(void *device, STATE_CALLBACK callback, void *context, HANDLE *change)
{
    if (!callback || !change)
        return STATUS_FWP_NULL_POINTER;
    if (!device)
        contract_broken("W070", "FwpmBfeStateSubscribeChanges0", "the device object is NULL: one that the driver created is wanted");
    struct subscriber *made = mem_alloc(sizeof *made);
    made->callback = callback;
    made->context = context;
    AcquireSRWLockExclusive(&state_lock);
    made->next = subscribers;
    subscribers = made;
    ReleaseSRWLockExclusive(&state_lock);
    held_add(HOLD_SUBSCRIPTION, made, 0, 0);
    *change = made;
    return STATUS_SUCCESS;
}

unsigned bfe_subscribers(void)
{
    unsigned count = 0;
    AcquireSRWLockShared(&state_lock);
    for (struct subscriber *s = subscribers; s; s = s->next)
        count += !s->gone;
    ReleaseSRWLockShared(&state_lock);
    return count;
}

static void remove_subscriber(struct subscriber *subscriber)
{
    for (struct subscriber **at = &subscribers; *at; at = &(*at)->next)
        if (*at == subscriber) {
            *at = subscriber->next;
            mem_free(subscriber);
            return;
        }
}

NTSTATUS NTAPI FwpmBfeStateUnsubscribeChanges0(HANDLE change)
{
    BOOL inside = announcing == (LONG)GetCurrentThreadId();
    if (inside) /* on Windows it may wait for itself (W071) */
        contract_broken("W071", "FwpmBfeStateUnsubscribeChanges0", "it was called from inside a state callback: it can deadlock there");
    AcquireSRWLockExclusive(&state_lock);
    struct subscriber *found = subscribers;
    while (found && (found != (struct subscriber *)change || found->gone))
        found = found->next;
    if (found) {
        held_drop(HOLD_SUBSCRIPTION, found);
        found->gone = TRUE;
        found->left_inside = inside;
        while (found->calls && !inside)
            SleepConditionVariableSRW(&quiet, &state_lock, INFINITE, 0);
        if (!found->calls)
            remove_subscriber(found);
    }
    ReleaseSRWLockExclusive(&state_lock);
    return found ? STATUS_SUCCESS : STATUS_INVALID_HANDLE;
}

static void announce(enum bfe_state now)
{
    InterlockedExchange(&state, (LONG)now);
    AcquireSRWLockExclusive(&state_lock);
    announcing = (LONG)GetCurrentThreadId();
    for (struct subscriber *s = subscribers, *next; s; s = next) {
        if (!s->gone) {
            s->calls++;
            ReleaseSRWLockExclusive(&state_lock);
            s->callback(s->context, (int)now);
            AcquireSRWLockExclusive(&state_lock);
            s->calls--;
        }
        next = s->next;
        if (s->left_inside)
            remove_subscriber(s);
    }
    announcing = 0;
    WakeAllConditionVariable(&quiet);
    ReleaseSRWLockExclusive(&state_lock);
}

/* Persistent filters sleep while the engine is away, which their callouts hear of as of any filter. */
static void set_dormant(BOOL dormant)
{
    for (;;) {
        AcquireSRWLockExclusive(&store_lock);
        struct filter *found = filters;
        while (found && (found->dormant == dormant || (found->object_flags & F_BOOTTIME)))
            found = found->next;
        if (found) {
            found->dormant = dormant;
            filters_publish(NULL);
            InterlockedIncrement(&found->references);
        }
        ReleaseSRWLockExclusive(&store_lock);
        if (!found)
            return;
        filter_notify(found, dormant ? NOTIFY_DELETE : NOTIFY_ADD);
        filter_release(found);
    }
}

static void end_static_objects(void)
{
    AcquireSRWLockExclusive(&store_lock);
    for (enum kind kind = 0; kind < KIND_STORED; kind++)
        for (struct object *object = NULL; (object = object_next(kind, object));)
            if (!object->persistent && !object->builtin)
                object->deleted_in = &engine_session;
    ReleaseSRWLockExclusive(&store_lock);
    settle(&engine_session, TRUE);
}

void bfe_stop(void)
{
    AcquireSRWLockExclusive(&change_lock);
    if (state == BFE_RUNNING) {
        announce(BFE_STOP_PENDING);
        sessions_cancel();
        engine_write_begin();
        end_static_objects();
        set_dormant(TRUE);
        engine_write_end();
        announce(BFE_STOPPED);
    }
    ReleaseSRWLockExclusive(&change_lock);
}

void bfe_start(void)
{
    AcquireSRWLockExclusive(&change_lock);
    if (state == BFE_STOPPED) {
        announce(BFE_START_PENDING);
        engine_write_begin();
        set_dormant(FALSE);
        engine_write_end();
        announce(BFE_RUNNING);
    }
    ReleaseSRWLockExclusive(&change_lock);
}

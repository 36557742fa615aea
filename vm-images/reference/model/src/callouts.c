/*
 * Run-time registrations of callouts. A key keeps its run-time id for as long as the model lives, whichever of
 * FwpmCalloutAdd0 and FwpsCalloutRegisterN came first (W003).
 *
 * SPDX-License-Identifier: MIT
 */
#include "store.h"

static struct callout *callouts; /* by store_lock; entries are never freed */
static UINT32 last_id = 0x100;
static CONDITION_VARIABLE idle = CONDITION_VARIABLE_INIT;

struct callout *callout_find_key(const GUID *key)
{
    struct callout *callout = callouts;
    while (callout && !guid_equal(&callout->key, key))
        callout = callout->next;
    return callout;
}

struct callout *callout_find_id(UINT32 id)
{
    struct callout *callout = callouts;
    while (callout && callout->id != id)
        callout = callout->next;
    return callout;
}

struct callout *callout_make(const GUID *key)
{
    struct callout *callout = callout_find_key(key);
    if (!callout) {
        callout = mem_alloc(sizeof *callout);
        callout->key = *key;
        callout->id = ++last_id;
        callout->next = callouts;
        callouts = callout;
    }
    return callout;
}

/* Without the lock: first counted, then looked at. Whoever unregisters does it the other way round, so that one of the
 * two sees the other. */
BOOL callout_enter(struct callout *callout)
{
    if (!callout)
        return FALSE;
    InterlockedIncrement(&callout->running);
    if (callout->registered && !callout->changing)
        return TRUE;
    callout_leave(callout);
    return FALSE;
}

void callout_leave(struct callout *callout)
{
    MODEL_ASSERT(callout->running > 0);
    if (InterlockedDecrement(&callout->running) || !callout->changing)
        return;
    AcquireSRWLockExclusive(&store_lock); /* whoever waits has the lock until it sleeps */
    WakeAllConditionVariable(&idle);
    ReleaseSRWLockExclusive(&store_lock);
}

static NTSTATUS do_register(void *device, const FWPS_CALLOUT *functions, UINT32 *id, int version)
{
    NTSTATUS status = STATUS_SUCCESS;
    if (!functions)
        return STATUS_INVALID_PARAMETER;
    if (!device)
        contract_broken("W018", "FwpsCalloutRegister", "the device object is NULL: one that the driver created is wanted (version %d of the function)", version);
    AcquireSRWLockExclusive(&store_lock);
    struct callout *callout = callout_make(&functions->calloutKey);
    if (callout->changing) {
        status = STATUS_FWP_IN_USE;
    } else if (callout->registered) {
        status = STATUS_FWP_ALREADY_EXISTS;
    } else {
        callout->functions = *functions;
        callout->version = version;
        InterlockedExchange((volatile LONG *)&callout->registered, TRUE); /* from here on callout_enter lets threads in */
        if (id)
            *id = callout->id;
    }
    ReleaseSRWLockExclusive(&store_lock);
    if (!status)
        held_add(HOLD_CALLOUT, callout, 0, 0);
    return status;
}

NTSTATUS NTAPI FwpsCalloutRegister0(void *device, const FWPS_CALLOUT *functions, UINT32 *id)
{
    return do_register(device, functions, id, 0);
}

NTSTATUS NTAPI FwpsCalloutRegister1(void *device, const FWPS_CALLOUT *functions, UINT32 *id)
{
    return do_register(device, functions, id, 1);
}

NTSTATUS NTAPI FwpsCalloutRegister2(void *device, const FWPS_CALLOUT *functions, UINT32 *id)
{
    return do_register(device, functions, id, 2);
}

NTSTATUS NTAPI FwpsCalloutRegister3(void *device, const FWPS_CALLOUT *functions, UINT32 *id)
{
    return do_register(device, functions, id, 3);
}

/* Takes store_lock exclusive; releases it. After success no function of the callout runs or will run (W015). */
static NTSTATUS unregister_and_unlock(struct callout *callout)
{
    NTSTATUS status = STATUS_SUCCESS;
    if (!callout || !callout->registered) {
        status = STATUS_FWP_CALLOUT_NOT_FOUND;
    } else if (callout->changing) {
        status = STATUS_FWP_IN_USE;
    } else if (callout->contexts) {
        status = STATUS_DEVICE_BUSY;
    } else {
        InterlockedExchange((volatile LONG *)&callout->changing, TRUE);
        while (callout->running)
            SleepConditionVariableSRW(&idle, &store_lock, INFINITE, 0);
        if (callout->contexts) /* a classify that was running associated one */
            status = STATUS_DEVICE_BUSY;
        else
            callout->registered = FALSE;
        InterlockedExchange((volatile LONG *)&callout->changing, FALSE);
    }
    ReleaseSRWLockExclusive(&store_lock);
    if (!status)
        held_drop(HOLD_CALLOUT, callout);
    unsigned open = status ? 0 : pend_outstanding(callout);
    if (open)
        contract_broken("W183", "FwpsCalloutUnregisterById0", "callout %u was unregistered with %u pends that it has not completed, or classify handles that it has not released",
                   callout->id, open);
    return status;
}

NTSTATUS NTAPI FwpsCalloutUnregisterById0(UINT32 id)
{
    AcquireSRWLockExclusive(&store_lock);
    return unregister_and_unlock(callout_find_id(id));
}

NTSTATUS NTAPI FwpsCalloutUnregisterByKey0(const GUID *key)
{
    AcquireSRWLockExclusive(&store_lock);
    return unregister_and_unlock(key ? callout_find_key(key) : NULL);
}

/* Windows would jump into what is no longer there; here the filters of these callouts go on as without them. */
void callouts_left_by(const void *image, size_t size)
{
    AcquireSRWLockExclusive(&store_lock);
    for (struct callout *c = callouts; c; c = c->next)
        if (c->registered && (uintptr_t)c->functions.classifyFn - (uintptr_t)image < size) {
            c->registered = FALSE;
            c->functions.flowDeleteFn = NULL;
        }
    ReleaseSRWLockExclusive(&store_lock);
}

struct callout *callout_first(void)
{
    return callouts;
}

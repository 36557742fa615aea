/*
 * FwpsPendOperation0 and FwpsCompleteOperation0 (W174 to W184). A classify that may be put off has a number, the
 * completionHandle, for as long as it runs; each pend has a number of its own, the completionContext, until it is
 * completed. When several callouts put one classify off, it is resumed after the last of them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model.h"

struct pended {
    LONG open; /* contexts that are not completed, and one until pend_end */
    BOOL with_packet;
    pend_resume resume;
    void *owner;
};

struct context {
    struct context *next;
    UINT64 id;
    const struct callout *callout;
    struct pended *pended;
};

static SRWLOCK pend_lock = SRWLOCK_INIT; /* all below, and the members of struct pended */
static struct pend_point *points;
static struct context *contexts;
static UINT64 last_id = 0x10000;

void pend_begin(struct pend_point *point, UINT16 layer, BOOL reauthorize)
{
    ZeroMemory(point, sizeof *point);
    point->layer = layer;
    point->reauthorize = reauthorize;
    AcquireSRWLockExclusive(&pend_lock);
    point->id = last_id += 8;
    point->next = points;
    points = point;
    ReleaseSRWLockExclusive(&pend_lock);
}

BOOL pend_taken(const struct pend_point *point)
{
    return point->pended != NULL;
}

/* One holder less; the last one resumes. */
static void drop(struct pended *pended, BOOL with_packet)
{
    AcquireSRWLockExclusive(&pend_lock);
    pended->with_packet = pended->with_packet || with_packet;
    BOOL last = --pended->open == 0;
    ReleaseSRWLockExclusive(&pend_lock);
    if (!last)
        return;
    pended->resume(pended->owner, pended->with_packet);
    mem_free(pended);
}

void pend_end(struct pend_point *point, pend_resume resume, void *owner)
{
    AcquireSRWLockExclusive(&pend_lock);
    for (struct pend_point **at = &points; *at; at = &(*at)->next)
        if (*at == point) {
            *at = point->next;
            break;
        }
    struct pended *pended = point->pended;
    if (pended) {
        pended->resume = resume;
        pended->owner = owner;
    }
    ReleaseSRWLockExclusive(&pend_lock);
    if (pended)
        drop(pended, FALSE);
}

void pend_check_answer(const struct pend_point *point, unsigned before, const FWPS_CLASSIFY_OUT0 *out)
{
    struct origin where = origin_of_function(point->caller ? point->caller->functions.classifyFn : NULL);
    if (point->pends != before && (out->actionType != ACTION_BLOCK || !(out->flags & OUT_FLAG_ABSORB)))
        contract_broken_at("W178", "classifyFn", &where, "at layer %u it pended the operation and answered action 0x%x, flags 0x%x: BLOCK with ABSORB is wanted then", point->layer,
                           out->actionType, out->flags);
}

unsigned pend_outstanding(const struct callout *callout)
{
    unsigned count = 0;
    AcquireSRWLockShared(&pend_lock);
    for (struct context *c = contexts; c; c = c->next)
        count += !callout || c->callout == callout;
    ReleaseSRWLockShared(&pend_lock);
    return count + context_outstanding(callout);
}

NTSTATUS NTAPI FwpsPendOperation0(HANDLE completion_handle, HANDLE *completion_context)
{
    NTSTATUS status = STATUS_SUCCESS;
    if (!completion_handle || !completion_context)
        return STATUS_FWP_NULL_POINTER;
    if (!wire.up)
        return STATUS_FWP_TCPIP_NOT_READY;
    struct context *made = mem_alloc(sizeof *made);
    AcquireSRWLockExclusive(&pend_lock);
    struct pend_point *point = points;
    while (point && point->id != (UINT64)(uintptr_t)completion_handle)
        point = point->next;
    if (!point) {
        status = STATUS_INVALID_PARAMETER;
    } else if (point->reauthorize) {
        status = STATUS_FWP_CANNOT_PEND;
    } else {
        if (!point->pended) {
            point->pended = mem_alloc(sizeof *point->pended);
            point->pended->open = 1;
        }
        point->pended->open++;
        point->pends++;
        made->pended = point->pended;
        made->callout = point->caller;
        made->id = last_id += 8;
        made->next = contexts;
        contexts = made;
        *completion_context = (HANDLE)(uintptr_t)made->id;
    }
    ReleaseSRWLockExclusive(&pend_lock);
    if (!point)
        contract_broken("W174", "FwpsPendOperation0", "0x%llx is no completion handle of a classify in progress: the one of its metadata is wanted",
                        (UINT64)(uintptr_t)completion_handle);
    if (status)
        mem_free(made);
    else
        held_add(HOLD_PENDED, *completion_context, 0, 0);
    return status;
}

void NTAPI FwpsCompleteOperation0(HANDLE completion_context, NET_BUFFER_LIST *nbl)
{
    struct context *found = NULL;
    AcquireSRWLockExclusive(&pend_lock);
    for (struct context **at = &contexts; *at; at = &(*at)->next)
        if ((*at)->id == (UINT64)(uintptr_t)completion_context) {
            found = *at;
            *at = found->next;
            break;
        }
    ReleaseSRWLockExclusive(&pend_lock);
    if (!found) {
        contract_broken("W183", "FwpsCompleteOperation0", "0x%llx is no completion context, or was completed before: each is completed once",
                        (UINT64)(uintptr_t)completion_context);
        return;
    }
    held_drop(HOLD_PENDED, completion_context);
    struct pended *pended = found->pended;
    mem_free(found);
    drop(pended, nbl != NULL);
}

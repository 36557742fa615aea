/*
 * Classify handles, FwpsPendClassify0 and FwpsCompleteClassify0 (W128, W164 to W173). A handle is the number of a
 * classify's context; the context lives as long as the classify, a pend or an acquired handle does.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "model.h"

static SRWLOCK handle_lock = SRWLOCK_INIT; /* all below, and handles, references, state of the contexts */
static struct classify_context *contexts;
static UINT64 last_id = 0x100000;

struct classify_context *context_new(UINT16 layer)
{
    struct classify_context *context = mem_alloc(sizeof *context);
    context->references = 1;
    context->layer = layer;
    AcquireSRWLockExclusive(&handle_lock);
    context->id = last_id += 8;
    context->next = contexts;
    contexts = context;
    ReleaseSRWLockExclusive(&handle_lock);
    return context;
}

/* By handle_lock. */
static struct classify_context *find(UINT64 id)
{
    struct classify_context *context = contexts;
    while (context && context->id != id)
        context = context->next;
    return context;
}

struct classify_context *context_of_handle(UINT64 handle)
{
    AcquireSRWLockShared(&handle_lock);
    struct classify_context *context = find(handle);
    ReleaseSRWLockShared(&handle_lock);
    return context;
}

void context_check_released(const struct classify_context *context, const struct layer_fact *layer)
{
    struct origin made = {0};
    void *handle = (void *)(uintptr_t)context->id;
    if (!context->handles || context->was_pended) /* else it is still being released (W169) */
        return;
    held_find(HOLD_CLASSIFY, handle, &made, NULL);
    contract_broken_at("W128", "FwpsAcquireClassifyHandle0", &made, "%ld classify handle(s) were not released when the classify at %s was over: each needs one FwpsReleaseClassifyHandle0",
                       context->handles, layer->name);
    while (held_drop(HOLD_CLASSIFY, handle))
        ;
}

void context_release(struct classify_context *context)
{
    AcquireSRWLockExclusive(&handle_lock);
    BOOL last = --context->references == 0;
    for (struct classify_context **at = &contexts; last && *at; at = &(*at)->next)
        if (*at == context) {
            *at = context->next;
            break;
        }
    ReleaseSRWLockExclusive(&handle_lock);
    if (last) {
        mem_free(context->suspended);
        mem_free(context);
    }
}

unsigned context_outstanding(const struct callout *callout)
{
    unsigned count = 0;
    AcquireSRWLockShared(&handle_lock);
    for (struct classify_context *c = contexts; c; c = c->next)
        count += (c->handles > 0 || c->state == CLASSIFY_PENDED) && (!callout || c->holder == callout);
    ReleaseSRWLockShared(&handle_lock);
    return count;
}

BOOL context_pended(struct classify_context *context, classify_resume resume, void *owner)
{
    AcquireSRWLockExclusive(&handle_lock);
    BOOL pended = context->state != CLASSIFY_NOW;
    BOOL answered = context->state == CLASSIFY_ANSWERED || context->state == CLASSIFY_AGAIN;
    if (pended) {
        context->resume = resume;
        context->owner = owner;
        context->put_aside = TRUE;
    }
    ReleaseSRWLockExclusive(&handle_lock);
    if (answered)
        resume(context, owner);
    return pended;
}

NTSTATUS NTAPI FwpsAcquireClassifyHandle0(void *classify_context, UINT32 flags, UINT64 *handle)
{
    struct classify_context *context = classify_context;
    if (!handle || !context)
        return STATUS_INVALID_PARAMETER;
    if (flags)
        contract_broken("W128", "FwpsAcquireClassifyHandle0", "the flags are 0x%x: they are reserved, 0 is wanted", flags);
    AcquireSRWLockExclusive(&handle_lock);
    struct classify_context *c = contexts;
    while (c && c != context)
        c = c->next;
    if (c) {
        c->handles++;
        c->references++;
        c->holder = c->caller ? c->caller : c->holder;
        *handle = c->id;
    }
    ReleaseSRWLockExclusive(&handle_lock);
    if (!c)
        contract_broken("W128", "FwpsAcquireClassifyHandle0", "the classifyContext is of no classify in progress: the one that classifyFn was given is wanted");
    else
        held_add(HOLD_CLASSIFY, (void *)(uintptr_t)*handle, 0, 0);
    return c ? STATUS_SUCCESS : STATUS_INVALID_PARAMETER;
}

void NTAPI FwpsReleaseClassifyHandle0(UINT64 handle)
{
    AcquireSRWLockExclusive(&handle_lock);
    struct classify_context *context = find(handle);
    BOOL held = context && context->handles > 0;
    if (held)
        context->handles--;
    ReleaseSRWLockExclusive(&handle_lock);
    if (held) {
        held_drop(HOLD_CLASSIFY, (void *)(uintptr_t)handle);
        context_release(context);
    } else {
        contract_broken("W128", "FwpsReleaseClassifyHandle0", "0x%llx is no classify handle, or was released as often as it was acquired", handle);
    }
}

/* The layers of FwpsPendClassify0 (W164). */
static BOOL can_pend(UINT16 layer)
{
    static const UINT16 layers[] = {64, 65, LAYER_ALE_CONNECT_REDIRECT_V4, LAYER_ALE_CONNECT_REDIRECT_V6,
                                    LAYER_ALE_BIND_REDIRECT_V4, LAYER_ALE_BIND_REDIRECT_V6};
    for (unsigned i = 0; i < sizeof layers / sizeof layers[0]; i++)
        if (layers[i] == layer)
            return TRUE;
    return FALSE;
}

NTSTATUS NTAPI FwpsPendClassify0(UINT64 handle, UINT64 filter_id, UINT32 flags, FWPS_CLASSIFY_OUT0 *out)
{
    NTSTATUS status = STATUS_INVALID_PARAMETER;
    AcquireSRWLockExclusive(&handle_lock);
    struct classify_context *context = find(handle);
    BOOL running = context && context->handles > 0 && context->caller && context->state == CLASSIFY_NOW;
    BOOL other_filter = running && filter_id != context->caller_filter;
    if (running && !can_pend(context->layer)) {
        status = STATUS_FWP_CANNOT_PEND;
    } else if (running && out && !other_filter) {
        context->state = CLASSIFY_PENDED;
        context->references++; /* until it is completed (W165) */
        context->was_pended = TRUE;
        context->classify_out = out;
        status = STATUS_SUCCESS;
    }
    ReleaseSRWLockExclusive(&handle_lock);
    if (flags)
        contract_broken("W164", "FwpsPendClassify0", "the flags are 0x%x: they are reserved, 0 is wanted", flags);
    if (!running)
        contract_broken("W173", "FwpsPendClassify0", "0x%llx is no handle of a classify in progress that is not pended yet", handle);
    else if (other_filter)
        contract_broken("W164", "FwpsPendClassify0", "the filter id is %llu: the filterId of the filter that classifyFn was called for is wanted", filter_id);
    if (!status)
        held_add(HOLD_PENDED_CLASSIFY, (void *)(uintptr_t)handle, 0, 0);
    return status;
}

void NTAPI FwpsCompleteClassify0(UINT64 handle, UINT32 flags, const FWPS_CLASSIFY_OUT0 *out)
{
    AcquireSRWLockExclusive(&handle_lock);
    struct classify_context *context = find(handle);
    BOOL pended = context && context->state == CLASSIFY_PENDED, aside = FALSE, shallow = FALSE;
    if (pended) {
        shallow = out && out == context->classify_out;
        context->state = out ? CLASSIFY_ANSWERED : CLASSIFY_AGAIN;
        if (out)
            context->answer = *out;
        aside = context->put_aside;
    }
    ReleaseSRWLockExclusive(&handle_lock);
    if (flags)
        contract_broken("W167", "FwpsCompleteClassify0", "the flags are 0x%x: they are reserved, 0 is wanted", flags);
    if (!pended) {
        contract_broken("W173", "FwpsCompleteClassify0", "0x%llx is no pended classify, or was completed before: each is completed once", handle);
        return;
    }
    held_drop(HOLD_PENDED_CLASSIFY, (void *)(uintptr_t)handle);
    if (shallow)
        contract_broken("W168", "FwpsCompleteClassify0", "the classifyOut is the one that classifyFn was given: a copy of it is wanted");
    if (aside)
        context->resume(context, context->owner);
    context_release(context);
}

/*
 * Filter arbitration at one layer (W090 to W114): sublayers from the heaviest down, in each the matching filters from
 * the heaviest down until one decides; a hard decision can only be changed by a callout's veto.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "store.h"

enum { POISON_CONTEXT = 0x5afe5afe, VIEW_CLEAR_ACTION_RIGHT = 1, VIEW_PERMIT_IF_UNREGISTERED = 2 };

struct outcome {
    UINT32 action; /* ACTION_CONTINUE = the filter did not decide */
    BOOL hard, from_callout, absorb;
};

BOOL layer_has_filters(UINT16 layer)
{
    BOOL found = FALSE;
    AcquireSRWLockShared(&store_lock);
    for (struct filter *f = filters; f && !found; f = f->next)
        found = f->layer->id == layer && !f->added_in;
    ReleaseSRWLockShared(&store_lock);
    return found;
}

static unsigned gather(const struct classification *what, const FWPS_INCOMING_VALUES0 *values, struct filter ***out)
{
    unsigned count = 0, room = 0;
    struct filter **list = NULL;
    AcquireSRWLockShared(&store_lock);
    for (struct filter *f = filters; f; f = f->next)
        room += f->layer == what->layer && !f->added_in;
    if (room)
        list = mem_alloc(room * sizeof *list);
    for (struct filter *f = filters; f; f = f->next) {
        if (f->layer != what->layer || f->added_in || !conditions_match(f, values))
            continue;
        InterlockedIncrement(&f->references);
        list[count++] = f;
    }
    ReleaseSRWLockShared(&store_lock);
    *out = list;
    return count;
}

static void call_classify(struct callout *callout, struct filter *filter, const struct classification *what,
                          const FWPS_INCOMING_VALUES0 *values, UINT64 flow_context, FWPS_CLASSIFY_OUT0 *out)
{
    UINT32 before = irql_enter(what->irql);
    COUNT(classifies);
    if (callout->version == 0) {
        if (what->context)
            model_lint("callout %u at redirect layer %s was registered with FwpsCalloutRegister0", callout->id, what->layer->name);
        CLASSIFY_FN0 function = (CLASSIFY_FN0)(uintptr_t)callout->functions.classifyFn;
        function(values, &what->metadata, what->layer_data, &filter->view, flow_context, out);
    } else {
        CLASSIFY_FN1 function = (CLASSIFY_FN1)(uintptr_t)callout->functions.classifyFn;
        function(values, &what->metadata, what->layer_data, what->context, &filter->view, flow_context, out);
    }
    irql_leave(before, what->irql, "classifyFn");
}

/* Asks the callout of one filter. */
static struct outcome ask_callout(struct filter *filter, const struct classification *what,
                                  const FWPS_INCOMING_VALUES0 *values, UINT32 action_now, BOOL may_write)
{
    struct outcome outcome = {ACTION_CONTINUE, FALSE, TRUE, FALSE};
    UINT32 kind = filter->view.action.type;
    struct callout *callout = filter->callout;
    if (!callout_enter(callout)) {
        if (kind != ACTION_CALLOUT_INSPECTION) { /* W007 to W009 */
            BOOL pass = filter->view.flags & VIEW_PERMIT_IF_UNREGISTERED;
            outcome.action = pass ? ACTION_PERMIT : ACTION_BLOCK;
            outcome.hard = !pass;
            outcome.from_callout = FALSE;
        }
        return outcome;
    }
    struct flow_context *context = what->flow ? flow_context_use(what->flow, what->layer->id, callout) : NULL;
    if ((callout->functions.flags & CALLOUT_CONDITIONAL_ON_FLOW) && !context) {
        callout_leave(callout);
        return outcome;
    }
    FWPS_CLASSIFY_OUT0 out = {
        .actionType = action_now,
        .outContext = POISON_CONTEXT,
        .filterId = filter->view.filterId,
        .rights = may_write ? RIGHT_ACTION_WRITE : 0,
        .reserved = POISON_CONTEXT,
    };
    NET_BUFFER *nb = what->nbl ? what->nbl->FirstNetBuffer : NULL;
    ULONG offset = nb ? nb->DataOffset : 0, length = nb ? nb->DataLength : 0;
    call_classify(callout, filter, what, values, context ? context->value : 0, &out);
    if (nb && (nb->DataOffset != offset || nb->DataLength != length)) {
        model_lint("callout %u left the packet's data offset changed at %s", callout->id, what->layer->name);
        nb_set(nb, offset, length);
    }
    if (out.outContext != POISON_CONTEXT || out.filterId != filter->view.filterId || out.reserved != POISON_CONTEXT)
        model_lint("callout %u wrote a reserved member of classifyOut at %s", callout->id, what->layer->name);
    if (context)
        flow_context_done(what->flow, context);
    callout_leave(callout);

    if (kind == ACTION_CALLOUT_INSPECTION) /* W104 */
        return outcome;
    if (out.actionType == ACTION_PERMIT || out.actionType == ACTION_BLOCK)
        outcome.action = out.actionType;
    else if (kind == ACTION_CALLOUT_TERMINATING) /* W105 */
        outcome.action = may_write ? ACTION_BLOCK : ACTION_CONTINUE;
    outcome.hard = !(out.rights & RIGHT_ACTION_WRITE);
    outcome.absorb = outcome.action == ACTION_BLOCK && (out.flags & OUT_FLAG_ABSORB);
    return outcome;
}

static struct outcome evaluate(struct filter *filter, const struct classification *what, const FWPS_INCOMING_VALUES0 *values,
                               UINT32 action_now, BOOL may_write)
{
    struct outcome outcome = {filter->view.action.type, FALSE, FALSE, FALSE};
    if (outcome.action == ACTION_PERMIT)
        outcome.hard = (filter->view.flags & VIEW_CLEAR_ACTION_RIGHT) != 0;
    else if (outcome.action == ACTION_BLOCK)
        outcome.hard = TRUE;
    else
        outcome = ask_callout(filter, what, values, action_now, may_write);
    return outcome;
}

struct verdict classify(struct classification *what)
{
    struct verdict verdict = {TRUE, FALSE, FALSE, 0};
    FWPS_INCOMING_VALUES0 values = {what->layer->id, what->layer->field_count, what->values};
    struct filter **matching;
    unsigned count = gather(what, &values, &matching);
    BOOL may_write = TRUE;
    UINT32 action_now = ACTION_CONTINUE;
    for (unsigned i = 0; i < count;) {
        struct sublayer *sublayer = matching[i]->sublayer;
        BOOL decided = FALSE;
        for (; i < count && matching[i]->sublayer == sublayer; i++) {
            if (decided)
                continue;
            struct outcome outcome = evaluate(matching[i], what, &values, action_now, may_write);
            if (outcome.action == ACTION_CONTINUE)
                continue;
            decided = TRUE;
            BOOL veto = !may_write && outcome.from_callout && outcome.action == ACTION_BLOCK && action_now == ACTION_PERMIT;
            if (!may_write && !veto)
                continue;
            verdict.permit = outcome.action == ACTION_PERMIT;
            verdict.absorb = outcome.absorb;
            verdict.veto = verdict.veto || veto;
            verdict.filter_id = matching[i]->view.filterId;
            action_now = outcome.action;
            may_write = may_write && !outcome.hard;
        }
    }
    for (unsigned i = 0; i < count; i++)
        filter_release(matching[i]);
    mem_free(matching);
    return verdict;
}

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

/* The filters of one layer in the order in which they are visited; never changed, only replaced. */
struct layer_filters {
    unsigned count;
    struct filter *filter[];
};
enum { LAYERS_MAX = 128 };
static struct layer_filters *volatile published[LAYERS_MAX]; /* written by store_lock, read inside a read (readers.c) */

static BOOL is_visible(const struct filter *f, const struct session *committing)
{
    return committing ? VISIBLE(committing, f) : !f->added_in;
}

void filters_publish(struct session *committing)
{
    unsigned counts[LAYERS_MAX] = {0};
    struct layer_filters *made[LAYERS_MAX] = {0};
    for (struct filter *f = filters; f; f = f->next)
        if (is_visible(f, committing))
            counts[f->layer->id]++;
    for (struct filter *f = filters; f; f = f->next) {
        unsigned layer = f->layer->id;
        if (!is_visible(f, committing))
            continue;
        if (!made[layer])
            made[layer] = mem_alloc(sizeof *made[layer] + counts[layer] * sizeof made[layer]->filter[0]);
        made[layer]->filter[made[layer]->count++] = f;
    }
    for (unsigned i = 0; i < LAYERS_MAX; i++) {
        struct layer_filters *old = published[i];
        if (old && made[i] && old->count == made[i]->count &&
            !memcmp(old->filter, made[i]->filter, old->count * sizeof old->filter[0])) {
            mem_free(made[i]);
            continue;
        }
        InterlockedExchangePointer((void *volatile *)&published[i], made[i]);
        if (old)
            retire(old, mem_free);
    }
}

BOOL layer_has_filters(UINT16 layer)
{
    return layer < LAYERS_MAX && published[layer];
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

static void decide(struct classification *what, const FWPS_INCOMING_VALUES0 *values, const struct layer_filters *list,
                   struct verdict *verdict)
{
    BOOL may_write = TRUE, decided = FALSE;
    UINT32 action_now = ACTION_CONTINUE;
    const struct sublayer *sublayer = NULL;
    for (unsigned i = 0; i < list->count; i++) {
        struct filter *filter = list->filter[i];
        if (filter->sublayer != sublayer) {
            sublayer = filter->sublayer;
            decided = FALSE;
        }
        if (decided || !conditions_match(filter, values))
            continue;
        struct outcome outcome = evaluate(filter, what, values, action_now, may_write);
        if (outcome.action == ACTION_CONTINUE)
            continue;
        decided = TRUE;
        BOOL veto = !may_write && outcome.from_callout && outcome.action == ACTION_BLOCK && action_now == ACTION_PERMIT;
        if (!may_write && !veto)
            continue;
        verdict->permit = outcome.action == ACTION_PERMIT;
        verdict->absorb = outcome.absorb;
        verdict->veto = verdict->veto || veto;
        verdict->filter_id = filter->view.filterId;
        action_now = outcome.action;
        may_write = may_write && !outcome.hard;
    }
}

struct verdict classify(struct classification *what)
{
    struct verdict verdict = {TRUE, FALSE, FALSE, 0};
    FWPS_INCOMING_VALUES0 values = {what->layer->id, what->layer->field_count, what->values};
    struct thread *thread = thread_now();
    read_begin(thread);
    const struct layer_filters *list = published[what->layer->id];
    if (list)
        decide(what, &values, list, &verdict);
    read_end(thread);
    return verdict;
}

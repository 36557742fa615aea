/*
 * Filter arbitration at one layer (W090 to W114): sublayers from the heaviest down, in each the matching filters from
 * the heaviest down until one decides; a hard decision can only be changed by a callout's veto.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "conduct.h"
#include "store.h"

enum { POISON_CONTEXT = 0x5afe5afe, VIEW_CLEAR_ACTION_RIGHT = 1, VIEW_PERMIT_IF_UNREGISTERED = 2 };

struct outcome {
    UINT32 action; /* ACTION_CONTINUE = the filter did not decide */
    BOOL hard, from_callout, absorb;
};

struct arbitration { /* of one classify; where it stands outlives it when a callout pends it */
    BOOL may_write, decided; /* decided: the sublayer of the filter visited last */
    UINT32 action_now;
    struct verdict verdict;
    const struct sublayer *sublayer; /* of the filter visited last; may be gone: only compared */
    UINT16 sublayer_weight;
    UINT64 weight, filter_id; /* of the filter that is pended */
    UINT32 kind;
};

/* The filters of one layer in the order in which they are visited; never changed, only replaced. */
struct layer_filters {
    unsigned count;
    struct filter *filter[];
};
enum { LAYERS_MAX = 128 };
volatile LONG filters_generation;
static struct layer_filters *volatile published[LAYERS_MAX]; /* written by store_lock, read inside a read (readers.c) */

static BOOL is_visible(const struct filter *f, const struct session *committing)
{
    return !f->dormant && (committing ? VISIBLE(committing, f) : !f->added_in);
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
        if (!old && !made[i])
            continue;
        if (old && made[i] && old->count == made[i]->count &&
            !memcmp(old->filter, made[i]->filter, old->count * sizeof old->filter[0])) {
            mem_free(made[i]);
            continue;
        }
        InterlockedExchangePointer((void *volatile *)&published[i], made[i]);
        policy_changed((UINT16)i);
        InterlockedIncrement(&filters_generation);
        if (old)
            retire(old, mem_free);
    }
}

BOOL layer_has_filters(UINT16 layer)
{
    return layer < LAYERS_MAX && published[layer];
}

unsigned classify_gather(const struct classification *what, struct filter ***out, GUID **sublayers)
{
    FWPS_INCOMING_VALUES0 values = {what->layer->id, what->layer->field_count, what->values};
    unsigned count = 0;
    AcquireSRWLockShared(&store_lock); /* for the sublayers */
    const struct layer_filters *list = published[what->layer->id];
    unsigned room = list ? list->count : 0;
    *out = mem_alloc((room + 1) * sizeof **out);
    *sublayers = mem_alloc((room + 1) * sizeof **sublayers);
    for (unsigned i = 0; i < room; i++) {
        struct filter *filter = list->filter[i];
        if (!conditions_match(filter, &values))
            continue;
        InterlockedIncrement(&filter->references);
        (*out)[count] = filter;
        (*sublayers)[count++] = filter->sublayer->key;
    }
    ReleaseSRWLockShared(&store_lock);
    return count;
}

static void call_classify(struct callout *callout, struct filter *filter, const struct classification *what,
                          const FWPS_INCOMING_VALUES0 *values, UINT64 flow_context, FWPS_CLASSIFY_OUT0 *out)
{
    struct origin where = origin_of_function(callout->functions.classifyFn);
    UINT32 before = irql_enter(what->irql);
    struct thread *thread = thread_now();
    thread->classify = what;
    thread->knows_own = thread->means_to_modify = FALSE;
    COUNT(classifies);
    if (callout->version == 0) {
        if (what->context && what->context->request)
            contract_broken_at("W005", "FwpsCalloutRegister0", &where, "a callout at %s was registered with it: FwpsCalloutRegister1 or later is wanted, whose classifyFn gets a classifyContext", what->layer->name);
        CLASSIFY_FN0 function = (CLASSIFY_FN0)(uintptr_t)callout->functions.classifyFn;
        function(values, &what->metadata, what->layer_data, &filter->view, flow_context, out);
    } else {
        CLASSIFY_FN1 function = (CLASSIFY_FN1)(uintptr_t)callout->functions.classifyFn;
        function(values, &what->metadata, what->layer_data, what->context, &filter->view, flow_context, out);
    }
    thread->classify = NULL;
    if (thread->knows_own && out->actionType == ACTION_BLOCK) /* W258 */
        contract_broken_at("W258", "classifyFn", &where, "at %s it blocked a packet that FwpsQueryPacketInjectionState0 called its own: PERMIT or CONTINUE is wanted", what->layer->name);
    if (thread->means_to_modify && !(out->actionType == ACTION_BLOCK && (out->flags & OUT_FLAG_ABSORB) && !(out->rights & RIGHT_ACTION_WRITE)))
        contract_broken_at("W268", "classifyFn", &where, "at %s it referenced the packet to modify it and answered action 0x%x, flags 0x%x, rights 0x%x: BLOCK with ABSORB and without FWPS_RIGHT_ACTION_WRITE is wanted",
                           what->layer->name, out->actionType, out->flags, out->rights);
    irql_leave(before, what->irql, "classifyFn", callout->functions.classifyFn);
}

/* What a callout's answer to a filter of this kind amounts to. */
static struct outcome read_answer(UINT32 kind, const FWPS_CLASSIFY_OUT0 *out, BOOL may_write)
{
    struct outcome outcome = {ACTION_CONTINUE, FALSE, TRUE, FALSE};
    if (kind == ACTION_CALLOUT_INSPECTION) /* W104 */
        return outcome;
    if (out->actionType == ACTION_PERMIT || out->actionType == ACTION_BLOCK)
        outcome.action = out->actionType;
    else if (kind == ACTION_CALLOUT_TERMINATING) /* W105 */
        outcome.action = may_write ? ACTION_BLOCK : ACTION_CONTINUE;
    outcome.hard = !(out->rights & RIGHT_ACTION_WRITE);
    outcome.absorb = outcome.action == ACTION_BLOCK && (out->flags & OUT_FLAG_ABSORB);
    return outcome;
}

/* Says who is asked, for what a callout may pend; NULL after it has answered. */
static void say_who(const struct classification *what, struct callout *callout, const struct filter *filter)
{
    if (what->context) {
        what->context->caller = callout;
        what->context->caller_filter = filter ? filter->view.filterId : 0;
    }
    if (what->pend && callout)
        what->pend->caller = callout;
}

static void check_pends(const struct classification *what, unsigned pends, const struct callout *callout, const FWPS_CLASSIFY_OUT0 *out)
{
    struct origin where = origin_of_function(callout->functions.classifyFn);
    if (what->pend)
        pend_check_answer(what->pend, pends, out);
    if (what->context && what->context->state != CLASSIFY_NOW &&
        (out->actionType != ACTION_BLOCK || (out->rights & RIGHT_ACTION_WRITE)))
        contract_broken_at("W166", "classifyFn", &where, "at %s it pended the classify and did not answer BLOCK with FWPS_RIGHT_ACTION_WRITE cleared, which is wanted then", what->layer->name);
}

enum asked classify_ask(struct filter *filter, const struct classification *what, UINT32 action_now, BOOL may_write,
                        UINT32 flags, FWPS_CLASSIFY_OUT0 *out)
{
    FWPS_INCOMING_VALUES0 values = {what->layer->id, what->layer->field_count, what->values};
    struct callout *callout = filter->callout;
    if (!callout_enter(callout))
        return ASKED_NOBODY;
    struct flow_context *context = what->flow ? flow_context_use(what->flow, what->layer->id, callout) : NULL;
    if ((callout->functions.flags & CALLOUT_CONDITIONAL_ON_FLOW) && !context) {
        callout_leave(callout);
        return ASKED_NOT;
    }
    *out = (FWPS_CLASSIFY_OUT0){
        .actionType = action_now,
        .outContext = POISON_CONTEXT,
        .filterId = filter->view.filterId,
        .rights = may_write ? RIGHT_ACTION_WRITE : 0,
        .flags = flags,
        .reserved = POISON_CONTEXT,
    };
    struct conduct conduct;
    unsigned pends = what->pend ? what->pend->pends : 0;
    say_who(what, callout, filter);
    conduct_begin(&conduct, what, callout, filter, out);
    call_classify(callout, filter, what, &values, context ? context->value : 0, out);
    conduct_end(&conduct, out);
    say_who(what, NULL, NULL);
    check_pends(what, pends, callout, out);
    if (context)
        flow_context_done(what->flow, context);
    callout_leave(callout);
    return ASKED;
}

/* Asks the callout of one filter. */
static struct outcome ask_callout(struct filter *filter, const struct classification *what, UINT32 action_now, BOOL may_write)
{
    struct outcome outcome = {ACTION_CONTINUE, FALSE, TRUE, FALSE};
    UINT32 kind = filter->view.action.type;
    FWPS_CLASSIFY_OUT0 out;
    switch (classify_ask(filter, what, action_now, may_write, 0, &out)) {
    case ASKED:
        return read_answer(kind, &out, may_write);
    case ASKED_NOBODY:
        if (kind != ACTION_CALLOUT_INSPECTION) { /* W007 to W009 */
            BOOL pass = filter->view.flags & VIEW_PERMIT_IF_UNREGISTERED;
            outcome.action = pass ? ACTION_PERMIT : ACTION_BLOCK;
            outcome.hard = !pass;
            outcome.from_callout = FALSE;
        }
        return outcome;
    default:
        return outcome;
    }
}

static struct outcome evaluate(struct filter *filter, const struct classification *what, UINT32 action_now, BOOL may_write)
{
    struct outcome outcome = {filter->view.action.type, FALSE, FALSE, FALSE};
    if (outcome.action == ACTION_PERMIT)
        outcome.hard = (filter->view.flags & VIEW_CLEAR_ACTION_RIGHT) != 0;
    else if (outcome.action == ACTION_BLOCK)
        outcome.hard = TRUE;
    else
        outcome = ask_callout(filter, what, action_now, may_write);
    return outcome;
}

static void take(struct arbitration *a, const struct outcome *outcome, UINT64 filter_id)
{
    if (outcome->action == ACTION_CONTINUE)
        return;
    a->decided = TRUE;
    BOOL veto = !a->may_write && outcome->from_callout && outcome->action == ACTION_BLOCK && a->action_now == ACTION_PERMIT;
    if (!a->may_write && !veto)
        return;
    a->verdict.permit = outcome->action == ACTION_PERMIT;
    a->verdict.absorb = outcome->absorb;
    a->verdict.veto = a->verdict.veto || veto;
    a->verdict.filter_id = filter_id;
    a->action_now = outcome->action;
    a->may_write = a->may_write && !outcome->hard;
}

/* TRUE when the filter's callout has pended the classify, which stops here: the filters behind it are asked later. */
static BOOL suspend(struct classification *what, const struct arbitration *a, const struct filter *filter)
{
    if (!what->context || what->context->state == CLASSIFY_NOW)
        return FALSE;
    struct arbitration *kept = mem_alloc(sizeof *kept);
    *kept = *a;
    kept->sublayer_weight = filter->view.subLayerWeight;
    kept->weight = filter->weight;
    kept->filter_id = filter->view.filterId;
    kept->kind = filter->view.action.type;
    what->context->suspended = kept;
    return TRUE;
}

/* Whether a filter comes before the one that was pended, in the order of the list, whatever else has changed in it. */
static BOOL is_before(const struct filter *filter, const struct arbitration *a)
{
    if (filter->view.subLayerWeight != a->sublayer_weight)
        return filter->view.subLayerWeight > a->sublayer_weight;
    if (filter->sublayer != a->sublayer)
        return (uintptr_t)filter->sublayer > (uintptr_t)a->sublayer;
    return filter->weight > a->weight;
}

/* Where to go on: at the pended filter when it is to be asked again, else behind it (W167). */
static unsigned go_on_at(const struct classify_context *context, const struct layer_filters *list, const struct arbitration *a)
{
    for (unsigned i = 0; i < list->count; i++)
        if (list->filter[i]->view.filterId == a->filter_id)
            return context->state == CLASSIFY_ANSWERED ? i + 1 : i;
    unsigned i = 0;
    while (i < list->count && is_before(list->filter[i], a))
        i++;
    return i;
}

/* FALSE: pended. */
static BOOL decide(struct classification *what, const FWPS_INCOMING_VALUES0 *values, const struct layer_filters *list,
                   unsigned first, struct arbitration *a)
{
    for (unsigned i = first; i < list->count; i++) {
        struct filter *filter = list->filter[i];
        if (filter->sublayer != a->sublayer) {
            a->sublayer = filter->sublayer;
            a->decided = FALSE;
        }
        if (a->decided || !conditions_match(filter, values))
            continue;
        struct outcome outcome = evaluate(filter, what, a->action_now, a->may_write);
        if (suspend(what, a, filter))
            return FALSE;
        take(a, &outcome, filter->view.filterId);
    }
    return TRUE;
}

/* The callout that redirected asynchronously is asked again when somebody else changed the request since (W170). */
static BOOL ask_again(struct classification *what, const struct layer_filters *list, struct arbitration *a)
{
    struct classify_context *context = what->context;
    UINT64 watch = context ? context->watch_filter : 0;
    if (!watch || !context->modified || context->request->modifierFilterId == watch)
        return TRUE;
    context->watch_filter = 0;
    for (unsigned i = 0; i < list->count; i++)
        if (list->filter[i]->view.filterId == watch) {
            a->sublayer = list->filter[i]->sublayer;
            struct outcome outcome = evaluate(list->filter[i], what, a->action_now, a->may_write);
            if (suspend(what, a, list->filter[i]))
                return FALSE;
            take(a, &outcome, watch);
        }
    return TRUE;
}

/* Goes on with a classify that was pended, with the answer that its callout gave or by asking again. */
static unsigned resume(struct classification *what, const struct layer_filters *list, struct arbitration *a)
{
    struct classify_context *context = what->context;
    struct arbitration *kept = context->suspended;
    unsigned first = go_on_at(context, list, kept);
    *a = *kept;
    mem_free(kept);
    context->suspended = NULL;
    if (context->state == CLASSIFY_ANSWERED) {
        struct outcome outcome = read_answer(a->kind, &context->answer, a->may_write);
        take(a, &outcome, a->filter_id);
    }
    context->put_aside = FALSE;
    context->state = CLASSIFY_NOW;
    return first;
}

struct verdict classify(struct classification *what)
{
    static const struct layer_filters none;
    static const struct verdict pended = {FALSE, TRUE, FALSE, 0};
    struct arbitration a = {.may_write = TRUE, .action_now = ACTION_CONTINUE, .verdict.permit = TRUE};
    FWPS_INCOMING_VALUES0 values = {what->layer->id, what->layer->field_count, what->values};
    struct thread *thread = thread_now();
    read_begin(thread);
    const struct layer_filters *list = published[what->layer->id];
    if (!list)
        list = &none;
    unsigned first = what->context && what->context->suspended ? resume(what, list, &a) : 0;
    BOOL done = decide(what, &values, list, first, &a) && ask_again(what, list, &a);
    read_end(thread);
    return done ? a.verdict : pended;
}

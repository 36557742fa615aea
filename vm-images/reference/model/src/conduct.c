/*
 * What one classifyFn does, from its call to its return: what it asked, referenced and injected, and whether its answer
 * is one that it may give.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "conduct.h"

enum { VIEW_CLEAR_ACTION_RIGHT = 1, STATE_BY_SELF = 1, STATE_BY_SELF_BEFORE = 3 };

struct conduct *conduct_now(void)
{
    return thread_now()->conduct;
}

void conduct_begin(struct conduct *c, const struct classification *what, const struct callout *callout,
                   const struct filter *filter, const FWPS_CLASSIFY_OUT0 *out)
{
    struct thread *thread = thread_now();
    memset(c, 0, sizeof *c);
    c->outer = thread->conduct;
    c->what = what;
    c->callout = callout;
    c->filter = filter;
    c->entry = *out;
    c->regions = thread->regions;
    if (what->nbl && what->nbl->FirstNetBuffer) {
        c->offset = what->nbl->FirstNetBuffer->DataOffset;
        c->length = what->nbl->FirstNetBuffer->DataLength;
    }
    struct nbl_block *block = nbl_block_of(what->nbl);
    if (block)
        InterlockedIncrement(&block->shown);
    thread->conduct = c;
}

static const char *action_name(UINT32 action)
{
    switch (action) {
    case ACTION_BLOCK: return "BLOCK";
    case ACTION_PERMIT: return "PERMIT";
    case ACTION_CONTINUE: return "CONTINUE";
    case ACTION_NONE: return "NONE";
    default: return "no known action";
    }
}

static BOOL is_stream(const struct layer_fact *layer)
{
    return layer_v4(layer->id) == LAYER_STREAM_V4;
}

#define BROKEN(rule, ...) contract_broken_at(rule, "classifyFn", &where, __VA_ARGS__)

/* W101: without the right to write, the action may only be changed to veto a PERMIT. */
static void check_answer(const struct conduct *c, const FWPS_CLASSIFY_OUT0 *out)
{
    const char *layer = c->what->layer->name;
    struct origin where = origin_of_function(c->callout->functions.classifyFn);
    UINT32 kind = c->filter->view.action.type;
    BOOL cleared = !(out->rights & RIGHT_ACTION_WRITE), hard_permit = (c->filter->view.flags & VIEW_CLEAR_ACTION_RIGHT) != 0;
    if (kind == ACTION_CALLOUT_INSPECTION)
        return; /* what it answers is CONTINUE (W104) */
    if (!(c->entry.rights & RIGHT_ACTION_WRITE)) {
        BOOL veto = out->actionType == ACTION_BLOCK && c->entry.actionType == ACTION_PERMIT;
        if (out->actionType != c->entry.actionType && !veto && !is_stream(c->what->layer))
            BROKEN("W101", "at %s it changed %s to %s without FWPS_RIGHT_ACTION_WRITE: only a veto, BLOCK over PERMIT, is allowed then", layer,
                   action_name(c->entry.actionType), action_name(out->actionType));
        return;
    }
    if (kind == ACTION_CALLOUT_TERMINATING && out->actionType != ACTION_PERMIT && out->actionType != ACTION_BLOCK && !is_stream(c->what->layer))
        BROKEN("W105", "at %s it answered %s for a terminating filter: PERMIT or BLOCK is wanted, anything else blocks", layer, action_name(out->actionType));
    if (is_stream(c->what->layer)) /* the right has no meaning there (W282) */
        return;
    if (out->actionType == ACTION_BLOCK && !cleared)
        BROKEN("W103", "at %s it answered BLOCK and left FWPS_RIGHT_ACTION_WRITE set: a lighter sublayer may permit what it blocked; it should clear the right", layer);
    if (out->actionType == ACTION_PERMIT && hard_permit && !cleared)
        BROKEN("W103", "at %s it answered PERMIT for a filter with FWPS_FILTER_FLAG_CLEAR_ACTION_RIGHT and left FWPS_RIGHT_ACTION_WRITE set: it should clear the right", layer);
}

static void put_back_offset(const struct conduct *c)
{
    NET_BUFFER *nb = c->what->nbl ? c->what->nbl->FirstNetBuffer : NULL;
    struct origin where = origin_of_function(c->callout->functions.classifyFn);
    if (!nb || (nb->DataOffset == c->offset && nb->DataLength == c->length))
        return;
    BROKEN("W228", "at %s it left the data offset of the packet at %lu, length %lu: %lu and %lu are wanted, as they were when it was called",
           c->what->layer->name, nb->DataOffset, nb->DataLength, c->offset, c->length);
    nb_set(nb, c->offset, c->length);
}

void conduct_end(struct conduct *c, const FWPS_CLASSIFY_OUT0 *out)
{
    struct thread *thread = thread_now();
    struct origin where = origin_of_function(c->callout->functions.classifyFn);
    thread->conduct = c->outer;
    put_back_offset(c);
    if (out->outContext != c->entry.outContext || out->filterId != c->entry.filterId || out->reserved != c->entry.reserved)
        BROKEN("W109", "at %s it wrote outContext, filterId or reserved of classifyOut: they are the system's", c->what->layer->name);
    check_answer(c, out);
    if (thread->regions != c->regions) {
        BROKEN(RULE_REGION, "at %s it returned inside %ld critical region(s), it was called inside %ld", c->what->layer->name, thread->regions, c->regions);
        thread->regions = c->regions;
    }
    struct nbl_block *block = nbl_block_of(c->what->nbl);
    if (block)
        InterlockedDecrement(&block->shown);
}

BOOL contract_in_classify(const NET_BUFFER_LIST **shown)
{
    const struct conduct *c = conduct_now();
    *shown = c ? c->what->nbl : NULL;
    return c != NULL;
}

/* ---- what it does meanwhile ---- */

void conduct_asked_redirect(UINT32 state)
{
    struct conduct *c = conduct_now();
    if (!c)
        return;
    c->asked_redirect = TRUE;
    c->redirect_state = state;
}

/* A callout has changed a connect request (W122, W124, W126). */
void conduct_redirected(void)
{
    struct conduct *c = conduct_now();
    if (!c)
        return;
    if (!c->asked_redirect)
        contract_broken("W122", "FwpsApplyModifiedLayerData0", "the callout redirected a connection without asking FwpsQueryConnectionRedirectState0 first: that is how it knows a proxy's own");
    else if (c->redirect_state == STATE_BY_SELF)
        contract_broken("W124", "FwpsApplyModifiedLayerData0", "the callout redirected a connection again that it had redirected itself: PERMIT or CONTINUE is wanted, or the proxy's own connections come back to it");
    else if (c->redirect_state == STATE_BY_SELF_BEFORE)
        contract_broken("W126", "FwpsApplyModifiedLayerData0", "the callout redirected a connection again that it had redirected before another did: it may only permit it, or block it at AUTH_CONNECT");
}

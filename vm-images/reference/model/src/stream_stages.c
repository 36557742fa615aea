/*
 * The callouts of a stream, one behind the other: each sees what those before it let pass (W281). A stage is a sublayer;
 * of its filters, from the heaviest down, the first that decides does so for all. What a callout answers applies to the
 * leading countBytesEnforced bytes (W283), or to all that was indicated when it leaves that at zero (W284).
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "stream.h"

enum stream_action { STREAM_NONE, STREAM_NEED_MORE_DATA, STREAM_DROP_CONNECTION, STREAM_DEFER, STREAM_ALLOW_CONNECTION };
enum { VIEW_PERMIT_IF_ABSENT = 2, INCOMING_MID_STREAM = 0x10, POISON_BYTE = 0xa5 };

struct chunks *stage_input(struct stream *s, struct stage *stage, int d)
{
    return stage ? &stage->in[d] : &s->half[d].queue;
}

void stage_feed_fin(struct stream *s, struct stage *stage, int d)
{
    if (stage)
        stage->fin_in[d] = TRUE;
    else
        s->half[d].fin_queued = TRUE;
}

BOOL stages_deferred(const struct stream *s, int d)
{
    BOOL deferred = FALSE;
    for (const struct stage *g = s->stages; g; g = g->next)
        deferred = deferred || g->deferred[d];
    return deferred;
}

size_t stages_hold(const struct stream *s, int d)
{
    size_t size = 0;
    for (const struct stage *g = s->stages; g; g = g->next)
        size += g->in[d].size;
    return size;
}

/* ---- which filters there are ---- */

static struct seat *seat_of(struct stage *stage, const struct filter *filter)
{
    struct seat *seat = stage->seats;
    while (seat && seat->filter_id != filter->view.filterId)
        seat = seat->next;
    return seat;
}

static void place(struct stream *s, const struct filter *filter, const GUID *sublayer)
{
    struct stage **at = &s->stages;
    while (*at && !guid_equal(&(*at)->sublayer, sublayer) && (*at)->weight >= filter->view.subLayerWeight)
        at = &(*at)->next;
    struct stage *stage = *at;
    if (!stage || !guid_equal(&stage->sublayer, sublayer)) {
        stage = mem_alloc(sizeof *stage);
        stage->sublayer = *sublayer;
        stage->weight = filter->view.subLayerWeight;
        stage->next = *at;
        *at = stage;
        for (int d = 0; d < DIRECTIONS; d++) /* what has gone by is gone */
            stage->fin_in[d] = stage->fin_done[d] = stage->next ? stage->next->fin_in[d] : s->half[d].fin_queued;
    }
    if (seat_of(stage, filter))
        return;
    struct seat *seat = mem_alloc(sizeof *seat);
    seat->filter_id = filter->view.filterId;
    seat->callout_id = filter->callout ? filter->callout->id : 0;
    seat->mid_stream = filter->view.filterId > s->filter_mark;
    seat->next = stage->seats;
    stage->seats = seat;
}

/* A flow that is older than a filter is not shown to its callout unless that can begin in the middle (W298). */
static BOOL applies(const struct stream *s, const struct filter *filter)
{
    return !filter->callout || filter->view.filterId <= s->filter_mark ||
           (filter->callout->functions.flags & CALLOUT_ALLOW_MID_STREAM_INSPECTION);
}

static void forget_filters(struct stream *s, int d)
{
    for (unsigned i = 0; i < s->filter_count[d]; i++)
        filter_release(s->filters[d][i]);
    mem_free(s->filters[d]);
    mem_free(s->sublayers[d]);
    mem_free(s->what[d].values);
    s->filters[d] = NULL;
    s->sublayers[d] = NULL;
    s->what[d].values = NULL;
    s->filter_count[d] = 0;
}

static void look(struct stream *s, int d)
{
    struct view view = {.tuple = &s->tuple, .outbound = d == GOING_OUT, .flow = s->flow, .flags = flow_flags(s->flow)};
    UINT16 layer = layer_of(LAYER_STREAM_V4, s->tuple.local.family);
    forget_filters(s, d);
    if (!layer_has_filters(layer))
        return;
    view_open(layer, &view, &s->what[d]);
    unsigned found = classify_gather(&s->what[d], &s->filters[d], &s->sublayers[d]), kept = 0;
    for (unsigned i = 0; i < found; i++) {
        struct filter *filter = s->filters[d][i];
        if (!applies(s, filter)) {
            filter_release(filter);
            continue;
        }
        s->filters[d][kept] = filter;
        s->sublayers[d][kept++] = s->sublayers[d][i];
    }
    s->filter_count[d] = kept;
}

static BOOL has_filters(const struct stream *s, const struct stage *stage, int d)
{
    for (unsigned i = 0; i < s->filter_count[d]; i++)
        if (guid_equal(&s->sublayers[d][i], &stage->sublayer))
            return TRUE;
    return FALSE;
}

void stages_refresh(struct stream *s)
{
    LONG generation = filters_generation;
    if (s->looked && s->generation == generation)
        return;
    s->looked = TRUE;
    s->generation = generation;
    s->concerned = FALSE;
    for (int d = 0; d < DIRECTIONS; d++) {
        look(s, d);
        s->concerned = s->concerned || s->filter_count[d];
    }
    if (!s->carried)
        return;
    for (int d = 0; d < DIRECTIONS; d++)
        for (unsigned i = 0; i < s->filter_count[d]; i++)
            place(s, s->filters[d][i], &s->sublayers[d][i]);
    for (struct stage *g = s->stages; g; g = g->next)
        for (int d = 0; d < DIRECTIONS; d++) {
            if (has_filters(s, g, d))
                continue;
            if (g->deferred[d] || g->need[d]) { /* W299; what it held goes on */
                contract_broken("W299", "FwpmFilterDeleteById0", "a stream filter was removed while its callout %s", g->deferred[d] ? "deferred the stream" : "asked for more data");
                g->deferred[d] = FALSE;
                g->need[d] = 0;
            }
        }
}

void stages_free(struct stream *s)
{
    for (int d = 0; d < DIRECTIONS; d++)
        forget_filters(s, d);
    for (struct stage *g = s->stages, *next; g; g = next) {
        next = g->next;
        for (struct seat *seat = g->seats, *after; seat; seat = after) {
            after = seat->next;
            mem_free(seat);
        }
        for (int d = 0; d < DIRECTIONS; d++)
            chunks_drop(&g->in[d], g->in[d].size);
        mem_free(g);
    }
    s->stages = NULL;
}

/* ---- one indication ---- */

struct indication {
    FWPS_STREAM_DATA0 data;
    FWPS_STREAM_CALLOUT_IO_PACKET0 io;
    NET_BUFFER_LIST *empty; /* of a FIN or RST */
    UINT32 out_flags;
};

struct decision {
    BOOL made, permit, hard, waits;
    size_t size;      /* leading bytes it is for */
    unsigned filters; /* of the stage, up to the one that decided */
};

static UINT32 data_flags(int d, BOOL urgent, BOOL push)
{
    return d == GOING_OUT ? STREAM_SEND | (urgent ? STREAM_SEND_EXPEDITED : 0)
                          : STREAM_RECEIVE | (urgent ? STREAM_RECEIVE_EXPEDITED : 0) | (push ? STREAM_RECEIVE_PUSH : 0);
}

/* Describes what waits at a stage: its bytes up to where urgent ones begin or end. */
static void describe(struct indication *what, struct chunks *in, int d)
{
    struct chunk *chunk = in->first, *last = chunk;
    NET_BUFFER_LIST *list = chunk_describe(chunk, 0); /* of the first one `dataOffset` says where the bytes begin */
    BOOL urgent = chunk->urgent;
    size_t size = 0;
    what->data.netBufferListChain = list;
    what->data.dataOffset.netBufferList = list;
    what->data.dataOffset.netBuffer = list->FirstNetBuffer;
    what->data.dataOffset.netBufferOffset = (UINT32)chunk->start;
    size_t offset = chunk->start;
    MDL *mdl = list->FirstNetBuffer->MdlChain;
    for (; mdl->Next && offset >= mdl->ByteCount; mdl = mdl->Next)
        offset -= mdl->ByteCount;
    what->data.dataOffset.mdl = mdl;
    what->data.dataOffset.mdlOffset = (UINT32)offset;
    memset(&what->data.dataOffset.streamDataOffset, POISON_BYTE, 8); /* reserved for the system */
    for (; chunk && chunk->urgent == urgent; chunk = chunk->next) {
        if (chunk != in->first)
            last->nbl->Next = chunk_describe(chunk, chunk->start);
        size += chunk->length - chunk->start;
        last = chunk;
    }
    what->data.dataLength = size;
    what->data.flags = data_flags(d, urgent, last->push);
}

static void describe_empty(struct indication *what, UINT32 flags)
{
    what->empty = stream_empty_list();
    what->data.flags = flags;
    what->data.netBufferListChain = what->data.dataOffset.netBufferList = what->empty;
    what->data.dataOffset.netBuffer = what->empty->FirstNetBuffer;
    what->data.dataOffset.mdl = what->empty->FirstNetBuffer->MdlChain;
}

/* Calls one callout; the stream's lock is not held meanwhile. */
static enum asked call(struct stream *s, int d, struct filter *filter, struct seat *seat, struct indication *what, BOOL may_write,
                       FWPS_CLASSIFY_OUT0 *out)
{
    struct classification c = s->what[d];
    FWPS_STREAM_DATA0 shown = what->data;
    what->io = (FWPS_STREAM_CALLOUT_IO_PACKET0){.streamData = &shown, .missedBytes = seat->missed[d]};
    c.layer_data = &what->io;
    if (seat->mid_stream) {
        c.metadata.currentMetadataValues |= META_SYSTEM_FLAGS;
        c.metadata.flags |= INCOMING_MID_STREAM;
    }
    s->classifying = GetCurrentThreadId();
    ReleaseSRWLockExclusive(&s->lock);
    enum asked asked = classify_ask(filter, &c, ACTION_CONTINUE, may_write, what->out_flags, out);
    AcquireSRWLockExclusive(&s->lock);
    s->classifying = 0;
    if (asked == ASKED)
        seat->missed[d] = 0;
    return asked;
}

static void permit_all(struct decision *decision)
{
    decision->made = decision->permit = TRUE;
    decision->size = 0;
}

/* What the stream action says; TRUE: nothing is left to decide here. */
static BOOL stream_action(struct stream *s, struct stage *stage, int d, const struct filter *filter, struct seat *seat,
                          const struct indication *what, struct decision *decision)
{
    struct origin where = origin_of_function(filter->callout->functions.classifyFn);
    UINT32 kind = filter->view.action.type, id = filter->view.action.calloutId;
    const FWPS_STREAM_CALLOUT_IO_PACKET0 *io = &what->io;
    switch (io->streamAction) {
    case STREAM_NEED_MORE_DATA:
        if (what->out_flags) { /* W286, W287 */
            contract_broken_at("W287", "classifyFn", &where, "callout %u asks for more stream data although %s", id,
                       what->out_flags & OUT_FLAG_NO_MORE_DATA ? "there is none to come" : "the limit is reached");
            permit_all(decision);
            return TRUE;
        }
        stage->need[d] = stage->in[d].size + (io->countBytesRequired ? io->countBytesRequired : 1);
        decision->waits = TRUE;
        return TRUE;
    case STREAM_DROP_CONNECTION:
        if (kind == ACTION_CALLOUT_UNKNOWN) { /* W288 */
            s->end = "dropped by a callout";
            s->aborted = decision->waits = TRUE;
            return TRUE;
        }
        contract_broken_at("W288", "classifyFn", &where, "callout %u drops a connection by a filter whose action is not FWP_ACTION_CALLOUT_UNKNOWN", id);
        break;
    case STREAM_DEFER:
        if (d == COMING_IN) { /* W289 */
            stage->deferred[d] = decision->waits = TRUE;
            stage->deferred_by = id;
            stage->deferred_flags = what->data.flags;
            return TRUE;
        }
        contract_broken_at("W289", "classifyFn", &where, "callout %u defers an outbound stream", id);
        break;
    case STREAM_ALLOW_CONNECTION:
        seat->allowed = TRUE;
        break;
    default:
        contract_broken_at("W291", "classifyFn", &where, "callout %u answers with stream action %u, which there is not", id, io->streamAction);
        break;
    }
    if (kind == ACTION_CALLOUT_INSPECTION)
        return FALSE;
    permit_all(decision); /* W291: the action that was returned is not looked at */
    return TRUE;
}

/* What the action says of a callout that may decide. */
static void action(struct decision *decision, const struct filter *filter, const struct indication *what, const FWPS_CLASSIFY_OUT0 *out)
{
    struct origin where = origin_of_function(filter->callout->functions.classifyFn);
    UINT32 id = filter->view.action.calloutId;
    if (out->actionType != ACTION_PERMIT && out->actionType != ACTION_BLOCK) {
        if (filter->view.action.type == ACTION_CALLOUT_UNKNOWN && out->actionType == ACTION_CONTINUE)
            return;
        contract_broken_at("W282", "classifyFn", &where, "callout %u sets no action at the stream layer: 0x%x", id, out->actionType); /* W282 */
        if (filter->view.action.type == ACTION_CALLOUT_UNKNOWN)
            return;
    }
    decision->made = TRUE;
    decision->permit = out->actionType == ACTION_PERMIT;
    decision->hard = !(out->rights & RIGHT_ACTION_WRITE);
    decision->size = what->io.countBytesEnforced;
    if (decision->size > what->data.dataLength) {
        contract_broken_at("W283", "classifyFn", &where, "callout %u enforces %u bytes of %u that were indicated", id, (unsigned)decision->size, (unsigned)what->data.dataLength);
        decision->size = what->data.dataLength;
    }
}

static struct decision ask_stage(struct stream *s, struct stage *stage, int d, struct indication *what)
{
    struct decision decision = {0};
    for (unsigned i = 0; i < s->filter_count[d] && !decision.made && !s->end; i++) {
        struct filter *filter = s->filters[d][i];
        if (!guid_equal(&s->sublayers[d][i], &stage->sublayer))
            continue;
        decision.filters = i + 1;
        UINT32 kind = filter->view.action.type;
        struct seat *seat = seat_of(stage, filter);
        if (kind == ACTION_PERMIT || kind == ACTION_BLOCK) {
            decision.made = TRUE;
            decision.permit = kind == ACTION_PERMIT;
        } else if (seat->allowed) { /* W290 */
            if (kind != ACTION_CALLOUT_INSPECTION)
                permit_all(&decision);
        } else {
            FWPS_CLASSIFY_OUT0 out;
            enum asked asked = call(s, d, filter, seat, what, !stage->hard[d], &out);
            if (asked == ASKED_NOBODY && kind != ACTION_CALLOUT_INSPECTION) {
                decision.made = TRUE;
                decision.permit = (filter->view.flags & VIEW_PERMIT_IF_ABSENT) != 0;
            }
            if (asked != ASKED)
                continue;
            if (what->io.streamAction) {
                if (stream_action(s, stage, d, filter, seat, what, &decision))
                    return decision;
            } else if (kind != ACTION_CALLOUT_INSPECTION) {
                action(&decision, filter, what, &out);
            }
            if (decision.made && decision.permit && what->data.dataLength) {
                seat->permitted[d] += decision.size ? decision.size : what->data.dataLength;
                if (seat->outside[d]) {
                    struct origin where = origin_of_function(filter->callout->functions.classifyFn);
                    contract_broken_at("W297", "classifyFn", &where, "callout %u permits data inline on a stream it injects into out of band", filter->view.action.calloutId);
                }
            }
        }
    }
    if (!decision.made)
        permit_all(&decision);
    return decision;
}

/* Those behind the one that decided did not see these bytes: neither its own sublayer's nor, of what is blocked, all below. */
static void count_missed(struct stream *s, struct stage *stage, int d, const struct decision *decision, size_t size)
{
    for (unsigned i = decision->filters; i < s->filter_count[d]; i++)
        if (guid_equal(&s->sublayers[d][i], &stage->sublayer))
            seat_of(stage, s->filters[d][i])->missed[d] += size;
    for (struct stage *g = stage->next; g && !decision->permit; g = g->next)
        for (struct seat *seat = g->seats; seat; seat = seat->next)
            seat->missed[d] += size;
}

static void settle_data(struct stream *s, struct stage *stage, int d, const struct decision *decision, size_t indicated)
{
    size_t size = decision->size ? decision->size : indicated;
    count_missed(s, stage, d, decision, size);
    if (decision->permit)
        chunks_move(&stage->in[d], stage_input(s, stage->next, d), size);
    else
        chunks_drop(&stage->in[d], size);
    stage->need[d] = 0;
    if (stage->next)
        stage->next->hard[d] = decision->hard || stage->hard[d];
}

static void indicate(struct stream *s, struct stage *stage, int d)
{
    struct indication what = {0};
    BOOL data = stage->in[d].size != 0;
    if (data) {
        describe(&what, &stage->in[d], d);
    } else {
        stage->fin_shown[d] = TRUE;
        describe_empty(&what, d == GOING_OUT ? STREAM_SEND | STREAM_SEND_DISCONNECT : STREAM_RECEIVE | STREAM_RECEIVE_DISCONNECT);
    }
    if (stage->fin_in[d])
        what.out_flags |= OUT_FLAG_NO_MORE_DATA;
    if (stage->in[d].size >= HOLD_MAX)
        what.out_flags |= OUT_FLAG_BUFFER_LIMIT_REACHED;
    struct decision decision = ask_stage(s, stage, d, &what);
    if (what.empty)
        nbl_release(what.empty);
    if (decision.waits || s->end)
        return;
    if (data) {
        settle_data(s, stage, d, &decision, what.data.dataLength);
    } else {
        stage->fin_done[d] = TRUE;
        if (decision.permit)
            stage_feed_fin(s, stage->next, d);
    }
}

static BOOL is_ready(const struct stage *stage, int d)
{
    if (stage->deferred[d])
        return FALSE;
    if (stage->in[d].size)
        return stage->in[d].size >= stage->need[d] || stage->fin_in[d] || stage->in[d].size >= HOLD_MAX;
    return stage->fin_in[d] && !stage->fin_done[d];
}

BOOL stages_work(struct stream *s)
{
    BOOL done = FALSE;
    for (struct stage *g = s->stages; g && !s->end; g = g->next)
        for (int d = 0; d < DIRECTIONS; d++)
            while (!s->end && is_ready(g, d)) {
                indicate(s, g, d);
                done = TRUE;
            }
    return done;
}

void stages_reset(struct stream *s, int d)
{
    for (struct stage *g = s->stages; g && !s->end; g = g->next) {
        struct indication what = {.out_flags = OUT_FLAG_NO_MORE_DATA};
        describe_empty(&what, d == GOING_OUT ? STREAM_SEND | STREAM_SEND_ABORT : STREAM_RECEIVE | STREAM_RECEIVE_ABORT);
        ask_stage(s, g, d, &what); /* a reset is not to be stopped */
        nbl_release(what.empty);
    }
}

/*
 * What is done to TCP streams. Inline, classifyFn permits and blocks leading bytes and injects others where it stands;
 * out of band, everything is cloned and blocked, and a work item injects it again. Where a rule has to know how far a
 * stream has come, it has a STREAM for each flow and direction; the engine classifies one flow on one thread at a time,
 * so that only the list of them and the counts of what is pending need the lock.
 *
 * SPDX-License-Identifier: MIT
 */
#include "job.h"

#define STREAMS_MAX 256u
#define PENDED_MAX (4u << 20) /* bytes of clones; a driver may pend no more than 8 MB */
#define SCAN_MAX 65536u
#define END_MAX_MS 5000
#define CONTINUE_TRIES 1000
#define SEND_END (FWPS_STREAM_FLAG_SEND_DISCONNECT | FWPS_STREAM_FLAG_SEND_ABORT)
#define RECEIVE_END (FWPS_STREAM_FLAG_RECEIVE_DISCONNECT | FWPS_STREAM_FLAG_RECEIVE_ABORT)
#define EXPEDITED (FWPS_STREAM_FLAG_SEND_EXPEDITED | FWPS_STREAM_FLAG_RECEIVE_EXPEDITED)
#define ABORTED (FWPS_STREAM_FLAG_SEND_ABORT | FWPS_STREAM_FLAG_RECEIVE_ABORT)

struct STREAM {
    LIST_ENTRY link;
    UINT64 rule, flow;
    BOOLEAN inbound;
    BOOLEAN done;    /* what happens once has happened */
    BOOLEAN over;    /* its end was seen: freed when nothing is pending */
    ULONG pending;   /* jobs */
    UINT64 position; /* bytes decided so far */
};
typedef struct STREAM STREAM;

typedef struct EDIT { /* one classify */
    TRAFFIC *traffic;
    const WFPCALLOUT_RULE *rule;
    FWPS_STREAM_CALLOUT_IO_PACKET0 *packet;
    FWPS_STREAM_DATA0 *data;
    const FWPS_FILTER1 *filter;
    FWPS_CLASSIFY_OUT0 *out;
    STREAM *stream;
    BOOLEAN last; /* no more data will come, or may be asked for */
} EDIT;

static LIST_ENTRY streams; /* by the lock, as all below */
static KSPIN_LOCK lock;
static ULONG count;
static UINT64 ending; /* the rule that is being removed, or 0 */
static SIZE_T pended;

void stream_start(void)
{
    InitializeListHead(&streams);
    KeInitializeSpinLock(&lock);
    count = 0;
    ending = 0;
    pended = 0;
}

/* ---- how far streams have come ---- */

/* NULL: there are too many. */
static STREAM *find(UINT64 rule, UINT64 flow, BOOLEAN inbound)
{
    STREAM *fresh = allocate(sizeof *fresh), *found = NULL;
    LIST_ENTRY *link;
    KIRQL irql;

    KeAcquireSpinLock(&lock, &irql);
    for (link = streams.Flink; link != &streams && !found; link = link->Flink) {
        STREAM *stream = CONTAINING_RECORD(link, STREAM, link);
        if (stream->rule == rule && stream->flow == flow && stream->inbound == inbound && !stream->over)
            found = stream;
    }
    if (!found && fresh && count < STREAMS_MAX) {
        fresh->rule = rule;
        fresh->flow = flow;
        fresh->inbound = inbound;
        InsertTailList(&streams, &fresh->link);
        count++;
        found = fresh;
        fresh = NULL;
    }
    KeReleaseSpinLock(&lock, irql);
    if (fresh)
        ExFreePoolWithTag(fresh, TAG);
    return found;
}

/* Under the lock; what is to be freed after it. */
static STREAM *take_out(STREAM *stream)
{
    RemoveEntryList(&stream->link);
    count--;
    return stream;
}

static void over(STREAM *stream)
{
    STREAM *gone = NULL;
    KIRQL irql;
    KeAcquireSpinLock(&lock, &irql);
    stream->over = TRUE;
    if (!stream->pending)
        gone = take_out(stream);
    KeReleaseSpinLock(&lock, irql);
    if (gone)
        ExFreePoolWithTag(gone, TAG);
}

static void forget(const TRAFFIC *traffic, BOOLEAN inbound)
{
    STREAM *stream = find(traffic->event.rule, traffic->event.flow_id, inbound);
    if (stream)
        over(stream);
}

static void begin_job(STREAM *stream)
{
    KIRQL irql;
    KeAcquireSpinLock(&lock, &irql);
    stream->pending++;
    KeReleaseSpinLock(&lock, irql);
}

void stream_done(STREAM *stream)
{
    STREAM *gone = NULL;
    KIRQL irql;
    KeAcquireSpinLock(&lock, &irql);
    if (--stream->pending == 0 && stream->over)
        gone = take_out(stream);
    KeReleaseSpinLock(&lock, irql);
    if (gone)
        ExFreePoolWithTag(gone, TAG);
}

static BOOLEAN has_pending(UINT64 rule)
{
    BOOLEAN found = FALSE;
    LIST_ENTRY *link;
    KIRQL irql;
    KeAcquireSpinLock(&lock, &irql);
    for (link = streams.Flink; link != &streams; link = link->Flink) {
        STREAM *stream = CONTAINING_RECORD(link, STREAM, link);
        if (stream->rule == rule && stream->pending)
            found = TRUE;
    }
    KeReleaseSpinLock(&lock, irql);
    return found;
}

void stream_end(UINT64 rule)
{
    LARGE_INTEGER pause;
    KIRQL irql;
    ULONG i;

    KeAcquireSpinLock(&lock, &irql);
    ending = rule;
    KeReleaseSpinLock(&lock, irql);
    inject_release_held(rule);
    pause.QuadPart = -10 * 1000; /* 1 ms */
    for (i = 0; i < END_MAX_MS && has_pending(rule); i++)
        KeDelayExecutionThread(KernelMode, FALSE, &pause);
}

void stream_forget(UINT64 rule)
{
    LIST_ENTRY gone, *link, *next;
    KIRQL irql;

    InitializeListHead(&gone);
    KeAcquireSpinLock(&lock, &irql);
    ending = 0;
    for (link = streams.Flink; link != &streams; link = next) {
        STREAM *stream = CONTAINING_RECORD(link, STREAM, link);
        next = link->Flink;
        if (stream->rule != rule)
            continue;
        stream->over = TRUE; /* if something is pending still, that frees it */
        if (!stream->pending) {
            take_out(stream);
            InsertTailList(&gone, link);
        }
    }
    KeReleaseSpinLock(&lock, irql);
    while (!IsListEmpty(&gone))
        ExFreePoolWithTag(CONTAINING_RECORD(RemoveHeadList(&gone), STREAM, link), TAG);
}

/* ---- what classifyFn answers ---- */

/* For that many leading bytes; the rest is indicated again at once. */
static void answer(EDIT *edit, FWP_ACTION_TYPE action, SIZE_T bytes)
{
    edit->packet->streamAction = FWPS_STREAM_ACTION_NONE;
    edit->packet->countBytesRequired = 0;
    edit->packet->countBytesEnforced = bytes;
    edit->out->actionType = action;
    if (action == FWP_ACTION_BLOCK)
        edit->out->rights &= ~FWPS_RIGHT_ACTION_WRITE;
    if (edit->stream)
        edit->stream->position += bytes;
}

static void permit(EDIT *edit, SIZE_T bytes)
{
    answer(edit, FWP_ACTION_PERMIT, bytes);
}

static void act_on_stream(EDIT *edit, FWPS_STREAM_ACTION_TYPE action, UINT32 required)
{
    edit->packet->streamAction = action;
    edit->packet->countBytesRequired = required;
    edit->packet->countBytesEnforced = 0;
    edit->out->actionType = FWP_ACTION_NONE;
}

static void need(EDIT *edit, SIZE_T more)
{
    act_on_stream(edit, FWPS_STREAM_ACTION_NEED_MORE_DATA, (UINT32)more);
}

/* ---- jobs ---- */

static JOB *job_for(EDIT *edit, UINT8 path)
{
    JOB *job = allocate(sizeof *job);
    if (!job)
        return NULL;
    job->path = path;
    job->family = edit->traffic->layer->family;
    job->layer = edit->traffic->layer->id;
    job->rule = edit->traffic->event.rule;
    job->event = edit->traffic->event;
    job->flow = edit->traffic->metadata->flowHandle;
    job->callout = edit->filter->action.calloutId;
    job->stream_flags = edit->data->flags;
    job->status = STATUS_SUCCESS;
    return job;
}

/* From here on it counts as one that the stream waits for. */
static void attach(EDIT *edit, JOB *job)
{
    job->event.stream_flags = job->stream_flags;
    job->event.data_length = (UINT32)job->stream_length;
    job->stream = edit->stream;
    begin_job(edit->stream);
}

NTSTATUS stream_send(JOB *job)
{
    const NET_BUFFER_LIST *list;
    LARGE_INTEGER pause;
    NTSTATUS status;
    KIRQL irql;
    ULONG i;

    if (job->path == WFPCALLOUT_INJECT_STREAM) {
        job->lists = 0;
        for (list = job->list; list; list = NET_BUFFER_LIST_NEXT_NBL(list))
            job->lists++;
        if (!job->bytes) {
            KeAcquireSpinLock(&lock, &irql);
            pended -= job->stream_length;
            KeReleaseSpinLock(&lock, irql);
        }
        return FwpsStreamInjectAsync0(driver.stream, NULL, 0, job->flow, job->callout, job->layer, job->stream_flags,
                                      job->list, job->stream_length, job_list_completed, job);
    }
    /* The work item may be here before the classifyFn that deferred has returned: then nothing is deferred yet. */
    pause.QuadPart = -10 * 1000; /* 1 ms */
    status = FwpsStreamContinue0(job->flow, job->callout, job->layer, job->stream_flags);
    for (i = 0; i < CONTINUE_TRIES && !NT_SUCCESS(status); i++) {
        KeDelayExecutionThread(KernelMode, FALSE, &pause);
        status = FwpsStreamContinue0(job->flow, job->callout, job->layer, job->stream_flags);
    }
    return status;
}

/* From classifyFn, into the stream that it is looking at: what is injected stands before what is indicated. */
static BOOLEAN inject_here(EDIT *edit)
{
    const WFPCALLOUT_RULE *rule = edit->rule;
    JOB *job = job_for(edit, WFPCALLOUT_INJECT_STREAM);
    NTSTATUS status = STATUS_INSUFFICIENT_RESOURCES;

    if (!job)
        return FALSE;
    job->stream_flags &= ~(UINT32)(SEND_END | RECEIVE_END);
    job->stream_length = rule->replacement_length;
    job->bytes = allocate(rule->replacement_length);
    if (job->bytes) {
        RtlCopyMemory(job->bytes, rule->replacement, rule->replacement_length);
        status = job_wrap(job, rule->replacement_length);
    }
    if (!NT_SUCCESS(status)) {
        job_free(job);
        return FALSE;
    }
    attach(edit, job);
    return NT_SUCCESS(job_inject_now(job));
}

/* ---- inline ---- */

static BOOLEAN matches_at(const UINT8 *bytes, const WFPCALLOUT_RULE *rule, SIZE_T length)
{
    return RtlCompareMemory(bytes, rule->pattern, length) == length;
}

/* Replaces the first thing that is there: the way to the pattern is permitted, then the pattern is exchanged. */
static void replace_in(EDIT *edit, const UINT8 *bytes, SIZE_T size)
{
    const WFPCALLOUT_RULE *rule = edit->rule;
    SIZE_T pattern = rule->pattern_length, at;

    for (at = 0; at + pattern <= size && !matches_at(bytes + at, rule, pattern); at++)
        ;
    if (at + pattern <= size) {
        if (at)
            permit(edit, at);
        else if (!rule->replacement_length || inject_here(edit))
            answer(edit, FWP_ACTION_BLOCK, pattern);
        else
            permit(edit, pattern); /* what cannot be replaced stays; why is on record */
        return;
    }
    /* May it begin in what is left? */
    while (at < size && !matches_at(bytes + at, rule, size - at))
        at++;
    if (at == size || (edit->last && size == edit->data->dataLength))
        permit(edit, size);
    else if (at)
        permit(edit, at);
    else
        need(edit, pattern - size);
}

static void replace(EDIT *edit)
{
    SIZE_T size = edit->data->dataLength < SCAN_MAX ? edit->data->dataLength : SCAN_MAX, copied = 0;
    UINT8 *bytes = allocate(size);
    if (!bytes) {
        permit(edit, edit->data->dataLength);
        return;
    }
    FwpsCopyStreamDataToBuffer0(edit->data, bytes, size, &copied);
    if (copied == size)
        replace_in(edit, bytes, size);
    else
        permit(edit, edit->data->dataLength);
    ExFreePoolWithTag(bytes, TAG);
}

static void insert(EDIT *edit)
{
    UINT64 left = edit->rule->stream_offset - edit->stream->position;
    SIZE_T size = edit->data->dataLength;

    if (edit->stream->done || edit->stream->position > edit->rule->stream_offset) {
        permit(edit, size);
    } else if (left) {
        permit(edit, left < size ? (SIZE_T)left : size);
    } else {
        edit->stream->done = TRUE;
        inject_here(edit);
        permit(edit, size);
    }
}

static void remove_range(EDIT *edit)
{
    UINT64 from = edit->rule->stream_offset, to = from + edit->rule->stream_length, at = edit->stream->position;
    SIZE_T size = edit->data->dataLength;

    if (at >= to || at + size <= from)
        permit(edit, size);
    else if (at < from)
        permit(edit, (SIZE_T)(from - at));
    else
        answer(edit, FWP_ACTION_BLOCK, to - at < size ? (SIZE_T)(to - at) : size);
}

static void need_more(EDIT *edit)
{
    SIZE_T size = edit->data->dataLength;
    if (!edit->stream->position && size < edit->rule->stream_length && !edit->last)
        need(edit, edit->rule->stream_length - size);
    else
        permit(edit, size);
}

static void defer(EDIT *edit)
{
    JOB *job = NULL;
    if (edit->traffic->inbound && !edit->stream->done)
        job = job_for(edit, WFPCALLOUT_INJECT_STREAM_CONTINUE);
    if (!job) {
        permit(edit, edit->data->dataLength);
        return;
    }
    edit->stream->done = TRUE;
    act_on_stream(edit, FWPS_STREAM_ACTION_DEFER, 0);
    attach(edit, job);
    job_submit(job, (edit->rule->flags & WFPCALLOUT_RULE_HOLD) != 0);
}

/* ---- out of band ---- */

/* A copy of what is indicated, with each pattern in it replaced. */
static NTSTATUS copy_replaced(EDIT *edit, JOB *job)
{
    const WFPCALLOUT_RULE *rule = edit->rule;
    SIZE_T size = edit->data->dataLength, pattern = rule->pattern_length, copied = 0, from = 0, to = 0;
    SIZE_T most = size / pattern * rule->replacement_length + size;
    UINT8 *bytes;

    if (most > PENDED_MAX)
        return STATUS_INSUFFICIENT_RESOURCES;
    bytes = allocate(size);
    job->bytes = allocate(most);
    if (!bytes || !job->bytes) {
        if (bytes)
            ExFreePoolWithTag(bytes, TAG);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    FwpsCopyStreamDataToBuffer0(edit->data, bytes, size, &copied);
    while (from < copied) {
        if (from + pattern <= copied && matches_at(bytes + from, rule, pattern)) {
            RtlCopyMemory(job->bytes + to, rule->replacement, rule->replacement_length);
            to += rule->replacement_length;
            from += pattern;
        } else {
            job->bytes[to++] = bytes[from++];
        }
    }
    ExFreePoolWithTag(bytes, TAG);
    job->stream_length = to;
    return to ? job_wrap(job, (ULONG)to) : STATUS_SUCCESS;
}

static NTSTATUS fill(EDIT *edit, JOB *job)
{
    NTSTATUS status;
    KIRQL irql;

    if (!edit->data->dataLength) /* the FIN alone: no list */
        return STATUS_SUCCESS;
    if (edit->rule->pattern_length)
        return copy_replaced(edit, job);
    KeAcquireSpinLock(&lock, &irql);
    status = pended + edit->data->dataLength > PENDED_MAX ? STATUS_INSUFFICIENT_RESOURCES : STATUS_SUCCESS;
    if (NT_SUCCESS(status))
        pended += edit->data->dataLength;
    KeReleaseSpinLock(&lock, irql);
    if (!NT_SUCCESS(status))
        return status;
    job->stream_length = edit->data->dataLength;
    status = FwpsCloneStreamData0(edit->data, NULL, NULL, 0, &job->list);
    if (!NT_SUCCESS(status)) {
        KeAcquireSpinLock(&lock, &irql);
        pended -= edit->data->dataLength;
        KeReleaseSpinLock(&lock, irql);
    }
    return status;
}

/* TRUE while something of this stream is on its way: what comes behind it may not overtake it. */
static BOOLEAN goes_on_out_of_band(const EDIT *edit)
{
    BOOLEAN result;
    KIRQL irql;
    KeAcquireSpinLock(&lock, &irql);
    result = ending != edit->stream->rule || edit->stream->pending;
    KeReleaseSpinLock(&lock, irql);
    return result;
}

static void reinject(EDIT *edit)
{
    NTSTATUS status;
    JOB *job;

    if (!goes_on_out_of_band(edit)) {
        permit(edit, edit->data->dataLength);
        return;
    }
    job = job_for(edit, WFPCALLOUT_INJECT_STREAM);
    status = job ? fill(edit, job) : STATUS_INSUFFICIENT_RESOURCES;
    if (!NT_SUCCESS(status)) { /* nothing may be left out, nor overtake what is pending */
        if (job)
            job_free(job);
        act_on_stream(edit, FWPS_STREAM_ACTION_DROP_CONNECTION, 0);
        return;
    }
    answer(edit, FWP_ACTION_BLOCK, edit->data->dataLength);
    if (!job->list && edit->data->dataLength) { /* replaced by nothing */
        job_free(job);
        return;
    }
    attach(edit, job);
    job_submit(job, (edit->rule->flags & WFPCALLOUT_RULE_HOLD) != 0);
}

/* ---- which of them ---- */

static BOOLEAN wants(const EDIT *edit)
{
    UINT32 direction = edit->rule->stream_direction;
    if (edit->data->flags & (EXPEDITED | ABORTED)) /* urgent data is left alone, and into a reset stream nothing may go */
        return FALSE;
    return !direction || direction == (edit->traffic->inbound ? 2u : 1u);
}

static void decide(EDIT *edit)
{
    switch (edit->rule->action) {
    case WFPCALLOUT_ACTION_STREAM_DROP:
        act_on_stream(edit, FWPS_STREAM_ACTION_DROP_CONNECTION, 0);
        break;
    case WFPCALLOUT_ACTION_STREAM_ALLOW:
        act_on_stream(edit, FWPS_STREAM_ACTION_ALLOW_CONNECTION, 0);
        break;
    case WFPCALLOUT_ACTION_STREAM_INSERT:
        insert(edit);
        break;
    case WFPCALLOUT_ACTION_STREAM_REINJECT:
        reinject(edit);
        break;
    default:
        if (!edit->data->dataLength)
            permit(edit, 0);
        else if (edit->rule->action == WFPCALLOUT_ACTION_STREAM_NEED_MORE)
            need_more(edit);
        else if (edit->rule->action == WFPCALLOUT_ACTION_STREAM_DEFER)
            defer(edit);
        else if (edit->rule->action == WFPCALLOUT_ACTION_STREAM_REPLACE)
            replace(edit);
        else
            remove_range(edit);
        break;
    }
}

void stream_act(TRAFFIC *traffic, const WFPCALLOUT_RULE *rule, FWPS_STREAM_CALLOUT_IO_PACKET0 *packet,
                const FWPS_FILTER1 *filter, FWPS_CLASSIFY_OUT0 *out)
{
    EDIT edit = {0};
    BOOLEAN entered;

    out->actionType = FWP_ACTION_PERMIT;
    if (!packet || !packet->streamData)
        return;
    edit.traffic = traffic;
    edit.rule = rule;
    edit.packet = packet;
    edit.data = packet->streamData;
    edit.filter = filter;
    edit.out = out;
    edit.last = (out->flags & (FWPS_CLASSIFY_OUT_FLAG_NO_MORE_DATA | FWPS_CLASSIFY_OUT_FLAG_BUFFER_LIMIT_REACHED)) != 0;
    if (edit.data->flags & ABORTED) { /* of both directions */
        forget(traffic, FALSE);
        forget(traffic, TRUE);
    }
    entered = inject_enter();
    if (entered && wants(&edit) && (traffic->metadata->currentMetadataValues & FWPS_METADATA_FIELD_FLOW_HANDLE))
        edit.stream = find(traffic->event.rule, traffic->metadata->flowHandle, traffic->inbound);
    if (edit.stream) {
        traffic->event.stream_offset = edit.stream->position;
        decide(&edit);
        if (edit.data->flags & (SEND_END | RECEIVE_END))
            over(edit.stream);
    } else {
        permit(&edit, edit.data->dataLength);
    }
    if (entered)
        inject_leave();
    traffic->event.stream_action = (UINT8)packet->streamAction;
    traffic->event.stream_enforced = packet->streamAction == FWPS_STREAM_ACTION_NEED_MORE_DATA
                                         ? packet->countBytesRequired
                                         : (UINT32)packet->countBytesEnforced;
}

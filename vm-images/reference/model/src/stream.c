/*
 * Which flows the stream layer carries, and who works on one. A flow that no stream filter concerns goes by untouched;
 * from the first byte, FIN or RST on for which there is such a filter, both its directions are the engine's, until the
 * flow ends. One thread at a time works on a stream: whoever brings something while another does leaves it there.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "stream.h"

enum { LINGER_MS = 10000, TICK_MS = 25 };

UINT64 (*stream_clock)(void) = now_ms;
static SRWLOCK table_lock = SRWLOCK_INIT; /* taken last; what follows */
static struct stream *carried;
static struct scheduled {
    struct scheduled *next;
    struct flow *flow; /* referenced */
} *schedule;
static struct completion *completions, **completions_end = &completions;
static CONDITION_VARIABLE wanted = CONDITION_VARIABLE_INIT;

UINT64 stream_now(void)
{
    return stream_clock();
}

static UINT64 newest_filter(UINT16 layer)
{
    UINT64 newest = 0;
    AcquireSRWLockShared(&store_lock);
    for (const struct filter *f = filters; f; f = f->next)
        if (f->layer->id == layer && !f->added_in && f->view.filterId > newest)
            newest = f->view.filterId;
    ReleaseSRWLockShared(&store_lock);
    return newest;
}

void stream_established(struct flow *flow)
{
    if (!flow->stream)
        return;
    UINT64 newest = newest_filter(layer_of(LAYER_STREAM_V4, flow->local.family));
    AcquireSRWLockExclusive(&flow->stream->lock);
    flow->stream->filter_mark = newest;
    ReleaseSRWLockExclusive(&flow->stream->lock);
}

static struct stream *stream_of(struct flow *flow)
{
    if (!flow->stream) { /* of its first SYN: nobody else knows the flow yet */
        struct stream *made = mem_alloc(sizeof *made);
        made->flow = flow;
        made->frames_end = &made->frames;
        made->tuple = (struct tuple){flow->protocol, flow->local, flow->remote, flow->local_port, flow->remote_port, 0};
        flow->stream = made;
    }
    return flow->stream;
}

void stream_free(struct stream *stream)
{
    if (!stream)
        return;
    stages_free(stream);
    tcp_free(stream);
    mem_free(stream);
}

BOOL stream_carries(const struct flow *flow)
{
    return flow && flow->stream && flow->stream->carried;
}

static void take_over(struct stream *s)
{
    s->carried = TRUE;
    tcp_take_over(s);
    s->looked = FALSE;
    stages_refresh(s); /* makes the stages: the first byte goes to them */
    InterlockedIncrement(&s->flow->references);
    AcquireSRWLockExclusive(&table_lock);
    s->next = carried;
    carried = s;
    WakeConditionVariable(&wanted);
    ReleaseSRWLockExclusive(&table_lock);
}

/* A segment that goes by as it is. */
static void pass_by(struct stream *s, int d, struct packet *packet, UINT32 end)
{
    UINT32 *next = d == GOING_OUT ? &s->flow->next_out : &s->flow->next_in;
    if (!*next || (int32_t)(end - *next) > 0) /* a late retransmission must not turn the clock back */
        *next = end;
    tcp_note(s, d, packet);
}

BOOL stream_segment(struct flow *flow, struct packet *packet)
{
    const uint8_t *tcp = packet_tcp(packet);
    int d = packet->outbound ? GOING_OUT : COMING_IN;
    UINT32 sequence = get32(tcp + 4), next = packet->outbound ? flow->next_out : flow->next_in;
    UINT32 end = sequence + (UINT32)(packet->end - packet->payload) + !!(tcp[13] & TCP_FIN) + !!(tcp[13] & TCP_SYN_BIT);
    if (!flow->stream && !(tcp[13] & TCP_SYN_BIT))
        return TRUE;
    if (!packet_transport_sum_is_right(packet)) { /* who reads it drops it; the engine would put a right sum on wrong bytes */
        packet->taken = stream_carries(flow);
        return !packet->taken;
    }
    struct stream *s = stream_of(flow);
    AcquireSRWLockExclusive(&s->lock);
    if (!s->carried) {
        BOOL fresh = (int32_t)(end - next) > 0 || (tcp[13] & TCP_RST);
        if (fresh && flow->established && !(tcp[13] & TCP_SYN_BIT)) {
            stages_refresh(s);
            if (s->concerned)
                take_over(s);
        }
    }
    if (!s->carried) {
        pass_by(s, d, packet, end);
        ReleaseSRWLockExclusive(&s->lock);
        return TRUE;
    }
    tcp_receive(s, d, packet);
    ReleaseSRWLockExclusive(&s->lock);
    packet->taken = TRUE;
    stream_run(s);
    return FALSE;
}

static void send_frames(struct stream *s)
{
    struct frame *frames = s->frames;
    s->frames = NULL;
    s->frames_end = &s->frames;
    ReleaseSRWLockExclusive(&s->lock);
    for (struct frame *frame = frames, *next; frame; frame = next) {
        next = frame->next;
        stack_send(frame->packet, s->flow);
        mem_free(frame);
    }
    AcquireSRWLockExclusive(&s->lock);
}

/* Both ends have heard the other's FIN and said so. */
static BOOL is_closed(const struct stream *s)
{
    return s->half[GOING_OUT].fin_settled && s->half[COMING_IN].fin_settled;
}

static void finish(struct stream *s)
{
    for (int d = 0; d < DIRECTIONS && !s->end; d++)
        if (s->half[d].reset) {
            stages_reset(s, d);
            tcp_reset(s, d);
            s->end = "reset";
        }
    if (s->aborted && !s->closed_ms) {
        tcp_reset(s, GOING_OUT);
        tcp_reset(s, COMING_IN);
    }
    if (!s->end && is_closed(s))
        s->end = "closed";
    if (s->end && !s->closed_ms)
        s->closed_ms = stream_now();
}

void stream_run(struct stream *s)
{
    BOOL tell = FALSE;
    AcquireSRWLockExclusive(&s->lock);
    s->again = TRUE;
    if (s->running) {
        ReleaseSRWLockExclusive(&s->lock);
        return;
    }
    s->running = TRUE;
    InterlockedIncrement(&s->flow->references);
    while (s->again) {
        s->again = FALSE;
        if (!s->end || !strcmp(s->end, "closed")) {
            if (!s->end) {
                stages_refresh(s);
                while (stages_work(s))
                    ;
            }
            if (!s->aborted)
                tcp_output(s);
            finish(s);
        } else if (s->aborted) {
            finish(s);
        }
        if (s->frames)
            send_frames(s);
    }
    if (s->end && !s->ended)
        tell = s->ended = TRUE;
    s->running = FALSE;
    ReleaseSRWLockExclusive(&s->lock);
    if (tell)
        flow_end(s->flow, s->end);
    flow_release(s->flow);
}

BOOL stream_abort(struct flow *flow)
{
    struct stream *s = flow->stream;
    if (!stream_carries(flow))
        return FALSE;
    AcquireSRWLockExclusive(&s->lock);
    if (!s->end) {
        s->end = "aborted";
        s->aborted = TRUE;
    }
    ReleaseSRWLockExclusive(&s->lock);
    stream_run(s);
    return TRUE;
}

struct flow *stream_find_closed(const struct tuple *tuple, BOOL sent)
{
    struct flow *found = NULL;
    if (!tuple->local.family || tuple->protocol != IPPROTO_TCP)
        return NULL;
    AcquireSRWLockShared(&table_lock);
    for (struct stream *s = carried; s && !found; s = s->next) {
        struct flow *f = s->flow;
        if (f->ended && !s->aborted && f->local_port == tuple->local_port && address_equal(&f->local, &tuple->local) &&
            (sent ? f->original_port : f->remote_port) == tuple->remote_port &&
            address_equal(sent ? &f->original : &f->remote, &tuple->remote))
            found = f;
    }
    if (found)
        InterlockedIncrement(&found->references);
    ReleaseSRWLockShared(&table_lock);
    return found;
}

/* ---- the worker ---- */

void stream_schedule(struct stream *s)
{
    struct scheduled *made = mem_alloc(sizeof *made);
    made->flow = s->flow;
    InterlockedIncrement(&s->flow->references);
    AcquireSRWLockExclusive(&table_lock);
    made->next = schedule;
    schedule = made;
    WakeConditionVariable(&wanted);
    ReleaseSRWLockExclusive(&table_lock);
}

void stream_complete(struct completion *completion)
{
    AcquireSRWLockExclusive(&table_lock);
    completion->next = NULL;
    *completions_end = completion;
    completions_end = &completion->next;
    WakeConditionVariable(&wanted);
    ReleaseSRWLockExclusive(&table_lock);
}

static BOOL work_scheduled(void)
{
    AcquireSRWLockExclusive(&table_lock);
    struct scheduled *list = schedule;
    schedule = NULL;
    ReleaseSRWLockExclusive(&table_lock);
    for (struct scheduled *one = list, *next; one; one = next) {
        next = one->next;
        stream_run(one->flow->stream);
        flow_release(one->flow);
        mem_free(one);
    }
    return list != NULL;
}

static BOOL work_completions(void)
{
    AcquireSRWLockExclusive(&table_lock);
    struct completion *list = completions;
    completions = NULL;
    completions_end = &completions;
    ReleaseSRWLockExclusive(&table_lock);
    for (struct completion *one = list, *next; one; one = next) {
        next = one->next;
        one->nbl->Status = STATUS_SUCCESS;
        if (nbl_block_of(one->nbl))
            nbl_block_of(one->nbl)->flying = FALSE;
        UINT32 before = irql_enter(IRQL_DISPATCH);
        one->complete(one->context, one->nbl, TRUE);
        irql_leave(before, IRQL_DISPATCH, "completionFn", one->complete);
        inject_done(one->injector);
        mem_free(one);
    }
    return list != NULL;
}

/*
 * The stream behind another one in the table; what is over for long enough that nobody sends a last word again is taken
 * out of it. The worker alone takes out, and new ones come in front: what is behind a stream stays behind it.
 */
static struct stream *next_carried(struct stream *before, BOOL *drop)
{
    UINT64 now = stream_now();
    AcquireSRWLockExclusive(&table_lock);
    struct stream **at = before ? &before->next : &carried, *s = *at;
    *drop = s && s->ended && now >= s->closed_ms + (s->aborted || strcmp(s->end, "closed") ? 0 : LINGER_MS);
    if (*drop)
        *at = s->next;
    ReleaseSRWLockExclusive(&table_lock);
    return s;
}

static void work_timers(void)
{
    struct stream *before = NULL, *s;
    BOOL drop;
    while ((s = next_carried(before, &drop))) {
        if (drop) {
            flow_release(s->flow); /* the table's */
            continue;
        }
        before = s;
        AcquireSRWLockExclusive(&s->lock);
        BOOL due = tcp_timers(s, stream_now());
        if (s->flow->ended && !s->end) { /* ended by somebody else: without a filter engine's flow there is no stream */
            s->end = "its flow ended";
            due = TRUE;
        }
        due = due || s->generation != filters_generation; /* what a removed filter held back goes on though nobody sends more (W299) */
        ReleaseSRWLockExclusive(&s->lock);
        if (due)
            stream_run(s);
    }
}

void stream_work(void)
{
    while (work_scheduled() || work_completions())
        ;
    work_timers();
}

static DWORD WINAPI worker(void *unused)
{
    (void)unused;
    for (;;) {
        AcquireSRWLockExclusive(&table_lock);
        while (!carried && !schedule && !completions)
            SleepConditionVariableSRW(&wanted, &table_lock, INFINITE, 0);
        if (!schedule && !completions)
            SleepConditionVariableSRW(&wanted, &table_lock, TICK_MS, 0);
        ReleaseSRWLockExclusive(&table_lock);
        stream_work();
    }
    return 0;
}

void stream_start(void)
{
    CloseHandle(CreateThread(NULL, 0, worker, NULL, 0, NULL));
}

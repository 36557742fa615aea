/*
 * What callouts do to a stream, and what both ends read of it. Named after the rule catalogue; the rig has the ends.
 *
 * SPDX-License-Identifier: MIT
 */
#include "stream_rig.h"

enum {
    NEED_MORE = 1, DROP = 2, DEFER = 3, ALLOW = 4,
    RECEIVE = 0x1, RECEIVE_DISCONNECT = 0x4, RECEIVE_ABORT = 0x8, RECEIVE_PUSH = 0x10,
    SEND = 0x10000, SEND_DISCONNECT = 0x80000, SEND_ABORT = 0x100000,
    A = 300, B = 301, LOG = 64,
};
static UINT16 port = 20000;
static UINT32 id_a, id_b;
static HANDLE stream_handle;
static unsigned completed;

/* ---- the callouts: each indication is logged, then a function of the check answers ---- */

struct shown {
    UINT32 flags, out_flags, rights, incoming;
    size_t length, missed;
    char first;
};
static struct shown shown[2][LOG];
static unsigned shown_count[2];
static void (*answers[2])(struct call *, FWPS_STREAM_CALLOUT_IO_PACKET0 *);

static void look(struct behaviour *b, struct call *call)
{
    int slot = (int)(b - behave);
    FWPS_STREAM_CALLOUT_IO_PACKET0 *io = call->data;
    struct shown *s = &shown[slot][shown_count[slot] < LOG - 1 ? shown_count[slot] : LOG - 1];
    SIZE_T copied = 0;
    memset(s, 0, sizeof *s);
    s->flags = io->streamData->flags;
    s->out_flags = call->out->flags;
    s->rights = call->out->rights;
    s->length = io->streamData->dataLength;
    s->missed = io->missedBytes;
    s->incoming = call->metadata->currentMetadataValues & META_SYSTEM_FLAGS ? call->metadata->flags : 0;
    FwpsCopyStreamDataToBuffer0(io->streamData, &s->first, 1, &copied);
    shown_count[slot]++;
    call->out->actionType = ACTION_PERMIT;
    if (answers[slot])
        answers[slot](call, io);
}

static void block(struct call *call, FWPS_STREAM_CALLOUT_IO_PACKET0 *io, size_t size)
{
    call->out->actionType = ACTION_BLOCK;
    io->countBytesEnforced = size;
}

static void NTAPI on_complete(void *context, NET_BUFFER_LIST *nbl, BOOLEAN dispatch)
{
    (void)context, (void)dispatch;
    completed++;
    nbl_release(nbl);
}

static NET_BUFFER_LIST *list_of(const void *bytes, size_t size)
{
    uint8_t *copy = mem_alloc(size + 1);
    memcpy(copy, bytes, size);
    return nbl_wrap(copy, size + 1, 0, size);
}

static NTSTATUS inject(UINT64 flow, UINT32 callout, UINT32 flags, const void *bytes, size_t size)
{
    NET_BUFFER_LIST *list = list_of(bytes, size);
    NTSTATUS status = FwpsStreamInjectAsync0(stream_handle, NULL, 0, flow, callout, LAYER_STREAM_V4, flags, list, size, on_complete, NULL);
    if (status)
        nbl_release(list);
    return status;
}

static NTSTATUS inject_here(struct call *call, FWPS_STREAM_CALLOUT_IO_PACKET0 *io, const void *bytes, size_t size)
{
    return inject(call->metadata->flowHandle, call->filter->action.calloutId,
                  io->streamData->flags & ~(UINT32)(SEND_DISCONNECT | RECEIVE_DISCONNECT), bytes, size);
}

static UINT64 filter_a;

static void open_with(UINT32 action_a, UINT32 action_b, BOOL options)
{
    begin();
    memset(shown_count, 0, sizeof shown_count);
    memset(answers, 0, sizeof answers);
    completed = 0;
    add_callout(A, LAYER_STREAM_V4, &id_a);
    add_callout(B, LAYER_STREAM_V4, &id_b);
    register_callout(A, 0);
    register_callout(B, 1);
    behave[0].instead = behave[1].instead = look;
    if (action_a)
        add_filter(LAYER_STREAM_V4, 100, action_a, A, 1, 0, &filter_a);
    if (action_b)
        add_filter(LAYER_STREAM_V4, 200, action_b, B, 1, 0, NULL);
    FwpsInjectionHandleCreate0(AF_UNSPEC, 1, &stream_handle);
    stream_open(++port, options);
}

static void open_one(void)
{
    open_with(ACTION_CALLOUT_TERMINATING, 0, FALSE);
}

static void done(void)
{
    stream_work();
    FwpsInjectionHandleDestroy0(stream_handle);
    end();
    stream_work();
    clock_ms += 60000;
    stream_work();
    FwpsCalloutUnregisterById0(id_a);
    FwpsCalloutUnregisterById0(id_b);
    stream_cut();
}

#define SAY(end, text) stream_say(end, text, sizeof text - 1)
#define READS(end, text) stream_read(end, text, sizeof text - 1)

/* ---- inline edits ---- */

static void replace_pattern(struct call *call, FWPS_STREAM_CALLOUT_IO_PACKET0 *io)
{
    char bytes[16];
    SIZE_T size = 0;
    FwpsCopyStreamDataToBuffer0(io->streamData, bytes, sizeof bytes, &size);
    size_t at = 0;
    while (at + 3 <= size && memcmp(bytes + at, "PPP", 3))
        at++;
    if (at + 3 > size)
        return;
    if (at) {
        io->countBytesEnforced = at;
        return;
    }
    inject_here(call, io, "XX", 2);
    block(call, io, 3);
}

static void test_replace(void)
{
    for (int from = 0; from < 2; from++) {
        open_one();
        answers[0] = replace_pattern;
        SAY(from, "abcPPPdefg");
        stream_settle();
        EXPECT("W283 the rest is indicated again at once", shown_count[0], 3);
        EXPECT("W283 from where the first answer ended", shown[0][1].first, 'P');
        EXPECT("W283 and the second", shown[0][2].length, 4);
        EXPECT("W279 what is injected stands where the classify stood", READS(!from, "abcXXdefg"), TRUE);
        EXPECT("the sender is acknowledged all it sent", ends[from].acknowledged, 10);
        EXPECT("W278 the completion has run", completed, 1);
        SAY(from, "more");
        SAY(!from, "back");
        stream_settle();
        EXPECT("the offset stays", READS(!from, "abcXXdefgmore"), TRUE);
        EXPECT("the other direction is as it was", READS(from, "back"), TRUE);
        done();
    }
}

static void block_first(struct call *call, FWPS_STREAM_CALLOUT_IO_PACKET0 *io)
{
    if (shown_count[0] == 1)
        block(call, io, 0);
}

static void test_block(void)
{
    open_one();
    answers[0] = block_first;
    SAY(GUEST_END, "gone");
    stream_settle();
    EXPECT("W284 a block of no count is of everything", ends[SERVER_END].in_size, 0);
    EXPECT("what is blocked is acknowledged", ends[GUEST_END].acknowledged, 4);
    SAY(GUEST_END, "here");
    stream_settle();
    EXPECT("what follows is read alone", READS(SERVER_END, "here"), TRUE);
    done();
}

/* The first byte is lost, and what follows comes in more pieces than are kept. */
static void test_many_pieces(void)
{
    static uint8_t text[700];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (uint8_t)(i * 11);
    open_one();
    ends[SERVER_END].segment = ends[SERVER_END].sent = 1;
    stream_say(SERVER_END, text, sizeof text);
    stream_step();
    EXPECT("nothing is indicated across a hole", shown_count[0], 0);
    stream_settle();
    EXPECT("the piece that closes it is taken however many wait", stream_read(GUEST_END, text, sizeof text), TRUE);
    done();
}

/* ---- more data ---- */

static void want_three_more(struct call *call, FWPS_STREAM_CALLOUT_IO_PACKET0 *io)
{
    if (shown_count[0] == 1 || (shown_count[0] == 2 && io->streamData->dataLength < 5)) {
        io->streamAction = NEED_MORE;
        io->countBytesRequired = 3;
        call->out->actionType = ACTION_NONE;
    }
}

static void test_need_more(void)
{
    open_one();
    answers[0] = want_three_more;
    SAY(GUEST_END, "ab");
    stream_step();
    SAY(GUEST_END, "c");
    stream_step();
    EXPECT("W285 nothing is indicated before there is enough", shown_count[0], 1);
    EXPECT("W285 and nothing goes on", ends[SERVER_END].in_size, 0);
    EXPECT("what is held is acknowledged", ends[GUEST_END].acknowledged, 3);
    SAY(GUEST_END, "de");
    stream_step();
    EXPECT("W285 then all of it is", shown[0][1].length, 5);
    EXPECT("and goes on", READS(SERVER_END, "abcde"), TRUE);
    done();
}

static void want_always(struct call *call, FWPS_STREAM_CALLOUT_IO_PACKET0 *io)
{
    io->streamAction = NEED_MORE;
    io->countBytesRequired = 64u << 20;
    call->out->actionType = ACTION_NONE;
}

static void want_until_told(struct call *call, FWPS_STREAM_CALLOUT_IO_PACKET0 *io)
{
    if (!(call->out->flags & (OUT_FLAG_NO_MORE_DATA | OUT_FLAG_BUFFER_LIMIT_REACHED)))
        want_always(call, io);
}

static void test_no_more(void)
{
    open_one();
    answers[0] = want_until_told;
    SAY(GUEST_END, "tail");
    stream_step();
    EXPECT("held", ends[SERVER_END].in_size, 0);
    stream_close(GUEST_END);
    stream_settle();
    EXPECT("W287 told that there is no more", shown[0][1].out_flags & OUT_FLAG_NO_MORE_DATA, OUT_FLAG_NO_MORE_DATA);
    EXPECT("W287 what was held goes on", READS(SERVER_END, "tail"), TRUE);
    EXPECT("W294 then the FIN", ends[SERVER_END].fin_read, TRUE);
    EXPECT("W294 which is a segment of no length", shown[0][2].length, 0);
    EXPECT("W293 W294 with its flag", shown[0][2].flags, SEND | SEND_DISCONNECT);
    done();
    open_one();
    answers[0] = want_always;
    LONG64 before = (LONG64)stats.lint;
    SAY(GUEST_END, "tail");
    stream_step();
    stream_close(GUEST_END);
    stream_settle();
    EXPECT("W287 who asks nevertheless is told", stats.lint > (UINT64)before, TRUE);
    EXPECT("W287 and gets no more", READS(SERVER_END, "tail"), TRUE);
    done();
}

static void test_limit(void)
{
    enum { SIZE = 9 << 20 };
    uint8_t *text = mem_alloc(SIZE);
    for (size_t i = 0; i < SIZE; i++)
        text[i] = (uint8_t)(i * 7 + i / 251);
    open_with(ACTION_CALLOUT_TERMINATING, 0, TRUE);
    answers[0] = want_until_told;
    ends[GUEST_END].segment = 1388;
    stream_say(GUEST_END, text, SIZE);
    stream_settle();
    EXPECT("W286 told of the limit", shown[0][1].out_flags & OUT_FLAG_BUFFER_LIMIT_REACHED, OUT_FLAG_BUFFER_LIMIT_REACHED);
    EXPECT("W286 at 8 MB", shown[0][1].length >= 8 << 20 && shown[0][1].length < (8 << 20) + 0x20000, TRUE);
    stream_close(GUEST_END);
    stream_settle();
    EXPECT("W286 and nothing is lost", stream_read(SERVER_END, text, SIZE), TRUE);
    done();
    mem_free(text);
}

/* ---- stream actions ---- */

static void drop(struct call *call, FWPS_STREAM_CALLOUT_IO_PACKET0 *io)
{
    io->streamAction = DROP;
    call->out->actionType = ACTION_NONE;
}

static void test_drop(void)
{
    static const UINT32 kinds[] = {ACTION_CALLOUT_UNKNOWN, ACTION_CALLOUT_INSPECTION, ACTION_CALLOUT_TERMINATING};
    for (int i = 0; i < 3; i++) {
        open_with(kinds[i], 0, FALSE);
        answers[0] = drop;
        SAY(SERVER_END, "hello");
        stream_settle();
        EXPECT("W288 dropped at the server's end by UNKNOWN alone", ends[SERVER_END].was_reset, i == 0);
        EXPECT("W288 and at the guest's", ends[GUEST_END].was_reset, i == 0);
        EXPECT("W288 else the data passes", READS(GUEST_END, "hello"), i != 0);
        EXPECT("W288 a dropped flow is no flow", flows_count(), i != 0);
        done();
    }
}

static BOOL deferring;
static NTSTATUS continued_inside;

static void defer(struct call *call, FWPS_STREAM_CALLOUT_IO_PACKET0 *io)
{
    if (!deferring)
        return;
    continued_inside = FwpsStreamContinue0(call->metadata->flowHandle, id_a, LAYER_STREAM_V4, io->streamData->flags);
    io->streamAction = DEFER;
    call->out->actionType = ACTION_NONE;
}

static void test_defer(void)
{
    enum { SIZE = 200000 };
    static uint8_t text[SIZE];
    for (size_t i = 0; i < SIZE; i++)
        text[i] = (uint8_t)(i * 13);
    open_one();
    answers[0] = defer;
    deferring = TRUE;
    ends[SERVER_END].segment = 1000;
    stream_say(SERVER_END, text, SIZE);
    stream_settle();
    EXPECT("W289 a deferred stream is not read", ends[GUEST_END].in_size, 0);
    EXPECT("W289 nor indicated again", shown_count[0], 1);
    EXPECT("W289 and its window closes", ends[SERVER_END].window < 1500, TRUE);
    EXPECT("W289 after what was offered", ends[SERVER_END].acknowledged <= 2 * 65535, TRUE);
    EXPECT("W289 continuing is not for classifyFn", continued_inside < 0, TRUE);
    SAY(GUEST_END, "meanwhile");
    deferring = FALSE;
    stream_step();
    EXPECT("the other direction goes on", READS(SERVER_END, "meanwhile"), TRUE);
    EXPECT("W289 no other callout can continue it", FwpsStreamContinue0(behave[0].flow, id_b, LAYER_STREAM_V4, RECEIVE) < 0, TRUE);
    EXPECT("W289 its own can", FwpsStreamContinue0(behave[0].flow, id_a, LAYER_STREAM_V4, RECEIVE), 0);
    stream_settle();
    EXPECT("W289 then it is read", stream_read(GUEST_END, text, SIZE), TRUE);
    EXPECT("continuing what is not deferred fails", FwpsStreamContinue0(behave[0].flow, id_a, LAYER_STREAM_V4, RECEIVE) < 0, TRUE);
    UINT64 lint = stats.lint;
    deferring = TRUE;
    SAY(GUEST_END, "!");
    stream_settle();
    EXPECT("W289 an outbound stream cannot be deferred", READS(SERVER_END, "meanwhile!"), TRUE);
    EXPECT("W289 and who tries is told", stats.lint > lint, TRUE);
    done();
}

static void allow_and_block(struct call *call, FWPS_STREAM_CALLOUT_IO_PACKET0 *io)
{
    io->streamAction = ALLOW;
    block(call, io, 2);
}

static void test_allow(void)
{
    open_one();
    answers[0] = allow_and_block;
    SAY(GUEST_END, "first");
    stream_settle();
    EXPECT("W291 beside a stream action the action does not count", READS(SERVER_END, "first"), TRUE);
    SAY(GUEST_END, "second");
    SAY(SERVER_END, "third");
    stream_close(GUEST_END);
    stream_settle();
    EXPECT("W290 an allowed connection is not classified again", shown_count[0], 1);
    EXPECT("W290 and passes", READS(SERVER_END, "firstsecond") && READS(GUEST_END, "third") && ends[SERVER_END].fin_read, TRUE);
    done();
}

/* ---- several callouts ---- */

static void block_two_then_inject(struct call *call, FWPS_STREAM_CALLOUT_IO_PACKET0 *io)
{
    if (shown_count[0] == 1) {
        block(call, io, 2);
    } else if (shown_count[0] == 2) {
        inject_here(call, io, "++", 2);
        call->out->rights = 0;
    }
}

static void test_waterfall(void)
{
    open_with(ACTION_CALLOUT_TERMINATING, ACTION_CALLOUT_TERMINATING, FALSE);
    answers[0] = block_two_then_inject;
    SAY(GUEST_END, "xxyyy");
    stream_settle();
    EXPECT("W281 what the first blocks the second never sees", shown[1][0].first == '+' || shown[1][0].first == 'y', TRUE);
    EXPECT("W292 and is told how much that was", shown[1][0].missed, 2);
    EXPECT("W280 what the first injects it does not see itself", shown_count[0], 2);
    size_t seen = 0;
    for (unsigned i = 0; i < shown_count[1]; i++)
        seen += shown[1][i].length;
    EXPECT("W280 but the second does", seen, 5);
    EXPECT("both are read", READS(SERVER_END, "++yyy"), TRUE);
    SAY(GUEST_END, "z");
    stream_settle();
    EXPECT("W292 nothing is missed by then", shown[1][shown_count[1] - 1].missed, 0);
    done();
}

static void permit_hard(struct call *call, FWPS_STREAM_CALLOUT_IO_PACKET0 *io)
{
    (void)io;
    call->out->rights = 0;
}

static void block_all(struct call *call, FWPS_STREAM_CALLOUT_IO_PACKET0 *io)
{
    block(call, io, 0);
}

static void test_rights(void)
{
    open_with(ACTION_CALLOUT_TERMINATING, ACTION_CALLOUT_TERMINATING, FALSE);
    answers[0] = permit_hard;
    answers[1] = block_all;
    SAY(GUEST_END, "one");
    SAY(SERVER_END, "two");
    stream_settle();
    EXPECT("the first left no right", shown[1][0].rights, 0);
    EXPECT("W282 the second blocks nevertheless", ends[SERVER_END].in_size + ends[GUEST_END].in_size, 0);
    done();
    open_with(ACTION_CALLOUT_INSPECTION, ACTION_CALLOUT_TERMINATING, FALSE);
    answers[0] = block_all;
    SAY(GUEST_END, "seen");
    stream_settle();
    EXPECT("W104 an inspection blocks nothing", READS(SERVER_END, "seen"), TRUE);
    done();
}

/* ---- flags, FIN and RST ---- */

static void block_fin(struct call *call, FWPS_STREAM_CALLOUT_IO_PACKET0 *io)
{
    if (io->streamData->flags & (SEND_DISCONNECT | RECEIVE_DISCONNECT))
        block(call, io, 0);
}

static void test_fin(void)
{
    for (int from = 0; from < 2; from++) {
        UINT32 flags = from == GUEST_END ? SEND | SEND_DISCONNECT : RECEIVE | RECEIVE_DISCONNECT;
        open_one();
        answers[0] = block_fin;
        SAY(from, "data");
        stream_close(from);
        stream_settle();
        EXPECT("W294 a FIN can be blocked", ends[!from].fin_read, FALSE);
        EXPECT("its sender is acknowledged", ends[from].acknowledged, 5);
        EXPECT("W294 and data injected in its place", STATUS_OF(inject(behave[0].flow, id_a, flags & 0x10001, "late", 4)), 0);
        EXPECT("W277 W294 and the FIN without a list", STATUS_OF(FwpsStreamInjectAsync0(stream_handle, NULL, 0, behave[0].flow, id_a, LAYER_STREAM_V4, flags, NULL, 0, on_complete, NULL)), 0);
        stream_settle();
        EXPECT("W294 both arrive", READS(!from, "datalate") && ends[!from].fin_read, TRUE);
        EXPECT("W277 no completion without a list", completed, 1);
        EXPECT("after the FIN nothing is injected", inject(behave[0].flow, id_a, flags & 0x10001, "no", 2) < 0, TRUE);
        SAY(!from, "answer");
        stream_close(!from);
        answers[0] = NULL;
        stream_settle();
        EXPECT("the other direction closes as ever", READS(from, "answer") && ends[from].fin_read, TRUE);
        EXPECT("and the flow is over", flows_count(), 0);
        done();
    }
}

static void reset_from(int from)
{
    uint8_t frame[2048];
    UINT32 sequence = ends[from].first + 1 + (UINT32)ends[from].sent;
    if (from == GUEST_END)
        stack_from_guest(frame, build(frame, GUEST, port, SERVER, 80, IPPROTO_TCP, 0x14, sequence, ""));
    else
        stack_from_link(frame, build(frame, SERVER, 80, GUEST, port, IPPROTO_TCP, 0x14, sequence, ""));
}

static void test_flags(void)
{
    for (int from = 0; from < 2; from++) {
        open_one();
        SAY(from, "data");
        stream_settle();
        EXPECT("W293 direction and push", shown[0][0].flags, from == GUEST_END ? SEND : RECEIVE | RECEIVE_PUSH);
        ends[from].urgent = TRUE;
        SAY(from, "!");
        stream_settle();
        EXPECT("W293 urgent data is expedited", shown[0][1].flags & 0x20002, from == GUEST_END ? 0x20000 : 0x2);
        EXPECT("and arrives as such", ends[!from].urgent_seen, 1);
        reset_from(from);
        stream_settle();
        EXPECT("W293 a reset is indicated", shown[0][2].flags, from == GUEST_END ? SEND | SEND_ABORT : RECEIVE | RECEIVE_ABORT);
        EXPECT("and arrives", ends[!from].was_reset, TRUE);
        EXPECT("and ends the flow", flows_count(), 0);
        done();
    }
}

static void test_abort(void)
{
    open_one();
    SAY(GUEST_END, "data");
    stream_settle();
    EXPECT("a flow that is carried can be aborted", STATUS_OF(FwpsFlowAbort0(behave[0].flow)), 0);
    stream_settle();
    EXPECT("at both ends", ends[0].was_reset && ends[1].was_reset, TRUE);
    EXPECT("and is over", flows_count(), 0);
    done();
}

static void test_silence(void)
{
    open_one();
    ends[SERVER_END].silent = TRUE;
    SAY(GUEST_END, "data");
    stream_settle();
    for (int i = 0; i < 30; i++) {
        clock_ms += 4000;
        stream_step();
    }
    EXPECT("who does not answer for long loses the connection", ends[GUEST_END].was_reset, TRUE);
    EXPECT("which is over", flows_count(), 0);
    done();
}

/* ---- filters that come and go ---- */

static void test_mid_stream(void)
{
    for (int may = 0; may < 2; may++) {
        register_flags = may ? CALLOUT_ALLOW_MID_STREAM_INSPECTION : 0;
        open_with(0, 0, TRUE);
        register_flags = 0;
        SAY(GUEST_END, "before");
        SAY(SERVER_END, "early");
        stream_settle();
        add_filter(LAYER_STREAM_V4, 100, ACTION_CALLOUT_TERMINATING, A, 1, 0, NULL);
        answers[0] = replace_pattern;
        SAY(GUEST_END, "aPPPb");
        SAY(SERVER_END, "late");
        stream_settle();
        EXPECT("W298 an older flow is shown to who allows it alone", shown_count[0] != 0, may);
        EXPECT("W298 with its flag", shown[0][0].incoming & 0x10, may ? 0x10 : 0);
        EXPECT("W298 and edited from there on", may ? READS(SERVER_END, "beforeaXXb") : READS(SERVER_END, "beforeaPPPb"), TRUE);
        EXPECT("W298 the other direction too", READS(GUEST_END, "earlylate"), TRUE);
        stream_close(GUEST_END);
        stream_close(SERVER_END);
        stream_settle();
        EXPECT("it closes", ends[0].fin_read && ends[1].fin_read && flows_count() == 0, TRUE);
        done();
        shown[0][0].incoming = 0;
    }
    open_one();
    SAY(GUEST_END, "new");
    stream_settle();
    EXPECT("W298 a flow that is younger has no such flag", shown[0][0].incoming & 0x10, 0);
    done();
}

static void test_removal(void)
{
    open_one();
    answers[0] = want_always;
    SAY(GUEST_END, "held");
    stream_settle();
    UINT64 lint = stats.lint;
    FwpmFilterDeleteById0(engine, filter_a);
    SAY(GUEST_END, "freed");
    stream_settle();
    EXPECT("W299 a filter goes while its callout wants more data", stats.lint, lint + 1);
    EXPECT("what it held goes on", READS(SERVER_END, "heldfreed"), TRUE);
    done();
}

/* ---- clones, copies, out of band ---- */

static void test_arguments(void)
{
    HANDLE transport;
    NET_BUFFER_LIST *list = list_of("abc", 3), *next = list_of("def", 3);
#define INJECT(handle, layer, flags, lists, size, complete) STATUS_OF(FwpsStreamInjectAsync0(handle, NULL, 0, behave[0].flow, id_a, layer, flags, lists, size, complete, NULL))
    open_one();
    answers[0] = block_all;
    SAY(GUEST_END, "data");
    stream_settle();
    EXPECT("W275 RECEIVE_DISCONNECT without RECEIVE", INJECT(stream_handle, LAYER_STREAM_V4, RECEIVE_DISCONNECT, list, 3, on_complete), (unsigned)STATUS_FWP_INVALID_PARAMETER);
    EXPECT("W275 SEND_DISCONNECT without SEND", INJECT(stream_handle, LAYER_STREAM_V4, SEND_DISCONNECT, list, 3, on_complete), (unsigned)STATUS_FWP_INVALID_PARAMETER);
    EXPECT("W276 no completionFn", INJECT(stream_handle, LAYER_STREAM_V4, SEND, list, 3, NULL), (unsigned)STATUS_FWP_NULL_POINTER);
    EXPECT("W277 no list and no FIN", INJECT(stream_handle, LAYER_STREAM_V4, SEND, NULL, 0, on_complete) != 0, TRUE);
    EXPECT("W279 another layer", INJECT(stream_handle, LAYER_INBOUND_TRANSPORT_V4, SEND, list, 3, on_complete) != 0, TRUE);
    EXPECT("W279 the other family's layer", INJECT(stream_handle, LAYER_STREAM_V4 + 2, SEND, list, 3, on_complete) != 0, TRUE);
    EXPECT("more bytes than there are", INJECT(stream_handle, LAYER_STREAM_V4, SEND, list, 4, on_complete) != 0, TRUE);
    FwpsInjectionHandleCreate0(AF_UNSPEC, 2, &transport);
    EXPECT("W239 a handle for transport is none for streams", INJECT(transport, LAYER_STREAM_V4, SEND, list, 3, on_complete) != 0, TRUE);
    FwpsInjectionHandleDestroy0(transport);
    wire.up = 0;
    EXPECT("W244 TCP/IP not ready", INJECT(stream_handle, LAYER_STREAM_V4, SEND, list, 3, on_complete), (unsigned)STATUS_FWP_TCPIP_NOT_READY);
    wire.up = 1;
    EXPECT("nothing of it was injected", completed, 0);
    list->Next = next;
    next->Next = list_of("ghi", 3);
    EXPECT("W278 a chain of three", INJECT(stream_handle, LAYER_STREAM_V4, SEND, list, 9, on_complete), 0);
    stream_settle();
    EXPECT("W278 completes three times", completed, 3);
    EXPECT("W278 and is read as one", READS(SERVER_END, "abcdefghi"), TRUE);
    done();
}

static uint8_t gathered[4000];
static SIZE_T gathered_size, gathered_part;
static unsigned mdls;

static void gather_all(struct call *call, FWPS_STREAM_CALLOUT_IO_PACKET0 *io)
{
    const FWPS_STREAM_DATA0 *data = io->streamData;
    if (data->dataLength < 3000) {
        io->streamAction = NEED_MORE;
        io->countBytesRequired = (UINT32)(3000 - data->dataLength);
        call->out->actionType = ACTION_NONE;
        return;
    }
    if (shown[0][shown_count[0] - 1].first == 0) { /* the first bytes alone, so that the next begins inside a list */
        io->countBytesEnforced = 300;
        return;
    }
    for (const NET_BUFFER_LIST *l = data->netBufferListChain; l; l = l->Next)
        for (const MDL *m = l->FirstNetBuffer->MdlChain; m; m = m->Next)
            mdls++;
    FwpsCopyStreamDataToBuffer0(data, gathered, sizeof gathered, &gathered_size);
    FwpsCopyStreamDataToBuffer0(data, gathered + 3500, 5, &gathered_part);
}

static void test_copy(void)
{
    uint8_t text[3600];
    for (unsigned i = 0; i < sizeof text; i++)
        text[i] = (uint8_t)(i * 31 % 253 + (i > 0));
    open_one();
    answers[0] = gather_all;
    ends[GUEST_END].segment = 900;
    stream_say(GUEST_END, text, sizeof text);
    stream_settle();
    EXPECT("indicated as lists of several MDLs", mdls > 6, TRUE);
    EXPECT("W295 copied as far as there is", gathered_size, 3300);
    EXPECT("W295 from the offset on, across all of them", memcmp(gathered, text + 300, 3300), 0);
    EXPECT("W295 and not beyond what was asked for", gathered_part, 5);
    EXPECT("and read", stream_read(SERVER_END, text, sizeof text), TRUE);
    done();
}

enum { PENDING = 4096 };
static struct {
    NET_BUFFER_LIST *list;
    size_t size;
    UINT32 flags;
} pending[PENDING];
static unsigned pending_count;

static void clone_and_block(struct call *call, FWPS_STREAM_CALLOUT_IO_PACKET0 *io)
{
    FwpsCloneStreamData0(io->streamData, NULL, NULL, 0, &pending[pending_count].list);
    pending[pending_count].size = io->streamData->dataLength;
    pending[pending_count++].flags = io->streamData->flags;
    block(call, io, 0);
}

static unsigned reinject_all(void)
{
    unsigned failed = 0;
    for (unsigned i = 0; i < pending_count; i++)
        failed += FwpsStreamInjectAsync0(stream_handle, NULL, 0, behave[0].flow, id_a, LAYER_STREAM_V4, pending[i].flags, pending[i].list,
                                         pending[i].size, on_complete, NULL) != 0;
    pending_count = 0;
    return failed;
}

static void test_out_of_band(void)
{
    for (int from = 0; from < 2; from++) {
        UINT64 lint = stats.lint;
        open_one();
        answers[0] = clone_and_block;
        ends[from].segment = 700;
        uint8_t text[5000];
        for (unsigned i = 0; i < sizeof text; i++)
            text[i] = (uint8_t)(i ^ i >> 8);
        stream_say(from, text, sizeof text);
        stream_settle();
        EXPECT("W296 blocked and cloned", ends[!from].in_size == 0 && pending_count != 0, TRUE);
        stream_close(from);
        stream_settle();
        EXPECT("W296 the clones are injected", reinject_all(), 0);
        stream_settle();
        EXPECT("W296 and read in their order", stream_read(!from, text, sizeof text) && ends[!from].fin_read, TRUE);
        EXPECT("without a word of complaint", stats.lint, lint);
        EXPECT("W278 each completed", completed > 1, TRUE);
        done();
    }
    open_one();
    answers[0] = clone_and_block;
    SAY(GUEST_END, "one");
    stream_settle();
    FwpsDiscardClonedStreamData0(pending[0].list, 0, FALSE);
    pending_count = 0;
    SAY(GUEST_END, "two");
    stream_settle();
    reinject_all();
    stream_settle();
    EXPECT("W296 what is discarded is gone", READS(SERVER_END, "two"), TRUE);
    UINT64 lint = stats.lint;
    answers[0] = NULL;
    SAY(GUEST_END, "three");
    stream_settle();
    EXPECT("W297 inline after out of band is told", stats.lint > lint, TRUE);
    done();
}

static void test_pended_too_much(void)
{
    static uint8_t text[1 << 16];
    UINT64 lint = stats.lint;
    open_with(ACTION_CALLOUT_TERMINATING, 0, TRUE);
    answers[0] = clone_and_block;
    ends[GUEST_END].segment = 1388;
    for (int i = 0; i < 160; i++) {
        stream_say(GUEST_END, text, sizeof text);
        if (ends[GUEST_END].out_size <= 8 << 20) {
            stream_step();
            if (pending_count > PENDING / 2)
                break;
        } else {
            stream_settle();
            break;
        }
    }
    for (unsigned i = 1; i < pending_count; i++)
        pending[i - 1].list->Next = NULL;
    size_t held = 0;
    for (unsigned i = 0; i < pending_count; i++)
        held += pending[i].size;
    EXPECT("W286 a driver that pends more than 8 MB is told, once", stats.lint - lint, held > 8 << 20);
    for (unsigned i = 0; i < pending_count; i++)
        FwpsDiscardClonedStreamData0(pending[i].list, 0, FALSE);
    pending_count = 0;
    done();
}

/* ---- what no filter concerns, and how a flow ends ---- */

static void test_untouched(void)
{
    open_with(0, 0, TRUE);
    unsigned long long before = frames_carried;
    UINT64 engine_before = stats.frames_in + stats.frames_out;
    SAY(GUEST_END, "question");
    SAY(SERVER_END, "answer");
    stream_settle();
    unsigned long long carried = frames_carried - before;
    EXPECT("each segment of the ends goes by, and none is added", carried, 2 * (stats.frames_in + stats.frames_out - engine_before));
    EXPECT("as it was", READS(SERVER_END, "question") && READS(GUEST_END, "answer"), TRUE);
    done();
}

static void test_end(void)
{
    UINT32 id;
    begin();
    add_callout(A, LAYER_STREAM_V4, &id_a);
    register_callout(A, 0);
    add_callout(302, LAYER_ALE_FLOW_ESTABLISHED_V4, &id);
    register_callout(302, 2);
    add_filter(LAYER_ALE_FLOW_ESTABLISHED_V4, 100, ACTION_CALLOUT_TERMINATING, 302, 1, 0, NULL);
    add_filter(LAYER_STREAM_V4, 100, ACTION_CALLOUT_TERMINATING, A, 1, 0, NULL);
    behave[2].associate_layer = LAYER_STREAM_V4;
    behave[2].associate_callout = id_a;
    behave[2].action = behave[0].action = ACTION_PERMIT;
    FwpsInjectionHandleCreate0(AF_UNSPEC, 1, &stream_handle);
    stream_open(++port, FALSE);
    SAY(GUEST_END, "bye");
    stream_close(GUEST_END);
    stream_close(SERVER_END);
    stream_settle();
    EXPECT("W190 a flow that is carried has its context", behave[0].flow_context, 0x77);
    EXPECT("W195 which goes with it, once", behave[0].deletes, 1);
    size_t before = frames_carried;
    ends[SERVER_END].sent = 0; /* its FIN once more: the last word was lost */
    ends[SERVER_END].fin_sent = FALSE;
    stream_step();
    EXPECT("a FIN that comes again is acknowledged", frames_carried - before >= 2, TRUE);
    EXPECT("to whom it came from alone", ends[GUEST_END].was_reset || ends[SERVER_END].was_reset, FALSE);
    done();
    FwpsCalloutUnregisterById0(id);
}

void test_stream_layer(void)
{
    test_replace();
    test_block();
    test_many_pieces();
    test_need_more();
    test_no_more();
    test_limit();
    test_drop();
    test_defer();
    test_allow();
    test_waterfall();
    test_rights();
    test_fin();
    test_flags();
    test_abort();
    test_silence();
    test_mid_stream();
    test_removal();
    test_arguments();
    test_copy();
    test_out_of_band();
    test_pended_too_much();
    test_untouched();
    test_end();
}

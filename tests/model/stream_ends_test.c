/*
 * How a stream ends, and what filters that come, go or concern others do to it. Named after the rule catalogue.
 *
 * SPDX-License-Identifier: MIT
 */
#include "stream_callouts.h"

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
        stream_open_one();
        answers[0] = block_fin;
        SAY(from, "data");
        stream_close(from);
        stream_settle();
        EXPECT("W294 a FIN can be blocked", ends[!from].fin_read, FALSE);
        EXPECT("its sender is acknowledged", ends[from].acknowledged, 5);
        EXPECT("W294 and data injected in its place", STATUS_OF(stream_inject(behave[0].flow, stream_a, flags & 0x10001, "late", 4)), 0);
        EXPECT("W277 W294 and the FIN without a list", STATUS_OF(FwpsStreamInjectAsync0(stream_handle, NULL, 0, behave[0].flow, stream_a, LAYER_STREAM_V4, flags, NULL, 0, stream_completed, NULL)), 0);
        stream_settle();
        EXPECT("W294 both arrive", READS(!from, "datalate") && ends[!from].fin_read, TRUE);
        EXPECT("W277 no completion without a list", stream_lists_completed, 1);
        EXPECT("after the FIN nothing is injected", stream_inject(behave[0].flow, stream_a, flags & 0x10001, "no", 2) < 0, TRUE);
        SAY(!from, "answer");
        stream_close(!from);
        answers[0] = NULL;
        stream_settle();
        EXPECT("the other direction closes as ever", READS(from, "answer") && ends[from].fin_read, TRUE);
        EXPECT("and the flow is over", flows_count(), 0);
        stream_done();
    }
}

/* What was damaged on the way is not of the stream: the engine would put a right checksum on wrong bytes. */
static void test_damage(void)
{
    for (int from = 0; from < 2; from++) {
        uint8_t frame[2048];
        stream_open_one();
        SAY(from, "sound");
        stream_settle();
        UINT32 sequence = ends[from].first + 1 + (UINT32)ends[from].sent;
        size_t length = from == GUEST_END ? build(frame, GUEST, stream_port, SERVER, 80, IPPROTO_TCP, 0x18, sequence, "wrong")
                                          : build(frame, SERVER, 80, GUEST, stream_port, IPPROTO_TCP, 0x18, sequence, "wrong");
        const size_t damaged[] = {length - 1, ETHERNET + 20 + 7, ETHERNET + 20 + 16}; /* payload, sequence number, checksum */
        for (unsigned i = 0; i < 3; i++) {
            frame[damaged[i]] ^= 0x40;
            (from == GUEST_END ? stack_from_guest : stack_from_link)(frame, length);
            frame[damaged[i]] ^= 0x40;
            stream_settle();
        }
        EXPECT("a damaged segment is shown to nobody", shown_count[0], 1);
        EXPECT("and does not arrive", READS(!from, "sound"), TRUE);
        EXPECT("nor is it acknowledged", ends[from].acknowledged, 5);
        SAY(from, "again");
        stream_settle();
        EXPECT("what is sent once more does", READS(!from, "soundagain"), TRUE);
        stream_done();
    }
}

static void reset_from(int from)
{
    uint8_t frame[2048];
    UINT32 sequence = ends[from].first + 1 + (UINT32)ends[from].sent;
    if (from == GUEST_END)
        stack_from_guest(frame, build(frame, GUEST, stream_port, SERVER, 80, IPPROTO_TCP, 0x14, sequence, ""));
    else
        stack_from_link(frame, build(frame, SERVER, 80, GUEST, stream_port, IPPROTO_TCP, 0x14, sequence, ""));
}

static void test_flags(void)
{
    for (int from = 0; from < 2; from++) {
        stream_open_one();
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
        stream_done();
    }
}

static void test_abort(void)
{
    stream_open_one();
    SAY(GUEST_END, "data");
    stream_settle();
    EXPECT("a flow that is carried can be aborted", STATUS_OF(FwpsFlowAbort0(behave[0].flow)), 0);
    stream_settle();
    EXPECT("at both ends", ends[0].was_reset && ends[1].was_reset, TRUE);
    EXPECT("and is over", flows_count(), 0);
    stream_done();
}

static void test_silence(void)
{
    stream_open_one();
    ends[SERVER_END].silent = TRUE;
    SAY(GUEST_END, "data");
    stream_settle();
    for (int i = 0; i < 30; i++) {
        clock_ms += 4000;
        stream_step();
    }
    EXPECT("who does not answer for long loses the connection", ends[GUEST_END].was_reset, TRUE);
    EXPECT("which is over", flows_count(), 0);
    stream_done();
}

/* ---- filters that come and go ---- */

static void test_mid_stream(void)
{
    for (int may = 0; may < 2; may++) {
        register_flags = may ? CALLOUT_ALLOW_MID_STREAM_INSPECTION : 0;
        stream_open_with(0, 0, TRUE);
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
        stream_done();
        shown[0][0].incoming = 0;
    }
    stream_open_one();
    SAY(GUEST_END, "new");
    stream_settle();
    EXPECT("W298 a flow that is younger has no such flag", shown[0][0].incoming & 0x10, 0);
    stream_done();
}

static void test_removal(void)
{
    stream_open_one();
    answers[0] = want_always;
    SAY(GUEST_END, "held");
    stream_settle();
    UINT64 lint = stats.lint;
    FwpmFilterDeleteById0(engine, stream_filter_a);
    SAY(GUEST_END, "freed");
    stream_settle();
    EXPECT("W299 a filter goes while its callout wants more data", stats.lint, lint + 1);
    EXPECT("what it held goes on", READS(SERVER_END, "heldfreed"), TRUE);
    stream_done();
    stream_open_one();
    answers[0] = want_always;
    SAY(GUEST_END, "held");
    stream_settle();
    FwpmFilterDeleteById0(engine, stream_filter_a);
    stream_settle();
    EXPECT("and does so though nobody sends anything more", READS(SERVER_END, "held"), TRUE);
    stream_done();
}

/* ---- what no filter concerns, and how a flow ends ---- */

static void test_untouched(void)
{
    stream_open_with(0, 0, TRUE);
    unsigned long long before = frames_carried;
    UINT64 engine_before = stats.frames_in + stats.frames_out;
    SAY(GUEST_END, "question");
    SAY(SERVER_END, "answer");
    stream_settle();
    unsigned long long carried = frames_carried - before;
    EXPECT("each segment of the ends goes by, and none is added", carried, 2 * (stats.frames_in + stats.frames_out - engine_before));
    EXPECT("as it was", READS(SERVER_END, "question") && READS(GUEST_END, "answer"), TRUE);
    stream_done();
}

static void test_end(void)
{
    UINT32 id;
    begin();
    add_callout(A, LAYER_STREAM_V4, &stream_a);
    register_callout(A, 0);
    add_callout(302, LAYER_ALE_FLOW_ESTABLISHED_V4, &id);
    register_callout(302, 2);
    add_filter(LAYER_ALE_FLOW_ESTABLISHED_V4, 100, ACTION_CALLOUT_TERMINATING, 302, 1, 0, NULL);
    add_filter(LAYER_STREAM_V4, 100, ACTION_CALLOUT_TERMINATING, A, 1, 0, NULL);
    behave[2].associate_layer = LAYER_STREAM_V4;
    behave[2].associate_callout = stream_a;
    behave[2].action = behave[0].action = ACTION_PERMIT;
    FwpsInjectionHandleCreate0(AF_UNSPEC, 1, &stream_handle);
    stream_open(++stream_port, FALSE);
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
    stream_done();
    FwpsCalloutUnregisterById0(id);
}

void test_stream_ends(void)
{
    test_damage();
    test_fin();
    test_flags();
    test_abort();
    test_silence();
    test_mid_stream();
    test_removal();
    test_untouched();
    test_end();
}

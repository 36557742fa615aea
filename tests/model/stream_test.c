/*
 * What callouts do to a stream, and what both ends read of it. Named after the rule catalogue; the rig has the ends.
 *
 * SPDX-License-Identifier: MIT
 */
#include "stream_callouts.h"

/* ---- inline edits ---- */

static void test_replace(void)
{
    for (int from = 0; from < 2; from++) {
        stream_open_one();
        answers[0] = replace_pattern;
        SAY(from, "abcPPPdefg");
        stream_settle();
        EXPECT("W283 the rest is indicated again at once", shown_count[0], 3);
        EXPECT("W283 from where the first answer ended", shown[0][1].first, 'P');
        EXPECT("W283 and the second", shown[0][2].length, 4);
        EXPECT("W279 what is injected stands where the classify stood", READS(!from, "abcXXdefg"), TRUE);
        EXPECT("the sender is acknowledged all it sent", ends[from].acknowledged, 10);
        EXPECT("W278 the completion has run", stream_lists_completed, 1);
        SAY(from, "more");
        SAY(!from, "back");
        stream_settle();
        EXPECT("the offset stays", READS(!from, "abcXXdefgmore"), TRUE);
        EXPECT("the other direction is as it was", READS(from, "back"), TRUE);
        stream_done();
    }
}

static void block_first(struct call *call, FWPS_STREAM_CALLOUT_IO_PACKET0 *io)
{
    if (shown_count[0] == 1)
        block(call, io, 0);
}

static void test_block(void)
{
    stream_open_one();
    answers[0] = block_first;
    SAY(GUEST_END, "gone");
    stream_settle();
    EXPECT("W284 a block of no count is of everything", ends[SERVER_END].in_size, 0);
    EXPECT("what is blocked is acknowledged", ends[GUEST_END].acknowledged, 4);
    SAY(GUEST_END, "here");
    stream_settle();
    EXPECT("what follows is read alone", READS(SERVER_END, "here"), TRUE);
    stream_done();
}

/* The first byte is lost, and what follows comes in more pieces than are kept. */
static void test_many_pieces(void)
{
    static uint8_t text[700];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (uint8_t)(i * 11);
    stream_open_one();
    ends[SERVER_END].segment = ends[SERVER_END].sent = 1;
    stream_say(SERVER_END, text, sizeof text);
    stream_step();
    EXPECT("nothing is indicated across a hole", shown_count[0], 0);
    stream_settle();
    EXPECT("the piece that closes it is taken however many wait", stream_read(GUEST_END, text, sizeof text), TRUE);
    stream_done();
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
    stream_open_one();
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
    stream_done();
}

static void want_until_told(struct call *call, FWPS_STREAM_CALLOUT_IO_PACKET0 *io)
{
    if (!(call->out->flags & (OUT_FLAG_NO_MORE_DATA | OUT_FLAG_BUFFER_LIMIT_REACHED)))
        want_always(call, io);
}

static void test_no_more(void)
{
    stream_open_one();
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
    stream_done();
    stream_open_one();
    answers[0] = want_always;
    LONG64 before = (LONG64)stats.lint;
    SAY(GUEST_END, "tail");
    stream_step();
    stream_close(GUEST_END);
    stream_settle();
    EXPECT("W287 who asks nevertheless is told", stats.lint > (UINT64)before, TRUE);
    EXPECT("W287 and gets no more", READS(SERVER_END, "tail"), TRUE);
    stream_done();
}

static void test_limit(void)
{
    enum { SIZE = 9 << 20 };
    uint8_t *text = mem_alloc(SIZE);
    for (size_t i = 0; i < SIZE; i++)
        text[i] = (uint8_t)(i * 7 + i / 251);
    stream_open_with(ACTION_CALLOUT_TERMINATING, 0, TRUE);
    answers[0] = want_until_told;
    ends[GUEST_END].segment = 1388;
    stream_say(GUEST_END, text, SIZE);
    stream_settle();
    EXPECT("W286 told of the limit", shown[0][1].out_flags & OUT_FLAG_BUFFER_LIMIT_REACHED, OUT_FLAG_BUFFER_LIMIT_REACHED);
    EXPECT("W286 at 8 MB", shown[0][1].length >= 8 << 20 && shown[0][1].length < (8 << 20) + 0x20000, TRUE);
    stream_close(GUEST_END);
    stream_settle();
    EXPECT("W286 and nothing is lost", stream_read(SERVER_END, text, SIZE), TRUE);
    stream_done();
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
        stream_open_with(kinds[i], 0, FALSE);
        answers[0] = drop;
        SAY(SERVER_END, "hello");
        stream_settle();
        EXPECT("W288 dropped at the server's end by UNKNOWN alone", ends[SERVER_END].was_reset, i == 0);
        EXPECT("W288 and at the guest's", ends[GUEST_END].was_reset, i == 0);
        EXPECT("W288 else the data passes", READS(GUEST_END, "hello"), i != 0);
        EXPECT("W288 a dropped flow is no flow", flows_count(), i != 0);
        stream_done();
    }
}

static BOOL deferring;
static NTSTATUS continued_inside;

static void defer(struct call *call, FWPS_STREAM_CALLOUT_IO_PACKET0 *io)
{
    if (!deferring)
        return;
    continued_inside = FwpsStreamContinue0(call->metadata->flowHandle, stream_a, LAYER_STREAM_V4, io->streamData->flags);
    io->streamAction = DEFER;
    call->out->actionType = ACTION_NONE;
}

static void test_defer(void)
{
    enum { SIZE = 200000 };
    static uint8_t text[SIZE];
    for (size_t i = 0; i < SIZE; i++)
        text[i] = (uint8_t)(i * 13);
    stream_open_one();
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
    EXPECT("W289 no other callout can continue it", FwpsStreamContinue0(behave[0].flow, stream_b, LAYER_STREAM_V4, RECEIVE) < 0, TRUE);
    EXPECT("W289 its own can", FwpsStreamContinue0(behave[0].flow, stream_a, LAYER_STREAM_V4, RECEIVE), 0);
    stream_settle();
    EXPECT("W289 then it is read", stream_read(GUEST_END, text, SIZE), TRUE);
    EXPECT("continuing what is not deferred fails", FwpsStreamContinue0(behave[0].flow, stream_a, LAYER_STREAM_V4, RECEIVE) < 0, TRUE);
    UINT64 lint = stats.lint;
    deferring = TRUE;
    SAY(GUEST_END, "!");
    stream_settle();
    EXPECT("W289 an outbound stream cannot be deferred", READS(SERVER_END, "meanwhile!"), TRUE);
    EXPECT("W289 and who tries is told", stats.lint > lint, TRUE);
    stream_done();
}

static void allow_and_block(struct call *call, FWPS_STREAM_CALLOUT_IO_PACKET0 *io)
{
    io->streamAction = ALLOW;
    block(call, io, 2);
}

static void test_allow(void)
{
    stream_open_one();
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
    stream_done();
}

/* ---- several callouts ---- */

static void block_two_then_inject(struct call *call, FWPS_STREAM_CALLOUT_IO_PACKET0 *io)
{
    if (shown_count[0] == 1) {
        block(call, io, 2);
    } else if (shown_count[0] == 2) {
        stream_inject_here(call, io, "++", 2);
        call->out->rights = 0;
    }
}

static void test_waterfall(void)
{
    stream_open_with(ACTION_CALLOUT_TERMINATING, ACTION_CALLOUT_TERMINATING, FALSE);
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
    stream_done();
}

static void block_in_the_second(struct call *call, FWPS_STREAM_CALLOUT_IO_PACKET0 *io)
{
    if (shown_count[0] == 2)
        block(call, io, 3);
}

static char below[16];
static SIZE_T below_size;

static void collect_eight(struct call *call, FWPS_STREAM_CALLOUT_IO_PACKET0 *io)
{
    if (io->streamData->dataLength < 8) {
        io->streamAction = NEED_MORE;
        io->countBytesRequired = (UINT32)(8 - io->streamData->dataLength);
        call->out->actionType = ACTION_NONE;
        return;
    }
    FwpsCopyStreamDataToBuffer0(io->streamData, below, sizeof below, &below_size);
}

/* The second callout waits for two segments; of the second of them the first callout has cut off the beginning. */
static void test_cut_behind(void)
{
    stream_open_with(ACTION_CALLOUT_TERMINATING, ACTION_CALLOUT_TERMINATING, FALSE);
    answers[0] = block_in_the_second;
    answers[1] = collect_eight;
    SAY(GUEST_END, "abcd");
    stream_settle();
    SAY(GUEST_END, "---efgh");
    stream_settle();
    EXPECT("W281 W283 of a later segment, too, the second sees what was left of it", below_size == 8 && !memcmp(below, "abcdefgh", 8), TRUE);
    EXPECT("and that is read", READS(SERVER_END, "abcdefgh"), TRUE);
    stream_done();
}

static void permit_hard(struct call *call, FWPS_STREAM_CALLOUT_IO_PACKET0 *io)
{
    (void)io;
    call->out->rights = 0;
}

static void test_rights(void)
{
    stream_open_with(ACTION_CALLOUT_TERMINATING, ACTION_CALLOUT_TERMINATING, FALSE);
    answers[0] = permit_hard;
    answers[1] = block_all;
    SAY(GUEST_END, "one");
    SAY(SERVER_END, "two");
    stream_settle();
    EXPECT("the first left no right", shown[1][0].rights, 0);
    EXPECT("W282 the second blocks nevertheless", ends[SERVER_END].in_size + ends[GUEST_END].in_size, 0);
    stream_done();
    stream_open_with(ACTION_CALLOUT_INSPECTION, ACTION_CALLOUT_TERMINATING, FALSE);
    answers[0] = block_all;
    SAY(GUEST_END, "seen");
    stream_settle();
    EXPECT("W104 an inspection blocks nothing", READS(SERVER_END, "seen"), TRUE);
    stream_done();
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
    test_cut_behind();
    test_rights();
    test_stream_ends();
    test_stream_lists();
}

/*
 * Stream data in NET_BUFFER_LISTs: injected, copied, cloned, kept and injected out of band. Named after the rule
 * catalogue.
 *
 * SPDX-License-Identifier: MIT
 */
#include "stream_callouts.h"

static void test_arguments(void)
{
    HANDLE transport;
    NET_BUFFER_LIST *list = stream_list("abc", 3), *next = stream_list("def", 3);
#define INJECT(handle, layer, flags, lists, size, complete) STATUS_OF(FwpsStreamInjectAsync0(handle, NULL, 0, behave[0].flow, stream_a, layer, flags, lists, size, complete, NULL))
    stream_open_one();
    answers[0] = block_all;
    SAY(GUEST_END, "data");
    stream_settle();
    EXPECT("W275 RECEIVE_DISCONNECT without RECEIVE", INJECT(stream_handle, LAYER_STREAM_V4, RECEIVE_DISCONNECT, list, 3, stream_completed), (unsigned)STATUS_FWP_INVALID_PARAMETER);
    EXPECT("W275 SEND_DISCONNECT without SEND", INJECT(stream_handle, LAYER_STREAM_V4, SEND_DISCONNECT, list, 3, stream_completed), (unsigned)STATUS_FWP_INVALID_PARAMETER);
    EXPECT("W276 no completionFn", INJECT(stream_handle, LAYER_STREAM_V4, SEND, list, 3, NULL), (unsigned)STATUS_FWP_NULL_POINTER);
    EXPECT("W277 no list and no FIN", INJECT(stream_handle, LAYER_STREAM_V4, SEND, NULL, 0, stream_completed) != 0, TRUE);
    EXPECT("W279 another layer", INJECT(stream_handle, LAYER_INBOUND_TRANSPORT_V4, SEND, list, 3, stream_completed) != 0, TRUE);
    EXPECT("W279 the other family's layer", INJECT(stream_handle, LAYER_STREAM_V4 + 2, SEND, list, 3, stream_completed) != 0, TRUE);
    EXPECT("more bytes than there are", INJECT(stream_handle, LAYER_STREAM_V4, SEND, list, 4, stream_completed) != 0, TRUE);
    FwpsInjectionHandleCreate0(AF_UNSPEC, 2, &transport);
    EXPECT("W239 a handle for transport is none for streams", INJECT(transport, LAYER_STREAM_V4, SEND, list, 3, stream_completed) != 0, TRUE);
    FwpsInjectionHandleDestroy0(transport);
    wire.up = 0;
    EXPECT("W244 TCP/IP not ready", INJECT(stream_handle, LAYER_STREAM_V4, SEND, list, 3, stream_completed), (unsigned)STATUS_FWP_TCPIP_NOT_READY);
    wire.up = 1;
    EXPECT("nothing of it was injected", stream_lists_completed, 0);
    list->Next = next;
    next->Next = stream_list("ghi", 3);
    EXPECT("W278 a chain of three", INJECT(stream_handle, LAYER_STREAM_V4, SEND, list, 9, stream_completed), 0);
    stream_settle();
    EXPECT("W278 completes three times", stream_lists_completed, 3);
    EXPECT("W278 and is read as one", READS(SERVER_END, "abcdefghi"), TRUE);
    stream_done();
}

static uint8_t gathered[4000];
static SIZE_T gathered_size, gathered_part, gathered_less;
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
    FWPS_STREAM_DATA0 less = *data; /* the lists hold more than is meant */
    less.dataLength = 7;
    FwpsCopyStreamDataToBuffer0(&less, gathered + 3600, 100, &gathered_less);
}

static void test_copy(void)
{
    uint8_t text[3600];
    for (unsigned i = 0; i < sizeof text; i++)
        text[i] = (uint8_t)(i * 31 % 253 + (i > 0));
    stream_open_one();
    answers[0] = gather_all;
    ends[GUEST_END].segment = 900;
    stream_say(GUEST_END, text, sizeof text);
    stream_settle();
    EXPECT("indicated as lists of several MDLs", mdls > 6, TRUE);
    EXPECT("W295 copied as far as there is", gathered_size, 3300);
    EXPECT("W295 from the offset on, across all of them", memcmp(gathered, text + 300, 3300), 0);
    EXPECT("W295 and not beyond what was asked for", gathered_part, 5);
    EXPECT("W295 nor past dataLength, whatever the lists hold", gathered_less, 7);
    EXPECT("W295 and nothing is written there", gathered[3607], 0);
    EXPECT("and read", stream_read(SERVER_END, text, sizeof text), TRUE);
    stream_done();
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
        failed += FwpsStreamInjectAsync0(stream_handle, NULL, 0, behave[0].flow, stream_a, LAYER_STREAM_V4, pending[i].flags, pending[i].list,
                                         pending[i].size, stream_completed, NULL) != 0;
    pending_count = 0;
    return failed;
}

static void test_out_of_band(void)
{
    for (int from = 0; from < 2; from++) {
        UINT64 lint = stats.lint;
        stream_open_one();
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
        EXPECT("W278 each stream_lists_completed", stream_lists_completed > 1, TRUE);
        stream_done();
    }
    stream_open_one();
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
    stream_done();
}

static void test_pended_too_much(void)
{
    static uint8_t text[1 << 16];
    UINT64 lint = stats.lint;
    stream_open_with(ACTION_CALLOUT_TERMINATING, 0, TRUE);
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
    stream_done();
}

void test_stream_lists(void)
{
    test_arguments();
    test_copy();
    test_out_of_band();
    test_pended_too_much();
}

/*
 * Rules of the engine beyond what a scenario can reach: arbitration, sessions and transactions, notifications, flow
 * contexts. Named after the rule catalogue.
 *
 * SPDX-License-Identifier: MIT
 */
#include "rig.h"

enum { SENT = LAYER_OUTBOUND_TRANSPORT_V4, NO_CALLOUT = 0, CALLOUT_ONE = 1, CALLOUT_TWO = 2 };
NTSTATUS NTAPI FwpsFlowAbort0(UINT64);

static UINT32 first_id, second_id;

static void two_callouts(void)
{
    begin();
    add_callout(CALLOUT_ONE, SENT, &first_id);
    add_callout(CALLOUT_TWO, SENT, &second_id);
    register_callout(CALLOUT_ONE, 0);
    register_callout(CALLOUT_TWO, 1);
}

static void two_callouts_end(void)
{
    end();
    FwpsCalloutUnregisterById0(first_id);
    FwpsCalloutUnregisterById0(second_id);
}

/* One callout filter of the given kind that answers so, and lighter in the same sublayer a BLOCK filter. */
static BOOL over_block(UINT32 kind, UINT32 answer_given)
{
    two_callouts();
    behave[0].action = answer_given;
    add_filter(SENT, 100, kind, CALLOUT_ONE, 9, 0, NULL);
    add_filter(SENT, 100, ACTION_BLOCK, NO_CALLOUT, 1, 0, NULL);
    BOOL passed = datagram_passes();
    two_callouts_end();
    return passed;
}

static void test_answers(void)
{
    EXPECT("W106 unknown: permit decides the sublayer", over_block(ACTION_CALLOUT_UNKNOWN, ACTION_PERMIT), TRUE);
    EXPECT("W092 unknown: continue goes on to the lighter filter", over_block(ACTION_CALLOUT_UNKNOWN, ACTION_CONTINUE), FALSE);
    EXPECT("W092 unknown: none goes on to the lighter filter", over_block(ACTION_CALLOUT_UNKNOWN, ACTION_NONE), FALSE);
    EXPECT("W104 inspection: permit decides nothing", over_block(ACTION_CALLOUT_INSPECTION, ACTION_PERMIT), FALSE);
    EXPECT("terminating: permit decides the sublayer", over_block(ACTION_CALLOUT_TERMINATING, ACTION_PERMIT), TRUE);
    two_callouts();
    behave[0].action = ACTION_NONE;
    add_filter(SENT, 100, ACTION_CALLOUT_TERMINATING, CALLOUT_ONE, 9, 0, NULL);
    EXPECT("W105 terminating: none is a block", datagram_passes(), FALSE);
    two_callouts_end();
    two_callouts();
    behave[0].action = ACTION_CONTINUE;
    add_filter(SENT, 100, ACTION_CALLOUT_UNKNOWN, CALLOUT_ONE, 9, 0, NULL);
    EXPECT("W107 nobody decides: permit", datagram_passes(), TRUE);
    two_callouts_end();
}

static void test_weights(void)
{
    begin();
    add_filter(SENT, 100, ACTION_BLOCK, NO_CALLOUT, 3, 0, NULL);
    add_filter(SENT, 100, ACTION_PERMIT, NO_CALLOUT, 12, 0, NULL);
    EXPECT("W091 the heavier filter decides", datagram_passes(), TRUE);
    end();
    begin();
    add_filter(SENT, 100, ACTION_PERMIT, NO_CALLOUT, 3, 0, NULL);
    add_filter(SENT, 100, ACTION_BLOCK, NO_CALLOUT, 12, 0, NULL);
    EXPECT("W091 the heavier filter decides, though added last", datagram_passes(), FALSE);
    end();
    two_callouts();
    behave[0].action = behave[1].action = ACTION_PERMIT;
    add_filter(SENT, 100, ACTION_CALLOUT_TERMINATING, CALLOUT_ONE, 5, 0, NULL);
    add_filter(SENT, 100, ACTION_CALLOUT_TERMINATING, CALLOUT_TWO, 5, 0, NULL);
    datagram_passes();
    EXPECT("W049 of two of equal weight one decides", behave[0].calls + behave[1].calls, 1);
    two_callouts_end();
    two_callouts();
    behave[0].action = behave[1].action = ACTION_PERMIT;
    add_filter(SENT, 200, ACTION_CALLOUT_TERMINATING, CALLOUT_TWO, 5, 0, NULL);
    add_filter(SENT, 100, ACTION_CALLOUT_TERMINATING, CALLOUT_ONE, 5, 0, NULL);
    datagram_passes();
    EXPECT("W090 every sublayer is asked", behave[0].calls + behave[1].calls, 2);
    two_callouts_end();
}

static void clear_and_permit(struct behaviour *b, struct call *call)
{
    (void)b;
    call->out->actionType = ACTION_PERMIT;
    call->out->rights &= ~(UINT32)RIGHT_ACTION_WRITE;
}

static void test_rights(void)
{
    two_callouts();
    behave[0].action = behave[1].action = ACTION_PERMIT;
    add_filter(SENT, 100, ACTION_CALLOUT_TERMINATING, CALLOUT_ONE, 5, 0, NULL);
    add_filter(SENT, 200, ACTION_CALLOUT_TERMINATING, CALLOUT_TWO, 5, 0, NULL);
    datagram_passes();
    EXPECT("W096 a soft permit leaves the right", behave[1].rights, RIGHT_ACTION_WRITE);
    behave[0].instead = clear_and_permit;
    behave[1].action = ACTION_BLOCK;
    EXPECT("W100 a callout may veto a callout's hard permit", datagram_passes(), FALSE);
    EXPECT("W101 without the right to write", behave[1].rights, 0);
    two_callouts_end();
    two_callouts();
    behave[0].instead = clear_and_permit;
    add_filter(SENT, 100, ACTION_CALLOUT_TERMINATING, CALLOUT_ONE, 5, 0, NULL);
    add_filter(SENT, 200, ACTION_BLOCK, NO_CALLOUT, 5, 0, NULL);
    EXPECT("W099 a filter cannot override a callout's hard permit", datagram_passes(), TRUE);
    FwpsCalloutUnregisterById0(first_id);
    EXPECT("W011 unregistered while its filter lives: blocks", datagram_passes(), FALSE);
    two_callouts_end();
    two_callouts();
    behave[1].action = ACTION_BLOCK;
    add_filter(SENT, 100, ACTION_PERMIT, NO_CALLOUT, 5, 8, NULL);
    add_filter(SENT, 200, ACTION_CALLOUT_INSPECTION, CALLOUT_TWO, 5, 0, NULL);
    EXPECT("W104 an inspection cannot veto", datagram_passes(), TRUE);
    add_filter(LAYER_OUTBOUND_IPPACKET_V4, 200, ACTION_BLOCK, NO_CALLOUT, 5, 0, NULL);
    EXPECT("W108 a hard permit does not reach the next layer", datagram_passes(), FALSE);
    two_callouts_end();
}

static void return_raised(struct behaviour *b, struct call *call)
{
    (void)b;
    irql_set(IRQL_DISPATCH);
    call->out->actionType = ACTION_PERMIT;
}

static void test_levels(void)
{
    two_callouts();
    behave[0].instead = return_raised;
    add_filter(SENT, 100, ACTION_CALLOUT_TERMINATING, CALLOUT_ONE, 5, 0, NULL);
    uint64_t before = stats.lint;
    datagram_passes();
    EXPECT("a callout that returns at another level is complained of", stats.lint - before, 1);
    EXPECT("and the level is put back", irql_now(), IRQL_PASSIVE);
    irql_set(IRQL_DISPATCH);
    irql_require_passive("a check");
    irql_set(IRQL_PASSIVE);
    EXPECT("W305 what is for PASSIVE_LEVEL complains above it", stats.lint - before, 2);
    irql_require_passive("a check");
    EXPECT("and at it does not", stats.lint - before, 2);
    two_callouts_end();
}

static HANDLE other_session(UINT32 flags, UINT32 wait_ms)
{
    FWPM_SESSION0 session = {.flags = flags, .txnWaitTimeoutInMSec = wait_ms};
    HANDLE other = NULL;
    FwpmEngineOpen0(NULL, 10, NULL, &session, &other);
    return other;
}

static void test_sessions(void)
{
    UINT64 filter;
    GUID key = key_of(100);
    HANDLE mine;
    FWPM_SESSION0 keyed = {.sessionKey = {7, 7, 7, {7}}}, same = keyed;
    HANDLE one, two;
    EXPECT("session with a key", STATUS_OF(FwpmEngineOpen0(NULL, 10, NULL, &keyed, &one)), 0);
    EXPECT("W058 a session key twice", STATUS_OF(FwpmEngineOpen0(NULL, 10, NULL, &same, &two)), STATUS_OF(STATUS_FWP_ALREADY_EXISTS));
    FwpmEngineClose0(one);

    begin();
    add_filter(SENT, 100, ACTION_BLOCK, NO_CALLOUT, 1, 0, &filter);
    mine = engine;
    engine = other_session(1, 10);
    EXPECT("W057 filter of another dynamic session", STATUS_OF(FwpmFilterDeleteById0(engine, filter)), STATUS_OF(STATUS_FWP_WRONG_SESSION));
    EXPECT("W057 sublayer of another dynamic session", STATUS_OF(FwpmSubLayerDeleteByKey0(engine, &key)) != 0, 1);
    EXPECT("W057 a filter in it", add_filter(SENT, 100, ACTION_PERMIT, NO_CALLOUT, 1, 0, NULL), STATUS_OF(STATUS_FWP_WRONG_SESSION));
    FwpmTransactionBegin0(mine, 0);
    EXPECT("W065 one writer at a time", STATUS_OF(FwpmTransactionBegin0(engine, 0)), STATUS_OF(STATUS_FWP_TIMEOUT));
    EXPECT("W065 also for a single operation", add_sublayer(300, 1), STATUS_OF(STATUS_FWP_TIMEOUT));
    FwpmTransactionCommit0(mine);
    EXPECT("the next writer is let in", STATUS_OF(FwpmTransactionBegin0(engine, 0)), 0);
    FwpmEngineClose0(engine);
    engine = mine;
    EXPECT("W063 closing with a transaction lets the next in", add_sublayer(301, 1), 0);
    end();

    engine = other_session(0, 0);
    add_filter(SENT, 0, ACTION_BLOCK, NO_CALLOUT, 1, 0, &filter);
    FwpmEngineClose0(engine);
    EXPECT("W072 an object outside dynamic sessions stays", datagram_passes(), FALSE);
    engine = other_session(0, 0);
    EXPECT("any session may delete it", STATUS_OF(FwpmFilterDeleteById0(engine, filter)), 0);
    EXPECT("then it is gone", datagram_passes(), TRUE);
    FwpmTransactionBegin0(engine, 0);
    add_filter(SENT, 0, ACTION_BLOCK, NO_CALLOUT, 1, 0, &filter);
    FwpmEngineClose0(engine);
    EXPECT("W063 closing aborts the transaction", datagram_passes(), TRUE);
    flows_end_all("test");
}

static void test_transactions(void)
{
    UINT64 filter;
    UINT32 id;
    begin();
    add_filter(SENT, 100, ACTION_BLOCK, NO_CALLOUT, 1, 0, &filter);
    FwpmTransactionBegin0(engine, 0);
    FwpmFilterDeleteById0(engine, filter);
    EXPECT("W062 a deletion is invisible until commit", datagram_passes(), FALSE);
    EXPECT("but not to its own transaction", STATUS_OF(FwpmFilterDeleteById0(engine, filter)), STATUS_OF(STATUS_FWP_FILTER_NOT_FOUND));
    FwpmTransactionAbort0(engine);
    EXPECT("W062 an aborted deletion did not happen", datagram_passes(), FALSE);
    FwpmTransactionBegin0(engine, 0);
    FwpmFilterDeleteById0(engine, filter);
    FwpmTransactionCommit0(engine);
    EXPECT("W062 a committed one did", datagram_passes(), TRUE);
    FwpmTransactionBegin0(engine, 0);
    EXPECT("callout in a transaction", add_callout(CALLOUT_ONE, SENT, &id), 0);
    FwpmTransactionAbort0(engine);
    EXPECT("W062 an aborted callout is unknown", add_filter(SENT, 100, ACTION_CALLOUT_TERMINATING, CALLOUT_ONE, 1, 0, NULL), STATUS_OF(STATUS_FWP_CALLOUT_NOT_FOUND));
    FwpmTransactionBegin0(engine, 0);
    add_sublayer(400, 7);
    add_sublayer(400, 7); /* fails */
    FwpmTransactionCommit0(engine);
    GUID key = key_of(400);
    EXPECT("W061 a failed operation leaves the rest of its transaction", STATUS_OF(FwpmSubLayerDeleteByKey0(engine, &key)), 0);
    EXPECT("W059 no transaction inside another is left behind", STATUS_OF(FwpmTransactionAbort0(engine)), STATUS_OF(STATUS_FWP_NO_TXN_IN_PROGRESS));
    end();
}

static void test_notifications(void)
{
    UINT64 filter;
    memset(notified, 0, sizeof notified);
    register_flags = CALLOUT_ENABLE_COMMIT_ADD_NOTIFY;
    two_callouts();
    register_flags = 0;
    FwpmTransactionBegin0(engine, 0);
    add_filter(SENT, 100, ACTION_CALLOUT_TERMINATING, CALLOUT_ONE, 1, 0, &filter);
    EXPECT("W020 told when a filter is added", notified[0], 1);
    EXPECT("W026 commit is not told before it", notified[2], 0);
    FwpmTransactionCommit0(engine);
    EXPECT("W026 told after the commit", notified[2], 1);
    FwpmFilterDeleteById0(engine, filter);
    EXPECT("W022 told when it is deleted", notified[1], 1);
    notify_answer = STATUS_UNSUCCESSFUL;
    EXPECT("W021 an error refuses the filter", add_filter(SENT, 100, ACTION_CALLOUT_TERMINATING, CALLOUT_ONE, 1, 0, &filter), STATUS_OF(STATUS_FWP_CALLOUT_NOTIFICATION_FAILED));
    notify_answer = STATUS_SUCCESS;
    EXPECT("W021 and it is not there", datagram_passes(), TRUE);
    FwpsCalloutUnregisterById0(first_id);
    add_filter(SENT, 100, ACTION_CALLOUT_TERMINATING, CALLOUT_ONE, 1, 0, &filter);
    unsigned before = notified[0];
    register_callout(CALLOUT_ONE, 0);
    EXPECT("W023 registered after its filter: not told", notified[0], before);
    two_callouts_end();
}

/* ---- flow contexts ---- */
static UINT32 seen_layer, data_id;
static UINT64 seen_flow;
static unsigned associated[3], removed;
static BOOL remove_inside;

static void associate_three(struct behaviour *b, struct call *call)
{
    (void)b;
    seen_flow = call->metadata->flowHandle;
    associated[0] = STATUS_OF(FwpsFlowAssociateContext0(seen_flow, SENT, first_id, 0x11));
    associated[1] = STATUS_OF(FwpsFlowAssociateContext0(seen_flow, SENT, second_id, 0x22));
    associated[2] = STATUS_OF(FwpsFlowAssociateContext0(seen_flow, LAYER_DATAGRAM_DATA_V4, data_id, 0x33));
    call->out->actionType = ACTION_PERMIT;
}

static void note_context(struct behaviour *b, struct call *call)
{
    b->flow_context = call->flow_context;
    seen_layer = call->values->layerId;
    if (remove_inside && b == &behave[0]) {
        removed = STATUS_OF(FwpsFlowRemoveContext0(call->metadata->flowHandle, SENT, first_id));
        EXPECT("W193 not deleted under the classify that has it", b->deletes, 0);
    }
    call->out->actionType = ACTION_PERMIT;
}

static void test_contexts(void)
{
    UINT32 established, moved;
    UINT64 second_filter;
    two_callouts();
    add_callout(3, LAYER_ALE_FLOW_ESTABLISHED_V4, &established);
    register_callout(3, 2);
    add_callout(4, LAYER_DATAGRAM_DATA_V4, &data_id);
    register_callout(4, 3);
    behave[0].instead = behave[1].instead = behave[3].instead = note_context;
    behave[2].instead = associate_three;
    add_filter(SENT, 100, ACTION_CALLOUT_TERMINATING, CALLOUT_ONE, 1, 0, NULL);
    add_filter(SENT, 200, ACTION_CALLOUT_TERMINATING, CALLOUT_TWO, 1, 0, &second_filter);
    add_filter(LAYER_ALE_FLOW_ESTABLISHED_V4, 100, ACTION_CALLOUT_TERMINATING, 3, 1, 0, NULL);
    add_filter(LAYER_DATAGRAM_DATA_V4, 100, ACTION_CALLOUT_TERMINATING, 4, 1, 0, NULL);
    datagram_passes();
    EXPECT("W207 UDP is established at once", behave[2].calls, 1);
    EXPECT("W188 a context each for three callouts", associated[0] | associated[1] | associated[2], 0);
    EXPECT("W191 the first has its own", behave[0].flow_context, 0x11);
    EXPECT("W191 the second has its own", behave[1].flow_context, 0x22);
    EXPECT("W189 the one at another layer has its own", behave[3].flow_context, 0x33);
    datagram_passes();
    EXPECT("W210 the second datagram establishes nothing", behave[2].calls, 1);
    remove_inside = TRUE;
    datagram_passes();
    remove_inside = FALSE;
    EXPECT("W193 removal inside the classify is pending", removed, STATUS_OF(STATUS_PENDING));
    EXPECT("W193 deleted after it", behave[0].deletes, 1);
    datagram_passes();
    EXPECT("removed: no context any more", behave[0].flow_context, 0);
    EXPECT("the others keep theirs", behave[1].flow_context, 0x22);
    EXPECT("a new one may be set", STATUS_OF(FwpsFlowAssociateContext0(seen_flow, SENT, first_id, 0x44)), 0);
    FwpmFilterDeleteById0(engine, second_filter);
    FwpmCalloutDeleteById0(engine, second_id);
    EXPECT("a callout moves to another layer", add_callout(CALLOUT_TWO, LAYER_DATAGRAM_DATA_V4, &moved), 0);
    add_filter(LAYER_DATAGRAM_DATA_V4, 200, ACTION_CALLOUT_TERMINATING, CALLOUT_TWO, 1, 0, NULL);
    int before = behave[1].calls;
    datagram_passes();
    EXPECT("and is called there", behave[1].calls, before + 1);
    EXPECT("W189 its context stays with the layer that it was associated for", behave[1].flow_context, 0);
    EXPECT("W198 abort", STATUS_OF(FwpsFlowAbort0(seen_flow)), 0);
    EXPECT("W198 deletes every context once", behave[0].deletes + behave[1].deletes + behave[3].deletes, 4);
    EXPECT("W186 the flow is over", STATUS_OF(FwpsFlowAssociateContext0(seen_flow, SENT, first_id, 1)), STATUS_OF(STATUS_INVALID_PARAMETER));
    FwpsCalloutUnregisterById0(established);
    FwpsCalloutUnregisterById0(data_id);
    two_callouts_end();
}

static void test_contexts_refused(void)
{
    UINT32 established;
    register_without_delete = TRUE;
    register_flags = CALLOUT_CONDITIONAL_ON_FLOW;
    two_callouts();
    register_flags = 0;
    register_without_delete = FALSE;
    add_callout(3, LAYER_ALE_FLOW_ESTABLISHED_V4, &established);
    register_callout(3, 2);
    behave[0].instead = note_context;
    behave[2].instead = associate_three;
    add_filter(SENT, 100, ACTION_CALLOUT_INSPECTION, CALLOUT_ONE, 1, 0, NULL);
    add_filter(LAYER_ALE_FLOW_ESTABLISHED_V4, 100, ACTION_CALLOUT_TERMINATING, 3, 1, 0, NULL);
    datagram_passes();
    EXPECT("W186 a callout without flowDeleteFn", associated[0], STATUS_OF(STATUS_INVALID_PARAMETER));
    EXPECT("W114 conditional on a flow context: not called without", behave[0].calls, 0);
    FwpsCalloutUnregisterById0(established);
    two_callouts_end();
}

void test_rules(void)
{
    test_answers();
    test_weights();
    test_rights();
    test_levels();
    test_sessions();
    test_transactions();
    test_notifications();
    test_contexts();
    test_contexts_refused();
}

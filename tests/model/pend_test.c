/*
 * What callouts put off, and what is authorized again: FwpsPendOperation0 at the ALE authorization layers,
 * FwpsPendClassify0 at the redirect layers, and flows that live when the filters at their layer change.
 *
 * SPDX-License-Identifier: MIT
 */
#include "families.h"

NTSTATUS NTAPI FwpsPendOperation0(HANDLE, HANDLE *);
void NTAPI FwpsCompleteOperation0(HANDLE, NET_BUFFER_LIST *);
NTSTATUS NTAPI FwpsPendClassify0(UINT64, UINT64, UINT32, FWPS_CLASSIFY_OUT0 *);
void NTAPI FwpsCompleteClassify0(UINT64, UINT32, const FWPS_CLASSIFY_OUT0 *);
NTSTATUS NTAPI FwpsInjectTransportReceiveAsync0(HANDLE, HANDLE, void *, UINT32, ADDRESS_FAMILY, ULONG, ULONG, ULONG, NET_BUFFER_LIST *,
                                                INJECT_COMPLETE, HANDLE);
int NTAPI NdisRetreatNetBufferDataStart(NET_BUFFER *, ULONG, ULONG, void *);
void NTAPI NdisAdvanceNetBufferDataStart(NET_BUFFER *, ULONG, BOOLEAN, void *);

enum { CONNECT = LAYER_ALE_AUTH_CONNECT_V4, ACCEPT = LAYER_ALE_AUTH_RECV_ACCEPT_V4, REDIRECT = LAYER_ALE_CONNECT_REDIRECT_V4, SYN = 2, ACK = 16 };

static struct told { /* of the last classify of a callout, and what it did */
    UINT32 flags, reason, direction, metadata;
    FWP_DATA_TYPE arrival;
    void *data;
    HANDLE handle, context;
    unsigned status;
    UINT64 classify, filter;
    FWPS_CLASSIFY_OUT0 out;
} told[4];
static BOOL permit, keep_clone, careless;
static NET_BUFFER_LIST *clone;
static HANDLE injector, injected;

static const FWP_VALUE0 *field(const struct call *call, int condition)
{
    static const FWP_VALUE0 none = {.type = FWP_DATA_TYPE_MAX};
    const struct layer_fact *layer = layer_by_id(call->values->layerId);
    for (UINT32 i = 0; i < layer->field_count; i++)
        if (layer->fields[i].condition == condition)
            return &call->values->incomingValue[i].value;
    return &none;
}

static struct told *listen_to(struct behaviour *b, struct call *call)
{
    struct told *t = &told[b - behave];
    t->flags = field(call, COND_FLAGS)->uint32;
    t->reason = field(call, COND_REAUTHORIZE_REASON)->uint32;
    t->arrival = field(call, COND_ARRIVAL_INTERFACE_INDEX)->type;
    t->metadata = call->metadata->currentMetadataValues;
    t->direction = call->metadata->packetDirection;
    t->handle = t->metadata & META_COMPLETION_HANDLE ? call->metadata->completionHandle : NULL;
    t->data = call->data;
    t->filter = call->filter->filterId;
    return t;
}

static void put_off(struct call *call)
{
    call->out->actionType = ACTION_BLOCK;
    call->out->rights &= ~(UINT32)RIGHT_ACTION_WRITE;
    call->out->flags |= careless ? 0 : OUT_FLAG_ABSORB;
}

static void take_clone(struct call *call)
{
    ULONG back = call->metadata->ipHeaderSize + call->metadata->transportHeaderSize;
    NET_BUFFER *nb = ((NET_BUFFER_LIST *)call->data)->FirstNetBuffer;
    NdisRetreatNetBufferDataStart(nb, back, 0, NULL);
    FwpsAllocateCloneNetBufferList0(call->data, NULL, NULL, 0, &clone);
    NdisAdvanceNetBufferDataStart(nb, back, FALSE, NULL);
}

/* Pends what it sees first; in a reauthorization it tries to, and then decides. */
static void pend_first(struct behaviour *b, struct call *call)
{
    struct told *t = listen_to(b, call);
    HANDLE again = NULL;
    if (t->flags & FLAG_IS_REAUTHORIZE) {
        t->status = STATUS_OF(FwpsPendOperation0(t->handle, &again));
        call->out->actionType = permit ? ACTION_PERMIT : ACTION_BLOCK;
        return;
    }
    if (keep_clone)
        take_clone(call);
    t->status = STATUS_OF(FwpsPendOperation0(t->handle, &t->context));
    put_off(call);
}

static void decide(struct behaviour *b, struct call *call)
{
    listen_to(b, call);
    call->out->actionType = permit ? ACTION_PERMIT : ACTION_BLOCK;
    call->out->flags |= careless ? OUT_FLAG_ABSORB : 0;
}

/* A callout at a layer, in the heavier sublayer (slot 0) or the lighter one, and its filter. */
static UINT32 watch(UINT16 layer, int slot, void (*with)(struct behaviour *, struct call *), UINT64 *filter)
{
    UINT32 id;
    add_callout(50 + (unsigned)slot, layer, &id);
    register_callout(50 + (unsigned)slot, slot);
    behave[slot].instead = with;
    add_filter(layer, slot ? 200 : 100, ACTION_CALLOUT_TERMINATING, 50 + (unsigned)slot, 1, 0, filter);
    return id;
}

static void fresh(void)
{
    begin();
    memset(told, 0, sizeof told);
    permit = TRUE;
    keep_clone = careless = FALSE;
    clone = NULL;
}

static void over(UINT32 a, UINT32 b)
{
    end();
    FwpsCalloutUnregisterById0(a);
    if (b)
        FwpsCalloutUnregisterById0(b);
}

static LONG64 lints(void)
{
    return stats.lint;
}

static void connect_put_off(void)
{
    fresh();
    UINT32 id = watch(CONNECT, 0, pend_first, NULL);
    LONG link = link_frames, guest = guest_frames;
    guest_sends(6001, SERVER, 80, IPPROTO_TCP, SYN, 1000, "");
    EXPECT("W174 AUTH_CONNECT has a completion handle", (told[0].metadata & META_COMPLETION_HANDLE) != 0, TRUE);
    EXPECT("W175 AUTH_CONNECT can be pended", told[0].status, 0);
    EXPECT("W178 a pended connect sends no SYN", link_frames, link);
    EXPECT("W178 and absorbed, it is not refused either", guest_frames, guest);
    EXPECT("one context is out", pend_outstanding(callout_find_id(id)), 1);
    guest_sends(6001, SERVER, 80, IPPROTO_TCP, SYN, 1000, "");
    EXPECT("a SYN that is sent again is no second connect", behave[0].calls, 1);
    EXPECT("and waits too", link_frames, link);
    FwpsCompleteOperation0(told[0].context, NULL);
    EXPECT("W179 completing classifies again", behave[0].calls, 2);
    EXPECT("W179 as a reauthorization", told[0].flags & FLAG_IS_REAUTHORIZE, FLAG_IS_REAUTHORIZE);
    EXPECT("W182 because a classify was completed", told[0].reason, REASON_CLASSIFY_COMPLETION);
    EXPECT("W212 of the direction of the connect", told[0].direction, 0);
    EXPECT("without a packet", told[0].data != NULL, FALSE);
    EXPECT("W176 a reauthorization cannot be pended", told[0].status, STATUS_OF(STATUS_FWP_CANNOT_PEND));
    EXPECT("W179 permitted, the SYN goes out", link_frames, link + 1);
    EXPECT("W179 to whom it was meant", get16(last_link + ETHERNET + 22), 80);
    EXPECT("no context is out", pend_outstanding(callout_find_id(id)), 0);
    link_sends(SERVER, 80, 6001, IPPROTO_TCP, SYN | ACK, 2000, "");
    EXPECT("W210 the answer passes unasked", behave[0].calls, 2);
    LONG64 before = lints();
    FwpsCompleteOperation0(told[0].context, NULL);
    EXPECT("W183 a second completion is misuse", lints(), before + 1);
    EXPECT("W183 and resumes nothing", behave[0].calls, 2);
    over(id, 0);
}

static void connect_refused(void)
{
    fresh();
    permit = FALSE;
    UINT32 id = watch(CONNECT, 0, pend_first, NULL);
    LONG link = link_frames, guest = guest_frames;
    unsigned flows = flows_count();
    guest_sends(6002, SERVER, 80, IPPROTO_TCP, SYN, 1000, "");
    FwpsCompleteOperation0(told[0].context, NULL);
    EXPECT("W179 a block after the completion refuses the connect", guest_frames, guest + 1);
    EXPECT("W179 with a reset", last_guest[ETHERNET + 33] & 4, 4);
    EXPECT("W179 and no SYN", link_frames, link);
    EXPECT("and ends the flow", flows_count(), flows);
    guest_sends(6003, SERVER, 80, IPPROTO_TCP, SYN, 1000, "");
    HANDLE left = told[0].context;
    LONG64 kept = lints();
    FwpsCalloutUnregisterById0(id);
    EXPECT("W183 a callout that goes and leaves a connect put off is told of", lints(), kept + 1);
    id = register_callout(50, 0);
    flows_end_all("the socket is gone");
    unsigned calls = behave[0].calls;
    FwpsCompleteOperation0(left, NULL);
    EXPECT("a connect that is gone is not authorized when it is completed", behave[0].calls, calls);
    careless = TRUE;
    LONG64 before = lints();
    guest_sends(6004, SERVER, 80, IPPROTO_TCP, SYN, 1000, "");
    EXPECT("W178 BLOCK without ABSORB from a callout that pended is misuse", lints(), before + 1);
    FwpsCompleteOperation0(told[0].context, NULL);
    over(id, 0);
}

static void refusals(void)
{
    HANDLE context = NULL;
    fresh();
    UINT32 id = watch(CONNECT, 0, pend_first, NULL);
    EXPECT("W177 no handle", STATUS_OF(FwpsPendOperation0(NULL, &context)), STATUS_OF(STATUS_FWP_NULL_POINTER));
    EXPECT("W177 nowhere for the context", STATUS_OF(FwpsPendOperation0((HANDLE)8, NULL)), STATUS_OF(STATUS_FWP_NULL_POINTER));
    wire.up = 0;
    EXPECT("W177 the stack is not up", STATUS_OF(FwpsPendOperation0((HANDLE)8, &context)), STATUS_OF(STATUS_FWP_TCPIP_NOT_READY));
    wire.up = 1;
    guest_sends(6005, SERVER, 80, IPPROTO_TCP, SYN, 1000, "");
    LONG64 before = lints();
    EXPECT("W174 the handle of a classify that is over pends nothing", NT_SUCCESS(FwpsPendOperation0(told[0].handle, &context)), FALSE);
    EXPECT("W174 and is misuse", lints(), before + 1);
    FwpsCompleteOperation0(told[0].context, NULL);
    over(id, 0);
    fresh();
    id = watch(LAYER_ALE_FLOW_ESTABLISHED_V4, 0, decide, NULL);
    guest_sends(6006, SERVER, 53, IPPROTO_UDP, 0, 0, "q");
    EXPECT("flow established was asked", behave[0].calls, 1);
    EXPECT("W184 FLOW_ESTABLISHED has no completion handle", told[0].metadata & META_COMPLETION_HANDLE, 0);
    over(id, 0);
}

static void datagram_put_off(void)
{
    fresh();
    UINT32 id = watch(CONNECT, 0, pend_first, NULL), established = watch(LAYER_ALE_FLOW_ESTABLISHED_V4, 1, decide, NULL);
    LONG link = link_frames;
    guest_sends(6007, SERVER, 53, IPPROTO_UDP, 0, 0, "first");
    EXPECT("W209 a datagram is shown when it is pended", told[0].data != NULL, TRUE);
    EXPECT("W178 and does not go out", link_frames, link);
    EXPECT("W207 nothing is established yet", behave[1].calls, 0);
    FwpsCompleteOperation0(told[0].context, NULL);
    EXPECT("W181 what was pended is flushed, not sent", link_frames, link);
    EXPECT("W179 W182 the flow is authorized by a reauthorization", told[0].reason, REASON_CLASSIFY_COMPLETION);
    EXPECT("W207 and established then", behave[1].calls, 1);
    guest_sends(6007, SERVER, 53, IPPROTO_UDP, 0, 0, "again");
    EXPECT("W181 the application's next datagram goes out", link_frames, link + 1);
    EXPECT("W210 without being asked about", behave[0].calls, 2);
    over(id, established);
}

static void NTAPI injection_done(void *context, NET_BUFFER_LIST *list, BOOLEAN dispatch)
{
    (void)context, (void)dispatch;
    FwpsFreeCloneNetBufferList0(list, 0);
    SetEvent(injected);
}

static void inject_clone(void)
{
    FwpsInjectTransportReceiveAsync0(injector, NULL, NULL, 0, AF_INET, 1, 1, 0, clone, injection_done, NULL);
    WaitForSingleObject(injected, 60000);
}

static void accept_put_off(void)
{
    fresh();
    FwpsInjectionHandleCreate0(AF_UNSPEC, INJECT_TRANSPORT, &injector);
    injected = CreateEventW(NULL, FALSE, FALSE, NULL);
    keep_clone = TRUE;
    UINT32 id = watch(ACCEPT, 0, pend_first, NULL);
    behave[0].injection = injector;
    LONG guest = guest_frames;
    link_sends(SERVER, 9000, 6010, IPPROTO_TCP, SYN, 500, "");
    EXPECT("W175 AUTH_RECV_ACCEPT can be pended", told[0].status, 0);
    EXPECT("W178 the SYN of a pended accept does not arrive", guest_frames, guest);
    link_sends(SERVER, 9000, 6010, IPPROTO_TCP, SYN, 500, "");
    EXPECT("nor the peer's second one, and nobody is asked", guest_frames * 8 + (LONG)behave[0].calls, guest * 8 + 1);
    FwpsCompleteOperation0(told[0].context, clone);
    EXPECT("W180 completing an accept classifies nothing yet", behave[0].calls, 1);
    inject_clone();
    EXPECT("W180 the packet that is injected again is classified", behave[0].calls, 2);
    EXPECT("W182 as a completion", told[0].reason, REASON_CLASSIFY_COMPLETION);
    EXPECT("W176 an injected SYN cannot be pended again", told[0].status, STATUS_OF(STATUS_FWP_CANNOT_PEND));
    EXPECT("W255 as one's own", behave[0].state, 1);
    EXPECT("W180 and arrives", guest_frames, guest + 1);

    link_sends(SERVER, 9001, 6010, IPPROTO_TCP, SYN, 500, "");
    unsigned flows = flows_count();
    FwpsCompleteOperation0(told[0].context, NULL);
    FwpsFreeCloneNetBufferList0(clone, 0);
    EXPECT("W180 an accept completed without its packet is not authorized", flows_count(), flows - 1);
    EXPECT("W180 and nothing arrives", guest_frames, guest + 1);
    unsigned calls = behave[0].calls;
    link_sends(SERVER, 9001, 6010, IPPROTO_TCP, SYN, 500, "");
    EXPECT("the peer's next SYN is a first one", behave[0].calls, calls + 1);
    EXPECT("without the flag", told[0].flags & FLAG_IS_REAUTHORIZE, 0);
    LONG64 before = lints();
    NET_BUFFER_LIST *early = clone;
    inject_clone();
    EXPECT("W180 injecting before completing is misuse", lints(), before + 1);
    (void)early;
    FwpsCompleteOperation0(told[0].context, NULL);

    permit = FALSE;
    link_sends(SERVER, 9002, 6010, IPPROTO_UDP, 0, 0, "datagram");
    FwpsCompleteOperation0(told[0].context, clone);
    inject_clone();
    EXPECT("W180 a datagram blocked when it comes again does not arrive", guest_frames, guest + 1);
    over(id, 0);
    FwpsInjectionHandleDestroy0(injector);
    injector = NULL;
    CloseHandle(injected);
}

static BOOL no_endpoint(const struct flow *flow)
{
    (void)flow;
    return FALSE;
}

/* The guest's stack has no socket yet of an accept that is put off. */
static void accept_lives(void)
{
    fresh();
    UINT32 id = watch(ACCEPT, 0, pend_first, NULL);
    link_sends(SERVER, 9003, 6010, IPPROTO_TCP, SYN, 500, "");
    unsigned flows = flows_count();
    struct flow *flow = flow_find_id(behave[0].flow);
    flow->touched_ms -= 1000; /* longer than a flow without a socket lives */
    flow_release(flow);
    flows_tick(now_ms(), no_endpoint);
    EXPECT("an accept that is put off is not missed for its socket", flows_count(), flows);
    FwpsCompleteOperation0(told[0].context, NULL);
    over(id, 0);
}

static void two_put_off(void)
{
    fresh();
    UINT32 a = watch(CONNECT, 0, pend_first, NULL), b = watch(CONNECT, 1, pend_first, NULL);
    LONG link = link_frames;
    guest_sends(6020, SERVER, 80, IPPROTO_TCP, SYN, 1000, "");
    EXPECT("both callouts pend", told[0].context && told[1].context && told[0].context != told[1].context, TRUE);
    FwpsCompleteOperation0(told[1].context, NULL);
    EXPECT("the first completion resumes nothing", behave[0].calls + behave[1].calls, 2);
    FwpsCompleteOperation0(told[0].context, NULL);
    EXPECT("the second asks both again", behave[0].calls + behave[1].calls, 4);
    EXPECT("and lets the SYN go", link_frames, link + 1);
    over(a, b);
}

/* ---- policy changes ---- */

static void open_tcp(UINT16 port)
{
    guest_sends(port, SERVER, 80, IPPROTO_TCP, SYN, 1000, "");
    acknowledged = 1001;
    link_sends(SERVER, 80, port, IPPROTO_TCP, SYN | ACK, 2000, "");
    acknowledged = 2001;
    guest_sends(port, SERVER, 80, IPPROTO_TCP, ACK, 1001, "");
}

static void policy_of_connects(void)
{
    UINT64 extra;
    fresh();
    open_tcp(6030);
    UINT32 id = watch(CONNECT, 0, decide, NULL);
    LONG link = link_frames, guest = guest_frames;
    guest_sends(6030, SERVER, 80, IPPROTO_TCP, ACK, 1001, "data");
    EXPECT("W115 W211 the next packet of a flow is reauthorized after a filter was added", behave[0].calls, 1);
    EXPECT("W211 with the flag", told[0].flags & FLAG_IS_REAUTHORIZE, FLAG_IS_REAUTHORIZE);
    EXPECT("W211 and the reason", told[0].reason, REASON_POLICY_CHANGE);
    EXPECT("the packet is shown", told[0].data != NULL, TRUE);
    EXPECT("and goes on", link_frames, link + 1);
    guest_sends(6030, SERVER, 80, IPPROTO_TCP, ACK, 1005, "more");
    EXPECT("W211 once", behave[0].calls, 1);
    add_filter(ACCEPT, 100, ACTION_PERMIT, 0, 1, 0, &extra);
    guest_sends(6030, SERVER, 80, IPPROTO_TCP, ACK, 1009, "more");
    EXPECT("W211 not for a filter at another layer", behave[0].calls, 1);
    add_filter(CONNECT, 200, ACTION_PERMIT, 0, 1, 0, &extra);
    link_sends(SERVER, 80, 6030, IPPROTO_TCP, ACK, 2001, "answer");
    EXPECT("W212 a packet that comes in is reauthorized at AUTH_CONNECT", behave[0].calls, 2);
    EXPECT("W212 told as inbound", told[0].direction, 1);
    EXPECT("and arrives", guest_frames, guest + 1);
    FwpmFilterDeleteById0(engine, extra);
    careless = TRUE;
    permit = FALSE;
    link = link_frames, guest = guest_frames;
    unsigned flows = flows_count();
    guest_sends(6030, SERVER, 80, IPPROTO_TCP, ACK, 1013, "more");
    EXPECT("W211 and after one was removed", behave[0].calls, 3);
    EXPECT("absorbed, the packet is the callout's", (LONG)(link_frames - link + guest_frames - guest), 0);
    EXPECT("and the flow lives", flows_count(), flows);
    careless = FALSE;
    guest_sends(6030, SERVER, 80, IPPROTO_TCP, ACK, 1013, "more");
    EXPECT("so that the next one is asked about", behave[0].calls, 4);
    EXPECT("W214 a block ends the flow", flows_count(), flows - 1);
    EXPECT("W214 the guest's socket is reset", guest_frames, guest + 1);
    EXPECT("W214 and the packet does not leave, only a reset", last_link[ETHERNET + 33] & 4, 4);
    over(id, 0);
}

static void policy_of_accepts(void)
{
    fresh();
    link_sends(SERVER, 9100, 6040, IPPROTO_UDP, 0, 0, "in");
    UINT32 id = watch(ACCEPT, 0, decide, NULL);
    LONG link = link_frames;
    guest_sends(6040, SERVER, 9100, IPPROTO_UDP, 0, 0, "out");
    EXPECT("W212 a packet that goes out is reauthorized at RECV_ACCEPT", behave[0].calls, 1);
    EXPECT("W212 told as outbound", told[0].direction, 0);
    EXPECT("W088 where it arrived is unknown", told[0].arrival, FWP_EMPTY);
    EXPECT("and leaves", link_frames, link + 1);
    link_sends(SERVER, 9101, 6040, IPPROTO_UDP, 0, 0, "in");
    EXPECT("W088 where another one arrives is known", told[0].arrival, FWP_UINT32);
    EXPECT("W211 that one is no reauthorization", told[0].flags & FLAG_IS_REAUTHORIZE, 0);
    over(id, 0);
}

/* ---- classifies at the redirect layers ---- */

static void classify_first(struct behaviour *b, struct call *call)
{
    struct told *t = listen_to(b, call);
    if (FwpsAcquireClassifyHandle0(call->context, 0, &t->classify))
        return;
    t->status = STATUS_OF(FwpsPendClassify0(t->classify, call->filter->filterId, 0, call->out));
    t->out = *call->out;
    if (t->status == 0)
        put_off(call);
    else
        FwpsReleaseClassifyHandle0(t->classify);
}

static void answer_with(struct told *t, UINT32 action)
{
    t->out.actionType = action;
    t->out.rights |= RIGHT_ACTION_WRITE;
    FwpsCompleteClassify0(t->classify, 0, &t->out);
}

static void redirect_put_off(void)
{
    fresh();
    UINT32 id = watch(REDIRECT, 0, classify_first, NULL), other = watch(CONNECT, 1, classify_first, NULL);
    LONG link = link_frames, guest = guest_frames;
    guest_sends(6050, SERVER, 80, IPPROTO_TCP, SYN, 1000, "");
    EXPECT("W164 CONNECT_REDIRECT can be pended", told[0].status, 0);
    EXPECT("W166 the connect waits", (LONG)(link_frames - link + guest_frames - guest), 0);
    EXPECT("W166 and is not asked about further on", behave[1].calls, 0);
    guest_sends(6050, SERVER, 80, IPPROTO_TCP, SYN, 1000, "");
    EXPECT("W166 a SYN that is sent again is no second connect", behave[0].calls, 1);
    EXPECT("a classify is out", pend_outstanding(callout_find_id(id)), 1);
    answer_with(&told[0], ACTION_PERMIT);
    EXPECT("W167 the answer is final: the callout is not asked again", behave[0].calls, 1);
    EXPECT("W167 and the connect goes on", behave[1].calls, 1);
    EXPECT("W164 AUTH_CONNECT cannot be pended so", told[1].status, STATUS_OF(STATUS_FWP_CANNOT_PEND));
    LONG64 twice = lints();
    LONG frames = link_frames + guest_frames;
    FwpsCompleteClassify0(told[0].classify, 0, &told[0].out);
    EXPECT("W173 completing twice is misuse", lints(), twice + 1);
    EXPECT("W173 and changes nothing", link_frames + guest_frames, frames);
    EXPECT("W169 the callout's own reference is out", pend_outstanding(callout_find_id(id)), 1);
    FwpsReleaseClassifyHandle0(told[0].classify);
    EXPECT("W169 until it is released", pend_outstanding(callout_find_id(id)), 0);
    LONG64 before = lints();
    FwpsCompleteClassify0(told[0].classify, 0, &told[0].out);
    EXPECT("W173 completing what is not pended is misuse", lints(), before + 1);
    over(id, other);
}

static void redirect_answers(void)
{
    fresh();
    UINT32 id = watch(REDIRECT, 0, classify_first, NULL);
    LONG link = link_frames, guest = guest_frames;
    guest_sends(6060, SERVER, 80, IPPROTO_TCP, SYN, 1000, "");
    FwpsReleaseClassifyHandle0(told[0].classify);
    EXPECT("W165 the pend keeps the handle", pend_outstanding(callout_find_id(id)), 1);
    answer_with(&told[0], ACTION_BLOCK);
    EXPECT("W167 blocked, the connect is refused", guest_frames, guest + 1);
    EXPECT("W167 by a reset of its own SYN", get32(last_guest + ETHERNET + 28), 1001);
    EXPECT("W167 and no SYN leaves", link_frames, link);
    EXPECT("W165 completed, nothing is left", pend_outstanding(NULL), 0);

    guest_sends(6061, SERVER, 80, IPPROTO_TCP, SYN, 1000, "");
    UINT64 first = told[0].classify;
    unsigned calls = behave[0].calls;
    FwpsCompleteClassify0(first, 0, NULL);
    EXPECT("W167 without an answer the callout is asked again", behave[0].calls, calls + 1);
    answer_with(&told[0], ACTION_PERMIT);
    EXPECT("W167 and its later answer counts", link_frames, link + 1);
    FwpsReleaseClassifyHandle0(first);
    FwpsReleaseClassifyHandle0(told[0].classify);

    add_filter(REDIRECT, 200, ACTION_BLOCK, 0, 1, 0, NULL);
    guest_sends(6062, SERVER, 80, IPPROTO_TCP, SYN, 1000, "");
    answer_with(&told[0], ACTION_PERMIT);
    EXPECT("W094 a lighter filter still blocks what is permitted later", link_frames, link + 1);
    FwpsReleaseClassifyHandle0(told[0].classify);
    over(id, 0);
}

static void shallow(struct behaviour *b, struct call *call)
{
    struct told *t = listen_to(b, call);
    FwpsAcquireClassifyHandle0(call->context, 0, &t->classify);
    FwpsPendClassify0(t->classify, call->filter->filterId, 0, call->out);
    FwpsCompleteClassify0(t->classify, 0, call->out);
    FwpsReleaseClassifyHandle0(t->classify);
    put_off(call);
}

static void modify(struct told *t, UINT32 address, UINT16 port, UINT32 flags)
{
    void *data = NULL;
    FwpsAcquireWritableLayerDataPointer0(t->classify, t->filter, 0, &data, &t->out);
    FWPS_CONNECT_REQUEST0 *request = data;
    SOCKADDR_IN *to = (SOCKADDR_IN *)&request->remoteAddressAndPort;
    put32((uint8_t *)&to->sin_addr, address);
    put16((uint8_t *)&to->sin_port, port);
    FwpsApplyModifiedLayerData0(t->classify, data, flags);
}

/* Redirects inline, and leaves others the right to write. */
static void inline_redirect(struct behaviour *b, struct call *call)
{
    struct told *t = listen_to(b, call);
    FwpsAcquireClassifyHandle0(call->context, 0, &t->classify);
    t->out = *call->out;
    modify(t, SERVER, 8888, 0);
    FwpsReleaseClassifyHandle0(t->classify);
    call->out->actionType = ACTION_PERMIT;
}

static void redirect_later(void)
{
    fresh();
    UINT32 id = watch(REDIRECT, 0, classify_first, NULL);
    LONG link = link_frames;
    guest_sends(6070, SERVER, 80, IPPROTO_TCP, SYN, 1000, "");
    modify(&told[0], SERVER, 8080, 1);
    EXPECT("W129 acquiring for a pended classify blocks its copy", told[0].out.actionType, ACTION_BLOCK);
    answer_with(&told[0], ACTION_PERMIT);
    FwpsReleaseClassifyHandle0(told[0].classify);
    EXPECT("a connect redirected while it was pended goes out", link_frames, link + 1);
    EXPECT("W167 where it was redirected to", get16(last_link + ETHERNET + 22), 8080);
    link_sends(SERVER, 8080, 6070, IPPROTO_TCP, SYN | ACK, 2000, "");
    EXPECT("W167 and its answer comes from where it was meant to go", get16(last_guest + ETHERNET + 20), 80);
    EXPECT("W170 nobody else changed it: not asked again", behave[0].calls, 1);

    UINT32 other = watch(REDIRECT, 1, inline_redirect, NULL);
    guest_sends(6071, SERVER, 80, IPPROTO_TCP, SYN, 1000, "");
    UINT64 handle = told[0].classify;
    modify(&told[0], SERVER, 8081, 1);
    unsigned calls = behave[0].calls;
    answer_with(&told[0], ACTION_PERMIT);
    EXPECT("the lighter callout changes it too", behave[1].calls, 1);
    EXPECT("W170 asked again when another callout changed it", behave[0].calls, calls + 1);
    answer_with(&told[0], ACTION_PERMIT);
    FwpsReleaseClassifyHandle0(handle);
    FwpsReleaseClassifyHandle0(told[0].classify);
    over(id, other);

    fresh();
    id = watch(REDIRECT, 0, shallow, NULL);
    LONG64 before = lints();
    guest_sends(6072, SERVER, 80, IPPROTO_TCP, SYN, 1000, "");
    EXPECT("W168 completing with the classify's own classifyOut is misuse", lints() > before, TRUE);
    over(id, 0);

    fresh();
    id = watch(REDIRECT, 0, classify_first, NULL);
    guest_sends(6073, SERVER, 53, IPPROTO_UDP, 0, 0, "kept");
    link = link_frames;
    answer_with(&told[0], ACTION_PERMIT);
    EXPECT("W166 a datagram whose redirection was pended goes out when it is completed", link_frames, link + 1);
    FwpsReleaseClassifyHandle0(told[0].classify);
    before = lints();
    FwpsReleaseClassifyHandle0(told[0].classify);
    EXPECT("W128 one release too many is misuse", lints(), before + 1);
    over(id, 0);
}

static void over_ipv6(void)
{
    families_begin();
    fresh();
    UINT32 id = watch(layer_of(CONNECT, FAMILY_V6), 0, pend_first, NULL);
    LONG link = link_frames;
    guest_sends6(6080, &server6, 80, IPPROTO_TCP, SYN, 1000, "");
    EXPECT("W175 AUTH_CONNECT_V6 can be pended", told[0].status, 0);
    EXPECT("W178 a pended IPv6 connect sends no SYN", link_frames, link);
    FwpsCompleteOperation0(told[0].context, NULL);
    EXPECT("W179 W182 completing an IPv6 connect reauthorizes it", told[0].reason, REASON_CLASSIFY_COMPLETION);
    EXPECT("W179 and its SYN goes out", link_frames, link + 1);
    over(id, 0);
    fresh();
    id = watch(layer_of(REDIRECT, FAMILY_V6), 0, classify_first, NULL);
    link = link_frames;
    guest_sends6(6081, &server6, 80, IPPROTO_TCP, SYN, 1000, "");
    EXPECT("W164 CONNECT_REDIRECT_V6 can be pended", told[0].status * 8 + (unsigned)(link_frames - link), 0);
    answer_with(&told[0], ACTION_PERMIT);
    EXPECT("W167 and answered", link_frames, link + 1);
    FwpsReleaseClassifyHandle0(told[0].classify);
    over(id, 0);
    fresh();
    guest_sends6(6082, &server6, 53, IPPROTO_UDP, 0, 0, "before");
    id = watch(layer_of(CONNECT, FAMILY_V6), 0, decide, NULL);
    link_sends6(&server6, 53, 6082, IPPROTO_UDP, 0, 0, "after");
    EXPECT("W211 W212 an IPv6 flow is reauthorized by what comes in", told[0].reason, REASON_POLICY_CHANGE);
    over(id, 0);
}

void test_pend(void)
{
    connect_put_off();
    connect_refused();
    refusals();
    datagram_put_off();
    accept_put_off();
    accept_lives();
    two_put_off();
    policy_of_connects();
    policy_of_accepts();
    redirect_put_off();
    redirect_answers();
    redirect_later();
    over_ipv6();
}

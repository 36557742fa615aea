/*
 * Authorization beside the ordinary: what FLOW_ESTABLISHED closes, multicast, ports that nobody has, options of a flow, and
 * asynchronous classifies at DISPATCH_LEVEL.
 *
 * SPDX-License-Identifier: MIT
 */
#include "rig.h"

enum { ALL_HOSTS = 0xe00000fb, OTHER_HOSTS = 0xe00000fc, BROADCAST = 0xffffffff, FROM = 0xc6336407 };
enum { ACCEPT = LAYER_ALE_AUTH_RECV_ACCEPT_V4, CONNECT = LAYER_ALE_AUTH_CONNECT_V4, SYN = 2, ACK = 16, RST = 4 };

NTSTATUS NTAPI FwpsClassifyOptionSet0(const FWPS_INCOMING_METADATA_VALUES0 *, UINT32, const FWP_VALUE0 *);
NTSTATUS NTAPI FwpsPendClassify0(UINT64, UINT64, UINT32, FWPS_CLASSIFY_OUT0 *);
void NTAPI FwpsCompleteClassify0(UINT64, UINT32, const FWPS_CLASSIFY_OUT0 *);

static UINT32 ids[4];
static unsigned watched;
static UINT32 filters_are = ACTION_CALLOUT_TERMINATING;

/* A callout that does what behave[slot] says, alone at its layer. */
static void watch(UINT16 layer, int slot, void (*with)(struct behaviour *, struct call *))
{
    add_callout(600u + layer, layer, &ids[watched]);
    register_callout(600u + layer, slot);
    behave[slot].instead = with;
    behave[slot].action = ACTION_PERMIT;
    add_filter(layer, 100, filters_are, 600u + layer, 1, 0, NULL);
    watched++;
}

static void over(void)
{
    end();
    while (watched)
        FwpsCalloutUnregisterById0(ids[--watched]);
}

static void test_blocked_establishment(void)
{
    begin();
    filters_are = ACTION_CALLOUT_UNKNOWN;
    watch(LAYER_ALE_FLOW_ESTABLISHED_V4, 0, NULL);
    filters_are = ACTION_CALLOUT_TERMINATING;
    behave[0].action = ACTION_BLOCK;
    unsigned flows = flows_count();
    guest_sends(6400, SERVER, 80, IPPROTO_TCP, SYN, 1000, "");
    LONG guest = guest_frames, link = link_frames;
    acknowledged = 1001;
    link_sends(SERVER, 80, 6400, IPPROTO_TCP, SYN | ACK, 2000, "");
    acknowledged = 2001;
    EXPECT("W208 a BLOCK at FLOW_ESTABLISHED closes the connection", behave[0].calls << 8 | (flows_count() - flows), 1 << 8);
    EXPECT("W208 for the guest's socket", guest_frames - guest == 1 && (last_guest[ETHERNET + 33] & RST), TRUE);
    EXPECT("W208 and for its peer", link_frames - link == 1 && (last_link[ETHERNET + 33] & RST), TRUE);
    behave[0].action = ACTION_CONTINUE;
    guest_sends(6401, SERVER, 80, IPPROTO_TCP, SYN, 1000, "");
    guest = guest_frames;
    acknowledged = 1001;
    link_sends(SERVER, 80, 6401, IPPROTO_TCP, SYN | ACK, 2000, "");
    acknowledged = 2001;
    EXPECT("W208 CONTINUE leaves it open", guest_frames - guest == 1 && !(last_guest[ETHERNET + 33] & RST), TRUE);
    over();
}

/* ---- multicast and broadcast ---- */

static void link_sends_to(UINT32 from, UINT32 to, UINT16 port)
{
    uint8_t frame[2048];
    stack_from_link(frame, build(frame, from, port, to, port, IPPROTO_UDP, 0, 0, "who is there"));
}

static UINT64 flow_sent(UINT16 port, UINT32 to, UINT16 to_port, UINT64 touched_ms)
{
    struct tuple tuple = {IPPROTO_UDP, address_v4(GUEST), address_v4(to), port, to_port, 0};
    struct flow *flow = flow_find_sent(&tuple);
    UINT64 id = flow ? flow->id : 0;
    if (flow)
        flow->touched_ms = touched_ms;
    flow_release(flow);
    return id;
}

static void test_multicast(void)
{
    begin();
    watch(ACCEPT, 0, NULL);
    watch(CONNECT, 1, NULL);
    watch(LAYER_DATAGRAM_DATA_V4, 2, NULL);
    unsigned flows = flows_count();
    link_sends_to(SERVER, ALL_HOSTS, 5353);
    EXPECT("W218 the first inbound multicast is authorized", behave[0].calls, 1);
    UINT64 first = behave[2].flow;
    link_sends_to(FROM, OTHER_HOSTS, 5355);
    link_sends_to(FROM, BROADCAST, 67);
    EXPECT("W218 other groups, broadcast, other peers and ports belong to its flow", behave[0].calls << 8 | (flows_count() - flows), 1 << 8 | 1);
    EXPECT("W218 and are shown with it", behave[2].calls == 3 && behave[2].flow == first, TRUE);
    link_sends(FROM, 5353, 5353, IPPROTO_UDP, 0, 0, "to the guest alone");
    EXPECT("W218 what is for the guest alone does not", behave[0].calls << 8 | (flows_count() - flows), 2 << 8 | 2);
    guest_sends(5355, SERVER, 5355, IPPROTO_UDP, 0, 0, "here");
    guest_sends(5355, FROM, 5355, IPPROTO_UDP, 0, 0, "here");
    EXPECT("W218 replies are authorized at AUTH_CONNECT, each as a flow", behave[1].calls << 8 | (flows_count() - flows), 2 << 8 | 4);

    guest_sends(7000, ALL_HOSTS, 1900, IPPROTO_UDP, 0, 0, "who is there");
    unsigned accepts = behave[0].calls;
    LONG guest = guest_frames;
    link_sends(FROM, 1900, 7000, IPPROTO_UDP, 0, 0, "I");
    link_sends(SERVER, 1900, 7000, IPPROTO_UDP, 0, 0, "and I");
    EXPECT("what is sent to a group lets anybody answer", behave[0].calls * 8 + (unsigned)(guest_frames - guest), accepts * 8 + 2);
    UINT64 now = now_ms();
    flow_sent(7000, ALL_HOSTS, 1900, now - 4000);
    flows_tick(now, NULL);
    EXPECT("W199 for four seconds", flow_sent(7000, ALL_HOSTS, 1900, now - 4001) != 0, TRUE);
    flows_tick(now, NULL);
    EXPECT("W199 and no longer", flow_sent(7000, ALL_HOSTS, 1900, now), 0);
    link_sends(FROM, 1900, 7000, IPPROTO_UDP, 0, 0, "too late");
    EXPECT("then an answer is asked about", behave[0].calls, accepts + 1);
    over();
}

/* ---- ports that nobody has ---- */

static UINT16 has_port;
static UINT16 told_layer;
static UINT32 told_metadata, told_module, told_reason, told_offset;

static BOOL has(const struct tuple *tuple)
{
    return tuple->local_port == has_port;
}

static void note_discard(struct behaviour *b, struct call *call)
{
    told_layer = call->values->layerId;
    told_metadata = call->metadata->currentMetadataValues;
    told_module = call->metadata->discardMetadata.discardModule;
    told_reason = call->metadata->discardMetadata.discardReason;
    told_offset = call->data ? ((NET_BUFFER_LIST *)call->data)->FirstNetBuffer->DataLength : 0;
    call->out->actionType = b->action;
}

static void test_unheard(void)
{
    enum { MODULE_TRANSPORT = 1, ENDPOINT_NOT_FOUND = 4 };
    begin();
    wire.listens = has;
    has_port = 80;
    watch(ACCEPT, 0, NULL);
    watch(LAYER_INBOUND_TRANSPORT_V4, 1, NULL);
    watch(LAYER_INBOUND_TRANSPORT_V4 + 1, 2, note_discard);
    watch(LAYER_INBOUND_IPPACKET_V4 + 1, 3, note_discard);
    LONG guest = guest_frames;
    link_sends(SERVER, 4000, 80, IPPROTO_TCP, SYN, 1000, "");
    EXPECT("a SYN that somebody listens for is none of the discarded", behave[0].calls << 8 | behave[2].calls, 1 << 8);
    link_sends(SERVER, 4001, 81, IPPROTO_TCP, SYN, 1000, "");
    EXPECT("W235 one that nobody listens for is at INBOUND_TRANSPORT_DISCARD", behave[2].calls, 1);
    EXPECT("W235 with the reason", (told_metadata & META_DISCARD_REASON) && told_module == MODULE_TRANSPORT && told_reason == ENDPOINT_NOT_FOUND, TRUE);
    EXPECT("W235 and not at INBOUND_TRANSPORT, nor at RECV_ACCEPT", behave[1].calls << 8 | behave[0].calls, 1 << 8 | 1);
    EXPECT("W235 permitted, it comes to the stack, which resets it", guest_frames - guest, 2);
    behave[2].action = ACTION_BLOCK;
    link_sends(SERVER, 4002, 81, IPPROTO_TCP, SYN, 1000, "");
    EXPECT("W235 blocked, it does not, and nothing is reset", guest_frames - guest, 2);
    link_sends(SERVER, 4003, 53, IPPROTO_UDP, 0, 0, "hello");
    EXPECT("W235 a datagram without an endpoint is at INBOUND_IPPACKET_DISCARD", behave[3].calls << 8 | behave[0].calls, 1 << 8 | 1);
    EXPECT("W235 permitted, it comes to the stack, which says so by ICMP", guest_frames - guest, 3);
    behave[3].action = ACTION_BLOCK;
    link_sends(SERVER, 4004, 53, IPPROTO_UDP, 0, 0, "hello");
    EXPECT("W235 blocked, it does not", behave[3].calls << 8 | (unsigned)(guest_frames - guest), 2 << 8 | 3);
    link_sends_to(SERVER, ALL_HOSTS, 5353);
    EXPECT("who is in a group is not asked", behave[3].calls << 8 | behave[0].calls, 2 << 8 | 2);
    wire.listens = NULL;
    over();
}

static void test_listening(void)
{
    struct tuple here = {IPPROTO_TCP, address_v4(LOOPBACK), address_v4(LOOPBACK), 0, 9999, 0}, elsewhere;
    SOCKADDR_IN name = {.sin_family = AF_INET};
    int size = sizeof name;
    WSADATA data;
    WSAStartup(0x202, &data);
    SOCKET socket_ = socket(AF_INET, SOCK_STREAM, 0);
    put32((uint8_t *)&name.sin_addr, LOOPBACK);
    bind(socket_, (SOCKADDR *)&name, sizeof name);
    getsockname(socket_, (SOCKADDR *)&name, &size);
    here.local_port = get16((const uint8_t *)&name.sin_port);
    EXPECT("a socket that is bound does not listen", listening(&here), FALSE);
    listen(socket_, 1);
    EXPECT("one that listens is found", listening(&here), TRUE);
    elsewhere = here;
    elsewhere.local = address_v4(GUEST);
    EXPECT("at its own address", listening(&elsewhere), FALSE);
    elsewhere = here;
    elsewhere.protocol = IPPROTO_UDP;
    EXPECT("for its own protocol", listening(&elsewhere), FALSE);
    closesocket(socket_);
}

/* ---- options ---- */

static FWP_VALUE0 option_value;
static UINT32 option;
static unsigned option_status;

static void set_option(struct behaviour *b, struct call *call)
{
    (void)b;
    option_status = STATUS_OF(FwpsClassifyOptionSet0(call->metadata, option, &option_value));
    call->out->actionType = ACTION_PERMIT;
}

static unsigned try_option(UINT16 port, UINT32 which, FWP_DATA_TYPE type, UINT32 value)
{
    option = which;
    option_value.type = type;
    option_value.uint32 = value;
    option_status = 1;
    guest_sends(port, SERVER, 53, IPPROTO_UDP, 0, 0, "hello");
    return option_status;
}

static void test_options(void)
{
    enum { MULTICAST_STATE = 0, LOOSE_SOURCE = 1, UNICAST_LIFETIME = 2, OPTIONS = 8 };
    begin();
    watch(CONNECT, 0, set_option);
    EXPECT("W220 an option that is none", try_option(6500, OPTIONS, FWP_UINT32, 0), STATUS_OF(STATUS_FWP_INVALID_ENUMERATOR));
    EXPECT("W220 a type that is none", try_option(6501, LOOSE_SOURCE, FWP_UINT8, 0), STATUS_OF(STATUS_OBJECT_TYPE_MISMATCH));
    EXPECT("W220 a value that is none", try_option(6502, LOOSE_SOURCE, FWP_UINT32, 2), STATUS_OF(STATUS_FWP_OUT_OF_BOUNDS));
    EXPECT("W220 nor one of multicast", try_option(6503, MULTICAST_STATE, FWP_UINT32, 3), STATUS_OF(STATUS_FWP_OUT_OF_BOUNDS));
    EXPECT("W220 the greatest that is one", try_option(6504, MULTICAST_STATE, FWP_UINT32, 2), 0);
    EXPECT("W220 a lifetime may be any", try_option(6505, UNICAST_LIFETIME, FWP_UINT32, 120), 0);
    UINT64 now = now_ms();
    flow_sent(6505, SERVER, 53, now - 100000);
    flow_sent(6504, SERVER, 53, now - 100000);
    flows_tick(now, NULL);
    EXPECT("and lets the flow idle as long", flow_sent(6505, SERVER, 53, now) && !flow_sent(6504, SERVER, 53, now), TRUE);
    over();
}

/* ---- asynchronous classifies ---- */

static UINT64 handle;
static FWPS_CLASSIFY_OUT0 answer_later;
static UINT64 filter_of;
static unsigned pend_status;

/* All that it may call, at DISPATCH_LEVEL. */
static void pend_raised(struct behaviour *b, struct call *call)
{
    UINT32 before = irql_set(IRQL_DISPATCH);
    (void)b;
    filter_of = call->filter->filterId;
    FwpsAcquireClassifyHandle0(call->context, 0, &handle);
    pend_status = STATUS_OF(FwpsPendClassify0(handle, filter_of, 0, call->out));
    answer_later = *call->out;
    irql_set(before);
    call->out->actionType = ACTION_BLOCK;
    call->out->rights &= ~(UINT32)RIGHT_ACTION_WRITE;
    call->out->flags |= OUT_FLAG_ABSORB;
}

static void test_raised(void)
{
    void *data = NULL;
    begin();
    watch(LAYER_ALE_CONNECT_REDIRECT_V4, 0, pend_raised);
    LONG link = link_frames;
    uint64_t before = stats.lint;
    guest_sends(6600, SERVER, 80, IPPROTO_TCP, SYN, 1000, "");
    EXPECT("W172 a classify can be pended at DISPATCH_LEVEL", pend_status, 0);
    UINT32 level = irql_set(IRQL_DISPATCH);
    unsigned acquired = STATUS_OF(FwpsAcquireWritableLayerDataPointer0(handle, filter_of, 0, &data, &answer_later));
    put16((uint8_t *)&((SOCKADDR_IN *)&((FWPS_CONNECT_REQUEST0 *)data)->remoteAddressAndPort)->sin_port, 81);
    FwpsApplyModifiedLayerData0(handle, data, 0);
    answer_later.actionType = ACTION_PERMIT;
    FwpsCompleteClassify0(handle, 0, &answer_later);
    FwpsReleaseClassifyHandle0(handle);
    irql_set(level);
    EXPECT("W172 its data acquired there", acquired, 0);
    EXPECT("W172 and completed, with what was changed", link_frames - link == 1 && get16(last_link + ETHERNET + 22) == 81, TRUE);
    EXPECT("W172 without a complaint", stats.lint - before, 0);
    over();
}

void test_ale(void)
{
    test_blocked_establishment();
    test_multicast();
    test_unheard();
    test_listening();
    test_options();
    test_raised();
}

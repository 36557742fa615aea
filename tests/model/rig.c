/* See rig.h. SPDX-License-Identifier: MIT */
#include "rig.h"

int failures;

void check(const char *name, int holds, const char *what, unsigned long long seen)
{
    if (holds) {
        printf("ok %s\n", name);
    } else {
        printf("FAILED %s: %s, seen 0x%llx\n", name, what, seen);
        failures++;
    }
}

/* ---- the wire ---- */
uint8_t last_link[2048], last_guest[2048];
volatile LONG link_frames, guest_frames;
void (*answer)(void);       /* what the guest says to the next frame, before its delivery has returned */
UINT32 acknowledged = 2001; /* what the next segments acknowledge */

void to_link(const uint8_t *frame, size_t length)
{
    memcpy(last_link, frame, length);
    InterlockedIncrement(&link_frames);
}

void to_guest(const uint8_t *frame, size_t length)
{
    memcpy(last_guest, frame, length);
    InterlockedIncrement(&guest_frames);
    void (*now)(void) = answer;
    answer = NULL;
    if (now)
        now();
}

size_t build(uint8_t *f, UINT32 from, UINT16 from_port, UINT32 to, UINT16 to_port, uint8_t protocol, uint8_t flags,
                    UINT32 sequence, const char *payload)
{
    struct address source = address_v4(from), destination = address_v4(to);
    return build_between(f, &source, from_port, &destination, to_port, protocol, flags, sequence, payload);
}

size_t build_between(uint8_t *f, const struct address *from, UINT16 from_port, const struct address *to, UINT16 to_port,
                     uint8_t protocol, uint8_t flags, UINT32 sequence, const char *payload)
{
    BOOL v6 = from->family == FAMILY_V6, icmp = protocol == (v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
    size_t head = protocol == IPPROTO_TCP ? 20 : 8, size = strlen(payload);
    struct packet view = {.frame = f, .outbound = TRUE};
    memset(f, 0, 2048);
    memset(f, 2, 12);
    put16(f + 12, v6 ? 0x86dd : 0x800);
    uint8_t *ip = f + ETHERNET, *t = ip + ip_header(ip, from, to, protocol, head + size);
    view.length = (size_t)(t - f) + head + size;
    put16(t, from_port);
    put16(t + 2, to_port);
    if (icmp) {
        t[0] = (uint8_t)from_port;
        t[1] = (uint8_t)to_port;
        put32(t + 4, sequence);
    } else if (protocol == IPPROTO_TCP) {
        put32(t + 4, sequence);
        put32(t + 8, acknowledged);
        t[12] = 0x50;
        t[13] = flags;
    } else {
        put16(t + 4, (UINT16)(8 + size));
    }
    memcpy(t + head, payload, size);
    packet_parse(&view);
    packet_fix_sums(&view);
    return view.length;
}

void guest_sends(UINT16 port, UINT32 to, UINT16 to_port, uint8_t protocol, uint8_t flags, UINT32 sequence, const char *payload)
{
    uint8_t frame[2048];
    stack_from_guest(frame, build(frame, GUEST, port, to, to_port, protocol, flags, sequence, payload));
}

void link_sends(UINT32 from, UINT16 from_port, UINT16 port, uint8_t protocol, uint8_t flags, UINT32 sequence, const char *payload)
{
    uint8_t frame[2048];
    stack_from_link(frame, build(frame, from, from_port, GUEST, port, protocol, flags, sequence, payload));
}

struct behaviour behave[4];

static void redirect_now(struct behaviour *b, const FWPS_INCOMING_METADATA_VALUES0 *m, const void *context, const FWPS_FILTER1 *filter, FWPS_CLASSIFY_OUT0 *out)
{
    UINT64 handle;
    void *data;
    b->redirect_state = FwpsQueryConnectionRedirectState0(m->redirectRecords, b->redirect, NULL);
    if (b->redirect_state == 1) {
        out->actionType = ACTION_PERMIT;
        return;
    }
    FwpsAcquireClassifyHandle0((void *)(uintptr_t)context, 0, &handle);
    FwpsAcquireWritableLayerDataPointer0(handle, filter->filterId, 0, &data, out);
    b->first_action = out->actionType;
    b->first_rights = out->rights;
    FWPS_CONNECT_REQUEST0 *request = data;
    SOCKADDR_IN *to = (SOCKADDR_IN *)&request->remoteAddressAndPort;
    put32((uint8_t *)&to->sin_addr, b->redirect_to);
    put16((uint8_t *)&to->sin_port, b->redirect_port);
    request->localRedirectHandle = b->redirect;
    request->localRedirectTargetPID = b->no_pid ? 0 : 4242;
    FwpsApplyModifiedLayerData0(handle, data, 0);
    if (!b->forget)
        out->actionType = ACTION_PERMIT;
    FwpsReleaseClassifyHandle0(handle);
}

static void act(int slot, const FWPS_INCOMING_VALUES0 *values, const FWPS_INCOMING_METADATA_VALUES0 *m, void *data,
                const void *context, const FWPS_FILTER1 *filter, UINT64 flow_context, FWPS_CLASSIFY_OUT0 *out)
{
    struct behaviour *b = &behave[slot];
    b->calls++;
    b->irql = irql_now();
    b->rights = out->rights;
    b->flow_context = flow_context;
    if (m->currentMetadataValues & META_FLOW_HANDLE)
        b->flow = m->flowHandle;
    if (b->injection && data)
        b->state = FwpsQueryPacketInjectionState0(b->injection, data, NULL);
    if (b->instead) {
        struct call call = {values, m, data, (void *)(uintptr_t)context, filter, flow_context, out};
        b->instead(b, &call);
        return;
    }
    if (b->associate_layer) {
        b->associate_status = (unsigned)FwpsFlowAssociateContext0(m->flowHandle, (UINT16)b->associate_layer, b->associate_callout, 0x77);
        b->again_status = (unsigned)FwpsFlowAssociateContext0(m->flowHandle, (UINT16)b->associate_layer, b->associate_callout, 0x78);
    }
    if (b->redirect && values->layerId == LAYER_ALE_CONNECT_REDIRECT_V4) {
        redirect_now(b, m, context, filter, out);
        return;
    }
    if (b->action)
        out->actionType = b->action;
    if (b->clear_right)
        out->rights &= ~1u;
    if (b->action == ACTION_BLOCK && b->injection && b->state == 0 && !b->clone)
        FwpsAllocateCloneNetBufferList0(data, NULL, NULL, 0, &b->clone);
    else if (b->state == 1)
        out->actionType = ACTION_PERMIT;
}

#define CALLOUT_FUNCTIONS(n)                                                                                                       \
    static void NTAPI classify_##n(const FWPS_INCOMING_VALUES0 *v, const FWPS_INCOMING_METADATA_VALUES0 *m, void *d, const void *c, \
                                   const FWPS_FILTER1 *f, UINT64 x, FWPS_CLASSIFY_OUT0 *o)                                         \
    {                                                                                                                              \
        act(n, v, m, d, c, f, x, o);                                                                                               \
    }                                                                                                                              \
    static void NTAPI deleted_##n(UINT16 layer, UINT32 callout, UINT64 value)                                                      \
    {                                                                                                                              \
        (void)layer, (void)callout;                                                                                                \
        behave[n].deletes++;                                                                                                       \
        behave[n].deleted = value;                                                                                                 \
    }
CALLOUT_FUNCTIONS(0)
CALLOUT_FUNCTIONS(1)
CALLOUT_FUNCTIONS(2)
CALLOUT_FUNCTIONS(3)
static void *const classify_fns[] = {(void *)classify_0, (void *)classify_1, (void *)classify_2, (void *)classify_3};
static const FLOW_DELETE_FN delete_fns[] = {deleted_0, deleted_1, deleted_2, deleted_3};

static NTSTATUS NTAPI notify(UINT32 type, const GUID *key, FWPS_FILTER1 *filter)
{
    (void)key, (void)filter;
    notified[type & 3]++;
    return notify_answer;
}

unsigned notified[4];
NTSTATUS notify_answer;
UINT32 register_flags;
BOOL register_without_delete;
HANDLE engine;
GUID key_of(unsigned n)
{
    GUID key = {n, 1, 2, {3}};
    return key;
}

UINT32 register_callout(unsigned key, int slot)
{
    FWPS_CALLOUT c = {.calloutKey = key_of(key), .classifyFn = classify_fns[slot], .notifyFn = notify, .flowDeleteFn = delete_fns[slot],
                      .flags = register_flags};
    UINT32 id = 0;
    if (register_without_delete)
        c.flowDeleteFn = NULL;
    FwpsCalloutRegister1(&engine, &c, &id);
    return id;
}

unsigned add_callout(unsigned key, UINT16 layer, UINT32 *id)
{
    FWPM_CALLOUT0 c = {.calloutKey = key_of(key), .displayData.name = L"c", .applicableLayer = layer_by_id(layer)->key};
    return (unsigned)FwpmCalloutAdd0(engine, &c, NULL, id);
}

unsigned add_sublayer(unsigned key, UINT16 weight)
{
    FWPM_SUBLAYER0 s = {.subLayerKey = key_of(key), .displayData.name = L"s", .weight = weight};
    return (unsigned)FwpmSubLayerAdd0(engine, &s, NULL);
}

unsigned add_filter(UINT16 layer, unsigned sublayer, UINT32 action, unsigned callout, uint8_t weight, UINT32 flags, UINT64 *id)
{
    FWPM_FILTER0 f = {.displayData.name = L"f", .layerKey = layer_by_id(layer)->key, .flags = flags};
    if (sublayer)
        f.subLayerKey = key_of(sublayer);
    f.weight.type = FWP_UINT8;
    f.weight.uint8 = weight;
    f.action.type = action;
    if (callout)
        f.action.calloutKey = key_of(callout);
    return (unsigned)FwpmFilterAdd0(engine, &f, NULL, id);
}

void begin(void)
{
    FWPM_SESSION0 session = {.flags = 1};
    memset(behave, 0, sizeof behave);
    FwpmEngineOpen0(NULL, 10, NULL, &session, &engine);
    add_sublayer(100, 0x7000);
    add_sublayer(200, 0x3000);
}

void end(void)
{
    FwpmEngineClose0(engine);
    flows_end_all("test");
}

BOOL datagram_passes(void)
{
    LONG before = link_frames;
    guest_sends(5000, SERVER, 53, IPPROTO_UDP, 0, 0, "hello");
    return link_frames != before;
}

/*
 * Injection, named after the rule catalogue: handles and what they are for, what an injected list must be, what its
 * driver may not do, checksums, and headers that are made. States and completion are in packets_test.c.
 *
 * SPDX-License-Identifier: MIT
 */
#include "inject_rig.h"

enum { PROTOCOL_AH = 51, PROTOCOL_GRE = 47 };

static const UCHAR local_bytes[4] = {192, 0, 2, 2}, remote_bytes[4] = {198, 51, 100, 5};
static UCHAR remote_address[4] = {198, 51, 100, 5};
static FWPS_TRANSPORT_SEND_PARAMS1 arguments = {.remoteAddress = remote_address};

NTSTATUS NTAPI FwpsConstructIpHeaderForTransportPacket0(NET_BUFFER_LIST *, ULONG, ADDRESS_FAMILY, const UCHAR *, const UCHAR *, int, UINT64,
                                                        const void *, ULONG, UINT32, void *, ULONG, ULONG);
NTSTATUS NTAPI FwpsReassembleForwardFragmentGroup0(ADDRESS_FAMILY, NET_BUFFER_LIST *, HANDLE, ULONG, ULONG, NET_BUFFER_LIST **);

/* ---- handles ---- */
enum kind { NETWORK_OUT, NETWORK_IN, TRANSPORT_OUT, TRANSPORT_IN, FORWARDED, MAC_OUT, MAC_IN, KINDS };

static NTSTATUS inject(enum kind kind, HANDLE handle, UINT32 flags, NET_BUFFER_LIST *nbl)
{
    switch (kind) {
    case NETWORK_OUT:
        return FwpsInjectNetworkSendAsync0(handle, NULL, flags, 1, nbl, on_injected, NULL);
    case NETWORK_IN:
        return FwpsInjectNetworkReceiveAsync0(handle, NULL, flags, 1, 0, 0, nbl, on_injected, NULL);
    case TRANSPORT_OUT:
        return FwpsInjectTransportSendAsync1(handle, NULL, 0, flags, &arguments, AF_INET, 1, nbl, on_injected, NULL);
    case TRANSPORT_IN:
        return FwpsInjectTransportReceiveAsync0(handle, NULL, NULL, flags, AF_INET, 1, 0, 0, nbl, on_injected, NULL);
    case FORWARDED:
        return FwpsInjectForwardAsync0(handle, NULL, flags, AF_INET, 1, 0, nbl, on_injected, NULL);
    case MAC_OUT:
        return FwpsInjectMacSendAsync0(handle, NULL, flags, LAYER_OUTBOUND_MAC_FRAME_ETHERNET, 0, 0, nbl, on_injected, NULL);
    default:
        return FwpsInjectMacReceiveAsync0(handle, NULL, flags, LAYER_INBOUND_MAC_FRAME_ETHERNET, 0, 0, nbl, on_injected, NULL);
    }
}

static NET_BUFFER_LIST *outgoing(const char *payload)
{
    uint8_t frame[2048];
    size_t length = build(frame, GUEST, 5000, SERVER, 53, IPPROTO_UDP, 0, 0, payload);
    return list_of(frame + ETHERNET, length - ETHERNET);
}

static NET_BUFFER_LIST *incoming(const char *payload)
{
    uint8_t frame[2048];
    size_t length = build(frame, SERVER, 53, GUEST, 5000, IPPROTO_UDP, 0, 0, payload);
    return list_of(frame + ETHERNET, length - ETHERNET);
}

static HANDLE handle_of(ADDRESS_FAMILY family, UINT32 types)
{
    HANDLE handle = NULL;
    FwpsInjectionHandleCreate0(family, types, &handle);
    return handle;
}

/* Bit n is set where the handle is refused as one that is for something else. */
static unsigned refused_by(HANDLE handle)
{
    unsigned refused = 0;
    for (int kind = 0; kind < KINDS; kind++) {
        NET_BUFFER_LIST *nbl = outgoing("which");
        NTSTATUS status = inject((enum kind)kind, handle, 0, nbl);
        if (status) {
            refused |= (status == STATUS_FWP_INJECT_HANDLE_STALE ? 1u : 0x100u) << kind;
            nbl_release(nbl);
        } else {
            injected_wait();
        }
    }
    return refused;
}

static void test_kinds(void)
{
    enum { NETWORK = 1 << NETWORK_OUT | 1 << NETWORK_IN, MAC = 1 << MAC_OUT | 1 << MAC_IN };
    enum { TRANSPORT = 1 << TRANSPORT_OUT | 1 << TRANSPORT_IN, ALL_KINDS = (1 << KINDS) - 1, FORWARD_ONLY = 1 << FORWARDED };
    static const struct {
        UINT32 types;
        ADDRESS_FAMILY family;
        unsigned refused;
    } cases[] = {
        {0, AF_UNSPEC, NETWORK | MAC},
        {INJECT_NETWORK, AF_INET, ALL_KINDS & ~NETWORK},
        {INJECT_TRANSPORT, AF_UNSPEC, ALL_KINDS & ~TRANSPORT},
        {INJECT_FORWARD, AF_UNSPEC, ALL_KINDS & ~FORWARD_ONLY},
        {INJECT_L2, AF_UNSPEC, ALL_KINDS & ~MAC},
        {INJECT_STREAM, AF_UNSPEC, ALL_KINDS},
        {INJECT_NETWORK | INJECT_TRANSPORT, AF_INET, ALL_KINDS & ~(NETWORK | TRANSPORT)},
    };
    HANDLE none = NULL;
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        HANDLE handle = handle_of(cases[i].family, cases[i].types);
        EXPECT("W239 W240 W243 a handle is for what it was made for", refused_by(handle), cases[i].refused);
        FwpsInjectionHandleDestroy0(handle);
    }
    EXPECT("W240 the network needs a family", FwpsInjectionHandleCreate0(AF_UNSPEC, INJECT_NETWORK, &none) != 0 && !none, TRUE);
    EXPECT("W240 with another type too", FwpsInjectionHandleCreate0(AF_UNSPEC, INJECT_NETWORK | INJECT_TRANSPORT, &none) != 0 && !none, TRUE);
    EXPECT("W240 IPv6 has its own", STATUS_OF(FwpsInjectionHandleCreate0(AF_INET6, INJECT_NETWORK, &none)), 0);
    LONG before = link_frames;
    LONG64 lint = stats.lint;
    EXPECT("taken", STATUS_OF(inject(NETWORK_OUT, none, 0, outgoing("wrong family"))), 0);
    injected_wait();
    EXPECT("W240 which injects no IPv4", link_frames, before);
    EXPECT("W240 and its driver is told", stats.lint - lint, 1);
    FwpsInjectionHandleDestroy0(none);
}

static void test_not_ready(void)
{
    HANDLE handle = NULL, all = handle_of(AF_INET, 0x1f);
    inject_not_ready(2);
    EXPECT("W238 TCP/IP is not ready", STATUS_OF(FwpsInjectionHandleCreate0(AF_INET, 0, &handle)), STATUS_OF(STATUS_FWP_TCPIP_NOT_READY));
    EXPECT("W238 nor now", STATUS_OF(FwpsInjectionHandleCreate0(AF_INET, 0, &handle)), STATUS_OF(STATUS_FWP_TCPIP_NOT_READY));
    EXPECT("W238 no handle is made", handle == NULL, TRUE);
    EXPECT("W238 later it is", STATUS_OF(FwpsInjectionHandleCreate0(AF_INET, 0, &handle)), 0);
    FwpsInjectionHandleDestroy0(handle);
    completions = 0;
    for (int kind = 0; kind < KINDS; kind++) {
        NET_BUFFER_LIST *nbl = outgoing("too early");
        inject_not_ready(1);
        EXPECT("W244 not ready", STATUS_OF(inject((enum kind)kind, all, 0, nbl)), STATUS_OF(STATUS_FWP_TCPIP_NOT_READY));
        nbl_release(nbl);
    }
    LONG64 lint = stats.lint;
    inject(NETWORK_OUT, all, 1, outgoing("flags"));
    injected_wait();
    EXPECT("W247 reserved flags are misuse", stats.lint - lint, 1);
    EXPECT("W245 what was refused is not completed, what was taken is, once", completions, 1);
    FwpsInjectionHandleDestroy0(all);
}

/* ---- what a list must be ---- */
/* Injects and answers what became of it: 0x100 for each frame that left, 1 for each that the guest got; an error: 0x10000. */
static unsigned outcome(enum kind kind, NET_BUFFER_LIST *nbl)
{
    LONG out = link_frames, in = guest_frames;
    HANDLE handle = handle_of(AF_INET, 0x1f);
    NTSTATUS status = inject(kind, handle, 0, nbl);
    if (!status)
        status = injected_wait();
    else
        nbl_release(nbl);
    FwpsInjectionHandleDestroy0(handle);
    return (unsigned)(link_frames - out) << 8 | (unsigned)(guest_frames - in) | (status ? 0x10000u : 0);
}

static NET_BUFFER_LIST *from_transport_header(NET_BUFFER_LIST *nbl)
{
    nb_set(nbl->FirstNetBuffer, 20, nbl->FirstNetBuffer->DataLength - 20);
    return nbl;
}

static void test_beginnings(void)
{
    EXPECT("W248 network send begins with the IP header", outcome(NETWORK_OUT, outgoing("a")), 0x100);
    EXPECT("W248 not with the transport header", outcome(NETWORK_OUT, from_transport_header(outgoing("b"))), 0x10000);
    EXPECT("W248 network receive too", outcome(NETWORK_IN, from_transport_header(incoming("c"))), 0x10000);
    EXPECT("W248 transport receive too", outcome(TRANSPORT_IN, from_transport_header(incoming("d"))), 0x10000);
    EXPECT("W248 transport receive with the IP header", outcome(TRANSPORT_IN, incoming("e")), 1);
    EXPECT("W248 transport send begins with the transport header", outcome(TRANSPORT_OUT, from_transport_header(outgoing("f"))), 0x100);
    EXPECT("W250 the remote address is in network order", memcmp(last_link + ETHERNET + 16, remote_bytes, 4), 0);
    EXPECT("W248 the payload is what it was", last_link[ETHERNET + 28], 'f');

    LONG64 lint = stats.lint;
    arguments.remoteAddress = NULL;
    EXPECT("W249 without a remote address there is an IP header", outcome(TRANSPORT_OUT, outgoing("g")), 0x100);
    EXPECT("no misuse", stats.lint - lint, 0);
    EXPECT("W249 or it is not sent", outcome(TRANSPORT_OUT, from_transport_header(outgoing("h"))), 0x10000);
    EXPECT("W249 and is misuse", stats.lint - lint, 1);
    arguments.remoteAddress = remote_address;

    uint8_t header[24] = {0x46, 0, 0, 24 + 9, 0, 0, 0, 0, 7, PROTOCOL_GRE, 0, 0, 192, 0, 2, 2, 198, 51, 100, 9, 1, 1, 1, 0};
    arguments.headerIncludeHeader = header;
    arguments.headerIncludeHeaderLength = sizeof header;
    EXPECT("W251 with a header of the socket's own", outcome(TRANSPORT_OUT, from_transport_header(outgoing("i"))), 0x100);
    EXPECT("W251 it leaves with that header", memcmp(last_link + ETHERNET, header, sizeof header), 0);
    EXPECT("W251 and the payload behind it", last_link[ETHERNET + 24 + 8], 'i');
    arguments.headerIncludeHeader = NULL;
    arguments.headerIncludeHeaderLength = 0;

    NET_BUFFER_LIST *two = outgoing("two");
    NET_BUFFER other = *two->FirstNetBuffer;
    two->FirstNetBuffer->Next = &other;
    EXPECT("W229 each NET_BUFFER of a list is a packet", outcome(NETWORK_OUT, two), 0x200);

    lint = stats.lint;
    NET_BUFFER_LIST *odd = list_at(outgoing("odd"), 3);
    outcome(NETWORK_OUT, odd);
    EXPECT("W272 an IP header that is not aligned is misuse", stats.lint - lint, 1);
    outcome(NETWORK_OUT, list_at(outgoing("even"), 8));
    EXPECT("W272 an aligned one is not", stats.lint - lint, 1);
    outcome(NETWORK_IN, list_at(incoming("odd"), 3));
    EXPECT("W272 nor is what comes in", stats.lint - lint, 1);
    wire.interface_index = 3;
    HANDLE handle = handle_of(AF_INET, INJECT_NETWORK);
    FwpsInjectNetworkReceiveAsync0(handle, NULL, 0, 1, 3, 0, incoming("here"), on_injected, NULL);
    injected_wait();
    EXPECT("the interface that was indicated", stats.lint - lint, 1);
    FwpsInjectNetworkReceiveAsync0(handle, NULL, 0, 1, 9, 0, incoming("there"), on_injected, NULL);
    injected_wait();
    EXPECT("W273 another interface is misuse", stats.lint - lint, 2);
    wire.interface_index = 0;
    FwpsInjectionHandleDestroy0(handle);
}

/* ---- checksums ---- */
static NET_BUFFER_LIST *spoilt(size_t at, UINT_PTR info)
{
    NET_BUFFER_LIST *nbl = incoming("spoilt");
    uint8_t *bytes = nbl->FirstNetBuffer->MdlChain->MappedSystemVa;
    bytes[at] ^= 0xff;
    nbl->NetBufferListInfo[0] = (void *)info;
    return nbl;
}

static void test_sums(void)
{
    enum { IP_SUM = 10, UDP_SUM = 26, IP_RIGHT = 0x20, UDP_RIGHT = 0x10, SEND_V4_UDP = 0x1 | 0x8 };
    EXPECT("W261 right sums: it arrives", outcome(NETWORK_IN, incoming("right")), 1);
    EXPECT("W261 a wrong IP sum: it is dropped", outcome(NETWORK_IN, spoilt(IP_SUM, 0)), 0);
    EXPECT("W261 at the transport layer too", outcome(TRANSPORT_IN, spoilt(IP_SUM, 0)), 0);
    EXPECT("W261 a wrong UDP sum: it is dropped", outcome(TRANSPORT_IN, spoilt(UDP_SUM, 0)), 0);
    EXPECT("sums that the NIC has found right are not looked at", outcome(TRANSPORT_IN, spoilt(UDP_SUM, UDP_RIGHT)), 1);
    EXPECT("each on its own", outcome(TRANSPORT_IN, spoilt(UDP_SUM, IP_RIGHT)), 0);
    NET_BUFFER_LIST *none = incoming("no sum");
    put16((uint8_t *)none->FirstNetBuffer->MdlChain->MappedSystemVa + UDP_SUM, 0);
    EXPECT("in IPv4 a UDP sum of zero says that there is none", outcome(TRANSPORT_IN, none), 1);
    NET_BUFFER_LIST *asked = outgoing("asked");
    put16((uint8_t *)asked->FirstNetBuffer->MdlChain->MappedSystemVa + UDP_SUM, 0x1234);
    asked->NetBufferListInfo[0] = (void *)SEND_V4_UDP;
    EXPECT("a sum that the list asks of the NIC", outcome(NETWORK_OUT, asked), 0x100);
    EXPECT("is made", sums_hold(last_link), TRUE);
}

/* ---- headers that are made ---- */
static NTSTATUS construct(NET_BUFFER_LIST *nbl, ULONG include, int protocol)
{
    return FwpsConstructIpHeaderForTransportPacket0(nbl, include, AF_INET, local_bytes, remote_bytes, protocol, 0, NULL, 0, 0, NULL, 0, 0);
}

static const uint8_t *flat(const NET_BUFFER *nb)
{
    static uint8_t frame[2048];
    memset(frame, 0, sizeof frame);
    nb_copy(nb, frame + ETHERNET, sizeof frame - ETHERNET);
    return frame;
}

static void test_headers(void)
{
    NET_BUFFER_LIST *two = from_transport_header(outgoing("first"));
    NET_BUFFER other = *two->FirstNetBuffer;
    two->FirstNetBuffer->Next = &other;
    two->NetBufferListInfo[0] = two->NetBufferListInfo[2] = (void *)7;
    EXPECT("made", STATUS_OF(construct(two, 0, IPPROTO_UDP)), 0);
    EXPECT("W262 each NET_BUFFER gets a header", sums_hold(flat(two->FirstNetBuffer)) && sums_hold(flat(&other)), TRUE);
    EXPECT("W264 the source address is in network order", memcmp(flat(&other) + ETHERNET + 12, local_bytes, 4), 0);
    EXPECT("W263 nothing is left to the NIC", two->NetBufferListInfo[0] || two->NetBufferListInfo[2], FALSE);
    EXPECT("W262 headers in place: one NET_BUFFER only", construct(two, 20, IPPROTO_UDP) != 0, TRUE);
    two->FirstNetBuffer->Next = NULL;
    mem_free(other.MdlChain == two->FirstNetBuffer->MdlChain ? NULL : other.MdlChain);
    nbl_release(two);

    uint8_t options[28 + 12] = {0x47, 0, 0, 40, 0, 0, 0, 0, 64, IPPROTO_UDP, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 0x94, 4, 0, 0, 1, 1, 1, 0};
    put16(options + 28 + 4, 12);
    memcpy(options + 36, "data", 4);
    NET_BUFFER_LIST *list = list_of(options, sizeof options);
    EXPECT("made again", STATUS_OF(construct(list, 28, IPPROTO_UDP)), 0);
    EXPECT("W262 the options of IPv4 stay", memcmp(flat(list->FirstNetBuffer) + ETHERNET + 20, options + 20, 8), 0);
    EXPECT("W262 the addresses are new", memcmp(flat(list->FirstNetBuffer) + ETHERNET + 16, remote_bytes, 4), 0);
    EXPECT("W263 the sum over both", ip_checksum(flat(list->FirstNetBuffer) + ETHERNET, 28, 0), 0);
    nbl_release(list);

    uint8_t secured[20 + 24 + 12] = {0x45, 0, 0, 56, 0, 0, 0, 0, 64, PROTOCOL_AH, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, IPPROTO_UDP, 4};
    put16(secured + 44 + 4, 12);
    memcpy(secured + 52, "data", 4);
    list = list_of(secured, sizeof secured);
    EXPECT("of a secured packet", STATUS_OF(construct(list, 20, IPPROTO_UDP)), 0);
    EXPECT("W262 the AH header goes", list->FirstNetBuffer->DataLength, 32);
    EXPECT("W262 and the rest is right", sums_hold(flat(list->FirstNetBuffer)) && !memcmp(flat(list->FirstNetBuffer) + ETHERNET + 28, "data", 4), TRUE);
    nbl_release(list);

    uint8_t six[48 + 12] = {0x60, 0, 0, 0, 0, 20, 60, 64, [40] = IPPROTO_UDP};
    static const UCHAR from[16] = {0x20, 1, 0xd, 0xb8, [15] = 2}, to[16] = {0x20, 1, 0xd, 0xb8, [15] = 5};
    put16(six + 48 + 4, 12);
    list = list_of(six, sizeof six);
    EXPECT("IPv6", STATUS_OF(FwpsConstructIpHeaderForTransportPacket0(list, 48, AF_INET6, from, to, IPPROTO_UDP, 0, NULL, 0, 0, NULL, 0, 0)), 0);
    EXPECT("W262 extension headers go", list->FirstNetBuffer->DataLength, 52);
    EXPECT("and the next header is the transport's", flat(list->FirstNetBuffer)[ETHERNET + 6], IPPROTO_UDP);
    nbl_release(list);

    uint8_t ping[12] = {8, 0, 0x55, 0x55, 0, 1, 0, 1, 'p', 'i', 'n', 'g'};
    list = list_of(ping, sizeof ping);
    construct(list, 0, IPPROTO_ICMP);
    EXPECT("W263 the sum of ICMP", ip_checksum(flat(list->FirstNetBuffer) + ETHERNET + 20, 12, 0), 0);
    nbl_release(list);

    LONG64 lint = stats.lint;
    list = list_of(ping, sizeof ping);
    FwpsConstructIpHeaderForTransportPacket0(list, 0, AF_INET, local_bytes, remote_bytes, IPPROTO_ICMP, 0, NULL, 0, 8, NULL, 0, 0);
    FwpsConstructIpHeaderForTransportPacket0(list, 20, AF_INET, local_bytes, remote_bytes, IPPROTO_ICMP, 0, NULL, 0, 0, &lint, 0, 0);
    EXPECT("W264 unknown flags and a reserved pointer are misuse", stats.lint - lint, 2);
    nbl_release(list);
}

/* ---- fragment groups ---- */
static NET_BUFFER_LIST *part_of(UINT16 where, const char *payload)
{
    uint8_t bytes[64] = {0x45, 0, 0, 0, 0, 77, 0, 0, 64, PROTOCOL_GRE, 0, 0, 192, 0, 2, 9, 10, 0, 0, 9};
    put16(bytes + 2, (UINT16)(20 + strlen(payload)));
    put16(bytes + 6, where);
    memcpy(bytes + 20, payload, strlen(payload));
    return list_of(bytes, 20 + strlen(payload));
}

static void test_group(void)
{
    NET_BUFFER_LIST *chain = part_of(0x2000, "12345678"), *whole = NULL;
    chain->Next = part_of(1, "9abc");
    EXPECT("W260 a group is made one packet", STATUS_OF(FwpsReassembleForwardFragmentGroup0(AF_INET, chain, NULL, 16, 0, &whole)), 0);
    EXPECT("W260 of its own length", whole ? whole->FirstNetBuffer->DataLength : 0, 32);
    EXPECT("W260 with all bytes", whole && !memcmp(flat(whole->FirstNetBuffer) + ETHERNET + 20, "123456789abc", 12), TRUE);
    nbl_release(whole);
    nbl_release(chain->Next);
    chain->Next = NULL;
    whole = NULL;
    EXPECT("a group that is not whole is none", FwpsReassembleForwardFragmentGroup0(AF_INET, chain, NULL, 0, 0, &whole) != 0 && !whole, TRUE);
    nbl_release(chain);
}

void test_injections(void)
{
    inject_rig_begin();
    test_kinds();
    test_not_ready();
    test_beginnings();
    test_sums();
    test_headers();
    test_group();
    inject_rig_end();
}

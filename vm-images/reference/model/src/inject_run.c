/*
 * What becomes of an injected list: each of its NET_BUFFERs is copied out, gets the headers that it lacks, and goes on
 * from the layer that it was injected at. The list belongs to a driver and is taken for nothing but bytes.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "inject.h"
#include "stack.h"

enum { PACKET_MAX = 65535, INFO_CHECKSUM = 0 };
/* NDIS_TCP_IP_CHECKSUM_NET_BUFFER_LIST_INFO, to send: what the NIC is asked for; received: what it has found right. */
enum { SEND_FAMILY = 3, SEND_SUMS = 0x1c, RECEIVED_TRANSPORT_RIGHT = 0x18, RECEIVED_IP_RIGHT = 0x20 };

/* The third time that one handle injects a packet on one path, its driver does not know its own packets. */
static void note_line(struct nbl_block *to, const struct nbl_block *from, const struct job *job)
{
    struct injection_line line = {(UINT32)job->injector->id, job->path};
    unsigned before = 0;
    if (from)
        nbl_inherit_lines(to, from);
    for (unsigned i = 0; i < to->lines; i++)
        before += !memcmp(&to->line[i], &line, sizeof line);
    if (to->lines < MARKS_MAX)
        to->line[to->lines++] = line;
    if (before >= 2)
        contract_broken_at("W258", "FwpsInject", &job->made, "a packet is injected again that the same handle had injected %u times at the same layer: what FwpsQueryPacketInjectionState0 calls its own a callout has to let pass", before);
}

static void mark(NET_BUFFER_LIST *to, const NET_BUFFER_LIST *origin, const struct job *job)
{
    struct nbl_block *block = nbl_block_of(to);
    nbl_inherit(to, origin);
    note_line(block, nbl_block_of(origin), job);
    if (block->marks == MARKS_MAX) {
        memmove(block->mark, block->mark + 1, (MARKS_MAX - 1) * sizeof block->mark[0]);
        block->marks--;
    }
    block->mark[block->marks].handle = job->injector->id;
    block->mark[block->marks++].context = job->context;
}

/* Are the sums what the stack would let pass? (W261) */
static BOOL sums_are_right(struct packet *packet, UINT_PTR info)
{
    const uint8_t *ip = packet->frame + packet->ip;
    BOOL v4 = ip[0] >> 4 == 4, checked = packet->thl && !packet->fragment;
    if (v4 && !(info & RECEIVED_IP_RIGHT) && ip_checksum(ip, packet->ihl, 0))
        return FALSE;
    if (!checked || (info & RECEIVED_TRANSPORT_RIGHT))
        return TRUE;
    return packet_transport_sum_is_right(packet);
}

static size_t header_size(uint8_t family)
{
    return family == FAMILY_V6 ? 40 : 20;
}

/* In front of a transport header: the IP header that the stack would build. FALSE: the endpoint is gone (W252). */
static BOOL build_ip(uint8_t *ip, const struct job *job, size_t transport_size)
{
    struct address remote = address_of(job->family, job->remote);
    struct flow *flow = job->endpoint ? flow_find_of(job->endpoint, &remote) : NULL;
    const struct address *own = wire_address(job->family), *local = own ? own : &remote;
    const uint8_t *transport = ip + header_size(job->family);
    BOOL udp = transport_size >= 8 && get16(transport + 4) == transport_size;
    if (job->endpoint && !flow)
        return FALSE;
    if (flow && flow->local.family == job->family)
        local = &flow->local;
    size_t size = ip_header(ip, local, &remote, flow ? flow->protocol : udp ? IPPROTO_UDP : IPPROTO_TCP, transport_size);
    /* The header is the stack's, the transport checksum the driver's: what it gave goes out as it is. */
    if (job->family == FAMILY_V4)
        put16(ip + 10, ip_checksum(ip, size, 0));
    flow_release(flow);
    return TRUE;
}

/* The packet as a frame; *size is that of the frame. NULL with the reason. */
static uint8_t *make_frame(const struct job *job, const NET_BUFFER *nb, size_t *size, NTSTATUS *status)
{
    BOOL build = job->path == TRANSPORT_SEND && job->remote && !job->include;
    size_t head = job->include ? job->include_length : build ? header_size(job->family) : 0;
    size_t skip = job->path == MAC_SEND || job->path == MAC_RECEIVE ? 0 : ETHERNET;
    *status = STATUS_DATA_NOT_ACCEPTED;
    if (!nb->DataLength || nb->DataLength > PACKET_MAX || head + nb->DataLength > PACKET_MAX + 40)
        return NULL;
    *size = skip + head + nb->DataLength;
    uint8_t *frame = mem_alloc(*size);
    if (job->include)
        memcpy(frame + skip, job->include, head);
    BOOL whole = nb_copy(nb, frame + skip + head, nb->DataLength) == nb->DataLength;
    if (!whole)
        contract_broken_at("W269", "FwpsInject", &job->made, "an injected NET_BUFFER says that it has %u bytes, its MDLs have fewer", (unsigned)nb->DataLength);
    else if (build && !build_ip(frame + skip, job, nb->DataLength))
        *status = STATUS_CONNECTION_INVALID;
    else if (!skip ? *size >= ETHERNET : head + nb->DataLength >= 20 && (frame[skip] >> 4 == 4 || head + nb->DataLength >= 40))
        *status = STATUS_SUCCESS;
    if (!*status)
        return frame;
    mem_free(frame);
    return NULL;
}

static NTSTATUS inject_frame(const struct job *job, const NET_BUFFER_LIST *origin, const uint8_t *frame, size_t size)
{
    NET_BUFFER_LIST *nbl = frame_wrap(frame, size);
    mark(nbl, origin, job);
    if (job->path == MAC_SEND)
        frame_send(nbl, job->layer);
    else
        frame_receive(nbl, job->layer);
    return STATUS_SUCCESS;
}

static BOOL family_fits(const struct job *job, const struct packet *packet)
{
    ADDRESS_FAMILY family = job->injector->family;
    if (family == AF_UNSPEC || family == packet->tuple.local.family)
        return TRUE;
    contract_broken_at("W240", "FwpsInject", &job->made, "a packet of address family %u is injected by a handle of family %u", packet->tuple.local.family, family);
    return FALSE;
}

static NTSTATUS inject_packet(const struct job *job, NET_BUFFER_LIST *origin, const uint8_t *frame, size_t size)
{
    BOOL outbound = goes_out(job->path);
    UINT_PTR info = (UINT_PTR)origin->NetBufferListInfo[INFO_CHECKSUM];
    struct packet *packet = packet_new(frame, size, outbound);
    if (!packet) /* W248 */
        return STATUS_DATA_NOT_ACCEPTED;
    if (!family_fits(job, packet)) {
        packet_free(packet);
        return STATUS_DATA_NOT_ACCEPTED;
    }
    mark(packet->nbl, origin, job);
    packet->injected_by = job->made;
    if (outbound && (info & SEND_FAMILY) && (info & SEND_SUMS)) /* as the NIC would, which gets the list's orders */
        packet_fix_sums(packet);
    if (!outbound && job->path != FORWARD && !sums_are_right(packet, info)) {
        contract_broken_at("W261", "FwpsInject", &job->made, "a packet with a wrong checksum is injected on the receive path: the stack drops it");
        COUNT(dropped_in);
        packet_free(packet);
        return STATUS_SUCCESS;
    }
    COUNT(injected);
    if (job->path == FORWARD)
        return forward_injected(packet) ? STATUS_SUCCESS : STATUS_NETWORK_UNREACHABLE;
    BOOL transport = job->path == TRANSPORT_SEND || job->path == TRANSPORT_RECEIVE;
    (outbound ? stack_outbound : stack_inbound)(packet, transport ? START_TRANSPORT : START_NETWORK);
    return STATUS_SUCCESS;
}

NTSTATUS inject_list(const struct job *job, NET_BUFFER_LIST *nbl)
{
    BOOL mac = job->path == MAC_SEND || job->path == MAC_RECEIVE;
    NTSTATUS status = STATUS_SUCCESS;
    if (!nbl->FirstNetBuffer)
        return STATUS_DATA_NOT_ACCEPTED;
    for (const NET_BUFFER *nb = nbl->FirstNetBuffer; nb && !status; nb = nb->Next) {
        size_t size;
        uint8_t *frame = make_frame(job, nb, &size, &status);
        if (!frame)
            break;
        if (mac) {
            COUNT(injected);
            status = inject_frame(job, nbl, frame, size);
        } else {
            const uint8_t *ip = frame + ETHERNET;
            BOOL aligned = !goes_out(job->path) || job->path == TRANSPORT_SEND || nb_is_aligned(nb);
            if (!aligned) /* W272 */
                contract_broken_at("W272", "FwpsInject", &job->made, "the IP header of a packet to be sent is not at a multiple of the size of a pointer");
            stack_frame_for(goes_out(job->path), ip, frame);
            status = inject_packet(job, nbl, frame, size);
        }
        mem_free(frame);
    }
    if (status == STATUS_DATA_NOT_ACCEPTED && job->path == TRANSPORT_SEND && !job->remote) /* W249 */
        contract_broken_at("W249", "FwpsInjectTransportSendAsync", &job->made, "sendArgs is NULL and the NET_BUFFER_LIST does not begin with an IP header: one of the two has to say where the packet goes");
    return status;
}

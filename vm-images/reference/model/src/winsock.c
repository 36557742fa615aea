/*
 * What the guest's Winsock asks before a packet exists. A connect is authorized here and its flow waits for the SYN; a
 * datagram that would make a flow is shown as the packet that it is about to become.
 *
 * SPDX-License-Identifier: MIT
 */
#include "winsock.h"

#include <string.h>

#include "linux.h"
#include "reservations.h"
#include "stack.h"

enum { DATAGRAM_MAX = 65507, UDP_HEADER = 8, IP_ROOM = 40 };

static struct address call_address(const WFPMODEL_CALL *call, const uint8_t bytes[16])
{
    return address_of(call->family, bytes);
}

static void answer_address(uint8_t to[16], const struct address *from)
{
    memcpy(to, from->bytes, sizeof from->bytes);
}

static BOOL valid(const WFPMODEL_CALL *call)
{
    return call->family == FAMILY_V4 || call->family == FAMILY_V6;
}

/* The address that a packet to this one leaves from. */
static struct address source_for(struct endpoint *endpoint, const struct address *remote)
{
    UINT16 port;
    struct address local = endpoint_address(endpoint, &port);
    const struct address *own = wire_address(remote->family);
    if (local.family == remote->family && !address_is_zero(&local))
        return local;
    if (wire.source && wire.source(remote, &local))
        return local;
    return own ? *own : (struct address){.family = remote->family};
}

static struct tuple tuple_to(struct endpoint *endpoint, const WFPMODEL_CALL *call)
{
    UINT16 port;
    struct tuple tuple = {.protocol = endpoint->protocol, .remote = call_address(call, call->remote), .remote_port = call->remote_port};
    endpoint_address(endpoint, &port);
    tuple.local = source_for(endpoint, &tuple.remote);
    tuple.local_port = port;
    return tuple;
}

static int connect_stream(struct endpoint *endpoint, const WFPMODEL_CALL *call, WFPMODEL_ANSWER *answer)
{
    struct tuple tuple = tuple_to(endpoint, call);
    UINT16 port;
    struct address bound = endpoint_address(endpoint, &port);
    BOOL absorb = FALSE;
    flows_end_of(endpoint->id);
    struct flow *flow = flow_make(&tuple, TRUE);
    InterlockedIncrement(&flow->references); /* ours, while it may be put off */
    endpoint_of_flow(flow);
    flow->unrouted = address_is_zero(&bound);
    flow->loopback = wire_is_guest(&tuple.remote);
    flow->awaited = !flow->loopback;
    struct flow *permitted = ale_authorize(flow, NULL, &absorb);
    if (!permitted && flow->put_off && flow->loopback)
        ale_wait(flow);
    if (!permitted && flow->put_off && !flow->ended) { /* the caller may be one that must not wait: its SYN does */
        InterlockedIncrement(&flow->references);
        permitted = flow;
    }
    if (permitted) {
        flow->established |= flow->loopback; /* nothing of it is going to be seen */
        answer_address(answer->remote, &flow->original);
        answer->remote_port = flow->original_port;
        flow_release(permitted);
    }
    flow_release(flow);
    return permitted ? 0 : WSAEACCES;
}

/* The datagram as it will come from the guest's stack. */
static struct packet *packet_of(const struct tuple *t, const uint8_t *bytes, size_t size)
{
    uint8_t *frame = mem_alloc(ETHERNET + IP_ROOM + UDP_HEADER + size), *ip = frame + ETHERNET;
    uint8_t *udp = ip + ip_header(ip, &t->local, &t->remote, IPPROTO_UDP, UDP_HEADER + size);
    put16(udp, t->local_port);
    put16(udp + 2, t->remote_port);
    put16(udp + 4, (UINT16)(UDP_HEADER + size));
    memcpy(udp + UDP_HEADER, bytes, size);
    stack_frame_for(TRUE, ip, frame);
    struct packet *packet = packet_new(frame, (size_t)(udp + UDP_HEADER + size - frame), TRUE);
    mem_free(frame);
    if (packet)
        packet_fix_sums(packet);
    return packet;
}

static int send_datagram(struct endpoint *endpoint, const WFPMODEL_CALL *call, const uint8_t *bytes, size_t size, WFPMODEL_ANSWER *answer)
{
    struct tuple tuple = tuple_to(endpoint, call);
    struct flow *flow = flow_find_sent(&tuple);
    struct packet *packet = flow || size > DATAGRAM_MAX || !tuple.local_port ? NULL : packet_of(&tuple, bytes, size);
    BOOL absorb = FALSE, permit = TRUE;
    if (packet) {
        flow = ale_connect(packet, &absorb);
        if (flow)
            permit = ale_established(flow, packet);
        packet_free(packet);
        if (!flow || !permit) {
            flow_release(flow);
            answer->swallowed = absorb;
            return absorb ? 0 : WSAEACCES;
        }
    }
    if (flow) {
        answer_address(answer->remote, &flow->original);
        answer->remote_port = flow->original_port;
    }
    flow_release(flow);
    return 0;
}

static int set_records(struct endpoint *endpoint, const uint8_t *bytes, size_t size)
{
    struct redirect_records records = {0};
    if (size && !records_parse(bytes, size, &records)) {
        records_free(&records);
        return WSAEINVAL;
    }
    endpoint_set_records(endpoint, &records);
    return 0;
}

/* By the addresses of the proxy's accepted socket (W148, W150, W151). */
static int query(const WFPMODEL_CALL *call, uint8_t *out, size_t room, WFPMODEL_ANSWER *answer)
{
    struct tuple t = {.protocol = call->protocol, .local = call_address(call, call->local), .remote = call_address(call, call->remote),
                      .local_port = call->local_port, .remote_port = call->remote_port};
    struct flow *flow = flow_find_mapped(&t);
    int error = 0;
    if (!flow || !flow->records.count) {
        flow_release(flow);
        return ERROR_NOT_FOUND;
    }
    const struct redirect_record *newest = &flow->records.record[flow->records.count - 1];
    BOOL context = call->op == WFPMODEL_QUERY_CONTEXT;
    size_t need = context ? newest->context_size : redirect_blob(flow, NULL, 0);
    room = room < call->size ? room : call->size;
    if (need > room)
        error = ERROR_INSUFFICIENT_BUFFER;
    else if (context)
        memcpy(out, newest->context, need);
    else
        redirect_blob(flow, out, room);
    answer->length = (uint32_t)need;
    flow_release(flow);
    return error;
}

/* Where a proxy that is bound to no address got it. */
static struct flow *find_accepted(struct tuple t)
{
    struct flow *flow = flow_find_mapped(&t);
    if (flow || !address_is_zero(&t.local))
        return flow;
    const struct address *own = wire_address(t.local.family);
    t.local = t.local.family == FAMILY_V4 ? address_v4(INADDR_LOOPBACK) : (struct address){FAMILY_V6, {[15] = 1}};
    flow = flow_find_mapped(&t);
    if (flow || !own)
        return flow;
    t.local = *own;
    return flow_find_mapped(&t);
}

/* What comes with the datagram that made a flow, and with no other (W154). Bytes in `out`. */
static size_t take_records(const WFPMODEL_CALL *call, uint8_t *out, size_t room, WFPMODEL_ANSWER *answer)
{
    struct flow *flow = find_accepted((struct tuple){.protocol = IPPROTO_UDP, .local = call_address(call, call->local), .remote = call_address(call, call->remote),
                                                     .local_port = call->local_port, .remote_port = call->remote_port});
    size_t need = flow ? redirect_blob(flow, NULL, 0) : 0, size = 0;
    if (!flow || !flow->records.count || InterlockedExchange(&flow->records_taken, 1)) {
        answer->error = ERROR_NOT_FOUND;
    } else {
        const struct redirect_record *newest = &flow->records.record[flow->records.count - 1];
        size = need + newest->context_size;
        answer->length = (uint32_t)need;
        answer->context_length = (uint16_t)newest->context_size;
        if (size > room || newest->context_size > 0xffff) {
            answer->error = ERROR_INSUFFICIENT_BUFFER;
            size = 0;
        } else {
            redirect_blob(flow, out, need);
            memcpy(out + need, newest->context, newest->context_size);
        }
    }
    flow_release(flow);
    return size;
}

static int bind_call(struct endpoint *endpoint, const WFPMODEL_CALL *call, WFPMODEL_ANSWER *answer)
{
    struct address local = call_address(call, call->local);
    UINT16 port = call->local_port;
    endpoint_unbind(endpoint);
    if (!endpoint_bind(endpoint, &local, &port, call->flags & WFPMODEL_IMPLICIT))
        return WSAEACCES;
    answer_address(answer->local, &local);
    answer->local_port = port;
    return 0;
}

static UINT64 call_token(const uint8_t *bytes, size_t size)
{
    UINT64 token = 0; /* is none */
    if (size >= sizeof token)
        memcpy(&token, bytes, sizeof token);
    return token;
}

/* Tokens that nobody has room for are not told, and the reservation stays until its socket or somebody ends it. */
static size_t answer_token(UINT64 token, uint8_t *out, size_t room, WFPMODEL_ANSWER *answer)
{
    size_t size = answer->error || room < sizeof token ? 0 : sizeof token;
    memcpy(out, &token, size);
    answer->length = (uint32_t)size;
    return size;
}

static size_t persistent_ports(const WFPMODEL_CALL *call, uint8_t *out, size_t room, WFPMODEL_ANSWER *answer)
{
    UINT64 token = 0;
    answer->error = call->op == WFPMODEL_CREATE_PORTS
                        ? reservation_create(call->protocol, call->local_port, call->value, &token)
                        : reservation_look_up(call->protocol, call->local_port, call->value, &token, call->op == WFPMODEL_DELETE_PORTS);
    return answer_token(token, out, room, answer);
}

static size_t acquire_ports(struct endpoint *endpoint, const WFPMODEL_CALL *call, uint8_t *out, size_t room, WFPMODEL_ANSWER *answer)
{
    UINT64 token = 0;
    answer->error = reservation_acquire(endpoint, &answer->local_port, call->value, &token);
    return answer_token(token, out, room, answer);
}

static int endpoint_call(struct endpoint *endpoint, const WFPMODEL_CALL *call, const uint8_t *bytes, size_t size, WFPMODEL_ANSWER *answer)
{
    switch (call->op) {
    case WFPMODEL_BIND:
        return bind_call(endpoint, call, answer);
    case WFPMODEL_UNBIND:
        endpoint_unbind(endpoint);
        return 0;
    case WFPMODEL_LISTEN:
        return endpoint_listen(endpoint) ? 0 : WSAEACCES;
    case WFPMODEL_CONNECT:
        return connect_stream(endpoint, call, answer);
    case WFPMODEL_DATAGRAM:
        return send_datagram(endpoint, call, bytes, size, answer);
    case WFPMODEL_CLOSE:
        endpoint_close(endpoint);
        return 0;
    case WFPMODEL_SET_RECORDS:
        return set_records(endpoint, bytes, size);
    case WFPMODEL_ASSOCIATE_PORTS:
        return reservation_associate(endpoint, call_token(bytes, size));
    case WFPMODEL_RELEASE_PORTS:
        return reservation_release(endpoint, call_token(bytes, size));
    case WFPMODEL_PROMISCUOUS:
        return endpoint_promiscuous(endpoint, call->value) ? 0 : WSAEACCES;
    default:
        return WSAEOPNOTSUPP;
    }
}

size_t winsock_call(const void *client, const WFPMODEL_CALL *call, const uint8_t *bytes, size_t size, WFPMODEL_ANSWER *answer,
                    uint8_t *out, size_t room)
{
    memset(answer, 0, sizeof *answer);
    answer->family = call->family;
    memcpy(answer->local, call->local, sizeof answer->local);
    memcpy(answer->remote, call->remote, sizeof answer->remote);
    answer->local_port = call->local_port;
    answer->remote_port = call->remote_port;
    if (!valid(call)) {
        answer->error = WSAEAFNOSUPPORT;
        return 0;
    }
    if (call->op == WFPMODEL_QUERY_RECORDS || call->op == WFPMODEL_QUERY_CONTEXT) {
        answer->error = query(call, out, room, answer);
        return answer->error ? 0 : answer->length;
    }
    if (call->op == WFPMODEL_TAKE_RECORDS)
        return take_records(call, out, room, answer);
    if (call->op >= WFPMODEL_CREATE_PORTS && call->op <= WFPMODEL_DELETE_PORTS)
        return persistent_ports(call, out, room, answer);
    struct endpoint *endpoint = endpoint_open(client, call->endpoint, call->process_id, call->family, call->protocol, call->flags & WFPMODEL_RAW);
    if (!endpoint)
        return 0; /* not known any more: nothing to say against it */
    size_t told = 0;
    answer->endpoint = endpoint->id;
    if (call->op == WFPMODEL_ACQUIRE_PORTS)
        told = acquire_ports(endpoint, call, out, room, answer);
    else
        answer->error = endpoint_call(endpoint, call, bytes, size, answer);
    endpoint_release(endpoint);
    return told;
}

void winsock_client_gone(const void *client)
{
    endpoints_client_gone(client);
}

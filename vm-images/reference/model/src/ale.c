/* Connections: redirection and authorization of their first packet, establishment. SPDX-License-Identifier: MIT */
#include <string.h>

#include "stack.h"

UINT32 flow_flags(const struct flow *flow)
{
    if (!flow)
        return 0;
    return (flow->redirected ? FLAG_IS_CONNECTION_REDIRECTED : 0) | (flow->redirected_local ? FLAG_IS_LOOPBACK : 0) |
           (flow->proxied ? FLAG_IS_PROXY_CONNECTION : 0);
}

UINT32 scope_of(const struct address *address)
{
    return address_is_link_local(address) ? wire.interface_index : 0;
}

void sockaddr_put(SOCKADDR_STORAGE *out, const struct address *address, UINT16 port)
{
    SOCKADDR_IN *in = (SOCKADDR_IN *)out;
    SOCKADDR_IN6 *in6 = (SOCKADDR_IN6 *)out;
    memset(out, 0, sizeof *out);
    in->sin_family = address->family;
    put16((uint8_t *)&in->sin_port, port); /* at one place in both */
    if (address->family == FAMILY_V6) {
        memcpy(&in6->sin6_addr, address->bytes, 16);
        in6->sin6_scope_id = scope_of(address);
    } else {
        memcpy(&in->sin_addr, address->bytes, 4);
    }
}

struct address sockaddr_get(const SOCKADDR_STORAGE *from, UINT16 *port)
{
    const SOCKADDR_IN *in = (const SOCKADDR_IN *)from;
    *port = get16((const uint8_t *)&in->sin_port);
    if (from->ss_family == AF_INET6)
        return address_of(FAMILY_V6, &((const SOCKADDR_IN6 *)from)->sin6_addr);
    return address_of(FAMILY_V4, &in->sin_addr);
}

static UINT32 owner_of(const struct tuple *tuple)
{
    static const UINT16 layers[] = {LAYER_ALE_CONNECT_REDIRECT_V4, LAYER_ALE_AUTH_CONNECT_V4, LAYER_ALE_AUTH_RECV_ACCEPT_V4,
                                    LAYER_ALE_FLOW_ESTABLISHED_V4};
    if (tuple->protocol != IPPROTO_TCP && tuple->protocol != IPPROTO_UDP)
        return 0;
    for (unsigned i = 0; wire.owner && i < sizeof layers / sizeof layers[0]; i++)
        if (layer_has_filters(layer_of(layers[i], tuple->local.family)))
            return wire.owner(tuple);
    return 0;
}

static BOOL is_icmp(const struct flow *flow)
{
    return flow->protocol == (flow->local.family == FAMILY_V6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
}

/* Takes over what the callouts made of the request. FALSE: the engine does not accept it. */
static BOOL accept_redirect(struct flow *flow, struct classify_context *context)
{
    const FWPS_CONNECT_REQUEST0 *request = context->request;
    UINT16 port;
    BOOL icmp = is_icmp(flow);
    struct address address = sockaddr_get(&request->remoteAddressAndPort, &port);
    BOOL local = wire_is_guest(&address);
    if (!context->modified)
        return TRUE;
    if (request->remoteAddressAndPort.ss_family != flow->remote.family) {
        contract_broken_at("W135", "FwpsApplyModifiedLayerData0", &context->applied, "a connect of address family %u was redirected to an address of family %u", flow->remote.family, request->remoteAddressAndPort.ss_family);
        return FALSE;
    }
    if (local && (!request->localRedirectHandle || !request->localRedirectTargetPID)) { /* W120, W121 */
        contract_broken_at(request->localRedirectHandle ? "W121" : "W120", "FwpsApplyModifiedLayerData0", &context->applied,
                           "a redirect to a local process came without %s: the engine does not accept it", request->localRedirectHandle ? "localRedirectTargetPID" : "localRedirectHandle");
        return FALSE;
    }
    port = icmp ? flow->remote_port : port;
    if (icmp && local) {
        model_log("UNIMPLEMENTED: a callout redirected ICMP to a local address, which the reference guest does not model");
        return FALSE;
    }
    flow->redirected = !address_equal(&address, &flow->remote) || port != flow->remote_port;
    flow->redirected_local = flow->redirected && local;
    flow_redirect(flow, &address, port);
    flow->target_pid = request->localRedirectTargetPID;
    flow->driver_context = request->localRedirectContext;
    for (FWPS_CONNECT_REQUEST0 *r = context->request; r; r = r->previousVersion)
        if (r->localRedirectContext == flow->driver_context) /* the flow's from here on */
            r->localRedirectContext = NULL;
    return TRUE;
}

/* TCP, UDP and the ICMP of sockets (W117); what the stack itself says over ICMP is none. */
static BOOL redirectable(const struct flow *flow)
{
    return flow->protocol == IPPROTO_TCP || flow->protocol == IPPROTO_UDP || (is_icmp(flow) && icmp_has_id(flow->local.family, flow->local_port));
}

enum step { STEP_PASS, STEP_BLOCK, STEP_PENDED };

static void resume_redirect(struct classify_context *context, void *owner);

/* What a connect is about, with its first packet or before it. */
static struct tuple tuple_of(const struct flow *flow, const struct packet *packet)
{
    return packet ? packet->tuple : (struct tuple){flow->protocol, flow->local, flow->original, flow->local_port, flow->original_port, flow->icmp_id};
}

static struct tuple unrouted_of(const struct flow *flow, const struct packet *packet)
{
    struct tuple tuple = tuple_of(flow, packet);
    if (flow->unrouted)
        tuple.local = (struct address){.family = flow->local.family};
    return tuple;
}

/* Once, or again after a callout pended it. */
static enum step redirect_classify(struct flow *flow, const struct packet *packet, struct classify_context *context, BOOL *absorb)
{
    struct tuple tuple = unrouted_of(flow, packet);
    struct view view = {.tuple = &tuple, .outbound = TRUE, .flow = flow, .flags = flow_flags(flow), .layer_data = context->request,
                        .context = context, .records = &context->records};
    struct verdict verdict = view_classify(context->layer, &view);
    if (context->state != CLASSIFY_NOW) {
        BOOL first = !flow->held;
        if (first) {
            ale_hold(flow, packet);
            flow_publish(flow);
        }
        context_pended(context, resume_redirect, flow); /* from here on the context is the resumption's */
        return STEP_PENDED;
    }
    BOOL applied = redirect_end(context);
    BOOL pass = verdict.permit && applied && accept_redirect(flow, context);
    *absorb = verdict.absorb;
    if (pass)
        records_copy(&flow->records, &context->records);
    redirect_dispose(context);
    context_release(context);
    return pass ? STEP_PASS : STEP_BLOCK;
}

static enum step redirect_step(struct flow *flow, struct packet *packet, BOOL *absorb)
{
    if (!redirectable(flow))
        return STEP_PASS;
    struct classify_context *context = context_new(layer_of(LAYER_ALE_CONNECT_REDIRECT_V4, flow->local.family));
    FWPS_CONNECT_REQUEST0 initial;
    memset(&initial, 0, sizeof initial);
    struct tuple tuple = unrouted_of(flow, packet);
    flow->proxied = endpoint_records(flow, &context->records);
    flow->original_program = flow->proxied && context->records.count ? program_by_number(context->records.record[0].program) : NULL;
    context->program = flow->program ? flow->program->number : 0;
    sockaddr_put(&initial.localAddressAndPort, &tuple.local, is_icmp(flow) ? 0 : flow->local_port);
    sockaddr_put(&initial.remoteAddressAndPort, &flow->remote, is_icmp(flow) ? 0 : flow->remote_port);
    redirect_begin(context, &initial);
    return redirect_classify(flow, packet, context, absorb);
}

static void begin_tcp(struct flow *flow, struct packet *packet)
{
    const uint8_t *tcp = packet ? packet_tcp(packet) : NULL;
    if (tcp)
        flow->first_sequence = get32(tcp + 4);
    flow->tcp = TCP_SYN;
}

SOCKADDR_STORAGE *ale_original(const struct flow *flow, SOCKADDR_STORAGE *room)
{
    if (!flow->redirected)
        return NULL;
    sockaddr_put(room, &flow->original, is_icmp(flow) ? 0 : flow->original_port);
    return room;
}

/* Loopback never reaches the engine: the socket is told where it was redirected to and goes there itself. */
static void go_straight(struct flow *flow)
{
    flow->original = flow->remote;
    flow->original_port = flow->remote_port;
    flow->loopback = wire_is_guest(&flow->remote);
    if (!flow->loopback && wire.source)
        wire.source(&flow->remote, &flow->local);
}

/* AUTH_CONNECT of a flow, whose reference it takes and gives back; NULL when it is blocked or put off. */
static struct flow *authorize_connect(struct flow *flow, struct packet *packet, BOOL *absorb)
{
    SOCKADDR_STORAGE original;
    SOCKADDR_STORAGE *redirected_from = ale_original(flow, &original);
    if (flow->loopback)
        go_straight(flow);
    flow->awaited = !packet && !flow->loopback;
    struct tuple tuple = tuple_of(flow, packet);
    UINT16 layer = layer_of(LAYER_ALE_AUTH_CONNECT_V4, flow->local.family);
    struct pend_point point;
    tuple.remote = flow->remote;
    if (!is_icmp(flow))
        tuple.remote_port = flow->remote_port;
    if (flow->redirected && packet)
        packet_rewrite(packet, FALSE, &flow->remote, flow->remote_port);
    if (!flow->held)
        flow_publish(flow);
    pend_begin(&point, layer, FALSE);
    struct view view = {.tuple = &tuple, .outbound = TRUE, .flow = flow, .flags = flow_flags(flow), .packet = packet,
                        .show = flow->protocol == IPPROTO_TCP ? SHOW_NOTHING : SHOW_TRANSPORT, .pend = &point,
                        .original = redirected_from};
    struct verdict verdict = view_classify(layer, &view);
    if (pend_taken(&point)) {
        ale_hold(flow, flow->protocol == IPPROTO_TCP ? packet : NULL);
        pend_end(&point, ale_resume_connect, flow);
        flow_release(flow);
        *absorb = TRUE;
        return NULL;
    }
    pend_end(&point, NULL, NULL);
    if (!verdict.permit) {
        *absorb = verdict.absorb;
        flow_end(flow, "blocked at AUTH_CONNECT");
        flow_release(flow);
        return NULL;
    }
    return flow;
}

/* The socket's program: Winsock said whose, or the engine has to look for it. */
static void find_owner(struct flow *flow, const struct tuple *tuple)
{
    if (endpoint_of_flow(flow) || !(flow->pid = owner_of(tuple)))
        return;
    flow->program = program_of(flow->pid);
}

struct flow *ale_connect(struct packet *packet, BOOL *absorb)
{
    struct tuple key = packet_key(packet);
    struct flow *flow = flow_make(&key, TRUE);
    find_owner(flow, &packet->tuple);
    flow->loopback = wire_is_guest(&flow->remote);
    return ale_authorize(flow, packet, absorb);
}

struct flow *ale_authorize(struct flow *flow, struct packet *packet, BOOL *absorb)
{
    begin_tcp(flow, packet);
    enum step step = redirect_step(flow, packet, absorb);
    if (step == STEP_PASS)
        return authorize_connect(flow, packet, absorb);
    if (step == STEP_PENDED)
        *absorb = TRUE;
    else
        endpoint_flow_ended(flow); /* it never was in the table */
    flow_release(flow);
    return NULL;
}

static void resume_redirect(struct classify_context *context, void *owner)
{
    struct flow *flow = owner;
    struct packet *packet = held_take(flow);
    BOOL absorb = FALSE;
    if (flow->ended) {
        packet_free(packet);
        redirect_end(context);
        redirect_dispose(context);
        context_release(context);
        flow_release(flow);
        return;
    }
    enum step step = redirect_classify(flow, packet, context, &absorb);
    if (step == STEP_PENDED) { /* again */
        held_keep(flow, packet);
        return;
    }
    struct flow *permitted = NULL;
    if (step == STEP_PASS) {
        InterlockedIncrement(&flow->references);
        permitted = authorize_connect(flow, packet, &absorb);
    }
    if (permitted) {
        ale_go_on(flow, packet);
        flow_release(permitted);
    } else {
        if (step == STEP_BLOCK || flow->ended)
            ale_blocked(flow, packet, absorb);
        packet_free(packet);
    }
    flow_release(flow);
}

struct flow *ale_accept(struct packet *packet, BOOL *absorb)
{
    struct tuple key = packet_key(packet);
    struct flow *flow = flow_publish(flow_make(&key, FALSE));
    UINT16 layer = layer_of(LAYER_ALE_AUTH_RECV_ACCEPT_V4, flow->local.family);
    struct pend_point point;
    find_owner(flow, &packet->tuple);
    begin_tcp(flow, packet);
    pend_begin(&point, layer, FALSE);
    struct view view = {.tuple = &packet->tuple, .flow = flow, .packet = packet, .show = SHOW_PAYLOAD, .pend = &point};
    struct verdict verdict = view_classify(layer, &view);
    if (pend_taken(&point)) {
        ale_hold(flow, NULL); /* the callout keeps a clone of the packet (W180) */
        pend_end(&point, ale_resume_accept, flow);
        flow_release(flow);
        *absorb = TRUE;
        return NULL;
    }
    pend_end(&point, NULL, NULL);
    if (!verdict.permit) {
        *absorb = verdict.absorb;
        flow_end(flow, "blocked at AUTH_RECV_ACCEPT");
        flow_release(flow);
        return NULL;
    }
    return flow;
}

BOOL ale_established(struct flow *flow, struct packet *packet)
{
    struct tuple tuple = {flow->protocol, flow->local, flow->remote, flow->local_port, flow->remote_port, flow->icmp_id};
    struct view view = {.tuple = packet ? &packet->tuple : &tuple, .outbound = flow->outbound, .flow = flow, .flags = flow_flags(flow), .packet = packet};
    if (flow->protocol != IPPROTO_TCP && packet) /* none when it was flushed while it was put off */
        view.show = packet->outbound ? SHOW_TRANSPORT : SHOW_PAYLOAD;
    flow->established = TRUE;
    flow->tcp = TCP_OPEN;
    stream_established(flow);
    return view_classify(layer_of(LAYER_ALE_FLOW_ESTABLISHED_V4, flow->local.family), &view).permit;
}

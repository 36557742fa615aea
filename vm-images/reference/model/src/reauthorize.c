/*
 * Authorization that comes later than the first packet: what a callout put off and completed (W179 to W182), and flows
 * that live when the filters at their layer change (W115, W211 to W214). The classify then says so by
 * FWP_CONDITION_FLAG_IS_REAUTHORIZE and a reason, and can be put off no more (W176).
 *
 * SPDX-License-Identifier: MIT
 */
#include "stack.h"

enum { LAYERS_MAX = 128 };
static volatile LONG policies[LAYERS_MAX]; /* of each layer: how often its filters have changed */

void policy_changed(UINT16 layer)
{
    InterlockedIncrement(&policies[layer]);
}

/* The layer that authorizes a flow for as long as it lives, whichever way its packets go (W212). */
static UINT16 layer_for(const struct flow *flow)
{
    return layer_of(flow->outbound ? LAYER_ALE_AUTH_CONNECT_V4 : LAYER_ALE_AUTH_RECV_ACCEPT_V4, flow->local.family);
}

LONG policy_now(const struct flow *flow)
{
    return policies[layer_for(flow)];
}

BOOL reauthorize_due(const struct flow *flow)
{
    return !flow->held && flow->policy != policy_now(flow);
}

/* Without a packet: a connect that was put off goes on. */
static struct verdict classify_again(struct flow *flow, struct packet *packet, UINT32 reason)
{
    struct tuple tuple = {.protocol = flow->protocol, .local = flow->local, .remote = flow->remote, .local_port = flow->local_port,
                          .remote_port = flow->remote_port, .icmp_id = flow->icmp_id};
    SOCKADDR_STORAGE original;
    struct pend_point point;
    pend_begin(&point, layer_for(flow), TRUE);
    struct view view = {.tuple = packet ? &packet->tuple : &tuple, .outbound = packet ? packet->outbound : flow->outbound,
                        .flow = flow, .flags = flow_flags(flow), .packet = packet, .pend = &point, .reason = reason,
                        .original = ale_original(flow, &original)};
    if (packet)
        view.show = packet->outbound ? SHOW_TRANSPORT : SHOW_PAYLOAD;
    struct verdict verdict = view_classify(layer_for(flow), &view);
    pend_end(&point, NULL, NULL);
    return verdict;
}

BOOL reauthorize(struct flow *flow, struct packet *packet)
{
    LONG before = flow->policy, now = policy_now(flow);
    if (before == now || InterlockedCompareExchange(&flow->policy, now, before) != before) /* or it is another packet's */
        return TRUE;
    struct verdict verdict = classify_again(flow, packet, REASON_POLICY_CHANGE);
    if (verdict.permit)
        return TRUE;
    if (verdict.absorb) { /* the callout has the packet and will inject it again: the next one is asked about */
        flow->policy = before;
        return FALSE;
    }
    stack_abort(flow);
    flow_end(flow, "blocked at reauthorization");
    return FALSE;
}

/* ---- what a callout put off ---- */

enum { WAIT_MS = 15000 };
static SRWLOCK decided_lock = SRWLOCK_INIT; /* makes sure that no end of a wait is missed */
static CONDITION_VARIABLE decided = CONDITION_VARIABLE_INIT;

void ale_decided(void)
{
    AcquireSRWLockExclusive(&decided_lock);
    ReleaseSRWLockExclusive(&decided_lock);
    WakeAllConditionVariable(&decided);
}

struct pause {
    LONG references; /* who waits and who resumes */
    BOOL over;       /* by decided_lock */
};

struct pause *pause_new(void)
{
    struct pause *pause = mem_alloc(sizeof *pause);
    pause->references = 2;
    return pause;
}

static void pause_release(struct pause *pause)
{
    if (!InterlockedDecrement(&pause->references))
        mem_free(pause);
}

void pause_over(struct pause *pause)
{
    AcquireSRWLockExclusive(&decided_lock);
    pause->over = TRUE;
    ReleaseSRWLockExclusive(&decided_lock);
    WakeAllConditionVariable(&decided);
    pause_release(pause);
}

BOOL pause_wait(struct pause *pause)
{
    BOOL in_time = TRUE;
    AcquireSRWLockExclusive(&decided_lock);
    while (in_time && !pause->over)
        in_time = SleepConditionVariableSRW(&decided, &decided_lock, WAIT_MS, 0);
    BOOL over = pause->over;
    ReleaseSRWLockExclusive(&decided_lock);
    pause_release(pause);
    return over;
}

BOOL ale_wait(const struct flow *flow)
{
    BOOL in_time = TRUE;
    AcquireSRWLockExclusive(&decided_lock);
    while (in_time && flow->held == HELD_PENDED && !flow->ended)
        in_time = SleepConditionVariableSRW(&decided, &decided_lock, WAIT_MS, 0);
    ReleaseSRWLockExclusive(&decided_lock);
    return in_time;
}

struct packet *held_take(struct flow *flow)
{
    return InterlockedExchangePointer((void *volatile *)&flow->held_packet, NULL);
}

void held_keep(struct flow *flow, struct packet *packet)
{
    if (packet && InterlockedCompareExchangePointer((void *volatile *)&flow->held_packet, packet, NULL))
        packet_free(packet);
}

void ale_hold(struct flow *flow, const struct packet *packet)
{
    InterlockedIncrement(&flow->references); /* of whoever resumes it */
    if (packet)
        held_keep(flow, packet_new(packet->frame, packet->end, packet->outbound));
    flow->put_off = TRUE;
    flow->held = HELD_PENDED;
}

void ale_blocked(struct flow *flow, const struct packet *packet, BOOL absorb)
{
    struct tuple sent = {.protocol = flow->protocol, .local = flow->local, .remote = flow->original, .local_port = flow->local_port,
                         .remote_port = flow->original_port, .icmp_id = flow->icmp_id};
    flow_end(flow, "blocked after it was put off");
    if ((!packet && !flow->held_packet) || absorb || flow->protocol != IPPROTO_TCP)
        return;
    refused_note(&sent, flow->first_sequence);
    stack_refuse(&sent, flow->first_sequence);
}

void ale_go_on(struct flow *flow, struct packet *packet)
{
    flow->held = HELD_NOT;
    ale_decided();
    packet = packet ? packet : held_take(flow); /* it came while this was being decided */
    if (packet && flow->redirected)
        packet_rewrite(packet, FALSE, &flow->original, flow->original_port); /* as the guest's socket sent it */
    if (flow->protocol != IPPROTO_TCP && !ale_established(flow, packet)) {
        flow_end(flow, "blocked at FLOW_ESTABLISHED");
        packet_free(packet);
    } else if (packet) {
        stack_outbound(packet, START_STACK);
    }
}

void ale_resume_connect(void *owner, BOOL with_packet)
{
    struct flow *flow = owner;
    struct packet *packet = held_take(flow);
    (void)with_packet; /* of a datagram nothing is kept: the callout sends it (W181) */
    if (flow->ended) {
        packet_free(packet);
    } else {
        flow->policy = policy_now(flow);
        struct verdict verdict = classify_again(flow, NULL, REASON_CLASSIFY_COMPLETION);
        if (verdict.permit) {
            ale_go_on(flow, packet);
        } else {
            ale_blocked(flow, packet, verdict.absorb);
            packet_free(packet);
        }
    }
    flow_release(flow);
}

/* Nothing is classified yet: that comes with the packet, which the callout injects (W180). */
void ale_resume_accept(void *owner, BOOL with_packet)
{
    struct flow *flow = owner;
    if (with_packet)
        flow->held = HELD_COMPLETED;
    else
        flow_end(flow, "completed without its packet");
    flow_release(flow);
}

/* What is sent of a connection that is put off is dropped, but for the SYN of a connect that was put off before it. */
BOOL ale_held_outbound(struct flow *flow, struct packet *packet)
{
    const uint8_t *tcp = packet_tcp(packet);
    BOOL opens = flow->outbound && tcp && (tcp[13] & (TCP_SYN_BIT | TCP_ACK)) == TCP_SYN_BIT;
    struct packet *copy = opens && !flow->held_packet ? packet_new(packet->frame, packet->end, TRUE) : NULL;
    if (!copy)
        return FALSE;
    held_keep(flow, copy);
    if (flow->held == HELD_PENDED && !flow->ended)
        return FALSE;
    copy = held_take(flow); /* decided meanwhile, and maybe by somebody who did not see it */
    packet_free(copy);
    if (copy && flow->ended)
        ale_blocked(flow, packet, FALSE);
    return copy && !flow->ended;
}

BOOL ale_held_inbound(struct packet *packet, struct flow **flow, BOOL injected)
{
    struct flow *f = *flow;
    BOOL absorb;
    if (f->held == HELD_PENDED) {
        if (injected && !f->outbound)
            contract_broken_at("W180", "FwpsInjectTransportReceiveAsync0", &packet->injected_by, "the packet of a pended operation was injected before FwpsCompleteOperation0 was called for it");
        return FALSE;
    }
    if (!injected) { /* the peer sends again; what was completed never came */
        flow_end(f, "its packet was not injected");
        flow_release(f);
        return (*flow = ale_accept(packet, &absorb)) != NULL;
    }
    f->policy = policy_now(f);
    if (classify_again(f, packet, REASON_CLASSIFY_COMPLETION).permit) {
        f->held = HELD_NOT;
        return TRUE;
    }
    flow_end(f, "blocked after it was put off");
    return FALSE;
}

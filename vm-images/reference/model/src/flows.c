/*
 * The flow table, and the contexts that callouts attach to flows. A flow context is removed exactly once: by the
 * driver or by the end of its flow, and its flowDeleteFn runs after any classify that was given it (W193, W195).
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "linux.h"
#include "model.h"

enum { UDP_IDLE_MS = 60000, TCP_SYN_MS = 30000 };

static SRWLOCK flow_lock = SRWLOCK_INIT;
static struct flow *flows;
static UINT64 last_id = 0x1000;

UINT64 now_ms(void)
{
    return linux_monotonic_ms();
}

void records_copy(struct redirect_records *to, const struct redirect_records *from)
{
    *to = *from;
    for (unsigned i = 0; i < from->count; i++) {
        to->record[i].context = mem_alloc(from->record[i].context_size + 1);
        memcpy(to->record[i].context, from->record[i].context, from->record[i].context_size);
    }
}

void records_free(struct redirect_records *records)
{
    for (unsigned i = 0; i < records->count; i++)
        mem_free(records->record[i].context);
    records->count = 0;
}

static struct flow *take(struct flow *flow)
{
    if (flow) {
        InterlockedIncrement(&flow->references);
        flow->touched_ms = now_ms();
    }
    return flow;
}

#define FIND(condition)                                            \
    struct flow *f;                                                \
    AcquireSRWLockShared(&flow_lock);                              \
    for (f = flows; f && !(!f->ended && (condition)); f = f->next) \
        ;                                                          \
    take(f);                                                       \
    ReleaseSRWLockShared(&flow_lock);                              \
    return f

static BOOL same_end(const struct flow *f, const struct tuple *t)
{
    return f->protocol == t->protocol && f->local_port == t->local_port && f->icmp_id == t->icmp_id && address_equal(&f->local, &t->local);
}

struct flow *flow_find_sent(const struct tuple *t)
{
    FIND(same_end(f, t) && address_equal(&f->original, &t->remote) && f->original_port == t->remote_port);
}

struct flow *flow_find_seen(const struct tuple *t)
{
    FIND(same_end(f, t) && address_equal(&f->remote, &t->remote) && f->remote_port == t->remote_port);
}

/* A local proxy sees the client's port at the address the client wanted to reach. */
struct flow *flow_find_mapped(const struct tuple *t)
{
    FIND(f->redirected_local && f->protocol == t->protocol && address_equal(&f->remote, &t->local) && f->remote_port == t->local_port &&
         address_equal(&f->original, &t->remote) && f->local_port == t->remote_port);
}

struct flow *flow_find_id(UINT64 id)
{
    FIND(f->id == id);
}

struct flow *flow_make(const struct tuple *t, BOOL outbound)
{
    struct flow *flow = mem_alloc(sizeof *flow);
    flow->references = 1;
    flow->protocol = t->protocol;
    flow->outbound = outbound;
    flow->local = t->local;
    flow->local_port = t->local_port;
    flow->remote = flow->original = t->remote;
    flow->remote_port = flow->original_port = t->remote_port;
    flow->icmp_id = t->icmp_id;
    flow->touched_ms = now_ms();
    AcquireSRWLockExclusive(&flow_lock);
    flow->id = ++last_id;
    ReleaseSRWLockExclusive(&flow_lock);
    return flow;
}

struct flow *flow_publish(struct flow *flow)
{
    AcquireSRWLockExclusive(&flow_lock);
    InterlockedIncrement(&flow->references);
    flow->next = flows;
    flows = flow;
    ReleaseSRWLockExclusive(&flow_lock);
    COUNT(flows_made);
    return flow;
}

void flow_release(struct flow *flow)
{
    if (!flow || InterlockedDecrement(&flow->references))
        return;
    records_free(&flow->records);
    if (flow->driver_context && model_free_pool)
        model_free_pool(flow->driver_context); /* the engine owned it since the redirect was applied (W141) */
    mem_free(flow);
}

static void delete_context(struct flow_context *context)
{
    struct callout *callout = context->callout;
    callout->functions.flowDeleteFn(context->layer, callout->id, context->value);
    InterlockedDecrement(&callout->contexts);
    mem_free(context);
}

/* Unlinks a context and answers whether its flowDeleteFn may run now. By flow_lock exclusive. */
static BOOL detach(struct flow *flow, struct flow_context *context)
{
    for (struct flow_context **at = &flow->contexts; *at; at = &(*at)->next)
        if (*at == context) {
            *at = context->next;
            break;
        }
    context->next = NULL;
    context->removed = TRUE;
    return context->in_use == 0;
}

void flow_end(struct flow *flow, const char *why)
{
    struct flow_context *done = NULL;
    (void)why;
    AcquireSRWLockExclusive(&flow_lock);
    BOOL first = !flow->ended;
    flow->ended = TRUE;
    if (first) {
        for (struct flow **at = &flows; *at; at = &(*at)->next)
            if (*at == flow) {
                *at = flow->next;
                break;
            }
        for (struct flow_context *c = flow->contexts, *next; c; c = next) {
            next = c->next;
            if (detach(flow, c)) {
                c->next = done;
                done = c;
            }
        }
    }
    ReleaseSRWLockExclusive(&flow_lock);
    while (done) {
        struct flow_context *next = done->next;
        delete_context(done);
        done = next;
    }
    if (first) {
        COUNT(flows_ended);
        flow_release(flow); /* the table's */
    }
}

void flows_end_all(const char *why)
{
    for (;;) {
        AcquireSRWLockShared(&flow_lock);
        struct flow *flow = take(flows);
        ReleaseSRWLockShared(&flow_lock);
        if (!flow)
            return;
        flow_end(flow, why);
        flow_release(flow);
    }
}

unsigned flows_count(void)
{
    unsigned count = 0;
    AcquireSRWLockShared(&flow_lock);
    for (struct flow *f = flows; f; f = f->next)
        count++;
    ReleaseSRWLockShared(&flow_lock);
    return count;
}

/* Ends flows that idled out or whose socket is gone. */
void flows_tick(BOOL (*endpoint_exists)(const struct flow *))
{
    UINT64 now = now_ms();
    UINT64 after = 0;
    for (;;) {
        struct flow *victim = NULL;
        AcquireSRWLockShared(&flow_lock);
        for (struct flow *f = flows; f; f = f->next)
            if (f->id > after && (!victim || f->id < victim->id))
                victim = f;
        if (victim)
            InterlockedIncrement(&victim->references);
        ReleaseSRWLockShared(&flow_lock);
        if (!victim)
            return;
        after = victim->id;
        UINT64 idle = now > victim->touched_ms ? now - victim->touched_ms : 0;
        BOOL stale = victim->protocol != IPPROTO_TCP ? idle > UDP_IDLE_MS : !victim->established && idle > TCP_SYN_MS;
        if (stale || (endpoint_exists && idle > 200 && !endpoint_exists(victim)))
            flow_end(victim, stale ? "timeout" : "endpoint closed");
        flow_release(victim);
    }
}

static struct flow_context *find_context(struct flow *flow, UINT16 layer, const struct callout *callout)
{
    struct flow_context *c = flow->contexts;
    while (c && !(c->layer == layer && c->callout == callout))
        c = c->next;
    return c;
}

struct flow_context *flow_context_use(struct flow *flow, UINT16 layer, struct callout *callout)
{
    AcquireSRWLockExclusive(&flow_lock);
    struct flow_context *context = find_context(flow, layer, callout);
    if (context)
        context->in_use++;
    ReleaseSRWLockExclusive(&flow_lock);
    return context;
}

void flow_context_done(struct flow *flow, struct flow_context *context)
{
    (void)flow;
    AcquireSRWLockExclusive(&flow_lock);
    BOOL last = --context->in_use == 0 && context->removed;
    ReleaseSRWLockExclusive(&flow_lock);
    if (last)
        delete_context(context);
}

NTSTATUS NTAPI FwpsFlowAssociateContext0(UINT64 flow_id, UINT16 layer, UINT32 callout_id, UINT64 value)
{
    AcquireSRWLockShared(&store_lock);
    struct callout *callout = callout_find_id(callout_id);
    BOOL usable = callout && callout->registered && !callout->changing && callout->functions.flowDeleteFn &&
                  callout->added && !callout->added_in && callout->layer->id == layer;
    ReleaseSRWLockShared(&store_lock);
    if (!value || !usable)
        return STATUS_INVALID_PARAMETER;
    NTSTATUS status = STATUS_SUCCESS;
    struct flow_context *made = mem_alloc(sizeof *made);
    made->layer = layer;
    made->callout = callout;
    made->value = value;
    AcquireSRWLockExclusive(&flow_lock);
    struct flow *flow = flows;
    while (flow && flow->id != flow_id)
        flow = flow->next;
    if (!flow || flow->ended) {
        status = STATUS_INVALID_PARAMETER;
    } else if (find_context(flow, layer, callout)) {
        status = STATUS_OBJECT_NAME_EXISTS;
    } else {
        made->next = flow->contexts;
        flow->contexts = made;
        InterlockedIncrement(&callout->contexts);
    }
    ReleaseSRWLockExclusive(&flow_lock);
    if (status)
        mem_free(made);
    return status;
}

NTSTATUS NTAPI FwpsFlowRemoveContext0(UINT64 flow_id, UINT16 layer, UINT32 callout_id)
{
    BOOL now = FALSE;
    AcquireSRWLockShared(&store_lock);
    struct callout *callout = callout_find_id(callout_id);
    ReleaseSRWLockShared(&store_lock);
    AcquireSRWLockExclusive(&flow_lock);
    struct flow *flow = flows;
    while (flow && flow->id != flow_id)
        flow = flow->next;
    struct flow_context *context = flow && callout ? find_context(flow, layer, callout) : NULL;
    if (context)
        now = detach(flow, context);
    ReleaseSRWLockExclusive(&flow_lock);
    if (!context)
        return STATUS_UNSUCCESSFUL;
    if (!now)
        return STATUS_PENDING;
    delete_context(context);
    return STATUS_SUCCESS;
}

NTSTATUS NTAPI FwpsFlowAbort0(UINT64 flow_id)
{
    struct flow *flow = flow_find_id(flow_id);
    if (!flow)
        return STATUS_INVALID_PARAMETER;
    stack_abort(flow);
    flow_end(flow, "aborted by a driver");
    flow_release(flow);
    return STATUS_SUCCESS;
}

/*
 * The flow table, and the contexts that callouts attach to flows. A flow context is removed exactly once: by the
 * driver or by the end of its flow, and its flowDeleteFn runs after any classify that was given it (W193, W195).
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "linux.h"
#include "model.h"

enum { UDP_IDLE_MS = 60000, MANY_IDLE_MS = 4000, TCP_SYN_MS = 30000 };

/* The table: every flow is in the list and in one bucket of each index. What the buckets are made of (protocol, ports,
 * ICMP identifier) changes under the lock alone, in flow_redirect. */
enum { BUCKETS = 4096 };
static SRWLOCK flow_lock = SRWLOCK_INIT; /* all below */
static struct flow *flows;
static struct flow *index_of[FLOW_INDEXES][BUCKETS];
static UINT64 last_id = 0x1000;

/* The clock of the kernel is asked once in a million cycles at most, which is less than a millisecond. */
UINT64 now_ms(void)
{
    static volatile UINT64 asked, answer;
    UINT64 cycles = __builtin_ia32_rdtsc();
    if (!answer || cycles - asked > 1u << 20) { /* another processor's counter may be behind: asked again */
        answer = linux_monotonic_ms();
        asked = cycles;
    }
    return answer;
}

static unsigned bucket(uint8_t protocol, UINT16 local_port, UINT16 other_port, UINT16 icmp_id)
{
    UINT32 mixed = ((UINT32)local_port << 16 | other_port) * 0x9e3779b1u + (icmp_id + (UINT32)protocol * 0x101u) * 0x85ebca6bu;
    return mixed >> 20;
}

static void table_enter(struct flow *flow)
{
    flow->bucket[FLOW_BY_SENT] = bucket(flow->protocol, flow->local_port, flow->original_port, flow->icmp_id);
    flow->bucket[FLOW_BY_SEEN] = bucket(flow->protocol, flow->local_port, flow->remote_port, flow->icmp_id);
    flow->bucket[FLOW_BY_ID] = flow->id % BUCKETS;
    for (int i = 0; i < FLOW_INDEXES; i++) {
        struct flow **head = &index_of[i][flow->bucket[i]];
        flow->chain[i] = *head;
        *head = flow;
    }
    flow->next = flows;
    flow->before = &flows;
    if (flows)
        flows->before = &flow->next;
    flows = flow;
}

static void table_leave(struct flow *flow)
{
    if (!flow->before) /* never published */
        return;
    for (int i = 0; i < FLOW_INDEXES; i++) {
        struct flow **at = &index_of[i][flow->bucket[i]];
        while (*at != flow)
            at = &(*at)->chain[i];
        *at = flow->chain[i];
    }
    *flow->before = flow->next;
    if (flow->next)
        flow->next->before = flow->before;
    flow->before = NULL;
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

#define FIND(index, key, condition)                                                                  \
    struct flow *f;                                                                                  \
    AcquireSRWLockShared(&flow_lock);                                                                \
    for (f = index_of[index][key]; f && !(!f->ended && (condition)); f = f->chain[index])            \
        ;                                                                                            \
    take(f);                                                                                         \
    ReleaseSRWLockShared(&flow_lock);                                                                \
    return f

static BOOL same_end(const struct flow *f, const struct tuple *t)
{
    return f->protocol == t->protocol && f->local_port == t->local_port && f->icmp_id == t->icmp_id && address_equal(&f->local, &t->local);
}

struct flow *flow_find_sent(const struct tuple *t)
{
    FIND(FLOW_BY_SENT, bucket(t->protocol, t->local_port, t->remote_port, t->icmp_id),
         same_end(f, t) && address_equal(&f->original, &t->remote) && f->original_port == t->remote_port);
}

struct flow *flow_find_seen(const struct tuple *t)
{
    FIND(FLOW_BY_SEEN, bucket(t->protocol, t->local_port, t->remote_port, t->icmp_id),
         same_end(f, t) && address_equal(&f->remote, &t->remote) && f->remote_port == t->remote_port);
}

/* A local proxy sees the client's port at the address the client wanted to reach; over loopback, the client itself. */
struct flow *flow_find_mapped(const struct tuple *t)
{
    FIND(FLOW_BY_SEEN, bucket(t->protocol, t->remote_port, t->local_port, 0),
         f->redirected_local && f->protocol == t->protocol && address_equal(&f->remote, &t->local) && f->remote_port == t->local_port &&
             address_equal(f->loopback ? &f->local : &f->original, &t->remote) && f->local_port == t->remote_port);
}

/* Only what goes out keeps such a flow alive. */
struct flow *flow_find_solicited(const struct tuple *t)
{
    struct flow *f;
    AcquireSRWLockShared(&flow_lock);
    for (f = index_of[FLOW_BY_SEEN][bucket(t->protocol, t->local_port, t->remote_port, t->icmp_id)]; f; f = f->chain[FLOW_BY_SEEN])
        if (!f->ended && f->many && f->outbound && f->protocol == t->protocol && f->icmp_id == t->icmp_id && f->local_port == t->local_port && f->remote_port == t->remote_port &&
            (address_is_many(&t->local) || address_equal(&f->local, &t->local)))
            break;
    if (f)
        InterlockedIncrement(&f->references);
    ReleaseSRWLockShared(&flow_lock);
    return f;
}

static struct flow *by_id(UINT64 id)
{
    struct flow *f = index_of[FLOW_BY_ID][id % BUCKETS];
    while (f && f->id != id)
        f = f->chain[FLOW_BY_ID];
    return f;
}

struct flow *flow_find_id(UINT64 id)
{
    AcquireSRWLockShared(&flow_lock);
    struct flow *f = take(by_id(id)); /* what has ended is not in the table */
    ReleaseSRWLockShared(&flow_lock);
    return f;
}

struct flow *flow_find_of(UINT64 endpoint, const struct address *remote)
{
    AcquireSRWLockShared(&flow_lock);
    struct flow *f = by_id(endpoint);
    for (f = f ? f : flows; f && f->id != endpoint && !(f->endpoint == endpoint && address_equal(&f->remote, remote)); f = f->next)
        ;
    take(f);
    ReleaseSRWLockShared(&flow_lock);
    return f;
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
    flow->policy = policy_now(flow);
    flow->many = !t->protocol || address_is_many(&t->remote);
    AcquireSRWLockExclusive(&flow_lock);
    flow->id = ++last_id;
    ReleaseSRWLockExclusive(&flow_lock);
    return flow;
}

struct flow *flow_publish(struct flow *flow)
{
    AcquireSRWLockExclusive(&flow_lock);
    InterlockedIncrement(&flow->references);
    table_enter(flow);
    ReleaseSRWLockExclusive(&flow_lock);
    COUNT(flows_made);
    return flow;
}

void flow_redirect(struct flow *flow, const struct address *remote, UINT16 port)
{
    AcquireSRWLockExclusive(&flow_lock);
    BOOL published = flow->before != NULL; /* it is when its redirection was put off */
    table_leave(flow);
    flow->remote = *remote;
    flow->remote_port = port;
    if (published)
        table_enter(flow);
    ReleaseSRWLockExclusive(&flow_lock);
}

void flow_release(struct flow *flow)
{
    if (!flow || InterlockedDecrement(&flow->references))
        return;
    records_free(&flow->records);
    packet_free(flow->held_packet);
    stream_free(flow->stream);
    redirect_free_context(flow->driver_context);
    mem_free(flow);
}

static void delete_context(struct flow_context *context)
{
    struct callout *callout = context->callout;
    FLOW_DELETE_FN function = callout->functions.flowDeleteFn;
    held_drop(HOLD_CONTEXT, (void *)(uintptr_t)context->value); /* it may free what the value points at */
    if (function) /* or else its driver was unloaded */
        function(context->layer, callout->id, context->value);
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
        table_leave(flow);
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
        if (flow->held)
            ale_decided();
        endpoint_flow_ended(flow);
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

void flows_end_of(UINT64 endpoint)
{
    for (;;) {
        struct flow *found;
        AcquireSRWLockShared(&flow_lock);
        for (found = flows; found; found = found->next)
            if (found->endpoint == endpoint && (found->protocol != IPPROTO_TCP || found->awaited || found->loopback || found->held))
                break;
        take(found);
        ReleaseSRWLockShared(&flow_lock);
        if (!found)
            return;
        flow_end(found, "its socket is closed");
        flow_release(found);
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

void flows_each(void (*tell)(const struct flow *, void *), void *argument)
{
    AcquireSRWLockShared(&flow_lock);
    for (const struct flow *f = flows; f; f = f->next)
        tell(f, argument);
    ReleaseSRWLockShared(&flow_lock);
}

static BOOL is_stale(const struct flow *flow, UINT64 idle)
{
    UINT64 lifetime = flow->lifetime_ms ? flow->lifetime_ms : flow->many && flow->outbound ? MANY_IDLE_MS : UDP_IDLE_MS;
    if (flow->held) /* for as long as its callout takes, or its peer asks: there is no socket of an accept yet */
        return !flow->outbound && idle > UDP_IDLE_MS;
    return flow->protocol != IPPROTO_TCP ? idle > lifetime : !flow->established && idle > TCP_SYN_MS;
}

/* Ends flows that idled out or whose socket is gone. */
void flows_tick(UINT64 now, BOOL (*endpoint_exists)(const struct flow *))
{
    unsigned count = 0;
    AcquireSRWLockShared(&flow_lock);
    for (struct flow *f = flows; f; f = f->next)
        count++;
    struct flow **all = mem_alloc((count + 1) * sizeof *all);
    count = 0;
    for (struct flow *f = flows; f; f = f->next) {
        InterlockedIncrement(&f->references);
        all[count++] = f;
    }
    ReleaseSRWLockShared(&flow_lock);
    for (unsigned i = 0; i < count; i++) {
        UINT64 idle = now > all[i]->touched_ms ? now - all[i]->touched_ms : 0;
        BOOL stale = is_stale(all[i], idle);
        /* Winsock says when its socket goes; Linux shows no socket that is only bound. What the stream layer carries outlives
         * its socket, there may be bytes to deliver: it ends such a flow itself. */
        BOOL told = all[i]->awaited || all[i]->loopback || (all[i]->held && (all[i]->endpoint || !all[i]->outbound)) || stream_carries(all[i]);
        if (stale || (endpoint_exists && !told && idle > 200 && !endpoint_exists(all[i])))
            flow_end(all[i], stale ? "timeout" : "endpoint closed");
        flow_release(all[i]);
    }
    mem_free(all);
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
    if (!*(struct flow_context *volatile *)&flow->contexts) /* most flows have none; one that comes right now is seen next time */
        return NULL;
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

static void check_context(UINT64 value, UINT16 layer, BOOL no_function, BOOL other_layer)
{
    static const char *const call = "FwpsFlowAssociateContext0";
    if (!value)
        contract_broken("W185", call, "the context is 0, which is no context: any other value is wanted");
    if (no_function)
        contract_broken("W186", call, "the callout was registered without flowDeleteFn: nobody would tell it that the context has to go");
    if (other_layer)
        contract_broken("W186", call, "the layer is %u, which is not the callout's: a context is for the layer that its callout was added at", layer);
    if (held_was_freed((void *)(uintptr_t)value))
        contract_broken("W195", call, "the context is the address of pool memory that was freed: it is given to each classifyFn of the flow until flowDeleteFn has run");
}

NTSTATUS NTAPI FwpsFlowAssociateContext0(UINT64 flow_id, UINT16 layer, UINT32 callout_id, UINT64 value)
{
    AcquireSRWLockShared(&store_lock);
    struct callout *callout = callout_find_id(callout_id);
    BOOL usable = callout && callout->registered && !callout->changing && callout->functions.flowDeleteFn &&
                  callout->added && !callout->added_in && callout->layer->id == layer;
    BOOL no_function = callout && callout->registered && !callout->functions.flowDeleteFn;
    BOOL other_layer = callout && callout->added && callout->layer->id != layer;
    ReleaseSRWLockShared(&store_lock);
    check_context(value, layer, no_function, other_layer);
    if (!value || !usable)
        return STATUS_INVALID_PARAMETER;
    NTSTATUS status = STATUS_SUCCESS;
    struct flow_context *made = mem_alloc(sizeof *made);
    made->layer = layer;
    made->callout = callout;
    made->value = value;
    held_add(HOLD_CONTEXT, (void *)(uintptr_t)value, 0, 0); /* before the flow can end */
    AcquireSRWLockExclusive(&flow_lock);
    struct flow *flow = by_id(flow_id);
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
    if (status) {
        held_drop(HOLD_CONTEXT, (void *)(uintptr_t)value);
        mem_free(made);
    }
    return status;
}

NTSTATUS NTAPI FwpsFlowRemoveContext0(UINT64 flow_id, UINT16 layer, UINT32 callout_id)
{
    BOOL now = FALSE;
    AcquireSRWLockShared(&store_lock);
    struct callout *callout = callout_find_id(callout_id);
    ReleaseSRWLockShared(&store_lock);
    AcquireSRWLockExclusive(&flow_lock);
    struct flow *flow = by_id(flow_id);
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

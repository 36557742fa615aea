/*
 * The table of endpoints and what the ALE layers see of one: RESOURCE_ASSIGNMENT, AUTH_LISTEN, ENDPOINT_CLOSURE,
 * RESOURCE_RELEASE (W201 to W204, W216, W217).
 *
 * SPDX-License-Identifier: MIT
 */
#include "endpoints.h"

#include <string.h>

#include "reservations.h"
#include "stack.h"

static SRWLOCK endpoint_lock = SRWLOCK_INIT;
static struct endpoint *endpoints;
static UINT64 last_id = 0x100000000ull;

struct endpoint *endpoint_open(const void *client, UINT64 id, UINT32 pid, uint8_t family, uint8_t protocol, BOOL raw)
{
    struct endpoint *found;
    AcquireSRWLockExclusive(&endpoint_lock);
    for (found = endpoints; found && !(found->id == id && found->client == client); found = found->next)
        ;
    if (found)
        found->references++;
    ReleaseSRWLockExclusive(&endpoint_lock);
    if (found || id)
        return found;
    struct endpoint *made = mem_alloc(sizeof *made);
    made->references = 2; /* the table's and the caller's */
    made->client = client;
    made->pid = pid;
    made->program = program_of(pid);
    made->protocol = protocol;
    made->raw = raw;
    made->local.family = family;
    AcquireSRWLockExclusive(&endpoint_lock);
    made->id = ++last_id;
    made->next = endpoints;
    endpoints = made;
    ReleaseSRWLockExclusive(&endpoint_lock);
    return made;
}

void endpoint_release(struct endpoint *endpoint)
{
    AcquireSRWLockExclusive(&endpoint_lock);
    BOOL last = --endpoint->references == 0;
    ReleaseSRWLockExclusive(&endpoint_lock);
    if (!last)
        return;
    records_free(&endpoint->records);
    mem_free(endpoint);
}

struct address endpoint_address(struct endpoint *endpoint, UINT16 *port)
{
    AcquireSRWLockShared(&endpoint_lock);
    struct address local = endpoint->local;
    *port = endpoint->local_port;
    ReleaseSRWLockShared(&endpoint_lock);
    return local;
}

void endpoint_set_reservation(struct endpoint *endpoint, UINT64 token)
{
    AcquireSRWLockExclusive(&endpoint_lock);
    endpoint->reservation = token;
    ReleaseSRWLockExclusive(&endpoint_lock);
}

static UINT64 reservation_of(struct endpoint *endpoint)
{
    AcquireSRWLockShared(&endpoint_lock);
    UINT64 token = endpoint->reservation;
    ReleaseSRWLockShared(&endpoint_lock);
    return token;
}

static void go_on(void *pause, BOOL with_packet)
{
    (void)with_packet;
    pause_over(pause);
}

/* One classify about an endpoint itself; waits for a callout that puts it off (W174). */
static BOOL ask(UINT16 layer_v4, const struct endpoint *endpoint, const struct address *local, UINT16 port, UINT32 flags, UINT32 mode)
{
    struct tuple tuple = {.protocol = endpoint->protocol, .local = *local, .local_port = port, .remote.family = local->family};
    struct view_endpoint about = {endpoint->id, 0, endpoint->pid, endpoint->program, mode};
    struct view view = {.tuple = &tuple, .outbound = TRUE, .flags = flags, .endpoint = &about};
    UINT16 layer = layer_of(layer_v4, local->family);
    struct pend_point point;
    if (layer_v4 != LAYER_ALE_RESOURCE_ASSIGNMENT_V4 && layer_v4 != LAYER_ALE_AUTH_LISTEN_V4)
        return view_classify(layer, &view).permit;
    pend_begin(&point, layer, FALSE);
    view.pend = &point;
    BOOL permit = view_classify(layer, &view).permit;
    struct pause *pause = pend_taken(&point) ? pause_new() : NULL;
    pend_end(&point, go_on, pause);
    if (!pause)
        return permit;
    if (!pause_wait(pause))
        return FALSE;
    pend_begin(&point, layer, TRUE); /* what flags it has then, the documents do not say */
    view.reason = REASON_CLASSIFY_COMPLETION;
    permit = view_classify(layer, &view).permit;
    pend_end(&point, NULL, NULL);
    return permit;
}

BOOL endpoint_bind(struct endpoint *endpoint, struct address *local, UINT16 *port, BOOL implicit)
{
    UINT32 flags = implicit ? FLAG_IS_IMPLICIT_BIND : 0;
    UINT64 token = reservation_of(endpoint);
    if (!bind_redirect(endpoint, local, port, &token))
        return FALSE;
    if (!*port || address_is_zero(local)) /* the documents tie the flag to the one and to the other (W202) */
        flags |= FLAG_IS_WILDCARD_BIND;
    if (!reservation_port(endpoint, local, token, port))
        return FALSE;
    if (!endpoint->raw && !*port)
        return TRUE; /* none can be had there: bind itself will say so */
    BOOL permit = ask(LAYER_ALE_RESOURCE_ASSIGNMENT_V4, endpoint, local, *port, flags, 0);
    AcquireSRWLockExclusive(&endpoint_lock);
    endpoint->local = *local;
    endpoint->local_port = permit ? *port : 0;
    endpoint->assigned = permit;
    ReleaseSRWLockExclusive(&endpoint_lock);
    return permit;
}

void endpoint_unbind(struct endpoint *endpoint)
{
    AcquireSRWLockExclusive(&endpoint_lock);
    BOOL had = endpoint->assigned;
    struct address local = endpoint->local;
    UINT16 port = endpoint->local_port;
    endpoint->assigned = FALSE;
    endpoint->local_port = 0;
    ReleaseSRWLockExclusive(&endpoint_lock);
    if (had)
        ask(LAYER_ALE_RESOURCE_RELEASE_V4, endpoint, &local, port, 0, 0);
}

BOOL endpoint_listen(struct endpoint *endpoint)
{
    UINT16 port;
    struct address local = endpoint_address(endpoint, &port);
    return endpoint->protocol != IPPROTO_TCP || ask(LAYER_ALE_AUTH_LISTEN_V4, endpoint, &local, port, 0, 0);
}

BOOL endpoint_promiscuous(struct endpoint *endpoint, UINT32 mode)
{
    UINT16 port;
    struct address local = endpoint_address(endpoint, &port);
    return ask(LAYER_ALE_RESOURCE_ASSIGNMENT_V4, endpoint, &local, port, 0, mode);
}

void endpoint_set_records(struct endpoint *endpoint, struct redirect_records *records)
{
    AcquireSRWLockExclusive(&endpoint_lock);
    struct redirect_records old = endpoint->records;
    endpoint->records = *records;
    ReleaseSRWLockExclusive(&endpoint_lock);
    records->count = 0;
    records_free(&old);
}

/* Out of the table; the table's reference goes with it. */
static void forget(struct endpoint *endpoint)
{
    BOOL found = FALSE;
    AcquireSRWLockExclusive(&endpoint_lock);
    for (struct endpoint **at = &endpoints; *at && !found; at = found ? at : &(*at)->next)
        if (*at == endpoint) {
            *at = endpoint->next;
            found = TRUE;
        }
    ReleaseSRWLockExclusive(&endpoint_lock);
    if (found)
        endpoint_release(endpoint);
}

void endpoint_close(struct endpoint *endpoint)
{
    UINT16 port;
    struct address local = endpoint_address(endpoint, &port);
    flows_end_of(endpoint->id);
    reservations_end_of(endpoint->id);
    AcquireSRWLockExclusive(&endpoint_lock);
    BOOL now = !endpoint->connections, assigned = endpoint->assigned;
    endpoint->closing = TRUE;
    ReleaseSRWLockExclusive(&endpoint_lock);
    if (!now)
        return;
    if (assigned && endpoint->protocol != IPPROTO_TCP)
        ask(LAYER_ALE_ENDPOINT_CLOSURE_V4, endpoint, &local, port, 0, 0);
    endpoint_unbind(endpoint);
    forget(endpoint);
}

void endpoints_client_gone(const void *client)
{
    for (;;) {
        struct endpoint *found;
        AcquireSRWLockExclusive(&endpoint_lock);
        for (found = endpoints; found && !(found->client == client && !found->closing); found = found->next)
            ;
        if (found)
            found->references++;
        ReleaseSRWLockExclusive(&endpoint_lock);
        if (!found)
            return;
        endpoint_close(found);
        endpoint_release(found);
    }
}

/* ---- what connections have to do with it ---- */

static BOOL serves(const struct endpoint *e, const struct tuple *t, BOOL exact)
{
    BOOL any = address_is_zero(&e->local);
    return e->assigned && e->protocol == t->protocol && e->local_port == t->local_port &&
           (exact ? address_equal(&e->local, &t->local) : any && (e->local.family == t->local.family || e->local.family == FAMILY_V6));
}

/* Tells a flow whose it is; FALSE: no program that Winsock knows of. A connection that comes in has an endpoint of its own. */
BOOL endpoint_of_flow(struct flow *flow)
{
    struct tuple t = {.protocol = flow->protocol, .local = flow->local, .local_port = flow->local_port};
    struct endpoint *found = NULL;
    AcquireSRWLockExclusive(&endpoint_lock);
    for (int exact = 1; exact >= 0 && !found; exact--)
        for (found = endpoints; found && !serves(found, &t, exact); found = found->next)
            ;
    if (found) {
        BOOL child = !flow->outbound && flow->protocol == IPPROTO_TCP;
        flow->endpoint = child ? ++last_id : found->id;
        flow->parent = child ? found->id : 0;
        flow->pid = found->pid;
        flow->program = found->program;
        if (flow->outbound && flow->protocol == IPPROTO_TCP) {
            found->connections++;
            flow->counted = TRUE;
        }
    }
    ReleaseSRWLockExclusive(&endpoint_lock);
    return found != NULL;
}

BOOL endpoint_records(const struct flow *flow, struct redirect_records *out)
{
    BOOL any = FALSE;
    AcquireSRWLockShared(&endpoint_lock);
    for (struct endpoint *e = endpoints; e && flow->endpoint; e = e->next)
        if (e->id == flow->endpoint && e->records.count) {
            records_copy(out, &e->records);
            any = TRUE;
        }
    ReleaseSRWLockShared(&endpoint_lock);
    return any;
}

void endpoint_flow_ended(struct flow *flow)
{
    struct endpoint *last = NULL;
    if (flow->protocol == IPPROTO_TCP && flow->established) {
        struct tuple tuple = {flow->protocol, flow->local, flow->remote, flow->local_port, flow->remote_port, 0};
        struct view_endpoint about = {flow->endpoint ? flow->endpoint : flow->id, flow->parent, flow->pid, flow->program, 0};
        struct view view = {.tuple = &tuple, .outbound = flow->outbound, .endpoint = &about};
        view_classify(layer_of(LAYER_ALE_ENDPOINT_CLOSURE_V4, flow->local.family), &view);
    }
    if (!flow->counted)
        return;
    AcquireSRWLockExclusive(&endpoint_lock);
    for (struct endpoint *e = endpoints; e; e = e->next)
        if (e->id == flow->endpoint && --e->connections == 0 && e->closing) {
            e->references++;
            last = e;
        }
    ReleaseSRWLockExclusive(&endpoint_lock);
    if (!last)
        return;
    endpoint_unbind(last);
    forget(last);
    endpoint_release(last);
}

/*
 * Bind redirection (W136 to W138, W157): the writable bind request with its chain of versions.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "reservations.h"
#include "stack.h"

static FWPS_BIND_REQUEST0 *copy_of(const FWPS_BIND_REQUEST0 *from)
{
    FWPS_BIND_REQUEST0 *copy = mem_alloc(sizeof *copy);
    *copy = *from;
    return copy;
}

void *bind_acquire(struct bind_versions *versions, UINT64 filter_id)
{
    if (versions->writable)
        return NULL;
    versions->writable = copy_of(versions->request);
    versions->writable->previousVersion = versions->modified ? versions->request : NULL;
    versions->writable_filter = filter_id;
    return versions->writable;
}

static BOOL same_address(const SOCKADDR_STORAGE *a, const SOCKADDR_STORAGE *b)
{
    UINT16 port_a, port_b;
    struct address at_a = sockaddr_get(a, &port_a), at_b = sockaddr_get(b, &port_b);
    return port_a == port_b && address_equal(&at_a, &at_b);
}

BOOL bind_apply(struct bind_versions *versions, const void *data)
{
    FWPS_BIND_REQUEST0 *made = versions->writable;
    if (!data || data != made)
        return FALSE;
    versions->writable = NULL;
    if (made->localAddressAndPort.ss_family != versions->request->localAddressAndPort.ss_family) {
        contract_broken("W136", "FwpsApplyModifiedLayerData0", "localAddressAndPort has address family %u: %u is wanted, that of the socket",
                        made->localAddressAndPort.ss_family, versions->request->localAddressAndPort.ss_family);
        made->localAddressAndPort = versions->request->localAddressAndPort;
    }
    if (made->portReservationToken && made->portReservationToken != versions->request->portReservationToken &&
        !reservation_known(made->portReservationToken))
        contract_broken("W136", "FwpsApplyModifiedLayerData0", "portReservationToken is 0x%llx: the token of a port reservation is wanted, as CreatePersistentTcpPortReservation gives it",
                        made->portReservationToken);
    if (same_address(&made->localAddressAndPort, &versions->request->localAddressAndPort) &&
        made->portReservationToken == versions->request->portReservationToken) {
        mem_free(made);
        return TRUE;
    }
    made->modifierFilterId = versions->writable_filter;
    made->previousVersion = versions->modified ? versions->request : NULL;
    if (!versions->modified)
        mem_free(versions->request);
    versions->request = made;
    versions->modified = TRUE;
    return TRUE;
}

/* What can be redirected at all: TCP, UDP, raw UDP over IPv4, raw ICMP (W117). */
static BOOL can_be_redirected(const struct endpoint *endpoint)
{
    if (!endpoint->raw)
        return endpoint->protocol == IPPROTO_TCP || endpoint->protocol == IPPROTO_UDP;
    return endpoint->protocol == IPPROTO_ICMP || endpoint->protocol == IPPROTO_ICMPV6 ||
           (endpoint->protocol == IPPROTO_UDP && endpoint->local.family == FAMILY_V4);
}

static void go_on(struct classify_context *context, void *pause)
{
    (void)context;
    pause_over(pause);
}

/* TRUE: a callout pended the classify, and the pause is to be waited for. */
static BOOL permit_later(struct classify_context *context, struct pause **pause)
{
    if (context->state == CLASSIFY_NOW)
        return FALSE;
    *pause = pause_new();
    context_pended(context, go_on, *pause);
    return TRUE;
}

BOOL bind_redirect(const struct endpoint *endpoint, struct address *local, UINT16 *port, UINT64 *token)
{
    UINT16 layer = layer_of(LAYER_ALE_BIND_REDIRECT_V4, local->family);
    if (!can_be_redirected(endpoint) || !layer_has_filters(layer))
        return TRUE;
    struct bind_versions *versions = mem_alloc(sizeof *versions);
    versions->request = mem_alloc(sizeof *versions->request);
    sockaddr_put(&versions->request->localAddressAndPort, local, *port);
    versions->request->portReservationToken = *token;
    struct classify_context *context = context_new(layer);
    context->bind = versions;
    struct tuple tuple = {.protocol = endpoint->protocol, .local = *local, .local_port = *port, .remote.family = local->family};
    struct view_endpoint about = {endpoint->id, 0, endpoint->pid, endpoint->program, 0};
    struct view view = {.tuple = &tuple, .outbound = TRUE, .flags = endpoint->raw ? FLAG_IS_RAW_ENDPOINT : 0,
                        .layer_data = versions->request, .context = context, .endpoint = &about};
    BOOL permit = view_classify(layer, &view).permit;
    for (struct pause *pause; permit_later(context, &pause);) {
        if (!pause_wait(pause))
            return FALSE; /* what the callout holds stays as it is */
        permit = view_classify(layer, &view).permit;
    }
    BOOL applied = redirect_end(context);
    permit = permit && applied;
    if (permit) {
        *local = sockaddr_get(&versions->request->localAddressAndPort, port);
        *token = versions->request->portReservationToken;
    }
    context->bind = NULL; /* a handle that was not released finds nothing any more */
    context_release(context);
    mem_free(versions->writable);
    for (FWPS_BIND_REQUEST0 *r = versions->request, *next; r; r = next) {
        next = r->previousVersion;
        mem_free(r);
    }
    mem_free(versions);
    return permit;
}

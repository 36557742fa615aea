/* Connect and bind redirection, in the order that the documents ask for. SPDX-License-Identifier: MIT */
#include "callout.h"

static void set_address(SOCKADDR_STORAGE *address, const WFPCALLOUT_RULE *rule, UINT8 family)
{
    UINT16 port = (UINT16)(rule->new_port << 8 | rule->new_port >> 8);
    if (family == 4) {
        SOCKADDR_IN *v4 = (SOCKADDR_IN *)address;
        if (!is_zero(rule->new_addr, 4))
            RtlCopyMemory(&v4->sin_addr, rule->new_addr, 4);
        if (port)
            v4->sin_port = port;
    } else {
        SOCKADDR_IN6 *v6 = (SOCKADDR_IN6 *)address;
        if (!is_zero(rule->new_addr, 16)) {
            RtlCopyMemory(&v6->sin6_addr, rule->new_addr, 16);
            if (rule->new_addr[0] != 0xFE || (rule->new_addr[1] & 0xC0) != 0x80)
                v6->sin6_scope_id = 0; /* the zone of a link-local destination is none of the new one's */
        }
        if (port)
            v6->sin6_port = port;
    }
}

BOOLEAN redirect_is_own(TRAFFIC *traffic, const WFPCALLOUT_RULE *rule, FWPS_CLASSIFY_OUT0 *out)
{
    FWPS_CONNECTION_REDIRECT_STATE state = FWPS_CONNECTION_NOT_REDIRECTED;
    WFPCALLOUT_EVENT event;

    if (traffic->metadata->currentMetadataValues & FWPS_METADATA_FIELD_REDIRECT_RECORD_HANDLE)
        state = FwpsQueryConnectionRedirectState0(traffic->metadata->redirectRecords, driver.redirect, NULL);
    traffic->event.redirect_state = (UINT8)(state + 1);
    if ((rule->flags & WFPCALLOUT_RULE_IGNORE_STATE) ||
        (state != FWPS_CONNECTION_REDIRECTED_BY_SELF && state != FWPS_CONNECTION_PREVIOUSLY_REDIRECTED_BY_SELF))
        return FALSE;
    out->actionType = FWP_ACTION_PERMIT;
    event = traffic->event;
    event.kind = WFPCALLOUT_EVENT_SELF;
    event.action = out->actionType;
    event.value = state;
    event_record(&event);
    return TRUE;
}

/* Changes the connect request of a classify handle; leaves BLOCK in `out`, as acquiring does. */
static NTSTATUS change(UINT64 handle, UINT64 filter, const WFPCALLOUT_RULE *rule, UINT8 family, FWPS_CLASSIFY_OUT0 *out)
{
    FWPS_CONNECT_REQUEST0 *request = NULL;
    WFPCALLOUT_REDIRECT_CONTEXT *left;
    NTSTATUS status = FwpsAcquireWritableLayerDataPointer0(handle, filter, 0, (PVOID *)&request, out);

    if (!NT_SUCCESS(status))
        return status;
    left = allocate(sizeof *left); /* from the pool that the engine frees to */
    if (left) {
        left->context = rule->context;
        RtlCopyMemory(left->remote, &request->remoteAddressAndPort, sizeof left->remote);
        set_address((SOCKADDR_STORAGE *)&request->remoteAddressAndPort, rule, family);
        if (!(rule->flags & WFPCALLOUT_RULE_NO_REDIRECT_HANDLE))
            request->localRedirectHandle = driver.redirect;
        if (!(rule->flags & WFPCALLOUT_RULE_NO_TARGET_PID))
            request->localRedirectTargetPID = rule->target_pid;
        request->localRedirectContext = left; /* the engine's from here on; it frees it with the flow */
        request->localRedirectContextSize = sizeof *left;
    } else {
        status = STATUS_INSUFFICIENT_RESOURCES;
    }
    /* Once for each pointer that was acquired, also when nothing was changed. */
    FwpsApplyModifiedLayerData0(handle, request, 0);
    return status;
}

static void record(const WFPCALLOUT_EVENT *from, const WFPCALLOUT_RULE *rule, NTSTATUS status, UINT32 action)
{
    WFPCALLOUT_EVENT event = *from;
    event.kind = WFPCALLOUT_EVENT_REDIRECT;
    event.status = status;
    event.action = action;
    event.new_port = rule->new_port ? rule->new_port : event.remote_port;
    RtlCopyMemory(event.new_addr, is_zero(rule->new_addr, 16) ? event.remote_addr : rule->new_addr, 16);
    event.value = rule->context;
    event_record(&event);
}

NTSTATUS redirect_apply(UINT64 handle, UINT64 filter, const WFPCALLOUT_RULE *rule, const WFPCALLOUT_EVENT *event,
                        FWPS_CLASSIFY_OUT0 *out)
{
    NTSTATUS status = change(handle, filter, rule, event->family, out);
    record(event, rule, status, FWP_ACTION_PERMIT);
    return status;
}

void redirect(TRAFFIC *traffic, const WFPCALLOUT_RULE *rule, const void *context, const FWPS_FILTER1 *filter,
              FWPS_CLASSIFY_OUT0 *out)
{
    UINT64 handle = 0;
    NTSTATUS status;

    if (redirect_is_own(traffic, rule, out))
        return;
    out->actionType = FWP_ACTION_PERMIT;
    status = FwpsAcquireClassifyHandle0((void *)context, 0, &handle);
    if (NT_SUCCESS(status)) {
        status = change(handle, filter->filterId, rule, traffic->layer->family, out);
        FwpsReleaseClassifyHandle0(handle);
    }
    /* Acquiring the pointer left BLOCK behind, with the right to write cleared: the callout itself has to permit. */
    if (!(rule->flags & WFPCALLOUT_RULE_FORGET_PERMIT))
        out->actionType = FWP_ACTION_PERMIT;
    if (rule->flags & WFPCALLOUT_RULE_SOFT_PERMIT)
        out->rights |= traffic->event.rights & FWPS_RIGHT_ACTION_WRITE;
    record(&traffic->event, rule, status, out->actionType);
}

/* A socket of the program gets another local address, a port, or both; it is the address of all its connections. */
void redirect_bind(TRAFFIC *traffic, const WFPCALLOUT_RULE *rule, const void *context, const FWPS_FILTER1 *filter,
                   FWPS_CLASSIFY_OUT0 *out)
{
    FWPS_BIND_REQUEST0 *request = NULL;
    WFPCALLOUT_EVENT event = traffic->event;
    UINT64 handle = 0;
    NTSTATUS status;

    out->actionType = FWP_ACTION_PERMIT;
    status = FwpsAcquireClassifyHandle0((void *)context, 0, &handle);
    if (NT_SUCCESS(status)) {
        status = FwpsAcquireWritableLayerDataPointer0(handle, filter->filterId, 0, (PVOID *)&request, out);
        if (NT_SUCCESS(status)) {
            set_address((SOCKADDR_STORAGE *)&request->localAddressAndPort, rule, traffic->layer->family);
            if (rule->flags & WFPCALLOUT_RULE_PORT_RESERVATION)
                request->portReservationToken = rule->context;
            FwpsApplyModifiedLayerData0(handle, request, 0);
        }
        FwpsReleaseClassifyHandle0(handle);
    }
    if (!(rule->flags & WFPCALLOUT_RULE_FORGET_PERMIT))
        out->actionType = FWP_ACTION_PERMIT;
    event.kind = WFPCALLOUT_EVENT_REDIRECT;
    event.status = status;
    event.action = out->actionType;
    event.new_port = rule->new_port ? rule->new_port : event.local_port;
    RtlCopyMemory(event.new_addr, is_zero(rule->new_addr, 16) ? event.local_addr : rule->new_addr, 16);
    event_record(&event);
}

/* Filters: the list is sorted in the order in which arbitration visits it. SPDX-License-Identifier: MIT */
#include <string.h>

#include "store.h"

enum {
    F_PERSISTENT = 0x1,
    F_BOOTTIME = 0x2,
    F_HAS_PROVIDER_CONTEXT = 0x4,
    F_CLEAR_ACTION_RIGHT = 0x8,
    F_PERMIT_IF_UNREGISTERED = 0x10,
    F_DISABLED = 0x20,
    F_INDEXED = 0x40,
    F_KNOWN = 0x3fff & ~(F_DISABLED | F_INDEXED), /* those two are the engine's to report (W039) */
    VIEW_CLEAR_ACTION_RIGHT = 1,
    VIEW_PERMIT_IF_UNREGISTERED = 2,
};

struct filter *filters;

static void dispose(void *block)
{
    struct filter *filter = block;
    conditions_free(filter->conditions, filter->view.numFilterConditions);
    if (filter->context)
        provider_context_release(filter->context);
    security_free((struct object *)filter);
    mem_free(filter->definition);
    mem_free(filter);
}

void filter_release(struct filter *filter)
{
    if (InterlockedDecrement(&filter->references) == 0)
        retire(filter, dispose); /* a classify may have found it before it went */
}

void filter_unlink(struct filter *filter)
{
    held_drop(HOLD_FILTER, filter);
    for (struct filter **at = &filters; *at; at = &(*at)->next)
        if (*at == filter) {
            *at = filter->next;
            return;
        }
}

static BOOL before(const struct filter *a, const struct filter *b)
{
    if (a->sublayer->weight != b->sublayer->weight)
        return a->sublayer->weight > b->sublayer->weight;
    if (a->sublayer != b->sublayer)
        return (uintptr_t)a->sublayer > (uintptr_t)b->sublayer;
    return a->weight > b->weight;
}

static void filter_link(struct filter *filter)
{
    struct filter **at = &filters;
    while (*at && !before(filter, *at))
        at = &(*at)->next;
    filter->next = *at;
    *at = filter;
}

NTSTATUS filter_notify(struct filter *filter, enum notify type)
{
    NTSTATUS status = STATUS_SUCCESS;
    if (!filter->callout || !callout_enter(filter->callout))
        return status;
    if (filter->callout->functions.notifyFn)
        status = filter->callout->functions.notifyFn(type, type == NOTIFY_DELETE ? NULL : &filter->key, &filter->view);
    callout_leave(filter->callout);
    return status;
}

static NTSTATUS check_shape(const FWPM_FILTER0 *from)
{
    UINT32 action = from->action.type;
    if (!from->displayData.name)
        return STATUS_FWP_NULL_DISPLAY_NAME;
    if (blob_is_broken(&from->providerData))
        return STATUS_FWP_NULL_POINTER;
    if (from->reserved)
        return STATUS_FWP_RESERVED;
    if (((from->flags & F_PERSISTENT) && (from->flags & F_BOOTTIME)) || (from->flags & ~(UINT32)F_KNOWN))
        return STATUS_FWP_INVALID_FLAGS;
    if (action != ACTION_BLOCK && action != ACTION_PERMIT && action != ACTION_CALLOUT_TERMINATING &&
        action != ACTION_CALLOUT_INSPECTION && action != ACTION_CALLOUT_UNKNOWN)
        return STATUS_FWP_INVALID_ACTION_TYPE;
    if ((from->flags & F_PERMIT_IF_UNREGISTERED) && action != ACTION_CALLOUT_TERMINATING && action != ACTION_CALLOUT_UNKNOWN)
        return STATUS_FWP_INVALID_FLAGS;
    if (from->weight.type != FWP_EMPTY && from->weight.type != FWP_UINT64 &&
        !(from->weight.type == FWP_UINT8 && from->weight.uint8 <= 15))
        return STATUS_FWP_INVALID_WEIGHT;
    if (from->weight.type == FWP_UINT64 && !from->weight.uint64)
        return STATUS_FWP_NULL_POINTER;
    return STATUS_SUCCESS;
}

/* The callout and what is said of provider contexts with it (W033, W034, W053). By store_lock. */
static NTSTATUS resolve_callout(struct session *session, const FWPM_FILTER0 *from, struct filter *made)
{
    made->callout = (struct callout *)object_find(session, KIND_CALLOUT, &from->action.calloutKey);
    if (!made->callout)
        return STATUS_FWP_CALLOUT_NOT_FOUND;
    NTSTATUS status = object_may_name(session, made->persistent, from->providerKey, KIND_CALLOUT, (struct object *)made->callout);
    if (status)
        return status;
    if (made->callout->layer != made->layer)
        return STATUS_FWP_INCOMPATIBLE_LAYER;
    if ((from->flags & F_HAS_PROVIDER_CONTEXT) && !(made->callout->object_flags & CALLOUT_M_USES_PROVIDER_CONTEXT))
        return STATUS_FWP_CONTEXT_INCOMPATIBLE_WITH_CALLOUT;
    return STATUS_SUCCESS;
}

/* Resolves what the filter names. By store_lock. */
static NTSTATUS resolve(struct session *session, const FWPM_FILTER0 *from, struct filter *made)
{
    if (key_taken(session, KIND_FILTER, &from->filterKey))
        return STATUS_FWP_ALREADY_EXISTS;
    made->persistent = (from->flags & F_PERSISTENT) != 0;
    made->sublayer = sublayer_find(session, &from->subLayerKey);
    if (!made->sublayer)
        return STATUS_FWP_SUBLAYER_NOT_FOUND;
    NTSTATUS status = object_may_name(session, made->persistent, from->providerKey, KIND_SUBLAYER, (struct object *)made->sublayer);
    if (!status)
        status = provider_check(session, from->providerKey, made->persistent);
    if (!status && (from->action.type & ACTION_FLAG_CALLOUT))
        status = resolve_callout(session, from, made);
    if (status || !(from->flags & F_HAS_PROVIDER_CONTEXT))
        return status;
    struct object *context = object_find(session, KIND_CONTEXT, &from->providerContextKey);
    if (!context)
        return STATUS_FWP_PROVIDER_CONTEXT_NOT_FOUND;
    status = object_may_name(session, made->persistent, from->providerKey, KIND_CONTEXT, context);
    if (!status) {
        made->context = (struct provider_context *)context;
        InterlockedIncrement(&made->context->references);
    }
    return status;
}

static void make_view(const FWPM_FILTER0 *from, struct filter *made)
{
    static volatile LONG64 last_id = 0x10000;
    UINT64 automatic = automatic_weight(made->layer, made->conditions, from->numFilterConditions);
    FWPS_FILTER1 *view = &made->view;
    made->weight = from->weight.type == FWP_UINT64  ? *from->weight.uint64
                   : from->weight.type == FWP_UINT8 ? (UINT64)from->weight.uint8 << 60 | automatic
                                                    : automatic;
    view->filterId = (UINT64)InterlockedIncrement64(&last_id);
    view->weight.type = FWP_UINT64;
    view->weight.uint64 = &made->weight;
    view->subLayerWeight = made->sublayer->weight;
    view->flags = (UINT16)((from->flags & F_CLEAR_ACTION_RIGHT ? VIEW_CLEAR_ACTION_RIGHT : 0) |
                           (from->flags & F_PERMIT_IF_UNREGISTERED ? VIEW_PERMIT_IF_UNREGISTERED : 0));
    view->numFilterConditions = from->numFilterConditions;
    view->filterCondition = made->conditions;
    view->action.type = from->action.type;
    view->action.calloutId = made->callout ? made->callout->id : 0;
    view->context = made->context ? made->context->id : from->rawContext; /* W050 */
    if (made->context && made->callout) /* which uses provider contexts, or it would not be here (W051) */
        view->providerContext = made->context->definition;
    made->object_flags = from->flags;
    made->dormant = (from->flags & F_BOOTTIME) != 0; /* boot is over when the engine runs */
}

/* Where a driver put its filter, and for how long. */
static void check_place(const struct filter *filter)
{
    enum { UNIVERSAL_WEIGHT = 0x8000 };
    UINT16 layer = layer_v4(filter->layer->id);
    BOOL ipsec = layer == LAYER_INBOUND_TRANSPORT_V4 || layer == LAYER_OUTBOUND_TRANSPORT_V4 || layer == LAYER_ALE_AUTH_CONNECT_V4 ||
                 layer == LAYER_ALE_AUTH_RECV_ACCEPT_V4;
    if (filter->callout && ipsec && filter->sublayer->weight >= UNIVERSAL_WEIGHT)
        contract_broken("W237", "FwpmFilterAdd0", "a callout's filter at %s is in a sublayer of weight 0x%x: beside IPsec it needs one lighter than 0x%x, FWPM_SUBLAYER_UNIVERSAL",
                        filter->layer->name, filter->sublayer->weight, UNIVERSAL_WEIGHT);
    if (!filter->owner && !(filter->object_flags & (F_PERSISTENT | F_BOOTTIME)))
        held_add(HOLD_FILTER, filter, 0, 0);
}

NTSTATUS NTAPI FwpmFilterAdd0(HANDLE engine, const FWPM_FILTER0 *from, void *sd, UINT64 *id)
{
    struct session *session;
    BOOL implicit;
    (void)sd;
    if (!from)
        return STATUS_FWP_NULL_POINTER;
    NTSTATUS status = check_shape(from);
    if (status)
        return status;
    const struct layer_fact *layer = layer_by_key(&from->layerKey);
    if (!layer)
        return STATUS_FWP_LAYER_NOT_FOUND;
    struct filter *made = mem_alloc(sizeof *made);
    made->references = 1;
    made->layer = layer;
    status = conditions_compile(layer, from->filterCondition, from->numFilterConditions, &made->conditions);
    if (!status)
        status = write_begin(engine, &session, &implicit);
    if (status) {
        made->view.numFilterConditions = made->conditions ? from->numFilterConditions : 0;
        filter_release(made);
        return status;
    }
    AcquireSRWLockExclusive(&store_lock);
    status = resolve(session, from, made);
    if (!status) {
        object_begin(session, (struct object *)made, &from->filterKey, made->persistent);
        make_view(from, made);
        made->definition = shape_copy(&shape_filter, from);
    }
    ReleaseSRWLockExclusive(&store_lock);
    if (!status && !NT_SUCCESS(filter_notify(made, NOTIFY_ADD)))
        status = STATUS_FWP_CALLOUT_NOTIFICATION_FAILED;
    made->view.numFilterConditions = from->numFilterConditions;
    if (status) {
        filter_release(made);
    } else {
        AcquireSRWLockExclusive(&store_lock);
        filter_link(made);
        if (id)
            *id = made->view.filterId;
        ReleaseSRWLockExclusive(&store_lock);
        check_place(made);
    }
    return write_end(session, implicit, status);
}

NTSTATUS NTAPI FwpmFilterDeleteById0(HANDLE engine, UINT64 id)
{
    return object_delete(engine, KIND_FILTER, NULL, id);
}

NTSTATUS NTAPI FwpmFilterDeleteByKey0(HANDLE engine, const GUID *key)
{
    return key ? object_delete(engine, KIND_FILTER, key, 0) : STATUS_FWP_NULL_POINTER;
}

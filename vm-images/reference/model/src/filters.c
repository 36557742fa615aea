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
    VIEW_CLEAR_ACTION_RIGHT = 1,
    VIEW_PERMIT_IF_UNREGISTERED = 2,
    NOTIFY_ADD = 0,
    NOTIFY_DELETE = 1,
};

struct filter *filters;

struct sublayer *sublayer_find(struct session *session, const GUID *key);
NTSTATUS provider_check(struct session *session, const GUID *key, BOOL persistent);

static void dispose(void *block)
{
    struct filter *filter = block;
    conditions_free(filter->conditions, filter->view.numFilterConditions);
    mem_free(filter);
}

void filter_release(struct filter *filter)
{
    if (InterlockedDecrement(&filter->references) == 0)
        retire(filter, dispose); /* a classify may have found it before it went */
}

void filter_unlink(struct filter *filter)
{
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

NTSTATUS filter_notify(struct filter *filter, UINT32 type)
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
    if (((from->flags & F_PERSISTENT) && (from->flags & F_BOOTTIME)) || (from->flags & (F_DISABLED | F_INDEXED)))
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

/* Resolves what the filter names. By store_lock. */
static NTSTATUS resolve(struct session *session, const FWPM_FILTER0 *from, struct filter *made)
{
    BOOL persistent = (from->flags & F_PERSISTENT) != 0;
    for (struct filter *f = filters; f && !guid_is_zero(&from->filterKey); f = f->next)
        if (guid_equal(&f->key, &from->filterKey) && VISIBLE(session, f))
            return STATUS_FWP_ALREADY_EXISTS;
    made->sublayer = sublayer_find(session, &from->subLayerKey);
    if (!made->sublayer)
        return STATUS_FWP_SUBLAYER_NOT_FOUND;
    if (FOREIGN(session, made->sublayer))
        return STATUS_FWP_WRONG_SESSION;
    if (persistent && !made->sublayer->persistent)
        return STATUS_FWP_LIFETIME_MISMATCH;
    NTSTATUS status = provider_check(session, from->providerKey, persistent);
    if (status)
        return status;
    if (from->action.type & 0x4000) {
        made->callout = callout_find_key(&from->action.calloutKey);
        if (!made->callout || !made->callout->added || !VISIBLE(session, made->callout))
            return STATUS_FWP_CALLOUT_NOT_FOUND;
        if (FOREIGN(session, made->callout))
            return STATUS_FWP_WRONG_SESSION;
        if (made->callout->layer != made->layer)
            return STATUS_FWP_INCOMPATIBLE_LAYER;
        if (persistent && !made->callout->persistent)
            return STATUS_FWP_LIFETIME_MISMATCH;
        if ((from->flags & F_HAS_PROVIDER_CONTEXT) && !(made->callout->object_flags & CALLOUT_M_USES_PROVIDER_CONTEXT))
            return STATUS_FWP_CONTEXT_INCOMPATIBLE_WITH_CALLOUT;
    }
    return (from->flags & F_HAS_PROVIDER_CONTEXT) ? STATUS_FWP_PROVIDER_CONTEXT_NOT_FOUND : STATUS_SUCCESS;
}

static void describe(const FWPM_FILTER0 *from, struct filter *made)
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
    view->context = from->rawContext;
    made->object_flags = from->flags;
    made->key = from->filterKey;
    if (guid_is_zero(&made->key)) {
        made->key.Data1 = (unsigned)view->filterId;
        made->key.Data2 = 0xf117;
        made->key.Data3 = 0x4000;
        made->key.Data4[0] = 0x80;
    }
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
    if (!status)
        describe(from, made);
    ReleaseSRWLockExclusive(&store_lock);
    if (!status && !NT_SUCCESS(filter_notify(made, NOTIFY_ADD)))
        status = STATUS_FWP_CALLOUT_NOTIFICATION_FAILED;
    made->view.numFilterConditions = from->numFilterConditions;
    if (status) {
        filter_release(made);
    } else {
        AcquireSRWLockExclusive(&store_lock);
        made->owner = session->dynamic ? session : NULL;
        made->added_in = session;
        filter_link(made);
        if (id)
            *id = made->view.filterId;
        ReleaseSRWLockExclusive(&store_lock);
    }
    return write_end(session, implicit, status);
}

static NTSTATUS filter_delete(HANDLE engine, const GUID *key, UINT64 id)
{
    struct session *session;
    BOOL implicit;
    NTSTATUS status = write_begin(engine, &session, &implicit);
    if (status)
        return status;
    AcquireSRWLockExclusive(&store_lock);
    struct filter *f = filters;
    while (f && !((key ? guid_equal(&f->key, key) : f->view.filterId == id) && VISIBLE(session, f)))
        f = f->next;
    if (!f)
        status = STATUS_FWP_FILTER_NOT_FOUND;
    else if (FOREIGN(session, f))
        status = STATUS_FWP_WRONG_SESSION;
    else
        f->deleted_in = session;
    ReleaseSRWLockExclusive(&store_lock);
    return write_end(session, implicit, status);
}

NTSTATUS NTAPI FwpmFilterDeleteById0(HANDLE engine, UINT64 id)
{
    return filter_delete(engine, NULL, id);
}

NTSTATUS NTAPI FwpmFilterDeleteByKey0(HANDLE engine, const GUID *key)
{
    return key ? filter_delete(engine, key, 0) : STATUS_FWP_NULL_POINTER;
}

NTSTATUS NTAPI FwpmFilterGetById0(HANDLE engine, UINT64 id, FWPM_FILTER0 **out)
{
    NTSTATUS status = STATUS_FWP_FILTER_NOT_FOUND;
    AcquireSRWLockShared(&store_lock);
    struct session *session = session_of(engine);
    for (struct filter *f = filters; session && f; f = f->next) {
        if (f->view.filterId != id || !VISIBLE(session, f))
            continue;
        struct {
            FWPM_FILTER0 filter;
            UINT64 weight;
        } *copy = mem_alloc(sizeof *copy);
        copy->weight = f->weight;
        copy->filter.filterKey = f->key;
        copy->filter.displayData.name = (wchar_t *)L"";
        copy->filter.flags = f->object_flags;
        copy->filter.layerKey = f->layer->key;
        copy->filter.subLayerKey = f->sublayer->key;
        copy->filter.action.type = f->view.action.type;
        if (f->callout)
            copy->filter.action.calloutKey = f->callout->key;
        copy->filter.rawContext = f->view.context;
        copy->filter.filterId = id;
        copy->filter.effectiveWeight.type = FWP_UINT64;
        copy->filter.effectiveWeight.uint64 = &copy->weight;
        *out = &copy->filter;
        status = STATUS_SUCCESS;
        break;
    }
    ReleaseSRWLockShared(&store_lock);
    return status;
}

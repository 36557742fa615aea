/* Providers, sublayers and callout objects. SPDX-License-Identifier: MIT */
#include <string.h>

#include "store.h"

enum { OBJECT_PERSISTENT = 1, CALLOUTS_MAX = 100000, SUBLAYERS_MAX = 65536 };

struct sublayer *sublayers;
struct provider *providers;

const struct layer_fact *layer_by_id(UINT16 id)
{
    for (unsigned i = 0; i < layer_fact_count; i++)
        if (layer_facts[i].id == id)
            return &layer_facts[i];
    return NULL;
}

const struct layer_fact *layer_by_key(const GUID *key)
{
    for (unsigned i = 0; i < layer_fact_count; i++)
        if (guid_equal(&layer_facts[i].key, key))
            return &layer_facts[i];
    return NULL;
}

static struct provider *provider_find(struct session *session, const GUID *key)
{
    for (struct provider *p = providers; p; p = p->next)
        if (guid_equal(&p->key, key) && VISIBLE(session, p))
            return p;
    return NULL;
}

/* STATUS_SUCCESS when an object that lives as said may name this provider. By store_lock. */
NTSTATUS provider_check(struct session *session, const GUID *key, BOOL persistent)
{
    if (!key)
        return STATUS_SUCCESS;
    struct provider *provider = provider_find(session, key);
    if (!provider)
        return STATUS_FWP_PROVIDER_NOT_FOUND;
    if (FOREIGN(session, provider))
        return STATUS_FWP_WRONG_SESSION;
    return persistent && !provider->persistent ? STATUS_FWP_LIFETIME_MISMATCH : STATUS_SUCCESS;
}

static void make_key(GUID *key)
{
    static volatile LONG number;
    if (guid_is_zero(key)) {
        key->Data1 = (unsigned)InterlockedIncrement(&number);
        key->Data2 = 0x7766;
        key->Data3 = 0x4000;
        key->Data4[0] = 0x80;
        memcpy(key->Data4 + 2, &stats, 2);
    }
}

static struct sublayer *sublayers_all(void)
{
    if (!sublayers)
        for (unsigned i = 0; i < sublayer_fact_count; i++) {
            struct sublayer *s = mem_alloc(sizeof *s);
            s->key = sublayer_facts[i].key;
            s->weight = sublayer_facts[i].weight;
            s->builtin = s->persistent = TRUE;
            s->next = sublayers;
            sublayers = s;
        }
    return sublayers;
}

struct sublayer *sublayer_find(struct session *session, const GUID *key)
{
    static const GUID universal = {0xeebecc03, 0xced4, 0x4380, {0x81, 0x9a, 0x27, 0x34, 0x39, 0x7b, 0x2b, 0x74}};
    if (guid_is_zero(key))
        key = &universal;
    for (struct sublayer *s = sublayers_all(); s; s = s->next)
        if (guid_equal(&s->key, key) && VISIBLE(session, s))
            return s;
    return NULL;
}

NTSTATUS NTAPI FwpmProviderAdd0(HANDLE engine, const FWPM_PROVIDER0 *from, void *sd)
{
    struct session *session;
    BOOL implicit;
    (void)sd;
    if (!from)
        return STATUS_FWP_NULL_POINTER;
    if (!from->displayData.name)
        return STATUS_FWP_NULL_DISPLAY_NAME;
    NTSTATUS status = write_begin(engine, &session, &implicit);
    if (status)
        return status;
    AcquireSRWLockExclusive(&store_lock);
    if (!guid_is_zero(&from->providerKey) && provider_find(session, &from->providerKey)) {
        status = STATUS_FWP_ALREADY_EXISTS;
    } else {
        struct provider *made = mem_alloc(sizeof *made);
        made->key = from->providerKey;
        make_key(&made->key);
        made->persistent = (from->flags & OBJECT_PERSISTENT) != 0;
        made->owner = session->dynamic ? session : NULL;
        made->added_in = session;
        made->next = providers;
        providers = made;
    }
    ReleaseSRWLockExclusive(&store_lock);
    return write_end(session, implicit, status);
}

NTSTATUS NTAPI FwpmProviderDeleteByKey0(HANDLE engine, const GUID *key)
{
    struct session *session;
    BOOL implicit;
    if (!key)
        return STATUS_FWP_NULL_POINTER;
    NTSTATUS status = write_begin(engine, &session, &implicit);
    if (status)
        return status;
    AcquireSRWLockExclusive(&store_lock);
    struct provider *provider = provider_find(session, key);
    if (!provider)
        status = STATUS_FWP_PROVIDER_NOT_FOUND;
    else if (FOREIGN(session, provider))
        status = STATUS_FWP_WRONG_SESSION;
    else
        provider->deleted_in = session;
    ReleaseSRWLockExclusive(&store_lock);
    return write_end(session, implicit, status);
}

NTSTATUS NTAPI FwpmSubLayerAdd0(HANDLE engine, const FWPM_SUBLAYER0 *from, void *sd)
{
    struct session *session;
    BOOL implicit;
    (void)sd;
    if (!from)
        return STATUS_FWP_NULL_POINTER;
    if (!from->displayData.name)
        return STATUS_FWP_NULL_DISPLAY_NAME;
    if (from->flags & ~(UINT32)OBJECT_PERSISTENT)
        return STATUS_FWP_INVALID_FLAGS;
    NTSTATUS status = write_begin(engine, &session, &implicit);
    if (status)
        return status;
    AcquireSRWLockExclusive(&store_lock);
    BOOL persistent = (from->flags & OBJECT_PERSISTENT) != 0;
    unsigned count = 0;
    for (struct sublayer *s = sublayers_all(); s; s = s->next)
        count++;
    if (!guid_is_zero(&from->subLayerKey) && sublayer_find(session, &from->subLayerKey))
        status = STATUS_FWP_ALREADY_EXISTS;
    else if (count >= SUBLAYERS_MAX)
        status = STATUS_FWP_TOO_MANY_SUBLAYERS;
    else
        status = provider_check(session, from->providerKey, persistent);
    if (!status) {
        struct sublayer *made = mem_alloc(sizeof *made);
        made->key = from->subLayerKey;
        make_key(&made->key);
        made->weight = from->weight;
        made->persistent = persistent;
        made->owner = session->dynamic ? session : NULL;
        made->added_in = session;
        made->next = sublayers;
        sublayers = made;
    }
    ReleaseSRWLockExclusive(&store_lock);
    return write_end(session, implicit, status);
}

NTSTATUS NTAPI FwpmSubLayerDeleteByKey0(HANDLE engine, const GUID *key)
{
    struct session *session;
    BOOL implicit;
    if (!key)
        return STATUS_FWP_NULL_POINTER;
    NTSTATUS status = write_begin(engine, &session, &implicit);
    if (status)
        return status;
    AcquireSRWLockExclusive(&store_lock);
    struct sublayer *sublayer = guid_is_zero(key) ? NULL : sublayer_find(session, key);
    if (!sublayer)
        status = STATUS_FWP_SUBLAYER_NOT_FOUND;
    else if (sublayer->builtin)
        status = STATUS_FWP_BUILTIN_OBJECT;
    else if (FOREIGN(session, sublayer))
        status = STATUS_FWP_WRONG_SESSION;
    for (struct filter *f = filters; !status && f; f = f->next)
        if (f->sublayer == sublayer && VISIBLE(session, f))
            status = STATUS_FWP_IN_USE;
    if (!status)
        sublayer->deleted_in = session;
    ReleaseSRWLockExclusive(&store_lock);
    return write_end(session, implicit, status);
}

NTSTATUS NTAPI FwpmCalloutAdd0(HANDLE engine, const FWPM_CALLOUT0 *from, void *sd, UINT32 *id)
{
    enum { KNOWN_FLAGS = CALLOUT_M_PERSISTENT | CALLOUT_M_USES_PROVIDER_CONTEXT };
    struct session *session;
    BOOL implicit;
    (void)sd;
    if (!from)
        return STATUS_FWP_NULL_POINTER;
    if (!from->displayData.name)
        return STATUS_FWP_NULL_DISPLAY_NAME;
    if (from->flags & ~(UINT32)KNOWN_FLAGS) /* REGISTERED is the engine's to report (W030) */
        return STATUS_FWP_INVALID_FLAGS;
    const struct layer_fact *layer = layer_by_key(&from->applicableLayer);
    if (!layer)
        return STATUS_FWP_LAYER_NOT_FOUND;
    NTSTATUS status = write_begin(engine, &session, &implicit);
    if (status)
        return status;
    GUID key = from->calloutKey;
    make_key(&key);
    AcquireSRWLockExclusive(&store_lock);
    BOOL persistent = (from->flags & CALLOUT_M_PERSISTENT) != 0;
    struct callout *callout = callout_find_key(&key);
    unsigned count = 0;
    for (struct callout *c = callout_first(); c; c = c->next)
        count += c->added;
    if (callout && callout->added)
        status = VISIBLE(session, callout) ? STATUS_FWP_ALREADY_EXISTS : STATUS_FWP_IN_USE;
    else if (count >= CALLOUTS_MAX)
        status = STATUS_FWP_TOO_MANY_CALLOUTS;
    else
        status = provider_check(session, from->providerKey, persistent);
    if (!status) {
        callout = callout_make(&key);
        callout->added = TRUE;
        callout->layer = layer;
        callout->object_flags = from->flags;
        callout->persistent = persistent;
        callout->owner = session->dynamic ? session : NULL;
        callout->added_in = session;
        callout->deleted_in = NULL;
        if (id)
            *id = callout->id;
    }
    ReleaseSRWLockExclusive(&store_lock);
    return write_end(session, implicit, status);
}

static NTSTATUS callout_delete(HANDLE engine, const GUID *key, UINT32 id)
{
    struct session *session;
    BOOL implicit;
    NTSTATUS status = write_begin(engine, &session, &implicit);
    if (status)
        return status;
    AcquireSRWLockExclusive(&store_lock);
    struct callout *callout = key ? callout_find_key(key) : callout_find_id(id);
    if (!callout || !callout->added || !VISIBLE(session, callout))
        status = STATUS_FWP_CALLOUT_NOT_FOUND;
    else if (FOREIGN(session, callout))
        status = STATUS_FWP_WRONG_SESSION;
    for (struct filter *f = filters; !status && f; f = f->next)
        if (f->callout == callout && VISIBLE(session, f))
            status = STATUS_FWP_IN_USE;
    if (!status)
        callout->deleted_in = session;
    ReleaseSRWLockExclusive(&store_lock);
    return write_end(session, implicit, status);
}

NTSTATUS NTAPI FwpmCalloutDeleteById0(HANDLE engine, UINT32 id)
{
    return callout_delete(engine, NULL, id);
}

NTSTATUS NTAPI FwpmCalloutDeleteByKey0(HANDLE engine, const GUID *key)
{
    return key ? callout_delete(engine, key, 0) : STATUS_FWP_NULL_POINTER;
}

NTSTATUS NTAPI FwpmCalloutGetById0(HANDLE engine, UINT32 id, FWPM_CALLOUT0 **out)
{
    NTSTATUS status = STATUS_FWP_CALLOUT_NOT_FOUND;
    AcquireSRWLockShared(&store_lock);
    struct session *session = session_of(engine);
    struct callout *callout = callout_find_id(id);
    if (session && callout && callout->added && VISIBLE(session, callout)) {
        FWPM_CALLOUT0 *copy = mem_alloc(sizeof *copy);
        copy->calloutKey = callout->key;
        copy->displayData.name = (wchar_t *)L"";
        copy->flags = callout->object_flags | (callout->registered ? CALLOUT_M_REGISTERED : 0);
        copy->applicableLayer = callout->layer->key;
        copy->calloutId = callout->id;
        *out = copy;
        status = STATUS_SUCCESS;
    }
    ReleaseSRWLockShared(&store_lock);
    return status;
}

/* Layers, providers, sublayers and callout objects. SPDX-License-Identifier: MIT */
#include <string.h>

#include "store.h"

unsigned callouts_max = 100000, sublayers_max = 65536; /* W042; the checks lower them */

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

/* STATUS_SUCCESS when an object that lives as said may name this provider. By store_lock. */
NTSTATUS provider_check(struct session *session, const GUID *key, BOOL persistent)
{
    if (!key)
        return STATUS_SUCCESS;
    struct object *provider = object_find(session, KIND_PROVIDER, key);
    return provider ? object_may_name(session, persistent, NULL, KIND_PROVIDER, provider) : STATUS_FWP_PROVIDER_NOT_FOUND;
}

static unsigned count_of(enum kind kind)
{
    unsigned count = 0;
    for (struct object *object = NULL; (object = object_next(kind, object));)
        count++;
    return count;
}

BOOL key_taken(struct session *session, enum kind kind, const GUID *key)
{
    return !guid_is_zero(key) && object_find(session, kind, key);
}

/* A blob with a size and nothing behind it. */
BOOL blob_is_broken(const FWP_BYTE_BLOB *blob)
{
    return blob->size && !blob->data;
}

/* ---- built-in sublayers, which are there from the first session on ---- */

static BOOL builtin_are_there;

void builtin_begin(void)
{
    for (unsigned i = 0; i < sublayer_fact_count && !builtin_are_there; i++) {
        struct sublayer *s = mem_alloc(sizeof *s);
        s->key = sublayer_facts[i].key;
        s->weight = sublayer_facts[i].weight;
        s->builtin = s->persistent = TRUE;
        s->next = sublayers;
        sublayers = s;
    }
    builtin_are_there = TRUE;
}

struct sublayer *sublayer_find(struct session *session, const GUID *key)
{
    static const GUID universal = {0xeebecc03, 0xced4, 0x4380, {0x81, 0x9a, 0x27, 0x34, 0x39, 0x7b, 0x2b, 0x74}};
    return (struct sublayer *)object_find(session, KIND_SUBLAYER, guid_is_zero(key) ? &universal : key);
}

/* ---- adding ---- */

NTSTATUS NTAPI FwpmProviderAdd0(HANDLE engine, const FWPM_PROVIDER0 *from, void *sd)
{
    struct session *session;
    BOOL implicit;
    (void)sd;
    if (!from || blob_is_broken(&from->providerData))
        return STATUS_FWP_NULL_POINTER;
    if (!from->displayData.name)
        return STATUS_FWP_NULL_DISPLAY_NAME;
    if (from->flags & ~(UINT32)OBJECT_PERSISTENT) /* DISABLED is the engine's to report */
        return STATUS_FWP_INVALID_FLAGS;
    NTSTATUS status = write_begin(engine, &session, &implicit);
    if (status)
        return status;
    AcquireSRWLockExclusive(&store_lock);
    if (key_taken(session, KIND_PROVIDER, &from->providerKey)) {
        status = STATUS_FWP_ALREADY_EXISTS;
    } else {
        struct provider *made = mem_alloc(sizeof *made);
        object_begin(session, (struct object *)made, &from->providerKey, (from->flags & OBJECT_PERSISTENT) != 0);
        made->definition = shape_copy(&shape_provider, from);
        made->next = providers;
        providers = made;
    }
    ReleaseSRWLockExclusive(&store_lock);
    return write_end(session, implicit, status);
}

NTSTATUS NTAPI FwpmSubLayerAdd0(HANDLE engine, const FWPM_SUBLAYER0 *from, void *sd)
{
    struct session *session;
    BOOL implicit;
    (void)sd;
    if (!from || blob_is_broken(&from->providerData))
        return STATUS_FWP_NULL_POINTER;
    if (!from->displayData.name)
        return STATUS_FWP_NULL_DISPLAY_NAME;
    if (from->flags & ~OBJECT_PERSISTENT)
        return STATUS_FWP_INVALID_FLAGS;
    NTSTATUS status = write_begin(engine, &session, &implicit);
    if (status)
        return status;
    AcquireSRWLockExclusive(&store_lock);
    BOOL persistent = (from->flags & OBJECT_PERSISTENT) != 0;
    if (key_taken(session, KIND_SUBLAYER, &from->subLayerKey))
        status = STATUS_FWP_ALREADY_EXISTS;
    else if (count_of(KIND_SUBLAYER) >= sublayers_max)
        status = STATUS_FWP_TOO_MANY_SUBLAYERS;
    else
        status = provider_check(session, from->providerKey, persistent);
    struct sublayer *made = NULL;
    if (!status) {
        made = mem_alloc(sizeof *made);
        object_begin(session, (struct object *)made, &from->subLayerKey, persistent);
        made->definition = shape_copy(&shape_sublayer, from);
        made->weight = from->weight;
        made->next = sublayers;
        sublayers = made;
    }
    ReleaseSRWLockExclusive(&store_lock);
    if (made && !made->owner && !persistent)
        held_add(HOLD_SUBLAYER, made, 0, 0);
    return write_end(session, implicit, status);
}

NTSTATUS NTAPI FwpmCalloutAdd0(HANDLE engine, const FWPM_CALLOUT0 *from, void *sd, UINT32 *id)
{
    enum { KNOWN_FLAGS = CALLOUT_M_PERSISTENT | CALLOUT_M_USES_PROVIDER_CONTEXT };
    struct session *session;
    BOOL implicit;
    (void)sd;
    if (!from || blob_is_broken(&from->providerData))
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
    AcquireSRWLockExclusive(&store_lock);
    BOOL persistent = (from->flags & CALLOUT_M_PERSISTENT) != 0;
    struct callout *callout = guid_is_zero(&from->calloutKey) ? NULL : callout_find_key(&from->calloutKey);
    if (callout && callout->added) /* also one that this transaction deleted: one entry keeps the id of a key */
        status = VISIBLE(session, callout) ? STATUS_FWP_ALREADY_EXISTS : STATUS_FWP_IN_USE;
    else if (count_of(KIND_CALLOUT) >= callouts_max)
        status = STATUS_FWP_TOO_MANY_CALLOUTS;
    else
        status = provider_check(session, from->providerKey, persistent);
    if (!status) {
        GUID key = from->calloutKey;
        if (guid_is_zero(&key))
            object_key(&key);
        callout = callout_make(&key);
        object_begin(session, (struct object *)callout, &key, persistent);
        callout->definition = shape_copy(&shape_callout, from);
        callout->added = TRUE;
        callout->layer = layer;
        callout->object_flags = from->flags;
        if (id)
            *id = callout->id;
    }
    ReleaseSRWLockExclusive(&store_lock);
    if (!status && !callout->owner && !persistent)
        held_add(HOLD_CALLOUT_OBJECT, callout, 0, 0);
    return write_end(session, implicit, status);
}

/* ---- deleting ---- */

#define DELETE_BY_KEY(name, kind)                                                         \
    NTSTATUS NTAPI name(HANDLE engine, const GUID *key)                                   \
    {                                                                                     \
        return key ? object_delete(engine, kind, key, 0) : STATUS_FWP_NULL_POINTER;       \
    }
DELETE_BY_KEY(FwpmProviderDeleteByKey0, KIND_PROVIDER)
DELETE_BY_KEY(FwpmSubLayerDeleteByKey0, KIND_SUBLAYER)
DELETE_BY_KEY(FwpmCalloutDeleteByKey0, KIND_CALLOUT)

NTSTATUS NTAPI FwpmCalloutDeleteById0(HANDLE engine, UINT32 id)
{
    return object_delete(engine, KIND_CALLOUT, NULL, id);
}

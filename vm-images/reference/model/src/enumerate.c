/*
 * Reading the store: one object by key or id, or an enumeration, which is a snapshot of the moment it was created.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>
#include <string.h>

#include "store.h"

enum { LAYER_KERNEL = 1, LAYER_BUILTIN = 2, F_BOOTTIME = 2, F_DISABLED = 0x20 };
enum { ENUM_BEST_TERMINATING = 1, ENUM_SORTED = 2, ENUM_BOOTTIME_ONLY = 4, ENUM_INCLUDE_BOOTTIME = 8, ENUM_INCLUDE_DISABLED = 0x10 };

struct enumeration {
    struct enumeration *next; /* of its session */
    enum kind kind;
    UINT32 count, position;
    void **blocks; /* freed one by one */
};

/* ---- what the engine tells of one object ---- */

static void *describe_filter(const struct filter *f)
{
    FWPM_FILTER0 told = *(FWPM_FILTER0 *)f->definition;
    UINT64 weight = f->weight;
    told.filterKey = f->key;
    told.subLayerKey = f->sublayer->key;
    told.filterId = f->view.filterId;
    told.effectiveWeight.type = FWP_UINT64;
    told.effectiveWeight.uint64 = &weight;
    if (f->dormant && !(f->object_flags & F_BOOTTIME))
        told.flags |= F_DISABLED;
    return shape_copy(&shape_filter, &told);
}

static void *describe_sublayer(const struct sublayer *s)
{
    FWPM_SUBLAYER0 told = {.displayData.name = (wchar_t *)L"built-in sublayer", .flags = OBJECT_PERSISTENT};
    if (s->definition)
        told = *(FWPM_SUBLAYER0 *)s->definition;
    told.subLayerKey = s->key;
    told.weight = s->weight;
    return shape_copy(&shape_sublayer, &told);
}

void *describe(enum kind kind, const struct object *object)
{
    if (kind == KIND_FILTER)
        return describe_filter((const struct filter *)object);
    if (kind == KIND_SUBLAYER)
        return describe_sublayer((const struct sublayer *)object);
    if (kind == KIND_CONTEXT)
        return shape_copy(&shape_context, object->definition);
    if (kind == KIND_PROVIDER) {
        FWPM_PROVIDER0 told = *(FWPM_PROVIDER0 *)object->definition;
        told.providerKey = object->key;
        return shape_copy(&shape_provider, &told);
    }
    const struct callout *callout = (const struct callout *)object;
    FWPM_CALLOUT0 told = *(FWPM_CALLOUT0 *)object->definition;
    told.calloutKey = callout->key;
    told.calloutId = callout->id;
    told.flags |= callout->registered ? CALLOUT_M_REGISTERED : 0; /* W030 */
    return shape_copy(&shape_callout, &told);
}

static void *describe_layer(const struct layer_fact *fact)
{
    wchar_t name[80];
    size_t length = 0;
    for (; fact->name[length] && length < sizeof name / sizeof *name - 1; length++)
        name[length] = (wchar_t)fact->name[length];
    name[length] = 0;
    FWPM_FIELD0 *fields = mem_alloc((fact->field_count + 1) * sizeof *fields);
    for (UINT32 i = 0; i < fact->field_count; i++) {
        fields[i].fieldKey = (GUID *)&condition_keys[fact->fields[i].condition];
        fields[i].dataType = fact->fields[i].type;
    }
    FWPM_LAYER0 told = {.layerKey = fact->key, .displayData.name = name, .flags = LAYER_KERNEL | LAYER_BUILTIN,
                        .numFields = fact->field_count, .field = fields, .layerId = fact->id};
    struct sublayer *fallback = sublayer_find(NULL, &(GUID){0});
    if (fallback)
        told.defaultSubLayerKey = fallback->key;
    void *block = shape_copy(&shape_layer, &told);
    mem_free(fields);
    return block;
}

/* ---- templates ---- */

static BOOL provider_fits(const GUID *wanted, enum kind kind, const struct object *object)
{
    const GUID *provider = wanted ? object_provider(kind, object) : NULL;
    return !wanted || (provider && guid_equal(provider, wanted));
}

static BOOL context_fits(const FWPM_PROVIDER_CONTEXT_ENUM_TEMPLATE0 *wanted, const struct object *object)
{
    return provider_fits(wanted->providerKey, KIND_CONTEXT, object) &&
           ((FWPM_PROVIDER_CONTEXT0 *)object->definition)->type == wanted->providerContextType;
}

static BOOL filter_fits(const FWPM_FILTER_ENUM_TEMPLATE0 *wanted, const struct filter *f)
{
    BOOL boot = (f->object_flags & F_BOOTTIME) != 0;
    if (wanted->flags & ENUM_BOOTTIME_ONLY) {
        if (!boot)
            return FALSE;
    } else if ((boot && !(wanted->flags & ENUM_INCLUDE_BOOTTIME)) || (f->dormant && !boot && !(wanted->flags & ENUM_INCLUDE_DISABLED))) {
        return FALSE;
    }
    if (!guid_is_zero(&wanted->layerKey) && !guid_equal(&wanted->layerKey, &f->layer->key))
        return FALSE;
    if (wanted->actionMask != 0xffffffff && !(f->view.action.type & wanted->actionMask))
        return FALSE;
    if (wanted->calloutKey && !(f->callout && guid_equal(&f->callout->key, wanted->calloutKey)))
        return FALSE;
    if (wanted->providerContextTemplate && !(f->context && context_fits(wanted->providerContextTemplate, (const struct object *)f->context)))
        return FALSE;
    for (UINT32 i = 0; i < wanted->numFilterConditions; i++)
        if (!conditions_admit(f, &wanted->filterCondition[i]))
            return FALSE;
    return provider_fits(wanted->providerKey, KIND_FILTER, (const struct object *)f);
}

BOOL template_fits(enum kind kind, const void *template, const struct object *object)
{
    const FWPM_CALLOUT_ENUM_TEMPLATE0 *callouts = template;
    switch (kind) {
    case KIND_SUBLAYER:
        return !template || provider_fits(((const FWPM_SUBLAYER_ENUM_TEMPLATE0 *)template)->providerKey, kind, object);
    case KIND_CALLOUT:
        return !template || (provider_fits(callouts->providerKey, kind, object) &&
                             (guid_is_zero(&callouts->layerKey) ||
                              guid_equal(&callouts->layerKey, &((const struct callout *)object)->layer->key)));
    case KIND_CONTEXT:
        return !template || context_fits(template, object);
    case KIND_FILTER:
        return !template || filter_fits(template, (const struct filter *)object);
    default:
        return TRUE;
    }
}

static NTSTATUS check_template(enum kind kind, const void *template)
{
    const FWPM_FILTER_ENUM_TEMPLATE0 *filters_wanted = template;
    if (kind != KIND_FILTER || !template)
        return STATUS_SUCCESS;
    if ((UINT32)filters_wanted->enumType > FWP_FILTER_ENUM_OVERLAPPING)
        return STATUS_FWP_INVALID_ENUMERATOR;
    if (filters_wanted->numFilterConditions && !filters_wanted->filterCondition)
        return STATUS_FWP_NULL_POINTER;
    if (filters_wanted->flags & ~0x3fu)
        return STATUS_FWP_INVALID_FLAGS;
    if (!guid_is_zero(&filters_wanted->layerKey) && !layer_by_key(&filters_wanted->layerKey))
        return STATUS_FWP_LAYER_NOT_FOUND;
    for (UINT32 i = 0; i < filters_wanted->numFilterConditions; i++)
        for (UINT32 j = 0; j < i; j++)
            if (guid_equal(&filters_wanted->filterCondition[i].fieldKey, &filters_wanted->filterCondition[j].fieldKey))
                return STATUS_FWP_DUPLICATE_CONDITION;
    return STATUS_SUCCESS;
}

/* ---- the functions behind those of all kinds ---- */

NTSTATUS get_object(HANDLE engine, enum kind kind, const GUID *key, UINT64 id, void **out)
{
    struct session *session;
    struct object *object = NULL;
    if (!out)
        return STATUS_FWP_NULL_POINTER;
    AcquireSRWLockShared(&store_lock);
    NTSTATUS status = session_check(engine, &session);
    if (!status && kind == KIND_LAYER) {
        const struct layer_fact *fact = key ? layer_by_key(key) : layer_by_id((UINT16)id);
        status = fact ? STATUS_SUCCESS : not_found[kind];
        if (fact)
            *out = describe_layer(fact);
    } else if (!status) {
        while ((object = object_next(kind, object)))
            if ((key ? guid_equal(&object->key, key) : object_id(kind, object) == id) && VISIBLE(session, object))
                break;
        status = object ? STATUS_SUCCESS : not_found[kind];
        if (object)
            *out = describe(kind, object);
    }
    ReleaseSRWLockShared(&store_lock);
    return status;
}

static void keep(struct enumeration *made, UINT32 *room, void *block)
{
    if (made->count == *room) {
        *room = *room ? 2 * *room : 32;
        void **wider = mem_alloc(*room * sizeof *wider);
        if (made->count)
            memcpy(wider, made->blocks, made->count * sizeof *wider);
        mem_free(made->blocks);
        made->blocks = wider;
    }
    made->blocks[made->count++] = block;
}

static void take_snapshot(struct session *session, struct enumeration *made, const void *template)
{
    const FWPM_FILTER_ENUM_TEMPLATE0 *filters_wanted = made->kind == KIND_FILTER ? template : NULL;
    UINT32 room = 0;
    for (unsigned i = 0; made->kind == KIND_LAYER && i < layer_fact_count; i++)
        keep(made, &room, describe_layer(&layer_facts[i]));
    for (struct session *s = NULL; made->kind == KIND_SESSION && (s = session_next(s));)
        keep(made, &room, shape_copy(&shape_session, s->definition));
    for (struct object *object = NULL; (object = object_next(made->kind, object));) {
        if (!VISIBLE(session, object) || !template_fits(made->kind, template, object))
            continue;
        if (filters_wanted && (filters_wanted->flags & ENUM_BEST_TERMINATING)) {
            if (!(((struct filter *)object)->view.action.type & ACTION_FLAG_TERMINATING))
                continue;
            keep(made, &room, describe(made->kind, object));
            break; /* they stand in the order in which arbitration visits them */
        }
        keep(made, &room, describe(made->kind, object));
    }
}

static int heavier(const void *a, const void *b)
{
    UINT64 left = *(*(FWPM_FILTER0 *const *)a)->effectiveWeight.uint64, right = *(*(FWPM_FILTER0 *const *)b)->effectiveWeight.uint64;
    return (left < right) - (left > right);
}

NTSTATUS enum_create(HANDLE engine, enum kind kind, const void *template, HANDLE *out)
{
    struct session *session;
    if (!out)
        return STATUS_FWP_NULL_POINTER;
    NTSTATUS status = check_template(kind, template);
    if (status)
        return status;
    AcquireSRWLockExclusive(&store_lock);
    status = session_check(engine, &session);
    if (!status) {
        struct enumeration *made = mem_alloc(sizeof *made);
        made->kind = kind;
        take_snapshot(session, made, template);
        if (kind == KIND_FILTER && template && (((const FWPM_FILTER_ENUM_TEMPLATE0 *)template)->flags & ENUM_SORTED))
            qsort(made->blocks, made->count, sizeof *made->blocks, heavier);
        made->next = session->enumerations;
        session->enumerations = made;
        *out = made;
    }
    ReleaseSRWLockExclusive(&store_lock);
    return status;
}

static struct enumeration **find_enumeration(struct session *session, enum kind kind, HANDLE handle)
{
    struct enumeration **at = &session->enumerations;
    while (*at && !(*at == (struct enumeration *)handle && (*at)->kind == kind))
        at = &(*at)->next;
    return at;
}

NTSTATUS enum_next(HANDLE engine, enum kind kind, HANDLE handle, UINT32 wanted, void ***entries, UINT32 *count)
{
    struct session *session;
    if (!entries || !count)
        return STATUS_FWP_NULL_POINTER;
    AcquireSRWLockExclusive(&store_lock);
    NTSTATUS status = session_check(engine, &session);
    struct enumeration *found = status ? NULL : *find_enumeration(session, kind, handle);
    if (found) {
        UINT32 left = found->count - found->position;
        *count = wanted < left ? wanted : left;
        *entries = shape_copy_array(kind_shape[kind], found->blocks + found->position, *count);
        found->position += *count;
    } else if (!status) {
        status = STATUS_INVALID_HANDLE;
    }
    ReleaseSRWLockExclusive(&store_lock);
    return status;
}

static void enumeration_free(struct enumeration *enumeration)
{
    for (UINT32 i = 0; i < enumeration->count; i++)
        mem_free(enumeration->blocks[i]);
    mem_free(enumeration->blocks);
    mem_free(enumeration);
}

NTSTATUS enum_destroy(HANDLE engine, enum kind kind, HANDLE handle)
{
    AcquireSRWLockExclusive(&store_lock);
    struct session *session = session_of(engine);
    struct enumeration **at = session ? find_enumeration(session, kind, handle) : NULL;
    struct enumeration *found = at ? *at : NULL;
    if (found)
        *at = found->next;
    ReleaseSRWLockExclusive(&store_lock);
    if (!found)
        return STATUS_INVALID_HANDLE;
    enumeration_free(found);
    return STATUS_SUCCESS;
}

void enumerations_free(struct session *session)
{
    while (session->enumerations) {
        struct enumeration *first = session->enumerations;
        session->enumerations = first->next;
        enumeration_free(first);
    }
}

/* Adding, deleting and reading objects, one set of functions a kind. SPDX-License-Identifier: MIT */
#include "user.h"

#include <string.h>

static const struct shape *const shapes[] = {
    [OF_PROVIDER] = &shape_provider, [OF_SUBLAYER] = &shape_sublayer, [OF_CALLOUT] = &shape_callout, [OF_CONTEXT] = &shape_context,
    [OF_FILTER] = &shape_filter,     [OF_LAYER] = &shape_layer,       [OF_SESSION] = &shape_session,
};
static const struct shape *const templates[] = {
    [OF_SUBLAYER] = &shape_provider_template, [OF_CALLOUT] = &shape_callout_template, [OF_CONTEXT] = &shape_context_template,
    [OF_FILTER] = &shape_filter_template,     [OF_SESSION] = NULL,
};

const struct shape *kind_shape_of(enum user_kind kind)
{
    return shapes[kind];
}

const struct shape *template_shape_of(enum user_kind kind)
{
    return templates[kind];
}

static DWORD add(HANDLE engine, enum user_kind kind, UINT32 version, const void *object, UINT64 *id)
{
    struct manage_request request = {.operation = MANAGE_ADD, .kind = (uint32_t)kind, .version = version};
    struct answer answer;
    if (!object)
        return error_of(STATUS_FWP_NULL_POINTER);
    DWORD error = ask(engine, &request, shapes[kind], object, &answer);
    if (!error) {
        *id = answer.head.id;
        mem_free(answer.bytes);
    }
    return error;
}

static DWORD named(HANDLE engine, struct manage_request request, const GUID *key, struct answer *answer)
{
    if (key) {
        request.flags = MANAGE_FLAG;
        memcpy(request.key, key, sizeof *key);
    }
    return ask(engine, &request, NULL, NULL, answer);
}

static DWORD delete(HANDLE engine, enum user_kind kind, BOOL by_key, const GUID *key, UINT64 id)
{
    if (by_key && !key)
        return error_of(STATUS_FWP_NULL_POINTER);
    return named(engine, (struct manage_request){.operation = MANAGE_DELETE, .kind = (uint32_t)kind, .id = id}, key, NULL);
}

static DWORD get(HANDLE engine, enum user_kind kind, BOOL by_key, const GUID *key, UINT64 id, void **out)
{
    struct answer answer;
    if (!out || (by_key && !key))
        return error_of(STATUS_FWP_NULL_POINTER);
    DWORD error = named(engine, (struct manage_request){.operation = MANAGE_GET, .kind = (uint32_t)kind, .id = id}, key, &answer);
    if (error)
        return error;
    *out = shape_unpack(shapes[kind], answer.bytes, answer.size);
    mem_free(answer.bytes);
    return *out ? ERROR_SUCCESS : ERROR_INVALID_DATA;
}

static DWORD enum_create(HANDLE engine, enum user_kind kind, const void *template, HANDLE *out)
{
    BOOL told = template && templates[kind];
    struct manage_request request = {.operation = MANAGE_ENUM_CREATE, .kind = (uint32_t)kind, .flags = told ? MANAGE_FLAG : 0};
    struct answer answer;
    if (!out)
        return error_of(STATUS_FWP_NULL_POINTER);
    DWORD error = ask(engine, &request, told ? templates[kind] : NULL, template, &answer);
    if (!error) {
        *out = (HANDLE)(uintptr_t)answer.head.id;
        mem_free(answer.bytes);
    }
    return error;
}

static DWORD enum_next(HANDLE engine, enum user_kind kind, HANDLE handle, UINT32 wanted, void ***entries, UINT32 *count)
{
    struct manage_request request = {.operation = MANAGE_ENUM_NEXT, .kind = (uint32_t)kind, .count = wanted, .id = (uintptr_t)handle};
    struct answer answer;
    if (!entries || !count)
        return error_of(STATUS_FWP_NULL_POINTER);
    DWORD error = ask(engine, &request, NULL, NULL, &answer);
    if (error)
        return error;
    *count = answer.head.count;
    *entries = shape_unpack_array(shapes[kind], answer.head.count, answer.bytes, answer.size);
    mem_free(answer.bytes);
    return *entries ? ERROR_SUCCESS : ERROR_INVALID_DATA;
}

static DWORD enum_destroy(HANDLE engine, enum user_kind kind, HANDLE handle)
{
    return ask(engine, &(struct manage_request){.operation = MANAGE_ENUM_DESTROY, .kind = (uint32_t)kind, .id = (uintptr_t)handle},
               NULL, NULL, NULL);
}

#define ADD_PLAIN(name, kind, type)                                                             \
    DWORD WINAPI name(HANDLE engine, const type *object, PSECURITY_DESCRIPTOR sd)               \
    {                                                                                           \
        UINT64 none;                                                                            \
        (void)sd;                                                                               \
        return add(engine, kind, 0, object, &none);                                             \
    }
#define ADD_WITH_ID(name, kind, version, type, id_type)                                         \
    DWORD WINAPI name(HANDLE engine, const type *object, PSECURITY_DESCRIPTOR sd, id_type *id)  \
    {                                                                                           \
        UINT64 made = 0;                                                                         \
        (void)sd;                                                                               \
        DWORD error = add(engine, kind, version, object, &made);                                \
        if (!error && id)                                                                       \
            *id = (id_type)made;                                                                \
        return error;                                                                           \
    }
#define DELETE_BY_KEY(name, kind)                                                               \
    DWORD WINAPI name(HANDLE engine, const GUID *key)                                           \
    {                                                                                           \
        return delete(engine, kind, TRUE, key, 0);                                              \
    }
#define DELETE_BY_ID(name, kind, id_type)                                                       \
    DWORD WINAPI name(HANDLE engine, id_type id)                                                \
    {                                                                                           \
        return delete(engine, kind, FALSE, NULL, id);                                           \
    }
#define GET_BY_KEY(name, kind, type)                                                            \
    DWORD WINAPI name(HANDLE engine, const GUID *key, type **out)                               \
    {                                                                                           \
        return get(engine, kind, TRUE, key, 0, (void **)out);                                   \
    }
#define GET_BY_ID(name, kind, type, id_type)                                                    \
    DWORD WINAPI name(HANDLE engine, id_type id, type **out)                                    \
    {                                                                                           \
        return get(engine, kind, FALSE, NULL, id, (void **)out);                                \
    }
#define ENUM(noun, kind)                                                                        \
    DWORD WINAPI Fwpm##noun##CreateEnumHandle0(HANDLE engine, const void *template, HANDLE *out) \
    {                                                                                           \
        return enum_create(engine, kind, template, out);                                        \
    }                                                                                           \
    DWORD WINAPI Fwpm##noun##DestroyEnumHandle0(HANDLE engine, HANDLE handle)                   \
    {                                                                                           \
        return enum_destroy(engine, kind, handle);                                              \
    }
#define NEXT(name, kind, type)                                                                  \
    DWORD WINAPI name(HANDLE engine, HANDLE handle, UINT32 wanted, type ***entries, UINT32 *count) \
    {                                                                                           \
        return enum_next(engine, kind, handle, wanted, (void ***)entries, count);               \
    }

ADD_PLAIN(FwpmProviderAdd0, OF_PROVIDER, FWPM_PROVIDER0)
DELETE_BY_KEY(FwpmProviderDeleteByKey0, OF_PROVIDER)
GET_BY_KEY(FwpmProviderGetByKey0, OF_PROVIDER, FWPM_PROVIDER0)
ENUM(Provider, OF_PROVIDER)
NEXT(FwpmProviderEnum0, OF_PROVIDER, FWPM_PROVIDER0)

ADD_PLAIN(FwpmSubLayerAdd0, OF_SUBLAYER, FWPM_SUBLAYER0)
DELETE_BY_KEY(FwpmSubLayerDeleteByKey0, OF_SUBLAYER)
GET_BY_KEY(FwpmSubLayerGetByKey0, OF_SUBLAYER, FWPM_SUBLAYER0)
ENUM(SubLayer, OF_SUBLAYER)
NEXT(FwpmSubLayerEnum0, OF_SUBLAYER, FWPM_SUBLAYER0)

ADD_WITH_ID(FwpmCalloutAdd0, OF_CALLOUT, 0, FWPM_CALLOUT0, UINT32)
DELETE_BY_KEY(FwpmCalloutDeleteByKey0, OF_CALLOUT)
DELETE_BY_ID(FwpmCalloutDeleteById0, OF_CALLOUT, UINT32)
GET_BY_KEY(FwpmCalloutGetByKey0, OF_CALLOUT, FWPM_CALLOUT0)
GET_BY_ID(FwpmCalloutGetById0, OF_CALLOUT, FWPM_CALLOUT0, UINT32)
ENUM(Callout, OF_CALLOUT)
NEXT(FwpmCalloutEnum0, OF_CALLOUT, FWPM_CALLOUT0)

ADD_WITH_ID(FwpmFilterAdd0, OF_FILTER, 0, FWPM_FILTER0, UINT64)
DELETE_BY_KEY(FwpmFilterDeleteByKey0, OF_FILTER)
DELETE_BY_ID(FwpmFilterDeleteById0, OF_FILTER, UINT64)
GET_BY_KEY(FwpmFilterGetByKey0, OF_FILTER, FWPM_FILTER0)
GET_BY_ID(FwpmFilterGetById0, OF_FILTER, FWPM_FILTER0, UINT64)
ENUM(Filter, OF_FILTER)
NEXT(FwpmFilterEnum0, OF_FILTER, FWPM_FILTER0)

GET_BY_KEY(FwpmLayerGetByKey0, OF_LAYER, FWPM_LAYER0)
GET_BY_ID(FwpmLayerGetById0, OF_LAYER, FWPM_LAYER0, UINT16)
ENUM(Layer, OF_LAYER)
NEXT(FwpmLayerEnum0, OF_LAYER, FWPM_LAYER0)
ENUM(Session, OF_SESSION)
NEXT(FwpmSessionEnum0, OF_SESSION, FWPM_SESSION0)

DELETE_BY_KEY(FwpmProviderContextDeleteByKey0, OF_CONTEXT)
DELETE_BY_ID(FwpmProviderContextDeleteById0, OF_CONTEXT, UINT64)
ENUM(ProviderContext, OF_CONTEXT)
#define CONTEXT_VERSION(n)                                                          \
    ADD_WITH_ID(FwpmProviderContextAdd##n, OF_CONTEXT, n, FWPM_PROVIDER_CONTEXT0, UINT64) \
    GET_BY_KEY(FwpmProviderContextGetByKey##n, OF_CONTEXT, FWPM_PROVIDER_CONTEXT0)     \
    GET_BY_ID(FwpmProviderContextGetById##n, OF_CONTEXT, FWPM_PROVIDER_CONTEXT0, UINT64) \
    NEXT(FwpmProviderContextEnum##n, OF_CONTEXT, FWPM_PROVIDER_CONTEXT0)
CONTEXT_VERSION(0)
CONTEXT_VERSION(1)
CONTEXT_VERSION(2)
CONTEXT_VERSION(3)

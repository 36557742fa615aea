/* The Get and Enum functions, one set a kind of object, over enumerate.c. SPDX-License-Identifier: MIT */
#include "store.h"

/* What is handed out is one block, which FwpmFreeMemory0 frees. */
static NTSTATUS given(NTSTATUS status, void **out)
{
    if (!status)
        hand_out(*out);
    return status;
}

#define GET_BY_KEY(name, kind, type)                                                                   \
    NTSTATUS NTAPI name(HANDLE engine, const GUID *wanted, type **out)                                 \
    {                                                                                                  \
        return wanted ? given(get_object(engine, kind, wanted, 0, (void **)out), (void **)out)         \
                      : STATUS_FWP_NULL_POINTER;                                                       \
    }
#define GET_BY_ID(name, kind, type, id_type)                                                           \
    NTSTATUS NTAPI name(HANDLE engine, id_type wanted, type **out)                                     \
    {                                                                                                  \
        return given(get_object(engine, kind, NULL, wanted, (void **)out), (void **)out);              \
    }
#define NEXT(name, kind, type)                                                                         \
    NTSTATUS NTAPI name(HANDLE engine, HANDLE handle, UINT32 wanted, type ***out, UINT32 *count)       \
    {                                                                                                  \
        return given(enum_next(engine, kind, handle, wanted, (void ***)out, count), (void **)out);     \
    }
#define ENUM(noun, kind)                                                                               \
    NTSTATUS NTAPI Fwpm##noun##CreateEnumHandle0(HANDLE engine, const void *template, HANDLE *handle)  \
    {                                                                                                  \
        return enum_create(engine, kind, template, handle);                                            \
    }                                                                                                  \
    NTSTATUS NTAPI Fwpm##noun##DestroyEnumHandle0(HANDLE engine, HANDLE handle)                        \
    {                                                                                                  \
        return enum_destroy(engine, kind, handle);                                                     \
    }

ENUM(Provider, KIND_PROVIDER)
NEXT(FwpmProviderEnum0, KIND_PROVIDER, FWPM_PROVIDER0)
GET_BY_KEY(FwpmProviderGetByKey0, KIND_PROVIDER, FWPM_PROVIDER0)

ENUM(SubLayer, KIND_SUBLAYER)
NEXT(FwpmSubLayerEnum0, KIND_SUBLAYER, FWPM_SUBLAYER0)
GET_BY_KEY(FwpmSubLayerGetByKey0, KIND_SUBLAYER, FWPM_SUBLAYER0)

ENUM(Callout, KIND_CALLOUT)
NEXT(FwpmCalloutEnum0, KIND_CALLOUT, FWPM_CALLOUT0)
GET_BY_KEY(FwpmCalloutGetByKey0, KIND_CALLOUT, FWPM_CALLOUT0)
GET_BY_ID(FwpmCalloutGetById0, KIND_CALLOUT, FWPM_CALLOUT0, UINT32)

ENUM(Filter, KIND_FILTER)
NEXT(FwpmFilterEnum0, KIND_FILTER, FWPM_FILTER0)
GET_BY_KEY(FwpmFilterGetByKey0, KIND_FILTER, FWPM_FILTER0)
GET_BY_ID(FwpmFilterGetById0, KIND_FILTER, FWPM_FILTER0, UINT64)

ENUM(Layer, KIND_LAYER)
NEXT(FwpmLayerEnum0, KIND_LAYER, FWPM_LAYER0)
GET_BY_KEY(FwpmLayerGetByKey0, KIND_LAYER, FWPM_LAYER0)
GET_BY_ID(FwpmLayerGetById0, KIND_LAYER, FWPM_LAYER0, UINT16)

ENUM(Session, KIND_SESSION)
NEXT(FwpmSessionEnum0, KIND_SESSION, FWPM_SESSION0)

ENUM(ProviderContext, KIND_CONTEXT)
#define CONTEXT_VERSION(n)                                                                             \
    NEXT(FwpmProviderContextEnum##n, KIND_CONTEXT, FWPM_PROVIDER_CONTEXT0)                             \
    GET_BY_KEY(FwpmProviderContextGetByKey##n, KIND_CONTEXT, FWPM_PROVIDER_CONTEXT0)                   \
    GET_BY_ID(FwpmProviderContextGetById##n, KIND_CONTEXT, FWPM_PROVIDER_CONTEXT0, UINT64)
CONTEXT_VERSION(0)
CONTEXT_VERSION(1)
CONTEXT_VERSION(2)
CONTEXT_VERSION(3)

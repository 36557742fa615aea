/* What is not given back. SPDX-License-Identifier: MIT */
#include "bad.h"


static HANDLE one, many[20];
static FWPM_SESSION0 static_session = {.displayData.name = (wchar_t *)L"left"};

static void load_injection(void)
{
    FwpsInjectionHandleCreate0(AF_INET, FWPS_INJECTION_TYPE_NETWORK, &one);
}

static void unload_injection(void)
{
    if (!bad)
        FwpsInjectionHandleDestroy0(one);
}

static void load_redirect(void)
{
    FwpsRedirectHandleCreate0(&FWPM_LAYER_ALE_CONNECT_REDIRECT_V4, 0, &one);
}

static void unload_redirect(void)
{
    if (!bad)
        FwpsRedirectHandleDestroy0(one);
}

static void load_many(void)
{
    int i;
    for (i = 0; i < (bad ? 20 : 2); i++)
        FwpsRedirectHandleCreate0(&FWPM_LAYER_ALE_CONNECT_REDIRECT_V4, 0, &many[i]);
}

static void unload_many(void)
{
    int i;
    for (i = 0; i < 20; i++)
        if (many[i])
            FwpsRedirectHandleDestroy0(many[i]);
}

static void load_pool(void)
{
    NET_BUFFER_LIST_POOL_PARAMETERS parameters = {.fAllocateNetBuffer = TRUE, .PoolTag = TAG};
    parameters.Header.Type = NDIS_OBJECT_TYPE_DEFAULT;
    parameters.Header.Revision = NET_BUFFER_LIST_POOL_PARAMETERS_REVISION_1;
    parameters.Header.Size = NDIS_SIZEOF_NET_BUFFER_LIST_POOL_PARAMETERS_REVISION_1;
    one = NdisAllocateNetBufferListPool(ndis_object, &parameters);
}

static void unload_pool(void)
{
    if (!bad)
        NdisFreeNetBufferListPool(one);
}

static void unload_callout(void)
{
    if (bad)
        the_callout = 0; /* forgotten */
}

static void unload_device(void)
{
    if (bad)
        the_device = NULL;
}

static void unload_session(void)
{
    if (bad)
        the_engine = NULL;
}

static void load_filter(void)
{
    FWPM_FILTER0 filter = {.displayData.name = (wchar_t *)L"left", .layerKey = FWPM_LAYER_OUTBOUND_TRANSPORT_V4, .action.type = FWP_ACTION_PERMIT};
    UINT64 id;
    FwpmEngineOpen0(NULL, 10, NULL, &static_session, &one);
    FwpmFilterAdd0(one, &filter, NULL, &id);
    if (!bad)
        FwpmFilterDeleteById0(one, id);
    FwpmEngineClose0(one);
}

static void load_sublayer(void)
{
    FWPM_SUBLAYER0 sublayer = {.subLayerKey = {0xbadbad03, 1, 1, {1}}, .displayData.name = (wchar_t *)L"left", .weight = 1};
    FwpmEngineOpen0(NULL, 10, NULL, &static_session, &one);
    FwpmSubLayerAdd0(one, &sublayer, NULL);
    if (!bad)
        FwpmSubLayerDeleteByKey0(one, &sublayer.subLayerKey);
    FwpmEngineClose0(one);
}

static void load_heavy_sublayer(void)
{
    FWPM_FILTER0 filter = {.displayData.name = (wchar_t *)L"heavy", .layerKey = FWPM_LAYER_OUTBOUND_TRANSPORT_V4,
                           .subLayerKey = {0xbadbad04, 1, 1, {1}}, .action = {.type = FWP_ACTION_CALLOUT_INSPECTION, .calloutKey = {0xbadbad02, 1, 1, {1}}}};
    FWPM_SUBLAYER0 sublayer = {.subLayerKey = filter.subLayerKey, .displayData.name = (wchar_t *)L"heavy", .weight = bad ? 0x9000 : 0x7000};
    FwpmSubLayerAdd0(the_engine, &sublayer, NULL);
    FwpmFilterAdd0(the_engine, &filter, NULL, NULL);
}

static void NTAPI state_changed(void *context, FWPM_SERVICE_STATE state)
{
    UNREFERENCED_PARAMETER(context);
    UNREFERENCED_PARAMETER(state);
}

static void load_subscription(void)
{
    FwpmBfeStateSubscribeChanges0(the_device, (FWPM_SERVICE_STATE_CHANGE_CALLBACK0)state_changed, NULL, &one);
}

static void unload_subscription(void)
{
    if (!bad)
        FwpmBfeStateUnsubscribeChanges0(one);
}

static void load_no_device(void)
{
    FWPS_CALLOUT1 functions = {.calloutKey = {0xbadbad05, 1, 1, {1}}, .classifyFn = (FWPS_CALLOUT_CLASSIFY_FN1)unload_session, .notifyFn = NULL};
    UINT32 id;
    if (NT_SUCCESS(FwpsCalloutRegister1(bad ? NULL : the_device, &functions, &id)))
        FwpsCalloutUnregisterById0(id);
}

const struct misdeed misdeeds_of_handles[] = {
    {.name = "W016-injection-handle", .layer = 0xFFFF, .load = load_injection, .unload = unload_injection},
    {.name = "W016-device", .layer = 0xFFFF, .unload = unload_device},
    {.name = "W119-redirect-handle", .layer = 0xFFFF, .load = load_redirect, .unload = unload_redirect},
    {.name = "W119-many-handles", .layer = 0xFFFF, .load = load_many, .unload = unload_many},
    {.name = "W304-pool", .layer = 0xFFFF, .load = load_pool, .unload = unload_pool},
    {.name = "W015-callout", .layer = FWPS_LAYER_OUTBOUND_TRANSPORT_V4, .key = &FWPM_LAYER_OUTBOUND_TRANSPORT_V4, .unload = unload_callout},
    {.name = "W056-session", .layer = FWPS_LAYER_OUTBOUND_TRANSPORT_V4, .key = &FWPM_LAYER_OUTBOUND_TRANSPORT_V4, .unload = unload_session},
    {.name = "W072-filter", .layer = 0xFFFF, .load = load_filter},
    {.name = "W072-sublayer", .layer = 0xFFFF, .load = load_sublayer},
    {.name = "W072-callout", .layer = FWPS_LAYER_OUTBOUND_TRANSPORT_V4, .key = &FWPM_LAYER_OUTBOUND_TRANSPORT_V4, .unlawful_objects = TRUE},
    {.name = "W071-subscription", .layer = 0xFFFF, .load = load_subscription, .unload = unload_subscription},
    {.name = "W237-heavy-sublayer", .layer = FWPS_LAYER_OUTBOUND_TRANSPORT_V4, .key = &FWPM_LAYER_OUTBOUND_TRANSPORT_V4, .load = load_heavy_sublayer},
    {.name = "W018-no-device", .layer = 0xFFFF, .load = load_no_device},
    {.name = NULL},
};

/* The session with the filter engine, the callouts, and the way out. SPDX-License-Identifier: MIT */
#include <initguid.h>

#include "callout.h"

/* Two instances of the driver in one system: each has keys of its own, and the sublayers of the second are lighter. */
#ifndef WFPCALLOUT_INSTANCE
#define WFPCALLOUT_INSTANCE 0
#endif
#if WFPCALLOUT_INSTANCE
#define DISPLAY_NAME L"wfpcallout2"
#else
#define DISPLAY_NAME L"wfpcallout"
#endif
#define KEY_OF(number) {number, 0x2c1e, 0x4f0b, {0x9a, 0x31, 0x77, 0x66, 0x70, 0x2d, 0x68, 0x69 + WFPCALLOUT_INSTANCE}}

const GUID provider_key = KEY_OF(0x5d9a6b10);
const GUID sublayer_keys[SLOTS] = {KEY_OF(0x5d9a6b11), KEY_OF(0x5d9a6b12)};
static const UINT16 weights[SLOTS] = {0x7000 - 0x100 * WFPCALLOUT_INSTANCE, 0x3000 - 0x100 * WFPCALLOUT_INSTANCE};
static UINT32 ids[LAYERS][SLOTS];

void callout_key(const LAYER *layer, ULONG slot, GUID *key)
{
    *key = provider_key;
    key->Data1 = 0x5d9a7000ul + ((ULONG)layer->id << 4) + slot;
}

UINT32 callout_id(const LAYER *layer, ULONG slot)
{
    return ids[layer - layers][slot];
}

NTSTATUS callout_register(const LAYER *layer, ULONG slot)
{
    FWPS_CALLOUT1 callout = {0};
    callout_key(layer, slot, &callout.calloutKey);
    callout.classifyFn = classify;
    callout.notifyFn = notify;
    callout.flowDeleteFn = slot == 0 ? flow_deleted : NULL;
    if (layer->kind == LAYER_STREAM && slot == 0) /* sees flows that are older than a rule; slot 1 does not */
        callout.flags = FWP_CALLOUT_FLAG_ALLOW_MID_STREAM_INSPECTION;
    return FwpsCalloutRegister1(driver.device, &callout, &ids[layer - layers][slot]);
}

static NTSTATUS add_objects(void)
{
    FWPM_PROVIDER0 provider = {0};
    FWPM_SUBLAYER0 sublayer = {0};
    FWPM_CALLOUT0 callout = {0};
    NTSTATUS status;
    ULONG i, slot;

    provider.providerKey = provider_key;
    provider.displayData.name = L"wfp-hil"; /* the company, and below the product: so it is to be found in the field */
    provider.displayData.description = L"wfp-hil reference callout driver, " DISPLAY_NAME L".sys";
    status = FwpmProviderAdd0(driver.engine, &provider, NULL);
    for (slot = 0; slot < SLOTS && NT_SUCCESS(status); slot++) {
        sublayer.subLayerKey = sublayer_keys[slot];
        sublayer.displayData.name = slot ? DISPLAY_NAME L" B" : DISPLAY_NAME L" A";
        sublayer.providerKey = (GUID *)&provider_key;
        sublayer.weight = weights[slot];
        status = FwpmSubLayerAdd0(driver.engine, &sublayer, NULL);
    }
    for (i = 0; i < layer_count; i++) {
        for (slot = 0; slot < SLOTS && NT_SUCCESS(status); slot++) {
            callout_key(&layers[i], slot, &callout.calloutKey);
            callout.displayData.name = DISPLAY_NAME;
            callout.providerKey = (GUID *)&provider_key;
            callout.applicableLayer = *layers[i].key;
            status = FwpmCalloutAdd0(driver.engine, &callout, NULL, NULL);
        }
    }
    return status;
}

static NTSTATUS open_engine(void)
{
    FWPM_SESSION0 session = {0};
    NTSTATUS status;

    session.displayData.name = DISPLAY_NAME;
    session.flags = FWPM_SESSION_FLAG_DYNAMIC; /* every object goes with the session, also when we do not */
    status = FwpmEngineOpen0(NULL, 10 /* RPC_C_AUTHN_WINNT */, NULL, &session, &driver.engine);
    if (!NT_SUCCESS(status))
        return status;
    status = FwpmTransactionBegin0(driver.engine, 0);
    if (!NT_SUCCESS(status))
        return status;
    status = add_objects();
    if (!NT_SUCCESS(status)) {
        FwpmTransactionAbort0(driver.engine);
        return status;
    }
    return FwpmTransactionCommit0(driver.engine);
}

static NTSTATUS open_pool(void)
{
    NET_BUFFER_LIST_POOL_PARAMETERS parameters = {0};

    driver.ndis = NdisAllocateGenericObject(driver.object, TAG, 0);
    if (!driver.ndis)
        return STATUS_INSUFFICIENT_RESOURCES;
    parameters.Header.Type = NDIS_OBJECT_TYPE_DEFAULT;
    parameters.Header.Revision = NET_BUFFER_LIST_POOL_PARAMETERS_REVISION_1;
    parameters.Header.Size = NDIS_SIZEOF_NET_BUFFER_LIST_POOL_PARAMETERS_REVISION_1;
    parameters.fAllocateNetBuffer = TRUE;
    parameters.PoolTag = TAG;
    driver.pool = NdisAllocateNetBufferListPool(driver.ndis, &parameters);
    return driver.pool ? STATUS_SUCCESS : STATUS_INSUFFICIENT_RESOURCES;
}

NTSTATUS engine_start(void)
{
    NTSTATUS status = open_pool();
    ULONG i, slot;

    RtlZeroMemory(ids, sizeof ids);
    if (NT_SUCCESS(status))
        status = injection_create();
    if (NT_SUCCESS(status))
        status = FwpsRedirectHandleCreate0(&provider_key, 0, &driver.redirect);
    for (i = 0; i < layer_count; i++)
        for (slot = 0; slot < SLOTS && NT_SUCCESS(status); slot++)
            status = callout_register(&layers[i], slot);
    if (NT_SUCCESS(status))
        status = open_engine();
    if (!NT_SUCCESS(status))
        engine_stop();
    return status;
}

/* Contexts keep a callout busy, and removing them may take until the classifies that use them are over. */
static void unregister_all(void)
{
    LARGE_INTEGER pause;
    ULONG i, slot;

    pause.QuadPart = -10 * 1000; /* 1 ms */
    for (i = 0; i < layer_count; i++) {
        for (slot = 0; slot < SLOTS; slot++) {
            NTSTATUS status = STATUS_SUCCESS;
            do {
                if (status != STATUS_SUCCESS) {
                    flow_remove_all();
                    KeDelayExecutionThread(KernelMode, FALSE, &pause);
                }
                if (ids[i][slot])
                    status = FwpsCalloutUnregisterById0(ids[i][slot]);
            } while (status == STATUS_DEVICE_BUSY || status == STATUS_FWP_IN_USE);
            ids[i][slot] = 0;
        }
    }
}

void engine_stop(void)
{
    LARGE_INTEGER pause;

    lab_stop();
    play_stop();
    pend_close();
    if (driver.engine) {
        rules_clear();
        FwpmEngineClose0(driver.engine);
    }
    driver.engine = NULL;
    flow_remove_all();
    unregister_all();
    pause.QuadPart = -10 * 1000;
    while (!flow_remove_all()) /* flowDeleteFn is code of ours: it has to have run before we go */
        KeDelayExecutionThread(KernelMode, FALSE, &pause);
    pend_stop();
    injection_destroy();
    inject_stop();
    if (driver.redirect)
        FwpsRedirectHandleDestroy0(driver.redirect);
    driver.redirect = NULL;
    if (driver.pool)
        NdisFreeNetBufferListPool(driver.pool);
    driver.pool = NULL;
    if (driver.ndis)
        NdisFreeGenericObject(driver.ndis);
    driver.ndis = NULL;
}

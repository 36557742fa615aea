/*
 * A driver as somebody else would write it: no control device, no event ring. Its one callout blocks every outgoing TCP
 * connect to port 99.
 *
 * SPDX-License-Identifier: MIT
 */
#define NDIS630 1
#include <initguid.h>
#include <ntddk.h>
#include <ndis.h>
#include <ws2ipdef.h>
#include <fwpsk.h>
#include <fwpmk.h>

DEFINE_GUID(SUBLAYER_KEY, 0x6a7cf8ee, 0x5a1b, 0x4c57, 0x9d, 0x11, 0x2f, 0x0e, 0x52, 0x4d, 0x7b, 0x31);
DEFINE_GUID(CALLOUT_KEY, 0x6a7cf8ee, 0x5a1b, 0x4c57, 0x9d, 0x11, 0x2f, 0x0e, 0x52, 0x4d, 0x7b, 0x32);

static DEVICE_OBJECT *device; /* nameless: FwpsCalloutRegister1 wants one to hold the driver by */
static HANDLE engine;
static UINT32 callout_id;

static void NTAPI classify(const FWPS_INCOMING_VALUES0 *values, const FWPS_INCOMING_METADATA_VALUES0 *metadata, void *data,
                           const void *context, const FWPS_FILTER1 *filter, UINT64 flow, FWPS_CLASSIFY_OUT0 *out)
{
    (void)values, (void)metadata, (void)data, (void)context, (void)filter, (void)flow;
    if (!(out->rights & FWPS_RIGHT_ACTION_WRITE))
        return;
    out->actionType = FWP_ACTION_BLOCK;
    out->rights &= ~FWPS_RIGHT_ACTION_WRITE;
}

static NTSTATUS NTAPI notify(FWPS_CALLOUT_NOTIFY_TYPE type, const GUID *key, FWPS_FILTER1 *filter)
{
    (void)type, (void)key, (void)filter;
    return STATUS_SUCCESS;
}

static NTSTATUS add_objects(void)
{
    FWPM_SUBLAYER0 sublayer = {.subLayerKey = SUBLAYER_KEY, .displayData.name = L"portblock", .weight = 0x4000};
    FWPM_CALLOUT0 callout = {
        .calloutKey = CALLOUT_KEY, .displayData.name = L"portblock", .applicableLayer = FWPM_LAYER_ALE_AUTH_CONNECT_V4};
    FWPM_FILTER_CONDITION0 conditions[] = {
        {.fieldKey = FWPM_CONDITION_IP_PROTOCOL, .matchType = FWP_MATCH_EQUAL, .conditionValue = {.type = FWP_UINT8, .uint8 = 6}},
        {.fieldKey = FWPM_CONDITION_IP_REMOTE_PORT, .matchType = FWP_MATCH_EQUAL, .conditionValue = {.type = FWP_UINT16, .uint16 = 99}},
    };
    FWPM_FILTER0 filter = {.displayData.name = L"portblock", .layerKey = FWPM_LAYER_ALE_AUTH_CONNECT_V4,
        .subLayerKey = SUBLAYER_KEY, .filterCondition = conditions, .numFilterConditions = 2,
        .action = {.type = FWP_ACTION_CALLOUT_TERMINATING, .calloutKey = CALLOUT_KEY}};
    NTSTATUS status = FwpmSubLayerAdd0(engine, &sublayer, NULL);
    if (NT_SUCCESS(status))
        status = FwpmCalloutAdd0(engine, &callout, NULL, NULL);
    return NT_SUCCESS(status) ? FwpmFilterAdd0(engine, &filter, NULL, NULL) : status;
}

static void stop(void)
{
    if (engine)
        FwpmEngineClose0(engine); /* the session is dynamic: its objects go with it */
    if (callout_id)
        FwpsCalloutUnregisterById0(callout_id);
    if (device)
        IoDeleteDevice(device);
}

static void NTAPI unload(DRIVER_OBJECT *driver)
{
    (void)driver;
    stop();
}

NTSTATUS NTAPI DriverEntry(DRIVER_OBJECT *driver, UNICODE_STRING *registry);
NTSTATUS NTAPI DriverEntry(DRIVER_OBJECT *driver, UNICODE_STRING *registry)
{
    FWPS_CALLOUT1 callout = {.calloutKey = CALLOUT_KEY, .classifyFn = classify, .notifyFn = notify};
    FWPM_SESSION0 session = {.displayData.name = L"portblock", .flags = FWPM_SESSION_FLAG_DYNAMIC};
    NTSTATUS status;

    (void)registry;
    driver->DriverUnload = unload;
    status = IoCreateDevice(driver, 0, NULL, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, FALSE, &device);
    if (NT_SUCCESS(status))
        status = FwpsCalloutRegister1(device, &callout, &callout_id);
    if (NT_SUCCESS(status))
        status = FwpmEngineOpen0(NULL, 10 /* RPC_C_AUTHN_WINNT */, NULL, &session, &engine);
    if (NT_SUCCESS(status))
        status = add_objects();
    if (!NT_SUCCESS(status))
        stop();
    return status;
}

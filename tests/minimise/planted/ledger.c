/*
 * The reference callout driver with one more part, a ledger of every TCP connection, and a mistake in it. For the tests
 * of `wfp-hil minimise` and `wfp-hil bisect`, and for nothing else.
 *
 * It is linked with the unchanged objects of drivers/callout; --wrap=engine_start and --wrap=engine_stop put it between.
 * BUILD is the number of the build, 1 to 16. From FIRST_BAD on a connection whose RST overtakes data (a segment is still
 * missing when it comes) has its ledger released at once, and flowDeleteFn releases it again. REFUSING does not load.
 *
 * SPDX-License-Identifier: MIT
 */
#include <initguid.h>

#include "callout/callout.h"

#define LEDGERS 256
#define FIN_FLAG 0x01
#define SYN_FLAG 0x02
#define RST_FLAG 0x04

#ifdef _MSC_VER
#define fail_fast(code) __fastfail(code)
#else
#define fail_fast(code) __asm__ volatile("int $0x29" : : "c"(code))
#endif
#define INVALID_REFERENCE_COUNT 14 /* FAST_FAIL_INVALID_REFERENCE_COUNT */

typedef struct LEDGER {
    LONG references;
    UINT64 flow; /* while its context is associated */
    UINT32 next; /* the sequence number that comes next, where it is known */
    BOOLEAN known, gap;
} LEDGER;

static const GUID sublayer = {0x5d9a6b20, 0x2c1e, 0x4f0b, {0x9a, 0x31, 0x77, 0x66, 0x70, 0x2d, 0x68, 0x69}};
static const GUID keys[2] = {{0x5d9a6b21, 0x2c1e, 0x4f0b, {0x9a, 0x31, 0x77, 0x66, 0x70, 0x2d, 0x68, 0x69}},
                             {0x5d9a6b22, 0x2c1e, 0x4f0b, {0x9a, 0x31, 0x77, 0x66, 0x70, 0x2d, 0x68, 0x69}}};
static LEDGER ledgers[LEDGERS]; /* kept for good: who uses one that was released finds its count, not somebody's memory */
static KSPIN_LOCK lock;         /* guards which of them are in use */
static UINT32 established_id, inbound_id;

NTSTATUS __real_engine_start(void);
NTSTATUS __wrap_engine_start(void);
void __real_engine_stop(void);
void __wrap_engine_stop(void);

static LEDGER *open_ledger(UINT64 flow)
{
    LEDGER *found = NULL;
    ULONG i;
    KIRQL irql;
    KeAcquireSpinLock(&lock, &irql);
    for (i = 0; i < LEDGERS && !found; i++)
        if (ledgers[i].references == 0 && !ledgers[i].flow) {
            found = &ledgers[i];
            RtlZeroMemory(found, sizeof *found);
            found->references = 1;
            found->flow = flow;
        }
    KeReleaseSpinLock(&lock, irql);
    return found;
}

static __attribute__((noinline)) void release_ledger(LEDGER *ledger)
{
    if (InterlockedDecrement(&ledger->references) < 0)
        fail_fast(INVALID_REFERENCE_COUNT);
}

static void close_ledger(LEDGER *ledger)
{
    release_ledger(ledger);
    ledger->flow = 0;
}

static void account(LEDGER *ledger, const UINT8 *tcp, UINT32 payload)
{
    UINT32 sequence = (UINT32)tcp[4] << 24 | (UINT32)tcp[5] << 16 | (UINT32)tcp[6] << 8 | tcp[7];
    UINT8 flags = tcp[13];
    UINT32 end = sequence + payload + (flags & SYN_FLAG ? 1 : 0) + (flags & FIN_FLAG ? 1 : 0);
    if (flags & RST_FLAG) {
#if BUILD >= FIRST_BAD
        if (ledger->gap)
            release_ledger(ledger); /* the mistake: the context is still associated */
#endif
        return;
    }
    if (!ledger->known || (INT32)(sequence - ledger->next) <= 0) {
        if (!ledger->known || (INT32)(end - ledger->next) > 0)
            ledger->next = end;
        ledger->known = TRUE;
        ledger->gap = FALSE; /* what it waited for has come */
    } else if (payload) {
        ledger->gap = TRUE;
    }
}

static void NTAPI on_established(const FWPS_INCOMING_VALUES0 *values, const FWPS_INCOMING_METADATA_VALUES0 *metadata,
                                 void *data, const void *context, const FWPS_FILTER1 *filter, UINT64 flow_context,
                                 FWPS_CLASSIFY_OUT0 *out)
{
    LEDGER *ledger = NULL;
    UNREFERENCED_PARAMETER(data);
    UNREFERENCED_PARAMETER(context);
    UNREFERENCED_PARAMETER(filter);
    UNREFERENCED_PARAMETER(flow_context);
    if (out->rights & FWPS_RIGHT_ACTION_WRITE)
        out->actionType = FWP_ACTION_CONTINUE;
    if (values->incomingValue[FWPS_FIELD_ALE_FLOW_ESTABLISHED_V4_IP_PROTOCOL].value.uint8 != IPPROTO_TCP ||
        !(metadata->currentMetadataValues & FWPS_METADATA_FIELD_FLOW_HANDLE))
        return;
    ledger = open_ledger(metadata->flowHandle);
    if (ledger && FwpsFlowAssociateContext0(metadata->flowHandle, FWPS_LAYER_INBOUND_TRANSPORT_V4, inbound_id,
                                            (UINT64)(ULONG_PTR)ledger) != STATUS_SUCCESS)
        close_ledger(ledger);
}

static void NTAPI on_segment(const FWPS_INCOMING_VALUES0 *values, const FWPS_INCOMING_METADATA_VALUES0 *metadata,
                             void *data, const void *context, const FWPS_FILTER1 *filter, UINT64 flow_context,
                             FWPS_CLASSIFY_OUT0 *out)
{
    NET_BUFFER *buffer = data ? NET_BUFFER_LIST_FIRST_NB((NET_BUFFER_LIST *)data) : NULL;
    UINT8 storage[20];
    const UINT8 *tcp;
    UNREFERENCED_PARAMETER(values);
    UNREFERENCED_PARAMETER(context);
    UNREFERENCED_PARAMETER(filter);
    if (out->rights & FWPS_RIGHT_ACTION_WRITE)
        out->actionType = FWP_ACTION_CONTINUE;
    if (!flow_context || !buffer || !(metadata->currentMetadataValues & FWPS_METADATA_FIELD_TRANSPORT_HEADER_SIZE) ||
        metadata->transportHeaderSize < sizeof storage)
        return;
    /* What comes in is indicated from behind the transport header. */
    if (NdisRetreatNetBufferDataStart(buffer, metadata->transportHeaderSize, 0, NULL) != NDIS_STATUS_SUCCESS)
        return;
    tcp = NdisGetDataBuffer(buffer, sizeof storage, storage, 1, 0);
    if (tcp)
        account((LEDGER *)(ULONG_PTR)flow_context, tcp, NET_BUFFER_DATA_LENGTH(buffer) - metadata->transportHeaderSize);
    NdisAdvanceNetBufferDataStart(buffer, metadata->transportHeaderSize, FALSE, NULL);
}

static void NTAPI on_flow_deleted(UINT16 layer, UINT32 callout, UINT64 context)
{
    UNREFERENCED_PARAMETER(layer);
    UNREFERENCED_PARAMETER(callout);
    close_ledger((LEDGER *)(ULONG_PTR)context);
}

static NTSTATUS NTAPI on_notify(FWPS_CALLOUT_NOTIFY_TYPE type, const GUID *key, FWPS_FILTER1 *filter)
{
    UNREFERENCED_PARAMETER(type);
    UNREFERENCED_PARAMETER(key);
    UNREFERENCED_PARAMETER(filter);
    return STATUS_SUCCESS;
}

static NTSTATUS add_callout(ULONG which, const GUID *layer)
{
    FWPM_CALLOUT0 callout = {0};
    FWPM_FILTER0 filter = {0};
    NTSTATUS status;
    callout.calloutKey = keys[which];
    callout.displayData.name = (wchar_t *)L"ledger";
    callout.applicableLayer = *layer;
    filter.displayData.name = (wchar_t *)L"ledger";
    filter.layerKey = *layer;
    filter.subLayerKey = sublayer;
    filter.action.type = FWP_ACTION_CALLOUT_INSPECTION;
    filter.action.calloutKey = keys[which];
    status = FwpmCalloutAdd0(driver.engine, &callout, NULL, NULL);
    return NT_SUCCESS(status) ? FwpmFilterAdd0(driver.engine, &filter, NULL, NULL) : status;
}

NTSTATUS __wrap_engine_start(void)
{
    FWPS_CALLOUT1 established = {0}, inbound = {0};
    FWPM_SUBLAYER0 own = {0};
    NTSTATUS status;
#if BUILD == REFUSING
    return STATUS_NOT_SUPPORTED;
#endif
    KeInitializeSpinLock(&lock);
    status = __real_engine_start();
    if (!NT_SUCCESS(status))
        return status;
    established.calloutKey = keys[0];
    established.classifyFn = on_established;
    established.notifyFn = on_notify;
    inbound.calloutKey = keys[1];
    inbound.classifyFn = on_segment;
    inbound.notifyFn = on_notify;
    inbound.flowDeleteFn = on_flow_deleted;
    own.subLayerKey = sublayer;
    own.displayData.name = (wchar_t *)L"ledger";
    own.weight = 0x5000;
    status = FwpsCalloutRegister1(driver.device, &inbound, &inbound_id);
    if (NT_SUCCESS(status))
        status = FwpsCalloutRegister1(driver.device, &established, &established_id);
    if (NT_SUCCESS(status))
        status = FwpmSubLayerAdd0(driver.engine, &own, NULL);
    if (NT_SUCCESS(status))
        status = add_callout(1, &FWPM_LAYER_INBOUND_TRANSPORT_V4);
    if (NT_SUCCESS(status))
        status = add_callout(0, &FWPM_LAYER_ALE_FLOW_ESTABLISHED_V4);
    if (!NT_SUCCESS(status))
        __wrap_engine_stop();
    return status;
}

void __wrap_engine_stop(void)
{
    LARGE_INTEGER pause;
    UINT32 *const ids[2] = {&established_id, &inbound_id};
    ULONG i;
    pause.QuadPart = -10 * 1000; /* 1 ms */
    __real_engine_stop(); /* the session goes, and with it the filters that lead here */
    for (i = 0; i < LEDGERS; i++) {
        UINT64 flow = ledgers[i].flow;
        if (flow)
            FwpsFlowRemoveContext0(flow, FWPS_LAYER_INBOUND_TRANSPORT_V4, inbound_id);
    }
    for (i = 0; i < 2; i++) {
        while (*ids[i]) {
            NTSTATUS status = FwpsCalloutUnregisterById0(*ids[i]);
            if (status != STATUS_DEVICE_BUSY && status != STATUS_FWP_IN_USE)
                *ids[i] = 0;
            else
                KeDelayExecutionThread(KernelMode, FALSE, &pause); /* until its contexts are gone */
        }
    }
}

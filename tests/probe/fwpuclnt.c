/*
 * A fwpuclnt.dll whose objects have hostile names and every type of value, to be asked by the probe. Nothing here is an
 * engine: the lists are made up, and what the test looks for stands in tests/probe/test_state.py.
 *
 * SPDX-License-Identifier: MIT
 */
#include <winsock2.h>
#include <windows.h>
#include <fwpmtypes.h>
#include <stdlib.h>

#define EXPORT __declspec(dllexport)
static const GUID a_key = {0x11111111, 1, 2, {3, 4, 5, 6, 7, 8, 9, 10}};
static const GUID a_layer = {0xc38d57d1, 0x05a7, 0x4c33, {0x90, 0x4f, 0x7f, 0xbc, 0xee, 0xe6, 0x0e, 0x82}}; /* ALE_AUTH_CONNECT_V4 */
static const GUID remote_address = {0xb235ae9a, 0x1d64, 0x49b8, {0xa4, 0x4c, 0x5f, 0xf3, 0xd9, 0x09, 0x50, 0x45}};
static const wchar_t hostile[] = {L'<', L'&', L'"', L'\\', L']', L']', L'>', 1, L'\n', 0xd800, L'x', 0xdc00, 0xd83d, 0xde00, 0xfffe, 0xe4, 0};

/* What was handed out and not given back before is the session's time to wait. */
static int handed_out, freed;

EXPORT DWORD WINAPI FwpmEngineClose0(HANDLE engine)
{
    (void)engine;
    return 0;
}
EXPORT void WINAPI FwpmFreeMemory0(void **block)
{
    if (*block)
        freed++;
    free(*block);
    *block = NULL;
}

/* `total` copies of an object, as many at once as are asked for; a handle is the address of how many were given. */
static DWORD give(HANDLE handle, UINT32 wanted, UINT32 total, void *object, void ***entries, UINT32 *count)
{
    UINT32 *given = handle, now = total - *given < wanted ? total - *given : wanted;
    *entries = malloc((now + 1) * sizeof **entries);
    for (UINT32 i = 0; i < now; i++)
        (*entries)[i] = object;
    *given += now;
    *count = now;
    handed_out++;
    return 0;
}
#define KIND(noun, type, total, object)                                                                            \
    EXPORT DWORD WINAPI Fwpm##noun##CreateEnumHandle0(HANDLE engine, const void *template, HANDLE *out)               \
    {                                                                                                              \
        (void)engine, (void)template;                                                                              \
        *out = calloc(1, sizeof(UINT32));                                                                          \
        return 0;                                                                                                  \
    }                                                                                                              \
    EXPORT DWORD WINAPI Fwpm##noun##DestroyEnumHandle0(HANDLE engine, HANDLE handle)                                  \
    {                                                                                                              \
        (void)engine;                                                                                              \
        free(handle);                                                                                              \
        return 0;                                                                                                  \
    }                                                                                                              \
    EXPORT DWORD WINAPI Fwpm##noun##Enum0(HANDLE engine, HANDLE handle, UINT32 wanted, void ***entries, UINT32 *count) \
    {                                                                                                              \
        (void)engine;                                                                                              \
        return give(handle, wanted, total, object, entries, count);                                                \
    }
#define DISPLAY {(wchar_t *)hostile, NULL}

static FWPM_SESSION0 session = {.displayData = DISPLAY, .flags = 0xffffffff, .processId = 7, .kernelMode = 2};
EXPORT DWORD WINAPI FwpmEngineOpen0(const wchar_t *server, UINT32 service, void *identity, const FWPM_SESSION0 *wanted, HANDLE *out)
{
    (void)server, (void)service, (void)identity, (void)wanted;
    session.txnWaitTimeoutInMSec = (UINT32)(handed_out - freed);
    *out = (HANDLE)1;
    return 0;
}
static FWPM_PROVIDER0 provider = {.displayData = DISPLAY, .serviceName = (wchar_t *)hostile};
static FWPM_SUBLAYER0 sublayer = {.displayData = DISPLAY, .weight = 0x9000};
static FWPM_LAYER0 layer = {.displayData = DISPLAY, .layerId = 48};
static FWPM_CALLOUT0 callout = {.displayData = DISPLAY, .flags = 0x40000, .calloutId = 9};

static UINT64 big = 0xfedcba9876543210;
static INT64 negative = -5;
static double number = 1e300;
static FWP_BYTE_ARRAY16 sixteen = {{0x20, 0x01, 0x0d, 0xb8}};
static FWP_BYTE_ARRAY6 six = {{2, 0, 0, 0, 0, 1}};
static UINT8 bytes[5000] = {'a', 0, '<'};
static FWP_BYTE_BLOB blob = {sizeof bytes, bytes};
static SID sid = {1, 1, {{0, 0, 0, 0, 0, 5}}, {18}};
static FWP_V4_ADDR_AND_MASK net = {0xcb007100, 0xffffff00};
static FWP_V6_ADDR_AND_MASK net6 = {{0x20, 0x01, 0x0d, 0xb8}, 32};
static FWP_RANGE0 range = {{.type = FWP_UINT16, .uint16 = 80}, {.type = FWP_UINT16, .uint16 = 90}};
static FWPM_FILTER_CONDITION0 conditions[20];
static FWPM_FILTER0 filter = {.displayData = DISPLAY, .flags = 9, .rawContext = 0xffffffffffffffff, .filterId = 77};

static void add(FWP_DATA_TYPE type, const void *value)
{
    FWPM_FILTER_CONDITION0 *next = &conditions[filter.numFilterConditions++];
    next->fieldKey = remote_address;
    next->conditionValue.type = type;
    next->conditionValue.uint64 = (UINT64 *)value;
}

BOOL WINAPI DllMain(HINSTANCE module, DWORD reason, void *reserved)
{
    (void)module, (void)reserved;
    if (reason != DLL_PROCESS_ATTACH)
        return TRUE;
    session.sessionKey = provider.providerKey = sublayer.subLayerKey = callout.calloutKey = filter.filterKey = a_key;
    layer.layerKey = callout.applicableLayer = filter.layerKey = a_layer;
    filter.subLayerKey = a_key;
    filter.effectiveWeight.type = FWP_UINT64;
    filter.effectiveWeight.uint64 = &big;
    filter.action.type = 0x5003;
    filter.action.calloutKey = a_key;
    filter.filterCondition = conditions;
    add(FWP_UINT32, (void *)0xc0000205);
    add(FWP_UINT64, &big);
    add(FWP_INT64, &negative);
    add(FWP_DOUBLE, &number);
    add(FWP_BYTE_ARRAY16_TYPE, &sixteen);
    add(FWP_BYTE_ARRAY6_TYPE, &six);
    add(FWP_BYTE_BLOB_TYPE, &blob);
    add(FWP_SID, &sid);
    add(FWP_UNICODE_STRING_TYPE, hostile);
    add(FWP_V4_ADDR_MASK, &net);
    add(FWP_V6_ADDR_MASK, &net6);
    add(FWP_RANGE_TYPE, &range);
    add(FWP_UINT64, NULL);
    add(FWP_SECURITY_DESCRIPTOR_TYPE, NULL);
    add((FWP_DATA_TYPE)0x4711, (void *)0x10);
    return TRUE;
}

KIND(Session, FWPM_SESSION0, 1, &session)
KIND(Provider, FWPM_PROVIDER0, 300, &provider)
KIND(SubLayer, FWPM_SUBLAYER0, 1, &sublayer)
KIND(Layer, FWPM_LAYER0, 1, &layer)
KIND(Callout, FWPM_CALLOUT0, 1, &callout)
KIND(Filter, FWPM_FILTER0, 1, &filter)

/* Provider contexts are refused. */
EXPORT DWORD WINAPI FwpmProviderContextCreateEnumHandle0(HANDLE engine, const void *template, HANDLE *out)
{
    (void)engine, (void)template, (void)out;
    return 5;
}
EXPORT DWORD WINAPI FwpmProviderContextDestroyEnumHandle0(HANDLE engine, HANDLE handle)
{
    (void)engine, (void)handle;
    return 0;
}
EXPORT DWORD WINAPI FwpmProviderContextEnum0(HANDLE engine, HANDLE handle, UINT32 wanted, void ***entries, UINT32 *count)
{
    (void)engine, (void)handle, (void)wanted, (void)entries, (void)count;
    return 5;
}

/*
 * What the filter engine holds, by the management functions of user mode: Windows' fwpuclnt.dll and the reference guest's
 * are asked alike. The reply is a list for each kind of object; numbers and keys are as the functions give them, names are
 * escaped to ASCII whatever is in them. The harness makes XML of it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "probe.h"

#include <fwpmu.h>
#include <sddl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wfpmodel_ioctl.h"

enum { AT_ONCE = 256, BLOB_MAX = 4096, ENTRIES_MAX = 65536, WAIT_MS = 3000, DEPTH_MAX = 2 };

typedef DWORD(WINAPI *OPEN)(const wchar_t *, UINT32, void *, const FWPM_SESSION0 *, HANDLE *);
typedef DWORD(WINAPI *CLOSE)(HANDLE);
typedef void(WINAPI *FREE)(void **);
typedef DWORD(WINAPI *CREATE)(HANDLE, const void *, HANDLE *);
typedef DWORD(WINAPI *NEXT)(HANDLE, HANDLE, UINT32, void ***, UINT32 *);
typedef DWORD(WINAPI *DESTROY)(HANDLE, HANDLE);

typedef struct engine {
    HMODULE library;
    HANDLE handle;
    FREE release;
    text_buffer *text;
    text_buffer errors;
} engine;

static FARPROC function(const engine *engine, const char *format, const char *noun)
{
    char name[64];
    snprintf(name, sizeof name, format, noun);
    return GetProcAddress(engine->library, name);
}

/* ---- pieces ---- */

static void put_text(text_buffer *text, const char *key, const wchar_t *value)
{
    text_add(text, ",\"%s\":", key);
    if (!value) {
        text_add(text, "null");
        return;
    }
    text_add(text, "\"");
    for (; *value; value++) {
        if (*value < 0x20 || *value > 0x7e || *value == '"' || *value == '\\')
            text_add(text, "\\u%04x", (unsigned)*value);
        else
            text_add(text, "%c", (char)*value);
    }
    text_add(text, "\"");
}

static void put_guid(text_buffer *text, const char *key, const GUID *guid)
{
    text_add(text, ",\"%s\":", key);
    if (guid)
        text_add(text, "\"%08lx-%04x-%04x-%02x%02x-%02x%02x%02x%02x%02x%02x\"", guid->Data1, guid->Data2, guid->Data3,
                 guid->Data4[0], guid->Data4[1], guid->Data4[2], guid->Data4[3], guid->Data4[4], guid->Data4[5], guid->Data4[6],
                 guid->Data4[7]);
    else
        text_add(text, "null");
}

static void put_hex(text_buffer *text, const char *key, const void *bytes, size_t size)
{
    text_add(text, ",\"%s\":\"", key);
    if (bytes)
        text_add_hex(text, bytes, size);
    text_add(text, "\"");
}

static void put_blob(text_buffer *text, const char *key, const FWP_BYTE_BLOB *blob)
{
    size_t size = blob ? blob->size : 0;
    put_hex(text, key, blob ? blob->data : NULL, size < BLOB_MAX ? size : BLOB_MAX);
    text_add(text, ",\"%s_size\":%zu", key, size);
}

static void put_number(text_buffer *text, const char *key, unsigned long long number)
{
    text_add(text, ",\"%s\":%llu", key, number);
}

static void put_display(text_buffer *text, const FWPM_DISPLAY_DATA0 *data)
{
    put_text(text, "name", data->name);
    put_text(text, "description", data->description);
}

static void put_sid(text_buffer *text, const char *key, PSID sid)
{
    wchar_t *words = NULL;
    if (sid && !ConvertSidToStringSidW(sid, &words))
        words = NULL;
    put_text(text, key, words);
    LocalFree(words);
}

static void put_descriptor(text_buffer *text, const FWP_BYTE_BLOB *blob)
{
    enum { WHAT = OWNER_SECURITY_INFORMATION | GROUP_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION };
    wchar_t *words = NULL;
    if (blob && blob->data &&
        !ConvertSecurityDescriptorToStringSecurityDescriptorW(blob->data, SDDL_REVISION_1, WHAT, &words, NULL))
        words = NULL;
    put_text(text, "text", words);
    LocalFree(words);
}

/* FWP_VALUE0 is how FWP_CONDITION_VALUE0 begins, and has fewer types. What is NULL where it should not be stays out. */
static void put_value(text_buffer *text, const char *key, const FWP_CONDITION_VALUE0 *value, int depth)
{
    text_add(text, "%s\"%s\":{\"type\":%u", depth ? "," : "", key, (unsigned)value->type);
    switch ((unsigned)value->type) {
    case FWP_UINT8: put_number(text, "number", value->uint8); break;
    case FWP_UINT16: put_number(text, "number", value->uint16); break;
    case FWP_UINT32: put_number(text, "number", value->uint32); break;
    case FWP_INT8: text_add(text, ",\"number\":%d", value->int8); break;
    case FWP_INT16: text_add(text, ",\"number\":%d", value->int16); break;
    case FWP_INT32: text_add(text, ",\"number\":%d", (int)value->int32); break;
    case FWP_FLOAT: put_hex(text, "hex", &value->float32, sizeof value->float32); break;
    case FWP_UINT64:
        if (value->uint64)
            put_number(text, "number", *value->uint64);
        break;
    case FWP_INT64:
        if (value->int64)
            text_add(text, ",\"number\":%lld", (long long)*value->int64);
        break;
    case FWP_DOUBLE: put_hex(text, "hex", value->double64, value->double64 ? sizeof *value->double64 : 0); break;
    case FWP_BYTE_ARRAY16_TYPE: put_hex(text, "hex", value->byteArray16, 16); break;
    case FWP_BYTE_ARRAY6_TYPE: put_hex(text, "hex", value->byteArray6, 6); break;
    case FWP_BYTE_BLOB_TYPE: put_blob(text, "hex", value->byteBlob); break;
    case FWP_SID: put_sid(text, "text", value->sid); break;
    case FWP_SECURITY_DESCRIPTOR_TYPE: put_descriptor(text, value->sd); break;
    case FWP_UNICODE_STRING_TYPE: put_text(text, "text", value->unicodeString); break;
    case FWP_V4_ADDR_MASK:
        if (value->v4AddrMask) {
            put_number(text, "number", value->v4AddrMask->addr);
            put_number(text, "mask", value->v4AddrMask->mask);
        }
        break;
    case FWP_V6_ADDR_MASK:
        if (value->v6AddrMask) {
            put_hex(text, "hex", value->v6AddrMask->addr, 16);
            put_number(text, "mask", value->v6AddrMask->prefixLength);
        }
        break;
    case FWP_RANGE_TYPE:
        if (value->rangeValue && depth < DEPTH_MAX) {
            put_value(text, "low", (const FWP_CONDITION_VALUE0 *)&value->rangeValue->valueLow, depth + 1);
            put_value(text, "high", (const FWP_CONDITION_VALUE0 *)&value->rangeValue->valueHigh, depth + 1);
        }
        break;
    default: break;
    }
    text_add(text, "}");
}

/* ---- one object each, behind its opening brace and first member ---- */

static void put_session(text_buffer *text, const void *entry)
{
    const FWPM_SESSION0 *session = entry;
    put_guid(text, "key", &session->sessionKey);
    put_display(text, &session->displayData);
    put_number(text, "flags", session->flags);
    put_number(text, "wait_ms", session->txnWaitTimeoutInMSec);
    put_number(text, "process_id", session->processId);
    put_sid(text, "sid", session->sid);
    put_text(text, "user", session->username);
    put_number(text, "kernel", session->kernelMode != 0);
}

static void put_provider(text_buffer *text, const void *entry)
{
    const FWPM_PROVIDER0 *provider = entry;
    put_guid(text, "key", &provider->providerKey);
    put_display(text, &provider->displayData);
    put_number(text, "flags", provider->flags);
    put_blob(text, "data", &provider->providerData);
    put_text(text, "service", provider->serviceName);
}

static void put_sublayer(text_buffer *text, const void *entry)
{
    const FWPM_SUBLAYER0 *sublayer = entry;
    put_guid(text, "key", &sublayer->subLayerKey);
    put_display(text, &sublayer->displayData);
    put_number(text, "flags", sublayer->flags);
    put_guid(text, "provider", sublayer->providerKey);
    put_blob(text, "data", &sublayer->providerData);
    put_number(text, "weight", sublayer->weight);
}

static void put_context(text_buffer *text, const void *entry)
{
    const FWPM_PROVIDER_CONTEXT0 *context = entry;
    put_guid(text, "key", &context->providerContextKey);
    put_display(text, &context->displayData);
    put_number(text, "flags", context->flags);
    put_guid(text, "provider", context->providerKey);
    put_blob(text, "data", &context->providerData);
    put_number(text, "kind", (unsigned)context->type);
    put_number(text, "number", context->providerContextId);
    if (context->type == FWPM_GENERAL_CONTEXT)
        put_blob(text, "content", context->dataBuffer);
}

static void put_layer(text_buffer *text, const void *entry)
{
    const FWPM_LAYER0 *layer = entry;
    put_guid(text, "key", &layer->layerKey);
    put_display(text, &layer->displayData);
    put_number(text, "flags", layer->flags);
    put_number(text, "fields", layer->numFields);
    put_guid(text, "sublayer", &layer->defaultSubLayerKey);
    put_number(text, "number", layer->layerId);
}

static void put_callout(text_buffer *text, const void *entry)
{
    const FWPM_CALLOUT0 *callout = entry;
    put_guid(text, "key", &callout->calloutKey);
    put_display(text, &callout->displayData);
    put_number(text, "flags", callout->flags);
    put_guid(text, "provider", callout->providerKey);
    put_blob(text, "data", &callout->providerData);
    put_guid(text, "layer", &callout->applicableLayer);
    put_number(text, "number", callout->calloutId);
}

static void put_filter(text_buffer *text, const void *entry)
{
    const FWPM_FILTER0 *filter = entry;
    put_guid(text, "key", &filter->filterKey);
    put_display(text, &filter->displayData);
    put_number(text, "flags", filter->flags);
    put_guid(text, "provider", filter->providerKey);
    put_blob(text, "data", &filter->providerData);
    put_guid(text, "layer", &filter->layerKey);
    put_guid(text, "sublayer", &filter->subLayerKey);
    put_value(text, "weight", (const FWP_CONDITION_VALUE0 *)&filter->weight, 1);
    put_value(text, "effective_weight", (const FWP_CONDITION_VALUE0 *)&filter->effectiveWeight, 1);
    put_number(text, "action", filter->action.type);
    put_guid(text, "callout", &filter->action.calloutKey); /* or filterType; which of them the action says */
    if (filter->flags & 4 /* FWPM_FILTER_FLAG_HAS_PROVIDER_CONTEXT */)
        put_guid(text, "context", &filter->providerContextKey);
    else
        put_number(text, "raw_context", filter->rawContext);
    put_number(text, "number", filter->filterId);
    text_add(text, ",\"conditions\":[");
    for (UINT32 i = 0; i < filter->numFilterConditions; i++) {
        const FWPM_FILTER_CONDITION0 *condition = &filter->filterCondition[i];
        text_add(text, "%s{\"match\":%u", i ? "," : "", (unsigned)condition->matchType);
        put_guid(text, "field", &condition->fieldKey);
        put_value(text, "value", &condition->conditionValue, 1);
        text_add(text, "}");
    }
    text_add(text, "]");
}

/* ---- lists ---- */

static void failed(engine *engine, const char *what, DWORD error)
{
    text_add(&engine->errors, "%s{\"what\":\"%s\",\"code\":%lu}", engine->errors.length ? "," : "", what, error);
}

static UINT32 put_some(engine *engine, void **entries, UINT32 count, UINT32 before, void (*put)(text_buffer *, const void *))
{
    for (UINT32 i = 0; i < count; i++) {
        text_add(engine->text, "%s{\"at\":%u", before + i ? "," : "", before + i);
        put(engine->text, entries[i]);
        text_add(engine->text, "}");
    }
    return before + count;
}

static void put_all(engine *engine, const char *key, const char *noun, void (*put)(text_buffer *, const void *))
{
    CREATE create = (CREATE)(void *)function(engine, "Fwpm%sCreateEnumHandle0", noun);
    NEXT next = (NEXT)(void *)function(engine, "Fwpm%sEnum0", noun);
    DESTROY destroy = (DESTROY)(void *)function(engine, "Fwpm%sDestroyEnumHandle0", noun);
    HANDLE handle = NULL;
    UINT32 count = 0, done = 0;
    DWORD error = create && next && destroy ? create(engine->handle, NULL, &handle) : ERROR_PROC_NOT_FOUND;

    text_add(engine->text, ",\"%s\":[", key);
    if (!error) {
        do {
            void **entries = NULL;
            count = 0;
            error = next(engine->handle, handle, AT_ONCE, &entries, &count);
            if (!error)
                done = put_some(engine, entries, count, done, put);
            if (entries)
                engine->release((void **)&entries);
        } while (!error && count == AT_ONCE && done < ENTRIES_MAX);
        destroy(engine->handle, handle);
    }
    text_add(engine->text, "]");
    if (error)
        failed(engine, key, error);
}

/* What only the reference guest's engine tells: whose code a callout is, and the flows. It has no such device on Windows. */
static void put_model(text_buffer *text)
{
    DWORD got = 0;
    WFPMODEL_STATE *state = calloc(1, WFPMODEL_STATE_BYTES);
    HANDLE device = CreateFileW(WFPMODEL_WIN32_DEVICE_NAME, GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE,
                                NULL, OPEN_EXISTING, 0, NULL);
    bool told = state && device != INVALID_HANDLE_VALUE &&
                DeviceIoControl(device, IOCTL_WFPMODEL_STATE, NULL, 0, state, WFPMODEL_STATE_BYTES, &got, NULL) && got >= sizeof *state &&
                sizeof *state + (uint64_t)state->callouts * sizeof(WFPMODEL_CALLOUT) + (uint64_t)state->flows * sizeof(WFPMODEL_FLOW) <= got;
    if (device != INVALID_HANDLE_VALUE)
        CloseHandle(device);
    if (told) {
        const WFPMODEL_CALLOUT *callout = (const WFPMODEL_CALLOUT *)(state + 1);
        const WFPMODEL_FLOW *flow = (const WFPMODEL_FLOW *)(callout + state->callouts);
        text_add(text, ",\"flow_count\":%u,\"registrations\":[", state->all_flows);
        for (uint32_t i = 0; i < state->callouts; i++, callout++) {
            GUID key;
            char module[sizeof callout->module + 1] = {0};
            memcpy(&key, callout->key, sizeof key);
            memcpy(module, callout->module, sizeof callout->module);
            text_add(text, "%s{\"number\":%u", i ? "," : "", callout->number);
            put_guid(text, "key", &key);
            text_add(text, ",\"version\":%u,\"contexts\":%u,\"running\":%u,\"module\":", callout->version, callout->contexts, callout->running);
            text_add_string(text, module);
            text_add(text, "}");
        }
        text_add(text, "],\"flows\":[");
        for (uint32_t i = 0; i < state->flows; i++, flow++) {
            text_add(text, "%s{\"number\":%llu", i ? "," : "", (unsigned long long)flow->number);
            put_hex(text, "local", flow->local, 16);
            put_hex(text, "remote", flow->remote, 16);
            put_hex(text, "original", flow->original, 16);
            text_add(text, ",\"local_port\":%u,\"remote_port\":%u,\"original_port\":%u,\"protocol\":%u,\"flags\":%u,\"contexts\":%u,\"process_id\":%u}",
                     flow->local_port, flow->remote_port, flow->original_port, flow->protocol, flow->flags, flow->contexts,
                     flow->process_id);
        }
        text_add(text, "]");
    }
    free(state);
}

static void state(json_request *request)
{
    static const struct { const char *key, *noun; void (*put)(text_buffer *, const void *); } kinds[] = {
        {"sessions", "Session", put_session}, {"providers", "Provider", put_provider}, {"provider_contexts", "ProviderContext", put_context},
        {"sublayers", "SubLayer", put_sublayer}, {"layers", "Layer", put_layer}, {"callouts", "Callout", put_callout},
        {"filters", "Filter", put_filter},
    };
    FWPM_SESSION0 session = {.displayData.name = (wchar_t *)L"wfpprobe wfp_state", .txnWaitTimeoutInMSec = WAIT_MS};
    text_buffer text = {0};
    engine engine = {.library = LoadLibraryW(L"fwpuclnt.dll"), .text = &text};
    OPEN open = (OPEN)(void *)function(&engine, "%sEngineOpen0", "Fwpm");
    CLOSE close = (CLOSE)(void *)function(&engine, "%sEngineClose0", "Fwpm");
    engine.release = (FREE)(void *)function(&engine, "%sFreeMemory0", "Fwpm");
    DWORD error = open && close && engine.release ? open(NULL, 10 /* RPC_C_AUTHN_WINNT */, NULL, &session, &engine.handle) : ERROR_PROC_NOT_FOUND;
    if (error) {
        reply_win32(request, error, "Opening the filter engine");
        return;
    }
    reply_begin(&text, request);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        put_all(&engine, kinds[i].key, kinds[i].noun, kinds[i].put);
    close(engine.handle);
    put_model(&text);
    text_add(&text, ",\"errors\":[%s]", engine.errors.data ? engine.errors.data : "");
    free(engine.errors.data);
    reply_send(&text);
}

bool state_op(const char *op, json_request *request)
{
    if (strcmp(op, "wfp_state"))
        return false;
    run_apart(state, request);
    return true;
}

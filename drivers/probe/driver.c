/* The front end to the IOCTLs of wfpcallout.sys. SPDX-License-Identifier: MIT */
#include "probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wfpcallout_ioctl.h"

static SRWLOCK device_lock = SRWLOCK_INIT;
static HANDLE device = INVALID_HANDLE_VALUE;

static HANDLE open_device(const char *path)
{
    wchar_t name[128];
    MultiByteToWideChar(CP_UTF8, 0, path, -1, name, 128);
    return CreateFileW(name, GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, OPEN_EXISTING, 0,
                       NULL);
}

static void close_device(void)
{
    AcquireSRWLockExclusive(&device_lock);
    if (device != INVALID_HANDLE_VALUE)
        CloseHandle(device);
    device = INVALID_HANDLE_VALUE;
    ReleaseSRWLockExclusive(&device_lock);
}

static const char default_device[] = "\\\\.\\WfpCallout";

/* A request may name another driver's device; NULL: it does not. */
static const char *named_device(const json_request *request)
{
    return request && json_has(request, "device") ? json_text(request, "device", default_device) : NULL;
}

/*
 * One IOCTL. Unless drv_open asked for a handle that stays, it has one of its own: Windows does not unload a driver while a
 * handle to its device is open, and a kept one would be stale after the driver was loaded anew.
 */
static DWORD control(const json_request *request, DWORD code, const void *in, DWORD in_size, void *out, DWORD out_size, DWORD *got)
{
    DWORD error = 0;
    const char *named = named_device(request);
    AcquireSRWLockShared(&device_lock);
    HANDLE kept = named ? INVALID_HANDLE_VALUE : device;
    HANDLE mine = kept != INVALID_HANDLE_VALUE ? kept : open_device(named ? named : default_device);
    if (mine == INVALID_HANDLE_VALUE || !DeviceIoControl(mine, code, (void *)in, in_size, out, out_size, got, NULL))
        error = GetLastError();
    if (mine != kept)
        CloseHandle(mine);
    ReleaseSRWLockShared(&device_lock);
    return error;
}

DWORD driver_control(DWORD code, const void *in, DWORD in_size, void *out, DWORD out_size)
{
    DWORD got = 0;
    return control(NULL, code, in, in_size, out, out_size, &got);
}

static void take_address(const json_request *request, const char *key, uint8_t out[16])
{
    const char *text = json_text(request, key, "");
    struct in6_addr v6;
    struct in_addr v4;
    memset(out, 0, 16);
    if (inet_pton(AF_INET, text, &v4) == 1)
        memcpy(out, &v4, 4);
    else if (inet_pton(AF_INET6, text, &v6) == 1)
        memcpy(out, &v6, 16);
}

static void put_address(text_buffer *text, const char *key, const uint8_t address[16], int family)
{
    char host[64] = "";
    if (family)
        inet_ntop(family == 6 ? AF_INET6 : AF_INET, (void *)address, host, sizeof host);
    text_add(text, ",\"%s\":\"%s\"", key, host);
}

static void reply_status(json_request *request, DWORD error, const WFPCALLOUT_RESULT *result, const char *value,
                         const char *what)
{
    if (error) {
        reply_win32(request, error, what);
        return;
    }
    text_buffer text = {0};
    bool failed = result->status < 0;
    if (failed)
        text_add(&text, "{\"id\":%lld,\"ok\":false,\"error\":\"NTSTATUS_%08X\",\"code\":%u,\"ntstatus\":%u",
                 (long long)json_number(request, "id", 0), (unsigned)result->status, (unsigned)result->status,
                 (unsigned)result->status);
    else
        reply_begin(&text, request);
    text_add(&text, ",\"status\":%u,\"%s\":%llu", (unsigned)result->status, value,
             (unsigned long long)result->value);
    if (failed) {
        text_add(&text, ",\"message\":");
        text_add_string(&text, what);
    }
    reply_send(&text);
}

static void add_rule(json_request *request)
{
    WFPCALLOUT_RULE rule = {0};
    WFPCALLOUT_RESULT result = {0};
    DWORD got = 0;
#define FIELD(name) rule.name = (__typeof__(rule.name))json_number(request, #name, 0)
    FIELD(layer); FIELD(action); FIELD(slot); FIELD(filter_action); FIELD(weight); FIELD(protocol); FIELD(family);
    FIELD(flags); FIELD(max_hits); FIELD(local_port); FIELD(remote_port); FIELD(new_port); FIELD(context_layer);
    FIELD(target_pid); FIELD(context); FIELD(stream_offset); FIELD(stream_length); FIELD(stream_direction);
#undef FIELD
    take_address(request, "local_addr", rule.local_addr);
    take_address(request, "remote_addr", rule.remote_addr);
    take_address(request, "new_addr", rule.new_addr);
    int pattern = hex_decode(json_text(request, "pattern", ""), rule.pattern, sizeof rule.pattern);
    int replacement = hex_decode(json_text(request, "replacement", ""), rule.replacement, sizeof rule.replacement);
    if (pattern < 0 || replacement < 0) {
        reply_error(request, "BadHex", 0, "'pattern' and 'replacement' are hexadecimal and at most 64 bytes long.");
        return;
    }
    rule.pattern_length = (uint16_t)pattern;
    rule.replacement_length = (uint16_t)replacement;
    DWORD error = control(request, IOCTL_WFPCALLOUT_ADD_RULE, &rule, sizeof rule, &result, sizeof result, &got);
    reply_status(request, error, &result, "rule", "The driver did not take the rule.");
}

static void remove_rule(json_request *request)
{
    uint64_t id = (uint64_t)json_number(request, "rule", 0);
    WFPCALLOUT_RESULT result = {0};
    DWORD got = 0;
    DWORD error = control(request, IOCTL_WFPCALLOUT_REMOVE_RULE, &id, sizeof id, &result, sizeof result, &got);
    reply_status(request, error, &result, "value", "The driver did not remove the rule.");
}

static void clear_rules(json_request *request)
{
    WFPCALLOUT_RESULT result = {0};
    DWORD got = 0;
    DWORD error = control(request, IOCTL_WFPCALLOUT_CLEAR_RULES, NULL, 0, &result, sizeof result, &got);
    reply_status(request, error, &result, "removed", "The driver did not remove its rules.");
}

static void version(json_request *request)
{
    uint32_t number = 0;
    DWORD got = 0;
    DWORD error = control(request, IOCTL_WFPCALLOUT_GET_VERSION, NULL, 0, &number, sizeof number, &got);
    if (error) {
        reply_win32(request, error, "Asking the driver for its version");
        return;
    }
    text_buffer text = {0};
    reply_begin(&text, request);
    text_add(&text, ",\"version\":%u", number);
    reply_send(&text);
}

static void put_event(text_buffer *text, const WFPCALLOUT_EVENT *event)
{
    text_add(text, "{\"seq\":%llu", (unsigned long long)event->seq);
#define FIELD(name) text_add(text, ",\"" #name "\":%llu", (unsigned long long)event->name)
    FIELD(time_100ns); FIELD(kind); FIELD(irql); FIELD(layer); FIELD(action); FIELD(rights); FIELD(rule);
    FIELD(filter_id); FIELD(flow_id); FIELD(flow_context); FIELD(value); FIELD(local_port); FIELD(remote_port);
    FIELD(new_port); FIELD(protocol); FIELD(family); FIELD(process_id); FIELD(condition_flags); FIELD(metadata);
    FIELD(data_length); FIELD(injection_state); FIELD(redirect_state); FIELD(slot); FIELD(stream_action); FIELD(stream_offset);
    FIELD(stream_flags); FIELD(stream_missed); FIELD(stream_enforced); FIELD(classify_flags); FIELD(reauthorize_reason);
#undef FIELD
    text_add(text, ",\"status\":%u", (unsigned)event->status);
    put_address(text, "local_addr", event->local_addr, event->family);
    put_address(text, "remote_addr", event->remote_addr, event->family);
    put_address(text, "new_addr", event->new_addr, event->family);
    text_add(text, "}");
}

/* Events off the driver's ring, `max` at once; the caller frees them. */
static WFPCALLOUT_EVENTS *read_events(const json_request *request, DWORD *error)
{
    DWORD most = (DWORD)json_number(request, "max", 256);
    most = most < 1 ? 1 : most > 4096 ? 4096 : most;
    DWORD size = (DWORD)(sizeof(WFPCALLOUT_EVENTS) + most * sizeof(WFPCALLOUT_EVENT)), got = 0;
    WFPCALLOUT_EVENTS *head = calloc(1, size);
    if (!head) {
        *error = ERROR_NO_SYSTEM_RESOURCES;
        return NULL;
    }
    *error = control(request, IOCTL_WFPCALLOUT_READ_EVENTS, NULL, 0, head, size, &got);
    if (!*error && (got < sizeof *head || head->event_size != sizeof(WFPCALLOUT_EVENT) ||
                    sizeof *head + (uint64_t)head->count * head->event_size > got))
        *error = ERROR_REVISION_MISMATCH;
    return head;
}

static void put_events(text_buffer *text, const WFPCALLOUT_EVENTS *head)
{
    const WFPCALLOUT_EVENT *event = (const WFPCALLOUT_EVENT *)(head + 1);
    text_add(text, ",\"dropped\":%llu,\"next_seq\":%llu,\"events\":[", (unsigned long long)head->dropped,
             (unsigned long long)head->next_seq);
    for (uint32_t i = 0; i < head->count; i++) {
        if (i)
            text_add(text, ",");
        put_event(text, &event[i]);
    }
    text_add(text, "]");
}

static void put_stats(text_buffer *text, const WFPCALLOUT_STATS *stats)
{
#define FIELD(name) text_add(text, ",\"" #name "\":%llu", (unsigned long long)stats->name)
    FIELD(rules); FIELD(flow_contexts); FIELD(pending_injections); FIELD(held_clones); FIELD(injected);
    FIELD(inject_failed); FIELD(events_dropped); FIELD(injection_handles); FIELD(redirect_handles);
    FIELD(pended);
#undef FIELD
}

static void events(json_request *request)
{
    DWORD error;
    WFPCALLOUT_EVENTS *head = read_events(request, &error);
    if (error) {
        reply_win32(request, error, "Reading events");
    } else {
        text_buffer text = {0};
        reply_begin(&text, request);
        put_events(&text, head);
        reply_send(&text);
    }
    free(head);
}

/* What waits inside the driver has a handle of its own: I/O on one synchronous handle is serialised. */
static DWORD wait_in_driver(const json_request *request, DWORD code, void *in, DWORD in_size, WFPCALLOUT_RESULT *result)
{
    DWORD got = 0, error = 0;
    const char *named = named_device(request);
    HANDLE own = open_device(named ? named : default_device);
    if (own == INVALID_HANDLE_VALUE || !DeviceIoControl(own, code, in, in_size, result, sizeof *result, &got, NULL))
        error = GetLastError();
    if (own != INVALID_HANDLE_VALUE)
        CloseHandle(own);
    return error;
}

static DWORD wait_for_driver(json_request *request, WFPCALLOUT_RESULT *result)
{
    uint32_t timeout = (uint32_t)json_number(request, "timeout_ms", 10000);
    return wait_in_driver(request, IOCTL_WFPCALLOUT_DRAIN, &timeout, sizeof timeout, result);
}

static void pended(json_request *request)
{
    enum { PENDED_WAIT_MS = 20 };
    const uint32_t IO_TIMEOUT = 0xC00000B5; /* an NTSTATUS */
    WFPCALLOUT_PENDED wanted = {0};
    WFPCALLOUT_RESULT result = {0};
    wanted.rule = (uint64_t)json_number(request, "rule", 0);
    ULONGLONG end = GetTickCount64() + (ULONGLONG)json_number(request, "timeout_ms", 10000);
    DWORD error;
    /* In short waits: the reference guest hands its drivers one request at a time, and the connect that is to be put off
     * comes to the engine as one. */
    do {
        wanted.milliseconds = PENDED_WAIT_MS;
        error = wait_in_driver(request, IOCTL_WFPCALLOUT_PENDED, &wanted, sizeof wanted, &result);
    } while (!error && (uint32_t)result.status == IO_TIMEOUT && GetTickCount64() < end);
    reply_status(request, error, &result, "number", "Nothing was put off.");
}

static void complete(json_request *request)
{
    WFPCALLOUT_COMPLETE order = {0};
    WFPCALLOUT_RESULT result = {0};
    DWORD got = 0;
    order.number = (uint64_t)json_number(request, "number", 0);
    order.action = (uint8_t)json_number(request, "action", 0);
    order.new_port = (uint16_t)json_number(request, "new_port", 0);
    order.target_pid = (uint32_t)json_number(request, "target_pid", 0);
    order.context = (uint64_t)json_number(request, "context", 0);
    take_address(request, "new_addr", order.new_addr);
    DWORD error = control(request, IOCTL_WFPCALLOUT_COMPLETE, &order, sizeof order, &result, sizeof result, &got);
    reply_status(request, error, &result, "value", "This is not put off, or was completed before.");
}

static void drain(json_request *request)
{
    WFPCALLOUT_RESULT result = {0};
    DWORD error = wait_for_driver(request, &result);
    reply_status(request, error, &result, "seq", "The driver still has work or injections pending.");
}

/* Rules away, a drain, then events and counters: what is asked after every scenario, in one round trip. */
static void settle(json_request *request)
{
    WFPCALLOUT_RESULT result = {0};
    WFPCALLOUT_STATS stats = {0};
    WFPCALLOUT_EVENTS *head = NULL;
    DWORD got = 0;
    DWORD error = control(request, IOCTL_WFPCALLOUT_CLEAR_RULES, NULL, 0, &result, sizeof result, &got);
    if (!error && result.status >= 0)
        error = wait_for_driver(request, &result);
    if (error || result.status < 0) {
        reply_status(request, error, &result, "seq", "The driver still has rules, work or injections pending.");
        return;
    }
    head = read_events(request, &error);
    if (!error)
        error = control(request, IOCTL_WFPCALLOUT_GET_STATS, NULL, 0, &stats, sizeof stats, &got);
    if (error) {
        reply_win32(request, error, "Reading the driver's events and counters");
    } else {
        text_buffer text = {0};
        reply_begin(&text, request);
        text_add(&text, ",\"seq\":%llu", (unsigned long long)result.value);
        put_events(&text, head);
        put_stats(&text, &stats);
        reply_send(&text);
    }
    free(head);
}

static void stats(json_request *request)
{
    WFPCALLOUT_STATS stats = {0};
    DWORD got = 0;
    DWORD error = control(request, IOCTL_WFPCALLOUT_GET_STATS, NULL, 0, &stats, sizeof stats, &got);
    if (error) {
        reply_win32(request, error, "Reading the driver's counters");
        return;
    }
    text_buffer text = {0};
    reply_begin(&text, request);
    put_stats(&text, &stats);
    text_add(&text, ",\"events\":%llu", (unsigned long long)stats.events);
    reply_send(&text);
}

static void inject(json_request *request)
{
    const char *hex = json_text(request, "hex", "");
    size_t capacity = strlen(hex) / 2;
    WFPCALLOUT_INJECT *packet = calloc(1, sizeof *packet + capacity + 1);
    WFPCALLOUT_RESULT result = {0};
    DWORD got = 0;
    int size = packet && capacity <= 0xFFFF ? hex_decode(hex, (unsigned char *)(packet + 1), capacity) : -1;
    if (size < 0) {
        reply_error(request, "BadHex", 0, "'hex' is an even number of hexadecimal digits, at most 65535 bytes.");
        free(packet);
        return;
    }
    packet->path = (uint8_t)json_number(request, "path", 0);
    packet->family = (uint8_t)json_number(request, "family", 4);
    packet->length = (uint16_t)size;
    packet->interface_index = (uint32_t)json_number(request, "interface_index", 0);
    take_address(request, "local_addr", packet->local_addr);
    take_address(request, "remote_addr", packet->remote_addr);
    DWORD error = control(request, IOCTL_WFPCALLOUT_INJECT, packet, (DWORD)sizeof *packet + (DWORD)size, &result, sizeof result,
                          &got);
    reply_status(request, error, &result, "value", "The driver could not inject.");
    free(packet);
}

static void lab(json_request *request)
{
    WFPCALLOUT_LAB call = {0};
    WFPCALLOUT_RESULT result = {0};
    DWORD got = 0;
    call.op = (uint32_t)json_number(request, "op_code", 0);
#define FIELD(name) call.name = (__typeof__(call.name))json_number(request, #name, 0)
    FIELD(layer); FIELD(weight); FIELD(action); FIELD(flags); FIELD(local_port); FIELD(remote_port); FIELD(protocol);
    FIELD(family); FIELD(value);
#undef FIELD
    take_address(request, "local_addr", call.local_addr);
    take_address(request, "remote_addr", call.remote_addr);
    if (hex_decode(json_text(request, "key", ""), call.key, 16) < 0 ||
        hex_decode(json_text(request, "key2", ""), call.key2, 16) < 0) {
        reply_error(request, "BadHex", 0, "'key' and 'key2' are 32 hexadecimal digits: a GUID as in memory.");
        return;
    }
    DWORD error = control(request, IOCTL_WFPCALLOUT_LAB, &call, sizeof call, &result, sizeof result, &got);
    reply_status(request, error, &result, "value", "WFP refused the call.");
}

static void open_op(json_request *request)
{
    const char *path = json_text(request, "device", default_device);
    close_device();
    AcquireSRWLockExclusive(&device_lock);
    device = open_device(path);
    DWORD error = device == INVALID_HANDLE_VALUE ? GetLastError() : 0;
    ReleaseSRWLockExclusive(&device_lock);
    if (error)
        reply_win32(request, error, "Opening the device");
    else
        reply_ok(request);
}

static void close_op(json_request *request)
{
    close_device();
    reply_ok(request);
}

static void raw_ioctl(json_request *request)
{
    const char *hex = json_text(request, "in_hex", "");
    size_t capacity = strlen(hex) / 2;
    DWORD out_size = (DWORD)json_number(request, "out_size", 0), got = 0;
    if (out_size > 1 << 20)
        out_size = 1 << 20;
    unsigned char *in = calloc(1, capacity + 1), *out = calloc(1, (size_t)out_size + 1);
    int size = in && out ? hex_decode(hex, in, capacity) : -1;
    if (size < 0) {
        reply_error(request, "BadHex", 0, "'in_hex' is an even number of hexadecimal digits.");
    } else {
        DWORD error = control(request, (DWORD)json_number(request, "code", 0), in, (DWORD)size, out, out_size, &got);
        if (error) {
            reply_win32(request, error, "DeviceIoControl");
        } else {
            text_buffer text = {0};
            reply_begin(&text, request);
            text_add(&text, ",\"status\":0,\"out_hex\":\"");
            text_add_hex(&text, out, got);
            text_add(&text, "\"");
            reply_send(&text);
        }
    }
    free(in);
    free(out);
}

bool driver_op(const char *op, json_request *request)
{
    static const struct { const char *op; void (*function)(json_request *); bool apart; } operations[] = {
        {"drv_version", version, false}, {"drv_add_rule", add_rule, false}, {"drv_remove_rule", remove_rule, false},
        {"drv_clear", clear_rules, false}, {"drv_events", events, false}, {"drv_drain", drain, true}, {"drv_settle", settle, true},
        {"drv_stats", stats, false}, {"drv_inject", inject, false}, {"drv_lab", lab, true},
        {"drv_pended", pended, true}, {"drv_complete", complete, true},
        {"drv_open", open_op, false}, {"drv_close", close_op, false}, {"drv_ioctl", raw_ioctl, true},
    };
    for (size_t i = 0; i < sizeof operations / sizeof operations[0]; i++) {
        if (!strcmp(operations[i].op, op)) {
            if (operations[i].apart)
                run_apart(operations[i].function, request);
            else
                operations[i].function(request);
            return true;
        }
    }
    return false;
}

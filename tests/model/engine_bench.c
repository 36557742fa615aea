/*
 * How many packets a second the engine takes on one thread: `make bench` runs it under Wine. One line a case:
 * name, packets, seconds of the clock, seconds of this thread's processor time.
 *
 * SPDX-License-Identifier: MIT
 */
#include "rig.h"

enum { ROUNDS = 300000 };
static volatile LONG64 asked;

static void NTAPI count_classify(const FWPS_INCOMING_VALUES0 *values, const FWPS_INCOMING_METADATA_VALUES0 *metadata, void *data,
                                 const void *context, const FWPS_FILTER1 *filter, UINT64 flow_context, FWPS_CLASSIFY_OUT0 *out)
{
    (void)values, (void)metadata, (void)data, (void)context, (void)filter, (void)flow_context;
    asked++;
    out->actionType = ACTION_PERMIT;
}

static NTSTATUS NTAPI quiet(UINT32 type, const GUID *key, FWPS_FILTER1 *filter)
{
    (void)type, (void)key, (void)filter;
    return STATUS_SUCCESS;
}

static UINT32 one_callout(UINT16 layer)
{
    FWPS_CALLOUT c = {.calloutKey = key_of(900), .classifyFn = (void *)count_classify, .notifyFn = quiet};
    UINT32 id = 0, added;
    FwpsCalloutRegister1(&engine, &c, &id);
    add_callout(900, layer, &added);
    add_filter(layer, 100, ACTION_CALLOUT_TERMINATING, 900, 1, 0, NULL);
    return id;
}

static double clock_seconds(void)
{
    LARGE_INTEGER now, frequency;
    QueryPerformanceCounter(&now);
    QueryPerformanceFrequency(&frequency);
    return (double)now.QuadPart / (double)frequency.QuadPart;
}

static double thread_seconds(void)
{
    FILETIME begun, ended, kernel, user;
    GetThreadTimes(GetCurrentThread(), &begun, &ended, &kernel, &user);
    return (double)(((UINT64)kernel.dwHighDateTime + user.dwHighDateTime) << 32) / 1e7 +
           ((double)kernel.dwLowDateTime + (double)user.dwLowDateTime) / 1e7;
}

static void nowhere(const uint8_t *frame, size_t length)
{
    (void)frame, (void)length;
}

/* Sends one frame again and again. */
static void run(const char *name, const uint8_t *frame, size_t length, BOOL outbound)
{
    LONG64 before = asked;
    double clock = clock_seconds(), thread = thread_seconds();
    for (int i = 0; i < ROUNDS; i++)
        (outbound ? stack_from_guest : stack_from_link)(frame, length);
    clock = clock_seconds() - clock;
    thread = thread_seconds() - thread;
    printf("%s %d %.6f %.6f %llu\n", name, ROUNDS, clock, thread, (unsigned long long)(asked - before));
}

static void bench_udp(const char *name, UINT16 layer, BOOL outbound, unsigned others, unsigned flows)
{
    uint8_t out[2048], in[2048];
    size_t out_length = build(out, GUEST, 5000, SERVER, 53, IPPROTO_UDP, 0, 0, "a question of some length, as they are");
    size_t in_length = build(in, SERVER, 53, GUEST, 5000, IPPROTO_UDP, 0, 0, "an answer of some length, as they are");
    begin();
    for (unsigned i = 0; i < flows; i++)
        guest_sends((UINT16)(20000 + i), SERVER, 53, IPPROTO_UDP, 0, 0, "one of many");
    for (unsigned i = 0; i < others; i++)
        add_filter(i % 2 ? LAYER_ALE_AUTH_CONNECT_V4 : LAYER_STREAM_V4, 200, ACTION_PERMIT, 0, 1, 0, NULL);
    UINT32 id = one_callout(layer);
    stack_from_guest(out, out_length);
    run(name, outbound ? out : in, outbound ? out_length : in_length, outbound);
    end();
    FwpsCalloutUnregisterById0(id);
}

static void bench_tcp(void)
{
    uint8_t frame[2048];
    char text[1401];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    begin();
    UINT32 id = one_callout(LAYER_INBOUND_TRANSPORT_V4);
    guest_sends(6000, SERVER, 80, IPPROTO_TCP, 2, 1000, "");
    link_sends(SERVER, 80, 6000, IPPROTO_TCP, 0x12, 2000, "");
    run("tcp-in-1400-bytes", frame, build(frame, SERVER, 80, GUEST, 6000, IPPROTO_TCP, 0x10, 2001, text), FALSE);
    end();
    FwpsCalloutUnregisterById0(id);
}

int main(void)
{
    static const uint8_t mac[6] = {2, 2, 2, 2, 2, 2};
    memcpy(wire.guest_mac, mac, 6);
    wire.to_link = wire.to_guest = nowhere;
    wire.guest[0] = address_v4(GUEST);
    wire.up = 1;
    bench_udp("udp-out-one-callout", LAYER_OUTBOUND_TRANSPORT_V4, TRUE, 0, 0);
    bench_udp("udp-in-one-callout", LAYER_INBOUND_TRANSPORT_V4, FALSE, 0, 0);
    bench_udp("udp-out-400-filters-elsewhere", LAYER_OUTBOUND_TRANSPORT_V4, TRUE, 400, 0);
    bench_udp("udp-out-1000-flows", LAYER_OUTBOUND_TRANSPORT_V4, TRUE, 0, 1000);
    bench_tcp();
    return 0;
}

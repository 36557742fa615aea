/*
 * Redirect handles, and the onward connections of proxies: with their redirect records, without them, and between two
 * drivers that both redirect.
 *
 * SPDX-License-Identifier: MIT
 */
#include "rig.h"

#include "winsock.h"

enum { PROXY_A = 8080, PROXY_B = 8081, TURNS_MAX = 8 };
enum { NOT_REDIRECTED = 0, BY_SELF = 1, BY_OTHER = 2, PREVIOUSLY_BY_SELF = 3 };
static const char program[] = "a program", proxy[] = "a proxy";
static HANDLE handles[2];
static UINT32 states[2][TURNS_MAX];
static unsigned turns[2], redirections;

/* A driver that redirects whatever it has not redirected before, whoever else has. */
static void redirect_what_is_new(struct behaviour *b, struct call *call)
{
    int driver = (int)(b - behave);
    UINT64 handle;
    void *data;
    UINT32 state = FwpsQueryConnectionRedirectState0(call->metadata->redirectRecords, handles[driver], NULL);
    states[driver][turns[driver]++ % TURNS_MAX] = state;
    call->out->actionType = ACTION_PERMIT;
    if (state == BY_SELF || state == PREVIOUSLY_BY_SELF)
        return;
    redirections++;
    FwpsAcquireClassifyHandle0(call->context, 0, &handle);
    FwpsAcquireWritableLayerDataPointer0(handle, call->filter->filterId, 0, &data, call->out);
    FWPS_CONNECT_REQUEST0 *request = data;
    SOCKADDR_IN *to = (SOCKADDR_IN *)&request->remoteAddressAndPort;
    put32((uint8_t *)&to->sin_addr, LOOPBACK);
    put16((uint8_t *)&to->sin_port, driver ? PROXY_B : PROXY_A);
    request->localRedirectHandle = handles[driver];
    request->localRedirectTargetPID = GetCurrentProcessId();
    FwpsApplyModifiedLayerData0(handle, data, 0);
    FwpsReleaseClassifyHandle0(handle);
    call->out->actionType = ACTION_PERMIT;
}

static void start(unsigned drivers, UINT32 ids[2])
{
    begin();
    memset(states, 0, sizeof states);
    turns[0] = turns[1] = redirections = 0;
    for (unsigned i = 0; i < drivers; i++) {
        FwpsRedirectHandleCreate0(NULL, 0, &handles[i]);
        add_callout(700 + i, LAYER_ALE_CONNECT_REDIRECT_V4, &ids[i]);
        register_callout(700 + i, (int)i);
        behave[i].instead = redirect_what_is_new;
        add_filter(LAYER_ALE_CONNECT_REDIRECT_V4, i ? 200 : 100, i ? ACTION_CALLOUT_TERMINATING : ACTION_CALLOUT_UNKNOWN, 700 + i, 1, 0, NULL);
    }
}

static void over(unsigned drivers, const UINT32 ids[2])
{
    end();
    winsock_client_gone(program);
    winsock_client_gone(proxy);
    for (unsigned i = 0; i < drivers; i++) {
        FwpsCalloutUnregisterById0(ids[i]);
        FwpsRedirectHandleDestroy0(handles[i]);
    }
}

static WFPMODEL_ANSWER ask(const void *client, uint32_t op, uint64_t endpoint, UINT16 local_port, UINT32 remote, UINT16 remote_port,
                           const uint8_t *bytes, size_t size)
{
    WFPMODEL_CALL call = {.op = op, .process_id = GetCurrentProcessId(), .endpoint = endpoint, .family = FAMILY_V4, .protocol = IPPROTO_TCP,
                          .local_port = local_port, .remote_port = remote_port};
    WFPMODEL_ANSWER answer;
    put32(call.remote, remote);
    winsock_call(client, &call, bytes, size, &answer, NULL, 0);
    return answer;
}

/* connect(), and the SYN that follows; with these records, if there are any. */
static void connects(const void *client, UINT16 port, const uint8_t *records, size_t size)
{
    uint64_t endpoint = size ? ask(client, WFPMODEL_SET_RECORDS, 0, 0, 0, 0, records, size).endpoint : 0;
    endpoint = ask(client, WFPMODEL_BIND, endpoint, port, 0, 0, NULL, 0).endpoint;
    ask(client, WFPMODEL_CONNECT, endpoint, 0, SERVER, 80, NULL, 0);
    guest_sends(port, SERVER, 80, IPPROTO_TCP, 2, 1000, "");
}

/* Of the connection that a proxy's socket at this port accepted from the program's. */
static size_t records_at(UINT16 proxy_port, UINT16 program_port, uint8_t out[512])
{
    WFPMODEL_CALL call = {.op = WFPMODEL_QUERY_RECORDS, .family = FAMILY_V4, .protocol = IPPROTO_TCP, .local_port = proxy_port,
                          .remote_port = program_port, .size = 512};
    WFPMODEL_ANSWER answer;
    put32(call.local, LOOPBACK);
    put32(call.remote, SERVER);
    return winsock_call(proxy, &call, NULL, 0, &answer, out, 512);
}

static void test_handles(void)
{
    GUID provider = key_of(1);
    HANDLE one = NULL, other = NULL;
    EXPECT("W118 a redirect handle is created for a provider", STATUS_OF(FwpsRedirectHandleCreate0(&provider, 0, &one)), 0);
    EXPECT("W118 which is not NULL", one != NULL, TRUE);
    FwpsRedirectHandleCreate0(&provider, 0, &other);
    EXPECT("and another is another", other && other != one, TRUE);
    FwpsRedirectHandleDestroy0(one);
    FwpsRedirectHandleDestroy0(other);
}

static void test_without_records(void)
{
    uint8_t records[512];
    UINT32 ids[2];
    start(1, ids);
    LONG link = link_frames, guest = guest_frames;
    connects(program, 7900, NULL, 0);
    EXPECT("the program's connect is redirected", states[0][0] == NOT_REDIRECTED && guest_frames == guest + 1, TRUE);
    connects(proxy, 7901, NULL, 0);
    EXPECT("W153 a proxy's connect without records is classified as not redirected", states[0][1], NOT_REDIRECTED);
    EXPECT("W153 and comes back to the proxy", redirections == 2 && guest_frames == guest + 2 && link_frames == link, TRUE);
    connects(proxy, 7902, NULL, 0);
    EXPECT("W153 however often", redirections == 3 && guest_frames == guest + 3 && link_frames == link, TRUE);
    size_t size = records_at(PROXY_A, 7900, records);
    connects(proxy, 7903, records, size);
    EXPECT("W152 W153 with them it leaves", states[0][3] == BY_SELF && redirections == 3 && link_frames == link + 1, TRUE);
    over(1, ids);
}

static void test_two_drivers(void)
{
    uint8_t records[512];
    UINT32 ids[2];
    start(2, ids);
    LONG link = link_frames;
    connects(program, 7910, NULL, 0);
    EXPECT("W125 the second driver knows that another has redirected", states[1][0], BY_OTHER);
    EXPECT("the last one's proxy has the connection", records_at(PROXY_A, 7910, records) == 0 && records_at(PROXY_B, 7910, records) != 0, TRUE);
    size_t size = records_at(PROXY_B, 7910, records);
    connects(proxy, 7911, records, size);
    EXPECT("W126 of the proxy's own connect the first knows that it redirected it before another", states[0][1], PREVIOUSLY_BY_SELF);
    EXPECT("W124 and the second that it did so last", states[1][1], BY_SELF);
    EXPECT("two redirecting drivers do not send it round", redirections == 2 && link_frames == link + 1, TRUE);
    over(2, ids);
}

static WFPMODEL_ANSWER datagram(const void *client, uint64_t endpoint, UINT16 remote_port)
{
    WFPMODEL_CALL call = {.op = WFPMODEL_DATAGRAM, .process_id = GetCurrentProcessId(), .endpoint = endpoint, .family = FAMILY_V4,
                          .protocol = IPPROTO_UDP, .remote_port = remote_port};
    WFPMODEL_ANSWER answer;
    put32(call.remote, SERVER);
    winsock_call(client, &call, (const uint8_t *)"question", 8, &answer, NULL, 0);
    return answer;
}

static uint64_t bound_datagrams(const void *client, UINT16 port)
{
    WFPMODEL_CALL call = {.op = WFPMODEL_BIND, .process_id = GetCurrentProcessId(), .family = FAMILY_V4, .protocol = IPPROTO_UDP, .local_port = port};
    WFPMODEL_ANSWER answer;
    winsock_call(client, &call, NULL, 0, &answer, NULL, 0);
    return answer.endpoint;
}

static int take(UINT32 local, uint32_t *length, uint8_t out[512])
{
    WFPMODEL_CALL call = {.op = WFPMODEL_TAKE_RECORDS, .family = FAMILY_V4, .protocol = IPPROTO_UDP, .local_port = PROXY_A, .remote_port = 7920};
    WFPMODEL_ANSWER answer;
    put32(call.local, local);
    put32(call.remote, SERVER);
    winsock_call(proxy, &call, NULL, 0, &answer, out, 512);
    *length = answer.length;
    return answer.error;
}

static void test_datagrams(void)
{
    uint8_t records[512], other[512];
    uint32_t size, none;
    UINT32 ids[2];
    WFPMODEL_ANSWER got;
    start(1, ids);
    datagram(program, bound_datagrams(program, 7920), 53);
    EXPECT("W154 the datagram that makes a flow brings its redirect records", take(0, &size, records) == 0 && size > 8, TRUE);
    EXPECT("W154 and no other does", take(0, &none, other), ERROR_NOT_FOUND);
    uint64_t onward = bound_datagrams(proxy, 7921);
    WFPMODEL_CALL set = {.op = WFPMODEL_SET_RECORDS, .endpoint = onward, .family = FAMILY_V4, .protocol = IPPROTO_UDP};
    winsock_call(proxy, &set, records, size, &got, NULL, 0);
    datagram(proxy, onward, 53);
    EXPECT("W154 passed on, they tell whose it is", states[0][1] == BY_SELF && redirections == 1, TRUE);
    winsock_call(proxy, &set, NULL, 0, &got, NULL, 0);
    datagram(proxy, onward, 54);
    EXPECT("W154 of that datagram's flow alone", states[0][2] == NOT_REDIRECTED && redirections == 2, TRUE);
    over(1, ids);
}

void test_proxies(void)
{
    test_datagrams();
    test_handles();
    test_without_records();
    test_two_drivers();
}

/* Port reservations: who gets which port with a token and without one, and tokens that callouts set. SPDX-License-Identifier: MIT */
#include "rig.h"

#include "linux.h"
#include "winsock.h"

enum { BLOCK = 23170, PORTS = 3, PROTOCOL_TCP = IPPROTO_TCP, PROTOCOL_UDP = IPPROTO_UDP };
static const char program[] = "a program", other_program[] = "another";
static UINT64 written, shown; /* tokens: by the callout, and what it found */
static UINT16 moved_to;
static BOOL applied_token;

static WFPMODEL_CALL a_call(uint32_t op, uint64_t endpoint, uint8_t protocol, UINT16 port, uint32_t value)
{
    return (WFPMODEL_CALL){.op = op, .process_id = GetCurrentProcessId(), .endpoint = endpoint, .family = FAMILY_V4, .protocol = protocol,
                           .local_port = port, .value = value};
}

/* As the program of this process id; `token` goes with the call, and is what comes with the answer. */
static WFPMODEL_ANSWER ask_as(const void *client, UINT32 pid, WFPMODEL_CALL call, UINT64 *token)
{
    WFPMODEL_ANSWER answer;
    uint8_t out[sizeof *token];
    call.process_id = pid;
    size_t size = winsock_call(client, &call, (const uint8_t *)token, token ? sizeof *token : 0, &answer, out, sizeof out);
    if (token && size == sizeof out)
        memcpy(token, out, sizeof out);
    return answer;
}

static WFPMODEL_ANSWER ask(WFPMODEL_CALL call, UINT64 *token)
{
    return ask_as(program, GetCurrentProcessId(), call, token);
}

static WFPMODEL_ANSWER bind_to(uint64_t endpoint, uint8_t protocol, UINT16 port)
{
    return ask(a_call(WFPMODEL_BIND, endpoint, protocol, port, 0), NULL);
}

/* A socket that is associated with the reservation, and not bound yet. */
static uint64_t associated(UINT64 token, uint8_t protocol, int wanted)
{
    WFPMODEL_ANSWER made = ask(a_call(WFPMODEL_ASSOCIATE_PORTS, 0, protocol, 0, 0), &token);
    EXPECT("a socket is associated with a reservation", made.error, wanted);
    return made.endpoint;
}

static BOOL in_block(UINT16 port)
{
    return port >= BLOCK && port < BLOCK + PORTS;
}

static UINT64 created(uint8_t protocol)
{
    UINT64 token = 0;
    EXPECT("a block of ports is reserved", ask(a_call(WFPMODEL_CREATE_PORTS, 0, protocol, BLOCK, PORTS), &token).error, 0);
    return token;
}

static int deleted(uint8_t protocol, UINT16 first, uint32_t count)
{
    UINT64 token = 0;
    return ask(a_call(WFPMODEL_DELETE_PORTS, 0, protocol, first, count), &token).error;
}

static void test_persistent(void)
{
    UINT64 token = created(PROTOCOL_TCP), again = 0;
    EXPECT("its token is no small number", token > 0xffff, TRUE);
    EXPECT("it is found again", ask(a_call(WFPMODEL_LOOK_UP_PORTS, 0, PROTOCOL_TCP, BLOCK, PORTS), &again).error, 0);
    EXPECT("under its token", again, token);
    EXPECT("not a part of it", ask(a_call(WFPMODEL_LOOK_UP_PORTS, 0, PROTOCOL_TCP, BLOCK, PORTS - 1), &again).error, ERROR_NOT_FOUND);
    EXPECT("no port 0", ask(a_call(WFPMODEL_CREATE_PORTS, 0, PROTOCOL_TCP, 0, PORTS), &again).error, ERROR_INVALID_PARAMETER);
    EXPECT("not none", ask(a_call(WFPMODEL_CREATE_PORTS, 0, PROTOCOL_TCP, BLOCK, 0), &again).error, ERROR_INVALID_PARAMETER);
    EXPECT("not past the last port", ask(a_call(WFPMODEL_CREATE_PORTS, 0, PROTOCOL_TCP, 65530, 7), &again).error, ERROR_INVALID_PARAMETER);
    EXPECT("nor however many", ask(a_call(WFPMODEL_CREATE_PORTS, 0, PROTOCOL_TCP, 65530, 0xfffffff0), &again).error, ERROR_INVALID_PARAMETER);
    EXPECT("not twice", ask(a_call(WFPMODEL_CREATE_PORTS, 0, PROTOCOL_TCP, BLOCK, PORTS), &again).error, ERROR_SHARING_VIOLATION);
    EXPECT("nor one that overlaps", ask(a_call(WFPMODEL_CREATE_PORTS, 0, PROTOCOL_TCP, BLOCK + PORTS - 1, PORTS), &again).error, ERROR_SHARING_VIOLATION);
    EXPECT("UDP has ports of its own", ask(a_call(WFPMODEL_CREATE_PORTS, 0, PROTOCOL_UDP, BLOCK, PORTS), &again).error, 0);
    EXPECT("and tokens", again != token, TRUE);
    EXPECT("who has no token does not get a reserved port", bind_to(0, PROTOCOL_TCP, BLOCK + 1).error, WSAEACCES);
    EXPECT("but the one behind the block", bind_to(0, PROTOCOL_TCP, BLOCK + PORTS).error, 0);
    EXPECT("and the one before it", bind_to(0, PROTOCOL_TCP, BLOCK - 1).error, 0);
    EXPECT("a part of it is not deleted", deleted(PROTOCOL_TCP, BLOCK, PORTS - 1), ERROR_NOT_FOUND);
    EXPECT("it is", deleted(PROTOCOL_TCP, BLOCK, PORTS), 0);
    EXPECT("once", deleted(PROTOCOL_TCP, BLOCK, PORTS), ERROR_NOT_FOUND);
    EXPECT("and the ports are anybody's", bind_to(0, PROTOCOL_TCP, BLOCK + 1).error, 0);
    EXPECT("UDP's are not", bind_to(0, PROTOCOL_UDP, BLOCK + 1).error, WSAEACCES);
    deleted(PROTOCOL_UDP, BLOCK, PORTS);
    winsock_client_gone(program);
}

static void test_associated(void)
{
    UINT64 token = created(PROTOCOL_UDP), none = 77;
    EXPECT("the port of its socket is of the block", in_block(bind_to(associated(token, PROTOCOL_UDP, 0), PROTOCOL_UDP, 0).local_port), TRUE);
    EXPECT("also the one that it names", bind_to(associated(token, PROTOCOL_UDP, 0), PROTOCOL_UDP, BLOCK + 2).local_port, BLOCK + 2);
    EXPECT("no other", bind_to(associated(token, PROTOCOL_UDP, 0), PROTOCOL_UDP, BLOCK + PORTS).error, WSAEACCES);
    associated(none, PROTOCOL_UDP, WSAEINVAL);
    associated(token, PROTOCOL_TCP, WSAEINVAL);
    uint64_t bound = bind_to(0, PROTOCOL_UDP, 23300).endpoint;
    EXPECT("a socket that is bound is too late", ask(a_call(WFPMODEL_ASSOCIATE_PORTS, bound, PROTOCOL_UDP, 0, 0), &token).error, WSAEINVAL);
    UINT64 ours = token;
    EXPECT("a persistent reservation is any process'", ask_as(other_program, 4, a_call(WFPMODEL_ASSOCIATE_PORTS, 0, PROTOCOL_UDP, 0, 0), &ours).error, 0);
    EXPECT("and not released as a socket's", ask(a_call(WFPMODEL_RELEASE_PORTS, bound, PROTOCOL_UDP, 0, 0), &token).error, WSAEINVAL);
    uint64_t late = associated(token, PROTOCOL_UDP, 0);
    deleted(PROTOCOL_UDP, BLOCK, PORTS);
    EXPECT("with a reservation that has gone a bind fails", bind_to(late, PROTOCOL_UDP, 0).error, WSAEACCES);
    winsock_client_gone(program);
    winsock_client_gone(other_program);
}

static void test_runtime(void)
{
    UINT64 token = 0, taken = 0;
    WFPMODEL_ANSWER holder = ask(a_call(WFPMODEL_ACQUIRE_PORTS, 0, PROTOCOL_TCP, 0, 4), &token);
    EXPECT("a socket may acquire any block", !holder.error && holder.local_port && token, TRUE);
    EXPECT("nobody acquires it again", ask(a_call(WFPMODEL_ACQUIRE_PORTS, 0, PROTOCOL_TCP, holder.local_port, 1), &taken).error, WSAEADDRINUSE);
    EXPECT("the next any block is another", ask(a_call(WFPMODEL_ACQUIRE_PORTS, 0, PROTOCOL_TCP, 0, 4), &taken).local_port != holder.local_port, TRUE);
    EXPECT("no ports are none", ask(a_call(WFPMODEL_ACQUIRE_PORTS, 0, PROTOCOL_TCP, BLOCK, 0), &taken).error, WSAEINVAL);
    EXPECT("a raw socket has none", ask((WFPMODEL_CALL){.op = WFPMODEL_ACQUIRE_PORTS, .family = FAMILY_V4, .protocol = IPPROTO_ICMP, .flags = WFPMODEL_RAW, .value = 1}, &taken).error, WSAEOPNOTSUPP);
    taken = token;
    EXPECT("another process does not get in", ask_as(other_program, 4, a_call(WFPMODEL_ASSOCIATE_PORTS, 0, PROTOCOL_TCP, 0, 0), &taken).error, WSAEACCES);
    taken = token;
    EXPECT("nor does it release it", ask_as(other_program, 4, a_call(WFPMODEL_RELEASE_PORTS, 0, PROTOCOL_TCP, 0, 0), &taken).error, WSAEINVAL);
    UINT16 port = bind_to(associated(token, PROTOCOL_TCP, 0), PROTOCOL_TCP, 0).local_port;
    EXPECT("its own does", port >= holder.local_port && port < holder.local_port + 4, TRUE);
    ask(a_call(WFPMODEL_CLOSE, holder.endpoint, PROTOCOL_TCP, 0, 0), NULL);
    associated(token, PROTOCOL_TCP, WSAEINVAL); /* it went with its socket */
    EXPECT("and its ports are anybody's", bind_to(0, PROTOCOL_TCP, holder.local_port).error, 0);

    token = 0;
    holder = ask(a_call(WFPMODEL_ACQUIRE_PORTS, 0, PROTOCOL_TCP, BLOCK, 1), &token);
    EXPECT("a socket may acquire a certain block", holder.local_port, BLOCK);
    EXPECT("and release it", ask(a_call(WFPMODEL_RELEASE_PORTS, holder.endpoint, PROTOCOL_TCP, 0, 0), &token).error, 0);
    EXPECT("which frees its ports", bind_to(0, PROTOCOL_TCP, BLOCK).error, 0);
    winsock_client_gone(program);
    winsock_client_gone(other_program);
}

/* A port whose socket has been bound is really in use, which the engine learns from the system. */
static void test_exhausted(void)
{
    UINT64 token = created(PROTOCOL_UDP);
    WSADATA data;
    SOCKET sockets[PORTS];
    WSAStartup(0x202, &data);
    for (int i = 0; i < PORTS; i++) {
        WFPMODEL_ANSWER got = bind_to(associated(token, PROTOCOL_UDP, 0), PROTOCOL_UDP, 0);
        struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(got.local_port)};
        EXPECT("each socket gets a port of the block", got.local_port, BLOCK + i);
        sockets[i] = socket(AF_INET, SOCK_DGRAM, IPPROTO_UDP);
        EXPECT("that is free", bind(sockets[i], (struct sockaddr *)&name, sizeof name), 0);
    }
    EXPECT("when there is none left, bind fails", bind_to(associated(token, PROTOCOL_UDP, 0), PROTOCOL_UDP, 0).error, WSAEACCES);
    deleted(PROTOCOL_UDP, BLOCK, PORTS);
    EXPECT("ports that are in use are not reserved", ask(a_call(WFPMODEL_CREATE_PORTS, 0, PROTOCOL_UDP, BLOCK, PORTS), &token).error, ERROR_SHARING_VIOLATION);
    for (int i = 0; i < PORTS; i++)
        closesocket(sockets[i]);
    winsock_client_gone(program);
}

static void set_token(struct behaviour *b, struct call *call)
{
    UINT64 handle;
    void *data;
    (void)b;
    FwpsAcquireClassifyHandle0(call->context, 0, &handle);
    FwpsAcquireWritableLayerDataPointer0(handle, call->filter->filterId, 0, &data, call->out);
    FWPS_BIND_REQUEST0 *request = data;
    SOCKADDR_IN *local = (SOCKADDR_IN *)&request->localAddressAndPort;
    shown = request->portReservationToken;
    request->portReservationToken = written;
    if (applied_token)
        put16((uint8_t *)&local->sin_port, moved_to);
    FwpsApplyModifiedLayerData0(handle, data, 0);
    FwpsReleaseClassifyHandle0(handle);
    call->out->actionType = ACTION_PERMIT;
}

static char reported[256];

static void keep_report(const char *line)
{
    strncpy(reported, line, sizeof reported - 1);
}

static void test_of_callouts(void)
{
    UINT32 id;
    begin();
    add_callout(710, LAYER_ALE_BIND_REDIRECT_V4, &id);
    register_callout(710, 0);
    behave[0].instead = set_token;
    add_filter(LAYER_ALE_BIND_REDIRECT_V4, 100, ACTION_CALLOUT_TERMINATING, 710, 1, 0, NULL);
    UINT64 token = created(PROTOCOL_TCP);
    applied_token = FALSE;
    written = token;
    EXPECT("W136 with the token that a callout set a socket's port comes from its block", in_block(bind_to(0, PROTOCOL_TCP, 0).local_port), TRUE);
    EXPECT("a socket without a reservation has no token", shown, 0);
    EXPECT("W136 a port of the block that the program names", bind_to(0, PROTOCOL_TCP, BLOCK + 1).local_port, BLOCK + 1);
    EXPECT("W136 one outside of it is refused", bind_to(0, PROTOCOL_TCP, 7709).error, WSAEACCES);
    applied_token = TRUE;
    moved_to = BLOCK + 2;
    EXPECT("W136 port and token may both be the callout's", bind_to(0, PROTOCOL_TCP, 7709).local_port, BLOCK + 2);
    written = 0;
    EXPECT("W136 the port of a block without its token is refused", bind_to(0, PROTOCOL_TCP, 7709).error, WSAEACCES);
    applied_token = FALSE;
    EXPECT("W136 a token that a callout takes away no longer counts", in_block(bind_to(associated(token, PROTOCOL_TCP, 0), PROTOCOL_TCP, 0).local_port), FALSE);
    EXPECT("though it was shown the one of the socket", shown, token);
    contract_sink = keep_report;
    written = token + 1;
    EXPECT("W136 a number that is no token is refused", bind_to(0, PROTOCOL_TCP, 0).error, WSAEACCES);
    EXPECT("W136 and reported", strstr(reported, "\"W136\"") && strstr(reported, "portReservationToken"), TRUE);
    contract_sink = NULL;
    written = token;
    EXPECT("W136 nor is the token of the other protocol's ports", bind_to(0, PROTOCOL_UDP, 0).error, WSAEACCES);
    deleted(PROTOCOL_TCP, BLOCK, PORTS);
    winsock_client_gone(program);
    end();
    FwpsCalloutUnregisterById0(id);
}

void test_reservations(void)
{
    test_persistent();
    test_associated();
    test_runtime();
    test_exhausted();
    test_of_callouts();
}

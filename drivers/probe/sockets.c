/* The table of sockets and the operations on them. SPDX-License-Identifier: MIT */
#include "probe.h"

#include <process.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SOCKETS = 4096, CHUNK = 65536 };

static SRWLOCK table_lock = SRWLOCK_INIT;
static probe_socket *table[MAX_SOCKETS];
static int next_handle = 1;

void sockets_start(void)
{
    memset(table, 0, sizeof table);
}

probe_socket *socket_adopt(SOCKET socket, int type)
{
    probe_socket *entry = calloc(1, sizeof *entry);
    if (!entry)
        return NULL;
    struct sockaddr_storage address;
    int length = sizeof address;
    entry->socket = socket;
    entry->type = type;
    entry->references = 2; /* the table's and the caller's */
    InitializeSRWLock(&entry->calls);
    strcpy(entry->mode, "hold");
    if (!getsockname(socket, (struct sockaddr *)&address, &length))
        address_print((struct sockaddr *)&address, entry->local, sizeof entry->local);
    length = sizeof address;
    if (!getpeername(socket, (struct sockaddr *)&address, &length))
        address_print((struct sockaddr *)&address, entry->peer, sizeof entry->peer);
    AcquireSRWLockExclusive(&table_lock);
    for (int tried = 0; tried < MAX_SOCKETS && !entry->handle; tried++) {
        int handle = next_handle++;
        if (!table[handle % MAX_SOCKETS]) {
            table[handle % MAX_SOCKETS] = entry;
            entry->handle = handle;
        }
    }
    ReleaseSRWLockExclusive(&table_lock);
    if (!entry->handle) {
        free(entry);
        return NULL;
    }
    return entry;
}

probe_socket *socket_get(int handle)
{
    probe_socket *found = NULL;
    if (handle <= 0)
        return NULL;
    AcquireSRWLockShared(&table_lock);
    probe_socket *entry = table[handle % MAX_SOCKETS];
    if (entry && entry->handle == handle) {
        InterlockedIncrement(&entry->references);
        found = entry;
    }
    ReleaseSRWLockShared(&table_lock);
    return found;
}

void socket_put(probe_socket *socket)
{
    if (InterlockedDecrement(&socket->references))
        return;
    if (socket->arrived)
        CloseHandle(socket->arrived);
    free(socket);
}

bool socket_enter(probe_socket *socket)
{
    AcquireSRWLockShared(&socket->calls);
    if (!socket->closing)
        return true;
    ReleaseSRWLockShared(&socket->calls);
    return false;
}

void socket_leave(probe_socket *socket)
{
    ReleaseSRWLockShared(&socket->calls);
}

/* Takes the socket out of the table and closes it, which ends every operation that waits on it. */
static void socket_close(probe_socket *socket, bool reset)
{
    AcquireSRWLockExclusive(&table_lock);
    bool mine = table[socket->handle % MAX_SOCKETS] == socket;
    if (mine)
        table[socket->handle % MAX_SOCKETS] = NULL;
    ReleaseSRWLockExclusive(&table_lock);
    if (!mine)
        return;
    AcquireSRWLockExclusive(&socket->calls);
    socket->closing = true;
    if (reset) {
        struct linger hard = {1, 0};
        setsockopt(socket->socket, SOL_SOCKET, SO_LINGER, (char *)&hard, sizeof hard);
    }
    closesocket(socket->socket);
    ReleaseSRWLockExclusive(&socket->calls);
    if (socket->arrived)
        ReleaseSemaphore(socket->arrived, 64, NULL);
    socket_put(socket);
}

/*
 * A connection that ends badly is readable, and a connect that fails shows in the third set. The socket is in that one for
 * the latter alone: Wine 8 asserts when a reset comes while it enters one socket both as readable and as failed.
 */
int socket_wait(SOCKET socket, short events, int timeout_ms)
{
    fd_set readable, writable, failed;
    struct timeval limit = {timeout_ms / 1000, timeout_ms % 1000 * 1000};
    FD_ZERO(&readable);
    FD_ZERO(&writable);
    FD_ZERO(&failed);
    if (events & POLLRDNORM)
        FD_SET(socket, &readable);
    if (events & POLLWRNORM) {
        FD_SET(socket, &writable);
        FD_SET(socket, &failed);
    }
    return select(0, &readable, &writable, &failed, timeout_ms < 0 ? NULL : &limit);
}

static probe_socket *wanted(const json_request *request)
{
    probe_socket *socket = socket_get((int)json_number(request, "socket", 0));
    if (!socket)
        reply_error(request, "UnknownSocket", 0, "The probe has no socket of that number.");
    return socket;
}

static bool address_of(const json_request *request, const char *key, struct sockaddr_storage *address, int *length)
{
    if (address_parse(json_text(request, key, ""), address, length))
        return true;
    char message[160];
    snprintf(message, sizeof message, "'%.80s' is no address with a port; wanted '1.2.3.4:80' or '[::1]:80'.",
             json_text(request, key, ""));
    reply_error(request, "BadAddress", 0, message);
    return false;
}

static void reply_socket(json_request *request, probe_socket *socket)
{
    text_buffer text = {0};
    reply_begin(&text, request);
    text_add(&text, ",\"socket\":%d,\"local\":\"%s\"", socket->handle, socket->local);
    if (socket->peer[0])
        text_add(&text, ",\"peer\":\"%s\"", socket->peer);
    if (socket->listener && socket_enter(socket)) {
        redirect_describe(&text, socket->socket);
        socket_leave(socket);
    }
    reply_send(&text);
}

/* Listening */

static unsigned __stdcall serve_main(void *parameter)
{
    probe_socket **pair = parameter;
    serve_connection(pair[0], pair[1]);
    socket_close(pair[1], false);
    socket_put(pair[1]);
    socket_put(pair[0]);
    free(pair);
    return 0;
}

static void arrived(probe_socket *listener, SOCKET accepted)
{
    probe_socket *connection = socket_adopt(accepted, SOCK_STREAM);
    if (!connection) {
        closesocket(accepted);
        return;
    }
    connection->listener = listener->handle;
    InterlockedIncrement64(&listener->accepted);
    text_buffer text = {0};
    text_add(&text, "{\"event\":\"accepted\",\"listener\":%d,\"socket\":%d,\"peer\":\"%s\",\"local\":\"%s\"",
             listener->handle, connection->handle, connection->peer, connection->local);
    event_send(&text);
    if (!strcmp(listener->mode, "hold")) {
        AcquireSRWLockExclusive(&table_lock);
        listener->waiting[listener->wait_tail++ % 256] = connection->handle;
        ReleaseSRWLockExclusive(&table_lock);
        ReleaseSemaphore(listener->arrived, 1, NULL);
        socket_put(connection);
        return;
    }
    probe_socket **pair = malloc(2 * sizeof *pair);
    HANDLE thread = NULL;
    if (pair) {
        InterlockedIncrement(&listener->references);
        pair[0] = listener;
        pair[1] = connection;
        thread = (HANDLE)_beginthreadex(NULL, 0, serve_main, pair, 0, NULL);
    }
    if (thread) {
        CloseHandle(thread);
        return;
    }
    if (pair)
        socket_put(listener);
    free(pair);
    socket_close(connection, true);
    socket_put(connection);
}

static unsigned __stdcall listen_main(void *parameter)
{
    probe_socket *listener = parameter;
    while (!listener->closing) {
        SOCKET accepted = accept(listener->socket, NULL, NULL);
        if (accepted == INVALID_SOCKET) {
            if (WSAGetLastError() == WSAECONNRESET || WSAGetLastError() == WSAEINTR)
                continue;
            break;
        }
        arrived(listener, accepted);
    }
    socket_put(listener);
    return 0;
}

static void tcp_listen(json_request *request)
{
    struct sockaddr_storage address;
    int length;
    const char *mode = json_text(request, "mode", "hold");
    if (strcmp(mode, "hold") && strcmp(mode, "echo") && strcmp(mode, "proxy") && strcmp(mode, "sink")) {
        reply_error(request, "BadMode", 0, "The mode of a listener is 'hold', 'echo', 'proxy' or 'sink'.");
        return;
    }
    if (!address_of(request, "address", &address, &length))
        return;
    SOCKET raw = address_socket(&address, SOCK_STREAM, IPPROTO_TCP, json_true(request, "dual"));
    bool reserved = json_has(request, "reservation");
    if (raw == INVALID_SOCKET || (reserved && reservation_associate(raw, (uint64_t)json_number(request, "reservation", 0))) || bind(raw, (struct sockaddr *)&address, length) ||
        listen(raw, (int)json_number(request, "backlog", 16))) {
        reply_winsock(request, WSAGetLastError(), "Listening");
        if (raw != INVALID_SOCKET)
            closesocket(raw);
        return;
    }
    probe_socket *listener = socket_adopt(raw, SOCK_STREAM);
    if (!listener) {
        closesocket(raw);
        reply_error(request, "TooManySockets", 0, "The probe's table of sockets is full.");
        return;
    }
    listener->listening = true;
    strcpy(listener->mode, mode);
    listener->arrived = CreateSemaphoreW(NULL, 0, 1 << 20, NULL);
    InterlockedIncrement(&listener->references);
    HANDLE thread = (HANDLE)_beginthreadex(NULL, 0, listen_main, listener, 0, NULL);
    if (thread)
        CloseHandle(thread);
    else
        socket_put(listener);
    reply_socket(request, listener);
    socket_put(listener);
}

static void accept_one(json_request *request)
{
    probe_socket *listener = wanted(request);
    if (!listener)
        return;
    int handle = 0;
    DWORD timeout = (DWORD)json_number(request, "timeout_ms", 10000);
    if (listener->arrived && WaitForSingleObject(listener->arrived, timeout) == WAIT_OBJECT_0) {
        AcquireSRWLockExclusive(&table_lock);
        if (listener->wait_head != listener->wait_tail)
            handle = listener->waiting[listener->wait_head++ % 256];
        ReleaseSRWLockExclusive(&table_lock);
    }
    probe_socket *connection = socket_get(handle);
    if (connection) {
        reply_socket(request, connection);
        socket_put(connection);
    } else {
        reply_winsock(request, listener->closing ? WSAENOTSOCK : WSAETIMEDOUT, "Accepting");
    }
    socket_put(listener);
}

/* Connections and data */

static void tcp_connect(json_request *request)
{
    struct sockaddr_storage address, local;
    int length, local_length;
    if (!address_of(request, "address", &address, &length))
        return;
    SOCKET raw = address_socket(&address, SOCK_STREAM, IPPROTO_TCP, false);
    if (raw == INVALID_SOCKET) {
        reply_winsock(request, WSAGetLastError(), "Opening a socket");
        return;
    }
    u_long on = 1, off = 0;
    int error = 0;
    if (json_has(request, "bind")) {
        if (!address_of(request, "bind", &local, &local_length)) {
            closesocket(raw);
            return;
        }
        if (bind(raw, (struct sockaddr *)&local, local_length))
            error = WSAGetLastError();
    }
    if (!error && json_has(request, "records")) {
        unsigned char records[4096];
        int size = hex_decode(json_text(request, "records", ""), records, sizeof records);
        error = size < 0 ? WSAEINVAL : redirect_set(raw, records, (unsigned long)size);
    }
    ioctlsocket(raw, FIONBIO, &on);
    if (!error && connect(raw, (struct sockaddr *)&address, length)) {
        error = WSAGetLastError();
        if (error == WSAEWOULDBLOCK) {
            int ready = socket_wait(raw, POLLWRNORM, (int)json_number(request, "timeout_ms", 10000));
            int size = sizeof error;
            error = ready ? 0 : WSAETIMEDOUT;
            if (ready)
                getsockopt(raw, SOL_SOCKET, SO_ERROR, (char *)&error, &size);
        }
    }
    ioctlsocket(raw, FIONBIO, &off);
    probe_socket *entry = error ? NULL : socket_adopt(raw, SOCK_STREAM);
    if (!entry) {
        closesocket(raw);
        reply_winsock(request, error ? error : WSAEMFILE, "Connecting");
        return;
    }
    reply_socket(request, entry);
    socket_put(entry);
}

static void send_data(json_request *request)
{
    probe_socket *socket = wanted(request);
    if (!socket)
        return;
    const char *hex = json_text(request, "hex", "");
    size_t capacity = strlen(hex) / 2 + 1;
    unsigned char *data = malloc(capacity);
    int size = data ? hex_decode(hex, data, capacity) : -1, sent = 0, error = 0;
    struct sockaddr_storage address;
    int length = 0;
    bool datagram = json_has(request, "address");
    if (size < 0) {
        reply_error(request, "BadHex", 0, "'hex' is not an even number of hexadecimal digits.");
    } else if (!datagram || address_of(request, "address", &address, &length)) {
        do {
            int done = datagram ? sendto(socket->socket, (char *)data, size, 0, (struct sockaddr *)&address, length)
                                : send(socket->socket, (char *)data + sent, size - sent, 0);
            if (done < 0) {
                error = WSAGetLastError();
                break;
            }
            sent += done;
        } while (!datagram && sent < size);
        InterlockedAdd64(&socket->bytes_out, sent);
        if (error) {
            socket->error = error;
            reply_winsock(request, error, "Sending");
        } else {
            text_buffer text = {0};
            reply_begin(&text, request);
            text_add(&text, ",\"sent\":%d", sent);
            reply_send(&text);
        }
    }
    free(data);
    socket_put(socket);
}

static void receive_data(json_request *request)
{
    probe_socket *socket = wanted(request);
    if (!socket)
        return;
    bool datagram = socket->type == SOCK_DGRAM, exact = json_true(request, "exact");
    int count = (int)json_number(request, "count", CHUNK), have = 0, error = 0;
    count = count < 1 ? 1 : count > 16 * 1024 * 1024 ? 16 * 1024 * 1024 : count;
    ULONGLONG end = GetTickCount64() + (ULONGLONG)json_number(request, "timeout_ms", 10000);
    char *data = malloc((size_t)count), peer[64] = "";
    bool eof = false;
    do {
        ULONGLONG now = GetTickCount64();
        int ready = data ? socket_wait(socket->socket, POLLRDNORM, now < end ? (int)(end - now) : 0) : -1;
        if (ready <= 0) {
            error = ready ? WSAGetLastError() : WSAETIMEDOUT;
            break;
        }
        struct sockaddr_storage from;
        int length = sizeof from;
        int got = datagram ? recvfrom(socket->socket, data, count, 0, (struct sockaddr *)&from, &length)
                           : recv(socket->socket, data + have, count - have, 0);
        if (got < 0) {
            error = WSAGetLastError();
            break;
        }
        if (datagram)
            address_print((struct sockaddr *)&from, peer, sizeof peer);
        eof = !datagram && got == 0;
        have += got;
    } while (exact && !datagram && !eof && have < count);
    InterlockedAdd64(&socket->bytes_in, have);
    if (eof)
        socket->eof = true;
    if (error) {
        if (error != WSAETIMEDOUT)
            socket->error = error;
        reply_winsock(request, error, "Receiving");
    } else {
        text_buffer text = {0};
        reply_begin(&text, request);
        text_add(&text, ",\"hex\":\"");
        text_add_hex(&text, data, (size_t)have);
        text_add(&text, "\",\"eof\":%s", eof ? "true" : "false");
        if (datagram)
            text_add(&text, ",\"peer\":\"%s\"", peer);
        reply_send(&text);
    }
    free(data);
    socket_put(socket);
}

static void udp_open(json_request *request)
{
    struct sockaddr_storage local, remote;
    int length, remote_length;
    bool connected = json_has(request, "connect");
    if (!address_of(request, "bind", &local, &length) ||
        (connected && !address_of(request, "connect", &remote, &remote_length)))
        return;
    SOCKET raw = address_socket(&local, SOCK_DGRAM, IPPROTO_UDP, json_true(request, "dual"));
    if (raw == INVALID_SOCKET || bind(raw, (struct sockaddr *)&local, length) ||
        (connected && connect(raw, (struct sockaddr *)&remote, remote_length))) {
        reply_winsock(request, WSAGetLastError(), "Opening a UDP socket");
        if (raw != INVALID_SOCKET)
            closesocket(raw);
        return;
    }
    probe_socket *entry = socket_adopt(raw, SOCK_DGRAM);
    if (!entry) {
        closesocket(raw);
        reply_error(request, "TooManySockets", 0, "The probe's table of sockets is full.");
        return;
    }
    reply_socket(request, entry);
    socket_put(entry);
}

/* The table */

static void describe(text_buffer *text, const probe_socket *socket)
{
    text_add(text, "\"socket\":%d,\"type\":\"%s\",\"listening\":%s,\"local\":\"%s\",\"peer\":\"%s\",\"accepted\":%lld,"
             "\"bytes_in\":%lld,\"bytes_out\":%lld,\"eof\":%s", socket->handle,
             socket->type == SOCK_DGRAM ? "udp" : "tcp", socket->listening ? "true" : "false", socket->local,
             socket->peer, (long long)socket->accepted, (long long)socket->bytes_in, (long long)socket->bytes_out,
             socket->eof ? "true" : "false");
    text_add(text, socket->error ? ",\"error\":%d" : ",\"error\":null", socket->error);
}

static void state(json_request *request)
{
    probe_socket *socket = wanted(request);
    if (!socket)
        return;
    text_buffer text = {0};
    reply_begin(&text, request);
    text_add(&text, ",");
    describe(&text, socket);
    text_add(&text, ",\"sockets\":[");
    const char *comma = "";
    AcquireSRWLockShared(&table_lock);
    for (int i = 0; i < MAX_SOCKETS && socket->listening; i++) {
        if (table[i] && table[i]->listener == socket->handle) {
            text_add(&text, "%s%d", comma, table[i]->handle);
            comma = ",";
        }
    }
    ReleaseSRWLockShared(&table_lock);
    text_add(&text, "]");
    reply_send(&text);
    socket_put(socket);
}

static void list(json_request *request)
{
    text_buffer text = {0};
    const char *comma = "";
    reply_begin(&text, request);
    text_add(&text, ",\"sockets\":[");
    AcquireSRWLockShared(&table_lock);
    for (int i = 0; i < MAX_SOCKETS; i++) {
        if (table[i]) {
            text_add(&text, "%s{", comma);
            describe(&text, table[i]);
            text_add(&text, "}");
            comma = ",";
        }
    }
    ReleaseSRWLockShared(&table_lock);
    text_add(&text, "]");
    reply_send(&text);
}

static void close_all(json_request *request)
{
    int closed = 0;
    replay_end();
    for (int i = 0; i < MAX_SOCKETS; i++) {
        AcquireSRWLockShared(&table_lock);
        int handle = table[i] ? table[i]->handle : 0;
        ReleaseSRWLockShared(&table_lock);
        probe_socket *socket = socket_get(handle);
        if (socket) {
            socket_close(socket, json_true(request, "reset"));
            socket_put(socket);
            closed++;
        }
    }
    text_buffer text = {0};
    reply_begin(&text, request);
    text_add(&text, ",\"closed\":%d", closed);
    reply_send(&text);
}

static void close_one(json_request *request)
{
    probe_socket *socket = wanted(request);
    if (!socket)
        return;
    socket_close(socket, json_true(request, "reset"));
    socket_put(socket);
    reply_ok(request);
}

static void shut_down(json_request *request)
{
    probe_socket *socket = wanted(request);
    if (!socket)
        return;
    int error = WSAENOTSOCK;
    if (socket_enter(socket)) {
        error = shutdown(socket->socket, SD_SEND) ? WSAGetLastError() : 0;
        socket_leave(socket);
    }
    if (error)
        reply_winsock(request, error, "Shutting down");
    else
        reply_ok(request);
    socket_put(socket);
}

/* A receive that need not wait is done at once: a thread costs more than the system call. */
static void receive(json_request *request)
{
    probe_socket *socket = socket_get((int)json_number(request, "socket", 0));
    bool at_once = !socket || (!json_true(request, "exact") && socket_wait(socket->socket, POLLRDNORM, 0) != 0);
    if (socket)
        socket_put(socket);
    if (at_once)
        receive_data(request);
    else
        run_apart(receive_data, request);
}

static void transmit(json_request *request)
{
    if (json_has(request, "address"))
        send_data(request);
    else
        run_apart(send_data, request);
}

static void accept_apart(json_request *request)
{
    run_apart(accept_one, request);
}

static void connect_apart(json_request *request)
{
    run_apart(tcp_connect, request);
}

bool socket_op(const char *op, json_request *request)
{
    static const struct { const char *op; void (*function)(json_request *); } operations[] = {
        {"tcp_listen", tcp_listen}, {"tcp_connect", connect_apart}, {"accept", accept_apart}, {"send", transmit},
        {"recv", receive}, {"shutdown", shut_down}, {"close", close_one}, {"udp_open", udp_open},
        {"send_to", transmit}, {"recv_from", receive}, {"state", state}, {"sockets", list}, {"close_all", close_all},
    };
    for (size_t i = 0; i < sizeof operations / sizeof operations[0]; i++) {
        if (!strcmp(operations[i].op, op)) {
            operations[i].function(request);
            return true;
        }
    }
    return false;
}

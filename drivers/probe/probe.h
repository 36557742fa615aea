/*
 * The probe: the guest's own sockets, and the front end to the driver's IOCTLs.
 *
 * One JSON object a line comes in on standard input, one goes out on standard output; README.md has the operations.
 * An operation that may block runs on a thread of its own, so that none waits for another.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef PROBE_H
#define PROBE_H

#include <winsock2.h>
#include <ws2tcpip.h>
#include <windows.h>

#include "json.h"

enum { PROBE_VERSION = 1 };

/* reply.c: every line is written whole. */
void reply_begin(text_buffer *text, const json_request *request);
void reply_send(text_buffer *text); /* closes the object, writes it, frees the buffer */
void reply_ok(const json_request *request);
void reply_error(const json_request *request, const char *name, unsigned long code, const char *message);
void reply_winsock(const json_request *request, int code, const char *what);
void reply_win32(const json_request *request, unsigned long code, const char *what);
void event_send(text_buffer *text);

/* address.c: "1.2.3.4:80", "[::1]:80" */
bool address_parse(const char *text, struct sockaddr_storage *address, int *length);
void address_print(const struct sockaddr *address, char *out, size_t capacity);
SOCKET address_socket(const struct sockaddr_storage *address, int type, int protocol, bool dual);

/* sockets.c */
typedef struct probe_socket {
    int handle;
    SOCKET socket;
    int type;               /* SOCK_STREAM, SOCK_DGRAM */
    bool listening, closing, eof;
    char mode[8];
    LONG references;
    SRWLOCK calls;          /* shared around calls that change or ask the socket, exclusive around closesocket */
    LONG64 accepted, bytes_in, bytes_out;
    int error;
    int listener;           /* handle of the listener that accepted it */
    char local[64], peer[64];
    HANDLE arrived;         /* semaphore: connections that wait for an accept operation */
    int waiting[256];
    unsigned wait_head, wait_tail;
} probe_socket;

void sockets_start(void);
probe_socket *socket_adopt(SOCKET socket, int type);
probe_socket *socket_get(int handle);  /* adds a reference; NULL when unknown */
void socket_put(probe_socket *socket);
/*
 * Around shutdown, WSAIoctl and the like, which may not wait in between: nobody closes the socket meanwhile; false once
 * it is closed. Its number may be another's by then; and Wine 8's server crashes, with all of Wine, when a call that has
 * no event (these; not accept, select, send, recv) ends behind the last handle of its socket.
 */
bool socket_enter(probe_socket *socket);
void socket_leave(probe_socket *socket);
int socket_wait(SOCKET socket, short events, int timeout_ms); /* 1 ready, 0 time is up, -1 error */
bool socket_op(const char *op, json_request *request);         /* false: not an operation of this file */
/* proxy.c: serves one accepted connection of a listener until it ends. */
void serve_connection(probe_socket *listener, probe_socket *connection);
/* redirect.c */
int redirect_query(SOCKET socket, unsigned long code, unsigned char *out, unsigned long capacity, unsigned long *size);
int redirect_set(SOCKET socket, const unsigned char *records, unsigned long size);
void redirect_describe(text_buffer *text, SOCKET socket);
bool redirect_op(const char *op, json_request *request);
/* reservation.c */
int reservation_associate(SOCKET socket, uint64_t token); /* Winsock error or 0 */
bool reservation_op(const char *op, json_request *request);
/* message.c, service.c, driver.c, state.c, play.c, replay.c */
bool message_op(const char *op, json_request *request);
bool service_op(const char *op, json_request *request);
bool driver_op(const char *op, json_request *request);
bool state_op(const char *op, json_request *request);
bool play_op(const char *op, json_request *request);
bool replay_op(const char *op, json_request *request);
void replay_end(void); /* ends a replay that runs and closes its sockets */
DWORD driver_control(DWORD code, const void *in, DWORD in_size, void *out, DWORD out_size); /* gives a Windows error */

/* Runs an operation on a thread of its own; the request is copied and freed there. */
void run_apart(void (*operation)(json_request *), json_request *request);

#endif

/*
 * The reference guest's ws2_32.dll. On Windows the filter engine sees a socket's bind, listen, connect and end before there
 * is a packet; Wine's Winsock goes straight to Linux. This library stands in front of it, asks the engine through
 * \\.\WfpModel first, and behaves as Wine does where there is no engine or it does not answer in time.
 *
 * main.c the library; engine.c the device; table.c what is known of each socket; address.c; calls.c bind to closesocket;
 * datagram.c what sends; message.c control messages; control.c WSAIoctl and the functions that it hands out;
 * select.c.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SHIM_H
#define SHIM_H

#define WIN32_LEAN_AND_MEAN
#include <winsock2.h>
#include <ws2tcpip.h>
#include <mswsock.h>
#include <mstcpip.h>
#include <windows.h>
#include <stdbool.h>
#include <stdint.h>

#include "wfpmodel_ioctl.h"

enum { MAPPED_PREFIX = 12, REMOTES = 8 };

/* address.c */
typedef struct shim_address {
    uint8_t family; /* 2 or 23 */
    uint8_t bytes[16];
    uint16_t port;  /* host order */
} shim_address;
bool address_read(const struct sockaddr *name, int length, shim_address *out); /* false: not an IP address, or cut short */
/* For a socket of this family; room for a sockaddr_in6. `like` gives flow and scope. */
int address_write(struct sockaddr_in6 *out, int family, const shim_address *address, const struct sockaddr *like);
bool address_same(const shim_address *a, const shim_address *b);

/* table.c */
typedef struct shim_socket {
    struct shim_socket *next;
    LONG references;
    SOCKET socket;
    uint64_t endpoint;   /* the engine's, 0 = none yet */
    int family, type, protocol;
    bool connecting;     /* a connect that the engine was asked about is under way */
    SRWLOCK lock;        /* the remotes */
    bool connected;      /* a datagram socket's */
    shim_address remote;
    unsigned asked_next;
    struct {
        shim_address from, to; /* family 0: unused */
    } asked[REMOTES];    /* whom the engine was asked about already */
} shim_socket;
shim_socket *socket_find(SOCKET socket);           /* referenced, or NULL */
shim_socket *socket_of(SOCKET socket);             /* the same, made if need be; NULL: no IP socket */
shim_socket *socket_take(SOCKET socket);           /* out of the table */
void socket_put(shim_socket *socket);

/* engine.c. false: there is no engine, or it did not answer; the caller goes on as if it had permitted. */
bool engine_ask(shim_socket *socket, WFPMODEL_CALL *call, const void *bytes, size_t size, WFPMODEL_ANSWER *answer);
bool engine_query(WFPMODEL_CALL *call, WFPMODEL_ANSWER *answer, void *out, size_t room);
void engine_call(WFPMODEL_CALL *call, const shim_socket *socket, uint32_t op);
void call_local(WFPMODEL_CALL *call, const shim_address *address);
void call_remote(WFPMODEL_CALL *call, const shim_address *address);

/* calls.c */
int bind_first(shim_socket *socket); /* what a socket that is not bound gets by sending or connecting; Winsock error or 0 */
int connect_ask(shim_socket *socket, const shim_address *remote, shim_address *to); /* Winsock error or 0 */

enum { SWALLOWED = -1 };
/* datagram.c: asked before a datagram; Winsock error, 0, or SWALLOWED: nothing is to be sent. `name` may be replaced by `other`. */
int datagram_ask(SOCKET socket, const struct sockaddr **name, int *length, const WSABUF *buffers, DWORD count,
                 struct sockaddr_in6 *other, const WSABUF *records);

/* message.c: redirect records as control messages. */
extern LPFN_WSARECVMSG wine_recv_msg; /* set before shim_recv_msg is handed out */
INT PASCAL shim_recv_msg(SOCKET socket, WSAMSG *message, DWORD *got, OVERLAPPED *overlapped, LPWSAOVERLAPPED_COMPLETION_ROUTINE routine);
bool records_split(WSAMSG *message, uint8_t *room, WSABUF *records); /* takes them out of a copy of the control messages; room: Control.len */

void *shim_alloc(size_t size); /* zeroed; NULL when there is none */
void shim_free(void *block);
extern bool shim_inert;        /* in the process that plays the kernel */

#endif

/*
 * Endpoints: what a program's socket is to the engine, from its first bind until its resources are released. Winsock in
 * the guest tells of them (winsock.c); a socket that it does not know of has none.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MODEL_ENDPOINTS_H
#define MODEL_ENDPOINTS_H

#include "model.h"

struct endpoint {
    struct endpoint *next;
    LONG references;
    UINT64 id;           /* transportEndpointHandle */
    const void *client;  /* whose it is: the program's handle of the control device */
    UINT32 pid;
    const struct program *program;
    uint8_t protocol;
    BOOL raw;
    /* by endpoint_lock */
    struct address local;
    UINT16 local_port;
    BOOL assigned;       /* RESOURCE_ASSIGNMENT permitted, RESOURCE_RELEASE still to come */
    BOOL closing;        /* the socket is gone, a connection of it is not */
    unsigned connections; /* TCP connections that it opened and that are not over */
    struct redirect_records records; /* for what it connects to */
    UINT64 reservation;  /* token of the port reservation that it is associated with, or 0 */
};

struct endpoint *endpoint_open(const void *client, UINT64 id, UINT32 pid, uint8_t family, uint8_t protocol, BOOL raw); /* referenced */
void endpoint_release(struct endpoint *endpoint);
BOOL endpoint_bind(struct endpoint *endpoint, struct address *local, UINT16 *port, BOOL implicit); /* FALSE: blocked */
void endpoint_unbind(struct endpoint *endpoint);
BOOL endpoint_listen(struct endpoint *endpoint);
BOOL endpoint_promiscuous(struct endpoint *endpoint, UINT32 mode);
void endpoint_close(struct endpoint *endpoint);
void endpoints_client_gone(const void *client);
void endpoint_set_records(struct endpoint *endpoint, struct redirect_records *records); /* takes them */
struct address endpoint_address(struct endpoint *endpoint, UINT16 *port);
void endpoint_set_reservation(struct endpoint *endpoint, UINT64 token);

/* bind.c: BIND_REDIRECT. FALSE: blocked; else address, port and token are what the callouts made of them. */
BOOL bind_redirect(const struct endpoint *endpoint, struct address *local, UINT16 *port, UINT64 *token);

#endif

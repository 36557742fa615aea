/*
 * Port reservations: blocks of ports of TCP or UDP that nobody gets but by their token. A runtime reservation is a
 * socket's (SIO_ACQUIRE_PORT_RESERVATION), and its process' alone; a persistent one is anybody's who knows the token
 * (CreatePersistentTcpPortReservation and its like), as FWPS_BIND_REQUEST0.portReservationToken wants it.
 *
 * Lock: reservation_lock (reservations.c), taken after any other of the model's and held while nothing else is called.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MODEL_RESERVATIONS_H
#define MODEL_RESERVATIONS_H

#include "endpoints.h"

/* Ports are in host byte order. Each gives a Windows error, or 0. */
int reservation_create(uint8_t protocol, UINT16 first, UINT32 count, UINT64 *token);                 /* persistent */
int reservation_look_up(uint8_t protocol, UINT16 first, UINT32 count, UINT64 *token, BOOL and_delete);
int reservation_acquire(struct endpoint *endpoint, UINT16 *first, UINT32 count, UINT64 *token);      /* *first 0: any block */
int reservation_associate(struct endpoint *endpoint, UINT64 token); /* before the socket is bound */
int reservation_release(struct endpoint *endpoint, UINT64 token);
void reservations_end_of(UINT64 endpoint); /* runtime reservations live as long as their socket */
BOOL reservation_known(UINT64 token);

/* The port that a socket gets, where it wants *port (0: any); `token` 0: none. FALSE: it is refused one. */
BOOL reservation_port(const struct endpoint *endpoint, const struct address *local, UINT64 token, UINT16 *port);

#endif

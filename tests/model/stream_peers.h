/*
 * TCP conversations through the engine for the fuzz and stress runs, each with an end in the guest and one on the link.
 * Whatever thread the engine sends from leaves its frame in the conversation's queue; one thread works on both its ends.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef STREAM_PEERS_H
#define STREAM_PEERS_H

#include "rig.h"

enum { GUEST_PEER, LINK_PEER, PEERS = 8, PEER_PORTS = 20000, PORTS_OF_ONE = 1000, PEER_SERVER_PORT = 7, PEER_WINDOW = 0xffff };
enum { PEER_FIN = 1, PEER_SYN = 2, PEER_RST = 4, PEER_PSH = 8, PEER_ACK = 16, PEER_URG = 32 };

struct peer_end {
    UINT32 first;          /* sequence number of its SYN */
    const uint8_t *out;    /* what it sends */
    size_t out_size, sent, acknowledged; /* the FIN counts as one more */
    size_t in_size;        /* what it has read */
    UINT32 window;         /* that it was told */
    BOOL fin_sent, fin_read, was_reset, established, wants_to_acknowledge;
};
struct on_the_way {
    struct on_the_way *next;
    int to;
    size_t length;
    uint8_t bytes[];
};
struct peers {
    SRWLOCK lock; /* the queue, which any thread adds to */
    struct on_the_way *queue, **queue_end;
    UINT16 port;
    struct address guest, server;
    struct peer_end end[2];
    UINT32 state; /* of its chance */
    unsigned lose; /* of a hundred frames that come */
    void (*took)(struct peers *, int end, const uint8_t *bytes, size_t size); /* in order, once */
};
extern struct peers peers[PEERS];
extern struct address peers_server[2]; /* where they connect to: IPv4, IPv6; nobody else does */

UINT32 peers_chance(struct peers *p, UINT32 below);
void peers_to_link(const uint8_t *frame, size_t length); /* for struct wire; what is not theirs goes to the rig's */
void peers_to_guest(const uint8_t *frame, size_t length);
struct peers *peers_of(const uint8_t *frame, size_t length, int to); /* whose frame of the engine's it is, or NULL */
void peers_open(struct peers *p, UINT16 port, BOOL v6); /* the handshake; nothing else of `p` but state, lose, took is kept */
size_t peers_segment(const struct peers *p, int from, uint8_t frame[2048], uint8_t flags, UINT32 sequence, UINT32 ack, UINT32 window,
                     const uint8_t *bytes, size_t size);
UINT32 peers_number(const struct peer_end *e, size_t offset); /* the sequence number of its byte */
void peers_send(int from, const uint8_t *frame, size_t length); /* into the engine */
BOOL peers_take(struct peers *p);     /* what has come; FALSE: nothing */
BOOL peers_transmit(struct peers *p); /* what the windows allow */
void peers_again(struct peers *p);    /* their timers: what was not acknowledged goes out once more */
BOOL peers_done(const struct peers *p);
BOOL peers_reset(const struct peers *p);
void peers_close(struct peers *p); /* forgets what is on its way */

#endif

/* Between stack.c (the path of a packet), ale.c (connections), layers.c and metadata.c (one classify). SPDX-License-Identifier: MIT */
#ifndef MODEL_STACK_H
#define MODEL_STACK_H

#include "model.h"

enum show { SHOW_NOTHING, SHOW_IP, SHOW_TRANSPORT, SHOW_PAYLOAD, SHOW_QUOTED /* by an ICMP error */ };

struct view_endpoint { /* of an endpoint, where there is neither packet nor flow */
    UINT64 id, parent;
    UINT32 pid;
    const struct program *program;
    UINT32 promiscuous;
};

struct view { /* what is to be seen at one classify */
    const struct tuple *tuple;
    BOOL outbound;
    UINT32 flags;
    struct packet *packet;
    struct flow *flow;
    enum show show;
    BOOL ale_required;
    void *layer_data; /* when nothing of the packet is shown */
    struct classify_context *context;
    struct redirect_records *records;
    SOCKADDR_STORAGE *original;
    const struct tuple *embedded; /* in an ICMP error */
    struct pend_point *pend; /* where FwpsPendOperation0 is allowed */
    UINT32 reason;           /* of a reauthorization, else 0 */
    BOOL forwarded_to_second;     /* IPFORWARD: else from the second interface */
    const struct view_endpoint *endpoint;
    BOOL discarded;          /* by the stack: seen at the _DISCARD layer */
    UINT32 discard_module, discard_reason;
};
void neighbour_learn(const struct address *address, const uint8_t *mac);
FWP_BYTE_BLOB *path_of(const struct program *program); /* (metadata.c) */
void put_metadata(FWPS_INCOMING_METADATA_VALUES0 *metadata, UINT16 layer, const struct view *view);
UINT32 scope_of(const struct address *address); /* (ale.c) the zone of a link-local address, else 0 */
struct verdict view_classify(UINT16 layer, struct view *view);
void view_open(UINT16 layer, const struct view *view, struct classification *out); /* of no packet; out->values is the caller's to free */

/* (frames.c) below IP; origin: the list whose injection the frame is of, or NULL */
enum { WIRE_MTU = 1500 };
typedef void frame_sender(const uint8_t *frame, size_t length, const NET_BUFFER_LIST *origin);
NET_BUFFER_LIST *frame_wrap(const uint8_t *frame, size_t length);
void frame_to_link(const uint8_t *frame, size_t length, const NET_BUFFER_LIST *origin);
void frame_send(NET_BUFFER_LIST *nbl, UINT16 layer); /* both take the list */
void frame_receive(NET_BUFFER_LIST *nbl, UINT16 layer);
void stack_receive(const uint8_t *frame, size_t length, const NET_BUFFER_LIST *origin); /* (stack.c) what the MAC layers let in */
BOOL fragments_send(const uint8_t *frame, size_t length, const NET_BUFFER_LIST *origin, frame_sender *send); /* FALSE: not cut */
BOOL forward_wanted(const struct packet *packet);
void forward_packet(struct packet *packet); /* both take the packet */
BOOL forward_injected(struct packet *packet);

enum { TCP_FIN = 1, TCP_SYN_BIT = 2, TCP_RST = 4, TCP_PSH = 8, TCP_ACK = 16, TCP_URG = 32 };

/* (unheard.c) Nobody has the port that it came in for; whether the stack may answer that. */
BOOL unheard(const struct packet *packet);
BOOL unheard_answer(struct packet *packet);

/* A referenced flow for the first packet of a connection, or NULL with the reason to drop it. */
struct flow *ale_connect(struct packet *packet, BOOL *absorb);
/* The same for a connect without a packet; takes the flow. */
struct flow *ale_authorize(struct flow *flow, struct packet *packet, BOOL *absorb);
BOOL ale_wait(const struct flow *flow); /* for what put it off; FALSE: it takes too long */
struct flow *ale_accept(struct packet *packet, BOOL *absorb);
BOOL ale_established(struct flow *flow, struct packet *packet); /* FALSE: the connection must be closed */
void refused_note(const struct tuple *tuple, UINT32 sequence); /* (refused.c) a SYN whose connect was blocked */
BOOL refused_before(const struct tuple *tuple, UINT32 sequence);
UINT32 flow_flags(const struct flow *flow);
SOCKADDR_STORAGE *ale_original(const struct flow *flow, SOCKADDR_STORAGE *room); /* NULL when it was not redirected */
void stack_refuse(const struct tuple *sent, UINT32 sequence); /* resets a connect at the guest's end */

/* (reauthorize.c) Connections whose authorization a callout put off. */
void ale_hold(struct flow *flow, const struct packet *packet); /* with a reference for whoever resumes it, and a copy */
void ale_go_on(struct flow *flow, struct packet *packet);      /* permitted; takes the packet */
void ale_blocked(struct flow *flow, const struct packet *packet, BOOL absorb);
struct packet *held_take(struct flow *flow);               /* what waits with a flow; the caller's, or NULL */
void held_keep(struct flow *flow, struct packet *packet); /* takes it; the first one stays */
void ale_resume_connect(void *flow, BOOL with_packet);
void ale_resume_accept(void *flow, BOOL with_packet);
BOOL ale_held_outbound(struct flow *flow, struct packet *packet); /* FALSE: it waits, or is dropped */
BOOL ale_held_inbound(struct packet *packet, struct flow **flow, BOOL injected); /* FALSE: dropped */
void sockaddr_put(SOCKADDR_STORAGE *out, const struct address *address, UINT16 port);
struct address sockaddr_get(const SOCKADDR_STORAGE *from, UINT16 *port);

#endif

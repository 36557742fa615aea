/*
 * What the parts of the model know of each other.
 *
 * Locks, in the order in which they may be taken; none is ever held while a driver's function runs:
 *   stream lock   (stream.c)   one for each flow whose stream the engine may carry: what it holds and has in flight
 *   store_lock    (store.c)    sessions, transactions, sublayers, filters, callout objects and registrations
 *   endpoint_lock (endpoints.c) endpoints of the guest's sockets
 *   flow_lock     (flows.c)    flow table, flow contexts, redirect records of flows
 *   inject_lock   (inject.c)   injection handles and their queue
 *   retired_lock  (readers.c)  what waits to be freed
 *   holdings_lock (holdings.c) what drivers hold; contract_lock (contract.c) what was reported: both taken last
 * A classify takes none of them for its filters and callouts: see readers.c and callout_enter.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include "abi.h"
#include "pend.h"
#include "address.h"
#include "contract.h"
#include "tables.h"

/* ---- memory and words (memory.c) ---- */
void *mem_alloc(size_t size); /* zeroed; never fails (out of memory is fatal) */
void mem_free(void *block);
void model_log(const char *format, ...) __attribute__((format(printf, 1, 2)));
void model_unimplemented(const char *function);

struct model_stats {
    uint64_t frames_out, frames_in, passed_out, passed_in, dropped_out, dropped_in;
    uint64_t classifies, flows_made, flows_ended, injected, lint, other;
};
extern struct model_stats stats;
#define COUNT(member) InterlockedIncrement64((volatile LONG64 *)&stats.member)

/* Holds in a build with MODEL_CHECKED, which the fuzz and stress programs are of; costs nothing in the driver. */
#ifdef MODEL_CHECKED
void model_broken(const char *condition, const char *file, int line) __attribute__((noreturn));
#define MODEL_ASSERT(condition) ((condition) ? (void)0 : model_broken(#condition, __FILE__, __LINE__))
#else
#define MODEL_ASSERT(condition) ((void)sizeof(condition))
#endif

/* ---- threads, and what they read without a lock (readers.c) ---- */
struct thread {
    struct thread *next; /* never changes: records are used again, not freed */
    volatile LONG taken;
    volatile LONG64 reading; /* epoch in which the outermost read began, 0 = none */
    unsigned depth;
    UINT32 irql;
    const struct classification *classify; /* whose classifyFn runs */
    BOOL knows_own, means_to_modify;       /* what that function asked for: W258, W268 */
    LONG regions; /* critical regions entered */
    struct conduct *conduct; /* of the classifyFn that runs */
};
struct thread *thread_now(void);
void read_begin(struct thread *thread); /* what is found in published arrays stays until the end */
void read_end(struct thread *thread);
void retire(void *block, void (*dispose)(void *)); /* disposes of what is published no more, when nobody reads it */

/* ---- interrupt request level (irql.c) ---- */
enum { IRQL_PASSIVE = 0, IRQL_DISPATCH = 2 };
UINT32 irql_now(void);
UINT32 irql_set(UINT32 level); /* gives back the level before */
UINT32 irql_enter(UINT32 level);
void irql_leave(UINT32 before, UINT32 level, const char *function, const void *code);
void irql_require_passive(const char *function);

/* Frees a block that a driver allocated from pool (localRedirectContext); set by the driver shell. */
extern void (*model_free_pool)(void *block);
extern BOOL pool_watched; /* (hooks.c) every driver's pool memory is known to holdings.c */

/* ---- what every object of the store has; by store_lock ---- */
struct session;
struct security;
struct object {
    GUID key;
    BOOL persistent, builtin;
    struct session *owner;                 /* the dynamic session that it goes with, or NULL */
    struct session *added_in, *deleted_in; /* uncommitted transaction */
    void *definition;                      /* the FWPM_ structure that it was added with, one block; NULL of built-in ones */
    struct security *security;             /* as it was set, or NULL */
};

/* ---- callouts (callouts.c) ---- */
struct callout {
    struct object; /* of FwpmCalloutAdd0, and the key in any case */
    struct callout *next;
    UINT32 id;
    BOOL added;
    const struct layer_fact *layer;
    UINT32 object_flags;
    /* the registration of FwpsCalloutRegisterN */
    volatile BOOL registered, changing;
    int version;
    FWPS_CALLOUT functions;
    volatile LONG running; /* functions of the driver that run now */
    LONG contexts; /* flow contexts outstanding */
};
struct callout *callout_find_key(const GUID *key);
struct callout *callout_find_id(UINT32 id);
struct callout *callout_make(const GUID *key);
void callouts_left_by(const void *image, size_t size); /* a driver is gone: none of its functions is called again */
BOOL callout_enter(struct callout *callout); /* FALSE when not registered; else functions may be called until leave */
void callout_leave(struct callout *callout);

/* ---- object store (store.c) ---- */
extern SRWLOCK store_lock;

struct sublayer {
    struct object;
    struct sublayer *next;
    UINT16 weight;
};

struct provider_context {
    struct object;
    struct provider_context *next;
    LONG references; /* of the store and of each filter */
    UINT64 id;
};

struct filter {
    struct object;
    struct filter *next;
    LONG references;
    UINT32 object_flags;
    BOOL dormant; /* not enforced: a boot-time filter, or a persistent one while the engine is stopped */
    const struct layer_fact *layer;
    struct sublayer *sublayer;
    struct callout *callout;
    struct provider_context *context;
    FWPS_FILTER1 view; /* what a classifyFn sees */
    FWPS_FILTER_CONDITION0 *conditions;
    UINT64 weight;
};
extern struct filter *filters; /* by store_lock */
extern volatile LONG filters_generation; /* grows with each change of what is published */
void filters_publish(struct session *committing); /* by store_lock: what classifies see from here on, per layer */
void filter_release(struct filter *filter);
const struct layer_fact *layer_by_id(UINT16 id);
/* The layer of an address family, by its IPv4 layer (the ids of Windows have two patterns), and back. */
static inline UINT16 layer_of(UINT16 layer_v4, uint8_t family)
{
    return (UINT16)(family != FAMILY_V6 ? layer_v4 : layer_v4 < LAYER_INBOUND_MAC_FRAME_ETHERNET ? layer_v4 + 2 : layer_v4 + 1);
}
static inline BOOL layer_is_v6(UINT16 id)
{
    return id < LAYER_INBOUND_MAC_FRAME_ETHERNET ? (id & 2) != 0 : (id & 1) != 0;
}
static inline UINT16 layer_v4(UINT16 id)
{
    return (UINT16)(!layer_is_v6(id) ? id : id < LAYER_INBOUND_MAC_FRAME_ETHERNET ? id - 2 : id - 1);
}
const struct layer_fact *layer_by_key(const GUID *key);
BOOL guid_is_zero(const GUID *key);
BOOL guid_equal(const GUID *a, const GUID *b);

/* ---- matching (match.c) ---- */
NTSTATUS conditions_compile(const struct layer_fact *layer, const FWPM_FILTER_CONDITION0 *from, UINT32 count,
                            FWPS_FILTER_CONDITION0 **out);
void conditions_free(FWPS_FILTER_CONDITION0 *conditions, UINT32 count);
BOOL conditions_match(const struct filter *filter, const FWPS_INCOMING_VALUES0 *values);
BOOL conditions_admit(const struct filter *filter, const FWPM_FILTER_CONDITION0 *said);
UINT64 automatic_weight(const struct layer_fact *layer, const FWPS_FILTER_CONDITION0 *conditions, UINT32 count);

/* ---- arbitration (arbitrate.c) ---- */
struct flow;
struct classification {
    const struct layer_fact *layer;
    FWPS_INCOMING_VALUE0 *values; /* layer->field_count of them */
    FWPS_INCOMING_METADATA_VALUES0 metadata;
    void *layer_data;
    NET_BUFFER_LIST *nbl; /* whose offset must come back unchanged, or NULL */
    struct flow *flow;    /* referenced by the caller, or NULL */
    struct classify_context *context; /* where a classify handle can be acquired, else NULL */
    struct pend_point *pend;          /* where FwpsPendOperation0 is allowed, else NULL */
    uint8_t protocol;     /* 0 below IP */
    UINT32 irql;          /* at which classifyFn runs */
};
struct verdict {
    BOOL permit, absorb, veto;
    UINT64 filter_id; /* that decided, 0 = nobody */
};
BOOL layer_has_filters(UINT16 layer);
struct verdict classify(struct classification *what);
/* For a layer that weighs decisions itself (stream_stages.c): matching filters, referenced, heaviest first, and the keys of
 * their sublayers; and one call. */
enum asked { ASKED, ASKED_NOT, ASKED_NOBODY }; /* _NOT: it is conditional on a flow context; _NOBODY: not registered */
unsigned classify_gather(const struct classification *what, struct filter ***out, GUID **sublayers);
enum asked classify_ask(struct filter *filter, const struct classification *what, UINT32 action_now, BOOL may_write,
                        UINT32 flags, FWPS_CLASSIFY_OUT0 *out);

/* ---- flows (flows.c) ---- */
enum tcp_state { TCP_NONE, TCP_SYN, TCP_SYN_ACK, TCP_OPEN };

struct redirect_record {
    UINT64 handle;   /* redirect handle that redirected */
    UINT32 program;  /* number of the one whose connection was redirected, 0 = unknown */
    uint8_t *context;
    size_t context_size;
};
enum { RECORDS_MAX = 8 };
struct redirect_records {
    unsigned count;
    struct redirect_record record[RECORDS_MAX]; /* oldest first */
};

enum { FLOW_BY_SENT, FLOW_BY_SEEN, FLOW_BY_ID, FLOW_INDEXES };
struct flow {
    struct flow *next, **before, *chain[FLOW_INDEXES]; /* flows.c's, as bucket */
    unsigned bucket[FLOW_INDEXES];
    LONG references;
    UINT64 id;
    uint8_t protocol;
    BOOL outbound; /* first packet went out */
    struct address local, remote, original; /* original = remote before redirection */
    UINT16 local_port, remote_port, original_port; /* of ICMP: type and code of the first message */
    UINT16 icmp_id;                                /* as in struct tuple */
    BOOL redirected, redirected_local, proxied, established, ended;
    enum tcp_state tcp;
    volatile LONG closing; /* CLOSING_*: both directions' threads set bits */
    UINT32 first_sequence;    /* of the SYN that opened it */
    UINT32 next_in, next_out; /* sequence number of the next stream byte */
    UINT32 pid, target_pid;
    UINT64 endpoint, parent; /* of Winsock's, 0 = it knows of none */
    const struct program *program, *original_program; /* or NULL */
    BOOL counted;  /* by its endpoint */
    BOOL unrouted; /* CONNECT_REDIRECT sees no local address */
    BOOL awaited;  /* connect was called, the SYN is not here yet */
    BOOL loopback; /* no packet of it comes by: original is where the socket went */
    UINT64 touched_ms, lifetime_ms; /* how long it idles, 0 = as long as its kind does (TCP: not asked) */
    BOOL many; /* to or from multicast or broadcast addresses */
    struct flow_context *contexts;
    struct redirect_records records;
    volatile LONG records_taken; /* with its first datagram (W154) */
    void *driver_context; /* pool block to free at the end (localRedirectContext) */
    BOOL put_off;        /* it was held */
    volatile LONG held;   /* enum held: a callout put its authorization off */
    struct packet *volatile held_packet; /* its first packet, which goes on afterwards, or NULL; exchanged with one instruction */
    struct stream *stream; /* (stream.c) of a TCP flow whose SYN was seen */
    volatile LONG policy; /* the state of its layer's filters when it was authorized (reauthorize.c) */
};
enum held { HELD_NOT, HELD_PENDED, HELD_COMPLETED /* the packet is to be injected again */ };
struct flow_context {
    struct flow_context *next;
    UINT16 layer;
    struct callout *callout;
    UINT64 value;
    unsigned in_use;
    BOOL removed;
};
struct tuple {
    uint8_t protocol;
    struct address local, remote;   /* of one family */
    UINT16 local_port, remote_port; /* host order; of ICMP: type and code */
    UINT16 icmp_id;                 /* of ICMP messages that have an identifier, else 0 */
};
struct flow *flow_find_sent(const struct tuple *sent);       /* by the address the guest's socket uses */
struct flow *flow_find_seen(const struct tuple *seen);       /* by the redirected address */
struct flow *flow_find_mapped(const struct tuple *mapped);   /* by what the local proxy's socket sees; loopback, too */
struct flow *flow_find_solicited(const struct tuple *seen);  /* sent to a multicast address, and anybody may answer (W218) */
struct flow *flow_find_id(UINT64 id);
struct flow *flow_find_of(UINT64 endpoint, const struct address *remote); /* by what transportEndpointHandle says */
struct flow *flow_make(const struct tuple *tuple, BOOL outbound);
struct flow *flow_publish(struct flow *flow); /* enters the table */
void flow_redirect(struct flow *flow, const struct address *remote, UINT16 port);
void flow_release(struct flow *flow);
void flow_end(struct flow *flow, const char *why);
void flows_end_of(UINT64 endpoint); /* whatever does not outlive its socket: TCP connections with packets do */
void flows_end_all(const char *why);
void flows_tick(UINT64 now, BOOL (*endpoint_exists)(const struct flow *));
UINT64 now_ms(void);
struct flow_context *flow_context_use(struct flow *flow, UINT16 layer, struct callout *callout);
void flow_context_done(struct flow *flow, struct flow_context *context);
unsigned flows_count(void);
void flows_each(void (*tell)(const struct flow *, void *), void *argument); /* under its lock: `tell` takes none above it */
void records_copy(struct redirect_records *to, const struct redirect_records *from);
void records_free(struct redirect_records *records);

/* ---- redirection (redirect.c) ---- */
struct bind_versions { /* (bind.c) */
    FWPS_BIND_REQUEST0 *request, *writable;
    UINT64 writable_filter;
    BOOL modified;
};
void *bind_acquire(struct bind_versions *versions, UINT64 filter_id); /* NULL: acquired already */
BOOL bind_apply(struct bind_versions *versions, const void *data);     /* FALSE: not what was acquired */
enum classify_state { CLASSIFY_NOW, CLASSIFY_PENDED, CLASSIFY_ANSWERED, CLASSIFY_AGAIN };
struct classify_context { /* its handles, and whether it is pended: pend_classify.c */
    struct classify_context *next;
    UINT64 id; /* what classify handles are */
    UINT16 layer;
    LONG handles; /* acquired, not released */
    LONG references;
    const struct callout *caller, *holder; /* whose classifyFn runs; who acquired a handle */
    UINT64 caller_filter;
    enum classify_state state;
    BOOL was_pended, put_aside;
    const FWPS_CLASSIFY_OUT0 *classify_out; /* of the classify that was pended; never read */
    FWPS_CLASSIFY_OUT0 answer;
    classify_resume resume;
    void *owner;
    struct arbitration *suspended; /* where to go on (arbitrate.c) */
    UINT64 watch_filter;           /* wants to be asked again when others modify the request (W170) */
    struct bind_versions *bind; /* at BIND_REDIRECT, else NULL */
    /* of redirection: */
    UINT32 program; /* whose connection it is */
    FWPS_CONNECT_REQUEST0 *request; /* newest accepted version */
    FWPS_CONNECT_REQUEST0 *writable;
    UINT64 writable_filter;
    struct origin acquired, applied; /* where the newest version was begun and made */
    struct redirect_records records;
    BOOL modified;
};
void redirect_begin(struct classify_context *context, const FWPS_CONNECT_REQUEST0 *initial);
BOOL redirect_end(struct classify_context *context); /* FALSE: an acquired pointer was never applied */
void redirect_dispose(struct classify_context *context);
void redirect_free_context(void *block); /* a localRedirectContext, which is the engine's since it was applied (W141) */
size_t redirect_blob(const struct flow *flow, uint8_t *out, size_t room);
BOOL records_parse(const uint8_t *blob, size_t size, struct redirect_records *out); /* out is to be freed in any case */

/* ---- net buffer lists (nbl.c) ---- */
struct injection_mark {
    UINT64 handle;
    HANDLE context;
};
enum { MARKS_MAX = 6 };
enum tag_event { /* FWPS_NET_BUFFER_LIST_EVENT_TYPE0, those that the model has */
    TAG_EVENT_CLONED = 2,
    TAG_EVENT_DUPLICATED = 3,
    TAG_EVENT_REMOVED = 5,
    TAG_EVENT_SENT = 6,
    TAG_EVENT_RECEIVED = 7,
    TAG_EVENT_CLONED_BY_NDIS = 12,
};
struct nbl_part {
    NET_BUFFER nb;
    MDL *chain; /* as it was cloned */
};
struct injection_line {
    UINT32 handle, path;
};
struct nbl_block { /* precedes every NET_BUFFER_LIST that the model makes */
    UINT32 magic;
    LONG references;
    void *data;  /* freed with the block, or NULL */
    BOOL is_clone, ale_required; /* W254: last seen where ALE was yet to come */
    BOOL of_driver;    /* allocated or cloned by one, else the stack's */
    BOOL flying;       /* injected, and not completed */
    BOOL given_back;   /* its driver has freed it; a clone may still need it */
    LONG shown;        /* classifies that have it now */
    LONG kept;         /* references that drivers took */
    unsigned lines;    /* injections that it or what it was copied from has behind it */
    struct injection_line line[MARKS_MAX];
    unsigned marks;
    struct injection_mark mark[MARKS_MAX];
    struct nbl_tag *tags; /* (tags.c) and who is told of them, whichever module the event is in */
    void (*tag_event)(struct nbl_block *block, UINT32 event, NET_BUFFER_LIST *changed, BOOL last);
    struct nbl_part *more; /* of a clone: the second NET_BUFFER and those after it */
    unsigned more_count;
    MDL *chain; /* of a clone's first one */
    UINT32 counted; /* bytes of a stream that a clone stands for, and whom to tell when it goes, or NULL */
    void (*released)(struct nbl_block *block);
    __attribute__((aligned(16))) NET_BUFFER_LIST nbl;
    __attribute__((aligned(16))) NET_BUFFER nb;
    MDL mdl;
};
NET_BUFFER_LIST *nbl_wrap(void *buffer, size_t buffer_size, size_t offset, size_t length); /* takes the buffer */
NET_BUFFER_LIST *nbl_over(HANDLE pool, MDL *chain, ULONG offset, ULONG length);
NET_BUFFER_LIST *nbl_clone(NET_BUFFER_LIST *original, HANDLE nbl_pool, HANDLE nb_pool, UINT32 event);
BOOL nbl_is_restored(const struct nbl_block *clone); /* its MDL chains are those that it was cloned with */
struct nbl_block *nbl_block_of(const NET_BUFFER_LIST *nbl); /* NULL when not the model's */
void nbl_release(NET_BUFFER_LIST *nbl);
void nbl_inherit(NET_BUFFER_LIST *to, const NET_BUFFER_LIST *origin); /* who injected it; origin may be NULL */
void nbl_leaves(NET_BUFFER_LIST *nbl, BOOL outbound); /* the stack: its tags go */
void nbl_inherit_lines(struct nbl_block *to, const struct nbl_block *from);
void nbl_give_back(NET_BUFFER_LIST *nbl, const char *call); /* what a driver frees */
void nbl_freed_again(const NET_BUFFER_LIST *nbl); /* a driver frees what it has freed: reported already */
void nb_set(NET_BUFFER *nb, ULONG offset, ULONG length);
size_t nb_copy(const NET_BUFFER *nb, uint8_t *out, size_t room); /* how many bytes there were, whatever the lengths say */
uint8_t *nb_rebuild(NET_BUFFER *nb, size_t size); /* makes the packet end where it did, contiguous, of that size */
BOOL nb_is_aligned(const NET_BUFFER *nb); /* its first byte, to a pointer's size */
HANDLE pool_make(BOOL net_buffers);
BOOL pool_has_net_buffers(HANDLE pool);

/* ---- packets (packet.c, ipv6.c, icmp.c) ---- */
enum { HEADROOM = 130, ETHERNET = 14, ICMP_HEADER = 8 };
struct packet {
    NET_BUFFER_LIST *nbl;
    uint8_t *frame; /* Ethernet header, inside the NBL's buffer */
    size_t length;  /* of the frame */
    BOOL outbound;
    size_t ip, ihl, thl; /* ip = offset in frame; header lengths, that of IPv6 with its extension headers */
    size_t payload;      /* offset in frame */
    size_t end;          /* of the IP packet in frame */
    BOOL fragment;
    struct tuple tuple; /* local/remote as seen from the guest */
    BOOL loopback;
    struct origin injected_by; /* no frames: nobody injected it */
    BOOL taken; /* by the stream layer, which sends its bytes on in segments of its own */
};
BOOL packet_parse(struct packet *packet);
struct packet *packet_new(const uint8_t *frame, size_t length, BOOL outbound);
void packet_free(struct packet *packet);
BOOL packet_is_icmp(const struct packet *packet); /* of the packet's own family */
void packet_rewrite(struct packet *packet, BOOL source, const struct address *address, UINT16 port);
void packet_fix_sums(struct packet *packet);
BOOL packet_transport_sum_is_right(const struct packet *packet); /* of a whole UDP or TCP packet that was parsed */
uint8_t *packet_tcp(struct packet *packet);
size_t ip_header(uint8_t *ip, const struct address *from, const struct address *to, uint8_t protocol, size_t payload);
UINT16 get16(const uint8_t *p);
UINT32 get32(const uint8_t *p);
void put16(uint8_t *p, UINT16 v);
void put32(uint8_t *p, UINT32 v);
UINT16 ip_checksum(const uint8_t *p, size_t length, UINT32 sum);
BOOL ipv6_skip_extensions(const uint8_t *ip, size_t total, size_t *size, uint8_t *protocol, BOOL *fragment);

BOOL icmp_is_error(const struct packet *packet);
UINT16 icmp_request_type(uint8_t family, UINT16 type);
struct tuple packet_key(const struct packet *packet);
BOOL icmp_has_id(uint8_t family, UINT16 type);
BOOL icmp_embedded(const struct packet *packet, struct tuple *out);

/* ---- the stack (stack.c, neighbours.c) ---- */
enum { GUEST_ADDRESSES = 8 };
enum stack_start { START_STACK, START_TRANSPORT, START_NETWORK, START_REASSEMBLED };
struct second_interface { /* packets for its network are forwarded */
    void (*to_link)(const uint8_t *frame, size_t length); /* NULL: there is none */
    struct address network; /* its own address there, which also answers ARP */
    unsigned prefix; /* bits */
    UINT32 index;
    uint8_t mac[6], peer_mac[6];
};
struct wire {
    volatile LONG up; /* both ends are there; else whoever injects is told that TCP/IP is not ready (W244) */
    void (*to_link)(const uint8_t *frame, size_t length);  /* the test NIC */
    void (*to_guest)(const uint8_t *frame, size_t length); /* the TAP */
    void (*to_loopback)(const uint8_t *frame, size_t length); /* for ::1: no NIC may bring it to the guest's stack */
    uint8_t guest_mac[6];
    struct address guest[GUEST_ADDRESSES]; /* the guest's own, unused ones without a family */
    UINT32 interface_index;
    struct second_interface second;
    int (*source)(const struct address *to, struct address *from); /* what a packet leaves from; may be NULL */
    UINT32 (*owner)(const struct tuple *tuple); /* process id of the socket, 0 = unknown; may be NULL */
    BOOL (*listens)(const struct tuple *tuple); /* is there a socket that takes what comes in? NULL: yes */
};
extern struct wire wire;
const struct address *wire_address(uint8_t family); /* the guest's first of a family, or NULL */
BOOL wire_is_guest(const struct address *address);  /* one of its own, or loopback */
void stack_from_guest(const uint8_t *frame, size_t length);
void stack_from_link(const uint8_t *frame, size_t length);
void stack_from_second(const uint8_t *frame, size_t length); /* (forward.c) */
void stack_outbound(struct packet *packet, enum stack_start start); /* takes the packet */
void stack_inbound(struct packet *packet, enum stack_start start);
void stack_abort(struct flow *flow); /* resets a TCP flow at the guest's end and the peer's */
BOOL stack_frame_for(BOOL outbound, const uint8_t *ip, uint8_t header[ETHERNET]);

/* ---- programs (program.c) and the endpoints of their sockets (endpoints.c, endpoints.h) ---- */
struct program {
    struct program *next;
    UINT32 number;
    FWP_BYTE_BLOB path;
};
const struct program *program_of(UINT32 pid); /* NULL: there is no such process */
const struct program *program_by_number(UINT32 number);
BOOL endpoint_of_flow(struct flow *flow); /* FALSE: Winsock knows of no socket of its */
BOOL endpoint_records(const struct flow *flow, struct redirect_records *out); /* FALSE: none were set */
void endpoint_flow_ended(struct flow *flow);

void stack_send(struct packet *packet, struct flow *flow); /* a segment of the engine's own; takes the packet */

/* ---- the stream layer (stream.c) ---- */
BOOL stream_segment(struct flow *flow, struct packet *packet); /* FALSE: taken */
void stream_established(struct flow *flow);
BOOL stream_abort(struct flow *flow);         /* resets both ends; FALSE: the stream layer does not carry this flow */
BOOL stream_carries(const struct flow *flow); /* whether its segments are the engine's own */
struct flow *stream_find_closed(const struct tuple *tuple, BOOL sent); /* that ended a moment ago, referenced */
void stream_free(struct stream *stream);
void stream_start(void); /* the worker: what injections complete, what timers send */
void stream_work(void);  /* one round of it, for checks without the thread */
extern UINT64 (*stream_clock)(void); /* milliseconds; checks have one of their own */

UINT32 owner_of_socket(const struct tuple *tuple); /* (owner.c) what wire.owner is in the guest */
BOOL listening(const struct tuple *tuple); /* (listening.c) what wire.listens is there */

struct packet *fragments_take(const struct packet *fragment); /* the packet that it completes, or NULL */

/* ---- injection (inject.c) ---- */
void inject_not_ready(unsigned times); /* the next so many calls are told that TCP/IP is not ready (W238, W244) */
void inject_start(void); /* starts the worker thread */
struct injector;
NTSTATUS inject_begin(HANDLE handle, UINT32 type, struct injector **injector); /* the handle's end waits for it to be done */
void inject_more(struct injector *injector); /* and for one more */
void inject_done(struct injector *injector);

#endif

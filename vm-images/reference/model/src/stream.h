/*
 * The stream layer from inside: a flow that stream filters concern is carried by the engine as two TCP conversations,
 * one with each end, and between them its bytes pass the callouts. Everything here is by the stream's lock, but for
 * what says otherwise.
 *
 * stream.c         which flows are carried; who works on one; how it ends
 * stream_tcp.c     reassembly, acknowledgement, retransmission, windows
 * stream_stages.c  the callouts, one behind the other (W281), and what they answer
 * stream_api.c     the functions that drivers call
 * stream_chunks.c  bytes in NET_BUFFER_LISTs
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MODEL_STREAM_H
#define MODEL_STREAM_H

#include "stack.h"

enum { GOING_OUT, COMING_IN, DIRECTIONS };
enum {
    HOLD_MAX = 8 << 20,    /* what may wait for NEED_MORE_DATA, and what a driver may pend (W286) */
    QUEUE_MAX = 256 << 10, /* decided bytes that wait to be sent or acknowledged: more closes the sender's window */
    DEFER_MAX = 65535,     /* of a deferred stream */
};
enum stream_flag {
    STREAM_RECEIVE = 0x1,
    STREAM_RECEIVE_EXPEDITED = 0x2,
    STREAM_RECEIVE_DISCONNECT = 0x4,
    STREAM_RECEIVE_ABORT = 0x8,
    STREAM_RECEIVE_PUSH = 0x10,
    STREAM_SEND = 0x10000,
    STREAM_SEND_EXPEDITED = 0x20000,
    STREAM_SEND_DISCONNECT = 0x80000,
    STREAM_SEND_ABORT = 0x100000,
};

struct chunk { /* bytes[start..length), described by the list from `start` on */
    struct chunk *next;
    NET_BUFFER_LIST *nbl;
    const uint8_t *bytes;
    size_t start, length;
    BOOL push, urgent;
};
struct chunks {
    struct chunk *first, *last;
    size_t size;
};
void chunks_add(struct chunks *to, const uint8_t *bytes, size_t size, BOOL push, BOOL urgent);
void chunks_move(struct chunks *from, struct chunks *to, size_t size); /* the first `size` bytes */
void chunks_drop(struct chunks *from, size_t size);
void chunks_copy(const struct chunks *from, size_t offset, uint8_t *out, size_t size);
NET_BUFFER_LIST *chunk_describe(struct chunk *chunk, size_t from); /* its list, from this byte of the chunk's on */
NET_BUFFER_LIST *stream_empty_list(void);

/* One filter's callout at one flow. */
struct seat {
    struct seat *next;
    UINT64 filter_id;
    UINT32 callout_id;
    BOOL mid_stream, allowed;     /* the flow is older than the filter; ALLOW_CONNECTION was answered */
    size_t missed[DIRECTIONS];    /* bytes since its last call that it was not shown (W292) */
    UINT64 permitted[DIRECTIONS]; /* bytes that it let pass */
    BOOL outside[DIRECTIONS];     /* it injects out of band (W297) */
};

/* What stands between two callouts: the filters of one sublayer, of which one decides. */
struct stage {
    struct stage *next;
    GUID sublayer;
    UINT16 weight;
    struct seat *seats;
    struct chunks in[DIRECTIONS];
    size_t need[DIRECTIONS]; /* asked again once `in` holds so many */
    BOOL fin_in[DIRECTIONS], fin_done[DIRECTIONS];
    BOOL fin_shown[DIRECTIONS]; /* somebody may be deciding on it, and have a thread inject it before that returns */
    BOOL deferred[DIRECTIONS];
    UINT32 deferred_by, deferred_flags;
    BOOL hard[DIRECTIONS]; /* the decision before left no right to the stages below (of no significance: W282) */
};

struct piece { /* that came before its turn */
    struct piece *next;
    UINT32 sequence;
    size_t size, urgent; /* `urgent` leading bytes are urgent */
    BOOL push;
    uint8_t bytes[];
};

/* One direction: from its sender, through the stages, to its receiver. */
struct half {
    UINT32 base; /* where the engine took over: what is before it the two ends settle between themselves */
    UINT32 acknowledged; /* by the receiver, in its own numbers, while that is before `base` */
    UINT32 next; /* expected of the sender */
    UINT32 edge; /* of the window that the sender was told */
    struct piece *ahead;
    unsigned ahead_count;
    BOOL fin_known, fin_taken, reset, acknowledge;
    UINT32 fin_at;

    struct chunks queue; /* from sent_first on */
    UINT32 sent_first, sent_next, sent_most;
    UINT32 window, window_sequence, window_acknowledge; /* of the receiver, and what told it */
    BOOL fin_queued, fin_sent, fin_settled, again, probe;
    unsigned repeats, tries;
    BOOL recovering;
    UINT32 recover;
    UINT32 timeout_ms;
    UINT64 deadline; /* 0: none */
};

struct side { /* what an end said of itself, by the direction in which it sends */
    UINT16 mss;
    uint8_t scale;
    BOOL has_scale, has_stamps;
    UINT32 stamp; /* its newest time stamp */
    UINT32 window; /* its newest, scaled */
};

struct frame {
    struct frame *next;
    struct packet *packet;
};

struct stream {
    struct stream *next; /* of the carried ones, by table_lock */
    struct flow *flow;   /* the table counts a reference to it; streams that are not carried only borrow it */
    SRWLOCK lock;
    struct side side[DIRECTIONS];
    UINT64 filter_mark; /* newest filter at establishment (W298) */
    LONG generation;    /* of the filters that were looked at */
    BOOL looked, concerned, carried;
    struct half half[DIRECTIONS];
    struct stage *stages;
    struct tuple tuple;
    struct classification what[DIRECTIONS];
    struct filter **filters[DIRECTIONS];
    GUID *sublayers[DIRECTIONS];
    unsigned filter_count[DIRECTIONS];
    struct frame *frames, **frames_end;
    BOOL running, again;
    DWORD classifying; /* the thread that is in a classifyFn for this stream, or 0 */
    const char *end;   /* why the flow is over, once it is */
    BOOL ended, aborted;
    UINT64 closed_ms;
};

/* stream.c */
UINT64 stream_now(void);
void stream_run(struct stream *stream); /* not with the lock */
void stream_schedule(struct stream *stream); /* stream_run by the worker */
struct completion {
    struct completion *next;
    struct injector *injector;
    NET_BUFFER_LIST *nbl;
    INJECT_COMPLETE complete;
    HANDLE context;
};
void stream_complete(struct completion *completion); /* by the worker; takes it */

/* stream_stages.c */
void stages_refresh(struct stream *stream); /* takes store_lock */
BOOL stages_work(struct stream *stream);    /* lets the lock go around each classifyFn; TRUE if anything was done */
void stages_reset(struct stream *stream, int direction); /* indicates RST; likewise */
void stages_free(struct stream *stream);
void stage_feed_fin(struct stream *stream, struct stage *stage, int direction); /* NULL: to the end of the queue */
struct chunks *stage_input(struct stream *stream, struct stage *stage, int direction);
BOOL stages_deferred(const struct stream *stream, int direction);
size_t stages_hold(const struct stream *stream, int direction);

/* stream_tcp.c */
void tcp_take_over(struct stream *stream);
void tcp_receive(struct stream *stream, int direction, struct packet *packet);
void tcp_output(struct stream *stream);
void tcp_reset(struct stream *stream, int direction); /* an RST to the receiver */
BOOL tcp_timers(struct stream *stream, UINT64 now); /* TRUE when something is due */
void tcp_free(struct stream *stream);
void tcp_note(struct stream *stream, int direction, struct packet *packet); /* of a segment that goes on as it is */
UINT32 tcp_read_options(const uint8_t *tcp, size_t size, struct side *side); /* SYN: into side. The time stamp, or 0 */

#endif

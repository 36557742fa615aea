/*
 * What the checks of the stream layer share: two callouts that log what they are shown and let a function of the check
 * answer, and a connection with them. The rig has its ends.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef STREAM_CALLOUTS_H
#define STREAM_CALLOUTS_H

#include "stream_rig.h"

enum {
    NEED_MORE = 1, DROP = 2, DEFER = 3, ALLOW = 4,
    RECEIVE = 0x1, RECEIVE_DISCONNECT = 0x4, RECEIVE_ABORT = 0x8, RECEIVE_PUSH = 0x10,
    SEND = 0x10000, SEND_DISCONNECT = 0x80000, SEND_ABORT = 0x100000,
    A = 300, B = 301, LOG = 64, /* A in the heavier sublayer */
};

struct shown { /* one indication */
    UINT32 flags, out_flags, rights, incoming;
    size_t length, missed;
    char first;
};
typedef void (*stream_answer)(struct call *, FWPS_STREAM_CALLOUT_IO_PACKET0 *);

extern UINT16 stream_port;
extern UINT32 stream_a, stream_b;
extern UINT64 stream_filter_a;
extern HANDLE stream_handle;
extern unsigned stream_lists_completed; /* injected lists */
extern struct shown shown[2][LOG];
extern unsigned shown_count[2];
extern stream_answer answers[2]; /* NULL: all is permitted */

void look(struct behaviour *b, struct call *call);
void stream_open_with(UINT32 action_a, UINT32 action_b, BOOL options); /* 0: no such filter */
void stream_open_one(void);
void stream_done(void);

void block(struct call *call, FWPS_STREAM_CALLOUT_IO_PACKET0 *io, size_t size);
void block_all(struct call *call, FWPS_STREAM_CALLOUT_IO_PACKET0 *io);
void want_always(struct call *call, FWPS_STREAM_CALLOUT_IO_PACKET0 *io); /* more data than there can be */
void replace_pattern(struct call *call, FWPS_STREAM_CALLOUT_IO_PACKET0 *io); /* PPP by XX */

NET_BUFFER_LIST *stream_list(const void *bytes, size_t size);
void NTAPI stream_completed(void *context, NET_BUFFER_LIST *nbl, BOOLEAN dispatch);
NTSTATUS stream_inject(UINT64 flow, UINT32 callout, UINT32 flags, const void *bytes, size_t size);
NTSTATUS stream_inject_here(struct call *call, FWPS_STREAM_CALLOUT_IO_PACKET0 *io, const void *bytes, size_t size);

#define SAY(end, text) stream_say(end, text, sizeof text - 1)
#define READS(end, text) stream_read(end, text, sizeof text - 1)

void test_stream_ends(void);  /* stream_ends_test.c */
void test_stream_lists(void); /* stream_lists_test.c */

#endif

/*
 * Two TCP ends around the engine for the checks of the stream layer: a socket of the guest and one of a server, over a
 * wire that may lose, repeat and reorder segments by a seed. Time stands still but where a check lets it go on.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef STREAM_RIG_H
#define STREAM_RIG_H

#include "rig.h"

NTSTATUS NTAPI FwpsStreamInjectAsync0(HANDLE, HANDLE, UINT32, UINT64, UINT32, UINT16, UINT32, NET_BUFFER_LIST *, SIZE_T, INJECT_COMPLETE, HANDLE);
NTSTATUS NTAPI FwpsStreamContinue0(UINT64, UINT32, UINT16, UINT32);
NTSTATUS NTAPI FwpsCloneStreamData0(FWPS_STREAM_DATA0 *, HANDLE, HANDLE, ULONG, NET_BUFFER_LIST **);
void NTAPI FwpsDiscardClonedStreamData0(NET_BUFFER_LIST *, UINT32, BOOLEAN);
void NTAPI FwpsCopyStreamDataToBuffer0(const FWPS_STREAM_DATA0 *, void *, SIZE_T, SIZE_T *);
NTSTATUS NTAPI FwpsFlowAbort0(UINT64);

enum { STREAM_MAX = 12 << 20, GUEST_END = 0, SERVER_END = 1 };

struct end {
    UINT32 first;                 /* sequence number of its SYN */
    uint8_t *out, *in;            /* what it sends, what it has read */
    size_t out_size, in_size;
    size_t sent, acknowledged;    /* of out; the FIN counts as one more */
    BOOL fin, fin_sent, fin_read, was_reset;
    UINT32 window;                /* that it was told */
    UINT32 room;                  /* that it tells */
    size_t segment;               /* largest that it sends; 0: by chance */
    BOOL wants_to_acknowledge, urgent;
    unsigned urgent_seen;
    BOOL options, silent;         /* time stamps, window scale 3; hears nothing */
    UINT32 stamp, stamp_seen;
    unsigned scale;
};
extern struct end ends[2];

struct impairment { /* of a hundred segments each way */
    unsigned lose, repeat, swap;
};
extern struct impairment impaired;
extern unsigned long long frames_carried;
extern UINT64 clock_ms;               /* stands still but where a check moves it */

UINT32 chance(UINT32 below);          /* a number below it, by the seed */
void seed(UINT32 number);
void stream_open(UINT16 port, BOOL options); /* handshake of a connect from the guest to the server's port 80 */
void stream_say(int end, const void *bytes, size_t size);
void stream_close(int end);
void stream_settle(void);             /* until nothing is left to do or to wait for */
void stream_step(void);               /* what is under way, without letting time go on */
void stream_cut(void);                /* the wire in memory back to what the other checks use */
BOOL stream_read(int end, const void *bytes, size_t size); /* whether exactly this has been read */

#endif

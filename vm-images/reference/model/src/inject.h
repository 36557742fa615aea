/* Between inject.c (handles and their queue) and inject_run.c (what becomes of what was injected). SPDX-License-Identifier: MIT */
#ifndef MODEL_INJECT_H
#define MODEL_INJECT_H

#include "model.h"

struct injector {
    struct injector *next;
    UINT64 id;
    UINT32 types;
    ADDRESS_FAMILY family;
    BOOL closing;
    unsigned pending;
};

enum path { NETWORK_SEND, NETWORK_RECEIVE, TRANSPORT_SEND, TRANSPORT_RECEIVE, FORWARD, MAC_SEND, MAC_RECEIVE };

struct job {
    struct job *next;
    enum path path;
    struct injector *injector;
    HANDLE context;
    NET_BUFFER_LIST *nbl;
    INJECT_COMPLETE complete; /* NULL only at the MAC layers */
    HANDLE complete_context;
    UINT64 endpoint;
    UINT16 layer;   /* MAC_* */
    uint8_t family; /* of remote */
    const UCHAR *remote;  /* in the driver's memory, valid until completion (W250); NULL: the list has an IP header */
    const UCHAR *include; /* the header of a header-include socket (W251), as valid, or NULL */
    ULONG include_length;
    uint8_t remote_then[16]; /* what remote was at the call */
    struct origin made;
};

static inline BOOL goes_out(enum path path)
{
    return path == NETWORK_SEND || path == TRANSPORT_SEND || path == MAC_SEND;
}

/* Puts one list of a job on its way, each NET_BUFFER as a packet; what it answers is the list's Status. */
NTSTATUS inject_list(const struct job *job, NET_BUFFER_LIST *nbl);

#endif

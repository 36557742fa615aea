/* One packet on its way to being injected. SPDX-License-Identifier: MIT */
#ifndef JOB_H
#define JOB_H

#include "callout.h"

typedef struct JOB {
    LIST_ENTRY link;
    NET_BUFFER_LIST *list;
    UINT8 *bytes;  /* of a copy; NULL for a clone */
    MDL *mdl;
    UINT8 path, family;
    UINT16 layer;
    UINT64 rule, endpoint;
    COMPARTMENT_ID compartment;
    IF_INDEX interface_index, sub_interface;
    NDIS_PORT_NUMBER port; /* MAC_* */
    FWPS_TRANSPORT_SEND_PARAMS1 arguments; /* and all it points at: valid until completionFn has run */
    UINT8 remote[16];
    void *control, *header;
    struct STREAM *stream; /* of an injection into a stream: by its flow, callout and flags */
    UINT64 flow;
    UINT32 callout, stream_flags;
    SIZE_T stream_length;
    volatile LONG lists;   /* of the chain that have not completed */
    NTSTATUS status;       /* of the last that failed */
    WFPCALLOUT_EVENT event;
} JOB;

/* inject.c */
void job_free(JOB *job);
void job_submit(JOB *job, BOOLEAN hold); /* the job is the queue's from here on */
NTSTATUS job_inject_now(JOB *job);       /* without the queue; frees the job */

void NTAPI job_list_completed(void *job, NET_BUFFER_LIST *list, BOOLEAN dispatch); /* one of several */

/* stream.c */
NTSTATUS stream_send(JOB *job);
void stream_done(struct STREAM *stream);

/* copy.c */
NTSTATUS job_wrap(JOB *job, ULONG length); /* a list over job->bytes */
NTSTATUS job_copy(TRAFFIC *traffic, const WFPCALLOUT_RULE *rule, JOB *job, NET_BUFFER *buffer, ULONG back);

#endif

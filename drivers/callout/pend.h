/* What the driver has put off. SPDX-License-Identifier: MIT */
#ifndef PEND_H
#define PEND_H

#include "job.h"

typedef struct PEND {
    LIST_ENTRY link;
    UINT64 number, rule;
    UINT32 flags;             /* of the rule */
    BOOLEAN inbound;
    HANDLE context;           /* from FwpsPendOperation0, until it is completed */
    UINT64 classify, filter;  /* from FwpsAcquireClassifyHandle0; the filter of that classify */
    FWPS_CLASSIFY_OUT0 out;   /* a copy of that classify's own */
    WFPCALLOUT_RULE redirect; /* where to, when it is completed with a redirection */
    FWP_ACTION_TYPE decision; /* what the reauthorization is to be answered with */
    LIST_ENTRY jobs;          /* the packet that was absorbed, to be injected when it is permitted */
    WFPCALLOUT_EVENT event;
} PEND;

/* pended.c: what is put off, and the connects that were completed and wait to be asked about. */
NTSTATUS pended_start(void);
void pended_close(void); /* nothing more is put off */
BOOLEAN pended_is_open(void);
BOOLEAN pended_is_busy(void); /* somebody completes something right now */
PEND *pend_new(const TRAFFIC *traffic, const WFPCALLOUT_RULE *rule);
void pend_free(PEND *pend);
void pend_inject(PEND *pend); /* hands its packet to the queue */
/* The engine has pended it: anybody may complete it from here on. */
void pended_insert(PEND *pend);
/* Out of the list, for the caller to complete and to call pended_done then. 0 and no flags: any. */
PEND *pended_claim(UINT64 number, UINT64 rule, UINT32 flags);
void pended_done(void);
BOOLEAN pended_has(UINT32 flags);
void decided_insert(PEND *pend);
PEND *decided_take(const TRAFFIC *traffic); /* the one that a reauthorization is about, or NULL */
void decided_clear(UINT64 rule);            /* 0: of every rule */
void pended_settle(LARGE_INTEGER *timeout); /* waits until nothing is being completed */

/* complete.c */
void complete_at_once(void); /* has the work item look for what is to be completed as soon as possible */

#endif

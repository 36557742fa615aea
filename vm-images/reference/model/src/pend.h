/*
 * What a callout may put off: operations at the ALE authorization layers (pend.c), classifies at the redirect layers
 * (pend_classify.c); and the reauthorization of flows that live (reauthorize.c).
 *
 * Lock, after store_lock and flow_lock: pend_lock (pend.c), classifies in progress and completion contexts;
 * handle_lock (pend_classify.c), classify handles. Neither is held while anything else is called.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MODEL_PEND_H
#define MODEL_PEND_H

#include "abi.h"

struct callout;
struct filter;
struct flow;
struct packet;
struct arbitration;

/* ---- operations (pend.c) ---- */
struct pended;
struct pend_point { /* a classify in progress that FwpsPendOperation0 can put off; lives as long as that classify */
    struct pend_point *next;
    UINT64 id; /* the completionHandle of the metadata */
    UINT16 layer;
    BOOL reauthorize;       /* W176 */
    struct callout *caller; /* whose classifyFn runs */
    unsigned pends;
    struct pended *pended;
};
typedef void (*pend_resume)(void *owner, BOOL with_packet);

void pend_begin(struct pend_point *point, UINT16 layer, BOOL reauthorize);
/* Whether a callout put the classify off. The owner then puts its operation aside before it calls pend_end. */
BOOL pend_taken(const struct pend_point *point);
/* After the classify. When it was put off, `resume` runs once every callout that did so has completed it, maybe before
 * this returns; `with_packet` says whether a NET_BUFFER_LIST came with the last completion. */
void pend_end(struct pend_point *point, pend_resume resume, void *owner);
void pend_check_answer(const struct pend_point *point, unsigned before, const FWPS_CLASSIFY_OUT0 *out); /* W178 */
unsigned pend_outstanding(const struct callout *callout); /* contexts and classifies not completed; NULL: of anybody */

/* ---- classifies (pend_classify.c) ---- */
struct classify_context;
typedef void (*classify_resume)(struct classify_context *context, void *owner);
struct classify_context *context_new(UINT16 layer);
struct classify_context *context_of_handle(UINT64 handle); /* NULL: no classify handle */
/* After the classify: TRUE when a callout pended it; `resume` then runs once, maybe before this returns. */
BOOL context_pended(struct classify_context *context, classify_resume resume, void *owner);
void context_release(struct classify_context *context); /* the classify's own reference */
struct layer_fact;
void context_check_released(const struct classify_context *context, const struct layer_fact *layer); /* W128, when a classify is over */
unsigned context_outstanding(const struct callout *callout);

/* ---- waiting for what a callout put off (reauthorize.c) ---- */
struct pause;
struct pause *pause_new(void);
void pause_over(struct pause *pause);              /* by whoever resumes */
BOOL pause_wait(struct pause *pause);              /* frees it; FALSE: it takes too long */
void ale_decided(void);                            /* a flow that was held is so no more */

/* ---- reauthorization (reauthorize.c) ---- */
enum reauthorize_reason { REASON_POLICY_CHANGE = 0x1, REASON_CLASSIFY_COMPLETION = 0x10 };
void policy_changed(UINT16 layer); /* a filter was added or removed there */
LONG policy_now(const struct flow *flow);
BOOL reauthorize_due(const struct flow *flow);
/* The next packet of a flow after a policy change at its layer. FALSE: dropped, and the flow ended or not. */
BOOL reauthorize(struct flow *flow, struct packet *packet);

#endif

/*
 * What the documents bind a driver to, and what is said when it breaks that: one line of JSON on the serial port with the
 * rule, the call and the driver's stack (contract.c); what a driver holds and has to give back (holdings.c); what one
 * classifyFn did (conduct.c). nbl.c is in ndis.sys too, where far.c hands these calls to fwpkclnt.sys.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MODEL_CONTRACT_H
#define MODEL_CONTRACT_H

#include "abi.h"

/* ---- reports (contract.c) ---- */
enum { FRAMES_KEPT = 6 };
struct origin { /* where in a driver something was done */
    const uint8_t *image; /* the driver's, or NULL when no driver is on the stack */
    unsigned count;
    const uint8_t *frame[FRAMES_KEPT]; /* innermost first; each behind the call, or one byte into a function itself */
};
void origin_capture(struct origin *origin, unsigned most);
struct origin origin_of_function(const void *function);

/* Rules that are none of WFP but of the kernel. */
#define RULE_IRQL "K-IRQL" /* a function returns at the IRQL it was called at, and waits below DISPATCH_LEVEL only */
#define RULE_POOL "K-POOL" /* pool memory is freed once, with its tag, before the driver is unloaded */
#define RULE_REGION "K-REGION" /* every critical region that a function enters it leaves */

/* By the driver that is on the stack. The sentence says what was seen and what is wanted. */
void contract_broken(const char *rule, const char *call, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* By a function that has returned, or by whoever made an object. */
void contract_broken_at(const char *rule, const char *call, const struct origin *where, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void contract_image_loaded(const void *image, size_t size, const char *name); /* a driver: its frames are shown */
void contract_image_gone(const void *image); /* after its Unload: what is left of it is reported */
/* What Windows would not survive, after it was reported: ends the process where a guest runs it, else does nothing. */
void contract_fatal(UINT32 code, UINT64 a, UINT64 b, UINT64 c, UINT64 d);
extern void (*contract_stop)(UINT32 code, const UINT64 parameters[4]);
extern void (*contract_sink)(const char *line); /* for tests: in place of the serial port */

/* ---- what one classifyFn does (conduct.c; the rest is in conduct.h) ---- */
BOOL contract_in_classify(const NET_BUFFER_LIST **shown);

/* ---- what drivers hold (holdings.c) ---- */
enum holding {
    HOLD_POOL, HOLD_CLONE, HOLD_STREAM, HOLD_NBL, HOLD_REFERENCE, HOLD_NBL_POOL, HOLD_NB_POOL, HOLD_INJECTION, HOLD_REDIRECT,
    HOLD_CLASSIFY, HOLD_CONTEXT, HOLD_CALLOUT, HOLD_SESSION, HOLD_FILTER, HOLD_CALLOUT_OBJECT, HOLD_SUBLAYER,
    HOLD_SUBSCRIPTION, HOLD_DEVICE, HOLD_PENDED, HOLD_PENDED_CLASSIFY, HOLD_KINDS
};
void held_add(enum holding kind, const void *object, size_t size, UINT32 tag);
BOOL held_drop(enum holding kind, const void *object); /* FALSE: no driver holds such a thing */
BOOL held_find(enum holding kind, const void *object, struct origin *made, UINT32 *tag);
unsigned held_alike(enum holding kind, const void *object); /* how many of a kind its owner holds */
void held_sweep(const void *image); /* reports what this driver still holds, and forgets it */
BOOL held_was_freed(const void *block); /* pool memory that was freed and is not allocated again */
/* A block of pool memory is the engine's from here on. FALSE: the driver did not have it from the pool. */
BOOL held_hand_over(const void *block);
BOOL held_by_engine(const void *block, BOOL forget);

#endif

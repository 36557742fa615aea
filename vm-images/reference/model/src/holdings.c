/*
 * What drivers hold: pool memory, handles, lists, contexts, objects. Each thing is entered by the call that made it, with
 * the place in the driver, and taken out by the call that gives it back; what a driver has not given back when it is
 * unloaded is reported, once for each place.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <string.h>

#include "model.h"

enum { BUCKETS = 1024, FREED = 4096, STACK_OF_HOLDING = 4 };

struct entry {
    struct entry *next;
    enum holding kind;
    BOOL engines; /* pool memory that the engine took over and will free */
    const void *object;
    size_t size;
    UINT32 tag;
    struct origin made;
};

static SRWLOCK holdings_lock = SRWLOCK_INIT; /* all below; no other lock is taken while it is held */
static struct entry *buckets[BUCKETS];
static const void *freed[FREED]; /* pool memory, by its address */

static const struct {
    const char *rule, *call, *noun, *wanted;
} words[HOLD_KINDS] = {
    [HOLD_POOL] = {RULE_POOL, "ExAllocatePoolWithTag", "block(s) of pool memory", "ExFreePoolWithTag"},
    [HOLD_CLONE] = {"W265", "FwpsAllocateCloneNetBufferList0", "cloned NET_BUFFER_LIST(s)", "FwpsFreeCloneNetBufferList0"},
    [HOLD_STREAM] = {"W296", "FwpsCloneStreamData0", "cloned list(s) of stream data", "FwpsDiscardClonedStreamData0"},
    [HOLD_NBL] = {"W304", "FwpsAllocateNetBufferAndNetBufferList0", "NET_BUFFER_LIST(s)", "FwpsFreeNetBufferList0"},
    [HOLD_REFERENCE] = {"W267", "FwpsReferenceNetBufferList0", "reference(s) to a NET_BUFFER_LIST", "FwpsDereferenceNetBufferList0"},
    [HOLD_NBL_POOL] = {"W304", "NdisAllocateNetBufferListPool", "pool(s) of NET_BUFFER_LISTs", "NdisFreeNetBufferListPool"},
    [HOLD_NB_POOL] = {"W304", "NdisAllocateNetBufferPool", "pool(s) of NET_BUFFERs", "NdisFreeNetBufferPool"},
    [HOLD_INJECTION] = {"W016", "FwpsInjectionHandleCreate0", "injection handle(s)", "FwpsInjectionHandleDestroy0"},
    [HOLD_REDIRECT] = {"W119", "FwpsRedirectHandleCreate0", "redirect handle(s)", "FwpsRedirectHandleDestroy0"},
    [HOLD_CLASSIFY] = {"W128", "FwpsAcquireClassifyHandle0", "classify handle(s)", "FwpsReleaseClassifyHandle0"},
    [HOLD_CONTEXT] = {"W012", "FwpsFlowAssociateContext0", "flow context(s)", "FwpsFlowRemoveContext0"},
    [HOLD_CALLOUT] = {"W015", "FwpsCalloutRegister", "registered callout(s)", "FwpsCalloutUnregisterById0"},
    [HOLD_SESSION] = {"W056", "FwpmEngineOpen0", "session(s) of the filter engine", "FwpmEngineClose0"},
    [HOLD_FILTER] = {"W072", "FwpmFilterAdd0", "filter(s) outside a dynamic session", "FwpmFilterDeleteById0"},
    [HOLD_CALLOUT_OBJECT] = {"W072", "FwpmCalloutAdd0", "callout object(s) outside a dynamic session", "FwpmCalloutDeleteById0"},
    [HOLD_SUBLAYER] = {"W072", "FwpmSubLayerAdd0", "sublayer(s) outside a dynamic session", "FwpmSubLayerDeleteByKey0"},
    [HOLD_SUBSCRIPTION] = {"W071", "FwpmBfeStateSubscribeChanges0", "subscription(s)", "FwpmBfeStateUnsubscribeChanges0"},
    [HOLD_DEVICE] = {"W016", "IoCreateDevice", "device object(s)", "IoDeleteDevice"},
    [HOLD_PENDED] = {"W183", "FwpsPendOperation0", "pended operation(s)", "FwpsCompleteOperation0"},
    [HOLD_PENDED_CLASSIFY] = {"W166", "FwpsPendClassify0", "pended classif(ies)", "FwpsCompleteClassify0"},
};

static struct entry **place_of(enum holding kind, const void *object)
{
    struct entry **at = &buckets[((uintptr_t)object >> 4 ^ (uintptr_t)object >> 14) % BUCKETS];
    while (*at && !((*at)->object == object && (*at)->kind == kind))
        at = &(*at)->next;
    return at;
}

static const void **freed_slot(const void *block)
{
    return &freed[((uintptr_t)block >> 4) % FREED];
}

void held_add(enum holding kind, const void *object, size_t size, UINT32 tag)
{
    struct entry *held;
    struct origin made;
    origin_capture(&made, STACK_OF_HOLDING);
    if (!made.image) /* Wine's own, or the model's */
        return;
    held = mem_alloc(sizeof *held);
    held->kind = kind;
    held->object = object;
    held->size = size;
    held->tag = tag;
    held->made = made;
    AcquireSRWLockExclusive(&holdings_lock);
    struct entry **at = &buckets[((uintptr_t)object >> 4 ^ (uintptr_t)object >> 14) % BUCKETS];
    held->next = *at;
    *at = held;
    if (kind == HOLD_POOL && *freed_slot(object) == object)
        *freed_slot(object) = NULL;
    ReleaseSRWLockExclusive(&holdings_lock);
}

static struct entry *take(enum holding kind, const void *object)
{
    AcquireSRWLockExclusive(&holdings_lock);
    struct entry **at = place_of(kind, object), *held = *at;
    if (held) {
        *at = held->next;
        if (kind == HOLD_POOL)
            *freed_slot(object) = object;
    }
    ReleaseSRWLockExclusive(&holdings_lock);
    return held;
}

BOOL held_drop(enum holding kind, const void *object)
{
    struct entry *held = take(kind, object);
    mem_free(held);
    return held != NULL;
}

BOOL held_find(enum holding kind, const void *object, struct origin *made, UINT32 *tag)
{
    AcquireSRWLockShared(&holdings_lock);
    const struct entry *held = *place_of(kind, object);
    if (held && made)
        *made = held->made;
    if (held && tag)
        *tag = held->tag;
    ReleaseSRWLockShared(&holdings_lock);
    return held != NULL;
}

unsigned held_alike(enum holding kind, const void *object)
{
    unsigned count = 0;
    AcquireSRWLockShared(&holdings_lock);
    const struct entry *one = *place_of(kind, object);
    for (unsigned i = 0; one && i < BUCKETS; i++)
        for (const struct entry *h = buckets[i]; h; h = h->next)
            count += h->kind == kind && h->made.image == one->made.image;
    ReleaseSRWLockShared(&holdings_lock);
    return count;
}

BOOL held_was_freed(const void *block)
{
    AcquireSRWLockShared(&holdings_lock);
    BOOL result = block && *freed_slot(block) == block;
    ReleaseSRWLockShared(&holdings_lock);
    return result;
}

BOOL held_hand_over(const void *block)
{
    AcquireSRWLockExclusive(&holdings_lock);
    struct entry *held = *place_of(HOLD_POOL, block);
    if (held)
        held->engines = TRUE;
    ReleaseSRWLockExclusive(&holdings_lock);
    return held != NULL;
}

BOOL held_by_engine(const void *block, BOOL forget)
{
    AcquireSRWLockShared(&holdings_lock);
    const struct entry *held = *place_of(HOLD_POOL, block);
    BOOL result = held && held->engines;
    ReleaseSRWLockShared(&holdings_lock);
    if (result && forget)
        held_drop(HOLD_POOL, block);
    return result;
}

static BOOL same_place(const struct entry *a, const struct entry *b)
{
    return a->kind == b->kind && a->made.count == b->made.count &&
           !memcmp(a->made.frame, b->made.frame, a->made.count * sizeof a->made.frame[0]);
}

static void tell(struct entry *first, struct entry **rest)
{
    unsigned count = 1;
    size_t size = first->size;
    char bytes[48] = "";
    for (struct entry **at = rest; *at;) {
        struct entry *other = *at;
        if (!same_place(first, other)) {
            at = &other->next;
            continue;
        }
        count++;
        size += other->size;
        *at = other->next;
        mem_free(other);
    }
    if (first->kind == HOLD_POOL)
        _snprintf(bytes, sizeof bytes - 1, " of %llu bytes with the tag '%.4s'", (unsigned long long)size, (const char *)&first->tag);
    contract_broken_at(words[first->kind].rule, words[first->kind].call, &first->made,
                       "the driver was unloaded and left %u %s%s: %s has to be called for each before DriverUnload returns", count,
                       words[first->kind].noun, bytes, words[first->kind].wanted);
}

void held_sweep(const void *image)
{
    struct entry *left = NULL;
    AcquireSRWLockExclusive(&holdings_lock);
    for (unsigned i = 0; i < BUCKETS; i++)
        for (struct entry **at = &buckets[i], *held; (held = *at);) {
            if (held->made.image != image || held->engines) {
                at = &held->next;
                continue;
            }
            *at = held->next;
            held->next = left;
            left = held;
        }
    ReleaseSRWLockExclusive(&holdings_lock);
    while (left) {
        struct entry *first = left;
        left = first->next;
        tell(first, &left);
        mem_free(first);
    }
}

/*
 * Packet tagging (W300 to W303): what drivers hang on a NET_BUFFER_LIST, found again at another layer. A driver is told
 * when its list is cloned, copied, done with, or loses its context; never while the lock is held.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model.h"

typedef NTSTATUS(NTAPI *TAG_NOTIFY)(UINT32 event, NET_BUFFER_LIST *nbl, NET_BUFFER_LIST *changed, UINT16 layer, UINT64 context, UINT64 tag);

struct nbl_tag {
    struct nbl_tag *next;             /* of the same list */
    struct nbl_tag *after, **before;  /* of all */
    struct nbl_block *block;
    UINT64 context, tag;
    UINT16 layer;
    TAG_NOTIFY notify;
};

enum { TOLD_MAX = 8 };
static SRWLOCK tag_lock = SRWLOCK_INIT; /* all tags; the last lock, as retired_lock is */
static struct nbl_tag *all;
static volatile LONG64 last_tag = 0x7a60000;

UINT64 NTAPI FwpsNetBufferListGetTagForContext0(void)
{
    return (UINT64)InterlockedIncrement64(&last_tag);
}

static void tell(const struct nbl_tag *tag, UINT32 event, NET_BUFFER_LIST *changed)
{
    if (!tag->notify)
        return;
    UINT32 before = irql_enter(irql_now());
    tag->notify(event, &tag->block->nbl, changed, tag->layer, tag->context, tag->tag);
    irql_leave(before, before, "the notifyFn of a tagged packet", tag->notify);
}

static void unlink_tag(struct nbl_tag *tag)
{
    struct nbl_tag **at = &tag->block->tags;
    while (*at != tag)
        at = &(*at)->next;
    *at = tag->next;
    *tag->before = tag->after;
    if (tag->after)
        tag->after->before = tag->before;
}

static struct nbl_tag *find(const struct nbl_block *block, UINT64 wanted)
{
    struct nbl_tag *tag = block ? block->tags : NULL;
    while (tag && tag->tag != wanted)
        tag = tag->next;
    return tag;
}

static BOOL take_first(struct nbl_block *block, struct nbl_tag *copy)
{
    AcquireSRWLockExclusive(&tag_lock);
    struct nbl_tag *tag = block->tags;
    if (tag) {
        *copy = *tag;
        unlink_tag(tag);
        mem_free(tag);
    }
    ReleaseSRWLockExclusive(&tag_lock);
    return tag != NULL;
}

/* Of a list that is cloned or copied (nbl.c), or that leaves the stack: then its contexts go. */
static void tag_event(struct nbl_block *block, UINT32 event, NET_BUFFER_LIST *changed, BOOL last)
{
    struct nbl_tag copies[TOLD_MAX];
    unsigned count = 0;
    if (last) {
        while (take_first(block, copies))
            tell(copies, event, changed);
        return;
    }
    AcquireSRWLockShared(&tag_lock);
    for (struct nbl_tag *tag = block->tags; tag && count < TOLD_MAX; tag = tag->next)
        copies[count++] = *tag;
    ReleaseSRWLockShared(&tag_lock);
    for (unsigned i = 0; i < count; i++)
        tell(&copies[i], event, changed);
}

NTSTATUS NTAPI FwpsNetBufferListAssociateContext1(NET_BUFFER_LIST *nbl, UINT16 layer, UINT64 context, UINT64 tag, GUID *provider,
                                                  void *device, TAG_NOTIFY notify, UINT32 flags)
{
    struct nbl_block *block = nbl_block_of(nbl);
    NTSTATUS status = STATUS_SUCCESS;
    (void)provider, (void)device;
    if (!block || !tag || tag > (UINT64)last_tag || flags)
        return STATUS_INVALID_PARAMETER;
    struct nbl_tag *made = mem_alloc(sizeof *made);
    *made = (struct nbl_tag){.block = block, .context = context, .tag = tag, .layer = layer, .notify = notify};
    AcquireSRWLockExclusive(&tag_lock);
    if (find(block, tag)) {
        status = STATUS_FWP_ALREADY_EXISTS;
    } else {
        made->next = block->tags;
        block->tags = made;
        made->after = all;
        made->before = &all;
        if (all)
            all->before = &made->after;
        all = made;
        block->tag_event = tag_event;
    }
    ReleaseSRWLockExclusive(&tag_lock);
    if (status)
        mem_free(made);
    return status;
}

/* The function that is told returns nothing in version 0, which its caller cannot tell apart. */
NTSTATUS NTAPI FwpsNetBufferListAssociateContext0(NET_BUFFER_LIST *nbl, UINT16 layer, UINT64 context, UINT64 tag, GUID *provider,
                                                  void *device, TAG_NOTIFY notify, UINT32 flags)
{
    return FwpsNetBufferListAssociateContext1(nbl, layer, context, tag, provider, device, notify, flags);
}

NTSTATUS NTAPI FwpsNetBufferListRetrieveContext0(NET_BUFFER_LIST *nbl, UINT64 wanted, BOOLEAN take, UINT32 flags, UINT64 *context)
{
    struct nbl_block *block = nbl_block_of(nbl);
    if (!context || flags)
        return STATUS_INVALID_PARAMETER;
    AcquireSRWLockExclusive(&tag_lock);
    struct nbl_tag *tag = find(block, wanted);
    if (tag) {
        *context = tag->context;
        if (take) {
            unlink_tag(tag);
            mem_free(tag);
        }
    }
    ReleaseSRWLockExclusive(&tag_lock);
    return tag ? STATUS_SUCCESS : STATUS_NOT_FOUND;
}

/* Off one list, or off every list that has it. */
NTSTATUS NTAPI FwpsNetBufferListRemoveContext0(NET_BUFFER_LIST *nbl, UINT64 wanted, UINT32 flags)
{
    struct nbl_block *block = nbl_block_of(nbl);
    BOOL found = FALSE, more = TRUE;
    if (flags)
        return STATUS_INVALID_PARAMETER;
    while (more) {
        struct nbl_tag copy;
        AcquireSRWLockExclusive(&tag_lock);
        struct nbl_tag *tag = nbl ? find(block, wanted) : all;
        while (!nbl && tag && tag->tag != wanted)
            tag = tag->after;
        if (tag) {
            copy = *tag;
            InterlockedIncrement(&copy.block->references);
            unlink_tag(tag);
            mem_free(tag);
        }
        ReleaseSRWLockExclusive(&tag_lock);
        more = tag && !nbl;
        if (tag) {
            found = TRUE;
            tell(&copy, TAG_EVENT_REMOVED, NULL);
            nbl_release(&copy.block->nbl);
        }
    }
    return found ? STATUS_SUCCESS : STATUS_NOT_FOUND;
}

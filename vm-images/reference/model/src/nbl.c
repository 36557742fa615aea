/*
 * NET_BUFFER_LISTs: those that the model shows to drivers, clones, and those that drivers build. Linked into
 * fwpkclnt.sys and ndis.sys alike; keeps no state of its own, so that two copies work on one another's lists.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "model.h"

enum { NDIS_STATUS_RESOURCES = (int)0xc000009a };
enum { NBL_MAGIC = 0x4c424e57, NBL_DEAD = 0x44414544, POOL_MAGIC = 0x4c4f4f50, KEPT = 64, MDLS_MAX = 65536, MAX_RETREAT = 1 << 20 };

/* The last lists that were freed are kept for a while, so that whoever uses one afterwards is told (W267). */
static struct nbl_block *volatile kept[KEPT];
static volatile LONG kept_next;

struct nbl_block *nbl_block_of(const NET_BUFFER_LIST *nbl)
{
    struct nbl_block *block = (struct nbl_block *)((uint8_t *)(uintptr_t)nbl - offsetof(struct nbl_block, nbl));
    if (nbl && block->magic == NBL_DEAD)
        contract_broken(block->of_driver ? "W245" : "W267", "NET_BUFFER_LIST", block->of_driver
                            ? "a NET_BUFFER_LIST is used, or freed again, after it has been freed: each is freed once, in its completionFn where it was injected"
                            : "a NET_BUFFER_LIST of the stack is used after it has gone: FwpsReferenceNetBufferList0 keeps it beyond classifyFn");
    return nbl && block->magic == NBL_MAGIC ? block : NULL;
}

static uint8_t *mdl_bytes(const MDL *mdl)
{
    return (mdl->MdlFlags & (MDL_MAPPED | MDL_NONPAGED)) && mdl->MappedSystemVa ? mdl->MappedSystemVa
                                                                                : (uint8_t *)mdl->StartVa + mdl->ByteOffset;
}

void nb_set(NET_BUFFER *nb, ULONG offset, ULONG length)
{
    MDL *mdl = nb->MdlChain;
    ULONG left = offset;
    for (unsigned i = 0; i < MDLS_MAX && mdl && mdl->Next && left >= mdl->ByteCount; i++) {
        left -= mdl->ByteCount;
        mdl = mdl->Next;
    }
    nb->CurrentMdl = mdl;
    nb->CurrentMdlOffset = left;
    nb->DataOffset = offset;
    nb->DataLength = length;
}

size_t nb_copy(const NET_BUFFER *nb, uint8_t *out, size_t room)
{
    size_t done = 0, offset = nb->DataOffset, want = nb->DataLength < room ? nb->DataLength : room;
    const MDL *mdl = nb->MdlChain;
    for (unsigned i = 0; i < MDLS_MAX && mdl && done < want; i++, mdl = mdl->Next) {
        if (offset >= mdl->ByteCount) {
            offset -= mdl->ByteCount;
            continue;
        }
        size_t part = mdl->ByteCount - offset < want - done ? mdl->ByteCount - offset : want - done;
        memcpy(out + done, mdl_bytes(mdl) + offset, part);
        done += part;
        offset = 0;
    }
    return done;
}

static BOOL is_contiguous(const NET_BUFFER *nb, ULONG length)
{
    const MDL *mdl = nb->CurrentMdl;
    return mdl && nb->CurrentMdlOffset <= mdl->ByteCount && mdl->ByteCount - nb->CurrentMdlOffset >= length;
}

BOOL nb_is_aligned(const NET_BUFFER *nb)
{
    return !is_contiguous(nb, 1) || ((uintptr_t)(mdl_bytes(nb->CurrentMdl) + nb->CurrentMdlOffset) & (sizeof(void *) - 1)) == 0;
}

static void mdl_describe(MDL *mdl, void *buffer, size_t size)
{
    mdl->Size = sizeof *mdl;
    mdl->MdlFlags = MDL_NONPAGED;
    mdl->MappedSystemVa = buffer;
    mdl->StartVa = (void *)((uintptr_t)buffer & ~(uintptr_t)4095);
    mdl->ByteOffset = (ULONG)((uintptr_t)buffer & 4095);
    mdl->ByteCount = (ULONG)size;
}

struct pool {
    UINT32 magic;
    BOOL net_buffers;
};

HANDLE pool_make(BOOL net_buffers)
{
    struct pool *pool = mem_alloc(sizeof *pool);
    pool->magic = POOL_MAGIC;
    pool->net_buffers = net_buffers;
    return pool;
}

BOOL pool_has_net_buffers(HANDLE handle)
{
    const struct pool *pool = handle;
    return pool->magic != POOL_MAGIC || pool->net_buffers;
}

static struct nbl_block *block_new(void)
{
    struct nbl_block *block = mem_alloc(sizeof *block);
    block->magic = NBL_MAGIC;
    block->references = 1;
    return block;
}

NET_BUFFER_LIST *nbl_wrap(void *buffer, size_t buffer_size, size_t offset, size_t length)
{
    struct nbl_block *block = block_new();
    block->data = buffer;
    mdl_describe(&block->mdl, buffer, buffer_size);
    block->nbl.FirstNetBuffer = &block->nb;
    block->nb.MdlChain = &block->mdl;
    nb_set(&block->nb, (ULONG)offset, (ULONG)length);
    return &block->nbl;
}

/* An MDL in front of a packet's others: header and bytes in one allocation. */
static MDL *mdl_front(ULONG size, SHORT flags)
{
    MDL *mdl = mem_alloc(sizeof *mdl + size);
    mdl_describe(mdl, mdl + 1, size);
    mdl->MdlFlags |= MDL_MODEL_OWNED | flags;
    return mdl;
}

static void drop_fronts(NET_BUFFER *nb)
{
    while (nb->MdlChain && (nb->MdlChain->MdlFlags & MDL_MODEL_OWNED)) {
        MDL *front = nb->MdlChain;
        nb->MdlChain = front->Next;
        mem_free(front);
    }
}

uint8_t *nb_rebuild(NET_BUFFER *nb, size_t size)
{
    if (nb->DataOffset + nb->DataLength >= size && is_contiguous(nb, nb->DataLength) &&
        nb->CurrentMdlOffset + nb->DataLength >= size) { /* the room in front will do */
        nb_set(nb, nb->DataOffset + nb->DataLength - (ULONG)size, (ULONG)size);
        if (is_contiguous(nb, (ULONG)size))
            return mdl_bytes(nb->CurrentMdl) + nb->CurrentMdlOffset;
    }
    MDL *front = mdl_front((ULONG)size, MDL_MODEL_REBUILT);
    front->Next = nb->MdlChain;
    nb->MdlChain = front;
    nb_set(nb, 0, (ULONG)size);
    return mdl_bytes(front);
}

static void dispose(struct nbl_block *block)
{
    if (block) {
        mem_free(block->more);
        mem_free(block);
    }
}

void nbl_release(NET_BUFFER_LIST *nbl)
{
    struct nbl_block *block = nbl_block_of(nbl);
    if (!block)
        return;
    LONG left = InterlockedDecrement(&block->references);
    MODEL_ASSERT(left >= 0);
    if (left)
        return;
    if (block->released)
        block->released(block);
    if (block->tags) {
        block->references = 1; /* while its driver looks at it once more */
        block->tag_event(block, TAG_EVENT_REMOVED, NULL, TRUE);
        block->references = 0;
    }
    drop_fronts(&block->nb);
    for (unsigned i = 0; i < block->more_count; i++)
        drop_fronts(&block->more[i].nb);
    if (nbl->ParentNetBufferList) {
        InterlockedDecrement(&nbl->ParentNetBufferList->ChildRefCount);
        nbl_release(nbl->ParentNetBufferList);
    }
    if (block->data) {
        memset(block->data, 0xdd, block->mdl.ByteCount < 256 ? block->mdl.ByteCount : 256); /* whoever reads on is not to find it */
        mem_free(block->data);
    }
    block->magic = NBL_DEAD;
    LONG place = InterlockedIncrement(&kept_next) & (KEPT - 1);
    dispose(InterlockedExchangePointer((void *volatile *)&kept[place], block));
}

void nbl_inherit_lines(struct nbl_block *to, const struct nbl_block *from)
{
    to->lines = from->lines;
    memcpy(to->line, from->line, sizeof to->line);
}

/* On Windows it goes to whoever has its memory by then, or into a list for the second time. */
void nbl_freed_again(const NET_BUFFER_LIST *nbl)
{
    enum { BAD_POOL_CALLER_ = 0xc2, FREED_BEFORE = 7 };
    const struct nbl_block *block = (const struct nbl_block *)((const uint8_t *)nbl - offsetof(struct nbl_block, nbl));
    if (nbl && block->of_driver && (block->magic == NBL_DEAD || block->given_back))
        contract_fatal(BAD_POOL_CALLER_, FREED_BEFORE, 0, 0, (uintptr_t)nbl);
}

void nbl_give_back(NET_BUFFER_LIST *nbl, const char *call)
{
    struct nbl_block *block = nbl_block_of(nbl);
    enum holding kind = !block || !block->is_clone ? HOLD_NBL : block->released ? HOLD_STREAM : HOLD_CLONE;
    if (!block) {
        nbl_freed_again(nbl);
        return;
    }
    if (!block->of_driver) {
        contract_broken("W267", call, "the NET_BUFFER_LIST is one of the stack's: a driver frees what it allocated or cloned");
        return;
    }
    if (block->flying) {
        contract_broken("W245", call, "the NET_BUFFER_LIST was freed between its injection and its completionFn: it is the stack's until then");
        held_drop(kind, nbl);
        return; /* and still is */
    }
    if (block->given_back) { /* a clone of it still lives */
        contract_broken("W245", call, "the NET_BUFFER_LIST was freed before: each is freed once, in its completionFn where it was injected");
        nbl_freed_again(nbl);
        return;
    }
    block->given_back = TRUE;
    held_drop(kind, nbl);
    nbl_release(nbl);
}

void nbl_inherit(NET_BUFFER_LIST *to, const NET_BUFFER_LIST *origin)
{
    struct nbl_block *block = nbl_block_of(to), *from = nbl_block_of(origin);
    if (!block || !from)
        return;
    block->marks = from->marks;
    memcpy(block->mark, from->mark, sizeof block->mark);
    if (from->tags)
        from->tag_event(from, TAG_EVENT_DUPLICATED, to, FALSE);
}

void nbl_leaves(NET_BUFFER_LIST *nbl, BOOL outbound)
{
    struct nbl_block *block = nbl_block_of(nbl);
    if (block && block->tags)
        block->tag_event(block, outbound ? TAG_EVENT_SENT : TAG_EVENT_RECEIVED, NULL, TRUE);
}

/* ---- clones ---- */

static unsigned buffers_of(const NET_BUFFER_LIST *nbl)
{
    unsigned count = 0;
    for (const NET_BUFFER *nb = nbl->FirstNetBuffer; nb; nb = nb->Next)
        count++;
    return count;
}

static void clone_buffer(NET_BUFFER *copy, const NET_BUFFER *nb, HANDLE pool)
{
    copy->MdlChain = nb->MdlChain;
    copy->NdisPoolHandle = pool;
    nb_set(copy, nb->DataOffset, nb->DataLength);
}

NET_BUFFER_LIST *nbl_clone(NET_BUFFER_LIST *original, HANDLE nbl_pool, HANDLE nb_pool, UINT32 event)
{
    struct nbl_block *block = block_new(), *from = nbl_block_of(original);
    unsigned count = buffers_of(original), i = 0;
    block->more_count = count > 1 ? count - 1 : 0;
    if (block->more_count)
        block->more = mem_alloc(block->more_count * sizeof block->more[0]);
    NET_BUFFER **at = &block->nbl.FirstNetBuffer;
    for (NET_BUFFER *nb = original->FirstNetBuffer; nb; nb = nb->Next, i++) {
        NET_BUFFER *copy = i ? &block->more[i - 1].nb : &block->nb;
        clone_buffer(copy, nb, nb_pool);
        *(i ? &block->more[i - 1].chain : &block->chain) = nb->MdlChain;
        *at = copy;
        at = &copy->Next;
    }
    block->is_clone = block->of_driver = TRUE;
    block->nbl.NdisPoolHandle = nbl_pool;
    block->nbl.ParentNetBufferList = original;
    memcpy(block->nbl.NetBufferListInfo, original->NetBufferListInfo, sizeof original->NetBufferListInfo);
    InterlockedIncrement(&original->ChildRefCount);
    if (from) {
        InterlockedIncrement(&from->references);
        block->marks = from->marks;
        block->ale_required = from->ale_required;
        nbl_inherit_lines(block, from);
        memcpy(block->mark, from->mark, sizeof block->mark);
        if (from->tags)
            from->tag_event(from, event, &block->nbl, FALSE);
    }
    size_t size = 0;
    for (const NET_BUFFER *nb = block->nbl.FirstNetBuffer; nb; nb = nb->Next)
        size += nb->DataLength;
    held_add(HOLD_CLONE, &block->nbl, size, 0);
    return &block->nbl;
}

NET_BUFFER_LIST *nbl_over(HANDLE pool, MDL *chain, ULONG offset, ULONG length)
{
    struct nbl_block *block = block_new();
    const NET_BUFFER_LIST *shown;
    block->of_driver = TRUE;
    if (contract_in_classify(&shown) && nbl_block_of(shown)) /* a copy of it, most likely */
        nbl_inherit_lines(block, nbl_block_of(shown));
    held_add(HOLD_NBL, &block->nbl, length, 0);
    block->nbl.FirstNetBuffer = &block->nb;
    block->nbl.NdisPoolHandle = pool;
    block->nb.MdlChain = chain;
    nb_set(&block->nb, offset, length);
    return &block->nbl;
}

/* What the engine put in front itself goes with the clone (W266). */
static BOOL chain_is_restored(const NET_BUFFER *nb, const MDL *chain)
{
    const MDL *mdl = nb->MdlChain;
    while (mdl && mdl != chain && (mdl->MdlFlags & MDL_MODEL_OWNED) && (mdl->MdlFlags & MDL_MODEL_REBUILT))
        mdl = mdl->Next;
    return mdl == chain;
}

BOOL nbl_is_restored(const struct nbl_block *clone)
{
    BOOL restored = chain_is_restored(&clone->nb, clone->chain);
    for (unsigned i = 0; i < clone->more_count; i++)
        restored = restored && chain_is_restored(&clone->more[i].nb, clone->more[i].chain);
    return restored;
}

/* ---- NDIS: what drivers do to NET_BUFFERs ---- */

void *NTAPI NdisGetDataBuffer(NET_BUFFER *nb, ULONG needed, void *storage, UINT32 multiple, UINT32 offset);
void *NTAPI NdisGetDataBuffer(NET_BUFFER *nb, ULONG needed, void *storage, UINT32 multiple, UINT32 offset)
{
    (void)multiple, (void)offset;
    if (!nb || !needed || nb->DataLength < needed || !nb->CurrentMdl)
        return NULL;
    if (is_contiguous(nb, needed))
        return mdl_bytes(nb->CurrentMdl) + nb->CurrentMdlOffset;
    return storage && nb_copy(nb, storage, needed) == needed ? storage : NULL;
}

int NTAPI NdisRetreatNetBufferDataStart(NET_BUFFER *nb, ULONG delta, ULONG backfill, void *allocate);
int NTAPI NdisRetreatNetBufferDataStart(NET_BUFFER *nb, ULONG delta, ULONG backfill, void *allocate)
{
    (void)allocate;
    if (nb->DataOffset >= delta && nb->DataLength <= 0xffffffffu - delta) {
        nb_set(nb, nb->DataOffset - delta, nb->DataLength + delta);
        return 0;
    }
    if (delta > MAX_RETREAT || backfill > MAX_RETREAT || nb->DataLength > 0xffffffffu - delta)
        return NDIS_STATUS_RESOURCES;
    ULONG room = delta - nb->DataOffset;
    ULONG length = nb->DataLength + delta;
    MDL *front = mdl_front(room + backfill, 0);
    front->Next = nb->MdlChain;
    nb->MdlChain = front;
    nb_set(nb, backfill, length);
    return 0;
}

void NTAPI NdisAdvanceNetBufferDataStart(NET_BUFFER *nb, ULONG delta, BOOLEAN free_mdl, void *free);
void NTAPI NdisAdvanceNetBufferDataStart(NET_BUFFER *nb, ULONG delta, BOOLEAN free_mdl, void *free)
{
    (void)free;
    if (delta > nb->DataLength) {
        contract_broken("W228", "NdisAdvanceNetBufferDataStart", "the data start is advanced by %u bytes, the packet has %u", (unsigned)delta, (unsigned)nb->DataLength);
        delta = nb->DataLength;
    }
    ULONG offset = nb->DataOffset + delta, length = nb->DataLength - delta;
    while (free_mdl && nb->MdlChain && (nb->MdlChain->MdlFlags & MDL_MODEL_OWNED) && offset >= nb->MdlChain->ByteCount) {
        MDL *front = nb->MdlChain;
        offset -= front->ByteCount;
        nb->MdlChain = front->Next;
        mem_free(front);
    }
    nb_set(nb, offset, length);
}

/*
 * NET_BUFFER_LISTs: those that the model shows to drivers, clones, and those that drivers build. Linked into
 * fwpkclnt.sys and ndis.sys alike; keeps no state of its own, so that two copies work on one another's lists.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "model.h"

enum { NBL_MAGIC = 0x4c424e57 };

struct nbl_block *nbl_block_of(const NET_BUFFER_LIST *nbl)
{
    struct nbl_block *block = (struct nbl_block *)((uint8_t *)(uintptr_t)nbl - offsetof(struct nbl_block, nbl));
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
    while (mdl && mdl->Next && left >= mdl->ByteCount) {
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
    for (const MDL *mdl = nb->MdlChain; mdl && done < want; mdl = mdl->Next) {
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

static void mdl_describe(MDL *mdl, void *buffer, size_t size)
{
    mdl->Size = sizeof *mdl;
    mdl->MdlFlags = MDL_NONPAGED;
    mdl->MappedSystemVa = buffer;
    mdl->StartVa = (void *)((uintptr_t)buffer & ~(uintptr_t)4095);
    mdl->ByteOffset = (ULONG)((uintptr_t)buffer & 4095);
    mdl->ByteCount = (ULONG)size;
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

/* An MDL that NdisRetreat put in front: header and bytes in one allocation. */
static MDL *mdl_front(ULONG size)
{
    MDL *mdl = mem_alloc(sizeof *mdl + size);
    mdl_describe(mdl, mdl + 1, size);
    mdl->MdlFlags |= MDL_MODEL_OWNED;
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

void nbl_release(NET_BUFFER_LIST *nbl)
{
    struct nbl_block *block = nbl_block_of(nbl);
    if (!block || InterlockedDecrement(&block->references))
        return;
    for (NET_BUFFER *nb = nbl->FirstNetBuffer, *next; nb; nb = next) {
        next = nb->Next;
        drop_fronts(nb);
        if (nb != &block->nb)
            mem_free(nb);
    }
    if (nbl->ParentNetBufferList) {
        InterlockedDecrement(&nbl->ParentNetBufferList->ChildRefCount);
        nbl_release(nbl->ParentNetBufferList);
    }
    mem_free(block->data);
    block->magic = 0;
    mem_free(block);
}

/* ---- Fwps: clones and references ---- */

NTSTATUS NTAPI FwpsAllocateCloneNetBufferList0(NET_BUFFER_LIST *original, HANDLE nbl_pool, HANDLE nb_pool, ULONG flags,
                                               NET_BUFFER_LIST **clone)
{
    (void)flags;
    if (!original || !clone)
        return STATUS_INVALID_PARAMETER;
    struct nbl_block *block = block_new(), *from = nbl_block_of(original);
    NET_BUFFER **at = &block->nbl.FirstNetBuffer;
    for (NET_BUFFER *nb = original->FirstNetBuffer; nb; nb = nb->Next) {
        NET_BUFFER *copy = nb == original->FirstNetBuffer ? &block->nb : mem_alloc(sizeof *copy);
        copy->MdlChain = nb->MdlChain;
        copy->NdisPoolHandle = nb_pool;
        nb_set(copy, nb->DataOffset, nb->DataLength);
        *at = copy;
        at = &copy->Next;
    }
    block->nbl.NdisPoolHandle = nbl_pool;
    block->nbl.ParentNetBufferList = original;
    memcpy(block->nbl.NetBufferListInfo, original->NetBufferListInfo, sizeof original->NetBufferListInfo);
    InterlockedIncrement(&original->ChildRefCount);
    if (from) {
        InterlockedIncrement(&from->references);
        block->marks = from->marks;
        memcpy(block->mark, from->mark, sizeof block->mark);
    }
    *clone = &block->nbl;
    return STATUS_SUCCESS;
}

void NTAPI FwpsFreeCloneNetBufferList0(NET_BUFFER_LIST *clone, ULONG flags)
{
    (void)flags;
    nbl_release(clone);
}

void NTAPI FwpsReferenceNetBufferList0(NET_BUFFER_LIST *nbl, BOOLEAN intend_to_modify)
{
    (void)intend_to_modify;
    struct nbl_block *block = nbl_block_of(nbl);
    if (block)
        InterlockedIncrement(&block->references);
}

void NTAPI FwpsDereferenceNetBufferList0(NET_BUFFER_LIST *nbl, BOOLEAN dispatch_level)
{
    (void)dispatch_level;
    nbl_release(nbl);
}

NTSTATUS NTAPI FwpsAllocateNetBufferAndNetBufferList0(HANDLE pool, USHORT context_size, USHORT context_backfill, MDL *chain,
                                                      ULONG offset, SIZE_T length, NET_BUFFER_LIST **out)
{
    (void)context_size, (void)context_backfill;
    if (!out)
        return STATUS_INVALID_PARAMETER;
    struct nbl_block *block = block_new();
    block->nbl.FirstNetBuffer = &block->nb;
    block->nbl.NdisPoolHandle = pool;
    block->nb.MdlChain = chain;
    nb_set(&block->nb, offset, (ULONG)length);
    *out = &block->nbl;
    return STATUS_SUCCESS;
}

void NTAPI FwpsFreeNetBufferList0(NET_BUFFER_LIST *nbl)
{
    nbl_release(nbl);
}

/* ---- NDIS: what drivers do to NET_BUFFERs ---- */

void *NTAPI NdisGetDataBuffer(NET_BUFFER *nb, ULONG needed, void *storage, UINT32 multiple, UINT32 offset);
void *NTAPI NdisGetDataBuffer(NET_BUFFER *nb, ULONG needed, void *storage, UINT32 multiple, UINT32 offset)
{
    (void)multiple, (void)offset;
    if (!nb || !needed || nb->DataLength < needed || !nb->CurrentMdl)
        return NULL;
    if (nb->CurrentMdl->ByteCount - nb->CurrentMdlOffset >= needed)
        return mdl_bytes(nb->CurrentMdl) + nb->CurrentMdlOffset;
    if (!storage)
        return NULL;
    nb_copy(nb, storage, needed);
    return storage;
}

int NTAPI NdisRetreatNetBufferDataStart(NET_BUFFER *nb, ULONG delta, ULONG backfill, void *allocate);
int NTAPI NdisRetreatNetBufferDataStart(NET_BUFFER *nb, ULONG delta, ULONG backfill, void *allocate)
{
    (void)allocate;
    if (nb->DataOffset >= delta) {
        nb_set(nb, nb->DataOffset - delta, nb->DataLength + delta);
        return 0;
    }
    ULONG room = delta - nb->DataOffset;
    ULONG length = nb->DataLength + delta;
    MDL *front = mdl_front(room + backfill);
    front->Next = nb->MdlChain;
    nb->MdlChain = front;
    nb_set(nb, backfill, length);
    return 0;
}

void NTAPI NdisAdvanceNetBufferDataStart(NET_BUFFER *nb, ULONG delta, BOOLEAN free_mdl, void *free);
void NTAPI NdisAdvanceNetBufferDataStart(NET_BUFFER *nb, ULONG delta, BOOLEAN free_mdl, void *free)
{
    (void)free;
    ULONG offset = nb->DataOffset + delta, length = nb->DataLength - delta;
    while (free_mdl && nb->MdlChain && (nb->MdlChain->MdlFlags & MDL_MODEL_OWNED) && offset >= nb->MdlChain->ByteCount) {
        MDL *front = nb->MdlChain;
        offset -= front->ByteCount;
        nb->MdlChain = front->Next;
        mem_free(front);
    }
    nb_set(nb, offset, length);
}

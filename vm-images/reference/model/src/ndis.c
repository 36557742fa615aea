/* ndis.sys: the NDIS functions that callout drivers use. The NET_BUFFER ones are in nbl.c. SPDX-License-Identifier: MIT */
#include <string.h>

#include "model.h"

int NTAPI NdisRetreatNetBufferDataStart(NET_BUFFER *nb, ULONG delta, ULONG backfill, void *allocate);
void NTAPI NdisAdvanceNetBufferDataStart(NET_BUFFER *nb, ULONG delta, BOOLEAN free_mdl, void *free);


/* NET_BUFFER_LIST_POOL_PARAMETERS: a header of 4 bytes, a protocol id, then fAllocateNetBuffer. */
HANDLE NTAPI NdisAllocateNetBufferListPool(HANDLE owner, const uint8_t *parameters)
{
    (void)owner;
    HANDLE pool = pool_make(parameters && parameters[5]);
    held_add(HOLD_NBL_POOL, pool, 0, 0);
    return pool;
}

void NTAPI NdisFreeNetBufferListPool(HANDLE pool)
{
    held_drop(HOLD_NBL_POOL, pool);
    mem_free(pool);
}

HANDLE NTAPI NdisAllocateNetBufferPool(HANDLE owner, const void *parameters)
{
    (void)owner, (void)parameters;
    HANDLE pool = mem_alloc(64);
    held_add(HOLD_NB_POOL, pool, 0, 0);
    return pool;
}

void NTAPI NdisFreeNetBufferPool(HANDLE pool)
{
    held_drop(HOLD_NB_POOL, pool);
    mem_free(pool);
}

void *NTAPI NdisAllocateGenericObject(void *driver, ULONG tag, USHORT size)
{
    struct {
        UCHAR type, revision;
        USHORT size;
        void *caller, *callers_caller, *driver;
    } *object = mem_alloc(sizeof *object + size);
    (void)tag;
    object->type = 1;
    object->revision = 1;
    object->size = (USHORT)sizeof *object;
    object->driver = driver;
    return object;
}

void NTAPI NdisFreeGenericObject(void *object)
{
    mem_free(object);
}

void *NTAPI NdisAllocateMemoryWithTagPriority(HANDLE owner, UINT length, ULONG tag, int priority)
{
    (void)owner, (void)tag, (void)priority;
    return mem_alloc(length);
}

void NTAPI NdisFreeMemory(void *block, UINT length, UINT flags)
{
    (void)length, (void)flags;
    mem_free(block);
}

MDL *NTAPI NdisAllocateMdl(HANDLE owner, void *buffer, UINT length)
{
    MDL *mdl = mem_alloc(sizeof *mdl);
    (void)owner;
    mdl->Size = sizeof *mdl;
    mdl->MdlFlags = MDL_NONPAGED;
    mdl->MappedSystemVa = buffer;
    mdl->StartVa = (void *)((uintptr_t)buffer & ~(uintptr_t)4095);
    mdl->ByteOffset = (ULONG)((uintptr_t)buffer & 4095);
    mdl->ByteCount = length;
    return mdl;
}

void NTAPI NdisFreeMdl(MDL *mdl)
{
    mem_free(mdl);
}

NET_BUFFER *NTAPI NdisAllocateNetBuffer(HANDLE pool, MDL *chain, ULONG offset, SIZE_T length)
{
    NET_BUFFER *nb = mem_alloc(sizeof *nb);
    nb->NdisPoolHandle = pool;
    nb->MdlChain = chain;
    nb_set(nb, offset, (ULONG)length);
    return nb;
}

void NTAPI NdisFreeNetBuffer(NET_BUFFER *nb)
{
    mem_free(nb);
}

NET_BUFFER_LIST *NTAPI NdisAllocateNetBufferAndNetBufferList(HANDLE pool, USHORT context_size, USHORT context_backfill,
                                                             MDL *chain, ULONG offset, SIZE_T length)
{
    (void)context_size, (void)context_backfill;
    return length > 0xffffffffu ? NULL : nbl_over(pool, chain, offset, (ULONG)length);
}

void NTAPI NdisFreeNetBufferList(NET_BUFFER_LIST *nbl)
{
    nbl_give_back(nbl, "NdisFreeNetBufferList");
}

NET_BUFFER_LIST *NTAPI NdisAllocateCloneNetBufferList(NET_BUFFER_LIST *original, HANDLE nbl_pool, HANDLE nb_pool, ULONG flags)
{
    (void)flags;
    return original && !original->Next ? nbl_clone(original, nbl_pool, nb_pool, TAG_EVENT_CLONED_BY_NDIS) : NULL;
}

void NTAPI NdisFreeCloneNetBufferList(NET_BUFFER_LIST *clone, ULONG flags)
{
    (void)flags;
    nbl_give_back(clone, "NdisFreeCloneNetBufferList");
}

/* All of them or none. */
int NTAPI NdisRetreatNetBufferListDataStart(NET_BUFFER_LIST *nbl, ULONG delta, ULONG backfill, void *allocate, void *free)
{
    int status = 0;
    for (NET_BUFFER *nb = nbl->FirstNetBuffer; nb && !status; nb = nb->Next) {
        status = NdisRetreatNetBufferDataStart(nb, delta, backfill, allocate);
        for (NET_BUFFER *done = nbl->FirstNetBuffer; status && done != nb; done = done->Next)
            NdisAdvanceNetBufferDataStart(done, delta, TRUE, free);
    }
    return status;
}

void NTAPI NdisAdvanceNetBufferListDataStart(NET_BUFFER_LIST *nbl, ULONG delta, BOOLEAN free_mdl, void *free)
{
    for (NET_BUFFER *nb = nbl->FirstNetBuffer; nb; nb = nb->Next)
        NdisAdvanceNetBufferDataStart(nb, delta, free_mdl, free);
}

void NTAPI NdisCopyReceiveNetBufferListInfo(NET_BUFFER_LIST *to, const NET_BUFFER_LIST *from)
{
    memcpy(to->NetBufferListInfo, from->NetBufferListInfo, sizeof to->NetBufferListInfo);
}

void NTAPI NdisCopySendNetBufferListInfo(NET_BUFFER_LIST *to, const NET_BUFFER_LIST *from)
{
    memcpy(to->NetBufferListInfo, from->NetBufferListInfo, sizeof to->NetBufferListInfo);
}

ULONG_PTR NTAPI ModelEntry(void *object, ULONG_PTR reason_or_path);
ULONG_PTR NTAPI ModelEntry(void *object, ULONG_PTR reason_or_path)
{
    (void)object;
    return reason_or_path < 4; /* TRUE to the loader, STATUS_SUCCESS as a driver */
}

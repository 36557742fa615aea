/*
 * NET_BUFFER_LISTs as the filter engine gives them to drivers: clones, references, lists over a driver's own MDLs, and
 * one list of a group of fragments (W260, W265 to W268, W271, W304).
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "model.h"

enum { PACKET_MAX = 65535, V4_HEADER = 20, V6_HEADER = 40 };

static BOOL is_drivers_call(void)
{
    struct origin where;
    origin_capture(&where, 1);
    return where.image != NULL;
}

NTSTATUS NTAPI FwpsAllocateCloneNetBufferList0(NET_BUFFER_LIST *original, HANDLE nbl_pool, HANDLE nb_pool, ULONG flags,
                                               NET_BUFFER_LIST **clone)
{
    static const char *const call = "FwpsAllocateCloneNetBufferList0";
    if (flags)
        contract_broken("W265", call, "the flags are 0x%x: they are reserved, 0 is wanted", (unsigned)flags);
    if (!original || !clone || original->Next) /* W271 */
        return STATUS_INVALID_PARAMETER;
    struct nbl_block *from = nbl_block_of(original);
    const NET_BUFFER_LIST *shown;
    if (from && !from->of_driver && !from->shown && from->kept <= 0 && from->references && !contract_in_classify(&shown) && is_drivers_call())
        contract_broken("W267", call, "a NET_BUFFER_LIST of the stack was cloned after classifyFn had returned, and without a reference: FwpsReferenceNetBufferList0 keeps it");
    *clone = nbl_clone(original, nbl_pool, nb_pool, TAG_EVENT_CLONED);
    return STATUS_SUCCESS;
}

void NTAPI FwpsFreeCloneNetBufferList0(NET_BUFFER_LIST *clone, ULONG flags)
{
    struct nbl_block *block = nbl_block_of(clone);
    (void)flags;
    if (!block) {
        nbl_freed_again(clone);
        return;
    }
    if (!block->is_clone)
        contract_broken("W304", "FwpsFreeCloneNetBufferList0", "the NET_BUFFER_LIST is no clone: FwpsFreeNetBufferList0 frees it");
    else if (!nbl_is_restored(block))
        contract_broken("W266", "FwpsFreeCloneNetBufferList0", "the MDL chain of the clone is not the one it was made with: what was changed has to be undone before it is freed");
    nbl_give_back(clone, "FwpsFreeCloneNetBufferList0");
}

void NTAPI FwpsReferenceNetBufferList0(NET_BUFFER_LIST *nbl, BOOLEAN intend_to_modify)
{
    struct nbl_block *block = nbl_block_of(nbl);
    if (intend_to_modify) /* W268: looked at when classifyFn returns */
        thread_now()->means_to_modify = TRUE;
    if (!block)
        return;
    InterlockedIncrement(&block->references);
    InterlockedIncrement(&block->kept);
    held_add(HOLD_REFERENCE, nbl, 0, 0);
}

void NTAPI FwpsDereferenceNetBufferList0(NET_BUFFER_LIST *nbl, BOOLEAN dispatch_level)
{
    struct nbl_block *block = nbl_block_of(nbl);
    (void)dispatch_level;
    if (!block)
        return;
    if (InterlockedDecrement(&block->kept) < 0) {
        InterlockedIncrement(&block->kept);
        contract_broken("W267", "FwpsDereferenceNetBufferList0", "the NET_BUFFER_LIST has no reference of a driver: one is given back for each FwpsReferenceNetBufferList0");
        return;
    }
    held_drop(HOLD_REFERENCE, nbl);
    nbl_release(nbl);
}

NTSTATUS NTAPI FwpsAllocateNetBufferAndNetBufferList0(HANDLE pool, USHORT context_size, USHORT context_backfill, MDL *chain,
                                                      ULONG offset, SIZE_T length, NET_BUFFER_LIST **out)
{
    (void)context_size, (void)context_backfill;
    if (!out || length > 0xffffffffu)
        return STATUS_INVALID_PARAMETER;
    if (pool && !pool_has_net_buffers(pool)) /* W304 */
        contract_broken("W304", "FwpsAllocateNetBufferAndNetBufferList0", "the pool was made without fAllocateNetBuffer: one with it is wanted");
    *out = nbl_over(pool, chain, offset, (ULONG)length);
    return STATUS_SUCCESS;
}

void NTAPI FwpsFreeNetBufferList0(NET_BUFFER_LIST *nbl)
{
    struct nbl_block *block = nbl_block_of(nbl);
    if (block && block->is_clone)
        contract_broken("W265", "FwpsFreeNetBufferList0", "the NET_BUFFER_LIST is a clone: FwpsFreeCloneNetBufferList0 frees it");
    nbl_give_back(nbl, "FwpsFreeNetBufferList0");
}

/* The fragments of a group, each of which begins at its IP header, as one packet with the first one's header. */
NTSTATUS NTAPI FwpsReassembleForwardFragmentGroup0(ADDRESS_FAMILY family, NET_BUFFER_LIST *chain, HANDLE pool, ULONG backfill,
                                                   ULONG flags, NET_BUFFER_LIST **out)
{
    struct packet *whole = NULL;
    BOOL broken = FALSE;
    (void)pool;
    if (!chain || !out || flags || backfill > PACKET_MAX || (family != AF_INET && family != AF_INET6))
        return STATUS_INVALID_PARAMETER;
    for (NET_BUFFER_LIST *nbl = chain; nbl && !whole && !broken; nbl = nbl->Next) {
        const NET_BUFFER *nb = nbl->FirstNetBuffer;
        if (!nb || !nb->DataLength || nb->DataLength > PACKET_MAX)
            return STATUS_INVALID_PARAMETER;
        uint8_t *frame = mem_alloc(ETHERNET + nb->DataLength);
        put16(frame + 12, family == AF_INET6 ? 0x86dd : 0x0800);
        broken = nb_copy(nb, frame + ETHERNET, nb->DataLength) != nb->DataLength;
        struct packet *fragment = broken ? NULL : packet_new(frame, ETHERNET + nb->DataLength, FALSE);
        broken = !fragment || !fragment->fragment;
        if (!broken)
            whole = fragments_take(fragment);
        packet_free(fragment);
        mem_free(frame);
    }
    if (!whole)
        return STATUS_INVALID_PARAMETER;
    size_t size = whole->end - whole->ip;
    uint8_t *buffer = mem_alloc(backfill + size);
    memcpy(buffer + backfill, whole->frame + whole->ip, size);
    *out = nbl_wrap(buffer, backfill + size, backfill, size);
    nbl_inherit(*out, chain);
    nbl_block_of(*out)->of_driver = TRUE;
    held_add(HOLD_NBL, *out, size, 0);
    packet_free(whole);
    return STATUS_SUCCESS;
}

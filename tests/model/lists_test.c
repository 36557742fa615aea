/*
 * NET_BUFFER_LISTs in a driver's hands, named after the rule catalogue: clones, references, tags, and what a classifyFn
 * may not do with the list that it is shown.
 *
 * SPDX-License-Identifier: MIT
 */
#include "inject_rig.h"

typedef NTSTATUS(NTAPI *TAG_NOTIFY)(UINT32, NET_BUFFER_LIST *, NET_BUFFER_LIST *, UINT16, UINT64, UINT64);
UINT64 NTAPI FwpsNetBufferListGetTagForContext0(void);
NTSTATUS NTAPI FwpsNetBufferListAssociateContext1(NET_BUFFER_LIST *, UINT16, UINT64, UINT64, GUID *, void *, TAG_NOTIFY, UINT32);
NTSTATUS NTAPI FwpsNetBufferListRetrieveContext0(NET_BUFFER_LIST *, UINT64, BOOLEAN, UINT32, UINT64 *);
NTSTATUS NTAPI FwpsNetBufferListRemoveContext0(NET_BUFFER_LIST *, UINT64, UINT32);
void NTAPI FwpsReferenceNetBufferList0(NET_BUFFER_LIST *, BOOLEAN);
void NTAPI FwpsDereferenceNetBufferList0(NET_BUFFER_LIST *, BOOLEAN);
NTSTATUS NTAPI FwpsAllocateNetBufferAndNetBufferList0(HANDLE, USHORT, USHORT, MDL *, ULONG, SIZE_T, NET_BUFFER_LIST **);
void NTAPI FwpsFreeNetBufferList0(NET_BUFFER_LIST *);

static HANDLE handle;

/* Runs `what` in a callout at a layer while one packet passes, and answers how many misuses were told. */
static LONG64 misuses(UINT16 layer, void (*what)(struct behaviour *, struct call *), void (*packet)(void))
{
    UINT32 id;
    begin();
    add_callout(1, layer, &id);
    register_callout(1, 0);
    behave[0].instead = what;
    add_filter(layer, 100, ACTION_CALLOUT_TERMINATING, 1, 1, 0, NULL);
    LONG64 before = stats.lint;
    packet();
    end();
    FwpsCalloutUnregisterById0(id);
    return stats.lint - before;
}

static void udp_out(void)
{
    datagram_passes();
}

static void udp_in_twice(void)
{
    link_sends(SERVER, 9000, 7070, IPPROTO_UDP, 0, 0, "the first");
    link_sends(SERVER, 9000, 7070, IPPROTO_UDP, 0, 0, "the second");
}

static void syn_out(void)
{
    guest_sends(5600, SERVER, 80, IPPROTO_TCP, 2, 1000, "");
}

/* ---- what a classifyFn may not do ---- */
static BOOL absorb, restore;

static void send_it(struct behaviour *b, struct call *call)
{
    static UCHAR remote[4] = {198, 51, 100, 5};
    static FWPS_TRANSPORT_SEND_PARAMS1 arguments = {.remoteAddress = remote};
    NET_BUFFER_LIST *clone;
    (void)b;
    call->out->actionType = ACTION_PERMIT;
    if (FwpsQueryPacketInjectionState0(handle, call->data, NULL))
        return;
    FwpsAllocateCloneNetBufferList0(call->data, NULL, NULL, 0, &clone);
    if (FwpsInjectTransportSendAsync1(handle, NULL, 0, 0, &arguments, AF_INET, 1, clone, on_injected, NULL))
        FwpsFreeCloneNetBufferList0(clone, 0);
    else
        injected_wait();
}

static unsigned received_at;

static void receive_it(struct behaviour *b, struct call *call)
{
    NET_BUFFER_LIST *clone;
    call->out->actionType = ACTION_PERMIT;
    if (FwpsQueryPacketInjectionState0(handle, call->data, NULL) || b->calls != received_at)
        return;
    NET_BUFFER *nb = ((NET_BUFFER_LIST *)call->data)->FirstNetBuffer;
    NdisRetreatNetBufferDataStart(nb, 28, 0, NULL);
    FwpsAllocateCloneNetBufferList0(call->data, NULL, NULL, 0, &clone);
    NdisAdvanceNetBufferDataStart(nb, 28, FALSE, NULL);
    if (FwpsInjectTransportReceiveAsync0(handle, NULL, NULL, 0, AF_INET, 1, 0, 0, clone, on_injected, NULL))
        FwpsFreeCloneNetBufferList0(clone, 0);
    else
        injected_wait();
}

static void swallow_and_send(struct behaviour *b, struct call *call)
{
    (void)b;
    if (FwpsQueryPacketInjectionState0(handle, call->data, NULL)) {
        call->out->actionType = ACTION_BLOCK;
        call->out->rights &= ~(UINT32)RIGHT_ACTION_WRITE;
        return;
    }
    send_it(b, call);
}

static void mean_to_modify(struct behaviour *b, struct call *call)
{
    (void)b;
    FwpsReferenceNetBufferList0(call->data, TRUE);
    FwpsDereferenceNetBufferList0(call->data, FALSE);
    call->out->actionType = absorb ? ACTION_BLOCK : ACTION_PERMIT;
    if (absorb) {
        call->out->flags |= OUT_FLAG_ABSORB;
        call->out->rights &= ~(UINT32)RIGHT_ACTION_WRITE;
    }
}

static void leave_offset(struct behaviour *b, struct call *call)
{
    (void)b;
    NET_BUFFER *nb = ((NET_BUFFER_LIST *)call->data)->FirstNetBuffer;
    NdisRetreatNetBufferDataStart(nb, 20, 0, NULL);
    if (restore)
        NdisAdvanceNetBufferDataStart(nb, 20, FALSE, NULL);
    call->out->actionType = ACTION_PERMIT;
}

static void test_misuse(void)
{
    FwpsInjectionHandleCreate0(AF_UNSPEC, INJECT_TRANSPORT, &handle);
    EXPECT("W253 TCP injected from classifyFn is misuse", misuses(LAYER_OUTBOUND_TRANSPORT_V4, send_it, syn_out), 1);
    EXPECT("W253 UDP is not", misuses(LAYER_OUTBOUND_TRANSPORT_V4, send_it, udp_out), 0);
    received_at = 1;
    EXPECT("W254 injecting what ALE has yet to authorize is misuse", misuses(LAYER_INBOUND_TRANSPORT_V4, receive_it, udp_in_twice), 1);
    received_at = 2;
    EXPECT("W254 the second datagram is authorized", misuses(LAYER_INBOUND_TRANSPORT_V4, receive_it, udp_in_twice), 0);
    EXPECT("W258 one's own packet is not to be blocked", misuses(LAYER_OUTBOUND_TRANSPORT_V4, swallow_and_send, udp_out), 1);
    EXPECT("W268 what is to be modified is absorbed", misuses(LAYER_OUTBOUND_TRANSPORT_V4, mean_to_modify, udp_out), 1);
    absorb = TRUE;
    EXPECT("W268 then it is right", misuses(LAYER_OUTBOUND_TRANSPORT_V4, mean_to_modify, udp_out), 0);
    EXPECT("W228 the data offset is put back", misuses(LAYER_OUTBOUND_TRANSPORT_V4, leave_offset, udp_out), 1);
    restore = TRUE;
    EXPECT("W228 then it is right", misuses(LAYER_OUTBOUND_TRANSPORT_V4, leave_offset, udp_out), 0);
    FwpsInjectionHandleDestroy0(handle);
}

/* ---- clones and references ---- */
static NET_BUFFER_LIST *kept;

static void keep(struct behaviour *b, struct call *call)
{
    (void)b;
    kept = call->data;
    FwpsReferenceNetBufferList0(kept, FALSE);
    call->out->actionType = ACTION_BLOCK;
    call->out->rights &= ~(UINT32)RIGHT_ACTION_WRITE;
}

static void test_clones(void)
{
    uint8_t bytes[64] = "a list with some bytes in it";
    NET_BUFFER_LIST *list = list_of(bytes, sizeof bytes), *clone = NULL;
    nb_set(list->FirstNetBuffer, 10, 20);
    EXPECT("W265 pools are optional", STATUS_OF(FwpsAllocateCloneNetBufferList0(list, NULL, NULL, 0, &clone)), 0);
    EXPECT("W265 the clone has the same MDLs", clone->FirstNetBuffer->MdlChain == list->FirstNetBuffer->MdlChain, TRUE);
    EXPECT("W265 the same offset and length", clone->FirstNetBuffer->DataOffset << 8 | clone->FirstNetBuffer->DataLength, 10 << 8 | 20);
    EXPECT("W265 it knows its parent", clone->ParentNetBufferList == list, TRUE);
    EXPECT("W265 which counts its children", list->ChildRefCount, 1);
    LONG64 lint = stats.lint;
    NdisRetreatNetBufferDataStart(clone->FirstNetBuffer, 30, 0, NULL);
    NdisAdvanceNetBufferDataStart(clone->FirstNetBuffer, 30, TRUE, NULL);
    FwpsFreeCloneNetBufferList0(clone, 0);
    EXPECT("W266 what is undone is right", stats.lint - lint, 0);
    EXPECT("W265 freed it is a child no more", list->ChildRefCount, 0);
    FwpsAllocateCloneNetBufferList0(list, NULL, NULL, 0, &clone);
    NdisRetreatNetBufferDataStart(clone->FirstNetBuffer, 30, 0, NULL);
    FwpsFreeCloneNetBufferList0(clone, 0);
    EXPECT("W266 a clone is freed as it was made", stats.lint - lint, 1);
    nbl_release(list);

    LONG64 told = misuses(LAYER_OUTBOUND_IPPACKET_V4, keep, udp_out);
    EXPECT("W267 a referenced list is there after the classify", nbl_block_of(kept) && kept->FirstNetBuffer->DataLength == 33, TRUE);
    FwpsDereferenceNetBufferList0(kept, FALSE);
    EXPECT("which is no misuse", told, 0);
    lint = stats.lint;
    FwpsDereferenceNetBufferList0(kept, FALSE);
    EXPECT("W267 one dereferenced too often is told", stats.lint - lint, 1);

    HANDLE with = pool_make(TRUE), without = pool_make(FALSE);
    MDL mdl = {.MdlFlags = MDL_NONPAGED, .MappedSystemVa = bytes, .ByteCount = sizeof bytes};
    lint = stats.lint;
    EXPECT("W304 a list over a driver's MDL", STATUS_OF(FwpsAllocateNetBufferAndNetBufferList0(with, 0, 0, &mdl, 6, 50, &list)), 0);
    NET_BUFFER *nb = list->FirstNetBuffer;
    EXPECT("W304 has one NET_BUFFER on it", nb->MdlChain == &mdl && !nb->Next && !list->Next, TRUE);
    EXPECT("W304 at the offset, with the length", nb->DataOffset << 8 | nb->DataLength, 6 << 8 | 50);
    FwpsFreeNetBufferList0(list);
    EXPECT("W304 a pool with NET_BUFFERs is right", stats.lint - lint, 0);
    FwpsAllocateNetBufferAndNetBufferList0(without, 0, 0, &mdl, 6, 50, &list);
    EXPECT("W304 one without is misuse", stats.lint - lint, 1);
    FwpsFreeNetBufferList0(list);
    mem_free(with);
    mem_free(without);
}

/* ---- tags ---- */
static struct told {
    UINT32 event;
    UINT64 context, tag;
    NET_BUFFER_LIST *changed;
} told[8];
static unsigned told_count;

static NTSTATUS NTAPI tag_told(UINT32 event, NET_BUFFER_LIST *nbl, NET_BUFFER_LIST *changed, UINT16 layer, UINT64 context, UINT64 tag)
{
    (void)nbl, (void)layer;
    told[told_count++ % 8] = (struct told){event, context, tag, changed};
    return STATUS_SUCCESS;
}

static UINT64 tag, later;
static NTSTATUS tag_status;

static void tag_early(struct behaviour *b, struct call *call)
{
    (void)b;
    tag_status = FwpsNetBufferListAssociateContext1(call->data, call->values->layerId, 0xc0ffee, tag, NULL, NULL, tag_told, 0);
    call->out->actionType = ACTION_PERMIT;
}

static void find_later(struct behaviour *b, struct call *call)
{
    (void)b;
    FwpsNetBufferListRetrieveContext0(call->data, tag, FALSE, 0, &later);
    call->out->actionType = ACTION_PERMIT;
}

static void test_tags(void)
{
    uint8_t bytes[16] = {0};
    NET_BUFFER_LIST *list = list_of(bytes, sizeof bytes), *other = list_of(bytes, sizeof bytes), *clone;
    UINT64 found = 0;
    tag = FwpsNetBufferListGetTagForContext0();
    EXPECT("W300 each tag is another", FwpsNetBufferListGetTagForContext0() != tag, TRUE);
    EXPECT("W300 a tag that nobody was given is refused", FwpsNetBufferListAssociateContext1(list, 0, 1, tag + 99, NULL, NULL, tag_told, 0) != 0, TRUE);
    EXPECT("tagged", STATUS_OF(FwpsNetBufferListAssociateContext1(list, 0, 0xabc, tag, NULL, NULL, tag_told, 0)), 0);
    FwpsNetBufferListRetrieveContext0(list, tag, FALSE, 0, &found);
    EXPECT("W303 retrieved", found, 0xabc);
    EXPECT("W300 by its own tag alone", FwpsNetBufferListRetrieveContext0(list, tag + 1, FALSE, 0, &found) != 0, TRUE);
    EXPECT("W303 it is still there", STATUS_OF(FwpsNetBufferListRetrieveContext0(list, tag, TRUE, 0, &found)), 0);
    EXPECT("W303 taken it is not", FwpsNetBufferListRetrieveContext0(list, tag, FALSE, 0, &found) != 0, TRUE);

    told_count = 0;
    FwpsNetBufferListAssociateContext1(list, 0, 0xdef, tag, NULL, NULL, tag_told, 0);
    FwpsAllocateCloneNetBufferList0(list, NULL, NULL, 0, &clone);
    EXPECT("W301 a clone is told", told[0].event, TAG_EVENT_CLONED);
    EXPECT("W301 with the context and the clone", told[0].context == 0xdef && told[0].tag == tag && told[0].changed == clone, TRUE);
    FwpsFreeCloneNetBufferList0(clone, 0);
    FwpsNetBufferListRemoveContext0(list, tag, 0);
    EXPECT("W302 removed early: told", told_count << 8 | told[1].event, 2 << 8 | TAG_EVENT_REMOVED);
    FwpsNetBufferListAssociateContext1(list, 0, 1, tag, NULL, NULL, tag_told, 0);
    FwpsNetBufferListAssociateContext1(other, 0, 2, tag, NULL, NULL, tag_told, 0);
    told_count = 0;
    FwpsNetBufferListRemoveContext0(NULL, tag, 0);
    EXPECT("W302 from every list at once", told_count, 2);
    nbl_release(list);
    nbl_release(other);

    UINT32 id, second;
    begin();
    add_callout(1, LAYER_OUTBOUND_TRANSPORT_V4, &id);
    add_callout(2, LAYER_OUTBOUND_IPPACKET_V4, &second);
    register_callout(1, 0);
    register_callout(2, 1);
    behave[0].instead = tag_early;
    behave[1].instead = find_later;
    add_filter(LAYER_OUTBOUND_TRANSPORT_V4, 100, ACTION_CALLOUT_TERMINATING, 1, 1, 0, NULL);
    add_filter(LAYER_OUTBOUND_IPPACKET_V4, 100, ACTION_CALLOUT_TERMINATING, 2, 1, 0, NULL);
    told_count = 0;
    datagram_passes();
    EXPECT("a packet is tagged at one layer", STATUS_OF(tag_status), 0);
    EXPECT("and found at the next", later, 0xc0ffee);
    EXPECT("W302 when it has left the tag is gone, and its driver told", told_count << 8 | told[0].event, 1 << 8 | TAG_EVENT_SENT);
    EXPECT("W301 with the context", told[0].context, 0xc0ffee);
    end();
    FwpsCalloutUnregisterById0(id);
    FwpsCalloutUnregisterById0(second);
}

void test_lists(void)
{
    inject_rig_begin();
    test_misuse();
    test_clones();
    test_tags();
    inject_rig_end();
}

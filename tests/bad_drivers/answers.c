/* What classifyFn answers, and how it leaves what it was given. SPDX-License-Identifier: MIT */
#include "bad.h"

#define OUT_TRANSPORT .layer = FWPS_LAYER_OUTBOUND_TRANSPORT_V4, .key = &FWPM_LAYER_OUTBOUND_TRANSPORT_V4

static void soft_block(struct call *call)
{
    call->out->actionType = FWP_ACTION_BLOCK;
    if (!bad)
        call->out->rights &= ~FWPS_RIGHT_ACTION_WRITE;
}

static void no_answer(struct call *call)
{
    if (bad)
        call->out->actionType = FWP_ACTION_CONTINUE;
}

/* A heavier filter blocks first, hard. */
static void load_hard_block(void)
{
    FWPM_SUBLAYER0 sublayer = {.subLayerKey = {0xbadbad06, 1, 1, {1}}, .displayData.name = (wchar_t *)L"first", .weight = 0x7000};
    FWPM_FILTER0 filter = {.displayData.name = (wchar_t *)L"first", .layerKey = FWPM_LAYER_OUTBOUND_TRANSPORT_V4, .subLayerKey = sublayer.subLayerKey,
                           .action.type = FWP_ACTION_BLOCK};
    FwpmSubLayerAdd0(the_engine, &sublayer, NULL);
    FwpmFilterAdd0(the_engine, &filter, NULL, NULL);
}

static void without_right(struct call *call)
{
    if (bad)
        call->out->actionType = FWP_ACTION_PERMIT;
}

static void offset_left(struct call *call)
{
    NET_BUFFER *buffer = NET_BUFFER_LIST_FIRST_NB(call->packet);
    NdisRetreatNetBufferDataStart(buffer, 4, 0, NULL);
    if (!bad)
        NdisAdvanceNetBufferDataStart(buffer, 4, FALSE, NULL);
}

static void reserved(struct call *call)
{
    if (bad)
        call->out->outContext = 1;
}

static void raised(struct call *call)
{
    KIRQL old;
    UNREFERENCED_PARAMETER(call);
    KeRaiseIrql(DISPATCH_LEVEL, &old);
    if (!bad)
        KeLowerIrql(old);
}

static void region(struct call *call)
{
    UNREFERENCED_PARAMETER(call);
    KeEnterCriticalRegion();
    if (!bad)
        KeLeaveCriticalRegion();
}

static void modify(struct call *call)
{
    FwpsReferenceNetBufferList0(call->packet, TRUE);
    if (!bad) {
        pass(call, FWP_ACTION_BLOCK);
        call->out->flags |= FWPS_CLASSIFY_OUT_FLAG_ABSORB;
    }
    FwpsDereferenceNetBufferList0(call->packet, FALSE);
}

const struct misdeed misdeeds_of_answers[] = {
    {.name = "W103-soft-block", OUT_TRANSPORT, .classify = soft_block},
    {.name = "W105-no-answer", OUT_TRANSPORT, .classify = no_answer},
    {.name = "W101-no-right", OUT_TRANSPORT, .load = load_hard_block, .classify = without_right},
    {.name = "W228-offset", OUT_TRANSPORT, .classify = offset_left},
    {.name = "W109-reserved", OUT_TRANSPORT, .classify = reserved},
    {.name = "K-IRQL-raised", OUT_TRANSPORT, .classify = raised},
    {.name = "K-REGION-entered", OUT_TRANSPORT, .classify = region},
    {.name = "W268-modify", OUT_TRANSPORT, .classify = modify},
    {.name = NULL},
};

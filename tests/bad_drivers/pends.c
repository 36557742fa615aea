/* What is put off until later, and has to be completed. SPDX-License-Identifier: MIT */
#include "bad.h"

#define AT(name) .layer = FWPS_LAYER_##name, .key = &FWPM_LAYER_##name

static LONG once;
static HANDLE pended;
static UINT64 classify_handle;
static FWPS_CLASSIFY_OUT0 answer;

static void complete_operation(void *unused)
{
    UNREFERENCED_PARAMETER(unused);
    FwpsCompleteOperation0(pended, NULL);
}

static void complete_twice(void *unused)
{
    complete_operation(unused);
    if (bad)
        FwpsCompleteOperation0(pended, NULL);
}

static BOOLEAN pend(struct call *call)
{
    return (call->metadata->currentMetadataValues & FWPS_METADATA_FIELD_COMPLETION_HANDLE) && InterlockedIncrement(&once) == 1 &&
           NT_SUCCESS(FwpsPendOperation0(call->metadata->completionHandle, &pended));
}

static void absorb(struct call *call)
{
    pass(call, FWP_ACTION_BLOCK);
    call->out->flags |= FWPS_CLASSIFY_OUT_FLAG_ABSORB;
}

static void never_completed(struct call *call)
{
    if (!pend(call))
        return;
    absorb(call);
    if (!bad)
        later(complete_operation, NULL);
}

static void completed_twice(struct call *call)
{
    if (!pend(call))
        return;
    absorb(call);
    later(complete_twice, NULL);
}

static void not_absorbed(struct call *call)
{
    if (!pend(call))
        return;
    if (bad)
        pass(call, FWP_ACTION_BLOCK);
    else
        absorb(call);
    later(complete_operation, NULL);
}

static void other_handle(struct call *call)
{
    HANDLE context;
    if (!bad)
        never_completed(call);
    else if (NT_SUCCESS(FwpsPendOperation0(the_engine, &context)))
        FwpsCompleteOperation0(context, NULL);
}

static void complete_classify(void *unused)
{
    UNREFERENCED_PARAMETER(unused);
    FwpsCompleteClassify0(classify_handle, 0, &answer);
    FwpsReleaseClassifyHandle0(classify_handle);
}

static BOOLEAN pend_classify(struct call *call)
{
    if (InterlockedIncrement(&once) != 1 || !NT_SUCCESS(FwpsAcquireClassifyHandle0((void *)call->context, 0, &classify_handle)))
        return FALSE;
    if (!NT_SUCCESS(FwpsPendClassify0(classify_handle, call->filter->filterId, 0, call->out))) {
        FwpsReleaseClassifyHandle0(classify_handle);
        return FALSE;
    }
    answer = *call->out;
    answer.actionType = FWP_ACTION_PERMIT;
    return TRUE;
}

static void classify_never_completed(struct call *call)
{
    if (!pend_classify(call))
        return;
    pass(call, FWP_ACTION_BLOCK);
    if (!bad)
        later(complete_classify, NULL);
}

static void classify_not_blocked(struct call *call)
{
    if (!pend_classify(call))
        return;
    if (!bad)
        pass(call, FWP_ACTION_BLOCK);
    later(complete_classify, NULL);
}

const struct misdeed misdeeds_of_pends[] = {
    {.name = "W183-never-completed", AT(ALE_AUTH_CONNECT_V4), .classify = never_completed},
    {.name = "W183-completed-twice", AT(ALE_AUTH_CONNECT_V4), .classify = completed_twice},
    {.name = "W178-not-absorbed", AT(ALE_AUTH_CONNECT_V4), .classify = not_absorbed},
    {.name = "W174-other-handle", AT(ALE_AUTH_CONNECT_V4), .classify = other_handle},
    {.name = "W166-never-completed", AT(ALE_CONNECT_REDIRECT_V4), .classify = classify_never_completed},
    {.name = "W166-not-blocked", AT(ALE_CONNECT_REDIRECT_V4), .classify = classify_not_blocked},
    {.name = NULL},
};

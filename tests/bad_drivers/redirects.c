/* Connect redirection. SPDX-License-Identifier: MIT */
#include "bad.h"

#define AT(name) .layer = FWPS_LAYER_##name, .key = &FWPM_LAYER_##name
#define REDIRECT AT(ALE_CONNECT_REDIRECT_V4), .load = load, .unload = unload

static HANDLE handle;

static void load(void)
{
    FwpsRedirectHandleCreate0(&FWPM_LAYER_ALE_CONNECT_REDIRECT_V4, 0, &handle);
}

static void unload(void)
{
    FwpsRedirectHandleDestroy0(handle);
}

enum { NO_QUESTION = 1, NO_RELEASE = 2, RELEASE_TWICE = 4, OTHER_FILTER = 8, NO_APPLY = 16, APPLY_TWICE = 32, LOCAL = 64, NO_HANDLE = 128,
       NO_PID = 256, FREE_CONTEXT = 512, STATIC_CONTEXT = 1024, FLAGS = 2048 };

/* To 127.0.0.1:8080, as the documents ask for, but for what `wrong` names. */
static void redirect(struct call *call, int wrong)
{
    static UINT8 not_pool[16];
    FWPS_CONNECTION_REDIRECT_STATE state = FWPS_CONNECTION_NOT_REDIRECTED;
    FWPS_CONNECT_REQUEST0 *request = NULL;
    UINT64 classify_handle;
    SOCKADDR_IN *to;
    void *left;

    if (!bad)
        wrong = 0;
    if (!(wrong & NO_QUESTION))
        state = FwpsQueryConnectionRedirectState0(call->metadata->redirectRecords, handle, NULL);
    if (state == FWPS_CONNECTION_REDIRECTED_BY_SELF || state == FWPS_CONNECTION_PREVIOUSLY_REDIRECTED_BY_SELF)
        return;
    if (!NT_SUCCESS(FwpsAcquireClassifyHandle0((void *)call->context, wrong & FLAGS ? 1 : 0, &classify_handle)))
        return;
    if (NT_SUCCESS(FwpsAcquireWritableLayerDataPointer0(classify_handle, call->filter->filterId + (wrong & OTHER_FILTER ? 1 : 0), 0,
                                                        (void **)&request, call->out))) {
        left = wrong & STATIC_CONTEXT ? not_pool : ExAllocatePoolWithTag(NonPagedPoolNx, 16, TAG);
        to = (SOCKADDR_IN *)&request->remoteAddressAndPort;
        to->sin_addr.S_un.S_addr = 0x0100007F;
        to->sin_port = 0x901F;
        if (wrong & LOCAL)
            ((SOCKADDR_IN *)&request->localAddressAndPort)->sin_port ^= 0x100;
        if (!(wrong & NO_HANDLE))
            request->localRedirectHandle = handle;
        if (!(wrong & NO_PID))
            request->localRedirectTargetPID = 4;
        if (!(wrong & NO_APPLY)) {
            request->localRedirectContext = left;
            request->localRedirectContextSize = 16;
            FwpsApplyModifiedLayerData0(classify_handle, request, 0);
        } else {
            ExFreePoolWithTag(left, TAG);
        }
        if (wrong & APPLY_TWICE)
            FwpsApplyModifiedLayerData0(classify_handle, request, 0);
        if (wrong & FREE_CONTEXT)
            ExFreePoolWithTag(left, TAG);
    }
    if (!(wrong & NO_RELEASE))
        FwpsReleaseClassifyHandle0(classify_handle);
    if (wrong & RELEASE_TWICE)
        FwpsReleaseClassifyHandle0(classify_handle);
    call->out->actionType = FWP_ACTION_PERMIT;
}

#define WRONG(function, what)                 \
    static void function(struct call *call)   \
    {                                         \
        redirect(call, what);                 \
    }
WRONG(no_question, NO_QUESTION)
WRONG(no_release, NO_RELEASE)
WRONG(release_twice, RELEASE_TWICE)
WRONG(other_filter, OTHER_FILTER)
WRONG(no_apply, NO_APPLY)
WRONG(apply_twice, APPLY_TWICE)
WRONG(local_address, LOCAL)
WRONG(no_handle, NO_HANDLE)
WRONG(no_pid, NO_PID)
WRONG(free_context, FREE_CONTEXT)
WRONG(static_context, STATIC_CONTEXT)
WRONG(flags, FLAGS)

static void handle_each_time(struct call *call)
{
    HANDLE own;
    UNREFERENCED_PARAMETER(call);
    if (bad && NT_SUCCESS(FwpsRedirectHandleCreate0(&FWPM_LAYER_ALE_CONNECT_REDIRECT_V4, 0, &own)))
        FwpsRedirectHandleDestroy0(own);
}

const struct misdeed misdeeds_of_redirects[] = {
    {.name = "W122-no-question", REDIRECT, .classify = no_question},
    {.name = "W128-not-released", REDIRECT, .classify = no_release},
    {.name = "W128-released-twice", REDIRECT, .classify = release_twice},
    {.name = "W128-flags", REDIRECT, .classify = flags},
    {.name = "W131-other-filter", REDIRECT, .classify = other_filter},
    {.name = "W132-not-applied", REDIRECT, .classify = no_apply},
    {.name = "W132-applied-twice", REDIRECT, .classify = apply_twice},
    {.name = "W135-local-address", REDIRECT, .classify = local_address},
    {.name = "W120-no-handle", REDIRECT, .classify = no_handle},
    {.name = "W121-no-process", REDIRECT, .classify = no_pid},
    {.name = "W141-freed", REDIRECT, .classify = free_context},
    {.name = "W141-static", REDIRECT, .classify = static_context},
    {.name = "W119-each-time", REDIRECT, .classify = handle_each_time},
    {.name = NULL},
};

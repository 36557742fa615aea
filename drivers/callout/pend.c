/*
 * Putting off what cannot be decided at once: operations at the ALE authorization layers, classifies at the connect
 * redirect layers. The packet of what is put off is cloned, because Windows flushes it; the clone is injected after
 * the operation was completed and permitted. Nothing is completed in here: that is done outside of classifyFn.
 *
 * SPDX-License-Identifier: MIT
 */
#include "pend.h"

static void record(const WFPCALLOUT_EVENT *from, NTSTATUS status, UINT64 number)
{
    WFPCALLOUT_EVENT event = *from;
    event.kind = WFPCALLOUT_EVENT_PEND;
    event.status = status;
    event.value = number;
    event_record(&event);
}

static void hold_back(FWPS_CLASSIFY_OUT0 *out, BOOLEAN absorb)
{
    out->actionType = FWP_ACTION_BLOCK;
    out->rights &= ~FWPS_RIGHT_ACTION_WRITE;
    if (absorb)
        out->flags |= FWPS_CLASSIFY_OUT_FLAG_ABSORB;
}

/*
 * FwpsCompleteOperation0 at AUTH_CONNECT has the connect classified again; what was decided is the answer. Any other
 * reauthorization is a change of policy, and none of the driver's business.
 */
static void answer(TRAFFIC *traffic, const WFPCALLOUT_RULE *rule, FWPS_CLASSIFY_OUT0 *out)
{
    HANDLE context = NULL;
    PEND *pend;

    if ((rule->flags & WFPCALLOUT_RULE_PEND_REAUTHORIZE) &&
        (traffic->metadata->currentMetadataValues & FWPS_METADATA_FIELD_COMPLETION_HANDLE)) {
        NTSTATUS status = FwpsPendOperation0(traffic->metadata->completionHandle, &context);
        record(&traffic->event, status, 0);
        if (NT_SUCCESS(status)) { /* which Windows refuses; were it not so, this would have to be completed */
            hold_back(out, TRUE);
            return;
        }
    }
    pend = decided_take(traffic);
    out->actionType = pend ? pend->decision : FWP_ACTION_PERMIT;
    if (out->actionType == FWP_ACTION_BLOCK)
        out->rights &= ~FWPS_RIGHT_ACTION_WRITE;
    if (!pend)
        return;
    if (pend->decision == FWP_ACTION_PERMIT)
        pend_inject(pend);
    pend_free(pend);
}

/* Others have decided; a block of ours is a veto, and the packet that we hold has to go on all the same. */
void pend_overruled(TRAFFIC *traffic, FWPS_CLASSIFY_OUT0 *out)
{
    PEND *pend = traffic->event.condition_flags & FWP_CONDITION_FLAG_IS_REAUTHORIZE ? decided_take(traffic) : NULL;
    if (!pend)
        return;
    if (pend->decision == FWP_ACTION_BLOCK)
        out->actionType = FWP_ACTION_BLOCK;
    else
        pend_inject(pend);
    pend_free(pend);
}

void pend_operation(TRAFFIC *traffic, const WFPCALLOUT_RULE *rule, NET_BUFFER_LIST *list, FWPS_CLASSIFY_OUT0 *out)
{
    const FWPS_INCOMING_METADATA_VALUES0 *metadata = traffic->metadata;
    NTSTATUS status = STATUS_SUCCESS;
    PEND *pend;

    if (traffic->event.condition_flags & FWP_CONDITION_FLAG_IS_REAUTHORIZE) {
        answer(traffic, rule, out);
        return;
    }
    out->actionType = FWP_ACTION_PERMIT; /* what cannot be put off goes on */
    if (!(metadata->currentMetadataValues & FWPS_METADATA_FIELD_COMPLETION_HANDLE) || !pended_is_open())
        return;
    pend = pend_new(traffic, rule);
    if (!pend)
        return;
    if (list)
        status = inject_prepare(traffic, rule, list, &pend->jobs);
    else if (traffic->inbound)
        status = STATUS_NOT_SUPPORTED; /* an accept can only be completed with its packet */
    if (NT_SUCCESS(status))
        status = FwpsPendOperation0(metadata->completionHandle, &pend->context);
    record(&traffic->event, status, pend->number);
    if (!NT_SUCCESS(status)) {
        pend_free(pend);
        return;
    }
    hold_back(out, TRUE);
    pended_insert(pend);
}

void pend_classify(TRAFFIC *traffic, const WFPCALLOUT_RULE *rule, const void *context, const FWPS_FILTER1 *filter,
                   FWPS_CLASSIFY_OUT0 *out)
{
    PEND *pend;
    NTSTATUS status;

    if (redirect_is_own(traffic, rule, out))
        return;
    out->actionType = FWP_ACTION_PERMIT;
    pend = pended_is_open() ? pend_new(traffic, rule) : NULL;
    if (!pend)
        return;
    pend->filter = filter->filterId;
    status = FwpsAcquireClassifyHandle0((void *)context, 0, &pend->classify);
    if (NT_SUCCESS(status)) {
        status = FwpsPendClassify0(pend->classify, filter->filterId, 0, out);
        if (!NT_SUCCESS(status))
            FwpsReleaseClassifyHandle0(pend->classify);
    }
    record(&traffic->event, status, pend->number);
    if (!NT_SUCCESS(status)) {
        pend_free(pend);
        return;
    }
    pend->out = *out; /* the copy that FwpsCompleteClassify0 is given */
    hold_back(out, FALSE);
    pended_insert(pend);
}

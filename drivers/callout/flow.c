/* Flow contexts: numbered, so that an event can name one after it is gone. SPDX-License-Identifier: MIT */
#include "callout.h"

typedef struct FLOW {
    LIST_ENTRY link;
    UINT64 number, flow, rule;
    UINT16 layer;
    UINT32 callout;
} FLOW;

static LIST_ENTRY flows;
static KSPIN_LOCK lock;
static UINT64 next_number, count;

void flow_start(void)
{
    InitializeListHead(&flows);
    KeInitializeSpinLock(&lock);
    next_number = 1;
    count = 0;
}

static FLOW *take(UINT64 number)
{
    LIST_ENTRY *link;
    FLOW *found = NULL;
    KIRQL irql;

    KeAcquireSpinLock(&lock, &irql);
    for (link = flows.Flink; link != &flows; link = link->Flink) {
        FLOW *flow = CONTAINING_RECORD(link, FLOW, link);
        if (flow->number == number) {
            RemoveEntryList(link);
            count--;
            found = flow;
            break;
        }
    }
    KeReleaseSpinLock(&lock, irql);
    return found;
}

static void associate(TRAFFIC *traffic, const WFPCALLOUT_RULE *rule, UINT32 callout)
{
    WFPCALLOUT_EVENT event = traffic->event;
    FLOW *flow = allocate(sizeof *flow);
    NTSTATUS status = STATUS_INSUFFICIENT_RESOURCES;
    UINT64 number = 0;
    KIRQL irql;

    if (flow) {
        flow->flow = traffic->metadata->flowHandle;
        flow->layer = rule->context_layer;
        flow->callout = callout;
        flow->rule = traffic->event.rule;
        /* In the list first: flowDeleteFn may run before the call returns. */
        KeAcquireSpinLock(&lock, &irql);
        number = flow->number = next_number++;
        InsertTailList(&flows, &flow->link);
        count++;
        KeReleaseSpinLock(&lock, irql);
        status = FwpsFlowAssociateContext0(traffic->metadata->flowHandle, rule->context_layer, callout,
                                           rule->flags & WFPCALLOUT_RULE_FLOW_ZERO_CONTEXT ? 0 : number);
        /* Not NT_SUCCESS: STATUS_OBJECT_NAME_EXISTS passes it, and then nothing was associated. */
        if (status != STATUS_SUCCESS) {
            FLOW *unused = take(number);
            if (unused)
                ExFreePoolWithTag(unused, TAG);
        }
    }
    event.kind = WFPCALLOUT_EVENT_FLOW_ASSOCIATE;
    event.layer = rule->context_layer;
    event.status = status;
    event.value = rule->flags & WFPCALLOUT_RULE_FLOW_ZERO_CONTEXT ? 0 : number;
    event_record(&event);
}

void flow_associate(TRAFFIC *traffic, const WFPCALLOUT_RULE *rule)
{
    const LAYER *layer = find_layer(rule->context_layer);
    ULONG slot = rule->flags & WFPCALLOUT_RULE_FLOW_NO_DELETE_FN ? 1 : 0;

    if (!layer || !(traffic->metadata->currentMetadataValues & FWPS_METADATA_FIELD_FLOW_HANDLE))
        return;
    associate(traffic, rule, callout_id(layer, slot));
    if (rule->flags & WFPCALLOUT_RULE_FLOW_ASSOCIATE_TWICE)
        associate(traffic, rule, callout_id(layer, slot));
}

void NTAPI flow_deleted(UINT16 layer, UINT32 callout, UINT64 context)
{
    FLOW *flow = take(context);
    WFPCALLOUT_EVENT event = {0};

    UNREFERENCED_PARAMETER(callout);
    event.kind = WFPCALLOUT_EVENT_FLOW_DELETE;
    event.layer = layer;
    event.value = context;
    event.status = flow ? STATUS_SUCCESS : STATUS_NOT_FOUND; /* not ours, or told twice */
    if (flow) {
        event.flow_id = flow->flow;
        event.rule = flow->rule;
        ExFreePoolWithTag(flow, TAG);
    }
    event_record(&event);
}

BOOLEAN flow_remove_all(void)
{
    UINT64 last = 0;
    for (;;) {
        UINT64 flow = 0;
        UINT16 layer = 0;
        UINT32 callout = 0;
        LIST_ENTRY *link;
        KIRQL irql;

        KeAcquireSpinLock(&lock, &irql);
        for (link = flows.Flink; link != &flows; link = link->Flink) {
            FLOW *entry = CONTAINING_RECORD(link, FLOW, link);
            if (entry->number > last) {
                last = entry->number;
                flow = entry->flow;
                layer = entry->layer;
                callout = entry->callout;
                break;
            }
        }
        KeReleaseSpinLock(&lock, irql);
        if (!callout)
            break;
        FwpsFlowRemoveContext0(flow, layer, callout); /* flowDeleteFn takes the entry out of the list */
    }
    return flow_count() == 0;
}

UINT64 flow_count(void)
{
    KIRQL irql;
    UINT64 result;
    KeAcquireSpinLock(&lock, &irql);
    result = count;
    KeReleaseSpinLock(&lock, irql);
    return result;
}

/* Rules: each is one filter whose rawContext is the rule's number. SPDX-License-Identifier: MIT */
#include "callout.h"

typedef struct RULE {
    LIST_ENTRY link;
    UINT64 id, filter;
    UINT64 hits;
    WFPCALLOUT_RULE rule;
} RULE;

static LIST_ENTRY rules;
static KSPIN_LOCK lock;
static UINT64 next_id, count;

void rules_start(void)
{
    InitializeListHead(&rules);
    KeInitializeSpinLock(&lock);
    next_id = 1;
    count = 0;
}

BOOLEAN is_zero(const UINT8 *address, ULONG length)
{
    while (length--)
        if (address[length])
            return FALSE;
    return TRUE;
}

static void add_condition(CONDITIONS *out, const GUID *field, FWP_DATA_TYPE type)
{
    FWPM_FILTER_CONDITION0 *condition = &out->conditions[out->count++];
    condition->fieldKey = *field;
    condition->matchType = FWP_MATCH_EQUAL;
    condition->conditionValue.type = type;
}

static void add_address(CONDITIONS *out, const LAYER *layer, const GUID *field, const UINT8 *address, ULONG which)
{
    FWPM_FILTER_CONDITION0 *condition = &out->conditions[out->count];
    if (is_zero(address, 16))
        return;
    add_condition(out, field, layer->family == 4 ? FWP_UINT32 : FWP_BYTE_ARRAY16_TYPE);
    if (layer->family == 4) {
        condition->conditionValue.uint32 =
            (UINT32)address[0] << 24 | (UINT32)address[1] << 16 | (UINT32)address[2] << 8 | address[3];
    } else {
        RtlCopyMemory(out->addresses[which].byteArray16, address, 16);
        condition->conditionValue.byteArray16 = &out->addresses[which];
    }
}

void conditions_build(CONDITIONS *out, const LAYER *layer, UINT8 protocol, const UINT8 *local, const UINT8 *remote,
                      UINT16 local_port, UINT16 remote_port)
{
    BOOLEAN forward = layer->kind == LAYER_FORWARD;
    RtlZeroMemory(out, sizeof *out);
    add_address(out, layer, forward ? &FWPM_CONDITION_IP_SOURCE_ADDRESS : &FWPM_CONDITION_IP_LOCAL_ADDRESS, local, 0);
    add_address(out, layer, forward ? &FWPM_CONDITION_IP_DESTINATION_ADDRESS : &FWPM_CONDITION_IP_REMOTE_ADDRESS, remote, 1);
    if (protocol && layer->protocol != NO_FIELD) {
        add_condition(out, &FWPM_CONDITION_IP_PROTOCOL, FWP_UINT8);
        out->conditions[out->count - 1].conditionValue.uint8 = protocol;
    }
    if (local_port && layer->local_port != NO_FIELD) {
        add_condition(out, &FWPM_CONDITION_IP_LOCAL_PORT, FWP_UINT16);
        out->conditions[out->count - 1].conditionValue.uint16 = local_port;
    }
    if (remote_port && layer->remote_port != NO_FIELD) {
        add_condition(out, &FWPM_CONDITION_IP_REMOTE_PORT, FWP_UINT16);
        out->conditions[out->count - 1].conditionValue.uint16 = remote_port;
    }
}

/* Whether the layer can do what the rule asks for. */
static BOOLEAN fits(const LAYER *layer, const WFPCALLOUT_RULE *rule)
{
    BOOLEAN packets = layer->kind == LAYER_IPPACKET || layer->kind == LAYER_TRANSPORT || layer->kind == LAYER_DATAGRAM;
    /* Frames are told apart by protocol and ports alone. */
    if (layer->kind == LAYER_MAC && !(is_zero(rule->local_addr, 16) && is_zero(rule->remote_addr, 16)))
        return FALSE;
    switch (rule->action) {
    case WFPCALLOUT_ACTION_REDIRECT:
        return layer->kind == LAYER_REDIRECT || layer->kind == LAYER_BIND;
    case WFPCALLOUT_ACTION_FLOW_CONTEXT:
        return layer->kind == LAYER_FLOW && find_layer(rule->context_layer) != NULL;
    case WFPCALLOUT_ACTION_PEND:
        return layer->kind == LAYER_ALE;
    case WFPCALLOUT_ACTION_PEND_CLASSIFY:
        return layer->kind == LAYER_REDIRECT || layer->kind == LAYER_ALE;
    case WFPCALLOUT_ACTION_REINJECT:
        return packets || layer->kind == LAYER_MAC || layer->kind == LAYER_FORWARD;
    case WFPCALLOUT_ACTION_REWRITE:
        return packets;
    case WFPCALLOUT_ACTION_REPLACE:
        return packets && rule->pattern_length && rule->pattern_length == rule->replacement_length;
    case WFPCALLOUT_ACTION_STREAM_REPLACE:
        return layer->kind == LAYER_STREAM && rule->pattern_length;
    case WFPCALLOUT_ACTION_STREAM_INSERT:
        return layer->kind == LAYER_STREAM && rule->replacement_length;
    case WFPCALLOUT_ACTION_STREAM_NEED_MORE:
    case WFPCALLOUT_ACTION_STREAM_REMOVE:
        return layer->kind == LAYER_STREAM && rule->stream_length;
    case WFPCALLOUT_ACTION_STREAM_DEFER:
    case WFPCALLOUT_ACTION_STREAM_REINJECT:
    case WFPCALLOUT_ACTION_STREAM_DROP:
    case WFPCALLOUT_ACTION_STREAM_ALLOW:
        return layer->kind == LAYER_STREAM;
    default:
        return rule->action >= WFPCALLOUT_ACTION_PERMIT && rule->action <= WFPCALLOUT_ACTION_ABSORB;
    }
}

NTSTATUS rule_add(const WFPCALLOUT_RULE *wanted, UINT64 *id)
{
    static const FWP_ACTION_TYPE actions[] = {FWP_ACTION_CALLOUT_TERMINATING, FWP_ACTION_CALLOUT_INSPECTION,
                                              FWP_ACTION_CALLOUT_UNKNOWN};
    const LAYER *layer = find_layer(wanted->layer);
    CONDITIONS conditions;
    FWPM_FILTER0 filter = {0};
    NTSTATUS status;
    RULE *rule;
    KIRQL irql;

    *id = 0;
    if (!layer || wanted->slot >= SLOTS || wanted->filter_action > WFPCALLOUT_FILTER_UNKNOWN || wanted->weight > 15 ||
        wanted->pattern_length > sizeof wanted->pattern || wanted->replacement_length > sizeof wanted->replacement ||
        !fits(layer, wanted))
        return STATUS_INVALID_PARAMETER;
    rule = allocate(sizeof *rule);
    if (!rule)
        return STATUS_INSUFFICIENT_RESOURCES;
    rule->rule = *wanted;
    /* In the list before the filter is added: the first classify may come before FwpmFilterAdd0 returns. */
    KeAcquireSpinLock(&lock, &irql);
    rule->id = next_id++;
    InsertTailList(&rules, &rule->link);
    count++;
    KeReleaseSpinLock(&lock, irql);

    conditions_build(&conditions, layer, wanted->protocol, wanted->local_addr, wanted->remote_addr, wanted->local_port,
                     wanted->remote_port);
    filter.displayData.name = L"wfpcallout rule";
    filter.providerKey = (GUID *)&provider_key;
    filter.layerKey = *layer->key;
    filter.subLayerKey = sublayer_keys[wanted->slot];
    filter.weight.type = FWP_UINT8;
    filter.weight.uint8 = wanted->weight;
    filter.numFilterConditions = conditions.count;
    filter.filterCondition = conditions.conditions;
    filter.action.type = actions[wanted->filter_action];
    callout_key(layer, wanted->slot, &filter.action.calloutKey);
    filter.rawContext = rule->id;
    if (wanted->flags & WFPCALLOUT_RULE_CLEAR_ACTION_RIGHT)
        filter.flags |= FWPM_FILTER_FLAG_CLEAR_ACTION_RIGHT;
    status = FwpmFilterAdd0(driver.engine, &filter, NULL, &rule->filter);
    if (!NT_SUCCESS(status)) {
        KeAcquireSpinLock(&lock, &irql);
        RemoveEntryList(&rule->link);
        count--;
        KeReleaseSpinLock(&lock, irql);
        ExFreePoolWithTag(rule, TAG);
        return status;
    }
    *id = rule->id;
    event_simple(WFPCALLOUT_EVENT_RULE_ADDED, wanted->layer, status, rule->id, rule->filter);
    return status;
}

/* Under the lock. `any`: whichever is first. */
static RULE *find(UINT64 id, BOOLEAN any)
{
    LIST_ENTRY *link;
    for (link = rules.Flink; link != &rules; link = link->Flink) {
        RULE *rule = CONTAINING_RECORD(link, RULE, link);
        if (any || rule->id == id)
            return rule;
    }
    return NULL;
}

/* One caller at a time (driver.control): nobody else takes the rule away in between. */
static NTSTATUS remove_one(UINT64 id, BOOLEAN any)
{
    RULE *found;
    NTSTATUS status;
    KIRQL irql;

    KeAcquireSpinLock(&lock, &irql);
    found = find(id, any);
    KeReleaseSpinLock(&lock, irql);
    if (!found)
        return STATUS_NOT_FOUND;
    /* While data of a stream is held or on its way, its filter may not go. */
    if (found->rule.action >= WFPCALLOUT_ACTION_STREAM_NEED_MORE)
        stream_end(found->id);
    KeAcquireSpinLock(&lock, &irql);
    RemoveEntryList(&found->link);
    count--;
    KeReleaseSpinLock(&lock, irql);
    status = FwpmFilterDeleteById0(driver.engine, found->filter);
    pend_complete_rule(found->id, TRUE);
    inject_release_held(found->id);
    if (found->rule.action >= WFPCALLOUT_ACTION_STREAM_NEED_MORE)
        stream_forget(found->id);
    event_simple(WFPCALLOUT_EVENT_RULE_REMOVED, found->rule.layer, status, found->id, found->filter);
    ExFreePoolWithTag(found, TAG);
    return status;
}

NTSTATUS rule_remove(UINT64 id)
{
    pend_complete_rule(id, FALSE); /* while there is a rule and a filter to be asked again */
    return remove_one(id, FALSE);
}

UINT64 rules_clear(void)
{
    UINT64 removed = 0;
    pend_complete_rule(0, FALSE);
    while (remove_one(0, TRUE) != STATUS_NOT_FOUND)
        removed++;
    return removed;
}

UINT64 rules_count(void)
{
    KIRQL irql;
    UINT64 result;
    KeAcquireSpinLock(&lock, &irql);
    result = count;
    KeReleaseSpinLock(&lock, irql);
    return result;
}

BOOLEAN rule_hit(UINT64 id, WFPCALLOUT_RULE *copy, BOOLEAN *exhausted)
{
    LIST_ENTRY *link;
    BOOLEAN found = FALSE;
    KIRQL irql;

    KeAcquireSpinLock(&lock, &irql);
    for (link = rules.Flink; link != &rules && !found; link = link->Flink) {
        RULE *rule = CONTAINING_RECORD(link, RULE, link);
        if (rule->id == id) {
            found = TRUE;
            *copy = rule->rule;
            *exhausted = rule->rule.max_hits && rule->hits >= rule->rule.max_hits;
            rule->hits++;
        }
    }
    KeReleaseSpinLock(&lock, irql);
    return found;
}

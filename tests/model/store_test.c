/*
 * Sessions, transactions and their limits; enumerations, security information, subscriptions; an engine that is stopped
 * and started. Named after the rule catalogue.
 *
 * SPDX-License-Identifier: MIT
 */
#include "management.h"

static NTSTATUS add(HANDLE in, FWPM_FILTER0 f, UINT64 *id)
{
    return FwpmFilterAdd0(in, &f, NULL, id);
}

/* ---- enumerations ---- */

static UINT32 count_of(const FWPM_FILTER_ENUM_TEMPLATE0 *template)
{
    HANDLE handle = NULL;
    FWPM_FILTER0 **entries = NULL;
    UINT32 count = 0xffffffff;
    if (FwpmFilterCreateEnumHandle0(engine, template, &handle))
        return count;
    FwpmFilterEnum0(engine, handle, 1000, &entries, &count);
    FwpmFreeMemory0((void **)&entries);
    FwpmFilterDestroyEnumHandle0(engine, handle);
    return count;
}

static void test_pages(void)
{
    HANDLE handle = NULL;
    FWPM_FILTER0 **entries = NULL;
    UINT32 count;
    UINT64 first, id;
    begin();
    add_filter(SENT, 100, ACTION_PERMIT, 0, 1, 0, &first);
    add_filter(SENT, 100, ACTION_BLOCK, 0, 3, 0, &id);
    add_filter(SENT, 200, ACTION_BLOCK, 0, 2, 0, &id);
    STATUS_IS("an enumeration", FwpmFilterCreateEnumHandle0(engine, NULL, &handle), 0);
    FwpmFilterDeleteById0(engine, first);
    STATUS_IS("its first page", FwpmFilterEnum0(engine, handle, 2, &entries, &count), 0);
    EXPECT("has what was asked for", count == 2 && entries[0] && entries[1] && entries[0]->filterId != entries[1]->filterId, 1);
    FwpmFreeMemory0((void **)&entries);
    FwpmFilterEnum0(engine, handle, 2, &entries, &count);
    EXPECT("the next has the rest: a snapshot, the deleted one with it", count, 1);
    FwpmFreeMemory0((void **)&entries);
    FwpmFilterEnum0(engine, handle, 2, &entries, &count);
    EXPECT("then it is exhausted", count, 0);
    FwpmFreeMemory0((void **)&entries);
    STATUS_IS("its end", FwpmFilterDestroyEnumHandle0(engine, handle), 0);
    EXPECT("after which the handle is none", STATUS_OF(FwpmFilterEnum0(engine, handle, 1, &entries, &count)) != 0, 1);

    FWPM_FILTER_ENUM_TEMPLATE0 template = {.actionMask = 0xffffffff};
    EXPECT("all filters", count_of(&template), 2);
    template.layerKey = layer_by_id(RECEIVED)->key;
    EXPECT("of another layer: none", count_of(&template), 0);
    template.layerKey = layer_by_id(SENT)->key;
    template.actionMask = ACTION_FLAG_CALLOUT;
    EXPECT("with callouts: none", count_of(&template), 0);
    template.actionMask = 0xffffffff;
    template.flags = 2;
    FwpmFilterCreateEnumHandle0(engine, &template, &handle);
    FwpmFilterEnum0(engine, handle, 9, &entries, &count);
    EXPECT("sorted: heaviest first", count == 2 && *entries[0]->effectiveWeight.uint64 > *entries[1]->effectiveWeight.uint64, 1);
    FwpmFreeMemory0((void **)&entries);
    FwpmFilterDestroyEnumHandle0(engine, handle);
    template.flags = 0;
    GUID nobody = key_of(9);
    template.providerKey = &nobody;
    EXPECT("of a provider: none", count_of(&template), 0);
    template.providerKey = NULL;
    template.layerKey = nobody;
    STATUS_IS("W035 of a layer that there is not", FwpmFilterCreateEnumHandle0(engine, &template, &handle), STATUS_FWP_LAYER_NOT_FOUND);
    FWPM_FILTER_CONDITION0 twice[2] = {{.fieldKey = nobody}, {.fieldKey = nobody}};
    template = (FWPM_FILTER_ENUM_TEMPLATE0){.numFilterConditions = 2, .filterCondition = twice};
    STATUS_IS("a template with one condition twice", FwpmFilterCreateEnumHandle0(engine, &template, &handle), STATUS_FWP_DUPLICATE_CONDITION);
    end();
}

static void test_other_kinds(void)
{
    HANDLE handle = NULL;
    FWPM_SUBLAYER0 **sublayers_read = NULL;
    FWPM_SESSION0 **read = NULL;
    FWPM_LAYER0 *layer = NULL, *by_key = NULL;
    UINT32 count;
    begin();
    FwpmSubLayerCreateEnumHandle0(engine, NULL, &handle);
    FwpmSubLayerEnum0(engine, handle, 1000, &sublayers_read, &count);
    EXPECT("sublayers: the built-in ones and two", count, sublayer_fact_count + 2);
    FwpmFreeMemory0((void **)&sublayers_read);
    FwpmSubLayerDestroyEnumHandle0(engine, handle);
    EXPECT("the engine's layers have the ids of Windows", STATUS_OF(FwpmLayerGetById0(engine, SENT, &layer)), 0);
    EXPECT("and their fields", layer && layer->numFields == layer_by_id(SENT)->field_count && layer->field[0].fieldKey, 1);
    STATUS_IS("a layer by key", FwpmLayerGetByKey0(engine, &layer->layerKey, &by_key), 0);
    EXPECT("is the same", by_key ? by_key->layerId : 0, SENT);
    FwpmFreeMemory0((void **)&layer);
    FwpmFreeMemory0((void **)&by_key);
    STATUS_IS("W035 a layer that there is not", FwpmLayerGetById0(engine, 999, &layer), STATUS_FWP_LAYER_NOT_FOUND);
    FwpmSessionCreateEnumHandle0(engine, NULL, &handle);
    FwpmSessionEnum0(engine, handle, 10, &read, &count);
    EXPECT("sessions: this one, of kernel mode", count == 1 && read[0]->kernelMode && read[0]->flags == SESSION_IS_DYNAMIC, 1);
    EXPECT("W065 whose wait has no end", count ? read[0]->txnWaitTimeoutInMSec : 0, INFINITE);
    FwpmFreeMemory0((void **)&read);
    end();
}

/* ---- transactions ---- */

static void test_lifetimes(void)
{
    UINT64 filter;
    begin();
    FwpmTransactionBegin0(engine, 0);
    add_sublayer(300, 5);
    add_filter(SENT, 300, ACTION_BLOCK, 0, 1, 0, &filter);
    EXPECT("the transaction sees its own objects", count_of(NULL), 1);
    GUID key = key_of(300);
    STATUS_IS("W040 and what uses them", FwpmSubLayerDeleteByKey0(engine, &key), STATUS_FWP_IN_USE);
    HANDLE mine = engine;
    engine = session_with(0, 5);
    EXPECT("W062 others do not", count_of(NULL), 0);
    FwpmEngineClose0(engine);
    engine = mine;
    FwpmFilterDeleteById0(engine, filter);
    STATUS_IS("what was deleted in it uses nothing", FwpmSubLayerDeleteByKey0(engine, &key), 0);
    STATUS_IS("commit", FwpmTransactionCommit0(engine), 0);
    EXPECT("W062 added and deleted in one transaction: never there", datagram_passes(), TRUE);
    add_filter(SENT, 100, ACTION_BLOCK, 0, 1, 0, &filter);
    EXPECT("W066 a single operation is a transaction", datagram_passes(), FALSE);
    FwpmTransactionBegin0(engine, 0);
    FwpmFilterDeleteById0(engine, filter);
    EXPECT("W062 deleted, not committed: still blocks", datagram_passes(), FALSE);
    FwpmTransactionAbort0(engine);
    EXPECT("W062 aborted: still blocks", datagram_passes(), FALSE);
    STATUS_IS("W059 the flags of a transaction are checked", FwpmTransactionBegin0(engine, 8), STATUS_FWP_INVALID_FLAGS);
    FWPM_SESSION0 strange = {.flags = 0x40};
    EXPECT("and those of a session", STATUS_OF(FwpmEngineOpen0(NULL, 10, NULL, &strange, &mine)) != 0, 1);
    end();
}

static const FWPM_SESSION0 user = {.processId = 44};

static void test_transaction_limit(void)
{
    HANDLE slow, next;
    EXPECT("the limit of transactions of user mode", user_transaction_limit_ms, 3600 * 1000);
    session_open(NULL, &user, &slow);
    session_open(NULL, &user, &next);
    AcquireSRWLockShared(&store_lock);
    EXPECT("W065 user callers wait 15 s", session_of(next)->wait_ms, 15000);
    ReleaseSRWLockShared(&store_lock);
    FwpmTransactionBegin0(slow, 0);
    engine = slow;
    add(slow, filter_of(ACTION_BLOCK), NULL);
    user_transaction_limit_ms = 0;
    STATUS_IS("a transaction over its limit makes room for the next", FwpmTransactionBegin0(next, 0), 0);
    user_transaction_limit_ms = 3600 * 1000;
    STATUS_IS("its owner is told at the next call", FwpmTransactionCommit0(slow), STATUS_FWP_TXN_ABORTED);
    STATUS_IS("once", FwpmTransactionCommit0(slow), STATUS_FWP_NO_TXN_IN_PROGRESS);
    FwpmTransactionAbort0(next);
    EXPECT("what it added is gone", datagram_passes(), TRUE);
    FwpmEngineClose0(slow);
    FwpmEngineClose0(next);
    flows_end_all("test");
}

/* ---- security information ---- */

static void test_security(void)
{
    static const UINT8 system_sid[] = {1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0};
    UINT64 id;
    GUID key = key_of(77), sublayer = key_of(100);
    void *owner = NULL, *dacl = NULL, *descriptor = NULL;
    begin();
    FWPM_FILTER0 f = filter_of(ACTION_PERMIT);
    f.filterKey = key;
    add(engine, f, &id);
    STATUS_IS("security information of a filter", FwpmFilterGetSecurityInfoByKey0(engine, &key, 5, &owner, NULL, &dacl, NULL, &descriptor), 0);
    EXPECT("W068 has an owner and a list, and lies in one block", owner && dacl && owner > descriptor && dacl > owner, 1);
    FwpmFreeMemory0(&descriptor);
    STATUS_IS("set the owner", FwpmFilterSetSecurityInfoByKey0(engine, &key, 1, system_sid, NULL, NULL, NULL), 0);
    FwpmFilterGetSecurityInfoByKey0(engine, &key, 1, &owner, NULL, NULL, NULL, &descriptor);
    EXPECT("and read it", owner && !memcmp(owner, system_sid, sizeof system_sid), 1);
    FwpmFreeMemory0(&descriptor);
    FwpmTransactionBegin0(engine, 0);
    STATUS_IS("not in a transaction", FwpmFilterSetSecurityInfoByKey0(engine, &key, 1, system_sid, NULL, NULL, NULL), STATUS_FWP_TXN_IN_PROGRESS);
    FwpmTransactionAbort0(engine);
    HANDLE mine = engine, other = session_with(SESSION_IS_DYNAMIC, 10);
    STATUS_IS("W057 not of another dynamic session", FwpmFilterSetSecurityInfoByKey0(other, &key, 1, system_sid, NULL, NULL, NULL), STATUS_FWP_WRONG_SESSION);
    STATUS_IS("nor of the container from a dynamic one", FwpmSubLayerSetSecurityInfoByKey0(other, NULL, 1, system_sid, NULL, NULL, NULL), STATUS_FWP_DYNAMIC_SESSION_IN_PROGRESS);
    FwpmEngineClose0(other);
    engine = mine;
    GUID nobody = key_of(9);
    STATUS_IS("nor of what is not there", FwpmSubLayerSetSecurityInfoByKey0(engine, &nobody, 1, system_sid, NULL, NULL, NULL), STATUS_FWP_SUBLAYER_NOT_FOUND);
    (void)sublayer;
    end();
}

/* ---- subscriptions ---- */

static void test_subscriptions(void)
{
    struct subscription *all, *adds;
    struct change_told told = {0};
    UINT64 id;
    begin();
    HANDLE listener = session_with(0, 10);
    STATUS_IS("a subscription", subscription_open(listener, KIND_FILTER, NULL, 3, &all), 0);
    FWPM_FILTER_ENUM_TEMPLATE0 template = {.actionMask = 0xffffffff, .layerKey = layer_by_id(RECEIVED)->key};
    STATUS_IS("one with a template, to additions", subscription_open(listener, KIND_FILTER, &template, 1, &adds), 0);
    FwpmTransactionBegin0(listener, 1);
    struct subscription *none;
    STATUS_IS("none in a transaction", subscription_open(listener, KIND_FILTER, NULL, 3, &none), STATUS_FWP_TXN_IN_PROGRESS);
    FwpmTransactionAbort0(listener);
    add(listener, filter_of(ACTION_PERMIT), &id);
    FwpmFilterDeleteById0(listener, id);
    FwpmTransactionBegin0(engine, 0);
    add_filter(SENT, 100, ACTION_PERMIT, 0, 1, 0, NULL);
    FwpmTransactionAbort0(engine);
    add_filter(SENT, 100, ACTION_PERMIT, 0, 1, 0, &id);
    STATUS_IS("a change is told", subscription_next(all, &told), 0);
    EXPECT("of others, once it is committed", told.kind == KIND_FILTER && told.change == CHANGE_ADD && told.id == id, 1);
    FwpmFilterDeleteById0(engine, id);
    subscription_next(all, &told);
    EXPECT("a deletion too", told.change == CHANGE_DELETE && told.id == id, 1);
    add_filter(RECEIVED, 100, ACTION_PERMIT, 0, 1, 0, &id);
    FwpmFilterDeleteById0(engine, id);
    subscription_next(adds, &told);
    EXPECT("the template chooses", told.change == CHANGE_ADD && told.id == id, 1);
    struct subscription_told **list = NULL;
    UINT32 count = 0;
    subscriptions_get(engine, KIND_FILTER, &list, &count);
    EXPECT("who has subscribed can be asked", count, 2);
    mem_free(list);
    FwpmEngineClose0(listener);
    STATUS_IS("it ends with its session", subscription_next(adds, &told), STATUS_CANCELLED);
    subscription_free(all);
    subscription_free(adds);
    end();
}

/* ---- the engine is stopped and started ---- */

static int states[8];
static unsigned states_seen;
static HANDLE change, self_change;
static int state_asked;

static void NTAPI on_state(void *context, int now)
{
    if (context == states && states_seen < 8)
        states[states_seen++] = now;
    state_asked = FwpmBfeStateGet0();
}

static void NTAPI leave_from_inside(void *context, int now)
{
    (void)context, (void)now;
    if (self_change)
        FwpmBfeStateUnsubscribeChanges0(self_change);
    self_change = NULL;
}

static void test_stop_and_start(void)
{
    UINT64 id;
    UINT32 callout;
    HANDLE none = NULL, before, persistent;
    EXPECT("W069 the engine runs", FwpmBfeStateGet0(), BFE_RUNNING);
    STATUS_IS("W070 subscribe first", FwpmBfeStateSubscribeChanges0(&engine, on_state, states, &change), 0);
    before = session_with(0, 10);
    engine = before;
    register_callout(1, 0);
    behave[0].action = ACTION_BLOCK;
    notify_answer = 0;
    add(before, filter_of(ACTION_BLOCK), &id);
    EXPECT("a static filter blocks", datagram_passes(), FALSE);
    FwpmTransactionBegin0(before, 0);
    bfe_stop();
    EXPECT("W069 it does not", FwpmBfeStateGet0(), BFE_STOPPED);
    EXPECT("W070 the states on the way down", states_seen == 2 && states[0] == BFE_STOP_PENDING && states[1] == BFE_STOPPED, 1);
    EXPECT("W070 seen from inside as told", state_asked, BFE_STOPPED);
    EXPECT("W069 no session while it is stopped", STATUS_OF(FwpmEngineOpen0(NULL, 10, NULL, NULL, &none)) != 0 && !none, 1);
    STATUS_IS("a session from before is aborted", FwpmTransactionCommit0(before), STATUS_FWP_SESSION_ABORTED);
    STATUS_IS("for reading, too", FwpmFilterGetById0(before, id, &(FWPM_FILTER0 *){NULL}), STATUS_FWP_SESSION_ABORTED);
    STATUS_IS("and is closed as any", FwpmEngineClose0(before), 0);
    callout = register_callout(2, 0);
    EXPECT("W001 a callout is registered while it is stopped", callout != 0, 1);
    EXPECT("W072 static objects ended with it", datagram_passes(), TRUE);
    bfe_stop();
    EXPECT("stopping twice changes nothing", states_seen, 2);
    bfe_start();
    EXPECT("W070 and up", states_seen == 4 && states[2] == BFE_START_PENDING && states[3] == BFE_RUNNING, 1);
    EXPECT("W072 static objects do not come back", datagram_passes(), TRUE);
    persistent = session_with(0, 10);
    EXPECT("W069 a session opens again", persistent != NULL, 1);
    FWPM_FILTER0 f = filter_of(ACTION_BLOCK);
    f.flags = 1;
    add(persistent, f, &id);
    bfe_stop();
    EXPECT("a persistent filter is not enforced while it is stopped", datagram_passes(), TRUE);
    bfe_start();
    EXPECT("W072 but when it is back", datagram_passes(), FALSE);
    FwpmEngineClose0(persistent);
    engine = session_with(0, 10);
    STATUS_IS("until it is deleted", FwpmFilterDeleteById0(engine, id), 0);
    EXPECT("and no longer", datagram_passes(), TRUE);
    f.flags = 2;
    add(engine, f, &id);
    EXPECT("a boot-time filter is not enforced after boot", datagram_passes(), TRUE);
    EXPECT("nor told of", count_of(&(FWPM_FILTER_ENUM_TEMPLATE0){.actionMask = 0xffffffff}), 0);
    EXPECT("unless asked for", count_of(&(FWPM_FILTER_ENUM_TEMPLATE0){.actionMask = 0xffffffff, .flags = 8}), 1);
    FwpmFilterDeleteById0(engine, id);
    FwpmEngineClose0(engine);
    FwpsCalloutUnregisterById0(callout);
    FwpsCalloutUnregisterById0(callout_find_key(&(GUID){1, 1, 2, {3}})->id);
    uint64_t lint = stats.lint;
    EXPECT("one subscriber", bfe_subscribers(), 1);
    STATUS_IS("W071 unsubscribe", FwpmBfeStateUnsubscribeChanges0(change), 0);
    EXPECT("W071 none is left", bfe_subscribers(), 0);
    EXPECT("W071 nobody complains", stats.lint - lint, 0);
    FwpmBfeStateSubscribeChanges0(&engine, leave_from_inside, NULL, &self_change);
    bfe_stop();
    EXPECT("W071 unsubscribing from inside of the callback is complained of", stats.lint - lint, 1);
    bfe_start();
    EXPECT("W071 and is done", bfe_subscribers(), 0);
    EXPECT("no state is told after it", states_seen, 8);
    flows_end_all("test");
}

void test_store(void)
{
    test_pages();
    test_other_kinds();
    test_lifetimes();
    test_transaction_limit();
    test_security();
    test_subscriptions();
    test_stop_and_start();
}

/*
 * Callouts, their registration and notifications; filters, sublayers, providers and provider contexts as a driver adds
 * and reads them. Named after the rule catalogue.
 *
 * SPDX-License-Identifier: MIT
 */
#include "management.h"

static UINT32 callout_id;

HANDLE session_with(UINT32 flags, UINT32 wait_ms)
{
    FWPM_SESSION0 session = {.flags = flags, .txnWaitTimeoutInMSec = wait_ms};
    HANDLE other = NULL;
    FwpmEngineOpen0(NULL, 10, NULL, &session, &other);
    return other;
}

FWPM_FILTER0 filter_of(UINT32 action)
{
    FWPM_FILTER0 f = {.displayData.name = L"f", .layerKey = layer_by_id(SENT)->key, .action.type = action};
    f.weight.type = FWP_UINT8;
    f.weight.uint8 = 1;
    return f;
}

static NTSTATUS add(FWPM_FILTER0 f, UINT64 *id)
{
    return FwpmFilterAdd0(engine, &f, NULL, id);
}

/* ---- registration ---- */

static const FWPS_FILTER1 *seen_filter;
static unsigned seen_calls, seen_type, seen_notifications;
static UINT64 seen_context;
static GUID seen_key;
static BOOL seen_key_null;
static NTSTATUS notify_says;

static void NTAPI classify_of_six(const FWPS_INCOMING_VALUES0 *values, const FWPS_INCOMING_METADATA_VALUES0 *metadata, void *data,
                                  const FWPS_FILTER1 *filter, UINT64 flow_context, FWPS_CLASSIFY_OUT0 *out)
{
    (void)values, (void)metadata, (void)data, (void)flow_context;
    seen_calls++;
    seen_filter = filter;
    seen_context = filter->context;
    out->actionType = ACTION_PERMIT;
}

static NTSTATUS NTAPI notify_and_note(UINT32 type, const GUID *key, FWPS_FILTER1 *filter)
{
    seen_notifications++;
    seen_type = type;
    seen_key_null = !key;
    if (key)
        seen_key = *key;
    if (type == NOTIFY_ADD)
        filter->context = 0x1234567890;
    if (type == NOTIFY_DELETE)
        seen_context = filter->context;
    return notify_says;
}

static UINT32 register_six(unsigned key)
{
    FWPS_CALLOUT c = {.calloutKey = key_of(key), .classifyFn = (void *)classify_of_six, .notifyFn = notify_and_note};
    UINT32 id = 0;
    FwpsCalloutRegister0(&engine, &c, &id);
    seen_calls = seen_notifications = 0;
    return id;
}

static void test_registration(void)
{
    FWPS_CALLOUT c = {.calloutKey = key_of(40)};
    GUID key = key_of(40);
    STATUS_IS("W004 W017 register without an id and without flowDeleteFn", FwpsCalloutRegister1(&engine, &c, NULL), 0);
    STATUS_IS("and unregister by key", FwpsCalloutUnregisterByKey0(&key), 0);
    STATUS_IS("W013 unregister an unknown key", FwpsCalloutUnregisterByKey0(&key), STATUS_FWP_CALLOUT_NOT_FOUND);
    STATUS_IS("W013 unregister an unknown id", FwpsCalloutUnregisterById0(0x7fffffff), STATUS_FWP_CALLOUT_NOT_FOUND);
    begin();
    UINT32 id, other = register_six(41);
    UINT64 filter;
    add_callout(41, SENT, &id);
    EXPECT("W003 register, then add: one id", id, other);
    FWPM_FILTER0 f = filter_of(ACTION_CALLOUT_TERMINATING);
    f.filterKey = key_of(4141);
    f.action.calloutKey = key_of(41);
    f.rawContext = 7;
    STATUS_IS("a filter of it", add(f, &filter), 0);
    EXPECT("W020 notified of its filter", seen_notifications == 1 && seen_type == NOTIFY_ADD, 1);
    GUID wanted = key_of(4141);
    EXPECT("W020 with the filter's key", guid_equal(&seen_key, &wanted), 1);
    EXPECT("version 0 lets the datagram pass", datagram_passes(), TRUE);
    EXPECT("W006 a classifyFn of six arguments is given the filter as the fourth", seen_calls == 1 && seen_filter->filterId == filter, 1);
    EXPECT("W024 the context that notifyFn stored is seen at classify", seen_context, 0x1234567890);
    seen_context = 0;
    notify_says = STATUS_UNSUCCESSFUL;
    STATUS_IS("W022 an error at DELETE_FILTER does not keep the filter", FwpmFilterDeleteById0(engine, filter), 0);
    EXPECT("W022 its key is NULL", seen_type == NOTIFY_DELETE && seen_key_null, 1);
    EXPECT("W024 and seen again at DELETE_FILTER", seen_context, 0x1234567890);
    STATUS_IS("W021 an error at ADD_FILTER does", add(f, &filter), STATUS_FWP_CALLOUT_NOTIFICATION_FAILED);
    FWPM_FILTER0 *read = NULL;
    STATUS_IS("W021 such a filter is not there", FwpmFilterGetByKey0(engine, &wanted, &read), STATUS_FWP_FILTER_NOT_FOUND);
    notify_says = 0;
    add(f, &filter);
    FwpsCalloutUnregisterById0(id);
    seen_calls = seen_notifications = 0;
    EXPECT("W007 W011 its filter now blocks", datagram_passes(), FALSE);
    FwpmFilterDeleteById0(engine, filter);
    add(f, &filter);
    EXPECT("W015 no function of an unregistered callout is called", seen_calls + seen_notifications, 0);
    register_six(41);
    EXPECT("W023 no ADD_FILTER for filters that were there before", seen_notifications, 0);
    FwpmFilterDeleteById0(engine, filter);
    EXPECT("W023 but DELETE_FILTER", seen_notifications == 1 && seen_type == NOTIFY_DELETE, 1);
    end();
    FwpsCalloutUnregisterById0(id);
}

static HANDLE inside, go_on;

static void stay_inside(struct behaviour *b, struct call *call)
{
    (void)b;
    SetEvent(inside);
    WaitForSingleObject(go_on, INFINITE);
    call->out->actionType = ACTION_PERMIT;
}

static DWORD WINAPI send_one(void *unused)
{
    (void)unused;
    return (DWORD)datagram_passes();
}

static DWORD WINAPI unregister_one(void *status)
{
    *(NTSTATUS *)status = FwpsCalloutUnregisterById0(callout_id);
    return 0;
}

static void test_unregister_twice_at_once(void)
{
    NTSTATUS first = -1, second;
    begin();
    add_callout(1, SENT, &callout_id);
    register_callout(1, 0);
    behave[0].instead = stay_inside;
    add_filter(SENT, 100, ACTION_CALLOUT_TERMINATING, 1, 1, 0, NULL);
    inside = CreateEventA(NULL, FALSE, FALSE, NULL);
    go_on = CreateEventA(NULL, TRUE, FALSE, NULL);
    HANDLE sender = CreateThread(NULL, 0, send_one, NULL, 0, NULL);
    WaitForSingleObject(inside, INFINITE);
    HANDLE other = CreateThread(NULL, 0, unregister_one, &first, 0, NULL);
    struct callout *callout = callout_find_id(callout_id);
    while (!callout->changing) /* the other thread is on its way in */
        SwitchToThread();
    second = FwpsCalloutUnregisterById0(callout_id);
    FWPS_CALLOUT again = {.calloutKey = key_of(1)};
    NTSTATUS third = FwpsCalloutRegister1(&engine, &again, NULL);
    SetEvent(go_on);
    WaitForSingleObject(other, INFINITE);
    WaitForSingleObject(sender, INFINITE);
    STATUS_IS("W014 unregister while another thread unregisters", second, STATUS_FWP_IN_USE);
    STATUS_IS("W014 register while another thread unregisters", third, STATUS_FWP_IN_USE);
    STATUS_IS("the other thread unregisters once nothing runs", first, 0);
    CloseHandle(sender);
    CloseHandle(other);
    CloseHandle(inside);
    CloseHandle(go_on);
    end();
}

/* ---- callout objects ---- */

static void test_callouts(void)
{
    begin();
    FWPM_CALLOUT0 c = {.displayData.name = L"without a key", .applicableLayer = layer_by_id(SENT)->key}, *read = NULL;
    UINT32 one = 0, two = 0;
    STATUS_IS("W029 a callout without a key", FwpmCalloutAdd0(engine, &c, NULL, &one), 0);
    STATUS_IS("W029 and another", FwpmCalloutAdd0(engine, &c, NULL, &two), 0);
    EXPECT("W029 have ids of their own", one && two && one != two, 1);
    FwpmCalloutGetById0(engine, one, &read);
    EXPECT("W029 the engine made a key", read && !guid_is_zero(&read->calloutKey), 1);
    EXPECT("the name is kept", read && !wcscmp(read->displayData.name, L"without a key"), 1);
    EXPECT("W030 not registered: no flag", read && !(read->flags & CALLOUT_M_REGISTERED), 1);
    GUID made = read->calloutKey;
    FwpmFreeMemory0((void **)&read);
    EXPECT("FwpmFreeMemory0 clears the pointer", read == NULL, 1);
    FWPS_CALLOUT functions = {.calloutKey = made};
    FwpsCalloutRegister1(&engine, &functions, NULL);
    FwpmCalloutGetByKey0(engine, &made, &read);
    EXPECT("W030 registered: the engine reports it", read && (read->flags & CALLOUT_M_REGISTERED), 1);
    FwpmFreeMemory0((void **)&read);
    FwpsCalloutUnregisterById0(one);
    c.flags = CALLOUT_M_REGISTERED;
    EXPECT("W030 a caller must not set it", STATUS_OF(FwpmCalloutAdd0(engine, &c, NULL, NULL)) != 0, 1);
    c.flags = 0;
    c.displayData.name = NULL;
    STATUS_IS("W031 a callout without a name", FwpmCalloutAdd0(engine, &c, NULL, NULL), STATUS_FWP_NULL_DISPLAY_NAME);
    c.displayData.name = L"c";
    c.applicableLayer = key_of(9);
    STATUS_IS("W035 a callout of no layer", FwpmCalloutAdd0(engine, &c, NULL, NULL), STATUS_FWP_LAYER_NOT_FOUND);
    GUID nobody = key_of(999);
    STATUS_IS("W032 delete an unknown callout", FwpmCalloutDeleteByKey0(engine, &nobody), STATUS_FWP_CALLOUT_NOT_FOUND);
    STATUS_IS("W032 delete an unknown id", FwpmCalloutDeleteById0(engine, 0x7fffffff), STATUS_FWP_CALLOUT_NOT_FOUND);
    c.applicableLayer = layer_by_id(SENT)->key;
    EXPECT("W042 100,000 callouts at most", callouts_max, 100000);
    callouts_max = 2;
    STATUS_IS("W042 one callout too many", FwpmCalloutAdd0(engine, &c, NULL, NULL), STATUS_FWP_TOO_MANY_CALLOUTS);
    callouts_max = 100000;
    EXPECT("W042 2^16 sublayers at most", sublayers_max, 65536);
    sublayers_max = sublayer_fact_count + 2;
    EXPECT("W042 one sublayer too many", add_sublayer(300, 1), STATUS_OF(STATUS_FWP_TOO_MANY_SUBLAYERS));
    sublayers_max = 65536;
    end();
}

/* ---- filters ---- */

static void test_filters(void)
{
    UINT64 id = 0, other = 0;
    begin();
    FWPM_FILTER0 f = filter_of(ACTION_BLOCK), *read = NULL;
    f.displayData.name = NULL;
    STATUS_IS("W031 a filter without a name", add(f, NULL), STATUS_FWP_NULL_DISPLAY_NAME);
    f = filter_of(ACTION_BLOCK);
    f.layerKey = key_of(9);
    STATUS_IS("W035 a filter at no layer", add(f, NULL), STATUS_FWP_LAYER_NOT_FOUND);
    f = filter_of(ACTION_BLOCK);
    f.subLayerKey = key_of(9);
    STATUS_IS("W035 a filter in no sublayer", add(f, NULL), STATUS_FWP_SUBLAYER_NOT_FOUND);
    f = filter_of(ACTION_BLOCK);
    GUID nobody = key_of(9);
    f.providerKey = &nobody;
    STATUS_IS("W035 a filter of no provider", add(f, NULL), STATUS_FWP_PROVIDER_NOT_FOUND);
    f = filter_of(ACTION_BLOCK);
    FWPM_FILTER_CONDITION0 strange = {.fieldKey = key_of(9)};
    f.numFilterConditions = 1;
    f.filterCondition = &strange;
    STATUS_IS("W035 a condition on no field", add(f, NULL), STATUS_FWP_CONDITION_NOT_FOUND);
    f.filterCondition = NULL;
    STATUS_IS("W087 conditions announced and none there", add(f, NULL), STATUS_FWP_NULL_POINTER);
    f = filter_of(ACTION_BLOCK);
    f.reserved = &nobody;
    STATUS_IS("the reserved member set", add(f, NULL), STATUS_FWP_RESERVED);

    f = filter_of(ACTION_BLOCK);
    f.displayData.description = L"why it is there";
    STATUS_IS("W036 W037 a filter without keys", add(f, &id), 0);
    add(f, &other);
    EXPECT("W037 ids are of one filter", id && other && id != other, 1);
    FwpmFilterGetById0(engine, id, &read);
    EXPECT("W037 the engine made a key", read && !guid_is_zero(&read->filterKey), 1);
    EXPECT("W037 and filled in the effective weight", read && read->effectiveWeight.type == FWP_UINT64 && *read->effectiveWeight.uint64 >> 60 == 1, 1);
    FWPM_SUBLAYER0 *sublayer = NULL;
    STATUS_IS("W036 the default sublayer is there", FwpmSubLayerGetByKey0(engine, &read->subLayerKey, &sublayer), 0);
    EXPECT("W036 the default sublayer weighs 0x8000", sublayer ? sublayer->weight : 0, 0x8000);
    FwpmFreeMemory0((void **)&sublayer);
    EXPECT("the description is kept", read && !wcscmp(read->displayData.description, L"why it is there"), 1);
    FwpmFreeMemory0((void **)&read);

    f.filterKey = key_of(77);
    add(f, &id);
    STATUS_IS("W038 a filter key twice", add(f, &other), STATUS_FWP_ALREADY_EXISTS);
    f = filter_of(ACTION_BLOCK);
    f.flags = 3;
    EXPECT("W039 persistent and boot-time", STATUS_OF(add(f, NULL)) != 0, 1);
    f.flags = 0x20;
    EXPECT("W039 a caller cannot disable a filter", STATUS_OF(add(f, NULL)) != 0, 1);
    f.flags = 0x40;
    EXPECT("W039 nor index it", STATUS_OF(add(f, NULL)) != 0, 1);
    add_callout(1, SENT, NULL);
    EXPECT("W010 PERMIT_IF_CALLOUT_UNREGISTERED of an inspection", add_filter(SENT, 0, ACTION_CALLOUT_INSPECTION, 1, 1, 0x10, NULL) != 0, 1);
    EXPECT("W010 PERMIT_IF_CALLOUT_UNREGISTERED of a permit", add_filter(SENT, 0, ACTION_PERMIT, 0, 1, 0x10, NULL) != 0, 1);
    EXPECT("W010 PERMIT_IF_CALLOUT_UNREGISTERED of a terminating callout", add_filter(SENT, 0, ACTION_CALLOUT_TERMINATING, 1, 1, 0x10, NULL), 0);
    f = filter_of(ACTION_NONE);
    STATUS_IS("W043 action none", add(f, NULL), STATUS_FWP_INVALID_ACTION_TYPE);
    f = filter_of(ACTION_BLOCK);
    f.weight.type = FWP_UINT32;
    STATUS_IS("W044 a weight of 32 bits", add(f, NULL), STATUS_FWP_INVALID_WEIGHT);
    end();
}

static const FWPS_FILTER1 *view;
static FWPS_FILTER1 view_copy;
static UINT64 view_weight;
static UINT8 view_blob[16];
static size_t view_blob_size;

static void note_view(struct behaviour *b, struct call *call)
{
    (void)b;
    view = call->filter;
    view_copy = *call->filter;
    view_weight = *call->filter->weight.uint64;
    if (view->providerContext) {
        const FWPM_PROVIDER_CONTEXT0 *context = view->providerContext;
        view_blob_size = context->dataBuffer->size;
        memcpy(view_blob, context->dataBuffer->data, view_blob_size < sizeof view_blob ? view_blob_size : sizeof view_blob);
    }
    call->out->actionType = ACTION_PERMIT;
}

/* One filter of callout 1 as asked for, and what classifyFn saw of it. */
static UINT64 look(FWPM_FILTER0 f)
{
    UINT64 id = 0;
    memset(&view_copy, 0, sizeof view_copy);
    view_blob_size = 0;
    f.action = (FWPM_ACTION0){.type = ACTION_CALLOUT_TERMINATING, .calloutKey = key_of(1)};
    STATUS_IS("a filter to look at", add(f, &id), 0);
    datagram_passes();
    FwpmFilterDeleteById0(engine, id);
    return id;
}

static void begin_looking(UINT32 callout_flags)
{
    begin();
    FWPM_CALLOUT0 c = {.calloutKey = key_of(1), .displayData.name = L"c", .applicableLayer = layer_by_id(SENT)->key, .flags = callout_flags};
    FwpmCalloutAdd0(engine, &c, NULL, &callout_id);
    register_callout(1, 0);
    behave[0].instead = note_view;
}

static void end_looking(void)
{
    end();
    FwpsCalloutUnregisterById0(callout_id);
}

static FWPM_FILTER_CONDITION0 port_is(UINT16 port)
{
    FWPM_FILTER_CONDITION0 condition = {.fieldKey = condition_keys[COND_IP_REMOTE_PORT], .matchType = FWP_MATCH_EQUAL};
    condition.conditionValue.type = FWP_UINT16;
    condition.conditionValue.uint16 = port;
    return condition;
}

static void test_view(void)
{
    begin_looking(0);
    FWPM_FILTER0 f = filter_of(ACTION_BLOCK);
    f.subLayerKey = key_of(200);
    f.rawContext = 0x1122334455667788;
    UINT64 exact = 0x123456789, id = look(f);
    EXPECT("W050 rawContext is seen as context", view_copy.context, 0x1122334455667788);
    EXPECT("W051 without a provider context: NULL", view_copy.providerContext == NULL, 1);
    EXPECT("W052 no conditions: NULL", view_copy.numFilterConditions == 0 && !view_copy.filterCondition, 1);
    EXPECT("W054 filterId", view_copy.filterId, id);
    EXPECT("W054 the weight is of 64 bits", view_copy.weight.type, FWP_UINT64);
    EXPECT("W054 subLayerWeight", view_copy.subLayerWeight, 0x3000);
    EXPECT("W054 the action's type", view_copy.action.type, ACTION_CALLOUT_TERMINATING);
    EXPECT("W054 and callout", view_copy.action.calloutId, callout_id);
    EXPECT("W055 no flags", view_copy.flags, 0);
    f.flags = 0x8;
    look(f);
    EXPECT("W055 CLEAR_ACTION_RIGHT is seen as 1", view_copy.flags, 1);
    f.flags = 0x10;
    look(f);
    EXPECT("W055 PERMIT_IF_CALLOUT_UNREGISTERED is seen as 2", view_copy.flags, 2);
    f.flags = 0;

    f.weight.type = FWP_UINT64;
    f.weight.uint64 = &exact;
    look(f);
    EXPECT("W045 a weight of 64 bits is used as it is", view_weight, exact);
    f.weight.type = FWP_UINT8;
    f.weight.uint8 = 13;
    look(f);
    EXPECT("W046 a weight of 8 bits is the top nibble", view_weight >> 60, 13);
    f.weight.type = FWP_EMPTY;
    look(f);
    EXPECT("W047 no conditions: the automatic weight is 0", view_weight, 0);
    FWPM_FILTER_CONDITION0 conditions[2] = {port_is(53), {.fieldKey = condition_keys[COND_IP_PROTOCOL], .matchType = FWP_MATCH_EQUAL}};
    conditions[1].conditionValue.type = FWP_UINT8;
    conditions[1].conditionValue.uint8 = IPPROTO_UDP;
    f.filterCondition = conditions;
    f.numFilterConditions = 1;
    look(f);
    UINT64 one = view_weight;
    EXPECT("W047 the automatic weight is below 2^60", view_weight > 0 && view_weight < 1ull << 60, 1);
    EXPECT("W052 with conditions they are there", view_copy.numFilterConditions == 1 && view_copy.filterCondition, 1);
    f.numFilterConditions = 2;
    look(f);
    EXPECT("W048 more fields never weigh less", view_weight >= one, 1);
    f.weight.type = FWP_UINT8;
    f.weight.uint8 = 3;
    look(f);
    EXPECT("W046 below the nibble stands the automatic weight", view_weight >> 60 == 3 && (view_weight & ~(0xfull << 60)) >= one, 1);
    end_looking();
}

/* ---- provider contexts ---- */

static UINT8 data[] = {9, 8, 7};
static FWP_BYTE_BLOB blob = {sizeof data, data};

static FWPM_PROVIDER_CONTEXT0 context_of(unsigned key)
{
    FWPM_PROVIDER_CONTEXT0 c = {.providerContextKey = key_of(key), .displayData.name = L"context", .type = FWPM_GENERAL_CONTEXT};
    c.dataBuffer = &blob;
    return c;
}

static void test_contexts(void)
{
    UINT64 id = 0, filter = 0;
    begin_looking(0);
    FWPM_PROVIDER_CONTEXT0 context = context_of(500), *read = NULL;
    GUID key = key_of(500);
    STATUS_IS("a provider context", FwpmProviderContextAdd0(engine, &context, NULL, &id), 0);
    STATUS_IS("W038 its key twice", FwpmProviderContextAdd1(engine, &context, NULL, NULL), STATUS_FWP_ALREADY_EXISTS);
    data[0] = 1; /* the engine has a copy of its own */
    STATUS_IS("it is read by id", FwpmProviderContextGetById0(engine, id, &read), 0);
    EXPECT("as it was added", read && read->type == FWPM_GENERAL_CONTEXT && read->dataBuffer->size == 3 && read->dataBuffer->data[0] == 9, 1);
    EXPECT("with its id and key", read && read->providerContextId == id && guid_equal(&read->providerContextKey, &key), 1);
    FwpmFreeMemory0((void **)&read);
    data[0] = 9;
    context.displayData.name = NULL;
    STATUS_IS("W031 without a name", FwpmProviderContextAdd0(engine, &context, NULL, NULL), STATUS_FWP_NULL_DISPLAY_NAME);
    context = context_of(501);
    context.type = FWPM_PROVIDER_CONTEXT_TYPE_MAX + 9;
    STATUS_IS("of a type that there is not", FwpmProviderContextAdd0(engine, &context, NULL, NULL), STATUS_FWP_INVALID_ENUMERATOR);
    context = context_of(501);
    context.dataBuffer = NULL;
    STATUS_IS("W087 without data", FwpmProviderContextAdd0(engine, &context, NULL, NULL), STATUS_FWP_NULL_POINTER);

    FWPM_FILTER0 f = filter_of(ACTION_CALLOUT_TERMINATING);
    f.action.calloutKey = key_of(1);
    f.flags = 4;
    f.providerContextKey = key;
    STATUS_IS("W053 a callout that uses no provider contexts", add(f, NULL), STATUS_FWP_CONTEXT_INCOMPATIBLE_WITH_CALLOUT);
    end_looking();

    begin_looking(CALLOUT_M_USES_PROVIDER_CONTEXT);
    STATUS_IS("W035 a filter with an unknown context", add(f, NULL), STATUS_FWP_PROVIDER_CONTEXT_NOT_FOUND);
    context = context_of(500);
    FwpmProviderContextAdd0(engine, &context, NULL, &id);
    look(f);
    EXPECT("W050 with a provider context, context is its id", view_copy.context, id);
    EXPECT("W051 and providerContext is there", view_copy.providerContext != NULL, 1);
    EXPECT("W051 with its data", view_blob_size == 3 && view_blob[0] == 9 && view_blob[2] == 7, 1);
    FWPM_FILTER0 plain = filter_of(ACTION_BLOCK);
    look(plain);
    EXPECT("W051 a filter without one: NULL", view_copy.providerContext == NULL, 1);
    add(f, &filter);
    STATUS_IS("W040 delete a context in use", FwpmProviderContextDeleteByKey0(engine, &key), STATUS_FWP_IN_USE);
    FwpmFilterDeleteById0(engine, filter);
    STATUS_IS("delete it afterwards", FwpmProviderContextDeleteById0(engine, id), 0);
    STATUS_IS("and again", FwpmProviderContextDeleteById0(engine, id), STATUS_FWP_PROVIDER_CONTEXT_NOT_FOUND);
    end_looking();
}

/* ---- providers, and who may name whom ---- */

static void test_references(void)
{
    begin();
    FWPM_PROVIDER0 provider = {.providerKey = key_of(600), .displayData.name = L"provider"}, *read = NULL;
    GUID key = key_of(600), universal, other_key = key_of(601);
    STATUS_IS("a provider", FwpmProviderAdd0(engine, &provider, NULL), 0);
    STATUS_IS("W038 its key twice", FwpmProviderAdd0(engine, &provider, NULL), STATUS_FWP_ALREADY_EXISTS);
    STATUS_IS("read by key", FwpmProviderGetByKey0(engine, &key, &read), 0);
    EXPECT("with its name", read && !wcscmp(read->displayData.name, L"provider"), 1);
    FwpmFreeMemory0((void **)&read);
    provider.displayData.name = NULL;
    STATUS_IS("W031 a provider without a name", FwpmProviderAdd0(engine, &provider, NULL), STATUS_FWP_NULL_DISPLAY_NAME);
    FWPM_SUBLAYER0 sublayer = {.subLayerKey = key_of(602)};
    STATUS_IS("W031 a sublayer without a name", FwpmSubLayerAdd0(engine, &sublayer, NULL), STATUS_FWP_NULL_DISPLAY_NAME);
    sublayer.displayData.name = L"s";
    sublayer.providerKey = &key;
    FwpmSubLayerAdd0(engine, &sublayer, NULL);
    STATUS_IS("W040 delete a provider whose sublayer is there", FwpmProviderDeleteByKey0(engine, &key), STATUS_FWP_IN_USE);
    FWPM_FILTER0 f = filter_of(ACTION_BLOCK), *filter = NULL;
    UINT64 id;
    add(f, &id);
    FwpmFilterGetById0(engine, id, &filter);
    universal = filter->subLayerKey;
    FwpmFreeMemory0((void **)&filter);
    STATUS_IS("W040 delete a built-in sublayer", FwpmSubLayerDeleteByKey0(engine, &universal), STATUS_FWP_BUILTIN_OBJECT);
    GUID sublayer_key = key_of(602);
    STATUS_IS("delete the sublayer first", FwpmSubLayerDeleteByKey0(engine, &sublayer_key), 0);
    STATUS_IS("then the provider goes", FwpmProviderDeleteByKey0(engine, &key), 0);
    STATUS_IS("W035 delete a provider that there is not", FwpmProviderDeleteByKey0(engine, &key), STATUS_FWP_PROVIDER_NOT_FOUND);
    end();

    engine = session_with(0, 0);
    sublayer = (FWPM_SUBLAYER0){.subLayerKey = key_of(603), .displayData.name = L"static"};
    FwpmSubLayerAdd0(engine, &sublayer, NULL);
    provider = (FWPM_PROVIDER0){.providerKey = key, .displayData.name = L"a"};
    FwpmProviderAdd0(engine, &provider, NULL);
    f = filter_of(ACTION_PERMIT);
    f.flags = 1;
    f.subLayerKey = key_of(603);
    STATUS_IS("W041 a persistent filter in a static sublayer", add(f, NULL), STATUS_FWP_LIFETIME_MISMATCH);
    f.subLayerKey = (GUID){0};
    f.providerKey = &key;
    STATUS_IS("W041 a persistent filter of a static provider", add(f, NULL), STATUS_FWP_LIFETIME_MISMATCH);
    FwpmProviderDeleteByKey0(engine, &key);
    provider.flags = OBJECT_PERSISTENT;
    FwpmProviderAdd0(engine, &provider, NULL);
    provider.providerKey = other_key;
    FwpmProviderAdd0(engine, &provider, NULL);
    sublayer = (FWPM_SUBLAYER0){.subLayerKey = key_of(604), .displayData.name = L"persistent", .flags = 1, .providerKey = &other_key};
    FwpmSubLayerAdd0(engine, &sublayer, NULL);
    f.subLayerKey = key_of(604);
    STATUS_IS("W041 a persistent filter in another provider's sublayer", add(f, NULL), STATUS_FWP_LIFETIME_MISMATCH);
    f.providerKey = &other_key;
    STATUS_IS("a persistent filter in its own provider's", add(f, &id), 0);
    FwpmFilterDeleteById0(engine, id);
    GUID keys[] = {key_of(603), key_of(604)};
    FwpmSubLayerDeleteByKey0(engine, &keys[0]);
    FwpmSubLayerDeleteByKey0(engine, &keys[1]);
    FwpmProviderDeleteByKey0(engine, &key);
    STATUS_IS("what is persistent is deleted as anything else", FwpmProviderDeleteByKey0(engine, &other_key), 0);
    end();
}

/* ---- what the engine hands out ---- */

static void test_blocks(void)
{
    unsigned before = handed_out();
    uint64_t lint = stats.lint;
    FWPM_SUBLAYER0 *read = NULL;
    GUID key = key_of(100);
    void *foreign = mem_alloc(8), *kept = foreign;
    begin();
    FwpmSubLayerGetByKey0(engine, &key, &read);
    EXPECT("a block is out", handed_out() - before, 1);
    FwpmFreeMemory0((void **)&read);
    EXPECT("and back", handed_out() - before, 0);
    EXPECT("which nobody complains of", stats.lint - lint, 0);
    FwpmFreeMemory0(&foreign);
    EXPECT("a foreign block is complained of", stats.lint - lint, 1);
    EXPECT("and left alone", foreign == kept, 1);
    mem_free(kept);
    end();
}

void test_objects_of_drivers(void)
{
    test_registration();
    test_unregister_twice_at_once();
    test_callouts();
    test_filters();
    test_view();
    test_contexts();
    test_references();
    test_blocks();
    test_store();
    test_matching();
    test_requests();
    EXPECT("no check has kept what it was handed out", handed_out(), 0);
}

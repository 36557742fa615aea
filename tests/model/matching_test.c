/*
 * What a filter's conditions may ask and what they match: one UDP datagram from 192.0.2.2:5000 to 198.51.100.5:53 at
 * OUTBOUND_TRANSPORT, and filters that block it or not. Named after the rule catalogue.
 *
 * SPDX-License-Identifier: MIT
 */
#include "management.h"

enum { MATCH_PREFIX = 11, MATCH_NOT_PREFIX = 12 };

static FWPM_FILTER_CONDITION0 condition(int field, int match, FWP_DATA_TYPE type, UINT64 value)
{
    FWPM_FILTER_CONDITION0 made = {.fieldKey = condition_keys[field], .matchType = (FWP_MATCH_TYPE)match};
    made.conditionValue.type = type;
    if (type == FWP_UINT8)
        made.conditionValue.uint8 = (UINT8)value;
    else if (type == FWP_UINT16)
        made.conditionValue.uint16 = (UINT16)value;
    else if (type == FWP_UINT32)
        made.conditionValue.uint32 = (UINT32)value;
    else
        made.conditionValue.uint64 = (UINT64 *)(uintptr_t)value;
    return made;
}

#define REMOTE_PORT(match, value) condition(COND_IP_REMOTE_PORT, match, FWP_UINT16, value)
#define POINTER(p) ((UINT64)(uintptr_t)(p))

static NTSTATUS add_at(UINT16 layer, FWPM_FILTER_CONDITION0 *conditions, UINT32 count, UINT64 *id)
{
    FWPM_FILTER0 f = filter_of(ACTION_BLOCK);
    f.layerKey = layer_by_id(layer)->key;
    f.filterCondition = conditions;
    f.numFilterConditions = count;
    return FwpmFilterAdd0(engine, &f, NULL, id);
}

/* Does a blocking filter with these conditions match the datagram? 2: it could not be added. */
static int matches_all(FWPM_FILTER_CONDITION0 *conditions, UINT32 count)
{
    UINT64 id;
    if (add_at(SENT, conditions, count, &id))
        return 2;
    BOOL passes = datagram_passes();
    FwpmFilterDeleteById0(engine, id);
    return !passes;
}

static int matches(FWPM_FILTER_CONDITION0 one)
{
    return matches_all(&one, 1);
}

static NTSTATUS refused(FWPM_FILTER_CONDITION0 one)
{
    UINT64 id;
    NTSTATUS status = add_at(SENT, &one, 1, &id);
    if (!status)
        FwpmFilterDeleteById0(engine, id);
    return status;
}

static void test_runs(void)
{
    FWPM_FILTER_CONDITION0 both[] = {REMOTE_PORT(FWP_MATCH_EQUAL, 53), condition(COND_IP_PROTOCOL, FWP_MATCH_EQUAL, FWP_UINT8, 17)};
    FWPM_FILTER_CONDITION0 one_fails[] = {REMOTE_PORT(FWP_MATCH_EQUAL, 53), condition(COND_IP_PROTOCOL, FWP_MATCH_EQUAL, FWP_UINT8, 6)};
    FWPM_FILTER_CONDITION0 either[] = {REMOTE_PORT(FWP_MATCH_EQUAL, 80), REMOTE_PORT(FWP_MATCH_EQUAL, 53)};
    FWPM_FILTER_CONDITION0 neither[] = {REMOTE_PORT(FWP_MATCH_EQUAL, 80), REMOTE_PORT(FWP_MATCH_EQUAL, 443)};
    EXPECT("W073 two fields, both as asked", matches_all(both, 2), 1);
    EXPECT("W073 two fields, one not as asked", matches_all(one_fails, 2), 0);
    EXPECT("W074 one field twice: either will do", matches_all(either, 2), 1);
    EXPECT("W074 one field twice: neither", matches_all(neither, 2), 0);
    EXPECT("W075 no conditions match all", matches_all(NULL, 0), 1);
}

static void test_addresses(void)
{
    FWP_V4_ADDR_AND_MASK net = {SERVER & 0xffffff00, 0xffffff00}, other = {0x0a000000, 0xff000000}, holes = {SERVER, 0xff00ff00};
    UINT32 server = SERVER, turned = 0x056433c6;
    EXPECT("W076 an address in a network, in host order", matches(condition(COND_IP_REMOTE_ADDRESS, FWP_MATCH_EQUAL, FWP_V4_ADDR_MASK, POINTER(&net))), 1);
    EXPECT("W076 and in none", matches(condition(COND_IP_REMOTE_ADDRESS, FWP_MATCH_EQUAL, FWP_V4_ADDR_MASK, POINTER(&other))), 0);
    EXPECT("W077 an address is in host order", matches(condition(COND_IP_REMOTE_ADDRESS, FWP_MATCH_EQUAL, FWP_UINT32, server)), 1);
    EXPECT("W077 not in that of the network", matches(condition(COND_IP_REMOTE_ADDRESS, FWP_MATCH_EQUAL, FWP_UINT32, turned)), 0);
    EXPECT("W077 a port is in host order", matches(REMOTE_PORT(FWP_MATCH_EQUAL, 53)), 1);
    EXPECT("W077 and only so", matches(REMOTE_PORT(FWP_MATCH_EQUAL, 53 << 8)), 0);
    STATUS_IS("W087 a mask with holes", refused(condition(COND_IP_REMOTE_ADDRESS, FWP_MATCH_EQUAL, FWP_V4_ADDR_MASK, POINTER(&holes))), STATUS_FWP_INVALID_NET_MASK);
    FWP_V6_ADDR_AND_MASK long_prefix = {.prefixLength = 129};
    FWPM_FILTER_CONDITION0 six = condition(COND_IP_REMOTE_ADDRESS, FWP_MATCH_EQUAL, FWP_V6_ADDR_MASK, POINTER(&long_prefix));
    STATUS_IS("W087 a prefix of 129 bits", add_at(SENT + 2, &six, 1, NULL), STATUS_FWP_INVALID_NET_MASK);
    STATUS_IS("W087 a mask that is not there", refused(condition(COND_IP_REMOTE_ADDRESS, FWP_MATCH_EQUAL, FWP_V4_ADDR_MASK, 0)), STATUS_FWP_NULL_POINTER);
}

static FWPM_FILTER_CONDITION0 range(FWP_RANGE0 *room, UINT16 low, UINT16 high)
{
    *room = (FWP_RANGE0){0};
    room->valueLow.type = room->valueHigh.type = FWP_UINT16;
    room->valueLow.uint16 = low;
    room->valueHigh.uint16 = high;
    return condition(COND_IP_REMOTE_PORT, FWP_MATCH_RANGE, FWP_RANGE_TYPE, POINTER(room));
}

static void test_ranges(void)
{
    FWP_RANGE0 r;
    EXPECT("W078 a range includes its low end", matches(range(&r, 53, 60)), 1);
    EXPECT("W078 and its high end", matches(range(&r, 50, 53)), 1);
    EXPECT("W078 and nothing beyond", matches(range(&r, 54, 60)), 0);
    EXPECT("W078 nor before", matches(range(&r, 1, 52)), 0);
    STATUS_IS("W078 low above high", refused(range(&r, 60, 50)), STATUS_FWP_INVALID_RANGE);
    STATUS_IS("W078 a range that is none", refused(condition(COND_IP_REMOTE_PORT, FWP_MATCH_RANGE, FWP_UINT16, 5)), STATUS_FWP_TYPE_MISMATCH);
    STATUS_IS("W087 a range that is not there", refused(condition(COND_IP_REMOTE_PORT, FWP_MATCH_RANGE, FWP_RANGE_TYPE, 0)), STATUS_FWP_NULL_POINTER);
}

/* FLAGS of the datagram is 0 or more: asked of what is there, by a callout that notes it. */
static UINT32 flags_seen;

static void note_flags(struct behaviour *b, struct call *call)
{
    (void)b;
    const struct layer_fact *layer = layer_by_id(call->values->layerId);
    for (UINT32 i = 0; i < layer->field_count; i++)
        if (layer->fields[i].condition == COND_FLAGS)
            flags_seen = call->values->incomingValue[i].value.uint32;
    call->out->actionType = ACTION_PERMIT;
}

static void test_flags_and_order(void)
{
    UINT32 id;
    UINT64 filter;
    add_callout(1, SENT, &id);
    register_callout(1, 0);
    behave[0].instead = note_flags;
    add_filter(SENT, 100, ACTION_CALLOUT_UNKNOWN, 1, 1, 0, &filter);
    datagram_passes();
    FwpmFilterDeleteById0(engine, filter);
    UINT32 set = flags_seen, clear = 0x1; /* the datagram is not of the loopback */
    EXPECT("W079 all of no flags are set", matches(condition(COND_FLAGS, FWP_MATCH_FLAGS_ALL_SET, FWP_UINT32, set)), 1);
    EXPECT("W079 not all of these", matches(condition(COND_FLAGS, FWP_MATCH_FLAGS_ALL_SET, FWP_UINT32, set | clear)), 0);
    EXPECT("W079 none of these", matches(condition(COND_FLAGS, FWP_MATCH_FLAGS_NONE_SET, FWP_UINT32, clear)), 1);
    EXPECT("W079 not any of these", matches(condition(COND_FLAGS, FWP_MATCH_FLAGS_ANY_SET, FWP_UINT32, clear)), 0);
    EXPECT("W079 any bit of a port", matches(REMOTE_PORT(FWP_MATCH_FLAGS_ANY_SET, 0x30)), 1);
    EXPECT("W079 all bits of a port", matches(REMOTE_PORT(FWP_MATCH_FLAGS_ALL_SET, 0x31)), 1);
    EXPECT("W079 none of the bits of a port", matches(REMOTE_PORT(FWP_MATCH_FLAGS_NONE_SET, 0x31)), 0);
    EXPECT("W082 greater", matches(REMOTE_PORT(FWP_MATCH_GREATER, 52)), 1);
    EXPECT("W082 not greater than itself", matches(REMOTE_PORT(FWP_MATCH_GREATER, 53)), 0);
    EXPECT("W082 less", matches(REMOTE_PORT(FWP_MATCH_LESS, 54)), 1);
    EXPECT("W082 not less than itself", matches(REMOTE_PORT(FWP_MATCH_LESS, 53)), 0);
    EXPECT("W082 greater or equal", matches(REMOTE_PORT(FWP_MATCH_GREATER_OR_EQUAL, 53)), 1);
    EXPECT("W082 less or equal", matches(REMOTE_PORT(FWP_MATCH_LESS_OR_EQUAL, 53)), 1);
    EXPECT("W082 not equal", matches(REMOTE_PORT(FWP_MATCH_NOT_EQUAL, 53)), 0);
    EXPECT("W082 not equal to another", matches(REMOTE_PORT(FWP_MATCH_NOT_EQUAL, 54)), 1);
    FwpsCalloutUnregisterById0(id);
}

static void test_types(void)
{
    UINT8 bytes[] = {'a', 0, 'b', 0};
    FWP_BYTE_BLOB blob = {sizeof bytes, bytes};
    FWPM_FILTER_CONDITION0 app = condition(COND_ALE_APP_ID, FWP_MATCH_EQUAL, FWP_BYTE_BLOB_TYPE, POINTER(&blob));
    FWPM_FILTER_CONDITION0 token = condition(COND_ALE_USER_ID, FWP_MATCH_EQUAL, FWP_SECURITY_DESCRIPTOR_TYPE, POINTER(&blob));
    UINT64 id;
    enum { CONNECT = LAYER_ALE_AUTH_CONNECT_V4 };
    STATUS_IS("W084 W085 a port of 32 bits", refused(condition(COND_IP_REMOTE_PORT, FWP_MATCH_EQUAL, FWP_UINT32, 53)), STATUS_FWP_TYPE_MISMATCH);
    STATUS_IS("W084 W085 a protocol of 16 bits", refused(condition(COND_IP_PROTOCOL, FWP_MATCH_EQUAL, FWP_UINT16, 17)), STATUS_FWP_TYPE_MISMATCH);
    STATUS_IS("W084 a security descriptor for a token", add_at(CONNECT, &token, 1, &id), 0);
    STATUS_IS("W080 W085 a port case-insensitively", refused(REMOTE_PORT(FWP_MATCH_EQUAL_CASE_INSENSITIVE, 53)), STATUS_FWP_MATCH_TYPE_MISMATCH);
    STATUS_IS("W080 W085 the end of a port", refused(REMOTE_PORT(MATCH_PREFIX, 53)), STATUS_FWP_MATCH_TYPE_MISMATCH);
    app.matchType = (FWP_MATCH_TYPE)MATCH_PREFIX;
    STATUS_IS("W080 the end of a path", add_at(CONNECT, &app, 1, &id), 0);
    app.matchType = FWP_MATCH_FLAGS_ANY_SET;
    STATUS_IS("W082 W085 flags of a path", add_at(CONNECT, &app, 1, &id), STATUS_FWP_MATCH_TYPE_MISMATCH);
    app.matchType = FWP_MATCH_GREATER;
    STATUS_IS("W082 a path has an order", add_at(CONNECT, &app, 1, &id), 0);
    token.matchType = FWP_MATCH_LESS;
    STATUS_IS("W082 W085 a security descriptor has none", add_at(CONNECT, &token, 1, &id), STATUS_FWP_MATCH_TYPE_MISMATCH);
    STATUS_IS("a match type that there is not", refused(REMOTE_PORT(13, 53)), STATUS_FWP_INVALID_ENUMERATOR);
    FWPM_FILTER_CONDITION0 port = REMOTE_PORT(FWP_MATCH_EQUAL, 53);
    STATUS_IS("W086 a remote port at RESOURCE_ASSIGNMENT", add_at(36, &port, 1, &id), STATUS_FWP_CONDITION_NOT_FOUND);
    app.matchType = FWP_MATCH_EQUAL;
    blob.data = NULL;
    STATUS_IS("W087 a path that is not there", add_at(CONNECT, &app, 1, &id), STATUS_FWP_NULL_POINTER);
}

/* ---- values that this engine's traffic does not have, put to the conditions directly ---- */

static int admits(UINT16 layer_id, FWPM_FILTER_CONDITION0 one, FWP_VALUE0 value)
{
    FWPS_INCOMING_VALUE0 values[64] = {0};
    const struct layer_fact *layer = layer_by_id(layer_id);
    struct filter f = {.layer = layer};
    if (conditions_compile(layer, &one, 1, &f.conditions))
        return 2;
    f.view.numFilterConditions = 1;
    values[f.conditions[0].fieldId].value = value;
    FWPS_INCOMING_VALUES0 all = {layer_id, layer->field_count, values};
    BOOL held = conditions_match(&f, &all);
    conditions_free(f.conditions, 1);
    return held;
}

static void test_values(void)
{
    static wchar_t path[] = L"\\device\\volume\\app.exe", end[] = L"app.exe", start[] = L"\\device";
    FWP_BYTE_BLOB path_blob = {sizeof path, (UINT8 *)path}, end_blob = {sizeof end, (UINT8 *)end}, start_blob = {sizeof start - 2, (UINT8 *)start};
    FWP_VALUE0 value = {.type = FWP_BYTE_BLOB_TYPE};
    enum { CONNECT = LAYER_ALE_AUTH_CONNECT_V4 };
    value.byteBlob = &path_blob;
    EXPECT("W081 PREFIX asks for the end", admits(CONNECT, condition(COND_ALE_APP_ID, MATCH_PREFIX, FWP_BYTE_BLOB_TYPE, POINTER(&end_blob)), value), 1);
    EXPECT("W081 not for the beginning", admits(CONNECT, condition(COND_ALE_APP_ID, MATCH_PREFIX, FWP_BYTE_BLOB_TYPE, POINTER(&start_blob)), value), 0);
    EXPECT("W081 NOT_PREFIX the opposite", admits(CONNECT, condition(COND_ALE_APP_ID, MATCH_NOT_PREFIX, FWP_BYTE_BLOB_TYPE, POINTER(&start_blob)), value), 1);
    FWP_BYTE_ARRAY16 there = {{0x20, 1, 0xd, 0xb8, [15] = 5}};
    FWP_V6_ADDR_AND_MASK net = {{0x20, 1, 0xd, 0xb8}, 32}, bits = {{0x20, 1, 0xd, 0xbf}, 29}, other = {{0x20, 1, 0xd, 0xb9}, 32};
    value.type = FWP_BYTE_ARRAY16_TYPE;
    value.byteArray16 = &there;
    EXPECT("W076 W077 an IPv6 address in a network, in network order", admits(CONNECT + 2, condition(COND_IP_REMOTE_ADDRESS, FWP_MATCH_EQUAL, FWP_V6_ADDR_MASK, POINTER(&net)), value), 1);
    EXPECT("W076 a prefix that ends inside of a byte", admits(CONNECT + 2, condition(COND_IP_REMOTE_ADDRESS, FWP_MATCH_EQUAL, FWP_V6_ADDR_MASK, POINTER(&bits)), value), 1);
    EXPECT("W076 in no such network", admits(CONNECT + 2, condition(COND_IP_REMOTE_ADDRESS, FWP_MATCH_EQUAL, FWP_V6_ADDR_MASK, POINTER(&other)), value), 0);
    FWP_VALUE0 unknown = {.type = FWP_EMPTY};
    EXPECT("W088 an unknown field is FWP_EMPTY", admits(CONNECT, condition(COND_IP_REMOTE_PORT, FWP_MATCH_EQUAL, FWP_EMPTY, 0), unknown), 1);
    EXPECT("W088 which equals no port", admits(CONNECT, REMOTE_PORT(FWP_MATCH_EQUAL, 0), unknown), 0);
    value.type = FWP_UINT16;
    value.uint16 = 53;
    EXPECT("W088 and no port is FWP_EMPTY", admits(CONNECT, condition(COND_IP_REMOTE_PORT, FWP_MATCH_EQUAL, FWP_EMPTY, 0), value), 0);
}

void test_matching(void)
{
    begin();
    test_runs();
    test_addresses();
    test_ranges();
    test_flags_and_order();
    test_types();
    test_values();
    end();
}

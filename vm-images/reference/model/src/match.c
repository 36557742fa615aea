/* Filter conditions: checking them when a filter is added, matching them at a classify. SPDX-License-Identifier: MIT */
#include <string.h>
#include <wchar.h>

#include "model.h"

static BOOL is_unsigned(FWP_DATA_TYPE type)
{
    return type >= FWP_UINT8 && type <= FWP_UINT64;
}

static BOOL is_sortable(FWP_DATA_TYPE type)
{
    return (type >= FWP_UINT8 && type <= FWP_INT64) || type == FWP_BYTE_ARRAY16_TYPE || type == FWP_BYTE_BLOB_TYPE ||
           type == FWP_UNICODE_STRING_TYPE;
}

static size_t pointed_size(FWP_DATA_TYPE type)
{
    switch (type) {
    case FWP_UINT64:
    case FWP_INT64:
    case FWP_DOUBLE:
        return 8;
    case FWP_BYTE_ARRAY16_TYPE:
        return 16;
    case FWP_BYTE_ARRAY6_TYPE:
        return 6;
    case FWP_V4_ADDR_MASK:
        return sizeof(FWP_V4_ADDR_AND_MASK);
    case FWP_V6_ADDR_MASK:
        return sizeof(FWP_V6_ADDR_AND_MASK);
    default:
        return 0;
    }
}

static void *copy_bytes(const void *from, size_t size)
{
    void *to = mem_alloc(size ? size : 1);
    memcpy(to, from, size);
    return to;
}

/* Deep copy of one value; blobs and SIDs included. STATUS_FWP_NULL_POINTER when a pointer is missing. */
static NTSTATUS copy_value(FWP_CONDITION_VALUE0 *to, const FWP_CONDITION_VALUE0 *from)
{
    size_t size = pointed_size(from->type);
    *to = *from;
    if (size || from->type == FWP_BYTE_BLOB_TYPE || from->type == FWP_SECURITY_DESCRIPTOR_TYPE ||
        from->type == FWP_SID || from->type == FWP_UNICODE_STRING_TYPE || from->type == FWP_RANGE_TYPE) {
        if (!from->uint64)
            return STATUS_FWP_NULL_POINTER;
    }
    if (size) {
        to->uint64 = copy_bytes(from->uint64, size);
    } else if (from->type == FWP_BYTE_BLOB_TYPE || from->type == FWP_SECURITY_DESCRIPTOR_TYPE) {
        if (from->byteBlob->size && !from->byteBlob->data) {
            to->uint64 = NULL;
            return STATUS_FWP_NULL_POINTER;
        }
        FWP_BYTE_BLOB *blob = mem_alloc(sizeof *blob + from->byteBlob->size);
        blob->size = from->byteBlob->size;
        blob->data = (UINT8 *)(blob + 1);
        memcpy(blob->data, from->byteBlob->data, blob->size);
        to->byteBlob = blob;
    } else if (from->type == FWP_UNICODE_STRING_TYPE) {
        to->unicodeString = copy_bytes(from->unicodeString, (wcslen(from->unicodeString) + 1) * sizeof(wchar_t));
    } else if (from->type == FWP_SID) {
        to->sid = copy_bytes(from->sid, 8 + 4 * (size_t)((const uint8_t *)from->sid)[1]);
    }
    return STATUS_SUCCESS;
}

static void free_value(FWP_CONDITION_VALUE0 *value)
{
    if (value->type == FWP_RANGE_TYPE && value->rangeValue) {
        free_value((FWP_CONDITION_VALUE0 *)&value->rangeValue->valueLow);
        free_value((FWP_CONDITION_VALUE0 *)&value->rangeValue->valueHigh);
        mem_free(value->rangeValue);
    } else if (pointed_size(value->type) || value->type == FWP_BYTE_BLOB_TYPE ||
               value->type == FWP_SECURITY_DESCRIPTOR_TYPE || value->type == FWP_UNICODE_STRING_TYPE ||
               value->type == FWP_SID) {
        mem_free(value->uint64);
    }
    value->type = FWP_EMPTY;
    value->uint64 = NULL;
}

void conditions_free(FWPS_FILTER_CONDITION0 *conditions, UINT32 count)
{
    for (UINT32 i = 0; conditions && i < count; i++)
        free_value(&conditions[i].conditionValue);
    mem_free(conditions);
}

static int compare_bytes(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size)
{
    int order = memcmp(a, b, a_size < b_size ? a_size : b_size);
    return order ? order : (a_size > b_size) - (a_size < b_size);
}

/* Orders two values of one type; *comparable is cleared when the type has no order (then only equality counts). */
static int compare(const FWP_VALUE0 *a, const FWP_VALUE0 *b)
{
#define ORDER(x, y) (((x) > (y)) - ((x) < (y)))
    switch (a->type) {
    case FWP_EMPTY:
        return 0;
    case FWP_UINT8:
        return ORDER(a->uint8, b->uint8);
    case FWP_UINT16:
        return ORDER(a->uint16, b->uint16);
    case FWP_UINT32:
        return ORDER(a->uint32, b->uint32);
    case FWP_UINT64:
        return ORDER(*a->uint64, *b->uint64);
    case FWP_INT8:
        return ORDER(a->int8, b->int8);
    case FWP_INT16:
        return ORDER(a->int16, b->int16);
    case FWP_INT32:
        return ORDER(a->int32, b->int32);
    case FWP_INT64:
        return ORDER(*a->int64, *b->int64);
    case FWP_BYTE_ARRAY16_TYPE:
        return memcmp(a->byteArray16, b->byteArray16, 16);
    case FWP_BYTE_ARRAY6_TYPE:
        return memcmp(a->uint64, b->uint64, 6);
    case FWP_BYTE_BLOB_TYPE:
        return compare_bytes(a->byteBlob->data, a->byteBlob->size, b->byteBlob->data, b->byteBlob->size);
    case FWP_UNICODE_STRING_TYPE:
        return wcscmp(a->unicodeString, b->unicodeString);
    case FWP_SID:
        return compare_bytes((const uint8_t *)a->sid, 8 + 4 * (size_t)((const uint8_t *)a->sid)[1], (const uint8_t *)b->sid,
                             8 + 4 * (size_t)((const uint8_t *)b->sid)[1]);
    default:
        return 1;
    }
#undef ORDER
}

static UINT64 integer(const FWP_VALUE0 *v)
{
    return v->type == FWP_UINT8 ? v->uint8 : v->type == FWP_UINT16 ? v->uint16 : v->type == FWP_UINT64 ? *v->uint64 : v->uint32;
}

static BOOL ends_with(const FWP_VALUE0 *value, const FWP_VALUE0 *end)
{
    const uint8_t *v, *e;
    size_t v_size, e_size;
    if (value->type == FWP_UNICODE_STRING_TYPE) {
        v = (const uint8_t *)value->unicodeString;
        v_size = wcslen(value->unicodeString) * sizeof(wchar_t);
        e = (const uint8_t *)end->unicodeString;
        e_size = wcslen(end->unicodeString) * sizeof(wchar_t);
    } else {
        v = value->byteBlob->data;
        v_size = value->byteBlob->size;
        e = end->byteBlob->data;
        e_size = end->byteBlob->size;
    }
    return v_size >= e_size && !memcmp(v + v_size - e_size, e, e_size);
}

static BOOL value_matches(const FWPS_FILTER_CONDITION0 *condition, const FWP_VALUE0 *value)
{
    const FWP_CONDITION_VALUE0 *wanted = &condition->conditionValue;
    const FWP_VALUE0 *plain = (const FWP_VALUE0 *)wanted;
    BOOL negate = condition->matchType == FWP_MATCH_NOT_EQUAL;
    if (wanted->type == FWP_V4_ADDR_MASK && value->type == FWP_UINT32)
        return ((value->uint32 & wanted->v4AddrMask->mask) == (wanted->v4AddrMask->addr & wanted->v4AddrMask->mask)) != negate;
    if (wanted->type == FWP_V6_ADDR_MASK && value->type == FWP_BYTE_ARRAY16_TYPE) {
        unsigned bits = wanted->v6AddrMask->prefixLength, whole = bits / 8;
        const uint8_t *a = value->byteArray16->byteArray16, *b = wanted->v6AddrMask->addr;
        BOOL same = !memcmp(a, b, whole) && (bits % 8 == 0 || ((a[whole] ^ b[whole]) >> (8 - bits % 8)) == 0);
        return same != negate;
    }
    if (wanted->type == FWP_RANGE_TYPE)
        return wanted->rangeValue->valueLow.type == value->type && compare(value, &wanted->rangeValue->valueLow) >= 0 &&
               compare(value, &wanted->rangeValue->valueHigh) <= 0;
    if (wanted->type != value->type) /* W084: never converted; an unknown field is FWP_EMPTY (W088) */
        return FALSE;
    switch ((int)condition->matchType) {
    case FWP_MATCH_EQUAL:
        return compare(value, plain) == 0;
    case FWP_MATCH_NOT_EQUAL:
        return compare(value, plain) != 0;
    case FWP_MATCH_GREATER:
        return compare(value, plain) > 0;
    case FWP_MATCH_LESS:
        return compare(value, plain) < 0;
    case FWP_MATCH_GREATER_OR_EQUAL:
        return compare(value, plain) >= 0;
    case FWP_MATCH_LESS_OR_EQUAL:
        return compare(value, plain) <= 0;
    case FWP_MATCH_FLAGS_ALL_SET:
        return (integer(value) & integer(plain)) == integer(plain);
    case FWP_MATCH_FLAGS_ANY_SET:
        return (integer(value) & integer(plain)) != 0;
    case FWP_MATCH_FLAGS_NONE_SET:
        return (integer(value) & integer(plain)) == 0;
    case FWP_MATCH_EQUAL_CASE_INSENSITIVE:
        return _wcsicmp(value->unicodeString, wanted->unicodeString) == 0;
    case 11: /* FWP_MATCH_PREFIX: in fact "ends with" (W081) */
        return ends_with(value, plain);
    case 12:
        return !ends_with(value, plain);
    default:
        return FALSE;
    }
}

BOOL conditions_match(const struct filter *filter, const FWPS_INCOMING_VALUES0 *values)
{
    const FWPS_FILTER_CONDITION0 *conditions = filter->conditions;
    UINT32 count = filter->view.numFilterConditions;
    for (UINT32 i = 0; i < count;) { /* AND of runs; inside a run of one field: OR (W073, W074) */
        UINT16 field = conditions[i].fieldId;
        BOOL any = FALSE;
        for (; i < count && conditions[i].fieldId == field; i++)
            any = any || value_matches(&conditions[i], &values->incomingValue[field].value);
        if (!any)
            return FALSE;
    }
    return TRUE;
}

/* Could the filter match traffic of which this is said? A field that the filter does not ask for may be anything. */
BOOL conditions_admit(const struct filter *filter, const FWPM_FILTER_CONDITION0 *said)
{
    UINT32 field = 0;
    BOOL asked = FALSE;
    while (field < filter->layer->field_count &&
           !guid_equal(&condition_keys[filter->layer->fields[field].condition], &said->fieldKey))
        field++;
    if (field == filter->layer->field_count)
        return FALSE;
    for (UINT32 i = 0; i < filter->view.numFilterConditions; i++) {
        if (filter->conditions[i].fieldId != field)
            continue;
        asked = TRUE;
        if (said->matchType != FWP_MATCH_EQUAL || said->conditionValue.type != filter->layer->fields[field].type ||
            value_matches(&filter->conditions[i], (const FWP_VALUE0 *)&said->conditionValue))
            return TRUE;
    }
    return !asked;
}

static NTSTATUS check_mask(const FWP_CONDITION_VALUE0 *value)
{
    if (value->type == FWP_V6_ADDR_MASK)
        return value->v6AddrMask->prefixLength > 128 ? STATUS_FWP_INVALID_NET_MASK : STATUS_SUCCESS;
    UINT32 inverse = ~value->v4AddrMask->mask;
    return inverse & (inverse + 1) ? STATUS_FWP_INVALID_NET_MASK : STATUS_SUCCESS;
}

/* Does a condition of this value and match type suit a field of this type? (W078 to W085) */
static NTSTATUS check_types(FWP_DATA_TYPE field, const FWPM_FILTER_CONDITION0 *c)
{
    const FWP_CONDITION_VALUE0 *value = &c->conditionValue;
    int match = c->matchType;
    if (match < 0 || match > 12)
        return STATUS_FWP_INVALID_ENUMERATOR;
    if (match == FWP_MATCH_RANGE) {
        if (!is_sortable(field))
            return STATUS_FWP_MATCH_TYPE_MISMATCH;
        if (value->type != FWP_RANGE_TYPE)
            return STATUS_FWP_TYPE_MISMATCH;
        if (!value->rangeValue)
            return STATUS_FWP_NULL_POINTER;
        if (value->rangeValue->valueLow.type != field || value->rangeValue->valueHigh.type != field)
            return STATUS_FWP_TYPE_MISMATCH;
        return compare(&value->rangeValue->valueLow, &value->rangeValue->valueHigh) > 0 ? STATUS_FWP_INVALID_RANGE
                                                                                       : STATUS_SUCCESS;
    }
    BOOL masked = (field == FWP_UINT32 && value->type == FWP_V4_ADDR_MASK) ||
                  (field == FWP_BYTE_ARRAY16_TYPE && value->type == FWP_V6_ADDR_MASK);
    BOOL access = (field == FWP_TOKEN_ACCESS_INFORMATION_TYPE || field == FWP_TOKEN_INFORMATION_TYPE) &&
                  value->type == FWP_SECURITY_DESCRIPTOR_TYPE;
    BOOL empty = value->type == FWP_EMPTY && match == FWP_MATCH_EQUAL;
    if (value->type != field && !masked && !access && !empty)
        return STATUS_FWP_TYPE_MISMATCH;
    if (match >= FWP_MATCH_FLAGS_ALL_SET && match <= FWP_MATCH_FLAGS_NONE_SET && !is_unsigned(value->type))
        return STATUS_FWP_MATCH_TYPE_MISMATCH;
    if (match == FWP_MATCH_EQUAL_CASE_INSENSITIVE && value->type != FWP_UNICODE_STRING_TYPE)
        return STATUS_FWP_MATCH_TYPE_MISMATCH;
    if (match >= 11 && value->type != FWP_UNICODE_STRING_TYPE && value->type != FWP_BYTE_BLOB_TYPE)
        return STATUS_FWP_MATCH_TYPE_MISMATCH;
    if (match >= FWP_MATCH_GREATER && match <= FWP_MATCH_LESS_OR_EQUAL && !is_sortable(value->type))
        return STATUS_FWP_MATCH_TYPE_MISMATCH;
    if (masked && !value->uint64)
        return STATUS_FWP_NULL_POINTER;
    return masked ? check_mask(value) : STATUS_SUCCESS;
}

static NTSTATUS compile_one(const struct layer_fact *layer, const FWPM_FILTER_CONDITION0 *from, FWPS_FILTER_CONDITION0 *to)
{
    BOOL known = FALSE;
    for (int i = 0; i < COND_COUNT && !known; i++)
        known = guid_equal(&condition_keys[i], &from->fieldKey);
    for (UINT32 field = 0; known && field < layer->field_count; field++) {
        if (!guid_equal(&condition_keys[layer->fields[field].condition], &from->fieldKey))
            continue;
        NTSTATUS status = check_types(layer->fields[field].type, from);
        if (status)
            return status;
        to->fieldId = (UINT16)field;
        to->matchType = from->matchType;
        if (from->matchType != FWP_MATCH_RANGE)
            return copy_value(&to->conditionValue, &from->conditionValue);
        FWP_RANGE0 *range = mem_alloc(sizeof *range);
        to->conditionValue.type = FWP_RANGE_TYPE;
        to->conditionValue.rangeValue = range;
        status = copy_value((FWP_CONDITION_VALUE0 *)&range->valueLow,
                            (const FWP_CONDITION_VALUE0 *)&from->conditionValue.rangeValue->valueLow);
        return status ? status
                      : copy_value((FWP_CONDITION_VALUE0 *)&range->valueHigh,
                                   (const FWP_CONDITION_VALUE0 *)&from->conditionValue.rangeValue->valueHigh);
    }
    return STATUS_FWP_CONDITION_NOT_FOUND;
}

NTSTATUS conditions_compile(const struct layer_fact *layer, const FWPM_FILTER_CONDITION0 *from, UINT32 count,
                            FWPS_FILTER_CONDITION0 **out)
{
    *out = NULL;
    if (!count)
        return STATUS_SUCCESS;
    if (!from)
        return STATUS_FWP_NULL_POINTER;
    FWPS_FILTER_CONDITION0 *made = mem_alloc(count * sizeof *made);
    for (UINT32 i = 0; i < count; i++) {
        NTSTATUS status = compile_one(layer, &from[i], &made[i]);
        if (status) {
            conditions_free(made, count);
            return status;
        }
    }
    *out = made;
    return STATUS_SUCCESS;
}

/* Windows' exact bits are not documented. Ours only promise: below 2^60, 0 without conditions, and a superset of
 * fields never weighs less (W046 to W048). */
UINT64 automatic_weight(const struct layer_fact *layer, const FWPS_FILTER_CONDITION0 *conditions, UINT32 count)
{
    UINT64 weight = 0;
    for (UINT32 i = 0; i < count; i++)
        weight |= 1ull << (layer->field_count - 1 - conditions[i].fieldId + 8);
    return weight & ((1ull << 60) - 1);
}

/*
 * What is a pointer in which structure, and one walk over it that copies: from pointers or from offsets that are checked,
 * to pointers or to offsets.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>
#include <wchar.h>

#include "shapes.h"

void *mem_alloc(size_t size);
void mem_free(void *block);

enum part_kind {
    PART_END,
    PART_POINTER, /* to one `of`, or NULL */
    PART_ARRAY,   /* to as many `of` as the UINT32 at `count` says */
    PART_INSIDE,  /* an `of` in the structure itself */
    PART_STRING,
    PART_SID,
    PART_VALUE,   /* FWP_VALUE0 or FWP_CONDITION_VALUE0 */
    PART_CONTEXT, /* the union of FWPM_PROVIDER_CONTEXT0, by the type at `count` */
};
struct part {
    enum part_kind kind;
    UINT16 at, count;
    const struct shape *of;
};
struct shape {
    UINT16 size;
    const struct part *parts;
};

#define SHAPE(name, type) const struct shape name = {sizeof(type), name##_parts}
#define DISPLAY(type)                                                                              \
    {PART_STRING, offsetof(type, displayData.name), 0, NULL}, {PART_STRING, offsetof(type, displayData.description), 0, NULL}
#define BLOB(type, member) {PART_INSIDE, offsetof(type, member), 0, &shape_blob}
#define KEY(type, member) {PART_POINTER, offsetof(type, member), 0, &shape_guid}
#define VALUE(type, member) {PART_VALUE, offsetof(type, member), 0, NULL}
#define END {PART_END, 0, 0, NULL}

static const struct part flat[] = {END};
const struct shape shape_guid = {sizeof(GUID), flat};
static const struct shape shape_byte = {1, flat}, shape_8 = {8, flat}, shape_16 = {16, flat}, shape_6 = {6, flat},
                          shape_v6 = {sizeof(FWP_V6_ADDR_AND_MASK), flat};
static const struct part shape_string_parts[] = {{PART_STRING, 0, 0, NULL}, END};
const struct shape shape_string = {sizeof(wchar_t *), shape_string_parts};

static const struct part shape_blob_parts[] = {
    {PART_ARRAY, offsetof(FWP_BYTE_BLOB, data), offsetof(FWP_BYTE_BLOB, size), &shape_byte}, END};
static SHAPE(shape_blob, FWP_BYTE_BLOB);
static const struct part shape_value_parts[] = {{PART_VALUE, 0, 0, NULL}, END};
SHAPE(shape_value, FWP_VALUE0);
static const struct part shape_range_parts[] = {VALUE(FWP_RANGE0, valueLow), VALUE(FWP_RANGE0, valueHigh), END};
static SHAPE(shape_range, FWP_RANGE0);
static const struct part shape_condition_parts[] = {VALUE(FWPM_FILTER_CONDITION0, conditionValue), END};
static SHAPE(shape_condition, FWPM_FILTER_CONDITION0);
static const struct part shape_option_parts[] = {VALUE(FWPM_CLASSIFY_OPTION0, value), END};
static SHAPE(shape_option, FWPM_CLASSIFY_OPTION0);
static const struct part shape_options_parts[] = {
    {PART_ARRAY, offsetof(FWPM_CLASSIFY_OPTIONS0, options), offsetof(FWPM_CLASSIFY_OPTIONS0, numOptions), &shape_option}, END};
static SHAPE(shape_options, FWPM_CLASSIFY_OPTIONS0);

static const struct part shape_provider_parts[] = {
    DISPLAY(FWPM_PROVIDER0), BLOB(FWPM_PROVIDER0, providerData), {PART_STRING, offsetof(FWPM_PROVIDER0, serviceName), 0, NULL}, END};
SHAPE(shape_provider, FWPM_PROVIDER0);
static const struct part shape_sublayer_parts[] = {
    DISPLAY(FWPM_SUBLAYER0), KEY(FWPM_SUBLAYER0, providerKey), BLOB(FWPM_SUBLAYER0, providerData), END};
SHAPE(shape_sublayer, FWPM_SUBLAYER0);
static const struct part shape_callout_parts[] = {
    DISPLAY(FWPM_CALLOUT0), KEY(FWPM_CALLOUT0, providerKey), BLOB(FWPM_CALLOUT0, providerData), END};
SHAPE(shape_callout, FWPM_CALLOUT0);
static const struct part shape_context_parts[] = {
    DISPLAY(FWPM_PROVIDER_CONTEXT0), KEY(FWPM_PROVIDER_CONTEXT0, providerKey), BLOB(FWPM_PROVIDER_CONTEXT0, providerData),
    {PART_CONTEXT, offsetof(FWPM_PROVIDER_CONTEXT0, dataBuffer), offsetof(FWPM_PROVIDER_CONTEXT0, type), NULL}, END};
SHAPE(shape_context, FWPM_PROVIDER_CONTEXT0);
static const struct part shape_filter_parts[] = {
    DISPLAY(FWPM_FILTER0),
    KEY(FWPM_FILTER0, providerKey),
    BLOB(FWPM_FILTER0, providerData),
    VALUE(FWPM_FILTER0, weight),
    {PART_ARRAY, offsetof(FWPM_FILTER0, filterCondition), offsetof(FWPM_FILTER0, numFilterConditions), &shape_condition},
    KEY(FWPM_FILTER0, reserved),
    VALUE(FWPM_FILTER0, effectiveWeight),
    END};
SHAPE(shape_filter, FWPM_FILTER0);
static const struct part shape_session_parts[] = {
    DISPLAY(FWPM_SESSION0), {PART_SID, offsetof(FWPM_SESSION0, sid), 0, NULL}, {PART_STRING, offsetof(FWPM_SESSION0, username), 0, NULL}, END};
SHAPE(shape_session, FWPM_SESSION0);
static const struct part shape_field_parts[] = {KEY(FWPM_FIELD0, fieldKey), END};
static SHAPE(shape_field, FWPM_FIELD0);
static const struct part shape_layer_parts[] = {
    DISPLAY(FWPM_LAYER0), {PART_ARRAY, offsetof(FWPM_LAYER0, field), offsetof(FWPM_LAYER0, numFields), &shape_field}, END};
SHAPE(shape_layer, FWPM_LAYER0);

static const struct part shape_provider_template_parts[] = {KEY(FWPM_SUBLAYER_ENUM_TEMPLATE0, providerKey), END};
SHAPE(shape_provider_template, FWPM_SUBLAYER_ENUM_TEMPLATE0);
static const struct part shape_callout_template_parts[] = {KEY(FWPM_CALLOUT_ENUM_TEMPLATE0, providerKey), END};
SHAPE(shape_callout_template, FWPM_CALLOUT_ENUM_TEMPLATE0);
static const struct part shape_context_template_parts[] = {KEY(FWPM_PROVIDER_CONTEXT_ENUM_TEMPLATE0, providerKey), END};
SHAPE(shape_context_template, FWPM_PROVIDER_CONTEXT_ENUM_TEMPLATE0);
static const struct part shape_filter_template_parts[] = {
    KEY(FWPM_FILTER_ENUM_TEMPLATE0, providerKey),
    {PART_POINTER, offsetof(FWPM_FILTER_ENUM_TEMPLATE0, providerContextTemplate), 0, &shape_context_template},
    {PART_ARRAY, offsetof(FWPM_FILTER_ENUM_TEMPLATE0, filterCondition), offsetof(FWPM_FILTER_ENUM_TEMPLATE0, numFilterConditions),
     &shape_condition},
    KEY(FWPM_FILTER_ENUM_TEMPLATE0, calloutKey),
    END};
SHAPE(shape_filter_template, FWPM_FILTER_ENUM_TEMPLATE0);

STATUS_ASSERT_SIZE(FWPM_PROVIDER0, 64);
STATUS_ASSERT_SIZE(FWPM_SUBLAYER0, 72);
STATUS_ASSERT_SIZE(FWPM_CALLOUT0, 88);
STATUS_ASSERT_SIZE(FWPM_PROVIDER_CONTEXT0, 88);
STATUS_ASSERT_SIZE(FWPM_FILTER0, 200);
STATUS_ASSERT_SIZE(FWPM_SESSION0, 72);
STATUS_ASSERT_SIZE(FWPM_LAYER0, 72);
STATUS_ASSERT_SIZE(FWPM_FILTER_CONDITION0, 40);

enum { ALIGNMENT = 8, SID_FIXED = 8, SID_COUNT_AT = 1, SID_COUNT_MAX = 15, VALUE_UNION_AT = 8 };

struct walk {
    const UINT8 *in; /* NULL: what is read are pointers */
    size_t in_size;
    UINT8 *out; /* NULL: only measure */
    size_t used;
    BOOL offsets, bad; /* write offsets; something of the input was wrong */
};

static const void *source_of(struct walk *walk, UINT64 reference, size_t size)
{
    if (!walk->in)
        return (const void *)(uintptr_t)reference;
    if (reference > walk->in_size || size > walk->in_size - reference) {
        walk->bad = TRUE;
        return NULL;
    }
    return walk->in + reference;
}

static size_t reserve(struct walk *walk, size_t size)
{
    size_t at = walk->used;
    if (walk->in && size > SHAPE_BYTES_MAX - at)
        walk->bad = TRUE;
    else
        walk->used = at + ((size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1));
    return at;
}

static void refer(struct walk *walk, size_t at, size_t target)
{
    UINT64 reference = walk->offsets ? target : (UINT64)(uintptr_t)(walk->out + target);
    if (walk->out)
        memcpy(walk->out + at, &reference, sizeof reference);
}

static void clear(struct walk *walk, size_t at)
{
    if (walk->out)
        memset(walk->out + at, 0, sizeof(UINT64));
}

static void copy_parts(struct walk *walk, const struct shape *shape, const UINT8 *from, size_t at, BOOL inner);

/* `count` structures behind one pointer, which stands at `at` in the copy. */
static void copy_many(struct walk *walk, const struct shape *shape, UINT64 reference, size_t count, size_t at, BOOL inner)
{
    if (!reference) {
        clear(walk, at);
        return;
    }
    if (walk->in && count > walk->in_size / shape->size) {
        walk->bad = TRUE;
        return;
    }
    const UINT8 *from = source_of(walk, reference, count * shape->size);
    size_t target = reserve(walk, count * shape->size);
    if (walk->bad)
        return;
    refer(walk, at, target);
    if (walk->out)
        memcpy(walk->out + target, from, count * shape->size);
    for (size_t i = 0; i < count && !walk->bad && shape->parts != flat; i++)
        copy_parts(walk, shape, from + i * shape->size, target + i * shape->size, inner);
}

static void copy_string(struct walk *walk, UINT64 reference, size_t at)
{
    size_t length = 0;
    if (!reference) {
        clear(walk, at);
        return;
    }
    const UINT8 *from = source_of(walk, reference, sizeof(wchar_t));
    for (; !walk->bad; length++) {
        wchar_t letter;
        if (walk->in && length >= (walk->in_size - reference) / sizeof letter) {
            walk->bad = TRUE;
            return;
        }
        memcpy(&letter, from + length * sizeof letter, sizeof letter);
        if (!letter)
            break;
    }
    if (walk->bad)
        return;
    size_t target = reserve(walk, (length + 1) * sizeof(wchar_t));
    if (walk->bad)
        return;
    refer(walk, at, target);
    if (walk->out)
        memcpy(walk->out + target, from, (length + 1) * sizeof(wchar_t));
}

static void copy_sid(struct walk *walk, UINT64 reference, size_t at)
{
    const UINT8 *from = reference ? source_of(walk, reference, SID_FIXED) : NULL;
    if (!from) {
        clear(walk, at);
        return;
    }
    if (from[SID_COUNT_AT] > SID_COUNT_MAX) {
        walk->bad = TRUE;
        return;
    }
    copy_many(walk, &shape_byte, reference, SID_FIXED + 4u * from[SID_COUNT_AT], at, FALSE);
}

static const struct shape *shape_behind(UINT32 type)
{
    switch (type) {
    case FWP_UINT64:
    case FWP_INT64:
    case FWP_DOUBLE:
    case FWP_V4_ADDR_MASK:
        return &shape_8;
    case FWP_BYTE_ARRAY16_TYPE:
        return &shape_16;
    case FWP_BYTE_ARRAY6_TYPE:
        return &shape_6;
    case FWP_V6_ADDR_MASK:
        return &shape_v6;
    case FWP_BYTE_BLOB_TYPE:
    case FWP_SECURITY_DESCRIPTOR_TYPE:
    case FWP_TOKEN_ACCESS_INFORMATION_TYPE:
        return &shape_blob;
    case FWP_RANGE_TYPE:
        return &shape_range;
    default:
        return NULL;
    }
}

/* `inner`: a value inside of a range, which is not a range itself. */
static void copy_value(struct walk *walk, const UINT8 *from, size_t at, BOOL inner)
{
    UINT32 type;
    UINT64 reference;
    memcpy(&type, from, sizeof type);
    memcpy(&reference, from + VALUE_UNION_AT, sizeof reference);
    at += VALUE_UNION_AT;
    const struct shape *shape = shape_behind(type);
    if (shape == &shape_range && inner)
        walk->bad = TRUE;
    else if (shape)
        copy_many(walk, shape, reference, 1, at, TRUE);
    else if (type == FWP_UNICODE_STRING_TYPE)
        copy_string(walk, reference, at);
    else if (type == FWP_SID)
        copy_sid(walk, reference, at);
    else if (type == FWP_EMPTY || type > FWP_BYTE_ARRAY6_TYPE || type == FWP_TOKEN_INFORMATION_TYPE)
        clear(walk, at); /* nothing to be copied, or a pointer to what no filter has */
}

static void copy_context(struct walk *walk, UINT32 type, UINT64 reference, size_t at)
{
    if (type == FWPM_GENERAL_CONTEXT)
        copy_many(walk, &shape_blob, reference, 1, at, FALSE);
    else if (type == FWPM_CLASSIFY_OPTIONS_CONTEXT)
        copy_many(walk, &shape_options, reference, 1, at, FALSE);
    else
        clear(walk, at); /* policies of IPsec and IKE */
}

static void copy_parts(struct walk *walk, const struct shape *shape, const UINT8 *from, size_t at, BOOL inner)
{
    for (const struct part *part = shape->parts; part->kind != PART_END && !walk->bad; part++) {
        UINT64 reference = 0;
        UINT32 count = 0;
        if (part->kind != PART_VALUE && part->kind != PART_INSIDE)
            memcpy(&reference, from + part->at, sizeof reference);
        if (part->kind == PART_ARRAY || part->kind == PART_CONTEXT)
            memcpy(&count, from + part->count, sizeof count);
        switch (part->kind) {
        case PART_POINTER:
            copy_many(walk, part->of, reference, 1, at + part->at, inner);
            break;
        case PART_ARRAY:
            copy_many(walk, part->of, count ? reference : 0, count, at + part->at, inner);
            break;
        case PART_INSIDE:
            copy_parts(walk, part->of, from + part->at, at + part->at, inner);
            break;
        case PART_STRING:
            copy_string(walk, reference, at + part->at);
            break;
        case PART_SID:
            copy_sid(walk, reference, at + part->at);
            break;
        case PART_VALUE:
            copy_value(walk, from + part->at, at + part->at, inner);
            break;
        case PART_CONTEXT:
            copy_context(walk, count, reference, at + part->at);
            break;
        case PART_END:
            break;
        }
    }
}

static void copy_root(struct walk *walk, const struct shape *shape, const void *from)
{
    size_t at = reserve(walk, shape->size);
    if (walk->bad)
        return;
    if (walk->out)
        memcpy(walk->out + at, from, shape->size);
    copy_parts(walk, shape, from, at, FALSE);
}

/* One pass over `count` structures: behind an array of references when `array`, which for bytes stands at their start. */
static size_t pass(struct walk walk, const struct shape *shape, void *const *from, UINT32 count, BOOL array, BOOL *bad)
{
    size_t table = array ? reserve(&walk, count * sizeof(UINT64)) : 0;
    for (UINT32 i = 0; i < count && !walk.bad; i++) {
        UINT64 reference = 0;
        if (walk.in && array)
            memcpy(&reference, walk.in + i * sizeof reference, sizeof reference);
        const void *source = walk.in ? source_of(&walk, reference, shape->size) : from[i];
        if (array)
            refer(&walk, table + i * sizeof(UINT64), walk.used);
        if (!walk.bad)
            copy_root(&walk, shape, source);
    }
    if (bad)
        *bad = walk.bad;
    return walk.used;
}

static void *copied(struct walk walk, const struct shape *shape, void *const *from, UINT32 count, BOOL array)
{
    BOOL bad;
    size_t size = pass(walk, shape, from, count, array, &bad);
    if (bad)
        return NULL;
    walk.out = mem_alloc(size ? size : 1);
    pass(walk, shape, from, count, array, NULL);
    return walk.out;
}

static size_t packed(const struct shape *shape, void *const *from, UINT32 count, BOOL array, void *out, size_t room)
{
    struct walk walk = {.offsets = TRUE};
    size_t size = pass(walk, shape, from, count, array, NULL);
    walk.out = out;
    if (size <= room && out)
        pass(walk, shape, from, count, array, NULL);
    return size;
}

void *shape_copy(const struct shape *shape, const void *from)
{
    void *one = (void *)(uintptr_t)from;
    return copied((struct walk){0}, shape, &one, 1, FALSE);
}

size_t shape_pack(const struct shape *shape, const void *from, void *out, size_t room)
{
    void *one = (void *)(uintptr_t)from;
    return packed(shape, &one, 1, FALSE, out, room);
}

void *shape_unpack(const struct shape *shape, const void *bytes, size_t size)
{
    struct walk walk = {.in = bytes, .in_size = size};
    return size < shape->size ? NULL : copied(walk, shape, NULL, 1, FALSE);
}

void *shape_copy_array(const struct shape *shape, void *const *from, UINT32 count)
{
    return copied((struct walk){0}, shape, from, count, TRUE);
}

size_t shape_pack_array(const struct shape *shape, void *const *from, UINT32 count, void *out, size_t room)
{
    return packed(shape, from, count, TRUE, out, room);
}

void *shape_unpack_array(const struct shape *shape, UINT32 count, const void *bytes, size_t size)
{
    struct walk walk = {.in = bytes, .in_size = size};
    return count > size / sizeof(UINT64) ? NULL : copied(walk, shape, NULL, count, TRUE);
}

/*
 * Security information of objects and of their containers. It is kept and told, and nobody is turned away by it: kernel
 * callers skip the access checks (W068), and in the reference guest everybody is an administrator.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "store.h"

enum { DACL = 4, SACL = 8, /* owner is 1, group 2 */ REVISION = 1, HAS_DACL = 4, HAS_SACL = 0x10, SELF_RELATIVE = 0x8000 };
enum { HEAD = 20, SID_HEAD = 8, SID_MAX_COUNT = 15, ACL_HEAD = 8, PART_COUNT = 4 };

struct security {
    void *part[PART_COUNT]; /* owner, group, DACL, SACL: blocks of their own, or NULL */
    size_t size[PART_COUNT];
};

static const UINT8 administrators[] = {1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 32, 2, 0, 0};
static const UINT8 all_for_administrators[] = {2, 0, 32, 0, 1, 0, 0, 0, /* ACE: allow, GENERIC_ALL */ 0, 0, 24, 0, 0, 0, 0, 16,
                                               1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 32, 2, 0, 0};
static struct security *of_containers[KINDS + 1]; /* by store_lock; the last is the engine's */
enum { ENGINE = KINDS };

void security_free(struct object *object)
{
    for (int i = 0; object->security && i < PART_COUNT; i++)
        mem_free(object->security->part[i]);
    mem_free(object->security);
    object->security = NULL;
}

static size_t sid_size(const void *sid)
{
    const UINT8 *bytes = sid;
    return bytes && bytes[0] == 1 && bytes[1] <= SID_MAX_COUNT ? SID_HEAD + 4u * bytes[1] : 0;
}

static size_t acl_size(const void *acl)
{
    UINT16 size = 0;
    if (acl)
        memcpy(&size, (const UINT8 *)acl + 2, sizeof size);
    return size >= ACL_HEAD ? size : 0;
}

/* The place where the information of an object or a container is kept. By store_lock. */
static NTSTATUS find(struct session *session, int kind, const GUID *key, struct object **object, struct security ***place)
{
    *object = NULL;
    *place = &of_containers[kind];
    if (kind == ENGINE || !key || guid_is_zero(key))
        return STATUS_SUCCESS;
    if (kind == KIND_LAYER)
        return layer_by_key(key) ? STATUS_SUCCESS : STATUS_FWP_LAYER_NOT_FOUND;
    *object = object_find(session, (enum kind)kind, key);
    if (!*object)
        return not_found[kind];
    *place = &(*object)->security;
    return STATUS_SUCCESS;
}

static void *make_descriptor(const struct security *kept, UINT32 wanted, void *out[PART_COUNT], size_t *descriptor_size)
{
    const void *part[PART_COUNT] = {administrators, administrators, all_for_administrators, NULL};
    size_t size[PART_COUNT] = {sizeof administrators, sizeof administrators, sizeof all_for_administrators, 0}, at = HEAD;
    UINT8 *block;
    UINT16 control = SELF_RELATIVE;
    for (int i = 0; i < PART_COUNT; i++) {
        if (kept && kept->part[i]) {
            part[i] = kept->part[i];
            size[i] = kept->size[i];
        }
        if (!(wanted & 1u << i))
            size[i] = 0;
        at += size[i];
    }
    *descriptor_size = at;
    block = mem_alloc(at);
    block[0] = REVISION;
    control |= (UINT16)((wanted & DACL ? HAS_DACL : 0) | (wanted & SACL ? HAS_SACL : 0));
    memcpy(block + 2, &control, sizeof control);
    at = HEAD;
    static const unsigned offset_at[PART_COUNT] = {4, 8, 16, 12};
    for (int i = 0; i < PART_COUNT; i++) {
        UINT32 offset = (UINT32)at;
        out[i] = size[i] ? block + at : NULL;
        if (!size[i])
            continue;
        memcpy(block + offset_at[i], &offset, sizeof offset);
        memcpy(block + at, part[i], size[i]);
        at += size[i];
    }
    return block;
}

static NTSTATUS get_parts(HANDLE engine, int kind, const GUID *key, UINT32 wanted, void *parts[PART_COUNT], void **descriptor,
                          size_t *size)
{
    struct session *session;
    struct object *object;
    struct security **place;
    AcquireSRWLockShared(&store_lock);
    NTSTATUS status = session_check(engine, &session);
    if (!status)
        status = find(session, kind, key, &object, &place);
    if (!status)
        *descriptor = make_descriptor(*place, wanted, parts, size);
    ReleaseSRWLockShared(&store_lock);
    return status;
}

static NTSTATUS get(HANDLE engine, int kind, const GUID *key, UINT32 wanted, void **owner, void **group, void **dacl,
                    void **sacl, void **descriptor)
{
    void *parts[PART_COUNT] = {0}, **out[PART_COUNT] = {owner, group, dacl, sacl};
    size_t size;
    if (!descriptor)
        return STATUS_FWP_NULL_POINTER;
    NTSTATUS status = get_parts(engine, kind, key, wanted, parts, descriptor, &size);
    if (!status)
        hand_out(*descriptor);
    for (int i = 0; i < PART_COUNT && !status; i++)
        if (out[i])
            *out[i] = parts[i];
    return status;
}

/* Not in a transaction; in a dynamic session only of the session's own objects. */
static NTSTATUS may_set(const struct session *session, const struct object *object)
{
    if (session->txn != TXN_NONE)
        return STATUS_FWP_TXN_IN_PROGRESS;
    if (object && FOREIGN(session, object))
        return STATUS_FWP_WRONG_SESSION;
    return session->dynamic && !(object && object->owner) ? STATUS_FWP_DYNAMIC_SESSION_IN_PROGRESS : STATUS_SUCCESS;
}

static NTSTATUS set_parts(HANDLE engine, int kind, const GUID *key, UINT32 wanted, const void *const part[PART_COUNT],
                          const size_t size[PART_COUNT])
{
    struct session *session;
    struct object *object;
    struct security **place;
    for (int i = 0; i < PART_COUNT; i++)
        if ((wanted & 1u << i) && part[i] && !size[i])
            return STATUS_INVALID_PARAMETER;
    AcquireSRWLockExclusive(&store_lock);
    NTSTATUS status = session_check(engine, &session);
    if (!status)
        status = find(session, kind, key, &object, &place);
    if (!status)
        status = may_set(session, object);
    if (!status && !*place)
        *place = mem_alloc(sizeof **place);
    for (int i = 0; i < PART_COUNT && !status; i++) {
        if (!(wanted & 1u << i) || !part[i])
            continue;
        mem_free((*place)->part[i]);
        (*place)->part[i] = memcpy(mem_alloc(size[i]), part[i], size[i]);
        (*place)->size[i] = size[i];
    }
    ReleaseSRWLockExclusive(&store_lock);
    return status;
}

static NTSTATUS set(HANDLE engine, int kind, const GUID *key, UINT32 wanted, const void *owner, const void *group,
                    const void *dacl, const void *sacl)
{
    const void *part[PART_COUNT] = {owner, group, dacl, sacl};
    size_t size[PART_COUNT] = {sid_size(owner), sid_size(group), acl_size(dacl), acl_size(sacl)};
    return set_parts(engine, kind, key, wanted, part, size);
}

/* ---- for programs of user mode, whose bytes are held against their lengths ---- */

static BOOL place_of(UINT32 kind, int *place)
{
    *place = kind == SECURITY_OF_ENGINE ? ENGINE : (int)kind;
    return kind == SECURITY_OF_ENGINE || kind <= KIND_LAYER;
}

NTSTATUS security_get(HANDLE engine, UINT32 kind, const GUID *key, UINT32 wanted, void **descriptor, size_t *size)
{
    void *parts[PART_COUNT];
    int place;
    return place_of(kind, &place) ? get_parts(engine, place, key, wanted, parts, descriptor, size) : STATUS_INVALID_PARAMETER;
}

NTSTATUS security_set(HANDLE engine, UINT32 kind, const GUID *key, UINT32 wanted, const UINT8 *const part[4], const UINT32 given[4])
{
    const void *checked[PART_COUNT] = {0};
    size_t size[PART_COUNT] = {0};
    int place;
    if (!place_of(kind, &place))
        return STATUS_INVALID_PARAMETER;
    for (int i = 0; i < PART_COUNT; i++) {
        if (!part[i])
            continue;
        size[i] = given[i] < SID_HEAD ? 0 : i < 2 ? sid_size(part[i]) : acl_size(part[i]);
        if (!size[i] || size[i] > given[i])
            return STATUS_INVALID_PARAMETER;
        checked[i] = part[i];
    }
    return set_parts(engine, place, key, wanted, checked, size);
}

#define SECURITY(noun, kind)                                                                                       \
    NTSTATUS NTAPI Fwpm##noun##GetSecurityInfoByKey0(HANDLE engine, const GUID *key, UINT32 wanted, void **owner,  \
                                                     void **group, void **dacl, void **sacl, void **descriptor)    \
    {                                                                                                              \
        return get(engine, kind, key, wanted, owner, group, dacl, sacl, descriptor);                               \
    }                                                                                                              \
    NTSTATUS NTAPI Fwpm##noun##SetSecurityInfoByKey0(HANDLE engine, const GUID *key, UINT32 wanted,                \
                                                     const void *owner, const void *group, const void *dacl,       \
                                                     const void *sacl)                                             \
    {                                                                                                              \
        return set(engine, kind, key, wanted, owner, group, dacl, sacl);                                           \
    }
SECURITY(Provider, KIND_PROVIDER)
SECURITY(SubLayer, KIND_SUBLAYER)
SECURITY(Callout, KIND_CALLOUT)
SECURITY(ProviderContext, KIND_CONTEXT)
SECURITY(Filter, KIND_FILTER)
SECURITY(Layer, KIND_LAYER)

NTSTATUS NTAPI FwpmEngineGetSecurityInfo0(HANDLE engine, UINT32 wanted, void **owner, void **group, void **dacl, void **sacl,
                                          void **descriptor)
{
    return get(engine, ENGINE, NULL, wanted, owner, group, dacl, sacl, descriptor);
}

NTSTATUS NTAPI FwpmEngineSetSecurityInfo0(HANDLE engine, UINT32 wanted, const void *owner, const void *group, const void *dacl,
                                          const void *sacl)
{
    return set(engine, ENGINE, NULL, wanted, owner, group, dacl, sacl);
}

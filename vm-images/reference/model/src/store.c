/*
 * The objects and their transactions. What a writer adds or deletes it marks with its session, and the marks are settled
 * at commit or abort, so that a classify sees committed objects only (W062).
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "sessions.h"

const NTSTATUS not_found[KINDS] = {
    [KIND_PROVIDER] = STATUS_FWP_PROVIDER_NOT_FOUND,        [KIND_SUBLAYER] = STATUS_FWP_SUBLAYER_NOT_FOUND,
    [KIND_CALLOUT] = STATUS_FWP_CALLOUT_NOT_FOUND,          [KIND_CONTEXT] = STATUS_FWP_PROVIDER_CONTEXT_NOT_FOUND,
    [KIND_FILTER] = STATUS_FWP_FILTER_NOT_FOUND,            [KIND_LAYER] = STATUS_FWP_LAYER_NOT_FOUND,
    [KIND_SESSION] = STATUS_FWP_NOT_FOUND,
};
const struct shape *const kind_shape[KINDS] = {
    [KIND_PROVIDER] = &shape_provider, [KIND_SUBLAYER] = &shape_sublayer, [KIND_CALLOUT] = &shape_callout,
    [KIND_CONTEXT] = &shape_context,   [KIND_FILTER] = &shape_filter,     [KIND_LAYER] = &shape_layer,
    [KIND_SESSION] = &shape_session,
};

BOOL guid_is_zero(const GUID *key)
{
    static const GUID zero;
    return !memcmp(key, &zero, sizeof zero);
}

BOOL guid_equal(const GUID *a, const GUID *b)
{
    return !memcmp(a, b, sizeof *a);
}

void object_key(GUID *key)
{
    static volatile LONG number;
    FILETIME now;
    GetSystemTimeAsFileTime(&now);
    *key = (GUID){now.dwLowDateTime, 0x7766, 0x4000, {0x80}};
    LONG own = InterlockedIncrement(&number);
    memcpy(key->Data4 + 4, &own, sizeof own);
}

struct object *object_next(enum kind kind, struct object *after)
{
    struct callout *callout;
    switch (kind) {
    case KIND_PROVIDER:
        return (struct object *)(after ? ((struct provider *)after)->next : providers);
    case KIND_SUBLAYER:
        return (struct object *)(after ? ((struct sublayer *)after)->next : sublayers);
    case KIND_CONTEXT:
        return (struct object *)(after ? ((struct provider_context *)after)->next : contexts);
    case KIND_FILTER:
        return (struct object *)(after ? ((struct filter *)after)->next : filters);
    case KIND_CALLOUT:
        callout = after ? ((struct callout *)after)->next : callout_first();
        while (callout && !callout->added)
            callout = callout->next;
        return (struct object *)callout;
    default:
        return NULL;
    }
}

struct object *object_find(struct session *session, enum kind kind, const GUID *key)
{
    struct object *object = NULL;
    while ((object = object_next(kind, object)))
        if (guid_equal(&object->key, key) && VISIBLE(session, object))
            break;
    return object;
}

const GUID *object_provider(enum kind kind, const struct object *object)
{
    if (!object->definition)
        return NULL;
    switch (kind) {
    case KIND_SUBLAYER:
        return ((FWPM_SUBLAYER0 *)object->definition)->providerKey;
    case KIND_CALLOUT:
        return ((FWPM_CALLOUT0 *)object->definition)->providerKey;
    case KIND_CONTEXT:
        return ((FWPM_PROVIDER_CONTEXT0 *)object->definition)->providerKey;
    case KIND_FILTER:
        return ((FWPM_FILTER0 *)object->definition)->providerKey;
    default:
        return NULL;
    }
}

UINT64 object_id(enum kind kind, const struct object *object)
{
    return kind == KIND_CALLOUT   ? ((const struct callout *)object)->id
           : kind == KIND_FILTER  ? ((const struct filter *)object)->view.filterId
           : kind == KIND_CONTEXT ? ((const struct provider_context *)object)->id
                                  : 0;
}

static BOOL names(enum kind kind, const struct object *object, enum kind named_kind, const struct object *named)
{
    const struct filter *filter = (const struct filter *)object;
    const GUID *provider;
    if (named_kind == KIND_PROVIDER)
        return (provider = object_provider(kind, object)) && guid_equal(provider, &named->key);
    if (kind != KIND_FILTER)
        return FALSE;
    return named == (const struct object *)filter->sublayer || named == (const struct object *)filter->callout ||
           named == (const struct object *)filter->context;
}

BOOL object_in_use(struct session *session, enum kind named_kind, const struct object *named)
{
    for (enum kind kind = 0; kind < KIND_STORED; kind++)
        for (struct object *object = NULL; (object = object_next(kind, object));)
            if (VISIBLE(session, object) && names(kind, object, named_kind, named))
                return TRUE;
    return FALSE;
}

NTSTATUS object_may_name(struct session *session, BOOL persistent, const GUID *provider, enum kind kind, const struct object *named)
{
    if (FOREIGN(session, named))
        return STATUS_FWP_WRONG_SESSION;
    if (!persistent || named->builtin)
        return STATUS_SUCCESS;
    if (!named->persistent)
        return STATUS_FWP_LIFETIME_MISMATCH;
    const GUID *owner = object_provider(kind, named);
    return owner && (!provider || !guid_equal(owner, provider)) ? STATUS_FWP_LIFETIME_MISMATCH : STATUS_SUCCESS;
}

void object_begin(struct session *session, struct object *object, const GUID *key, BOOL persistent)
{
    object->key = *key;
    if (guid_is_zero(key))
        object_key(&object->key);
    object->persistent = persistent;
    object->owner = session->dynamic ? session : NULL;
    object->added_in = session;
    object->deleted_in = NULL;
}

NTSTATUS write_begin(HANDLE engine, struct session **out, BOOL *implicit)
{
    struct session *session;
    AcquireSRWLockExclusive(&store_lock);
    NTSTATUS status = session_enter(engine, &session);
    if (!status) {
        *implicit = session->txn == TXN_NONE;
        if (session->txn == TXN_READ)
            status = STATUS_FWP_INCOMPATIBLE_TXN;
        else if (*implicit)
            status = writer_take(session);
        if (status)
            session_leave(session);
    }
    *out = session;
    ReleaseSRWLockExclusive(&store_lock);
    return status;
}

NTSTATUS write_end(struct session *session, BOOL implicit, NTSTATUS status)
{
    if (implicit) /* inside a transaction a failed operation changes nothing and does not abort it (W061) */
        settle(session, status == STATUS_SUCCESS);
    AcquireSRWLockExclusive(&store_lock);
    if (implicit)
        writer_leave(session);
    session_leave(session);
    ReleaseSRWLockExclusive(&store_lock);
    return status;
}

NTSTATUS object_delete(HANDLE engine, enum kind kind, const GUID *key, UINT64 id)
{
    struct session *session;
    BOOL implicit;
    NTSTATUS status = write_begin(engine, &session, &implicit);
    if (status)
        return status;
    AcquireSRWLockExclusive(&store_lock);
    struct object *object = NULL;
    while ((object = object_next(kind, object)))
        if ((key ? guid_equal(&object->key, key) : object_id(kind, object) == id) && VISIBLE(session, object))
            break;
    if (!object)
        status = not_found[kind];
    else if (object->builtin)
        status = STATUS_FWP_BUILTIN_OBJECT;
    else if (FOREIGN(session, object))
        status = STATUS_FWP_WRONG_SESSION;
    else if (object_in_use(session, kind, object))
        status = STATUS_FWP_IN_USE;
    else
        object->deleted_in = session;
    ReleaseSRWLockExclusive(&store_lock);
    return write_end(session, implicit, status);
}

/* ---- the end of a transaction ---- */

enum { BATCH = 64 };

/* Filters that the transaction leaves behind: taken out, then their callouts hear of it. */
static void drop_filters(struct session *session, BOOL commit)
{
    struct filter *doomed[BATCH];
    unsigned count;
    do {
        count = 0;
        AcquireSRWLockExclusive(&store_lock);
        for (struct filter *f = filters, *next; f && count < BATCH; f = next) {
            next = f->next;
            if ((commit ? f->deleted_in : f->added_in) != session)
                continue;
            if (!f->added_in)
                change_note(KIND_FILTER, CHANGE_DELETE, (struct object *)f, session);
            filter_unlink(f);
            doomed[count++] = f;
        }
        ReleaseSRWLockExclusive(&store_lock);
        for (unsigned i = 0; i < count; i++) {
            filter_notify(doomed[i], NOTIFY_DELETE);
            filter_release(doomed[i]);
        }
    } while (count == BATCH);
}

static BOOL wants_post_commit(const struct filter *f)
{
    return f->callout && f->callout->registered && (f->callout->functions.flags & CALLOUT_ENABLE_COMMIT_ADD_NOTIFY);
}

/* The marks of filters that stay; tells the callouts that want to know of a commit (W026). */
static void keep_filters(struct session *session, BOOL commit)
{
    struct filter *announced[BATCH];
    unsigned count;
    do {
        count = 0;
        AcquireSRWLockExclusive(&store_lock);
        for (struct filter *f = filters; f && count < BATCH; f = f->next) {
            if (!commit && f->deleted_in == session)
                f->deleted_in = NULL;
            if (!commit || f->added_in != session)
                continue;
            f->added_in = NULL;
            change_note(KIND_FILTER, CHANGE_ADD, (struct object *)f, session);
            if (wants_post_commit(f)) {
                InterlockedIncrement(&f->references);
                announced[count++] = f;
            }
        }
        ReleaseSRWLockExclusive(&store_lock);
        for (unsigned i = 0; i < count; i++) {
            filter_notify(announced[i], NOTIFY_ADD_POST_COMMIT);
            filter_release(announced[i]);
        }
    } while (count == BATCH);
}

static void free_object(enum kind kind, struct object *object)
{
    if (kind == KIND_CONTEXT) {
        provider_context_release((struct provider_context *)object);
        return;
    }
    held_drop(HOLD_CALLOUT_OBJECT, object);
    held_drop(HOLD_SUBLAYER, object);
    security_free(object);
    mem_free(object->definition);
    object->definition = NULL;
    if (kind == KIND_CALLOUT)
        ((struct callout *)object)->added = FALSE; /* key and id stay */
    else
        mem_free(object);
}

static void unlink_object(enum kind kind, struct object *object)
{
#define TAKE_OUT(type, list)                                 \
    do {                                                     \
        struct type **at = &(list);                          \
        while (*at && (struct object *)*at != object)        \
            at = &(*at)->next;                               \
        if (*at)                                             \
            *at = (*at)->next;                               \
    } while (0)
    if (kind == KIND_PROVIDER)
        TAKE_OUT(provider, providers);
    else if (kind == KIND_SUBLAYER)
        TAKE_OUT(sublayer, sublayers);
    else if (kind == KIND_CONTEXT)
        TAKE_OUT(provider_context, contexts);
#undef TAKE_OUT
}

static void settle_kind(enum kind kind, struct session *session, BOOL commit)
{
    for (struct object *object = object_next(kind, NULL), *next; object; object = next) {
        next = object_next(kind, object);
        BOOL added = object->added_in == session, deleted = object->deleted_in == session;
        if (!added && !deleted)
            continue;
        object->added_in = object->deleted_in = NULL;
        if (commit && added != deleted)
            change_note(kind, added ? CHANGE_ADD : CHANGE_DELETE, object, session);
        if (commit ? deleted : added) {
            unlink_object(kind, object);
            free_object(kind, object);
        }
    }
}

void settle(struct session *session, BOOL commit)
{
    if (commit) { /* in one go: no classify of a layer sees half of a transaction */
        AcquireSRWLockExclusive(&store_lock);
        filters_publish(session);
        ReleaseSRWLockExclusive(&store_lock);
    }
    drop_filters(session, commit);
    keep_filters(session, commit);
    AcquireSRWLockExclusive(&store_lock);
    for (enum kind kind = 0; kind < KIND_FILTER; kind++)
        settle_kind(kind, session, commit);
    ReleaseSRWLockExclusive(&store_lock);
}

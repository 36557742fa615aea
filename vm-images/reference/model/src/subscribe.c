/*
 * Subscriptions to changes of objects, which programs of user mode have (the kernel has no such functions). A change is
 * put into the queues of those whose template fits when it is committed; a thread of the program waits for it.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "store.h"

enum { NOTIFY_ON_ADD = 1, NOTIFY_ON_DELETE = 2, QUEUE_MAX = 4096 };

struct queued {
    struct queued *next;
    struct change_told told;
};
struct subscription {
    struct subscription *next;
    enum kind kind;
    UINT32 flags;
    const struct session *session;
    GUID session_key;
    void *template;
    struct queued *first, **last;
    unsigned length;
    BOOL dropped, ended;
};

static struct subscription *subscriptions; /* by store_lock, as all that is in them */
static CONDITION_VARIABLE news = CONDITION_VARIABLE_INIT;

static const struct shape *const template_shapes[KIND_STORED] = {
    [KIND_SUBLAYER] = &shape_provider_template,
    [KIND_CALLOUT] = &shape_callout_template,
    [KIND_CONTEXT] = &shape_context_template,
    [KIND_FILTER] = &shape_filter_template,
};

void change_note(enum kind kind, enum change change, const struct object *object, const struct session *by)
{
    UINT32 flag = change == CHANGE_ADD ? NOTIFY_ON_ADD : NOTIFY_ON_DELETE;
    for (struct subscription *s = subscriptions; s; s = s->next) {
        if (s->kind != kind || !(s->flags & flag) || s->session == by || s->ended || !template_fits(kind, s->template, object))
            continue;
        if (s->length == QUEUE_MAX) {
            s->dropped = TRUE;
            continue;
        }
        struct queued *made = mem_alloc(sizeof *made);
        made->told = (struct change_told){kind, change, object->key, object_id(kind, object), s->dropped};
        s->dropped = FALSE;
        *s->last = made;
        s->last = &made->next;
        s->length++;
    }
    WakeAllConditionVariable(&news);
}

NTSTATUS subscription_open(HANDLE engine, enum kind kind, const void *template, UINT32 flags, struct subscription **out)
{
    struct session *session;
    if (flags & ~(UINT32)(NOTIFY_ON_ADD | NOTIFY_ON_DELETE))
        return STATUS_FWP_INVALID_FLAGS;
    AcquireSRWLockExclusive(&store_lock);
    NTSTATUS status = session_check(engine, &session);
    if (!status && session->txn != TXN_NONE)
        status = STATUS_FWP_TXN_IN_PROGRESS;
    if (!status) {
        struct subscription *made = mem_alloc(sizeof *made);
        made->kind = kind;
        made->flags = flags;
        made->session = session;
        made->session_key = session->key;
        made->template = template && template_shapes[kind] ? shape_copy(template_shapes[kind], template) : NULL;
        made->last = &made->first;
        made->next = subscriptions;
        subscriptions = made;
        *out = made;
    }
    ReleaseSRWLockExclusive(&store_lock);
    return status;
}

NTSTATUS subscription_next(struct subscription *s, struct change_told *out)
{
    AcquireSRWLockExclusive(&store_lock);
    while (!s->first && !s->ended)
        SleepConditionVariableSRW(&news, &store_lock, INFINITE, 0);
    struct queued *first = s->ended ? NULL : s->first;
    if (first) {
        *out = first->told;
        s->first = first->next;
        s->length--;
        if (!s->first)
            s->last = &s->first;
    }
    ReleaseSRWLockExclusive(&store_lock);
    mem_free(first);
    return first ? STATUS_SUCCESS : STATUS_CANCELLED;
}

void subscription_end(struct subscription *subscription)
{
    AcquireSRWLockExclusive(&store_lock);
    subscription->ended = TRUE;
    ReleaseSRWLockExclusive(&store_lock);
    WakeAllConditionVariable(&news);
}

void subscription_free(struct subscription *subscription)
{
    AcquireSRWLockExclusive(&store_lock);
    for (struct subscription **at = &subscriptions; *at; at = &(*at)->next)
        if (*at == subscription) {
            *at = subscription->next;
            break;
        }
    ReleaseSRWLockExclusive(&store_lock);
    for (struct queued *queued = subscription->first, *next; queued; queued = next) {
        next = queued->next;
        mem_free(queued);
    }
    mem_free(subscription->template);
    mem_free(subscription);
}

void subscriptions_end(const struct session *session)
{
    for (struct subscription *s = subscriptions; s; s = s->next)
        if (s->session == session) {
            s->ended = TRUE;
            s->session = NULL;
        }
    WakeAllConditionVariable(&news);
}

NTSTATUS subscriptions_get(HANDLE engine, enum kind kind, struct subscription_told ***out, UINT32 *count)
{
    struct session *session;
    UINT32 found = 0;
    if (!out || !count)
        return STATUS_FWP_NULL_POINTER;
    AcquireSRWLockShared(&store_lock);
    NTSTATUS status = session_check(engine, &session);
    for (struct subscription *s = subscriptions; s && !status; s = s->next)
        found += s->kind == kind && !s->ended;
    if (!status) {
        struct subscription_told **array = mem_alloc(found * (sizeof *array + sizeof **array) + 1), *told = (void *)(array + found);
        *out = array;
        *count = found;
        for (struct subscription *s = subscriptions; s; s = s->next)
            if (s->kind == kind && !s->ended) {
                *told = (struct subscription_told){NULL, s->flags, s->session_key};
                *array++ = told++;
            }
    }
    ReleaseSRWLockShared(&store_lock);
    return status;
}

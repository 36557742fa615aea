/*
 * Sessions and transactions. There is one writer at a time: whoever holds `writer` may change objects, marks what it
 * adds or deletes with its session, and the marks are settled at commit or abort, so that a classify sees committed
 * objects only (W062).
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "store.h"

enum { SESSION_MAGIC = 0x53504657, SESSION_DYNAMIC = 1, TXN_READ_ONLY = 1 };

SRWLOCK store_lock = SRWLOCK_INIT;
static struct session *sessions;
static struct session *writer;
static CONDITION_VARIABLE writer_gone = CONDITION_VARIABLE_INIT;

BOOL guid_is_zero(const GUID *key)
{
    static const GUID zero;
    return !memcmp(key, &zero, sizeof zero);
}

BOOL guid_equal(const GUID *a, const GUID *b)
{
    return !memcmp(a, b, sizeof *a);
}

struct session *session_of(HANDLE engine)
{
    struct session *session = sessions;
    while (session && session != (struct session *)engine)
        session = session->next;
    return session;
}

static NTSTATUS writer_take(struct session *session)
{
    while (writer && writer != session)
        if (!SleepConditionVariableSRW(&writer_gone, &store_lock, session->wait_ms, 0))
            return STATUS_FWP_TIMEOUT;
    writer = session;
    return STATUS_SUCCESS;
}

NTSTATUS write_begin(HANDLE engine, struct session **out, BOOL *implicit)
{
    NTSTATUS status = STATUS_SUCCESS;
    AcquireSRWLockExclusive(&store_lock);
    struct session *session = session_of(engine);
    *out = session;
    if (!session)
        status = STATUS_INVALID_HANDLE;
    else if (session->txn == TXN_READ)
        status = STATUS_FWP_INCOMPATIBLE_TXN;
    else if (!(*implicit = session->txn == TXN_NONE))
        ;
    else
        status = writer_take(session);
    ReleaseSRWLockExclusive(&store_lock);
    return status;
}

/* Settles the marks of a session. Commit: its additions become visible, its deletions real. Abort: the reverse. */
static void settle(struct session *session, BOOL commit)
{
    struct filter *doomed[64];
    BOOL more;
    if (commit) { /* in one go: no classify of a layer sees half of a transaction */
        AcquireSRWLockExclusive(&store_lock);
        filters_publish(session);
        ReleaseSRWLockExclusive(&store_lock);
    }
    do {
        unsigned count = 0;
        more = FALSE;
        AcquireSRWLockExclusive(&store_lock);
        for (struct filter *f = filters, *next; f; f = next) {
            next = f->next;
            if ((commit ? f->deleted_in : f->added_in) == session) {
                if (count == 64) {
                    more = TRUE;
                    break;
                }
                filter_unlink(f);
                doomed[count++] = f;
            }
        }
        ReleaseSRWLockExclusive(&store_lock);
        for (unsigned i = 0; i < count; i++) {
            filter_notify(doomed[i], 1);
            filter_release(doomed[i]);
        }
    } while (more);

    struct filter *announced[64];
    unsigned announce = 0;
    AcquireSRWLockExclusive(&store_lock);
    for (struct filter *f = filters; f; f = f->next) {
        if (commit && f->added_in == session) {
            f->added_in = NULL;
            if (f->callout && f->callout->registered && (f->callout->functions.flags & CALLOUT_ENABLE_COMMIT_ADD_NOTIFY) &&
                announce < 64) {
                InterlockedIncrement(&f->references);
                announced[announce++] = f;
            }
        } else if (!commit && f->deleted_in == session) {
            f->deleted_in = NULL;
        }
    }
    for (struct callout *c = callout_first(); c; c = c->next) {
        if (c->added && (commit ? c->deleted_in : c->added_in) == session)
            c->added = FALSE, c->added_in = c->deleted_in = NULL;
        else if (c->added_in == session || c->deleted_in == session)
            c->added_in = c->deleted_in = NULL;
    }
    for (struct sublayer **at = &sublayers; *at;) {
        struct sublayer *s = *at;
        if ((commit ? s->deleted_in : s->added_in) == session) {
            *at = s->next;
            mem_free(s);
            continue;
        }
        if (s->added_in == session || s->deleted_in == session)
            s->added_in = s->deleted_in = NULL;
        at = &s->next;
    }
    for (struct provider **at = &providers; *at;) {
        struct provider *p = *at;
        if ((commit ? p->deleted_in : p->added_in) == session) {
            *at = p->next;
            mem_free(p);
            continue;
        }
        if (p->added_in == session || p->deleted_in == session)
            p->added_in = p->deleted_in = NULL;
        at = &p->next;
    }
    ReleaseSRWLockExclusive(&store_lock);
    for (unsigned i = 0; i < announce; i++) {
        filter_notify(announced[i], 2);
        filter_release(announced[i]);
    }
}

static void writer_leave(struct session *session)
{
    AcquireSRWLockExclusive(&store_lock);
    session->txn = TXN_NONE;
    if (writer == session)
        writer = NULL;
    WakeAllConditionVariable(&writer_gone);
    ReleaseSRWLockExclusive(&store_lock);
}

NTSTATUS write_end(struct session *session, BOOL implicit, NTSTATUS status)
{
    if (implicit) { /* inside a transaction a failed operation changes nothing and does not abort it (W061) */
        settle(session, status == STATUS_SUCCESS);
        writer_leave(session);
    }
    return status;
}

NTSTATUS NTAPI FwpmEngineOpen0(const wchar_t *server, UINT32 service, void *identity, const FWPM_SESSION0 *wanted, HANDLE *engine)
{
    (void)server, (void)service, (void)identity;
    if (!engine)
        return STATUS_FWP_NULL_POINTER;
    struct session *session = mem_alloc(sizeof *session);
    session->magic = SESSION_MAGIC;
    session->wait_ms = INFINITE; /* kernel callers (W065) */
    AcquireSRWLockExclusive(&store_lock);
    if (wanted) {
        session->key = wanted->sessionKey;
        session->dynamic = (wanted->flags & SESSION_DYNAMIC) != 0;
        if (wanted->txnWaitTimeoutInMSec)
            session->wait_ms = wanted->txnWaitTimeoutInMSec;
        for (struct session *other = sessions; other && !guid_is_zero(&session->key); other = other->next)
            if (guid_equal(&other->key, &session->key)) {
                ReleaseSRWLockExclusive(&store_lock);
                mem_free(session);
                return STATUS_FWP_ALREADY_EXISTS;
            }
    }
    session->next = sessions;
    sessions = session;
    ReleaseSRWLockExclusive(&store_lock);
    *engine = session;
    return STATUS_SUCCESS;
}

NTSTATUS NTAPI FwpmTransactionBegin0(HANDLE engine, UINT32 flags)
{
    NTSTATUS status = STATUS_SUCCESS;
    AcquireSRWLockExclusive(&store_lock);
    struct session *session = session_of(engine);
    if (!session)
        status = STATUS_INVALID_HANDLE;
    else if (session->txn != TXN_NONE)
        status = STATUS_FWP_TXN_IN_PROGRESS;
    else if (flags & ~(UINT32)TXN_READ_ONLY)
        status = STATUS_FWP_INVALID_FLAGS;
    else if (flags & TXN_READ_ONLY)
        session->txn = TXN_READ;
    else if ((status = writer_take(session)) == STATUS_SUCCESS)
        session->txn = TXN_WRITE;
    ReleaseSRWLockExclusive(&store_lock);
    return status;
}

static NTSTATUS transaction_end(HANDLE engine, BOOL commit)
{
    AcquireSRWLockShared(&store_lock);
    struct session *session = session_of(engine);
    enum txn txn = session ? session->txn : TXN_NONE;
    ReleaseSRWLockShared(&store_lock);
    if (!session)
        return STATUS_INVALID_HANDLE;
    if (txn == TXN_NONE)
        return STATUS_FWP_NO_TXN_IN_PROGRESS;
    if (txn == TXN_WRITE)
        settle(session, commit);
    writer_leave(session);
    return STATUS_SUCCESS;
}

NTSTATUS NTAPI FwpmTransactionCommit0(HANDLE engine)
{
    return transaction_end(engine, TRUE);
}

NTSTATUS NTAPI FwpmTransactionAbort0(HANDLE engine)
{
    return transaction_end(engine, FALSE);
}

NTSTATUS NTAPI FwpmEngineClose0(HANDLE engine)
{
    struct session *session;
    BOOL implicit;
    transaction_end(engine, FALSE); /* closing aborts (W063) */
    NTSTATUS status = write_begin(engine, &session, &implicit);
    if (status)
        return status;
    AcquireSRWLockExclusive(&store_lock);
    if (session->dynamic) { /* its objects go with it (W056) */
        for (struct filter *f = filters; f; f = f->next)
            if (f->owner == session)
                f->deleted_in = session;
        for (struct callout *c = callout_first(); c; c = c->next)
            if (c->added && c->owner == session)
                c->deleted_in = session;
        for (struct sublayer *s = sublayers; s; s = s->next)
            if (s->owner == session)
                s->deleted_in = session;
        for (struct provider *p = providers; p; p = p->next)
            if (p->owner == session)
                p->deleted_in = session;
    }
    ReleaseSRWLockExclusive(&store_lock);
    write_end(session, TRUE, STATUS_SUCCESS);
    AcquireSRWLockExclusive(&store_lock);
    for (struct session **at = &sessions; *at; at = &(*at)->next)
        if (*at == session) {
            *at = session->next;
            break;
        }
    ReleaseSRWLockExclusive(&store_lock);
    mem_free(session);
    return STATUS_SUCCESS;
}

/* The engine of the reference guest runs from boot on; it never changes its state. */
int NTAPI FwpmBfeStateGet0(void)
{
    return 3; /* FWPM_SERVICE_RUNNING */
}

NTSTATUS NTAPI FwpmBfeStateSubscribeChanges0(void *device, void *callback, void *context, HANDLE *change)
{
    (void)device, (void)callback, (void)context;
    if (!change)
        return STATUS_FWP_NULL_POINTER;
    *change = mem_alloc(1);
    return STATUS_SUCCESS;
}

NTSTATUS NTAPI FwpmBfeStateUnsubscribeChanges0(HANDLE change)
{
    mem_free(change);
    return STATUS_SUCCESS;
}

void NTAPI FwpmFreeMemory0(void **block)
{
    if (block) {
        mem_free(*block);
        *block = NULL;
    }
}

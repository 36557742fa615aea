/*
 * Sessions with the engine: opened, cancelled with the engine, closed; whose turn it is to write. There is one writer
 * at a time, whoever holds `writer`.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "sessions.h"

enum { SESSION_DYNAMIC = 1, TXN_READ_ONLY = 1, USER_WAIT_MS = 15000, SYSTEM_PROCESS = 4, AUTHN_WINNT = 10 };
static const UINT32 AUTHN_DEFAULT = 0xffffffff;

SRWLOCK store_lock = SRWLOCK_INIT;
struct session engine_session = {.wait_ms = INFINITE};
UINT64 user_transaction_limit_ms = 3600 * 1000; /* kernel callers have no limit */
static struct session *sessions;
static struct session *writer;
static CONDITION_VARIABLE turn = CONDITION_VARIABLE_INIT; /* the writer or a busy session has changed */

struct session *session_of(HANDLE engine)
{
    struct session *session = sessions;
    while (session && session != (struct session *)engine)
        session = session->next;
    return session;
}

struct session *session_next(struct session *after)
{
    return after ? after->next : sessions;
}

NTSTATUS session_check(HANDLE engine, struct session **out)
{
    *out = session_of(engine);
    return !*out ? STATUS_INVALID_HANDLE : (*out)->cancelled ? STATUS_FWP_SESSION_ABORTED : STATUS_SUCCESS;
}

NTSTATUS session_enter(HANDLE engine, struct session **out)
{
    DWORD me = GetCurrentThreadId();
    struct session *session = session_of(engine);
    while (session && session->busy && session->thread != me) {
        SleepConditionVariableSRW(&turn, &store_lock, INFINITE, 0);
        session = session_of(engine);
    }
    *out = session;
    if (!session)
        return STATUS_INVALID_HANDLE;
    if (session->cancelled)
        return STATUS_FWP_SESSION_ABORTED;
    if (session->txn_cancelled) {
        session->txn_cancelled = FALSE;
        return STATUS_FWP_TXN_ABORTED;
    }
    session->busy++;
    session->thread = me;
    return STATUS_SUCCESS;
}

void session_leave(struct session *session)
{
    if (--session->busy == 0)
        WakeAllConditionVariable(&turn);
}

void writer_leave(struct session *session)
{
    session->txn = TXN_NONE;
    if (writer == session)
        writer = NULL;
    WakeAllConditionVariable(&turn);
}

/* Ends the explicit transaction of a session that did not ask for it. store_lock is released meanwhile. */
static void cancel_transaction(struct session *session)
{
    while (session_of(session) && session->busy) /* it may be closed meanwhile */
        SleepConditionVariableSRW(&turn, &store_lock, INFINITE, 0);
    if (!session_of(session) || session->txn == TXN_NONE)
        return;
    session->busy++;
    session->thread = GetCurrentThreadId();
    if (session->txn == TXN_WRITE) {
        ReleaseSRWLockExclusive(&store_lock);
        settle(session, FALSE);
        AcquireSRWLockExclusive(&store_lock);
    }
    writer_leave(session);
    session->txn_cancelled = TRUE;
    session_leave(session);
}

/* How long the writer may still take, or INFINITE. */
static UINT32 writer_time(UINT64 now)
{
    if (!writer->user || writer->txn != TXN_WRITE)
        return INFINITE;
    UINT64 end = writer->began_ms + user_transaction_limit_ms;
    return end <= now ? 0 : (UINT32)(end - now);
}

NTSTATUS writer_take(struct session *session)
{
    UINT64 start = now_ms();
    while (writer && writer != session) {
        UINT64 now = now_ms();
        UINT32 left = session->wait_ms, most = writer_time(now);
        if (left != INFINITE)
            left = now - start >= left ? 0 : left - (UINT32)(now - start);
        if (!most && !writer->busy) {
            cancel_transaction(writer);
            continue;
        }
        if (!left)
            return STATUS_FWP_TIMEOUT;
        SleepConditionVariableSRW(&turn, &store_lock, most && most < left ? most : left, 0);
    }
    if (session->cancelled)
        return STATUS_FWP_SESSION_ABORTED;
    writer = session;
    return STATUS_SUCCESS;
}

void engine_write_begin(void)
{
    AcquireSRWLockExclusive(&store_lock);
    writer_take(&engine_session);
    ReleaseSRWLockExclusive(&store_lock);
}

void engine_write_end(void)
{
    AcquireSRWLockExclusive(&store_lock);
    writer_leave(&engine_session);
    ReleaseSRWLockExclusive(&store_lock);
}

void sessions_cancel(void)
{
    AcquireSRWLockExclusive(&store_lock);
    for (struct session *session = sessions; session;) {
        if (session->cancelled) {
            session = session->next;
            continue;
        }
        session->cancelled = TRUE;
        cancel_transaction(session);
        session = sessions; /* the lock was released: begin again */
    }
    ReleaseSRWLockExclusive(&store_lock);
}

static FWPM_SESSION0 *session_definition(const FWPM_SESSION0 *wanted, const FWPM_SESSION0 *caller, UINT32 wait_ms)
{
    FWPM_SESSION0 made = {0};
    if (wanted)
        made = *wanted;
    if (guid_is_zero(&made.sessionKey))
        object_key(&made.sessionKey);
    made.txnWaitTimeoutInMSec = wait_ms;
    made.processId = caller ? caller->processId : SYSTEM_PROCESS;
    made.sid = caller ? caller->sid : NULL;
    made.username = caller ? caller->username : NULL;
    made.kernelMode = !caller;
    return shape_copy(&shape_session, &made);
}

NTSTATUS session_open(const FWPM_SESSION0 *wanted, const FWPM_SESSION0 *caller, HANDLE *engine)
{
    UINT32 wait_ms = wanted && wanted->txnWaitTimeoutInMSec ? wanted->txnWaitTimeoutInMSec : caller ? USER_WAIT_MS : INFINITE; /* W065 */
    if (wanted && (wanted->flags & ~(UINT32)SESSION_DYNAMIC))
        return STATUS_FWP_INVALID_FLAGS;
    struct session *session = mem_alloc(sizeof *session);
    session->definition = session_definition(wanted, caller, wait_ms);
    session->key = session->definition->sessionKey;
    session->dynamic = wanted && (wanted->flags & SESSION_DYNAMIC);
    session->user = caller != NULL;
    session->wait_ms = wait_ms;
    NTSTATUS status = STATUS_SUCCESS;
    AcquireSRWLockExclusive(&store_lock);
    builtin_begin();
    if (!bfe_running())
        status = EPT_NT_NOT_REGISTERED; /* who asks for BFE's endpoint (W069) */
    for (struct session *other = sessions; other && !status; other = other->next)
        if (guid_equal(&other->key, &session->key))
            status = STATUS_FWP_ALREADY_EXISTS;
    if (!status) {
        session->next = sessions;
        sessions = session;
        *engine = session;
    }
    ReleaseSRWLockExclusive(&store_lock);
    if (status) {
        mem_free(session->definition);
        mem_free(session);
    }
    return status;
}

NTSTATUS NTAPI FwpmEngineOpen0(const wchar_t *server, UINT32 service, void *identity, const FWPM_SESSION0 *wanted, HANDLE *engine)
{
    (void)identity;
    if (!engine)
        return STATUS_FWP_NULL_POINTER;
    if (server)
        contract_broken("W068", "FwpmEngineOpen0", "a server name is given: NULL is wanted");
    if (service != AUTHN_WINNT && service != AUTHN_DEFAULT)
        contract_broken("W068", "FwpmEngineOpen0", "the authentication service is %u: RPC_C_AUTHN_WINNT or RPC_C_AUTHN_DEFAULT is wanted", service);
    NTSTATUS status = session_open(wanted, NULL, engine);
    if (!status)
        held_add(HOLD_SESSION, *engine, 0, 0);
    return status;
}

NTSTATUS NTAPI FwpmTransactionBegin0(HANDLE engine, UINT32 flags)
{
    struct session *session;
    AcquireSRWLockExclusive(&store_lock);
    NTSTATUS status = session_enter(engine, &session);
    if (!status) {
        if (session->txn != TXN_NONE)
            status = STATUS_FWP_TXN_IN_PROGRESS;
        else if (flags & ~(UINT32)TXN_READ_ONLY)
            status = STATUS_FWP_INVALID_FLAGS;
        else if (flags & TXN_READ_ONLY)
            session->txn = TXN_READ;
        else if ((status = writer_take(session)) == STATUS_SUCCESS)
            session->txn = TXN_WRITE;
        session->began_ms = now_ms();
        session_leave(session);
    }
    ReleaseSRWLockExclusive(&store_lock);
    return status;
}

static NTSTATUS transaction_end(HANDLE engine, BOOL commit)
{
    struct session *session;
    AcquireSRWLockExclusive(&store_lock);
    NTSTATUS status = session_enter(engine, &session);
    if (!status) {
        if (session->txn == TXN_NONE)
            status = STATUS_FWP_NO_TXN_IN_PROGRESS;
        if (session->txn == TXN_WRITE) {
            ReleaseSRWLockExclusive(&store_lock);
            settle(session, commit);
            AcquireSRWLockExclusive(&store_lock);
        }
        if (session->txn != TXN_NONE)
            writer_leave(session);
        session_leave(session);
    }
    ReleaseSRWLockExclusive(&store_lock);
    return status;
}

NTSTATUS NTAPI FwpmTransactionCommit0(HANDLE engine)
{
    return transaction_end(engine, TRUE);
}

NTSTATUS NTAPI FwpmTransactionAbort0(HANDLE engine)
{
    return transaction_end(engine, FALSE);
}

/* What a dynamic session added goes with it (W056). By store_lock; the session is the writer. */
static void mark_owned(struct session *session)
{
    for (enum kind kind = 0; kind < KIND_STORED; kind++)
        for (struct object *object = NULL; (object = object_next(kind, object));)
            if (object->owner == session)
                object->deleted_in = session;
}

NTSTATUS NTAPI FwpmEngineClose0(HANDLE engine)
{
    struct session *session;
    transaction_end(engine, FALSE); /* closing aborts (W063) */
    AcquireSRWLockExclusive(&store_lock);
    NTSTATUS status = session_enter(engine, &session);
    if (status == STATUS_INVALID_HANDLE) {
        ReleaseSRWLockExclusive(&store_lock);
        return status;
    }
    session->wait_ms = INFINITE;
    if (!status && session->dynamic && !writer_take(session)) {
        mark_owned(session);
        ReleaseSRWLockExclusive(&store_lock);
        settle(session, TRUE);
        AcquireSRWLockExclusive(&store_lock);
        writer_leave(session);
    }
    for (struct session **at = &sessions; *at; at = &(*at)->next)
        if (*at == session) {
            *at = session->next;
            break;
        }
    WakeAllConditionVariable(&turn);
    subscriptions_end(session);
    ReleaseSRWLockExclusive(&store_lock);
    enumerations_free(session);
    held_drop(HOLD_SESSION, session);
    mem_free(session->definition);
    mem_free(session);
    return STATUS_SUCCESS;
}

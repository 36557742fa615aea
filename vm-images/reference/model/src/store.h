/*
 * Objects, sessions and transactions, as the files of the management functions use them. All of it by store_lock.
 * SPDX-License-Identifier: MIT
 */
#ifndef MODEL_STORE_H
#define MODEL_STORE_H

#include "model.h"
#include "shapes.h"

enum kind { KIND_PROVIDER, KIND_SUBLAYER, KIND_CALLOUT, KIND_CONTEXT, KIND_FILTER, KIND_STORED, KIND_LAYER = KIND_STORED, KIND_SESSION, KINDS };
enum change { CHANGE_ADD = 1, CHANGE_DELETE = 2 };
enum notify { NOTIFY_ADD = 0, NOTIFY_DELETE = 1, NOTIFY_ADD_POST_COMMIT = 2 };
enum txn { TXN_NONE, TXN_WRITE, TXN_READ };
enum { OBJECT_PERSISTENT = 1 };

struct session {
    struct session *next;
    GUID key;
    FWPM_SESSION0 *definition; /* one block */
    BOOL dynamic, user;
    UINT32 wait_ms;
    enum txn txn;
    UINT64 began_ms;     /* the transaction */
    BOOL txn_cancelled;  /* forcibly aborted; the next call is told so */
    BOOL cancelled;      /* the engine was stopped */
    unsigned busy;       /* calls under way that write, all of the thread below */
    DWORD thread;
    struct enumeration *enumerations;
};

struct provider {
    struct object;
    struct provider *next;
};

extern struct sublayer *sublayers;
extern struct provider *providers;
extern struct provider_context *contexts;

/* ---- sessions.c ---- */
struct session *session_of(HANDLE engine); /* by store_lock, shared at least */
NTSTATUS session_check(HANDLE engine, struct session **out); /* the same, for a call that reads */
struct session *session_next(struct session *after);
NTSTATUS session_open(const FWPM_SESSION0 *wanted, const FWPM_SESSION0 *caller, HANDLE *engine); /* caller: of user mode */
void sessions_cancel(void); /* each but the engine's own; the caller has set the state so that none is opened */
extern struct session engine_session; /* which adds and deletes what no caller does */
void engine_write_begin(void); /* makes it the writer */
void engine_write_end(void);
extern UINT64 user_transaction_limit_ms;

/* ---- store.c ---- */
/* Begins a write: the session's own transaction, or an implicit one that write_end commits (W066). On success the
 * caller is the only writer; store_lock is not held. */
NTSTATUS write_begin(HANDLE engine, struct session **session, BOOL *implicit);
NTSTATUS write_end(struct session *session, BOOL implicit, NTSTATUS status);
/* Settles the marks of a session. Commit: its additions become visible, its deletions real. Abort: the reverse. */
void settle(struct session *session, BOOL commit);

struct object *object_next(enum kind kind, struct object *after); /* NULL: the first */
struct object *object_find(struct session *session, enum kind kind, const GUID *key);
const GUID *object_provider(enum kind kind, const struct object *object); /* key of its provider, or NULL */
UINT64 object_id(enum kind kind, const struct object *object);
BOOL object_in_use(struct session *session, enum kind kind, const struct object *object);
void object_begin(struct session *session, struct object *object, const GUID *key, BOOL persistent);
NTSTATUS object_delete(HANDLE engine, enum kind kind, const GUID *key, UINT64 id);
/* May an object that lives so, of this provider, name that one? (W041, W057) */
NTSTATUS object_may_name(struct session *session, BOOL persistent, const GUID *provider, enum kind kind, const struct object *named);
NTSTATUS provider_check(struct session *session, const GUID *key, BOOL persistent);
struct sublayer *sublayer_find(struct session *session, const GUID *key);
BOOL key_taken(struct session *session, enum kind kind, const GUID *key);
BOOL blob_is_broken(const FWP_BYTE_BLOB *blob); /* a size and nothing behind it */
void builtin_begin(void);
void object_key(GUID *key); /* makes one that nobody has */
extern const NTSTATUS not_found[KINDS];
extern const struct shape *const kind_shape[KINDS];

#define VISIBLE(session, object) \
    ((!(object)->added_in || (object)->added_in == (session)) && (!(object)->deleted_in || (object)->deleted_in != (session)))
/* An object of somebody else's dynamic session (W057). */
#define FOREIGN(session, object) ((object)->owner && (object)->owner != (session))

struct callout *callout_first(void);
NTSTATUS filter_notify(struct filter *filter, enum notify type);
void filter_unlink(struct filter *filter);
void provider_context_release(struct provider_context *context);

/* ---- enumerate.c ---- */
void *describe(enum kind kind, const struct object *object); /* a block of the engine's */
struct enumeration;
void enumerations_free(struct session *session);
NTSTATUS get_object(HANDLE engine, enum kind kind, const GUID *key, UINT64 id, void **out);
NTSTATUS enum_create(HANDLE engine, enum kind kind, const void *template, HANDLE *out);
NTSTATUS enum_next(HANDLE engine, enum kind kind, HANDLE handle, UINT32 wanted, void ***entries, UINT32 *count);
NTSTATUS enum_destroy(HANDLE engine, enum kind kind, HANDLE handle);
BOOL template_fits(enum kind kind, const void *template, const struct object *object);

/* ---- subscribe.c ---- */
struct subscription;
struct change_told {
    enum kind kind;
    enum change change;
    GUID key;
    UINT64 id;
    BOOL dropped; /* changes before this one were lost: the queue was full */
};
struct subscription_told { /* what all FWPM_*_SUBSCRIPTION0 hold */
    void *template;
    UINT32 flags;
    GUID session;
};
NTSTATUS subscription_open(HANDLE engine, enum kind kind, const void *template, UINT32 flags, struct subscription **out);
NTSTATUS subscription_next(struct subscription *subscription, struct change_told *out); /* waits; STATUS_CANCELLED: it is over */
void subscription_end(struct subscription *subscription); /* whoever waits is told so */
void subscription_free(struct subscription *subscription); /* nobody waits any more */
NTSTATUS subscriptions_get(HANDLE engine, enum kind kind, struct subscription_told ***out, UINT32 *count);
void change_note(enum kind kind, enum change change, const struct object *object, const struct session *by); /* exclusive */
void subscriptions_end(const struct session *session);

/* ---- bfe.c ---- */
BOOL bfe_running(void);

/* ---- blocks.c ---- */
void *hand_out(void *block); /* a block that the caller frees with FwpmFreeMemory0 */
unsigned handed_out(void);   /* blocks that nobody has freed */

/* ---- security.c ---- */
void security_free(struct object *object);
enum { SECURITY_OF_ENGINE = 100 }; /* in place of a kind */
NTSTATUS security_get(HANDLE engine, UINT32 kind, const GUID *key, UINT32 wanted, void **descriptor, size_t *size);
NTSTATUS security_set(HANDLE engine, UINT32 kind, const GUID *key, UINT32 wanted, const UINT8 *const part[4], const UINT32 given[4]);

#endif

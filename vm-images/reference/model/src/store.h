/* Sessions and transactions, as the object files (objects.c, filters.c) use them. SPDX-License-Identifier: MIT */
#ifndef MODEL_STORE_H
#define MODEL_STORE_H

#include "model.h"

enum txn { TXN_NONE, TXN_WRITE, TXN_READ };

struct session {
    UINT32 magic;
    struct session *next;
    GUID key;
    BOOL dynamic;
    enum txn txn;
    UINT32 wait_ms;
};

struct provider {
    struct provider *next;
    GUID key;
    BOOL persistent;
    struct session *owner, *added_in, *deleted_in;
};

extern struct sublayer *sublayers;
extern struct provider *providers;

/* Begins a write: the session's own transaction, or an implicit one that write_end commits (W066). On success the
 * caller is the only writer; store_lock is not held. */
NTSTATUS write_begin(HANDLE engine, struct session **session, BOOL *implicit);
NTSTATUS write_end(struct session *session, BOOL implicit, NTSTATUS status);
struct session *session_of(HANDLE engine);

#define VISIBLE(session, object) \
    ((!(object)->added_in || (object)->added_in == (session)) && (!(object)->deleted_in || (object)->deleted_in != (session)))
/* An object of somebody else's dynamic session (W057). */
#define FOREIGN(session, object) ((object)->owner && (object)->owner != (session))

struct callout *callout_first(void);
NTSTATUS filter_notify(struct filter *filter, UINT32 type);
void filter_unlink(struct filter *filter);

#endif

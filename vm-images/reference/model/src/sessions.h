/* Whose turn it is, between sessions.c and store.c. All by store_lock, exclusive. SPDX-License-Identifier: MIT */
#ifndef MODEL_SESSIONS_H
#define MODEL_SESSIONS_H

#include "store.h"

NTSTATUS session_enter(HANDLE engine, struct session **out); /* one thread of a session at a time */
void session_leave(struct session *session);
NTSTATUS writer_take(struct session *session); /* waits; the lock is released meanwhile */
void writer_leave(struct session *session);

#endif

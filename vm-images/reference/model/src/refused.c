/*
 * Connects that were blocked. On Windows the connect call fails then and there; here the SYN is answered with a RST, and a
 * busy guest may have sent the same SYN again before it has read that. It is no second connect.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "stack.h"

enum { KEPT = 32 };
static SRWLOCK refused_lock = SRWLOCK_INIT; /* both below */
static struct {
    struct tuple tuple;
    UINT32 sequence;
    BOOL used;
} refused[KEPT];
static unsigned next;

void refused_note(const struct tuple *tuple, UINT32 sequence)
{
    AcquireSRWLockExclusive(&refused_lock);
    refused[next % KEPT].tuple = *tuple;
    refused[next % KEPT].sequence = sequence;
    refused[next++ % KEPT].used = TRUE;
    ReleaseSRWLockExclusive(&refused_lock);
}

BOOL refused_before(const struct tuple *t, UINT32 sequence)
{
    BOOL found = FALSE;
    AcquireSRWLockShared(&refused_lock);
    for (unsigned i = 0; i < KEPT && !found; i++) {
        const struct tuple *r = &refused[i].tuple;
        found = refused[i].used && refused[i].sequence == sequence && r->protocol == t->protocol && r->local_port == t->local_port &&
                r->remote_port == t->remote_port && address_equal(&r->local, &t->local) && address_equal(&r->remote, &t->remote);
    }
    ReleaseSRWLockShared(&refused_lock);
    return found;
}

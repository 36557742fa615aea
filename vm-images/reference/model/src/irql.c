/*
 * The interrupt request level, which Wine does not have: a number for each thread. The engine raises it around a
 * driver's functions as Windows does; hooks.c lets the driver read and change it; what may only be called at
 * PASSIVE_LEVEL complains above it (W019, W246, W305).
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "model.h"

UINT32 irql_now(void)
{
    return thread_now()->irql;
}

UINT32 irql_set(UINT32 level)
{
    struct thread *thread = thread_now();
    UINT32 old = thread->irql;
    thread->irql = level;
    return old;
}

/* Runs a driver's function: irql_enter before it, irql_leave after it with what irql_enter gave back and the function. */
UINT32 irql_enter(UINT32 level)
{
    struct thread *thread = thread_now();
    UINT32 now = thread->irql;
    thread->irql = level > now ? level : now;
    return now;
}

void irql_leave(UINT32 before, UINT32 level, const char *function, const void *code)
{
    struct origin where = origin_of_function(code);
    UINT32 expected = level > before ? level : before;
    UINT32 now = irql_set(before);
    if (now != expected)
        contract_broken_at(RULE_IRQL, function, &where, "it returned at IRQL %u: %u is wanted, at which it was called", now, expected);
}

void irql_require_passive(const char *function)
{
    UINT32 level = irql_now();
    if (level != IRQL_PASSIVE)
        contract_broken(strstr(function, "FwpsCallout") == function ? "W019" : "W305", function,
                        "it was called at IRQL %u: it may be called at PASSIVE_LEVEL only", level);
}

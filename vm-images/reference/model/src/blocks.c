/*
 * Blocks that the engine hands out and FwpmFreeMemory0 takes back. A driver that frees anything else with it, or keeps
 * what it was given, is found out.
 *
 * SPDX-License-Identifier: MIT
 */
#include "store.h"

struct given {
    struct given *next;
    void *block;
};

static SRWLOCK blocks_lock = SRWLOCK_INIT; /* the list; nothing else is taken below it */
static struct given *list;

void *hand_out(void *block)
{
    struct given *entry = mem_alloc(sizeof *entry);
    entry->block = block;
    AcquireSRWLockExclusive(&blocks_lock);
    entry->next = list;
    list = entry;
    ReleaseSRWLockExclusive(&blocks_lock);
    return block;
}

unsigned handed_out(void)
{
    unsigned count = 0;
    AcquireSRWLockShared(&blocks_lock);
    for (struct given *entry = list; entry; entry = entry->next)
        count++;
    ReleaseSRWLockShared(&blocks_lock);
    return count;
}

void NTAPI FwpmFreeMemory0(void **block)
{
    struct given *found = NULL;
    if (!block || !*block)
        return;
    AcquireSRWLockExclusive(&blocks_lock);
    for (struct given **at = &list; *at; at = &(*at)->next)
        if ((*at)->block == *block) {
            found = *at;
            *at = found->next;
            break;
        }
    ReleaseSRWLockExclusive(&blocks_lock);
    if (!found) {
        contract_broken(RULE_POOL, "FwpmFreeMemory0", "%p is no block that an Fwpm function has handed out", *block);
        return;
    }
    mem_free(found->block);
    mem_free(found);
    *block = NULL;
}

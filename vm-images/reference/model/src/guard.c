/*
 * The memory of a build with MODEL_CHECKED: each block ends at a page that cannot be touched (up to alignment, where
 * bytes of a pattern stand), freed blocks are filled and rest for a while, and both patterns are looked at again.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <string.h>

#include "model.h"

enum { PAGE = 4096, ALIGN = 16, CLASSES = 20, RESTING_PAGES = 4096, MAGIC_USED = 0x5553454d, MAGIC_FREE = 0x46524545 };
enum { FILL_AROUND = 0xa7, FILL_FREED = 0xdd };

struct head { /* at the beginning of the pages */
    UINT32 magic;
    unsigned pages;
    size_t size;
    struct head *next;
};

/* A process has 65530 mappings, and a block with its guard page is up to three: from so many blocks on, small ones have none. */
enum { GUARDED_BLOCKS = 12000, UNGUARDED_AT_ONCE = 256 };

static SRWLOCK guard_lock = SRWLOCK_INIT; /* all below; the last lock of all */
static struct {
    struct head *first, **end;
    unsigned count;
} resting[CLASSES];
static struct head *unguarded; /* of one page each, never used yet */
static unsigned guarded;

static uint8_t *end_of(const struct head *head)
{
    return (uint8_t *)(uintptr_t)head + (size_t)head->pages * PAGE;
}

static uint8_t *block_of(const struct head *head)
{
    return end_of(head) - (head->size + ALIGN - 1) / ALIGN * ALIGN;
}

static void all_are(const uint8_t *from, const uint8_t *to, uint8_t value, const char *what, size_t size)
{
    while (from < to && *from == value)
        from++;
    if (from < to) {
        printf("BROKEN memory: %s a block of %u bytes\n", what, (unsigned)size);
        fflush(stdout);
        ExitProcess(3);
    }
}

static void none_left(void)
{
    printf("BROKEN memory: none is left beside %u guarded blocks\n", guarded);
    ExitProcess(3);
}

static struct head *fresh_unguarded(void)
{
    struct head *head;
    AcquireSRWLockExclusive(&guard_lock);
    if (!unguarded) {
        uint8_t *room = VirtualAlloc(NULL, UNGUARDED_AT_ONCE * PAGE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
        if (!room)
            none_left();
        for (unsigned i = 0; i < UNGUARDED_AT_ONCE; i++) {
            head = (struct head *)(room + (size_t)i * PAGE);
            head->next = unguarded;
            unguarded = head;
        }
    }
    head = unguarded;
    unguarded = head->next;
    ReleaseSRWLockExclusive(&guard_lock);
    head->pages = 1;
    return head;
}

static struct head *fresh(unsigned pages)
{
    AcquireSRWLockExclusive(&guard_lock);
    BOOL many = guarded >= GUARDED_BLOCKS;
    guarded += !many;
    ReleaseSRWLockExclusive(&guard_lock);
    if (many && pages == 1)
        return fresh_unguarded();
    uint8_t *room = VirtualAlloc(NULL, (size_t)(pages + 1) * PAGE, MEM_RESERVE, PAGE_NOACCESS);
    struct head *head = room ? VirtualAlloc(room, (size_t)pages * PAGE, MEM_COMMIT, PAGE_READWRITE) : NULL;
    if (!head)
        none_left();
    head->pages = pages;
    return head;
}

static struct head *take(unsigned pages)
{
    struct head *head = NULL;
    AcquireSRWLockExclusive(&guard_lock);
    if (pages < CLASSES && resting[pages].count > RESTING_PAGES / pages) {
        head = resting[pages].first;
        resting[pages].first = head->next;
        resting[pages].count--;
    }
    ReleaseSRWLockExclusive(&guard_lock);
    if (!head)
        return fresh(pages);
    all_are((uint8_t *)(head + 1), end_of(head), FILL_FREED, "something wrote after it had been freed to", head->size);
    return head;
}

void *mem_alloc(size_t size)
{
    unsigned pages = (unsigned)((sizeof(struct head) + size + ALIGN + PAGE - 1) / PAGE);
    struct head *head = take(pages);
    head->magic = MAGIC_USED;
    head->size = size;
    uint8_t *block = block_of(head);
    memset(head + 1, FILL_AROUND, (size_t)(block - (uint8_t *)(head + 1)));
    memset(block, 0, size);
    memset(block + size, FILL_AROUND, (size_t)(end_of(head) - block - (ptrdiff_t)size));
    return block;
}

void mem_free(void *memory)
{
    if (!memory)
        return;
    struct head *head = (struct head *)(((uintptr_t)memory - sizeof(struct head)) / PAGE * PAGE);
    while (head->magic != MAGIC_USED || block_of(head) != memory) /* a block of several pages: its head is further down */
        head = (struct head *)((uintptr_t)head - PAGE);
    uint8_t *block = memory;
    all_are((uint8_t *)(head + 1), block, FILL_AROUND, "something wrote in front of", head->size);
    all_are(block + head->size, end_of(head), FILL_AROUND, "something wrote behind", head->size);
    head->magic = MAGIC_FREE;
    memset(head + 1, FILL_FREED, (size_t)(end_of(head) - (uint8_t *)(head + 1)));
    if (head->pages >= CLASSES) {
        VirtualFree(head, 0, MEM_RELEASE);
        return;
    }
    AcquireSRWLockExclusive(&guard_lock);
    head->next = NULL;
    if (!resting[head->pages].count)
        resting[head->pages].end = &resting[head->pages].first;
    *resting[head->pages].end = head;
    resting[head->pages].end = &head->next;
    resting[head->pages].count++;
    ReleaseSRWLockExclusive(&guard_lock);
}

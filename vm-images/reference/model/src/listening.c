/* Which ports of the guest some socket has, by Linux' tables. SPDX-License-Identifier: MIT */
#include <string.h>

#include "model.h"

#include "linux.h"

enum { TABLE_MAX = 256 * 1024, STATE_LISTEN = 10 };

/* The tables, as they were read last: a port that was there may be gone, and is then answered for by the guest's stack. */
static struct table {
    const char *path;
    uint8_t protocol, family;
    size_t size;
    char *text;
} tables[] = {
    {"/proc/net/tcp", IPPROTO_TCP, FAMILY_V4, 0, NULL}, {"/proc/net/tcp6", IPPROTO_TCP, FAMILY_V6, 0, NULL},
    {"/proc/net/udp", IPPROTO_UDP, FAMILY_V4, 0, NULL}, {"/proc/net/udp6", IPPROTO_UDP, FAMILY_V6, 0, NULL},
};
static SRWLOCK listening_lock = SRWLOCK_INIT; /* the tables */

static void read_again(struct table *table)
{
    if (!table->text)
        table->text = mem_alloc(TABLE_MAX + 1);
    int64_t fd = linux_open(table->path, 0), got;
    table->size = 0;
    if (fd < 0)
        return;
    while (table->size < TABLE_MAX && (got = linux_read(fd, table->text + table->size, TABLE_MAX - table->size)) > 0)
        table->size += (size_t)got;
    table->text[table->size] = 0;
    linux_close(fd);
}

static UINT32 hex(const char **at, int digits)
{
    UINT32 value = 0;
    for (; digits && **at; digits--, ++*at)
        value = value << 4 | (UINT32)(**at <= '9' ? **at - '0' : (**at | 32) - 'a' + 10);
    return value;
}

/* "  sl: ADDRESS:PORT ADDRESS:PORT ST ...", an address as words in this machine's order of bytes. */
static BOOL takes(const char *line, const struct table *table, const struct tuple *t)
{
    const char *at = strchr(line, ':');
    struct address local = {.family = table->family};
    if (!at || at[1] != ' ')
        return FALSE;
    at += 2;
    for (size_t i = 0; i < address_size(table->family); i += 4) {
        UINT32 word = hex(&at, 8);
        memcpy(local.bytes + i, &word, 4);
    }
    if (*at++ != ':' || hex(&at, 4) != t->local_port)
        return FALSE;
    at = strchr(at, ':');
    if (!at || strlen(at) < 8)
        return FALSE;
    at += 6; /* ":PORT " */
    if (table->protocol == IPPROTO_TCP && hex(&at, 2) != STATE_LISTEN)
        return FALSE;
    if (table->family == FAMILY_V6)
        local = address_unmapped(local.bytes);
    return address_is_zero(&local) ? local.family == t->local.family || local.family == FAMILY_V6 : address_equal(&local, &t->local);
}

static BOOL found_in(const struct table *table, const struct tuple *t)
{
    const char *line = table->size ? strchr(table->text, '\n') : NULL; /* behind the heading */
    for (; line && line[1]; line = strchr(line + 1, '\n'))
        if (takes(line + 1, table, t))
            return TRUE;
    return FALSE;
}

BOOL listening(const struct tuple *t)
{
    BOOL found = FALSE, known = FALSE;
    AcquireSRWLockExclusive(&listening_lock);
    for (int fresh = 0; fresh < 2 && !found; fresh++)
        for (unsigned i = 0; i < sizeof tables / sizeof tables[0] && !found; i++) {
            if (tables[i].protocol != t->protocol)
                continue;
            if (fresh)
                read_again(&tables[i]);
            known |= tables[i].size != 0;
            found = found_in(&tables[i], t);
        }
    ReleaseSRWLockExclusive(&listening_lock);
    return found || !known;
}

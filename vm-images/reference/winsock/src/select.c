/*
 * select() on a socket that is in more than one set. Wine 8's server enters such a socket once for each: when a reset comes
 * while it does, what the first entry has seen is not told, and the server ends with an assertion when the time is up. So
 * one WSAPoll, with one entry for each socket, does the waiting, and a select() that does not wait tells what is ready.
 * SPDX-License-Identifier: MIT
 */
#include "shim.h"

#include <string.h>

enum { AT_MOST_MS = 0x7fffffff };

int WSAAPI shim_select(int ignored, fd_set *readable, fd_set *writable, fd_set *failed, struct timeval *limit);

static u_int count_of(const fd_set *set)
{
    return set ? set->fd_count : 0;
}

static size_t size_of(const fd_set *set)
{
    return offsetof(fd_set, fd_array) + count_of(set) * sizeof(SOCKET);
}

static bool has(const fd_set *set, SOCKET socket)
{
    for (u_int i = 0; i < count_of(set); i++)
        if (set->fd_array[i] == socket)
            return true;
    return false;
}

static bool share(const fd_set *one, const fd_set *other)
{
    for (u_int i = 0; i < count_of(one); i++)
        if (has(other, one->fd_array[i]))
            return true;
    return false;
}

static void enter(WSAPOLLFD *entries, ULONG *count, const fd_set *set, SHORT events)
{
    for (u_int i = 0; i < count_of(set); i++) {
        ULONG at = 0;
        while (at < *count && entries[at].fd != set->fd_array[i])
            at++;
        if (at == *count)
            entries[(*count)++].fd = set->fd_array[i];
        entries[at].events |= events;
    }
}

static INT milliseconds(const struct timeval *limit, ULONGLONG since)
{
    if (!limit)
        return -1;
    LONGLONG left = (LONGLONG)limit->tv_sec * 1000 + (limit->tv_usec + 999) / 1000 - (LONGLONG)(GetTickCount64() - since);
    return left < 0 ? 0 : left > AT_MOST_MS ? AT_MOST_MS : (INT)left;
}

/* What is ready at this moment, in the caller's own sets; they stay as they were asked for when nothing is. */
static int look(fd_set *const sets[3], uint8_t *const asked[3])
{
    struct timeval at_once = {0};
    int found = select(0, sets[0], sets[1], sets[2], &at_once);
    for (int i = 0; !found && i < 3; i++)
        if (sets[i])
            memcpy(sets[i], asked[i], size_of((const fd_set *)asked[i]));
    return found;
}

static int wait_in_one_entry(fd_set *const sets[3], uint8_t *const asked[3], WSAPOLLFD *entries, struct timeval *limit)
{
    static const SHORT meant[3] = {POLLRDNORM, POLLWRNORM, POLLRDBAND};
    ULONGLONG since = GetTickCount64();
    ULONG count = 0;
    int found = look(sets, asked);
    if (found)
        return found;
    for (int i = 0; i < 3; i++)
        enter(entries, &count, sets[i], meant[i]);
    int woken = WSAPoll(entries, count, milliseconds(limit, since));
    if ((found = look(sets, asked)))
        return found;
    /* WSAPoll also tells of an end that select() does not, as it was not asked for it: nothing else will come of that one. */
    INT rest = milliseconds(limit, since);
    struct timeval left = {rest / 1000, rest % 1000 * 1000}, none = {0};
    return select(0, sets[0], sets[1], sets[2], woken ? (limit ? &left : NULL) : &none);
}

int WSAAPI shim_select(int ignored, fd_set *readable, fd_set *writable, fd_set *failed, struct timeval *limit)
{
    fd_set *const sets[3] = {readable, writable, failed};
    bool at_once = limit && limit->tv_sec <= 0 && limit->tv_usec <= 0;
    if (at_once || (!share(readable, writable) && !share(readable, failed) && !share(writable, failed)))
        return select(ignored, readable, writable, failed, limit);
    size_t copies = size_of(readable) + size_of(writable) + size_of(failed);
    size_t entries = ((size_t)count_of(readable) + count_of(writable) + count_of(failed)) * sizeof(WSAPOLLFD);
    uint8_t *room = shim_alloc(entries + copies);
    if (!room) {
        WSASetLastError(WSAENOBUFS);
        return SOCKET_ERROR;
    }
    uint8_t *asked[3], *next = room + entries;
    for (int i = 0; i < 3; i++) {
        asked[i] = next;
        next += size_of(sets[i]);
        if (sets[i])
            memcpy(asked[i], sets[i], size_of(sets[i]));
    }
    int found = wait_in_one_entry(sets, asked, (WSAPOLLFD *)room, limit);
    int error = found == SOCKET_ERROR ? WSAGetLastError() : 0;
    shim_free(room);
    if (error)
        WSASetLastError(error);
    return found;
}

/*
 * Port reservations, and the ports that sockets get with and without them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "reservations.h"

#include "linux.h"

enum { PORTS = 65536, FIRST_ANY = 49152, CHOICES = 64, TOKEN_STEP = 0x10001 };

struct reservation {
    struct reservation *next;
    UINT64 token;
    uint8_t protocol;
    UINT32 first, count;
    UINT64 endpoint; /* of the socket whose it is, 0 = persistent */
    UINT32 pid;
};

static SRWLOCK reservation_lock = SRWLOCK_INIT; /* the two below */
static struct reservation *reservations;
static UINT64 last_token = 0x7700000000000001ull; /* opaque: nobody is to take it for a port */

static BOOL well_formed(UINT32 first, UINT32 count)
{
    return first && count && count <= PORTS - first;
}

/* ---- under the lock ---- */

static const struct reservation *find_overlap(uint8_t protocol, UINT32 first, UINT32 count)
{
    const struct reservation *r = reservations;
    while (r && !(r->protocol == protocol && first < r->first + r->count && r->first < first + count))
        r = r->next;
    return r;
}

static const struct reservation *find_token(UINT64 token)
{
    const struct reservation *r = reservations;
    while (r && r->token != token)
        r = r->next;
    return r;
}

static UINT64 add(struct reservation made)
{
    struct reservation *kept = mem_alloc(sizeof *kept);
    made.token = last_token += TOKEN_STEP;
    made.next = reservations;
    *kept = made;
    reservations = kept;
    return made.token;
}

static void drop(const struct reservation *gone)
{
    struct reservation **at = &reservations;
    while (*at != gone)
        at = &(*at)->next;
    *at = gone->next;
    mem_free((void *)gone);
}

/* ---- who may have what ---- */

static BOOL protocol_has_ports(uint8_t protocol)
{
    return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP;
}

/* Nobody's socket has any of them, of either family. Asks Linux: not under the lock. */
static BOOL all_free(uint8_t protocol, UINT32 first, UINT32 count)
{
    const struct address any = {.family = FAMILY_V4}, any6 = {.family = FAMILY_V6};
    for (UINT32 port = first; port < first + count; port++) {
        UINT16 four = (UINT16)port, six = (UINT16)port;
        if (!linux_free_port(protocol, &any, &four))
            return FALSE;
        if (wire_address(FAMILY_V6) && !linux_free_port(protocol, &any6, &six))
            return FALSE;
    }
    return TRUE;
}

static BOOL add_where_free(struct reservation made, UINT64 *token)
{
    BOOL in_use = !all_free(made.protocol, made.first, made.count);
    AcquireSRWLockExclusive(&reservation_lock);
    BOOL possible = !in_use && !find_overlap(made.protocol, made.first, made.count);
    if (possible)
        *token = add(made);
    ReleaseSRWLockExclusive(&reservation_lock);
    return possible;
}

int reservation_create(uint8_t protocol, UINT16 first, UINT32 count, UINT64 *token)
{
    if (!protocol_has_ports(protocol) || !well_formed(first, count))
        return ERROR_INVALID_PARAMETER;
    return add_where_free((struct reservation){.protocol = protocol, .first = first, .count = count}, token) ? 0 : ERROR_SHARING_VIOLATION;
}

int reservation_look_up(uint8_t protocol, UINT16 first, UINT32 count, UINT64 *token, BOOL and_delete)
{
    if (!first || !count)
        return ERROR_INVALID_PARAMETER;
    AcquireSRWLockExclusive(&reservation_lock);
    const struct reservation *found = find_overlap(protocol, first, count);
    BOOL same = found && !found->endpoint && found->first == first && found->count == count;
    if (same) {
        *token = found->token;
        if (and_delete)
            drop(found);
    }
    ReleaseSRWLockExclusive(&reservation_lock);
    return same ? 0 : ERROR_NOT_FOUND;
}

int reservation_acquire(struct endpoint *endpoint, UINT16 *first, UINT32 count, UINT64 *token)
{
    struct reservation made = {.protocol = endpoint->protocol, .count = count, .endpoint = endpoint->id, .pid = endpoint->pid};
    if (endpoint->raw || !protocol_has_ports(endpoint->protocol))
        return WSAEOPNOTSUPP;
    BOOL any = !*first;
    if (!well_formed(any ? FIRST_ANY : *first, count))
        return WSAEINVAL;
    for (made.first = any ? FIRST_ANY : *first; made.first + count <= PORTS; made.first += count) {
        if (add_where_free(made, token)) {
            *first = (UINT16)made.first;
            return 0;
        }
        if (!any)
            break;
    }
    return WSAEADDRINUSE;
}

int reservation_associate(struct endpoint *endpoint, UINT64 token)
{
    UINT16 port;
    if (endpoint->raw || !protocol_has_ports(endpoint->protocol))
        return WSAEOPNOTSUPP;
    endpoint_address(endpoint, &port);
    AcquireSRWLockShared(&reservation_lock);
    const struct reservation *found = find_token(token);
    int error = !found || found->protocol != endpoint->protocol || port ? WSAEINVAL
                : found->endpoint && found->pid != endpoint->pid        ? WSAEACCES
                                                                        : 0;
    ReleaseSRWLockShared(&reservation_lock);
    if (!error)
        endpoint_set_reservation(endpoint, token);
    return error;
}

int reservation_release(struct endpoint *endpoint, UINT64 token)
{
    AcquireSRWLockExclusive(&reservation_lock);
    const struct reservation *found = find_token(token);
    BOOL own = found && found->endpoint && found->pid == endpoint->pid;
    if (own)
        drop(found);
    ReleaseSRWLockExclusive(&reservation_lock);
    return own ? 0 : WSAEINVAL;
}

void reservations_end_of(UINT64 endpoint)
{
    AcquireSRWLockExclusive(&reservation_lock);
    for (const struct reservation *r = reservations, *next; r; r = next) {
        next = r->next;
        if (r->endpoint == endpoint)
            drop(r);
    }
    ReleaseSRWLockExclusive(&reservation_lock);
}

BOOL reservation_known(UINT64 token)
{
    AcquireSRWLockShared(&reservation_lock);
    BOOL known = find_token(token) != NULL;
    ReleaseSRWLockShared(&reservation_lock);
    return known;
}

/* ---- the port of a socket ---- */

static BOOL is_reserved(uint8_t protocol, UINT16 port)
{
    AcquireSRWLockShared(&reservation_lock);
    BOOL reserved = find_overlap(protocol, port, 1) != NULL;
    ReleaseSRWLockShared(&reservation_lock);
    return reserved;
}

static BOOL port_of_block(const struct endpoint *endpoint, const struct address *local, UINT64 token, UINT16 *port)
{
    AcquireSRWLockShared(&reservation_lock);
    const struct reservation *found = find_token(token);
    BOOL usable = found && found->protocol == endpoint->protocol && (!found->endpoint || found->pid == endpoint->pid);
    UINT32 first = usable ? found->first : 0, count = usable ? found->count : 0;
    ReleaseSRWLockShared(&reservation_lock);
    if (*port)
        return *port >= first && *port < first + count;
    for (UINT32 each = first; each < first + count; each++) {
        UINT16 candidate = (UINT16)each;
        if (linux_free_port(endpoint->protocol, local, &candidate)) {
            *port = candidate;
            return TRUE;
        }
    }
    return FALSE;
}

BOOL reservation_port(const struct endpoint *endpoint, const struct address *local, UINT64 token, UINT16 *port)
{
    if (endpoint->raw)
        return TRUE;
    if (token)
        return port_of_block(endpoint, local, token, port);
    if (*port)
        return !is_reserved(endpoint->protocol, *port);
    for (unsigned i = 0; i < CHOICES; i++) {
        UINT16 candidate = 0;
        if (!linux_free_port(endpoint->protocol, local, &candidate))
            return TRUE; /* no address of this guest's: bind itself will say so */
        if (is_reserved(endpoint->protocol, candidate))
            continue;
        *port = candidate;
        return TRUE;
    }
    return FALSE;
}

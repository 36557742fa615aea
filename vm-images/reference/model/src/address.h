/*
 * An IP address of either family, in network byte order, and the ports' helpers for bytes.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MODEL_ADDRESS_H
#define MODEL_ADDRESS_H

#include <stdint.h>
#include <string.h>

enum { FAMILY_NONE = 0, FAMILY_V4 = 2, FAMILY_V6 = 23 }; /* Windows' AF_INET and AF_INET6 */

struct address {
    uint8_t family;
    uint8_t bytes[16]; /* IPv4 takes the first four, the rest is zero */
};
_Static_assert(sizeof(struct address) == 17, "an address has no padding");

static inline struct address address_v4(uint32_t host_order)
{
    return (struct address){FAMILY_V4, {(uint8_t)(host_order >> 24), (uint8_t)(host_order >> 16), (uint8_t)(host_order >> 8), (uint8_t)host_order}};
}

/* 4 or 16 bytes in network order. */
static inline struct address address_of(uint8_t family, const void *bytes)
{
    struct address made = {.family = family};
    memcpy(made.bytes, bytes, family == FAMILY_V6 ? 16 : 4);
    return made;
}

static inline size_t address_size(uint8_t family)
{
    return family == FAMILY_V6 ? 16 : 4;
}

/* Host order; of an IPv4 address. */
static inline uint32_t address_host(const struct address *a)
{
    return (uint32_t)a->bytes[0] << 24 | (uint32_t)a->bytes[1] << 16 | (uint32_t)a->bytes[2] << 8 | a->bytes[3];
}

static inline int address_equal(const struct address *a, const struct address *b)
{
    return !memcmp(a, b, sizeof *a);
}

static inline int address_is_zero(const struct address *a)
{
    static const uint8_t none[16];
    return !memcmp(a->bytes, none, sizeof none);
}

static inline int address_is_loopback(const struct address *a)
{
    static const uint8_t one[16] = {[15] = 1};
    return a->family == FAMILY_V6 ? !memcmp(a->bytes, one, sizeof one) : a->bytes[0] == 127;
}

static inline int address_is_multicast(const struct address *a)
{
    return a->family == FAMILY_V6 ? a->bytes[0] == 0xff : a->bytes[0] >> 4 == 14;
}

/* Multicast, and IPv4's limited broadcast. */
static inline int address_is_many(const struct address *a)
{
    return address_is_multicast(a) || (a->family == FAMILY_V4 && address_host(a) == 0xffffffff);
}

/* fe80::/10: means something on one interface only. */
static inline int address_is_link_local(const struct address *a)
{
    return a->family == FAMILY_V6 && a->bytes[0] == 0xfe && (a->bytes[1] & 0xc0) == 0x80;
}

/* Sixteen bytes, of which ::ffff:a.b.c.d is the IPv4 address a.b.c.d. */
static inline struct address address_unmapped(const uint8_t bytes[16])
{
    static const uint8_t prefix[12] = {[10] = 0xff, [11] = 0xff};
    return memcmp(bytes, prefix, sizeof prefix) ? address_of(FAMILY_V6, bytes) : address_of(FAMILY_V4, bytes + 12);
}

#endif

/* What IPv6 puts between its header and the transport header. SPDX-License-Identifier: MIT */
#include "model.h"

enum { HOP_BY_HOP = 0, ROUTING = 43, FRAGMENT = 44, AUTHENTICATION = 51, DESTINATION = 60, MOBILITY = 135 };
enum { EXTENSIONS_MAX = 16 }; /* far beyond what any stack sends */

static BOOL is_extension(uint8_t next)
{
    return next == HOP_BY_HOP || next == ROUTING || next == FRAGMENT || next == AUTHENTICATION || next == DESTINATION || next == MOBILITY;
}

/*
 * From the header at ip, of total bytes: *size becomes the size of all headers before the transport header, *protocol what
 * follows them. Behind a fragment's header nothing is looked at unless it is the whole packet (RFC 6946). FALSE: broken.
 */
BOOL ipv6_skip_extensions(const uint8_t *ip, size_t total, size_t *size, uint8_t *protocol, BOOL *fragment)
{
    size_t at = *size;
    uint8_t next = ip[6];
    for (unsigned i = 0; is_extension(next) && !*fragment; i++) {
        if (i == EXTENSIONS_MAX || total - at < 8)
            return FALSE;
        const uint8_t *header = ip + at;
        size_t length = next == FRAGMENT ? 8 : next == AUTHENTICATION ? (header[1] + 2u) * 4u : (header[1] + 1u) * 8u;
        if (length > total - at)
            return FALSE;
        *fragment = next == FRAGMENT && (get16(header + 2) & 0xfff9) != 0;
        next = header[0];
        at += length;
    }
    *size = at;
    *protocol = next;
    return TRUE;
}

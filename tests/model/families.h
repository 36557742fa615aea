/* Shared by the checks of both address families. SPDX-License-Identifier: MIT */
#ifndef FAMILIES_H
#define FAMILIES_H

#include "stack.h"
#include "watch.h"

extern struct address guest6, server6, loopback6; /* 2001:db8::2, 2001:db8:99::5, ::1 */
void families_begin(void);
void guest_sends6(UINT16 port, const struct address *to, UINT16 to_port, uint8_t protocol, uint8_t flags, UINT32 sequence, const char *payload);
void link_sends6(const struct address *from, UINT16 from_port, UINT16 port, uint8_t protocol, uint8_t flags, UINT32 sequence, const char *payload);
struct address address_in(const uint8_t *frame, BOOL source);
BOOL sums_hold6(const uint8_t *frame);

#endif

/* What a callout sees at each layer that a packet passes, noted down for a check. SPDX-License-Identifier: MIT */
#ifndef WATCH_H
#define WATCH_H

#include "rig.h"

enum { SEEN_MAX = 32 };
struct seen {
    UINT16 layer;
    UINT32 irql, metadata, direction, first_byte, length, flags, ip_size, transport_size;
    UINT16 local_port, remote_port;
    struct address local, remote;
    UINT64 flow;
    BOOL has_data;
};
extern struct seen seen[SEEN_MAX];
extern unsigned seen_count;

/* Callouts that permit, at every layer of a family's path; family is FAMILY_V4 or FAMILY_V6. */
void watch_path_of(uint8_t family);
void watch_path(void); /* of IPv4 */
void watch_path_end(void);
const struct seen *at(UINT16 layer); /* the first classify there; nothing but zeros: there was none */
void check_metadata(const char *name); /* no bit beyond the documents' table */
const FWP_VALUE0 *value_of(const struct call *call, uint16_t condition); /* NULL: the layer has no such field */

#define SAW(name, layer, member, wanted) EXPECT(name, at(layer)->member, wanted)
#define BITS(name, layer, mask, wanted) EXPECT(name, at(layer)->metadata & (mask), wanted)

void *NTAPI NdisGetDataBuffer(NET_BUFFER *, ULONG, void *, UINT32, UINT32);

#endif

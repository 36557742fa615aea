/* Between engine_fuzz.c and its streams. SPDX-License-Identifier: MIT */
#ifndef ENGINE_FUZZ_H
#define ENGINE_FUZZ_H

#include "rig.h"

enum { FROM_GUEST, FROM_LINK, FROM_SECOND, SOURCES };

UINT64 chance(UINT64 below);
void callout(unsigned key); /* registers the one that looks at all it is shown */
void broken(const char *what, UINT64 detail) __attribute__((noreturn));
void send_frame(const uint8_t *bytes, size_t length, unsigned source);
size_t mutate(uint8_t *bytes, size_t length); /* in room for 2000 more */

/* engine_fuzz_streams.c: TCP conversations whose segments are wrong, and a driver that edits them as it likes. */
void streams_set_up(void); /* after the callouts */
void streams_edit(const FWPS_INCOMING_VALUES0 *values, const FWPS_INCOMING_METADATA_VALUES0 *m, FWPS_STREAM_CALLOUT_IO_PACKET0 *io,
                  const FWPS_FILTER1 *filter, FWPS_CLASSIFY_OUT0 *out);
void streams_step(void);
BOOL streams_have(UINT16 port, UINT16 other); /* whether a conversation may have these ports, in either order */
void streams_end(void); /* gives back what the driver holds */
void streams_figures(void);

#endif

/* Between engine_stress.c and its streams. SPDX-License-Identifier: MIT */
#ifndef ENGINE_STRESS_H
#define ENGINE_STRESS_H

#include "rig.h"

enum { KNOWN = 256, TALKERS = 2 };
extern volatile LONG stop;
extern volatile LONG64 packets; /* what must grow, or it is a hang */
extern volatile UINT64 known[KNOWN]; /* flows that somebody has seen */

void broken(const char *what, UINT64 detail) __attribute__((noreturn));
UINT32 chance(UINT32 *state, UINT32 below);
UINT64 worked_ms(void); /* time that this program was given: on a busy host that may be little of what goes by */

/* engine_stress_streams.c: drivers that edit streams, and conversations that hold them to what they say they did. */
void streams_begin(void);
DWORD WINAPI streams_talk(void *slot);  /* threads: a client and its server, */
DWORD WINAPI streams_change(void *seed); /* the filters of the editing driver that come and go, */
DWORD WINAPI streams_drive(void *seed);  /* and what the drivers do outside of classifyFn */
void streams_stopped(void); /* the threads have ended */
void streams_end(void);
void streams_figures(void);

#endif

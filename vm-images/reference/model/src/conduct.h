/* What one classifyFn did while it ran (conduct.c): arbitrate.c begins and ends it, the calls of the driver tell it. SPDX-License-Identifier: MIT */
#ifndef MODEL_CONDUCT_H
#define MODEL_CONDUCT_H

#include "model.h"

struct conduct { /* on the stack of whoever calls classifyFn; thread->conduct leads to the innermost */
    struct conduct *outer;
    const struct classification *what;
    const struct callout *callout;
    const struct filter *filter;
    FWPS_CLASSIFY_OUT0 entry;
    ULONG offset, length; /* of the packet's first NET_BUFFER */
    LONG regions;
    BOOL asked_redirect;
    UINT32 redirect_state;
};
void conduct_begin(struct conduct *conduct, const struct classification *what, const struct callout *callout,
                   const struct filter *filter, const FWPS_CLASSIFY_OUT0 *out);
void conduct_end(struct conduct *conduct, const FWPS_CLASSIFY_OUT0 *out);
struct conduct *conduct_now(void); /* NULL outside of classifyFn */
void conduct_asked_redirect(UINT32 state);
void conduct_redirected(void);

#endif

/*
 * A driver that breaks one rule of its contract, chosen by the name of its service: "bad-<misdeed>" does it, and
 * "good-<misdeed>" does the same work as the documents ask for.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BAD_H
#define BAD_H

#ifndef NDIS630
#define NDIS630 1
#endif
#include <ntddk.h>
#include <ndis.h>
#include <ws2ipdef.h>
#include <fwpsk.h>
#include <fwpmk.h>

#define TAG 0x64616262u /* 'bbad' */

struct call { /* one classify */
    const FWPS_INCOMING_VALUES0 *values;
    const FWPS_INCOMING_METADATA_VALUES0 *metadata;
    NET_BUFFER_LIST *packet;
    const void *context;
    const FWPS_FILTER1 *filter;
    UINT64 flow;
    FWPS_CLASSIFY_OUT0 *out;
};

struct misdeed {
    const char *name;
    UINT16 layer;       /* where its callout is; 0xFFFF: it has none */
    const GUID *key;    /* of that layer */
    void (*load)(void);
    void (*classify)(struct call *); /* answers PERMIT if it leaves the action alone */
    void (*unload)(void); /* before the session is closed and the callout unregistered */
    BOOLEAN unlawful_objects; /* the session is not dynamic, and what it added it leaves behind */
    UINT32 callout_flags;
};
extern const struct misdeed misdeeds_of_handles[], misdeeds_of_packets[], misdeeds_of_answers[], misdeeds_of_redirects[], misdeeds_of_pends[],
    misdeeds_of_streams[], misdeeds_of_kernel[];

extern BOOLEAN bad; /* whether to do it */
extern DRIVER_OBJECT *the_driver;
extern DEVICE_OBJECT *the_device;
extern UINT32 the_callout;
extern HANDLE the_engine;
extern HANDLE network, transport; /* injection handles */
extern NDIS_HANDLE ndis_object, nbl_pool;
extern BOOLEAN context_was_freed; /* flowDeleteFn must not do it again */
void later(void (*work)(void *), void *context); /* in a work item, at PASSIVE_LEVEL */
void wait_idle(void); /* until no work item is queued; one thread alone does */
void pass(struct call *call, FWP_ACTION_TYPE action); /* an answer as it should be given */

#endif

/*
 * The function types of WFP: what a callout registers and what the injection functions call back.
 * Included by fwpstypes.h once the enumerations are there.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef WFP_ABI_CALLBACKS
#define WFP_ABI_CALLBACKS

#include "ndis_types.h"

typedef struct FWPS_INCOMING_VALUES0_ FWPS_INCOMING_VALUES0;
typedef struct FWPS_INCOMING_METADATA_VALUES0_ FWPS_INCOMING_METADATA_VALUES0;
typedef struct FWPS_CLASSIFY_OUT0_ FWPS_CLASSIFY_OUT0;
typedef struct FWPS_FILTER0_ FWPS_FILTER0;
typedef struct FWPS_FILTER1_ FWPS_FILTER1;
typedef struct FWPS_FILTER2_ FWPS_FILTER2;
typedef struct FWPS_FILTER3_ FWPS_FILTER3;

typedef void(NTAPI *FWPS_CALLOUT_CLASSIFY_FN0)(const FWPS_INCOMING_VALUES0 *, const FWPS_INCOMING_METADATA_VALUES0 *,
                                               void *layerData, const FWPS_FILTER0 *, UINT64 flowContext,
                                               FWPS_CLASSIFY_OUT0 *);
#define WFP_ABI_CALLOUT_FN(n)                                                                                         \
    typedef void(NTAPI *FWPS_CALLOUT_CLASSIFY_FN##n)(const FWPS_INCOMING_VALUES0 *,                                   \
                                                     const FWPS_INCOMING_METADATA_VALUES0 *, void *layerData,         \
                                                     const void *classifyContext, const FWPS_FILTER##n *,             \
                                                     UINT64 flowContext, FWPS_CLASSIFY_OUT0 *);                       \
    typedef NTSTATUS(NTAPI *FWPS_CALLOUT_NOTIFY_FN##n)(FWPS_CALLOUT_NOTIFY_TYPE, const GUID *filterKey,               \
                                                       FWPS_FILTER##n *)
WFP_ABI_CALLOUT_FN(1);
WFP_ABI_CALLOUT_FN(2);
WFP_ABI_CALLOUT_FN(3);
typedef NTSTATUS(NTAPI *FWPS_CALLOUT_NOTIFY_FN0)(FWPS_CALLOUT_NOTIFY_TYPE, const GUID *filterKey, FWPS_FILTER0 *);

typedef void(NTAPI *FWPS_CALLOUT_FLOW_DELETE_NOTIFY_FN0)(UINT16 layerId, UINT32 calloutId, UINT64 flowContext);
typedef void(NTAPI *FWPS_INJECT_COMPLETE0)(void *context, NET_BUFFER_LIST *netBufferList, BOOLEAN dispatchLevel);
typedef void(NTAPI *FWPM_SERVICE_STATE_CHANGE_CALLBACK0)(void *context, FWPM_SERVICE_STATE newState);

/* Nothing here calls these; the types only hold their place in prototypes and structures. */
typedef void(NTAPI *FWPS_NET_BUFFER_LIST_NOTIFY_FN0)(void);
typedef void(NTAPI *FWPS_NET_BUFFER_LIST_NOTIFY_FN1)(void);
typedef void(NTAPI *FWPS_VSWITCH_LIFETIME_EVENT_CALLBACK0)(void);
typedef void(NTAPI *FWPS_VSWITCH_PORT_EVENT_CALLBACK0)(void);
typedef void(NTAPI *FWPS_VSWITCH_INTERFACE_EVENT_CALLBACK0)(void);
typedef void(NTAPI *FWPS_VSWITCH_FILTER_ENGINE_REORDER_CALLBACK0)(void);
typedef void(NTAPI *FWPS_VSWITCH_POLICY_EVENT_CALLBACK0)(void);
typedef void(NTAPI *FWPS_VSWITCH_RUNTIME_STATE_SAVE_CALLBACK0)(void);
typedef void(NTAPI *FWPS_VSWITCH_RUNTIME_STATE_RESTORE_CALLBACK0)(void);

#endif

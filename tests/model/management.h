/* The management functions that the checks of objects call, beyond those of rig.h. SPDX-License-Identifier: MIT */
#ifndef MANAGEMENT_H
#define MANAGEMENT_H

#include "bfe.h"
#include "rig.h"
#include "store.h"

NTSTATUS NTAPI FwpsCalloutRegister0(void *, const FWPS_CALLOUT *, UINT32 *);
NTSTATUS NTAPI FwpsCalloutUnregisterByKey0(const GUID *);
NTSTATUS NTAPI FwpmProviderAdd0(HANDLE, const FWPM_PROVIDER0 *, void *);
NTSTATUS NTAPI FwpmProviderDeleteByKey0(HANDLE, const GUID *);
NTSTATUS NTAPI FwpmProviderGetByKey0(HANDLE, const GUID *, FWPM_PROVIDER0 **);
NTSTATUS NTAPI FwpmSubLayerGetByKey0(HANDLE, const GUID *, FWPM_SUBLAYER0 **);
NTSTATUS NTAPI FwpmSubLayerCreateEnumHandle0(HANDLE, const void *, HANDLE *);
NTSTATUS NTAPI FwpmSubLayerEnum0(HANDLE, HANDLE, UINT32, FWPM_SUBLAYER0 ***, UINT32 *);
NTSTATUS NTAPI FwpmSubLayerDestroyEnumHandle0(HANDLE, HANDLE);
NTSTATUS NTAPI FwpmProviderContextAdd0(HANDLE, const FWPM_PROVIDER_CONTEXT0 *, void *, UINT64 *);
NTSTATUS NTAPI FwpmProviderContextAdd1(HANDLE, const FWPM_PROVIDER_CONTEXT0 *, void *, UINT64 *);
NTSTATUS NTAPI FwpmProviderContextDeleteByKey0(HANDLE, const GUID *);
NTSTATUS NTAPI FwpmProviderContextDeleteById0(HANDLE, UINT64);
NTSTATUS NTAPI FwpmProviderContextGetByKey0(HANDLE, const GUID *, FWPM_PROVIDER_CONTEXT0 **);
NTSTATUS NTAPI FwpmProviderContextGetById0(HANDLE, UINT64, FWPM_PROVIDER_CONTEXT0 **);
NTSTATUS NTAPI FwpmCalloutDeleteByKey0(HANDLE, const GUID *);
NTSTATUS NTAPI FwpmCalloutGetByKey0(HANDLE, const GUID *, FWPM_CALLOUT0 **);
NTSTATUS NTAPI FwpmCalloutGetById0(HANDLE, UINT32, FWPM_CALLOUT0 **);
NTSTATUS NTAPI FwpmCalloutCreateEnumHandle0(HANDLE, const void *, HANDLE *);
NTSTATUS NTAPI FwpmCalloutEnum0(HANDLE, HANDLE, UINT32, FWPM_CALLOUT0 ***, UINT32 *);
NTSTATUS NTAPI FwpmFilterDeleteByKey0(HANDLE, const GUID *);
NTSTATUS NTAPI FwpmFilterGetByKey0(HANDLE, const GUID *, FWPM_FILTER0 **);
NTSTATUS NTAPI FwpmFilterGetById0(HANDLE, UINT64, FWPM_FILTER0 **);
NTSTATUS NTAPI FwpmFilterCreateEnumHandle0(HANDLE, const void *, HANDLE *);
NTSTATUS NTAPI FwpmFilterEnum0(HANDLE, HANDLE, UINT32, FWPM_FILTER0 ***, UINT32 *);
NTSTATUS NTAPI FwpmFilterDestroyEnumHandle0(HANDLE, HANDLE);
NTSTATUS NTAPI FwpmLayerGetByKey0(HANDLE, const GUID *, FWPM_LAYER0 **);
NTSTATUS NTAPI FwpmLayerGetById0(HANDLE, UINT16, FWPM_LAYER0 **);
NTSTATUS NTAPI FwpmSessionCreateEnumHandle0(HANDLE, const void *, HANDLE *);
NTSTATUS NTAPI FwpmSessionEnum0(HANDLE, HANDLE, UINT32, FWPM_SESSION0 ***, UINT32 *);
NTSTATUS NTAPI FwpmFilterGetSecurityInfoByKey0(HANDLE, const GUID *, UINT32, void **, void **, void **, void **, void **);
NTSTATUS NTAPI FwpmFilterSetSecurityInfoByKey0(HANDLE, const GUID *, UINT32, const void *, const void *, const void *, const void *);
NTSTATUS NTAPI FwpmSubLayerSetSecurityInfoByKey0(HANDLE, const GUID *, UINT32, const void *, const void *, const void *, const void *);
int NTAPI FwpmBfeStateGet0(void);
NTSTATUS NTAPI FwpmBfeStateSubscribeChanges0(void *, STATE_CALLBACK, void *, HANDLE *);
NTSTATUS NTAPI FwpmBfeStateUnsubscribeChanges0(HANDLE);
void NTAPI FwpmFreeMemory0(void **);

extern unsigned callouts_max, sublayers_max; /* objects.c */

#define STATUS_IS(name, call, wanted) EXPECT(name, STATUS_OF(call), STATUS_OF(wanted))
enum { SENT = LAYER_OUTBOUND_TRANSPORT_V4, RECEIVED = LAYER_INBOUND_TRANSPORT_V4, SESSION_IS_DYNAMIC = 1 };

HANDLE session_with(UINT32 flags, UINT32 wait_ms); /* objects_test.c */
FWPM_FILTER0 filter_of(UINT32 action);             /* at SENT, weight 1, of no callout */
void test_store(void);    /* store_test.c */
void test_matching(void); /* matching_test.c */
void test_requests(void); /* manage_test.c */

#endif

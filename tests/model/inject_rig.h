/* What the checks of injection share: lists made of bytes, and a completion function that counts. SPDX-License-Identifier: MIT */
#ifndef INJECT_RIG_H
#define INJECT_RIG_H

#include "watch.h"

NTSTATUS NTAPI FwpsInjectNetworkReceiveAsync0(HANDLE, HANDLE, UINT32, ULONG, ULONG, ULONG, NET_BUFFER_LIST *, INJECT_COMPLETE, HANDLE);
NTSTATUS NTAPI FwpsInjectTransportSendAsync1(HANDLE, HANDLE, UINT64, UINT32, FWPS_TRANSPORT_SEND_PARAMS1 *, ADDRESS_FAMILY, ULONG,
                                             NET_BUFFER_LIST *, INJECT_COMPLETE, HANDLE);
NTSTATUS NTAPI FwpsInjectTransportReceiveAsync0(HANDLE, HANDLE, void *, UINT32, ADDRESS_FAMILY, ULONG, ULONG, ULONG, NET_BUFFER_LIST *,
                                                INJECT_COMPLETE, HANDLE);
NTSTATUS NTAPI FwpsInjectForwardAsync0(HANDLE, HANDLE, UINT32, ADDRESS_FAMILY, ULONG, ULONG, NET_BUFFER_LIST *, INJECT_COMPLETE, HANDLE);
NTSTATUS NTAPI FwpsInjectMacSendAsync0(HANDLE, HANDLE, UINT32, UINT16, ULONG, ULONG, NET_BUFFER_LIST *, INJECT_COMPLETE, HANDLE);
NTSTATUS NTAPI FwpsInjectMacReceiveAsync0(HANDLE, HANDLE, UINT32, UINT16, ULONG, ULONG, NET_BUFFER_LIST *, INJECT_COMPLETE, HANDLE);
int NTAPI NdisRetreatNetBufferDataStart(NET_BUFFER *, ULONG, ULONG, void *);
void NTAPI NdisAdvanceNetBufferDataStart(NET_BUFFER *, ULONG, BOOLEAN, void *);

extern volatile LONG completions, completed_lists;
void inject_rig_begin(void);
void inject_rig_end(void);
void NTAPI on_injected(void *context, NET_BUFFER_LIST *nbl, BOOLEAN dispatch);
NTSTATUS injected_wait(void); /* for one call of on_injected; the Status of its first list */
NET_BUFFER_LIST *list_of(const uint8_t *bytes, size_t length);
NET_BUFFER_LIST *list_at(NET_BUFFER_LIST *nbl, size_t offset); /* the same bytes so far behind an aligned place; takes the list */
UINT16 folded(const uint8_t *p, size_t length, UINT32 sum); /* the ones' complement sum of big-endian words, not inverted: 0xffff over right ones */
BOOL sums_hold(const uint8_t *frame); /* those of IPv4 without options and of TCP or UDP, counted in another way than the model's */

#endif

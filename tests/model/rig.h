/*
 * What the checks of the engine stand on: a wire in memory, callouts whose behaviour a check sets, and short ways to
 * add objects and to send packets.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef RIG_H
#define RIG_H

#include <stdio.h>
#include <string.h>

#include "model.h"

NTSTATUS NTAPI FwpmEngineOpen0(const wchar_t *, UINT32, void *, const FWPM_SESSION0 *, HANDLE *);
NTSTATUS NTAPI FwpmEngineClose0(HANDLE);
NTSTATUS NTAPI FwpmTransactionBegin0(HANDLE, UINT32);
NTSTATUS NTAPI FwpmTransactionCommit0(HANDLE);
NTSTATUS NTAPI FwpmTransactionAbort0(HANDLE);
NTSTATUS NTAPI FwpmSubLayerAdd0(HANDLE, const FWPM_SUBLAYER0 *, void *);
NTSTATUS NTAPI FwpmSubLayerDeleteByKey0(HANDLE, const GUID *);
NTSTATUS NTAPI FwpmCalloutAdd0(HANDLE, const FWPM_CALLOUT0 *, void *, UINT32 *);
NTSTATUS NTAPI FwpmCalloutDeleteById0(HANDLE, UINT32);
NTSTATUS NTAPI FwpmFilterAdd0(HANDLE, const FWPM_FILTER0 *, void *, UINT64 *);
NTSTATUS NTAPI FwpmFilterDeleteById0(HANDLE, UINT64);
NTSTATUS NTAPI FwpsCalloutRegister1(void *, const FWPS_CALLOUT *, UINT32 *);
NTSTATUS NTAPI FwpsCalloutUnregisterById0(UINT32);
NTSTATUS NTAPI FwpsFlowAssociateContext0(UINT64, UINT16, UINT32, UINT64);
NTSTATUS NTAPI FwpsFlowRemoveContext0(UINT64, UINT16, UINT32);
NTSTATUS NTAPI FwpsInjectionHandleCreate0(ADDRESS_FAMILY, UINT32, HANDLE *);
NTSTATUS NTAPI FwpsInjectionHandleDestroy0(HANDLE);
NTSTATUS NTAPI FwpsInjectNetworkSendAsync0(HANDLE, HANDLE, UINT32, ULONG, NET_BUFFER_LIST *, INJECT_COMPLETE, HANDLE);
UINT32 NTAPI FwpsQueryPacketInjectionState0(HANDLE, const NET_BUFFER_LIST *, HANDLE *);
NTSTATUS NTAPI FwpsAllocateCloneNetBufferList0(NET_BUFFER_LIST *, HANDLE, HANDLE, ULONG, NET_BUFFER_LIST **);
void NTAPI FwpsFreeCloneNetBufferList0(NET_BUFFER_LIST *, ULONG);
NTSTATUS NTAPI FwpsRedirectHandleCreate0(const GUID *, UINT32, HANDLE *);
void NTAPI FwpsRedirectHandleDestroy0(HANDLE);
NTSTATUS NTAPI FwpsAcquireClassifyHandle0(void *, UINT32, UINT64 *);
void NTAPI FwpsReleaseClassifyHandle0(UINT64);
NTSTATUS NTAPI FwpsAcquireWritableLayerDataPointer0(UINT64, UINT64, UINT32, void **, FWPS_CLASSIFY_OUT0 *);
void NTAPI FwpsApplyModifiedLayerData0(UINT64, void *, UINT32);
UINT32 NTAPI FwpsQueryConnectionRedirectState0(HANDLE, HANDLE, void **);

extern int failures;
void check(const char *name, int holds, const char *what, unsigned long long seen);
#define EXPECT(name, expression, wanted)                                                        \
    do {                                                                                        \
        unsigned long long seen_ = (unsigned long long)(expression);                            \
        check(name, seen_ == (unsigned long long)(wanted), #expression " should be " #wanted, seen_); \
    } while (0)
#define STATUS_OF(call) ((unsigned)(call))

enum { GUEST = 0xc0000202, SERVER = 0xc6336405, LOOPBACK = 0x7f000001 };
extern uint8_t last_link[2048], last_guest[2048];
extern volatile LONG link_frames, guest_frames;
extern void (*answer)(void);
extern UINT32 acknowledged;
void to_link(const uint8_t *frame, size_t length);
void to_guest(const uint8_t *frame, size_t length);
size_t build(uint8_t *f, UINT32 from, UINT16 from_port, UINT32 to, UINT16 to_port, uint8_t protocol, uint8_t flags,
             UINT32 sequence, const char *payload);
/* Between addresses of either family; of ICMP the ports are type and code, the sequence its identifier and number. */
size_t build_between(uint8_t *f, const struct address *from, UINT16 from_port, const struct address *to, UINT16 to_port,
                     uint8_t protocol, uint8_t flags, UINT32 sequence, const char *payload);
void guest_sends(UINT16 port, UINT32 to, UINT16 to_port, uint8_t protocol, uint8_t flags, UINT32 sequence, const char *payload);
void link_sends(UINT32 from, UINT16 from_port, UINT16 port, uint8_t protocol, uint8_t flags, UINT32 sequence, const char *payload);
BOOL datagram_passes(void); /* one UDP datagram from the guest: did it reach the link? */

struct call { /* one classify, as the callout sees it */
    const FWPS_INCOMING_VALUES0 *values;
    const FWPS_INCOMING_METADATA_VALUES0 *metadata;
    void *data;
    void *context;
    const FWPS_FILTER1 *filter;
    UINT64 flow_context;
    FWPS_CLASSIFY_OUT0 *out;
};

struct behaviour {
    void (*instead)(struct behaviour *, struct call *); /* of all below */
    UINT32 irql;
    UINT32 action, clear_right;
    unsigned calls, deletes;
    UINT32 rights;
    UINT64 flow_context, flow, deleted;
    HANDLE injection, redirect;
    UINT32 state;
    UINT32 associate_layer, associate_callout;
    unsigned associate_status, again_status;
    UINT32 redirect_to, redirect_state, first_action, first_rights;
    UINT16 redirect_port;
    BOOL no_pid, forget;
    NET_BUFFER_LIST *clone;
    void *request_seen;
};
extern struct behaviour behave[4];

extern unsigned notified[4]; /* notifyFn calls by type */
extern NTSTATUS notify_answer;
extern UINT32 register_flags; /* what the next register_callout asks for */
extern BOOL register_without_delete;

extern HANDLE engine;
void begin(void); /* a dynamic session with the sublayers 100 (weight 0x7000) and 200 (0x3000) */
void end(void);
GUID key_of(unsigned n);
UINT32 register_callout(unsigned key, int slot);
unsigned add_callout(unsigned key, UINT16 layer, UINT32 *id);
unsigned add_sublayer(unsigned key, UINT16 weight);
unsigned add_filter(UINT16 layer, unsigned sublayer, UINT32 action, unsigned callout, uint8_t weight, UINT32 flags, UINT64 *id);

void test_rules(void); /* rules_test.c */
void test_layers(void); /* layers_test.c */
void test_packets(void); /* packets_test.c */
void test_contract(void); /* contract_test.c */
void test_pend(void); /* pend_test.c */
void test_families(void); /* families_test.c */
void test_icmp(void); /* icmp_test.c */
void test_redirect6(void); /* redirect6_test.c */
void test_objects_of_drivers(void); /* objects_test.c, and with it store_test.c and matching_test.c */
void test_stream_layer(void); /* stream_test.c */
void test_stream_edits(void); /* stream_edits_test.c */

void test_injections(void); /* injection_test.c */
void test_frame_path(void); /* frames_test.c */
void test_lists(void); /* lists_test.c */
void test_vswitch(void); /* vswitch_test.c */
void test_endpoints(void); /* endpoints_test.c */
void test_ale(void); /* ale_test.c */
void test_proxies(void); /* proxies_test.c */
void test_reservations(void); /* reservations_test.c */

#endif

/*
 * wfpcallout.sys: a callout driver that does what it is told and records everything it did.
 *
 * entry.c the device, secure.c who may open it; engine.c the session with the filter engine; rules.c rules and their
 * filters; classify.c what every callout does first; redirect.c and flow.c what the rules ask for; reinject.c packets to
 * be injected, copy.c changed ones, inject.c their queue; pend.c, pended.c, complete.c what is put off; stream.c what is
 * done to streams; events.c the ring, crashdata.c its end in a dump; lab.c single calls, play.c sequences of them.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef CALLOUT_H
#define CALLOUT_H

#ifndef NDIS630
#define NDIS630 1
#endif
#include <ntddk.h>
#ifdef _MSC_VER
#pragma warning(push)
#pragma warning(disable : 4201) /* nameless unions in the kit's own headers */
#endif
#include <ndis.h>
#include <ws2ipdef.h>
#include <fwpsk.h>
#include <fwpmk.h>
#ifdef _MSC_VER
#pragma warning(pop)
#endif
#include "wfpcallout_ioctl.h"

#define TAG 0x6f636677u /* 'wfco' in a dump */
#define SLOTS 2
#define NO_FIELD 0xFFFF
#define LAYERS 38
#define DRAIN_MAX_MS 60000u

enum {
    LAYER_MAC,
    LAYER_FORWARD, /* local is the source, remote the destination */
    LAYER_IPPACKET,
    LAYER_TRANSPORT,
    LAYER_DATAGRAM,
    LAYER_ICMP_ERROR,
    LAYER_STREAM,
    LAYER_ALE,
    LAYER_FLOW,
    LAYER_REDIRECT,
    LAYER_BIND
};

/* One layer that the driver has callouts at, and where its fields stand. */
typedef struct LAYER {
    UINT16 id;
    UINT8 family;
    UINT8 kind;
    BOOLEAN inbound; /* DATAGRAM_DATA: asked of the packet */
    const GUID *key;
    UINT16 local_address, remote_address, local_port, remote_port, protocol, flags, interface_index, sub_interface;
    UINT16 direction, ndis_port;
    UINT16 reason; /* of a reauthorization */
} LAYER;

extern const LAYER layers[];
extern const ULONG layer_count;
const LAYER *find_layer(UINT16 id);

/* What a classify is about. */
typedef struct TRAFFIC {
    const LAYER *layer;
    const FWPS_INCOMING_VALUES0 *values;
    const FWPS_INCOMING_METADATA_VALUES0 *metadata;
    BOOLEAN inbound;
    UINT32 ip_header, transport_header, mac_header; /* sizes, where the layer has them */
    WFPCALLOUT_EVENT event;             /* addresses, ports, flow: filled in once */
} TRAFFIC;

typedef struct DRIVER {
    DRIVER_OBJECT *object;
    DEVICE_OBJECT *device;
    HANDLE engine;
    HANDLE redirect;
    HANDLE network[2], transport, stream, forward; /* injection handles: network for IPv4 and IPv6 */
    HANDLE layer2;                /* NULL where the layer 2 driver is not ready */
    NDIS_HANDLE ndis, pool;
    KEVENT control;               /* one IOCTL at a time that changes anything; a lock that keeps PASSIVE_LEVEL */
} DRIVER;
extern DRIVER driver;

/* engine.c */
NTSTATUS engine_start(void);
void engine_stop(void);
NTSTATUS injection_create(void);
void injection_destroy(void);
UINT32 callout_id(const LAYER *layer, ULONG slot);
void callout_key(const LAYER *layer, ULONG slot, GUID *key);
NTSTATUS callout_register(const LAYER *layer, ULONG slot);
extern const GUID sublayer_keys[SLOTS];
extern const GUID provider_key;

/* rules.c */
void rules_start(void);
NTSTATUS rule_add(const WFPCALLOUT_RULE *rule, UINT64 *id);
NTSTATUS rule_remove(UINT64 id);
UINT64 rules_clear(void);
UINT64 rules_count(void);
/* A copy of the rule, counted as one hit; FALSE when it is gone. */
BOOLEAN rule_hit(UINT64 id, WFPCALLOUT_RULE *rule, BOOLEAN *exhausted);
typedef struct CONDITIONS {
    FWPM_FILTER_CONDITION0 conditions[6];
    FWP_BYTE_ARRAY16 addresses[2];
    UINT32 count;
} CONDITIONS;
void conditions_build(CONDITIONS *out, const LAYER *layer, UINT8 protocol, const UINT8 *local, const UINT8 *remote,
                      UINT16 local_port, UINT16 remote_port);

/* classify.c */
void NTAPI classify(const FWPS_INCOMING_VALUES0 *values, const FWPS_INCOMING_METADATA_VALUES0 *metadata, void *data,
                    const void *context, const FWPS_FILTER1 *filter, UINT64 flow_context, FWPS_CLASSIFY_OUT0 *out);
NTSTATUS NTAPI notify(FWPS_CALLOUT_NOTIFY_TYPE type, const GUID *key, FWPS_FILTER1 *filter);
BOOLEAN is_zero(const UINT8 *address, ULONG length);

/* secure.c */
NTSTATUS device_secure(DEVICE_OBJECT *device);

/* redirect.c */
void redirect(TRAFFIC *traffic, const WFPCALLOUT_RULE *rule, const void *context, const FWPS_FILTER1 *filter,
              FWPS_CLASSIFY_OUT0 *out);
void redirect_bind(TRAFFIC *traffic, const WFPCALLOUT_RULE *rule, const void *context, const FWPS_FILTER1 *filter,
                   FWPS_CLASSIFY_OUT0 *out);
BOOLEAN redirect_is_own(TRAFFIC *traffic, const WFPCALLOUT_RULE *rule, FWPS_CLASSIFY_OUT0 *out); /* and then permitted */
NTSTATUS redirect_apply(UINT64 handle, UINT64 filter, const WFPCALLOUT_RULE *rule, const WFPCALLOUT_EVENT *event,
                        FWPS_CLASSIFY_OUT0 *out);

/* pend.c */
void pend_operation(TRAFFIC *traffic, const WFPCALLOUT_RULE *rule, NET_BUFFER_LIST *list, FWPS_CLASSIFY_OUT0 *out);
void pend_overruled(TRAFFIC *traffic, FWPS_CLASSIFY_OUT0 *out); /* without the right to decide */
void pend_classify(TRAFFIC *traffic, const WFPCALLOUT_RULE *rule, const void *context, const FWPS_FILTER1 *filter,
                   FWPS_CLASSIFY_OUT0 *out);
/* pended.c */
NTSTATUS pend_wait(UINT64 rule, UINT32 milliseconds, UINT64 *number);
UINT64 pend_count(void);
/* complete.c */
NTSTATUS pend_start(void);
NTSTATUS pend_complete(const WFPCALLOUT_COMPLETE *request);
void pend_complete_rule(UINT64 rule, BOOLEAN filter_is_gone);
void pend_drain(UINT32 milliseconds);
void pend_close(void); /* before the filters go */
void pend_stop(void);  /* after the callouts are gone */

/* inject.c */
NTSTATUS inject_start(void);
void inject_stop(void);
/* Between the two the injection handles stay; FALSE: they are about to go. */
BOOLEAN inject_enter(void);
void inject_leave(void);
FWPS_PACKET_INJECTION_STATE inject_state(const LAYER *layer, const NET_BUFFER_LIST *list);
/* reinject.c */
NTSTATUS inject_prepare(TRAFFIC *traffic, const WFPCALLOUT_RULE *rule, NET_BUFFER_LIST *list, LIST_ENTRY *made);
BOOLEAN inject_packet(TRAFFIC *traffic, const WFPCALLOUT_RULE *rule, NET_BUFFER_LIST *list);
NTSTATUS inject_bytes(const WFPCALLOUT_INJECT *request, const UINT8 *bytes);
void inject_release_held(UINT64 rule); /* 0: of every rule */
NTSTATUS inject_drain(ULONG milliseconds);
void inject_stats(WFPCALLOUT_STATS *stats);

/* stream.c */
void stream_start(void);
void stream_act(TRAFFIC *traffic, const WFPCALLOUT_RULE *rule, FWPS_STREAM_CALLOUT_IO_PACKET0 *packet,
                const FWPS_FILTER1 *filter, FWPS_CLASSIFY_OUT0 *out);
void stream_end(UINT64 rule);    /* before its filter goes: what it holds goes on, and it holds nothing new */
void stream_forget(UINT64 rule); /* after that */

/* packet.c */
void packet_ip_checksum(UINT8 *bytes, ULONG length);
void packet_checksums(UINT8 *bytes, ULONG length, UINT8 family, const UINT8 *source, const UINT8 *destination,
                      UINT8 protocol);
ULONG packet_replace(UINT8 *bytes, ULONG length, const WFPCALLOUT_RULE *rule);
BOOLEAN packet_transport(const UINT8 *bytes, ULONG length, UINT8 *protocol, ULONG *offset);

/* flow.c */
void flow_start(void);
void flow_associate(TRAFFIC *traffic, const WFPCALLOUT_RULE *rule);
void NTAPI flow_deleted(UINT16 layer, UINT32 callout, UINT64 context);
BOOLEAN flow_remove_all(void); /* TRUE when none is left */
UINT64 flow_count(void);

/* events.c */
NTSTATUS events_start(void);
void events_stop(void);
UINT64 event_record(WFPCALLOUT_EVENT *event);
UINT64 event_simple(UINT8 kind, UINT16 layer, NTSTATUS status, UINT64 rule, UINT64 value);
ULONG events_read(WFPCALLOUT_EVENTS *head, ULONG capacity);
void events_stats(WFPCALLOUT_STATS *stats);
void events_last(WFPCALLOUT_EVENTS *out, ULONG most); /* read or not; of a bugcheck alone: it takes no lock */

/* crashdata.c */
void crash_data_start(void);
void crash_data_stop(void);

/* lab.c */
void lab_crash(UINT32 place); /* crashes, or hangs, if that was asked for at this place */
NTSTATUS lab_call(const WFPCALLOUT_LAB *call, UINT64 *value);
void lab_stop(void);
UINT64 lab_handles(void);

/* play.c */
void play_start(void);
NTSTATUS play_step(const WFPCALLOUT_PLAY *step);
void play_stop(void);

static __inline void *allocate(SIZE_T size)
{
    /* The kit calls it deprecated, for ExAllocatePool2; that one is not in Windows before 10 2004, nor in Server 2019. */
#ifdef _MSC_VER
#pragma warning(suppress : 4996)
#endif
    void *memory = ExAllocatePoolWithTag(NonPagedPoolNx, size, TAG);
    if (memory)
        RtlZeroMemory(memory, size);
    return memory;
}

#endif

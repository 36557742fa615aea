/*
 * The control interface of wfpcallout.sys: what user mode may ask of the reference callout driver,
 * and the events that the driver records.
 *
 * Included by the driver, by wfpprobe.exe and by nothing else. Every structure has one layout on x64,
 * uses only fixed-width integers, and is asserted below. Addresses are in network byte order as they
 * stand in the IP header (IPv4 in the first four bytes of addr[16]); ports are in host byte order.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef WFPCALLOUT_IOCTL_H
#define WFPCALLOUT_IOCTL_H

#include <stdint.h>

#define WFPCALLOUT_INTERFACE_VERSION 1u

/* A build of the driver that is to run beside another one has a device and, in engine.c, keys of its own. */
#ifndef WFPCALLOUT_NAME
#define WFPCALLOUT_NAME L"WfpCallout"
#endif
#define WFPCALLOUT_NT_DEVICE_NAME    L"\\Device\\" WFPCALLOUT_NAME
#define WFPCALLOUT_DOS_DEVICE_NAME   L"\\DosDevices\\" WFPCALLOUT_NAME
#define WFPCALLOUT_WIN32_DEVICE_NAME L"\\\\.\\" WFPCALLOUT_NAME

/* CTL_CODE(FILE_DEVICE_NETWORK, 0x800 + n, METHOD_BUFFERED, FILE_READ_DATA | FILE_WRITE_DATA) */
#define WFPCALLOUT_CTL(n) ((unsigned int)((0x12u << 16) | (3u << 14) | ((0x800u + (n)) << 2)))

#define IOCTL_WFPCALLOUT_GET_VERSION  WFPCALLOUT_CTL(0) /* out: uint32_t version */
#define IOCTL_WFPCALLOUT_ADD_RULE     WFPCALLOUT_CTL(1) /* in: WFPCALLOUT_RULE; out: WFPCALLOUT_RESULT (value = rule id) */
#define IOCTL_WFPCALLOUT_REMOVE_RULE  WFPCALLOUT_CTL(2) /* in: uint64_t rule id; out: WFPCALLOUT_RESULT */
#define IOCTL_WFPCALLOUT_CLEAR_RULES  WFPCALLOUT_CTL(3) /* out: WFPCALLOUT_RESULT (value = rules removed) */
#define IOCTL_WFPCALLOUT_READ_EVENTS  WFPCALLOUT_CTL(4) /* out: WFPCALLOUT_EVENTS + events; takes them off the ring */
#define IOCTL_WFPCALLOUT_DRAIN        WFPCALLOUT_CTL(5) /* in: uint32_t ms; returns when own work and pending injections are done,
                                                           then records a MARKER event; out: WFPCALLOUT_RESULT (value = its seq) */
#define IOCTL_WFPCALLOUT_GET_STATS    WFPCALLOUT_CTL(6) /* out: WFPCALLOUT_STATS */
#define IOCTL_WFPCALLOUT_INJECT       WFPCALLOUT_CTL(7) /* in: WFPCALLOUT_INJECT + bytes; out: WFPCALLOUT_RESULT */
#define IOCTL_WFPCALLOUT_LAB          WFPCALLOUT_CTL(8) /* in: WFPCALLOUT_LAB; out: WFPCALLOUT_RESULT */

#define IOCTL_WFPCALLOUT_PENDED       WFPCALLOUT_CTL(20) /* in: WFPCALLOUT_PENDED; out: WFPCALLOUT_RESULT (value = number of the oldest
                                                            operation that is put off; STATUS_IO_TIMEOUT: none came) */
#define IOCTL_WFPCALLOUT_COMPLETE     WFPCALLOUT_CTL(21) /* in: WFPCALLOUT_COMPLETE; out: WFPCALLOUT_RESULT (STATUS_NOT_FOUND: it is not
                                                            put off, or was completed) */

#define IOCTL_WFPCALLOUT_PLAY         WFPCALLOUT_CTL(40) /* in: WFPCALLOUT_PLAY; out: WFPCALLOUT_RESULT */

/* NTSTATUS of the WFP call that decided the request, beside a value. The IOCTL itself completes with STATUS_SUCCESS
 * whenever the request was well formed, so that informational codes such as STATUS_OBJECT_NAME_EXISTS survive. */
typedef struct WFPCALLOUT_RESULT {
    int32_t  status;
    uint32_t reserved;
    uint64_t value;
} WFPCALLOUT_RESULT;

/* What classifyFn does with traffic that a rule's filter matched. */
enum WFPCALLOUT_ACTION {
    WFPCALLOUT_ACTION_PERMIT = 1,          /* record, PERMIT */
    WFPCALLOUT_ACTION_BLOCK = 2,           /* record, BLOCK, clear FWPS_RIGHT_ACTION_WRITE */
    WFPCALLOUT_ACTION_CONTINUE = 3,        /* record, CONTINUE */
    WFPCALLOUT_ACTION_REDIRECT = 4,        /* ALE_CONNECT_REDIRECT: to new_addr:new_port, target_pid when local;
                                              ALE_BIND_REDIRECT: binds to new_addr:new_port (0 keeps) */
    WFPCALLOUT_ACTION_REINJECT = 5,        /* clone, BLOCK+ABSORB, inject the clone unchanged */
    WFPCALLOUT_ACTION_REPLACE = 6,         /* clone/copy, replace payload bytes `pattern` by `replacement` (equal length), inject */
    WFPCALLOUT_ACTION_REWRITE = 7,         /* copy, rewrite remote address/port to new_addr:new_port (0 keeps), fix checksums, inject */
    WFPCALLOUT_ACTION_FLOW_CONTEXT = 8,    /* ALE_FLOW_ESTABLISHED: associate a context for context_layer; PERMIT/CONTINUE */
    WFPCALLOUT_ACTION_SOFT_BLOCK = 9,      /* BLOCK without clearing the right */
    WFPCALLOUT_ACTION_HARD_PERMIT = 10,    /* PERMIT and clear the right */
    WFPCALLOUT_ACTION_ABSORB = 11,         /* BLOCK + ABSORB, nothing injected */
    WFPCALLOUT_ACTION_PEND = 20,           /* ALE_AUTH_CONNECT, ALE_AUTH_RECV_ACCEPT: FwpsPendOperation0, until it is completed */
    WFPCALLOUT_ACTION_PEND_CLASSIFY = 21,  /* ALE_CONNECT_REDIRECT, ALE_AUTH_CONNECT (refused): FwpsPendClassify0 */
    /* STREAM only; offsets count the bytes of a flow's direction as they are indicated to the rule's callout */
    WFPCALLOUT_ACTION_STREAM_NEED_MORE = 32, /* NEED_MORE_DATA until the first stream_length bytes are there */
    WFPCALLOUT_ACTION_STREAM_DEFER = 33,     /* inbound: DEFER the first data, continue from a work item (HOLD: by DRAIN) */
    WFPCALLOUT_ACTION_STREAM_REPLACE = 34,   /* inline: each `pattern`, also across segments, by `replacement` of any length */
    WFPCALLOUT_ACTION_STREAM_INSERT = 35,    /* inline: `replacement` at stream_offset */
    WFPCALLOUT_ACTION_STREAM_REMOVE = 36,    /* stream_length bytes from stream_offset on */
    WFPCALLOUT_ACTION_STREAM_REINJECT = 37,  /* out of band: clone and block all, inject from a work item; FIN as well. With
                                                `pattern`: a copy in which it is replaced, where it lies within one indication */
    WFPCALLOUT_ACTION_STREAM_DROP = 38,      /* DROP_CONNECTION; filter_action UNKNOWN */
    WFPCALLOUT_ACTION_STREAM_ALLOW = 39      /* ALLOW_CONNECTION */
};

enum WFPCALLOUT_RULE_FLAGS {
    WFPCALLOUT_RULE_FLOW_ASSOCIATE_TWICE = 0x01, /* call FwpsFlowAssociateContext0 a second time on the same flow */
    WFPCALLOUT_RULE_FLOW_ZERO_CONTEXT    = 0x02, /* ask for context 0 (refused: STATUS_INVALID_PARAMETER) */
    WFPCALLOUT_RULE_FLOW_NO_DELETE_FN    = 0x04, /* ask for the callout slot that has no flowDeleteFn (slot 1) */
    WFPCALLOUT_RULE_FORGET_PERMIT        = 0x08, /* REDIRECT: leave the action as AcquireWritable left it (BLOCK) */
    WFPCALLOUT_RULE_NO_REDIRECT_HANDLE   = 0x10, /* REDIRECT: leave localRedirectHandle NULL */
    WFPCALLOUT_RULE_IGNORE_STATE         = 0x20, /* act even on traffic the driver itself redirected or injected (bounded by max_hits) */
    WFPCALLOUT_RULE_SILENT               = 0x40, /* record no classify event */
    WFPCALLOUT_RULE_CLEAR_ACTION_RIGHT   = 0x80, /* FWPM_FILTER_FLAG_CLEAR_ACTION_RIGHT on the filter */
    WFPCALLOUT_RULE_NO_TARGET_PID        = 0x100,/* REDIRECT: leave localRedirectTargetPID 0 */
    WFPCALLOUT_RULE_HOLD                 = 0x200,/* REINJECT: keep the clone until the rule is removed or DRAIN is called; PEND,
                                                    PEND_CLASSIFY: DRAIN completes it, with a permit */
    WFPCALLOUT_RULE_PORT_RESERVATION     = 0x400,/* REDIRECT at ALE_BIND_REDIRECT: portReservationToken becomes `context`, so that
                                                    the socket's port comes from that reservation */
    WFPCALLOUT_RULE_SOFT_PERMIT          = 0x800,/* REDIRECT: give the right to decide back, which acquiring takes, so that a
                                                    lighter callout may redirect as well */
    WFPCALLOUT_RULE_PEND_REAUTHORIZE     = 0x10000, /* PEND: try it in a reauthorization too (refused: STATUS_FWP_CANNOT_PEND) */
    WFPCALLOUT_RULE_PEND_AT_ONCE         = 0x20000  /* PEND, PEND_CLASSIFY: a work item completes it as soon as it can, with a permit */
};

enum WFPCALLOUT_FILTER_ACTION { /* FWPM_ACTION0.type of the filter; 0 = CALLOUT_TERMINATING */
    WFPCALLOUT_FILTER_TERMINATING = 0,
    WFPCALLOUT_FILTER_INSPECTION = 1,
    WFPCALLOUT_FILTER_UNKNOWN = 2
};

typedef struct WFPCALLOUT_RULE {
    uint16_t layer;          /* FWPS_BUILTIN_LAYERS run-time id */
    uint8_t  action;         /* enum WFPCALLOUT_ACTION */
    uint8_t  slot;           /* 0: callout in sublayer A (heavier), 1: callout in sublayer B */
    uint8_t  filter_action;  /* enum WFPCALLOUT_FILTER_ACTION */
    uint8_t  weight;         /* FWP_UINT8 filter weight, 0..15 */
    uint8_t  protocol;       /* IPPROTO_*, 0 = any */
    uint8_t  family;         /* 4 or 6 */
    uint32_t flags;          /* enum WFPCALLOUT_RULE_FLAGS */
    uint32_t max_hits;       /* act this often, then permit; 0 = no limit */
    uint8_t  local_addr[16]; /* all zero = any */
    uint8_t  remote_addr[16];
    uint8_t  new_addr[16];
    uint16_t local_port;     /* 0 = any */
    uint16_t remote_port;
    uint16_t new_port;
    uint16_t context_layer;  /* FLOW_CONTEXT: layer id the context is associated for */
    uint32_t target_pid;     /* REDIRECT to a local process */
    uint16_t pattern_length;
    uint16_t replacement_length;
    uint8_t  pattern[64];
    uint8_t  replacement[64];
    uint64_t context;        /* REDIRECT: `context` of WFPCALLOUT_REDIRECT_CONTEXT, or the token of PORT_RESERVATION; FLOW_CONTEXT: nothing (the driver numbers them) */
    uint64_t stream_offset;
    uint32_t stream_length;
    uint32_t stream_direction; /* STREAM_*: 0 both, 1 outbound, 2 inbound; the other one is permitted */
} WFPCALLOUT_RULE;

/* What the driver leaves as localRedirectContext, so that a proxy knows where the client wanted to go. */
typedef struct WFPCALLOUT_REDIRECT_CONTEXT {
    uint64_t context;        /* of the rule */
    uint8_t  remote[128];    /* SOCKADDR_STORAGE: the destination before the redirection */
} WFPCALLOUT_REDIRECT_CONTEXT;

enum WFPCALLOUT_INJECT_PATH {
    WFPCALLOUT_INJECT_NETWORK_SEND = 1,     /* bytes = IP packet */
    WFPCALLOUT_INJECT_NETWORK_RECEIVE = 2,  /* bytes = IP packet */
    WFPCALLOUT_INJECT_TRANSPORT_SEND = 3,   /* bytes = transport header + payload; remote address in the structure */
    WFPCALLOUT_INJECT_TRANSPORT_RECEIVE = 4,/* bytes = IP packet */
    WFPCALLOUT_INJECT_MAC_SEND = 5,         /* bytes = Ethernet frame */
    WFPCALLOUT_INJECT_MAC_RECEIVE = 6,      /* bytes = Ethernet frame */
    WFPCALLOUT_INJECT_FORWARD = 7,          /* bytes = IP packet; interface_index = the one it is to leave by */
    /* not by IOCTL_WFPCALLOUT_INJECT; in events alone: */
    WFPCALLOUT_INJECT_STREAM = 16,          /* FwpsStreamInjectAsync0 */
    WFPCALLOUT_INJECT_STREAM_CONTINUE = 17  /* FwpsStreamContinue0 */
};

typedef struct WFPCALLOUT_INJECT {
    uint8_t  path;            /* enum WFPCALLOUT_INJECT_PATH */
    uint8_t  family;
    uint16_t length;          /* bytes that follow this structure */
    uint32_t interface_index; /* 0 = the test interface */
    uint8_t  local_addr[16];
    uint8_t  remote_addr[16];
} WFPCALLOUT_INJECT;

enum WFPCALLOUT_COMPLETION {
    WFPCALLOUT_COMPLETE_PERMIT = 1,   /* and its packet, if it had one, is injected */
    WFPCALLOUT_COMPLETE_BLOCK = 2,
    WFPCALLOUT_COMPLETE_REDIRECT = 3, /* PEND_CLASSIFY: permit, to new_addr:new_port */
    WFPCALLOUT_COMPLETE_AGAIN = 4     /* PEND_CLASSIFY: FwpsCompleteClassify0 without a classifyOut: classified again */
};

typedef struct WFPCALLOUT_PENDED {
    uint64_t rule;            /* 0 = any */
    uint32_t milliseconds;    /* to wait for one */
    uint32_t reserved;
} WFPCALLOUT_PENDED;

typedef struct WFPCALLOUT_COMPLETE {
    uint64_t number;          /* of the PEND event */
    uint8_t  action;          /* enum WFPCALLOUT_COMPLETION */
    uint8_t  reserved;
    uint16_t new_port;        /* of a redirection, as in WFPCALLOUT_RULE */
    uint32_t target_pid;
    uint8_t  new_addr[16];
    uint64_t context;
} WFPCALLOUT_COMPLETE;

/* Single WFP calls made on request, so that a scenario can see the documented status of each. */
enum WFPCALLOUT_LAB_OP {
    WFPCALLOUT_LAB_CALLOUT_REGISTER = 1,     /* key -> value = run-time id */
    WFPCALLOUT_LAB_CALLOUT_UNREGISTER = 2,   /* key */
    WFPCALLOUT_LAB_CALLOUT_ADD = 3,          /* key, layer -> value = id */
    WFPCALLOUT_LAB_CALLOUT_DELETE = 4,       /* key */
    WFPCALLOUT_LAB_SUBLAYER_ADD = 5,         /* key, weight */
    WFPCALLOUT_LAB_SUBLAYER_DELETE = 6,      /* key */
    WFPCALLOUT_LAB_FILTER_ADD = 7,           /* key = callout, key2 = sublayer (zero: default), layer, action, weight, conditions -> value = filter id */
    WFPCALLOUT_LAB_FILTER_DELETE = 8,        /* value = filter id */
    WFPCALLOUT_LAB_TXN_BEGIN = 9,
    WFPCALLOUT_LAB_TXN_COMMIT = 10,
    WFPCALLOUT_LAB_TXN_ABORT = 11,
    WFPCALLOUT_LAB_INJECTION_CREATE = 12,    /* family, action = FWPS_INJECTION_TYPE_* -> value = handle number */
    WFPCALLOUT_LAB_INJECTION_DESTROY = 13,   /* value = handle number */
    WFPCALLOUT_LAB_FLOW_REMOVE_CONTEXT = 14, /* value = flow id, layer, slot in `weight` */
    WFPCALLOUT_LAB_UNREGISTER_BUSY = 15,     /* layer, slot in `weight`: FwpsCalloutUnregisterById0 once; re-registered when it worked */
    WFPCALLOUT_LAB_RECREATE_INJECTION = 16,  /* destroy and create the driver's own injection handles (waits for pending ones) */
    WFPCALLOUT_LAB_CRASH = 17,               /* action = enum WFPCALLOUT_CRASH_PLACE: bugchecks the machine, there and then or later */
    WFPCALLOUT_LAB_FLOW_ABORT = 18,          /* value = flow id */
    WFPCALLOUT_LAB_HANG = 19                 /* action = enum WFPCALLOUT_CRASH_PLACE but BUGCHECK: never comes back from there */
};

enum WFPCALLOUT_CRASH_PLACE {
    WFPCALLOUT_CRASH_NOW = 1,      /* a bad pointer in the IOCTL, at PASSIVE_LEVEL */
    WFPCALLOUT_CRASH_DISPATCH = 2, /* a bad pointer under a spin lock */
    WFPCALLOUT_CRASH_BUGCHECK = 3, /* KeBugCheckEx(0xE2, 1, 2, 3, 4) */
    WFPCALLOUT_CRASH_CLASSIFY = 4, /* in the next classifyFn of a rule */
    WFPCALLOUT_CRASH_WORKER = 5,   /* when the work item next runs */
    WFPCALLOUT_CRASH_UNLOAD = 6    /* in DriverUnload */
};

typedef struct WFPCALLOUT_LAB {
    uint32_t op;             /* enum WFPCALLOUT_LAB_OP */
    uint16_t layer;
    uint16_t weight;
    uint32_t action;         /* FWP_ACTION_* of the filter, or FWPS_INJECTION_TYPE_* */
    uint32_t flags;          /* FWPM_*_FLAG_* */
    uint8_t  key[16];        /* GUID, as in memory on Windows */
    uint8_t  key2[16];
    uint8_t  local_addr[16];
    uint8_t  remote_addr[16];
    uint16_t local_port;
    uint16_t remote_port;
    uint8_t  protocol;
    uint8_t  family;
    uint16_t reserved;
    uint64_t value;
} WFPCALLOUT_LAB;

/* Sequences of steps: a small world of three sublayers, four callouts and eight filters, by their numbers. */
enum WFPCALLOUT_PLAY_OP {
    WFPCALLOUT_PLAY_RESET = 1,          /* everything as at the start; `redirected` */
    WFPCALLOUT_PLAY_STOP = 2,           /* nothing of it is left */
    WFPCALLOUT_PLAY_STEP = 3,           /* only records that a step is done which user mode did */
    WFPCALLOUT_PLAY_ADD_SUBLAYER = 4,   /* sublayer */
    WFPCALLOUT_PLAY_DELETE_SUBLAYER = 5,
    WFPCALLOUT_PLAY_ADD_CALLOUT = 6,    /* callout, place: CONNECT_REDIRECT, AUTH_CONNECT, FLOW_ESTABLISHED, OUTBOUND_TRANSPORT */
    WFPCALLOUT_PLAY_DELETE_CALLOUT = 7, /* callout */
    WFPCALLOUT_PLAY_REGISTER = 8,       /* callout, with flowDeleteFn, conditional on a flow context */
    WFPCALLOUT_PLAY_UNREGISTER = 9,     /* callout */
    WFPCALLOUT_PLAY_BEHAVE = 10,        /* callout, answer (permit, block, continue, none), clears the right, redirects */
    WFPCALLOUT_PLAY_ADD_FILTER = 11,    /* filter, place, sublayer, action (permit, block, terminating, inspection, unknown), callout,
                                           clear right, permit if unregistered, port (0 = any, else remote_port + this - 1) */
    WFPCALLOUT_PLAY_DELETE_FILTER = 12, /* filter */
    WFPCALLOUT_PLAY_BEGIN = 13,
    WFPCALLOUT_PLAY_COMMIT = 14,
    WFPCALLOUT_PLAY_ABORT = 15,
    WFPCALLOUT_PLAY_ASSOCIATE = 16,     /* local_port of the flow; n[1] place, n[2] callout, n[3] context below 16 */
    WFPCALLOUT_PLAY_REMOVE = 17,        /* local_port of the flow; n[1] place, n[2] callout */
    WFPCALLOUT_PLAY_CLOSED = 18         /* local_port of the flow whose socket was closed: waits n[0] ms for its contexts to go */
};

typedef struct WFPCALLOUT_PLAY {
    uint32_t op;             /* enum WFPCALLOUT_PLAY_OP */
    uint32_t step;           /* its number, for the event */
    uint32_t n[8];
    uint16_t local_port;
    uint16_t remote_port;
    uint8_t  redirected[4];  /* the n-th redirection goes to this IPv4 address plus n */
} WFPCALLOUT_PLAY;

enum WFPCALLOUT_EVENT_KIND {
    WFPCALLOUT_EVENT_CLASSIFY = 1,       /* a rule's callout was classified; action says what was decided */
    WFPCALLOUT_EVENT_REDIRECT = 2,       /* status of FwpsApplyModifiedLayerData path, new address in remote_* of `new_*` */
    WFPCALLOUT_EVENT_INJECT = 3,         /* an inject call was made; status = what it returned */
    WFPCALLOUT_EVENT_INJECT_COMPLETE = 4,/* completionFn ran; status = NetBufferList->Status */
    WFPCALLOUT_EVENT_FLOW_ASSOCIATE = 5, /* status of FwpsFlowAssociateContext0; value = context number */
    WFPCALLOUT_EVENT_FLOW_DELETE = 6,    /* flowDeleteFn; value = context number */
    WFPCALLOUT_EVENT_NOTIFY = 7,         /* notifyFn; value = notify type */
    WFPCALLOUT_EVENT_MARKER = 8,         /* DRAIN */
    WFPCALLOUT_EVENT_RULE_ADDED = 9,
    WFPCALLOUT_EVENT_RULE_REMOVED = 10,
    WFPCALLOUT_EVENT_SELF = 11,          /* own redirected or injected traffic recognised and permitted; value = state */
    WFPCALLOUT_EVENT_LAB = 12,           /* status of a LAB call */
    WFPCALLOUT_EVENT_LAB_CLASSIFY = 13,  /* classifyFn of a LAB callout; value = callout id */
    WFPCALLOUT_EVENT_PEND = 14,          /* status of FwpsPendOperation0 or FwpsPendClassify0; value = number of what is put off */
    WFPCALLOUT_EVENT_COMPLETE = 15,      /* about to be completed; action = how, 0 = to be classified again; value = its number */
    WFPCALLOUT_EVENT_PLAY_STEP = 16,     /* a step of WFPCALLOUT_PLAY is done: status; rule = its op, value = its number */
    WFPCALLOUT_EVENT_PLAY_CLASSIFY = 17, /* classifyFn of one of its callouts, value = which; rule = its redirection before */
    WFPCALLOUT_EVENT_PLAY_DELETED = 18   /* flowDeleteFn of one of its callouts, value = which; flow_context */
};

typedef struct WFPCALLOUT_EVENT {
    uint64_t seq;            /* from 1, never reused; gaps are counted in WFPCALLOUT_EVENTS.dropped */
    uint64_t time_100ns;     /* performance counter */
    uint8_t  kind;           /* enum WFPCALLOUT_EVENT_KIND */
    uint8_t  irql;           /* KeGetCurrentIrql at the event */
    uint16_t layer;
    int32_t  status;         /* NTSTATUS where the event has one */
    uint32_t action;         /* FWP_ACTION_* decided */
    uint32_t rights;         /* classifyOut->rights as it was on entry */
    uint64_t rule;
    uint64_t filter_id;
    uint64_t flow_id;        /* metadata flowHandle, 0 where absent */
    uint64_t flow_context;   /* as handed to classifyFn */
    uint64_t value;
    uint8_t  local_addr[16];
    uint8_t  remote_addr[16];
    uint8_t  new_addr[16];
    uint16_t local_port;
    uint16_t remote_port;
    uint16_t new_port;
    uint8_t  protocol;
    uint8_t  family;         /* 4 or 6, 0 where the event has no addresses */
    uint32_t process_id;     /* metadata processId, 0 where absent */
    uint32_t condition_flags;/* FWP_CONDITION_FLAG_* */
    uint32_t metadata;       /* currentMetadataValues */
    uint32_t data_length;    /* bytes in layerData at its data offset */
    uint8_t  injection_state;/* FWPS_PACKET_INJECTION_STATE + 1, 0 = not asked */
    uint8_t  redirect_state; /* FWPS_CONNECTION_REDIRECT_STATE + 1, 0 = not asked */
    uint8_t  slot;
    uint8_t  stream_action;  /* STREAM: FWPS_STREAM_ACTION_TYPE answered */
    uint32_t reauthorize_reason; /* FWP_CONDITION_REAUTHORIZE_REASON_*, 0 where it is no reauthorization */
    uint64_t stream_offset;  /* STREAM: where the indication began, as a rule of action STREAM_* counts */
    uint32_t stream_flags;   /* STREAM: FWPS_STREAM_FLAG_* indicated or injected */
    uint32_t stream_missed;  /* STREAM: missedBytes */
    uint32_t stream_enforced;/* STREAM: countBytesEnforced answered; with NEED_MORE_DATA countBytesRequired */
    uint32_t classify_flags; /* FWPS_CLASSIFY_OUT_FLAG_* on entry */
} WFPCALLOUT_EVENT;

/* {7D3A5B0E-5F5C-4F1B-9B8E-2F6C1D0A7E31}: under it the driver gives its last events for the dump of a crash, as
 * WFPCALLOUT_EVENTS and the events behind it (KbCallbackSecondaryDumpData). */
#define WFPCALLOUT_CRASH_DATA {0x7d3a5b0e, 0x5f5c, 0x4f1b, {0x9b, 0x8e, 0x2f, 0x6c, 0x1d, 0x0a, 0x7e, 0x31}}

typedef struct WFPCALLOUT_EVENTS {
    uint32_t count;
    uint32_t event_size;
    uint64_t dropped;        /* since the driver was loaded */
    uint64_t next_seq;
} WFPCALLOUT_EVENTS;

typedef struct WFPCALLOUT_STATS {
    uint64_t rules;
    uint64_t flow_contexts;       /* alive */
    uint64_t pending_injections;
    uint64_t held_clones;
    uint64_t injected;
    uint64_t inject_failed;
    uint64_t events;
    uint64_t events_dropped;
    uint64_t injection_handles;
    uint64_t redirect_handles;
    uint64_t pended;              /* put off and not completed */
} WFPCALLOUT_STATS;

#if defined(_MSC_VER) || defined(__GNUC__)
#define WFPCALLOUT_SIZE(t, n) typedef char t##_SIZE_ASSERT[(sizeof(t) == (n)) ? 1 : -1]
WFPCALLOUT_SIZE(WFPCALLOUT_RESULT, 16);
WFPCALLOUT_SIZE(WFPCALLOUT_RULE, 232);
WFPCALLOUT_SIZE(WFPCALLOUT_REDIRECT_CONTEXT, 136);
WFPCALLOUT_SIZE(WFPCALLOUT_INJECT, 40);
WFPCALLOUT_SIZE(WFPCALLOUT_LAB, 96);
WFPCALLOUT_SIZE(WFPCALLOUT_EVENT, 176);
WFPCALLOUT_SIZE(WFPCALLOUT_EVENTS, 24);
WFPCALLOUT_SIZE(WFPCALLOUT_STATS, 88);
WFPCALLOUT_SIZE(WFPCALLOUT_PENDED, 16);
WFPCALLOUT_SIZE(WFPCALLOUT_COMPLETE, 40);
WFPCALLOUT_SIZE(WFPCALLOUT_PLAY, 48);
#endif

#endif /* WFPCALLOUT_IOCTL_H */

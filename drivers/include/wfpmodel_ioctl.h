/*
 * The control device of the reference guest's filter engine, \\.\WfpModel. The guest's Winsock (vm-images/reference/winsock)
 * asks here before it binds, listens and connects; whoever wants may ask what passed through the engine. It does not
 * exist on Windows.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef WFPMODEL_IOCTL_H
#define WFPMODEL_IOCTL_H

#include <stdint.h>

#define WFPMODEL_NT_DEVICE_NAME    L"\\Device\\WfpModel"
#define WFPMODEL_DOS_DEVICE_NAME   L"\\DosDevices\\WfpModel"
#define WFPMODEL_WIN32_DEVICE_NAME L"\\\\.\\WfpModel"

/* CTL_CODE(FILE_DEVICE_NETWORK, 0x900 + n, METHOD_BUFFERED, FILE_ANY_ACCESS) */
#define WFPMODEL_CTL(n) ((unsigned int)((0x12u << 16) | ((0x900u + (n)) << 2)))

#define IOCTL_WFPMODEL_STATS     WFPMODEL_CTL(0) /* out: WFPMODEL_STATS */
#define IOCTL_WFPMODEL_CALL      WFPMODEL_CTL(4) /* in: WFPMODEL_CALL + bytes; out: WFPMODEL_ANSWER + bytes */
#define IOCTL_WFPMODEL_NOT_READY WFPMODEL_CTL(8) /* in: uint32_t; so many of the next injection calls: TCP/IP is not ready */
#define IOCTL_WFPMODEL_ENGINE    WFPMODEL_CTL(16) /* in: one uint32_t of the two below; returns when it is done */
#define IOCTL_WFPMODEL_MANAGE    WFPMODEL_CTL(17) /* fwpuclnt.dll's: manage.h of the model */
#define IOCTL_WFPMODEL_MANAGEMENT WFPMODEL_CTL(24) /* from now on the management network passes the engine */
#define IOCTL_WFPMODEL_STATE     WFPMODEL_CTL(40) /* out: WFPMODEL_STATE, its callouts, as many of its flows as there is room for */

#define WFPMODEL_ENGINE_STOP  0u /* as if the service BFE were stopped */
#define WFPMODEL_ENGINE_START 1u

enum WFPMODEL_OP {
    WFPMODEL_BIND = 1,          /* before bind: BIND_REDIRECT, RESOURCE_ASSIGNMENT; answers where to bind, port included */
    WFPMODEL_UNBIND = 2,        /* what BIND permitted did not come about */
    WFPMODEL_LISTEN = 3,        /* before listen: AUTH_LISTEN */
    WFPMODEL_CONNECT = 4,       /* before a TCP connect: CONNECT_REDIRECT, AUTH_CONNECT; answers where to connect */
    WFPMODEL_DATAGRAM = 5,      /* before a UDP datagram, whose bytes follow: the same, FLOW_ESTABLISHED */
    WFPMODEL_CLOSE = 6,         /* after closesocket: ENDPOINT_CLOSURE, RESOURCE_RELEASE */
    WFPMODEL_SET_RECORDS = 7,   /* bytes: redirect records for what the socket connects to; none: no more */
    WFPMODEL_QUERY_RECORDS = 8, /* by the addresses of an accepted socket */
    WFPMODEL_QUERY_CONTEXT = 9,
    WFPMODEL_PROMISCUOUS = 10,  /* before SIO_RCVALL and its like, value: RESOURCE_ASSIGNMENT */
    WFPMODEL_TAKE_RECORDS = 11, /* of the datagram that made a flow, by its addresses at the proxy, once: records, then context */
    /* Port reservations, by protocol, from local_port on, `value` ports; a token is eight bytes behind call or answer. */
    WFPMODEL_ACQUIRE_PORTS = 12,   /* a socket's runtime reservation; local_port 0: any; answers local_port, token */
    WFPMODEL_ASSOCIATE_PORTS = 13, /* token: the block that the socket's port is to come from */
    WFPMODEL_RELEASE_PORTS = 14,   /* token */
    WFPMODEL_CREATE_PORTS = 15,    /* nobody's socket: persistent; answers the token. This and the next two: Windows errors */
    WFPMODEL_LOOK_UP_PORTS = 16,   /* the same; answers the token */
    WFPMODEL_DELETE_PORTS = 17     /* the same */
};

enum WFPMODEL_CALL_FLAGS {
    WFPMODEL_IMPLICIT = 1, /* BIND: the program did not ask for it */
    WFPMODEL_RAW = 2       /* a raw socket */
};

/* A socket; addresses in network byte order, IPv4 in the first four bytes; ports in host byte order. */
typedef struct WFPMODEL_CALL {
    uint32_t op;         /* enum WFPMODEL_OP */
    uint32_t process_id;
    uint64_t endpoint;   /* as answered by an earlier call for the socket; 0: none yet */
    uint8_t  family;     /* 2 or 23, of local and remote */
    uint8_t  protocol;   /* IPPROTO_* */
    uint8_t  flags;      /* enum WFPMODEL_CALL_FLAGS */
    uint8_t  reserved;
    uint16_t local_port;
    uint16_t remote_port;
    uint8_t  local[16];
    uint8_t  remote[16];
    uint32_t value;      /* PROMISCUOUS: the control code; of port reservations: how many ports */
    uint32_t size;       /* QUERY: bytes that the caller has room for */
} WFPMODEL_CALL;

typedef struct WFPMODEL_ANSWER {
    uint64_t endpoint;
    int32_t  error;      /* for WSASetLastError, 0 = go on */
    uint32_t length;     /* QUERY: of the bytes that follow, or would with more room */
    uint16_t local_port; /* BIND, ACQUIRE_PORTS */
    uint16_t remote_port;/* CONNECT */
    uint8_t  family;
    uint8_t  swallowed;  /* DATAGRAM: a callout has taken it: nothing is to be sent */
    uint16_t context_length; /* TAKE_RECORDS: of the bytes behind the records */
    uint8_t  local[16];
    uint8_t  remote[16];
} WFPMODEL_ANSWER;

typedef char WFPMODEL_CALL_SIZE_ASSERT[sizeof(WFPMODEL_CALL) == 64 ? 1 : -1];
typedef char WFPMODEL_ANSWER_SIZE_ASSERT[sizeof(WFPMODEL_ANSWER) == 56 ? 1 : -1];

typedef struct WFPMODEL_STATS {
    uint64_t frames_out, frames_in;   /* read from the TAP, from the test NIC */
    uint64_t passed_out, passed_in;   /* IP packets that every layer let through */
    uint64_t dropped_out, dropped_in; /* blocked at some layer */
    uint64_t classifies;              /* calls of classifyFn */
    uint64_t flows_made, flows_ended;
    uint64_t injected;
    uint64_t misuse;                  /* contract violations by drivers, each named on the serial port */
    uint64_t passed_through;          /* frames that are no IP packets */
    uint64_t flows;                   /* now */
    uint64_t running;                 /* 1 = between TAP and test NIC */
} WFPMODEL_STATS;

enum { WFPMODEL_STATE_BYTES = 1 << 18 };
typedef struct WFPMODEL_STATE {
    uint32_t callouts;  /* that follow: the registered ones */
    uint32_t flows;     /* that follow them */
    uint32_t all_flows; /* there were */
    uint32_t reserved;
} WFPMODEL_STATE;

typedef struct WFPMODEL_CALLOUT {
    uint8_t  key[16];
    uint32_t number;   /* calloutId */
    uint32_t version;  /* n of FwpsCalloutRegister<n> */
    uint32_t contexts; /* flow contexts that are associated for it */
    uint32_t running;  /* of its functions, now */
    char     module[32]; /* that its classifyFn lies in; no zero where it is as long as that */
} WFPMODEL_CALLOUT;

enum WFPMODEL_FLOW_FLAGS {
    WFPMODEL_FLOW_OUTBOUND = 1,
    WFPMODEL_FLOW_ESTABLISHED = 2,
    WFPMODEL_FLOW_REDIRECTED = 4,
    WFPMODEL_FLOW_PENDED = 8 /* a callout has put its authorization off */
};
typedef struct WFPMODEL_FLOW {
    uint64_t number;
    uint8_t  local[16], remote[16], original[16]; /* as in WFPMODEL_SOCKET; original: before a redirection */
    uint16_t local_port, remote_port, original_port;
    uint8_t  protocol, flags;
    uint32_t contexts, process_id;
} WFPMODEL_FLOW;

#endif

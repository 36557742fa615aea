/*
 * The control device of the reference guest's filter engine, \\.\WfpModel. It stands in for the Winsock controls
 * SIO_QUERY_WFP_CONNECTION_REDIRECT_RECORDS / _CONTEXT and SIO_SET_WFP_CONNECTION_REDIRECT_RECORDS, which Wine's
 * Winsock does not know, and tells what passed through the engine. It does not exist on Windows.
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

#define IOCTL_WFPMODEL_STATS         WFPMODEL_CTL(0) /* out: WFPMODEL_STATS */
#define IOCTL_WFPMODEL_QUERY_RECORDS WFPMODEL_CTL(1) /* in: WFPMODEL_SOCKET (accepted); out: bytes */
#define IOCTL_WFPMODEL_QUERY_CONTEXT WFPMODEL_CTL(2) /* in: WFPMODEL_SOCKET (accepted); out: bytes */
#define IOCTL_WFPMODEL_SET_RECORDS   WFPMODEL_CTL(3) /* in: WFPMODEL_SOCKET + bytes: for the next connect from local_port */
#define IOCTL_WFPMODEL_NOT_READY     WFPMODEL_CTL(8) /* in: uint32_t; so many of the next injection calls: TCP/IP is not ready */
#define IOCTL_WFPMODEL_ENGINE        WFPMODEL_CTL(16) /* in: one uint32_t of the two below; returns when it is done */
#define IOCTL_WFPMODEL_MANAGE        WFPMODEL_CTL(17) /* fwpuclnt.dll's: manage.h of the model */
#define IOCTL_WFPMODEL_STATE         WFPMODEL_CTL(40) /* out: WFPMODEL_STATE, its callouts, as many of its flows as there is room for */

#define WFPMODEL_ENGINE_STOP  0u /* as if the service BFE were stopped */
#define WFPMODEL_ENGINE_START 1u

/* A socket by its addresses as getsockname and getpeername tell them: IPv6 addresses in network byte order, IPv4 ones as
 * ::ffff:a.b.c.d; ports in host byte order. QUERY on a connection that was not redirected fails with STATUS_NOT_FOUND
 * (ERROR_NOT_FOUND); a small buffer with STATUS_BUFFER_TOO_SMALL. */
typedef struct WFPMODEL_SOCKET {
    uint8_t  local_address[16];
    uint8_t  remote_address[16];
    uint16_t local_port;
    uint16_t remote_port;
    uint8_t  protocol; /* 6 or 17 */
    uint8_t  reserved[3];
} WFPMODEL_SOCKET;

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

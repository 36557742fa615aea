/*
 * Types below WFP that the kit takes from its shared headers (ws2def.h, ifdef.h, ndis/types.h) and that mingw-w64
 * declares for user mode only. Included by the generated headers beside it, after <ntddk.h> or <ntifs.h>.
 *
 * A module that implements the functions instead of importing them defines WFP_ABI_IMPLEMENTATION first.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef WFP_ABI_BASE
#define WFP_ABI_BASE

#include <ddk/ntddk.h>

#ifdef WFP_ABI_IMPLEMENTATION
#define WFP_ABI_IMPORT
#else
#define WFP_ABI_IMPORT __declspec(dllimport)
#endif

typedef unsigned long DWORD;
typedef struct _SID SID;
typedef struct _SID_AND_ATTRIBUTES *PSID_AND_ATTRIBUTES;
typedef int INT;
typedef USHORT ADDRESS_FAMILY;
typedef ULONG IF_INDEX;
typedef ULONG NET_IFINDEX;
typedef UINT32 COMPARTMENT_ID;
typedef COMPARTMENT_ID *PCOMPARTMENT_ID;
typedef ULONG NDIS_PORT_NUMBER;
typedef UINT32 NDIS_SWITCH_PORT_ID;
typedef USHORT NDIS_SWITCH_NIC_INDEX;
typedef PVOID NDIS_HANDLE, *PNDIS_HANDLE;
typedef int NDIS_STATUS;
typedef struct NET_BUFFER_SHARED_MEMORY_ NET_BUFFER_SHARED_MEMORY;

typedef enum {
    IPPROTO_HOPOPTS = 0, IPPROTO_ICMP = 1, IPPROTO_IGMP = 2, IPPROTO_IPV4 = 4, IPPROTO_TCP = 6, IPPROTO_UDP = 17,
    IPPROTO_IPV6 = 41, IPPROTO_ROUTING = 43, IPPROTO_FRAGMENT = 44, IPPROTO_ESP = 50, IPPROTO_AH = 51,
    IPPROTO_ICMPV6 = 58, IPPROTO_NONE = 59, IPPROTO_DSTOPTS = 60, IPPROTO_RAW = 255, IPPROTO_MAX = 256
} IPPROTO;

#ifndef AF_INET
#define AF_UNSPEC 0
#define AF_INET 2
#define AF_INET6 23
#endif

#define UNSPECIFIED_COMPARTMENT_ID ((COMPARTMENT_ID)0)
#define DEFAULT_COMPARTMENT_ID ((COMPARTMENT_ID)1)

typedef struct in_addr {
    union {
        struct { UCHAR s_b1, s_b2, s_b3, s_b4; } S_un_b;
        struct { USHORT s_w1, s_w2; } S_un_w;
        ULONG S_addr;
    } S_un;
} IN_ADDR, *PIN_ADDR;
#define s_addr S_un.S_addr

typedef struct in6_addr {
    union {
        UCHAR Byte[16];
        USHORT Word[8];
    } u;
} IN6_ADDR, *PIN6_ADDR;

typedef struct SCOPE_ID_ {
    union {
        struct { ULONG Zone : 28; ULONG Level : 4; };
        ULONG Value;
    };
} SCOPE_ID, *PSCOPE_ID;

typedef union NET_LUID_ {
    ULONG64 Value;
    struct { ULONG64 Reserved : 24; ULONG64 NetLuidIndex : 24; ULONG64 IfType : 16; } Info;
} NET_LUID, *PNET_LUID;
typedef NET_LUID IF_LUID, *PIF_LUID;

typedef struct WSACMSGHDR_ {
    SIZE_T cmsg_len;
    INT cmsg_level;
    INT cmsg_type;
} WSACMSGHDR, *PWSACMSGHDR;

typedef struct NDIS_OBJECT_HEADER_ {
    UCHAR Type;
    UCHAR Revision;
    USHORT Size;
} NDIS_OBJECT_HEADER, *PNDIS_OBJECT_HEADER;

typedef UINT32 FWP_ACTION_TYPE;

#endif

/*
 * The binary interface between the model and drivers: kernel-side WFP and NDIS structures as a driver
 * sees them on x64. User-mode WFP types that mingw-w64 already has (FWPM_*, FWP_*) come from its headers.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MODEL_ABI_H
#define MODEL_ABI_H

#define WIN32_LEAN_AND_MEAN
#define WIN32_NO_STATUS
#include <winsock2.h>
#include <ws2ipdef.h>
#include <windows.h>
#include <fwpmtypes.h>
#undef WIN32_NO_STATUS
#include <ntstatus.h>
#include <stddef.h>
#include <stdint.h>

#ifndef NT_SUCCESS
typedef LONG NTSTATUS;
#define NT_SUCCESS(s) ((NTSTATUS)(s) >= 0)
#endif

#define STATUS_ASSERT_SIZE(type, n) _Static_assert(sizeof(type) == (n), #type " has the wrong size")
#define ASSERT_AT(type, member, n) _Static_assert(offsetof(type, member) == (n), #type "." #member " is misplaced")

#ifndef STATUS_FWP_ALREADY_EXISTS
#error "ntstatus.h lacks the STATUS_FWP codes"
#endif

enum {
    ACTION_BLOCK = 0x1001,
    ACTION_PERMIT = 0x1002,
    ACTION_CALLOUT_TERMINATING = 0x5003,
    ACTION_CALLOUT_INSPECTION = 0x6004,
    ACTION_CALLOUT_UNKNOWN = 0x4005,
    ACTION_CONTINUE = 0x2006,
    ACTION_NONE = 7,
    ACTION_FLAG_CALLOUT = 0x4000,
    ACTION_FLAG_TERMINATING = 0x1000,
};

enum { RIGHT_ACTION_WRITE = 1 };
enum { OUT_FLAG_ABSORB = 1, OUT_FLAG_BUFFER_LIMIT_REACHED = 2, OUT_FLAG_NO_MORE_DATA = 4 };

enum layer_id {
    LAYER_INBOUND_IPPACKET_V4 = 0,
    LAYER_INBOUND_IPPACKET_V6 = 2,
    LAYER_OUTBOUND_IPPACKET_V4 = 4,
    LAYER_OUTBOUND_IPPACKET_V6 = 6,
    LAYER_IPFORWARD_V4 = 8,
    LAYER_INBOUND_TRANSPORT_V4 = 12,
    LAYER_INBOUND_TRANSPORT_V6 = 14,
    LAYER_OUTBOUND_TRANSPORT_V4 = 16,
    LAYER_OUTBOUND_TRANSPORT_V6 = 18,
    LAYER_STREAM_V4 = 20,
    LAYER_STREAM_V6 = 22,
    LAYER_DATAGRAM_DATA_V4 = 24,
    LAYER_DATAGRAM_DATA_V6 = 26,
    LAYER_INBOUND_ICMP_ERROR_V4 = 28,
    LAYER_INBOUND_ICMP_ERROR_V6 = 30,
    LAYER_OUTBOUND_ICMP_ERROR_V4 = 32,
    LAYER_OUTBOUND_ICMP_ERROR_V6 = 34,
    LAYER_ALE_RESOURCE_ASSIGNMENT_V4 = 36,
    LAYER_ALE_AUTH_LISTEN_V4 = 40,
    LAYER_ALE_AUTH_RECV_ACCEPT_V4 = 44,
    LAYER_ALE_AUTH_RECV_ACCEPT_V6 = 46,
    LAYER_ALE_AUTH_CONNECT_V4 = 48,
    LAYER_ALE_AUTH_CONNECT_V6 = 50,
    LAYER_ALE_FLOW_ESTABLISHED_V4 = 52,
    LAYER_ALE_FLOW_ESTABLISHED_V6 = 54,
    LAYER_INBOUND_MAC_FRAME_ETHERNET = 56,
    LAYER_OUTBOUND_MAC_FRAME_ETHERNET = 57,
    LAYER_INBOUND_MAC_FRAME_NATIVE = 58,
    LAYER_OUTBOUND_MAC_FRAME_NATIVE = 59,
    LAYER_ALE_RESOURCE_RELEASE_V4 = 62,
    LAYER_ALE_ENDPOINT_CLOSURE_V4 = 64,
    LAYER_ALE_CONNECT_REDIRECT_V4 = 66,
    LAYER_ALE_CONNECT_REDIRECT_V6 = 67,
    LAYER_ALE_BIND_REDIRECT_V4 = 68,
    LAYER_ALE_BIND_REDIRECT_V6 = 69,
};

enum metadata_bit {
    META_DISCARD_REASON = 0x1,
    META_FLOW_HANDLE = 0x2,
    META_IP_HEADER_SIZE = 0x4,
    META_PROCESS_PATH = 0x8,
    META_PROCESS_ID = 0x20,
    META_SYSTEM_FLAGS = 0x40,
    META_TRANSPORT_HEADER_SIZE = 0x400,
    META_COMPARTMENT_ID = 0x800,
    META_COMPLETION_HANDLE = 0x4000,
    META_TRANSPORT_ENDPOINT_HANDLE = 0x8000,
    META_REMOTE_SCOPE_ID = 0x20000,
    META_PACKET_DIRECTION = 0x40000,
    META_ALE_CLASSIFY_REQUIRED = 0x400000,
    META_PARENT_ENDPOINT_HANDLE = 0x4000000,
    META_ICMP_ID_AND_SEQUENCE = 0x8000000,
    META_LOCAL_REDIRECT_TARGET_PID = 0x10000000,
    META_ORIGINAL_DESTINATION = 0x20000000,
    META_REDIRECT_RECORD_HANDLE = 0x40000000,
};

enum condition_flag {
    FLAG_IS_LOOPBACK = 0x1,
    FLAG_IS_REAUTHORIZE = 0x4,
    FLAG_IS_WILDCARD_BIND = 0x8,
    FLAG_IS_RAW_ENDPOINT = 0x10,
    FLAG_IS_FRAGMENT = 0x20,
    FLAG_REQUIRES_ALE_CLASSIFY = 0x100,
    FLAG_IS_REASSEMBLED = 0x400,
    FLAG_IS_IMPLICIT_BIND = 0x200,
    FLAG_IS_CONNECTION_REDIRECTED = 0x100000,
    FLAG_IS_PROXY_CONNECTION = 0x200000,
};

enum callout_flag {
    CALLOUT_CONDITIONAL_ON_FLOW = 0x1,
    CALLOUT_ENABLE_COMMIT_ADD_NOTIFY = 0x4,
    CALLOUT_ALLOW_MID_STREAM_INSPECTION = 0x8,
    CALLOUT_M_PERSISTENT = 0x10000,
    CALLOUT_M_USES_PROVIDER_CONTEXT = 0x20000,
    CALLOUT_M_REGISTERED = 0x40000,
};

enum injection_type { INJECT_STREAM = 1, INJECT_TRANSPORT = 2, INJECT_NETWORK = 4, INJECT_FORWARD = 8, INJECT_L2 = 16 };

typedef struct MDL {
    struct MDL *Next;
    SHORT Size;
    SHORT MdlFlags;
    void *Process;
    void *MappedSystemVa;
    void *StartVa;
    ULONG ByteCount;
    ULONG ByteOffset;
} MDL;
STATUS_ASSERT_SIZE(MDL, 48);

enum { MDL_MAPPED = 0x1, MDL_NONPAGED = 0x4, MDL_MODEL_OWNED = 0x4000, MDL_MODEL_REBUILT = 0x2000 };

typedef struct NET_BUFFER {
    struct NET_BUFFER *Next;
    MDL *CurrentMdl;
    ULONG CurrentMdlOffset;
    ULONG Padding0;
    ULONG DataLength;
    ULONG Padding1;
    MDL *MdlChain;
    ULONG DataOffset;
    ULONG Padding2;
    USHORT ChecksumBias;
    USHORT Reserved;
    HANDLE NdisPoolHandle;
    void *NdisReserved[2];
    void *ProtocolReserved[6];
    void *MiniportReserved[4];
    uint64_t DataPhysicalAddress;
    void *SharedMemoryInfo;
} NET_BUFFER;
STATUS_ASSERT_SIZE(NET_BUFFER, 176);
ASSERT_AT(NET_BUFFER, DataOffset, 40);
ASSERT_AT(NET_BUFFER, NdisPoolHandle, 56);

typedef struct NET_BUFFER_LIST {
    struct NET_BUFFER_LIST *Next;
    NET_BUFFER *FirstNetBuffer;
    void *Context;
    struct NET_BUFFER_LIST *ParentNetBufferList;
    HANDLE NdisPoolHandle;
    void *Padding0;
    void *NdisReserved[2];
    void *ProtocolReserved[4];
    void *MiniportReserved[2];
    void *Scratch;
    HANDLE SourceHandle;
    ULONG NblFlags;
    LONG ChildRefCount;
    ULONG Flags;
    LONG Status;
    void *NetBufferListInfo[28];
} NET_BUFFER_LIST;
STATUS_ASSERT_SIZE(NET_BUFFER_LIST, 368);
ASSERT_AT(NET_BUFFER_LIST, NdisReserved, 48);
ASSERT_AT(NET_BUFFER_LIST, ChildRefCount, 132);
ASSERT_AT(NET_BUFFER_LIST, NetBufferListInfo, 144);

typedef struct FWPS_INCOMING_VALUE0 {
    FWP_VALUE0 value;
} FWPS_INCOMING_VALUE0;
typedef struct FWPS_INCOMING_VALUES0 {
    UINT16 layerId;
    UINT32 valueCount;
    FWPS_INCOMING_VALUE0 *incomingValue;
} FWPS_INCOMING_VALUES0;
STATUS_ASSERT_SIZE(FWPS_INCOMING_VALUES0, 16);

typedef struct FWPS_INCOMING_METADATA_VALUES0 {
    UINT32 currentMetadataValues;
    UINT32 flags;
    UINT64 reserved;
    struct {
        UINT32 discardModule;
        UINT32 discardReason;
        UINT64 filterId;
    } discardMetadata;
    UINT64 flowHandle;
    UINT32 ipHeaderSize;
    UINT32 transportHeaderSize;
    FWP_BYTE_BLOB *processPath;
    UINT64 token;
    UINT64 processId;
    UINT32 sourceInterfaceIndex;
    UINT32 destinationInterfaceIndex;
    ULONG compartmentId;
    UINT32 fragmentMetadata[3];
    ULONG pathMtu;
    HANDLE completionHandle;
    UINT64 transportEndpointHandle;
    UINT32 remoteScopeId;
    void *controlData;
    ULONG controlDataLength;
    UINT32 packetDirection;
    void *headerIncludeHeader;
    ULONG headerIncludeHeaderLength;
    UINT32 destinationPrefix[8];
    UINT16 frameLength;
    UINT64 parentEndpointHandle;
    UINT32 icmpIdAndSequence;
    DWORD localRedirectTargetPID;
    SOCKADDR *originalDestination;
    HANDLE redirectRecords;
    UINT32 currentL2MetadataValues;
    UINT32 l2Flags;
    UINT32 ethernetMacHeaderSize;
    UINT32 wiFiOperationMode;
    UINT32 vSwitchSourcePortId;
    UINT16 vSwitchSourceNicIndex;
    UINT32 vSwitchDestinationPortId;
    HANDLE vSwitchPacketContext;
    void *subProcessTag;
    UINT64 reserved1;
} FWPS_INCOMING_METADATA_VALUES0;
STATUS_ASSERT_SIZE(FWPS_INCOMING_METADATA_VALUES0, 280);
ASSERT_AT(FWPS_INCOMING_METADATA_VALUES0, localRedirectTargetPID, 204);
ASSERT_AT(FWPS_INCOMING_METADATA_VALUES0, redirectRecords, 216);
ASSERT_AT(FWPS_INCOMING_METADATA_VALUES0, completionHandle, 104);
ASSERT_AT(FWPS_INCOMING_METADATA_VALUES0, parentEndpointHandle, 192);

typedef struct FWPS_CLASSIFY_OUT0 {
    UINT32 actionType;
    UINT64 outContext;
    UINT64 filterId;
    UINT32 rights;
    UINT32 flags;
    UINT32 reserved;
} FWPS_CLASSIFY_OUT0;
STATUS_ASSERT_SIZE(FWPS_CLASSIFY_OUT0, 40);

typedef struct FWPS_FILTER_CONDITION0 {
    UINT16 fieldId;
    UINT16 reserved;
    FWP_MATCH_TYPE matchType;
    FWP_CONDITION_VALUE0 conditionValue;
} FWPS_FILTER_CONDITION0;
STATUS_ASSERT_SIZE(FWPS_FILTER_CONDITION0, 24);

typedef struct FWPS_FILTER1 {
    UINT64 filterId;
    FWP_VALUE0 weight;
    UINT16 subLayerWeight;
    UINT16 flags;
    UINT32 numFilterConditions;
    FWPS_FILTER_CONDITION0 *filterCondition;
    struct {
        UINT32 type;
        UINT32 calloutId;
    } action;
    UINT64 context;
    void *providerContext;
} FWPS_FILTER1;
STATUS_ASSERT_SIZE(FWPS_FILTER1, 64);

typedef void(NTAPI *CLASSIFY_FN1)(const FWPS_INCOMING_VALUES0 *, const FWPS_INCOMING_METADATA_VALUES0 *, void *layer_data,
                                  const void *classify_context, const FWPS_FILTER1 *, UINT64 flow_context,
                                  FWPS_CLASSIFY_OUT0 *);
typedef void(NTAPI *CLASSIFY_FN0)(const FWPS_INCOMING_VALUES0 *, const FWPS_INCOMING_METADATA_VALUES0 *, void *layer_data,
                                  const FWPS_FILTER1 *, UINT64 flow_context, FWPS_CLASSIFY_OUT0 *);
typedef NTSTATUS(NTAPI *NOTIFY_FN)(UINT32 type, const GUID *filter_key, FWPS_FILTER1 *);
typedef void(NTAPI *FLOW_DELETE_FN)(UINT16 layer, UINT32 callout, UINT64 flow_context);
typedef void(NTAPI *INJECT_COMPLETE)(void *context, NET_BUFFER_LIST *, BOOLEAN dispatch_level);

typedef struct FWPS_CALLOUT {
    GUID calloutKey;
    UINT32 flags;
    void *classifyFn;
    NOTIFY_FN notifyFn;
    FLOW_DELETE_FN flowDeleteFn;
} FWPS_CALLOUT;
STATUS_ASSERT_SIZE(FWPS_CALLOUT, 48);

typedef struct FWPS_CONNECT_REQUEST0 {
    SOCKADDR_STORAGE localAddressAndPort;
    SOCKADDR_STORAGE remoteAddressAndPort;
    UINT64 portReservationToken;
    DWORD localRedirectTargetPID;
    struct FWPS_CONNECT_REQUEST0 *previousVersion;
    UINT64 modifierFilterId;
    HANDLE localRedirectHandle;
    void *localRedirectContext;
    SIZE_T localRedirectContextSize;
} FWPS_CONNECT_REQUEST0;
STATUS_ASSERT_SIZE(FWPS_CONNECT_REQUEST0, 312);

typedef struct FWPS_BIND_REQUEST0 {
    SOCKADDR_STORAGE localAddressAndPort;
    UINT64 portReservationToken;
    struct FWPS_BIND_REQUEST0 *previousVersion;
    UINT64 modifierFilterId;
} FWPS_BIND_REQUEST0;
STATUS_ASSERT_SIZE(FWPS_BIND_REQUEST0, 152);

typedef struct FWPS_STREAM_DATA0 {
    UINT32 flags;
    struct {
        NET_BUFFER_LIST *netBufferList;
        NET_BUFFER *netBuffer;
        MDL *mdl;
        UINT32 mdlOffset;
        UINT32 netBufferOffset;
        UINT64 streamDataOffset;
    } dataOffset;
    SIZE_T dataLength;
    NET_BUFFER_LIST *netBufferListChain;
} FWPS_STREAM_DATA0;
STATUS_ASSERT_SIZE(FWPS_STREAM_DATA0, 64);

typedef struct FWPS_STREAM_CALLOUT_IO_PACKET0 {
    FWPS_STREAM_DATA0 *streamData;
    SIZE_T missedBytes;
    UINT32 countBytesRequired;
    SIZE_T countBytesEnforced;
    UINT32 streamAction;
} FWPS_STREAM_CALLOUT_IO_PACKET0;
STATUS_ASSERT_SIZE(FWPS_STREAM_CALLOUT_IO_PACKET0, 40);

typedef struct FWPS_TRANSPORT_SEND_PARAMS1 {
    UCHAR *remoteAddress;
    UINT32 remoteScopeId;
    void *controlData;
    ULONG controlDataLength;
    UCHAR *headerIncludeHeader;
    ULONG headerIncludeHeaderLength;
} FWPS_TRANSPORT_SEND_PARAMS1;
STATUS_ASSERT_SIZE(FWPS_TRANSPORT_SEND_PARAMS1, 48);

#endif

/* Written by drivers/include/generate.py from harness/wfp/data; do not edit. SPDX-License-Identifier: MIT */
#ifndef WFP_ABI_FWPSK
#define WFP_ABI_FWPSK

#include "fwpstypes.h"

typedef struct IPSEC_VIRTUAL_IF_TUNNEL_INFO0_ IPSEC_VIRTUAL_IF_TUNNEL_INFO0;
WFP_ABI_IMPORT NTSTATUS NTAPI FwpsAcquireClassifyHandle0(void * classifyContext, UINT32 flags, UINT64 * classifyHandle);
WFP_ABI_IMPORT NTSTATUS NTAPI FwpsAcquireWritableLayerDataPointer0(UINT64 classifyHandle, UINT64 filterId, UINT32 flags, PVOID * writableLayerData, FWPS_CLASSIFY_OUT0 * classifyOut);
WFP_ABI_IMPORT NTSTATUS NTAPI FwpsAleEndpointCreateEnumHandle0(HANDLE engineHandle, const FWPS_ALE_ENDPOINT_ENUM_TEMPLATE0 * enumTemplate, HANDLE * enumHandle);
WFP_ABI_IMPORT NTSTATUS NTAPI FwpsAleEndpointDestroyEnumHandle0(HANDLE engineHandle, HANDLE enumHandle);
WFP_ABI_IMPORT NTSTATUS NTAPI FwpsAleEndpointEnum0(HANDLE engineHandle, HANDLE enumHandle, UINT32 numEntriesRequested, FWPS_ALE_ENDPOINT_PROPERTIES0 *** entries, UINT32 * numEntriesReturned);
WFP_ABI_IMPORT NTSTATUS NTAPI FwpsAleEndpointGetById0(HANDLE engineHandle, UINT64 endpointId, FWPS_ALE_ENDPOINT_PROPERTIES0 ** properties);
WFP_ABI_IMPORT NTSTATUS NTAPI FwpsAleEndpointGetSecurityInfo0(HANDLE engineHandle, SECURITY_INFORMATION securityInfo, PSID * sidOwner, PSID * sidGroup, PACL * dacl, PACL * sacl, PSECURITY_DESCRIPTOR * securityDescriptor);
WFP_ABI_IMPORT NTSTATUS NTAPI FwpsAleEndpointSetSecurityInfo0(HANDLE engineHandle, SECURITY_INFORMATION securityInfo, const SID * sidOwner, const SID * sidGroup, const ACL * dacl, const ACL * sacl);
WFP_ABI_IMPORT NTSTATUS NTAPI FwpsAllocateCloneNetBufferList0(NET_BUFFER_LIST * originalNetBufferList, NDIS_HANDLE netBufferListPoolHandle, NDIS_HANDLE netBufferPoolHandle, ULONG allocateCloneFlags, NET_BUFFER_LIST ** netBufferList);
WFP_ABI_IMPORT NTSTATUS NTAPI FwpsAllocateNetBufferAndNetBufferList0(NDIS_HANDLE poolHandle, USHORT contextSize, USHORT contextBackFill, MDL * mdlChain, ULONG dataOffset, SIZE_T dataLength, NET_BUFFER_LIST ** netBufferList);
WFP_ABI_IMPORT void NTAPI FwpsApplyModifiedLayerData0(UINT64 classifyHandle, PVOID modifiedLayerData, UINT32 flags);
WFP_ABI_IMPORT NTSTATUS NTAPI FwpsCalloutRegister0(void * deviceObject, const FWPS_CALLOUT0 * callout, UINT32 * calloutId);
WFP_ABI_IMPORT NTSTATUS NTAPI FwpsCalloutRegister1(void * deviceObject, const FWPS_CALLOUT1 * callout, UINT32 * calloutId);
WFP_ABI_IMPORT NTSTATUS NTAPI FwpsCalloutRegister2(void * deviceObject, const FWPS_CALLOUT2 * callout, UINT32 * calloutId);
WFP_ABI_IMPORT NTSTATUS NTAPI FwpsCalloutRegister3(void * deviceObject, const FWPS_CALLOUT3 * callout, UINT32 * calloutId);
WFP_ABI_IMPORT NTSTATUS NTAPI FwpsCalloutUnregisterById0(const UINT32 calloutId);
WFP_ABI_IMPORT NTSTATUS NTAPI FwpsCalloutUnregisterByKey0(const GUID * calloutKey);
WFP_ABI_IMPORT NTSTATUS NTAPI FwpsClassifyOptionSet0(const FWPS_INCOMING_METADATA_VALUES0 * inMetadataValues, const FWP_CLASSIFY_OPTION_TYPE option, const FWP_VALUE0 * newValue);
WFP_ABI_IMPORT NTSTATUS NTAPI FwpsCloneStreamData0(FWPS_STREAM_DATA0 * calloutStreamData, NDIS_HANDLE netBufferListPoolHandle, NDIS_HANDLE netBufferPoolHandle, ULONG allocateCloneFlags, NET_BUFFER_LIST ** netBufferListChain);
WFP_ABI_IMPORT void NTAPI FwpsCompleteClassify0(UINT64 classifyHandle, UINT32 flags, const FWPS_CLASSIFY_OUT0 * classifyOut);
WFP_ABI_IMPORT void NTAPI FwpsCompleteOperation0(HANDLE completionContext, PNET_BUFFER_LIST netBufferList);
WFP_ABI_IMPORT NTSTATUS NTAPI FwpsConstructIpHeaderForTransportPacket0(NET_BUFFER_LIST * netBufferList, ULONG headerIncludeHeaderLength, ADDRESS_FAMILY addressFamily, const UCHAR * sourceAddress, const UCHAR * remoteAddress, IPPROTO nextProtocol, UINT64 endpointHandle, const WSACMSGHDR * controlData, ULONG controlDataLength, UINT32 flags, PVOID reserved, IF_INDEX interfaceIndex, IF_INDEX subInterfaceIndex);
WFP_ABI_IMPORT void NTAPI FwpsCopyStreamDataToBuffer0(const FWPS_STREAM_DATA0 * calloutStreamData, PVOID buffer, SIZE_T bytesToCopy, SIZE_T * bytesCopied);
WFP_ABI_IMPORT void NTAPI FwpsDereferenceNetBufferList0(NET_BUFFER_LIST * netBufferList, BOOLEAN dispatchLevel);
WFP_ABI_IMPORT void NTAPI FwpsDereferencevSwitchPacketContext0(HANDLE packetContext);
WFP_ABI_IMPORT void NTAPI FwpsDiscardClonedStreamData0(NET_BUFFER_LIST * netBufferListChain, UINT32 allocateCloneFlags, BOOLEAN dispatchLevel);
WFP_ABI_IMPORT NTSTATUS NTAPI FwpsFlowAbort0(UINT64 flowId);
WFP_ABI_IMPORT NTSTATUS NTAPI FwpsFlowAssociateContext0(UINT64 flowId, UINT16 layerId, UINT32 calloutId, UINT64 flowContext);
WFP_ABI_IMPORT NTSTATUS NTAPI FwpsFlowRemoveContext0(UINT64 flowId, UINT16 layerId, UINT32 calloutId);
WFP_ABI_IMPORT void NTAPI FwpsFreeCloneNetBufferList0(NET_BUFFER_LIST * netBufferList, ULONG freeCloneFlags);
WFP_ABI_IMPORT void NTAPI FwpsFreeNetBufferList0(NET_BUFFER_LIST * netBufferList);
WFP_ABI_IMPORT NTSTATUS NTAPI FwpsGetPacketListSecurityInformation0(NET_BUFFER_LIST * packetList, UINT32 queryFlags, FWPS_PACKET_LIST_INFORMATION0 * packetInformation);
WFP_ABI_IMPORT NTSTATUS NTAPI FwpsInjectForwardAsync0(HANDLE injectionHandle, HANDLE injectionContext, UINT32 flags, ADDRESS_FAMILY addressFamily, COMPARTMENT_ID compartmentId, IF_INDEX interfaceIndex, NET_BUFFER_LIST * netBufferList, FWPS_INJECT_COMPLETE0 completionFn, HANDLE completionContext);
WFP_ABI_IMPORT NTSTATUS NTAPI FwpsInjectMacReceiveAsync0(HANDLE injectionHandle, HANDLE injectionContext, UINT32 flags, UINT16 layerId, IF_INDEX interfaceIndex, NDIS_PORT_NUMBER NdisPortNumber, NET_BUFFER_LIST * netBufferLists, FWPS_INJECT_COMPLETE0 completionFn, HANDLE completionContext);
WFP_ABI_IMPORT NTSTATUS NTAPI FwpsInjectMacSendAsync0(HANDLE injectionHandle, HANDLE injectionContext, UINT32 flags, UINT16 layerId, IF_INDEX interfaceIndex, NDIS_PORT_NUMBER NdisPortNumber, NET_BUFFER_LIST * netBufferLists, FWPS_INJECT_COMPLETE0 completionFn, HANDLE completionContext);
WFP_ABI_IMPORT NTSTATUS NTAPI FwpsInjectNetworkReceiveAsync0(HANDLE injectionHandle, HANDLE injectionContext, UINT32 flags, COMPARTMENT_ID compartmentId, IF_INDEX interfaceIndex, IF_INDEX subInterfaceIndex, NET_BUFFER_LIST * netBufferList, FWPS_INJECT_COMPLETE0 completionFn, HANDLE completionContext);
WFP_ABI_IMPORT NTSTATUS NTAPI FwpsInjectNetworkSendAsync0(HANDLE injectionHandle, HANDLE injectionContext, UINT32 flags, COMPARTMENT_ID compartmentId, NET_BUFFER_LIST * netBufferList, FWPS_INJECT_COMPLETE0 completionFn, HANDLE completionContext);
WFP_ABI_IMPORT NTSTATUS NTAPI FwpsInjectTransportReceiveAsync0(HANDLE injectionHandle, HANDLE injectionContext, PVOID reserved, UINT32 flags, ADDRESS_FAMILY addressFamily, COMPARTMENT_ID compartmentId, IF_INDEX interfaceIndex, IF_INDEX subInterfaceIndex, NET_BUFFER_LIST * netBufferList, FWPS_INJECT_COMPLETE0 completionFn, HANDLE completionContext);
WFP_ABI_IMPORT NTSTATUS NTAPI FwpsInjectTransportSendAsync0(HANDLE injectionHandle, HANDLE injectionContext, UINT64 endpointHandle, UINT32 flags, FWPS_TRANSPORT_SEND_PARAMS0 * sendArgs, ADDRESS_FAMILY addressFamily, COMPARTMENT_ID compartmentId, NET_BUFFER_LIST * netBufferList, FWPS_INJECT_COMPLETE0 completionFn, HANDLE completionContext);
WFP_ABI_IMPORT NTSTATUS NTAPI FwpsInjectTransportSendAsync1(HANDLE injectionHandle, HANDLE injectionContext, UINT64 endpointHandle, UINT32 flags, FWPS_TRANSPORT_SEND_PARAMS1 * sendArgs, ADDRESS_FAMILY addressFamily, COMPARTMENT_ID compartmentId, NET_BUFFER_LIST * netBufferList, FWPS_INJECT_COMPLETE0 completionFn, HANDLE completionContext);
WFP_ABI_IMPORT NTSTATUS NTAPI FwpsInjectionHandleCreate0(ADDRESS_FAMILY addressFamily, UINT32 flags, HANDLE * injectionHandle);
WFP_ABI_IMPORT NTSTATUS NTAPI FwpsInjectionHandleDestroy0(HANDLE injectionHandle);
WFP_ABI_IMPORT NTSTATUS NTAPI FwpsInjectvSwitchEthernetIngressAsync0(HANDLE injectionHandle, HANDLE injectionContext, UINT32 flags, void * reserved, const FWP_BYTE_BLOB * vSwitchId, NDIS_SWITCH_PORT_ID vSwitchSourcePortId, NDIS_SWITCH_NIC_INDEX vSwitchSourceNicIndex, NET_BUFFER_LIST * netBufferLists, FWPS_INJECT_COMPLETE0 completionFn, HANDLE completionContext);
WFP_ABI_IMPORT NTSTATUS NTAPI FwpsNetBufferListAssociateContext0(NET_BUFFER_LIST * netBufferList, UINT16 layerId, UINT64 context, UINT64 contextTag, GUID * providerGuid, void * deviceObject, FWPS_NET_BUFFER_LIST_NOTIFY_FN0 notifyFn, UINT32 flags);
WFP_ABI_IMPORT NTSTATUS NTAPI FwpsNetBufferListAssociateContext1(NET_BUFFER_LIST * netBufferList, UINT16 layerId, UINT64 context, UINT64 contextTag, GUID * providerGuid, void * deviceObject, FWPS_NET_BUFFER_LIST_NOTIFY_FN1 notifyFn, UINT32 flags);
WFP_ABI_IMPORT UINT64 NTAPI FwpsNetBufferListGetTagForContext0(void);
WFP_ABI_IMPORT NTSTATUS NTAPI FwpsNetBufferListRemoveContext0(NET_BUFFER_LIST * netBufferList, UINT64 contextTag, UINT32 flags);
WFP_ABI_IMPORT NTSTATUS NTAPI FwpsNetBufferListRetrieveContext0(NET_BUFFER_LIST * netBufferList, UINT64 contextTag, BOOLEAN removeContext, UINT32 flags, UINT64 * context);
WFP_ABI_IMPORT NTSTATUS NTAPI FwpsOpenToken0(HANDLE engineHandle, LUID modifiedId, DWORD desiredAccess, HANDLE * accessToken);
WFP_ABI_IMPORT NTSTATUS NTAPI FwpsPendClassify0(UINT64 classifyHandle, UINT64 filterId, UINT32 flags, FWPS_CLASSIFY_OUT0 * classifyOut);
WFP_ABI_IMPORT NTSTATUS NTAPI FwpsPendOperation0(HANDLE completionHandle, HANDLE * completionContext);
WFP_ABI_IMPORT FWPS_CONNECTION_REDIRECT_STATE NTAPI FwpsQueryConnectionRedirectState0(HANDLE redirectRecords, HANDLE redirectHandle, void ** redirectContext);
WFP_ABI_IMPORT NTSTATUS NTAPI FwpsQueryConnectionSioFormatRedirectRecords0(HANDLE RedirectRecords, PVOID OutputBuffer, SIZE_T OutputBufferLength, PSIZE_T BytesTransferred);
WFP_ABI_IMPORT FWPS_PACKET_INJECTION_STATE NTAPI FwpsQueryPacketInjectionState0(HANDLE injectionHandle, const NET_BUFFER_LIST * netBufferList, HANDLE * injectionContext);
WFP_ABI_IMPORT NTSTATUS NTAPI FwpsReassembleForwardFragmentGroup0(ADDRESS_FAMILY addressFamily, NET_BUFFER_LIST * fragmentGroupNblChain, NDIS_HANDLE netBufferAndNetBufferListPoolHandle, ULONG dataBackFill, ULONG flags, NET_BUFFER_LIST ** reassembledNbl);
WFP_ABI_IMPORT NTSTATUS NTAPI FwpsRedirectHandleCreate0(const GUID * providerGuid, UINT32 flags, HANDLE * redirectHandle);
WFP_ABI_IMPORT void NTAPI FwpsRedirectHandleDestroy0(HANDLE redirectHandle);
WFP_ABI_IMPORT void NTAPI FwpsReferenceNetBufferList0(NET_BUFFER_LIST * netBufferList, BOOLEAN intendToModify);
WFP_ABI_IMPORT void NTAPI FwpsReferencevSwitchPacketContext0(HANDLE packetContext);
WFP_ABI_IMPORT void NTAPI FwpsReleaseClassifyHandle0(UINT64 classifyHandle);
WFP_ABI_IMPORT NTSTATUS NTAPI FwpsStreamContinue0(UINT64 flowId, UINT32 calloutId, UINT16 layerId, UINT32 streamFlags);
WFP_ABI_IMPORT NTSTATUS NTAPI FwpsStreamInjectAsync0(HANDLE injectionHandle, HANDLE injectionContext, UINT32 flags, UINT64 flowId, UINT32 calloutId, UINT16 layerId, UINT32 streamFlags, NET_BUFFER_LIST * netBufferList, SIZE_T dataLength, FWPS_INJECT_COMPLETE0 completionFn, HANDLE completionContext);
WFP_ABI_IMPORT NTSTATUS NTAPI FwpsVirtualIfTunnelInfoGet0(const FWPS_INCOMING_METADATA_VALUES0 * metadata, IPSEC_VIRTUAL_IF_TUNNEL_INFO0 * virtualIfTunnelInfo);
WFP_ABI_IMPORT NTSTATUS NTAPI FwpsVirtualIfTunnelInfoSet0(NET_BUFFER_LIST * netBufferList, const IPSEC_VIRTUAL_IF_TUNNEL_INFO0 * virtualIfTunnelInfo);
WFP_ABI_IMPORT NTSTATUS NTAPI FwpsvSwitchEventsSubscribe0(const GUID * providerGuid, void * notifyContext, UINT32 flags, void * reserved, const FWPS_VSWITCH_EVENT_DISPATCH_TABLE0 * eventDispatchTable, UINT32 * subscriptionId);
WFP_ABI_IMPORT void NTAPI FwpsvSwitchEventsUnsubscribe0(UINT32 subscriptionId, UINT32 flags, void * reserved);
WFP_ABI_IMPORT void NTAPI FwpsvSwitchNotifyComplete0(void * completionContext, NTSTATUS status, UINT32 flags, void * reserved);

#endif

/*
 * The part of NDIS 6 that a callout driver uses: NET_BUFFER_LISTs, their pools and their data.
 * mingw-w64's own <ddk/ndis.h> is NDIS 5 and knows none of it.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef WFP_ABI_NDIS
#define WFP_ABI_NDIS

#include "ndis_types.h"

#define NDIS_STATUS_SUCCESS ((NDIS_STATUS)STATUS_SUCCESS)
#define NDIS_SIZEOF_NET_BUFFER_LIST_POOL_PARAMETERS_REVISION_1 sizeof(NET_BUFFER_LIST_POOL_PARAMETERS)
#define NDIS_SIZEOF_NET_BUFFER_POOL_PARAMETERS_REVISION_1 sizeof(NET_BUFFER_POOL_PARAMETERS)

#define NET_BUFFER_LIST_NEXT_NBL(nbl) ((nbl)->Next)
#define NET_BUFFER_LIST_FIRST_NB(nbl) ((nbl)->FirstNetBuffer)
#define NET_BUFFER_LIST_STATUS(nbl) ((nbl)->Status)
#define NET_BUFFER_LIST_INFO(nbl, id) ((nbl)->NetBufferListInfo[(id)])
#define NET_BUFFER_NEXT_NB(nb) ((nb)->Next)
#define NET_BUFFER_FIRST_MDL(nb) ((nb)->MdlChain)
#define NET_BUFFER_DATA_LENGTH(nb) ((nb)->DataLength)
#define NET_BUFFER_DATA_OFFSET(nb) ((nb)->DataOffset)
#define NET_BUFFER_CURRENT_MDL(nb) ((nb)->CurrentMdl)
#define NET_BUFFER_CURRENT_MDL_OFFSET(nb) ((nb)->CurrentMdlOffset)

typedef PMDL(NTAPI *NET_BUFFER_ALLOCATE_MDL_HANDLER)(ULONG *BufferSize);
typedef void(NTAPI *NET_BUFFER_FREE_MDL_HANDLER)(PMDL Mdl);

WFP_ABI_IMPORT NDIS_HANDLE NTAPI NdisAllocateNetBufferListPool(NDIS_HANDLE NdisHandle,
                                                               const NET_BUFFER_LIST_POOL_PARAMETERS *Parameters);
WFP_ABI_IMPORT void NTAPI NdisFreeNetBufferListPool(NDIS_HANDLE PoolHandle);
WFP_ABI_IMPORT NDIS_HANDLE NTAPI NdisAllocateNetBufferPool(NDIS_HANDLE NdisHandle,
                                                           const NET_BUFFER_POOL_PARAMETERS *Parameters);
WFP_ABI_IMPORT void NTAPI NdisFreeNetBufferPool(NDIS_HANDLE PoolHandle);
WFP_ABI_IMPORT NET_BUFFER *NTAPI NdisAllocateNetBuffer(NDIS_HANDLE PoolHandle, PMDL MdlChain, ULONG DataOffset,
                                                       SIZE_T DataLength);
WFP_ABI_IMPORT void NTAPI NdisFreeNetBuffer(NET_BUFFER *NetBuffer);
WFP_ABI_IMPORT NET_BUFFER_LIST *NTAPI NdisAllocateNetBufferAndNetBufferList(NDIS_HANDLE PoolHandle, USHORT ContextSize,
                                                                            USHORT ContextBackFill, MDL *MdlChain,
                                                                            ULONG DataOffset, SIZE_T DataLength);
WFP_ABI_IMPORT void NTAPI NdisFreeNetBufferList(NET_BUFFER_LIST *NetBufferList);
WFP_ABI_IMPORT NET_BUFFER_LIST *NTAPI NdisAllocateCloneNetBufferList(NET_BUFFER_LIST *Original, NDIS_HANDLE NblPool,
                                                                     NDIS_HANDLE NbPool, ULONG Flags);
WFP_ABI_IMPORT void NTAPI NdisFreeCloneNetBufferList(NET_BUFFER_LIST *Clone, ULONG Flags);
WFP_ABI_IMPORT NDIS_STATUS NTAPI NdisRetreatNetBufferDataStart(NET_BUFFER *NetBuffer, ULONG DataOffsetDelta,
                                                               ULONG DataBackFill,
                                                               NET_BUFFER_ALLOCATE_MDL_HANDLER AllocateMdl);
WFP_ABI_IMPORT void NTAPI NdisAdvanceNetBufferDataStart(NET_BUFFER *NetBuffer, ULONG DataOffsetDelta, BOOLEAN FreeMdl,
                                                        NET_BUFFER_FREE_MDL_HANDLER FreeMdlHandler);
WFP_ABI_IMPORT NDIS_STATUS NTAPI NdisRetreatNetBufferListDataStart(NET_BUFFER_LIST *List, ULONG DataOffsetDelta,
                                                                   ULONG DataBackFill,
                                                                   NET_BUFFER_ALLOCATE_MDL_HANDLER AllocateMdl,
                                                                   NET_BUFFER_FREE_MDL_HANDLER FreeMdl);
WFP_ABI_IMPORT void NTAPI NdisAdvanceNetBufferListDataStart(NET_BUFFER_LIST *List, ULONG DataOffsetDelta,
                                                            BOOLEAN FreeMdl, NET_BUFFER_FREE_MDL_HANDLER FreeMdlHandler);
WFP_ABI_IMPORT PVOID NTAPI NdisGetDataBuffer(NET_BUFFER *NetBuffer, ULONG BytesNeeded, PVOID Storage,
                                             ULONG AlignMultiple, ULONG AlignOffset);
WFP_ABI_IMPORT NDIS_HANDLE NTAPI NdisAllocateGenericObject(PDRIVER_OBJECT DriverObject, ULONG Tag, USHORT Size);
WFP_ABI_IMPORT void NTAPI NdisFreeGenericObject(NDIS_HANDLE NdisObject);
WFP_ABI_IMPORT PMDL NTAPI NdisAllocateMdl(NDIS_HANDLE NdisHandle, PVOID VirtualAddress, ULONG Length);
WFP_ABI_IMPORT void NTAPI NdisFreeMdl(PMDL Mdl);
WFP_ABI_IMPORT void NTAPI NdisCopySendNetBufferListInfo(NET_BUFFER_LIST *Destination, NET_BUFFER_LIST *Source);
WFP_ABI_IMPORT void NTAPI NdisCopyReceiveNetBufferListInfo(NET_BUFFER_LIST *Destination, NET_BUFFER_LIST *Source);
WFP_ABI_IMPORT PVOID NTAPI NdisAllocateMemoryWithTagPriority(NDIS_HANDLE NdisHandle, UINT32 Length, ULONG Tag,
                                                             int Priority);
WFP_ABI_IMPORT void NTAPI NdisFreeMemory(PVOID VirtualAddress, UINT32 Length, UINT32 MemoryFlags);

#endif

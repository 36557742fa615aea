/* Written by drivers/include/generate.py from harness/wfp/data; do not edit. SPDX-License-Identifier: MIT */
#ifndef WFP_ABI_WS2IPDEF
#define WFP_ABI_WS2IPDEF

#include "abi_base.h"

typedef struct SOCKADDR_ {
    ADDRESS_FAMILY sa_family;
    CHAR sa_data[14];
} SOCKADDR, *PSOCKADDR;
_Static_assert(sizeof(SOCKADDR) == 16, "SOCKADDR");
_Static_assert(FIELD_OFFSET(SOCKADDR, sa_family) == 0, "SOCKADDR.sa_family");
_Static_assert(FIELD_OFFSET(SOCKADDR, sa_data) == 2, "SOCKADDR.sa_data");

typedef struct SOCKADDR_IN_ {
    ADDRESS_FAMILY sin_family;
    USHORT sin_port;
    IN_ADDR sin_addr;
    CHAR sin_zero[8];
} SOCKADDR_IN, *PSOCKADDR_IN;
_Static_assert(sizeof(SOCKADDR_IN) == 16, "SOCKADDR_IN");
_Static_assert(FIELD_OFFSET(SOCKADDR_IN, sin_family) == 0, "SOCKADDR_IN.sin_family");
_Static_assert(FIELD_OFFSET(SOCKADDR_IN, sin_port) == 2, "SOCKADDR_IN.sin_port");
_Static_assert(FIELD_OFFSET(SOCKADDR_IN, sin_addr) == 4, "SOCKADDR_IN.sin_addr");
_Static_assert(FIELD_OFFSET(SOCKADDR_IN, sin_zero) == 8, "SOCKADDR_IN.sin_zero");

typedef struct SOCKADDR_IN6_ {
    ADDRESS_FAMILY sin6_family;
    USHORT sin6_port;
    ULONG sin6_flowinfo;
    IN6_ADDR sin6_addr;
    union {
        ULONG sin6_scope_id;
        SCOPE_ID sin6_scope_struct;
    };
} SOCKADDR_IN6, *PSOCKADDR_IN6;
_Static_assert(sizeof(SOCKADDR_IN6) == 28, "SOCKADDR_IN6");
_Static_assert(FIELD_OFFSET(SOCKADDR_IN6, sin6_family) == 0, "SOCKADDR_IN6.sin6_family");
_Static_assert(FIELD_OFFSET(SOCKADDR_IN6, sin6_port) == 2, "SOCKADDR_IN6.sin6_port");
_Static_assert(FIELD_OFFSET(SOCKADDR_IN6, sin6_flowinfo) == 4, "SOCKADDR_IN6.sin6_flowinfo");
_Static_assert(FIELD_OFFSET(SOCKADDR_IN6, sin6_addr) == 8, "SOCKADDR_IN6.sin6_addr");
_Static_assert(FIELD_OFFSET(SOCKADDR_IN6, sin6_scope_id) == 24, "SOCKADDR_IN6.sin6_scope_id");
_Static_assert(FIELD_OFFSET(SOCKADDR_IN6, sin6_scope_struct) == 24, "SOCKADDR_IN6.sin6_scope_struct");

typedef struct SOCKADDR_INET_ {
    union {
        SOCKADDR_IN Ipv4;
        SOCKADDR_IN6 Ipv6;
        ADDRESS_FAMILY si_family;
    };
} SOCKADDR_INET, *PSOCKADDR_INET;
_Static_assert(sizeof(SOCKADDR_INET) == 28, "SOCKADDR_INET");
_Static_assert(FIELD_OFFSET(SOCKADDR_INET, Ipv4) == 0, "SOCKADDR_INET.Ipv4");
_Static_assert(FIELD_OFFSET(SOCKADDR_INET, Ipv6) == 0, "SOCKADDR_INET.Ipv6");
_Static_assert(FIELD_OFFSET(SOCKADDR_INET, si_family) == 0, "SOCKADDR_INET.si_family");

typedef struct SOCKADDR_STORAGE_ {
    ADDRESS_FAMILY ss_family;
    CHAR __ss_pad1[6];
    long long __ss_align;
    CHAR __ss_pad2[112];
} SOCKADDR_STORAGE, *PSOCKADDR_STORAGE;
_Static_assert(sizeof(SOCKADDR_STORAGE) == 128, "SOCKADDR_STORAGE");
_Static_assert(FIELD_OFFSET(SOCKADDR_STORAGE, ss_family) == 0, "SOCKADDR_STORAGE.ss_family");
_Static_assert(FIELD_OFFSET(SOCKADDR_STORAGE, __ss_pad1) == 2, "SOCKADDR_STORAGE.__ss_pad1");
_Static_assert(FIELD_OFFSET(SOCKADDR_STORAGE, __ss_align) == 8, "SOCKADDR_STORAGE.__ss_align");
_Static_assert(FIELD_OFFSET(SOCKADDR_STORAGE, __ss_pad2) == 16, "SOCKADDR_STORAGE.__ss_pad2");

typedef struct IP_ADDRESS_PREFIX_ {
    SOCKADDR_INET Prefix;
    UINT8 PrefixLength;
} IP_ADDRESS_PREFIX, *PIP_ADDRESS_PREFIX;
_Static_assert(sizeof(IP_ADDRESS_PREFIX) == 32, "IP_ADDRESS_PREFIX");
_Static_assert(FIELD_OFFSET(IP_ADDRESS_PREFIX, Prefix) == 0, "IP_ADDRESS_PREFIX.Prefix");
_Static_assert(FIELD_OFFSET(IP_ADDRESS_PREFIX, PrefixLength) == 28, "IP_ADDRESS_PREFIX.PrefixLength");

_Static_assert(sizeof(DRIVER_OBJECT) == 336, "DRIVER_OBJECT");
_Static_assert(FIELD_OFFSET(DRIVER_OBJECT, Type) == 0, "DRIVER_OBJECT.Type");
_Static_assert(FIELD_OFFSET(DRIVER_OBJECT, Size) == 2, "DRIVER_OBJECT.Size");
_Static_assert(FIELD_OFFSET(DRIVER_OBJECT, DeviceObject) == 8, "DRIVER_OBJECT.DeviceObject");
_Static_assert(FIELD_OFFSET(DRIVER_OBJECT, Flags) == 16, "DRIVER_OBJECT.Flags");
_Static_assert(FIELD_OFFSET(DRIVER_OBJECT, DriverStart) == 24, "DRIVER_OBJECT.DriverStart");
_Static_assert(FIELD_OFFSET(DRIVER_OBJECT, DriverSize) == 32, "DRIVER_OBJECT.DriverSize");
_Static_assert(FIELD_OFFSET(DRIVER_OBJECT, DriverSection) == 40, "DRIVER_OBJECT.DriverSection");
_Static_assert(FIELD_OFFSET(DRIVER_OBJECT, DriverExtension) == 48, "DRIVER_OBJECT.DriverExtension");
_Static_assert(FIELD_OFFSET(DRIVER_OBJECT, DriverName) == 56, "DRIVER_OBJECT.DriverName");
_Static_assert(FIELD_OFFSET(DRIVER_OBJECT, HardwareDatabase) == 72, "DRIVER_OBJECT.HardwareDatabase");
_Static_assert(FIELD_OFFSET(DRIVER_OBJECT, FastIoDispatch) == 80, "DRIVER_OBJECT.FastIoDispatch");
_Static_assert(FIELD_OFFSET(DRIVER_OBJECT, DriverInit) == 88, "DRIVER_OBJECT.DriverInit");
_Static_assert(FIELD_OFFSET(DRIVER_OBJECT, DriverStartIo) == 96, "DRIVER_OBJECT.DriverStartIo");
_Static_assert(FIELD_OFFSET(DRIVER_OBJECT, DriverUnload) == 104, "DRIVER_OBJECT.DriverUnload");
_Static_assert(FIELD_OFFSET(DRIVER_OBJECT, MajorFunction) == 112, "DRIVER_OBJECT.MajorFunction");
_Static_assert(sizeof(GUID) == 16, "GUID");
_Static_assert(FIELD_OFFSET(GUID, Data1) == 0, "GUID.Data1");
_Static_assert(FIELD_OFFSET(GUID, Data2) == 4, "GUID.Data2");
_Static_assert(FIELD_OFFSET(GUID, Data3) == 6, "GUID.Data3");
_Static_assert(FIELD_OFFSET(GUID, Data4) == 8, "GUID.Data4");
_Static_assert(sizeof(IO_STACK_LOCATION) == 72, "IO_STACK_LOCATION");
_Static_assert(FIELD_OFFSET(IO_STACK_LOCATION, MajorFunction) == 0, "IO_STACK_LOCATION.MajorFunction");
_Static_assert(FIELD_OFFSET(IO_STACK_LOCATION, MinorFunction) == 1, "IO_STACK_LOCATION.MinorFunction");
_Static_assert(FIELD_OFFSET(IO_STACK_LOCATION, Flags) == 2, "IO_STACK_LOCATION.Flags");
_Static_assert(FIELD_OFFSET(IO_STACK_LOCATION, Control) == 3, "IO_STACK_LOCATION.Control");
_Static_assert(FIELD_OFFSET(IO_STACK_LOCATION, Parameters) == 8, "IO_STACK_LOCATION.Parameters");
_Static_assert(FIELD_OFFSET(IO_STACK_LOCATION, DeviceObject) == 40, "IO_STACK_LOCATION.DeviceObject");
_Static_assert(FIELD_OFFSET(IO_STACK_LOCATION, FileObject) == 48, "IO_STACK_LOCATION.FileObject");
_Static_assert(FIELD_OFFSET(IO_STACK_LOCATION, CompletionRoutine) == 56, "IO_STACK_LOCATION.CompletionRoutine");
_Static_assert(FIELD_OFFSET(IO_STACK_LOCATION, Context) == 64, "IO_STACK_LOCATION.Context");
_Static_assert(sizeof(IRP) == 208, "IRP");
_Static_assert(FIELD_OFFSET(IRP, Type) == 0, "IRP.Type");
_Static_assert(FIELD_OFFSET(IRP, Size) == 2, "IRP.Size");
_Static_assert(FIELD_OFFSET(IRP, MdlAddress) == 8, "IRP.MdlAddress");
_Static_assert(FIELD_OFFSET(IRP, Flags) == 16, "IRP.Flags");
_Static_assert(FIELD_OFFSET(IRP, AssociatedIrp) == 24, "IRP.AssociatedIrp");
_Static_assert(FIELD_OFFSET(IRP, ThreadListEntry) == 32, "IRP.ThreadListEntry");
_Static_assert(FIELD_OFFSET(IRP, IoStatus) == 48, "IRP.IoStatus");
_Static_assert(FIELD_OFFSET(IRP, RequestorMode) == 64, "IRP.RequestorMode");
_Static_assert(FIELD_OFFSET(IRP, PendingReturned) == 65, "IRP.PendingReturned");
_Static_assert(FIELD_OFFSET(IRP, StackCount) == 66, "IRP.StackCount");
_Static_assert(FIELD_OFFSET(IRP, CurrentLocation) == 67, "IRP.CurrentLocation");
_Static_assert(FIELD_OFFSET(IRP, Cancel) == 68, "IRP.Cancel");
_Static_assert(FIELD_OFFSET(IRP, CancelIrql) == 69, "IRP.CancelIrql");
_Static_assert(FIELD_OFFSET(IRP, ApcEnvironment) == 70, "IRP.ApcEnvironment");
_Static_assert(FIELD_OFFSET(IRP, AllocationFlags) == 71, "IRP.AllocationFlags");
_Static_assert(FIELD_OFFSET(IRP, UserIosb) == 72, "IRP.UserIosb");
_Static_assert(FIELD_OFFSET(IRP, UserEvent) == 80, "IRP.UserEvent");
_Static_assert(FIELD_OFFSET(IRP, Overlay) == 88, "IRP.Overlay");
_Static_assert(FIELD_OFFSET(IRP, CancelRoutine) == 104, "IRP.CancelRoutine");
_Static_assert(FIELD_OFFSET(IRP, UserBuffer) == 112, "IRP.UserBuffer");
_Static_assert(FIELD_OFFSET(IRP, Tail) == 120, "IRP.Tail");
_Static_assert(sizeof(KDPC) == 64, "KDPC");
_Static_assert(FIELD_OFFSET(KDPC, Type) == 0, "KDPC.Type");
_Static_assert(FIELD_OFFSET(KDPC, Importance) == 1, "KDPC.Importance");
_Static_assert(FIELD_OFFSET(KDPC, Number) == 2, "KDPC.Number");
_Static_assert(FIELD_OFFSET(KDPC, DpcListEntry) == 8, "KDPC.DpcListEntry");
_Static_assert(FIELD_OFFSET(KDPC, DeferredRoutine) == 24, "KDPC.DeferredRoutine");
_Static_assert(FIELD_OFFSET(KDPC, DeferredContext) == 32, "KDPC.DeferredContext");
_Static_assert(FIELD_OFFSET(KDPC, SystemArgument1) == 40, "KDPC.SystemArgument1");
_Static_assert(FIELD_OFFSET(KDPC, SystemArgument2) == 48, "KDPC.SystemArgument2");
_Static_assert(FIELD_OFFSET(KDPC, DpcData) == 56, "KDPC.DpcData");
_Static_assert(sizeof(KEVENT) == 24, "KEVENT");
_Static_assert(FIELD_OFFSET(KEVENT, Header) == 0, "KEVENT.Header");
_Static_assert(sizeof(LIST_ENTRY) == 16, "LIST_ENTRY");
_Static_assert(FIELD_OFFSET(LIST_ENTRY, Flink) == 0, "LIST_ENTRY.Flink");
_Static_assert(FIELD_OFFSET(LIST_ENTRY, Blink) == 8, "LIST_ENTRY.Blink");
_Static_assert(sizeof(MDL) == 48, "MDL");
_Static_assert(FIELD_OFFSET(MDL, Next) == 0, "MDL.Next");
_Static_assert(FIELD_OFFSET(MDL, Size) == 8, "MDL.Size");
_Static_assert(FIELD_OFFSET(MDL, MdlFlags) == 10, "MDL.MdlFlags");
_Static_assert(FIELD_OFFSET(MDL, Process) == 16, "MDL.Process");
_Static_assert(FIELD_OFFSET(MDL, MappedSystemVa) == 24, "MDL.MappedSystemVa");
_Static_assert(FIELD_OFFSET(MDL, StartVa) == 32, "MDL.StartVa");
_Static_assert(FIELD_OFFSET(MDL, ByteCount) == 40, "MDL.ByteCount");
_Static_assert(FIELD_OFFSET(MDL, ByteOffset) == 44, "MDL.ByteOffset");
_Static_assert(sizeof(SLIST_HEADER) == 16, "SLIST_HEADER");
_Static_assert(FIELD_OFFSET(SLIST_HEADER, Alignment) == 0, "SLIST_HEADER.Alignment");
_Static_assert(FIELD_OFFSET(SLIST_HEADER, Region) == 8, "SLIST_HEADER.Region");
_Static_assert(FIELD_OFFSET(SLIST_HEADER, HeaderX64) == 0, "SLIST_HEADER.HeaderX64");
_Static_assert(sizeof(UNICODE_STRING) == 16, "UNICODE_STRING");
_Static_assert(FIELD_OFFSET(UNICODE_STRING, Length) == 0, "UNICODE_STRING.Length");
_Static_assert(FIELD_OFFSET(UNICODE_STRING, MaximumLength) == 2, "UNICODE_STRING.MaximumLength");
_Static_assert(FIELD_OFFSET(UNICODE_STRING, Buffer) == 8, "UNICODE_STRING.Buffer");
_Static_assert(sizeof(IF_LUID) == 8, "IF_LUID");
_Static_assert(FIELD_OFFSET(IF_LUID, Value) == 0, "IF_LUID.Value");
_Static_assert(sizeof(NET_LUID) == 8, "NET_LUID");
_Static_assert(FIELD_OFFSET(NET_LUID, Value) == 0, "NET_LUID.Value");
_Static_assert(FIELD_OFFSET(NET_LUID, Info) == 0, "NET_LUID.Info");
_Static_assert(sizeof(SCOPE_ID) == 4, "SCOPE_ID");
_Static_assert(FIELD_OFFSET(SCOPE_ID, Value) == 0, "SCOPE_ID.Value");
_Static_assert(sizeof(WSACMSGHDR) == 16, "WSACMSGHDR");
_Static_assert(FIELD_OFFSET(WSACMSGHDR, cmsg_len) == 0, "WSACMSGHDR.cmsg_len");
_Static_assert(FIELD_OFFSET(WSACMSGHDR, cmsg_level) == 8, "WSACMSGHDR.cmsg_level");
_Static_assert(FIELD_OFFSET(WSACMSGHDR, cmsg_type) == 12, "WSACMSGHDR.cmsg_type");
_Static_assert(sizeof(NDIS_OBJECT_HEADER) == 4, "NDIS_OBJECT_HEADER");
_Static_assert(FIELD_OFFSET(NDIS_OBJECT_HEADER, Type) == 0, "NDIS_OBJECT_HEADER.Type");
_Static_assert(FIELD_OFFSET(NDIS_OBJECT_HEADER, Revision) == 1, "NDIS_OBJECT_HEADER.Revision");
_Static_assert(FIELD_OFFSET(NDIS_OBJECT_HEADER, Size) == 2, "NDIS_OBJECT_HEADER.Size");

#endif

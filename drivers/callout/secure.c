/*
 * Who may open the device: SYSTEM and administrators. The descriptor that the I/O manager gives a device of this type
 * lets everybody in, and a service's INF has no say over it. wdmsec.lib does the same with an SDDL string
 * (IoCreateDeviceSecure), but a build without the kit has no such library.
 *
 * SPDX-License-Identifier: MIT
 */
#include <ntifs.h>

#include "callout.h"

enum { SID_ROOM = 16, ACL_ROOM = 128 };

static NTSTATUS allow(ACL *acl, ULONG first, ULONG second)
{
    SID_IDENTIFIER_AUTHORITY nt = {SECURITY_NT_AUTHORITY};
    ULONG room[SID_ROOM];
    NTSTATUS status = RtlInitializeSid(room, &nt, second ? 2 : 1);
    if (!NT_SUCCESS(status))
        return status;
    *RtlSubAuthoritySid(room, 0) = first;
    if (second)
        *RtlSubAuthoritySid(room, 1) = second;
    return RtlAddAccessAllowedAce(acl, ACL_REVISION, FILE_ALL_ACCESS, room);
}

NTSTATUS device_secure(DEVICE_OBJECT *device)
{
    SECURITY_DESCRIPTOR descriptor;
    ULONG room[ACL_ROOM / sizeof(ULONG)];
    ACL *acl = (ACL *)room;
    HANDLE handle;
    NTSTATUS status = RtlCreateSecurityDescriptor(&descriptor, SECURITY_DESCRIPTOR_REVISION);

    if (NT_SUCCESS(status))
        status = RtlCreateAcl(acl, sizeof room, ACL_REVISION);
    if (NT_SUCCESS(status))
        status = allow(acl, SECURITY_LOCAL_SYSTEM_RID, 0);
    if (NT_SUCCESS(status))
        status = allow(acl, SECURITY_BUILTIN_DOMAIN_RID, DOMAIN_ALIAS_RID_ADMINS);
    if (NT_SUCCESS(status))
        status = RtlSetDaclSecurityDescriptor(&descriptor, TRUE, acl, FALSE);
    if (NT_SUCCESS(status))
        status = ObOpenObjectByPointer(device, OBJ_KERNEL_HANDLE, NULL, WRITE_DAC, NULL, KernelMode, &handle);
    if (!NT_SUCCESS(status))
        return status;
    status = ZwSetSecurityObject(handle, DACL_SECURITY_INFORMATION, &descriptor);
    ZwClose(handle);
    return status;
}

/* A driver whose DriverEntry writes through a bad pointer. SPDX-License-Identifier: MIT */
#include <ntddk.h>

static UCHAR *volatile nowhere;

NTSTATUS NTAPI DriverEntry(DRIVER_OBJECT *object, UNICODE_STRING *registry);
NTSTATUS NTAPI DriverEntry(DRIVER_OBJECT *object, UNICODE_STRING *registry)
{
    (void)object, (void)registry;
    nowhere[0x20] = 1;
    return STATUS_SUCCESS;
}

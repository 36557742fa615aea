/*
 * A driver that writes down which IRQL it sees, by register and by function, and waits where it must not; DriverEntry
 * fails with a code that says what was wrong.
 *
 * SPDX-License-Identifier: MIT
 */
#include <ntddk.h>

NTSTATUS NTAPI FwpsInjectionHandleCreate0(USHORT family, ULONG flags, HANDLE *handle);
/* Nothing in the reference guest is a virtual switch. */
NTSTATUS NTAPI FwpsvSwitchEventsSubscribe0(const GUID *provider, void *context, UINT32 flags, void *reserved, const void *table, UINT32 *id);

NTSTATUS NTAPI DriverEntry(DRIVER_OBJECT *object, UNICODE_STRING *registry);
NTSTATUS NTAPI DriverEntry(DRIVER_OBJECT *object, UNICODE_STRING *registry)
{
    LARGE_INTEGER short_time;
    KSPIN_LOCK lock;
    HANDLE handle;
    KEVENT event;
    KIRQL irql;

    (void)object, (void)registry;
    short_time.QuadPart = -1;
    KeInitializeSpinLock(&lock);
    KeInitializeEvent(&event, NotificationEvent, TRUE);
    if (KeGetCurrentIrql() != PASSIVE_LEVEL)
        return (NTSTATUS)0xE0000001;
    KeAcquireSpinLock(&lock, &irql);
    if (irql != PASSIVE_LEVEL || KeGetCurrentIrql() != DISPATCH_LEVEL)
        return (NTSTATUS)0xE0000002;
    KeWaitForSingleObject(&event, Executive, KernelMode, FALSE, &short_time);
    FwpsInjectionHandleCreate0(0, 2, &handle);
    KeReleaseSpinLock(&lock, irql);
    if (KeGetCurrentIrql() != PASSIVE_LEVEL)
        return (NTSTATUS)0xE0000003;
    KeRaiseIrql(APC_LEVEL, &irql);
    if (KeGetCurrentIrql() != APC_LEVEL)
        return (NTSTATUS)0xE0000004;
    KeLowerIrql(irql);
    if (KeGetCurrentIrql() != PASSIVE_LEVEL)
        return (NTSTATUS)0xE0000005;
    if (FwpsvSwitchEventsSubscribe0(NULL, NULL, 0, NULL, NULL, NULL) != (NTSTATUS)0xC0000002) /* STATUS_NOT_IMPLEMENTED */
        return (NTSTATUS)0xE0000006;
    DbgPrint("levels are right");
    return STATUS_SUCCESS;
}

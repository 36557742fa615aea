/*
 * fwpkclnt.sys as a driver: the service wfpengine starts it, which puts the engine between TAP and test NIC. As a
 * library it is what drivers import; both are one module, in one winedevice process.
 *
 * SPDX-License-Identifier: MIT
 */
#include <ntifs.h>

#include "shell.h"
#include "wfpmodel_ioctl.h"

enum { DLL_REASONS = 4 };

static NTSTATUS finish(IRP *irp, NTSTATUS status, ULONG_PTR size)
{
    irp->IoStatus.Status = status;
    irp->IoStatus.Information = size;
    IoCompleteRequest(irp, IO_NO_INCREMENT);
    return status;
}

static NTSTATUS NTAPI open(DEVICE_OBJECT *device, IRP *irp)
{
    FILE_OBJECT *file = IoGetCurrentIrpStackLocation(irp)->FileObject;
    (void)device;
    file->FsContext = channel_open((unsigned long)(ULONG_PTR)PsGetCurrentProcessId());
    return finish(irp, STATUS_SUCCESS, 0);
}

static NTSTATUS NTAPI close(DEVICE_OBJECT *device, IRP *irp)
{
    FILE_OBJECT *file = IoGetCurrentIrpStackLocation(irp)->FileObject;
    (void)device;
    shell_client_gone(file);
    if (file->FsContext)
        channel_end(file->FsContext);
    file->FsContext = NULL;
    return finish(irp, STATUS_SUCCESS, 0);
}

void shell_finish(void *irp, long status, size_t size)
{
    finish(irp, (NTSTATUS)status, size);
}

static void managed(void *request, long status, size_t size)
{
    finish(request, (NTSTATUS)status, size);
}

static NTSTATUS NTAPI control(DEVICE_OBJECT *device, IRP *irp)
{
    const IO_STACK_LOCATION *at = IoGetCurrentIrpStackLocation(irp);
    ULONG in = at->Parameters.DeviceIoControl.InputBufferLength;
    ULONG out = at->Parameters.DeviceIoControl.OutputBufferLength;
    unsigned char *buffer = irp->AssociatedIrp.SystemBuffer;
    SIZE_T needed = 0;
    (void)device;
    ULONG code = at->Parameters.DeviceIoControl.IoControlCode;
    if (code == IOCTL_WFPMODEL_MANAGE && at->FileObject->FsContext) {
        IoMarkIrpPending(irp);
        channel_submit(at->FileObject->FsContext, buffer, in, out, irp, managed);
        return STATUS_PENDING;
    }
    if (code == IOCTL_WFPMODEL_CALL && in >= sizeof(WFPMODEL_CALL) && out >= sizeof(WFPMODEL_ANSWER)) {
        IoMarkIrpPending(irp);
        shell_defer(irp, at->FileObject, buffer, in, out);
        return STATUS_PENDING;
    }
    NTSTATUS status = shell_control(code, buffer, in, out, &needed);
    return finish(irp, status, needed <= out ? needed : 0);
}

static NTSTATUS start(DRIVER_OBJECT *driver)
{
    UNICODE_STRING name = RTL_CONSTANT_STRING(WFPMODEL_NT_DEVICE_NAME);
    UNICODE_STRING link = RTL_CONSTANT_STRING(WFPMODEL_DOS_DEVICE_NAME);
    DEVICE_OBJECT *device;
    NTSTATUS status = IoCreateDevice(driver, 0, &name, FILE_DEVICE_NETWORK, 0, FALSE, &device);
    if (!NT_SUCCESS(status))
        return status;
    driver->MajorFunction[IRP_MJ_CREATE] = open;
    driver->MajorFunction[IRP_MJ_CLOSE] = close;
    driver->MajorFunction[IRP_MJ_DEVICE_CONTROL] = control;
    device->Flags &= ~(ULONG)DO_DEVICE_INITIALIZING;
    status = IoCreateSymbolicLink(&link, &name);
    if (NT_SUCCESS(status) && !shell_start(ExFreePool))
        status = STATUS_DEVICE_NOT_CONNECTED;
    if (!NT_SUCCESS(status)) {
        IoDeleteSymbolicLink(&link);
        IoDeleteDevice(device);
    }
    return status;
}

/* DriverEntry(driver, registry path) and, when a driver imports this module, DllMain(module, reason, reserved). */
ULONG_PTR NTAPI ModelEntry(void *object, ULONG_PTR reason_or_path);
ULONG_PTR NTAPI ModelEntry(void *object, ULONG_PTR reason_or_path)
{
    shell_attach();
    if (reason_or_path < DLL_REASONS)
        return TRUE;
    return (ULONG_PTR)(LONG_PTR)start(object);
}

/* Loading, unloading and the device that user mode talks to. SPDX-License-Identifier: MIT */
#include "callout.h"

DRIVER driver;

DRIVER_INITIALIZE DriverEntry;

static void lock(void)
{
    KeWaitForSingleObject(&driver.control, Executive, KernelMode, FALSE, NULL);
}

static void unlock(void)
{
    KeSetEvent(&driver.control, IO_NO_INCREMENT, FALSE);
}

/* METHOD_BUFFERED: `buffer` is input and output; gives back how many bytes of it are the answer. */
static NTSTATUS control(ULONG code, UINT8 *buffer, ULONG in, ULONG out, ULONG_PTR *written)
{
    WFPCALLOUT_RESULT result = {0};
    ULONG needed = sizeof result;

    switch (code) {
    case IOCTL_WFPCALLOUT_GET_VERSION:
        if (out < sizeof(UINT32))
            return STATUS_BUFFER_TOO_SMALL;
        *(UINT32 *)buffer = WFPCALLOUT_INTERFACE_VERSION;
        *written = sizeof(UINT32);
        return STATUS_SUCCESS;
    case IOCTL_WFPCALLOUT_READ_EVENTS: {
        ULONG count;
        if (out < sizeof(WFPCALLOUT_EVENTS))
            return STATUS_BUFFER_TOO_SMALL;
        count = events_read((WFPCALLOUT_EVENTS *)buffer,
                            (ULONG)((out - sizeof(WFPCALLOUT_EVENTS)) / sizeof(WFPCALLOUT_EVENT)));
        *written = sizeof(WFPCALLOUT_EVENTS) + count * sizeof(WFPCALLOUT_EVENT);
        return STATUS_SUCCESS;
    }
    case IOCTL_WFPCALLOUT_GET_STATS: {
        WFPCALLOUT_STATS stats = {0};
        if (out < sizeof stats)
            return STATUS_BUFFER_TOO_SMALL;
        stats.rules = rules_count();
        stats.flow_contexts = flow_count();
        stats.injection_handles = 4 + lab_handles();
        stats.redirect_handles = driver.redirect ? 1 : 0;
        stats.pended = pend_count();
        inject_stats(&stats);
        events_stats(&stats);
        RtlCopyMemory(buffer, &stats, sizeof stats);
        *written = sizeof stats;
        return STATUS_SUCCESS;
    }
    default:
        break;
    }
    if (out < needed)
        return STATUS_BUFFER_TOO_SMALL;
    switch (code) {
    case IOCTL_WFPCALLOUT_ADD_RULE:
        if (in < sizeof(WFPCALLOUT_RULE))
            return STATUS_INVALID_PARAMETER;
        lock();
        result.status = rule_add((const WFPCALLOUT_RULE *)buffer, &result.value);
        unlock();
        break;
    case IOCTL_WFPCALLOUT_REMOVE_RULE:
        if (in < sizeof(UINT64))
            return STATUS_INVALID_PARAMETER;
        lock();
        result.status = rule_remove(*(UINT64 *)buffer);
        unlock();
        break;
    case IOCTL_WFPCALLOUT_CLEAR_RULES:
        lock();
        result.value = rules_clear();
        unlock();
        break;
    case IOCTL_WFPCALLOUT_DRAIN:
        if (in < sizeof(UINT32))
            return STATUS_INVALID_PARAMETER;
        pend_drain(*(UINT32 *)buffer);
        inject_release_held(0);
        result.status = inject_drain(*(UINT32 *)buffer);
        result.value = event_simple(WFPCALLOUT_EVENT_MARKER, 0, result.status, 0, 0);
        break;
    case IOCTL_WFPCALLOUT_INJECT: {
        const WFPCALLOUT_INJECT *request = (const WFPCALLOUT_INJECT *)buffer;
        if (in < sizeof *request || in - sizeof *request < request->length || !request->length)
            return STATUS_INVALID_PARAMETER;
        result.status = inject_bytes(request, buffer + sizeof *request);
        break;
    }
    case IOCTL_WFPCALLOUT_PENDED: {
        const WFPCALLOUT_PENDED *request = (const WFPCALLOUT_PENDED *)buffer;
        if (in < sizeof *request)
            return STATUS_INVALID_PARAMETER;
        result.status = pend_wait(request->rule, request->milliseconds, &result.value);
        break;
    }
    case IOCTL_WFPCALLOUT_COMPLETE:
        if (in < sizeof(WFPCALLOUT_COMPLETE))
            return STATUS_INVALID_PARAMETER;
        result.status = pend_complete((const WFPCALLOUT_COMPLETE *)buffer);
        break;
    case IOCTL_WFPCALLOUT_PLAY:
        if (in < sizeof(WFPCALLOUT_PLAY))
            return STATUS_INVALID_PARAMETER;
        lock();
        result.status = play_step((const WFPCALLOUT_PLAY *)buffer);
        unlock();
        break;
    case IOCTL_WFPCALLOUT_LAB:
        if (in < sizeof(WFPCALLOUT_LAB))
            return STATUS_INVALID_PARAMETER;
        lock();
        result.status = lab_call((const WFPCALLOUT_LAB *)buffer, &result.value);
        unlock();
        break;
    default:
        return STATUS_INVALID_DEVICE_REQUEST;
    }
    RtlCopyMemory(buffer, &result, sizeof result);
    *written = sizeof result;
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI device_request(DEVICE_OBJECT *device, IRP *irp)
{
    IO_STACK_LOCATION *stack = IoGetCurrentIrpStackLocation(irp);
    NTSTATUS status = STATUS_SUCCESS;
    ULONG_PTR written = 0;

    UNREFERENCED_PARAMETER(device);
    if (stack->MajorFunction == IRP_MJ_DEVICE_CONTROL)
        status = control(stack->Parameters.DeviceIoControl.IoControlCode, irp->AssociatedIrp.SystemBuffer,
                         irp->AssociatedIrp.SystemBuffer ? stack->Parameters.DeviceIoControl.InputBufferLength : 0,
                         irp->AssociatedIrp.SystemBuffer ? stack->Parameters.DeviceIoControl.OutputBufferLength : 0,
                         &written);
    irp->IoStatus.Status = status;
    irp->IoStatus.Information = written;
    IoCompleteRequest(irp, IO_NO_INCREMENT);
    return status;
}

static void NTAPI unload(DRIVER_OBJECT *object)
{
    UNICODE_STRING link;

    UNREFERENCED_PARAMETER(object);
    lab_crash(WFPCALLOUT_CRASH_UNLOAD);
    crash_data_stop();
    RtlInitUnicodeString(&link, WFPCALLOUT_DOS_DEVICE_NAME);
    IoDeleteSymbolicLink(&link);
    engine_stop();
    events_stop();
    IoDeleteDevice(driver.device);
}

NTSTATUS NTAPI DriverEntry(DRIVER_OBJECT *object, UNICODE_STRING *registry)
{
    UNICODE_STRING name, link;
    NTSTATUS status;

    UNREFERENCED_PARAMETER(registry);
    driver.object = object;
    KeInitializeEvent(&driver.control, SynchronizationEvent, TRUE);
    RtlInitUnicodeString(&name, WFPCALLOUT_NT_DEVICE_NAME);
    RtlInitUnicodeString(&link, WFPCALLOUT_DOS_DEVICE_NAME);
    status = IoCreateDevice(object, 0, &name, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, FALSE, &driver.device);
    if (!NT_SUCCESS(status))
        return status;
    status = device_secure(driver.device); /* nobody can open it before DriverEntry has returned */
    if (!NT_SUCCESS(status)) {
        IoDeleteDevice(driver.device);
        return status;
    }
    object->MajorFunction[IRP_MJ_CREATE] = device_request;
    object->MajorFunction[IRP_MJ_CLOSE] = device_request;
    object->MajorFunction[IRP_MJ_CLEANUP] = device_request;
    object->MajorFunction[IRP_MJ_DEVICE_CONTROL] = device_request;
    object->DriverUnload = unload;
    status = events_start();
    if (NT_SUCCESS(status)) {
        rules_start();
        flow_start();
        play_start();
        stream_start();
        status = inject_start();
        if (NT_SUCCESS(status)) {
            status = pend_start();
            if (!NT_SUCCESS(status))
                inject_stop();
        }
        if (NT_SUCCESS(status))
            status = engine_start();
        if (NT_SUCCESS(status)) {
            status = IoCreateSymbolicLink(&link, &name);
            if (NT_SUCCESS(status)) {
                driver.device->Flags &= ~DO_DEVICE_INITIALIZING;
                crash_data_start();
                return STATUS_SUCCESS;
            }
            engine_stop();
        }
        events_stop();
    }
    IoDeleteDevice(driver.device);
    return status;
}

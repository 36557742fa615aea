/* What binds every driver: pool memory and IRQL. SPDX-License-Identifier: MIT */
#include "bad.h"

enum { OTHER_TAG = 0x78787878 };

static void leak(void)
{
    void *block = ExAllocatePoolWithTag(NonPagedPoolNx, 100, TAG);
    if (!bad)
        ExFreePoolWithTag(block, TAG);
}

static void free_twice(void)
{
    void *block = ExAllocatePoolWithTag(NonPagedPoolNx, 100, TAG);
    ExFreePoolWithTag(block, TAG);
    if (bad)
        ExFreePoolWithTag(block, TAG);
}

static void other_tag(void)
{
    ExFreePoolWithTag(ExAllocatePoolWithTag(NonPagedPoolNx, 100, TAG), bad ? OTHER_TAG : TAG);
}

static void wait_raised(void)
{
    LARGE_INTEGER short_time;
    KIRQL old = PASSIVE_LEVEL;
    short_time.QuadPart = -10;
    if (bad)
        KeRaiseIrql(DISPATCH_LEVEL, &old);
    KeDelayExecutionThread(KernelMode, FALSE, &short_time);
    if (bad)
        KeLowerIrql(old);
}

static void paged_raised(void)
{
    KIRQL old;
    void *block;
    KeRaiseIrql(DISPATCH_LEVEL, &old);
    block = ExAllocatePoolWithTag(bad ? PagedPool : NonPagedPoolNx, 100, TAG);
    KeLowerIrql(old);
    ExFreePoolWithTag(block, TAG);
}

static void create_raised(void)
{
    KIRQL old = PASSIVE_LEVEL;
    HANDLE handle;
    if (bad)
        KeRaiseIrql(DISPATCH_LEVEL, &old);
    FwpsInjectionHandleCreate0(AF_UNSPEC, FWPS_INJECTION_TYPE_TRANSPORT, &handle);
    if (bad)
        KeLowerIrql(old);
    FwpsInjectionHandleDestroy0(handle);
}

static void unregister_raised(void)
{
    KIRQL old = PASSIVE_LEVEL;
    if (bad)
        KeRaiseIrql(DISPATCH_LEVEL, &old);
    FwpsCalloutUnregisterById0(0xFFFFFFFF);
    if (bad)
        KeLowerIrql(old);
}

static void leave_only(void)
{
    if (!bad)
        KeEnterCriticalRegion();
    KeLeaveCriticalRegion();
}

const struct misdeed misdeeds_of_kernel[] = {
    {.name = "K-POOL-leak", .layer = 0xFFFF, .load = leak},
    {.name = "K-POOL-twice", .layer = 0xFFFF, .load = free_twice},
    {.name = "K-POOL-tag", .layer = 0xFFFF, .load = other_tag},
    {.name = "K-IRQL-wait", .layer = 0xFFFF, .load = wait_raised},
    {.name = "K-IRQL-paged", .layer = 0xFFFF, .load = paged_raised},
    {.name = "W305-create", .layer = 0xFFFF, .load = create_raised},
    {.name = "W019-unregister", .layer = 0xFFFF, .load = unregister_raised},
    {.name = "K-REGION-left", .layer = 0xFFFF, .load = leave_only},
    {.name = NULL},
};

/*
 * What a fault in kernel code comes to: one line on the serial port with code, parameters and place, the stack under
 * it, and the end of the process that plays the kernel. Windows stops the whole machine; here everything that lives in
 * winedevice stops: the engine, its traffic and every driver.
 *
 * SPDX-License-Identifier: MIT
 */
#include <winternl.h>

#include "hooks.h"
#include "inspect.h"

enum {
    IRQL_NOT_LESS_OR_EQUAL = 0xa,
    DRIVER_IRQL = 0xd1,
    SYSTEM_THREAD_EXCEPTION = 0x7e,
    WINE_STUB = (int)0x80000100, /* Wine's ntoskrnl raises it for a function it does not have */
    FRAMES = 24,
};

PEB *NTAPI RtlGetCurrentPeb(void);

static volatile LONG stopped;

struct place {
    const char *module;
    char name[32];
    UINT64 offset;
};

/* Without the loader's lock: whoever holds it may be what has crashed. */
static struct place place_of(UINT64 address)
{
    struct place place = {"?", "", address};
    LIST_ENTRY *head = &RtlGetCurrentPeb()->Ldr->InMemoryOrderModuleList;
    for (LIST_ENTRY *at = head->Flink; at != head; at = at->Flink) {
        LDR_DATA_TABLE_ENTRY *module = CONTAINING_RECORD(at, LDR_DATA_TABLE_ENTRY, InMemoryOrderLinks);
        const uint8_t *base = module->DllBase;
        const IMAGE_NT_HEADERS *headers = (const IMAGE_NT_HEADERS *)(base + ((const IMAGE_DOS_HEADER *)base)->e_lfanew);
        if (address < (UINT64)(uintptr_t)base || address - (uintptr_t)base >= headers->OptionalHeader.SizeOfImage)
            continue;
        const WCHAR *path = module->FullDllName.Buffer;
        unsigned length = module->FullDllName.Length / 2, start = length, to = 0;
        while (start && path[start - 1] != '\\' && path[start - 1] != '/')
            start--;
        while (start < length && to < sizeof place.name - 1)
            place.name[to++] = (char)path[start++];
        place.name[to] = 0;
        place.module = NULL;
        place.offset = address - (uintptr_t)base;
        break;
    }
    return place;
}

#define NAME(place) ((place).module ? (place).module : (place).name)

void module_name(uint64_t address, char *name, size_t room)
{
    struct place place = place_of(address);
    const char *from = NAME(place);
    for (size_t i = 0; i + 1 < room && *from; i++)
        *name++ = *from++;
    *name = 0;
}

void bugcheck_unwind(CONTEXT *context)
{
    UINT64 image, frame;
    void *handler;
    RUNTIME_FUNCTION *function = RtlLookupFunctionEntry(context->Rip, &image, NULL);
    if (function) {
        RtlVirtualUnwind(UNW_FLAG_NHANDLER, image, context->Rip, function, context, &handler, &frame, NULL);
    } else { /* a leaf, or a call to nowhere */
        context->Rip = *(UINT64 *)context->Rsp;
        context->Rsp += 8;
    }
}

static void log_stack(CONTEXT context)
{
    for (int i = 0; i < FRAMES && context.Rip; i++) {
        struct place place = place_of(context.Rip);
        model_log("  #%d %s+0x%llx", i, NAME(place), place.offset);
        bugcheck_unwind(&context);
    }
}

static const char *name_of(UINT32 code)
{
    switch (code) {
    case IRQL_NOT_LESS_OR_EQUAL: return "IRQL_NOT_LESS_OR_EQUAL";
    case DRIVER_IRQL: return "DRIVER_IRQL_NOT_LESS_OR_EQUAL";
    case SYSTEM_THREAD_EXCEPTION: return "SYSTEM_THREAD_EXCEPTION_NOT_HANDLED";
    case 0xe2: return "MANUALLY_INITIATED_CRASH";
    case 0x1e: return "KMODE_EXCEPTION_NOT_HANDLED";
    case 0x50: return "PAGE_FAULT_IN_NONPAGED_AREA";
    case 0x133: return "DPC_WATCHDOG_VIOLATION";
    case 0x139: return "KERNEL_SECURITY_CHECK_FAILURE";
    default: return "code of the driver's own";
    }
}

void bugcheck(UINT32 code, const UINT64 parameters[4], const CONTEXT *context)
{
    if (InterlockedExchange(&stopped, 1))
        Sleep(INFINITE); /* the first one counts */
    struct place place = place_of(context->Rip);
    model_log("bugcheck 0x%x (0x%llx, 0x%llx, 0x%llx, 0x%llx) %s in %s+0x%llx", code, parameters[0], parameters[1],
              parameters[2], parameters[3], name_of(code), NAME(place), place.offset);
    log_stack(*context);
    TerminateProcess(GetCurrentProcess(), code);
}

LONG WINAPI bugcheck_on_exception(EXCEPTION_POINTERS *pointers)
{
    const EXCEPTION_RECORD *record = pointers->ExceptionRecord;
    UINT32 level = irql_now();
    UINT64 rip = pointers->ContextRecord->Rip;
    if (record->ExceptionCode == (DWORD)WINE_STUB && record->NumberParameters >= 2) {
        const char *module = (const char *)record->ExceptionInformation[0], *name = (const char *)record->ExceptionInformation[1];
        model_log("UNIMPLEMENTED: a driver called %s of %s, which Wine does not have", (uintptr_t)name >> 16 ? name : "(by ordinal)", module);
    }
    if (record->ExceptionCode == (DWORD)STATUS_ACCESS_VIOLATION && level >= IRQL_DISPATCH) {
        UINT64 parameters[4] = {record->ExceptionInformation[1], level, record->ExceptionInformation[0], rip};
        bugcheck(DRIVER_IRQL, parameters, pointers->ContextRecord);
    }
    UINT64 parameters[4] = {record->ExceptionCode, rip, (uintptr_t)record, (uintptr_t)pointers->ContextRecord};
    bugcheck(SYSTEM_THREAD_EXCEPTION, parameters, pointers->ContextRecord);
    return EXCEPTION_CONTINUE_SEARCH;
}

/*
 * What a fault in kernel code comes to: a line on the serial port for people and a record in JSON for the host (code,
 * parameters, place, stack), a dump on the disk, the panic device, and the end of the process that plays the kernel.
 * Windows stops the whole machine; here everything that lives in winedevice stops: the engine, its traffic and every driver.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <winternl.h>

#include "bugcheck.h"
#include "hooks.h"
#include "inspect.h"
#include "linux.h"

enum { WINE_STUB = (int)0x80000100 /* Wine's ntoskrnl raises it for a function it does not have */ };
enum { FRAMES = 32, NAME = 40, RECORD = 4096, ENGINE_FRAMES = 8 };

PEB *NTAPI RtlGetCurrentPeb(void);

static volatile LONG stopped;
static DWORD stopped_thread;
static BOOL in_guest;

struct place {
    char name[NAME]; /* nothing in it needs to be escaped; "?" for no module */
    UINT64 offset;
};

/* Without the loader's lock: whoever holds it may be what has crashed. */
static struct place place_of(UINT64 address)
{
    struct place place = {"?", address};
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
        for (; start < length && to < sizeof place.name - 1; start++)
            place.name[to++] = path[start] >= ' ' && path[start] < 127 && path[start] != '"' ? (char)path[start] : '?';
        place.name[to] = 0;
        place.offset = address - (uintptr_t)base;
        break;
    }
    return place;
}

void module_name(uint64_t address, char *name, size_t room)
{
    struct place place = place_of(address);
    for (size_t i = 0; i + 1 < room && place.name[i]; i++)
        *name++ = place.name[i];
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

/* Of the codes that the model itself comes to; the host knows the others by name. */
static const char *name_of(UINT32 code)
{
    switch (code) {
    case BAD_POOL_CALLER_: return "BAD_POOL_CALLER";
    case DRIVER_IRQL_: return "DRIVER_IRQL_NOT_LESS_OR_EQUAL";
    case SYSTEM_THREAD_EXCEPTION_: return "SYSTEM_THREAD_EXCEPTION_NOT_HANDLED";
    case UNEXPECTED_KERNEL_MODE_TRAP_: return "UNEXPECTED_KERNEL_MODE_TRAP";
    case KERNEL_SECURITY_CHECK_FAILURE_: return "KERNEL_SECURITY_CHECK_FAILURE";
    case 0xe2: return "MANUALLY_INITIATED_CRASH";
    default: return "code of the driver's own";
    }
}

/* The clock of a driver's own events: the performance counter. */
static UINT64 time_100ns(void)
{
    LARGE_INTEGER frequency, ticks;
    QueryPerformanceCounter(&ticks);
    QueryPerformanceFrequency(&frequency);
    UINT64 seconds = (UINT64)ticks.QuadPart / (UINT64)frequency.QuadPart, rest = (UINT64)ticks.QuadPart % (UINT64)frequency.QuadPart;
    return seconds * 10000000 + rest * 10000000 / (UINT64)frequency.QuadPart;
}

/* One line, so that nothing that another thread says gets between its parts. After a fault the first place is the
 * instruction itself; all others are behind a call. */
static void say_record(const struct bugcheck *what, BOOL fault, CONTEXT context)
{
    static char line[RECORD]; /* by the one thread that got here */
    int at = _snprintf(line, RECORD, "wfp-hil: bugcheck: {\"code\":%u,\"parameters\":[\"0x%llx\",\"0x%llx\",\"0x%llx\",\"0x%llx\"],\"irql\":%u,\"time_100ns\":%llu,\"fault\":%s,\"stack\":[",
                       what->code, what->parameters[0], what->parameters[1], what->parameters[2], what->parameters[3], what->irql, what->time_100ns, fault ? "true" : "false");
    for (int i = 0; i < FRAMES && context.Rip && at < RECORD - NAME - 32; i++) {
        struct place place = place_of(context.Rip);
        at += _snprintf(line + at, (size_t)(RECORD - at), "%s\"%s+0x%llx\"", i ? "," : "", place.name, place.offset);
        UINT64 before = context.Rsp;
        bugcheck_unwind(&context);
        if (context.Rsp <= before) /* a stack that leads nowhere */
            break;
    }
    at += _snprintf(line + at, (size_t)(RECORD - at), "]}\n");
    linux_console_wait(line, (size_t)at);
}

/* Stacks are told without the model's own frames in front: it is a driver that called it. */
static void leave_engine(CONTEXT *context)
{
    for (int i = 0; i < ENGINE_FRAMES; i++) {
        struct place place = place_of(context->Rip);
        if (lstrcmpiA(place.name, "fwpkclnt.sys") && lstrcmpiA(place.name, "ndis.sys"))
            return;
        bugcheck_unwind(context);
    }
}

static void finish(UINT32 code)
{
    if (in_guest && !linux_panic())
        model_log("there is no panic device: the host learns of the bugcheck by its line alone");
    TerminateProcess(GetCurrentProcess(), code);
}

void bugcheck(UINT32 code, const UINT64 parameters[4], const EXCEPTION_RECORD *exception, const CONTEXT *at)
{
    if (InterlockedExchange(&stopped, 1)) { /* the first one counts */
        if (stopped_thread == GetCurrentThreadId()) /* a driver's callback made another one */
            finish(code);
        Sleep(INFINITE);
    }
    stopped_thread = GetCurrentThreadId();
    struct bugcheck what = {code, irql_now(), time_100ns(), {parameters[0], parameters[1], parameters[2], parameters[3]}};
    CONTEXT context = *at;
    if (!exception)
        leave_engine(&context);
    struct place place = place_of(context.Rip);
    model_log("bugcheck 0x%x (0x%llx, 0x%llx, 0x%llx, 0x%llx) %s in %s+0x%llx", code, parameters[0], parameters[1],
              parameters[2], parameters[3], name_of(code), place.name, place.offset);
    say_record(&what, exception != NULL, context);
    dump_write(&what, exception, &context);
    finish(code);
}

/* A call of a driver that Windows would not survive; comes back where no guest runs this. */
static void stop_for_driver(UINT32 code, const UINT64 parameters[4])
{
    CONTEXT context;
    RtlCaptureContext(&context);
    bugcheck_unwind(&context);
    bugcheck(code, parameters, NULL, &context);
}

void bugchecks_start(BOOL guest)
{
    in_guest = guest;
    if (guest || GetEnvironmentVariableA("WFP_MODEL_DUMP", NULL, 0)) /* a test of crashes, on a host */
        contract_stop = stop_for_driver;
    SetUnhandledExceptionFilter(bugcheck_on_exception);
    signals_start();
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
        bugcheck(DRIVER_IRQL_, parameters, record, pointers->ContextRecord);
    }
    UINT64 parameters[4] = {record->ExceptionCode, rip, (uintptr_t)record, (uintptr_t)pointers->ContextRecord};
    bugcheck(SYSTEM_THREAD_EXCEPTION_, parameters, record, pointers->ContextRecord);
    return EXCEPTION_CONTINUE_SEARCH;
}

/*
 * Functions of Wine's ntoskrnl.exe that know no IRQL or keep silent about a bugcheck are replaced: their entries in its
 * export table lead here, so that every driver loaded afterwards imports these. Nothing of Wine's own calls is changed.
 *
 * KeGetCurrentIrql is no function on x64 but a read of the register CR8, which faults in a process; the exception
 * handler answers in its place, and for writes (KeRaiseIrql, KeLowerIrql) as well.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "bugcheck.h"
#include "hooks.h"
#include "linux.h"

enum { PAGED_POOL = 1 };

struct queued_lock { /* KLOCK_QUEUE_HANDLE */
    void *next;
    void *lock;
    UINT8 old_irql;
};

static void(NTAPI *acquire_at_dpc)(void *lock);
static void(NTAPI *release_from_dpc)(void *lock);
static void(NTAPI *acquire_queued)(void *lock, struct queued_lock *handle);
static void(NTAPI *release_queued)(struct queued_lock *handle);
static LONG(NTAPI *wait_one)(void *object, int reason, char mode, BOOLEAN alertable, const LARGE_INTEGER *timeout);
static LONG(NTAPI *wait_many)(ULONG count, void *objects[], int type, int reason, char mode, BOOLEAN alertable,
                              const LARGE_INTEGER *timeout, void *blocks);
static LONG(NTAPI *delay)(char mode, BOOLEAN alertable, const LARGE_INTEGER *interval);
static void *(NTAPI *allocate)(int type, SIZE_T size, ULONG tag);
static void *(NTAPI *allocate_charged)(int type, SIZE_T size, ULONG tag);
static void(NTAPI *release)(void *block, ULONG tag);
static LONG(NTAPI *create_device)(void *driver, ULONG extension, void *name, ULONG type, ULONG flags, BOOLEAN exclusive, void **device);
static void(NTAPI *delete_device)(void *device);

static UINT8 NTAPI acquire_raise(void *lock)
{
    UINT32 old = irql_set(IRQL_DISPATCH);
    acquire_at_dpc(lock);
    return (UINT8)old;
}

static void NTAPI release_lower(void *lock, UINT8 level)
{
    release_from_dpc(lock);
    irql_set(level);
}

static void NTAPI acquire_queued_raise(void *lock, struct queued_lock *handle)
{
    UINT32 old = irql_set(IRQL_DISPATCH);
    acquire_queued(lock, handle);
    handle->old_irql = (UINT8)old;
}

static void NTAPI release_queued_lower(struct queued_lock *handle)
{
    UINT32 level = handle->old_irql;
    release_queued(handle);
    irql_set(level);
}

static UINT8 NTAPI raise_irql(UINT8 level)
{
    UINT32 old = irql_set(level);
    if (old > level)
        contract_broken(RULE_IRQL, "KfRaiseIrql", "it lowers the IRQL from %u to %u: a level that is not lower is wanted", old, level);
    return (UINT8)old;
}

static void NTAPI lower_irql(UINT8 level)
{
    UINT32 old = irql_set(level);
    if (old < level)
        contract_broken(RULE_IRQL, "KeLowerIrql", "it raises the IRQL from %u to %u: the level from before KeRaiseIrql is wanted", old, level);
}

/* Looking without waiting is allowed at any level up to DISPATCH_LEVEL. */
static void require_no_wait(const LARGE_INTEGER *timeout, const char *function)
{
    UINT32 level = irql_now();
    if (level >= IRQL_DISPATCH && (!timeout || timeout->QuadPart))
        contract_broken(RULE_IRQL, function, "it would wait at IRQL %u: that is allowed below DISPATCH_LEVEL only", level);
}

static LONG NTAPI checked_wait_one(void *object, int reason, char mode, BOOLEAN alertable, const LARGE_INTEGER *timeout)
{
    require_no_wait(timeout, "KeWaitForSingleObject");
    return wait_one(object, reason, mode, alertable, timeout);
}

static LONG NTAPI checked_wait_many(ULONG count, void *objects[], int type, int reason, char mode, BOOLEAN alertable,
                                    const LARGE_INTEGER *timeout, void *blocks)
{
    require_no_wait(timeout, "KeWaitForMultipleObjects");
    return wait_many(count, objects, type, reason, mode, alertable, timeout, blocks);
}

static LONG NTAPI checked_delay(char mode, BOOLEAN alertable, const LARGE_INTEGER *interval)
{
    require_no_wait(NULL, "KeDelayExecutionThread");
    return delay(mode, alertable, interval);
}

static void *remember(void *block, int type, SIZE_T size, ULONG tag, const char *function)
{
    if ((type & 1) == PAGED_POOL && irql_now() >= IRQL_DISPATCH)
        contract_broken(RULE_IRQL, function, "paged pool is allocated at IRQL %u: that is allowed below DISPATCH_LEVEL only", irql_now());
    if (block)
        held_add(HOLD_POOL, block, size, tag);
    return block;
}

static void *NTAPI checked_allocate_tag(int type, SIZE_T size, ULONG tag)
{
    return remember(allocate(type, size, tag), type, size, tag, "ExAllocatePoolWithTag");
}

static void *NTAPI checked_allocate_plain(int type, SIZE_T size)
{
    return remember(allocate(type, size, 0), type, size, 0, "ExAllocatePool");
}

static void *NTAPI checked_allocate_priority(int type, SIZE_T size, ULONG tag, int priority)
{
    (void)priority;
    return remember(allocate(type, size, tag), type, size, tag, "ExAllocatePoolWithTagPriority");
}

static void *NTAPI checked_allocate_charged(int type, SIZE_T size, ULONG tag)
{
    return remember(allocate_charged(type, size, tag), type, size, tag, "ExAllocatePoolWithQuotaTag");
}

static void forget(void *block, ULONG tag, const char *function)
{
    enum { PROTECTED = (int)0x80000000 };
    UINT32 made = 0;
    if (held_by_engine(block, FALSE)) {
        contract_broken("W141", function, "the block is the localRedirectContext of a redirected connection: the engine has owned it since it was applied, and frees it");
        return;
    }
    if (held_was_freed(block)) {
        contract_broken(RULE_POOL, function, "the block of pool memory was freed before: each is freed once");
        return;
    }
    if (held_find(HOLD_CONTEXT, block, NULL, NULL))
        contract_broken("W195", function, "the block is the context of a flow, and flowDeleteFn has not run for it: classifyFn may still be given it");
    if (held_find(HOLD_POOL, block, NULL, &made) && tag && (made ^ tag) & ~(UINT32)PROTECTED)
        contract_broken(RULE_POOL, function, "the block is freed with the tag '%.4s': '%.4s' is wanted, with which it was allocated", (const char *)&tag, (const char *)&made);
    held_drop(HOLD_POOL, block);
    release(block, tag);
}

static void NTAPI checked_free_tag(void *block, ULONG tag)
{
    forget(block, tag, "ExFreePoolWithTag");
}

static void NTAPI checked_free(void *block)
{
    forget(block, 0, "ExFreePool");
}

static LONG NTAPI checked_create_device(void *driver, ULONG extension, void *name, ULONG type, ULONG flags, BOOLEAN exclusive, void **device)
{
    LONG status = create_device(driver, extension, name, type, flags, exclusive, device);
    if (status >= 0)
        held_add(HOLD_DEVICE, *device, 0, 0);
    return status;
}

static void NTAPI checked_delete_device(void *device)
{
    held_drop(HOLD_DEVICE, device);
    delete_device(device);
}

static void NTAPI enter_region(void)
{
    thread_now()->regions++;
}

static void NTAPI leave_region(void)
{
    struct thread *thread = thread_now();
    if (thread->regions <= 0)
        contract_broken(RULE_REGION, "KeLeaveCriticalRegion", "the thread is in no critical region: one KeLeave for each KeEnter");
    else
        thread->regions--;
}

static BOOLEAN NTAPI are_apcs_disabled(void)
{
    return thread_now()->regions > 0;
}

static void NTAPI bugcheck_five(ULONG code, ULONG_PTR a, ULONG_PTR b, ULONG_PTR c, ULONG_PTR d)
{
    UINT64 parameters[4] = {a, b, c, d};
    CONTEXT context;
    RtlCaptureContext(&context);
    bugcheck_unwind(&context); /* to whoever called */
    bugcheck(code, parameters, NULL, &context);
}

static void NTAPI bugcheck_one(ULONG code)
{
    UINT64 parameters[4] = {0};
    CONTEXT context;
    RtlCaptureContext(&context);
    bugcheck_unwind(&context);
    bugcheck(code, parameters, NULL, &context);
}

static const struct hook {
    const char *name;
    void *replacement;
    void **original; /* of `kept`, or of the function itself */
    const char *kept;
} hooks[] = {
    {"KeAcquireSpinLockRaiseToDpc", (void *)acquire_raise, (void **)&acquire_at_dpc, "KeAcquireSpinLockAtDpcLevel"},
    {"KeReleaseSpinLock", (void *)release_lower, (void **)&release_from_dpc, "KeReleaseSpinLockFromDpcLevel"},
    {"KeAcquireInStackQueuedSpinLock", (void *)acquire_queued_raise, (void **)&acquire_queued, NULL},
    {"KeReleaseInStackQueuedSpinLock", (void *)release_queued_lower, (void **)&release_queued, NULL},
    {"KfRaiseIrql", (void *)raise_irql, NULL, NULL},
    {"KeLowerIrql", (void *)lower_irql, NULL, NULL},
    {"KeWaitForSingleObject", (void *)checked_wait_one, (void **)&wait_one, NULL},
    {"KeWaitForMultipleObjects", (void *)checked_wait_many, (void **)&wait_many, NULL},
    {"KeDelayExecutionThread", (void *)checked_delay, (void **)&delay, NULL},
    {"ExAllocatePoolWithTag", (void *)checked_allocate_tag, (void **)&allocate, NULL},
    {"ExAllocatePool", (void *)checked_allocate_plain, NULL, NULL},
    {"ExAllocatePoolWithTagPriority", (void *)checked_allocate_priority, NULL, NULL},
    {"ExAllocatePoolWithQuotaTag", (void *)checked_allocate_charged, (void **)&allocate_charged, NULL},
    {"ExFreePoolWithTag", (void *)checked_free_tag, (void **)&release, NULL},
    {"ExFreePool", (void *)checked_free, NULL, NULL},
    {"IoCreateDevice", (void *)checked_create_device, (void **)&create_device, NULL},
    {"IoDeleteDevice", (void *)checked_delete_device, (void **)&delete_device, NULL},
    {"KeEnterCriticalRegion", (void *)enter_region, NULL, NULL},
    {"KeLeaveCriticalRegion", (void *)leave_region, NULL, NULL},
    {"KeEnterGuardedRegion", (void *)enter_region, NULL, NULL},
    {"KeLeaveGuardedRegion", (void *)leave_region, NULL, NULL},
    {"KeAreApcsDisabled", (void *)are_apcs_disabled, NULL, NULL},
    {"KeBugCheckEx", (void *)bugcheck_five, NULL, NULL},
    {"KeBugCheck", (void *)bugcheck_one, NULL, NULL},
    {"KeRegisterBugCheckReasonCallback", (void *)dump_register, NULL, NULL},
    {"KeDeregisterBugCheckReasonCallback", (void *)dump_deregister, NULL, NULL},
};
enum { HOOKS = sizeof hooks / sizeof hooks[0], JUMP = 16, STEP = 0x10000, TRIES = 0x4000 };

/* An export is an offset of 32 bits from its module, and the model may be far away: jumps stand in between. */
static uint8_t *room_behind(uint8_t *module, size_t size)
{
    uint8_t *at = (uint8_t *)(((uintptr_t)module + size + STEP - 1) & ~(uintptr_t)(STEP - 1));
    for (int i = 0; i < TRIES; i++, at += STEP) {
        void *room = VirtualAlloc(at, HOOKS * JUMP, MEM_RESERVE | MEM_COMMIT, PAGE_EXECUTE_READWRITE);
        if (room == at)
            return room;
        if (room)
            VirtualFree(room, 0, MEM_RELEASE);
    }
    return NULL;
}

static DWORD *export_entry(uint8_t *module, const IMAGE_EXPORT_DIRECTORY *exports, const char *name)
{
    const DWORD *names = (const DWORD *)(module + exports->AddressOfNames);
    const WORD *ordinals = (const WORD *)(module + exports->AddressOfNameOrdinals);
    DWORD *functions = (DWORD *)(module + exports->AddressOfFunctions);
    for (DWORD i = 0; i < exports->NumberOfNames; i++)
        if (!strcmp((const char *)module + names[i], name))
            return &functions[ordinals[i]];
    return NULL;
}

static void redirect_export(uint8_t *module, DWORD *entry, uint8_t *jump, void *target)
{
    DWORD old;
    static const uint8_t code[] = {0xff, 0x25, 0, 0, 0, 0}; /* jmp [rip] */
    memcpy(jump, code, sizeof code);
    memcpy(jump + sizeof code, &target, sizeof target);
    if (VirtualProtect(entry, sizeof *entry, PAGE_READWRITE, &old)) {
        *entry = (DWORD)(jump - module);
        VirtualProtect(entry, sizeof *entry, old, &old);
    }
}

static void hook_exports(uint8_t *module)
{
    const IMAGE_NT_HEADERS *headers = (const IMAGE_NT_HEADERS *)(module + ((const IMAGE_DOS_HEADER *)module)->e_lfanew);
    const IMAGE_DATA_DIRECTORY *where = &headers->OptionalHeader.DataDirectory[IMAGE_DIRECTORY_ENTRY_EXPORT];
    const IMAGE_EXPORT_DIRECTORY *exports = (const IMAGE_EXPORT_DIRECTORY *)(module + where->VirtualAddress);
    uint8_t *room = room_behind(module, headers->OptionalHeader.SizeOfImage);
    DWORD *entries[HOOKS];
    for (int i = 0; i < HOOKS; i++) {
        const struct hook *hook = &hooks[i];
        const char *kept = hook->kept ? hook->kept : hook->name;
        entries[i] = export_entry(module, exports, hook->name);
        if (hook->original)
            *hook->original = (void *)(uintptr_t)GetProcAddress((HMODULE)module, kept);
        if (!room || !entries[i] || (hook->original && !*hook->original)) {
            model_log("%s of Wine's ntoskrnl.exe cannot be replaced: IRQL and bugchecks go unseen", hook->name);
            return;
        }
    }
    for (int i = 0; i < HOOKS; i++)
        redirect_export(module, entries[i], room + i * JUMP, hooks[i].replacement);
    pool_watched = TRUE;
}

/* mov r64, cr8 is [REX 44..45] 0F 20 11000rrr; mov cr8, r64 is [REX] 0F 22 11000rrr. */
static LONG CALLBACK answer_cr8(EXCEPTION_POINTERS *pointers)
{
    static const size_t registers[] = {
        offsetof(CONTEXT, Rax), offsetof(CONTEXT, Rcx), offsetof(CONTEXT, Rdx), offsetof(CONTEXT, Rbx),
        offsetof(CONTEXT, Rsp), offsetof(CONTEXT, Rbp), offsetof(CONTEXT, Rsi), offsetof(CONTEXT, Rdi),
        offsetof(CONTEXT, R8),  offsetof(CONTEXT, R9),  offsetof(CONTEXT, R10), offsetof(CONTEXT, R11),
        offsetof(CONTEXT, R12), offsetof(CONTEXT, R13), offsetof(CONTEXT, R14), offsetof(CONTEXT, R15),
    };
    const EXCEPTION_RECORD *record = pointers->ExceptionRecord;
    CONTEXT *context = pointers->ContextRecord;
    /* Linux tells a privileged instruction from a wild pointer by the address alone, which the first does not have. */
    BOOL no_address = record->ExceptionCode == (DWORD)STATUS_ACCESS_VIOLATION && record->ExceptionInformation[1] == ~(ULONG_PTR)0;
    if (record->ExceptionCode != (DWORD)EXCEPTION_PRIV_INSTRUCTION && !no_address)
        return EXCEPTION_CONTINUE_SEARCH;
    if (context->Rip >> 47)
        return EXCEPTION_CONTINUE_SEARCH; /* the jump itself was wild */
    const uint8_t *code = (const uint8_t *)(uintptr_t)context->Rip;
    if ((code[0] & 0xf6) != 0x44 || code[1] != 0x0f || (code[2] != 0x20 && code[2] != 0x22) || (code[3] & 0xf8) != 0xc0)
        return EXCEPTION_CONTINUE_SEARCH;
    UINT64 *value = (UINT64 *)((uint8_t *)context + registers[(code[3] & 7) | (code[0] & 1) << 3]);
    if (code[2] == 0x20)
        *value = irql_now();
    else
        irql_set((UINT32)*value);
    context->Rip += 4;
    return EXCEPTION_CONTINUE_EXECUTION;
}

void hooks_start(void)
{
    static volatile LONG done;
    static char console[260]; /* for tests on a host: a file in place of the serial port, and no wire */
    HMODULE self, kernel = GetModuleHandleA("ntoskrnl.exe");
    if (!kernel || InterlockedExchange(&done, 1))
        return;
    GetModuleHandleExA(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_PIN, (const char *)(uintptr_t)hooks_start, &self);
    BOOL on_host = GetEnvironmentVariableA("WFP_MODEL_CONSOLE", console, sizeof console) > 0;
    if (on_host)
        linux_console_path = console;
    bugchecks_start(!on_host);
    AddVectoredExceptionHandler(1, answer_cr8);
    hook_exports((uint8_t *)kernel);
    drivers_watch();
}

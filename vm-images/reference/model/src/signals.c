/*
 * Two faults never become an exception that a handler sees: __fastfail, for which Wine ends the process, and a stack that
 * has run over, on which there is no room to tell of it. Both come as Linux' SIGSEGV, on a stack of its own: they are
 * looked for before Wine's handler, which gets every other one.
 *
 * SPDX-License-Identifier: MIT
 */
#include "bugcheck.h"
#include "linux.h"

enum { SIGSEGV_ = 11, TRAP_PROTECTION = 13, TRAP_PAGE = 14, DOUBLE_FAULT = 8, PAGE = 0x1000 };
/* Wine makes an overflow of a touch of the last pages of a stack: one that cannot be reached, and those it guarantees. */
enum { LAST_PAGES = 4, FRAME_MAX = 0x10000 };

struct ucontext { /* of Linux for x64 */
    UINT64 flags;
    void *link;
    struct { void *base; int flags; UINT64 size; } stack;
    UINT64 r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, eflags, segments, error, trap, mask, cr2;
};
_Static_assert(offsetof(struct ucontext, r8) == 40 && offsetof(struct ucontext, cr2) == 216, "as Linux lays it out");

struct action { /* what the system call takes: not libc's structure */
    void *handler;
    UINT64 flags;
    void *restorer;
    UINT64 mask;
};

static __attribute__((sysv_abi)) void (*wines)(int signal, void *info, struct ucontext *at);

static CONTEXT context_of(const struct ucontext *at)
{
    CONTEXT c = {.ContextFlags = CONTEXT_CONTROL | CONTEXT_INTEGER};
    c.Rip = at->rip, c.Rsp = at->rsp, c.EFlags = (DWORD)at->eflags, c.SegCs = (WORD)at->segments;
    c.Rax = at->rax, c.Rbx = at->rbx, c.Rcx = at->rcx, c.Rdx = at->rdx, c.Rsi = at->rsi, c.Rdi = at->rdi, c.Rbp = at->rbp;
    c.R8 = at->r8, c.R9 = at->r9, c.R10 = at->r10, c.R11 = at->r11, c.R12 = at->r12, c.R13 = at->r13, c.R14 = at->r14, c.R15 = at->r15;
    return c;
}

/* The error code of an INT that a program may not use is its number and a bit; QEMU's emulator doubles the number, so that
 * Wine would not know what it was. */
static void repair_error(struct ucontext *at)
{
    enum { INT = 0xcd, OF_THE_TABLE = 2 };
    const uint8_t *code = (const uint8_t *)(uintptr_t)at->rip;
    if (at->trap != TRAP_PROTECTION || !(at->error & OF_THE_TABLE) || at->rip >> 47)
        return;
    if (code[0] == INT && at->error == ((UINT64)code[1] << 4 | OF_THE_TABLE))
        at->error = (UINT64)code[1] << 3 | OF_THE_TABLE;
}

static BOOL is_fastfail(const struct ucontext *at)
{
    enum { VECTOR = 0x29, OF_THE_TABLE = 2 };
    return at->trap == TRAP_PROTECTION && at->error == (VECTOR << 3 | OF_THE_TABLE);
}

static BOOL is_overflow(const struct ucontext *at)
{
    UINT64 lowest;
    __asm__ volatile("mov %%gs:0x1478, %0" : "=r"(lowest)); /* TEB.DeallocationStack */
    if (at->trap != TRAP_PAGE || !lowest || at->cr2 + FRAME_MAX < lowest || at->cr2 >= lowest + LAST_PAGES * PAGE)
        return FALSE;
    return at->rsp + FRAME_MAX > at->cr2 && at->rsp < at->cr2 + FRAME_MAX;
}

static __attribute__((sysv_abi)) void on_segv(int signal, void *info, struct ucontext *at)
{
    repair_error(at);
    if (is_fastfail(at)) {
        CONTEXT context = context_of(at);
        EXCEPTION_RECORD record = {.ExceptionCode = (DWORD)STATUS_STACK_BUFFER_OVERRUN, .ExceptionFlags = EXCEPTION_NONCONTINUABLE,
                                   .ExceptionAddress = (void *)(uintptr_t)at->rip, .NumberParameters = 1};
        record.ExceptionInformation[0] = at->rcx;
        UINT64 parameters[4] = {at->rcx & 0xffffffff, (uintptr_t)&context, (uintptr_t)&record, 0};
        bugcheck(KERNEL_SECURITY_CHECK_FAILURE_, parameters, &record, &context);
    }
    if (is_overflow(at)) {
        CONTEXT context = context_of(at);
        EXCEPTION_RECORD record = {.ExceptionCode = (DWORD)STATUS_STACK_OVERFLOW, .ExceptionAddress = (void *)(uintptr_t)at->rip};
        UINT64 parameters[4] = {DOUBLE_FAULT, at->rsp, at->cr2, at->rip};
        bugcheck(UNEXPECTED_KERNEL_MODE_TRAP_, parameters, &record, &context);
    }
    wines(signal, info, at);
}

void signals_start(void)
{
    struct action action;
    if (linux_signal_action(SIGSEGV_, NULL, &action) < 0 || (uintptr_t)action.handler < PAGE) {
        model_log("Wine's handler of faults is not where it is looked for: __fastfail and a stack that has run over go unseen");
        return;
    }
    wines = (__attribute__((sysv_abi)) void (*)(int, void *, struct ucontext *))(uintptr_t)action.handler;
    action.handler = (void *)(uintptr_t)on_segv;
    linux_signal_action(SIGSEGV_, &action, NULL);
}

/*
 * The guard of the stack for builds without the kit: what the kit's BufferOverflowFastFailK.lib and GsDriverEntry are to
 * its own compiler. A function that overran its array ends in bugcheck 0xF7 instead of in a wild return.
 *
 * SPDX-License-Identifier: MIT
 */
#ifdef __GNUC__
#include "callout.h"

#define DRIVER_OVERRAN_STACK_BUFFER 0xF7
#define COOKIE_BITS 0x0000FFFFFFFFFFFFull /* the upper two bytes are zero, so that no string can be copied over it */

UINT_PTR __stack_chk_guard = 0x00002B992DDFA232ull;

DRIVER_INITIALIZE DriverEntry;
DRIVER_INITIALIZE DriverStart;

DECLSPEC_NORETURN void __stack_chk_fail(void)
{
    KeBugCheckEx(DRIVER_OVERRAN_STACK_BUFFER, 0, __stack_chk_guard, ~__stack_chk_guard, 0);
}

/* The entry point of the file. It has no guard itself: it changes what its own end would compare with. */
__attribute__((no_stack_protector)) NTSTATUS NTAPI DriverStart(DRIVER_OBJECT *object, UNICODE_STRING *registry)
{
    UINT_PTR seed = __builtin_ia32_rdtsc() ^ (UINT_PTR)object ^ (UINT_PTR)&seed;

    seed ^= (UINT_PTR)KeQueryPerformanceCounter(NULL).QuadPart << 16;
    seed &= COOKIE_BITS;
    if (seed)
        __stack_chk_guard = seed;
    return DriverEntry(object, registry);
}
#endif

/* The contract as ndis.sys sees it: by way of fwpkclnt.sys, and not at all where that is not loaded. SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <stdio.h>

#include "far.h"

static const struct contract_far *other(void)
{
    static const struct contract_far *volatile found;
    if (!found) {
        HMODULE module = GetModuleHandleA("fwpkclnt.sys");
        const struct contract_far *(NTAPI *function)(void) =
            module ? (const struct contract_far *(NTAPI *)(void))(uintptr_t)GetProcAddress(module, "ModelContract") : NULL;
        found = function ? function() : NULL;
    }
    return found;
}

void contract_broken(const char *rule, const char *call, const char *format, ...)
{
    char text[320];
    va_list arguments;
    va_start(arguments, format);
    _vsnprintf(text, sizeof text - 1, format, arguments);
    text[sizeof text - 1] = 0;
    va_end(arguments);
    if (other())
        other()->broken(rule, call, text);
}

void contract_fatal(UINT32 code, UINT64 a, UINT64 b, UINT64 c, UINT64 d)
{
    if (other())
        other()->fatal(code, a, b, c, d);
}

void held_add(enum holding kind, const void *object, size_t size, UINT32 tag)
{
    if (other())
        other()->add(kind, object, size, tag);
}

BOOL held_drop(enum holding kind, const void *object)
{
    return other() && other()->drop(kind, object);
}

BOOL contract_in_classify(const NET_BUFFER_LIST **shown)
{
    *shown = NULL;
    return other() && other()->in_classify(shown);
}

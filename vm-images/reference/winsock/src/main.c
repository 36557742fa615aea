/* The library itself. SPDX-License-Identifier: MIT */
#include "shim.h"

bool shim_inert;

void *shim_alloc(size_t size)
{
    return HeapAlloc(GetProcessHeap(), HEAP_ZERO_MEMORY, size);
}

void shim_free(void *block)
{
    if (block)
        HeapFree(GetProcessHeap(), 0, block);
}

BOOL WINAPI DllMain(HINSTANCE module, DWORD reason, void *reserved)
{
    (void)reserved;
    if (reason == DLL_PROCESS_ATTACH) {
        DisableThreadLibraryCalls(module);
        /* The engine is in that process: asking it from the thread that hands out requests would wait for itself. */
        shim_inert = GetModuleHandleW(L"ntoskrnl.exe") != NULL;
    }
    return TRUE;
}

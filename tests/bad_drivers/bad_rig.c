/*
 * bad_rig.exe SERVICE...: loads bad.sys over the model as the kernel would, under each name in turn; sends some traffic,
 * unloads it.
 * What the model says stands in the file that WFP_MODEL_CONSOLE names. SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <string.h>
#include <windows.h>
#include <winternl.h>

typedef NTSTATUS(NTAPI *ENTRY)(void *driver, UNICODE_STRING *registry);
typedef void(NTAPI *UNLOAD)(void *driver);
typedef void(NTAPI *CALL)(void);
enum { DRIVER_OBJECT_SIZE = 0x150, DRIVER_UNLOAD = 0x68, FAILED = 3 };

static void *entry_of(HMODULE module)
{
    const IMAGE_DOS_HEADER *dos = (const IMAGE_DOS_HEADER *)module;
    const IMAGE_NT_HEADERS *nt = (const IMAGE_NT_HEADERS *)((const char *)module + dos->e_lfanew);
    return (char *)module + nt->OptionalHeader.AddressOfEntryPoint;
}

static NTSTATUS run(HMODULE model, const char *service)
{
    static unsigned char driver[DRIVER_OBJECT_SIZE * 2];
    WCHAR path[200];
    UNICODE_STRING registry = {0, sizeof path, path};
    HMODULE module = LoadLibraryA("bad.sys");
    UNLOAD unload;
    if (!module)
        return printf("%s: bad.sys does not load, error %lu\n", service, GetLastError()), -1;
    memset(driver, 0, sizeof driver);
    registry.Length = (USHORT)(2 * swprintf(path, 200, L"\\Registry\\Machine\\System\\CurrentControlSet\\Services\\%hs", service));
    NTSTATUS status = ((ENTRY)entry_of(module))(driver, &registry);
    if (status >= 0) {
        ((CALL)(void *)GetProcAddress(model, "RigTraffic"))();
        memcpy(&unload, driver + DRIVER_UNLOAD, sizeof unload);
        unload(driver);
    }
    FreeLibrary(module);
    printf("%s: 0x%lx\n", service, (unsigned long)status);
    fflush(stdout);
    return status;
}

int main(int count, char **words)
{
    HMODULE model = LoadLibraryA("fwpkclnt.sys");
    if (count < 2 || !model)
        return printf("fwpkclnt.sys does not load, error %lu\n", GetLastError()), FAILED;
    ((CALL)(void *)GetProcAddress(model, "RigStart"))();
    for (int i = 1; i < count; i++)
        if (run(model, words[i]) < 0)
            TerminateProcess(GetCurrentProcess(), FAILED);
    TerminateProcess(GetCurrentProcess(), 0); /* not by way of the model's threads */
}

/*
 * crash_rig.exe NUMBER: loads wfpcrash.sys over the model as the kernel would, with that wish in its service key, and
 * unloads it. What the model says stands in the file that WFP_MODEL_CONSOLE names. SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>
#include <winternl.h>

typedef NTSTATUS(NTAPI *ENTRY)(void *driver, UNICODE_STRING *registry);
typedef void(NTAPI *UNLOAD)(void *driver);
enum { DRIVER_OBJECT_SIZE = 0x150, DRIVER_UNLOAD = 0x68, SURVIVED = 3, BROKEN = 4 };

int main(int count, char **words)
{
    static unsigned char driver[DRIVER_OBJECT_SIZE * 2];
    static WCHAR path[] = L"\\Registry\\Machine\\System\\CurrentControlSet\\Services\\wfpcrash";
    UNICODE_STRING registry = {sizeof path - sizeof *path, sizeof path, path};
    DWORD wish = count > 1 ? (DWORD)atoi(words[1]) : 0;
    HKEY key;
    UNLOAD unload;
    if (RegCreateKeyExA(HKEY_LOCAL_MACHINE, "System\\CurrentControlSet\\Services\\wfpcrash", 0, NULL, 0, KEY_ALL_ACCESS, NULL, &key, NULL) ||
        RegSetValueExA(key, "Crash", 0, REG_DWORD, (const BYTE *)&wish, sizeof wish))
        return printf("the service key cannot be written\n"), BROKEN;
    HMODULE model = LoadLibraryA("fwpkclnt.sys"), module = LoadLibraryA("wfpcrash.sys");
    if (!model || !module)
        return printf("fwpkclnt.sys or wfpcrash.sys does not load, error %lu\n", GetLastError()), BROKEN;
    const IMAGE_NT_HEADERS *nt = (const IMAGE_NT_HEADERS *)((const char *)module + ((const IMAGE_DOS_HEADER *)module)->e_lfanew);
    NTSTATUS status = ((ENTRY)(void *)((char *)module + nt->OptionalHeader.AddressOfEntryPoint))(driver, &registry);
    printf("DriverEntry gave 0x%lx\n", (unsigned long)status);
    fflush(stdout);
    if (status >= 0) {
        memcpy(&unload, driver + DRIVER_UNLOAD, sizeof unload);
        unload(driver);
    }
    TerminateProcess(GetCurrentProcess(), SURVIVED); /* not by way of the model's threads */
}

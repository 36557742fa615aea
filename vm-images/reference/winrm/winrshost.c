/* Gives a remote shell's command a console with the shell's code page. SPDX-License-Identifier: MIT
 *
 * A program that the endpoint starts with pipes has no console under Wine: GetConsoleOutputCP answers 0, cmd.exe
 * writes in the ANSI code page whatever WINRS_CODEPAGE said, and chcp fails. On Windows a process of this name holds
 * the console; here it makes a pseudo console that nobody looks at, takes it as its own, and starts the command in it.
 *
 * Environment: WINRS_CODEPAGE, WINRS_LINE (the command line, as CreateProcess takes it), WINRS_ENV_x (variable x).
 * None of these reaches the command. Ends with the command's exit code.
 */
#define _WIN32_WINNT 0x0A00
#define NTDDI_VERSION 0x0A000006
#include <windows.h>
#include <winternl.h>

#include <stdio.h>
#include <stdlib.h>
#include <wchar.h>

#define OWN L"WINRS_ENV_"
#define CONSOLE_HANDLE_OFFSET 0x10 /* RTL_USER_PROCESS_PARAMETERS.ConsoleHandle on x64 */

/* What an HPCON points to, under Wine as on Windows. */
struct pseudo_console {
    HANDLE signal;
    HANDLE reference;
    HANDLE process;
};

NTSYSAPI PEB *NTAPI RtlGetCurrentPeb(void);
typedef HRESULT(WINAPI *create_pseudo_console)(COORD, HANDLE, HANDLE, DWORD, void **);

static DWORD fail(const char *what, DWORD code)
{
    fprintf(stderr, "winrshost: %s failed with error %lu\n", what, code);
    return code ? code : 1;
}

static DWORD take_console(UINT codepage)
{
    create_pseudo_console create =
        (create_pseudo_console)(void *)GetProcAddress(GetModuleHandleW(L"kernelbase.dll"), "CreatePseudoConsole");
    HANDLE input = NULL, keep_open = NULL;
    HANDLE output = CreateFileW(L"NUL", GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, OPEN_EXISTING, 0, NULL);
    if (!create || output == INVALID_HANDLE_VALUE || !CreatePipe(&input, &keep_open, NULL, 0))
        return fail("making a console's pipes", GetLastError());
    struct pseudo_console *console = NULL;
    HRESULT made = create((COORD){120, 50}, input, output, 0, (void **)&console);
    if (FAILED(made))
        return fail("CreatePseudoConsole", (DWORD)made);

    *(HANDLE *)((char *)RtlGetCurrentPeb()->ProcessParameters + CONSOLE_HANDLE_OFFSET) = console->reference;
    if (!SetConsoleCP(codepage) || !SetConsoleOutputCP(codepage))
        return fail("setting the code page", GetLastError());
    return 0;
}

/* Moves WINRS_ENV_x to x: set from outside, some names (PATH, TEMP) would be the emulator's own. */
static void take_environment(void)
{
    wchar_t *block = GetEnvironmentStringsW();
    for (wchar_t *entry = block; entry && *entry; entry += wcslen(entry) + 1) {
        if (wcsncmp(entry, OWN, wcslen(OWN)) != 0)
            continue;
        wchar_t *name = _wcsdup(entry);
        wchar_t *value = name ? wcschr(name, L'=') : NULL;
        if (value) {
            *value++ = 0;
            SetEnvironmentVariableW(name, NULL);
            SetEnvironmentVariableW(name + wcslen(OWN), value);
        }
        free(name);
    }
    FreeEnvironmentStringsW(block);
    SetEnvironmentVariableW(L"WINRS_LINE", NULL);
    SetEnvironmentVariableW(L"WINRS_CODEPAGE", NULL);
}

int wmain(void)
{
    static wchar_t line[32768];
    wchar_t codepage[16];
    if (!GetEnvironmentVariableW(L"WINRS_LINE", line, ARRAYSIZE(line)) ||
        !GetEnvironmentVariableW(L"WINRS_CODEPAGE", codepage, ARRAYSIZE(codepage)))
        return (int)fail("reading WINRS_LINE and WINRS_CODEPAGE", GetLastError());
    HANDLE streams[3] = {GetStdHandle(STD_INPUT_HANDLE), GetStdHandle(STD_OUTPUT_HANDLE), GetStdHandle(STD_ERROR_HANDLE)};

    DWORD failed = take_console((UINT)_wtoi(codepage));
    if (failed)
        return (int)failed;
    take_environment();

    STARTUPINFOW start = {.cb = sizeof start, .dwFlags = STARTF_USESTDHANDLES};
    start.hStdInput = streams[0];
    start.hStdOutput = streams[1];
    start.hStdError = streams[2];
    for (int i = 0; i < 3; i++)
        SetHandleInformation(streams[i], HANDLE_FLAG_INHERIT, HANDLE_FLAG_INHERIT);
    PROCESS_INFORMATION process;
    if (!CreateProcessW(NULL, line, NULL, NULL, TRUE, 0, NULL, NULL, &start, &process))
        return (int)fail("starting the command", GetLastError());
    /* The command alone holds its streams now: they end when it ends, and its input when it closes it. */
    for (int i = 0; i < 3; i++)
        CloseHandle(streams[i]);
    WaitForSingleObject(process.hProcess, INFINITE);
    DWORD code = 1;
    GetExitCodeProcess(process.hProcess, &code);
    return (int)code;
}

/*
 * `wfpchannel.exe COM2` serves the port until it ends; started by the service control manager it does so as a service.
 * SPDX-License-Identifier: MIT
 */
#include "channel.h"

#include <iphlpapi.h>
#include <psapi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VERSION = 1, DRIVERS_MAX = 400, WINRM_PORT = 5986, STOP_SECONDS_MAX = 120 };

static const wchar_t *port_name = L"COM2";
static const wchar_t service_name[] = L"wfpchannel";

void answer_begin(text_buffer *answer, const json_request *request)
{
    text_add(answer, "{\"nonce\":");
    text_add_string(answer, json_text(request, "nonce", ""));
    text_add(answer, ",\"ok\":true");
}

void answer_error(text_buffer *answer, const json_request *request, const char *name, const char *message)
{
    text_add(answer, "{\"nonce\":");
    text_add_string(answer, json_text(request, "nonce", ""));
    text_add(answer, ",\"ok\":false,\"error\":");
    text_add_string(answer, name);
    text_add(answer, ",\"message\":");
    text_add_string(answer, message);
}

void answer_win32(text_buffer *answer, const json_request *request, DWORD code, const char *what)
{
    char name[32], message[128];
    snprintf(name, sizeof name, "ERROR_%lu", code);
    snprintf(message, sizeof message, "%s failed with error %lu.", what, code);
    answer_error(answer, request, name, message);
}

void answer_wide(text_buffer *answer, const wchar_t *text)
{
    char narrow[4 * MAX_PATH];
    if (!WideCharToMultiByte(CP_UTF8, 0, text, -1, narrow, sizeof narrow, NULL, NULL))
        narrow[0] = '\0';
    text_add_string(answer, narrow);
}

static bool winrm_listens(void)
{
    DWORD size = 0;
    bool found = false;
    GetExtendedTcpTable(NULL, &size, FALSE, AF_INET, TCP_TABLE_OWNER_PID_LISTENER, 0);
    MIB_TCPTABLE_OWNER_PID *table = malloc(size ? size : 1);
    if (table && GetExtendedTcpTable(table, &size, FALSE, AF_INET, TCP_TABLE_OWNER_PID_LISTENER, 0) == NO_ERROR)
        for (DWORD i = 0; i < table->dwNumEntries; i++)
            found = found || ntohs((u_short)table->table[i].dwLocalPort) == WINRM_PORT;
    free(table);
    return found;
}

static void read_boot_id(char *text, DWORD room)
{
    DWORD got = 0;
    HANDLE file = CreateFileW(L"C:\\wfp-hil\\boot-id", GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, OPEN_EXISTING, 0, NULL);
    if (file != INVALID_HANDLE_VALUE) {
        if (!ReadFile(file, text, room - 1, &got, NULL))
            got = 0;
        CloseHandle(file);
    }
    while (got && (unsigned char)text[got - 1] <= ' ')
        got--;
    text[got] = '\0';
}

static void hello(text_buffer *answer, const json_request *request)
{
    void *bases[DRIVERS_MAX];
    wchar_t name[64];
    char boot_id[65];
    DWORD size = 0;
    read_boot_id(boot_id, sizeof boot_id);
    answer_begin(answer, request);
    text_add(answer, ",\"version\":%d,\"kind\":\"windows\",\"pid\":%lu,\"uptime\":%llu,\"management\":%s,\"boot_id\":", VERSION,
             GetCurrentProcessId(), GetTickCount64() / 1000, winrm_listens() ? "true" : "false");
    text_add_string(answer, boot_id);
    text_add(answer, ",\"drivers\":[");
    if (!EnumDeviceDrivers(bases, sizeof bases, &size))
        size = 0;
    size = size < sizeof bases ? size : sizeof bases;
    for (DWORD i = 0, count = 0; i < size / sizeof bases[0]; i++) {
        if (!GetDeviceDriverBaseNameW(bases[i], name, 64))
            continue;
        text_add(answer, "%s", count++ ? "," : "");
        answer_wide(answer, name);
    }
    text_add(answer, "]");
}

struct stop {
    wchar_t name[65];
    DWORD error;
    LONG users; /* the thread and who waits for it; the last one frees */
};

static void stop_release(struct stop *stop)
{
    if (!InterlockedDecrement(&stop->users))
        free(stop);
}

/* On a thread of its own: the service control manager waits for DriverUnload, and for one that hangs without end. */
static DWORD WINAPI stop_service(void *parameter)
{
    struct stop *stop = parameter;
    SERVICE_STATUS status = {0};
    SC_HANDLE manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_CONNECT);
    SC_HANDLE service = manager ? OpenServiceW(manager, stop->name, SERVICE_STOP | SERVICE_QUERY_STATUS) : NULL;
    stop->error = service && ControlService(service, SERVICE_CONTROL_STOP, &status) ? NO_ERROR : GetLastError();
    while (stop->error == NO_ERROR && QueryServiceStatus(service, &status) && status.dwCurrentState != SERVICE_STOPPED)
        Sleep(20); /* who waits gives up by its own clock */
    if (service)
        CloseServiceHandle(service);
    if (manager)
        CloseServiceHandle(manager);
    stop_release(stop);
    return 0;
}

static void stop(text_buffer *answer, const json_request *request)
{
    int64_t seconds = json_number(request, "seconds", 20);
    const char *name = json_text(request, "service", "");
    size_t length = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-");
    if (!length || name[length] || length > 64) {
        answer_error(answer, request, "BadRequest", "This is no name of a service.");
        return;
    }
    struct stop *work = calloc(1, sizeof *work);
    if (!work) {
        answer_win32(answer, request, ERROR_NOT_ENOUGH_MEMORY, "Stopping the service");
        return;
    }
    MultiByteToWideChar(CP_UTF8, 0, name, -1, work->name, 65);
    work->users = 2;
    HANDLE thread = CreateThread(NULL, 0, stop_service, work, 0, NULL);
    if (!thread) {
        answer_win32(answer, request, GetLastError(), "Stopping the service");
        free(work);
        return;
    }
    seconds = seconds < 1 ? 1 : seconds > STOP_SECONDS_MAX ? STOP_SECONDS_MAX : seconds;
    if (WaitForSingleObject(thread, (DWORD)seconds * 1000) != WAIT_OBJECT_0) {
        answer_error(answer, request, "Timeout", "The service did not stop in time.");
    } else if (work->error != NO_ERROR && work->error != ERROR_SERVICE_NOT_ACTIVE) {
        answer_win32(answer, request, work->error, "Stopping the service");
    } else {
        answer_begin(answer, request);
        text_add(answer, ",\"stopped\":true");
    }
    CloseHandle(thread);
    stop_release(work);
}

/* The answer to a line; empty where the line is no request. */
static void dispatch(char *line, text_buffer *answer)
{
    json_request request = {.buffer = line};
    if (!json_parse(&request, line) || !json_has(&request, "nonce"))
        return;
    const char *op = json_text(&request, "op", "");
    if (!strcmp(op, "hello"))
        hello(answer, &request);
    else if (!strcmp(op, "stop"))
        stop(answer, &request);
    else if (!strcmp(op, "list"))
        files_list(answer, &request);
    else if (!strcmp(op, "read"))
        files_read(answer, &request);
    else if (!strcmp(op, "hash"))
        files_hash(answer, &request);
    else
        answer_error(answer, &request, "UnknownOperation", "There is no such operation in Windows.");
    text_add(answer, "}\n");
}

static HANDLE open_port(void)
{
    wchar_t path[32];
    DCB settings = {.DCBlength = sizeof settings};
    /* A read comes back with whatever is there, or after a second with nothing. */
    COMMTIMEOUTS times = {.ReadIntervalTimeout = MAXDWORD, .ReadTotalTimeoutMultiplier = MAXDWORD, .ReadTotalTimeoutConstant = 1000};
    _snwprintf(path, 32, L"\\\\.\\%ls", port_name);
    path[31] = L'\0';
    HANDLE port = CreateFileW(path, GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING, 0, NULL);
    if (port == INVALID_HANDLE_VALUE)
        return port;
    if (GetCommState(port, &settings)) {
        settings.BaudRate = CBR_115200;
        settings.ByteSize = 8;
        settings.Parity = NOPARITY;
        settings.StopBits = ONESTOPBIT;
        settings.fBinary = TRUE;
        settings.fOutxCtsFlow = settings.fOutxDsrFlow = settings.fOutX = settings.fInX = settings.fDsrSensitivity = FALSE;
        SetCommState(port, &settings);
    }
    SetCommTimeouts(port, &times);
    return port;
}

static bool write_all(HANDLE port, const char *data, size_t size)
{
    while (size) {
        DWORD done = 0;
        if (!WriteFile(port, data, (DWORD)size, &done, NULL) || !done)
            return false;
        data += done;
        size -= done;
    }
    return true;
}

/* Serves until the port fails. */
static void serve(HANDLE port)
{
    static char line[REQUEST_MAX + 1]; /* by the one thread that serves */
    size_t length = 0;
    bool skip = false;
    for (;;) {
        char chunk[512];
        DWORD got = 0;
        if (!ReadFile(port, chunk, sizeof chunk, &got, NULL))
            return;
        for (DWORD i = 0; i < got; i++) {
            if (chunk[i] != '\n') {
                skip = skip || length == REQUEST_MAX;
                if (!skip)
                    line[length++] = chunk[i];
                continue;
            }
            char *copy = length && !skip ? calloc(1, length + 1) : NULL;
            text_buffer answer = {0};
            if (copy) {
                memcpy(copy, line, length);
                dispatch(copy, &answer);
                free(copy);
            }
            length = 0;
            skip = false;
            bool well = !answer.length || write_all(port, answer.data, answer.length);
            free(answer.data);
            if (!well)
                return;
        }
    }
}

static int run(void)
{
    SetPriorityClass(GetCurrentProcess(), HIGH_PRIORITY_CLASS);
    HANDLE port = open_port();
    if (port == INVALID_HANDLE_VALUE)
        return (int)GetLastError();
    serve(port);
    CloseHandle(port);
    return 0;
}

static SERVICE_STATUS_HANDLE told;

static void tell(DWORD state)
{
    SERVICE_STATUS status = {.dwServiceType = SERVICE_WIN32_OWN_PROCESS, .dwCurrentState = state,
                             .dwControlsAccepted = state == SERVICE_RUNNING ? SERVICE_ACCEPT_STOP | SERVICE_ACCEPT_SHUTDOWN : 0};
    SetServiceStatus(told, &status);
}

static DWORD WINAPI control(DWORD code, DWORD type, void *data, void *context)
{
    (void)type, (void)data, (void)context;
    if (code == SERVICE_CONTROL_STOP || code == SERVICE_CONTROL_SHUTDOWN) {
        tell(SERVICE_STOPPED);
        ExitProcess(0);
    }
    return code == SERVICE_CONTROL_INTERROGATE ? NO_ERROR : ERROR_CALL_NOT_IMPLEMENTED;
}

static void WINAPI service_main(DWORD count, wchar_t **words)
{
    (void)count, (void)words;
    told = RegisterServiceCtrlHandlerExW(service_name, control, NULL);
    tell(SERVICE_RUNNING);
    run();
    tell(SERVICE_STOPPED);
}

int wmain(int count, wchar_t **words)
{
    SERVICE_TABLE_ENTRYW table[] = {{(wchar_t *)service_name, service_main}, {NULL, NULL}};
    if (count == 2 && !wcsncmp(words[1], L"COM", 3)) {
        port_name = words[1];
        return run();
    }
    return StartServiceCtrlDispatcherW(table) ? 0 : (int)GetLastError();
}

/* Services through the service control manager: what sc.exe does, without starting it. SPDX-License-Identifier: MIT */
#include "probe.h"

#include <stdio.h>
#include <string.h>

static const char *states[] = {"?", "stopped", "start_pending", "stop_pending", "running",
                               "continue_pending", "pause_pending", "paused"};

static void answer(json_request *request, SC_HANDLE service)
{
    SERVICE_STATUS status = {0};
    if (!QueryServiceStatus(service, &status)) {
        reply_win32(request, GetLastError(), "QueryServiceStatus");
        return;
    }
    text_buffer text = {0};
    reply_begin(&text, request);
    text_add(&text, ",\"state\":\"%s\",\"code\":%lu,\"win32_exit\":%lu,\"specific_exit\":%lu",
             status.dwCurrentState < 8 ? states[status.dwCurrentState] : "?", status.dwCurrentState,
             status.dwWin32ExitCode, status.dwServiceSpecificExitCode);
    reply_send(&text);
}

/* Waits until the service has left a pending state. */
static void settle(SC_HANDLE service, DWORD pending, DWORD timeout_ms)
{
    ULONGLONG end = GetTickCount64() + timeout_ms;
    SERVICE_STATUS status;
    while (QueryServiceStatus(service, &status) && status.dwCurrentState == pending && GetTickCount64() < end)
        Sleep(2); /* the SCM has no wait that Wine 8 offers as well */
}

/*
 * One handle for as long as the probe lives. Wine 8 refuses to bind anew (RPC_S_CALL_FAILED_DNE) when the last handle of
 * a process was closed a moment ago; asking again works.
 */
static SC_HANDLE open_manager(void)
{
    static SRWLOCK lock = SRWLOCK_INIT;
    static SC_HANDLE manager;
    AcquireSRWLockExclusive(&lock);
    for (int attempt = 0; !manager && attempt < 5; attempt++)
        manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_ALL_ACCESS);
    ReleaseSRWLockExclusive(&lock);
    return manager;
}

static void service(json_request *request)
{
    wchar_t name[256], path[512];
    const char *action = json_text(request, "action", "query");
    DWORD timeout = (DWORD)json_number(request, "timeout_ms", 30000);
    MultiByteToWideChar(CP_UTF8, 0, json_text(request, "name", ""), -1, name, 256);
    MultiByteToWideChar(CP_UTF8, 0, json_text(request, "path", ""), -1, path, 512);
    SC_HANDLE manager = open_manager();
    if (!manager) {
        reply_win32(request, GetLastError(), "OpenSCManager");
        return;
    }
    SC_HANDLE handle;
    if (!strcmp(action, "create"))
        handle = CreateServiceW(manager, name, name, SERVICE_ALL_ACCESS, SERVICE_KERNEL_DRIVER, SERVICE_DEMAND_START,
                                SERVICE_ERROR_NORMAL, path, L"NetworkProvider", NULL, NULL, NULL, NULL);
    else
        handle = OpenServiceW(manager, name, SERVICE_ALL_ACCESS);
    if (!handle) {
        reply_win32(request, GetLastError(), strcmp(action, "create") ? "OpenService" : "CreateService");
        return;
    }
    SERVICE_STATUS status;
    BOOL ok = TRUE;
    if (!strcmp(action, "start")) {
        ok = StartServiceW(handle, 0, NULL);
        if (ok)
            settle(handle, SERVICE_START_PENDING, timeout);
    } else if (!strcmp(action, "stop")) {
        ok = ControlService(handle, SERVICE_CONTROL_STOP, &status);
        if (ok)
            settle(handle, SERVICE_STOP_PENDING, timeout);
    } else if (!strcmp(action, "delete")) {
        ok = DeleteService(handle);
    }
    if (!ok)
        reply_win32(request, GetLastError(), action);
    else if (!strcmp(action, "delete"))
        reply_ok(request);
    else
        answer(request, handle);
    CloseServiceHandle(handle);
}

bool service_op(const char *op, json_request *request)
{
    if (strcmp(op, "service"))
        return false;
    run_apart(service, request);
    return true;
}

/* Replies and events, and errors by their names in Windows. SPDX-License-Identifier: MIT */
#include "probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static SRWLOCK output = SRWLOCK_INIT;

static const struct { unsigned long code; const char *name; } names[] = {
#define NAME(x) {x, #x}
    NAME(WSAEINTR), NAME(WSAEBADF), NAME(WSAEACCES), NAME(WSAEFAULT), NAME(WSAEINVAL), NAME(WSAEMFILE),
    NAME(WSAEWOULDBLOCK), NAME(WSAEINPROGRESS), NAME(WSAEALREADY), NAME(WSAENOTSOCK), NAME(WSAEDESTADDRREQ),
    NAME(WSAEMSGSIZE), NAME(WSAEPROTOTYPE), NAME(WSAENOPROTOOPT), NAME(WSAEPROTONOSUPPORT), NAME(WSAEOPNOTSUPP),
    NAME(WSAEAFNOSUPPORT), NAME(WSAEADDRINUSE), NAME(WSAEADDRNOTAVAIL), NAME(WSAENETDOWN), NAME(WSAENETUNREACH),
    NAME(WSAENETRESET), NAME(WSAECONNABORTED), NAME(WSAECONNRESET), NAME(WSAENOBUFS), NAME(WSAEISCONN),
    NAME(WSAENOTCONN), NAME(WSAESHUTDOWN), NAME(WSAETIMEDOUT), NAME(WSAECONNREFUSED), NAME(WSAEHOSTUNREACH),
    NAME(ERROR_FILE_NOT_FOUND), NAME(ERROR_PATH_NOT_FOUND), NAME(ERROR_ACCESS_DENIED), NAME(ERROR_INVALID_HANDLE),
    NAME(ERROR_NOT_READY), NAME(ERROR_GEN_FAILURE), NAME(ERROR_NOT_SUPPORTED), NAME(ERROR_INVALID_PARAMETER),
    NAME(ERROR_INSUFFICIENT_BUFFER), NAME(ERROR_INVALID_NAME), NAME(ERROR_MOD_NOT_FOUND), NAME(ERROR_PROC_NOT_FOUND),
    NAME(ERROR_BUSY), NAME(ERROR_ALREADY_EXISTS), NAME(ERROR_MORE_DATA), NAME(ERROR_INVALID_FUNCTION),
    NAME(ERROR_BAD_EXE_FORMAT), {577, "ERROR_INVALID_IMAGE_HASH"}, {1275, "ERROR_DRIVER_BLOCKED"},
    NAME(ERROR_SERVICE_REQUEST_TIMEOUT), NAME(ERROR_SERVICE_NO_THREAD), NAME(ERROR_SERVICE_ALREADY_RUNNING),
    NAME(ERROR_SERVICE_DISABLED), NAME(ERROR_SERVICE_DOES_NOT_EXIST), NAME(ERROR_SERVICE_CANNOT_ACCEPT_CTRL),
    NAME(ERROR_SERVICE_NOT_ACTIVE), NAME(ERROR_SERVICE_MARKED_FOR_DELETE), NAME(ERROR_SERVICE_EXISTS),
    NAME(ERROR_SERVICE_DEPENDENCY_FAIL), NAME(ERROR_SERVICE_SPECIFIC_ERROR), NAME(ERROR_INVALID_SERVICE_CONTROL),
    NAME(ERROR_PRIVILEGE_NOT_HELD), NAME(ERROR_NO_SYSTEM_RESOURCES), NAME(ERROR_IO_DEVICE), NAME(ERROR_DEV_NOT_EXIST),
    NAME(ERROR_REVISION_MISMATCH), NAME(ERROR_TIMEOUT), NAME(WAIT_TIMEOUT), NAME(ERROR_OBJECT_ALREADY_EXISTS),
#undef NAME
};

static const char *name_of(unsigned long code, char *room, size_t capacity)
{
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (names[i].code == code)
            return names[i].name;
    snprintf(room, capacity, "ERROR_%lu", code);
    return room;
}

static void write_line(text_buffer *text)
{
    text_add(text, "}\n");
    HANDLE out = GetStdHandle(STD_OUTPUT_HANDLE);
    size_t done = 0;
    AcquireSRWLockExclusive(&output);
    while (done < text->length) {
        DWORD written = 0;
        if (!WriteFile(out, text->data + done, (DWORD)(text->length - done), &written, NULL) || !written)
            break;
        done += written;
    }
    ReleaseSRWLockExclusive(&output);
    free(text->data);
    text->data = NULL;
    text->length = text->capacity = 0;
}

void reply_begin(text_buffer *text, const json_request *request)
{
    text_add(text, "{\"id\":%lld,\"ok\":true", (long long)json_number(request, "id", 0));
}

void reply_send(text_buffer *text)
{
    write_line(text);
}

void event_send(text_buffer *text)
{
    write_line(text);
}

void reply_ok(const json_request *request)
{
    text_buffer text = {0};
    reply_begin(&text, request);
    reply_send(&text);
}

void reply_error(const json_request *request, const char *name, unsigned long code, const char *message)
{
    text_buffer text = {0};
    text_add(&text, "{\"id\":%lld,\"ok\":false,\"error\":\"%s\",\"code\":%lu,\"message\":",
             (long long)json_number(request, "id", 0), name, code);
    text_add_string(&text, message);
    write_line(&text);
}

void reply_win32(const json_request *request, unsigned long code, const char *what)
{
    char room[32], message[256];
    snprintf(message, sizeof message, "%s ended with error %lu.", what, code);
    reply_error(request, name_of(code, room, sizeof room), code, message);
}

void reply_winsock(const json_request *request, int code, const char *what)
{
    reply_win32(request, (unsigned long)code, what);
}

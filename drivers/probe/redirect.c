/* What WFP keeps for a redirected connection: the driver's context and the redirect records. SPDX-License-Identifier: MIT */
#include "probe.h"

#include <stdlib.h>
#include <string.h>

#define QUERY_RECORDS 0x980000DCul
#define QUERY_CONTEXT 0x980000DDul
#define SET_RECORDS   0x980000DEul

#if __has_include("wfpmodel_ioctl.h")
#include "wfpmodel_ioctl.h"

static bool model_not_ready(uint32_t times)
{
    DWORD got = 0;
    HANDLE device = CreateFileW(WFPMODEL_WIN32_DEVICE_NAME, GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL,
                                OPEN_EXISTING, 0, NULL);
    bool done = device != INVALID_HANDLE_VALUE && DeviceIoControl(device, IOCTL_WFPMODEL_NOT_READY, &times, sizeof times, NULL, 0, &got, NULL);
    if (device != INVALID_HANDLE_VALUE)
        CloseHandle(device);
    return done;
}
#else
static bool model_not_ready(uint32_t times)
{
    (void)times;
    return false;
}
#endif

int redirect_query(SOCKET socket, unsigned long code, unsigned char *out, unsigned long capacity, unsigned long *size)
{
    DWORD got = 0;
    int error = WSAIoctl(socket, code, NULL, 0, out, capacity, &got, NULL, NULL) ? WSAGetLastError() : 0;
    *size = got;
    return error;
}

int redirect_set(SOCKET socket, const unsigned char *records, unsigned long size)
{
    DWORD got = 0;
    return WSAIoctl(socket, SET_RECORDS, (void *)records, size, NULL, 0, &got, NULL, NULL) ? WSAGetLastError() : 0;
}

void redirect_describe(text_buffer *text, SOCKET socket)
{
    unsigned char data[4096];
    unsigned long size = 0;
    if (redirect_query(socket, QUERY_RECORDS, data, sizeof data, &size) || !size)
        return;
    text_add(text, ",\"redirect\":{\"records\":\"");
    text_add_hex(text, data, size);
    text_add(text, "\"");
    size = 0;
    if (!redirect_query(socket, QUERY_CONTEXT, data, sizeof data, &size)) {
        text_add(text, ",\"context\":\"");
        text_add_hex(text, data, size);
        text_add(text, "\"");
    }
    text_add(text, "}");
}

bool redirect_op(const char *op, json_request *request)
{
    bool context = !strcmp(op, "redirect_context"), records = !strcmp(op, "redirect_records");
    bool set = !strcmp(op, "set_redirect_records");
    if (!strcmp(op, "model_not_ready")) {
        if (model_not_ready((uint32_t)json_number(request, "times", 1)))
            reply_ok(request);
        else
            reply_error(request, "NoModel", 0, "TCP/IP cannot be made not ready here: this is not the reference guest.");
        return true;
    }
    if (!context && !records && !set)
        return false;
    probe_socket *socket = socket_get((int)json_number(request, "socket", 0));
    if (!socket) {
        reply_error(request, "UnknownSocket", 0, "The probe has no socket of that number.");
        return true;
    }
    unsigned char data[8192];
    if (!socket_enter(socket)) {
        reply_winsock(request, WSAENOTSOCK, "Asking of the redirection");
        socket_put(socket);
        return true;
    }
    if (set) {
        int size = hex_decode(json_text(request, "hex", ""), data, sizeof data);
        int error = size < 0 ? WSAEINVAL : redirect_set(socket->socket, data, (unsigned long)size);
        if (error)
            reply_winsock(request, error, "SIO_SET_WFP_CONNECTION_REDIRECT_RECORDS");
        else
            reply_ok(request);
    } else {
        unsigned long size = 0;
        int error = redirect_query(socket->socket, context ? QUERY_CONTEXT : QUERY_RECORDS, data, sizeof data, &size);
        if (error) {
            reply_winsock(request, error, context ? "SIO_QUERY_WFP_CONNECTION_REDIRECT_CONTEXT"
                                                  : "SIO_QUERY_WFP_CONNECTION_REDIRECT_RECORDS");
        } else {
            text_buffer text = {0};
            reply_begin(&text, request);
            text_add(&text, ",\"hex\":\"");
            text_add_hex(&text, data, size);
            text_add(&text, "\"");
            reply_send(&text);
        }
    }
    socket_leave(socket);
    socket_put(socket);
    return true;
}

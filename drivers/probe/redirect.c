/*
 * What WFP keeps for a redirected connection: the driver's context and the redirect records.
 *
 * On Windows these are socket IOCTLs. Wine's Winsock does not know them, so on the reference guest the model's own device
 * answers; it is asked with the connection's addresses. Nothing else in the probe knows about the model.
 *
 * SPDX-License-Identifier: MIT
 */
#include "probe.h"

#include <stdlib.h>
#include <string.h>

#define QUERY_RECORDS 0x980000DCul
#define QUERY_CONTEXT 0x980000DDul
#define SET_RECORDS   0x980000DEul

#if __has_include("wfpmodel_ioctl.h")
#include "wfpmodel_ioctl.h"
#define HAVE_MODEL 1
#endif

#ifdef HAVE_MODEL
static int model_ask(SOCKET socket, unsigned long code, const void *in, unsigned long in_size, void *out,
                     unsigned long capacity, unsigned long *size);
#include "redirect_model.inc"
#else
static int model_ask(SOCKET socket, unsigned long code, const void *in, unsigned long in_size, void *out,
                     unsigned long capacity, unsigned long *size)
{
    (void)socket, (void)code, (void)in, (void)in_size, (void)out, (void)capacity, (void)size;
    return WSAEOPNOTSUPP;
}

static bool model_not_ready(uint32_t times)
{
    (void)times;
    return false;
}
#endif

static bool unknown_to_winsock(int error)
{
    return error == WSAEOPNOTSUPP || error == WSAEINVAL || error == ERROR_NOT_SUPPORTED ||
           error == ERROR_INVALID_FUNCTION;
}

int redirect_query(SOCKET socket, unsigned long code, unsigned char *out, unsigned long capacity, unsigned long *size)
{
    DWORD got = 0;
    if (!WSAIoctl(socket, code, NULL, 0, out, capacity, &got, NULL, NULL)) {
        *size = got;
        return 0;
    }
    int error = WSAGetLastError();
    return unknown_to_winsock(error) ? model_ask(socket, code, NULL, 0, out, capacity, size) : error;
}

int redirect_set(SOCKET socket, const unsigned char *records, unsigned long size)
{
    DWORD got = 0;
    unsigned long none = 0;
    if (!WSAIoctl(socket, SET_RECORDS, (void *)records, size, NULL, 0, &got, NULL, NULL))
        return 0;
    int error = WSAGetLastError();
    return unknown_to_winsock(error) ? model_ask(socket, SET_RECORDS, records, size, NULL, 0, &none) : error;
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
    socket_put(socket);
    return true;
}

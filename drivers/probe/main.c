/* Reads requests and hands them to the operations. SPDX-License-Identifier: MIT */
#include "probe.h"

#include <process.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct apart {
    void (*operation)(json_request *);
    json_request request;
};

static unsigned __stdcall apart_main(void *parameter)
{
    struct apart *apart = parameter;
    apart->operation(&apart->request);
    free(apart->request.buffer);
    free(apart);
    return 0;
}

void run_apart(void (*operation)(json_request *), json_request *request)
{
    struct apart *apart = malloc(sizeof *apart);
    if (apart) {
        apart->operation = operation;
        apart->request = *request;
        request->buffer = NULL; /* the thread's now */
        HANDLE thread = (HANDLE)_beginthreadex(NULL, 0, apart_main, apart, 0, NULL);
        if (thread) {
            CloseHandle(thread);
            return;
        }
        request->buffer = apart->request.buffer;
        free(apart);
    }
    reply_win32(request, ERROR_NO_SYSTEM_RESOURCES, "Starting a thread");
}

static void dispatch(char *line)
{
    json_request request = {.buffer = line};
    if (!json_parse(&request, line)) {
        reply_error(&request, "BadRequest", 0, "This is not a flat JSON object.");
        free(line);
        return;
    }
    const char *op = json_text(&request, "op", "");
    if (!strcmp(op, "hello") || !strcmp(op, "pid")) {
        text_buffer text = {0};
        reply_begin(&text, &request);
        text_add(&text, ",\"version\":%d,\"pid\":%lu", PROBE_VERSION, GetCurrentProcessId());
        reply_send(&text);
    } else if (!socket_op(op, &request) && !redirect_op(op, &request) && !reservation_op(op, &request) && !message_op(op, &request) &&
               !service_op(op, &request) && !driver_op(op, &request) && !state_op(op, &request) && !play_op(op, &request) &&
               !replay_op(op, &request)) {
        char message[128];
        snprintf(message, sizeof message, "There is no operation '%.60s'.", op);
        reply_error(&request, "UnknownOperation", 0, message);
    }
    free(request.buffer);
}

int main(void)
{
    WSADATA data;
    WSAStartup(MAKEWORD(2, 2), &data);
    sockets_start();
    text_buffer ready = {0};
    text_add(&ready, "{\"event\":\"ready\",\"version\":%d,\"pid\":%lu", PROBE_VERSION, GetCurrentProcessId());
    event_send(&ready);

    HANDLE in = GetStdHandle(STD_INPUT_HANDLE);
    text_buffer pending = {0};
    for (;;) {
        char chunk[16384];
        DWORD got = 0;
        if (!ReadFile(in, chunk, sizeof chunk, &got, NULL) || !got)
            break;
        text_add(&pending, "%.*s", (int)got, chunk);
        char *start = pending.data, *end;
        while ((end = memchr(start, '\n', pending.length - (size_t)(start - pending.data))) != NULL) {
            size_t size = (size_t)(end - start);
            char *line = malloc(size + 1);
            if (!line)
                return 1;
            memcpy(line, start, size);
            line[size] = '\0';
            if (size && strspn(line, " \t\r") != size)
                dispatch(line);
            else
                free(line);
            start = end + 1;
        }
        pending.length -= (size_t)(start - pending.data);
        memmove(pending.data, start, pending.length);
    }
    /* Whoever spoke to us is gone; sockets and threads go with the process. */
    ExitProcess(0);
}

/*
 * Whole sequences of steps in one request: what the driver does goes to it one by one, datagrams are the probe's own.
 * After a datagram a byte goes to a station and back over TCP, which no filter of the play matches: what the datagram
 * caused on its way out is over by then.
 *
 * SPDX-License-Identifier: MIT
 */
#include "probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wfpcallout_ioctl.h"

enum { FLOWS = 4, NUMBERS = 8, WAIT_MS = 10000, FIRST_PORT = 20000, LAST_PORT = 30000 };

typedef struct play {
    SOCKET fence;
    SOCKET socket[FLOWS];
    uint16_t port[FLOWS]; /* local; 0 = it has no socket yet */
    struct sockaddr_in server;
    uint8_t redirected[4];
    char problem[128];
} play;

static const struct { const char *name; uint32_t op; } ops[] = {
    {"AddSublayer", WFPCALLOUT_PLAY_ADD_SUBLAYER}, {"DeleteSublayer", WFPCALLOUT_PLAY_DELETE_SUBLAYER},
    {"AddCallout", WFPCALLOUT_PLAY_ADD_CALLOUT}, {"DeleteCallout", WFPCALLOUT_PLAY_DELETE_CALLOUT},
    {"Register", WFPCALLOUT_PLAY_REGISTER}, {"Unregister", WFPCALLOUT_PLAY_UNREGISTER}, {"Behave", WFPCALLOUT_PLAY_BEHAVE},
    {"AddFilter", WFPCALLOUT_PLAY_ADD_FILTER}, {"DeleteFilter", WFPCALLOUT_PLAY_DELETE_FILTER}, {"Begin", WFPCALLOUT_PLAY_BEGIN},
    {"Commit", WFPCALLOUT_PLAY_COMMIT}, {"Abort", WFPCALLOUT_PLAY_ABORT}, {"Associate", WFPCALLOUT_PLAY_ASSOCIATE},
    {"Remove", WFPCALLOUT_PLAY_REMOVE},
};

static bool ask_driver(play *play, WFPCALLOUT_PLAY *step, int32_t *status)
{
    WFPCALLOUT_RESULT result = {0};
    step->remote_port = ntohs(play->server.sin_port);
    memcpy(step->redirected, play->redirected, sizeof step->redirected);
    DWORD error = driver_control(IOCTL_WFPCALLOUT_PLAY, step, sizeof *step, &result, sizeof result);
    if (error)
        snprintf(play->problem, sizeof play->problem, "The driver did not take step %u: error %lu.", step->step, error);
    *status = result.status;
    return !error;
}

static bool problem(play *play, const char *what, unsigned step)
{
    snprintf(play->problem, sizeof play->problem, "%s at step %u ended with error %d.", what, step, WSAGetLastError());
    return false;
}

/* A port that no flow of late had: the engine may remember one for a moment longer than its socket lives. */
static bool open_flow(play *play, unsigned flow, unsigned step)
{
    static uint16_t last = FIRST_PORT;
    struct sockaddr_in local = {.sin_family = AF_INET};
    play->socket[flow] = socket(AF_INET, SOCK_DGRAM, IPPROTO_UDP);
    for (int tries = 0; tries < 100; tries++) {
        last = last < LAST_PORT ? (uint16_t)(last + 1) : (uint16_t)FIRST_PORT;
        local.sin_port = htons(last);
        if (!bind(play->socket[flow], (struct sockaddr *)&local, sizeof local)) {
            play->port[flow] = last;
            return true;
        }
    }
    return problem(play, "Binding a socket", step);
}

static bool pass_fence(play *play, unsigned step)
{
    char byte = 'f';
    if (send(play->fence, &byte, 1, 0) != 1 || socket_wait(play->fence, POLLRDNORM, WAIT_MS) != 1 || recv(play->fence, &byte, 1, 0) != 1)
        return problem(play, "The way to the station and back", step);
    return true;
}

static bool send_datagram(play *play, unsigned flow, unsigned step)
{
    char text[32];
    struct sockaddr_in to = play->server;
    int size = snprintf(text, sizeof text, "step %u", step);
    if (!play->port[flow] && !open_flow(play, flow, step))
        return false;
    to.sin_port = htons((uint16_t)(ntohs(to.sin_port) + flow % 2));
    /* What a filter of ALE blocks is refused with WSAEACCES at once: the datagram did not leave, which the link tells. */
    if (sendto(play->socket[flow], text, size, 0, (struct sockaddr *)&to, sizeof to) != size && WSAGetLastError() != WSAEACCES)
        return problem(play, "Sending", step);
    return pass_fence(play, step);
}

static void close_flow(play *play, unsigned flow)
{
    if (play->socket[flow] != INVALID_SOCKET)
        closesocket(play->socket[flow]);
    play->socket[flow] = INVALID_SOCKET;
}

/* One step of text: its name and numbers. */
static bool play_one(play *play, const char *line, unsigned number, int32_t *status)
{
    WFPCALLOUT_PLAY step = {.step = number, .op = 0};
    char name[24] = "";
    uint32_t *n = step.n;
    if (sscanf(line, "%23s %u %u %u %u %u %u %u %u", name, &n[0], &n[1], &n[2], &n[3], &n[4], &n[5], &n[6], &n[7]) < 1)
        name[0] = 0;
    bool sends = !strcmp(name, "Send"), closes = !strcmp(name, "Close");
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (!strcmp(ops[i].name, name))
            step.op = ops[i].op;
    if (!sends && !closes && !step.op) {
        snprintf(play->problem, sizeof play->problem, "There is no step '%.40s'.", line);
        return false;
    }
    if (sends || closes || step.op == WFPCALLOUT_PLAY_ASSOCIATE || step.op == WFPCALLOUT_PLAY_REMOVE) {
        if (n[0] >= FLOWS) {
            snprintf(play->problem, sizeof play->problem, "There is no flow %u.", n[0]);
            return false;
        }
        step.local_port = play->port[n[0]];
    }
    if (sends) {
        if (!send_datagram(play, n[0], number))
            return false;
        step.op = WFPCALLOUT_PLAY_STEP;
    } else if (closes) {
        close_flow(play, n[0]);
        play->port[n[0]] = 0;
        step.op = WFPCALLOUT_PLAY_CLOSED;
        n[0] = WAIT_MS;
    }
    return ask_driver(play, &step, status);
}

static bool begin(play *play, json_request *request)
{
    struct sockaddr_storage address;
    WFPCALLOUT_PLAY reset = {.op = WFPCALLOUT_PLAY_RESET};
    int length = 0;
    int32_t status = 0;
    if (!address_parse(json_text(request, "server", ""), &address, &length) || address.ss_family != AF_INET)
        return problem(play, "Reading 'server'", 0);
    memcpy(&play->server, &address, sizeof play->server);
    if (inet_pton(AF_INET, json_text(request, "redirected", ""), play->redirected) != 1)
        return problem(play, "Reading 'redirected'", 0);
    if (!address_parse(json_text(request, "fence", ""), &address, &length))
        return problem(play, "Reading 'fence'", 0);
    play->fence = socket(address.ss_family, SOCK_STREAM, IPPROTO_TCP);
    if (connect(play->fence, (struct sockaddr *)&address, length))
        return problem(play, "Connecting to the station", 0);
    if (!ask_driver(play, &reset, &status))
        return false;
    if (status < 0)
        snprintf(play->problem, sizeof play->problem, "The driver could not begin: status 0x%08x.", (unsigned)status);
    return status >= 0;
}

static void run_play(json_request *request)
{
    play play = {.fence = INVALID_SOCKET, .socket = {INVALID_SOCKET, INVALID_SOCKET, INVALID_SOCKET, INVALID_SOCKET}};
    text_buffer text = {0};
    char *steps = _strdup(json_text(request, "steps", ""));
    unsigned number = 0;
    int32_t status;
    bool good = steps && begin(&play, request);
    reply_begin(&text, request);
    text_add(&text, ",\"statuses\":[");
    for (char *line = steps ? strtok(steps, ";") : NULL; good && line; line = strtok(NULL, ";")) {
        good = play_one(&play, line, ++number, &status);
        if (good)
            text_add(&text, "%s%u", number > 1 ? "," : "", (unsigned)status);
    }
    text_add(&text, "]");
    for (unsigned flow = 0; flow < FLOWS; flow++)
        close_flow(&play, flow);
    WFPCALLOUT_PLAY stop = {.op = WFPCALLOUT_PLAY_STOP, .step = number + 1};
    char first[sizeof play.problem];
    memcpy(first, play.problem, sizeof first);
    ask_driver(&play, &stop, &status);
    if (play.fence != INVALID_SOCKET)
        closesocket(play.fence);
    free(steps);
    if (good) {
        reply_send(&text);
    } else {
        free(text.data);
        reply_error(request, "PlayFailed", 0, first);
    }
}

bool play_op(const char *op, json_request *request)
{
    if (strcmp(op, "drv_play"))
        return false;
    run_apart(run_play, request);
    return true;
}

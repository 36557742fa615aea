/*
 * Plays the guest's applications of a captured conversation: a file of steps, taken one after the other, each when what
 * has to come before it is there. README.md has the format. The harness alone decides that something will not come, and
 * says so with replay_skip: a wait has no end of its own.
 *
 * SPDX-License-Identifier: MIT
 */
#include "probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_FILE = 256 << 20, MAX_CHANNELS = 65536, MAX_STRAYS = 4096, MAX_TROUBLES = 200,
    SLICE_MS = 50, CHUNK = 65536, WORDS = 10, BUFFER = 1 << 20
};

enum kind { UNUSED, CONNECTION, LISTENER, UDP_SOCKET, PAIR };

typedef struct channel {
    SOCKET socket;
    enum kind kind;
    int via;                        /* of a PAIR: the channel of its socket */
    struct sockaddr_storage peer;
    int peer_length;
    bool connected, shut, eof, broken;
    volatile LONG skip;
    LONG64 bytes, datagrams;
    uint32_t crc;
} channel;

typedef struct trouble { unsigned number; int channel; char text[120]; } trouble;

typedef struct stray { SOCKET socket; int listener; struct sockaddr_storage peer; int length; } stray;

/* One script at a time. The worker alone touches all of it while it runs, but for `skip` and the volatile words. */
static struct {
    char *file;
    size_t size;
    const unsigned char *data;      /* what is sent, behind the steps */
    size_t data_size;
    char *steps;
    channel *channels;
    int count;
    stray strays[MAX_STRAYS];
    int stray_count;
    trouble troubles[MAX_TROUBLES];
    int trouble_count;
    volatile LONG number, waits, done, running, stop, released;
    HANDLE changed;                 /* set when `released` or a `skip` is */
    ULONGLONG started;
    char problem[160];
} script;

static uint32_t crc_table[256];

static void crc_prepare(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t word = i;
        for (int bit = 0; bit < 8; bit++)
            word = word & 1 ? 0xEDB88320u ^ (word >> 1) : word >> 1;
        crc_table[i] = word;
    }
}

static void count_bytes(channel *to, const unsigned char *data, int size)
{
    uint32_t word = ~to->crc;
    for (int i = 0; i < size; i++)
        word = crc_table[(word ^ data[i]) & 0xFF] ^ (word >> 8);
    to->crc = ~word;
    to->bytes += size;
}

static void tell(int channel, const char *what, int error)
{
    if (script.trouble_count >= MAX_TROUBLES)
        return;
    trouble *one = &script.troubles[script.trouble_count++];
    one->number = (unsigned)script.number;
    one->channel = channel;
    snprintf(one->text, sizeof one->text, "%s ended with error %d.", what, error);
}

static bool given_up(const channel *of)
{
    return of->skip || script.stop;
}

/* Whether the socket is ready; false when the channel was given up. The harness sees meanwhile what is waited for. */
static bool wait_ready(int number, SOCKET socket, short events)
{
    channel *of = &script.channels[number];
    int ready = 0;
    InterlockedExchange(&script.waits, number);
    while (!given_up(of) && !(ready = socket_wait(socket, events, SLICE_MS)))
        ;
    InterlockedExchange(&script.waits, -1);
    return ready != 0 && !given_up(of);
}

static void close_socket(SOCKET *socket)
{
    if (*socket != INVALID_SOCKET)
        closesocket(*socket);
    *socket = INVALID_SOCKET;
}

static void prepare_stream(SOCKET socket)
{
    u_long on = 1;
    BOOL now = TRUE;
    ioctlsocket(socket, FIONBIO, &on);
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, (char *)&now, sizeof now);
}

static bool same_end(const struct sockaddr_storage *one, const struct sockaddr_storage *other)
{
    if (one->ss_family != other->ss_family)
        return false;
    if (one->ss_family == AF_INET) {
        const struct sockaddr_in *a = (const struct sockaddr_in *)one, *b = (const struct sockaddr_in *)other;
        return a->sin_port == b->sin_port && a->sin_addr.s_addr == b->sin_addr.s_addr;
    }
    const struct sockaddr_in6 *a = (const struct sockaddr_in6 *)one, *b = (const struct sockaddr_in6 *)other;
    return a->sin6_port == b->sin6_port && !memcmp(&a->sin6_addr, &b->sin6_addr, sizeof a->sin6_addr);
}

static SOCKET bound(const char *address, int type, int *error)
{
    struct sockaddr_storage local;
    int length, room = BUFFER;
    *error = WSAEINVAL;
    if (!address_parse(address, &local, &length))
        return INVALID_SOCKET;
    SOCKET made = address_socket(&local, type, 0, false);
    if (made != INVALID_SOCKET && !bind(made, (struct sockaddr *)&local, length)) {
        if (type == SOCK_DGRAM)
            setsockopt(made, SOL_SOCKET, SO_RCVBUF, (char *)&room, sizeof room);
        *error = 0;
        return made;
    }
    *error = WSAGetLastError();
    close_socket(&made);
    return INVALID_SOCKET;
}

static void accept_step(int number, int listener, const char *peer)
{
    channel *of = &script.channels[number], *from = &script.channels[listener];
    struct sockaddr_storage wanted;
    int length;
    if (from->kind != LISTENER || from->socket == INVALID_SOCKET || !address_parse(peer, &wanted, &length)) {
        of->broken = true;
        return;
    }
    for (;;) {
        for (int i = 0; i < script.stray_count; i++) {
            stray *one = &script.strays[i];
            if (one->listener == listener && same_end(&one->peer, &wanted)) {
                of->socket = one->socket;
                of->connected = true;
                *one = script.strays[--script.stray_count];
                return;
            }
        }
        if (!wait_ready(number, from->socket, POLLRDNORM))
            return;
        stray one = {.listener = listener, .length = sizeof one.peer};
        one.socket = accept(from->socket, (struct sockaddr *)&one.peer, &one.length);
        if (one.socket == INVALID_SOCKET)
            continue;
        if (script.stray_count == MAX_STRAYS) {
            closesocket(one.socket);
            continue;
        }
        prepare_stream(one.socket);
        script.strays[script.stray_count++] = one;
    }
}

static void connect_step(int number, const char *local, const char *peer)
{
    channel *of = &script.channels[number];
    struct sockaddr_storage address;
    int length, error = 0;
    if (!address_parse(peer, &address, &length)) {
        of->broken = true;
        return;
    }
    of->socket = bound(local, SOCK_STREAM, &error);
    if (of->socket == INVALID_SOCKET) {
        tell(number, "Binding the port of the capture", error);
        of->socket = address_socket(&address, SOCK_STREAM, IPPROTO_TCP, false);
    }
    if (of->socket == INVALID_SOCKET) {
        tell(number, "Opening a socket", WSAGetLastError());
        of->broken = true;
        return;
    }
    prepare_stream(of->socket);
    if (connect(of->socket, (struct sockaddr *)&address, length) && WSAGetLastError() != WSAEWOULDBLOCK) {
        tell(number, "Connecting", WSAGetLastError());
        of->broken = true;
    }
}

/* Waits for the end of a connect; false when there is no connection. */
static bool is_connected(int number, bool is_wanted)
{
    channel *of = &script.channels[number];
    int error = 0, size = sizeof error;
    if (of->connected || of->broken || of->socket == INVALID_SOCKET)
        return of->connected && !of->broken && of->socket != INVALID_SOCKET;
    if (!wait_ready(number, of->socket, POLLWRNORM))
        return false;
    getsockopt(of->socket, SOL_SOCKET, SO_ERROR, (char *)&error, &size);
    of->connected = !error;
    of->broken = error != 0;
    if (error && is_wanted)
        tell(number, "Connecting", error);
    return !error;
}

static void send_step(int number, size_t at, size_t size)
{
    channel *of = &script.channels[number];
    if (at > script.data_size || size > script.data_size - at || !is_connected(number, true))
        return;
    while (size && !given_up(of)) {
        int part = send(of->socket, (const char *)script.data + at, size > CHUNK ? CHUNK : (int)size, 0);
        if (part > 0) {
            at += (size_t)part;
            size -= (size_t)part;
        } else if (WSAGetLastError() != WSAEWOULDBLOCK) {
            tell(number, "Sending", WSAGetLastError());
            of->broken = true;
            return;
        } else if (!wait_ready(number, of->socket, POLLWRNORM)) {
            return;
        }
    }
}

enum until { UNTIL_BYTES, UNTIL_END, UNTIL_BROKEN };

static void receive_step(int number, enum until until, LONG64 wanted)
{
    static unsigned char room[CHUNK];
    channel *of = &script.channels[number];
    if (!is_connected(number, until != UNTIL_BROKEN))
        return;
    while (!of->eof && !of->broken && !given_up(of) && (until != UNTIL_BYTES || of->bytes < wanted)) {
        int got = recv(of->socket, (char *)room, sizeof room, 0);
        if (got > 0) {
            count_bytes(of, room, got);
        } else if (!got) {
            of->eof = true;
        } else if (WSAGetLastError() == WSAEWOULDBLOCK) {
            wait_ready(number, of->socket, POLLRDNORM);
        } else {
            of->broken = true;
            if (until != UNTIL_BROKEN)
                tell(number, until == UNTIL_BYTES ? "Receiving" : "Waiting for the end", WSAGetLastError());
        }
    }
    if ((of->eof && of->shut) || of->broken)
        close_socket(&of->socket);
}

static void end_step(int number, const char *verb)
{
    channel *of = &script.channels[number];
    if (of->socket == INVALID_SOCKET)
        return;
    if (!strcmp(verb, "shutdown")) {
        of->shut = true;
        if (is_connected(number, true) && shutdown(of->socket, SD_SEND))
            tell(number, "Shutting down", WSAGetLastError());
        return;
    }
    is_connected(number, false); /* what is closed on the way would never have been there */
    if (!strcmp(verb, "abort")) {
        struct linger now = {1, 0};
        setsockopt(of->socket, SOL_SOCKET, SO_LINGER, (char *)&now, sizeof now);
    }
    close_socket(&of->socket);
}

/* Until the harness says so. It waits for nobody meanwhile: the channel is not to be given up for it. */
static void hold_step(const channel *of, LONG wanted)
{
    while (script.released < wanted && !given_up(of))
        WaitForSingleObject(script.changed, SLICE_MS);
}

/* A datagram goes to whom it is from; one from nobody the script knows is dropped. */
static void heard_step(int number, LONG64 wanted)
{
    static unsigned char room[CHUNK];
    channel *of = &script.channels[number];
    SOCKET socket = script.channels[of->via].socket;
    while (of->datagrams < wanted && socket != INVALID_SOCKET && wait_ready(number, socket, POLLRDNORM)) {
        struct sockaddr_storage peer;
        int length = sizeof peer, to = number;
        int got = recvfrom(socket, (char *)room, sizeof room, 0, (struct sockaddr *)&peer, &length);
        if (got < 0)
            continue; /* a port that was unreachable for an earlier datagram, or none any more */
        if (!same_end(&peer, &of->peer)) {
            for (to = 0; to < script.count; to++)
                if (script.channels[to].kind == PAIR && script.channels[to].via == of->via && same_end(&peer, &script.channels[to].peer))
                    break;
            if (to == script.count)
                continue;
        }
        script.channels[to].datagrams++;
        count_bytes(&script.channels[to], room, got);
    }
}

static void send_to_step(int number, size_t at, size_t size)
{
    channel *of = &script.channels[number];
    SOCKET socket = script.channels[of->via].socket;
    if (at > script.data_size || size > script.data_size - at || size > CHUNK || socket == INVALID_SOCKET)
        return;
    if (sendto(socket, (const char *)script.data + at, (int)size, 0, (struct sockaddr *)&of->peer, of->peer_length) < 0)
        tell(number, "Sending a datagram", WSAGetLastError());
}

/* Cuts a line into words; gives their number. */
static int cut(char *line, char *words[WORDS])
{
    int count = 0;
    for (char *word = strtok(line, " \r"); word && count < WORDS; word = strtok(NULL, " \r"))
        words[count++] = word;
    return count;
}

static int channel_number(const char *text)
{
    long number = strtol(text, NULL, 10);
    return number >= 0 && number < MAX_CHANNELS ? (int)number : -1;
}

/* The channel of a number, made when it is new; NULL when there can be none. */
static channel *channel_at(int number)
{
    if (number < 0)
        return NULL;
    if (number >= script.count) {
        int count = number + 1 > 2 * script.count ? number + 1 : 2 * script.count;
        channel *more = realloc(script.channels, (size_t)count * sizeof *more);
        if (!more)
            return NULL;
        script.channels = more;
        for (; script.count < count; script.count++)
            more[script.count] = (channel){.socket = INVALID_SOCKET, .via = -1};
    }
    return &script.channels[number];
}

static bool prepare(char *words[WORDS], int count)
{
    int number = count >= 3 ? channel_number(words[1]) : -1, error = 0;
    channel *of = channel_at(number);
    if (!of)
        return false;
    if (!strcmp(words[0], "listen")) {
        of->kind = LISTENER;
        of->socket = bound(words[2], SOCK_STREAM, &error);
        if (of->socket != INVALID_SOCKET && listen(of->socket, SOMAXCONN))
            error = WSAGetLastError();
    } else if (!strcmp(words[0], "udp")) {
        of->kind = UDP_SOCKET;
        of->socket = bound(words[2], SOCK_DGRAM, &error);
    } else if (!strcmp(words[0], "pair") && count >= 4) {
        of->kind = PAIR;
        of->via = channel_number(words[2]);
        return of->via >= 0 && of->via < script.count && script.channels[of->via].kind == UDP_SOCKET &&
               address_parse(words[3], &of->peer, &of->peer_length);
    } else {
        return false;
    }
    if (error) {
        char what[80];
        snprintf(what, sizeof what, "Opening %.60s", words[2]);
        tell(number, what, error);
    }
    return true;
}

static void wait_until(ULONGLONG microseconds)
{
    for (;;) {
        ULONGLONG now = GetTickCount64() - script.started, due = microseconds / 1000;
        if (now >= due || script.stop)
            return;
        Sleep((DWORD)(due - now > SLICE_MS ? SLICE_MS : due - now));
    }
}

static bool take(char *words[WORDS], int count, bool keeps_time)
{
    int number = count >= 4 ? channel_number(words[3]) : -1;
    if (number < 0 || number >= script.count)
        return false;
    channel *of = &script.channels[number];
    InterlockedExchange(&script.number, (LONG)strtol(words[1], NULL, 10));
    if (of->skip) {
        if (of->kind == UNUSED || of->kind == CONNECTION)
            end_step(number, "abort");
        if (strcmp(words[0], "sendto"))
            return true;
    }
    if (keeps_time)
        wait_until(strtoull(words[2], NULL, 10));
    const char *verb = words[0];
    size_t first = count >= 5 ? strtoull(words[4], NULL, 10) : 0, second = count >= 6 ? strtoull(words[5], NULL, 10) : 0;
    if (of->kind == UNUSED)
        of->kind = CONNECTION;
    if (!strcmp(verb, "accept") && count >= 6 && channel_number(words[4]) >= 0 && channel_number(words[4]) < script.count)
        accept_step(number, channel_number(words[4]), words[5]);
    else if (!strcmp(verb, "connect") && count >= 6)
        connect_step(number, words[4], words[5]);
    else if (!strcmp(verb, "send") && count >= 6)
        send_step(number, first, second);
    else if (!strcmp(verb, "got") && count >= 5)
        receive_step(number, UNTIL_BYTES, (LONG64)first);
    else if (!strcmp(verb, "eof"))
        receive_step(number, UNTIL_END, 0);
    else if (!strcmp(verb, "ended"))
        receive_step(number, UNTIL_BROKEN, 0);
    else if (!strcmp(verb, "heard") && count >= 5 && of->kind == PAIR)
        heard_step(number, (LONG64)first);
    else if (!strcmp(verb, "sendto") && count >= 6 && of->kind == PAIR)
        send_to_step(number, first, second);
    else if (!strcmp(verb, "hold") && count >= 5)
        hold_step(of, (LONG)first);
    else if (!strcmp(verb, "shutdown") || !strcmp(verb, "close") || !strcmp(verb, "abort"))
        end_step(number, verb);
    else
        return false;
    return true;
}

static char *next_line(char **at)
{
    char *line = *at, *end = line ? strchr(line, '\n') : NULL;
    if (!end)
        return NULL;
    *end = '\0';
    *at = end + 1;
    return line;
}

static void forget(void)
{
    for (int i = 0; i < script.count; i++)
        close_socket(&script.channels[i].socket);
    for (int i = 0; i < script.stray_count; i++)
        close_socket(&script.strays[i].socket);
    if (script.changed)
        CloseHandle(script.changed);
    free(script.channels);
    free(script.file);
    memset(&script, 0, sizeof script);
    script.waits = -1;
}

static bool read_file(const char *path)
{
    HANDLE file = CreateFileA(path, GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, 0, NULL);
    LARGE_INTEGER size = {0};
    DWORD got = 0;
    bool good = file != INVALID_HANDLE_VALUE && GetFileSizeEx(file, &size) && size.QuadPart > 0 && size.QuadPart <= MAX_FILE;
    if (good) {
        script.size = (size_t)size.QuadPart;
        script.file = malloc(script.size + 1);
        good = script.file && ReadFile(file, script.file, (DWORD)script.size, &got, NULL) && got == script.size;
        if (script.file)
            script.file[got] = '\0';
    }
    if (file != INVALID_HANDLE_VALUE)
        CloseHandle(file);
    return good;
}

/* Channels that only steps name: made before they run, as the table is read by others then. */
static bool prepare_channels(void)
{
    for (const char *at = script.steps; at && *at; at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL) {
        int number = -1;
        if (sscanf(at, "%*23s %*u %*u %d", &number) == 1 && number < MAX_CHANNELS && number >= 0 && !channel_at(number)) {
            snprintf(script.problem, sizeof script.problem, "There is no memory for channel %d.", number);
            return false;
        }
    }
    return true;
}

static bool load(const char *path)
{
    unsigned long begin = 0;
    char *words[WORDS], *line;
    if (!read_file(path)) {
        snprintf(script.problem, sizeof script.problem, "The script cannot be read: error %lu.", GetLastError());
        return false;
    }
    script.steps = script.file;
    script.changed = CreateEventA(NULL, FALSE, FALSE, NULL);
    if (!script.changed) {
        snprintf(script.problem, sizeof script.problem, "There is no event to be had: error %lu.", GetLastError());
        return false;
    }
    line = next_line(&script.steps);
    if (!line || sscanf(line, "wfp-replay 2 %lu", &begin) != 1 || begin < 1 || begin > script.size) {
        snprintf(script.problem, sizeof script.problem, "The file is no script of version 2.");
        return false;
    }
    script.file[begin - 1] = '\0'; /* the new line behind the last step: what follows is no text */
    script.data = (unsigned char *)script.file + begin;
    script.data_size = script.size - begin;
    while ((line = next_line(&script.steps)) != NULL) {
        if (!strcmp(line, "go"))
            return prepare_channels();
        char shown[60];
        snprintf(shown, sizeof shown, "%s", line);
        if (!prepare(words, cut(line, words))) {
            snprintf(script.problem, sizeof script.problem, "The script's line '%s' cannot be followed.", shown);
            return false;
        }
    }
    snprintf(script.problem, sizeof script.problem, "The script has no 'go'.");
    return false;
}

static void add_troubles(text_buffer *text)
{
    text_add(text, ",\"troubles\":[");
    for (int i = 0; i < script.trouble_count; i++) {
        trouble *one = &script.troubles[i];
        text_add(text, "%s{\"number\":%u,\"channel\":%d,\"text\":", i ? "," : "", one->number, one->channel);
        text_add_string(text, one->text);
        text_add(text, "}");
    }
    text_add(text, "]");
}

static void load_apart(json_request *request)
{
    if (script.running) {
        reply_error(request, "Busy", 0, "A replay runs already.");
        return;
    }
    forget();
    crc_prepare();
    if (!load(json_text(request, "path", ""))) {
        reply_error(request, "BadScript", 0, script.problem);
        forget();
        return;
    }
    text_buffer text = {0};
    reply_begin(&text, request);
    add_troubles(&text);
    reply_send(&text);
    script.trouble_count = 0;
}

static void run(json_request *request)
{
    char *words[WORDS], *line;
    bool keeps_time = json_true(request, "keep_time");
    script.started = GetTickCount64();
    while (!script.stop && (line = next_line(&script.steps)) != NULL && strcmp(line, "end")) {
        char shown[60];
        snprintf(shown, sizeof shown, "The step '%.45s'", line);
        if (!take(words, cut(line, words), keeps_time))
            tell(-1, shown, ERROR_INVALID_PARAMETER);
    }
    text_buffer text = {0};
    reply_begin(&text, request);
    text_add(&text, ",\"channels\":[");
    const char *comma = "";
    for (int i = 0; i < script.count; i++) {
        channel *of = &script.channels[i];
        if (of->bytes || of->datagrams) {
            text_add(&text, "%s[%d,%lld,%u]", comma, i, (long long)(of->kind == PAIR ? of->datagrams : of->bytes), of->crc);
            comma = ",";
        }
    }
    text_add(&text, "]");
    add_troubles(&text);
    InterlockedExchange(&script.done, 1);
    InterlockedExchange(&script.running, 0);
    reply_send(&text);
}

void replay_end(void)
{
    InterlockedExchange(&script.stop, 1);
    for (int tries = 0; script.running && tries < 100; tries++)
        Sleep(SLICE_MS);
    if (!script.running)
        forget();
}

bool replay_op(const char *op, json_request *request)
{
    if (!strcmp(op, "replay_load")) {
        load_apart(request);
    } else if (!strcmp(op, "replay_run")) {
        if (!script.steps || script.done || InterlockedExchange(&script.running, 1))
            reply_error(request, "Busy", 0, "There is no script that could be run.");
        else
            run_apart(run, request);
    } else if (!strcmp(op, "replay_state")) {
        text_buffer text = {0};
        reply_begin(&text, request);
        text_add(&text, ",\"number\":%ld,\"waits\":%ld,\"done\":%s", script.number, script.waits, script.done ? "true" : "false");
        reply_send(&text);
    } else if (!strcmp(op, "replay_skip")) {
        int number = (int)json_number(request, "channel", -1);
        if (number >= 0 && number < script.count) {
            InterlockedExchange(&script.channels[number].skip, 1);
            SetEvent(script.changed);
        }
        reply_ok(request);
    } else if (!strcmp(op, "replay_release")) {
        if (script.changed) {
            InterlockedExchange(&script.released, (LONG)json_number(request, "hold", 0));
            SetEvent(script.changed);
        }
        reply_ok(request);
    } else {
        return false;
    }
    return true;
}

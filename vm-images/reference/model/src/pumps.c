/* The threads that carry frames between the TAP and the test NIC. SPDX-License-Identifier: MIT */
#include "pumps.h"

#include <string.h>

#include "linux.h"
#include "management.h"

enum { FRAME_MAX = 65536 + ETHERNET, TICK_MS = 250, SETTLED_MS = 200 };

static const char tap_name[] = "wfp0", nic_name[] = "test0", second_name[] = "test1";
static int64_t tap = -1, nic = -1, loopback = -1, second = -1;

static void write_link(const uint8_t *frame, size_t length)
{
    if (management_owns(frame, length))
        management_to_link(frame, length);
    else
        linux_write(nic, frame, length);
}

static void write_second(const uint8_t *frame, size_t length)
{
    linux_write(second, frame, length);
}

static void write_guest(const uint8_t *frame, size_t length)
{
    if (management_owns(frame, length))
        management_to_guest(frame, length);
    else
        linux_write(tap, frame, length);
}

/* What comes from a NIC for ::1 Linux drops; what comes from its loopback interface it takes. */
static void write_loopback(const uint8_t *frame, size_t length)
{
    linux_write(loopback, frame, length);
}

static DWORD WINAPI pump_out(void *unused)
{
    static uint8_t frame[FRAME_MAX]; /* by this thread */
    (void)unused;
    for (;;) {
        int64_t got = linux_read(tap, frame, sizeof frame);
        if (got <= 0)
            break;
        stack_from_guest(frame, (size_t)got);
    }
    wire.up = 0;
    model_log("the TAP is gone: no frames leave the guest any more");
    return 0;
}

static DWORD WINAPI pump_in(void *unused)
{
    static uint8_t frame[FRAME_MAX]; /* by this thread */
    int outgoing;
    (void)unused;
    for (;;) {
        int64_t got = linux_receive(nic, frame, sizeof frame, &outgoing);
        if (got == -100) { /* ENETDOWN: the NIC was down for a moment */
            Sleep(20);
            continue;
        }
        if (got <= 0)
            break;
        if (!outgoing)
            stack_from_link(frame, (size_t)got);
    }
    wire.up = 0;
    model_log("the test NIC is gone: no frames reach the guest any more");
    return 0;
}

static DWORD WINAPI pump_second(void *unused)
{
    static uint8_t frame[FRAME_MAX]; /* by this thread */
    int outgoing;
    (void)unused;
    for (;;) {
        int64_t got = linux_receive(second, frame, sizeof frame, &outgoing);
        if (got == -100) {
            Sleep(20);
            continue;
        }
        if (got <= 0)
            break;
        if (!outgoing)
            stack_from_second(frame, (size_t)got);
    }
    model_log("the second test NIC is gone: nothing is forwarded any more");
    return 0;
}

/* Where there is a second test NIC that has an address, packets for its network are forwarded there. */
static BOOL open_second(void)
{
    int index = 0;
    struct second_interface found = {0};
    if (!linux_interface_network(second_name, &found.network, &found.prefix, found.mac))
        return FALSE;
    second = linux_packet_socket(second_name, &index);
    if (second < 0) {
        model_log("cannot open test NIC %s: errno %d; nothing is forwarded", second_name, (int)-second);
        return FALSE;
    }
    found.index = (UINT32)index;
    found.to_link = write_second;
    wire.second = found;
    return TRUE;
}

/* One line of /proc/net/tcp or udp: "sl local:port remote:port state ... inode". */
struct endpoints {
    char *text;
    size_t size;
};

enum { TABLES = 4 };
static const char *const endpoint_files[TABLES] = {"/proc/net/tcp", "/proc/net/tcp6", "/proc/net/udp", "/proc/net/udp6"};
static struct endpoints endpoints[TABLES]; /* by the tick thread, as the next */
static UINT64 read_at_ms;

static void read_endpoints(struct endpoints *out, const char *path)
{
    enum { ROOM = 256 * 1024 };
    if (!out->text)
        out->text = mem_alloc(ROOM + 1);
    out->size = 0;
    int64_t fd = linux_open(path, 0), got;
    if (fd < 0)
        return;
    while (out->size < ROOM && (got = linux_read(fd, out->text + out->size, ROOM - out->size)) > 0)
        out->size += (size_t)got;
    out->text[out->size] = 0;
    linux_close(fd);
}

static BOOL listed(const struct endpoints *table, const struct flow *flow)
{
    char wanted[8];
    static const char hex[] = "0123456789ABCDEF";
    wanted[0] = ':';
    for (int i = 0; i < 4; i++)
        wanted[1 + i] = hex[(flow->local_port >> (12 - 4 * i)) & 15];
    wanted[5] = 0;
    for (const char *line = table->text; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        const char *local = strchr(line, ':');
        local = local ? strchr(local + 1, ':') : NULL;
        if (!local || memcmp(local, wanted, 5))
            continue;
        if (flow->protocol != IPPROTO_TCP)
            return TRUE;
        const char *remote = strchr(local + 1, ':');
        if (!remote)
            return TRUE;
        const char *state = remote + 6; /* ":PPPP SS" */
        BOOL waiting = !memcmp(state, "06", 2) || !memcmp(state, "0A", 2); /* TIME_WAIT, LISTEN */
        UINT16 port = 0;
        for (int i = 1; i <= 4; i++)
            port = (UINT16)(port << 4 | (remote[i] <= '9' ? remote[i] - '0' : remote[i] - 'A' + 10));
        if (!waiting && (port == flow->original_port || port == flow->remote_port))
            return TRUE;
        if (!memcmp(state, "0A", 2) && !flow->outbound && !flow->established)
            return TRUE; /* a request that waits for its handshake may have no line of its own */
    }
    return FALSE;
}

/* Does a socket with this local port exist that some process still holds? One over IPv6 may be used with IPv4. */
static BOOL endpoint_exists(const struct flow *flow)
{
    if (flow->protocol != IPPROTO_TCP && flow->protocol != IPPROTO_UDP)
        return TRUE;
    if (flow->touched_ms + SETTLED_MS > read_at_ms) /* the tables may be older than its socket: this thread may have stood still */
        return TRUE;
    const struct endpoints *table = &endpoints[flow->protocol == IPPROTO_TCP ? 0 : 2];
    if (!table[0].size && !table[1].size)
        return TRUE;
    return (flow->local.family == FAMILY_V4 && listed(&table[0], flow)) || listed(&table[1], flow);
}

static DWORD WINAPI tick(void *unused)
{
    (void)unused;
    for (;;) {
        Sleep(TICK_MS);
        if (!flows_count())
            continue;
        read_at_ms = now_ms();
        for (int i = 0; i < TABLES; i++)
            read_endpoints(&endpoints[i], endpoint_files[i]);
        flows_tick(now_ms(), endpoint_exists);
    }
    return 0;
}

static void start_thread(LPTHREAD_START_ROUTINE function)
{
    CloseHandle(CreateThread(NULL, 0, function, NULL, 0, NULL));
}

BOOL pumps_start(void)
{
    int index = 0;
    if (wire.up)
        return TRUE;
    tap = linux_tap(tap_name, wire.guest_mac);
    if (tap < 0) {
        model_log("cannot open TAP %s: errno %d", tap_name, (int)-tap);
        return FALSE;
    }
    nic = linux_packet_socket(nic_name, &index);
    if (nic < 0) {
        model_log("cannot open test NIC %s: errno %d", nic_name, (int)-nic);
        linux_close(tap);
        return FALSE;
    }
    loopback = linux_send_socket("lo");
    if (loopback < 0)
        model_log("cannot open the loopback interface: errno %d; no redirection to ::1", (int)-loopback);
    wire.to_link = write_link;
    wire.to_loopback = write_loopback;
    wire.to_guest = write_guest;
    linux_interface_addresses(tap_name, &index, wire.guest, GUEST_ADDRESSES);
    wire.interface_index = (UINT32)index;
    wire.owner = owner_of_socket;
    wire.listens = listening;
    wire.source = linux_source_for;
    BOOL forwards = open_second();
    wire.up = 1;
    inject_start();
    stream_start();
    start_thread(tick);
    start_thread(pump_in);
    if (forwards)
        start_thread(pump_second);
    start_thread(pump_out);
    model_log("filter engine runs between %s and %s%s%s", tap_name, nic_name, forwards ? ", and forwards to " : "", forwards ? second_name : "");
    return TRUE;
}

void pumps_stats(WFPMODEL_STATS *out)
{
    out->frames_out = stats.frames_out;
    out->frames_in = stats.frames_in;
    out->passed_out = stats.passed_out;
    out->passed_in = stats.passed_in;
    out->dropped_out = stats.dropped_out;
    out->dropped_in = stats.dropped_in;
    out->classifies = stats.classifies;
    out->flows_made = stats.flows_made;
    out->flows_ended = stats.flows_ended;
    out->injected = stats.injected;
    out->misuse = stats.lint;
    out->passed_through = stats.other;
    out->flows = flows_count();
    out->running = (uint64_t)wire.up;
}

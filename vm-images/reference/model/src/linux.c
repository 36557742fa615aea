/* Raw Linux system calls. SPDX-License-Identifier: MIT */
#include "linux.h"

enum {
    SYS_READ = 0,
    SYS_WRITE = 1,
    SYS_OPEN = 2,
    SYS_CLOSE = 3,
    SYS_RT_SIGACTION = 13,
    SYS_IOCTL = 16,
    SYS_PWRITE = 18,
    SYS_SOCKET = 41,
    SYS_CONNECT = 42,
    SYS_RECVFROM = 45,
    SYS_BIND = 49,
    SYS_GETSOCKNAME = 51,
    SYS_GETPEERNAME = 52,
    SYS_SETSOCKOPT = 54,
    SYS_GETSOCKOPT = 55,
    SYS_CLOCK_GETTIME = 228,
    TCSBRK_ = 0x5409,
};
enum { EINTR_ = 4, O_WRONLY_ = 1, O_RDWR_ = 2, O_CREAT_ = 0100, O_NOCTTY_ = 0400, O_TRUNC_ = 01000, O_APPEND_ = 02000 };
enum { TUNSETIFF_ = 0x400454ca, IFF_TAP_ = 2, IFF_NO_PI_ = 0x1000 };
enum { SIOCGIFADDR_ = 0x8915, SIOCGIFNETMASK_ = 0x891b, SIOCGIFHWADDR_ = 0x8927, SIOCGIFINDEX_ = 0x8933 };
enum { SOL_SOCKET_ = 1, SO_ACCEPTCONN_ = 30, SO_PROTOCOL_ = 38, AF_INET6_ = 10 };
enum { AF_INET_ = 2, AF_PACKET_ = 17, SOCK_STREAM_ = 1, SOCK_DGRAM_ = 2, SOCK_RAW_ = 3, PACKET_OUTGOING_ = 4 };
enum { SOL_PACKET_ = 263, PACKET_IGNORE_OUTGOING_ = 23, ETH_P_ALL_BE = 0x0300 };

struct ifreq_ {
    char name[16];
    union {
        int16_t flags;
        int32_t index;
        struct {
            uint16_t family;
            uint8_t data[14];
        } address;
        uint8_t room[24];
    } u;
};

struct sockaddr_ll_ {
    uint16_t family;
    uint16_t protocol;
    int32_t index;
    uint16_t hatype;
    uint8_t pkttype;
    uint8_t halen;
    uint8_t address[8];
};


static int64_t call6(int64_t number, int64_t a, int64_t b, int64_t c, int64_t d, int64_t e, int64_t f)
{
    int64_t result;
    register int64_t r10 __asm__("r10") = d;
    register int64_t r8 __asm__("r8") = e;
    register int64_t r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

#define CALL(n, a, b, c) call6(n, (int64_t)(a), (int64_t)(b), (int64_t)(c), 0, 0, 0)

static void name_copy(char to[16], const char *from)
{
    for (int i = 0; i < 15 && from[i]; i++)
        to[i] = from[i];
}

const char *linux_console_path = "/dev/ttyS0";

static int64_t console = -1;

void linux_console(const char *text, size_t length)
{
    if (console < 0) {
        console = linux_open(linux_console_path, O_WRONLY_ | O_NOCTTY_ | O_APPEND_);
        if (console < 0)
            console = 2;
    }
    if (linux_write(console, text, length) < 0 && console != 2)
        linux_write(2, text, length);
}

void linux_console_wait(const char *text, size_t length)
{
    linux_console(text, length);
    CALL(SYS_IOCTL, console, TCSBRK_, 1); /* tcdrain; of a file it is refused, which changes nothing */
}

int64_t linux_open(const char *path, int flags)
{
    return CALL(SYS_OPEN, (intptr_t)path, flags, 0);
}

int64_t linux_create(const char *path)
{
    return CALL(SYS_OPEN, (intptr_t)path, O_WRONLY_ | O_CREAT_ | O_TRUNC_, 0644);
}

int64_t linux_signal_action(int signal, const void *set, void *old)
{
    enum { MASK_SIZE = 8 };
    return call6(SYS_RT_SIGACTION, signal, (intptr_t)set, (intptr_t)old, MASK_SIZE, 0, 0);
}

/* QEMU's panic device is a port; Linux lets root write to ports by a file. Only where the firmware's tables name it. */
int linux_panic(void)
{
    enum { PANIC_PORT = 0x505 };
    static const uint8_t panicked = 1;
    int64_t device = linux_open("/sys/bus/acpi/devices/QEMU0001:00/hid", 0);
    if (device < 0)
        return 0;
    linux_close(device);
    int64_t ports = linux_open("/dev/port", O_WRONLY_);
    if (ports < 0)
        return 0;
    int64_t put = call6(SYS_PWRITE, ports, (intptr_t)&panicked, sizeof panicked, PANIC_PORT, 0, 0);
    linux_close(ports);
    return put == sizeof panicked;
}

int64_t linux_read(int64_t fd, void *buffer, size_t size)
{
    int64_t got;
    do
        got = CALL(SYS_READ, fd, (intptr_t)buffer, size);
    while (got == -EINTR_);
    return got;
}

int64_t linux_write(int64_t fd, const void *buffer, size_t size)
{
    int64_t put;
    do
        put = CALL(SYS_WRITE, fd, (intptr_t)buffer, size);
    while (put == -EINTR_);
    return put;
}

void linux_close(int64_t fd)
{
    CALL(SYS_CLOSE, fd, 0, 0);
}

int64_t linux_tap(const char *name, uint8_t mac[6])
{
    struct ifreq_ request = {0};
    int64_t fd = linux_open("/dev/net/tun", O_RDWR_);
    if (fd < 0)
        return fd;
    name_copy(request.name, name);
    request.u.flags = IFF_TAP_ | IFF_NO_PI_;
    int64_t error = CALL(SYS_IOCTL, fd, TUNSETIFF_, (intptr_t)&request);
    if (error < 0) {
        linux_close(fd);
        return error;
    }
    struct ifreq_ address = {0};
    name_copy(address.name, name);
    int64_t socket = CALL(SYS_SOCKET, AF_INET_, SOCK_DGRAM_, 0);
    if (socket >= 0) {
        if (CALL(SYS_IOCTL, socket, SIOCGIFHWADDR_, (intptr_t)&address) >= 0)
            for (int i = 0; i < 6; i++)
                mac[i] = address.u.address.data[i];
        linux_close(socket);
    }
    return fd;
}

static unsigned hex_digit(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)((c | 32) - 'a' + 10);
}

/* Lines of /proc/net/if_inet6: 32 digits, index, prefix length, scope, flags (two digits each), name. */
static unsigned addresses_v6(const char *name, struct address *out, unsigned room)
{
    static char text[4096];
    enum { NAME_AT = 45 };
    unsigned found = 0;
    size_t length = strlen(name), size = 0;
    int64_t fd = linux_open("/proc/net/if_inet6", 0), got;
    if (fd < 0)
        return 0;
    while (size < sizeof text - 1 && (got = linux_read(fd, text + size, sizeof text - 1 - size)) > 0)
        size += (size_t)got;
    linux_close(fd);
    text[size] = 0;
    for (const char *line = text, *end; found < room && (end = strchr(line, '\n')); line = end + 1) {
        if (end - line <= NAME_AT)
            continue;
        const char *label = line + NAME_AT;
        while (label < end && *label == ' ')
            label++;
        if ((size_t)(end - label) != length || memcmp(label, name, length))
            continue;
        out[found] = (struct address){.family = FAMILY_V6};
        for (int i = 0; i < 16; i++)
            out[found].bytes[i] = (uint8_t)(hex_digit(line[2 * i]) << 4 | hex_digit(line[2 * i + 1]));
        found++;
    }
    return found;
}

static int32_t guest_link; /* the interface of linux_interface_addresses, which link-local addresses are of */

unsigned linux_interface_addresses(const char *name, int *index, struct address *out, unsigned room)
{
    struct ifreq_ request = {0};
    unsigned found = 0;
    int64_t socket = CALL(SYS_SOCKET, AF_INET_, SOCK_DGRAM_, 0);
    if (socket < 0)
        return 0;
    name_copy(request.name, name);
    if (room && CALL(SYS_IOCTL, socket, SIOCGIFADDR_, (intptr_t)&request) >= 0)
        out[found++] = address_of(FAMILY_V4, request.u.address.data + 2);
    if (index && CALL(SYS_IOCTL, socket, SIOCGIFINDEX_, (intptr_t)&request) >= 0)
        *index = guest_link = request.u.index;
    linux_close(socket);
    return found + addresses_v6(name, out + found, room - found);
}

int linux_interface_network(const char *name, struct address *own, unsigned *prefix, uint8_t mac[6])
{
    struct ifreq_ address = {0}, mask = {0}, hardware = {0};
    int64_t socket = CALL(SYS_SOCKET, AF_INET_, SOCK_DGRAM_, 0);
    int known = 0;
    if (socket < 0)
        return 0;
    name_copy(address.name, name);
    name_copy(mask.name, name);
    name_copy(hardware.name, name);
    if (CALL(SYS_IOCTL, socket, SIOCGIFADDR_, (intptr_t)&address) >= 0 && CALL(SYS_IOCTL, socket, SIOCGIFNETMASK_, (intptr_t)&mask) >= 0 &&
        CALL(SYS_IOCTL, socket, SIOCGIFHWADDR_, (intptr_t)&hardware) >= 0) {
        *own = address_of(FAMILY_V4, address.u.address.data + 2);
        *prefix = 0;
        for (int i = 2; i < 6; i++)
            *prefix += (unsigned)__builtin_popcount(mask.u.address.data[i]);
        memcpy(mac, hardware.u.address.data, 6);
        known = 1;
    }
    linux_close(socket);
    return known;
}

static int64_t bound_to_link(const char *name, uint16_t protocol, int *index)
{
    struct ifreq_ request = {0};
    int64_t fd = CALL(SYS_SOCKET, AF_PACKET_, SOCK_RAW_, protocol);
    if (fd < 0)
        return fd;
    name_copy(request.name, name);
    int64_t error = CALL(SYS_IOCTL, fd, SIOCGIFINDEX_, (intptr_t)&request);
    if (error >= 0) {
        struct sockaddr_ll_ where = {.family = AF_PACKET_, .protocol = protocol, .index = request.u.index};
        int one = 1;
        *index = request.u.index;
        call6(SYS_SETSOCKOPT, fd, SOL_PACKET_, PACKET_IGNORE_OUTGOING_, (intptr_t)&one, sizeof one, 0);
        error = CALL(SYS_BIND, fd, (intptr_t)&where, sizeof where);
    }
    if (error < 0) {
        linux_close(fd);
        return error;
    }
    return fd;
}

int64_t linux_packet_socket(const char *name, int *index)
{
    return bound_to_link(name, ETH_P_ALL_BE, index);
}

int64_t linux_send_socket(const char *name)
{
    int index;
    return bound_to_link(name, 0, &index);
}

int64_t linux_receive(int64_t fd, void *buffer, size_t size, int *outgoing)
{
    struct sockaddr_ll_ from = {0};
    uint32_t from_size = sizeof from;
    int64_t got;
    do
        got = call6(SYS_RECVFROM, fd, (intptr_t)buffer, (int64_t)size, 0, (intptr_t)&from, (intptr_t)&from_size);
    while (got == -EINTR_);
    *outgoing = from.pkttype == PACKET_OUTGOING_;
    return got;
}

uint64_t linux_monotonic_ms(void)
{
    int64_t time[2] = {0, 0};
    CALL(SYS_CLOCK_GETTIME, 1, (intptr_t)time, 0);
    return (uint64_t)time[0] * 1000u + (uint64_t)time[1] / 1000000u;
}

static int socket_option(int64_t fd, int name)
{
    int32_t value = 0;
    uint32_t size = sizeof value;
    int64_t error = call6(SYS_GETSOCKOPT, fd, SOL_SOCKET_, name, (intptr_t)&value, (intptr_t)&size, 0);
    return error < 0 ? -1 : value;
}

/* Either end; a dual-stack socket gives its IPv4 addresses as ::ffff:a.b.c.d, and an unbound one as ::. */
static int socket_end(int64_t fd, int64_t call, struct address *address, uint16_t *port)
{
    uint8_t name[28] = {0};
    uint32_t size = sizeof name;
    if (CALL(call, fd, (intptr_t)name, (intptr_t)&size) < 0)
        return 0;
    int family = name[0] | name[1] << 8;
    if (family != AF_INET_ && family != AF_INET6_)
        return 0;
    *port = (uint16_t)(name[2] << 8 | name[3]);
    *address = family == AF_INET6_ ? address_unmapped(name + 8) : address_of(FAMILY_V4, name + 4);
    return 1;
}

static uint32_t socket_name(uint8_t name[28], const struct address *address, uint16_t port)
{
    int v6 = address->family == FAMILY_V6;
    for (int i = 0; i < 28; i++)
        name[i] = 0;
    name[0] = v6 ? AF_INET6_ : AF_INET_;
    name[2] = (uint8_t)(port >> 8);
    name[3] = (uint8_t)port;
    for (size_t i = 0; i < address_size(address->family); i++)
        name[(v6 ? 8 : 4) + i] = address->bytes[i];
    if (address_is_link_local(address))
        name[24] = (uint8_t)guest_link;
    return v6 ? 28 : 16;
}

int linux_free_port(uint8_t protocol, const struct address *local, uint16_t *port)
{
    uint8_t name[28];
    uint32_t size = socket_name(name, local, *port);
    struct address bound;
    int64_t fd = CALL(SYS_SOCKET, name[0], protocol == 6 ? SOCK_STREAM_ : SOCK_DGRAM_, protocol);
    if (fd < 0)
        return 0;
    int found = CALL(SYS_BIND, fd, (intptr_t)name, size) >= 0 && socket_end(fd, SYS_GETSOCKNAME, &bound, port) && *port;
    linux_close(fd);
    return found;
}

/* A datagram socket is connected for it, which sends nothing. */
int linux_source_for(const struct address *to, struct address *from)
{
    enum { DISCARD_PORT = 9 };
    uint8_t name[28];
    uint16_t port;
    uint32_t size = socket_name(name, to, DISCARD_PORT);
    int64_t fd = CALL(SYS_SOCKET, name[0], SOCK_DGRAM_, 0);
    if (fd < 0)
        return 0;
    int found = CALL(SYS_CONNECT, fd, (intptr_t)name, size) >= 0 && socket_end(fd, SYS_GETSOCKNAME, from, &port);
    linux_close(fd);
    return found;
}

int linux_socket_of(int64_t fd, struct linux_socket *out)
{
    *out = (struct linux_socket){0};
    int protocol = socket_option(fd, SO_PROTOCOL_);
    if (protocol != 6 && protocol != 17)
        return 0;
    out->protocol = (uint8_t)protocol;
    out->listening = socket_option(fd, SO_ACCEPTCONN_) > 0;
    if (!socket_end(fd, SYS_GETSOCKNAME, &out->local, &out->local_port))
        return 0;
    if (!out->listening)
        socket_end(fd, SYS_GETPEERNAME, &out->remote, &out->remote_port);
    return 1;
}

/*
 * Raw Linux system calls for code in a PE module under Wine. Nothing else in the model knows about Linux.
 * SPDX-License-Identifier: MIT
 */
#ifndef MODEL_LINUX_H
#define MODEL_LINUX_H

#include <stddef.h>
#include <stdint.h>

#include "address.h"

extern const char *linux_console_path;               /* the serial port; set before the first line */
void linux_console(const char *text, size_t length); /* serial port, else standard error */
void linux_console_wait(const char *text, size_t length); /* comes back when the port has sent it */
int64_t linux_open(const char *path, int flags);
int64_t linux_create(const char *path); /* anew, to write; fd or -errno */
int64_t linux_signal_action(int signal, const void *set, void *old); /* rt_sigaction; 0 or -errno */
int linux_panic(void); /* tells the panic device, where QEMU stops the machine; 0: there is none */
int64_t linux_read(int64_t fd, void *buffer, size_t size);  /* retries EINTR */
int64_t linux_write(int64_t fd, const void *buffer, size_t size);
void linux_close(int64_t fd);
int64_t linux_tap(const char *name, uint8_t mac[6]);                       /* fd or -errno */
int64_t linux_packet_socket(const char *name, int *index);                 /* fd or -errno */
int64_t linux_send_socket(const char *name);                               /* of the same kind, but deaf */
int64_t linux_receive(int64_t fd, void *buffer, size_t size, int *outgoing); /* from a packet socket */
unsigned linux_interface_addresses(const char *name, int *index, struct address *out, unsigned room); /* how many it has */
int linux_interface_network(const char *name, struct address *own, unsigned *prefix, uint8_t mac[6]); /* IPv4; 0: it has none */
uint64_t linux_monotonic_ms(void);

struct linux_socket { /* ports in host order, 0 where it has none; a dual-stack socket's IPv4 addresses are IPv4 */
    uint8_t protocol;
    int listening;
    struct address local, remote;
    uint16_t local_port, remote_port;
};
/* Whether *port can be bound there; 0 becomes one that can. 0: nothing can. */
int linux_free_port(uint8_t protocol, const struct address *local, uint16_t *port);
int linux_source_for(const struct address *to, struct address *from); /* 0: there is no way to it */
int linux_socket_of(int64_t fd, struct linux_socket *out); /* 0: no TCP or UDP socket */

#endif

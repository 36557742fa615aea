/* Between the driver shell, which sees ntifs.h, and the engine, which sees windows.h. SPDX-License-Identifier: MIT */
#ifndef MODEL_SHELL_H
#define MODEL_SHELL_H

#include <stddef.h>

void shell_attach(void); /* whenever the module is entered from outside */
int shell_start(void (*free_pool)(void *block)); /* zero when the engine cannot run */
/* Open handles, whose requests for the management functions may wait. `done` is called once for each, from any thread. */
typedef void (*channel_done)(void *request, long status, size_t size);
void *channel_open(unsigned long process);
void channel_submit(void *channel, unsigned char *buffer, size_t in, size_t out, void *request, channel_done done);
void channel_end(void *channel); /* no more requests; it is freed by and by */
long shell_control(unsigned long code, unsigned char *buffer, size_t in, size_t out, size_t *done);
/* A WFPMODEL_CALL, which may wait for callouts: a thread of the engine takes it and ends with shell_finish. */
void shell_defer(void *irp, const void *client, unsigned char *buffer, size_t in, size_t out);
void shell_client_gone(const void *client);
void shell_finish(void *irp, long status, size_t size); /* (shell.c) */

#endif

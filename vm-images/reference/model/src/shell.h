/* Between the driver shell, which sees ntifs.h, and the engine, which sees windows.h. SPDX-License-Identifier: MIT */
#ifndef MODEL_SHELL_H
#define MODEL_SHELL_H

#include <stddef.h>

void shell_attach(void); /* whenever the module is entered from outside */
int shell_start(void (*free_pool)(void *block)); /* zero when the engine cannot run */
long shell_control(unsigned long code, unsigned char *buffer, size_t in, size_t out, size_t *done);

#endif

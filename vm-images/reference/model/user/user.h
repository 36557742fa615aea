/*
 * fwpuclnt.dll of the reference guest: the management functions of user mode, carried out by the engine in winedevice.
 * calls.c asks it; engine.c sessions and transactions; objects.c adding, deleting, reading; changes.c subscriptions;
 * security.c security information. What is not done says its name and returns ERROR_CALL_NOT_IMPLEMENTED.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef USER_H
#define USER_H

#include "manage.h"
#include "shapes.h"
#include "wfpmodel_ioctl.h"

enum user_kind { OF_PROVIDER, OF_SUBLAYER, OF_CALLOUT, OF_CONTEXT, OF_FILTER, OF_LAYER, OF_SESSION }; /* as enum kind of the engine */

struct engine { /* what an engine handle is */
    struct engine *next;
    HANDLE device;
    UINT64 number;
};

/* An answer of the engine: what is behind it is `size` bytes at `bytes`, to be freed with mem_free. */
struct answer {
    struct manage_answer head;
    UINT8 *bytes;
    size_t size;
};

void *mem_alloc(size_t size);
void mem_free(void *block);
DWORD unimplemented(const char *function);
DWORD error_of(LONG status); /* what user mode sees of an NTSTATUS (W067) */
HANDLE device_open(void);
/* Asks on an open device, with a structure behind the request when there is a shape. `answer` may be NULL. */
DWORD ask_device(HANDLE device, struct manage_request *request, const struct shape *shape, const void *body, struct answer *answer);
DWORD ask_raw(HANDLE device, struct manage_request *request, const void *body, size_t body_size, struct answer *answer);
DWORD ask(HANDLE engine, struct manage_request *request, const struct shape *shape, const void *body, struct answer *answer);
DWORD engine_find(HANDLE handle, HANDLE *device, UINT64 *number);
const struct shape *kind_shape_of(enum user_kind kind);
const struct shape *template_shape_of(enum user_kind kind);

#endif

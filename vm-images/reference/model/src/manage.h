/*
 * What goes between fwpuclnt.dll and the engine through IOCTL_WFPMODEL_MANAGE: a request, behind it a structure as
 * shapes.h packs it; an answer, behind it one. An open handle of the device is one session, or one subscription.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MODEL_MANAGE_H
#define MODEL_MANAGE_H

#include <stdint.h>

enum manage_operation {
    MANAGE_OPEN = 1,     /* flag 1: FWPM_SESSION0 behind it; gives the session's number */
    MANAGE_CLOSE,
    MANAGE_BEGIN,        /* flags of the transaction */
    MANAGE_COMMIT,
    MANAGE_ABORT,
    MANAGE_ADD,          /* kind, version; the structure behind it; gives its id */
    MANAGE_DELETE,       /* kind; key when flag 1, else id */
    MANAGE_GET,          /* kind; key when flag 1, else id; answers with the structure */
    MANAGE_ENUM_CREATE,  /* kind; flag 1: template behind it; gives the handle as id */
    MANAGE_ENUM_NEXT,    /* kind, handle as id, how many; answers with an array of as many as `count` says */
    MANAGE_ENUM_DESTROY, /* kind, handle as id */
    MANAGE_SUBSCRIBE,    /* kind, session's number as id, flags of the subscription, template when `count` */
    MANAGE_NEXT_CHANGE,  /* waits; key, id; count = FWPM_CHANGE_TYPE; STATUS_CANCELLED at the end */
    MANAGE_SUBSCRIPTIONS,  /* kind; answers with as many struct manage_subscription as `count` says */
    MANAGE_GET_SECURITY, /* kind, key, which as flags; answers with a self-relative security descriptor */
    MANAGE_SET_SECURITY, /* kind, key, which as flags; behind it four lengths of 32 bits and owner, group, DACL, SACL */
    MANAGE_UNIMPLEMENTED, /* the name of a function that fwpuclnt.dll does not have, behind it */
    MANAGE_REST,         /* the answer before this one, which had no room */
};
enum { MANAGE_FLAG = 1, MANAGE_ENGINE_KIND = 100 /* security of the engine itself */, MANAGE_BYTES_MAX = 16 << 20 };

struct manage_request {
    uint32_t operation, kind, flags, count, version, reserved;
    uint64_t id;
    uint8_t key[16];
};
struct manage_answer {
    int32_t status; /* NTSTATUS */
    uint32_t count;
    uint64_t id;
    uint8_t key[16];
    uint64_t size; /* of all that is behind it; when that is more than there was room for, nothing is */
};
struct manage_subscription {
    uint8_t session[16];
    uint32_t flags, reserved;
};

struct client { /* the engine's side of one open handle; manage.c's */
    void *engine; /* session, or NULL */
    uint64_t number;
    uint32_t process;
    struct subscription *subscription;
    uint8_t *answer; /* all of the newest one */
    size_t answer_size;
    struct client *next;
};
/* Carries out one request; gives the size of what it wrote, at most `room`, or 0 when the bytes are no request. */
size_t manage(struct client *client, const uint8_t *in, size_t in_size, uint8_t *out, size_t room);
void manage_join(struct client *client); /* from here on others may name its session */
void manage_stop(struct client *client); /* whoever waits in it comes back; from any thread */
void manage_end(struct client *client);  /* its session ends; nothing of it runs any more */

#endif

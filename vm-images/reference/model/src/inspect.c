/*
 * What the engine tells of itself to who looks at it: whose code the registered callouts are, and the flows. No function
 * of Windows gives that; objects are told by the management functions.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "hooks.h"
#include "inspect.h"
#include "store.h"

struct room {
    uint8_t *at, *end;
    uint32_t count, all;
};

static void *take(struct room *room, size_t size)
{
    void *piece = room->at;
    room->all++;
    if ((size_t)(room->end - room->at) < size)
        return NULL;
    room->at += size;
    room->count++;
    return piece;
}

static uint32_t count_contexts(const struct flow *flow)
{
    uint32_t count = 0;
    for (const struct flow_context *context = flow->contexts; context; context = context->next)
        count += !context->removed;
    return count;
}

/* IPv4 as ::ffff:a.b.c.d */
static void put_address(uint8_t out[16], const struct address *address)
{
    memset(out, 0, 16);
    if (address->family == FAMILY_V4) {
        memset(out + 10, 0xff, 2);
        memcpy(out + 12, address->bytes, 4);
    } else {
        memcpy(out, address->bytes, 16);
    }
}

static void tell_flow(const struct flow *flow, void *argument)
{
    WFPMODEL_FLOW told = {.number = flow->id, .local_port = flow->local_port, .remote_port = flow->remote_port,
                          .original_port = flow->original_port, .protocol = flow->protocol, .process_id = flow->pid};
    void *piece = take(argument, sizeof told);
    if (!piece)
        return;
    put_address(told.local, &flow->local);
    put_address(told.remote, &flow->remote);
    put_address(told.original, &flow->original);
    told.flags = (uint8_t)((flow->outbound ? WFPMODEL_FLOW_OUTBOUND : 0) | (flow->established ? WFPMODEL_FLOW_ESTABLISHED : 0) |
                           (flow->redirected ? WFPMODEL_FLOW_REDIRECTED : 0) | (flow->held ? WFPMODEL_FLOW_PENDED : 0));
    told.contexts = count_contexts(flow);
    memcpy(piece, &told, sizeof told);
}

static void tell_callout(const struct callout *callout, struct room *room)
{
    WFPMODEL_CALLOUT told = {.number = callout->id, .version = (uint32_t)callout->version, .contexts = (uint32_t)callout->contexts,
                             .running = (uint32_t)callout->running};
    void *piece = take(room, sizeof told);
    if (!piece)
        return;
    memcpy(told.key, &callout->key, sizeof told.key);
    module_name((UINT64)(uintptr_t)callout->functions.classifyFn, told.module, sizeof told.module);
    memcpy(piece, &told, sizeof told);
}

size_t inspect(uint8_t *out, size_t size)
{
    WFPMODEL_STATE head = {0};
    struct room room = {.at = out + sizeof head, .end = out + size};
    if (size < sizeof head)
        return 0;
    AcquireSRWLockShared(&store_lock);
    for (const struct callout *callout = callout_first(); callout; callout = callout->next)
        if (callout->registered)
            tell_callout(callout, &room);
    ReleaseSRWLockShared(&store_lock);
    head.callouts = room.count;
    room.count = room.all = 0;
    flows_each(tell_flow, &room);
    head.flows = room.count;
    head.all_flows = room.all;
    memcpy(out, &head, sizeof head);
    return (size_t)(room.at - out);
}

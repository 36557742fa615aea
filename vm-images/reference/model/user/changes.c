/*
 * Subscriptions to changes. Each has a handle of the device and a thread of its own, which waits for the next change and
 * calls the program.
 *
 * SPDX-License-Identifier: MIT
 */
#include "user.h"

#include <string.h>

struct told { /* how all FWPM_*_CHANGE0 begin; of providers and sublayers the key is the last member */
    UINT32 type;
    GUID key;
    union {
        UINT32 callout;
        UINT64 id;
    };
};
STATUS_ASSERT_SIZE(FWPM_FILTER_CHANGE0, 32);
ASSERT_AT(FWPM_FILTER_CHANGE0, filterId, offsetof(struct told, id));
ASSERT_AT(FWPM_PROVIDER_CONTEXT_CHANGE0, providerContextId, offsetof(struct told, id));
_Static_assert(offsetof(FWPM_CALLOUT_CHANGE0, calloutId) == 20, "FWPM_CALLOUT_CHANGE0.calloutId is misplaced");

typedef void(CALLBACK *CHANGED)(void *context, const void *change);
struct subscriber {
    HANDLE device, thread;
    DWORD thread_id;
    enum user_kind kind;
    CHANGED callback;
    void *context;
    volatile LONG references; /* of its thread, and of the handle */
};
struct wanted { /* how all FWPM_*_SUBSCRIPTION0 are */
    void *template;
    UINT32 flags;
    GUID session;
};
STATUS_ASSERT_SIZE(FWPM_FILTER_SUBSCRIPTION0, sizeof(struct wanted));

static void release(struct subscriber *s)
{
    if (InterlockedDecrement(&s->references) == 0)
        mem_free(s);
}

static DWORD WINAPI listen_for_changes(void *argument)
{
    struct subscriber *s = argument;
    struct answer answer;
    while (!ask_device(s->device, &(struct manage_request){.operation = MANAGE_NEXT_CHANGE}, NULL, NULL, &answer)) {
        struct told told = {.type = answer.head.count};
        memcpy(&told.key, answer.head.key, sizeof told.key);
        mem_free(answer.bytes);
        told.id = answer.head.id;
        if (s->kind == OF_CALLOUT) {
            FWPM_CALLOUT_CHANGE0 change = {(FWPM_CHANGE_TYPE)told.type, told.key, (UINT32)told.id};
            s->callback(s->context, &change);
        } else {
            s->callback(s->context, &told);
        }
    }
    release(s);
    return 0;
}

static DWORD subscribe(HANDLE engine, enum user_kind kind, const struct wanted *wanted, CHANGED callback, void *context, HANDLE *out)
{
    UINT64 number;
    HANDLE session;
    if (!wanted || !callback || !out)
        return error_of(STATUS_FWP_NULL_POINTER);
    DWORD error = engine_find(engine, &session, &number);
    if (error)
        return error;
    const struct shape *shape = wanted->template ? template_shape_of(kind) : NULL;
    struct manage_request request = {
        .operation = MANAGE_SUBSCRIBE, .kind = (uint32_t)kind, .flags = wanted->flags, .id = number, .count = shape != NULL};
    HANDLE device = device_open();
    if (device == INVALID_HANDLE_VALUE)
        return EPT_S_NOT_REGISTERED;
    error = ask_device(device, &request, shape, wanted->template, NULL);
    if (error) {
        CloseHandle(device);
        return error;
    }
    struct subscriber *made = mem_alloc(sizeof *made);
    *made = (struct subscriber){.device = device, .kind = kind, .callback = callback, .context = context, .references = 2};
    made->thread = CreateThread(NULL, 0, listen_for_changes, made, CREATE_SUSPENDED, &made->thread_id);
    if (!made->thread) {
        error = GetLastError();
        CloseHandle(device);
        mem_free(made);
        return error;
    }
    ResumeThread(made->thread);
    *out = made;
    return ERROR_SUCCESS;
}

/* When it returns the callback does not run and will not, unless it is the callback that calls. */
static DWORD unsubscribe(HANDLE engine, HANDLE handle)
{
    struct subscriber *s = handle;
    HANDLE device;
    DWORD error = engine_find(engine, &device, NULL);
    if (error || !s)
        return error ? error : ERROR_INVALID_HANDLE;
    CloseHandle(s->device); /* ends the wait */
    if (s->thread_id != GetCurrentThreadId())
        WaitForSingleObject(s->thread, INFINITE);
    CloseHandle(s->thread);
    release(s);
    return ERROR_SUCCESS;
}

static DWORD subscriptions(HANDLE engine, enum user_kind kind, struct wanted ***entries, UINT32 *count)
{
    struct answer answer;
    if (!entries || !count)
        return error_of(STATUS_FWP_NULL_POINTER);
    DWORD error = ask(engine, &(struct manage_request){.operation = MANAGE_SUBSCRIPTIONS, .kind = (uint32_t)kind}, NULL, NULL, &answer);
    if (error)
        return error;
    UINT32 found = (UINT32)(answer.size / sizeof(struct manage_subscription));
    struct wanted **list = mem_alloc(found * (sizeof *list + sizeof **list) + 1), *entry = (struct wanted *)(list + found);
    for (UINT32 i = 0; i < found; i++) {
        const struct manage_subscription *told = (const struct manage_subscription *)answer.bytes + i;
        memcpy(&entry[i].session, told->session, sizeof told->session);
        entry[i].flags = told->flags;
        list[i] = &entry[i];
    }
    mem_free(answer.bytes);
    *entries = list;
    *count = found;
    return ERROR_SUCCESS;
}

#define CHANGES(noun, kind)                                                                                            \
    DWORD WINAPI Fwpm##noun##SubscribeChanges0(HANDLE engine, const void *wanted, void *callback, void *context, HANDLE *out) \
    {                                                                                                                  \
        return subscribe(engine, kind, wanted, (CHANGED)(uintptr_t)callback, context, out);                           \
    }                                                                                                                  \
    DWORD WINAPI Fwpm##noun##UnsubscribeChanges0(HANDLE engine, HANDLE handle)                                         \
    {                                                                                                                  \
        return unsubscribe(engine, handle);                                                                            \
    }                                                                                                                  \
    DWORD WINAPI Fwpm##noun##SubscriptionsGet0(HANDLE engine, void *entries, UINT32 *count)                            \
    {                                                                                                                  \
        return subscriptions(engine, kind, entries, count);                                                            \
    }
CHANGES(Provider, OF_PROVIDER)
CHANGES(SubLayer, OF_SUBLAYER)
CHANGES(Callout, OF_CALLOUT)
CHANGES(ProviderContext, OF_CONTEXT)
CHANGES(Filter, OF_FILTER)

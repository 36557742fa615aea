/*
 * The requests of programs of user mode. Nothing in them is trusted: structures are unpacked with bounds, kinds and
 * handles are looked up, and what a caller names it names by number or key.
 *
 * SPDX-License-Identifier: MIT
 */
#include "manage.h"

#include <string.h>

#include "store.h"

NTSTATUS NTAPI FwpmTransactionBegin0(HANDLE, UINT32);
NTSTATUS NTAPI FwpmTransactionCommit0(HANDLE);
NTSTATUS NTAPI FwpmTransactionAbort0(HANDLE);
NTSTATUS NTAPI FwpmEngineClose0(HANDLE);
NTSTATUS NTAPI FwpmProviderAdd0(HANDLE, const FWPM_PROVIDER0 *, void *);
NTSTATUS NTAPI FwpmSubLayerAdd0(HANDLE, const FWPM_SUBLAYER0 *, void *);
NTSTATUS NTAPI FwpmCalloutAdd0(HANDLE, const FWPM_CALLOUT0 *, void *, UINT32 *);
NTSTATUS NTAPI FwpmFilterAdd0(HANDLE, const FWPM_FILTER0 *, void *, UINT64 *);
NTSTATUS NTAPI FwpmProviderContextAdd0(HANDLE, const FWPM_PROVIDER_CONTEXT0 *, void *, UINT64 *);
NTSTATUS NTAPI FwpmProviderContextAdd1(HANDLE, const FWPM_PROVIDER_CONTEXT0 *, void *, UINT64 *);
NTSTATUS NTAPI FwpmProviderContextAdd2(HANDLE, const FWPM_PROVIDER_CONTEXT0 *, void *, UINT64 *);
NTSTATUS NTAPI FwpmProviderContextAdd3(HANDLE, const FWPM_PROVIDER_CONTEXT0 *, void *, UINT64 *);
void NTAPI FwpmFreeMemory0(void **);

enum { SECURITY_PARTS = 4 };

static SRWLOCK clients_lock = SRWLOCK_INIT; /* the list; store_lock may be taken below it */
static struct client *clients;
static uint64_t last_number;

struct exchange { /* one request being carried out */
    struct client *client;
    const struct manage_request *request;
    const uint8_t *body;
    size_t body_size;
    struct manage_answer answer;
    uint8_t *told; /* behind the answer, or NULL */
};

static const struct shape *template_shape(uint32_t kind)
{
    static const struct shape *const shapes[KIND_STORED] = {
        [KIND_SUBLAYER] = &shape_provider_template,
        [KIND_CALLOUT] = &shape_callout_template,
        [KIND_CONTEXT] = &shape_context_template,
        [KIND_FILTER] = &shape_filter_template,
    };
    return kind < KIND_STORED ? shapes[kind] : NULL;
}

/* A block to be put behind the answer; takes it. */
static void tell(struct exchange *e, const struct shape *shape, void *block)
{
    e->answer.size = shape_pack(shape, block, NULL, 0);
    e->told = mem_alloc(e->answer.size);
    shape_pack(shape, block, e->told, e->answer.size);
    mem_free(block);
}

static NTSTATUS open_session(struct exchange *e)
{
    FWPM_SESSION0 caller = {.processId = e->client->process};
    FWPM_SESSION0 *wanted = NULL;
    HANDLE engine = NULL;
    if (e->client->engine || e->client->subscription)
        return STATUS_INVALID_PARAMETER;
    if ((e->request->flags & MANAGE_FLAG) && !(wanted = shape_unpack(&shape_session, e->body, e->body_size)))
        return STATUS_INVALID_PARAMETER;
    NTSTATUS status = session_open(wanted, &caller, &engine);
    mem_free(wanted);
    if (!status) {
        AcquireSRWLockExclusive(&clients_lock);
        e->client->engine = engine;
        e->answer.id = e->client->number = ++last_number;
        ReleaseSRWLockExclusive(&clients_lock);
    }
    return status;
}

static void close_session(struct client *client)
{
    AcquireSRWLockExclusive(&clients_lock);
    void *engine = client->engine;
    client->engine = NULL;
    client->number = 0;
    ReleaseSRWLockExclusive(&clients_lock);
    if (engine)
        FwpmEngineClose0(engine);
}

static NTSTATUS add_context(HANDLE engine, uint32_t version, const FWPM_PROVIDER_CONTEXT0 *context, UINT64 *id)
{
    switch (version) {
    case 0:
        return FwpmProviderContextAdd0(engine, context, NULL, id);
    case 1:
        return FwpmProviderContextAdd1(engine, context, NULL, id);
    case 2:
        return FwpmProviderContextAdd2(engine, context, NULL, id);
    default:
        return FwpmProviderContextAdd3(engine, context, NULL, id);
    }
}

static NTSTATUS add(struct exchange *e)
{
    HANDLE engine = e->client->engine;
    UINT32 callout_id = 0;
    NTSTATUS status;
    if (e->request->kind >= KIND_STORED)
        return STATUS_INVALID_PARAMETER;
    void *block = shape_unpack(kind_shape[e->request->kind], e->body, e->body_size);
    if (!block)
        return STATUS_INVALID_PARAMETER;
    switch (e->request->kind) {
    case KIND_PROVIDER:
        status = FwpmProviderAdd0(engine, block, NULL);
        break;
    case KIND_SUBLAYER:
        status = FwpmSubLayerAdd0(engine, block, NULL);
        break;
    case KIND_CALLOUT:
        status = FwpmCalloutAdd0(engine, block, NULL, &callout_id);
        e->answer.id = callout_id;
        break;
    case KIND_CONTEXT:
        status = add_context(engine, e->request->version, block, &e->answer.id);
        break;
    default:
        status = FwpmFilterAdd0(engine, block, NULL, &e->answer.id);
    }
    mem_free(block);
    return status;
}

/* The key that a request names, or NULL when it names an id. */
static const GUID *named_key(const struct exchange *e, GUID *room)
{
    memcpy(room, e->request->key, sizeof *room);
    return e->request->flags & MANAGE_FLAG ? room : NULL;
}

static NTSTATUS delete(struct exchange *e)
{
    GUID key;
    return e->request->kind < KIND_STORED ? object_delete(e->client->engine, e->request->kind, named_key(e, &key), e->request->id)
                                          : STATUS_INVALID_PARAMETER;
}

static NTSTATUS get(struct exchange *e)
{
    GUID key;
    void *block;
    if (e->request->kind > KIND_LAYER)
        return STATUS_INVALID_PARAMETER;
    NTSTATUS status = get_object(e->client->engine, e->request->kind, named_key(e, &key), e->request->id, &block);
    if (!status)
        tell(e, kind_shape[e->request->kind], block);
    return status;
}

static NTSTATUS take_template(struct exchange *e, BOOL there, void **template)
{
    const struct shape *shape = template_shape(e->request->kind);
    *template = NULL;
    if (!there || !shape)
        return STATUS_SUCCESS;
    *template = shape_unpack(shape, e->body, e->body_size);
    return *template ? STATUS_SUCCESS : STATUS_INVALID_PARAMETER;
}

static NTSTATUS create_enumeration(struct exchange *e)
{
    HANDLE handle;
    void *template;
    if (e->request->kind >= KINDS)
        return STATUS_INVALID_PARAMETER;
    NTSTATUS status = take_template(e, e->request->flags & MANAGE_FLAG, &template);
    if (!status)
        status = enum_create(e->client->engine, e->request->kind, template, &handle);
    if (!status)
        e->answer.id = (uint64_t)(uintptr_t)handle;
    mem_free(template);
    return status;
}

static NTSTATUS next_entries(struct exchange *e)
{
    void **entries;
    UINT32 count;
    if (e->request->kind >= KINDS)
        return STATUS_INVALID_PARAMETER;
    NTSTATUS status = enum_next(e->client->engine, e->request->kind, (HANDLE)(uintptr_t)e->request->id, e->request->count, &entries, &count);
    if (status)
        return status;
    const struct shape *shape = kind_shape[e->request->kind];
    e->answer.count = count;
    e->answer.size = shape_pack_array(shape, entries, count, NULL, 0);
    e->told = mem_alloc(e->answer.size + 1);
    shape_pack_array(shape, entries, count, e->told, e->answer.size);
    mem_free(entries);
    return STATUS_SUCCESS;
}

static NTSTATUS subscribe(struct exchange *e)
{
    void *template;
    HANDLE engine = NULL;
    if (e->request->kind >= KIND_STORED || e->client->engine || e->client->subscription)
        return STATUS_INVALID_PARAMETER;
    NTSTATUS status = take_template(e, e->request->count != 0, &template);
    if (status)
        return status;
    AcquireSRWLockShared(&clients_lock);
    for (struct client *other = clients; other && e->request->id; other = other->next)
        if (other->number == e->request->id && other->process == e->client->process)
            engine = other->engine;
    ReleaseSRWLockShared(&clients_lock);
    struct subscription *made = NULL;
    status = engine ? subscription_open(engine, e->request->kind, template, e->request->flags, &made) : STATUS_INVALID_HANDLE;
    AcquireSRWLockExclusive(&clients_lock);
    e->client->subscription = made;
    ReleaseSRWLockExclusive(&clients_lock);
    mem_free(template);
    return status;
}

static NTSTATUS next_change(struct exchange *e)
{
    struct change_told told;
    NTSTATUS status = e->client->subscription ? subscription_next(e->client->subscription, &told) : STATUS_INVALID_HANDLE;
    if (!status) {
        memcpy(e->answer.key, &told.key, sizeof told.key);
        e->answer.id = told.id;
        e->answer.count = (uint32_t)told.change;
    }
    return status;
}

static NTSTATUS list_subscriptions(struct exchange *e)
{
    struct subscription_told **list;
    UINT32 count;
    if (e->request->kind >= KIND_STORED)
        return STATUS_INVALID_PARAMETER;
    NTSTATUS status = subscriptions_get(e->client->engine, e->request->kind, &list, &count);
    if (status)
        return status;
    struct manage_subscription *told = mem_alloc(count * sizeof *told + 1);
    for (UINT32 i = 0; i < count; i++) {
        memcpy(told[i].session, &list[i]->session, sizeof told[i].session);
        told[i].flags = list[i]->flags;
    }
    mem_free(list);
    e->answer.count = count;
    e->answer.size = count * sizeof *told;
    e->told = (uint8_t *)told;
    return STATUS_SUCCESS;
}

static NTSTATUS get_security(struct exchange *e)
{
    GUID key;
    void *descriptor;
    size_t size;
    memcpy(&key, e->request->key, sizeof key);
    NTSTATUS status = security_get(e->client->engine, e->request->kind, &key, e->request->flags, &descriptor, &size);
    if (!status) {
        e->answer.size = size;
        e->told = descriptor;
    }
    return status;
}

static NTSTATUS set_security(struct exchange *e)
{
    GUID key;
    uint32_t size[SECURITY_PARTS];
    const uint8_t *part[SECURITY_PARTS], *at = e->body + sizeof size;
    if (e->body_size < sizeof size)
        return STATUS_INVALID_PARAMETER;
    memcpy(size, e->body, sizeof size);
    size_t left = e->body_size - sizeof size;
    for (int i = 0; i < SECURITY_PARTS; i++) {
        if (size[i] > left)
            return STATUS_INVALID_PARAMETER;
        part[i] = size[i] ? at : NULL;
        at += size[i];
        left -= size[i];
    }
    memcpy(&key, e->request->key, sizeof key);
    return security_set(e->client->engine, e->request->kind, &key, e->request->flags, part, size);
}

/* Only letters, digits and underscores get to the console, and not many. */
static NTSTATUS say_unimplemented(const struct exchange *e)
{
    char name[64];
    size_t length = 0;
    for (; length < e->body_size && length < sizeof name - 1; length++) {
        char c = (char)e->body[length];
        BOOL fine = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
        name[length] = fine ? c : '?';
    }
    name[length] = 0;
    model_log("UNIMPLEMENTED: a program called %s of fwpuclnt.dll, which the reference guest does not model", name);
    return STATUS_NOT_IMPLEMENTED;
}

static NTSTATUS carry_out(struct exchange *e)
{
    HANDLE engine = e->client->engine;
    switch (e->request->operation) {
    case MANAGE_OPEN:
        return open_session(e);
    case MANAGE_SUBSCRIBE:
        return subscribe(e);
    case MANAGE_NEXT_CHANGE:
        return next_change(e);
    case MANAGE_UNIMPLEMENTED:
        return say_unimplemented(e);
    default:
        break;
    }
    if (!engine)
        return STATUS_INVALID_HANDLE;
    switch (e->request->operation) {
    case MANAGE_CLOSE:
        close_session(e->client);
        return STATUS_SUCCESS;
    case MANAGE_BEGIN:
        return FwpmTransactionBegin0(engine, e->request->flags);
    case MANAGE_COMMIT:
        return FwpmTransactionCommit0(engine);
    case MANAGE_ABORT:
        return FwpmTransactionAbort0(engine);
    case MANAGE_ADD:
        return add(e);
    case MANAGE_DELETE:
        return delete(e);
    case MANAGE_GET:
        return get(e);
    case MANAGE_ENUM_CREATE:
        return create_enumeration(e);
    case MANAGE_ENUM_NEXT:
        return next_entries(e);
    case MANAGE_ENUM_DESTROY:
        return e->request->kind < KINDS ? enum_destroy(engine, e->request->kind, (HANDLE)(uintptr_t)e->request->id) : STATUS_INVALID_PARAMETER;
    case MANAGE_SUBSCRIPTIONS:
        return list_subscriptions(e);
    case MANAGE_GET_SECURITY:
        return get_security(e);
    case MANAGE_SET_SECURITY:
        return set_security(e);
    default:
        return STATUS_INVALID_PARAMETER;
    }
}

/* As much of the kept answer as there is room for: all, or its head. */
static size_t hand_over(struct client *client, uint8_t *out, size_t room)
{
    size_t size = client->answer_size <= room ? client->answer_size : sizeof(struct manage_answer);
    if (room < size || !client->answer)
        return 0;
    memcpy(out, client->answer, size);
    return size;
}

size_t manage(struct client *client, const uint8_t *in, size_t in_size, uint8_t *out, size_t room)
{
    struct manage_request request;
    struct exchange e = {.client = client, .request = &request};
    if (in_size < sizeof request || in_size > MANAGE_BYTES_MAX || room < sizeof e.answer)
        return 0;
    memcpy(&request, in, sizeof request);
    if (request.operation == MANAGE_REST)
        return hand_over(client, out, room);
    e.body = in + sizeof request;
    e.body_size = in_size - sizeof request;
    e.answer.status = carry_out(&e);
    mem_free(client->answer);
    client->answer_size = sizeof e.answer + e.answer.size;
    client->answer = mem_alloc(client->answer_size);
    memcpy(client->answer, &e.answer, sizeof e.answer);
    if (e.told)
        memcpy(client->answer + sizeof e.answer, e.told, e.answer.size);
    mem_free(e.told);
    return hand_over(client, out, room);
}

void manage_join(struct client *client)
{
    AcquireSRWLockExclusive(&clients_lock);
    client->next = clients;
    clients = client;
    ReleaseSRWLockExclusive(&clients_lock);
}

void manage_stop(struct client *client)
{
    AcquireSRWLockExclusive(&clients_lock);
    if (client->subscription)
        subscription_end(client->subscription);
    ReleaseSRWLockExclusive(&clients_lock);
}

void manage_end(struct client *client)
{
    close_session(client);
    AcquireSRWLockExclusive(&clients_lock);
    for (struct client **at = &clients; *at; at = &(*at)->next)
        if (*at == client) {
            *at = client->next;
            break;
        }
    ReleaseSRWLockExclusive(&clients_lock);
    if (client->subscription)
        subscription_free(client->subscription);
    mem_free(client->answer);
    client->subscription = NULL;
    client->answer = NULL;
}

/*
 * Connect redirection (W116 to W157): redirect handles, the writable connect request with its chain
 * of versions, and the records by which a proxy's own connection is recognised.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "conduct.h"

enum { REAUTHORIZE_IF_MODIFIED_BY_OTHERS = 1, BLOB_MAGIC = 0x52504657, HANDLES_PLAUSIBLE = 9, ENTRY = 24 };

struct redirect_handle {
    struct redirect_handle *next;
    UINT64 id;
    GUID provider;
};

static SRWLOCK redirect_lock = SRWLOCK_INIT; /* the two below */
static struct redirect_handle *handles;
static UINT64 last_handle;

static UINT64 handle_id(HANDLE handle)
{
    UINT64 id = 0;
    AcquireSRWLockShared(&redirect_lock);
    for (struct redirect_handle *h = handles; h; h = h->next)
        if (h == (struct redirect_handle *)handle)
            id = h->id;
    ReleaseSRWLockShared(&redirect_lock);
    return id;
}

NTSTATUS NTAPI FwpsRedirectHandleCreate0(const GUID *provider, UINT32 flags, HANDLE *handle)
{
    if (!handle)
        return STATUS_INVALID_PARAMETER;
    const NET_BUFFER_LIST *shown;
    if (flags)
        contract_broken("W118", "FwpsRedirectHandleCreate0", "the flags are 0x%x: they are reserved, 0 is wanted", flags);
    if (contract_in_classify(&shown))
        contract_broken("W119", "FwpsRedirectHandleCreate0", "a redirect handle was created in classifyFn: one is to be created once and kept");
    struct redirect_handle *made = mem_alloc(sizeof *made);
    if (provider)
        made->provider = *provider;
    AcquireSRWLockExclusive(&redirect_lock);
    made->id = ++last_handle;
    made->next = handles;
    handles = made;
    ReleaseSRWLockExclusive(&redirect_lock);
    held_add(HOLD_REDIRECT, made, 0, 0);
    unsigned alike = held_alike(HOLD_REDIRECT, made);
    if (alike == HANDLES_PLAUSIBLE)
        contract_broken("W119", "FwpsRedirectHandleCreate0", "the driver holds %u redirect handles: one is to be created once and kept, not one for each connection", alike);
    *handle = made;
    return STATUS_SUCCESS;
}

void NTAPI FwpsRedirectHandleDestroy0(HANDLE handle)
{
    struct redirect_handle *found = NULL;
    AcquireSRWLockExclusive(&redirect_lock);
    for (struct redirect_handle **at = &handles; *at; at = &(*at)->next)
        if (*at == (struct redirect_handle *)handle) {
            found = *at;
            *at = found->next;
            break;
        }
    ReleaseSRWLockExclusive(&redirect_lock);
    if (!found)
        contract_broken("W119", "FwpsRedirectHandleDestroy0", "the handle is none of FwpsRedirectHandleCreate0, or was destroyed before");
    else
        held_drop(HOLD_REDIRECT, found);
    mem_free(found);
}

static FWPS_CONNECT_REQUEST0 *request_copy(const FWPS_CONNECT_REQUEST0 *from)
{
    FWPS_CONNECT_REQUEST0 *copy = mem_alloc(sizeof *copy);
    *copy = *from;
    return copy;
}

NTSTATUS NTAPI FwpsAcquireWritableLayerDataPointer0(UINT64 handle, UINT64 filter_id, UINT32 flags, void **data,
                                                    FWPS_CLASSIFY_OUT0 *out)
{
    struct classify_context *context = context_of_handle(handle);
    if (flags)
        contract_broken("W131", "FwpsAcquireWritableLayerDataPointer0", "the flags are 0x%x: 0 is wanted", flags);
    if (context && (context->writable || (context->bind && context->bind->writable)))
        contract_broken("W132", "FwpsAcquireWritableLayerDataPointer0", "a pointer was acquired again before FwpsApplyModifiedLayerData0 was called with the one before");
    if (!context || !(context->request || context->bind) || !data || context->writable)
        return STATUS_INVALID_PARAMETER;
    if (context->bind) {
        if (!(*data = bind_acquire(context->bind, filter_id)))
            return STATUS_INVALID_PARAMETER;
    } else {
        context->writable = request_copy(context->request);
        context->writable->previousVersion = context->modified ? context->request : NULL;
        context->writable_filter = filter_id;
        *data = context->writable;
    }
    origin_capture(&context->acquired, FRAMES_KEPT);
    if (out) { /* W129 */
        if (filter_id != out->filterId)
            contract_broken("W131", "FwpsAcquireWritableLayerDataPointer0", "the filter id is %llu: %llu is wanted, the filterId of the filter that classifyFn was called for", filter_id, out->filterId);
        out->actionType = ACTION_BLOCK;
        out->rights &= ~(UINT32)RIGHT_ACTION_WRITE;
    }
    return STATUS_SUCCESS;
}

void NTAPI FwpsApplyModifiedLayerData0(UINT64 handle, void *data, UINT32 flags)
{
    struct classify_context *context = context_of_handle(handle);
    if (context && context->bind && bind_apply(context->bind, data))
        return;
    if (!context || !data || data != context->writable) {
        contract_broken("W132", "FwpsApplyModifiedLayerData0", "the pointer is none that was acquired and not yet applied: once for each pointer of FwpsAcquireWritableLayerDataPointer0");
        return;
    }
    if ((flags & REAUTHORIZE_IF_MODIFIED_BY_OTHERS) && context->was_pended)
        context->watch_filter = context->writable_filter;
    else if (flags)
        contract_broken("W170", "FwpsApplyModifiedLayerData0", "the flags are 0x%x in a classify that is not pended: 0 is wanted there", flags);
    FWPS_CONNECT_REQUEST0 *made = context->writable;
    context->writable = NULL;
    if (memcmp(&made->localAddressAndPort, &context->request->localAddressAndPort, sizeof made->localAddressAndPort)) {
        contract_broken("W135", "FwpsApplyModifiedLayerData0", "localAddressAndPort was changed at a connect redirect layer: that may be done at the bind redirect layers only");
        made->localAddressAndPort = context->request->localAddressAndPort;
    }
    BOOL same = !memcmp(&made->remoteAddressAndPort, &context->request->remoteAddressAndPort, sizeof(SOCKADDR_IN6)) &&
                made->portReservationToken == context->request->portReservationToken &&
                made->localRedirectHandle == context->request->localRedirectHandle &&
                made->localRedirectTargetPID == context->request->localRedirectTargetPID;
    void *given = made->localRedirectContext;
    if (given == context->request->localRedirectContext)
        given = NULL; /* of the version before */
    if (given && !held_hand_over(given) && pool_watched)
        contract_broken("W141", "FwpsApplyModifiedLayerData0", "localRedirectContext does not point at a block of pool memory of the driver: the engine takes it over and frees it");
    if (same) { /* nothing was changed: no new version */
        redirect_free_context(given);
        mem_free(made);
        return;
    }
    conduct_redirected();
    origin_capture(&context->applied, FRAMES_KEPT);
    made->modifierFilterId = context->writable_filter;
    made->previousVersion = context->modified ? context->request : NULL;
    if (!context->modified)
        mem_free(context->request);
    context->request = made;
    context->modified = TRUE;
    UINT64 id = handle_id(made->localRedirectHandle);
    if (id && context->records.count < RECORDS_MAX) {
        struct redirect_record *record = &context->records.record[context->records.count++];
        record->handle = id;
        record->program = context->records.count > 1 ? context->records.record[0].program : context->program;
        record->context_size = made->localRedirectContext ? made->localRedirectContextSize : 0;
        record->context = mem_alloc(record->context_size + 1);
        memcpy(record->context, made->localRedirectContext, record->context_size);
    }
}

void redirect_begin(struct classify_context *context, const FWPS_CONNECT_REQUEST0 *initial)
{
    context->request = initial ? request_copy(initial) : NULL;
}

BOOL redirect_end(struct classify_context *context)
{
    context_check_released(context, layer_by_id(context->layer));
    BOOL forgotten = context->writable || (context->bind && context->bind->writable);
    if (forgotten)
        contract_broken_at("W132", "FwpsAcquireWritableLayerDataPointer0", &context->acquired, "writable layer data was acquired and never applied: the %s is blocked; each pointer needs one FwpsApplyModifiedLayerData0", context->bind ? "bind" : "connection");
    return !forgotten;
}

void redirect_free_context(void *block)
{
    if (!block || !model_free_pool)
        return;
    held_by_engine(block, TRUE);
    model_free_pool(block);
}

void redirect_dispose(struct classify_context *context)
{
    mem_free(context->writable);
    context->writable = NULL;
    for (FWPS_CONNECT_REQUEST0 *r = context->request, *next; r; r = next) {
        next = r->previousVersion;
        if (!next || next->localRedirectContext != r->localRedirectContext) /* a version begins as a copy */
            redirect_free_context(r->localRedirectContext);
        mem_free(r);
    }
    records_free(&context->records);
    context->request = NULL; /* a handle that was not released finds nothing any more */
}

/* The records handle of the metadata is the classification's own list. */
UINT32 NTAPI FwpsQueryConnectionRedirectState0(HANDLE records_handle, HANDLE handle, void **out)
{
    const struct redirect_records *records = records_handle;
    UINT64 id = handle_id(handle);
    UINT32 state = records && records->count ? 2 : 0;
    for (unsigned i = state ? records->count : 0; i-- > 0;) {
        if (!id || records->record[i].handle != id)
            continue;
        if (out)
            *out = records->record[i].context;
        state = i == records->count - 1 ? 1 : 3;
        break;
    }
    conduct_asked_redirect(state);
    return state;
}

/* ---- records as bytes, for the proxy ---- */

static size_t records_blob(const struct redirect_records *records, uint8_t *out, size_t room)
{
    size_t need = 8;
    for (unsigned i = 0; i < records->count; i++)
        need += ENTRY + records->record[i].context_size;
    if (!out || room < need)
        return need;
    UINT32 head[2] = {BLOB_MAGIC, records->count};
    memcpy(out, head, 8);
    out += 8;
    for (unsigned i = 0; i < records->count; i++) {
        UINT64 entry[3] = {records->record[i].handle, records->record[i].program, records->record[i].context_size};
        memcpy(out, entry, ENTRY);
        memcpy(out + ENTRY, records->record[i].context, records->record[i].context_size);
        out += ENTRY + records->record[i].context_size;
    }
    return need;
}

BOOL records_parse(const uint8_t *blob, size_t size, struct redirect_records *out)
{
    UINT32 head[2];
    memset(out, 0, sizeof *out);
    if (size < 8)
        return FALSE;
    memcpy(head, blob, 8);
    if (head[0] != BLOB_MAGIC || head[1] > RECORDS_MAX)
        return FALSE;
    size_t at = 8;
    for (unsigned i = 0; i < head[1]; i++) {
        UINT64 entry[3];
        if (size - at < ENTRY)
            break;
        memcpy(entry, blob + at, ENTRY);
        at += ENTRY;
        if (size - at < entry[2])
            break;
        struct redirect_record *record = &out->record[out->count++];
        record->handle = entry[0];
        record->program = (UINT32)entry[1];
        record->context_size = entry[2];
        record->context = mem_alloc(entry[2] + 1);
        memcpy(record->context, blob + at, entry[2]);
        at += entry[2];
    }
    return out->count == head[1];
}

size_t redirect_blob(const struct flow *flow, uint8_t *out, size_t room)
{
    return records_blob(&flow->records, out, room);
}

NTSTATUS NTAPI FwpsQueryConnectionSioFormatRedirectRecords0(HANDLE records_handle, void *out, SIZE_T room, SIZE_T *needed)
{
    const struct redirect_records *records = records_handle;
    if (!records || !records->count)
        return STATUS_NOT_FOUND;
    size_t need = records_blob(records, out, room);
    if (needed)
        *needed = need;
    return need > room || !out ? STATUS_BUFFER_TOO_SMALL : STATUS_SUCCESS;
}

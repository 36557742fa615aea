/*
 * Provider contexts. All versions of the structure have one layout, and differ in the policies of IPsec alone, which
 * no callout driver has a use for.
 *
 * SPDX-License-Identifier: MIT
 */
#include "store.h"

struct provider_context *contexts;

void provider_context_release(struct provider_context *context)
{
    if (InterlockedDecrement(&context->references) == 0) {
        security_free((struct object *)context);
        mem_free(context->definition);
        mem_free(context);
    }
}

static NTSTATUS check_context(const FWPM_PROVIDER_CONTEXT0 *from, UINT32 types)
{
    if (!from || blob_is_broken(&from->providerData))
        return STATUS_FWP_NULL_POINTER;
    if (!from->displayData.name)
        return STATUS_FWP_NULL_DISPLAY_NAME;
    if (from->flags & ~(UINT32)OBJECT_PERSISTENT)
        return STATUS_FWP_INVALID_FLAGS;
    if ((UINT32)from->type >= types)
        return STATUS_FWP_INVALID_ENUMERATOR;
    if (!from->dataBuffer || (from->type == FWPM_GENERAL_CONTEXT && blob_is_broken(from->dataBuffer)) ||
        (from->type == FWPM_CLASSIFY_OPTIONS_CONTEXT && from->classifyOptions->numOptions && !from->classifyOptions->options))
        return STATUS_FWP_NULL_POINTER;
    if (from->type != FWPM_GENERAL_CONTEXT && from->type != FWPM_CLASSIFY_OPTIONS_CONTEXT) {
        model_unimplemented("FwpmProviderContextAdd with a policy of IPsec or IKE");
        return STATUS_NOT_SUPPORTED;
    }
    return STATUS_SUCCESS;
}

static NTSTATUS context_add(HANDLE engine, const FWPM_PROVIDER_CONTEXT0 *from, UINT32 types, UINT64 *id)
{
    static UINT64 last_id;
    struct session *session;
    BOOL implicit;
    NTSTATUS status = check_context(from, types);
    if (!status)
        status = write_begin(engine, &session, &implicit);
    if (status)
        return status;
    AcquireSRWLockExclusive(&store_lock);
    BOOL persistent = (from->flags & OBJECT_PERSISTENT) != 0;
    if (key_taken(session, KIND_CONTEXT, &from->providerContextKey))
        status = STATUS_FWP_ALREADY_EXISTS;
    else
        status = provider_check(session, from->providerKey, persistent);
    if (!status) {
        struct provider_context *made = mem_alloc(sizeof *made);
        object_begin(session, (struct object *)made, &from->providerContextKey, persistent);
        FWPM_PROVIDER_CONTEXT0 *definition = made->definition = shape_copy(&shape_context, from);
        made->references = 1;
        made->id = ++last_id;
        definition->providerContextKey = made->key; /* classifyFn sees it as it is here */
        definition->providerContextId = made->id;
        made->next = contexts;
        contexts = made;
        if (id)
            *id = made->id;
    }
    ReleaseSRWLockExclusive(&store_lock);
    return write_end(session, implicit, status);
}

enum { TYPES_VISTA = 9, TYPES_7 = 12, TYPES_8 = 13, TYPES_10 = 14 };

NTSTATUS NTAPI FwpmProviderContextAdd0(HANDLE engine, const FWPM_PROVIDER_CONTEXT0 *from, void *sd, UINT64 *id)
{
    (void)sd;
    return context_add(engine, from, TYPES_VISTA, id);
}

NTSTATUS NTAPI FwpmProviderContextAdd1(HANDLE engine, const FWPM_PROVIDER_CONTEXT0 *from, void *sd, UINT64 *id)
{
    (void)sd;
    return context_add(engine, from, TYPES_7, id);
}

NTSTATUS NTAPI FwpmProviderContextAdd2(HANDLE engine, const FWPM_PROVIDER_CONTEXT0 *from, void *sd, UINT64 *id)
{
    (void)sd;
    return context_add(engine, from, TYPES_8, id);
}

NTSTATUS NTAPI FwpmProviderContextAdd3(HANDLE engine, const FWPM_PROVIDER_CONTEXT0 *from, void *sd, UINT64 *id)
{
    (void)sd;
    return context_add(engine, from, TYPES_10, id);
}

NTSTATUS NTAPI FwpmProviderContextDeleteByKey0(HANDLE engine, const GUID *key)
{
    return key ? object_delete(engine, KIND_CONTEXT, key, 0) : STATUS_FWP_NULL_POINTER;
}

NTSTATUS NTAPI FwpmProviderContextDeleteById0(HANDLE engine, UINT64 id)
{
    return object_delete(engine, KIND_CONTEXT, NULL, id);
}

/* Security information. SPDX-License-Identifier: MIT */
#include "user.h"

#include <string.h>

enum { HEAD = 20, PARTS = 4, SID_HEAD = 8, ACL_SIZE_AT = 2, SID_COUNT_AT = 1 };

static DWORD get(HANDLE engine, UINT32 kind, const GUID *key, UINT32 wanted, void **owner, void **group, void **dacl,
                 void **sacl, void **descriptor)
{
    static const unsigned offset_at[PARTS] = {4, 8, 16, 12};
    struct manage_request request = {.operation = MANAGE_GET_SECURITY, .kind = kind, .flags = wanted};
    void **out[PARTS] = {owner, group, dacl, sacl};
    struct answer answer;
    if (!descriptor)
        return error_of(STATUS_FWP_NULL_POINTER);
    if (key)
        memcpy(request.key, key, sizeof *key);
    DWORD error = ask(engine, &request, NULL, NULL, &answer);
    if (error)
        return error;
    for (int i = 0; i < PARTS && answer.size >= HEAD; i++) {
        UINT32 offset;
        memcpy(&offset, answer.bytes + offset_at[i], sizeof offset);
        if (out[i])
            *out[i] = offset && offset < answer.size ? answer.bytes + offset : NULL;
    }
    *descriptor = answer.bytes;
    return ERROR_SUCCESS;
}

static DWORD set(HANDLE engine, UINT32 kind, const GUID *key, UINT32 wanted, const void *owner, const void *group,
                 const void *dacl, const void *sacl)
{
    struct manage_request request = {.operation = MANAGE_SET_SECURITY, .kind = kind, .flags = wanted};
    const void *part[PARTS] = {owner, group, dacl, sacl};
    UINT32 size[PARTS] = {0}, at = sizeof size;
    for (int i = 0; i < PARTS; i++) {
        UINT16 acl_size = 0;
        if (part[i] && i >= 2)
            memcpy(&acl_size, (const UINT8 *)part[i] + ACL_SIZE_AT, sizeof acl_size);
        size[i] = !part[i] ? 0 : i < 2 ? SID_HEAD + 4u * ((const UINT8 *)part[i])[SID_COUNT_AT] : acl_size;
        at += size[i];
    }
    UINT8 *body = mem_alloc(at);
    memcpy(body, size, sizeof size);
    at = sizeof size;
    for (int i = 0; i < PARTS; i++) {
        if (size[i])
            memcpy(body + at, part[i], size[i]);
        at += size[i];
    }
    if (key)
        memcpy(request.key, key, sizeof *key);
    HANDLE device;
    DWORD error = engine_find(engine, &device, NULL);
    if (!error)
        error = ask_raw(device, &request, body, at, NULL);
    mem_free(body);
    return error;
}

#define SECURITY(noun, kind)                                                                                       \
    DWORD WINAPI Fwpm##noun##GetSecurityInfoByKey0(HANDLE engine, const GUID *key, UINT32 wanted, void **owner,    \
                                                   void **group, void **dacl, void **sacl, void **descriptor)      \
    {                                                                                                              \
        return get(engine, kind, key, wanted, owner, group, dacl, sacl, descriptor);                               \
    }                                                                                                              \
    DWORD WINAPI Fwpm##noun##SetSecurityInfoByKey0(HANDLE engine, const GUID *key, UINT32 wanted,                  \
                                                   const void *owner, const void *group, const void *dacl,         \
                                                   const void *sacl)                                               \
    {                                                                                                              \
        return set(engine, kind, key, wanted, owner, group, dacl, sacl);                                           \
    }
SECURITY(Provider, OF_PROVIDER)
SECURITY(SubLayer, OF_SUBLAYER)
SECURITY(Callout, OF_CALLOUT)
SECURITY(ProviderContext, OF_CONTEXT)
SECURITY(Filter, OF_FILTER)
SECURITY(Layer, OF_LAYER)

DWORD WINAPI FwpmEngineGetSecurityInfo0(HANDLE engine, UINT32 wanted, void **owner, void **group, void **dacl, void **sacl,
                                        void **descriptor)
{
    return get(engine, MANAGE_ENGINE_KIND, NULL, wanted, owner, group, dacl, sacl, descriptor);
}

DWORD WINAPI FwpmEngineSetSecurityInfo0(HANDLE engine, UINT32 wanted, const void *owner, const void *group, const void *dacl,
                                        const void *sacl)
{
    return set(engine, MANAGE_ENGINE_KIND, NULL, wanted, owner, group, dacl, sacl);
}

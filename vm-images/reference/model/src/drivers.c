/* Which modules of the process are drivers: told by the loader when one comes and when it goes. SPDX-License-Identifier: MIT */
#include <winternl.h>

#include "bugcheck.h"
#include "hooks.h"

struct module { /* LDR_DLL_NOTIFICATION_DATA */
    ULONG flags;
    const UNICODE_STRING *path, *name;
    void *base;
    ULONG size;
};
enum { LOADED = 1, NAME = 40 };
typedef void(CALLBACK *NOTIFY)(ULONG reason, const struct module *module, void *context);
NTSTATUS NTAPI LdrRegisterDllNotification(ULONG flags, NOTIFY function, void *context, void **cookie);

static BOOL same(const char *a, const char *b)
{
    while (*a && (*a | 0x20) == (*b | 0x20))
        a++, b++;
    return !*a && !*b;
}

/* Not the parts of the kernel that have the same ending. */
static BOOL is_driver(const char *name, unsigned length)
{
    static const char *const kernel[] = {"fwpkclnt.sys", "ndis.sys", "netio.sys", "wdfldr.sys", "wdf01000.sys", "ksecdd.sys"};
    for (unsigned i = 0; i < sizeof kernel / sizeof kernel[0]; i++)
        if (same(name, kernel[i]))
            return FALSE;
    return length > 4 && same(name + length - 4, ".sys");
}

static void CALLBACK on_module(ULONG reason, const struct module *module, void *context)
{
    char name[NAME];
    unsigned length = module->name->Length / sizeof(WCHAR), i;
    const WCHAR *from = module->name->Buffer;
    (void)context;
    if (length > NAME - 1) { /* the end of a long one */
        from += length - (NAME - 1);
        length = NAME - 1;
    }
    for (i = 0; i < length; i++)
        name[i] = from[i] < 127 ? (char)from[i] : '?';
    name[i] = 0;
    if (!is_driver(name, i))
        return;
    if (reason == LOADED)
        contract_image_loaded(module->base, module->size, name);
    else {
        dumps_forget(module->base, module->size);
        contract_image_gone(module->base); /* its Unload has returned, its code is still there */
    }
}

void drivers_watch(void)
{
    void *cookie;
    if (LdrRegisterDllNotification(0, on_module, NULL, &cookie))
        model_log("the loader does not tell of drivers: what they leave behind goes unseen");
}

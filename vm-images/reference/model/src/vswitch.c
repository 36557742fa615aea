/*
 * Injection into a Hyper-V virtual switch. The guest is no host of one: no packet of a switch is ever shown to a callout,
 * and no identifier that a driver could name is a switch's. What is documented of the arguments and the handle holds; then
 * the call fails, the lists stay the driver's, and completionFn does not run.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model.h"

NTSTATUS NTAPI FwpsInjectvSwitchEthernetIngressAsync0(HANDLE handle, HANDLE context, UINT32 flags, void *reserved, const FWP_BYTE_BLOB *id, UINT32 port,
                                                      UINT16 nic, NET_BUFFER_LIST *lists, INJECT_COMPLETE complete, HANDLE complete_context)
{
    static const char *const call = "FwpsInjectvSwitchEthernetIngressAsync0";
    struct injector *injector;
    (void)context, (void)port, (void)nic, (void)complete_context;
    if (flags || reserved)
        contract_broken("W247", call, "the flags are 0x%x and reserved is %p: both are reserved, 0 and NULL are wanted", flags, reserved);
    if (!id || !lists || !complete)
        return STATUS_FWP_NULL_POINTER;
    NTSTATUS status = inject_begin(handle, INJECT_L2, &injector);
    if (status)
        return status;
    inject_done(injector);
    return STATUS_INVALID_PARAMETER;
}

/* Injection into a virtual switch that this guest does not have. Named after the rule catalogue. SPDX-License-Identifier: MIT */
#include "inject_rig.h"

NTSTATUS NTAPI FwpsInjectvSwitchEthernetIngressAsync0(HANDLE, HANDLE, UINT32, void *, const FWP_BYTE_BLOB *, UINT32, UINT16, NET_BUFFER_LIST *,
                                                      INJECT_COMPLETE, HANDLE);

void test_vswitch(void)
{
    static uint8_t bytes[64], name[16] = {1};
    FWP_BYTE_BLOB id = {sizeof name, name};
    HANDLE layer2, transport;
    NET_BUFFER_LIST *list = list_of(bytes, sizeof bytes);
    LONG before = completions;
#define INTO(handle, flags, id, lists, complete) \
    STATUS_OF(FwpsInjectvSwitchEthernetIngressAsync0(handle, NULL, flags, NULL, id, 1, 0, lists, complete, NULL))
    FwpsInjectionHandleCreate0(AF_UNSPEC, INJECT_L2, &layer2);
    FwpsInjectionHandleCreate0(AF_UNSPEC, INJECT_TRANSPORT, &transport);
    EXPECT("a handle that is not of L2 is none for a virtual switch", INTO(transport, 0, &id, list, on_injected), (unsigned)STATUS_FWP_INJECT_HANDLE_STALE);
    EXPECT("a virtual switch has to be named", INTO(layer2, 0, NULL, list, on_injected), (unsigned)STATUS_FWP_NULL_POINTER);
    EXPECT("something has to be injected into it", INTO(layer2, 0, &id, NULL, on_injected), (unsigned)STATUS_FWP_NULL_POINTER);
    EXPECT("and somebody to be told", INTO(layer2, 0, &id, list, NULL), (unsigned)STATUS_FWP_NULL_POINTER);
    wire.up = 0;
    EXPECT("W244 nothing goes into a virtual switch before TCP/IP is ready", INTO(layer2, 0, &id, list, on_injected), (unsigned)STATUS_FWP_TCPIP_NOT_READY);
    wire.up = 1;
    UINT64 lint = stats.lint;
    EXPECT("there is no virtual switch", INTO(layer2, 0, &id, list, on_injected), (unsigned)STATUS_INVALID_PARAMETER);
    EXPECT("which is no misuse", stats.lint, lint);
    INTO(layer2, 1, &id, list, on_injected);
    EXPECT("W247 its flags are reserved", stats.lint, lint + 1);
    EXPECT("W241 and its handle can go, for nothing is on its way", STATUS_OF(FwpsInjectionHandleDestroy0(layer2)), 0);
    EXPECT("W245 the list stayed the driver's, and nobody was told", completions, before);
    FwpsInjectionHandleDestroy0(transport);
    nbl_release(list);
}

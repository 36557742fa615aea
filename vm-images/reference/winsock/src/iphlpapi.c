/* iphlpapi.dll: the persistent port reservations that Wine's has not. SPDX-License-Identifier: MIT */
#include "shim.h"

#include <string.h>

ULONG WINAPI shim_CreatePersistentTcpPortReservation(USHORT start, USHORT count, ULONG64 *token);
ULONG WINAPI shim_CreatePersistentUdpPortReservation(USHORT start, USHORT count, ULONG64 *token);
ULONG WINAPI shim_LookupPersistentTcpPortReservation(USHORT start, USHORT count, ULONG64 *token);
ULONG WINAPI shim_LookupPersistentUdpPortReservation(USHORT start, USHORT count, ULONG64 *token);
ULONG WINAPI shim_DeletePersistentTcpPortReservation(USHORT start, USHORT count);
ULONG WINAPI shim_DeletePersistentUdpPortReservation(USHORT start, USHORT count);

/* `start` is in network byte order, `count` is not. */
static ULONG ask(uint32_t op, uint8_t protocol, USHORT start, USHORT count, ULONG64 *token)
{
    WFPMODEL_CALL call = {.op = op, .process_id = GetCurrentProcessId(), .family = AF_INET, .protocol = protocol,
                          .local_port = (uint16_t)(start << 8 | start >> 8), .value = count};
    WFPMODEL_ANSWER answer;
    if (!token)
        return ERROR_INVALID_PARAMETER;
    if (shim_inert || !engine_query(&call, &answer, token, sizeof *token))
        return ERROR_NOT_SUPPORTED;
    return (ULONG)answer.error;
}

ULONG WINAPI shim_CreatePersistentTcpPortReservation(USHORT start, USHORT count, ULONG64 *token)
{
    return ask(WFPMODEL_CREATE_PORTS, IPPROTO_TCP, start, count, token);
}

ULONG WINAPI shim_CreatePersistentUdpPortReservation(USHORT start, USHORT count, ULONG64 *token)
{
    return ask(WFPMODEL_CREATE_PORTS, IPPROTO_UDP, start, count, token);
}

ULONG WINAPI shim_LookupPersistentTcpPortReservation(USHORT start, USHORT count, ULONG64 *token)
{
    return ask(WFPMODEL_LOOK_UP_PORTS, IPPROTO_TCP, start, count, token);
}

ULONG WINAPI shim_LookupPersistentUdpPortReservation(USHORT start, USHORT count, ULONG64 *token)
{
    return ask(WFPMODEL_LOOK_UP_PORTS, IPPROTO_UDP, start, count, token);
}

ULONG WINAPI shim_DeletePersistentTcpPortReservation(USHORT start, USHORT count)
{
    ULONG64 gone;
    return ask(WFPMODEL_DELETE_PORTS, IPPROTO_TCP, start, count, &gone);
}

ULONG WINAPI shim_DeletePersistentUdpPortReservation(USHORT start, USHORT count)
{
    ULONG64 gone;
    return ask(WFPMODEL_DELETE_PORTS, IPPROTO_UDP, start, count, &gone);
}

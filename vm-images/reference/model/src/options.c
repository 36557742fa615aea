/*
 * FwpsClassifyOptionSet0: what a callout asks of the flow that it is about to permit (W220). Of the options the lifetime of
 * a flow that is not TCP takes effect here.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model.h"

enum option { OPTION_MULTICAST_STATE, OPTION_LOOSE_SOURCE_MAPPING, OPTION_UNICAST_LIFETIME, OPTION_MCAST_BCAST_LIFETIME,
              OPTION_SECURE_SOCKET_FLAGS, OPTION_MM_POLICY_KEY, OPTION_QM_POLICY_KEY, OPTION_LOCAL_ONLY_MAPPING, OPTIONS };
enum { MS_PER_SECOND = 1000 };

/* The greatest value that an option has; of the others any is one. */
static BOOL is_defined(UINT32 option, UINT32 value)
{
    static const UINT32 last[OPTIONS] = {[OPTION_MULTICAST_STATE] = 2, [OPTION_LOOSE_SOURCE_MAPPING] = 1, [OPTION_LOCAL_ONLY_MAPPING] = 1};
    return !last[option] || value <= last[option];
}

NTSTATUS NTAPI FwpsClassifyOptionSet0(const FWPS_INCOMING_METADATA_VALUES0 *metadata, UINT32 option, const FWP_VALUE0 *value)
{
    const struct classification *what = thread_now()->classify;
    if (option >= OPTIONS)
        return STATUS_FWP_INVALID_ENUMERATOR;
    if (!metadata || !value)
        return STATUS_INVALID_PARAMETER;
    if (value->type != FWP_UINT32)
        return STATUS_OBJECT_TYPE_MISMATCH;
    if (!is_defined(option, value->uint32))
        return STATUS_FWP_OUT_OF_BOUNDS;
    if (!what) {
        contract_broken("W220", "FwpsClassifyOptionSet0", "it was called outside of classifyFn, which alone may call it");
        return STATUS_UNSUCCESSFUL;
    }
    if (what->flow && (option == OPTION_UNICAST_LIFETIME || option == OPTION_MCAST_BCAST_LIFETIME)) {
        if (what->flow->many == (option == OPTION_MCAST_BCAST_LIFETIME))
            what->flow->lifetime_ms = (UINT64)value->uint32 * MS_PER_SECOND;
    } else {
        model_log("UNIMPLEMENTED: FwpsClassifyOptionSet0 of option %u changes nothing in the reference guest", option);
    }
    return STATUS_SUCCESS;
}

/*
 * What wfpcrash.sys is told: the value Crash (REG_DWORD) in the key of its service, read when it is started.
 * SPDX-License-Identifier: MIT
 */
#ifndef WFPCRASH_H
#define WFPCRASH_H

enum WFPCRASH {
    WFPCRASH_NONE = 0,        /* it loads, and does nothing */
    WFPCRASH_POINTER = 1,     /* a bad pointer at PASSIVE_LEVEL, in DriverEntry */
    WFPCRASH_DISPATCH = 2,    /* a bad pointer at DISPATCH_LEVEL, in DriverEntry */
    WFPCRASH_CONNECT = 3,     /* in classifyFn: a connect to WFPCRASH_REMOTE (ALE_AUTH_CONNECT_V4) */
    WFPCRASH_RECEIVE = 4,     /* in classifyFn: a packet from WFPCRASH_REMOTE (INBOUND_IPPACKET_V4), at DISPATCH_LEVEL */
    WFPCRASH_DOUBLE_FREE = 5, /* a NET_BUFFER_LIST is freed twice */
    WFPCRASH_BUGCHECK = 6,    /* KeBugCheckEx(0xE2, 1, 2, 3, 4) */
    WFPCRASH_ASSERTION = 7,   /* what NT_ASSERT comes to in a checked build */
    WFPCRASH_STACK = 8,       /* calls itself until there is no stack left */
    WFPCRASH_UNLOAD = 9,      /* a bad pointer in DriverUnload */
    WFPCRASH_WORKER = 10,     /* a bad pointer in a work item */
    WFPCRASH_FASTFAIL = 11    /* RtlFailFast(FAST_FAIL_CORRUPT_LIST_ENTRY) */
};

#define WFPCRASH_REMOTE 0xC633644Du /* 198.51.100.77 */

#endif

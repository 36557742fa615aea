/*
 * A bugcheck and what becomes of it: bugcheck.c tells it, dump.c writes the dump, signals.c finds the faults that Wine
 * makes no exception of.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MODEL_BUGCHECK_H
#define MODEL_BUGCHECK_H

#include "model.h"

enum { /* Windows' bugcheck codes: what the model itself comes to */
    UNEXPECTED_KERNEL_MODE_TRAP_ = 0x7f,
    SYSTEM_THREAD_EXCEPTION_ = 0x7e,
    BAD_POOL_CALLER_ = 0xc2,
    DRIVER_IRQL_ = 0xd1,
    KERNEL_SECURITY_CHECK_FAILURE_ = 0x139,
};

struct bugcheck {
    UINT32 code, irql;
    UINT64 time_100ns; /* of the performance counter */
    UINT64 parameters[4];
};

void bugchecks_start(BOOL guest); /* FALSE: a test on a host, which has no panic device to be touched */
/* Tells it and ends the process. `exception`: that nobody handled, or NULL for a call. */
void bugcheck(UINT32 code, const UINT64 parameters[4], const EXCEPTION_RECORD *exception, const CONTEXT *at);
void bugcheck_unwind(CONTEXT *context); /* to the caller */
LONG WINAPI bugcheck_on_exception(EXCEPTION_POINTERS *pointers);

/* ---- dump.c ---- */
void dump_write(const struct bugcheck *what, const EXCEPTION_RECORD *exception, const CONTEXT *context);
BOOLEAN NTAPI dump_register(void *record, void *function, int reason, UINT8 *component); /* KeRegisterBugCheckReasonCallback */
BOOLEAN NTAPI dump_deregister(void *record);
void dumps_forget(const void *image, size_t size); /* a driver is gone, with its records */

/* ---- signals.c ---- */
void signals_start(void);

#endif

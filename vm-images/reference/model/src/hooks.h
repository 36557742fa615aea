/* What the model puts in place of Wine's own kernel functions, and what it makes of faults. SPDX-License-Identifier: MIT */
#ifndef MODEL_HOOKS_H
#define MODEL_HOOKS_H

#include "model.h"

void hooks_start(void); /* before the first driver is loaded; later calls do nothing */
void drivers_watch(void); /* (drivers.c) from here on drivers are known when they come and go */

/* Says what happened on the serial port and ends the process. */
void bugcheck(UINT32 code, const UINT64 parameters[4], const CONTEXT *context);
void bugcheck_unwind(CONTEXT *context); /* to the caller */
LONG WINAPI bugcheck_on_exception(EXCEPTION_POINTERS *pointers);

#endif

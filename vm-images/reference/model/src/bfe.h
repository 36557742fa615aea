/* Stopping and starting the filter engine. SPDX-License-Identifier: MIT */
#ifndef MODEL_BFE_H
#define MODEL_BFE_H

#include "model.h"

enum bfe_state { BFE_STOPPED, BFE_START_PENDING, BFE_STOP_PENDING, BFE_RUNNING };
typedef void(NTAPI *STATE_CALLBACK)(void *context, int state);

void bfe_stop(void); /* returns once it is stopped; nothing to do when it is not running */
void bfe_start(void);
unsigned bfe_subscribers(void);

#endif

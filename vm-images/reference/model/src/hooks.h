/* What the model puts in place of Wine's own kernel functions. SPDX-License-Identifier: MIT */
#ifndef MODEL_HOOKS_H
#define MODEL_HOOKS_H

#include "model.h"

void hooks_start(void); /* before the first driver is loaded; later calls do nothing */
void drivers_watch(void); /* (drivers.c) from here on drivers are known when they come and go */

#endif

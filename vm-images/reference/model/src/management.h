/* The management NIC in the engine's path, on request. SPDX-License-Identifier: MIT */
#ifndef MODEL_MANAGEMENT_H
#define MODEL_MANAGEMENT_H

#include "model.h"

BOOL management_start(void); /* FALSE when an interface is missing; the reason is logged */
BOOL management_owns(const uint8_t *frame, size_t length); /* it is of that network, and the engine carries it */
void management_to_link(const uint8_t *frame, size_t length);
void management_to_guest(const uint8_t *frame, size_t length);

#endif

/* SPDX-License-Identifier: MIT */
#ifndef MODEL_INSPECT_H
#define MODEL_INSPECT_H

#include <stddef.h>
#include <stdint.h>

#include "wfpmodel_ioctl.h"

size_t inspect(uint8_t *out, size_t size); /* writes a WFPMODEL_STATE and what follows; gives how many bytes that took, 0: no room */
void module_name(uint64_t address, char *name, size_t room); /* (bugcheck.c) of the module that it lies in; "?" for none */

#endif

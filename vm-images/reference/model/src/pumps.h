/* The threads that carry frames between the TAP and the test NIC. SPDX-License-Identifier: MIT */
#ifndef MODEL_PUMPS_H
#define MODEL_PUMPS_H

#include "model.h"
#include "wfpmodel_ioctl.h"

BOOL pumps_start(void); /* FALSE when an interface is missing; the reason is logged */
void pumps_stats(WFPMODEL_STATS *out);

#endif

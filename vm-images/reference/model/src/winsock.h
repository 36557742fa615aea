/* What the guest's Winsock asks, one call of \\.\WfpModel each. SPDX-License-Identifier: MIT */
#ifndef MODEL_WINSOCK_H
#define MODEL_WINSOCK_H

#include "model.h"
#include "wfpmodel_ioctl.h"

/* `bytes` follow the call; `out` has room for bytes after the answer, whose number comes back. May wait for callouts. */
size_t winsock_call(const void *client, const WFPMODEL_CALL *call, const uint8_t *bytes, size_t size, WFPMODEL_ANSWER *answer,
                    uint8_t *out, size_t room);
void winsock_client_gone(const void *client);

#endif

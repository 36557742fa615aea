/* The requests of \\.\WfpModel. SPDX-License-Identifier: MIT */
#include "bfe.h"
#include "hooks.h"
#include "inspect.h"
#include "pumps.h"
#include "shell.h"

#include <string.h>

void shell_attach(void)
{
    hooks_start();
}

int shell_start(void (*free_pool)(void *block))
{
    model_free_pool = free_pool;
    if (GetEnvironmentVariableA("WFP_MODEL_CONSOLE", NULL, 0))
        return 1;
    return pumps_start();
}

long shell_control(unsigned long code, unsigned char *buffer, size_t in, size_t out, size_t *done)
{
    WFPMODEL_SOCKET socket;
    if (code == IOCTL_WFPMODEL_STATS) {
        WFPMODEL_STATS now = {0};
        if (out < sizeof now)
            return STATUS_BUFFER_TOO_SMALL;
        pumps_stats(&now);
        memcpy(buffer, &now, sizeof now);
        *done = sizeof now;
        return STATUS_SUCCESS;
    }
    if (code == IOCTL_WFPMODEL_NOT_READY) {
        uint32_t times;
        if (in < sizeof times)
            return STATUS_INVALID_PARAMETER;
        memcpy(&times, buffer, sizeof times);
        inject_not_ready(times);
        return STATUS_SUCCESS;
    }
    if (code == IOCTL_WFPMODEL_ENGINE) {
        uint32_t wanted;
        if (in < sizeof wanted)
            return STATUS_INVALID_PARAMETER;
        memcpy(&wanted, buffer, sizeof wanted);
        if (wanted == WFPMODEL_ENGINE_STOP)
            bfe_stop();
        else if (wanted == WFPMODEL_ENGINE_START)
            bfe_start();
        else
            return STATUS_INVALID_PARAMETER;
        return STATUS_SUCCESS;
    }
    if (code == IOCTL_WFPMODEL_STATE) {
        *done = inspect(buffer, out);
        return *done ? STATUS_SUCCESS : STATUS_BUFFER_TOO_SMALL;
    }
    if (in < sizeof socket)
        return STATUS_INVALID_PARAMETER;
    memcpy(&socket, buffer, sizeof socket);
    switch (code) {
    case IOCTL_WFPMODEL_QUERY_RECORDS:
    case IOCTL_WFPMODEL_QUERY_CONTEXT:
        return pumps_query(&socket, code == IOCTL_WFPMODEL_QUERY_CONTEXT, buffer, out, done);
    case IOCTL_WFPMODEL_SET_RECORDS:
        return pumps_set_records(&socket, buffer + sizeof socket, in - sizeof socket) ? STATUS_SUCCESS : STATUS_INVALID_PARAMETER;
    default:
        return STATUS_INVALID_DEVICE_REQUEST;
    }
}

/* The requests of \\.\WfpModel. SPDX-License-Identifier: MIT */
#include "bfe.h"
#include "hooks.h"
#include "inspect.h"
#include "management.h"
#include "pumps.h"
#include "shell.h"
#include "winsock.h"

#include <string.h>

enum { CALL_THREADS_MAX = 64 }; /* a call may have to wait for a callout that puts it off */

struct job {
    struct job *next;
    void *irp; /* NULL: the client is gone */
    const void *client;
    unsigned char *buffer;
    size_t in, out;
};
static SRWLOCK job_lock = SRWLOCK_INIT; /* all below */
static CONDITION_VARIABLE job_there = CONDITION_VARIABLE_INIT;
static struct job *jobs;
static unsigned threads, idle;

void shell_attach(void)
{
    hooks_start();
}

/* The buffer holds the call, then the answer: the former is copied before the latter is written. */
static void run_call(const struct job *job)
{
    WFPMODEL_CALL call;
    WFPMODEL_ANSWER answer;
    size_t size = job->in - sizeof call, room = job->out - sizeof answer;
    uint8_t *bytes = mem_alloc(size + 1), *out = mem_alloc(room + 1);
    memcpy(&call, job->buffer, sizeof call);
    memcpy(bytes, job->buffer + sizeof call, size);
    size_t length = winsock_call(job->client, &call, bytes, size, &answer, out, room);
    memcpy(job->buffer, &answer, sizeof answer);
    memcpy(job->buffer + sizeof answer, out, length);
    mem_free(bytes);
    mem_free(out);
    shell_finish(job->irp, STATUS_SUCCESS, sizeof answer + length);
}

static DWORD WINAPI serve(void *unused)
{
    (void)unused;
    for (;;) {
        AcquireSRWLockExclusive(&job_lock);
        idle++;
        while (!jobs)
            SleepConditionVariableSRW(&job_there, &job_lock, INFINITE, 0);
        idle--;
        struct job *job = jobs;
        jobs = job->next;
        ReleaseSRWLockExclusive(&job_lock);
        if (job->irp)
            run_call(job);
        else
            winsock_client_gone(job->client);
        mem_free(job);
    }
    return 0;
}

static void queue_job(struct job job)
{
    struct job *made = mem_alloc(sizeof *made), **last;
    *made = job;
    AcquireSRWLockExclusive(&job_lock);
    for (last = &jobs; *last; last = &(*last)->next)
        ;
    *last = made;
    unsigned waiting = 0;
    for (const struct job *j = jobs; j; j = j->next)
        waiting++;
    BOOL another = waiting > idle && threads < CALL_THREADS_MAX;
    threads += another;
    ReleaseSRWLockExclusive(&job_lock);
    if (another)
        CloseHandle(CreateThread(NULL, 0, serve, NULL, 0, NULL));
    WakeConditionVariable(&job_there);
}

void shell_defer(void *irp, const void *client, unsigned char *buffer, size_t in, size_t out)
{
    queue_job((struct job){.irp = irp, .client = client, .buffer = buffer, .in = in, .out = out});
}

void shell_client_gone(const void *client)
{
    queue_job((struct job){.client = client});
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
    WFPMODEL_STATS now = {0};
    uint32_t times;
    if (code == IOCTL_WFPMODEL_NOT_READY) {
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
    if (code == IOCTL_WFPMODEL_MANAGEMENT)
        return management_start() ? STATUS_SUCCESS : STATUS_DEVICE_NOT_CONNECTED;
    if (code == IOCTL_WFPMODEL_STATE) {
        *done = inspect(buffer, out);
        return *done ? STATUS_SUCCESS : STATUS_BUFFER_TOO_SMALL;
    }
    if (code != IOCTL_WFPMODEL_STATS)
        return STATUS_INVALID_DEVICE_REQUEST;
    if (out < sizeof now)
        return STATUS_BUFFER_TOO_SMALL;
    pumps_stats(&now);
    memcpy(buffer, &now, sizeof now);
    *done = sizeof now;
    return STATUS_SUCCESS;
}

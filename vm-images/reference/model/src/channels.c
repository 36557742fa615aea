/*
 * Open handles of the device. Requests of one are carried out one after the other by a thread of its own, since they
 * may wait: for a transaction of somebody else's, or for a change. When the last handle goes, with its process if need
 * be, the session ends.
 *
 * SPDX-License-Identifier: MIT
 */
#include "manage.h"
#include "model.h"
#include "shell.h"

struct job {
    struct job *next;
    unsigned char *buffer;
    size_t in, out;
    void *request;
    channel_done done;
};
struct channel {
    SRWLOCK lock; /* the members below, but for the client, which is its thread's */
    CONDITION_VARIABLE news;
    struct job *first, **last;
    BOOL ended, running; /* running: the thread is there, and frees the channel */
    struct client client;
};

void *channel_open(unsigned long process)
{
    struct channel *channel = mem_alloc(sizeof *channel);
    channel->last = &channel->first;
    channel->client.process = (uint32_t)process;
    return channel;
}

static struct job *next_job(struct channel *channel, BOOL *ended)
{
    AcquireSRWLockExclusive(&channel->lock);
    while (!channel->first && !channel->ended)
        SleepConditionVariableSRW(&channel->news, &channel->lock, INFINITE, 0);
    struct job *job = channel->first;
    if (job) {
        channel->first = job->next;
        if (!channel->first)
            channel->last = &channel->first;
    }
    *ended = channel->ended;
    ReleaseSRWLockExclusive(&channel->lock);
    return job;
}

static DWORD WINAPI serve(void *argument)
{
    struct channel *channel = argument;
    struct job *job;
    BOOL ended;
    manage_join(&channel->client);
    while ((job = next_job(channel, &ended))) {
        size_t size = ended ? 0 : manage(&channel->client, job->buffer, job->in, job->buffer, job->out);
        job->done(job->request, ended ? STATUS_CANCELLED : size ? STATUS_SUCCESS : STATUS_INVALID_PARAMETER, size);
        mem_free(job);
    }
    manage_end(&channel->client);
    mem_free(channel);
    return 0;
}

void channel_submit(void *at, unsigned char *buffer, size_t in, size_t out, void *request, channel_done done)
{
    struct channel *channel = at;
    struct job *job = mem_alloc(sizeof *job);
    *job = (struct job){NULL, buffer, in, out, request, done};
    AcquireSRWLockExclusive(&channel->lock);
    BOOL taken = !channel->ended;
    if (taken && !channel->running) {
        HANDLE thread = CreateThread(NULL, 0, serve, channel, 0, NULL);
        channel->running = taken = thread != NULL;
        if (thread)
            CloseHandle(thread);
    }
    if (taken) {
        *channel->last = job;
        channel->last = &job->next;
    }
    ReleaseSRWLockExclusive(&channel->lock);
    WakeAllConditionVariable(&channel->news);
    if (!taken) {
        mem_free(job);
        done(request, STATUS_CANCELLED, 0);
    }
}

void channel_end(void *at)
{
    struct channel *channel = at;
    AcquireSRWLockExclusive(&channel->lock);
    BOOL running = channel->running;
    channel->ended = TRUE;
    if (running)
        manage_stop(&channel->client); /* the thread frees the channel, which it cannot before it has this lock */
    WakeAllConditionVariable(&channel->news);
    ReleaseSRWLockExclusive(&channel->lock);
    if (!running)
        mem_free(channel);
}

/* A packet copied, changed as a rule says, and its checksums made good again. SPDX-License-Identifier: MIT */
#include "job.h"

NTSTATUS job_wrap(JOB *job, ULONG length)
{
    job->mdl = IoAllocateMdl(job->bytes, length, FALSE, FALSE, NULL);
    if (!job->mdl)
        return STATUS_INSUFFICIENT_RESOURCES;
    MmBuildMdlForNonPagedPool(job->mdl);
    return FwpsAllocateNetBufferAndNetBufferList0(driver.pool, 0, 0, job->mdl, 0, length, &job->list);
}

static void rewrite(TRAFFIC *traffic, const WFPCALLOUT_RULE *rule, JOB *job, ULONG ip, ULONG rest, UINT8 *where)
{
    ULONG size = traffic->layer->family == 4 ? 4 : 16;
    UINT8 protocol = traffic->event.protocol;

    /* The remote end: the source of what comes in, the destination of what goes out. */
    if (!is_zero(rule->new_addr, size)) {
        RtlCopyMemory(where, rule->new_addr, size);
        if (!traffic->inbound)
            RtlCopyMemory(job->remote, rule->new_addr, size);
        if (ip)
            RtlCopyMemory(job->bytes + (size == 4 ? 12 : 8) + (traffic->inbound ? 0 : size), where, size);
    }
    if (rule->new_port && rest >= 4 && (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP)) {
        UINT8 *port = job->bytes + ip + (traffic->inbound ? 0 : 2);
        port[0] = (UINT8)(rule->new_port >> 8);
        port[1] = (UINT8)rule->new_port;
    }
}

/* `ip` is the size of the IP header in front, 0 at the outbound transport layers. */
static void modify(TRAFFIC *traffic, const WFPCALLOUT_RULE *rule, JOB *job, ULONG length, ULONG ip)
{
    UINT8 family = traffic->layer->family, protocol = traffic->event.protocol;
    UINT8 *transport = job->bytes + ip;
    ULONG rest = length - ip, header;
    UINT8 source[16], destination[16];

    RtlCopyMemory(source, traffic->inbound ? traffic->event.remote_addr : traffic->event.local_addr, 16);
    RtlCopyMemory(destination, traffic->inbound ? traffic->event.local_addr : traffic->event.remote_addr, 16);
    header = protocol == IPPROTO_TCP && rest >= 20 ? (ULONG)(transport[12] >> 4) * 4 : 8;
    if (rule->action == WFPCALLOUT_ACTION_REPLACE && header <= rest)
        packet_replace(transport + header, rest - header, rule);
    if (rule->action == WFPCALLOUT_ACTION_REWRITE)
        rewrite(traffic, rule, job, ip, rest, traffic->inbound ? source : destination);
    if (ip && family == 4)
        packet_ip_checksum(job->bytes, ip);
    packet_checksums(transport, rest, family, source, destination, protocol);
}

NTSTATUS job_copy(TRAFFIC *traffic, const WFPCALLOUT_RULE *rule, JOB *job, NET_BUFFER *buffer, ULONG back)
{
    ULONG length = NET_BUFFER_DATA_LENGTH(buffer), ip = back ? traffic->ip_header : 0, offset = 0;
    const UINT8 *bytes;
    UINT8 protocol;

    if (!length)
        return STATUS_DATA_NOT_ACCEPTED;
    job->bytes = allocate(length);
    if (!job->bytes)
        return STATUS_INSUFFICIENT_RESOURCES;
    bytes = NdisGetDataBuffer(buffer, length, job->bytes, 1, 0);
    if (!bytes)
        return STATUS_DATA_NOT_ACCEPTED;
    if (bytes != job->bytes)
        RtlCopyMemory(job->bytes, bytes, length);
    if (traffic->layer->kind == LAYER_IPPACKET) {
        if (!packet_transport(job->bytes, length, &protocol, &offset))
            return STATUS_DATA_NOT_ACCEPTED; /* a fragment has no transport checksum of its own to make good */
        ip = offset;
    }
    if (ip > length)
        return STATUS_DATA_NOT_ACCEPTED;
    modify(traffic, rule, job, length, ip);
    return job_wrap(job, length);
}

/*
 * Frames and lists that nobody would send, against the engine with its assertions on and a guard page behind each
 * block: it must neither crash nor hang nor read past a buffer, and what it shows to callouts must be whole.
 *
 *     engine_fuzz mutate COUNT SEED   the frames of standard input, changed at random; odd lists injected by a driver
 *     engine_fuzz serve               the frames of standard input as they are; "done" after each one of no length
 *
 * A frame on standard input: its length (4 bytes, little-endian), where it comes from (0 the guest, 1
 * the link, 2 the second interface), its bytes. The exit code is 0, or 3 after a line that begins with BROKEN.
 *
 * SPDX-License-Identifier: MIT
 */
#include <fcntl.h>
#include <io.h>
#include <stdlib.h>

#include "engine_fuzz.h"
#include "inject_rig.h"

enum { FRAMES_MAX = 4096, FRAME_MAX = 70000, CALLOUTS = 26, HANG_SECONDS = 60, PENDING_MAX = 200 };

extern const char *linux_console_path;
void *NTAPI NdisGetDataBuffer(NET_BUFFER *, ULONG, void *, UINT32, UINT32);
void NTAPI FwpsReferenceNetBufferList0(NET_BUFFER_LIST *, BOOLEAN);
void NTAPI FwpsDereferenceNetBufferList0(NET_BUFFER_LIST *, BOOLEAN);
NTSTATUS NTAPI FwpsAllocateNetBufferAndNetBufferList0(HANDLE, USHORT, USHORT, MDL *, ULONG, SIZE_T, NET_BUFFER_LIST **);
void NTAPI FwpsFreeNetBufferList0(NET_BUFFER_LIST *);
NTSTATUS NTAPI FwpsConstructIpHeaderForTransportPacket0(NET_BUFFER_LIST *, ULONG, ADDRESS_FAMILY, const UCHAR *, const UCHAR *, int, UINT64,
                                                        const void *, ULONG, UINT32, void *, ULONG, ULONG);

/* ---- chance ---- */
static volatile LONG64 chance_state;

UINT64 chance(UINT64 below)
{
    UINT64 z = (UINT64)InterlockedAdd64(&chance_state, 0x9e3779b97f4a7c15ll);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return (z ^ z >> 31) % below;
}

/* ---- what went wrong ---- */
static volatile LONG64 sent;
static const uint8_t *volatile now_frame;
static volatile size_t now_length;
static volatile LONG now_source;

void broken(const char *what, UINT64 detail)
{
    printf("BROKEN %s 0x%llx after %llu frames; the last one, from %ld: ", what, (unsigned long long)detail, (unsigned long long)sent, now_source);
    for (size_t i = 0; now_frame && i < now_length && i < 2000; i++)
        printf("%02x", now_frame[i]);
    printf("\n");
    fflush(stdout);
    ExitProcess(3);
}

static LONG CALLBACK on_exception(EXCEPTION_POINTERS *info)
{
    const EXCEPTION_RECORD *record = info->ExceptionRecord;
    if (record->ExceptionCode != (DWORD)STATUS_ACCESS_VIOLATION)
        return EXCEPTION_CONTINUE_SEARCH;
    printf("BROKEN at %p (module at %p), address 0x%llx\n", record->ExceptionAddress, (void *)GetModuleHandleW(NULL),
           (unsigned long long)record->ExceptionInformation[1]);
    broken("access violation", record->ExceptionInformation[1]);
    return EXCEPTION_CONTINUE_SEARCH;
}

static volatile LONG watching;

static DWORD WINAPI watchdog(void *unused)
{
    LONG64 last = -1;
    (void)unused;
    for (int still = 0; still < HANG_SECONDS; still++) {
        Sleep(1000);
        if (!watching || last != sent)
            still = 0;
        last = sent;
    }
    broken("no frame has been taken for a minute", 0);
    return 0;
}

/* ---- the wire ---- */
static volatile LONG64 bytes_seen;

static void consume(const uint8_t *bytes, size_t length)
{
    LONG64 total = 0;
    for (size_t i = 0; i < length; i++)
        total += bytes[i];
    InterlockedAdd64(&bytes_seen, total);
}

/* ---- a driver that looks at everything and does what it likes ---- */
static HANDLE network4, network6, transport, layer2;
static volatile LONG pending;

struct odd { /* a list of the driver's own, with what it stands on */
    NET_BUFFER_LIST *nbl;
    MDL *mdls[8];
    uint8_t *bytes[8];
    unsigned count;
    UCHAR remote[16];
    FWPS_TRANSPORT_SEND_PARAMS1 arguments;
};

static void odd_free(struct odd *odd)
{
    for (NET_BUFFER_LIST *nbl = odd->nbl, *next; nbl; nbl = next) {
        next = nbl->Next;
        if (odd->count)
            FwpsFreeNetBufferList0(nbl);
        else
            FwpsFreeCloneNetBufferList0(nbl, 0);
    }
    for (unsigned i = 0; i < odd->count; i++) {
        mem_free(odd->mdls[i]);
        mem_free(odd->bytes[i]);
    }
    mem_free(odd);
}

static void NTAPI on_complete(void *context, NET_BUFFER_LIST *nbl, BOOLEAN dispatch)
{
    struct odd *odd = context;
    (void)dispatch;
    MODEL_ASSERT(odd->nbl == nbl);
    odd_free(odd);
    InterlockedDecrement(&pending);
}

static void inject(struct odd *odd)
{
    NTSTATUS status;
    UINT32 flags = chance(50) ? 0 : 1;
    BOOL v6 = chance(2) != 0;
    odd->arguments.remoteAddress = chance(20) ? odd->remote : NULL;
    for (int i = 0; i < 16; i++)
        odd->remote[i] = (UCHAR)chance(256);
    if (!chance(8)) {
        odd->arguments.headerIncludeHeader = odd->remote;
        odd->arguments.headerIncludeHeaderLength = (ULONG)chance(17);
    }
    InterlockedIncrement(&pending);
    switch (chance(8)) {
    case 0:
        status = FwpsInjectNetworkSendAsync0(v6 ? network6 : network4, odd, flags, 1, odd->nbl, on_complete, odd);
        break;
    case 1:
        status = FwpsInjectNetworkReceiveAsync0(v6 ? network6 : network4, odd, flags, 1, 0, 0, odd->nbl, on_complete, odd);
        break;
    case 2:
        status = FwpsInjectTransportReceiveAsync0(transport, odd, NULL, flags, AF_INET, 1, 0, 0, odd->nbl, on_complete, odd);
        break;
    case 3:
        status = FwpsInjectForwardAsync0(transport, odd, flags, AF_INET, 1, 0, odd->nbl, on_complete, odd);
        break;
    case 4:
        status = FwpsInjectMacSendAsync0(layer2, odd, flags, chance(2) ? 57 : 59, 0, 0, odd->nbl, on_complete, odd);
        break;
    case 5:
        status = FwpsInjectMacReceiveAsync0(layer2, odd, flags, chance(2) ? 56 : 58, 0, 0, odd->nbl, on_complete, odd);
        break;
    default:
        status = FwpsInjectTransportSendAsync1(transport, odd, chance(3) ? 0 : chance(100), flags, chance(9) ? &odd->arguments : NULL,
                                               v6 ? AF_INET6 : AF_INET, 1, odd->nbl, on_complete, odd);
        break;
    }
    if (status) { /* not taken: still ours */
        InterlockedDecrement(&pending);
        odd_free(odd);
    }
}

/* Bytes in MDLs of any size, some of none, with lengths and offsets that need not agree with them. */
static void inject_odd(const uint8_t *bytes, size_t length)
{
    struct odd *odd = mem_alloc(sizeof *odd);
    size_t done = 0;
    odd->count = 1 + (unsigned)chance(8);
    for (unsigned i = 0; i < odd->count; i++) {
        size_t part = i + 1 == odd->count ? length - done : chance(3) ? chance(length - done + 1) : 0;
        odd->bytes[i] = mem_alloc(part);
        memcpy(odd->bytes[i], bytes + done, part);
        odd->mdls[i] = mem_alloc(sizeof(MDL));
        odd->mdls[i]->MdlFlags = MDL_NONPAGED;
        odd->mdls[i]->MappedSystemVa = odd->bytes[i];
        odd->mdls[i]->ByteCount = (ULONG)part;
        if (i)
            odd->mdls[i - 1]->Next = odd->mdls[i];
        done += part;
    }
    ULONG offset = chance(4) ? 0 : (ULONG)chance(length + 40);
    SIZE_T claimed = chance(5) ? length - (offset < length ? offset : length) : chance(2) ? chance(70000) : 0xffffffffu - chance(40);
    FwpsAllocateNetBufferAndNetBufferList0(NULL, 0, 0, odd->mdls[0], offset, claimed, &odd->nbl);
    if (!chance(40))
        odd->nbl->FirstNetBuffer = NULL;
    else if (!chance(4))
        FwpsConstructIpHeaderForTransportPacket0(odd->nbl, chance(2) ? 0 : (ULONG)chance(70), chance(2) ? AF_INET : AF_INET6, odd->remote,
                                                 odd->remote, (int)chance(256), 0, NULL, 0, 0, NULL, 0, 0);
    odd->nbl->NetBufferListInfo[0] = (void *)(uintptr_t)chance(64);
    inject(odd);
}

static void check_value(const FWP_VALUE0 *value)
{
    switch ((int)value->type) {
    case FWP_UINT64:
        consume((const uint8_t *)value->uint64, 8);
        break;
    case FWP_BYTE_ARRAY16_TYPE:
        consume(value->byteArray16->byteArray16, 16);
        break;
    case FWP_BYTE_ARRAY6_TYPE:
        consume(value->byteArray6->byteArray6, 6);
        break;
    case FWP_BYTE_BLOB_TYPE:
        consume(value->byteBlob->data, value->byteBlob->size);
        break;
    default:
        break;
    }
}

static void check_list(NET_BUFFER_LIST *nbl, ULONG headers)
{
    static __thread uint8_t storage[FRAME_MAX];
    for (NET_BUFFER *nb = nbl->FirstNetBuffer; nb; nb = nb->Next) {
        size_t room = 0;
        for (const MDL *mdl = nb->MdlChain; mdl; mdl = mdl->Next)
            room += mdl->ByteCount;
        MODEL_ASSERT((size_t)nb->DataOffset + nb->DataLength <= room);
        MODEL_ASSERT(headers <= nb->DataOffset);
        if (NdisRetreatNetBufferDataStart(nb, headers, 0, NULL))
            broken("no way back to the headers", headers);
        const uint8_t *bytes = nb->DataLength ? NdisGetDataBuffer(nb, nb->DataLength, storage, 1, 0) : NULL;
        MODEL_ASSERT(bytes || !nb->DataLength);
        consume(bytes, nb->DataLength);
        NdisAdvanceNetBufferDataStart(nb, headers, FALSE, NULL);
    }
}

/* What the driver sent of a stream by another way than the stream's would be no word of the engine's. */
static BOOL is_of_a_stream(NET_BUFFER_LIST *nbl, ULONG headers)
{
    static __thread uint8_t storage[FRAME_MAX];
    NET_BUFFER *nb = nbl->FirstNetBuffer;
    BOOL found = FALSE;
    if (NdisRetreatNetBufferDataStart(nb, headers, 0, NULL))
        return TRUE;
    const uint8_t *bytes = nb->DataLength ? NdisGetDataBuffer(nb, nb->DataLength, storage, 1, 0) : NULL;
    for (size_t i = 0; bytes && i + 4 <= nb->DataLength && i < 100 && !found; i++)
        found = streams_have(get16(bytes + i), get16(bytes + i + 2));
    NdisAdvanceNetBufferDataStart(nb, headers, FALSE, NULL);
    return found;
}

static void take_clone(NET_BUFFER_LIST *nbl, ULONG headers)
{
    if (is_of_a_stream(nbl, headers))
        return;
    struct odd *odd = mem_alloc(sizeof *odd);
    if (FwpsAllocateCloneNetBufferList0(nbl, NULL, NULL, 0, &odd->nbl)) {
        mem_free(odd);
        return;
    }
    if (chance(2))
        NdisRetreatNetBufferDataStart(odd->nbl->FirstNetBuffer, headers, 0, NULL);
    inject(odd);
}

static void NTAPI look(const FWPS_INCOMING_VALUES0 *values, const FWPS_INCOMING_METADATA_VALUES0 *m, void *data, const void *context,
                       const FWPS_FILTER1 *filter, UINT64 flow_context, FWPS_CLASSIFY_OUT0 *out)
{
    UINT16 layer = values->layerId;
    BOOL stream = layer == LAYER_STREAM_V4 || layer == LAYER_STREAM_V6, redirect = layer >= 66 && layer <= 69;
    (void)context, (void)flow_context;
    for (UINT32 i = 0; i < values->valueCount; i++)
        check_value(&values->incomingValue[i].value);
    out->actionType = chance(60) ? ACTION_PERMIT : ACTION_BLOCK;
    if (!data || redirect)
        return;
    if (stream) {
        FWPS_STREAM_CALLOUT_IO_PACKET0 *io = data;
        for (NET_BUFFER_LIST *nbl = io->streamData->netBufferListChain; nbl; nbl = nbl->Next)
            check_list(nbl, 0);
        streams_edit(values, m, io, filter, out);
        return;
    }
    ULONG headers = 0;
    if (layer_v4(layer) != LAYER_OUTBOUND_IPPACKET_V4 && layer != 57 && (m->currentMetadataValues & META_IP_HEADER_SIZE))
        headers += m->ipHeaderSize;
    if (headers && layer_v4(layer) != LAYER_INBOUND_IPPACKET_V4 && (m->currentMetadataValues & META_TRANSPORT_HEADER_SIZE))
        headers += m->transportHeaderSize;
    check_list(data, headers);
    if (!chance(200) && pending < PENDING_MAX && !FwpsQueryPacketInjectionState0(transport, data, NULL))
        take_clone(data, headers);
    if (!chance(100)) {
        FwpsReferenceNetBufferList0(data, FALSE);
        FwpsDereferenceNetBufferList0(data, FALSE);
    }
}

static NTSTATUS NTAPI notify_none(UINT32 type, const GUID *key, FWPS_FILTER1 *filter)
{
    (void)type, (void)key, (void)filter;
    return STATUS_SUCCESS;
}

static void NTAPI deleted_none(UINT16 layer, UINT32 callout, UINT64 context)
{
    (void)layer, (void)callout, (void)context;
}

void callout(unsigned key)
{
    FWPS_CALLOUT c = {.calloutKey = key_of(key), .classifyFn = (void *)look, .notifyFn = notify_none, .flowDeleteFn = deleted_none};
    UINT32 id;
    FwpsCalloutRegister1(&engine, &c, &id);
}

static void set_up(void)
{
    static const UINT16 watched[CALLOUTS] = {0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32, 34, 44, 46, 48, 50, 52, 54, 56, 57};
    static const uint8_t mac[6] = {2, 2, 2, 2, 2, 2};
    linux_console_path = "/dev/null";
    memcpy(wire.guest_mac, mac, 6);
    wire.to_link = wire.to_guest = wire.second.to_link = consume;
    wire.guest[0] = address_v4(GUEST);
    wire.guest[1] = address_of(FAMILY_V6, "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\2");
    wire.second.network = address_v4(0x0a000000);
    wire.second.prefix = 8;
    wire.up = 1;
    inject_start();
    begin();
    for (unsigned i = 0; i < CALLOUTS; i++) {
        UINT32 id;
        callout(500 + i);
        add_callout(500 + i, watched[i], &id);
        add_filter(watched[i], 100, ACTION_CALLOUT_TERMINATING, 500 + i, 1, 0, NULL);
    }
    FwpsInjectionHandleCreate0(AF_INET, INJECT_NETWORK, &network4);
    FwpsInjectionHandleCreate0(AF_INET6, INJECT_NETWORK, &network6);
    FwpsInjectionHandleCreate0(AF_UNSPEC, 0, &transport);
    FwpsInjectionHandleCreate0(AF_UNSPEC, INJECT_L2, &layer2);
    streams_set_up();
    AddVectoredExceptionHandler(1, on_exception);
    CloseHandle(CreateThread(NULL, 0, watchdog, NULL, 0, NULL));
    watching = 1;
}

/* The frame ends where its memory ends. */
void send_frame(const uint8_t *bytes, size_t length, unsigned source)
{
    uint8_t *frame = mem_alloc(length);
    memcpy(frame, bytes, length);
    now_length = length;
    now_source = (LONG)source;
    now_frame = frame;
    (source == FROM_GUEST ? stack_from_guest : source == FROM_LINK ? stack_from_link : stack_from_second)(frame, length);
    now_frame = NULL;
    mem_free(frame);
    if (InterlockedIncrement64(&sent) % 20000 == 0)
        flows_end_all("enough");
}

/* ---- frames, changed ---- */
static struct {
    uint8_t *bytes;
    UINT32 length;
    unsigned source;
} corpus[FRAMES_MAX];
static unsigned corpus_count;

static BOOL read_frame(FILE *file, uint8_t *bytes, UINT32 *length, unsigned *source)
{
    uint8_t head[5];
    if (fread(head, 1, 5, file) != 5)
        return FALSE;
    *length = (UINT32)head[0] | (UINT32)head[1] << 8 | (UINT32)head[2] << 16 | (UINT32)head[3] << 24;
    *source = head[4] % SOURCES;
    return *length <= FRAME_MAX && fread(bytes, 1, *length, file) == *length;
}

size_t mutate(uint8_t *bytes, size_t length)
{
    static const uint8_t telling[] = {0, 1, 4, 5, 6, 8, 15, 17, 20, 40, 43, 44, 45, 51, 58, 60, 0x45, 0x4f, 0x60, 0x7f, 0x80, 0xff};
    for (UINT64 i = chance(6); length && i; i--) {
        size_t at = chance(2) ? chance(length) : chance(length < 64 ? length : 64);
        switch (chance(9)) {
        case 0:
            bytes[at] ^= (uint8_t)(1u << chance(8));
            break;
        case 1:
            bytes[at] = (uint8_t)chance(256);
            break;
        case 2:
            bytes[at] = telling[chance(sizeof telling)];
            break;
        case 3: /* cut short */
            length = at;
            break;
        case 4: /* made longer */
            for (UINT64 more = chance(40); more && length < 2000; more--)
                bytes[length++] = (uint8_t)chance(256);
            break;
        case 5: /* a length that is a little off, or absurd */
            if (length > 18)
                put16(bytes + 16, (UINT16)(chance(3) ? length - 14 + chance(9) - 4 : chance(65536)));
            break;
        case 6: /* a piece of another frame */
            if (corpus_count) {
                unsigned other = (unsigned)chance(corpus_count);
                for (size_t k = at; k < length && k < corpus[other].length && k < at + 24; k++)
                    bytes[k] = corpus[other].bytes[k];
            }
            break;
        case 7: /* fragments that overlap, end early or begin late */
            if (length > 34)
                put16(bytes + 20, (UINT16)(chance(2) << 13 | chance(chance(2) ? 8 : 8192)));
            break;
        default: /* the checksum of the IP header made good again */
            if (length >= 34 && (bytes[14] & 15) >= 5 && length >= 14u + (bytes[14] & 15u) * 4u) {
                put16(bytes + 24, 0);
                put16(bytes + 24, ip_checksum(bytes + 14, (bytes[14] & 15u) * 4u, 0));
            }
        }
    }
    return length;
}

static int mutate_all(UINT64 count, UINT64 seed)
{
    static uint8_t bytes[FRAME_MAX + 64];
    UINT32 length;
    unsigned source;
    chance_state = (LONG64)seed;
    while (corpus_count < FRAMES_MAX && read_frame(stdin, bytes, &length, &source)) {
        corpus[corpus_count].bytes = mem_alloc(length);
        memcpy(corpus[corpus_count].bytes, bytes, length);
        corpus[corpus_count].source = source;
        corpus[corpus_count++].length = length;
    }
    if (!corpus_count) {
        printf("no frames on standard input\n");
        return 2;
    }
    set_up();
    for (UINT64 i = 0; i < count; i++) {
        unsigned which = (unsigned)chance(corpus_count);
        memcpy(bytes, corpus[which].bytes, corpus[which].length);
        size_t size = mutate(bytes, corpus[which].length);
        if (!chance(25) && pending < PENDING_MAX)
            inject_odd(bytes, size);
        send_frame(bytes, size, chance(8) ? corpus[which].source : (unsigned)chance(SOURCES));
        streams_step();
    }
    return 0;
}

static int serve(void)
{
    static uint8_t bytes[FRAME_MAX];
    UINT32 length;
    unsigned source;
    set_up();
    for (;;) {
        watching = 0;
        if (!read_frame(stdin, bytes, &length, &source))
            return 0;
        watching = 1;
        if (length) {
            send_frame(bytes, length, source);
        } else {
            printf("done\n");
            fflush(stdout);
        }
    }
}

int main(int argc, char **argv)
{
    int code = 2;
    _setmode(_fileno(stdin), _O_BINARY);
    if (argc == 4 && !strcmp(argv[1], "mutate"))
        code = mutate_all(strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10));
    else if (argc == 2 && !strcmp(argv[1], "serve"))
        code = serve();
    else
        printf("engine_fuzz mutate COUNT SEED | serve\n");
    for (int i = 0; i < 2000 && pending; i++)
        Sleep(10);
    streams_end();
    MODEL_ASSERT(!pending); /* each injection that was taken has been completed */
    printf("%llu frames, %llu injected, %llu classifies, %llu misuses told", (unsigned long long)sent, (unsigned long long)stats.injected,
           (unsigned long long)stats.classifies, (unsigned long long)stats.lint);
    streams_figures();
    printf("\n");
    return code;
}

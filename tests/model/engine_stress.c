/*
 * The engine under many threads, with its assertions on: packets in both directions while callouts, filters, flow
 * contexts, injection handles and flows come and go.
 *
 *     engine_stress SECONDS SEED
 *
 * On a busy host it takes longer, until it has worked for so many.
 *
 * What must hold: no function of a callout runs once it has been unregistered (W015); each flow context is deleted once
 * (W193); each injection that was taken is completed once (W245), and before its handle is gone (W241); streams that are
 * edited arrive whole (engine_stress_streams.c); and in the end nothing is left. The exit code is 0, or 3 after a line that begins with BROKEN.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>

#include "engine_stress.h"
#include "inject_rig.h"

enum { DRIVERS = 6, PENDED_MAX = 256, FLOW_PORTS = 40, HANG_SECONDS = 60, ALL_FLOWS = 4096 };

extern const char *linux_console_path;
NTSTATUS NTAPI FwpsFlowAbort0(UINT64);

NTSTATUS NTAPI FwpsPendOperation0(HANDLE, HANDLE *);
void NTAPI FwpsCompleteOperation0(HANDLE, NET_BUFFER_LIST *);

volatile LONG stop;
volatile LONG64 packets;
static volatile LONG64 contexts_made, contexts_gone, taken, completed, rounds, busy_answers;
static volatile LONG looked;
volatile UINT64 known[KNOWN];

struct driver {
    volatile LONG registered; /* its functions may be called */
    UINT32 id;
    UINT16 layer;
    GUID key;
};
static struct driver drivers[DRIVERS];
static UINT64 lasting[DRIVERS + 1]; /* filters */
static volatile LONG64 filters_added;
static const UINT16 driver_layers[DRIVERS] = {LAYER_OUTBOUND_TRANSPORT_V4, LAYER_INBOUND_TRANSPORT_V4, LAYER_ALE_FLOW_ESTABLISHED_V4,
                                              LAYER_DATAGRAM_DATA_V4, LAYER_STREAM_V4, LAYER_OUTBOUND_IPPACKET_V4};

void broken(const char *what, UINT64 detail)
{
    printf("BROKEN %s %llu\n", what, (unsigned long long)detail);
    fflush(stdout);
    ExitProcess(3);
}

static LONG CALLBACK on_exception(EXCEPTION_POINTERS *info)
{
    const EXCEPTION_RECORD *record = info->ExceptionRecord;
    if (record->ExceptionCode != (DWORD)STATUS_ACCESS_VIOLATION)
        return EXCEPTION_CONTINUE_SEARCH;
    printf("BROKEN access violation at %p (module at %p), address 0x%llx\n", record->ExceptionAddress, (void *)GetModuleHandleW(NULL),
           (unsigned long long)record->ExceptionInformation[1]);
    fflush(stdout);
    ExitProcess(3);
    return EXCEPTION_CONTINUE_SEARCH;
}

UINT32 chance(UINT32 *state, UINT32 below)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state % below;
}

/* ---- the driver's functions ---- */
static void look(struct driver *driver, const FWPS_INCOMING_METADATA_VALUES0 *m, UINT64 flow_context, FWPS_CLASSIFY_OUT0 *out)
{
    if (!driver->registered)
        broken("classifyFn after unregistration of callout", driver->id);
    if (flow_context && flow_context >> 32 != driver->id)
        broken("the flow context of another callout", flow_context);
    if (m->currentMetadataValues & META_FLOW_HANDLE) {
        known[m->flowHandle % KNOWN] = m->flowHandle;
        if (m->flowHandle % 3 == 0 && /* the other answer that is no error says that there is one already (W189) */
            FwpsFlowAssociateContext0(m->flowHandle, driver->layer, driver->id, (UINT64)driver->id << 32 | 1) == STATUS_SUCCESS)
            InterlockedIncrement64(&contexts_made);
    }
    if (InterlockedIncrement(&looked) % 16 == 0)
        SwitchToThread(); /* so that what goes meanwhile goes under this function's feet */
    if (!driver->registered)
        broken("unregistered while its classifyFn ran: callout", driver->id);
    out->actionType = m->flowHandle % 64 == 63 && (m->currentMetadataValues & META_FLOW_HANDLE) ? ACTION_BLOCK : ACTION_PERMIT;
}

static NTSTATUS NTAPI notify_none(UINT32 type, const GUID *key, FWPS_FILTER1 *filter)
{
    (void)type, (void)key, (void)filter;
    return STATUS_SUCCESS;
}

#define DRIVER_FUNCTIONS(n)                                                                                                          \
    static void NTAPI classify_##n(const FWPS_INCOMING_VALUES0 *v, const FWPS_INCOMING_METADATA_VALUES0 *m, void *d, const void *c,  \
                                   const FWPS_FILTER1 *f, UINT64 x, FWPS_CLASSIFY_OUT0 *o)                                           \
    {                                                                                                                                \
        (void)v, (void)d, (void)c, (void)f;                                                                                          \
        look(&drivers[n], m, x, o);                                                                                                  \
    }                                                                                                                                \
    static void NTAPI deleted_##n(UINT16 layer, UINT32 callout, UINT64 value)                                                        \
    {                                                                                                                                \
        (void)layer;                                                                                                                 \
        if (!drivers[n].registered || callout != drivers[n].id || value >> 32 != callout)                                            \
            broken("flowDeleteFn of a callout that is gone, or with another's context", value);                                      \
        InterlockedIncrement64(&contexts_gone);                                                                                      \
    }
DRIVER_FUNCTIONS(0)
DRIVER_FUNCTIONS(1)
DRIVER_FUNCTIONS(2)
DRIVER_FUNCTIONS(3)
DRIVER_FUNCTIONS(4)
DRIVER_FUNCTIONS(5)
static void *const classify_fns[DRIVERS] = {(void *)classify_0, (void *)classify_1, (void *)classify_2,
                                            (void *)classify_3, (void *)classify_4, (void *)classify_5};
static const FLOW_DELETE_FN delete_fns[DRIVERS] = {deleted_0, deleted_1, deleted_2, deleted_3, deleted_4, deleted_5};

/* ---- connects that are put off ---- */
static void *volatile pended[PENDED_MAX];
static volatile LONG64 put_off, resumed;

static void NTAPI pend_some(const FWPS_INCOMING_VALUES0 *v, const FWPS_INCOMING_METADATA_VALUES0 *m, void *d, const void *c,
                            const FWPS_FILTER1 *f, UINT64 x, FWPS_CLASSIFY_OUT0 *o)
{
    static volatile LONG turn;
    HANDLE context;
    LONG mine = InterlockedIncrement(&turn);
    (void)v, (void)d, (void)c, (void)f, (void)x;
    o->actionType = ACTION_PERMIT;
    if (mine % 4 || !(m->currentMetadataValues & META_COMPLETION_HANDLE) || FwpsPendOperation0(m->completionHandle, &context))
        return;
    InterlockedIncrement64(&put_off);
    o->actionType = ACTION_BLOCK;
    o->rights &= ~(UINT32)RIGHT_ACTION_WRITE;
    o->flags |= OUT_FLAG_ABSORB;
    while (InterlockedCompareExchangePointer(&pended[mine % PENDED_MAX], context, NULL))
        mine++;
}

static void resume_all(void)
{
    for (unsigned i = 0; i < PENDED_MAX; i++) {
        HANDLE context = InterlockedExchangePointer(&pended[i], NULL);
        if (context) {
            FwpsCompleteOperation0(context, NULL);
            InterlockedIncrement64(&resumed);
        }
    }
}

static DWORD WINAPI resumer(void *unused)
{
    (void)unused;
    while (!stop) {
        resume_all();
        SwitchToThread();
    }
    return 0;
}

/* ---- packets ---- */
static void converse(UINT32 *state, UINT16 port)
{
    UINT32 sequence = 1000 + chance(state, 1000000), theirs = chance(state, 1000000);
    guest_sends(port, SERVER, 80, IPPROTO_TCP, 2, sequence, "");
    link_sends(SERVER, 80, port, IPPROTO_TCP, 0x12, theirs, "");
    for (UINT32 i = chance(state, 8); i; i--) {
        guest_sends(port, SERVER, 80, IPPROTO_TCP, 0x18, sequence + 1, "question");
        link_sends(SERVER, 80, port, IPPROTO_TCP, 0x18, theirs + 1, "answer");
    }
    if (chance(state, 2))
        link_sends(SERVER, 80, port, IPPROTO_TCP, 4, theirs + 1, "");
}

static DWORD WINAPI sender(void *seed)
{
    UINT32 state = (UINT32)(uintptr_t)seed;
    while (!stop) {
        UINT16 port = (UINT16)(5000 + chance(&state, FLOW_PORTS));
        if (chance(&state, 3)) {
            guest_sends(port, SERVER, 53, IPPROTO_UDP, 0, 0, "datagram");
            link_sends(SERVER, 53, port, IPPROTO_UDP, 0, 0, "datagram");
        } else {
            converse(&state, port);
        }
        InterlockedIncrement64(&packets);
    }
    return 0;
}

/* ---- what changes meanwhile ---- */
static void register_one(unsigned n)
{
    FWPS_CALLOUT c = {.calloutKey = drivers[n].key, .classifyFn = classify_fns[n], .notifyFn = notify_none, .flowDeleteFn = delete_fns[n]};
    InterlockedExchange(&drivers[n].registered, 1);
    if (FwpsCalloutRegister1(&engine, &c, &drivers[n].id))
        broken("a callout cannot be registered again", n);
}

struct there_are {
    UINT64 flows[ALL_FLOWS];
    unsigned count;
};

static void there_is(const struct flow *flow, void *argument)
{
    struct there_are *all = argument;
    if (all->count < ALL_FLOWS)
        all->flows[all->count++] = flow->id;
}

static void remove_contexts(unsigned n)
{
    static __thread struct there_are all; /* of two threads' stacks it would be much */
    all.count = 0;
    flows_each(there_is, &all);
    for (unsigned i = 0; i < all.count; i++)
        FwpsFlowRemoveContext0(all.flows[i], drivers[n].layer, drivers[n].id);
}

static void unregister_one(unsigned n)
{
    NTSTATUS status;
    while ((status = FwpsCalloutUnregisterById0(drivers[n].id)) == STATUS_DEVICE_BUSY) {
        InterlockedIncrement64(&busy_answers);
        remove_contexts(n);
    }
    if (status)
        broken("a callout cannot be unregistered", (UINT32)status);
    InterlockedExchange(&drivers[n].registered, 0);
}

/* An inspection filter is ignored while its callout is not registered, a terminating one blocks. */
static NTSTATUS add_one(HANDLE session, unsigned n, UINT32 action, UINT64 *id)
{
    FWPM_FILTER_CONDITION0 server = {.fieldKey = condition_keys[COND_IP_REMOTE_ADDRESS], .conditionValue = {FWP_UINT32, {.uint32 = SERVER}}};
    FWPM_FILTER0 f = {.displayData.name = L"f", .layerKey = layer_by_id(drivers[n].layer)->key, .subLayerKey = key_of(n % 2 ? 100 : 200)};
    f.action.type = action;
    f.action.calloutKey = drivers[n].key;
    f.filterCondition = &server; /* the streams' letters are not theirs to lose */
    f.numFilterConditions = 1;
    return FwpmFilterAdd0(session, &f, NULL, id);
}

/* Registers and unregisters each callout again and again, with filters that come and go in transactions. */
static DWORD WINAPI changer(void *seed)
{
    UINT32 state = (UINT32)(uintptr_t)seed;
    FWPM_SESSION0 wanted = {.flags = 1};
    while (!stop) {
        HANDLE session;
        UINT64 ids[4];
        unsigned n = chance(&state, DRIVERS), count = 0;
        FwpmEngineOpen0(NULL, 10, NULL, &wanted, &session);
        unregister_one(n);
        for (unsigned i = chance(&state, 4); i; i--) {
            if (add_one(session, chance(&state, DRIVERS), ACTION_CALLOUT_TERMINATING, &ids[count++]))
                broken("a filter cannot be added", i);
            InterlockedIncrement64(&filters_added);
        }
        register_one(n);
        FwpmTransactionBegin0(session, 0);
        for (unsigned i = 0; i < count; i++)
            FwpmFilterDeleteById0(session, ids[i]);
        add_one(session, n, ACTION_CALLOUT_TERMINATING, &ids[0]);
        if (chance(&state, 2))
            FwpmTransactionCommit0(session);
        else if (chance(&state, 2))
            FwpmTransactionAbort0(session);
        FwpmEngineClose0(session); /* which ends what is left of it */
        InterlockedIncrement64(&rounds);
    }
    return 0;
}

static DWORD WINAPI resetter(void *seed)
{
    UINT32 state = (UINT32)(uintptr_t)seed;
    while (!stop) {
        UINT64 flow = known[chance(&state, KNOWN)];
        switch (chance(&state, 4000)) {
        case 0:
            flows_end_all("all at once");
            break;
        case 1:
            flows_tick(now_ms(), NULL);
            break;
        case 2:
        case 3:
            FwpsFlowAbort0(flow);
            break;
        default:
            FwpsFlowRemoveContext0(flow, driver_layers[chance(&state, DRIVERS)], drivers[chance(&state, DRIVERS)].id);
        }
        SwitchToThread();
    }
    return 0;
}

struct sent {
    volatile LONG done;
    volatile LONG *open;
};

static void NTAPI on_complete(void *context, NET_BUFFER_LIST *nbl, BOOLEAN dispatch)
{
    struct sent *one = context;
    (void)dispatch;
    if (InterlockedIncrement(&one->done) != 1)
        broken("completed twice", (UINT64)one->done);
    if (!*one->open)
        broken("completed after its handle was destroyed", 0);
    InterlockedIncrement64(&completed);
    nbl_release(nbl);
    mem_free(one);
}

static DWORD WINAPI injector(void *seed)
{
    UINT32 state = (UINT32)(uintptr_t)seed;
    static UCHAR remote[4] = {198, 51, 100, 5};
    static FWPS_TRANSPORT_SEND_PARAMS1 arguments = {.remoteAddress = remote};
    while (!stop) {
        HANDLE handle;
        volatile LONG open = 1;
        FwpsInjectionHandleCreate0(AF_UNSPEC, INJECT_TRANSPORT, &handle);
        for (UINT32 i = chance(&state, 20); i; i--) {
            uint8_t *bytes = mem_alloc(12);
            put16(bytes, (UINT16)(5000 + chance(&state, FLOW_PORTS)));
            put16(bytes + 2, 53);
            put16(bytes + 4, 12);
            struct sent *one = mem_alloc(sizeof *one);
            one->open = &open;
            NET_BUFFER_LIST *nbl = nbl_wrap(bytes, 12, 0, 12);
            UINT64 endpoint = chance(&state, 4) ? 0 : known[chance(&state, KNOWN)];
            InterlockedIncrement64(&taken);
            if (FwpsInjectTransportSendAsync1(handle, one, endpoint, 0, &arguments, AF_INET, 1, nbl, on_complete, one)) {
                InterlockedDecrement64(&taken);
                nbl_release(nbl);
                mem_free(one);
            }
        }
        FwpsInjectionHandleDestroy0(handle);
        open = 0;
    }
    return 0;
}

static DWORD WINAPI watchdog(void *unused)
{
    LONG64 last = -1;
    (void)unused;
    for (int still = 0; still < HANG_SECONDS; still++) {
        Sleep(1000);
        if (last != packets + rounds)
            still = 0;
        last = packets + rounds;
    }
    broken("nothing has happened for a minute", 0);
    return 0;
}

static BOOL with_streams = TRUE;

static void check_the_end(void)
{
    flows_end_all("the end");
    for (unsigned n = 0; n <= DRIVERS; n++)
        FwpmFilterDeleteById0(engine, lasting[n]);
    if (with_streams)
        streams_end();
    FwpmEngineClose0(engine);
    for (unsigned n = 0; n < DRIVERS; n++) {
        unregister_one(n);
        struct callout *callout = callout_find_id(drivers[n].id);
        if (callout->contexts || callout->running)
            broken("left of a callout: contexts and functions that run", (UINT64)callout->contexts << 32 | (UINT32)callout->running);
    }
    if (flows_count())
        broken("flows are left", flows_count());
    if (contexts_made != contexts_gone)
        broken("flow contexts made, not deleted", (UINT64)(contexts_made - contexts_gone));
    if (put_off != resumed)
        broken("connects put off, not resumed", (UINT64)(put_off - resumed));
    if (taken != completed)
        broken("injections were not completed", (UINT64)(taken - completed));
    for (unsigned i = 0; i < sizeof driver_layers / sizeof driver_layers[0]; i++)
        if (layer_has_filters(driver_layers[i]))
            broken("filters are left at layer", driver_layers[i]);
    if (filters)
        broken("filters are left", 0);
}

int main(int argc, char **argv)
{
    static const uint8_t mac[6] = {2, 2, 2, 2, 2, 2};
    static const LPTHREAD_START_ROUTINE work[] = {changer, resetter, injector, resumer, sender, sender, sender, streams_change, streams_drive};
    enum { ALL = sizeof work / sizeof work[0], STREAM_WORKERS = 2 };
    HANDLE threads[ALL + TALKERS];
    UINT32 ids;
    unsigned seconds = argc > 1 ? (unsigned)atoi(argv[1]) : 5, seed = argc > 2 ? (unsigned)atoi(argv[2]) : 1;
    with_streams = argc <= 3 || strcmp(argv[3], "packets") != 0; /* whether streams are edited meanwhile */
    unsigned workers = with_streams ? ALL : ALL - STREAM_WORKERS, talkers = with_streams ? TALKERS : 0;
    linux_console_path = "/dev/null";
    AddVectoredExceptionHandler(1, on_exception);
    memcpy(wire.guest_mac, mac, 6);
    wire.to_link = to_link;
    wire.to_guest = to_guest;
    wire.guest[0] = address_v4(GUEST);
    wire.up = 1;
    inject_start();
    FwpmEngineOpen0(NULL, 10, NULL, NULL, &engine); /* not dynamic: what it adds is nobody's own, and others may name it */
    add_sublayer(100, 0x7000);
    add_sublayer(200, 0x3000);
    for (unsigned n = 0; n < DRIVERS; n++) {
        drivers[n].key = key_of(700 + n);
        drivers[n].layer = driver_layers[n];
        add_callout(700 + n, drivers[n].layer, &ids);
        register_one(n);
        add_one(engine, n, ACTION_CALLOUT_INSPECTION, &lasting[n]);
    }
    FWPS_CALLOUT pending = {.calloutKey = key_of(799), .classifyFn = (void *)pend_some, .notifyFn = notify_none};
    FwpsCalloutRegister1(&engine, &pending, &ids);
    add_callout(799, LAYER_ALE_AUTH_CONNECT_V4, &ids);
    add_filter(LAYER_ALE_AUTH_CONNECT_V4, 100, ACTION_CALLOUT_TERMINATING, 799, 1, 0, &lasting[DRIVERS]);
    if (with_streams)
        streams_begin();
    CloseHandle(CreateThread(NULL, 0, watchdog, NULL, 0, NULL));
    for (unsigned i = 0; i < workers; i++)
        threads[i] = CreateThread(NULL, 0, work[i], (void *)(uintptr_t)((seed * 31 + i + 1) * 2654435761u | 1), 0, NULL);
    for (unsigned i = 0; i < talkers; i++)
        threads[workers + i] = CreateThread(NULL, 0, streams_talk, (void *)(uintptr_t)i, 0, NULL);
    Sleep(seconds * 1000);
    while (worked_ms() < seconds * 1000ull)
        Sleep(100);
    stop = 1;
    if (WaitForMultipleObjects(workers + talkers, threads, TRUE, HANG_SECONDS * 1000) >= WAIT_OBJECT_0 + workers + talkers)
        broken("a thread does not end", 0);
    resume_all();
    if (with_streams)
        streams_stopped();
    FwpsCalloutUnregisterById0(ids);
    check_the_end();
    printf("%llu conversations, %llu rounds of changes, %llu filters, %llu answers of BUSY, %llu contexts deleted, %llu injections, %llu put off, %llu classifies, %llu misuses told",
           (unsigned long long)packets, (unsigned long long)rounds, (unsigned long long)filters_added, (unsigned long long)busy_answers, (unsigned long long)contexts_gone,
           (unsigned long long)completed, (unsigned long long)put_off, (unsigned long long)stats.classifies, (unsigned long long)stats.lint);
    if (with_streams)
        streams_figures();
    printf("\n");
    return 0;
}

/*
 * A management program as a vendor would write one, against the import library of mingw-w64: adds a provider, a
 * sublayer, a callout and a filter from user mode and looks at what it added. Prints one line a check, as the checks of
 * the engine do; the exit code is the number of failures.
 *
 *   manage.exe               every check
 *   manage.exe block ADDRESS adds a filter that blocks what is sent to that IPv4 address, and stays
 *   manage.exe callout ADDRESS adds a callout and a filter that asks it about connects to that address, and stays
 *   manage.exe allow         deletes the filter of either, and callout and sublayer if they are there
 *   manage.exe hold          adds a filter with the key below in a dynamic session, says "held", and never returns
 *
 * SPDX-License-Identifier: MIT
 */
#include <winsock2.h>
#include <windows.h>
#include <fwpmu.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* mingw-w64's headers lack them. */
enum { FWPM_SESSION_FLAG_DYNAMIC = 1, FWPM_SUBSCRIPTION_FLAG_NOTIFY_ON_ADD = 1, FWPM_SUBSCRIPTION_FLAG_NOTIFY_ON_DELETE = 2 };

static const GUID provider_key = {0x7e570001, 1, 2, {3}}, sublayer_key = {0x7e570002, 1, 2, {3}}, callout_key = {0x7e570003, 1, 2, {3}},
                  filter_key = {0x7e570004, 1, 2, {3}}, context_key = {0x7e570005, 1, 2, {3}}, held_key = {0x7e570006, 1, 2, {3}};
static const GUID out_transport = {0x09e61aea, 0xd214, 0x46e2, {0x9b, 0x21, 0xb2, 0x6b, 0x0b, 0x2f, 0x28, 0xc8}};
static const GUID auth_connect = {0xc38d57d1, 0x05a7, 0x4c33, {0x90, 0x4f, 0x7f, 0xbc, 0xee, 0xe6, 0x0e, 0x82}};
static const GUID remote_address = {0xb235ae9a, 0x1d64, 0x49b8, {0xa4, 0x4c, 0x5f, 0xf3, 0xd9, 0x09, 0x50, 0x45}};
static int failures;

static void check(const char *name, DWORD seen, DWORD wanted)
{
    if (seen == wanted) {
        printf("ok %s\n", name);
    } else {
        printf("FAILED %s: should be 0x%lx, seen 0x%lx\n", name, wanted, seen);
        failures++;
    }
    fflush(stdout);
}

static HANDLE open_engine(UINT32 flags, UINT32 wait_ms)
{
    FWPM_SESSION0 session = {.flags = flags, .txnWaitTimeoutInMSec = wait_ms, .displayData.name = L"manage"};
    HANDLE engine = NULL;
    DWORD error = FwpmEngineOpen0(NULL, RPC_C_AUTHN_WINNT, NULL, &session, &engine);
    if (error) {
        printf("FAILED open engine: 0x%lx\n", error);
        exit(100);
    }
    return engine;
}

static FWPM_FILTER0 filter_of(const GUID *key)
{
    FWPM_FILTER0 f = {.filterKey = *key, .displayData.name = L"a filter", .layerKey = out_transport, .action.type = FWP_ACTION_BLOCK};
    f.weight.type = FWP_UINT8;
    f.weight.uint8 = 15;
    return f;
}

static void add_all(HANDLE engine)
{
    FWPM_PROVIDER0 provider = {.providerKey = provider_key, .displayData = {L"a provider", L"of a test"}, .serviceName = L"service"};
    check("provider", FwpmProviderAdd0(engine, &provider, NULL), 0);
    FWPM_SUBLAYER0 sublayer = {.subLayerKey = sublayer_key, .displayData.name = L"a sublayer", .weight = 0x9000};
    sublayer.providerKey = (GUID *)&provider_key;
    check("sublayer", FwpmSubLayerAdd0(engine, &sublayer, NULL), 0);
    FWPM_CALLOUT0 callout = {.calloutKey = callout_key, .displayData.name = L"a callout", .applicableLayer = out_transport};
    UINT32 callout_id = 0;
    check("callout", FwpmCalloutAdd0(engine, &callout, NULL, &callout_id), 0);
    check("whose id is told", callout_id != 0, TRUE);
    UINT8 bytes[] = {1, 2, 3};
    FWP_BYTE_BLOB blob = {sizeof bytes, bytes};
    FWPM_PROVIDER_CONTEXT0 context = {.providerContextKey = context_key, .displayData.name = L"a context", .type = FWPM_GENERAL_CONTEXT};
    context.dataBuffer = &blob;
    UINT64 context_id = 0;
    check("provider context", FwpmProviderContextAdd0(engine, &context, NULL, &context_id), 0);
    FWPM_FILTER_CONDITION0 conditions[2] = {{.fieldKey = remote_address, .matchType = FWP_MATCH_EQUAL}};
    FWP_V4_ADDR_AND_MASK net = {0xcb007100, 0xffffff00}; /* 203.0.113.0/24 */
    conditions[0].conditionValue.type = FWP_V4_ADDR_MASK;
    conditions[0].conditionValue.v4AddrMask = &net;
    FWPM_FILTER0 f = filter_of(&filter_key), *read = NULL;
    UINT64 id = 0;
    f.subLayerKey = sublayer_key;
    f.providerKey = (GUID *)&provider_key;
    f.numFilterConditions = 1;
    f.filterCondition = conditions;
    check("filter", FwpmFilterAdd0(engine, &f, NULL, &id), 0);
    check("read by id", FwpmFilterGetById0(engine, id, &read), 0);
    check("key", read && !memcmp(&read->filterKey, &filter_key, sizeof filter_key), TRUE);
    check("provider of it", read && read->providerKey && !memcmp(read->providerKey, &provider_key, sizeof provider_key), TRUE);
    check("weight", read && read->effectiveWeight.type == FWP_UINT64 && *read->effectiveWeight.uint64 >> 60 == 15, TRUE);
    check("condition", read && read->numFilterConditions == 1 && read->filterCondition->conditionValue.v4AddrMask->addr == net.addr, TRUE);
    FwpmFreeMemory0((void **)&read);
    FWPM_PROVIDER_CONTEXT0 *context_read = NULL;
    check("read the context by id", FwpmProviderContextGetById0(engine, context_id, &context_read), 0);
    check("data", context_read && context_read->dataBuffer->size == 3 && context_read->dataBuffer->data[2] == 3, TRUE);
    FwpmFreeMemory0((void **)&context_read);
}

static void read_all(HANDLE engine)
{
    HANDLE handle = NULL;
    FWPM_LAYER0 **layers = NULL;
    FWPM_SESSION0 **sessions = NULL;
    FWPM_PROVIDER0 *provider = NULL;
    UINT32 count = 0;
    check("enumerate layers", FwpmLayerCreateEnumHandle0(engine, NULL, &handle), 0);
    check("all at once", FwpmLayerEnum0(engine, handle, 1000, &layers, &count), 0);
    check("there are many", count > 80 && layers[count - 1]->numFields && layers[0]->displayData.name, TRUE);
    FwpmFreeMemory0((void **)&layers);
    FwpmLayerDestroyEnumHandle0(engine, handle);
    FwpmSessionCreateEnumHandle0(engine, NULL, &handle);
    FwpmSessionEnum0(engine, handle, 100, &sessions, &count);
    BOOL own = FALSE;
    for (UINT32 i = 0; i < count; i++)
        own = own || (sessions[i]->processId == GetCurrentProcessId() && !sessions[i]->kernelMode);
    check("this process's session is among them", own, TRUE);
    FwpmFreeMemory0((void **)&sessions);
    FwpmSessionDestroyEnumHandle0(engine, handle);
    check("provider by key", FwpmProviderGetByKey0(engine, &provider_key, &provider), 0);
    check("its service", provider && !wcscmp(provider->serviceName, L"service"), TRUE);
    FwpmFreeMemory0((void **)&provider);
    FWP_BYTE_BLOB *app = NULL;
    wchar_t path[MAX_PATH];
    GetModuleFileNameW(NULL, path, MAX_PATH);
    check("the name of a program", FwpmGetAppIdFromFileName0(path, &app), 0);
    check("is a device path", app && app->size > 16 && !memcmp(app->data, L"\\device\\", 16), TRUE);
    FwpmFreeMemory0((void **)&app);
    PSECURITY_DESCRIPTOR descriptor = NULL;
    PSID owner = NULL;
    check("security information", FwpmFilterGetSecurityInfoByKey0(engine, &filter_key, OWNER_SECURITY_INFORMATION, &owner, NULL, NULL, NULL, &descriptor), 0);
    check("has an owner", owner && IsValidSid(owner), TRUE);
    FwpmFreeMemory0((void **)&descriptor);
}

static void errors(HANDLE engine)
{
    FWPM_FILTER0 f = filter_of(&filter_key);
    FWPM_FILTER0 *read = NULL;
    FWPM_SUBLAYER0 nameless = {.weight = 1};
    GUID nobody = {9, 9, 9, {9}};
    check("W067 W038 FWP_E_ALREADY_EXISTS", FwpmFilterAdd0(engine, &f, NULL, NULL), (DWORD)FWP_E_ALREADY_EXISTS);
    check("W067 W031 FWP_E_NULL_DISPLAY_NAME", FwpmSubLayerAdd0(engine, &nameless, NULL), (DWORD)FWP_E_NULL_DISPLAY_NAME);
    check("W067 W040 FWP_E_IN_USE", FwpmSubLayerDeleteByKey0(engine, &sublayer_key), (DWORD)FWP_E_IN_USE);
    check("W067 FWP_E_FILTER_NOT_FOUND", FwpmFilterGetByKey0(engine, &nobody, &read), (DWORD)FWP_E_FILTER_NOT_FOUND);
    check("W067 W060 FWP_E_NO_TXN_IN_PROGRESS", FwpmTransactionCommit0(engine), (DWORD)FWP_E_NO_TXN_IN_PROGRESS);
    check("NULL", FwpmFilterAdd0(engine, NULL, NULL, NULL), (DWORD)FWP_E_NULL_POINTER);
    check("a handle that is none", FwpmTransactionBegin0((HANDLE)0x1234, 0), ERROR_INVALID_HANDLE);
    HANDLE other = open_engine(0, 50);
    check("W059 begin", FwpmTransactionBegin0(engine, 0), 0);
    check("W067 W059 twice", FwpmTransactionBegin0(engine, 0), (DWORD)FWP_E_TXN_IN_PROGRESS);
    check("W067 W065 FWP_E_TIMEOUT", FwpmTransactionBegin0(other, 0), (DWORD)FWP_E_TIMEOUT);
    check("abort", FwpmTransactionAbort0(engine), 0);
    check("the next is let in", FwpmTransactionBegin0(other, 0), 0);
    FwpmEngineClose0(other);
    HANDLE handle = NULL;
    check("what is not there says so", FwpmNetEventCreateEnumHandle0(engine, NULL, &handle), ERROR_CALL_NOT_IMPLEMENTED);
}

static HANDLE changed;
static FWPM_FILTER_CHANGE0 last_change;

static void CALLBACK on_change(void *context, const FWPM_FILTER_CHANGE0 *change)
{
    if (context == &last_change)
        last_change = *change;
    SetEvent(changed);
}

static void changes(HANDLE engine)
{
    FWPM_FILTER_SUBSCRIPTION0 wanted = {.flags = FWPM_SUBSCRIPTION_FLAG_NOTIFY_ON_ADD | FWPM_SUBSCRIPTION_FLAG_NOTIFY_ON_DELETE}, **list = NULL;
    HANDLE subscription = NULL, other = open_engine(FWPM_SESSION_FLAG_DYNAMIC, 1000);
    UINT32 count = 0;
    UINT64 id = 0;
    changed = CreateEventA(NULL, FALSE, FALSE, NULL);
    check("subscribe", FwpmFilterSubscribeChanges0(engine, &wanted, on_change, &last_change, &subscription), 0);
    FWPM_FILTER0 f = filter_of(&held_key);
    check("somebody adds", FwpmFilterAdd0(other, &f, NULL, &id), 0);
    check("heard", WaitForSingleObject(changed, 20000), WAIT_OBJECT_0);
    check("what and which", last_change.changeType == FWPM_CHANGE_ADD && last_change.filterId == id && !memcmp(&last_change.filterKey, &held_key, sizeof held_key), TRUE);
    check("somebody's session ends", FwpmEngineClose0(other), 0);
    check("heard of that", WaitForSingleObject(changed, 20000), WAIT_OBJECT_0);
    check("what came of it", last_change.changeType, FWPM_CHANGE_DELETE);
    check("who listens", FwpmFilterSubscriptionsGet0(engine, &list, &count), 0);
    check("one", count, 1);
    FwpmFreeMemory0((void **)&list);
    check("unsubscribe", FwpmFilterUnsubscribeChanges0(engine, subscription), 0);
    CloseHandle(changed);
}

/* W056: a process that ends without closing anything takes its dynamic objects with it. */
static void other_process(HANDLE engine)
{
    char command[MAX_PATH + 16], said[8] = {0};
    STARTUPINFOA start = {.cb = sizeof start, .dwFlags = STARTF_USESTDHANDLES};
    PROCESS_INFORMATION child;
    SECURITY_ATTRIBUTES inherit = {sizeof inherit, NULL, TRUE};
    HANDLE reader, writer;
    DWORD got;
    FWPM_FILTER0 *read = NULL;
    CreatePipe(&reader, &writer, &inherit, 0);
    SetHandleInformation(reader, HANDLE_FLAG_INHERIT, 0);
    start.hStdOutput = start.hStdError = writer;
    GetModuleFileNameA(NULL, command + 1, MAX_PATH);
    command[0] = '"';
    strcat(command, "\" hold");
    if (!CreateProcessA(NULL, command, NULL, NULL, TRUE, 0, NULL, NULL, &start, &child)) {
        check("another process", GetLastError(), 0);
        return;
    }
    CloseHandle(writer);
    ReadFile(reader, said, 4, &got, NULL);
    check("it holds a filter", !memcmp(said, "held", 4), TRUE);
    check("which is there", FwpmFilterGetByKey0(engine, &held_key, &read), 0);
    FwpmFreeMemory0((void **)&read);
    HANDLE subscription;
    FWPM_FILTER_SUBSCRIPTION0 wanted = {.flags = FWPM_SUBSCRIPTION_FLAG_NOTIFY_ON_DELETE};
    changed = CreateEventA(NULL, FALSE, FALSE, NULL);
    FwpmFilterSubscribeChanges0(engine, &wanted, on_change, &last_change, &subscription);
    TerminateProcess(child.hProcess, 1);
    WaitForSingleObject(child.hProcess, INFINITE);
    check("W056 it is gone with the process", WaitForSingleObject(changed, 20000), WAIT_OBJECT_0);
    check("W056 so that it is not found", FwpmFilterGetByKey0(engine, &held_key, &read), (DWORD)FWP_E_FILTER_NOT_FOUND);
    FwpmFilterUnsubscribeChanges0(engine, subscription);
}

static int hold(void)
{
    HANDLE engine = open_engine(FWPM_SESSION_FLAG_DYNAMIC, 1000);
    FWPM_FILTER0 f = filter_of(&held_key);
    f.action.type = FWP_ACTION_PERMIT;
    if (FwpmFilterAdd0(engine, &f, NULL, NULL))
        return 1;
    printf("held");
    fflush(stdout);
    Sleep(INFINITE);
    return 0;
}

static int block(const char *address)
{
    HANDLE engine = open_engine(0, 0);
    FWPM_FILTER_CONDITION0 condition = {.fieldKey = remote_address, .matchType = FWP_MATCH_EQUAL};
    condition.conditionValue.type = FWP_UINT32;
    condition.conditionValue.uint32 = ntohl(inet_addr(address));
    FWPM_FILTER0 f = filter_of(&filter_key);
    f.numFilterConditions = 1;
    f.filterCondition = &condition;
    check("add", FwpmFilterAdd0(engine, &f, NULL, NULL), 0);
    FwpmEngineClose0(engine);
    return failures;
}

/* What the driver registers under this key is asked, as with every vendor whose service does the management. */
static int ask_callout(const char *address)
{
    HANDLE engine = open_engine(0, 0);
    FWPM_CALLOUT0 callout = {.calloutKey = callout_key, .displayData.name = L"a callout", .applicableLayer = auth_connect};
    check("callout", FwpmCalloutAdd0(engine, &callout, NULL, NULL), 0);
    /* A callout that is to live beside IPsec is asked in a sublayer lighter than the default one (W237). */
    FWPM_SUBLAYER0 sublayer = {.subLayerKey = sublayer_key, .displayData.name = L"a light sublayer", .weight = 0x1000};
    check("sublayer", FwpmSubLayerAdd0(engine, &sublayer, NULL), 0);
    FWPM_FILTER_CONDITION0 condition = {.fieldKey = remote_address, .matchType = FWP_MATCH_EQUAL};
    condition.conditionValue.type = FWP_UINT32;
    condition.conditionValue.uint32 = ntohl(inet_addr(address));
    FWPM_FILTER0 f = filter_of(&filter_key);
    f.layerKey = auth_connect;
    f.subLayerKey = sublayer_key;
    f.action.type = FWP_ACTION_CALLOUT_TERMINATING;
    f.action.calloutKey = callout_key;
    f.numFilterConditions = 1;
    f.filterCondition = &condition;
    check("add", FwpmFilterAdd0(engine, &f, NULL, NULL), 0);
    FwpmEngineClose0(engine);
    return failures;
}

static int allow(void)
{
    HANDLE engine = open_engine(0, 0);
    check("delete", FwpmFilterDeleteByKey0(engine, &filter_key), 0);
    DWORD gone = FwpmCalloutDeleteByKey0(engine, &callout_key);
    check("callout", gone == (DWORD)FWP_E_CALLOUT_NOT_FOUND ? 0 : gone, 0);
    gone = FwpmSubLayerDeleteByKey0(engine, &sublayer_key);
    check("sublayer", gone == (DWORD)FWP_E_SUBLAYER_NOT_FOUND ? 0 : gone, 0);
    FwpmEngineClose0(engine);
    return failures;
}

int main(int count, char **arguments)
{
    if (count == 2 && !strcmp(arguments[1], "hold"))
        return hold();
    if (count == 2 && !strcmp(arguments[1], "allow"))
        return allow();
    if (count == 3 && !strcmp(arguments[1], "callout"))
        return ask_callout(arguments[2]);
    if (count == 3 && !strcmp(arguments[1], "block"))
        return block(arguments[2]);
    HANDLE engine = open_engine(FWPM_SESSION_FLAG_DYNAMIC, 0);
    add_all(engine);
    read_all(engine);
    errors(engine);
    changes(engine);
    other_process(engine);
    check("close", FwpmEngineClose0(engine), 0);
    engine = open_engine(0, 0);
    FWPM_FILTER0 *read = NULL;
    check("W056 all is gone with the session", FwpmFilterGetByKey0(engine, &filter_key, &read), (DWORD)FWP_E_FILTER_NOT_FOUND);
    FwpmEngineClose0(engine);
    printf("%d failures\n", failures);
    return failures;
}

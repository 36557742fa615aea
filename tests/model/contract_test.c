/*
 * What is reported of a driver that breaks its contract, and in which form: rule, call, count, sentence. The program itself
 * stands for the driver. What needs a real one is in tests/bad_drivers.
 *
 * SPDX-License-Identifier: MIT
 */
#include "rig.h"

enum { SENT = LAYER_OUTBOUND_TRANSPORT_V4, ONE = 70 };

static char told[1024];
static unsigned lines;

static void listen_in(const char *line)
{
    strncpy(told, line, sizeof told - 1);
    lines++;
}

static void *own_image(void)
{
    return (void *)GetModuleHandleA(NULL);
}

static void driver_comes(void)
{
    const uint8_t *base = own_image();
    const IMAGE_NT_HEADERS *headers = (const IMAGE_NT_HEADERS *)(base + ((const IMAGE_DOS_HEADER *)base)->e_lfanew);
    contract_image_loaded(base, headers->OptionalHeader.SizeOfImage, "test \"driver\".sys");
    told[0] = 0;
    lines = 0;
}

static BOOL says(const char *rule, const char *words)
{
    char member[32];
    _snprintf(member, sizeof member, "{\"rule\":\"%s\",", rule);
    return strstr(told, member) && strstr(told, words);
}

static void answer_of(struct behaviour *b, struct call *call)
{
    call->out->actionType = b->action;
    if (b->clear_right)
        call->out->rights &= ~(UINT32)RIGHT_ACTION_WRITE;
}

/* One datagram past a heavier filter and a callout that answers as said; how many reports there were. */
static unsigned reports(UINT32 first, UINT32 kind, UINT32 flags, UINT32 action, BOOL clears)
{
    UINT32 id;
    begin();
    add_callout(ONE, SENT, &id);
    register_callout(ONE, 0);
    behave[0].instead = answer_of;
    behave[0].action = action;
    behave[0].clear_right = clears;
    if (first)
        add_filter(SENT, 100, first, 0, 1, first == ACTION_PERMIT ? 8 : 0, NULL);
    add_filter(SENT, 200, kind, ONE, 1, flags, NULL);
    driver_comes();
    datagram_passes();
    unsigned count = lines;
    end();
    FwpsCalloutUnregisterById0(id);
    contract_image_gone(own_image());
    return count;
}

static void test_answers(void)
{
    enum { TERMINATING = ACTION_CALLOUT_TERMINATING, UNKNOWN = ACTION_CALLOUT_UNKNOWN, CLEAR = 8 };
    EXPECT("W103 BLOCK with the right left is told", reports(0, TERMINATING, 0, ACTION_BLOCK, FALSE), 1);
    EXPECT("W103 by its rule", says("W103", "\"call\":\"classifyFn\""), TRUE);
    EXPECT("W103 BLOCK with the right cleared is right", reports(0, TERMINATING, 0, ACTION_BLOCK, TRUE), 0);
    EXPECT("W103 PERMIT for a filter that clears the right is told", reports(0, TERMINATING, CLEAR, ACTION_PERMIT, FALSE), 1);
    EXPECT("W103 unless the callout clears it", reports(0, TERMINATING, CLEAR, ACTION_PERMIT, TRUE), 0);
    EXPECT("W105 a terminating callout that continues is told", reports(0, TERMINATING, 0, ACTION_CONTINUE, FALSE), 1);
    EXPECT("W106 of an unknown one it is right", reports(0, UNKNOWN, 0, ACTION_CONTINUE, FALSE), 0);
    EXPECT("W101 PERMIT over a hard block is told", reports(ACTION_BLOCK, TERMINATING, 0, ACTION_PERMIT, FALSE), 1);
    EXPECT("W101 by its rule", says("W101", "without FWPS_RIGHT_ACTION_WRITE"), TRUE);
    EXPECT("W101 a veto is right", reports(ACTION_PERMIT, TERMINATING, 0, ACTION_BLOCK, FALSE), 0);
    EXPECT("W104 what an inspection answers is nobody's business", reports(0, ACTION_CALLOUT_INSPECTION, 0, ACTION_BLOCK, FALSE), 0);
}

static void test_form(void)
{
    driver_comes();
    for (int i = 0; i < 120; i++)
        contract_broken("W001", "AnyCall", "a \"quoted\" word and a back\\slash %d", i);
    EXPECT("a breach is told at its 1st, 10th and 100th time", lines, 3);
    EXPECT("with its count", says("W001", "\"count\":100,"), TRUE);
    EXPECT("nothing in it has to be escaped", says("W001", "a ?quoted? word and a back?slash 99"), TRUE);
    EXPECT("where in the driver is in it", says("W001", "\"stack\":[\"test ?driver?.sys+0x"), TRUE);
    contract_image_gone(own_image());
    driver_comes();
    contract_broken("W001", "AnyCall", "again");
    EXPECT("after the driver was loaded again it is told again", lines, 1);
    contract_image_gone(own_image());
    contract_broken("W001", "AnyCall", "nobody");
    EXPECT("without a driver on the stack there are no frames", says("W001", "\"stack\":[]"), TRUE);
}

static void test_leaks(void)
{
    HANDLE injection, redirect;
    driver_comes();
    FwpsInjectionHandleCreate0(AF_INET, 4, &injection);
    EXPECT("a handle in use is no leak", lines, 0);
    contract_image_gone(own_image());
    EXPECT("W016 an injection handle left at unload is told", lines == 1 && says("W016", "left 1 injection handle"), TRUE);
    driver_comes();
    FwpsInjectionHandleDestroy0(injection);
    FwpsInjectionHandleCreate0(AF_INET, 4, &injection);
    FwpsInjectionHandleDestroy0(injection);
    FwpsRedirectHandleCreate0(NULL, 0, &redirect);
    FwpsRedirectHandleDestroy0(redirect);
    contract_image_gone(own_image());
    EXPECT("W016 W119 handles given back are not", lines, 0);
    driver_comes();
    for (int i = 0; i < 12; i++)
        FwpsRedirectHandleCreate0(NULL, 0, &redirect);
    EXPECT("W119 a redirect handle for each connection is told", lines == 1 && says("W119", "9 redirect handles"), TRUE);
    lines = 0;
    contract_image_gone(own_image());
    EXPECT("W119 and all that are left, once for their place", lines == 1 && says("W119", "left 12 redirect handle"), TRUE);
}

void test_contract(void)
{
    contract_sink = listen_in;
    test_form();
    test_answers();
    test_leaks();
    contract_sink = NULL;
}

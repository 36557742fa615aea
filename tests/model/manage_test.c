/* Requests of user mode as bytes that nobody vouches for: cut short, with offsets that point elsewhere, with lies about
 * sizes. What must not happen is a fault; what comes of them is an error. SPDX-License-Identifier: MIT */
#include "management.h"
#include "manage.h"

enum { ROOM = 4096 };
static uint8_t request[ROOM], reply[ROOM];

static size_t put(uint32_t operation, uint32_t kind, const struct shape *shape, const void *body)
{
    struct manage_request head = {.operation = operation, .kind = kind};
    memcpy(request, &head, sizeof head);
    return sizeof head + (shape ? shape_pack(shape, body, request + sizeof head, ROOM - sizeof head) : 0);
}

static unsigned status_of(size_t size)
{
    struct manage_answer answer;
    memcpy(&answer, reply, sizeof answer);
    return size >= sizeof answer ? STATUS_OF(answer.status) : 0xffffffff;
}

/* A filter with everything that is behind a pointer. */
static size_t put_filter(void)
{
    static UINT8 path[] = {'a', 0, 0, 0};
    static FWP_BYTE_BLOB blob = {sizeof path, path};
    static FWP_RANGE0 range = {.valueLow = {.type = FWP_UINT16}, .valueHigh = {.type = FWP_UINT16}};
    static FWPM_FILTER_CONDITION0 conditions[2];
    conditions[0] = (FWPM_FILTER_CONDITION0){.fieldKey = condition_keys[COND_ALE_APP_ID], .conditionValue.type = FWP_BYTE_BLOB_TYPE};
    conditions[0].conditionValue.byteBlob = &blob;
    conditions[1] = (FWPM_FILTER_CONDITION0){.fieldKey = condition_keys[COND_IP_REMOTE_PORT], .matchType = FWP_MATCH_RANGE};
    conditions[1].conditionValue.type = FWP_RANGE_TYPE;
    conditions[1].conditionValue.rangeValue = &range;
    FWPM_FILTER0 f = filter_of(ACTION_PERMIT);
    f.layerKey = layer_by_id(LAYER_ALE_AUTH_CONNECT_V4)->key;
    f.displayData.description = L"described";
    f.providerData = blob;
    f.numFilterConditions = 2;
    f.filterCondition = conditions;
    return put(MANAGE_ADD, KIND_FILTER, &shape_filter, &f);
}

static void test_hostile_bytes(struct client *client)
{
    size_t size = put_filter();
    unsigned done = 0;
    EXPECT("a filter as bytes", status_of(manage(client, request, size, reply, ROOM)), 0);
    for (size_t cut = 0; cut < size; cut++, done++) {
        put_filter();
        uint8_t *exact = mem_alloc(cut ? cut : 1); /* a read past its end is a read past the block's */
        memcpy(exact, request, cut);
        size_t answered = manage(client, exact, cut, reply, ROOM);
        if (answered && status_of(answered) == 0)
            EXPECT("a filter that is cut short is refused", cut, size);
        mem_free(exact);
    }
    EXPECT("every length was tried", done, size);
    UINT32 seed = 1;
    for (unsigned i = 0; i < 20000; i++) { /* one to four words changed, most of them offsets, counts and types */
        put_filter();
        for (unsigned j = 0; j <= i % 4; j++) {
            seed = seed * 1664525 + 1013904223;
            size_t at = sizeof(struct manage_request) + (seed >> 8) % ((size - sizeof(struct manage_request)) / 4) * 4;
            UINT32 value = i % 3 == 0 ? seed : i % 3 == 1 ? (seed >> 16) % 600 : 0xffffff00 | (seed >> 24);
            memcpy(request + at, &value, sizeof value);
        }
        manage(client, request, size, reply, ROOM);
    }
    EXPECT("the engine has outlived all of them", status_of(manage(client, request, put(MANAGE_BEGIN, 0, NULL, NULL), reply, ROOM)), 0);
    EXPECT("W063 and its transaction", status_of(manage(client, request, put(MANAGE_ABORT, 0, NULL, NULL), reply, ROOM)), 0);
}

static void test_strange_requests(struct client *client)
{
    EXPECT("no request", manage(client, request, 3, reply, ROOM), 0);
    EXPECT("no room for an answer", manage(client, request, put(MANAGE_BEGIN, 0, NULL, NULL), reply, 8), 0);
    EXPECT("no operation", status_of(manage(client, request, put(999, 0, NULL, NULL), reply, ROOM)) != 0, 1);
    for (uint32_t operation = MANAGE_ADD; operation <= MANAGE_SET_SECURITY; operation++)
        if (operation != MANAGE_NEXT_CHANGE)
            EXPECT("no kind", status_of(manage(client, request, put(operation, 77, NULL, NULL), reply, ROOM)) != 0, 1);
    struct manage_request head = {.operation = MANAGE_ENUM_NEXT, .kind = KIND_FILTER, .count = 5, .id = 0x4141414141414141};
    memcpy(request, &head, sizeof head);
    EXPECT("an enumeration that there is not", status_of(manage(client, request, sizeof head, reply, ROOM)), STATUS_OF(STATUS_INVALID_HANDLE));
    EXPECT("a second session on one handle", status_of(manage(client, request, put(MANAGE_OPEN, 0, NULL, NULL), reply, ROOM)) != 0, 1);
}

/* An answer without room is asked for again. */
static void test_large_answers(struct client *client)
{
    struct manage_answer answer;
    manage(client, request, put(MANAGE_ENUM_CREATE, KIND_LAYER, NULL, NULL), reply, ROOM);
    memcpy(&answer, reply, sizeof answer);
    struct manage_request head = {.operation = MANAGE_ENUM_NEXT, .kind = KIND_LAYER, .count = 1000, .id = answer.id};
    memcpy(request, &head, sizeof head);
    EXPECT("an answer without room: its head alone", manage(client, request, sizeof head, reply, ROOM), sizeof answer);
    memcpy(&answer, reply, sizeof answer);
    uint8_t *large = mem_alloc(sizeof answer + answer.size);
    size_t size = manage(client, request, put(MANAGE_REST, 0, NULL, NULL), large, sizeof answer + answer.size);
    EXPECT("asked for again: all of it", size, sizeof answer + answer.size);
    void **layers = shape_unpack_array(&shape_layer, answer.count, large + sizeof answer, size - sizeof answer);
    EXPECT("which is the layers", layers && answer.count == layer_fact_count && ((FWPM_LAYER0 *)layers[0])->numFields, 1);
    mem_free(layers);
    mem_free(large);
}

void test_requests(void)
{
    FWPM_SESSION0 dynamic = {.flags = SESSION_IS_DYNAMIC};
    struct client client = {.process = 44};
    manage_join(&client);
    EXPECT("nothing without a session", status_of(manage(&client, request, put(MANAGE_BEGIN, 0, NULL, NULL), reply, ROOM)), STATUS_OF(STATUS_INVALID_HANDLE));
    size_t size = put(MANAGE_OPEN, 0, &shape_session, &dynamic);
    ((struct manage_request *)request)->flags = MANAGE_FLAG;
    EXPECT("a session of user mode", status_of(manage(&client, request, size, reply, ROOM)), 0);
    test_hostile_bytes(&client);
    test_strange_requests(&client);
    test_large_answers(&client);
    manage_end(&client);
}

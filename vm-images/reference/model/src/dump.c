/*
 * The dump that a bugcheck leaves on the disk: a kernel dump of the type DUMP_TYPE_HEADER, which is a header with code,
 * parameters, context and exception and no memory, and behind it what drivers gave for it (KeRegisterBugCheckReasonCallback
 * with KbCallbackSecondaryDumpData), each under its GUID, as Windows has it at the end of a dump.
 *
 * Facts: DUMP_TYPE and KBUGCHECK_SECONDARY_DUMP_DATA, learn.microsoft.com/windows-hardware/drivers/ddi/wdm; the header's
 * layout is that of the kit's DUMP_HEADER64.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "bugcheck.h"
#include "linux.h"

enum { DUMP_TYPE_HEADER = 3, MACHINE_AMD64 = 0x8664, HIGH_LEVEL_ = 15, SECONDARY_DATA = 2, DRIVERS_DATA_MAX = 0x10000, RECORDS = 32 };

struct header {
    char signature[8];
    UINT32 major, minor;
    UINT64 directory_table, pfn_database, modules, processes;
    UINT32 machine, processors, code, pad;
    UINT64 parameters[4];
    char version_user[32];
    UINT64 debugger_block;
    uint8_t memory_block[704], context[3000], exception[152];
    UINT32 type, pad2;
    UINT64 required_space, system_time;
    char comment[128];
    UINT64 up_time;
    uint8_t rest[0x2000 - 0x1038];
};
_Static_assert(offsetof(struct header, parameters) == 0x40 && offsetof(struct header, debugger_block) == 0x80 && offsetof(struct header, context) == 0x348 &&
               offsetof(struct header, exception) == 0xf00 && offsetof(struct header, type) == 0xf98 && offsetof(struct header, system_time) == 0xfa8 &&
               offsetof(struct header, up_time) == 0x1030 && sizeof(struct header) == 0x2000, "DUMP_HEADER64");
_Static_assert(sizeof(CONTEXT) <= 3000 && sizeof(EXCEPTION_RECORD) == 152, "as the header has room for");

struct blobs { /* DUMP_BLOB_FILE_HEADER */
    char signature[8];
    UINT32 header_size, build;
};
struct blob { /* DUMP_BLOB_HEADER */
    UINT32 header_size;
    GUID tag;
    UINT32 size, pad_before, pad_behind;
};
_Static_assert(sizeof(struct blobs) == 16 && sizeof(struct blob) == 36 - 4, "without padding");

struct secondary { /* KBUGCHECK_SECONDARY_DUMP_DATA */
    void *in;
    UINT32 in_length, most;
    GUID tag;
    void *out;
    UINT32 out_length;
};

struct reason_record { /* KBUGCHECK_REASON_CALLBACK_RECORD */
    LIST_ENTRY entry;
    void(NTAPI *function)(int reason, struct reason_record *record, void *data, UINT32 length);
    UINT8 *component;
    ULONG_PTR checksum;
    int reason;
    UINT8 state; /* 0: not registered, 1: it is */
};

static struct reason_record *volatile registered[RECORDS];

BOOLEAN NTAPI dump_register(void *memory, void *function, int reason, UINT8 *component)
{
    struct reason_record *record = memory;
    if (record->state)
        return FALSE;
    record->function = (void(NTAPI *)(int, struct reason_record *, void *, UINT32))(uintptr_t)function;
    record->component = component;
    record->reason = reason;
    for (unsigned i = 0; i < RECORDS; i++)
        if (!InterlockedCompareExchangePointer((void *volatile *)&registered[i], record, NULL)) {
            record->state = 1;
            return TRUE;
        }
    return FALSE;
}

BOOLEAN NTAPI dump_deregister(void *record)
{
    for (unsigned i = 0; i < RECORDS; i++)
        if (InterlockedCompareExchangePointer((void *volatile *)&registered[i], NULL, record) == record) {
            ((struct reason_record *)record)->state = 0;
            return TRUE;
        }
    return FALSE;
}

void dumps_forget(const void *image, size_t size)
{
    for (unsigned i = 0; i < RECORDS; i++) {
        const uint8_t *record = (const uint8_t *)registered[i];
        if (record >= (const uint8_t *)image && record < (const uint8_t *)image + size)
            registered[i] = NULL;
    }
}

static void fill_header(struct header *header, const struct bugcheck *what, const EXCEPTION_RECORD *exception, const CONTEXT *context)
{
    static const char filler[] = "PAGE";
    OSVERSIONINFOW version = {.dwOSVersionInfoSize = sizeof version};
    FILETIME now;
    for (size_t i = 0; i < sizeof *header; i++) /* what has no value says so */
        ((char *)header)[i] = filler[i % 4];
    LONG NTAPI RtlGetVersion(OSVERSIONINFOW *);
    RtlGetVersion(&version);
    GetSystemTimeAsFileTime(&now);
    memcpy(header->signature, "PAGEDU64", sizeof header->signature);
    header->major = 15; /* a free build */
    header->minor = version.dwBuildNumber;
    header->machine = MACHINE_AMD64;
    header->processors = 1;
    header->code = what->code;
    memcpy(header->parameters, what->parameters, sizeof header->parameters);
    memset(header->version_user, 0, sizeof header->version_user);
    memcpy(header->context, context, sizeof *context);
    memset(header->exception, 0, sizeof header->exception);
    if (exception)
        memcpy(header->exception, exception, sizeof *exception);
    header->type = DUMP_TYPE_HEADER;
    header->required_space = sizeof *header;
    header->system_time = (UINT64)now.dwHighDateTime << 32 | now.dwLowDateTime;
    header->up_time = what->time_100ns;
    memset(header->comment, 0, sizeof header->comment);
    strcpy(header->comment, "wfp-hil reference guest: no memory, no Windows");
}

static void write_data(int64_t file)
{
    static uint8_t room[0x1000];
    struct blobs blobs = {"DumpBlob", sizeof blobs, 0};
    static const uint8_t zero[8];
    linux_write(file, &blobs, sizeof blobs);
    for (unsigned i = 0; i < RECORDS; i++) {
        struct reason_record *record = registered[i];
        struct secondary data = {room, sizeof room, DRIVERS_DATA_MAX, {0}, NULL, 0};
        if (!record || record->reason != SECONDARY_DATA)
            continue;
        record->function(SECONDARY_DATA, record, &data, sizeof data);
        if (!data.out || !data.out_length || data.out_length > DRIVERS_DATA_MAX)
            continue;
        struct blob blob = {sizeof blob, data.tag, data.out_length, 0, -data.out_length & 7};
        linux_write(file, &blob, sizeof blob);
        linux_write(file, data.out, data.out_length);
        linux_write(file, zero, blob.pad_behind);
    }
}

void dump_write(const struct bugcheck *what, const EXCEPTION_RECORD *exception, const CONTEXT *context)
{
    static struct header header; /* by the one thread that gets here */
    static char path[260] = "/C:/wfp-hil/MEMORY.DMP";
    char elsewhere[sizeof path];
    if (GetEnvironmentVariableA("WFP_MODEL_DUMP", elsewhere, sizeof elsewhere)) /* for tests on a host */
        memcpy(path, elsewhere, sizeof path);
    int64_t file = linux_create(path);
    if (file < 0) {
        model_log("no dump is written, '%s' cannot be made: errno %d", path, (int)-file);
        return;
    }
    fill_header(&header, what, exception, context);
    linux_write(file, &header, sizeof header);
    irql_set(HIGH_LEVEL_);
    write_data(file);
    linux_close(file);
}

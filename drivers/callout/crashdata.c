/*
 * The last events go into the dump of a crash, where nobody can read the ring any more: as secondary dump data under
 * WFPCALLOUT_CRASH_DATA, in the form of IOCTL_WFPCALLOUT_READ_EVENTS.
 *
 * SPDX-License-Identifier: MIT
 */
#include "callout.h"

#define KEPT 100

static const GUID tag = WFPCALLOUT_CRASH_DATA;
static KBUGCHECK_REASON_CALLBACK_RECORD record;
static struct {
    WFPCALLOUT_EVENTS head;
    WFPCALLOUT_EVENT events[KEPT];
} data; /* nothing can be allocated any more when it is wanted */

static KBUGCHECK_REASON_CALLBACK_ROUTINE give_data;

/* At HIGH_LEVEL, while every other processor stands still: no lock is taken and no page is touched that may be paged out. */
static void NTAPI give_data(KBUGCHECK_CALLBACK_REASON reason, struct _KBUGCHECK_REASON_CALLBACK_RECORD *given, void *out, ULONG length)
{
    KBUGCHECK_SECONDARY_DUMP_DATA *dump = out;
    ULONG room;

    UNREFERENCED_PARAMETER(given);
    if (reason != KbCallbackSecondaryDumpData || length < sizeof *dump || dump->MaximumAllowed < sizeof data.head)
        return;
    room = (ULONG)((dump->MaximumAllowed - sizeof data.head) / sizeof data.events[0]);
    events_last(&data.head, room < KEPT ? room : KEPT);
    dump->Guid = tag;
    dump->OutBuffer = &data;
    dump->OutBufferLength = (ULONG)(sizeof data.head + data.head.count * sizeof data.events[0]);
}

void crash_data_start(void)
{
    KBUGCHECK_REASON_CALLBACK_RECORD *const own = &record; /* the macro of some kits takes a name alone */
    KeInitializeCallbackRecord(own);
    KeRegisterBugCheckReasonCallback(&record, give_data, KbCallbackSecondaryDumpData, (UCHAR *)"wfpcallout");
}

void crash_data_stop(void)
{
    KeDeregisterBugCheckReasonCallback(&record);
}

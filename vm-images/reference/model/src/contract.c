/*
 * Says on the serial port that a driver broke a rule: one line of JSON behind a fixed word, so that a host can read it.
 * From one place a breach is told at its first, tenth, hundredth... time. Also keeps which modules are drivers.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "far.h"
#include "linux.h"
#include "model.h"

enum { DRIVERS = 16, SITES = 128, DEPTH = 32, LINE = 1024, TEXT = 320 };

static struct driver {
    const uint8_t *volatile base; /* NULL: free; set last, cleared first */
    size_t size;
    char name[40];
} drivers[DRIVERS];
static struct site {
    const char *rule, *call, *sentence;
    const void *at, *image;
    ULONG count;
} sites[SITES];
static SRWLOCK contract_lock = SRWLOCK_INIT; /* sites, and writing drivers; no other lock is taken while it is held */

void (*contract_sink)(const char *line);

static const struct driver *driver_at(const uint8_t *address)
{
    for (unsigned i = 0; i < DRIVERS; i++) {
        const uint8_t *base = drivers[i].base;
        if (base && address >= base && (size_t)(address - base) < drivers[i].size)
            return &drivers[i];
    }
    return NULL;
}

void contract_image_loaded(const void *image, size_t size, const char *name)
{
    AcquireSRWLockExclusive(&contract_lock);
    for (unsigned i = 0; i < DRIVERS; i++)
        if (!drivers[i].base) {
            unsigned k = 0;
            for (; name[k] && k < sizeof drivers[i].name - 1; k++)
                drivers[i].name[k] = name[k] >= ' ' && name[k] < 127 && name[k] != '"' && name[k] != '\\' ? name[k] : '?';
            drivers[i].name[k] = 0;
            drivers[i].size = size;
            InterlockedExchangePointer((void *volatile *)&drivers[i].base, (void *)(uintptr_t)image);
            break;
        }
    ReleaseSRWLockExclusive(&contract_lock);
}

void contract_image_gone(const void *image)
{
    const struct driver *driver = driver_at(image);
    char line[80];
    if (!driver)
        return;
    callouts_left_by(image, driver->size);
    held_sweep(image);
    int length = _snprintf(line, sizeof line, "wfp-hil: unloaded: %s\n", driver->name);
    AcquireSRWLockExclusive(&contract_lock);
    for (unsigned i = 0; i < DRIVERS; i++)
        if (drivers[i].base == image)
            InterlockedExchangePointer((void *volatile *)&drivers[i].base, NULL);
    for (unsigned i = 0; i < SITES; i++) /* loaded again it begins anew */
        if (sites[i].image == image)
            memset(&sites[i], 0, sizeof sites[i]);
    ReleaseSRWLockExclusive(&contract_lock);
    if (!contract_sink) /* a host that has read this has read all reports of this driver */
        linux_console_wait(line, (size_t)length);
}

/* The frames of the innermost driver on the stack, without those of the model in front of them. */
__attribute__((noinline)) void origin_capture(struct origin *origin, unsigned most)
{
    CONTEXT context;
    const struct driver *driver = NULL;
    origin->image = NULL;
    origin->count = 0;
    RtlCaptureContext(&context);
    for (int depth = 0; depth < DEPTH && context.Rip && origin->count < most; depth++) {
        const struct driver *here = driver_at((const uint8_t *)(uintptr_t)context.Rip);
        if (driver && here != driver)
            break;
        if (here) {
            driver = here;
            origin->image = here->base;
            origin->frame[origin->count++] = (const uint8_t *)(uintptr_t)context.Rip;
        }
        UINT64 image, frame;
        void *handler;
        RUNTIME_FUNCTION *function = RtlLookupFunctionEntry(context.Rip, &image, NULL);
        if (function) {
            RtlVirtualUnwind(UNW_FLAG_NHANDLER, image, context.Rip, function, &context, &handler, &frame, NULL);
        } else { /* a leaf */
            context.Rip = *(UINT64 *)context.Rsp;
            context.Rsp += 8;
        }
    }
}

struct origin origin_of_function(const void *function)
{
    const struct driver *driver = driver_at(function);
    struct origin origin = {driver ? driver->base : NULL, driver ? 1 : 0, {(const uint8_t *)function + 1}};
    return origin;
}

/* How often this place has broken this rule in this way, this time included. */
static ULONG count_site(const char *rule, const char *call, const char *sentence, const struct origin *where)
{
    const void *at = where->count ? where->frame[0] : NULL;
    ULONG count = 0;
    AcquireSRWLockExclusive(&contract_lock);
    for (unsigned i = 0; i < SITES && !count; i++) {
        struct site *s = &sites[i];
        if (!s->rule)
            *s = (struct site){rule, call, sentence, at, where->image, 0};
        if (s->at == at && s->sentence == sentence && !strcmp(s->rule, rule) && !strcmp(s->call, call))
            count = ++s->count;
    }
    ReleaseSRWLockExclusive(&contract_lock);
    return count;
}

static BOOL is_power_of_ten(ULONG count)
{
    while (count >= 10 && count % 10 == 0)
        count /= 10;
    return count == 1;
}

static int put_stack(char *out, int room, const struct origin *where)
{
    int at = 0;
    for (unsigned i = 0; i < where->count; i++) {
        const struct driver *driver = driver_at(where->frame[i]);
        if (driver && at < room - 64)
            at += _snprintf(out + at, (size_t)(room - at), "%s\"%s+0x%llx\"", at ? "," : "", driver->name,
                            (unsigned long long)(where->frame[i] - driver->base));
    }
    out[at] = 0;
    return at;
}

static void report(const char *rule, const char *call, const char *sentence, const struct origin *where, const char *text)
{
    char line[LINE], words[TEXT], stack[FRAMES_KEPT * 64 + 64];
    COUNT(lint);
    ULONG count = count_site(rule, call, sentence, where); /* 0: too many places to tell all */
    if (!is_power_of_ten(count))
        return;
    unsigned i = 0;
    for (; text[i] && i < sizeof words - 1; i++) /* nothing in it needs to be escaped */
        words[i] = text[i] >= ' ' && text[i] < 127 && text[i] != '"' && text[i] != '\\' ? text[i] : '?';
    words[i] = 0;
    put_stack(stack, sizeof stack, where);
    int length = _snprintf(line, sizeof line - 1, "wfp-hil: contract: {\"rule\":\"%s\",\"call\":\"%s\",\"count\":%lu,\"text\":\"%s\",\"stack\":[%s]}\n",
                           rule, call, count, words, stack);
    if (length < 0 || length >= (int)sizeof line)
        return;
    if (contract_sink)
        contract_sink(line);
    else
        linux_console_wait(line, (size_t)length);
}

#define WORDS(format)                                      \
    char text[TEXT];                                       \
    va_list arguments;                                     \
    va_start(arguments, format);                           \
    _vsnprintf(text, sizeof text - 1, format, arguments);  \
    text[sizeof text - 1] = 0;                             \
    va_end(arguments)

void contract_broken(const char *rule, const char *call, const char *format, ...)
{
    struct origin where;
    WORDS(format);
    origin_capture(&where, FRAMES_KEPT);
    report(rule, call, format, &where, text);
}

void contract_broken_at(const char *rule, const char *call, const struct origin *where, const char *format, ...)
{
    WORDS(format);
    report(rule, call, format, where, text);
}

static void broken_text(const char *rule, const char *call, const char *text)
{
    contract_broken(rule, call, "%s", text);
}

void (*contract_stop)(UINT32 code, const UINT64 parameters[4]);

void contract_fatal(UINT32 code, UINT64 a, UINT64 b, UINT64 c, UINT64 d)
{
    const UINT64 parameters[4] = {a, b, c, d};
    if (contract_stop)
        contract_stop(code, parameters);
}

const struct contract_far *NTAPI ModelContract(void)
{
    static const struct contract_far calls = {broken_text, held_add, held_drop, contract_fatal, contract_in_classify};
    return &calls;
}

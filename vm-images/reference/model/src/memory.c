/* Memory, messages and counters. SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <stdio.h>

#include "model.h"
#include "linux.h"

struct model_stats stats;
void (*model_free_pool)(void *block);
BOOL pool_watched;

#ifndef MODEL_CHECKED /* guard.c's, then */
void *mem_alloc(size_t size)
{
    void *block = HeapAlloc(GetProcessHeap(), HEAP_ZERO_MEMORY, size);
    if (!block) {
        model_log("bugcheck: the model is out of memory (%u bytes wanted)", (unsigned)size);
        ExitProcess(1);
    }
    return block;
}

void mem_free(void *block)
{
    if (block)
        HeapFree(GetProcessHeap(), 0, block);
}
#endif

static void say(const char *label, const char *format, va_list arguments)
{
    char line[512];
    int head = _snprintf(line, sizeof line - 2, "wfp-hil: %s", label);
    int body = _vsnprintf(line + head, sizeof line - 2 - head, format, arguments);
    size_t length = body < 0 ? sizeof line - 2 : (size_t)(head + body);
    line[length++] = '\n';
    linux_console(line, length);
}

void model_log(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say("model: ", format, arguments);
    va_end(arguments);
}

void model_unimplemented(const char *function)
{
    model_log("UNIMPLEMENTED: a driver called %s, which the reference guest does not model", function);
}

#ifdef MODEL_CHECKED
void model_broken(const char *condition, const char *file, int line)
{
    printf("BROKEN %s:%d: %s\n", file, line, condition);
    fflush(stdout);
    ExitProcess(3);
}
#endif

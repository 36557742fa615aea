/* Bytes of a stream, in NET_BUFFER_LISTs as callouts see them. SPDX-License-Identifier: MIT */
#include <string.h>

#include "stream.h"

/* Larger ones lie in two MDLs, so that a driver which looks at the first alone is seen to. */
enum { ONE_MDL = 512 };

static struct chunk *chunk_new(const uint8_t *bytes, size_t size)
{
    struct chunk *chunk = mem_alloc(sizeof *chunk);
    size_t first = size > ONE_MDL ? size / 2 : size, at = (size + 15) & ~(size_t)15;
    uint8_t *buffer = mem_alloc(at + sizeof(MDL));
    memcpy(buffer, bytes, size);
    chunk->nbl = nbl_wrap(buffer, size ? size : 1, 0, size);
    chunk->bytes = buffer;
    chunk->length = size;
    if (first < size) {
        MDL *head = chunk->nbl->FirstNetBuffer->MdlChain, *tail = (MDL *)(buffer + at);
        *tail = *head;
        head->ByteCount = (ULONG)first;
        head->Next = tail;
        tail->MappedSystemVa = buffer + first;
        tail->StartVa = (void *)((uintptr_t)(buffer + first) & ~(uintptr_t)4095);
        tail->ByteOffset = (ULONG)((uintptr_t)(buffer + first) & 4095);
        tail->ByteCount = (ULONG)(size - first);
    }
    return chunk;
}

static void chunk_free(struct chunk *chunk)
{
    nbl_release(chunk->nbl); /* a clone of a driver's may still hold it */
    mem_free(chunk);
}

static void append(struct chunks *to, struct chunk *chunk)
{
    chunk->next = NULL;
    if (to->last)
        to->last->next = chunk;
    else
        to->first = chunk;
    to->last = chunk;
    to->size += chunk->length - chunk->start;
}

static struct chunk *take_first(struct chunks *from)
{
    struct chunk *chunk = from->first;
    from->first = chunk->next;
    if (!from->first)
        from->last = NULL;
    from->size -= chunk->length - chunk->start;
    return chunk;
}

void chunks_add(struct chunks *to, const uint8_t *bytes, size_t size, BOOL push, BOOL urgent)
{
    if (!size)
        return;
    struct chunk *chunk = chunk_new(bytes, size);
    chunk->push = push;
    chunk->urgent = urgent;
    append(to, chunk);
}

void chunks_move(struct chunks *from, struct chunks *to, size_t size)
{
    while (size && from->first) {
        struct chunk *chunk = from->first;
        size_t have = chunk->length - chunk->start;
        if (have <= size) {
            append(to, take_first(from));
            size -= have;
            continue;
        }
        chunks_add(to, chunk->bytes + chunk->start, size, FALSE, chunk->urgent);
        chunks_drop(from, size);
        return;
    }
}

void chunks_drop(struct chunks *from, size_t size)
{
    while (size && from->first) {
        struct chunk *chunk = from->first;
        size_t have = chunk->length - chunk->start;
        if (have <= size) {
            chunk_free(take_first(from));
            size -= have;
            continue;
        }
        chunk->start += size;
        from->size -= size;
        return;
    }
}

void chunks_copy(const struct chunks *from, size_t offset, uint8_t *out, size_t size)
{
    for (const struct chunk *chunk = from->first; chunk && size; chunk = chunk->next) {
        size_t have = chunk->length - chunk->start;
        if (offset >= have) {
            offset -= have;
            continue;
        }
        size_t part = have - offset < size ? have - offset : size;
        memcpy(out, chunk->bytes + chunk->start + offset, part);
        out += part;
        size -= part;
        offset = 0;
    }
}

NET_BUFFER_LIST *chunk_describe(struct chunk *chunk, size_t from)
{
    chunk->nbl->Next = NULL;
    nb_set(chunk->nbl->FirstNetBuffer, (ULONG)from, (ULONG)(chunk->length - from));
    return chunk->nbl;
}

NET_BUFFER_LIST *stream_empty_list(void)
{
    return nbl_wrap(mem_alloc(1), 1, 0, 0);
}

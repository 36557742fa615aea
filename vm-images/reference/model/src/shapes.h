/*
 * Copies of the structures of the management functions, which are trees of pointers. A copy is one block: what the
 * engine keeps, what FwpmFreeMemory0 frees at once, and, with offsets from its start in the place of pointers, what
 * goes between fwpuclnt.dll and the engine.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MODEL_SHAPES_H
#define MODEL_SHAPES_H

#include "abi.h"

struct shape;

extern const struct shape shape_guid, shape_string, shape_value, shape_provider, shape_sublayer, shape_callout, shape_context,
    shape_filter, shape_session, shape_layer;
extern const struct shape shape_provider_template, shape_context_template, shape_filter_template, shape_callout_template;

enum { SHAPE_BYTES_MAX = 16 << 20 };

/* A copy with pointers, from a structure whose pointers are trusted; NULL only when it is larger than SHAPE_BYTES_MAX
 * and `bounded`. To be freed with mem_free. */
void *shape_copy(const struct shape *shape, const void *from);

/* The same with offsets, into `out`; gives the size it needs, and writes nothing when that is more than `room`. */
size_t shape_pack(const struct shape *shape, const void *from, void *out, size_t room);

/* The reverse, of bytes that nobody vouches for: every offset, length and count is held against `size`, a string ends
 * inside, and no more than SHAPE_BYTES_MAX come out. NULL when anything is wrong. To be freed with mem_free. */
void *shape_unpack(const struct shape *shape, const void *bytes, size_t size);

/* An array of pointers and what they point to, in one block, as the Enum functions give it. */
void *shape_copy_array(const struct shape *shape, void *const *from, UINT32 count);
size_t shape_pack_array(const struct shape *shape, void *const *from, UINT32 count, void *out, size_t room);
void *shape_unpack_array(const struct shape *shape, UINT32 count, const void *bytes, size_t size);

#endif

/* SPDX-License-Identifier: MIT */
/* Items in an array, found by a hash. */
#ifndef MIXSTACK_HASH_H
#define MIXSTACK_HASH_H

#include "../bpf/mixstack.h"

/* Places in `items` by hash: index + 1; 0: free. All zero: empty. */
struct index {
	ms_u32 *slots;
	ms_u64 mask;
};

static inline ms_u64 mix(ms_u64 hash, ms_u64 word)
{
	unsigned __int128 product = (unsigned __int128)(hash ^ word) * 0x9e3779b97f4a7c15ULL;

	return (ms_u64)product ^ (ms_u64)(product >> 64);
}

/* Of so many bytes. seed: which nobody can guess who made them. */
ms_u64 hash_of(const ms_u8 *bytes, ms_u64 size, ms_u64 seed);

/* Room for one item more: the index is kept half empty, and `items` has as many places as the index half of its
 * slots. hash: of the item at an index. Whether there was memory for it. */
int make_room(struct index *index, void **items, ms_u64 count, ms_u64 item_size,
	      ms_u64 (*hash)(const void *, ms_u64), const void *of);

/* The first place to look at, or to put an item; the next one is behind it. */
static inline ms_u64 first_place(const struct index *index, ms_u64 hash)
{
	return hash & index->mask;
}

static inline ms_u64 next_place(const struct index *index, ms_u64 place)
{
	return (place + 1) & index->mask;
}

#endif

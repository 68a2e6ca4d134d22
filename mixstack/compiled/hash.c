/* SPDX-License-Identifier: MIT */
#include "hash.h"

#include <stdlib.h>
#include <string.h>

enum { SLOTS_AT_FIRST = 1 << 10 };

ms_u64 hash_of(const ms_u8 *bytes, ms_u64 size, ms_u64 seed)
{
	ms_u64 hash = mix(seed, size), word;

	for (; size >= sizeof(word); bytes += sizeof(word), size -= sizeof(word)) {
		memcpy(&word, bytes, sizeof(word));
		hash = mix(hash, word);
	}
	word = 0;
	memcpy(&word, bytes, size);
	return mix(hash, word);
}

int make_room(struct index *index, void **items, ms_u64 count, ms_u64 item_size,
	      ms_u64 (*hash)(const void *, ms_u64), const void *of)
{
	struct index larger = { 0, index->slots ? 2 * index->mask + 1 : SLOTS_AT_FIRST - 1 };
	ms_u64 i, at;
	void *more;

	if (index->slots && 2 * (count + 1) <= index->mask + 1)
		return 1;
	more = realloc(*items, (larger.mask + 1) / 2 * item_size);
	if (!more)
		return 0;
	*items = more;
	larger.slots = calloc(larger.mask + 1, sizeof(*larger.slots));
	if (!larger.slots)
		return 0;
	for (i = 0; i < count; i++) {
		for (at = first_place(&larger, hash(of, i)); larger.slots[at]; at = next_place(&larger, at))
			;
		larger.slots[at] = (ms_u32)i + 1;
	}
	free(index->slots);
	*index = larger;
	return 1;
}

/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* Searching the unwind tables: pc -> mapping -> page -> row. */
#ifndef MIXSTACK_TABLES_H
#define MIXSTACK_TABLES_H

#include "state.bpf.h"

enum {
	MAPPING_STEPS = 13, /* binary search over up to 8,191 mappings */
	ROW_STEPS = 9,      /* and over up to 257 rows: a page has 256 bytes */
};

/* The bounds of a binary search live in the state and are read anew in each round: kept in registers,
 * every outcome of every comparison would be a state of its own to the verifier. */
INLINE int find_mapping(struct ms_state *s, ms_u64 pc)
{
	if (s->mapping.start <= pc && pc < s->mapping.end)
		return 1;
	FRESH(s->low) = s->process.first_mapping;
	FRESH(s->high) = s->process.first_mapping + s->process.mappings;
	NO_UNROLL for (int i = 0; i < MAPPING_STEPS; i++) {
		ms_u32 low = FRESH(s->low), high = FRESH(s->high), middle = (low + high) / 2;
		struct ms_mapping *m;

		if (low >= high)
			break;
		m = bpf_map_lookup_elem(&ms_mappings, &middle);
		if (!m)
			break;
		if (pc >= m->end) {
			FRESH(s->low) = middle + 1;
		} else if (pc < m->start) {
			FRESH(s->high) = middle;
		} else {
			s->mapping = *m;
			return 1;
		}
	}
	return 0;
}

/* The row for `pc`, or 0 (which is kind NONE). */
INLINE ms_u64 find_row(struct ms_state *s, ms_u64 pc)
{
	ms_u64 relative = pc - s->mapping.base;
	ms_u32 index = relative >> MS_PAGE_SHIFT;
	struct ms_page *page;
	ms_u32 found;
	ms_u64 *row;

	if (relative >> 32 || index >= s->mapping.pages)
		return 0;
	index += s->mapping.first_page;
	page = bpf_map_lookup_elem(&ms_pages, &index);
	if (!page)
		return 0;
	FRESH(s->low) = page->row;
	FRESH(s->high) = page->row + page->rows; /* the answer is in [low, high] */
	NO_UNROLL for (int i = 0; i < ROW_STEPS; i++) {
		ms_u32 low = FRESH(s->low), high = FRESH(s->high), middle = (low + high + 1) / 2;

		if (low >= high)
			break;
		row = bpf_map_lookup_elem(&ms_rows, &middle);
		if (!row)
			return 0;
		if ((ms_u32)*row <= (ms_u32)relative)
			FRESH(s->low) = middle;
		else
			FRESH(s->high) = middle - 1;
	}
	found = FRESH(s->low);
	row = bpf_map_lookup_elem(&ms_rows, &found);
	return row ? *row : 0;
}

/* `bits` bits of a row from `first` on, as a signed number. */
INLINE ms_s64 row_signed(ms_u64 row, int first, int bits)
{
	return (ms_s64)(row << (64 - first - bits)) >> (64 - bits);
}

/* Of the kinds RSP and RBP. */
INLINE ms_s64 row_cfa_offset(ms_u64 row)
{
	return row_signed(row, 32, 16) * 8;
}

#endif

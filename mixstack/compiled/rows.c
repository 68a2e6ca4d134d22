/* SPDX-License-Identifier: MIT */
/* The table that the probe searches: rows by pc, and a page index over them (`enum ms_row_kind` and
 * `struct ms_page` of mixstack.h). */
#include <stdlib.h>

#include "frames.h"

enum { FOR_CALLS = 1 << 16 };

/* Code with rules: [start, stop) from the table's base, and its rows, pc counted from the start. */
struct region {
	ms_u64 start, stop;
	ms_u64 *rows;
	long count;
};

/* The table so far. */
struct table {
	ms_u64 *rows;
	ms_u64 count;
	ms_u64 covered; /* up to this pc there are rows */
	ms_u64 rule;	/* of the last one */
};

long ms_frames_rows_of(const struct ms_frames *frames, const struct ms_fde *fde, ms_u64 followed, ms_u64 *rows)
{
	const struct cie *cie = &frames->cies[fde->cie];
	const ms_u8 *data = frames->sections[fde->section].data;
	struct state initial = cie->initial;

	if (followed != RBP && !begin(cie, followed, &initial))
		return -1;
	return follow(cie, reader_of(data + fde->begin, fde->end - fde->begin), &initial, followed, rows);
}

static void add_row(struct table *table, ms_u64 rule, ms_u64 pc)
{
	if (rule != table->rule)
		table->rows[table->count++] = rule | pc;
	table->rule = rule;
}

static void add_region(struct table *table, const struct region *region)
{
	long i;

	if (region->start > table->covered)
		add_row(table, NO_RULE, table->covered);
	for (i = 0; i < region->count; i++) {
		ms_u64 pc = region->start + (region->rows[i] & PC_MASK);

		if (pc < region->stop)
			add_row(table, region->rows[i] & ~PC_MASK, pc);
	}
	table->covered = region->stop;
}

/* The most rows that the FDEs give, together: a row is an instruction of at least a byte, the end of an FDE, or
 * the gap behind it; and some that calls need. *longest: of a single one. */
static ms_u64 rows_max(const struct ms_frames *frames, ms_u64 *longest)
{
	ms_u64 i, all = FOR_CALLS;

	*longest = 0;
	for (i = 0; i < frames->n_fdes; i++) {
		ms_u64 most = frames->fdes[i].end - frames->fdes[i].begin + 2;

		all += most;
		if (most > *longest)
			*longest = most;
	}
	return all;
}

/* Bytes of room that `ms_frames_rows` needs. */
EXPORT ms_u64 ms_frames_room(const struct ms_frames *frames)
{
	ms_u64 longest;

	return rows_max(frames, &longest) * sizeof(ms_u64);
}

/* The rows for the code [base, end), sorted by pc, the first at pc 0. Where no FDE speaks there is a row of kind
 * NONE; two neighbours never have the same rule. An FDE is cut where the next one starts: who starts later knows
 * the place better. code: what lies there, as far as it is known, for the rules that need it. Returns how many there are;
 * -1: no memory, or more code than rows can count. */
EXPORT long ms_frames_rows(const struct ms_frames *frames, const struct segment *code, ms_u32 n_code, ms_u64 base,
			   ms_u64 end, ms_u64 *rows)
{
	struct table table = { rows, 0, 0, ~0ULL };
	ms_u64 pages_end = (end - base + MS_PAGE_SIZE - 1) & ~(MS_PAGE_SIZE - 1ULL);
	ms_u64 *room, longest, most, i, turn = 0;
	struct region region, before = { 0, 0, 0, 0 };

	if (end < base || end - base > PC_MASK)
		return -1;
	most = rows_max(frames, &longest);
	room = malloc(2 * longest * sizeof(*room) + 1);
	if (!room)
		return -1;
	for (i = 0; i < frames->n_fdes; i++) {
		const struct ms_fde *fde = &frames->fdes[i];

		if (fde->start < base || fde->start >= end)
			continue;
		region.start = fde->start - base;
		region.stop = fde->size < end - fde->start ? region.start + fde->size : end - base;
		region.rows = room + turn * longest;
		region.count = ms_frames_rows_of(frames, fde, RBP, region.rows);
		if (region.count < 0)
			continue;
		if (before.rows && before.start < region.start) {
			if (before.stop > region.start)
				before.stop = region.start;
			add_region(&table, &before);
		}
		before = region;
		turn ^= 1;
	}
	if (before.rows)
		add_region(&table, &before);
	if (table.covered < pages_end)
		add_row(&table, NO_RULE, table.covered);
	free(room);
	return add_slots(frames, code, n_code, base, rows, table.count, most);
}

/* The index over `count` rows (sorted, the first at pc 0) for so many pages of code. */
EXPORT void ms_index_pages(const ms_u64 *rows, ms_u64 count, struct ms_page *pages, ms_u64 n_pages)
{
	ms_u64 page, at = 0, first;

	for (page = 0; page < n_pages; page++) {
		ms_u64 start = page << MS_PAGE_SHIFT;

		while (at + 1 < count && (rows[at + 1] & PC_MASK) <= start)
			at++;
		first = at;
		while (at + 1 < count && (rows[at + 1] & PC_MASK) < start + MS_PAGE_SIZE)
			at++;
		pages[page].row = (ms_u32)first;
		pages[page].rows = (ms_u32)(at - first);
	}
}

/* Page entries for a table with so many rows before it. */
EXPORT void ms_shift_pages(const struct ms_page *pages, ms_u64 n_pages, ms_u32 rows, struct ms_page *to)
{
	ms_u64 i;

	for (i = 0; i < n_pages; i++)
		to[i] = (struct ms_page){ pages[i].row + rows, pages[i].rows };
}

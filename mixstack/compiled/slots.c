/* SPDX-License-Identifier: MIT */
/* Registers that a CFA counts from across a call: where the called function saves them.
 *
 * The dynamic loader resolves a symbol with rbx as the base of its frame (`_dl_runtime_resolve_*`), so while it does,
 * the way on leads through rbx as it was before the call. It is in the called function's frame; which function that
 * is, a direct call says, and where it is there, its own rules. */
#include <stdlib.h>
#include <string.h>

#include "frames.h"

enum {
	CALL = 0xe8, /* Intel SDM, volume 2: CALL rel32 */
	CALL_SIZE = 5,
	KEPT = 1 << 3 | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 15, /* must be restored by functions (psABI, 3.2.1) */
	REGION_MAX = 4096, /* bytes under one rule; more is no function that only calls another */
	SPLIT_MAX = 2 * (REGION_MAX / CALL_SIZE) + 1, /* rows */
	SLOT_MAX = 127, /* in eights */
};

/* A field of a row that counts in eights, as bytes. */
static ms_s64 bytes_of(ms_u64 row, unsigned shift, unsigned bits)
{
	return (ms_s64)(row << (64 - shift - bits)) >> (64 - bits) << 3;
}

/* CFA - where these rows save their register; 0 if they do not say so beyond doubt: it is one place, and wherever the
 * register is not saved yet, that place lies below the stack pointer. So the stack pointer alone tells whether it is. */
static ms_s64 slot_of(const ms_u64 *rows, long count)
{
	ms_s64 slot = 0;
	long i;

	for (i = 0; i < count; i++) {
		ms_s64 place = bytes_of(rows[i], 48, 12);

		if (rows[i] >> 60 != MS_ROW_RSP && rows[i] >> 60 != MS_ROW_RBP)
			return 0;
		if (place >= 0 ? place > 0 : slot && slot != -place)
			return 0;
		if (place)
			slot = -place;
	}
	for (i = 0; i < count; i++)
		if (!bytes_of(rows[i], 48, 12) &&
		    (rows[i] >> 60 != MS_ROW_RSP || bytes_of(rows[i], 32, 16) >= slot))
			return 0;
	return slot;
}

/* The slot of the function at an address; 0: there is none, or no memory. */
static ms_s64 slot_in(const struct ms_frames *frames, ms_u64 function, ms_u64 followed)
{
	long index = ms_frames_find(frames, function), count;
	const struct ms_fde *fde;
	ms_u64 *rows;
	ms_s64 slot;

	if (index < 0)
		return 0;
	fde = &frames->fdes[index];
	rows = malloc((fde->end - fde->begin + 2) * sizeof(*rows));
	count = rows ? ms_frames_rows_of(frames, fde, followed, rows) : -1;
	slot = count < 0 ? 0 : slot_of(rows, count);
	free(rows);
	return slot;
}

/* Up to `most` bytes of code at an address, as far as it is there. */
static struct reader code_at(const struct segment *code, unsigned n_code, ms_u64 address, ms_u64 most)
{
	ms_u64 offset;
	unsigned i;

	for (i = 0; i < n_code; i++) {
		offset = address - code[i].vaddr;
		if (address >= code[i].vaddr && offset < code[i].size)
			return reader_of(code[i].bytes + offset,
					 most < code[i].size - offset ? most : code[i].size - offset);
	}
	return reader_of(0, 0);
}

/* A row of kind REGISTER that holds for the code at [base + its pc, next), as rows to `to`: one more where a function
 * begins that is called directly and saves the register, and one behind that call. Returns how many. */
static ms_u64 split(const struct ms_frames *frames, const struct segment *code, unsigned n_code, ms_u64 base, ms_u64 row,
		    ms_u64 next, ms_u64 *to)
{
	ms_u64 address = base + (row & PC_MASK), followed = row >> 44 & 15, count = 1, at = 0;
	ms_u64 size = base + next - address;
	struct reader r = code_at(code, n_code, address, size < REGION_MAX ? size : REGION_MAX);
	const ms_u8 *bytes = r.at;

	to[0] = row;
	for (size = left(&r); at + CALL_SIZE <= size; at += bytes[at] == CALL ? CALL_SIZE : 1) {
		struct reader operand = reader_of(bytes + at + 1, CALL_SIZE - 1);
		ms_s64 slot;

		if (bytes[at] != CALL)
			continue;
		slot = slot_in(frames, address + at + CALL_SIZE + (ms_u64)(ms_s32)fixed(&operand, 4), followed);
		if (!slot || slot % 8 || slot / 8 > SLOT_MAX)
			continue;
		if ((to[count - 1] & PC_MASK) == (row & PC_MASK) + at)
			count--;
		to[count++] = (row + at) | (ms_u64)slot / 8 << 37;
		to[count++] = row + at + CALL_SIZE;
	}
	if ((to[count - 1] & PC_MASK) >= next)
		count--; /* the region ends with a call */
	return count;
}

long add_slots(const struct ms_frames *frames, const struct segment *code, unsigned n_code, ms_u64 base, ms_u64 *rows,
	       ms_u64 count, ms_u64 most)
{
	ms_u64 *all = 0, done = 0, n = 0, i;

	for (i = 0; i + 1 < count; i++) {
		if (rows[i] >> 60 != MS_ROW_REGISTER || !(KEPT >> (rows[i] >> 44 & 15) & 1))
			continue;
		if (!all)
			all = malloc(most * sizeof(*all));
		if (!all)
			return -1;
		/* What does not fit any more stays as it is. */
		if (n + (count - done) + SPLIT_MAX > most)
			break;
		memcpy(all + n, rows + done, (i - done) * sizeof(*all));
		n += i - done;
		n += split(frames, code, n_code, base, rows[i], rows[i + 1] & PC_MASK, all + n);
		done = i + 1;
	}
	if (!all)
		return (long)count;
	memcpy(all + n, rows + done, (count - done) * sizeof(*all));
	n += count - done;
	memcpy(rows, all, n * sizeof(*all));
	free(all);
	return (long)n;
}

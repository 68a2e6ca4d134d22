/* SPDX-License-Identifier: MIT */
/* The call frame information of a file taken apart: CIEs, and the FDEs that refer to them. */
#ifndef MIXSTACK_FRAMES_H
#define MIXSTACK_FRAMES_H

#include "export.h"
#include "rules.h"

enum { SECTIONS_MAX = 2 };

/* `.eh_frame`, or with `debug` a `.debug_frame` of 32-bit DWARF, as all files have it. */
struct ms_section {
	const ms_u8 *data;
	ms_u64 size; /* below 4 GiB */
	ms_u64 vaddr;
	int debug;
};

/* The code at [start, start + size), the file's own addresses; four words. */
struct ms_fde {
	ms_u64 start, size;
	ms_u32 section;
	ms_u32 cie; /* index */
	ms_u32 begin, end; /* of its instructions, in the section */
};

/* The entries of a file. */
struct ms_frames {
	struct ms_section sections[SECTIONS_MAX];
	ms_u32 n_sections;
	struct cie *cies; /* as they lie, section by section */
	struct ms_fde *fdes; /* by start, then by size */
	ms_u64 n_cies, n_fdes;
};

/* Code as it lies in the file. */
struct segment {
	const ms_u8 *bytes;
	ms_u64 size;
	ms_u64 vaddr;
};

/* Index of the largest FDE that begins at an address; -1: there is none. */
long ms_frames_find(const struct ms_frames *frames, ms_u64 start);

/* The rows of one FDE, as `follow` takes and gives them. */
long ms_frames_rows_of(const struct ms_frames *frames, const struct ms_fde *fde, ms_u64 followed, ms_u64 *rows);

/* Let the rows of kind REGISTER say where the functions that are called under them save the register. rows: there is
 * room for `most`, and `count` of them are there; returns how many there are then; -1: no memory. */
long add_slots(const struct ms_frames *frames, const struct segment *code, unsigned n_code, ms_u64 base, ms_u64 *rows,
	       ms_u64 count, ms_u64 most);

#endif

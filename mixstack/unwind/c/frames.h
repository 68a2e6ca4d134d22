/* SPDX-License-Identifier: MIT */
/* The call frame information of a file taken apart: CIEs, and the FDEs that refer to them. */
#ifndef MIXSTACK_FRAMES_H
#define MIXSTACK_FRAMES_H

#include "rules.h"

#define EXPORT __attribute__((visibility("default"))) /* for library.py */

enum { SECTIONS_MAX = 2 };

/* `.eh_frame`, or with `debug` a `.debug_frame` of 32-bit DWARF, as all files have it. */
struct ms_section {
	const ms_u8 *data;
	ms_u64 size; /* below 4 GiB */
	ms_u64 vaddr;
	int debug;
};

/* The code at [start, start + size), the file's own addresses. */
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

#endif

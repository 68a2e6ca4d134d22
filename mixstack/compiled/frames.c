/* SPDX-License-Identifier: MIT */
/* `.eh_frame` and `.debug_frame` (LSB 5.0, 10.6; DWARF 5, 6.4) as a list of FDEs.
 *
 * In C, as libtorch has 335,000 of them: in Python they took five seconds.
 *
 * What is read is a file of the target, so whatever there is in it: reads stay inside of the section (see
 * `struct reader`), writes inside of what was counted before, and time is linear in the section's size. */
#include <stdlib.h>

#include "frames.h"
#include "sort.h"

enum {
	CIE_MAX = 1 << 10, /* bytes; they have 20 to 30 */

	EXTENDED = 0xffffffff, /* the length of an entry of 64-bit DWARF: no section is that large */
	FDE_WORDS = sizeof(struct ms_fde) / 8,
	PCREL = 0x10,
	OMIT = 0xff,
};

/* ---- the entries of a section ------------------------------------------------------------------ */

/* Entries as the walk passes them. */
struct entry {
	ms_u32 at; /* of its length */
	ms_u32 identity_at;
	ms_u32 identity; /* of a CIE; or where the FDE's is, in the way of its section */
	ms_u32 end;
};

/* The entry at *at or behind, and *at behind that; whether there is one more. What cannot be understood
 * is passed over by its length. */
static int next_entry(const struct ms_section *section, ms_u64 *at, struct entry *entry)
{
	while (*at + 8 <= section->size) {
		struct reader r = reader_of(section->data + *at, section->size - *at);
		ms_u64 begin = *at, length = fixed(&r, 4);

		if (length == EXTENDED) {
			length = fixed(&r, 8);
			if (r.broken || length > left(&r))
				return 0;
			*at = begin + 12 + length;
			continue;
		}
		if (length > left(&r))
			return 0;
		*at = begin + 4 + length; /* of no length: a terminator, that a linker may leave between inputs */
		if (length > 4) {
			entry->at = (ms_u32)begin;
			entry->identity_at = (ms_u32)begin + 4;
			entry->identity = (ms_u32)fixed(&r, 4);
			entry->end = (ms_u32)*at;
			return 1;
		}
	}
	return 0;
}

static int is_cie(const struct ms_section *section, const struct entry *entry)
{
	return entry->identity == (section->debug ? 0xffffffff : 0);
}

static int pointer_format(struct cie *cie, ms_u8 encoding)
{
	static const ms_u8 sizes[16] = {
		[0x0] = 8, [0x2] = 2, [0x3] = 4, [0x4] = 8, [0xa] = 2, [0xb] = 4, [0xc] = 8,
	}; /* DW_EH_PE formats of fixed size (LSB 5.0, 10.5) */

	cie->pointer_size = sizes[encoding & 15];
	cie->is_signed = encoding >> 3 & 1;
	cie->pc_relative = (encoding & 0xf0) == PCREL;
	return cie->pointer_size && (cie->pc_relative || !(encoding & 0xf0));
}

/* The letters behind a `z` that can be placed, and their data. Returns how an FDE's pointers are encoded. */
static ms_u8 read_augmentation(struct cie *cie, const ms_u8 *letter, struct reader data)
{
	struct cie personality;
	ms_u8 encoding = 0, format;

	for (; *letter; letter++) {
		if (*letter == 'R') {
			encoding = byte(&data);
		} else if (*letter == 'S') {
			cie->signal = 1;
		} else if (*letter == 'L') {
			byte(&data);
		} else if (*letter == 'P') {
			format = byte(&data);
			if (format == OMIT)
				continue;
			if (!pointer_format(&personality, format & 15))
				return OMIT;
			skip(&data, personality.pointer_size);
		} else {
			break;
		}
	}
	return data.broken ? OMIT : encoding;
}

/* The CIE whose bytes behind its identity are these; it is not `known` if it cannot be understood. */
static void read_cie(struct cie *cie, struct reader r, int debug)
{
	const ms_u8 *letters;
	ms_u64 return_register;
	ms_u8 version = byte(&r), encoding = 0;

	letters = r.at;
	while (byte(&r))
		;
	if (r.broken || (version != 1 && version != 3 && version != 4))
		return;
	cie->augmented = *letters != 0;
	if (cie->augmented && (debug || *letters != 'z'))
		return;
	if (version == 4 && fixed(&r, 2) != 8) /* addresses of 8 bytes, no segments */
		return;
	cie->code_align = uleb(&r);
	cie->data_align = sleb(&r);
	return_register = version == 1 ? byte(&r) : uleb(&r);
	if (cie->augmented) {
		struct reader data = block(&r);

		encoding = read_augmentation(cie, letters + 1, data);
	}
	cie->instructions = r;
	cie->known = !r.broken && return_register == RIP && cie->code_align && cie->code_align <= PC_MASK &&
		     pointer_format(cie, encoding) && begin(cie, RBP, &cie->initial);
}

static ms_u64 pointer(struct reader *r, const struct cie *cie)
{
	unsigned bits = 8 * cie->pointer_size;
	ms_u64 value = fixed(r, cie->pointer_size);

	if (cie->is_signed && bits < 64 && value >> (bits - 1))
		value |= ~0ULL << bits;
	return value;
}

/* Whether the FDE of these bytes behind its identity is one, of known size. */
static int read_fde(struct ms_fde *fde, const struct ms_section *section, const struct cie *cie,
		    const struct entry *entry)
{
	struct reader r = reader_of(section->data + entry->identity_at + 4, entry->end - entry->identity_at - 4);

	fde->start = pointer(&r, cie);
	if (cie->pc_relative)
		fde->start += section->vaddr + entry->identity_at + 4;
	fde->size = pointer(&r, cie);
	if (cie->augmented)
		block(&r);
	fde->begin = (ms_u32)(r.at - section->data);
	fde->end = entry->end;
	return !r.broken && fde->size && !(cie->is_signed && fde->size >> 63);
}

/* Index of the CIE at an offset among those of the section, sorted as they lie; -1: there is none. */
static long find_cie(const struct cie *cies, ms_u64 count, ms_u64 at)
{
	ms_u64 low = 0, high = count;

	while (low < high) {
		ms_u64 middle = (low + high) / 2;

		if (cies[middle].at < at)
			low = middle + 1;
		else
			high = middle;
	}
	return low < count && cies[low].at == at ? (long)low : -1;
}

/* Take in the section's entries: first the CIEs, as an FDE may come before its own; so it counts only if the
 * walk from entry to entry passes it, and no byte is read as part of many entries. */
static void read_section(struct ms_frames *frames, ms_u32 number)
{
	const struct ms_section *section = &frames->sections[number];
	struct cie *cies = frames->cies + frames->n_cies;
	ms_u64 at = 0, count = 0;
	struct entry entry;

	while (next_entry(section, &at, &entry))
		if (is_cie(section, &entry)) {
			struct cie *cie = &cies[count++];

			*cie = (struct cie){ .at = entry.at };
			if (entry.end - entry.at <= CIE_MAX)
				read_cie(cie,
					 reader_of(section->data + entry.identity_at + 4,
						   entry.end - entry.identity_at - 4),
					 section->debug);
		}
	for (at = 0; next_entry(section, &at, &entry);) {
		struct ms_fde *fde = &frames->fdes[frames->n_fdes];
		long cie;

		if (is_cie(section, &entry))
			continue;
		cie = find_cie(cies, count,
			       section->debug ? entry.identity : (ms_u64)entry.identity_at - entry.identity);
		if (cie < 0 || !cies[cie].known || !read_fde(fde, section, &cies[cie], &entry))
			continue;
		fde->section = number;
		fde->cie = (ms_u32)(frames->n_cies + (ms_u64)cie);
		frames->n_fdes++;
	}
	frames->n_cies += count;
}

/* ---- all entries, in order ---------------------------------------------------------------------- */

/* How many of the FDEs, which are sorted, begin at an address or before it. */
static ms_u64 count_up_to(const struct ms_fde *fdes, ms_u64 count, ms_u64 address)
{
	ms_u64 low = 0, high = count;

	while (low < high) {
		ms_u64 middle = (low + high) / 2;

		if (fdes[middle].start <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Whether none of them speaks of it. */
static int is_silent(const struct ms_fde *fdes, ms_u64 count, ms_u64 address)
{
	ms_u64 behind = count_up_to(fdes, count, address);

	return !behind || address - fdes[behind - 1].start >= fdes[behind - 1].size;
}

EXPORT struct ms_frames *ms_frames_new(void)
{
	return calloc(1, sizeof(struct ms_frames));
}

EXPORT void ms_frames_free(struct ms_frames *frames)
{
	if (frames) {
		free(frames->cies);
		free(frames->fdes);
		free(frames);
	}
}

/* Take in a section, `.eh_frame` or with `debug` a `.debug_frame`, whose bytes stay where they are: its entries,
 * those of a second one where the first is silent. -1: no memory, or it is a third one. */
EXPORT int ms_frames_add(struct ms_frames *frames, const ms_u8 *data, ms_u64 size, ms_u64 vaddr, int debug)
{
	struct ms_section *section = &frames->sections[frames->n_sections];
	ms_u64 n_cies = frames->n_cies, n_fdes = frames->n_fdes, before = n_fdes, kept, i, at = 0;
	struct entry entry;
	void *more;

	if (frames->n_sections == SECTIONS_MAX || size > 0xffffffff)
		return -1;
	*section = (struct ms_section){ data, size, vaddr, debug };
	while (next_entry(section, &at, &entry))
		*(is_cie(section, &entry) ? &n_cies : &n_fdes) += 1;
	more = realloc(frames->cies, (n_cies + 1) * sizeof(*frames->cies));
	if (!more)
		return -1;
	frames->cies = more;
	more = realloc(frames->fdes, (n_fdes + 1) * sizeof(*frames->fdes));
	if (!more)
		return -1;
	frames->fdes = more;
	read_section(frames, frames->n_sections++);
	if (before) {
		for (i = kept = before; i < frames->n_fdes; i++)
			if (is_silent(frames->fdes, before, frames->fdes[i].start))
				frames->fdes[kept++] = frames->fdes[i];
		frames->n_fdes = kept;
	}
	/* By start, then by size. */
	if (!sort_records((void **)&frames->fdes, frames->n_fdes, FDE_WORDS, 1) ||
	    !sort_records((void **)&frames->fdes, frames->n_fdes, FDE_WORDS, 0))
		return -1;
	return 0;
}

EXPORT ms_u64 ms_frames_count(const struct ms_frames *frames)
{
	return frames->n_fdes;
}

/* The starts and sizes, in turn, of all FDEs. */
EXPORT void ms_frames_ranges(const struct ms_frames *frames, ms_u64 *ranges)
{
	ms_u64 i;

	for (i = 0; i < frames->n_fdes; i++) {
		ranges[2 * i] = frames->fdes[i].start;
		ranges[2 * i + 1] = frames->fdes[i].size;
	}
}

long ms_frames_find(const struct ms_frames *frames, ms_u64 start)
{
	ms_u64 behind = count_up_to(frames->fdes, frames->n_fdes, start);

	return behind && frames->fdes[behind - 1].start == start ? (long)behind - 1 : -1;
}

/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* Code objects told apart: a fingerprint of each, and which ones user space has been told of. */
#ifndef MIXSTACK_PRINT_H
#define MIXSTACK_PRINT_H

#include "memory.bpf.h"

/* PyASCIIObject.state (Include/cpython/unicodeobject.h), from the kind on. */
enum {
	STRING_KIND_MASK = 7,
	STRING_COMPACT = 8,
	STRING_ASCII = 16,
};

/* Read `size` bytes of a str; its state, from the kind on. */
INLINE int read_string_head(struct ms_state *s, ms_u64 address, ms_u32 size, ms_u32 *state)
{
	const struct ms_layout *l = &s->process.layout;

	if (bpf_probe_read_user(s->string_bytes, size, address))
		return 1;
	*state = string_field32(s, l->string_state) >> (l->string_kind_shift & 31);
	return 0;
}

#define PRINT_PRIME 0x9E3779B97F4A7C15ULL

/* Fold the beginning of a str into the print: its length and up to PRINT_WORDS words of characters.
 * By masks and not by branches: each way would be verified on its own, in each step of a walk. */
INLINE void print_string(struct ms_state *s, ms_u64 address)
{
	const struct ms_layout *l = &s->process.layout;
	ms_u64 bytes, print;
	ms_u32 state, data, is_ascii;

	if (read_string_head(s, address, sizeof(s->string_bytes), &state))
		return;
	is_ascii = -(state / STRING_ASCII & 1);
	data = ((l->string_ascii_data & is_ascii) | (l->string_compact_data & ~is_ascii)) / 8;
	bytes = string_field64(s, l->string_length) * (state & STRING_KIND_MASK);
	print = (FRESH(s->print) ^ bytes) * PRINT_PRIME;
	UNROLL for (ms_u32 i = 0; i < PRINT_WORDS; i++) {
		ms_u64 word = s->string_bytes[(data + i) & (STRING_WORDS - 1)];
		ms_u64 some = (ms_s64)(i * 8 - bytes) >> 63; /* all ones: bytes of it are the string's */
		ms_u64 part = (ms_s64)(bytes - (i * 8 + 8)) >> 63; /* all ones: not all of it is */

		word <<= (8 - (bytes & 7)) * 8 & part & 63; /* what lies behind the string is not its own */
		print ^= (((print ^ word) * PRINT_PRIME) ^ print) & some;
	}
	FRESH(s->print) = print;
}

/* What stays the same while a code object lives, folded into 32 bits: memory that is freed and used
 * for another code object gets another value. Pointers alone will not do: a program that compiles in a
 * loop gets the same memory for all of them each time. record/codes.py computes the same. */
INLINE ms_u32 fingerprint(struct ms_state *s)
{
	const struct ms_layout *l = &s->process.layout;
	const ms_u64 *code = s->code_bytes;
	ms_u32 version = l->code_version ? field32(code, l->code_version) : 0;
	ms_u64 h = field64(code, l->var_size); /* the number of code units; before 3.11 of arguments */

	h = (h ^ field64(code, l->code_filename)) * PRINT_PRIME;
	h = (h ^ field64(code, l->code_name)) * PRINT_PRIME;
	h = (h ^ field64(code, l->code_qualname)) * PRINT_PRIME;
	h = (h ^ field64(code, l->code_linetable)) * PRINT_PRIME;
	h = (h ^ field32(code, l->code_first_line)) * PRINT_PRIME;
	h = (h ^ field32(code, l->code_flags)) * PRINT_PRIME;
	if (version) {
		FRESH(s->print) = (h ^ version) * PRINT_PRIME;
	} else {
		FRESH(s->print) = h;
		print_string(s, field64(code, l->code_qualname));
		FORGET();
		print_string(s, field64(code, l->code_filename));
	}
	FORGET();
	return (ms_u32)(FRESH(s->print) >> 32);
}

INLINE ms_u64 seen_key(ms_u32 family, ms_u64 address, ms_u32 print)
{
	return (address ^ ((ms_u64)print << 20) ^ ((ms_u64)family << 44)) | 1;
}

/* Without address randomisation two programs have the same code at the same place. */
INLINE ms_u32 seen_slot(ms_u32 family, ms_u32 print)
{
	return (print ^ (family * (ms_u32)PRINT_PRIME)) & (SEEN_SLOTS - 1);
}

/* Remember a code object that user space has not been told of; codes.bpf.h sends it. */
INLINE void note_code(struct ms_state *s, ms_u64 address, ms_u32 print)
{
	ms_u32 family = s->process.family;
	ms_u32 slot = seen_slot(family, print);
	ms_u64 *seen = bpf_map_lookup_elem(&ms_seen, &slot);
	ms_u32 at = s->n_new;

	if (!seen || *seen == seen_key(family, address, print) || at >= CODES_PER_SAMPLE)
		return;
	s->new_code[at & (CODES_PER_SAMPLE - 1)] = address;
	s->n_new = at + 1;
}

#endif

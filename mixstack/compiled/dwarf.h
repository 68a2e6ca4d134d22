/* SPDX-License-Identifier: MIT */
/* The pieces of DWARF that call frame information is written in (DWARF 5, 7.6, 7.7, 2.5).
 *
 * Everything is read through a `struct reader`, which never leaves the bytes that it was given: what
 * is not there reads as 0, and the reader is broken from then on. */
#ifndef MIXSTACK_DWARF_H
#define MIXSTACK_DWARF_H

#include "../bpf/mixstack.h"

enum {
	RBP = 6, /* x86-64 psABI, table 3.36: DWARF register numbers */
	RSP = 7,
	R15 = 15,
	RIP = 16,

	DW_OP_DEREF = 0x06,
	DW_OP_PLUS_UCONST = 0x23,
	DW_OP_LIT0 = 0x30,
	DW_OP_BREG0 = 0x70,
	DW_OP_BREG31 = 0x8f,
};

struct reader {
	const ms_u8 *at, *end;
	int broken;
};

static inline struct reader reader_of(const ms_u8 *bytes, ms_u64 size)
{
	struct reader r = { bytes, bytes + size, 0 };

	return r;
}

static inline ms_u64 left(const struct reader *r)
{
	return (ms_u64)(r->end - r->at);
}

static inline void skip(struct reader *r, ms_u64 size)
{
	r->broken |= size > left(r);
	r->at = r->broken ? r->end : r->at + size;
}

/* `size`: up to 8 bytes, little-endian. */
static inline ms_u64 fixed(struct reader *r, unsigned size)
{
	ms_u64 value = 0;
	unsigned i;

	if (size > left(r)) {
		skip(r, size);
		return 0;
	}
	for (i = 0; i < size; i++)
		value |= (ms_u64)r->at[i] << 8 * i;
	r->at += size;
	return value;
}

static inline ms_u8 byte(struct reader *r)
{
	return (ms_u8)fixed(r, 1);
}

/* *bits: how many the number was written with. More than 64 of them break the reader. */
static inline ms_u64 leb(struct reader *r, unsigned *bits)
{
	ms_u64 value = 0;
	ms_u8 more;

	*bits = 0;
	do {
		more = byte(r);
		if (*bits == 63 && more & 0x7e && more != 0x7f)
			r->broken = 1;
		value |= (ms_u64)(more & 0x7f) << *bits;
		*bits += 7;
	} while (more & 0x80 && *bits < 70);
	if (more & 0x80)
		r->broken = 1;
	return value;
}

static inline ms_u64 uleb(struct reader *r)
{
	unsigned bits;

	return leb(r, &bits);
}

static inline ms_s64 sleb(struct reader *r)
{
	unsigned bits;
	ms_u64 value = leb(r, &bits);

	if (bits < 64 && value >> (bits - 1))
		value |= ~0ULL << bits;
	return (ms_s64)value;
}

/* A block with its length before it. */
static inline struct reader block(struct reader *r)
{
	ms_u64 size = uleb(r);
	const ms_u8 *begin = r->at;

	skip(r, size);
	return reader_of(begin, r->broken ? 0 : size);
}

/* `DW_OP_bregN offset`, with which an expression begins; whether it does. */
static inline int base_register(struct reader *expression, ms_s32 *number, ms_s64 *offset)
{
	ms_u8 op = byte(expression);

	if (expression->broken || op < DW_OP_BREG0 || op > DW_OP_BREG31)
		return 0;
	*number = op - DW_OP_BREG0;
	*offset = sleb(expression);
	return !expression->broken;
}

/* Whether an expression is just that. */
static inline int register_plus(struct reader expression, ms_s32 *number, ms_s64 *offset)
{
	return base_register(&expression, number, offset) && !left(&expression);
}

/* Whether it is *(register + offset) + addend. */
static inline int dereference(struct reader expression, ms_s32 *number, ms_s64 *offset, ms_u64 *addend)
{
	*addend = 0;
	if (!base_register(&expression, number, offset) || byte(&expression) != DW_OP_DEREF)
		return 0;
	if (!left(&expression))
		return !expression.broken;
	if (byte(&expression) != DW_OP_PLUS_UCONST)
		return 0;
	*addend = uleb(&expression);
	return !expression.broken && !left(&expression);
}

/* N of what linkers write for .plt: rsp + 8 + ((rip & 15) >= N) * 8; -1 if it is not that. */
static inline int plt_threshold(struct reader expression)
{
	static const ms_u8 head[] = { 0x77, 8, 0x80, 0, 0x3f, 0x1a }, tail[] = { 0x2a, 0x33, 0x24, 0x22 };
	ms_u8 literal;
	unsigned i;

	if (left(&expression) != sizeof(head) + 1 + sizeof(tail))
		return -1;
	for (i = 0; i < sizeof(head); i++)
		if (byte(&expression) != head[i])
			return -1;
	literal = byte(&expression);
	for (i = 0; i < sizeof(tail); i++)
		if (byte(&expression) != tail[i])
			return -1;
	return literal < DW_OP_LIT0 || literal > DW_OP_LIT0 + 15 ? -1 : literal - DW_OP_LIT0;
}

#endif

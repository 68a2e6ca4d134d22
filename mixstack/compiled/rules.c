/* SPDX-License-Identifier: MIT */
/* What the instructions of an FDE say, as rows (DWARF 5, 6.4.2). */
#include "rules.h"

#define NO_ROW (~0ULL) /* what a row cannot say; or, of a rule: not known yet */

enum {
	STATES_MAX = 64, /* remembered at a time; compilers use one or two */
	UCONTEXT_RIP = 168, /* bytes from a ucontext to the saved rip (sys/ucontext.h: uc_mcontext, REG_RIP) */
};

/* A number as `bits` of a row, counted in units; NO_ROW if it does not fit. */
static ms_u64 field(ms_s64 value, ms_s64 unit, ms_s64 least, unsigned bits)
{
	if (value % unit || value / unit < least || value / unit >= least + (1LL << bits))
		return NO_ROW;
	return (ms_u64)(value / unit) & ((1ULL << bits) - 1);
}

/* The row for CFA = number + offset. */
static ms_u64 linear(ms_s32 number, ms_s64 offset)
{
	ms_u64 kind = number == RSP ? MS_ROW_RSP : number == RBP ? MS_ROW_RBP : MS_ROW_REGISTER, word;

	if (number < 0 || number > R15)
		return NO_ROW;
	word = kind == MS_ROW_REGISTER ? field(offset, 8, 0, 5) : field(offset, 8, -(1 << 15), 16);
	if (word == NO_ROW)
		return NO_ROW;
	if (kind == MS_ROW_REGISTER)
		word |= (ms_u64)number << 12;
	return kind << 60 | word << 32;
}

/* The row for the CFA alone. */
static ms_u64 row_of_cfa(const struct state *s)
{
	ms_s32 number;
	ms_s64 offset;
	ms_u64 addend, low, high;
	int threshold;

	if (!s->expression.at)
		return linear(s->base, s->offset);
	threshold = plt_threshold(s->expression);
	if (threshold >= 0)
		return (ms_u64)MS_ROW_PLT << 60 | (ms_u64)threshold << 32;
	if (register_plus(s->expression, &number, &offset))
		return linear(number, offset);
	if (!dereference(s->expression, &number, &offset, &addend) || (number != RSP && number != RBP))
		return NO_ROW;
	low = field(offset, 8, -(1 << 10), 11);
	high = addend > 1 << 16 ? NO_ROW : field((ms_s64)addend, 8, 0, 5);
	if (low == NO_ROW || high == NO_ROW)
		return NO_ROW;
	return (ms_u64)(number == RSP ? MS_ROW_RSP_DEREF : MS_ROW_RBP_DEREF) << 60 | high << 43 | low << 32;
}

/* A row's bits for where the followed register is saved: bytes from the CFA / 8, 0: it is unchanged. */
static ms_u64 followed_bits(const struct state *s)
{
	ms_s32 how = s->followed.how;
	ms_s64 number = s->followed.number;

	if (how == SAME || how == UNDEFINED)
		return 0;
	if (how == RBP && number == 0)
		return MS_RBP_AT_RBP & 0xfff;
	if (how >= 0 && how == s->base)
		number -= s->offset;
	else if (how != AT_CFA)
		return NO_ROW;
	/* At the CFA it cannot be, and the most negative number is taken. */
	return number == 0 || number == MS_RBP_AT_RBP * 8 ? NO_ROW : field(number, 8, -(1 << 11), 12);
}

/* The row for a state, with pc 0: kind NONE for whatever a row cannot say. */
static ms_u64 rule_of(const struct state *s, int signal)
{
	const struct saved *ra = &s->return_address;
	ms_u64 row, bits;

	if (ra->how == UNDEFINED)
		return (ms_u64)MS_ROW_ROOT << 60;
	if (signal) {
		int known = ra->how == RSP || (ra->how == AT_CFA && s->base == RSP);
		ms_s64 from_rsp = ra->how == RSP ? ra->number : s->offset + ra->number;

		return known && from_rsp == UCONTEXT_RIP ? (ms_u64)MS_ROW_SIGNAL << 60 : NO_RULE;
	}
	if (ra->how != AT_CFA || ra->number != -8)
		return NO_RULE;
	row = row_of_cfa(s);
	bits = followed_bits(s);
	return row == NO_ROW || bits == NO_ROW ? NO_RULE : row | bits << 48;
}

static ms_s64 times(ms_u64 number, ms_s64 unit)
{
	return (ms_s64)(number * (ms_u64)unit); /* may wrap: the bytes are anyone's */
}

/* What one of the rarer instructions says of its register. */
static struct saved rule_of_register(struct reader *r, ms_u8 op, ms_s64 data_align)
{
	struct saved saved = { AT_CFA, 0 };
	struct reader expression;

	switch (op) {
	case 0x05: /* offset_extended */
		saved.number = times(uleb(r), data_align);
		return saved;
	case 0x11: /* offset_extended_sf */
		saved.number = times((ms_u64)sleb(r), data_align);
		return saved;
	case 0x2f: /* GNU_negative_offset_extended */
		saved.number = times(0 - uleb(r), data_align);
		return saved;
	case 0x10: /* expression: saved at the address that it computes */
		expression = block(r);
		if (!register_plus(expression, &saved.how, &saved.number))
			saved.how = ELSEWHERE;
		return saved;
	case 0x07: /* undefined */
		saved.how = UNDEFINED;
		return saved;
	case 0x08: /* same_value */
		saved.how = SAME;
		return saved;
	case 0x09: /* register */
	case 0x14: /* val_offset */
	case 0x15: /* val_offset_sf */
		uleb(r);
		break;
	case 0x16: /* val_expression */
		block(r);
		break;
	default:
		r->broken = 1;
	}
	saved.how = ELSEWHERE;
	return saved;
}

static void apply_rare(struct reader *r, ms_u8 op, const struct cie *cie, const struct state *initial,
			      ms_u64 followed, struct state *s)
{
	static const struct reader none;
	struct saved *place;
	ms_u64 which;

	switch (op) {
	case 0x0c: /* def_cfa */
	case 0x12: /* def_cfa_sf */
	case 0x0d: /* def_cfa_register: keeps the offset */
		which = uleb(r);
		s->base = which <= R15 ? (ms_s32)which : NO_REGISTER;
		if (op != 0x0d)
			s->offset = op == 0x0c ? (ms_s64)uleb(r) : times((ms_u64)sleb(r), cie->data_align);
		s->expression = none;
		return;
	case 0x13: /* def_cfa_offset_sf */
		s->offset = times((ms_u64)sleb(r), cie->data_align);
		return;
	case 0x0f: /* def_cfa_expression */
		s->base = NO_REGISTER;
		s->expression = block(r);
		return;
	case 0x2e: /* GNU_args_size: for those who unwind into the frame */
		uleb(r);
		return;
	}
	which = uleb(r);
	place = which == followed ? &s->followed : which == RIP ? &s->return_address : 0;
	if (op == 0x06) { /* restore_extended */
		if (place)
			*place = place == &s->followed ? initial->followed : initial->return_address;
	} else {
		struct saved saved = rule_of_register(r, op, cie->data_align);

		if (place)
			*place = saved;
	}
}

/* As `follow`; leaves the state at the end in *s. rows: or none. */
static long run(const struct cie *cie, struct reader r, const struct state *initial, ms_u64 followed, ms_u64 *rows,
		struct state *s)
{
	struct state remembered[STATES_MAX];
	unsigned depth = 0;
	ms_u64 pc = 0, delta, rule = NO_ROW, last = NO_ROW;
	long count = 0;

	*s = *initial;
	while (left(&r) && !r.broken) {
		ms_u8 op = byte(&r);

		if (op >= 0x80) { /* offset, restore */
			ms_u64 which = op & 0x3f, number = op < 0xc0 ? uleb(&r) : 0;
			struct saved *place =
				which == followed ? &s->followed : which == RIP ? &s->return_address : 0;

			if (!place)
				continue;
			if (op < 0xc0) {
				place->how = AT_CFA;
				place->number = times(number, cie->data_align);
			} else {
				*place = place == &s->followed ? initial->followed : initial->return_address;
			}
			rule = NO_ROW;
			continue;
		}
		if (op < 0x40 && (op < 0x02 || op > 0x04)) {
			if (op == 0x0e) /* def_cfa_offset */
				s->offset = (ms_s64)uleb(&r);
			else if (op == 0x0a && depth < STATES_MAX) /* remember_state */
				remembered[depth++] = *s;
			else if (op == 0x0b && depth) /* restore_state */
				*s = remembered[--depth];
			else if (op == 0x0a || op == 0x0b)
				r.broken = 1;
			else if (op != 0x00) /* nop */
				apply_rare(&r, op, cie, initial, followed, s);
			rule = NO_ROW;
			continue;
		}
		/* advance_loc, advance_loc1, 2, 4 */
		delta = op >= 0x40 ? op & 0x3f : fixed(&r, 1U << (op - 2));
		if (!delta || r.broken)
			continue;
		if (rule == NO_ROW)
			rule = rule_of(s, cie->signal);
		if (rule != last && rows)
			rows[count++] = rule + pc;
		last = rule;
		pc += delta * cie->code_align; /* both are below 4 GiB */
		if (pc > PC_MASK)
			return -1; /* beyond any file */
	}
	if (r.broken)
		return -1;
	rule = rule_of(s, cie->signal);
	if (rule != last && rows)
		rows[count++] = rule + pc;
	return count;
}

int begin(const struct cie *cie, ms_u64 followed, struct state *state)
{
	static const struct state first = {
		.base = NO_REGISTER, .followed = { SAME, 0 }, .return_address = { SAME, 0 },
	};

	return run(cie, cie->instructions, &first, followed, 0, state) >= 0;
}

long follow(const struct cie *cie, struct reader instructions, const struct state *initial, ms_u64 followed,
	    ms_u64 *rows)
{
	struct state last;

	return run(cie, instructions, initial, followed, rows, &last);
}

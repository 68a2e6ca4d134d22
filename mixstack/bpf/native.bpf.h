/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* The native stack, from unwind tables: pc -> mapping -> page -> row -> the caller's registers.
 *
 * Where there is no row, the walk restarts at the next marker of the interpreter's chain: the distance
 * from a marker to its frame's CFA is a constant of the interpreter, learned from clean stacks. */
#ifndef MIXSTACK_NATIVE_H
#define MIXSTACK_NATIVE_H

#include "chain.bpf.h"

enum {
	FRAME_MAX = 1 << 20, /* a frame pointer further away than this is none */

	/* Beside enum ms_native_end: the row wants a register that only `find_base` can tell. In this loop
	 * the search for it would be verified as often as there are frames, and hardly any row asks. */
	NEEDS_BASE = 256,

	/* ucontext of a signal frame (arch/x86: struct sigcontext at 40) */
	SIGNAL_REGISTERS = 40,
	SIGNAL_BP = SIGNAL_REGISTERS + 10 * 8,
	SIGNAL_SP = SIGNAL_REGISTERS + 15 * 8,
	SIGNAL_IP = SIGNAL_REGISTERS + 16 * 8,
};

/* The return address below the CFA, and the saved rbp. */
INLINE int read_caller(struct ms_state *s, struct ms_unwound *to)
{
	cover(s, to->cfa);
	to->bp = s->bp;
	if (read_stack(s, &to->ip, to->cfa - 8) ||
	    (to->bp_offset && read_stack(s, &to->bp, to->cfa + to->bp_offset)))
		return MS_NATIVE_READ_FAULT;
	to->sp = to->cfa;
	to->step = MS_STEP_CALLER;
	return MS_NATIVE_ROOT;
}

INLINE int unwind_signal(struct ms_state *s, struct ms_unwound *to)
{
	ms_u64 sp;

	if (bpf_probe_read_user(&to->bp, 8, s->sp + SIGNAL_BP) ||
	    bpf_probe_read_user(&sp, 8, s->sp + SIGNAL_SP) ||
	    bpf_probe_read_user(&to->ip, 8, s->sp + SIGNAL_IP))
		return MS_NATIVE_READ_FAULT;
	/* The interrupted frame's range begins at its own stack pointer; so ours ends there. A signal
	 * stack of its own may lie anywhere: only then the order of addresses breaks. */
	to->sp = sp;
	to->cfa = sp;
	to->bp_offset = 0;
	to->step = MS_STEP_SIGNAL;
	s->ucontext = s->sp;
	return MS_NATIVE_ROOT;
}

/* Follow a row. Returns an end, MS_NATIVE_ROOT with to->step set meaning "go on". */
INLINE int follow_row(struct ms_state *s, struct ms_unwound *to, ms_u64 row)
{
	ms_s64 bp = row_signed(row, 48, 12) * 8;
	ms_u64 saved_at, base;

	to->bp_offset = bp == MS_RBP_AT_RBP * 8 ? 0 : bp;
	saved_at = s->bp;
	switch (row >> 60) {
	case MS_ROW_RSP:
		to->cfa = s->sp + row_cfa_offset(row);
		break;
	case MS_ROW_RBP:
		to->cfa = s->bp + row_cfa_offset(row);
		break;
	case MS_ROW_RBP_DEREF:
	case MS_ROW_RSP_DEREF:
		base = row >> 60 == MS_ROW_RBP_DEREF ? s->bp : s->sp;
		if (bpf_probe_read_user(&to->cfa, 8, base + row_signed(row, 32, 11) * 8))
			return MS_NATIVE_READ_FAULT;
		to->cfa += (row >> 43 & 31) * 8;
		break;
	case MS_ROW_PLT:
		to->cfa = s->sp + 8 + ((s->ip & 15) >= (row >> 32 & 0xffff) ? 8 : 0);
		break;
	case MS_ROW_REGISTER:
		if (!s->has_base)
			return NEEDS_BASE;
		s->has_base = 0;
		if (!s->base)
			return MS_NATIVE_NO_RULE;
		to->cfa = s->base + (row >> 32 & 31) * 8;
		break;
	case MS_ROW_SIGNAL:
		return unwind_signal(s, to);
	default:
		return MS_NATIVE_NO_RULE;
	}
	if (to->cfa <= s->sp)
		return MS_NATIVE_NO_PROGRESS;
	if (read_caller(s, to))
		return MS_NATIVE_READ_FAULT;
	if (bp == MS_RBP_AT_RBP * 8 && bpf_probe_read_user(&to->bp, 8, saved_at))
		return MS_NATIVE_READ_FAULT;
	return MS_NATIVE_ROOT;
}

/* The pc whose row holds for this frame: a return address may lie behind the function's end. */
INLINE ms_u64 lookup_pc(const struct ms_state *s)
{
	return s->step == MS_STEP_CALLER || s->step == MS_STEP_FRAME_POINTER ? s->ip - 1 : s->ip;
}

/* Does a call instruction end at `pc`? (Intel SDM: E8 rel32, and FF /2 with its addressing forms.) */
INLINE int after_call(ms_u64 pc)
{
	ms_u8 b[8] = {};

	/* The first call of a mapping (the first trampoline of an arena) has nothing readable before it. */
	if (bpf_probe_read_user(b, 8, pc - 8) && bpf_probe_read_user(&b[6], 2, pc - 2))
		return 0;
	return b[3] == 0xe8 || (b[6] == 0xff && (b[7] & 0x38) == 0x10) ||
	       (b[5] == 0xff && (b[6] & 0x38) == 0x10) || (b[4] == 0xff && (b[5] & 0x38) == 0x10) ||
	       (b[2] == 0xff && (b[3] & 0x38) == 0x10) || (b[1] == 0xff && (b[2] & 0x38) == 0x10);
}

/* A system call in a few instructions without a rule (glibc's clone3, whose rules end where the new
 * thread begins): a leaf that has pushed nothing. Only if what lies at rsp is a return address. */
INLINE int step_system_call(struct ms_state *s, struct ms_unwound *to)
{
	ms_u64 ip;

	if (!s->in_system_call || s->step != MS_STEP_LEAF || bpf_probe_read_user(&ip, 8, s->sp) ||
	    !after_call(ip))
		return 0;
	to->cfa = s->sp + 8;
	to->bp_offset = 0;
	to->ip = ip;
	to->sp = to->cfa;
	to->bp = s->bp;
	to->step = MS_STEP_CALLER;
	return 1;
}

/* A step by frame pointer, taken only if what it finds is a return address, and no marker is skipped. */
INLINE int step_frame_pointer(struct ms_state *s, struct ms_unwound *to, ms_u64 next_marker)
{
	ms_u64 words[2];

	if (s->bp < s->sp || s->bp & 7 || s->bp - s->sp > FRAME_MAX)
		return 0;
	to->cfa = s->bp + 16;
	if (next_marker && next_marker < to->cfa)
		return 0;
	if (bpf_probe_read_user(words, 16, s->bp) || !after_call(words[1]))
		return 0;
	to->bp = words[0];
	to->ip = words[1];
	to->sp = to->cfa;
	to->bp_offset = 0;
	to->step = MS_STEP_FRAME_POINTER;
	return 1;
}

INLINE ms_u64 marker_at(struct ms_state *s, ms_u32 index)
{
	return index < s->n_markers ? s->markers[index & (MAX_MARKERS - 1)] : 0;
}

/* The frame [s->sp, cfa) is sound: pass the markers in it, and learn where an evaluator keeps its own. */
INLINE void pass_marker(struct ms_state *s, const struct ms_unwound *to)
{
	ms_u32 next = FRESH(s->next_marker);
	ms_u64 marker = marker_at(s, next);
	struct ms_learned *learned;

	if (!marker || marker >= to->cfa)
		return;
	s->next_marker = next + 1;
	if (marker < s->sp || s->dirty || s->ip - s->process.code_start >= s->process.code_end - s->process.code_start)
		return;
	learned = learned_of(s);
	if (learned && !learned->cfa_from_marker) {
		learned->rbp_from_cfa = to->bp_offset;
		learned->cfa_from_marker = to->cfa - marker;
	}
}

INLINE void append_native(struct ms_state *s, struct ms_sample_buffer *sample, ms_u64 pc, ms_u32 step, ms_u64 cfa)
{
	append(s, sample, (pc & MS_ADDRESS_MASK) | ((ms_u64)step << MS_TAG_SHIFT), cfa);
	sample->head.n_native++;
}

INLINE void go_to(struct ms_state *s, const struct ms_unwound *to)
{
	s->inner_sp = s->sp;
	s->inner_step = s->step;
	s->ip = to->ip;
	s->sp = to->sp;
	s->bp = to->bp;
	s->step = to->step;
}

/* Of a thread that is ending: nothing is missing, it has no stack any more. */
INLINE int only_leaf(struct ms_state *s, struct ms_sample_buffer *sample)
{
	append_native(s, sample, s->ip, MS_STEP_LEAF, s->sp);
	sample->head.native_end = MS_NATIVE_EXITING;
	return WALK_DONE;
}

/* Leave a frame by its frame pointer, on trial: if it was one, the next frame is the marker's. (So it is
 * with the JIT code of 3.15: an evaluator calls it, and it keeps the frame pointer of its entry.) */
INLINE int try_frame_pointer(struct ms_state *s, struct ms_sample_buffer *sample, ms_u64 marker, ms_u64 proof,
			     ms_u8 why)
{
	if (!step_frame_pointer(s, &s->to, marker))
		return 0;
	s->proof = proof;
	s->tried_ip = s->ip;
	s->tried_sp = s->sp;
	s->tried_bp = s->bp;
	s->tried_step = s->step;
	s->tried_why = why;
	append_native(s, sample, s->ip, s->step, s->to.cfa);
	go_to(s, &s->to);
	return 1;
}

/* It was none: back to that frame. Returns why the walk died there. */
INLINE ms_u8 take_back(struct ms_state *s, struct ms_sample_buffer *sample)
{
	s->proof = 0;
	s->ip = s->tried_ip;
	s->sp = s->tried_sp;
	s->bp = s->tried_bp;
	s->step = s->tried_step;
	s->used -= 2;
	sample->head.n_native--;
	return s->tried_why;
}

/* The walk died at s->ip: restart at the next marker, or cut here. `tried`: not by frame pointer. */
INLINE int recover(struct ms_state *s, struct ms_sample_buffer *sample, ms_u8 why, int tried)
{
	ms_u32 next = FRESH(s->next_marker);
	struct ms_learned *learned = learned_of(s);
	struct ms_unwound *to = &s->to;
	ms_u64 marker = marker_at(s, next);
	ms_u64 ip = s->ip;
	ms_u32 step = s->step;

	if (s->exiting && why == MS_NATIVE_READ_FAULT && step == MS_STEP_LEAF)
		return only_leaf(s, sample);
	if (why == MS_NATIVE_NO_RULE && step_system_call(s, to)) {
		append_native(s, sample, ip, step, to->cfa);
		go_to(s, to);
		return WALK_ON;
	}
	if (why == MS_NATIVE_NO_RULE && s->new_thread && step == MS_STEP_LEAF) {
		/* Its first instruction: the thread begins here. */
		append_native(s, sample, ip, step, s->sp);
		sample->head.native_end = MS_NATIVE_ROOT;
		return WALK_DONE;
	}
	s->dirty = 1;
	sample->head.end_pc = (ip & MS_ADDRESS_MASK) | ((ms_u64)why << MS_TAG_SHIFT);
	if (why == MS_NATIVE_NO_TABLE)
		sample->head.flags |= MS_SAMPLE_NO_TABLE;
	if (marker > s->sp && learned && learned->cfa_from_marker) {
		if (!tried && try_frame_pointer(s, sample, marker, marker + learned->cfa_from_marker, why))
			return WALK_ON;
		to->cfa = marker + learned->cfa_from_marker;
		to->bp_offset = learned->rbp_from_cfa;
		if (read_caller(s, to) == MS_NATIVE_ROOT && after_call(to->ip)) {
			/* How far the dead frame reaches is unknown: it gets an empty range. */
			append_native(s, sample, ip, step, s->sp);
			append_native(s, sample, 0, MS_STEP_RESYNC, to->cfa);
			s->next_marker = next + 1;
			go_to(s, to);
			return WALK_ON;
		}
	} else if (step_frame_pointer(s, to, marker)) {
		append_native(s, sample, ip, step, to->cfa);
		go_to(s, to);
		return WALK_ON;
	}
	append_native(s, sample, ip, step, s->sp);
	sample->head.native_end = why;
	return WALK_DONE;
}

/* Find the rule for s->ip and follow it: MS_NATIVE_ROOT with the caller in s->to, or why it failed.
 * `root` is set where the thread's first frame is reached. */
INLINE int leave_frame(struct ms_state *s, struct ms_sample_buffer *sample, int *root)
{
	ms_u64 pc = lookup_pc(s), row;

	if (!find_mapping(s, pc)) {
		sample->head.flags |= MS_SAMPLE_NEW_MAPPING;
		return MS_NATIVE_NO_MAPPING;
	}
	if (s->mapping.kind != MS_MAPPING_TABLE)
		return MS_NATIVE_NO_TABLE;
	row = find_row(s, pc);
	*root = row >> 60 == MS_ROW_ROOT;
	return *root ? MS_NATIVE_ROOT : follow_row(s, &s->to, row);
}

INLINE int native_step(struct ms_state *s, struct ms_sample_buffer *sample)
{
	struct ms_unwound *to = &s->to;
	int root = 0, tried = 0;

	if (sample->head.n_native >= MAX_NATIVE) {
		sample->head.native_end = MS_NATIVE_TRUNCATED;
		return WALK_DONE;
	}
	FRESH(s->failure) = leave_frame(s, sample, &root);
	FORGET();
	if (FRESH(s->failure) == NEEDS_BASE)
		return WALK_BASE;
	if (s->proof && FRESH(s->failure) == MS_NATIVE_ROOT && !root && to->cfa == s->proof)
		s->proof = 0;
	if (s->proof) {
		FRESH(s->failure) = take_back(s, sample);
		tried = 1;
		root = 0;
	}
	if (root) {
		append_native(s, sample, s->ip, s->step, s->sp + 8);
		sample->head.native_end = MS_NATIVE_ROOT;
		return WALK_DONE;
	}
	if (FRESH(s->failure) == MS_NATIVE_NO_MAPPING && s->step == MS_STEP_FRAME_POINTER) {
		/* No code there: the frame pointer was none, and this is no frame. */
		sample->head.native_end = MS_NATIVE_NO_RULE;
		return WALK_DONE;
	}
	if (FRESH(s->failure) != MS_NATIVE_ROOT)
		return recover(s, sample, FRESH(s->failure), tried);
	if (s->search == SEARCH_ON && !s->outer_cfa && s->step != MS_STEP_LEAF &&
	    s->ip - s->process.evaluator_start < s->process.evaluator_end - s->process.evaluator_start)
		s->outer_cfa = to->cfa;
	pass_marker(s, to);
	append_native(s, sample, s->ip, s->step, to->cfa);
	go_to(s, to);
	return WALK_ON;
}

#endif

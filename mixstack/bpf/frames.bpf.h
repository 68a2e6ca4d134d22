/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* The interpreter's chain before 3.11: frame objects on the heap, one per evaluation.
 *
 * All frames of a thread state are sent, then their markers. 3.10 has a list of markers, the CFrames on
 * the C stack. 3.8 and 3.9 have none. But their evaluators keep the address of their frame's local
 * variables in a place that is the same in all of them: in the binary's evaluator, at a constant
 * distance from the CFA. That place is the marker, and it even says whose it is. It is looked for after
 * the native walk; the distance is learned from the first stacks. */
#ifndef MIXSTACK_FRAMES_H
#define MIXSTACK_FRAMES_H

#include "chain.bpf.h"

enum {
	LEARN_PER_SAMPLE = 2, /* each takes two tail calls */
};

/* f_state of 3.10 while an evaluator runs the frame (Include/cpython/frameobject.h) */
enum {
	FRAME_EXECUTING = 0,
	FRAME_UNWINDING = 2,
};

INLINE int has_cframes(const struct ms_state *s)
{
	return s->process.layout.chain_kind == MS_CHAIN_KIND_FRAME_CFRAME;
}

/* 3.10: an evaluator links its CFrame before its frame, and unlinks it before that, too. In between
 * the newest of the two lists do not belong together. */
INLINE void settle(struct ms_state *s, struct ms_sample_buffer *sample)
{
	ms_u8 state = frame8(s, s->process.layout.frame_state);

	if ((state == FRAME_EXECUTING || state == FRAME_UNWINDING) && !in_prologue(s))
		sample->head.flags |= MS_SAMPLE_SETTLED;
}

/* The frames have ended, for this reason; their markers are next. */
INLINE int end_frames(struct ms_state *s, struct ms_sample_buffer *sample, ms_u8 why)
{
	sample->head.chain_end = why;
	s->frame = 0;
	s->in_markers = 1;
	return WALK_ON;
}

INLINE int frame_step(struct ms_state *s, struct ms_sample_buffer *sample)
{
	const struct ms_layout *l = &s->process.layout;
	ms_u64 frame = s->frame, code;
	ms_u32 print;
	ms_s32 offset;

	if (!frame)
		return end_frames(s, sample, MS_CHAIN_ROOT);
	if (s->n_frames >= MAX_FRAMES || sample->head.n_chain >= MAX_CHAIN)
		return end_frames(s, sample, MS_CHAIN_TRUNCATED);
	if (read_frame_alone(s, frame))
		return end_frames(s, sample, MS_CHAIN_READ_FAULT);
	s->frame = frame64(s, l->frame_previous);
	if (has_cframes(s)) {
		if (sample->head.n_chain == 0)
			settle(s, sample);
	} else if (s->n_frames == 0 && !frame8(s, l->frame_state) && !s->tracing) {
		/* It is being entered or left, or is an extension's own invention. (A frame further out
		 * has an evaluator: one that is being entered may call a trace function.) Nothing is learned:
		 * the innermost evaluator may be its, and holds its caller's locals in a place of its own. */
		s->learning = LEARN_PER_SAMPLE;
		return WALK_ON;
	}
	code = frame64(s, l->frame_code);
	if (read_object(s->code_bytes, l->code_size, code))
		return end_frames(s, sample, MS_CHAIN_READ_FAULT);
	if (field64(s->code_bytes, l->object_type) != s->process.code_type)
		return end_frames(s, sample, MS_CHAIN_INVALID);
	print = fingerprint(s);
	offset = (ms_s32)frame32(s, l->frame_instr) * l->instr_scale;
	append(s, sample, code & MS_ADDRESS_MASK, ((ms_u64)print << 32) | (ms_u32)offset);
	sample->head.n_chain++;
	note_code(s, code, print);
	if (s->n_locals + s->n_frames < MAX_MARKERS)
		s->locals[(s->n_locals + s->n_frames) & (MAX_MARKERS - 1)] = frame + l->frame_locals;
	s->n_frames++;
	return WALK_ON;
}

/* The thread state has a CFrame of its own, before the outermost evaluator's. */
INLINE int cframe_step(struct ms_state *s, struct ms_sample_buffer *sample)
{
	ms_u64 previous;

	if (!s->cframe || s->cframe == s->root_cframe)
		return WALK_DONE;
	if (s->n_paired >= MAX_MARKERS || sample->head.n_chain >= MAX_CHAIN)
		return WALK_DONE; /* the outermost frames just have no marker */
	if (bpf_probe_read_user(&previous, 8, s->cframe + s->process.layout.cframe_previous))
		return end_chain(sample, MS_CHAIN_READ_FAULT);
	append_marker(s, sample, s->cframe);
	s->n_paired++;
	s->cframe = previous;
	return WALK_ON;
}

/* Room for the frames' markers, which are found after the native walk. */
INLINE int slot_step(struct ms_state *s, struct ms_sample_buffer *sample)
{
	ms_u32 at = s->n_locals;

	if (s->n_paired >= s->n_frames || at >= MAX_MARKERS || sample->head.n_chain >= MAX_CHAIN)
		return WALK_DONE;
	s->local_words[at & (MAX_MARKERS - 1)] = s->used;
	append(s, sample, (ms_u64)MS_ENTRY_MARKER << MS_TAG_SHIFT, 0);
	sample->head.n_chain++;
	s->n_paired++;
	s->n_locals = at + 1;
	return WALK_ON;
}

INLINE int marker_step(struct ms_state *s, struct ms_sample_buffer *sample)
{
	return has_cframes(s) ? cframe_step(s, sample) : slot_step(s, sample);
}

INLINE int start_frames(struct ms_state *s, struct ms_sample_buffer *sample)
{
	const struct ms_layout *l = &s->process.layout;

	s->frame = field64(s->tstate_bytes, l->tstate_frame);
	s->cframe = field64(s->tstate_bytes, l->tstate_cframe);
	s->n_frames = 0;
	s->n_paired = 0;
	s->in_markers = 0;
	s->tracing = field32(s->tstate_bytes, l->tstate_tracing);
	sample->head.flags |= MS_SAMPLE_PAIRED;
	if (has_cframes(s))
		return WALK_ON;
	sample->head.flags |= MS_SAMPLE_SETTLED;
	return WALK_ON;
}

enum {
	WALK_LEARN = 4,     /* an end of a round: learn from this frame first */
	SLOTS_LEARNED = 64, /* evaluators that must agree before no more is learned */
	SLOTS_ENOUGH = 16,  /* ... and before it is used */
	SLOTS_FIRST = 8,    /* above it lie the return address and the caller's registers */
	MISSED_MAX = 8,     /* frames whose evaluator may be missing on the native stack */
	MARKERS_PER_CALL = 68,
};

/* Which places of the frame [sp, cfa) hold this value? Only an evaluator's does; the places that all
 * evaluators have in common are learned, and of them the closest to the CFA is taken. */
INLINE void learn_slot(struct ms_state *s, struct ms_learned *learned, ms_u64 sp, ms_u64 cfa, ms_u64 value)
{
	ms_u64 possible = learned->seen ? learned->slots : ~0ULL;

	if (bpf_probe_read_user(s->stack_bytes, sizeof(s->stack_bytes), cfa - sizeof(s->stack_bytes)))
		return;
	FRESH(s->found) = 0;
	FRESH(s->matched) = 0;
	NO_UNROLL for (ms_u32 i = STACK_WORDS - 1; i >= SLOTS_FIRST; i--) {
		if (s->stack_bytes[(STACK_WORDS - i) & (STACK_WORDS - 1)] != value || cfa - 8ULL * i < sp)
			continue;
		FRESH(s->found) |= 1ULL << i;
		if (possible & (1ULL << i))
			FRESH(s->matched) = i;
	}
	if (!FRESH(s->found))
		return;
	/* A contradiction is a vote against what was learned: an evaluator that has not noted its frame
	 * yet may hold the address elsewhere by chance. At 0 it begins again. */
	if (!(possible & FRESH(s->found))) {
		learned->seen--;
		return;
	}
	learned->slots = possible & FRESH(s->found);
	learned->slot = FRESH(s->matched);
	learned->seen++;
	if (!FRESH(s->slot)) /* it will not be matched: the next evaluator has the next frame's */
		FRESH(s->next_local) += 1;
}

/* Is the native frame [sp, cfa) an evaluator, and whose? A frame that is passed over stays unknown.
 *
 * If the leaf has noted its frame, that is the newest. If it is only being entered, what it has there is
 * left over from the last one in its place, and may be a frame that runs again by now: so a frame that an
 * evaluator further out lays claim to is that one's. But one that tells a trace function of its call is
 * being entered itself, and the leaf runs. */
INLINE void match_frame(struct ms_state *s, struct ms_sample_buffer *sample, ms_u64 sp, ms_u64 cfa)
{
	ms_u32 next = FRESH(s->next_local);
	ms_u64 value = 0, at = cfa - 8ULL * FRESH(s->slot);

	if (at == cfa || at < sp || bpf_probe_read_user(&value, 8, at))
		return;
	FRESH(s->matched) = MISSED_MAX;
	NO_UNROLL for (ms_u32 i = MISSED_MAX; i > 0; i--) {
		if (s->locals[(next + i - 1) & (MAX_MARKERS - 1)] == value)
			FRESH(s->matched) = i - 1;
	}
	next += FRESH(s->matched);
	if (FRESH(s->matched) == MISSED_MAX || next >= s->n_locals)
		return;
	/* Thread states call each other in any order: all their frames are looked for each time. */
	if (!(sample->head.flags & MS_SAMPLE_SEVERAL)) {
		if (!FRESH(s->next_native) && next)
			return;
		FRESH(s->leaf_claims) = !FRESH(s->next_native) && !FRESH(s->tracing);
		FRESH(s->next_local) = next + !FRESH(s->leaf_claims);
	}
	sample->words[s->local_words[next & (MAX_MARKERS - 1)] & (RECORD_WORDS - 1)] =
		(at & MS_ADDRESS_MASK) | ((ms_u64)MS_ENTRY_MARKER << MS_TAG_SHIFT);
}

/* The native frame that is looked at, `next_native`: its pc if it is the interpreter's, else 0. */
INLINE ms_u64 bounds_of_native(struct ms_state *s, struct ms_sample_buffer *sample, ms_u64 *sp, ms_u64 *cfa)
{
	ms_u32 i = FRESH(s->next_native);
	ms_u32 at = s->used - 2 * sample->head.n_native + 2 * i;
	ms_u64 pc = sample->words[at & (RECORD_WORDS - 1)] & MS_ADDRESS_MASK;

	*cfa = sample->words[(at + 1) & (RECORD_WORDS - 1)];
	*sp = i ? sample->words[(at - 1) & (RECORD_WORDS - 1)] : sample->head.sp;
	if (pc - s->process.code_start >= s->process.code_end - s->process.code_start || *cfa <= *sp)
		return 0;
	return pc;
}

/* One native frame, from the leaf on. */
INLINE int marker_of_native(struct ms_state *s, struct ms_sample_buffer *sample)
{
	ms_u64 sp, cfa, pc;

	if (FRESH(s->next_native) >= sample->head.n_native || FRESH(s->next_local) >= s->n_locals)
		return WALK_DONE;
	pc = bounds_of_native(s, sample, &sp, &cfa);
	if (pc) {
		/* Only from what is the evaluator by its symbol: what calls it has the same address at
		 * hand. And not from a leaf, which may not have stored it yet. */
		if (pc - s->process.evaluator_start < s->process.evaluator_end - s->process.evaluator_start &&
		    s->seen < SLOTS_LEARNED && s->next_native && s->learned_at != s->next_native &&
		    s->learning < LEARN_PER_SAMPLE)
			return WALK_LEARN;
		match_frame(s, sample, sp, cfa);
	}
	FRESH(s->next_native) += 1;
	return WALK_ON;
}

#endif

/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* The interpreter's chain: from the thread state to the outermost _PyInterpreterFrame.
 *
 * One read per code object, of the whole structure, and one for some frames that lie side by side: a
 * read costs the same for 8 bytes as for 1,000. Nothing of it is trusted: every pointer may be garbage,
 * every chain a cycle. */
#ifndef MIXSTACK_CHAIN_H
#define MIXSTACK_CHAIN_H

#include "caller.bpf.h"
#include "print.bpf.h"
#include "tables.bpf.h"

/* What a step says. All but the first end the loop; what the last four ask for is done after it, once. */
enum ms_walk {
	WALK_ON = 0,
	WALK_DONE = 1,
	WALK_TORN = 2,     /* what was read cannot be the chain */
	WALK_NO_FRAME = 3, /* there is no further frame */
	WALK_BASE = 4,     /* the native walk needs a register that is to be looked for */
	WALK_CALLER = 5,   /* the newest frame's caller is to be looked for */
};

INLINE int end_chain(struct ms_sample_buffer *sample, ms_u8 why)
{
	sample->head.chain_end = why;
	return WALK_DONE;
}

INLINE int append_marker(struct ms_state *s, struct ms_sample_buffer *sample, ms_u64 marker)
{
	ms_u32 at = s->n_markers;

	if (at < MAX_MARKERS) {
		s->markers[at & (MAX_MARKERS - 1)] = marker;
		s->n_markers = at + 1;
	}
	append(s, sample, (marker & MS_ADDRESS_MASK) | ((ms_u64)MS_ENTRY_MARKER << MS_TAG_SHIFT), 0);
	sample->head.n_chain++;
	return WALK_ON;
}

INLINE int read_cframe(const struct ms_layout *l, ms_u64 address, ms_u64 *frame, ms_u64 *previous)
{
	ms_u64 words[3] = {};

	if (bpf_probe_read_user(words, sizeof(words), address))
		return 1;
	/* Both fields are words 0..2 of a _PyCFrame; picked without a variable index into the stack. */
	*frame = l->cframe_current_frame == 0 ? words[0] : words[1];
	*previous = l->cframe_previous == 8 ? words[1] : words[2];
	return 0;
}

/* The newest evaluator has linked its record but not yet filled it (3.11, 3.12): what we saw of it,
 * its link to the one before included, is left-over memory. Forget it; the native walk finds the one
 * before. An impossible chain further out, or in a later version, is an overwritten one. */
INLINE void torn(struct ms_state *s, struct ms_sample_buffer *sample)
{
	sample->head.chain_end = MS_CHAIN_INVALID;
	if (s->trust != TRUST_NEWEST || s->process.layout.chain_kind == MS_CHAIN_KIND_SHIM)
		return;
	s->used -= 2 * sample->head.n_chain;
	s->n_markers = 0;
	s->n_new = 0;
	s->open = 0;
	sample->head.n_chain = 0;
	sample->head.flags |= MS_SAMPLE_TORN;
	s->search = SEARCH_ON;
}

/* The prologue of the evaluator links its record before it fills it, in one 16-byte store (3.11.7,
 * 3.12.1 as GCC compiles them). In its body the frame that it runs is in a register: a record that is
 * filled names that frame. */
enum { PROLOGUE_MAX = 256 };

INLINE int in_prologue(const struct ms_state *s)
{
	return s->process.evaluator_start &&
	       s->ip - s->process.evaluator_start < PROLOGUE_MAX;
}

/* Go on at the evaluator whose native frame the search found: its record is at a constant distance
 * from the CFA. The segment is checked like a newest one. */
INLINE int resume_chain(struct ms_state *s, struct ms_sample_buffer *sample)
{
	struct ms_learned *learned = learned_of(s);
	const struct ms_layout *l = &s->process.layout;
	ms_u64 frame, previous, cframe;

	s->search = SEARCH_DONE;
	if (!s->outer_cfa && s->whole_stack && in_prologue(s)) {
		/* The newest evaluator is the outermost as well: it holds no frame yet, and none is lost. */
		sample->head.flags &= ~MS_SAMPLE_TORN;
		return end_chain(sample, MS_CHAIN_ROOT);
	}
	if (!s->outer_cfa || !learned || !learned->cfa_from_marker)
		return end_chain(sample, MS_CHAIN_INVALID);
	cframe = s->outer_cfa - learned->cfa_from_marker;
	if (l->chain_kind == MS_CHAIN_KIND_CFRAME_SHIM) {
		if (!learned->marker_from_cframe)
			return end_chain(sample, MS_CHAIN_INVALID);
		cframe -= learned->marker_from_cframe;
	}
	if (read_cframe(l, cframe, &frame, &previous))
		return end_chain(sample, MS_CHAIN_READ_FAULT);
	s->cframe = cframe;
	s->outer_cframe = previous;
	s->frame = frame;
	s->trust = TRUST_FOUND;
	return WALK_ON;
}

INLINE void learn_cframe(struct ms_state *s, ms_u64 marker)
{
	struct ms_learned *learned = learned_of(s);

	if (learned && !learned->marker_from_cframe)
		learned->marker_from_cframe = marker - s->cframe;
}

/* The end of a segment: `previous` must be the frame that the evaluator before was at. That ties what
 * we walked to the evaluators that are known to live; left-over memory fails here. */
INLINE int end_segment(struct ms_state *s, struct ms_sample_buffer *sample, ms_u64 marker, ms_u64 previous)
{
	const struct ms_layout *l = &s->process.layout;
	ms_u64 outer_frame = 0, outer_previous = 0;

	if (l->chain_kind == MS_CHAIN_KIND_CFRAME ||
	    (l->chain_kind == MS_CHAIN_KIND_CFRAME_SHIM && s->trust != TRUST_PROVEN)) {
		if (s->outer_cframe &&
		    read_cframe(l, s->outer_cframe, &outer_frame, &outer_previous))
			return s->trust == TRUST_NEWEST ? WALK_TORN
							: end_chain(sample, MS_CHAIN_READ_FAULT);
		if (outer_frame != previous)
			return WALK_TORN;
		/* Only the thread state's own record has no frame, and the one before it that greenlet
		 * makes for a new C stack. A null frame that left-over memory leads to would end the
		 * chain just so. */
		if (s->trust == TRUST_NEWEST && !previous && s->outer_cframe != s->root_cframe &&
		    outer_previous != s->root_cframe)
			return WALK_TORN;
		if (l->chain_kind == MS_CHAIN_KIND_CFRAME_SHIM && s->trust == TRUST_NEWEST)
			learn_cframe(s, marker);
		s->cframe = s->outer_cframe;
		s->outer_cframe = outer_previous;
	}
	s->trust = TRUST_PROVEN;
	s->open = 0;
	s->frame = previous;
	return append_marker(s, sample, marker);
}

INLINE int in_a_register(const struct ms_regs *r, ms_u64 value)
{
	return r->r15 == value || r->r14 == value || r->r13 == value || r->r12 == value ||
	       r->bp == value || r->bx == value || r->r11 == value || r->r10 == value ||
	       r->r9 == value || r->r8 == value || r->ax == value || r->cx == value ||
	       r->dx == value || r->si == value || r->di == value;
}

/* The evaluator's own registers are known: it is the leaf. */
INLINE int leaf_is_evaluator(const struct ms_state *s)
{
	return s->ip - s->process.evaluator_start <
	       s->process.evaluator_end - s->process.evaluator_start;
}

/* The newest frame has no caller, or what it names is none: the evaluator links a frame that it calls
 * before it has filled it (3.12: a call stores the caller ten instructions later). */
INLINE int is_being_linked(const struct ms_state *s, const struct ms_sample_buffer *sample)
{
	return s->open && s->trust == TRUST_NEWEST && sample->head.n_chain == 1 &&
	       s->process.layout.chain_kind == MS_CHAIN_KIND_CFRAME_SHIM && leaf_is_evaluator(s);
}

INLINE int without_caller(struct ms_state *s, struct ms_sample_buffer *sample, int why)
{
	if (why == WALK_TORN)
		return WALK_TORN;
	if (s->open)
		return end_chain(sample, MS_CHAIN_INVALID);
	if (s->trust == TRUST_NEWEST && s->outer_cframe && in_prologue(s))
		return WALK_TORN;
	return end_chain(sample, MS_CHAIN_ROOT);
}

/* The frame that was believed to be the newest one's caller does not lead to the evaluator's end. */
INLINE int has_other_caller(const struct ms_state *s)
{
	return s->other_caller && s->open && s->trust == TRUST_NEWEST;
}

INLINE int with_other_caller(struct ms_state *s, struct ms_sample_buffer *sample)
{
	s->used -= 2 * (sample->head.n_chain - 1);
	sample->head.n_chain = 1;
	s->frame = s->other_caller;
	s->other_caller = 0;
	return WALK_ON;
}

/* No further frame, or none that can be one. In the middle of a segment that is no end; or the newest
 * record is not filled. */
INLINE int end_of_chain(struct ms_state *s, struct ms_sample_buffer *sample, int why)
{
	if (has_other_caller(s))
		return with_other_caller(s, sample);
	if (is_being_linked(s, sample)) {
		if (s->caller_sought) { /* what was found is none, and would be found again */
			if (in_prologue(s)) /* a new evaluator's shim, before it is filled */
				return WALK_TORN;
			return end_chain(sample, MS_CHAIN_INVALID);
		}
		s->caller_sought = 1;
		s->said = why;
		return WALK_CALLER;
	}
	return without_caller(s, sample, why);
}

/* Where the bytecode lies that the frame runs. A free-threaded build has a copy of it per thread:
 * _PyCodeArray (Include/cpython/code.h), a count and that many pointers; the first is the object's own. */
INLINE ms_u64 bytecode(struct ms_state *s, ms_u64 code)
{
	const struct ms_layout *l = &s->process.layout;
	ms_u64 copy = 0;
	ms_u32 index;

	if (!l->code_tlbc)
		return code + l->code_adaptive;
	index = frame32(s, l->frame_tlbc_index);
	if (index && bpf_probe_read_user(&copy, 8, field64(s->code_bytes, l->code_tlbc) + 8 + 8ULL * index) == 0)
		return copy;
	return code + l->code_adaptive;
}

/* The prologue links the frame that it runs, and the shim behind it, before it has filled the shim
 * (3.13.5 of Debian: two instructions before). But only a shim lies on the C stack. */
INLINE int is_new_shim(const struct ms_state *s, ms_u64 frame)
{
	return s->process.layout.chain_kind == MS_CHAIN_KIND_SHIM && in_prologue(s) &&
	       frame - s->sp < PAGE;
}

/* The frame that was read last, which is one of Python. Sets `marker` if its segment ends with it. */
INLINE int frame_entry(struct ms_state *s, struct ms_sample_buffer *sample, ms_u64 frame, ms_u8 owner)
{
	const struct ms_layout *l = &s->process.layout;
	/* The low bits of a stack reference are tags; objects are 8-aligned. */
	ms_u64 code = frame64(s, l->frame_code) & ~7ULL;
	ms_s64 offset;
	ms_u32 print, tag = MS_ENTRY_FRAME;

	if (owner > 4)
		return WALK_TORN;
	if (!code || code != s->code_at) { /* a function that calls itself is read once */
		s->code_at = 0;
		if (read_object(s->code_bytes, l->code_size, code))
			return WALK_TORN;
		if (field64(s->code_bytes, l->object_type) != s->process.code_type)
			return WALK_TORN;
		s->code_print = fingerprint(s);
		s->code_at = code;
	}
	print = s->code_print;
	offset = (ms_s64)(frame64(s, l->frame_instr) - bytecode(s, code));
	/* _PyFrame_IsIncomplete (Include/internal/pycore_frame.h); 1 is FRAME_OWNED_BY_GENERATOR. */
	if (owner != 1 && offset < 2 * (ms_s64)(ms_s32)field32(s->code_bytes, l->code_first_traceable))
		tag = MS_ENTRY_INCOMPLETE;
	append(s, sample, (code & MS_ADDRESS_MASK) | ((ms_u64)tag << MS_TAG_SHIFT),
	       ((ms_u64)print << 32) | (ms_u32)offset);
	sample->head.n_chain++;
	s->open = 1;
	s->last_frame = frame;
	if (tag == MS_ENTRY_FRAME)
		note_code(s, code, print);
	if (l->chain_kind == MS_CHAIN_KIND_CFRAME && frame8(s, l->frame_is_entry))
		FRESH(s->marker) = s->cframe;
	return WALK_ON;
}

INLINE int chain_step(struct ms_state *s, struct ms_sample_buffer *sample)
{
	const struct ms_layout *l = &s->process.layout;
	ms_u64 frame = s->frame;
	ms_u8 owner;

	if (!frame || frame == s->base_frame)
		return WALK_NO_FRAME;
	if (sample->head.n_chain >= MAX_CHAIN)
		return end_chain(sample, MS_CHAIN_TRUNCATED);
	if (read_frame(s, frame))
		return s->trust == TRUST_NEWEST ? WALK_TORN
						: end_chain(sample, MS_CHAIN_READ_FAULT);
	owner = frame8(s, l->frame_owner);
	s->frame = frame64(s, l->frame_previous);
	FRESH(s->marker) = 0;
	FRESH(s->said) = WALK_ON;
	if (l->chain_kind != MS_CHAIN_KIND_CFRAME && (owner >= l->shim_owner || is_new_shim(s, frame)))
		FRESH(s->marker) = frame;
	else
		FRESH(s->said) = frame_entry(s, sample, frame, owner);
	FORGET();
	if (FRESH(s->said) != WALK_ON)
		return FRESH(s->said);
	return FRESH(s->marker) ? end_segment(s, sample, FRESH(s->marker), FRESH(s->frame)) : WALK_ON;
}

/* Whether the record lies in the leaf's own frame: below its CFA. Without a rule: it may. */
INLINE int in_leaf(struct ms_state *s, ms_u64 record)
{
	ms_u64 row = find_mapping(s, s->ip) ? find_row(s, s->ip) : 0;

	if (row >> 60 == MS_ROW_RSP)
		return record < s->sp + row_cfa_offset(row);
	if (row >> 60 == MS_ROW_RBP)
		return record < s->bp + row_cfa_offset(row);
	return 1;
}

/* From the thread state to the newest frame. */
INLINE int start_chain(struct ms_state *s, struct ms_sample_buffer *sample)
{
	const struct ms_layout *l = &s->process.layout;
	ms_u64 frame, previous, start = field64(s->tstate_bytes, l->tstate_frame);

	/* An outer thread state of the thread is inside a call: its record is filled. */
	s->trust = sample->head.n_chain ? TRUST_PROVEN : TRUST_NEWEST;
	s->open = 0;
	s->base_frame = l->tstate_base_frame ? field64(s->tstate_bytes, l->tstate_base_frame) : 0;
	if (l->chain_kind == MS_CHAIN_KIND_SHIM) {
		s->frame = start;
		return WALK_ON;
	}
	if (!start || read_cframe(l, start, &frame, &previous))
		return end_chain(sample, MS_CHAIN_READ_FAULT);
	s->cframe = start;
	s->outer_cframe = previous;
	s->frame = frame;
	s->newest_frame = frame;
	if (in_prologue(s) && in_leaf(s, start) && (!frame || !in_a_register(&s->regs, frame)))
		return WALK_TORN;
	return WALK_ON;
}

/* The first call for a thread state: `tstate` is taken out of the state, a later call goes on. */
INLINE int read_thread_state(struct ms_state *s, struct ms_sample_buffer *sample)
{
	ms_u64 tstate = s->tstate;

	s->tstate = 0;
	s->root_cframe = tstate + s->process.layout.tstate_root_cframe;
	if (read_object(s->tstate_bytes, OBJECT_MAX - 8, tstate))
		return end_chain(sample, MS_CHAIN_READ_FAULT);
	if (field64(s->tstate_bytes, s->process.layout.tstate_thread_id) != s->fsbase)
		return end_chain(sample, MS_CHAIN_NO_THREAD_STATE);
	if (sample->head.n_chain)
		sample->head.flags |= MS_SAMPLE_SEVERAL;
	return WALK_ON;
}

#endif

/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* A sample: its state and its record before anything is walked, and how it is sent. */
#ifndef MIXSTACK_SAMPLE_H
#define MIXSTACK_SAMPLE_H

#include "state.bpf.h"

INLINE void start_sample(struct ms_state *s, struct ms_sample_buffer *sample, ms_u64 pid_tid)
{
	s->used = 0;
	s->n_markers = 0;
	s->n_new = 0;
	s->next_new = 0;
	s->search = SEARCH_NONE;
	s->open = 0;
	s->caller_sought = 0;
	s->other_caller = 0;
	s->walking_frames = 0;
	s->n_locals = 0;
	s->slot = 0;
	s->next_local = 0;
	s->leaf_claims = 0;
	s->next_native = 0;
	s->learned_at = 0;
	s->learning = 0;
	s->outer_cfa = 0;
	s->window_bytes = 0;
	s->frames_bytes = 0;
	s->last_frame = 0;
	s->code_at = 0;
	s->mapping.start = 0;
	s->mapping.end = 0;
	sample->head.record = MS_RECORD_SAMPLE;
	sample->head.flags = 0;
	sample->head.time_ns = bpf_ktime_get_ns();
	sample->head.pid = pid_tid >> 32;
	sample->head.tid = (ms_u32)pid_tid;
	sample->head.cpu = bpf_get_smp_processor_id();
	sample->head.n_kernel = 0;
	sample->head.n_chain = 0;
	sample->head.n_native = 0;
	sample->head.chain_end = MS_CHAIN_TAIL_CALLS;
	sample->head.sp = 0;
	bpf_get_current_comm(sample->head.comm, sizeof(sample->head.comm));
}

/* Before the first native frame; also the second time, if a search on the stack went before. */
INLINE void start_native(struct ms_state *s, struct ms_sample_buffer *sample)
{
	s->ip = s->leaf_ip;
	s->sp = sample->head.sp;
	s->bp = s->leaf_bp;
	s->step = MS_STEP_LEAF;
	s->next_marker = 0;
	s->dirty = 0;
	s->proof = 0;
	s->has_base = 0;
	s->used -= 2 * sample->head.n_native;
	sample->head.n_native = 0;
	sample->head.end_pc = 0;
	sample->head.native_end = MS_NATIVE_NO_USER_REGS;
}

/* How soon user space is to have a sample. A new library is to be known at once; what is never known
 * must not wake it each time. */
INLINE ms_u64 urgency(struct ms_state *s, const struct ms_sample_buffer *sample)
{
	if (!(sample->head.flags & MS_SAMPLE_NEW_MAPPING) ||
	    sample->head.time_ns - s->woken_ns < WAKE_EVERY_NS)
		return BPF_RB_NO_WAKEUP;
	s->woken_ns = sample->head.time_ns;
	return BPF_RB_FORCE_WAKEUP;
}

INLINE void submit(struct ms_state *s, struct ms_sample_buffer *sample)
{
	ms_u64 words = s->used;
	struct ms_learned *learned = learned_of(s);

	sample->head.marker_span = 0;
	if (learned)
		sample->head.marker_span = s->process.layout.chain_kind == MS_CHAIN_KIND_FRAME
						   ? 8 * s->slot
						   : (ms_u32)learned->cfa_from_marker;
	if (words > RECORD_WORDS)
		words = RECORD_WORDS;
	count(MS_COUNT_SAMPLES);
	if (bpf_ringbuf_output(&ms_ring, sample, sizeof(sample->head) + words * 8, urgency(s, sample)))
		count(MS_COUNT_LOST);
}

#endif

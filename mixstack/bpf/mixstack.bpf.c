// SPDX-License-Identifier: (MIT OR GPL-2.0)
/* The probe: one run takes one sample.
 *
 *   on_sample ─► [find_thread] ─► walk_chain ⇄ walk_native ⇄ [find_base] ─► [send_codes]
 *
 * (Before 3.11 walk_frames stands for walk_chain. Back from walk_native to walk_chain it goes once, if the
 * newest evaluator's record is half written.)
 * Every arrow is a tail call, every loop is bounded, all state is in per-CPU maps. It runs in the timer
 * interrupt (or NMI): it takes no lock, updates no shared hash, and cannot fault.
 */
#include "registers.bpf.h"
#include "frames.bpf.h"
#include "base.bpf.h"
#include "codes.bpf.h"
#include "lives.bpf.h"
#include "sample.bpf.h"
#include "walks.bpf.h"

/* The next thread state of this thread, to be walked; there may be none. */
INLINE int enter_next(struct ms_state *s)
{
	ms_u32 next = FRESH(s->next_tstate);

	s->tstate = 0;
	if (next >= FRESH(s->n_tstates))
		return 0;
	s->tstate = s->tstates[next & (MAX_TSTATES - 1)];
	FRESH(s->next_tstate) = next + 1;
	return 1;
}

INLINE void walk_python(struct bpf_perf_event_data *ctx, struct ms_state *s)
{
	if (s->process.layout.chain_kind >= MS_CHAIN_KIND_FRAME)
		bpf_tail_call(ctx, &ms_programs, PROGRAM_FRAMES);
	bpf_tail_call(ctx, &ms_programs, PROGRAM_CHAIN);
}

SEC("perf_event")
int on_sample(struct bpf_perf_event_data *ctx)
{
	ms_u32 zero = 0;
	struct ms_config *config = bpf_map_lookup_elem(&ms_configs, &zero);
	struct ms_process *process;
	struct ms_sample_buffer *sample;
	struct ms_state *s;
	ms_u64 task, pid_tid;
	long bytes;

	if (!config)
		return 0;
	pid_tid = current_pids(config);
	process = find_process(pid_tid >> 32);
	s = the_state();
	sample = the_sample();
	if (!process || !s || !sample)
		return 0;
	s->process = *process;
	start_sample(s, sample, pid_tid);
	task = bpf_get_current_task();
	if (take_registers(ctx, s, sample, config, task) == 0)
		sample->head.sp = s->sp;
	s->leaf_ip = s->ip;
	s->leaf_bp = s->bp;
	start_native(s, sample);
	if (s->kernel_thread)
		sample->head.native_end = MS_NATIVE_ROOT; /* there is nothing outside of the kernel */
	else if (s->process.flags & MS_PROCESS_UNKNOWN)
		count(MS_COUNT_UNKNOWN);
	if (sample->head.flags & MS_SAMPLE_KERNEL) {
		bytes = bpf_get_stack(ctx, sample->words, MAX_KERNEL * 8, 0);
		if (bytes > 0 && bytes <= MAX_KERNEL * 8) {
			sample->head.n_kernel = bytes / 8;
			s->used = bytes / 8;
		}
	}
	if (s->gave_back) { /* what lies where its thread state was is perhaps the next thread's */
		sample->head.chain_end = MS_CHAIN_NO_THREAD_STATE;
		only_leaf(s, sample);
		submit(s, sample);
		return 0;
	}
	if (s->process.layout.chain_kind == MS_CHAIN_KIND_NONE) {
		sample->head.chain_end = MS_CHAIN_NOT_PYTHON;
		bpf_tail_call(ctx, &ms_programs, PROGRAM_NATIVE);
		return 0;
	}
	s->fsbase = 0;
	bpf_probe_read_kernel(&s->fsbase, 8, task + config->task_fsbase);
	s->n_tstates = 0;
	s->next_tstate = 0;
	if (s->process.several || !s->process.tss_slot) {
		bpf_tail_call(ctx, &ms_programs, PROGRAM_THREADS);
		return 0;
	}
	if (bpf_probe_read_user(&s->tstates[0], 8, s->fsbase + s->process.tss_slot) == 0 && s->tstates[0])
		s->n_tstates = 1;
	enter_next(s);
	walk_python(ctx, s);
	return 0;
}

/* Without a known thread-local slot, or where it does not tell all: the thread states whose thread_id
 * is ours, by the lists. */
enum { THREADS_MAX = 256 };

SEC("perf_event")
int find_thread(struct bpf_perf_event_data *ctx)
{
	struct ms_state *s = the_state();
	ms_u64 interp = 0, tstate = 0;

	if (!s)
		return 0;
	bpf_probe_read_user(&interp, 8, s->process.interp_head);
	if (interp)
		bpf_probe_read_user(&tstate, 8, interp + s->process.interp_threads_head);
	NO_UNROLL for (int i = 0; i < THREADS_MAX; i++) {
		if (!tstate) {
			/* the next interpreter */
			if (!interp || bpf_probe_read_user(&interp, 8, interp + s->process.interp_next) || !interp)
				break;
			bpf_probe_read_user(&tstate, 8, interp + s->process.interp_threads_head);
			continue;
		}
		if (read_object(s->tstate_bytes, OBJECT_MAX - 8, tstate))
			break;
		if (field64(s->tstate_bytes, s->process.layout.tstate_thread_id) == s->fsbase) {
			ms_u32 at = FRESH(s->n_tstates);

			s->tstates[at & (MAX_TSTATES - 1)] = tstate;
			FRESH(s->n_tstates) = at + 1;
			if (!s->process.several || at + 1 >= MAX_TSTATES)
				break;
		}
		tstate = field64(s->tstate_bytes, s->process.layout.tstate_next);
	}
	enter_next(s);
	walk_python(ctx, s);
	return 0;
}

INLINE void begin_chain(struct ms_state *s, struct ms_sample_buffer *sample)
{
	FRESH(s->walking) = WALK_ON;
	if (s->tstate) {
		FRESH(s->walking) = read_thread_state(s, sample);
		FORGET();
		if (FRESH(s->walking) == WALK_ON)
			FRESH(s->walking) = start_chain(s, sample);
	} else if (s->search == SEARCH_ON) {
		FRESH(s->walking) = resume_chain(s, sample);
	} else if (sample->head.n_chain == 0) {
		FRESH(s->walking) = end_chain(sample, MS_CHAIN_NO_THREAD_STATE);
	}
	FORGET();
}

INLINE int leave_chain(struct bpf_perf_event_data *ctx, struct ms_state *s, struct ms_sample_buffer *sample,
		       int done)
{
	if (done == WALK_TORN)
		torn(s, sample);
	if (!done || (sample->head.chain_end == MS_CHAIN_ROOT && s->search != SEARCH_ON && enter_next(s)))
		bpf_tail_call(ctx, &ms_programs, PROGRAM_CHAIN);
	bpf_tail_call(ctx, &ms_programs, PROGRAM_NATIVE);
	submit(s, sample); /* the kernel's limit on tail calls: what there is, is sent */
	return 0;
}

INLINE int after_chain(struct bpf_perf_event_data *ctx, struct ms_state *s, struct ms_sample_buffer *sample)
{
	int done = FRESH(s->walking);

	if (done == WALK_NO_FRAME || done == WALK_TORN)
		done = end_of_chain(s, sample, done);
	if (done == WALK_CALLER)
		bpf_tail_call(ctx, &ms_programs, PROGRAM_CALLER);
	return leave_chain(ctx, s, sample, done);
}

WALK(walk_chain, begin_chain, chain_step, CHAIN_PER_CALL, MAX_CHAIN + 1, after_chain)

/* 3.12: in the moment in which a frame has no caller yet. */
SEC("perf_event")
int find_caller(struct bpf_perf_event_data *ctx)
{
	struct ms_sample_buffer *sample = the_sample();
	struct ms_state *s = the_state();

	if (!s || !sample)
		return 0;
	return leave_chain(ctx, s, sample, look_for_caller(s) ? WALK_ON : without_caller(s, sample, s->said));
}

INLINE void begin_frames(struct ms_state *s, struct ms_sample_buffer *sample)
{
	FRESH(s->walking) = WALK_ON;
	if (s->tstate) {
		FRESH(s->walking) = read_thread_state(s, sample);
		FORGET();
		if (FRESH(s->walking) == WALK_ON)
			FRESH(s->walking) = start_frames(s, sample);
	} else if (!s->walking_frames) {
		FRESH(s->walking) = end_chain(sample, MS_CHAIN_NO_THREAD_STATE);
	}
	s->walking_frames = 1;
	FORGET();
}

INLINE int frames_step(struct ms_state *s, struct ms_sample_buffer *sample)
{
	return s->in_markers ? marker_step(s, sample) : frame_step(s, sample);
}

INLINE int after_frames(struct bpf_perf_event_data *ctx, struct ms_state *s, struct ms_sample_buffer *sample)
{
	if (FRESH(s->walking) == WALK_ON || (sample->head.chain_end == MS_CHAIN_ROOT && enter_next(s)))
		bpf_tail_call(ctx, &ms_programs, PROGRAM_FRAMES);
	bpf_tail_call(ctx, &ms_programs, PROGRAM_NATIVE);
	submit(s, sample);
	return 0;
}

WALK(walk_frames, begin_frames, frames_step, FRAMES_PER_CALL, MAX_CHAIN + 1, after_frames)

INLINE void begin_native(struct ms_state *s, struct ms_sample_buffer *sample)
{
	/* Without user registers there is nothing to walk; native_end says so. */
	FRESH(s->walking) = sample->head.sp ? WALK_ON : WALK_DONE;
}

INLINE int after_native(struct bpf_perf_event_data *ctx, struct ms_state *s, struct ms_sample_buffer *sample)
{
	if (FRESH(s->walking) != WALK_DONE) {
		sample->head.native_end = MS_NATIVE_TAIL_CALLS;
		if (FRESH(s->walking) == WALK_BASE)
			bpf_tail_call(ctx, &ms_programs, PROGRAM_BASE);
		bpf_tail_call(ctx, &ms_programs, PROGRAM_NATIVE);
	}
	if (s->search == SEARCH_ON) {
		s->whole_stack = sample->head.native_end == MS_NATIVE_ROOT;
		start_native(s, sample);
		bpf_tail_call(ctx, &ms_programs, PROGRAM_CHAIN);
	}
	if (s->process.layout.chain_kind == MS_CHAIN_KIND_FRAME && s->n_locals)
		bpf_tail_call(ctx, &ms_programs, PROGRAM_MARKERS);
	submit(s, sample);
	if (s->n_new)
		bpf_tail_call(ctx, &ms_programs, PROGRAM_CODES);
	return 0;
}

WALK(walk_native, begin_native, native_step, NATIVE_PER_CALL, MAX_NATIVE + 1, after_native)

/* For a row whose CFA is in one of the rarer registers. */
SEC("perf_event")
int find_base(struct bpf_perf_event_data *ctx)
{
	struct ms_sample_buffer *sample = the_sample();
	struct ms_state *s = the_state();

	if (!s || !sample)
		return 0;
	look_for_base(s);
	bpf_tail_call(ctx, &ms_programs, PROGRAM_NATIVE);
	submit(s, sample);
	return 0;
}

/* 3.8, 3.9: where on the C stack each Python frame is. */
INLINE void begin_markers(struct ms_state *s, struct ms_sample_buffer *sample)
{
	struct ms_learned *learned = learned_of(s);

	FRESH(s->walking) = WALK_DONE;
	if (!learned)
		return;
	if (FRESH(s->next_native) == 0)
		FRESH(s->slot) = learned->seen < SLOTS_ENOUGH ? 0 : learned->slot;
	s->seen = learned->seen;
	FRESH(s->walking) = WALK_ON;
}

INLINE int after_markers(struct bpf_perf_event_data *ctx, struct ms_state *s, struct ms_sample_buffer *sample)
{
	if (FRESH(s->walking) == WALK_ON)
		bpf_tail_call(ctx, &ms_programs, PROGRAM_MARKERS);
	if (FRESH(s->walking) == WALK_LEARN)
		bpf_tail_call(ctx, &ms_programs, PROGRAM_LEARN);
	if (!FRESH(s->slot))
		sample->head.flags |= MS_SAMPLE_COUNTED;
	submit(s, sample);
	if (s->n_new)
		bpf_tail_call(ctx, &ms_programs, PROGRAM_CODES);
	return 0;
}

WALK(find_markers, begin_markers, marker_of_native, MARKERS_PER_CALL, MAX_NATIVE + 1, after_markers)

SEC("perf_event")
int learn_markers(struct bpf_perf_event_data *ctx)
{
	struct ms_sample_buffer *sample = the_sample();
	struct ms_state *s = the_state();
	struct ms_learned *learned;
	ms_u64 sp, cfa;
	ms_u32 index;

	if (!s || !sample)
		return 0;
	learned = learned_of(s);
	if (!learned)
		return 0;
	index = s->next_local ? s->next_local : s->leaf_claims;
	if (bounds_of_native(s, sample, &sp, &cfa))
		learn_slot(s, learned, sp, cfa, s->locals[index & (MAX_MARKERS - 1)]);
	s->learned_at = s->next_native;
	s->learning++;
	bpf_tail_call(ctx, &ms_programs, PROGRAM_MARKERS);
	return 0;
}

INLINE void begin_codes(struct ms_state *s, struct ms_sample_buffer *sample)
{
	FRESH(s->walking) = WALK_ON;
}

INLINE int codes_step(struct ms_state *s, struct ms_sample_buffer *sample)
{
	ms_u32 zero = 0, next = FRESH(s->next_new);
	struct ms_code_buffer *out = bpf_map_lookup_elem(&ms_codes, &zero);

	if (!out || next >= s->n_new)
		return WALK_DONE;
	s->next_new = next + 1;
	send_code(s, out, sample->head.pid, s->new_code[next & (CODES_PER_SAMPLE - 1)]);
	return WALK_ON;
}

INLINE int after_codes(struct bpf_perf_event_data *ctx, struct ms_state *s, struct ms_sample_buffer *sample)
{
	if (FRESH(s->walking) == WALK_ON)
		bpf_tail_call(ctx, &ms_programs, PROGRAM_CODES);
	return 0;
}

WALK(send_codes, begin_codes, codes_step, CODES_PER_CALL, CODES_PER_SAMPLE + 1, after_codes)

/* args: the parent's task, the child's */
SEC("raw_tp/sched_process_fork")
int on_fork(ms_u64 *args)
{
	ms_u32 zero = 0;
	struct ms_config *config = bpf_map_lookup_elem(&ms_configs, &zero);

	if (config)
		process_forked(config, args[0], args[1]);
	return 0;
}

SEC("raw_tp/sched_process_exec")
int on_exec(ms_u64 *args)
{
	ms_u32 zero = 0;
	struct ms_config *config = bpf_map_lookup_elem(&ms_configs, &zero);

	if (config)
		process_execed(current_pids(config) >> 32);
	return 0;
}

/* args: the task; once for each of its threads */
SEC("raw_tp/sched_process_exit")
int on_exit(ms_u64 *args)
{
	ms_u32 zero = 0;
	struct ms_config *config = bpf_map_lookup_elem(&ms_configs, &zero);

	if (config)
		process_exits(config, args[0], current_pids(config) >> 32);
	return 0;
}

#ifndef MS_BCC /* which has one of its own */
char ms_license[] SEC("license") = "Dual MIT/GPL";
#endif

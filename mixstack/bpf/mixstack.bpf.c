// SPDX-License-Identifier: (MIT OR GPL-2.0)
/* The probe: one run takes one sample.
 *
 *   on_sample ─► [find_thread] ─► walk_chain ⇄ walk_native ─► [send_codes]
 *
 * (Back from walk_native to walk_chain it goes once, if the newest evaluator's record is half written.)
 * Every arrow is a tail call, every loop is bounded, all state is in per-CPU maps. It runs in the timer
 * interrupt (or NMI): it takes no lock, updates no shared hash, and cannot fault.
 */
#include "native.bpf.h"
#include "codes.bpf.h"

enum { PF_EXITING = 4 };                   /* include/linux/sched.h */
enum { SYS_CLONE = 56, SYS_CLONE3 = 435 }; /* arch/x86/entry/syscalls/syscall_64.tbl */

/* The selectors of 64-bit user code (__USER_CS, __USER_DS). */
INLINE int user_regs(const struct ms_regs *regs)
{
	return regs->cs == 0x33 && (regs->ss & 0xffff) == 0x2b;
}

/* Field by field: the verifier knows the context only so. */
INLINE void copy_registers(struct ms_regs *to, const struct ms_regs *from)
{
	to->r15 = from->r15;
	to->r14 = from->r14;
	to->r13 = from->r13;
	to->r12 = from->r12;
	to->bp = from->bp;
	to->bx = from->bx;
	to->r11 = from->r11;
	to->r10 = from->r10;
	to->r9 = from->r9;
	to->r8 = from->r8;
	to->ax = from->ax;
	to->cx = from->cx;
	to->dx = from->dx;
	to->si = from->si;
	to->di = from->di;
}

/* The user's registers: the context's, or those that the kernel saved at the top of its stack. */
INLINE int take_registers(struct bpf_perf_event_data *ctx, struct ms_state *s,
			  struct ms_sample_buffer *sample, const struct ms_config *config, ms_u64 task)
{
	ms_u64 stack = 0;

	s->ip = 0;
	s->exiting = 0;
	s->in_system_call = 0;
	s->new_thread = 0;
	if (!(ctx->regs.ip >> 63)) {
		s->ip = ctx->regs.ip;
		s->sp = ctx->regs.sp;
		s->bp = ctx->regs.bp;
		s->r10 = ctx->regs.r10;
		if (leaf_is_evaluator(s))
			copy_registers(&s->regs, &ctx->regs);
		return 0;
	}
	sample->head.flags |= MS_SAMPLE_KERNEL;
	bpf_probe_read_kernel(&s->exiting, 4, task + config->task_flags);
	s->exiting &= PF_EXITING;
	if (bpf_probe_read_kernel(&stack, 8, task + config->task_stack) ||
	    bpf_probe_read_kernel(&s->regs, sizeof(s->regs), stack + config->user_regs))
		return 1;
	/* A kernel built for FRED leaves 16 bytes above them. */
	if (!user_regs(&s->regs) &&
	    (bpf_probe_read_kernel(&s->regs, sizeof(s->regs), stack + config->user_regs - 16) ||
	     !user_regs(&s->regs)))
		return 1;
	s->ip = s->regs.ip;
	s->sp = s->regs.sp;
	s->bp = s->regs.bp;
	s->r10 = s->regs.r10;
	/* In a system call ip is behind the two bytes of `syscall`: name the instruction itself. */
	s->in_system_call = (ms_s64)s->regs.orig_ax >= 0;
	if (s->in_system_call)
		s->ip -= 2;
	s->new_thread = s->regs.ax == 0 && (s->regs.orig_ax == SYS_CLONE || s->regs.orig_ax == SYS_CLONE3);
	return 0;
}

INLINE void start_sample(struct ms_state *s, struct ms_sample_buffer *sample, ms_u64 pid_tid)
{
	s->used = 0;
	s->n_markers = 0;
	s->n_new = 0;
	s->next_new = 0;
	s->search = SEARCH_NONE;
	s->open = 0;
	s->outer_cfa = 0;
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
	sample->head.reserved = 0;
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
	s->used -= 2 * sample->head.n_native;
	sample->head.n_native = 0;
	sample->head.end_pc = 0;
	sample->head.native_end = MS_NATIVE_NO_USER_REGS;
}

SEC("perf_event")
int on_sample(struct bpf_perf_event_data *ctx)
{
	ms_u64 pid_tid = bpf_get_current_pid_tgid();
	ms_u32 zero = 0, pid = pid_tid >> 32;
	struct ms_process *process = bpf_map_lookup_elem(&ms_processes, &pid);
	struct ms_config *config;
	struct ms_sample_buffer *sample;
	struct ms_state *s;
	ms_u64 task;
	long bytes;

	if (!process)
		return 0;
	config = bpf_map_lookup_elem(&ms_configs, &zero);
	s = the_state();
	sample = the_sample();
	if (!config || !s || !sample)
		return 0;
	s->process = *process;
	start_sample(s, sample, pid_tid);
	task = bpf_get_current_task();
	if (take_registers(ctx, s, sample, config, task) == 0)
		sample->head.sp = s->sp;
	s->leaf_ip = s->ip;
	s->leaf_bp = s->bp;
	start_native(s, sample);
	if (sample->head.flags & MS_SAMPLE_KERNEL) {
		bytes = bpf_get_stack(ctx, sample->words, MAX_KERNEL * 8, 0);
		if (bytes > 0 && bytes <= MAX_KERNEL * 8) {
			sample->head.n_kernel = bytes / 8;
			s->used = bytes / 8;
		}
	}
	if (s->process.layout.chain_kind == MS_CHAIN_KIND_NONE) {
		sample->head.chain_end = MS_CHAIN_NOT_PYTHON;
		bpf_tail_call(ctx, &ms_programs, PROGRAM_NATIVE);
		return 0;
	}
	s->fsbase = 0;
	bpf_probe_read_kernel(&s->fsbase, 8, task + config->task_fsbase);
	s->tstate = 0;
	if (s->process.tss_slot) {
		bpf_probe_read_user(&s->tstate, 8, s->fsbase + s->process.tss_slot);
		bpf_tail_call(ctx, &ms_programs, PROGRAM_CHAIN);
	} else {
		bpf_tail_call(ctx, &ms_programs, PROGRAM_THREADS);
	}
	return 0;
}

/* Without a known thread-local slot: the thread state whose thread_id is ours, by the list. */
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
			s->tstate = tstate;
			break;
		}
		tstate = field64(s->tstate_bytes, s->process.layout.tstate_next);
	}
	bpf_tail_call(ctx, &ms_programs, PROGRAM_CHAIN);
	return 0;
}

INLINE void submit(struct ms_state *s, struct ms_sample_buffer *sample)
{
	ms_u64 words = s->used;

	if (words > RECORD_WORDS)
		words = RECORD_WORDS;
	count(MS_COUNT_SAMPLES);
	if (bpf_ringbuf_output(&ms_ring, sample, sizeof(sample->head) + words * 8, BPF_RB_NO_WAKEUP))
		count(MS_COUNT_LOST);
}

SEC("perf_event")
int walk_chain(struct bpf_perf_event_data *ctx)
{
	struct ms_sample_buffer *sample = the_sample();
	struct ms_state *s = the_state();
	int done = WALK_ON;

	if (!s || !sample)
		return 0;
	if (s->tstate) {
		/* The first call: `tstate` is taken out of the state, a later call goes on with `frame`. */
		ms_u64 tstate = s->tstate;

		s->tstate = 0;
		s->root_cframe = tstate + s->process.layout.tstate_root_cframe;
		if (read_object(s->tstate_bytes, OBJECT_MAX - 8, tstate))
			done = end_chain(sample, MS_CHAIN_READ_FAULT);
		else if (field64(s->tstate_bytes, s->process.layout.tstate_thread_id) != s->fsbase)
			done = end_chain(sample, MS_CHAIN_NO_THREAD_STATE);
		else
			done = start_chain(s, sample);
	} else if (s->search == SEARCH_ON) {
		done = resume_chain(s, sample);
	} else if (sample->head.n_chain == 0) {
		done = end_chain(sample, MS_CHAIN_NO_THREAD_STATE);
	}
	NO_UNROLL for (int i = 0; i < CHAIN_PER_CALL; i++) {
		if (done)
			break;
		done = chain_step(s, sample);
	}
	FORGET();
	if (done == WALK_NO_FRAME)
		done = end_of_chain(s, sample);
	if (done == WALK_TORN)
		torn(s, sample);
	if (!done)
		bpf_tail_call(ctx, &ms_programs, PROGRAM_CHAIN);
	bpf_tail_call(ctx, &ms_programs, PROGRAM_NATIVE);
	submit(s, sample); /* the kernel's limit on tail calls: what there is, is sent */
	return 0;
}

SEC("perf_event")
int walk_native(struct bpf_perf_event_data *ctx)
{
	struct ms_sample_buffer *sample = the_sample();
	struct ms_state *s = the_state();

	if (!s || !sample)
		return 0;
	FRESH(s->walking) = sample->head.sp != 0; /* no user registers: native_end says so */
	NO_UNROLL for (int i = 0; i < NATIVE_PER_CALL; i++) {
		if (!FRESH(s->walking))
			break;
		FRESH(s->walking) = native_step(s, sample) == WALK_ON;
		FORGET();
	}
	if (FRESH(s->walking)) {
		sample->head.native_end = MS_NATIVE_TAIL_CALLS;
		bpf_tail_call(ctx, &ms_programs, PROGRAM_NATIVE);
	}
	if (s->search == SEARCH_ON) {
		s->whole_stack = sample->head.native_end == MS_NATIVE_ROOT;
		start_native(s, sample);
		bpf_tail_call(ctx, &ms_programs, PROGRAM_CHAIN);
	}
	submit(s, sample);
	if (s->n_new)
		bpf_tail_call(ctx, &ms_programs, PROGRAM_CODES);
	return 0;
}

SEC("perf_event")
int send_codes(struct bpf_perf_event_data *ctx)
{
	ms_u32 zero = 0;
	struct ms_code_buffer *out = bpf_map_lookup_elem(&ms_codes, &zero);
	struct ms_sample_buffer *sample = the_sample();
	struct ms_state *s = the_state();

	if (!s || !sample || !out)
		return 0;
	NO_UNROLL for (ms_u32 i = 0; i < CODES_PER_CALL; i++) {
		ms_u32 next = FRESH(s->next_new);

		if (next >= s->n_new)
			return 0;
		s->next_new = next + 1;
		send_code(s, out, sample->head.pid, s->new_code[next & (CODES_PER_SAMPLE - 1)]);
	}
	bpf_tail_call(ctx, &ms_programs, PROGRAM_CODES);
	return 0;
}

char ms_license[] SEC("license") = "Dual MIT/GPL";

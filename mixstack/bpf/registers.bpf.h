/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* The registers of user space at the moment of the interrupt. */
#ifndef MIXSTACK_REGISTERS_H
#define MIXSTACK_REGISTERS_H

#include "chain.bpf.h"

enum { PF_EXITING = 4, PF_KTHREAD = 0x00200000 }; /* include/linux/sched.h */
enum { SYS_CLONE = 56, SYS_EXIT = 60, SYS_CLONE3 = 435 }; /* arch/x86/entry/syscalls/syscall_64.tbl */

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

/* Whether ip is behind a `syscall` (Intel SDM: 0F 05). On the way out of a system call to a signal
 * handler, or to a new program, it is the first byte there. Memory that cannot be read says nothing. */
INLINE int behind_syscall(ms_u64 ip)
{
	ms_u8 code[2] = { 0x0f, 0x05 };

	return bpf_probe_read_user(code, sizeof(code), ip - 2) || (code[0] == 0x0f && code[1] == 0x05);
}

/* The user's registers: the context's, or those that the kernel saved at the top of its stack. */
INLINE int take_registers(struct bpf_perf_event_data *ctx, struct ms_state *s,
			  struct ms_sample_buffer *sample, const struct ms_config *config, ms_u64 task)
{
	ms_u64 stack = 0;

	s->ip = 0;
	s->exiting = 0;
	s->gave_back = 0;
	s->kernel_thread = 0;
	s->in_system_call = 0;
	s->new_thread = 0;
	if (!(ctx->regs.ip >> 63)) {
		s->ip = ctx->regs.ip;
		s->sp = ctx->regs.sp;
		s->bp = ctx->regs.bp;
		copy_registers(&s->regs, &ctx->regs);
		return 0;
	}
	sample->head.flags |= MS_SAMPLE_KERNEL;
	bpf_probe_read_kernel(&s->exiting, 4, task + config->task_flags);
	s->kernel_thread = s->exiting & PF_KTHREAD;
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
	/* In a system call ip is behind the instruction: name the instruction itself. */
	s->in_system_call = (ms_s64)s->regs.orig_ax >= 0 && behind_syscall(s->ip);
	if (s->in_system_call)
		s->ip -= 2;
	s->gave_back = s->exiting && s->regs.orig_ax == SYS_EXIT;
	s->new_thread = s->regs.ax == 0 && (s->regs.orig_ax == SYS_CLONE || s->regs.orig_ax == SYS_CLONE3);
	return 0;
}

#endif

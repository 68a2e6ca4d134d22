/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* Rows whose CFA counts from another register than rsp and rbp, by which the walk goes from frame to
 * frame: where that register is to be found. */
#ifndef MIXSTACK_BASE_H
#define MIXSTACK_BASE_H

#include "native.bpf.h"

/* Where the registers 0 to 15, as DWARF numbers them, are among the words of `struct ms_regs` and of
 * `struct sigcontext`: four bits each, register 0 in the lowest. (rsp is no register of such a row.) */
#define WORD_IN_REGS 0x0123678934ed5bcaULL
#define WORD_IN_SIGCONTEXT 0x76543210fa89becdULL

/* rax, rdx, rcx, rsi, rdi, r8 to r11, as bits by DWARF number: the called function may use them. */
#define SCRATCH_REGISTERS 0x0f37

/* A register of a frame that did not call anything: what was sampled, or what a signal interrupted. */
INLINE ms_u64 register_at(struct ms_state *s, ms_u32 step, ms_u32 number)
{
	ms_u32 shift = 4 * (number & 15);
	ms_u64 value;

	if (step == MS_STEP_LEAF)
		return ((const ms_u64 *)&s->regs)[WORD_IN_REGS >> shift & 15];
	if (step != MS_STEP_SIGNAL ||
	    bpf_probe_read_user(&value, 8,
				s->ucontext + SIGNAL_REGISTERS + 8 * (WORD_IN_SIGCONTEXT >> shift & 15)))
		return 0;
	return value;
}

/* A register of the frame at s->ip, or 0. Of a caller it is one that the function below saves at its
 * CFA - slot. That may be just entering or leaving, and that place below its stack pointer: then the
 * register is as it was. Or it is a scratch register that is agreed to be kept; the return address,
 * which is looked at, must prove it. */
INLINE ms_u64 register_of_frame(struct ms_state *s, ms_u32 number, ms_u32 slot)
{
	ms_u64 place = s->sp - slot, value;

	if (s->step != MS_STEP_CALLER)
		return register_at(s, s->step, number);
	if (!slot) /* assembler calls its own with registers that calls need not keep, which these do */
		return SCRATCH_REGISTERS >> (number & 15) & 1 ? register_at(s, s->inner_step, number) : 0;
	if (place < s->inner_sp)
		return register_at(s, s->inner_step, number);
	return bpf_probe_read_user(&value, 8, place) ? 0 : value;
}

INLINE void look_for_base(struct ms_state *s)
{
	ms_u64 pc = lookup_pc(s), row, base, ip;

	s->base = 0;
	s->has_base = 1;
	if (!find_mapping(s, pc))
		return;
	row = find_row(s, pc);
	base = register_of_frame(s, row >> 44 & 15, (row >> 37 & 127) * 8);
	/* Found in memory, it is believed only if it leads to a return address. */
	if (s->step == MS_STEP_CALLER &&
	    (base - s->sp > FRAME_MAX || bpf_probe_read_user(&ip, 8, base + (row >> 32 & 31) * 8 - 8) ||
	     !after_call(ip)))
		return;
	s->base = base;
}

#endif

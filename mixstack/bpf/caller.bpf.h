/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* The caller of the newest frame, in the few instructions in which that frame does not name it (3.12). */
#ifndef MIXSTACK_CALLER_H
#define MIXSTACK_CALLER_H

#include "memory.bpf.h"

enum { GENERAL_REGISTERS = 15 }; /* the first words of struct ms_regs */

/* Whether a frame with this caller is left over. The newest frame has called none yet; and a frame of
 * Python that has called one has a caller itself, if only its evaluator's shim. */
INLINE int has_returned(struct ms_state *s, ms_u64 caller)
{
	const struct ms_layout *l = &s->process.layout;

	if (caller == s->newest_frame || read_frame_alone(s, caller))
		return 1;
	return frame8(s, l->frame_owner) < l->shim_owner && !frame64(s, l->frame_previous);
}

/* While a generator is resumed or yields, it is the current frame and has no caller (3.12: SEND_GEN,
 * FOR_ITER_GEN, YIELD_VALUE). The caller is in a register then, for the evaluator is about to link it
 * or to go on with it. It is believed if it is the only frame there; its segment's end proves that it
 * lives in the newest evaluator. Where C resumed the generator, the caller is the evaluator's shim, and
 * a frame beside it is one that has ended. */
INLINE int look_for_caller(struct ms_state *s)
{
	const struct ms_layout *l = &s->process.layout;
	const ms_u64 *registers = (const ms_u64 *)&s->regs;
	ms_u64 found = 0, shim = 0;

	s->code_at = 0;
	NO_UNROLL for (int i = 0; i < GENERAL_REGISTERS; i++) {
		ms_u64 previous, value = FRESH(registers[i]);

		if (value == s->newest_frame || value == found || value < PAGE || value & 7)
			continue;
		if (read_frame_alone(s, value))
			continue;
		if (frame8(s, l->frame_owner) >= l->shim_owner) {
			/* it lies beside the evaluator's record */
			if (value - s->sp < PAGE && frame8(s, l->frame_owner) == l->shim_owner)
				shim = value;
			continue;
		}
		previous = frame64(s, l->frame_previous);
		if (read_object(s->code_bytes, l->code_size, frame64(s, l->frame_code)) ||
		    field64(s->code_bytes, l->object_type) != s->process.code_type ||
		    has_returned(s, previous))
			continue;
		if (found)
			return 0;
		found = value;
	}
	s->frame = found ? found : shim;
	s->other_caller = found ? shim : 0;
	return s->frame != 0;
}

#endif

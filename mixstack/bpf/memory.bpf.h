/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* Reading the process' memory: an object whole, and what lies side by side at once. Each read takes some
 * 100 ns, of 8 bytes as of 1,000. Windows are of one sample: the thread is interrupted meanwhile. */
#ifndef MIXSTACK_MEMORY_H
#define MIXSTACK_MEMORY_H

#include "state.bpf.h"

INLINE int read_object(ms_u64 *bytes, ms_u32 size, ms_u64 address)
{
	size &= OBJECT_MAX - 1;
	return bpf_probe_read_user(bytes, size, address) != 0;
}

/* Of the interpreter's frame that was read last. */
INLINE ms_u64 frame64(const struct ms_state *s, ms_u32 offset)
{
	return s->frames[(FRESH(s->frame_word) + offset / 8) & (FRAMES_WORDS - 1)];
}

INLINE ms_u32 frame32(const struct ms_state *s, ms_u32 offset)
{
	return ((const ms_u32 *)s->frames)[(2 * FRESH(s->frame_word) + offset / 4) & (2 * FRAMES_WORDS - 1)];
}

INLINE ms_u8 frame8(const struct ms_state *s, ms_u32 offset)
{
	return ((const ms_u8 *)s->frames)[(8 * FRESH(s->frame_word) + offset) & (8 * FRAMES_WORDS - 1)];
}

INLINE int read_frame_alone(struct ms_state *s, ms_u64 address)
{
	s->frame_word = FRAME_ALONE;
	return read_object(s->frames + FRAME_ALONE, s->process.layout.frame_size, address);
}

/* Frames that called each other lie side by side in a chunk of the interpreter's stack, the newest
 * highest (_PyThreadState_PushFrame; those of generators, and shims, lie elsewhere). So where one lies
 * close below the one before, more are likely to follow: they are read with it, as far as its page goes. */
INLINE int read_frame(struct ms_state *s, ms_u64 address)
{
	ms_u64 size = s->process.layout.frame_size & (OBJECT_MAX - 1);
	ms_u64 offset = address - s->frames_at, more;

	if (address & 7)
		return 1;
	if (offset < s->frames_bytes && offset + size <= s->frames_bytes) {
		FRESH(s->frame_word) = offset / 8;
		return 0;
	}
	if (s->last_frame - address >= WINDOW_MAX)
		return read_frame_alone(s, address);
	more = WINDOW_MAX - OBJECT_MAX;
	if (more > (address & (PAGE - 1)))
		more = address & (PAGE - 1);
	s->frames_at = address - more;
	FRESH(s->frame_word) = more / 8;
	s->frames_bytes = bpf_probe_read_user(s->frames, more + size, address - more) ? 0 : more + size;
	return s->frames_bytes == 0;
}

/* The frame [s->sp, cfa), and what follows it, into the window. It ends with the page of what is needed:
 * behind that there may be nothing. */
INLINE void cover(struct ms_state *s, ms_u64 cfa)
{
	ms_u64 size;

	if (s->sp >= s->window_at && cfa - s->window_at <= s->window_bytes)
		return;
	size = ((cfa - 8) | (PAGE - 1)) + 1 - s->sp;
	if (size > WINDOW_MAX)
		size = WINDOW_MAX;
	s->window_at = s->sp;
	s->window_bytes = bpf_probe_read_user(s->window, size, s->sp) ? 0 : size;
}

/* A word of the stack: from the window if it is there. */
INLINE int read_stack(struct ms_state *s, ms_u64 *to, ms_u64 address)
{
	ms_u64 offset = address - s->window_at;

	if (offset & 7 || offset + 8 > s->window_bytes || offset >= WINDOW_MAX)
		return bpf_probe_read_user(to, 8, address) != 0;
	*to = s->window[offset / 8 & (WINDOW_WORDS - 1)];
	return 0;
}

#endif

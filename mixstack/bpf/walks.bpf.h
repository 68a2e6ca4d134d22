/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* A walk as a program: `begin`, then `step` until `walking` says otherwise, then `after`.
 *
 * Each comes twice, and user space loads one of the two. A bounded loop is taken by every kernel, which
 * verifies it round by round: so it makes only some rounds, and goes on by a tail call. The round of
 * bpf_loop (Linux 5.17) is verified once, which is most of the time to attach. bcc knows no function that
 * is not inlined. */
#ifndef MIXSTACK_WALKS_H
#define MIXSTACK_WALKS_H

#include "chain.bpf.h"

struct ms_round {
	struct ms_state *s;
	struct ms_sample_buffer *sample;
};

#define IN_ROUNDS(name, begin, step, rounds, after)                                                \
	SEC("perf_event")                                                                          \
	int name(struct bpf_perf_event_data *ctx)                                                  \
	{                                                                                          \
		struct ms_sample_buffer *sample = the_sample();                                    \
		struct ms_state *s = the_state();                                                  \
                                                                                                   \
		if (!s || !sample)                                                                 \
			return 0;                                                                  \
		begin(s, sample);                                                                  \
		/* 64 bits: kept on the stack, a shorter number is not one to the verifier. */     \
		NO_UNROLL for (ms_u64 i = 0; i < (rounds); i++)                                    \
		{                                                                                  \
			if (FRESH(s->walking) != WALK_ON)                                          \
				break;                                                             \
			FRESH(s->walking) = step(s, sample);                                       \
			FORGET();                                                                  \
		}                                                                                  \
		return after(ctx, s, sample);                                                      \
	}

#ifdef MS_BCC
#define WALK(name, begin, step, some, all, after) IN_ROUNDS(name, begin, step, some, after)
#else
static long (*bpf_loop)(ms_u32 rounds, void *round, void *context, ms_u64 flags) = (void *)181;

#define WALK(name, begin, step, some, all, after)                                                  \
	IN_ROUNDS(name, begin, step, some, after)                                                  \
                                                                                                   \
	static long name##_round(ms_u32 number, struct ms_round *walk)                              \
	{                                                                                          \
		FRESH(walk->s->walking) = step(walk->s, walk->sample);                             \
		FORGET();                                                                          \
		return FRESH(walk->s->walking) != WALK_ON;                                         \
	}                                                                                          \
                                                                                                   \
	SEC("perf_event")                                                                          \
	int name##_by_loop(struct bpf_perf_event_data *ctx)                                        \
	{                                                                                          \
		struct ms_round walk = { .s = the_state(), .sample = the_sample() };                \
                                                                                                   \
		if (!walk.s || !walk.sample)                                                       \
			return 0;                                                                  \
		begin(walk.s, walk.sample);                                                        \
		if (FRESH(walk.s->walking) == WALK_ON)                                             \
			bpf_loop(all, name##_round, &walk, 0);                                     \
		return after(ctx, walk.s, walk.sample);                                            \
	}
#endif

#endif

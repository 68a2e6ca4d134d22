// SPDX-License-Identifier: (MIT OR GPL-2.0)
/* What a read of user memory costs by itself: the two programs differ only in how many they make, of
 * the size of an interpreter's frame, from the stack of what was interrupted. */
#include "../../mixstack/bpf/compat.bpf.h"

#define FEW 1
#define MANY 65 /* tests/bench/read_floor.py has the difference */
#define PLACES 16
#define APART 64

INLINE int read_stack(struct bpf_perf_event_data *ctx, int reads)
{
	ms_u64 words[9];
	int at;

	if (ctx->regs.ip >> 63) /* the kernel was interrupted: sp is not the user's */
		return 0;
	NO_UNROLL
	for (at = 0; at < reads; at++)
		bpf_probe_read_user(words, sizeof(words), ctx->regs.sp + at % PLACES * APART);
	return 0;
}

SEC("perf_event")
int few_reads(struct bpf_perf_event_data *ctx)
{
	return read_stack(ctx, FEW);
}

SEC("perf_event")
int many_reads(struct bpf_perf_event_data *ctx)
{
	return read_stack(ctx, MANY);
}

char ms_license[] SEC("license") = "Dual MIT/GPL";

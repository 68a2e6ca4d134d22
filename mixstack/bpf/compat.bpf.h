/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* What a BPF compiler must be told: helpers, map shapes, the context. No header of the kernel or of
 * libbpf is needed, so the same source can go through any loader.
 * Helper numbers: enum bpf_func_id in the kernel's include/uapi/linux/bpf.h; they never change. */
#ifndef MIXSTACK_COMPAT_H
#define MIXSTACK_COMPAT_H

#include "mixstack.h"

#ifdef MS_BCC
#include "bcc.bpf.h"
#else
#define SEC(name) __attribute__((section(name), used))
#define NULL ((void *)0)
#endif
#define INLINE static inline __attribute__((always_inline))

/* A loop that the verifier walks; unrolled, it would not fit. */
#define NO_UNROLL _Pragma("clang loop unroll(disable)")
#define UNROLL _Pragma("clang loop unroll(full)")

/* Read again from memory what a register would remember: the verifier then has one state, not one
 * per iteration. */
#define FRESH(x) (*(volatile typeof(x) *)&(x))

#define FORGET() asm volatile("" ::: "memory")

#ifndef MS_BCC
enum {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PROG_ARRAY = 3,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_RINGBUF = 27,
};
#define BPF_F_MMAPABLE 1024
#define BPF_ANY 0
#define BPF_RB_NO_WAKEUP 1
#define BPF_RB_FORCE_WAKEUP 2

#define MAP(map_name, map_type, key_type, value_type, entries, flags)                              \
	struct {                                                                                   \
		int (*type)[map_type];                                                             \
		key_type *key;                                                                     \
		value_type *value;                                                                 \
		int (*max_entries)[entries];                                                       \
		int (*map_flags)[flags];                                                           \
	} map_name SEC(".maps")

/* A ring buffer; its size is set when it is loaded. */
#define RING(ring_name)                                                                            \
	struct {                                                                                   \
		int (*type)[BPF_MAP_TYPE_RINGBUF];                                                 \
		int (*max_entries)[4096];                                                          \
	} ring_name SEC(".maps")
#endif

static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static ms_u64 (*bpf_ktime_get_ns)(void) = (void *)5;
static ms_u32 (*bpf_get_smp_processor_id)(void) = (void *)8;
static long (*bpf_tail_call)(void *ctx, void *programs, ms_u32 index) = (void *)12;
static ms_u64 (*bpf_get_current_pid_tgid)(void) = (void *)14;
static long (*bpf_get_current_comm)(void *buf, ms_u32 size) = (void *)16;
static ms_u64 (*bpf_get_current_task)(void) = (void *)35;
static long (*bpf_get_stack)(void *ctx, void *buf, ms_u32 size, ms_u64 flags) = (void *)67;
static long (*bpf_probe_read_user)(void *to, ms_u32 size, ms_u64 from) = (void *)112;
static long (*bpf_probe_read_kernel)(void *to, ms_u32 size, ms_u64 from) = (void *)113;
static long (*bpf_ringbuf_output)(void *ring, void *data, ms_u64 size, ms_u64 flags) = (void *)130;

/* struct pt_regs of x86-64 (arch/x86/include/asm/ptrace.h). cs is 16 bits wide since 6.9. */
struct ms_regs {
	ms_u64 r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip;
	ms_u16 cs, cs_ext[3];
	ms_u64 flags, sp, ss;
};

/* struct bpf_perf_event_data (include/uapi/linux/bpf_perf_event.h): starts with the registers. */
struct bpf_perf_event_data {
	struct ms_regs regs;
	ms_u64 sample_period;
	ms_u64 addr;
};

#endif

/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* The maps, and the scratch of one sample. All state of a walk lives in per-CPU maps: the stack of a
 * BPF program has 512 bytes, and a tail call starts it anew. */
#ifndef MIXSTACK_STATE_H
#define MIXSTACK_STATE_H

#include "compat.bpf.h"

enum {
	/* What one sample can hold; together they fit RECORD_WORDS. */
	MAX_KERNEL = 127,
	MAX_CHAIN = 640, /* at least 512 Python frames and 128 markers */
	MAX_NATIVE = 272,
	MAX_MARKERS = 128,
	MAX_FRAMES = MAX_CHAIN - MAX_MARKERS, /* before 3.11: of one thread state */
	RECORD_WORDS = 2048,

	/* Work done per program; what is left is for the next tail call (the kernel allows 33). */
	CHAIN_PER_CALL = 40,
	FRAMES_PER_CALL = 64,
	NATIVE_PER_CALL = 20,
	CODES_PER_CALL = 8,

	CODES_PER_SAMPLE = 64, /* newly seen; more than that are sent with the next sample */

	SEEN_SLOTS = 65536,
	WAKE_EVERY_NS = 10000000, /* a CPU does not wake user space more often */
};

enum ms_program {
	PROGRAM_THREADS = 0,
	PROGRAM_CHAIN = 1,
	PROGRAM_NATIVE = 2,
	PROGRAM_CODES = 3,
	PROGRAM_FRAMES = 4,
	PROGRAM_MARKERS = 5,
	PROGRAM_LEARN = 6,
	PROGRAM_BASE = 7,
	PROGRAM_CALLER = 8,
	PROGRAMS = 9,
};

/* A sample under construction: in memory just as it is sent. */
struct ms_sample_buffer {
	struct ms_sample head;
	ms_u64 words[RECORD_WORDS];
};

/* A code object under construction. */
struct ms_code_buffer {
	struct ms_code code;
	char linetable[MS_CODE_LINETABLE_MAX];
};

/* One step of the native walk: the frame's CFA, and the caller's registers. */
struct ms_unwound {
	ms_u64 cfa;
	ms_s64 bp_offset; /* where the caller's rbp is saved: CFA + this; 0: it is unchanged */
	ms_u64 ip, sp, bp;
	ms_u64 step;
};

enum { OBJECT_MAX = 256 };

/* What lies side by side is read at once: a read of this size costs what one of 8 bytes does. */
enum { PAGE = 4096, WINDOW_MAX = 1024, WINDOW_WORDS = WINDOW_MAX / 8 };

/* Frames: a window of those that lie side by side, and behind it one that was read alone. */
enum { FRAME_ALONE = WINDOW_WORDS, FRAMES_WORDS = 2 * WINDOW_WORDS };

/* How far below its CFA an evaluator of 3.8 or 3.9 may keep the address of its frame. */
enum { STACK_WORDS = 64 };

/* Thread states of one thread: a C program may enter an interpreter from within another. */
enum { MAX_TSTATES = 4 };

/* How much of a str goes into a code object's fingerprint: its head and PRINT_WORDS words. */
enum { STRING_WORDS = 16, PRINT_WORDS = 6 };

/* What speaks for the segment that is being walked. */
enum ms_trust {
	TRUST_PROVEN = 0, /* an inner segment's end led here */
	TRUST_NEWEST = 1, /* the newest: it may be half written */
	TRUST_FOUND = 2,  /* the one before a newest that was half written, found on the C stack */
};

/* The search on the C stack for the record before one that is half written. */
enum ms_search {
	SEARCH_NONE = 0,
	SEARCH_ON = 1,   /* the native walk looks for the evaluator before the newest */
	SEARCH_DONE = 2, /* it was made; there is no second */
};

struct ms_state {
	struct ms_process process;
	ms_u64 fsbase;
	ms_u32 used; /* words of the sample's body */
	ms_u32 n_markers;

	/* the walk of the interpreter's chain */
	ms_u64 tstate;                /* to be entered next; 0: it was */
	ms_u64 tstates[MAX_TSTATES]; /* of this thread, the newest first */
	ms_u32 n_tstates, next_tstate;
	ms_u64 base_frame; /* where the chain ends (3.15) */
	ms_u32 n_frames, n_paired; /* before 3.11: of this thread state, frames and markers */
	ms_u32 in_markers, walking_frames;
	ms_u32 tracing; /* not 0: a trace function is being told of something */

	/* 3.8, 3.9: the evaluators' frames are looked for on the C stack */
	ms_u64 locals[MAX_MARKERS]; /* what each evaluator keeps: the address of its frame's variables */
	ms_u32 local_words[MAX_MARKERS]; /* words of the sample where the markers of these frames are */
	ms_u32 n_locals, next_local;
	ms_u32 leaf_claims; /* 1: the leaf may be the newest frame's evaluator */
	ms_u32 next_native;
	ms_u32 learned_at, learning; /* the native frame that was learned from, and how many were */
	ms_u32 slot; /* where it keeps it: CFA - 8 * slot; 0: not known yet */
	ms_u32 seen; /* how many evaluators that was learned from */
	ms_u32 matched;
	ms_u64 found;
	ms_u64 frame;
	ms_u64 cframe;       /* the record of the segment being walked (3.11, 3.12) */
	ms_u64 outer_cframe; /* its predecessor */
	ms_u64 root_cframe;  /* the thread state's own, before the outermost evaluator's */
	ms_u64 marker;       /* of the segment that the last frame ends; 0: it ends none */
	ms_u32 said;         /* enum ms_walk: of that frame */
	ms_u32 trust;        /* enum ms_trust */
	ms_u32 open;         /* frames were walked since the last marker */
	ms_u32 search;       /* enum ms_search */
	ms_u64 outer_cfa;    /* what it found: the CFA of that evaluator's native frame */
	ms_u32 whole_stack;  /* it came to the thread's root */
	ms_u32 caller_sought; /* the newest frame had no caller: one was looked for */
	ms_u64 newest_frame; /* where the chain began */
	ms_u64 other_caller; /* of it, if the one that was found is none; 0: none */

	/* code objects that user space has not been told of */
	ms_u64 new_code[CODES_PER_SAMPLE];
	ms_u32 n_new;
	ms_u32 next_new; /* the first that is not sent yet */

	/* the native walk */
	ms_u64 ip, sp, bp;
	ms_u64 inner_sp; /* of the frame before, the next inner one */
	ms_u32 inner_step;
	ms_u64 ucontext; /* of the last signal frame */
	ms_u64 base; /* of the CFA, for a row of kind REGISTER: what was found; 0: it is not known */
	ms_u32 has_base; /* it was looked for */
	ms_u64 leaf_ip, leaf_bp; /* as sampled; the leaf's sp is in the sample */
	ms_u32 step; /* enum ms_step: how we came to ip */
	ms_u32 next_marker;
	ms_u32 dirty; /* re-synced or stepped by frame pointer: nothing is learned from here on */
	ms_u32 low, high; /* bounds of a binary search */
	ms_u32 walking;   /* not yet at an end */
	ms_u64 woken_ns;  /* when this CPU last woke user space */
	ms_u32 exiting;   /* the kernel is ending the thread */
	ms_u32 gave_back; /* on its own: its stack may be another's by now */
	ms_u32 kernel_thread; /* there is no user memory */
	ms_u32 in_system_call;
	ms_u32 new_thread; /* it returns from the clone that made it */
	ms_u32 failure;   /* enum ms_native_end: why a frame could not be left */
	/* a frame that was left by a frame pointer, on trial */
	ms_u64 proof; /* the next frame's CFA if it was one; 0: nothing is on trial */
	ms_u64 tried_ip, tried_sp, tried_bp;
	ms_u32 tried_step;
	ms_u32 tried_why; /* enum ms_native_end: why it was not left by a row */
	struct ms_unwound to;
	struct ms_mapping mapping; /* of the last frame: mostly the next one's too */
	ms_u64 markers[MAX_MARKERS];

	/* a part of the C stack, read at once */
	ms_u64 window_at;
	ms_u64 window_bytes; /* 0: there is none */
	ms_u64 window[WINDOW_WORDS];

	ms_u64 stack_bytes[STACK_WORDS];
	ms_u64 tstate_bytes[OBJECT_MAX / 8];
	ms_u64 frames[FRAMES_WORDS];
	ms_u64 frames_at; /* of the window */
	ms_u64 frames_bytes; /* 0: there is none */
	ms_u64 last_frame; /* of Python */
	ms_u32 frame_word; /* where the last frame that was read begins */
	ms_u64 code_bytes[OBJECT_MAX / 8];
	ms_u64 code_at; /* where it was read from; 0: nowhere */
	ms_u32 code_print;
	ms_u64 string_bytes[STRING_WORDS];
	ms_u64 print; /* the fingerprint that is being made */
	struct ms_regs regs; /* the leaf's */
};

MAP(ms_configs, BPF_MAP_TYPE_ARRAY, ms_u32, struct ms_config, 1, 0);
MAP(ms_processes, BPF_MAP_TYPE_HASH, ms_u32, struct ms_process, MS_PROCESSES_MAX, 0);
MAP(ms_mappings, BPF_MAP_TYPE_ARRAY, ms_u32, struct ms_mapping, 1, BPF_F_MMAPABLE);
MAP(ms_pages, BPF_MAP_TYPE_ARRAY, ms_u32, struct ms_page, 1, BPF_F_MMAPABLE);
MAP(ms_rows, BPF_MAP_TYPE_ARRAY, ms_u32, ms_u64, 1, BPF_F_MMAPABLE);
MAP(ms_learned_of, BPF_MAP_TYPE_ARRAY, ms_u32, struct ms_learned, 1024, BPF_F_MMAPABLE);
MAP(ms_seen, BPF_MAP_TYPE_ARRAY, ms_u32, ms_u64, SEEN_SLOTS, 0);
MAP(ms_states, BPF_MAP_TYPE_PERCPU_ARRAY, ms_u32, struct ms_state, 1, 0);
MAP(ms_samples, BPF_MAP_TYPE_PERCPU_ARRAY, ms_u32, struct ms_sample_buffer, 1, 0);
MAP(ms_codes, BPF_MAP_TYPE_PERCPU_ARRAY, ms_u32, struct ms_code_buffer, 1, 0);
MAP(ms_counts, BPF_MAP_TYPE_PERCPU_ARRAY, ms_u32, ms_u64, MS_COUNTERS, 0);
MAP(ms_programs, BPF_MAP_TYPE_PROG_ARRAY, ms_u32, ms_u32, PROGRAMS, 0);

RING(ms_ring);

INLINE struct ms_state *the_state(void)
{
	ms_u32 zero = 0;
	return bpf_map_lookup_elem(&ms_states, &zero);
}

INLINE struct ms_sample_buffer *the_sample(void)
{
	ms_u32 zero = 0;
	return bpf_map_lookup_elem(&ms_samples, &zero);
}

INLINE struct ms_learned *learned_of(const struct ms_state *s)
{
	ms_u32 slot = s->process.slot;
	return bpf_map_lookup_elem(&ms_learned_of, &slot);
}

INLINE void count(ms_u32 what)
{
	ms_u64 *counter = bpf_map_lookup_elem(&ms_counts, &what);
	if (counter)
		*counter += 1;
}

/* Fields of an object that was read whole, at offsets that user space gave. The masks keep every
 * access inside the buffer, whatever the offset. */
INLINE ms_u64 field64(const ms_u64 *bytes, ms_u32 offset)
{
	return bytes[(offset / 8) & (OBJECT_MAX / 8 - 1)];
}

INLINE ms_u32 field32(const ms_u64 *bytes, ms_u32 offset)
{
	return ((const ms_u32 *)bytes)[(offset / 4) & (OBJECT_MAX / 4 - 1)];
}

INLINE ms_u8 field8(const ms_u64 *bytes, ms_u32 offset)
{
	return ((const ms_u8 *)bytes)[offset & (OBJECT_MAX - 1)];
}

INLINE ms_u32 string_field32(const struct ms_state *s, ms_u32 offset)
{
	return ((const ms_u32 *)s->string_bytes)[(offset / 4) & (STRING_WORDS * 2 - 1)];
}

INLINE ms_u64 string_field64(const struct ms_state *s, ms_u32 offset)
{
	return s->string_bytes[(offset / 8) & (STRING_WORDS - 1)];
}

/* Append two words to the sample. The caller has checked the limits that keep `used` in range. */
INLINE void append(struct ms_state *s, struct ms_sample_buffer *sample, ms_u64 a, ms_u64 b)
{
	ms_u32 at = s->used & (RECORD_WORDS - 1);
	sample->words[at] = a;
	sample->words[(at + 1) & (RECORD_WORDS - 1)] = b;
	s->used = at + 2;
}

#endif

/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* The structures that pass between the probe and user space; mixstack/bpf/wire.py mirrors them.
 *
 * tests/unit/bpf compiles this header and compares every size and offset with the mirror.
 * All fields are little-endian and naturally aligned; there is no implicit padding.
 */
#ifndef MIXSTACK_H
#define MIXSTACK_H

typedef unsigned char ms_u8;
typedef unsigned short ms_u16;
typedef unsigned int ms_u32;
typedef int ms_s32;
typedef unsigned long long ms_u64;
typedef long long ms_s64;

/* ---- records in the ring buffer: the first u32 says which ---------------------------------- */

enum ms_record {
	MS_RECORD_SAMPLE = 1,
	MS_RECORD_CODE = 2,
	MS_RECORD_FORK = 3,
	MS_RECORD_EXEC = 4,
	MS_RECORD_EXIT = 5,
};

enum ms_native_end {
	MS_NATIVE_ROOT = 0,
	MS_NATIVE_TRUNCATED = 1,
	MS_NATIVE_NO_MAPPING = 2,
	MS_NATIVE_NO_TABLE = 3,
	MS_NATIVE_NO_RULE = 4,
	MS_NATIVE_READ_FAULT = 5,
	MS_NATIVE_NO_PROGRESS = 6,
	MS_NATIVE_NO_USER_REGS = 7,
	MS_NATIVE_TAIL_CALLS = 8,
	MS_NATIVE_EXITING = 9, /* the thread is ending: its stack is gone, or may be another's by now */
};

enum ms_chain_end {
	MS_CHAIN_ROOT = 0,
	MS_CHAIN_NOT_PYTHON = 1,
	MS_CHAIN_NO_THREAD_STATE = 2,
	MS_CHAIN_TRUNCATED = 3,
	MS_CHAIN_READ_FAULT = 4,
	MS_CHAIN_INVALID = 5,
	MS_CHAIN_TAIL_CALLS = 6,
};

/* How the walk came to a native frame: bits 56..59 of ms_native.pc. */
enum ms_step {
	MS_STEP_LEAF = 0,
	MS_STEP_CALLER = 1,
	MS_STEP_SIGNAL = 2,
	MS_STEP_FRAME_POINTER = 3,
	MS_STEP_RESYNC = 4, /* the pc is unknown: 0 */
};

/* What an entry of the interpreter's chain is: bits 56..59 of ms_python.address. */
enum ms_chain_entry {
	MS_ENTRY_FRAME = 0,      /* address: the code object */
	MS_ENTRY_INCOMPLETE = 1, /* the same, before its first traceable instruction */
	MS_ENTRY_MARKER = 2,     /* address: the marker on the C stack; closes the segment before it.
				    In a paired list: one frame's; 0: not found */
};

#define MS_TAG_SHIFT 56
#define MS_ADDRESS_MASK 0x00ffffffffffffffULL

enum ms_sample_flag {
	MS_SAMPLE_TORN = 1,        /* the newest evaluator's record was half written; skipped */
	MS_SAMPLE_KERNEL = 2,      /* the thread was in the kernel */
	MS_SAMPLE_NEW_MAPPING = 4, /* a pc fell into no known mapping: user space must look again */
	MS_SAMPLE_NO_TABLE = 8,    /* the table of the mapping at end_pc is missing: read it next */
	MS_SAMPLE_PAIRED = 16,     /* before 3.11: of each thread state its frames, then their markers */
	MS_SAMPLE_SETTLED = 32,    /* the newest frame and the newest marker belong together */
	MS_SAMPLE_COUNTED = 64,    /* 3.8, 3.9: where an evaluator names its frame is not known (yet) */
	MS_SAMPLE_SEVERAL = 128    /* the chains of several thread states, which may be interleaved */
};

/* A sample: this head, then n_kernel x u64, then n_chain x ms_python, then n_native x ms_native;
 * each of the three innermost first. */
struct ms_sample {
	ms_u32 record; /* MS_RECORD_SAMPLE */
	ms_u32 flags;  /* enum ms_sample_flag */
	ms_u64 time_ns;
	ms_u32 pid;
	ms_u32 tid;
	ms_u32 cpu;
	ms_u16 n_kernel;
	ms_u16 n_chain;
	ms_u16 n_native;
	ms_u8 native_end; /* enum ms_native_end */
	ms_u8 chain_end;  /* enum ms_chain_end */
	ms_u32 marker_span; /* CFA - marker, the same for all evaluators; 0: not known yet */
	ms_u64 sp;     /* user stack pointer at the leaf, or 0 */
	ms_u64 end_pc; /* where the native walk died last, even if it was re-synced; or 0.
			  Tagged with enum ms_native_end: why it died there */
	char comm[16];
};

struct ms_native {
	ms_u64 pc; /* tagged with enum ms_step */
	ms_u64 cfa;
};

struct ms_python {
	ms_u64 address; /* tagged with enum ms_chain_entry */
	ms_s32 offset;  /* of the instruction in the code's bytecode, bytes */
	ms_u32 fingerprint;
};

/* A code object seen for the first time, with what names it. A str is sent as it lies in memory:
 * its bytes, the width of a character, and its length in characters. */
enum { MS_CODE_STRING_MAX = 248, MS_CODE_LINETABLE_MAX = 8192 };

struct ms_string {
	ms_u32 length; /* characters, as the object says; more than fits means: cut */
	ms_u8 kind;    /* bytes per character: 1, 2, 4; 0: not readable, or not a compact str */
	ms_u8 ascii;
	ms_u16 bytes; /* how many of `data` are valid */
	char data[MS_CODE_STRING_MAX];
};

struct ms_code {
	ms_u32 record; /* MS_RECORD_CODE */
	ms_u32 pid;
	ms_u64 address;
	ms_u32 fingerprint;
	ms_s32 first_line;
	ms_u64 linetable_length; /* as the object says; bytes sent: linetable_bytes */
	ms_u32 linetable_bytes;
	ms_u32 family; /* of the process: its code objects are told apart within that */
	struct ms_string name;
	struct ms_string qualname;
	struct ms_string filename;
	/* then linetable_bytes bytes */
};

/* A followed process forked, became another program, or ended. */
struct ms_life {
	ms_u32 record; /* MS_RECORD_FORK, MS_RECORD_EXEC, MS_RECORD_EXIT */
	ms_u32 pid;    /* of a fork: the child's */
	ms_u64 time_ns;
	ms_u32 parent; /* of a fork, else 0 */
	ms_u32 reserved;
};

/* ---- tables that user space fills ----------------------------------------------------------- */

/* One row of an unwind table: how to leave the function from `pc` on to the next row's pc.
 *   bits  0..31  pc, relative to the module's lowest executable address
 *   bits 32..47  the numbers of `kind`, mostly a signed offset in bytes / 8
 *   bits 48..59  rbp_offset, signed, in bytes / 8, from the CFA; 0: rbp is unchanged;
 *                MS_RBP_AT_RBP: the caller's rbp is saved where rbp points
 *   bits 60..63  kind */
enum ms_row_kind {
	MS_ROW_NONE = 0,      /* no rule: a gap between functions, or one that does not fit a row */
	MS_ROW_RSP = 1,       /* CFA = rsp + offset */
	MS_ROW_RBP = 2,       /* CFA = rbp + offset */
	/* bits 32..42: offset; bits 43..47: addend, not signed; both in bytes / 8 */
	MS_ROW_RBP_DEREF = 3, /* CFA = *(rbp + offset) + addend */
	MS_ROW_RSP_DEREF = 4, /* CFA = *(rsp + offset) + addend: OpenSSL's assembler keeps the old rsp */
	MS_ROW_PLT = 5,       /* CFA = rsp + 8 + ((pc & 15) >= offset ? 8 : 0); offset is not / 8 */
	MS_ROW_ROOT = 6,      /* the return address is undefined: the thread's root */
	MS_ROW_SIGNAL = 7,    /* rsp points at a ucontext: the interrupted registers are in it */
	/* bits 32..36: offset, not signed; bits 37..43: slot; both in bytes / 8; bits 44..47: the register
	 * as DWARF numbers it. In the leaf, and in a frame that a signal interrupted, all registers are
	 * known; in a caller only one that the called function has saved at its own CFA - slot, or has left
	 * alone. */
	MS_ROW_REGISTER = 8, /* CFA = register + offset */
};
#define MS_RBP_AT_RBP (-2048)

/* An executable mapping. */
enum ms_mapping_kind {
	MS_MAPPING_TABLE = 1,    /* rows at `first_row`.., page index at `first_page`.. */
	MS_MAPPING_NO_TABLE = 2, /* a file or anonymous memory without a table */
};

struct ms_mapping {
	ms_u64 start;
	ms_u64 end;
	ms_u64 base;       /* pc - base = the row's pc */
	ms_u32 first_page; /* index into the page table: entry of row pc 0 */
	ms_u32 pages;      /* how many entries there are */
	ms_u32 kind;       /* enum ms_mapping_kind */
	ms_u32 reserved;
};

/* One entry of the page index, per MS_PAGE_SIZE bytes of code: the last row at or before the page's
 * first byte (absolute index into the rows), and how many rows begin inside the page. */
enum { MS_PAGE_SHIFT = 8, MS_PAGE_SIZE = 256 };

struct ms_page {
	ms_u32 row;
	ms_u32 rows;
};

/* How to walk one process' interpreter. Offsets in bytes. */
enum ms_chain_kind {
	MS_CHAIN_KIND_NONE = 0,
	MS_CHAIN_KIND_CFRAME = 1,      /* 3.11: markers are _PyCFrame, segments end at is_entry */
	MS_CHAIN_KIND_CFRAME_SHIM = 2, /* 3.12: the chain starts at a _PyCFrame, markers are shims */
	MS_CHAIN_KIND_SHIM = 3,        /* 3.13+: the chain starts in the thread state */
	MS_CHAIN_KIND_FRAME = 4,       /* 3.8, 3.9: frame objects, one per evaluation; each evaluator
					  keeps its frame's address in a place of its own: the marker */
	MS_CHAIN_KIND_FRAME_CFRAME = 5, /* 3.10: the same, and beside them a list of CFrames: markers */
};

struct ms_layout {
	ms_u32 chain_kind;
	ms_u16 tstate_next;
	ms_u16 tstate_thread_id;
	ms_u16 tstate_frame; /* frame (3.8 to 3.10), cframe (3.11, 3.12), current_frame (3.13+) */
	ms_u16 tstate_cframe; /* 3.10 */
	ms_u16 tstate_root_cframe;
	ms_u16 tstate_tracing; /* 3.8, 3.9: a trace function is being told */
	ms_u16 tstate_base_frame; /* 3.15: points at the sentinel that ends the chain */
	ms_u16 cframe_current_frame;
	ms_u16 cframe_previous;
	ms_u16 frame_size; /* how much of a frame to read */
	ms_u16 frame_code;
	ms_u16 frame_previous;
	ms_u16 frame_instr;
	ms_u16 instr_scale; /* 0: frame_instr is a pointer; else an int, counted in so many bytes */
	ms_u16 frame_owner;
	ms_u16 frame_is_entry;
	ms_u16 frame_state; /* f_executing (3.8, 3.9), f_state (3.10) */
	ms_u16 frame_locals; /* 3.8, 3.9: f_localsplus; evaluators keep the address of that */
	ms_u16 frame_tlbc_index; /* free-threaded builds: which copy of the bytecode it runs */
	ms_u16 code_size; /* how much of a code object to read: up to co_code_adaptive */
	ms_u16 code_flags;
	ms_u16 code_first_line;
	ms_u16 code_filename;
	ms_u16 code_name;
	ms_u16 code_qualname;
	ms_u16 code_linetable;
	ms_u16 code_first_traceable;
	ms_u16 code_adaptive;
	ms_u16 code_tlbc; /* free-threaded builds: the array of copies; 0: there are none */
	ms_u16 code_version; /* a number that no other code object of the interpreter has; 0: none */
	ms_u16 object_type; /* ob_type of any object */
	ms_u16 var_size;    /* ob_size of a PyVarObject */
	ms_u16 bytes_data;
	ms_u16 string_length;
	ms_u16 string_state;
	ms_u16 string_kind_shift; /* bits of `state`: kind from here on 3, then compact, ascii */
	ms_u16 string_ascii_data;   /* characters of a compact ASCII str */
	ms_u16 string_compact_data; /* of any other compact str */
	ms_u16 shim_owner; /* owner >= this: the frame is a shim */
	ms_u16 reserved[3];
};

enum {
	MS_PROCESSES_MAX = 8192,
	MS_EVERYONE_ELSE = 0, /* the key of the entry that holds for all that have none */
};

enum ms_process_flag {
	MS_PROCESS_ALONE = 1,   /* its children are not followed */
	MS_PROCESS_HIDDEN = 2,  /* it and its children are not sampled: the recorder itself */
	MS_PROCESS_UNKNOWN = 4, /* user space has not looked at its program yet */
	MS_PROCESS_HELD = 8,    /* it is not sampled before its exec: until then it is the recorder's */
};

/* What the probe knows of one process; the value of a hash keyed by pid (tgid). Those that have no
 * entry are sampled only if there is one at MS_EVERYONE_ELSE. */
struct ms_process {
	ms_u32 first_mapping;
	ms_u32 mappings;
	ms_u64 code_type;   /* address of PyCode_Type: what ob_type of a code object must be */
	ms_u64 interp_head; /* address of the pointer to the newest interpreter state */
	ms_u64 tss_slot;    /* thread-local slot of the thread state: fs base + this; 0: unknown */
	ms_u32 interp_threads_head; /* offset of the newest thread state in an interpreter state */
	ms_u32 interp_next;
	ms_u32 slot; /* index into the table of what was learned (ms_learned) */
	ms_u32 several; /* a thread may have several thread states: all of the list are looked at */
	struct ms_layout layout;
	ms_u64 code_start; /* the interpreter's own text: only there is an evaluator learned */
	ms_u64 code_end;
	ms_u32 family; /* the pid of the process whose memory it shares or is a copy of, or its own */
	ms_u32 flags;  /* enum ms_process_flag */
	ms_u64 evaluator_start; /* as far as its symbol covers it: asked only about torn records */
	ms_u64 evaluator_end;
};

/* What the probe learned of a process' evaluator from clean stacks. */
struct ms_learned {
	ms_s64 cfa_from_marker; /* K: CFA - marker; 0: not yet */
	ms_s64 rbp_from_cfa;    /* where the evaluator saves its caller's rbp: CFA + this */
	ms_s64 marker_from_cframe; /* 3.12: marker - _PyCFrame, both in one frame; 0: not yet */
	ms_u64 slots; /* 3.8, 3.9: bit i: all evaluators named their frame at CFA - 8 * i */
	ms_u32 slot;  /* the place that is looked at: CFA - 8 * slot; 0: not yet */
	ms_u32 seen;  /* how many evaluators that was learned from */
};

/* The machine; the only element of an array. */
struct ms_config {
	ms_u32 task_fsbase;  /* offset of thread.fsbase in task_struct */
	ms_u32 task_stack;   /* offset of stack in task_struct */
	ms_u32 user_regs;    /* offset of the user's pt_regs from task->stack */
	ms_u32 task_flags;   /* offset of flags in task_struct */
	ms_u32 task_tgid;    /* offset of tgid in task_struct */
	ms_u32 task_signal;  /* offset of signal in task_struct */
	ms_u32 signal_live;  /* offset of live in signal_struct: how many threads have not ended */
	ms_u32 pid_namespace; /* the inode of user space's own, 0: the initial one */
	ms_u32 task_pid;     /* offset of thread_pid in task_struct: a thread's struct pid */
	ms_u32 signal_pid;   /* offset of pids[PIDTYPE_TGID] in signal_struct: a process' */
	ms_u32 pid_level;    /* offset of level in struct pid: how many namespaces enclose its own */
	ms_u32 pid_numbers;  /* offset of numbers in struct pid: a struct upid for each */
	ms_u32 upid_bytes;   /* size of struct upid, and the offset of ns in it; that of nr is 0 */
	ms_u32 upid_namespace;
	ms_u32 namespace_inode; /* offset of ns.inum in struct pid_namespace */
	ms_u32 reserved;
};

/* Counters, per CPU. */
enum ms_counter {
	MS_COUNT_SAMPLES = 0,
	MS_COUNT_LOST = 1,      /* no room in the ring buffer */
	MS_COUNT_CODE_LOST = 2, /* a code record found no room; it is sent again with the next sample */
	MS_COUNT_UNKNOWN = 3,   /* samples of a process that user space had not looked at yet */
	MS_COUNTERS = 4,
};

#endif

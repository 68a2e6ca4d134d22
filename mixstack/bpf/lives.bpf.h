/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* The lives of the followed processes: fork, exec, exit. These programs run where a process does that,
 * not in an interrupt, so they may change the hash of processes: a child is sampled from its first
 * instruction on, and no program is walked with the tables of the one before it. */
#ifndef MIXSTACK_LIVES_H
#define MIXSTACK_LIVES_H

#include "pids.bpf.h"

static long (*bpf_map_update_elem)(void *map, const void *key, const void *value,
				   ms_u64 flags) = (void *)2;
static long (*bpf_map_delete_elem)(void *map, const void *key) = (void *)3;

/* What is known of a process that is to be sampled; NULL: it is not, or it is the idle task (0). */
INLINE struct ms_process *find_process(ms_u32 pid)
{
	ms_u32 everyone_else = MS_EVERYONE_ELSE;
	struct ms_process *process = bpf_map_lookup_elem(&ms_processes, &pid);

	if (!process)
		process = bpf_map_lookup_elem(&ms_processes, &everyone_else);
	return process && pid && !(process->flags & (MS_PROCESS_HIDDEN | MS_PROCESS_HELD)) ? process : NULL;
}

INLINE void tell(ms_u32 record, ms_u32 pid, ms_u32 parent)
{
	struct ms_life life = {
		.record = record,
		.pid = pid,
		.time_ns = bpf_ktime_get_ns(),
		.parent = parent,
	};

	/* A lost one is noticed by what it says: samples of an unknown process, another program. */
	bpf_ringbuf_output(&ms_ring, &life, sizeof(life), BPF_RB_FORCE_WAKEUP);
}

/* The child's memory is a copy of the parent's (vfork: it is the parent's): so are its tables. */
INLINE void process_forked(const struct ms_config *config, ms_u64 parent_task, ms_u64 child_task)
{
	ms_u32 parent = process_of(config, parent_task), child = process_of(config, child_task);
	struct ms_process *process;

	if (!child || child == parent) /* a thread */
		return;
	process = bpf_map_lookup_elem(&ms_processes, &parent);
	if (!process || process->flags & MS_PROCESS_ALONE)
		return;
	bpf_map_update_elem(&ms_processes, &child, process, BPF_ANY);
	if (!(process->flags & MS_PROCESS_HIDDEN))
		tell(MS_RECORD_FORK, child, parent);
}

/* The memory is another now. Only this thread is left: no other CPU is in the middle of a walk. */
INLINE void process_execed(ms_u32 pid)
{
	struct ms_process *process = bpf_map_lookup_elem(&ms_processes, &pid);

	if (!process || process->flags & MS_PROCESS_HIDDEN)
		return;
	process->mappings = 0;
	process->layout.chain_kind = MS_CHAIN_KIND_NONE;
	process->family = pid;
	process->flags = (process->flags | MS_PROCESS_UNKNOWN) & ~MS_PROCESS_HELD;
	tell(MS_RECORD_EXEC, pid, 0);
}

INLINE void process_exits(const struct ms_config *config, ms_u64 task, ms_u32 pid)
{
	struct ms_process *process = bpf_map_lookup_elem(&ms_processes, &pid);
	ms_u64 signal = 0;
	ms_u32 live = 1;

	if (!process || bpf_probe_read_kernel(&signal, 8, task + config->task_signal) ||
	    bpf_probe_read_kernel(&live, sizeof(live), signal + config->signal_live) || live)
		return;
	if (process->flags & MS_PROCESS_HIDDEN)
		bpf_map_delete_elem(&ms_processes, &pid);
	else
		tell(MS_RECORD_EXIT, pid, 0);
}

#endif

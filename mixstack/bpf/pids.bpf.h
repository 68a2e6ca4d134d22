/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* Pids as user space has them: in a container another number than the kernel's own. */
#ifndef MIXSTACK_PIDS_H
#define MIXSTACK_PIDS_H

#include "state.bpf.h"

enum { NAMESPACES_MAX = 16 }; /* one inside the other; the kernel allows 32 */

/* The number of a struct pid in user space's namespace; 0: it is not in there. */
INLINE ms_u32 number_of(const struct ms_config *config, ms_u64 pid)
{
	ms_u32 level = 0, number = 0, inode = 0;
	ms_u64 upid, namespace = 0;

	if (bpf_probe_read_kernel(&level, sizeof(level), pid + config->pid_level))
		return 0;
	NO_UNROLL for (ms_u32 i = 0; i < NAMESPACES_MAX; i++) {
		if (i > level)
			break;
		upid = pid + config->pid_numbers + i * config->upid_bytes;
		bpf_probe_read_kernel(&namespace, 8, upid + config->upid_namespace);
		bpf_probe_read_kernel(&inode, sizeof(inode), namespace + config->namespace_inode);
		if (inode != config->pid_namespace)
			continue;
		bpf_probe_read_kernel(&number, sizeof(number), upid);
		return number;
	}
	return 0;
}

/* The process of a task. */
INLINE ms_u32 process_of(const struct ms_config *config, ms_u64 task)
{
	ms_u64 signal = 0, pid = 0;
	ms_u32 tgid = 0;

	if (!config->pid_namespace) {
		bpf_probe_read_kernel(&tgid, sizeof(tgid), task + config->task_tgid);
		return tgid;
	}
	bpf_probe_read_kernel(&signal, 8, task + config->task_signal);
	bpf_probe_read_kernel(&pid, 8, signal + config->signal_pid);
	return number_of(config, pid);
}

/* bpf_get_current_pid_tgid, in user space's namespace: the process in the upper half. */
INLINE ms_u64 current_pids(const struct ms_config *config)
{
	ms_u64 task = bpf_get_current_task(), pid = 0;

	if (!config->pid_namespace)
		return bpf_get_current_pid_tgid();
	bpf_probe_read_kernel(&pid, 8, task + config->task_pid);
	return (ms_u64)process_of(config, task) << 32 | number_of(config, pid);
}

#endif

/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* The same source through bcc, which puts headers of its own before it: what they define, and we do
 * too, gets another name. bcc.py compiles twice: with MS_BCC_MAPS the maps alone, then the programs,
 * in which the name of each map is a macro for its descriptor. */
#ifndef MIXSTACK_BCC_H
#define MIXSTACK_BCC_H

#undef SEC
#define SEC(name) /* bcc finds the programs by itself */

#define bpf_map_lookup_elem ms_map_lookup_elem
#define bpf_map_update_elem ms_map_update_elem
#define bpf_map_delete_elem ms_map_delete_elem
#define bpf_ktime_get_ns ms_ktime_get_ns
#define bpf_get_smp_processor_id ms_get_smp_processor_id
#define bpf_tail_call ms_tail_call
#define bpf_get_current_pid_tgid ms_get_current_pid_tgid
#define bpf_get_current_comm ms_get_current_comm
#define bpf_get_current_task ms_get_current_task
#define bpf_get_stack ms_get_stack
#define bpf_probe_read_user ms_probe_read_user
#define bpf_probe_read_kernel ms_probe_read_kernel
#define bpf_ringbuf_output ms_ringbuf_output
#define bpf_perf_event_data ms_perf_event_data

#ifdef MS_BCC_MAPS
#define MS_KIND_BPF_MAP_TYPE_HASH "hash"
#define MS_KIND_BPF_MAP_TYPE_ARRAY "array"
#define MS_KIND_BPF_MAP_TYPE_PROG_ARRAY "prog"
#define MS_KIND_BPF_MAP_TYPE_PERCPU_ARRAY "percpu_array"
#define MAP(map_name, map_type, key_type, value_type, entries, flags)                              \
	BPF_F_TABLE(MS_KIND_##map_type, key_type, value_type, map_name, entries, flags)
#else
#define MAP(map_name, map_type, key_type, value_type, entries, flags)
#endif
#define RING(ring_name) /* made by bcc.py */

#endif

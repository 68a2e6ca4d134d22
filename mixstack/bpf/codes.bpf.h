/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* Code objects that were seen for the first time, sent with all that names them: the process may be
 * gone before user space could ask it. What cannot be read here (a page that is not there, a name or
 * line table that is too long) user space reads itself. */
#ifndef MIXSTACK_CODES_H
#define MIXSTACK_CODES_H

#include "chain.bpf.h"

enum { STRING_HEAD_MAX = 64 }; /* sizeof(PyASCIIObject), of a free-threaded build as well */

INLINE void read_string(struct ms_state *s, struct ms_string *out, ms_u64 address)
{
	const struct ms_layout *l = &s->process.layout;
	ms_u64 bytes, length;
	ms_u32 state, data;

	out->kind = 0;
	out->ascii = 0;
	out->bytes = 0;
	out->length = 0;
	if (read_string_head(s, address, STRING_HEAD_MAX, &state) || !(state & STRING_COMPACT))
		return;
	length = string_field64(s, l->string_length);
	out->length = length > 0xffffffff ? 0xffffffff : length;
	bytes = (ms_u64)out->length * (state & STRING_KIND_MASK);
	if (bytes > MS_CODE_STRING_MAX)
		bytes = MS_CODE_STRING_MAX;
	data = state & STRING_ASCII ? l->string_ascii_data : l->string_compact_data;
	if (bytes && bpf_probe_read_user(out->data, bytes, address + data))
		return;
	out->kind = state & STRING_KIND_MASK;
	out->ascii = !!(state & STRING_ASCII);
	out->bytes = bytes;
}

INLINE void send_code(struct ms_state *s, struct ms_code_buffer *out, ms_u32 pid, ms_u64 address)
{
	const struct ms_layout *l = &s->process.layout;
	ms_u64 linetable, size;
	ms_u64 *seen;
	ms_u32 slot;

	if (read_object(s->code_bytes, l->code_size, address))
		return;
	out->code.record = MS_RECORD_CODE;
	out->code.pid = pid;
	out->code.address = address;
	out->code.fingerprint = fingerprint(s);
	out->code.first_line = (ms_s32)field32(s->code_bytes, l->code_first_line);
	out->code.family = s->process.family;
	read_string(s, &out->code.name, field64(s->code_bytes, l->code_name));
	read_string(s, &out->code.qualname, field64(s->code_bytes, l->code_qualname));
	read_string(s, &out->code.filename, field64(s->code_bytes, l->code_filename));

	linetable = field64(s->code_bytes, l->code_linetable);
	size = 0;
	out->code.linetable_length = 0;
	if (bpf_probe_read_user(&out->code.linetable_length, 8, linetable + l->var_size) == 0)
		size = out->code.linetable_length;
	if (size > MS_CODE_LINETABLE_MAX)
		size = MS_CODE_LINETABLE_MAX;
	if (size && bpf_probe_read_user(out->linetable, size, linetable + l->bytes_data))
		size = 0;
	out->code.linetable_bytes = size;

	size = (size + 7) & ~7ULL;
	if (size > MS_CODE_LINETABLE_MAX)
		return;
	if (bpf_ringbuf_output(&ms_ring, out, sizeof(out->code) + size, BPF_RB_NO_WAKEUP)) {
		count(MS_COUNT_CODE_LOST);
		return;
	}
	slot = seen_slot(out->code.family, out->code.fingerprint);
	seen = bpf_map_lookup_elem(&ms_seen, &slot);
	if (seen)
		*seen = seen_key(out->code.family, address, out->code.fingerprint);
}

#endif

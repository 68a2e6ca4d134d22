/* SPDX-License-Identifier: MIT */
/* Sample records (`struct ms_sample` of mixstack.h and its arrays) as columns.
 *
 * In C, as a long recording has millions of them; in Python each took 2 to 4 us. Most show a stack that was seen
 * before. Which one that is, is found here; what is new is for the caller to look at.
 *
 * A record's *key* is what tells its stack, and its thread's name: the bytes from the counts on, and some flags. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "export.h"
#include "hash.h"

enum {
	KEY_AT = offsetof(struct ms_sample, n_kernel),
	COMM_AT = offsetof(struct ms_sample, comm),
	COMM_SIZE = sizeof(((struct ms_sample *)0)->comm),
	BEFORE_COMM = COMM_AT - KEY_AT,
};

/* What `ms_samples_read` found at the place where it stopped. */
enum { AT_END, UNKNOWN, MALFORMED };

/* A key that is known. stack: its bytes without the name, and a byte of flags if there are any. */
struct sight {
	ms_u64 hash;
	const ms_u8 *stack;
	ms_u32 size;
	ms_u32 number;
	ms_u8 comm[COMM_SIZE];
};

struct ms_samples {
	struct sight *sights;
	ms_u64 *threads; /* pid | tid << 32, as they came */
	ms_u64 n_sights, n_threads;
	struct index by_key, by_thread;
	ms_u64 seed;
	ms_u32 flags; /* those that belong to the key */
};

/* A record: its bytes, and where it ends. */
struct record {
	struct ms_sample head;
	const ms_u8 *bytes;
	ms_u64 size;
	ms_u8 flags;
};

/* A block of records: where the next one is, and where it ends. */
struct ms_block {
	const ms_u8 *bytes;
	ms_u64 size;
	ms_u64 at;
	ms_u64 following;
};

/* Columns with room for as many samples as fit the block. */
struct ms_columns {
	ms_u64 *times_ns;
	ms_u32 *threads, *cpus, *sights;
	ms_u64 count;
};

/* flags: those that belong to a key; they fit a byte. seed: which nobody can guess who writes captures. */
EXPORT struct ms_samples *ms_samples_new(ms_u32 flags, ms_u64 seed)
{
	struct ms_samples *samples = calloc(1, sizeof(*samples));

	if (samples) {
		samples->flags = flags;
		samples->seed = seed;
	}
	return samples;
}

EXPORT void ms_samples_free(struct ms_samples *samples)
{
	if (samples) {
		free(samples->sights);
		free(samples->threads);
		free(samples->by_key.slots);
		free(samples->by_thread.slots);
		free(samples);
	}
}

static ms_u64 hash_of_sight(const void *samples, ms_u64 i)
{
	return ((const struct ms_samples *)samples)->sights[i].hash;
}

static ms_u64 hash_of_thread(const void *samples, ms_u64 i)
{
	return mix(((const struct ms_samples *)samples)->seed, ((const struct ms_samples *)samples)->threads[i]);
}

static int is_record(const struct ms_samples *samples, const ms_u8 *bytes, ms_u64 left, struct record *record)
{
	if (left < sizeof(record->head))
		return 0;
	memcpy(&record->head, bytes, sizeof(record->head));
	record->bytes = bytes;
	record->size = sizeof(record->head) + sizeof(ms_u64) * record->head.n_kernel +
		       sizeof(struct ms_python) * record->head.n_chain + sizeof(struct ms_native) * record->head.n_native;
	record->flags = (ms_u8)(record->head.flags & samples->flags);
	return record->head.record == MS_RECORD_SAMPLE && record->size <= left;
}

static ms_u64 hash_of_key(const struct ms_samples *samples, const struct record *record)
{
	return hash_of(record->bytes + KEY_AT, record->size - KEY_AT, samples->seed ^ record->flags);
}

static int is_key_of(const struct sight *sight, const struct record *record)
{
	ms_u64 rest = record->size - sizeof(record->head);

	return sight->size == BEFORE_COMM + rest + (record->flags != 0) &&
	       !memcmp(sight->comm, record->bytes + COMM_AT, COMM_SIZE) &&
	       !memcmp(sight->stack, record->bytes + KEY_AT, BEFORE_COMM) &&
	       !memcmp(sight->stack + BEFORE_COMM, record->bytes + sizeof(record->head), rest) &&
	       (!record->flags || sight->stack[BEFORE_COMM + rest] == record->flags);
}

/* Of the key; 0: it is not known. */
static const struct sight *find_sight(const struct ms_samples *samples, const struct record *record, ms_u64 hash)
{
	const struct index *index = &samples->by_key;
	ms_u64 at;

	if (!index->slots)
		return 0;
	for (at = first_place(index, hash); index->slots[at]; at = next_place(index, at)) {
		const struct sight *sight = &samples->sights[index->slots[at] - 1];

		if (sight->hash == hash && is_key_of(sight, record))
			return sight;
	}
	return 0;
}

/* The number of a thread; -1: no memory. */
static long thread_number(struct ms_samples *samples, ms_u64 thread)
{
	struct index *index = &samples->by_thread;
	ms_u64 at;

	if (!make_room(index, (void **)&samples->threads, samples->n_threads, sizeof(thread), hash_of_thread, samples))
		return -1;
	for (at = first_place(index, mix(samples->seed, thread)); index->slots[at]; at = next_place(index, at))
		if (samples->threads[index->slots[at] - 1] == thread)
			return (long)index->slots[at] - 1;
	samples->threads[samples->n_threads++] = thread;
	index->slots[at] = (ms_u32)samples->n_threads;
	return (long)samples->n_threads - 1;
}

/* Go on from block->at: the records with keys that are known to the columns, up to the first of another kind, which
 * ends at block->following. Returns why it stopped; -1: no memory. */
EXPORT int ms_samples_read(struct ms_samples *samples, struct ms_block *block, struct ms_columns *columns)
{
	struct record record;

	for (; block->at < block->size; block->at = block->following) {
		const struct sight *sight;
		long thread;

		if (!is_record(samples, block->bytes + block->at, block->size - block->at, &record))
			return MALFORMED;
		block->following = block->at + record.size;
		sight = find_sight(samples, &record, hash_of_key(samples, &record));
		if (!sight)
			return UNKNOWN;
		thread = thread_number(samples, record.head.pid | (ms_u64)record.head.tid << 32);
		if (thread < 0)
			return -1;
		columns->times_ns[columns->count] = record.head.time_ns;
		columns->threads[columns->count] = (ms_u32)thread;
		columns->cpus[columns->count] = record.head.cpu;
		columns->sights[columns->count++] = sight->number;
	}
	return AT_END;
}

/* The record at block->at is of that number. stack: its key without the name, which stays where it is. Whether there
 * was memory for it. */
EXPORT int ms_samples_know(struct ms_samples *samples, const struct ms_block *block, const ms_u8 *stack, ms_u64 size,
			   ms_u32 number)
{
	struct index *index = &samples->by_key;
	struct record record;
	struct sight *sight;
	ms_u64 at;

	if (!is_record(samples, block->bytes + block->at, block->size - block->at, &record) ||
	    !make_room(index, (void **)&samples->sights, samples->n_sights, sizeof(*sight), hash_of_sight, samples))
		return 0;
	sight = &samples->sights[samples->n_sights++];
	*sight = (struct sight){ hash_of_key(samples, &record), stack, (ms_u32)size, number, { 0 } };
	memcpy(sight->comm, record.bytes + COMM_AT, COMM_SIZE);
	for (at = first_place(index, sight->hash); index->slots[at]; at = next_place(index, at))
		;
	index->slots[at] = (ms_u32)samples->n_sights;
	return 1;
}

/* pid | tid << 32 of the threads that were met, by their numbers; returns how many there are. threads: or none. */
EXPORT ms_u64 ms_samples_threads(const struct ms_samples *samples, ms_u64 *threads)
{
	if (threads && samples->n_threads)
		memcpy(threads, samples->threads, samples->n_threads * sizeof(*threads));
	return samples->n_threads;
}

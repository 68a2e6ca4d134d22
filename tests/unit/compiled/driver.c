/* Runs the library over the cases of a file: u32 kind, three u32 sizes, and so many bytes each. Each piece is
 * memory of its own, so that a sanitizer sees every byte that is read beside it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned int u32;
typedef unsigned long long u64;

void *ms_frames_new(void);
void ms_frames_free(void *);
int ms_frames_add(void *, const void *, u64, u64, int);
u64 ms_frames_count(const void *);
void ms_frames_ranges(const void *, u64 *);
u64 ms_frames_room(const void *);
long ms_frames_rows(const void *, const void *, u32, u64, u64, u64 *);
void ms_index_pages(const u64 *, u64, void *, u64);
void *ms_symbols_new(void);
void ms_symbols_free(void *);
void ms_symbols_code(void *, u64, u64);
int ms_symbols_add(void *, const void *, u64, const char *, u64, const u64 *, u64);
long ms_symbols_finish(void *);
int ms_symbols_find(const void *, u64, u64 *);

void *ms_samples_new(u32, u64);
void ms_samples_free(void *);
int ms_samples_read(void *, void *, void *);
int ms_samples_know(void *, const void *, const void *, u64, u32);
u64 ms_samples_threads(const void *, u64 *);
void *ms_joins_new(u64);
void ms_joins_free(void *);
int ms_joins_know(void *, u64, u64, u64, const u32 *, u64);
int ms_joins_join(void *, const void *, u64, void *);

enum { FRAMES, SYMBOLS, ASTRAY, SAMPLES, STACK };
enum { CODE_AT = 0x1000, CODE_SIZE = 0x1000, SECTION_AT = 0x8000 };

/* Two sections, and code. */
static u64 frames(void *const *pieces, const u32 *sizes)
{
	struct {
		const void *bytes;
		u64 size, vaddr;
	} code = { pieces[2], sizes[2], CODE_AT };
	void *all = ms_frames_new();
	u64 count, *rows, *ranges, pages[CODE_SIZE / 256];
	long n, i;

	if (ms_frames_add(all, pieces[0], sizes[0], SECTION_AT, 0) ||
	    ms_frames_add(all, pieces[1], sizes[1], SECTION_AT, 1))
		abort();
	count = ms_frames_count(all);
	ranges = malloc(16 * count + 1);
	ms_frames_ranges(all, ranges);
	rows = malloc(ms_frames_room(all));
	n = ms_frames_rows(all, &code, 1, CODE_AT, CODE_AT + CODE_SIZE, rows);
	if (n < 1 || (rows[0] & 0xffffffff))
		abort();
	for (i = 1; i < n; i++)
		if ((rows[i - 1] & 0xffffffff) >= (rows[i] & 0xffffffff))
			abort(); /* not sorted */
	ms_index_pages(rows, n, pages, CODE_SIZE / 256);
	free(rows);
	free(ranges);
	ms_frames_free(all);
	return n > 1;
}

/* A symbol table, its strings, and bounds of sections. */
static u64 symbols(void *const *pieces, const u32 *sizes)
{
	void *all = ms_symbols_new();
	u64 address, piece[4], found = 0;

	ms_symbols_code(all, CODE_AT, CODE_AT + CODE_SIZE);
	if (ms_symbols_add(all, pieces[0], sizes[0], pieces[1], sizes[1], pieces[2], sizes[2] / 16) < 0 ||
	    ms_symbols_add(all, pieces[0], sizes[0], pieces[1], sizes[1], 0, 0) < 0 || ms_symbols_finish(all) < 0)
		abort();
	for (address = 0; address < CODE_AT + 2 * CODE_SIZE; address += 7)
		if (ms_symbols_find(all, address, piece)) {
			if (address < piece[0] || address >= piece[1] || piece[2] > 1)
				abort();
			found++;
		}
	ms_symbols_free(all);
	return found > 0;
}

enum { KEY_AT = 28, COMM_AT = 56, HEAD_SIZE = 72, FLAGS = 0xf1 };

/* A block of records, read twice: first all keys are new, then all are known. */
static u64 samples(void *const *pieces, const u32 *sizes)
{
	void *all = ms_samples_new(FLAGS, 7), *stacks[256];
	u64 room = sizes[0] / HEAD_SIZE + 1, counts[2], threads[256], n_stacks = 0, turn;

	for (turn = 0; turn < 2; turn++) {
		struct {
			const unsigned char *bytes;
			u64 size, at, following;
		} block = { pieces[0], sizes[0], 0, 0 };
		struct {
			u64 *times;
			u32 *threads, *cpus, *sights;
			u64 count;
		} columns = { malloc(8 * room), malloc(4 * room), malloc(4 * room), malloc(4 * room), 0 };
		int how;

		while ((how = ms_samples_read(all, &block, &columns)) == 1) {
			const unsigned char *record = block.bytes + block.at;
			u64 rest = block.following - block.at - HEAD_SIZE, before = COMM_AT - KEY_AT;
			unsigned char flags = record[4] & FLAGS, *stack;

			if (turn || n_stacks == 256)
				abort();
			stack = stacks[n_stacks] = malloc(before + rest + (flags != 0));
			memcpy(stack, record + KEY_AT, before);
			memcpy(stack + before, record + HEAD_SIZE, rest);
			if (flags)
				stack[before + rest] = flags;
			if (!ms_samples_know(all, &block, stack, before + rest + (flags != 0), n_stacks++))
				abort();
		}
		if (how < 0 || columns.count > room)
			abort();
		counts[turn] = columns.count;
		free(columns.times);
		free(columns.threads);
		free(columns.cpus);
		free(columns.sights);
	}
	if (counts[0] != counts[1] || ms_samples_threads(all, 0) > 256)
		abort();
	ms_samples_threads(all, threads);
	ms_samples_free(all);
	while (n_stacks)
		free(stacks[--n_stacks]);
	return counts[0] > 0;
}

/* The bytes of a stack; each item is called by two numbers. */
static u64 stack(void *const *pieces, const u32 *sizes)
{
	const u32 numbers[2] = { 1 | 1U << 31, 2 | 1U << 30 };
	void *all = ms_joins_new(7);
	struct {
		u64 kind, first, second;
		const u32 *shown, *nameless;
		u64 n_shown, n_nameless, segments;
	} joined;
	u64 sum = 0, i;
	int how;

	while ((how = ms_joins_join(all, pieces[0], sizes[0], &joined)) == 1)
		if (!ms_joins_know(all, joined.kind, joined.first, joined.second, numbers, 2))
			abort();
	for (i = 0; !how && i < joined.n_shown; i++)
		sum += joined.shown[i];
	for (i = 0; !how && i < joined.n_nameless; i++)
		sum += joined.nameless[i];
	if (how < 0 || (!how && sum != 3 * joined.n_shown))
		abort();
	ms_joins_free(all);
	return !how;
}

int main(int argc, char **argv)
{
	FILE *file = fopen(argv[argc - 1], "rb");
	u32 head[4];
	u64 known = 0, i;

	while (file && fread(head, sizeof(head), 1, file) == 1) {
		void *pieces[3];

		for (i = 0; i < 3; i++) {
			pieces[i] = malloc(head[1 + i]);
			if (head[1 + i] && fread(pieces[i], head[1 + i], 1, file) != 1)
				abort();
		}
		head[1] += head[0] == ASTRAY; /* the sanitizer is to see a read beyond the first piece */
		known += (head[0] == SYMBOLS   ? symbols
			  : head[0] == SAMPLES ? samples
			  : head[0] == STACK   ? stack
					       : frames)(pieces, head + 1);
		for (i = 0; i < 3; i++)
			free(pieces[i]);
	}
	printf("%llu\n", known);
	return 0;
}

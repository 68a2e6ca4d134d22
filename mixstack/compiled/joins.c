/* SPDX-License-Identifier: MIT */
/* The join of a native and a Python stack where nothing is in doubt, named from items that are known.
 *
 * merge/splice.py is what a join means; this is but its simplest case, which nearly all stacks are: both were walked
 * to their ends, each native frame ends where the next one begins, and each segment's marker is as far below the CFA
 * of a frame of its own as all others. In C, as half of the stacks of a long recording occur once. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "export.h"
#include "hash.h"

enum {
	KEY_AT = offsetof(struct ms_sample, n_kernel),
	HEAD_SIZE = offsetof(struct ms_sample, comm) - KEY_AT,
	MARKERS_MAX = 128, /* of a paired list (state.bpf.h: MAX_MARKERS) */
};

/* What the number of a frame says of it, besides. */
#define SHOWN (1U << 31)
#define NAMELESS (1U << 30)

/* What can stand in a joined stack, and what tells it. */
enum item_kind {
	NATIVE,	   /* the address to look up */
	EVALUATOR, /* the same, of a frame that runs a segment */
	PYTHON,	   /* the two words of struct ms_python */
	KERNEL,	   /* the address */
};

/* How a join ended. */
enum { JOINED, UNKNOWN, IN_DOUBT };

struct item {
	ms_u64 kind, first, second;
	ms_u64 at, count; /* its frames, among all numbers */
};

struct numbers {
	ms_u32 *items;
	ms_u64 count, most;
};

struct ms_joins {
	struct item *items;
	ms_u64 n_items;
	struct index index;
	ms_u64 seed;
	struct numbers known; /* of all items */
	struct numbers all, shown, nameless; /* of the last join */
};

/* The last join: what is unknown, or the frames, outermost first; if nothing is to be shown, all. */
struct ms_joined {
	ms_u64 kind, first, second;
	const ms_u32 *shown, *nameless;
	ms_u64 n_shown, n_nameless;
	ms_u64 segments;
};

/* The bytes of a stack, as they lie in a record without the thread's name: innermost first. */
struct stack {
	struct ms_sample head;
	const ms_u8 *kernel, *chain, *native;
	ms_u8 flags;
};

EXPORT struct ms_joins *ms_joins_new(ms_u64 seed)
{
	struct ms_joins *joins = calloc(1, sizeof(*joins));

	if (joins)
		joins->seed = seed;
	return joins;
}

EXPORT void ms_joins_free(struct ms_joins *joins)
{
	if (joins) {
		free(joins->items);
		free(joins->index.slots);
		free(joins->known.items);
		free(joins->all.items);
		free(joins->shown.items);
		free(joins->nameless.items);
		free(joins);
	}
}

static int add(struct numbers *numbers, const ms_u32 *items, ms_u64 count)
{
	ms_u64 most = numbers->most ? numbers->most : 256;
	void *more;

	while (most < numbers->count + count)
		most *= 2;
	if (most > numbers->most) {
		more = realloc(numbers->items, most * sizeof(*items));
		if (!more)
			return 0;
		numbers->items = more;
		numbers->most = most;
	}
	memcpy(numbers->items + numbers->count, items, count * sizeof(*items));
	numbers->count += count;
	return 1;
}

static ms_u64 hash_of_words(ms_u64 seed, ms_u64 kind, ms_u64 first, ms_u64 second)
{
	return mix(mix(seed ^ kind, first), second);
}

static ms_u64 hash_of_item(const void *joins, ms_u64 i)
{
	const struct item *item = &((const struct ms_joins *)joins)->items[i];

	return hash_of_words(((const struct ms_joins *)joins)->seed, item->kind, item->first, item->second);
}

/* What an item is called: the numbers of its frames. Whether there was memory for it. */
EXPORT int ms_joins_know(struct ms_joins *joins, ms_u64 kind, ms_u64 first, ms_u64 second, const ms_u32 *numbers,
			 ms_u64 count)
{
	struct index *index = &joins->index;
	ms_u64 at;

	if (!make_room(index, (void **)&joins->items, joins->n_items, sizeof(*joins->items), hash_of_item, joins))
		return 0;
	joins->items[joins->n_items] = (struct item){ kind, first, second, joins->known.count, count };
	if (!add(&joins->known, numbers, count))
		return 0;
	for (at = first_place(index, hash_of_item(joins, joins->n_items)); index->slots[at];
	     at = next_place(index, at))
		;
	index->slots[at] = (ms_u32)++joins->n_items;
	return 1;
}

static const struct item *find(const struct ms_joins *joins, ms_u64 kind, ms_u64 first, ms_u64 second)
{
	const struct index *index = &joins->index;
	ms_u64 at;

	if (!index->slots)
		return 0;
	for (at = first_place(index, hash_of_words(joins->seed, kind, first, second)); index->slots[at];
	     at = next_place(index, at)) {
		const struct item *item = &joins->items[index->slots[at] - 1];

		if (item->kind == kind && item->first == first && item->second == second)
			return item;
	}
	return 0;
}

/* Append the frames of an item. */
static int append(struct ms_joins *joins, struct ms_joined *joined, ms_u64 kind, ms_u64 first, ms_u64 second)
{
	const struct item *item = find(joins, kind, first, second);
	ms_u64 i;

	if (!item) {
		joined->kind = kind;
		joined->first = first;
		joined->second = second;
		return UNKNOWN;
	}
	for (i = 0; i < item->count; i++) {
		ms_u32 marked = joins->known.items[item->at + i], number = marked & ~(SHOWN | NAMELESS);

		if (!add(&joins->all, &number, 1) || (marked & SHOWN && !add(&joins->shown, &number, 1)) ||
		    (marked & NAMELESS && !add(&joins->nameless, &number, 1)))
			return -1;
	}
	return JOINED;
}

static ms_u64 word_at(const ms_u8 *bytes, ms_u64 index)
{
	ms_u64 word;

	memcpy(&word, bytes + index * sizeof(word), sizeof(word));
	return word;
}

static ms_u64 tag_of(ms_u64 word)
{
	return word >> MS_TAG_SHIFT;
}

/* Whether the bytes are a stack's. */
static int read_stack(struct stack *stack, const ms_u8 *bytes, ms_u64 size)
{
	const ms_u8 *end;

	if (size < HEAD_SIZE)
		return 0;
	memcpy((ms_u8 *)&stack->head + KEY_AT, bytes, HEAD_SIZE);
	stack->kernel = bytes + HEAD_SIZE;
	stack->chain = stack->kernel + sizeof(ms_u64) * stack->head.n_kernel;
	stack->native = stack->chain + sizeof(struct ms_python) * stack->head.n_chain;
	end = stack->native + sizeof(struct ms_native) * stack->head.n_native;
	if ((ms_u64)(end - bytes) > size)
		return 0;
	stack->flags = (ms_u64)(end - bytes) < size ? *end : 0;
	return 1;
}

/* Native frames and entries of the chain by their numbers, outermost first. */
static ms_u64 cfa_of(const struct stack *stack, ms_u64 i)
{
	return word_at(stack->native, 2 * (stack->head.n_native - 1 - i) + 1);
}

static ms_u64 pc_of(const struct stack *stack, ms_u64 i)
{
	return word_at(stack->native, 2 * (stack->head.n_native - 1 - i));
}

static ms_u64 entry_of(const struct stack *stack, ms_u64 i)
{
	return word_at(stack->chain, 2 * (stack->head.n_chain - 1 - i));
}

/* Whether it was walked to both ends, all its native frames but the leaf are callers by unwind tables, and each ends
 * where the next one begins. */
static int is_plain(const struct stack *stack)
{
	ms_u64 n = stack->head.n_native, i, bottom;

	if (stack->head.native_end != MS_NATIVE_ROOT || stack->head.chain_end != MS_CHAIN_ROOT || stack->head.end_pc ||
	    !stack->head.sp || !n || stack->flags & (MS_SAMPLE_TORN | MS_SAMPLE_COUNTED | MS_SAMPLE_SEVERAL))
		return 0;
	for (i = 0; i < n; i++) {
		bottom = i + 1 < n ? cfa_of(stack, i + 1) : stack->head.sp;
		if (cfa_of(stack, i) <= bottom || !(pc_of(stack, i) & MS_ADDRESS_MASK) ||
		    tag_of(pc_of(stack, i)) != (i + 1 < n ? MS_STEP_CALLER : MS_STEP_LEAF))
			return 0;
	}
	for (i = 0; i < stack->head.n_chain; i++)
		if (tag_of(entry_of(stack, i)) == MS_ENTRY_INCOMPLETE)
			return 0;
	return 1;
}

/* A segment: its marker, and which entries are its frames. */
struct segment {
	ms_u64 marker;
	ms_u64 begin, end;
};

/* The segment whose marker is the entry at *at, and *at of the next one's; 0: it has no marker. */
static int next_segment(const struct stack *stack, ms_u64 *at, struct segment *segment)
{
	ms_u64 n = stack->head.n_chain, entry = entry_of(stack, *at);

	if (tag_of(entry) != MS_ENTRY_MARKER)
		return 0;
	segment->marker = entry & MS_ADDRESS_MASK;
	if (stack->flags & MS_SAMPLE_PAIRED) { /* all markers, then as many frames */
		segment->begin = *at + n / 2;
		segment->end = segment->begin + 1;
		++*at;
		return segment->marker != 0;
	}
	segment->begin = ++*at;
	while (*at < n && tag_of(entry_of(stack, *at)) != MS_ENTRY_MARKER)
		++*at;
	segment->end = *at;
	return 1;
}

/* How many entries are markers of segments to go through; -1: in a paired list frames and markers are not as many. */
static long markers_of(const struct stack *stack)
{
	ms_u64 n = stack->head.n_chain, i;

	if (!(stack->flags & MS_SAMPLE_PAIRED))
		return (long)n;
	if (n % 2 || n / 2 >= MARKERS_MAX)
		return -1;
	for (i = 0; i < n; i++)
		if ((tag_of(entry_of(stack, i)) == MS_ENTRY_MARKER) != (i < n / 2))
			return -1;
	return (long)n / 2;
}

/* The native frame behind `slot` that runs a segment; -1: none is known to. *span: CFA - marker, 0: not known yet. */
static long slot_of_segment(const struct stack *stack, ms_u64 marker, ms_u64 from, ms_u64 *span)
{
	ms_u64 n = stack->head.n_native, i, bottom;

	for (i = 0; !*span && i < n && cfa_of(stack, i) > marker; i++)
		if (i + 1 == n || cfa_of(stack, i + 1) <= marker)
			*span = cfa_of(stack, i) - marker;
	for (i = from; i < n && cfa_of(stack, i) > marker + *span; i++)
		;
	if (i == n || cfa_of(stack, i) != marker + *span)
		return -1;
	bottom = i + 1 < n ? cfa_of(stack, i + 1) : stack->head.sp;
	return bottom <= marker && marker < cfa_of(stack, i) ? (long)i : -1;
}

static int append_natives(struct ms_joins *joins, struct ms_joined *joined, const struct stack *stack, ms_u64 begin,
			  ms_u64 end)
{
	int how = JOINED;

	for (; how == JOINED && begin < end; begin++) {
		ms_u64 pc = pc_of(stack, begin) & MS_ADDRESS_MASK;

		how = append(joins, joined, NATIVE, pc - (begin + 1 < stack->head.n_native), 0);
	}
	return how;
}

static int append_segment(struct ms_joins *joins, struct ms_joined *joined, const struct stack *stack, ms_u64 slot,
			  const struct segment *segment)
{
	ms_u64 pc = pc_of(stack, slot) & MS_ADDRESS_MASK, i;
	int how = append(joins, joined, EVALUATOR, pc - (slot + 1 < stack->head.n_native), 0);

	for (i = segment->begin; how == JOINED && i < segment->end; i++) {
		ms_u64 at = 2 * (stack->head.n_chain - 1 - i);

		how = append(joins, joined, PYTHON, word_at(stack->chain, at), word_at(stack->chain, at + 1));
	}
	return how;
}

/* Go through the segments; frames are appended only if `joined` is there. */
static int go_through(struct ms_joins *joins, struct ms_joined *joined, const struct stack *stack)
{
	ms_u64 span = stack->head.marker_span, at = 0, next = 0, i;
	long markers = markers_of(stack);
	int how = JOINED;

	if (markers < 0)
		return IN_DOUBT;
	while (how == JOINED && at < (ms_u64)markers) {
		struct segment segment;
		long slot = next_segment(stack, &at, &segment) ? slot_of_segment(stack, segment.marker, next, &span) : -1;

		if (slot < 0)
			return IN_DOUBT;
		if (joined) {
			joined->segments++;
			how = append_natives(joins, joined, stack, next, (ms_u64)slot);
			if (how == JOINED)
				how = append_segment(joins, joined, stack, (ms_u64)slot, &segment);
		}
		next = (ms_u64)slot + 1;
	}
	if (joined && how == JOINED)
		how = append_natives(joins, joined, stack, next, stack->head.n_native);
	for (i = stack->head.n_kernel; joined && how == JOINED && i; i--)
		how = append(joins, joined, KERNEL, word_at(stack->kernel, i - 1), 0);
	return how;
}

/* Join a stack, and leave its frames in *joined; or say which item is not known. IN_DOUBT: that must be asked of
 * merge/splice.py. -1: no memory. */
EXPORT int ms_joins_join(struct ms_joins *joins, const ms_u8 *bytes, ms_u64 size, struct ms_joined *joined)
{
	const struct numbers *shown;
	struct stack stack;
	int how;

	if (!read_stack(&stack, bytes, size) || !is_plain(&stack) || go_through(joins, 0, &stack) != JOINED)
		return IN_DOUBT;
	memset(joined, 0, sizeof(*joined));
	joins->all.count = joins->shown.count = joins->nameless.count = 0;
	how = go_through(joins, joined, &stack);
	shown = joins->shown.count ? &joins->shown : &joins->all; /* an empty stack means time off the CPU */
	joined->shown = shown->items;
	joined->n_shown = shown->count;
	joined->nameless = joins->nameless.items;
	joined->n_nameless = joins->nameless.count;
	return how;
}

/* SPDX-License-Identifier: MIT */
/* From the moments at which threads were sampled to how long they spent in what.
 *
 * A sample lasts until the thread's next one, if that comes within 1.5 periods; else the thread left the CPU: the
 * sample lasts one period, and the rest of the gap is spent off it. */
#include <stdlib.h>

#include "export.h"
#include "../bpf/mixstack.h"

enum { OFF_CPU = 0 }; /* the id of the empty stack */

/* A thread's time line; a turn is how long it was in one stack. */
struct line {
	ms_u32 *stack_ids;
	ms_u64 *durations_ns;
	ms_u64 turns, most;
	ms_u64 since_ns, last_ns; /* it has been in the stack since then, and was seen there last */
	ms_u32 stack_id;
	int met;
};

/* Of a window: what was spent in a stack, if it was met in this window. */
struct spent {
	ms_u64 window;
	ms_u64 turn; /* its place among the turns */
};

struct ms_lines {
	struct line *lines;
	ms_u64 count;
	ms_u64 start_ns, period_ns;
};

/* All lines begin at start_ns. */
EXPORT struct ms_lines *ms_lines_new(ms_u64 start_ns, ms_u64 period_ns)
{
	struct ms_lines *lines = calloc(1, sizeof(*lines));

	if (lines) {
		lines->start_ns = start_ns;
		lines->period_ns = period_ns;
	}
	return lines;
}

EXPORT void ms_lines_free(struct ms_lines *lines)
{
	ms_u64 i;

	if (!lines)
		return;
	for (i = 0; i < lines->count; i++) {
		free(lines->lines[i].stack_ids);
		free(lines->lines[i].durations_ns);
	}
	free(lines->lines);
	free(lines);
}

/* The line of a thread; 0: no memory. */
static struct line *line_of(struct ms_lines *lines, ms_u32 thread)
{
	struct line *more;

	if (thread >= lines->count) {
		more = realloc(lines->lines, (thread + 1ULL) * sizeof(*more));
		if (!more)
			return 0;
		lines->lines = more;
		while (lines->count <= thread)
			more[lines->count++] = (struct line){ .since_ns = lines->start_ns, .last_ns = lines->start_ns };
	}
	return &lines->lines[thread];
}

/* Room for `more` turns; 0: no memory. */
static int make_room(struct line *line, ms_u64 more)
{
	ms_u64 wanted = line->most ? 2 * line->most : 64;
	void *ids, *durations;

	if (line->turns + more <= line->most)
		return 1;
	ids = realloc(line->stack_ids, wanted * sizeof(*line->stack_ids));
	if (!ids)
		return 0;
	line->stack_ids = ids;
	durations = realloc(line->durations_ns, wanted * sizeof(*line->durations_ns));
	if (!durations)
		return 0;
	line->durations_ns = durations;
	line->most = wanted;
	return 1;
}

/* A turn at the end, for which there is room; neighbours of one stack are one turn. */
static void close_turn(struct line *line, ms_u32 stack_id, ms_u64 duration_ns)
{
	if (!duration_ns)
		return;
	if (line->turns && line->stack_ids[line->turns - 1] == stack_id) {
		line->durations_ns[line->turns - 1] += duration_ns;
		return;
	}
	line->stack_ids[line->turns] = stack_id;
	line->durations_ns[line->turns++] = duration_ns;
}

/* From then on the thread is in that stack. */
static void turn_to(struct line *line, ms_u32 stack_id, ms_u64 time_ns)
{
	close_turn(line, line->stack_id, time_ns - line->since_ns);
	line->stack_id = stack_id;
	line->since_ns = time_ns;
}

/* Samples in order of time; one whose time is before its thread's last counts as of that moment. Returns how many turns
 * there are in all lines; -1: no memory. */
EXPORT long ms_lines_add(struct ms_lines *lines, const ms_u32 *threads, const ms_u64 *times_ns, const ms_u32 *stack_ids,
			 ms_u64 count)
{
	ms_u64 patience_ns = lines->period_ns * 3 / 2, i;
	long turns = 0;

	for (i = 0; i < count; i++) {
		struct line *line = line_of(lines, threads[i]);
		ms_u64 time_ns = times_ns[i];

		if (!line || !make_room(line, 2))
			return -1;
		line->met = 1;
		if (time_ns < line->last_ns)
			time_ns = line->last_ns;
		if (time_ns - line->last_ns > patience_ns && line->stack_id != OFF_CPU)
			turn_to(line, OFF_CPU, line->last_ns + lines->period_ns);
		if (stack_ids[i] != line->stack_id)
			turn_to(line, stack_ids[i], time_ns);
		line->last_ns = time_ns;
	}
	for (i = 0; i < lines->count; i++)
		turns += (long)lines->lines[i].turns;
	return turns;
}

/* Fill the lines up to end_ns, which is not before the last sample. Whether there was memory for it. */
EXPORT int ms_lines_finish(struct ms_lines *lines, ms_u64 end_ns)
{
	ms_u64 i;

	for (i = 0; i < lines->count; i++) {
		struct line *line = &lines->lines[i];

		if (!make_room(line, 2))
			return 0;
		if (end_ns - line->last_ns > lines->period_ns && line->stack_id != OFF_CPU)
			turn_to(line, OFF_CPU, line->last_ns + lines->period_ns);
		turn_to(line, OFF_CPU, end_ns);
	}
	return 1;
}

/* Make equal stacks within windows of that length one, in order of their first turns. */
static void thin(struct line *line, ms_u64 window_ns, struct spent *spent, ms_u64 *window)
{
	ms_u64 end_ns = 0, now_ns = 0, turns = line->turns, i;

	line->turns = 0;
	for (i = 0; i < turns; i++) {
		ms_u32 stack_id = line->stack_ids[i];
		ms_u64 duration_ns = line->durations_ns[i];

		if (now_ns >= end_ns) {
			++*window;
			end_ns = now_ns - now_ns % window_ns + window_ns;
		}
		if (spent[stack_id].window == *window) {
			line->durations_ns[spent[stack_id].turn] += duration_ns;
		} else {
			close_turn(line, stack_id, duration_ns);
			spent[stack_id] = (struct spent){ *window, line->turns - 1 };
		}
		now_ns += duration_ns;
	}
}

/* The same in all lines; stack_ids: one more than the largest. Returns how many turns are left; -1: no memory. */
EXPORT long ms_lines_thin(struct ms_lines *lines, ms_u64 window_ns, ms_u64 stack_ids)
{
	struct spent *spent = calloc(stack_ids + 1, sizeof(*spent));
	ms_u64 window = 0, i;
	long turns = 0;

	if (!spent || !window_ns) {
		free(spent);
		return -1;
	}
	for (i = 0; i < lines->count; i++) {
		thin(&lines->lines[i], window_ns, spent, &window);
		turns += (long)lines->lines[i].turns;
	}
	free(spent);
	return turns;
}

/* How many turns a thread's line has, which are written to the columns, or to none; -1: it was never sampled. */
EXPORT long ms_lines_turns(const struct ms_lines *lines, ms_u32 thread, ms_u32 *stack_ids, ms_u64 *durations_ns)
{
	const struct line *line = thread < lines->count ? &lines->lines[thread] : 0;
	ms_u64 i;

	if (!line || !line->met)
		return -1;
	for (i = 0; stack_ids && i < line->turns; i++) {
		stack_ids[i] = line->stack_ids[i];
		durations_ns[i] = line->durations_ns[i];
	}
	return (long)line->turns;
}

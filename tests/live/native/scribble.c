/* A thread that overwrites its own part of the interpreter's state, and puts it right again.
 *
 * It holds no GIL and does not return: nobody but a profiler looks at what it writes. Each kind of
 * nonsense is a function of its own, so that a native stack tells which one stood there. */
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { FRAME = 512, FRAMES = 8192, BURN_NS = 1500000 };

/* Offsets; -1: this version has no such field. */
struct places {
	long frame_code, frame_previous, frame_instr, frame_owner, frame_is_entry, frame_executing;
	long cframe_frame, cframe_previous; /* of a record between thread state and frame */
	long code_size, code_name, code_filename;
	long shim; /* the owner of a shim; -1: there are none */
};

static struct places at;
static char *volatile *newest;  /* in the thread state: the newest frame, or record */
static char *volatile *cframes; /* 3.10: beside it, the newest record; else null */
static char *volatile *foreign; /* the same of another thread */
static char *code, *real, *real_cframe, *frames, *records, *forbidden, *false_code;
static uint64_t chance = 88172645463325252ULL;

static uint64_t next_chance(void)
{
	chance ^= chance << 13;
	chance ^= chance >> 7;
	return chance ^= chance << 17;
}

static void put(char *object, long offset, uint64_t value)
{
	if (offset >= 0)
		memcpy(object + offset, &value, 8);
}

static void put_byte(char *object, long offset, int value)
{
	if (offset >= 0)
		object[offset] = (char)value;
}

static char *frame(int i)
{
	return frames + (long)i * FRAME;
}

/* A frame that a walker must take for one. */
static char *sound_frame(int i, char *previous)
{
	char *made = frame(i);

	memset(made, 0, FRAME);
	put(made, at.frame_code, (uint64_t)code);
	put(made, at.frame_instr, at.frame_owner < 0 ? 8 : (uint64_t)code + at.code_size + 40);
	put(made, at.frame_previous, (uint64_t)previous);
	put_byte(made, at.frame_executing, 1);
	return made;
}

__attribute__((noinline)) static void burn(void)
{
	struct timespec now, begin;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	do
		clock_gettime(CLOCK_MONOTONIC, &now);
	while ((now.tv_sec - begin.tv_sec) * 1000000000 + now.tv_nsec - begin.tv_nsec < BURN_NS);
}

/* Let the thread state lead there, through a record if the version has one. */
static void lead_to(char *there)
{
	if (at.cframe_frame >= 0) {
		put(records, at.cframe_frame, (uint64_t)there);
		put(records, at.cframe_previous, (uint64_t)real);
		there = records;
	}
	*newest = there;
}

static void put_right(void)
{
	*newest = real;
	if (cframes)
		*cframes = real_cframe;
}

#define NONSENSE(name, body)                             \
	__attribute__((noinline)) static void name(void) \
	{                                                \
		body;                                    \
		burn();                                  \
		put_right();                             \
	}

NONSENSE(wild_low, lead_to((char *)0x10))
NONSENSE(wild_beyond, lead_to((char *)0x123456789abcdef1))
NONSENSE(wild_kernel, lead_to((char *)0xffff888000000000))
NONSENSE(wild_forbidden, lead_to(forbidden))
NONSENSE(wild_start, *newest = forbidden + 64)
NONSENSE(self, lead_to(sound_frame(0, frame(0))))
NONSENSE(pair, (sound_frame(1, frame(0)), lead_to(sound_frame(0, frame(1)))))
NONSENSE(wild_previous, lead_to(sound_frame(0, forbidden)))
NONSENSE(wild_code, (lead_to(sound_frame(0, frame(0))), put(frame(0), at.frame_code, 0xdead0000dead)))
NONSENSE(no_code, (lead_to(sound_frame(0, frame(0))), put(frame(0), at.frame_code, (uint64_t)frame(1))))
NONSENSE(edge, lead_to(forbidden - 24))

__attribute__((noinline)) static void long_chain(void)
{
	for (int i = 0; i < FRAMES; i++)
		sound_frame(i, frame(i + 1 < FRAMES ? i + 1 : 0));
	lead_to(frame(0));
	burn();
	put_right();
}

/* It has the type of a code object, and nothing else is right. */
__attribute__((noinline)) static void wild_names(void)
{
	for (long i = 16; i < at.code_size; i += 8)
		put(false_code, i, next_chance() >> (next_chance() & 63));
	if (next_chance() & 1)
		put(false_code, at.code_name, (uint64_t)frame(1));
	for (int i = 0; i < FRAME; i += 8)
		put(frame(1), i, ~0ULL >> (next_chance() & 63));
	sound_frame(0, forbidden);
	put(frame(0), at.frame_code, (uint64_t)false_code);
	lead_to(frame(0));
	burn();
	put_right();
}

/* An evaluation without end, and one inside of the other without end. */
__attribute__((noinline)) static void marker_cycle(void)
{
	sound_frame(0, frame(0));
	if (at.shim >= 0) {
		put_byte(frame(0), at.frame_owner, (int)at.shim);
		lead_to(frame(0));
	} else if (at.frame_is_entry >= 0) {
		put_byte(frame(0), at.frame_is_entry, 1);
		lead_to(frame(0));
		put(records, at.cframe_previous, (uint64_t)records);
	} else {
		lead_to(frame(0));
	}
	if (cframes) {
		put(records, at.cframe_previous, (uint64_t)records);
		*cframes = records;
	}
	burn();
	put_right();
}

__attribute__((noinline)) static void another_thread(void)
{
	*newest = *foreign;
	burn();
	put_right();
}

/* Writes the frames anew, again and again. */
__attribute__((noinline)) static void rage(void)
{
	struct timespec now, begin;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	do {
		for (int i = 0; i < 200; i++) {
			uint64_t drawn = next_chance();
			char *victim = frame(drawn & 63);

			switch (drawn >> 60) {
			case 0:
				put(victim, (drawn >> 8) & (FRAME - 8), drawn);
				break;
			case 1:
				put(victim, at.frame_code, (uint64_t)code ^ (drawn & 0xff00));
				break;
			case 2:
				put_byte(victim, at.frame_owner, (int)(drawn >> 50));
				break;
			case 3:
				put(records, at.cframe_previous, (uint64_t)frame(drawn >> 8 & 63));
				break;
			default:
				sound_frame(drawn & 63, frame(drawn >> 8 & 63));
			}
		}
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((now.tv_sec - begin.tv_sec) * 1000000000 + now.tv_nsec - begin.tv_nsec < BURN_NS);
}

__attribute__((noinline)) static void storm(void)
{
	for (int i = 0; i < 64; i++)
		sound_frame(i, frame(i + 1));
	lead_to(frame(0));
	rage();
	put_right();
}

__attribute__((noinline)) static void calm(void)
{
	burn();
}

static void (*const kinds[])(void) = {
	wild_low, wild_beyond, wild_kernel, wild_forbidden, wild_start, self,
	pair, wild_previous, wild_code, no_code, edge, long_chain,
	wild_names, marker_cycle, another_thread, storm,
};

/* Does not return. `of_other`: null if another thread's frames cannot be told from one's own. */
void scribble(struct places *places, char **of_newest, char **of_cframes, char **of_other, char *a_code)
{
	int access = PROT_READ | PROT_WRITE, how = MAP_PRIVATE | MAP_ANONYMOUS;
	char *pages = mmap(0, 8192, access, how, -1, 0);

	at = *places;
	newest = of_newest;
	cframes = of_cframes;
	foreign = of_other;
	code = a_code;
	real = *newest;
	real_cframe = cframes ? *cframes : 0;
	frames = mmap(0, (long)FRAME * (FRAMES + 1), access, how, -1, 0);
	records = mmap(0, 4096, access, how, -1, 0);
	false_code = mmap(0, 4096, access, how, -1, 0);
	memcpy(false_code, code, (unsigned long)at.code_size);
	forbidden = pages + 4096;
	mprotect(forbidden, 4096, PROT_NONE);
	for (;;) {
		for (unsigned i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
			if (kinds[i] == another_thread && !foreign)
				continue;
			kinds[i]();
			calm();
		}
	}
}

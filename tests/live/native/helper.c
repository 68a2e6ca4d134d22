/* What the target programs need from C: threads that Python did not start, and deep recursion. */
#include <pthread.h>
#include <unistd.h>

typedef void (*visitor)(void);

static volatile unsigned long burnt;

__attribute__((noinline)) static void burn(void)
{
	for (;;)
		burnt = burnt * 31 + 7;
}

static void *burner(void *unused)
{
	burn();
	return unused;
}

__attribute__((noinline)) static void call_for_ever(visitor visit)
{
	for (;;) {
		visit();
		burnt++;
	}
}

static void *caller(void *visit)
{
	call_for_ever((visitor)visit);
	return 0;
}

void start_burner(void)
{
	pthread_t thread;

	pthread_create(&thread, 0, burner, 0);
}

void start_caller(visitor visit)
{
	pthread_t thread;

	pthread_create(&thread, 0, caller, (void *)visit);
}

/* Calls itself `depth` times, then visits. The addition keeps the call from becoming a jump. */
__attribute__((noinline)) unsigned long descend(visitor visit, int depth)
{
	if (depth == 0)
		visit();
	else
		burnt += descend(visit, depth - 1);
	return burnt + 1;
}

/* The same, with frames of up to 120 kB, of which little is touched. */
__attribute__((noinline)) unsigned long spread(visitor visit, int depth)
{
	volatile char room[(depth % 7 + 1) * (depth % 7 + 1) * 2500];

	room[0] = 1;
	if (depth == 0)
		visit();
	else
		burnt += spread(visit, depth - 1);
	return burnt + room[0];
}

/* Uses CPU time, in two frames of its own. */
#include <time.h>

static volatile unsigned long sink;

__attribute__((noinline)) static void turn(void)
{
	for (int i = 0; i < 20000; i++)
		sink += i;
}

void spin(double seconds)
{
	clock_t end = clock() + (clock_t)(seconds * CLOCKS_PER_SEC);

	while (clock() < end)
		turn();
}

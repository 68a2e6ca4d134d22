/* C that is compiled without unwind tables and without frame pointers, and calls back. */

typedef long (*visitor)(long);

/* The array makes the frame larger than any guess; volatile keeps it. */
__attribute__((noinline)) static long frame(visitor visit, long number)
{
	volatile long scratch[64];
	long sum = 0;

	for (int i = 0; i < 64; i++)
		scratch[i] = number + i;
	sum += visit(scratch[number & 63]);
	for (int i = 0; i < 64; i++)
		sum += scratch[i];
	return sum;
}

long call_back(visitor visit, long times)
{
	long sum = 0;

	while (times-- > 0)
		sum += frame(visit, times);
	return sum;
}

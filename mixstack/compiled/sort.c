/* SPDX-License-Identifier: MIT */
/* Byte by byte, so that no order that a file may have costs more than another. */
#include "sort.h"

#include <stdlib.h>
#include <string.h>

static ms_u8 digit_of(const ms_u64 *record, unsigned by, unsigned digit)
{
	return (ms_u8)(record[by] >> 8 * digit);
}

int sort_records(void **records, ms_u64 count, unsigned words, unsigned by)
{
	ms_u64 size = words * sizeof(ms_u64), places[256], sum, i;
	ms_u64 *from = *records, *to = malloc(count * size + 1), *other;
	unsigned digit;

	if (!to)
		return 0;
	for (digit = 0; count && digit < 8; digit++) {
		memset(places, 0, sizeof(places));
		for (i = 0; i < count; i++)
			places[digit_of(from + i * words, by, digit)]++;
		if (places[digit_of(from, by, digit)] == count)
			continue; /* all have the same */
		for (i = sum = 0; i < 256; i++) {
			ms_u64 more = places[i];

			places[i] = sum;
			sum += more;
		}
		for (i = 0; i < count; i++)
			memcpy(to + places[digit_of(from + i * words, by, digit)]++ * words, from + i * words, size);
		other = from;
		from = to;
		to = other;
	}
	*records = from;
	free(to);
	return 1;
}

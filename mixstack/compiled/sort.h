/* SPDX-License-Identifier: MIT */
/* Sorting records of 64-bit words. */
#ifndef MIXSTACK_SORT_H
#define MIXSTACK_SORT_H

#include "../bpf/mixstack.h"

/* Sort `count` records of so many words by one of these words; records that have the same there stay in their order.
 * *records: from malloc, and may be another piece of memory afterwards. Returns whether there was memory for it. */
int sort_records(void **records, ms_u64 count, unsigned words, unsigned by);

#endif

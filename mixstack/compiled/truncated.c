/* SPDX-License-Identifier: MIT */
/* Files of the target are mapped, and the target may cut them short meanwhile: then a read beyond the new end is a
 * SIGBUS (mmap(2)), and would be the end of a recording. Here such a page becomes one of zeros, which is no sense to
 * anybody who parses it, and is told as such. */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/mman.h>

#include "export.h"
#include "../bpf/mixstack.h"

enum { PAGE = 4096 };

static void put_zeros(int signal, siginfo_t *info, void *context)
{
	void *page = (void *)((ms_u64)info->si_addr & -(ms_u64)PAGE);

	(void)context;
	if (info->si_code == BUS_ADRERR &&
	    mmap(page, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == page)
		return;
	/* Something else, a fault of the machine's memory: it is as if this were not here. */
	struct sigaction usual = { .sa_handler = SIG_DFL };

	sigaction(signal, &usual, 0);
}

/* From now on, in all threads. */
EXPORT void ms_survive_truncation(void)
{
	struct sigaction action = { .sa_sigaction = put_zeros, .sa_flags = SA_SIGINFO | SA_RESTART };

	sigaction(SIGBUS, &action, 0);
}

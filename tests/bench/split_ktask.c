/* SPDX-License-Identifier: MIT */
#include <kthread/kthread.h>
#include <stdlib.h>

#include "split.h"

enum { GIVES_WAY, KEEPS_PACE, QUARTER, ALONE };

const char *const split_variants[] = {"ktask", "ktask, equal priority", "ktask, fixed quarter", "sequential"};

static size_t threads_wanted;

void split_start(int threads)
{
	threads_wanted = (size_t)threads;
}

static int call(void *start, void *end, void *arg)
{
	(*(const split_body *)arg)((size_t)(uintptr_t)start, (size_t)(uintptr_t)end);
	return 0;
}

void split_run(uint32_t variant, size_t count, size_t chunk, split_body body)
{
	DEFINE_KTASK_CTL(ctl, call, (void *)&body, chunk);

	if (variant == ALONE) {
		body(0, count);
		return;
	}
	/* The rule of the original: a quarter of a thread's share, a multiple of the least chunk, whatever happens. */
	if (variant == QUARTER && count / threads_wanted / 4 > chunk)
		ctl.min_chunk = count / threads_wanted / 4 / chunk * chunk;
	ktask_ctl_set_max_threads(&ctl, threads_wanted);
	ktask_ctl_set_give_way(&ctl, variant == GIVES_WAY);
	if (ktask_run(NULL, count, &ctl) != 0)
		abort();
}

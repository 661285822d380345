/* SPDX-License-Identifier: MIT */
#include "should_stop.h"

static __thread const unsigned int *current;

void bench_tls_set(const unsigned int *word)
{
	current = word;
}

bool bench_tls_should_stop(void)
{
	return current && (__atomic_load_n(current, __ATOMIC_ACQUIRE) & 1u);
}

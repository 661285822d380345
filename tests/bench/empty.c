/* SPDX-License-Identifier: MIT */
/* A program that does nothing, linked with more or with less. */
#ifdef BENCH_LINKED
#include <kthread/library.h>
#endif

int main(void)
{
#ifdef BENCH_LINKED
	return !kthread_version();
#else
	return 0;
#endif
}

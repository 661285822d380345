/* SPDX-License-Identifier: MIT */
#ifndef KT_BENCH_SHOULD_STOP_H
#define KT_BENCH_SHOULD_STOP_H

#include <stdbool.h>

/* The body of a function that asks `turns` times, as the condition of a loop, which is how it is asked; it returns how
 * often, which is fewer only if an answer was true. */
#define ASK(turns, expression) \
	unsigned long i = 0; \
\
	while (!(expression) && i < (turns)) { \
		i++; \
		__asm__ volatile("" : "+r"(i) : : "memory"); \
	} \
	return i

/* Every such loop begins at the same place of a cache line. */
#define LOOP __attribute__((noinline, aligned(64)))

/* should_stop_symbol.c: compiled with KTHREAD_NO_INLINE, so through the library's symbol. */
LOOP unsigned long loop_symbol(unsigned long turns);

/* should_stop_tls.c, a shared library: the flag behind a thread-local pointer of the default (general-dynamic) model. */
__attribute__((visibility("default"))) void bench_tls_set(const unsigned int *word);
__attribute__((visibility("default"))) bool bench_tls_should_stop(void);

#endif

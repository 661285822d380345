/* SPDX-License-Identifier: MIT */
/*
 * P3: kthread_should_stop(), inline and by its symbol, asked by a kthread in a loop.
 */
#include "should_stop.h"

#include <kthread/kthread.h>

#include "bench.h"

static const unsigned int flags;
static const unsigned int *const volatile hidden = &flags;
static unsigned long per_round;

/* The pointer in a register, the flag loaded each time: what a hand-written loop does at best. */
LOOP static unsigned long loop_relaxed(unsigned long turns)
{
	const unsigned int *word = hidden;

	ASK(turns, __atomic_load_n(word, __ATOMIC_RELAXED) & 1u);
}

LOOP static unsigned long loop_empty(unsigned long turns)
{
	ASK(turns, 0);
}

LOOP static unsigned long loop_inline(unsigned long turns)
{
	ASK(turns, kthread_should_stop());
}

LOOP static unsigned long loop_tls(unsigned long turns)
{
	ASK(turns, bench_tls_should_stop());
}

struct loop {
	unsigned long (*run)(unsigned long turns);
};

static void run_loop(const void *arg, double *values)
{
	const struct loop *loop = arg;
	const uint64_t start = bench_now();

	BENCH_CHECK(loop->run(per_round) == per_round);
	values[0] = bench_each(start, per_round);
}

static int asker(void *data)
{
	static const struct loop empty = {loop_empty}, relaxed = {loop_relaxed}, in_line = {loop_inline},
				 symbol = {loop_symbol}, tls = {loop_tls};
	const struct bench_variant variants[] = {
	    {"relaxed load", run_loop, &relaxed}, {"inline", run_loop, &in_line},
	    {"the symbol", run_loop, &symbol},    {"general-dynamic TLS in a .so", run_loop, &tls},
	    {"empty loop", run_loop, &empty},
	};

	bench_tls_set(&flags);
	bench_rounds(variants, sizeof(variants) / sizeof(variants[0]));
	kthread_complete(data);
	return 0;
}

int main(int argc, char **argv)
{
	struct kthread_completion done = KTHREAD_COMPLETION_INIT;
	struct kthread *k;

	bench_open(argc, argv, "should_stop");
	per_round = bench_count(20000000, 100000);
	k = kthread_create_on_cpu(asker, &done, (unsigned int)bench_cpu(0), "asker/%u");
	BENCH_CHECK(k);
	kthread_wake(k);
	kthread_wait_for_completion(&done); /* not kthread_stop(): nobody shall ask it to */
	BENCH_CHECK(kthread_stop(k) == 0);
	bench_figure("P3", "kthread_should_stop", 1, 0, 0, 1.15, "ns");
	bench_figure("P3-symbol", "kthread_should_stop", 2, 3, 0, 0.7, "ns");
	bench_figure("P3-empty", "kthread_should_stop", 1, 4, 0, BENCH_NO_TARGET, "ns");
	return bench_close();
}

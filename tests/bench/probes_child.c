/* SPDX-License-Identifier: MIT */
/*
 * probes_child WORKS: nanoseconds per work, of bursts that are queued and then run by one worker on the same CPU: nothing
 * but the paths that the probes lie in. Built with probes, and once more without.
 */
#include <kthread/kthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench.h"

#define BURST 1000

static struct kthread_work works[BURST];
static unsigned long ran;

static void count(struct kthread_work *work)
{
	(void)work;
	ran++;
}

int main(int argc, char **argv)
{
	const unsigned long bursts = argc == 2 ? strtoul(argv[1], NULL, 10) / BURST : 0;
	double *each = calloc(bursts ? bursts : 1, sizeof(*each));
	const int cpu = sched_getcpu();
	struct kthread_worker *worker;

	bench_pin(cpu);
	worker = kthread_run_worker_on_cpu((unsigned int)cpu, 0, "probed/%u");
	BENCH_CHECK(bursts && each && worker);
	for (unsigned int i = 0; i < BURST; i++)
		kthread_init_work(&works[i], count);
	for (unsigned long burst = 0; burst < bursts; burst++) {
		const uint64_t start = bench_now();

		for (unsigned int i = 0; i < BURST; i++)
			BENCH_CHECK(kthread_queue_work(worker, &works[i]));
		kthread_flush_worker(worker);
		each[burst] = bench_each(start, BURST);
	}
	BENCH_CHECK(ran == bursts * BURST);
	kthread_destroy_worker(worker);
	printf("%f\n", bench_quantile(each, bursts, 0.5));
	free(each);
	return 0;
}

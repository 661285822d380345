/* SPDX-License-Identifier: MIT */
/*
 * P7: what a sleeping kthread takes beyond a bare pthread. Each measurement in a process of its own.
 */
#include <kthread/kthread.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench.h"

struct kind {
	const char *name;
	bool ours;
	size_t stack_size; /* 0 = the default */
};

static size_t threads;

struct use {
	double heap, kib, mappings;
};

static struct use use_now(void)
{
	const struct mallinfo2 heap = mallinfo2();
	FILE *maps = fopen("/proc/self/maps", "r");
	struct use use = {.heap = (double)heap.uordblks + (double)heap.hblkhd};
	int c;

	BENCH_CHECK(maps);
	while ((c = getc(maps)) != EOF)
		use.mappings += c == '\n';
	fclose(maps);
	use.kib = bench_proc("/proc/self/smaps_rollup", "Rss:") + bench_proc("/proc/self/status", "VmPTE:");
	return use;
}

static void *sleep_in_futex(void *arg)
{
	for (;;)
		bench_futex_wait(arg, 0);
	return NULL;
}

static int sleep_in_wait(void *data)
{
	(void)data;
	while (!kthread_should_stop())
		kthread_wait();
	return 0;
}

static void make_one(const struct kind *kind, size_t number)
{
	static atomic_uint forever;

	if (kind->ours) {
		struct kthread_attr attr = KTHREAD_ATTR_INIT;
		struct kthread *k;

		attr.stack_size = kind->stack_size;
		k = kthread_create_attr(&attr, sleep_in_wait, NULL, "sleeper/%zu", number);
		BENCH_CHECK(k);
		kthread_wake(k);
	} else {
		pthread_attr_t attr;
		pthread_t thread;

		pthread_attr_init(&attr);
		if (kind->stack_size)
			pthread_attr_setstacksize(&attr, kind->stack_size);
		BENCH_CHECK(pthread_create(&thread, &attr, sleep_in_futex, &forever) == 0);
		pthread_attr_destroy(&attr);
	}
}

/* The threads are left to the end of the process. */
static void measure_here(const void *arg, double *values)
{
	const struct kind *kind = arg;
	struct use before;
	struct use after;

	make_one(kind, 0); /* what comes only once: the monitor, tables */
	bench_sleep(100000000);
	use_now();
	before = use_now();
	for (size_t i = 1; i <= threads; i++)
		make_one(kind, i);
	bench_sleep(300000000);
	after = use_now();
	values[0] = (after.heap - before.heap) / (double)threads;
	values[1] = (after.kib - before.kib) / (double)threads;
	values[2] = (after.mappings - before.mappings) / (double)threads;
}

static void measure(const void *arg, double *values)
{
	bench_in_child(measure_here, arg, values);
}

int main(int argc, char **argv)
{
	static const struct kind kinds[] = {
	    {"pthread, 64 KiB stack", false, 64 << 10},
	    {"kthread, 64 KiB stack", true, 64 << 10},
	    {"pthread, default stack", false, 0},
	    {"kthread, default stack", true, 0},
	};
	struct bench_variant variants[4];
	double more;

	bench_open(argc, argv, "memory");
	threads = bench_count(2000, 50);
	for (size_t i = 0; i < 4; i++)
		variants[i] = (struct bench_variant){kinds[i].name, measure, &kinds[i]};
	bench_rounds(variants, 4);
	more = bench_median(1, 0) - bench_median(0, 0);
	bench_number("P7-handle", "heap of a kthread beyond a pthread's", more, 256, "256", BENCH_NO_TARGET, "bytes");
	bench_number("P7a", "RSS and PTE of a sleeping one, 64 KiB stack", bench_median(1, 1), 8.8, "8.8 KiB", 1,
	             "KiB");
	bench_figure("P7a-pthread", "RSS and PTE of a sleeping one", 1, 0, 1, BENCH_NO_TARGET, "KiB");
	bench_figure("P7a-default", "RSS and PTE of a sleeping one", 3, 2, 1, BENCH_NO_TARGET, "KiB");
	bench_figure("P7b", "mappings of a thread", 1, 0, 2, BENCH_NO_TARGET, "mappings");
	return bench_close();
}

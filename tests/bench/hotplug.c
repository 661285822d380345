/* SPDX-License-Identifier: MIT */
/*
 * What it costs to keep CPUs from going, against a pthread_rwlock: alone, and with a reader on another CPU at the same
 * time. And what a thousand registered steps add to a transition.
 */
#include <kthread/kthread.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench.h"
#include "machine.h"

static unsigned int count;

/* ---- the read lock --------------------------------------------------------------------------------------------------- */

static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;

static double reads(void)
{
	const uint64_t start = bench_now();

	for (unsigned int i = 0; i < count; i++) {
		kthread_cpus_read_lock();
		kthread_cpus_read_unlock();
	}
	return bench_each(start, count);
}

static double reads_rwlock(void)
{
	const uint64_t start = bench_now();

	for (unsigned int i = 0; i < count; i++) {
		pthread_rwlock_rdlock(&rwlock);
		pthread_rwlock_unlock(&rwlock);
	}
	return bench_each(start, count);
}

static double reads_nested(void)
{
	double each;

	kthread_cpus_read_lock();
	each = reads();
	kthread_cpus_read_unlock();
	return each;
}

struct reader {
	double (*reads)(void);
	pthread_barrier_t *barrier;
	int cpu;
	double each;
};

static void *reader_fn(void *arg)
{
	struct reader *reader = arg;

	bench_pin(reader->cpu);
	pthread_barrier_wait(reader->barrier);
	reader->each = reader->reads();
	return NULL;
}

struct readers {
	double (*reads)(void);
	unsigned int threads;
};

/* Each on a CPU of its own; their mean. */
static void at_once(const void *arg, double *values)
{
	const struct readers *readers = arg;
	struct reader each[2];
	pthread_t threads[2];
	pthread_barrier_t barrier;

	BENCH_CHECK(pthread_barrier_init(&barrier, NULL, readers->threads) == 0);
	for (unsigned int i = 0; i < readers->threads; i++) {
		each[i] = (struct reader){.reads = readers->reads, .barrier = &barrier, .cpu = bench_cpu(i)};
		BENCH_CHECK(pthread_create(&threads[i], NULL, reader_fn, &each[i]) == 0);
	}
	for (unsigned int i = 0; i < readers->threads; i++) {
		BENCH_CHECK(pthread_join(threads[i], NULL) == 0);
		values[0] += each[i].each / readers->threads;
	}
	pthread_barrier_destroy(&barrier);
}

static void read_lock(unsigned int threads)
{
	const struct readers ours = {reads, threads};
	const struct readers nested = {reads_nested, threads};
	const struct readers theirs = {reads_rwlock, threads};
	const struct bench_variant variants[] = {
	    {"kthread_cpus_read_lock", at_once, &ours},
	    {"the same, nested", at_once, &nested},
	    {"pthread_rwlock", at_once, &theirs},
	};
	char text[64];

	bench_rounds(variants, 3);
	snprintf(text, sizeof(text), "lock and unlock, %s", threads == 1 ? "one thread" : "two threads on two CPUs");
	bench_figure("read-lock", text, 0, 2, 0, 1.0, "ns");
	bench_figure("read-lock", text, 1, 2, 0, BENCH_NO_TARGET, "ns");
}

/* ---- steps ------------------------------------------------------------------------------------------------------------- */

enum { STEPS = 1000 }; /* half of them in each section */

static int no_op(unsigned int cpu, void *arg)
{
	(void)cpu;
	(void)arg;
	return 0;
}

static void down_and_up(const void *arg, double *values)
{
	const unsigned int steps = arg ? STEPS : 2; /* one of each section, for the way to the CPU */
	const unsigned int turns = bench_count(100, 2);
	int numbers[STEPS];
	uint64_t start;

	for (unsigned int i = 0; i < steps; i++) {
		char name[32];

		snprintf(name, sizeof(name), "bench/%u", i);
		numbers[i] = kthread_cpuhp_setup_nocalls(i % 2 ? KTHREAD_CPUHP_ONLINE : KTHREAD_CPUHP_PREPARE, name,
		                                         no_op, no_op, NULL);
		BENCH_CHECK(numbers[i] > 0);
	}
	BENCH_CHECK(kthread_cpu_down(3, 0) == 0 && kthread_cpu_up(3, 0) == 0);
	start = bench_now();
	for (unsigned int i = 0; i < turns; i++)
		BENCH_CHECK(kthread_cpu_down(3, 0) == 0 && kthread_cpu_up(3, 0) == 0);
	values[0] = bench_each(start, (size_t)2 * turns);
	for (unsigned int i = 0; i < steps; i++)
		BENCH_CHECK(kthread_cpuhp_remove_nocalls(numbers[i]) == 0);
}

static void steps(void)
{
	static const int yes;
	const struct bench_variant variants[] = {
	    {"with 1000 steps", down_and_up, &yes},
	    {"with 2", down_and_up, NULL},
	};
	struct kthread_config config = KTHREAD_CONFIG_INIT;
	char root[] = "/tmp/kthread-bench-XXXXXX";

	BENCH_CHECK(mkdtemp(root));
	BENCH_CHECK(machine_write(machine_named("numa"), root) == 0);
	config.root = root;
	config.simulate = true;
	config.poll_ms = 0;
	BENCH_CHECK(kthread_fini() == 0 && kthread_init(&config) == 0);
	bench_rounds(variants, 2);
	bench_figure("steps", "a cooperative transition, 8 CPUs, simulated", 0, 1, 0, BENCH_NO_TARGET, "ns");
	bench_number("steps-each", "one step more, per transition",
	             (bench_median(0, 0) - bench_median(1, 0)) / (STEPS - 2), 0, "none", BENCH_NO_TARGET, "ns");
	BENCH_CHECK(kthread_fini() == 0);
	machine_remove(root);
}

int main(int argc, char **argv)
{
	bench_open(argc, argv, "hotplug");
	count = bench_count(1000000, 1000);
	/* As in a daemon, in which the monitor has looked since somebody read first. */
	kthread_cpus_read_lock();
	kthread_cpus_read_unlock();
	BENCH_CHECK(kthread_rescan() == 0);
	read_lock(1);
	if (bench_cpu(1) >= 0)
		read_lock(2);
	else
		bench_note("one CPU only: two readers at once left out");
	steps();
	return bench_close();
}

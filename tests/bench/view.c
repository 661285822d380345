/* SPDX-License-Identifier: MIT */
/*
 * P6c: what a look at the machine costs, without threads and with very many.
 */
#include <fcntl.h>
#include <kthread/kthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sysinfo.h>

#include "bench.h"
#include "crowd.h"

static unsigned int count;
static struct crowd crowd;
static pid_t *tids;

static void rescan(const void *arg, double *values)
{
	const uint64_t start = bench_now();

	(void)arg;
	for (unsigned int i = 0; i < count; i++)
		BENCH_CHECK(kthread_rescan() == 0);
	values[0] = bench_each(start, count);
}

static void cpus(const void *arg, double *values)
{
	const uint64_t start = bench_now();
	cpu_set_t set;

	(void)arg;
	for (unsigned int i = 0; i < count; i++)
		BENCH_CHECK(kthread_cpus(KTHREAD_CPUS_ONLINE, sizeof(set), &set) == 0);
	values[0] = bench_each(start, count);
}

static void nprocs(const void *arg, double *values)
{
	const uint64_t start = bench_now();

	(void)arg;
	for (unsigned int i = 0; i < count; i++)
		BENCH_CHECK(get_nprocs() > 0);
	values[0] = bench_each(start, count);
}

/* The files of sysfs alone, opened each time. */
static void five_reads(const void *arg, double *values)
{
	static const char *const files[] = {"possible", "present", "online", "isolated", "nohz_full"};
	const uint64_t start = bench_now();

	(void)arg;
	for (unsigned int i = 0; i < count; i++) {
		for (size_t j = 0; j < sizeof(files) / sizeof(files[0]); j++) {
			char path[64];
			char text[256];
			int fd;

			snprintf(path, sizeof(path), "/sys/devices/system/cpu/%s", files[j]);
			fd = open(path, O_RDONLY | O_CLOEXEC);
			if (fd >= 0) {
				BENCH_CHECK(read(fd, text, sizeof(text)) >= 0);
				close(fd);
			}
		}
	}
	values[0] = bench_each(start, count);
}

static void bare_looks(const void *arg, double *values)
{
	const size_t setsize = kthread_setsize();
	const uint64_t start = bench_now();
	cpu_set_t set;

	(void)arg;
	for (unsigned int i = 0; i < count; i++) {
		for (size_t j = 0; j < crowd.count; j++)
			BENCH_CHECK(sched_getaffinity(tids[j], setsize, &set) == 0);
	}
	values[0] = bench_each(start, count);
}

static void without_threads(void)
{
	const struct bench_variant variants[] = {
	    {"kthread_rescan", rescan, NULL},
	    {"five reads of sysfs", five_reads, NULL},
	    {"kthread_cpus", cpus, NULL},
	    {"get_nprocs", nprocs, NULL},
	};

	count = bench_count(300, 10);
	bench_rounds(variants, sizeof(variants) / sizeof(variants[0]));
	bench_figure("rescan-0", "a look, no threads", 0, 1, 0, BENCH_NO_TARGET, "ns");
	bench_figure("P6c-looks", "online CPUs while nobody watches", 2, 3, 0, BENCH_NO_TARGET, "ns");
}

static void with_threads(void)
{
	const struct bench_variant views[] = {
	    {"kthread_cpus", cpus, NULL},
	    {"get_nprocs", nprocs, NULL},
	};
	const struct bench_variant looks[] = {
	    {"kthread_rescan", rescan, NULL},
	    {"sched_getaffinity of each", bare_looks, NULL},
	};
	char text[64];

	count = bench_count(2000, 10);
	bench_rounds(views, 2);
	bench_figure("P6c", "online CPUs while the monitor watches", 0, 1, 0, 0.2, "ns");
	count = bench_count(3, 1);
	bench_rounds(looks, 2);
	snprintf(text, sizeof(text), "a look, %zu threads, nothing has changed", crowd.count);
	bench_figure("rescan-n", text, 0, 1, 0, BENCH_NO_TARGET, "ns");
}

int main(int argc, char **argv)
{
	struct kthread_config config = KTHREAD_CONFIG_INIT;

	bench_open(argc, argv, "view");
	config.poll_ms = 0;
	BENCH_CHECK(kthread_init(&config) == 0);
	without_threads();
	crowd = crowd_create(bench_count(10000, 100));
	tids = calloc(crowd.count, sizeof(*tids));
	BENCH_CHECK(tids);
	for (size_t i = 0; i < crowd.count; i++)
		tids[i] = kthread_tid(crowd.threads[i]);
	with_threads();
	free(tids);
	crowd_stop(&crowd);
	BENCH_CHECK(kthread_fini() == 0);
	return bench_close();
}

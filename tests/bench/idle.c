/* SPDX-License-Identifier: MIT */
/*
 * P6b, P6c and the promise of silence: how often the monitor wakes up, what a program pays that never places a thread,
 * what starting costs.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <hwloc.h>
#include <kthread/kthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "bench.h"
#include "crowd.h"

#define MONITOR "kthread-monitor"

/* ---- tasks of this process ------------------------------------------------------------------------------------------- */

static unsigned int tasks(void)
{
	DIR *dir = opendir("/proc/self/task");
	unsigned int count = 0;

	BENCH_CHECK(dir);
	for (const struct dirent *entry; (entry = readdir(dir));)
		count += entry->d_name[0] != '.';
	closedir(dir);
	return count;
}

static pid_t find_task(const char *wanted)
{
	DIR *dir = opendir("/proc/self/task");
	pid_t found = 0;

	BENCH_CHECK(dir);
	for (const struct dirent *entry; !found && (entry = readdir(dir));) {
		char path[300];
		char name[32] = "";
		FILE *file;

		snprintf(path, sizeof(path), "/proc/self/task/%.200s/comm", entry->d_name);
		file = entry->d_name[0] == '.' ? NULL : fopen(path, "r");
		if (!file)
			continue;
		if (fgets(name, sizeof(name), file) && strncmp(name, wanted, strlen(wanted)) == 0)
			found = (pid_t)strtol(entry->d_name, NULL, 10);
		fclose(file);
	}
	closedir(dir);
	return found;
}

static double switches_of(pid_t tid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/task/%d/status", (int)tid);
	return bench_proc(path, "voluntary_ctxt_switches:");
}

/* CPU time of a thread of ours: the kernel's encoding of per-thread clocks, as pthread_getcpuclockid() has it. */
static double cpu_time_of(pid_t tid)
{
	const clockid_t clock = (clockid_t)(~(unsigned int)tid << 3 | 6u);
	struct timespec now;

	BENCH_CHECK(clock_gettime(clock, &now) == 0);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* ---- the monitor ------------------------------------------------------------------------------------------------------ */

struct watch {
	unsigned int poll_ms; /* 0: never */
	double seconds;
	size_t threads;
};

/* values: wake-ups, CPU time in ns, both in watch->seconds; tasks beside the crowd */
static void watch_the_monitor(const void *arg, double *values)
{
	const struct watch *watch = arg;
	struct kthread_config config = KTHREAD_CONFIG_INIT;
	struct crowd crowd;
	double wakes;
	double time;
	pid_t monitor;

	config.poll_ms = watch->poll_ms;
	BENCH_CHECK(kthread_init(&config) == 0);
	crowd = crowd_create(watch->threads);
	monitor = find_task(MONITOR);
	BENCH_CHECK(monitor);
	bench_sleep(300000000); /* its first looks */
	wakes = switches_of(monitor);
	time = cpu_time_of(monitor);
	bench_sleep((uint64_t)(watch->seconds * 1e9));
	values[0] = switches_of(monitor) - wakes;
	values[1] = cpu_time_of(monitor) - time;
	values[2] = tasks() - (double)crowd.count;
	crowd_stop(&crowd);
	BENCH_CHECK(kthread_fini() == 0);
}

static void monitor(void)
{
	const double seconds = bench_is_quick() ? 1 : 5;
	const struct watch watches[] = {
	    {.poll_ms = 1000, .seconds = seconds, .threads = 10},
	    {.poll_ms = 100, .seconds = seconds, .threads = 10},
	    {.poll_ms = 0, .seconds = seconds, .threads = 10},
	    {.poll_ms = 1000, .seconds = seconds, .threads = bench_count(10000, 100)},
	};

	for (size_t i = 0; i < sizeof(watches) / sizeof(watches[0]); i++) {
		const struct watch *watch = &watches[i];
		const double polls = watch->poll_ms ? watch->seconds * 1000 / watch->poll_ms : 0;
		double values[BENCH_VALUES];
		char text[96];

		bench_in_child(watch_the_monitor, watch, values);
		snprintf(text, sizeof(text), "monitor's wake-ups in %g s, poll_ms %u, %zu threads", watch->seconds,
		         watch->poll_ms, watch->threads);
		bench_number("idle-wakes", text, values[0], polls, "polls", polls > 0 ? 1 : 0, "wake-ups");
		snprintf(text, sizeof(text), "monitor's share of a CPU, poll_ms %u, %zu threads", watch->poll_ms,
		         watch->threads);
		bench_number("idle-cpu", text, values[1], watch->seconds * 1e9, "the time", BENCH_NO_TARGET, "ns");
		BENCH_CHECK(values[2] == 2); /* the main thread, the monitor */
	}
}

/* Everything one may do without placing a thread. */
static void place_nothing(const void *arg, double *values)
{
	cpu_set_t set;

	(void)arg;
	BENCH_CHECK(kthread_init(NULL) == 0);
	BENCH_CHECK(kthread_cpus(KTHREAD_CPUS_HOUSEKEEPING, sizeof(set), &set) == 0);
	BENCH_CHECK(kthread_generation() > 0);
	BENCH_CHECK(kthread_rescan() == 0);
	BENCH_CHECK(kthread_housekeeping_set(sizeof(set), &set) == 0);
	values[0] = tasks();
	BENCH_CHECK(kthread_fini() == 0);
}

/* ---- starting a program ------------------------------------------------------------------------------------------------ */

static void spawn(const void *arg, double *values)
{
	static char *const no_arguments[] = {NULL, NULL};
	static char *const no_environment[] = {NULL};
	const unsigned int count = bench_count(100, 2);
	const char *name = arg;
	char path[4096];
	const ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 64);
	uint64_t start;

	BENCH_CHECK(length > 0);
	path[length] = '\0';
	strcpy(strrchr(path, '/') + 1, name); /* they lie beside us */
	start = bench_now();
	for (unsigned int i = 0; i < count; i++) {
		int status;
		pid_t child;

		errno = posix_spawn(&child, path, NULL, NULL, no_arguments, no_environment);
		BENCH_CHECK(errno == 0);
		BENCH_CHECK(waitpid(child, &status, 0) == child && status == 0);
	}
	values[0] = bench_each(start, count);
}

static void program_start(void)
{
	const struct bench_variant variants[] = {
	    {"empty program", spawn, "bench_empty"},
	    {"linked with libkthread", spawn, "bench_empty_linked"},
	    {"linked with hwloc and numa", spawn, "bench_empty_hwloc"},
	};

	bench_rounds(variants, sizeof(variants) / sizeof(variants[0]));
	bench_figure("start", "start of a program", 1, 0, 0, BENCH_NO_TARGET, "ns");
	bench_figure("start", "start of a program", 1, 2, 0, BENCH_NO_TARGET, "ns");
}

/* ---- starting the library ---------------------------------------------------------------------------------------------- */

static void init(const void *arg, double *values)
{
	const unsigned int count = bench_count(50, 2);
	uint64_t sum = 0;

	(void)arg;
	for (unsigned int i = 0; i < count; i++) {
		const uint64_t start = bench_now();

		BENCH_CHECK(kthread_init(NULL) == 0);
		sum += bench_now() - start;
		BENCH_CHECK(kthread_fini() == 0);
	}
	values[0] = (double)sum / count;
}

static void first_node(const void *arg, double *values)
{
	const unsigned int count = bench_count(20, 2);
	cpu_set_t set;
	uint64_t sum = 0;

	(void)arg;
	for (unsigned int i = 0; i < count; i++) {
		uint64_t start;

		BENCH_CHECK(kthread_init(NULL) == 0);
		start = bench_now();
		BENCH_CHECK(kthread_node_cpus(0, sizeof(set), &set) == 0);
		sum += bench_now() - start;
		BENCH_CHECK(kthread_fini() == 0);
	}
	values[0] = (double)sum / count;
}

static void hwloc(const void *arg, double *values)
{
	const unsigned int count = bench_count(20, 2);
	const uint64_t start = bench_now();

	(void)arg;
	for (unsigned int i = 0; i < count; i++) {
		hwloc_topology_t topology;

		BENCH_CHECK(hwloc_topology_init(&topology) == 0);
		BENCH_CHECK(hwloc_topology_load(topology) == 0);
		hwloc_topology_destroy(topology);
	}
	values[0] = bench_each(start, count);
}

static void three_reads(const void *arg, double *values)
{
	static const char *const files[] = {"possible", "present", "online"};
	const unsigned int count = bench_count(50, 2);
	const uint64_t start = bench_now();

	(void)arg;
	for (unsigned int i = 0; i < count; i++) {
		for (size_t j = 0; j < 3; j++) {
			char path[64];
			char text[256];
			int fd;

			snprintf(path, sizeof(path), "/sys/devices/system/cpu/%s", files[j]);
			fd = open(path, O_RDONLY | O_CLOEXEC);
			BENCH_CHECK(fd >= 0 && read(fd, text, sizeof(text)) > 0);
			close(fd);
		}
	}
	values[0] = bench_each(start, count);
}

static void library_start(void)
{
	const struct bench_variant variants[] = {
	    {"kthread_init", init, NULL},
	    {"hwloc's load", hwloc, NULL},
	    {"three reads of sysfs", three_reads, NULL},
	    {"the first kthread_node_cpus", first_node, NULL},
	};

	bench_rounds(variants, sizeof(variants) / sizeof(variants[0]));
	bench_figure("P6b", "start of the library", 0, 1, 0, 0.05, "ns");
	bench_figure("P6b-floor", "start of the library", 0, 2, 0, BENCH_NO_TARGET, "ns");
	bench_figure("P6b-node", "first use of a node", 3, 1, 0, BENCH_NO_TARGET, "ns");
}

int main(int argc, char **argv)
{
	double values[BENCH_VALUES];

	bench_open(argc, argv, "idle");
	/* in this order: what forks comes before anything starts the library here */
	monitor();
	bench_in_child(place_nothing, NULL, values);
	bench_number("idle-tasks", "threads of a process that places none", values[0], 1, "the main thread", 1,
	             "threads");
	program_start();
	library_start();
	return bench_close();
}

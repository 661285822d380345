/* SPDX-License-Identifier: MIT */
/*
 * How long it takes until every thread's mask is right again, from the return of the write to sysfs. For information: in an
 * emulated guest these are not the times of a machine. The kernel's part, until its uevent is there, is in them.
 */
#include <linux/netlink.h>
#include <poll.h>
#include <sys/socket.h>

#include "vm.h"

#define ROUNDS 3

static int sleeper(void *data)
{
	(void)data;
	while (!kthread_should_stop())
		kthread_wait();
	return 0;
}

static bool has_mask(pid_t tid, cpus_t wanted)
{
	cpu_set_t set, want;

	CPU_ZERO(&set);
	return sched_getaffinity(tid, sizeof(set), &set) == 0 && CPU_EQUAL(&set, as_set(wanted, &want));
}

static double milliseconds_until(const pid_t *tids, size_t count, cpus_t wanted)
{
	const uint64_t begin = now_ns();

	for (size_t i = 0; i < count;) {
		if (has_mask(tids[i], wanted))
			i++;
		else if (now_ns() - begin > LIMIT_NS)
			FAIL("%zu of %zu threads are not on %s", count - i, count, cpus_text(wanted));
		else
			pause_ns(MS / 10);
	}
	return (double)(now_ns() - begin) / 1e6;
}

static int compare(const void *a, const void *b)
{
	return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}

static void figure(const char *name, size_t threads, double *times)
{
	qsort(times, ROUNDS, sizeof(times[0]), compare);
	printf("figure {\"name\":\"%s\",\"threads\":%zu,\"unit\":\"ms\",\"median\":%.1f,\"min\":%.1f,\"max\":%.1f,"
	       "\"rounds\":%d}\n",
	       name, threads, times[ROUNDS / 2], times[0], times[ROUNDS - 1], ROUNDS);
}

static void with_threads(size_t count)
{
	struct kthread **threads = calloc(count, sizeof(threads[0]));
	pid_t *tids = calloc(count, sizeof(*tids));
	double off[ROUNDS], on[ROUNDS];

	CHECK(threads && tids);
	for (size_t i = 0; i < count; i++) {
		threads[i] = kthread_run_on_cpu(sleeper, NULL, 3, "sleeper/%u");
		CHECK(threads[i]);
		tids[i] = kthread_tid(threads[i]);
	}
	milliseconds_until(tids, count, CPU(3));
	for (int round = 0; round < ROUNDS; round++) {
		cpu_off(3);
		off[round] = milliseconds_until(tids, count, atomic_load(&world.online));
		cpu_on(3);
		on[round] = milliseconds_until(tids, count, CPU(3));
	}
	figure("off_until_masks_right", count, off);
	figure("on_until_masks_right", count, on);
	for (size_t i = 0; i < count; i++)
		kthread_stop(threads[i]);
	free(threads);
	free(tids);
}

/* The kernel's own part: from the same point until a uevent can be read. */
static void floor_of_uevents(void)
{
	const struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = 1};
	const int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);
	double times[ROUNDS], writes[ROUNDS];

	CHECK(fd >= 0 && bind(fd, (const struct sockaddr *)&address, sizeof(address)) == 0);
	for (int round = 0; round < 2 * ROUNDS; round++) {
		struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
		char message[4096];
		uint64_t begin = now_ns();

		cpu_set(3, round % 2);
		writes[round / 2] = (double)(now_ns() - begin) / 1e6;
		begin = now_ns();
		CHECK(poll(&poll_fd, 1, 20000) == 1);
		times[round / 2] = (double)(now_ns() - begin) / 1e6;
		/* 6.12 tells of more than one device per CPU. */
		while (poll(&poll_fd, 1, 50) == 1) {
			while (recv(fd, message, sizeof(message), 0) > 0)
				continue;
		}
	}
	figure("sysfs_write", 0, writes);
	figure("until_uevent", 0, times);
	close(fd);
}

static void latency(void)
{
	floor_of_uevents();
	start_library(0, true, false);
	with_threads(1);
	with_threads(100);
	with_threads(1000);
}

const struct vm_case cases_figures[] = {
    {"latency", latency, NULL},
    {NULL, NULL, NULL},
};

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

/* ---- per-CPU threads --------------------------------------------------------------------------------------------- */

#define TRANSITIONS 30 /* as many off as on */
#define DESCRIPTIONS 4

static struct kthread_percpu descriptions[DESCRIPTIONS];
static atomic_uint parked_ones;

static bool nothing_to_do(unsigned int cpu, void *arg)
{
	(void)cpu, (void)arg;
	return false;
}

static void do_nothing(unsigned int cpu, void *arg)
{
	(void)cpu, (void)arg;
}

static void unparked(unsigned int cpu, void *arg)
{
	(void)arg;
	if (cpu == 3)
		atomic_fetch_sub(&parked_ones, 1);
}

static bool all_parked(void)
{
	for (int i = 0; i < DESCRIPTIONS; i++) {
		struct kthread_info info = {.size = sizeof(info)};

		CHECK0(kthread_info(kthread_percpu_thread(&descriptions[i], 3), &info));
		if (info.state != KTHREAD_PARKED)
			return false;
	}
	return true;
}

static bool all_unparked(void)
{
	return atomic_load(&parked_ones) == 0;
}

static double milliseconds_until_true(uint64_t begin, bool (*condition)(void))
{
	while (!condition()) {
		if (now_ns() - begin > LIMIT_NS)
			FAIL("the threads of CPU 3 do not follow");
		pause_ns(MS / 50);
	}
	return (double)(now_ns() - begin) / 1e6;
}

static void distribution(const char *name, double *times, size_t count)
{
	qsort(times, count, sizeof(times[0]), compare);
	printf("figure {\"name\":\"%s\",\"threads\":%d,\"unit\":\"ms\",\"p50\":%.2f,\"p90\":%.2f,\"max\":%.2f,"
	       "\"rounds\":%zu}\n",
	       name, DESCRIPTIONS, times[count / 2], times[count * 9 / 10], times[count - 1], count);
}

/* From the return of the write, and beyond the moment at which anybody could have read the uevent. */
static void transition(int uevents, bool online, double *ret_after_write, double *ret_after_uevent)
{
	struct pollfd poll_fd = {.fd = uevents, .events = POLLIN};
	char message[4096];
	double uevent;
	uint64_t begin;

	cpu_set(3, online);
	begin = now_ns();
	CHECK(poll(&poll_fd, 1, 20000) == 1);
	uevent = (double)(now_ns() - begin) / 1e6;
	*ret_after_write = milliseconds_until_true(begin, online ? all_unparked : all_parked);
	*ret_after_uevent = *ret_after_write - uevent;
	atomic_store(&parked_ones, DESCRIPTIONS); /* all are in either state here; counts on the way up */
	/* Idle again, the library's second look included. */
	while (poll(&poll_fd, 1, 50) == 1) {
		while (recv(uevents, message, sizeof(message), 0) > 0)
			continue;
	}
}

static void per_cpu(void)
{
	const struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = 1};
	const int uevents = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);
	double parked[2][TRANSITIONS], unpark[2][TRANSITIONS];

	CHECK(uevents >= 0 && bind(uevents, (const struct sockaddr *)&address, sizeof(address)) == 0);
	start_library(0, true, false);
	for (int i = 0; i < DESCRIPTIONS; i++) {
		descriptions[i] = (struct kthread_percpu)KTHREAD_PERCPU_INIT;
		descriptions[i].name = "figure/%u";
		descriptions[i].should_run = nothing_to_do;
		descriptions[i].run = do_nothing;
		descriptions[i].park = do_nothing;
		descriptions[i].unpark = unparked;
		CHECK0(kthread_percpu_register(&descriptions[i]));
	}
	for (int i = 0; i < TRANSITIONS; i++) {
		transition(uevents, false, &parked[0][i], &parked[1][i]);
		transition(uevents, true, &unpark[0][i], &unpark[1][i]);
	}
	distribution("off_until_parked", parked[0], TRANSITIONS);
	distribution("off_until_parked_beyond_uevent", parked[1], TRANSITIONS);
	distribution("on_until_unparked", unpark[0], TRANSITIONS);
	distribution("on_until_unparked_beyond_uevent", unpark[1], TRANSITIONS);
	for (int i = 0; i < DESCRIPTIONS; i++)
		kthread_percpu_unregister(&descriptions[i]);
	close(uevents);
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
    {"per-cpu", per_cpu, NULL},
    {NULL, NULL, NULL},
};

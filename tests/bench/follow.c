/* SPDX-License-Identifier: MIT */
/*
 * How soon four per-CPU threads have parked after their CPU has gone, and are back after it has come: from the return of
 * the write to sysfs until the last callback has run, and beyond the arrival of the uevent. Against four bare threads
 * that a thread wakes as soon as it has read the uevent, and before that binds to the CPU, without looking at anything.
 *
 * It takes a CPU of this machine offline, so only one that the user names: KTHREAD_BENCH_CPU=N. A distribution wants
 * --rounds 61.
 */
#include <errno.h>
#include <fcntl.h>
#include <kthread/kthread.h>
#include <linux/netlink.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "bench.h"

#define THREADS 4
#define BEYOND_UEVENT 1.0 /* ms, on a machine that has nothing else to do */
#define CALM_NS 60000000u /* the library has looked once more, and the kernel is done with the CPU */

static unsigned int cpu;
static char online_file[64];
static int uevents;

/* ---- the CPU ------------------------------------------------------------------------------------------------------ */

static bool set_online(bool online)
{
	const int fd = open(online_file, O_WRONLY | O_CLOEXEC);
	const bool done = fd >= 0 && write(fd, online ? "1" : "0", 1) == 1;

	if (fd >= 0)
		close(fd);
	return done;
}

/* However this ends. */
static void give_back(void)
{
	set_online(true);
}

static void give_back_and_die(int number)
{
	give_back();
	signal(number, SIG_DFL);
	raise(number);
}

static bool may_take_cpu(void)
{
	const char *name = getenv("KTHREAD_BENCH_CPU");
	char *end;
	const unsigned long number = name ? strtoul(name, &end, 10) : 0;

	if (!name || !name[0] || *end || number >= CPU_SETSIZE) {
		bench_note("left out: KTHREAD_BENCH_CPU does not name a CPU that may be taken offline");
		return false;
	}
	cpu = (unsigned int)number;
	snprintf(online_file, sizeof(online_file), "/sys/devices/system/cpu/cpu%u/online", cpu);
	if (!set_online(true)) {
		bench_note("left out: %s: %s", online_file, strerror(errno));
		return false;
	}
	return true;
}

/* ---- one transition ----------------------------------------------------------------------------------------------- */

static atomic_uint left; /* threads that have not answered yet */
static atomic_ullong answered, arrived;

static void answer(void)
{
	atomic_store(&answered, bench_now());
	if (atomic_fetch_sub(&left, 1) == 1)
		bench_futex_wake(&left, 1);
}

static void transition(bool online, double *ret_after_write, double *ret_after_uevent)
{
	unsigned int now;
	uint64_t written;

	bench_sleep(CALM_NS);
	atomic_store(&left, THREADS);
	BENCH_CHECK(set_online(online));
	written = bench_now();
	while ((now = atomic_load(&left)) != 0)
		bench_futex_wait(&left, now);
	*ret_after_write = ((double)atomic_load(&answered) - (double)written) / 1e6;
	*ret_after_uevent = (double)(atomic_load(&answered) - atomic_load(&arrived)) / 1e6;
}

/* The values of a variant: back after the write, back after the uevent, parked after the uevent. */
static void both(double *values)
{
	double ignored;

	transition(false, &ignored, &values[2]);
	transition(true, &values[0], &values[1]);
}

/* ---- the bare threads, and whoever reads the uevent ---------------------------------------------------------------- */

static struct bare {
	atomic_uint turn;
	atomic_int tid; /* 0 = it has not begun, or is gone */
	char apart[128];
} bare[THREADS];

static atomic_bool ends;

static void *bare_fn(void *arg)
{
	struct bare *self = arg;
	unsigned int turn = atomic_load(&self->turn);

	atomic_store(&self->tid, gettid());
	for (;;) {
		while (atomic_load(&self->turn) == turn)
			bench_futex_wait(&self->turn, turn);
		turn = atomic_load(&self->turn);
		if (atomic_load(&ends))
			return NULL;
		answer();
	}
}

static void wake_bare_threads(bool online)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	for (int i = 0; i < THREADS && atomic_load(&bare[i].tid); i++) {
		if (online)
			sched_setaffinity(atomic_load(&bare[i].tid), sizeof(set), &set);
		atomic_fetch_add(&bare[i].turn, 1);
		bench_futex_wake(&bare[i].turn, 1);
	}
}

static void *receiver_fn(void *arg)
{
	const struct sched_param first = {.sched_priority = 1};
	char messages[2][64];

	(void)arg;
	sched_setscheduler(0, SCHED_FIFO, &first); /* it stamps the moment */
	for (int online = 0; online < 2; online++)
		snprintf(messages[online], sizeof(messages[online]), "%s@/devices/system/cpu/cpu%u",
		         online ? "online" : "offline", cpu);
	for (;;) {
		char message[4096];
		const ssize_t length = recv(uevents, message, sizeof(message) - 1, 0);
		const uint64_t now = bench_now();

		message[length > 0 ? length : 0] = '\0';
		for (int online = 0; online < 2; online++) {
			if (strcmp(message, messages[online]) != 0)
				continue;
			atomic_store(&arrived, now);
			wake_bare_threads(online);
		}
	}
	return NULL;
}

static void bare_threads(const void *arg, double *values)
{
	pthread_t threads[THREADS];

	(void)arg;
	for (int i = 0; i < THREADS; i++) {
		BENCH_CHECK(pthread_create(&threads[i], NULL, bare_fn, &bare[i]) == 0);
		while (!atomic_load(&bare[i].tid))
			bench_sleep(1000000);
	}
	both(values);
	bench_sleep(CALM_NS);
	atomic_store(&ends, true);
	wake_bare_threads(false);
	for (int i = 0; i < THREADS; i++) {
		BENCH_CHECK(pthread_join(threads[i], NULL) == 0);
		atomic_store(&bare[i].tid, 0);
	}
	atomic_store(&ends, false);
}

/* ---- per-CPU threads ------------------------------------------------------------------------------------------------ */

static bool nothing_to_do(unsigned int on, void *arg)
{
	(void)on, (void)arg;
	return false;
}

static void do_nothing(unsigned int on, void *arg)
{
	(void)on, (void)arg;
}

static void follow(unsigned int on, void *arg)
{
	(void)arg;
	if (on == cpu)
		answer();
}

static void per_cpu_threads(const void *arg, double *values)
{
	struct kthread_config config = KTHREAD_CONFIG_INIT;
	struct kthread_percpu descriptions[THREADS];

	(void)arg;
	config.poll_ms = 0;
	BENCH_CHECK(kthread_init(&config) == 0);
	for (int i = 0; i < THREADS; i++) {
		descriptions[i] = (struct kthread_percpu)KTHREAD_PERCPU_INIT;
		descriptions[i].name = "follow/%u";
		descriptions[i].should_run = nothing_to_do;
		descriptions[i].run = do_nothing;
		descriptions[i].park = follow;
		descriptions[i].unpark = follow;
		BENCH_CHECK(kthread_percpu_register(&descriptions[i]) == 0);
	}
	both(values);
	bench_sleep(CALM_NS);
	for (int i = 0; i < THREADS; i++)
		kthread_percpu_unregister(&descriptions[i]);
	BENCH_CHECK(kthread_fini() == 0);
}

/* ---- figures ------------------------------------------------------------------------------------------------------- */

/* limit: milliseconds not to be exceeded, 0 = none. */
static void distribution(const char *name, const char *what, size_t value, double limit)
{
	static const struct {
		const char *name;
		double quantile;
	} points[] = {{"p50", 0.5}, {"p90", 0.9}, {"max", 1}};

	for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
		const double ours = bench_point(0, value, points[i].quantile);
		const double theirs = bench_point(1, value, points[i].quantile);
		char figure[24];
		char text[96];

		snprintf(figure, sizeof(figure), "%s-%s", name, points[i].name);
		snprintf(text, sizeof(text), "%s, %s", what, points[i].name);
		bench_number(figure, text, ours, theirs, "four bare threads",
		             limit > 0 ? limit / theirs : BENCH_NO_TARGET, "ms");
	}
}

int main(int argc, char **argv)
{
	static const struct bench_variant variants[] = {
	    {"four per-CPU threads", per_cpu_threads, NULL},
	    {"four bare threads", bare_threads, NULL},
	};
	const struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = 1};
	pthread_t receiver;

	bench_open(argc, argv, "follow");
	if (!may_take_cpu())
		return bench_close();
	atexit(give_back);
	signal(SIGINT, give_back_and_die);
	signal(SIGTERM, give_back_and_die);
	bench_pin(bench_cpu(bench_cpu(0) == (int)cpu ? 1 : 0));
	uevents = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);
	BENCH_CHECK(uevents >= 0 && bind(uevents, (const struct sockaddr *)&address, sizeof(address)) == 0);
	BENCH_CHECK(pthread_create(&receiver, NULL, receiver_fn, NULL) == 0);
	bench_rounds(variants, 2);
	distribution("back-write", "a CPU comes: back after the write", 0, 0);
	distribution("back-uevent", "a CPU comes: back after the uevent", 1, BEYOND_UEVENT);
	distribution("parked-uevent", "a CPU goes: parked after the uevent", 2, BEYOND_UEVENT);
	return bench_close();
}

/* SPDX-License-Identifier: MIT */
/*
 * P8: a cooperative down, from the call to its return, against the sched_setaffinity() calls that it needs: one for each
 * thread that is bound to the CPU. (Those that park have to leave, too: the CPU may go physically next, and the kernel
 * would throw their masks away.) Beyond these calls it asks them to park, waits until they have, and asks the kernel for
 * each whether it has left.
 *
 * The threads sleep when the call comes. "sleeping": half of them look at kthread_bound_should_stop() and sleep in
 * kthread_wait_parkable(), where they are parked as they are; half never look, and are moved only. "woken": all look, and
 * sleep in kthread_wait(), so each has to run, on the CPU that is given up, before it is parked.
 */
#include <errno.h>
#include <kthread/kthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "crowd.h"
#include "machine.h"

static unsigned int leaving;
static cpu_set_t rest, home; /* where the bare calls send the threads */
static size_t setsize;
static pid_t *tids;
static size_t count;

/* ---- every call is counted: the library's go through this symbol, too -------------------------------------------- */

static atomic_ulong calls;

int sched_setaffinity(pid_t tid, size_t size, const cpu_set_t *set)
{
	atomic_fetch_add_explicit(&calls, 1, memory_order_relaxed);
	return (int)syscall(SYS_sched_setaffinity, tid, size, set);
}

/* ---- threads ------------------------------------------------------------------------------------------------------ */

static int parks_asleep(void *data)
{
	(void)data;
	while (!kthread_bound_should_stop())
		kthread_wait_parkable();
	return 0;
}

static int parks_awake(void *data)
{
	(void)data;
	while (!kthread_bound_should_stop())
		kthread_wait();
	return 0;
}

static int never_looks(void *data)
{
	(void)data;
	while (!kthread_should_stop())
		kthread_wait();
	return 0;
}

static bool all_sleep(const struct crowd *crowd)
{
	for (size_t i = 0; i < crowd->count; i++) {
		struct kthread_info info = {.size = sizeof(info)};

		BENCH_CHECK(kthread_info(crowd->threads[i], &info) == 0);
		if (info.state != KTHREAD_WAITING)
			return false;
	}
	return true;
}

/* What remains then is the way into the futex: a thread that runs is expensive to move. */
static void settle(const struct crowd *crowd)
{
	while (!all_sleep(crowd))
		bench_sleep(1000000);
	bench_sleep(5000000);
}

static struct crowd make_threads(size_t wanted, bool woken)
{
	struct kthread_attr attr = KTHREAD_ATTR_INIT;
	struct crowd crowd = {.threads = calloc(wanted, sizeof(struct kthread *))};

	attr.stack_size = CROWD_STACK;
	BENCH_CHECK(crowd.threads);
	for (; crowd.count < wanted; crowd.count++) {
		int (*const fn)(void *) = woken ? parks_awake : crowd.count % 2 ? never_looks : parks_asleep;
		struct kthread *k = kthread_create_attr(&attr, fn, NULL, "down/%zu", crowd.count);

		if (!k) {
			bench_note("only %zu of %zu threads: %s", crowd.count, wanted, strerror(errno));
			break;
		}
		BENCH_CHECK(kthread_bind(k, leaving) == 0);
		kthread_wake(k);
		crowd.threads[crowd.count] = k;
	}
	BENCH_CHECK(crowd.count > 0);
	settle(&crowd);
	return crowd;
}

/* ---- what is measured --------------------------------------------------------------------------------------------- */

static const struct crowd *now_there;
static unsigned long made, needed; /* calls of sched_setaffinity */

static void down(const void *arg, double *values)
{
	const unsigned long before = atomic_load(&calls);
	uint64_t start;

	(void)arg;
	settle(now_there);
	start = bench_now();
	BENCH_CHECK(kthread_cpu_down(leaving, 0) == 0);
	values[0] = bench_each(start, 1);
	made += atomic_load(&calls) - before;
	needed += count + 1; /* the monitor may run there, too */
	BENCH_CHECK(kthread_cpu_up(leaving, 0) == 0);
}

static void bare(const void *arg, double *values)
{
	uint64_t start;

	(void)arg;
	settle(now_there);
	start = bench_now();
	for (size_t i = 0; i < count; i++)
		BENCH_CHECK(sched_setaffinity(tids[i], setsize, &rest) == 0);
	values[0] = bench_each(start, 1);
	for (size_t i = 0; i < count; i++)
		BENCH_CHECK(sched_setaffinity(tids[i], setsize, &home) == 0);
}

static void part(size_t wanted, bool woken, bool simulated)
{
	static const struct bench_variant variants[] = {
	    {"kthread_cpu_down", down, NULL},
	    {"the bare calls", bare, NULL},
	};
	struct crowd crowd = make_threads(wanted, woken);
	char figure[24];
	char text[64];

	now_there = &crowd;
	count = crowd.count;
	tids = calloc(count, sizeof(*tids));
	BENCH_CHECK(tids);
	for (size_t i = 0; i < count; i++)
		tids[i] = kthread_tid(crowd.threads[i]);
	made = needed = 0;
	bench_rounds(variants, 2);
	snprintf(figure, sizeof(figure), "P8-%zu%s", wanted, woken ? "-woken" : "");
	snprintf(text, sizeof(text), "a CPU is given up, %zu threads bound to it, %s%s", count,
	         woken ? "woken" : "sleeping", simulated ? ", simulated" : "");
	bench_figure(figure, text, 0, 1, 0, BENCH_NO_TARGET, "ns");
	if (!simulated) {
		snprintf(figure, sizeof(figure), "P8-calls-%zu%s", wanted, woken ? "-woken" : "");
		bench_number(figure, "sched_setaffinity calls of the downs, the monitor's own among them", (double)made,
		             (double)needed, "needed", 1, "calls");
	}
	free(tids);
	crowd_stop(&crowd);
}

/* Without a second CPU: no mask is given to the kernel, and what is left is our own part. */
static void invent_machine(struct kthread_config *config, char *root)
{
	BENCH_CHECK(mkdtemp(root));
	BENCH_CHECK(machine_put(root, "sys/devices/system/cpu/possible", "0-1") == 0);
	BENCH_CHECK(machine_put(root, "sys/devices/system/cpu/present", "0-1") == 0);
	BENCH_CHECK(machine_put(root, "sys/devices/system/cpu/online", "0-1") == 0);
	config->root = root;
	config->simulate = true;
	bench_note("one CPU only: simulated, no mask is given to the kernel");
}

int main(int argc, char **argv)
{
	struct kthread_config config = KTHREAD_CONFIG_INIT;
	char root[] = "/tmp/kthread-bench-XXXXXX";
	bool simulated;

	bench_open(argc, argv, "down");
	simulated = bench_cpu(1) < 0;
	config.poll_ms = 0; /* the poll would put right what the bare calls do */
	config.uevents = false;
	if (simulated)
		invent_machine(&config, root);
	BENCH_CHECK(kthread_init(&config) == 0);
	setsize = kthread_setsize();
	leaving = simulated ? 1 : (unsigned int)bench_cpu(1);
	CPU_SET((size_t)bench_cpu(0), &rest);
	CPU_SET((size_t)bench_cpu(simulated ? 0 : 1), &home);
	bench_pin(bench_cpu(0)); /* as whoever asks for it will be */
	part(1, false, simulated);
	part(bench_count(100, 10), false, simulated);
	part(bench_count(10000, 100), false, simulated);
	part(bench_count(10000, 100), true, simulated);
	BENCH_CHECK(kthread_fini() == 0);
	if (simulated)
		machine_remove(root);
	return bench_close();
}

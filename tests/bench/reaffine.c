/* SPDX-License-Identifier: MIT */
/*
 * P6a: what one event costs with very many threads, against the sched_setaffinity() calls that it needs; and the
 * decision alone, on an invented machine of 4096 CPUs.
 */
#include <kthread/kthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench.h"
#include "crowd.h"
#include "machine.h"

static struct crowd crowd;
static unsigned int events;

/* ---- every call is counted: the library's go through this symbol, too -------------------------------------------- */

static atomic_ulong calls;

int sched_setaffinity(pid_t tid, size_t size, const cpu_set_t *set)
{
	atomic_fetch_add_explicit(&calls, 1, memory_order_relaxed);
	return (int)syscall(SYS_sched_setaffinity, tid, size, set);
}

static uint64_t reaffines(void)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < crowd.count; i++) {
		struct kthread_info info = {.size = sizeof(info)};

		BENCH_CHECK(kthread_info(crowd.threads[i], &info) == 0);
		sum += info.reaffines;
	}
	return sum;
}

/* ---- this machine -------------------------------------------------------------------------------------------------- */

static cpu_set_t narrow, wide;
static pid_t *tids;

struct part {
	size_t affected; /* the first so many threads are unbound, the rest are bound and stay */
};

static unsigned long needed, made; /* calls */

static void by_the_library(const void *arg, double *values)
{
	const struct part *part = arg;
	const unsigned long before = atomic_load(&calls);
	const uint64_t start = bench_now();

	for (unsigned int i = 0; i < events; i++) {
		BENCH_CHECK(kthread_housekeeping_set(sizeof(narrow), &narrow) == 0);
		BENCH_CHECK(kthread_housekeeping_set(sizeof(wide), &wide) == 0);
	}
	values[0] = bench_each(start, 2u * events);
	made += atomic_load(&calls) - before;
	needed += 2u * events * (part->affected + 1); /* the monitor is unbound, too */
}

static void bare(const void *arg, double *values)
{
	const struct part *part = arg;
	const size_t setsize = kthread_setsize();
	const uint64_t start = bench_now();

	for (unsigned int i = 0; i < events; i++) {
		for (size_t j = 0; j < part->affected; j++)
			BENCH_CHECK(sched_setaffinity(tids[j], setsize, &narrow) == 0);
		for (size_t j = 0; j < part->affected; j++)
			BENCH_CHECK(sched_setaffinity(tids[j], setsize, &wide) == 0);
	}
	values[0] = bench_each(start, 2u * events);
}

static void set_wishes(size_t affected)
{
	for (size_t i = 0; i < crowd.count; i++) {
		if (i < affected)
			BENCH_CHECK(kthread_affine_reset(crowd.threads[i]) == 0);
		else
			BENCH_CHECK(kthread_bind(crowd.threads[i], (unsigned int)bench_cpu(0)) == 0);
	}
}

static void part_affected(unsigned int percent)
{
	const struct part part = {crowd.count * percent / 100};
	const struct part all = {crowd.count};
	const struct bench_variant variants[] = {
	    {"kthread_housekeeping_set", by_the_library, &part},
	    {percent ? "the bare calls" : "bare calls for all", bare, percent ? &part : &all},
	};
	uint64_t counted;
	char figure[24];
	char text[64];

	set_wishes(part.affected);
	needed = made = 0;
	counted = reaffines();
	bench_rounds(variants, 2);
	snprintf(figure, sizeof(figure), "P6a-%u", percent);
	snprintf(text, sizeof(text), "an event, %zu of %zu threads affected", part.affected, crowd.count);
	bench_figure(figure, text, 0, 1, 0, percent ? 1.2 : 0.005, "ns");
	/* Not a matter of time: exactly as many, by our own count and by the library's. */
	snprintf(figure, sizeof(figure), "P6a-calls-%u", percent);
	bench_number(figure, "sched_setaffinity calls, the monitor's own among them", (double)made, (double)needed,
	             "needed", 1, "calls");
	counted = reaffines() - counted;
	if (made != needed || counted != needed / (part.affected + 1) * part.affected)
		bench_die("%lu calls were needed, %lu were made, the library counted %llu", needed, made,
		          (unsigned long long)counted);
}

static void this_machine(size_t threads)
{
	struct kthread_config config = KTHREAD_CONFIG_INIT;

	if (bench_cpu(1) < 0) {
		bench_note("one CPU only: there are no two housekeeping masks to choose from");
		return;
	}
	config.poll_ms = 0; /* the poll would put right what the bare calls do */
	BENCH_CHECK(kthread_init(&config) == 0);
	CPU_ZERO(&narrow);
	CPU_SET((size_t)bench_cpu(0), &narrow);
	wide = narrow;
	CPU_SET((size_t)bench_cpu(1), &wide);
	BENCH_CHECK(kthread_housekeeping_set(sizeof(wide), &wide) == 0);
	crowd = crowd_create(threads);
	tids = calloc(crowd.count, sizeof(*tids));
	BENCH_CHECK(tids);
	for (size_t i = 0; i < crowd.count; i++)
		tids[i] = kthread_tid(crowd.threads[i]);
	events = bench_count(1, 1);
	part_affected(100);
	part_affected(10);
	part_affected(0);
	free(tids);
	crowd_stop(&crowd);
	BENCH_CHECK(kthread_fini() == 0);
}

/* ---- an invented one ------------------------------------------------------------------------------------------------ */

#define CPUS 4096u
#define SETSIZE (CPUS / 8)
#define NODE (CPUS / 64)

static cpu_set_t *masks[4]; /* two that differ where no wish is, two that differ everywhere */

static void make_masks(void)
{
	for (size_t i = 0; i < 4; i++) {
		masks[i] = calloc(1, SETSIZE);
		BENCH_CHECK(masks[i]);
		for (unsigned int cpu = 0; cpu < CPUS; cpu++) {
			if (i == 0 || (i == 1 && cpu != CPUS - 1) || (i > 1 && cpu % 2 == i - 2))
				CPU_SET_S(cpu, SETSIZE, masks[i]);
		}
	}
}

/* Wish i: a node's CPUs, and those of one more node that spell i. */
static void give_wishes(size_t distinct)
{
	cpu_set_t *set = calloc(1, SETSIZE);

	BENCH_CHECK(set);
	for (size_t i = 0; i < crowd.count; i++) {
		const unsigned int number = (unsigned int)(i % distinct);

		CPU_ZERO_S(SETSIZE, set);
		for (unsigned int j = 0; j < NODE; j++)
			CPU_SET_S(number % 60 * NODE + j, SETSIZE, set);
		for (unsigned int j = 0; j < 16; j++) {
			if (number >> j & 1)
				CPU_SET_S(60 * NODE + j, SETSIZE, set);
		}
		BENCH_CHECK(kthread_affine_preferred(crowd.threads[i], SETSIZE, set) == 0);
	}
	free(set);
}

static void decide(const void *arg, double *values)
{
	cpu_set_t *const *pair = arg;
	const uint64_t start = bench_now();

	for (unsigned int i = 0; i < events; i++) {
		BENCH_CHECK(kthread_housekeeping_set(SETSIZE, pair[1]) == 0);
		BENCH_CHECK(kthread_housekeeping_set(SETSIZE, pair[0]) == 0);
	}
	values[0] = bench_each(start, 2u * events * crowd.count);
}

static void one_microsecond(const void *arg, double *values)
{
	(void)arg;
	values[0] = 1000;
}

/* distinct = 0: the nodes of the machine */
static void decide_for(size_t distinct)
{
	const struct bench_variant variants[] = {
	    {"decided, all stay", decide, &masks[0]},
	    {"decided and recorded, all move", decide, &masks[2]},
	    {"1 us", one_microsecond, NULL},
	};
	char text[64];

	if (distinct) {
		give_wishes(distinct);
		snprintf(text, sizeof(text), "%u CPUs, %zu wishes, per thread", CPUS, distinct);
	} else {
		for (size_t i = 0; i < crowd.count; i++)
			BENCH_CHECK(kthread_affine_node(crowd.threads[i], (int)(i % 63)) == 0);
		snprintf(text, sizeof(text), "%u CPUs, wishes of 63 nodes, per thread", CPUS);
	}
	bench_rounds(variants, 3);
	bench_figure("P6a-decide", text, 0, 2, 0, 1, "ns");
	bench_figure("P6a-record", text, 1, 2, 0, BENCH_NO_TARGET, "ns");
}

/* The whole tree, with which hwloc takes seconds; briefly, only what the view is made of. */
static void make_tree(const char *root)
{
	const struct machine *machine = machine_named("huge");

	if (!bench_is_quick()) {
		BENCH_CHECK(machine_write(machine, root) == 0);
		return;
	}
	BENCH_CHECK(machine_put(root, "sys/devices/system/cpu/possible", machine->possible) == 0);
	BENCH_CHECK(machine_put(root, "sys/devices/system/cpu/present", machine->present) == 0);
	BENCH_CHECK(machine_put(root, "sys/devices/system/cpu/online", machine->online) == 0);
}

static void invented_machine(size_t threads)
{
	struct kthread_config config = KTHREAD_CONFIG_INIT;
	char root[] = "/tmp/kthread-bench-XXXXXX";

	BENCH_CHECK(mkdtemp(root));
	make_tree(root);
	config.root = root;
	config.simulate = true;
	config.poll_ms = 0;
	BENCH_CHECK(kthread_init(&config) == 0);
	BENCH_CHECK(kthread_setsize() == SETSIZE);
	make_masks();
	crowd = crowd_create(threads);
	events = bench_count(5, 1);
	for (size_t distinct = 1; distinct <= crowd.count; distinct *= 100)
		decide_for(distinct);
	if (!bench_is_quick())
		decide_for(0);
	crowd_stop(&crowd);
	for (size_t i = 0; i < 4; i++)
		free(masks[i]);
	BENCH_CHECK(kthread_fini() == 0);
	machine_remove(root);
}

int main(int argc, char **argv)
{
	size_t threads;

	bench_open(argc, argv, "reaffine");
	threads = bench_count(10000, 100);
	this_machine(threads);
	invented_machine(threads);
	return bench_close();
}

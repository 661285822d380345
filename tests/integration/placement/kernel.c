/* SPDX-License-Identifier: MIT */
/*
 * On this machine and its kernel: threads run where they are bound, what the kernel says is what we say, and what
 * somebody else has done to a mask is put right. Needs two CPUs.
 */
#include <grp.h>
#include <pthread.h>

#include "sim.h"

/* The library on the real machine; false: it has not got CPUs 0 and 1 for us. */
static bool start(unsigned int poll_ms)
{
	struct kthread_config config = KTHREAD_CONFIG_INIT;
	cpu_set_t set;

	config.poll_ms = poll_ms;
	config.uevents = false; /* nobody looks but who is asked to: a new source makes some looks of its own */
	config.inotify = false;
	config.log = sim_log;
	assert_int_equal(kthread_init(&config), 0);
	if (kthread_setsize() > sizeof(set) || kthread_cpus(KTHREAD_CPUS_USABLE, sizeof(set), &set) != 0)
		return false;
	if (CPU_ISSET(0, &set) && CPU_ISSET(1, &set) && CPU_COUNT(&set) <= 32)
		return true;
	kthread_fini();
	return false;
}

#define START(poll_ms) \
	do { \
		if (!start(poll_ms)) \
			skip(); \
	} while (0)

static void assert_settled(const struct kthread *k, unsigned int wanted)
{
	assert_int_equal(sim_mask(k, KTHREAD_MASK_EFFECTIVE), wanted);
	assert_int_equal(sim_mask(k, KTHREAD_MASK_ACTUAL), wanted);
	assert_int_equal(sim_kernel_mask(kthread_tid(k)), wanted);
	assert_int_equal(sim_info(k).last_error, 0);
	assert_false(kthread_is_broken(k));
}

struct runner {
	atomic_int cpu; /* where it must be */
	atomic_ulong turns;
};

static int runs(void *data)
{
	struct runner *runner = data;

	while (!kthread_bound_should_stop()) {
		if (kthread_should_park())
			kthread_parkme();
		CHECK(sched_getcpu() == atomic_load(&runner->cpu));
		atomic_fetch_add(&runner->turns, 1);
	}
	return 0;
}

static void bound__runs_where_it_is_bound(void **state)
{
	struct runner runner = {0};
	struct kthread *k;

	START(0);
	k = kthread_run_on_cpu(runs, &runner, 0, "runs/%u");
	for (int i = 0; i < 50; i++) {
		const unsigned long before = atomic_load(&runner.turns);

		AWAIT(atomic_load(&runner.turns) > before + 10);
		assert_settled(k, 1u << i % 2);
		assert_int_equal(kthread_park(k), 0);
		atomic_store(&runner.cpu, (i + 1) % 2);
		if (i % 3)
			assert_int_equal(kthread_bind(k, (unsigned int)(i + 1) % 2), 0);
		else
			assert_int_equal(kthread_set_per_cpu(k, (i + 1) % 2), 0);
		kthread_unpark(k);
	}
	assert_int_equal(kthread_stop(k), 0);
	assert_int_equal(kthread_fini(), 0);
}

static void each_wish__actual_is_effective(void **state)
{
	unsigned int usable;
	struct kthread *k;

	START(0);
	usable = sim_cpus(KTHREAD_CPUS_USABLE);
	k = kthread_create(obedient, NULL, "wishes");
	AWAIT(sim_info(k).last_reason != KTHREAD_REASON_NONE);
	assert_settled(k, usable & sim_cpus(KTHREAD_CPUS_HOUSEKEEPING));
	assert_int_equal(kthread_bind(k, 1), 0);
	assert_settled(k, 2);
	assert_int_equal(sim_bind(k, 3), 0);
	assert_settled(k, 3);
	assert_int_equal(sim_prefer(k, 1), 0);
	assert_settled(k, 1);
	assert_int_equal(kthread_set_per_cpu(k, 0), 0);
	assert_settled(k, 1);
	assert_int_equal(kthread_park(k), 0);
	assert_int_equal(kthread_affine_reset(k), 0);
	assert_settled(k, usable & sim_cpus(KTHREAD_CPUS_HOUSEKEEPING));
	kthread_stop(k);
	assert_int_equal(kthread_fini(), 0);
}

/* Somebody with taskset: bound, unbound and adopted threads, in every state. */
static void lost__put_back_by_rescan(void **state)
{
	struct kthread *all[4];
	unsigned int wanted[4];

	START(0);
	all[0] = kthread_run_on_cpu(obedient, NULL, 1, "bound/%u");
	all[1] = kthread_create(obedient, NULL, "unbound");
	all[2] = kthread_create(obedient, NULL, "preferred");
	assert_int_equal(sim_prefer(all[2], 2), 0);
	all[3] = kthread_adopt("adopted");
	assert_int_equal(kthread_bind(all[3], 0), 0);
	sim_calm();
	for (int i = 0; i < 4; i++) {
		AWAIT(sim_info(all[i]).last_reason != KTHREAD_REASON_NONE);
		wanted[i] = sim_mask(all[i], KTHREAD_MASK_EFFECTIVE);
	}
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < 4; i++) {
			const unsigned int other = wanted[i] == 3 ? 1 : wanted[i] ^ 3;
			const uint64_t reaffines = sim_info(all[i]).reaffines;

			sim_remask(kthread_tid(all[i]), other);
			assert_int_equal(sim_mask(all[i], KTHREAD_MASK_ACTUAL), other);
			assert_int_equal(sim_mask(all[i], KTHREAD_MASK_EFFECTIVE), wanted[i]);
			assert_int_equal(kthread_rescan(), 0);
			assert_settled(all[i], wanted[i]);
			assert_int_equal(sim_info(all[i]).last_reason, KTHREAD_REASON_LOST);
			assert_int_equal(sim_info(all[i]).reaffines, reaffines + 1); /* and nobody else's */
		}
	}
	assert_int_equal(kthread_unadopt(all[3]), 0);
	for (int i = 0; i < 3; i++)
		kthread_stop(all[i]);
	assert_int_equal(kthread_fini(), 0);
}

static void lost__put_back_by_the_poll(void **state)
{
	struct kthread *k;

	START(2);
	k = kthread_run_on_cpu(obedient, NULL, 1, "bound/%u");
	AWAIT(state_of(k) == KTHREAD_WAITING);
	for (int i = 0; i < 10; i++) {
		sim_remask(kthread_tid(k), 1);
		AWAIT(sim_kernel_mask(kthread_tid(k)) == 2);
		AWAIT(sim_info(k).last_reason == KTHREAD_REASON_LOST);
	}
	kthread_stop(k);
	assert_int_equal(kthread_fini(), 0);
}

static void per_cpu__rebound_before_it_is_unparked(void **state)
{
	struct runner runner = {.cpu = 1};
	struct kthread *k;

	START(0);
	k = kthread_create(runs, &runner, "percpu/1");
	assert_int_equal(kthread_set_per_cpu(k, 1), 0);
	kthread_wake(k);
	for (int i = 0; i < 50; i++) {
		const unsigned long before = atomic_load(&runner.turns);

		assert_int_equal(kthread_park(k), 0);
		sim_remask(kthread_tid(k), 1);
		kthread_unpark(k); /* and it never runs a turn on CPU 0 */
		AWAIT(atomic_load(&runner.turns) > before);
		assert_settled(k, 2);
	}
	assert_int_equal(kthread_stop(k), 0);
	assert_int_equal(kthread_fini(), 0);
}

static void *pinned_creator(void *arg)
{
	struct kthread **k = arg;

	sim_remask(0, 2);
	*k = kthread_run(obedient, NULL, "created");
	return NULL;
}

static void kthread_create__the_creators_pin_is_not_inherited(void **state)
{
	struct kthread *k;
	pthread_t thread;
	unsigned int wanted;

	START(0);
	wanted = sim_cpus(KTHREAD_CPUS_HOUSEKEEPING) & sim_cpus(KTHREAD_CPUS_USABLE);
	assert_int_equal(pthread_create(&thread, NULL, pinned_creator, &k), 0);
	pthread_join(thread, NULL);
	AWAIT(state_of(k) == KTHREAD_WAITING);
	assert_settled(k, wanted);
	/* and the pin is not taken for what we are allowed */
	assert_int_equal(kthread_rescan(), 0);
	assert_settled(k, wanted);
	kthread_stop(k);
	assert_int_equal(kthread_fini(), 0);
}

static void kthread_housekeeping_set__moves_the_monitor_too(void **state)
{
	struct kthread *k;

	START(0);
	k = kthread_run(obedient, NULL, "unbound");
	sim_calm();
	AWAIT(state_of(k) == KTHREAD_WAITING);
	for (int i = 0; i < 10; i++) {
		const unsigned int cpus = 1u << i % 2;

		assert_int_equal(sim_housekeeping(cpus), 0);
		assert_settled(k, cpus);
		assert_int_equal(sim_kernel_mask(sim_task("kthread-monitor")), cpus);
	}
	assert_int_equal(kthread_housekeeping_set(0, NULL), 0);
	kthread_stop(k);
	assert_int_equal(kthread_fini(), 0);
}

/* The mask stands behind a line of any length: of all groups that a process can have. In a child. */
static int with_many_groups(void *arg)
{
	const size_t count = 65536;
	gid_t *groups = calloc(count, sizeof(*groups));
	struct kthread *k;

	for (size_t i = 0; i < count; i++)
		groups[i] = (gid_t)(1000000000u + i);
	if (setgroups(count, groups) != 0)
		return 77;
	free(groups);
	k = kthread_run_on_cpu(obedient, NULL, 1, "bound/%u");
	EXPECT(k);
	AWAIT(state_of(k) == KTHREAD_WAITING);
	EXPECT(sim_mask(k, KTHREAD_MASK_ACTUAL) == 2);
	EXPECT(kthread_stop(k) == 0);
	k = kthread_adopt("adopted"); /* the mask to be given back */
	EXPECT(k);
	EXPECT(kthread_unadopt(k) == 0);
	return kthread_fini();
}

struct sleeper {
	pid_t tid;
	struct kthread_completion ready, end;
};

static void *sleeps(void *arg)
{
	struct sleeper *sleeper = arg;

	sleeper->tid = gettid();
	kthread_complete(&sleeper->ready);
	AWAIT_DONE(&sleeper->end);
	return NULL;
}

/* A thread that /proc does not show any more, as there is none, has not ended. In a child. */
static int without_proc(void *arg)
{
	struct sleeper sleeper;
	struct kthread *adopted;
	pthread_t thread;
	struct kthread *k;
	cpu_set_t set;

	kthread_init_completion(&sleeper.ready);
	kthread_init_completion(&sleeper.end);
	EXPECT(pthread_create(&thread, NULL, sleeps, &sleeper) == 0);
	AWAIT_DONE(&sleeper.ready);
	adopted = kthread_adopt_tid(sleeper.tid, "adopted");
	EXPECT(adopted);
	k = kthread_run_on_cpu(obedient, NULL, 1, "bound/%u");
	EXPECT(k);
	AWAIT(state_of(k) == KTHREAD_WAITING);
	if (chroot("/sys") != 0)
		return 77;
	EXPECT(kthread_get_mask(k, KTHREAD_MASK_ACTUAL, sizeof(set), &set) == -ENOENT);
	EXPECT(kthread_bind(adopted, 1) == 0);
	EXPECT(sim_kernel_mask(kthread_tid(adopted)) == 2);
	EXPECT(!kthread_adopt("me") && errno == ENOENT);
	EXPECT(kthread_unadopt(adopted) == 0);
	kthread_complete(&sleeper.end);
	pthread_join(thread, NULL);
	EXPECT(kthread_stop(k) == 0);
	return kthread_fini();
}

static void in_a_child(int (*fn)(void *arg))
{
	int result;

	START(0);
	assert_int_equal(kthread_fini(), 0);
	result = in_child(fn, NULL);
	if (result == 77)
		skip(); /* not root */
	assert_int_equal(result, 0);
}

static void actual__behind_65536_groups(void **state)
{
	in_a_child(with_many_groups);
}

static void actual__without_proc(void **state)
{
	in_a_child(without_proc);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(bound__runs_where_it_is_bound),
	    cmocka_unit_test(each_wish__actual_is_effective),
	    cmocka_unit_test(lost__put_back_by_rescan),
	    cmocka_unit_test(lost__put_back_by_the_poll),
	    cmocka_unit_test(per_cpu__rebound_before_it_is_unparked),
	    cmocka_unit_test(kthread_create__the_creators_pin_is_not_inherited),
	    cmocka_unit_test(kthread_housekeeping_set__moves_the_monitor_too),
	    cmocka_unit_test(actual__behind_65536_groups),
	    cmocka_unit_test(actual__without_proc),
	};

	return cmocka_run_group_tests(tests, NULL, fini_finds_nothing);
}

/* SPDX-License-Identifier: MIT */
/*
 * The end of the library, and fork(), with steps registered and callbacks running.
 */
#include <pthread.h>

#include "probe.h"

#define ALL 0xffu

/* A child of ours starts threads, although there were some before the fork. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "die_after_fork=0:atexit_sleep_ms=0";
}

static void kthread_fini__with_steps_registered(void **state)
{
	for (int round = 0; round < 3; round++) {
		struct probe a = {.tag = "a"};
		struct probe b = {.tag = "b"};
		struct probe c = {.tag = "c"};

		sim_start(NULL);
		assert_true(probe_setup(&a, KTHREAD_CPUHP_PREPARE) > 0);
		assert_true(probe_setup(&b, KTHREAD_CPUHP_ONLINE) > 0);
		c.step = kthread_cpuhp_setup_multi(KTHREAD_CPUHP_ONLINE, "c", probe_up, probe_down);
		assert_int_equal(kthread_cpuhp_add_instance(c.step, &c), 0);
		assert_int_equal(kthread_cpu_down(3, 0), 0);
		probe_trace();
		sim_stop(); /* without a call */
		assert_trace("");
		sim_start(NULL);
		assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), ALL); /* nothing of it is left */
		assert_int_equal(kthread_cpuhp_remove(a.step), -EINVAL);
		sim_stop();
	}
}

static atomic_int ending, ended;

static void takes_its_time(struct probe *probe, char what, unsigned int cpu)
{
	if (what != '-' || cpu != 3)
		return;
	atomic_store(&ended, 0);
	atomic_store(&ending, 1);
	AWAIT(atomic_load(&ending) == 2);
	for (int i = 0; i < 200; i++)
		sched_yield();
	kthread_cpus_read_lock();
	kthread_cpus_read_unlock();
	atomic_store(&ended, 1);
}

static void kthread_fini__while_the_monitor_is_in_a_callback(void **state)
{
	for (int s = KTHREAD_CPUHP_PREPARE; s <= KTHREAD_CPUHP_ONLINE; s++) {
		struct kthread_config config = sim_config();
		struct probe a = {.tag = "a", .hook = takes_its_time};

		config.inotify = true;
		sim_start(&config);
		atomic_store(&ending, 0);
		assert_true(probe_setup(&a, s) > 0);
		sim_online(0xf7);
		AWAIT(atomic_load(&ending) == 1);
		atomic_store(&ending, 2);
		sim_stop();
		assert_int_equal(atomic_load(&ended), 1);
		probe_trace();
	}
}

/* ---- fork() ------------------------------------------------------------------------------------------------------ */

static int child(void *arg)
{
	const struct probe *parents = arg;
	struct kthread_config config = KTHREAD_CONFIG_INIT;
	cpu_set_t set;

	EXPECT(kthread_cpuhp_setup(KTHREAD_CPUHP_PREPARE, "b", NULL, NULL, NULL) == -ECHILD);
	EXPECT(kthread_cpuhp_setup_nocalls(KTHREAD_CPUHP_PREPARE, "b", NULL, NULL, NULL) == -ECHILD);
	EXPECT(kthread_cpuhp_setup_multi(KTHREAD_CPUHP_PREPARE, "b", NULL, NULL) == -ECHILD);
	EXPECT(kthread_cpuhp_remove(parents->step) == -ECHILD);
	EXPECT(kthread_cpuhp_remove_nocalls(parents->step) == -ECHILD);
	EXPECT(kthread_cpuhp_add_instance(parents->step, &set) == -ECHILD);
	EXPECT(kthread_cpuhp_remove_instance(parents->step, &set) == -ECHILD);
	EXPECT(kthread_cpuhp_cpus(parents->step, sizeof(set), &set) == -ECHILD);
	EXPECT(kthread_cpuhp_failures(parents->step) == -ECHILD);
	EXPECT(kthread_cpu_down(3, 0) == -ECHILD);
	EXPECT(kthread_cpu_up(3, 0) == -ECHILD);
	EXPECT(kthread_rescan() == -ECHILD);
	kthread_cpus_read_lock();
	EXPECT(kthread_cpus_read_trylock());
	kthread_cpus_read_unlock();
	kthread_cpus_read_unlock();
	config.root = sim.root;
	config.simulate = true;
	config.poll_ms = 0;
	config.inotify = config.uevents = false;
	EXPECT(kthread_init(&config) == 0);
#ifndef __SANITIZE_THREAD__ /* it takes a new thread of the child for one of its parent's */
	{
		struct probe a = {.tag = "a"};

		EXPECT(kthread_cpuhp_remove(parents->step) == -EINVAL);
		EXPECT(probe_setup(&a, KTHREAD_CPUHP_ONLINE) > 0);
		EXPECT(probe_cpus(a.step) == ALL);
		EXPECT(kthread_cpu_down(3, 0) == 0);
		EXPECT(probe_cpus(a.step) == (ALL & ~8u));
		EXPECT(kthread_cpuhp_remove(a.step) == 0);
	}
#endif
	EXPECT(kthread_fini() == 0);
	return 0;
}

static void fork__with_steps_registered(void **state)
{
	for (int down = 0; down < 2; down++) {
		for (int reader = 0; reader < 2; reader++) {
			struct probe a = {.tag = "a"};
			int result;

			sim_start(NULL);
			assert_true(probe_setup(&a, KTHREAD_CPUHP_ONLINE) > 0);
			if (down)
				assert_int_equal(kthread_cpu_down(3, 0), 0);
			sim_calm();
			if (reader) { /* it is in the list of those who have read */
				kthread_cpus_read_lock();
				kthread_cpus_read_unlock();
			}
			result = in_child(child, &a);
			assert_int_equal(result, 0);
			assert_int_equal(kthread_cpu_up(3, 0), 0);
			assert_int_equal(probe_cpus(a.step), ALL);
			assert_int_equal(kthread_cpuhp_remove(a.step), 0);
			probe_trace();
			sim_stop();
		}
	}
}

static struct kthread_completion inside, go;

static void holds_it_up(struct probe *probe, char what, unsigned int cpu)
{
	if (what != '-' || cpu != 3)
		return;
	kthread_complete(&inside);
	AWAIT_DONE(&go);
}

static void *gives_up_3(void *arg)
{
	CHECK(kthread_cpu_down(3, 0) == 0);
	return NULL;
}

/* Somebody is in a transition, which is not the child's: nothing there waits for its end. */
static int child_without_probes(void *arg)
{
	struct kthread_config config = KTHREAD_CONFIG_INIT;

	EXPECT(kthread_rescan() == -ECHILD);
	kthread_cpus_read_lock();
	kthread_cpus_read_unlock();
	config.root = sim.root;
	config.simulate = true;
	config.poll_ms = 0;
	config.inotify = config.uevents = false;
	EXPECT(kthread_init(&config) == 0);
	EXPECT(kthread_rescan() == 0);
#ifndef __SANITIZE_THREAD__
	{
		const int step = kthread_cpuhp_setup(KTHREAD_CPUHP_ONLINE, "a", NULL, NULL, NULL);

		EXPECT(step > 0);
		EXPECT(kthread_cpu_down(3, 0) == 0);
		EXPECT(kthread_cpuhp_remove(step) == 0);
	}
#endif
	EXPECT(kthread_fini() == 0);
	return 0;
}

static void fork__while_a_callback_runs(void **state)
{
	for (int s = KTHREAD_CPUHP_PREPARE; s <= KTHREAD_CPUHP_ONLINE; s++) {
		struct probe a = {.tag = "a", .hook = holds_it_up};
		pthread_t thread;

		sim_start(NULL);
		kthread_init_completion(&inside);
		kthread_init_completion(&go);
		assert_true(probe_setup(&a, s) > 0);
		assert_int_equal(pthread_create(&thread, NULL, gives_up_3, NULL), 0);
		AWAIT_DONE(&inside);
		assert_int_equal(in_child(child_without_probes, NULL), 0);
		kthread_complete(&go);
		pthread_join(thread, NULL);
		assert_int_equal(probe_cpus(a.step), ALL & ~8u);
		assert_int_equal(kthread_cpuhp_remove(a.step), 0);
		probe_trace();
		sim_stop();
	}
}

/* The child does not return from the callback; what it may call answers. */
static int child_in_a_callback(void *arg)
{
	cpu_set_t set;

	EXPECT(kthread_rescan() == -ECHILD);
	EXPECT(kthread_cpu_down(5, 0) == -ECHILD);
	EXPECT(kthread_cpuhp_cpus(1, sizeof(set), &set) == -ECHILD);
	EXPECT(kthread_cpus(KTHREAD_CPUS_USABLE, sizeof(set), &set) == -ECHILD);
	return 0;
}

static void forks(struct probe *probe, char what, unsigned int cpu)
{
	CHECK(in_child(child_in_a_callback, NULL) == 0);
}

static void fork__in_a_callback(void **state)
{
	for (int s = KTHREAD_CPUHP_PREPARE; s <= KTHREAD_CPUHP_ONLINE; s++) {
		struct probe a = {.tag = "a", .hook = forks};

		sim_start(NULL);
		assert_true(probe_setup(&a, s) > 0);
		assert_int_equal(kthread_cpu_down(3, 0), 0);
		probe_online(0xdf);
		assert_int_equal(probe_cpus(a.step), 0xd7);
		assert_int_equal(kthread_cpuhp_remove(a.step), 0);
		probe_trace();
		sim_stop();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(kthread_fini__with_steps_registered),
	    cmocka_unit_test(kthread_fini__while_the_monitor_is_in_a_callback),
	    cmocka_unit_test(fork__with_steps_registered),
	    cmocka_unit_test(fork__while_a_callback_runs),
	    cmocka_unit_test(fork__in_a_callback),
	};

	return cmocka_run_group_tests(tests, NULL, fini_finds_nothing);
}

/* SPDX-License-Identifier: MIT */
/*
 * The mask a process was started with limits it for good; one that a thread was given later does not. The program runs
 * itself under a narrowed mask.
 */
#include <pthread.h>

#include "sim.h"

static void narrow(unsigned int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	CHECK(sched_setaffinity(0, sizeof(set), &set) == 0);
}

/* In the child, started under taskset 1. */
static int is_cut(void)
{
	struct kthread *bound, *unbound;

	EXPECT(sim_cpus(KTHREAD_CPUS_ALLOWED) == 2);
	EXPECT(sim_cpus(KTHREAD_CPUS_USABLE) == 2);
	unbound = kthread_run(obedient, NULL, "unbound");
	bound = kthread_run_on_cpu(obedient, NULL, 0, "bound/%u");
	EXPECT(unbound && bound);
	AWAIT(state_of(unbound) == KTHREAD_WAITING && state_of(bound) == KTHREAD_WAITING);
	EXPECT(kthread_rescan() == 0);
	EXPECT(sim_mask(unbound, KTHREAD_MASK_ACTUAL) == 2);
	EXPECT(sim_mask(bound, KTHREAD_MASK_ACTUAL) == 2);
	EXPECT(kthread_is_broken(bound) && !kthread_is_broken(unbound));
	EXPECT(sim_housekeeping(1) == -EINVAL);
	EXPECT(kthread_stop(unbound) == 0);
	EXPECT(kthread_stop(bound) == 0);
	EXPECT(kthread_fini() == 0);
	EXPECT(sim_cpus(KTHREAD_CPUS_ALLOWED) == 2); /* also in its next life */
	return kthread_fini();
}

static void *first_call(void *arg)
{
	narrow(0);
	CHECK(kthread_init(NULL) == 0);
	return NULL;
}

/* In the child, started without: both the main thread and the one that starts the library pin themselves first. */
static int is_not_cut(void)
{
	struct kthread *k;
	pthread_t thread;

	narrow(1);
	EXPECT(pthread_create(&thread, NULL, first_call, NULL) == 0);
	pthread_join(thread, NULL);
	EXPECT((sim_cpus(KTHREAD_CPUS_ALLOWED) & 3) == 3);
	k = kthread_run(obedient, NULL, "unbound");
	AWAIT(state_of(k) == KTHREAD_WAITING);
	EXPECT((sim_mask(k, KTHREAD_MASK_ACTUAL) & 3) == 3);
	EXPECT(kthread_stop(k) == 0);
	return kthread_fini();
}

static int run_again(void *arg)
{
	char *const argv[] = {(char *)"startmask", arg, NULL};

	if (strcmp(arg, "cut") == 0)
		narrow(1);
	execv("/proc/self/exe", argv);
	return 99;
}

static void start_mask__taskset_cuts(void **state)
{
	if (!sim_two_cpus())
		skip();
	assert_int_equal(in_child(run_again, (void *)"cut"), 0);
}

static void start_mask__a_pin_of_ours_does_not(void **state)
{
	if (!sim_two_cpus())
		skip();
	assert_int_equal(in_child(run_again, (void *)"pinned"), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(start_mask__taskset_cuts),
	    cmocka_unit_test(start_mask__a_pin_of_ours_does_not),
	};

	if (argc > 1)
		return strcmp(argv[1], "cut") == 0 ? is_cut() : is_not_cut();
	return cmocka_run_group_tests(tests, NULL, NULL);
}

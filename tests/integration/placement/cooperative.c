/* SPDX-License-Identifier: MIT */
/*
 * CPUs that this process takes back itself, and steps that will not have them.
 */
#include <kthread/hotplug.h>

#include "sim.h"

#define MINE 0x08u

static struct {
	int calls;
	int error;   /* of the next calls for CPU 3 */
	int refuses; /* so many */
} step;

static int startup(unsigned int cpu, void *arg)
{
	if (cpu != 3)
		return 0;
	step.calls++;
	return step.refuses-- > 0 ? step.error : 0;
}

/* The startup that fails is called once, whatever it would say the next time; and the CPU stays given up. */
static void cpu_up__a_step_fails(void **state)
{
	int number;

	sim_start(NULL);
	number = kthread_cpuhp_setup(KTHREAD_CPUHP_PREPARE, "step", startup, NULL, NULL);
	assert_true(number > 0);
	assert_int_equal(kthread_cpu_down(3, 0), 0);
	step.error = -ESTALE;
	for (int again = 0; again < 2; again++) {
		step.refuses = 1;
		step.calls = 0;
		assert_int_equal(kthread_cpu_up(3, 0), -ESTALE);
		assert_int_equal(step.calls, 1);
		assert_false(sim_cpus(KTHREAD_CPUS_USABLE) & MINE);
		step.refuses = 0;
		assert_int_equal(kthread_rescan(), 0); /* it is not ours to take */
		assert_int_equal(step.calls, 1);
	}
	assert_int_equal(kthread_cpu_up(3, 0), 0);
	assert_int_equal(step.calls, 2);
	assert_true(sim_cpus(KTHREAD_CPUS_USABLE) & MINE);
	/* Having gone and come, it is used as any other: nothing of the failure is left. */
	sim_online(0xf7);
	assert_int_equal(kthread_rescan(), 0);
	sim_online(0xff);
	assert_int_equal(kthread_rescan(), 0);
	assert_int_equal(step.calls, 3);
	assert_true(sim_cpus(KTHREAD_CPUS_USABLE) & MINE);
	assert_int_equal(kthread_cpuhp_remove(number), 0);
	sim_stop();
}

/* The same where nobody had given it up: a step had refused it when it came, and does so again. */
static void cpu_up__a_step_fails_that_had_failed(void **state)
{
	int number;

	sim_start(NULL);
	number = kthread_cpuhp_setup(KTHREAD_CPUHP_PREPARE, "step", startup, NULL, NULL);
	assert_true(number > 0);
	step.error = -ESTALE;
	sim_online(0xf7);
	assert_int_equal(kthread_rescan(), 0);
	step.refuses = 2;
	step.calls = 0;
	sim_online(0xff);
	assert_int_equal(kthread_rescan(), 0);
	assert_int_equal(step.calls, 1);
	assert_int_equal(kthread_cpu_up(3, 0), -ESTALE);
	assert_int_equal(step.calls, 2);
	assert_int_equal(kthread_rescan(), 0);
	assert_int_equal(step.calls, 2);
	assert_false(sim_cpus(KTHREAD_CPUS_USABLE) & MINE);
	assert_int_equal(kthread_cpu_up(3, 0), 0);
	assert_int_equal(step.calls, 3);
	assert_true(sim_cpus(KTHREAD_CPUS_USABLE) & MINE);
	assert_int_equal(kthread_cpuhp_remove(number), 0);
	sim_stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(cpu_up__a_step_fails),
	    cmocka_unit_test(cpu_up__a_step_fails_that_had_failed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

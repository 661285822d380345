/* SPDX-License-Identifier: MIT */
/*
 * The clean environment: signals, policy, nice value and CPU mask of a new thread are not its creator's.
 */
#include <sys/resource.h>

#include "await.h"

struct seen {
	sigset_t blocked;
	int policy;
	int nice;
	cpu_set_t mask;
};

static int look(void *data)
{
	struct seen *seen = data;

	CHECK(pthread_sigmask(SIG_SETMASK, NULL, &seen->blocked) == 0);
	seen->policy = sched_getscheduler(0);
	seen->nice = getpriority(PRIO_PROCESS, 0);
	CHECK(sched_getaffinity(0, sizeof(seen->mask), &seen->mask) == 0);
	return 0;
}

static void *create_and_look(void *arg)
{
	struct kthread *k = kthread_run(look, arg, "looks");

	CHECK(k != NULL);
	AWAIT(task_gone(kthread_tid(k)));
	CHECK(kthread_stop(k) == 0);
	return NULL;
}

static cpu_set_t expected_mask(void)
{
	cpu_set_t housekeeping;
	cpu_set_t usable;
	cpu_set_t both;

	assert_int_equal(kthread_cpus(KTHREAD_CPUS_HOUSEKEEPING, sizeof(housekeeping), &housekeeping), 0);
	assert_int_equal(kthread_cpus(KTHREAD_CPUS_USABLE, sizeof(usable), &usable), 0);
	CPU_AND(&both, &housekeeping, &usable);
	return CPU_COUNT(&both) ? both : usable;
}

static void assert_clean(const struct seen *seen)
{
	const cpu_set_t mask = expected_mask();

	for (int number = 1; number <= SIGRTMAX; number++) {
		/* 32 and 33 are the C library's own */
		if (number == SIGKILL || number == SIGSTOP || (number > 31 && number < SIGRTMIN))
			continue;
		if (sigismember(&seen->blocked, number) != 1)
			fail_msg("signal %d is not blocked", number);
	}
	assert_int_equal(seen->policy, SCHED_OTHER);
	assert_int_equal(seen->nice, 0);
	assert_true(CPU_EQUAL(&seen->mask, &mask));
}

/* Each of these spoils a thread that then creates a kthread. */
static void *niced(void *arg)
{
	CHECK(setpriority(PRIO_PROCESS, 0, 7) == 0);
	return create_and_look(arg);
}

static void *batch(void *arg)
{
	const struct sched_param param = {0};

	CHECK(sched_setscheduler(0, SCHED_BATCH, &param) == 0);
	return create_and_look(arg);
}

static void *pinned(void *arg)
{
	const cpu_set_t all = expected_mask();
	cpu_set_t one;

	CPU_ZERO(&one);
	for (size_t cpu = CPU_SETSIZE; cpu-- > 0;) {
		if (CPU_ISSET(cpu, &all)) {
			CPU_SET(cpu, &one);
			break;
		}
	}
	CHECK(sched_setaffinity(0, sizeof(one), &one) == 0);
	return create_and_look(arg);
}

static void *signals_open(void *arg)
{
	sigset_t none;

	sigemptyset(&none);
	CHECK(pthread_sigmask(SIG_SETMASK, &none, NULL) == 0);
	create_and_look(arg);
	CHECK(pthread_sigmask(SIG_SETMASK, NULL, &none) == 0);
	for (int number = 1; number < 32; number++)
		CHECK(sigismember(&none, number) == 0); /* nor has the creator's own mask changed */
	return NULL;
}

static void *real_time(void *arg)
{
	const struct sched_param param = {.sched_priority = 1};

	if (sched_setscheduler(0, SCHED_RR, &param) != 0)
		return arg;
	return create_and_look(arg);
}

static void assert_clean_from(void *(*creator)(void *))
{
	struct seen seen;
	pthread_t thread;
	void *skipped;

	assert_int_equal(pthread_create(&thread, NULL, creator, &seen), 0);
	assert_int_equal(pthread_join(thread, &skipped), 0);
	if (skipped)
		skip();
	assert_clean(&seen);
}

static void kthread_create__creator_has_signals_open(void **state)
{
	assert_clean_from(signals_open);
}

static void kthread_create__creator_is_niced(void **state)
{
	if (geteuid() != 0)
		skip(); /* without the right to, it keeps that nice value: see attr.c */
	assert_clean_from(niced);
}

static void kthread_create__creator_is_batch(void **state)
{
	assert_clean_from(batch);
}

static void kthread_create__creator_is_pinned(void **state)
{
	assert_clean_from(pinned);
}

static void kthread_create__creator_is_real_time(void **state)
{
	assert_clean_from(real_time);
}

static int creates(void *data)
{
	const struct sched_param param = {0};

	CHECK(sched_setscheduler(0, SCHED_BATCH, &param) == 0);
	create_and_look(data);
	return 0;
}

static void kthread_create__creator_is_a_bound_kthread(void **state)
{
	struct seen seen;
	struct kthread *k = kthread_run_on_cpu(creates, &seen, 0, "bound/%u");

	AWAIT(task_gone(kthread_tid(k)));
	assert_int_equal(kthread_stop(k), 0);
	assert_clean(&seen);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(kthread_create__creator_has_signals_open),
	    cmocka_unit_test(kthread_create__creator_is_niced),
	    cmocka_unit_test(kthread_create__creator_is_batch),
	    cmocka_unit_test(kthread_create__creator_is_pinned),
	    cmocka_unit_test(kthread_create__creator_is_real_time),
	    cmocka_unit_test(kthread_create__creator_is_a_bound_kthread),
	};

	return cmocka_run_group_tests(tests, NULL, fini_finds_nothing);
}

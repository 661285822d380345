/* SPDX-License-Identifier: MIT */
/*
 * Somebody is held up in the midst of a call: a producer between his work's arrival in the queue and the wake of the worker,
 * who sleeps; and a worker who has been woken, and does not get to run.
 */
#include "probe.h"

#include "works.h"

#include <linux/futex.h>
#include <stdarg.h>
#include <sys/syscall.h>

static atomic_bool hold;
static struct kthread_completion arrived = KTHREAD_COMPLETION_INIT;
static struct kthread_completion go = KTHREAD_COMPLETION_INIT;

bool __real_kthread_wake(struct kthread *k);

bool __wrap_kthread_wake(struct kthread *k)
{
	if (atomic_exchange(&hold, false)) {
		kthread_complete(&arrived);
		AWAIT_DONE(&go);
	}
	return __real_kthread_wake(k);
}

static _Atomic pid_t stuck; /* comes back from its next sleep only when it may go */

long __real_syscall(long number, ...);

long __wrap_syscall(long number, ...)
{
	va_list list;
	long args[6];
	long result;
	pid_t tid = gettid();

	va_start(list, number);
	for (int i = 0; i < 6; i++)
		args[i] = va_arg(list, long);
	va_end(list);
	result = __real_syscall(number, args[0], args[1], args[2], args[3], args[4], args[5]);
	if (number == SYS_futex && (args[1] & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET &&
	    atomic_compare_exchange_strong(&stuck, &tid, 0)) {
		const int error = errno;

		kthread_complete(&arrived);
		AWAIT_DONE(&go);
		errno = error;
	}
	return result;
}

static int start(void **state)
{
	sim_start(NULL);
	return 0;
}

static int stop(void **state)
{
	sim_stop();
	return 0;
}

struct queueing {
	struct kthread_worker *w;
	struct kthread_work *work;
};

static intptr_t queue(void *arg)
{
	struct queueing *queueing = arg;

	return kthread_queue_work(queueing->w, queueing->work);
}

/* Parked where it sleeps, it would leave the work behind. */
static void per_cpu__asleep_runs_what_nobody_has_woken_it_for(void **state)
{
	struct kthread_worker *w = kthread_run_worker_on_cpu(3, KTHREAD_WORKER_PER_CPU, "on/%u");
	struct gated gated;
	struct queueing queueing = {w, &gated.dwork.work};
	struct call producer;

	free_init(&gated);
	for (int i = 0; i < 20; i++) {
		await_waiting(kthread_worker_thread(w));
		atomic_store(&hold, true);
		call_begin(&producer, queue, &queueing);
		AWAIT_DONE(&arrived);
		assert_int_equal(kthread_cpu_down(3, 0), 0);
		assert_int_equal(gated.runs, i + 1);
		kthread_complete(&go);
		assert_true(call_end(&producer));
		assert_int_equal(kthread_cpu_up(3, 0), 0);
	}
	kthread_destroy_worker(w);
}

static intptr_t call_down(void *cpu)
{
	return kthread_cpu_down((unsigned int)(uintptr_t)cpu, 0);
}

/* It went from one park into the next, though it had been given a work between the two. */
static void per_cpu__parked_again_before_it_got_to_run(void **state)
{
	struct kthread_worker *w = kthread_run_worker_on_cpu(3, KTHREAD_WORKER_PER_CPU, "on/%u");
	const pid_t tid = kthread_tid(kthread_worker_thread(w));
	struct gated gated;
	struct call down;

	free_init(&gated);
	for (int i = 0; i < 20; i++) {
		await_waiting(kthread_worker_thread(w));
		assert_int_equal(kthread_cpu_down(3, 0), 0);
		await_settled(tid);
		atomic_store(&stuck, tid);
		assert_int_equal(kthread_cpu_up(3, 0), 0);
		AWAIT_DONE(&arrived);
		assert_true(kthread_queue_work(w, &gated.dwork.work));
		call_begin(&down, call_down, (void *)3);
		call_blocks(&down);
		kthread_complete(&go);
		assert_int_equal(call_end(&down), 0);
		assert_int_equal(gated.runs, i + 1);
		assert_int_equal(state_of(kthread_worker_thread(w)), KTHREAD_PARKED);
		assert_int_equal(kthread_cpu_up(3, 0), 0);
	}
	kthread_destroy_worker(w);
}

/* A child of fork() has the memory of its parent's workers, whose wakes nobody there will take note of: to destroy a new
 * worker, which gets that memory, waited for them. */
#ifndef __SANITIZE_THREAD__ /* no threads after fork() there */
static int destroys_twice(void *arg)
{
	struct kthread_worker *w = arg;
	struct gated gated;

	kthread_destroy_worker(w);
	EXPECT(kthread_init(NULL) == 0);
	EXPECT(kthread_run_worker(0, "child's") == w); /* the same memory */
	free_init(&gated);
	EXPECT(kthread_queue_work(w, &gated.dwork.work));
	kthread_destroy_worker(w);
	EXPECT(gated.runs == 1);
	return kthread_fini();
}

static void fork__while_a_worker_is_being_woken(void **state)
{
	struct kthread_worker *w = kthread_run_worker(0, "parent's");
	struct gated gated;

	free_init(&gated);
	await_waiting(kthread_worker_thread(w));
	await_settled(kthread_tid(kthread_worker_thread(w)));
	atomic_store(&stuck, kthread_tid(kthread_worker_thread(w)));
	assert_true(kthread_queue_work(w, &gated.dwork.work));
	AWAIT_DONE(&arrived);
	assert_int_equal(in_child(destroys_twice, w), 0);
	kthread_complete(&go);
	kthread_destroy_worker(w);
	assert_int_equal(gated.runs, 1);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(per_cpu__asleep_runs_what_nobody_has_woken_it_for, start, stop),
	    cmocka_unit_test_setup_teardown(per_cpu__parked_again_before_it_got_to_run, start, stop),
#ifndef __SANITIZE_THREAD__
	    cmocka_unit_test_setup_teardown(fork__while_a_worker_is_being_woken, start, stop),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

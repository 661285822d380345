/* SPDX-License-Identifier: MIT */
/*
 * A producer that is held up between his work's arrival in the queue and the wake of the worker, who sleeps.
 */
#include "probe.h"

#include "works.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(per_cpu__asleep_runs_what_nobody_has_woken_it_for, start, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

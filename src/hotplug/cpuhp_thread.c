/* SPDX-License-Identifier: MIT */
#include "hotplug/cpuhp_thread.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "machine/cpumask.h"
#include "placement/placement.h"
#include "thread/standstill.h"

/* Used by one transition at a time. */
static struct cpuhp {
	struct kthread *thread;
	cpu_set_t *mask; /* of the wish */
	int (*_Atomic fn)(
	    void *arg); /* NULL = nothing to do; its store hands over arg, and the completion the result */
	void *arg;
	int result;
	struct kt_kept messages;
	struct kthread_completion done;
} cpuhp;

static int cpuhp_fn(void *data)
{
	struct cpuhp *self = data;

	while (!kthread_should_stop()) {
		int (*fn)(void *arg);

		kthread_wait();
		fn = atomic_exchange_explicit(&self->fn, NULL, memory_order_acquire);
		if (!fn)
			continue;
		kt_transition_join();
		self->result = fn(self->arg);
		kt_transition_leave(&self->messages);
		kthread_complete(&self->done);
	}
	return 0;
}

int kt_cpuhp_thread_start(void)
{
	struct kt_view *view;
	int error = 0;

	if (cpuhp.thread)
		return 0;
	view = kt_view_get();
	cpuhp.mask = malloc(view->setsize);
	kt_view_put(view);
	cpuhp.thread = cpuhp.mask ? kt_thread_spawn(KT_INTERNAL, cpuhp_fn, &cpuhp, "cpuhp") : NULL;
	if (!cpuhp.thread) {
		error = cpuhp.mask ? -errno : -ENOMEM;
		free(cpuhp.mask);
		cpuhp.mask = NULL;
		return error;
	}
	kthread_init_completion(&cpuhp.done);
	kthread_wake(cpuhp.thread);
	return 0;
}

static void forget(void)
{
	cpuhp.thread = NULL;
	atomic_store_explicit(&cpuhp.fn, NULL, memory_order_relaxed); /* in a child: a job that had not been taken up */
	cpuhp.messages.first = NULL;
	free(cpuhp.mask);
	cpuhp.mask = NULL;
}

/* The handle stays: a fork() may come at any moment. */
void kt_cpuhp_thread_quiet(void)
{
	if (cpuhp.thread)
		kthread_stop(kthread_get(cpuhp.thread));
}

void kt_cpuhp_thread_stop(void)
{
	if (cpuhp.thread)
		kthread_stop(cpuhp.thread);
	forget();
}

void kt_cpuhp_thread_forked(void)
{
	kthread_put(cpuhp.thread);
	forget();
}

/* sysfs calls a CPU online a moment before the scheduler takes threads there, which it refuses until then. */
#define COMES_NS (KT_NS_PER_S / 10)

static bool refused(void)
{
	struct kt_place_report report;

	return kt_place_report(cpuhp.thread, &report, NULL) && report.last_error == EINVAL;
}

static void insist(void)
{
	const uint64_t deadline = kt_deadline(COMES_NS);
	const struct timespec pause = kt_timespec(KT_NS_PER_MS / 10);

	while (refused() && kt_now() < deadline) {
		nanosleep(&pause, NULL);
		kt_place_born(cpuhp.thread, KTHREAD_REASON_NONE);
	}
}

/* Not an allocation of its own: without memory for the group it stays where it is. */
static void go_to(unsigned int cpu)
{
	struct kt_wish wish = {.kind = KTHREAD_WISH_BOUND, .number = KTHREAD_NO_NODE, .mask = cpuhp.mask};
	struct kt_view *view = kt_view_get();
	const bool usable = kt_cpus_test(view->setsize, view->set[KT_USABLE], cpu);

	kt_cpus_zero(view->setsize, cpuhp.mask);
	kt_cpus_add(view->setsize, cpuhp.mask, cpu);
	kt_view_put(view);
	if (usable && kt_place_wish(cpuhp.thread, &wish) == 0)
		insist();
}

/* It must not hold the CPU's last thread when that goes. */
static void come_back(void)
{
	const struct kt_wish none = {.kind = KTHREAD_WISH_NONE, .number = KTHREAD_NO_NODE};

	kt_place_wish(cpuhp.thread, &none);
}

int kt_cpuhp_thread_run(unsigned int cpu, int (*fn)(void *arg), void *arg)
{
	go_to(cpu);
	cpuhp.arg = arg;
	atomic_store_explicit(&cpuhp.fn, fn, memory_order_release);
	kthread_wake(cpuhp.thread);
	kthread_wait_for_completion(&cpuhp.done);
	kt_log_give(&cpuhp.messages);
	come_back();
	return cpuhp.result;
}

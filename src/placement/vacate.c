/* SPDX-License-Identifier: MIT */
/*
 * A CPU is to be given up while it is still there: those who may run nowhere else park on it first. What moves is moved
 * by the look that follows.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#include "base/log.h"
#include "machine/cpumask.h"
#include "placement/placement.h"

/* The CPU that is being vacated; -1 = none. Written in a transition; who is placed meanwhile finds it under its place's
 * lock, or is found by the walk over all threads that follows the store. */
static atomic_int leaving = -1;

#define SELF_PLACING_NS KT_NS_PER_S /* for a thread that nobody else may move to get round to it */

bool kt_place_parks(const struct kt_place *place, const struct kt_group *group)
{
	const struct kthread *k = place->thread;

	if (k->kind != KT_KTHREAD)
		return false;
	return group->wish.kind == KTHREAD_WISH_PER_CPU ||
	       (group->wish.kind == KTHREAD_WISH_BOUND &&
	        atomic_load_explicit(&k->looks_at_its_cpu, memory_order_relaxed));
}

static bool bound_to_alone(const struct kt_group *group, unsigned int cpu)
{
	return !group->broken && kt_cpus_next(group->setsize, group->effective, 0) == (int)cpu &&
	       kt_cpus_last(group->setsize, group->effective) == (int)cpu;
}

bool kt_place_leaves(const struct kt_place *place, const struct kt_group *group)
{
	const int cpu = atomic_load_explicit(&leaving, memory_order_seq_cst);

	return cpu >= 0 && kt_place_parks(place, group) && bound_to_alone(group, (unsigned int)cpu);
}

int kt_place_may_vacate(unsigned int cpu)
{
	const struct kthread *self = kthread_self();
	struct kt_place *place = self ? kt_place_lock(self) : NULL;
	int error = 0;

	if (!place)
		return 0;
	if (kt_place_parks(place, place->group) && bound_to_alone(place->group, cpu))
		error = -EDEADLK;
	kt_place_unlock(place);
	return error;
}

static bool leaves(const struct kthread *k)
{
	struct kt_place *place = kt_place_lock(k);
	const bool is_one = place && kt_place_leaves(place, place->group);

	if (place)
		kt_place_unlock(place);
	return is_one;
}

void kt_place_vacate_forked(void)
{
	atomic_store_explicit(&leaving, -1, memory_order_relaxed);
}

/* Unless its CPU has gone indeed. */
static void resume(struct kthread *k)
{
	kt_lock(&kt_placement_lock);
	if (k->place && !k->place->group->broken)
		kt_place_settle(k->place);
	kt_unlock(&kt_placement_lock);
}

void kt_place_vacate(unsigned int cpu, uint64_t deadline)
{
	struct kthread *k = NULL;

	atomic_store_explicit(&leaving, (int)cpu, memory_order_seq_cst);
	while ((k = kt_registry_next(k))) {
		if (leaves(k))
			kt_thread_park_for_cpu(k);
	}
	/* Not for those who have lost another CPU. */
	while ((k = kt_registry_next(k))) {
		if (k != kthread_self() && leaves(k) && !kt_thread_await_parked_for_cpu(k, deadline))
			kt_log(NOT_PARKED, "%s: does not park, though CPU %u is being given up", k->name, cpu);
	}
}

void kt_place_vacated(void)
{
	struct kthread *k = NULL;

	atomic_store_explicit(&leaving, -1, memory_order_seq_cst);
	while ((k = kt_registry_next(k))) {
		if (kt_word(&k->word) & W_PARK_CPU)
			resume(k);
	}
}

/* Whether the kernel lets it run there. */
static bool may_run_on(pid_t tid, unsigned int cpu, size_t setsize, cpu_set_t *work)
{
	kt_cpus_zero(setsize, work); /* the kernel writes no more than it has CPUs for */
	return sched_getaffinity(tid, setsize, work) == 0 && kt_cpus_test(setsize, work, cpu);
}

/* Those whom nobody else may move do it themselves, at their next call into the library. */
static bool leaves_in_time(struct kthread *k, unsigned int cpu, size_t setsize, cpu_set_t *work)
{
	const uint64_t deadline = kt_deadline(SELF_PLACING_NS);
	const pid_t tid = kt_thread_tid(k);

	while (may_run_on(tid, cpu, setsize, work)) {
		const struct timespec pause = kt_timespec(KT_NS_PER_MS / 10);

		if (kt_now() >= deadline)
			return false;
		kt_place_born(k, KTHREAD_REASON_NONE); /* again: somebody may have set its mask meanwhile */
		nanosleep(&pause, NULL);
	}
	return true;
}

int kt_place_has_left(unsigned int cpu)
{
	struct kt_view *view;
	struct kthread *k = NULL;
	cpu_set_t *work;
	int error = 0;

	if (kt_config()->simulate)
		return 0;
	view = kt_view_get();
	work = malloc(view->setsize);
	while (work && !error && (k = kt_registry_next(k))) {
		const pid_t tid = kt_thread_tid(k); /* one that is being made has its maker's mask: wait for it */

		if (tid < 0 || kt_word(&k->word) & W_EXITED || !may_run_on(tid, cpu, view->setsize, work))
			continue;
		if (!leaves_in_time(k, cpu, view->setsize, work) && !(kt_word(&k->word) & W_EXITED)) {
			kt_log(NOT_MOVED, "%s: cannot be moved off CPU %u", k->name, cpu);
			kthread_put(k);
			error = -EPERM;
		}
	}
	free(work);
	kt_view_put(view);
	return work ? error : -ENOMEM;
}

/* SPDX-License-Identifier: MIT */
/*
 * Looking at the machine, and what the public calls tell of it. Also the room's part in the library's life.
 */
#include <errno.h>
#include <kthread/placement.h>
#include <limits.h>
#include <stdlib.h>

#include "base/log.h"
#include "machine/cpumask.h"
#include "machine/topology.h"
#include "placement/placement.h"
#include "thread/standstill.h"

pthread_mutex_t kt_look_lock = PTHREAD_MUTEX_INITIALIZER;

/* True once somebody looks at the machine without being asked. */
static atomic_bool watched;

/* ---- looking ---------------------------------------------------------------------------------------------------- */

static bool renew_topology(void)
{
	struct kt_view *view = kt_view_get();
	const bool changed = kt_topology_renew(view);

	kt_view_put(view);
	return changed;
}

int kt_placement_look(enum kt_doubt doubt, const cpu_set_t *touched, bool *ret_settled)
{
	bool changed = false;
	int error;
	int place_error;

	kt_lock(&kt_look_lock);
	error = doubt == KT_DOUBT_TOUCHED ? kt_view_renew_briefly(&changed) : kt_view_renew(&changed);
	changed |= renew_topology();
	place_error = kt_place_all(doubt, touched, changed, KTHREAD_REASON_CPUS, ret_settled);
	kt_unlock(&kt_look_lock);
	return error ? error : place_error;
}

int kt_placement_admit(const cpu_set_t *admitted, bool cooperative, bool *ret_settled)
{
	bool changed = false;
	int error;
	int place_error = 0;

	kt_lock(&kt_look_lock);
	error = kt_view_renew_admitted(admitted, cooperative, &changed);
	if (changed)
		place_error = kt_place_all(KT_DOUBT_NONE, NULL, true, KTHREAD_REASON_CPUS, ret_settled);
	kt_unlock(&kt_look_lock);
	return error ? error : place_error;
}

static int set_housekeeping(size_t setsize, const cpu_set_t *set)
{
	bool changed = false;
	bool looked = false;
	int error = 0;
	int place_error;
	bool settled;

	kt_lock(&kt_look_lock);
	if (!atomic_load_explicit(&watched, memory_order_relaxed))
		error = kt_view_renew(&looked);
	if (!error)
		error = kt_view_renew_housekeeping(setsize, set, &changed);
	if ((!error && changed) || looked) { /* what was seen has to be acted on, even if the mask is refused */
		renew_topology();
		place_error = kt_place_all(KT_DOUBT_NONE, NULL, true, KTHREAD_REASON_HOUSEKEEPING, &settled);
		error = error ? error : place_error;
	}
	kt_unlock(&kt_look_lock);
	return error;
}

int kthread_housekeeping_set(size_t setsize, const cpu_set_t *set)
{
	int error = kt_library_up();

	if (!error && !set && setsize > 0)
		error = -EINVAL;
	if (!error)
		error = kt_transition_begin(KT_NEVER);
	if (error)
		return error;
	error = set_housekeeping(setsize, set);
	kt_transition_end();
	return error;
}

/* ---- telling ---------------------------------------------------------------------------------------------------- */

/* The current view with a reference, looked up anew as long as nobody watches. NULL and *ret_error. */
static struct kt_view *current_view(int *ret_error)
{
	bool settled;

	*ret_error = kt_library_up();
	if (*ret_error)
		return NULL;
	if (!atomic_load_explicit(&watched, memory_order_relaxed) && kt_transition_try() == 0) {
		kt_placement_look(KT_DOUBT_NONE, NULL, &settled); /* for want of memory: the view we have */
		kt_transition_end();
	}
	return kt_view_get();
}

int kthread_cpus(enum kthread_cpus which, size_t setsize, cpu_set_t *set)
{
	static const enum kt_set sets[] = {
	    [KTHREAD_CPUS_POSSIBLE] = KT_POSSIBLE, [KTHREAD_CPUS_PRESENT] = KT_PRESENT,
	    [KTHREAD_CPUS_ONLINE] = KT_ONLINE,     [KTHREAD_CPUS_ALLOWED] = KT_ALLOWED,
	    [KTHREAD_CPUS_USABLE] = KT_USABLE,     [KTHREAD_CPUS_HOUSEKEEPING] = KT_HOUSEKEEPING,
	    [KTHREAD_CPUS_ISOLATED] = KT_ISOLATED,
	};
	struct kt_view *view;
	int error;

	if ((unsigned int)which >= sizeof(sets) / sizeof(sets[0]))
		return -EINVAL;
	view = current_view(&error);
	if (!view)
		return error;
	error = kt_copy_out(view->setsize, view->set[sets[which]], setsize, set);
	kt_view_put(view);
	return error;
}

int kthread_node_cpus(int node, size_t setsize, cpu_set_t *set)
{
	cpu_set_t *cpus;
	int error;
	struct kt_view *view = current_view(&error);

	if (!view)
		return error;
	cpus = calloc(1, view->setsize);
	error = cpus ? kt_topology_node_cpus(view, node, cpus) : -ENOMEM;
	if (!error)
		error = kt_copy_out(view->setsize, cpus, setsize, set);
	free(cpus);
	kt_view_put(view);
	return error;
}

int kthread_cpu_node(unsigned int cpu)
{
	int node;
	struct kt_view *view = current_view(&node);

	if (!view)
		return node;
	if (cpu > INT_MAX || !kt_cpus_test(view->setsize, view->set[KT_POSSIBLE], cpu))
		node = -EINVAL;
	else
		node = kt_topology_cpu_node(view, cpu);
	kt_view_put(view);
	return node;
}

size_t kthread_setsize(void)
{
	struct kt_view *view;
	size_t setsize;

	if (kt_library_up() != 0)
		return 0;
	view = kt_view_get();
	setsize = view->setsize;
	kt_view_put(view);
	return setsize;
}

uint64_t kthread_generation(void)
{
	int error;
	struct kt_view *view = current_view(&error);
	uint64_t generation;

	if (!view)
		return 0;
	generation = view->generation;
	kt_view_put(view);
	return generation;
}

/* ---- the library's life ----------------------------------------------------------------------------------------- */

static int start(void)
{
	kt_thread_hook(&kt_placement_hooks);
	return 0;
}

void kt_placement_watched(void)
{
	atomic_store_explicit(&watched, true, memory_order_relaxed);
}

static void stop(void)
{
	atomic_store_explicit(&watched, false, memory_order_relaxed);
}

static void fork_prepare(void)
{
	kt_lock(&kt_adopt_lock);
	kt_lock(&kt_look_lock);
	kt_lock(&kt_placement_lock);
}

static void fork_parent(void)
{
	kt_unlock(&kt_placement_lock);
	kt_unlock(&kt_look_lock);
	kt_unlock(&kt_adopt_lock);
}

/* The threads are not here. Who held a place's lock in the parent is not, either. */
static void fork_child(void)
{
	struct kt_group *group;

	kt_place_vacate_forked();
	while ((group = LIST_FIRST(&kt_groups))) {
		group->users++;
		while (!TAILQ_EMPTY(&group->members)) {
			struct kt_place *place = TAILQ_FIRST(&group->members);

			place->thread->place = NULL;
			kt_group_leave(place);
			free(place->came_with);
		}
		group->users = 1; /* somebody in the parent may have been working on it */
		kt_group_put(group);
	}
	atomic_store_explicit(&watched, false, memory_order_relaxed);
	fork_parent();
}

const struct kt_room kt_placement_room = {
    .name = "placement",
    .start = start,
    .stop = stop,
    .fork_prepare = fork_prepare,
    .fork_parent = fork_parent,
    .fork_child = fork_child,
};

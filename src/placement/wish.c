/* SPDX-License-Identifier: MIT */
/*
 * The public calls that give a thread its place, and those that tell it.
 */
#include <errno.h>
#include <kthread/placement.h>
#include <limits.h>
#include <stdlib.h>

#include "base/log.h"
#include "machine/cpumask.h"
#include "machine/topology.h"
#include "placement/placement.h"

/* ---- masks across the border ------------------------------------------------------------------------------------ */

/* Not CPU_ISSET_S(), which reads whole words: the caller's set may end within one. */
static bool bit(size_t setsize, const cpu_set_t *set, size_t cpu)
{
	const size_t at = cpu / KT_LONG_BITS * sizeof(unsigned long);
	const size_t left = setsize - at;
	unsigned long word = 0;

	memcpy(&word, (const char *)set + at, left < sizeof(word) ? left : sizeof(word));
	return word >> cpu % KT_LONG_BITS & 1;
}

cpu_set_t *kt_wish_mask(const struct kt_view *view, size_t setsize, const cpu_set_t *set)
{
	cpu_set_t *mask = calloc(1, view->setsize);
	bool any = false;

	if (!mask) {
		errno = ENOMEM;
		return NULL;
	}
	for (size_t cpu = 0; set && cpu < setsize * CHAR_BIT; cpu++) {
		if (!bit(setsize, set, cpu))
			continue;
		if (cpu > INT_MAX || !kt_cpus_test(view->setsize, view->set[KT_POSSIBLE], (unsigned int)cpu)) {
			any = false;
			break;
		}
		kt_cpus_add(view->setsize, mask, (unsigned int)cpu);
		any = true;
	}
	if (any)
		return mask;
	free(mask);
	errno = EINVAL;
	return NULL;
}

int kt_copy_out(size_t have, const cpu_set_t *from, size_t setsize, cpu_set_t *to)
{
	if (!to || setsize < have)
		return -EINVAL;
	memset(to, 0, setsize);
	memcpy(to, from, have);
	return 0;
}

/* ---- wishes ----------------------------------------------------------------------------------------------------- */

static int wish_mask(struct kthread *k, enum kthread_wish kind, int number, size_t setsize, const cpu_set_t *set)
{
	struct kt_wish wish = {.kind = kind, .number = number};
	int error = kt_handle(k);
	struct kt_view *view;
	cpu_set_t *mask;

	if (!error)
		error = kt_library_up();
	if (error)
		return error;
	view = kt_view_get();
	mask = kt_wish_mask(view, setsize, set);
	error = mask ? 0 : -errno;
	kt_view_put(view);
	wish.mask = mask;
	if (!error)
		error = kt_place_wish(k, &wish);
	free(mask);
	return error;
}

static int wish_cpu(struct kthread *k, enum kthread_wish kind, int number, unsigned int cpu)
{
	const size_t possible = kt_handle(k) == 0 ? kthread_setsize() : 0;
	const size_t setsize = cpu / CHAR_BIT < possible ? kt_cpus_size(cpu + 1) : 0; /* else not worth a set */
	cpu_set_t *set = setsize ? calloc(1, setsize) : NULL;
	int error = kt_handle(k);

	if (!set)
		return error ? error : setsize ? -ENOMEM : -EINVAL;
	kt_cpus_add(setsize, set, cpu);
	error = wish_mask(k, kind, number, setsize, set);
	free(set);
	return error;
}

int kthread_bind(struct kthread *k, unsigned int cpu)
{
	return wish_cpu(k, KTHREAD_WISH_BOUND, KTHREAD_NO_NODE, cpu);
}

int kthread_bind_mask(struct kthread *k, size_t setsize, const cpu_set_t *set)
{
	return wish_mask(k, KTHREAD_WISH_BOUND, KTHREAD_NO_NODE, setsize, set);
}

int kthread_affine_preferred(struct kthread *k, size_t setsize, const cpu_set_t *set)
{
	return wish_mask(k, KTHREAD_WISH_PREFERRED, KTHREAD_NO_NODE, setsize, set);
}

int kthread_affine_node(struct kthread *k, int node)
{
	const struct kt_wish wish = {.kind = KTHREAD_WISH_NODE, .number = node};
	int error = kt_handle(k);

	if (!error)
		error = kt_library_up();
	if (!error)
		error = kt_topology_node_exists(node);
	return error ? error : kt_place_wish(k, &wish);
}

int kthread_affine_reset(struct kthread *k)
{
	const struct kt_wish wish = {.kind = KTHREAD_WISH_NONE, .number = KTHREAD_NO_NODE};
	int error = kt_handle(k);

	if (!error)
		error = kt_library_up();
	return error ? error : kt_place_wish(k, &wish);
}

/* The CPU of the flag; -1 if it is not set. k has been checked. */
static int flagged_cpu(const struct kthread *k)
{
	int cpu = -1;

	kt_lock(&kt_placement_lock);
	if (k->place && k->place->group->wish.kind == KTHREAD_WISH_PER_CPU)
		cpu = k->place->group->wish.number;
	kt_unlock(&kt_placement_lock);
	return cpu;
}

int kthread_set_per_cpu(struct kthread *k, int cpu)
{
	const int error = kt_handle_alive(k);

	if (error)
		return error;
	if (cpu >= 0)
		return wish_cpu(k, KTHREAD_WISH_PER_CPU, cpu, (unsigned int)cpu);
	if (!kt_thread_placeable(k))
		return kt_word(&k->word) & W_EXITED ? -ESRCH : -EINVAL;
	cpu = flagged_cpu(k);
	return cpu < 0 ? 0 : kthread_bind(k, (unsigned int)cpu);
}

bool kthread_is_per_cpu(const struct kthread *k)
{
	return kt_handle(k) == 0 && flagged_cpu(k) >= 0;
}

/* ---- looking ---------------------------------------------------------------------------------------------------- */

static int wish_of(const struct kt_group *group, const struct kt_view *view, size_t setsize, cpu_set_t *set)
{
	cpu_set_t *node_cpus;
	int error;

	if (group->wish.kind == KTHREAD_WISH_NONE)
		return kt_copy_out(view->setsize, view->set[KT_POSSIBLE], setsize, set);
	if (group->wish.kind != KTHREAD_WISH_NODE)
		return kt_copy_out(group->setsize, group->wish.mask, setsize, set);
	node_cpus = calloc(1, view->setsize);
	if (!node_cpus)
		return -ENOMEM;
	error = kt_topology_node_cpus(view, group->wish.number, node_cpus);
	if (!error)
		error = kt_copy_out(view->setsize, node_cpus, setsize, set);
	free(node_cpus);
	return error;
}

static int actual_of(const struct kthread *k, size_t setsize, cpu_set_t *set)
{
	const pid_t tid = kt_thread_tid(k);
	struct kt_view *view;
	cpu_set_t *mask;
	int error;

	if (tid < 0)
		return tid;
	view = kt_view_get();
	mask = calloc(1, view->setsize);
	error = mask ? kt_actual_mask(tid, view->setsize, mask) : -ENOMEM;
	if (!error)
		error = kt_copy_out(view->setsize, mask, setsize, set);
	free(mask);
	kt_view_put(view);
	return error;
}

static int last_of(const struct kt_mask *mask, size_t have, size_t setsize, cpu_set_t *set)
{
	/* a set that is too small is an error whatever there is to put into it */
	if (!set || setsize < have)
		return -EINVAL;
	return mask ? kt_copy_out(have, kt_mask_set(mask), setsize, set) : -ENODATA;
}

int kthread_get_mask(const struct kthread *k, enum kthread_mask which, size_t setsize, cpu_set_t *set)
{
	int error = kt_handle(k);
	struct kt_place *place;
	struct kt_view *view;

	if (!error)
		error = kt_library_up();
	if (error)
		return error;
	if (which == KTHREAD_MASK_ACTUAL && !kt_config()->simulate)
		return kt_word(&k->word) & W_EXITED ? -ESRCH : actual_of(k, setsize, set);
	place = kt_place_lock(k);
	if (!place)
		return -ESRCH;
	view = kt_view_get();
	if (which == KTHREAD_MASK_WISH)
		error = wish_of(place->group, view, setsize, set);
	else if (which == KTHREAD_MASK_EFFECTIVE || which == KTHREAD_MASK_ACTUAL)
		error = kt_copy_out(place->group->setsize, place->group->effective, setsize, set);
	else if (which == KTHREAD_MASK_LAST_FROM || which == KTHREAD_MASK_LAST_TO)
		error = last_of(which == KTHREAD_MASK_LAST_FROM ? place->from : place->to, view->setsize, setsize, set);
	else
		error = -EINVAL;
	kt_view_put(view);
	kt_place_unlock(place);
	return error;
}

bool kthread_is_broken(const struct kthread *k)
{
	return kt_handle(k) == 0 && kt_word(&k->word) & W_BROKEN;
}

static void copy_mask(size_t setsize, cpu_set_t *to, const cpu_set_t *from)
{
	if (to && from)
		kt_cpus_copy(setsize, to, from);
	else if (to)
		kt_cpus_zero(setsize, to);
}

static void report_masks(const struct kt_place *place, const struct kt_place_masks *to)
{
	const struct kt_group *group = place->group;

	copy_mask(group->setsize, to->wish, group->wish.mask);
	copy_mask(group->setsize, to->effective, group->effective);
	copy_mask(group->setsize, to->from, place->from ? kt_mask_set(place->from) : NULL);
	copy_mask(group->setsize, to->to, place->to ? kt_mask_set(place->to) : NULL);
}

bool kt_place_report(const struct kthread *k, struct kt_place_report *ret, const struct kt_place_masks *masks)
{
	struct kt_place *place = kt_place_lock(k);

	if (!place)
		return false;
	*ret = (struct kt_place_report){
	    .kind = place->group->wish.kind,
	    .node = place->group->wish.kind == KTHREAD_WISH_NODE ? place->group->wish.number : KTHREAD_NO_NODE,
	    .broken = place->broken,
	    .last_reason = place->last_reason,
	    .last_error = place->last_error,
	    .last_ns = place->last_ns,
	    .broken_since_ns = place->broken ? place->broken_since_ns : 0,
	    .broken_ns = place->broken_ns + (place->broken ? kt_now() - place->broken_since_ns : 0),
	    .reaffines = place->reaffines,
	    .refusals = place->refusals,
	};
	if (place->refused)
		memcpy(ret->refused, place->refused, sizeof(ret->refused));
	if (masks)
		report_masks(place, masks);
	kt_place_unlock(place);
	return true;
}

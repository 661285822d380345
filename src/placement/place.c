/* SPDX-License-Identifier: MIT */
/*
 * When threads are brought to their places: all of them, after a decision, and one at the turns of its life.
 */
#include <errno.h>
#include <kthread/placement.h>
#include <stdlib.h>

#include "base/log.h"
#include "machine/cpumask.h"
#include "machine/topology.h"
#include "placement/placement.h"

/* ---- all threads ------------------------------------------------------------------------------------------------ */

/* The next member's memory comes in while the kernel works for this one: with many threads, half of what we cost. */
static void prefetch(const struct kt_place *place)
{
	const char *k = (const char *)place - offsetof(struct kthread, place_memory);

	for (size_t at = 0; at < sizeof(struct kthread) + sizeof(*place); at += 64)
		__builtin_prefetch(k + at, 1);
}

/* Ends with kt_placement_lock held, as it began; released while the kernel is told. */
static void round_of(struct kt_group *group)
{
	const uint64_t now = kt_now();
	struct kt_place *place;
	bool settled = true;

	while ((place = TAILQ_FIRST(&group->members)) && place->round != group->round) {
		place->round = group->round;
		TAILQ_REMOVE(&group->members, place, link);
		TAILQ_INSERT_TAIL(&group->members, place, link);
		prefetch(TAILQ_FIRST(&group->members));
		kt_lock(&place->lock);
		kt_unlock(&kt_placement_lock);
		/* effective, broken, reason, sure change only under the look lock, which our caller holds */
		settled &= kt_settle(place, group, group->sure, group->reason, now);
		kt_unlock(&place->lock);
		kt_lock(&kt_placement_lock);
	}
	if (!settled)
		group->doubt = true;
}

static void log_broken(struct kt_group *group)
{
	char list[128];

	if (group->broken == group->said_broken)
		return;
	group->said_broken = group->broken;
	if (group->users == 0 || kthread_cpulist_format(group->setsize, group->wish.mask, list, sizeof(list)) < 0)
		return;
	if (group->broken)
		kt_log(CPUS_LOST, "CPU %s cannot be used: threads bound to it %s (%zu of them)", list,
		       group->wish.kind == KTHREAD_WISH_PER_CPU ? "park" : "park or run elsewhere", group->users);
	else
		kt_log(CPUS_BACK, "CPU %s can be used again: its threads go back (%zu of them)", list, group->users);
}

static bool doubtful(const struct kt_group *group, const struct kt_view *view, enum kt_doubt doubt,
                     const cpu_set_t *touched)
{
	if (group->doubt || doubt == KT_DOUBT_CPUSET || doubt == KT_DOUBT_ALL)
		return true;
	if (doubt == KT_DOUBT_NONE)
		return false;
	/* In a cpuset of our own the kernel may rewrite every mask when one of its CPUs goes or comes. */
	return view->confined || kt_cpus_subset(view->setsize, group->effective, touched);
}

int kt_place_all(enum kt_doubt doubt, const cpu_set_t *touched, bool view_changed, enum kthread_reason reason,
                 bool *ret_settled)
{
	struct kt_view *view = kt_view_get();
	cpu_set_t *scratch = malloc(view->setsize);
	struct kt_group *group;
	struct kt_group *next;
	int error = scratch ? 0 : -ENOMEM;
	static bool behind; /* guarded by the look lock: there was no memory to decide for the view before */

	*ret_settled = true;
	view_changed |= behind;
	kt_lock(&kt_placement_lock);
	LIST_FOREACH(group, &kt_groups, link) {
		bool changed = false;

		if (!error && view_changed)
			error = kt_group_decide(group, view, scratch, &changed);
		group->sure = changed;
		group->reason = !changed && !view_changed && doubt == KT_DOUBT_ALL ? KTHREAD_REASON_LOST : reason;
		if (changed || doubtful(group, view, doubt, touched)) {
			group->round++;
			group->doubt = false;
		}
	}
	behind = error && view_changed;
	/* A group made from here on is of the new view already, and at the head. */
	group = LIST_FIRST(&kt_groups);
	while (group) {
		group->users++; /* its last member may leave while the lock is released */
		round_of(group);
		*ret_settled &= !group->doubt;
		next = LIST_NEXT(group, link);
		kt_group_put(group);
		group = next;
	}
	LIST_FOREACH(group, &kt_groups, link)
		log_broken(group); /* now that nobody waits for us */
	kt_unlock(&kt_placement_lock);
	free(scratch);
	kt_view_put(view);
	return error;
}

/* ---- the turns of a thread's life ------------------------------------------------------------------------------- */

int kt_place_new(struct kthread *k, const struct kt_wish *wish)
{
	struct kt_place *place = (struct kt_place *)k->place_memory;
	struct kt_view *view;
	struct kt_group *group;

	place->thread = k;
	pthread_mutex_init(&place->lock, NULL);
	kt_lock(&kt_placement_lock);
	view = kt_view_get(); /* under the lock: a newer one would find the group and decide it anew */
	group = kt_group_get(wish, view);
	if (group) {
		kt_group_enter(group, place);
		k->place = place;
	}
	kt_unlock(&kt_placement_lock);
	kt_view_put(view);
	return group ? 0 : -ENOMEM;
}

/* By the thread itself: nobody else changes it. */
static bool own_due(const struct kthread *k)
{
	const struct kt_place *place = (const struct kt_place *)k->place_memory;

	return place->own_due;
}

/* Both locks held until the kernel has been told: outside a look nothing else keeps the group as it is. */
static void tell(struct kt_place *place, enum kthread_reason reason)
{
	struct kt_group *group = place->group;
	bool sure = true;

	kt_lock(&place->lock);
	if (reason == KTHREAD_REASON_START) {
		place->born = true;
		sure = !group->all_online; /* it often has its mask already, from its creator: cheaper to ask */
	} else if (reason == KTHREAD_REASON_NONE) { /* the same mask again */
		reason = place->own_due ? place->own_reason : place->last_reason;
	}
	if (!kt_settle(place, group, sure, reason, kt_now()))
		group->doubt = true;
	kt_unlock(&place->lock);
}

/* Ask or release it anew; the kernel hears of it only where it has another mask. */
void kt_place_settle(struct kt_place *place)
{
	kt_lock(&place->lock);
	if (!kt_settle(place, place->group, false, KTHREAD_REASON_CPUS, kt_now()))
		place->group->doubt = true;
	kt_unlock(&place->lock);
}

/* What of it is its own to do is done before the call returns. */
static void finish_own(struct kthread *k)
{
	if (k == kthread_self() && own_due(k))
		kt_place_self(k);
}

void kt_place_born(struct kthread *k, enum kthread_reason reason)
{
	kt_lock(&kt_placement_lock);
	if (k->place)
		tell(k->place, reason);
	kt_unlock(&kt_placement_lock);
	finish_own(k);
}

struct kt_place *kt_place_lock(const struct kthread *k)
{
	struct kt_place *place;

	kt_lock(&kt_placement_lock);
	while ((place = k->place) && place->round != place->group->round) {
		kt_unlock(&kt_placement_lock);
		kt_lock(&kt_look_lock); /* held until everybody has been told */
		kt_unlock(&kt_look_lock);
		kt_lock(&kt_placement_lock);
	}
	if (place)
		kt_lock(&place->lock);
	else
		kt_unlock(&kt_placement_lock);
	return place;
}

void kt_place_unlock(struct kt_place *place)
{
	kt_unlock(&place->lock);
	kt_unlock(&kt_placement_lock);
}

int kt_place_wish(struct kthread *k, const struct kt_wish *wish)
{
	struct kt_group *group;
	struct kt_view *view;
	int error = 0;

	kt_lock(&kt_placement_lock);
	view = kt_view_get();
	if (!k->place)
		error = -ESRCH;
	else if (!kt_thread_placeable(k))
		error = -EINVAL;
	if (!error) {
		group = kt_group_get(wish, view);
		if (group) {
			kt_group_enter(group, k->place);
			tell(k->place, KTHREAD_REASON_WISH);
			if (kt_word(&k->word) & W_EXITED) /* an adopted one, found gone */
				error = -ESRCH;
		} else {
			error = -ENOMEM;
		}
	}
	kt_unlock(&kt_placement_lock);
	kt_view_put(view);
	finish_own(k);
	return error;
}

void kt_place_gone(struct kthread *k)
{
	struct kt_place *place;
	size_t setsize = 0;

	kt_lock(&kt_placement_lock);
	place = k->place;
	k->place = NULL;
	if (place) {
		setsize = place->group->setsize;
		kt_group_leave(place);
	}
	kt_unlock(&kt_placement_lock);
	if (!place)
		return;
	kt_lock(&place->lock);              /* a look may be telling the kernel about it right now, */
	kt_place_await_own(place, setsize); /* or an adopted one, that somebody else releases, itself */
	kt_unlock(&place->lock);
	free(place->came_with);
	place->came_with = NULL;
	free(place->refused);
	place->refused = NULL;
	kt_mask_put(place->from);
	kt_mask_put(place->to);
	place->from = place->to = NULL;
}

static int hook_created(struct kthread *k, int node, int cpu)
{
	struct kt_wish wish = {.kind = KTHREAD_WISH_NONE, .number = KTHREAD_NO_NODE};
	struct kt_view *view = kt_view_get();
	cpu_set_t *mask = NULL;
	int error = 0;

	if (cpu >= 0) {
		mask = calloc(1, view->setsize);
		if (!mask)
			error = -ENOMEM;
		else if (!kt_cpus_test(view->setsize, view->set[KT_POSSIBLE], (unsigned int)cpu))
			error = -EINVAL;
		else
			kt_cpus_add(view->setsize, mask, (unsigned int)cpu);
		wish.kind = KTHREAD_WISH_BOUND;
		wish.mask = mask;
	} else if (node != KTHREAD_NO_NODE) {
		error = kt_topology_node_exists(node);
		wish.kind = KTHREAD_WISH_NODE;
		wish.number = node;
	}
	if (!error)
		error = kt_place_new(k, &wish);
	free(mask);
	kt_view_put(view);
	return error;
}

static void hook_born(struct kthread *k)
{
	kt_place_born(k, KTHREAD_REASON_START);
}

/* Rebind before it resumes, whatever has happened to its mask while it was parked (kernel: commit f2530dc71cf0). */
static void hook_unparking(struct kthread *k)
{
	kt_lock(&kt_placement_lock);
	if (k->place && k->place->group->wish.kind == KTHREAD_WISH_PER_CPU)
		tell(k->place, KTHREAD_REASON_NONE);
	kt_unlock(&kt_placement_lock);
	finish_own(k);
}

static void hook_place_self(struct kthread *k)
{
	if (own_due(k)) {
		kt_place_self(k);
		return;
	}
	kt_word_clear(&k->word, W_PLACE_SELF);
	kt_place_born(k, KTHREAD_REASON_LOST);
}

const struct kt_thread_hooks kt_placement_hooks = {
    .place_size = sizeof(struct kt_place),
    .created = hook_created,
    .born = hook_born,
    .gone = kt_place_gone,
    .released = kt_adopted_released,
    .unparking = hook_unparking,
    .place_self = hook_place_self,
    .out_of_place = kt_place_is_out_of_place,
};

/* SPDX-License-Identifier: MIT */
/*
 * Telling the kernel: the one place where sched_setaffinity() is called, and the turns of a thread's life at which it
 * has to be.
 */
#include <errno.h>
#include <kthread/inspect.h>
#include <kthread/placement.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/probe.h"
#include "base/trace.h"
#include "machine/cpumask.h"
#include "machine/topology.h"
#include "placement/placement.h"

const int kt_refusal_errno[KT_REFUSALS] = {EINVAL, EPERM, EACCES, ENOMEM, ESRCH, ENOSYS};

/* ---- one thread (its place's lock is held) ---------------------------------------------------------------------- */

/* 0, "the calling thread", where that is so: a sandbox may allow nothing else. */
static pid_t tid_of(const struct kt_place *place)
{
	return place->thread == kthread_self() ? 0
	                                       : (pid_t)atomic_load_explicit(&place->thread->tid, memory_order_acquire);
}

/* An adopted thread may have ended unseen, and its tid be another thread's by now. A kthread leaves before it ends. */
static bool is_gone(struct kt_place *place)
{
	uint64_t start;
	int error;

	if (place->thread->kind != KT_ADOPTED || place->ended)
		return place->ended;
	if (place->thread == kthread_self())
		return false;
	error = kt_thread_start_time(tid_of(place), &start);
	place->ended = error == -ESRCH || (!error && start != place->thread_start); /* not for want of descriptors */
	return place->ended;
}

/* Does the kernel have just this mask? (What it reports lacks CPUs that are not active; ours has none but usable.) */
static bool kernel_agrees(struct kt_place *place, const cpu_set_t *mask, size_t setsize)
{
	cpu_set_t small;
	cpu_set_t *now = setsize <= sizeof(small) ? &small : malloc(setsize);
	bool agrees;

	if (!now)
		return false;       /* telling it again does no harm */
	kt_cpus_zero(setsize, now); /* the kernel writes no more than it has CPUs for */
	agrees = sched_getaffinity(tid_of(place), setsize, now) == 0 && kt_cpus_equal(setsize, now, mask);
	if (now != &small)
		free(now);
	return agrees;
}

static void count_refusal(struct kt_place *place, int error)
{
	place->refusals++;
	if (!place->refused)
		place->refused = calloc(KT_REFUSALS, sizeof(*place->refused));
	for (int i = 0; place->refused && i < KT_REFUSALS; i++)
		place->refused[i] += kt_refusal_errno[i] == error;
}

/*
 * The log hears of it once per kind, not once per thread and event; kthread_info() tells of each. EINVAL is what the
 * kernel says while a CPU is on its way, so only when it says it twice.
 */
static void note_refusal(struct kt_place *place, int error)
{
	static atomic_ullong logged; /* a bit per errno; what a filter may return beyond 63 shares one */
	const unsigned long long kind = 1ull << error % 64;

	count_refusal(place, error);
	if (error == EINVAL && place->last_error != EINVAL)
		return;
	if (!(atomic_fetch_or_explicit(&logged, kind, memory_order_relaxed) & kind))
		kt_log(MASK_REFUSED, "%s: the kernel refuses its CPU mask: %s", place->thread->name, strerror(error));
}

/* False if the kernel says that the machine is not what we think it is. */
static bool give(struct kt_place *place, const struct kt_group *group)
{
	int error = 0;

	if (!kt_config()->simulate && sched_setaffinity(tid_of(place), group->setsize, group->effective) != 0)
		error = errno;
	place->ended |= error == ESRCH && place->thread->kind == KT_ADOPTED;
	if (error && !place->ended)
		note_refusal(place, error);
	/* a sandbox that lets a thread set its own mask only */
	if ((error == EPERM || error == EACCES || error == ENOSYS) && place->thread != kthread_self())
		kt_thread_place_self(place->thread);
	place->last_error = error;
	return error != EINVAL;
}

static void note_broken(struct kt_place *place, bool broken, uint64_t now)
{
	if (broken == place->broken)
		return;
	place->broken = broken;
	if (broken)
		place->broken_since_ns = now;
	else
		place->broken_ns += now - place->broken_since_ns;
}

/* One that parked before its CPU went does not run elsewhere: it only waits. */
static void lose_place(struct kt_place *place, uint64_t now)
{
	if (!place->broken && kt_thread_parked_for_cpu(place->thread))
		return;
	note_broken(place, true, now);
	kt_thread_set_broken(place->thread, true);
}

static void tell_given(const struct kt_place *place, size_t setsize, bool broken)
{
	struct kt_trace_event event = KT_TRACE_EMPTY;
	const struct kt_mask *masks[] = {place->from, place->to};

	kt_thread_event(&event, place->thread);
	for (int i = 0; i < 2; i++) {
		char list[KT_TRACE_LIST];
		const bool known =
		    masks[i] && kthread_cpulist_format(setsize, kt_mask_set(masks[i]), list, sizeof(list)) >= 0;

		kt_trace_text(&event, i == 0 ? "from" : "to", known ? list : NULL);
	}
	kt_trace_text(&event, "reason", kthread_reason_name(place->last_reason));
	kt_trace_errno(&event, "errno", place->last_error);
	kt_trace_bool(&event, "broken", broken);
	kt_trace("thread_affine", &event);
}

/* What has been refused was never its mask: then the one before stays the one it comes from. */
static void note_given(struct kt_place *place, const struct kt_group *group, bool had_failed,
                       enum kthread_reason reason, uint64_t now)
{
	if (had_failed) {
		kt_mask_put(place->to);
	} else {
		kt_mask_put(place->from);
		place->from = place->to;
	}
	place->to = kt_mask_get(group->mask);
	if (reason != KTHREAD_REASON_START)
		place->reaffines++;
	place->last_reason = reason;
	place->last_ns = now;
}

/*
 * Bring a thread to where its group is. A broken one is told first, so that it may stop doing what must not be done
 * elsewhere; one that is whole again is moved first, so that it does not go on in the wrong place.
 */
static bool settle(struct kt_place *place, const struct kt_group *group, bool sure, enum kthread_reason reason,
                   uint64_t now)
{
	struct kthread *k = place->thread;
	const bool per_cpu = group->wish.kind == KTHREAD_WISH_PER_CPU;
	const bool had_failed = place->last_error;
	bool settled = true;
	bool noticed = true;

	if (group->broken) {
		lose_place(place, now);
		if (per_cpu)
			noticed = kt_thread_park_for_cpu(k);
	} else if (kt_place_leaves(place, group)) {
		kt_thread_park_for_cpu(k);
	}
	if (place->born && !is_gone(place)) {
		if (!sure && !kt_config()->simulate && !kernel_agrees(place, group->effective, group->setsize))
			sure = true;
		if (sure)
			settled = give(place, group);
		if (sure || reason == KTHREAD_REASON_START) {
			note_given(place, group, had_failed, reason, now);
			if (!place->ended)
				KT_PROBE6(affine, atomic_load_explicit(&k->tid, memory_order_relaxed), k->name,
				          place->from ? kt_mask_set(place->from) : NULL, kt_mask_set(place->to),
				          place->last_reason, place->last_error);
			if (kt_trace_is_on() && !place->ended)
				tell_given(place, group->setsize, place->broken && (group->broken || !settled));
		}
	}
	if (place->ended)
		kt_word_set(&k->word, W_EXITED);
	if (!settled && !group->broken && (per_cpu || place->broken)) {
		/* The kernel does not have the CPU yet, or not any more: not let go until the next look gets it there. */
		if (per_cpu) {
			lose_place(place, now);
			kt_thread_park_for_cpu(k);
		}
		return false;
	}
	if (!group->broken) {
		note_broken(place, false, now);
		kt_thread_set_broken(k, false);
	}
	if (group->broken ? !kt_place_parks(place, group) : !kt_place_leaves(place, group))
		kt_thread_unpark_for_cpu(k);
	return settled && noticed;
}

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
		settled &= settle(place, group, group->sure, group->reason, now);
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
		reason = place->last_reason;
	}
	if (!settle(place, group, sure, reason, kt_now()))
		group->doubt = true;
	kt_unlock(&place->lock);
}

/* Ask or release it anew; the kernel hears of it only where it has another mask. */
void kt_place_settle(struct kt_place *place)
{
	kt_lock(&place->lock);
	if (!settle(place, place->group, false, KTHREAD_REASON_CPUS, kt_now()))
		place->group->doubt = true;
	kt_unlock(&place->lock);
}

void kt_place_born(struct kthread *k, enum kthread_reason reason)
{
	kt_lock(&kt_placement_lock);
	if (k->place)
		tell(k->place, reason);
	kt_unlock(&kt_placement_lock);
}

int kt_place_visit(const struct kthread *k, unsigned int cpu)
{
	struct kt_view *view = kt_view_get();
	const size_t setsize = view->setsize;
	cpu_set_t small, *mask = setsize <= sizeof(small) ? &small : malloc(setsize);
	struct kt_place *place;
	int error = mask ? -ESRCH : -ENOMEM;

	kt_view_put(view);
	if (!mask)
		return error;
	kt_cpus_zero(setsize, mask);
	kt_cpus_add(setsize, mask, cpu);
	kt_lock(&kt_placement_lock);
	place = k->place;
	if (place)
		kt_lock(
		    &place->lock); /* else a mask that is on its way to the kernel would be lost, or come too late */
	kt_unlock(&kt_placement_lock);
	if (place) {
		error = sched_setaffinity(tid_of(place), setsize, mask) == 0 ? 0 : -errno;
		kt_unlock(&place->lock);
	}
	if (mask != &small)
		free(mask);
	return error;
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
	return error;
}

void kt_place_gone(struct kthread *k)
{
	struct kt_place *place;

	kt_lock(&kt_placement_lock);
	place = k->place;
	k->place = NULL;
	if (place)
		kt_group_leave(place);
	kt_unlock(&kt_placement_lock);
	if (!place)
		return;
	kt_lock(&place->lock); /* a look may be telling the kernel about it right now */
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
}

static void hook_place_self(struct kthread *k)
{
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

/* SPDX-License-Identifier: MIT */
/*
 * Telling the kernel of one thread: the one place where sched_setaffinity() is called for those in our care.
 */
#include <errno.h>
#include <kthread/inspect.h>
#include <kthread/placement.h>
#include <sched.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/probe.h"
#include "base/trace.h"
#include "machine/cpumask.h"
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

bool kt_settle(struct kt_place *place, const struct kt_group *group, bool sure, enum kthread_reason reason,
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

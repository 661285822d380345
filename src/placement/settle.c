/* SPDX-License-Identifier: MIT */
/*
 * Telling the kernel of one thread: the one place where sched_setaffinity() is called for those in our care.
 */
#include <errno.h>
#include <kthread/inspect.h>
#include <kthread/placement.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>

#include "base/log.h"
#include "base/probe.h"
#include "base/spin.h"
#include "base/trace.h"
#include "machine/cpumask.h"
#include "placement/placement.h"

/* For so many naps of some 70 us a thread is waited for that sets its mask itself. */
#define OWN_NAPS 500u

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

/* 0 or an errno. */
static int give(const struct kt_place *place, const struct kt_group *group)
{
	const int error = sched_setaffinity(tid_of(place), group->setsize, group->effective) != 0 ? errno : 0;

	/* a sandbox that lets a thread set its own mask only */
	if ((error == EPERM || error == EACCES || error == ENOSYS) && place->thread != kthread_self())
		kt_thread_place_self(place->thread);
	return error;
}

/* False if the kernel says that the machine is not what we think it is. */
static bool note_answer(struct kt_place *place, int error)
{
	place->ended |= error == ESRCH && place->thread->kind == KT_ADOPTED;
	if (error && !place->ended)
		note_refusal(place, error);
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
static void note_mask(struct kt_place *place, struct kt_mask *mask, bool had_failed, enum kthread_reason reason,
                      uint64_t now)
{
	if (had_failed) {
		kt_mask_put(place->to);
	} else {
		kt_mask_put(place->from);
		place->from = place->to;
	}
	place->to = kt_mask_get(mask);
	if (reason != KTHREAD_REASON_START)
		place->reaffines++;
	place->last_reason = reason;
	place->last_ns = now;
}

/* The mask has been given, with this answer (0 or an errno). whole: it has CPUs of its wish. False: look again. */
static bool note_given(struct kt_place *place, struct kt_mask *mask, size_t setsize, int error, bool whole,
                       enum kthread_reason reason, uint64_t now)
{
	const struct kthread *k = place->thread;
	const bool had_failed = place->last_error;
	const bool settled = note_answer(place, error);

	note_mask(place, mask, had_failed, reason, now);
	if (place->ended)
		return settled;
	KT_PROBE6(affine, atomic_load_explicit(&k->tid, memory_order_relaxed), k->name,
	          place->from ? kt_mask_set(place->from) : NULL, kt_mask_set(place->to), place->last_reason,
	          place->last_error);
	if (kt_trace_is_on())
		tell_given(place, setsize, place->broken && !(whole && settled));
	return settled;
}

/* The kernel has been told of a thread, or need not be: it may go on, or not. False: look again. */
static bool let_go(struct kt_place *place, const struct kt_group *group, bool settled, uint64_t now)
{
	const bool per_cpu = group->wish.kind == KTHREAD_WISH_PER_CPU;
	struct kthread *k = place->thread;

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
	return settled;
}

/* ---- one that sets its mask itself ------------------------------------------------------------------------------ */

/*
 * A thread that sets its own mask, and is not on one of its CPUs, comes back from that system call on one of them: where a
 * real-time thread may keep it from running for as long as it likes. So it does that with no lock held, when the locks have
 * been released (kt_place_self()). Its place is then locked by `own`, as it were: who has to tell the kernel of it
 * meanwhile waits until the kernel has that mask, which is before it is starved there, and goes on. Where that cannot be seen
 * (somebody else sets its mask, too) he goes on after a while; so the thread, when it finds that others have gone on, looks
 * whether the kernel has what it should have.
 */
static bool sets_itself(const struct kt_place *place, const struct kt_group *group)
{
	const int cpu = place->thread == kthread_self() ? sched_getcpu() : -1;

	return cpu >= 0 && !kt_cpus_test(group->setsize, group->effective, (unsigned int)cpu);
}

static void leave_to_itself(struct kt_place *place, enum kthread_reason reason)
{
	place->own_due = true;
	place->own_reason = reason;
	kt_word_set(&place->thread->word, W_PLACE_SELF); /* where the locks are released by who does not know of it */
}

/* Has the kernel moved it? It was on none of these CPUs, so its mask before had others. */
static bool has_moved(const struct kt_place *place, size_t setsize)
{
	cpu_set_t small;
	cpu_set_t *now = setsize <= sizeof(small) ? &small : malloc(setsize);
	bool has = false;

	if (!now)
		return false; /* it says so itself, if it runs */
	kt_cpus_zero(setsize, now);
	if (sched_getaffinity(tid_of(place), setsize, now) == 0)
		has = !kt_cpus_empty(setsize, now) && kt_cpus_subset(setsize, now, kt_mask_set(place->own));
	if (now != &small)
		free(now);
	return has;
}

void kt_place_await_own(struct kt_place *place, size_t setsize)
{
	const struct timespec pause = kt_timespec(20000);
	int error = 0;

	if (!place->own)
		return;
	for (unsigned int turn = 0; turn < KT_SPIN_PAUSES + OWN_NAPS && !has_moved(place, setsize); turn++) {
		/* acquire: pairs with kt_place_self() */
		if (atomic_load_explicit(&place->own_done, memory_order_acquire)) {
			error = place->own_error;
			break;
		}
		if (turn < KT_SPIN_PAUSES)
			kt_spin(turn);
		else
			nanosleep(&pause, NULL); /* not a yield: it may be below us, on this CPU */
	}
	note_given(place, place->own, setsize, error, false, place->own_reason, kt_now());
	place->own = NULL;
}

/* By the thread, which has set its mask. True: that was the one it is to have, or no other can be had. */
static bool conclude_own(struct kt_place *place, struct kt_mask *set)
{
	struct kt_group *group = place->group;
	const int error = place->own_error;
	const uint64_t now = kt_now();
	bool settled;

	/* Others have gone on. The kernel may have changed its mask once more after that, if its CPU went just then; where it
	 * forbade it, they have told it what there was to tell. */
	if (!place->own)
		return error && error != EINVAL;
	settled = note_given(place, set, group->setsize, error, !group->broken, place->own_reason, now);
	place->own = NULL;
	if (!error && set != group->mask)
		return false; /* it has been decided anew */
	if (!let_go(place, group, settled, now))
		group->doubt = true;
	return true;
}

/* The same: `set` it has set (NULL: nothing yet). What it is to set now, with a reference; NULL: nothing any more. */
static struct kt_mask *next_own(struct kthread *k, struct kt_place *place, struct kt_mask *set)
{
	const enum kthread_reason reason = place->own_due ? place->own_reason : KTHREAD_REASON_LOST;

	if (!k->place) {
		place->own = NULL;
		return NULL;
	}
	if (set && conclude_own(place, set))
		return NULL;
	place->own_due = false;
	if (!kt_settle(place, place->group, false, reason, kt_now()))
		place->group->doubt = true;
	if (!place->own_due)
		return NULL;
	place->own = kt_mask_get(place->group->mask);
	atomic_store_explicit(&place->own_done, false, memory_order_relaxed);
	return place->own;
}

void kt_place_self(struct kthread *k)
{
	struct kt_place *place = (struct kt_place *)k->place_memory;
	struct kt_mask *set = NULL;

	kt_log_hold(); /* not to be cancelled half-way */
	do {
		struct kt_mask *next;
		size_t setsize = 0;

		kt_lock(&kt_placement_lock);
		kt_lock(&place->lock);
		next = next_own(k, place, set);
		kt_word_clear(&k->word, W_PLACE_SELF); /* under the lock: who asks for more comes after it */
		if (next)
			setsize = place->group->setsize;
		place->own_due = false;
		kt_unlock(&place->lock);
		kt_unlock(&kt_placement_lock);
		kt_mask_put(set);
		set = next;
		if (set) {
			place->own_error = sched_setaffinity(0, setsize, kt_mask_set(set)) != 0 ? errno : 0;
			/* release: pairs with kt_place_await_own() */
			atomic_store_explicit(&place->own_done, true, memory_order_release);
		}
	} while (set);
	kt_log_release();
}

/* ---- telling ---------------------------------------------------------------------------------------------------- */

bool kt_settle(struct kt_place *place, const struct kt_group *group, bool sure, enum kthread_reason reason,
               uint64_t now)
{
	struct kthread *k = place->thread;
	bool settled = true;
	bool noticed = true;

	kt_place_await_own(place, group->setsize);
	if (group->broken) {
		lose_place(place, now);
		if (group->wish.kind == KTHREAD_WISH_PER_CPU)
			noticed = kt_thread_park_for_cpu(k);
	} else if (kt_place_leaves(place, group)) {
		kt_thread_park_for_cpu(k);
	}
	if (place->born && !is_gone(place)) {
		const bool real = !kt_config()->simulate;
		int error = 0;

		if (!sure && real && !kernel_agrees(place, group->effective, group->setsize))
			sure = true;
		if (sure && real && sets_itself(place, group)) {
			leave_to_itself(place, reason);
			return noticed;
		}
		if (sure && real)
			error = give(place, group);
		if (sure || reason == KTHREAD_REASON_START)
			settled = note_given(place, group->mask, group->setsize, error, !group->broken, reason, now);
	}
	return let_go(place, group, settled, now) && noticed;
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
		kt_place_await_own(place, setsize);
		error = sched_setaffinity(tid_of(place), setsize, mask) == 0 ? 0 : -errno;
		kt_unlock(&place->lock);
	}
	if (mask != &small)
		free(mask);
	return error;
}

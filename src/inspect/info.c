/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <kthread/inspect.h>
#include <stdio.h>
#include <string.h>

#include "inspect/state.h"
#include "ktask/room.h"
#include "placement/placement.h"
#include "thread/thread.h"
#include "worker/worker.h"

enum kthread_state kt_state_of(const struct kthread *k)
{
	const unsigned int now = kt_word(&k->word);

	if (now & W_EXITED)
		return KTHREAD_EXITED;
	if (k->kind == KT_ADOPTED)
		return KTHREAD_ADOPTED;
	if (now & W_STOP)
		return KTHREAD_STOPPING;
	if (now & W_PARKED)
		return KTHREAD_PARKED;
	if (now & W_FROZEN)
		return KTHREAD_FROZEN;
	if (!(now & W_STARTED))
		return KTHREAD_CREATED;
	/* Woken, but not yet come to its function: that sleep is none of kthread_wait*(). */
	return now & W_SLEEPING && now & W_ENTERED ? KTHREAD_WAITING : KTHREAD_RUNNING;
}

void kt_work_counters(const struct kthread *k, struct kt_work_counters *ret)
{
	ret->worker = kt_worker_has(k);
	ret->works_run = atomic_load_explicit(&k->works_run, memory_order_relaxed);
	ret->longest_queue = atomic_load_explicit(&k->longest_queue, memory_order_relaxed);
	ret->ktask_chunks = atomic_load_explicit(&k->chunks, memory_order_relaxed);
	ret->ktask = ret->ktask_chunks > 0 || kt_thread_is_helper(k);
}

#define FIRST_SIZE offsetof(struct kthread_info, works_run) /* of the first version */

int kthread_info(const struct kthread *k, struct kthread_info *info)
{
	struct kthread_info full = {.size = sizeof(full), .node = KTHREAD_NO_NODE};
	struct kt_work_counters work;
	struct kt_place_report place;
	const int error = kt_handle(k);

	if (error || !info)
		return error ? error : -EINVAL;
	if (info->size < FIRST_SIZE)
		return -EINVAL;
	snprintf(full.name, sizeof(full.name), "%s", k->name);
	full.tid = kthread_tid(k);
	full.state = kt_state_of(k);
	full.wakes = atomic_load_explicit(&k->wakes, memory_order_relaxed);
	full.parks = atomic_load_explicit(&k->parks, memory_order_relaxed);
	full.freezes = atomic_load_explicit(&k->freezes, memory_order_relaxed);
	kt_work_counters(k, &work);
	full.works_run = work.works_run;
	full.longest_queue = work.longest_queue;
	full.ktask_chunks = work.ktask_chunks;
	if (kt_place_report(k, &place, NULL)) {
		full.wish = place.kind;
		full.node = place.node;
		full.per_cpu = place.kind == KTHREAD_WISH_PER_CPU;
		full.broken = place.broken;
		full.broken_since_ns = place.broken_since_ns;
		full.broken_ns = place.broken_ns;
		full.last_reason = place.last_reason;
		full.last_error = place.last_error;
		full.last_place_ns = place.last_ns;
		full.reaffines = place.reaffines;
		full.refusals = place.refusals;
	}
	full.size = info->size; /* what lies beyond ours is the caller's own */
	memcpy(info, &full, info->size < sizeof(full) ? info->size : sizeof(full));
	return 0;
}

int kthread_for_each(int (*fn)(const struct kthread *k, void *arg), void *arg)
{
	struct kthread *k = NULL;
	int result = fn ? kt_library_up() : -EINVAL;

	while (!result && (k = kt_registry_next(k))) {
		/* a thread being made cannot be stopped or joined before it has begun */
		if (k->kind != KT_INTERNAL && kt_thread_tid(k) > 0)
			result = fn(k, arg);
	}
	kthread_put(k);
	return result;
}

static const char *name_of(const char *const *names, size_t count, unsigned int value)
{
	return value < count ? names[value] : "?";
}

#define NAME_OF(names, value) name_of(names, sizeof(names) / sizeof((names)[0]), (unsigned int)(value))

const char *kthread_state_name(enum kthread_state state)
{
	static const char *const names[] = {"created",  "running", "waiting", "parked",
	                                    "stopping", "exited",  "adopted", "frozen"};

	return NAME_OF(names, state);
}

const char *kthread_wish_name(enum kthread_wish wish)
{
	static const char *const names[] = {"none", "node", "preferred", "bound", "per-cpu"};

	return NAME_OF(names, wish);
}

const char *kthread_reason_name(enum kthread_reason reason)
{
	static const char *const names[] = {"none", "start", "wish", "cpus", "housekeeping", "lost"};

	return NAME_OF(names, reason);
}

/* SPDX-License-Identifier: MIT */
/*
 * The turns of a thread's life: counted, and told to who watches.
 */
#include "base/probe.h"
#include "base/trace.h"
#include "thread/thread.h"

void kt_thread_event(struct kt_trace_event *event, const struct kthread *k)
{
	const unsigned int tid = atomic_load_explicit(&k->tid, memory_order_relaxed);

	kt_trace_number(event, "tid", tid == KT_TID_AWAITED ? 0 : tid); /* 0: who created it has not waited for it */
	kt_trace_text(event, "name", k->name);
}

void kt_thread_tell_created(const struct kthread *k, pid_t tid)
{
	struct kt_trace_event event = KT_TRACE_EMPTY;

	KT_PROBE2(thread_create, tid, k->name);
	if (!kt_trace_is_on())
		return;
	kt_trace_number(&event, "tid", tid);
	kt_trace_text(&event, "name", k->name);
	kt_trace("thread_create", &event);
}

/* In the order that leaves who remembers the last one with what the thread is now. With the lock of the stream. */
static void tell(const struct kthread *k, unsigned int come, unsigned int gone)
{
	static const struct {
		unsigned int bit;
		const char *name;
	} ends[] = {{W_PARKED, "thread_unpark"}, {W_FROZEN, "thread_thaw"}}, begins[] = {{W_STOP, "thread_stop"},
	                                                                                 {W_ENTERED, "thread_start"},
	                                                                                 {W_PARKED, "thread_park"},
	                                                                                 {W_FROZEN, "thread_freeze"}};
	struct kt_trace_event event = KT_TRACE_EMPTY;

	kt_thread_event(&event, k);
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		if (gone & ends[i].bit)
			kt_trace_locked(ends[i].name, &event);
	}
	for (size_t i = 0; i < sizeof(begins) / sizeof(begins[0]); i++) {
		if (come & begins[i].bit)
			kt_trace_locked(begins[i].name, &event);
	}
	if (come & W_EXITED) {
		kt_trace_number(&event, "result", k->result);
		kt_trace_locked("thread_exit", &event);
	}
}

/* A thread that has exited may still be asked for this and that: no more is told of it. */
#define TOLD (W_STOP | W_ENTERED | W_PARKED | W_FROZEN | W_EXITED)

static bool change_and_tell(struct kthread *k, unsigned int *seen, unsigned int now)
{
	bool changed;

	if (!kt_trace_lock())
		return kt_word_change(&k->word, seen, now);
	changed = kt_word_change(&k->word, seen, now);
	if (changed && !(*seen & W_EXITED) && (*seen ^ now) & TOLD)
		tell(k, now & ~*seen, *seen & ~now);
	kt_trace_unlock();
	return changed;
}

/* A turn is no fast path: the tid is loaded for the probe alone. */
static void probe(const struct kthread *k, unsigned int come, unsigned int gone)
{
	const unsigned int tid = atomic_load_explicit(&k->tid, memory_order_relaxed);

	if (gone & W_PARKED)
		KT_PROBE2(thread_unpark, tid, k->name);
	if (gone & W_FROZEN)
		KT_PROBE2(thread_thaw, tid, k->name);
	if (come & W_STOP)
		KT_PROBE2(thread_stop, tid, k->name);
	if (come & W_ENTERED)
		KT_PROBE2(thread_start, tid, k->name);
	if (come & W_PARKED)
		KT_PROBE2(thread_park, tid, k->name);
	if (come & W_FROZEN)
		KT_PROBE2(thread_freeze, tid, k->name);
	if (come & W_EXITED)
		KT_PROBE3(thread_exit, tid, k->name, k->result);
}

bool kt_thread_turn(struct kthread *k, unsigned int *seen, unsigned int now)
{
	if (kt_trace_is_on() ? !change_and_tell(k, seen, now) : !kt_word_change(&k->word, seen, now))
		return false;
	if (now & ~*seen & W_PARKED)
		atomic_fetch_add_explicit(&k->parks, 1, memory_order_relaxed);
	if (now & ~*seen & W_FROZEN)
		atomic_fetch_add_explicit(&k->freezes, 1, memory_order_relaxed);
	if (!(*seen & W_EXITED))
		probe(k, now & ~*seen, *seen & ~now);
	return true;
}

/* SPDX-License-Identifier: MIT */
/*
 * What clients' functions cost the last time: only by that it can be known whether helpers are worth to be called before a
 * job begins. Guesses, all of it: no order, no lock, and what is lost by a race is a little time.
 */
#include "ktask/job.h"

/* Jobs that are too short for a wake, but come so often that they had so much to do within a moment. */
#define WORTH_WATCHING_NS 5000u
#define MANY_JOBS_NS 100000u
#define MOMENT_NS (2 * KT_NS_PER_MS)

/* ---- what a unit cost the last time -------------------------------------------------------------------------------- */

#define REMEMBERED 64u

/* By client function, so that helpers are called at once where they were worth it, and never for next to nothing. Two
 * functions may share a place, and a cost be another's: no more than a guess is lost. */
static struct {
	atomic_uintptr_t fn;
	_Atomic float ticks; /* a unit */
} costs[REMEMBERED];

static size_t cost_place(ktask_fn fn)
{
	return (size_t)(((uint64_t)(uintptr_t)fn * 0x9e3779b97f4a7c15u) >> 58) % REMEMBERED;
}

/* Negative: it has never run. */
double kt_cost_of(ktask_fn fn)
{
	const size_t at = cost_place(fn);

	if (atomic_load_explicit(&costs[at].fn, memory_order_relaxed) != (uintptr_t)fn)
		return -1;
	return (double)atomic_load_explicit(&costs[at].ticks, memory_order_relaxed);
}

/* Up at once, down slowly: an unnecessary wake costs less than a helper that is missed. */
void kt_cost_remember(ktask_fn fn, double ticks)
{
	const double before = kt_cost_of(fn);
	const size_t at = cost_place(fn);

	if (before > ticks)
		ticks = (3 * before + ticks) / 4;
	atomic_store_explicit(&costs[at].ticks, (float)ticks, memory_order_relaxed);
	if (before < 0)
		atomic_store_explicit(&costs[at].fn, (uintptr_t)fn, memory_order_relaxed);
}

/*
 * What callers did alone lately in jobs that were not worth a wake. When it is much, one helper is woken for the next such
 * job: from then on it looks for more, and jobs that follow soon have it for the asking. Guesses again: no order, no lock.
 */
static atomic_uint_fast64_t lonely_ticks, lonely_since;

void kt_cost_note_alone(const struct kt_share *share)
{
	uint64_t ticks = (uint64_t)share->spent;

	if (ticks < kt_ticks_of(WORTH_WATCHING_NS))
		return;
	if (share->ticks - atomic_load_explicit(&lonely_since, memory_order_relaxed) < kt_ticks_of(MOMENT_NS))
		ticks += atomic_load_explicit(&lonely_ticks, memory_order_relaxed);
	else
		atomic_store_explicit(&lonely_since, share->ticks, memory_order_relaxed);
	atomic_store_explicit(&lonely_ticks, ticks, memory_order_relaxed);
}

bool kt_cost_many_alone(double ticks_left)
{
	if (ticks_left < (double)kt_ticks_of(WORTH_WATCHING_NS) ||
	    atomic_load_explicit(&lonely_ticks, memory_order_relaxed) < kt_ticks_of(MANY_JOBS_NS) ||
	    kt_ticks() - atomic_load_explicit(&lonely_since, memory_order_relaxed) > kt_ticks_of(MOMENT_NS))
		return false;
	atomic_store_explicit(&lonely_ticks, 0, memory_order_relaxed);
	return true;
}

void kt_costs_forget(void)
{
	for (size_t i = 0; i < REMEMBERED; i++)
		atomic_store_explicit(&costs[i].fn, 0, memory_order_relaxed);
}

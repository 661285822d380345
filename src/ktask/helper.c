/* SPDX-License-Identifier: MIT */
/*
 * The thread of a helper: it looks for an offer for a while, sleeps, works, leaves.
 */
#include <errno.h>
#include <kthread/placement.h>
#include <stdio.h>
#include <stdlib.h>

#include "ktask/job.h"
#include "ktask/room.h"
#include "machine/cpumask.h"
#include "machine/topology.h"
#include "placement/placement.h"

#define HOT_NS 150000u /* how long a helper that had work looks for more before it sleeps */

static atomic_size_t hot;              /* how many look */
static atomic_uint_fast64_t freed;     /* how often one has become free */
static atomic_bool limited;            /* the time of the process is: looking would cost some */
static uint64_t first_ticks, first_ns; /* the pool's beginning: how fast is kt_ticks()? */
static atomic_uint ticks_per_us = 2000;

/* ---- time ------------------------------------------------------------------------------------------------------- */

uint64_t kt_ticks_of(uint64_t ns)
{
	return ns * atomic_load_explicit(&ticks_per_us, memory_order_relaxed) / 1000;
}

/* Both at the same moment: not with a preemption in between. */
static bool look_at_clocks(uint64_t *ret_ticks, uint64_t *ret_ns)
{
	for (int i = 0; i < 5; i++) {
		const uint64_t ns = kt_now();

		*ret_ticks = kt_ticks();
		*ret_ns = kt_now();
		if (*ret_ns - ns < 2000)
			return true;
	}
	return false;
}

void kt_helpers_begin(void)
{
	if (!look_at_clocks(&first_ticks, &first_ns))
		first_ns = 0;
}

void kt_helpers_forget(void)
{
	atomic_store_explicit(&hot, 0, memory_order_relaxed);
}

void kt_helpers_limited(bool is)
{
	atomic_store_explicit(&limited, is, memory_order_relaxed);
}

size_t kt_helpers_hot(void)
{
	return atomic_load_explicit(&hot, memory_order_relaxed);
}

uint64_t kt_helpers_freed(void)
{
	return atomic_load_explicit(&freed, memory_order_relaxed);
}

void kt_helper_is_free(void)
{
	atomic_fetch_add_explicit(&freed, 1, memory_order_relaxed);
}

/* As a helper begins, some time after the pool has. */
static void calibrate(void)
{
	uint64_t ticks, ns;

	if (first_ns == 0 || !look_at_clocks(&ticks, &ns))
		return;
	ticks -= first_ticks;
	ns -= first_ns;
	if (ns >= 20000 && ticks / (ns / 1000) > 0 && ticks / (ns / 1000) < 100000)
		atomic_store_explicit(&ticks_per_us, (unsigned int)(ticks / (ns / 1000)), memory_order_relaxed);
}

/* ---- the helper's thread ---------------------------------------------------------------------------------------- */

/* Not for long by looking or yielding: what the helper has been lent may put it above its caller, on that one's CPU. */
static void await_lender(struct kt_helper *helper, unsigned int seen, unsigned int turn)
{
	if (turn < KT_SPIN_PAUSES)
		kt_spin(turn);
	else if (seen & H_AWAITED || kt_helper_change(helper, seen, seen | H_AWAITED))
		kt_futex_wait(&helper->state, seen | H_AWAITED, KT_FUTEX_ALL, KT_NEVER);
}

void kt_helper_settle(struct kt_helper *helper)
{
	/* A read-modify-write: if LENDING comes after it, whoever set that sees that the turn is over. Pairs with lend_to(). */
	unsigned int now = atomic_fetch_or_explicit(&helper->state, 0, memory_order_acq_rel), turn = 0;

	for (; now & (H_LENDING | H_LENT); now = kt_helper_state(helper)) {
		if (now & H_LENDING)
			await_lender(helper, now, turn++);
		else if (kt_helper_change(helper, now, now & ~(unsigned int)H_LENT))
			kt_priority_return(helper);
	}
}

/* Out of the job: the state first, so that who comes after the job finds the helper free. The job's memory stays, but
 * may be another job's as soon as nobody is active in it. */
static void leave(struct kt_helper *helper, struct kt_job *job, unsigned int kind)
{
	unsigned int number, before, now, turn = 0;

	/* With what it was lent it tells the caller, before it rests: at its low priority it might be kept from that. */
	for (;;) {
		now = kt_helper_state(helper);
		number = now / H_NUMBER * H_NUMBER;
		if (now & H_LENDING)
			await_lender(helper, now, turn++);
		else if (kt_helper_change(helper, now, number | (now & (H_LENT | H_MOVED) ? H_LEAVING : kind)))
			break;
	}
	/* release: all that was done in the job is seen by its caller, who finds nobody active */
	before = atomic_fetch_sub_explicit(&job->active, 1, memory_order_acq_rel);
	if (before & JOB_WAITED)
		kt_futex_wake(&job->active, 1, KT_FUTEX_ALL);
	if (now & (H_LENT | H_MOVED)) {
		if (now & H_MOVED)
			kt_place_born(kthread_self(), KTHREAD_REASON_NONE);
		if (now & H_LENT)
			kt_priority_return(helper);
		atomic_store_explicit(&helper->state, number | kind, memory_order_release);
	}
	kt_helper_is_free();
}

/* Its thread ends in the client's function. */
static void lost(void *arg)
{
	struct kt_share *share = arg;

	if (kt_forked_since(share->job->epoch))
		return;
	kt_share_abandon(share);
	leave(share->helper, share->job, H_ABSENT);
}

/* Is its CPU one of the caller's? See may_trust() in pool.c. If it must not know, the caller finds out. */
static bool may_help(const struct kt_helper *helper, const struct kt_job *job)
{
	cpu_set_t set;

	return !helper->asks ||
	       (sched_getaffinity(job->caller, sizeof(set), &set) == 0 && CPU_ISSET(helper->cpu, &set));
}

static void serve(struct kt_helper *helper, int node)
{
	struct kt_share share = {.job = helper->job, .helper = helper, .node = node};

	if (!may_help(helper, share.job)) {
		atomic_store_explicit(&share.job->declined, true, memory_order_relaxed);
		return;
	}
	kt_priority_take(helper, share.job);
	pthread_cleanup_push(lost, &share);
	kt_share_work(&share);
	pthread_cleanup_pop(0);
}

/* True: there is an offer, and it has been accepted. */
static bool await_offer(struct kt_helper *helper)
{
	const bool short_of_time = atomic_load_explicit(&limited, memory_order_relaxed);
	const uint64_t begin = kt_ticks(), patience = short_of_time ? 0 : kt_ticks_of(HOT_NS);
	unsigned int state;

	atomic_fetch_add_explicit(&hot, 1, memory_order_relaxed);
	while (kt_helper_kind(state = kt_helper_state(helper)) == H_HOT || kt_helper_kind(state) == H_CLAIMED) {
		if (kt_ticks() - begin < patience)
			kt_spin(0);
		else if (kt_helper_kind(state) == H_HOT)
			kt_helper_change(helper, state, (state & ~(unsigned int)H_KIND) | H_ASLEEP);
		else
			kt_spin(KT_SPIN_PAUSES); /* a moment, unless the recruiter was preempted */
	}
	atomic_fetch_sub_explicit(&hot, 1, memory_order_relaxed);
	if (kt_helper_kind(state) == H_ASLEEP) {
		kt_priority_take(helper, NULL);
		kthread_wait();
	}
	while (kt_helper_kind(state = kt_helper_state(helper)) == H_OFFERED) {
		if (kt_helper_change(helper, state, (state & ~(unsigned int)H_KIND) | H_BUSY))
			return true;
	}
	return false;
}

static int home_of(const struct kt_helper *helper)
{
	struct kt_view *view = kt_view_get();
	const int node = kt_topology_is_flat() ? KTHREAD_NO_NODE : kt_topology_cpu_node(view, helper->cpu);

	kt_view_put(view);
	return node;
}

static int helper_fn(void *data)
{
	struct kt_helper *helper = data;
	const unsigned int epoch = atomic_load_explicit(&kt_epoch, memory_order_relaxed);
	const int node = home_of(helper);

	atomic_store_explicit(&helper->tid, gettid(), memory_order_relaxed);
	calibrate();
	kt_priority_begin(helper);
	while (!kthread_should_stop()) {
		unsigned int state;
		struct kt_job *job;

		if (!await_offer(helper))
			continue;
		job = helper->job;
		serve(helper, node);
		if (kt_forked_since(epoch))
			return 0;
		leave(helper, job, H_HOT);
		if (!atomic_load_explicit(&helper->stuck, memory_order_relaxed))
			continue;
		/* At a low priority for good: a new thread takes its place. */
		state = kt_helper_state(helper);
		if (kt_helper_kind(state) == H_HOT && kt_helper_change(helper, state, state & ~(unsigned int)H_KIND))
			break;
	}
	return 0;
}

bool kt_thread_is_helper(const struct kthread *k)
{
	return k->fn == helper_fn;
}

bool kt_is_helper(void)
{
	const struct kthread *self = kthread_self();

	return self && kt_thread_is_helper(self);
}

/* ---- its beginning ---------------------------------------------------------------------------------------------- */

bool kt_helper_make(struct kt_helper *helper, size_t setsize)
{
	struct kt_wish wish = {.kind = KTHREAD_WISH_PREFERRED, .number = KTHREAD_NO_NODE};
	cpu_set_t *mask;
	char name[32];

	kthread_put(helper->thread); /* it has ended, but for the client's key destructors: they are not waited for */
	atomic_store_explicit(&helper->stuck, false, memory_order_relaxed);
	snprintf(name, sizeof(name), "ktask/%u", helper->cpu);
	helper->thread = kt_thread_spawn(KT_INTERNAL, helper_fn, helper, name);
	if (!helper->thread)
		return false;
	mask = calloc(1, setsize);
	if (mask) {
		kt_cpus_add(setsize, mask, helper->cpu);
		wish.mask = mask;
		kt_place_wish(helper->thread, &wish);
		free(mask);
	}
	return true;
}

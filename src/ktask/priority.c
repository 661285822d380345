/* SPDX-License-Identifier: MIT */
/*
 * Helpers give way: where they rest, what a job may raise them to, and what a caller lends them while it waits.
 *
 * The kernel lets everybody step down, but lets up again only with CAP_SYS_NICE or RLIMIT_NICE. So a helper without that
 * right never steps down from its nice value: SCHED_BATCH, which costs nothing to leave, is all that it gives way by.
 */
#include <errno.h>
#include <sys/resource.h>
#include <unistd.h>

#include "ktask/job.h"

#define LOWEST 19

static int get(struct kt_sched *ret)
{
	return (int)syscall(SYS_sched_getattr, 0, ret, sizeof(*ret), 0);
}

static int set(pid_t tid, const struct kt_sched *sched)
{
	return (int)syscall(SYS_sched_setattr, tid, sched, 0);
}

static bool same(const struct kt_sched *a, const struct kt_sched *b)
{
	return a->policy == b->policy && a->nice == b->nice && a->priority == b->priority;
}

static bool is_real_time(const struct kt_sched *sched)
{
	return sched->policy == SCHED_FIFO || sched->policy == SCHED_RR;
}

/* Could it come back from the lowest to this nice value? */
static bool may_rise_to(int nice)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NICE, &limit) == 0 && limit.rlim_cur >= (rlim_t)(20 - nice))
		return true;
	/* The kernel asks for the same right one step up, and only the kernel knows whether we have it. */
	if (setpriority(PRIO_PROCESS, 0, nice - 1) != 0 || getpriority(PRIO_PROCESS, 0) != nice - 1)
		return false;
	setpriority(PRIO_PROCESS, 0, nice);
	return true;
}

void kt_priority_begin(struct kt_helper *helper)
{
	struct kt_sched low;

	helper->may_rise = false;
	if (get(&helper->now) != 0)
		helper->now =
		    (struct kt_sched){.size = sizeof(helper->now)}; /* forbidden: and so will be what follows */
	helper->now.size = sizeof(helper->now);
	low = helper->now;
	if (low.policy == SCHED_OTHER) {
		helper->may_rise = may_rise_to(low.nice);
		low.policy = SCHED_BATCH;
		if (helper->may_rise)
			low.nice = LOWEST;
	}
	if (set(0, &low) == 0)
		helper->now = low;
	helper->low = helper->now;
}

/* A deadline cannot be shared, and its owner has no nice value of its own: the most that others can have. */
void kt_priority_mine(struct kt_sched *ret)
{
	if (get(ret) != 0)
		*ret = (struct kt_sched){.nice = LOWEST}; /* nothing that anybody would want */
	if (ret->policy == SCHED_DEADLINE)
		*ret = (struct kt_sched){.nice = -20};
	ret->size = sizeof(*ret);
	ret->runtime = ret->deadline = ret->period = 0;
}

void kt_priority_take(struct kt_helper *helper, const struct kt_job *job)
{
	struct kt_sched wanted = job && job->ctl.keep_pace ? job->pace : helper->low;

	/* What it could not leave again it does not take. */
	if (!helper->may_rise && wanted.nice > helper->low.nice)
		wanted.nice = helper->low.nice;
	if (!same(&wanted, &helper->now) && set(0, &wanted) == 0)
		helper->now = wanted;
}

static bool is_above(const struct kt_sched *a, const struct kt_sched *b)
{
	if (is_real_time(a) || is_real_time(b))
		return is_real_time(a) && (!is_real_time(b) || a->priority > b->priority);
	return a->nice < b->nice;
}

/* False: it is not there any more. */
static bool lend_to(const struct kt_recruit *recruit, const struct kt_sched *mine)
{
	struct kt_helper *helper = recruit->helper;
	const unsigned int busy = recruit->state - H_OFFERED + H_BUSY;
	unsigned int seen = busy;
	pid_t tid;

	/* acquire: pairs with the helper's acceptance; what it is and rests at is seen */
	if (!atomic_compare_exchange_strong_explicit(&helper->state, &seen, busy | H_LENDING, memory_order_acq_rel,
	                                             memory_order_relaxed))
		return kt_helper_same(seen, busy) && seen & H_LENT;
	tid = (pid_t)atomic_load_explicit(&helper->tid, memory_order_relaxed);
	seen = busy;
	if (is_above(mine, &helper->low)) {
		if (set(tid, mine) == 0)
			seen |= H_LENT;
		else if (errno == EPERM && helper->may_rise)
			atomic_store_explicit(&helper->stuck, true, memory_order_relaxed);
	}
	atomic_store_explicit(&helper->state, seen, memory_order_release);
	return seen & H_LENT;
}

void kt_priority_lend(struct kt_job *job)
{
	struct kt_sched mine;

	if (job->ctl.keep_pace)
		return;
	kt_priority_mine(&mine);
	for (size_t i = 0; i < job->crew_count; i++) {
		if (lend_to(&job->crew[i], &mine))
			return;
	}
}

void kt_priority_return(struct kt_helper *helper)
{
	if (set(0, &helper->low) == 0)
		helper->now = helper->low;
}

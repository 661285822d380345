/* SPDX-License-Identifier: MIT */
/*
 * Helpers give way: where they rest, what a job may raise them to, and what a caller lends them while it waits.
 *
 * The kernel lets everybody step down, but lets up again only with CAP_SYS_NICE or RLIMIT_NICE. So a helper without that
 * right never steps down from its nice value: SCHED_BATCH, which costs nothing to leave, is all that it gives way by.
 */
#include <errno.h>
#include <pthread.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "ktask/job.h"
#include "placement/placement.h"

#define LOWEST 19
/* How rarely a caller that waits looks whether what it waits for gets to run. */
#define MOST_PAUSE_NS (50 * KT_NS_PER_MS)

static int get(pid_t tid, struct kt_sched *ret)
{
	return (int)syscall(SYS_sched_getattr, tid, ret, sizeof(*ret), 0);
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
	if (get(0, &helper->now) != 0)
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
static bool get_of_caller(pid_t tid, struct kt_sched *ret)
{
	if (get(tid, ret) != 0)
		return false;
	if (ret->policy == SCHED_DEADLINE)
		*ret = (struct kt_sched){.nice = -20};
	ret->size = sizeof(*ret);
	ret->flags =
	    0; /* SCHED_FLAG_RESET_ON_FORK is about the caller's children, and not everybody may clear it again */
	ret->runtime = ret->deadline = ret->period = 0;
	return true;
}

/* SCHED_IDLE is below every nice value, and is left with the same right. */
static int level(const struct kt_sched *sched)
{
	return sched->policy == SCHED_IDLE ? LOWEST + 1 : sched->nice;
}

void kt_priority_take(struct kt_helper *helper, const struct kt_job *job)
{
	struct kt_sched wanted;

	if (!job || !job->ctl.keep_pace || !get_of_caller(job->caller, &wanted))
		wanted = helper->low;
	/* What it could not leave again it does not take. */
	if (!helper->may_rise && level(&wanted) > level(&helper->low)) {
		if (wanted.policy == SCHED_IDLE)
			wanted.policy = helper->low.policy;
		wanted.nice = helper->low.nice;
	}
	if (same(&wanted, &helper->now) || set(0, &wanted) != 0)
		return;
	helper->now = wanted;
	if (job)
		kt_helper_settle(helper); /* what it has been lent meanwhile is lost, and can be lent again */
}

static bool is_above(const struct kt_sched *a, const struct kt_sched *b)
{
	if (is_real_time(a) || is_real_time(b))
		return is_real_time(a) && (!is_real_time(b) || a->priority > b->priority);
	return level(a) < level(b);
}

static unsigned int lend_priority(struct kt_helper *helper, const struct kt_sched *mine)
{
	if (!is_above(mine, &helper->low))
		return 0;
	if (set((pid_t)atomic_load_explicit(&helper->tid, memory_order_relaxed), mine) == 0)
		return H_LENT;
	if (errno == EPERM && helper->may_rise)
		atomic_store_explicit(&helper->stuck, true, memory_order_relaxed);
	return 0;
}

/* Ours is idle as soon as we sleep, and its own may be somebody else's for long: what it is lent helps it there only when
 * its turn comes. Not where unbound threads shall not be, even if we are. */
static unsigned int lend_place(struct kt_helper *helper)
{
	const int cpu = sched_getcpu();

	if (kt_config()->simulate || cpu < 0 || !kt_view_has(KT_HOUSEKEEPING, (unsigned int)cpu) ||
	    !kt_view_has(KT_USABLE, (unsigned int)cpu))
		return 0;
	return kt_place_visit(helper->thread, (unsigned int)cpu) == 0 ? H_MOVED : 0;
}

static uint64_t ran_so_far(const struct kt_helper *helper)
{
	struct timespec ran;
	clockid_t clock;

	if (pthread_getcpuclockid(helper->thread->pthread, &clock) != 0 || clock_gettime(clock, &ran) != 0)
		return 0;
	return (uint64_t)ran.tv_sec * KT_NS_PER_S + (uint64_t)ran.tv_nsec;
}

/* It has had the loan for a while, and has not run for even half of that. */
static bool is_starved(const struct kt_recruit *recruit, struct kt_loan *loan)
{
	const uint64_t now = kt_now(), ran = ran_so_far(recruit->helper);
	const bool starved = loan->to == recruit && (ran - loan->ran) * 2 < now - loan->since;

	loan->to = recruit;
	loan->since = now;
	loan->ran = ran;
	return starved;
}

static bool has_turn(const struct kt_helper *helper, const struct kt_piece *turn)
{
	return (atomic_load_explicit(&turn->turn, memory_order_relaxed) & ~TURN_AWAITED) == kt_turn_of(helper);
}

/* False: it is not there any more. */
static bool lend_to(const struct kt_recruit *recruit, const struct kt_piece *turn, const struct kt_sched *mine,
                    struct kt_loan *loan)
{
	struct kt_helper *helper = recruit->helper;
	unsigned int seen = kt_helper_state(helper); /* acquire: what it rests at is seen */

	if (kt_helper_kind(seen) != H_BUSY || !kt_helper_same(seen, recruit->state))
		return false;
	if (!kt_helper_change(helper, seen, seen | H_LENDING))
		return false; /* it has just left, or given something back: nobody else changes the state of a busy one */
	/* Either it finds LENDING, and gives back what it is lent, or we find that its turn is over: see kt_helper_settle(). */
	if (!turn || has_turn(helper, turn)) {
		if (mine && !(seen & H_LENT))
			seen |= lend_priority(helper, mine);
		if (is_starved(recruit, loan) && !(seen & H_MOVED))
			seen |= lend_place(helper);
	}
	if (atomic_exchange_explicit(&helper->state, seen, memory_order_release) & H_AWAITED)
		kt_futex_wake(&helper->state, 1, KT_FUTEX_ALL);
	return true;
}

void kt_priority_lend(struct kt_job *job, const struct kt_piece *turn, struct kt_loan *loan)
{
	struct kt_sched mine;

	if (!job->ctl.keep_pace && !get_of_caller(0, &mine))
		mine = (struct kt_sched){.size = sizeof(mine), .nice = LOWEST}; /* nothing that anybody would want */
	for (size_t i = 0; i < job->crew_count; i++) {
		if ((!turn || has_turn(job->crew[i].helper, turn)) &&
		    lend_to(&job->crew[i], turn, job->ctl.keep_pace ? NULL : &mine, loan))
			return;
	}
}

bool kt_loan_wait(struct kt_loan *loan, atomic_uint *word, unsigned int seen)
{
	if (kt_futex_wait(word, seen, KT_FUTEX_ALL, kt_deadline(loan->pause)) != -ETIMEDOUT)
		return false;
	if (loan->pause < MOST_PAUSE_NS)
		loan->pause *= 2;
	return true;
}

void kt_priority_return(struct kt_helper *helper)
{
	if (set(0, &helper->low) == 0)
		helper->now = helper->low;
}

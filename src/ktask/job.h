/* SPDX-License-Identifier: MIT */
/*
 * A job, the helpers, and who may touch what of them.
 *
 * A helper is a thread of ours for one CPU, at home there (a preferred mask: what the rule says holds for it, too). Its
 * state is one word, with the number of its latest recruitment in the upper bits, so that an answer to one recruitment is
 * never taken for an answer to another:
 *
 *   ABSENT   no thread
 *   ASLEEP   in, or on its way into, kthread_wait(): to be woken after an offer
 *   HOT      looks at the word for a while, or has been woken to do so: just store the offer
 *   CLAIMED  by a recruiter, who is about to offer a job
 *   OFFERED  the caller of the job may still take it back
 *   BUSY     in the job, which does not end before it has left. LENDING: its caller is about to lend it something.
 *            LENT: a priority. MOVED: its CPU. AWAITED, with LENDING: the helper sleeps for the end of that
 *   LEAVING  not in the job any more, but has not given that back yet
 *
 * Who makes which change:  ABSENT, ASLEEP, HOT -> CLAIMED -> OFFERED  a recruiter, under the pool's lock
 *                          OFFERED -> BUSY (-> LEAVING) -> HOT -> ASLEEP  the helper
 *                          OFFERED -> HOT                              the job's caller
 *                          BUSY -> LENDING -> LENT, MOVED              the job's caller; the helper waits out LENDING
 *                          LENDING -> LENDING with AWAITED             the helper
 *                          LENT -> BUSY                                the helper, as its turn with an iterator ends
 *
 * Helpers take no lock for all this: one that is starved at its low priority must not hold up anybody else.
 */
#ifndef KT_KTASK_JOB_H
#define KT_KTASK_JOB_H

#include <kthread/ktask.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>

#include "base/futex.h"
#include "base/library.h"
#include "ktask/plan.h"
#include "thread/thread.h"

/* Two cache lines: processors fetch them in pairs. */
#define KT_APART _Alignas(128)

/* ---- helpers ---------------------------------------------------------------------------------------------------- */

enum {
	H_ABSENT,
	H_ASLEEP,
	H_HOT,
	H_CLAIMED,
	H_OFFERED,
	H_BUSY,
	H_LEAVING,
	H_KIND = 0x7,
	H_LENDING = 0x8,
	H_LENT = 0x10,
	H_MOVED = 0x20,
	H_AWAITED = 0x40,
	H_NUMBER = 0x80 /* one recruitment */
};

static inline unsigned int kt_helper_kind(unsigned int state)
{
	return state & H_KIND;
}

/* The same recruitment? */
static inline bool kt_helper_same(unsigned int state, unsigned int other)
{
	return state / H_NUMBER == other / H_NUMBER;
}

/* What the kernel calls struct sched_attr, its first version; libc has a name for it only lately. */
struct kt_sched {
	uint32_t size;
	uint32_t policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

struct kt_job;

struct kt_helper {
	KT_APART atomic_uint state;
	atomic_bool ousted;     /* leave after this chunk: set by its job's caller */
	struct kt_job *job;     /* handed over with OFFERED, */
	bool asks;              /* and whether it is to see for itself that it may help */
	struct kthread *thread; /* the pool's, under its lock */
	unsigned int cpu;
	size_t node; /* index into the pool's nodes; under its lock */
	/* Its own. */
	struct kt_sched low; /* where it rests */
	struct kt_sched now;
	bool may_rise;     /* has the right to raise its priority again */
	atomic_bool stuck; /* has lost that right while it was low: set by who would lend */
	atomic_int tid;
};

static inline unsigned int kt_helper_state(const struct kt_helper *helper)
{
	return atomic_load_explicit(&helper->state, memory_order_acquire);
}

/* release: what was done before is seen by who finds the state; acquire: the other way round. */
static inline bool kt_helper_change(struct kt_helper *helper, unsigned int from, unsigned int to)
{
	return atomic_compare_exchange_strong_explicit(&helper->state, &from, to, memory_order_acq_rel,
	                                               memory_order_relaxed);
}

/* (helper.c) A thread for its CPU, which sleeps until it is woken; without memory for its wish it is just somewhere. The
 * pool's lock is held, and the thread that it had has ended. False: there is none. */
bool kt_helper_make(struct kt_helper *helper, size_t setsize);
/* Is the calling thread a helper? */
bool kt_is_helper(void);
/* By the helper: the priority that it was lent for its turn with an iterator it gives back; but not its place: at home it may
 * be starved. */
void kt_helper_settle(struct kt_helper *helper);
/* How many look for an offer: they can be had without waking them. */
size_t kt_helpers_hot(void);
/* Grows as helpers become free. */
uint64_t kt_helpers_freed(void);
void kt_helper_is_free(void);
/* The cgroup grants so much time and no more: none of it for looking. */
void kt_helpers_limited(bool is);
void kt_helpers_begin(void);
/* A forked child has none. */
void kt_helpers_forget(void);

/* ---- jobs ------------------------------------------------------------------------------------------------------- */

struct kt_piece {
	KT_APART _Atomic size_t taken; /* units [0, taken) have been handed out */
	struct ktask_node given;
	size_t base;      /* of positions, see kt_plan_end() */
	atomic_uint turn; /* with an iterator: whose it is to move on, kt_turn_of(); 0 = nobody's */
	void *position;   /* of `taken`; by who has the turn */
};

/* In `turn`, besides: somebody sleeps for it. */
#define TURN_AWAITED 1u

/* NULL: the caller. */
static inline unsigned int kt_turn_of(const struct kt_helper *helper)
{
	return helper ? (helper->cpu + 2) << 1 : 1u << 1;
}

struct kt_failure {
	size_t piece;
	size_t from, to;
	void *start, *end;
};

struct kt_recruit {
	struct kt_helper *helper;
	unsigned int state; /* as it was offered */
};

#define JOB_WAITED 0x80000000u /* in `active`: the caller sleeps on it */

struct kt_job {
	struct ktask_ctl ctl;
	struct kt_piece *pieces;
	size_t piece_count, piece_room;
	size_t units;
	unsigned int epoch;
	pid_t caller;
	KT_APART atomic_uint active; /* helpers with an offer, or at work */
	atomic_bool declined;        /* one has: its CPU is not the caller's */
	atomic_int error;    /* the first one; 0 = none. release: pairs with the acquire of who looks before a chunk */
	_Atomic size_t done; /* units, for progress only */
	atomic_size_t failure_count;
	/* The caller's. */
	size_t reported; /* progress */
	bool narrow;     /* the caller's mask lacks CPUs that helpers may use, as far as is known */
	size_t crew_count;
	uint64_t news;               /* kt_pool_news() at the last attempt to recruit */
	size_t tried, tried_hot;     /* helpers that were wanted then */
	struct kt_job *next;         /* free */
	struct kt_failure *failures; /* room for every helper and the caller */
	struct kt_recruit crew[];    /* room for every helper; of those that have left some are still there */
};

/* Is this a child that one of the client's functions has forked? Nobody else is here, and nothing more is to be done. */
static inline bool kt_forked_since(unsigned int epoch)
{
	return epoch != atomic_load_explicit(&kt_epoch, memory_order_relaxed);
}

/* A participant's part in a job. */
struct kt_share {
	struct kt_job *job;
	struct kt_helper *helper; /* NULL: the caller */
	int node;                 /* whose pieces come first */
	size_t near, far, first;  /* how far it has looked for work: near pieces, then all from `first` on */
	size_t grain;
	uint64_t ticks; /* since when it works on the chunk */
	double spent;   /* ticks in the client's function, and for how many units */
	double worked;
	bool walking;
	bool recruits;          /* the caller may have helpers */
	size_t piece, from, to; /* the chunk; from == to: none */
	void *start, *end;
};

static inline size_t kt_piece_left(struct kt_piece *piece)
{
	return piece->given.size - atomic_load_explicit(&piece->taken, memory_order_relaxed);
}

/* Who works for it, its caller among them. */
static inline size_t kt_job_threads(struct kt_job *job)
{
	return 1 + (atomic_load_explicit(&job->active, memory_order_relaxed) & ~JOB_WAITED);
}

/* Where no iterator says otherwise; not as an address, which NULL is not. */
static inline void *kt_position(const struct ktask_node *piece, size_t offset)
{
	return (void *)((uintptr_t)piece->start + offset); /* NOLINT(performance-no-int-to-ptr) */
}

/* (chunk.c) Take the next chunk. False: there is none, or there was an error. */
bool kt_share_take(struct kt_share *share);
/* Its turn with the iterator of the piece is over. */
void kt_share_end_turn(struct kt_share *share);

/* Take chunks until there are none, or an error, or the helper has to go. (job.c) */
void kt_share_work(struct kt_share *share);
/* (cost.c) Ticks for a unit of what this function does; negative: it has never run. */
double kt_cost_of(ktask_fn fn);
void kt_cost_remember(ktask_fn fn, double ticks);
/* Its caller has done a job alone; and: has so much been done so lately that a helper should look for the next ones? */
void kt_cost_note_alone(const struct kt_share *share);
bool kt_cost_many_alone(double ticks_left);
void kt_costs_forget(void);
/* The participant's thread ends in the client's function. */
void kt_share_abandon(struct kt_share *share);

/* ---- the pool (pool.c) ------------------------------------------------------------------------------------------ */

/* A job's memory for so many pieces; NULL for want of memory. What was put back is used again. */
struct kt_job *kt_job_get(size_t pieces);
void kt_job_put(struct kt_job *job);

/* On the machine as it is now there is no room for helpers. */
bool kt_pool_alone(void);
/* Changes whenever it may be worth to try again to recruit. */
uint64_t kt_pool_news(void);
/* Give the job up to `want` helpers more, if the limits allow; only such as look already, or any. Also sends those away who
 * are beyond the limits now. False: somebody else is at it, try again. */
bool kt_pool_recruit(struct kt_job *job, size_t want, bool hot_only);
/* Take the offers back that nobody has accepted yet. */
void kt_pool_revoke(struct kt_job *job);

/* ---- time ------------------------------------------------------------------------------------------------------- */

/* Cheap, and good enough to tell long from short: no order with other loads, and a frequency that is guessed at first. */
static inline uint64_t kt_ticks(void)
{
#if defined(__x86_64__) || defined(__i386__)
	return __builtin_ia32_rdtsc();
#else
	return kt_now();
#endif
}

uint64_t kt_ticks_of(uint64_t ns); /* (helper.c) */

/* ---- priority (priority.c) -------------------------------------------------------------------------------------- */

/* The helper begins: step down to where it rests. */
void kt_priority_begin(struct kt_helper *helper);
/* The helper takes up a job, or (NULL) goes to rest. With ctl.keep_pace it asks what the caller runs at itself: the caller
 * works meanwhile. */
void kt_priority_take(struct kt_helper *helper, const struct kt_job *job);
/* While the caller waits: to whom it lent something last, how much that has run since, and when it looks again. */
struct kt_loan {
	const struct kt_recruit *to;
	uint64_t since, ran, pause; /* ns */
};
/* When it looks for the first time whether what it waits for gets to run. */
#define KT_LOAN_INIT \
	{ \
		.pause = KT_NS_PER_MS / 2 \
	}

/* Sleep on a word. True: nobody has woken us until it was time to look; the next time is later. */
bool kt_loan_wait(struct kt_loan *loan, atomic_uint *word, unsigned int seen);
/*
 * The caller has nothing to do but to wait, for whoever has the turn with a piece's iterator, or (NULL) for all of the crew:
 * lend its priority to one of these, unless one that has it still works. To be called again with the same loan a while
 * later: whom that did not help is lent the caller's CPU, too. Two may have it at once, if one in a chunk had been
 * lent to when another's turn came to be waited for.
 */
void kt_priority_lend(struct kt_job *job, const struct kt_piece *turn, struct kt_loan *loan);
/* The helper has had it: back to rest. */
void kt_priority_return(struct kt_helper *helper);

#endif

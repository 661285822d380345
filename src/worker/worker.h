/* SPDX-License-Identifier: MIT */
/*
 * A worker from inside. worker.c is its thread and its life, queue.c its queue, work.c what is done with works.
 *
 * A work is, by its state,
 *   idle                   0
 *   on its way             WORK_PENDING, prev NULL: whoever set the bit owns it, and brings it into the inbox or the wheel
 *   in the inbox           the same
 *   in the list            WORK_PENDING, prev not NULL
 *   in the batch           WORK_PENDING, prev NULL: whoever empties its slot has it
 *   in the wheel           WORK_PENDING, kt_wheel_has()
 * and any of these with a number of cancellers besides, who keep new owners away. It becomes `current` before it leaves
 * the list or the batch, and is pending no more after that.
 */
#ifndef KT_WORKER_WORKER_H
#define KT_WORKER_WORKER_H

#include <kthread/worker.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "base/futex_lock.h"
#include "base/library.h"
#include "worker/wheel.h"

enum { WORK_PENDING = 1, WORK_CANCELLER = 2 };

/* So many are taken out of the list at a time. */
#define BATCH 16u

/* Words of the inbox that are no work. */
#define INBOX_SLEEPING ((struct kthread_work *)1) /* empty, and the thread sleeps: whoever replaces this wakes it */
#define INBOX_CLOSED ((struct kthread_work *)2)   /* nothing is accepted */

struct kthread_worker {
	/* The producers' line. A stack: the last that was queued, NULL, or one of the words above. */
	struct kthread_work *_Atomic inbox __attribute__((aligned(64)));
	/* Wakes that somebody has made; those that somebody has to make are counted under the lock. The handle of the
	 * thread is not given up before both are the same. */
	atomic_uint wakes_made;

	/* Written when a life begins and ends, and looked at in each turn. */
	struct kthread *thread __attribute__((aligned(64))); /* changes only while nobody can be about to wake it */
	atomic_uint epoch; /* see kt_epoch; relaxed: a late canceller looks while the memory is taken again */
	unsigned int flags;
	unsigned int cpu; /* KTHREAD_WORKER_PER_CPU */

	atomic_uint lock __attribute__((aligned(64)));
	/* Under the lock: */
	unsigned int wakes_owed;
	bool asleep;              /* or about to be: new works in the list have to wake it */
	atomic_bool beckoned;     /* awake, and something came into the list: it looks at this without the lock */
	bool closed;              /* INBOX_CLOSED: stays so */
	uint64_t wake_at;         /* while asleep */
	struct kthread_work list; /* a ring: its next is the first, its prev the last; itself it is no work */
	struct kthread_work last; /* in the list while its CPU is about to go: what is behind waits. Not a work */
	size_t length;            /* of the list: works only */

	/* The thread's line. The works before the list's first: the thread takes them from batch[taken] on, without the lock;
	 * whoever holds the lock may bring them back into the list. */
	struct kthread_work *_Atomic batch[BATCH] __attribute__((aligned(64)));
	atomic_uint batched;                  /* in how many slots there may be one; changes under the lock */
	unsigned int taken;                   /* the thread's own */
	struct kthread_work *_Atomic current; /* compared, never followed: it may have freed itself */
	uint64_t slept_at;                    /* since it idled last: when it fell asleep, or 0; the thread's own */
	bool naps;                            /* its sleeps are hardly worth it; the thread's own */

	struct kt_wheel wheel __attribute__((aligned(64))); /* under the lock */
	LIST_ENTRY(kthread_worker) link;                    /* under the workers' */
};

static inline atomic_uint *kt_work_state(struct kthread_work *work)
{
	return (atomic_uint *)&work->state;
}

static inline void kt_worker_lock(struct kthread_worker *w)
{
	kt_futex_lock(&w->lock);
}

static inline void kt_worker_unlock(struct kthread_worker *w)
{
	kt_futex_unlock(&w->lock);
}

/* Under the lock: must it be woken? If so unlock, then kt_worker_wake(). */
bool kt_worker_owes_wake(struct kthread_worker *w);
void kt_worker_wake(struct kthread_worker *w);
/* Under the lock; for kt_worker_recall_batch() and kt_worker_gather_inbox(). */
void kt_worker_empty_batch(struct kthread_worker *w);
void kt_worker_take_inbox(struct kthread_worker *w);
/* Under the lock: bring into the list what the thread has not begun of its batch, what is in the inbox, what is due; all of
 * these, in this order. */
static inline void kt_worker_recall_batch(struct kthread_worker *w)
{
	if (atomic_load_explicit(&w->batched, memory_order_relaxed))
		kt_worker_empty_batch(w);
}

static inline void kt_worker_gather_inbox(struct kthread_worker *w)
{
	struct kthread_work *last = atomic_load_explicit(&w->inbox, memory_order_relaxed);

	/* only who holds the lock takes works out or puts a word in, so it stays a work */
	if (last && last != INBOX_SLEEPING && last != INBOX_CLOSED)
		kt_worker_take_inbox(w);
}

void kt_worker_gather_due(struct kthread_worker *w);
void kt_worker_gather(struct kthread_worker *w);
/* Under the lock. */
void kt_worker_append(struct kthread_worker *w, struct kthread_work *work);
void kt_worker_unlink(struct kthread_worker *w, struct kthread_work *work);
/* Under the lock, which is released: wait until all up to `where`, in the list, has ended. */
void kt_worker_wait_behind(struct kthread_worker *w, struct kthread_work *where);

static inline bool kt_worker_is_current(const struct kthread_worker *w, const struct kthread_work *work)
{
	/* acquire: pairs with next_of_batch() */
	return atomic_load_explicit(&w->current, memory_order_acquire) == work;
}

/* Under the lock: is the caller one of its works? It would wait for itself. */
static inline bool kt_worker_inside(const struct kthread_worker *w)
{
	return w->thread && kthread_self() == w->thread;
}

/* False in a child of the process whose worker it is. */
static inline bool kt_worker_is_ours(const struct kthread_worker *w)
{
	return atomic_load_explicit(&w->epoch, memory_order_relaxed) ==
	       atomic_load_explicit(&kt_epoch, memory_order_relaxed);
}

/* Take the first work out, and make it current; NULL: there is none. The one before has ended. */
struct kthread_work *kt_worker_next(struct kthread_worker *w);
/* The one before has ended, and the next will not come soon: nobody waits for it any more. */
void kt_worker_rest(struct kthread_worker *w);
/* Accept nothing more. What is in the inbox comes into the list; what waits for its time is idle, and counted. */
size_t kt_worker_close(struct kthread_worker *w);
/* Nobody will run what is in the list: it is idle again, who waits is let go. How many works that were. */
size_t kt_worker_abandon(struct kthread_worker *w);

/* Is k the thread of a worker? */
bool kt_worker_has(const struct kthread *k);

extern const struct kt_room kt_worker_room;

#endif

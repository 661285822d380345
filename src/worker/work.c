/* SPDX-License-Identifier: MIT */
/*
 * What is done with a work: queue it, at once or after a delay, flush it, cancel it.
 */
#include "base/futex.h"
#include "base/probe.h"
#include "thread/thread.h"
#include "worker/worker.h"

static struct kthread_worker *_Atomic *owner_of(struct kthread_work *work)
{
	return (struct kthread_worker * _Atomic *)&work->worker;
}

void kthread_init_work(struct kthread_work *work, void (*fn)(struct kthread_work *work))
{
	if (work)
		*work = (struct kthread_work)KTHREAD_WORK_INIT(fn);
}

void kthread_init_delayed_work(struct kthread_delayed_work *dwork, void (*fn)(struct kthread_work *work))
{
	if (dwork)
		*dwork = (struct kthread_delayed_work)KTHREAD_DELAYED_WORK_INIT(fn);
}

/* ---- whose a work is -------------------------------------------------------------------------------------------- */

/*
 * Become the one who brings an idle work somewhere. A read-modify-write also if it is pending: what the caller did before
 * is then seen by the run that is still to come. Pairs with begin(). One that is being cancelled is left as it
 * is: to the canceller, who may queue it as soon as he is done, it must not look pending because of somebody refused.
 */
static bool claim(struct kthread_work *work)
{
	unsigned int before = atomic_load_explicit(kt_work_state(work), memory_order_relaxed);

	do {
		if (before >= WORK_CANCELLER && !(before & WORK_PENDING))
			return false;
	} while (!atomic_compare_exchange_weak_explicit(kt_work_state(work), &before, before | WORK_PENDING,
	                                                memory_order_acq_rel, memory_order_relaxed));
	return !before;
}

static bool disclaim(struct kthread_work *work)
{
	atomic_fetch_and_explicit(kt_work_state(work), ~(unsigned int)WORK_PENDING, memory_order_release);
	return false;
}

/*
 * The caller has claimed the work: it now belongs to w, or else to the worker on which it still runs. It changes its
 * worker under the lock of the former one, so who holds that lock, and finds it there, can rely on it.
 */
static struct kthread_worker *belong(struct kthread_worker *w, struct kthread_work *work)
{
	struct kthread_worker *former = atomic_load_explicit(owner_of(work), memory_order_acquire);

	if (former == w)
		return w;
	if (!former || !kt_worker_is_ours(former)) {
		atomic_store_explicit(owner_of(work), w, memory_order_release);
		return w;
	}
	kt_worker_lock(former);
	if (kt_worker_is_current(former, work))
		w = former;
	else
		atomic_store_explicit(owner_of(work), w, memory_order_release);
	kt_worker_unlock(former);
	return w;
}

enum place {
	NOWHERE, /* neither pending nor running */
	RUNNING, /* and not pending */
	LISTED,  /* pending in the list */
	DELAYED, /* pending until its time has come */
	FOREIGN  /* of a worker of the process that this one was forked from */
};

/* Under the lock: bring what is in the inbox, and what is due, into the list, and say where the work is. False: it is
 * another worker's, or on its way. */
static bool find(struct kthread_worker *w, struct kthread_work *work, bool due, enum place *place)
{
	/* acquire: pairs with belong(), so what former workers did to it is seen */
	if (atomic_load_explicit(owner_of(work), memory_order_acquire) != w)
		return false;
	kt_worker_recall_batch(w);
	kt_worker_gather_inbox(w);
	if (due)
		kt_worker_gather_due(w);
	if (kt_wheel_has(work))
		*place = DELAYED;
	else if (atomic_load_explicit(kt_work_state(work), memory_order_acquire) & WORK_PENDING)
		*place = LISTED;
	else
		*place = kt_worker_is_current(w, work) ? RUNNING : NOWHERE;
	return *place != LISTED || work->prev;
}

/* It was not there at once. */
__attribute__((noinline)) static struct kthread_worker *await_owner(struct kthread_work *work, bool due,
                                                                    enum place *place)
{
	for (unsigned int turn = 0;; turn++) {
		const unsigned int state = atomic_load_explicit(kt_work_state(work), memory_order_acquire);
		struct kthread_worker *w = atomic_load_explicit(owner_of(work), memory_order_acquire);

		if (w && !kt_worker_is_ours(w)) {
			*place = FOREIGN;
			return NULL;
		}
		if (!w && !(state & WORK_PENDING)) {
			*place = NOWHERE;
			return NULL;
		}
		if (w) {
			kt_worker_lock(w);
			if (find(w, work, due, place))
				return w;
			kt_worker_unlock(w);
		}
		if (turn < KT_SPIN_PAUSES + KT_SPIN_YIELDS)
			kt_spin(turn);
		else /* nobody wakes us, but neither do we keep a preempted thread from its CPU */
			kt_futex_wait(kt_work_state(work), state, KT_FUTEX_ALL, kt_deadline(KT_NS_PER_MS / 20));
	}
}

/*
 * Lock the worker of a work, and say where the work is; due: if its time has come it is LISTED, else it may be DELAYED
 * still. NULL: it has no worker (NOWHERE or FOREIGN). A work on its way is waited for: whoever claimed it takes a
 * moment, if it is not preempted there.
 */
static struct kthread_worker *lock_owner(struct kthread_work *work, bool due, enum place *place)
{
	struct kthread_worker *w = atomic_load_explicit(owner_of(work), memory_order_acquire);

	if (!w || !kt_worker_is_ours(w))
		return await_owner(work, due, place);
	kt_worker_lock(w);
	if (find(w, work, due, place))
		return w;
	kt_worker_unlock(w);
	return await_owner(work, due, place);
}

/* ---- queueing --------------------------------------------------------------------------------------------------- */

/* How long a producer that has met another one leaves the inbox to him: some microseconds. */
#define APART_PAUSES 100u

/* Who comes back at once takes the cache line away from the other, who could push a dozen works in the time that moving it
 * takes. Not for the worker's thread, which has just emptied the inbox, and would fall asleep. */
static void make_way(const struct kthread_work *found)
{
	if (!found || found == INBOX_SLEEPING || found == INBOX_CLOSED)
		return;
	for (unsigned int i = 0; i < APART_PAUSES; i++)
		kt_spin(0);
}

static bool push(struct kthread_worker *w, struct kthread_work *work)
{
	struct kthread_work *last;

	w = belong(w, work);
	KT_PROBE2(work_queue, w, work); /* before anybody can run it */
	for (;;) {
		last = atomic_load_explicit(&w->inbox, memory_order_relaxed);
		if (last == INBOX_CLOSED)
			return disclaim(work);
		work->next = last == INBOX_SLEEPING ? NULL : last;
		/* release: pairs with kt_worker_take_inbox(). After this the work may be gone. */
		if (atomic_compare_exchange_strong_explicit(&w->inbox, &last, work, memory_order_acq_rel,
		                                            memory_order_relaxed))
			break;
		make_way(last);
	}
	if (last == INBOX_SLEEPING)
		kt_worker_wake(w);
	return true;
}

bool kthread_queue_work(struct kthread_worker *w, struct kthread_work *work)
{
	return w && work && work->fn && claim(work) && push(w, work);
}

/* Under the lock: into the wheel with a claimed work. True: kt_worker_wake() is owed. */
static bool arm(struct kthread_worker *w, struct kthread_delayed_work *dwork, uint64_t delay_ns)
{
	const uint64_t now = kt_now();

	dwork->expires = delay_ns < KT_NEVER - now ? now + delay_ns : KT_NEVER;
	KT_PROBE3(work_delay, w, &dwork->work, delay_ns);
	kt_wheel_add(&w->wheel, dwork, now);
	kt_worker_recall_batch(w); /* from here on the thread looks at the time after each work */
	return dwork->expires < w->wake_at && kt_worker_owes_wake(w);
}

/* A claimed work. */
static bool queue_delayed(struct kthread_worker *w, struct kthread_delayed_work *dwork, uint64_t delay_ns)
{
	bool wake;

	if (delay_ns == 0)
		return push(w, &dwork->work);
	w = belong(w, &dwork->work);
	kt_worker_lock(w);
	if (w->closed) {
		kt_worker_unlock(w);
		return disclaim(&dwork->work);
	}
	wake = arm(w, dwork, delay_ns);
	kt_worker_unlock(w);
	if (wake)
		kt_worker_wake(w);
	return true;
}

bool kthread_queue_delayed_work(struct kthread_worker *w, struct kthread_delayed_work *dwork, uint64_t delay_ns)
{
	return w && dwork && dwork->work.fn && claim(&dwork->work) && queue_delayed(w, dwork, delay_ns);
}

/* Under the lock: out of the list or the wheel. It is still claimed. */
static void take_out(struct kthread_worker *w, struct kthread_work *work, enum place place)
{
	if (place == LISTED)
		kt_worker_unlink(w, work);
	else
		kt_wheel_remove(&w->wheel, (struct kthread_delayed_work *)work);
}

bool kthread_mod_delayed_work(struct kthread_worker *w, struct kthread_delayed_work *dwork, uint64_t delay_ns)
{
	struct kthread_work *work = dwork ? &dwork->work : NULL;
	struct kthread_worker *owner;
	enum place place;
	bool wake = false;

	if (!w || !work || !work->fn)
		return false;
	for (;;) {
		if (claim(work)) {
			queue_delayed(w, dwork, delay_ns);
			return false;
		}
		if (atomic_load_explicit(kt_work_state(work), memory_order_acquire) >= WORK_CANCELLER)
			return true;
		owner = lock_owner(work, false, &place);
		if (place == LISTED || place == DELAYED)
			break;
		if (place == FOREIGN)
			return false;
		if (owner) /* it has begun to run meanwhile: it is idle */
			kt_worker_unlock(owner);
	}
	/* A canceller that has come since is waiting for the lock. What a closed worker has in its list it will run. */
	if (!owner->closed) {
		take_out(owner, work, place);
		if (delay_ns) {
			wake = arm(owner, dwork, delay_ns);
		} else {
			KT_PROBE2(work_queue, owner, work);
			kt_worker_append(owner, work);
			wake = kt_worker_owes_wake(owner);
		}
	}
	kt_worker_unlock(owner);
	if (wake)
		kt_worker_wake(owner);
	return true;
}

/* ---- flush and cancel ------------------------------------------------------------------------------------------- */

void kthread_flush_work(struct kthread_work *work)
{
	struct kthread_worker *w;
	enum place place;

	if (!work || !(w = lock_owner(work, true, &place)))
		return;
	if (kt_worker_inside(w) || place == NOWHERE || place == DELAYED)
		kt_worker_unlock(w);
	else
		kt_worker_wait_behind(w, place == LISTED ? work : &w->list);
}

/*
 * Under the lock: no more pending, if it was. The lock keeps out cancellers, who count themselves in the same word, and a
 * claim of a pending work leaves that as it is: so this need be no read-modify-write. acquire, and release: what somebody
 * did who was told that it is pending is seen by who claims it next (of one who is told so between the two that is true of
 * all processors, but not written in C11).
 */
static bool cancel_pending(struct kthread_worker *w, struct kthread_work *work, enum place place)
{
	const unsigned int state = atomic_load_explicit(kt_work_state(work), memory_order_acquire);

	if (place != LISTED && place != DELAYED)
		return false;
	take_out(w, work, place);
	/* release: pairs with claim() */
	atomic_store_explicit(kt_work_state(work), state & ~(unsigned int)WORK_PENDING, memory_order_release);
	return true;
}

/* Under the lock, which is released: it runs, and may be queued again while we wait for its end, even by itself. */
static bool cancel_running(struct kthread_worker *w, struct kthread_work *work)
{
	enum place place;
	bool was_pending;

	/* From now on nobody can claim it. Who has claimed it already is waited for, and may bring it to another worker; that
	 * one it keeps. */
	atomic_fetch_add_explicit(kt_work_state(work), WORK_CANCELLER, memory_order_acq_rel);
	kt_worker_unlock(w);
	w = lock_owner(work, false, &place);
	was_pending = cancel_pending(w, work, place);
	if (kt_worker_is_current(w, work) && !kt_worker_inside(w)) {
		kt_worker_wait_behind(w, &w->list);
		kt_worker_lock(w);
	}
	/* release: pairs with claim() */
	atomic_fetch_sub_explicit(kt_work_state(work), WORK_CANCELLER, memory_order_release);
	kt_worker_unlock(w);
	return was_pending;
}

bool kthread_cancel_work_sync(struct kthread_work *work)
{
	struct kthread_worker *w;
	enum place place;
	bool was_pending;

	if (!work)
		return false;
	w = lock_owner(work, false, &place);
	if (!w && place == FOREIGN)
		return atomic_fetch_and_explicit(kt_work_state(work), ~(unsigned int)WORK_PENDING,
		                                 memory_order_relaxed) &
		       WORK_PENDING;
	if (!w)
		return false;
	was_pending = cancel_pending(w, work, place);
	if (kt_worker_is_current(w, work) && !kt_worker_inside(w))
		return cancel_running(w, work) || was_pending;
	kt_worker_unlock(w);
	return was_pending;
}

bool kthread_cancel_delayed_work_sync(struct kthread_delayed_work *dwork)
{
	return kthread_cancel_work_sync(dwork ? &dwork->work : NULL);
}

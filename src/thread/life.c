/* SPDX-License-Identifier: MIT */
/*
 * Requests from outside: wake, stop, park, unpark, references. What the thread itself does is in self.c.
 */
#include <errno.h>

#include "thread/standstill.h"
#include "thread/thread.h"

/* ---- waking --------------------------------------------------------------------------------------------------- */

void kt_thread_roused(struct kthread *k, unsigned int before)
{
	if (before & W_SLEEPING)
		kt_futex_wake(&k->word, 1, KT_WAKE_THREAD);
	if (before & W_WATCHED)
		kt_futex_wake(&k->word, INT_MAX, KT_WAKE_WATCHERS);
}

bool kthread_wake(struct kthread *k)
{
	unsigned int before;
	unsigned int after;

	if (kt_handle_alive(k) != 0)
		return false;
	before = kt_word(&k->word);
	do {
		if (before & W_EXITED)
			return false;
		after = before | (before & W_STARTED ? W_TOKEN : W_STARTED);
		/* Written even if nothing changes: the thread that takes the token later must see what we did before. */
	} while (!kt_word_change(&k->word, &before, after));
	/* a start is no wake that a poll loop has to hear of; and who is held stays asleep: unpark, thaw find the token */
	if (!(before & W_STARTED)) {
		if (before & W_SLEEPING)
			kt_futex_wake(&k->word, 1, KT_WAKE_THREAD);
		return true;
	}
	kt_thread_roused(k, before == after || before & (W_PARKED | W_FROZEN) ? 0 : before & W_SLEEPING);
	if (after & W_TOKEN)
		kt_event_fd_notify(k);
	return before != after;
}

/* ---- waiting for a thread -------------------------------------------------------------------------------------- */

/*
 * Sleep until one of `bits` is set or one of `unless` is clear, at most until the deadline. Spins a little first.
 * Returns the word.
 */
static unsigned int watch_for(struct kthread *k, unsigned int bits, unsigned int unless, uint64_t deadline)
{
	unsigned int turn = 0;
	unsigned int now;

	while (!((now = kt_word(&k->word)) & bits) && (now & unless) == unless) {
		if (turn < KT_SPIN_PAUSES + KT_SPIN_YIELDS) {
			kt_spin(turn++);
			continue;
		}
		if (!(now & W_WATCHED) && !kt_word_change(&k->word, &now, now | W_WATCHED))
			continue;
		if (kt_futex_wait(&k->word, now | W_WATCHED, KT_WAKE_WATCHERS, deadline) == -ETIMEDOUT)
			return kt_word(&k->word);
	}
	return now;
}

unsigned int kt_thread_watch(struct kthread *k, unsigned int bits, unsigned int unless, unsigned int noticed,
                             uint64_t deadline)
{
	uint64_t pause = KT_INTERRUPT_FIRST_NS;
	uint64_t again = 0;
	unsigned int now = kt_word(&k->word);

	while (k->interrupt_signal && again < deadline && !(now & (bits | noticed)) && (now & unless) == unless) {
		kt_interrupt_send(k);
		again = kt_deadline(pause);
		now = watch_for(k, bits | noticed, unless, again < deadline ? again : deadline);
		pause = pause < KT_NS_PER_S / 2 ? pause * 2 : pause;
	}
	return watch_for(k, bits, unless, deadline);
}

/* ---- stop ------------------------------------------------------------------------------------------------------ */

void kt_thread_ask_to_stop(struct kthread *k)
{
	/* stop beats park and freeze: it resumes, and later ones are not granted */
	unsigned int before = kt_word(&k->word);
	const unsigned int cleared = W_PARK_ANY | W_PARKED | W_FREEZE | W_FROZEN | W_WATCHED;

	while (!kt_thread_turn(k, &before, (before | W_STOP | W_TOKEN) & ~cleared))
		continue;
	kt_thread_roused(k, before);
	kt_event_fd_notify(k);
	kt_standstill_asked();
}

/* The first to come joins. For the others, and if the thread was detached once, the end of its code has to do. */
static void reap(struct kthread *k)
{
	int cancel_state;

	if (k->interrupt_signal)
		kt_thread_watch(k, W_EXITED, 0, W_TOLD_STOP, KT_NEVER);
	if (kt_word_set(&k->word, W_REAPED) & W_REAPED) {
		watch_for(k, W_EXITED, 0, KT_NEVER);
		return;
	}
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state); /* a join half done would never be finished */
	pthread_join(k->pthread, NULL);
	pthread_setcancelstate(cancel_state, NULL);
}

int kthread_stop(struct kthread *k)
{
	int result = kt_handle_alive(k);

	if (result == -ECHILD)
		kthread_put(k);
	if (result)
		return result;
	if (k == kthread_self())
		return -EDEADLK;
	kt_thread_ask_to_stop(k);
	reap(k);
	result = k->result; /* ordered by the join, or by the acquire that found EXITED */
	kthread_put(k);
	return result;
}

int kthread_stop_put(struct kthread *k)
{
	int result;

	if (!k || k->kind == KT_ADOPTED || k == kthread_self())
		return kthread_stop(k);
	kthread_get(k);
	result = kthread_stop(k);
	kthread_put(k);
	kthread_put(k);
	return result;
}

/* ---- references ------------------------------------------------------------------------------------------------ */

struct kthread *kthread_get(struct kthread *k)
{
	if (k)
		atomic_fetch_add_explicit(&k->refs, 2, memory_order_relaxed);
	return k;
}

/* The last user goes and the thread lives: nobody will join it, and if it has not begun, nobody will start it. Done
 * before the reference goes, because after that the thread may end and take the handle with it. */
static void let_go(struct kthread *k)
{
	if (!(kt_word(&k->word) & (W_STARTED | W_STOP)))
		kt_thread_ask_to_stop(k);
	if (!(kt_word_set(&k->word, W_REAPED) & W_REAPED))
		pthread_detach(k->pthread);
}

void kthread_put(struct kthread *k)
{
	unsigned int refs;

	if (!k)
		return;
	refs = atomic_load_explicit(&k->refs, memory_order_acquire);
	for (;;) {
		if (refs <= 3 && k->kind == KT_ADOPTED && kt_handle(k) == 0)
			kt_hooks->released(k);
		else if (refs == 3 && kt_handle(k) == 0)
			let_go(k);
		if (atomic_compare_exchange_weak_explicit(&k->refs, &refs, refs - 2, memory_order_acq_rel,
		                                          memory_order_acquire))
			break;
	}
	if (refs != 2)
		return;
	if (k->kind != KT_ADOPTED && kt_handle(k) == 0 && !(kt_word(&k->word) & W_REAPED))
		pthread_detach(k->pthread);
	kt_thread_free(k);
}

/* ---- park ------------------------------------------------------------------------------------------------------ */

static int await_parked(struct kthread *k)
{
	const unsigned int now = kt_thread_watch(k, W_PARKED | W_STOP | W_EXITED, W_PARK, W_TOLD_PARK, KT_NEVER);

	if (now & W_PARKED)
		return 0;
	if (!(now & (W_STOP | W_EXITED)))
		return -ECANCELED;
	watch_for(k, W_EXITED, 0, KT_NEVER);
	return -ENOSYS;
}

int kt_thread_ask_to_park(struct kthread *k)
{
	unsigned int before = kt_word(&k->word);
	unsigned int after;

	do {
		if (before & (W_STOP | W_EXITED))
			return -ENOSYS;
		if (before & W_PARK)
			return -EBUSY;
		after = kt_word_untold(before) | W_PARK | W_STARTED;
		/* Asleep inside the library (or not yet begun): it is parked where it is. What it did before, it did
		 * before it set IN_PLACE or has not done at all. */
		if (before & W_IN_PLACE || !(before & W_STARTED) || before & W_PARKED)
			after = (after | W_PARKED) & ~(unsigned int)W_FROZEN;
		else
			after |= W_TOKEN;
	} while (!kt_thread_turn(k, &before, after));
	if (after & W_PARKED)
		return 0;
	kt_thread_roused(k, before & W_SLEEPING);
	kt_event_fd_notify(k);
	kt_standstill_asked();
	return -EINPROGRESS;
}

int kthread_park(struct kthread *k)
{
	int error = kt_handle_alive(k);

	if (error)
		return error;
	error = kt_thread_ask_to_park(k);
	if (!error || error == -EBUSY)
		return error;
	if (k == kthread_self()) /* asked to stop kthread_parkme() will not park; should_stop says the rest */
		return 0;
	if (error == -ENOSYS)
		watch_for(k, W_EXITED, 0, KT_NEVER);
	return error == -EINPROGRESS ? await_parked(k) : error;
}

/* Take one reason to park away; the thread resumes if it was the last, or after a freeze that is on. */
static void unpark(struct kthread *k, unsigned int reason)
{
	unsigned int before = kt_word(&k->word);
	unsigned int after;

	do {
		if (!(before & reason))
			return;
		after = before & ~(reason | W_WATCHED);
		if (!(after & W_PARK_ANY)) {
			after &= ~(unsigned int)W_PARKED;
			if (before & W_PARKED && before & W_FREEZE)
				after |= W_FROZEN;
			if (before & W_IN_PLACE) /* it comes back from its wait */
				after |= W_TOKEN;
		}
	} while (!kt_thread_turn(k, &before, after));
	kt_thread_roused(k, after & (W_PARK_ANY | W_FROZEN) ? before & W_WATCHED : before);
}

void kthread_unpark(struct kthread *k)
{
	if (kt_handle_alive(k) != 0 || !(kt_word(&k->word) & W_PARK))
		return;
	kt_hooks->unparking(k);
	unpark(k, W_PARK);
}

bool kt_thread_park_for_cpu(struct kthread *k)
{
	unsigned int before = kt_word(&k->word);
	unsigned int after;

	do {
		if (before & (W_STOP | W_EXITED))
			return true;
		after = before;
		if (before & W_PARK_CPU) /* asked already */
			break;
		after = kt_word_untold(before) | W_PARK_CPU;
		if (before & W_IN_PLACE)
			after = (after | W_PARKED) & ~(unsigned int)W_FROZEN;
		else if (before & W_STARTED && !(before & W_PARKED))
			after |= W_TOKEN;
	} while (!kt_thread_turn(k, &before, after));
	if (after & W_PARKED)
		return true;
	if (after != before) {
		kt_thread_roused(k, before & W_SLEEPING);
		kt_event_fd_notify(k);
		kt_standstill_asked();
	}
	if (!k->interrupt_signal || after & W_TOLD_PARK || !(after & W_STARTED))
		return true;
	kt_interrupt_send(k);
	return false;
}

bool kt_thread_parked_for_cpu(const struct kthread *k)
{
	const unsigned int now = kt_word(&k->word);

	/* one that has not been started finds the request before its function is entered */
	return now & W_PARK_CPU && (now & W_PARKED || !(now & W_STARTED));
}

bool kt_thread_await_parked_for_cpu(struct kthread *k, uint64_t deadline)
{
	const unsigned int answers =
	    W_PARKED | W_FROZEN | W_STOP | W_EXITED; /* frozen: it finds the request afterwards */
	uint64_t pause = k->interrupt_signal ? KT_INTERRUPT_FIRST_NS : KT_NEVER;

	if (!(kt_word(&k->word) & W_STARTED))
		return true; /* it parks as soon as it is */
	for (;;) {
		const uint64_t again = kt_deadline(pause);
		const unsigned int now = watch_for(k, answers, W_PARK_CPU, again < deadline ? again : deadline);

		if (now & answers || !(now & W_PARK_CPU))
			return true;
		if (deadline != KT_NEVER && kt_now() >= deadline)
			return false;
		if (k->interrupt_signal && !(now & W_TOLD_PARK))
			kt_interrupt_send(k);
		pause = pause < KT_NS_PER_S ? pause * 2 : pause;
	}
}

void kt_thread_unpark_for_cpu(struct kthread *k)
{
	unpark(k, W_PARK_CPU);
}

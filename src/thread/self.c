/* SPDX-License-Identifier: MIT */
/*
 * What a thread does for itself: wait, park, look whether it has been asked to.
 */
#define KTHREAD_NO_INLINE /* this file has the symbols */
#include <errno.h>
#include <sched.h>

#include "thread/thread.h"

/* What foreign threads find: nobody asks them for anything. */
static const uint32_t nobody;

__thread const uint32_t *kthread_current_word __attribute__((tls_model("initial-exec"))) = &nobody;

struct kthread *kthread_self(void)
{
	struct kthread *k = kthread_current_word == &nobody ? NULL : (struct kthread *)kthread_current_word;

	/* somebody else may have ended the adoption */
	return k && k->kind == KT_ADOPTED && kt_word(&k->word) & W_EXITED ? NULL : k;
}

void kt_thread_set_self(struct kthread *k)
{
	kthread_current_word = k ? (const uint32_t *)&k->word : &nobody;
}

struct kthread *kt_thread_self_alive(void)
{
	struct kthread *k = kthread_self();

	return k && k->kind != KT_ADOPTED ? k : NULL;
}

/* ---- having been asked ----------------------------------------------------------------------------------------- */

bool kthread_noticed(uint32_t asked)
{
	struct kthread *k = kt_thread_self_alive();
	unsigned int told = 0;

	if (!k)
		return false;
	if (asked & W_STOP)
		told |= W_TOLD_STOP;
	if (asked & W_PARK_ANY)
		told |= W_TOLD_PARK;
	/* who sends KTHREAD_INTERRUPT signals may stop now */
	if ((kt_word(&k->word) & told) != told && kt_word_set(&k->word, told) & W_WATCHED)
		kt_futex_wake(&k->word, INT_MAX, KT_WAKE_WATCHERS);
	return true;
}

static bool asked(uint32_t bits)
{
	const uint32_t now = __atomic_load_n(kthread_current_word, __ATOMIC_ACQUIRE) & bits;

	return now && kthread_noticed(now);
}

bool kthread_should_stop(void)
{
	return asked(KTHREAD_WORD_STOP);
}

bool kthread_should_park(void)
{
	return asked(KTHREAD_WORD_PARK);
}

bool kthread_should_stop_or_park(void)
{
	return asked(KTHREAD_WORD_STOP | KTHREAD_WORD_PARK);
}

/* ---- sleeping -------------------------------------------------------------------------------------------------- */

int kt_thread_sleep(struct kthread *k, unsigned int *seen, unsigned int mark, uint64_t deadline)
{
	const unsigned int asleep = *seen | W_SLEEPING | mark;
	int timed_out;

	if (!kt_word_change(&k->word, seen, asleep))
		return 0;
	timed_out = kt_futex_wait(&k->word, asleep, KT_WAKE_THREAD, deadline);
	*seen = kt_word_clear(&k->word, W_SLEEPING | mark);
	return timed_out;
}

/* How the thread is to be held here: W_PARKED, W_FROZEN, or 0. Frozen by somebody else it is so anywhere. */
static unsigned int held_by(unsigned int now, unsigned int requests)
{
	if (now & W_STOP)
		return 0;
	if (now & requests & W_PARK_ANY)
		return W_PARKED;
	return now & (W_FROZEN | (requests & W_FREEZE)) ? W_FROZEN : 0;
}

/* Release: all we did before is seen by who finds PARKED or FROZEN; pairs with kthread_park(), kthread_freeze_all(). */
static bool say_held(struct kthread *k, unsigned int now, unsigned int how)
{
	if (!kt_thread_turn(k, &now, (now & ~(unsigned int)(W_PARKED | W_FROZEN | W_WATCHED)) | how))
		return false;
	if (now & W_WATCHED)
		kt_futex_wake(&k->word, INT_MAX, KT_WAKE_WATCHERS);
	return true;
}

/*
 * The request may be taken back and made again before this thread gets to run: PARKED is cleared by the first and has
 * to be said anew for the second, else its asker waits for ever. Hence a loop that looks at both each time. once: the
 * second is the caller's to answer.
 */
static unsigned int hold(struct kthread *k, unsigned int requests, bool once)
{
	unsigned int held = 0;
	unsigned int turn = 0;
	unsigned int now;
	unsigned int how;

	while ((how = held_by(now = kt_word(&k->word), requests))) {
		if (!(now & how)) {
			if (once && held & how)
				break;
			if (say_held(k, now, how)) {
				held |= how; /* even if that is over by the next look */
				turn = 0;
			}
			continue;
		}
		held |= how;
		if (now & W_PLACE_SELF)
			kt_hooks->place_self(k);
		else if (turn < KT_SPIN_PAUSES + KT_SPIN_YIELDS)
			kt_spin(turn++);
		else
			kt_thread_sleep(k, &now, 0, KT_NEVER);
	}
	if (now & W_PLACE_SELF)
		kt_hooks->place_self(k);
	if (now & W_TOLD_ANY && requests & W_PARK_ANY)
		kt_word_clear(&k->word, W_TOLD_ANY);
	return held;
}

unsigned int kt_thread_hold(struct kthread *k, unsigned int requests)
{
	return hold(k, requests, false);
}

void kt_thread_park_once(struct kthread *k)
{
	hold(k, W_PARK_ANY, true);
}

void kthread_parkme(void)
{
	struct kthread *k = kt_thread_self_alive();

	if (k)
		kt_thread_hold(k, W_PARK_ANY);
}

/* Take the token if there is one. */
static bool take_token(struct kthread *k, unsigned int now)
{
	while (now & W_TOKEN) {
		/* acquire: pairs with the waker's change; all it did before is seen */
		if (kt_word_change(&k->word, &now,
		                   now & ~(unsigned int)(W_TOKEN | (now & W_PARK_ANY ? 0 : W_TOLD_ANY)))) {
			atomic_fetch_add_explicit(&k->wakes, 1, memory_order_relaxed);
			return true;
		}
	}
	return false;
}

int kt_thread_wait(uint64_t deadline, bool parkable)
{
	const unsigned int mark = parkable ? W_IN_PLACE : 0;
	struct kthread *k = kthread_self();
	unsigned int slept = 0; /* the word as its sleep ended */
	int timed_out = 0;

	if (!k)
		return kt_library_forked() ? -ECHILD : -EPERM;
	if (k->kind == KT_ADOPTED) {
		if (kt_word(&k->word) & W_PLACE_SELF)
			kt_hooks->place_self(k);
		return -EPERM;
	}
	for (;;) {
		unsigned int now;

		/* Before the look at the word, which changes before the fd says so: what is drained here is seen there. And
		 * without a token, too, because the fd may have been told after its token had been taken. */
		kt_event_fd_drain(k);
		now = kt_word(&k->word);
		if (now & W_PLACE_SELF) {
			kt_hooks->place_self(k);
			continue; /* the request may be there again: to sleep on the old word would be not to see that */
		}
		/* Parked in place and woken early, it gives IN_PLACE up, and an unpark leaves no token from then on: what it
		 * was at that moment tells. A freeze is over here without a word. */
		if (mark && (slept & W_PARKED || held_by(now, W_PARK_ANY | W_FREEZE))) {
			if ((slept | kt_thread_hold(k, W_PARK_ANY | W_FREEZE)) & W_PARKED) {
				take_token(k, kt_word(&k->word));
				return 0;
			}
			slept = 0;
			continue;
		}
		if (take_token(k, now))
			return 0;
		if (timed_out)
			return timed_out;
		timed_out = kt_thread_sleep(k, &now, mark, deadline);
		slept = now;
	}
}

int kthread_wait(void)
{
	return kt_thread_wait(KT_NEVER, false);
}

int kthread_wait_for(uint64_t timeout_ns)
{
	return kt_thread_wait(kt_deadline(timeout_ns), false);
}

int kthread_wait_parkable(void)
{
	return kt_thread_wait(KT_NEVER, true);
}

/* While somebody keeps the library from looking where a thread's CPU has gone. */
#define ASK_AGAIN_NS KT_NS_PER_MS

bool kt_thread_on_cpu(unsigned int cpu)
{
	const int now = kt_config()->simulate ? (int)cpu : sched_getcpu();

	return now < 0 || (unsigned int)now == cpu;
}

void kt_thread_leave_foreign_cpu(struct kthread *self, unsigned int cpu)
{
	unsigned int now;

	kt_hooks->out_of_place(self);
	now = kt_word(&self->word);
	if (!(now & (W_STOP | W_PARK_ANY)) && !kt_thread_on_cpu(cpu))
		kt_thread_sleep(self, &now, 0, kt_deadline(ASK_AGAIN_NS));
}

bool kthread_bound_should_stop(void)
{
	struct kthread *k = kt_thread_self_alive();
	unsigned int now;

	if (!k)
		return false;
	if (!atomic_load_explicit(&k->looks_at_its_cpu, memory_order_relaxed))
		atomic_store_explicit(&k->looks_at_its_cpu, true, memory_order_relaxed);
	while (!((now = kt_word(&k->word)) & W_STOP)) {
		if (now & W_FROZEN) { /* while it slept here */
			kt_thread_hold(k, W_PARK_ANY);
		} else if (now & W_PARK_ANY) {
			if (!(now & (W_BROKEN | W_PARKED | W_PARK_CPU)))
				break; /* it will park as it is used to */
			kt_thread_hold(k, W_PARK_ANY);
		} else if (!kt_hooks->out_of_place(k)) {
			break;
		} else if (now & W_FREEZE) {
			kt_thread_hold(k, W_PARK_ANY | W_FREEZE);
		} else if (!(now & W_PLACE_SELF)) { /* else done by out_of_place(): look anew, as above */
			kt_thread_sleep(k, &now, W_IN_PLACE, now & W_BROKEN ? KT_NEVER : kt_deadline(ASK_AGAIN_NS));
		}
	}
	return kthread_should_stop();
}

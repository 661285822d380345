/* SPDX-License-Identifier: MIT */
/*
 * The word: bit 0 says that somebody may sleep on it, the rest counts completions not yet taken. One word, so that the
 * completer's last access is the atomic add: the waiter may free the memory right after (the wake that follows only
 * names the address). The bit stays set once somebody slept; it costs later completers a system call, and no more.
 */
#include <kthread/completion.h>

#include "base/futex.h"
#include "base/spin.h"

#define SLEEPER 1u
#define ONE 2u
#define ALL (UINT32_MAX - SLEEPER) /* "complete_all": never counted down */

static atomic_uint *word_of(struct kthread_completion *done)
{
	return (atomic_uint *)&done->word;
}

void kthread_init_completion(struct kthread_completion *done)
{
	atomic_store_explicit(word_of(done), 0, memory_order_relaxed);
}

static void add(struct kthread_completion *done, unsigned int count, int wake)
{
	atomic_uint *word = word_of(done);
	unsigned int old = atomic_load_explicit(word, memory_order_relaxed);
	unsigned int new;

	do {
		new = (old & ALL) >= ALL - count ? ALL | (old & SLEEPER) : old + count;
		/* release: pairs with the acquire in take() */
	} while (!atomic_compare_exchange_weak_explicit(word, &old, new, memory_order_release, memory_order_relaxed));
	if (old & SLEEPER)
		kt_futex_wake(word, wake, KT_FUTEX_ALL);
}

void kthread_complete(struct kthread_completion *done)
{
	add(done, ONE, 1);
}

void kthread_complete_all(struct kthread_completion *done)
{
	add(done, ALL, INT_MAX);
}

/* Take one completion, or mark the word as slept on and return what to sleep on. 0 = taken. */
static unsigned int take(atomic_uint *word)
{
	unsigned int old = atomic_load_explicit(word, memory_order_relaxed);
	unsigned int new;

	do {
		if (old == SLEEPER)
			return old;
		if ((old & ALL) == ALL)
			new = old;
		else
			new = (old & ALL) ? old - ONE : SLEEPER;
		/* acquire: pairs with the release in add() */
	} while (!atomic_compare_exchange_weak_explicit(word, &old, new, memory_order_acquire, memory_order_relaxed));
	return (old & ALL) ? 0 : SLEEPER;
}

static int wait_until(struct kthread_completion *done, uint64_t deadline)
{
	atomic_uint *word = word_of(done);
	unsigned int sleep_on;

	while ((sleep_on = take(word)) != 0) {
		if (kt_futex_wait(word, sleep_on, KT_FUTEX_ALL, deadline) == -ETIMEDOUT)
			return take(word) == 0 ? 0 : -ETIMEDOUT;
	}
	return 0;
}

/* What is awaited without a limit is often about to be done: a flush of few works, by a worker that is awake. */
int kthread_wait_for_completion(struct kthread_completion *done)
{
	for (unsigned int turn = 0; turn < KT_SPIN_PAUSES + KT_SPIN_YIELDS; turn++) {
		if (atomic_load_explicit(word_of(done), memory_order_relaxed) & ALL)
			break;
		kt_spin(turn);
	}
	return wait_until(done, KT_NEVER);
}

int kthread_wait_for_completion_timeout(struct kthread_completion *done, uint64_t timeout_ns)
{
	return wait_until(done, kt_deadline(timeout_ns));
}

/* SPDX-License-Identifier: MIT */
/*
 * A mutex for what is held for some list operations, and taken for every work: two read-modify-writes, inlined, where
 * pthread_mutex_t takes as many and two calls. It sleeps as that does. Zero is free, so it needs no init, and in a forked
 * child a store. Messages must not be logged under it (base/log.h does not know of it).
 */
#ifndef KT_BASE_FUTEX_LOCK_H
#define KT_BASE_FUTEX_LOCK_H

#include "base/futex.h"
#include "base/spin.h"

enum { KT_FUTEX_FREE, KT_FUTEX_HELD, KT_FUTEX_CONTENDED /* held, and somebody may sleep */ };

/* Not inlined: rare. */
void kt_futex_lock_slow(atomic_uint *lock);

/* acquire: pairs with the release in kt_futex_unlock() */
static inline void kt_futex_lock(atomic_uint *lock)
{
	unsigned int seen = KT_FUTEX_FREE;

	if (!atomic_compare_exchange_strong_explicit(lock, &seen, KT_FUTEX_HELD, memory_order_acquire,
	                                             memory_order_relaxed))
		kt_futex_lock_slow(lock);
}

static inline void kt_futex_unlock(atomic_uint *lock)
{
	if (atomic_exchange_explicit(lock, KT_FUTEX_FREE, memory_order_release) == KT_FUTEX_CONTENDED)
		kt_futex_wake(lock, 1, KT_FUTEX_ALL);
}

#endif

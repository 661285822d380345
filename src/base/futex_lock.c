/* SPDX-License-Identifier: MIT */
#include "base/futex_lock.h"

/* Its holder is done within the pauses, unless it has been preempted: then yields would help nobody. */
void kt_futex_lock_slow(atomic_uint *lock)
{
	for (unsigned int turn = 0; turn < KT_SPIN_PAUSES; turn++) {
		unsigned int seen = atomic_load_explicit(lock, memory_order_relaxed);

		if (seen == KT_FUTEX_FREE &&
		    atomic_compare_exchange_strong_explicit(lock, &seen, KT_FUTEX_HELD, memory_order_acquire,
		                                            memory_order_relaxed))
			return;
		kt_spin(turn);
	}
	/* Who has slept takes it as contended, because others may sleep still. */
	while (atomic_exchange_explicit(lock, KT_FUTEX_CONTENDED, memory_order_acquire) != KT_FUTEX_FREE)
		kt_futex_wait(lock, KT_FUTEX_CONTENDED, KT_FUTEX_ALL, KT_NEVER);
}

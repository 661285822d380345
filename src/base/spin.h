/* SPDX-License-Identifier: MIT */
/*
 * How long to try before a sleep: both sides awake on two CPUs meet within the pauses, on one CPU within the yields, and
 * a sleeping partner costs no more than these few microseconds (tests/bench/park).
 */
#ifndef KT_BASE_SPIN_H
#define KT_BASE_SPIN_H

#include <sched.h>
#include <stdatomic.h>

#define KT_SPIN_PAUSES 30u
#define KT_SPIN_YIELDS 8u

/* turn 0 .. KT_SPIN_PAUSES + KT_SPIN_YIELDS - 1 */
static inline void kt_spin(unsigned int turn)
{
	if (turn >= KT_SPIN_PAUSES)
		sched_yield();
	else
#if defined(__x86_64__) || defined(__i386__)
		__builtin_ia32_pause();
#elif defined(__aarch64__)
		__asm__ volatile("isb" ::: "memory"); /* its "yield" takes no time */
#else
		atomic_signal_fence(memory_order_seq_cst);
#endif
}

#endif

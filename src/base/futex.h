/* SPDX-License-Identifier: MIT */
/*
 * Sleeping on a 32-bit word, and time. The only place that speaks futex(2).
 */
#ifndef KT_BASE_FUTEX_H
#define KT_BASE_FUTEX_H

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define KT_NEVER UINT64_MAX
#define KT_NS_PER_S 1000000000ull
#define KT_NS_PER_MS 1000000ull

static inline uint64_t kt_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * KT_NS_PER_S + (uint64_t)now.tv_nsec;
}

/* The moment timeout_ns from now; KT_NEVER if that is beyond all reckoning. */
static inline uint64_t kt_deadline(uint64_t timeout_ns)
{
	const uint64_t now = kt_now();

	return timeout_ns < KT_NEVER - now ? now + timeout_ns : KT_NEVER;
}

/* Of a 32-bit time_t at most all it holds: 68 years. */
static inline struct timespec kt_timespec(uint64_t ns)
{
	const uint64_t most = sizeof(time_t) < sizeof(int64_t) ? INT32_MAX : INT64_MAX;
	const uint64_t seconds = ns / KT_NS_PER_S;

	return (struct timespec){.tv_sec = (time_t)(seconds < most ? seconds : most),
	                         .tv_nsec = (long)(ns % KT_NS_PER_S)};
}

/* With a time_t wider than long, the old call would read another struct timespec than ours. */
#ifndef SYS_futex_time64
#define KT_SYS_FUTEX SYS_futex
#elif !defined(SYS_futex)
#define KT_SYS_FUTEX SYS_futex_time64
#else
#define KT_SYS_FUTEX (sizeof(time_t) > sizeof(long) ? SYS_futex_time64 : SYS_futex)
#endif

/*
 * Sleep while *word == expected, until woken with one of bits, or the deadline. May come back early. -ETIMEDOUT or 0.
 * The kernel reads the word itself: the caller must have seen `expected` there, and loops.
 */
static inline int kt_futex_wait(atomic_uint *word, unsigned int expected, uint32_t bits, uint64_t deadline)
{
	const struct timespec until = kt_timespec(deadline);

	if (syscall(KT_SYS_FUTEX, word, FUTEX_WAIT_BITSET_PRIVATE, expected, deadline == KT_NEVER ? NULL : &until, NULL,
	            bits) != 0 &&
	    errno == ETIMEDOUT)
		return -ETIMEDOUT;
	return 0;
}

static inline void kt_futex_wake(atomic_uint *word, int count, uint32_t bits)
{
	syscall(KT_SYS_FUTEX, word, FUTEX_WAKE_BITSET_PRIVATE, count, NULL, NULL, bits);
}

#define KT_FUTEX_ALL FUTEX_BITSET_MATCH_ANY

#endif

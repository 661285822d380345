/* SPDX-License-Identifier: MIT */
/*
 * Delayed works, their wheel, and the timers of others. Peers are there if they were found at build time.
 */
#ifndef KT_BENCH_TIMERS_H
#define KT_BENCH_TIMERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_S 1000000000ull
#define BENCH_MS 1000000ull

/* How late one timer is, armed again each time. */
struct lateness {
	double *samples;
	unsigned int taken, wanted;
	uint64_t until; /* or until then; 0: as many as are wanted */
	uint64_t due;
};

/* The delay of the next, in nanoseconds; it is due then. */
uint64_t lateness_arm(struct lateness *late);
/* It has fired. False: that was the last. */
bool lateness_take(struct lateness *late);

/* Members that a kind does not have are NULL. The first delays are those of bench `count` timers, whose functions only
 * count. */
struct timers_kind {
	const char *name;
	void *(*start)(unsigned int count);
	void (*add)(void *timers, unsigned int i, uint64_t delay_ns);
	void (*move)(void *timers, unsigned int i, uint64_t delay_ns);
	void (*cancel)(void *timers, unsigned int i);
	void (*hold)(void *timers);    /* none of them runs before... */
	void (*run_due)(void *timers); /* all that is due, which is all there are */
	void (*late)(void *timers, struct lateness *late);
	void (*stop)(void *timers);
};

extern const struct timers_kind timers_ours;
extern const struct timers_kind timers_wheel;       /* what of it sorts, alone */
extern const struct timers_kind timers_wheel_steps; /* run_due: the clock goes on by 1 ms a time */
extern const struct timers_kind timers_timerfd;     /* late() only, as the next */
extern const struct timers_kind timers_cond;
extern const struct timers_kind *const timers_ev;
extern const struct timers_kind *const timers_ev_locked; /* a mutex, and a look at the clock, each time */
extern const struct timers_kind *const timers_uv;
extern const struct timers_kind *const timers_event;

#endif

/* SPDX-License-Identifier: MIT */
/*
 * Very many sleeping kthreads.
 */
#ifndef KT_BENCH_CROWD_H
#define KT_BENCH_CROWD_H

#include <kthread/kthread.h>
#include <stddef.h>

#define CROWD_STACK (64u << 10)

struct crowd {
	struct kthread **threads;
	size_t count;
};

/* Created with small stacks and not woken, so that they may be given a place at any time. Fewer, and a note, if there
 * cannot be as many. Returns once all of them sleep. */
struct crowd crowd_create(size_t wanted);
void crowd_stop(struct crowd *crowd);

#endif

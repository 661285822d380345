/* SPDX-License-Identifier: MIT */
/*
 * Ours and what others queue works with, to be run by one thread. Peers are there if they were found at build time.
 */
#ifndef KT_BENCH_QUEUES_H
#define KT_BENCH_QUEUES_H

#include <kthread/kthread.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

KTHREAD_BEGIN_DECLS

/* One cache line. work.fn is what is to be called, by everybody. */
struct item {
	struct kthread_work work;
	struct item *next; /* of queues that link their items */
	bool pending;
} __attribute__((aligned(64)));

struct queue_kind {
	const char *name;
	/* Its thread on this CPU, -1: anywhere. Peers leave that to an item which the benchmark sends ahead. */
	void *(*start)(int cpu);
	void (*push)(void *queue, struct item *item);
	/* Push, and wait until it has run. NULL: the benchmark sends another one behind, which opens a gate. */
	void (*flush)(void *queue, struct item *item);
	/* All items have run. */
	void (*stop)(void *queue);
	bool one_producer; /* that which has started it */
};

extern const struct queue_kind queue_ours;
extern const struct queue_kind queue_cond;  /* mutex and condition, an item at a time */
extern const struct queue_kind queue_batch; /* the same, but the thread takes all there is: nothing can be cancelled */
extern const struct queue_kind queue_futex; /* the floor of a wake: room for one item */
extern const struct queue_kind *const queue_gasync;
extern const struct queue_kind *const queue_gpool;
extern const struct queue_kind *const queue_uv;
extern const struct queue_kind *const queue_moodycamel;
extern const struct queue_kind *const queue_tbb;
extern const struct queue_kind *const queue_asio;

KTHREAD_END_DECLS

#endif

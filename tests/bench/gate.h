/* SPDX-License-Identifier: MIT */
/*
 * What others wait and wake with: a binary event for one waiter, in the ways of libc and of the peers found at build
 * time. kthread_wait() and kthread_wake() are measured against these.
 */
#ifndef KT_BENCH_GATE_H
#define KT_BENCH_GATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct gate {
	_Alignas(128) atomic_uint word;
	_Alignas(128) pthread_mutex_t mutex;
	pthread_cond_t cond;
	bool open;
	void *peer;
};

struct gate_kind {
	const char *name;
	void (*init)(struct gate *gate);
	void (*destroy)(struct gate *gate);
	void (*wait)(struct gate *gate);
	void (*wake)(struct gate *gate);
};

/* The floor: one word, the waker makes a system call only if somebody sleeps. */
extern const struct gate_kind gate_futex;
extern const struct gate_kind gate_cond;
/* Peers; NULL if not found at build time. */
extern const struct gate_kind *const gate_glib;
extern const struct gate_kind *const gate_uv;

#endif

/* SPDX-License-Identifier: MIT */
/*
 * A thread that is being made, for as long as a test likes: while the gate is shut, it does not come to its first line.
 * For a test that wraps pthread_create().
 */
#ifndef KT_TESTS_GATE_H
#define KT_TESTS_GATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "await.h"

static atomic_bool gate_shut;

int __real_pthread_create(pthread_t *ret, const pthread_attr_t *attr, void *(*fn)(void *arg), void *arg);
int __wrap_pthread_create(pthread_t *ret, const pthread_attr_t *attr, void *(*fn)(void *arg), void *arg);

struct gate_start {
	void *(*fn)(void *arg);
	void *arg;
};

static void *wait_at_the_gate(void *arg)
{
	struct gate_start start = *(struct gate_start *)arg;

	free(arg);
	AWAIT(!atomic_load(&gate_shut));
	return start.fn(start.arg);
}

static int gate_pthread_create(pthread_t *ret, const pthread_attr_t *attr, void *(*fn)(void *arg), void *arg)
{
	struct gate_start *start;

	if (!atomic_load(&gate_shut))
		return __real_pthread_create(ret, attr, fn, arg);
	start = malloc(sizeof(*start));
	CHECK(start);
	*start = (struct gate_start){.fn = fn, .arg = arg};
	return __real_pthread_create(ret, attr, wait_at_the_gate, start);
}

#endif

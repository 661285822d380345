/* SPDX-License-Identifier: MIT */
/*
 * Counting who takes part in a job. An invented machine of 8 CPUs on 4 nodes has room for 4 helpers (one a node) whatever
 * runs here; a chunk that waits until so many threads are in chunks at the same time proves that they are there.
 */
#ifndef TESTS_KTASK_TEAM_H
#define TESTS_KTASK_TEAM_H

#include "sim.h"

struct team {
	pthread_mutex_t lock;
	pid_t tids[64];
	size_t count;
	atomic_uint inside, most;
};

static inline void team_enter(struct team *team)
{
	const pid_t tid = gettid();
	const unsigned int now = atomic_fetch_add(&team->inside, 1) + 1;
	unsigned int most = atomic_load(&team->most);
	size_t i = 0;

	while (now > most && !atomic_compare_exchange_weak(&team->most, &most, now))
		continue;
	pthread_mutex_lock(&team->lock);
	while (i < team->count && team->tids[i] != tid)
		i++;
	if (i == team->count) {
		CHECK(i < 64);
		team->tids[team->count++] = tid;
	}
	pthread_mutex_unlock(&team->lock);
}

static inline void team_leave(struct team *team)
{
	atomic_fetch_sub(&team->inside, 1);
}

static inline size_t team_count(struct team *team)
{
	size_t count;

	pthread_mutex_lock(&team->lock);
	count = team->count;
	pthread_mutex_unlock(&team->lock);
	return count;
}

#define TEAM_INIT \
	{ \
		.lock = PTHREAD_MUTEX_INITIALIZER \
	}

/* Positions that are numbers. */
#define AT(number) ((void *)(uintptr_t)(number))
#define NUMBER(position) ((size_t)(uintptr_t)(position))

static inline int start_machine(void **state)
{
	sim_start(NULL);
	return 0;
}

static inline int stop_machine(void **state)
{
	sim_stop();
	return 0;
}

#endif

/* SPDX-License-Identifier: MIT */
#include "gate.h"

#include <stddef.h>
#include <stdlib.h>

#include "bench.h"

enum { SHUT, OPEN, ASLEEP };

static void futex_init(struct gate *gate)
{
	atomic_init(&gate->word, SHUT);
}

static void no_destroy(struct gate *gate)
{
	(void)gate;
}

static void futex_wait(struct gate *gate)
{
	unsigned int seen = SHUT;

	if (atomic_compare_exchange_strong(&gate->word, &seen, ASLEEP)) {
		while (atomic_load_explicit(&gate->word, memory_order_acquire) == ASLEEP)
			bench_futex_wait(&gate->word, ASLEEP);
	}
	atomic_store_explicit(&gate->word, SHUT, memory_order_relaxed);
}

static void futex_wake(struct gate *gate)
{
	if (atomic_exchange(&gate->word, OPEN) == ASLEEP)
		bench_futex_wake(&gate->word, 1);
}

const struct gate_kind gate_futex = {"futex", futex_init, no_destroy, futex_wait, futex_wake};

static void cond_init(struct gate *gate)
{
	pthread_mutex_init(&gate->mutex, NULL);
	pthread_cond_init(&gate->cond, NULL);
	gate->open = false;
}

static void cond_destroy(struct gate *gate)
{
	pthread_cond_destroy(&gate->cond);
	pthread_mutex_destroy(&gate->mutex);
}

static void cond_wait(struct gate *gate)
{
	pthread_mutex_lock(&gate->mutex);
	while (!gate->open)
		pthread_cond_wait(&gate->cond, &gate->mutex);
	gate->open = false;
	pthread_mutex_unlock(&gate->mutex);
}

static void cond_wake(struct gate *gate)
{
	pthread_mutex_lock(&gate->mutex);
	gate->open = true;
	pthread_cond_signal(&gate->cond);
	pthread_mutex_unlock(&gate->mutex);
}

const struct gate_kind gate_cond = {"mutex+cond", cond_init, cond_destroy, cond_wait, cond_wake};

#ifdef BENCH_GLIB
#include <glib.h>

struct glib_gate {
	GMutex mutex;
	GCond cond;
	bool open;
};

static void glib_init(struct gate *gate)
{
	struct glib_gate *peer = calloc(1, sizeof(*peer));

	BENCH_CHECK(peer);
	g_mutex_init(&peer->mutex);
	g_cond_init(&peer->cond);
	gate->peer = peer;
}

static void glib_destroy(struct gate *gate)
{
	struct glib_gate *peer = gate->peer;

	g_cond_clear(&peer->cond);
	g_mutex_clear(&peer->mutex);
	free(peer);
}

static void glib_wait(struct gate *gate)
{
	struct glib_gate *peer = gate->peer;

	g_mutex_lock(&peer->mutex);
	while (!peer->open)
		g_cond_wait(&peer->cond, &peer->mutex);
	peer->open = false;
	g_mutex_unlock(&peer->mutex);
}

static void glib_wake(struct gate *gate)
{
	struct glib_gate *peer = gate->peer;

	g_mutex_lock(&peer->mutex);
	peer->open = true;
	g_cond_signal(&peer->cond);
	g_mutex_unlock(&peer->mutex);
}

static const struct gate_kind glib = {"GMutex+GCond", glib_init, glib_destroy, glib_wait, glib_wake};
const struct gate_kind *const gate_glib = &glib;
#else
const struct gate_kind *const gate_glib = NULL;
#endif

#ifdef BENCH_UV
#include <uv.h>

static void uv_init(struct gate *gate)
{
	gate->peer = calloc(1, sizeof(uv_sem_t));
	BENCH_CHECK(gate->peer && uv_sem_init(gate->peer, 0) == 0);
}

static void uv_destroy(struct gate *gate)
{
	uv_sem_destroy(gate->peer);
	free(gate->peer);
}

static void uv_wait(struct gate *gate)
{
	uv_sem_wait(gate->peer);
}

static void uv_wake(struct gate *gate)
{
	uv_sem_post(gate->peer);
}

static const struct gate_kind uv = {"uv_sem", uv_init, uv_destroy, uv_wait, uv_wake};
const struct gate_kind *const gate_uv = &uv;
#else
const struct gate_kind *const gate_uv = NULL;
#endif

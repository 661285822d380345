/* SPDX-License-Identifier: MIT */
/*
 * From kthread_wake() to the line after kthread_wait(): against a futex, a mutex with a condition, and peers.
 */
#include <kthread/kthread.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "gate.h"

/* How two threads wake each other; kind NULL = as kthreads. */
struct way {
	const struct gate_kind *kind;
	unsigned int waker, waiter;
};

static unsigned int wakes, turns;

/* ---- one side of it ------------------------------------------------------------------------------------------------ */

struct side {
	const struct gate_kind *kind;
	struct gate gate;
	struct kthread *k;
	pthread_t thread;
	unsigned int cpu;
	void (*main)(struct side *self);
	struct side *other;
	atomic_bool end;
	/* latency */
	atomic_uint_fast64_t awake;
	/* ping-pong */
	atomic_bool mine;
	double result;
	struct kthread_completion done;
};

static void side_wait(struct side *self)
{
	if (self->kind)
		self->kind->wait(&self->gate);
	else
		kthread_wait();
}

static void side_wake(struct side *side)
{
	if (side->kind)
		side->kind->wake(&side->gate);
	else
		kthread_wake(side->k);
}

static void *plain_main(void *arg)
{
	struct side *side = arg;

	bench_pin(bench_cpu(side->cpu));
	side->main(side);
	return NULL;
}

static int our_main(void *data)
{
	struct side *side = data;

	side->main(side);
	return 0;
}

static void side_create(struct side *side)
{
	if (side->kind) {
		side->kind->init(&side->gate);
		BENCH_CHECK(pthread_create(&side->thread, NULL, plain_main, side) == 0);
	} else {
		side->k = kthread_create_on_cpu(our_main, side, (unsigned int)bench_cpu(side->cpu), "side/%u");
		BENCH_CHECK(side->k);
	}
}

/* side->main has come to its end, or waits and then looks at side->end. */
static void side_destroy(struct side *side)
{
	atomic_store(&side->end, true);
	if (side->kind) {
		side->kind->wake(&side->gate);
		BENCH_CHECK(pthread_join(side->thread, NULL) == 0);
		side->kind->destroy(&side->gate);
	} else {
		BENCH_CHECK(kthread_stop(side->k) == 0);
	}
}

/* ---- latency ------------------------------------------------------------------------------------------------------- */

static void be_woken(struct side *self)
{
	for (;;) {
		side_wait(self);
		if (atomic_load(&self->end))
			return;
		atomic_store_explicit(&self->awake, bench_now(), memory_order_release);
	}
}

/* values: p50, p99, mean */
static void latency(const void *arg, double *values)
{
	const struct way *way = arg;
	struct side *side = aligned_alloc(128, sizeof(*side));
	double *samples = calloc(wakes, sizeof(*samples));
	double sum = 0;

	BENCH_CHECK(side && samples);
	memset(side, 0, sizeof(*side));
	side->kind = way->kind;
	side->cpu = way->waiter;
	side->main = be_woken;
	bench_pin(bench_cpu(way->waker));
	side_create(side);
	if (side->k)
		kthread_wake(side->k);
	for (unsigned int i = 0; i < wakes; i++) {
		uint64_t start;
		uint64_t awake;

		bench_sleep(60000); /* it goes to sleep, and so does its CPU */
		atomic_store(&side->awake, 0);
		start = bench_now();
		side_wake(side);
		while ((awake = atomic_load_explicit(&side->awake, memory_order_acquire)) == 0)
			bench_sleep(20000);
		samples[i] = (double)(awake - start);
		sum += samples[i];
	}
	side_destroy(side);
	bench_unpin();
	values[0] = bench_quantile(samples, wakes, 0.5);
	values[1] = bench_quantile(samples, wakes, 0.99);
	values[2] = sum / wakes;
	free(samples);
	free(side);
}

/* ---- ping-pong ------------------------------------------------------------------------------------------------------ */

static void await_turn(struct side *self)
{
	while (!atomic_load_explicit(&self->mine, memory_order_acquire))
		side_wait(self);
	atomic_store_explicit(&self->mine, false, memory_order_relaxed);
}

static void give_turn(struct side *other)
{
	atomic_store_explicit(&other->mine, true, memory_order_release);
	side_wake(other);
}

static void ping(struct side *self)
{
	uint64_t start = 0;

	for (unsigned int i = 0; i < turns + turns / 20; i++) {
		if (i == turns / 20)
			start = bench_now();
		give_turn(self->other);
		await_turn(self);
	}
	self->result = bench_each(start, turns);
	kthread_complete(&self->done);
}

static void pong(struct side *self)
{
	for (unsigned int i = 0; i < turns + turns / 20; i++) {
		await_turn(self);
		give_turn(self->other);
	}
	kthread_complete(&self->done);
}

static void ping_pong(const void *arg, double *values)
{
	const struct way *way = arg;
	struct side *sides = aligned_alloc(128, 2 * sizeof(*sides));

	BENCH_CHECK(sides);
	memset(sides, 0, 2 * sizeof(*sides));
	for (unsigned int i = 0; i < 2; i++) {
		sides[i].kind = way->kind;
		sides[i].cpu = i ? way->waiter : way->waker;
		sides[i].main = i ? pong : ping;
		sides[i].other = &sides[1 - i];
	}
	/* pong first: ping begins at once */
	side_create(&sides[1]);
	side_create(&sides[0]);
	for (unsigned int i = 0; i < 2; i++) {
		if (sides[i].k)
			kthread_wake(sides[i].k);
	}
	kthread_wait_for_completion(&sides[0].done);
	kthread_wait_for_completion(&sides[1].done);
	values[0] = sides[0].result;
	side_destroy(&sides[0]);
	side_destroy(&sides[1]);
	free(sides);
}

/* ---- waking one that need not be woken ------------------------------------------------------------------------------- */

static int elsewhere(void *data)
{
	kthread_wait_for_completion(data);
	return 0;
}

static void with_token(const void *arg, double *values)
{
	const unsigned int count = bench_count(200000, 1000);
	struct kthread_completion end = KTHREAD_COMPLETION_INIT;
	struct kthread *k = kthread_run(elsewhere, &end, "elsewhere");
	uint64_t start;

	(void)arg;
	BENCH_CHECK(k && kthread_wake(k)); /* the token */
	start = bench_now();
	for (unsigned int i = 0; i < count; i++)
		BENCH_CHECK(!kthread_wake(k));
	values[0] = bench_each(start, count);
	kthread_complete(&end);
	kthread_stop(k);
}

static void futex_of_nobody(const void *arg, double *values)
{
	const unsigned int count = bench_count(200000, 1000);
	const uint64_t start = bench_now();
	atomic_uint word = 0;

	(void)arg;
	for (unsigned int i = 0; i < count; i++)
		bench_futex_wake(&word, 1);
	values[0] = bench_each(start, count);
}

static void bare_or(const void *arg, double *values)
{
	const unsigned int count = bench_count(200000, 1000);
	const uint64_t start = bench_now();
	atomic_uint word = 0;

	(void)arg;
	for (unsigned int i = 0; i < count; i++) {
		unsigned int before = atomic_fetch_or(&word, 1);

		BENCH_HIDE(before);
	}
	values[0] = bench_each(start, count);
}

static void token(void)
{
	const struct bench_variant variants[] = {
	    {"kthread_wake", with_token, NULL},
	    {"FUTEX_WAKE of nobody", futex_of_nobody, NULL},
	    {"one atomic or", bare_or, NULL},
	};

	bench_rounds(variants, sizeof(variants) / sizeof(variants[0]));
	bench_figure("wake-token", "one that has its token, no system call", 0, 1, 0, BENCH_NO_TARGET, "ns");
	bench_figure("wake-token", "one that has its token, no system call", 0, 2, 0, BENCH_NO_TARGET, "ns");
}

/* ---------------------------------------------------------------------------------------------------------------------- */

#define MAX_WAYS 5

static void compare(const char *place, unsigned int waker, unsigned int waiter)
{
	const struct gate_kind *const kinds[MAX_WAYS] = {NULL, &gate_futex, &gate_cond, gate_glib, gate_uv};
	struct way ways[MAX_WAYS];
	struct bench_variant variants[MAX_WAYS];
	size_t count = 0;
	char text[64];

	for (size_t i = 0; i < MAX_WAYS; i++) {
		if (i > 0 && !kinds[i])
			continue;
		ways[count] = (struct way){.kind = kinds[i], .waker = waker, .waiter = waiter};
		variants[count] = (struct bench_variant){i ? kinds[i]->name : "kthread", latency, &ways[count]};
		count++;
	}
	bench_rounds(variants, count);
	snprintf(text, sizeof(text), "wake to run p50, %s", place);
	bench_figure("P4c-futex", text, 0, 1, 0, 1.1, "ns");
	bench_figure("P4c-cond", text, 0, 2, 0, 1.0, "ns");
	for (size_t i = 3; i < count; i++)
		bench_figure("P4c-peer", text, 0, i, 0, BENCH_NO_TARGET, "ns");
	snprintf(text, sizeof(text), "wake to run p99, %s", place);
	bench_figure("P4c-p99", text, 0, 1, 1, BENCH_NO_TARGET, "ns");
	bench_figure("P4c-p99", text, 0, 2, 1, BENCH_NO_TARGET, "ns");

	for (size_t i = 0; i < count; i++)
		variants[i].run = ping_pong;
	bench_rounds(variants, count);
	snprintf(text, sizeof(text), "ping-pong, %s", place);
	for (size_t i = 1; i < count; i++)
		bench_figure("ping-pong", text, 0, i, 0, BENCH_NO_TARGET, "ns");
}

int main(int argc, char **argv)
{
	bench_open(argc, argv, "wake");
	BENCH_CHECK(kthread_init(NULL) == 0);
	wakes = bench_count(400, 10);
	turns = bench_count(2000, 40);
	if (!gate_glib)
		bench_note("GLib was not found at build time: left out");
	if (!gate_uv)
		bench_note("libuv was not found at build time: left out");
	compare("same CPU", 0, 0);
	if (bench_cpu(1) >= 0)
		compare("two CPUs", 0, 1);
	else
		bench_note("one CPU only: two CPUs left out");
	token();
	BENCH_CHECK(kthread_fini() == 0);
	return bench_close();
}

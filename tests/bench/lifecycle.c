/* SPDX-License-Identifier: MIT */
/*
 * P1: how long does a thread's life take, beyond what pthread_create() and pthread_join() take?
 */
#include <errno.h>
#include <kthread/kthread.h>
#include <pthread.h>
#include <stdint.h>
#include <threads.h>

#include "bench.h"
#ifdef BENCH_GLIB
#include <glib.h>
#endif
#ifdef BENCH_UV
#include <uv.h>
#endif

#define CODE 42
#define ALIVE 256u

static unsigned int cycles;

/* ---- one after the other ---------------------------------------------------------------------------------------- */

static void *return_at_once(void *arg)
{
	return arg;
}

static void plain(const void *arg, double *values)
{
	const uint64_t start = bench_now();

	(void)arg;
	for (unsigned int i = 0; i < cycles; i++) {
		pthread_t thread;
		void *result;

		BENCH_CHECK(pthread_create(&thread, NULL, return_at_once, NULL) == 0);
		BENCH_CHECK(pthread_join(thread, &result) == 0);
	}
	values[0] = bench_each(start, cycles);
}

static void plain_on_cpu(const void *arg, double *values)
{
	bench_pin(bench_cpu(0));
	plain(arg, values);
	bench_unpin();
}

static int until_stopped(void *data)
{
	(void)data;
	while (!kthread_should_stop())
		kthread_wait();
	return CODE;
}

static unsigned long entered, made;

/* A stop that comes before the function was entered gives -EINTR: how often it was entered is said in a note. */
static void end(struct kthread *k)
{
	const int result = kthread_stop(k);

	BENCH_CHECK(result == CODE || result == -EINTR);
	entered += result == CODE;
	made++;
}

static void ours(const void *arg, double *values)
{
	const uint64_t start = bench_now();

	(void)arg;
	for (unsigned int i = 0; i < cycles; i++) {
		struct kthread *k = kthread_create(until_stopped, NULL, "bench/%u", i);

		BENCH_CHECK(k);
		kthread_wake(k);
		end(k);
	}
	values[0] = bench_each(start, cycles);
}

static void ours_on_cpu(const void *arg, double *values)
{
	const unsigned int cpu = (unsigned int)bench_cpu(0);
	uint64_t start;

	(void)arg;
	bench_pin((int)cpu);
	start = bench_now();
	for (unsigned int i = 0; i < cycles; i++) {
		struct kthread *k = kthread_create_on_cpu(until_stopped, NULL, cpu, "bench/%u");

		BENCH_CHECK(k);
		kthread_wake(k);
		end(k);
	}
	values[0] = bench_each(start, cycles);
	bench_unpin();
}

/* ---- the same, and the creator waits until it has run ----------------------------------------------------------- */

static void *say_so(void *arg)
{
	kthread_complete(arg);
	return arg;
}

static void plain_ran(const void *arg, double *values)
{
	const uint64_t start = bench_now();

	(void)arg;
	for (unsigned int i = 0; i < cycles; i++) {
		struct kthread_completion done = KTHREAD_COMPLETION_INIT;
		pthread_t thread;

		BENCH_CHECK(pthread_create(&thread, NULL, say_so, &done) == 0);
		kthread_wait_for_completion(&done);
		BENCH_CHECK(pthread_join(thread, NULL) == 0);
	}
	values[0] = bench_each(start, cycles);
}

static int say_so_and_return(void *data)
{
	kthread_complete(data);
	return CODE;
}

static void ours_ran(const void *arg, double *values)
{
	const uint64_t start = bench_now();

	(void)arg;
	for (unsigned int i = 0; i < cycles; i++) {
		struct kthread_completion done = KTHREAD_COMPLETION_INIT;
		struct kthread *k = kthread_create(say_so_and_return, &done, "bench/%u", i);

		BENCH_CHECK(k);
		kthread_wake(k);
		kthread_wait_for_completion(&done);
		BENCH_CHECK(kthread_stop(k) == CODE);
	}
	values[0] = bench_each(start, cycles);
}

/* ---- peers ------------------------------------------------------------------------------------------------------ */

static int thrd_main(void *arg)
{
	(void)arg;
	return CODE;
}

static void c11(const void *arg, double *values)
{
	const uint64_t start = bench_now();

	(void)arg;
	for (unsigned int i = 0; i < cycles; i++) {
		thrd_t thread;
		int result;

		BENCH_CHECK(thrd_create(&thread, thrd_main, NULL) == thrd_success);
		BENCH_CHECK(thrd_join(thread, &result) == thrd_success && result == CODE);
	}
	values[0] = bench_each(start, cycles);
}

#ifdef BENCH_GLIB
static void glib(const void *arg, double *values)
{
	const uint64_t start = bench_now();

	(void)arg;
	for (unsigned int i = 0; i < cycles; i++) {
		GThread *thread = g_thread_new("bench", return_at_once, NULL);

		BENCH_CHECK(thread);
		g_thread_join(thread);
	}
	values[0] = bench_each(start, cycles);
}
#endif

#ifdef BENCH_UV
static void uv_main(void *arg)
{
	(void)arg;
}

static void uv(const void *arg, double *values)
{
	const uint64_t start = bench_now();

	(void)arg;
	for (unsigned int i = 0; i < cycles; i++) {
		uv_thread_t thread;

		BENCH_CHECK(uv_thread_create(&thread, uv_main, NULL) == 0);
		BENCH_CHECK(uv_thread_join(&thread) == 0);
	}
	values[0] = bench_each(start, cycles);
}
#endif

static void one_after_the_other(void)
{
	const struct bench_variant variants[] = {
	    {"pthread_create+join", plain, NULL},
	    {"kthread_create+wake+stop", ours, NULL},
	    {"pthread_create+completion+join", plain_ran, NULL},
	    {"kthread_create+wake+completion+stop", ours_ran, NULL},
	    {"pthread on one CPU", plain_on_cpu, NULL},
	    {"kthread_create_on_cpu", ours_on_cpu, NULL},
	    {"thrd_create+join", c11, NULL},
#ifdef BENCH_GLIB
	    {"g_thread_new+join", glib, NULL},
#endif
#ifdef BENCH_UV
	    {"uv_thread_create+join", uv, NULL},
#endif
	};
	const size_t count = sizeof(variants) / sizeof(variants[0]);

	cycles = bench_count(800, 50);
	bench_rounds(variants, count);
	bench_figure("P1a", "a life", 1, 0, 0, 1.15, "ns");
	bench_figure("P1a-ran", "a life, seen to run", 3, 2, 0, 1.15, "ns");
	bench_figure("P1a-onecpu", "a life, all on one CPU", 5, 4, 0, BENCH_NO_TARGET, "ns");
	for (size_t i = 6; i < count; i++)
		bench_figure("P1a-peer", "a life", 1, i, 0, BENCH_NO_TARGET, "ns");
	bench_note("P1a, P1a-onecpu: the function was entered in %lu of %lu lives, else stop came first (-EINTR)",
	           entered, made);
}

/* ---- many at once ------------------------------------------------------------------------------------------------ */

static unsigned int crowds;

static void *until_opened(void *arg)
{
	atomic_uint *gate = arg;

	while (atomic_load_explicit(gate, memory_order_acquire) == 0)
		bench_futex_wait(gate, 0);
	return NULL;
}

/* arg: the stack size, NULL = the default */
static void plain_crowd(const void *arg, double *values)
{
	static pthread_t threads[ALIVE];
	static atomic_uint gates[ALIVE];
	const size_t *size = arg;
	const uint64_t start = bench_now();
	pthread_attr_t attr;

	pthread_attr_init(&attr);
	if (size)
		pthread_attr_setstacksize(&attr, *size);
	for (unsigned int round = 0; round < crowds; round++) {
		for (unsigned int i = 0; i < ALIVE; i++) {
			atomic_store(&gates[i], 0);
			BENCH_CHECK(pthread_create(&threads[i], &attr, until_opened, &gates[i]) == 0);
		}
		for (unsigned int i = 0; i < ALIVE; i++) {
			atomic_store(&gates[i], 1);
			bench_futex_wake(&gates[i], 1);
			BENCH_CHECK(pthread_join(threads[i], NULL) == 0);
		}
	}
	pthread_attr_destroy(&attr);
	values[0] = bench_each(start, (size_t)crowds * ALIVE);
}

static void our_crowd(const void *arg, double *values)
{
	static struct kthread *threads[ALIVE];
	const size_t *size = arg;
	const uint64_t start = bench_now();
	struct kthread_attr attr = KTHREAD_ATTR_INIT;

	attr.stack_size = size ? *size : 0;
	for (unsigned int round = 0; round < crowds; round++) {
		for (unsigned int i = 0; i < ALIVE; i++) {
			threads[i] = kthread_create_attr(&attr, until_stopped, NULL, "bench/%u", i);
			BENCH_CHECK(threads[i]);
			kthread_wake(threads[i]);
		}
		for (unsigned int i = 0; i < ALIVE; i++)
			end(threads[i]);
	}
	values[0] = bench_each(start, (size_t)crowds * ALIVE);
}

static void many_at_once(void)
{
	static const size_t small = 64 << 10;
	const struct bench_variant variants[] = {
	    {"pthread, default stack", plain_crowd, NULL},
	    {"pthread, 64 KiB", plain_crowd, &small},
	    {"kthread, 64 KiB", our_crowd, &small},
	    {"kthread, default stack", our_crowd, NULL},
	};

	crowds = bench_count(3, 1);
	bench_rounds(variants, sizeof(variants) / sizeof(variants[0]));
	bench_figure("P1d", "256 alive", 2, 0, 0, 0.5, "ns");
	bench_figure("P1d-like", "256 alive", 2, 1, 0, BENCH_NO_TARGET, "ns");
	bench_figure("P1d-like", "256 alive", 3, 0, 0, BENCH_NO_TARGET, "ns");
}

int main(int argc, char **argv)
{
	bench_open(argc, argv, "lifecycle");
	BENCH_CHECK(kthread_init(NULL) == 0);
#ifndef BENCH_GLIB
	bench_note("GLib was not found at build time: left out");
#endif
#ifndef BENCH_UV
	bench_note("libuv was not found at build time: left out");
#endif
	one_after_the_other();
	many_at_once();
	BENCH_CHECK(kthread_fini() == 0);
	return bench_close();
}

/* SPDX-License-Identifier: MIT */
/*
 * P2: park and unpark, against what one writes with a mutex and conditions.
 */
#include <kthread/kthread.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "bench.h"
#include "gate.h"

#define IDLE_THREADS 32u

/* Where the controller and the thread run; busy: the thread polls instead of waiting. */
struct setting {
	unsigned int controller, thread;
	bool busy;
};

static unsigned int cycles, settled_cycles;

/* ---- ours -------------------------------------------------------------------------------------------------------- */

static int waiting(void *data)
{
	atomic_store((atomic_ulong *)data, 1);
	while (!kthread_should_stop()) {
		if (kthread_should_park())
			kthread_parkme();
		else
			kthread_wait();
	}
	return 0;
}

static int polling(void *data)
{
	atomic_ulong *turns = data;

	while (!kthread_should_stop()) {
		if (kthread_should_park())
			kthread_parkme();
		atomic_fetch_add_explicit(turns, 1, memory_order_relaxed);
	}
	return 0;
}

static void nothing(struct kthread_work *work)
{
	(void)work;
}

static int waiting_parkable(void *data)
{
	atomic_store((atomic_ulong *)data, 1);
	while (!kthread_should_stop())
		kthread_wait_parkable();
	return 0;
}

/* Returns once the function has been entered: before that, a park is granted without it. */
static struct kthread *start(int (*fn)(void *data), atomic_ulong *turns, unsigned int cpu)
{
	struct kthread *k = kthread_create_on_cpu(fn, turns, (unsigned int)bench_cpu(cpu), "bench/%u");

	BENCH_CHECK(k);
	atomic_store(turns, 0);
	kthread_wake(k);
	while (!atomic_load(turns))
		bench_sleep(20000);
	return k;
}

/* Until the thread sleeps in kthread_wait*(); it then gets time to be in the kernel. */
static void settle(struct kthread *k)
{
	struct kthread_info info = {.size = sizeof(info)};

	for (;;) {
		BENCH_CHECK(kthread_info(k, &info) == 0);
		if (info.state == KTHREAD_WAITING)
			break;
		bench_sleep(20000);
	}
	bench_sleep(20000);
}

static void cycle(struct kthread *k)
{
	BENCH_CHECK(kthread_park(k) == 0);
	kthread_unpark(k);
}

static void ours(const void *arg, double *values)
{
	const struct setting *setting = arg;
	atomic_ulong turns;
	struct kthread *k;
	uint64_t begin;

	bench_pin(bench_cpu(setting->controller));
	k = start(setting->busy ? polling : waiting, &turns, setting->thread);
	for (unsigned int i = 0; i < cycles / 20; i++)
		cycle(k);
	begin = bench_now();
	for (unsigned int i = 0; i < cycles; i++)
		cycle(k);
	values[0] = bench_each(begin, cycles);
	BENCH_CHECK(kthread_stop(k) == 0);
	bench_unpin();
}

/* The thread is asleep before each cycle; it has to be woken to park. */
static void ours_settled(const void *arg, double *values)
{
	const struct setting *setting = arg;
	atomic_ulong turns;
	struct kthread *k;
	uint64_t sum = 0;

	bench_pin(bench_cpu(setting->controller));
	k = start(waiting, &turns, setting->thread);
	for (unsigned int i = 0; i < settled_cycles; i++) {
		uint64_t begin;

		settle(k);
		begin = bench_now();
		cycle(k);
		sum += bench_now() - begin;
	}
	values[0] = (double)sum / settled_cycles;
	BENCH_CHECK(kthread_stop(k) == 0);
	bench_unpin();
}

/* Park alone, of threads asleep where they may be parked in place; and the unpark, which lets them come back. */
static void in_place(const void *arg, double *values)
{
	const struct setting *setting = arg;
	struct kthread *threads[IDLE_THREADS];
	const unsigned int turns = bench_count(40, 2);
	atomic_ulong entered;
	uint64_t parking = 0;
	uint64_t unparking = 0;

	bench_pin(bench_cpu(setting->controller));
	for (unsigned int i = 0; i < IDLE_THREADS; i++)
		threads[i] = start(waiting_parkable, &entered, setting->thread);
	for (unsigned int turn = 0; turn < turns; turn++) {
		uint64_t begin;

		for (unsigned int i = 0; i < IDLE_THREADS; i++)
			settle(threads[i]);
		begin = bench_now();
		for (unsigned int i = 0; i < IDLE_THREADS; i++)
			BENCH_CHECK(kthread_park(threads[i]) == 0);
		parking += bench_now() - begin;
		begin = bench_now();
		for (unsigned int i = 0; i < IDLE_THREADS; i++)
			kthread_unpark(threads[i]);
		unparking += bench_now() - begin;
	}
	for (unsigned int i = 0; i < IDLE_THREADS; i++)
		BENCH_CHECK(kthread_stop(threads[i]) == 0);
	bench_unpin();
	values[0] = (double)parking / (double)(turns * IDLE_THREADS);
	values[1] = (double)(parking + unparking) / (double)(turns * IDLE_THREADS);
}

/* The same of workers, which wait so. A work that has run says that its thread has begun. */
static void idle_workers(const void *arg, double *values)
{
	const struct setting *setting = arg;
	struct kthread_worker *workers[IDLE_THREADS];
	const unsigned int turns = bench_count(40, 2);
	uint64_t parking = 0;

	bench_pin(bench_cpu(setting->controller));
	for (unsigned int i = 0; i < IDLE_THREADS; i++) {
		struct kthread_work first = KTHREAD_WORK_INIT(nothing);

		workers[i] = kthread_run_worker_on_cpu((unsigned int)bench_cpu(setting->thread), 0, "bench/%u");
		BENCH_CHECK(workers[i] && kthread_queue_work(workers[i], &first));
		kthread_flush_work(&first);
	}
	for (unsigned int turn = 0; turn < turns; turn++) {
		uint64_t begin;

		for (unsigned int i = 0; i < IDLE_THREADS; i++)
			settle(kthread_worker_thread(workers[i]));
		begin = bench_now();
		for (unsigned int i = 0; i < IDLE_THREADS; i++)
			BENCH_CHECK(kthread_park(kthread_worker_thread(workers[i])) == 0);
		parking += bench_now() - begin;
		for (unsigned int i = 0; i < IDLE_THREADS; i++)
			kthread_unpark(kthread_worker_thread(workers[i]));
	}
	for (unsigned int i = 0; i < IDLE_THREADS; i++)
		kthread_destroy_worker(workers[i]);
	bench_unpin();
	values[0] = (double)parking / (double)(turns * IDLE_THREADS);
}

/* ---- mutex and conditions ----------------------------------------------------------------------------------------- */

enum { STOP = 1, PARK = 2, PARKED = 4 };

struct plain {
	pthread_mutex_t mutex;
	pthread_cond_t for_thread, for_controller;
	atomic_uint state; /* written under the mutex; polled by a busy thread */
	unsigned int sleeps;
	const struct setting *setting;
	atomic_ulong turns;
};

static unsigned int state_of(struct plain *plain)
{
	return atomic_load_explicit(&plain->state, memory_order_acquire);
}

static void plain_wait(struct plain *plain)
{
	plain->sleeps++;
	pthread_cond_wait(&plain->for_thread, &plain->mutex);
	plain->sleeps--;
}

/* mutex held. PARKED is said anew each time: an unpark and the next park may both come before this runs again. */
static void plain_parked(struct plain *plain)
{
	while (state_of(plain) & PARK) {
		if (!(state_of(plain) & PARKED)) {
			atomic_fetch_or(&plain->state, PARKED);
			pthread_cond_signal(&plain->for_controller);
		}
		plain_wait(plain);
	}
}

static void *plain_main(void *arg)
{
	struct plain *plain = arg;

	bench_pin(bench_cpu(plain->setting->thread));
	if (plain->setting->busy) {
		while (!(state_of(plain) & STOP)) {
			if (state_of(plain) & PARK) {
				pthread_mutex_lock(&plain->mutex);
				plain_parked(plain);
				pthread_mutex_unlock(&plain->mutex);
			}
			atomic_fetch_add_explicit(&plain->turns, 1, memory_order_relaxed);
		}
		return NULL;
	}
	pthread_mutex_lock(&plain->mutex);
	while (!(state_of(plain) & STOP)) {
		if (state_of(plain) & PARK)
			plain_parked(plain);
		else
			plain_wait(plain);
	}
	pthread_mutex_unlock(&plain->mutex);
	return NULL;
}

static void plain_cycle(struct plain *plain)
{
	pthread_mutex_lock(&plain->mutex);
	atomic_fetch_or(&plain->state, PARK);
	pthread_cond_signal(&plain->for_thread);
	while (!(state_of(plain) & PARKED))
		pthread_cond_wait(&plain->for_controller, &plain->mutex);
	pthread_mutex_unlock(&plain->mutex);
	pthread_mutex_lock(&plain->mutex);
	atomic_fetch_and(&plain->state, ~(unsigned int)(PARK | PARKED));
	pthread_cond_signal(&plain->for_thread);
	pthread_mutex_unlock(&plain->mutex);
}

static void plain_settle(struct plain *plain)
{
	unsigned int sleeps;

	do {
		bench_sleep(20000);
		pthread_mutex_lock(&plain->mutex);
		sleeps = plain->sleeps;
		pthread_mutex_unlock(&plain->mutex);
	} while (!sleeps);
	bench_sleep(20000);
}

static void plain_start(struct plain *plain, pthread_t *thread, const struct setting *setting)
{
	*plain = (struct plain){.mutex = PTHREAD_MUTEX_INITIALIZER,
	                        .for_thread = PTHREAD_COND_INITIALIZER,
	                        .for_controller = PTHREAD_COND_INITIALIZER,
	                        .setting = setting};
	bench_pin(bench_cpu(setting->controller));
	BENCH_CHECK(pthread_create(thread, NULL, plain_main, plain) == 0);
}

static void plain_stop(struct plain *plain, pthread_t thread)
{
	pthread_mutex_lock(&plain->mutex);
	atomic_fetch_or(&plain->state, STOP);
	pthread_cond_signal(&plain->for_thread);
	pthread_mutex_unlock(&plain->mutex);
	BENCH_CHECK(pthread_join(thread, NULL) == 0);
	bench_unpin();
}

static void with_cond(const void *arg, double *values)
{
	struct plain plain;
	pthread_t thread;
	uint64_t begin;

	plain_start(&plain, &thread, arg);
	for (unsigned int i = 0; i < cycles / 20; i++)
		plain_cycle(&plain);
	begin = bench_now();
	for (unsigned int i = 0; i < cycles; i++)
		plain_cycle(&plain);
	values[0] = bench_each(begin, cycles);
	plain_stop(&plain, thread);
}

static void with_cond_settled(const void *arg, double *values)
{
	struct plain plain;
	pthread_t thread;
	uint64_t sum = 0;

	plain_start(&plain, &thread, arg);
	for (unsigned int i = 0; i < settled_cycles; i++) {
		uint64_t begin;

		plain_settle(&plain);
		begin = bench_now();
		plain_cycle(&plain);
		sum += bench_now() - begin;
	}
	values[0] = (double)sum / settled_cycles;
	plain_stop(&plain, thread);
}

/* ---- the floor: two posts and two waits ---------------------------------------------------------------------------- */

struct pair {
	struct gate there, back;
	unsigned int turns;
	int cpu;
};

static void *echo(void *arg)
{
	struct pair *pair = arg;

	bench_pin(pair->cpu);
	for (unsigned int i = 0; i < pair->turns; i++) {
		gate_futex.wait(&pair->there);
		gate_futex.wake(&pair->back);
	}
	return NULL;
}

static void ping_pong(const void *arg, double *values)
{
	const struct setting *setting = arg;
	struct pair pair = {.turns = cycles, .cpu = bench_cpu(setting->thread)};
	pthread_t thread;
	uint64_t begin;

	gate_futex.init(&pair.there);
	gate_futex.init(&pair.back);
	bench_pin(bench_cpu(setting->controller));
	BENCH_CHECK(pthread_create(&thread, NULL, echo, &pair) == 0);
	begin = bench_now();
	for (unsigned int i = 0; i < cycles; i++) {
		gate_futex.wake(&pair.there);
		gate_futex.wait(&pair.back);
	}
	values[0] = values[1] = bench_each(begin, cycles);
	BENCH_CHECK(pthread_join(thread, NULL) == 0);
	bench_unpin();
}

/* ------------------------------------------------------------------------------------------------------------------- */

static void one_cpu(void)
{
	static const struct setting same = {.controller = 0, .thread = 0};
	const struct bench_variant variants[] = {
	    {"mutex+cond", with_cond, &same},
	    {"kthread_wait loop", ours, &same},
	    {"futex ping-pong", ping_pong, &same},
	    {"kthread_wait_parkable", in_place, &same},
	    {"idle kthread_worker", idle_workers, &same},
	};

	bench_rounds(variants, sizeof(variants) / sizeof(variants[0]));
	bench_figure("P2a", "park+unpark, same CPU", 1, 0, 0, 0.6, "ns");
	bench_figure("P2a-floor", "park+unpark, same CPU", 1, 2, 0, BENCH_NO_TARGET, "ns");
	bench_figure("P2c", "park in place of an idle one", 3, 2, 0, 0.02, "ns");
	bench_figure("P2c", "park in place of an idle one", 4, 2, 0, 0.02, "ns");
	bench_figure("P2c-unpark", "park in place, and unpark", 3, 2, 1, BENCH_NO_TARGET, "ns");
}

static void two_cpus(void)
{
	static const struct setting busy = {.controller = 0, .thread = 1, .busy = true};
	static const struct setting apart = {.controller = 0, .thread = 1};
	const struct bench_variant variants[] = {
	    {"mutex+cond, waiting", with_cond, &apart},
	    {"mutex+cond, busy", with_cond, &busy},
	    {"kthread, busy", ours, &busy},
	    {"kthread_wait loop", ours, &apart},
	    {"mutex+cond, settled", with_cond_settled, &apart},
	    {"kthread_wait loop, settled", ours_settled, &apart},
	};

	if (bench_cpu(1) < 0) {
		bench_note("one CPU only: P2b left out");
		return;
	}
	bench_rounds(variants, sizeof(variants) / sizeof(variants[0]));
	bench_figure("P2b", "park+unpark of a busy one, two CPUs", 2, 0, 0, 0.1, "ns");
	bench_figure("P2b-like", "park+unpark of a busy one, two CPUs", 2, 1, 0, BENCH_NO_TARGET, "ns");
	bench_figure("P2b-wait", "park+unpark back to back, two CPUs", 3, 0, 0, BENCH_NO_TARGET, "ns");
	bench_figure("P2b-asleep", "park+unpark of a settled one, two CPUs", 5, 4, 0, BENCH_NO_TARGET, "ns");
}

int main(int argc, char **argv)
{
	bench_open(argc, argv, "park");
	BENCH_CHECK(kthread_init(NULL) == 0);
	cycles = bench_count(2000, 100);
	settled_cycles = bench_count(150, 10);
	one_cpu();
	two_cpus();
	BENCH_CHECK(kthread_fini() == 0);
	return bench_close();
}

/* SPDX-License-Identifier: MIT */
/*
 * P4: works queued to one thread, against what one writes with a mutex and a condition, and against queues and pools of
 * others with one thread. Only ours and the first know of an item that it is pending; only ours can take one out again.
 */
#include <kthread/kthread.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "gate.h"
#include "queues.h"

#define MAX_KINDS 10
#define MAX_PRODUCERS 4

struct setting {
	const struct queue_kind *kind;
	unsigned int producers;
	bool pinned;           /* producers on the first CPU, the queue's thread on: */
	unsigned int consumer; /* the first or the second */
};

static struct item *items;
static unsigned int item_count, wakes, flushes, cancels;

/* ---- a queue and its thread ---------------------------------------------------------------------------------------- */

static struct {
	struct kthread_completion done;
	int cpu;
} placing;

static void place(struct kthread_work *work)
{
	(void)work;
	if (placing.cpu >= 0)
		bench_pin(placing.cpu);
	else
		bench_unpin();
	kthread_complete(&placing.done);
}

static void *start(const struct setting *setting)
{
	struct item ahead = {.work = KTHREAD_WORK_INIT(place)};
	void *queue;

	placing.cpu = setting->pinned ? bench_cpu(setting->consumer) : -1;
	queue = setting->kind->start(placing.cpu);
	if (setting->kind != &queue_ours) {
		setting->kind->push(queue, &ahead);
		kthread_wait_for_completion(&placing.done);
	}
	if (setting->pinned)
		bench_pin(bench_cpu(0));
	return queue;
}

static void stop(const struct setting *setting, void *queue)
{
	setting->kind->stop(queue);
	bench_unpin();
}

/* ---- burst ---------------------------------------------------------------------------------------------------------- */

static struct {
	unsigned int expected;
	atomic_uint ran; /* by one thread at a time */
	uint64_t end;
	struct kthread_completion done;
} burst;

static void count_one(struct kthread_work *work)
{
	const unsigned int ran = atomic_load_explicit(&burst.ran, memory_order_relaxed) + 1;

	(void)work;
	atomic_store_explicit(&burst.ran, ran, memory_order_relaxed);
	if (ran == burst.expected) {
		burst.end = bench_now();
		kthread_complete(&burst.done);
	}
}

struct producer {
	const struct setting *setting;
	void *queue;
	struct item *first;
	size_t count;
	pthread_barrier_t *begin;
	pthread_t thread;
	uint64_t started;
	double each;
};

static void produce(struct producer *producer)
{
	void (*const push)(void *queue, struct item *item) = producer->setting->kind->push;

	producer->started = bench_now();
	for (size_t i = 0; i < producer->count; i++)
		push(producer->queue, &producer->first[i]);
	producer->each = bench_each(producer->started, producer->count);
}

static void *producer_main(void *arg)
{
	struct producer *producer = arg;

	pthread_barrier_wait(producer->begin);
	produce(producer);
	return NULL;
}

static void fresh_items(size_t count, void (*fn)(struct kthread_work *work))
{
	memset(items, 0, count * sizeof(*items));
	for (size_t i = 0; i < count; i++)
		kthread_init_work(&items[i].work, fn);
}

/* values: ns per item until all have run, and for its producer */
static void run_burst(const void *arg, double *values)
{
	const struct setting *setting = arg;
	struct producer producers[MAX_PRODUCERS];
	pthread_barrier_t barrier;
	uint64_t begin = 0;
	void *queue;

	values[1] = 0;
	fresh_items(item_count, count_one);
	queue = start(setting);
	burst.expected = item_count;
	atomic_store(&burst.ran, 0);
	pthread_barrier_init(&barrier, NULL, setting->producers + 1);
	for (unsigned int i = 0; i < setting->producers; i++) {
		struct producer *producer = &producers[i];

		*producer = (struct producer){.setting = setting, .queue = queue, .begin = &barrier};
		producer->count = item_count / setting->producers;
		producer->first = &items[i * producer->count];
		if (setting->producers > 1)
			BENCH_CHECK(pthread_create(&producer->thread, NULL, producer_main, producer) == 0);
	}
	if (setting->producers > 1)
		pthread_barrier_wait(&barrier);
	else
		produce(&producers[0]);
	kthread_wait_for_completion(&burst.done);
	for (unsigned int i = 0; i < setting->producers; i++) {
		if (setting->producers > 1)
			BENCH_CHECK(pthread_join(producers[i].thread, NULL) == 0);
		if (i == 0 || producers[i].started < begin)
			begin = producers[i].started;
		values[1] += producers[i].each / setting->producers;
	}
	values[0] = (double)(burst.end - begin) / item_count;
	pthread_barrier_destroy(&barrier);
	stop(setting, queue);
}

/* ---- from idle to running ------------------------------------------------------------------------------------------- */

static atomic_uint_fast64_t ran_at;

static void note_time(struct kthread_work *work)
{
	(void)work;
	atomic_store_explicit(&ran_at, bench_now(), memory_order_release);
}

/* values: p50, p99 */
static void latency(const void *arg, double *values)
{
	const struct setting *setting = arg;
	double *samples = calloc(wakes, sizeof(*samples));
	void *queue;

	BENCH_CHECK(samples);
	fresh_items(1, note_time);
	queue = start(setting);
	for (unsigned int i = 0; i < wakes; i++) {
		uint64_t begin;
		uint64_t ran;

		bench_sleep(60000); /* it goes to sleep, and so does its CPU */
		atomic_store(&ran_at, 0);
		begin = bench_now();
		setting->kind->push(queue, items);
		while ((ran = atomic_load_explicit(&ran_at, memory_order_acquire)) == 0)
			bench_sleep(20000);
		samples[i] = (double)(ran - begin);
	}
	stop(setting, queue);
	values[0] = bench_quantile(samples, wakes, 0.5);
	values[1] = bench_quantile(samples, wakes, 0.99);
	free(samples);
}

/* ---- queue and flush ------------------------------------------------------------------------------------------------ */

static struct gate gate;

static void nothing(struct kthread_work *work)
{
	(void)work;
}

static void open_gate(struct kthread_work *work)
{
	(void)work;
	gate_futex.wake(&gate);
}

static void flush(const struct setting *setting, void *queue)
{
	if (setting->kind->flush) {
		setting->kind->flush(queue, &items[0]);
		return;
	}
	setting->kind->push(queue, &items[0]);
	setting->kind->push(queue, &items[1]);
	gate_futex.wait(&gate);
}

static void run_flush(const void *arg, double *values)
{
	const struct setting *setting = arg;
	uint64_t begin;
	void *queue;

	fresh_items(2, nothing);
	kthread_init_work(&items[1].work, open_gate);
	gate_futex.init(&gate);
	queue = start(setting);
	for (unsigned int i = 0; i < flushes / 20; i++)
		flush(setting, queue);
	begin = bench_now();
	for (unsigned int i = 0; i < flushes; i++)
		flush(setting, queue);
	values[0] = bench_each(begin, flushes);
	stop(setting, queue);
}

/* ---- queue and cancel ------------------------------------------------------------------------------------------------ */

#define BEHIND 1000u /* works in the queue of a worker that is busy */

static struct kthread_completion go;

static void be_busy(struct kthread_work *work)
{
	(void)work;
	kthread_complete(&placing.done);
	kthread_wait_for_completion(&go);
}

/* values: queue and cancel, queue alone */
static void queue_and_cancel(const void *arg, double *values)
{
	const struct setting *setting = arg;
	struct kthread_work busy = KTHREAD_WORK_INIT(be_busy);
	uint64_t queueing = 0;
	uint64_t cancelling = 0;
	void *queue;

	fresh_items(BEHIND, nothing);
	queue = start(setting);
	kthread_queue_work(queue, &busy);
	kthread_wait_for_completion(&placing.done);
	for (unsigned int turn = 0; turn < cancels / BEHIND; turn++) {
		const uint64_t begin = bench_now();
		uint64_t queued;

		for (unsigned int i = 0; i < BEHIND; i++)
			kthread_queue_work(queue, &items[i].work);
		queued = bench_now();
		for (unsigned int i = BEHIND; i-- > 0;)
			BENCH_CHECK(kthread_cancel_work_sync(&items[i].work));
		cancelling += bench_now() - queued;
		queueing += queued - begin;
	}
	kthread_complete(&go);
	stop(setting, queue);
	values[0] = (double)(queueing + cancelling) / cancels;
	values[1] = (double)queueing / cancels;
}

static void queue_alone(const void *arg, double *values)
{
	double both[BENCH_VALUES];

	queue_and_cancel(arg, both);
	values[0] = both[1];
}

/* The floor: what a queue and a cancellation that exclude each other cannot do without. values: as often as the others */
static void four_atomics(const void *arg, double *values)
{
	static struct {
		_Alignas(64) atomic_uint word;
	} words[4];
	const uint64_t begin = bench_now();

	(void)arg;
	bench_pin(bench_cpu(0));
	for (unsigned int i = 0; i < cancels; i++) {
		for (unsigned int j = 0; j < 4; j++)
			atomic_fetch_xor_explicit(&words[j].word, 1, memory_order_acq_rel);
	}
	values[0] = bench_each(begin, cancels);
	bench_unpin();
}

/* ---------------------------------------------------------------------------------------------------------------------- */

struct contest {
	struct setting settings[MAX_KINDS];
	struct bench_variant variants[MAX_KINDS];
	size_t count;
};

/* kinds: NULL where one was not found; the first is ours. Leaves out those that do not have so many producers. */
static void contest(struct contest *contest, const struct queue_kind *const *kinds, size_t count,
                    const struct setting *how, void (*run)(const void *arg, double *values))
{
	contest->count = 0;
	for (size_t i = 0; i < count; i++) {
		struct setting *setting = &contest->settings[contest->count];

		if (!kinds[i] || (how->producers > 1 && kinds[i]->one_producer))
			continue;
		*setting = *how;
		setting->kind = kinds[i];
		contest->variants[contest->count] = (struct bench_variant){kinds[i]->name, run, setting};
		contest->count++;
	}
	bench_rounds(contest->variants, contest->count);
}

/* The target of each contender: of most of them, and of one that has its own. */
static void figures(const struct contest *contest, const char *figure, const char *what, double target,
                    const struct queue_kind *other, double other_target)
{
	for (size_t i = 1; i < contest->count; i++) {
		const bool is_other = contest->settings[i].kind == other;

		bench_figure(figure, what, 0, i, 0, is_other ? other_target : target, "ns");
	}
}

static void bursts(bool two)
{
	const struct queue_kind *const all[] = {&queue_ours, &queue_cond, &queue_batch,     queue_gasync, queue_gpool,
	                                        queue_uv,    queue_tbb,   queue_moodycamel, queue_asio};
	const struct queue_kind *const few[] = {&queue_ours, &queue_cond, queue_gasync, queue_moodycamel};
	struct setting how = {.producers = 1, .pinned = two, .consumer = 1};
	struct contest result;
	char what[64];

	contest(&result, all, sizeof(all) / sizeof(all[0]), &how, run_burst);
	snprintf(what, sizeof(what), "burst, 1 producer%s", two ? ", two CPUs" : "");
	for (size_t i = 1; i < result.count; i++) {
		const struct queue_kind *kind = result.settings[i].kind;
		const bool near = kind == &queue_cond || kind == queue_moodycamel;

		/* one that takes all is a floor: it gives up what the others can do */
		bench_figure("P4a", what, 0, i, 0, kind == &queue_batch ? BENCH_NO_TARGET : near ? 0.25 : 0.1, "ns");
	}
	bench_number("P4a-producer", "burst, 1 producer: its part", bench_median(0, 1), bench_median(0, 0), "all of it",
	             BENCH_NO_TARGET, "ns");
	how.pinned = false;
	contest(&result, few, sizeof(few) / sizeof(few[0]), &how, run_burst);
	figures(&result, "P4a", "burst, 1 producer, anywhere", 0.25, queue_gasync, 0.1);
	for (how.producers = 2; how.producers <= MAX_PRODUCERS; how.producers *= 2) {
		contest(&result, few, sizeof(few) / sizeof(few[0]), &how, run_burst);
		snprintf(what, sizeof(what), "burst, %u producers, anywhere", how.producers);
		figures(&result, "P4b", what, BENCH_NO_TARGET, queue_moodycamel, 0.4);
	}
}

static void latencies(const char *place, unsigned int consumer)
{
	const struct queue_kind *const kinds[] = {&queue_ours,      &queue_futex, &queue_cond,
	                                          queue_moodycamel, queue_gasync, queue_tbb};
	const struct setting how = {.producers = 1, .pinned = true, .consumer = consumer};
	struct contest result;
	char what[64];

	contest(&result, kinds, sizeof(kinds) / sizeof(kinds[0]), &how, latency);
	snprintf(what, sizeof(what), "idle to run p50, %s", place);
	bench_figure("P4c-futex", what, 0, 1, 0, 1.1, "ns");
	bench_figure("P4c-cond", what, 0, 2, 0, 1.0, "ns");
	for (size_t i = 3; i < result.count; i++)
		bench_figure("P4c-peer", what, 0, i, 0, BENCH_NO_TARGET, "ns");
	snprintf(what, sizeof(what), "idle to run p99, %s", place);
	bench_figure("P4c-p99", what, 0, 1, 1, BENCH_NO_TARGET, "ns");
	bench_figure("P4c-p99", what, 0, 2, 1, BENCH_NO_TARGET, "ns");
}

static void flushing(const char *what, bool pinned, double tbb_target, double target)
{
	const struct queue_kind *const kinds[] = {&queue_ours,  &queue_cond, queue_tbb, queue_moodycamel,
	                                          queue_gasync, queue_gpool, queue_asio};
	const struct setting how = {.producers = 1, .pinned = pinned, .consumer = 1};
	struct contest result;

	contest(&result, kinds, sizeof(kinds) / sizeof(kinds[0]), &how, run_flush);
	figures(&result, "P4d", what, target, queue_tbb, tbb_target);
}

static void cancelling(bool two)
{
	const struct setting how = {.kind = &queue_ours, .producers = 1, .pinned = true, .consumer = two};
	const struct bench_variant variants[] = {
	    {"queue and cancel", queue_and_cancel, &how},
	    {"queue alone", queue_alone, &how},
	    {"four read-modify-writes", four_atomics, NULL},
	};

	bench_rounds(variants, 3);
	bench_figure("P4e", "queue and cancel behind a busy one", 0, 1, 0, 2.0, "ns");
	/* 25 ns where the four take 12 */
	bench_figure("P4e", "queue and cancel behind a busy one", 0, 2, 0, 25.0 / 12.0, "ns");
}

static void left_out(const struct queue_kind *kind, const char *name)
{
	if (!kind)
		bench_note("%s was not found at build time: left out", name);
}

int main(int argc, char **argv)
{
	const bool two = (bench_open(argc, argv, "queue"), bench_cpu(1) >= 0);

	BENCH_CHECK(kthread_init(NULL) == 0);
	item_count = bench_count(1000000, 2000);
	wakes = bench_count(200, 10);
	flushes = bench_count(2000, 40);
	cancels = bench_count(200000, BEHIND);
	items = aligned_alloc(_Alignof(struct item), item_count * sizeof(*items));
	BENCH_CHECK(items);
	left_out(queue_gasync, "GLib");
	left_out(queue_uv, "libuv");
	left_out(queue_moodycamel, "moodycamel's concurrentqueue");
	left_out(queue_tbb, "oneTBB");
	left_out(queue_asio, "asio");
	bursts(two);
	latencies("same CPU", 0);
	if (two) {
		latencies("two CPUs", 1);
		flushing("queue and flush, two CPUs", true, 0.2, BENCH_NO_TARGET);
	} else {
		bench_note("one CPU only: two CPUs left out");
	}
	flushing("queue and flush, anywhere", false, 1.0, 1.0);
	cancelling(two);
	free(items);
	BENCH_CHECK(kthread_fini() == 0);
	return bench_close();
}

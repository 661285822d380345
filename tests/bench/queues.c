/* SPDX-License-Identifier: MIT */
#include "queues.h"

#include <stdlib.h>

#include "bench.h"
#include "gate.h"

static void run(struct item *item)
{
	item->work.fn(&item->work);
}

/* ---- ours -------------------------------------------------------------------------------------------------------- */

static void *ours_start(int cpu)
{
	struct kthread_worker *w =
	    cpu < 0 ? kthread_run_worker(0, "bench") : kthread_run_worker_on_cpu((unsigned int)cpu, 0, "bench/%u");

	BENCH_CHECK(w);
	return w;
}

static void ours_push(void *queue, struct item *item)
{
	kthread_queue_work(queue, &item->work);
}

static void ours_flush(void *queue, struct item *item)
{
	kthread_queue_work(queue, &item->work);
	kthread_flush_work(&item->work);
}

static void ours_stop(void *queue)
{
	kthread_destroy_worker(queue);
}

const struct queue_kind queue_ours = {"kthread_worker", ours_start, ours_push, ours_flush, ours_stop, false};

/* ---- mutex and condition ------------------------------------------------------------------------------------------ */

struct plain {
	_Alignas(64) pthread_mutex_t mutex;
	pthread_cond_t filled;
	struct item *first;
	struct item **last;
	struct gate gate; /* of the floor, which has room for one, `first` */
	pthread_t thread;
	struct item end;
};

static struct item *all_of(struct plain *plain)
{
	struct item *item = plain->first;

	plain->first = NULL;
	plain->last = &plain->first;
	return item;
}

static void cond_push(void *queue, struct item *item)
{
	struct plain *plain = queue;
	bool wake = false;

	pthread_mutex_lock(&plain->mutex);
	if (!item->pending) {
		wake = !plain->first;
		item->pending = true;
		item->next = NULL;
		*plain->last = item;
		plain->last = &item->next;
	}
	pthread_mutex_unlock(&plain->mutex);
	if (wake)
		pthread_cond_signal(&plain->filled);
}

static void *cond_main(void *arg)
{
	struct plain *plain = arg;
	struct item *item;

	for (;;) {
		pthread_mutex_lock(&plain->mutex);
		while (!plain->first)
			pthread_cond_wait(&plain->filled, &plain->mutex);
		item = plain->first;
		plain->first = item->next;
		if (!plain->first)
			plain->last = &plain->first;
		item->pending = false;
		pthread_mutex_unlock(&plain->mutex);
		if (item == &plain->end)
			return NULL;
		run(item);
	}
}

static void *batch_main(void *arg)
{
	struct plain *plain = arg;
	struct item *item;

	for (;;) {
		pthread_mutex_lock(&plain->mutex);
		while (!plain->first)
			pthread_cond_wait(&plain->filled, &plain->mutex);
		item = all_of(plain);
		pthread_mutex_unlock(&plain->mutex);
		while (item) {
			struct item *next = item->next;

			item->pending = false;
			if (item == &plain->end)
				return NULL;
			run(item);
			item = next;
		}
	}
}

static void futex_push(void *queue, struct item *item)
{
	struct plain *plain = queue;

	plain->first = item;
	gate_futex.wake(&plain->gate);
}

static void *futex_main(void *arg)
{
	struct plain *plain = arg;

	for (;;) {
		gate_futex.wait(&plain->gate);
		if (plain->first == &plain->end)
			return NULL;
		run(plain->first);
	}
}

static struct plain *plain_start(void *(*main)(void *arg))
{
	struct plain *plain = aligned_alloc(_Alignof(struct plain), sizeof(*plain));

	BENCH_CHECK(plain);
	pthread_mutex_init(&plain->mutex, NULL);
	pthread_cond_init(&plain->filled, NULL);
	gate_futex.init(&plain->gate);
	plain->end.pending = false;
	all_of(plain);
	BENCH_CHECK(pthread_create(&plain->thread, NULL, main, plain) == 0);
	return plain;
}

static void plain_join(struct plain *plain)
{
	BENCH_CHECK(pthread_join(plain->thread, NULL) == 0);
	pthread_cond_destroy(&plain->filled);
	pthread_mutex_destroy(&plain->mutex);
	free(plain);
}

static void cond_stop(void *queue)
{
	struct plain *plain = queue;

	cond_push(plain, &plain->end);
	plain_join(plain);
}

static void futex_stop(void *queue)
{
	struct plain *plain = queue;

	futex_push(plain, &plain->end);
	plain_join(plain);
}

static void *cond_start(int cpu)
{
	(void)cpu;
	return plain_start(cond_main);
}

static void *batch_start(int cpu)
{
	(void)cpu;
	return plain_start(batch_main);
}

static void *futex_start(int cpu)
{
	(void)cpu;
	return plain_start(futex_main);
}

const struct queue_kind queue_cond = {"mutex+cond", cond_start, cond_push, NULL, cond_stop, false};
const struct queue_kind queue_batch = {"mutex+cond, takes all", batch_start, cond_push, NULL, cond_stop, false};
const struct queue_kind queue_futex = {"bare futex", futex_start, futex_push, NULL, futex_stop, true};

/* ---- GLib --------------------------------------------------------------------------------------------------------- */

#ifdef BENCH_GLIB
#include <glib.h>

struct gasync {
	GAsyncQueue *queue;
	pthread_t thread;
	struct item end;
};

static void *gasync_main(void *arg)
{
	struct gasync *gasync = arg;
	struct item *item;

	while ((item = g_async_queue_pop(gasync->queue)) != &gasync->end)
		run(item);
	return NULL;
}

static void *gasync_start(int cpu)
{
	struct gasync *gasync = aligned_alloc(_Alignof(struct gasync), sizeof(*gasync));

	(void)cpu;
	BENCH_CHECK(gasync);
	gasync->queue = g_async_queue_new();
	BENCH_CHECK(pthread_create(&gasync->thread, NULL, gasync_main, gasync) == 0);
	return gasync;
}

static void gasync_push(void *queue, struct item *item)
{
	g_async_queue_push(((struct gasync *)queue)->queue, item);
}

static void gasync_stop(void *queue)
{
	struct gasync *gasync = queue;

	gasync_push(gasync, &gasync->end);
	BENCH_CHECK(pthread_join(gasync->thread, NULL) == 0);
	g_async_queue_unref(gasync->queue);
	free(gasync);
}

static void gpool_run(gpointer data, gpointer user_data)
{
	(void)user_data;
	run(data);
}

static void *gpool_start(int cpu)
{
	GThreadPool *pool = g_thread_pool_new(gpool_run, NULL, 1, TRUE, NULL);

	(void)cpu;
	BENCH_CHECK(pool);
	return pool;
}

static void gpool_push(void *queue, struct item *item)
{
	g_thread_pool_push(queue, item, NULL);
}

static void gpool_stop(void *queue)
{
	g_thread_pool_free(queue, FALSE, TRUE);
}

static const struct queue_kind gasync = {"GAsyncQueue", gasync_start, gasync_push, NULL, gasync_stop, false};
static const struct queue_kind gpool = {"GThreadPool", gpool_start, gpool_push, NULL, gpool_stop, false};
const struct queue_kind *const queue_gasync = &gasync;
const struct queue_kind *const queue_gpool = &gpool;
#else
const struct queue_kind *const queue_gasync = NULL;
const struct queue_kind *const queue_gpool = NULL;
#endif

/* ---- libuv: its pool of threads, one of them ---------------------------------------------------------------------- */

#ifdef BENCH_UV
#include <uv.h>

struct request {
	uv_work_t work; /* first */
	struct item *item;
};

struct uvpool {
	uv_loop_t loop;
	struct request *requests; /* one for each push; memory that is not used costs nothing */
	size_t used;
};

#define UV_REQUESTS (2u << 20)

static void uvpool_run_item(uv_work_t *work)
{
	run(((struct request *)work)->item);
}

static void uvpool_ignore(uv_work_t *work, int status)
{
	(void)work;
	(void)status;
}

static void *uvpool_start(int cpu)
{
	struct uvpool *pool = malloc(sizeof(*pool));

	(void)cpu;
	BENCH_CHECK(pool && setenv("UV_THREADPOOL_SIZE", "1", 1) == 0);
	*pool = (struct uvpool){.requests = calloc(UV_REQUESTS, sizeof(struct request))};
	BENCH_CHECK(pool->requests && uv_loop_init(&pool->loop) == 0);
	return pool;
}

static void uvpool_push(void *queue, struct item *item)
{
	struct uvpool *pool = queue;
	struct request *request = &pool->requests[pool->used++ % UV_REQUESTS];

	request->item = item;
	uv_queue_work(&pool->loop, &request->work, uvpool_run_item, uvpool_ignore);
}

static void uvpool_stop(void *queue)
{
	struct uvpool *pool = queue;

	uv_run(&pool->loop, UV_RUN_DEFAULT);
	BENCH_CHECK(uv_loop_close(&pool->loop) == 0);
	free(pool->requests);
	free(pool);
}

static const struct queue_kind uv = {"uv_queue_work", uvpool_start, uvpool_push, NULL, uvpool_stop, true};
const struct queue_kind *const queue_uv = &uv;
#else
const struct queue_kind *const queue_uv = NULL;
#endif

#ifndef BENCH_CPP /* queues.cpp */
const struct queue_kind *const queue_moodycamel = NULL;
const struct queue_kind *const queue_tbb = NULL;
const struct queue_kind *const queue_asio = NULL;
#endif

/* SPDX-License-Identifier: MIT */
/*
 * What the workers' tests share: works that wait for leave, and calls that may block, each in a thread of its own.
 */
#ifndef TESTS_WORKER_WORKS_H
#define TESTS_WORKER_WORKS_H

#include "await.h"

#define HOUR (3600000 * MS)

/* A work that says when it runs, and waits until it may end. Its `dwork` may be delayed or not. */
struct gated {
	struct kthread_delayed_work dwork;
	struct kthread_completion begun;
	struct kthread_completion go;
	atomic_bool running;
	atomic_int runs; /* that have ended */
	void (*inside)(struct gated *gated);
	struct kthread_worker *worker; /* for `inside` */
};

static inline void gated_fn(struct kthread_work *work)
{
	struct gated *gated = (struct gated *)work;

	CHECK(!atomic_exchange(&gated->running, true));
	kthread_complete(&gated->begun);
	AWAIT_DONE(&gated->go);
	if (gated->inside)
		gated->inside(gated);
	atomic_store(&gated->running, false);
	atomic_fetch_add(&gated->runs, 1);
}

static inline void gated_init(struct gated *gated)
{
	*gated = (struct gated){.runs = 0};
	kthread_init_delayed_work(&gated->dwork, gated_fn);
	kthread_init_completion(&gated->begun);
	kthread_init_completion(&gated->go);
}

/* One that does not wait. */
static inline void free_init(struct gated *gated)
{
	gated_init(gated);
	kthread_complete_all(&gated->go);
}

/* Queued, and it runs by now. */
static inline void gated_begin(struct kthread_worker *w, struct gated *gated)
{
	CHECK(kthread_queue_work(w, &gated->dwork.work));
	AWAIT_DONE(&gated->begun);
}

static inline void gated_end(struct gated *gated)
{
	const int runs = atomic_load(&gated->runs);

	kthread_complete(&gated->go);
	AWAIT(atomic_load(&gated->runs) != runs);
}

/* ---- calls ------------------------------------------------------------------------------------------------------ */

struct call {
	pthread_t thread;
	_Atomic pid_t tid;
	atomic_bool done;
	intptr_t answer;
	intptr_t (*fn)(void *arg);
	void *arg;
};

static inline void *call_run(void *data)
{
	struct call *call = data;

	atomic_store(&call->tid, gettid());
	call->answer = call->fn(call->arg);
	atomic_store(&call->done, true);
	return NULL;
}

static inline void call_begin(struct call *call, intptr_t (*fn)(void *arg), void *arg)
{
	*call = (struct call){.fn = fn, .arg = arg};
	CHECK(pthread_create(&call->thread, NULL, call_run, call) == 0);
	AWAIT(atomic_load(&call->tid) != 0);
}

/* It sleeps somewhere in there, and has not returned. */
static inline void call_blocks(struct call *call)
{
	AWAIT(task_asleep(atomic_load(&call->tid)) || atomic_load(&call->done));
	CHECK(!atomic_load(&call->done));
	await_settled(atomic_load(&call->tid));
	CHECK(!atomic_load(&call->done));
}

static inline intptr_t call_end(struct call *call)
{
	AWAIT(atomic_load(&call->done));
	pthread_join(call->thread, NULL);
	return call->answer;
}

static inline intptr_t call_flush_work(void *work)
{
	kthread_flush_work(work);
	return 0;
}

static inline intptr_t call_flush_worker(void *w)
{
	kthread_flush_worker(w);
	return 0;
}

static inline intptr_t call_cancel(void *work)
{
	return kthread_cancel_work_sync(work);
}

static inline intptr_t call_destroy(void *w)
{
	kthread_destroy_worker(w);
	return 0;
}

static inline intptr_t call_park(void *w)
{
	return kthread_park(kthread_worker_thread(w));
}

static inline intptr_t call_stop(void *w)
{
	return kthread_stop(kthread_get(kthread_worker_thread(w)));
}

static inline intptr_t call_freeze(void *unused)
{
	return kthread_freeze_all(AWAIT_LIMIT_NS);
}

static inline void say_nothing(int level, const char *message, void *arg)
{
}

/* For tests that have works refused and lost by the thousand. */
static inline int start_without_a_log(void **state)
{
	struct kthread_config config = KTHREAD_CONFIG_INIT;

	config.log = say_nothing;
	return kthread_init(&config);
}

#endif

/* SPDX-License-Identifier: MIT */
/*
 * Bugs that workers have had: the kernel's (kthread_worker, W1 to W5), then our own.
 */
#include "works.h"

static struct kthread_worker *worker(unsigned int flags)
{
	struct kthread_worker *w = kthread_run_worker(flags, "worker");

	assert_non_null(w);
	return w;
}

/* ---- W1: the timer queued a work that was being cancelled -------------------------------------------------------- */

static void W1__nothing_queues_what_is_being_cancelled(void **state)
{
	struct kthread_worker *w = worker(0);
	struct kthread_worker *other = worker(0);
	struct gated gated;
	struct call cancel;

	gated_init(&gated);
	gated_begin(w, &gated);
	/* pending again, and due by the time it is cancelled */
	assert_true(kthread_queue_delayed_work(w, &gated.dwork, 1));
	AWAIT(now_ns() > gated.dwork.expires);
	call_begin(&cancel, call_cancel, &gated.dwork.work);
	call_blocks(&cancel);
	assert_false(kthread_queue_delayed_work(w, &gated.dwork, 1));
	assert_false(kthread_queue_delayed_work(other, &gated.dwork, 0));
	assert_false(kthread_queue_work(w, &gated.dwork.work));
	assert_true(kthread_mod_delayed_work(w, &gated.dwork, 1)); /* "nothing was done" */
	kthread_complete(&gated.go);
	assert_true(call_end(&cancel));
	assert_false(gated.running);
	kthread_flush_worker(w);
	kthread_flush_worker(other);
	assert_int_equal(gated.runs, 1);
	assert_true(kthread_queue_delayed_work(other, &gated.dwork, 1)); /* as good as new */
	AWAIT_DONE(&gated.begun);
	gated_end(&gated);
	kthread_destroy_worker(w);
	kthread_destroy_worker(other);
}

static void W1__cancelled_as_its_time_comes(void **state)
{
	struct kthread_worker *w = worker(0);
	struct gated gated;
	int cancelled = 0;

	free_init(&gated);
	for (int i = 0; i < 3000; i++) {
		const int runs = gated.runs;

		assert_true(kthread_queue_delayed_work(w, &gated.dwork, (uint64_t)i * 50));
		if (i % 3 == 0)
			sched_yield();
		if (kthread_cancel_delayed_work_sync(&gated.dwork)) {
			assert_int_equal(gated.runs, runs);
			cancelled++;
		} else {
			assert_int_equal(gated.runs, runs + 1);
		}
		assert_false(gated.running);
	}
	kthread_flush_worker(w);
	assert_int_equal(gated.runs + cancelled, 3000);
	kthread_destroy_worker(w);
}

/* ---- W2: mod and cancel waited for each other; W3: what mod answers then ------------------------------------------ */

struct counted {
	struct kthread_delayed_work dwork;
	struct kthread_worker *workers[2];
	atomic_int references; /* one for each pending instance: whom queueing answers "it was idle" takes it */
	atomic_ulong runs;
	atomic_ulong cancelled;
	atomic_bool over;
};

static void counted_fn(struct kthread_work *work)
{
	struct counted *counted = (struct counted *)work;

	atomic_fetch_sub(&counted->references, 1);
	atomic_fetch_add(&counted->runs, 1);
}

static void *modifier(void *data)
{
	struct counted *counted = data;
	unsigned int random = (unsigned int)(uintptr_t)&random;

	while (!atomic_load(&counted->over)) {
		random = random * 1664525u + 1013904223u;
		/* before: it may run before this returns */
		atomic_fetch_add(&counted->references, 1);
		if (kthread_mod_delayed_work(counted->workers[random >> 16 & 1], &counted->dwork,
		                             (random >> 20) % 3 * (random >> 24) * 200))
			atomic_fetch_sub(&counted->references, 1);
		sched_yield(); /* else hardly anybody but us gets the lock */
	}
	return NULL;
}

static void *canceller(void *data)
{
	struct counted *counted = data;

	while (!atomic_load(&counted->over)) {
		if (kthread_cancel_delayed_work_sync(&counted->dwork)) {
			atomic_fetch_sub(&counted->references, 1);
			atomic_fetch_add(&counted->cancelled, 1);
		}
		kthread_flush_work(&counted->dwork.work);
	}
	return NULL;
}

static void W2_W3__mod_against_cancel(void **state)
{
	struct counted counted = {.workers = {worker(0), worker(0)}};
	pthread_t threads[4];
	const uint64_t until = now_ns() + 500 * MS;

	kthread_init_delayed_work(&counted.dwork, counted_fn);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, i < 2 ? modifier : canceller, &counted), 0);
	while (now_ns() < until)
		usleep(10000);
	AWAIT(counted.runs > 10 && counted.cancelled > 10);
	atomic_store(&counted.over, true);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	if (kthread_cancel_delayed_work_sync(&counted.dwork))
		atomic_fetch_sub(&counted.references, 1);
	assert_int_equal(counted.references, 0);
	kthread_destroy_worker(counted.workers[0]);
	kthread_destroy_worker(counted.workers[1]);
}

static void W3__what_mod_answers(void **state)
{
	struct kthread_worker *w = worker(0);
	struct gated gated;
	struct gated before;
	struct call cancel;

	gated_init(&gated);
	gated_init(&before);
	assert_false(kthread_mod_delayed_work(w, &gated.dwork, HOUR)); /* it was idle */
	assert_true(kthread_mod_delayed_work(w, &gated.dwork, UINT64_MAX));
	assert_true(kthread_cancel_delayed_work_sync(&gated.dwork));
	gated_begin(w, &before);
	assert_false(kthread_mod_delayed_work(w, &gated.dwork, 0));
	assert_true(kthread_mod_delayed_work(w, &gated.dwork, 0)); /* in the queue */
	assert_true(kthread_mod_delayed_work(w, &gated.dwork, HOUR));
	assert_true(kthread_mod_delayed_work(w, &gated.dwork, 0));
	gated_end(&before);
	AWAIT_DONE(&gated.begun);
	assert_false(kthread_mod_delayed_work(w, &gated.dwork, HOUR)); /* it runs, and was not pending */
	assert_true(kthread_mod_delayed_work(w, &gated.dwork, 2 * HOUR));
	call_begin(&cancel, call_cancel, &gated.dwork.work);
	call_blocks(&cancel);
	assert_true(kthread_mod_delayed_work(w, &gated.dwork, 0)); /* being cancelled */
	kthread_complete(&gated.go);
	assert_true(call_end(&cancel));
	kthread_destroy_worker(w);
	assert_int_equal(gated.runs, 1);
}

/* ---- W4: delayed works left at the end, unnoticed ------------------------------------------------------------------ */

static atomic_int warnings;

static void count_warning(int level, const char *message, void *arg)
{
	if (level == 4 && strstr(message, "works will not run"))
		atomic_fetch_add(&warnings, 1);
}

static void W4__delayed_works_at_the_end(void **state)
{
	struct kthread_config config = KTHREAD_CONFIG_INIT;
	struct kthread_worker *w;
	struct gated works[3];

	assert_int_equal(kthread_fini(), 0);
	config.log = count_warning;
	assert_int_equal(kthread_init(&config), 0);
	for (int stopped_first = 0; stopped_first < 2; stopped_first++) {
		w = worker(0);
		for (int i = 0; i < 3; i++) {
			gated_init(&works[i]);
			assert_true(kthread_queue_delayed_work(w, &works[i].dwork, i ? HOUR << (i * 8) : HOUR / 60));
		}
		if (stopped_first)
			assert_int_equal(call_stop(w), 0);
		kthread_destroy_worker(w);
		assert_int_equal(warnings, 1 + stopped_first);
		w = worker(0);
		for (int i = 0; i < 3; i++) { /* idle, and free to go elsewhere */
			assert_int_equal(works[i].runs, 0);
			kthread_complete(&works[i].go);
			assert_true(kthread_queue_delayed_work(w, &works[i].dwork, i ? 0 : 1));
			AWAIT_DONE(&works[i].begun);
		}
		kthread_flush_worker(w);
		kthread_destroy_worker(w);
	}
	assert_int_equal(warnings, 2);
	assert_int_equal(kthread_fini(), 0);
}

/* ---- W5: an empty queue and a freeze left the thread asleep -------------------------------------------------------- */

static void W5__frozen_with_an_empty_queue(void **state)
{
	struct kthread_worker *w = worker(KTHREAD_WORKER_FREEZABLE);
	struct gated gated;

	free_init(&gated);
	for (int round = 0; round < 200; round++) {
		const int runs = gated.runs;

		if (round % 2)
			await_waiting(kthread_worker_thread(w));
		assert_int_equal(kthread_freeze_all(AWAIT_LIMIT_NS), 0);
		if (round % 4 < 2)
			assert_true(kthread_queue_work(w, &gated.dwork.work));
		else
			assert_true(kthread_queue_delayed_work(w, &gated.dwork, 1));
		sched_yield();
		assert_int_equal(gated.runs, runs);
		kthread_thaw_all();
		AWAIT(gated.runs == runs + 1);
	}
	kthread_destroy_worker(w);
}

/* ---- our own ------------------------------------------------------------------------------------------------------ */

/* Between two works it still remembered the one before, so who flushed or cancelled that waited for the unpark. */
static void parked__the_work_before_has_ended(void **state)
{
	struct kthread_worker *w = worker(KTHREAD_WORKER_FREEZABLE);
	struct gated gated;
	struct gated next;
	struct call park;
	struct call calls[2];

	for (int freeze = 0; freeze < 2; freeze++) {
		gated_init(&gated);
		free_init(&next);
		gated_begin(w, &gated);
		assert_true(kthread_queue_work(w, &next.dwork.work));
		call_begin(&park, freeze ? call_freeze : call_park, w);
		call_blocks(&park);
		/* those who wait for the running one are not held up either */
		call_begin(&calls[0], call_flush_work, &gated.dwork.work);
		call_begin(&calls[1], call_cancel, &gated.dwork.work);
		call_blocks(&calls[0]);
		call_blocks(&calls[1]);
		kthread_complete(&gated.go);
		assert_int_equal(call_end(&park), 0);
		assert_int_equal(call_end(&calls[0]), 0);
		assert_false(call_end(&calls[1]));
		assert_int_equal(gated.runs, 1);
		kthread_flush_work(&gated.dwork.work);
		assert_false(kthread_cancel_work_sync(&gated.dwork.work));
		assert_int_equal(next.runs, 0);
		assert_true(kthread_cancel_work_sync(&next.dwork.work));
		kthread_flush_worker(w);
		if (freeze)
			kthread_thaw_all();
		else
			kthread_unpark(kthread_worker_thread(w));
	}
	kthread_destroy_worker(w);
}

/* What had been queued was waited for before the stop, which alone could have set it free. */
static void destroy__of_one_that_is_parked_or_frozen(void **state)
{
	for (int how = 0; how < 4; how++) {
		struct kthread_worker *w = worker(KTHREAD_WORKER_FREEZABLE);
		struct gated works[3];
		struct call flush;
		struct call destroy;

		if (how % 2)
			assert_int_equal(kthread_freeze_all(AWAIT_LIMIT_NS), 0);
		else
			assert_int_equal(call_park(w), 0);
		for (int i = 0; i < 3; i++) {
			free_init(&works[i]);
			assert_true(kthread_queue_work(w, &works[i].dwork.work));
		}
		call_begin(&flush, call_flush_worker, w);
		call_blocks(&flush);
		if (how >= 2)
			assert_int_equal(call_stop(w), 0);
		call_begin(&destroy, call_destroy, w);
		call_end(&destroy);
		call_end(&flush);
		for (int i = 0; i < 3; i++)
			assert_int_equal(works[i].runs, 1);
		kthread_thaw_all();
	}
}

/* A thread that is stopped before it has begun did not see its queue: works, and those who waited for them, were lost. */
static void stop__before_it_has_begun(void **state)
{
	for (int round = 0; round < 300; round++) {
		struct kthread_worker *w = round % 3 ? kthread_create_worker(0, "created") : worker(0);
		struct gated works[3];
		struct call flush;
		bool queued = round % 2;

		for (int i = 0; i < 3; i++)
			free_init(&works[i]);
		for (int i = 0; queued && i < 2; i++)
			assert_true(kthread_queue_work(w, &works[i].dwork.work));
		call_begin(&flush, call_flush_worker, w);
		call_stop(w);
		call_end(&flush);
		for (int i = 0; i < 2; i++)
			assert_int_equal(works[i].runs, queued);
		assert_false(kthread_queue_work(w, &works[2].dwork.work));
		assert_false(kthread_queue_delayed_work(w, &works[2].dwork, 1));
		kthread_flush_work(&works[2].dwork.work);
		assert_false(kthread_cancel_work_sync(&works[2].dwork.work));
		kthread_destroy_worker(w);
		assert_int_equal(works[2].runs, 0);
	}
}

/* What was due was looked for only when the queue had been empty: works that came later went first. */
static void delayed__in_the_queue_after_the_work_that_runs(void **state)
{
	struct kthread_worker *w = worker(0);
	struct gated works[3];
	struct gated due;
	struct gated late;

	for (int i = 0; i < 3; i++)
		gated_init(&works[i]);
	gated_init(&due);
	gated_init(&late);
	gated_begin(w, &works[0]);
	for (int i = 1; i < 3; i++)
		assert_true(kthread_queue_work(w, &works[i].dwork.work));
	gated_end(&works[0]);
	AWAIT_DONE(&works[1].begun);
	assert_true(kthread_queue_delayed_work(w, &due.dwork, 1));
	AWAIT(now_ns() > due.dwork.expires);
	gated_end(&works[1]);
	AWAIT_DONE(&works[2].begun);
	assert_true(kthread_queue_work(w, &late.dwork.work));
	gated_end(&works[2]);
	AWAIT_DONE(&due.begun);
	gated_end(&due);
	AWAIT_DONE(&late.begun);
	gated_end(&late);
	kthread_destroy_worker(w);
}

/* ---- our own: who sees what ----------------------------------------------------------------------------------------- */

#define NUMBERS 16

struct number {
	struct kthread_work work;
	unsigned int value; /* not atomic: whoever has cancelled the work may look at it, and change it */
};

static void count_up(struct kthread_work *work)
{
	((struct number *)work)->value++;
}

static void ours__what_a_work_did_is_seen_by_who_cancels_it(void **state)
{
	struct kthread_worker *w = worker(0);
	struct number numbers[NUMBERS];
	unsigned int ran = 0;
	unsigned int cancelled = 0;

	for (int i = 0; i < NUMBERS; i++) {
		kthread_init_work(&numbers[i].work, count_up);
		numbers[i].value = 0;
	}
	for (int round = 0; round < 2000; round++) {
		for (int i = 0; i < NUMBERS; i++)
			assert_true(kthread_queue_work(w, &numbers[i].work));
		for (int spin = 0; spin < round % 100 * 8; spin++)
			__asm__ volatile("");
		for (int i = 0; i < NUMBERS; i++) {
			cancelled += kthread_cancel_work_sync(&numbers[i].work);
			ran += numbers[i].value;
			numbers[i].value = 0;
		}
	}
	assert_int_equal(ran + cancelled, 2000 * NUMBERS);
	kthread_destroy_worker(w);
}

static struct {
	struct kthread_worker *w;
	struct kthread_delayed_work dwork;
	int said; /* not atomic, nor is what tells that it is there an order: only the answer "pending" is */
	int seen;
	atomic_bool refused;
} telling;

static void look_at_it(struct kthread_work *work)
{
	(void)work;
	telling.seen = telling.said;
}

static intptr_t say_and_be_refused(void *arg)
{
	(void)arg;
	telling.said = 1;
	CHECK(!kthread_queue_work(telling.w, &telling.dwork.work));
	atomic_store_explicit(&telling.refused, true, memory_order_relaxed);
	return 0;
}

static intptr_t cancel_and_queue_anew(void *arg)
{
	(void)arg;
	AWAIT(atomic_load_explicit(&telling.refused, memory_order_relaxed));
	CHECK(kthread_cancel_delayed_work_sync(&telling.dwork));
	return kthread_queue_work(telling.w, &telling.dwork.work);
}

static void ours__who_was_told_that_it_is_pending_is_seen_though_another_queues_it(void **state)
{
	struct call first;
	struct call second;

	telling.w = worker(0);
	telling.said = telling.seen = 0;
	atomic_store(&telling.refused, false);
	kthread_init_delayed_work(&telling.dwork, look_at_it);
	assert_true(kthread_queue_delayed_work(telling.w, &telling.dwork, HOUR));
	call_begin(&second, cancel_and_queue_anew, NULL);
	call_begin(&first, say_and_be_refused, NULL);
	assert_true(call_end(&second));
	kthread_flush_worker(telling.w);
	assert_int_equal(telling.seen, 1);
	call_end(&first);
	kthread_destroy_worker(telling.w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(W1__nothing_queues_what_is_being_cancelled),
	    cmocka_unit_test(W1__cancelled_as_its_time_comes),
	    cmocka_unit_test(W2_W3__mod_against_cancel),
	    cmocka_unit_test(W3__what_mod_answers),
	    cmocka_unit_test(W4__delayed_works_at_the_end),
	    cmocka_unit_test(W5__frozen_with_an_empty_queue),
	    cmocka_unit_test(delayed__in_the_queue_after_the_work_that_runs),
	    cmocka_unit_test(stop__before_it_has_begun),
	    cmocka_unit_test(destroy__of_one_that_is_parked_or_frozen),
	    cmocka_unit_test(parked__the_work_before_has_ended),
	    cmocka_unit_test(ours__what_a_work_did_is_seen_by_who_cancels_it),
	    cmocka_unit_test(ours__who_was_told_that_it_is_pending_is_seen_though_another_queues_it),
	};

	return cmocka_run_group_tests(tests, NULL, fini_finds_nothing);
}

/* SPDX-License-Identifier: MIT */
/*
 * Queueing, flushing and cancelling works: what each call promises, one at a time.
 */
#include "await.h"

/* A work that says when it runs, and waits until it may end. */
struct gated {
	struct kthread_work work;
	struct kthread_completion begun;
	struct kthread_completion go;
	atomic_int runs;
};

static void gated_fn(struct kthread_work *work)
{
	struct gated *gated = (struct gated *)work;

	kthread_complete(&gated->begun);
	kthread_wait_for_completion(&gated->go);
	atomic_fetch_add(&gated->runs, 1);
}

static void gated_init(struct gated *gated)
{
	*gated = (struct gated){.runs = 0};
	kthread_init_work(&gated->work, gated_fn);
	kthread_init_completion(&gated->begun);
	kthread_init_completion(&gated->go);
}

/* A work that writes down its turn. */
struct noted {
	struct kthread_work work;
	int number;
};

static struct {
	int numbers[4096];
	int count; /* by works of one worker, which never overlap */
} notes;

static void note_fn(struct kthread_work *work)
{
	notes.numbers[notes.count++] = ((struct noted *)work)->number;
}

static struct kthread_worker *worker(void)
{
	struct kthread_worker *w = kthread_run_worker(0, "worker");

	assert_non_null(w);
	notes.count = 0;
	return w;
}

static void kthread_queue_work__runs_in_the_order_of_queueing(void **state)
{
	struct kthread_worker *w = worker();
	struct noted works[1000];
	struct gated gate;

	gated_init(&gate);
	assert_true(kthread_queue_work(w, &gate.work));
	AWAIT_DONE(&gate.begun);
	for (int i = 0; i < 1000; i++) {
		works[i].number = i;
		kthread_init_work(&works[i].work, note_fn);
		assert_true(kthread_queue_work(w, &works[i].work));
		assert_false(kthread_queue_work(w, &works[i].work));
		if (i % 100 == 0) /* brings the inbox into the list at any length */
			assert_false(kthread_cancel_work_sync(&(struct kthread_work)KTHREAD_WORK_INIT(note_fn)));
		if (i == 500)
			assert_true(kthread_cancel_work_sync(&works[250].work));
	}
	kthread_complete(&gate.go);
	kthread_flush_worker(w);
	assert_int_equal(notes.count, 999);
	for (int i = 0; i < 999; i++)
		assert_int_equal(notes.numbers[i], i + (i >= 250));
	kthread_destroy_worker(w);
}

static void kthread_queue_work__starts_a_created_worker(void **state)
{
	struct kthread_worker *w = kthread_create_worker(0, "created");
	struct gated gated;
	struct kthread_info info = {.size = sizeof(info)};

	gated_init(&gated);
	assert_int_equal(kthread_info(kthread_worker_thread(w), &info), 0);
	assert_int_equal(info.state, KTHREAD_CREATED);
	assert_int_equal(kthread_bind(kthread_worker_thread(w), 0), 0);
	assert_true(kthread_queue_work(w, &gated.work));
	AWAIT_DONE(&gated.begun);
	kthread_complete(&gated.go);
	kthread_destroy_worker(w);
	assert_int_equal(gated.runs, 1);
}

struct chain {
	struct kthread_work work;
	struct kthread_worker *worker;
	struct kthread_completion done;
	int left;
};

static void requeue_fn(struct kthread_work *work)
{
	struct chain *chain = (struct chain *)work;

	if (--chain->left > 0)
		CHECK(kthread_queue_work(chain->worker, work));
	else
		kthread_complete(&chain->done);
}

static void free_fn(struct kthread_work *work)
{
	struct chain *chain = (struct chain *)work;
	struct kthread_completion *done = (struct kthread_completion *)chain->worker;

	free(chain);
	kthread_complete(done);
}

static void kthread_work__may_queue_and_free_itself(void **state)
{
	struct kthread_worker *w = worker();
	struct chain chain = {.worker = w, .left = 10000};
	struct kthread_completion done = KTHREAD_COMPLETION_INIT;

	kthread_init_work(&chain.work, requeue_fn);
	kthread_init_completion(&chain.done);
	assert_true(kthread_queue_work(w, &chain.work));
	AWAIT_DONE(&chain.done);
	assert_int_equal(chain.left, 0);
	for (int i = 0; i < 1000; i++) {
		struct chain *own = calloc(1, sizeof(*own));

		kthread_init_work(&own->work, free_fn);
		own->worker = (struct kthread_worker *)&done;
		assert_true(kthread_queue_work(w, &own->work));
	}
	for (int i = 0; i < 1000; i++)
		AWAIT_DONE(&done);
	kthread_destroy_worker(w);
}

struct restless {
	struct kthread_delayed_work dwork;
	struct kthread_worker *worker;
	atomic_bool running;
	atomic_ulong runs;
};

static void restless_fn(struct kthread_work *work)
{
	struct restless *restless = (struct restless *)work;

	CHECK(!atomic_exchange(&restless->running, true));
	kthread_queue_work(restless->worker, work); /* false while it is being cancelled */
	atomic_fetch_add(&restless->runs, 1);
	atomic_store(&restless->running, false);
}

static void *cancel_restless(void *data)
{
	kthread_cancel_work_sync(&((struct restless *)data)->dwork.work);
	return NULL;
}

static void kthread_cancel_work_sync__ends_one_that_queues_itself(void **state)
{
	struct kthread_worker *w = worker();
	struct restless restless = {.worker = w};
	unsigned long runs;

	kthread_init_delayed_work(&restless.dwork, restless_fn);
	for (int round = 0; round < 300; round++) {
		pthread_t others[2];

		runs = restless.runs;
		assert_true(kthread_queue_work(w, &restless.dwork.work));
		AWAIT(restless.runs > runs);
		for (int i = 0; i < 2; i++)
			assert_int_equal(pthread_create(&others[i], NULL, cancel_restless, &restless), 0);
		kthread_cancel_work_sync(&restless.dwork.work);
		assert_false(restless.running);
		runs = restless.runs;
		for (int i = 0; i < 2; i++)
			pthread_join(others[i], NULL);
		kthread_flush_worker(w);
		assert_int_equal(restless.runs, runs);
	}
	kthread_destroy_worker(w);
}

static void kthread_flush_work__waits_for_what_is_there_and_no_more(void **state)
{
	struct kthread_worker *w = worker();
	struct kthread_worker *other = worker();
	struct gated first;
	struct gated second;

	gated_init(&first);
	gated_init(&second);
	kthread_flush_work(&first.work); /* has never been queued */
	kthread_flush_worker(w);
	assert_true(kthread_queue_work(w, &first.work));
	assert_true(kthread_queue_work(w, &second.work));
	AWAIT_DONE(&first.begun);
	kthread_complete(&first.go);
	kthread_flush_work(&first.work);
	assert_int_equal(first.runs, 1);
	kthread_flush_work(&first.work); /* idle, though its worker is busy */
	assert_int_equal(second.runs, 0);
	/* runs on one worker: that is where another queues it */
	AWAIT_DONE(&second.begun);
	assert_true(kthread_queue_work(other, &second.work));
	kthread_flush_worker(other);
	assert_int_equal(second.runs, 0);
	kthread_complete(&second.go);
	AWAIT_DONE(&second.begun);
	kthread_complete(&second.go);
	kthread_flush_work(&second.work);
	assert_int_equal(second.runs, 2);
	/* idle: it may go anywhere, and outlives its workers */
	kthread_destroy_worker(w);
	assert_false(kthread_cancel_work_sync(&second.work));
	kthread_flush_work(&second.work);
	assert_true(kthread_queue_work(other, &second.work));
	kthread_complete(&second.go);
	kthread_destroy_worker(other);
	assert_int_equal(second.runs, 3);
}

static void inside_fn(struct kthread_work *work)
{
	struct chain *chain = (struct chain *)work;

	kthread_flush_work(work);
	kthread_flush_worker(chain->worker);
	CHECK(!kthread_cancel_work_sync(work));
	CHECK(kthread_queue_work(chain->worker, work));
	kthread_flush_work(work);
	CHECK(kthread_cancel_work_sync(work));
	kthread_destroy_worker(chain->worker); /* refused */
	chain->left++;
}

static void a_work__does_not_wait_for_itself(void **state)
{
	struct kthread_worker *w = worker();
	struct chain chain = {.worker = w};

	kthread_init_work(&chain.work, inside_fn);
	assert_true(kthread_queue_work(w, &chain.work));
	kthread_flush_work(&chain.work);
	assert_int_equal(chain.left, 1);
	kthread_destroy_worker(w);
}

/* ---- delayed ---------------------------------------------------------------------------------------------------- */

struct late {
	struct kthread_delayed_work dwork;
	struct kthread_completion done;
	uint64_t due;
	int number;
};

static void late_fn(struct kthread_work *work)
{
	struct late *late = (struct late *)work;

	CHECK(now_ns() >= late->due);
	notes.numbers[notes.count++] = late->number;
	kthread_complete(&late->done);
}

static void late_init(struct late *late, int number)
{
	*late = (struct late){.number = number};
	kthread_init_delayed_work(&late->dwork, late_fn);
	kthread_init_completion(&late->done);
}

static void kthread_queue_delayed_work__never_early_and_in_the_order_of_times(void **state)
{
	struct kthread_worker *w = worker();
	struct late works[64];

	for (int i = 0; i < 64; i++) {
		const uint64_t delay = ((uint64_t)i * 37 % 64 + 1) * MS;

		late_init(&works[i], i);
		works[i].due = now_ns() + delay;
		assert_true(kthread_queue_delayed_work(w, &works[i].dwork, delay));
		assert_false(kthread_queue_delayed_work(w, &works[i].dwork, 0));
		assert_false(kthread_queue_work(w, &works[i].dwork.work));
		kthread_flush_work(&works[i].dwork.work); /* its time has not come: does not wait */
	}
	for (int i = 0; i < 64; i++)
		AWAIT_DONE(&works[i].done);
	for (int i = 1; i < 64; i++)
		assert_true(works[notes.numbers[i - 1]].dwork.expires <= works[notes.numbers[i]].dwork.expires);
	kthread_destroy_worker(w);
}

static void kthread_mod_delayed_work__answers_as_the_kernel_does(void **state)
{
	const uint64_t hour = 3600000 * MS;
	struct kthread_worker *w = worker();
	struct late late;
	struct gated gate;

	late_init(&late, 1);
	assert_false(kthread_mod_delayed_work(w, &late.dwork, hour)); /* it was idle */
	assert_true(kthread_mod_delayed_work(w, &late.dwork, 2 * hour));
	assert_true(kthread_mod_delayed_work(w, &late.dwork, 0));
	AWAIT_DONE(&late.done);
	assert_false(kthread_mod_delayed_work(w, &late.dwork, 0));
	AWAIT_DONE(&late.done);
	kthread_flush_worker(w);
	/* out of the queue, too, and back */
	gated_init(&gate);
	assert_true(kthread_queue_work(w, &gate.work));
	AWAIT_DONE(&gate.begun);
	assert_true(kthread_queue_delayed_work(w, &late.dwork, 0));
	assert_true(kthread_mod_delayed_work(w, &late.dwork, hour));
	kthread_complete(&gate.go);
	kthread_flush_worker(w);
	assert_int_equal(notes.count, 2);
	assert_true(kthread_cancel_delayed_work_sync(&late.dwork));
	assert_false(kthread_cancel_delayed_work_sync(&late.dwork));
	/* an earlier time wakes a worker that sleeps until a later one */
	assert_true(kthread_queue_delayed_work(w, &late.dwork, hour));
	late.due = now_ns() + 5 * MS;
	assert_true(kthread_mod_delayed_work(w, &late.dwork, 5 * MS));
	AWAIT_DONE(&late.done);
	kthread_destroy_worker(w);
}

static char last_message[256];

static void keep_message(int level, const char *message, void *arg)
{
	snprintf(last_message, sizeof(last_message), "%s", message);
}

static void kthread_destroy_worker__says_what_will_not_run(void **state)
{
	const struct kthread_config config = {
	    .size = sizeof(config), .poll_ms = 1000, .uevents = true, .inotify = true, .log = keep_message};
	struct kthread_worker *w;
	struct late late;

	kthread_fini();
	assert_int_equal(kthread_init(&config), 0);
	w = worker();
	late_init(&late, 1);
	assert_true(kthread_queue_delayed_work(w, &late.dwork, UINT64_MAX));
	assert_true(kthread_mod_delayed_work(w, &late.dwork, 3600000 * MS));
	kthread_destroy_worker(w);
	assert_string_equal(last_message,
	                    "KT014 worker worker: 1 works will not run: their time had not come; cancel delayed "
	                    "works before their worker is stopped");
	assert_false(kthread_cancel_delayed_work_sync(&late.dwork));
	w = worker();
	assert_true(kthread_queue_delayed_work(w, &late.dwork, 1));
	AWAIT_DONE(&late.done);
	kthread_destroy_worker(w);
	assert_int_equal(kthread_fini(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(kthread_queue_work__runs_in_the_order_of_queueing),
	    cmocka_unit_test(kthread_queue_work__starts_a_created_worker),
	    cmocka_unit_test(kthread_work__may_queue_and_free_itself),
	    cmocka_unit_test(kthread_cancel_work_sync__ends_one_that_queues_itself),
	    cmocka_unit_test(kthread_flush_work__waits_for_what_is_there_and_no_more),
	    cmocka_unit_test(a_work__does_not_wait_for_itself),
	    cmocka_unit_test(kthread_queue_delayed_work__never_early_and_in_the_order_of_times),
	    cmocka_unit_test(kthread_mod_delayed_work__answers_as_the_kernel_does),
	    cmocka_unit_test(kthread_destroy_worker__says_what_will_not_run),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

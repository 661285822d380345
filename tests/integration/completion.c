/* SPDX-License-Identifier: MIT */
/*
 * kthread_completion: a counted event between any threads.
 */
#include <poll.h>

#include "await.h"

static void kthread_wait_for_completion__done_before(void **state)
{
	struct kthread_completion done = KTHREAD_COMPLETION_INIT;

	kthread_complete(&done);
	assert_int_equal(kthread_wait_for_completion(&done), 0);
	assert_int_equal(kthread_wait_for_completion_timeout(&done, 0), -ETIMEDOUT);
}

static void kthread_complete__is_counted(void **state)
{
	struct kthread_completion done;

	kthread_init_completion(&done);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 1000; i++)
			kthread_complete(&done);
		for (int i = 0; i < 1000; i++)
			assert_int_equal(kthread_wait_for_completion_timeout(&done, 0), 0);
		assert_int_equal(kthread_wait_for_completion_timeout(&done, 1), -ETIMEDOUT);
	}
}

static void kthread_complete_all__until_the_next_init(void **state)
{
	struct kthread_completion done = KTHREAD_COMPLETION_INIT;

	kthread_complete(&done);
	kthread_complete_all(&done);
	kthread_complete(&done);
	kthread_complete_all(&done);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(kthread_wait_for_completion_timeout(&done, 0), 0);
	kthread_init_completion(&done);
	assert_int_equal(kthread_wait_for_completion_timeout(&done, 0), -ETIMEDOUT);
}

static void kthread_wait_for_completion_timeout__never_early(void **state)
{
	struct kthread_completion done = KTHREAD_COMPLETION_INIT;

	for (uint64_t ns = 1; ns < 10 * MS; ns = ns * 4) {
		const uint64_t start = now_ns();

		assert_int_equal(kthread_wait_for_completion_timeout(&done, ns), -ETIMEDOUT);
		assert_true(now_ns() - start >= ns);
	}
}

static void *completes(void *arg)
{
	kthread_complete(arg);
	return NULL;
}

static void kthread_wait_for_completion_timeout__no_limit(void **state)
{
	static const uint64_t limits[] = {UINT64_MAX, UINT64_MAX - 1, (uint64_t)INT64_MAX, (uint64_t)INT64_MAX + 5};

	for (size_t i = 0; i < 4; i++) {
		struct kthread_completion done = KTHREAD_COMPLETION_INIT;
		pthread_t thread;

		assert_int_equal(pthread_create(&thread, NULL, completes, &done), 0);
		assert_int_equal(kthread_wait_for_completion_timeout(&done, limits[i]), 0);
		pthread_join(thread, NULL);
	}
}

struct message {
	struct kthread_completion done;
	int body; /* plain: the completion orders it */
};

static void *answers(void *arg)
{
	struct message *_Atomic *box = arg;

	for (int i = 0; i < 20000; i++) {
		struct message *message;

		AWAIT((message = atomic_exchange_explicit(box, NULL, memory_order_acquire)) != NULL);
		message->body = i;
		kthread_complete(&message->done); /* and the memory is gone */
	}
	return NULL;
}

static void kthread_wait_for_completion__memory_may_be_freed_after(void **state)
{
	struct message *_Atomic box = NULL;
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, answers, &box), 0);
	for (int i = 0; i < 20000; i++) {
		struct message *message = malloc(sizeof(*message));

		kthread_init_completion(&message->done);
		atomic_store_explicit(&box, message, memory_order_release);
		assert_int_equal(kthread_wait_for_completion(&message->done), 0);
		assert_int_equal(message->body, i);
		free(message);
	}
	pthread_join(thread, NULL);
}

struct crowd {
	struct kthread_completion gate;
	atomic_int through;
};

static void *goes_through(void *arg)
{
	struct crowd *crowd = arg;

	CHECK(kthread_wait_for_completion(&crowd->gate) == 0);
	atomic_fetch_add(&crowd->through, 1);
	return NULL;
}

static void kthread_complete__lets_one_through_each(void **state)
{
	enum { MANY = 20 };
	struct crowd crowd = {KTHREAD_COMPLETION_INIT, 0};
	pthread_t threads[MANY];

	for (int i = 0; i < MANY; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, goes_through, &crowd), 0);
	for (int i = 1; i <= MANY / 2; i++) {
		kthread_complete(&crowd.gate);
		AWAIT(atomic_load(&crowd.through) == i);
	}
	kthread_complete_all(&crowd.gate);
	for (int i = 0; i < MANY; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(atomic_load(&crowd.through), MANY);
}

static int waits_in_a_kthread(void *data)
{
	struct message *message = data;

	kthread_complete(&message->done);
	CHECK(kthread_wait_for_completion((struct kthread_completion *)&message[1].done) == 0);
	CHECK(kthread_should_stop()); /* which does not break the wait */
	return message[1].body;
}

static void *stops(void *arg)
{
	CHECK(kthread_stop(arg) == 42);
	return NULL;
}

static void kthread_wait_for_completion__is_not_broken_by_stop(void **state)
{
	struct message messages[2] = {0};
	struct kthread *k = kthread_run(waits_in_a_kthread, messages, "waiter");
	struct kthread *extra = kthread_get(k);
	struct pollfd stopped = {.fd = kthread_event_fd(k), .events = POLLIN};
	pthread_t thread;

	AWAIT_DONE(&messages[0].done);
	assert_int_equal(pthread_create(&thread, NULL, stops, k), 0);
	assert_int_equal(poll(&stopped, 1, 30000), 1);
	await_settled(kthread_tid(extra));
	messages[1].body = 42;
	kthread_complete(&messages[1].done);
	pthread_join(thread, NULL);
	kthread_put(extra);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(kthread_wait_for_completion__done_before),
	    cmocka_unit_test(kthread_complete__is_counted),
	    cmocka_unit_test(kthread_complete_all__until_the_next_init),
	    cmocka_unit_test(kthread_wait_for_completion_timeout__never_early),
	    cmocka_unit_test(kthread_wait_for_completion_timeout__no_limit),
	    cmocka_unit_test(kthread_wait_for_completion__memory_may_be_freed_after),
	    cmocka_unit_test(kthread_complete__lets_one_through_each),
	    cmocka_unit_test(kthread_wait_for_completion__is_not_broken_by_stop),
	};

	return cmocka_run_group_tests(tests, NULL, fini_finds_nothing);
}

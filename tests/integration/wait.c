/* SPDX-License-Identifier: MIT */
/*
 * Waiting: kthread_wait, kthread_wait_for, and the token.
 */
#include "await.h"

struct subject {
	struct kthread_completion ready;
	struct kthread_completion go;
	struct kthread *partner;
	atomic_ulong waits;
	atomic_ulong wakes;
	unsigned long sum; /* plain: the wakes order it */
	int rounds;
};

static int takes_tokens(void *data)
{
	struct subject *subject = data;

	CHECK(kthread_wait_for(0) == -ETIMEDOUT); /* the wake that started it is no token */
	kthread_complete(&subject->ready);
	kthread_wait_for_completion(&subject->go);
	CHECK(kthread_wait_for(0) == 0);
	CHECK(kthread_wait_for(0) == -ETIMEDOUT); /* not counted */
	kthread_complete(&subject->ready);
	kthread_wait_for_completion(&subject->go);
	CHECK(kthread_wait() == 0);
	CHECK(kthread_wait_for(1) == -ETIMEDOUT);
	kthread_complete(&subject->ready);
	kthread_wait_for_completion(&subject->go);
	CHECK(kthread_wait_parkable() == 0);
	CHECK(kthread_wait_for(0) == -ETIMEDOUT);
	return 1;
}

static void kthread_wake__before_the_wait_is_not_lost_nor_counted(void **state)
{
	struct subject subject = {0};
	struct kthread *k = kthread_run(takes_tokens, &subject, "tokens");

	for (int i = 0; i < 3; i++) {
		AWAIT_DONE(&subject.ready);
		assert_true(kthread_wake(k));
		assert_false(kthread_wake(k));
		assert_false(kthread_wake(k));
		kthread_complete(&subject.go);
	}
	AWAIT(task_gone(kthread_tid(k)));
	assert_int_equal(kthread_stop(k), 1);
}

static int never_early(void *data)
{
	struct subject *subject = data;

	for (uint64_t ns = 1; ns <= 8 * MS; ns = ns * 3 + 1) {
		for (int i = 0; i < 4; i++) {
			const uint64_t start = now_ns();

			CHECK(kthread_wait_for(ns) == -ETIMEDOUT);
			CHECK(now_ns() - start >= ns);
		}
	}
	return subject->rounds;
}

static void kthread_wait_for__never_early(void **state)
{
	struct subject subject = {.rounds = 2};
	struct kthread *k = kthread_run(never_early, &subject, "patient");

	AWAIT(task_gone(kthread_tid(k)));
	assert_int_equal(kthread_stop(k), 2);
}

static uint64_t endless;

static int waits_for_ever(void *data)
{
	struct subject *subject = data;

	kthread_complete(&subject->ready);
	return kthread_wait_for(endless);
}

static void kthread_wait_for__no_limit(void **state)
{
	static const uint64_t limits[] = {
	    UINT64_MAX,      UINT64_MAX - 1, (uint64_t)INT64_MAX, (uint64_t)INT64_MAX + 1, UINT64_MAX / 2 - 1000000000u,
	    3600000000000ull};

	for (size_t i = 0; i < sizeof(limits) / sizeof(*limits); i++) {
		struct subject subject = {0};
		struct kthread *k;

		endless = limits[i];
		k = kthread_run(waits_for_ever, &subject, "endless");
		AWAIT_DONE(&subject.ready);
		await_settled(kthread_tid(k));
		assert_true(kthread_wake(k));
		AWAIT(task_gone(kthread_tid(k)));
		assert_int_equal(kthread_stop(k), 0);
	}
}

static int waits_once(void *data)
{
	struct subject *subject = data;
	int result;

	kthread_complete(&subject->ready);
	result = kthread_wait();
	return kthread_should_stop() ? 100 + result : result;
}

static void kthread_stop__hands_out_the_token(void **state)
{
	for (int i = 0; i < 300; i++) {
		struct subject subject = {0};
		struct kthread *k = kthread_run(waits_once, &subject, "once");

		AWAIT_DONE(&subject.ready);
		if (i % 2)
			AWAIT(task_asleep(kthread_tid(k)));
		assert_int_equal(kthread_stop(k), 100);
	}
}

static int waits_then_parks(void *data)
{
	struct subject *subject = data;

	kthread_complete(&subject->ready);
	CHECK(kthread_wait() == 0);
	CHECK(kthread_should_park());
	kthread_parkme();
	return 3;
}

static void kthread_park__hands_out_the_token(void **state)
{
	for (int i = 0; i < 300; i++) {
		struct subject subject = {0};
		struct kthread *k = kthread_run(waits_then_parks, &subject, "parks");

		AWAIT_DONE(&subject.ready);
		if (i % 2)
			AWAIT(task_asleep(kthread_tid(k)));
		assert_int_equal(kthread_park(k), 0);
		kthread_unpark(k);
		AWAIT(task_gone(kthread_tid(k)));
		assert_int_equal(kthread_stop(k), 3);
	}
}

static int plays(void *data)
{
	struct subject *subject = data;

	kthread_wait_for_completion(&subject->go);
	for (int i = 0; i < subject->rounds; i++) {
		CHECK(kthread_wait_for(AWAIT_LIMIT_NS) == 0);
		subject->sum++;
		kthread_wake(subject->partner);
	}
	return 0;
}

static void kthread_wait__ping_pong(void **state)
{
	struct subject a = {.rounds = 10000};
	struct subject b = {.rounds = 10000};
	struct kthread *ka = kthread_run(plays, &a, "ping");
	struct kthread *kb = kthread_run(plays, &b, "pong");

	a.partner = kthread_get(kb);
	b.partner = kthread_get(ka);
	kthread_complete(&a.go);
	kthread_complete(&b.go);
	kthread_wake(ka);
	AWAIT(task_gone(kthread_tid(ka)) && task_gone(kthread_tid(kb)));
	assert_int_equal(kthread_stop(ka), 0);
	assert_int_equal(kthread_stop(kb), 0);
	kthread_put(ka); /* each was the other's */
	kthread_put(kb);
	assert_int_equal(a.sum, 10000);
	assert_int_equal(b.sum, 10000);
}

/* Whoever is woken sees what was done before, also if somebody else's token is still there. */
static int follows(void *data)
{
	struct subject *subject = data;
	unsigned long seen = 0;

	while (!kthread_should_stop()) {
		unsigned long now;

		kthread_wait();
		now = atomic_load_explicit(&subject->wakes, memory_order_relaxed);
		CHECK(now >= seen);
		seen = now;
		atomic_store_explicit(&subject->waits, now, memory_order_release);
	}
	return 0;
}

static void *wakes_often(void *arg)
{
	struct subject *subject = arg;

	for (int i = 0; i < 5000; i++) {
		const unsigned long mine = atomic_fetch_add_explicit(&subject->wakes, 1, memory_order_relaxed) + 1;

		kthread_wake(subject->partner);
		if (i % 16 == 0)
			AWAIT(atomic_load_explicit(&subject->waits, memory_order_acquire) >= mine);
	}
	return NULL;
}

static void kthread_wake__from_many_none_is_lost(void **state)
{
	struct subject subject = {0};
	pthread_t threads[3];

	subject.partner = kthread_run(follows, &subject, "follower");
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, wakes_often, &subject), 0);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(kthread_stop(subject.partner), 0);
}

static void kthread_wait__outside(void **state)
{
	assert_int_equal(kthread_wait(), -EPERM);
	assert_int_equal(kthread_wait_for(0), -EPERM);
	assert_int_equal(kthread_wait_for(UINT64_MAX), -EPERM);
	assert_int_equal(kthread_wait_parkable(), -EPERM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(kthread_wake__before_the_wait_is_not_lost_nor_counted),
	    cmocka_unit_test(kthread_wait_for__never_early),
	    cmocka_unit_test(kthread_wait_for__no_limit),
	    cmocka_unit_test(kthread_stop__hands_out_the_token),
	    cmocka_unit_test(kthread_park__hands_out_the_token),
	    cmocka_unit_test(kthread_wait__ping_pong),
	    cmocka_unit_test(kthread_wake__from_many_none_is_lost),
	    cmocka_unit_test(kthread_wait__outside),
	};

	return cmocka_run_group_tests(tests, NULL, fini_finds_nothing);
}

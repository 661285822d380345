/* SPDX-License-Identifier: MIT */
/*
 * Adopted threads have a place, but no life of ours: kthread_adopt, _adopt_tid, _unadopt.
 */
#include "await.h"

struct guest {
	struct kthread_completion ready;
	struct kthread_completion go;
	struct kthread_completion adopted;
	struct kthread *k;
	atomic_int tid;
};

static void *lives(void *arg)
{
	struct guest *guest = arg;

	atomic_store(&guest->tid, gettid());
	kthread_complete(&guest->ready);
	kthread_wait_for_completion(&guest->go);
	return NULL;
}

static pthread_t guest_start(struct guest *guest, void *(*fn)(void *))
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, fn, guest), 0);
	AWAIT_DONE(&guest->ready);
	return thread;
}

static void guest_end(struct guest *guest, pthread_t thread)
{
	kthread_complete(&guest->go);
	pthread_join(thread, NULL);
}

static void assert_no_life(struct kthread *k)
{
	assert_false(kthread_wake(k));
	assert_int_equal(kthread_park(k), -EOPNOTSUPP);
	kthread_unpark(k);
	assert_int_equal(kthread_stop(k), -EOPNOTSUPP); /* and the reference is still ours */
	assert_int_equal(kthread_stop_put(k), -EOPNOTSUPP);
	assert_int_equal(kthread_event_fd(k), -EOPNOTSUPP);
	assert_null(kthread_data(k));
	assert_null(kthread_probe_data(k));
	assert_true(kthread_func(k) == NULL);
	assert_int_equal(kthread_set_per_cpu(k, 0), -EOPNOTSUPP);
	assert_false(kthread_is_per_cpu(k));
}

static void kthread_adopt__has_a_place_and_no_life(void **state)
{
	struct kthread *k = kthread_adopt("main/%d", 5);

	assert_non_null(k);
	assert_ptr_equal(kthread_self(), k);
	assert_string_equal(kthread_name(k), "main/5");
	assert_int_equal(kthread_tid(k), gettid());
	assert_no_life(k);
	assert_false(kthread_should_stop() || kthread_should_park() || kthread_should_stop_or_park());
	assert_false(kthread_bound_should_stop());
	kthread_parkme();
	assert_int_equal(kthread_wait(), -EPERM);
	assert_int_equal(kthread_wait_for(0), -EPERM);
	assert_int_equal(kthread_wait_parkable(), -EPERM);
	assert_int_equal(kthread_fini(), -EBUSY);
	assert_int_equal(kthread_bind(k, 0), 0);
	assert_int_equal(kthread_affine_reset(k), 0);
	assert_int_equal(kthread_unadopt(k), 0);
	assert_null(kthread_self());
	assert_int_equal(kthread_fini(), 0);
}

static void kthread_adopt__twice(void **state)
{
	struct kthread *k = kthread_adopt("once");

	errno = 0;
	assert_null(kthread_adopt("twice"));
	assert_int_equal(errno, EALREADY);
	errno = 0;
	assert_null(kthread_adopt_tid(gettid(), "twice"));
	assert_int_equal(errno, EALREADY);
	assert_int_equal(kthread_unadopt(k), 0);
	for (int i = 0; i < 100; i++) { /* one after the other */
		k = kthread_adopt("again/%d", i);
		assert_non_null(k);
		assert_int_equal(kthread_unadopt(k), 0);
	}
}

static int adopts_itself(void *data)
{
	(void)data;
	errno = 0;
	CHECK(kthread_adopt("kthread") == NULL);
	CHECK(errno == EALREADY);
	CHECK(kthread_self() != NULL);
	return 0;
}

static void kthread_adopt__a_kthread(void **state)
{
	struct kthread *k = kthread_create(adopts_itself, NULL, "kthread");

	errno = 0;
	assert_null(kthread_adopt_tid(kthread_tid(k), "kthread"));
	assert_int_equal(errno, EALREADY);
	assert_int_equal(kthread_unadopt(k), -EINVAL); /* not adopted; the reference stays */
	kthread_wake(k);
	AWAIT(task_gone(kthread_tid(k)));
	assert_int_equal(kthread_stop(k), 0);
}

static void kthread_adopt_tid__another_thread(void **state)
{
	struct guest guest = {0};
	const pthread_t thread = guest_start(&guest, lives);
	struct kthread *k = kthread_adopt_tid(atomic_load(&guest.tid), "guest");

	assert_non_null(k);
	assert_int_equal(kthread_tid(k), atomic_load(&guest.tid));
	assert_null(kthread_self());
	assert_no_life(k);
	errno = 0;
	assert_null(kthread_adopt_tid(atomic_load(&guest.tid), "guest"));
	assert_int_equal(errno, EALREADY);
	assert_int_equal(kthread_unadopt(k), 0);
	guest_end(&guest, thread);
}

static void kthread_adopt_tid__no_such_thread_here(void **state)
{
	struct guest guest = {0};
	const pthread_t thread = guest_start(&guest, lives);
	const pid_t ended = atomic_load(&guest.tid);

	guest_end(&guest, thread);
	AWAIT(task_gone(ended));
	errno = 0;
	assert_null(kthread_adopt_tid(ended, "ended"));
	assert_int_equal(errno, ESRCH);
	errno = 0;
	assert_null(kthread_adopt_tid(getppid(), "of another process"));
	assert_int_equal(errno, ESRCH);
	errno = 0;
	assert_null(kthread_adopt_tid(0x7fffffff, "too large"));
	assert_int_equal(errno, ESRCH);
	errno = 0;
	assert_null(kthread_adopt_tid(0, "none"));
	assert_true(errno == ESRCH || errno == EINVAL);
	errno = 0;
	assert_null(kthread_adopt_tid(-1, "none"));
	assert_true(errno == ESRCH || errno == EINVAL);
	assert_int_equal(kthread_fini(), 0);
}

static void kthread_adopt__no_name(void **state)
{
	static const char *volatile none = NULL;

	errno = 0;
	assert_null(kthread_adopt(none, 0));
	assert_int_equal(errno, EINVAL);
	errno = 0;
	assert_null(kthread_adopt_tid(gettid(), none, 0));
	assert_int_equal(errno, EINVAL);
	assert_null(kthread_self());
}

static void assert_ended(struct kthread *k)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(0, &set);
	assert_int_equal(kthread_bind(k, 0), -ESRCH);
	assert_int_equal(kthread_affine_preferred(k, sizeof(set), &set), -ESRCH);
	assert_int_equal(kthread_get_mask(k, KTHREAD_MASK_ACTUAL, sizeof(set), &set), -ESRCH);
	assert_int_equal(kthread_unadopt(k), -ESRCH);
}

static void kthread_adopt_tid__thread_ends_meanwhile(void **state)
{
	struct guest guest = {0};
	const pthread_t thread = guest_start(&guest, lives);
	struct kthread *k = kthread_adopt_tid(atomic_load(&guest.tid), "guest");

	guest_end(&guest, thread);
	AWAIT(task_gone(atomic_load(&guest.tid)));
	assert_ended(k);
	assert_int_equal(kthread_fini(), 0);
}

static void *adopts_itself_and_lives(void *arg)
{
	struct guest *guest = arg;

	guest->k = kthread_adopt("itself");
	CHECK(guest->k != NULL && kthread_self() == guest->k);
	kthread_complete(&guest->adopted);
	return lives(arg);
}

static void kthread_adopt__thread_ends_meanwhile(void **state)
{
	struct guest guest = {0};
	const pthread_t thread = guest_start(&guest, adopts_itself_and_lives);

	assert_int_equal(kthread_tid(guest.k), atomic_load(&guest.tid));
	guest_end(&guest, thread);
	assert_int_equal(kthread_fini(), 0); /* it has been noticed */
	assert_int_equal(kthread_init(NULL), 0);
	assert_ended(guest.k);
}

static void *adopts_and_loses_it(void *arg)
{
	struct guest *guest = arg;
	struct kthread *again;

	adopts_itself_and_lives(arg);
	/* meanwhile somebody else has ended the adoption */
	again = kthread_adopt("again");
	CHECK(again != NULL);
	CHECK(kthread_self() == again);
	CHECK(kthread_tid(again) == atomic_load(&guest->tid));
	CHECK(kthread_unadopt(again) == 0);
	CHECK(kthread_self() == NULL);
	return NULL;
}

static void kthread_unadopt__by_another_thread(void **state)
{
	struct guest guest = {0};
	const pthread_t thread = guest_start(&guest, adopts_and_loses_it);

	assert_int_equal(kthread_unadopt(guest.k), 0);
	guest_end(&guest, thread);
	assert_int_equal(kthread_fini(), 0);
}

static void kthread_unadopt__twice_by_two_references(void **state)
{
	struct kthread *k = kthread_get(kthread_adopt("twice"));

	assert_int_equal(kthread_unadopt(k), 0);
	assert_int_equal(kthread_tid(k), gettid());
	assert_int_equal(kthread_bind(k, 0), -ESRCH);
	assert_int_equal(kthread_unadopt(k), -ESRCH);
}

static void kthread_put__last_of_an_adopted_thread(void **state)
{
	struct kthread *k = kthread_adopt("put");

	kthread_get(k);
	kthread_put(k);
	assert_int_equal(kthread_fini(), -EBUSY);
	kthread_put(k);
	assert_int_equal(kthread_fini(), 0);
	k = kthread_adopt("put again");
	assert_non_null(k);
	assert_ptr_equal(kthread_self(), k);
	assert_int_equal(kthread_unadopt(k), 0);
}

static void kthread_unadopt__gives_the_mask_back(void **state)
{
	cpu_set_t before;
	cpu_set_t one;
	cpu_set_t now;
	struct kthread *k;

	assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
	CPU_ZERO(&one);
	for (size_t cpu = 0; cpu < CPU_SETSIZE && !CPU_COUNT(&one); cpu++) {
		if (CPU_ISSET(cpu, &before))
			CPU_SET(cpu, &one);
	}
	assert_int_equal(kthread_rescan(), 0);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	k = kthread_adopt("pinned");
	assert_non_null(k);
	assert_int_equal(kthread_affine_reset(k), 0);
	assert_int_equal(kthread_unadopt(k), 0);
	assert_int_equal(sched_getaffinity(0, sizeof(now), &now), 0);
	assert_true(CPU_EQUAL(&now, &one));
	assert_int_equal(sched_setaffinity(0, sizeof(before), &before), 0);
}

static void *adopts_often(void *arg)
{
	for (int i = 0; i < 300; i++) {
		struct kthread *k = kthread_adopt("%s/%d", (const char *)arg, i);

		CHECK(k != NULL);
		CHECK(kthread_bind(k, 0) == 0);
		if (i % 2)
			CHECK(kthread_unadopt(k) == 0);
		else
			kthread_put(k);
		CHECK(kthread_self() == NULL || i % 2 == 0);
	}
	return NULL;
}

static void kthread_adopt__many_at_once(void **state)
{
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, adopts_often, (void *)"adopted"), 0);
	for (int i = 0; i < 50; i++)
		assert_int_equal(kthread_rescan(), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(kthread_fini(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(kthread_adopt__has_a_place_and_no_life),
	    cmocka_unit_test(kthread_adopt__twice),
	    cmocka_unit_test(kthread_adopt__a_kthread),
	    cmocka_unit_test(kthread_adopt_tid__another_thread),
	    cmocka_unit_test(kthread_adopt_tid__no_such_thread_here),
	    cmocka_unit_test(kthread_adopt__no_name),
	    cmocka_unit_test(kthread_adopt_tid__thread_ends_meanwhile),
	    cmocka_unit_test(kthread_adopt__thread_ends_meanwhile),
	    cmocka_unit_test(kthread_unadopt__by_another_thread),
	    cmocka_unit_test(kthread_unadopt__twice_by_two_references),
	    cmocka_unit_test(kthread_put__last_of_an_adopted_thread),
	    cmocka_unit_test(kthread_unadopt__gives_the_mask_back),
	    cmocka_unit_test(kthread_adopt__many_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, fini_finds_nothing);
}

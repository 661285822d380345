/* SPDX-License-Identifier: MIT */
/*
 * What foreign threads and NULL handles get from each function.
 */
#include "await.h"

static void *foreign(void *arg)
{
	(void)arg;
	CHECK(kthread_self() == NULL);
	CHECK(!kthread_should_stop());
	CHECK(!kthread_should_park());
	CHECK(!kthread_should_stop_or_park());
	CHECK(!kthread_bound_should_stop());
	CHECK(!(kthread_should_stop)()); /* the symbols behind the inline functions */
	CHECK(!(kthread_should_park)());
	CHECK(!(kthread_should_stop_or_park)());
	kthread_parkme();
	CHECK(kthread_wait() == -EPERM);
	CHECK(kthread_wait_for(0) == -EPERM);
	CHECK(kthread_wait_for(UINT64_MAX) == -EPERM);
	CHECK(kthread_wait_parkable() == -EPERM);
	return NULL;
}

static void foreign_thread__before_the_library_is_up(void **state)
{
	foreign(NULL);
}

static void foreign_thread__while_kthreads_live(void **state)
{
	struct kthread *k = kthread_run(obedient, AS_DATA(1), "lives");
	pthread_t thread;

	foreign(NULL);
	assert_int_equal(pthread_create(&thread, NULL, foreign, NULL), 0);
	pthread_join(thread, NULL);
	await_waiting(k);
	assert_int_equal(kthread_stop(k), 1);
}

static void handle__null(void **state)
{
	struct kthread_info info = {.size = sizeof(info)};
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(0, &set);
	assert_false(kthread_wake(NULL));
	assert_int_equal(kthread_stop(NULL), -EINVAL);
	assert_int_equal(kthread_stop_put(NULL), -EINVAL);
	assert_int_equal(kthread_park(NULL), -EINVAL);
	kthread_unpark(NULL);
	kthread_put(NULL);
	assert_null(kthread_get(NULL));
	assert_int_equal(kthread_event_fd(NULL), -EINVAL);
	assert_null(kthread_data(NULL));
	assert_null(kthread_probe_data(NULL));
	assert_true(kthread_func(NULL) == NULL);
	assert_null(kthread_name(NULL));
	assert_int_equal(kthread_tid(NULL), -EINVAL);
	assert_int_equal(kthread_unadopt(NULL), -EINVAL);
	assert_int_equal(kthread_bind(NULL, 0), -EINVAL);
	assert_int_equal(kthread_bind_mask(NULL, sizeof(set), &set), -EINVAL);
	assert_int_equal(kthread_affine_preferred(NULL, sizeof(set), &set), -EINVAL);
	assert_int_equal(kthread_affine_node(NULL, 0), -EINVAL);
	assert_int_equal(kthread_affine_reset(NULL), -EINVAL);
	assert_int_equal(kthread_set_per_cpu(NULL, 0), -EINVAL);
	assert_false(kthread_is_per_cpu(NULL));
	assert_int_equal(kthread_get_mask(NULL, KTHREAD_MASK_WISH, sizeof(set), &set), -EINVAL);
	assert_false(kthread_is_broken(NULL));
	assert_int_equal(kthread_info(NULL, &info), -EINVAL);
	assert_int_equal(kthread_for_each(NULL, NULL), -EINVAL);
}

static int asked(void *data)
{
	atomic_int *seen = data;

	AWAIT((kthread_should_stop_or_park)());
	CHECK((kthread_should_park)() || (kthread_should_stop)());
	if ((kthread_should_park)())
		kthread_parkme();
	AWAIT((kthread_should_stop)());
	CHECK((kthread_should_stop_or_park)());
	atomic_store(seen, 1);
	return 0;
}

/* The symbols answer as the inline functions do. */
static void kthread_should_stop__as_a_symbol(void **state)
{
	bool (*volatile stop)(void) = kthread_should_stop;
	bool (*volatile park)(void) = kthread_should_park;
	bool (*volatile either)(void) = kthread_should_stop_or_park;
	atomic_int seen = 0;
	struct kthread *k = kthread_run(asked, &seen, "asked");

	assert_false(stop());
	assert_false(park());
	assert_false(either());
	assert_int_equal(kthread_park(k), 0);
	kthread_unpark(k);
	{
		const int result = kthread_stop(k);

		assert_true(result == 0 || (result == -EINTR && !atomic_load(&seen)));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(foreign_thread__before_the_library_is_up),
	    cmocka_unit_test(handle__null),
	    cmocka_unit_test(foreign_thread__while_kthreads_live),
	    cmocka_unit_test(kthread_should_stop__as_a_symbol),
	};

	return cmocka_run_group_tests(tests, NULL, fini_finds_nothing);
}

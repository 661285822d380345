/* SPDX-License-Identifier: MIT */
/*
 * A thread ends while it holds the read lock, and destructors of its keys go on with it.
 */
#include "await.h"
#include "thread/standstill.h"

static pthread_key_t later;

static void begin_and_end(void)
{
	assert_int_equal(kt_transition_try(), 0);
	kt_transition_end();
}

static void *read_and_end(void *arg)
{
	CHECK(pthread_setspecific(later, &later) == 0);
	kthread_cpus_read_lock();
	return NULL;
}

static void one_thread(void (*destructor)(void *))
{
	pthread_t thread;

	/* the library's key is the older one, so its destructor comes first */
	kthread_cpus_read_lock();
	kthread_cpus_read_unlock();
	assert_int_equal(pthread_key_create(&later, destructor), 0);
	assert_int_equal(pthread_create(&thread, NULL, read_and_end, NULL), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(pthread_key_delete(later), 0);
	begin_and_end();
}

static void give_up(void *value)
{
	kthread_cpus_read_unlock();
}

static void read_again(void *value)
{
	kthread_cpus_read_lock();
	CHECK(kt_transition_try() == -EDEADLK);
	kthread_cpus_read_unlock();
}

static void read_lock__a_thread_that_ends_gives_it_up(void **state)
{
	one_thread(NULL);
}

static void read_unlock__by_a_destructor(void **state)
{
	one_thread(give_up);
}

static void read_lock__by_a_destructor(void **state)
{
	one_thread(read_again);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(read_lock__a_thread_that_ends_gives_it_up),
	    cmocka_unit_test(read_lock__by_a_destructor),
	    cmocka_unit_test(read_unlock__by_a_destructor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
/*
 * pthread_cancel() of a thread that is inside the library: it must not leave a lock or a half-done end behind. The
 * thread has a cancellation pending when it comes, so that any cancellation point on the way would end it there.
 */
#include "await.h"

struct victim {
	void (*fn)(void *data);
	void *data;
	atomic_bool returned;
};

static void *is_cancelled(void *arg)
{
	struct victim *victim = arg;

	pthread_cancel(pthread_self());
	victim->fn(victim->data);
	atomic_store(&victim->returned, true);
	pthread_testcancel();
	return NULL;
}

static void assert_survives(void (*fn)(void *data), void *data)
{
	struct victim victim = {.fn = fn, .data = data};
	pthread_t thread;
	void *result;

	assert_int_equal(pthread_create(&thread, NULL, is_cancelled, &victim), 0);
	pthread_join(thread, &result);
	assert_ptr_equal(result, PTHREAD_CANCELED);
	assert_true(atomic_load(&victim.returned));
}

static void starts_the_library(void *data)
{
	cpu_set_t set;

	(void)data;
	CHECK(kthread_cpus(KTHREAD_CPUS_ONLINE, sizeof(set), &set) == 0);
}

static void kthread_cpus__cancelled(void **state)
{
	assert_survives(starts_the_library, NULL);
	assert_survives(starts_the_library, NULL);
}

static void creates(void *data)
{
	struct kthread **k = data;

	*k = kthread_create(result_only, AS_DATA(1), "created");
	CHECK(*k != NULL);
}

static void kthread_create__cancelled(void **state)
{
	struct kthread *k = NULL;

	for (int i = 0; i < 3; i++) {
		assert_survives(creates, &k);
		assert_int_equal(kthread_stop(k), -EINTR);
	}
}

static void stops(void *data)
{
	CHECK(kthread_stop(data) == 5);
}

static void kthread_stop__cancelled(void **state)
{
	struct kthread *k;

	for (int has_fd = 0; has_fd < 2; has_fd++) {
		k = kthread_run(obedient, AS_DATA(5), "stopped");
		await_waiting(k);
		if (has_fd)
			assert_true(kthread_event_fd(k) >= 0);
		assert_survives(stops, k);
	}
}

static void puts_the_last(void *data)
{
	kthread_put(data);
}

static void kthread_put__cancelled(void **state)
{
	struct kthread *k = kthread_run(obedient, AS_DATA(5), "put");
	const int fds = open_fds();

	assert_true(kthread_event_fd(k) >= 0);
	kthread_get(k);
	kthread_stop(k);
	assert_survives(puts_the_last, k);
	assert_int_equal(open_fds(), fds);
}

static void parks(void *data)
{
	CHECK(kthread_event_fd(data) >= 0);
	CHECK(kthread_park(data) == 0);
	kthread_unpark(data);
	kthread_wake(data);
}

static void kthread_park__cancelled(void **state)
{
	struct kthread *k = kthread_run(obedient, AS_DATA(6), "parked");

	await_waiting(k);
	assert_survives(parks, k);
	assert_int_equal(kthread_stop(k), 6);
}

static void places(void *data)
{
	struct kthread *self = kthread_adopt("cancelled");

	CHECK(self != NULL);
	CHECK(kthread_bind(data, 0) == 0);
	CHECK(kthread_rescan() == 0);
	CHECK(kthread_unadopt(self) == 0);
}

static void kthread_rescan__cancelled(void **state)
{
	struct kthread *k = kthread_create(obedient, AS_DATA(7), "placed");

	assert_survives(places, k);
	assert_int_equal(kthread_rescan(), 0);
	assert_int_equal(kthread_stop(k), -EINTR);
}

/* Into memory: no call of the stream's is a point where it could end. */
static void dumps(void *data)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	(void)data;
	CHECK(out != NULL);
	CHECK(kthread_dump(out, KTHREAD_JSON) == 0);
	fclose(out);
	free(text);
}

static void kthread_dump__cancelled(void **state)
{
	struct kthread *k = kthread_run(obedient, AS_DATA(8), "dumped");

	await_waiting(k);
	assert_survives(dumps, NULL);
	assert_survives(dumps, NULL);
	assert_int_equal(kthread_stop(k), 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(kthread_cpus__cancelled), cmocka_unit_test(kthread_create__cancelled),
	    cmocka_unit_test(kthread_stop__cancelled), cmocka_unit_test(kthread_put__cancelled),
	    cmocka_unit_test(kthread_park__cancelled), cmocka_unit_test(kthread_rescan__cancelled),
	    cmocka_unit_test(kthread_dump__cancelled),
	};

	return cmocka_run_group_tests(tests, NULL, fini_finds_nothing);
}

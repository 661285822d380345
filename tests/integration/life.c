/* SPDX-License-Identifier: MIT */
/*
 * A thread's life: kthread_create, _run, _wake, _stop, _stop_put, _get, _put, _exit, _complete_and_exit, _self, _data,
 * _probe_data, _func.
 */
#include "await.h"

struct probe {
	struct kthread_completion entered;
	struct kthread_completion go;
	struct kthread_completion left;
	atomic_int entries;
	atomic_int cleanups;
	int result;
	int plain; /* written by one side, read by the other: ThreadSanitizer checks the order */
	atomic_ulong pthread;
};

/* Enter, wait for `go`, return. */
static int guest(void *data)
{
	struct probe *probe = data;

	atomic_fetch_add(&probe->entries, 1);
	kthread_complete(&probe->entered);
	kthread_wait_for_completion(&probe->go);
	return probe->result;
}

static int count_entry(void *data)
{
	struct probe *probe = data;

	atomic_fetch_add(&probe->entries, 1);
	return probe->result;
}

/* ---- create, wake --------------------------------------------------------------------------------------------- */

static void kthread_create__fn_is_not_entered_before_wake(void **state)
{
	struct probe probe = {.result = 7};
	struct kthread *k = kthread_create(count_entry, &probe, "unwoken");

	assert_non_null(k);
	assert_true(kthread_tid(k) > 0);
	await_settled(kthread_tid(k));
	assert_int_equal(atomic_load(&probe.entries), 0);

	assert_true(kthread_wake(k));
	AWAIT(atomic_load(&probe.entries) == 1);
	assert_int_equal(kthread_stop(k), 7);
}

static void kthread_create__null_arguments(void **state)
{
	static const char *volatile no_name = NULL;

	errno = 0;
	assert_null(kthread_create(NULL, NULL, "nothing to do"));
	assert_int_equal(errno, EINVAL);
	errno = 0;
	assert_null(kthread_create(result_only, NULL, no_name, 0));
	assert_int_equal(errno, EINVAL);
	errno = 0;
	assert_null(kthread_run(NULL, NULL, "nothing to do"));
	assert_int_equal(errno, EINVAL);
	errno = 0;
	assert_null(kthread_create_on_cpu(NULL, NULL, 0, "x/%u"));
	assert_int_equal(errno, EINVAL);
	errno = 0;
	assert_null(kthread_run_on_cpu(NULL, NULL, 0, "x/%u"));
	assert_int_equal(errno, EINVAL);
	errno = 0;
	assert_null(kthread_create_on_node(NULL, NULL, KTHREAD_NO_NODE, "x"));
	assert_int_equal(errno, EINVAL);
}

static void kthread_create__unknown_cpu_or_node(void **state)
{
	static const unsigned int cpus[] = {1000000, 0x7fffffff, 0x80000000, 0xffffffff};
	static const int nodes[] = {-2, -1000, 1000000, 0x7fffffff};

	for (size_t i = 0; i < 4; i++) {
		errno = 0;
		assert_null(kthread_create_on_cpu(result_only, NULL, cpus[i], "far/%u"));
		assert_int_equal(errno, EINVAL);
		errno = 0;
		assert_null(kthread_create_on_node(result_only, NULL, nodes[i], "far"));
		assert_int_equal(errno, EINVAL);
	}
}

static void kthread_run__enters_fn(void **state)
{
	struct probe probe = {.result = -3};
	struct kthread *k = kthread_run(guest, &probe, "guest");

	assert_non_null(k);
	AWAIT_DONE(&probe.entered);
	kthread_complete(&probe.go);
	assert_int_equal(kthread_stop(k), -3);
	assert_int_equal(atomic_load(&probe.entries), 1);
}

static void kthread_run_on_cpu__enters_fn(void **state)
{
	struct probe probe = {.result = 4};
	struct kthread *k = kthread_run_on_cpu(guest, &probe, 0, "guest/%u");

	assert_non_null(k);
	assert_string_equal(kthread_name(k), "guest/0");
	AWAIT_DONE(&probe.entered);
	kthread_complete(&probe.go);
	assert_int_equal(kthread_stop(k), 4);
}

static void kthread_create_on_node__no_node_is_kthread_create(void **state)
{
	struct probe probe = {.result = 9};
	struct kthread *k = kthread_create_on_node(guest, &probe, KTHREAD_NO_NODE, "anywhere");

	assert_non_null(k);
	kthread_wake(k);
	AWAIT_DONE(&probe.entered);
	kthread_complete(&probe.go);
	assert_int_equal(kthread_stop(k), 9);
}

static void kthread_wake__tells_whether_it_changed_something(void **state)
{
	struct probe probe = {.result = 1};
	struct kthread *k = kthread_create(guest, &probe, "awake");

	assert_true(kthread_wake(k)); /* it was started */
	AWAIT_DONE(&probe.entered);
	assert_true(kthread_wake(k));  /* it had no token */
	assert_false(kthread_wake(k)); /* it had one */
	kthread_complete(&probe.go);
	AWAIT(task_gone(kthread_tid(k)));
	assert_false(kthread_wake(k)); /* it has ended */
	assert_int_equal(kthread_stop(k), 1);
}

static int reads_plain(void *data)
{
	struct probe *probe = data;

	return probe->plain;
}

static void kthread_wake__orders_what_was_before(void **state)
{
	for (int i = 0; i < 200; i++) {
		struct probe probe = {.plain = -1};
		struct kthread *k = kthread_create(reads_plain, &probe, "reader");
		const pid_t tid = kthread_tid(k);

		probe.plain = i; /* after the creation, before the wake */
		kthread_wake(k);
		AWAIT(task_gone(tid));
		assert_int_equal(kthread_stop(k), i);
	}
}

/* ---- stop ------------------------------------------------------------------------------------------------------ */

static void kthread_stop__returns_the_result_of_fn(void **state)
{
	static const int results[] = {0, 1, -1, -EINTR, 4711, 0x7fffffff, -0x7fffffff - 1};

	for (size_t i = 0; i < sizeof(results) / sizeof(*results); i++) {
		struct probe probe = {.result = results[i]};
		struct kthread *k = kthread_run(guest, &probe, "result/%zu", i);

		AWAIT_DONE(&probe.entered);
		kthread_complete(&probe.go);
		assert_int_equal(kthread_stop(k), results[i]);
	}
}

static void kthread_stop__never_woken_gives_eintr(void **state)
{
	struct probe probe = {.result = 7};

	for (int i = 0; i < 300; i++)
		assert_int_equal(kthread_stop(kthread_create(count_entry, &probe, "unborn")), -EINTR);
	assert_int_equal(atomic_load(&probe.entries), 0);
}

static void kthread_stop__right_after_run_gives_result_or_eintr(void **state)
{
	int entered = 0;

	for (int i = 0; i < 1000; i++) {
		struct probe probe = {.result = 7};
		const int result = kthread_stop(kthread_run(count_entry, &probe, "hasty"));

		assert_int_equal(result, atomic_load(&probe.entries) ? 7 : -EINTR);
		entered += atomic_load(&probe.entries);
	}
	print_message("%d of 1000 entered\n", entered);
}

static int stops_itself(void *data)
{
	struct probe *probe = data;

	probe->result = kthread_stop(kthread_self());
	if (probe->result == -EDEADLK)
		probe->result = kthread_stop_put(kthread_self());
	kthread_complete(&probe->entered);
	kthread_wait_for_completion(&probe->go);
	return kthread_should_stop();
}

static void kthread_stop__itself(void **state)
{
	struct probe probe = {.result = 0};
	struct kthread *k = kthread_run(stops_itself, &probe, "self");

	AWAIT_DONE(&probe.entered);
	assert_int_equal(probe.result, -EDEADLK);
	kthread_complete(&probe.go);
	AWAIT(task_gone(kthread_tid(k)));
	/* neither was it asked to stop, nor has it lost our reference */
	assert_int_equal(kthread_stop(k), 0);
}

static void kthread_stop__has_ended_by_itself(void **state)
{
	struct kthread *k = kthread_run(result_only, AS_DATA(12), "short");

	AWAIT(task_gone(kthread_tid(k)));
	assert_int_equal(kthread_stop(k), 12);
}

static int writes_plain(void *data)
{
	struct probe *probe = data;

	kthread_complete(&probe->entered);
	while (!kthread_should_stop())
		probe->plain++;
	return probe->plain;
}

static void kthread_stop__sees_what_the_thread_did(void **state)
{
	for (int i = 0; i < 50; i++) {
		struct probe probe = {.plain = 0};
		struct kthread *k = kthread_run(writes_plain, &probe, "writer");
		int result;

		AWAIT_DONE(&probe.entered);
		result = kthread_stop(k);
		assert_int_equal(result, probe.plain);
	}
}

struct stopper {
	struct kthread *k;
	pthread_barrier_t *start;
	struct probe *probe;
	int result;
	int seen;
};

static void *stop_it(void *arg)
{
	struct stopper *stopper = arg;

	pthread_barrier_wait(stopper->start);
	stopper->result = kthread_stop(stopper->k);
	stopper->seen = stopper->probe->plain;
	return NULL;
}

static void kthread_stop__several_holders_all_get_the_result(void **state)
{
	for (int round = 0; round < 200; round++) {
		enum { HOLDERS = 4 };
		struct probe probe = {.plain = 0};
		struct stopper stoppers[HOLDERS];
		pthread_t threads[HOLDERS];
		pthread_barrier_t start;
		struct kthread *k = kthread_run(writes_plain, &probe, "shared");

		pthread_barrier_init(&start, NULL, HOLDERS);
		for (int i = 0; i < HOLDERS; i++)
			stoppers[i] = (struct stopper){.k = i ? kthread_get(k) : k, .start = &start, .probe = &probe};
		AWAIT_DONE(&probe.entered);
		for (int i = 0; i < HOLDERS; i++)
			assert_int_equal(pthread_create(&threads[i], NULL, stop_it, &stoppers[i]), 0);
		for (int i = 0; i < HOLDERS; i++)
			pthread_join(threads[i], NULL);
		for (int i = 0; i < HOLDERS; i++) {
			assert_int_equal(stoppers[i].result, probe.plain);
			assert_int_equal(stoppers[i].seen, probe.plain);
		}
		pthread_barrier_destroy(&start);
	}
}

static void kthread_stop__twice_by_two_references(void **state)
{
	struct kthread *k = kthread_get(kthread_run(obedient, AS_DATA(5), "twice"));

	assert_int_equal(kthread_park(k), 0); /* it has entered or will: -EINTR otherwise */
	kthread_unpark(k);
	AWAIT(task_asleep(kthread_tid(k)));
	{
		const int first = kthread_stop(k);

		assert_true(first == 5 || first == -EINTR);
		assert_int_equal(kthread_stop(k), first);
	}
}

static void kthread_stop_put__drops_two_references(void **state)
{
	struct probe probe = {.result = 3};
	struct kthread *k = kthread_get(kthread_run(guest, &probe, "two"));

	AWAIT_DONE(&probe.entered);
	kthread_complete(&probe.go);
	assert_int_equal(kthread_stop_put(k), 3); /* LeakSanitizer tells if one were left */
	k = kthread_get(kthread_get(kthread_create(result_only, NULL, "three")));
	assert_int_equal(kthread_stop_put(k), -EINTR);
	assert_int_equal(kthread_stop(k), -EINTR);
}

static void kthread_stop__null(void **state)
{
	assert_int_equal(kthread_stop(NULL), -EINVAL);
	assert_int_equal(kthread_stop_put(NULL), -EINVAL);
}

/* ---- references ------------------------------------------------------------------------------------------------ */

static int complete_left(void *data)
{
	struct probe *probe = data;

	kthread_complete(&probe->entered);
	kthread_wait_for_completion(&probe->go);
	CHECK(kthread_self() != NULL);
	CHECK(kthread_data(kthread_self()) == probe); /* the handle is still there */
	CHECK(!kthread_should_stop());
	kthread_complete_and_exit(&probe->left, 0);
}

static void kthread_put__last_of_a_running_thread_detaches_it(void **state)
{
	for (int i = 0; i < 100; i++) {
		struct probe probe = {.result = 0};
		struct kthread *k = kthread_run(complete_left, &probe, "detached");
		const pid_t tid = kthread_tid(k);

		AWAIT_DONE(&probe.entered);
		kthread_put(k);
		assert_false(task_gone(tid));
		kthread_complete(&probe.go);
		AWAIT_DONE(&probe.left);
		AWAIT(task_gone(tid));
	}
}

static void kthread_put__never_woken_ends_without_entering_fn(void **state)
{
	struct probe probe = {.result = 0};

	for (int i = 0; i < 100; i++) {
		struct kthread *k = kthread_create(count_entry, &probe, "unwanted");
		const pid_t tid = kthread_tid(k);

		kthread_put(k);
		AWAIT(task_gone(tid));
	}
	assert_int_equal(atomic_load(&probe.entries), 0);
}

static void kthread_put__right_after_create(void **state)
{
	struct probe probe = {.result = 0};

	for (int i = 0; i < 300; i++)
		kthread_put(kthread_create(count_entry, &probe, "unwanted"));
	AWAIT(kthread_fini() == 0);
	assert_int_equal(atomic_load(&probe.entries), 0);
}

static void kthread_put__right_after_run_lets_it_run(void **state)
{
	struct probe probe = {.result = 0};

	for (int i = 0; i < 300; i++)
		kthread_put(kthread_run(count_entry, &probe, "left alone"));
	AWAIT(atomic_load(&probe.entries) == 300);
	AWAIT(kthread_fini() == 0);
}

static void kthread_put__has_ended(void **state)
{
	struct kthread *k = kthread_run(result_only, NULL, "ended");

	AWAIT(task_gone(kthread_tid(k)));
	kthread_put(kthread_get(k));
	kthread_put(k);
	kthread_put(NULL);
}

static void kthread_get__returns_its_argument(void **state)
{
	struct kthread *k = kthread_create(result_only, NULL, "got");

	assert_ptr_equal(kthread_get(k), k);
	assert_null(kthread_get(NULL));
	assert_int_equal(kthread_stop(k), -EINTR);
	assert_int_equal(kthread_tid(k) > 0, 1); /* stays what it was after the end */
	assert_string_equal(kthread_name(k), "got");
	assert_int_equal(kthread_stop(k), -EINTR);
}

/* ---- ways to end ----------------------------------------------------------------------------------------------- */

static void count_cleanup(void *arg)
{
	struct probe *probe = arg;

	CHECK(kthread_self() != NULL); /* still a kthread */
	atomic_fetch_add(&probe->cleanups, 1);
}

static void leave(struct probe *probe, int how)
{
	if (how == 0)
		kthread_exit(probe->result);
	else if (how == 1)
		pthread_exit(&probe->result);
	else
		kthread_complete_and_exit(how == 2 ? &probe->left : NULL, probe->result);
}

static void deeper(struct probe *probe, int how)
{
	pthread_cleanup_push(count_cleanup, probe);
	leave(probe, how);
	pthread_cleanup_pop(0);
}

static void deepest(struct probe *probe, int how)
{
	pthread_cleanup_push(count_cleanup, probe);
	deeper(probe, how);
	pthread_cleanup_pop(0);
}

static int leaves_by_exit(void *data)
{
	deepest(data, 0);
	return 99;
}

static int leaves_by_pthread_exit(void *data)
{
	deepest(data, 1);
	return 99;
}

static int leaves_by_complete_and_exit(void *data)
{
	deepest(data, 2);
	return 99;
}

static int leaves_by_complete_nothing(void *data)
{
	deepest(data, 3);
	return 99;
}

/* The thread ends by itself, whatever its way. */
static int end_of(int (*fn)(void *), struct probe *probe)
{
	struct kthread *k = kthread_run(fn, probe, "leaver");

	AWAIT(task_gone(kthread_tid(k)));
	return kthread_stop(k);
}

static void kthread_exit__from_depth(void **state)
{
	struct probe probe = {.result = 31};

	assert_int_equal(end_of(leaves_by_exit, &probe), 31);
	assert_int_equal(atomic_load(&probe.cleanups), 2);
}

static void pthread_exit__gives_ecanceled(void **state)
{
	struct probe probe = {.result = 31};

	assert_int_equal(end_of(leaves_by_pthread_exit, &probe), -ECANCELED);
	assert_int_equal(atomic_load(&probe.cleanups), 2);
}

static void kthread_complete_and_exit__completes_after_all_cleanup(void **state)
{
	struct probe probe = {.result = 32};
	struct kthread *k = kthread_run(leaves_by_complete_and_exit, &probe, "leaver");

	AWAIT_DONE(&probe.left);
	assert_int_equal(atomic_load(&probe.cleanups), 2);
	assert_int_equal(kthread_stop(k), 32);
}

static void kthread_complete_and_exit__null(void **state)
{
	struct probe probe = {.result = 33};

	assert_int_equal(end_of(leaves_by_complete_nothing, &probe), 33);
	assert_int_equal(atomic_load(&probe.cleanups), 2);
}

static int awaits_its_cancellation(void *data)
{
	struct probe *probe = data;

	pthread_cleanup_push(count_cleanup, probe);
	atomic_store(&probe->pthread, (unsigned long)pthread_self());
	kthread_complete(&probe->entered);
	for (;;) { /* not pause(): ThreadSanitizer loses its way when its own wrapper is unwound */
		pthread_testcancel();
		sched_yield();
	}
	pthread_cleanup_pop(0);
	return 99;
}

static void pthread_cancel__gives_ecanceled(void **state)
{
	struct probe probe = {.result = 0};
	struct kthread *k = kthread_run(awaits_its_cancellation, &probe, "cancelled");

	AWAIT_DONE(&probe.entered);
	assert_int_equal(pthread_cancel((pthread_t)atomic_load(&probe.pthread)), 0);
	assert_int_equal(kthread_stop(k), -ECANCELED);
	assert_int_equal(atomic_load(&probe.cleanups), 1);
}

static void *foreign_exit(void *arg)
{
	struct probe *probe = arg;

	if (probe)
		kthread_complete_and_exit(&probe->left, 5);
	kthread_exit(5);
}

static void kthread_exit__outside_is_pthread_exit(void **state)
{
	struct probe probe = {.result = 0};
	pthread_t thread;
	void *result = &probe;

	assert_int_equal(pthread_create(&thread, NULL, foreign_exit, NULL), 0);
	assert_int_equal(pthread_join(thread, &result), 0);
	assert_null(result);
	result = &probe;
	assert_int_equal(pthread_create(&thread, NULL, foreign_exit, &probe), 0);
	AWAIT_DONE(&probe.left);
	assert_int_equal(pthread_join(thread, &result), 0);
	assert_null(result);
}

/* The function of a key runs after the thread's end: it is nobody's kthread any more, and stop() has to cope. */
static pthread_key_t key;

static void key_destructor(void *value)
{
	struct probe *probe = value;

	CHECK(kthread_self() == NULL);
	CHECK(!kthread_should_stop());
	CHECK(kthread_wait_for(0) == -EPERM);
	atomic_fetch_add(&probe->cleanups, 1);
}

static int uses_key(void *data)
{
	pthread_setspecific(key, data);
	return 1;
}

static void kthread_self__is_null_in_key_destructors(void **state)
{
	struct probe probe = {.result = 0};

	assert_int_equal(pthread_key_create(&key, key_destructor), 0);
	assert_int_equal(end_of(uses_key, &probe), 1);
	assert_int_equal(atomic_load(&probe.cleanups), 1);
	pthread_key_delete(key);
}

/* ---- what a handle tells --------------------------------------------------------------------------------------- */

static int tells_about_itself(void *data)
{
	struct kthread *self = kthread_self();

	CHECK(kthread_data(self) == data);
	CHECK(kthread_probe_data(self) == data);
	CHECK(kthread_func(self) == tells_about_itself);
	CHECK(kthread_tid(self) == gettid());
	CHECK(strcmp(kthread_name(self), "teller") == 0);
	*(struct kthread **)data = self;
	return 0;
}

static void kthread_self__is_the_handle(void **state)
{
	struct kthread *self = NULL;
	struct kthread *k = kthread_run(tells_about_itself, &self, "teller");

	assert_null(kthread_self());
	AWAIT(task_gone(kthread_tid(k)));
	assert_ptr_equal(kthread_data(k), &self);
	assert_ptr_equal(kthread_probe_data(k), &self);
	assert_true(kthread_func(k) == tells_about_itself);
	kthread_get(k);
	assert_int_equal(kthread_stop(k), 0);
	assert_ptr_equal(self, k);
	kthread_put(k);
}

/* ---- many ------------------------------------------------------------------------------------------------------ */

static void kthread_create__hundreds(void **state)
{
	enum { MANY = 300 };
	static struct kthread *threads[MANY];

	for (int i = 0; i < MANY; i++) {
		threads[i] = kthread_create(obedient, AS_DATA(i), "many/%d", i);
		assert_non_null(threads[i]);
	}
	for (int i = 0; i < MANY; i++)
		assert_true(kthread_wake(threads[i]));
	for (int i = 0; i < MANY; i++) {
		const int result = kthread_stop(threads[i]);

		assert_true(result == i || result == -EINTR);
	}
}

static void *create_and_stop(void *arg)
{
	for (int i = 0; i < 200; i++) {
		struct kthread *k = kthread_run(obedient, AS_DATA(i), "%s/%d", (const char *)arg, i);
		int result;

		CHECK(k != NULL);
		if (i % 3 == 0)
			CHECK(kthread_park(k) == 0);
		result = kthread_stop(k);
		CHECK(result == i || result == -EINTR);
	}
	return NULL;
}

static void kthread_create__from_many_threads_at_once(void **state)
{
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, create_and_stop, (void *)"creator"), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
}

static int creates_a_child(void *data)
{
	const int depth = (int)(intptr_t)data;
	struct kthread *child;
	int result;

	if (depth == 0)
		return 1;
	child = kthread_run(creates_a_child, AS_DATA(depth - 1), "depth/%d", depth - 1);
	CHECK(child != NULL);
	AWAIT(task_gone(kthread_tid(child)));
	result = kthread_stop(child);
	CHECK(result > 0);
	return result + 1;
}

static void kthread_create__by_a_kthread(void **state)
{
	struct kthread *k = kthread_run(creates_a_child, AS_DATA(5), "depth/5");

	AWAIT(task_gone(kthread_tid(k)));
	assert_int_equal(kthread_stop(k), 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(kthread_create__fn_is_not_entered_before_wake),
	    cmocka_unit_test(kthread_create__null_arguments),
	    cmocka_unit_test(kthread_create__unknown_cpu_or_node),
	    cmocka_unit_test(kthread_run__enters_fn),
	    cmocka_unit_test(kthread_run_on_cpu__enters_fn),
	    cmocka_unit_test(kthread_create_on_node__no_node_is_kthread_create),
	    cmocka_unit_test(kthread_wake__tells_whether_it_changed_something),
	    cmocka_unit_test(kthread_wake__orders_what_was_before),
	    cmocka_unit_test(kthread_stop__returns_the_result_of_fn),
	    cmocka_unit_test(kthread_stop__never_woken_gives_eintr),
	    cmocka_unit_test(kthread_stop__right_after_run_gives_result_or_eintr),
	    cmocka_unit_test(kthread_stop__itself),
	    cmocka_unit_test(kthread_stop__has_ended_by_itself),
	    cmocka_unit_test(kthread_stop__sees_what_the_thread_did),
	    cmocka_unit_test(kthread_stop__several_holders_all_get_the_result),
	    cmocka_unit_test(kthread_stop__twice_by_two_references),
	    cmocka_unit_test(kthread_stop_put__drops_two_references),
	    cmocka_unit_test(kthread_stop__null),
	    cmocka_unit_test(kthread_put__last_of_a_running_thread_detaches_it),
	    cmocka_unit_test(kthread_put__never_woken_ends_without_entering_fn),
	    cmocka_unit_test(kthread_put__right_after_create),
	    cmocka_unit_test(kthread_put__right_after_run_lets_it_run),
	    cmocka_unit_test(kthread_put__has_ended),
	    cmocka_unit_test(kthread_get__returns_its_argument),
	    cmocka_unit_test(kthread_exit__from_depth),
	    cmocka_unit_test(pthread_exit__gives_ecanceled),
	    cmocka_unit_test(kthread_complete_and_exit__completes_after_all_cleanup),
	    cmocka_unit_test(kthread_complete_and_exit__null),
	    cmocka_unit_test(pthread_cancel__gives_ecanceled),
	    cmocka_unit_test(kthread_exit__outside_is_pthread_exit),
	    cmocka_unit_test(kthread_self__is_null_in_key_destructors),
	    cmocka_unit_test(kthread_self__is_the_handle),
	    cmocka_unit_test(kthread_create__hundreds),
	    cmocka_unit_test(kthread_create__from_many_threads_at_once),
	    cmocka_unit_test(kthread_create__by_a_kthread),
	};

	return cmocka_run_group_tests(tests, NULL, fini_finds_nothing);
}

/* SPDX-License-Identifier: MIT */
/*
 * Parking: kthread_park, _unpark, _parkme, _should_park, _should_stop_or_park, _wait_parkable. The hazards are those of
 * the kernel's own history; each case that repeats one names it by its source.
 */
#include <poll.h>
#include <sys/eventfd.h>

#include "await.h"

struct subject {
	struct kthread_completion entered;
	struct kthread_completion go;
	atomic_int entries;
	atomic_bool should;  /* what it saw */
	atomic_ulong turns;  /* a running thread counts */
	unsigned long plain; /* the same, unprotected: only a parked thread may be looked at, ThreadSanitizer checks */
	unsigned long from_outside; /* written while it is parked, read by it */
	atomic_int cpu_errors;
	unsigned int cpu;
	int result;
};

/* Runs all the time, and parks where it stands. */
static int busy(void *data)
{
	struct subject *subject = data;

	atomic_fetch_add(&subject->entries, 1);
	while (!kthread_should_stop()) {
		if (kthread_should_park()) {
			kthread_parkme();
			continue;
		}
		subject->plain++;
		CHECK(subject->from_outside <= subject->plain);
		atomic_fetch_add_explicit(&subject->turns, 1, memory_order_relaxed);
	}
	return subject->result;
}

/* Parks the other way: by coming back. */
static int comes_back(void *data)
{
	struct subject *subject = data;

	atomic_fetch_add(&subject->entries, 1);
	while (!kthread_should_stop_or_park()) {
		subject->plain++;
		atomic_fetch_add_explicit(&subject->turns, 1, memory_order_relaxed);
	}
	return subject->result;
}

/* Sleeps where it may be parked in place. */
static int sleeps_parkable(void *data)
{
	struct subject *subject = data;

	atomic_fetch_add(&subject->entries, 1);
	while (!kthread_should_stop()) {
		CHECK(kthread_wait_parkable() == 0);
		subject->plain++;
		atomic_fetch_add_explicit(&subject->turns, 1, memory_order_relaxed);
	}
	return subject->result;
}

static unsigned long turns(const struct subject *subject)
{
	return atomic_load_explicit(&subject->turns, memory_order_relaxed);
}

/* It stands still now: what it did is there, and nothing more comes. */
static void assert_still(const struct subject *subject)
{
	const unsigned long plain = subject->plain;

	for (int i = 0; i < 5; i++) {
		sched_yield();
		assert_int_equal(subject->plain, plain);
	}
	assert_int_equal(turns(subject), plain);
}

static void assert_moves(const struct subject *subject)
{
	const unsigned long before = turns(subject);

	AWAIT(turns(subject) != before);
}

/* ---- both ways, all states ------------------------------------------------------------------------------------- */

/* f2530dc71cf0, 1cef1150ef40: park returned while the thread still ran */
static void kthread_park__returns_when_it_stands_still(void **state)
{
	struct subject subject = {.result = 3};
	struct kthread *k = kthread_run(busy, &subject, "busy");

	for (int i = 0; i < 300; i++) {
		assert_moves(&subject);
		assert_int_equal(kthread_park(k), 0);
		assert_still(&subject);
		subject.from_outside = subject.plain;
		kthread_unpark(k);
	}
	assert_moves(&subject);
	assert_int_equal(kthread_stop(k), 3);
	assert_int_equal(atomic_load(&subject.entries), 1);
}

static void kthread_park__by_coming_back_and_being_called_again(void **state)
{
	struct subject subject = {.result = 4};
	struct kthread *k = kthread_run(comes_back, &subject, "back");

	for (int i = 1; i <= 300; i++) {
		assert_moves(&subject);
		assert_int_equal(atomic_load(&subject.entries), i);
		assert_int_equal(kthread_park(k), 0);
		assert_still(&subject);
		kthread_unpark(k);
	}
	assert_moves(&subject);
	assert_int_equal(kthread_stop(k), 4);
}

static void kthread_stop__parked_by_coming_back_gives_its_last_result(void **state)
{
	struct subject subject = {.result = 5};
	struct kthread *k = kthread_run(comes_back, &subject, "back");

	assert_moves(&subject);
	assert_int_equal(kthread_park(k), 0);
	assert_int_equal(kthread_stop(k), 5);
	assert_int_equal(atomic_load(&subject.entries), 1);
}

static void kthread_park__created_thread_does_not_enter(void **state)
{
	struct subject subject = {.result = 6};
	struct kthread *k = kthread_create(busy, &subject, "unborn");

	assert_int_equal(kthread_park(k), 0);
	assert_int_equal(kthread_park(k), -EBUSY);
	kthread_wake(k); /* never ends a park */
	await_settled(kthread_tid(k));
	assert_int_equal(atomic_load(&subject.entries), 0);
	kthread_unpark(k);
	assert_moves(&subject);
	assert_int_equal(kthread_stop(k), 6);
}

static void kthread_stop__parked_before_it_entered(void **state)
{
	struct subject subject = {.result = 6};

	for (int i = 0; i < 200; i++) {
		struct kthread *k = kthread_create(busy, &subject, "unborn");

		assert_int_equal(kthread_park(k), 0);
		assert_int_equal(kthread_stop(k), -EINTR);
	}
	assert_int_equal(atomic_load(&subject.entries), 0);
}

static int returns_at_once_from_parkme(void *data)
{
	struct subject *subject = data;

	for (int i = 0; i < 1000; i++)
		kthread_parkme();
	CHECK(!kthread_should_park());
	CHECK(!kthread_should_stop_or_park());
	return subject->result;
}

static void kthread_parkme__not_asked(void **state)
{
	struct subject subject = {.result = 8};
	struct kthread *k = kthread_run(returns_at_once_from_parkme, &subject, "unasked");

	kthread_parkme(); /* outside, too */
	AWAIT(task_gone(kthread_tid(k)));
	assert_int_equal(kthread_stop(k), 8);
}

/* ---- stop and park ---------------------------------------------------------------------------------------------- */

static int tells_what_it_sees_after_park(void *data)
{
	struct subject *subject = data;

	kthread_complete(&subject->entered);
	AWAIT(kthread_should_park());
	CHECK(kthread_should_stop_or_park());
	CHECK(!kthread_should_stop());
	kthread_parkme();
	atomic_store(&subject->should, kthread_should_stop());
	CHECK(!kthread_should_park());
	CHECK(kthread_should_stop_or_park() == kthread_should_stop());
	return subject->result;
}

static void kthread_stop__parked_thread_resumes_and_ends(void **state)
{
	struct subject subject = {.result = 9};
	struct kthread *k = kthread_run(tells_what_it_sees_after_park, &subject, "parked");

	AWAIT_DONE(&subject.entered);
	assert_int_equal(kthread_park(k), 0);
	assert_int_equal(kthread_stop(k), 9);
	assert_true(atomic_load(&subject.should));
}

static void kthread_park__has_ended(void **state)
{
	struct kthread *k = kthread_run(result_only, AS_DATA(1), "ended");

	AWAIT(task_gone(kthread_tid(k)));
	assert_int_equal(kthread_park(k), -ENOSYS);
	kthread_unpark(k);
	assert_int_equal(kthread_stop(k), 1);
}

static int waits_for_go(void *data)
{
	struct subject *subject = data;

	kthread_complete(&subject->entered);
	kthread_wait_for_completion(&subject->go);
	return subject->result;
}

struct parker {
	struct kthread *k;
	int result;
	atomic_bool done;
};

static void *park_it(void *arg)
{
	struct parker *parker = arg;

	parker->result = kthread_park(parker->k);
	atomic_store(&parker->done, true);
	return NULL;
}

/* The request is there once its event fd says so. */
static void await_request(struct kthread *k)
{
	struct pollfd poller = {.fd = kthread_event_fd(k), .events = POLLIN};

	CHECK(poller.fd >= 0);
	CHECK(poll(&poller, 1, 30000) == 1);
}

/* The kernel's parker waits for ever here. */
static void kthread_park__ends_without_having_seen_the_request(void **state)
{
	struct subject subject = {.result = 10};
	struct kthread *k = kthread_run(waits_for_go, &subject, "blind");
	struct parker parker = {.k = k};
	pthread_t thread;

	AWAIT_DONE(&subject.entered);
	assert_int_equal(pthread_create(&thread, NULL, park_it, &parker), 0);
	await_request(k);
	assert_int_equal(kthread_park(k), -EBUSY); /* asked for, not granted */
	assert_false(atomic_load(&parker.done));
	kthread_complete(&subject.go);
	pthread_join(thread, NULL);
	assert_int_equal(parker.result, -ENOSYS);
	for (int i = 0; i < 3; i++) { /* the first request is there still, and will not be granted */
		assert_int_equal(kthread_park(k), -ENOSYS);
		if (i)
			kthread_unpark(k);
	}
	assert_int_equal(kthread_stop(k), 10);
}

static void kthread_park__stopped_meanwhile(void **state)
{
	struct subject subject = {.result = 11};
	struct kthread *k = kthread_run(waits_for_go, &subject, "blind");
	struct parker parker = {.k = kthread_get(k)};
	pthread_t thread;

	AWAIT_DONE(&subject.entered);
	assert_int_equal(pthread_create(&thread, NULL, park_it, &parker), 0);
	await_request(k);
	kthread_complete(&subject.go);
	assert_int_equal(kthread_stop(k), 11);
	pthread_join(thread, NULL);
	assert_int_equal(parker.result, -ENOSYS);
	kthread_put(k);
}

static void *unpark_and_stop(void *arg)
{
	struct parker *stopper = arg;

	stopper->result = kthread_stop(stopper->k);
	return NULL;
}

static void kthread_park__races_with_stop(void **state)
{
	int parked = 0;

	for (int i = 0; i < 500; i++) {
		struct subject subject = {.result = 12};
		struct kthread *k = kthread_run(i % 2 ? busy : comes_back, &subject, "raced");
		struct parker stopper = {.k = kthread_get(k)};
		pthread_t thread;
		int result;

		if (i % 3)
			assert_moves(&subject);
		assert_int_equal(pthread_create(&thread, NULL, unpark_and_stop, &stopper), 0);
		result = kthread_park(k);
		assert_true(result == 0 || result == -ENOSYS);
		parked += result == 0;
		pthread_join(thread, NULL);
		assert_true(stopper.result == 12 || (stopper.result == -EINTR && !atomic_load(&subject.entries)));
		assert_int_equal(kthread_park(k), -ENOSYS);
		assert_int_equal(kthread_stop(k), stopper.result);
	}
	print_message("%d of 500 parked before the stop\n", parked);
}

/* ---- two parkers ------------------------------------------------------------------------------------------------ */

static void kthread_park__asked_twice(void **state)
{
	struct subject subject = {.result = 13};
	struct kthread *k = kthread_run(busy, &subject, "twice");

	assert_int_equal(kthread_park(k), 0);
	assert_int_equal(kthread_park(k), -EBUSY);
	assert_int_equal(kthread_park(k), -EBUSY);
	kthread_unpark(k); /* not counted */
	assert_moves(&subject);
	assert_int_equal(kthread_stop(k), 13);
}

static void kthread_park__several_at_once(void **state)
{
	struct subject subject = {.result = 14};
	struct kthread *k = kthread_run(busy, &subject, "contended");

	assert_moves(&subject); /* a thread that is parked again each time before it runs need not enter at all */
	for (int i = 0; i < 500; i++) {
		struct parker parkers[3];
		pthread_t threads[3];
		int granted = 0;

		for (int p = 0; p < 3; p++) {
			parkers[p] = (struct parker){.k = k};
			assert_int_equal(pthread_create(&threads[p], NULL, park_it, &parkers[p]), 0);
		}
		for (int p = 0; p < 3; p++) {
			pthread_join(threads[p], NULL);
			assert_true(parkers[p].result == 0 || parkers[p].result == -EBUSY);
			granted += parkers[p].result == 0;
		}
		assert_int_equal(granted, 1);
		assert_still(&subject);
		kthread_unpark(k);
	}
	assert_int_equal(kthread_stop(k), 14);
}

/* ---- foreign wakes ---------------------------------------------------------------------------------------------- */

struct waker {
	struct kthread *k;
	atomic_bool stop;
};

static void *wake_and_wake(void *arg)
{
	struct waker *waker = arg;

	while (!atomic_load_explicit(&waker->stop, memory_order_relaxed))
		kthread_wake(waker->k);
	return NULL;
}

/* 1cef1150ef40: a wake that races with the store of the parked state loses it */
static void kthread_wake__never_ends_a_park(void **state)
{
	int (*const functions[])(void *) = {busy, comes_back, sleeps_parkable, busy};

	for (size_t f = 0; f < 3; f++) {
		struct subject subject = {.result = 15};
		struct kthread *k = kthread_run(functions[f], &subject, "woken/%zu", f);
		struct waker waker = {.k = k};
		pthread_t threads[2];

		assert_int_equal(pthread_create(&threads[0], NULL, wake_and_wake, &waker), 0);
		assert_int_equal(pthread_create(&threads[1], NULL, wake_and_wake, &waker), 0);
		for (int i = 0; i < 200; i++) {
			assert_int_equal(kthread_park(k), 0);
			assert_still(&subject);
			kthread_unpark(k);
			if (i % 8 == 0)
				assert_moves(&subject);
		}
		atomic_store(&waker.stop, true);
		pthread_join(threads[0], NULL);
		pthread_join(threads[1], NULL);
		assert_int_equal(kthread_stop(k), 15);
	}
}

static int checks_its_cpu(void *data)
{
	struct subject *subject = data;

	while (!kthread_should_stop()) {
		if (kthread_should_park())
			kthread_parkme();
		if (!kthread_should_stop_or_park() && sched_getcpu() != (int)subject->cpu)
			atomic_fetch_add(&subject->cpu_errors, 1);
		atomic_fetch_add_explicit(&subject->turns, 1, memory_order_relaxed);
	}
	return 0;
}

/* f2530dc71cf0: a foreign wake between "request taken back" and "bound again" ran the thread on another CPU */
static void kthread_unpark__of_a_per_cpu_thread_among_foreign_wakes(void **state)
{
	cpu_set_t usable;
	struct subject subject = {0};
	struct kthread *k;
	struct waker waker;
	pthread_t thread;

	assert_int_equal(kthread_cpus(KTHREAD_CPUS_USABLE, sizeof(usable), &usable), 0);
	for (unsigned int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (CPU_ISSET(cpu, &usable))
			subject.cpu = cpu; /* the last one */
	}
	k = kthread_create(checks_its_cpu, &subject, "percpu/%u", subject.cpu);
	assert_int_equal(kthread_set_per_cpu(k, (int)subject.cpu), 0);
	waker = (struct waker){.k = k};
	kthread_wake(k);
	assert_int_equal(pthread_create(&thread, NULL, wake_and_wake, &waker), 0);
	for (int i = 0; i < 300; i++) {
		assert_int_equal(kthread_park(k), 0);
		/* somebody has moved it meanwhile */
		sched_setaffinity(kthread_tid(k), sizeof(usable), &usable);
		kthread_unpark(k);
		assert_moves(&subject);
	}
	atomic_store(&waker.stop, true);
	pthread_join(thread, NULL);
	assert_int_equal(kthread_stop(k), 0);
	assert_int_equal(atomic_load(&subject.cpu_errors), 0);
}

/* 214e01ad4ed7: unpark of a running per-CPU thread that nobody had parked */
static void kthread_unpark__not_asked_is_nothing(void **state)
{
	struct kthread *k = kthread_create(obedient, AS_DATA(16), "percpu/0");
	long long sleeps;

	assert_int_equal(kthread_set_per_cpu(k, 0), 0);
	kthread_unpark(k); /* does not start it */
	await_settled(kthread_tid(k));
	kthread_wake(k);
	await_waiting(k);
	sleeps = task_sleeps(kthread_tid(k));
	for (int i = 0; i < 100; i++)
		kthread_unpark(k);
	await_waiting(k);
	assert_int_equal(task_sleeps(kthread_tid(k)), sleeps);
	assert_true(kthread_wake(k)); /* no token was made */
	assert_int_equal(kthread_stop(k), 16);
}

/* ---- parking oneself -------------------------------------------------------------------------------------------- */

static int parks_itself(void *data)
{
	struct subject *subject = data;

	subject->plain = 1;
	CHECK(!kthread_should_park());
	CHECK(kthread_park(kthread_self()) == 0);
	CHECK(kthread_should_park());
	CHECK(kthread_park(kthread_self()) == -EBUSY);
	kthread_complete(&subject->entered);
	kthread_wait_for_completion(&subject->go);
	kthread_parkme();
	subject->plain = 2;
	while (!kthread_should_stop()) {
		kthread_parkme();
		subject->plain++;
		atomic_fetch_add(&subject->turns, 1);
	}
	return 17;
}

static void kthread_park__itself(void **state)
{
	struct subject subject = {0};
	struct kthread *k = kthread_run(parks_itself, &subject, "self");

	AWAIT_DONE(&subject.entered);
	assert_int_equal(kthread_park(k), -EBUSY); /* asked for, by itself */
	kthread_complete(&subject.go);
	await_settled(kthread_tid(k));
	kthread_unpark(k);
	AWAIT(atomic_load(&subject.turns) > 0);
	assert_int_equal(kthread_stop(k), 17);
}

/* In the kernel a self-park leaves a "parked" token behind, and the next park returns before the thread parks. */
static void kthread_park__after_a_self_park_that_was_taken_back(void **state)
{
	for (int i = 0; i < 100; i++) {
		struct subject subject = {0};
		struct kthread *k = kthread_run(parks_itself, &subject, "self");

		AWAIT_DONE(&subject.entered);
		kthread_unpark(k);
		kthread_complete(&subject.go);
		if (i % 2)
			AWAIT(atomic_load(&subject.turns) > 0);
		assert_int_equal(kthread_park(k), 0);
		{
			const unsigned long plain = subject.plain;

			sched_yield();
			assert_int_equal(subject.plain, plain);
		}
		assert_int_equal(kthread_stop(k), 17);
	}
}

/* ---- too fast for the thread ------------------------------------------------------------------------------------ */

/* unpark and park again before the thread ran: it stays parked, and park still returns */
static void kthread_park__again_before_it_ran(void **state)
{
	enum { TIMES = 100000 };
	int (*const functions[])(void *) = {busy, comes_back, sleeps_parkable};

	for (size_t f = 0; f < 3; f++) {
		struct subject subject = {.result = 18};
		struct kthread *k = kthread_create(functions[f], &subject, "fast/%zu", f);

		assert_int_equal(kthread_park(k), 0);
		for (int i = 0; i < TIMES; i++) {
			kthread_unpark(k);
			assert_int_equal(kthread_park(k), 0);
			if (i % 1000 == 0)
				assert_still(&subject);
		}
		assert_still(&subject);
		kthread_unpark(k);
		if (f < 2)
			assert_moves(&subject);
		{
			const int result = kthread_stop(k);

			assert_true(result == 18 || (result == -EINTR && !atomic_load(&subject.entries)));
		}
	}
}

static int returns_after_having_been_told(void *data)
{
	struct subject *subject = data;

	if (atomic_fetch_add(&subject->entries, 1) == 0) {
		kthread_complete(&subject->entered);
		AWAIT(kthread_should_park());
		kthread_complete(&subject->entered);
		kthread_wait_for_completion(&subject->go); /* meanwhile it is unparked */
		return 1;
	}
	return 2;
}

static void kthread_unpark__told_but_not_yet_parked(void **state)
{
	struct subject subject = {0};
	struct kthread *k = kthread_run(returns_after_having_been_told, &subject, "told");
	struct parker parker = {.k = k};
	pthread_t thread;

	AWAIT_DONE(&subject.entered);
	assert_int_equal(pthread_create(&thread, NULL, park_it, &parker), 0);
	AWAIT_DONE(&subject.entered); /* it has been told */
	kthread_unpark(k);
	pthread_join(thread, NULL);
	assert_int_equal(parker.result, -ECANCELED);
	kthread_complete(&subject.go);
	/* It comes back to park, need not park any more, and is called again. */
	AWAIT(task_gone(kthread_tid(k)));
	assert_int_equal(atomic_load(&subject.entries), 2);
	assert_int_equal(kthread_stop(k), 2);
}

/* Another park meets it on its way to return because of the first: that grants it. */
static void kthread_park__again_on_its_way_to_return(void **state)
{
	struct subject subject = {0};
	struct kthread *k = kthread_run(returns_after_having_been_told, &subject, "told");
	struct parker parker = {.k = k};
	eventfd_t requests;
	pthread_t thread;

	AWAIT_DONE(&subject.entered);
	assert_int_equal(pthread_create(&thread, NULL, park_it, &parker), 0);
	AWAIT_DONE(&subject.entered); /* it has been told */
	kthread_unpark(k);
	pthread_join(thread, NULL);
	assert_int_equal(parker.result, -ECANCELED);
	assert_int_equal(eventfd_read(kthread_event_fd(k), &requests), 0); /* await the second one below */
	assert_int_equal(pthread_create(&thread, NULL, park_it, &parker), 0);
	await_request(k);
	kthread_complete(&subject.go);
	pthread_join(thread, NULL);
	assert_int_equal(parker.result, 0);
	assert_int_equal(atomic_load(&subject.entries), 1);
	kthread_unpark(k);
	AWAIT(task_gone(kthread_tid(k)));
	assert_int_equal(atomic_load(&subject.entries), 2);
	assert_int_equal(kthread_stop(k), 2);
}

/* ---- kthread_wait_parkable --------------------------------------------------------------------------------------- */

static void kthread_wait_parkable__parked_without_waking(void **state)
{
	struct subject subject = {.result = 19};
	struct kthread *k = kthread_run(sleeps_parkable, &subject, "in place");
	const pid_t tid = kthread_tid(k);

	for (int i = 0; i < 100; i++) {
		long long sleeps;

		await_waiting(k);
		sleeps = task_sleeps(tid);
		assert_int_equal(kthread_park(k), 0);
		assert_still(&subject);
		assert_int_equal(kthread_park(k), -EBUSY);
		kthread_wake(k); /* does not wake it either */
		assert_int_equal(task_sleeps(tid), sleeps);
		assert_true(task_asleep(tid));
		kthread_unpark(k);
		AWAIT(turns(&subject) > (unsigned long)i); /* it comes back from its wait */
	}
	await_settled(tid);
	assert_int_equal(kthread_park(k), 0);
	assert_int_equal(kthread_stop(k), 19);
}

static void kthread_wait_parkable__asked_before_it_sleeps(void **state)
{
	struct subject subject = {.result = 20};
	struct kthread *k = kthread_run(sleeps_parkable, &subject, "in place");

	for (int i = 0; i < 3000; i++) {
		kthread_wake(k);
		assert_int_equal(kthread_park(k), 0);
		assert_still(&subject);
		kthread_unpark(k);
	}
	{
		const int result = kthread_stop(k);

		assert_true(result == 20 || result == -EINTR);
	}
}

static void kthread_wait_parkable__outside(void **state)
{
	assert_int_equal(kthread_wait_parkable(), -EPERM);
}

/* ---- all together ------------------------------------------------------------------------------------------------ */

struct controller {
	struct kthread *k;
	unsigned int seed;
	int parks;
};

static void *park_and_unpark(void *arg)
{
	struct controller *controller = arg;

	for (int i = 0; i < 2000; i++) {
		int result;

		switch (rand_r(&controller->seed) % 3) {
		case 0:
			result = kthread_park(controller->k);
			/* -ECANCELED: somebody unparked it before it was granted */
			CHECK(result == 0 || result == -EBUSY || result == -ECANCELED);
			controller->parks += result == 0;
			break;
		case 1:
			kthread_unpark(controller->k);
			break;
		default:
			kthread_wake(controller->k);
		}
	}
	kthread_unpark(controller->k);
	return NULL;
}

static void kthread_park__by_everybody(void **state)
{
	int (*const functions[])(void *) = {busy, comes_back, sleeps_parkable, obedient};

	for (size_t f = 0; f < 4; f++) {
		struct subject subject = {.result = 21};
		struct kthread *k = kthread_run(functions[f], f < 3 ? (void *)&subject : AS_DATA(21), "all/%zu", f);
		struct controller controllers[3];
		pthread_t threads[3];
		int result;

		for (int c = 0; c < 3; c++) {
			controllers[c] = (struct controller){.k = k, .seed = (unsigned int)c};
			assert_int_equal(pthread_create(&threads[c], NULL, park_and_unpark, &controllers[c]), 0);
		}
		for (int c = 0; c < 3; c++) {
			pthread_join(threads[c], NULL);
			assert_true(controllers[c].parks > 0);
		}
		kthread_unpark(k);
		if (f < 2)
			assert_moves(&subject);
		result = kthread_stop(k);
		assert_true(result == 21 || (f >= 2 && result == -EINTR));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(kthread_park__returns_when_it_stands_still),
	    cmocka_unit_test(kthread_park__by_coming_back_and_being_called_again),
	    cmocka_unit_test(kthread_stop__parked_by_coming_back_gives_its_last_result),
	    cmocka_unit_test(kthread_park__created_thread_does_not_enter),
	    cmocka_unit_test(kthread_stop__parked_before_it_entered),
	    cmocka_unit_test(kthread_parkme__not_asked),
	    cmocka_unit_test(kthread_stop__parked_thread_resumes_and_ends),
	    cmocka_unit_test(kthread_park__has_ended),
	    cmocka_unit_test(kthread_park__ends_without_having_seen_the_request),
	    cmocka_unit_test(kthread_park__stopped_meanwhile),
	    cmocka_unit_test(kthread_park__races_with_stop),
	    cmocka_unit_test(kthread_park__asked_twice),
	    cmocka_unit_test(kthread_park__several_at_once),
	    cmocka_unit_test(kthread_wake__never_ends_a_park),
	    cmocka_unit_test(kthread_unpark__of_a_per_cpu_thread_among_foreign_wakes),
	    cmocka_unit_test(kthread_unpark__not_asked_is_nothing),
	    cmocka_unit_test(kthread_park__itself),
	    cmocka_unit_test(kthread_park__after_a_self_park_that_was_taken_back),
	    cmocka_unit_test(kthread_park__again_before_it_ran),
	    cmocka_unit_test(kthread_unpark__told_but_not_yet_parked),
	    cmocka_unit_test(kthread_park__again_on_its_way_to_return),
	    cmocka_unit_test(kthread_wait_parkable__parked_without_waking),
	    cmocka_unit_test(kthread_wait_parkable__asked_before_it_sleeps),
	    cmocka_unit_test(kthread_wait_parkable__outside),
	    cmocka_unit_test(kthread_park__by_everybody),
	};

	return cmocka_run_group_tests(tests, NULL, fini_finds_nothing);
}

/* SPDX-License-Identifier: MIT */
/*
 * kthread_event_fd: what the token says, said to a poll loop.
 */
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "await.h"

static bool readable(int fd)
{
	struct pollfd poller = {.fd = fd, .events = POLLIN};
	const int count = poll(&poller, 1, 0);

	CHECK(count >= 0);
	return count == 1;
}

struct subject {
	struct kthread_completion ready;
	struct kthread_completion go;
	atomic_ulong requests;
	atomic_ulong handled;
	atomic_ulong loops;
	atomic_ulong parks;
	int how;
};

/* Waits for `go` between its steps, so that the test can look. */
static int steps(void *data)
{
	struct subject *subject = data;
	const int fd = kthread_event_fd(kthread_self());
	eventfd_t count;

	CHECK(fd >= 0);
	CHECK(!readable(fd));
	kthread_complete(&subject->ready); /* now it is woken */
	kthread_wait_for_completion(&subject->go);
	CHECK(readable(fd));
	CHECK(kthread_wait_for(0) == 0);
	CHECK(!readable(fd));
	kthread_complete(&subject->ready); /* twice */
	kthread_wait_for_completion(&subject->go);
	CHECK(readable(fd));
	CHECK(kthread_wait() == 0);
	CHECK(!readable(fd));
	kthread_complete(&subject->ready); /* once more */
	kthread_wait_for_completion(&subject->go);
	CHECK(eventfd_read(fd, &count) == 0);
	CHECK(!readable(fd));
	CHECK(kthread_wait_for(0) == 0); /* the token is another matter */
	CHECK(kthread_wait_for(0) == -ETIMEDOUT);
	return 1;
}

static void kthread_event_fd__readable_until_the_token_is_taken(void **state)
{
	struct subject subject = {0};
	struct kthread *k = kthread_run(steps, &subject, "steps");

	for (int i = 0; i < 3; i++) {
		AWAIT_DONE(&subject.ready);
		kthread_wake(k);
		if (i == 1)
			kthread_wake(k);
		kthread_complete(&subject.go);
	}
	AWAIT(task_gone(kthread_tid(k)));
	assert_int_equal(kthread_stop(k), 1);
}

static int waits_for_go(void *data)
{
	struct subject *subject = data;

	kthread_complete(&subject->ready);
	kthread_wait_for_completion(&subject->go);
	return 2;
}

static void kthread_event_fd__is_one_and_closed_on_exec(void **state)
{
	struct subject subject = {0};
	struct kthread *k = kthread_run(waits_for_go, &subject, "one");
	const int fd = kthread_event_fd(k);

	assert_true(fd >= 0);
	assert_int_equal(kthread_event_fd(k), fd);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	AWAIT_DONE(&subject.ready);
	kthread_complete(&subject.go);
	kthread_stop(k);
	assert_int_equal(fcntl(fd, F_GETFD), -1); /* it was the handle's */
}

static void kthread_event_fd__asked_before_it_was_made(void **state)
{
	struct subject subject = {0};
	struct kthread *k = kthread_run(waits_for_go, &subject, "late");

	AWAIT_DONE(&subject.ready);
	kthread_wake(k);
	assert_true(readable(kthread_event_fd(k)));
	kthread_complete(&subject.go);
	kthread_stop(k);
}

static void *stop_it(void *arg)
{
	CHECK(kthread_stop(arg) == 2);
	return NULL;
}

static void *park_it(void *arg)
{
	CHECK(kthread_park(arg) == -ENOSYS);
	return NULL;
}

static void assert_readable_by(void *(*request)(void *))
{
	struct subject subject = {0};
	struct kthread *k = kthread_run(waits_for_go, &subject, "asked");
	struct pollfd poller = {.fd = kthread_event_fd(k), .events = POLLIN};
	pthread_t thread;

	AWAIT_DONE(&subject.ready);
	assert_false(readable(poller.fd));
	kthread_get(k);
	assert_int_equal(pthread_create(&thread, NULL, request, k), 0);
	assert_int_equal(poll(&poller, 1, 30000), 1);
	kthread_complete(&subject.go);
	pthread_join(thread, NULL);
	if (request == stop_it)
		kthread_put(k);
	else
		assert_int_equal(kthread_stop_put(k), 2);
}

static void kthread_event_fd__stop_makes_it_readable(void **state)
{
	assert_readable_by(stop_it);
}

static void kthread_event_fd__park_makes_it_readable(void **state)
{
	assert_readable_by(park_it);
}

/*
 * A poll loop of its own, written as the header invites to: sleep in epoll, take the token, look what there is. It may
 * neither miss a request nor spin: each way round is owed to a request, but for a few.
 */
static int loops(void *data)
{
	struct subject *subject = data;
	const int epoll = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = {.events = EPOLLIN};

	CHECK(epoll >= 0);
	CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, kthread_event_fd(kthread_self()), &event) == 0);
	kthread_complete(&subject->ready);
	while (!kthread_should_stop()) {
		CHECK(epoll_wait(epoll, &event, 1, -1) == 1 || errno == EINTR);
		atomic_fetch_add(&subject->loops, 1);
		if (subject->how == 1 && kthread_should_park()) { /* parks before it takes the token */
			kthread_parkme();
			atomic_fetch_add(&subject->parks, 1);
		}
		if (kthread_wait_for(0) != 0 && subject->how == 2)
			continue;            /* no token, nothing to do */
		if (kthread_should_park()) { /* after, in any case: a request may have come with the token */
			kthread_parkme();
			atomic_fetch_add(&subject->parks, 1);
		}
		atomic_store(&subject->handled, atomic_load(&subject->requests));
	}
	close(epoll);
	return 3;
}

static void *wakes_and_awaits(void *arg)
{
	struct kthread *k = arg;
	struct subject *subject = kthread_data(k);

	for (int i = 0; i < 5000; i++) {
		const unsigned long mine = atomic_fetch_add(&subject->requests, 1) + 1;

		kthread_wake(k);
		if (i % 4 == 0)
			AWAIT(atomic_load(&subject->handled) >= mine);
	}
	return NULL;
}

static void kthread_event_fd__epoll_loop_misses_no_wake(void **state)
{
	struct subject subject = {.how = 2};
	struct kthread *k = kthread_run(loops, &subject, "loop");
	pthread_t threads[3];

	AWAIT_DONE(&subject.ready);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, wakes_and_awaits, k), 0);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	await_settled(kthread_tid(k));
	assert_int_equal(kthread_stop(k), 3);
	/* a wake, and a look that came too late for its token */
	assert_true(atomic_load(&subject.loops) <= 2 * 15000 + 2);
}

static void kthread_event_fd__epoll_loop_sleeps_after_a_park(void **state)
{
	for (int how = 0; how < 2; how++) {
		struct subject subject = {.how = how};
		struct kthread *k = kthread_run(loops, &subject, "loop");
		unsigned long loops_then;

		AWAIT_DONE(&subject.ready);
		for (unsigned long i = 0; i < 200; i++) {
			assert_int_equal(kthread_park(k), 0);
			if (i % 2)
				await_settled(kthread_tid(k));
			kthread_unpark(k);
			AWAIT(atomic_load(&subject.parks) > i);
		}
		await_settled(kthread_tid(k));
		loops_then = atomic_load(&subject.loops);
		for (int i = 0; i < 100; i++)
			sched_yield();
		assert_int_equal(atomic_load(&subject.loops), loops_then);
		assert_int_equal(kthread_stop(k), 3);
	}
}

static void kthread_event_fd__placement_does_not_make_it_readable(void **state)
{
	struct subject subject = {0};
	struct kthread *k = kthread_run(loops, &subject, "loop");
	unsigned long loops_then;
	cpu_set_t one;

	AWAIT_DONE(&subject.ready);
	await_settled(kthread_tid(k));
	loops_then = atomic_load(&subject.loops);
	CPU_ZERO(&one);
	assert_int_equal(kthread_cpus(KTHREAD_CPUS_USABLE, sizeof(one), &one), 0);
	for (size_t cpu = 0, kept = 0; cpu < CPU_SETSIZE; cpu++) {
		if (CPU_ISSET(cpu, &one) && kept++)
			CPU_CLR(cpu, &one);
	}
	assert_int_equal(kthread_housekeeping_set(sizeof(one), &one), 0);
	assert_int_equal(kthread_housekeeping_set(0, NULL), 0);
	assert_int_equal(kthread_rescan(), 0);
	await_settled(kthread_tid(k));
	assert_int_equal(atomic_load(&subject.loops), loops_then);
	assert_int_equal(kthread_stop(k), 3);
}

static void kthread_event_fd__has_ended(void **state)
{
	for (int has_one = 0; has_one < 2; has_one++) {
		struct kthread *k = kthread_get(kthread_create(waits_for_go, NULL, "ended"));

		if (has_one)
			assert_true(kthread_event_fd(k) >= 0);
		assert_int_equal(kthread_stop(k), -EINTR);
		assert_int_equal(kthread_event_fd(k), -ESRCH);
		kthread_put(k);
	}
	assert_int_equal(kthread_event_fd(NULL), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(kthread_event_fd__readable_until_the_token_is_taken),
	    cmocka_unit_test(kthread_event_fd__is_one_and_closed_on_exec),
	    cmocka_unit_test(kthread_event_fd__asked_before_it_was_made),
	    cmocka_unit_test(kthread_event_fd__stop_makes_it_readable),
	    cmocka_unit_test(kthread_event_fd__park_makes_it_readable),
	    cmocka_unit_test(kthread_event_fd__epoll_loop_misses_no_wake),
	    cmocka_unit_test(kthread_event_fd__epoll_loop_sleeps_after_a_park),
	    cmocka_unit_test(kthread_event_fd__placement_does_not_make_it_readable),
	    cmocka_unit_test(kthread_event_fd__has_ended),
	};

	return cmocka_run_group_tests(tests, NULL, fini_finds_nothing);
}

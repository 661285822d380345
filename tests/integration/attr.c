/* SPDX-License-Identifier: MIT */
/*
 * kthread_create_attr: every field, good and bad, and structs from the past and the future.
 */
#include <limits.h>
#include <sys/resource.h>

#include "await.h"

struct seen {
	size_t stack_size;
	int policy;
	int priority;
	int nice;
};

static int look(void *data)
{
	struct seen *seen = data;
	struct sched_param param;
	pthread_attr_t attr;

	CHECK(pthread_getattr_np(pthread_self(), &attr) == 0);
	pthread_attr_getstacksize(&attr, &seen->stack_size);
	pthread_attr_destroy(&attr);
	seen->policy = sched_getscheduler(0);
	CHECK(sched_getparam(0, &param) == 0);
	seen->priority = param.sched_priority;
	seen->nice = getpriority(PRIO_PROCESS, 0);
	return 0;
}

static struct seen seen_with(const struct kthread_attr *attr)
{
	struct seen seen = {0};
	struct kthread *k = kthread_create_attr(attr, look, &seen, "looks");

	assert_non_null(k);
	kthread_wake(k);
	AWAIT(task_gone(kthread_tid(k)));
	assert_int_equal(kthread_stop(k), 0);
	return seen;
}

static void assert_refused(const struct kthread_attr *attr, int error)
{
	errno = 0;
	assert_null(kthread_create_attr(attr, look, NULL, "refused"));
	assert_int_equal(errno, error);
}

static void kthread_create_attr__defaults(void **state)
{
	struct kthread_attr attr = KTHREAD_ATTR_INIT;
	const struct seen seen = seen_with(&attr);

	assert_int_equal(seen.policy, SCHED_OTHER);
	assert_int_equal(seen.priority, 0);
	assert_int_equal(seen.nice, 0);
}

static void kthread_create_attr__stack_size(void **state)
{
	static const size_t too_small[] = {1, 4096};
	struct kthread_attr attr = KTHREAD_ATTR_INIT;

	for (size_t i = 0; i < 2; i++) {
		attr.stack_size = too_small[i];
		assert_refused(&attr, EINVAL);
	}
	attr.stack_size = (size_t)PTHREAD_STACK_MIN - 1;
	assert_refused(&attr, EINVAL);
	attr.stack_size = 3u << 20;
	{
		const struct seen seen = seen_with(&attr);

		/* the C library takes its guard from it; it may give the larger stack of an ended thread */
		assert_true(seen.stack_size >= (3u << 20) - 65536);
	}
}

static void kthread_create_attr__stack_beyond_memory(void **state)
{
	struct kthread_attr attr = KTHREAD_ATTR_INIT;

	attr.stack_size = (size_t)1 << 50;
	errno = 0;
	assert_null(kthread_create_attr(&attr, look, NULL, "refused"));
	assert_true(errno == ENOMEM || errno == EAGAIN);
}

static void kthread_create_attr__node(void **state)
{
	static const int bad[] = {-2, INT_MIN, 100000, INT_MAX};
	struct kthread_attr attr = KTHREAD_ATTR_INIT;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		attr.node = bad[i];
		assert_refused(&attr, EINVAL);
	}
}

static void kthread_create_attr__policy(void **state)
{
	struct kthread_attr attr = KTHREAD_ATTR_INIT;

	attr.sched_policy = SCHED_BATCH;
	assert_int_equal(seen_with(&attr).policy, SCHED_BATCH);
	attr.sched_policy = SCHED_IDLE;
	assert_int_equal(seen_with(&attr).policy, SCHED_IDLE);
	attr.sched_policy = 77;
	assert_refused(&attr, EINVAL);
	attr.sched_policy = -1;
	assert_refused(&attr, EINVAL);
}

static void kthread_create_attr__priority_out_of_the_policys_range(void **state)
{
	static const struct {
		int policy;
		int priority;
	} bad[] = {{SCHED_OTHER, 1},  {SCHED_BATCH, 1}, {SCHED_OTHER, -1}, {SCHED_FIFO, 0},
	           {SCHED_FIFO, 100}, {SCHED_RR, 0},    {SCHED_RR, -5},    {SCHED_RR, INT_MAX}};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct kthread_attr attr = KTHREAD_ATTR_INIT;

		attr.sched_policy = bad[i].policy;
		attr.sched_priority = bad[i].priority;
		assert_refused(&attr, EINVAL);
	}
}

static void kthread_create_attr__real_time(void **state)
{
	const struct sched_param param = {.sched_priority = 2};
	struct sched_param old;
	const int policy = sched_getscheduler(0);
	struct kthread_attr attr = KTHREAD_ATTR_INIT;
	struct seen seen;

	sched_getparam(0, &old);
	if (sched_setscheduler(0, SCHED_RR, &param) != 0)
		skip(); /* the next case has the refusal */
	sched_setscheduler(0, policy, &old);
	attr.sched_policy = SCHED_FIFO;
	attr.sched_priority = 3;
	seen = seen_with(&attr);
	assert_int_equal(seen.policy, SCHED_FIFO);
	assert_int_equal(seen.priority, 3);
	attr.sched_policy = SCHED_RR;
	attr.sched_priority = 1;
	seen = seen_with(&attr);
	assert_int_equal(seen.policy, SCHED_RR);
	assert_int_equal(seen.priority, 1);
}

static int as_nobody(void *arg)
{
	const struct rlimit none = {0, 0};
	struct kthread_attr attr = KTHREAD_ATTR_INIT;
	struct kthread *k;
	long long threads;

	(void)arg;
	EXPECT(setrlimit(RLIMIT_RTPRIO, &none) == 0 && setrlimit(RLIMIT_NICE, &none) == 0);
	EXPECT(getuid() != 0 || setuid(64999) == 0);
	threads = tasks_before();
	EXPECT(kthread_init(NULL) == 0);
	attr.sched_policy = SCHED_FIFO;
	attr.sched_priority = 1;
	errno = 0;
	EXPECT(!kthread_create_attr(&attr, look, NULL, "refused") && errno == EPERM);
	attr.sched_policy = SCHED_OTHER;
	attr.sched_priority = 0;
	attr.nice = -5;
	errno = 0;
	EXPECT(!kthread_create_attr(&attr, look, NULL, "refused") && errno == EPERM);
	AWAIT(tasks() <= threads + 1); /* but for the monitor nobody is left */
	attr.nice = 5;
	k = kthread_create_attr(&attr, result_only, AS_DATA(1), "granted");
	EXPECT(k);
	EXPECT(getpriority(PRIO_PROCESS, (id_t)kthread_tid(k)) == 5);
	EXPECT(kthread_stop(k) == -EINTR);
	/* its creator's nice value is more than it may leave: it lives with that */
	EXPECT(setpriority(PRIO_PROCESS, 0, 3) == 0);
	k = kthread_create(result_only, AS_DATA(1), "nicer than asked for");
	EXPECT(k);
	EXPECT(kthread_stop(k) == -EINTR);
	EXPECT(kthread_fini() == 0);
	return 0;
}

static void kthread_create_attr__without_the_right(void **state)
{
	assert_int_equal(in_child(as_nobody, NULL), 0);
}

static void kthread_create_attr__nice(void **state)
{
	static const int bad[] = {-21, 20, INT_MIN, INT_MAX};
	struct kthread_attr attr = KTHREAD_ATTR_INIT;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		attr.nice = bad[i];
		assert_refused(&attr, EINVAL);
	}
	attr.nice = 19;
	assert_int_equal(seen_with(&attr).nice, 19);
	attr.nice = 1;
	assert_int_equal(seen_with(&attr).nice, 1);
}

static void kthread_create_attr__unknown_flags(void **state)
{
	struct kthread_attr attr = KTHREAD_ATTR_INIT;

	attr.flags = ~KTHREAD_INTERRUPT;
	assert_refused(&attr, EINVAL);
	attr.flags = 2;
	assert_refused(&attr, EINVAL);
	attr.flags = 0;
	attr.interrupt_signal = SIGUSR1; /* of no use without the flag */
	assert_refused(&attr, EINVAL);
}

static void kthread_create_attr__sizes_of_the_past_and_the_future(void **state)
{
	struct {
		struct kthread_attr attr;
		unsigned char future[40];
	} long_one = {KTHREAD_ATTR_INIT, {0}};
	struct kthread_attr attr = KTHREAD_ATTR_INIT;

	attr.size = 0;
	assert_refused(&attr, EINVAL);
	attr.size = sizeof(size_t);
	assert_refused(&attr, EINVAL);
	attr.size = sizeof(attr) - 1;
	assert_refused(&attr, EINVAL);

	long_one.attr.size = sizeof(long_one);
	long_one.attr.nice = 2;
	assert_int_equal(seen_with(&long_one.attr).nice, 2);
	long_one.future[39] = 1;
	assert_refused(&long_one.attr, E2BIG);
	long_one.future[39] = 0;
	long_one.future[0] = 1;
	assert_refused(&long_one.attr, E2BIG);
	long_one.attr.size = sizeof(struct kthread_attr); /* not looked at */
	assert_int_equal(seen_with(&long_one.attr).nice, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    /* first: ThreadSanitizer cannot start threads in a child whose parent has had some */
	    cmocka_unit_test(kthread_create_attr__without_the_right),
	    cmocka_unit_test(kthread_create_attr__defaults),
	    cmocka_unit_test(kthread_create_attr__stack_size),
	    cmocka_unit_test(kthread_create_attr__stack_beyond_memory),
	    cmocka_unit_test(kthread_create_attr__node),
	    cmocka_unit_test(kthread_create_attr__policy),
	    cmocka_unit_test(kthread_create_attr__priority_out_of_the_policys_range),
	    cmocka_unit_test(kthread_create_attr__real_time),
	    cmocka_unit_test(kthread_create_attr__nice),
	    cmocka_unit_test(kthread_create_attr__unknown_flags),
	    cmocka_unit_test(kthread_create_attr__sizes_of_the_past_and_the_future),
	};

	return cmocka_run_group_tests(tests, NULL, fini_finds_nothing);
}

/* A child of ours starts threads, although there were some before the fork. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "die_after_fork=0";
}

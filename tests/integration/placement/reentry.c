/* SPDX-License-Identifier: MIT */
/*
 * What might lock up: a log function that calls the library, from the caller of a look and from the monitor; fork()
 * during looks; an end of the library while somebody is left.
 */
#include <pthread.h>

#include "sim.h"

static struct {
	atomic_int calls, rescans, creations;
	atomic_int depth;
	atomic_bool quiet; /* the library is about to end: no calls any more */
	pid_t main;
	atomic_int by_others;
} logged;

static int count_them(const struct kthread *k, void *arg)
{
	++*(int *)arg;
	return 0;
}

/* Everything a log function may think of. */
static void calls_the_library(int level, const char *message, void *arg)
{
	cpu_set_t set;
	struct kthread *k;
	int count = 0;
	int error;

	sim_log(level, message, arg);
	atomic_fetch_add(&logged.calls, 1);
	if (gettid() != logged.main)
		atomic_fetch_add(&logged.by_others, 1);
	if (atomic_fetch_add(&logged.depth, 1) > 0 || atomic_load(&logged.quiet)) {
		atomic_fetch_sub(&logged.depth, 1);
		return;
	}
	error = kthread_rescan();
	CHECK(error == 0 || error == -EDEADLK);
	atomic_fetch_add(&logged.rescans, 1);
	CHECK(kthread_init(NULL) == -EALREADY);
	error = kthread_fini();
	CHECK(error == -EDEADLK || error == -EBUSY);
	CPU_ZERO(&set);
	CPU_SET(0, &set);
	error = kthread_housekeeping_set(sizeof(set), &set);
	CHECK(error == 0 || error == -EINVAL);
	CHECK(kthread_housekeeping_set(0, NULL) == 0);
	CHECK(kthread_cpus(KTHREAD_CPUS_USABLE, sizeof(set), &set) == 0);
	CHECK(kthread_generation() > 0 && kthread_setsize() > 0);
	CHECK(kthread_node_cpus(0, sizeof(set), &set) == 0);
	CHECK(kthread_for_each(count_them, &count) == 0 && count > 0);
	k = kthread_run_on_cpu(obedient, NULL, 3, "from the log/%u");
	CHECK(k);
	CHECK(kthread_park(k) == 0);
	CHECK(kthread_bind(k, 5) == 0);
	kthread_unpark(k);
	error = kthread_stop(k);
	CHECK(error == 0 || error == -EINTR);
	atomic_fetch_add(&logged.creations, 1);
	atomic_fetch_sub(&logged.depth, 1);
}

static void log_function__calls_the_library(void **state)
{
	for (int poll = 0; poll < 2; poll++) {
		struct kthread_config config = sim_config();
		struct kthread *k;

		memset(&logged, 0, sizeof(logged));
		logged.main = gettid();
		config.log = calls_the_library;
		config.poll_ms = poll ? 1 : 0;
		sim_start(&config);
		k = kthread_run_on_cpu(obedient, AS_DATA(1), 3, "bound/%u");
		AWAIT(state_of(k) == KTHREAD_WAITING);
		for (int i = 0; i < 20; i++) {
			sim_online(i % 2 ? 0xff : 0xf7);
			if (!poll)
				assert_int_equal(kthread_rescan(), 0);
			AWAIT(kthread_is_broken(k) == !(i % 2));
			AWAIT(atomic_load(&logged.creations) > i / 2);
		}
		assert_true(poll ? atomic_load(&logged.by_others) > 0 : atomic_load(&logged.calls) >= 20);
		atomic_store(&logged.quiet, true);
		AWAIT(atomic_load(&logged.depth) == 0); /* the monitor may be in there right now */
		assert_int_equal(kthread_stop(k), 1);
		sim_stop();
	}
}

/* ---- fork() ------------------------------------------------------------------------------------------------------ */

static atomic_bool enough;

static void *looks(void *arg)
{
	unsigned int turn = 0;

	while (!atomic_load(&enough)) {
		cpu_set_t set;

		CPU_ZERO(&set);
		CPU_SET(++turn % 8, &set);
		CHECK(kthread_rescan() == 0);
		CHECK(kthread_housekeeping_set(sizeof(set), &set) == 0);
	}
	return NULL;
}

static void *creates(void *arg)
{
	while (!atomic_load(&enough)) {
		struct kthread *k = kthread_run_on_cpu(obedient, NULL, 3, "short/%u");
		int result;

		CHECK(k);
		result = kthread_stop(k);
		CHECK(result == 0 || result == -EINTR);
	}
	return NULL;
}

static void *adopts(void *arg)
{
	while (!atomic_load(&enough)) {
		struct kthread *k = kthread_adopt("short");

		CHECK(k);
		CHECK(kthread_unadopt(k) == 0);
	}
	return NULL;
}

static struct kthread *of_parent;

/* Threads of its own in the child; ThreadSanitizer knows none after the fork of a threaded process. */
static int threads_in_the_child(void)
{
#ifndef __SANITIZE_THREAD__
	struct kthread *k = kthread_run_on_cpu(obedient, AS_DATA(6), 3, "child/%u");

	EXPECT(k);
	AWAIT(state_of(k) == KTHREAD_WAITING);
	EXPECT(kthread_rescan() == 0);
	EXPECT(sim_mask(k, KTHREAD_MASK_EFFECTIVE) == 8);
	EXPECT(kthread_stop(k) == 6);
	k = kthread_adopt("child");
	EXPECT(k && kthread_unadopt(k) == 0);
#endif
	return 0;
}

static int in_the_child(void *arg)
{
	struct kthread_config config = sim_config();
	cpu_set_t set;

	EXPECT(kthread_rescan() == -ECHILD);
	EXPECT(kthread_housekeeping_set(0, NULL) == -ECHILD);
	EXPECT(kthread_cpus(KTHREAD_CPUS_ONLINE, sizeof(set), &set) == -ECHILD);
	EXPECT(kthread_generation() == 0 && kthread_setsize() == 0);
	EXPECT(kthread_bind(of_parent, 1) == -ECHILD);
	EXPECT(kthread_get_mask(of_parent, KTHREAD_MASK_WISH, sizeof(set), &set) == -ECHILD);
	EXPECT(!kthread_is_broken(of_parent) && !kthread_is_per_cpu(of_parent));
	EXPECT(!kthread_adopt("x") && errno == ECHILD);
	EXPECT(kthread_fini() == -ECHILD);
	EXPECT(kthread_stop(of_parent) == -ECHILD);
	config.root = sim.root;
	EXPECT(kthread_init(&config) == 0);
	EXPECT(sim_cpus(KTHREAD_CPUS_POSSIBLE) == 0xff);
	EXPECT(threads_in_the_child() == 0);
	return kthread_fini();
}

static void fork__during_looks_creations_and_adoptions(void **state)
{
	void *(*const functions[])(void *) = {looks, creates, adopts};
	struct kthread_config config = sim_config();
	pthread_t threads[3];

#ifdef __SANITIZE_ADDRESS__
	skip(); /* its allocator's locks are not made whole in a child */
#endif
	config.poll_ms = 1;
	sim_start(&config);
	atomic_store(&enough, false);
	of_parent = kthread_run(obedient, AS_DATA(2), "parent");
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, functions[i], NULL), 0);
	for (int i = 0; i < 40; i++)
		assert_int_equal(in_child(in_the_child, NULL), 0);
	atomic_store(&enough, true);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	AWAIT(state_of(of_parent) == KTHREAD_WAITING);
	assert_int_equal(kthread_stop(of_parent), 2);
	sim_stop();
}

static struct {
	struct kthread_completion inside;
	atomic_bool ending, done;
	bool child_returns; /* from the log function, and so into the library */
	int status;
} forker;

/* When such a child ends, its parent's stacks, which hold pointers, are not there. */
static atomic_bool leaks_are_none;

int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
	return atomic_load(&leaks_are_none);
}

/* In the monitor, while kthread_fini() waits for it. */
static void forks(int level, const char *message, void *arg)
{
	pid_t pid;

	if (gettid() == logged.main || atomic_exchange(&forker.done, true))
		return;
	kthread_complete(&forker.inside);
	AWAIT(atomic_load(&forker.ending));
	await_settled(logged.main);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		if (!forker.child_returns)
			_exit(kthread_rescan() == -ECHILD ? 7 : 1);
		atomic_store(&leaks_are_none, true);
		return;
	}
	CHECK(waitpid(pid, &forker.status, 0) == pid);
}

static void kthread_fini__log_function_forks(void **state)
{
	for (int returns = 0; returns < 2; returns++) {
		struct kthread_config config = sim_config();

		memset(&forker, 0, sizeof(forker));
		forker.child_returns = returns;
		logged.main = gettid();
		config.log = forks;
		config.poll_ms = 1;
		sim_start(&config);
		kthread_stop(kthread_run(obedient, NULL, "starts the monitor"));
		sim_remove("sys/devices/system/cpu"); /* which is news */
		AWAIT_DONE(&forker.inside);
		atomic_store(&forker.ending, true);
		sim_stop();
		/* the monitor was the child's only thread: with it, the child ends */
		assert_true(WIFEXITED(forker.status));
		assert_int_equal(WEXITSTATUS(forker.status), returns ? 0 : 7);
	}
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

static void kthread_fini__somebody_is_left(void **state)
{
	struct kthread *k;

	sim_start(NULL);
	k = kthread_adopt("me");
	assert_int_equal(kthread_fini(), -EBUSY);
	assert_placed(k, KTHREAD_WISH_NONE, 0); /* nothing was taken away */
	assert_int_equal(kthread_unadopt(k), 0);
	k = kthread_create(obedient, NULL, "created");
	assert_int_equal(kthread_fini(), -EBUSY);
	assert_int_equal(kthread_bind(k, 3), 0);
	sim_online(0xf7);
	assert_int_equal(kthread_rescan(), 0);
	assert_placed(k, KTHREAD_WISH_BOUND, 8);
	assert_int_equal(kthread_stop(k), -EINTR);
	sim_stop();
	assert_int_equal(kthread_fini(), 0);
}

static void kthread_init__many_lives(void **state)
{
	for (int i = 0; i < 30; i++) {
		struct kthread_config config = sim_config();
		struct kthread *k;

		config.poll_ms = 1;
		config.inotify = true;
		config.uevents = true;
		sim_start(&config);
		k = kthread_run_on_cpu(obedient, NULL, 3, "bound/%u");
		assert_placed(k, KTHREAD_WISH_BOUND, 8);
		kthread_stop(k);
		sim_stop();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(log_function__calls_the_library),
	    cmocka_unit_test(fork__during_looks_creations_and_adoptions),
	    cmocka_unit_test(kthread_fini__log_function_forks),
	    cmocka_unit_test(kthread_fini__somebody_is_left),
	    cmocka_unit_test(kthread_init__many_lives),
	};

	return cmocka_run_group_tests(tests, NULL, fini_finds_nothing);
}

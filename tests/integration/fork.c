/* SPDX-License-Identifier: MIT */
/*
 * fork(): the child has no kthreads. Every call there answers -ECHILD (or NULL, or false), nothing hangs, and the child
 * may start anew.
 */
#include "await.h"

/* A child of ours starts threads, although there were some before the fork. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "die_after_fork=0:atexit_sleep_ms=0";
}

/* Nor does a child look for leaks when it ends by exit(): its parent's stacks, which hold pointers, are not there. */
static int in_forked_child;

int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
	return in_forked_child;
}

/*
 * AddressSanitizer's allocator does not hold its locks across fork(): a child may find one taken for ever.
 * ThreadSanitizer takes a new thread of the child for one of its parent's.
 */
#ifdef __has_feature
#define ALLOCATOR_HANGS_AFTER_FORK __has_feature(address_sanitizer)
#define NO_THREADS_AFTER_FORK __has_feature(thread_sanitizer)
#else
#define ALLOCATOR_HANGS_AFTER_FORK 0
#define NO_THREADS_AFTER_FORK 0
#endif
#ifdef __SANITIZE_ADDRESS__
#undef ALLOCATOR_HANGS_AFTER_FORK
#define ALLOCATOR_HANGS_AFTER_FORK 1
#endif
#ifdef __SANITIZE_THREAD__
#undef NO_THREADS_AFTER_FORK
#define NO_THREADS_AFTER_FORK 1
#endif

struct handles {
	struct kthread *created;
	struct kthread *running;
	struct kthread *parked;
	struct kthread *ended;
	struct kthread *adopted;
};

static struct handles handles_make(void)
{
	struct kthread_config config = KTHREAD_CONFIG_INIT;
	struct handles h;

	config.poll_ms = 0; /* nobody works while the test forks */
	(void)kthread_init(&config);
	h = (struct handles){
	    .created = kthread_create(obedient, AS_DATA(1), "created"),
	    .running = kthread_run(obedient, AS_DATA(2), "running"),
	    .parked = kthread_run(obedient, AS_DATA(3), "parked"),
	    .ended = kthread_run(result_only, AS_DATA(4), "ended"),
	    .adopted = kthread_adopt("adopted"),
	};

	assert_non_null(h.adopted);
	await_waiting(h.running);
	await_waiting(h.parked);
	assert_int_equal(kthread_park(h.parked), 0);
	AWAIT(task_gone(kthread_tid(h.ended)));
	return h;
}

/* The parent's threads have not noticed anything. */
static void handles_end(const struct handles *h)
{
	assert_int_equal(kthread_unadopt(h->adopted), 0);
	kthread_unpark(h->parked);
	await_waiting(h->parked);
	assert_int_equal(kthread_stop(h->created), -EINTR);
	assert_int_equal(kthread_stop(h->running), 2);
	assert_int_equal(kthread_stop(h->parked), 3);
	assert_int_equal(kthread_stop(h->ended), 4);
}

#define EXPECT_ECHILD(call) EXPECT((call) == -ECHILD)
#define EXPECT_NULL_ECHILD(call) EXPECT((errno = 0, (call) == NULL) && errno == ECHILD)

static int expect_echild_of(struct kthread *k)
{
	cpu_set_t set;
	struct kthread_info info = {.size = sizeof(info)};

	EXPECT(!kthread_wake(k));
	EXPECT_ECHILD(kthread_park(k));
	kthread_unpark(k);
	EXPECT_ECHILD(kthread_event_fd(k));
	EXPECT_ECHILD(kthread_tid(k));
	EXPECT_ECHILD(kthread_bind(k, 0));
	CPU_ZERO(&set);
	CPU_SET(0, &set);
	EXPECT_ECHILD(kthread_bind_mask(k, sizeof(set), &set));
	EXPECT_ECHILD(kthread_affine_preferred(k, sizeof(set), &set));
	EXPECT_ECHILD(kthread_affine_node(k, 0));
	EXPECT_ECHILD(kthread_affine_reset(k));
	EXPECT_ECHILD(kthread_set_per_cpu(k, 0));
	EXPECT(!kthread_is_per_cpu(k));
	EXPECT_ECHILD(kthread_get_mask(k, KTHREAD_MASK_WISH, sizeof(set), &set));
	EXPECT_ECHILD(kthread_get_mask(k, KTHREAD_MASK_EFFECTIVE, sizeof(set), &set));
	EXPECT_ECHILD(kthread_get_mask(k, KTHREAD_MASK_ACTUAL, sizeof(set), &set));
	EXPECT(!kthread_is_broken(k));
	EXPECT_ECHILD(kthread_info(k, &info));
	return 0;
}

static int look_at_one(const struct kthread *k, void *arg)
{
	(void)k;
	(void)arg;
	return 1;
}

static int expect_echild_of_library(void)
{
	cpu_set_t set;

	EXPECT_ECHILD(kthread_wait());
	EXPECT_ECHILD(kthread_wait_for(0));
	EXPECT_NULL_ECHILD(kthread_create(result_only, NULL, "x"));
	EXPECT_NULL_ECHILD(kthread_create_on_node(result_only, NULL, 0, "x"));
	EXPECT_NULL_ECHILD(kthread_create_on_cpu(result_only, NULL, 0, "x/%u"));
	EXPECT_NULL_ECHILD(kthread_create_attr(&(const struct kthread_attr)KTHREAD_ATTR_INIT, result_only, NULL, "x"));
	EXPECT_NULL_ECHILD(kthread_run(result_only, NULL, "x"));
	EXPECT_NULL_ECHILD(kthread_run_on_cpu(result_only, NULL, 0, "x/%u"));
	EXPECT_NULL_ECHILD(kthread_adopt("x"));
	EXPECT_NULL_ECHILD(kthread_adopt_tid(getpid(), "x"));
	EXPECT_ECHILD(kthread_fini());
	EXPECT_ECHILD(kthread_rescan());
	EXPECT_ECHILD(kthread_cpus(KTHREAD_CPUS_ONLINE, sizeof(set), &set));
	EXPECT_ECHILD(kthread_node_cpus(0, sizeof(set), &set));
	EXPECT_ECHILD(kthread_cpu_node(0));
	EXPECT_ECHILD(kthread_housekeeping_set(0, NULL));
	EXPECT_ECHILD(kthread_for_each(look_at_one, NULL));
	EXPECT(kthread_setsize() == 0);
	EXPECT(kthread_generation() == 0);
	return 0;
}

static int expect_outside(void)
{
	struct kthread_completion done = KTHREAD_COMPLETION_INIT;

	EXPECT(kthread_self() == NULL);
	EXPECT(!kthread_should_stop() && !kthread_should_park() && !kthread_should_stop_or_park());
	EXPECT(!kthread_bound_should_stop());
	kthread_parkme();
	EXPECT(kthread_version() != NULL);
	kthread_complete(&done); /* needs nothing of the library's */
	EXPECT(kthread_wait_for_completion(&done) == 0);
	EXPECT(kthread_wait_for_completion_timeout(&done, 1) == -ETIMEDOUT);
	return 0;
}

static int everything_answers_echild(void *arg)
{
	const struct handles *h = arg;
	struct kthread *all[] = {h->created, h->running, h->parked, h->ended, h->adopted};

	for (size_t i = 0; i < 5; i++)
		EXPECT(expect_echild_of(all[i]) == 0);
	EXPECT(expect_echild_of_library() == 0);
	EXPECT(expect_outside() == 0);
	for (size_t i = 0; i < 5; i++) { /* what does not need the thread is still there */
		EXPECT(strlen(kthread_name(all[i])) > 0);
		kthread_put(kthread_get(all[i]));
	}
	EXPECT_ECHILD(kthread_stop(kthread_get(h->running)));
	EXPECT_ECHILD(kthread_stop_put(kthread_get(h->running))); /* its last two */
	EXPECT_ECHILD(kthread_stop(h->created));
	EXPECT_ECHILD(kthread_unadopt(h->adopted));
	EXPECT_ECHILD(kthread_stop(h->ended));
	kthread_put(h->parked);
	return 0;
}

static void fork__child_is_answered_echild_everywhere(void **state)
{
	struct handles h = handles_make();

	assert_int_equal(in_child(everything_answers_echild, &h), 0);
	handles_end(&h);
}

static int starts_anew(void *arg)
{
	const struct handles *h = arg;
	struct kthread *k;
	cpu_set_t usable;

	for (int round = 0; round < 3; round++) {
		EXPECT(kthread_init(NULL) == 0);
		EXPECT(kthread_init(NULL) == -EALREADY);
		EXPECT(kthread_cpus(KTHREAD_CPUS_USABLE, sizeof(usable), &usable) == 0);
		k = kthread_run(obedient, AS_DATA(77), "anew");
		EXPECT(k);
		await_waiting(k);
		EXPECT(kthread_park(k) == 0);
		EXPECT(kthread_fini() == -EBUSY);
		/* the parent's are still not ours */
		EXPECT(expect_echild_of(h->running) == 0);
		EXPECT(expect_echild_of(h->adopted) == 0);
		EXPECT(kthread_stop(k) == 77);
		k = kthread_adopt("adopted anew");
		EXPECT(k && kthread_self() == k);
		EXPECT(kthread_unadopt(k) == 0);
		EXPECT(kthread_rescan() == 0);
		EXPECT(kthread_fini() == 0);
	}
	return 0;
}

static void fork__child_starts_anew(void **state)
{
	struct handles h;

	if (NO_THREADS_AFTER_FORK)
		skip();
	h = handles_make();

	for (int i = 0; i < 5; i++)
		assert_int_equal(in_child(starts_anew, &h), 0);
	handles_end(&h);
}

static int forks_again(void *arg)
{
	EXPECT(kthread_init(NULL) == 0);
	EXPECT(in_child(starts_anew, arg) == 0);
	EXPECT(kthread_fini() == 0);
	return in_child(starts_anew, arg);
}

static void fork__child_of_a_child(void **state)
{
	struct handles h;

	if (NO_THREADS_AFTER_FORK)
		skip();
	h = handles_make();

	assert_int_equal(in_child(forks_again, &h), 0);
	handles_end(&h);
}

static int uses_it_first(void *arg)
{
	struct kthread *k = kthread_run(obedient, AS_DATA(5), "first");

	(void)arg;
	EXPECT(k);
	await_waiting(k);
	EXPECT(kthread_stop(k) == 5);
	return kthread_fini() == 0 ? 0 : 1;
}

static void fork__library_was_not_up(void **state)
{
	AWAIT(kthread_fini() == 0);
	assert_int_equal(in_child(uses_it_first, NULL), 0);
}

/* ---- a kthread forks ---------------------------------------------------------------------------------------------- */

struct forker {
	int how;
	int status;
	struct kthread_completion forked; /* waited for without an allocation: see ALLOCATOR_HANGS_AFTER_FORK */
	struct handles *handles;
};

static int forks_itself(void *data)
{
	struct forker *forker = data;
	const pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid == 0) {
		in_forked_child = 1;
		/* The child's only thread: nothing of ours may touch its former handle. */
		if (expect_outside() != 0)
			_exit(10);
		if (expect_echild_of_library() != 0)
			_exit(11);
		if (forker->how == 1)
			kthread_exit(3); /* outside: pthread_exit() of the last thread ends the process, with 0 */
		if (forker->how == 2 && starts_anew(forker->handles) != 0)
			_exit(12);
		return 5; /* the same */
	}
	CHECK(waitpid(pid, &forker->status, 0) == pid);
	kthread_complete(&forker->forked);
	return 6;
}

static void fork__by_a_kthread(void **state)
{
	struct handles h = handles_make();

	for (int i = 0; i < 30; i++) {
		struct forker forker = {.how = i % (NO_THREADS_AFTER_FORK ? 2 : 3), .handles = &h};
		struct kthread *k = kthread_run(forks_itself, &forker, "forker/%d", i);

		AWAIT_DONE(&forker.forked);
		assert_int_equal(kthread_stop(k), 6);
		assert_true(WIFEXITED(forker.status));
		assert_int_equal(WEXITSTATUS(forker.status), 0);
	}
	handles_end(&h);
}

/* ---- a storm ------------------------------------------------------------------------------------------------------ */

static atomic_bool storm_over;

static void *creates_and_stops(void *arg)
{
	struct kthread_attr attr = KTHREAD_ATTR_INIT;
	unsigned long rounds = 0;

	attr.flags = arg ? KTHREAD_INTERRUPT : 0;
	while (!atomic_load(&storm_over)) {
		struct kthread *k = kthread_create_attr(&attr, obedient, AS_DATA(7), "storm/%lu", rounds++);
		int result;

		CHECK(k != NULL);
		if (rounds % 5 == 0) {
			kthread_put(k); /* it ends by itself */
			continue;
		}
		kthread_wake(k);
		if (rounds % 3 == 0)
			CHECK(kthread_park(k) == 0);
		if (rounds % 7 == 0)
			kthread_event_fd(k);
		result = kthread_stop(k);
		CHECK(result == 7 || result == -EINTR);
	}
	return NULL;
}

static int detached(void *data)
{
	(void)data;
	return 0;
}

static void *changes_places(void *arg)
{
	struct kthread *k = kthread_create(detached, NULL, "moved");
	struct kthread *self = kthread_adopt("mover");

	(void)arg;
	CHECK(k != NULL && self != NULL);
	while (!atomic_load(&storm_over)) {
		CHECK(kthread_bind(k, 0) == 0);
		CHECK(kthread_affine_reset(k) == 0);
		CHECK(kthread_rescan() == 0);
	}
	CHECK(kthread_unadopt(self) == 0);
	CHECK(kthread_stop(k) == -EINTR);
	return NULL;
}

static int small_life(void *arg)
{
	struct kthread_attr attr = KTHREAD_ATTR_INIT;
	struct kthread *k;

	(void)arg;
	EXPECT_NULL_ECHILD(kthread_run(result_only, NULL, "x"));
	EXPECT(kthread_init(NULL) == 0);
	attr.flags = KTHREAD_INTERRUPT;
	k = kthread_create_attr(&attr, obedient, AS_DATA(1), "small");
	EXPECT(k);
	EXPECT(kthread_bind(k, 0) == 0);
	EXPECT(kthread_stop(k) == -EINTR);
	EXPECT(kthread_fini() == 0);
	return 0;
}

static void fork__while_threads_come_and_go(void **state)
{
	pthread_t threads[3];

	if (ALLOCATOR_HANGS_AFTER_FORK || NO_THREADS_AFTER_FORK)
		skip();
	atomic_store(&storm_over, false);
	assert_int_equal(pthread_create(&threads[0], NULL, creates_and_stops, NULL), 0);
	assert_int_equal(pthread_create(&threads[1], NULL, creates_and_stops, &storm_over), 0);
	assert_int_equal(pthread_create(&threads[2], NULL, changes_places, NULL), 0);
	for (int i = 0; i < 150; i++)
		assert_int_equal(in_child(small_life, NULL), 0);
	atomic_store(&storm_over, true);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	AWAIT(kthread_fini() == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(fork__library_was_not_up), cmocka_unit_test(fork__child_is_answered_echild_everywhere),
	    cmocka_unit_test(fork__child_starts_anew),  cmocka_unit_test(fork__child_of_a_child),
	    cmocka_unit_test(fork__by_a_kthread),       cmocka_unit_test(fork__while_threads_come_and_go),
	};

	return cmocka_run_group_tests(tests, NULL, fini_finds_nothing);
}

/* SPDX-License-Identifier: MIT */
/*
 * Running out of memory, threads and file descriptors at every step of kthread_init, kthread_create and kthread_adopt:
 * the right errno, nothing left behind, and what lived before lives on.
 *
 * Every allocation that the library itself asks for is refused once: the first, then the second, and so on until the
 * call succeeds. (LeakSanitizer, in its build, says whether one has been forgotten.)
 */
#include <limits.h>
#include <sys/resource.h>

#include "await.h"

/* ---- the seam ----------------------------------------------------------------------------------------------------- */

static _Thread_local int refuse_in; /* the how-manieth from now on is refused; 0 = none */
static _Thread_local int refused;

static bool is_refused(void)
{
	if (refuse_in == 0 || --refuse_in > 0)
		return false;
	refused++;
	errno = ENOMEM;
	return true;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
char *__real_strdup(const char *text);
int __real_vasprintf(char **ret, const char *format, va_list args);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg);

void *__wrap_malloc(size_t size)
{
	return is_refused() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return is_refused() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
	return is_refused() ? NULL : __real_realloc(old, size);
}

void *__real_aligned_alloc(size_t alignment, size_t size);

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
	return is_refused() ? NULL : __real_aligned_alloc(alignment, size);
}

char *__wrap_strdup(const char *text)
{
	return is_refused() ? NULL : __real_strdup(text);
}

int __wrap_vasprintf(char **ret, const char *format, va_list args)
{
	return is_refused() ? -1 : __real_vasprintf(ret, format, args);
}

static bool no_threads;

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
	return no_threads ? EAGAIN : __real_pthread_create(thread, attr, fn, arg);
}

/* ---- what has to live on ------------------------------------------------------------------------------------------ */

static struct kthread *survivor;
static long long threads_before;
static int fds_before;

static void assert_survivor(void)
{
	AWAIT(tasks() == threads_before);
	AWAIT(open_fds() == fds_before);
	assert_int_equal(kthread_park(survivor), 0);
	kthread_unpark(survivor);
}

static int with_survivor(void **state)
{
	struct kthread_config config = KTHREAD_CONFIG_INIT;

	(void)state;
	config.poll_ms = 0; /* the monitor opens files while it looks */
	config.uevents = false;
	config.inotify = false;
	if (kthread_init(&config) != 0)
		return -1;
	survivor = kthread_run(obedient, AS_DATA(1), "survivor");
	await_waiting(survivor);
	threads_before = tasks();
	fds_before = INT_MAX;
	for (int i = 0; i < 20;
	     i++) { /* without what the monitor's first look opens; with what every look keeps open */
		int now;

		if (kthread_rescan() != 0)
			return -1;
		now = open_fds();
		fds_before = now < fds_before ? now : fds_before;
	}
	return 0;
}

static int without_survivor(void **state)
{
	(void)state;
	refuse_in = 0;
	if (kthread_stop(survivor) != 1)
		return -1;
	return kthread_fini();
}

/* ---- memory ------------------------------------------------------------------------------------------------------- */

typedef struct kthread *(*creator_fn)(void);

static struct kthread *plainly(void)
{
	return kthread_create(result_only, NULL, "plain");
}

static struct kthread *on_cpu(void)
{
	return kthread_create_on_cpu(result_only, NULL, 0, "bound/%u");
}

static struct kthread *with_attr(void)
{
	struct kthread_attr attr = KTHREAD_ATTR_INIT;

	attr.flags = KTHREAD_INTERRUPT;
	attr.nice = 1;
	attr.stack_size = 1u << 20;
	return kthread_create_attr(&attr, result_only, NULL, "attr");
}

static struct kthread *running(void)
{
	return kthread_run(result_only, NULL, "running");
}

static struct kthread *adopted(void)
{
	return kthread_adopt("adopted");
}

static void give_up(struct kthread *k)
{
	if (kthread_stop(k) == -EOPNOTSUPP)
		kthread_unadopt(k);
}

static int refuse_each(creator_fn create, void (*check)(void))
{
	int steps = 0;

	for (;;) {
		struct kthread *k;

		refused = 0;
		refuse_in = ++steps;
		errno = 0;
		k = create();
		refuse_in = 0;
		if (k && !refused) {
			give_up(k);
			if (check)
				check();
			return steps - 1;
		}
		if (k) { /* it could do without */
			give_up(k);
		} else if (errno != ENOMEM) {
			fail_msg("refusal %d: errno %d", steps, errno);
		}
		assert_true(steps < 1000);
		if (check)
			check();
	}
}

static void kthread_create__no_memory_at_any_step(void **state)
{
	static const creator_fn creators[] = {plainly, on_cpu, with_attr, running, adopted};

	for (size_t i = 0; i < sizeof(creators) / sizeof(*creators); i++) {
		const int steps = refuse_each(creators[i], assert_survivor);

		assert_true(steps >= 2); /* a name and a handle at the least */
		print_message("%zu: %d allocations\n", i, steps);
	}
}

static struct kthread_worker *plain_worker(void)
{
	return kthread_create_worker(KTHREAD_WORKER_FREEZABLE, "worker/%d", 1);
}

static struct kthread_worker *worker_on_cpu(void)
{
	return kthread_run_worker_on_cpu(0, KTHREAD_WORKER_PER_CPU, "worker/%u");
}

/* The worker's own memory is asked for by the first one only: it is kept for the next. */
static void kthread_create_worker__no_memory_no_thread(void **state)
{
	struct kthread_worker *(*const creators[])(void) = {plain_worker, worker_on_cpu};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct kthread_worker *w = NULL;
		int steps = 0;

		do {
			kthread_destroy_worker(w);
			refused = 0;
			refuse_in = ++steps;
			errno = 0;
			w = creators[i]();
			refuse_in = 0;
			assert_true(w || errno == ENOMEM);
		} while (refused);
		assert_true(steps > 2);
		kthread_destroy_worker(w);
		no_threads = true;
		errno = 0;
		assert_null(creators[i]());
		assert_int_equal(errno, EAGAIN);
		no_threads = false;
		assert_survivor();
	}
}

/* The same when the library is not up: its start is part of it. */
static void kthread_create__no_memory_for_the_start(void **state)
{
	static const creator_fn creators[] = {plainly, on_cpu, adopted};
	const long long threads = tasks_before();
	const int fds = open_fds();

	for (size_t i = 0; i < sizeof(creators) / sizeof(*creators); i++) {
		for (int step = 1;; step++) {
			struct kthread *k;
			bool all;

			refused = 0;
			refuse_in = step;
			errno = 0;
			k = creators[i]();
			refuse_in = 0;
			all = k && !refused;
			if (k)
				give_up(k);
			else if (errno != ENOMEM)
				fail_msg("refusal %d: errno %d", step, errno);
			AWAIT(kthread_fini() == 0);
			AWAIT(tasks() == threads);
			assert_int_equal(open_fds(), fds);
			if (all)
				break;
		}
	}
}

static void kthread_init__no_memory_at_any_step(void **state)
{
	struct kthread_config config = KTHREAD_CONFIG_INIT;
	const int fds = open_fds();

	config.housekeeping = "all";
	config.root = "";
	for (int step = 1;; step++) {
		int error;

		refused = 0;
		refuse_in = step;
		error = kthread_init(&config);
		refuse_in = 0;
		if (error && error != -ENOMEM)
			fail_msg("refusal %d: %d", step, error);
		if (!error) {
			assert_int_equal(kthread_fini(), 0);
			assert_int_equal(open_fds(), fds);
			if (!refused)
				break;
			continue;
		}
		assert_int_equal(open_fds(), fds);
		assert_true(step < 1000);
	}
}

static void kthread_bind__no_memory_leaves_the_old_wish(void **state)
{
	struct kthread *k = kthread_create(result_only, NULL, "bound");
	cpu_set_t before;
	cpu_set_t now;

	assert_int_equal(kthread_get_mask(k, KTHREAD_MASK_WISH, sizeof(before), &before), 0);
	for (int step = 1;; step++) {
		int error;

		refused = 0;
		refuse_in = step;
		error = kthread_bind(k, 0);
		refuse_in = 0;
		if (!error)
			break;
		assert_int_equal(error, -ENOMEM);
		assert_int_equal(kthread_get_mask(k, KTHREAD_MASK_WISH, sizeof(now), &now), 0);
		assert_true(CPU_EQUAL(&before, &now));
	}
	assert_int_equal(kthread_stop(k), -EINTR);
	assert_survivor();
}

/* ---- file descriptors --------------------------------------------------------------------------------------------- */

static void kthread_event_fd__no_descriptors(void **state)
{
	struct rlimit old;
	struct rlimit none;
	struct kthread *k = kthread_create(result_only, NULL, "no fds");

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = old;
	none.rlim_cur = 0;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(kthread_event_fd(k), -EMFILE);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_true(kthread_event_fd(k) >= 0); /* the next time it may */
	assert_int_equal(kthread_stop(k), -EINTR);
	assert_survivor();
}

/* Started with few or no descriptors to have: it works, or says what is missing; it never takes something else. */
static void kthread_create__no_descriptors_for_the_start(void **state)
{
	const long long threads = tasks_before();
	const int fds = open_fds();
	struct rlimit old;
	int failed = 0;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	for (rlim_t room = 0; room < 12; room++) {
		struct rlimit few = old;
		struct kthread *k;
		int error;

		few.rlim_cur = (rlim_t)fds + room; /* descriptors are given out from the lowest */
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
		errno = 0;
		k = kthread_create(result_only, NULL, "few fds");
		error = errno;
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
		if (k) {
			assert_int_equal(kthread_stop(k), -EINTR);
		} else {
			failed++;
			assert_true(error == EMFILE || error == ENOMEM);
		}
		assert_int_equal(kthread_fini(), 0);
		AWAIT(tasks() == threads);
		assert_int_equal(open_fds(), fds);
	}
	print_message("refused with %d of 12 limits\n", failed);
}

/* ---- threads ------------------------------------------------------------------------------------------------------ */

static void kthread_create__no_threads(void **state)
{
	static const creator_fn creators[] = {plainly, on_cpu, with_attr, running};

	no_threads = true;
	for (size_t i = 0; i < sizeof(creators) / sizeof(*creators); i++) {
		errno = 0;
		assert_null(creators[i]());
		assert_int_equal(errno, EAGAIN);
		assert_survivor();
	}
	no_threads = false;
	give_up(plainly());
	assert_survivor();
}

static void kthread_create__no_threads_for_the_monitor(void **state)
{
	const long long threads = tasks_before();
	const int fds = open_fds();

	no_threads = true;
	for (int i = 0; i < 3; i++) {
		errno = 0;
		assert_null(plainly());
		assert_int_equal(errno, EAGAIN);
		errno = 0;
		assert_null(adopted());
		assert_int_equal(errno, EAGAIN);
	}
	no_threads = false;
	assert_int_equal(kthread_fini(), 0);
	assert_int_equal(tasks(), threads);
	assert_int_equal(open_fds(), fds);
	no_threads = true;
	assert_null(plainly());
	no_threads = false;
	give_up(plainly()); /* and now there are some */
	assert_int_equal(kthread_fini(), 0);
	assert_int_equal(open_fds(), fds);
}

/* The kernel's own refusal, in a process of a user who may have a few threads only. */
static int runs_out_of_threads(void *arg)
{
	const struct rlimit few = {12, 12};
	struct kthread *threads[16];
	int count = 0;

	(void)arg;
	EXPECT(setuid(1000000000 + (uid_t)getpid()) == 0); /* one of its own: the limit counts all of a user's */
	EXPECT(setrlimit(RLIMIT_NPROC, &few) == 0);
	EXPECT(kthread_init(NULL) == 0);
	while (count < 16) {
		errno = 0;
		threads[count] = kthread_run(obedient, AS_DATA(count), "few/%d", count);
		if (!threads[count])
			break;
		await_waiting(threads[count]);
		count++;
	}
	EXPECT(errno == EAGAIN);
	EXPECT(count >= 2 && count < 12);
	for (int i = 0; i < count; i++) {
		EXPECT(kthread_park(threads[i]) == 0);
		EXPECT(kthread_stop(threads[i]) == i);
	}
	threads[0] = kthread_run(obedient, AS_DATA(5), "room again");
	EXPECT(threads[0]);
	await_waiting(threads[0]);
	EXPECT(kthread_stop(threads[0]) == 5);
	EXPECT(kthread_fini() == 0);
	return 0;
}

static void kthread_create__rlimit_nproc(void **state)
{
	if (geteuid() != 0)
		skip(); /* who is not root may not become nobody; what he runs already would be counted, too */
	assert_int_equal(in_child(runs_out_of_threads, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(kthread_create__rlimit_nproc),
	    cmocka_unit_test(kthread_init__no_memory_at_any_step),
	    cmocka_unit_test(kthread_create__no_memory_for_the_start),
	    cmocka_unit_test(kthread_create__no_descriptors_for_the_start),
	    cmocka_unit_test(kthread_create__no_threads_for_the_monitor),
	    cmocka_unit_test_setup_teardown(kthread_create__no_memory_at_any_step, with_survivor, without_survivor),
	    cmocka_unit_test_setup_teardown(kthread_create_worker__no_memory_no_thread, with_survivor,
	                                    without_survivor),
	    cmocka_unit_test_setup_teardown(kthread_bind__no_memory_leaves_the_old_wish, with_survivor,
	                                    without_survivor),
	    cmocka_unit_test_setup_teardown(kthread_event_fd__no_descriptors, with_survivor, without_survivor),
	    cmocka_unit_test_setup_teardown(kthread_create__no_threads, with_survivor, without_survivor),
	};

	return cmocka_run_group_tests(tests, NULL, fini_finds_nothing);
}

const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "die_after_fork=0";
}

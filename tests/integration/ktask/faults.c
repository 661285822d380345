/* SPDX-License-Identifier: MIT */
/*
 * Without memory, without threads: the job is done all the same, by fewer or by its caller alone. And once everything is
 * there nothing is allocated for a job.
 */
#include "team.h"

/* ---- the seam ----------------------------------------------------------------------------------------------------- */

static _Thread_local int refuse_in; /* the how-manieth from now on is refused; 0 = none */
static _Thread_local int refused;
static atomic_bool no_threads;
static atomic_ulong allocations, creations;

static bool is_refused(void)
{
	atomic_fetch_add(&allocations, 1);
	if (refuse_in == 0 || --refuse_in > 0)
		return false;
	refused++;
	errno = ENOMEM;
	return true;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg);

void *__wrap_malloc(size_t size)
{
	return is_refused() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return is_refused() ? NULL : __real_calloc(count, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
	return is_refused() ? NULL : __real_aligned_alloc(alignment, size);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
	atomic_fetch_add(&creations, 1);
	return atomic_load(&no_threads) ? EAGAIN : __real_pthread_create(thread, attr, fn, arg);
}

/* ---- the job -------------------------------------------------------------------------------------------------------- */

struct sum {
	struct team team;
	atomic_size_t sum, undone;
	unsigned int wait_for;
	size_t fails_at;
	bool exits; /* there, instead of failing */
};

static int add_up(void *start, void *end, void *arg)
{
	struct sum *sum = arg;

	team_enter(&sum->team);
	AWAIT(team_count(&sum->team) >= sum->wait_for);
	team_leave(&sum->team);
	if (sum->fails_at >= NUMBER(start) && sum->fails_at < NUMBER(end)) {
		if (sum->exits)
			pthread_exit(NULL);
		return -5;
	}
	for (size_t i = NUMBER(start); i < NUMBER(end); i++)
		atomic_fetch_add(&sum->sum, i);
	return 0;
}

static void take_back(void *start, void *end, void *arg)
{
	for (size_t i = NUMBER(start); i < NUMBER(end); i++)
		atomic_fetch_add(&((struct sum *)arg)->undone, i);
}

#define UNITS 2000u

static int run_pieces(struct sum *sum, unsigned int wait_for, size_t fails_at)
{
	struct ktask_node pieces[] = {
	    {AT(0), 500, 0}, {AT(500), 500, 1}, {AT(1000), 500, 2}, {AT(1500), UNITS - 1500, 3}};
	DEFINE_KTASK_CTL(ctl, add_up, sum, 10);

	memset(sum, 0, sizeof(*sum));
	pthread_mutex_init(&sum->team.lock, NULL);
	sum->wait_for = wait_for;
	sum->fails_at = fails_at;
	ktask_ctl_set_undo_func(&ctl, take_back);
	return ktask_run_numa(pieces, 4, &ctl);
}

static void assert_done(int result, const struct sum *sum)
{
	assert_int_equal(result, 0);
	assert_int_equal(sum->sum, UNITS * (UNITS - 1) / 2);
	assert_int_equal(sum->undone, 0);
}

static struct sum sum;

/* The library is up and watches; only what ktask itself needs is missing. */
static void up(void)
{
	struct kthread *k;

	sim_start(NULL);
	k = kthread_run(result_only, NULL, "first");
	assert_non_null(k);
	kthread_stop(k);
}

static void run__no_memory_at_any_step(void **state)
{
	int step = 0;

	do {
		int result;

		up();
		refused = 0;
		refuse_in = ++step;
		result = run_pieces(&sum, 1, UNITS);
		refuse_in = 0;
		assert_done(result, &sum);
		/* and again, with memory */
		assert_done(run_pieces(&sum, 1, UNITS), &sum);
		sim_stop();
		assert_true(step < 1000);
	} while (refused);
	assert_true(step > 5);
	print_message("%d allocations\n", step - 1);
}

static void run__an_error_without_memory(void **state)
{
	for (int step = 1; step < 4; step++) {
		int result;

		up();
		refuse_in = step;
		result = run_pieces(&sum, 1, 1700);
		refuse_in = 0;
		assert_int_equal(result, -5);
		assert_int_equal(atomic_load(&sum.sum), atomic_load(&sum.undone));
		sim_stop();
	}
}

static void *exit_without_memory(void *arg)
{
	struct ktask_node pieces[] = {{AT(0), 500, 0}, {AT(500), 500, 1}, {AT(1000), 500, 2}};
	DEFINE_KTASK_CTL(ctl, add_up, arg, 10);

	ktask_ctl_set_undo_func(&ctl, take_back);
	refuse_in = 1;
	ktask_run_numa(pieces, 3, &ctl);
	return arg;
}

static void run__its_caller_ends_without_memory(void **state)
{
	pthread_t thread;
	void *result;

	up();
	memset(&sum, 0, sizeof(sum));
	pthread_mutex_init(&sum.team.lock, NULL);
	sum.fails_at = 1200;
	sum.exits = true;
	assert_int_equal(pthread_create(&thread, NULL, exit_without_memory, &sum), 0);
	pthread_join(thread, &result);
	assert_null(result);
	assert_true(atomic_load(&sum.sum) > 0);
	assert_int_equal(atomic_load(&sum.sum), atomic_load(&sum.undone));
	sim_stop();
}

static void run__no_more_threads_to_be_had(void **state)
{
	up();
	atomic_store(&no_threads, true);
	assert_done(run_pieces(&sum, 1, UNITS), &sum);
	assert_int_equal(team_count(&sum.team), 1);
	atomic_store(&no_threads, false);
	assert_done(run_pieces(&sum, 1, UNITS), &sum);
	sim_stop();
}

static void run__nothing_is_allocated_once_warm(void **state)
{
	unsigned long memory, threads;

	up();
	assert_done(run_pieces(&sum, 5, UNITS), &sum);
	memory = atomic_load(&allocations);
	threads = atomic_load(&creations);
	for (int i = 0; i < 200; i++) {
		assert_done(run_pieces(&sum, 1, UNITS), &sum);
		assert_int_equal(run_pieces(&sum, 1, (size_t)i * 10), -5);
		assert_int_equal(atomic_load(&sum.sum), atomic_load(&sum.undone));
	}
	/* Of 400 jobs: one more for each helper that is late to leave one, and each helper that was not needed before. */
	assert_true(atomic_load(&creations) - threads <= 8);
	assert_true(atomic_load(&allocations) - memory <= 40);
	sim_stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(run__no_memory_at_any_step),          cmocka_unit_test(run__an_error_without_memory),
	    cmocka_unit_test(run__its_caller_ends_without_memory), cmocka_unit_test(run__no_more_threads_to_be_had),
	    cmocka_unit_test(run__nothing_is_allocated_once_warm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

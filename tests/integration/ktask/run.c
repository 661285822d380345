/* SPDX-License-Identifier: MIT */
/*
 * ktask_run(), ktask_run_numa(): every unit once, by as many threads as may, in chunks that are aligned; iterators,
 * progress, nested and concurrent jobs; and what is refused.
 */
#include "team.h"

#define UNITS 4096u

/* ---- coverage ----------------------------------------------------------------------------------------------------- */

struct cover {
	struct team team;
	atomic_uchar *seen;
	size_t base, size, min_chunk;
	unsigned int wait_for; /* threads that have to be there before anybody goes on */
	atomic_size_t chunks;
};

static int cover(void *start, void *end, void *arg)
{
	struct cover *c = arg;
	const size_t from = NUMBER(start), to = NUMBER(end);

	CHECK(from >= c->base && from < to && to <= c->base + c->size);
	CHECK(from == c->base || from % c->min_chunk == 0);
	CHECK(to == c->base + c->size || to % c->min_chunk == 0);
	team_enter(&c->team);
	atomic_fetch_add(&c->chunks, 1);
	for (size_t i = from; i < to; i++)
		CHECK(atomic_fetch_add(&c->seen[i - c->base], 1) == 0);
	AWAIT(team_count(&c->team) >= c->wait_for);
	team_leave(&c->team);
	return 0;
}

static struct cover cover_new(size_t base, size_t size, size_t min_chunk, unsigned int wait_for)
{
	struct cover c = {TEAM_INIT, calloc(size, 1), base, size, min_chunk, wait_for, 0};

	assert_non_null(c.seen);
	return c;
}

static void cover_check(struct cover *c)
{
	for (size_t i = 0; i < c->size; i++)
		assert_int_equal(atomic_load(&c->seen[i]), 1);
	assert_int_equal(atomic_load(&c->team.inside), 0);
	free(c->seen);
}

static void run__each_unit_once_by_all_who_may(void **state)
{
	struct cover c = cover_new(0, UNITS, 16, 5); /* the caller, and a helper of each node */
	DEFINE_KTASK_CTL(ctl, cover, &c, 16);

	assert_int_equal(ktask_run(NULL, UNITS, &ctl), KTASK_RETURN_SUCCESS);
	assert_int_equal(team_count(&c.team), 5);
	cover_check(&c);
}

static void run__unaligned_at_both_ends(void **state)
{
	for (size_t base = 0; base < 40; base += 3) {
		for (size_t size = 1; size < 200; size += 13) {
			struct cover c = cover_new(1000 + base, size, 16, 1);
			DEFINE_KTASK_CTL(ctl, cover, &c, 16);

			assert_int_equal(ktask_run(AT(1000 + base), size, &ctl), 0);
			cover_check(&c);
		}
	}
}

static void run__no_more_threads_than_wanted_or_chunks(void **state)
{
	for (size_t threads = 1; threads < 5; threads++) {
		struct cover c = cover_new(0, UNITS, 16, (unsigned int)threads);
		DEFINE_KTASK_CTL(ctl, cover, &c, 16);

		sim_start(NULL); /* nothing is known of its cost */
		ktask_ctl_set_max_threads(&ctl, threads);
		assert_int_equal(ktask_run(NULL, UNITS, &ctl), 0);
		assert_int_equal(team_count(&c.team), threads);
		cover_check(&c);
		sim_stop();
		sim_start(NULL);
		c = cover_new(0, threads * 16, 16, (unsigned int)threads);
		ktask_ctl_set_max_threads(&ctl, 0);
		assert_int_equal(ktask_run(NULL, threads * 16, &ctl), 0);
		assert_int_equal(team_count(&c.team), threads);
		assert_int_equal(atomic_load(&c.chunks), threads);
		cover_check(&c);
		sim_stop();
	}
}

/* With one thread there is nobody to share with: one call, of all. */
static void run__least_chunk_larger_than_the_task(void **state)
{
	struct cover c = cover_new(77, 100, SIZE_MAX, 1);
	DEFINE_KTASK_CTL(ctl, cover, &c, SIZE_MAX);

	assert_int_equal(ktask_run(AT(77), 100, &ctl), 0);
	assert_int_equal(atomic_load(&c.chunks), 1);
	cover_check(&c);
}

static void run__again_and_again_warm(void **state)
{
	struct cover c = cover_new(0, UNITS, 4, 1);
	DEFINE_KTASK_CTL(ctl, cover, &c, 4);

	for (int i = 0; i < 2000; i++) {
		memset(c.seen, 0, UNITS);
		assert_int_equal(ktask_run(NULL, UNITS, &ctl), 0);
		for (size_t at = 0; at < UNITS; at++)
			assert_int_equal(atomic_load(&c.seen[at]), 1);
	}
	cover_check(&c);
}

static void run_numa__pieces_of_every_size(void **state)
{
	struct cover c = cover_new(0, UNITS, 8, 5);
	struct ktask_node pieces[] = {
	    {AT(0), 0, 0},    {AT(0), 1000, 0},    {AT(1000), 24, 3},     {AT(1024), 8, -1},
	    {AT(1032), 0, 1}, {AT(1032), 2000, 2}, {AT(3032), 1064, 999}, {AT(4096), 0, 0},
	};
	DEFINE_KTASK_CTL(ctl, cover, &c, 8);

	assert_int_equal(ktask_run_numa(pieces, sizeof(pieces) / sizeof(pieces[0]), &ctl), 0);
	cover_check(&c);
}

/* ---- what is refused ------------------------------------------------------------------------------------------------ */

static int never(void *start, void *end, void *arg)
{
	const bool called = true;

	CHECK(!called);
	return 0;
}

static void run__bad_input(void **state)
{
	DEFINE_KTASK_CTL(ctl, never, NULL, 1);
	DEFINE_KTASK_CTL(no_fn, NULL, NULL, 1);
	DEFINE_KTASK_CTL(no_chunk, never, NULL, 0);
	struct {
		struct ktask_ctl ctl;
		int more;
	} longer = {.ctl = ctl};
	struct ktask_node pieces[] = {{AT(8), SIZE_MAX / 2, -1}, {AT(8), SIZE_MAX / 2, -1}, {AT(8), 2, -1}};
	struct ktask_node nowhere = {NULL, 8, -2};

	assert_int_equal(ktask_run(NULL, 8, NULL), -EINVAL);
	assert_int_equal(ktask_run(NULL, 8, &no_fn), -EINVAL);
	assert_int_equal(ktask_run(NULL, 8, &no_chunk), -EINVAL);
	assert_int_equal(ktask_run(AT(8), SIZE_MAX - 7, &ctl), -EOVERFLOW);
	assert_int_equal(ktask_run(AT(SIZE_MAX), 1, &ctl), -EOVERFLOW);
	assert_int_equal(ktask_run_numa(NULL, 1, &ctl), -EINVAL);
	assert_int_equal(ktask_run_numa(&nowhere, 1, &ctl), -EINVAL);
	assert_int_equal(ktask_run_numa(pieces, 3, &ctl), -EOVERFLOW);
	assert_int_equal(ktask_run_numa(pieces, 3, NULL), -EINVAL);
	longer.ctl.size = sizeof(longer);
	longer.more = 1;
	assert_int_equal(ktask_run(NULL, 8, &longer.ctl), -E2BIG);
	longer.ctl.size = 8;
	assert_int_equal(ktask_run(NULL, 8, &longer.ctl), -EINVAL);
}

static void run__nothing_to_do(void **state)
{
	DEFINE_KTASK_CTL(ctl, never, NULL, 1);
	struct ktask_node empty[] = {{AT(SIZE_MAX), 0, 0}, {NULL, 0, 1}};

	assert_int_equal(ktask_run(NULL, 0, &ctl), 0);
	assert_int_equal(ktask_run(AT(SIZE_MAX), 0, &ctl), 0);
	assert_int_equal(ktask_run_numa(NULL, 0, &ctl), 0);
	assert_int_equal(ktask_run_numa(empty, 2, &ctl), 0);
}

/* Up to the end of the address space. */
static void run__up_to_the_last_address(void **state)
{
	struct cover c = cover_new(SIZE_MAX - 100, 100, 16, 1);
	DEFINE_KTASK_CTL(ctl, cover, &c, 16);

	assert_int_equal(ktask_run(AT(SIZE_MAX - 100), 100, &ctl), 0);
	cover_check(&c);
}

/* ---- iterators -------------------------------------------------------------------------------------------------------- */

struct link {
	struct link *next;
	atomic_uint seen;
};

static struct link *chain_new(size_t count)
{
	struct link *links = calloc(count, sizeof(*links));

	assert_non_null(links);
	for (size_t i = 0; i < count; i++) /* not in the order of their addresses */
		links[i * 7 % count].next = i + 1 < count ? &links[(i + 1) * 7 % count] : NULL;
	return links;
}

static atomic_int walkers;

static void *walk(void *position, size_t size)
{
	struct link *link = position;

	CHECK(atomic_fetch_add(&walkers, 1) == 0); /* one at a time */
	while (size-- > 0)
		link = link->next;
	atomic_fetch_sub(&walkers, 1);
	return link;
}

static struct team walking_team = TEAM_INIT;

static int visit(void *start, void *end, void *arg)
{
	const size_t *least = arg;
	size_t count = 0;

	team_enter(&walking_team);
	for (struct link *link = start; link != end; link = link->next) {
		CHECK(atomic_fetch_add(&link->seen, 1) == 0);
		count++;
	}
	CHECK(count >= *least || !end);
	AWAIT(team_count(&walking_team) >= 5);
	team_leave(&walking_team);
	return 0;
}

static void iter_func__a_linked_list(void **state)
{
	const size_t count = 10000;
	struct link *links = chain_new(count);
	size_t least = 10;
	DEFINE_KTASK_CTL(ctl, visit, &least, 10);

	ktask_ctl_set_iter_func(&ctl, walk);
	assert_int_equal(ktask_run(&links[0], count, &ctl), 0);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(atomic_load(&links[i].seen), 1);
	free(links);
}

/* ---- progress ----------------------------------------------------------------------------------------------------------- */

struct progress {
	struct team team;
	pid_t caller;
	size_t last;
};

static void progress(size_t done, size_t total, void *arg)
{
	struct progress *p = arg;

	CHECK(gettid() == p->caller);
	CHECK(total == UNITS);
	CHECK(done > p->last && done <= total);
	p->last = done;
}

static int wait_for_all(void *start, void *end, void *arg)
{
	struct progress *p = arg;

	team_enter(&p->team);
	AWAIT(team_count(&p->team) >= 5);
	team_leave(&p->team);
	return 0;
}

static void progress__grows_to_the_total(void **state)
{
	struct progress p = {TEAM_INIT, gettid(), 0};
	DEFINE_KTASK_CTL(ctl, wait_for_all, &p, 16);

	ktask_ctl_set_progress(&ctl, progress, &p);
	assert_int_equal(ktask_run(NULL, UNITS, &ctl), 0);
	assert_int_equal(p.last, UNITS);
	p.last = 0;
	ktask_ctl_set_max_threads(&ctl, 1);
	assert_int_equal(ktask_run(NULL, UNITS, &ctl), 0);
	assert_int_equal(p.last, UNITS);
	p.last = 0;
	ctl.min_chunk = UNITS;
	assert_int_equal(ktask_run(NULL, UNITS, &ctl), 0);
	assert_int_equal(p.last, UNITS);
}

/* A chunk each; the helpers end theirs when the caller has ended its own, but before it sleeps, or after. */
static atomic_bool caller_is_done;

static int after_the_caller(void *start, void *end, void *arg)
{
	struct progress *p = arg;

	team_enter(&p->team);
	AWAIT(team_count(&p->team) >= 5);
	team_leave(&p->team);
	if (gettid() == p->caller)
		atomic_store(&caller_is_done, true);
	AWAIT(atomic_load(&caller_is_done));
	return 0;
}

static void last_progress(size_t done, size_t total, void *arg)
{
	struct progress *p = arg;

	CHECK(done > p->last && done <= total);
	p->last = done;
}

static void progress__of_the_last_chunks(void **state)
{
	for (int i = 0; i < 50; i++) {
		struct progress p = {TEAM_INIT, gettid(), 0};
		DEFINE_KTASK_CTL(ctl, after_the_caller, &p, 1);

		sim_start(NULL);
		atomic_store(&caller_is_done, false);
		ktask_ctl_set_progress(&ctl, last_progress, &p);
		assert_int_equal(ktask_run(NULL, 5, &ctl), 0);
		assert_int_equal(p.last, 5);
		sim_stop();
	}
}

/* ---- jobs in jobs, and beside each other ------------------------------------------------------------------------------- */

struct nest {
	struct team team;
	atomic_size_t sum;
	int depth;
};

static int add(void *start, void *end, void *arg)
{
	atomic_fetch_add((atomic_size_t *)arg, NUMBER(end) - NUMBER(start));
	return 0;
}

static int nested(void *start, void *end, void *arg)
{
	struct nest *nest = arg;
	DEFINE_KTASK_CTL(ctl, add, &nest->sum, 3);

	team_enter(&nest->team);
	AWAIT(team_count(&nest->team) >= 5);
	for (size_t i = NUMBER(start); i < NUMBER(end); i++)
		CHECK(ktask_run(NULL, 100, &ctl) == 0);
	team_leave(&nest->team);
	return 0;
}

static void run__from_a_thread_function(void **state)
{
	struct nest nest = {.team = TEAM_INIT};
	DEFINE_KTASK_CTL(ctl, nested, &nest, 1);

	assert_int_equal(ktask_run(NULL, 1000, &ctl), 0);
	assert_int_equal(atomic_load(&nest.sum), 100 * 1000);
	assert_int_equal(team_count(&nest.team), 5);
}

/* Deep, and with everybody at every level. */
static int deeper(void *start, void *end, void *arg)
{
	struct nest *nest = arg;
	struct nest below = {.depth = nest->depth - 1};
	DEFINE_KTASK_CTL(ctl, deeper, &below, 1);

	if (nest->depth > 0)
		CHECK(ktask_run(start, NUMBER(end) - NUMBER(start), &ctl) == 0);
	else
		atomic_fetch_add(&below.sum, NUMBER(end) - NUMBER(start));
	atomic_fetch_add(&nest->sum, atomic_load(&below.sum));
	return 0;
}

static void run__nested_deeply(void **state)
{
	for (int i = 0; i < 50; i++) {
		struct nest nest = {.depth = 12};
		DEFINE_KTASK_CTL(ctl, deeper, &nest, 1);

		assert_int_equal(ktask_run(NULL, 300, &ctl), 0);
		assert_int_equal(atomic_load(&nest.sum), 300);
	}
}

static struct team everybody = TEAM_INIT; /* the helpers of all jobs */

static int with_others(void *start, void *end, void *arg)
{
	const bool helper = kthread_self() != NULL;

	if (helper)
		team_enter(&everybody);
	CHECK(atomic_load(&everybody.most) <= 4);
	for (size_t i = NUMBER(start); i < NUMBER(end); i++)
		atomic_fetch_add((atomic_size_t *)arg, i);
	if (helper)
		team_leave(&everybody);
	return 0;
}

#define CALLERS 8

static void *call_again_and_again(void *arg)
{
	for (int i = 0; i < 300; i++) {
		atomic_size_t sum = 0;
		const size_t size = 1 + (size_t)(i * 7919) % 20000;
		DEFINE_KTASK_CTL(ctl, with_others, &sum, 1 + (size_t)i % 50);

		CHECK(ktask_run(NULL, size, &ctl) == 0);
		CHECK(atomic_load(&sum) == size * (size - 1) / 2);
	}
	return NULL;
}

/* Together they have no more helpers than one alone. */
static void run__from_many_threads(void **state)
{
	pthread_t threads[CALLERS];

	for (int i = 0; i < CALLERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, call_again_and_again, NULL), 0);
	for (int i = 0; i < CALLERS; i++)
		pthread_join(threads[i], NULL);
	assert_true(atomic_load(&everybody.most) > 0);
	assert_true(atomic_load(&everybody.most) <= 4);
}

/* ---- the library's life --------------------------------------------------------------------------------------------------- */

static int end_the_library(void *start, void *end, void *arg)
{
	CHECK(kthread_fini() == -EBUSY);
	return 0;
}

static void fini__during_a_job(void **state)
{
	DEFINE_KTASK_CTL(ctl, end_the_library, NULL, 1);

	assert_int_equal(ktask_run(NULL, 100, &ctl), 0);
}

static void fini__ends_the_helpers(void **state)
{
	struct cover c = cover_new(0, UNITS, 16, 5);
	DEFINE_KTASK_CTL(ctl, cover, &c, 16);
	const long long before = tasks_before();

	sim_start(NULL);
	assert_int_equal(ktask_run(NULL, UNITS, &ctl), 0);
	assert_true(tasks() >= before + 4);
	sim_stop();
	AWAIT(tasks() == before);
	/* and again */
	sim_start(NULL);
	memset(c.seen, 0, UNITS);
	c.team.count = 0;
	assert_int_equal(ktask_run(NULL, UNITS, &ctl), 0);
	cover_check(&c);
	sim_stop();
}

/* Nobody runs between jobs. */
static void helpers__sleep_between_jobs(void **state)
{
	struct cover c = cover_new(0, UNITS, 16, 5);
	DEFINE_KTASK_CTL(ctl, cover, &c, 16);

	assert_int_equal(ktask_run(NULL, UNITS, &ctl), 0);
	for (size_t i = 0; i < c.team.count; i++) {
		if (c.team.tids[i] != gettid())
			await_settled(c.team.tids[i]);
	}
	cover_check(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(run__each_unit_once_by_all_who_may, start_machine, stop_machine),
	    cmocka_unit_test_setup_teardown(run__unaligned_at_both_ends, start_machine, stop_machine),
	    cmocka_unit_test(run__no_more_threads_than_wanted_or_chunks),
	    cmocka_unit_test_setup_teardown(run__least_chunk_larger_than_the_task, start_machine, stop_machine),
	    cmocka_unit_test_setup_teardown(run__again_and_again_warm, start_machine, stop_machine),
	    cmocka_unit_test_setup_teardown(run_numa__pieces_of_every_size, start_machine, stop_machine),
	    cmocka_unit_test_setup_teardown(run__bad_input, start_machine, stop_machine),
	    cmocka_unit_test_setup_teardown(run__nothing_to_do, start_machine, stop_machine),
	    cmocka_unit_test_setup_teardown(run__up_to_the_last_address, start_machine, stop_machine),
	    cmocka_unit_test_setup_teardown(iter_func__a_linked_list, start_machine, stop_machine),
	    cmocka_unit_test_setup_teardown(progress__grows_to_the_total, start_machine, stop_machine),
	    cmocka_unit_test(progress__of_the_last_chunks),
	    cmocka_unit_test_setup_teardown(run__from_a_thread_function, start_machine, stop_machine),
	    cmocka_unit_test_setup_teardown(run__nested_deeply, start_machine, stop_machine),
	    cmocka_unit_test_setup_teardown(run__from_many_threads, start_machine, stop_machine),
	    cmocka_unit_test_setup_teardown(fini__during_a_job, start_machine, stop_machine),
	    cmocka_unit_test(fini__ends_the_helpers),
	    cmocka_unit_test_setup_teardown(helpers__sleep_between_jobs, start_machine, stop_machine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

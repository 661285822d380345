/* SPDX-License-Identifier: MIT */
/*
 * A job that fails: nobody begins a chunk after the first error, what had been completed is undone, byte by byte, what had
 * failed is not. And threads that end, or fork, in the client's function.
 */
#include "team.h"

/* Children of threaded processes start threads here. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "die_after_fork=0:atexit_sleep_ms=0";
}

#define BYTES 2048u
#define LEAST 32u

/* ---- undo ----------------------------------------------------------------------------------------------------------- */

/* A byte is 0; 1 while it is done; 2 when its chunk has failed, and nobody may touch it any more. */
struct bytes {
	struct team team;
	unsigned char byte[BYTES];
	unsigned int wait_for;
	size_t fails_at; /* the chunk with this byte */
	bool all_fail;   /* the first chunk of each thread, once all are there */
	atomic_int next_error;
	atomic_int failures;
	unsigned char *undone_to; /* undo goes upwards */
	pid_t caller;
	size_t undone;
};

static void mark(unsigned char *from, unsigned char *to, unsigned char was, unsigned char is)
{
	for (; from < to; from++) {
		CHECK(*from == was);
		*from = is;
	}
}

static int work(void *start, void *end, void *arg)
{
	struct bytes *b = arg;
	const size_t from = (size_t)((unsigned char *)start - b->byte), to = (size_t)((unsigned char *)end - b->byte);
	int error = 0;

	team_enter(&b->team);
	AWAIT(team_count(&b->team) >= b->wait_for);
	mark(start, end, 0, 1);
	if (b->all_fail || (b->fails_at >= from && b->fails_at < to)) {
		mark(start, end, 1, 2);
		error = atomic_fetch_add(&b->next_error, 1);
		atomic_fetch_add(&b->failures, 1);
	}
	team_leave(&b->team);
	return error;
}

static void undo(void *start, void *end, void *arg)
{
	struct bytes *b = arg;

	CHECK(gettid() == b->caller);
	CHECK((unsigned char *)start >= b->undone_to);
	CHECK(start < end);
	CHECK(atomic_load(&b->team.inside) == 0);
	b->undone_to = end;
	b->undone += (size_t)((unsigned char *)end - (unsigned char *)start);
	mark(start, end, 1, 0);
}

static void bytes_begin(struct bytes *b, unsigned int wait_for, size_t fails_at)
{
	memset(b, 0, sizeof(*b));
	pthread_mutex_init(&b->team.lock, NULL);
	b->wait_for = wait_for;
	b->fails_at = fails_at;
	atomic_store(&b->next_error, 1000);
	b->undone_to = b->byte;
	b->caller = gettid();
}

/* Nothing is half done, and only chunks that failed have been left alone. */
static size_t assert_undone(const struct bytes *b)
{
	size_t failed = 0;

	for (size_t i = 0; i < BYTES; i++) {
		assert_true(b->byte[i] != 1);
		failed += b->byte[i] == 2;
	}
	return failed;
}

static struct bytes b;

static void undo_func__error_at_each_chunk(void **state)
{
	for (size_t at = 0; at < BYTES; at += LEAST / 2) {
		DEFINE_KTASK_CTL(ctl, work, &b, LEAST);

		bytes_begin(&b, at == 0 ? 5 : 1, at);
		ktask_ctl_set_undo_func(&ctl, undo);
		assert_int_equal(ktask_run(b.byte, BYTES, &ctl), 1000);
		assert_int_equal(atomic_load(&b.failures), 1);
		assert_int_equal(b.byte[at], 2);
		assert_true(assert_undone(&b) > 0);
	}
}

/* The same with pieces, as they are given: not in the order of their addresses for undo, so it is checked by piece. */
static unsigned int last_piece;

static void undo_piecewise(void *start, void *end, void *arg)
{
	const size_t from = (size_t)((unsigned char *)start - b.byte);
	const unsigned int piece = from >= BYTES / 2 ? 0 : 1; /* the upper half is the first */

	CHECK(piece >= last_piece);
	if (piece > last_piece)
		b.undone_to = b.byte;
	last_piece = piece;
	undo(start, end, arg);
}

static void undo_func__pieces_in_their_order(void **state)
{
	for (size_t at = 0; at < BYTES; at += LEAST) {
		struct ktask_node pieces[] = {
		    {b.byte + BYTES / 2, BYTES / 2, 3}, {b.byte + 1, 0, 2}, {b.byte, BYTES / 2, 0}};
		DEFINE_KTASK_CTL(ctl, work, &b, LEAST);

		bytes_begin(&b, 1, at);
		last_piece = 0;
		ktask_ctl_set_undo_func(&ctl, undo_piecewise);
		assert_int_equal(ktask_run_numa(pieces, 3, &ctl), 1000);
		assert_undone(&b);
		/* alone, each piece at once */
		bytes_begin(&b, 1, at);
		last_piece = 0;
		ktask_ctl_set_max_threads(&ctl, 1);
		ctl.min_chunk = SIZE_MAX;
		assert_int_equal(ktask_run_numa(pieces, 3, &ctl), 1000);
		assert_undone(&b);
	}
}

static void undo_func__errors_in_flight(void **state)
{
	for (int round = 0; round < 20; round++) {
		DEFINE_KTASK_CTL(ctl, work, &b, LEAST);
		int error;

		bytes_begin(&b, 5, 0);
		b.all_fail = true;
		ktask_ctl_set_undo_func(&ctl, undo);
		error = ktask_run(b.byte, BYTES, &ctl);
		assert_in_range(error, 1000, 1004);
		/* all five were in a chunk, and nobody began another one */
		assert_int_equal(atomic_load(&b.failures), 5);
		assert_true(assert_undone(&b) >= 5);
		assert_int_equal(b.undone, 0);
		sim_stop();
		sim_start(NULL); /* its cost is not known again */
	}
}

/* Positions that the iterator gave. */
static void *step_on(void *position, size_t size)
{
	return (unsigned char *)position + size;
}

static void undo_func__with_an_iterator(void **state)
{
	for (size_t at = 0; at < BYTES; at += LEAST / 2) {
		DEFINE_KTASK_CTL(ctl, work, &b, LEAST);

		bytes_begin(&b, at == 0 ? 5 : 1, at);
		ktask_ctl_set_iter_func(&ctl, step_on);
		ktask_ctl_set_undo_func(&ctl, undo);
		assert_int_equal(ktask_run(b.byte, BYTES, &ctl), 1000);
		assert_undone(&b);
	}
}

/* ---- no chunk begins after the first error ---------------------------------------------------------------------------- */

struct stop {
	atomic_int helper; /* its tid, once it is in its chunk */
	pid_t caller;
	atomic_bool caller_works;
	atomic_int chunks;
};

static int one_fails(void *start, void *end, void *arg)
{
	struct stop *stop = arg;

	atomic_fetch_add(&stop->chunks, 1);
	if (gettid() != stop->caller) {
		AWAIT(atomic_load(&stop->caller_works));
		atomic_store(&stop->helper, gettid());
		return -7;
	}
	atomic_store(&stop->caller_works, true);
	/* It has failed, left the job, and sleeps. */
	AWAIT(atomic_load(&stop->helper));
	await_settled(atomic_load(&stop->helper));
	return 0;
}

static void run__no_chunk_begins_after_the_first_error(void **state)
{
	struct stop stop = {.caller = gettid()};
	DEFINE_KTASK_CTL(ctl, one_fails, &stop, 1);

	ktask_ctl_set_max_threads(&ctl, 2);
	assert_int_equal(ktask_run(NULL, 1000, &ctl), -7);
	assert_int_equal(atomic_load(&stop.chunks), 2);
}

/* ---- nested --------------------------------------------------------------------------------------------------------------- */

struct inner {
	atomic_int done, undone;
};

static int inner_work(void *start, void *end, void *arg)
{
	struct inner *inner = arg;

	if (NUMBER(start) <= 50 && NUMBER(end) > 50)
		return 55;
	atomic_fetch_add(&inner->done, (int)(NUMBER(end) - NUMBER(start)));
	return 0;
}

static void inner_undo(void *start, void *end, void *arg)
{
	atomic_fetch_add(&((struct inner *)arg)->undone, (int)(NUMBER(end) - NUMBER(start)));
}

static int outer_work(void *start, void *end, void *arg)
{
	struct inner inner = {0};
	DEFINE_KTASK_CTL(ctl, inner_work, &inner, 1);
	int error;

	if (NUMBER(start) > 20 || NUMBER(end) <= 20) {
		mark(b.byte + NUMBER(start), b.byte + NUMBER(end), 0, 1);
		return 0;
	}
	ktask_ctl_set_undo_func(&ctl, inner_undo);
	error = ktask_run(NULL, 100, &ctl);
	CHECK(error == 55);
	CHECK(atomic_load(&inner.done) == atomic_load(&inner.undone));
	return error;
}

static void outer_undo(void *start, void *end, void *arg)
{
	mark(b.byte + NUMBER(start), b.byte + NUMBER(end), 1, 0);
}

static void run__an_error_in_a_nested_job(void **state)
{
	DEFINE_KTASK_CTL(ctl, outer_work, NULL, 1);

	bytes_begin(&b, 1, 0);
	ktask_ctl_set_undo_func(&ctl, outer_undo);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(ktask_run(NULL, 64, &ctl), 55);
		assert_int_equal(assert_undone(&b), 0);
	}
}

/* ---- threads that end ------------------------------------------------------------------------------------------------------ */

static atomic_int ended; /* the tid of a helper that did */

static int helper_ends(void *start, void *end, void *arg)
{
	int nobody = 0;

	team_enter(&b.team);
	AWAIT(team_count(&b.team) >= b.wait_for);
	team_leave(&b.team);
	if (gettid() != b.caller && atomic_compare_exchange_strong(&ended, &nobody, gettid()))
		pthread_exit(NULL);
	AWAIT(atomic_load(&ended));
	mark(start, end, 0, 1);
	return 0;
}

static void run__a_helper_ends_in_the_function(void **state)
{
	for (int i = 0; i < 5; i++) {
		DEFINE_KTASK_CTL(ctl, helper_ends, &b, LEAST);

		bytes_begin(&b, 5, 0);
		atomic_store(&ended, 0);
		ktask_ctl_set_undo_func(&ctl, undo);
		assert_int_equal(ktask_run(b.byte, BYTES, &ctl), -ECANCELED);
		assert_int_equal(assert_undone(&b), 0);
		AWAIT(task_gone(atomic_load(&ended)));
		sim_stop(); /* nobody is missed */
		sim_start(NULL);
	}
	/* and in the same life of the library another takes its place */
	for (int i = 0; i < 3; i++) {
		DEFINE_KTASK_CTL(ctl, helper_ends, &b, LEAST);

		bytes_begin(&b, 2, 0); /* who has just been lent a priority comes back a moment later */
		atomic_store(&ended, 0);
		ktask_ctl_set_undo_func(&ctl, undo);
		assert_int_equal(ktask_run(b.byte, BYTES, &ctl), -ECANCELED);
		assert_int_equal(assert_undone(&b), 0);
	}
}

static int caller_ends(void *start, void *end, void *arg)
{
	team_enter(&b.team);
	AWAIT(team_count(&b.team) >= 5);
	team_leave(&b.team);
	if (gettid() == b.caller)
		pthread_exit(AT(77));
	mark(start, end, 0, 1);
	return 0;
}

static void *call_and_end(void *arg)
{
	DEFINE_KTASK_CTL(ctl, caller_ends, &b, LEAST);

	bytes_begin(&b, 1, 0);
	ktask_ctl_set_undo_func(&ctl, undo);
	return ktask_run(b.byte, BYTES, &ctl) ? &b : NULL;
}

static void run__its_caller_ends_in_the_function(void **state)
{
	void *result = NULL;
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, call_and_end, NULL), 0);
	pthread_join(thread, &result);
	assert_ptr_equal(result, AT(77)); /* it did not come back from there */
	assert_int_equal(assert_undone(&b), 0);
	assert_int_equal(atomic_load(&b.team.inside), 0);
}

/* ---- fork ------------------------------------------------------------------------------------------------------------------- */

/* A child does not look for leaks when it ends: its parent's stacks, which hold pointers, are not there. */
static int in_forked_child;

int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
	return in_forked_child;
}

struct forks {
	pid_t caller;
	bool by_helper;
	atomic_bool begun;
	atomic_int child;
};

static int forks(void *start, void *end, void *arg)
{
	struct forks *f = arg;
	const bool me = (gettid() == f->caller) != f->by_helper;

	if (me && !atomic_exchange(&f->begun, true)) {
		const pid_t child = fork();

		if (child == 0) {
			in_forked_child = 1;
			return 0;
		}
		CHECK(child > 0);
		atomic_store(&f->child, child);
	}
	AWAIT(atomic_load(&f->child));
	return 0;
}

static void await_child(pid_t child, int wanted)
{
	int status;

	AWAIT(waitpid(child, &status, WNOHANG) == child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), wanted);
}

/* In the child: the job answers -ECHILD, all else too, and a new life has jobs again. */
static int life_of_the_child(int answer)
{
	struct kthread_config config = sim_config();
	struct inner inner = {0};
	DEFINE_KTASK_CTL(ctl, inner_work, &inner, 1);

	EXPECT(answer == -ECHILD);
	EXPECT(ktask_run(AT(100), 100, &ctl) == -ECHILD);
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
	return 33; /* they do not bear threads, and memory, after fork(): see fork.c */
#endif
	config.root = sim.root;
	EXPECT(kthread_init(&config) == 0);
	EXPECT(ktask_run(AT(100), 100, &ctl) == 0);
	EXPECT(atomic_load(&inner.done) == 100);
	EXPECT(kthread_fini() == 0);
	return 33;
}

static void run__its_caller_forks_in_the_function(void **state)
{
	struct forks f = {.caller = gettid()};
	DEFINE_KTASK_CTL(ctl, forks, &f, 1);
	const int answer = ktask_run(NULL, 100, &ctl);

	if (gettid() != f.caller)
		_exit(life_of_the_child(answer));
	assert_int_equal(answer, 0);
	await_child(atomic_load(&f.child), 33);
}

/* The only thread of the child is a helper that returns to nobody: it ends, and with it the child. */
/* AddressSanitizer's allocator is not held across fork(): in the child, where the helper ends as a thread, its memory goes
 * back under a lock that another thread may have had. */
static void run__a_helper_forks_in_the_function(void **state)
{
#ifdef __SANITIZE_ADDRESS__
	skip();
#endif
	struct forks f = {.caller = gettid(), .by_helper = true};
	DEFINE_KTASK_CTL(ctl, forks, &f, 1);

	assert_int_equal(ktask_run(NULL, 100, &ctl), 0);
	await_child(atomic_load(&f.child), 0);
	assert_int_equal(ktask_run(NULL, 100, &ctl), 0);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, start_machine, stop_machine)
	const struct CMUnitTest tests[] = {
	    CASE(undo_func__error_at_each_chunk),
	    CASE(undo_func__pieces_in_their_order),
	    CASE(undo_func__errors_in_flight),
	    CASE(undo_func__with_an_iterator),
	    CASE(run__no_chunk_begins_after_the_first_error),
	    CASE(run__an_error_in_a_nested_job),
	    CASE(run__a_helper_ends_in_the_function),
	    CASE(run__its_caller_ends_in_the_function),
	    CASE(run__its_caller_forks_in_the_function),
	    CASE(run__a_helper_forks_in_the_function),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

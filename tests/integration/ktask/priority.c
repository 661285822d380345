/* SPDX-License-Identifier: MIT */
/*
 * Helpers give way, and are lent their caller's priority one at a time while it waits; with the right to rise again, and
 * without. Everything is looked at with the kernel's eyes, by the helper in its chunk.
 */
#include <sys/resource.h>

#include "team.h"

const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "die_after_fork=0:atexit_sleep_ms=0";
}

#define HELPERS 4

static int my_nice(void)
{
	return getpriority(PRIO_PROCESS, 0);
}

/* Of a thread, this one: may it go down and come back? */
static bool may_rise(void)
{
	const int nice = my_nice();
	const bool may = setpriority(PRIO_PROCESS, 0, nice - 1) == 0;

	if (may)
		setpriority(PRIO_PROCESS, 0, nice);
	return may;
}

/* ---- the job: a chunk for each of five ------------------------------------------------------------------------------ */

struct sight {
	struct team team;
	pid_t caller;
	int nice[HELPERS], policy[HELPERS]; /* at the beginning of a chunk */
	atomic_uint seen;
	/* Lending. */
	int wanted_nice, wanted_policy; /* a helper stays in its chunk until it has these */
	bool stays;
	bool lingers; /* until the caller sleeps, who has lent then what it could */
	int turns_to; /* what the caller becomes before it waits; 0 = it stays what it is */
	atomic_int raised, most_raised, raises;
};

static int look(void *start, void *end, void *arg)
{
	struct sight *sight = arg;
	const struct sched_param first = {.sched_priority = 1};

	team_enter(&sight->team);
	AWAIT(team_count(&sight->team) == HELPERS + 1);
	if (gettid() == sight->caller) {
		AWAIT(atomic_load(&sight->seen) == HELPERS);
		if (sight->turns_to)
			CHECK(sched_setscheduler(0, sight->turns_to, &first) == 0);
		return 0;
	}
	/* before it is counted: the caller waits for that, and lends then */
	const int nice = my_nice(), policy = sched_getscheduler(0);
	const unsigned int at = atomic_fetch_add(&sight->seen, 1);

	sight->nice[at] = nice;
	sight->policy[at] = policy;
	if (sight->lingers)
		AWAIT(task_asleep(sight->caller));
	if (sight->stays) {
		int raised, most;

		AWAIT(sched_getscheduler(0) == sight->wanted_policy && my_nice() == sight->wanted_nice);
		raised = atomic_fetch_add(&sight->raised, 1) + 1;
		most = atomic_load(&sight->most_raised);
		while (raised > most && !atomic_compare_exchange_weak(&sight->most_raised, &most, raised))
			continue;
		atomic_fetch_add(&sight->raises, 1);
		for (int i = 0; i < 100; i++)
			sched_yield(); /* time for another one to be raised, if that were possible */
		atomic_fetch_sub(&sight->raised, 1);
	}
	return 0;
}

static void run_job(struct sight *sight, bool give_way)
{
	DEFINE_KTASK_CTL(ctl, look, sight, 1);

	pthread_mutex_init(&sight->team.lock, NULL);
	sight->caller = gettid();
	ktask_ctl_set_give_way(&ctl, give_way);
	assert_int_equal(ktask_run(NULL, HELPERS + 1, &ctl), 0);
	assert_int_equal(atomic_load(&sight->seen), HELPERS);
}

static void assert_all(const struct sight *sight, int nice, int policy)
{
	for (int i = 0; i < HELPERS; i++) {
		assert_int_equal(sight->nice[i], nice);
		assert_int_equal(sight->policy[i], policy);
	}
}

/* ---- with the right to rise again ------------------------------------------------------------------------------------- */

static void give_way__the_lowest_of_all(void **state)
{
	struct sight sight = {.stays = false};

	if (!may_rise())
		skip();
	run_job(&sight, true);
	assert_all(&sight, 19, SCHED_BATCH);
	assert_int_equal(my_nice(), 0);
}

static void lending__one_at_a_time(void **state)
{
	struct sight sight = {.stays = true, .wanted_nice = 0, .wanted_policy = SCHED_OTHER};
	struct sight again = {.stays = false};

	if (!may_rise())
		skip();
	run_job(&sight, true);
	assert_all(&sight, 19, SCHED_BATCH);
	assert_int_equal(atomic_load(&sight.raises), HELPERS);
	assert_int_equal(atomic_load(&sight.most_raised), 1);
	/* given back */
	for (size_t i = 0; i < sight.team.count; i++) {
		if (sight.team.tids[i] != gettid())
			AWAIT(getpriority(PRIO_PROCESS, (id_t)sight.team.tids[i]) == 19);
	}
	sim_stop();
	sim_start(NULL);
	run_job(&again, true);
	assert_all(&again, 19, SCHED_BATCH);
}

static void lending__a_real_time_callers_policy(void **state)
{
	struct sight sight = {.stays = true, .wanted_nice = 0, .wanted_policy = SCHED_FIFO, .turns_to = SCHED_FIFO};
	const struct sched_param first = {.sched_priority = 1}, none = {.sched_priority = 0};

	if (!may_rise() || sched_setscheduler(0, SCHED_FIFO, &first) != 0)
		skip();
	sched_setscheduler(0, SCHED_OTHER, &none);
	/* the nice value of a helper at SCHED_FIFO is its own, and means nothing */
	sight.wanted_nice = 19;
	run_job(&sight, true);
	sched_setscheduler(0, SCHED_OTHER, &none);
	assert_int_equal(atomic_load(&sight.raises), HELPERS);
	assert_int_equal(atomic_load(&sight.most_raised), 1);
}

/* ---- for a turn with an iterator --------------------------------------------------------------------------------------- */

static struct {
	pid_t caller;
	atomic_int walker; /* the first helper that moves the iterator on: not before it has been lent something */
	atomic_int nice_after;
	atomic_int chunks; /* the caller's */
} walk;

static void *walk_on(void *position, size_t size)
{
	int nobody = 0;

	if (gettid() != walk.caller && atomic_compare_exchange_strong(&walk.walker, &nobody, gettid()))
		AWAIT(my_nice() == 0);
	return (char *)position + size;
}

static int walk_chunk(void *start, void *end, void *arg)
{
	int not_known = -1;

	if (gettid() == atomic_load(&walk.walker))
		atomic_compare_exchange_strong(&walk.nice_after, &not_known, my_nice());
	else if (gettid() == walk.caller && atomic_fetch_add(&walk.chunks, 1) == 0)
		AWAIT(atomic_load(&walk.walker)); /* and then for its turn */
	else
		AWAIT(atomic_load(&walk.nice_after) !=
		      not_known); /* before the caller waits for the end, and lends for that */
	return 0;
}

static void lending__to_who_has_the_turn_with_an_iterator(void **state)
{
	DEFINE_KTASK_CTL(ctl, walk_chunk, NULL, 1);

	if (!may_rise())
		skip();
	walk.caller = gettid();
	atomic_store(&walk.walker, 0);
	atomic_store(&walk.nice_after, -1);
	atomic_store(&walk.chunks, 0);
	ktask_ctl_set_iter_func(&ctl, walk_on);
	assert_int_equal(ktask_run(NULL, 64, &ctl), 0);
	assert_int_equal(atomic_load(&walk.nice_after), 19); /* given back with the turn */
}

/* The same when the caller waits for the end, after an error, and another helper is in its chunk until that one goes on. */
static struct {
	pid_t caller;
	atomic_bool callers_chunk;
	atomic_int other, walker;
	_Atomic(void *) from; /* where the walker stands */
	atomic_bool raised;
	atomic_int begun_after;
} failed;

static void *walk_after_other(void *position, size_t size)
{
	int nobody = 0;

	if (gettid() != failed.caller && atomic_load(&failed.callers_chunk) &&
	    !atomic_compare_exchange_strong(&failed.other, &nobody, gettid()) && nobody != gettid() &&
	    !atomic_exchange(&failed.walker, gettid())) {
		atomic_store(&failed.from, position);
		AWAIT(my_nice() == 0);
		atomic_store(&failed.raised, true);
	}
	return (char *)position + size;
}

static int chunk_that_fails(void *start, void *end, void *arg)
{
	if (gettid() == failed.caller) {
		atomic_store(&failed.callers_chunk, true);
		AWAIT(atomic_load(&failed.walker));
		return -EIO;
	}
	/* others may just be about to begin what they had taken before */
	if (atomic_load(&failed.raised) && (uintptr_t)start >= (uintptr_t)atomic_load(&failed.from))
		atomic_fetch_add(&failed.begun_after, 1);
	AWAIT(atomic_load(&failed.callers_chunk));
	if (gettid() == atomic_load(&failed.other))
		AWAIT(atomic_load(&failed.raised));
	return 0;
}

static void lending__to_who_has_the_turn_with_an_iterator_after_an_error(void **state)
{
	DEFINE_KTASK_CTL(ctl, chunk_that_fails, NULL, 1);

	if (!may_rise())
		skip();
	ktask_ctl_set_iter_func(&ctl, walk_after_other);
	for (int i = 0; i < 8; i++) { /* now and then it is the one who would be lent to anyway */
		memset(&failed, 0, sizeof(failed));
		failed.caller = gettid();
		assert_int_equal(ktask_run(NULL, 1000, &ctl), -EIO);
		assert_true(failed.raised);
		assert_int_equal(failed.begun_after, 0); /* neither by it, nor by who had to wait for the turn */
	}
}

static void keep_pace__at_the_callers_own(void **state)
{
	struct sight sight = {.stays = false}, down = {.stays = false}, back = {.stays = false};

	if (!may_rise())
		skip();
	run_job(&sight, false);
	assert_all(&sight, 0, SCHED_OTHER);
	sim_stop();
	sim_start(NULL);
	assert_int_equal(setpriority(PRIO_PROCESS, 0, 7), 0);
	run_job(&down, false);
	assert_int_equal(setpriority(PRIO_PROCESS, 0, 0), 0);
	assert_all(&down, 7, SCHED_OTHER);
	sim_stop();
	sim_start(NULL);
	run_job(&back, true);
	assert_all(&back, 19, SCHED_BATCH);
}

/* ---- without it --------------------------------------------------------------------------------------------------------- */

static void drop_rights(void)
{
	const struct rlimit none = {0, 0};

	CHECK(setrlimit(RLIMIT_NICE, &none) == 0);
	if (geteuid() == 0)
		CHECK(setresuid(65534, 65534, 65534) == 0);
	CHECK(!may_rise());
}

static int without_rights(void *arg)
{
	struct kthread_config config = sim_config();
	struct sight sight = {.stays = false};
	struct sight paced = {.stays = true, .wanted_nice = 0, .wanted_policy = SCHED_OTHER};

	drop_rights();
	config.root = sim.root;
	EXPECT(kthread_init(&config) == 0);
	run_job(&sight, true);
	for (int i = 0; i < HELPERS; i++)
		EXPECT(sight.nice[i] == 0 && sight.policy[i] == SCHED_BATCH);
	EXPECT(kthread_fini() == 0);
	/* SCHED_BATCH can be left again, so equal priority is equal. */
	EXPECT(kthread_init(&config) == 0);
	run_job(&paced, false);
	EXPECT(kthread_fini() == 0);
	return 0;
}

static void give_way__without_the_right_to_rise(void **state)
{
	assert_int_equal(chmod(sim.root, 0755), 0);
	assert_int_equal(in_child(without_rights, NULL), 0);
}

/* Callers at a policy that a helper could not leave again: it does not take it, and rests afterwards where it did before. */
static int cannot_leave(int policy)
{
	const struct sched_param none = {.sched_priority = 0};
	struct kthread_config config = sim_config();
	struct sight before = {.stays = false}, at = {.stays = false}, lent = {.stays = false, .lingers = true};
	struct sight after = {.stays = false};

	drop_rights();
	config.root = sim.root;
	EXPECT(kthread_init(&config) == 0);
	run_job(&before, true);
	EXPECT(sched_setscheduler(0, policy, &none) == 0);
	run_job(&at, false);
	run_job(&lent, true);
	run_job(&after, true);
	for (int i = 0; i < HELPERS; i++) {
		EXPECT(at.policy[i] != SCHED_IDLE);
		EXPECT(after.policy[i] == SCHED_BATCH);
	}
	EXPECT(kthread_fini() == 0);
	return 0;
}

static int below_all(void *arg)
{
	return cannot_leave(SCHED_IDLE);
}

static int reset_on_fork(void *arg)
{
	return cannot_leave(SCHED_OTHER | SCHED_RESET_ON_FORK);
}

static void keep_pace__what_cannot_be_left_is_not_taken(void **state)
{
	assert_int_equal(chmod(sim.root, 0755), 0);
	assert_int_equal(in_child(below_all, NULL), 0);
	assert_int_equal(in_child(reset_on_fork, NULL), 0);
}

/* A daemon that gives up its rights while helpers rest at nice 19: nothing can be lent to them any more. They go, and new
 * ones take their place, which stay where they can live. */
static int rights_dropped(void *arg)
{
	struct kthread_config config = sim_config();
	struct sight low = {.stays = false}, after = {.stays = false};
	config.root = sim.root;
	EXPECT(kthread_init(&config) == 0);
	run_job(&low, true);
	for (int i = 0; i < HELPERS; i++)
		EXPECT(low.nice[i] == 19);
	drop_rights();
	for (int tries = 0; tries < 1000; tries++) {
		memset(&after, 0, sizeof(after));
		after.lingers = true;
		run_job(&after, true);
		int ordinary = 0;

		for (int i = 0; i < HELPERS; i++)
			ordinary += after.nice[i] == 0 && after.policy[i] == SCHED_BATCH;
		if (ordinary == HELPERS) {
			EXPECT(kthread_fini() == 0);
			return 0;
		}
	}
	return 2;
}

static void give_way__rights_dropped_later(void **state)
{
	if (!may_rise())
		skip();
	assert_int_equal(chmod(sim.root, 0755), 0);
	assert_int_equal(in_child(rights_dropped, NULL), 0);
}

/* ---- the machine in its children is initialised anew: no threads of ours are in the parent ------------------------------ */

static int only_tree(void **state)
{
	sim_tree("numa");
	return 0;
}

static int remove_tree(void **state)
{
	machine_remove(sim.root);
	sim.root[0] = '\0';
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(give_way__without_the_right_to_rise, only_tree, remove_tree),
	    cmocka_unit_test_setup_teardown(keep_pace__what_cannot_be_left_is_not_taken, only_tree, remove_tree),
	    cmocka_unit_test_setup_teardown(give_way__rights_dropped_later, only_tree, remove_tree),
	    cmocka_unit_test_setup_teardown(give_way__the_lowest_of_all, start_machine, stop_machine),
	    cmocka_unit_test_setup_teardown(lending__one_at_a_time, start_machine, stop_machine),
	    cmocka_unit_test_setup_teardown(lending__a_real_time_callers_policy, start_machine, stop_machine),
	    cmocka_unit_test_setup_teardown(lending__to_who_has_the_turn_with_an_iterator, start_machine, stop_machine),
	    cmocka_unit_test_setup_teardown(lending__to_who_has_the_turn_with_an_iterator_after_an_error, start_machine,
	                                    stop_machine),
	    cmocka_unit_test_setup_teardown(keep_pace__at_the_callers_own, start_machine, stop_machine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

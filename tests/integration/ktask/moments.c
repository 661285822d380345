/* SPDX-License-Identifier: MIT */
/*
 * Moments of a job: what happens between two jobs, in the midst of one, and while it ends.
 */
#include "team.h"

const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "die_after_fork=0:atexit_sleep_ms=0";
}

/* The machine "numa" without its nodes: 8 CPUs, up to 6 helpers. */
static void flat(void)
{
	sim_tree("numa");
	for (int node = 0; node < 4; node++) {
		char path[64];

		snprintf(path, sizeof(path), "sys/devices/system/node/node%d", node);
		sim_remove(path);
	}
}

/* Longer than a chunk should take, so that chunks stay as small as they may be. */
static void take_time(void)
{
	const uint64_t until = now_ns() + MS / 4;

	while (now_ns() < until)
		continue;
}

static int brief_work(void *start, void *end, void *arg)
{
	take_time();
	return 0;
}

/* ---- helpers that change their job ---------------------------------------------------------------------------------- */

static atomic_bool long_job_ends;

static int long_work(void *start, void *end, void *arg)
{
	take_time();
	return atomic_load(&long_job_ends);
}

static void *long_job(void *arg)
{
	DEFINE_KTASK_CTL(ctl, long_work, NULL, 1);

	ktask_ctl_set_max_threads(&ctl, 3);
	CHECK(ktask_run(NULL, SIZE_MAX, &ctl) == 1);
	return NULL;
}

/* Helpers leave a long job because their CPUs go, work for others, and come back to it, far more often than there are
 * helpers. (AddressSanitizer finds it if the job does not forget who they were.) */
static void crew__comes_and_goes(void **state)
{
	pthread_t thread;

	flat();
	sim_start(NULL);
	atomic_store(&long_job_ends, false);
	assert_int_equal(pthread_create(&thread, NULL, long_job, NULL), 0);
	for (unsigned int turn = 0; turn < 300; turn++) {
		DEFINE_KTASK_CTL(ctl, brief_work, NULL, 1);

		sim_online(0xffu & ~(1u << turn * 7919 / 3 % 8) & ~(1u << turn * 104729 / 5 % 8));
		assert_int_equal(kthread_rescan(), 0);
		assert_int_equal(ktask_run(NULL, 20, &ctl), 0);
	}
	atomic_store(&long_job_ends, true);
	pthread_join(thread, NULL);
	sim_stop();
}

/* ---- the limits shrink ---------------------------------------------------------------------------------------------- */

static struct {
	struct team team;
	pid_t caller;
	unsigned int wait_for;
	void (*shrink)(void);
	atomic_bool shrunk;
} few;

static bool helpers_sleep(void)
{
	for (int cpu = 0; cpu < 8; cpu++) {
		char name[16];
		pid_t tid;

		snprintf(name, sizeof(name), "ktask/%d", cpu);
		tid = sim_task(name);
		if (tid && !task_asleep(tid))
			return false;
	}
	return true;
}

/* Endless, until the helpers have been sent away. */
static int until_they_go(void *start, void *end, void *arg)
{
	if (!few.shrunk) {
		team_enter(&few.team);
		AWAIT(team_count(&few.team) >= few.wait_for);
		team_leave(&few.team);
	}
	take_time();
	if (gettid() != few.caller)
		return 0;
	if (!few.shrunk) {
		few.shrink();
		few.shrunk = true;
		return 0;
	}
	AWAIT(helpers_sleep());
	return 1;
}

static void run_until_they_go(unsigned int threads, void (*shrink)(void))
{
	DEFINE_KTASK_CTL(ctl, until_they_go, NULL, 1);

	memset(&few, 0, sizeof(few));
	pthread_mutex_init(&few.team.lock, NULL);
	few.caller = gettid();
	few.wait_for = threads;
	few.shrink = shrink;
	assert_int_equal(ktask_run(NULL, SIZE_MAX, &ctl), 1);
}

static void one_cpu_of_time(void)
{
	sim_replace("sys/fs/cgroup/pod/cpu.max", "100000 100000\n");
	CHECK(kthread_rescan() == 0);
}

static void limits__cpu_max_shrinks(void **state)
{
	flat();
	sim_put("proc/self/cgroup", "0::/pod\n");
	sim_put("sys/fs/cgroup/pod/cpu.max", "max 100000\n");
	sim_start(NULL);
	run_until_they_go(7, one_cpu_of_time);
	sim_stop();
}

static void *another_job(void *arg)
{
	DEFINE_KTASK_CTL(ctl, brief_work, NULL, 1);

	CHECK(ktask_run(NULL, 5, &ctl) == 0);
	return arg;
}

/* Another job is the first to see it. */
static void one_cpu(void)
{
	pthread_t thread;

	sim_online(0x01);
	CHECK(kthread_rescan() == 0);
	CHECK(pthread_create(&thread, NULL, another_job, NULL) == 0);
	pthread_join(thread, NULL);
}

static void limits__one_cpu_is_left(void **state)
{
	flat();
	sim_start(NULL);
	run_until_they_go(7, one_cpu);
	sim_stop();
}

/* ---- a helper ends, slowly ------------------------------------------------------------------------------------------ */

static pthread_key_t slow_key;
static atomic_bool ends_slowly, may_end;
static struct team pair;

static void end_slowly(void *value)
{
	atomic_store(&ends_slowly, true);
	AWAIT(atomic_load(&may_end));
}

static int gather_all(void *start, void *end, void *arg)
{
	struct team *team = arg;

	team_enter(team);
	AWAIT(team_count(team) == 7);
	team_leave(team);
	return 0;
}

static int helper_ends(void *start, void *end, void *arg)
{
	team_enter(&pair);
	AWAIT(team_count(&pair) == 2);
	team_leave(&pair);
	if (gettid() != *(const pid_t *)arg) {
		pthread_setspecific(slow_key, arg);
		pthread_exit(NULL);
	}
	AWAIT(atomic_load(&ends_slowly));
	return 0;
}

/* Nobody waits for its key destructors: the next jobs have another thread in its place. */
static void run__while_a_helper_ends(void **state)
{
	struct team all = TEAM_INIT;
	pid_t caller = gettid();
	DEFINE_KTASK_CTL(ctl, helper_ends, &caller, 1);
	DEFINE_KTASK_CTL(next, gather_all, &all, 1);

	flat();
	sim_start(NULL);
	pthread_mutex_init(&pair.lock, NULL);
	assert_int_equal(pthread_key_create(&slow_key, end_slowly), 0);
	ktask_ctl_set_max_threads(&ctl, 2);
	assert_int_equal(ktask_run(NULL, 100, &ctl), -ECANCELED);
	assert_int_equal(ktask_run(NULL, 7, &next), 0);
	atomic_store(&may_end, true);
	sim_stop();
	pthread_key_delete(slow_key);
}

/* ---- progress ------------------------------------------------------------------------------------------------------- */

static void see_progress(size_t done, size_t total, void *arg)
{
	size_t *last = arg;

	CHECK(done >= *last && done <= total);
	*last = done;
}

/* The last chunk may be anybody's, and end at any moment of the caller's wait, or before it. */
static void progress__ends_at_the_total(void **state)
{
	sim_start(NULL);
	for (int i = 0; i < 2000; i++) {
		size_t last = 0;
		DEFINE_KTASK_CTL(ctl, brief_work, NULL, 1);

		ktask_ctl_set_progress(&ctl, see_progress, &last);
		assert_int_equal(ktask_run(NULL, 5, &ctl), 0);
		assert_int_equal(last, 5);
	}
	sim_stop();
}

/* ---- fork() in each of the functions -------------------------------------------------------------------------------- */

/* A child does not look for leaks when it ends: its parent's stacks, which hold pointers, are not there. */
static atomic_int in_forked_child;

int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
	return atomic_load(&in_forked_child);
}

enum { IN_FN, IN_ITER, IN_PROGRESS, IN_UNDO };

static struct {
	int where;
	pid_t caller;
	atomic_int child;
	size_t fails_at;
	unsigned int after; /* calls in the child */
} forks;

/* The caller forks, the first time that it is in that function. */
static void fork_in(int where)
{
	if (atomic_load(&in_forked_child)) {
		forks.after++;
	} else if (forks.where == where && !atomic_load(&forks.child) && gettid() == forks.caller) {
		const pid_t child = fork();

		if (child == 0)
			atomic_store(&in_forked_child, 1); /* for ThreadSanitizer, the parent's helpers are here */
		CHECK(child >= 0);
		atomic_store(&forks.child, child);
	}
}

static int fn_forks(void *start, void *end, void *arg)
{
	fork_in(IN_FN);
	if (gettid() != forks.caller && !atomic_load(&in_forked_child) && forks.where != IN_UNDO)
		AWAIT(atomic_load(&forks.child));
	return NUMBER(end) > forks.fails_at ? -5 : 0;
}

static void *iter_forks(void *position, size_t size)
{
	fork_in(IN_ITER);
	return AT(NUMBER(position) + size);
}

static void progress_forks(size_t done, size_t total, void *arg)
{
	fork_in(IN_PROGRESS);
}

static void undo_forks(void *start, void *end, void *arg)
{
	fork_in(IN_UNDO);
}

static void run_forks(int where, size_t size, size_t min_chunk)
{
	struct ktask_node pieces[] = {{AT(0), size / 2, 0}, {AT(size / 2), size - size / 2, 1}};
	const size_t count = min_chunk < size ? 2 : 1;
	DEFINE_KTASK_CTL(ctl, fn_forks, NULL, min_chunk);
	int answer, status;

	memset(&forks, 0, sizeof(forks));
	forks.where = where;
	forks.caller = gettid();
	forks.fails_at = where == IN_UNDO ? size - 1 : size;
	if (count == 1)
		pieces[0].size = size;
	ktask_ctl_set_iter_func(&ctl, iter_forks);
	ktask_ctl_set_undo_func(&ctl, undo_forks);
	ktask_ctl_set_progress(&ctl, progress_forks, NULL);
	answer = ktask_run_numa(pieces, count, &ctl);
	if (atomic_load(&in_forked_child))
		_exit(answer == -ECHILD ? 33 + (int)forks.after : 1);
	assert_int_equal(answer, where == IN_UNDO ? -5 : 0);
	assert_true(atomic_load(&forks.child) > 0);
	AWAIT(waitpid(atomic_load(&forks.child), &status, WNOHANG) == atomic_load(&forks.child));
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 33);
}

static void run__forks_in_any_function(void **state)
{
	sim_start(NULL);
	for (int where = IN_FN; where <= IN_UNDO; where++)
		run_forks(where, 100, 1);
	/* so small that nobody helps */
	for (int where = IN_FN; where < IN_UNDO; where++)
		run_forks(where, 10, 100);
	sim_stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(crew__comes_and_goes),        cmocka_unit_test(limits__cpu_max_shrinks),
	    cmocka_unit_test(limits__one_cpu_is_left),     cmocka_unit_test(run__while_a_helper_ends),
	    cmocka_unit_test(progress__ends_at_the_total), cmocka_unit_test(run__forks_in_any_function),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

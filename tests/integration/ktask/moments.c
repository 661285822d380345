/* SPDX-License-Identifier: MIT */
/*
 * Moments of a job: what happens between two jobs, in the midst of one, and while it ends.
 */
#include "team.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(crew__comes_and_goes),
	    cmocka_unit_test(progress__ends_at_the_total),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
/*
 * Workers and the rest of the library: CPUs that go and come, fork(), ends of threads, bad input.
 */
#include "probe.h"

#include "works.h"

#include <sys/prctl.h>

static struct kthread_worker *on_cpu(unsigned int cpu, unsigned int flags)
{
	struct kthread_worker *w = kthread_run_worker_on_cpu(cpu, flags, "on/%u");

	assert_non_null(w);
	return w;
}

static int start(void **state)
{
	sim_start(NULL);
	return 0;
}

static int stop(void **state)
{
	sim_stop();
	return 0;
}

/* ---- CPUs -------------------------------------------------------------------------------------------------------- */

static intptr_t call_down(void *cpu)
{
	return kthread_cpu_down((unsigned int)(uintptr_t)cpu, 0);
}

static void until_asked_to_park(struct gated *gated)
{
	AWAIT(kthread_should_park());
}

static void per_cpu__runs_what_is_queued_before_its_cpu_goes(void **state)
{
	struct kthread_worker *w = on_cpu(3, KTHREAD_WORKER_PER_CPU);
	struct gated works[5];
	struct call down;
	struct call flush;

	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 5; i++)
			gated_init(&works[i]);
		works[0].inside = until_asked_to_park;
		gated_begin(w, &works[0]);
		for (int i = 1; i < 4; i++)
			assert_true(kthread_queue_work(w, &works[i].dwork.work));
		call_begin(&down, call_down, (void *)3);
		call_blocks(&down);
		gated_end(&works[0]);
		AWAIT_DONE(&works[1].begun);
		/* it is on its way: this one is too late */
		assert_true(kthread_queue_work(w, &works[4].dwork.work));
		for (int i = 1; i < 4; i++) {
			call_blocks(&down);
			gated_end(&works[i]);
		}
		assert_int_equal(call_end(&down), 0);
		assert_int_equal(state_of(kthread_worker_thread(w)), KTHREAD_PARKED);
		kthread_flush_work(&works[3].dwork.work); /* has ended */
		assert_false(kthread_cancel_work_sync(&works[3].dwork.work));
		assert_int_equal(works[4].runs, 0);
		call_begin(&flush, call_flush_worker, w);
		call_blocks(&flush);
		assert_int_equal(kthread_cpu_up(3, 0), 0);
		AWAIT_DONE(&works[4].begun);
		gated_end(&works[4]);
		call_end(&flush);
	}
	kthread_destroy_worker(w);
}

/* Asleep, and queued for a moment before: it must not be parked in its sleep. */
static void per_cpu__runs_what_has_just_been_queued(void **state)
{
	struct kthread_worker *w = on_cpu(3, KTHREAD_WORKER_PER_CPU);
	struct gated gated;

	free_init(&gated);
	for (int i = 0; i < 100; i++) {
		await_waiting(kthread_worker_thread(w));
		assert_true(kthread_queue_work(w, &gated.dwork.work));
		assert_int_equal(kthread_cpu_down(3, 0), 0);
		assert_int_equal(gated.runs, i + 1);
		assert_int_equal(kthread_cpu_up(3, 0), 0);
	}
	kthread_destroy_worker(w);
}

static void per_cpu__waits_for_a_cpu_that_has_gone(void **state)
{
	struct kthread_worker *w = on_cpu(2, KTHREAD_WORKER_PER_CPU);
	struct kthread_worker *created = kthread_create_worker_on_cpu(2, KTHREAD_WORKER_PER_CPU, "created/%u");
	struct gated works[3];

	for (int i = 0; i < 3; i++)
		gated_init(&works[i]);
	gated_begin(w, &works[0]);
	assert_true(kthread_queue_delayed_work(w, &works[1].dwork, 1));
	probe_online(0xff & ~(1u << 2));
	gated_end(&works[0]);
	AWAIT(state_of(kthread_worker_thread(w)) == KTHREAD_PARKED);
	kthread_flush_work(&works[0].dwork.work);
	assert_true(kthread_queue_work(created, &works[2].dwork.work));
	kthread_complete(&works[2].go);
	kthread_complete(&works[1].go);
	AWAIT(state_of(kthread_worker_thread(created)) == KTHREAD_PARKED);
	assert_int_equal(works[1].runs + works[2].runs, 0);
	probe_online(0xff);
	AWAIT(works[1].runs == 1 && works[2].runs == 1);
	kthread_destroy_worker(w);
	kthread_destroy_worker(created);
}

static void bound__works_elsewhere_meanwhile(void **state)
{
	struct kthread_worker *w = on_cpu(2, 0);
	struct gated gated;

	free_init(&gated);
	probe_online(0xff & ~(1u << 2));
	assert_true(kthread_is_broken(kthread_worker_thread(w)));
	assert_true(kthread_queue_work(w, &gated.dwork.work));
	kthread_flush_worker(w);
	assert_int_equal(gated.runs, 1);
	probe_online(0xff);
	assert_placed(kthread_worker_thread(w), KTHREAD_WISH_BOUND, 1u << 2);
	assert_int_equal(kthread_cpu_down(2, 0), 0);
	assert_true(kthread_queue_work(w, &gated.dwork.work));
	kthread_flush_worker(w);
	assert_int_equal(gated.runs, 2);
	assert_int_equal(kthread_cpu_up(2, 0), 0);
	kthread_destroy_worker(w);
}

static void destroy__while_its_cpu_is_gone(void **state)
{
	for (int how = 0; how < 3; how++) {
		struct kthread_worker *w = how == 2 ? kthread_create_worker_on_cpu(4, KTHREAD_WORKER_PER_CPU, "on/%u")
		                                    : on_cpu(4, KTHREAD_WORKER_PER_CPU);
		struct gated works[3];

		if (how < 2)
			await_waiting(kthread_worker_thread(w));
		if (how)
			probe_online(0xff & ~(1u << 4));
		else
			assert_int_equal(kthread_cpu_down(4, 0), 0);
		for (int i = 0; i < 3; i++) {
			free_init(&works[i]);
			assert_true(kthread_queue_work(w, &works[i].dwork.work));
		}
		kthread_destroy_worker(w);
		for (int i = 0; i < 3; i++)
			assert_int_equal(works[i].runs, 1);
		if (how)
			probe_online(0xff);
		else
			assert_int_equal(kthread_cpu_up(4, 0), 0);
	}
}

/* ---- a work ends its thread --------------------------------------------------------------------------------------- */

static void exits(struct gated *gated)
{
	atomic_store(&gated->running, false);
	atomic_fetch_add(&gated->runs, 1);
	kthread_exit(77);
}

static void exits_as_posix_does(struct gated *gated)
{
	atomic_store(&gated->running, false);
	atomic_fetch_add(&gated->runs, 1);
	pthread_exit(NULL);
}

/* In its turn, and in the last run before its CPU goes. */
static void exit__in_a_work(void **state)
{
	for (int how = 0; how < 4; how++) {
		struct kthread_worker *w = on_cpu(5, how / 2 ? KTHREAD_WORKER_PER_CPU : 0);
		struct gated works[4];
		struct call calls[4];

		for (int i = 0; i < 4; i++)
			gated_init(&works[i]);
		works[1].inside = how % 2 ? exits : exits_as_posix_does;
		gated_begin(w, &works[0]);
		for (int i = 1; i < 3; i++)
			assert_true(kthread_queue_work(w, &works[i].dwork.work));
		assert_true(kthread_queue_delayed_work(w, &works[3].dwork, HOUR));
		call_begin(&calls[0], call_down, (void *)5);
		if (how / 2)
			call_blocks(&calls[0]);
		call_begin(&calls[1], call_flush_work, &works[1].dwork.work);
		call_begin(&calls[2], call_flush_work, &works[2].dwork.work);
		call_begin(&calls[3], call_flush_worker, w);
		for (int i = 1; i < 4; i++)
			call_blocks(&calls[i]);
		gated_end(&works[0]);
		AWAIT_DONE(&works[1].begun);
		kthread_complete(&works[1].go);
		for (int i = 1; i < 4; i++)
			call_end(&calls[i]);
		assert_int_equal(call_end(&calls[0]), 0);
		AWAIT(sim_logged("on/5: 1 works will not run: their time had not come") == how + 1);
		AWAIT(sim_logged("on/5: 1 works will not run: its thread has ended before them") == how + 1);
		assert_int_equal(works[1].runs, 1);
		assert_int_equal(works[2].runs, 0);
		/* what did not run is idle, and nothing more is accepted */
		for (int i = 1; i < 4; i++) {
			assert_false(kthread_cancel_delayed_work_sync(&works[i].dwork));
			assert_false(kthread_queue_work(w, &works[i].dwork.work));
			assert_false(kthread_queue_delayed_work(w, &works[i].dwork, 1));
			kthread_flush_work(&works[i].dwork.work);
		}
		kthread_flush_worker(w);
		assert_int_equal(kthread_stop(kthread_get(kthread_worker_thread(w))), how % 2 ? 77 : -ECANCELED);
		kthread_destroy_worker(w);
		assert_int_equal(kthread_cpu_up(5, 0), 0);
	}
}

/* ---- the user stops it --------------------------------------------------------------------------------------------- */

static void stop__in_the_middle(void **state)
{
	struct kthread_worker *w = kthread_run_worker(0, "stopped");
	struct gated works[3];
	struct call stop_it;

	for (int i = 0; i < 3; i++)
		gated_init(&works[i]);
	gated_begin(w, &works[0]);
	assert_true(kthread_queue_work(w, &works[1].dwork.work));
	call_begin(&stop_it, call_stop, w);
	call_blocks(&stop_it);
	gated_end(&works[0]);
	AWAIT_DONE(&works[1].begun);
	assert_false(kthread_queue_work(w, &works[2].dwork.work));
	assert_false(kthread_mod_delayed_work(w, &works[2].dwork, 1));
	call_blocks(&stop_it);
	gated_end(&works[1]);
	assert_int_equal(call_end(&stop_it), 0);
	assert_int_equal(works[2].runs, 0);
	kthread_destroy_worker(w);
}

/* ---- fork -------------------------------------------------------------------------------------------------------- */

struct family {
	struct kthread_worker *w;
	struct gated *pending, *idle, *delayed;
};

/* No threads after fork() where a sanitizer does not bear them. */
static int own_life(struct family *family)
{
#ifndef __SANITIZE_THREAD__
	struct gated fresh;

	family->w = kthread_run_worker(0, "child's");
	EXPECT(family->w);
	free_init(&fresh);
	free_init(family->pending);
	EXPECT(kthread_queue_work(family->w, &fresh.dwork.work));
	EXPECT(kthread_queue_work(family->w, &family->pending->dwork.work));
	kthread_destroy_worker(family->w);
	EXPECT(fresh.runs == 1 && family->pending->runs == 1);
#else
	(void)family;
#endif
	return 0;
}

static int child_of_fork(void *arg)
{
	struct family *family = arg;

	EXPECT(!kthread_queue_work(family->w, &family->idle->dwork.work));
	EXPECT(!kthread_queue_work(family->w, &family->pending->dwork.work));
	EXPECT(!kthread_queue_delayed_work(family->w, &family->idle->dwork, 5));
	EXPECT(!kthread_mod_delayed_work(family->w, &family->idle->dwork, 5));
	EXPECT(!kthread_mod_delayed_work(family->w, &family->delayed->dwork, 5));
	kthread_flush_work(&family->pending->dwork.work);
	kthread_flush_work(&family->idle->dwork.work);
	kthread_flush_worker(family->w);
	kthread_cancel_work_sync(&family->pending->dwork.work);
	kthread_cancel_delayed_work_sync(&family->delayed->dwork);
	EXPECT(!kthread_create_worker(0, "none") && errno == ECHILD);
	kthread_destroy_worker(family->w);
	if (kthread_init(NULL) != 0)
		return 0;
	return own_life(family) != 0 ? 1 : kthread_fini();
}

static void fork__the_child_has_no_workers(void **state)
{
	struct gated running;
	struct gated pending;
	struct gated idle;
	struct gated delayed;
	struct family family = {kthread_run_worker(0, "parent's"), &pending, &idle, &delayed};

	gated_init(&running);
	gated_init(&pending);
	free_init(&idle);
	gated_init(&delayed);
	gated_begin(family.w, &running);
	assert_true(kthread_queue_work(family.w, &pending.dwork.work));
	assert_true(kthread_queue_delayed_work(family.w, &delayed.dwork, HOUR));
	for (int i = 0; i < 3; i++)
		assert_int_equal(in_child(child_of_fork, &family), 0);
	gated_end(&running);
	AWAIT_DONE(&pending.begun);
	gated_end(&pending);
	assert_true(kthread_cancel_delayed_work_sync(&delayed.dwork));
	kthread_destroy_worker(family.w);
}

static atomic_int child_status;

/* Before LeakSanitizer's handler, which does not see the stack of a main thread that there is not. */
static void leave(void)
{
	_exit(0);
}

/* The child comes back from the work, and ends; it may have ended the worker before. */
static void forks(struct gated *gated)
{
	int status = -1;
	pid_t pid;

	pid = fork();
	if (pid == 0) {
		atexit(leave);
		kthread_destroy_worker(gated->worker);
		if (kthread_init(NULL) == 0)
			kthread_fini(); /* the memory of workers goes */
		return;
	}
	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
	atomic_store(&child_status, status);
}

static void fork__in_a_work(void **state)
{
	struct kthread_worker *w = kthread_run_worker(0, "parent's");
	struct gated gated;

	for (int i = 0; i < 5; i++) {
		free_init(&gated);
		gated.inside = forks;
		gated.worker = w;
		atomic_store(&child_status, -1);
		assert_true(kthread_queue_work(w, &gated.dwork.work));
		kthread_flush_work(&gated.dwork.work);
		assert_int_equal(gated.runs, 1);
		assert_int_equal(child_status, 0);
	}
	kthread_destroy_worker(w);
}

#ifndef __SANITIZE_THREAD__ /* no threads after fork() there */
/* It runs in the child, too, which queues it to a worker of its own. */
static void queues_itself_in_the_child(struct gated *gated)
{
	int status = -1;
	pid_t pid;

	pid = fork();
	if (pid == 0) {
		struct kthread_worker *w = kthread_init(NULL) == 0 ? kthread_run_worker(0, "child's") : NULL;

		gated->inside = NULL;
		atomic_store(&gated->running, false);
		if (!w || !kthread_queue_work(w, &gated->dwork.work))
			_exit(1);
		kthread_flush_work(&gated->dwork.work);
		_exit(gated->runs == 1 ? 0 : 2);
	}
	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
	atomic_store(&child_status, status);
}

static void fork__in_a_work__which_the_child_queues_anew(void **state)
{
	struct kthread_worker *w = kthread_run_worker(0, "parent's");
	struct gated gated;

	free_init(&gated);
	gated.inside = queues_itself_in_the_child;
	atomic_store(&child_status, -1);
	assert_true(kthread_queue_work(w, &gated.dwork.work));
	kthread_flush_work(&gated.dwork.work);
	assert_int_equal(child_status, 0);
	assert_int_equal(gated.runs, 1);
	kthread_destroy_worker(w);
}
#endif

/* ---- the thread ---------------------------------------------------------------------------------------------------- */

static void reads_slack(struct gated *gated)
{
	CHECK(prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0) == 1);
}

/* Else works would be late by 50 us. */
static void timer_slack__is_as_small_as_can_be(void **state)
{
	struct kthread_worker *w = kthread_run_worker(0, "prompt");
	struct gated gated;

	free_init(&gated);
	gated.inside = reads_slack;
	assert_true(kthread_queue_work(w, &gated.dwork.work));
	kthread_destroy_worker(w);
	assert_int_equal(gated.runs, 1);
}

/* ---- input --------------------------------------------------------------------------------------------------------- */

static void fails_with(struct kthread_worker *w, int error)
{
	const int seen = errno;

	assert_null(w);
	assert_int_equal(seen, error);
	errno = 0;
}

static void bad_input__is_told(void **state)
{
	struct kthread_attr attr = KTHREAD_ATTR_INIT;
	struct kthread_worker *w = kthread_run_worker(0, "good");
	struct kthread_work work = KTHREAD_WORK_INIT(NULL);
	struct kthread_delayed_work dwork = KTHREAD_DELAYED_WORK_INIT(NULL);

	fails_with(kthread_create_worker(KTHREAD_WORKER_PER_CPU, "none"), EINVAL);
	fails_with(kthread_create_worker(4, "none"), EINVAL);
	fails_with(kthread_run_worker(~0u, "none"), EINVAL);
	fails_with(kthread_create_worker(0, NULL), EINVAL);
	fails_with(kthread_create_worker_on_node(KTHREAD_WORKER_PER_CPU, 0, "none"), EINVAL);
	fails_with(kthread_create_worker_on_node(0, 1000, "none"), EINVAL);
	fails_with(kthread_create_worker_on_cpu(0, 4, "none/%u"), EINVAL);
	fails_with(kthread_create_worker_on_cpu(0, 0, "none"), EINVAL);
	fails_with(kthread_create_worker_on_cpu(0, 0, NULL), EINVAL);
	fails_with(kthread_create_worker_on_cpu(4000, 0, "none/%u"), EINVAL);
	fails_with(kthread_create_worker_on_cpu(~0u, KTHREAD_WORKER_PER_CPU, "none/%u"), EINVAL);
	fails_with(kthread_run_worker_on_cpu(0, 8, "none/%u"), EINVAL);
	attr.nice = 100;
	fails_with(kthread_create_worker_attr(&attr, 0, "none"), EINVAL);
	attr.size = 1;
	fails_with(kthread_create_worker_attr(&attr, 0, "none"), EINVAL);
	assert_null(kthread_worker_thread(NULL));
	assert_false(kthread_queue_work(NULL, &work));
	assert_false(kthread_queue_work(w, NULL));
	assert_false(kthread_queue_work(w, &work)); /* without a function */
	assert_false(kthread_queue_delayed_work(NULL, &dwork, 0));
	assert_false(kthread_queue_delayed_work(w, NULL, 0));
	assert_false(kthread_queue_delayed_work(w, &dwork, 1));
	assert_false(kthread_mod_delayed_work(NULL, &dwork, 0));
	assert_false(kthread_mod_delayed_work(w, NULL, 0));
	assert_false(kthread_mod_delayed_work(w, &dwork, 0));
	assert_false(kthread_cancel_work_sync(NULL));
	assert_false(kthread_cancel_delayed_work_sync(NULL));
	assert_false(kthread_cancel_work_sync(&work));
	kthread_flush_work(NULL);
	kthread_flush_work(&work);
	kthread_flush_worker(NULL);
	kthread_init_work(NULL, gated_fn);
	kthread_init_delayed_work(NULL, gated_fn);
	kthread_destroy_worker(NULL);
	kthread_destroy_worker(w);
}

static int silent[2];

static void reads(struct gated *gated)
{
	char byte;

	CHECK(read(silent[0], &byte, 1) == -1 && errno == EINTR);
}

static void attr__is_the_threads(void **state)
{
	struct kthread_attr attr = KTHREAD_ATTR_INIT;
	struct kthread_worker *w;
	struct gated gated;

	attr.flags = KTHREAD_INTERRUPT;
	attr.nice = 3;
	attr.stack_size = 1u << 20;
	attr.node = 1;
	w = kthread_create_worker_attr(&attr, KTHREAD_WORKER_FREEZABLE, "attr/%d", 7);
	assert_non_null(w);
	assert_string_equal(kthread_name(kthread_worker_thread(w)), "attr/7");
	assert_int_equal(sim_mask(kthread_worker_thread(w), KTHREAD_MASK_EFFECTIVE), 0x0c);
	assert_int_equal(pipe(silent), 0);
	free_init(&gated);
	gated.inside = reads;
	gated_begin(w, &gated);
	kthread_destroy_worker(w); /* KTHREAD_INTERRUPT breaks it */
	assert_int_equal(gated.runs, 1);
	close(silent[0]);
	close(silent[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(per_cpu__runs_what_is_queued_before_its_cpu_goes, start, stop),
	    cmocka_unit_test_setup_teardown(per_cpu__runs_what_has_just_been_queued, start, stop),
	    cmocka_unit_test_setup_teardown(per_cpu__waits_for_a_cpu_that_has_gone, start, stop),
	    cmocka_unit_test_setup_teardown(bound__works_elsewhere_meanwhile, start, stop),
	    cmocka_unit_test_setup_teardown(destroy__while_its_cpu_is_gone, start, stop),
	    cmocka_unit_test_setup_teardown(exit__in_a_work, start, stop),
	    cmocka_unit_test_setup_teardown(stop__in_the_middle, start, stop),
	    cmocka_unit_test_setup_teardown(fork__the_child_has_no_workers, start, stop),
	    cmocka_unit_test_setup_teardown(fork__in_a_work, start, stop),
#ifndef __SANITIZE_THREAD__
	    cmocka_unit_test_setup_teardown(fork__in_a_work__which_the_child_queues_anew, start, stop),
#endif
	    cmocka_unit_test_setup_teardown(timer_slack__is_as_small_as_can_be, start, stop),
	    cmocka_unit_test_setup_teardown(bad_input__is_told, start, stop),
	    cmocka_unit_test_setup_teardown(attr__is_the_threads, start, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
/*
 * A freeze against two other things at a time, all pairs of them: stop, park, unpark, flush, cancel, queue, delayed works
 * whose time comes, destroy; begun when the worker is frozen, and while the freeze still waits for a work.
 */
#include "works.h"

static struct scene {
	struct kthread_worker *w;
	struct kthread *thread;
	struct gated gate, pending, due, fresh;
	int accepted, cancelled;
} s;

static intptr_t do_stop(void *unused)
{
	return kthread_stop(kthread_get(s.thread));
}

static intptr_t do_park(void *unused)
{
	return kthread_park(s.thread);
}

static intptr_t do_unpark(void *unused)
{
	kthread_unpark(s.thread);
	return 0;
}

static intptr_t do_flush_work(void *unused)
{
	kthread_flush_work(&s.pending.dwork.work);
	return 0;
}

static intptr_t do_flush_worker(void *unused)
{
	kthread_flush_worker(s.w);
	return 0;
}

static intptr_t do_cancel(void *unused)
{
	return kthread_cancel_work_sync(&s.pending.dwork.work);
}

static intptr_t do_cancel_the_one_before(void *unused)
{
	return kthread_cancel_work_sync(&s.gate.dwork.work);
}

static intptr_t do_queue(void *unused)
{
	return kthread_queue_work(s.w, &s.fresh.dwork.work);
}

static intptr_t do_expiry(void *unused)
{
	return kthread_queue_delayed_work(s.w, &s.due.dwork, 1);
}

static intptr_t do_destroy(void *unused)
{
	kthread_destroy_worker(s.w);
	return 0;
}

enum { RETURNS, WAITS_FOR_THAW, WAITS_FOR_WORK, ENDS };

static const struct deed {
	const char *name;
	intptr_t (*fn)(void *unused);
	int when; /* it returns */
} deeds[] = {
    {"stop", do_stop, ENDS},
    {"park", do_park, WAITS_FOR_WORK},
    {"unpark", do_unpark, RETURNS},
    {"flush work", do_flush_work, WAITS_FOR_THAW},
    {"flush worker", do_flush_worker, WAITS_FOR_THAW},
    {"cancel", do_cancel, RETURNS},
    {"cancel the one before", do_cancel_the_one_before, WAITS_FOR_WORK},
    {"queue", do_queue, RETURNS},
    {"expiry", do_expiry, RETURNS},
    {"destroy", do_destroy, ENDS},
};
#define DEEDS (sizeof(deeds) / sizeof(*deeds))

/* What it has answered is in the books. */
static void book(const struct deed *deed, intptr_t answer)
{
	if (deed->fn == do_queue || deed->fn == do_expiry)
		s.accepted += (int)answer;
	else if (deed->fn == do_cancel)
		s.cancelled += (int)answer;
}

static int runs(void)
{
	return s.gate.runs + s.pending.runs + s.due.runs + s.fresh.runs;
}

static bool has(const struct deed *a, const struct deed *b, intptr_t (*fn)(void *unused))
{
	return a->fn == fn || b->fn == fn;
}

/* Frozen in its sleep, or between two works, or not yet when the two begin. */
enum moment { IN_PLACE, BETWEEN, WHILE_A_WORK_RUNS, MOMENTS };

static void play(const struct deed *a, const struct deed *b, enum moment moment)
{
	struct call freeze;
	struct call calls[2];
	const bool ends = a->when == ENDS || b->when == ENDS;
	int before;

	s = (struct scene){.w = kthread_run_worker(KTHREAD_WORKER_FREEZABLE, "pair")};
	assert_non_null(s.w);
	s.thread = kthread_get(kthread_worker_thread(s.w));
	gated_init(&s.gate);
	free_init(&s.pending);
	free_init(&s.due);
	free_init(&s.fresh);
	if (moment == IN_PLACE)
		await_waiting(s.thread);
	else
		gated_begin(s.w, &s.gate);
	call_begin(&freeze, call_freeze, NULL);
	if (moment == IN_PLACE)
		assert_int_equal(call_end(&freeze), 0);
	else
		call_blocks(&freeze);
	if (moment == BETWEEN) {
		gated_end(&s.gate);
		assert_int_equal(call_end(&freeze), 0);
	}
	assert_true(kthread_queue_work(s.w, &s.pending.dwork.work));
	s.accepted = moment != IN_PLACE ? 2 : 1;
	before = runs();
	call_begin(&calls[0], a->fn, NULL);
	if (a->when == RETURNS)
		AWAIT(calls[0].done);
	else
		AWAIT(task_asleep(calls[0].tid) || calls[0].done);
	call_begin(&calls[1], b->fn, NULL);
	if (!ends) {
		for (int i = 0; i < 2; i++) {
			const struct deed *deed = i ? b : a;
			const bool emptied = i && a->fn == do_cancel; /* there is nothing left to flush */

			if (deed->when == WAITS_FOR_THAW && !emptied)
				call_blocks(&calls[i]);
			else if (deed->when == RETURNS)
				AWAIT(calls[i].done);
		}
		assert_int_equal(runs(), before);
	}
	if (moment == WHILE_A_WORK_RUNS) {
		gated_end(&s.gate);
		assert_int_equal(call_end(&freeze), 0);
		if (!ends) /* it has ended, so nobody waits for it; nothing else has run */
			assert_int_equal(runs(), before + 1);
		for (int i = 0; i < 2 && !ends; i++) {
			if ((i ? b : a)->fn == do_cancel_the_one_before)
				AWAIT(calls[i].done);
		}
	}
	kthread_thaw_all();
	if (!ends && !has(a, b, do_unpark) && !has(a, b, do_park))
		kthread_flush_worker(s.w);
	if (has(a, b, do_park) && !ends) { /* granted by now, or taken back by the other */
		AWAIT(calls[a->fn == do_park ? 0 : 1].done);
		kthread_unpark(s.thread);
	}
	book(a, call_end(&calls[0]));
	book(b, call_end(&calls[1]));
	if (!has(a, b, do_destroy))
		kthread_destroy_worker(s.w);
	assert_int_equal(kthread_stop(s.thread), 0);
	/* a delayed work whose time had come ran, if not: it had not been looked at before the end */
	if (s.accepted != runs() + s.cancelled)
		assert_true(ends && has(a, b, do_expiry) && s.due.runs == 0);
}

static void freeze__against_all_pairs(void **state)
{
	for (size_t a = 0; a < DEEDS; a++) {
		for (size_t b = 0; b < DEEDS; b++) {
			for (enum moment moment = 0; moment < MOMENTS; moment++) {
				if (deeds[a].fn == do_destroy) /* no other call may begin after it */
					continue;
				if (getenv("KTHREAD_PAIRS"))
					print_message("%s, %s, %d\n", deeds[a].name, deeds[b].name, moment);
				play(&deeds[a], &deeds[b], moment);
			}
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(freeze__against_all_pairs),
	};

	return cmocka_run_group_tests(tests, start_without_a_log, fini_finds_nothing);
}

/* SPDX-License-Identifier: MIT */
/*
 * A freeze against everything else that may happen to a thread: stop, park, unpark, wake, end, creation, the last put,
 * fork(), the library's end. CPU hotplug: hotplug/freezer.c.
 */
#include "freezer.h"

/* The sanitizers do not bear what a child of many threads may do. */
#ifdef __has_feature
#define SANITIZED (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

/* A call that may have to wait, made by a thread of its own. */
struct call {
	pthread_t thread;
	int (*fn)(struct kthread *k);
	struct kthread *k;
	atomic_int tid;
	atomic_bool done;
	int result;
};

static void *make_call(void *arg)
{
	struct call *call = arg;

	atomic_store(&call->tid, gettid());
	call->result = call->fn(call->k);
	atomic_store(&call->done, true);
	return NULL;
}

static void start_call(struct call *call, int (*fn)(struct kthread *k), struct kthread *k)
{
	*call = (struct call){.fn = fn, .k = k};
	CHECK(pthread_create(&call->thread, NULL, make_call, call) == 0);
}

/* It waits: asleep, and not done. */
static void await_waits(struct call *call)
{
	AWAIT(atomic_load(&call->tid));
	await_settled(atomic_load(&call->tid));
	CHECK(!atomic_load(&call->done));
}

static int end_call(struct call *call)
{
	AWAIT(atomic_load(&call->done));
	pthread_join(call->thread, NULL);
	return call->result;
}

static int freeze_without_limit(struct kthread *k)
{
	(void)k;
	return kthread_freeze_all(UINT64_MAX);
}

/* ---- stop -------------------------------------------------------------------------------------------------------- */

static void kthread_stop__of_a_frozen_thread(void **state)
{
	(void)state;
	for (int kind = 0; kind < KINDS; kind++) {
		struct subject subjects[2];
		struct kthread *stopped = start_subject(&subjects[0], kind);
		struct kthread *stays = start_subject(&subjects[1], BUSY);

		assert_int_equal(kthread_freeze_all(LONG), 0);
		check_still(&subjects[0]);
		assert_int_equal(kthread_stop(stopped), 10 + kind); /* before the thaw */
		check_still(&subjects[1]);
		assert_int_equal(state_of(stays), KTHREAD_FROZEN);
		kthread_thaw_all();
		assert_int_equal(kthread_stop(stays), 10 + BUSY);
	}
}

struct cleaner {
	struct kthread_completion freezable;
	struct kthread_completion cleaning;
	struct kthread_completion go;
};

/* Does not freeze, and takes its time to end. */
static int cleans_up(void *data)
{
	struct cleaner *cleaner = data;

	kthread_set_freezable();
	kthread_complete(&cleaner->freezable);
	while (!kthread_should_stop())
		kthread_wait();
	kthread_complete(&cleaner->cleaning);
	CHECK(!kthread_try_to_freeze()); /* whoever stops it may be who thaws */
	AWAIT_DONE(&cleaner->go);
	CHECK(!kthread_try_to_freeze());
	CHECK(!kthread_set_freezable());
	return 7;
}

static struct kthread *start_cleaner(struct cleaner *cleaner)
{
	struct kthread *k;

	kthread_init_completion(&cleaner->freezable);
	kthread_init_completion(&cleaner->cleaning);
	kthread_init_completion(&cleaner->go);
	k = kthread_run(cleans_up, cleaner, "cleaner");
	CHECK(k);
	AWAIT_DONE(&cleaner->freezable);
	return k;
}

static void kthread_freeze_all__waits_for_the_end_of_who_stops(void **state)
{
	struct cleaner cleaner;
	struct kthread *k = start_cleaner(&cleaner);
	struct call stop;
	struct call freeze;

	(void)state;
	start_call(&stop, kthread_stop, kthread_get(k));
	AWAIT_DONE(&cleaner.cleaning);
	assert_int_equal(kthread_freeze_all(20 * MS), -ETIMEDOUT); /* it still runs */
	start_call(&freeze, freeze_without_limit, NULL);
	await_waits(&freeze);
	kthread_complete(&cleaner.go);
	assert_int_equal(end_call(&freeze), 0);
	assert_int_equal(end_call(&stop), 7);
	kthread_thaw_all();
	assert_int_equal(kthread_stop(k), 7);
}

/* It was waited for to freeze, and is stopped instead. */
static void kthread_stop__of_who_is_waited_for(void **state)
{
	struct cleaner cleaner;
	struct kthread *k = start_cleaner(&cleaner);
	struct call freeze;
	struct call stop;

	(void)state;
	start_call(&freeze, freeze_without_limit, NULL);
	await_waits(&freeze);
	start_call(&stop, kthread_stop, k);
	AWAIT_DONE(&cleaner.cleaning);
	await_waits(&freeze);
	kthread_complete(&cleaner.go);
	assert_int_equal(end_call(&freeze), 0);
	assert_int_equal(end_call(&stop), 7);
	kthread_thaw_all();
}

static void kthread_stop__races_with_freeze(void **state)
{
	(void)state;
	for (int round = 0; round < 300; round++) {
		const int kind = round % KINDS;
		struct subject subjects[2];
		struct kthread *stopped = start_subject(&subjects[0], kind);
		struct kthread *stays = start_subject(&subjects[1], (kind + 1) % KINDS);
		struct call stop;

		start_call(&stop, kthread_stop, stopped);
		assert_int_equal(kthread_freeze_all(LONG), 0);
		check_still(&subjects[1]);
		assert_int_equal(end_call(&stop), 10 + kind); /* it does not wait for the thaw */
		check_still(&subjects[1]);
		kthread_thaw_all();
		assert_int_equal(kthread_stop(stays), 10 + (kind + 1) % KINDS);
	}
}

/* ---- park -------------------------------------------------------------------------------------------------------- */

static void kthread_unpark__in_a_freeze(void **state)
{
	(void)state;
	for (int kind = 0; kind < KINDS; kind++) {
		struct subject subject;
		struct kthread *k = start_subject(&subject, kind);
		const int entries = kind == COMES_BACK ? 1 : 0;

		for (int round = 0; round < 20; round++) {
			assert_int_equal(kthread_park(k), 0);
			assert_int_equal(kthread_freeze_all(LONG), 0); /* parked is frozen */
			assert_int_equal(state_of(k), KTHREAD_PARKED);
			kthread_unpark(k);
			assert_int_equal(state_of(k), KTHREAD_FROZEN);
			check_still(&subject);
			if (round % 2) { /* it is parked as it stands */
				assert_int_equal(kthread_park(k), 0);
				assert_int_equal(state_of(k), KTHREAD_PARKED);
				kthread_wake(k);
				check_still(&subject);
				kthread_unpark(k);
				check_still(&subject);
			}
			kthread_thaw_all();
			check_moves(k, &subject);
		}
		assert_int_equal(kthread_stop(k), 10 + kind);
		assert_int_equal(atomic_load(&subject.entries), 1 + entries * 20);
	}
}

static void kthread_park__before_and_after_a_freeze(void **state)
{
	(void)state;
	for (int kind = 0; kind < KINDS; kind++) {
		struct subject subject;
		struct kthread *k = start_subject(&subject, kind);

		assert_int_equal(kthread_park(k), 0);
		for (int i = 0; i < 3; i++) {
			assert_int_equal(kthread_freeze_all(LONG), 0);
			kthread_thaw_all();
			assert_int_equal(state_of(k), KTHREAD_PARKED);
		}
		check_still(&subject);
		kthread_unpark(k);
		check_moves(k, &subject);
		assert_int_equal(kthread_stop(k), 10 + kind);
	}
}

/* Asleep in place it is parked at once, and stays so after the thaw. */
static void kthread_park__of_one_frozen_in_place(void **state)
{
	struct subject subject;
	struct kthread *k = start_subject(&subject, WAITS_PARKABLE);

	(void)state;
	for (int i = 0; i < 100; i++) {
		if (i % 2)
			await_waiting(k);
		else
			kthread_wake(k); /* or on its way there */
		assert_int_equal(kthread_freeze_all(LONG), 0);
		assert_int_equal(kthread_park(k), 0);
		assert_int_equal(state_of(k), KTHREAD_PARKED);
		check_still(&subject);
		kthread_thaw_all();
		check_still(&subject);
		assert_int_equal(state_of(k), KTHREAD_PARKED);
		kthread_unpark(k); /* it comes back from its wait, though nobody wakes it */
		AWAIT(turns(&subject) > subject.from_outside);
	}
	assert_int_equal(kthread_stop(k), 10 + WAITS_PARKABLE);
}

/* At a point that is no place to park, it parks after the thaw. */
static void kthread_park__of_one_frozen_elsewhere(void **state)
{
	static const int elsewhere[] = {BUSY, COMES_BACK, WAITS, READS, POLLS};

	(void)state;
	for (size_t i = 0; i < sizeof(elsewhere) / sizeof(*elsewhere); i++) {
		struct subject subject;
		struct kthread *k = start_subject(&subject, elsewhere[i]);
		struct call park;

		assert_int_equal(kthread_freeze_all(LONG), 0);
		start_call(&park, kthread_park, k);
		AWAIT(atomic_load(&park.tid));
		check_still(&subject);
		assert_int_equal(state_of(k), KTHREAD_FROZEN);
		assert_false(atomic_load(&park.done));
		kthread_thaw_all();
		assert_int_equal(end_call(&park), 0);
		check_still(&subject);
		assert_int_equal(state_of(k), KTHREAD_PARKED);
		kthread_unpark(k);
		check_moves(k, &subject);
		assert_int_equal(kthread_stop(k), 10 + elsewhere[i]);
	}
}

/* A park that cannot be granted before the thaw is taken back. */
static void kthread_unpark__of_a_request_to_a_frozen_thread(void **state)
{
	struct subject subject;
	struct kthread *k = start_subject(&subject, BUSY);

	(void)state;
	for (int i = 0; i < 100; i++) {
		struct call park;

		assert_int_equal(kthread_freeze_all(LONG), 0);
		start_call(&park, kthread_park, k);
		await_waits(&park);
		assert_int_equal(kthread_park(k), -EBUSY);
		kthread_unpark(k);
		assert_int_equal(end_call(&park), -ECANCELED);
		assert_int_equal(state_of(k), KTHREAD_FROZEN);
		check_still(&subject);
		kthread_thaw_all();
		check_moves(k, &subject);
	}
	assert_int_equal(kthread_stop(k), 10 + BUSY);
}

static int park_and_unpark(struct kthread *k)
{
	for (int i = 0; i < 200; i++) {
		const int error = kthread_park(k);

		if (error)
			return error;
		kthread_unpark(k);
	}
	return 0;
}

static void kthread_park__races_with_freeze(void **state)
{
	struct subject subjects[KINDS];
	struct kthread *k[KINDS];
	struct call calls[KINDS];
	bool busy_still = true;

	(void)state;
	for (int i = 0; i < KINDS; i++) {
		k[i] = start_subject(&subjects[i], i);
		start_call(&calls[i], park_and_unpark, k[i]);
	}
	while (busy_still) {
		busy_still = false;
		assert_int_equal(kthread_freeze_all(LONG), 0);
		for (int i = 0; i < KINDS; i++) {
			check_still(&subjects[i]); /* parked or frozen, and unparked meanwhile, or not */
			busy_still |= !atomic_load(&calls[i].done);
		}
		kthread_thaw_all();
	}
	for (int i = 0; i < KINDS; i++) {
		assert_int_equal(end_call(&calls[i]), 0);
		check_moves(k[i], &subjects[i]);
		assert_int_equal(kthread_stop(k[i]), 10 + i);
	}
}

/* ---- creation, and not yet begun --------------------------------------------------------------------------------- */

static void kthread_create__in_a_freeze(void **state)
{
	struct subject subjects[3] = {{.result = 1}, {.result = 2}, {.result = 3}};
	struct kthread *k[3];

	(void)state;
	for (int i = 0; i < 3; i++) {
		kthread_init_completion(&subjects[i].freezable);
		k[i] = kthread_create(busy, &subjects[i], "created/%d", i);
		assert_non_null(k[i]);
	}
	assert_int_equal(kthread_park(k[1]), 0);
	assert_int_equal(kthread_freeze_all(LONG), 0); /* created and parked ones count */
	kthread_wake(k[0]);
	kthread_unpark(k[1]);
	AWAIT(state_of(k[0]) == KTHREAD_FROZEN &&
	      state_of(k[1]) == KTHREAD_FROZEN); /* when they say that they may be */
	assert_int_equal(kthread_stop(k[2]), -EINTR);
	assert_int_equal(turns(&subjects[0]) + turns(&subjects[1]) + turns(&subjects[2]), 0);
	kthread_thaw_all();
	AWAIT(turns(&subjects[0]) > 0 && turns(&subjects[1]) > 0);
	assert_int_equal(kthread_stop(k[0]), 1);
	assert_int_equal(kthread_stop(k[1]), 2);
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

struct ender {
	struct kthread_completion freezable;
	struct kthread_completion go;
	bool exits;
};

static int ends(void *data)
{
	struct ender *ender = data;

	kthread_set_freezable();
	kthread_complete(&ender->freezable);
	AWAIT_DONE(&ender->go);
	if (ender->exits)
		kthread_exit(4);
	return 4;
}

/* Whoever ends instead of freezing is not waited for any longer. */
static void kthread_exit__of_who_is_waited_for(void **state)
{
	(void)state;
	for (int exits = 0; exits < 2; exits++) {
		struct ender ender = {.exits = exits};
		struct kthread *k;
		struct call freeze;

		kthread_init_completion(&ender.freezable);
		kthread_init_completion(&ender.go);
		k = kthread_run(ends, &ender, "ender");
		AWAIT_DONE(&ender.freezable);
		start_call(&freeze, freeze_without_limit, NULL);
		await_waits(&freeze);
		kthread_complete(&ender.go);
		assert_int_equal(end_call(&freeze), 0);
		kthread_thaw_all();
		assert_int_equal(kthread_stop(k), 4);
	}
}

static int ends_after_a_freeze(void *data)
{
	struct kthread_completion *done = data;

	while (!kthread_set_freezable())
		kthread_wait_for(MS);
	kthread_complete_and_exit(done, 0);
}

/* Nobody holds it any more. */
static void kthread_put__of_a_frozen_thread(void **state)
{
	struct kthread_completion done;
	struct kthread *k;

	(void)state;
	kthread_init_completion(&done);
	assert_int_equal(kthread_freeze_all(LONG), 0);
	k = kthread_run(ends_after_a_freeze, &done, "detached");
	AWAIT(state_of(k) == KTHREAD_FROZEN);
	kthread_put(k);
	assert_int_equal(kthread_wait_for_completion_timeout(&done, 0), -ETIMEDOUT);
	kthread_thaw_all();
	AWAIT_DONE(&done);
}

static void kthread_fini__in_a_freeze(void **state)
{
	struct subject subject;
	struct kthread *k = start_subject(&subject, WAITS);

	(void)state;
	assert_int_equal(kthread_freeze_all(LONG), 0);
	assert_int_equal(kthread_fini(), -EBUSY);
	check_still(&subject);
	assert_int_equal(kthread_stop(k), 10 + WAITS);
	AWAIT(kthread_fini() == 0);
	/* the library's next life begins without */
	k = start_subject(&subject, WAITS);
	assert_int_equal(atomic_load(&subject.frozen), 0);
	assert_int_equal(kthread_freeze_all(LONG), 0);
	kthread_thaw_all();
	assert_int_equal(kthread_stop(k), 10 + WAITS);
}

/* ---- wake -------------------------------------------------------------------------------------------------------- */

static int counts_waits(void *data)
{
	struct subject *subject = data;

	subject_begins(subject);
	while (!kthread_should_stop()) {
		subject_turn(subject);
		kthread_wait_for(UINT64_MAX);
		subject_turn(subject);
		kthread_try_to_freeze();
	}
	return 0;
}

/* A wake in a freeze is there after the thaw. */
static void kthread_wake__in_a_freeze(void **state)
{
	struct subject subject = {0};
	struct kthread *k;

	(void)state;
	kthread_init_completion(&subject.freezable);
	k = kthread_run(counts_waits, &subject, "counts");
	AWAIT_DONE(&subject.freezable);
	for (int i = 0; i < 100; i++) {
		unsigned long before;

		await_waiting(k);
		before = turns(&subject);
		assert_int_equal(kthread_freeze_all(LONG), 0);
		assert_int_equal(turns(&subject), before + 1); /* it came back to freeze */
		if (i % 2)
			assert_true(kthread_wake(k));
		check_still(&subject);
		kthread_thaw_all();
		AWAIT(turns(&subject) == before + (i % 2 ? 4 : 2));
	}
	assert_int_equal(kthread_stop(k), 0);
}

/* ---- fork -------------------------------------------------------------------------------------------------------- */

static int freeze_in_child(void *arg)
{
	struct kthread *parents = arg;
	struct subject subject;
	struct kthread *k;

	EXPECT(kthread_freeze_all(0) == -ECHILD);
	kthread_thaw_all(); /* nothing */
	EXPECT(kthread_init(NULL) == 0);
	kthread_put(parents);
	EXPECT(kthread_freeze_all(LONG) == 0); /* the parent's is not ours */
	kthread_thaw_all();
	if (SANITIZED)
		return kthread_fini();
	k = start_subject(&subject, WAITS);
	EXPECT(atomic_load(&subject.frozen) == 0);
	EXPECT(kthread_freeze_all(LONG) == 0);
	check_still(&subject);
	EXPECT(kthread_freeze_all(LONG) == -EBUSY);
	kthread_thaw_all();
	check_moves(k, &subject);
	EXPECT(kthread_stop(k) == 10 + WAITS);
	EXPECT(kthread_fini() == 0);
	return 0;
}

static void fork__in_a_freeze(void **state)
{
	struct subject subject;
	struct kthread *k = start_subject(&subject, BUSY);

	(void)state;
	assert_int_equal(kthread_freeze_all(LONG), 0);
	assert_int_equal(in_child(freeze_in_child, k), 0);
	check_still(&subject); /* the child's thaw was not ours */
	assert_int_equal(state_of(k), KTHREAD_FROZEN);
	kthread_thaw_all();
	check_moves(k, &subject);
	assert_int_equal(kthread_stop(k), 10 + BUSY);
}

static int nothing_in_child(void *arg)
{
	(void)arg;
	kthread_thaw_all();
	return kthread_freeze_all(0) == -ECHILD ? 0 : 1;
}

/* Another thread forks at any moment of a freeze: the child's locks are free. */
static void fork__races_with_freeze(void **state)
{
	struct subject subject;
	struct kthread *k;
	struct call calls[2];

	(void)state;
	if (SANITIZED)
		skip();
	k = start_subject(&subject, BUSY);
	start_call(&calls[0], park_and_unpark, k);
	for (int i = 0; i < 50; i++) {
		start_call(&calls[1], freeze_without_limit, NULL);
		assert_int_equal(in_child(nothing_in_child, NULL), 0);
		assert_int_equal(end_call(&calls[1]), 0);
		kthread_thaw_all();
	}
	assert_int_equal(end_call(&calls[0]), 0);
	assert_int_equal(kthread_stop(k), 10 + BUSY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(kthread_stop__of_a_frozen_thread),
	    cmocka_unit_test(kthread_freeze_all__waits_for_the_end_of_who_stops),
	    cmocka_unit_test(kthread_stop__of_who_is_waited_for),
	    cmocka_unit_test(kthread_stop__races_with_freeze),
	    cmocka_unit_test(kthread_unpark__in_a_freeze),
	    cmocka_unit_test(kthread_park__before_and_after_a_freeze),
	    cmocka_unit_test(kthread_park__of_one_frozen_in_place),
	    cmocka_unit_test(kthread_park__of_one_frozen_elsewhere),
	    cmocka_unit_test(kthread_unpark__of_a_request_to_a_frozen_thread),
	    cmocka_unit_test(kthread_park__races_with_freeze),
	    cmocka_unit_test(kthread_create__in_a_freeze),
	    cmocka_unit_test(kthread_exit__of_who_is_waited_for),
	    cmocka_unit_test(kthread_put__of_a_frozen_thread),
	    cmocka_unit_test(kthread_fini__in_a_freeze),
	    cmocka_unit_test(kthread_wake__in_a_freeze),
	    cmocka_unit_test(fork__in_a_freeze),
	    cmocka_unit_test(fork__races_with_freeze),
	};

	return cmocka_run_group_tests(tests, NULL, fini_finds_nothing);
}

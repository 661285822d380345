/* SPDX-License-Identifier: MIT */
/*
 * The freezer: kthread_set_freezable, _try_to_freeze, _freezable_should_stop, _freeze_all, _thaw_all. What happens
 * between a freeze and everything else is in freezer_pairs.c.
 */
#include "freezer.h"

/* ---- what is logged ---------------------------------------------------------------------------------------------- */

static struct {
	pthread_mutex_t lock;
	char text[4096];
	bool anybody_frozen; /* when a message came */
} logged = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int is_frozen(const struct kthread *k, void *arg)
{
	(void)arg;
	return state_of(k) == KTHREAD_FROZEN;
}

static void take_message(int level, const char *message, void *arg)
{
	(void)arg;
	if (level > 4)
		return;
	pthread_mutex_lock(&logged.lock);
	snprintf(logged.text + strlen(logged.text), sizeof(logged.text) - strlen(logged.text), "%s\n", message);
	logged.anybody_frozen |= kthread_for_each(is_frozen, NULL);
	pthread_mutex_unlock(&logged.lock);
}

static bool was_logged(const char *text)
{
	bool was;

	pthread_mutex_lock(&logged.lock);
	was = strstr(logged.text, text);
	pthread_mutex_unlock(&logged.lock);
	return was;
}

static int start_library(void **state)
{
	struct kthread_config config = KTHREAD_CONFIG_INIT;

	(void)state;
	config.log = take_message;
	return kthread_init(&config);
}

static int forget_messages(void **state)
{
	(void)state;
	logged.text[0] = '\0';
	logged.anybody_frozen = false;
	return 0;
}

/* ---- all kinds --------------------------------------------------------------------------------------------------- */

static void kthread_freeze_all__every_kind_stands_still(void **state)
{
	enum { ROUNDS = 30 };
	struct subject subjects[KINDS * 2];
	struct kthread *k[KINDS * 2];

	(void)state;
	for (int i = 0; i < KINDS * 2; i++)
		k[i] = start_subject(&subjects[i], i % KINDS);
	for (int round = 0; round < ROUNDS; round++) {
		assert_int_equal(kthread_freeze_all(LONG), 0);
		for (int i = 0; i < KINDS * 2; i++) {
			check_still(&subjects[i]);
			assert_int_equal(state_of(k[i]), KTHREAD_FROZEN);
		}
		kthread_thaw_all();
		for (int i = 0; i < KINDS * 2; i++)
			check_moves(k[i], &subjects[i]);
	}
	for (int i = 0; i < KINDS * 2; i++) {
		assert_int_equal(kthread_stop(k[i]), 10 + i % KINDS);
		assert_int_equal(atomic_load(&subjects[i].frozen), i % KINDS == WAITS_PARKABLE ? 0 : ROUNDS);
		assert_int_equal(atomic_load(&subjects[i].entries), 1);
	}
}

static void kthread_freeze_all__nobody_is_freezable(void **state)
{
	struct kthread *k = kthread_run(obedient, AS_DATA(3), "free");

	(void)state;
	await_waiting(k);
	assert_int_equal(kthread_freeze_all(LONG), 0);
	assert_int_equal(state_of(k), KTHREAD_WAITING);
	kthread_thaw_all();
	assert_int_equal(kthread_stop(k), 3);
	assert_int_equal(kthread_freeze_all(LONG), 0); /* not one thread */
	kthread_thaw_all();
}

static void kthread_freeze_all__counts(void **state)
{
	struct kthread_info info = {.size = sizeof(info)};
	struct subject subject;
	struct kthread *k = start_subject(&subject, BUSY);

	(void)state;
	assert_int_equal(kthread_freeze_all(LONG), 0);
	assert_int_equal(kthread_info(k, &info), 0);
	assert_int_equal(info.freezes, 1);
	assert_int_equal(info.parks, 0);
	assert_string_equal(kthread_state_name(info.state), "frozen");
	kthread_thaw_all();
	assert_int_equal(kthread_stop(k), 10 + BUSY);
}

/* ---- outside ----------------------------------------------------------------------------------------------------- */

static void nothing_to_freeze_here(void)
{
	bool was_frozen = true;

	CHECK(!kthread_set_freezable());
	CHECK(!kthread_try_to_freeze());
	CHECK(!kthread_freezable_should_stop(&was_frozen));
	CHECK(!was_frozen);
	CHECK(!kthread_freezable_should_stop(NULL));
}

static void kthread_try_to_freeze__outside(void **state)
{
	struct kthread *self;

	(void)state;
	nothing_to_freeze_here();
	assert_int_equal(kthread_freeze_all(LONG), 0);
	nothing_to_freeze_here();
	self = kthread_adopt("adopted");
	assert_non_null(self);
	nothing_to_freeze_here();
	kthread_thaw_all();
	assert_int_equal(kthread_freeze_all(LONG), 0);
	nothing_to_freeze_here();
	assert_int_equal(state_of(self), KTHREAD_ADOPTED);
	kthread_thaw_all();
	assert_int_equal(kthread_unadopt(self), 0);
}

/* ---- becoming freezable ------------------------------------------------------------------------------------------ */

static void kthread_set_freezable__in_a_freeze(void **state)
{
	struct subject subject = {.result = 5};
	struct kthread *k;

	(void)state;
	kthread_init_completion(&subject.freezable);
	assert_int_equal(kthread_freeze_all(LONG), 0);
	k = kthread_run(waits, &subject, "late");
	AWAIT(state_of(k) == KTHREAD_FROZEN);
	assert_int_equal(kthread_wait_for_completion_timeout(&subject.freezable, 0), -ETIMEDOUT);
	assert_int_equal(atomic_load(&subject.entries), 1);
	kthread_thaw_all();
	AWAIT_DONE(&subject.freezable);
	assert_int_equal(atomic_load(&subject.frozen), 1);
	assert_int_equal(kthread_stop(k), 5);
}

/* The walk over all threads, or what the thread finds: one of the two holds it, each time. */
static void kthread_set_freezable__races_with_freeze(void **state)
{
	enum { THREADS = 4 };
	struct kthread *k[THREADS];
	struct subject subjects[THREADS];

	(void)state;
	for (int round = 0; round < 100; round++) {
		for (int i = 0; i < THREADS; i++) {
			subjects[i] = (struct subject){.result = i};
			kthread_init_completion(&subjects[i].freezable);
			k[i] = kthread_run(i % 2 ? busy : waits_parkable, &subjects[i], "late/%d", i);
			assert_non_null(k[i]);
		}
		assert_int_equal(kthread_freeze_all(LONG), 0);
		for (int i = 0; i < THREADS; i++) /* some begin in the freeze */
			AWAIT(state_of(k[i]) == KTHREAD_FROZEN);
		for (int i = 0; i < THREADS; i++)
			check_still(&subjects[i]);
		kthread_thaw_all();
		for (int i = 0; i < THREADS; i++)
			assert_int_equal(kthread_stop(k[i]), i);
	}
}

/* ---- asleep in place --------------------------------------------------------------------------------------------- */

static void kthread_wait_parkable__frozen_without_being_woken(void **state)
{
	struct subject subject;
	struct kthread *k = start_subject(&subject, WAITS_PARKABLE);
	long long sleeps;

	(void)state;
	await_waiting(k);
	sleeps = task_sleeps(kthread_tid(k));
	for (int i = 0; i < 100; i++) {
		assert_int_equal(kthread_freeze_all(LONG), 0);
		assert_int_equal(state_of(k), KTHREAD_FROZEN);
		kthread_thaw_all();
	}
	assert_int_equal(state_of(k), KTHREAD_WAITING);
	assert_int_equal(task_sleeps(kthread_tid(k)), sleeps);
	assert_int_equal(turns(&subject), 1);

	/* a wake in the freeze is kept, and does not wake it before */
	assert_int_equal(kthread_freeze_all(LONG), 0);
	assert_true(kthread_wake(k));
	assert_false(kthread_wake(k));
	await_settled(kthread_tid(k));
	assert_int_equal(task_sleeps(kthread_tid(k)), sleeps);
	assert_int_equal(turns(&subject), 1);
	kthread_thaw_all();
	AWAIT(turns(&subject) == 2);
	await_waiting(k);
	assert_int_equal(turns(&subject), 2);
	assert_int_equal(kthread_stop(k), 10 + WAITS_PARKABLE);
}

/* On its way into the sleep, it freezes there: it has no other point. */
static void kthread_wait_parkable__is_a_freeze_point(void **state)
{
	struct subject subject;
	struct kthread *k = start_subject(&subject, WAITS_PARKABLE);

	(void)state;
	for (int i = 0; i < 2000; i++) {
		kthread_wake(k);
		assert_int_equal(kthread_freeze_all(LONG), 0);
		check_still(&subject);
		kthread_thaw_all();
	}
	assert_int_equal(kthread_stop(k), 10 + WAITS_PARKABLE);
}

/* ---- who refuses ------------------------------------------------------------------------------------------------- */

struct refuser {
	struct kthread_completion freezable;
	atomic_bool go;
};

static int refuses(void *data)
{
	struct refuser *refuser = data;

	kthread_set_freezable();
	kthread_complete(&refuser->freezable);
	AWAIT(atomic_load(&refuser->go));
	while (!kthread_should_stop()) {
		kthread_try_to_freeze();
		kthread_wait();
	}
	return 0;
}

static void start_refuser(struct refuser *refuser, struct kthread **k, const char *name)
{
	*refuser = (struct refuser){0};
	kthread_init_completion(&refuser->freezable);
	*k = kthread_run(refuses, refuser, "%s", name);
	assert_non_null(*k);
	AWAIT_DONE(&refuser->freezable);
}

static void kthread_freeze_all__names_who_refuses_and_thaws(void **state)
{
	struct subject subjects[KINDS];
	struct kthread *k[KINDS];
	struct refuser refusers[2];
	struct kthread *refusing[2];
	uint64_t before;

	(void)state;
	for (int i = 0; i < KINDS; i++)
		k[i] = start_subject(&subjects[i], i);
	start_refuser(&refusers[0], &refusing[0], "stubborn");
	start_refuser(&refusers[1], &refusing[1], "obstinate");
	before = now_ns();
	assert_int_equal(kthread_freeze_all(50 * MS), -ETIMEDOUT);
	assert_true(now_ns() - before >= 50 * MS);
	AWAIT(was_logged("stubborn (") || kthread_freeze_all(50 * MS) == 0); /* it may have waited for a look */
	assert_true(was_logged("obstinate ("));
	assert_false(was_logged("subject"));
	assert_false(logged.anybody_frozen);
	for (int i = 0; i < KINDS; i++)
		check_moves(k[i], &subjects[i]);

	assert_int_equal(kthread_freeze_all(0), -ETIMEDOUT); /* at once */

	/* and who gives in is frozen the next time */
	atomic_store(&refusers[0].go, true);
	atomic_store(&refusers[1].go, true);
	assert_int_equal(kthread_freeze_all(LONG), 0);
	for (int i = 0; i < KINDS; i++)
		check_still(&subjects[i]);
	assert_int_equal(state_of(refusing[0]), KTHREAD_FROZEN);
	kthread_thaw_all();
	assert_int_equal(kthread_stop(refusing[0]), 0);
	assert_int_equal(kthread_stop(refusing[1]), 0);
	for (int i = 0; i < KINDS; i++)
		assert_int_equal(kthread_stop(k[i]), 10 + i);
}

static int freezes_all(void *data)
{
	return kthread_freeze_all(*(uint64_t *)data);
}

/* Waits for one who comes late, without a limit. */
static void kthread_freeze_all__waits(void **state)
{
	uint64_t no_limit = UINT64_MAX;
	struct refuser refuser;
	struct kthread *refusing;
	struct kthread *freezer;

	(void)state;
	start_refuser(&refuser, &refusing, "late");
	freezer = kthread_run(freezes_all, &no_limit, "freezer");
	await_settled(kthread_tid(freezer));
	atomic_store(&refuser.go, true);
	AWAIT(state_of(freezer) == KTHREAD_EXITED);
	assert_int_equal(kthread_stop(freezer), 0);
	assert_int_equal(state_of(refusing), KTHREAD_FROZEN);
	kthread_thaw_all();
	assert_int_equal(kthread_stop(refusing), 0);
}

/* ---- two freezers, and thaw -------------------------------------------------------------------------------------- */

static void kthread_freeze_all__does_not_nest(void **state)
{
	struct subject subject;
	struct kthread *k = start_subject(&subject, BUSY);

	(void)state;
	kthread_thaw_all(); /* nothing */
	assert_int_equal(kthread_freeze_all(LONG), 0);
	assert_int_equal(kthread_freeze_all(LONG), -EBUSY);
	check_still(&subject); /* and it did not thaw */
	kthread_thaw_all();
	check_moves(k, &subject);
	kthread_thaw_all();
	assert_int_equal(kthread_stop(k), 10 + BUSY);
}

static void kthread_thaw_all__while_somebody_is_waited_for(void **state)
{
	uint64_t no_limit = UINT64_MAX;
	struct refuser refuser;
	struct kthread *refusing;
	struct kthread *freezer;
	struct subject subject;
	struct kthread *k = start_subject(&subject, BUSY);

	(void)state;
	start_refuser(&refuser, &refusing, "late");
	freezer = kthread_run(freezes_all, &no_limit, "freezer");
	AWAIT(state_of(k) == KTHREAD_FROZEN);
	await_settled(kthread_tid(freezer));
	kthread_thaw_all();
	AWAIT(state_of(freezer) == KTHREAD_EXITED);
	assert_int_equal(kthread_stop(freezer), -ECANCELED);
	check_moves(k, &subject);
	atomic_store(&refuser.go, true);
	assert_int_equal(kthread_stop(refusing), 0);
	assert_int_equal(kthread_stop(k), 10 + BUSY);
}

/* A freeze that has been ended is not taken for the next one. */
static void kthread_thaw_all__and_frozen_anew_by_another(void **state)
{
	uint64_t no_limit = UINT64_MAX;
	struct subject subject;
	struct kthread *k = start_subject(&subject, BUSY);

	(void)state;
	for (int i = 0; i < 100; i++) {
		struct kthread *freezers[2] = {kthread_run(freezes_all, &no_limit, "freezer/0"),
		                               kthread_run(freezes_all, &no_limit, "freezer/1")};
		int results[2];

		kthread_thaw_all();
		AWAIT(state_of(freezers[0]) == KTHREAD_EXITED && state_of(freezers[1]) == KTHREAD_EXITED);
		results[0] = kthread_stop(freezers[0]);
		results[1] = kthread_stop(freezers[1]);
		for (int j = 0; j < 2; j++)
			assert_true(results[j] == 0 || results[j] == -EBUSY || results[j] == -ECANCELED ||
			            results[j] == -EINTR);
		if (state_of(k) == KTHREAD_FROZEN)
			check_still(&subject);
		kthread_thaw_all();
		check_moves(k, &subject);
	}
	assert_int_equal(kthread_stop(k), 10 + BUSY);
}

/* ---- a kthread that freezes all ---------------------------------------------------------------------------------- */

static int freezes_others(void *data)
{
	struct subject *subject = data;

	CHECK(!kthread_set_freezable());
	CHECK(kthread_freeze_all(LONG) == 0);
	check_still(subject);
	CHECK(!kthread_try_to_freeze()); /* who would thaw? */
	CHECK(!kthread_set_freezable());
	CHECK(kthread_wait_for(0) == -ETIMEDOUT);
	kthread_thaw_all();
	CHECK(!kthread_try_to_freeze());
	return 1;
}

static int freezes_others_and_becomes_freezable(void *data)
{
	CHECK(kthread_freeze_all(LONG) == 0);
	CHECK(!kthread_set_freezable());
	check_still(data);
	kthread_thaw_all();
	return 2;
}

static void kthread_freeze_all__the_caller_is_left_out(void **state)
{
	int (*const fns[])(void *) = {freezes_others, freezes_others_and_becomes_freezable};
	struct subject subject;
	struct kthread *k = start_subject(&subject, BUSY);

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct kthread *freezer = kthread_run(fns[i], &subject, "freezer");

		AWAIT(state_of(freezer) == KTHREAD_EXITED);
		assert_int_equal(kthread_stop(freezer), i + 1);
		check_moves(k, &subject);
	}
	assert_int_equal(kthread_stop(k), 10 + BUSY);
}

/* ---- requests that break sleeps ---------------------------------------------------------------------------------- */

static void kthread_event_fd__readable_after_a_freeze_request(void **state)
{
	struct refuser refuser;
	struct kthread *k;
	struct pollfd pollfd = {.events = POLLIN};

	(void)state;
	start_refuser(&refuser, &k, "polled");
	pollfd.fd = kthread_event_fd(k);
	assert_int_equal(poll(&pollfd, 1, 0), 0);
	AWAIT(kthread_freeze_all(MS) == -ETIMEDOUT && poll(&pollfd, 1, 0) == 1); /* it may have waited for a look */
	atomic_store(&refuser.go, true);
	assert_int_equal(kthread_stop(k), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(kthread_freeze_all__every_kind_stands_still),
	    cmocka_unit_test(kthread_freeze_all__nobody_is_freezable),
	    cmocka_unit_test(kthread_freeze_all__counts),
	    cmocka_unit_test(kthread_try_to_freeze__outside),
	    cmocka_unit_test(kthread_set_freezable__in_a_freeze),
	    cmocka_unit_test(kthread_set_freezable__races_with_freeze),
	    cmocka_unit_test(kthread_wait_parkable__frozen_without_being_woken),
	    cmocka_unit_test(kthread_wait_parkable__is_a_freeze_point),
	    cmocka_unit_test_setup(kthread_freeze_all__names_who_refuses_and_thaws, forget_messages),
	    cmocka_unit_test(kthread_freeze_all__waits),
	    cmocka_unit_test(kthread_freeze_all__does_not_nest),
	    cmocka_unit_test(kthread_thaw_all__while_somebody_is_waited_for),
	    cmocka_unit_test(kthread_thaw_all__and_frozen_anew_by_another),
	    cmocka_unit_test(kthread_freeze_all__the_caller_is_left_out),
	    cmocka_unit_test(kthread_event_fd__readable_after_a_freeze_request),
	};

	return cmocka_run_group_tests(tests, start_library, fini_finds_nothing);
}

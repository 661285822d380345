/* SPDX-License-Identifier: MIT */
/*
 * The per-CPU flag: parked while the CPU is away, whatever else is asked of the thread meanwhile. And
 * kthread_bound_should_stop(), the same for threads that look for themselves.
 */
#include <poll.h>

#include "sim.h"

struct subject {
	atomic_ulong turns;
	atomic_int entries;
	atomic_bool returns; /* parks by coming back */
};

static int busy(void *data)
{
	struct subject *subject = data;

	atomic_fetch_add(&subject->entries, 1);
	while (!kthread_should_stop()) {
		if (kthread_should_park()) {
			if (atomic_load(&subject->returns))
				return 1;
			kthread_parkme();
		}
		atomic_fetch_add(&subject->turns, 1);
		sched_yield();
	}
	return 9;
}

static int sleeps_in_place(void *data)
{
	struct subject *subject = data;

	while (!kthread_should_stop()) {
		atomic_fetch_add(&subject->turns, 1);
		kthread_wait_parkable();
	}
	return 9;
}

static void assert_moves(struct subject *subject)
{
	const unsigned long before = atomic_load(&subject->turns);

	AWAIT(atomic_load(&subject->turns) != before);
}

static void assert_still(struct kthread *k, struct subject *subject)
{
	unsigned long before;

	AWAIT(state_of(k) == KTHREAD_PARKED);
	before = atomic_load(&subject->turns);
	for (int i = 0; i < 20; i++)
		sched_yield();
	assert_int_equal(atomic_load(&subject->turns), before);
	assert_int_equal(state_of(k), KTHREAD_PARKED);
}

static void online(unsigned int cpus)
{
	sim_online(cpus);
	assert_int_equal(kthread_rescan(), 0);
}

#define ALL 0xffu
#define MINE 0x08u

static struct kthread *flagged(struct subject *subject)
{
	struct kthread *k = kthread_create(busy, subject, "percpu/3");

	assert_non_null(k);
	assert_int_equal(kthread_set_per_cpu(k, 3), 0);
	assert_true(kthread_is_per_cpu(k));
	kthread_wake(k);
	return k;
}

static void per_cpu__parked_while_its_cpu_is_away(void **state)
{
	sim_start(NULL);
	for (int way = 0; way < 2; way++) {
		struct subject subject = {.returns = way};
		struct kthread *k = flagged(&subject);

		for (int i = 0; i < 20; i++) {
			assert_moves(&subject);
			online(ALL & ~MINE);
			assert_still(k, &subject);
			assert_true(kthread_is_broken(k));
			online(ALL & ~MINE & ~1u); /* another change: no reason to go on */
			assert_still(k, &subject);
			online(ALL);
			assert_false(kthread_is_broken(k));
		}
		assert_moves(&subject);
		assert_int_equal(atomic_load(&subject.entries), way ? 21 : 1);
		assert_int_equal(kthread_stop(k), 9);
	}
	sim_stop();
}

static void kthread_unpark__while_the_cpu_is_away_leaves_it_parked(void **state)
{
	struct subject subject = {0};
	struct kthread *k;

	sim_start(NULL);
	k = flagged(&subject);
	online(ALL & ~MINE);
	assert_still(k, &subject);
	kthread_unpark(k); /* no park of a user's */
	assert_still(k, &subject);
	assert_int_equal(kthread_park(k), 0);
	kthread_unpark(k);
	assert_still(k, &subject);
	kthread_wake(k);
	assert_still(k, &subject);
	online(ALL);
	assert_moves(&subject);
	assert_int_equal(kthread_stop(k), 9);
	sim_stop();
}

/* What may happen to it; every order of these in which a thing is undone after it was done. */
enum event { PARK, UNPARK, OFF, ON, EVENTS };

static void play(const enum event order[EVENTS], int (*fn)(void *data))
{
	struct subject subject = {0};
	struct kthread *k = kthread_create(fn, &subject, "percpu/3");
	bool parked = false;
	bool away = false;
	unsigned int parks = 0;

	assert_int_equal(kthread_set_per_cpu(k, 3), 0);
	kthread_wake(k);
	assert_true(fn != busy || (assert_moves(&subject), true));
	for (int i = 0; i < EVENTS; i++) {
		parks += !parked && !away && (order[i] == PARK || order[i] == OFF);
		switch (order[i]) {
		case PARK:
			assert_int_equal(kthread_park(k), 0);
			parked = true;
			break;
		case UNPARK:
			kthread_unpark(k);
			parked = false;
			break;
		case OFF:
			online(ALL & ~MINE);
			away = true;
			break;
		default:
			online(ALL);
			away = false;
		}
		if (parked)
			assert_int_equal(kthread_park(k), -EBUSY);
		if (parked || away)
			assert_still(k, &subject);
		else if (fn == busy)
			assert_moves(&subject);
		else
			AWAIT(state_of(k) == KTHREAD_WAITING);
		assert_placed(k, KTHREAD_WISH_PER_CPU, MINE);
		AWAIT(sim_info(k).parks >= parks);          /* counted a moment after it is granted */
		assert_int_equal(sim_info(k).parks, parks); /* a second reason is no second park */
	}
	assert_int_equal(kthread_stop(k), 9);
}

static void per_cpu__park_and_hotplug_in_every_order(void **state)
{
	static const enum event orders[][EVENTS] = {
	    {PARK, UNPARK, OFF, ON}, {PARK, OFF, UNPARK, ON}, {PARK, OFF, ON, UNPARK},
	    {OFF, PARK, UNPARK, ON}, {OFF, PARK, ON, UNPARK}, {OFF, ON, PARK, UNPARK},
	};

	sim_start(NULL);
	for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
		play(orders[i], busy);
		play(orders[i], sleeps_in_place);
	}
	sim_stop();
}

enum { LOST_SIGNALS = 5 };

/* As if each of these signals had come just before the system call. */
static int loses_signals(void *data)
{
	struct subject *subject = data;

	atomic_fetch_add(&subject->entries, 1);
	for (int i = 0; i < LOST_SIGNALS; i++) {
		CHECK(poll(NULL, 0, -1) == -1 && errno == EINTR);
		atomic_fetch_add(&subject->turns, 1);
	}
	return busy(data);
}

static void per_cpu__interrupted_until_it_has_noticed(void **state)
{
	struct kthread_config config = sim_config();
	struct kthread_attr attr = KTHREAD_ATTR_INIT;
	struct subject subject = {0};
	struct kthread *k;

	sim_tree("numa");
	sim_put("proc/self/cgroup", "0::/pod\n");
	sim_put("sys/fs/cgroup/pod/cpuset.cpus", "0-7\n");
	sim_put("sys/fs/cgroup/pod/cpuset.cpus.effective", "0-7\n");
	config.inotify = true; /* one event, and no poll */
	sim_start(&config);
	attr.flags = KTHREAD_INTERRUPT;
	k = kthread_create_attr(&attr, loses_signals, &subject, "percpu/3");
	assert_non_null(k);
	assert_int_equal(kthread_set_per_cpu(k, 3), 0);
	sim_calm();
	kthread_wake(k);
	AWAIT(atomic_load(&subject.entries) == 1);
	await_settled(kthread_tid(k));
	sim_put("sys/fs/cgroup/pod/cpuset.cpus.effective", "0-2\n");
	sim_put("sys/fs/cgroup/pod/cpuset.cpus", "0-2\n");
	AWAIT(state_of(k) == KTHREAD_PARKED);
	assert_true(atomic_load(&subject.turns) >= LOST_SIGNALS);
	assert_int_equal(kthread_stop(k), 9);
	sim_stop();
}

static void kthread_stop__while_its_cpu_is_away(void **state)
{
	sim_start(NULL);
	for (int user = 0; user < 2; user++) {
		struct subject subject = {0};
		struct kthread *k = flagged(&subject);

		assert_moves(&subject);
		if (user)
			assert_int_equal(kthread_park(k), 0);
		online(ALL & ~MINE);
		assert_still(k, &subject);
		assert_int_equal(kthread_stop(k), 9);
		online(ALL);
	}
	sim_stop();
}

static void per_cpu__never_woken_while_its_cpu_is_away(void **state)
{
	struct subject subject = {0};
	struct kthread *k;

	sim_start(NULL);
	online(ALL & ~MINE);
	k = kthread_create(busy, &subject, "percpu/3");
	assert_int_equal(kthread_set_per_cpu(k, 3), 0);
	assert_true(kthread_is_broken(k));
	assert_int_equal(state_of(k), KTHREAD_CREATED);
	kthread_wake(k);
	assert_still(k, &subject);
	assert_int_equal(atomic_load(&subject.entries), 0);
	online(ALL);
	assert_moves(&subject);
	online(ALL & ~MINE);
	assert_still(k, &subject);
	assert_int_equal(kthread_stop(k), 9);

	k = kthread_create(busy, &subject, "percpu/3");
	assert_int_equal(kthread_set_per_cpu(k, 3), 0);
	kthread_wake(k);
	AWAIT(state_of(k) == KTHREAD_PARKED);
	assert_int_equal(kthread_stop(k), -EINTR); /* not entered */
	sim_stop();
}

static void kthread_set_per_cpu__cleared_it_is_bound_as_ever(void **state)
{
	struct subject subject = {0};
	struct kthread *k;

	sim_start(NULL);
	k = flagged(&subject);
	online(ALL & ~MINE);
	assert_still(k, &subject);
	assert_int_equal(kthread_set_per_cpu(k, -1), 0);
	assert_false(kthread_is_per_cpu(k));
	assert_moves(&subject); /* elsewhere, broken: nobody parks it any more */
	assert_placed(k, KTHREAD_WISH_BOUND, MINE);
	online(ALL);
	assert_placed(k, KTHREAD_WISH_BOUND, MINE);
	assert_int_equal(kthread_park(k), 0);
	assert_int_equal(kthread_set_per_cpu(k, -7), 0); /* it is not set: nothing to clear */
	assert_placed(k, KTHREAD_WISH_BOUND, MINE);
	assert_int_equal(kthread_stop(k), 9);
	sim_stop();
}

static void kthread_set_per_cpu__another_cpu_while_parked_for_its_own(void **state)
{
	struct subject subject = {0};
	struct kthread *k;

	sim_start(NULL);
	k = flagged(&subject);
	online(ALL & ~MINE);
	assert_still(k, &subject);
	assert_int_equal(kthread_set_per_cpu(k, 5), 0);
	assert_moves(&subject);
	assert_placed(k, KTHREAD_WISH_PER_CPU, 0x20);
	online(ALL & ~MINE & ~0x20u);
	assert_still(k, &subject);
	assert_int_equal(kthread_affine_reset(k), 0);
	assert_moves(&subject);
	assert_placed(k, KTHREAD_WISH_NONE, 0);
	assert_int_equal(kthread_stop(k), 9);
	sim_stop();
}

/* ---- kthread_bound_should_stop ----------------------------------------------------------------------------------- */

static int looks(void *data)
{
	struct subject *subject = data;

	while (!kthread_bound_should_stop()) {
		if (kthread_should_park())
			kthread_parkme();
		atomic_fetch_add(&subject->turns, 1);
		sched_yield();
	}
	return 8;
}

static void assert_sleeps(struct kthread *k, struct subject *subject)
{
	unsigned long before;

	await_settled(kthread_tid(k));
	before = atomic_load(&subject->turns);
	for (int i = 0; i < 20; i++)
		sched_yield();
	assert_int_equal(atomic_load(&subject->turns), before);
}

static void kthread_bound_should_stop__waits_while_broken(void **state)
{
	struct subject subject = {0};
	struct kthread *k;

	sim_start(NULL);
	k = kthread_run_on_cpu(looks, &subject, 3, "bound/%u");
	for (int i = 0; i < 20; i++) {
		assert_moves(&subject);
		online(ALL & ~MINE);
		assert_sleeps(k, &subject);
		if (i % 2) {
			assert_int_equal(kthread_park(k), 0); /* granted meanwhile */
			assert_int_equal(kthread_park(k), -EBUSY);
		}
		if (i % 4 == 3)
			online(ALL);
		if (i % 2) {
			assert_still(k, &subject);
			kthread_unpark(k);
		}
		if (i % 4 == 1)
			assert_sleeps(k, &subject); /* still broken */
		kthread_wake(k);
		if (i % 4 != 3)
			assert_sleeps(k, &subject); /* nor does a wake end it */
		online(ALL);
	}
	assert_moves(&subject);
	assert_int_equal(kthread_stop(k), 8);
	sim_stop();
}

static void kthread_bound_should_stop__stopped_while_broken(void **state)
{
	sim_start(NULL);
	for (int parked = 0; parked < 2; parked++) {
		struct subject subject = {0};
		struct kthread *k = kthread_run_on_cpu(looks, &subject, 3, "bound/%u");

		assert_moves(&subject);
		online(ALL & ~MINE);
		assert_sleeps(k, &subject);
		if (parked)
			assert_int_equal(kthread_park(k), 0);
		assert_int_equal(kthread_stop(k), 8);
		online(ALL);
	}
	sim_stop();
}

static void kthread_bound_should_stop__of_others_is_should_stop(void **state)
{
	sim_start(NULL);
	assert_false(kthread_bound_should_stop()); /* no kthread at all */
	for (int kind = 0; kind < 3; kind++) {
		struct subject subject = {0};
		struct kthread *k = kthread_create(looks, &subject, "other");

		if (kind == 1)
			assert_int_equal(sim_prefer(k, MINE), 0);
		if (kind == 2)
			assert_int_equal(kthread_affine_node(k, 1), 0);
		kthread_wake(k);
		assert_moves(&subject);
		online(ALL & ~0x0cu);
		assert_moves(&subject);
		online(ALL);
		assert_int_equal(kthread_park(k), 0);
		assert_still(k, &subject);
		kthread_unpark(k);
		assert_moves(&subject);
		assert_int_equal(kthread_stop(k), 8);
	}
	sim_stop();
}

static void kthread_bound_should_stop__per_cpu(void **state)
{
	struct subject subject = {0};
	struct kthread *k;

	sim_start(NULL);
	k = kthread_create(looks, &subject, "percpu/3");
	assert_int_equal(kthread_set_per_cpu(k, 3), 0);
	kthread_wake(k);
	for (int i = 0; i < 10; i++) {
		assert_moves(&subject);
		online(ALL & ~MINE);
		assert_still(k, &subject);
		online(ALL);
	}
	assert_moves(&subject);
	assert_int_equal(kthread_stop(k), 8);
	sim_stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(per_cpu__parked_while_its_cpu_is_away),
	    cmocka_unit_test(kthread_unpark__while_the_cpu_is_away_leaves_it_parked),
	    cmocka_unit_test(per_cpu__park_and_hotplug_in_every_order),
	    cmocka_unit_test(per_cpu__interrupted_until_it_has_noticed),
	    cmocka_unit_test(kthread_stop__while_its_cpu_is_away),
	    cmocka_unit_test(per_cpu__never_woken_while_its_cpu_is_away),
	    cmocka_unit_test(kthread_set_per_cpu__cleared_it_is_bound_as_ever),
	    cmocka_unit_test(kthread_set_per_cpu__another_cpu_while_parked_for_its_own),
	    cmocka_unit_test(kthread_bound_should_stop__waits_while_broken),
	    cmocka_unit_test(kthread_bound_should_stop__stopped_while_broken),
	    cmocka_unit_test(kthread_bound_should_stop__of_others_is_should_stop),
	    cmocka_unit_test(kthread_bound_should_stop__per_cpu),
	};

	return cmocka_run_group_tests(tests, NULL, fini_finds_nothing);
}

/* SPDX-License-Identifier: MIT */
/*
 * Moments between two steps of the library's, held open: what others see then, and do.
 */
#include <pthread.h>

#include "placement/placement.h"
#include "sim.h"

/* ---- the steps --------------------------------------------------------------------------------------------------- */

void __real_kt_registry_remove(struct kthread *k);
void __real_kt_placement_watched(void);
void __real_kt_group_enter(struct kt_group *group, struct kt_place *place);
int __real_sched_getcpu(void);

/* A thread that ends, or an adoption: just before it stops to count for kthread_fini(). */
static struct {
	_Atomic(struct kthread *) k;
	struct kthread_completion there, go;
} leaving;

void __wrap_kt_registry_remove(struct kthread *k)
{
	if (k == atomic_load(&leaving.k)) {
		kthread_complete(&leaving.there);
		kthread_wait_for_completion(&leaving.go);
	}
	__real_kt_registry_remove(k);
}

/* The first thread is there, and the monitor has not said yet that it watches. */
static atomic_bool unwatched;

void __wrap_kt_placement_watched(void)
{
	if (!atomic_load(&unwatched))
		__real_kt_placement_watched();
}

/* A thread is woken by another while it is being bound, and looks whether it is in its place. */
static struct {
	_Atomic(struct kthread *) k;
	bool hold; /* until it is bound */
	struct kthread_completion looks, bound;
} binding;

void __wrap_kt_group_enter(struct kt_group *group, struct kt_place *place)
{
	if (place->thread == atomic_load(&binding.k)) {
		kthread_wake(place->thread);
		AWAIT_DONE(&binding.looks);
	}
	__real_kt_group_enter(group, place);
}

int __wrap_sched_getcpu(void)
{
	struct kthread *self = kthread_self();

	/* the first time */
	if (self && atomic_compare_exchange_strong(&binding.k, &self, NULL)) {
		kthread_complete(&binding.looks);
		if (binding.hold)
			AWAIT_DONE(&binding.bound);
	}
	return __real_sched_getcpu();
}

/* ---- cases ------------------------------------------------------------------------------------------------------- */

static void hold(struct kthread *k)
{
	kthread_init_completion(&leaving.there);
	kthread_init_completion(&leaving.go);
	atomic_store(&leaving.k, k);
}

/* It counts, and has left everything else. */
static void assert_counts_to_the_end(void)
{
	struct kthread *k = atomic_load(&leaving.k);

	AWAIT_DONE(&leaving.there);
	assert_null(k->place);
	assert_int_equal(kthread_fini(), -EBUSY);
	atomic_store(&leaving.k, NULL);
	kthread_complete(&leaving.go);
}

static void kthread_fini__a_thread_is_ending(void **state)
{
	struct kthread *k;

	sim_start(NULL);
	k = kthread_create(result_only, AS_DATA(7), "ends");
	assert_int_equal(kthread_bind(k, 3), 0);
	hold(k);
	kthread_wake(k);
	assert_counts_to_the_end();
	assert_int_equal(kthread_stop(k), 7);
	sim_stop();
	assert_true(LIST_EMPTY(&kt_groups));
}

static void *adopted(void *arg)
{
	struct kthread *k = kthread_adopt("foreign");

	CHECK(k);
	CHECK(kthread_bind(k, 3) == 0);
	hold(k);
	kthread_complete(arg);
	return k;
}

static void kthread_fini__an_adopted_thread_is_ending(void **state)
{
	struct kthread_completion ready = KTHREAD_COMPLETION_INIT;
	pthread_t thread;
	void *k;

	sim_start(NULL);
	assert_int_equal(pthread_create(&thread, NULL, adopted, &ready), 0);
	AWAIT_DONE(&ready);
	assert_counts_to_the_end();
	pthread_join(thread, &k);
	kthread_put(k);
	sim_stop();
	assert_true(LIST_EMPTY(&kt_groups));
}

/* Nobody has looked since the CPU went: the mask is judged by what is there now, and who has lost his CPU hears of it. */
static void kthread_housekeeping_set__refused_by_a_view_that_nobody_has_seen(void **state)
{
	struct kthread *bound;
	struct kthread *k;

	atomic_store(&unwatched, true);
	sim_start(NULL);
	bound = kthread_run_on_cpu(obedient, NULL, 3, "bound/%u");
	k = kthread_run(obedient, NULL, "unbound");
	AWAIT(state_of(bound) == KTHREAD_WAITING && state_of(k) == KTHREAD_WAITING);
	sim_calm();
	for (int i = 0; i < 3; i++) {
		sim_online(0xf7);
		assert_int_equal(sim_housekeeping(0x08), -EINVAL);
		assert_placed(bound, KTHREAD_WISH_BOUND, 0x08);
		assert_true(kthread_is_broken(bound));
		assert_placed(k, KTHREAD_WISH_NONE, 0);
		sim_online(0xff);
		assert_int_equal(sim_housekeeping(0x08), 0);
		assert_placed(bound, KTHREAD_WISH_BOUND, 0x08);
		assert_placed(k, KTHREAD_WISH_NONE, 0);
		assert_int_equal(kthread_housekeeping_set(0, NULL), 0);
		sim.housekeeping = 0xff;
	}
	kthread_stop(bound);
	kthread_stop(k);
	sim_stop();
	atomic_store(&unwatched, false);
}

static int looks(void *data)
{
	while (!kthread_bound_should_stop())
		sched_yield();
	return 5;
}

/* Its old group goes with the bind: for the sanitizers. */
static void kthread_bound_should_stop__while_it_is_being_bound(void **state)
{
	sim_start(NULL);
	for (int i = 0; i < 200; i++) {
		struct kthread *k = kthread_create_on_cpu(looks, NULL, 2, "bound/%u");

		assert_non_null(k);
		AWAIT(sim_info(k).last_reason == KTHREAD_REASON_START);
		binding.hold = i % 2;
		kthread_init_completion(&binding.looks);
		kthread_init_completion(&binding.bound);
		atomic_store(&binding.k, k);
		assert_int_equal(kthread_bind(k, 3), 0); /* it was created still when this began */
		kthread_complete(&binding.bound);
		assert_placed(k, KTHREAD_WISH_BOUND, 0x08);
		assert_int_equal(kthread_stop(k), 5);
	}
	sim_stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(kthread_fini__a_thread_is_ending),
	    cmocka_unit_test(kthread_fini__an_adopted_thread_is_ending),
	    cmocka_unit_test(kthread_housekeeping_set__refused_by_a_view_that_nobody_has_seen),
	    cmocka_unit_test(kthread_bound_should_stop__while_it_is_being_bound),
	};

	return cmocka_run_group_tests(tests, NULL, fini_finds_nothing);
}

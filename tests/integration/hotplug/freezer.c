/* SPDX-License-Identifier: MIT */
/*
 * A freeze and CPUs that go and come: neither waits for what the other holds up.
 */
#include <kthread/percpu.h>

#include "probe.h"

#define ALL 0xffu
#define LAST 0x80u /* CPU 7 */
#define LONG AWAIT_LIMIT_NS

static int setup(void **state)
{
	struct kthread_config config = sim_config();

	(void)state;
	sim_tree("numa");
	config.log = sim_log;
	sim_start(&config);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	kthread_thaw_all();
	sim_stop();
	return 0;
}

/* Freezable, with a point of its own for both. */
static int freezes(void *data)
{
	atomic_ulong *turns = data;

	kthread_set_freezable();
	while (!kthread_freezable_should_stop(NULL)) {
		atomic_fetch_add(turns, 1);
		kthread_parkme();
		if (!kthread_should_park())
			kthread_wait_for(MS);
	}
	return 0;
}

/* Freezable, and held where it sleeps. */
static int sleeps(void *data)
{
	atomic_ulong *turns = data;

	kthread_set_freezable();
	while (!kthread_should_stop()) {
		atomic_fetch_add(turns, 1);
		kthread_wait_parkable();
	}
	return 0;
}

/* Freezable, and waits for its CPU. */
static int waits_for_its_cpu(void *data)
{
	atomic_ulong *turns = data;

	kthread_set_freezable();
	while (!kthread_bound_should_stop()) {
		atomic_fetch_add(turns, 1);
		kthread_parkme();
		kthread_try_to_freeze();
		kthread_wait();
	}
	return 0;
}

/* It has come back from its wait, and found that its CPU is away. */
static void await_waits_for_its_cpu(struct kthread *k)
{
	kthread_wake(k);
	AWAIT(kthread_wake(k)); /* so it has taken the first, and that is the last token it takes */
	await_settled(kthread_tid(k));
	CHECK(state_of(k) == KTHREAD_PARKED || state_of(k) == KTHREAD_WAITING);
}

struct freezing {
	pthread_t thread;
	uint64_t timeout;
	atomic_int tid;
	atomic_bool done;
	int result;
};

static void *freeze(void *arg)
{
	struct freezing *freezing = arg;

	atomic_store(&freezing->tid, gettid());
	freezing->result = kthread_freeze_all(freezing->timeout);
	atomic_store(&freezing->done, true);
	return NULL;
}

static void start_freezing(struct freezing *freezing)
{
	*freezing = (struct freezing){.timeout = UINT64_MAX};
	CHECK(pthread_create(&freezing->thread, NULL, freeze, freezing) == 0);
}

static void await_waits(struct freezing *freezing)
{
	AWAIT(atomic_load(&freezing->tid));
	await_settled(atomic_load(&freezing->tid));
	CHECK(!atomic_load(&freezing->done));
}

static int end_freezing(struct freezing *freezing)
{
	AWAIT(atomic_load(&freezing->done));
	pthread_join(freezing->thread, NULL);
	return freezing->result;
}

/* ---- cooperative ------------------------------------------------------------------------------------------------- */

static void kthread_cpu_down__in_a_freeze(void **state)
{
	struct probe a = {.tag = "a"};

	(void)state;
	assert_true(probe_setup(&a, KTHREAD_CPUHP_PREPARE) > 0);
	assert_int_equal(kthread_cpu_down(6, 0), 0);
	probe_trace();
	assert_int_equal(kthread_freeze_all(LONG), 0);
	assert_int_equal(kthread_cpu_down(7, 0), -EBUSY);
	assert_int_equal(kthread_cpu_up(6, 0), -EBUSY);
	assert_int_equal(kthread_cpu_up(7, 0), -EBUSY);
	assert_int_equal(kthread_cpu_down(4096, 0), -EINVAL);
	assert_trace("");
	assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), ALL & ~0x40u);
	kthread_thaw_all();
	assert_int_equal(kthread_cpu_up(6, 0), 0);
	assert_int_equal(kthread_cpu_down(7, 0), 0);
	assert_trace("a+6 a-7");
	assert_int_equal(kthread_cpu_up(7, 0), 0);
	assert_int_equal(kthread_cpuhp_remove(a.step), 0);
	probe_trace();
}

static atomic_bool hold;
static atomic_bool holding;

static void hold_here(struct probe *probe, char what, unsigned int cpu)
{
	(void)probe;
	(void)what;
	(void)cpu;
	if (!atomic_load(&hold))
		return;
	atomic_store(&holding, true);
	AWAIT(!atomic_load(&hold));
}

static void *take_down_last(void *arg)
{
	*(int *)arg = kthread_cpu_down(7, 0);
	return NULL;
}

/* A transition may be waiting for a thread that must not freeze until it has parked. */
static void kthread_freeze_all__waits_for_a_transition(void **state)
{
	struct probe a = {.tag = "a", .hook = hold_here};
	struct freezing freezing;
	atomic_ulong turns = 0;
	struct kthread *k = kthread_create(freezes, &turns, "per-CPU");
	pthread_t thread;
	int result;

	(void)state;
	assert_int_equal(kthread_set_per_cpu(k, 7), 0);
	kthread_wake(k);
	AWAIT(atomic_load(&turns));
	assert_true(probe_setup(&a, KTHREAD_CPUHP_ONLINE) > 0);
	atomic_store(&hold, true);
	CHECK(pthread_create(&thread, NULL, take_down_last, &result) == 0);
	AWAIT(atomic_load(&holding));
	assert_int_equal(kthread_freeze_all(20 * MS), -ETIMEDOUT);
	assert_logged("no freeze", 1);
	start_freezing(&freezing);
	await_waits(&freezing);
	assert_int_not_equal(state_of(k), KTHREAD_FROZEN);
	atomic_store(&hold, false);
	pthread_join(thread, NULL);
	assert_int_equal(result, 0);
	assert_int_equal(end_freezing(&freezing), 0);
	assert_int_equal(state_of(k), KTHREAD_PARKED);
	kthread_thaw_all();
	assert_int_equal(kthread_cpu_up(7, 0), 0);
	AWAIT(state_of(k) != KTHREAD_PARKED);
	assert_int_equal(kthread_stop(k), 0);
	atomic_store(&holding, false);
	assert_int_equal(kthread_cpuhp_remove(a.step), 0);
	probe_trace();
}

static void kthread_freeze_all__races_with_cpu_down(void **state)
{
	atomic_ulong turns = 0;
	struct kthread *k = kthread_create(freezes, &turns, "per-CPU");

	(void)state;
	assert_int_equal(kthread_set_per_cpu(k, 7), 0);
	kthread_wake(k);
	AWAIT(atomic_load(&turns));
	for (int i = 0; i < 200; i++) {
		struct freezing freezing;
		int down;

		start_freezing(&freezing);
		down = kthread_cpu_down(7, 0);
		assert_true(down == 0 || down == -EBUSY);
		assert_int_equal(end_freezing(&freezing), 0);
		assert_true(state_of(k) == (down ? KTHREAD_FROZEN : KTHREAD_PARKED));
		assert_int_equal(kthread_cpu_up(7, 0), -EBUSY);
		kthread_thaw_all();
		assert_int_equal(kthread_cpu_up(7, 0), 0);
		AWAIT(state_of(k) != KTHREAD_PARKED && state_of(k) != KTHREAD_FROZEN);
	}
	assert_int_equal(kthread_stop(k), 0);
}

/* ---- readers, and callbacks -------------------------------------------------------------------------------------- */

static void freeze_in_callback(struct probe *probe, char what, unsigned int cpu)
{
	(void)probe;
	(void)what;
	(void)cpu;
	CHECK(kthread_freeze_all(LONG) == -EDEADLK);
}

static void *read_for_a_while(void *arg)
{
	(void)arg;
	kthread_cpus_read_lock();
	atomic_store(&holding, true);
	AWAIT(!atomic_load(&hold));
	kthread_cpus_read_unlock();
	return NULL;
}

static void kthread_freeze_all__and_the_read_lock(void **state)
{
	struct probe a = {.tag = "a", .hook = freeze_in_callback};
	struct freezing freezing;
	pthread_t thread;

	(void)state;
	assert_true(probe_setup(&a, KTHREAD_CPUHP_PREPARE) > 0);
	a.hook = NULL;
	kthread_cpus_read_lock();
	assert_int_equal(kthread_freeze_all(LONG), -EDEADLK);
	kthread_cpus_read_unlock();

	atomic_store(&hold, true);
	CHECK(pthread_create(&thread, NULL, read_for_a_while, NULL) == 0);
	AWAIT(atomic_load(&holding));
	assert_int_equal(kthread_freeze_all(20 * MS), -ETIMEDOUT);
	assert_int_equal(kthread_freeze_all(0), -ETIMEDOUT);
	start_freezing(&freezing);
	await_waits(&freezing);
	atomic_store(&hold, false);
	pthread_join(thread, NULL);
	assert_int_equal(end_freezing(&freezing), 0);
	kthread_thaw_all();
	atomic_store(&holding, false);
	assert_int_equal(kthread_cpuhp_remove(a.step), 0);
	probe_trace();
}

static int freezes_all(void *data)
{
	atomic_store((atomic_bool *)data, true);
	return kthread_freeze_all(UINT64_MAX);
}

/* Whoever asks it to park or to stop may be what it would wait for. */
static void kthread_freeze_all__by_one_asked_to_stop(void **state)
{
	pthread_t thread;

	(void)state;
	atomic_store(&hold, true);
	CHECK(pthread_create(&thread, NULL, read_for_a_while, NULL) == 0);
	AWAIT(atomic_load(&holding));
	for (int park = 0; park < 2; park++) {
		atomic_bool entered = false;
		struct kthread *k = kthread_run(freezes_all, &entered, "freezer");

		AWAIT(atomic_load(&entered));
		await_settled(kthread_tid(k)); /* waits for the reader */
		if (park)
			assert_int_equal(kthread_park(k), -ENOSYS); /* it has ended instead */
		assert_int_equal(kthread_stop(k), -EDEADLK);
	}
	atomic_store(&hold, false);
	pthread_join(thread, NULL);
	atomic_store(&holding, false);
	assert_int_equal(kthread_freeze_all(LONG), 0); /* nothing is left of them */
	kthread_thaw_all();
}

static int does_not_freeze_while_it_reads(void *data)
{
	(void)data;
	kthread_set_freezable();
	atomic_store(&holding, true);
	kthread_wait(); /* until asked to freeze */
	kthread_cpus_read_lock();
	CHECK(!kthread_try_to_freeze());
	kthread_cpus_read_unlock();
	CHECK(kthread_try_to_freeze());
	return 3;
}

/* One that froze there would hold up every look at the machine. */
static void kthread_try_to_freeze__with_the_read_lock_held(void **state)
{
	struct kthread *k;
	struct freezing freezing;

	(void)state;
	k = kthread_run(does_not_freeze_while_it_reads, NULL, "reads");
	AWAIT(atomic_load(&holding));
	start_freezing(&freezing);
	assert_int_equal(end_freezing(&freezing), 0);
	assert_int_equal(state_of(k), KTHREAD_FROZEN);
	assert_int_equal(kthread_rescan(), 0); /* nobody is inside */
	kthread_thaw_all();
	assert_int_equal(kthread_stop(k), 3);
	atomic_store(&holding, false);
}

static int does_not_freeze_in_a_callback(void *data)
{
	struct probe *a = data;

	kthread_set_freezable();
	atomic_store(&holding, true);
	kthread_wait(); /* until asked to freeze */
	CHECK(probe_setup(a, KTHREAD_CPUHP_PREPARE) > 0);
	CHECK(kthread_cpuhp_remove(a->step) == 0);
	CHECK(kthread_try_to_freeze());
	return 5;
}

static void try_to_freeze(struct probe *probe, char what, unsigned int cpu)
{
	(void)probe;
	(void)what;
	(void)cpu;
	CHECK(!kthread_try_to_freeze());
	CHECK(!kthread_set_freezable());
}

static void kthread_try_to_freeze__in_a_callback(void **state)
{
	struct probe a = {.tag = "a", .hook = try_to_freeze};
	struct kthread *k;
	struct freezing freezing;

	(void)state;
	k = kthread_run(does_not_freeze_in_a_callback, &a, "registers");
	AWAIT(atomic_load(&holding));
	start_freezing(&freezing);
	assert_int_equal(end_freezing(&freezing), 0);
	assert_int_equal(state_of(k), KTHREAD_FROZEN);
	assert_int_equal(atomic_load(&a.ups), 8);
	assert_int_equal(atomic_load(&a.downs), 8);
	kthread_thaw_all();
	assert_int_equal(kthread_stop(k), 5);
	probe_trace();
	atomic_store(&holding, false);
}

/* ---- observed ---------------------------------------------------------------------------------------------------- */

/* Each in its own place when its CPU goes in a freeze, and comes back in it, or after it. */
static void freeze__a_cpu_goes_and_comes(void **state)
{
	static int (*const fns[])(void *) = {freezes, sleeps, waits_for_its_cpu};

	(void)state;
	for (int back_in_the_freeze = 0; back_in_the_freeze < 2; back_in_the_freeze++) {
		for (int kind = 0; kind < 3; kind++) {
			atomic_ulong turns = 0;
			unsigned long before;
			struct kthread *k = kthread_create(fns[kind], &turns, "per-CPU/%d", kind);

			if (kind == 2)
				assert_int_equal(kthread_bind(k, 7), 0);
			else
				assert_int_equal(kthread_set_per_cpu(k, 7), 0);
			kthread_wake(k);
			AWAIT(atomic_load(&turns));
			if (kind == 1)
				await_waiting(k);
			assert_int_equal(kthread_freeze_all(LONG), 0);
			before = atomic_load(&turns);
			probe_online(ALL & ~LAST);
			assert_int_equal(sim_logged("does not park"), 0); /* nor was it waited for */
			assert_int_equal(state_of(k), kind == 1 ? KTHREAD_PARKED : KTHREAD_FROZEN);
			if (back_in_the_freeze) {
				probe_online(ALL);
				assert_int_equal(state_of(k), KTHREAD_FROZEN);
				kthread_thaw_all();
			} else {
				kthread_thaw_all();
				if (kind == 2)
					await_waits_for_its_cpu(k);
				else
					AWAIT(state_of(k) == KTHREAD_PARKED);  /* it finds the request now */
				assert_int_equal(kthread_freeze_all(LONG), 0); /* parked, or asleep in place */
				probe_online(ALL);
				AWAIT(state_of(k) == KTHREAD_FROZEN);
				kthread_thaw_all();
			}
			kthread_wake(k);
			AWAIT(atomic_load(&turns) > before);
			assert_int_equal(kthread_stop(k), 0);
		}
	}
}

/* Held in kthread_bound_should_stop() because its CPU is away it is frozen there, and its CPU may come meanwhile. */
static void kthread_bound_should_stop__frozen_where_it_waits(void **state)
{
	atomic_ulong turns = 0;
	struct kthread *k = kthread_create(waits_for_its_cpu, &turns, "bound");

	(void)state;
	assert_int_equal(kthread_bind(k, 7), 0);
	kthread_wake(k);
	AWAIT(atomic_load(&turns));
	for (int i = 0; i < 20; i++) {
		unsigned long before;

		probe_online(ALL & ~LAST);
		await_waits_for_its_cpu(k);
		before = atomic_load(&turns);
		assert_int_equal(kthread_freeze_all(LONG), 0);
		probe_online(ALL);
		assert_int_equal(state_of(k), KTHREAD_FROZEN);
		await_settled(kthread_tid(k));
		assert_int_equal(atomic_load(&turns), before);
		kthread_thaw_all();
		AWAIT(atomic_load(&turns) > before);
	}
	assert_int_equal(kthread_stop(k), 0);
}

/* ---- per-CPU threads --------------------------------------------------------------------------------------------- */

static atomic_int set_up;

static bool should_run(unsigned int cpu, void *arg)
{
	(void)cpu;
	(void)arg;
	return kthread_try_to_freeze() && false;
}

static void never_run(unsigned int cpu, void *arg)
{
	(void)cpu;
	(void)arg;
	abort();
}

static void become_freezable(unsigned int cpu, void *arg)
{
	(void)cpu;
	(void)arg;
	atomic_fetch_add(&set_up, 1);
	kthread_set_freezable();
}

static void kthread_percpu__in_a_freeze(void **state)
{
	struct kthread_percpu desc = KTHREAD_PERCPU_INIT;

	(void)state;
	desc.name = "cpu/%u";
	desc.should_run = should_run;
	desc.run = never_run;
	desc.setup = become_freezable;
	for (int i = 0; i < 20; i++) {
		atomic_store(&set_up, 0);
		assert_int_equal(kthread_freeze_all(LONG), 0);
		assert_int_equal(kthread_percpu_register(&desc), 0);
		for (unsigned int cpu = 0; cpu < 8; cpu++)
			AWAIT(state_of(kthread_percpu_thread(&desc, cpu)) == KTHREAD_FROZEN);
		probe_online(ALL & ~LAST);
		assert_int_equal(state_of(kthread_percpu_thread(&desc, 7)), KTHREAD_FROZEN);
		if (i % 2) {
			kthread_thaw_all();
			AWAIT(state_of(kthread_percpu_thread(&desc, 7)) == KTHREAD_PARKED);
			for (unsigned int cpu = 0; cpu < 7; cpu++)
				AWAIT(state_of(kthread_percpu_thread(&desc, cpu)) == KTHREAD_WAITING);
			assert_int_equal(kthread_freeze_all(LONG), 0);
		}
		kthread_percpu_unregister(&desc); /* stops them, frozen or parked */
		kthread_thaw_all();
		probe_online(ALL);
		assert_int_equal(atomic_load(&set_up), 8);
	}
	assert_int_equal(sim_logged("does not park"), 0);
}

/* ---- the plan ---------------------------------------------------------------------------------------------------- */

/* Whoever would have found it: after the thaw it is followed, without another look being asked for. */
static void plan__in_a_freeze(void **state)
{
	enum { BY_RESCAN, BY_POLL, BY_INOTIFY, BY_NOBODY, FINDERS };

	(void)state;
	for (int by = BY_RESCAN; by < FINDERS; by++) {
		struct kthread_config config = sim_config();
		char path[256];
		atomic_ulong turns = 0;
		struct kthread *k;

		sim_tree("numa");
		snprintf(path, sizeof(path), "%s/plan", sim.root);
		config.plan_file = path;
		config.poll_ms = by == BY_POLL ? 1 : 0;
		config.inotify = by == BY_INOTIFY;
		sim_start(&config);
		k = kthread_create(freezes, &turns, "per-CPU");
		assert_int_equal(kthread_set_per_cpu(k, 7), 0);
		kthread_wake(k);
		AWAIT(atomic_load(&turns));
		sim_calm();
		for (int i = 0; i < 20; i++) {
			assert_int_equal(kthread_freeze_all(LONG), 0);
			sim_replace("plan", i % 2 ? "0-7\n" : "0-6\n");
			if (by == BY_RESCAN) /* others find it meanwhile, or not yet */
				assert_int_equal(kthread_rescan(), 0);
			assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), i % 2 ? 0x7f : ALL);
			assert_int_equal(state_of(k), i % 2 ? KTHREAD_PARKED : KTHREAD_FROZEN);
			kthread_thaw_all();
			AWAIT(sim_cpus(KTHREAD_CPUS_USABLE) == (i % 2 ? ALL : 0x7fu));
			if (i % 2)
				AWAIT(state_of(k) != KTHREAD_PARKED);
			else
				AWAIT(state_of(k) == KTHREAD_PARKED);
		}
		assert_int_equal(sim_logged("plan_file"), 0);
		assert_int_equal(kthread_stop(k), 0);
		sim_stop();
	}
}

#define SIM_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    SIM_TEST(kthread_cpu_down__in_a_freeze),
	    SIM_TEST(kthread_freeze_all__waits_for_a_transition),
	    SIM_TEST(kthread_freeze_all__races_with_cpu_down),
	    SIM_TEST(kthread_freeze_all__and_the_read_lock),
	    SIM_TEST(kthread_freeze_all__by_one_asked_to_stop),
	    SIM_TEST(kthread_try_to_freeze__with_the_read_lock_held),
	    SIM_TEST(kthread_try_to_freeze__in_a_callback),
	    SIM_TEST(freeze__a_cpu_goes_and_comes),
	    SIM_TEST(kthread_bound_should_stop__frozen_where_it_waits),
	    SIM_TEST(kthread_percpu__in_a_freeze),
	    cmocka_unit_test(plan__in_a_freeze),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

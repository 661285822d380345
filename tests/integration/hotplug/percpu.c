/* SPDX-License-Identifier: MIT */
/*
 * Per-CPU threads: which callback is called when, in which order, on which thread; CPUs that come later; all or nothing;
 * kick; unregistering at any time.
 */
#include <pthread.h>

#include "probe.h"

#define ALL 0xffu
#define CPUS 8
#define MINE 0x08u /* CPU 3 */

/* ---- a description that checks the rules in each callback -------------------------------------------------------- */

enum stage { NOTHING, CREATED, ACTIVE, PARKED, CLEAN };

struct cell {
	enum stage stage; /* CREATED is the maker's, the others are the thread's */
	pid_t tid;
	atomic_int creates, setups, runs, looks, parks, unparks, cleanups;
	atomic_int cleaned_online;
	atomic_int work;  /* how often should_run says yes */
	atomic_int fails; /* of create */
};

struct crew {
	struct kthread_percpu desc;
	struct cell cell[CPUS];
	atomic_bool over; /* nothing may be called any more */
	void (*hook)(struct crew *crew, const char *what, unsigned int cpu);
};

/* The callback is the thread's, on the thread, and nobody else's at the same time. */
static struct cell *on_thread(void *arg, unsigned int cpu, const char *what)
{
	struct crew *crew = arg;
	struct cell *cell = &crew->cell[cpu];
	char name[16];

	CHECK(cpu < CPUS && !atomic_load(&crew->over));
	CHECK(kthread_self());
	snprintf(name, sizeof(name), "crew/%u", cpu);
	CHECK(strcmp(kthread_name(kthread_self()), name) == 0);
	CHECK(kthread_tid(kthread_self()) == gettid());
	CHECK(kthread_is_per_cpu(kthread_self()));
	CHECK(!cell->tid || cell->tid == gettid());
	cell->tid = gettid();
	if (crew->hook)
		crew->hook(crew, what, cpu);
	return cell;
}

static int create(unsigned int cpu, void *arg)
{
	struct crew *crew = arg;
	struct cell *cell = &crew->cell[cpu];

	CHECK(cell->stage == NOTHING);
	atomic_fetch_add(&cell->creates, 1);
	if (crew->hook)
		crew->hook(crew, "create", cpu);
	if (atomic_load(&cell->fails))
		return atomic_load(&cell->fails);
	cell->stage = CREATED;
	return 0;
}

static void setup(unsigned int cpu, void *arg)
{
	struct cell *cell = on_thread(arg, cpu, "setup");

	CHECK(cell->stage == CREATED);
	cell->stage = ACTIVE;
	atomic_fetch_add(&cell->setups, 1);
}

static bool should_run(unsigned int cpu, void *arg)
{
	struct cell *cell = on_thread(arg, cpu, "should_run");

	CHECK(cell->stage == ACTIVE);
	atomic_fetch_add(&cell->looks, 1);
	return atomic_load(&cell->work) > 0;
}

static void run(unsigned int cpu, void *arg)
{
	struct cell *cell = on_thread(arg, cpu, "run");

	CHECK(cell->stage == ACTIVE);
	atomic_fetch_sub(&cell->work, 1);
	atomic_fetch_add(&cell->runs, 1);
}

static void park(unsigned int cpu, void *arg)
{
	struct cell *cell = on_thread(arg, cpu, "park");

	CHECK(cell->stage == ACTIVE);
	cell->stage = PARKED;
	atomic_fetch_add(&cell->parks, 1);
}

static void unpark(unsigned int cpu, void *arg)
{
	struct cell *cell = on_thread(arg, cpu, "unpark");

	CHECK(cell->stage == PARKED);
	cell->stage = ACTIVE;
	atomic_fetch_add(&cell->unparks, 1);
}

static void cleanup(unsigned int cpu, bool online, void *arg)
{
	struct cell *cell = on_thread(arg, cpu, "cleanup");

	CHECK(cell->stage == ACTIVE || cell->stage == PARKED);
	cell->stage = CLEAN;
	atomic_fetch_add(&cell->cleanups, 1);
	atomic_store(&cell->cleaned_online, online);
}

/* In the memory of the caller, as new. */
static void crew_new(struct crew *crew)
{
	memset(crew, 0, sizeof(*crew));
	crew->desc = (struct kthread_percpu)KTHREAD_PERCPU_INIT;
	crew->desc.name = "crew/%u";
	crew->desc.create = create;
	crew->desc.setup = setup;
	crew->desc.should_run = should_run;
	crew->desc.run = run;
	crew->desc.park = park;
	crew->desc.unpark = unpark;
	crew->desc.cleanup = cleanup;
	crew->desc.arg = crew;
}

static void crew_leave(struct crew *crew)
{
	kthread_percpu_unregister(&crew->desc);
	atomic_store(&crew->over, true);
	assert_null(crew->desc.state);
	for (unsigned int cpu = 0; cpu < CPUS; cpu++) {
		const struct cell *cell = &crew->cell[cpu];

		assert_true(cell->setups <= 1);
		assert_int_equal(cell->cleanups, cell->setups);
		assert_true(cell->parks == cell->unparks || cell->parks == cell->unparks + 1);
		assert_true(cell->creates <= 1);
	}
}

static void await_setup(const struct crew *crew, unsigned int cpus)
{
	for (unsigned int cpu = 0; cpu < CPUS; cpu++) {
		if (cpus >> cpu & 1)
			AWAIT(atomic_load(&crew->cell[cpu].setups) == 1 &&
			      state_of(kthread_percpu_thread((struct kthread_percpu *)&crew->desc, cpu)) ==
			          KTHREAD_WAITING);
	}
}

/* ---- the rules --------------------------------------------------------------------------------------------------- */

static void kthread_percpu_register__one_thread_per_usable_cpu(void **state)
{
	static struct crew crew;

	sim_start(NULL);
	sim_online(0xb7);
	crew_new(&crew);
	assert_int_equal(kthread_percpu_register(&crew.desc), 0);
	assert_non_null(crew.desc.state);
	assert_int_equal(kthread_percpu_register(&crew.desc), -EBUSY);
	await_setup(&crew, 0xb7);
	for (unsigned int cpu = 0; cpu < CPUS; cpu++) {
		struct kthread *k = kthread_percpu_thread(&crew.desc, cpu);

		assert_int_equal(crew.cell[cpu].creates, sim.online >> cpu & 1);
		if (!(sim.online >> cpu & 1)) {
			assert_null(k);
			assert_int_equal(errno, ENOENT);
			assert_false(kthread_percpu_kick(&crew.desc, cpu));
			continue;
		}
		assert_placed(k, KTHREAD_WISH_PER_CPU, 1u << cpu);
		assert_int_equal(sim_info(k).broken_ns, 0);
		assert_true(crew.cell[cpu].looks > 0);
		assert_int_equal(crew.cell[cpu].runs, 0);
	}
	assert_null(kthread_percpu_thread(&crew.desc, 8));
	assert_int_equal(errno, EINVAL);
	assert_null(kthread_percpu_thread(&crew.desc, ~0u));
	assert_int_equal(errno, EINVAL);
	assert_int_equal(kthread_fini(), -EBUSY);
	crew_leave(&crew);
	for (unsigned int cpu = 0; cpu < CPUS; cpu++)
		assert_int_equal(crew.cell[cpu].cleaned_online, sim.online >> cpu & 1);
	assert_null(kthread_percpu_thread(&crew.desc, 0));
	assert_int_equal(errno, EINVAL);
	assert_false(kthread_percpu_kick(&crew.desc, 0));
	kthread_percpu_unregister(&crew.desc);
	kthread_percpu_unregister(NULL);
	sim_stop();
}

static void percpu__parked_and_unparked_in_pairs(void **state)
{
	static struct crew crew;

	for (int cooperative = 0; cooperative < 2; cooperative++) {
		sim_start(NULL);
		crew_new(&crew);
		assert_int_equal(kthread_percpu_register(&crew.desc), 0);
		await_setup(&crew, ALL);
		for (int i = 1; i <= 20; i++) {
			struct kthread *k = kthread_percpu_thread(&crew.desc, 3);
			int looks;

			if (cooperative)
				assert_int_equal(kthread_cpu_down(3, 0), 0);
			else
				probe_online(ALL & ~MINE);
			AWAIT(state_of(k) == KTHREAD_PARKED);
			assert_int_equal(crew.cell[3].parks, i);
			assert_int_equal(crew.cell[3].unparks, i - 1);
			looks = crew.cell[3].looks;
			atomic_store(&crew.cell[3].work, 3);
			assert_true(kthread_percpu_kick(&crew.desc, 3)); /* it looks when it resumes */
			assert_false(kthread_percpu_kick(&crew.desc, 3));
			assert_int_equal(state_of(k), KTHREAD_PARKED);
			assert_int_equal(crew.cell[3].looks, looks);
			if (cooperative)
				assert_int_equal(kthread_cpu_up(3, 0), 0);
			else
				probe_online(ALL);
			AWAIT(atomic_load(&crew.cell[3].runs) == 3 * i);
			AWAIT(state_of(k) == KTHREAD_WAITING);
			assert_int_equal(crew.cell[3].unparks, i);
		}
		assert_int_equal(crew.cell[2].parks, 0);
		if (cooperative)
			assert_int_equal(sim_info(kthread_percpu_thread(&crew.desc, 3)).broken_ns, 0);
		crew_leave(&crew);
		sim_stop();
	}
}

static void percpu__no_park_no_unpark(void **state)
{
	static struct crew crew;

	sim_start(NULL);
	for (int missing = 0; missing < 2; missing++) {
		crew_new(&crew);
		if (missing == 0)
			crew.desc.park = NULL;
		else
			crew.desc.unpark = NULL;
		assert_int_equal(kthread_percpu_register(&crew.desc), 0);
		await_setup(&crew, ALL);
		for (int i = 0; i < 10; i++) {
			assert_int_equal(kthread_cpu_down(3, 0), 0);
			assert_int_equal(state_of(kthread_percpu_thread(&crew.desc, 3)), KTHREAD_PARKED);
			if (missing) /* nobody tells the cell */
				crew.cell[3].stage = ACTIVE;
			assert_true(kthread_percpu_kick(&crew.desc, 3));
			atomic_store(&crew.cell[3].work, 1);
			assert_int_equal(kthread_cpu_up(3, 0), 0);
			AWAIT(atomic_load(&crew.cell[3].runs) == i + 1);
		}
		assert_int_equal(crew.cell[3].unparks, 0);
		assert_int_equal(crew.cell[3].parks, missing ? 10 : 0);
		kthread_percpu_unregister(&crew.desc);
	}
	sim_stop();
}

/* should_run and run alone. */
static atomic_int bare_runs, bare_work;

static bool bare_should_run(unsigned int cpu, void *arg)
{
	return cpu == 3 && atomic_load(&bare_work) > 0;
}

static void bare_run(unsigned int cpu, void *arg)
{
	atomic_fetch_sub(&bare_work, 1);
	atomic_fetch_add(&bare_runs, 1);
}

static struct kthread_percpu bare(void)
{
	struct kthread_percpu desc = KTHREAD_PERCPU_INIT;

	desc.name = "bare/%u";
	desc.should_run = bare_should_run;
	desc.run = bare_run;
	atomic_store(&bare_runs, 0);
	atomic_store(&bare_work, 0);
	return desc;
}

static void percpu__all_callbacks_are_optional_but_two(void **state)
{
	struct kthread_percpu desc = bare();

	sim_start(NULL);
	assert_int_equal(kthread_percpu_register(&desc), 0);
	for (int i = 1; i <= 10; i++) {
		AWAIT(state_of(kthread_percpu_thread(&desc, 3)) == KTHREAD_WAITING);
		assert_int_equal(kthread_cpu_down(3, 0), 0);
		atomic_store(&bare_work, 1);
		kthread_percpu_kick(&desc, 3);
		assert_int_equal(kthread_cpu_up(3, 0), 0);
		AWAIT(atomic_load(&bare_runs) == i);
	}
	kthread_percpu_unregister(&desc);
	sim_stop();
}

static void percpu__cpus_that_come_later(void **state)
{
	static struct crew crew;
	struct probe a = {.tag = "a"};

	for (int with_step = 0; with_step < 2; with_step++) {
		sim_start(NULL);
		sim_online(0x01);
		crew_new(&crew);
		assert_int_equal(kthread_percpu_register(&crew.desc), 0);
		if (with_step)
			assert_true(probe_setup(&a, KTHREAD_CPUHP_PREPARE) > 0);
		for (unsigned int cpu = 1; cpu < CPUS; cpu++) {
			probe_online(sim.online | 1u << cpu);
			await_setup(&crew, sim.online);
			assert_placed(kthread_percpu_thread(&crew.desc, cpu), KTHREAD_WISH_PER_CPU, 1u << cpu);
		}
		for (unsigned int cpu = 1; cpu < CPUS; cpu++) {
			probe_online(sim.online & ~(1u << cpu));
			AWAIT(state_of(kthread_percpu_thread(&crew.desc, cpu)) == KTHREAD_PARKED);
		}
		probe_online(ALL);
		for (unsigned int cpu = 1; cpu < CPUS; cpu++)
			AWAIT(atomic_load(&crew.cell[cpu].unparks) == 1);
		crew_leave(&crew);
		if (with_step)
			assert_int_equal(kthread_cpuhp_remove(a.step), 0);
		probe_trace();
		sim_stop();
	}
}

/* A thread for a CPU that never became usable: its create fails, or a step does. */
static void percpu__the_cpu_that_comes_fails(void **state)
{
	static struct crew crews[2];
	struct probe a = {.tag = "a", .fail_up = MINE};

	sim_start(NULL);
	sim_online(ALL & ~MINE);
	for (int i = 0; i < 2; i++) {
		crew_new(&crews[i]);
		assert_int_equal(kthread_percpu_register(&crews[i].desc), 0);
	}
	assert_true(probe_setup(&a, KTHREAD_CPUHP_ONLINE) > 0);
	atomic_store(&crews[0].cell[3].fails, -EPROTO);
	probe_online(ALL); /* the second is asked first, and keeps its thread, parked */
	assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), ALL & ~MINE);
	assert_null(kthread_percpu_thread(&crews[0].desc, 3));
	assert_int_equal(crews[0].cell[3].setups + crews[1].cell[3].setups, 0);
	assert_int_equal(kthread_cpu_up(3, 0), -EPROTO);
	atomic_store(&crews[0].cell[3].fails, 0);
	assert_int_equal(kthread_cpu_up(3, 0), -EIO);
	assert_int_equal(crews[1].cell[3].creates, 1);
	assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), ALL & ~MINE);
	for (int i = 0; i < 2; i++)
		AWAIT(state_of(kthread_percpu_thread(&crews[i].desc, 3)) == KTHREAD_PARKED);
	atomic_store(&a.fail_up, 0);
	assert_int_equal(kthread_cpu_up(3, 0), 0);
	crews[0].cell[3].creates = 1; /* it was asked more than once */
	for (int i = 0; i < 2; i++) {
		await_setup(&crews[i], ALL);
		crew_leave(&crews[i]);
	}
	assert_int_equal(kthread_cpuhp_remove(a.step), 0);
	probe_trace();
	sim_stop();
}

static void percpu__a_thread_that_never_had_its_cpu(void **state)
{
	static struct crew crew;
	struct probe a = {.tag = "a", .fail_up = MINE};

	sim_start(NULL);
	sim_online(ALL & ~MINE);
	crew_new(&crew);
	assert_int_equal(kthread_percpu_register(&crew.desc), 0);
	assert_true(probe_setup(&a, KTHREAD_CPUHP_PREPARE) > 0);
	probe_online(ALL);
	assert_non_null(kthread_percpu_thread(&crew.desc, 3));
	crew_leave(&crew); /* neither setup nor cleanup */
	assert_int_equal(crew.cell[3].creates, 1);
	assert_int_equal(crew.cell[3].setups, 0);
	assert_int_equal(kthread_cpuhp_remove(a.step), 0);
	probe_trace();
	sim_stop();
}

/* ---- all or nothing ---------------------------------------------------------------------------------------------- */

static void kthread_percpu_register__create_fails_for_each_cpu(void **state)
{
	static struct crew crew;

	sim_start(NULL);
	for (unsigned int failing = 0; failing < CPUS; failing++) {
		for (int selfparking = 0; selfparking < 2; selfparking++) {
			int living = 0;

			crew_new(&crew);
			crew.desc.selfparking = selfparking;
			atomic_store(&crew.cell[failing].fails, failing % 2 ? EPROTO : -EPROTO);
			assert_int_equal(kthread_percpu_register(&crew.desc), -EPROTO);
			assert_null(crew.desc.state);
			for (unsigned int cpu = 0; cpu < CPUS; cpu++) {
				living += kthread_percpu_thread(&crew.desc, cpu) != NULL;
				assert_int_equal(crew.cell[cpu].creates, cpu <= failing);
				assert_int_equal(crew.cell[cpu].setups + crew.cell[cpu].cleanups, 0);
			}
			assert_int_equal(living, 0);
			AWAIT(sim_task("crew") == 0);
			crew_new(&crew);
			assert_int_equal(kthread_percpu_register(&crew.desc), 0);
			crew_leave(&crew);
		}
	}
	sim_stop();
}

static void kthread_percpu_register__bad_input(void **state)
{
	static const char *const names[] = {NULL, "", "crew", "crew/%d", "crew/%u/%u", "%s", "crew/%u%", "%n"};
	static struct crew crew;
	struct {
		struct kthread_percpu desc;
		char tail[16];
	} longer;

	sim_start(NULL);
	assert_int_equal(kthread_percpu_register(NULL), -EINVAL);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		crew_new(&crew);
		crew.desc.name = names[i];
		assert_int_equal(kthread_percpu_register(&crew.desc), -EINVAL);
		assert_null(crew.desc.state);
		assert_int_equal(crew.cell[0].creates, 0);
	}
	crew_new(&crew);
	crew.desc.run = NULL;
	assert_int_equal(kthread_percpu_register(&crew.desc), -EINVAL);
	crew_new(&crew);
	crew.desc.should_run = NULL;
	assert_int_equal(kthread_percpu_register(&crew.desc), -EINVAL);
	crew_new(&crew);
	crew.desc.size = 8;
	assert_int_equal(kthread_percpu_register(&crew.desc), -EINVAL);
	memset(&longer, 0, sizeof(longer));
	longer.desc = bare();
	longer.desc.size = sizeof(longer);
	longer.tail[15] = 1;
	assert_int_equal(kthread_percpu_register(&longer.desc), -E2BIG);
	longer.tail[15] = 0;
	assert_int_equal(kthread_percpu_register(&longer.desc), 0);
	kthread_percpu_unregister(&longer.desc);
	longer.desc.name = "50%%/%u of it";
	assert_int_equal(kthread_percpu_register(&longer.desc), 0);
	assert_string_equal(kthread_name(kthread_percpu_thread(&longer.desc, 3)), "50%/3 of it");
	kthread_percpu_unregister(&longer.desc);
	kthread_cpus_read_lock();
	assert_int_equal(kthread_percpu_register(&longer.desc), -EDEADLK);
	kthread_cpus_read_unlock();
	sim_stop();
}

/* ---- selfparking ------------------------------------------------------------------------------------------------- */

static void percpu__selfparking(void **state)
{
	static struct crew crew;

	sim_start(NULL);
	sim_online(ALL & ~MINE);
	crew_new(&crew);
	crew.desc.selfparking = true;
	assert_int_equal(kthread_percpu_register(&crew.desc), 0);
	probe_online(ALL);
	for (unsigned int cpu = 0; cpu < CPUS; cpu++) {
		assert_int_equal(state_of(kthread_percpu_thread(&crew.desc, cpu)), KTHREAD_PARKED);
		assert_int_equal(crew.cell[cpu].setups, 0);
	}
	assert_true(kthread_percpu_kick(&crew.desc, 3));
	for (unsigned int cpu = 0; cpu < 4; cpu++)
		kthread_unpark(kthread_percpu_thread(&crew.desc, cpu));
	await_setup(&crew, 0x0f);
	assert_int_equal(kthread_cpu_down(3, 0), 0);
	assert_int_equal(kthread_cpu_down(4, 0), 0);
	assert_int_equal(crew.cell[3].parks, 1);
	assert_int_equal(kthread_cpu_up(3, 0), 0);
	assert_int_equal(kthread_cpu_up(4, 0), 0);
	AWAIT(atomic_load(&crew.cell[3].unparks) == 1);
	assert_int_equal(state_of(kthread_percpu_thread(&crew.desc, 4)), KTHREAD_PARKED);
	crew_leave(&crew);
	assert_int_equal(crew.cell[4].setups, 0);
	assert_int_equal(crew.cell[3].cleanups, 1);
	sim_stop();
}

/* ---- kick -------------------------------------------------------------------------------------------------------- */

static struct kthread_completion in_run, go_on;

static void holds_run(struct crew *crew, const char *what, unsigned int cpu)
{
	if (cpu == 3 && strcmp(what, "should_run") == 0) {
		kthread_complete(&in_run);
		AWAIT_DONE(&go_on);
	}
}

static void kthread_percpu_kick__true_if_it_changed_something(void **state)
{
	static struct crew crew;

	sim_start(NULL);
	kthread_init_completion(&in_run);
	kthread_init_completion(&go_on);
	crew_new(&crew);
	crew.hook = holds_run;
	assert_int_equal(kthread_percpu_register(&crew.desc), 0);
	for (int i = 0; i < 20; i++) {
		AWAIT_DONE(&in_run); /* it looks: what is done from here on, it may have missed */
		assert_true(kthread_percpu_kick(&crew.desc, 3));
		assert_false(kthread_percpu_kick(&crew.desc, 3));
		kthread_complete(&go_on);
	}
	AWAIT_DONE(&in_run);
	kthread_complete(&go_on);
	AWAIT(state_of(kthread_percpu_thread(&crew.desc, 3)) == KTHREAD_WAITING);
	assert_int_equal(crew.cell[3].looks, 21); /* once for each */
	for (int i = 0; i < 2 * 20; i++)
		kthread_complete(&go_on);
	crew_leave(&crew);
	sim_stop();
}

enum { ITEMS = 3000 };

static void *kicks(void *arg)
{
	struct crew *crew = arg;

	for (int i = 0; i < ITEMS; i++) {
		atomic_fetch_add(&crew->cell[3].work, 1);
		kthread_percpu_kick(&crew->desc, 3);
		if (i % 16 == 0)
			AWAIT(atomic_load(&crew->cell[3].work) <= 0 || !(sim_cpus(KTHREAD_CPUS_USABLE) & MINE));
	}
	return NULL;
}

static void kthread_percpu_kick__is_never_lost(void **state)
{
	static struct crew crew;
	pthread_t kickers[2];

	sim_start(NULL);
	for (int without_park = 0; without_park < 2; without_park++) {
		crew_new(&crew);
		if (without_park)
			crew.desc.park = NULL;
		assert_int_equal(kthread_percpu_register(&crew.desc), 0);
		for (int i = 0; i < 2; i++)
			assert_int_equal(pthread_create(&kickers[i], NULL, kicks, &crew), 0);
		for (int i = 0; i < 50; i++) {
			assert_int_equal(kthread_cpu_down(3, 0), 0);
			assert_int_equal(kthread_cpu_up(3, 0), 0);
		}
		for (int i = 0; i < 2; i++)
			pthread_join(kickers[i], NULL);
		AWAIT(atomic_load(&crew.cell[3].runs) == 2 * ITEMS);
		crew_leave(&crew);
	}
	sim_stop();
}

/* ---- who calls what from where ----------------------------------------------------------------------------------- */

static atomic_int seen;

static void asks(struct crew *crew, const char *what, unsigned int cpu)
{
	if (strcmp(what, "create") == 0) {
		CHECK(kthread_rescan() == -EDEADLK);
		CHECK(kthread_cpu_down(5, 0) == -EDEADLK);
		CHECK(kthread_percpu_register(&crew->desc) == -EDEADLK);
		atomic_fetch_add(&seen, 1);
	} else if (strcmp(what, "run") == 0) { /* an ordinary thread */
		CHECK(kthread_rescan() == 0);
		CHECK(kthread_cpu_down(cpu, 0) == -EDEADLK);
		CHECK(kthread_cpu_down(5, 0) == 0);
		CHECK(kthread_cpu_up(5, 0) == 0);
		kthread_percpu_unregister(&crew->desc); /* it could not wait for itself */
		CHECK(crew->desc.state);
		atomic_fetch_add(&seen, 1);
	} else if (strcmp(what, "cleanup") == 0 || strcmp(what, "park") == 0) {
		const int error = kthread_rescan(); /* somebody waits for us */

		CHECK(error == -EDEADLK);
		kthread_cpus_read_lock();
		kthread_cpus_read_unlock();
		atomic_fetch_add(&seen, 1);
	}
}

static void percpu__calls_from_callbacks(void **state)
{
	static struct crew crew;

	sim_start(NULL);
	atomic_store(&seen, 0);
	crew_new(&crew);
	crew.hook = asks;
	assert_int_equal(kthread_percpu_register(&crew.desc), 0);
	await_setup(&crew, ALL);
	assert_int_equal(atomic_load(&seen), 8);
	atomic_store(&crew.cell[3].work, 1);
	assert_true(kthread_percpu_kick(&crew.desc, 3));
	AWAIT(atomic_load(&crew.cell[3].runs) == 1);
	assert_int_equal(atomic_load(&seen), 10); /* and the park of 5 */
	AWAIT(state_of(kthread_percpu_thread(&crew.desc, 5)) == KTHREAD_WAITING);
	crew_leave(&crew);
	assert_int_equal(atomic_load(&seen), 18);
	sim_stop();
}

/* Its own handle and its neighbours' are there as soon as the first callback of a thread is called. */
static atomic_int set_up;

static void finds_itself(struct crew *crew, const char *what, unsigned int cpu)
{
	if (strcmp(what, "setup") != 0)
		return;
	CHECK(kthread_percpu_thread(&crew->desc, cpu) == kthread_self());
	CHECK(kthread_percpu_thread(&crew->desc, (cpu + 1) % 7));
	kthread_percpu_kick(&crew->desc, (cpu + 1) % 7);
	atomic_fetch_add(&set_up, 1);
}

/* What was found at registration is told when the threads have begun. */
static void log_waits(int level, const char *message, void *arg)
{
	sim_log(level, message, arg);
	if (strstr(message, "CPU 7 cannot be used"))
		AWAIT(atomic_load(&set_up) == 7);
}

static void percpu__threads_find_each_other_from_the_first_callback(void **state)
{
	struct kthread_config config = sim_config();
	static struct crew crew;
	struct kthread *k;

	config.log = log_waits;
	sim_start(&config);
	atomic_store(&set_up, 0);
	k = kthread_run_on_cpu(obedient, NULL, 7, "bound/%u");
	AWAIT(state_of(k) == KTHREAD_WAITING);
	sim_calm();
	sim_online(0x7f);
	crew_new(&crew);
	crew.hook = finds_itself;
	assert_int_equal(kthread_percpu_register(&crew.desc), 0);
	assert_logged("CPU 7 cannot be used", 1);
	await_setup(&crew, 0x7f);
	crew_leave(&crew);
	assert_int_equal(kthread_stop(k), 0);
	sim_stop();
}

/* ---- unregister -------------------------------------------------------------------------------------------------- */

static void kthread_percpu_unregister__of_a_cpu_that_is_away(void **state)
{
	static struct crew crew;

	for (int cooperative = 0; cooperative < 2; cooperative++) {
		sim_start(NULL);
		crew_new(&crew);
		assert_int_equal(kthread_percpu_register(&crew.desc), 0);
		await_setup(&crew, ALL);
		if (cooperative)
			assert_int_equal(kthread_cpu_down(3, 0), 0);
		else
			probe_online(ALL & ~MINE);
		AWAIT(atomic_load(&crew.cell[3].parks) == 1); /* stop would beat a park that it has not seen yet */
		crew_leave(&crew);
		assert_int_equal(crew.cell[3].cleanups, 1);
		assert_int_equal(crew.cell[3].parks, 1);
		assert_int_equal(crew.cell[3].unparks, 0);
		for (unsigned int cpu = 0; cpu < CPUS; cpu++)
			assert_int_equal(crew.cell[cpu].cleaned_online, cpu != 3);
		sim_stop();
	}
}

/* A thread that works hands over to its neighbours, which may have been stopped already. */
static void kicks_all(struct crew *crew, const char *what, unsigned int cpu)
{
	if (strcmp(what, "run") == 0 || strcmp(what, "cleanup") == 0 || strcmp(what, "park") == 0) {
		CHECK(kthread_percpu_thread(&crew->desc, cpu) == kthread_self());
		for (unsigned int other = 0; other < CPUS; other++)
			kthread_percpu_kick(&crew->desc, other);
	}
}

static void kthread_percpu_unregister__while_its_threads_kick_each_other(void **state)
{
	static struct crew crew;

	sim_start(NULL);
	for (int i = 0; i < 20; i++) {
		crew_new(&crew);
		crew.hook = kicks_all;
		for (unsigned int cpu = 6; cpu < CPUS; cpu++) /* the last to be stopped */
			crew.cell[cpu].work = 1 << 30;
		assert_int_equal(kthread_percpu_register(&crew.desc), 0);
		AWAIT(atomic_load(&crew.cell[7].runs) > 10);
		crew_leave(&crew);
	}
	sim_stop();
}

static atomic_bool enough;

static void *moves_cpus(void *arg)
{
	unsigned int turn = 0;

	while (!atomic_load(&enough)) {
		const unsigned int cpu = 1 + ++turn % 7;

		CHECK(kthread_cpu_down(cpu, 0) == 0);
		CHECK(kthread_cpu_up(cpu, 0) == 0);
	}
	return NULL;
}

static void kthread_percpu_unregister__while_cpus_move(void **state)
{
	static struct crew crews[2];
	pthread_t mover;

	sim_start(NULL);
	atomic_store(&enough, false);
	assert_int_equal(pthread_create(&mover, NULL, moves_cpus, NULL), 0);
	for (int i = 0; i < 50; i++) {
		for (int c = 0; c < 2; c++) {
			crew_new(&crews[c]);
			crews[c].desc.selfparking = false;
			assert_int_equal(kthread_percpu_register(&crews[c].desc), 0);
		}
		for (int c = 0; c < 2; c++)
			crew_leave(&crews[c]);
	}
	atomic_store(&enough, true);
	pthread_join(mover, NULL);
	AWAIT(sim_task("crew") == 0);
	sim_stop();
}

/* ---- with steps of the application's ----------------------------------------------------------------------------- */

/* Threads are made before any PREPARE step sees the CPU, whoever registered first; and its ONLINE steps find them at work. */
static struct crew *watched;

static void sees_the_thread(struct probe *probe, char what, unsigned int cpu)
{
	struct kthread *k = kthread_percpu_thread(&watched->desc, cpu);
	enum kthread_state state;

	CHECK(k && (what == '-' || watched->cell[cpu].creates == 1));
	state = state_of(k); /* it may be about to park */
	CHECK(state == KTHREAD_PARKED || (what == '+' && state <= KTHREAD_RUNNING));
	CHECK(what == '-' || watched->cell[cpu].setups == 0);
}

static void percpu__before_the_steps_of_the_application(void **state)
{
	static struct crew crew;
	struct probe a = {.tag = "a"};

	sim_start(NULL);
	sim_online(ALL & ~MINE);
	assert_true(probe_setup(&a, KTHREAD_CPUHP_PREPARE) > 0);
	crew_new(&crew);
	watched = &crew;
	assert_int_equal(kthread_percpu_register(&crew.desc), 0);
	a.hook = sees_the_thread;
	probe_online(ALL);
	assert_int_equal(crew.cell[3].creates, 1);
	await_setup(&crew, ALL);
	assert_int_equal(kthread_cpu_down(3, 0), 0);
	a.hook = NULL;
	crew_leave(&crew);
	assert_int_equal(kthread_cpuhp_remove(a.step), 0);
	probe_trace();
	sim_stop();
}

/* What the library calls its own things is nobody's business. */
static void percpu__takes_no_name_of_a_step(void **state)
{
	struct kthread_percpu desc = bare();
	int step;

	sim_start(NULL);
	step = kthread_cpuhp_setup(KTHREAD_CPUHP_PREPARE, "per-CPU threads", NULL, NULL, NULL);
	assert_true(step > 0);
	assert_int_equal(kthread_percpu_register(&desc), 0);
	assert_int_equal(kthread_cpuhp_remove(step), 0);
	step = kthread_cpuhp_setup(KTHREAD_CPUHP_PREPARE, "per-CPU threads", NULL, NULL, NULL);
	assert_true(step > 0);
	for (int number = 1; number < step; number++) {
		cpu_set_t set;

		assert_int_equal(kthread_cpuhp_remove(number), -EINVAL);
		assert_int_equal(kthread_cpuhp_add_instance(number, &desc), -EINVAL);
		assert_int_equal(kthread_cpuhp_failures(number), -EINVAL);
		assert_int_equal(kthread_cpuhp_cpus(number, sizeof(set), &set), -EINVAL);
	}
	assert_int_equal(kthread_cpuhp_remove(step), 0);
	kthread_percpu_unregister(&desc);
	sim_stop();
}

/* ---- fork() ------------------------------------------------------------------------------------------------------ */

static int child_of_a_crew(void *arg)
{
	struct crew *crew = arg;
	struct kthread_percpu own = bare();

	EXPECT(kthread_percpu_register(&own) == -ECHILD);
	EXPECT(!kthread_percpu_thread(&crew->desc, 3) && errno == ECHILD);
	EXPECT(!kthread_percpu_kick(&crew->desc, 3));
	kthread_percpu_unregister(&crew->desc);
	EXPECT(!crew->desc.state);
	EXPECT(kthread_init(NULL) == 0);
#ifndef __SANITIZE_THREAD__ /* it takes a new thread of the child for one of its parent's */
	EXPECT(kthread_percpu_register(&own) == 0);
	EXPECT(kthread_percpu_thread(&own, 0));
	kthread_percpu_unregister(&own);
#endif
	EXPECT(kthread_fini() == 0);
	return 0;
}

static void percpu__in_a_forked_child(void **state)
{
	static struct crew crew;

	sim_start(NULL);
	crew_new(&crew);
	assert_int_equal(kthread_percpu_register(&crew.desc), 0);
	await_setup(&crew, ALL);
	assert_int_equal(in_child(child_of_a_crew, &crew), 0);
	atomic_store(&crew.cell[3].work, 1);
	assert_true(kthread_percpu_kick(&crew.desc, 3));
	AWAIT(atomic_load(&crew.cell[3].runs) == 1);
	crew_leave(&crew);
	sim_stop();
}

/* ---- on this machine --------------------------------------------------------------------------------------------- */

static void at_home(struct crew *crew, const char *what, unsigned int cpu)
{
	if (strcmp(what, "create") != 0 && strcmp(what, "cleanup") != 0)
		CHECK(sched_getcpu() == (int)cpu);
}

static void percpu__on_its_own_cpu(void **state)
{
	struct kthread_config config = KTHREAD_CONFIG_INIT;
	static struct crew crew;

	if (!sim_two_cpus())
		skip();
	assert_int_equal(kthread_init(&config), 0);
	for (int i = 0; i < 5; i++) {
		crew_new(&crew);
		crew.hook = at_home;
		crew.cell[1].work = 1 << 30;
		assert_int_equal(kthread_percpu_register(&crew.desc), 0);
		await_setup(&crew, 1);
		for (int j = 0; j < 10; j++) {
			const int runs = atomic_load(&crew.cell[1].runs);

			AWAIT(atomic_load(&crew.cell[1].runs) > runs);
			assert_int_equal(kthread_cpu_down(1, 0), 0);
			assert_int_equal(state_of(kthread_percpu_thread(&crew.desc, 1)), KTHREAD_PARKED);
			if (j == 9)
				break;
			assert_int_equal(kthread_cpu_up(1, 0), 0);
		}
		crew_leave(&crew);
		assert_int_equal(crew.cell[0].cleaned_online, 1);
		assert_int_equal(crew.cell[1].cleaned_online, 0);
		assert_int_equal(kthread_cpu_up(1, 0), 0);
	}
	assert_int_equal(kthread_fini(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(kthread_percpu_register__one_thread_per_usable_cpu),
	    cmocka_unit_test(percpu__parked_and_unparked_in_pairs),
	    cmocka_unit_test(percpu__no_park_no_unpark),
	    cmocka_unit_test(percpu__all_callbacks_are_optional_but_two),
	    cmocka_unit_test(percpu__cpus_that_come_later),
	    cmocka_unit_test(percpu__the_cpu_that_comes_fails),
	    cmocka_unit_test(percpu__a_thread_that_never_had_its_cpu),
	    cmocka_unit_test(kthread_percpu_register__create_fails_for_each_cpu),
	    cmocka_unit_test(kthread_percpu_register__bad_input),
	    cmocka_unit_test(percpu__selfparking),
	    cmocka_unit_test(kthread_percpu_kick__true_if_it_changed_something),
	    cmocka_unit_test(kthread_percpu_kick__is_never_lost),
	    cmocka_unit_test(percpu__calls_from_callbacks),
	    cmocka_unit_test(percpu__threads_find_each_other_from_the_first_callback),
	    cmocka_unit_test(kthread_percpu_unregister__of_a_cpu_that_is_away),
	    cmocka_unit_test(kthread_percpu_unregister__while_its_threads_kick_each_other),
	    cmocka_unit_test(kthread_percpu_unregister__while_cpus_move),
	    cmocka_unit_test(percpu__before_the_steps_of_the_application),
	    cmocka_unit_test(percpu__takes_no_name_of_a_step),
	    cmocka_unit_test(percpu__in_a_forked_child),
	    cmocka_unit_test(percpu__on_its_own_cpu),
	};

	return cmocka_run_group_tests(tests, NULL, fini_finds_nothing);
}

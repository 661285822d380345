/* SPDX-License-Identifier: MIT */
/*
 * Everything at once on an invented machine: CPUs go and come, a plan changes, CPUs are given up and taken back, steps and
 * per-CPU threads are registered and removed, one step fails as it likes; and readers look. At the end everything is up, in
 * its place, and in pairs.
 *
 * TEST_SEED=N repeats the choices, TEST_SECONDS=N lasts longer; the seed is printed.
 */
#include <pthread.h>

#include "probe.h"

#define ALL 0xffu
#define CPUS 8

static atomic_bool enough;
static atomic_ulong events, downs, refusals, steps, crews, reads, lived;

/* ---- those who stir ---------------------------------------------------------------------------------------------- */

static struct probe fickle = {.tag = "fickle"};

static void *machine(void *arg)
{
	unsigned int seed = (unsigned int)(uintptr_t)arg;

	while (!atomic_load(&enough)) {
		char list[64];

		sim_online(1u | ((unsigned int)rand_r(&seed) & ALL));
		if (rand_r(&seed) % 4 == 0) {
			snprintf(list, sizeof(list), "%s", sim_list(2u | ((unsigned int)rand_r(&seed) & ALL)));
			sim_replace("plan", list);
		}
		if (rand_r(&seed) % 8 == 0)
			sim_remove("plan");
		atomic_store(&fickle.fail_up, rand_r(&seed) % 3 ? 0 : 1u << rand_r(&seed) % CPUS);
		atomic_store(&fickle.fail_down, rand_r(&seed) % 3 ? 0 : 1u << rand_r(&seed) % CPUS);
		CHECK(kthread_rescan() == 0);
		atomic_fetch_add(&events, 1);
	}
	return NULL;
}

static void *cooperative(void *arg)
{
	unsigned int seed = (unsigned int)(uintptr_t)arg;

	while (!atomic_load(&enough)) {
		const unsigned int cpu = (unsigned int)rand_r(&seed) % CPUS;
		const int error = rand_r(&seed) % 2 ? kthread_cpu_down(cpu, 0) : kthread_cpu_up(cpu, 0);

		CHECK(error == 0 || error == -EBUSY || error == -EIO);
		atomic_fetch_add(error ? &refusals : &downs, 1);
	}
	return NULL;
}

static void *registers_steps(void *arg)
{
	unsigned int seed = (unsigned int)(uintptr_t)arg;
	char name[16];

	snprintf(name, sizeof(name), "s%u", seed % 1000);
	while (!atomic_load(&enough)) {
		struct probe one = {.tag = name};
		struct probe two = {.tag = name};
		const int section = rand_r(&seed) % 2 ? KTHREAD_CPUHP_PREPARE : KTHREAD_CPUHP_ONLINE;

		if (rand_r(&seed) % 2) {
			one.fail_up = rand_r(&seed) % 4 ? 0 : 1u << rand_r(&seed) % CPUS;
			if (probe_setup(&one, section) > 0) {
				sched_yield();
				CHECK(kthread_cpuhp_remove(one.step) == 0);
			} else {
				CHECK(one.step == -EIO);
			}
		} else {
			const int step = kthread_cpuhp_setup_multi(section, name, probe_up, probe_down);

			CHECK(step > 0);
			CHECK(kthread_cpuhp_add_instance(step, &one) == 0);
			CHECK(kthread_cpuhp_add_instance(step, &two) == 0);
			sched_yield();
			CHECK(kthread_cpuhp_remove_instance(step, &one) == 0);
			CHECK(kthread_cpuhp_remove_instance(step, &two) == 0);
			CHECK(kthread_cpuhp_remove(step) == 0);
		}
		CHECK(atomic_load(&one.on) == 0 && atomic_load(&one.ups) == atomic_load(&one.downs));
		CHECK(atomic_load(&two.on) == 0 && atomic_load(&two.ups) == atomic_load(&two.downs));
		atomic_fetch_add(&steps, 1);
	}
	return NULL;
}

/* Threads that come, park and go while their CPU is being given up. */
static int sleeps_in_place(void *data)
{
	while (!kthread_should_stop())
		kthread_wait_parkable();
	return 0;
}

static int looks(void *data)
{
	while (!kthread_bound_should_stop()) {
		if (kthread_should_park())
			kthread_parkme();
		else
			kthread_wait_for(MS);
	}
	return 0;
}

static void *lives(void *arg)
{
	static int (*const fns[])(void *data) = {obedient, sleeps_in_place, looks};
	unsigned int seed = (unsigned int)(uintptr_t)arg;

	while (!atomic_load(&enough)) {
		const unsigned int cpu = (unsigned int)rand_r(&seed) % CPUS;
		struct kthread *k = kthread_create_on_cpu(fns[rand_r(&seed) % 3], NULL, cpu, "life/%u");
		int result;

		CHECK(k);
		if (rand_r(&seed) % 2)
			CHECK(kthread_set_per_cpu(k, (int)cpu) == 0);
		for (int i = rand_r(&seed) % 6; i > 0; i--) {
			switch (rand_r(&seed) % 3) {
			case 0:
				kthread_wake(k);
				break;
			case 1:
				CHECK(kthread_park(k) == 0);
				if (rand_r(&seed) % 2)
					CHECK(kthread_set_per_cpu(k, rand_r(&seed) % CPUS) == 0);
				kthread_unpark(k);
				break;
			default:
				sched_yield();
			}
		}
		result = kthread_stop(k);
		CHECK(result == 0 || result == -EINTR);
		atomic_fetch_add(&lived, 1);
	}
	return NULL;
}

/* ---- per-CPU threads --------------------------------------------------------------------------------------------- */

enum stage { NOTHING, CREATED, ACTIVE, PARKED, CLEAN };

struct crew {
	struct kthread_percpu desc;
	enum stage stage[CPUS];
	atomic_ulong given, done; /* items */
	atomic_ulong left[CPUS];
};

static void go(struct crew *crew, unsigned int cpu, enum stage from, enum stage to)
{
	CHECK(crew->stage[cpu] == from);
	crew->stage[cpu] = to;
}

static int create(unsigned int cpu, void *arg)
{
	go(arg, cpu, NOTHING, CREATED);
	return 0;
}

static void setup(unsigned int cpu, void *arg)
{
	go(arg, cpu, CREATED, ACTIVE);
}

static void park(unsigned int cpu, void *arg)
{
	go(arg, cpu, ACTIVE, PARKED);
}

static void unpark(unsigned int cpu, void *arg)
{
	go(arg, cpu, PARKED, ACTIVE);
}

static void cleanup(unsigned int cpu, bool online, void *arg)
{
	const struct crew *crew = arg;

	go(arg, cpu, crew->stage[cpu] == PARKED ? PARKED : ACTIVE, CLEAN);
}

static bool should_run(unsigned int cpu, void *arg)
{
	struct crew *crew = arg;

	go(crew, cpu, ACTIVE, ACTIVE);
	return atomic_load(&crew->left[cpu]) > 0;
}

static void run(unsigned int cpu, void *arg)
{
	struct crew *crew = arg;

	go(crew, cpu, ACTIVE, ACTIVE);
	atomic_fetch_sub(&crew->left[cpu], 1);
	atomic_fetch_add(&crew->done, 1);
}

static void enlist(struct crew *crew, const char *name)
{
	memset(crew, 0, sizeof(*crew));
	crew->desc = (struct kthread_percpu)KTHREAD_PERCPU_INIT;
	crew->desc.name = name;
	crew->desc.create = create;
	crew->desc.setup = setup;
	crew->desc.should_run = should_run;
	crew->desc.run = run;
	crew->desc.park = park;
	crew->desc.unpark = unpark;
	crew->desc.cleanup = cleanup;
	crew->desc.arg = crew;
	CHECK(kthread_percpu_register(&crew->desc) == 0);
}

static void give(struct crew *crew, unsigned int cpu)
{
	atomic_fetch_add(&crew->given, 1);
	atomic_fetch_add(&crew->left[cpu], 1);
	kthread_percpu_kick(&crew->desc, cpu);
}

static void *registers_threads(void *arg)
{
	unsigned int seed = (unsigned int)(uintptr_t)arg;

	while (!atomic_load(&enough)) {
		struct crew crew;

		enlist(&crew, "brief/%u");
		for (int i = rand_r(&seed) % 8; i > 0; i--)
			give(&crew, (unsigned int)rand_r(&seed) % CPUS);
		kthread_percpu_unregister(&crew.desc);
		for (unsigned int cpu = 0; cpu < CPUS; cpu++)
			CHECK(crew.stage[cpu] == NOTHING || crew.stage[cpu] == CREATED || crew.stage[cpu] == CLEAN);
		atomic_fetch_add(&crews, 1);
	}
	return NULL;
}

static struct crew lasting;

static void *reads_and_kicks(void *arg)
{
	unsigned int seed = (unsigned int)(uintptr_t)arg;

	while (!atomic_load(&enough)) {
		unsigned int before;
		uint64_t generation;

		kthread_cpus_read_lock();
		generation = kthread_generation();
		before = sim_cpus(KTHREAD_CPUS_USABLE);
		CHECK(before);
		sched_yield();
		CHECK(sim_cpus(KTHREAD_CPUS_USABLE) == before && kthread_generation() == generation);
		kthread_cpus_read_unlock();
		if (atomic_load(&lasting.given) < 1000000)
			give(&lasting, (unsigned int)rand_r(&seed) % CPUS);
		atomic_fetch_add(&reads, 1);
	}
	return NULL;
}

/* ---- the storm --------------------------------------------------------------------------------------------------- */

static void storm__everything_is_up_in_the_end(void **state)
{
	static void *(*const stirrers[])(void *) = {
	    machine,         cooperative,       cooperative,     registers_steps,
	    registers_steps, registers_threads, reads_and_kicks, lives};
	enum { STIRRERS = sizeof(stirrers) / sizeof(stirrers[0]) };
	const char *text = getenv("TEST_SEED");
	const char *seconds = getenv("TEST_SECONDS");
	const unsigned int seed = text ? (unsigned int)strtoul(text, NULL, 10) : (unsigned int)now_ns();
	struct probe steady[2] = {{.tag = "prepare"}, {.tag = "online"}};
	struct kthread_config config = sim_config();
	struct kthread *k[4][CPUS];
	pthread_t threads[STIRRERS];
	char path[256];
	uint64_t until;

	printf("TEST_SEED=%u\n", seed);
	sim_tree("numa");
	snprintf(path, sizeof(path), "%s/plan", sim.root);
	config.plan_file = path;
	config.inotify = true;
	config.poll_ms = 7;
	config.log = NULL;
	sim_start(&config);
	assert_true(probe_setup(&steady[0], KTHREAD_CPUHP_PREPARE) > 0);
	assert_true(probe_setup(&steady[1], KTHREAD_CPUHP_ONLINE) > 0);
	assert_true(probe_setup(&fickle, KTHREAD_CPUHP_ONLINE) > 0);
	enlist(&lasting, "lasting/%u");
	for (unsigned int cpu = 0; cpu < CPUS; cpu++) {
		k[0][cpu] = kthread_create(obedient, NULL, "per-CPU/%u", cpu);
		assert_int_equal(kthread_set_per_cpu(k[0][cpu], (int)cpu), 0);
		kthread_wake(k[0][cpu]);
		k[1][cpu] = kthread_run_on_cpu(looks, NULL, cpu, "looks/%u");
		k[2][cpu] = kthread_run_on_cpu(obedient, NULL, cpu, "plain/%u");
		k[3][cpu] = kthread_run(obedient, NULL, "none/%u", cpu);
	}
	for (uintptr_t i = 0; i < STIRRERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, stirrers[i], (void *)(seed + i)), 0);
	until = now_ns() + (seconds ? strtoul(seconds, NULL, 10) : 3) * 1000 * MS;
	while (now_ns() < until || !atomic_load(&events) || !atomic_load(&downs) || !atomic_load(&steps) ||
	       !atomic_load(&crews) || !atomic_load(&reads) || !atomic_load(&lived))
		kthread_wait_for_completion_timeout(&(struct kthread_completion)KTHREAD_COMPLETION_INIT, 10 * MS);
	atomic_store(&enough, true);
	for (int i = 0; i < STIRRERS; i++)
		pthread_join(threads[i], NULL);
	printf("%lu events, %lu cooperative, %lu refused, %lu steps, %lu descriptions, %lu reads, %lu lives\n",
	       atomic_load(&events), atomic_load(&downs), atomic_load(&refusals), atomic_load(&steps),
	       atomic_load(&crews), atomic_load(&reads), atomic_load(&lived));

	atomic_store(&fickle.fail_up, 0);
	atomic_store(&fickle.fail_down, 0);
	sim_remove("plan");
	probe_online(ALL);
	for (unsigned int cpu = 0; cpu < CPUS; cpu++)
		assert_int_equal(kthread_cpu_up(cpu, 0), 0);
	assert_int_equal(kthread_rescan(), 0);
	assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), ALL);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(probe_cpus(steady[i].step), ALL);
		assert_int_equal(atomic_load(&steady[i].on), ALL);
		assert_int_equal(kthread_cpuhp_failures(steady[i].step), 0);
	}
	for (unsigned int cpu = 0; cpu < CPUS; cpu++) {
		AWAIT(state_of(k[0][cpu]) == KTHREAD_WAITING);
		assert_placed(k[0][cpu], KTHREAD_WISH_PER_CPU, 1u << cpu);
		AWAIT(state_of(k[1][cpu]) != KTHREAD_PARKED);
		assert_placed(k[1][cpu], KTHREAD_WISH_BOUND, 1u << cpu);
		assert_placed(k[2][cpu], KTHREAD_WISH_BOUND, 1u << cpu);
		assert_placed(k[3][cpu], KTHREAD_WISH_NONE, 0);
		for (int i = 0; i < 4; i++)
			assert_int_equal(kthread_stop(k[i][cpu]), 0);
		AWAIT(state_of(kthread_percpu_thread(&lasting.desc, cpu)) == KTHREAD_WAITING);
		assert_int_equal(atomic_load(&lasting.left[cpu]), 0);
	}
	assert_int_equal(atomic_load(&lasting.given), atomic_load(&lasting.done)); /* no kick is lost */
	kthread_percpu_unregister(&lasting.desc);
	assert_int_equal(kthread_cpuhp_remove(fickle.step), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(kthread_cpuhp_remove(steady[i].step), 0);
		assert_int_equal(atomic_load(&steady[i].ups), atomic_load(&steady[i].downs));
	}
	probe_trace();
	sim_stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(storm__everything_is_up_in_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, fini_finds_nothing);
}

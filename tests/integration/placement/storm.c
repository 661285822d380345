/* SPDX-License-Identifier: MIT */
/*
 * Housekeeping changes under 1 000 threads, while others are created, bound, parked and stopped: at the end every one
 * is in its place, by the kernel's word.
 *
 * TEST_SEED=N repeats the choices; the seed is printed.
 */
#include <pthread.h>

#include "sim.h"

enum { CROWD = 1000, CALLERS = 3 };

static atomic_bool enough;
static atomic_ulong lives;

static void one_life(unsigned int *seed)
{
	const unsigned int cpu = (unsigned int)rand_r(seed) % 2;
	struct kthread *k = rand_r(seed) % 2 ? kthread_run(obedient, NULL, "short")
	                                     : kthread_run_on_cpu(obedient, NULL, cpu, "short/%u");

	CHECK(k);
	for (int i = rand_r(seed) % 4; i > 0; i--) {
		CHECK(kthread_park(k) == 0);
		switch (rand_r(seed) % 4) {
		case 0:
			CHECK(kthread_bind(k, cpu) == 0);
			break;
		case 1:
			CHECK(kthread_set_per_cpu(k, (int)cpu) == 0);
			break;
		case 2:
			CHECK(sim_prefer(k, 1u << cpu) == 0);
			break;
		default:
			CHECK(kthread_affine_reset(k) == 0);
		}
		kthread_unpark(k);
	}
	kthread_stop(k);
	atomic_fetch_add(&lives, 1);
}

static void *live(void *arg)
{
	unsigned int seed = (unsigned int)(uintptr_t)arg;

	while (!atomic_load(&enough))
		one_life(&seed);
	return NULL;
}

static void storm__everybody_is_in_place_in_the_end(void **state)
{
	const char *text = getenv("TEST_SEED");
	const unsigned int seed = text ? (unsigned int)strtoul(text, NULL, 10) : (unsigned int)now_ns();
	struct kthread_config config = KTHREAD_CONFIG_INIT;
	static struct kthread *crowd[CROWD];
	pthread_t callers[CALLERS];
	unsigned int changes = 0;
	uint64_t until;
	cpu_set_t set;

	printf("TEST_SEED=%u\n", seed);
	if (sched_getaffinity(0, sizeof(set), &set) != 0 || CPU_COUNT(&set) != 2 || !CPU_ISSET(0, &set))
		skip();
	config.poll_ms = 5;
	config.log = sim_log;
	assert_int_equal(kthread_init(&config), 0);
	for (unsigned int i = 0; i < CROWD; i++) {
		crowd[i] = i % 4 == 3 ? kthread_create_on_cpu(obedient, NULL, i / 4 % 2, "crowd/%u")
		                      : kthread_create(obedient, NULL, "crowd/%u", i);
		assert_non_null(crowd[i]);
		if (i % 4 == 2)
			assert_int_equal(sim_prefer(crowd[i], 2), 0);
		if (i % 2)
			kthread_wake(crowd[i]);
	}
	for (uintptr_t i = 0; i < CALLERS; i++)
		assert_int_equal(pthread_create(&callers[i], NULL, live, (void *)(seed + i)), 0);
	until = now_ns() + 2000 * MS;
	while (changes < 30 || now_ns() < until) {
		static const unsigned int masks[] = {1, 2, 3, 2, 1};

		assert_int_equal(sim_housekeeping(masks[changes++ % 5]), 0);
	}
	atomic_store(&enough, true);
	for (int i = 0; i < CALLERS; i++)
		pthread_join(callers[i], NULL);
	assert_true(atomic_load(&lives) > 0);
	sim.online = sim.granted = sim.possible = 3;
	for (unsigned int i = 0; i < CROWD; i++) {
		const bool bound = i % 4 == 3;
		bool broken;
		const unsigned int wanted = sim_effective(bound        ? KTHREAD_WISH_BOUND
		                                          : i % 4 == 2 ? KTHREAD_WISH_PREFERRED
		                                                       : KTHREAD_WISH_NONE,
		                                          bound ? 1u << i / 4 % 2 : 2, &broken);

		assert_int_equal(sim_mask(crowd[i], KTHREAD_MASK_EFFECTIVE), wanted);
		assert_int_equal(sim_mask(crowd[i], KTHREAD_MASK_ACTUAL), wanted);
		assert_int_equal(sim_info(crowd[i]).last_error, 0);
	}
	printf("%u changes, %lu short lives\n", changes, atomic_load(&lives));
	for (unsigned int i = 0; i < CROWD; i++)
		kthread_stop(crowd[i]);
	assert_int_equal(kthread_fini(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(storm__everybody_is_in_place_in_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, fini_finds_nothing);
}

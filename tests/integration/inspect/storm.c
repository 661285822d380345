/* SPDX-License-Identifier: MIT */
/*
 * Dumps while everything changes: each is whole, and has what was there all the time.
 */
#include "dumped.h"

#define ROUNDS 60

static atomic_bool over;

static void *come_and_go(void *arg)
{
	for (int i = 0; !atomic_load(&over); i++) {
		struct kthread *k = kthread_run(obedient, NULL, "fleeting/%d", i);

		CHECK(k);
		if (i % 3 == 0)
			kthread_park(k);
		kthread_stop(k); /* perhaps before it has begun */
	}
	return NULL;
}

static void *adopt_and_leave(void *arg)
{
	while (!atomic_load(&over)) {
		CHECK(kthread_adopt("adopted"));
		CHECK(kthread_unadopt(kthread_self()) == 0);
	}
	return NULL;
}

static void no_work(struct kthread_work *work)
{
}

static void *queue(void *arg)
{
	struct kthread_work works[16];

	for (int i = 0; i < 16; i++)
		kthread_init_work(&works[i], no_work);
	while (!atomic_load(&over)) {
		struct kthread_worker *w = kthread_run_worker(0, "worker");

		CHECK(w);
		for (int i = 0; i < 160; i++)
			kthread_queue_work(w, &works[i % 16]);
		kthread_destroy_worker(w);
	}
	return NULL;
}

static int chunk(void *start, void *end, void *arg)
{
	return 0;
}

static void *run_jobs(void *arg)
{
	struct ktask_ctl ctl = KTASK_CTL_INIT(chunk, NULL, 1);

	while (!atomic_load(&over))
		CHECK(ktask_run(NULL, 4096, &ctl) == 0);
	return NULL;
}

static int nothing(unsigned int cpu, void *arg)
{
	return 0;
}

static void *change_cpus(void *arg)
{
	while (!atomic_load(&over)) {
		const int step = kthread_cpuhp_setup(KTHREAD_CPUHP_PREPARE, "fleeting", nothing, nothing, NULL);

		CHECK(step > 0);
		CHECK(kthread_cpu_down(3, 0) == 0);
		CHECK(kthread_cpu_up(3, 0) == 0);
		CHECK(kthread_cpuhp_remove(step) == 0);
	}
	return NULL;
}

static void *dump_text(void *arg)
{
	while (!atomic_load(&over)) {
		char *text = dump(KTHREAD_TEXT);

		CHECK(strcmp(text + strlen(text) - 5, "\nend\n") == 0);
		CHECK(strstr(text, " steady/7\n"));
		free(text);
	}
	return NULL;
}

static void dumps_in_a_storm(void **state)
{
	static void *(*const fns[])(void *) = {come_and_go, adopt_and_leave, queue, run_jobs, change_cpus, dump_text};
	enum { COUNT = sizeof(fns) / sizeof(fns[0]) };
	struct kthread *steady[8];
	pthread_t threads[COUNT];

	sim_start(NULL);
	for (size_t i = 0; i < 8; i++) {
		steady[i] = kthread_create(obedient, NULL, "steady/%zu", i);
		assert_int_equal(sim_prefer(steady[i], 1u << i), 0);
		kthread_wake(steady[i]);
	}
	for (size_t i = 0; i < COUNT; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, fns[i], NULL), 0);
	for (int round = 0; round < ROUNDS; round++) {
		json_t *whole = dumped();
		size_t i, seen = 0;
		json_t *of;

		json_array_foreach(member(whole, "threads"), i, of)
		{
			if (strcmp(text_of(of, "class"), "steady") != 0)
				continue;
			assert_int_equal(number_of(of, "index"), seen); /* oldest first, each once */
			seen++;
			/* Its own CPU, unless that is the one that goes. */
			if (number_of(of, "index") != 3)
				assert_text_of(of, "effective", text_of(of, "wish.cpus"));
		}
		assert_int_equal(seen, 8);
		json_decref(whole);
	}
	atomic_store(&over, true);
	for (size_t i = 0; i < COUNT; i++)
		pthread_join(threads[i], NULL);
	for (size_t i = 0; i < 8; i++)
		kthread_stop(steady[i]);
	sim_stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(dumps_in_a_storm)};

	return cmocka_run_group_tests_name("dump_storm", tests, NULL, fini_finds_nothing);
}

/* SPDX-License-Identifier: MIT */
/*
 * kthread_info(), kthread_for_each(), and the names of the enums.
 */
#include <pthread.h>

#include "sim.h"

#define FIRST_SIZE offsetof(struct kthread_info, works_run) /* the first version's */

static void kthread_info__bad_input_and_sizes(void **state)
{
	struct {
		struct kthread_info info;
		unsigned char more[32];
	} future;
	struct kthread_info info = {.size = sizeof(info)};
	struct kthread *k;

	sim_start(NULL);
	k = kthread_create(obedient, NULL, "%0*d", 200, 7); /* longer than the field: cut */
	assert_int_equal(kthread_info(NULL, &info), -EINVAL);
	assert_int_equal(kthread_info(k, NULL), -EINVAL);
	for (size_t size = 0; size < FIRST_SIZE; size += 8) {
		const struct kthread_info before = info = (struct kthread_info){.size = size};

		assert_int_equal(kthread_info(k, &info), -EINVAL);
		assert_memory_equal(&info, &before, sizeof(info));
	}
	/* An older program's, which ends anywhere: it gets what fits. */
	for (size_t size = FIRST_SIZE; size <= sizeof(info); size += 4) {
		memset(&info, 0xa5, sizeof(info));
		info.size = size;
		assert_int_equal(kthread_info(k, &info), 0);
		assert_int_equal(info.size, size);
		assert_int_equal(info.tid, kthread_tid(k));
		for (size_t i = size; i < sizeof(info); i++)
			assert_int_equal(((const unsigned char *)&info)[i], 0xa5);
	}
	memset(&future, 0xa5, sizeof(future));
	future.info.size = sizeof(future);
	assert_int_equal(kthread_info(k, &future.info), 0);
	assert_int_equal(future.info.size, sizeof(future));
	for (size_t i = 0; i < sizeof(future.more); i++)
		assert_int_equal(future.more[i], 0xa5); /* the caller's own */
	assert_int_equal(strlen(future.info.name), sizeof(future.info.name) - 1);
	assert_int_equal(strlen(kthread_name(k)), 200);
	kthread_stop(k);
	sim_stop();
}

static void kthread_info__through_a_life(void **state)
{
	const uint64_t start = now_ns();
	struct kthread_info info;
	struct kthread *k;

	sim_start(NULL);
	k = kthread_create(obedient, AS_DATA(4), "life");
	AWAIT(sim_info(k).last_reason == KTHREAD_REASON_START);
	info = sim_info(k);
	assert_string_equal(info.name, "life");
	assert_int_equal(info.tid, kthread_tid(k));
	assert_int_equal(info.state, KTHREAD_CREATED);
	assert_int_equal(info.node, KTHREAD_NO_NODE);
	assert_true(info.last_place_ns >= start && info.last_place_ns <= now_ns());
	assert_int_equal(info.reaffines, 0);
	assert_int_equal(info.refusals, 0);
	assert_int_equal(info.broken_ns, 0);
	sim_calm();

	/* The first one: there was none before. */
	assert_int_equal(sim_mask(k, KTHREAD_MASK_LAST_TO), 0xff);
	assert_int_equal(kthread_get_mask(k, KTHREAD_MASK_LAST_FROM, sizeof(cpu_set_t), &(cpu_set_t){{0}}), -ENODATA);
	assert_int_equal(kthread_bind(k, 3), 0);
	assert_int_equal(sim_info(k).last_reason, KTHREAD_REASON_WISH);
	assert_int_equal(sim_mask(k, KTHREAD_MASK_LAST_FROM), 0xff);
	assert_int_equal(sim_mask(k, KTHREAD_MASK_LAST_TO), 1 << 3);
	assert_int_equal(sim_info(k).reaffines, 1);
	kthread_wake(k);
	AWAIT(state_of(k) == KTHREAD_WAITING);
	sim_online(0xf7);
	assert_int_equal(kthread_rescan(), 0);
	info = sim_info(k);
	assert_int_equal(info.last_reason, KTHREAD_REASON_CPUS);
	assert_int_equal(info.reaffines, 2);
	assert_true(info.broken && info.broken_since_ns > start);
	AWAIT(sim_info(k).broken_ns > 1000000);
	sim_online(0xff);
	assert_int_equal(kthread_rescan(), 0);
	info = sim_info(k);
	assert_true(!info.broken && info.broken_since_ns == 0 && info.broken_ns > 1000000);
	assert_int_equal(sim_info(k).broken_ns, info.broken_ns); /* it does not grow any more */

	assert_int_equal(kthread_park(k), 0);
	assert_int_equal(state_of(k), KTHREAD_PARKED);
	AWAIT(sim_info(k).parks == 1); /* counted a moment after it is granted */
	assert_int_equal(kthread_affine_node(k, 2), 0);
	assert_int_equal(sim_info(k).node, 2);
	assert_int_equal(kthread_affine_reset(k), 0);
	assert_int_equal(sim_housekeeping(0x01), 0);
	assert_int_equal(sim_info(k).last_reason, KTHREAD_REASON_HOUSEKEEPING);
	kthread_unpark(k);
	AWAIT(state_of(k) == KTHREAD_WAITING);
	kthread_wake(k);
	AWAIT(sim_info(k).wakes > 0);
	kthread_get(k);
	assert_int_equal(kthread_stop(k), 4);
	assert_int_equal(state_of(k), KTHREAD_EXITED);
	assert_string_equal(sim_info(k).name, "life");
	assert_false(sim_info(k).broken);
	kthread_put(k);
	sim_stop();
}

/* ---- kthread_for_each -------------------------------------------------------------------------------------------- */

static int count_them(const struct kthread *k, void *arg)
{
	struct kthread_info info = {.size = sizeof(info)};

	CHECK(kthread_info(k, &info) == 0);
	CHECK(strcmp(info.name, "kthread-monitor") != 0); /* the library's own are not shown */
	strcat(strcat(arg, info.name), ";");
	return 0;
}

static int stop_at_b(const struct kthread *k, void *arg)
{
	++*(int *)arg;
	return strcmp(kthread_name(k), "b") == 0 ? 42 : 0;
}

static void kthread_for_each__oldest_first(void **state)
{
	struct kthread *a, *b, *c, *me;
	char seen[256] = "";
	int count = 0;

	sim_start(NULL);
	assert_int_equal(kthread_for_each(NULL, NULL), -EINVAL);
	assert_int_equal(kthread_for_each(count_them, seen), 0);
	assert_string_equal(seen, "");
	a = kthread_create(obedient, NULL, "a");
	b = kthread_run(obedient, NULL, "b");
	me = kthread_adopt("me");
	c = kthread_run(obedient, NULL, "c");
	assert_int_equal(kthread_for_each(count_them, seen), 0);
	assert_string_equal(seen, "a;b;me;c;");
	assert_int_equal(kthread_for_each(stop_at_b, &count), 42);
	assert_int_equal(count, 2);
	kthread_stop(b);
	seen[0] = '\0';
	assert_int_equal(kthread_for_each(count_them, seen), 0);
	assert_string_equal(seen, "a;me;c;");
	assert_int_equal(kthread_unadopt(me), 0);
	kthread_stop(a);
	kthread_stop(c);
	sim_stop();
}

/* fn may do anything, also end the thread it is shown: the handle is held. */
static int end_it(const struct kthread *k, void *arg)
{
	struct kthread **mine = arg;

	for (int i = 0; i < 3; i++) {
		if (mine[i] == k) {
			kthread_stop(mine[i]);
			mine[i] = NULL;
		}
	}
	CHECK(kthread_tid(k) > 0 && kthread_name(k)[0] == 'x');
	return 0;
}

static void kthread_for_each__fn_ends_them(void **state)
{
	struct kthread *mine[3];

	sim_start(NULL);
	for (int i = 0; i < 3; i++)
		mine[i] = kthread_run(obedient, NULL, "x%d", i);
	assert_int_equal(kthread_for_each(end_it, mine), 0);
	for (int i = 0; i < 3; i++)
		assert_null(mine[i]);
	sim_stop();
}

static atomic_bool enough;

static void *come_and_go(void *arg)
{
	unsigned int turn = 0;

	while (!atomic_load(&enough)) {
		struct kthread *k = ++turn % 2 ? kthread_run(obedient, NULL, "comes") : kthread_adopt("adopted");

		CHECK(k);
		if (turn % 2)
			kthread_stop(k);
		else
			CHECK(kthread_unadopt(k) == 0);
	}
	return NULL;
}

struct seen {
	int fixed;
	const struct kthread *const *known;
};

static int look_at(const struct kthread *k, void *arg)
{
	struct seen *seen = arg;
	struct kthread_info info = {.size = sizeof(info)};
	cpu_set_t set;
	int error;

	CHECK(kthread_info(k, &info) == 0);
	error = kthread_get_mask(k, KTHREAD_MASK_EFFECTIVE, sizeof(set), &set);
	CHECK(error == 0 || error == -ESRCH);
	CHECK(error || CPU_COUNT(&set) > 0);
	for (int i = 0; i < 4; i++)
		seen->fixed += seen->known[i] == k;
	return 0;
}

static void kthread_for_each__while_threads_come_and_go(void **state)
{
	struct kthread *fixed[4];
	pthread_t threads[3];

	sim_start(NULL);
	atomic_store(&enough, false);
	for (int i = 0; i < 4; i++)
		fixed[i] = kthread_run(obedient, NULL, "stays/%d", i);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, NULL), 0);
	for (int i = 0; i < 1000; i++) {
		struct seen seen = {.known = (const struct kthread *const *)fixed};

		assert_int_equal(kthread_for_each(look_at, &seen), 0);
		assert_int_equal(seen.fixed, 4); /* each once */
	}
	atomic_store(&enough, true);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < 4; i++)
		kthread_stop(fixed[i]);
	sim_stop();
}

static void names__of_every_value(void **state)
{
	static const char *const states[] = {"created",  "running", "waiting", "parked",
	                                     "stopping", "exited",  "adopted", "frozen"};
	static const char *const wishes[] = {"none", "node", "preferred", "bound", "per-cpu"};
	static const char *const reasons[] = {"none", "start", "wish", "cpus", "housekeeping", "lost"};

	for (int i = 0; i <= (int)KTHREAD_FROZEN; i++)
		assert_string_equal(kthread_state_name((enum kthread_state)i), states[i]);
	for (int i = 0; i <= (int)KTHREAD_WISH_PER_CPU; i++)
		assert_string_equal(kthread_wish_name((enum kthread_wish)i), wishes[i]);
	for (int i = 0; i <= (int)KTHREAD_REASON_LOST; i++)
		assert_string_equal(kthread_reason_name((enum kthread_reason)i), reasons[i]);
	for (int i = -2; i < 1000; i = i == -1 ? 8 : i + 331) {
		assert_string_equal(kthread_state_name((enum kthread_state)i), "?");
		assert_string_equal(kthread_wish_name((enum kthread_wish)i), "?");
		assert_string_equal(kthread_reason_name((enum kthread_reason)i), "?");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(kthread_info__bad_input_and_sizes),
	    cmocka_unit_test(kthread_info__through_a_life),
	    cmocka_unit_test(kthread_for_each__oldest_first),
	    cmocka_unit_test(kthread_for_each__fn_ends_them),
	    cmocka_unit_test(kthread_for_each__while_threads_come_and_go),
	    cmocka_unit_test(names__of_every_value),
	};

	return cmocka_run_group_tests(tests, NULL, fini_finds_nothing);
}

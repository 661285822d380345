/* SPDX-License-Identifier: MIT */
/*
 * Every bad input of the placement calls: the right error, and nothing has changed. And want of memory at every
 * allocation of each call: -ENOMEM, the old wish stays, nothing leaks.
 */
#include <limits.h>
#include <pthread.h>

#include "sim.h"

/* ---- want of memory, for the calling thread only ----------------------------------------------------------------- */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);

static _Thread_local int fail_at; /* the how-manieth from now; 0 = none */
static _Thread_local size_t largest;

static bool fails(void)
{
	if (fail_at == 0 || --fail_at > 0)
		return false;
	errno = ENOMEM;
	return true;
}

void *__wrap_malloc(size_t size)
{
	largest = size > largest ? size : largest;
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	largest = count * size > largest ? count * size : largest;
	return fails() ? NULL : __real_calloc(count, size);
}

/* ---- the wishes, as one kind of call ----------------------------------------------------------------------------- */

static int mask_call(int which, struct kthread *k, size_t setsize, const cpu_set_t *set)
{
	return which ? kthread_affine_preferred(k, setsize, set) : kthread_bind_mask(k, setsize, set);
}

static void assert_unchanged(const struct kthread *k)
{
	assert_placed(k, KTHREAD_WISH_PREFERRED, 0x06);
}

static struct kthread *with_a_wish(void)
{
	struct kthread *k = kthread_create(obedient, AS_DATA(3), "wishes");

	assert_non_null(k);
	assert_int_equal(sim_prefer(k, 0x06), 0);
	assert_unchanged(k);
	return k;
}

static void placement__null(void **state)
{
	cpu_set_t set;

	sim_start(NULL);
	CPU_ZERO(&set);
	CPU_SET(1, &set);
	assert_int_equal(kthread_bind(NULL, 0), -EINVAL);
	assert_int_equal(kthread_bind_mask(NULL, sizeof(set), &set), -EINVAL);
	assert_int_equal(kthread_affine_preferred(NULL, sizeof(set), &set), -EINVAL);
	assert_int_equal(kthread_affine_node(NULL, 0), -EINVAL);
	assert_int_equal(kthread_affine_reset(NULL), -EINVAL);
	assert_int_equal(kthread_set_per_cpu(NULL, 0), -EINVAL);
	assert_int_equal(kthread_set_per_cpu(NULL, -1), -EINVAL);
	assert_false(kthread_is_per_cpu(NULL));
	assert_false(kthread_is_broken(NULL));
	assert_int_equal(kthread_get_mask(NULL, KTHREAD_MASK_WISH, sizeof(set), &set), -EINVAL);
	assert_int_equal(kthread_cpus(KTHREAD_CPUS_ONLINE, sizeof(set), NULL), -EINVAL);
	assert_int_equal(kthread_node_cpus(0, sizeof(set), NULL), -EINVAL);
	sim_stop();
}

static void placement__bad_masks(void **state)
{
	const size_t big = 1u << 20;
	unsigned char *huge = calloc(1, big);
	struct kthread *k;
	cpu_set_t set;

	sim_start(NULL);
	k = with_a_wish();
	for (int which = 0; which < 2; which++) {
		CPU_ZERO(&set);
		assert_int_equal(mask_call(which, k, sizeof(set), NULL), -EINVAL);
		assert_int_equal(mask_call(which, k, 0, NULL), -EINVAL);
		assert_int_equal(mask_call(which, k, sizeof(set), &set), -EINVAL); /* empty */
		CPU_SET(3, &set);
		assert_int_equal(mask_call(which, k, 0, &set), -EINVAL);
		CPU_SET(8, &set); /* not possible, beside one that is */
		assert_int_equal(mask_call(which, k, sizeof(set), &set), -EINVAL);
		CPU_CLR(8, &set);
		CPU_SET(1023, &set);
		assert_int_equal(mask_call(which, k, sizeof(set), &set), -EINVAL);
		/* beyond what a cpu_set_t holds, and beyond any machine */
		memset(huge, 0, big);
		huge[0] = 8;
		huge[big - 1] = 0x80;
		assert_int_equal(mask_call(which, k, big, (cpu_set_t *)huge), -EINVAL);
		huge[big - 1] = 0;
		huge[8] = 1; /* just beyond ours */
		assert_int_equal(mask_call(which, k, big, (cpu_set_t *)huge), -EINVAL);
		assert_unchanged(k);
		/* long, with nothing in what is too much */
		huge[8] = 0;
		assert_int_equal(mask_call(which, k, big, (cpu_set_t *)huge), 0);
		assert_placed(k, which ? KTHREAD_WISH_PREFERRED : KTHREAD_WISH_BOUND, 0x08);
		assert_int_equal(sim_prefer(k, 0x06), 0);
	}
	kthread_stop(k);
	sim_stop();
	free(huge);
}

/* A set of fewer bytes than a word, as sched_setaffinity() takes it: no byte beyond it is read. */
static void placement__sets_of_a_few_bytes(void **state)
{
	struct kthread *k;

	sim_start(NULL);
	k = with_a_wish();
	for (size_t size = 1; size < 2 * sizeof(cpu_set_t); size += size < 20 ? 1 : 61) {
		unsigned char *bytes = calloc(1, size);

		bytes[0] = 0x30;
		for (int which = 0; which < 2; which++) {
			assert_int_equal(mask_call(which, k, size, (cpu_set_t *)bytes), 0);
			assert_placed(k, which ? KTHREAD_WISH_PREFERRED : KTHREAD_WISH_BOUND, 0x30);
		}
		assert_int_equal(kthread_housekeeping_set(size, (cpu_set_t *)bytes), 0);
		sim.housekeeping = 0x30;
		assert_placed(k, KTHREAD_WISH_PREFERRED, 0x30);
		free(bytes);
	}
	kthread_stop(k);
	sim_stop();
}

static void placement__impossible_cpus_and_nodes(void **state)
{
	static const unsigned int cpus[] = {8, 63, 64, 1023, 1024, 65536, INT_MAX, (unsigned int)INT_MAX + 1, UINT_MAX};
	static const int nodes[] = {4, 63, 64, INT_MAX, -1, -2, INT_MIN};
	struct kthread *k;

	sim_start(NULL);
	k = with_a_wish();
	for (size_t i = 0; i < sizeof(cpus) / sizeof(cpus[0]); i++) {
		assert_int_equal(kthread_bind(k, cpus[i]), -EINVAL);
		if (cpus[i] <= INT_MAX)
			assert_int_equal(kthread_set_per_cpu(k, (int)cpus[i]), -EINVAL);
		errno = 0;
		assert_null(kthread_create_on_cpu(obedient, NULL, cpus[i], "x/%u"));
		assert_int_equal(errno, EINVAL);
		assert_int_equal(kthread_cpu_node(cpus[i]), -EINVAL);
	}
	for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++) {
		cpu_set_t set;

		assert_int_equal(kthread_affine_node(k, nodes[i]), -EINVAL);
		assert_int_equal(kthread_node_cpus(nodes[i], sizeof(set), &set), -EINVAL);
		errno = 0;
		if (nodes[i] != KTHREAD_NO_NODE) {
			assert_null(kthread_create_on_node(obedient, NULL, nodes[i], "x"));
			assert_int_equal(errno, EINVAL);
		}
	}
	assert_unchanged(k);
	kthread_stop(k);
	sim_stop();
}

/* No set is made that holds the number, nor searched: in no time, however large it is. */
static void placement__huge_numbers_cost_nothing(void **state)
{
	static const unsigned int cpus[] = {1u << 20, INT_MAX, (unsigned int)INT_MAX + 1, UINT_MAX};
	struct kthread *k;

	sim_start(NULL);
	k = with_a_wish();
	for (unsigned int i = 0; i < 100000; i++) {
		const unsigned int cpu = cpus[i % 4];

		largest = 0;
		assert_int_equal(kthread_bind(k, cpu), -EINVAL);
		if (cpu <= INT_MAX)
			assert_int_equal(kthread_set_per_cpu(k, (int)cpu), -EINVAL);
		assert_int_equal(kthread_cpu_node(cpu), -EINVAL);
		assert_true(largest <= 4096);
	}
	assert_null(kthread_create_on_cpu(obedient, NULL, INT_MAX, "x/%u"));
	assert_null(kthread_create_on_cpu(obedient, NULL, UINT_MAX, "x/%u"));
	assert_true(largest <= 4096);
	assert_unchanged(k);
	kthread_stop(k);
	sim_stop();
}

static int each_wish(int which, struct kthread *k)
{
	switch (which) {
	case 0:
		return kthread_bind(k, 4);
	case 1:
		return sim_bind(k, 0x30);
	case 2:
		return sim_prefer(k, 0x30);
	case 3:
		return kthread_affine_node(k, 2);
	case 4:
		return kthread_affine_reset(k);
	case 5:
		return kthread_set_per_cpu(k, 4);
	default:
		return kthread_set_per_cpu(k, -1);
	}
}
#define WISHES 7

static int busy(void *data)
{
	atomic_store((atomic_bool *)data, true);
	while (!kthread_should_stop())
		sched_yield();
	return 0;
}

static void placement__of_a_running_thread(void **state)
{
	static atomic_bool running;
	struct kthread *k;

	sim_start(NULL);
	k = kthread_create(busy, &running, "running");
	assert_int_equal(sim_prefer(k, 0x06), 0);
	kthread_wake(k);
	for (int i = 0; i < WISHES; i++)
		assert_int_equal(each_wish(i, k), -EINVAL); /* also before it has entered */
	AWAIT(atomic_load(&running));
	for (int i = 0; i < WISHES; i++)
		assert_int_equal(each_wish(i, k), -EINVAL);
	assert_unchanged(k);
	kthread_stop(k);
	k = kthread_run(obedient, NULL, "waiting"); /* waits, but that is running */
	AWAIT(state_of(k) == KTHREAD_WAITING);
	for (int i = 0; i < WISHES; i++)
		assert_int_equal(each_wish(i, k), -EINVAL);
	assert_int_equal(kthread_park(k), 0);
	for (int i = 0; i < WISHES; i++)
		assert_int_equal(each_wish(i, k), 0);
	kthread_unpark(k);
	kthread_stop(k);
	sim_stop();
}

static void placement__of_a_thread_that_has_ended(void **state)
{
	cpu_set_t set;
	struct kthread *k;

	sim_start(NULL);
	k = kthread_run(result_only, AS_DATA(3), "ended");
	AWAIT(state_of(k) == KTHREAD_EXITED);
	for (int i = 0; i < WISHES; i++)
		assert_int_equal(each_wish(i, k), -ESRCH);
	assert_int_equal(kthread_get_mask(k, KTHREAD_MASK_ACTUAL, sizeof(set), &set), -ESRCH);
	assert_int_equal(kthread_get_mask(k, KTHREAD_MASK_EFFECTIVE, sizeof(set), &set), -ESRCH);
	assert_int_equal(kthread_get_mask(k, KTHREAD_MASK_WISH, sizeof(set), &set), -ESRCH);
	assert_false(kthread_is_per_cpu(k));
	assert_int_equal(kthread_stop(k), 3);
	sim_stop();
}

static void kthread_set_per_cpu__of_an_adopted_thread(void **state)
{
	struct kthread *k;

	sim_start(NULL);
	k = kthread_adopt("me");
	assert_int_equal(kthread_set_per_cpu(k, 1), -EOPNOTSUPP);
	assert_int_equal(kthread_set_per_cpu(k, -1), -EOPNOTSUPP);
	assert_placed(k, KTHREAD_WISH_NONE, 0);
	assert_int_equal(kthread_unadopt(k), 0);
	sim_stop();
}

/* ---- asking ------------------------------------------------------------------------------------------------------ */

static void kthread_get_mask__setsize_and_which(void **state)
{
	struct {
		cpu_set_t set[2];
	} room, untouched;
	struct kthread *k;

	sim_start(NULL);
	k = with_a_wish();
	memset(&untouched, 0xa5, sizeof(untouched));
	room = untouched;
	for (enum kthread_mask which = KTHREAD_MASK_WISH; which <= KTHREAD_MASK_LAST_TO; which++) {
		assert_int_equal(kthread_get_mask(k, which, sizeof(room), NULL), -EINVAL);
		for (size_t size = 0; size < kthread_setsize(); size++)
			assert_int_equal(kthread_get_mask(k, which, size, room.set), -EINVAL);
	}
	for (int which = -3; which < 10; which++) {
		if (which < 0 || which > (int)KTHREAD_MASK_LAST_TO)
			assert_int_equal(kthread_get_mask(k, (enum kthread_mask)which, sizeof(room), room.set),
			                 -EINVAL);
		if (which < 0 || which > (int)KTHREAD_CPUS_ISOLATED)
			assert_int_equal(kthread_cpus((enum kthread_cpus)which, sizeof(room), room.set), -EINVAL);
	}
	for (size_t size = 0; size < kthread_setsize(); size++) {
		assert_int_equal(kthread_cpus(KTHREAD_CPUS_ONLINE, size, room.set), -EINVAL);
		assert_int_equal(kthread_node_cpus(0, size, room.set), -EINVAL);
	}
	assert_memory_equal(&room, &untouched, sizeof(room)); /* written only on success */
	/* just as long as it says; longer: the rest is zero */
	for (size_t size = kthread_setsize(); size <= sizeof(room); size++) {
		unsigned char *bytes = malloc(size);

		memset(bytes, 0xa5, size);
		assert_int_equal(kthread_get_mask(k, KTHREAD_MASK_EFFECTIVE, size, (cpu_set_t *)bytes), 0);
		assert_int_equal(bytes[0], 0x06);
		for (size_t i = 1; i < size; i++)
			assert_int_equal(bytes[i], 0);
		free(bytes);
	}
	kthread_stop(k);
	sim_stop();
}

/* ---- want of memory ---------------------------------------------------------------------------------------------- */

static void placement__no_memory_leaves_the_old_wish(void **state)
{
	struct kthread *k;

	sim_start(NULL);
	k = with_a_wish();
	sim_calm();
	assert_int_equal(kthread_affine_node(k, 2), 0); /* the topology is loaded by now */
	for (int i = 0; i < WISHES - 1; i++) {
		int error = -ENOMEM;

		assert_int_equal(sim_prefer(k, 0x06), 0);
		for (int at = 1; error == -ENOMEM; at++) {
			fail_at = at;
			error = each_wish(i, k);
			fail_at = 0;
			assert_true(error == 0 || error == -ENOMEM);
			if (error)
				assert_unchanged(k);
		}
	}
	kthread_stop(k);
	sim_stop();
}

static void kthread_create__no_memory(void **state)
{
	sim_start(NULL);
	kthread_stop(with_a_wish());
	sim_calm();
	for (int form = 0; form < 3; form++) {
		struct kthread *k = NULL;

		for (int at = 1; !k; at++) {
			errno = 0;
			fail_at = at;
			k = form == 0   ? kthread_create(obedient, NULL, "x")
			    : form == 1 ? kthread_create_on_cpu(obedient, NULL, 3, "x/%u")
			                : kthread_create_on_node(obedient, NULL, 1, "x");
			fail_at = 0;
			assert_true(k || errno == ENOMEM);
			assert_true(at < 100);
		}
		kthread_stop(k);
	}
	sim_stop();
}

static void kthread_adopt__no_memory(void **state)
{
	struct kthread *k = NULL;

	sim_start(NULL);
	kthread_stop(with_a_wish());
	sim_calm();
	for (int at = 1; !k; at++) {
		errno = 0;
		fail_at = at;
		k = kthread_adopt("me");
		fail_at = 0;
		assert_true(k || errno == ENOMEM);
		assert_true(at < 100);
	}
	assert_int_equal(kthread_unadopt(k), 0);
	sim_stop();
}

/* A look that runs out of memory half way is made up for by the next one, though the machine does not change again. */
static void kthread_rescan__no_memory(void **state)
{
	struct kthread *bound;
	struct kthread *node;
	struct kthread *other;
	unsigned int online = 0xff;
	bool failed = true;

	sim_start(NULL);
	bound = kthread_run_on_cpu(obedient, NULL, 3, "bound/%u");
	node = kthread_create_on_node(obedient, NULL, 1, "node");
	other = kthread_run_on_cpu(obedient, NULL, 2, "bound/%u");
	sim_calm();
	for (int at = 1; failed; at++) {
		int error;

		online = online == 0xff ? 0xf7 : 0xff;
		sim_online(online);
		fail_at = at;
		error = kthread_rescan();
		fail_at = 0;
		failed = error != 0;
		assert_true(error == 0 || error == -ENOMEM);
		assert_true(at < 100);
		assert_int_equal(kthread_rescan(), 0);
		assert_placed(bound, KTHREAD_WISH_BOUND, 0x08);
		assert_placed(node, KTHREAD_WISH_NODE, 0x0c);
		assert_placed(other, KTHREAD_WISH_BOUND, 0x04);
	}
	kthread_stop(bound);
	kthread_stop(node);
	kthread_stop(other);
	sim_stop();
}

static void kthread_housekeeping_set__no_memory(void **state)
{
	struct kthread *k;
	struct kthread *node;
	bool failed = true;

	sim_start(NULL);
	k = kthread_create(obedient, NULL, "unbound");
	node = kthread_create_on_node(obedient, NULL, 1, "node");
	sim_calm();
	for (int at = 1; failed; at++) {
		cpu_set_t set;
		int error;

		CPU_ZERO(&set);
		CPU_SET((size_t)at % 8, &set);
		fail_at = at;
		error = kthread_housekeeping_set(sizeof(set), &set);
		fail_at = 0;
		failed = error != 0;
		assert_true(error == 0 || error == -ENOMEM);
		assert_true(at < 100);
		/* It is either taken or not; a later look leaves no thread behind. */
		assert_int_equal(kthread_rescan(), 0);
		sim.housekeeping = sim_cpus(KTHREAD_CPUS_HOUSEKEEPING);
		assert_placed(k, KTHREAD_WISH_NONE, 0);
		assert_placed(node, KTHREAD_WISH_NODE, 0x0c);
	}
	kthread_stop(k);
	kthread_stop(node);
	sim_stop();
}

static void kthread_init__no_memory(void **state)
{
	struct kthread_config config = sim_config();
	int error = -ENOMEM;

	sim_tree("numa");
	config.root = sim.root;
	for (int at = 1; error; at++) {
		fail_at = at;
		error = kthread_init(&config);
		fail_at = 0;
		assert_true(error == 0 || error == -ENOMEM);
		assert_true(at < 100);
	}
	assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), 0xff);
	sim_stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(placement__null),
	    cmocka_unit_test(placement__bad_masks),
	    cmocka_unit_test(placement__sets_of_a_few_bytes),
	    cmocka_unit_test(placement__impossible_cpus_and_nodes),
	    cmocka_unit_test(placement__huge_numbers_cost_nothing),
	    cmocka_unit_test(placement__of_a_running_thread),
	    cmocka_unit_test(placement__of_a_thread_that_has_ended),
	    cmocka_unit_test(kthread_set_per_cpu__of_an_adopted_thread),
	    cmocka_unit_test(kthread_get_mask__setsize_and_which),
	    cmocka_unit_test(placement__no_memory_leaves_the_old_wish),
	    cmocka_unit_test(kthread_create__no_memory),
	    cmocka_unit_test(kthread_adopt__no_memory),
	    cmocka_unit_test(kthread_rescan__no_memory),
	    cmocka_unit_test(kthread_housekeeping_set__no_memory),
	    cmocka_unit_test(kthread_init__no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, fini_finds_nothing);
}

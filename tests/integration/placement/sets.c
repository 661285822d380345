/* SPDX-License-Identifier: MIT */
/*
 * The sets themselves under threads of every wish: cpusets (v2 and v1) that shrink, move and grow together with
 * hotplug, the mask the process was started with, and housekeeping. Views and their generations.
 */
#include <sys/resource.h>

#include "sim.h"

/* One thread of each wish; all are checked after each step. */
static struct one {
	enum kthread_wish kind;
	unsigned int wish;
	struct kthread *k;
} all[] = {
    {KTHREAD_WISH_NONE, 0, NULL},         {KTHREAD_WISH_NODE, 0x0c, NULL},      {KTHREAD_WISH_NODE, 0xc0, NULL},
    {KTHREAD_WISH_PREFERRED, 0x18, NULL}, {KTHREAD_WISH_PREFERRED, 0x81, NULL}, {KTHREAD_WISH_BOUND, 0x08, NULL},
    {KTHREAD_WISH_BOUND, 0x80, NULL},     {KTHREAD_WISH_BOUND, 0x5a, NULL},     {KTHREAD_WISH_PER_CPU, 0x04, NULL},
    {KTHREAD_WISH_PER_CPU, 0x40, NULL},
};

#define EACH(one) (struct one *one = all; one < all + sizeof(all) / sizeof(all[0]); one++)

static void come(void)
{
	for
		EACH(one)
		{
			const int cpu = __builtin_ctz(one->wish | 1u << 31);

			one->k = kthread_create(obedient, NULL, "%s/%x", kthread_wish_name(one->kind), one->wish);
			assert_non_null(one->k);
			if (one->kind == KTHREAD_WISH_NODE)
				assert_int_equal(kthread_affine_node(one->k, cpu / 2), 0);
			if (one->kind == KTHREAD_WISH_PREFERRED)
				assert_int_equal(sim_prefer(one->k, one->wish), 0);
			if (one->kind == KTHREAD_WISH_BOUND)
				assert_int_equal(sim_bind(one->k, one->wish), 0);
			if (one->kind == KTHREAD_WISH_PER_CPU)
				assert_int_equal(kthread_set_per_cpu(one->k, cpu), 0);
			kthread_wake(one->k);
		}
	sim_calm();
}

static void leave(void)
{
	for
		EACH(one)
		{
			const int result = kthread_stop(one->k);

			assert_true(result == 0 || result == -EINTR);
		}
}

static void assert_right(void)
{
	assert_int_equal(sim_cpus(KTHREAD_CPUS_POSSIBLE), sim.possible);
	assert_int_equal(sim_cpus(KTHREAD_CPUS_ONLINE), sim.online);
	assert_int_equal(sim_cpus(KTHREAD_CPUS_ALLOWED), sim.granted);
	assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), sim_usable());
	assert_int_equal(sim_cpus(KTHREAD_CPUS_HOUSEKEEPING), sim.housekeeping & sim.granted);
	for
		EACH(one)
		{
			const bool parked = one->kind == KTHREAD_WISH_PER_CPU && !(one->wish & sim_usable());

			assert_placed(one->k, one->kind, one->wish);
			AWAIT(state_of(one->k) == (parked ? KTHREAD_PARKED : KTHREAD_WAITING));
		}
}

/* ---- cpusets ----------------------------------------------------------------------------------------------------- */

/* As the kernel keeps the files: what is effective is what is granted and online. */
typedef void (*grant)(unsigned int cpus);

static void grant_v2(unsigned int cpus)
{
	sim_put("sys/fs/cgroup/pod/cpuset.cpus", sim_list(cpus));
	sim_put("sys/fs/cgroup/pod/cpuset.cpus.effective", sim_list(cpus & sim.online));
	sim_put("sys/fs/cgroup/pod/app/cpuset.cpus.effective", sim_list(cpus & sim.online));
	sim_put("sys/fs/cgroup/cpuset.cpus.effective", sim_list(sim.online));
}

static void grant_v1(unsigned int cpus)
{
	sim_put("sys/fs/cgroup/cpuset/cpuset.cpus", sim_list(cpus));
	sim_put("sys/fs/cgroup/cpuset/cpuset.effective_cpus", sim_list(cpus & sim.online));
	sim_put("sys/fs/cgroup/cpuset/init/cpuset.cpus", sim_list(cpus));
	sim_put("sys/fs/cgroup/cpuset/init/cpuset.effective_cpus", sim_list(cpus & sim.online));
}

static void tree_v2(void)
{
	sim_tree("numa");
	sim_put("proc/self/cgroup", "0::/pod/app\n");
	sim_put("proc/self/cpuset", "/pod\n");
	sim_put("sys/fs/cgroup/pod/app/cpuset.cpus", "\n");
	grant_v2(0xff);
}

static void tree_v1(void)
{
	sim_tree("numa");
	sim_remove("sys/fs/cgroup");
	sim_put("proc/self/mountinfo",
	        "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
	        "34 31 0:31 /pod /sys/fs/cgroup/cpuset ro,nosuid shared:9 - cgroup cgroup rw,cpuset\n");
	sim_put("proc/mounts", "cgroup /sys/fs/cgroup/cpuset cgroup rw,cpuset 0 0\n");
	sim_put("proc/self/cgroup", "4:cpuset:/pod/init\n2:cpu,cpuacct:/pod\n0::/pod\n");
	sim_put("proc/self/cpuset", "/pod/init\n");
	grant_v1(0xff);
}

static void step(grant write, unsigned int granted, unsigned int online)
{
	const bool same = granted == sim.granted && online == sim.online;
	const uint64_t generation = kthread_generation();

	sim_online(online);
	sim.granted = granted;
	write(granted);
	assert_int_equal(kthread_rescan(), 0);
	assert_int_equal(kthread_generation(), generation + !same);
	assert_right();
}

static void cpuset_with_hotplug(void (*tree)(void), grant write)
{
	static const unsigned int steps[][2] = {
	    {0xff, 0xff}, {0x7f, 0xff}, {0x3f, 0xff}, {0x0f, 0xff}, {0x08, 0xff}, /* shrinks */
	    {0x30, 0xff}, {0xc0, 0xff}, {0x03, 0xff}, {0x5a, 0xff},               /* moves */
	    {0x5a, 0xf7}, {0x5a, 0xbf}, {0x5a, 0x10}, {0x5a, 0x5a},               /* CPUs of it go and come */
	    {0x7a, 0x5a}, {0xff, 0x5a}, {0xff, 0xff},                             /* grows, also by offline ones */
	    {0x0c, 0xf7}, {0x18, 0xfb}, {0x84, 0x0f}, {0xff, 0x81}, {0x81, 0x80}, /* both at once */
	    {0x01, 0x01}, {0x80, 0x80}, {0xff, 0xff},
	};

	tree();
	sim_start(NULL);
	come();
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		step(write, steps[i][0], steps[i][1]);
	/* and while housekeeping is not all of it */
	assert_int_equal(sim_housekeeping(0x3c), 0);
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		step(write, steps[i][0], steps[i][1]);
	leave();
	sim_stop();
}

static void cpuset_v2__shrinks_moves_grows_with_hotplug(void **state)
{
	cpuset_with_hotplug(tree_v2, grant_v2);
}

static void cpuset_v1__shrinks_moves_grows_with_hotplug(void **state)
{
	cpuset_with_hotplug(tree_v1, grant_v1);
}

static void cpuset__process_moves_to_another_cgroup(void **state)
{
	tree_v2();
	sim_put("sys/fs/cgroup/other/cpuset.cpus", "6-7\n");
	sim_put("sys/fs/cgroup/other/cpuset.cpus.effective", "6-7\n");
	sim_start(NULL);
	come();
	step(grant_v2, 0x0f, 0xff);
	sim_put("proc/self/cgroup", "0::/other\n");
	sim.granted = 0xc0;
	assert_int_equal(kthread_rescan(), 0);
	assert_right();
	sim_put("proc/self/cgroup", "0::/pod/app\n");
	step(grant_v2, 0x3f, 0xff);
	leave();
	sim_stop();
}

/* The directory goes under us (a container that is torn down): the bounds that are left hold. */
static void cpuset__our_directory_vanishes(void **state)
{
	tree_v2();
	sim_start(NULL);
	come();
	step(grant_v2, 0x0f, 0xff);
	sim_remove("sys/fs/cgroup/pod/app");
	assert_int_equal(kthread_rescan(), 0);
	assert_int_equal(sim_usable() & ~sim_cpus(KTHREAD_CPUS_USABLE), 0);
	for
		EACH(one)
	assert_true(sim_mask(one->k, KTHREAD_MASK_EFFECTIVE) != 0);
	grant_v2(0x0f);
	sim_put("sys/fs/cgroup/pod/app/cpuset.cpus", "\n");
	assert_int_equal(kthread_rescan(), 0);
	assert_right();
	leave();
	sim_stop();
}

static void cpuset__garbage_and_a_vanished_sysfs_change_nothing(void **state)
{
	char *big = malloc((1u << 20) + 1);
	uint64_t generation;

	memset(big, '0', 1u << 20);
	big[1u << 20] = '\0';
	tree_v2();
	sim_start(NULL);
	come();
	step(grant_v2, 0x3f, 0xf7);
	generation = kthread_generation();
	for (int i = 0; i < 3; i++) {
		static const char *const files[] = {"sys/fs/cgroup/pod/app/cpuset.cpus.effective",
		                                    "sys/fs/cgroup/pod/cpuset.cpus", "sys/devices/system/cpu/online"};

		for (size_t f = 0; f < 3; f++) {
			sim_put(files[f], i == 0 ? "0-x\n" : i == 1 ? big : "\xff\xfe,,-");
			assert_int_equal(kthread_rescan(), 0);
			assert_right();
			sim_put(files[f], sim_list(f == 2 ? sim.online : f == 1 ? sim.granted : sim_usable()));
			assert_int_equal(kthread_rescan(), 0);
		}
	}
	assert_int_equal(kthread_generation(), generation);
	sim_remove("sys/devices/system/cpu");
	for (int i = 0; i < 3; i++) {
		assert_int_equal(kthread_rescan(), 0);
		assert_right();
	}
	assert_logged("/sys/devices/system/cpu: unusable", 1); /* once; garbage had a way round */
	leave();
	sim_stop();
	free(big);
}

/* A process under taskset: offline CPUs of the mask are ours when they come, others never. */
static void start_mask__cuts_for_good(void **state)
{
	tree_v2();
	sim_put("proc/self/status", "Name:\tx\nCpus_allowed:\t3c\nCpus_allowed_list:\t2-5\nMems_allowed_list:\t0\n");
	sim_start(NULL);
	sim.granted = 0x3c;
	come();
	assert_right();
	for (unsigned int online = 1; online < 0x100; online += 6) {
		if (!(online & 0x3c))
			continue; /* the mask is void then */
		sim_online(online);
		grant_v2(0xff);
		assert_int_equal(kthread_rescan(), 0);
		assert_right();
	}
	leave();
	sim_stop();
}

/* ---- housekeeping ------------------------------------------------------------------------------------------------ */

static void kthread_housekeeping_set__places_unbound_threads_anew(void **state)
{
	static const unsigned int masks[] = {0x01, 0x0f, 0xf0, 0x80, 0x18, 0xff, 0x66};

	uint64_t bound;

	sim_start(NULL);
	come();
	AWAIT(state_of(all[5].k) == KTHREAD_WAITING);
	bound = sim_info(all[5].k).reaffines;
	for (size_t i = 0; i < sizeof(masks) / sizeof(masks[0]); i++) {
		const uint64_t generation = kthread_generation();

		assert_int_equal(sim_housekeeping(masks[i]), 0);
		assert_int_equal(kthread_generation(), generation + 1);
		assert_right();
		assert_int_equal(sim_housekeeping(masks[i]), 0); /* the same again is no change */
		assert_int_equal(kthread_generation(), generation + 1);
	}
	assert_int_equal(sim_info(all[0].k).last_reason, KTHREAD_REASON_HOUSEKEEPING);
	assert_int_equal(sim_info(all[5].k).reaffines, bound); /* bound ones are left alone */
	leave();
	sim_stop();
}

static void kthread_housekeeping_set__refused_nothing_changes(void **state)
{
	cpu_set_t set;
	cpu_set_t *huge;
	uint64_t generation;

	sim_start(NULL);
	come();
	sim_online(0xcf);
	assert_int_equal(kthread_rescan(), 0);
	assert_int_equal(sim_housekeeping(0x3f), 0);
	generation = kthread_generation();
	assert_int_equal(sim_housekeeping(0), -EINVAL);
	assert_int_equal(sim_housekeeping(0x30), -EINVAL);  /* none of them usable */
	assert_int_equal(sim_housekeeping(0x101), -EINVAL); /* CPU 8 is not possible */
	CPU_ZERO(&set);
	assert_int_equal(kthread_housekeeping_set(0, &set), -EINVAL);
	huge = calloc(1, 1u << 20);
	((unsigned char *)huge)[0] = 1;
	((unsigned char *)huge)[(1u << 20) - 1] = 0x80;
	assert_int_equal(kthread_housekeeping_set(1u << 20, huge), -EINVAL);
	assert_int_equal(kthread_generation(), generation);
	assert_right();
	((unsigned char *)huge)[(1u << 20) - 1] = 0; /* long, but empty beyond */
	assert_int_equal(kthread_housekeeping_set(1u << 20, huge), 0);
	sim.housekeeping = 0x01;
	assert_right();
	free(huge);
	leave();
	sim_stop();
}

static void kthread_housekeeping_set__null_goes_back(void **state)
{
	struct kthread_config config = sim_config();

	/* to the derived one */
	sim_tree("isolated");
	sim.housekeeping = 0x0f;
	sim_start(NULL);
	assert_int_equal(sim_cpus(KTHREAD_CPUS_ISOLATED), 0x30);
	assert_int_equal(sim_cpus(KTHREAD_CPUS_HOUSEKEEPING), 0x0f);
	assert_int_equal(sim_housekeeping(0xc0), 0);
	assert_int_equal(sim_cpus(KTHREAD_CPUS_HOUSEKEEPING), 0xc0);
	assert_int_equal(kthread_housekeeping_set(0, NULL), 0);
	assert_int_equal(sim_cpus(KTHREAD_CPUS_HOUSEKEEPING), 0x0f);
	sim_stop();
	/* to the configured one */
	config.housekeeping = "2-3,5";
	sim_start(&config);
	come();
	assert_int_equal(sim_housekeeping(0x81), 0);
	assert_right();
	assert_int_equal(kthread_housekeeping_set(sizeof(cpu_set_t), NULL), -EINVAL); /* a forgotten set, not a wish */
	assert_right();
	assert_int_equal(kthread_housekeeping_set(0, NULL), 0);
	sim.housekeeping = 0x2c;
	assert_right();
	leave();
	sim_stop();
}

static void kthread_housekeeping_set__while_cpus_are_away(void **state)
{
	sim_start(NULL);
	come();
	sim_online(0x33);
	assert_int_equal(kthread_rescan(), 0);
	assert_int_equal(sim_housekeeping(0x0c | 0x20), 0); /* two of them away */
	assert_right();
	sim_online(0x13); /* the last housekeeper goes, too: whatever is usable */
	assert_int_equal(kthread_rescan(), 0);
	assert_right();
	sim_online(0x1b); /* one comes */
	assert_int_equal(kthread_rescan(), 0);
	assert_right();
	sim_online(0xff);
	assert_int_equal(kthread_rescan(), 0);
	assert_right();
	sim_online(0xf0);
	assert_int_equal(kthread_rescan(), 0);
	assert_int_equal(sim_housekeeping(0x0f), -EINVAL);
	assert_int_equal(sim_housekeeping(0x80), 0);
	assert_right();
	leave();
	sim_stop();
}

static void housekeeping__everything_is_isolated(void **state)
{
	sim_tree("numa");
	sim_put("sys/devices/system/cpu/isolated", "0-7\n");
	sim.housekeeping = 0;
	sim_start(NULL);
	come();
	assert_right();
	sim_online(0x7e);
	assert_int_equal(kthread_rescan(), 0);
	assert_right();
	sim_put("sys/devices/system/cpu/isolated", "2-7\n");
	sim.housekeeping = 0x03;
	assert_int_equal(kthread_rescan(), 0);
	assert_right();
	leave();
	sim_stop();
}

static void kthread_init__bad_housekeeping(void **state)
{
	static const char *const bad[] = {"", " ", "8", "0-", "x", "0-8", "-1", "5-2", "99999999999"};
	struct kthread_config config = sim_config();

	sim_tree("numa");
	config.root = sim.root;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const int before = sim_logged("housekeeping");

		config.housekeeping = bad[i];
		assert_int_equal(kthread_init(&config), -EINVAL);
		assert_logged("housekeeping", before + 1);
	}
	sim_online(0xf0);
	config.housekeeping = "0-3"; /* possible, but none of it usable */
	assert_int_equal(kthread_init(&config), -EINVAL);
	config.housekeeping = "0-4";
	sim.housekeeping = 0x1f;
	sim_start(&config);
	assert_int_equal(sim_cpus(KTHREAD_CPUS_HOUSEKEEPING), 0x1f);
	sim_stop();
}

/* ---- views ------------------------------------------------------------------------------------------------------- */

/* Before the first thread nobody watches: the questions look for themselves. */
static void kthread_cpus__look_anew_before_the_first_thread(void **state)
{
	uint64_t generation;

	sim_start(NULL);
	assert_int_equal(kthread_setsize(), 8);
	generation = kthread_generation();
	assert_true(generation > 0);
	sim_online(0x0f);
	assert_int_equal(sim_cpus(KTHREAD_CPUS_ONLINE), 0x0f);
	assert_int_equal(kthread_generation(), generation + 1);
	sim_online(0x1f);
	assert_int_equal(kthread_generation(), generation + 2);
	sim_online(0xff);
	assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), 0xff);
	sim_stop();
}

static void kthread_node_cpus__remember_those_seen(void **state)
{
	cpu_set_t set;

	sim_start(NULL);
	for (unsigned int node = 0; node < 4; node++) {
		assert_int_equal(kthread_node_cpus((int)node, sizeof(set), &set), 0);
		assert_int_equal(CPU_COUNT(&set), 2);
		assert_true(CPU_ISSET(2 * node, &set) && CPU_ISSET(2 * node + 1, &set));
	}
	sim_online(0xf3);
	assert_int_equal(kthread_rescan(), 0);
	assert_int_equal(kthread_node_cpus(1, sizeof(set), &set), 0);
	assert_int_equal(CPU_COUNT(&set), 2);
	assert_int_equal(kthread_cpu_node(2), 1);
	assert_int_equal(kthread_cpu_node(7), 3);
	assert_int_equal(kthread_cpu_node(8), -EINVAL);
	assert_int_equal(kthread_cpu_node(UINT32_MAX), -EINVAL);
	assert_int_equal(kthread_node_cpus(4, sizeof(set), &set), -EINVAL);
	assert_int_equal(kthread_node_cpus(-1, sizeof(set), &set), -EINVAL);
	assert_int_equal(kthread_node_cpus(INT32_MAX, sizeof(set), &set), -EINVAL);
	sim_stop();
}

/* A CPU of a node comes while there are descriptors for its list and none for the topology: found by the next look,
 * though the view has not changed since. */
static void kthread_affine_node__a_cpu_comes_without_descriptors(void **state)
{
	struct rlimit limit;
	struct rlimit few;
	struct kthread *k;
	int lowest;

	sim_tree("numa");
	sim_remove("sys/devices/system/cpu/cpu3/topology");
	sim_put("sys/devices/system/node/node1/cpumap", "00000004\n");
	sim_online(0xf7);
	sim_start(NULL);
	k = kthread_create_on_node(obedient, NULL, 1, "node/1");
	assert_non_null(k);
	sim_calm();
	assert_int_equal(sim_mask(k, KTHREAD_MASK_EFFECTIVE), 0x04);

	sim_put("sys/devices/system/cpu/cpu3/topology/core_id", "3\n");
	sim_put("sys/devices/system/cpu/cpu3/topology/thread_siblings", "00000008\n");
	sim_put("sys/devices/system/node/node1/cpumap", "0000000c\n");
	sim_online(0xff);
	getrlimit(RLIMIT_NOFILE, &limit);
	few = limit;
	lowest = dup(0);
	close(lowest);
	few.rlim_cur = (rlim_t)lowest + 1;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	assert_int_equal(kthread_rescan(), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(sim_cpus(KTHREAD_CPUS_ONLINE), 0xff);
	assert_int_equal(sim_mask(k, KTHREAD_MASK_EFFECTIVE), 0x04);
	assert_int_equal(kthread_cpu_node(3), KTHREAD_NO_NODE);

	assert_int_equal(kthread_rescan(), 0);
	assert_int_equal(sim_mask(k, KTHREAD_MASK_EFFECTIVE), 0x0c);
	assert_int_equal(kthread_cpu_node(3), 1);
	kthread_stop(k);
	sim_stop();
}

/* On 4096 CPUs: one of each, far beyond a cpu_set_t. */
static void placement__of_4096_cpus(void **state)
{
	const size_t setsize = 4096 / 8;
	cpu_set_t *set = calloc(1, setsize);
	struct kthread *bound;
	struct kthread *node;

	sim_tree("huge");
	sim_start(NULL);
	assert_int_equal(kthread_setsize(), setsize);
	bound = kthread_run_on_cpu(obedient, NULL, 4095, "bound/%u");
	node = kthread_create_on_node(obedient, NULL, 63, "node");
	assert_non_null(bound);
	assert_non_null(node);
	sim_put("sys/devices/system/cpu/online", "0-4094\n");
	assert_int_equal(kthread_rescan(), 0);
	assert_true(kthread_is_broken(bound));
	assert_int_equal(kthread_get_mask(node, KTHREAD_MASK_EFFECTIVE, setsize, set), 0);
	assert_int_equal(CPU_COUNT_S(setsize, set), 63);
	assert_int_equal(kthread_get_mask(bound, KTHREAD_MASK_EFFECTIVE, setsize, set), 0);
	assert_int_equal(CPU_COUNT_S(setsize, set), 4095);
	assert_int_equal(kthread_get_mask(bound, KTHREAD_MASK_EFFECTIVE, setsize - 8, set), -EINVAL);
	assert_int_equal(kthread_get_mask(bound, KTHREAD_MASK_WISH, setsize, set), 0);
	assert_true(CPU_COUNT_S(setsize, set) == 1 && CPU_ISSET_S(4095, setsize, set));
	sim_put("sys/devices/system/cpu/online", "0-4095\n");
	assert_int_equal(kthread_rescan(), 0);
	assert_false(kthread_is_broken(bound));
	free(set);
	kthread_stop(bound);
	kthread_stop(node);
	sim_stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(cpuset_v2__shrinks_moves_grows_with_hotplug),
	    cmocka_unit_test(cpuset_v1__shrinks_moves_grows_with_hotplug),
	    cmocka_unit_test(cpuset__process_moves_to_another_cgroup),
	    cmocka_unit_test(cpuset__our_directory_vanishes),
	    cmocka_unit_test(cpuset__garbage_and_a_vanished_sysfs_change_nothing),
	    cmocka_unit_test(start_mask__cuts_for_good),
	    cmocka_unit_test(kthread_housekeeping_set__places_unbound_threads_anew),
	    cmocka_unit_test(kthread_housekeeping_set__refused_nothing_changes),
	    cmocka_unit_test(kthread_housekeeping_set__null_goes_back),
	    cmocka_unit_test(kthread_housekeeping_set__while_cpus_are_away),
	    cmocka_unit_test(housekeeping__everything_is_isolated),
	    cmocka_unit_test(kthread_init__bad_housekeeping),
	    cmocka_unit_test(kthread_cpus__look_anew_before_the_first_thread),
	    cmocka_unit_test(kthread_node_cpus__remember_those_seen),
	    cmocka_unit_test(kthread_affine_node__a_cpu_comes_without_descriptors),
	    cmocka_unit_test(placement__of_4096_cpus),
	};

	return cmocka_run_group_tests(tests, NULL, fini_finds_nothing);
}

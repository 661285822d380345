/* SPDX-License-Identifier: MIT */
/*
 * kt_view_get(), kt_view_renew(), kt_view_renew_housekeeping(), kt_machine_start(): from a tree of files to the sets,
 * and what happens when the files are changed, garbled, moved or taken away under the library.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

#include "base/library.h"
#include "machine/cpumask.h"
#include "machine/topology.h"
#include "support.h"

#define CPU "sys/devices/system/cpu/"
#define CG "sys/fs/cgroup/"
#define POD CG "kubepods.slice/pod7/"

static const char *root;

static int setup(void **state)
{
	root = tree_make();
	return 0;
}

static int teardown(void **state)
{
	tree_remove();
	return 0;
}

/* ---- sysfs ----------------------------------------------------------------------------------------------------- */

static void renew__nothing_new_keeps_the_generation(void **state)
{
	tree_machine("numa");
	assert_int_equal(room_start(root, NULL), 0);
	assert_int_equal(view_generation(), 1);
	assert_false(room_renew());
	assert_int_equal(view_generation(), 1);
	assert_false(view_confined());
	assert_int_equal(log_count(LOG_DEBUG), 0);
	room_stop();
}

static void renew__cpus_go_and_come(void **state)
{
	tree_machine("numa");
	assert_int_equal(room_start(root, NULL), 0);
	tree_put(CPU "online", "0-2,4-7\n");
	tree_put(CG "cpuset.cpus.effective", "0-2,4-7\n");
	assert_true(room_renew());
	assert_int_equal(view_generation(), 2);
	assert_set(KT_ONLINE, "0-2,4-7");
	assert_set(KT_ALLOWED, "0-7");
	assert_set(KT_USABLE, "0-2,4-7");
	assert_set(KT_HOUSEKEEPING, "0-7");
	tree_put(CPU "online", "0-7\n");
	/* the cpuset's list lags behind: a CPU that is not in it may not be used yet */
	assert_true(room_renew());
	assert_set(KT_USABLE, "0-2,4-7");
	tree_put(CG "cpuset.cpus.effective", "0-7\n");
	assert_true(room_renew());
	assert_set(KT_USABLE, "0-7");
	assert_int_equal(view_generation(), 4);
	room_stop();
}

static void view__outlives_its_successor_while_held(void **state)
{
	struct kt_view *held;

	tree_machine("numa");
	assert_int_equal(room_start(root, NULL), 0);
	held = kt_view_get();
	tree_put(CPU "online", "0\n");
	assert_true(room_renew());
	assert_cpus(held->setsize, held->set[KT_ONLINE], "0-7");
	room_stop();
	assert_cpus(held->setsize, held->set[KT_ONLINE], "0-7");
	kt_view_put(held);
	kt_view_put(NULL);
}

static void start__no_possible_nor_online_list(void **state)
{
	tree_put(CPU "cpu0/topology/core_id", "0\n"); /* no online file: it cannot go */
	tree_put(CPU "cpu1/online", "1\n");
	tree_put(CPU "cpu2/online", "0\n");
	tree_put(CPU "cpu5/topology/core_id", "0\n");
	tree_put(CPU "cpu7/cache", "recorded of an offline CPU");
	tree_put(CPU "cpufreq/x", "");
	tree_put(CPU "cpu9x/online", "1\n");
	assert_int_equal(room_start(root, NULL), 0);
	assert_set(KT_POSSIBLE, "0-2,5,7");
	assert_set(KT_PRESENT, "0-2,5,7");
	assert_set(KT_ONLINE, "0-1,5");
	assert_set(KT_ALLOWED, "0-2,5,7");
	room_stop();
}

static void start__cut_files(void **state)
{
	tree_machine("numa");
	tree_put(CPU "possible", "");
	tree_put(CPU "online", "0-");
	tree_put(CPU "cpu6/online", "0\n");
	assert_int_equal(room_start(root, NULL), 0);
	assert_set(KT_POSSIBLE, "0-7");
	assert_set(KT_ONLINE, "0-5,7");
	room_stop();
}

static void renew__cpus_beyond_possible_are_left_out(void **state)
{
	tree_machine("numa");
	assert_int_equal(room_start(root, NULL), 0);
	tree_put(CPU "online", "0-3,8-99\n");
	tree_put(CPU "present", "0-99\n");
	tree_put(CPU "isolated", "3-4000000000\n");
	assert_true(room_renew());
	assert_set(KT_PRESENT, "0-7");
	assert_set(KT_ONLINE, "0-3");
	assert_set(KT_ISOLATED, "3-7");
	room_stop();
}

static void renew__unreadable_sys_keeps_the_view_and_comes_back(void **state)
{
	tree_machine("numa");
	assert_int_equal(room_start(root, NULL), 0);
	tree_rename("sys/devices", "sys/gone");
	assert_false(room_renew());
	assert_false(room_renew());
	assert_set(KT_USABLE, "0-7");
	assert_int_equal(log_count(LOG_WARNING), 1);
	assert_true(log_has("/sys/devices/system/cpu"));
	tree_rename("sys/gone", "sys/devices");
	tree_put(CPU "online", "0-3\n");
	assert_true(room_renew());
	assert_set(KT_USABLE, "0-3");
	assert_int_equal(log_count(LOG_WARNING), 1);
	assert_int_equal(log_count(LOG_NOTICE), 2);
	/* a second loss is told of again */
	tree_rename("sys/devices", "sys/gone");
	assert_false(room_renew());
	assert_int_equal(log_count(LOG_WARNING), 2);
	room_stop();
}

static void start__without_sys_takes_what_libc_says_and_comes_back(void **state)
{
	assert_int_equal(room_start(root, NULL), 0);
	assert_int_equal(log_count(LOG_WARNING), 1);
	{
		struct kt_view *view = kt_view_get();

		assert_false(kt_cpus_empty(view->setsize, view->set[KT_USABLE]));
		assert_true(kt_cpus_subset(view->setsize, view->set[KT_ONLINE], view->set[KT_POSSIBLE]));
		kt_view_put(view);
	}
	assert_int_equal(kt_topology_node_exists(0), -EINVAL);
	tree_machine("numa");
	room_renew();
	assert_set(KT_POSSIBLE, "0-7");
	assert_set(KT_USABLE, "0-7");
	assert_int_equal(kt_topology_node_exists(3), 0);
	room_stop();
}

static void start__without_sys_takes_cpuinfo(void **state)
{
	tree_put("proc/cpuinfo",
	         "processor\t: 0\nvendor_id\t: x\n\nprocessor\t: 1\n\nprocessor 3: version = FF\nprocessor : x\n");
	assert_int_equal(room_start(root, NULL), 0);
	{
		struct kt_view *view = kt_view_get();

		/* a guess at the possible CPUs bounds it: this machine may have one CPU only */
		assert_true(kt_cpus_test(view->setsize, view->set[KT_ONLINE], 0));
		assert_false(kt_cpus_test(view->setsize, view->set[KT_ONLINE], 2));
		kt_view_put(view);
	}
	room_stop();
}

/* ---- the cpuset ------------------------------------------------------------------------------------------------ */

static void cpuset__garbage_keeps_the_last_value(void **state)
{
	static const char *const garbage[] = {"2-\n", "hello", "\x01\x02\xff", "0-99999999999", "3-1"};

	tree_machine("cgroup2");
	assert_int_equal(room_start(root, NULL), 0);
	for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
		tree_put(POD "cpuset.cpus.effective", garbage[i]);
		tree_put(POD "cpuset.cpus", garbage[i]);
		assert_false(room_renew());
		assert_set(KT_ALLOWED, "2-5");
	}
	assert_int_equal(log_count(LOG_WARNING), 1);
	tree_put(POD "cpuset.cpus.effective", "4-5\n");
	tree_put(POD "cpuset.cpus", "3-5\n");
	assert_true(room_renew());
	assert_set(KT_ALLOWED, "3-5");
	room_stop();
}

static void cpuset__a_file_of_one_mib(void **state)
{
	char *text = malloc((1 << 20) + 1);

	tree_machine("cgroup2");
	assert_int_equal(room_start(root, NULL), 0);
	for (int i = 0; i < 1 << 20; i++)
		text[i] = "2,"[i % 2];
	text[1 << 20] = '\0';
	tree_put(POD "cpuset.cpus.effective", text);
	tree_put("proc/self/cgroup", text);
	assert_false(room_renew());
	assert_set(KT_ALLOWED, "2-5");
	assert_int_equal(log_count(LOG_WARNING), 1);
	room_stop();
	free(text);
}

static void cpuset__nul_bytes(void **state)
{
	char path[4096];
	FILE *file;

	tree_machine("cgroup2");
	assert_int_equal(room_start(root, NULL), 0);
	snprintf(path, sizeof(path), "%s/" POD "cpuset.cpus.effective", root);
	file = fopen(path, "w");
	assert_non_null(file);
	fwrite("4\0-5\n", 1, 5, file);
	fclose(file);
	assert_false(room_renew());
	assert_set(KT_ALLOWED, "2-5");
	room_stop();
}

static void cpuset__garbage_at_start_is_bounded_by_the_ancestor(void **state)
{
	tree_machine("cgroup2");
	tree_put(POD "cpuset.cpus.effective", "x");
	tree_put(POD "cpuset.cpus", "x");
	assert_int_equal(room_start(root, NULL), 0);
	assert_set(KT_ALLOWED, "0-5");
	assert_true(view_confined());
	assert_int_equal(log_count(LOG_WARNING), 1);
	room_stop();
}

static void cpuset__vanished_directory(void **state)
{
	tree_machine("cgroup2");
	assert_int_equal(room_start(root, NULL), 0);
	tree_delete(CG "kubepods.slice/pod7");
	assert_true(room_renew());
	assert_set(KT_ALLOWED, "0-5"); /* of the nearest ancestor */
	assert_true(view_confined());
	tree_delete(CG "kubepods.slice");
	tree_delete("proc/self/cpuset");
	assert_true(room_renew());
	assert_false(view_confined());
	room_stop();
}

static void cpuset__process_moved(void **state)
{
	tree_machine("cgroup2");
	tree_put(CG "other/cpuset.cpus", "6-7\n");
	tree_put(CG "other/cpuset.cpus.effective", "6-7\n");
	assert_int_equal(room_start(root, NULL), 0);
	tree_put("proc/self/cgroup", "0::/other\n");
	assert_true(room_renew());
	assert_set(KT_ALLOWED, "6-7");
	assert_true(view_confined());
	tree_put("proc/self/cgroup", "0::/\n");
	tree_put(CG "cpuset.cpus.effective", "0-2,4-7\n");
	assert_true(room_renew());
	assert_set(KT_ALLOWED, "0-7");
	assert_false(view_confined());
	room_stop();
}

static void cpuset__shrinks_moves_and_grows(void **state)
{
	tree_machine("cgroup1");
	assert_int_equal(room_start(root, NULL), 0);
	tree_put(CG "cpuset/init/cpuset.cpus", "3\n");
	tree_put(CG "cpuset/init/cpuset.effective_cpus", "3\n");
	assert_true(room_renew());
	assert_set(KT_ALLOWED, "3");
	tree_put(CG "cpuset/init/cpuset.cpus", "2-5\n");
	tree_put(CG "cpuset/init/cpuset.effective_cpus", "2-5\n");
	assert_true(room_renew());
	assert_set(KT_ALLOWED, "2-5");
	room_stop();
}

static void cpuset__empty_list_takes_the_parents(void **state)
{
	tree_machine("cgroup2");
	tree_put(POD "cpuset.cpus", "\n");
	tree_put(POD "cpuset.cpus.effective", "0-2,4-5\n");
	assert_int_equal(room_start(root, NULL), 0);
	assert_set(KT_ALLOWED, "0-5");
	/* nothing in common with the parent's: as if empty */
	tree_put(POD "cpuset.cpus", "6-7\n");
	assert_false(room_renew());
	room_stop();
}

/* As files change one after the other, we may read a state that never was: no usable CPU. */
static void cpuset__never_without_a_usable_cpu(void **state)
{
	tree_machine("cgroup2");
	assert_int_equal(room_start(root, NULL), 0);
	tree_put(POD "cpuset.cpus.effective", "3\n"); /* offline */
	room_renew();
	assert_set(KT_USABLE, "2,4-5"); /* what is configured */
	room_renew();
	assert_int_equal(log_count(LOG_WARNING), 1);
	tree_put(POD "cpuset.cpus", "3\n");
	room_renew();
	assert_set(KT_USABLE, "0-2,4-7");
	room_stop();
}

static void cpuset__v1_root_follows_the_machine(void **state)
{
	tree_machine("numa");
	tree_put("proc/self/mountinfo", "34 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n");
	tree_put("proc/self/cgroup", "4:cpuset:/\n");
	tree_put(CG "cpuset/tasks", "1\n");
	tree_put(CG "cpuset/release_agent", "\n");
	tree_put(CG "cpuset/cpuset.cpus", "0-6\n");
	tree_put(CG "cpuset/cpuset.effective_cpus", "0-6\n");
	tree_put(CPU "online", "0-6\n");
	assert_int_equal(room_start(root, NULL), 0);
	assert_false(view_confined());
	assert_set(KT_ALLOWED, "0-7");
	room_stop();
}

static void cpuset__v1_root_of_a_namespace_is_confined(void **state)
{
	tree_machine("numa");
	tree_put("proc/self/mountinfo", "34 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n");
	tree_put("proc/self/cgroup", "4:cpuset:/\n");
	tree_put(CG "cpuset/tasks", "1\n");
	tree_put(CG "cpuset/cpuset.cpus", "0-3\n");
	assert_int_equal(room_start(root, NULL), 0);
	assert_true(view_confined());
	assert_set(KT_ALLOWED, "0-3");
	room_stop();
}

static void cpuset__v2_root_of_a_namespace_is_confined(void **state)
{
	tree_machine("numa");
	tree_put(CG "cpuset.cpus", "0-3\n");
	tree_put(CG "cpuset.cpus.effective", "0-3\n");
	assert_int_equal(room_start(root, NULL), 0);
	assert_true(view_confined());
	assert_set(KT_ALLOWED, "0-3");
	room_stop();
}

static void cpuset__outside_our_namespace_is_not_visible(void **state)
{
	tree_machine("numa");
	tree_put("proc/self/cgroup", "0::/../other\n");
	tree_put(CG "../other/cpuset.cpus.effective", "0\n"); /* must not be climbed to */
	assert_int_equal(room_start(root, NULL), 0);
	assert_true(view_confined());
	assert_set(KT_ALLOWED, "0-7");
	room_stop();
}

static void cpuset__the_mount_that_shows_most_is_taken(void **state)
{
	tree_machine("numa");
	tree_put("proc/self/mountinfo", "1 0 0:1 /a/b /mnt rw - cgroup2 x rw\n"
	                                "2 0 0:1 / /sys/fs/cgroup rw - cgroup2 x rw\n"
	                                "3 0 0:1 /a /mnt2 rw - cgroup2 x rw\n"
	                                "4 0 0:1 /elsewhere /mnt3 rw - cgroup2 x rw\n");
	tree_put("proc/self/cgroup", "0::/a/b\n");
	tree_put("mnt/cpuset.cpus.effective", "7\n");
	tree_put(CG "a/cpuset.cpus", "0-5\n");
	tree_put(CG "a/b/cpuset.cpus", "\n");
	tree_put(CG "a/b/cpuset.cpus.effective", "0-4\n");
	assert_int_equal(room_start(root, NULL), 0);
	assert_set(KT_ALLOWED, "0-4");
	room_stop();
}

/* ---- the mask the process was started with --------------------------------------------------------------------- */

static unsigned int quota(void)
{
	struct kt_view *view = kt_view_get();
	const unsigned int cpus = view->quota;

	assert_int_equal(kt_view_number(), view->generation);
	kt_view_put(view);
	return cpus;
}

static void quota__the_least_of_all_levels(void **state)
{
	tree_machine("cgroup2");
	assert_int_equal(room_start(root, NULL), 0);
	assert_int_equal(quota(), 0);
	tree_put(POD "app/cpu.max", "max 100000\n");
	assert_false(room_renew());
	tree_put(POD "cpu.max", "350000 100000\n");
	assert_true(room_renew());
	assert_int_equal(quota(), 4);
	tree_put(POD "app/cpu.max", "50000 100000\n");
	assert_true(room_renew());
	assert_int_equal(quota(), 1);
	tree_put(POD "app/cpu.max", "lots\n");
	assert_true(room_renew());
	assert_int_equal(quota(), 4);
	tree_put("proc/self/cgroup", "0::/\n");
	room_renew();
	assert_int_equal(quota(), 0);
	room_stop();
	assert_int_equal(kt_view_number(), 0);
}

static void quota__of_v1(void **state)
{
	tree_put("proc/self/mountinfo", "34 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
	                                "35 31 0:31 /ct /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n");
	tree_put("proc/self/cgroup", "4:cpuset:/\n5:cpu,cpuacct:/ct/a\n0::/\n");
	tree_put(CG "cpu/cpu.cfs_quota_us", "-1\n");
	tree_put(CG "cpu/cpu.cfs_period_us", "100000\n");
	tree_put(CG "cpu/a/cpu.cfs_quota_us", "20000\n");
	tree_put(CG "cpu/a/cpu.cfs_period_us", "10000\n");
	assert_int_equal(room_start(root, NULL), 0);
	assert_int_equal(quota(), 2);
	room_stop();
}

static void start_mask__narrowed(void **state)
{
	tree_machine("cgroup2");
	tree_put("proc/self/status", "Name:\tx\nCpus_allowed:\t0c\nCpus_allowed_list:\t2-3\nMems_allowed:\t1\n");
	assert_int_equal(room_start(root, NULL), 0);
	assert_set(KT_ALLOWED, "2-3");
	assert_set(KT_USABLE, "2");
	/* the only usable CPU of it goes: void, until one is back */
	tree_put(CPU "online", "0-1,4-7\n");
	tree_put(POD "cpuset.cpus.effective", "4-5\n");
	room_renew();
	assert_set(KT_USABLE, "4-5");
	assert_true(log_has("started with"));
	tree_put(CPU "online", "0-1,3-7\n");
	tree_put(POD "cpuset.cpus.effective", "3-5\n");
	room_renew();
	assert_set(KT_USABLE, "3");
	room_stop();
}

static void start_mask__as_wide_as_the_cpuset_is_no_limit(void **state)
{
	tree_machine("cgroup2");
	tree_put("proc/self/status", "Cpus_allowed_list:\t2,4-5\n");
	assert_int_equal(room_start(root, NULL), 0);
	assert_set(KT_ALLOWED, "2-5");
	tree_put(POD "cpuset.cpus", "0-7\n");
	tree_put(POD "cpuset.cpus.effective", "0-2,4-5\n");
	assert_true(room_renew());
	assert_set(KT_ALLOWED, "0-5");
	room_stop();
}

static void start_mask__garbage_is_no_limit(void **state)
{
	tree_machine("numa");
	tree_put("proc/self/status", "Cpus_allowed_list:\tx\n");
	assert_int_equal(room_start(root, NULL), 0);
	assert_set(KT_ALLOWED, "0-7");
	room_stop();
}

/* ---- housekeeping ---------------------------------------------------------------------------------------------- */

static void housekeeping__derived(void **state)
{
	tree_machine("isolated");
	assert_int_equal(room_start(root, NULL), 0);
	assert_set(KT_HOUSEKEEPING, "0-3");
	assert_set(KT_ISOLATED, "4-5");
	tree_put(CPU "isolated", "\n");
	tree_put(CPU "nohz_full", "(null)\n");
	assert_true(room_renew());
	assert_set(KT_HOUSEKEEPING, "0-7");
	room_stop();
}

static void housekeeping__configured(void **state)
{
	tree_machine("isolated");
	assert_int_equal(room_start(root, "3-5,N"), 0);
	assert_set(KT_HOUSEKEEPING, "3-5,7");
	room_stop();
	tree_machine("cgroup2");
	assert_int_equal(room_start(root, "0-3"), 0);
	assert_set(KT_HOUSEKEEPING, "2-3"); /* cut to what is allowed */
	room_stop();
}

static void housekeeping__malformed_or_unusable_refuses_to_start(void **state)
{
	static const struct {
		const char *list, *said;
	} cases[] = {{"0-", "syntax"},          {"x", "\"x\""},        {"8", "beyond"},
	             {"4294967296", "32 bits"}, {"", "none of these"}, {"3", "none of these CPUs is usable; 2,4-5 are"},
	             {"0-1", "usable"}};

	tree_machine("cgroup2");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(room_start(root, cases[i].list), -EINVAL);
		assert_int_equal(log_count(LOG_ERR), 1);
		assert_true(log_has(cases[i].said));
	}
	tree_machine("sparse");
	assert_int_equal(room_start(root, "0,13"), -EINVAL);
	assert_true(log_has("not possible"));
}

static void renew_housekeeping__set_and_back(void **state)
{
	unsigned long bits[8] = {0x3c};
	cpu_set_t *set = (cpu_set_t *)(void *)bits;
	bool changed = false;

	tree_machine("isolated");
	assert_int_equal(room_start(root, "0-1"), 0);
	assert_int_equal(kt_view_renew_housekeeping(sizeof(bits), set, &changed), 0);
	assert_true(changed);
	assert_set(KT_HOUSEKEEPING, "2-5");
	assert_int_equal(kt_view_renew_housekeeping(sizeof(long), set, &changed), 0);
	assert_false(changed);
	assert_false(room_renew());
	assert_int_equal(kt_view_renew_housekeeping(0, NULL, &changed), 0);
	assert_true(changed);
	assert_set(KT_HOUSEKEEPING, "0-1");
	assert_int_equal(view_generation(), 3);
	room_stop();
}

static void renew_housekeeping__refused(void **state)
{
	unsigned long bits[8] = {0};
	cpu_set_t *set = (cpu_set_t *)(void *)bits;
	bool changed = true;

	tree_machine("cgroup2");
	assert_int_equal(room_start(root, NULL), 0);
	assert_int_equal(kt_view_renew_housekeeping(sizeof(bits), set, &changed), -EINVAL); /* empty */
	bits[0] = 1 << 3 | 1 << 0;                                                          /* offline; not allowed */
	assert_int_equal(kt_view_renew_housekeeping(sizeof(bits), set, &changed), -EINVAL);
	bits[0] = 1 << 2 | 1 << 8; /* impossible */
	assert_int_equal(kt_view_renew_housekeeping(sizeof(bits), set, &changed), -EINVAL);
	bits[0] = 1 << 2;
	bits[7] = 1; /* far beyond the machine */
	assert_int_equal(kt_view_renew_housekeeping(sizeof(bits), set, &changed), -EINVAL);
	assert_true(changed);
	assert_int_equal(view_generation(), 1);
	assert_set(KT_HOUSEKEEPING, "2-4");
	assert_int_equal(kt_view_renew_housekeeping(1, set, &changed), 0);
	assert_set(KT_HOUSEKEEPING, "2");
	room_stop();
}

/* ---- big, real, forked ----------------------------------------------------------------------------------------- */

static void huge__4096_cpus_on_64_nodes(void **state)
{
	static unsigned long bits[4096 / KT_LONG_BITS];
	cpu_set_t *set = (cpu_set_t *)(void *)bits;
	struct kt_view *view;

	tree_machine("huge");
	assert_int_equal(room_start(root, "64-N"), 0);
	assert_set(KT_USABLE, "0-4095");
	assert_set(KT_HOUSEKEEPING, "64-4095");
	view = kt_view_get();
	assert_int_equal(view->setsize, 512);
	for (int node = 0; node < 64; node++) {
		char list[32];

		snprintf(list, sizeof(list), "%d-%d", node * 64, node * 64 + 63);
		assert_int_equal(kt_topology_node_cpus(view, node, set), 0);
		assert_cpus(sizeof(bits), set, list);
	}
	assert_int_equal(kt_topology_cpu_node(view, 4095), 63);
	assert_int_equal(kt_topology_node_exists(64), -EINVAL);
	kt_view_put(view);
	tree_put(CPU "online", "0-4000,4002-4095\n");
	assert_true(room_renew());
	assert_set(KT_USABLE, "0-4000,4002-4095");
	room_stop();
}

static void real__this_machine(void **state)
{
	struct kt_view *view;

	assert_int_equal(room_start("", NULL), 0);
	view = kt_view_get();
	assert_false(kt_cpus_empty(view->setsize, view->set[KT_USABLE]));
	assert_true(kt_cpus_subset(view->setsize, view->set[KT_ONLINE], view->set[KT_PRESENT]));
	assert_true(kt_cpus_subset(view->setsize, view->set[KT_PRESENT], view->set[KT_POSSIBLE]));
	kt_view_put(view);
	assert_int_equal(log_count(LOG_WARNING), 0);
	room_stop();
}

static atomic_bool done;

/* Each view is whole, however it is caught. */
static void *read_views(void *arg)
{
	unsigned long *views = arg;

	while (!atomic_load(&done)) {
		struct kt_view *view = kt_view_get();
		unsigned long both[1];

		kt_cpus_and(view->setsize, (cpu_set_t *)(void *)both, view->set[KT_ONLINE], view->set[KT_ALLOWED]);
		if (memcmp(both, view->set[KT_USABLE], sizeof(both)) != 0)
			return NULL;
		kt_view_put(view);
		++*views;
	}
	return arg;
}

static void renew__while_others_read(void **state)
{
	pthread_t threads[3];
	unsigned long views[3] = {0};

	tree_machine("numa");
	assert_int_equal(room_start(root, NULL), 0);
	atomic_store(&done, false);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, read_views, &views[i]), 0);
	for (int i = 0; i < 200; i++) {
		tree_put(CPU "online", i % 2 ? "0-7\n" : "0-3\n");
		assert_true(room_renew());
	}
	atomic_store(&done, true);
	for (int i = 0; i < 3; i++) {
		void *result;

		assert_int_equal(pthread_join(threads[i], &result), 0);
		assert_ptr_equal(result, &views[i]);
	}
	assert_int_equal(view_generation(), 201);
	room_stop();
}

static void fork__child_starts_anew(void **state)
{
	int status;
	pid_t child;

	tree_machine("numa");
	assert_int_equal(room_start(root, NULL), 0);
	assert_int_equal(kt_topology_node_exists(0), 0);
	kt_machine_room.fork_prepare();
	child = fork();
	if (child == 0) {
		bool good;

		kt_machine_room.fork_child(); /* the library's own part is done by its fork handler */
		good = room_start(root, NULL) == 0 && view_generation() == 1 && kt_topology_node_exists(0) == 0;
		room_stop();
		_exit(good ? 0 : 1);
	}
	kt_machine_room.fork_parent();
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_false(room_renew());
	room_stop();
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(renew__nothing_new_keeps_the_generation),
	    CASE(renew__cpus_go_and_come),
	    CASE(view__outlives_its_successor_while_held),
	    CASE(start__no_possible_nor_online_list),
	    CASE(start__cut_files),
	    CASE(renew__cpus_beyond_possible_are_left_out),
	    CASE(renew__unreadable_sys_keeps_the_view_and_comes_back),
	    CASE(start__without_sys_takes_what_libc_says_and_comes_back),
	    CASE(start__without_sys_takes_cpuinfo),
	    CASE(cpuset__garbage_keeps_the_last_value),
	    CASE(cpuset__a_file_of_one_mib),
	    CASE(cpuset__nul_bytes),
	    CASE(cpuset__garbage_at_start_is_bounded_by_the_ancestor),
	    CASE(cpuset__vanished_directory),
	    CASE(cpuset__process_moved),
	    CASE(cpuset__shrinks_moves_and_grows),
	    CASE(cpuset__empty_list_takes_the_parents),
	    CASE(cpuset__never_without_a_usable_cpu),
	    CASE(cpuset__v1_root_follows_the_machine),
	    CASE(cpuset__v1_root_of_a_namespace_is_confined),
	    CASE(cpuset__v2_root_of_a_namespace_is_confined),
	    CASE(cpuset__outside_our_namespace_is_not_visible),
	    CASE(cpuset__the_mount_that_shows_most_is_taken),
	    CASE(quota__the_least_of_all_levels),
	    CASE(quota__of_v1),
	    CASE(start_mask__narrowed),
	    CASE(start_mask__as_wide_as_the_cpuset_is_no_limit),
	    CASE(start_mask__garbage_is_no_limit),
	    CASE(housekeeping__derived),
	    CASE(housekeeping__configured),
	    CASE(housekeeping__malformed_or_unusable_refuses_to_start),
	    CASE(renew_housekeeping__set_and_back),
	    CASE(renew_housekeeping__refused),
	    CASE(huge__4096_cpus_on_64_nodes),
	    CASE(real__this_machine),
	    CASE(renew__while_others_read),
	    CASE(fork__child_starts_anew),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

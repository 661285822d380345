/* SPDX-License-Identifier: MIT */
/*
 * What the library says of each invented machine (tests/machines) and of each recorded one, checked by hand-written
 * expectations and against hwloc's own reading of the same tree.
 *
 * The recorded ones are archives that don't belong to the project: KTHREAD_TEST_MACHINES says where they are; the
 * default is KTHREAD_SHARED_MACHINES. Where they are missing, their part is skipped (77 if nothing else was run).
 */
#include <errno.h>
#include <hwloc.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "machine/cpumask.h"
#include "machine/topology.h"
#include "support.h"

struct recorded {
	const char *archive, *folder;
	const char *possible, *present, *online, *allowed, *housekeeping;
	bool confined;
	struct machine_node nodes[9];
};

static const struct recorded recorded[] = {
    {
	.archive = "16amd64-8n2c-cpusets", /* cpuset file system with files of no prefix; an online CPU less */
	.folder = "16amd64-8n2c-cpusets",
	.possible = "0-15",
	.present = "0-15",
	.online = "0-3,5-15",
	.allowed = "0-6,12-15",
	.housekeeping = "0-6,12-15",
	.confined = true,
	.nodes = {{0, "0-1"}, {1, "2-3"}, {2, "5"}, {3, "6-7"}, {4, "8-9"}, {5, "10-11"}, {6, "12-13"}, {7, "14-15"}},
    },
    {
	.archive = "16em64t-4s2c2t-offlines", /* an old kernel: no possible, no online, offline CPUs without topology */
	.folder = "16em64t-4s2c2t-offlines",
	.possible = "0-15",
	.present = "0-15",
	.online = "0-1,3-4,6-12,15",
	.allowed = "0-15",
	.housekeeping = "0-15",
	.nodes = {{0, "0-1,3-4,6-12,15"}},
    },
    {
	.archive = "20em64t-hybrid-1p6c2t+2ca4co1t", /* a v2 path whose directories were not recorded */
	.folder = "20em64t-hybrid-1p6c2t+2ca4co1t",
	.possible = "0-19",
	.present = "0-19",
	.online = "0-19",
	.allowed = "0-19",
	.housekeeping = "0-19",
	.nodes = {{0, "0-19"}},
    },
    {
	.archive = "256ppc-8n8s4t", /* no lists at all; node numbers with gaps */
	.folder = "256ppc-8n8s4t",
	.possible = "0-255",
	.present = "0-255",
	.online = "0-255",
	.allowed = "0-255",
	.housekeeping = "0-255",
	.nodes = {{0, "0-31"},
                  {1, "32-63"},
                  {4, "64-95"},
                  {5, "96-127"},
                  {8, "128-159"},
                  {9, "160-191"},
                  {12, "192-223"},
                  {13, "224-255"}},
    },
    {
	.archive =
	    "32amd64-4s2n4c-cgroup2", /* possible beyond present; v2 found by /proc/self/cpuset, effective list only */
	.folder = "32amd64-4s2n4c-cgroup",
	.possible = "0-47",
	.present = "0-31",
	.online = "0-31",
	.allowed = "0-5",
	.housekeeping = "0-5",
	.confined = true,
	.nodes =
	    {{0, "0-3"}, {1, "4-7"}, {2, "8-11"}, {3, "12-15"}, {4, "16-19"}, {5, "20-23"}, {6, "24-27"}, {7, "28-31"}},
    },
    {
	.archive = "48amd64-4pa2n6c-sparse", /* node numbers up to 73 */
	.folder = "48amd64-4d2n6c-sparse",
	.possible = "0-47",
	.present = "0-47",
	.online = "0-47",
	.allowed = "0-47",
	.housekeeping = "0-47",
	.nodes = {{0, "0-5"},
                  {1, "6-11"},
                  {2, "12-17"},
                  {33, "18-23"},
                  {34, "24-29"},
                  {45, "30-35"},
                  {72, "36-41"},
                  {73, "42-47"}},
    },
    {
	.archive = "96em64t-4no4pa3ca2co", /* no lists at all */
	.folder = "96em64t-4n4d3ca2co",
	.possible = "0-95",
	.present = "0-95",
	.online = "0-95",
	.allowed = "0-95",
	.housekeeping = "0-95",
	.nodes = {{0, "0-23"}, {1, "24-47"}, {2, "48-71"}, {3, "72-95"}},
    },
    {
	.archive =
	    "offline-cpu0-node0", /* CPU 0 and node 0 offline; 192 possible; the root cpuset of v1; an empty nohz_full */
	.folder = "offline-cpu0-node0",
	.possible = "0-191",
	.present = "0-23",
	.online = "4-20",
	.allowed = "0-191",
	.housekeeping = "0-191",
	.nodes = {{1, "5,7,9,11,13,15,17,19"}},
    },
};

static bool anything_run;

/* ---- hwloc ----------------------------------------------------------------------------------------------------- */

static unsigned long bits[65536 / KT_LONG_BITS];

static const cpu_set_t *from_bitmap(hwloc_const_bitmap_t bitmap)
{
	memset(bits, 0, sizeof(bits));
	for (int cpu = hwloc_bitmap_first(bitmap); cpu >= 0; cpu = hwloc_bitmap_next(bitmap, cpu))
		kt_cpus_add(sizeof(bits), (cpu_set_t *)(void *)bits, (unsigned int)cpu);
	return (const cpu_set_t *)(const void *)bits;
}

static hwloc_topology_t load_by_hwloc(const char *root)
{
	hwloc_topology_t topology;

	setenv("HWLOC_FSROOT", root, 1);
	assert_int_equal(hwloc_topology_init(&topology), 0);
	hwloc_topology_set_flags(topology, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED);
	assert_int_equal(hwloc_topology_load(topology), 0);
	unsetenv("HWLOC_FSROOT");
	return topology;
}

/* hwloc's complete set is of the CPUs that have a directory; its set, of the online ones; the allowed ones are within. */
static void check_sets(hwloc_topology_t topology, const struct kt_view *view, bool misses_cpuset)
{
	const size_t setsize = view->setsize;

	assert_true(
	    kt_cpus_subset(setsize, from_bitmap(hwloc_topology_get_complete_cpuset(topology)), view->set[KT_PRESENT]));
	assert_int_equal(kt_cpus_last(sizeof(bits), (const cpu_set_t *)(const void *)bits),
	                 kt_cpus_last(setsize, view->set[KT_PRESENT]));
	assert_memory_equal(from_bitmap(hwloc_topology_get_topology_cpuset(topology)), view->set[KT_ONLINE], setsize);
	if (!misses_cpuset)
		assert_memory_equal(from_bitmap(hwloc_topology_get_allowed_cpuset(topology)), view->set[KT_USABLE],
		                    setsize);
}

static void check_nodes(hwloc_topology_t topology, const struct kt_view *view)
{
	cpu_set_t *cpus = calloc(1, view->setsize);
	hwloc_obj_t node = NULL;

	while ((node = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_NUMANODE, node))) {
		assert_int_equal(kt_topology_node_exists((int)node->os_index), 0);
		assert_int_equal(kt_topology_node_cpus(view, (int)node->os_index, cpus), 0);
		assert_memory_equal(from_bitmap(node->cpuset), cpus, view->setsize);
	}
	for (int cpu = 0; cpu <= kt_cpus_last(view->setsize, view->set[KT_POSSIBLE]); cpu++) {
		const int number = kt_topology_cpu_node(view, (unsigned int)cpu);
		bool inside = false;

		node = NULL;
		while ((node = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_NUMANODE, node))) {
			if (!hwloc_bitmap_isset(node->cpuset, (unsigned int)cpu))
				continue;
			inside = true;
			assert_int_equal(number, (int)node->os_index);
			break;
		}
		if (!inside)
			assert_int_equal(number, -1);
	}
	assert_int_equal(kt_topology_node_cpus(view, 9999, cpus), -EINVAL);
	free(cpus);
}

static void check_against_hwloc(const char *root, bool misses_cpuset)
{
	const hwloc_topology_t topology = load_by_hwloc(root);
	struct kt_view *view = kt_view_get();

	check_sets(topology, view, misses_cpuset);
	check_nodes(topology, view);
	kt_view_put(view);
	hwloc_topology_destroy(topology);
}

/* ---- ours ------------------------------------------------------------------------------------------------------ */

static void check_node_list(const struct machine_node *nodes)
{
	struct kt_view *view = kt_view_get();
	cpu_set_t *cpus = calloc(1, view->setsize);

	for (; nodes->cpus; nodes++) {
		assert_int_equal(kt_topology_node_cpus(view, nodes->number, cpus), 0);
		assert_cpus(view->setsize, cpus, nodes->cpus);
	}
	free(cpus);
	kt_view_put(view);
}

static void check_recorded(void **state)
{
	const struct recorded *machine = *state;
	const char *given = getenv("KTHREAD_TEST_MACHINES");
	const char *folder = given ? given : KTHREAD_SHARED_MACHINES;
	char archive[PATH_MAX], root[PATH_MAX];
	const char *dir;
	pid_t child;
	int status;

	snprintf(archive, sizeof(archive), "%s/%s.tar.bz2", folder, machine->archive);
	if (access(archive, R_OK) != 0) {
		print_message("%s: not here\n", archive);
		skip();
	}
	anything_run = true;
	dir = tree_make();
	child = fork();
	if (child == 0) {
		execlp("tar", "tar", "xjf", archive, "-C", dir, (char *)NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	if (status != 0)
		tree_remove();
	assert_int_equal(status, 0);
	snprintf(root, sizeof(root), "%s/%s", dir, machine->folder);
	assert_int_equal(room_start(root, NULL), 0);
	assert_set(KT_POSSIBLE, machine->possible);
	assert_set(KT_PRESENT, machine->present);
	assert_set(KT_ONLINE, machine->online);
	assert_set(KT_ALLOWED, machine->allowed);
	assert_set(KT_HOUSEKEEPING, machine->housekeeping);
	assert_set(KT_ISOLATED, "");
	assert_int_equal(view_confined(), machine->confined);
	assert_int_equal(log_count(7), 0);
	check_node_list(machine->nodes);
	check_against_hwloc(root, false);
	assert_false(room_renew());
	room_stop();
	tree_remove();
}

/* The invented ones know their own nodes; hwloc has to agree that they are a machine at all. */
static void check_invented(void **state)
{
	const struct machine *machine = *state;
	const char *root = tree_make();

	anything_run = true;
	tree_machine(machine->name);
	assert_int_equal(room_start(root, NULL), 0);
	assert_set(KT_POSSIBLE, machine->possible);
	assert_set(KT_PRESENT, machine->present);
	assert_set(KT_ONLINE, machine->online);
	assert_set(KT_ALLOWED, machine->allowed);
	assert_set(KT_HOUSEKEEPING, machine->housekeeping);
	assert_int_equal(view_confined(), machine->confined);
	assert_int_equal(log_count(7), 0);
	check_against_hwloc(root, machine->hwloc_misses_cpuset);
	assert_false(room_renew());
	room_stop();
	tree_remove();
}

/* A CPU that goes offline stays on its node; one that was never seen has none until it comes; a new one is found. */
static void nodes__are_remembered_and_found(void **state)
{
	const char *root = tree_make();
	unsigned long words[1] = {0};
	struct kt_view *view;

	tree_machine("sparse");
	assert_int_equal(room_start(root, NULL), 0);
	view = kt_view_get();
	assert_false(kt_topology_renew(view)); /* nobody has asked for a node yet */
	assert_int_equal(kt_topology_cpu_node(view, 6), 3);
	assert_int_equal(kt_topology_cpu_node(view, 2), -1);
	kt_view_put(view);

	tree_put("sys/devices/system/cpu/online", "0-2,4,7,10,17\n");
	tree_put("sys/devices/system/cpu/cpu2/topology/core_id", "2\n");
	tree_put("sys/devices/system/cpu/cpu2/topology/thread_siblings", "00000004\n");
	tree_put("sys/devices/system/node/node0/cpumap", "00000017\n");
	tree_put("sys/devices/system/node/node3/cpumap", "00020480\n");
	tree_delete("sys/devices/system/cpu/cpu6/topology");
	assert_true(room_renew());
	view = kt_view_get();
	assert_true(kt_topology_renew(view));
	assert_false(kt_topology_renew(view));
	assert_int_equal(kt_topology_cpu_node(view, 2), 0);
	assert_int_equal(kt_topology_node_cpus(view, 3, (cpu_set_t *)(void *)words), 0);
	assert_cpus(sizeof(words), (cpu_set_t *)(void *)words, "6-7,10,17");
	kt_view_put(view);

	/* taken out of the machine: forgotten */
	tree_put("sys/devices/system/cpu/present", "0-5,7,10-11,16-17\n");
	assert_true(room_renew());
	view = kt_view_get();
	assert_true(kt_topology_renew(view));
	assert_int_equal(kt_topology_cpu_node(view, 6), -1);
	kt_view_put(view);
	room_stop();
	tree_remove();
}

int main(void)
{
	enum { RECORDED = sizeof(recorded) / sizeof(recorded[0]), MOST = RECORDED + 16 };
	struct CMUnitTest tests[MOST] = {cmocka_unit_test(nodes__are_remembered_and_found)};
	size_t count = 1;
	int failed;

	for (size_t i = 0; machine_at(i); i++)
		tests[count++] = (struct CMUnitTest){machine_at(i)->name, check_invented, NULL, NULL,
		                                     (void *)(uintptr_t)machine_at(i)};
	for (size_t i = 0; i < RECORDED; i++)
		tests[count++] = (struct CMUnitTest){recorded[i].archive, check_recorded, NULL, NULL,
		                                     (void *)(uintptr_t)&recorded[i]};
	failed = _cmocka_run_group_tests("machines", tests, count, NULL, NULL);
	return failed ? 1 : anything_run ? 0 : 77;
}

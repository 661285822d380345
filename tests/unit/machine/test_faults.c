/* SPDX-License-Identifier: MIT */
/*
 * Out of memory, and out of file descriptors, at every step; and files that are not ours to read: the right answer,
 * nothing lost of what was there before, and nothing leaked (which AddressSanitizer and valgrind see).
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <hwloc.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

#include "../wrap_alloc.h"
#include "base/library.h"
#include "machine/events.h"
#include "machine/file.h"
#include "machine/topology.h"
#include "support.h"

#define CPU "sys/devices/system/cpu"

/* ---- a sandbox --------------------------------------------------------------------------------------------------- */

int __real_open(const char *path, int flags, ...);
DIR *__real_opendir(const char *path);

/* root is told everything: so it is us who refuse */
static struct {
	const char *path; /* what has this in it; NULL = nothing */
	bool listing;     /* and to list a directory */
	int error;
} refuse;

static bool refused(const char *path)
{
	errno = refuse.error;
	return refuse.path && strstr(path, refuse.path);
}

int __wrap_open(const char *path, int flags, ...)
{
	va_list args;
	int mode;

	va_start(args, flags);
	mode = flags & O_CREAT ? va_arg(args, int) : 0;
	va_end(args);
	return refused(path) ? -1 : __real_open(path, flags, mode);
}

DIR *__wrap_opendir(const char *path)
{
	errno = refuse.error;
	return refuse.listing ? NULL : __real_opendir(path);
}

/* ---- cases ------------------------------------------------------------------------------------------------------- */

static const char *root;

static int setup(void **state)
{
	root = tree_make();
	tree_machine("cgroup2");
	return 0;
}

static int teardown(void **state)
{
	refuse.path = NULL;
	refuse.listing = false;
	tree_remove();
	return 0;
}

static void start__no_memory_at_each_allocation(void **state)
{
	unsigned long n;

	for (n = 1;; n++) {
		int error;

		assert_int_equal(room_start(root, "2-5"), 0);
		kt_machine_stop(); /* the library itself stays up: its allocations are not ours to fail here */
		wrap_alloc_fail_at(n);
		error = kt_machine_start();
		if (wrap_alloc_count() < n) {
			assert_int_equal(error, 0);
			wrap_alloc_fail_at(0);
			break;
		}
		wrap_alloc_fail_at(0);
		assert_int_equal(error, -ENOMEM);
		assert_int_equal(kt_machine_start(), 0);
		assert_set(KT_HOUSEKEEPING, "2-5");
		room_stop();
	}
	room_stop();
	assert_true(n > 4);
}

static void renew__no_memory_keeps_the_view(void **state)
{
	bool changed = true;

	assert_int_equal(room_start(root, NULL), 0);
	tree_put("sys/devices/system/cpu/online", "0-7\n");
	tree_put("sys/fs/cgroup/kubepods.slice/pod7/cpuset.cpus.effective", "2-5\n");
	wrap_alloc_fail_at(1);
	assert_int_equal(kt_view_renew(&changed), -ENOMEM);
	assert_true(changed);
	assert_set(KT_USABLE, "2,4-5");
	assert_int_equal(view_generation(), 1);
	assert_true(room_renew());
	assert_set(KT_USABLE, "2-5");
	/* and a look that finds nothing new needs none */
	wrap_alloc_fail_at(1);
	assert_false(room_renew());
	assert_int_equal(wrap_alloc_count(), 0);
	wrap_alloc_fail_at(0);
	room_stop();
}

static void renew_housekeeping__no_memory_keeps_the_mask(void **state)
{
	unsigned long bits[1] = {1 << 4};
	bool changed = false;
	unsigned long n;

	assert_int_equal(room_start(root, NULL), 0);
	for (n = 1;; n++) {
		int error;

		wrap_alloc_fail_at(n);
		error = kt_view_renew_housekeeping(sizeof(bits), (cpu_set_t *)(void *)bits, &changed);
		wrap_alloc_fail_at(0);
		if (!error)
			break;
		assert_int_equal(error, -ENOMEM);
		assert_false(room_renew());
		assert_set(KT_HOUSEKEEPING, "2-4");
	}
	assert_int_equal(n, 3);
	assert_true(changed);
	assert_set(KT_HOUSEKEEPING, "4");
	room_stop();
}

static void topology__no_memory_at_each_allocation(void **state)
{
	unsigned long n;

	setenv("HWLOC_FSROOT", "/nowhere", 1); /* so that there is one to be put back */
	for (n = 1;; n++) {
		int error;

		assert_int_equal(room_start(root, NULL), 0);
		wrap_alloc_fail_at(n);
		error = kt_topology_node_exists(1);
		wrap_alloc_fail_at(0);
		assert_string_equal(getenv("HWLOC_FSROOT"), "/nowhere");
		if (!error)
			break;
		assert_int_equal(error, -ENOMEM);
		assert_int_equal(kt_topology_node_exists(1), 0);
		assert_int_equal(kt_topology_node_exists(2), -EINVAL);
		room_stop();
	}
	room_stop();
	unsetenv("HWLOC_FSROOT");
	assert_int_equal(n, 3);
}

/* Leave so many descriptors; -1: all of them again. */
static void leave_descriptors(int count)
{
	static rlim_t before;
	struct rlimit limit;
	const int lowest = count >= 0 ? dup(0) : -1;

	getrlimit(RLIMIT_NOFILE, &limit);
	if (count >= 0)
		before = limit.rlim_cur;
	limit.rlim_cur = count >= 0 ? (rlim_t)(lowest + count) : before;
	if (lowest >= 0)
		close(lowest);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* So many are left while hwloc reads; -1: all. */
static int hwloc_has = -1;

int __real_hwloc_topology_load(hwloc_topology_t topology);

int __wrap_hwloc_topology_load(hwloc_topology_t topology)
{
	int result;

	if (hwloc_has < 0)
		return __real_hwloc_topology_load(topology);
	leave_descriptors(hwloc_has);
	result = __real_hwloc_topology_load(topology);
	leave_descriptors(-1);
	return result;
}

static int node_of(unsigned int cpu)
{
	struct kt_view *view = kt_view_get();
	const int node = kt_topology_cpu_node(view, cpu);

	kt_view_put(view);
	return node;
}

/* hwloc then makes a machine up: it is not taken for the real one, now or later. */
static void topology__no_descriptors_is_not_known(void **state)
{
	int unknown = 0;

	for (int count = 0; count < 8; count++) {
		for (int only_hwloc = 0; only_hwloc < 2; only_hwloc++) {
			int first, last;

			assert_int_equal(room_start(root, NULL), 0);
			if (only_hwloc)
				hwloc_has = count;
			else
				leave_descriptors(count);
			first = node_of(0);
			last = node_of(7);
			if (only_hwloc)
				hwloc_has = -1;
			else
				leave_descriptors(-1);
			assert_true((first == 0 && last == 1) || (first == -1 && last == -1));
			assert_int_equal(log_has("topology cannot be read"), first == -1);
			unknown += first == -1;
			assert_int_equal(node_of(0), 0);
			assert_int_equal(node_of(7), 1);
			assert_int_equal(kt_topology_node_exists(2), -EINVAL);
			room_stop();
		}
	}
	assert_in_range(unknown, 2, 14);
}

static bool renew_topology(void)
{
	struct kt_view *view = kt_view_get();
	const bool changed = kt_topology_renew(view);

	kt_view_put(view);
	return changed;
}

/* CPU 3 comes while nothing can be read: what is known stays, and the next look finds it. */
static void topology__no_descriptors_keeps_what_is_known(void **state)
{
	for (int count = 0; count < 2; count++) {
		assert_int_equal(room_start(root, NULL), 0);
		assert_int_equal(node_of(3), -1);
		tree_machine("cgroup2");
		tree_put("sys/devices/system/cpu/online", "0-7\n");
		tree_put("sys/devices/system/cpu/cpu3/online", "1\n");
		tree_put("sys/devices/system/cpu/cpu3/topology/core_id", "3\n");
		tree_put("sys/devices/system/cpu/cpu3/topology/thread_siblings", "00000008\n");
		tree_put("sys/devices/system/node/node0/cpumap", "0000000f\n");
		assert_true(room_renew());
		hwloc_has = count;
		assert_false(renew_topology());
		hwloc_has = -1;
		for (unsigned int cpu = 0; cpu < 8; cpu++)
			assert_int_equal(node_of(cpu), cpu == 3 ? -1 : cpu >= 4);
		assert_true(renew_topology());
		for (unsigned int cpu = 0; cpu < 8; cpu++)
			assert_int_equal(node_of(cpu), cpu >= 4);
		assert_false(renew_topology());
		room_stop();
		tree_delete("sys/devices/system/cpu/cpu3/topology");
		tree_machine("cgroup2");
	}
}

/* CPU 6 has gone, and the view does not say so yet, when CPU 3 makes us read again. */
static void topology__a_cpu_that_just_went_keeps_its_node(void **state)
{
	assert_int_equal(room_start(root, NULL), 0);
	assert_int_equal(node_of(6), 1);
	tree_put("sys/devices/system/cpu/online", "0-7\n");
	tree_put("sys/devices/system/cpu/cpu3/online", "1\n");
	tree_put("sys/devices/system/cpu/cpu3/topology/core_id", "3\n");
	tree_put("sys/devices/system/cpu/cpu3/topology/thread_siblings", "00000008\n");
	tree_put("sys/devices/system/node/node0/cpumap", "0000000f\n");
	assert_true(room_renew());
	tree_put("sys/devices/system/cpu/cpu6/online", "0\n");
	tree_delete("sys/devices/system/cpu/cpu6/topology");
	tree_put("sys/devices/system/node/node1/cpumap", "000000b0\n");
	assert_true(renew_topology());
	assert_int_equal(node_of(3), 0);
	assert_int_equal(node_of(6), 1);
	room_stop();
}

/* No descriptor left: nothing can be read, so everything stays. */
static void renew__no_descriptors_keeps_the_view(void **state)
{
	assert_int_equal(room_start(root, NULL), 0);
	leave_descriptors(0);
	assert_int_equal(kt_cpuset_watch_open(), -EMFILE);
	assert_int_equal(kt_uevents_open(), -EMFILE);
	assert_false(room_renew());
	leave_descriptors(-1);
	assert_set(KT_USABLE, "2,4-5");
	assert_int_equal(view_generation(), 1);
	assert_true(log_count(LOG_WARNING) > 0);
	assert_false(room_renew());
	room_stop();
}

/* The directories tell what the file does not; where nothing does, all that are possible are taken for present. In any
 * case the online CPUs are read. */
static void present__not_ours_to_read(void **state)
{
	static const int errors[] = {EACCES, EPERM, EMFILE, EIO};

	for (size_t i = 0; i < 2 * sizeof(errors) / sizeof(errors[0]); i++) {
		const char *present;

		refuse.error = errors[i / 2];
		refuse.listing = i % 2;
		refuse.path = CPU "/present";
		present = i / 2 < 2 && !refuse.listing ? "0-7" : "0-9";
		tree_put(CPU "/possible", "0-9\n");
		tree_put(CPU "/online", "0-7\n");
		assert_int_equal(room_start(root, NULL), 0);
		assert_set(KT_PRESENT, present);
		assert_set(KT_ONLINE, "0-7");
		tree_put(CPU "/online", "0-2,7\n");
		assert_true(room_renew());
		assert_set(KT_ONLINE, "0-2,7");
		assert_set(KT_PRESENT, present);
		tree_put(CPU "/online", "0-7\n");
		assert_true(room_renew());
		assert_set(KT_ONLINE, "0-7");
		room_stop();
	}
}

/* Nor does the rest wait for it: /proc/cpuinfo, which a container may cut, is for want of the online list only. */
static void start__present_not_ours_to_read_and_the_rest_is(void **state)
{
	refuse.error = EACCES;
	refuse.listing = true;
	refuse.path = CPU "/present";
	tree_put("proc/cpuinfo", "processor\t: 0\n");
	assert_int_equal(room_start(root, NULL), 0);
	assert_set(KT_ONLINE, "0-2,4-7");
	assert_set(KT_ISOLATED, "5,7");
	tree_put(CPU "/isolated", "6\n");
	assert_true(room_renew());
	assert_set(KT_ISOLATED, "6-7");
	assert_int_equal(log_count(LOG_WARNING), 1);
	room_stop();
}

/* No cpuset file is visible, only that there is one: not forgotten for want of a descriptor. */
static void renew__no_descriptors_stays_confined(void **state)
{
	tree_delete("proc/self/mountinfo");
	tree_delete("proc/mounts");
	assert_int_equal(room_start(root, NULL), 0);
	assert_true(view_confined());
	leave_descriptors(0);
	assert_false(room_renew());
	leave_descriptors(-1);
	assert_true(view_confined());
	tree_put("proc/self/cpuset", "/\n");
	assert_true(room_renew());
	assert_false(view_confined());
	room_stop();
}

/* Without lists, a descriptor is needed for the directory and one for each CPU's file. */
static void renew__one_descriptor_keeps_the_view(void **state)
{
	tree_delete("sys/devices/system/cpu/online");
	tree_put("sys/devices/system/cpu/cpu3/topology/core_id", "3\n"); /* of a CPU that is offline */
	assert_int_equal(room_start(root, NULL), 0);
	assert_set(KT_ONLINE, "0-2,4-7");
	for (int count = 0; count < 4; count++) {
		leave_descriptors(count);
		assert_false(room_renew());
		leave_descriptors(-1);
	}
	assert_set(KT_ONLINE, "0-2,4-7");
	room_stop();
}

/* One of the two that cannot be read does not hide the other. */
static void start__isolated_not_ours_to_read(void **state)
{
	refuse.error = EACCES;
	refuse.path = CPU "/isolated";
	tree_put(CPU "/nohz_full", "4\n");
	assert_int_equal(room_start(root, NULL), 0);
	assert_set(KT_HOUSEKEEPING, "2-3,5");
	room_stop();
}

/* Whether the start mask is narrower than our cpuset cannot be said before that was read. */
static void start__no_descriptors_for_the_cpuset_judges_no_start_mask(void **state)
{
	static const char *const files[] = {"/proc/self/c", "/mountinfo", "/cpuset.cpus"};

	tree_put("proc/self/status", "Name:\tx\nCpus_allowed_list:\t2,4-5\n"); /* just as wide */
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		refuse.path = files[i];
		refuse.error = EMFILE;
		assert_int_equal(room_start(root, NULL), 0);
		assert_false(room_renew());
		assert_set(KT_USABLE, "2,4-5"); /* on the safe side */
		assert_int_equal(log_count(LOG_WARNING), 1);
		refuse.path = NULL;
		assert_true(room_renew());
		assert_set(KT_ALLOWED, "2-5"); /* CPU 3 is ours when it comes */
		room_stop();
	}
}

/* What a setuid program may look at is its effective user's: as it reads. */
static void kt_file_exists__asks_for_the_effective_user(void **state)
{
	int status;
	pid_t child;

	if (geteuid() != 0)
		skip();
	child = fork();
	if (child == 0) {
		const bool good = room_start(root, NULL) == 0 && setresuid(65534, 0, 0) == 0 &&
		                  kt_file_exists("/sys/devices/system/cpu/online");

		_exit(good ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(start__no_memory_at_each_allocation),
	    CASE(renew__no_memory_keeps_the_view),
	    CASE(renew_housekeeping__no_memory_keeps_the_mask),
	    CASE(topology__no_memory_at_each_allocation),
	    CASE(renew__no_descriptors_keeps_the_view),
	    CASE(present__not_ours_to_read),
	    CASE(start__present_not_ours_to_read_and_the_rest_is),
	    CASE(topology__no_descriptors_is_not_known),
	    CASE(topology__no_descriptors_keeps_what_is_known),
	    CASE(topology__a_cpu_that_just_went_keeps_its_node),
	    CASE(renew__no_descriptors_stays_confined),
	    CASE(renew__one_descriptor_keeps_the_view),
	    CASE(start__isolated_not_ours_to_read),
	    CASE(start__no_descriptors_for_the_cpuset_judges_no_start_mask),
	    CASE(kt_file_exists__asks_for_the_effective_user),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
/*
 * The pure parsers: cgroup paths, mount tables, uevents. Lines of real machines, and lines nobody should have written.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "machine/cgroup.h"
#include "machine/uevent.h"
#include "support.h"

/* ---- /proc/self/cgroup, /proc/self/cpuset ---------------------------------------------------------------------- */

static void cgroup_path__finds_the_hierarchy(void **state)
{
	static const struct {
		const char *text;
		enum kt_cgroup kind;
		const char *path;
	} cases[] = {
	    {"0::/\n", KT_CGROUP_V2, "/"},
	    {"0::/user.slice/user-1001.slice/session-2.scope\n", KT_CGROUP_V2,
	     "/user.slice/user-1001.slice/session-2.scope"},
	    {"0::/a", KT_CGROUP_V2, "/a"},
	    {"0::/../../b\n", KT_CGROUP_V2, "/../../b"},
	    {"0::/with:colon:/x\n", KT_CGROUP_V2, "/with:colon:/x"},
	    {"9:cpuset:/\n", KT_CGROUP_V1, "/"},
	    {"11:freezer:/\n9:cpuset:/c\n1:name=systemd:/s\n", KT_CGROUP_V1, "/c"},
	    {"3:cpu,cpuset,cpuacct:/c\n", KT_CGROUP_V1, "/c"},
	    {"3:cpuset,cpu:/c\n", KT_CGROUP_V1, "/c"},
	    {"0::/two\n4:cpuset:/one\n", KT_CGROUP_V1, "/one"},
	    {"4:cpuset:/one\n0::/two\n", KT_CGROUP_V1, "/one"},
	    {"4:cpusets:/one\n0::/two\n", KT_CGROUP_V2, "/two"},
	    {"4:name=cpuset:/one\n", KT_CGROUP_NONE, NULL},
	    {"4:xcpuset:/one\n", KT_CGROUP_NONE, NULL},
	    {"4::/one\n", KT_CGROUP_NONE, NULL},
	    {"00::/one\n", KT_CGROUP_NONE, NULL},
	    {"0:cpuset:/c\n", KT_CGROUP_V1, "/c"},
	    {"", KT_CGROUP_NONE, NULL},
	    {"\n\n", KT_CGROUP_NONE, NULL},
	    {"0\n", KT_CGROUP_NONE, NULL},
	    {"0:\n", KT_CGROUP_NONE, NULL},
	    {"0::\n", KT_CGROUP_NONE, NULL},
	    {"0::relative\n", KT_CGROUP_NONE, NULL},
	    {"garbage\n0::/a\n", KT_CGROUP_V2, "/a"},
	};
	char path[PATH_MAX];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		strcpy(path, "untouched");
		assert_int_equal(kt_cgroup_path(cases[i].text, "cpuset", path), cases[i].kind);
		assert_string_equal(path, cases[i].path ? cases[i].path : "untouched");
	}
}

static void cgroup_path__too_long(void **state)
{
	char *text = malloc(2 * PATH_MAX);
	char path[PATH_MAX] = "untouched";

	memset(text, 'a', 2 * PATH_MAX);
	memcpy(text, "0::/", 4);
	text[2 * PATH_MAX - 1] = '\0';
	assert_int_equal(kt_cgroup_path(text, "cpuset", path), KT_CGROUP_NONE);
	assert_string_equal(path, "untouched");
	text[4 + PATH_MAX - 2] = '\0'; /* just fits */
	assert_int_equal(kt_cgroup_path(text, "cpuset", path), KT_CGROUP_V2);
	assert_int_equal(strlen(path), PATH_MAX - 1);
	free(text);
}

static void cpuset_path__one_line(void **state)
{
	char path[PATH_MAX] = "untouched";

	assert_false(kt_cgroup_cpuset_path("", path));
	assert_false(kt_cgroup_cpuset_path("\n", path));
	assert_false(kt_cgroup_cpuset_path("a/b\n", path));
	assert_string_equal(path, "untouched");
	assert_true(kt_cgroup_cpuset_path("/uid_2008/job_15389/step_0\n", path));
	assert_string_equal(path, "/uid_2008/job_15389/step_0");
}

static void cgroup_path__of_the_cpu_controller(void **state)
{
	char path[PATH_MAX];

	assert_int_equal(kt_cgroup_path("4:cpuset:/a\n3:cpu,cpuacct:/b\n0::/c\n", "cpu", path), KT_CGROUP_V1);
	assert_string_equal(path, "/b");
	assert_int_equal(kt_cgroup_path("4:cpuset:/a\n3:cpuacct:/b\n0::/c\n", "cpu", path), KT_CGROUP_V2);
	assert_string_equal(path, "/c");
}

/* ---- cpu.max, cpu.cfs_quota_us --------------------------------------------------------------------------------- */

static void cpu_max__cpus_worth(void **state)
{
	static const struct {
		const char *text;
		int error;
		unsigned int cpus;
	} cases[] = {
	    {"max 100000\n", 0, 0},
	    {"max 100000", 0, 0},
	    {"100000 100000\n", 0, 1},
	    {"150000 100000\n", 0, 2},
	    {"1000 100000\n", 0, 1},
	    {"400000 100000", 0, 4},
	    {"18446744073709551615 1\n", 0, UINT_MAX},
	    {"18446744073709551616 1\n", -EINVAL, 77},
	    {"0 100000\n", -EINVAL, 77},
	    {"100000 0\n", -EINVAL, 77},
	    {"", -EINVAL, 77},
	    {"max", -EINVAL, 77},
	    {"max \n", -EINVAL, 77},
	    {"max100000\n", -EINVAL, 77},
	    {"100000\n", -EINVAL, 77},
	    {"-1 100000\n", -EINVAL, 77},
	    {"100000 100000 1\n", -EINVAL, 77},
	    {"100000 100000\n\n", -EINVAL, 77},
	    {"1e5 100000\n", -EINVAL, 77},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		unsigned int cpus = 77;

		if (kt_cgroup_max(cases[i].text, &cpus) != cases[i].error || cpus != cases[i].cpus)
			fail_msg("\"%s\": %u", cases[i].text, cpus);
	}
}

static void cfs_quota__cpus_worth(void **state)
{
	unsigned int cpus = 77;

	assert_int_equal(kt_cgroup_cfs("-1\n", "100000\n", &cpus), 0);
	assert_int_equal(cpus, 0);
	assert_int_equal(kt_cgroup_cfs("250000\n", "100000\n", &cpus), 0);
	assert_int_equal(cpus, 3);
	cpus = 77;
	assert_int_equal(kt_cgroup_cfs("-2\n", "100000\n", &cpus), -EINVAL);
	assert_int_equal(kt_cgroup_cfs("250000\n", "", &cpus), -EINVAL);
	assert_int_equal(kt_cgroup_cfs("250000\n", "0\n", &cpus), -EINVAL);
	assert_int_equal(kt_cgroup_cfs("x", "100000\n", &cpus), -EINVAL);
	assert_int_equal(cpus, 77);
}

/* ---- mount tables ---------------------------------------------------------------------------------------------- */

static struct kt_cgroup_mount mount;

static void mountinfo__cpuset_mounts(void **state)
{
	static const struct {
		const char *line;
		enum kt_cgroup kind;
		const char *root, *point;
	} cases[] = {
	    {"35 23 0:29 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate", KT_CGROUP_V2, "/",
	     "/sys/fs/cgroup"},
	    {"34 31 0:31 /docker/4a1b /sys/fs/cgroup/cpuset ro shared:9 master:3 - cgroup cgroup rw,cpuset",
	     KT_CGROUP_V1, "/docker/4a1b", "/sys/fs/cgroup/cpuset"},
	    {"34 31 0:31 / /cg rw - cgroup none rw,cpu,cpuset,memory", KT_CGROUP_V1, "/", "/cg"},
	    {"34 31 0:31 / /dev/cpuset rw - cgroup none rw,cpuset,noprefix,release_agent=/sbin/x", KT_CGROUP_OLD, "/",
	     "/dev/cpuset"},
	    {"34 31 0:31 / /dev/cpuset rw - cpuset none rw", KT_CGROUP_OLD, "/", "/dev/cpuset"},
	    {"34 31 0:31 /a\\040b /c\\011d\\134e\\043 rw - cgroup2 x rw", KT_CGROUP_V2, "/a b", "/c\td\\e#"},
	    {"34 31 0:31 / /a\\04 rw - cgroup2 x rw", KT_CGROUP_V2, "/", "/a\\04"},
	    {"34 31 0:31 / /a\\089 rw - cgroup2 x rw", KT_CGROUP_V2, "/", "/a\\089"},
	    {"34 31 0:31 / / rw - cgroup2 x rw", KT_CGROUP_V2, "/", ""},
	    {"34 31 0:31 /../.. /x rw - cgroup2 x rw", KT_CGROUP_V2, "/../..", "/x"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_true(kt_cgroup_mountinfo(cases[i].line, "cpuset", &mount));
		assert_int_equal(mount.kind, cases[i].kind);
		assert_string_equal(mount.root, cases[i].root);
		assert_string_equal(mount.point, cases[i].point);
	}
}

static void mountinfo__others_and_malformed(void **state)
{
	static const char *const lines[] = {
	    "",
	    " ",
	    "23",
	    "23 1 8:1 / / rw - ext4 /dev/root rw",
	    "33 31 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct",
	    "33 31 0:30 / /sys/fs/cgroup/x rw - cgroup cgroup rw,name=cpuset",
	    "33 31 0:30 / /x rw - cgroup3 cgroup rw,cpuset",
	    "33 31 0:30 / /x rw cgroup2 cgroup2 rw",
	    "33 31 0:30 / /x rw - ",
	    "33 31 0:30 / /x rw - cgroup2",
	    "33 31 0:30 / /x rw -  cgroup2 x rw",
	    "33 31 0:30 relative /x rw - cgroup2 x rw",
	    "33 31 0:30 / relative rw - cgroup2 x rw",
	    "33 31 0:30 / /x\\000y rw - cgroup2 x rw",
	    "33 31 0:30  /x rw - cgroup2 x rw",
	};

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		assert_false(kt_cgroup_mountinfo(lines[i], "cpuset", &mount));
}

static void mountinfo__path_too_long(void **state)
{
	char *line = malloc(2 * PATH_MAX);
	int length = sprintf(line, "33 31 0:30 / /");

	memset(line + length, 'x', PATH_MAX);
	strcpy(line + length + PATH_MAX, " rw - cgroup2 x rw");
	assert_false(kt_cgroup_mountinfo(line, "cpuset", &mount));
	free(line);
}

static void mounts__cpuset_mounts(void **state)
{
	assert_true(kt_cgroup_mounts("none /dev/cpuset cpuset rw 0 0", "cpuset", &mount));
	assert_int_equal(mount.kind, KT_CGROUP_OLD);
	assert_string_equal(mount.root, "/");
	assert_string_equal(mount.point, "/dev/cpuset");
	assert_true(kt_cgroup_mounts("none /cgroup/unified cgroup2 rw 0 0", "cpuset", &mount));
	assert_int_equal(mount.kind, KT_CGROUP_V2);
	assert_true(kt_cgroup_mounts("cgroup /sys/fs/cgroup/cpuset cgroup rw,nosuid,cpuset 0 0", "cpuset", &mount));
	assert_int_equal(mount.kind, KT_CGROUP_V1);
	assert_false(kt_cgroup_mounts("cgroup /sys/fs/cgroup/cpu,cpuset cgroup rw,cpu 0 0", "cpuset", &mount));
	assert_false(kt_cgroup_mounts("cpuset", "cpuset", &mount));
	assert_false(kt_cgroup_mounts("", "cpuset", &mount));
}

/* ---- paths ----------------------------------------------------------------------------------------------------- */

static void below__cuts_the_root(void **state)
{
	assert_string_equal(kt_cgroup_below("/", "/"), "");
	assert_string_equal(kt_cgroup_below("/", "/a/b"), "/a/b");
	assert_string_equal(kt_cgroup_below("/a", "/a"), "");
	assert_string_equal(kt_cgroup_below("/a", "/a/b"), "/b");
	assert_string_equal(kt_cgroup_below("/a", "/a/"), "");
	assert_string_equal(kt_cgroup_below("/..", "/../b"), "/b");
	assert_string_equal(kt_cgroup_below("/", "/a..b/..c/d.."), "/a..b/..c/d..");
}

static void below__elsewhere(void **state)
{
	assert_null(kt_cgroup_below("/a", "/"));
	assert_null(kt_cgroup_below("/a", "/ab"));
	assert_null(kt_cgroup_below("/a/b", "/a"));
	assert_null(kt_cgroup_below("/b", "/a/b"));
	/* above our namespace: nothing of it may be reached by climbing out of the mount */
	assert_null(kt_cgroup_below("/", "/.."));
	assert_null(kt_cgroup_below("/", "/../b"));
	assert_null(kt_cgroup_below("/", "/a/../../b"));
	assert_null(kt_cgroup_below("/..", "/../../b"));
}

static void outside__leading_dots_only(void **state)
{
	assert_true(kt_cgroup_outside("/.."));
	assert_true(kt_cgroup_outside("/../x"));
	assert_false(kt_cgroup_outside("/"));
	assert_false(kt_cgroup_outside("/..x"));
	assert_false(kt_cgroup_outside("/a/.."));
}

/* ---- uevents --------------------------------------------------------------------------------------------------- */

/* sizeof counts the literal's own NUL, which is the last one of the message. */
#define CPU_OF(text) kt_uevent_cpu(text, sizeof(text))

static void uevent__of_the_kernel(void **state)
{
	assert_int_equal(CPU_OF("offline@/devices/system/cpu/cpu3\0ACTION=offline\0DEVPATH=/devices/system/cpu/cpu3\0"
	                        "SUBSYSTEM=cpu\0DRIVER=processor\0SEQNUM=1234"),
	                 3);
	assert_int_equal(CPU_OF("online@/devices/system/cpu/cpu0\0SUBSYSTEM=cpu"), 0);
	assert_int_equal(CPU_OF("add@/devices/system/cpu/cpu4095\0SEQNUM=1\0SUBSYSTEM=cpu"), 4095);
}

static void uevent__about_something_else(void **state)
{
	assert_int_equal(CPU_OF("remove@/devices/system/machinecheck/machinecheck3\0SUBSYSTEM=machinecheck"), -1);
	assert_int_equal(CPU_OF("add@/devices/system/cpu/cpu3/cpuidle\0SUBSYSTEM=cpu"), -1);
	assert_int_equal(CPU_OF("add@/devices/system/cpu/cpu\0SUBSYSTEM=cpu"), -1);
	assert_int_equal(CPU_OF("add@/devices/system/cpu/cpufreq\0SUBSYSTEM=cpu"), -1);
	assert_int_equal(CPU_OF("add@/devices/system/cpu/cpu-1\0SUBSYSTEM=cpu"), -1);
	assert_int_equal(CPU_OF("add@/devices/system/cpu/cpu 1\0SUBSYSTEM=cpu"), -1);
	assert_int_equal(CPU_OF("add@/devices/system/cpu/cpu99999999999\0SUBSYSTEM=cpu"), -1);
	assert_int_equal(CPU_OF("add@/devices/system/cpu/cpu3\0SUBSYSTEM=cpuid"), -1);
	assert_int_equal(CPU_OF("add@/devices/virtual/devices/system/cpu/cpu3\0SUBSYSTEM=cpu"), -1);
	assert_int_equal(CPU_OF("add@/devices/system/node/node0\0SUBSYSTEM=node"), -1);
}

static void uevent__forged_or_contradictory(void **state)
{
	/* what udev passes on has a binary header, whose magic is not an action */
	assert_int_equal(CPU_OF("libudev\0\xfe\xed\xca\xfe(\0\0\0(\0\0\0ACTION=offline\0"
	                        "DEVPATH=/devices/system/cpu/cpu3\0SUBSYSTEM=cpu"),
	                 -1);
	assert_int_equal(CPU_OF("offline@/devices/system/cpu/cpu3\0DEVPATH=/devices/system/cpu/cpu4\0SUBSYSTEM=cpu"),
	                 -1);
	assert_int_equal(CPU_OF("offline@/devices/system/cpu/cpu3\0SUBSYSTEM=cpu\0SUBSYSTEM=block"), -1);
	assert_int_equal(CPU_OF("@/devices/system/cpu/cpu3\0SUBSYSTEM=cpu"), -1);
	assert_int_equal(CPU_OF("OFFLINE@/devices/system/cpu/cpu3\0SUBSYSTEM=cpu"), -1);
	assert_int_equal(CPU_OF("off line@/devices/system/cpu/cpu3\0SUBSYSTEM=cpu"), -1);
	assert_int_equal(CPU_OF("offline /devices/system/cpu/cpu3\0SUBSYSTEM=cpu"), -1);
}

/* Every way to cut a good message off: only where a pair ends behind the subsystem is it whole again. */
static void uevent__truncated(void **state)
{
	static const char whole[] =
	    "offline@/devices/system/cpu/cpu3\0ACTION=offline\0DEVPATH=/devices/system/cpu/cpu3\0"
	    "SUBSYSTEM=cpu\0SEQNUM=77";
	const size_t subsystem = sizeof(whole) - sizeof("SEQNUM=77");

	for (size_t length = 0; length <= sizeof(whole); length++) {
		char *copy = malloc(length + 1); /* a sanitizer sees a read behind it */

		memcpy(copy, whole, length);
		assert_int_equal(kt_uevent_cpu(copy, length), length == subsystem || length == sizeof(whole) ? 3 : -1);
		free(copy);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(cgroup_path__of_the_cpu_controller),
	    cmocka_unit_test(cpu_max__cpus_worth),
	    cmocka_unit_test(cfs_quota__cpus_worth),
	    cmocka_unit_test(cgroup_path__finds_the_hierarchy),
	    cmocka_unit_test(cgroup_path__too_long),
	    cmocka_unit_test(cpuset_path__one_line),
	    cmocka_unit_test(mountinfo__cpuset_mounts),
	    cmocka_unit_test(mountinfo__others_and_malformed),
	    cmocka_unit_test(mountinfo__path_too_long),
	    cmocka_unit_test(mounts__cpuset_mounts),
	    cmocka_unit_test(below__cuts_the_root),
	    cmocka_unit_test(below__elsewhere),
	    cmocka_unit_test(outside__leading_dots_only),
	    cmocka_unit_test(uevent__of_the_kernel),
	    cmocka_unit_test(uevent__about_something_else),
	    cmocka_unit_test(uevent__forged_or_contradictory),
	    cmocka_unit_test(uevent__truncated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

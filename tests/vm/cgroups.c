/* SPDX-License-Identifier: MIT */
/*
 * Cpusets that change, together with CPUs that go.
 *
 * Where the kernel keeps what our cpuset grants now, in v2: configured & what the parent has & online, or what the
 * parent has if that is empty. v1 (6.1) instead moves the tasks of an empty cpuset to the parent, and rewrites
 * cpuset.cpus itself when a CPU goes: it does not grow back.
 *
 * The default poll is on where the kernel tells nobody: a process that is moved to another cgroup.
 */
#include <sys/stat.h>

#include "vm.h"

#define POLL_MS 100

/* The CPUs that are ours if they were all online; checked against the kernel's own answer for those that are. */
static void allow(const char *group, const char *list)
{
	world.allowed = cpus_of(list);
	AWAIT(cgroup_effective(group) == (world.allowed & atomic_load(&world.online)));
}

/* One level, alone with uevents and inotify: no poll. */
static void resize(void)
{
	cgroup_make("box", "0-3");
	cgroup_enter("box");
	start_library(0, true, true);
	allow("box", "0-3");
	crew_of_all("2-3,5");
	crew_settled("0-3");
	cgroup_cpus("box", "2");
	allow("box", "2");
	crew_settled("shrunk to 2");
	cgroup_cpus("box", "4-7");
	allow("box", "4-7");
	crew_settled("moved to 4-7");
	cgroup_cpus("box", "0-7");
	allow("box", "0-7");
	crew_settled("grown to 0-7");
}

static void resize_and_hotplug(void)
{
	cgroup_make("box", "2-5");
	cgroup_enter("box");
	start_library(0, true, true);
	allow("box", "2-5");
	crew_of_all("2-3,5");
	crew_settled("2-5");
	cpu_off(3);
	crew_settled("2-5, 3 off");
	cgroup_cpus("box", "3-4");
	allow("box", "3-4");
	crew_settled("3-4, 3 off");
	cpu_on(3);
	crew_settled("3-4, 3 back");
	cpu_off(4);
	crew_settled("3-4, 4 off");
	cgroup_cpus("box", "1-6");
	allow("box", "1-6");
	crew_settled("1-6, 4 off");
	cpu_off(3);
	cpu_off(2);
	cpu_off(5);
	crew_settled("1-6, 2-5 off");
	cpu_on(4);
	cpu_on(5);
	crew_settled("1-6, 2-3 off");
	cpu_on(3);
	cpu_on(2);
	crew_settled("1-6, all on");
	for (int round = 0; round < 5; round++) {
		cpu_off(3);
		cgroup_cpus("box", round % 2 ? "1-6" : "3-5");
		cpu_on(3);
	}
	allow("box", "3-5");
	crew_settled("all at once");
}

/* The cpuset loses its only online CPU; v2 then gives us what the parent has. */
static void emptied(void)
{
	cgroup_make("outer", "1-3");
	cgroup_make("outer/inner", "3");
	cgroup_enter("outer/inner");
	start_library(0, true, true);
	allow("outer/inner", "3");
	crew_of_all("2-3");
	crew_settled("3");
	cpu_off(3);
	allow("outer/inner", "1-3");
	crew_settled("3 off: the outer one's 1-2 are ours");
	cpu_off(2);
	crew_settled("2 off");
	cpu_off(1);
	/* Empty as well: what the root has. What is configured comes first when it returns. */
	AWAIT(cgroup_effective("outer/inner") == atomic_load(&world.online));
	world.allowed = atomic_load(&world.online) | CPU(3);
	crew_masks("1 off: everything is ours");
	cpu_on(3);
	allow("outer/inner", "3");
	crew_settled("3 back");
	cpu_on(2);
	cpu_on(1);
	crew_settled("all back");
}

static void ancestors(void)
{
	cgroup_make("a", "0-7");
	cgroup_make("a/b", NULL); /* no list of its own: its parent's */
	cgroup_make("a/b/c", "2-6");
	cgroup_enter("a/b/c");
	start_library(0, true, true);
	allow("a/b/c", "2-6");
	crew_of_all("2-3,5");
	crew_settled("2-6");
	cgroup_cpus("a", "0-3");
	allow("a/b/c", "2-3");
	crew_settled("a is 0-3");
	cpu_off(2);
	crew_settled("2 off");
	cgroup_cpus("a/b", "1-3,7");
	crew_settled("a/b is 1-3,7");
	cgroup_cpus("a", "2-7");
	allow("a/b/c", "2-3");
	crew_settled("a is 2-7");
	cpu_on(2);
	crew_settled("2 back");
	cgroup_cpus("a/b", "3-5");
	allow("a/b/c", "3-5");
	crew_settled("a/b is 3-5");
	cgroup_cpus("a", "0-7");
	cgroup_cpus("a/b", "0-7");
	allow("a/b/c", "2-6");
	crew_settled("everything is 0-7");
}

/* Nobody tells of that but the poll. */
static void moved(void)
{
	cgroup_make("old", "1-3");
	cgroup_make("new", "4-6");
	cgroup_enter("old");
	start_library(POLL_MS, true, true);
	allow("old", "1-3");
	crew_of_all("2-3,5");
	crew_settled("in the old one");
	cgroup_enter("new");
	allow("new", "4-6");
	crew_settled("in the new one");
	CHECK(rmdir(cgroup_path("old", "")) == 0);
	crew_settled("the old one has gone");
	cgroup_cpus("new", "2-5");
	allow("new", "2-5");
	crew_settled("the new one is 2-5");
	cpu_off(3);
	crew_settled("3 off");
	cgroup_enter("");
	world.allowed = world.possible;
	crew_settled("in the root one");
	CHECK(rmdir(cgroup_path("new", "")) == 0);
	cpu_on(3);
	crew_settled("3 back");
}

/* A rename in between: v1 alone has one. v2 gets a directory of the same name, which is another cgroup. */
static void made_anew(void)
{
	cgroup_make("same", "1-3");
	cgroup_enter("same");
	start_library(POLL_MS, true, true);
	allow("same", "1-3");
	crew_of_all("2-3,5");
	crew_settled("in the first one");
	cgroup_enter("");
	CHECK(rmdir(cgroup_path("same", "")) == 0);
	cgroup_make("same", "2-5");
	cgroup_enter("same");
	allow("same", "2-5");
	crew_settled("in the second one");
	cgroup_cpus("same", "3");
	allow("same", "3");
	crew_settled("the second one is 3");
}

/* An isolated partition of a neighbour's takes CPUs from the root cgroup, and from housekeeping. */
static void partition(void)
{
	start_library(POLL_MS, true, true);
	crew_of_all("2-3,5");
	crew_settled("at the beginning");
	cgroup_make("part", "5-6");
	if (try_write(cgroup_path("part", "cpuset.cpus.partition"), "isolated") != 0)
		vm_skip("no isolated partitions here");
	world.allowed = cgroup_effective("");
	if (world.allowed & cpus_of("5-6"))
		vm_skip("no isolated partitions here");
	/* The root has no list of its own: that they are to come back is not known. */
	crew_masks("5-6 are an isolated partition");
	write_file(cgroup_path("part", "cpuset.cpus.partition"), "member");
	world.allowed = world.possible;
	crew_settled("and are not any more");
}

/* ---- v1 ---- */

/* A CPU that goes is taken out of cpuset.cpus, and put back by nobody but the owner. */
static void v1_hotplug(void)
{
	cgroup_make("box", "2-5");
	cgroup_enter("box");
	start_library(0, true, true);
	allow("box", "2-5");
	crew_of_all("2-3,5");
	crew_settled("2-5");
	cpu_off(3);
	world.allowed = cpus_of("2,4-5");
	AWAIT(cgroup_effective("box") == world.allowed);
	crew_settled("3 off");
	cpu_on(3);
	crew_settled("3 on, but not in the cpuset any more");
	cgroup_cpus("box", "2-5");
	allow("box", "2-5");
	crew_settled("put back");
	cgroup_cpus("box", "3");
	allow("box", "3");
	crew_settled("3 alone");
}

static void v1_emptied(void)
{
	cgroup_make("outer", "1-3");
	cgroup_make("outer/inner", "3");
	cgroup_enter("outer/inner");
	start_library(POLL_MS, true, true);
	allow("outer/inner", "3");
	crew_of_all("2-3");
	crew_settled("3");
	cpu_off(3);
	world.allowed = cpus_of("1-2");
	AWAIT(cgroup_effective("outer") == world.allowed);
	crew_settled("3 off: moved to the outer one");
	cpu_on(3);
	crew_settled("3 on, but not in the outer one any more");
	cgroup_cpus("outer", "1-3");
	allow("outer", "1-3");
	crew_settled("put back");
}

const struct vm_case cases_cgroup2[] = {
    {"resize", resize, NULL},       {"resize-and-hotplug", resize_and_hotplug, NULL},
    {"emptied", emptied, NULL},     {"ancestors", ancestors, NULL},
    {"moved", moved, NULL},         {"made-anew", made_anew, NULL},
    {"partition", partition, NULL}, {NULL, NULL, NULL},
};

const struct vm_case cases_cgroup1[] = {
    {"resize", resize, NULL}, {"hotplug", v1_hotplug, NULL},  {"emptied", v1_emptied, NULL},
    {"moved", moved, NULL},   {"made-anew", made_anew, NULL}, {NULL, NULL, NULL},
};

/* SPDX-License-Identifier: MIT */
/*
 * Guests that are booted in a particular way: with isolated CPUs; with fewer CPUs present than possible.
 */
#include "vm.h"

/* ---- isolcpus=domain,6-7 nohz_full=5 ---------------------------------------------------------------------------- */

#define ISOLATED "6-7"
#define HOUSEKEEPERS "0-4"

static void check_monitor(const char *when)
{
	const pid_t monitor = task_named("kthread-monitor");
	cpus_t wanted = world.housekeeping & world.allowed & atomic_load(&world.online);

	CHECK(monitor > 0);
	if (!wanted)
		wanted = atomic_load(&world.online) & world.allowed;
	AWAIT(task_cpus(monitor) == wanted);
	printf("    monitor: %s (%s)\n", cpus_text(wanted), when);
}

static void isolated(void)
{
	cpu_set_t set;

	if (sysfs_cpus("isolated") != cpus_of(ISOLATED) || sysfs_cpus("nohz_full") != CPU(5))
		vm_skip("this guest was booted without isolcpus= and nohz_full=");
	start_library(0, true, false);
	/* The kernel starts every process off the isolated CPUs, but that is no taskset: they can be had. */
	CHECK(task_cpus(getpid()) == cpus_of("0-5"));
	world.housekeeping = cpus_of(HOUSEKEEPERS);
	crew_of_all("4-6");
	crew_add(KTHREAD, BUSY, KTHREAD_WISH_BOUND, "6");
	crew_add(KTHREAD, TICKING, KTHREAD_WISH_BOUND, "5,7");
	crew_add(KTHREAD, SLEEPING, KTHREAD_WISH_PREFERRED, "5-7"); /* nothing of it is housekeeping */
	crew_add(KTHREAD, TICKING, KTHREAD_WISH_NODE, "3");         /* 6-7 */
	crew_add(KTHREAD, TICKING, KTHREAD_WISH_PER_CPU, "7");
	crew_settled("at the beginning");
	CHECK(api_cpus(KTHREAD_CPUS_ISOLATED) == cpus_of(ISOLATED));
	check_monitor("at the beginning");
	cpu_off(6);
	crew_settled("6 off");
	cpu_off(4);
	crew_settled("4 off");
	check_monitor("4 and 6 off");
	cpu_on(6);
	crew_settled("6 back");
	cpu_on(4);
	crew_settled("4 back");
	/* Isolated ones may be made housekeepers, and the monitor goes with the others. */
	world.housekeeping = cpus_of("1,6");
	CHECK0(kthread_housekeeping_set(sizeof(set), as_set(world.housekeeping, &set)));
	crew_settled("housekeeping 1,6");
	check_monitor("housekeeping 1,6");
	cpu_off(1);
	cpu_off(6);
	crew_settled("no housekeeper is left");
	check_monitor("no housekeeper is left");
	cpu_on(6);
	cpu_on(1);
	crew_settled("1 and 6 back");
	world.housekeeping = cpus_of(HOUSEKEEPERS);
	CHECK0(kthread_housekeeping_set(0, NULL));
	crew_settled("as derived");
}

/* A mask that lacks more than the isolated CPUs is a taskset, and cuts these, too. */
static void isolated_taskset(void)
{
	start_library(0, true, false);
	world.allowed = cpus_of("2-4");
	world.housekeeping = cpus_of(HOUSEKEEPERS);
	crew_of_all("4-6");
	crew_settled("taskset 2-4");
	cpu_off(4);
	crew_settled("4 off");
	cpu_on(4);
	crew_settled("4 back");
}

/* Somebody asked for an isolated CPU. */
static void isolated_wanted(void)
{
	start_library(0, true, false);
	world.allowed = cpus_of("4,6");
	world.housekeeping = cpus_of(HOUSEKEEPERS);
	crew_of_all("4-6");
	crew_settled("taskset 4,6");
	cpu_off(6);
	crew_settled("6 off");
	cpu_on(6);
	crew_settled("6 back");
}

static void isolated_cpuset(void)
{
	cgroup_make("box", "3-6");
	cgroup_enter("box");
	start_library(0, true, true);
	world.allowed = cpus_of("3-6");
	world.housekeeping = cpus_of(HOUSEKEEPERS);
	crew_of_all("4-6");
	crew_settled("cpuset 3-6");
	cgroup_cpus("box", "5-7");
	world.allowed = cpus_of("5-7");
	crew_settled("cpuset 5-7: no housekeeper at all");
	cgroup_cpus("box", "1-7");
	world.allowed = cpus_of("1-7");
	crew_settled("cpuset 1-7");
}

const struct vm_case cases_boot[] = {
    {"isolated", isolated, NULL},
    {"isolated-taskset", isolated_taskset, "2-4"},
    {"isolated-wanted", isolated_wanted, "4,6"},
    {"isolated-cpuset", isolated_cpuset, NULL},
    {NULL, NULL, NULL},
};

/* ---- --cpus 6 --maxcpus 8 --------------------------------------------------------------------------------------- */

static void add_cpu(unsigned int cpu)
{
	char path[100];

	printf("@host add-cpu %u\n", cpu);
	fflush(stdout);
	AWAIT(sysfs_cpus("present") & CPU(cpu));
	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%u/online", cpu);
	AWAIT(access(path, F_OK) == 0);
	atomic_store(&world.online, sysfs_cpus("online")); /* some systems put it online by themselves */
}

static void eject(unsigned int cpu)
{
	char path[100];

	snprintf(path, sizeof(path), "/sys/bus/acpi/devices/LNXCPU:%02x/eject", cpu);
	write_file(path, "1");
	AWAIT(!(sysfs_cpus("present") & CPU(cpu)));
	atomic_store(&world.online, sysfs_cpus("online"));
}

/*
 * QEMU's emulator crashes easily while it gives a busy guest another CPU: both are given before anybody runs. And in
 * ascending order: 6.1 numbers new CPUs as they come, whatever their slot.
 */
static void plug(void)
{
	if (sysfs_cpus("possible") != cpus_of("0-7"))
		vm_skip("this guest was booted with all its CPUs");
	CHECK(sysfs_cpus("present") == cpus_of("0-5"));
	start_library(0, true, false);
	crew_of_calm("6-7", SLEEPING); /* pending, all of them; node 3 has memory alone */
	crew_add(KTHREAD, SLEEPING, KTHREAD_WISH_BOUND, "7");
	crew_add(KTHREAD, SLEEPING, KTHREAD_WISH_PER_CPU, "7");
	crew_add(KTHREAD, SLEEPING, KTHREAD_WISH_BOUND, "5,7");
	crew_settled("6 and 7 are possible");
	CHECK(kthread_cpu_node(7) == KTHREAD_NO_NODE);
	add_cpu(6);
	AWAIT(api_cpus(KTHREAD_CPUS_PRESENT) == sysfs_cpus("present"));
	crew_settled("6 is present");
	cpu_on(6);
	crew_settled("6 is online");
	CHECK(kthread_cpu_node(6) == 3);
	add_cpu(7);
	cpu_on(7);
	crew_settled("7 is online");
	crew_add(KTHREAD, BUSY, KTHREAD_WISH_BOUND, "7");
	crew_add(KTHREAD, TICKING, KTHREAD_WISH_NODE, "3");
	crew_add(KTHREAD, TICKING, KTHREAD_WISH_PER_CPU, "6");
	crew_settled("and somebody runs there");
	cpu_off(7);
	crew_settled("7 off");
	cpu_on(7);
	crew_settled("7 back");
	eject(7);
	crew_settled("7 ejected");
	AWAIT(api_cpus(KTHREAD_CPUS_PRESENT) == sysfs_cpus("present"));
	eject(6);
	crew_settled("6 ejected: the node has no CPU");
	AWAIT(api_cpus(KTHREAD_CPUS_PRESENT) == cpus_of("0-5"));
	CHECK(kthread_cpu_node(7) == KTHREAD_NO_NODE);
}

const struct vm_case cases_plug[] = {
    {"plug", plug, NULL},
    {NULL, NULL, NULL},
};

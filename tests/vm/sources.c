/* SPDX-License-Identifier: MIT */
/*
 * Each source of change alone: the bounded poll, uevents, inotify.
 */
#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "vm.h"

/* ---- a namespace without uevents ---- */

/* What a process outside does for one inside: a byte is a CPU, its top bit "on". Ends with the pipe. */
static pid_t start_helper(int *ret_pipe)
{
	int fds[2];
	pid_t pid;

	CHECK(pipe(fds) == 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		unsigned char byte;

		close(fds[1]);
		while (read(fds[0], &byte, 1) == 1)
			cpu_set(byte & 0x7f, byte & 0x80);
		_exit(0);
	}
	close(fds[0]);
	*ret_pipe = fds[1];
	return pid;
}

static void let_helper(int fd, unsigned int cpu, bool online)
{
	const unsigned char byte = (unsigned char)(cpu | (online ? 0x80u : 0));
	const cpus_t wanted = online ? atomic_load(&world.online) | CPU(cpu) : atomic_load(&world.online) & ~CPU(cpu);

	CHECK(write(fd, &byte, 1) == 1);
	AWAIT(sysfs_cpus("online") == wanted);
	atomic_store(&world.online, wanted);
}

static int uevent_socket(void)
{
	const struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = 1};
	const int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);

	CHECK(fd >= 0 && bind(fd, (const struct sockaddr *)&address, sizeof(address)) == 0);
	return fd;
}

static void user_namespace(void)
{
	char message[100];
	int helper, uevents;
	pid_t pid = start_helper(&helper);

	if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0)
		vm_skip("no user namespaces here");
	uevents = uevent_socket();
	start_library(50, true, true);
	crew_of_all("2-3");
	crew_settled("at the beginning");
	let_helper(helper, 3, false);
	crew_settled("3 off");
	let_helper(helper, 2, false);
	crew_settled("2 off");
	let_helper(helper, 3, true);
	crew_settled("3 back");
	let_helper(helper, 2, true);
	crew_settled("2 back");
	for (int round = 0; round < 5; round++) {
		let_helper(helper, 3, false);
		let_helper(helper, 3, true);
	}
	crew_settled("off and on, between two looks or not");
	if (recv(uevents, message, sizeof(message), 0) >= 0)
		FAIL("a uevent came into this namespace: it was no test of the poll");
	close(uevents);
	close(helper);
	CHECK(waitpid(pid, NULL, 0) == pid);
}

static void poll_alone(void)
{
	start_library(50, false, false);
	crew_of_all("2-3");
	crew_settled("at the beginning");
	cpu_off(3);
	cpu_off(2);
	crew_settled("2-3 off");
	cpu_on(2);
	crew_settled("2 back");
	cpu_on(3);
	crew_settled("3 back");
	/* Somebody with taskset */
	for (const struct member *member = crew_first(); member; member = member->next) {
		cpu_set_t set;

		CHECK(sched_setaffinity(atomic_load(&member->tid), sizeof(set), as_set(CPU(1), &set)) == 0);
	}
	crew_settled("somebody moved them all to 1");
}

/* ---- events ---- */

static void uevents_alone(void)
{
	start_library(0, true, false);
	crew_of_all("2-3");
	crew_settled("at the beginning");
	cpu_off(3);
	crew_settled("3 off");
	cpu_off(2);
	crew_settled("2 off");
	cpu_on(2);
	cpu_on(3);
	crew_settled("both back");
}

/* The cpuset is rewritten, and the kernel rewrites every mask with it. */
static void inotify_alone(void)
{
	cgroup_make("outer", "1-5");
	cgroup_make("outer/inner", "2-3,5");
	cgroup_enter("outer/inner");
	start_library(0, false, true);
	world.allowed = cpus_of("2-3,5");
	crew_of_all("2-3,5");
	crew_settled("at the beginning");
	cgroup_cpus("outer/inner", "1-2");
	world.allowed = cpus_of("1-2");
	crew_settled("ours is 1-2");
	cgroup_cpus("outer/inner", "1-5");
	world.allowed = cpus_of("1-5");
	crew_settled("ours is 1-5");
	if (!cgroup_v1()) {
		cgroup_cpus("outer", "2-4"); /* v1 refuses: the child has more */
		world.allowed = cpus_of("2-4");
		crew_settled("the outer one is 2-4");
	}
	cgroup_cpus("outer", "1-6");
	world.allowed = cpus_of("1-5");
	crew_settled("the outer one is 1-6");
	/* The same list written again: nothing changes, though the kernel may have thrown our masks away. */
	cgroup_cpus("outer/inner", "1-5");
	cgroup_cpus("outer/inner", "1");
	cgroup_cpus("outer/inner", "1-5");
	crew_settled("1, and 1-5 again before anybody looked");
}

/* A process that has started no thread of ours looks when it asks. */
static void nobody_watches(void)
{
	const uint64_t before = kthread_generation();

	CHECK(before > 0 && api_cpus(KTHREAD_CPUS_ONLINE) == atomic_load(&world.online));
	CHECK(task_named("kthread-monitor") < 0);
	cpu_off(3);
	CHECK(api_cpus(KTHREAD_CPUS_ONLINE) == atomic_load(&world.online));
	CHECK(kthread_generation() > before);
	cpu_on(3);
	CHECK(api_cpus(KTHREAD_CPUS_USABLE) == atomic_load(&world.online));
	CHECK(task_named("kthread-monitor") < 0);
}

const struct vm_case cases_sources[] = {
    {"user-namespace", user_namespace, NULL}, {"poll-alone", poll_alone, NULL},
    {"uevents-alone", uevents_alone, NULL},   {"inotify-alone", inotify_alone, NULL},
    {"nobody-watches", nobody_watches, NULL}, {NULL, NULL, NULL},
};

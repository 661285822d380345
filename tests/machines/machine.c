/* SPDX-License-Identifier: MIT */
#include "machine.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST_CPUS 4096

/* ---- the machines ---------------------------------------------------------------------------------------------- */

#define V1_MOUNTS(root) \
	{ \
		"proc/self/mountinfo", \
		    "23 1 8:1 / / rw - ext4 /dev/root rw\n" \
		    "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n" \
		    "34 31 0:31 " root " /sys/fs/cgroup/cpuset ro,nosuid shared:9 - cgroup cgroup rw,cpuset\n" \
		    "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n" \
	}
#define V2_MOUNTS \
	{ \
		"proc/self/mountinfo", \
		    "23 1 8:1 / / rw - ext4 /dev/root rw\n" \
		    "35 23 0:29 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n" \
	}
/* hwloc takes a v2 mount for one that has cpusets if this says so. */
#define V2_CONTROLLERS \
	{ \
		"sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids\n" \
	}
#define V1_DIR "sys/fs/cgroup/cpuset/"
#define V2_DIR "sys/fs/cgroup/"

static const struct machine machines[] = {
    {
	.name = "uni",
	.about = "one CPU",
	.possible = "0",
	.present = "0",
	.online = "0",
	.nodes = {{0, "0"}},
	.allowed = "0",
	.housekeeping = "0",
    },
    {
	.name = "numa",
	.about = "8 CPUs on 4 nodes; cgroup v2, nothing confined",
	.possible = "0-7",
	.present = "0-7",
	.online = "0-7",
	.nohz_full = "(null)",
	.nodes = {{0, "0-1"}, {1, "2-3"}, {2, "4-5"}, {3, "6-7"}},
	.files = {V2_MOUNTS,
                  V2_CONTROLLERS,
                  {"proc/self/cgroup", "0::/\n"},
                  {"proc/self/cpuset", "/\n"},
                  {V2_DIR "cpuset.cpus.effective", "0-7\n"},
                  {V2_DIR "cpuset.cpus.isolated", "\n"}},
	.allowed = "0-7",
	.housekeeping = "0-7",
    },
    {
	.name = "sparse",
	.about = "numbers with gaps, CPUs offline, nodes 0 and 3",
	.possible = "0-11,16-19",
	.present = "0-7,10-11,16-17",
	.online = "0-1,4,6-7,10,17",
	.nodes = {{0, "0-5"}, {3, "6-7,10-11,16-17"}},
	.allowed = "0-11,16-19",
	.housekeeping = "0-11,16-19",
    },
    {
	.name = "isolated",
	.about = "isolcpus=4-5, nohz_full=6-7",
	.possible = "0-7",
	.present = "0-7",
	.online = "0-7",
	.isolated = "4-5",
	.nohz_full = "6-7",
	.nodes = {{0, "0-3"}, {1, "4-7"}},
	.allowed = "0-7",
	.housekeeping = "0-3",
    },
    {
	.name = "cgroup1",
	.about = "a container with a v1 cpuset on a hybrid machine",
	.possible = "0-7",
	.present = "0-7",
	.online = "0-7",
	.nodes = {{0, "0-3"}, {1, "4-7"}},
	.files = {V1_MOUNTS("/docker/4a1b"),
                  {"proc/self/cgroup", "4:cpuset:/docker/4a1b/init\n2:cpu,cpuacct:/docker/4a1b\n0::/docker/4a1b\n"},
                  {"proc/self/cpuset", "/docker/4a1b/init\n"},
                  {V1_DIR "cpuset.cpus", "2-5\n"},
                  {V1_DIR "cpuset.effective_cpus", "2-5\n"},
                  {V1_DIR "init/cpuset.cpus", "2-4\n"},
                  {V1_DIR "init/cpuset.effective_cpus", "2-4\n"}},
	.allowed = "2-4",
	.housekeeping = "2-4",
	.confined = true,
	.hwloc_misses_cpuset = true, /* it does not look at a mount's root */
    },
    {
	.name = "cgroup2",
	.about = "a pod on v2: CPU 3 offline, the leaf without a cpuset of its own, CPU 7 in an isolated partition",
	.possible = "0-7",
	.present = "0-7",
	.online = "0-2,4-7",
	.isolated = "5",
	.nodes = {{0, "0-3"}, {1, "4-7"}},
	.files = {V2_MOUNTS,
                  V2_CONTROLLERS,
                  {"proc/self/cgroup", "0::/kubepods.slice/pod7/app\n"},
                  {"proc/self/cpuset", "/kubepods.slice/pod7\n"},
                  {V2_DIR "cpuset.cpus.effective", "0-2,4-6\n"},
                  {V2_DIR "cpuset.cpus.isolated", "7\n"},
                  {V2_DIR "kubepods.slice/cpuset.cpus", "0-5\n"},
                  {V2_DIR "kubepods.slice/cpuset.cpus.effective", "0-2,4-5\n"},
                  {V2_DIR "kubepods.slice/pod7/cpuset.cpus", "2-7\n"},
                  {V2_DIR "kubepods.slice/pod7/cpuset.cpus.effective", "2,4-5\n"},
                  {V2_DIR "kubepods.slice/pod7/app/cgroup.procs", "1\n"}},
	.allowed = "2-5",
	.housekeeping = "2-4",
	.confined = true,
    },
    {
	.name = "huge",
	.about = "4096 CPUs on 64 nodes",
	.possible = "0-4095",
	.present = "0-4095",
	.online = "0-4095",
	/* nodes: 64 CPUs each, see node_at() */
	.allowed = "0-4095",
	.housekeeping = "0-4095",
    },
};

const struct machine *machine_at(size_t index)
{
	return index < sizeof(machines) / sizeof(machines[0]) ? &machines[index] : NULL;
}

const struct machine *machine_named(const char *name)
{
	const struct machine *machine;

	for (size_t i = 0; (machine = machine_at(i)); i++) {
		if (strcmp(machine->name, name) == 0)
			return machine;
	}
	return NULL;
}

/* ---- writing --------------------------------------------------------------------------------------------------- */

int machine_put(const char *root, const char *path, const char *text)
{
	const size_t length = strlen(text);
	char full[PATH_MAX];
	int fd;
	bool good;

	if (snprintf(full, sizeof(full), "%s/%s", root, path) >= (int)sizeof(full))
		return -ENAMETOOLONG;
	fd = open(full, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	for (char *slash = full + 1; fd < 0 && errno == ENOENT && (slash = strchr(slash, '/')); slash++) {
		*slash = '\0';
		good = mkdir(full, 0755) == 0 || errno == EEXIST;
		*slash = '/';
		if (!good)
			return -errno;
		fd = open(full, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	}
	if (fd < 0)
		return -errno;
	good = write(fd, text, length) == (ssize_t)length;
	return close(fd) == 0 && good ? 0 : -EIO;
}

static int put_line(const char *root, const char *path, const char *text)
{
	char line[4096];

	snprintf(line, sizeof(line), "%s\n", text ? text : "");
	return machine_put(root, path, line);
}

/* A list of our own making: "a-b,c", well formed. Not by the library's parser, which the machines are there to test. */
static void read_list(const char *list, bool cpus[MOST_CPUS])
{
	memset(cpus, 0, MOST_CPUS * sizeof(bool));
	while (list && *list) {
		char *end;
		unsigned long from = strtoul(list, &end, 10), to = from;

		if (*end == '-')
			to = strtoul(end + 1, &end, 10);
		for (; from <= to && from < MOST_CPUS; from++)
			cpus[from] = true;
		list = *end == ',' ? end + 1 : "";
	}
}

/* The kernel's hexadecimal form: words of 32 bits, the highest first. */
static void format_mask(const bool cpus[MOST_CPUS], unsigned int count, char text[MOST_CPUS])
{
	size_t length = 0;

	for (unsigned int word = (count + 31) / 32; word-- > 0;) {
		unsigned int bits = 0;

		for (unsigned int bit = 0; bit < 32; bit++)
			bits |= (unsigned int)cpus[word * 32 + bit] << bit;
		length += (size_t)sprintf(text + length, "%08x%s", bits, word ? "," : "\n");
	}
}

static unsigned int count_of(const char *list)
{
	const char *last = list + strlen(list);

	while (last > list && last[-1] >= '0' && last[-1] <= '9')
		last--;
	return (unsigned int)strtoul(last, NULL, 10) + 1;
}

static struct machine_node node_at(const struct machine *machine, int index)
{
	static char cpus[32];

	if (index >= MACHINE_NODES)
		return (struct machine_node){-1, NULL};
	if (strcmp(machine->name, "huge") != 0)
		return machine->nodes[index];
	snprintf(cpus, sizeof(cpus), "%d-%d", index * 64, index * 64 + 63);
	return (struct machine_node){index, cpus};
}

static int write_cpu(const char *root, unsigned int cpu, bool online, unsigned int count, unsigned int package)
{
	static bool self[MOST_CPUS];
	static char mask[MOST_CPUS];
	char path[128], number[16];
	int error;

	snprintf(path, sizeof(path), "sys/devices/system/cpu/cpu%u/online", cpu);
	error = machine_put(root, path, online ? "1\n" : "0\n");
	if (error || !online)
		return error;
	self[cpu] = true;
	format_mask(self, count, mask);
	self[cpu] = false;
	snprintf(path, sizeof(path), "sys/devices/system/cpu/cpu%u/topology/thread_siblings", cpu);
	error = machine_put(root, path, mask);
	snprintf(path, sizeof(path), "sys/devices/system/cpu/cpu%u/topology/core_id", cpu);
	snprintf(number, sizeof(number), "%u\n", cpu);
	if (!error)
		error = machine_put(root, path, number);
	snprintf(path, sizeof(path), "sys/devices/system/cpu/cpu%u/topology/physical_package_id", cpu);
	snprintf(number, sizeof(number), "%u\n", package);
	return error ? error : machine_put(root, path, number);
}

/* A package for each 64 CPUs. */
static int write_cpus(const struct machine *machine, const char *root)
{
	static bool present[MOST_CPUS], online[MOST_CPUS];
	const unsigned int count = count_of(machine->possible);
	int error = put_line(root, "sys/devices/system/cpu/possible", machine->possible);

	if (!error)
		error = put_line(root, "sys/devices/system/cpu/present", machine->present);
	if (!error)
		error = put_line(root, "sys/devices/system/cpu/online", machine->online);
	if (!error)
		error = put_line(root, "sys/devices/system/cpu/isolated", machine->isolated);
	if (!error && machine->nohz_full)
		error = put_line(root, "sys/devices/system/cpu/nohz_full", machine->nohz_full);
	read_list(machine->present, present);
	read_list(machine->online, online);
	for (unsigned int cpu = 0; cpu < count && !error; cpu++) {
		if (present[cpu])
			error = write_cpu(root, cpu, online[cpu], count, cpu / 64);
	}
	return error;
}

/* A node shows its online CPUs, as the kernel does. */
static int write_nodes(const struct machine *machine, const char *root)
{
	static bool online[MOST_CPUS], cpus[MOST_CPUS];
	static char mask[MOST_CPUS];
	const unsigned int count = count_of(machine->possible);
	char path[128], memory[128];
	int error = 0;

	read_list(machine->online, online);
	for (int i = 0; !error && node_at(machine, i).cpus; i++) {
		const struct machine_node node = node_at(machine, i);

		read_list(node.cpus, cpus);
		for (unsigned int cpu = 0; cpu < MOST_CPUS; cpu++)
			cpus[cpu] = cpus[cpu] && online[cpu];
		format_mask(cpus, count, mask);
		snprintf(path, sizeof(path), "sys/devices/system/node/node%d/cpumap", node.number);
		error = machine_put(root, path, mask);
		snprintf(path, sizeof(path), "sys/devices/system/node/node%d/meminfo", node.number);
		snprintf(memory, sizeof(memory), "Node %d MemTotal:        1048576 kB\n", node.number);
		if (!error)
			error = machine_put(root, path, memory);
	}
	return error;
}

int machine_write(const struct machine *machine, const char *root)
{
	int error = write_cpus(machine, root);

	if (!error)
		error = write_nodes(machine, root);
	if (!error)
		error = machine_put(root, "proc/meminfo", "MemTotal:        4194304 kB\n");
	if (!error)
		error = machine_put(root, "proc/cpuinfo", "");
	/* hwloc looks for cgroups here, we in mountinfo first. */
	if (!error)
		error = machine_put(root, "proc/mounts",
		                    strcmp(machine->name, "cgroup1") == 0
		                        ? "cgroup /sys/fs/cgroup/cpuset cgroup rw,cpuset 0 0\n"
		                        : "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n");
	for (size_t i = 0; !error && machine->files[i].path; i++)
		error = machine_put(root, machine->files[i].path, machine->files[i].text);
	if (error)
		fprintf(stderr, "%s: %s: %s\n", machine->name, root, strerror(-error));
	return error;
}

static int remove_one(const char *path, const struct stat *stat, int flag, struct FTW *ftw)
{
	(void)stat;
	(void)flag;
	(void)ftw;
	chmod(path, 0700);
	return remove(path) && errno != ENOENT ? -1 : 0;
}

void machine_remove(const char *root)
{
	nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

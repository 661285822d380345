/* SPDX-License-Identifier: MIT */
/*
 * The machine, through the kernel's files alone.
 */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>

#include "vm.h"

#define RT_RUNTIME "/proc/sys/kernel/sched_rt_runtime_us"

/* ---- sets ------------------------------------------------------------------------------------------------------- */

cpus_t cpus_of(const char *list)
{
	cpus_t set = 0;

	while (*list >= '0' && *list <= '9') {
		char *end;
		const unsigned long first = strtoul(list, &end, 10);
		unsigned long last = first;

		if (*end == '-')
			last = strtoul(end + 1, &end, 10);
		for (unsigned long cpu = first; cpu <= last && cpu < ALL_CPUS; cpu++)
			set |= CPU(cpu);
		list = *end == ',' ? end + 1 : end;
	}
	return set;
}

const char *cpus_text(cpus_t set)
{
	static __thread char texts[8][200];
	static __thread unsigned int turn;
	char *const text = texts[turn++ % 8];
	size_t length = 0;

	strcpy(text, "none");
	for (unsigned int cpu = 0; cpu < ALL_CPUS; cpu++) {
		unsigned int last = cpu;

		if (!(set & CPU(cpu)))
			continue;
		while (last + 1 < ALL_CPUS && set & CPU(last + 1))
			last++;
		length += (size_t)snprintf(text + length, sizeof(texts[0]) - length, last > cpu ? "%s%u-%u" : "%s%u",
		                           length ? "," : "", cpu, last);
		cpu = last;
	}
	return text;
}

cpu_set_t *as_set(cpus_t cpus, cpu_set_t *set)
{
	CPU_ZERO(set);
	EACH_CPU(cpu, cpus)
	CPU_SET(cpu, set);
	return set;
}

static cpus_t of_set(const cpu_set_t *set)
{
	cpus_t cpus = 0;

	for (unsigned int cpu = 0; cpu < ALL_CPUS; cpu++) {
		if (CPU_ISSET(cpu, set))
			cpus |= CPU(cpu);
	}
	return cpus;
}

cpus_t api_cpus(enum kthread_cpus which)
{
	cpu_set_t set;

	CHECK0(kthread_cpus(which, sizeof(set), &set));
	return of_set(&set);
}

/* 0: it has ended. */
cpus_t api_mask(const struct kthread *k, enum kthread_mask which)
{
	cpu_set_t set;
	const int error = kthread_get_mask(k, which, sizeof(set), &set);

	if (error == -ESRCH)
		return 0;
	CHECK0(error);
	return of_set(&set);
}

/* ---- files ------------------------------------------------------------------------------------------------------ */

/* Length, -1 if it cannot be read. */
static ssize_t read_file(const char *path, char *text, size_t size)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t have = 0;
	ssize_t got = 0;

	if (fd < 0)
		return -1;
	while (have < size - 1 && (got = read(fd, text + have, size - 1 - have)) > 0)
		have += (size_t)got;
	close(fd);
	text[have] = '\0';
	return got < 0 ? -1 : (ssize_t)have;
}

int try_write(const char *path, const char *text)
{
	const int fd = open(path, O_WRONLY | O_CLOEXEC);
	int error = 0;

	if (fd < 0)
		return errno;
	if (write(fd, text, strlen(text)) < 0)
		error = errno;
	close(fd);
	return error;
}

void write_file(const char *path, const char *text)
{
	const int error = try_write(path, text);

	if (error)
		FAIL("%s > %s: %s", text, path, strerror(error));
}

cpus_t sysfs_cpus(const char *file)
{
	char path[100];
	char text[400];

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/%s", file);
	return read_file(path, text, sizeof(text)) < 0 ? 0 : cpus_of(text);
}

cpus_t task_cpus(pid_t tid)
{
	static const char field[] = "\nCpus_allowed_list:\t";
	char path[100];
	char text[4096];
	const char *found;

	snprintf(path, sizeof(path), "/proc/self/task/%d/status", (int)tid);
	if (read_file(path, text, sizeof(text)) < 0)
		return 0;
	found = strstr(text, field);
	return found ? cpus_of(found + sizeof(field) - 1) : 0;
}

int task_last_cpu(pid_t tid)
{
	char path[100];
	char text[2048];
	const char *field;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)tid);
	if (read_file(path, text, sizeof(text)) < 0)
		return -1;
	field = strrchr(text, ')'); /* field 2 ends here */
	for (int number = 3; field && number <= 39; number++)
		field = strchr(field + 1, ' ');
	return field ? atoi(field + 1) : -1;
}

pid_t task_named(const char *comm)
{
	DIR *dir = opendir("/proc/self/task");
	const struct dirent *entry;
	pid_t found = -1;

	CHECK(dir);
	while (found < 0 && (entry = readdir(dir))) {
		char path[300];
		char text[64];

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", entry->d_name);
		if (entry->d_name[0] != '.' && read_file(path, text, sizeof(text)) > 0) {
			text[strcspn(text, "\n")] = '\0';
			if (strcmp(text, comm) == 0)
				found = (pid_t)atoi(entry->d_name);
		}
	}
	closedir(dir);
	return found;
}

/* ---- CPUs ------------------------------------------------------------------------------------------------------- */

int cpu_try(unsigned int cpu, bool online)
{
	char path[100];
	int error;

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%u/online", cpu);
	error = try_write(path, online ? "1" : "0");
	if (!error && online)
		atomic_fetch_or(&world.online, CPU(cpu));
	else if (!error)
		atomic_fetch_and(&world.online, ~CPU(cpu));
	return error;
}

void cpu_set(unsigned int cpu, bool online)
{
	const int error = cpu_try(cpu, online);

	if (error)
		FAIL("CPU %u does not go %s: %s", cpu, online ? "online" : "offline", strerror(error));
}

void everything_on(void)
{
	const cpus_t missing = sysfs_cpus("present") & ~atomic_load(&world.online);

	EACH_CPU(cpu, missing)
	cpu_on(cpu);
}

/* ---- cgroups ---------------------------------------------------------------------------------------------------- */

#define CGROUP "/sys/fs/cgroup"

bool cgroup_v1(void)
{
	return access(CGROUP "/cpuset/cgroup.procs", F_OK) == 0;
}

const char *cgroup_path(const char *group, const char *file)
{
	static __thread char paths[4][200];
	static __thread unsigned int turn;
	char *const path = paths[turn++ % 4];

	snprintf(path, sizeof(paths[0]), "%s%s%s%s%s", cgroup_v1() ? CGROUP "/cpuset" : CGROUP, group[0] ? "/" : "",
	         group, file[0] ? "/" : "", file);
	return path;
}

void cgroup_make(const char *group, const char *cpus)
{
	const char *slash = strrchr(group, '/');
	char parent[100] = "";

	if (slash)
		snprintf(parent, sizeof(parent), "%.*s", (int)(slash - group), group);
	if (!cgroup_v1())
		write_file(cgroup_path(parent, "cgroup.subtree_control"), "+cpuset");
	if (mkdir(cgroup_path(group, ""), 0755) != 0)
		FAIL("cgroup %s: %s", group, strerror(errno));
	if (cgroup_v1())
		write_file(cgroup_path(group, "cpuset.mems"), "0");
	if (cpus)
		cgroup_cpus(group, cpus);
}

void cgroup_cpus(const char *group, const char *cpus)
{
	write_file(cgroup_path(group, "cpuset.cpus"), cpus);
}

void cgroup_enter(const char *group)
{
	char pid[20];

	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	write_file(cgroup_path(group, "cgroup.procs"), pid);
}

cpus_t cgroup_effective(const char *group)
{
	char text[400];

	CHECK(read_file(cgroup_path(group, cgroup_v1() ? "cpuset.effective_cpus" : "cpuset.cpus.effective"), text,
	                sizeof(text)) >= 0);
	return cpus_of(text);
}

static void remove_groups(const char *path)
{
	DIR *dir = opendir(path);
	const struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		char below[600];

		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		snprintf(below, sizeof(below), "%s/%s", path, entry->d_name);
		remove_groups(below);
		/* A case that has just ended leaves its cgroup a moment later. */
		for (int tries = 0; rmdir(below) != 0 && errno == EBUSY && tries < 500; tries++)
			pause_ns(5 * MS);
	}
	if (dir)
		closedir(dir);
}

void machine_reset(void)
{
	const cpus_t missing = sysfs_cpus("present") & ~sysfs_cpus("online");

	EACH_CPU(cpu, missing)
	cpu_on(cpu);
	remove_groups(cgroup_path("", ""));
	write_file(RT_RUNTIME, "950000"); /* the kernel's default */
}

/* ---- real-time threads ------------------------------------------------------------------------------------------ */

static struct {
	pthread_t threads[ALL_CPUS];
	cpus_t cpus;
	atomic_uint begun;
	atomic_bool end;
} hogs;

static void *real_time_hog(void *arg)
{
	atomic_fetch_add(&hogs.begun, 1);
	while (!atomic_load(&hogs.end))
		continue;
	return arg;
}

void real_time_hogs(cpus_t cpus, int priority)
{
	const struct sched_param param = {.sched_priority = priority};
	pthread_attr_t attr;
	cpu_set_t set;

	CHECK(pthread_attr_init(&attr) == 0);
	CHECK(pthread_attr_setinheritsched(&attr, PTHREAD_EXPLICIT_SCHED) == 0);
	CHECK(pthread_attr_setschedpolicy(&attr, SCHED_FIFO) == 0);
	CHECK(pthread_attr_setschedparam(&attr, &param) == 0);
	hogs.cpus = cpus;
	EACH_CPU(cpu, cpus)
	{
		CHECK(pthread_attr_setaffinity_np(&attr, sizeof(set), as_set(CPU(cpu), &set)) == 0);
		CHECK(pthread_create(&hogs.threads[cpu], &attr, real_time_hog, NULL) == 0);
	}
	pthread_attr_destroy(&attr);
	AWAIT(atomic_load(&hogs.begun) == (unsigned int)__builtin_popcountll(cpus));
}

void real_time_hogs_end(void)
{
	atomic_store(&hogs.end, true);
	EACH_CPU(cpu, hogs.cpus)
	pthread_join(hogs.threads[cpu], NULL);
	atomic_store(&hogs.end, false);
	atomic_store(&hogs.begun, 0);
}

void real_time_unlimited(void)
{
	write_file(RT_RUNTIME, "-1");
}

/* ---- a CPU's threads on the move -------------------------------------------------------------------------------- */

static atomic_uint sequence[ALL_CPUS];

void kernel_moves(unsigned int cpu)
{
	atomic_fetch_add(&sequence[cpu], 1);
}

unsigned int kernel_moved(unsigned int cpu)
{
	return atomic_load(&sequence[cpu]);
}

bool strays(unsigned int cpu, unsigned int before, unsigned int seen)
{
	return seen != cpu && !(before & 1) && kernel_moved(cpu) == before;
}

/* SPDX-License-Identifier: MIT */
#include "machine/sysfs.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "machine/cpulist.h"
#include "machine/cpumask.h"
#include "machine/file.h"

#define CPU_DIR "/sys/devices/system/cpu"

/* `online`, which is read at each look. Guarded by the scan lock. */
static struct kt_file online_file = {.fd = -1};
static const char *source; /* of the last set. The same */

/* The list in a text of that length, or the error of its reading. */
static int parse_list(ssize_t length, char *text, size_t setsize, cpu_set_t *set)
{
	/* nohz_full, built in but not asked for on the command line: the kernel prints a NULL mask, padded to the number of
	 * CPUs; some of the 3.10 line print a NUL byte. */
	if (length == -EBADMSG && text[0] == '\0')
		return kt_cpulist_read("", setsize * CHAR_BIT, setsize, set);
	if (length < 0)
		return (int)length;
	if (strncmp(text + strspn(text, " "), "(null)", 6) == 0)
		text[0] = '\0';
	return kt_cpulist_read(text, setsize * CHAR_BIT, setsize, set);
}

long kt_sysfs_number(const char *name, const char *prefix)
{
	const size_t length = strlen(prefix);
	char *end;
	long number;

	if (strncmp(name, prefix, length) != 0 || name[length] < '0' || name[length] > '9')
		return -1;
	errno = 0;
	number = strtol(name + length, &end, 10);
	return *end || errno || number > INT_MAX ? -1 : number;
}

/*
 * Without a list of the online CPUs, a CPU says so itself in cpuN/online. The first CPU often has no such file, as it
 * cannot go; and a CPU that is off loses its topology directory, which is what a recorded tree may show of it only.
 */
static int says_online(long cpu, bool *ret)
{
	char text[8];
	const ssize_t length = kt_file_read(text, sizeof(text), CPU_DIR "/cpu%ld/online", cpu);

	if (length < 0 && !kt_file_settled((int)length))
		return (int)length;
	*ret = length > 0 ? text[0] == '1' : kt_file_exists(CPU_DIR "/cpu%ld/topology", cpu);
	return 0;
}

static int read_list(const char *name, char *text, size_t size, size_t setsize, cpu_set_t *set)
{
	return parse_list(kt_file_read(text, size, CPU_DIR "/%s", name), text, setsize, set);
}

/* The CPUs that have a directory, or the online ones of these. -ENOENT if there is none. */
static int scan_directories(bool online, size_t setsize, cpu_set_t *set)
{
	char path[PATH_MAX];
	struct dirent *entry;
	bool any = false;
	int error = 0;
	DIR *dir;

	if (kt_path(path, CPU_DIR) != 0)
		return -ENAMETOOLONG;
	dir = opendir(path);
	if (!dir)
		return -errno;
	source = online ? CPU_DIR "/cpuN/online" : CPU_DIR "/cpuN";
	while (!error && (errno = 0, entry = readdir(dir))) {
		const long cpu = kt_sysfs_number(entry->d_name, "cpu");
		bool counts = cpu >= 0 && (size_t)cpu / CHAR_BIT < setsize;

		if (counts && online)
			error = says_online(cpu, &counts);
		if (error || !counts)
			continue;
		if (!any)
			kt_cpus_zero(setsize, set);
		kt_cpus_add(setsize, set, (unsigned int)cpu);
		any = true;
	}
	error = error ? error : -errno;
	closedir(dir);
	return error || any ? error : -ENOENT;
}

struct cpuinfo {
	size_t setsize;
	cpu_set_t *set;
	bool any;
};

/* "processor : 3", and on s390 "processor 3: version = FF" */
static bool cpuinfo_line(char *line, void *arg)
{
	struct cpuinfo *info = arg;
	char *end;
	unsigned long cpu;

	if (strncmp(line, "processor", 9) != 0)
		return true;
	line += 9;
	line += strspn(line, " \t:");
	if (*line < '0' || *line > '9')
		return true;
	errno = 0;
	cpu = strtoul(line, &end, 10);
	if ((*end && *end != ':' && *end != ' ') || errno || cpu / CHAR_BIT >= info->setsize)
		return true;
	if (!info->any)
		kt_cpus_zero(info->setsize, info->set);
	kt_cpus_add(info->setsize, info->set, (unsigned int)cpu);
	info->any = true;
	return true;
}

/* A list that cannot be empty: such a file was cut short. */
static int some_cpus(int error, size_t setsize, const cpu_set_t *set)
{
	return !error && kt_cpus_empty(setsize, set) ? -EINVAL : error;
}

static int read_some_cpus(const char *name, char *text, size_t size, size_t setsize, cpu_set_t *set)
{
	return some_cpus(read_list(name, text, size, setsize, set), setsize, set);
}

int kt_sysfs_possible(char *text, size_t size, size_t setsize, cpu_set_t *set)
{
	const int error = read_some_cpus("possible", text, size, setsize, set);

	source = CPU_DIR "/possible";
	return kt_file_settled(error) ? kt_sysfs_present(text, size, setsize, set) : error;
}

int kt_sysfs_present(char *text, size_t size, size_t setsize, cpu_set_t *set)
{
	const int error = read_some_cpus("present", text, size, setsize, set);

	source = CPU_DIR "/present";
	return kt_file_settled(error) ? scan_directories(false, setsize, set) : error;
}

int kt_sysfs_online(char *text, size_t size, size_t setsize, cpu_set_t *set)
{
	const ssize_t length = kt_file_read_kept(&online_file, text, size, CPU_DIR "/online");
	const int error = some_cpus(parse_list(length, text, setsize, set), setsize, set);

	source = CPU_DIR "/online";
	return kt_file_settled(error) ? scan_directories(true, setsize, set) : error;
}

const char *kt_sysfs_source(void)
{
	return source;
}

void kt_sysfs_forget(void)
{
	kt_file_close(&online_file);
}

int kt_cpuinfo_online(char *text, size_t size, size_t setsize, cpu_set_t *set)
{
	struct cpuinfo info = {.setsize = setsize, .set = set};
	const int error = kt_file_lines(text, size, cpuinfo_line, &info, "/proc/cpuinfo");

	source = "/proc/cpuinfo";
	if (error)
		return error;
	return info.any ? 0 : -ENOENT;
}

static int read_optional(const char *name, char *text, size_t size, size_t setsize, cpu_set_t *set)
{
	const int error = read_list(name, text, size, setsize, set);

	if (error == -ENOENT) {
		kt_cpus_zero(setsize, set);
		source = NULL;
		return 0;
	}
	return error;
}

int kt_sysfs_isolated(char *text, size_t size, size_t setsize, cpu_set_t *set)
{
	source = CPU_DIR "/isolated";
	return read_optional("isolated", text, size, setsize, set);
}

int kt_sysfs_nohz_full(char *text, size_t size, size_t setsize, cpu_set_t *set)
{
	return read_optional("nohz_full", text, size, setsize, set);
}

int kt_sysfs_write_online(unsigned int cpu, bool online)
{
	const int error = kt_file_write(online ? "1" : "0", CPU_DIR "/cpu%u/online", cpu);

	return error == -ENOENT || error == -EACCES || error == -EROFS ? -EPERM : error;
}

/* SPDX-License-Identifier: MIT */
#include "machine/hwloc.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/library.h"
#include "machine/cpumask.h"
#include "machine/file.h"
#include "machine/sysfs.h"

#define NODE_DIR "/sys/devices/system/node"

/*
 * hwloc reads a recorded machine only if told so by its environment variable; there is no function for it. Threads
 * that use the environment at the same time are a danger, so it is touched in simulation only.
 */
static int load_below(hwloc_topology_t topology, const char *root)
{
	const char *before;
	char *saved = NULL;
	int error;

	if (!root[0])
		return hwloc_topology_load(topology);
	before = getenv("HWLOC_FSROOT");
	if (before) {
		saved = strdup(before);
		if (!saved) {
			errno = ENOMEM;
			return -1;
		}
	}
	error = setenv("HWLOC_FSROOT", root, 1);
	if (!error)
		error = hwloc_topology_load(topology);
	if (saved)
		setenv("HWLOC_FSROOT", saved, 1);
	else
		unsetenv("HWLOC_FSROOT");
	free(saved);
	return error;
}

/* Where hwloc would find nothing, it says so on stderr, and makes up a machine of one node. */
static bool sysfs_has_topology(const struct kt_view *view)
{
	const cpu_set_t *online = view->set[KT_ONLINE];

	for (int cpu = kt_cpus_next(view->setsize, online, 0); cpu >= 0;
	     cpu = kt_cpus_next(view->setsize, online, (unsigned int)cpu + 1)) {
		if (kt_file_exists("/sys/devices/system/cpu/cpu%d/topology", cpu))
			return true;
	}
	return false;
}

/*
 * No binding to each CPU in turn to ask it for its caches (the x86 component): the calling thread may be one we placed.
 * Disallowed CPUs are included: what is allowed, the view says.
 */
static int load(hwloc_topology_t *ret, bool with_caches)
{
	unsigned long flags = HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED;
	hwloc_topology_t topology;

#if HWLOC_API_VERSION >= 0x00020500
	flags |= HWLOC_TOPOLOGY_FLAG_DONT_CHANGE_BINDING;
#endif
#if HWLOC_API_VERSION >= 0x00020800
	flags |= HWLOC_TOPOLOGY_FLAG_NO_DISTANCES | HWLOC_TOPOLOGY_FLAG_NO_MEMATTRS | HWLOC_TOPOLOGY_FLAG_NO_CPUKINDS;
#endif
	if (hwloc_topology_init(&topology) != 0)
		return -ENOMEM;
	hwloc_topology_set_components(topology, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST, "x86");
	errno = 0;
	/* Groups: without them hwloc gives a node the CPUs of the next object that it does keep, the whole machine. */
	if (hwloc_topology_set_flags(topology, flags) != 0 ||
	    hwloc_topology_set_all_types_filter(topology, HWLOC_TYPE_FILTER_KEEP_NONE) != 0 ||
	    hwloc_topology_set_type_filter(topology, HWLOC_OBJ_GROUP, HWLOC_TYPE_FILTER_KEEP_STRUCTURE) != 0 ||
	    (with_caches && hwloc_topology_set_cache_types_filter(topology, HWLOC_TYPE_FILTER_KEEP_ALL) != 0) ||
	    load_below(topology, kt_config()->root) != 0) {
		const int error = errno == ENOMEM ? -ENOMEM : -EIO;

		hwloc_topology_destroy(topology);
		return error;
	}
	*ret = topology;
	return 0;
}

/* Is every online CPU that sysfs tells of in the topology? */
static bool has_every_cpu(hwloc_topology_t topology, const struct kt_view *view)
{
	hwloc_const_bitmap_t cpus = hwloc_topology_get_topology_cpuset(topology);
	const cpu_set_t *online = view->set[KT_ONLINE];

	for (int cpu = kt_cpus_next(view->setsize, online, 0); cpu >= 0;
	     cpu = kt_cpus_next(view->setsize, online, (unsigned int)cpu + 1)) {
		if (!hwloc_bitmap_isset(cpus, (unsigned int)cpu) &&
		    kt_file_exists("/sys/devices/system/cpu/cpu%d/topology", cpu))
			return false;
	}
	return true;
}

/* Are the CPUs that sysfs has on this node on it in the topology? cpus is scratch. */
static bool has_node(hwloc_topology_t topology, const struct kt_view *view, int number, hwloc_bitmap_t cpus)
{
	static char text[32 * 1024]; /* one caller at a time; 9 bytes for each 32 CPUs */
	const ssize_t length = kt_file_read(text, sizeof(text), NODE_DIR "/node%d/cpumap", number);
	const hwloc_obj_t node = hwloc_get_numanode_obj_by_os_index(topology, (unsigned int)number);

	if (length < 0)
		return kt_file_settled((int)length); /* hwloc has found the same */
	text[strcspn(text, "\n")] = '\0';
	if (hwloc_bitmap_sscanf(cpus, text) != 0)
		return true; /* garbled: no better the next time */
	hwloc_bitmap_and(cpus, cpus, hwloc_topology_get_topology_cpuset(topology));
	for (int cpu = hwloc_bitmap_first(cpus); cpu >= 0; cpu = hwloc_bitmap_next(cpus, cpu)) {
		if (kt_cpus_test(view->setsize, view->set[KT_ONLINE], (unsigned int)cpu) &&
		    (!node || !hwloc_bitmap_isset(node->cpuset, (unsigned int)cpu)))
			return false;
	}
	return true;
}

/*
 * hwloc's load succeeds whatever it could not open, with a part of the machine or one that it makes up. Only what sysfs
 * confirms is to be kept. CPUs that came since the view are for the next one: they may be half there.
 */
static bool is_confirmed(hwloc_topology_t topology, const struct kt_view *view)
{
	hwloc_bitmap_t cpus;
	struct dirent *entry;
	char path[PATH_MAX];
	bool good = true;
	DIR *dir;

	if (!has_every_cpu(topology, view) || kt_path(path, NODE_DIR) != 0)
		return false;
	dir = opendir(path);
	if (!dir)
		return kt_file_settled(-errno);
	cpus = hwloc_bitmap_alloc();
	while (cpus && good && (errno = 0, entry = readdir(dir))) {
		const long number = kt_sysfs_number(entry->d_name, "node");

		good = number < 0 || has_node(topology, view, (int)number, cpus);
	}
	good = cpus && good && errno == 0;
	hwloc_bitmap_free(cpus);
	closedir(dir);
	return good;
}

int kt_hwloc_load(const struct kt_view *view, bool with_caches, hwloc_topology_t *ret)
{
	int error = sysfs_has_topology(view) ? load(ret, with_caches) : -EIO;

	if (!error && !is_confirmed(*ret, view)) {
		hwloc_topology_destroy(*ret);
		error = -EIO;
	}
	return error;
}

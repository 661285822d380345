/* SPDX-License-Identifier: MIT */
#include "machine/topology.h"

#include <dirent.h>
#include <errno.h>
#include <hwloc.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/library.h"
#include "base/log.h"
#include "machine/cpumask.h"
#include "machine/file.h"
#include "machine/sysfs.h"

#define NODE_DIR "/sys/devices/system/node"
#define NO_NODE (-1) /* KTHREAD_NO_NODE */

struct node {
	int number;
	cpu_set_t *cpus;
};

/* A reading of the machine. Replaced whole, so that a failed one leaves the last one in place. */
struct table {
	size_t setsize;
	cpu_set_t *loaded; /* online when it was read: a CPU without a node then is not worth another reading */
	size_t count;
	int cache_level; /* 0 = none is shared */
	size_t cache_count;
	cpu_set_t **cache;
	struct node node[]; /* ascending. The array of caches and all sets follow in the same block */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct table *table; /* NULL until somebody asks for a node. Guarded by the lock */
static bool said;

static struct table *table_new(size_t count, size_t caches, size_t setsize)
{
	const size_t head = sizeof(struct table) + count * sizeof(struct node);
	const size_t rest = caches * sizeof(cpu_set_t *);
	struct table *new = calloc(1, head + rest + (count + caches + 1) * setsize);
	char *sets = (char *)new + head + rest;

	if (!new)
		return NULL;
	new->setsize = setsize;
	new->count = count;
	for (size_t i = 0; i < count; i++)
		new->node[i].cpus = (cpu_set_t *)(void *)(sets + i * setsize);
	new->loaded = (cpu_set_t *)(void *)(sets + count * setsize);
	new->cache_count = caches;
	new->cache = (cpu_set_t **)(void *)((char *)new + head);
	for (size_t i = 0; i < caches; i++)
		new->cache[i] = (cpu_set_t *)(void *)(sets + (count + 1 + i) * setsize);
	return new;
}

static struct node *find_node(struct table *in, int number)
{
	for (size_t i = 0; in && i < in->count; i++) {
		if (in->node[i].number == number)
			return &in->node[i];
	}
	return NULL;
}

/* A memory-only node has, by hwloc, the CPUs next to it; a CPU's own node is the first of those it is in. */
static int node_of(const struct table *in, unsigned int cpu)
{
	for (size_t i = 0; i < in->count; i++) {
		if (kt_cpus_test(in->setsize, in->node[i].cpus, cpu))
			return in->node[i].number;
	}
	return NO_NODE;
}

/* ---- reading --------------------------------------------------------------------------------------------------- */

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
 * Nodes, CPUs and caches only, and no binding to each CPU in turn to ask it for its caches (the x86 component): the calling
 * thread may be one we placed. Disallowed CPUs are included: what is allowed, the view says.
 */
static int load(hwloc_topology_t *ret)
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
	    hwloc_topology_set_cache_types_filter(topology, HWLOC_TYPE_FILTER_KEEP_ALL) != 0 ||
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
	static char text[32 * 1024]; /* guarded by the lock; 9 bytes for each 32 CPUs */
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

static void add_bitmap(size_t setsize, cpu_set_t *set, hwloc_const_bitmap_t bitmap, const cpu_set_t *within)
{
	for (int cpu = hwloc_bitmap_first(bitmap); cpu >= 0; cpu = hwloc_bitmap_next(bitmap, cpu)) {
		if (kt_cpus_test(setsize, within, (unsigned int)cpu))
			kt_cpus_add(setsize, set, (unsigned int)cpu);
	}
}

/* How many caches there are at the outermost level at which CPUs share one, *ret_depth in the topology; 0 = none. */
static size_t shared_caches(hwloc_topology_t topology, int *ret_depth)
{
	for (int type = HWLOC_OBJ_L5CACHE; type >= HWLOC_OBJ_L1CACHE; type--) {
		hwloc_obj_t cache = NULL;

		*ret_depth = hwloc_get_type_depth(topology, (hwloc_obj_type_t)type);
		while (*ret_depth >= 0 && (cache = hwloc_get_next_obj_by_depth(topology, *ret_depth, cache))) {
			if (hwloc_bitmap_weight(cache->cpuset) > 1)
				return hwloc_get_nbobjs_by_depth(topology, *ret_depth);
		}
	}
	return 0;
}

static void add_caches(struct table *to, hwloc_topology_t topology, int depth, const cpu_set_t *within)
{
	hwloc_obj_t cache = NULL;
	size_t i = 0;

	while (i < to->cache_count && (cache = hwloc_get_next_obj_by_depth(topology, depth, cache))) {
		to->cache_level = (int)cache->attr->cache.depth;
		add_bitmap(to->setsize, to->cache[i++], cache->cpuset, within);
	}
}

/* Nodes that the machine has now, and those it had: a node's CPUs and memory may all be offline for a while. */
static struct table *merge(hwloc_topology_t topology, struct table *old, const struct kt_view *view)
{
	int depth;
	const size_t caches = shared_caches(topology, &depth);
	hwloc_bitmap_t numbers = hwloc_bitmap_alloc();
	hwloc_obj_t object = NULL;
	struct table *new = NULL;
	size_t i = 0;
	int number;

	for (i = 0; numbers && old && i < old->count; i++)
		hwloc_bitmap_set(numbers, (unsigned int)old->node[i].number);
	while (numbers && (object = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_NUMANODE, object)))
		hwloc_bitmap_set(numbers, object->os_index);
	if (numbers)
		new = table_new((size_t)hwloc_bitmap_weight(numbers), caches, view->setsize);
	if (!new)
		goto out;
	i = 0;
	add_bitmap(view->setsize, new->loaded, hwloc_topology_get_topology_cpuset(topology), view->set[KT_ONLINE]);
	hwloc_bitmap_foreach_begin(number, numbers) const struct node *before = find_node(old, number);
	struct node *node = &new->node[i++];

	node->number = number;
	/* A CPU that was read is where it is now; any other where it was seen last. */
	if (before) {
		kt_cpus_andnot(view->setsize, node->cpus, before->cpus, new->loaded);
		kt_cpus_and(view->setsize, node->cpus, node->cpus, view->set[KT_PRESENT]);
	}
	object = hwloc_get_numanode_obj_by_os_index(topology, (unsigned int)number);
	if (object)
		add_bitmap(view->setsize, node->cpus, object->cpuset, new->loaded);
	hwloc_bitmap_foreach_end();
	add_caches(new, topology, depth, view->set[KT_POSSIBLE]);
	kt_cpus_copy(view->setsize, new->loaded, view->set[KT_ONLINE]);
out:
	hwloc_bitmap_free(numbers);
	return new;
}

/* 0; -ENOMEM; -EIO not to be read, or not whole (logged once). The table stays as it is then. */
static int read_machine(const struct kt_view *view)
{
	hwloc_topology_t topology = NULL;
	struct table *new = NULL;
	int error = sysfs_has_topology(view) ? load(&topology) : -EIO;

	if (!error) {
		error = is_confirmed(topology, view) ? 0 : -EIO;
		if (!error) {
			new = merge(topology, table, view);
			error = new ? 0 : -ENOMEM;
		}
		hwloc_topology_destroy(topology);
	}
	if (error == -EIO && !said)
		kt_log(LOG_WARNING, "the machine's topology cannot be read: no %snode is known", table ? "new " : "");
	said = error == -EIO;
	if (error)
		return error;
	free(table);
	table = new;
	return 0;
}

/* The first question about a node. A machine that cannot be read has none. */
static int ready_locked(const struct kt_view *view)
{
	const int error = table ? 0 : read_machine(view);

	return error == -EIO ? 0 : error;
}

/* ---- questions ------------------------------------------------------------------------------------------------- */

int kt_topology_node_exists(int node)
{
	struct kt_view *view;
	int error;

	if (node < 0)
		return -EINVAL;
	view = kt_view_get();
	kt_lock(&lock);
	error = ready_locked(view);
	if (!error && !find_node(table, node))
		error = -EINVAL;
	kt_unlock(&lock);
	kt_view_put(view);
	return error;
}

int kt_topology_node_cpus(const struct kt_view *view, int node, cpu_set_t *set)
{
	const struct node *found;
	int error;

	kt_lock(&lock);
	error = ready_locked(view);
	if (!error) {
		found = find_node(table, node);
		if (found)
			kt_cpus_and(view->setsize, set, found->cpus, view->set[KT_POSSIBLE]);
		else
			error = -EINVAL;
	}
	kt_unlock(&lock);
	return error;
}

int kt_topology_cpu_node(const struct kt_view *view, unsigned int cpu)
{
	int node = NO_NODE, error;

	kt_lock(&lock);
	error = ready_locked(view);
	if (!error && table)
		node = node_of(table, cpu);
	kt_unlock(&lock);
	return error ? error : node;
}

int kt_topology_next_node(const struct kt_view *view, int from, cpu_set_t *set)
{
	int node = NO_NODE, error;

	kt_lock(&lock);
	error = ready_locked(view);
	for (size_t i = 0; !error && table && i < table->count && node == NO_NODE; i++) {
		if (table->node[i].number < from)
			continue;
		node = table->node[i].number;
		kt_cpus_and(view->setsize, set, table->node[i].cpus, view->set[KT_POSSIBLE]);
	}
	kt_unlock(&lock);
	return error ? error : node;
}

int kt_topology_cache(const struct kt_view *view, size_t index, cpu_set_t *set)
{
	int level = 0, error;

	kt_lock(&lock);
	error = ready_locked(view);
	if (!error && table && index < table->cache_count) {
		level = table->cache_level;
		kt_cpus_copy(view->setsize, set, table->cache[index]);
	}
	kt_unlock(&lock);
	return error ? error : level;
}

bool kt_topology_is_flat(void)
{
	const struct dirent *entry;
	char path[PATH_MAX];
	int count = 0;
	DIR *dir;

	if (kt_path(path, NODE_DIR) != 0)
		return false;
	dir = opendir(path);
	if (!dir)
		return true;
	while ((entry = readdir(dir)))
		count += kt_sysfs_number(entry->d_name, "node") >= 0;
	closedir(dir);
	return count <= 1;
}

/* ---- following the machine ------------------------------------------------------------------------------------- */

/* A CPU that came online since the last reading, and whose node is not known. */
static bool has_stranger(const struct kt_view *view)
{
	const size_t setsize = view->setsize;

	for (int cpu = kt_cpus_next(setsize, view->set[KT_ONLINE], 0); cpu >= 0;
	     cpu = kt_cpus_next(setsize, view->set[KT_ONLINE], (unsigned int)cpu + 1)) {
		if (!kt_cpus_test(setsize, table->loaded, (unsigned int)cpu) &&
		    node_of(table, (unsigned int)cpu) == NO_NODE)
			return true;
	}
	return false;
}

/* A CPU that was taken out of the machine may come back on another node. */
static bool forget_absent(const struct kt_view *view)
{
	bool changed = false;

	for (size_t i = 0; i < table->count; i++) {
		cpu_set_t *cpus = table->node[i].cpus;

		if (!kt_cpus_subset(view->setsize, cpus, view->set[KT_PRESENT])) {
			kt_cpus_and(view->setsize, cpus, cpus, view->set[KT_PRESENT]);
			changed = true;
		}
	}
	/* What went offline since is worth another reading when it comes back without a node. */
	kt_cpus_and(view->setsize, table->loaded, table->loaded, view->set[KT_ONLINE]);
	return changed;
}

static bool tables_differ(const struct table *a, const struct table *b)
{
	if (a->count != b->count)
		return true;
	for (size_t i = 0; i < a->count; i++) {
		if (a->node[i].number != b->node[i].number ||
		    !kt_cpus_equal(a->setsize, a->node[i].cpus, b->node[i].cpus))
			return true;
	}
	return false;
}

/* Read anew and compare. A failure leaves the old table, and is tried again at the next look. */
static bool read_again(const struct kt_view *view)
{
	struct table *old = table_new(table->count, 0, table->setsize);
	bool changed = true;

	if (old) {
		for (size_t i = 0; i < table->count; i++) {
			old->node[i].number = table->node[i].number;
			kt_cpus_copy(old->setsize, old->node[i].cpus, table->node[i].cpus);
		}
	}
	if (read_machine(view) != 0)
		changed = false;
	else if (old)
		changed = tables_differ(old, table);
	free(old);
	return changed;
}

bool kt_topology_renew(const struct kt_view *view)
{
	bool changed = false;

	kt_lock(&lock);
	if (table) {
		changed = forget_absent(view);
		if (has_stranger(view))
			changed = read_again(view) || changed;
	}
	kt_unlock(&lock);
	return changed;
}

void kt_topology_forget(void)
{
	kt_lock(&lock);
	free(table);
	table = NULL;
	said = false;
	kt_unlock(&lock);
}

void kt_topology_lock(void)
{
	kt_lock(&lock);
}

void kt_topology_unlock(void)
{
	kt_unlock(&lock);
}

/* SPDX-License-Identifier: MIT */
#include "machine/topology.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/library.h"
#include "base/log.h"
#include "machine/cpumask.h"
#include "machine/file.h"
#include "machine/hwloc.h"
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
	struct node node[]; /* ascending; their sets follow in the same block */
};

/* Held by who reads the machine, and taken before the lock, under which the result is kept: whoever comes by while
 * somebody reads does not wait for that, unless he has to read, too. */
static pthread_mutex_t reading = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Guarded by the lock. */
static struct table *table; /* NULL until somebody asks for a node */

/* The caches: they make a reading cost a third more, and only who looks on asks for them. */
static struct caches {
	size_t setsize;
	size_t count;
	int level;
	unsigned long sets[]; /* the CPUs that were online; those of each cache */
} * caches;

static bool said; /* under `reading` */

static struct table *table_new(size_t count, size_t setsize)
{
	const size_t head = sizeof(struct table) + count * sizeof(struct node);
	struct table *new = calloc(1, head + (count + 1) * setsize);
	char *sets = (char *)new + head;

	if (!new)
		return NULL;
	new->setsize = setsize;
	new->count = count;
	for (size_t i = 0; i < count; i++)
		new->node[i].cpus = (cpu_set_t *)(void *)(sets + i * setsize);
	new->loaded = (cpu_set_t *)(void *)(sets + count * setsize);
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

static void add_bitmap(size_t setsize, cpu_set_t *set, hwloc_const_bitmap_t bitmap, const cpu_set_t *within)
{
	for (int cpu = hwloc_bitmap_first(bitmap); cpu >= 0; cpu = hwloc_bitmap_next(bitmap, cpu)) {
		if (kt_cpus_test(setsize, within, (unsigned int)cpu))
			kt_cpus_add(setsize, set, (unsigned int)cpu);
	}
}

/* Nodes that the machine has now, and those it had: a node's CPUs and memory may all be offline for a while. */
static struct table *merge(hwloc_topology_t topology, struct table *old, const struct kt_view *view)
{
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
		new = table_new((size_t)hwloc_bitmap_weight(numbers), view->setsize);
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
	kt_cpus_copy(view->setsize, new->loaded, view->set[KT_ONLINE]);
out:
	hwloc_bitmap_free(numbers);
	return new;
}

static cpu_set_t *cache_set(struct caches *of, size_t index)
{
	return (cpu_set_t *)(void *)((char *)of->sets + index * of->setsize);
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

static struct caches *caches_of(hwloc_topology_t topology, const struct kt_view *view)
{
	int depth;
	const size_t count = shared_caches(topology, &depth);
	struct caches *new = calloc(1, sizeof(*new) + (count + 1) * view->setsize);
	hwloc_obj_t cache = NULL;

	if (!new)
		return NULL;
	new->setsize = view->setsize;
	new->count = count;
	kt_cpus_copy(view->setsize, cache_set(new, 0), view->set[KT_ONLINE]);
	for (size_t i = 1; i <= count && (cache = hwloc_get_next_obj_by_depth(topology, depth, cache)); i++) {
		new->level = (int)cache->attr->cache.depth;
		add_bitmap(view->setsize, cache_set(new, i), cache->cpuset, view->set[KT_POSSIBLE]);
	}
	return new;
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

/* 1 they have changed, 0 they have not; -ENOMEM they stay as they were. */
static int keep_nodes(hwloc_topology_t topology, const struct kt_view *view)
{
	struct table *new = merge(topology, table, view);
	int changed;

	if (!new)
		return -ENOMEM;
	changed = !table || tables_differ(table, new);
	free(table);
	table = new;
	return changed;
}

/* Takes new_caches: NULL for nodes alone. Who reads caches leaves nodes that are known as they are: if they change, it is
 * for a look to find that. */
static int keep(hwloc_topology_t topology, const struct kt_view *view, struct caches *new_caches)
{
	int result = 0;

	if (!table || !new_caches)
		result = keep_nodes(topology, view);
	if (result < 0) {
		free(new_caches);
	} else if (new_caches) {
		free(caches);
		caches = new_caches;
	}
	return result;
}

/*
 * Under `reading`. 1 nodes have changed, 0 they have not; -ENOMEM; -EIO not to be read, or not whole (logged once, if it
 * was for nodes). What could not be read stays as it was.
 */
static int read_machine(const struct kt_view *view, bool with_caches)
{
	struct caches *new_caches = NULL;
	hwloc_topology_t topology;
	int result = kt_hwloc_load(view, with_caches, &topology);
	const bool loaded = result == 0;
	bool known;

	if (loaded && with_caches) {
		new_caches = caches_of(topology, view);
		result = new_caches ? 0 : -ENOMEM;
	}
	kt_lock(&lock);
	known = table;
	if (!result)
		result = keep(topology, view, new_caches);
	kt_unlock(&lock);
	if (loaded)
		hwloc_topology_destroy(topology);
	if (with_caches && known) /* the nodes are as they were */
		return result;
	if (result == -EIO && !said)
		kt_log(NO_TOPOLOGY, "the machine's topology cannot be read: no %snode is known", known ? "new " : "");
	said = result == -EIO;
	return result;
}

/* Caches: of each CPU that is online. */
static bool is_known(const struct kt_view *view, bool with_caches)
{
	bool known;

	kt_lock(&lock);
	known = table;
	if (with_caches)
		known = caches && kt_cpus_subset(view->setsize, view->set[KT_ONLINE], cache_set(caches, 0));
	kt_unlock(&lock);
	return known;
}

/* Unless it is known. 0; -ENOMEM. A machine that cannot be read has none. */
static int fetch(const struct kt_view *view, bool with_caches)
{
	int result = 0;

	if (is_known(view, with_caches))
		return 0;
	kt_lock(&reading);
	if (!is_known(view, with_caches))
		result = read_machine(view, with_caches);
	kt_unlock(&reading);
	return result == -ENOMEM ? -ENOMEM : 0;
}

/* ---- questions ------------------------------------------------------------------------------------------------- */

int kt_topology_node_exists(int node)
{
	struct kt_view *view;
	int error;

	if (node < 0)
		return -EINVAL;
	view = kt_view_get();
	error = fetch(view, false);
	kt_view_put(view);
	kt_lock(&lock);
	if (!error && !find_node(table, node))
		error = -EINVAL;
	kt_unlock(&lock);
	return error;
}

int kt_topology_node_cpus(const struct kt_view *view, int node, cpu_set_t *set)
{
	const struct node *found;
	int error = fetch(view, false);

	kt_lock(&lock);
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
	const int error = fetch(view, false);
	int node = NO_NODE;

	kt_lock(&lock);
	if (!error && table)
		node = node_of(table, cpu);
	kt_unlock(&lock);
	return error ? error : node;
}

int kt_topology_read(const struct kt_view *view)
{
	return fetch(view, true);
}

enum kt_topology_state kt_topology_state(const struct kt_view *view)
{
	bool any;

	if (is_known(view, true))
		return KT_TOPOLOGY_WHOLE;
	kt_lock(&lock);
	any = caches;
	kt_unlock(&lock);
	return any ? KT_TOPOLOGY_OLD : KT_TOPOLOGY_UNREAD;
}

int kt_topology_next_node(const struct kt_view *view, int from, cpu_set_t *set)
{
	int node = NO_NODE;

	kt_lock(&lock);
	for (size_t i = 0; table && i < table->count && node == NO_NODE; i++) {
		if (table->node[i].number < from)
			continue;
		node = table->node[i].number;
		kt_cpus_and(view->setsize, set, table->node[i].cpus, view->set[KT_POSSIBLE]);
	}
	kt_unlock(&lock);
	return node;
}

int kt_topology_next_cache(const struct kt_view *view, unsigned int from, cpu_set_t *set)
{
	const cpu_set_t *next = NULL;
	int level = 0, least = INT_MAX;

	kt_lock(&lock);
	for (size_t i = 1; caches && i <= caches->count; i++) {
		const int first = kt_cpus_next(view->setsize, cache_set(caches, i), 0);

		if (first >= 0 && (unsigned int)first >= from && first < least) {
			next = cache_set(caches, i);
			least = first;
		}
	}
	if (next) {
		level = caches->level;
		kt_cpus_copy(view->setsize, set, next);
	}
	kt_unlock(&lock);
	return level;
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

bool kt_topology_renew(const struct kt_view *view)
{
	bool changed = false, stranger = false;

	kt_lock(&lock);
	if (table) {
		changed = forget_absent(view);
		stranger = has_stranger(view);
	}
	kt_unlock(&lock);
	if (stranger) { /* if it cannot be read, it is tried again at the next look */
		kt_lock(&reading);
		changed = read_machine(view, false) > 0 || changed;
		kt_unlock(&reading);
	}
	return changed;
}

void kt_topology_forget(void)
{
	kt_topology_lock();
	free(table);
	table = NULL;
	free(caches);
	caches = NULL;
	said = false;
	kt_topology_unlock();
}

void kt_topology_await_reading(void)
{
	kt_lock(&reading);
	kt_unlock(&reading);
}

void kt_topology_lock(void)
{
	kt_lock(&reading);
	kt_lock(&lock);
}

void kt_topology_unlock(void)
{
	kt_unlock(&lock);
	kt_unlock(&reading);
}

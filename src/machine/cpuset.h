/* SPDX-License-Identifier: MIT */
/*
 * Our own cpuset: where its files are, and what they say. v2, v1, and the file names of v1 before it had prefixes.
 *
 * ASSUMPTIONS, all functions: the caller holds the room's scan lock, which guards the place that is remembered here;
 * text is scratch of `size` bytes.
 */
#ifndef KT_MACHINE_CPUSET_H
#define KT_MACHINE_CPUSET_H

#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * Find our cgroup's directory anew. Cheap as long as we were not moved: /proc/self/cgroup is read each time, the mount
 * table, which can be long, only when our path has changed or when nothing was found through the place known so far.
 * Cannot fail: what cannot be seen is not there.
 */
void kt_cpuset_locate(char *text, size_t size);
/* Forget the place: the library ends. */
void kt_cpuset_forget(void);

struct kt_cpuset_news {
	bool visible; /* `effective` was read: from our cgroup, or from the nearest ancestor where that was possible */
	int effective_error; /* a nearer file was there and not to be used; 0 if none */
	int granted_error;   /* one of the configured lists was there and not to be used; 0 if none */
	bool confined;       /* our cpuset is not the root one, as far as can be seen */
};

/*
 * effective: the CPUs the kernel lets us run on now, from our cgroup or the nearest visible ancestor that has a cpuset.
 * granted: what is configured, from the top down, offline CPUs included. Where a level's own list has nothing of what
 *   the level above grants, or is empty, that level takes all of it (the kernel's rule for cpuset.cpus in v2).
 * partitions: the CPUs of isolated cpuset partitions, where v2's root is visible and says.
 * possible is where `granted` begins; work is scratch; all have setsize bytes.
 * With an error, the sets are what could be made of the files that were readable: an upper bound of the truth.
 */
struct kt_cpuset_sets {
	size_t setsize;
	const cpu_set_t *possible;
	cpu_set_t *effective, *granted, *partitions, *work;
};
void kt_cpuset_read(const struct kt_cpuset_sets *sets, char *text, size_t size, struct kt_cpuset_news *news);

/*
 * Only the first of these sets, as it is what a CPU that comes or goes changes at once, and only through the place and the
 * file of the last kt_cpuset_read(). False if that will not do: we have been moved, or another file has our list; what is
 * in the set then is not to be used.
 */
bool kt_cpuset_read_effective(const struct kt_cpuset_sets *sets, char *text, size_t size);

/* The file, below the root, that has the CPUs the kernel lets us run on now; and that of the isolated partitions. Empty:
 * none. */
void kt_cpuset_source(char effective[PATH_MAX], char partitions[PATH_MAX]);

/* Call fn with the path, below the root, of each file through which our cpuset may be changed, our own first, whether
 * it exists or not; until fn returns false. */
void kt_cpuset_each_file(bool (*fn)(const char *path, void *arg), void *arg);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * Invented machines: trees of /sys, /proc and cgroup files for KTHREAD_ROOT, complete enough that hwloc reads the same
 * machine from them (HWLOC_FSROOT). And what the library has to say of each.
 */
#ifndef TEST_MACHINE_H
#define TEST_MACHINE_H

#include <stdbool.h>
#include <stddef.h>

#define MACHINE_NODES 64

struct machine_node {
	int number;
	const char *cpus; /* cpulist: every CPU that is there, online or not */
};

struct machine_file {
	const char *path, *text;
};

struct machine {
	const char *name;
	const char *about;
	/* cpulists */
	const char *possible, *present, *online, *isolated, *nohz_full;
	struct machine_node nodes[MACHINE_NODES]; /* up to the first without cpus */
	struct machine_file files[24];            /* more files: cgroups, mounts, ... */

	/* What the library has to say. */
	const char *allowed, *housekeeping;
	bool confined;
	bool hwloc_misses_cpuset;
};

/* NULL: no such machine. machine_at() ends with NULL. */
const struct machine *machine_named(const char *name);
const struct machine *machine_at(size_t index);

/* Write the tree into a directory, which may exist. 0, or -errno with a message on stderr. */
int machine_write(const struct machine *machine, const char *root);

/* Write one file below root, making its directories. 0 or -errno. */
int machine_put(const char *root, const char *path, const char *text);

/* rm -rf */
void machine_remove(const char *root);

#endif

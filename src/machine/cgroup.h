/* SPDX-License-Identifier: MIT */
/*
 * The text formats that say where our cgroup is, for the cpuset and cpu controllers, and what the latter grants. Pure: no I/O, no allocation; for the reading of them see cpuset.h
 * and quota.h.
 */
#ifndef KT_MACHINE_CGROUP_H
#define KT_MACHINE_CGROUP_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

enum kt_cgroup {
	KT_CGROUP_NONE,
	KT_CGROUP_V2,
	KT_CGROUP_V1,
	KT_CGROUP_OLD /* a v1 hierarchy whose files have no prefix: "cpus". Mounted as type cpuset, or with noprefix */
};

/*
 * /proc/self/cgroup: which hierarchy holds this controller of ours ("cpuset", "cpu"), and our path in it. The controller is in one hierarchy only, so
 * a v1 line that names it beats the v2 line of a hybrid machine. KT_CGROUP_V1 stands for both kinds of v1.
 * KT_CGROUP_NONE if no line says, or the path does not fit; path is untouched then.
 */
enum kt_cgroup kt_cgroup_path(const char *text, const char *controller, char path[PATH_MAX]);

/* /proc/self/cpuset: the path alone. False if it is none, or does not fit; path is untouched then. */
bool kt_cgroup_cpuset_path(const char *text, char path[PATH_MAX]);

/* A mount through which the controller may be seen. */
struct kt_cgroup_mount {
	enum kt_cgroup kind;
	char root[PATH_MAX];  /* the cgroup that is seen at the mount point */
	char point[PATH_MAX]; /* without a slash at its end; "" for "/" */
};

/* One line of /proc/self/mountinfo. False if it is no such mount, or malformed; mount is scribbled on then. */
bool kt_cgroup_mountinfo(const char *line, const char *controller, struct kt_cgroup_mount *mount);
/* One line of /proc/mounts, which does not say the root: "/" is taken. */
bool kt_cgroup_mounts(const char *line, const char *controller, struct kt_cgroup_mount *mount);

/*
 * The way from a mount's root down to path: "" or "/a/b"; NULL if the path cannot be seen there: it is elsewhere, or
 * above our cgroup namespace ("/../x").
 */
const char *kt_cgroup_below(const char *root, const char *path);

/* The path begins outside our cgroup namespace. */
bool kt_cgroup_outside(const char *path);

/*
 * How many CPUs' worth of time is granted, rounded up; 0 = no limit. Of v2's cpu.max: "max 100000", "150000 100000"; of
 * v1's cpu.cfs_quota_us ("-1" = no limit) and cpu.cfs_period_us. 0; -EINVAL malformed.
 */
int kt_cgroup_max(const char *text, unsigned int *ret_cpus);
int kt_cgroup_cfs(const char *quota, const char *period, unsigned int *ret_cpus);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * What sysfs says of the machine's CPUs, with the ways round that old and cut trees need. Of the first four sets, none is empty.
 *
 * Every function reads anew; text is scratch of `size` bytes. CPUs beyond the set are left out. kt_sysfs_online() and
 * kt_sysfs_forget() are called under the room's scan lock.
 * ERRORS, all: -ENOENT the machine does not say; -errno of the read; an error that kt_file_garbled() knows. What is in
 * the set then is not to be used.
 */
#ifndef KT_MACHINE_SYSFS_H
#define KT_MACHINE_SYSFS_H

#include <sched.h>
#include <stdbool.h>
#include <stddef.h>

/* `possible`; else `present`; else the cpuN directories. */
int kt_sysfs_possible(char *text, size_t size, size_t setsize, cpu_set_t *set);
/* `present`; else the cpuN directories. */
int kt_sysfs_present(char *text, size_t size, size_t setsize, cpu_set_t *set);
/* `online`; else what each cpuN directory says. */
int kt_sysfs_online(char *text, size_t size, size_t setsize, cpu_set_t *set);
/* Without sysfs: the processors of /proc/cpuinfo. To read it may cost milliseconds, and interrupts every CPU (x86). */
int kt_cpuinfo_online(char *text, size_t size, size_t setsize, cpu_set_t *set);
/* `isolated` or `nohz_full`. A file that is not there is the empty set: older kernels, and those built without. */
int kt_sysfs_isolated(char *text, size_t size, size_t setsize, cpu_set_t *set);
int kt_sysfs_nohz_full(char *text, size_t size, size_t setsize, cpu_set_t *set);

/* Where the last set that was asked for was found: a path, or a pattern of paths; NULL: nowhere. Static text. Under the scan
 * lock. Not of nohz_full. */
const char *kt_sysfs_source(void);

/* Close what kt_sysfs_online() keeps open: the library ends. */
void kt_sysfs_forget(void);

/* Set the CPU online or offline. 0; -EPERM also where the CPU has no such file, because it cannot go; -EBUSY and others
 * of the kernel's. */
int kt_sysfs_write_online(unsigned int cpu, bool online);
/* The N of a directory's entry prefixN; -1 for any other, as cpufreq is for "cpu". Pure. */
long kt_sysfs_number(const char *name, const char *prefix);

#endif

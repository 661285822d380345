/* SPDX-License-Identifier: MIT */
/*
 * What tells us to look again: kernel uevents about CPUs, and writes to the cpuset files of our cgroup and its visible
 * ancestors. Neither carries the truth; they only say when to read it.
 */
#ifndef KT_MACHINE_EVENTS_H
#define KT_MACHINE_EVENTS_H

#include <sched.h>
#include <stdbool.h>
#include <stddef.h>

/* All fds are non-blocking and close-on-exec. */

/* A netlink socket for the kernel's uevents: fd or -errno. */
int kt_uevents_open(void);
/* Read all that is there. The CPUs they were about are added to touched (setsize bytes); every CPU if messages were
 * lost (ENOBUFS). True if there was one. Only what the kernel sent counts. */
bool kt_uevents_drain(int fd, size_t setsize, cpu_set_t *touched);

/* An inotify fd: fd or -errno. It watches nothing until kt_cpuset_watch_renew(). */
int kt_cpuset_watch_open(void);
/* Watch the files that hold our cpuset now (the process may have moved, a directory may have gone or come): call it
 * after each look. 0, or -errno of the first watch that could not be set (-ENOSPC: no more watches); the rest is
 * watched. */
int kt_cpuset_watch_renew(int fd);
/* Read all that is there. True if anything was. */
bool kt_cpuset_watch_drain(int fd);

#endif

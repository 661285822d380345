/* SPDX-License-Identifier: MIT */
/*
 * The plan: a file with the cpulist that this process will be left with soon. CPUs that it does not list are given up
 * before they go, and taken back when it lists them again.
 */
#ifndef KT_HOTPLUG_PLAN_H
#define KT_HOTPLUG_PLAN_H

#include <stdbool.h>

/* 0, -ENOMEM. Nothing to do without a plan_file. It is followed from begin() on. */
int kt_plan_start(void);
void kt_plan_begin(void);
void kt_plan_stop(void);

/* Is it followed? After a true answer kt_plan_follow() may have to be called at a thaw: it does nothing in a freeze. */
bool kt_plan_begun(void);

/* An inotify fd that is readable when the file may have changed; -1 = none. kt_plan_drain() reads all that is there. */
int kt_plan_fd(void);
void kt_plan_drain(void);

/*
 * Read the file, and do what it says, for some CPUs: true if there are more, for which others should not have to wait.
 * In a transition, after a look.
 */
bool kt_plan_follow(void);

#endif

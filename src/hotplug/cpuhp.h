/* SPDX-License-Identifier: MIT */
/*
 * The calls of <kthread/hotplug.h> about steps, for who is in a transition already (kt_hotplug_begin()).
 */
#ifndef KT_HOTPLUG_CPUHP_H
#define KT_HOTPLUG_CPUHP_H

#include <kthread/hotplug.h>

int kt_cpuhp_setup_multi_cpuslocked(int section, const char *name, kthread_cpuhp_fn startup, kthread_cpuhp_fn teardown);
int kt_cpuhp_add_instance_cpuslocked(int step, void *instance, bool calls);
int kt_cpuhp_remove_instance_cpuslocked(int step, void *instance, bool calls);
int kt_cpuhp_remove_cpuslocked(int step, bool calls);

/* For who looks on: one of the application's steps. */
struct kt_step_report {
	int number;
	int section;
	bool multi;
	size_t instances;
	int64_t failures;
	cpu_set_t *up; /* setsize bytes of the view, the caller's; all instances are up there */
	char *name;    /* to be freed */
};

/* The one after this section and number, in the order in which they are called; -1, 0: the first. -ENOENT; -ENOMEM. */
int kt_cpuhp_next_step(int section, int number, struct kt_step_report *ret);

#endif

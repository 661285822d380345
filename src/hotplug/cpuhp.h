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

#endif

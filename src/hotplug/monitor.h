/* SPDX-License-Identifier: MIT */
/*
 * The monitor: one thread that notices changes of the machine and has every thread put right.
 */
#ifndef KT_HOTPLUG_MONITOR_H
#define KT_HOTPLUG_MONITOR_H

#include "base/library.h"

extern const struct kt_room kt_hotplug_room;

/*
 * The monitor waits for fd, too, and calls serve() while that is readable: after it has looked at the CPUs, for whom it
 * must be back soon. One fd at a time; -1 ends it, when fd may be closed, but a call that is under way goes on. While the
 * library watches; with no fd at any time.
 */
void kt_monitor_serve(int fd, void (*serve)(void));

#endif

/* SPDX-License-Identifier: MIT */
/*
 * The monitor: one thread that notices changes of the machine and has every thread put right.
 */
#ifndef KT_HOTPLUG_MONITOR_H
#define KT_HOTPLUG_MONITOR_H

#include "base/library.h"

extern const struct kt_room kt_hotplug_room;

#endif

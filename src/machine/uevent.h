/* SPDX-License-Identifier: MIT */
/*
 * The kernel's uevent messages. Pure.
 */
#ifndef KT_MACHINE_UEVENT_H
#define KT_MACHINE_UEVENT_H

#include <stddef.h>

/*
 * The N of a whole message of the kernel's format about a CPU: "ACTION@/devices/system/cpu/cpuN\0KEY=VALUE\0...", with
 * SUBSYSTEM=cpu among the keys, and a DEVPATH, if there is one, that says the same. -1 for any other: what udev passes
 * on ("libudev"), what is cut off, what is about other things that CPUs have (machinecheck, cpuidle).
 */
int kt_uevent_cpu(const char *message, size_t length);

#endif

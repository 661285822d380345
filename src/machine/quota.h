/* SPDX-License-Identifier: MIT */
/*
 * The time that our cgroup may use: cpu.max, of v1 cpu.cfs_quota_us.
 *
 * ASSUMPTIONS, all functions: the caller holds the room's scan lock, which guards the place that is remembered here;
 * text is scratch of `size` bytes.
 */
#ifndef KT_MACHINE_QUOTA_H
#define KT_MACHINE_QUOTA_H

#include <stddef.h>

/*
 * CPUs' worth of time, rounded up, the least of what our cgroup and its visible ancestors grant; 0 = no limit is seen.
 * A garbled file is passed over. 0; -errno if something that is there could not be read now (out of descriptors, say):
 * *ret_cpus is untouched then, what was read last is as good.
 */
int kt_quota_read(char *text, size_t size, unsigned int *ret_cpus);
/* Forget the place: the library ends. */
void kt_quota_forget(void);

#endif

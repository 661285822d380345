/* SPDX-License-Identifier: MIT */
/*
 * The room's scan lock: one thread at a time looks at the machine, or reads the place of our cpuset (look.h, cpuset.h).
 * Lock order: scan, the two of the topology, and the view's own, which is innermost and never held for longer than a few
 * loads.
 */
#ifndef KT_MACHINE_SCAN_H
#define KT_MACHINE_SCAN_H

void kt_scan_lock(void);
void kt_scan_unlock(void);

#endif

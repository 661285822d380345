/* SPDX-License-Identifier: MIT */
/*
 * hwloc's reading of the machine, as far as sysfs confirms it.
 */
#ifndef KT_MACHINE_HWLOC_H
#define KT_MACHINE_HWLOC_H

#include <hwloc.h>
#include <stdbool.h>

#include "machine/view.h"

/*
 * Nodes and CPUs; with caches, which cost a third more. To be given up with hwloc_topology_destroy().
 * ERRORS: -ENOMEM; -EIO not to be read, or not whole. ASSUMPTIONS: one caller at a time.
 */
int kt_hwloc_load(const struct kt_view *view, bool with_caches, hwloc_topology_t *ret);

#endif

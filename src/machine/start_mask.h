/* SPDX-License-Identifier: MIT */
/*
 * The mask the process was started with: a taskset(1), a systemd CPUAffinity=, an inherited pin.
 */
#ifndef KT_MACHINE_START_MASK_H
#define KT_MACHINE_START_MASK_H

#include <sched.h>
#include <stddef.h>

/*
 * Of the process, as recorded before main(); with a root, of root/proc/self/status. text is scratch of `size` bytes.
 * ERRORS: -ENOENT not known (no /proc, or a list of more than KT_START_LIST bytes); an error of kt_cpulist_read(). The
 * set is untouched then.
 */
int kt_start_mask(char *text, size_t size, size_t setsize, cpu_set_t *set);

#define KT_START_LIST 16384

/*
 * The Cpus_allowed_list of an open status file of /proc, however long that is, as text. size holds the field's line.
 * ERRORS: -errno of read(2); -EIO it is not there, or not whole. The list is scribbled on then.
 */
int kt_status_cpus(int fd, char *list, size_t size);

#endif

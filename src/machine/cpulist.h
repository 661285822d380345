/* SPDX-License-Identifier: MIT */
/*
 * The kernel's list syntax for CPU sets. Pure: no I/O, no allocation, no library state.
 *
 *   list   := any number of regions, separated by commas and white space in any mix; ends at NUL or newline
 *   region := num | num "-" num [":" used "/" group] | "all" [":" used "/" group]
 *   num    := decimal | "N", the last CPU of the width; "all" in any case
 */
#ifndef KT_MACHINE_CPULIST_H
#define KT_MACHINE_CPULIST_H

#include <sched.h>
#include <stddef.h>

/*
 * CPUs 0..width-1 may be named. The set has setsize bytes (any number; width beyond it is cut) and is replaced whole.
 * ERRORS: -EINVAL syntax, a backward range, a bad pattern; -ERANGE a CPU beyond the width; -EOVERFLOW a number of more
 *         than 32 bits. The set is untouched then.
 * ASSUMPTIONS: list and set are not NULL (set may be with setsize 0).
 */
int kt_cpulist_parse(const char *list, size_t width, size_t setsize, cpu_set_t *set);

/*
 * The same for what the kernel says of a machine: CPUs beyond the width are left out instead of being an error (a tree
 * recorded elsewhere, a file that knows of more CPUs than `possible` does).
 */
int kt_cpulist_read(const char *list, size_t width, size_t setsize, cpu_set_t *set);

/* What is wrong, for messages: static text, for one of the errors above. */
const char *kt_cpulist_strerror(int error);

#endif

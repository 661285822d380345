/* SPDX-License-Identifier: MIT */
/*
 * The place of a thread, and what the library knows of the machine's CPUs.
 *
 * wish       what the caller asked for: nothing, a node, a preferred mask, a bound mask, the per-CPU flag
 * effective  what the rule makes of it now; applied by the library, and applied again whenever it has to be
 * actual     what the kernel says
 * broken     a bound thread none of whose CPUs is usable: it runs elsewhere until it can go back, by itself
 *
 *   preferred / node / nothing:  (mask | node's CPUs | HK) & HK & usable; if empty HK & usable; if empty usable
 *   bound:                       mask & usable;                           if empty HK & usable, broken
 *   per-CPU flagged:             {cpu} if usable; else the thread is asked to park, and is rebound before it resumes
 *
 * usable = online & allowed (our cpuset, cut by the mask the process was started with). HK = housekeeping.
 */
#ifndef KTHREAD_PLACEMENT_H
#define KTHREAD_PLACEMENT_H

#include <kthread/export.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

KTHREAD_BEGIN_DECLS

struct kthread;

/*
 * Give a thread its place. All of them: only while it is created, parked or adopted. The new wish replaces the old one
 * whole (the per-CPU flag included) and is in force when the call returns.
 * 0; -EINVAL (a running thread, an empty mask, a CPU that is not possible, a node that does not exist, NULL); -ENOMEM
 * (the old wish stays); -ESRCH it has ended; -ECHILD. Source: the kernel functions of the same names.
 */
/* An offline or disallowed CPU is accepted: the bind is pending, the thread broken until the CPU is usable. */
KTHREAD_API int kthread_bind(struct kthread *k, unsigned int cpu);
KTHREAD_API int kthread_bind_mask(struct kthread *k, size_t setsize, const cpu_set_t *set);
KTHREAD_API int kthread_affine_preferred(struct kthread *k, size_t setsize, const cpu_set_t *set);
KTHREAD_API int kthread_affine_node(struct kthread *k, int node);
/* No wish any more: the housekeeping CPUs. */
KTHREAD_API int kthread_affine_reset(struct kthread *k);
/* Bind to cpu and set the per-CPU flag: asked to park while the CPU is not usable. (The kernel moves a running thread
 * before anybody is told; a loop around kthread_bound_should_stop() notices at its next turn.) cpu < 0 clears the flag; the thread then
 * stays bound to that CPU as by kthread_bind(). Adopted threads cannot be parked: -EOPNOTSUPP. */
KTHREAD_API int kthread_set_per_cpu(struct kthread *k, int cpu);
KTHREAD_API bool kthread_is_per_cpu(const struct kthread *k);

enum kthread_mask {
	KTHREAD_MASK_WISH,
	KTHREAD_MASK_EFFECTIVE,
	KTHREAD_MASK_ACTUAL,
	KTHREAD_MASK_LAST_FROM, /* of the last time the kernel was told: the mask that it had taken before */
	KTHREAD_MASK_LAST_TO /* and the one it was given then, which kthread_info()'s last_error may say it refused */
};

/*
 * Copy one of a thread's masks to set, which has setsize bytes. The wish of a node thread is the node's known CPUs; of
 * one without a wish, every possible CPU. The actual mask is the kernel's Cpus_allowed (offline CPUs included); with
 * simulate, the mask that was recorded last.
 * 0; -EINVAL (setsize below kthread_setsize(), whatever is in the set; unknown which; NULL); -ESRCH it has ended;
 * -ENODATA (LAST_...) it has never been given one, or none before; -ECHILD; -ENOMEM; for the actual mask also what reading the thread's status in /proc returned (-EMFILE, -ENFILE;
 * -ENOENT, -EACCES without a /proc of ours), or -EIO: the mask is not in it.
 */
KTHREAD_API int kthread_get_mask(const struct kthread *k, enum kthread_mask which, size_t setsize, cpu_set_t *set);
KTHREAD_API bool kthread_is_broken(const struct kthread *k);

/*
 * Replace the housekeeping mask, judged by the current view, and re-place every unbound thread; returns once that is
 * applied. (0, NULL) goes back to
 * the configured or derived one. 0; -EINVAL if it holds no usable CPU or a CPU that is not possible, or is NULL (nothing
 * changed); -ENOMEM; -EDEADLK in the callback of a hotplug step, and with kthread_cpus_read_lock() held; -ECHILD.
 * Source: housekeeping_update().
 */
KTHREAD_API int kthread_housekeeping_set(size_t setsize, const cpu_set_t *set);

enum kthread_cpus {
	KTHREAD_CPUS_POSSIBLE,
	KTHREAD_CPUS_PRESENT,
	KTHREAD_CPUS_ONLINE,
	KTHREAD_CPUS_ALLOWED,
	KTHREAD_CPUS_USABLE,
	KTHREAD_CPUS_HOUSEKEEPING, /* cut to the allowed ones */
	KTHREAD_CPUS_ISOLATED
};

/* Copy a set of the current view. 0; -EINVAL (setsize below kthread_setsize(), unknown which, NULL); -ECHILD, or what starting the
 * library returned. Before the first thread is created nobody watches the machine: these calls then look anew. */
KTHREAD_API int kthread_cpus(enum kthread_cpus which, size_t setsize, cpu_set_t *set);
/* CPUs of a node: the online ones, and those seen there before they went offline. The first call about a node loads the
 * machine's topology (milliseconds). -EINVAL no such node, or as kthread_cpus(). */
KTHREAD_API int kthread_node_cpus(int node, size_t setsize, cpu_set_t *set);
/* The node of a CPU; KTHREAD_NO_NODE where it is not known (never seen online); -EINVAL a CPU that is not possible. */
KTHREAD_API int kthread_cpu_node(unsigned int cpu);
/* Bytes that hold every possible CPU: what to give CPU_ALLOC'ed sets and these calls. 0 if the library cannot start. */
KTHREAD_API size_t kthread_setsize(void);
/* The number of the current view; grows by one with each change. 0 if the library cannot start. */
KTHREAD_API uint64_t kthread_generation(void);

/*
 * The kernel's cpulist grammar: "0-3,8", "N" the last CPU, "all", "0-31:2/8" (2 of each 8); regions separated by
 * commas or white space, ended by NUL or newline. The width, of which N is the last, is setsize * 8, whatever the
 * machine has. Empty is the empty set. 0; -EINVAL syntax; -ERANGE a CPU beyond the width; -EOVERFLOW a number beyond
 * 32 bits. After these set is as it was. Needs no library state. Source: bitmap_parselist().
 */
KTHREAD_API int kthread_cpulist_parse(const char *list, size_t setsize, cpu_set_t *set);
/* Ascending, runs as a-b, comma separated. Returns the length of the whole text without its NUL; writes at most len
 * bytes, NUL included (the snprintf rule). -EINVAL set NULL, or buf NULL with len > 0; -EOVERFLOW beyond INT_MAX. */
KTHREAD_API int kthread_cpulist_format(size_t setsize, const cpu_set_t *set, char *buf, size_t len);

KTHREAD_END_DECLS

#endif

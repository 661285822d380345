/* SPDX-License-Identifier: MIT */
/*
 * Which CPU is on which node: hwloc's reading of the machine, loaded when a node is first asked for (it takes
 * milliseconds, which a program without nodes shall not pay), remembered for CPUs that go offline (sysfs forgets them).
 * All functions: any thread; they take the room's topology locks.
 */
#ifndef KT_MACHINE_TOPOLOGY_H
#define KT_MACHINE_TOPOLOGY_H

#include "machine/view.h"

/* 0; -EINVAL if there is no such node; -ENOMEM. */
int kt_topology_node_exists(int node);
/* The node's CPUs into set, which has view->setsize bytes. 0, -EINVAL no such node, -ENOMEM (set untouched). */
int kt_topology_node_cpus(const struct kt_view *view, int node, cpu_set_t *set);
/* Node of a possible cpu; -1 (KTHREAD_NO_NODE) unknown; -ENOMEM. */
int kt_topology_cpu_node(const struct kt_view *view, unsigned int cpu);

/* For who looks on: all nodes and caches. Reads the machine, if nobody has, or if a CPU has come since whose caches are not
 * known. 0; -ENOMEM. A machine that cannot be read has none. */
int kt_topology_read(const struct kt_view *view);
/* What that would find; for who may not wait for it. */
enum kt_topology_state { KT_TOPOLOGY_UNREAD, KT_TOPOLOGY_OLD, KT_TOPOLOGY_WHOLE };
enum kt_topology_state kt_topology_state(const struct kt_view *view);
/* Of what has been read: the next node from this number on, and its CPUs into set. Its number; KTHREAD_NO_NODE. */
int kt_topology_next_node(const struct kt_view *view, int from, cpu_set_t *set);
/* Of the outermost level at which CPUs share caches: the next cache, by the first of its CPUs, from this one on. Its level,
 * and the CPUs that share it, those that were offline when they were read left out. 0: there are no more. */
int kt_topology_next_cache(const struct kt_view *view, unsigned int from, cpu_set_t *set);

/* Does sysfs show one node at most? Then who only wants to know which CPUs are near each other need not ask for nodes, and
 * nothing is loaded. */
bool kt_topology_is_flat(void);
/* After each look, as a reading that failed is tried again: load again if the view has an online CPU whose node is not
 * known; forget CPUs no longer present. Nothing if nobody has asked for a node yet. True if a node's CPUs have changed:
 * the wishes for nodes have to be decided anew. */
bool kt_topology_renew(const struct kt_view *view);

/* The room ends: forget all of it. And the room's topology locks, for fork(); before that, with no lock: a reading, which
 * may last, shall end. */
void kt_topology_forget(void);
void kt_topology_await_reading(void);
void kt_topology_lock(void);
void kt_topology_unlock(void);

/* Put the memory of [addr, addr+size) on a node (pages already touched move, if they can), and back to the default
 * policy. By libnuma; nothing with simulate, or where the kernel has no NUMA. Failure is logged, not returned: the
 * thread runs all the same. */
void kt_memory_to_node(void *addr, size_t size, int node);
void kt_memory_home(void *addr, size_t size);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * The memory of node threads, by libnuma.
 */
#include <errno.h>
#include <limits.h>
#include <numa.h>
#include <numaif.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "base/library.h"
#include "base/log.h"
#include "machine/cpumask.h"
#include "machine/topology.h"

#define MAX_NODES 1024

/* Containers often forbid mbind(2): one message is enough. */
static atomic_bool said;

/* Whole pages inside [addr, addr+size): the rest may be somebody else's. NULL if there is none. */
static void *inner_pages(void *addr, size_t *size)
{
	const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	const uintptr_t start = ((uintptr_t)addr + page - 1) / page * page;
	const uintptr_t end = ((uintptr_t)addr + *size) / page * page;

	if (end <= start)
		return NULL;
	*size = end - start;
	return (char *)addr + (start - (uintptr_t)addr);
}

static bool can_place(void)
{
	return !kt_config()->simulate && numa_available() >= 0;
}

static void complain(int node)
{
	if (errno != ENOSYS && !atomic_exchange_explicit(&said, true, memory_order_relaxed))
		kt_log(NODE_MEMORY, "memory cannot be placed on node %d: %s; threads run all the same", node,
		       strerror(errno));
}

/*
 * Of libnuma only the system call and the question whether there is NUMA: its node masks end the program when memory is
 * short. A fixed mask does, as the kernel is built for 1024 nodes at most.
 */
void kt_memory_to_node(void *addr, size_t size, int node)
{
	unsigned long nodes[MAX_NODES / KT_LONG_BITS] = {0};
	void *start = inner_pages(addr, &size);

	if (!start || node < 0 || node >= MAX_NODES || !can_place())
		return;
	nodes[(size_t)node / KT_LONG_BITS] = 1ul << (size_t)node % KT_LONG_BITS;
	/* Preferred, not bound: a full node must not end a thread. mbind() uses one bit less than it is told of. */
	if (mbind(start, size, MPOL_PREFERRED, nodes, MAX_NODES + 1, MPOL_MF_MOVE) != 0)
		complain(node);
}

void kt_memory_home(void *addr, size_t size)
{
	void *start = inner_pages(addr, &size);

	if (start && can_place())
		mbind(start, size, MPOL_DEFAULT, NULL, 0, 0);
}

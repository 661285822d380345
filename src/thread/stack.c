/* SPDX-License-Identifier: MIT */
#include "thread/stack.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "machine/topology.h"

static bool own_stack(void **addr, size_t *size)
{
	pthread_attr_t attr;
	bool known;

	if (pthread_getattr_np(pthread_self(), &attr) != 0)
		return false;
	known = pthread_attr_getstack(&attr, addr, size) == 0;
	pthread_attr_destroy(&attr);
	return known;
}

void kt_stack_to_node(int node)
{
	void *addr;
	size_t size;

	if (own_stack(&addr, &size))
		kt_memory_to_node(addr, size, node);
}

void kt_stack_home(void)
{
	void *addr;
	size_t size;

	if (own_stack(&addr, &size))
		kt_memory_home(addr, size);
}

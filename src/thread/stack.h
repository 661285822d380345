/* SPDX-License-Identifier: MIT */
/*
 * The calling thread's own stack and a node's memory.
 */
#ifndef KT_THREAD_STACK_H
#define KT_THREAD_STACK_H

void kt_stack_to_node(int node);
/* Before the thread ends: pthreads keeps the stack for the next thread, which shall not inherit the policy. */
void kt_stack_home(void);

#endif

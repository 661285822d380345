/* SPDX-License-Identifier: MIT */
/*
 * A counter with a cell per CPU: to add writes a cache line that no other CPU writes. The kernel's percpu_counter, with
 * the same division of labour: a CPU's thread folds its cell into the common pot when there is enough in it, a CPU that
 * goes hands over what is left, and the sum is the pot and the cells of the CPUs that are there.
 *
 * What the kernel has and user space has not is a moment without preemption: between "which CPU is this?" and the
 * addition a thread may be moved. So a cell is added to atomically (uncontended, a few nanoseconds), and a cell that
 * has been handed over says so itself, in the word that is added to: who comes late takes the pot.
 */
#ifndef COUNTER_H
#define COUNTER_H

#include <stdbool.h>
#include <stdint.h>

/* 0 or -errno. forget: hand over nothing when a CPU goes, to see that this does not go unnoticed. */
int counter_start(bool forget);
/* Nobody adds any more. */
void counter_stop(void);

/* Add one, to the cell of this CPU. False: that is not there, and it went to the pot. */
bool counter_add(unsigned int cpu);

/* Nothing is missing in it and nothing is twice in it: all that had been added before this call, and perhaps some of what
 * is added during it. */
uint64_t counter_sum(void);

/* Are the CPUs that have a cell those on which the library says the step is up? True also while CPUs come or go, when that
 * cannot be told. By one thread at a time. */
bool counter_agrees(void);

/* How often a cell was folded by its CPU's thread, and handed over as the CPU went. */
struct counter_moves {
	uint64_t folds, handovers;
};
struct counter_moves counter_moves(void);

#endif

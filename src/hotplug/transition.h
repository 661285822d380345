/* SPDX-License-Identifier: MIT */
/*
 * CPUs that go and come: the steps, the threads and the view together. All but the room's part within a transition
 * (thread/standstill.h), which kt_hotplug_begin() begins.
 */
#ifndef KT_HOTPLUG_TRANSITION_H
#define KT_HOTPLUG_TRANSITION_H

#include <stdint.h>

#include "hotplug/steps.h"
#include "placement/placement.h"

/* How long a thread is waited for to park where nobody can be told that it does not. */
#define KT_PATIENCE_NS KT_NS_PER_S

/* Begin, with the monitor running, having looked at the machine and done what it asks for. 0, -EDEADLK, -ECHILD, or what
 * starting the library gave. */
int kt_hotplug_begin(void);
void kt_hotplug_end(void);

/* kt_placement_look(), and then the transitions that this makes necessary. */
int kt_hotplug_look(enum kt_doubt doubt, const cpu_set_t *touched, bool *ret_settled);

struct kt_steps *kt_hotplug_steps(void);
bool kt_hotplug_is_internal(int step);
/* The CPUs on which each step is up, as soon as there is one. */
const cpu_set_t *kt_hotplug_up(void);
/* Before the first step: a CPU that is away now comes in by the steps. 0, -ENOMEM. */
int kt_hotplug_confine(void);

/* Who has given up a CPU: it is used again only when nobody has. */
enum kt_giver { KT_BY_CALL, KT_BY_PLAN, KT_GIVERS };

/*
 * Give up one CPU: the cooperative down. 0 also if it is not usable now. Waits until the deadline for threads to park;
 * what has not parked then is treated as after an observed down. Errors as kthread_cpu_down().
 */
int kt_hotplug_give_up(unsigned int cpu, enum kt_giver giver, unsigned int flags, uint64_t deadline);
/* Take it back. Errors as kthread_cpu_up(). */
int kt_hotplug_take_back(unsigned int cpu, enum kt_giver giver, unsigned int flags);
/* Has it been given up by this giver? */
bool kt_hotplug_given_up(unsigned int cpu, enum kt_giver giver);
/* By any of them; for who looks on: in no transition. setsize bytes of the view. */
void kt_hotplug_offlined(cpu_set_t *set);

/* The room's part in the library's life. */
int kt_transition_start(void);
void kt_transition_stop(void);
void kt_transition_fork_prepare(void);
void kt_transition_fork_parent(void);
void kt_transition_fork_child(void);

#endif

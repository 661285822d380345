/* SPDX-License-Identifier: MIT */
/*
 * The thread on which ONLINE steps run: it goes to the CPU concerned, calls, and comes back.
 */
#ifndef KT_HOTPLUG_CPUHP_THREAD_H
#define KT_HOTPLUG_CPUHP_THREAD_H

/* Make it, if there is none yet. 0, -ENOMEM, -EAGAIN. In a transition. */
int kt_cpuhp_thread_start(void);
void kt_cpuhp_thread_quiet(void);
void kt_cpuhp_thread_stop(void);
void kt_cpuhp_thread_forked(void);

/*
 * fn(arg) on the CPU; where that is not usable any more (or for want of memory), wherever there is room. Its result. In a
 * transition, of which fn becomes a part.
 */
int kt_cpuhp_thread_run(unsigned int cpu, int (*fn)(void *arg), void *arg);

#endif

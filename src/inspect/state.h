/* SPDX-License-Identifier: MIT */
/*
 * What kthread_info() and a dump tell alike of one thread.
 */
#ifndef KT_INSPECT_STATE_H
#define KT_INSPECT_STATE_H

#include <kthread/inspect.h>

enum kthread_state kt_state_of(const struct kthread *k);

struct kt_work_counters {
	bool worker; /* it is one's */
	uint64_t works_run, longest_queue;
	uint64_t ktask_chunks;
	bool ktask; /* it is a helper, or has worked in a job */
};
void kt_work_counters(const struct kthread *k, struct kt_work_counters *ret);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * The mask rule (design of record, section 3), as one pure function. Nothing else in the library decides on a mask.
 */
#ifndef KT_PLACEMENT_RULE_H
#define KT_PLACEMENT_RULE_H

#include <kthread/inspect.h>

#include "machine/view.h"

struct kt_wish {
	enum kthread_wish kind;
	int number;            /* node of KTHREAD_WISH_NODE, cpu of KTHREAD_WISH_PER_CPU, else KTHREAD_NO_NODE */
	const cpu_set_t *mask; /* of _PREFERRED, _BOUND and _PER_CPU: view->setsize bytes, not empty; else NULL */
};

/*
 * What becomes of the wish in this view, into effective (view->setsize bytes, never empty as long as a CPU is usable).
 * node_cpus: the CPUs of the wish's node, for KTHREAD_WISH_NODE only. True if the wish is broken: bound or per-CPU, and
 * none of its CPUs usable.
 */
bool kt_rule(const struct kt_wish *wish, const cpu_set_t *node_cpus, const struct kt_view *view, cpu_set_t *effective);

#endif

/* SPDX-License-Identifier: MIT */
#include "placement/rule.h"

#include "machine/cpumask.h"

/* HK & usable; usable if that is empty: better on an isolated CPU than nowhere. */
static void fallback(const struct kt_view *view, cpu_set_t *effective)
{
	kt_cpus_and(view->setsize, effective, view->set[KT_HOUSEKEEPING], view->set[KT_USABLE]);
	if (kt_cpus_empty(view->setsize, effective))
		kt_cpus_copy(view->setsize, effective, view->set[KT_USABLE]);
}

static bool bound(const cpu_set_t *wish, const struct kt_view *view, cpu_set_t *effective)
{
	kt_cpus_and(view->setsize, effective, wish, view->set[KT_USABLE]);
	if (!kt_cpus_empty(view->setsize, effective))
		return false;
	fallback(view, effective);
	return true;
}

static void unbound(const cpu_set_t *preferred, const struct kt_view *view, cpu_set_t *effective)
{
	kt_cpus_and(view->setsize, effective, preferred, view->set[KT_HOUSEKEEPING]);
	kt_cpus_and(view->setsize, effective, effective, view->set[KT_USABLE]);
	if (kt_cpus_empty(view->setsize, effective))
		fallback(view, effective);
}

bool kt_rule(const struct kt_wish *wish, const cpu_set_t *node_cpus, const struct kt_view *view, cpu_set_t *effective)
{
	switch (wish->kind) {
	case KTHREAD_WISH_BOUND:
	case KTHREAD_WISH_PER_CPU:
		return bound(wish->mask, view, effective);
	case KTHREAD_WISH_PREFERRED:
		unbound(wish->mask, view, effective);
		return false;
	case KTHREAD_WISH_NODE:
		unbound(node_cpus, view, effective);
		return false;
	case KTHREAD_WISH_NONE:
		break;
	}
	fallback(view, effective);
	return false;
}

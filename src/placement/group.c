/* SPDX-License-Identifier: MIT */
#include "placement/group.h"

#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "machine/cpumask.h"
#include "machine/topology.h"

pthread_mutex_t kt_placement_lock = PTHREAD_MUTEX_INITIALIZER;
struct kt_groups kt_groups = LIST_HEAD_INITIALIZER(kt_groups);

static void *index_root; /* tsearch(3) tree of groups by wish */

static int compare(const void *a, const void *b)
{
	const struct kt_group *one = a;
	const struct kt_group *other = b;

	if (one->wish.kind != other->wish.kind)
		return one->wish.kind < other->wish.kind ? -1 : 1;
	if (one->wish.number != other->wish.number)
		return one->wish.number < other->wish.number ? -1 : 1;
	return one->wish.mask ? memcmp(one->wish.mask, other->wish.mask, one->setsize) : 0;
}

void kt_mask_put(struct kt_mask *mask)
{
	/* Release: my reads come before; acquire: all others' come before the free. */
	if (mask && atomic_fetch_sub_explicit(&mask->refs, 1, memory_order_acq_rel) == 1)
		free(mask);
}

static struct kt_mask *mask_new(size_t setsize, const cpu_set_t *set)
{
	struct kt_mask *mask = malloc(sizeof(*mask) + setsize);

	if (!mask)
		return NULL;
	atomic_init(&mask->refs, 1);
	memcpy(mask->bits, set, setsize);
	return mask;
}

static void group_free(struct kt_group *group)
{
	free((void *)group->wish.mask);
	kt_mask_put(group->mask);
	free(group);
}

int kt_group_decide(struct kt_group *group, const struct kt_view *view, cpu_set_t *scratch, bool *ret_changed)
{
	const struct kt_wish *wish = &group->wish;
	cpu_set_t *node_cpus = NULL;
	struct kt_mask *mask;
	bool broken;

	if (wish->kind == KTHREAD_WISH_NODE) {
		node_cpus = malloc(view->setsize);
		if (!node_cpus)
			return -ENOMEM;
		if (kt_topology_node_cpus(view, wish->number, node_cpus) != 0)
			kt_cpus_zero(view->setsize, node_cpus); /* the node has gone with its CPUs */
	}
	broken = kt_rule(wish, node_cpus, view, scratch);
	free(node_cpus);
	*ret_changed = broken != group->broken;
	if (!group->mask || !kt_cpus_equal(view->setsize, scratch, group->effective)) {
		mask = mask_new(view->setsize, scratch);
		if (!mask)
			return -ENOMEM;
		kt_mask_put(group->mask);
		group->mask = mask;
		group->effective = kt_mask_set(mask);
		*ret_changed = true;
	}
	group->broken = broken;
	group->all_online = kt_cpus_equal(view->setsize, view->set[KT_ONLINE], view->set[KT_POSSIBLE]);
	return 0;
}

static struct kt_group *group_new(const struct kt_wish *wish, const struct kt_view *view)
{
	struct kt_group *group = calloc(1, sizeof(*group));
	cpu_set_t *scratch = malloc(view->setsize);
	cpu_set_t *mask = NULL;
	bool changed;

	if (!group || !scratch)
		goto fail;
	group->wish = *wish;
	group->wish.mask = NULL;
	group->setsize = view->setsize;
	group->round = 1;
	TAILQ_INIT(&group->members);
	if (wish->mask) {
		mask = malloc(view->setsize);
		if (!mask)
			goto fail;
		kt_cpus_copy(view->setsize, mask, wish->mask);
		group->wish.mask = mask;
	}
	if (kt_group_decide(group, view, scratch, &changed) != 0)
		goto fail;
	group->said_broken = group->broken;
	free(scratch);
	return group;
fail:
	free(scratch);
	if (group)
		group_free(group);
	return NULL;
}

struct kt_group *kt_group_get(const struct kt_wish *wish, const struct kt_view *view)
{
	const struct kt_group key = {.wish = *wish, .setsize = view->setsize};
	struct kt_group **found = tfind(&key, &index_root, compare);
	struct kt_group *group;

	if (found) {
		(*found)->users++;
		return *found;
	}
	group = group_new(wish, view);
	if (!group)
		return NULL;
	if (!tsearch(group, &index_root, compare)) {
		group_free(group);
		return NULL;
	}
	LIST_INSERT_HEAD(&kt_groups, group, link);
	group->users = 1;
	return group;
}

void kt_group_put(struct kt_group *group)
{
	if (--group->users > 0)
		return;
	tdelete(group, &index_root, compare);
	LIST_REMOVE(group, link);
	group_free(group);
}

void kt_group_leave(struct kt_place *place)
{
	struct kt_group *group = place->group;

	if (!group)
		return;
	TAILQ_REMOVE(&group->members, place, link);
	place->group = NULL;
	kt_group_put(group);
}

void kt_group_enter(struct kt_group *group, struct kt_place *place)
{
	kt_group_leave(place);
	place->group = group;
	place->round = group->round; /* whoever moves it tells the kernel, too */
	TAILQ_INSERT_TAIL(&group->members, place, link);
}

/* SPDX-License-Identifier: MIT */
/*
 * kt_group_*: threads of one wish share one group.
 */
#include <errno.h>
#include <string.h>

#include "placement/group.h"
#include "view.h"

/* The node's CPUs in these tests; or an error. */
static struct {
	int error;
	uint64_t cpus[4];
} nodes;

int __wrap_kt_topology_node_cpus(const struct kt_view *view, int node, cpu_set_t *set)
{
	if (nodes.error)
		return nodes.error;
	set_bits(view->setsize, set, nodes.cpus[node]);
	return 0;
}

static struct kt_view *eight(void)
{
	struct kt_view *view = view_make(8);

	for (int i = 0; i < KT_SETS; i++)
		set_bits(view->setsize, view->set[i], 0xff);
	set_bits(view->setsize, view->set[KT_ISOLATED], 0);
	return view;
}

static struct kt_group *get(const struct kt_view *view, enum kthread_wish kind, int number, uint64_t bits)
{
	cpu_set_t *mask = calloc(1, view->setsize);
	const struct kt_wish wish = {.kind = kind, .number = number, .mask = bits ? mask : NULL};
	struct kt_group *group;

	set_bits(view->setsize, mask, bits);
	group = kt_group_get(&wish, view);
	free(mask); /* it was copied */
	assert_non_null(group);
	return group;
}

static void kt_group_get__same_wish_same_group(void **state)
{
	struct kt_view *view = eight();
	struct kt_group *one = get(view, KTHREAD_WISH_BOUND, KTHREAD_NO_NODE, 0x0c);
	struct kt_group *again = get(view, KTHREAD_WISH_BOUND, KTHREAD_NO_NODE, 0x0c);

	assert_ptr_equal(one, again);
	assert_int_equal(one->users, 2);
	assert_int_equal(get_bits(view->setsize, one->effective), 0x0c);
	kt_group_put(one);
	assert_int_equal(one->users, 1);
	assert_ptr_equal(LIST_FIRST(&kt_groups), one);
	kt_group_put(one);
	assert_true(LIST_EMPTY(&kt_groups));
	free(view);
}

static void kt_group_get__other_wish_other_group(void **state)
{
	struct kt_view *view = eight();
	struct kt_group *groups[] = {
	    get(view, KTHREAD_WISH_NONE, KTHREAD_NO_NODE, 0),
	    get(view, KTHREAD_WISH_NODE, 0, 0),
	    get(view, KTHREAD_WISH_NODE, 1, 0),
	    get(view, KTHREAD_WISH_PREFERRED, KTHREAD_NO_NODE, 0x08),
	    get(view, KTHREAD_WISH_BOUND, KTHREAD_NO_NODE, 0x08),
	    get(view, KTHREAD_WISH_PER_CPU, 3, 0x08),
	    get(view, KTHREAD_WISH_BOUND, KTHREAD_NO_NODE, 0x18),
	    get(view, KTHREAD_WISH_PER_CPU, 4, 0x10),
	    get(view, KTHREAD_WISH_PREFERRED, KTHREAD_NO_NODE, 0x18),
	};
	const size_t count = sizeof(groups) / sizeof(groups[0]);

	for (size_t i = 0; i < count; i++) {
		for (size_t j = 0; j < i; j++)
			assert_ptr_not_equal(groups[i], groups[j]);
	}
	for (size_t i = 0; i < count; i++)
		kt_group_put(groups[i]);
	assert_true(LIST_EMPTY(&kt_groups));
	free(view);
}

static void kt_group_enter__leaves_the_old_one(void **state)
{
	struct kt_view *view = eight();
	struct kt_place place = {0};
	struct kt_group *one = get(view, KTHREAD_WISH_BOUND, KTHREAD_NO_NODE, 0x01);
	struct kt_group *other = get(view, KTHREAD_WISH_BOUND, KTHREAD_NO_NODE, 0x02);

	one->users++; /* ours */
	other->round = 7;
	kt_group_enter(one, &place);
	assert_ptr_equal(place.group, one);
	kt_group_enter(other, &place);
	assert_ptr_equal(place.group, other);
	assert_int_equal(place.round, 7); /* not due: whoever moves it tells the kernel */
	assert_true(TAILQ_EMPTY(&one->members));
	assert_int_equal(one->users, 1);
	assert_ptr_equal(TAILQ_FIRST(&other->members), &place);
	kt_group_leave(&place);
	assert_null(place.group);
	kt_group_leave(&place); /* nothing */
	kt_group_put(one);
	assert_true(LIST_EMPTY(&kt_groups));
	free(view);
}

/* Into the group it is in already: as kthread_bind() with the same CPU does. */
static void kt_group_enter__the_same_group(void **state)
{
	struct kt_view *view = eight();
	struct kt_place place = {0};
	struct kt_group *group = get(view, KTHREAD_WISH_BOUND, KTHREAD_NO_NODE, 0x01);

	kt_group_enter(group, &place);
	kt_group_enter(get(view, KTHREAD_WISH_BOUND, KTHREAD_NO_NODE, 0x01), &place);
	assert_ptr_equal(place.group, group);
	assert_int_equal(group->users, 1);
	assert_ptr_equal(TAILQ_FIRST(&group->members), &place);
	assert_null(TAILQ_NEXT(&place, link));
	kt_group_leave(&place);
	assert_true(LIST_EMPTY(&kt_groups));
	free(view);
}

static void kt_group_decide__tells_what_changed(void **state)
{
	struct kt_view *view = eight();
	cpu_set_t *scratch = malloc(view->setsize);
	struct kt_group *group = get(view, KTHREAD_WISH_BOUND, KTHREAD_NO_NODE, 0x08);
	bool changed = true;

	assert_int_equal(kt_group_decide(group, view, scratch, &changed), 0);
	assert_false(changed);
	set_bits(view->setsize, view->set[KT_USABLE], 0xf7);
	assert_int_equal(kt_group_decide(group, view, scratch, &changed), 0);
	assert_true(changed);
	assert_true(group->broken);
	assert_int_equal(get_bits(view->setsize, group->effective), 0xf7);
	/* only the flag differs: usable is all it would have anyway */
	set_bits(view->setsize, view->set[KT_USABLE], 0x01);
	kt_group_decide(group, view, scratch, &changed);
	assert_true(changed);
	kt_group_put(group);
	group = get(view, KTHREAD_WISH_BOUND, KTHREAD_NO_NODE, 0x03);
	assert_int_equal(get_bits(view->setsize, group->effective), 0x01);
	set_bits(view->setsize, view->set[KT_HOUSEKEEPING], 0x0f);
	kt_group_decide(group, view, scratch, &changed);
	assert_false(changed);
	kt_group_put(group);
	free(scratch);
	free(view);
}

static void kt_group_decide__node(void **state)
{
	struct kt_view *view = eight();
	cpu_set_t *scratch = malloc(view->setsize);
	struct kt_group *group;
	bool changed;

	nodes.cpus[2] = 0x30;
	group = get(view, KTHREAD_WISH_NODE, 2, 0);
	assert_int_equal(get_bits(view->setsize, group->effective), 0x30);
	nodes.cpus[2] = 0x10; /* the other has gone from the machine */
	assert_int_equal(kt_group_decide(group, view, scratch, &changed), 0);
	assert_true(changed);
	assert_int_equal(get_bits(view->setsize, group->effective), 0x10);
	nodes.error = -EINVAL; /* and so has the node */
	assert_int_equal(kt_group_decide(group, view, scratch, &changed), 0);
	assert_int_equal(get_bits(view->setsize, group->effective), 0xff);
	assert_false(group->broken);
	kt_group_put(group);
	nodes.error = 0;
	free(scratch);
	free(view);
}

static void kt_group_get__ten_thousand_wishes(void **state)
{
	enum { COUNT = 10000 };
	struct kt_view *view = view_make(4096);
	struct kt_group **groups = calloc(COUNT, sizeof(*groups));
	cpu_set_t *mask = calloc(1, view->setsize);
	struct kt_wish wish = {.kind = KTHREAD_WISH_PREFERRED, .number = KTHREAD_NO_NODE, .mask = mask};
	struct kt_group *group;
	size_t listed = 0;

	for (int i = 0; i < KT_SETS; i++)
		memset(view->set[i], 0xff, view->setsize);
	for (int round = 0; round < 2; round++) {
		for (unsigned int i = 0; i < COUNT; i++) {
			kt_cpus_zero(view->setsize, mask);
			/* the bits of i + 1, spread over the whole width */
			for (unsigned int bit = 0; bit < 14; bit++) {
				if ((i + 1) >> bit & 1)
					kt_cpus_add(view->setsize, mask, bit * 292);
			}
			group = kt_group_get(&wish, view);
			assert_non_null(group);
			assert_true(round == 0 || group == groups[i]);
			assert_true(kt_cpus_equal(view->setsize, group->effective, mask));
			groups[i] = group;
		}
	}
	LIST_FOREACH(group, &kt_groups, link)
		listed++;
	assert_int_equal(listed, COUNT);
	for (unsigned int i = 0; i < COUNT; i++) {
		kt_group_put(groups[i]);
		kt_group_put(groups[i]);
	}
	assert_true(LIST_EMPTY(&kt_groups));
	free(mask);
	free(groups);
	free(view);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(kt_group_get__same_wish_same_group),
	    cmocka_unit_test(kt_group_get__other_wish_other_group),
	    cmocka_unit_test(kt_group_enter__leaves_the_old_one),
	    cmocka_unit_test(kt_group_enter__the_same_group),
	    cmocka_unit_test(kt_group_decide__tells_what_changed),
	    cmocka_unit_test(kt_group_decide__node),
	    cmocka_unit_test(kt_group_get__ten_thousand_wishes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

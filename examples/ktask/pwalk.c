/* SPDX-License-Identifier: MIT */
/*
 * pwalk: a range that is not contiguous. A million inodes on a list, scattered over memory, are checked; an iterator tells
 * ktask where the next chunk begins. Then one of them is broken: its error comes back, and what had been marked is not.
 *
 * usage: pwalk [COUNT]    (1000000)
 */
#include <kthread/kthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct inode {
	struct inode *next;
	uint32_t number, hash;
	bool marked;
};

#define BROKEN 1 /* any value but 0 is an error, and the client's own */

static uint32_t hash_of(uint32_t number)
{
	for (int i = 0; i < 64; i++)
		number = number * 2654435761u + (number >> 15) + 1;
	return number;
}

/* Only pointers are followed here: it is done for one chunk at a time. */
static void *walk(void *position, size_t size)
{
	struct inode *inode = position;

	while (size-- > 0)
		inode = inode->next;
	return inode;
}

static void unmark(void *start, void *end, void *arg)
{
	(void)arg;
	for (struct inode *inode = start; inode != end; inode = inode->next)
		inode->marked = false;
}

static int check(void *start, void *end, void *arg)
{
	for (struct inode *inode = start; inode != end; inode = inode->next) {
		if (inode->hash != hash_of(inode->number)) {
			*(uint32_t *)arg = inode->number;
			unmark(start, inode, NULL); /* what has failed cleans up after itself */
			return BROKEN;
		}
		inode->marked = true;
	}
	return 0;
}

/* On the list in the order of their numbers, in memory anywhere. */
static struct inode *make_list(size_t count, struct inode **ret_all)
{
	struct inode *all = calloc(count, sizeof(*all));
	struct inode *first = NULL;
	const size_t step = 7919;

	for (size_t i = count; all && i-- > 0;) {
		struct inode *inode = &all[i * step % count];

		if (inode->hash) /* count is a multiple of step: not scattered, then */
			inode = &all[i];
		*inode = (struct inode){first, (uint32_t)i, hash_of((uint32_t)i), false};
		first = inode;
	}
	*ret_all = all;
	return first;
}

static size_t marked(const struct inode *inode)
{
	size_t count = 0;

	for (; inode; inode = inode->next)
		count += inode->marked;
	return count;
}

int main(int argc, char **argv)
{
	const size_t count = argc > 1 ? (size_t)strtoul(argv[1], NULL, 10) : 1000000;
	uint32_t broken = 0;
	struct inode *all, *list;
	DEFINE_KTASK_CTL(ctl, check, &broken, 500);
	int error;

	if (argc > 2 || count < 2 || count % 7919 == 0) {
		fprintf(stderr, "usage: pwalk [COUNT]\n");
		return 2;
	}
	list = make_list(count, &all);
	if (!list) {
		fprintf(stderr, "pwalk: no memory\n");
		return 1;
	}
	ktask_ctl_set_iter_func(&ctl, walk);
	ktask_ctl_set_undo_func(&ctl, unmark);
	error = ktask_run(list, count, &ctl);
	printf("%zu inodes: error %d, %zu marked\n", count, error, marked(list));
	if (error || marked(list) != count)
		return 1;
	unmark(list, NULL, NULL);
	((struct inode *)walk(list, count / 2))->hash ^= 1;
	error = ktask_run(list, count, &ctl);
	printf("inode %u is broken: error %d, %zu marked\n", broken, error, marked(list));
	if (error != BROKEN || broken != count / 2 || marked(list) != 0)
		return 1;
	free(all);
	return 0;
}

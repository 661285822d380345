/* SPDX-License-Identifier: MIT */
/*
 * A look at the machine and the threads: what kthread_cpus(), kthread_for_each() and kthread_info() say at one moment.
 */
#ifndef STEADY_LOOK_H
#define STEADY_LOOK_H

#include <kthread/kthread.h>

struct row {
	struct kthread_info info;
	char *wish; /* "bound 3" */
	char *effective;
	char *actual;
	unsigned int astray; /* how many looks in a row actual has not been effective; events() counts them */
};

struct look {
	uint64_t at_ns;
	char *online, *usable, *housekeeping; /* cpulists */
	size_t count;
	struct row *rows; /* oldest thread first */
};

/* NULL: no memory. */
struct look *look_take(void);
void look_free(struct look *look);

/* The same thread in another look; NULL if it is not there. */
const struct row *look_find(const struct look *look, const struct row *row);

uint64_t now_ns(void);

#endif

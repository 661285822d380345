/* SPDX-License-Identifier: MIT */
#include "crowd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

static int sleeper(void *data)
{
	(void)data;
	while (!kthread_should_stop())
		kthread_wait();
	return 0;
}

struct crowd crowd_create(size_t wanted)
{
	struct kthread_attr attr = KTHREAD_ATTR_INIT;
	struct crowd crowd = {.threads = calloc(wanted, sizeof(struct kthread *))};

	attr.stack_size = CROWD_STACK;
	BENCH_CHECK(crowd.threads);
	while (crowd.count < wanted) {
		struct kthread *k = kthread_create_attr(&attr, sleeper, NULL, "crowd/%zu", crowd.count);

		if (!k) {
			bench_note("only %zu of %zu threads: %s", crowd.count, wanted, strerror(errno));
			break;
		}
		crowd.threads[crowd.count++] = k;
	}
	BENCH_CHECK(crowd.count > 0);
	/* kthread_tid() waits for the birth; what remains is the way into the futex */
	for (size_t i = 0; i < crowd.count; i++)
		BENCH_CHECK(kthread_tid(crowd.threads[i]) > 0);
	bench_sleep(200000000);
	return crowd;
}

void crowd_stop(struct crowd *crowd)
{
	for (size_t i = 0; i < crowd->count; i++)
		kthread_stop(crowd->threads[i]);
	free(crowd->threads);
	*crowd = (struct crowd){0};
}

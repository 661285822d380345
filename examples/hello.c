/* SPDX-License-Identifier: MIT */
#include <kthread/kthread.h>
#include <stdio.h>
#include <unistd.h>

static int tick(void *data)
{
	int turns = 0;

	(void)data;
	while (!kthread_should_stop()) {
		turns++;
		kthread_wait_for(100 * 1000 * 1000); /* 100 ms, or until somebody stops us */
	}
	return turns;
}

int main(void)
{
	/* Bound to CPU 0, and back on it whenever it has gone and returned. */
	struct kthread *k = kthread_run_on_cpu(tick, NULL, 0, "tick/%u");

	if (!k) {
		perror("kthread_run_on_cpu");
		return 1;
	}
	sleep(1);
	printf("tick/0 made %d turns\n", kthread_stop(k));
	return 0;
}

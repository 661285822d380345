/* SPDX-License-Identifier: MIT */
/*
 * A user's program, valid as C and as C++: one call at least of every part of the library. Its argument is the version
 * that the package files speak of.
 */
#include <errno.h>
#include <kthread/kthread.h>
#include <stdio.h>
#include <string.h>

static struct kthread_completion started = KTHREAD_COMPLETION_INIT;

static int work(void *data)
{
	kthread_complete(&started);
	while (!kthread_should_stop()) {
		if (kthread_should_park())
			kthread_parkme();
		kthread_wait();
	}
	return *(int *)data;
}

#define CHECK(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "consumer: %s:%d: %s\n", __FILE__, __LINE__, #condition); \
			return 1; \
		} \
	} while (0)

int main(int argc, char **argv)
{
	struct kthread_config config = KTHREAD_CONFIG_INIT;
	struct kthread_info info;
	struct kthread *k;
	char list[4096];
	cpu_set_t set;
	int result = 42;

	CHECK(argc == 2 && strcmp(kthread_version(), argv[1]) == 0);
	CHECK(kthread_cpulist_parse("0-3,8", sizeof(set), &set) == 0);
	CHECK(kthread_cpulist_format(sizeof(set), &set, list, sizeof(list)) == 5 && strcmp(list, "0-3,8") == 0);

	config.poll_ms = 0;
	CHECK(kthread_init(&config) == 0);
	CHECK(kthread_init(&config) == -EALREADY);
	CHECK(!kthread_should_stop());
	CHECK(kthread_setsize() > 0 && kthread_generation() > 0);

	k = kthread_run(work, &result, "consumer/%d", 1);
	CHECK(k);
	CHECK(kthread_wait_for_completion(&started) == 0);
	memset(&info, 0, sizeof(info));
	info.size = sizeof(info);
	CHECK(kthread_info(k, &info) == 0 && strcmp(info.name, "consumer/1") == 0);
	CHECK(kthread_park(k) == 0);
	CHECK(kthread_affine_reset(k) == 0);
	kthread_unpark(k);
	CHECK(kthread_stop(k) == 42);
	CHECK(kthread_fini() == 0);
#ifdef __cplusplus
	printf("kthread %s from C++: well\n", kthread_version());
#else
	printf("kthread %s from C: well\n", kthread_version());
#endif
	return 0;
}

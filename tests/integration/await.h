/* SPDX-License-Identifier: MIT */
/*
 * What the integration tests share: waiting for an event with a generous limit, never for a time; and looking at a
 * thread with the kernel's eyes. Assertions of CMocka's belong to the main thread; threads of a test use CHECK().
 */
#ifndef TESTS_AWAIT_H
#define TESTS_AWAIT_H

#include <errno.h>
#include <kthread/kthread.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define AWAIT_LIMIT_NS 30000000000ull
#define MS 1000000ull

static inline uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* For any thread: says what is wrong, and ends the program. */
#define CHECK(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
			abort(); \
		} \
	} while (0)

/* For any thread: wait until the condition holds, at most AWAIT_LIMIT_NS. */
#define AWAIT(condition) \
	do { \
		const uint64_t await_until = now_ns() + AWAIT_LIMIT_NS; \
		while (!(condition)) { \
			if (now_ns() > await_until) { \
				fprintf(stderr, "%s:%d: waited in vain for: %s\n", __FILE__, __LINE__, #condition); \
				abort(); \
			} \
			sched_yield(); \
		} \
	} while (0)

#define AWAIT_DONE(completion) CHECK(kthread_wait_for_completion_timeout((completion), AWAIT_LIMIT_NS) == 0)

/* The state letter of a thread of ours (R, S, ...); 0 = it is gone. */
static inline char task_state(pid_t tid)
{
	char path[64];
	char line[512];
	const char *state = NULL;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)tid);
	file = fopen(path, "re");
	if (!file)
		return '\0';
	if (fgets(line, sizeof(line), file)) {
		state = strrchr(line, ')');
		state = state && state[1] ? state + 2 : NULL;
	}
	fclose(file);
	return (char)(state ? *state : '\0');
}

static inline bool task_asleep(pid_t tid)
{
	return task_state(tid) == 'S';
}

/* Its code has ended, and the kernel has done with it. */
static inline bool task_gone(pid_t tid)
{
	const char state = task_state(tid);

	return state == '\0' || state == 'X';
}

/* A number from /proc/self/task/TID/status, -1 if it is not there. */
static inline long long task_number(pid_t tid, const char *key)
{
	char path[64];
	char line[4096];
	long long number = -1;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/status", (int)tid);
	file = fopen(path, "re");
	if (!file)
		return -1;
	while (number < 0 && fgets(line, sizeof(line), file)) {
		if (strncmp(line, key, strlen(key)) == 0 && line[strlen(key)] == ':')
			number = strtoll(line + strlen(key) + 1, NULL, 10);
	}
	fclose(file);
	return number;
}

/* How often it has gone to sleep: unchanged means that it has not run in between, if it sleeps both times. */
static inline long long task_sleeps(pid_t tid)
{
	return task_number(tid, "voluntary_ctxt_switches");
}

static inline long long tasks(void)
{
	return task_number(getpid(), "Threads");
}

static inline void *tell_tid(void *arg)
{
	*(pid_t *)arg = gettid();
	return NULL;
}

/* ThreadSanitizer has a thread of its own, as soon as there is any: have it before counting. */
static inline long long tasks_before(void)
{
	pthread_t thread;
	pid_t tid;

	CHECK(pthread_create(&thread, NULL, tell_tid, &tid) == 0);
	pthread_join(thread, NULL);
	AWAIT(task_state(tid) == '\0'); /* a moment after the join */
	return tasks();
}

/* Asleep for good: it has not run between several looks, which a thread that spins before it sleeps would have. */
static inline void await_settled(pid_t tid)
{
	long long before = -1;

	for (int calm = 0; calm < 3;) {
		long long now;

		AWAIT(task_asleep(tid));
		now = task_sleeps(tid);
		calm = now == before ? calm + 1 : 0;
		before = now;
		sched_yield();
	}
}

/* It has entered its function, and sleeps in a kthread_wait*() of it. */
static inline void await_waiting(const struct kthread *k)
{
	struct kthread_info info = {.size = sizeof(info)};

	AWAIT(kthread_info(k, &info) == 0 && info.state == KTHREAD_WAITING);
	await_settled(kthread_tid(k));
}

static inline int open_fds(void)
{
	int count = 0;

	for (int fd = 0; fd < 256; fd++) {
		struct stat about;

		count += fstat(fd, &about) == 0;
	}
	return count;
}

/* Run fn in a forked child: its exit status is what fn returns; 255 and more: it was killed, or hung. */
static inline int in_child(int (*fn)(void *arg), void *arg)
{
	const uint64_t until = now_ns() + AWAIT_LIMIT_NS;
	pid_t pid;
	pid_t ended;
	int status;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		const int result = fn(arg);

		fflush(NULL);
		_exit(result);
	}
	CHECK(pid > 0);
	while ((ended = waitpid(pid, &status, WNOHANG)) == 0 || (ended < 0 && errno == EINTR)) {
		if (now_ns() > until) {
			kill(pid, SIGKILL);
			waitpid(pid, &status, 0);
			fprintf(stderr, "the child hung\n");
			return 1000;
		}
		sched_yield();
	}
	CHECK(ended == pid);
	if (WIFSIGNALED(status))
		fprintf(stderr, "the child was ended by signal %d\n", WTERMSIG(status));
	return WIFEXITED(status) ? WEXITSTATUS(status) : 255 + WTERMSIG(status);
}

/* In a child: the line of the first thing that is not so becomes its exit status, and is printed. */
#define EXPECT(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "%s:%d: in the child: not so: %s (errno %d)\n", __FILE__, __LINE__, \
			        #condition, errno); \
			return 1; \
		} \
	} while (0)

/* ---- functions for threads -------------------------------------------------------------------------------------- */

/* The ordinary kthread: waits, parks, stops. Its result is its data. */
static inline int obedient(void *data)
{
	while (!kthread_should_stop()) {
		if (kthread_should_park())
			kthread_parkme();
		else
			kthread_wait();
	}
	return (int)(intptr_t)data;
}

static inline int result_only(void *data)
{
	return (int)(intptr_t)data;
}

#define AS_DATA(number) ((void *)(intptr_t)(number))

/* Every thread of the test has been given up: nothing may be left. A group teardown. */
static inline int fini_finds_nothing(void **state)
{
	const int error = kthread_fini();

	(void)state;
	if (error)
		fprintf(stderr, "kthread_fini(): %d: somebody is left\n", error);
	return error;
}

#endif

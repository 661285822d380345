/* SPDX-License-Identifier: MIT */
/*
 * Starting and ending the library, and what it takes for granted about the machine.
 *
 * Nobody has to call kthread_init(): the first call that needs the library starts it with the defaults and the
 * environment. Calling it first is the way to choose otherwise, and to learn of a malformed environment value.
 */
#ifndef KTHREAD_LIBRARY_H
#define KTHREAD_LIBRARY_H

#include <kthread/export.h>
#include <stdbool.h>
#include <stddef.h>

KTHREAD_BEGIN_DECLS

/*
 * Options of kthread_init(). Start from KTHREAD_CONFIG_INIT and change what you need. A struct of an older, shorter
 * version is accepted (missing fields have their defaults); one that is longer than this library knows is accepted
 * only if the unknown tail is zero (-E2BIG otherwise). Strings are copied.
 */
struct kthread_config {
	size_t size;      /* sizeof(struct kthread_config) */
	const char *root; /* prefix for /sys, /proc and /sys/fs/cgroup; NULL = KTHREAD_ROOT, else "" */
	bool simulate;    /* never hand a mask to the kernel: compute and record it. KTHREAD_SIMULATE=1 sets it, too */
	const char *housekeeping; /* cpulist; NULL = KTHREAD_HOUSEKEEPING, else possible - isolated - nohz_full */
	unsigned int poll_ms;     /* bounded poll, milliseconds; 0 = never. KTHREAD_CONFIG_INIT: KTHREAD_POLL_DEFAULT */
	bool uevents;             /* listen to the kernel's CPU uevents (default true) */
	bool inotify;             /* watch the cpuset files of our cgroup and its visible ancestors (default true) */
	/* A file with the cpulist we will be left with soon; NULL = none. CPUs that it does not list are given up as by
	 * kthread_cpu_down() before they go, those that it lists again are taken back; while there is no such file nothing is
	 * given up. A list that is malformed, or empty, is logged, and the former plan stays. Replace the file by renaming
	 * another over it. Needs inotify, or is seen at the next poll. A relative name is of the directory at kthread_init(). */
	const char *plan_file;
	/* Messages; NULL = silent, or KTHREAD_LOG. Levels of syslog(3). One line without control characters, which begins with
	 * the number of the message, "KT017 ": numbers, levels and meanings stay, texts may improve; kthread-log(7) lists them.
	 * Of one number no more than 10 are told within 5 seconds, unless it answers a call that promises it; the first one
	 * after that begins "KT017 (23 suppressed) ". */
	void (*log)(int level, const char *message, void *arg);
	void *log_arg;
	/* The control socket that is opened, and the monitor started with it, by kthread_init() (or, for KTHREAD_CONTROL where
	 * nobody calls that, with the first thread): see kthread_control_listen(), also for "". NULL = KTHREAD_CONTROL, else
	 * none. That it cannot be opened is logged, and all else works. */
	const char *control;
	bool control_read_only; /* it only shows, and changes nothing. KTHREAD_CONTROL_READ_ONLY=1 sets it, too */
};

#define KTHREAD_POLL_DEFAULT (~0u) /* KTHREAD_POLL_MS, else 1000 */

#define KTHREAD_CONFIG_INIT \
	{ \
		sizeof(struct kthread_config), NULL, false, NULL, KTHREAD_POLL_DEFAULT, true, true, NULL, NULL, NULL, \
		    NULL, false \
	}

/*
 * Start the library. config NULL means KTHREAD_CONFIG_INIT.
 *
 * Environment, read here, ignored when the process runs with AT_SECURE; what config sets beats it:
 *   KTHREAD_ROOT=DIR  KTHREAD_SIMULATE=0|1  KTHREAD_HOUSEKEEPING=CPULIST  KTHREAD_POLL_MS=N  KTHREAD_LOG=LEVEL
 *   KTHREAD_CONTROL=PATH  KTHREAD_CONTROL_READ_ONLY=0|1
 * KTHREAD_LOG is 0..7 or emerg|alert|crit|err|warning|notice|info|debug: messages up to that level go to stderr, one
 * line each, unless config->log is set.
 *
 * The log function is called with no lock of the library's held, from whichever thread met the matter; it may call
 * the library. While that is down, because a start has failed or it has ended, no call from there starts it with the
 * defaults: -EDEADLK.
 * A child that it forks must not return from it.
 *
 * 0; -EALREADY already up; -EINVAL a malformed value (logged, with the value), a size below the first version's, or a
 * housekeeping list without a usable CPU; -E2BIG unknown fields are set; -ENOMEM.
 * On failure nothing has been started. No thread is started here (but with `control`): the monitor starts with the
 * first thread that is created or adopted.
 */
KTHREAD_API int kthread_init(const struct kthread_config *config);

/*
 * End the library: stop the monitor, free everything. kthread_init() may follow.
 * 0 (also when it was not up); -EBUSY while kthreads or adopted threads live; -EDEADLK from the log function, in the
 * callback of a hotplug step, and with kthread_cpus_read_lock() held; -ECHILD in a forked child that has not called
 * kthread_init(). Steps are forgotten without a call. No other call may be under way in another thread; the
 * log function, which the monitor may be in, must not create or adopt threads meanwhile (it may fork).
 * Handles still held stay valid for kthread_put(), and answer -ESRCH or what is known of an ended thread.
 */
KTHREAD_API int kthread_fini(void);

/*
 * Look at the machine again now (sysfs, cgroup files), and re-place what has to move. Returns once the resulting view
 * has been applied to every managed thread. What every source of events only asks for.
 * 0, also if the kernel refuses some thread's mask: kthread_info() tells of it, and a later look tries again. -ENOMEM (the
 * old view stays); -EDEADLK from the log function, in the callback of a hotplug step, and with kthread_cpus_read_lock()
 * held.
 */
KTHREAD_API int kthread_rescan(void);

/* The version, "MAJOR.MINOR.PATCH", of the library that runs. Static storage. Works in every state. */
KTHREAD_API const char *kthread_version(void);

KTHREAD_END_DECLS

#endif

/* SPDX-License-Identifier: MIT */
/*
 * Looking at the threads. Never stops the world: a snapshot of one thread is consistent in itself, several are not with
 * each other.
 */
#ifndef KTHREAD_INSPECT_H
#define KTHREAD_INSPECT_H

#include <kthread/export.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

KTHREAD_BEGIN_DECLS

struct kthread;

/* What a thread is doing. */
enum kthread_state {
	KTHREAD_CREATED,
	KTHREAD_RUNNING,
	KTHREAD_WAITING, /* in kthread_wait*() */
	KTHREAD_PARKED,
	KTHREAD_STOPPING,
	KTHREAD_EXITED,
	KTHREAD_ADOPTED,
	KTHREAD_FROZEN /* by kthread_freeze_all(); parked meanwhile is parked */
};

/* What was asked for as a thread's place. */
enum kthread_wish {
	KTHREAD_WISH_NONE,
	KTHREAD_WISH_NODE,
	KTHREAD_WISH_PREFERRED,
	KTHREAD_WISH_BOUND,
	KTHREAD_WISH_PER_CPU
};

/* Why a thread's mask was given to the kernel last. */
enum kthread_reason {
	KTHREAD_REASON_NONE,         /* not yet */
	KTHREAD_REASON_START,        /* it started, or was adopted */
	KTHREAD_REASON_WISH,         /* it got a new wish */
	KTHREAD_REASON_CPUS,         /* CPUs or the cpuset changed */
	KTHREAD_REASON_HOUSEKEEPING, /* the housekeeping mask changed */
	KTHREAD_REASON_LOST /* the poll or kthread_rescan() found it changed, and nothing that explains it: put back */
};

/* What is known of a thread. Sized as struct kthread_config is: the caller sets size, and gets that much. */
struct kthread_info {
	size_t size;
	char name[64]; /* cut if longer */
	pid_t tid;
	enum kthread_state state;
	enum kthread_wish wish;
	int node; /* of a node thread, else KTHREAD_NO_NODE */
	bool broken;
	bool per_cpu;
	uint64_t broken_since_ns; /* CLOCK_MONOTONIC; 0 while not broken */
	uint64_t broken_ns;       /* in total, up to now */
	enum kthread_reason last_reason;
	int last_error;         /* errno of the last attempt to give it its mask, 0 = it worked */
	uint64_t last_place_ns; /* when that was, CLOCK_MONOTONIC; 0 = never */
	uint64_t reaffines;     /* how often its mask was given to the kernel after its start */
	uint64_t refusals;      /* how often the kernel refused it */
	uint64_t wakes;         /* waits that have ended by a wake */
	uint64_t parks;         /* how often it became parked, whoever asked */
	uint64_t freezes;       /* how often it became frozen */
	/* Works of a worker's thread that have begun; 0 for any other. Not in the first version, as all that follow. */
	uint64_t works_run;
	/* How many works a worker's thread has found waiting in its queue at most, when it looked for the next. */
	uint64_t longest_queue;
	uint64_t ktask_chunks; /* chunks of ktask_run() that it has done, its own or, as a helper, of others */
};

/* Tell what is known of a thread. 0; -EINVAL (NULL, or info->size below the first version's); -ECHILD. */
KTHREAD_API int kthread_info(const struct kthread *k, struct kthread_info *info);

/*
 * Call fn for each living kthread and adopted thread, oldest first; the library holds k while fn runs, under no lock.
 * Threads that come meanwhile may or may not be seen. Nonzero from fn stops it and is returned; else 0; -EINVAL;
 * -ECHILD.
 */
KTHREAD_API int kthread_for_each(int (*fn)(const struct kthread *k, void *arg), void *arg);

/* How a dump is written. */
enum kthread_format {
	KTHREAD_TEXT, /* for people; may change in any version. The last line is "end" */
	KTHREAD_JSON  /* for programs: one object, by the rules of kthread-dump(5) */
};

/*
 * Write all that is known to a stream: the view, nodes and shared caches, every thread (the library's own, too), every
 * step of hotplug. Piece by piece, each with one fwrite(3) under no lock: so nothing waits for the stream, and what comes
 * or goes meanwhile may or may not be seen; threads that were created before are. Asks /proc about each thread: about
 * 20 us a thread. The first one reads the machine's topology, which takes some milliseconds.
 *
 * Any thread, also from the log function and in the callback of a hotplug step; the stream may be of any kind. A thread
 * may be cancelled in it, as in the calls of stdio. Starts the library, as kthread_for_each().
 *
 * 0: all has been written and flushed. -EINVAL (out is NULL, unknown format); -ECHILD; -ENOMEM; -EDEADLK from the log
 * function while the library is down; -errno of the stream, -EIO if it does not say: then what has come out is of no use.
 */
KTHREAD_API int kthread_dump(FILE *out, enum kthread_format format);

/*
 * The control socket: a stream socket of AF_UNIX, by which an operator (kthreadctl(1), or socat(1)) looks at the threads
 * and changes what is to be changed: a line each way, see kthread-control(7). Root and our effective user may connect.
 * The monitor serves it: who connects makes no thread of the application wait.
 *
 * path: absolute, or of the present directory; at most 107 bytes then. NULL and "": "kthread.PID.sock" in the first
 * directory of $RUNTIME_DIRECTORY, else in /run for root, else in $XDG_RUNTIME_DIR. The file has mode 0600 from its first
 * moment on. A socket that nobody listens at is replaced; anything else that is there is left alone.
 *
 * 0; -EALREADY it listens already, perhaps because of config->control; -EADDRINUSE somebody listens at path; -EEXIST
 * something else is there; -ENOENT no directory; -ENAMETOOLONG; -EACCES and others of bind(2); -EMFILE, -ENFILE;
 * -ENOMEM; -ECHILD; what starting the library and the monitor returned. Any thread, also from the log function and in the
 * callback of a hotplug step. In a forked child nobody serves it: the parent does, as before.
 */
KTHREAD_API int kthread_control_listen(const char *path);

/*
 * Close the control socket: every client is cut off, the file is removed if it is still ours. What clients have asked for
 * and what has not begun is forgotten, a park that is not granted yet is taken back, all else is carried out; nothing of
 * it is waited for.
 * kthread_fini() does this, and waits for what is under way: a CPU that goes, a freeze.
 * 0 (also if it did not listen); -ECHILD in a forked child. Any thread, as above.
 */
KTHREAD_API int kthread_control_close(void);

/* The words for states, wishes and reasons. "created", "waiting", ...; "none", "node", ...; "start", "cpus", ...: static
 * text, "?" for an unknown value. */
KTHREAD_API const char *kthread_state_name(enum kthread_state state);
KTHREAD_API const char *kthread_wish_name(enum kthread_wish wish);
KTHREAD_API const char *kthread_reason_name(enum kthread_reason reason);

KTHREAD_END_DECLS

#endif

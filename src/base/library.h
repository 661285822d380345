/* SPDX-License-Identifier: MIT */
/*
 * The life of the library itself: configuration, start, end, fork. It knows the rooms only by the table that
 * src/rooms.c fills in, so that nothing here includes what lies above.
 */
#ifndef KT_BASE_LIBRARY_H
#define KT_BASE_LIBRARY_H

#include <stdatomic.h>
#include <stdbool.h>

/* The resolved configuration (struct kthread_config, then the environment, then the defaults). Immutable while up. */
struct kt_config {
	char *root;         /* "" or a directory, without a slash at its end */
	char *housekeeping; /* cpulist, or NULL to derive */
	char *plan_file;    /* or NULL; shorter than PATH_MAX */
	char *control;      /* the control socket's path, "" = the default one; or NULL */
	bool control_read_only;
	bool simulate;
	bool uevents;
	bool inotify;
	unsigned int poll_ms; /* 0 = never */
};

/* What a room does in the library's life. Every member is optional. */
struct kt_room {
	const char *name;
	int (*start)(void);         /* 0 or -errno; a failure stops the rooms that had started, last first */
	int (*watch)(void);         /* before the first thread is placed; 0 or -errno */
	void (*quiet)(void);        /* before stop, with no lock held: wait for the room's own threads to end */
	void (*stop)(void);         /* undo start and watch; also after a failed watch */
	void (*fork_await)(void);   /* with no lock held: let end what lasts, and would keep fork_prepare waiting */
	void (*fork_prepare)(void); /* take the room's locks: last room first, so in lock order */
	void (*fork_parent)(void);  /* release them */
	void (*fork_child)(void);   /* the same in the child, where no other thread exists: forget all threads */
};

/* In the order of the rooms, NULL at the end. Defined by src/rooms.c (unit tests of one room define their own). */
extern const struct kt_room *const kt_rooms[];

/* Grows by one in each forked child; a handle of an older epoch is of a thread that does not exist here. */
extern _Atomic unsigned int kt_epoch;

/* Start the library with the defaults if it is not up. 0 or -errno (-ECHILD in a forked child, -EDEADLK if it would be
 * from the log function). */
int kt_library_up(void);
/* The same, and start the watch (the monitor) if it has not been. */
int kt_library_watch(void);
/* In a forked child that has not started the library anew? */
bool kt_library_forked(void);
/* Only between a successful kt_library_up() and the end. */
const struct kt_config *kt_config(void);

/* kthread_init() and kthread_fini() less the counting of threads. */
struct kthread_config;
int kt_library_init(const struct kthread_config *config);
int kt_library_fini(void);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * Which control socket is meant. Reads /proc only: no process is asked anything, so a daemon that is not ours is not
 * disturbed by our search.
 */
#ifndef KTHREADCTL_FIND_H
#define KTHREADCTL_FIND_H

#include <stddef.h>
#include <sys/types.h>

struct find_target {
	const char *socket; /* NULL: not given */
	pid_t pid;          /* 0: not given */
	const char *name;   /* comm; NULL: not given */
};

/* Where to look; an invented /proc in tests. */
struct find_places {
	const char *proc;
	uid_t euid;              /* 0: processes of all users are ours */
	const char *environment; /* KTHREAD_CONTROL; NULL or "": not set */
};

/*
 * The path to connect to, to be freed: socket as it is; else the socket of pid, of the one process called name, or of
 * the one process that has a socket called kthread.*.sock. NULL: none or several, and error says what to do, with a
 * line for each candidate.
 */
char *find_daemon(const struct find_target *target, const struct find_places *places, char *error, size_t error_size);

#endif

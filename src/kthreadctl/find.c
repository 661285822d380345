/* SPDX-License-Identifier: MIT */
/*
 * A listening socket has its path in net/unix and its owner in fd/: they are joined by the inode. So the daemon is
 * found wherever it has put its socket, also in a container, where it may be kthread.1.sock of another /run.
 */
#include "kthreadctl/find.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ACCEPTS 0x10000u /* __SO_ACCEPTCON among the flags in net/unix: it listens */
#define STREAM 1u
#define COMM_MOST 15u /* bytes that the kernel keeps of a process's name */
#define LISTED 10u    /* of several candidates, in a message */

struct listener {
	unsigned long long inode;
	bool proper; /* called kthread.*.sock */
	char *path;
};

/* The listening stream sockets that have a path in one network namespace. */
struct listeners {
	ino_t net; /* of the namespace; 0: not known */
	size_t count, proper;
	struct listener *list;
};

struct found {
	pid_t pid;
	char comm[32];
	unsigned long long inode;
	char *path; /* as the process sees it */
};

struct search {
	const struct find_places *places;
	struct listeners listeners; /* of the process looked at last */
	size_t count;
	struct found *found;
};

/* Adds to what error holds, and cuts what is too long. */
__attribute__((format(printf, 3, 4))) static void say(char *error, size_t size, const char *format, ...)
{
	const size_t used = strlen(error);
	va_list args;

	va_start(args, format);
	vsnprintf(error + used, size - used, format, args);
	va_end(args);
}

__attribute__((format(printf, 3, 4))) static FILE *open_of(const struct find_places *places, pid_t pid,
                                                           const char *format, ...)
{
	char name[64], path[4096];
	va_list args;

	va_start(args, format);
	vsnprintf(name, sizeof(name), format, args);
	va_end(args);
	snprintf(path, sizeof(path), "%s/%d/%s", places->proc, (int)pid, name);
	return fopen(path, "re");
}

/* ---- net/unix --------------------------------------------------------------------------------------------------- */

/* "kthread.*.sock" */
static bool proper_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *file = slash ? slash + 1 : path;
	const size_t length = strlen(file);

	return length > strlen("kthread..sock") && strncmp(file, "kthread.", 8) == 0 &&
	       strcmp(file + length - 5, ".sock") == 0;
}

static void forget(struct listeners *listeners)
{
	for (size_t i = 0; i < listeners->count; i++)
		free(listeners->list[i].path);
	free(listeners->list);
	*listeners = (struct listeners){0};
}

/* "0000000000000000: 00000002 00000000 00010000 0001 01 20443 /run/x.sock": flags, type, state, inode, path. */
static bool parse_line(char *line, struct listener *ret)
{
	unsigned int flags, type;
	int at = 0;

	line[strcspn(line, "\n")] = '\0';
	/* NOLINTNEXTLINE(cert-err34-c): the kernel's own numbers, of the width that it says */
	if (sscanf(line, "%*[0-9a-fA-F]: %*x %*x %x %x %*x %llu %n", &flags, &type, &ret->inode, &at) != 3 || at == 0)
		return false;
	ret->path = line + at;
	ret->proper = proper_name(ret->path);
	/* '@': of the abstract namespace */
	return (flags & ACCEPTS) && type == STREAM && *ret->path && *ret->path != '@';
}

static int add_listener(struct listeners *listeners, const struct listener *one)
{
	struct listener *list = reallocarray(listeners->list, listeners->count + 1, sizeof(*list));

	if (!list)
		return -ENOMEM;
	listeners->list = list;
	list[listeners->count] = *one;
	list[listeners->count].path = strdup(one->path);
	if (!list[listeners->count].path)
		return -ENOMEM;
	listeners->count++;
	listeners->proper += one->proper;
	return 0;
}

/* Most processes are in one network namespace: what was read for the last one is kept for the next. */
static int read_listeners(struct search *search, pid_t pid)
{
	struct listeners *listeners = &search->listeners;
	char path[4096], *line = NULL;
	size_t size = 0;
	struct stat net;
	int error = 0;
	FILE *file;

	snprintf(path, sizeof(path), "%s/%d/ns/net", search->places->proc, (int)pid);
	if (stat(path, &net) != 0)
		net.st_ino = 0;
	else if (net.st_ino == listeners->net)
		return 0;
	forget(listeners);
	file = open_of(search->places, pid, "net/unix");
	if (!file)
		return -errno;
	while (!error && getline(&line, &size, file) > 0) {
		struct listener one;

		if (parse_line(line, &one))
			error = add_listener(listeners, &one);
	}
	free(line);
	fclose(file);
	listeners->net = error ? 0 : net.st_ino;
	return error;
}

/* ---- a process -------------------------------------------------------------------------------------------------- */

static bool comm_of(const struct find_places *places, pid_t pid, char *comm, size_t size)
{
	FILE *file = open_of(places, pid, "comm");
	const bool read = file && fgets(comm, (int)size, file);

	if (file)
		fclose(file);
	if (read)
		comm[strcspn(comm, "\n")] = '\0';
	return read;
}

/* Its effective user: who connects must be that one, or root. */
static bool is_ours(const struct find_places *places, pid_t pid)
{
	FILE *file = places->euid == 0 ? NULL : open_of(places, pid, "status");
	bool ours = places->euid == 0;
	unsigned int euid;
	char line[256];

	if (!file)
		return ours;
	while (!ours && fgets(line, sizeof(line), file)) {
		/* NOLINTNEXTLINE(cert-err34-c) */
		ours = sscanf(line, "Uid: %*u %u", &euid) == 1 && euid == places->euid;
	}
	fclose(file);
	return ours;
}

static const struct listener *with_inode(const struct listeners *listeners, unsigned long long inode)
{
	for (size_t i = 0; i < listeners->count; i++) {
		if (listeners->list[i].inode == inode)
			return &listeners->list[i];
	}
	return NULL;
}

static int add_found(struct search *search, pid_t pid, const struct listener *listener)
{
	struct found *found;

	/* A child that a daemon has forked holds the daemon's socket, too. */
	for (size_t i = 0; i < search->count; i++) {
		if (search->found[i].inode == listener->inode)
			return 0;
	}
	found = reallocarray(search->found, search->count + 1, sizeof(*found));
	if (!found)
		return -ENOMEM;
	search->found = found;
	found += search->count;
	*found = (struct found){.pid = pid, .inode = listener->inode, .path = strdup(listener->path)};
	if (!found->path)
		return -ENOMEM;
	if (!comm_of(search->places, pid, found->comm, sizeof(found->comm)))
		strcpy(found->comm, "?");
	search->count++;
	return 0;
}

/* Find the sockets that pid listens on: those called kthread.*.sock, or all of them. */
static int look_at(struct search *search, pid_t pid, bool proper)
{
	char path[4096];
	struct dirent *entry;
	int error = 0;
	DIR *dir;

	error = read_listeners(search, pid);
	if (error || (proper ? search->listeners.proper : search->listeners.count) == 0)
		return error;
	snprintf(path, sizeof(path), "%s/%d/fd", search->places->proc, (int)pid);
	dir = opendir(path);
	if (!dir)
		return -errno;
	while (!error && (entry = readdir(dir))) {
		const struct listener *listener = NULL;
		unsigned long long inode;
		char target[64];
		const ssize_t length = readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1);

		if (length <= 0)
			continue;
		target[length] = '\0';
		/* NOLINTNEXTLINE(cert-err34-c) */
		if (sscanf(target, "socket:[%llu]", &inode) == 1)
			listener = with_inode(&search->listeners, inode);
		if (listener && (listener->proper || !proper))
			error = add_found(search, pid, listener);
	}
	closedir(dir);
	return error;
}

static int compare_pids(const void *a, const void *b)
{
	const pid_t left = *(const pid_t *)a, right = *(const pid_t *)b;

	return (left > right) - (left < right);
}

/* The processes, ascending, so that a daemon comes before the children that it forks. */
static pid_t *all_pids(const struct find_places *places, size_t *ret_count)
{
	DIR *dir = opendir(places->proc);
	pid_t *pids = calloc(1, sizeof(*pids));
	struct dirent *entry;
	size_t count = 0;

	while (dir && pids && (entry = readdir(dir))) {
		char *end;
		const long pid = strtol(entry->d_name, &end, 10);
		pid_t *more;

		if (*end || pid <= 0)
			continue;
		more = reallocarray(pids, count + 1, sizeof(*pids));
		if (!more)
			free(pids);
		pids = more;
		if (pids)
			pids[count++] = (pid_t)pid;
	}
	if (dir)
		closedir(dir);
	if (pids)
		qsort(pids, count, sizeof(*pids), compare_pids);
	*ret_count = count;
	return pids;
}

/* Is what lies at path for the process the same file for us? Only if it has our root, in our mount namespace. */
static bool sees_the_same(const struct find_places *places, pid_t pid)
{
	static const char *const links[] = {"root", "ns/mnt"};

	for (size_t i = 0; i < 2; i++) {
		struct stat its, ours;
		char path[4096];

		snprintf(path, sizeof(path), "%s/%d/%s", places->proc, (int)pid, links[i]);
		if (stat(path, &its) != 0)
			continue; /* not for us to know: try as if it were */
		snprintf(path, sizeof(path), "%s/self/%s", places->proc, links[i]);
		if (stat(path, &ours) == 0 && (its.st_dev != ours.st_dev || its.st_ino != ours.st_ino))
			return false;
	}
	return true;
}

static char *path_to(const struct find_places *places, const struct found *found)
{
	char *path;
	int length;

	if (*found->path != '/') /* as good as we can: a daemon may have gone elsewhere since */
		length = asprintf(&path, "%s/%d/cwd/%s", places->proc, (int)found->pid, found->path);
	else if (sees_the_same(places, found->pid))
		length = asprintf(&path, "%s", found->path);
	else
		length = asprintf(&path, "%s/%d/root%s", places->proc, (int)found->pid, found->path);
	return length < 0 ? NULL : path;
}

/* ---- what was asked for ----------------------------------------------------------------------------------------- */

static void list_found(const struct search *search, char *error, size_t size)
{
	for (size_t i = 0; i < search->count && i < LISTED; i++)
		say(error, size, "\n  %7d  %-15s  %s", (int)search->found[i].pid, search->found[i].comm,
		    search->found[i].path);
	if (search->count > LISTED)
		say(error, size, "\n  and %zu more", search->count - LISTED);
}

static void of_pid(struct search *search, pid_t pid, char *error, size_t size)
{
	int failed = look_at(search, pid, true);

	if (!failed && search->count == 0)
		failed = look_at(search, pid, false);
	if (failed == -ENOENT || failed == -ESRCH)
		say(error, size, "there is no process %d", (int)pid);
	else if (failed == -EACCES || failed == -EPERM)
		say(error, size, "process %d is another user's: try as root, or as that user", (int)pid);
	else if (failed)
		say(error, size, "cannot look at process %d: %s", (int)pid, strerror(-failed));
	else if (search->count == 0)
		say(error, size,
		    "process %d has no control socket: start it with KTHREAD_CONTROL=PATH in its environment",
		    (int)pid);
	else if (search->count > 1) {
		say(error, size, "process %d listens on several sockets; choose with --socket:", (int)pid);
		list_found(search, error, size);
	}
}

/* name: of processes with that comm, whatever their sockets are called; NULL: of all processes. */
static void of_all(struct search *search, const char *name, char *error, size_t size)
{
	size_t count, called = 0;
	pid_t *pids = all_pids(search->places, &count);
	int failed = pids ? 0 : -ENOMEM;

	for (size_t i = 0; i < count && failed != -ENOMEM; i++) {
		const size_t before = search->count;
		char comm[32];

		if (name) {
			if (!comm_of(search->places, pids[i], comm, sizeof(comm)) ||
			    strncmp(comm, name, COMM_MOST) != 0)
				continue;
			called++;
		}
		if (!is_ours(search->places, pids[i]))
			continue;
		/* What else fails is a process that has gone, or is not for us to know. */
		failed = look_at(search, pids[i], true);
		if (name && !failed && search->count == before)
			failed = look_at(search, pids[i], false);
	}
	free(pids);
	if (failed == -ENOMEM) {
		say(error, size, "no memory");
	} else if (search->count > 1) {
		say(error, size, "there are several; choose with --pid or --socket:");
		list_found(search, error, size);
	} else if (search->count == 0 && name && called == 0) {
		say(error, size, "there is no process called \"%s\"", name);
	} else if (search->count == 0 && name) {
		say(error, size,
		    "no process called \"%s\" that is ours has a control socket: start it with KTHREAD_CONTROL=PATH in "
		    "its environment%s",
		    name, search->places->euid ? ", or try as root" : "");
	} else if (search->count == 0) {
		say(error, size,
		    "no daemon with a control socket (kthread.*.sock) is running%s: start it with KTHREAD_CONTROL=PATH "
		    "in its environment, or name it with --socket or --pid",
		    search->places->euid ? " as this user" : "");
	}
}

char *find_daemon(const struct find_target *target, const struct find_places *places, char *error, size_t error_size)
{
	struct search search = {.places = places};
	char *path = NULL;

	*error = '\0';
	if (target->socket)
		path = strdup(target->socket);
	else if (target->pid)
		of_pid(&search, target->pid, error, error_size);
	else if (target->name)
		of_all(&search, target->name, error, error_size);
	else if (places->environment && *places->environment)
		path = strdup(places->environment);
	else
		of_all(&search, NULL, error, error_size);
	if (!path && !*error && search.count == 1)
		path = path_to(places, &search.found[0]);
	if (!path && !*error)
		say(error, error_size, "no memory");
	for (size_t i = 0; i < search.count; i++)
		free(search.found[i].path);
	free(search.found);
	forget(&search.listeners);
	return path;
}

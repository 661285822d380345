/* SPDX-License-Identifier: MIT */
#include "inspect/socket.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define BACKLOG 64

/* ---- where ------------------------------------------------------------------------------------------------------ */

/* snprintf() into ret->path. */
static int print_path(struct kt_socket_file *ret, const char *directory, int length, const char *file)
{
	const int size = snprintf(ret->path, sizeof(ret->path), "%.*s/%s", length, directory, file);

	return size < (int)sizeof(ret->path) ? 0 : -ENAMETOOLONG;
}

static int absolute(struct kt_socket_file *ret, const char *path)
{
	char *directory;
	int error;

	if (path[0] == '/')
		return print_path(ret, "", 0, path + 1);
	directory = getcwd(NULL, 0); /* daemons change their directory */
	if (!directory)
		return -errno;
	error = print_path(ret, directory, (int)strlen(directory), path);
	free(directory);
	return error;
}

int kt_socket_path(const char *given, struct kt_socket_file *ret)
{
	const char *directory = secure_getenv("RUNTIME_DIRECTORY"); /* systemd's */
	size_t length = directory ? strcspn(directory, ":") : 0;    /* the first one of several */
	char name[64];

	*ret = (struct kt_socket_file){0};
	if (given && given[0])
		return absolute(ret, given);
	if (!directory || directory[0] != '/') {
		directory = geteuid() == 0 ? "/run" : secure_getenv("XDG_RUNTIME_DIR");
		length = directory ? strlen(directory) : 0;
	}
	if (!directory || directory[0] != '/')
		return -ENOENT;
	snprintf(name, sizeof(name), "kthread.%d.sock", (int)getpid());
	return print_path(ret, directory, (int)length, name);
}

/* ---- the file --------------------------------------------------------------------------------------------------- */

static struct sockaddr_un address_of(const struct kt_socket_file *file)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	memcpy(address.sun_path, file->path, sizeof(address.sun_path)); /* with its NUL */
	return address;
}

static bool is_ours(const struct kt_socket_file *file)
{
	struct stat about;

	return lstat(file->path, &about) == 0 && S_ISSOCK(about.st_mode) && about.st_dev == file->device &&
	       about.st_ino == file->inode;
}

void kt_socket_unlink(const struct kt_socket_file *file)
{
	if (is_ours(file))
		unlink(file->path);
}

/* Remove what is there if it is a socket at which nobody listens. 0 if it is gone. */
static int remove_stale(const struct kt_socket_file *file)
{
	const struct sockaddr_un address = address_of(file);
	struct kt_socket_file found = *file;
	struct stat about;
	int error;
	int fd;

	if (lstat(file->path, &about) != 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(about.st_mode))
		return -EEXIST;
	found.device = about.st_dev;
	found.inode = about.st_ino;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	error = connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0 ? 0 : errno;
	close(fd);
	if (error != ECONNREFUSED) /* also of another type, or not for us, or with too many in the queue: somebody's */
		return -EADDRINUSE;
	kt_socket_unlink(&found);
	return 0;
}

static int bind_to(int fd, struct kt_socket_file *file)
{
	const struct sockaddr_un address = address_of(file);
	struct stat about;

	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) != 0)
		return -errno;
	if (lstat(file->path, &about) == 0) {
		file->device = about.st_dev;
		file->inode = about.st_ino;
	}
	return listen(fd, BACKLOG) == 0 ? 0 : -errno;
}

int kt_socket_listen(struct kt_socket_file *file)
{
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int error;

	if (fd < 0)
		return -errno;
	error = fchmod(fd, S_IRUSR | S_IWUSR) == 0 ? 0 : -errno; /* before there is a file that others could open */
	if (!error)
		error = bind_to(fd, file);
	if (error == -EADDRINUSE) {
		error = remove_stale(file);
		if (!error)
			error = bind_to(fd, file);
	}
	if (!error)
		return fd;
	kt_socket_unlink(file); /* bound, but no more */
	close(fd);
	return error;
}

bool kt_socket_trusts(int fd)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && (peer.uid == geteuid() || peer.uid == 0);
}

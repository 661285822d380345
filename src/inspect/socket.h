/* SPDX-License-Identifier: MIT */
/*
 * The control socket as a file.
 */
#ifndef KT_INSPECT_SOCKET_H
#define KT_INSPECT_SOCKET_H

#include <stdbool.h>
#include <sys/types.h>
#include <sys/un.h>

/* A file that we have made: unlinked only while it is still there. */
struct kt_socket_file {
	char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	dev_t device;
	ino_t inode;
};

/*
 * The absolute path: `given`, or the default one for NULL and "". -ENOENT there is no directory for the default one;
 * -ENAMETOOLONG; what getcwd() says.
 */
int kt_socket_path(const char *given, struct kt_socket_file *ret);

/*
 * Listen at file->path: a socket that nobody listens at is replaced. The descriptor, which does not block; -EADDRINUSE
 * somebody listens there; -EEXIST something else is there; -errno.
 */
int kt_socket_listen(struct kt_socket_file *file);
void kt_socket_unlink(const struct kt_socket_file *file);

/* May the peer give orders: is it of our user, or root? */
bool kt_socket_trusts(int fd);

#endif

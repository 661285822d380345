/* SPDX-License-Identifier: MIT */
/*
 * The socket on which the kernel tells of CPUs that come and go.
 */
#include <errno.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "machine/cpumask.h"
#include "machine/events.h"
#include "machine/uevent.h"

#define KERNEL_GROUP 1u              /* group 2 is udev's */
#define RECEIVE_BUFFER (1024 * 1024) /* a thousand CPUs in one go */
#define MESSAGE_SIZE 4096            /* the kernel's own limit is 2048 */

int kt_uevents_open(void)
{
	const struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = KERNEL_GROUP};
	const int size = RECEIVE_BUFFER;
	const int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);
	int error;

	if (fd < 0)
		return -errno;
	/* The first needs CAP_NET_ADMIN, the second is cut by a sysctl; a small buffer loses messages, which is noticed. */
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) != 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
		error = -errno;
		close(fd);
		return error;
	}
	return fd;
}

/* Any process may send to our socket; port 0, which no process can have, is the kernel. */
static bool from_kernel(const struct msghdr *header, const struct sockaddr_nl *sender)
{
	return header->msg_namelen == sizeof(*sender) && sender->nl_family == AF_NETLINK && sender->nl_pid == 0 &&
	       sender->nl_groups == KERNEL_GROUP;
}

bool kt_uevents_drain(int fd, size_t setsize, cpu_set_t *touched)
{
	char message[MESSAGE_SIZE];
	bool any = false;

	for (;;) {
		struct sockaddr_nl sender = {.nl_pid = 1};
		struct iovec data = {.iov_base = message, .iov_len = sizeof(message)};
		struct msghdr header = {
		    .msg_name = &sender, .msg_namelen = sizeof(sender), .msg_iov = &data, .msg_iovlen = 1};
		const ssize_t length = recvmsg(fd, &header, MSG_DONTWAIT);
		int cpu;

		if (length < 0 && errno == EINTR)
			continue;
		if (length < 0 && errno != ENOBUFS)
			return any;
		if (length < 0 || (from_kernel(&header, &sender) && (header.msg_flags & MSG_TRUNC))) {
			memset(touched, 0xff, setsize); /* something was lost: it may have been about any of them */
			any = true;
			continue;
		}
		cpu = from_kernel(&header, &sender) ? kt_uevent_cpu(message, (size_t)length) : -1;
		if (cpu >= 0) {
			kt_cpus_add(setsize, touched, (unsigned int)cpu);
			any = true;
		}
	}
}

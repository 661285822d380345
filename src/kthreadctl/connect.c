/* SPDX-License-Identifier: MIT */
#include "kthreadctl/connect.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define REQUEST_MAX 1023u      /* with its '\n' */
#define REPLY_MAX (256u << 20) /* no dump is that long */
#define HOUR_NS 3600000000000ull

uint64_t clock_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int clock_poll_ms(uint64_t ns)
{
	if (ns == UINT64_MAX)
		return -1;
	return (int)(((ns < HOUR_NS ? ns : HOUR_NS) + 999999u) / 1000000u);
}

/* A path that is too long for an address, as those through /proc/PID/root may be, is named by a descriptor of ours. */
static int connect_to(int fd, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int file = -1, error = 0;

	if (strlen(path) < sizeof(address.sun_path)) {
		strcpy(address.sun_path, path);
	} else {
		file = open(path, O_PATH | O_CLOEXEC);
		if (file < 0)
			return -errno;
		snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d", file);
	}
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0)
		error = errno == EAGAIN ? -ETIMEDOUT : -errno; /* its backlog stayed full */
	if (file >= 0)
		close(file);
	return error;
}

/* A daemon that refuses us may close before it has read: what it says then is in its reply. */
static int send_request(int fd, const char *request)
{
	char line[REQUEST_MAX + 1];
	const int length = snprintf(line, sizeof(line), "%s\n", request);

	if (length < 0 || (size_t)length >= sizeof(line) || strchr(request, '\n'))
		return -EINVAL;
	for (int sent = 0; sent < length;) {
		const ssize_t n = send(fd, line + sent, (size_t)(length - sent), MSG_NOSIGNAL);

		if (n >= 0)
			sent += (int)n;
		else if (errno == EPIPE || errno == ECONNRESET)
			return 0;
		else if (errno != EINTR)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
	}
	return 0;
}

int connection_open(struct connection *c, const char *path, const char *request, uint64_t wait_ns)
{
	const uint64_t wait_us = wait_ns == UINT64_MAX ? 0 : wait_ns / 1000u; /* 0: for ever */
	const struct timeval wait = {.tv_sec = (time_t)(wait_us / 1000000u),
	                             .tv_usec = (suseconds_t)(wait_us % 1000000u)};
	int error;

	*c = (struct connection)CONNECTION_NONE;
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return -errno;
	error = setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait)) != 0 ? -errno : 0;
	if (!error)
		error = connect_to(c->fd, path);
	if (!error)
		error = send_request(c->fd, request);
	if (error)
		connection_close(c);
	return error;
}

void connection_close(struct connection *c)
{
	if (c->fd >= 0)
		close(c->fd);
	free(c->text);
	*c = (struct connection)CONNECTION_NONE;
}

static int make_room(struct connection *c)
{
	const size_t size = c->size ? 2 * c->size : 16384;
	char *text;

	if (c->size - c->length > 4096)
		return 0;
	if (size > REPLY_MAX)
		return -EMSGSIZE;
	text = realloc(c->text, size);
	if (!text)
		return -ENOMEM;
	c->text = text;
	c->size = size;
	return 0;
}

int connection_read(struct connection *c)
{
	const int error = make_room(c);
	ssize_t n;

	if (error)
		return error;
	n = recv(c->fd, c->text + c->length, c->size - c->length - 1, MSG_DONTWAIT);
	if (n > 0)
		c->length += (size_t)n;
	else if (n == 0 || errno == ECONNRESET) /* reset: it closed with our request unread */
		c->ended = true;
	else if (errno != EAGAIN && errno != EINTR)
		return -errno;
	c->text[c->length] = '\0';
	return 0;
}

int connection_read_all(struct connection *c, uint64_t wait_ns, int interrupt_fd)
{
	int error = 0;

	while (!error && !c->ended) {
		struct pollfd fds[] = {{.fd = c->fd, .events = POLLIN}, {.fd = interrupt_fd, .events = POLLIN}};
		const int n = poll(fds, 2, clock_poll_ms(wait_ns));

		if (n > 0 && fds[1].revents)
			error = -EINTR;
		else if (n > 0)
			error = connection_read(c);
		else if (n == 0)
			error = -ETIMEDOUT;
		else if (errno != EINTR)
			error = -errno;
	}
	return error;
}

char *connection_line(struct connection *c, size_t *ret_length)
{
	char *line, *end;

	if (!c->text)
		return NULL;
	line = c->text + c->taken;
	end = memchr(line, '\n', c->length - c->taken);
	if (!end) {
		/* What was taken makes room for the rest of the line. */
		if (c->taken)
			memmove(c->text, line, c->length - c->taken + 1);
		c->length -= c->taken;
		c->taken = 0;
		return NULL;
	}
	*end = '\0';
	*ret_length = (size_t)(end - line);
	c->taken += *ret_length + 1;
	return line;
}

/* SPDX-License-Identifier: MIT */
/*
 * logd-feed: a client of logd. Sends "NAME 1", "NAME 2", ... and prints how many of them are safe, also when the daemon
 * is killed in the midst of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int fd;
static uint64_t safe;

static int connect_to(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (strlen(path) >= sizeof(address.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
		return -1;
	return fcntl(fd, F_SETFL, O_NONBLOCK);
}

/* False: the daemon has gone, or said "error". */
static bool hear(void)
{
	static char text[256];
	static size_t filled;
	const ssize_t n = recv(fd, text + filled, sizeof(text) - 1 - filled, 0);
	char *line = text;
	char *newline;

	if (n <= 0)
		return n < 0 && (errno == EAGAIN || errno == EINTR);
	filled += (size_t)n;
	text[filled] = '\0';
	while ((newline = strchr(line, '\n'))) {
		*newline = '\0';
		if (sscanf(line, "safe %" SCNu64, &safe) != 1) {
			fprintf(stderr, "logd-feed: the daemon says: %s\n", line);
			return false;
		}
		line = newline + 1;
	}
	filled -= (size_t)(line - text);
	memmove(text, line, filled);
	return true;
}

static bool feed(const char *name, uint64_t lines)
{
	static char text[512];
	size_t size = 0; /* of a line that is on its way */
	size_t sent = 0;
	uint64_t next = 1;

	while (safe < lines) {
		struct pollfd waits = {.fd = fd,
		                       .events = (short)(POLLIN | (next <= lines || sent < size ? POLLOUT : 0))};

		poll(&waits, 1, -1);
		if (waits.revents & ~POLLOUT && !hear())
			return false;
		while (waits.revents & POLLOUT) {
			ssize_t n;

			if (sent == size && next > lines)
				break;
			if (sent == size) {
				size = (size_t)snprintf(text, sizeof(text), "%s %" PRIu64 "\n", name, next++);
				sent = 0;
			}
			n = send(fd, text + sent, size - sent, MSG_NOSIGNAL);
			if (n <= 0)
				break;
			sent += (size_t)n;
		}
	}
	return true;
}

int main(int argc, char **argv)
{
	uint64_t lines;
	char *end;
	bool all;

	if (argc != 4 || strlen(argv[2]) > 400 || !*argv[3] || (lines = strtoull(argv[3], &end, 10), *end)) {
		fputs("usage: logd-feed SOCKET NAME LINES\n", stderr);
		return 2;
	}
	if (connect_to(argv[1]) != 0) {
		fprintf(stderr, "logd-feed: %s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	all = feed(argv[2], lines);
	printf("%s %" PRIu64 "\n", argv[2], safe);
	return all ? 0 : 1;
}

/* SPDX-License-Identifier: MIT */
/*
 * The client's end of the control socket: one request line, then the reply until its end, or line by line. Errors are
 * -errno. Never raises SIGPIPE.
 */
#ifndef KTHREADCTL_CONNECT_H
#define KTHREADCTL_CONNECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct connection {
	int fd;
	bool ended; /* the daemon has said all */
	char *text; /* what has come; a '\0' behind it */
	size_t length, size;
	size_t taken; /* by connection_line() */
};

#define CONNECTION_NONE \
	{ \
		.fd = -1 \
	}

/* Connect, and send the request, which has no '\n' and at most 1022 bytes (else -EINVAL). wait_ns: for the daemon to
 * accept and to read it. */
int connection_open(struct connection *c, const char *path, const char *request, uint64_t wait_ns);
void connection_close(struct connection *c);

/*
 * All that comes until the daemon closes. -ETIMEDOUT: no byte for wait_ns; -EMSGSIZE: more than any dump; -EINTR:
 * interrupt_fd (-1: none) was readable before.
 */
int connection_read_all(struct connection *c, uint64_t wait_ns, int interrupt_fd);

/*
 * Take some of what has come, without waiting (after poll() on fd). 0 also when the daemon has closed: see ended.
 * -EMSGSIZE as above.
 */
int connection_read(struct connection *c);
/*
 * The next whole line that has come, without its '\n', or NULL. Valid until the next call for the connection, and to
 * be changed by the caller.
 */
char *connection_line(struct connection *c, size_t *ret_length);

uint64_t clock_now_ns(void);
/* For poll(): rounded up, at most an hour; -1 for UINT64_MAX. */
int clock_poll_ms(uint64_t ns);

#endif

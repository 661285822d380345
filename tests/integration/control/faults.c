/* SPDX-License-Identifier: MIT */
/*
 * What the control socket asks the system for is refused: the caller is told, and nothing of it stays.
 */
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

#include "client.h"

/* The call that fails, counted down; those of this room are made by the calling thread. */
static _Thread_local int until;

static bool refused(void)
{
	if (until == 0 || --until > 0)
		return false;
	errno = ENOMEM;
	return true;
}

#define WRAP(name, parameters, arguments) \
	int __real_##name parameters; \
	int __wrap_##name parameters \
	{ \
		return refused() ? -1 : __real_##name arguments; \
	}

WRAP(epoll_create1, (int flags), (flags))
WRAP(timerfd_create, (int clock, int flags), (clock, flags))
WRAP(eventfd, (unsigned int value, int flags), (value, flags))
WRAP(socket, (int domain, int type, int protocol), (domain, type, protocol))
WRAP(bind, (int fd, const struct sockaddr *address, socklen_t size), (fd, address, size))
WRAP(listen, (int fd, int backlog), (fd, backlog))
WRAP(epoll_ctl, (int set, int op, int fd, struct epoll_event *event), (set, op, fd, event))

static void kthread_control_listen__refused(void **state)
{
	struct stat about;
	int failures = 0;
	int before;
	int error;

	sim_start(NULL);
	snprintf(control_path, sizeof(control_path), "%s/control", sim.root);
	assert_int_equal(kthread_control_listen(control_path), 0);
	assert_int_equal(kthread_control_close(), 0);
	before = control_fds();
	for (int which = 1;; which++) {
		until = which;
		error = kthread_control_listen(control_path);
		if (until > 0)
			break; /* it needs no more than that */
		until = 0;
		failures++;
		assert_int_equal(error, -ENOMEM);
		assert_int_equal(lstat(control_path, &about), -1);
		AWAIT(control_fds() == before);
	}
	until = 0;
	assert_int_equal(error, 0);
	assert_true(failures >= 9);
	assert_non_null(strstr(control_ask("version"), "\"ok\":true"));
	sim_stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(kthread_control_listen__refused),
	};

	return cmocka_run_group_tests(tests, NULL, fini_finds_nothing);
}

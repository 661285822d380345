/* SPDX-License-Identifier: MIT */
/*
 * The service: a listening socket, a timer, a bell, and the clients, in one epoll set, which the monitor polls. Level
 * triggered: a turn does a little for each, and what is left brings the next turn.
 */
#include "inspect/control.h"

#include <errno.h>
#include <kthread/inspect.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/log.h"
#include "hotplug/monitor.h"
#include "inspect/socket.h"

/* In the epoll set, behind the clients' places. */
enum { LISTENER = KT_CONTROL_CLIENTS, TIMER, BELL, SOURCES };

#define ACCEPTED_AT_ONCE 8
#define DEAF_NS KT_NS_PER_S

pthread_mutex_t kt_control_lock = PTHREAD_MUTEX_INITIALIZER;

static struct {
	int epoll; /* -1 = closed */
	int listener;
	int timer;
	int bell;
	struct kt_socket_file file;
	uint64_t deaf_until; /* KT_NEVER = it listens. Without a descriptor to spare it does not for a while */
} control = {.epoll = -1, .listener = -1, .timer = -1, .bell = -1, .deaf_until = KT_NEVER};

int kt_control_epoll(void)
{
	return control.epoll;
}

bool kt_control_read_only(void)
{
	return kt_config()->control_read_only;
}

void kt_control_ring(void)
{
	eventfd_write(control.bell, 1);
}

/* ---- a turn of the monitor's ------------------------------------------------------------------------------------- */

static void listen_again(bool listens)
{
	struct epoll_event event = {.events = listens ? EPOLLIN : 0, .data.u32 = LISTENER};

	epoll_ctl(control.epoll, EPOLL_CTL_MOD, control.listener, &event);
	if (!listens && control.deaf_until == KT_NEVER)
		kt_log(CONTROL_DEAF, "%s: cannot accept: %s", control.file.path, strerror(errno));
	control.deaf_until = listens ? KT_NEVER : kt_deadline(DEAF_NS);
}

static void accept_some(void)
{
	for (int i = 0; i < ACCEPTED_AT_ONCE; i++) {
		const int fd = accept4(control.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			kt_client_enter(fd);
		} else if (errno == EAGAIN) {
			return;
		} else if (errno != ECONNABORTED && errno != EINTR) {
			listen_again(false); /* or it would be readable for ever */
			return;
		}
	}
}

static void set_timer(uint64_t at)
{
	const struct itimerspec when = {.it_value = kt_timespec(at == KT_NEVER ? 0 : at)};

	timerfd_settime(control.timer, TFD_TIMER_ABSTIME, &when, NULL);
}

static void keep_time(void)
{
	uint64_t next = kt_clients_expire();

	if (control.deaf_until != KT_NEVER && kt_now() >= control.deaf_until)
		listen_again(true);
	if (control.deaf_until < next)
		next = control.deaf_until;
	set_timer(next); /* read, too, by this */
}

static void turn(void)
{
	struct epoll_event events[SOURCES];
	const int count = epoll_wait(control.epoll, events, SOURCES, 0);
	bool comers = false;
	eventfd_t rings;

	for (int i = 0; i < count; i++) {
		const unsigned int source = events[i].data.u32;

		if (source < KT_CONTROL_CLIENTS) {
			kt_client_turn(kt_client_at(source), events[i].events);
		} else if (source == LISTENER) {
			comers = true;
		} else if (source == BELL) {
			eventfd_read(control.bell, &rings);
			kt_command_answer();
			kt_clients_roused();
		}
	}
	if (comers) /* last: a place that one has left belongs to nobody whose events are still to come */
		accept_some();
	keep_time();
}

static void serve(void)
{
	kt_lock(&kt_control_lock);
	if (control.epoll >= 0)
		turn();
	kt_unlock(&kt_control_lock);
}

/* ---- open and close ---------------------------------------------------------------------------------------------- */

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void close_fds(void)
{
	close_fd(&control.listener);
	close_fd(&control.timer);
	close_fd(&control.bell);
	close_fd(&control.epoll);
}

static int add(int fd, uint32_t source)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u32 = source};

	return fd >= 0 && epoll_ctl(control.epoll, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
}

static int open_fds(void)
{
	int error;

	control.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (control.epoll < 0)
		return -errno;
	control.timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	error = add(control.timer, TIMER);
	if (error)
		return error;
	control.bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	error = add(control.bell, BELL);
	if (error)
		return error;
	control.listener = kt_socket_listen(&control.file); /* last: from here on somebody may see it */
	if (control.listener < 0)
		return control.listener;
	error = add(control.listener, LISTENER);
	if (error)
		kt_socket_unlink(&control.file);
	return error;
}

static int open_locked(const char *path)
{
	int error;

	if (control.epoll >= 0)
		return -EALREADY;
	error = kt_socket_path(path, &control.file);
	if (!error)
		error = open_fds();
	if (error) {
		close_fds();
		return error;
	}
	control.deaf_until = KT_NEVER;
	kt_monitor_serve(control.epoll, serve);
	return 0;
}

static void close_locked(void)
{
	if (control.epoll < 0)
		return;
	kt_monitor_serve(-1, NULL);
	kt_socket_unlink(&control.file);
	kt_clients_leave(); /* with it what they have asked for, and their watch: nobody rings any more */
	kt_command_answer();
	close_fds();
}

int kthread_control_listen(const char *path)
{
	int error = kt_library_watch();

	if (error)
		return error;
	kt_lock(&kt_control_lock);
	error = open_locked(path);
	kt_unlock(&kt_control_lock);
	return error;
}

int kthread_control_close(void)
{
	if (kt_library_forked())
		return -ECHILD;
	kt_lock(&kt_control_lock);
	close_locked();
	kt_unlock(&kt_control_lock);
	return 0;
}

/* ---- the library's life ------------------------------------------------------------------------------------------ */

static int start(void)
{
	kt_clients_forget(); /* of the parent's */
	kt_command_forget();
	return 0;
}

static const char *why_no_control(int error)
{
	if (control.file.path[0])
		return strerror(-error);
	return "RUNTIME_DIRECTORY and XDG_RUNTIME_DIR do not say in which directory: give a path";
}

/* A daemon does its work without, too. */
static int watch(void)
{
	int error = 0;

	kt_lock(&kt_control_lock);
	if (kt_config()->control)
		error = open_locked(kt_config()->control);
	if (error)
		kt_log(NO_CONTROL, "no control socket: \"%s\": %s", control.file.path, why_no_control(error));
	kt_unlock(&kt_control_lock);
	return 0;
}

static void quiet(void)
{
	kthread_control_close();
	kt_command_quiet();
}

static void stop(void)
{
	kthread_control_close();
	kt_command_stop();
}

static void fork_prepare(void)
{
	kt_lock(&kt_control_lock);
}

static void fork_parent(void)
{
	kt_unlock(&kt_control_lock);
}

/* What the descriptors stand for is the parent's, and goes on there. */
static void fork_child(void)
{
	kt_clients_forked();
	kt_command_forked();
	close_fds();
	kt_unlock(&kt_control_lock);
}

const struct kt_room kt_control_room = {
    .name = "inspect",
    .start = start,
    .watch = watch,
    .quiet = quiet,
    .stop = stop,
    .fork_prepare = fork_prepare,
    .fork_parent = fork_parent,
    .fork_child = fork_child,
};

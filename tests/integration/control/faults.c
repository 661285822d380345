/* SPDX-License-Identifier: MIT */
/*
 * What the control socket asks the system for is refused: the caller is told, and nothing of it stays.
 */
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

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

/* ---- the machine's topology --------------------------------------------------------------------------------------- */

static atomic_bool load_waits;
static atomic_int load_fails; /* errno; 0 = it does not */
static atomic_int loads;
static atomic_bool threads_refused;

int __real_hwloc_topology_load(void *topology);
int __wrap_hwloc_topology_load(void *topology);
int __real_pthread_create(pthread_t *ret, const pthread_attr_t *attr, void *(*fn)(void *), void *arg);
int __wrap_pthread_create(pthread_t *ret, const pthread_attr_t *attr, void *(*fn)(void *), void *arg);

int __wrap_hwloc_topology_load(void *topology)
{
	atomic_fetch_add(&loads, 1);
	AWAIT(!atomic_load(&load_waits));
	if (!atomic_load(&load_fails))
		return __real_hwloc_topology_load(topology);
	errno = atomic_load(&load_fails);
	return -1;
}

int __wrap_pthread_create(pthread_t *ret, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
	return atomic_load(&threads_refused) ? EAGAIN : __real_pthread_create(ret, attr, fn, arg);
}

static void assert_no_answer(int fd)
{
	char byte;

	assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK), -1);
	assert_int_equal(errno, EAGAIN);
}

static void assert_has_nodes(const char *dump)
{
	assert_non_null(strstr(dump, "\"nodes\":[\n{"));
}

/* The first dump waits until it has been read, which takes long on a big machine. Nobody else does, the monitor least. */
static void dump__while_the_topology_is_read(void **state)
{
	const char *text;
	int fds[3];

	control_start(NULL);
	atomic_store(&loads, 0);
	atomic_store(&load_waits, true);
	fds[0] = control_begin("dump");
	fds[1] = control_begin("dump text");
	fds[2] = control_begin("dump");
	AWAIT(atomic_load(&loads) == 1);
	assert_non_null(strstr(control_ask("version"), "\"ok\":true")); /* by then all of them have been heard */
	close(fds[2]);
	sim_online(0xf7);
	assert_int_equal(kthread_rescan(), 0);
	assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), 0xf7);
	sim_online(0xff);
	assert_int_equal(kthread_rescan(), 0);
	assert_no_answer(fds[0]);
	assert_no_answer(fds[1]);
	atomic_store(&load_waits, false);
	assert_has_nodes(control_rest(fds[0]));
	text = control_rest(fds[1]);
	assert_non_null(strstr(text, "node 1"));
	assert_has_nodes(control_ask("dump"));
	assert_int_equal(atomic_load(&loads), 1);
	control_stop();
}

/* Closed, and the library ended, while somebody waits for it. */
static void dump__closed_while_the_topology_is_read(void **state)
{
	for (int i = 0; i < 2; i++) {
		int fd;

		control_start(NULL);
		atomic_store(&loads, 0);
		atomic_store(&load_waits, true);
		fd = control_begin("dump");
		AWAIT(atomic_load(&loads) == 1);
		if (i)
			assert_int_equal(kthread_control_close(), 0);
		atomic_store(&load_waits, false);
		control_stop();
		assert_true(i == 0 || control_rest(fd)[0] == '\0');
		if (i == 0)
			close(fd);
	}
}

/* It is read before what may wait for ever, and not again for what waits behind that. */
static void dump__while_a_request_waits(void **state)
{
	struct stubbornness its = {0};
	struct kthread *k;
	int park;

	control_start(NULL);
	k = stubborn_begin(&its);
	park = control_begin("park stubborn");
	AWAIT(atomic_load(&its.asked));
	assert_has_nodes(control_ask("dump"));
	atomic_store(&its.may, true);
	assert_answer(park, "{\"ok\":true}\n");
	kthread_unpark(k);
	kthread_stop(k);
	control_stop();
}

/* A machine that cannot be read has no nodes; nothing is slower for that. One for which there is no memory is no such one. */
static void dump__when_the_topology_cannot_be_read(void **state)
{
	struct stubbornness its = {0};
	struct kthread *k;
	int park;

	control_start(NULL);
	atomic_store(&loads, 0);
	atomic_store(&load_fails, EIO);
	assert_non_null(strstr(control_ask("dump"), "\"nodes\":[\n]"));
	assert_logged("topology cannot be read", 1);
	assert_int_equal(atomic_load(&loads), 1);
	for (int i = 0; i < 3; i++)
		assert_done("rescan");
	assert_int_equal(atomic_load(&loads), 1);
	atomic_store(&load_fails, ENOMEM);
	assert_non_null(strstr(control_ask("dump"), "\"nodes\":[\n]")); /* by now tried again */
	AWAIT(atomic_load(&loads) == 2);
	atomic_store(&load_fails, 0);
	AWAIT(strstr(control_ask("dump"), "\"nodes\":[\n{"));
	control_stop();

	control_start(NULL);
	atomic_store(&load_fails, ENOMEM);
	assert_refused("dump", "ENOMEM", "");
	/* the next one is not told of that, even if nobody is free to try again */
	k = stubborn_begin(&its);
	park = control_begin("park stubborn");
	AWAIT(atomic_load(&its.asked));
	assert_non_null(strstr(control_ask("dump"), "\"nodes\":[\n]"));
	atomic_store(&its.may, true);
	assert_answer(park, "{\"ok\":true}\n");
	kthread_unpark(k);
	kthread_stop(k);
	atomic_store(&load_fails, 0);
	AWAIT(strstr(control_ask("dump"), "\"nodes\":[\n{"));
	control_stop();
}

struct forking {
	_Atomic pid_t tid;
	atomic_bool done;
};

static void *fork_once(void *arg)
{
	struct forking *forking = arg;
	pid_t child;

	atomic_store(&forking->tid, gettid());
	child = fork();
	if (child == 0)
		_exit(0);
	CHECK(child > 0 && waitpid(child, NULL, 0) == child);
	atomic_store(&forking->done, true);
	return NULL;
}

/* A fork waits for that, and nobody for the fork. */
static void fork__while_the_topology_is_read(void **state)
{
	struct forking forking = {.tid = 0};
	pthread_t thread;
	struct kthread *k;
	int fd;

	control_start(NULL);
	k = kthread_run(obedient, NULL, "k");
	await_waiting(k);
	atomic_store(&loads, 0);
	atomic_store(&load_waits, true);
	fd = control_begin("dump");
	AWAIT(atomic_load(&loads) == 1);
	assert_int_equal(pthread_create(&thread, NULL, fork_once, &forking), 0);
	AWAIT(atomic_load(&forking.tid) != 0);
	await_settled(atomic_load(&forking.tid)); /* in fork() */
	for (int i = 0; i < 20; i++) {
		assert_non_null(strstr(control_ask("version"), "\"ok\":true"));
		assert_int_equal(kthread_park(k), 0);
		kthread_unpark(k);
	}
	assert_false(atomic_load(&forking.done));
	atomic_store(&load_waits, false);
	assert_has_nodes(control_rest(fd));
	pthread_join(thread, NULL);
	kthread_stop(k);
	control_stop();
}

/* Nobody who could read it: a dump is no less wanted, and tells what is known. */
static void dump__without_a_thread_to_read_the_topology(void **state)
{
	control_start(NULL);
	assert_non_null(strstr(control_ask("version"), "\"ok\":true"));
	atomic_store(&threads_refused, true);
	assert_non_null(strstr(control_ask("dump"), "\"nodes\":[\n]"));
	atomic_store(&threads_refused, false);
	assert_has_nodes(control_ask("dump"));
	control_stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(kthread_control_listen__refused),
	    cmocka_unit_test(dump__while_the_topology_is_read),
	    cmocka_unit_test(dump__closed_while_the_topology_is_read),
	    cmocka_unit_test(dump__while_a_request_waits),
	    cmocka_unit_test(dump__when_the_topology_cannot_be_read),
	    cmocka_unit_test(fork__while_the_topology_is_read),
	    cmocka_unit_test(dump__without_a_thread_to_read_the_topology),
	};

	return cmocka_run_group_tests(tests, NULL, fini_finds_nothing);
}

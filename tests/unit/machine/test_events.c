/* SPDX-License-Identifier: MIT */
/*
 * kt_uevents_*(), kt_cpuset_watch_*(): who may wake us, and what the watch follows.
 */
#include <errno.h>
#include <linux/netlink.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <unistd.h>

#include "machine/cpumask.h"
#include "machine/events.h"
#include "support.h"

#define CG "sys/fs/cgroup/"
#define POD CG "kubepods.slice/pod7/"

static const char *root;

/* ---- the kernel's side, where it is replaced ------------------------------------------------------------------- */

static int refuse_watches; /* errno, for paths that hold `refuse_path` */
static const char *refuse_path = "";
static int refuse_init;
static ssize_t (*receive)(struct msghdr *header);

int __real_inotify_add_watch(int fd, const char *path, uint32_t mask);
int __wrap_inotify_add_watch(int fd, const char *path, uint32_t mask)
{
	if (refuse_watches && strstr(path, refuse_path)) {
		errno = refuse_watches;
		return -1;
	}
	return __real_inotify_add_watch(fd, path, mask);
}

int __real_inotify_init1(int flags);
int __wrap_inotify_init1(int flags)
{
	if (refuse_init) {
		errno = refuse_init;
		return -1;
	}
	return __real_inotify_init1(flags);
}

ssize_t __real_recvmsg(int fd, struct msghdr *header, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *header, int flags)
{
	return receive ? receive(header) : __real_recvmsg(fd, header, flags);
}

static int setup(void **state)
{
	refuse_watches = refuse_init = 0;
	refuse_path = "";
	receive = NULL;
	root = tree_make();
	tree_machine("cgroup2");
	return room_start(root, NULL);
}

static int teardown(void **state)
{
	room_stop();
	tree_remove();
	return 0;
}

/* ---- uevents --------------------------------------------------------------------------------------------------- */

static const char offline3[] = "offline@/devices/system/cpu/cpu3\0ACTION=offline\0SUBSYSTEM=cpu";

/* What recvmsg() gives, one after the other. */
static struct {
	const char *text;
	size_t length;
	unsigned int pid, groups;
	int flags, error;
} incoming[8];
static int next_incoming;

static ssize_t give_incoming(struct msghdr *header)
{
	struct sockaddr_nl *sender = header->msg_name;
	const int i = next_incoming++;

	if (incoming[i].error || !incoming[i].text) {
		errno = incoming[i].error ? incoming[i].error : EAGAIN;
		return -1;
	}
	*sender =
	    (struct sockaddr_nl){.nl_family = AF_NETLINK, .nl_pid = incoming[i].pid, .nl_groups = incoming[i].groups};
	header->msg_namelen = sizeof(*sender);
	header->msg_flags = incoming[i].flags;
	memcpy(header->msg_iov[0].iov_base, incoming[i].text, incoming[i].length);
	return (ssize_t)incoming[i].length;
}

static bool drain(const char *expected)
{
	unsigned long bits[1] = {0};
	bool any;

	next_incoming = 0;
	receive = give_incoming;
	any = kt_uevents_drain(-1, sizeof(bits), (cpu_set_t *)(void *)bits);
	receive = NULL;
	assert_cpus(sizeof(bits), (cpu_set_t *)(void *)bits, expected);
	memset(incoming, 0, sizeof(incoming));
	return any;
}

static void uevents_drain__only_the_kernel_counts(void **state)
{
	incoming[0].text = offline3;
	incoming[0].length = sizeof(offline3);
	incoming[0].pid = (unsigned int)getpid();
	incoming[0].groups = 1;
	assert_false(drain(""));

	incoming[0].text = offline3;
	incoming[0].length = sizeof(offline3);
	incoming[0].groups = 2; /* udev's */
	assert_false(drain(""));

	incoming[0].text = offline3;
	incoming[0].length = sizeof(offline3);
	incoming[0].groups = 0; /* unicast */
	assert_false(drain(""));

	incoming[0].text = offline3;
	incoming[0].length = sizeof(offline3);
	incoming[0].groups = 1;
	assert_true(drain("3"));
}

static void uevents_drain__lost_messages_touch_every_cpu(void **state)
{
	incoming[0].error = ENOBUFS;
	assert_true(drain("0-63"));

	incoming[0].text = offline3;
	incoming[0].length = 20;
	incoming[0].groups = 1;
	incoming[0].flags = MSG_TRUNC;
	assert_true(drain("0-63"));
}

static void uevents_drain__goes_on_after_eintr_and_forgeries(void **state)
{
	incoming[0].error = EINTR;
	incoming[1].text = offline3;
	incoming[1].length = sizeof(offline3);
	incoming[1].pid = 77;
	incoming[1].groups = 1;
	incoming[2].text = offline3;
	incoming[2].length = sizeof(offline3) - 1; /* not ended */
	incoming[2].groups = 1;
	incoming[3].text = offline3;
	incoming[3].length = sizeof(offline3);
	incoming[3].groups = 1;
	assert_true(drain("3"));
}

/* On a real socket: another process (or we) may send to it, by its port. */
static void uevents_drain__forged_message_on_a_real_socket(void **state)
{
	const int fd = kt_uevents_open();
	struct sockaddr_nl address = {0};
	socklen_t size = sizeof(address);
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	unsigned long bits[1] = {0};
	int sender;

	if (fd < 0)
		skip();
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
	address.nl_groups = 0;
	sender = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);
	if (sendto(sender, offline3, sizeof(offline3), 0, (struct sockaddr *)&address, sizeof(address)) !=
	    (ssize_t)sizeof(offline3)) {
		print_message("no unicast between sockets here: %s\n", strerror(errno));
		close(sender);
		close(fd);
		skip();
	}
	assert_int_equal(poll(&poll_fd, 1, 10000), 1);
	assert_false(kt_uevents_drain(fd, sizeof(bits), (cpu_set_t *)(void *)bits));
	assert_int_equal(bits[0], 0);
	assert_int_equal(poll(&poll_fd, 1, 0), 0); /* it was read all the same */
	close(sender);
	close(fd);
}

/* ---- the cpuset's files ---------------------------------------------------------------------------------------- */

static bool readable(int fd)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

	return poll(&poll_fd, 1, 0) == 1;
}

/* Open, watch, and take the event that a new watch makes. */
static int watch(void)
{
	const int fd = kt_cpuset_watch_open();

	assert_true(fd >= 0);
	assert_false(readable(fd));
	assert_int_equal(kt_cpuset_watch_renew(fd), 0);
	assert_true(kt_cpuset_watch_drain(fd));
	assert_false(kt_cpuset_watch_drain(fd));
	return fd;
}

static void watch__own_and_ancestors(void **state)
{
	const int fd = watch();

	tree_put(POD "cpuset.cpus", "2-4\n");
	assert_true(readable(fd));
	assert_true(kt_cpuset_watch_drain(fd));
	tree_put(CG "kubepods.slice/cpuset.cpus", "2-4\n");
	assert_true(kt_cpuset_watch_drain(fd));
	tree_put("sys/devices/system/cpu/online", "0-7\n"); /* of a recorded machine */
	assert_true(kt_cpuset_watch_drain(fd));
	tree_put(POD "cpuset.cpus.effective", "2-4\n");
	assert_false(kt_cpuset_watch_drain(fd));
	close(fd);
}

static void watch__reading_makes_no_events(void **state)
{
	const int fd = watch();

	room_renew();
	assert_int_equal(kt_cpuset_watch_renew(fd), 0);
	assert_false(readable(fd)); /* nothing new: the monitor sleeps */
	close(fd);
}

static void watch__follows_a_moved_process(void **state)
{
	const int fd = watch();

	tree_put(CG "other/cpuset.cpus", "6-7\n");
	tree_put("proc/self/cgroup", "0::/other\n");
	room_renew();
	assert_int_equal(kt_cpuset_watch_renew(fd), 0);
	assert_true(kt_cpuset_watch_drain(fd)); /* look once more: it may have changed before it was watched */
	tree_put(POD "cpuset.cpus", "0\n");
	assert_false(kt_cpuset_watch_drain(fd));
	tree_put(CG "other/cpuset.cpus", "7\n");
	assert_true(kt_cpuset_watch_drain(fd));
	close(fd);
}

static void watch__survives_a_vanished_directory_and_finds_it_again(void **state)
{
	const int fd = watch();

	tree_delete(CG "kubepods.slice/pod7");
	assert_true(kt_cpuset_watch_drain(fd));
	room_renew();
	assert_int_equal(kt_cpuset_watch_renew(fd), 0);
	kt_cpuset_watch_drain(fd);
	assert_int_equal(kt_cpuset_watch_renew(fd), 0);
	assert_false(readable(fd));
	tree_put(CG "kubepods.slice/cpuset.cpus", "0-3\n");
	assert_true(kt_cpuset_watch_drain(fd));
	tree_put(POD "cpuset.cpus", "0-3\n");
	room_renew();
	assert_int_equal(kt_cpuset_watch_renew(fd), 0);
	assert_true(kt_cpuset_watch_drain(fd));
	tree_put(POD "cpuset.cpus", "0-2\n");
	assert_true(kt_cpuset_watch_drain(fd));
	close(fd);
}

static void watch_open__no_instances_left(void **state)
{
	refuse_init = EMFILE;
	assert_int_equal(kt_cpuset_watch_open(), -EMFILE);
}

static void watch_renew__no_watches_left(void **state)
{
	const int fd = kt_cpuset_watch_open();

	refuse_watches = ENOSPC;
	refuse_path = "pod7/";
	assert_int_equal(kt_cpuset_watch_renew(fd), -ENOSPC);
	kt_cpuset_watch_drain(fd);
	tree_put(CG "kubepods.slice/cpuset.cpus", "0-3\n"); /* the rest is watched */
	assert_true(kt_cpuset_watch_drain(fd));
	refuse_path = "";
	assert_int_equal(kt_cpuset_watch_renew(fd), -ENOSPC);
	refuse_watches = 0;
	assert_int_equal(kt_cpuset_watch_renew(fd), 0);
	kt_cpuset_watch_drain(fd);
	tree_put(POD "cpuset.cpus", "0-2\n");
	assert_true(kt_cpuset_watch_drain(fd));
	close(fd);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(uevents_drain__only_the_kernel_counts),
	    CASE(uevents_drain__lost_messages_touch_every_cpu),
	    CASE(uevents_drain__goes_on_after_eintr_and_forgeries),
	    CASE(uevents_drain__forged_message_on_a_real_socket),
	    CASE(watch__own_and_ancestors),
	    CASE(watch__reading_makes_no_events),
	    CASE(watch__follows_a_moved_process),
	    CASE(watch__survives_a_vanished_directory_and_finds_it_again),
	    CASE(watch_open__no_instances_left),
	    CASE(watch_renew__no_watches_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

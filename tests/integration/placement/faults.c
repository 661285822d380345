/* SPDX-License-Identifier: MIT */
/*
 * Sources of events that cannot be had, and events that are lies: it is logged once, and the library goes on with what
 * is left.
 */
#include <linux/netlink.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/socket.h>

#include "sim.h"

/* ---- the kernel, refusing ---------------------------------------------------------------------------------------- */

int __real_inotify_init1(int flags);
int __real_inotify_add_watch(int fd, const char *path, uint32_t mask);
int __real_socket(int domain, int type, int protocol);
int __real_eventfd(unsigned int count, int flags);
ssize_t __real_recvmsg(int fd, struct msghdr *header, int flags);

static struct {
	atomic_int inotify, watches, socket, eventfd; /* errno, 0 = work */
	atomic_int lost;                              /* how many messages the socket loses */
	atomic_int lies;                              /* how many messages of ours the socket has brought */
	atomic_bool believed;                         /* and they look as if the kernel had sent them */
} refuse;

static bool refused(atomic_int *which)
{
	errno = atomic_load(which);
	return errno != 0;
}

int __wrap_inotify_init1(int flags)
{
	return refused(&refuse.inotify) ? -1 : __real_inotify_init1(flags);
}

int __wrap_inotify_add_watch(int fd, const char *path, uint32_t mask)
{
	return refused(&refuse.watches) ? -1 : __real_inotify_add_watch(fd, path, mask);
}

int __wrap_socket(int domain, int type, int protocol)
{
	return refused(&refuse.socket) ? -1 : __real_socket(domain, type, protocol);
}

int __wrap_eventfd(unsigned int count, int flags)
{
	return refused(&refuse.eventfd) ? -1 : __real_eventfd(count, flags);
}

ssize_t __wrap_recvmsg(int fd, struct msghdr *header, int flags)
{
	const ssize_t got = __real_recvmsg(fd, header, flags);

	if (got > 0 && memmem(header->msg_iov->iov_base, (size_t)got, "LIE=1", 5))
		atomic_fetch_add(&refuse.lies, 1);
	if (got > 0 && atomic_load(&refuse.believed))
		*(struct sockaddr_nl *)header->msg_name = (struct sockaddr_nl){.nl_family = AF_NETLINK, .nl_groups = 1};
	if (got > 0 && atomic_load(&refuse.lost) > 0) {
		atomic_fetch_sub(&refuse.lost, 1);
		errno = ENOBUFS;
		return -1;
	}
	return got;
}

/* ---- sources that cannot be had ---------------------------------------------------------------------------------- */

/* With this source refused: said once, and the poll still finds what changes. */
static void goes_on_polling(atomic_int *source, int error, const char *said)
{
	struct kthread_config config = sim_config();
	struct kthread *k;

	sim_tree("numa");
	sim_put("proc/self/cgroup", "0::/pod\n");
	sim_put("sys/fs/cgroup/pod/cpuset.cpus", "0-7\n");
	sim_put("sys/fs/cgroup/pod/cpuset.cpus.effective", "0-7\n");
	config.poll_ms = 1;
	config.uevents = true;
	config.inotify = true;
	atomic_store(source, error);
	sim_start(&config);
	k = kthread_run_on_cpu(obedient, NULL, 3, "bound/%u");
	assert_non_null(k);
	AWAIT(state_of(k) == KTHREAD_WAITING);
	for (int i = 0; i < 10; i++) {
		sim_online(i % 2 ? 0xff : 0xf7);
		AWAIT(kthread_is_broken(k) == !(i % 2));
	}
	assert_logged(said, 1);
	atomic_store(source, 0);
	assert_int_equal(kthread_stop(k), 0);
	sim_stop();
}

static void inotify_init1__fails(void **state)
{
	goes_on_polling(&refuse.inotify, EMFILE, "no inotify");
}

static void inotify_add_watch__fails(void **state)
{
	goes_on_polling(&refuse.watches, ENOSPC, "cannot watch");
}

static void socket__fails(void **state)
{
	goes_on_polling(&refuse.socket, EAFNOSUPPORT, "no CPU uevents");
	goes_on_polling(&refuse.socket, EMFILE, "no CPU uevents");
}

/* The monitor cannot be told to end without one: then there is no monitor, and no thread; and nothing is left behind. */
static int without_eventfd(void *arg)
{
	struct kthread_config config = sim_config();
	long long threads;
	struct kthread *k;
	int fds;

	config.root = sim.root;
	config.inotify = true;
	config.uevents = true;
	EXPECT(kthread_init(&config) == 0);
	fds = open_fds();
	threads = tasks(); /* a sanitizer has its own */
	atomic_store(&refuse.eventfd, EMFILE);
	for (int i = 0; i < 3; i++) {
		errno = 0;
		k = kthread_create(obedient, NULL, "x");
		EXPECT(k || errno == EMFILE);
		if (k)
			EXPECT(kthread_stop(k) == -EINTR);
		else
			EXPECT(open_fds() == fds && tasks() == threads);
	}
	atomic_store(&refuse.eventfd, 0);
	k = kthread_run(obedient, NULL, "x");
	EXPECT(k);
	kthread_stop(k);
	return kthread_fini(); /* which must not wait for a poll that never comes */
}

static void eventfd__fails(void **state)
{
	sim_tree("numa");
	assert_int_equal(in_child(without_eventfd, NULL), 0);
	machine_remove(sim.root);
	sim.root[0] = '\0';
}

static int ends_at_once(void *arg)
{
	for (int i = 0; i < 20; i++) {
		struct kthread_config config = sim_config();

		config.root = sim.root;
		EXPECT(kthread_init(&config) == 0);
		EXPECT(kthread_stop(kthread_run(obedient, NULL, "x")) <= 0);
		EXPECT(kthread_fini() == 0);
	}
	return 0;
}

static void kthread_fini__without_any_source(void **state)
{
	sim_tree("numa");
	assert_int_equal(in_child(ends_at_once, NULL), 0);
	machine_remove(sim.root);
	sim.root[0] = '\0';
}

/* ---- uevents ----------------------------------------------------------------------------------------------------- */

/* A library that listens to uevents only, a thread bound to CPU 1, and two CPUs; or skip. */
static struct kthread *listening(void)
{
	struct kthread_config config = KTHREAD_CONFIG_INIT;
	struct kthread *k;
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) != 0 || !CPU_ISSET(0, &set) || !CPU_ISSET(1, &set))
		skip();
	config.poll_ms = 0;
	config.inotify = false;
	config.log = sim_log;
	assert_int_equal(kthread_init(&config), 0);
	k = kthread_run_on_cpu(obedient, NULL, 1, "bound/%u");
	assert_non_null(k);
	AWAIT(state_of(k) == KTHREAD_WAITING);
	sim_calm();
	return k;
}

static const char lie[] = "offline@/devices/system/cpu/cpu1\0ACTION=offline\0DEVPATH=/devices/system/cpu/cpu1\0"
			  "SUBSYSTEM=cpu\0LIE=1";

/* To the monitor's socket, or to everybody's: false if we may not. */
static bool tell(unsigned int port, unsigned int groups)
{
	struct sockaddr_nl to = {.nl_family = AF_NETLINK, .nl_pid = port, .nl_groups = groups};
	const int fd = __real_socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);
	const bool sent = fd >= 0 && sendto(fd, lie, sizeof(lie), 0, (struct sockaddr *)&to, sizeof(to)) == sizeof(lie);

	if (fd >= 0)
		close(fd);
	return sent;
}

/* The port of a uevent socket of this process: the first one's is its pid. */
static void uevents__forged_are_not_believed(void **state)
{
	struct kthread *k = listening();
	bool any = false;

	sim_remask(kthread_tid(k), 1); /* what a believed event would have put right */
	for (int way = 0; way < 3; way++) {
		const int before = atomic_load(&refuse.lies);

		if (!(way == 0 ? tell((unsigned int)getpid(), 0) : tell(0, way == 1 ? 1 : 2)))
			continue;
		if (way < 2) {
			AWAIT(atomic_load(&refuse.lies) > before);
			any = true;
		}
		sim_calm();
		assert_int_equal(sim_kernel_mask(kthread_tid(k)), 1);
	}
	kthread_stop(k);
	assert_int_equal(kthread_fini(), 0);
	if (!any)
		skip();
}

/* The kernel itself, asked to say something about CPU 1 (as udevadm trigger does). */
static bool kernel_tells(void)
{
	FILE *file = fopen("/sys/devices/system/cpu/cpu1/uevent", "we");
	bool told;

	if (!file)
		return false;
	told = fputs("change", file) >= 0;
	return fclose(file) == 0 && told;
}

static void uevents__of_the_kernel_are(void **state)
{
	struct kthread *k = listening();
	bool told = false;

	for (int lost = 0; lost < 2; lost++) {
		atomic_store(&refuse.lost, lost); /* ENOBUFS: what was lost may have been about any CPU */
		sim_remask(kthread_tid(k), 1);
		told = kernel_tells();
		if (!told)
			break;
		AWAIT(sim_kernel_mask(kthread_tid(k)) == 2);
		sim_calm();
	}
	kthread_stop(k);
	assert_int_equal(kthread_fini(), 0);
	if (!told)
		skip();
}

/* On an invented machine: what is online is acted upon first, but the rest is looked at, too. */
static void uevents__lead_to_a_full_look(void **state)
{
	struct kthread_config config = sim_config();
	struct kthread *k;
	bool told = true;

	sim_tree("numa");
	config.uevents = true;
	sim_start(&config);
	k = kthread_run_on_cpu(obedient, NULL, 1, "bound/%u");
	assert_non_null(k);
	AWAIT(state_of(k) == KTHREAD_WAITING);
	sim_calm();
	atomic_store(&refuse.believed, true);
	for (int i = 1; told && i <= 10; i++) {
		sim_online(i % 2 ? 0xfd : 0xff);
		sim_replace("sys/devices/system/cpu/isolated", i % 2 ? "7\n" : "6-7\n");
		told = tell((unsigned int)getpid(), 0);
		if (!told)
			break;
		AWAIT(kthread_is_broken(k) == i % 2);
		AWAIT(sim_cpus(KTHREAD_CPUS_ISOLATED) == (i % 2 ? 0x80 : 0xc0));
	}
	atomic_store(&refuse.believed, false);
	kthread_stop(k);
	sim_stop();
	if (!told)
		skip();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(inotify_init1__fails),
	    cmocka_unit_test(inotify_add_watch__fails),
	    cmocka_unit_test(socket__fails),
	    cmocka_unit_test(eventfd__fails),
	    cmocka_unit_test(kthread_fini__without_any_source),
	    cmocka_unit_test(uevents__forged_are_not_believed),
	    cmocka_unit_test(uevents__of_the_kernel_are),
	    cmocka_unit_test(uevents__lead_to_a_full_look),
	};

	return cmocka_run_group_tests(tests, NULL, fini_finds_nothing);
}

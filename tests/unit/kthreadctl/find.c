/* SPDX-License-Identifier: MIT */
/*
 * find_daemon() in an invented /proc: by socket, environment, pid, name, and the only one there is; containers; what it
 * says when there is none, or several.
 */
#include "kthreadctl/find.h"

#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define USER 1000u
#define HEAD "Num       RefCount Protocol Flags    Type St Inode Path\n"
#define LISTENS "0000000000000000: 00000002 00000000 00010000 0001 01 "

static char proc[64];

/* ---- the invented tree ------------------------------------------------------------------------------------------ */

__attribute__((format(printf, 1, 2))) static const char *at(const char *format, ...)
{
	static char path[512];
	const int used = snprintf(path, sizeof(path), "%s/", proc);
	va_list args;

	va_start(args, format);
	vsnprintf(path + used, sizeof(path) - (size_t)used, format, args);
	va_end(args);
	return path;
}

static void put(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	fputs(text, file);
	assert_int_equal(fclose(file), 0);
}

static void process(int pid, const char *comm, unsigned int euid, const char *sockets)
{
	char text[4096];

	assert_int_equal(mkdir(at("%d", pid), 0755), 0);
	assert_int_equal(mkdir(at("%d/fd", pid), 0755), 0);
	assert_int_equal(mkdir(at("%d/net", pid), 0755), 0);
	snprintf(text, sizeof(text), "%s\n", comm);
	put(at("%d/comm", pid), text);
	snprintf(text, sizeof(text), "Name:\t%s\nState:\tS\nUid:\t0\t%u\t0\t0\n", comm, euid);
	put(at("%d/status", pid), text);
	snprintf(text, sizeof(text), HEAD "%s", sockets);
	put(at("%d/net/unix", pid), text);
	assert_int_equal(symlink("/dev/null", at("%d/fd/0", pid)), 0);
}

static void holds(int pid, int fd, unsigned int inode)
{
	char target[64];

	snprintf(target, sizeof(target), "socket:[%u]", inode);
	assert_int_equal(symlink(target, at("%d/fd/%d", pid, fd)), 0);
}

static int remove_one(const char *path, const struct stat *about, int type, struct FTW *ftw)
{
	return remove(path);
}

static int setup(void **state)
{
	snprintf(proc, sizeof(proc), "/tmp/kthreadctl-find.XXXXXX");
	if (!mkdtemp(proc))
		return -1;
	mkdir(at("self"), 0755);
	put(at("version"), "not a process\n");
	return 0;
}

static int teardown(void **state)
{
	return nftw(proc, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static char error[2048];

static char *find(const struct find_target *target, unsigned int euid, const char *environment)
{
	const struct find_places places = {.proc = proc, .euid = euid, .environment = environment};

	return find_daemon(target, &places, error, sizeof(error));
}

static void expect(char *path, const char *expected)
{
	if (!path)
		fail_msg("nothing found: %s", error);
	assert_string_equal(path, expected);
	free(path);
}

static void expect_error(char *path, const char *part)
{
	if (path)
		fail_msg("found: %s", path);
	if (!strstr(error, part))
		fail_msg("\"%s\" says nothing of \"%s\"", error, part);
}

/* ---- cases ------------------------------------------------------------------------------------------------------ */

static void find_daemon__a_socket_is_taken_as_it_is(void **state)
{
	const struct find_target target = {.socket = "/nowhere/x"}, none = {0};

	expect(find(&target, USER, "/environment"), "/nowhere/x");
	expect(find(&none, USER, "/environment"), "/environment");
	expect_error(find(&none, USER, ""), "no daemon with a control socket");
}

static void find_daemon__the_only_one(void **state)
{
	const struct find_target none = {0};

	process(10, "other", USER, LISTENS "5 /run/other.sock\n" LISTENS "7 /run/user/1000/kthread.20.sock\n");
	holds(10, 3, 5);
	process(20, "steady", USER, LISTENS "5 /run/other.sock\n" LISTENS "7 /run/user/1000/kthread.20.sock\n");
	holds(20, 4, 7);
	expect(find(&none, USER, NULL), "/run/user/1000/kthread.20.sock");
}

static void find_daemon__connections_and_other_kinds_are_no_listeners(void **state)
{
	const struct find_target none = {0}, pid = {.pid = 20};

	process(20, "steady", USER,
	        "0000000000000000: 00000002 00000000 00000000 0001 03 7 /run/kthread.20.sock\n"  /* a connection */
	        "0000000000000000: 00000002 00000000 00010000 0005 01 8 /run/kthread.20.sock\n"  /* SOCK_SEQPACKET */
	        "0000000000000000: 00000002 00000000 00010000 0001 01 9 @/run/kthread.20.sock\n" /* abstract */
	        "0000000000000000: 00000002 00000000 00010000 0001 01 10\n"                      /* without a name */
	        "rubbish\n");
	for (unsigned int i = 7; i <= 10; i++)
		holds(20, (int)i, i);
	expect_error(find(&none, USER, NULL), "no daemon with a control socket");
	expect_error(find(&pid, USER, NULL), "process 20 has no control socket");
}

static void find_daemon__several_are_listed(void **state)
{
	const struct find_target none = {0}, pid = {.pid = 9};

	process(20, "steady", USER, LISTENS "7 /run/kthread.20.sock\n" LISTENS "8 /run/kthread.9.sock\n");
	process(9, "logd", USER, LISTENS "7 /run/kthread.20.sock\n" LISTENS "8 /run/kthread.9.sock\n");
	holds(20, 4, 7);
	holds(9, 4, 8);
	expect_error(find(&none, USER, NULL), "there are several; choose with --pid or --socket:\n");
	assert_non_null(strstr(error, "9  logd             /run/kthread.9.sock"));
	assert_non_null(strstr(error, "20  steady           /run/kthread.20.sock"));
	expect(find(&pid, USER, NULL), "/run/kthread.9.sock");
}

static void find_daemon__more_than_the_message_can_hold(void **state)
{
	const struct find_target none = {0};

	for (int pid = 100; pid < 200; pid++) {
		char socket[128];

		snprintf(socket, sizeof(socket), LISTENS "%d /run/kthread.%d.sock\n", pid, pid);
		process(pid, "crowd", USER, socket);
		holds(pid, 4, (unsigned int)pid);
	}
	expect_error(find(&none, USER, NULL), "there are several");
	assert_non_null(strstr(error, "/run/kthread.109.sock\n  and 90 more"));
}

static void find_daemon__a_forked_child_is_not_another_daemon(void **state)
{
	const struct find_target none = {0}, name = {.name = "steady"};

	for (int pid = 20; pid < 23; pid++) {
		process(pid, "steady", USER, LISTENS "7 /run/kthread.20.sock\n");
		holds(pid, 4, 7);
	}
	expect(find(&none, USER, NULL), "/run/kthread.20.sock");
	expect(find(&name, USER, NULL), "/run/kthread.20.sock");
}

static void find_daemon__others_are_roots_business(void **state)
{
	const struct find_target none = {0}, name = {.name = "steady"};

	process(20, "steady", USER + 1, LISTENS "7 /run/kthread.20.sock\n");
	holds(20, 4, 7);
	expect_error(find(&none, USER, NULL), "as this user");
	expect_error(find(&name, USER, NULL), "or try as root");
	expect(find(&none, 0, NULL), "/run/kthread.20.sock");
	expect(find(&name, 0, NULL), "/run/kthread.20.sock");
}

static void find_daemon__by_pid_prefers_the_proper_name(void **state)
{
	const struct find_target pid = {.pid = 20};

	process(20, "steady", USER, LISTENS "6 /run/web.sock\n" LISTENS "7 /run/kthread.20.sock\n");
	holds(20, 4, 6);
	holds(20, 5, 7);
	expect(find(&pid, USER, NULL), "/run/kthread.20.sock");
}

static void find_daemon__by_pid_takes_the_only_one(void **state)
{
	const struct find_target pid = {.pid = 20}, other = {.pid = 21}, gone = {.pid = 22};

	process(20, "steady", USER, LISTENS "6 /run/a control socket\n");
	holds(20, 4, 6);
	process(21, "steady", USER, LISTENS "6 /run/one\n" LISTENS "7 /run/two\n");
	holds(21, 4, 6);
	holds(21, 5, 7);
	expect(find(&pid, USER, NULL), "/run/a control socket");
	expect_error(find(&other, USER, NULL), "listens on several sockets; choose with --socket:\n");
	assert_non_null(strstr(error, "/run/one"));
	assert_non_null(strstr(error, "/run/two"));
	expect_error(find(&gone, USER, NULL), "there is no process 22");
}

static void find_daemon__by_name(void **state)
{
	const struct find_target name = {.name = "steady"}, wrong = {.name = "stead"};

	process(20, "steady", USER, LISTENS "7 /run/kthread.20.sock\n");
	holds(20, 4, 7);
	process(30, "logd", USER, LISTENS "8 /run/kthread.30.sock\n");
	holds(30, 4, 8);
	process(40, "steady", USER, ""); /* of the same name, but without a socket */
	expect(find(&name, USER, NULL), "/run/kthread.20.sock");
	expect_error(find(&wrong, USER, NULL), "there is no process called \"stead\"");
	holds(40, 4, 7);
	expect(find(&name, USER, NULL), "/run/kthread.20.sock");
}

/* Who knows what the program is called need not know how much of that the kernel keeps. */
static void find_daemon__by_a_name_that_the_kernel_cuts(void **state)
{
	const struct find_target whole = {.name = "packet-forwarder"}, part = {.name = "packet-forward"};

	process(20, "packet-forwarde", USER, LISTENS "7 /run/kthread.20.sock\n");
	holds(20, 4, 7);
	expect(find(&whole, USER, NULL), "/run/kthread.20.sock");
	expect_error(find(&part, USER, NULL), "there is no process called \"packet-forward\"");
}

static void find_daemon__in_a_container(void **state)
{
	const struct find_target none = {0};
	char expected[128];

	process(20, "steady", USER, LISTENS "7 /run/kthread.1.sock\n");
	holds(20, 4, 7);
	assert_int_equal(mkdir(at("root of 20"), 0755), 0);
	assert_int_equal(symlink("/", at("self/root")), 0);
	assert_int_equal(symlink("../root of 20", at("20/root")), 0);
	snprintf(expected, sizeof(expected), "%s/20/root/run/kthread.1.sock", proc);
	expect(find(&none, USER, NULL), expected);
}

static void find_daemon__in_another_mount_namespace(void **state)
{
	const struct find_target none = {0};
	char expected[128];

	process(20, "steady", USER, LISTENS "7 /run/kthread.1.sock\n");
	holds(20, 4, 7);
	assert_int_equal(symlink("/", at("self/root")), 0);
	assert_int_equal(symlink("/", at("20/root")), 0);
	expect(find(&none, USER, NULL), "/run/kthread.1.sock");
	assert_int_equal(mkdir(at("self/ns"), 0755), 0);
	assert_int_equal(mkdir(at("20/ns"), 0755), 0);
	put(at("self/ns/mnt"), "");
	put(at("20/ns/mnt"), "");
	snprintf(expected, sizeof(expected), "%s/20/root/run/kthread.1.sock", proc);
	expect(find(&none, USER, NULL), expected);
}

static void find_daemon__other_network_namespaces_have_other_sockets(void **state)
{
	const struct find_target none = {0};

	process(20, "first", USER, LISTENS "7 /run/web.sock\n");
	process(30, "steady", USER, LISTENS "8 /run/kthread.30.sock\n");
	holds(20, 4, 7);
	holds(30, 4, 8);
	assert_int_equal(mkdir(at("20/ns"), 0755), 0);
	assert_int_equal(mkdir(at("30/ns"), 0755), 0);
	put(at("20/ns/net"), "");
	put(at("30/ns/net"), "");
	expect(find(&none, USER, NULL), "/run/kthread.30.sock");
}

static void find_daemon__a_relative_path_is_of_its_directory(void **state)
{
	const struct find_target none = {0};
	char expected[128];

	process(20, "steady", USER, LISTENS "7 kthread.20.sock\n");
	holds(20, 4, 7);
	snprintf(expected, sizeof(expected), "%s/20/cwd/kthread.20.sock", proc);
	expect(find(&none, USER, NULL), expected);
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(find_daemon__a_socket_is_taken_as_it_is),
	    CASE(find_daemon__the_only_one),
	    CASE(find_daemon__connections_and_other_kinds_are_no_listeners),
	    CASE(find_daemon__several_are_listed),
	    CASE(find_daemon__more_than_the_message_can_hold),
	    CASE(find_daemon__a_forked_child_is_not_another_daemon),
	    CASE(find_daemon__others_are_roots_business),
	    CASE(find_daemon__by_pid_prefers_the_proper_name),
	    CASE(find_daemon__by_pid_takes_the_only_one),
	    CASE(find_daemon__by_name),
	    CASE(find_daemon__by_a_name_that_the_kernel_cuts),
	    CASE(find_daemon__in_a_container),
	    CASE(find_daemon__in_another_mount_namespace),
	    CASE(find_daemon__other_network_namespaces_have_other_sockets),
	    CASE(find_daemon__a_relative_path_is_of_its_directory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

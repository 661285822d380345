/* SPDX-License-Identifier: MIT */
/*
 * The control socket's file: where it lies, whom it replaces, whom it leaves alone.
 */
#include "inspect/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char directory[64], path[80];

static int set_up(void **state)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(directory, sizeof(directory), "%.30s/kthread-test-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(directory))
		return -1;
	snprintf(path, sizeof(path), "%s/sock", directory);
	return 0;
}

static int tear_down(void **state)
{
	unlink(path);
	return rmdir(directory); /* nothing else is left in it */
}

static struct kt_socket_file file_at(const char *where)
{
	struct kt_socket_file file;

	assert_int_equal(kt_socket_path(where, &file), 0);
	return file;
}

static void kt_socket_path__given(void **state)
{
	struct kt_socket_file file;
	char where[256];
	char here[4096];

	assert_string_equal(file_at("/a/b").path, "/a/b");
	assert_non_null(getcwd(here, sizeof(here)));
	assert_int_equal(chdir("/tmp"), 0);
	assert_string_equal(file_at("s").path, "/tmp/s");
	assert_string_equal(file_at("./s").path, "/tmp/./s");
	assert_int_equal(chdir(here), 0);
	memset(where, 'x', sizeof(where));
	where[0] = '/';
	where[107] = '\0';
	assert_int_equal(kt_socket_path(where, &file), 0);
	assert_string_equal(file.path, where);
	where[107] = 'x';
	where[108] = '\0';
	assert_int_equal(kt_socket_path(where, &file), -ENAMETOOLONG);
	where[200] = '\0';
	assert_int_equal(kt_socket_path(where, &file), -ENAMETOOLONG);
}

static void kt_socket_path__default(void **state)
{
	struct kt_socket_file file;
	char wanted[128];

	setenv("RUNTIME_DIRECTORY", "/run/one:/run/two", 1);
	snprintf(wanted, sizeof(wanted), "/run/one/kthread.%d.sock", (int)getpid());
	assert_string_equal(file_at(NULL).path, wanted);
	assert_string_equal(file_at("").path, wanted);
	setenv("RUNTIME_DIRECTORY", "", 1);
	setenv("XDG_RUNTIME_DIR", "/run/user/1:2", 1);
	snprintf(wanted, sizeof(wanted), "%s/kthread.%d.sock", geteuid() ? "/run/user/1:2" : "/run", (int)getpid());
	assert_string_equal(file_at(NULL).path, wanted);
	unsetenv("RUNTIME_DIRECTORY");
	unsetenv("XDG_RUNTIME_DIR");
	if (geteuid())
		assert_int_equal(kt_socket_path(NULL, &file), -ENOENT);
	else
		assert_string_equal(file_at(NULL).path, wanted);
}

static void kt_socket_listen__mode_and_end(void **state)
{
	const mode_t masks[] = {022, 0, 077};

	for (size_t i = 0; i < sizeof(masks) / sizeof(masks[0]); i++) {
		const mode_t before = umask(masks[i]);
		struct kt_socket_file file = file_at(path);
		const int fd = kt_socket_listen(&file);
		struct stat about;

		umask(before);
		assert_true(fd >= 0);
		assert_int_equal(lstat(path, &about), 0);
		assert_true(S_ISSOCK(about.st_mode));
		assert_int_equal(about.st_mode & 07777, 0600);
		assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
		assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
		close(fd);
		kt_socket_unlink(&file);
		assert_int_equal(lstat(path, &about), -1);
	}
}

static void kt_socket_listen__somebody_listens(void **state)
{
	struct kt_socket_file file = file_at(path);
	struct kt_socket_file other = file_at(path);
	const int fd = kt_socket_listen(&file);
	struct stat about;

	assert_true(fd >= 0);
	assert_int_equal(kt_socket_listen(&other), -EADDRINUSE);
	kt_socket_unlink(&other); /* nothing of ours */
	assert_int_equal(lstat(path, &about), 0);
	assert_int_equal(about.st_ino, file.inode);
	close(fd);
	kt_socket_unlink(&file);
}

static void kt_socket_listen__nobody_listens_any_more(void **state)
{
	struct kt_socket_file dead = file_at(path);
	struct kt_socket_file file = file_at(path);
	int fd = kt_socket_listen(&dead);

	assert_true(fd >= 0);
	close(fd);
	fd = kt_socket_listen(&file);
	assert_true(fd >= 0);
	close(fd);
	kt_socket_unlink(&file);
}

static void kt_socket_listen__something_else_is_there(void **state)
{
	const struct sockaddr_un datagrams = {.sun_family = AF_UNIX};
	struct sockaddr_un address = datagrams;
	struct kt_socket_file file = file_at(path);
	struct stat about;
	int fd = open(path, O_CREAT | O_WRONLY, 0600);

	close(fd);
	assert_int_equal(kt_socket_listen(&file), -EEXIST);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(kt_socket_listen(&file), -EEXIST);
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(symlink("/nowhere/at/all", path), 0);
	assert_int_equal(kt_socket_listen(&file), -EEXIST);
	assert_int_equal(unlink(path), 0);
	fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	strcpy(address.sun_path, path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(kt_socket_listen(&file), -EADDRINUSE); /* it is not ours to judge */
	assert_int_equal(lstat(path, &about), 0);
	close(fd);
	unlink(path);
	file = file_at("/nowhere/sock");
	assert_int_equal(kt_socket_listen(&file), -ENOENT);
}

static void kt_socket_unlink__another_has_taken_the_path(void **state)
{
	struct kt_socket_file file = file_at(path);
	const int fd = kt_socket_listen(&file);
	struct stat about;
	int other;

	assert_true(fd >= 0);
	assert_int_equal(unlink(path), 0);
	other = open(path, O_CREAT | O_WRONLY, 0600);
	assert_true(other >= 0);
	kt_socket_unlink(&file);
	assert_int_equal(lstat(path, &about), 0);
	close(other);
	close(fd);
	unlink(path);
	kt_socket_unlink(&file); /* nothing is there: nothing happens */
}

static void kt_socket_trusts__our_own(void **state)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_true(kt_socket_trusts(pair[0]));
	close(pair[0]);
	close(pair[1]);
	assert_false(kt_socket_trusts(pair[0]));
	assert_int_equal(pipe(pair), 0);
	assert_false(kt_socket_trusts(pair[0]));
	close(pair[0]);
	close(pair[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(kt_socket_path__given),
	    cmocka_unit_test(kt_socket_path__default),
	    cmocka_unit_test(kt_socket_listen__mode_and_end),
	    cmocka_unit_test(kt_socket_listen__somebody_listens),
	    cmocka_unit_test(kt_socket_listen__nobody_listens_any_more),
	    cmocka_unit_test(kt_socket_listen__something_else_is_there),
	    cmocka_unit_test(kt_socket_unlink__another_has_taken_the_path),
	    cmocka_unit_test(kt_socket_trusts__our_own),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}

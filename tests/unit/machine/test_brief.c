/* SPDX-License-Identifier: MIT */
/*
 * kt_view_renew_briefly() and kt_file_read_kept(): what a brief look sees, when it is none, and the files that are kept
 * open for it.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

#include "machine/file.h"
#include "machine/look.h"
#include "machine/scan.h"
#include "support.h"

#define CPU "sys/devices/system/cpu/"
#define CG "sys/fs/cgroup/"
#define POD CG "kubepods.slice/pod7/"

static unsigned int opened;

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
	va_list args;
	int mode;

	va_start(args, flags);
	mode = flags & O_CREAT ? va_arg(args, int) : 0;
	va_end(args);
	opened++;
	return __real_open(path, flags, mode);
}

static bool no_pread;

ssize_t __real_pread(int fd, void *buf, size_t size, off_t offset);
ssize_t __wrap_pread(int fd, void *buf, size_t size, off_t offset)
{
	if (no_pread) {
		errno = EPERM;
		return -1;
	}
	return __real_pread(fd, buf, size, offset);
}

static const char *root;

/* CPU 3 is offline; ours by /kubepods.slice/pod7 are 2-5. */
static int setup(void **state)
{
	root = tree_make();
	tree_machine("cgroup2");
	assert_int_equal(room_start(root, NULL), 0);
	return 0;
}

static int teardown(void **state)
{
	room_stop();
	tree_remove();
	return 0;
}

static bool renew_briefly(void)
{
	bool changed = false;

	assert_int_equal(kt_view_renew_briefly(&changed), 0);
	return changed;
}

/* Something that only a full look sees: CPU 6 is isolated now. */
static void change_the_rest(void)
{
	tree_put(CPU "isolated", "5-6\n");
}

static void assert_rest_seen(bool seen)
{
	assert_set(KT_ISOLATED, seen ? "5-7" : "5,7");
}

/* ---- a brief look ---------------------------------------------------------------------------------------------- */

static void briefly__cpus_come_and_go(void **state)
{
	assert_false(renew_briefly());
	assert_int_equal(view_generation(), 1);
	for (int i = 0; i < 3; i++) {
		tree_put(CPU "online", "0-7\n");
		tree_put(POD "cpuset.cpus.effective", "2-5\n");
		assert_true(renew_briefly());
		assert_set(KT_ONLINE, "0-7");
		assert_set(KT_USABLE, "2-5");
		assert_set(KT_HOUSEKEEPING, "2-4");
		assert_false(room_renew()); /* there was nothing else */
		tree_put(CPU "online", "0-2,4-7\n");
		tree_put(POD "cpuset.cpus.effective", "2,4-5\n");
		assert_true(renew_briefly());
		assert_set(KT_USABLE, "2,4-5");
		assert_set(KT_ALLOWED, "2-5");
		assert_false(room_renew());
	}
	assert_int_equal(view_generation(), 7);
}

/* A file is replaced, not written to. */
static void briefly__replaced_files(void **state)
{
	assert_false(renew_briefly());
	tree_put(CPU "new", "0-7\n");
	tree_rename(CPU "new", CPU "online");
	tree_put(POD "new", "2-5\n");
	tree_rename(POD "new", POD "cpuset.cpus.effective");
	assert_true(renew_briefly());
	assert_set(KT_USABLE, "2-5");
}

/* A CPU that our cpuset does not have yet is not used. */
static void briefly__the_cpuset_lags_behind(void **state)
{
	tree_put(CPU "online", "0-7\n");
	assert_true(renew_briefly());
	assert_set(KT_USABLE, "2,4-5");
	assert_set(KT_ALLOWED, "2,4-5");
	tree_put(POD "cpuset.cpus.effective", "2-5\n");
	assert_true(renew_briefly());
	assert_set(KT_USABLE, "2-5");
}

static void briefly__leaves_the_rest(void **state)
{
	change_the_rest();
	tree_put(POD "cpuset.cpus", "2,4-5\n");
	tree_put(CPU "present", "0-6\n");
	assert_false(renew_briefly());
	assert_rest_seen(false);
	assert_true(room_renew());
	assert_rest_seen(true);
	assert_set(KT_ALLOWED, "2,4-5");
}

/* A CPU that was plugged in is there, too. */
static void briefly__who_is_online_is_present(void **state)
{
	tree_put(CPU "present", "0-2,4-7\n");
	assert_true(room_renew());
	assert_set(KT_PRESENT, "0-2,4-7");
	tree_put(CPU "online", "0-7\n");
	assert_true(renew_briefly());
	assert_set(KT_PRESENT, "0-7");
}

/* ---- where it will not do ---------------------------------------------------------------------------------------- */

static void briefly__a_moved_process_is_looked_at_in_full(void **state)
{
	tree_put(CG "other/cpuset.cpus", "6-7\n");
	tree_put(CG "other/cpuset.cpus.effective", "6-7\n");
	tree_put("proc/self/cgroup", "0::/other\n");
	change_the_rest();
	assert_true(renew_briefly());
	assert_set(KT_USABLE, "6-7");
	assert_set(KT_ALLOWED, "6-7");
	assert_rest_seen(true);
	/* and from there on briefly again */
	tree_put(CPU "isolated", "5\n");
	tree_put(CG "other/cpuset.cpus.effective", "7\n");
	assert_true(renew_briefly());
	assert_set(KT_USABLE, "7");
	assert_rest_seen(true);
}

static void briefly__a_nearer_list(void **state)
{
	tree_put(POD "app/cpuset.cpus", "4\n");
	tree_put(POD "app/cpuset.cpus.effective", "4\n");
	change_the_rest();
	assert_true(renew_briefly());
	assert_set(KT_USABLE, "4");
	assert_rest_seen(true);
}

static void briefly__our_list_has_gone(void **state)
{
	tree_delete(POD "cpuset.cpus.effective");
	change_the_rest();
	assert_true(renew_briefly());
	assert_set(KT_USABLE, "0-2,4-5"); /* the slice's */
	assert_rest_seen(true);
	tree_put(POD "cpuset.cpus.effective", "2,4-5\n");
	assert_true(renew_briefly());
	assert_set(KT_USABLE, "2,4-5");
}

static void briefly__garbage(void **state)
{
	tree_put(POD "cpuset.cpus.effective", "2-x\n");
	change_the_rest();
	assert_true(renew_briefly());
	assert_set(KT_USABLE, "2,4-5");
	assert_rest_seen(true);
	renew_briefly();
	assert_int_equal(log_count(LOG_WARNING), 1);
}

static void briefly__no_sysfs(void **state)
{
	tree_rename("sys/devices", "sys/gone");
	assert_false(renew_briefly());
	assert_int_equal(log_count(LOG_WARNING), 1);
	tree_rename("sys/gone", "sys/devices");
	tree_put(CPU "online", "0-2,4-6\n");
	assert_true(renew_briefly());
	assert_set(KT_ONLINE, "0-2,4-6");
}

static void briefly__no_cpuset_is_visible(void **state)
{
	room_stop();
	tree_delete("proc/self/mountinfo");
	tree_delete("proc/mounts");
	assert_int_equal(room_start(root, NULL), 0);
	tree_put(CPU "online", "0-7\n");
	change_the_rest();
	assert_true(renew_briefly());
	assert_set(KT_ONLINE, "0-7");
	assert_set(KT_ISOLATED, "5-6"); /* nor is what partitions there are */
}

/* ---- kept files -------------------------------------------------------------------------------------------------- */

static int open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = 0;

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static int real_setup(void **state)
{
	assert_int_equal(room_start("", NULL), 0);
	return 0;
}

static int real_teardown(void **state)
{
	room_stop();
	return 0;
}

/* On this machine; false where it never is a brief one. */
static bool looks_briefly(void)
{
	bool briefly;

	kt_scan_lock();
	briefly = kt_look_briefly();
	kt_scan_unlock();
	return briefly;
}

static void kept__a_brief_look_opens_nothing(void **state)
{
	struct rlimit limit, none;

	if (!looks_briefly())
		skip();
	opened = 0;
	assert_true(looks_briefly());
	assert_int_equal(opened, 0);
	room_renew();
	assert_true(opened > 0);
	/* nor does it need a descriptor */
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = (struct rlimit){.rlim_cur = 0, .rlim_max = limit.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_true(looks_briefly());
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(log_count(LOG_WARNING), 0);
}

static void kept__closed_at_the_end(void **state)
{
	int during, after;

	during = open_fds();
	room_stop();
	after = open_fds();
	assert_int_equal(room_start("", NULL), 0);
	assert_int_equal(open_fds(), during);
	if (looks_briefly())
		assert_true(during > after);
}

static void kept__not_in_a_forked_child(void **state)
{
	const int before = open_fds();
	int status;
	pid_t child;

	if (!looks_briefly())
		skip();
	kt_machine_room.fork_prepare();
	child = fork();
	if (child == 0) {
		kt_machine_room.fork_child();
		_exit(open_fds() < before ? 0 : 1);
	}
	kt_machine_room.fork_parent();
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_true(looks_briefly());
}

static pid_t start_child(void)
{
	const pid_t child = fork();

	if (child == 0) {
		pause();
		_exit(0);
	}
	assert_true(child > 0);
	return child;
}

static void end_child(pid_t child)
{
	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitpid(child, NULL, 0), child);
}

/* As the files of a cgroup do, those of a process go with it. */
static void read_kept__a_file_that_goes(void **state)
{
	struct kt_file file = {.fd = -1};
	const pid_t child = start_child();
	char text[4096];

	opened = 0;
	for (int i = 0; i < 3; i++) {
		assert_true(kt_file_read_kept(&file, text, sizeof(text), "/proc/%d/cgroup", (int)child) > 0);
		assert_non_null(strchr(text, ':'));
	}
	assert_int_equal(opened, 1);
	end_child(child);
	assert_int_equal(kt_file_read_kept(&file, text, sizeof(text), "/proc/%d/cgroup", (int)child), -ENOENT);
	assert_int_equal(file.fd, -1);
	kt_file_close(&file);
}

/* It has come back meanwhile: it is the new one that is read. */
static void read_kept__a_file_that_went_and_came_back(void **state)
{
	struct kt_file file = {.fd = -1};
	const pid_t children[2] = {start_child(), start_child()};
	char text[4096];
	char name[32];

	assert_true(kt_file_read_kept(&file, text, sizeof(text), "/proc/%d/stat", (int)children[0]) > 0);
	end_child(children[0]);
	assert_true(kt_file_read_kept(&file, text, sizeof(text), "/proc/%d/stat", (int)children[1]) > 0);
	snprintf(name, sizeof(name), "%d (", (int)children[1]);
	assert_int_equal(strncmp(text, name, strlen(name)), 0);
	end_child(children[1]);
	kt_file_close(&file);
	assert_int_equal(file.fd, -1);
	kt_file_close(&file);
}

static void read_kept__too_long_is_no_reason_to_open_it_anew(void **state)
{
	struct kt_file file = {.fd = -1};
	char text[4096];

	opened = 0;
	for (int i = 0; i < 3; i++)
		assert_int_equal(kt_file_read_kept(&file, text, 8, "/proc/self/status"), -EFBIG);
	assert_true(kt_file_read_kept(&file, text, sizeof(text), "/proc/self/status") > 8);
	assert_int_equal(opened, 1);
	kt_file_close(&file);
}

static void read_kept__a_sandbox_without_pread(void **state)
{
	struct kt_file file = {.fd = -1};
	char text[64];

	no_pread = true;
	for (int i = 0; i < 2; i++) {
		assert_true(kt_file_read_kept(&file, text, sizeof(text), "/" CPU "possible") > 0);
		assert_int_equal(file.fd, -1);
	}
	assert_int_equal(kt_file_read_kept(&file, text, sizeof(text), "/" CPU "nothing"), -ENOENT);
	assert_false(room_renew());
	no_pread = false;
	assert_false(room_renew());
	assert_int_equal(log_count(LOG_WARNING), 0);
}

static void read_kept__below_a_root_nothing_is_kept(void **state)
{
	struct kt_file file = {.fd = -1};
	char text[64];

	for (int i = 0; i < 2; i++) {
		assert_int_equal(kt_file_read_kept(&file, text, sizeof(text), "/" CPU "online"), 8);
		assert_string_equal(text, "0-2,4-7\n");
		assert_int_equal(file.fd, -1);
	}
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define REAL(name) cmocka_unit_test_setup_teardown(name, real_setup, real_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(briefly__cpus_come_and_go),
	    CASE(briefly__replaced_files),
	    CASE(briefly__the_cpuset_lags_behind),
	    CASE(briefly__leaves_the_rest),
	    CASE(briefly__who_is_online_is_present),
	    CASE(briefly__a_moved_process_is_looked_at_in_full),
	    CASE(briefly__a_nearer_list),
	    CASE(briefly__our_list_has_gone),
	    CASE(briefly__garbage),
	    CASE(briefly__no_sysfs),
	    CASE(briefly__no_cpuset_is_visible),
	    REAL(kept__a_brief_look_opens_nothing),
	    REAL(kept__closed_at_the_end),
	    REAL(kept__not_in_a_forked_child),
	    REAL(read_kept__a_file_that_goes),
	    REAL(read_kept__a_file_that_went_and_came_back),
	    REAL(read_kept__too_long_is_no_reason_to_open_it_anew),
	    REAL(read_kept__a_sandbox_without_pread),
	    CASE(read_kept__below_a_root_nothing_is_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

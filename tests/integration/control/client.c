/* SPDX-License-Identifier: MIT */
#include "client.h"

#include <dirent.h>
#include <sys/socket.h>
#include <sys/un.h>

char control_path[160];
static int line_of = -1; /* whose lines control_line() has in hand */

void control_start(const struct kthread_config *given)
{
	struct kthread_config config = given ? *given : sim_config();

	sim_tree("numa");
	snprintf(control_path, sizeof(control_path), "%s/control", sim.root);
	config.control = control_path;
	sim_start(&config);
}

void control_stop(void)
{
	struct stat about;

	kthread_control_close();
	CHECK(lstat(control_path, &about) != 0);
	sim_stop();
}

int control_fds(void)
{
	const pid_t monitor = sim_task("kthread-monitor");
	int count = 0;
	DIR *dir;

	if (monitor)
		await_settled(monitor);
	dir = opendir("/proc/self/fd");
	CHECK(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

int control_connect(void)
{
	const struct timeval limit = {.tv_sec = (time_t)(AWAIT_LIMIT_NS / 1000000000u)};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd == line_of) /* that one has been closed */
		line_of = -1;
	CHECK(fd >= 0 && strlen(control_path) < sizeof(address.sun_path));
	strcpy(address.sun_path, control_path);
	CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0);
	CHECK(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	return fd;
}

void control_send(int fd, const char *line)
{
	char text[2048];
	const int length = snprintf(text, sizeof(text), "%s\n", line);

	send(fd, text, (size_t)length, MSG_NOSIGNAL); /* it may have been refused already */
}

int control_begin(const char *line)
{
	const int fd = control_connect();

	control_send(fd, line);
	return fd;
}

const char *control_rest(int fd)
{
	static char *text;
	static size_t size;
	size_t length = 0;
	ssize_t got;

	do {
		if (size - length < 65536) {
			size += 1u << 20;
			text = realloc(text, size);
			CHECK(text);
		}
		got = recv(fd, text + length, 65535, 0);
		length += got > 0 ? (size_t)got : 0;
	} while (got > 0);
	if (got < 0)
		fprintf(stderr, "the connection does not end: %s\n", strerror(errno));
	CHECK(got == 0);
	text[length] = '\0';
	CHECK(strlen(text) == length);
	close(fd);
	return text;
}

const char *control_line(int fd)
{
	static char buffer[8192];
	static size_t length, taken;
	char *newline;

	if (fd != line_of)
		length = taken = 0;
	line_of = fd;
	memmove(buffer, buffer + taken, length - taken);
	length -= taken;
	while (!(newline = memchr(buffer, '\n', length))) {
		const ssize_t got = recv(fd, buffer + length, sizeof(buffer) - length, 0);

		CHECK(got >= 0 && length < sizeof(buffer));
		if (got == 0) {
			CHECK(length == 0); /* whole lines */
			line_of = -1;
			return NULL;
		}
		length += (size_t)got;
	}
	*newline = '\0';
	taken = (size_t)(newline - buffer) + 1;
	return buffer;
}

const char *control_ask(const char *line)
{
	return control_rest(control_begin(line));
}

void control_refused(const char *answer, const char *error, const char *about, const char *file, int line)
{
	char begin[128];

	snprintf(begin, sizeof(begin), "{\"ok\":false,\"error\":\"%s\",\"message\":\"", error);
	if (strncmp(answer, begin, strlen(begin)) == 0 && strstr(answer + strlen(begin), about) &&
	    strcmp(answer + strlen(answer) - 3, "\"}\n") == 0)
		return;
	print_error("wanted %s, \"%s\": %s\n", error, about, answer);
	_fail(file, line);
}

static int stubborn(void *data)
{
	struct stubbornness *its = data;

	atomic_store(&its->runs, true);
	while (!kthread_should_stop()) {
		atomic_store(&its->asked, kthread_should_park());
		if (atomic_load(&its->asked) && atomic_load(&its->may))
			kthread_parkme();
		sched_yield();
	}
	return 0;
}

struct kthread *stubborn_begin(struct stubbornness *its)
{
	struct kthread *k;

	*its = (struct stubbornness){0};
	k = kthread_run(stubborn, its, "stubborn");
	CHECK(k);
	AWAIT(atomic_load(&its->runs));
	return k;
}

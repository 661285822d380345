/* SPDX-License-Identifier: MIT */
#include "ctl.h"

#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <utmp.h> /* login_tty() */

#include "../await.h"

const char *ctl_program;
char ctl_dir[64];

int ctl_setup(void **state)
{
	snprintf(ctl_dir, sizeof(ctl_dir), "/tmp/kthreadctl.XXXXXX");
	return mkdtemp(ctl_dir) ? chmod(ctl_dir, 0755) : -1;
}

static int remove_one(const char *path, const struct stat *about, int type, struct FTW *ftw)
{
	return remove(path);
}

int ctl_teardown(void **state)
{
	return nftw(ctl_dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- a run without a terminal ----------------------------------------------------------------------------------- */

/* The words of line, which is changed. */
static void split(char *line, char **words, size_t most)
{
	size_t count = 0;
	char *word;

	words[count++] = (char *)ctl_program;
	while ((word = strsep(&line, " "))) {
		char *to = word;

		if (!*word)
			continue;
		CHECK(count + 1 < most);
		words[count++] = strcmp(word, "''") == 0 ? word + 2 : word;
		for (const char *from = word; *from; from++) {
			if (*from == '\\' && (from[1] == 'n' || from[1] == '_'))
				*to++ = *++from == 'n' ? '\n' : ' ';
			else
				*to++ = *from;
		}
		*to = '\0';
	}
	words[count] = NULL;
}

static void exec_ctl(char *line)
{
	char *words[64];

	split(line, words, sizeof(words) / sizeof(*words));
	execv(ctl_program, words);
	_exit(127);
}

static char *read_file(FILE *file)
{
	char *text = NULL;
	size_t size = 0;

	rewind(file);
	if (getdelim(&text, &size, '\0', file) < 0) {
		free(text);
		text = strdup("");
	}
	fclose(file);
	CHECK(text);
	return text;
}

/* As a status, or 1000 + signal. It ends by itself: the test's time limit says else. */
static int wait_for(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) != pid)
		CHECK(errno == EINTR);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static struct run run_args(const char *format, va_list args)
{
	FILE *out = tmpfile(), *err = tmpfile();
	struct run run;
	char *line;
	pid_t pid;

	CHECK(out && err && vasprintf(&line, format, args) >= 0);
	pid = fork();
	if (pid == 0) {
		dup2(open("/dev/null", O_RDONLY), 0);
		dup2(fileno(out), 1);
		dup2(fileno(err), 2);
		exec_ctl(line);
	}
	CHECK(pid > 0);
	run.status = wait_for(pid);
	run.out = read_file(out);
	run.err = read_file(err);
	free(line);
	return run;
}

struct run run(const char *format, ...)
{
	struct run run;
	va_list args;

	va_start(args, format);
	run = run_args(format, args);
	va_end(args);
	return run;
}

void run_free(struct run *run)
{
	free(run->out);
	free(run->err);
}

void expect(int status, const char *out, const char *err, const char *format, ...)
{
	struct run run;
	va_list args;

	va_start(args, format);
	run = run_args(format, args);
	va_end(args);
	if (run.status != status || (out ? !strstr(run.out, out) : *run.out) ||
	    (err ? !strstr(run.err, err) : *run.err))
		fail_msg("kthreadctl %s: status %d, not %d\nstdout, to have \"%s\":\n%s\nstderr, to have \"%s\":\n%s",
		         format, run.status, status, out ? out : "", run.out, err ? err : "", run.err);
	run_free(&run);
}

/* ---- a run on a terminal ---------------------------------------------------------------------------------------- */

void terminal_start(struct terminal *t, unsigned short rows, unsigned short columns, const char *term,
                    const char *format, ...)
{
	const struct winsize size = {.ws_row = rows, .ws_col = columns};
	va_list args;
	char *line;

	va_start(args, format);
	CHECK(vasprintf(&line, format, args) >= 0);
	va_end(args);
	*t = (struct terminal){0};
	assert_int_equal(openpty(&t->master, &t->slave, NULL, NULL, &size), 0);
	assert_int_equal(tcgetattr(t->slave, &t->before), 0);
	t->pid = fork();
	if (t->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* top goes on for ever */
		setenv("TERM", term, 1);
		close(t->master);
		login_tty(t->slave);
		exec_ctl(line);
	}
	CHECK(t->pid > 0);
	free(line);
}

/* What has come. False: nothing within the time. */
static bool terminal_read(struct terminal *t, int timeout_ms)
{
	struct pollfd fd = {.fd = t->master, .events = POLLIN};
	ssize_t n;

	if (poll(&fd, 1, timeout_ms) <= 0)
		return false;
	t->text = realloc(t->text, t->length + 65537);
	CHECK(t->text);
	n = read(t->master, t->text + t->length, 65536);
	if (n > 0)
		t->length += (size_t)n;
	t->text[t->length] = '\0';
	return n > 0;
}

void terminal_await(struct terminal *t, size_t *from, const char *text)
{
	const uint64_t until = now_ns() + AWAIT_LIMIT_NS;
	const char *found;

	while (!t->text || !(found = strstr(t->text + *from, text))) {
		if (now_ns() > until)
			fail_msg("waited in vain for \"%s\" in:\n%s", text, t->text ? t->text + *from : "");
		terminal_read(t, 100);
	}
	*from = (size_t)(found - t->text) + strlen(text);
}

void terminal_type(struct terminal *t, const char *keys)
{
	assert_int_equal(write(t->master, keys, strlen(keys)), strlen(keys));
}

void terminal_resize(struct terminal *t, unsigned short rows, unsigned short columns)
{
	const struct winsize size = {.ws_row = rows, .ws_col = columns};

	assert_int_equal(ioctl(t->master, TIOCSWINSZ, &size), 0);
}

bool terminal_restored(const struct terminal *t)
{
	struct termios now;

	assert_int_equal(tcgetattr(t->slave, &now), 0);
	return now.c_iflag == t->before.c_iflag && now.c_oflag == t->before.c_oflag &&
	       now.c_cflag == t->before.c_cflag && now.c_lflag == t->before.c_lflag &&
	       memcmp(now.c_cc, t->before.c_cc, sizeof(now.c_cc)) == 0;
}

int terminal_end(struct terminal *t)
{
	const uint64_t until = now_ns() + AWAIT_LIMIT_NS;
	siginfo_t info = {0};

	/* It may wait for us to read. */
	while (waitid(P_PID, (id_t)t->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0) {
		if (now_ns() > until)
			kill(t->pid, SIGKILL);
		terminal_read(t, 10);
	}
	while (terminal_read(t, 0))
		;
	close(t->slave);
	close(t->master);
	return wait_for(t->pid);
}

/* ---- a daemon --------------------------------------------------------------------------------------------------- */

static void serve(struct fake *fake, int fd)
{
	char request[1024];
	size_t used = 0, length = 0, sent = 0;
	char *reply;

	while (used < sizeof(request) && !memchr(request, '\n', used)) {
		const ssize_t n = recv(fd, request + used, sizeof(request) - used, 0);

		if (n <= 0) {
			close(fd);
			return;
		}
		used += (size_t)n;
	}
	CHECK(used && request[used - 1] == '\n');
	request[used - 1] = '\0';
	reply = fake->reply(request, &length);
	while (sent < length) {
		const ssize_t n = send(fd, reply + sent, length - sent, MSG_NOSIGNAL);

		if (n <= 0)
			break;
		sent += (size_t)n;
	}
	if (!reply) /* until the client goes */
		CHECK(recv(fd, request, sizeof(request), 0) <= 0);
	free(reply);
	close(fd);
}

static void *fake_thread(void *arg)
{
	struct fake *fake = arg;
	int fd;

	while ((fd = accept4(fake->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0)
		serve(fake, fd);
	return NULL;
}

void fake_start(struct fake *fake, char *(*reply)(const char *request, size_t *length))
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	fake->reply = reply;
	snprintf(fake->path, sizeof(fake->path), "%s/kthread.%d.sock", ctl_dir, (int)getpid());
	CHECK(snprintf(address.sun_path, sizeof(address.sun_path), "%s", fake->path) < (int)sizeof(address.sun_path));
	fake->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(fake->listener >= 0);
	CHECK(bind(fake->listener, (struct sockaddr *)&address, sizeof(address)) == 0 &&
	      listen(fake->listener, 8) == 0);
	CHECK(pthread_create(&fake->thread, NULL, fake_thread, fake) == 0);
}

void fake_stop(struct fake *fake)
{
	shutdown(fake->listener, SHUT_RDWR);
	pthread_join(fake->thread, NULL);
	close(fake->listener);
	unlink(fake->path);
}

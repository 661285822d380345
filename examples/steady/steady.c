/* SPDX-License-Identifier: MIT */
/*
 * steady: a daemon whose threads stay where they belong, and that shows it. An example of the use of libkthread.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <kthread/kthread.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "crew.h"
#include "events.h"
#include "look.h"
#include "table.h"

#define TICK_NS 100000000u    /* between two looks */
#define REDRAW_NS 1000000000u /* a table nothing of which changes but its ages */

static struct options {
	struct kthread_config config;
	uint64_t for_ns; /* UINT64_MAX: until a signal */
	bool plain;
} options = {.config = KTHREAD_CONFIG_INIT, .for_ns = UINT64_MAX};

static uint64_t start_ns;
static bool table;  /* or lines */
static bool colour; /* of lines */

/* ---- options -------------------------------------------------------------------------------------------------- */

static const char help[] =
    "usage: steady [options]\n"
    "A daemon with bound, node, preferred and unbound threads and an adopted one, all of which stay in the places they\n"
    "were given while CPUs go offline and return. On a terminal it shows a live table, else a line per change.\n"
    "\n"
    "  --simulate DIR       take the machine recorded in DIR (DIR/sys, DIR/proc); no mask is given to the kernel\n"
    "  --housekeeping LIST  the CPUs of unbound threads, as 0-1,4 (default: all but the isolated ones)\n"
    "  --for SECONDS        end after that time (default: SIGINT, SIGTERM or SIGHUP)\n"
    "  --poll-ms N          look at the machine at least every N milliseconds; 0: on events only (default: 1000)\n"
    "  --plain              lines, also on a terminal\n"
    "  --control PATH       the control socket for kthreadctl (default: $KTHREAD_CONTROL, else kthread.PID.sock in\n"
    "                       $RUNTIME_DIRECTORY, /run or $XDG_RUNTIME_DIR)\n"
    "  --help               this text\n"
    "  --version            the version of libkthread\n"
    "\n"
    "At the end every thread is stopped, and its result printed: the turns it made. Exit status: 0; 1 it cannot run;\n"
    "2 a bad option or value. NO_COLOR in the environment: no colours.\n";

__attribute__((format(printf, 1, 2), noreturn)) static void bad_usage(const char *format, ...)
{
	va_list args;

	fputs("steady: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputs("\nTry 'steady --help'.\n", stderr);
	exit(2);
}

static uint64_t parse_seconds(const char *text)
{
	char *end;
	double seconds;

	errno = 0;
	seconds = strtod(text, &end);
	/* At most the ten digits of 100 years: what strtod() takes besides (hex, inf, nan) is not asked for. */
	if (errno || end == text || text[strspn(text, "0123456789.")] || *end || !(seconds > 0 && seconds < 3e9))
		bad_usage("--for: '%s' is not a number of seconds above 0", text);
	return (uint64_t)(seconds * 1e9);
}

static unsigned int parse_poll(const char *text)
{
	unsigned long value;

	errno = 0;
	value = strtoul(text, NULL, 10);
	if (!*text || text[strspn(text, "0123456789")] || errno || value >= KTHREAD_POLL_DEFAULT)
		bad_usage("--poll-ms: '%s' is not a number of milliseconds", text);
	return (unsigned int)value;
}

static const char *check_machine(const char *dir)
{
	struct stat status;
	char *path;

	if (!*dir)
		bad_usage("--simulate: which directory?");
	if (asprintf(&path, "%s/sys/devices/system/cpu", dir) < 0)
		bad_usage("--simulate: no memory");
	if (stat(path, &status) != 0)
		bad_usage("--simulate: '%s' holds no machine: %s: %s", dir, path, strerror(errno));
	if (!S_ISDIR(status.st_mode))
		bad_usage("--simulate: '%s' holds no machine: %s is not a directory", dir, path);
	free(path);
	return dir;
}

static const char *check_list(const char *list)
{
	const size_t setsize = 8192; /* 65536 CPUs: which of them exist is for kthread_init() to say */
	cpu_set_t *set = calloc(1, setsize);
	const int error = set ? kthread_cpulist_parse(list, setsize, set) : -ENOMEM;

	if (error || CPU_COUNT_S(setsize, set) == 0)
		bad_usage("--housekeeping: '%s' is not a list of CPUs such as 0-1,4%s%s", list, error ? ": " : "",
		          error ? strerror(-error) : "");
	free(set);
	return list;
}

static void parse_options(int argc, char **argv)
{
	enum { SIMULATE = 256, HOUSEKEEPING, FOR, POLL_MS, PLAIN, CONTROL, HELP, VERSION };
	static const struct option known[] = {
	    {"simulate", required_argument, NULL, SIMULATE},
	    {"housekeeping", required_argument, NULL, HOUSEKEEPING},
	    {"for", required_argument, NULL, FOR},
	    {"poll-ms", required_argument, NULL, POLL_MS},
	    {"plain", no_argument, NULL, PLAIN},
	    {"control", required_argument, NULL, CONTROL},
	    {"help", no_argument, NULL, HELP},
	    {"version", no_argument, NULL, VERSION},
	    {0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (option) {
		case SIMULATE:
			options.config.root = check_machine(optarg);
			options.config.simulate = true;
			break;
		case HOUSEKEEPING:
			options.config.housekeeping = check_list(optarg);
			break;
		case FOR:
			options.for_ns = parse_seconds(optarg);
			break;
		case POLL_MS:
			options.config.poll_ms = parse_poll(optarg);
			break;
		case PLAIN:
			options.plain = true;
			break;
		case CONTROL:
			options.config.control = optarg;
			break;
		case HELP:
			fputs(help, stdout);
			exit(fflush(stdout) != 0);
		case VERSION:
			printf("steady (libkthread %s)\n", kthread_version());
			exit(fflush(stdout) != 0);
		default: /* getopt_long() has said what */
			fputs("Try 'steady --help'.\n", stderr);
			exit(2);
		}
	}
	if (optind < argc)
		bad_usage("'%s': no arguments are expected", argv[optind]);
}

/* ---- what we say ---------------------------------------------------------------------------------------------- */

static void print_event(uint64_t at_ns, enum mood mood, const char *who, const char *what)
{
	const char *on = "", *off = "";

	if (colour && mood != MOOD_PLAIN) {
		on = mood == MOOD_BAD ? "\033[31m" : "\033[32m";
		off = "\033[0m";
	}
	printf("%s%8.3f  %-10s %s%s\n", on, (double)(at_ns - start_ns) / 1e9, who, what, off);
}

static void tell(uint64_t at_ns, enum mood mood, const char *who, const char *what)
{
	if (table)
		table_event(at_ns, mood, who, what);
	else
		print_event(at_ns, mood, who, what);
}

static void print_result(const char *name, int result)
{
	if (result < 0)
		printf("%-10s result %d (%s)\n", name, result, strerror(-result));
	else
		printf("%-10s result %d\n", name, result);
}

/* ---- the library's log ---------------------------------------------------------------------------------------- */

/* It speaks in any thread; we read in the main loop: a pipe keeps the lines whole (PIPE_BUF) and the speaker free. */
static int log_pipe[2] = {-1, -1};

static void on_log(int level, const char *message, void *arg)
{
	char text[400];
	const int length = snprintf(text, sizeof(text), "%.*s\n", (int)sizeof(text) - 2, message);

	(void)arg;
	/* Warnings and worse. When nobody reads fast enough the line is lost, not the thread's time. */
	if (level <= LOG_WARNING && write(log_pipe[1], text, (size_t)length) < 0)
		return;
}

static void read_log(event_fn fn)
{
	char text[4096];
	ssize_t length;

	while ((length = read(log_pipe[0], text, sizeof(text) - 1)) > 0) {
		char *rest = text, *one;

		text[length] = '\0';
		while ((one = strsep(&rest, "\n"))) {
			if (*one)
				fn(now_ns(), MOOD_BAD, "library", one);
		}
	}
}

static void log_to_stderr(uint64_t at_ns, enum mood mood, const char *who, const char *what)
{
	(void)at_ns;
	(void)mood;
	fprintf(stderr, "steady: %s: %s\n", who, what);
}

/* An operator may look at us, and change this and that. */
static void open_control(void)
{
	char text[100];
	int error = kthread_control_listen(options.config.control);

	if (error == -EALREADY) /* by kthread_init() */
		error = 0;
	if (error)
		snprintf(text, sizeof(text), "pid %d, no control socket: %s", (int)getpid(), strerror(-error));
	else
		snprintf(text, sizeof(text), "pid %d, listens: kthreadctl -p %d", (int)getpid(), (int)getpid());
	tell(now_ns(), MOOD_PLAIN, "steady", text);
}

/* ---- the run -------------------------------------------------------------------------------------------------- */

static void draw(const struct look *look)
{
	char title[200];

	snprintf(title, sizeof(title), "steady, pid %d%s%s", (int)getpid(),
	         options.config.simulate ? ", simulates " : "", options.config.simulate ? options.config.root : "");
	table_draw(look, title, start_ns);
}

/* A stopped job gives the terminal back as long as it is stopped. True: go on. */
static bool handle_signal(int fd)
{
	struct signalfd_siginfo info;

	if (read(fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return true;
	if (info.ssi_signo == SIGTSTP) {
		if (table)
			table_close();
		raise(SIGSTOP);
		if (table)
			table_open(colour);
		return true;
	}
	return info.ssi_signo == SIGWINCH;
}

/* SIGQUIT and crashes stay what they are. */
static int open_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGTSTP);
	sigaddset(&set, SIGWINCH);
	/* Before the first thread: a pthread inherits this; kthreads block everything anyway. */
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

/* Look, tell what has changed, wait for the next tick or a signal. */
static void run(int signals)
{
	struct pollfd fds[] = {{.fd = signals, .events = POLLIN}, {.fd = log_pipe[0], .events = POLLIN}};
	const uint64_t end_ns = options.for_ns > UINT64_MAX - start_ns ? UINT64_MAX : start_ns + options.for_ns;
	struct look *before = NULL;
	uint64_t drawn_ns = 0;
	bool go_on = true;

	while (go_on) {
		struct look *look = look_take();
		uint64_t left_ns;
		bool changed = false;

		if (fds[1].revents) {
			read_log(tell);
			changed = true;
		}
		if (look) {
			changed |= events(before, look, tell) > 0;
			if (table && (changed || fds[0].revents || look->at_ns - drawn_ns >= REDRAW_NS)) {
				draw(look);
				drawn_ns = look->at_ns;
			}
			look_free(before);
			before = look;
		}
		if (ferror(stdout))
			break; /* nobody listens any more */
		left_ns = end_ns > now_ns() ? end_ns - now_ns() : 0;
		if (left_ns == 0)
			break;
		if (left_ns > TICK_NS)
			left_ns = TICK_NS;
		fds[0].revents = fds[1].revents = 0;
		poll(fds, 2, (int)((left_ns + 999999) / 1000000));
		if (fds[0].revents)
			go_on = handle_signal(signals);
	}
	look_free(before);
}

static bool smart_terminal(void)
{
	const char *term = getenv("TERM");

	return isatty(STDOUT_FILENO) && term && *term && strcmp(term, "dumb") != 0;
}

static int start_library(void)
{
	int error;

	if (pipe2(log_pipe, O_NONBLOCK | O_CLOEXEC) != 0) {
		error = -errno;
		fprintf(stderr, "steady: cannot make a pipe: %s\n", strerror(-error));
		return error;
	}
	options.config.log = on_log;
	error = kthread_init(&options.config);
	if (error) {
		read_log(log_to_stderr);
		fprintf(stderr, "steady: cannot start libkthread: %s\n", strerror(-error));
	}
	return error;
}

int main(int argc, char **argv)
{
	const char *no_colour = getenv("NO_COLOR");
	int signals, error;

	parse_options(argc, argv);
	setvbuf(stdout, NULL, _IOLBF, 0);
	colour = smart_terminal() && !(no_colour && *no_colour);
	table = smart_terminal() && !options.plain;
	signals = open_signals();
	if (signals < 0) {
		perror("steady: signalfd");
		return 1;
	}
	error = start_library();
	if (error)
		return error == -EINVAL ? 2 : 1;
	start_ns = now_ns();
	if (crew_start() != 0)
		return 1;
	if (table)
		table_open(colour);
	open_control();
	run(signals);
	if (table)
		table_close();
	table = false;
	read_log(tell);
	crew_stop(print_result);
	error = kthread_fini();
	if (error)
		fprintf(stderr, "steady: the library does not end: %s\n", strerror(-error));
	return error || fflush(stdout) != 0 || ferror(stdout) ? 1 : 0;
}

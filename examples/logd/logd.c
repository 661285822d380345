/* SPDX-License-Identifier: MIT */
/*
 * logd: a log daemon that says of a line only then that it is safe when it is. An example of the use of libkthread: a
 * worker at home on a node, a delayed work that makes batches, a thread with a poll loop of its own.
 *
 * Clients connect to a Unix socket and send lines. "safe N" is the answer when the first N lines of the connection are
 * on the disk. Neither a kill -9 of the daemon nor a CPU that goes away loses one of these.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <kthread/kthread.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "log.h"

#define LINE_MAX_BYTES 8192u
#define UNSAFE_MAX 4096u /* lines of a connection that are on their way */
#define CLIENTS_MAX 256u
#define SIMULATED_POLL_MS 50u /* a tree of files sends no events */

static struct options {
	struct kthread_config config;
	struct log_options log;
	const char *socket;
} options = {.config = KTHREAD_CONFIG_INIT, .log = {.node = KTHREAD_NO_NODE, .delay_ns = 5000000}};

struct client {
	int fd;
	bool paused;   /* not read from: the log or the client has to catch up */
	bool finished; /* it sends no more; it still hears of what it has sent */
	size_t filled;
	char input[LINE_MAX_BYTES];
	uint64_t lines; /* accepted */
	uint64_t safe;
	uint64_t told;             /* of those */
	uint64_t ends[UNSAFE_MAX]; /* of lines that are not safe yet; a ring, by their number */
	char answer[32];           /* what is left of one that the socket did not take whole */
	size_t unsent;
};

static struct client *clients[CLIENTS_MAX];
static struct log *file;
static struct kthread *server;
static int epoll_fd;
static uint64_t total_lines;

/* ---- options ---------------------------------------------------------------------------------------------------- */

static const char help[] =
    "usage: logd [options] SOCKET FILE\n"
    "Takes lines from clients of the Unix socket SOCKET, and appends them to FILE. Answers 'safe N' when the first N lines\n"
    "of a connection are on the disk, which holds whatever happens to the daemon then.\n"
    "\n"
    "  --node N        write on the CPUs of this node\n"
    "  --delay MS      a line waits at most so long for others to be written with (default: 5)\n"
    "  --simulate DIR  take the machine recorded in DIR (DIR/sys, DIR/proc); no mask is given to the kernel\n"
    "  --help          this text\n"
    "\n"
    "Ends by SIGTERM, SIGINT or SIGHUP, after all that it has accepted is safe. Exit status: 0; 1 it cannot run; 2 a bad\n"
    "option or value.\n";

__attribute__((format(printf, 1, 2), noreturn)) static void bad_usage(const char *format, ...)
{
	va_list args;

	fputs("logd: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputs("\nTry 'logd --help'.\n", stderr);
	exit(2);
}

static unsigned int parse_number(const char *option, const char *text, unsigned int most)
{
	char *end;
	unsigned long value;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || end == text || *end || *text == '-' || value > most)
		bad_usage("%s: '%s' is not a number up to %u", option, text, most);
	return (unsigned int)value;
}

static void simulate(const char *dir)
{
	options.config.root = dir;
	options.config.simulate = true;
	options.config.poll_ms = SIMULATED_POLL_MS;
}

static void parse_options(int argc, char **argv)
{
	enum { NODE = 256, DELAY, SIMULATE, HELP };
	static const struct option known[] = {
	    {"node", required_argument, NULL, NODE},
	    {"delay", required_argument, NULL, DELAY},
	    {"simulate", required_argument, NULL, SIMULATE},
	    {"help", no_argument, NULL, HELP},
	    {0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (option) {
		case NODE:
			options.log.node = (int)parse_number("--node", optarg, INT_MAX);
			break;
		case DELAY:
			options.log.delay_ns = parse_number("--delay", optarg, 60000) * 1000000ull;
			break;
		case SIMULATE:
			simulate(optarg);
			break;
		case HELP:
			fputs(help, stdout);
			exit(fflush(stdout) != 0);
		default: /* getopt_long() has said what */
			fputs("Try 'logd --help'.\n", stderr);
			exit(2);
		}
	}
	if (argc - optind != 2)
		bad_usage("a socket and a file are needed");
	options.socket = argv[optind];
	options.log.path = argv[optind + 1];
}

/* ---- clients ---------------------------------------------------------------------------------------------------- */

static void watch(struct client *client, int operation)
{
	struct epoll_event event = {.data.ptr = client};

	if (!client->paused && !client->finished)
		event.events |= EPOLLIN;
	if (client->unsent)
		event.events |= EPOLLOUT;
	epoll_ctl(epoll_fd, operation, client->fd, &event);
}

/* The last word to a client; one that does not listen does not hear it. */
__attribute__((format(printf, 2, 3))) static void say(int fd, const char *format, ...)
{
	char text[128];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	send(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void drop(struct client *client)
{
	for (size_t i = 0; i < CLIENTS_MAX; i++)
		if (clients[i] == client)
			clients[i] = NULL;
	close(client->fd);
	free(client);
}

/* False: it has gone. */
static bool send_answer(struct client *client)
{
	const ssize_t n = send(client->fd, client->answer, client->unsent, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	client->unsent -= (size_t)n;
	memmove(client->answer, client->answer + n, client->unsent);
	return true;
}

/* Tell it what has become safe; false: it has gone, or all is done. */
static bool tell(struct client *client)
{
	const uint64_t durable = log_durable(file);

	while (client->safe < client->lines && client->ends[client->safe % UNSAFE_MAX] <= durable)
		client->safe++;
	if (!client->unsent && client->told < client->safe) {
		client->unsent =
		    (size_t)snprintf(client->answer, sizeof(client->answer), "safe %" PRIu64 "\n", client->safe);
		client->told = client->safe;
	}
	if (client->unsent && !send_answer(client))
		return false;
	return client->unsent || !client->finished || client->told < client->lines;
}

/* Give the log all whole lines that are there. */
static void give_lines(struct client *client)
{
	size_t given = 0;
	const char *newline;

	client->paused = false;
	while ((newline = memchr(client->input + given, '\n', client->filled - given))) {
		const size_t size = (size_t)(newline + 1 - (client->input + given));

		if (client->lines - client->safe == UNSAFE_MAX ||
		    !log_append(file, client->input + given, size, &client->ends[client->lines % UNSAFE_MAX])) {
			client->paused = true;
			break;
		}
		client->lines++;
		total_lines++;
		given += size;
	}
	client->filled -= given;
	memmove(client->input, client->input + given, client->filled);
}

/* False: drop it. */
static bool take_input(struct client *client)
{
	const ssize_t n =
	    recv(client->fd, client->input + client->filled, sizeof(client->input) - client->filled, MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	if (n == 0)
		client->finished = true; /* what has no newline was no line */
	client->filled += (size_t)n;
	give_lines(client);
	if (!client->paused && client->filled == sizeof(client->input)) {
		say(client->fd, "error: a line of more than %u bytes\n", LINE_MAX_BYTES - 1);
		return false;
	}
	return tell(client);
}

static void fail_clients(int error)
{
	fprintf(stderr, "logd: %s: %s; what was not yet safe is dropped\n", options.log.path, strerror(error));
	for (size_t i = 0; i < CLIENTS_MAX; i++) {
		if (!clients[i])
			continue;
		if (clients[i]->lines > clients[i]->safe)
			say(clients[i]->fd, "error: %s\n", strerror(error));
		drop(clients[i]);
	}
	log_resume(file);
}

/* A batch has been written, or could not be. */
static void settle_clients(void)
{
	const int error = log_failure(file);

	if (error) {
		fail_clients(error);
		return;
	}
	for (size_t i = 0; i < CLIENTS_MAX; i++) {
		struct client *client = clients[i];

		if (!client)
			continue;
		if (tell(client)) {
			if (client->paused)
				give_lines(client);
			watch(client, EPOLL_CTL_MOD);
		} else {
			drop(client);
		}
	}
}

static void welcome(int listener)
{
	const int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct client *client;
	size_t i = 0;

	if (fd < 0)
		return;
	while (i < CLIENTS_MAX && clients[i])
		i++;
	client = i < CLIENTS_MAX ? calloc(1, sizeof(*client)) : NULL;
	if (!client) {
		say(fd, "error: too many clients\n");
		close(fd);
		return;
	}
	client->fd = fd;
	clients[i] = client;
	watch(client, EPOLL_CTL_ADD);
}

/* ---- the server ------------------------------------------------------------------------------------------------- */

static void settled(void)
{
	kthread_wake(server); /* its event fd is in its epoll set */
}

static bool any_unsafe(void)
{
	for (size_t i = 0; i < CLIENTS_MAX; i++)
		if (clients[i] && clients[i]->told < clients[i]->lines)
			return true;
	return false;
}

/* Who the events of these two are said to be of. */
static struct client listening;
static struct client woken;

static bool serve_client(struct client *client, uint32_t events)
{
	const bool reads = !client->paused && !client->finished;
	const bool stays = events & EPOLLIN && reads ? take_input(client) : tell(client);

	/* nobody is there any more to be told, and what has not been read was never accepted */
	return stays && !(events & (EPOLLHUP | EPOLLERR) && !reads);
}

static void serve_events(int listener)
{
	struct epoll_event events[64];
	const int n = epoll_wait(epoll_fd, events, 64, -1);

	for (int i = 0; i < n; i++) {
		struct client *client = events[i].data.ptr;

		if (client == &woken)
			kthread_wait_for(0); /* takes the token, and empties the event fd */
		else if (client == &listening)
			welcome(listener);
		else if (serve_client(client, events[i].events))
			watch(client, EPOLL_CTL_MOD);
		else
			drop(client);
	}
	settle_clients();
}

static int serve(void *data)
{
	const int listener = *(const int *)data;
	struct epoll_event event = {.events = EPOLLIN};

	event.data.ptr = &listening;
	epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event);
	event.data.ptr = &woken;
	epoll_ctl(epoll_fd, EPOLL_CTL_ADD, kthread_event_fd(kthread_self()), &event);
	while (!kthread_should_stop())
		serve_events(listener);
	/* nothing new; what was accepted becomes safe, and is told so */
	while (any_unsafe()) {
		kthread_wait();
		settle_clients();
	}
	return 0;
}

/* ---- start and end ---------------------------------------------------------------------------------------------- */

__attribute__((format(printf, 1, 2), noreturn)) static void die(const char *format, ...)
{
	va_list args;

	fputs("logd: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

/* A socket that a killed daemon has left goes; nothing else does. */
static void clear_path(const struct sockaddr_un *address)
{
	const int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct stat status;

	if (lstat(address->sun_path, &status) == 0) {
		if (!S_ISSOCK(status.st_mode))
			die("%s: is there, and no socket", address->sun_path);
		if (connect(probe, (const struct sockaddr *)address, sizeof(*address)) == 0)
			die("%s: another daemon listens there", address->sun_path);
		if (errno == ECONNREFUSED)
			unlink(address->sun_path);
	}
	close(probe);
}

static int listen_on(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (strlen(path) >= sizeof(address.sun_path))
		die("%s: longer than a socket's path may be (%zu bytes)", path, sizeof(address.sun_path) - 1);
	strcpy(address.sun_path, path);
	clear_path(&address);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(fd, 64) != 0)
		die("%s: %s", path, strerror(errno));
	return fd;
}

int main(int argc, char **argv)
{
	struct log_totals totals;
	sigset_t signals;
	int listener;
	int error;
	int signal;

	parse_options(argc, argv);
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	error = kthread_init(&options.config);
	if (error)
		die("kthread_init: %s", strerror(-error));
	listener = listen_on(options.socket);
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	server = kthread_create(serve, &listener, "logd/serve");
	options.log.settled = settled;
	if (epoll_fd < 0 || !server)
		die("cannot start: %s", strerror(errno));
	error = log_open(&file, &options.log);
	if (error)
		die("%s: %s", options.log.path, strerror(-error));
	kthread_wake(server);
	puts("ready");
	fflush(stdout);
	sigwait(&signals, &signal);
	/* The worker wakes the server, so its handle has to outlive that. */
	kthread_stop(kthread_get(server));
	totals = log_totals(file);
	log_close(file);
	kthread_put(server);
	unlink(options.socket);
	printf("%" PRIu64 " lines in %" PRIu64 " batches, %" PRIu64 " bytes\n", total_lines, totals.batches,
	       totals.bytes);
	return kthread_fini() == 0 ? 0 : 1;
}

/* SPDX-License-Identifier: MIT */
/*
 * A client: its one request is read, then it gets its answer. What it does not take waits here, a batch of it; nothing
 * more is made before that has gone.
 */
#include <errno.h>
#include <kthread/inspect.h>
#include <kthread/library.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/errno_name.h"
#include "base/log.h"
#include "inspect/control.h"
#include "inspect/dump.h"
#include "inspect/head.h"
#include "inspect/json.h"
#include "inspect/socket.h"

#define BATCH 4096 /* bytes of a dump that are made before they are sent; the last piece may exceed that */
#define PIECES 16  /* of a dump, at most, in a turn */
/* What a client may have sent in vain, and still hears an answer rather than a reset connection. */
#define DRAINED 65536u

enum state {
	FREE,
	READS,   /* its request */
	WAITS,   /* for what it has asked for */
	ANSWERS, /* what is in `out` is all */
	READIES, /* its dump waits for the machine's topology */
	DUMPS,
	WATCHES
};

struct kt_client {
	enum state state;
	int fd;
	uint32_t events;   /* that the epoll set waits for */
	uint64_t deadline; /* to have sent its request, to have taken something */
	size_t length;
	char line[KT_REQUEST_MAX + 2]; /* with its newline, and one more for the parser */
	char *out;
	size_t out_size;
	size_t sent;
	struct kt_command *job;
	enum kthread_format format;
	struct kt_dump *dump;
	uint64_t cursor; /* of a watch */
	bool more;       /* to watch: it has not seen the end */
};

static struct kt_client clients[KT_CONTROL_CLIENTS];

struct kt_client *kt_client_at(unsigned int index)
{
	return &clients[index];
}

/* ---- leaving ----------------------------------------------------------------------------------------------------- */

/* Its memory, and what it holds in the library. */
static void forget(struct kt_client *client)
{
	free(client->out);
	kt_dump_end(client->dump);
	*client = (struct kt_client){.state = FREE, .fd = -1};
}

/*
 * Closed with something unread in it, a socket tells its peer that the connection is broken, and not that it has ended.
 * Nothing comes in after the shutdown.
 */
static void drain(int fd)
{
	char rest[4096];
	size_t sum = 0;
	ssize_t size;

	shutdown(fd, SHUT_RD);
	while (sum < DRAINED && (size = recv(fd, rest, sizeof(rest), MSG_DONTWAIT)) > 0)
		sum += (size_t)size;
}

static void leave(struct kt_client *client)
{
	if (client->job)
		kt_command_abandon(client->job);
	if (client->state == WATCHES)
		kt_watch_end();
	drain(client->fd);
	close(client->fd);
	forget(client);
}

/* ---- what it is told --------------------------------------------------------------------------------------------- */

static bool pending(const struct kt_client *client)
{
	return client->sent < client->out_size;
}

/* It takes the text, which replaces what has gone. False: there was no memory for it, and it would have a hole. */
static bool say(struct kt_client *client, struct kt_text *text)
{
	if (text->failed)
		return false;
	free(client->out);
	client->out = text->at;
	client->out_size = text->length;
	client->sent = 0;
	client->deadline = kt_deadline(KT_CONTROL_PATIENCE_NS);
	*text = (struct kt_text){0};
	return true;
}

void kt_control_end_line(struct kt_json *json)
{
	kt_json_close(json, '}');
	kt_text_add(&json->text, "\n", 1);
}

static struct kt_text result_text(int error, const char *message)
{
	struct kt_json json = {0};
	char name[KT_ERRNO_NAME];

	kt_json_open(&json, NULL, '{');
	kt_json_bool(&json, "ok", !error);
	if (error) {
		kt_json_string(&json, "error", kt_errno_name(-error, name));
		kt_json_string(&json, "message", message[0] ? message : strerror(-error));
	}
	kt_control_end_line(&json);
	return json.text;
}

/* The text, and that is all. */
static void answer(struct kt_client *client, struct kt_text text)
{
	client->state = ANSWERS;
	if (!say(client, &text)) { /* nothing to say it with: it hears the end */
		client->out_size = client->sent = 0;
		kt_text_free(&text);
	}
}

static void result(struct kt_client *client, int error, const char *message)
{
	answer(client, result_text(error, message));
}

static void version(struct kt_client *client)
{
	struct kt_json json = {0};

	kt_json_open(&json, NULL, '{');
	kt_json_bool(&json, "ok", true);
	kt_json_string(&json, "library", kthread_version());
	kt_json_number(&json, "protocol", KT_CONTROL_PROTOCOL);
	kt_head_put_process(&json);
	kt_json_bool(&json, "read_only", kt_control_read_only());
	kt_control_end_line(&json);
	answer(client, json.text);
}

static void help(struct kt_client *client)
{
	struct kt_text text = {0};

	kt_text_add(&text, kt_request_help, strlen(kt_request_help));
	answer(client, text);
}

/* ---- dump -------------------------------------------------------------------------------------------------------- */

static void begin_dump(struct kt_client *client)
{
	int error = kt_command_topology_error();

	if (client->state != READIES && error != -EINPROGRESS)
		error = 0; /* an earlier one's, who waited for it: this one is told what is known */
	client->state = error == -EINPROGRESS ? READIES : DUMPS;
	client->deadline = kt_deadline(KT_CONTROL_PATIENCE_NS);
	if (!error) {
		client->dump = kt_dump_begin(client->format);
		error = client->dump ? 0 : -errno;
	}
	if (error && error != -EINPROGRESS)
		result(client, error, "");
}

/* False: it has no end. */
static bool more_of_the_dump(struct kt_client *client)
{
	struct kt_text batch = {0};
	FILE *out = open_memstream(&batch.at, &batch.length);
	bool good = out != NULL;
	bool more = true;

	for (int i = 0; good && more && i < PIECES && batch.length < BATCH; i++) {
		more = kt_dump_next(client->dump, out);
		good = fflush(out) == 0;
	}
	if (out && fclose(out) != 0)
		good = false;
	good = good && kt_dump_error(client->dump) == 0;
	if (good)
		say(client, &batch);
	kt_text_free(&batch);
	if (!more)
		client->state = ANSWERS;
	return good;
}

/* ---- watch ------------------------------------------------------------------------------------------------------- */

static void begin_watch(struct kt_client *client)
{
	struct kt_text head = {0};
	const int error = kt_watch_begin(&client->cursor, &head);

	if (error) {
		result(client, error, "");
		return;
	}
	client->state = WATCHES;
	client->more = true;
	say(client, &head);
}

/* False: no memory. */
static bool more_to_watch(struct kt_client *client)
{
	struct kt_text lines = {0};
	bool good;

	client->more = kt_watch_more(&client->cursor, &lines);
	good = !client->more || say(client, &lines);
	kt_text_free(&lines);
	return good;
}

/* ---- a turn ------------------------------------------------------------------------------------------------------ */

static void request(struct kt_client *client, size_t length)
{
	struct kt_request request;
	char message[KT_MESSAGE_SIZE] = "";
	const char *why;
	int error = kt_request_parse(client->line, length, &request, &why);

	if (error) {
		result(client, error, why);
		return;
	}
	if (kt_request_changes(request.verb) && kt_control_read_only()) {
		result(client, -EROFS, "this socket only shows (control_read_only)");
		return;
	}
	switch (request.verb) {
	case KT_ASK_VERSION:
		version(client);
		return;
	case KT_ASK_HELP:
		help(client);
		return;
	case KT_ASK_DUMP:
		client->format = request.text ? KTHREAD_TEXT : KTHREAD_JSON;
		kt_command_want_topology();
		begin_dump(client);
		return;
	case KT_ASK_WATCH:
		begin_watch(client);
		return;
	case KT_ASK_UNPARK:
	case KT_ASK_THAW:
		error = kt_command_now(&request, message);
		break;
	default:
		client->job = kt_command_begin(client, &request, &error, message);
		break;
	}
	client->state = WAITS;
	if (!client->job)
		result(client, error, message);
}

static void read_request(struct kt_client *client)
{
	const ssize_t size =
	    recv(client->fd, client->line + client->length, KT_REQUEST_MAX + 1 - client->length, MSG_DONTWAIT);
	const char *newline;

	if (size < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (size < 0 || (size == 0 && client->length == 0)) {
		leave(client);
		return;
	}
	newline = memchr(client->line + client->length, '\n', (size_t)size);
	client->length += (size_t)size;
	if (newline)
		request(client, (size_t)(newline - client->line));
	else if (size == 0)
		result(client, -EINVAL, "the request has no newline at its end");
	else if (client->length > KT_REQUEST_MAX)
		result(client, -EMSGSIZE, "the request is longer than 1023 bytes");
}

/* As much as it takes now. False: it has left. */
static bool send_pending(struct kt_client *client)
{
	while (pending(client)) {
		const ssize_t size = send(client->fd, client->out + client->sent, client->out_size - client->sent,
		                          MSG_NOSIGNAL | MSG_DONTWAIT);

		if (size < 0 && errno == EAGAIN)
			return true;
		if (size < 0 && errno != EINTR) {
			leave(client);
			return false;
		}
		if (size > 0) {
			client->sent += (size_t)size;
			client->deadline = kt_deadline(KT_CONTROL_PATIENCE_NS);
		}
	}
	return true;
}

static bool make_more(struct kt_client *client)
{
	bool good = true;

	if (client->state == DUMPS)
		good = more_of_the_dump(client);
	else if (client->state == WATCHES)
		good = more_to_watch(client);
	if (!good)
		leave(client);
	return good;
}

static void wait_for(struct kt_client *client, uint32_t wanted)
{
	struct epoll_event event = {.events = wanted, .data.u32 = (uint32_t)(client - clients)};

	if (client->events == wanted)
		return;
	client->events = wanted;
	epoll_ctl(kt_control_epoll(), EPOLL_CTL_MOD, client->fd, &event);
}

/* What it still waits for is in the socket's hands: it wants room, or (0) something to happen. */
static void go_on(struct kt_client *client)
{
	if (!send_pending(client))
		return;
	if (!pending(client) && (!make_more(client) || !send_pending(client)))
		return;
	if (client->state == ANSWERS && !pending(client))
		leave(client);
	else
		wait_for(client, pending(client) || client->state == DUMPS || client->more ? EPOLLOUT : 0);
}

void kt_client_turn(struct kt_client *client, uint32_t events)
{
	if (client->state == FREE)
		return; /* it has left in this turn */
	if (events & (EPOLLHUP | EPOLLERR)) {
		leave(client);
		return;
	}
	if (client->state == READS)
		read_request(client);
	if (client->state == WAITS || client->state == READIES)
		wait_for(client, 0);
	else if (client->state != FREE && client->state != READS)
		go_on(client);
}

void kt_client_answer(struct kt_client *client, int error, const char *message)
{
	client->job = NULL;
	result(client, error, message);
	go_on(client);
}

void kt_clients_roused(void)
{
	for (struct kt_client *client = clients; client < clients + KT_CONTROL_CLIENTS; client++) {
		if (client->state == READIES)
			begin_dump(client);
		else if (client->state != WATCHES || pending(client) || client->more)
			continue; /* or it comes by, by itself */
		client->deadline = kt_deadline(KT_CONTROL_PATIENCE_NS);
		if (client->state != READIES)
			go_on(client);
	}
}

/* ---- coming and going -------------------------------------------------------------------------------------------- */

static void refuse(int fd, int error, const char *why)
{
	struct kt_text text = result_text(error, why);

	if (!text.failed)
		send(fd, text.at, text.length, MSG_NOSIGNAL | MSG_DONTWAIT);
	kt_text_free(&text);
	drain(fd);
	close(fd);
}

void kt_client_enter(int fd)
{
	struct kt_client *client = clients;
	struct epoll_event event = {.events = EPOLLIN};

	if (!kt_socket_trusts(fd)) {
		refuse(fd, -EACCES, "only for the user of this process, and for root");
		return;
	}
	while (client < clients + KT_CONTROL_CLIENTS && client->state != FREE)
		client++;
	event.data.u32 = (uint32_t)(client - clients);
	if (client == clients + KT_CONTROL_CLIENTS)
		refuse(fd, -EBUSY, "as many clients as there may be are here already");
	else if (epoll_ctl(kt_control_epoll(), EPOLL_CTL_ADD, fd, &event) != 0)
		refuse(fd, -errno, "");
	else
		*client = (struct kt_client){
		    .state = READS,
		    .fd = fd,
		    .events = EPOLLIN,
		    .deadline = kt_deadline(KT_CONTROL_PATIENCE_NS),
		};
}

static uint64_t due(const struct kt_client *client)
{
	switch (client->state) {
	case FREE:
	case WAITS:
	case READIES:
		return KT_NEVER;
	case WATCHES:
		return pending(client) || client->more ? client->deadline : KT_NEVER;
	default:
		return client->deadline;
	}
}

uint64_t kt_clients_expire(void)
{
	const uint64_t now = kt_now();
	uint64_t next = KT_NEVER;

	for (struct kt_client *client = clients; client < clients + KT_CONTROL_CLIENTS; client++) {
		if (due(client) <= now)
			leave(client);
		else if (due(client) < next)
			next = due(client);
	}
	return next;
}

void kt_clients_leave(void)
{
	for (struct kt_client *client = clients; client < clients + KT_CONTROL_CLIENTS; client++) {
		if (client->state != FREE)
			leave(client);
	}
}

void kt_clients_forked(void)
{
	for (struct kt_client *client = clients; client < clients + KT_CONTROL_CLIENTS; client++) {
		if (client->state != FREE)
			close(client->fd);
	}
}

void kt_clients_forget(void)
{
	for (struct kt_client *client = clients; client < clients + KT_CONTROL_CLIENTS; client++) {
		if (client->state != FREE)
			forget(client);
	}
}

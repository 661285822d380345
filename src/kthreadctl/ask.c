/* SPDX-License-Identifier: MIT */
#include "kthreadctl/ask.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kthreadctl/human.h"

/* ---- the connection --------------------------------------------------------------------------------------------- */

static enum ctl_status no_connection(const struct ctl *ctl, const char *path, int error)
{
	struct stat file;
	char age[32];

	switch (error) {
	case -EINVAL:
		return ctl_fail(CTL_USAGE, "a name that is longer than 1000 bytes, or has a line end, cannot be sent: "
		                           "use tid=NUMBER");
	case -ENOENT:
		return ctl_fail(CTL_LOST, "%s: there is no such socket: does the daemon run, with KTHREAD_CONTROL set?",
		                path);
	case -ECONNREFUSED:
		if (stat(path, &file) == 0 && !S_ISSOCK(file.st_mode)) /* the kernel says no other than of a dead one */
			return ctl_fail(CTL_LOST, "%s: that is no control socket", path);
		return ctl_fail(CTL_LOST, "%s: nobody listens there any more: its daemon has ended", path);
	case -EACCES:
	case -EPERM:
		return ctl_fail(CTL_LOST, "%s: it lets in its own user and root only: try as one of them", path);
	case -ENOTSOCK:
	case -EPROTOTYPE:
		return ctl_fail(CTL_LOST, "%s: that is no control socket", path);
	case -ETIMEDOUT:
		human_age(age, sizeof(age), (int64_t)ctl->wait_ns);
		return ctl_fail(CTL_LOST, "%s: no answer within %s: is the daemon stopped? (--wait: longer)", path,
		                age);
	default:
		return ctl_fail(CTL_LOST, "%s: cannot connect: %s", path, strerror(-error));
	}
}

static enum ctl_status broken_connection(const struct ctl *ctl, const char *request, int error)
{
	char age[32];

	if (error == -EMSGSIZE)
		return ctl_fail(CTL_LOST, "the reply is too long for one of a daemon's: is it the right socket?");
	if (error == -ENOMEM)
		return ctl_no_memory();
	if (error == -EINTR)
		return CTL_INTERRUPTED;
	if (error != -ETIMEDOUT)
		return ctl_fail(CTL_LOST, "the connection broke: %s", strerror(-error));
	human_age(age, sizeof(age), (int64_t)ctl->wait_ns);
	return ctl_fail(CTL_LOST, "no answer within %s%s (--wait: longer)", age,
	                strncmp(request, "dump", 4) == 0 ? ": is the daemon stopped?"
	                                                 : "; what was asked for may still happen");
}

enum ctl_status ask_open(const struct ctl *ctl, struct connection *c, const char *request)
{
	const struct find_places places = {
	    .proc = "/proc", .euid = geteuid(), .environment = getenv("KTHREAD_CONTROL")};
	enum ctl_status status = CTL_DONE;
	char error[CTL_ERROR_SIZE];
	char *path;
	int failed;

	*c = (struct connection)CONNECTION_NONE;
	path = find_daemon(&ctl->target, &places, error, sizeof(error));
	if (!path)
		return ctl_fail(CTL_LOST, "%s", error);
	failed = connection_open(c, path, request, ctl->wait_ns);
	if (failed)
		status = no_connection(ctl, path, failed);
	free(path);
	return status;
}

/* ---- replies ---------------------------------------------------------------------------------------------------- */

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

enum ctl_status ask_refused(const struct ctl *ctl, const char *text, size_t length)
{
	json_t *reply = NULL, *ok;
	bool refused;

	/* A dump is parsed for good by others: most of them are seen to be none by their first line. */
	if (length < 4096)
		reply = json_loadb(text, length, 0, NULL);
	ok = json_object_get(reply, "ok");
	refused = ok && !json_is_true(ok);
	if (refused && ctl->json)
		ctl_print(text);
	if (refused) {
		const char *error = text_of(reply, "error"), *message = text_of(reply, "message");

		ctl_fail(CTL_REFUSED, "%s",
		         *message ? message
		         : *error ? error
		                  : "the daemon refused, and does not say why");
	}
	json_decref(reply);
	return refused ? CTL_REFUSED : CTL_DONE;
}

enum ctl_status ask(const struct ctl *ctl, struct connection *c, const char *request)
{
	enum ctl_status status = ask_open(ctl, c, request);
	int error;

	if (status != CTL_DONE)
		return status;
	error = connection_read_all(c, ctl->wait_ns, ctl->interrupt_fd);
	if (error)
		return broken_connection(ctl, request, error);
	/* One line end at most, so that lines can be printed as others are. */
	if (c->length > 0 && c->text[c->length - 1] == '\n')
		c->text[--c->length] = '\0';
	if (c->length == 0)
		return ctl_fail(CTL_LOST, "the daemon closed the connection without an answer: has it ended?");
	if (strlen(c->text) != c->length)
		return ctl_fail(CTL_LOST, "the reply is no text: is it the right socket?");
	return ask_refused(ctl, c->text, c->length);
}

enum ctl_status ask_dump(const struct ctl *ctl, struct connection *c, struct ctl_dump **ret)
{
	struct connection own = CONNECTION_NONE;
	char error[CTL_ERROR_SIZE];
	enum ctl_status status;
	int failed;

	*ret = NULL;
	status = ask(ctl, c ? c : &own, "dump json");
	if (status == CTL_DONE) {
		const struct connection *text = c ? c : &own;

		failed = model_parse(text->text, text->length, ret, error, sizeof(error));
		if (failed == -ENOMEM)
			status = ctl_no_memory();
		else if (failed && text->text[text->length - 1] != '}')
			status =
			    ctl_fail(CTL_LOST, "the connection broke in the midst of the dump: has the daemon ended?");
		else if (failed)
			status = ctl_fail(CTL_LOST, "the daemon's dump cannot be understood: %s", error);
	}
	connection_close(&own);
	return status;
}

enum ctl_status ask_change(const struct ctl *ctl, const char *format, ...)
{
	struct connection c = CONNECTION_NONE;
	enum ctl_status status;
	char *request;
	json_t *reply;
	va_list args;
	int length;

	va_start(args, format);
	length = vasprintf(&request, format, args);
	va_end(args);
	if (length < 0)
		return ctl_no_memory();
	status = ask(ctl, &c, request);
	free(request);
	if (status == CTL_DONE) {
		reply = json_loadb(c.text, c.length, 0, NULL);
		if (!json_is_true(json_object_get(reply, "ok")))
			status = ctl_fail(CTL_LOST, "the daemon's answer cannot be understood, or broke off: "
			                            "whether it has been done is not known");
		else if (ctl->json)
			ctl_print(c.text);
		json_decref(reply);
	}
	connection_close(&c);
	return status == CTL_DONE ? ctl_flush() : status;
}

/* SPDX-License-Identifier: MIT */
#include "inspect/request.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

const char kt_request_help[] =
    "version               who answers\n"
    "help                  this text\n"
    "dump [json|text]      the CPUs, the threads, the steps\n"
    "watch                 what happens from now on, a line of JSON each\n"
    "rescan                look at the machine again\n"
    "park NAME             park a thread, and wait until it has parked\n"
    "unpark NAME           end that, or take back a park that is not granted yet\n"
    "housekeeping LIST     use these CPUs for threads that are not bound; \"default\": the configured or derived ones\n"
    "cpu down N [physical] give a CPU up; physical: and set it offline\n"
    "cpu up N [physical]   use it again; physical: after setting it online\n"
    "freeze [TIMEOUT_MS]   freeze all freezable threads, within 20 s if nothing is said\n"
    "thaw                  end that\n"
    "NAME is all that follows, or tid=N. One request for each connection.\n";

/* The next word of *at, which then is behind it; "" at the end. */
static char *word(char **at)
{
	char *const begin = *at + strspn(*at, " \t");

	*at = begin + strcspn(begin, " \t");
	if (**at)
		*(*at)++ = '\0';
	return begin;
}

static bool number(const char *text, unsigned int max, unsigned int *ret)
{
	uint64_t value = 0;
	size_t i = 0;

	for (; text[i] >= '0' && text[i] <= '9' && value <= max; i++)
		value = value * 10 + (unsigned int)(text[i] - '0');
	if (i == 0 || text[i] || value > max)
		return false;
	*ret = (unsigned int)value;
	return true;
}

/* Each takes what follows the verb: NULL, or what is wrong. */

static const char *nothing(char *rest, struct kt_request *ret)
{
	(void)ret;
	return *word(&rest) ? "nothing may follow this request" : NULL;
}

static const char *dump(char *rest, struct kt_request *ret)
{
	const char *const format = word(&rest);

	ret->text = strcmp(format, "text") == 0;
	if (*format && !ret->text && strcmp(format, "json") != 0)
		return "the format of a dump is \"json\" or \"text\"";
	return nothing(rest, ret);
}

static const char *thread(char *rest, struct kt_request *ret)
{
	rest += strspn(rest, " \t");
	if (!*rest)
		return "say which thread: its name, or tid=N";
	if (strncmp(rest, "tid=", 4) != 0)
		ret->rest = rest;
	else if (!number(rest + 4, INT_MAX, &ret->number) || ret->number == 0)
		return "tid= wants the number of a thread";
	return NULL;
}

static const char *housekeeping(char *rest, struct kt_request *ret)
{
	rest += strspn(rest, " \t");
	if (!*rest)
		return "say which CPUs (\"0-3,8\"), or \"default\"";
	ret->rest = strcmp(rest, "default") == 0 ? NULL : rest;
	return NULL;
}

static const char *cpu(char *rest, struct kt_request *ret)
{
	const char *const way = word(&rest);
	const char *const which = word(&rest);
	const char *const how = word(&rest);

	ret->verb = strcmp(way, "down") == 0 ? KT_ASK_CPU_DOWN : KT_ASK_CPU_UP;
	if (ret->verb == KT_ASK_CPU_UP && strcmp(way, "up") != 0)
		return "say \"cpu down N\" or \"cpu up N\"";
	if (!number(which, INT_MAX, &ret->number))
		return "say which CPU: its number";
	ret->physical = strcmp(how, "physical") == 0;
	if (*how && !ret->physical)
		return "only \"physical\" may follow the CPU";
	return nothing(rest, ret);
}

static const char *freeze(char *rest, struct kt_request *ret)
{
	const char *const timeout = word(&rest);

	ret->number = 20000; /* as the kernel */
	if (*timeout && !number(timeout, UINT_MAX, &ret->number))
		return "the timeout is a number of milliseconds";
	return nothing(rest, ret);
}

static const struct {
	const char *word;
	enum kt_verb verb;
	const char *(*take)(char *rest, struct kt_request *ret);
} verbs[] = {
    {"version", KT_ASK_VERSION, nothing}, {"help", KT_ASK_HELP, nothing},
    {"dump", KT_ASK_DUMP, dump},          {"watch", KT_ASK_WATCH, nothing},
    {"rescan", KT_ASK_RESCAN, nothing},   {"park", KT_ASK_PARK, thread},
    {"unpark", KT_ASK_UNPARK, thread},    {"housekeeping", KT_ASK_HOUSEKEEPING, housekeeping},
    {"cpu", KT_ASK_CPU_DOWN, cpu},        {"freeze", KT_ASK_FREEZE, freeze},
    {"thaw", KT_ASK_THAW, nothing},
};

static const char *take_apart(char *line, struct kt_request *ret)
{
	const char *const verb = word(&line);

	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if (strcmp(verb, verbs[i].word) == 0) {
			*ret = (struct kt_request){.verb = verbs[i].verb};
			return verbs[i].take(line, ret);
		}
	}
	return *verb ? "no such request: \"help\" lists them" : "no request in this line: \"help\" lists them";
}

int kt_request_parse(char *line, size_t length, struct kt_request *ret, const char **ret_why)
{
	if (length > 0 && line[length - 1] == '\r')
		length--;
	line[length] = '\0';
	*ret_why = length > KT_REQUEST_MAX      ? "the request is too long"
	           : memchr(line, '\0', length) ? "the request has a NUL in it"
	                                        : take_apart(line, ret);
	return *ret_why ? -EINVAL : 0;
}

bool kt_request_changes(enum kt_verb verb)
{
	return verb > KT_ASK_WATCH;
}

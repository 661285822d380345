/* SPDX-License-Identifier: MIT */
/*
 * Requests of the control socket. What is taken for one is within its bounds, and says the same when it is said again in
 * the plainest words.
 */
#include <limits.h>
#include <string.h>

#include "fuzz.h"
#include "inspect/request.h"

static int parse(const char *bytes, size_t size, struct kt_request *ret, char **ret_line)
{
	const char *why = NULL;
	int error;

	*ret_line = malloc(size + 1); /* of this size exactly: a touch behind it is seen */
	FUZZ_CHECK(*ret_line);
	memcpy(*ret_line, bytes, size);
	error = kt_request_parse(*ret_line, size, ret, &why);
	FUZZ_CHECK(!error == !why);
	return error;
}

static int plainly(const struct kt_request *request, char *line, size_t size)
{
	static const char *const words[] = {"version", "help",         "dump",     "watch",  "rescan", "park",
	                                    "unpark",  "housekeeping", "cpu down", "cpu up", "freeze", "thaw"};
	const char *word = words[request->verb];

	switch (request->verb) {
	case KT_ASK_DUMP:
		return snprintf(line, size, "%s %s", word, request->text ? "text" : "json");
	case KT_ASK_PARK:
	case KT_ASK_UNPARK:
		if (!request->rest)
			return snprintf(line, size, "%s tid=%u", word, request->number);
		return snprintf(line, size, "%s %s", word, request->rest);
	case KT_ASK_HOUSEKEEPING:
		return snprintf(line, size, "%s %s", word, request->rest ? request->rest : "default");
	case KT_ASK_CPU_DOWN:
	case KT_ASK_CPU_UP:
		return snprintf(line, size, "%s %u%s", word, request->number, request->physical ? " physical" : "");
	case KT_ASK_FREEZE:
		return snprintf(line, size, "%s %u", word, request->number);
	default:
		return snprintf(line, size, "%s", word);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kt_request request;
	struct kt_request again;
	char plain[2 * KT_REQUEST_MAX];
	char *line;
	char *second;

	if (parse((const char *)data, size, &request, &line) == 0) {
		FUZZ_CHECK(size <= KT_REQUEST_MAX + 1 && !memchr(data, '\0', size));
		FUZZ_CHECK(request.verb <= KT_ASK_THAW);
		FUZZ_CHECK(!request.rest || (request.rest > line && request.rest[0] &&
		                             request.rest + strlen(request.rest) <= line + size));
		FUZZ_CHECK(request.verb == KT_ASK_FREEZE || request.number <= INT_MAX);
		if (request.rest && request.rest[strlen(request.rest) - 1] == '\r') {
			free(line); /* another one would lose it */
			return 0;
		}
		FUZZ_CHECK(parse(plain, (size_t)plainly(&request, plain, sizeof(plain)), &again, &second) == 0);
		FUZZ_CHECK(again.verb == request.verb && again.text == request.text);
		FUZZ_CHECK(again.physical == request.physical && again.number == request.number);
		FUZZ_CHECK(!again.rest == !request.rest && (!again.rest || strcmp(again.rest, request.rest) == 0));
		free(second);
	}
	free(line);
	return 0;
}

/* SPDX-License-Identifier: MIT */
#include "kthreadctl/human.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SECOND_NS 1000000000

bool human_parse_duration(const char *text, uint64_t *ret_ns)
{
	static const struct {
		const char *name;
		double seconds;
	} units[] = {{"", 1}, {"s", 1}, {"ms", 1e-3}, {"m", 60}, {"min", 60}, {"h", 3600}};
	const size_t digits = strspn(text, "0123456789.");
	char *end;
	double number;

	errno = 0;
	number = strtod(text, &end);
	/* What strtod() takes besides (a sign, hex, inf, a decimal comma) is not asked for. */
	if (errno || digits == 0 || end != text + digits)
		return false;
	for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++) {
		const double seconds = number * units[i].seconds;

		if (strcmp(end, units[i].name) != 0)
			continue;
		if (!(seconds >= 1e-3 && seconds < 3.2e9))
			return false;
		*ret_ns = (uint64_t)(seconds * 1e9 + 0.5);
		return true;
	}
	return false;
}

void human_age(char *text, size_t size, int64_t ns)
{
	const int64_t seconds = ns / SECOND_NS;

	if (ns < 0)
		snprintf(text, size, "?");
	else if (seconds < 1)
		snprintf(text, size, "%dms", (int)(ns / 1000000));
	else if (seconds < 60)
		snprintf(text, size, "%d.%ds", (int)seconds, (int)(ns % SECOND_NS / 100000000));
	else if (seconds < 3600)
		snprintf(text, size, "%dm %02ds", (int)(seconds / 60), (int)(seconds % 60));
	else if (seconds < 86400)
		snprintf(text, size, "%dh %02dm", (int)(seconds / 3600), (int)(seconds / 60 % 60));
	else
		snprintf(text, size, "%" PRId64 "d %02dh", seconds / 86400, (int)(seconds / 3600 % 24));
}

void human_rate(char *text, size_t size, double rate)
{
	if (!(rate >= 0))
		snprintf(text, size, "-");
	else if (rate == 0)
		snprintf(text, size, "0");
	else if (rate < 99.95)
		snprintf(text, size, "%.1f", rate);
	else if (rate < 9999.5)
		snprintf(text, size, "%.0f", rate);
	else if (rate < 999950)
		snprintf(text, size, "%.1fk", rate / 1e3);
	else
		snprintf(text, size, "%.1fM", rate / 1e6);
}

int64_t human_epoch_ns(const char *time, int64_t time_ns)
{
	struct tm tm = {0};
	const char *rest = time ? strptime(time, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;
	int64_t fraction = 0, unit = SECOND_NS;
	time_t seconds;

	if (!rest || time_ns < 0)
		return 0;
	if (*rest == '.') {
		for (rest++; *rest >= '0' && *rest <= '9' && unit > 1; rest++) {
			unit /= 10;
			fraction += (*rest - '0') * unit;
		}
	}
	seconds = timegm(&tm);
	if (strcmp(rest, "Z") != 0 || seconds <= 0 || seconds > INT64_MAX / SECOND_NS - 1)
		return 0;
	return (int64_t)seconds * SECOND_NS + fraction - time_ns;
}

void human_clock(char *text, size_t size, int64_t epoch_ns, int64_t time_ns)
{
	int64_t ns;
	struct tm tm;
	time_t seconds;

	if (epoch_ns == 0 || __builtin_add_overflow(epoch_ns, time_ns, &ns) || ns < 0) {
		snprintf(text, size, "%.3f", (double)time_ns / 1e9);
		return;
	}
	seconds = (time_t)(ns / SECOND_NS);
	localtime_r(&seconds, &tm);
	snprintf(text, size, "%02d:%02d:%02d.%03d", tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(ns % SECOND_NS / 1000000));
}

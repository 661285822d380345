/* SPDX-License-Identifier: MIT */
/*
 * The subcommands that ask the daemon to change something, and the one that hands its dump through.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kthreadctl/ask.h"

enum ctl_status run_park(const struct ctl *ctl)
{
	return ask_change(ctl, "park %s", ctl->argv[0]);
}

enum ctl_status run_unpark(const struct ctl *ctl)
{
	return ask_change(ctl, "unpark %s", ctl->argv[0]);
}

enum ctl_status run_housekeeping(const struct ctl *ctl)
{
	return ask_change(ctl, "housekeeping %s", ctl->argv[0]);
}

enum ctl_status run_cpu(const struct ctl *ctl)
{
	const char *way = ctl->argv[0], *cpu = ctl->argv[1];

	if (strcmp(way, "down") != 0 && strcmp(way, "up") != 0)
		return ctl_fail(CTL_USAGE, "cpu: '%s' is neither down nor up", way);
	if (!*cpu || cpu[strspn(cpu, "0123456789")])
		return ctl_fail(CTL_USAGE, "cpu: '%s' is not the number of a CPU", cpu);
	return ask_change(ctl, "cpu %s %s%s", way, cpu, ctl->physical ? " physical" : "");
}

enum ctl_status run_freeze(const struct ctl *ctl)
{
	struct ctl patient = *ctl;

	if (ctl->timeout_ns == CTL_FOREVER)
		return ask_change(ctl, "freeze");
	patient.wait_ns += ctl->timeout_ns; /* the daemon may answer that late: neither is more than a century */
	return ask_change(&patient, "freeze %" PRIu64, (ctl->timeout_ns + 999999u) / 1000000u);
}

enum ctl_status run_thaw(const struct ctl *ctl)
{
	return ask_change(ctl, "thaw");
}

enum ctl_status run_rescan(const struct ctl *ctl)
{
	return ask_change(ctl, "rescan");
}

/* JSON is checked before it is printed: half a dump is worse than none to who reads it. */
enum ctl_status run_dump(const struct ctl *ctl)
{
	struct connection c = CONNECTION_NONE;
	struct ctl_dump *dump = NULL;
	enum ctl_status status;

	if (!ctl->text)
		status = ask_dump(ctl, &c, &dump);
	else
		status = ask(ctl, &c, "dump text");
	if (status == CTL_DONE && ctl->text && (c.length < 4 || strcmp(c.text + c.length - 4, "\nend") != 0))
		status = ctl_fail(CTL_LOST, "the connection broke in the midst of the dump: has the daemon ended?");
	if (status == CTL_DONE) {
		ctl_print(c.text);
		status = ctl_flush();
	}
	model_free(dump);
	connection_close(&c);
	return status;
}

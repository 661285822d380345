/* SPDX-License-Identifier: MIT */
/*
 * The subcommands that draw.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "kthreadctl/ask.h"
#include "kthreadctl/map.h"
#include "kthreadctl/screen.h"

/* A file of ours, or stdout for "-". NULL: it cannot be written, which has been said. */
static FILE *open_picture(const char *path)
{
	FILE *file = strcmp(path, "-") == 0 ? stdout : fopen(path, "we");

	if (!file)
		ctl_fail(CTL_REFUSED, "%s: cannot be written: %s", path, strerror(errno));
	return file;
}

static enum ctl_status close_picture(const char *path, FILE *file)
{
	const bool failed = ferror(file);

	if (file == stdout)
		return ctl_flush();
	if (fclose(file) != 0 || failed)
		return ctl_fail(CTL_REFUSED, "%s: cannot be written: %s", path, strerror(errno));
	return CTL_DONE;
}

static enum ctl_status print_map(const struct ctl *ctl, const struct ctl_dump *dump)
{
	struct map_options options = {.colour = ctl->colour, .utf8 = ctl->utf8, .every = ctl->every};
	FILE *file = ctl->svg ? open_picture(ctl->svg) : stdout;
	size_t width, height;
	int error;

	if (!file)
		return CTL_REFUSED;
	screen_size(&width, &height);
	options.width = (unsigned int)width;
	error = ctl->svg ? map_svg(dump, ctl->every, file) : map_text(dump, &options, file);
	if (error)
		ctl_no_memory();
	return close_picture(ctl->svg, file) == CTL_DONE && !error ? CTL_DONE : CTL_REFUSED;
}

enum ctl_status run_map(const struct ctl *ctl)
{
	struct ctl_dump *dump = NULL;
	enum ctl_status status = ask_dump(ctl, NULL, &dump);

	if (status == CTL_DONE)
		status = print_map(ctl, dump);
	model_free(dump);
	return status;
}

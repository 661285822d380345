/* SPDX-License-Identifier: MIT */
#include "kthreadctl/ctl.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kthreadctl/screen.h"
#include "kthreadctl/text.h"

enum ctl_status ctl_fail(enum ctl_status status, const char *format, ...)
{
	va_list args;

	screen_close();
	fflush(stdout);
	fputs("kthreadctl: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	return status;
}

enum ctl_status ctl_no_memory(void)
{
	return ctl_fail(CTL_REFUSED, "no memory");
}

void ctl_print(const char *text)
{
	const bool terminal = isatty(STDOUT_FILENO);

	while (terminal && *text) {
		char line[512]; /* of a longer line, a part: text_print() keeps no state */
		const size_t length = strcspn(text, "\n");
		const size_t part = length < sizeof(line) ? length : sizeof(line) - 1;

		memcpy(line, text, part);
		line[part] = '\0';
		text_print(stdout, line, SIZE_MAX, true);
		text += part;
		if (part == length && *text) {
			fputc('\n', stdout);
			text++;
		}
	}
	puts(terminal ? "" : text);
}

enum ctl_status ctl_flush(void)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return CTL_DONE;
	return ctl_fail(CTL_REFUSED, "cannot write: %s", strerror(errno));
}

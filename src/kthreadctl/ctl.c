/* SPDX-License-Identifier: MIT */
#include "kthreadctl/ctl.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kthreadctl/screen.h"
#include "kthreadctl/text.h"

/* The message may quote a name, or a path, that another user has chosen. */
enum ctl_status ctl_fail(enum ctl_status status, const char *format, ...)
{
	char text[2 * CTL_ERROR_SIZE];
	va_list args;

	screen_close();
	fflush(stdout);
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	fputs("kthreadctl: ", stderr);
	text_print_lines(stderr, text);
	fputc('\n', stderr);
	return status;
}

enum ctl_status ctl_no_memory(void)
{
	return ctl_fail(CTL_REFUSED, "no memory");
}

void ctl_print(const char *text)
{
	if (isatty(STDOUT_FILENO))
		text_print_lines(stdout, text);
	else
		fputs(text, stdout);
	fputc('\n', stdout);
}

enum ctl_status ctl_flush(void)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return CTL_DONE;
	return ctl_fail(CTL_REFUSED, "cannot write: %s", strerror(errno));
}

/* SPDX-License-Identifier: MIT */
#include "kthreadctl/ctl.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "kthreadctl/screen.h"

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

enum ctl_status ctl_flush(void)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return CTL_DONE;
	return ctl_fail(CTL_REFUSED, "cannot write: %s", strerror(errno));
}

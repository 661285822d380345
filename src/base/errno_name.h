/* SPDX-License-Identifier: MIT */
#ifndef KT_BASE_ERRNO_NAME_H
#define KT_BASE_ERRNO_NAME_H

#include <stdio.h>
#include <string.h>

#define KT_ERRNO_NAME 24

/* "EINVAL"; "errno 999" for one without a name, in buf. */
static inline const char *kt_errno_name(int error, char buf[KT_ERRNO_NAME])
{
	const char *name = strerrorname_np(error);

	if (name)
		return name;
	snprintf(buf, KT_ERRNO_NAME, "errno %d", error);
	return buf;
}

#endif

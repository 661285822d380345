/* SPDX-License-Identifier: MIT */
#include "base/options.h"

#include <errno.h>
#include <string.h>

int kt_options_read(void *known, size_t known_size, size_t min_size, const void *given)
{
	const unsigned char *bytes = given;
	size_t size;

	memcpy(&size, given, sizeof(size));
	if (size < min_size)
		return -EINVAL;
	for (size_t i = known_size; i < size; i++) {
		if (bytes[i])
			return -E2BIG;
	}
	memcpy(known, given, size < known_size ? size : known_size);
	memcpy(known, &known_size, sizeof(known_size));
	return 0;
}

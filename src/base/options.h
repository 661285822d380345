/* SPDX-License-Identifier: MIT */
/*
 * Sized option structs: callers older and newer than the library agree on them.
 */
#ifndef KT_BASE_OPTIONS_H
#define KT_BASE_OPTIONS_H

#include <stddef.h>

/*
 * Copy the caller's struct over `known`, which holds the defaults and is known_size bytes long. Both begin with their
 * size_t size. A caller from the past leaves the tail at its defaults; one from the future may only have zeros beyond
 * what we know.
 * ERRORS: -EINVAL the size is below min_size (the first version's); -E2BIG unknown fields are set. known is untouched.
 */
int kt_options_read(void *known, size_t known_size, size_t min_size, const void *given);

#endif

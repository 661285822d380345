/* SPDX-License-Identifier: MIT */
/*
 * The map: CPUs by node and shared cache as columns, threads as rows; where each wishes to be, may be and was last.
 * Pure: from the dump to the stream. 0; -ENOMEM. Write errors are left to the stream (ferror()).
 */
#ifndef KTHREADCTL_MAP_H
#define KTHREADCTL_MAP_H

#include <stdio.h>

#include "kthreadctl/model.h"

struct map_options {
	unsigned int width; /* columns of the terminal; at least 40 are taken */
	bool colour;
	bool utf8;
	bool every; /* a row for each thread, instead of one for those of a class that are placed alike */
};

int map_text(const struct ctl_dump *dump, const struct map_options *options, FILE *f);

/* Bounded: at most 128 columns for CPUs, and 400 rows; it says what it left out. */
int map_svg(const struct ctl_dump *dump, bool every, FILE *f);

#endif

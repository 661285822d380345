/* SPDX-License-Identifier: MIT */
#ifndef TEST_KTHREADCTL_SVG_CHECK_H
#define TEST_KTHREADCTL_SVG_CHECK_H

#include <stddef.h>

struct svg_facts {
	double width, height;
	size_t texts, elements;
};

/*
 * Fails unless the SVG is well-formed XML without scripts or references to anything outside; each shape lies in the
 * picture; each <text> does, too, lies over no other, and those of class "in" lie in one of the rectangles before them.
 */
struct svg_facts svg_check(const char *svg);

#endif

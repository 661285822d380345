/* SPDX-License-Identifier: MIT */
/*
 * kt_comm(): a name cut to the kernel's 15 bytes, so that a number at its end survives.
 */
#include "thread/thread.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void kt_comm__table(void **state)
{
	static const struct {
		const char *name;
		const char *comm;
	} table[] = {
	    {"", ""},
	    {"a", "a"},
	    {"exactly15bytes!", "exactly15bytes!"},
	    {"sixteen bytes ok", "sixteen bytes o"},
	    {"database-writer/12", "database-wri/12"},
	    {"database-writer-12", "database-wri-12"},
	    {"database_writer_12", "database_wri_12"},
	    {"database.writer.12", "database.wri.12"},
	    {"database-writer:12", "database-wri:12"},
	    {"database-writer#12", "database-wri#12"},
	    {"database-writer 12", "database-wri 12"},
	    {"database-writer12", "database-writ12"},
	    {"kworker/4095:longer-than-that", "kworker/4095:lo"},
	    {"flush-everything/4095", "flush-ever/4095"},
	    {"x/1234567890123", "x/1234567890123"},
	    {"long/1234567890123", "l/1234567890123"},
	    {"ab/12345678901234", "ab/123456789012"},    /* the separator and the number alone are too long */
	    {"12345678901234567890", "123456789012345"}, /* a name of digits */
	    {"a12345678901234567", "a12345678901234"},
	    {"ends-with-a-slash/", "ends-with-a-sla"},
	    {"number in 12 the middle", "number in 12 th"},
	    {"double--12345678//7", "double--12345/7"},
	    /* never half a character: e-acute is two bytes, the euro sign three */
	    {"\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9",
	     "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9"},
	    {"\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac/7",
	     "\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac/7"},
	    {"a\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac",
	     "a\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		char comm[16];

		memset(comm, '?', sizeof(comm));
		kt_comm(table[i].name, comm);
		assert_string_equal(comm, table[i].comm);
	}
}

/* Whatever the name: it fits, it begins as the name does, and a short number at the end is whole. */
static void kt_comm__any_name(void **state)
{
	static const char alphabet[] = "ab0129/-_.:# \xc3\xa9";

	(void)state;
	srand(1);
	for (int i = 0; i < 200000; i++) {
		char name[40];
		char comm[16];
		size_t length = (size_t)rand() % (sizeof(name) - 1);
		size_t digits = 0;
		size_t same = 0;

		for (size_t c = 0; c < length; c++)
			name[c] = alphabet[(size_t)rand() % (sizeof(alphabet) - 1)];
		name[length] = '\0';
		memset(comm, '?', sizeof(comm));
		kt_comm(name, comm);
		assert_non_null(memchr(comm, '\0', sizeof(comm)));
		if (length <= 15) {
			assert_string_equal(comm, name);
			continue;
		}
		while (comm[same] && comm[same] == name[same])
			same++;
		while (digits < length && name[length - digits - 1] >= '0' && name[length - digits - 1] <= '9')
			digits++;
		if (digits > 0 && digits < 14)
			assert_string_equal(comm + strlen(comm) - digits, name + length - digits);
		else
			assert_int_equal(same, strlen(comm));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(kt_comm__table),
	    cmocka_unit_test(kt_comm__any_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

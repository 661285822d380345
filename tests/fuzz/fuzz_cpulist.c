/* SPDX-License-Identifier: MIT */
/*
 * The cpulist parser: two bytes of width, one of setsize, then the list. What it accepts, it formats to a text that
 * means the same; what it refuses leaves the set alone; and it never leaves its bytes.
 */
#include <errno.h>
#include <kthread/placement.h>
#include <string.h>

#include "fuzz.h"
#include "machine/cpulist.h"

static void check_round_trip(const cpu_set_t *set, size_t setsize)
{
	const int length = kthread_cpulist_format(setsize, set, NULL, 0);
	char *text = malloc((size_t)length + 1);
	unsigned char *again = calloc(1, setsize + 1);

	FUZZ_CHECK(text && again);
	FUZZ_CHECK(kthread_cpulist_format(setsize, set, text, (size_t)length + 1) == length);
	FUZZ_CHECK(strlen(text) == (size_t)length);
	FUZZ_CHECK(kt_cpulist_parse(text, SIZE_MAX, setsize, (cpu_set_t *)(void *)again) == 0);
	FUZZ_CHECK(memcmp(set, again, setsize) == 0);
	free(again);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t width, setsize;
	unsigned char *set;
	char *list;
	int error, read_error;

	if (size < 3)
		return 0;
	width = (size_t)(data[0] | data[1] << 8);
	setsize = data[2];
	list = malloc(size - 2);
	set = malloc(setsize ? setsize : 1);
	FUZZ_CHECK(list && set);
	memcpy(list, data + 3, size - 3);
	list[size - 3] = '\0';

	memset(set, 0xa5, setsize);
	error = kt_cpulist_parse(list, width, setsize, (cpu_set_t *)(void *)set);
	FUZZ_CHECK(error == 0 || error == -EINVAL || error == -ERANGE || error == -EOVERFLOW);
	for (size_t i = 0; error && i < setsize; i++)
		FUZZ_CHECK(set[i] == 0xa5);
	if (!error)
		check_round_trip((cpu_set_t *)(void *)set, setsize);
	read_error = kt_cpulist_read(list, width, setsize, (cpu_set_t *)(void *)set);
	FUZZ_CHECK(error == -ERANGE ? read_error != -ERANGE : read_error == error);
	free(set);
	free(list);
	return 0;
}

/* SPDX-License-Identifier: MIT */
/*
 * The uevent parser. What it takes for a CPU's is a whole message and says so.
 */
#include <string.h>

#include "fuzz.h"
#include "machine/uevent.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *message = malloc(size ? size : 1); /* of this size exactly: a read behind it is seen */
	int cpu;

	FUZZ_CHECK(message);
	memcpy(message, data, size);
	cpu = kt_uevent_cpu(message, size);
	if (cpu >= 0) {
		FUZZ_CHECK(message[size - 1] == '\0');
		FUZZ_CHECK(strstr(message, "@/devices/system/cpu/cpu"));
		FUZZ_CHECK(memmem(message, size, "SUBSYSTEM=cpu", sizeof("SUBSYSTEM=cpu")));
	} else {
		FUZZ_CHECK(cpu == -1);
	}
	free(message);
	return 0;
}

/* SPDX-License-Identifier: MIT */
/*
 * replay DIRECTORY...: every file of a corpus through a fuzz target. Fails if there is none.
 */
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "fuzz.h"

static int replay(const char *path)
{
	FILE *file = fopen(path, "rb");
	uint8_t *data = NULL;
	long size = -1;

	if (file && fseek(file, 0, SEEK_END) == 0)
		size = ftell(file);
	if (size >= 0)
		data =
		    malloc((size_t)size + 1); /* exactly size for the target's sanitizer, but malloc(0) may be NULL */
	if (data) {
		rewind(file);
		if (fread(data, 1, (size_t)size, file) == (size_t)size)
			LLVMFuzzerTestOneInput(data, (size_t)size);
		else
			size = -1;
	}
	free(data);
	if (file)
		fclose(file);
	if (!data || size < 0) {
		perror(path);
		return -1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	int count = 0;

	for (int i = 1; i < argc; i++) {
		DIR *dir = opendir(argv[i]);
		struct dirent *entry;

		if (!dir) {
			perror(argv[i]);
			return 1;
		}
		while ((entry = readdir(dir))) {
			char path[PATH_MAX];

			if (entry->d_name[0] == '.')
				continue;
			snprintf(path, sizeof(path), "%s/%s", argv[i], entry->d_name);
			if (replay(path) != 0)
				return 1;
			count++;
		}
		closedir(dir);
	}
	printf("%d inputs\n", count);
	return count > 0 ? 0 : 1;
}

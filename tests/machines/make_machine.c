/* SPDX-License-Identifier: MIT */
/*
 * make_machine NAME DIR: write an invented machine, to be used as KTHREAD_ROOT=DIR. Without arguments: which there are.
 */
#include <stdio.h>

#include "machine.h"

int main(int argc, char **argv)
{
	const struct machine *machine = argc == 3 ? machine_named(argv[1]) : NULL;

	if (machine)
		return machine_write(machine, argv[2]) ? 1 : 0;
	fprintf(stderr, "usage: %s NAME DIR\n", argv[0]);
	for (size_t i = 0; (machine = machine_at(i)); i++)
		fprintf(stderr, "  %-10s %s\n", machine->name, machine->about);
	return 2;
}

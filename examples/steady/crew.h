/* SPDX-License-Identifier: MIT */
/*
 * The threads of the example: one of every kind of place, each doing a little work ten times a second.
 */
#ifndef STEADY_CREW_H
#define STEADY_CREW_H

/*
 * Start all of them, on the CPUs that are usable now. 0, or -errno with a message on stderr; those that had started
 * have been stopped again then.
 */
int crew_start(void);

/* Stop all of them, newest first, and hand each one's result (the turns it made, or a negative errno) to tell. */
void crew_stop(void (*tell)(const char *name, int result));

#endif

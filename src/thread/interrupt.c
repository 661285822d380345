/* SPDX-License-Identifier: MIT */
/*
 * KTHREAD_INTERRUPT: break a blocking system call by a signal whose handler does nothing. A signal that arrives just
 * before the call is entered is lost, so whoever waits for the thread sends it again and again, ever more rarely, until
 * the thread has noticed (kthread_stop(), kthread_park()).
 */
#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include "base/log.h"
#include "thread/thread.h"

static int chosen; /* our own choice; 0 = not made yet. Under the registry's lock */

static void nothing(int signal)
{
	(void)signal;
}

static int install(int number)
{
	struct sigaction action = {.sa_handler = nothing};

	sigemptyset(&action.sa_mask);
	return sigaction(number, &action, NULL) == 0 ? number : -errno;
}

static int prepare_given(int number)
{
	struct sigaction now;

	if (number < 1 || number > SIGRTMAX || sigaction(number, NULL, &now) != 0)
		return -EINVAL;
	/* SA_SIGINFO or not: it makes no handler of these */
	if (now.sa_handler == SIG_DFL || now.sa_handler == SIG_IGN)
		return install(number);
	return now.sa_flags & SA_RESTART ? -EINVAL : number;
}

/* From the top: applications tend to count up from SIGRTMIN. */
static int choose(void)
{
	struct sigaction now;

	for (int number = SIGRTMAX; number >= SIGRTMIN; number--) {
		if (sigaction(number, NULL, &now) == 0 && now.sa_handler == SIG_DFL)
			return install(number);
	}
	return -EBUSY;
}

int kt_interrupt_prepare(int wanted)
{
	int number;

	if (wanted)
		return prepare_given(wanted);
	kt_lock(&kt_registry_lock);
	number = chosen ? chosen : choose();
	if (number > 0)
		chosen = number;
	kt_unlock(&kt_registry_lock);
	return number;
}

void kt_interrupt_restore(void)
{
	struct sigaction now;

	kt_lock(&kt_registry_lock);
	/* unless the application has taken it over meanwhile */
	if (chosen && sigaction(chosen, NULL, &now) == 0 && now.sa_handler == nothing)
		signal(chosen, SIG_DFL);
	chosen = 0;
	kt_unlock(&kt_registry_lock);
}

static void send_to_listed(struct kthread *k)
{
	const pid_t tid = (pid_t)atomic_load_explicit(&k->tid, memory_order_acquire);

	if (tid > 0) /* it has begun */
		tgkill(getpid(), tid, k->interrupt_signal);
}

/* Only while the thread is listed: its tid might be somebody else's afterwards. */
void kt_interrupt_send(struct kthread *k)
{
	kt_registry_if_listed(k, send_to_listed);
}

/* SPDX-License-Identifier: BSD-3-Clause */
#include <signal.h>
#include "base/thread.h"

int uvfio_thread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *arg),
			void *arg)
{
	static const int raised[] = {SIGBUS, SIGSEGV, SIGILL, SIGFPE, SIGTRAP, SIGABRT, SIGSYS};
	sigset_t blocked, old;
	int ret;

	sigfillset(&blocked);
	for (unsigned i = 0; i < sizeof(raised) / sizeof(raised[0]); i++)
		sigdelset(&blocked, raised[i]);
	/* The new thread begins with the mask of the one that makes it. */
	pthread_sigmask(SIG_SETMASK, &blocked, &old);
	ret = pthread_create(thread, attr, fn, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return ret;
}

int uvfio_thread_detached(size_t stack, void *(*fn)(void *arg), void *arg)
{
	pthread_attr_t attr;
	pthread_t thread;
	int ret;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	if (stack)
		pthread_attr_setstacksize(&attr, stack);
	ret = uvfio_thread_create(&thread, &attr, fn, arg);
	pthread_attr_destroy(&attr);
	return ret;
}

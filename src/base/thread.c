/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include "base/thread.h"

static _Thread_local unsigned inside;

struct start {
	void *(*fn)(void *arg);
	void *arg;
};

static void *begin(void *arg)
{
	struct start start = *(struct start *)arg;

	free(arg);
	inside = 1;
	return start.fn(start.arg);
}

int uvfio_thread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *arg),
			void *arg)
{
	static const int raised[] = {SIGBUS, SIGSEGV, SIGILL, SIGFPE, SIGTRAP, SIGABRT, SIGSYS};
	struct start *start = malloc(sizeof(*start));
	sigset_t blocked, old;
	int ret;

	if (!start)
		return EAGAIN;
	*start = (struct start){fn, arg};
	sigfillset(&blocked);
	for (unsigned i = 0; i < sizeof(raised) / sizeof(raised[0]); i++)
		sigdelset(&blocked, raised[i]);
	/* The new thread begins with the mask of the one that makes it. */
	pthread_sigmask(SIG_SETMASK, &blocked, &old);
	ret = pthread_create(thread, attr, begin, start);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (ret)
		free(start);
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

bool uvfio_thread_inside(void)
{
	return inside;
}

void uvfio_thread_enter(void)
{
	inside++;
}

void uvfio_thread_leave(void)
{
	inside--;
}

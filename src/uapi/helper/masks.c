/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The C library's signal functions, with the masks translated on the way in and out (signals.h).
 *
 * The C library does not call these functions itself, but its internal ones: what it offers besides
 * sigaction and pthread_sigmask has to be here, too, as far as it can block SIGSEGV or set its
 * disposition.
 */
#undef _FORTIFY_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "uapi/helper/signals.h"

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

DEFINE_NEXT(sigaction);
DEFINE_NEXT(signal);
DEFINE_NEXT(sysv_signal);
DEFINE_NEXT(sigset);
DEFINE_NEXT(sighold);
DEFINE_NEXT(sigrelse);
DEFINE_NEXT(sigignore);
DEFINE_NEXT(pthread_sigmask);
DEFINE_NEXT(sigpending);
DEFINE_NEXT(sigsuspend);
DEFINE_NEXT(ppoll);
DEFINE_NEXT(pselect);
DEFINE_NEXT(epoll_pwait);
DEFINE_NEXT(epoll_pwait2);
DEFINE_NEXT(pthread_attr_setsigmask_np);
DEFINE_NEXT(pthread_attr_getsigmask_np);

EXPORT int sigaction(int sig, const struct sigaction *new, struct sigaction *old)
{
	struct sigaction copy;
	int ret;

	if (!helper_active())
		return NEXT(sigaction)(sig, new, old);
	if (sig == SIGSEGV && signals_virtual(new, old))
		return 0;
	if (new) {
		copy = *new;
		put_bits(&copy.sa_mask, bits_to_kernel(set_bits(&new->sa_mask)));
		new = &copy;
	}
	ret = NEXT(sigaction)(sig, new, old);
	if (!ret && old)
		set_to_program(&old->sa_mask);
	return ret;
}

int __sigaction(int sig, const struct sigaction *new, struct sigaction *old);
EXPORT int __sigaction(int sig, const struct sigaction *new, struct sigaction *old)
{
	return sigaction(sig, new, old);
}

static __sighandler_t simple(__sighandler_t handler, int flags, bool mask_itself)
{
	struct sigaction new = {.sa_handler = handler, .sa_flags = flags}, old;

	if (handler == SIG_ERR) {
		errno = EINVAL;
		return SIG_ERR;
	}
	sigemptyset(&new.sa_mask);
	if (mask_itself)
		sigaddset(&new.sa_mask, SIGSEGV);
	return sigaction(SIGSEGV, &new, &old) ? SIG_ERR : old.sa_handler;
}

EXPORT __sighandler_t signal(int sig, __sighandler_t handler)
{
	if (sig == SIGSEGV && helper_active())
		return simple(handler, SA_RESTART, true);
	return NEXT(signal)(sig, handler);
}

__sighandler_t bsd_signal(int sig, __sighandler_t handler);
EXPORT __sighandler_t bsd_signal(int sig, __sighandler_t handler)
{
	return signal(sig, handler);
}

EXPORT __sighandler_t ssignal(int sig, __sighandler_t handler)
{
	return signal(sig, handler);
}

EXPORT __sighandler_t sysv_signal(int sig, __sighandler_t handler)
{
	if (sig == SIGSEGV && helper_active())
		return simple(handler, SA_RESETHAND | SA_NODEFER, false);
	return NEXT(sysv_signal)(sig, handler);
}

EXPORT __sighandler_t __sysv_signal(int sig, __sighandler_t handler)
{
	return sysv_signal(sig, handler);
}

/* The bits of @set that a call with @how unblocks. */
static bool unblocks(int how, const sigset_t *set)
{
	bool has = set_bits(set) & BIT(SIGSEGV);

	return (how == SIG_UNBLOCK && has) || (how == SIG_SETMASK && !has);
}

EXPORT int pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
	sigset_t copy;
	bool resend;
	int ret;

	if (!helper_active())
		return NEXT(pthread_sigmask)(how, set, old);
	resend = set && unblocks(how, set);
	/* @old may be @set */
	ret = NEXT(pthread_sigmask)(how, set_to_kernel(set, &copy), old);
	if (ret)
		return ret;
	set_to_program(old);
	if (resend)
		signals_unblocked();
	return 0;
}

EXPORT int sigprocmask(int how, const sigset_t *set, sigset_t *old)
{
	int ret = pthread_sigmask(how, set, old);

	if (!ret)
		return 0;
	errno = ret;
	return -1;
}

static int change_one(int how, int sig)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	return sigprocmask(how, &set, NULL);
}

EXPORT int sighold(int sig)
{
	return sig == SIGSEGV ? change_one(SIG_BLOCK, sig) : NEXT(sighold)(sig);
}

EXPORT int sigrelse(int sig)
{
	return sig == SIGSEGV ? change_one(SIG_UNBLOCK, sig) : NEXT(sigrelse)(sig);
}

EXPORT int sigignore(int sig)
{
	if (sig == SIGSEGV)
		return simple(SIG_IGN, 0, false) == SIG_ERR ? -1 : 0;
	return NEXT(sigignore)(sig);
}

EXPORT __sighandler_t sigset(int sig, __sighandler_t disposition)
{
	struct sigaction action;
	sigset_t mask;
	bool held;

	if (sig != SIGSEGV || !helper_active())
		return NEXT(sigset)(sig, disposition);
	if (sigprocmask(SIG_BLOCK, NULL, &mask) || sigaction(sig, NULL, &action))
		return SIG_ERR;
	held = sigismember(&mask, sig);
	if (disposition == SIG_HOLD) {
		if (change_one(SIG_BLOCK, sig))
			return SIG_ERR;
	} else if (simple(disposition, 0, false) == SIG_ERR || change_one(SIG_UNBLOCK, sig)) {
		return SIG_ERR;
	}
	return held ? SIG_HOLD : action.sa_handler;
}

/* BSD's masks of 32 bits: of them, the change concerns signals 1 to 32 only when setting. */
static int bsd_mask(int how, int mask)
{
	sigset_t set, old;

	sigemptyset(&set);
	put_bits(&set, (uint32_t)mask);
	if (sigprocmask(how, &set, &old))
		return -1;
	return (int)(uint32_t)set_bits(&old);
}

EXPORT int sigblock(int mask)
{
	return bsd_mask(SIG_BLOCK, mask);
}

EXPORT int sigsetmask(int mask)
{
	return bsd_mask(SIG_SETMASK, mask);
}

EXPORT int sigpending(sigset_t *set)
{
	int ret = NEXT(sigpending)(set);

	if (!ret && signals_pending())
		put_bits(set, set_bits(set) | BIT(SIGSEGV));
	return ret;
}

/* --- calls that change the mask while they wait: a handler that runs meanwhile has that mask
 * --------- */

static const sigset_t *wait_mask(const sigset_t *set, sigset_t *copy)
{
	return helper_active() ? set_to_kernel(set, copy) : set;
}

EXPORT int sigsuspend(const sigset_t *set)
{
	sigset_t copy;

	return NEXT(sigsuspend)(wait_mask(set, &copy));
}

EXPORT int ppoll(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *set)
{
	sigset_t copy;

	return NEXT(ppoll)(fds, n, timeout, wait_mask(set, &copy));
}

/* What ppoll becomes in programs built with _FORTIFY_SOURCE. */
int __ppoll_chk(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *set,
		size_t size);
DEFINE_NEXT(__ppoll_chk);
EXPORT int __ppoll_chk(struct pollfd *fds, nfds_t n, const struct timespec *timeout,
		       const sigset_t *set, size_t size)
{
	sigset_t copy;

	return NEXT(__ppoll_chk)(fds, n, timeout, wait_mask(set, &copy), size);
}

EXPORT int pselect(int n, fd_set *r, fd_set *w, fd_set *e, const struct timespec *timeout,
		   const sigset_t *set)
{
	sigset_t copy;

	return NEXT(pselect)(n, r, w, e, timeout, wait_mask(set, &copy));
}

EXPORT int epoll_pwait(int fd, struct epoll_event *events, int n, int timeout, const sigset_t *set)
{
	sigset_t copy;

	return NEXT(epoll_pwait)(fd, events, n, timeout, wait_mask(set, &copy));
}

EXPORT int epoll_pwait2(int fd, struct epoll_event *events, int n, const struct timespec *timeout,
			const sigset_t *set)
{
	sigset_t copy;

	return NEXT(epoll_pwait2)(fd, events, n, timeout, wait_mask(set, &copy));
}

/* --- the mask that a new thread will have -------------------------------------------------------
 */

EXPORT int pthread_attr_setsigmask_np(pthread_attr_t *attr, const sigset_t *set)
{
	sigset_t copy;

	return NEXT(pthread_attr_setsigmask_np)(attr, wait_mask(set, &copy));
}

EXPORT int pthread_attr_getsigmask_np(const pthread_attr_t *attr, sigset_t *set)
{
	int ret = NEXT(pthread_attr_getsigmask_np)(attr, set);

	if (!ret && helper_active())
		set_to_program(set);
	return ret;
}

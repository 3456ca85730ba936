/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * INTx UNMASK by eventfd (A.8): each signal of the client's eventfd unmasks.
 *
 * A counter that is already non-zero at registration acts at once and is not read; later signals
 * are consumed.  So the eventfd is watched for edges, in an epoll set of its own, and that set is
 * what the device's context watches.
 *
 * The kernel notices when the client closes its eventfd, and forgets it.  We hold a reference, so
 * it is never released and nobody tells us; nobody can signal it either.  What can be seen is
 * whether the client's number still stands for the same file, and that is looked up when it
 * matters: at the next registration, which would be EBUSY.
 *
 * Threads: an object is used by its context and by SET_IRQS.  Its lock is held while it unmasks, so
 * that nothing is unmasked after irq_unmask_remove() returned; the context then frees it.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/fd.h"
#include "irq/irq_private.h"

struct irq_unmask {
	struct uvfio_work work; /* frees it, in the context; must be first */
	struct irq_set *set;
	int fd, epfd;
	int32_t client_fd;
	struct uvfio_watch *watch;
	pthread_mutex_t lock;
	bool dead;
};

static void unmask_free(struct irq_unmask *u)
{
	if (u->watch)
		uvfio_watch_free(u->watch);
	if (u->epfd >= 0)
		close(u->epfd);
	close(u->fd);
	pthread_mutex_destroy(&u->lock);
	free(u);
}

static void free_work(struct uvfio_work *work)
{
	unmask_free((struct irq_unmask *)work);
}

static void signalled(void *arg)
{
	struct irq_unmask *u = arg;
	struct epoll_event event;
	uint64_t count;
	struct iovec iov = {&count, sizeof(count)};

	if (epoll_wait(u->epfd, &event, 1, 0) != 1)
		return;
	pthread_mutex_lock(&u->lock);
	if (!u->dead) {
		/* The client may have read it meanwhile, and its eventfd may be a blocking one. */
		while (preadv2(u->fd, &iov, 1, -1, RWF_NOWAIT) < 0 && errno == EINTR)
			;
		irq_intx_unmask(u->set);
	}
	pthread_mutex_unlock(&u->lock);
}

static bool same_file(int a, int b)
{
	pid_t self = getpid();
	long ret = syscall(SYS_kcmp, self, self, KCMP_FILE, (unsigned long)a, (unsigned long)b);
	unsigned long id;

	if (ret >= 0)
		return ret == 0;
	/* A container's profile may forbid it.  Two descriptions of one eventfd do not exist. */
	id = uvfio_eventfd_id(a);
	return id && id == uvfio_eventfd_id(b);
}

bool irq_unmask_same(struct irq_set *set, int fd)
{
	return set->unmask && same_file(set->unmask->fd, fd);
}

int32_t irq_unmask_client_fd(struct irq_set *set)
{
	return set->unmask ? set->unmask->client_fd : -1;
}

int irq_unmask_dup(struct irq_set *set)
{
	int fd;

	if (!set->unmask)
		return -ENOENT;
	fd = fcntl(set->unmask->fd, F_DUPFD_CLOEXEC, 3);
	return fd < 0 ? -errno : fd;
}

int irq_unmask_add(struct irq_set *set, int fd, int32_t client_fd)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLET};
	struct irq_unmask *u = calloc(1, sizeof(*u));
	int ret;

	if (!u) {
		close(fd);
		return -ENOMEM;
	}
	u->work.fn = free_work;
	u->set = set;
	u->fd = fd;
	u->client_fd = client_fd;
	pthread_mutex_init(&u->lock, NULL);
	u->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (u->epfd < 0 || epoll_ctl(u->epfd, EPOLL_CTL_ADD, fd, &event))
		goto fail;
	if (epoll_wait(u->epfd, &event, 1, 0) == 1)
		irq_intx_unmask(set);
	u->watch = uvfio_watch_new(set->ctx, u->epfd, signalled, u);
	if (!u->watch)
		goto fail;
	set->unmask = u;
	return 0;
fail:
	ret = -errno;
	unmask_free(u);
	return ret ? ret : -ENOMEM;
}

void irq_unmask_remove(struct irq_set *set)
{
	struct irq_unmask *u = set->unmask;

	if (!u)
		return;
	set->unmask = NULL;
	pthread_mutex_lock(&u->lock);
	u->dead = true;
	pthread_mutex_unlock(&u->lock);
	uvfio_ctx_post(set->ctx, &u->work);
}

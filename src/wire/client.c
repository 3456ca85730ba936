/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A message as the core's client (vfio/client.h): addresses are offsets in the message's structure,
 * eventfds are those that came with it, by their place.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include "wire/wire_private.h"

static struct wire_client *of_client(struct vfio_client *client)
{
	return (struct wire_client *)((char *)client - offsetof(struct wire_client, client));
}

/* SET_IRQS with eventfds: the kernel reads an array of numbers behind the structure.  Here the fds
 * themselves came, so the numbers are their places; without any, all are -1. */
static int copy_numbers(struct wire_client *c, void *dst, size_t len)
{
	int32_t *numbers = dst;

	for (size_t i = 0; i < len / sizeof(*numbers); i++)
		numbers[i] = c->msg->nr_fds ? c->first_number + (int32_t)i : -1;
	return 0;
}

static int copy_from(struct vfio_client *client, void *dst, uint64_t uaddr, size_t len)
{
	struct wire_client *c = of_client(client);

	if (c->numbers && uaddr == sizeof(struct vfio_irq_set))
		return copy_numbers(c, dst, len);
	/* Strings are read by whole pages: what is behind the end is zero. */
	if (!c->msg && uaddr == 0 && len > c->in) {
		memset(dst, 0, len);
		memcpy(dst, c->buf, c->in);
		return 0;
	}
	if (uaddr > c->in || len > c->in - uaddr)
		return -EFAULT;
	memcpy(dst, c->buf + uaddr, len);
	return 0;
}

static int copy_to(struct vfio_client *client, uint64_t uaddr, const void *src, size_t len)
{
	struct wire_client *c = of_client(client);

	if (uaddr > c->size || len > c->size - uaddr)
		return -EFAULT;
	memcpy(c->buf + uaddr, src, len);
	if (uaddr + len > c->out)
		c->out = uaddr + len;
	return 0;
}

static int get_eventfd(struct vfio_client *client, int32_t fd)
{
	struct wire_client *c = of_client(client);
	int ours;

	/* The core asks what is behind the number of the unmask eventfd by now: the same, always.
	 */
	if (fd >= WIRE_UNMASK_NUMBER && fd == c->conn->unmask_number)
		return fcntl(c->conn->unmask_fd, F_DUPFD_CLOEXEC, 3);
	fd -= c->first_number;
	if (!c->msg || fd < 0 || (unsigned)fd >= c->msg->nr_fds || c->msg->fds[fd] < 0)
		return -EBADF;
	ours = c->msg->fds[fd];
	/* A descriptor that no call works on is to the kernel none at all. */
	if (!uvfio_eventfd_check(&c->conn->server->eventfds, ours))
		return fcntl(ours, F_GETFL) & O_PATH ? -EBADF : -EINVAL;
	c->msg->fds[fd] = -1; /* the core's from now on */
	return ours;
}

void wire_client_init(struct wire_client *c, struct wire_conn *conn, struct wire_msg *msg,
		      void *buf, size_t in, size_t size)
{
	*c = (struct wire_client){
		.client = {.ops = &wire_client_ops,
			   .caps = VFIO_CAP_IPC_LOCK, /* no lock limit of a VMM's is known here */
			   .pid = conn->pid,
			   .who = &conn->who},
		.conn = conn,
		.msg = msg,
		.buf = buf,
		.in = in,
		.size = size,
		.fd = -1,
	};
}

const struct vfio_client_ops wire_client_ops = {
	.copy_from = copy_from,
	.copy_to = copy_to,
	.get_eventfd = get_eventfd,
	.give_migration = wire_give_migration,
	.memory = {.import = wire_import, .release = wire_release},
};

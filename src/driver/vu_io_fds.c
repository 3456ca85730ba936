/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * DEVICE_GET_REGION_IO_FDS: eventfds that stand for register writes.
 *
 * There are two kinds.  One that matches a value stands for writing that value
 * (uvfio_pci_notify_fd). One without a value cannot stand for a write; it covers an area that can
 * be mapped, and a signal says "look at it now": the register functions give it after they have
 * stored to the mapping.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include "base/fd.h"
#include "driver/vu.h"

#define MOST 1024u /* sub-regions */

struct io_fds {
	struct vfio_user_region_io_fds head;
	struct vfio_user_sub_region subs[MOST];
	int fds[VFIO_USER_MAX_FDS];
	unsigned nr, nr_fds;
};

/* Ask for those of region @index.  0 with *@out for free_io_fds(), or -errno. */
static int get_io_fds(struct uvfio_pci *dev, unsigned index, struct io_fds **out)
{
	const size_t room = sizeof((*out)->head) + sizeof((*out)->subs);
	struct vfio_user_region_io_fds request = {.argsz = (uint32_t)room, .index = index};
	struct io_fds *io = malloc(sizeof(*io));
	struct vu_call call = {
		.command = VFIO_USER_DEVICE_GET_REGION_IO_FDS,
		.head = &request,
		.head_len = sizeof(request),
		.reply = io,
		.reply_len = room,
	};
	int ret;

	if (!io)
		return -ENOMEM;
	call.reply_fds = io->fds;
	ret = vu_call(vu_conn(dev), &call);
	io->nr_fds = call.got_fds;
	if (!ret && (call.got < sizeof(io->head) || io->head.index != index ||
		     io->head.count > (call.got - sizeof(io->head)) / sizeof(io->subs[0])))
		ret = vu_lied(dev);
	for (unsigned i = 0; !ret && i < io->head.count; i++) {
		const struct vfio_user_sub_region *s = &io->subs[i];

		/* The program and the library write to it: anything but an eventfd could block. */
		if (s->type == VFIO_USER_IO_FD_TYPE_IOEVENTFD &&
		    (s->fd_index >= io->nr_fds || !uvfio_is_eventfd(io->fds[s->fd_index])))
			ret = vu_lied(dev);
	}
	if (ret) {
		vu_close_fds(io->fds, io->nr_fds);
		free(io);
		return ret;
	}
	io->nr = io->head.count;
	*out = io;
	return 0;
}

static void free_io_fds(struct io_fds *io)
{
	vu_close_fds(io->fds, io->nr_fds);
	free(io);
}

static int dup_fd(int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	return copy < 0 ? -errno : copy;
}

int vu_notify_fd(struct uvfio_pci *dev, unsigned index, uint64_t offset, unsigned size,
		 uint64_t value)
{
	struct io_fds *io;
	int ret = get_io_fds(dev, index, &io);

	if (ret)
		return ret;
	ret = -ENOENT;
	for (unsigned i = 0; i < io->nr && ret == -ENOENT; i++) {
		const struct vfio_user_sub_region *s = &io->subs[i];

		if (s->type == VFIO_USER_IO_FD_TYPE_IOEVENTFD && s->offset == offset &&
		    (!s->size || s->size == size) &&
		    s->flags & VFIO_USER_IOEVENTFD_FLAG_DATAMATCH && s->datamatch == value)
			ret = dup_fd(io->fds[s->fd_index]);
	}
	free_io_fds(io);
	return ret;
}

int vu_notify_areas(struct uvfio_pci *dev, unsigned index, struct drv_notify **out, unsigned *nr)
{
	struct io_fds *io;
	int ret = get_io_fds(dev, index, &io);

	*nr = 0;
	*out = NULL;
	/* A server need not have this. */
	if (ret)
		return ret == -EPROTO || ret == -ENOTCONN ? ret : 0;
	if (io->nr) {
		*out = calloc(io->nr, sizeof(**out));
		ret = *out ? 0 : -ENOMEM;
	}
	for (unsigned i = 0; i < io->nr && !ret; i++) {
		const struct vfio_user_sub_region *s = &io->subs[i];
		struct drv_notify *n = &(*out)[*nr];

		if (s->type != VFIO_USER_IO_FD_TYPE_IOEVENTFD || !s->size ||
		    s->flags & VFIO_USER_IOEVENTFD_FLAG_DATAMATCH ||
		    s->offset + s->size < s->offset)
			continue;
		n->fd = dup_fd(io->fds[s->fd_index]);
		if (n->fd < 0) {
			ret = n->fd;
			break;
		}
		/* A server that never reads it must not block us. */
		fcntl(n->fd, F_SETFL, fcntl(n->fd, F_GETFL) | O_NONBLOCK);
		n->offset = s->offset;
		n->size = s->size;
		(*nr)++;
	}
	free_io_fds(io);
	return ret;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The way over vfio-user: the operations of struct drv_ops as messages.
 *
 * Every reply is checked for what it must have in common with its request: a server that answers
 * about another region, with more data than was asked for, or too little, has lied, and the
 * connection ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>
#include "driver/vu.h"

static struct vu_conn *conn(const struct uvfio_pci *dev)
{
	return vu_conn(dev);
}

static int lied(struct uvfio_pci *dev)
{
	return vu_lied(dev);
}

/* ---- open and close ---- */

static int user_open(struct uvfio_pci *dev, struct uvfio_error *err)
{
	struct drv_vu *u = calloc(1, sizeof(*u));
	int ret;

	if (!u)
		return uvfio_error_set(err, -ENOMEM, "no memory");
	u->path = strncmp(dev->name, "unix:", 5) ? NULL : dev->name + strlen("unix:");
	u->lost_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ret = u->lost_fd < 0
		      ? uvfio_error_set(err, -errno, "making an eventfd: %s", strerror(errno))
		      : vu_connect(dev, u->path, u->lost_fd, &u->conn, err);
	if (ret) {
		if (u->lost_fd >= 0)
			close(u->lost_fd);
		free(u);
		return ret;
	}
	dev->way = u;
	return 0;
}

static void user_close(struct uvfio_pci *dev)
{
	struct drv_vu *u = dev->way;

	vu_disconnect(u->conn);
	close(u->lost_fd);
	free(u);
}

static int user_lost_fd(const struct uvfio_pci *dev)
{
	return ((struct drv_vu *)dev->way)->lost_fd;
}

static void user_give_up(struct uvfio_pci *dev)
{
	vu_die(conn(dev), -ENOTCONN);
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int user_reconnect(struct uvfio_pci *dev, int64_t deadline, struct uvfio_error *err)
{
	struct drv_vu *u = dev->way;
	struct vu_conn *fresh;
	uint64_t count;
	int ret;

	if (!u->path)
		return uvfio_error_set(err, -EOPNOTSUPP,
				       "%s: a descriptor has no address to connect to again",
				       dev->name);
	/* The server takes one client: let go of what is left of the old connection. */
	vu_die(u->conn, -ENOTCONN);
	for (;;) {
		ret = vu_connect(dev, u->path, u->lost_fd, &fresh, err);
		if (!ret)
			break;
		/* Nobody there yet, or it died again, or it is still busy with the old one. */
		if (ret != -ENOENT && ret != -ECONNREFUSED && ret != -ENOTCONN && ret != -EBUSY &&
		    ret != -EAGAIN)
			return ret;
		if (deadline >= 0 && now_ms() >= deadline)
			return uvfio_error_set(err, -ETIMEDOUT,
					       "%s: nobody served this socket in the time given",
					       u->path);
		poll(NULL, 0, 20);
	}
	/* Others of its DMA space may be telling it of a mapping. */
	pthread_rwlock_wrlock(&dev->space->change);
	vu_disconnect(u->conn);
	u->conn = fresh;
	dev->continued = fresh->limits.continued;
	drv_view_forget(dev->view);
	pthread_rwlock_unlock(&dev->space->change);
	(void)!read(u->lost_fd, &count, sizeof(count));
	/* It may have been lost again before the line above. */
	if (atomic_load(&fresh->dead)) {
		count = 1;
		(void)!write(u->lost_fd, &count, sizeof(count));
		return uvfio_error_set(err, -ENOTCONN, "%s: the server has gone again", u->path);
	}
	return 0;
}

/* ---- information ---- */

static int user_device_info(struct uvfio_pci *dev, struct vfio_device_info *info)
{
	const struct vfio_user_device_info request = {.argsz = sizeof(request)};
	struct vfio_user_device_info d; /* another thread may fill it while this one is sending */
	struct vu_call call = {
		.command = VFIO_USER_DEVICE_GET_INFO,
		.head = &request,
		.head_len = sizeof(request),
		.reply = &d,
		.reply_len = sizeof(d),
	};
	int ret = vu_call(conn(dev), &call);

	if (ret)
		return ret;
	if (call.got != sizeof(d))
		return lied(dev);
	info->flags = d.flags;
	info->num_regions = d.num_regions;
	info->num_irqs = d.num_irqs;
	return 0;
}

static int user_region_info(struct uvfio_pci *dev, struct vfio_region_info *info, size_t size,
			    int *fd)
{
	const struct vfio_region_info request = {.argsz = (uint32_t)size, .index = info->index};
	int fds[VFIO_USER_MAX_FDS], ret;
	struct vu_call call = {
		.command = VFIO_USER_DEVICE_GET_REGION_INFO,
		.head = &request,
		.head_len = sizeof(request),
		.reply = info,
		.reply_len = size,
		.reply_fds = fds,
	};

	*fd = -1;
	ret = vu_call_ahead(dev, &call);
	if (ret)
		return ret;
	if (call.got < sizeof(*info) || info->index != request.index ||
	    info->argsz < sizeof(*info) || (info->argsz <= size && info->argsz > call.got)) {
		vu_close_fds(fds, call.got_fds);
		return lied(dev);
	}
	if (info->flags & VFIO_REGION_INFO_FLAG_MMAP && call.got_fds) {
		*fd = fds[0];
		fds[0] = -1;
	} else {
		/* Without a file there is nothing to map; it can still be read and written. */
		info->flags &= ~VFIO_REGION_INFO_FLAG_MMAP;
	}
	vu_close_fds(fds, call.got_fds);
	return 0;
}

static int user_map_fd(struct uvfio_pci *dev)
{
	return -1;
}

static int user_irq_info(struct uvfio_pci *dev, struct vfio_irq_info *info)
{
	uint32_t index = info->index;
	struct vfio_irq_info request = {.argsz = sizeof(request), .index = index};
	struct vu_call call = {
		.command = VFIO_USER_DEVICE_GET_IRQ_INFO,
		.head = &request,
		.head_len = sizeof(request),
		.reply = info,
		.reply_len = sizeof(*info),
	};
	int ret = vu_call_ahead(dev, &call);

	if (ret)
		return ret;
	return call.got == sizeof(*info) && info->index == index ? 0 : lied(dev);
}

/* ---- regions ---- */

static size_t piece(struct uvfio_pci *dev, size_t len)
{
	return len < conn(dev)->limits.max_xfer ? len : conn(dev)->limits.max_xfer;
}

static ssize_t user_read(struct uvfio_pci *dev, unsigned index, uint64_t offset, void *buf,
			 size_t len)
{
	struct vfio_user_region_access request = {
		.offset = offset, .region = index, .count = (uint32_t)piece(dev, len)};
	struct vfio_user_region_access reply;
	struct vu_call call = {
		.command = VFIO_USER_REGION_READ,
		.head = &request,
		.head_len = sizeof(request),
		.reply = &reply,
		.reply_len = sizeof(reply),
		.reply_data = buf,
		.reply_data_len = request.count,
	};
	int ret = vu_call(conn(dev), &call);

	if (ret)
		return ret;
	if (call.got < sizeof(reply) || reply.offset != offset || reply.region != index ||
	    reply.count > request.count || call.got != sizeof(reply) + reply.count)
		return lied(dev);
	return reply.count;
}

static ssize_t user_write(struct uvfio_pci *dev, unsigned index, uint64_t offset, const void *buf,
			  size_t len, bool posted)
{
	struct vfio_user_region_access request = {
		.offset = offset, .region = index, .count = (uint32_t)piece(dev, len)};
	struct vfio_user_region_access reply;
	struct vu_call call = {
		.command = VFIO_USER_REGION_WRITE,
		.head = &request,
		.head_len = sizeof(request),
		.data = buf,
		.data_len = request.count,
		.reply = &reply,
		.reply_len = sizeof(reply),
	};
	int ret;

	if (posted && dev->opt.posted && !atomic_load(&dev->shortcut)) {
		ret = vu_post(conn(dev), &call);
		return ret ? ret : (ssize_t)request.count;
	}
	ret = vu_call(conn(dev), &call);
	if (ret)
		return ret;
	if (call.got != sizeof(reply) || reply.offset != offset || reply.region != index ||
	    reply.count > request.count)
		return lied(dev);
	return reply.count;
}

#define MULTI 64u /* writes in one message */

static int user_write_multi(struct uvfio_pci *dev, const struct uvfio_pci_reg *writes, unsigned nr)
{
	struct {
		struct vfio_user_write_multi head;
		struct vfio_user_write wrs[MULTI];
	} m;
	struct vfio_user_write_multi reply;
	bool post = dev->opt.posted && !atomic_load(&dev->shortcut);
	unsigned most = conn(dev)->limits.max_xfer / sizeof(m.wrs[0]);
	int ret = 0;

	if (most > MULTI)
		most = MULTI;
	while (nr && !ret) {
		unsigned n = nr < most ? nr : most;
		struct vu_call call = {
			.command = VFIO_USER_REGION_WRITE_MULTI,
			.head = &m,
			.head_len = sizeof(m.head) + n * sizeof(m.wrs[0]),
			.reply = &reply,
			.reply_len = sizeof(reply),
		};

		if (!conn(dev)->limits.write_multi || !most) {
			ssize_t done = user_write(dev, writes->index, writes->offset,
						  &writes->value, writes->size, true);

			ret = done < 0 ? (int)done : done == (ssize_t)writes->size ? 0 : -EIO;
			writes++;
			nr--;
			continue;
		}
		memset(&m, 0, call.head_len);
		m.head.wr_cnt = n;
		for (unsigned i = 0; i < n; i++) {
			m.wrs[i].offset = writes[i].offset;
			m.wrs[i].region = writes[i].index;
			m.wrs[i].count = writes[i].size;
			memcpy(m.wrs[i].data, &writes[i].value, sizeof(m.wrs[i].data));
		}
		if (post) {
			ret = vu_post(conn(dev), &call);
		} else {
			ret = vu_call(conn(dev), &call);
			if (!ret && (call.got != sizeof(reply) || reply.wr_cnt > n))
				ret = lied(dev);
			else if (!ret && reply.wr_cnt < n)
				ret = -EIO;
		}
		writes += n;
		nr -= n;
	}
	return ret;
}

/* ---- interrupts ---- */

static int send_irqs(struct uvfio_pci *dev, const struct vfio_irq_set *set, const int *fds,
		     unsigned nr_fds)
{
	struct vfio_irq_set s = *set;
	struct vu_call call = {
		.command = VFIO_USER_DEVICE_SET_IRQS,
		.head = &s,
		.head_len = sizeof(s),
		.fds = fds,
		.nr_fds = nr_fds,
	};

	s.argsz = sizeof(s);
	return vu_call(conn(dev), &call);
}

/* How many of @fds, at most @count, can go in one message: as many descriptors as the server takes,
 * or any number of -1. */
static unsigned run(const int *fds, unsigned count, unsigned max_fds)
{
	unsigned n = 1;

	while (n < count && (fds[n] < 0) == (fds[0] < 0) && (fds[0] < 0 || n < max_fds))
		n++;
	return n;
}

static int user_set_irqs(struct uvfio_pci *dev, const struct vfio_irq_set *set, const int *fds,
			 bool active)
{
	struct vfio_irq_set s = *set;
	unsigned max_fds = conn(dev)->limits.max_fds, done = 0;
	int ret;

	if (!(set->flags & VFIO_IRQ_SET_DATA_EVENTFD) || !set->count)
		return send_irqs(dev, set, NULL, 0);
	if (!max_fds) {
		for (unsigned i = 0; i < set->count; i++)
			if (fds[i] >= 0)
				return -EOPNOTSUPP;
		max_fds = 1;
	}
	if (run(fds, set->count, max_fds) == set->count)
		return send_irqs(dev, set, fds, fds[0] < 0 ? 0 : set->count);
	/* Several messages.  The first one that enables the mode says how many vectors there are
	 * (A.8), so enable them all without eventfds before handing those out. */
	if (!active) {
		ret = send_irqs(dev, set, NULL, 0);
		if (ret)
			return ret;
	}
	while (done < set->count) {
		unsigned n = run(fds + done, set->count - done, max_fds);

		s.start = set->start + done;
		s.count = n;
		ret = send_irqs(dev, &s, fds + done, fds[done] < 0 ? 0 : n);
		if (ret) {
			if (!active) {
				s.flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER;
				s.start = s.count = 0;
				(void)send_irqs(dev, &s, NULL, 0);
			}
			return ret;
		}
		done += n;
	}
	return 0;
}

/* ---- reset, features ---- */

static int user_reset(struct uvfio_pci *dev)
{
	struct vu_call call = {.command = VFIO_USER_DEVICE_RESET};

	return vu_call(conn(dev), &call);
}

static ssize_t user_feature(struct uvfio_pci *dev, struct vfio_device_feature *feature)
{
	size_t size = feature->argsz, send = size;
	uint32_t flags = feature->flags;
	struct vfio_device_feature *reply = calloc(1, size);
	struct vu_call call = {
		.command = VFIO_USER_DEVICE_FEATURE,
		.head = feature,
		.reply = reply,
		.reply_len = size,
	};
	ssize_t ret;

	if (!reply)
		return -ENOMEM;
	/* A probe has no data, and of what is got only DMA_LOGGING_REPORT has a question: iova,
	 * length, page size. */
	if (flags & VFIO_DEVICE_FEATURE_PROBE)
		send = sizeof(*feature);
	else if (flags & VFIO_DEVICE_FEATURE_GET)
		send = (flags & VFIO_DEVICE_FEATURE_MASK) ==
					       VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT &&
				       size > sizeof(*feature) + 24
			       ? sizeof(*feature) + 24
			       : sizeof(*feature);
	call.head_len = send;
	ret = vu_call(conn(dev), &call);
	if (!ret && call.got && (call.got < sizeof(*reply) || reply->flags != flags))
		ret = lied(dev);
	if (!ret && call.got) {
		memcpy(feature->data, reply->data, call.got - sizeof(*reply));
		ret = (ssize_t)(call.got - sizeof(*reply));
	}
	free(reply);
	return ret;
}

/* ---- DMA ---- */

/* The protocol does not tell which IOVAs can be used: 48 bits without the interrupt window. */
static int user_attach(struct uvfio_pci *dev, struct uvfio_error *err)
{
	struct drv_view *view = drv_view_new(dev, NULL, err);

	if (!view)
		return -ENOSPC;
	view->dev = dev;
	view->page_size = conn(dev)->limits.page_size;
	if (drv_view_add_range(view, 0, (1ull << 48) - 1))
		return uvfio_error_set(err, -ENOMEM, "no memory");
	return 0;
}

static bool user_lost(const struct drv_view *view)
{
	return atomic_load(&conn(view->dev)->dead);
}

static int user_dma_map(struct drv_view *view, const struct drv_mapping *m)
{
	struct uvfio_pci *dev = view->dev;
	struct vfio_user_dma_map map = {
		.argsz = sizeof(map),
		.flags = (m->flags & UVFIO_PCI_DMA_READ ? VFIO_USER_DMA_MAP_READ : 0) |
			 (m->flags & UVFIO_PCI_DMA_WRITE ? VFIO_USER_DMA_MAP_WRITE : 0),
		.address = m->at.first,
		.size = m->at.last - m->at.first + 1,
	};
	int fd = m->arena ? view->space->arena_fd : m->fd;
	struct vu_call call = {
		.command = VFIO_USER_DMA_MAP,
		.head = &map,
		.head_len = sizeof(map),
	};

	if (fd >= 0 && dev->opt.share && conn(dev)->limits.max_fds) {
		map.offset = m->file_offset;
		call.fds = &fd;
		call.nr_fds = 1;
	} else if (m->addr) {
		vu_stay(conn(dev));
	} else {
		return -EOPNOTSUPP;
	}
	return vu_call(conn(dev), &call);
}

static int user_dma_unmap(struct drv_view *view, uint64_t iova, uint64_t size)
{
	struct uvfio_pci *dev = view->dev;
	struct vfio_user_dma_unmap unmap = {.argsz = sizeof(unmap), .address = iova, .size = size};
	struct vfio_user_dma_unmap reply;
	struct vu_call call = {
		.command = VFIO_USER_DMA_UNMAP,
		.head = &unmap,
		.head_len = sizeof(unmap),
		.reply = &reply,
		.reply_len = sizeof(reply),
	};
	int ret = vu_call(conn(dev), &call);

	if (ret)
		return ret;
	/* Memory must not be used again that the server may still have. */
	if (call.got != sizeof(reply) || reply.address != iova || reply.size != size)
		return lied(dev);
	return 0;
}

static int user_region_fd(struct uvfio_pci *dev, unsigned index, uint64_t offset, uint64_t size,
			  uint64_t *at)
{
	const struct drv_region *r = &dev->regions[index];
	int fd = r->fd < 0 ? -EOPNOTSUPP : fcntl(r->fd, F_DUPFD_CLOEXEC, 0);

	*at = r->file_offset + offset;
	return fd == -1 ? -errno : fd;
}

const struct drv_ops drv_vfio_user_ops = {
	.way = UVFIO_PCI_WAY_VFIO_USER,
	.open = user_open,
	.hang_up = user_give_up,
	.close = user_close,
	.device_info = user_device_info,
	.ask_ahead = vu_ask_ahead,
	.asked = vu_forget_ahead,
	.region_info = user_region_info,
	.map_fd = user_map_fd,
	.region_fd = user_region_fd,
	.irq_info = user_irq_info,
	.read = user_read,
	.write = user_write,
	.write_multi = user_write_multi,
	.notify_fd = vu_notify_fd,
	.notify_areas = vu_notify_areas,
	.set_irqs = user_set_irqs,
	.reset = user_reset,
	.feature = user_feature,
	.attach = user_attach,
	.lost = user_lost,
	.dma_map = user_dma_map,
	.dma_unmap = user_dma_unmap,
	.reconnect = user_reconnect,
	.lost_fd = user_lost_fd,
	.give_up = user_give_up,
};

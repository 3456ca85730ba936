/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a client asks and tells the device: GET_INFO, the regions, the interrupts, RESET and
 * FEATURE.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>
#include "vfio/observe.h"
#include "wire/wire_private.h"

#define MAX_AREAS 32u

static void get_info(struct wire_conn *conn, struct wire_msg *msg)
{
	struct vfio_user_device_info info;
	struct wire_client c;
	int ret;

	memcpy(&info, msg->payload, sizeof(info));
	if (info.argsz < sizeof(info)) {
		wire_reply_error(conn, msg, EINVAL);
		return;
	}
	info.argsz = sizeof(info);
	wire_client_init(&c, conn, msg, &info, sizeof(info), sizeof(info));
	ret = vfio_device_ioctl(conn->df, &c.client, VFIO_DEVICE_GET_INFO, 0);
	if (ret)
		wire_reply_error(conn, msg, -ret);
	else
		wire_reply(conn, msg, &info, sizeof(info), NULL, 0, NULL, 0);
}

static void job_get_info(struct wire_conn *conn)
{
	get_info(conn, conn->job_msg);
}

/* What only asks waits for nothing, but to wake a device up may. */
void wire_do_get_info(struct wire_conn *conn, struct wire_msg *msg)
{
	if (vfio_device_sleeps(vfio_device_file_device(conn->df)))
		wire_work(conn, msg, job_get_info);
	else
		get_info(conn, msg);
}

/* ---- GET_REGION_INFO ---- */

/* The answer: the structure and a list of what may be mapped. */
struct region_reply {
	struct vfio_region_info info;
	struct vfio_region_info_cap_sparse_mmap sparse;
	struct vfio_region_sparse_mmap_area areas[MAX_AREAS];
};
static_assert(offsetof(struct region_reply, sparse) == sizeof(struct vfio_region_info),
	      "one after the other");
static_assert(offsetof(struct region_reply, areas) ==
		      offsetof(struct region_reply, sparse) +
			      sizeof(struct vfio_region_info_cap_sparse_mmap),
	      "one after the other");

/* What of the region may be mapped: pages that are natively writable. */
static unsigned fill_areas(struct wire_conn *conn, struct region_reply *r)
{
	struct vfio_area areas[MAX_AREAS];
	unsigned n = vfio_device_sparse(conn->df, r->info.index, areas, MAX_AREAS);

	for (unsigned i = 0; i < n; i++)
		r->areas[i] = (struct vfio_region_sparse_mmap_area){areas[i].offset, areas[i].size};
	return n;
}

/* The file behind the BARs.  Its making may take a while: -EAGAIN for who cannot wait. */
static int view_fd(struct wire_conn *conn, bool job)
{
	if (conn->view_fd < 0 && !job)
		return -EAGAIN;
	if (conn->view_fd < 0) {
		int fd = vfio_device_view_fd(vfio_device_file_device(conn->df));

		conn->view_fd = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);
	}
	return conn->view_fd < 0 ? -1 : fcntl(conn->view_fd, F_DUPFD_CLOEXEC, 3);
}

/* A region that is none of the kernel's fixed ones: what it can be mapped as is the core's to say.
 */
static bool extra_region_info(struct wire_conn *conn, struct wire_msg *msg, bool job)
{
	struct region_reply r = {0};
	struct wire_client c;
	size_t len = sizeof(r.info);
	int ret, fd = -1;

	memcpy(&r.info, msg->payload, sizeof(r.info));
	r.info.argsz = r.info.argsz < sizeof(r) ? r.info.argsz : (uint32_t)sizeof(r);
	wire_client_init(&c, conn, msg, &r, sizeof(r), sizeof(r));
	ret = vfio_device_ioctl(conn->df, &c.client, VFIO_DEVICE_GET_REGION_INFO, 0);
	if (ret) {
		wire_reply_error(conn, msg, -ret);
		return true;
	}
	if (r.info.cap_offset) {
		r.info.argsz = (uint32_t)c.out;
		len = c.out;
		fd = view_fd(conn, job);
		if (fd == -EAGAIN)
			return false;
	}
	if (r.info.cap_offset && fd < 0)
		wire_reply_error(conn, msg, ENFILE);
	else
		wire_reply(conn, msg, &r, len, NULL, 0, &fd, fd >= 0 ? 1 : 0);
	return true;
}

/* False: a worker has to do it. */
static bool region_info(struct wire_conn *conn, struct wire_msg *msg, bool job)
{
	struct region_reply r = {0};
	struct wire_client c;
	uint32_t argsz;
	size_t len = sizeof(r.info);
	int ret = 0, fd = -1;
	unsigned n;

	memcpy(&r.info, msg->payload, sizeof(r.info));
	argsz = r.info.argsz;
	if (argsz < sizeof(r.info)) {
		wire_reply_error(conn, msg, EINVAL);
		return true;
	}
	if (r.info.index >= VFIO_PCI_NUM_REGIONS)
		return extra_region_info(conn, msg, job);
	r.info.argsz = sizeof(r.info);
	wire_client_init(&c, conn, msg, &r.info, sizeof(r.info), sizeof(r.info));
	/* Clients ask for every index below num_regions, and some cannot take an error. */
	if (r.info.index == VFIO_PCI_VGA_REGION_INDEX)
		r.info.flags = 0, r.info.cap_offset = 0, r.info.size = 0, r.info.offset = 0;
	else
		ret = vfio_device_ioctl(conn->df, &c.client, VFIO_DEVICE_GET_REGION_INFO, 0);
	if (ret) {
		wire_reply_error(conn, msg, -ret);
		return true;
	}
	r.info.argsz = sizeof(r.info);
	r.info.cap_offset = 0;
	r.info.flags &= VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
	n = fill_areas(conn, &r);
	if (n) {
		r.info.flags |= VFIO_REGION_INFO_FLAG_MMAP;
		if (r.areas[0].offset || r.areas[0].size < r.info.size) {
			r.info.flags |= VFIO_REGION_INFO_FLAG_CAPS;
			r.sparse.header = (struct vfio_info_cap_header){
				.id = VFIO_REGION_INFO_CAP_SPARSE_MMAP,
				.version = 1,
			};
			r.sparse.nr_areas = n;
			r.info.argsz = (uint32_t)(offsetof(struct region_reply, areas) +
						  n * sizeof(r.areas[0]));
			if (argsz >= r.info.argsz) {
				r.info.cap_offset = sizeof(r.info);
				len = r.info.argsz;
			}
		}
	}
	/* With what says where to map, not before: who has to ask again may take none
	 * (libvfio-user's sample counts an fd that it has no room for as an error). */
	if (n && argsz >= r.info.argsz) {
		fd = view_fd(conn, job);
		if (fd == -EAGAIN)
			return false;
		if (fd < 0) {
			wire_reply_error(conn, msg, ENFILE);
			return true;
		}
	}
	wire_reply(conn, msg, &r, len, NULL, 0, &fd, fd >= 0 ? 1 : 0);
	return true;
}

static void job_region_info(struct wire_conn *conn)
{
	region_info(conn, conn->job_msg, true);
}

void wire_do_region_info(struct wire_conn *conn, struct wire_msg *msg)
{
	if (vfio_device_sleeps(vfio_device_file_device(conn->df)) || !region_info(conn, msg, false))
		wire_work(conn, msg, job_region_info);
}

/* ---- GET_REGION_IO_FDS ---- */

/* [the device's context] The client wrote a mapped doorbell: that this runs at all makes the poller
 * look. */
static void on_doorbell(void *arg)
{
	struct wire_conn *conn = arg;
	uint64_t count;
	struct iovec iov = {&count, sizeof(count)};

	/* It is the client's too, who may have read it. */
	(void)!preadv2(conn->doorbell_fd, &iov, 1, -1, RWF_NOWAIT);
}

static struct uvfio_ctx *device_ctx(struct wire_conn *conn)
{
	return uvfio_device_ctx((struct uvfio_device *)vfio_device_file_device(conn->df));
}

int wire_doorbell_take(struct wire_conn *conn, int fd)
{
	conn->doorbell_fd = fd;
	conn->doorbell_watch =
		uvfio_watch_new(device_ctx(conn), conn->doorbell_fd, on_doorbell, conn);
	if (conn->doorbell_watch)
		return 0;
	close(conn->doorbell_fd);
	conn->doorbell_fd = -1;
	return -ENOMEM;
}

static int make_doorbell(struct wire_conn *conn)
{
	int fd;

	if (conn->doorbell_fd >= 0)
		return 0;
	fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return fd < 0 ? -ENFILE : wire_doorbell_take(conn, fd);
}

struct doorbell_free {
	struct uvfio_work work;
	struct wire_conn *conn;
};

static void free_watch(struct uvfio_work *work)
{
	uvfio_watch_free(((struct doorbell_free *)work)->conn->doorbell_watch);
}

void wire_doorbell_free(struct wire_conn *conn)
{
	struct doorbell_free f = {{.fn = free_watch}, conn};

	if (conn->doorbell_fd < 0)
		return;
	uvfio_ctx_post(device_ctx(conn), &f.work);
	uvfio_ctx_flush(device_ctx(conn));
	close(conn->doorbell_fd);
	conn->doorbell_fd = -1;
}

struct io_fds_reply {
	struct vfio_user_region_io_fds io;
	struct vfio_user_sub_region sub[MAX_AREAS];
};

/* The areas of doorbells, where the client can map them. */
static unsigned fill_sub_regions(struct wire_conn *conn, unsigned index,
				 struct vfio_user_sub_region *sub)
{
	struct vfio_area_state areas[MAX_AREAS];
	unsigned n = 0, nr;

	if (conn->listener->options.mmio != VFIO_MMIO_POLLED || index > VFIO_PCI_BAR5_REGION_INDEX)
		return 0;
	nr = vfio_device_areas(vfio_device_file_device(conn->df), index, areas, MAX_AREAS);
	for (unsigned i = 0; i < nr && i < MAX_AREAS; i++) {
		if (strcmp(areas[i].kind, "doorbells"))
			continue;
		sub[n++] = (struct vfio_user_sub_region){
			.offset = areas[i].offset,
			.size = areas[i].size,
			.type = VFIO_USER_IO_FD_TYPE_IOEVENTFD,
		};
	}
	return n;
}

static void job_region_io_fds(struct wire_conn *conn)
{
	struct wire_msg *msg = conn->job_msg;
	struct io_fds_reply r = {0};
	size_t len = sizeof(r.io);
	int ret = 0, fd = -1;
	uint32_t argsz;
	unsigned n;

	memcpy(&r.io, msg->payload, sizeof(r.io));
	argsz = r.io.argsz;
	n = fill_sub_regions(conn, r.io.index, r.sub);
	r.io.argsz = (uint32_t)(sizeof(r.io) + n * sizeof(r.sub[0]));
	if (n && argsz >= r.io.argsz) {
		ret = make_doorbell(conn);
		fd = ret ? -1 : fcntl(conn->doorbell_fd, F_DUPFD_CLOEXEC, 3);
		ret = ret ? ret : fd < 0 ? -ENFILE : 0;
		r.io.count = n;
		len = r.io.argsz;
	}
	if (ret)
		wire_reply_error(conn, msg, -ret);
	else
		wire_reply(conn, msg, &r, len, NULL, 0, &fd, fd >= 0 ? 1 : 0);
}

void wire_do_region_io_fds(struct wire_conn *conn, struct wire_msg *msg)
{
	struct vfio_user_region_io_fds io;

	memcpy(&io, msg->payload, sizeof(io));
	if (io.argsz < sizeof(io) || io.flags || io.count || io.index >= VFIO_PCI_NUM_REGIONS)
		wire_reply_error(conn, msg, EINVAL);
	else
		wire_work(conn, msg, job_region_io_fds);
}

/* ---- interrupts ---- */

static void irq_info(struct wire_conn *conn, struct wire_msg *msg)
{
	struct vfio_irq_info info;
	struct wire_client c;
	int ret;

	memcpy(&info, msg->payload, sizeof(info));
	wire_client_init(&c, conn, msg, &info, sizeof(info), sizeof(info));
	ret = vfio_device_ioctl(conn->df, &c.client, VFIO_DEVICE_GET_IRQ_INFO, 0);
	/* As with regions: a conventional device has no ERR. */
	if (ret == -EINVAL && info.argsz >= sizeof(info) && info.index == VFIO_PCI_ERR_IRQ_INDEX) {
		info.flags = 0;
		info.count = 0;
		ret = 0;
	}
	if (ret) {
		wire_reply_error(conn, msg, -ret);
		return;
	}
	info.argsz = sizeof(info);
	wire_reply(conn, msg, &info, sizeof(info), NULL, 0, NULL, 0);
}

static void job_irq_info(struct wire_conn *conn)
{
	irq_info(conn, conn->job_msg);
}

void wire_do_irq_info(struct wire_conn *conn, struct wire_msg *msg)
{
	if (vfio_device_sleeps(vfio_device_file_device(conn->df)))
		wire_work(conn, msg, job_irq_info);
	else
		irq_info(conn, msg);
}

/* An eventfd that unmasks was taken: keep one, and its number. */
static void remember_unmask(struct wire_conn *conn, int fd, int32_t number)
{
	if (conn->unmask_fd >= 0)
		close(conn->unmask_fd);
	conn->unmask_fd = fd;
	conn->unmask_number = number;
}

static void set_irqs(struct wire_conn *conn, struct wire_msg *msg)
{
	struct vfio_irq_set set;
	struct wire_client c;
	int ret, unmask = -1;

	memcpy(&set, msg->payload, sizeof(set));
	wire_client_init(&c, conn, msg, msg->payload, msg->len, msg->len);
	if ((set.flags & VFIO_IRQ_SET_DATA_TYPE_MASK) == VFIO_IRQ_SET_DATA_EVENTFD) {
		uint64_t argsz = sizeof(set) + (uint64_t)set.count * sizeof(int32_t);

		c.numbers = true;
		set.argsz = argsz > UINT32_MAX ? (uint32_t)sizeof(set) : (uint32_t)argsz;
		memcpy(msg->payload, &set, sizeof(set));
		if (set.flags & VFIO_IRQ_SET_ACTION_UNMASK && msg->nr_fds == 1) {
			c.first_number = conn->unmask_number < INT32_MAX - 1
						 ? conn->unmask_number + 1
						 : WIRE_UNMASK_NUMBER;
			if (c.first_number < WIRE_UNMASK_NUMBER)
				c.first_number = WIRE_UNMASK_NUMBER;
			/* Anything else is refused, and not closed here. */
			if (uvfio_eventfd_check(&conn->server->eventfds, msg->fds[0]))
				unmask = fcntl(msg->fds[0], F_DUPFD_CLOEXEC, 3);
		}
	}
	ret = vfio_device_ioctl(conn->df, &c.client, VFIO_DEVICE_SET_IRQS, 0);
	if (unmask >= 0 && !ret)
		remember_unmask(conn, unmask, c.first_number);
	else if (unmask >= 0)
		close(unmask);
	/* A positive answer says how many vectors there are: too few. */
	if (ret)
		wire_reply_error(conn, msg, ret < 0 ? -ret : ENOSPC);
	else
		wire_reply(conn, msg, NULL, 0, NULL, 0, NULL, 0);
}

static void job_set_irqs(struct wire_conn *conn)
{
	set_irqs(conn, conn->job_msg);
}

void wire_do_set_irqs(struct wire_conn *conn, struct wire_msg *msg)
{
	struct vfio_irq_set set;
	unsigned data;

	memcpy(&set, msg->payload, sizeof(set));
	data = set.flags & VFIO_IRQ_SET_DATA_TYPE_MASK;
	/* argsz says what comes with the message; eventfds are either all there, or none are. */
	if (set.argsz < sizeof(set) ||
	    (data != VFIO_IRQ_SET_DATA_EVENTFD && (set.argsz > msg->len || msg->nr_fds)) ||
	    (data == VFIO_IRQ_SET_DATA_EVENTFD && msg->nr_fds && msg->nr_fds != set.count)) {
		wire_reply_error(conn, msg, EINVAL);
		return;
	}
	/* Signalling a full eventfd takes a while, and what follows from it may wait for a reset.
	 */
	wire_work(conn, msg, job_set_irqs);
}

/* ---- RESET ---- */

static void job_reset(struct wire_conn *conn)
{
	struct wire_client c;
	int ret;

	wire_client_init(&c, conn, conn->job_msg, NULL, 0, 0);
	ret = vfio_device_ioctl(conn->df, &c.client, VFIO_DEVICE_RESET, 0);
	if (ret)
		wire_reply_error(conn, conn->job_msg, -ret);
	else
		wire_reply(conn, conn->job_msg, NULL, 0, NULL, 0, NULL, 0);
}

void wire_do_reset(struct wire_conn *conn, struct wire_msg *msg)
{
	wire_work(conn, msg, job_reset);
}

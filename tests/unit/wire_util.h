/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tests of src/wire/ share: a server with one device, and the client's end of a socket
 * pair.
 *
 * The model has in BAR 0 (16 KiB): 0x00 a constant, 0x08 scratch, 0x10 DMA address (8 bytes), 0x18
 * DMA length, 0x1c DMA command (1 read, 2 write), 0x20 status, 0x24 commands done; 0x1000
 * doorbells; 0x2000 the MSI-X table, 8 vectors; 0x3000 its PBA.  BAR 2: 8 KiB of memory.  It
 * becomes quiet only when the test lets it, if asked to.
 */
#ifndef TESTS_UNIT_WIRE_UTIL_H
#define TESTS_UNIT_WIRE_UTIL_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>
#include <linux/pci_regs.h>
#include <uvfio/device.h>
#include <uvfio/migration.h>
#include "guarded.h"
#include "support/send_fds.h"
#include "vfio/vfio.h"
#include "wire/protocol.h"
#include "wire/wire.h"

#define WDEV_ID   0x57495245u
#define WDEV_DATA 65536u

enum {
	W_ID = 0x00,
	W_SCRATCH = 0x08,
	W_IOVA = 0x10,
	W_LEN = 0x18,
	W_CMD = 0x1c,
	W_STATUS = 0x20,
	W_DONE = 0x24,
	W_DOORBELL = 0x1000,
};

struct wdev {
	struct uvfio_device *dev;
	uint64_t iova;
	_Atomic uint32_t len, cmd;
	uint32_t done;
	struct uvfio_dma op;
	uint8_t data[WDEV_DATA];
	_Atomic bool slow, may_end; /* quiesce waits; no longer */
	_Atomic bool quiescing;
	_Atomic unsigned resets, quiesces, doorbells;
	void (*_Atomic on_doorbell)(struct wdev *w); /* in the thread that writes */
};

static struct wdev *wdev_last;

static void wdev_ended(struct wdev *w, int status)
{
	uvfio_reg_set(w->dev, 0, W_STATUS, 4, (uint32_t)-status);
	uvfio_reg_set(w->dev, 0, W_DONE, 4, ++w->done);
}

static void wdev_dma_done(struct uvfio_dma *op)
{
	struct wdev *w = (struct wdev *)((char *)op - offsetof(struct wdev, op));

	wdev_ended(w, op->status);
}

static bool wdev_work(void *priv)
{
	struct wdev *w = priv;
	uint32_t cmd = atomic_exchange(&w->cmd, 0);
	int ret;

	if (w->quiescing && w->may_end) {
		w->quiescing = false;
		uvfio_quiesced(w->dev);
	}
	if (!cmd)
		return false;
	w->op = (struct uvfio_dma){
		.iova = w->iova,
		.buf = w->data,
		.len = w->len,
		.to_client = cmd == 2,
		.done = wdev_dma_done,
	};
	ret = uvfio_dma_submit(w->dev, &w->op);
	if (ret <= 0)
		wdev_ended(w, ret);
	return false;
}

static void wdev_write(void *priv, unsigned bar, uint64_t off, unsigned size, uint64_t value)
{
	struct wdev *w = priv;

	if (off >= W_DOORBELL) {
		void (*fn)(struct wdev * w) = w->on_doorbell;

		w->doorbells++;
		if (fn)
			fn(w);
	} else if (off == W_SCRATCH)
		uvfio_reg_set(w->dev, 0, off, size, value);
	else if (off == W_IOVA)
		w->iova = value;
	else if (off == W_LEN)
		w->len = (uint32_t)value;
	else if (off == W_CMD) {
		w->cmd = (uint32_t)value;
		uvfio_kick(w->dev);
	}
}

static void wdev_quiesce(void *priv)
{
	struct wdev *w = priv;

	w->quiesces++;
	if (w->slow && !w->may_end)
		w->quiescing = true;
	else
		uvfio_quiesced(w->dev);
}

static void wdev_reset(void *priv, enum uvfio_reset_kind kind)
{
	struct wdev *w = priv;

	w->resets++;
	w->done = 0;
	for (unsigned off = 0; off < 0x40; off += 4)
		uvfio_reg_set(w->dev, 0, off, 4, 0);
	uvfio_reg_set(w->dev, 0, W_ID, 4, WDEV_ID);
}

static int wdev_create(struct uvfio_device *dev, const struct uvfio_args *args, void **priv,
		       struct uvfio_error *err)
{
	static const struct uvfio_area areas[] = {
		{0, 0x40, UVFIO_AREA_REGISTERS, 0},
		{W_DOORBELL, 0x40, UVFIO_AREA_DOORBELLS, 0},
	};
	static const struct uvfio_area memory[] = {{0, 8192, UVFIO_AREA_MEMORY, 0}};
	struct uvfio_pci_desc desc = {
		.vendor = 0x1b36,
		.device = 0x0043,
		.class_code = 0xff0000,
		.interrupt_pin = 1,
		.bars[0] = {16384, UVFIO_BAR_MEM64, areas, 2},
		.bars[2] = {8192, 0, memory, 1},
		.msix_vectors = 8,
		.msix_table = 0x2000,
		.msix_pba = 0x3000,
		.pcie = true,
		.flr = true,
	};
	struct wdev *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	w->dev = dev;
	*priv = wdev_last = w;
	return uvfio_device_init(dev, &desc, err);
}

static void wdev_destroy(void *priv)
{
	free(priv);
}

/* It can be stopped; it has no state to save. */
static int wdev_save(void *priv, struct uvfio_save *out, bool stopped, bool first)
{
	return 0;
}

static int wdev_load(void *priv, struct uvfio_load *in, bool first, struct uvfio_error *err)
{
	return -EINVAL;
}

static int wdev_commit(void *priv, struct uvfio_error *err)
{
	return 0;
}

static const struct uvfio_migration_ops wdev_moves = {
	.can = UVFIO_MIGRATE_P2P,
	.save = wdev_save,
	.load = wdev_load,
	.commit = wdev_commit,
};

static const struct uvfio_model wdev_model = {
	.abi = UVFIO_DEVICE_ABI,
	.name = "wdev",
	.summary = "a device for tests",
	.create = wdev_create,
	.destroy = wdev_destroy,
	.reg_write = wdev_write,
	.work = wdev_work,
	.quiesce = wdev_quiesce,
	.reset = wdev_reset,
	.migration = &wdev_moves,
};

/* ---- the server ---- */

struct wire_fixture {
	struct vfio_machine *machine;
	struct wire_server *server;
	struct wire_listener *listener;
	struct wdev *dev;
};

static inline int listening_socket(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX}; /* a name of the kernel's choosing */
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(sa_family_t)), 0);
	assert_int_equal(listen(fd, 16), 0);
	return fd;
}

static inline void wire_up_with(struct wire_fixture *f, const struct wire_options *options)
{
	struct uvfio_error err = {""};

	guarded();
	memset(f, 0, sizeof(*f));
	f->machine = vfio_machine_new(NULL, NULL, &err);
	assert_non_null(f->machine);
	assert_int_equal(vfio_machine_add_model(f->machine, &wdev_model), 0);
	assert_int_equal(vfio_machine_add_device(f->machine, "wdev", &err), 0);
	f->dev = wdev_last;
	f->server = wire_server_new(f->machine, NULL, &err);
	assert_non_null(f->server);
	assert_int_equal(wire_listen(f->server, "0000:01:00.0", listening_socket(), options,
				     &f->listener, &err),
			 0);
}

static inline void wire_up(struct wire_fixture *f)
{
	struct wire_options options;

	wire_options_default(&options);
	wire_up_with(f, &options);
}

static inline void wire_down(struct wire_fixture *f)
{
	wire_server_free(f->server);
	vfio_machine_free(f->machine);
}

/* ---- the client ---- */

/* The client's end of a new connection. */
static inline int client_connect(struct wire_fixture *f)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(wire_adopt(f->listener, pair[1]), 0);
	return pair[0];
}

static inline void send_fds(int fd, const void *data, size_t len, const int *fds, unsigned nr_fds)
{
	struct iovec iov = {(void *)(uintptr_t)data, len};

	assert_int_equal(sendmsg_fds(fd, &iov, 1, fds, nr_fds), (ssize_t)len);
}

static inline void client_send(int fd, uint16_t id, unsigned command, uint32_t flags,
			       const void *payload, size_t len, const int *fds, unsigned nr_fds)
{
	struct vfio_user_header hdr = {
		.id = id,
		.command = (uint16_t)command,
		.size = (uint32_t)(sizeof(hdr) + len),
		.flags = flags,
	};
	uint8_t *buf = malloc(hdr.size);

	assert_non_null(buf);
	memcpy(buf, &hdr, sizeof(hdr));
	if (len)
		memcpy(buf + sizeof(hdr), payload, len);
	send_fds(fd, buf, hdr.size, fds, nr_fds);
	free(buf);
}

/* Exactly @len bytes; -1 at the end of the stream. */
static inline int read_all(int fd, void *buf, size_t len, int *got_fd)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int) * 4)];
		struct cmsghdr align;
	} control;
	size_t done = 0;

	while (done < len) {
		struct iovec iov = {(char *)buf + done, len - done};
		struct msghdr m = {.msg_iov = &iov,
				   .msg_iovlen = 1,
				   .msg_control = control.bytes,
				   .msg_controllen = sizeof(control.bytes)};
		ssize_t n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);

		if (n <= 0)
			return -1;
		if (c && got_fd)
			memcpy(got_fd, CMSG_DATA(c), sizeof(int));
		done += (size_t)n;
	}
	return 0;
}

struct reply {
	struct vfio_user_header hdr;
	uint8_t payload[WDEV_DATA + 256];
	uint32_t len;
	int fd; /* that came with it, or -1 */
};

/* The next message from the server, or -1 when it has closed. */
static inline int client_receive(int fd, struct reply *r)
{
	r->fd = -1;
	if (read_all(fd, &r->hdr, sizeof(r->hdr), &r->fd))
		return -1;
	r->len = r->hdr.size - (uint32_t)sizeof(r->hdr);
	assert_true(r->len <= sizeof(r->payload));
	return read_all(fd, r->payload, r->len, &r->fd);
}

/* Send a command and take its answer: 0, a positive errno, -1 when the server has closed. */
static inline int client_call(int fd, unsigned command, const void *payload, size_t len,
			      const int *fds, unsigned nr_fds, struct reply *r)
{
	static uint16_t id;

	client_send(fd, ++id, command, 0, payload, len, fds, nr_fds);
	if (client_receive(fd, r))
		return -1;
	assert_int_equal(r->hdr.id, id);
	assert_int_equal(r->hdr.command, command);
	assert_true(vfio_user_is_reply(&r->hdr));
	if (!(r->hdr.flags & VFIO_USER_ERROR))
		return 0;
	assert_int_equal(r->len, 0);
	return (int)r->hdr.error;
}

static inline int client_version(int fd, const char *json, struct reply *r)
{
	uint8_t buf[4096] = {0};
	struct vfio_user_version v = {0, 1};
	size_t len = json ? strlen(json) + 1 : 0;

	memcpy(buf, &v, sizeof(v));
	if (json)
		memcpy(buf + sizeof(v), json, len);
	return client_call(fd, VFIO_USER_VERSION, buf, sizeof(v) + len, NULL, 0, r);
}

/* A connection that has the device. */
static inline int client_open(struct wire_fixture *f)
{
	int fd = client_connect(f);
	struct reply r;

	assert_int_equal(client_version(fd, NULL, &r), 0);
	return fd;
}

static inline int client_read(int fd, unsigned region, uint64_t off, void *buf, uint32_t len)
{
	struct vfio_user_region_access a = {off, region, len};
	static struct reply r;
	int ret = client_call(fd, VFIO_USER_REGION_READ, &a, sizeof(a), NULL, 0, &r);

	if (ret)
		return ret;
	memcpy(&a, r.payload, sizeof(a));
	assert_int_equal(r.len, sizeof(a) + a.count);
	assert_true(a.count <= len);
	memcpy(buf, r.payload + sizeof(a), a.count);
	return 0;
}

static inline void client_post(int fd, unsigned region, uint64_t off, const void *data,
			       uint32_t len, uint32_t flags)
{
	uint8_t buf[sizeof(struct vfio_user_region_access) + 64];
	struct vfio_user_region_access a = {off, region, len};

	assert_true(len <= 64);
	memcpy(buf, &a, sizeof(a));
	memcpy(buf + sizeof(a), data, len);
	client_send(fd, 9999, VFIO_USER_REGION_WRITE, flags, buf, sizeof(a) + len, NULL, 0);
}

static inline int client_write(int fd, unsigned region, uint64_t off, const void *data,
			       uint32_t len)
{
	static struct reply r;

	client_post(fd, region, off, data, len, 0);
	if (client_receive(fd, &r))
		return -1;
	return r.hdr.flags & VFIO_USER_ERROR ? (int)r.hdr.error : 0;
}

static inline uint32_t client_get(int fd, uint64_t off)
{
	uint32_t value = 0;

	assert_int_equal(client_read(fd, 0, off, &value, 4), 0);
	return value;
}

static inline void client_put(int fd, uint64_t off, uint64_t value, unsigned size)
{
	assert_int_equal(client_write(fd, 0, off, &value, size), 0);
}

static inline void client_enable(int fd)
{
	uint16_t command = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;

	assert_int_equal(client_write(fd, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, &command, 2),
			 0);
}

static inline int client_map(int fd, uint64_t iova, uint64_t size, int memory, uint64_t offset)
{
	struct vfio_user_dma_map map = {sizeof(map), 3, offset, iova, size};
	static struct reply r;

	return client_call(fd, VFIO_USER_DMA_MAP, &map, sizeof(map), &memory, memory >= 0 ? 1 : 0,
			   &r);
}

static inline int client_unmap(int fd, uint64_t iova, uint64_t size, uint32_t flags,
			       uint64_t *unmapped)
{
	struct vfio_user_dma_unmap unmap = {sizeof(unmap), flags, iova, size};
	static struct reply r;
	int ret = client_call(fd, VFIO_USER_DMA_UNMAP, &unmap, sizeof(unmap), NULL, 0, &r);

	if (!ret) {
		assert_int_equal(r.len, sizeof(unmap));
		memcpy(&unmap, r.payload, sizeof(unmap));
		*unmapped = unmap.size;
	}
	return ret;
}

#endif

// SPDX-License-Identifier: BSD-3-Clause
/*
 * SPDK's NVMe driver over its vfio-user client ("trtype:VFIOUSER traddr:DIR", which connects to
 * DIR/cntrl).
 *
 * Read for this: lib/vfio_user/host/vfio_user.c and vfio_user_pci.c, commit 488570eb, and
 * lib/nvme/nvme_vfio_user.c (the doorbells as of SPDK 22.01 and later).  What of it counts here:
 *
 * - every message has the id 0; all of a request is one sendmsg(); a reply is a header, with room
 *   for 8 descriptors, and then one read() of what is left, which must be all of it;
 * - VERSION 0.1 without any JSON;
 * - GET_REGION_INFO has an argsz and a payload of 4064 bytes, and up to 4064 bytes in reply; fewer
 *   than 8 descriptors;
 * - the page of the doorbells must be mappable, or it does not attach (here: mmap=on); it maps
 *   area i from descriptor i;
 * - memory is mapped where it is in the process, from 0x200000000000 on;
 * - DMA_UNMAP comes with the descriptor of the mapping, and must succeed;
 * - registers by messages, 8 bytes at once where they are 8; no interrupts, no RESET;
 * - a reply with the error flag is an error; its type is asserted.
 */
#include "foreign.h"

#include <linux/vfio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define ROOM    4096u
#define MAX_FDS 8u
#define BASE    0x200000200000ull

struct spdk {
	int fd;
	struct vfio_region_info bar0;
	uint64_t config_size;
	uint8_t *doorbells;
};

/* Request and reply in @buf; returns the length of the reply. */
static size_t request(struct spdk *s, unsigned command, void *buf, size_t n, size_t room,
		      const int *send_fds, unsigned nfds, int *fds, unsigned *got_fds)
{
	struct {
		struct wire_header head;
		uint8_t payload[ROOM];
	} req = {.head = {0, (uint16_t)command, (uint32_t)(sizeof(req.head) + n), 0, 0}};
	struct iovec iov = {&req, sizeof(req.head) + n};
	int got[MAX_FDS], flags;
	unsigned nr;
	size_t left;

	NEED(n <= ROOM);
	memcpy(req.payload, buf, n);
	foreign_send(s->fd, &iov, 1, send_fds, nfds);
	memset(&req, 0, sizeof(req));
	nr = foreign_receive(s->fd, &req.head, sizeof(req.head), got, MAX_FDS, &flags);
	NEED(!(flags & (MSG_TRUNC | MSG_CTRUNC)));
	foreign_check(&req.head, 0, command, req.head.size);
	NEED(req.head.size >= sizeof(req.head) && req.head.size - sizeof(req.head) <= ROOM);
	left = req.head.size - sizeof(req.head);
	if (left)
		NEED(read(s->fd, req.payload, left) == (ssize_t)left);
	if (got_fds) {
		NEED(nr < MAX_FDS);
		memcpy(fds, got, nr * sizeof(int));
		*got_fds = nr;
	} else {
		NEED(!nr);
	}
	if (!send_fds) {
		NEED(left <= room);
		memcpy(buf, req.payload, left);
	}
	NEED(foreign_quiet(s->fd));
	return left;
}

static void access_region(struct spdk *s, uint32_t region, uint64_t offset, void *data, uint32_t n,
			  bool write)
{
	struct {
		struct wire_access access;
		uint8_t data[8];
	} a = {{offset, region, n}, {0}};
	size_t len;

	NEED(n <= sizeof(a.data));
	if (write)
		memcpy(a.data, data, n);
	len = request(s, write ? WIRE_REGION_WRITE : WIRE_REGION_READ, &a,
		      sizeof(a.access) + (write ? n : 0), sizeof(a.access) + n, NULL, 0, NULL,
		      NULL);
	NEED(len == sizeof(a.access) + (write ? 0 : n) && a.access.count == n);
	if (!write)
		memcpy(data, a.data, n);
}

static void read_register(void *client, uint32_t offset, void *data, uint32_t n)
{
	NEED(offset + n <= 0x1000);
	access_region(client, 0, offset, data, n, false);
}

static void write_register(void *client, uint32_t offset, const void *data, uint32_t n)
{
	NEED(offset + n <= 0x1000); /* a doorbell is never written so */
	access_region(client, 0, offset, (void *)data, n, true);
}

/* The first capability with @id, in @info. */
static const struct vfio_info_cap_header *capability(const struct vfio_region_info *info, int id)
{
	uint32_t at = info->flags & VFIO_REGION_INFO_FLAG_CAPS ? info->cap_offset : 0;

	while (at) {
		const struct vfio_info_cap_header *h = (const void *)((const uint8_t *)info + at);

		NEED(at + sizeof(*h) <= ROOM && (!h->next || h->next > at));
		if (h->id == id)
			return h;
		at = h->next;
	}
	return NULL;
}

static void map_bar(struct spdk *s, const struct vfio_region_info *info, const int *fds,
		    unsigned nfds)
{
	const struct vfio_region_info_cap_sparse_mmap *sparse =
		(const void *)capability(info, VFIO_REGION_INFO_CAP_SPARSE_MMAP);
	unsigned n = sparse ? sparse->nr_areas : 1;

	NEED(n && n <= MAX_FDS && nfds >= n);
	for (unsigned i = 0; i < n; i++) {
		uint64_t offset = sparse ? sparse->areas[i].offset : 0;
		uint64_t size = sparse ? sparse->areas[i].size : info->size;
		uint8_t *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fds[i],
				   (off_t)(info->offset + offset));

		NEED(at != MAP_FAILED);
		if (info->index == 0 && offset <= 0x1000 && offset + size >= 0x2000)
			s->doorbells = at + 0x1000 - offset;
		close(fds[i]);
	}
}

static void map_bars(struct spdk *s, uint32_t regions)
{
	union {
		struct vfio_region_info info;
		uint8_t bytes[ROOM];
	} buf;
	const uint32_t argsz = ROOM - sizeof(buf.info);

	for (uint32_t i = 0; i < regions; i++) {
		int fds[MAX_FDS];
		unsigned nfds = 0;
		size_t len;

		memset(&buf, 0, sizeof(buf));
		buf.info.index = i;
		buf.info.argsz = argsz;
		len = request(s, WIRE_GET_REGION_INFO, &buf, argsz, ROOM, NULL, 0, fds, &nfds);
		NEED(len >= sizeof(buf.info) && buf.info.index == i);
		if (i == FOREIGN_CONFIG)
			s->config_size = buf.info.size;
		if (buf.info.size && buf.info.flags & VFIO_REGION_INFO_FLAG_MMAP)
			map_bar(s, &buf.info, fds, nfds);
		else
			NEED(!nfds);
	}
}

static void dma(struct spdk *s, const struct foreign_memory *m, bool map)
{
	struct wire_map wire_map = {sizeof(wire_map), 3, 0, m->iova, m->size};
	struct wire_unmap unmap = {sizeof(unmap), 0, m->iova, m->size};

	if (map)
		request(s, WIRE_DMA_MAP, &wire_map, sizeof(wire_map), 0, &m->fd, 1, NULL, NULL);
	else
		request(s, WIRE_DMA_UNMAP, &unmap, sizeof(unmap), 0, &m->fd, 1, NULL, NULL);
}

static void run(const char *path, uint8_t seed)
{
	struct foreign_memory pool = foreign_memory(BASE, 2ul << 20, false);
	struct foreign_memory more = foreign_memory(BASE + (1ull << 30), 2ul << 20, false);
	struct spdk s = {.fd = foreign_connect(path)};
	struct wire_device_info info = {.argsz = sizeof(info)};
	struct foreign_nvme n = {
		.client = &s,
		.read = read_register,
		.write = write_register,
		.admin_irq = -1,
		.io_irq = -1,
		.queues = &pool,
		.data_iova = more.iova,
		.data = more.at,
	};
	struct {
		uint16_t major, minor;
		uint8_t room[ROOM - 4];
	} version = {.major = 0, .minor = 1};
	uint16_t command = 0;

	NEED(request(&s, WIRE_VERSION, &version, 4, ROOM, NULL, 0, NULL, NULL) >= 4);
	NEED(version.major == 0 && version.minor <= 1);
	NEED(request(&s, WIRE_GET_INFO, &info, sizeof(info), sizeof(info), NULL, 0, NULL, NULL) ==
	     sizeof(info));
	NEED(info.num_regions <= VFIO_PCI_NUM_REGIONS); /* it has room for no more */
	map_bars(&s, info.num_regions);
	NEED(s.doorbells); /* or it does not attach */
	dma(&s, &pool, true);
	dma(&s, &more, true);

	n.doorbells = (volatile uint32_t *)s.doorbells;
	NEED(s.config_size >= 256);
	access_region(&s, FOREIGN_CONFIG, 4, &command, 2, false);
	command |= 0x404; /* no INTx */
	access_region(&s, FOREIGN_CONFIG, 4, &command, 2, true);
	foreign_nvme_enable(&n);
	foreign_nvme_identify(&n);
	foreign_nvme_io(&n, seed);
	/* spdk_nvme_ctrlr_reset() */
	foreign_nvme_disable(&n);
	foreign_nvme_enable(&n);
	foreign_nvme_identify(&n);
	foreign_nvme_io(&n, (uint8_t)(seed + 1));
	foreign_nvme_shutdown(&n);

	munmap(s.doorbells, 0x1000);
	dma(&s, &pool, false);
	dma(&s, &more, false);
	close(s.fd);
	foreign_memory_free(&pool);
	foreign_memory_free(&more);
}

void foreign_spdk(const char *path, bool mapped)
{
	for (uint8_t i = 0; i < 3; i++)
		run(path, (uint8_t)(50 + i));
}

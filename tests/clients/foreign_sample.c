// SPDX-License-Identifier: BSD-3-Clause
/*
 * The sample client of libvfio-user, samples/client.c, on our device in place of its own sample.
 *
 * Read for this: samples/client.c as of its twin-socket mode (2023 and later) and lib/tran_sock.c.
 * What of it counts here:
 *
 * - ids of all sorts; a reply must have the request's id and the type of a reply;
 * - VERSION 0.1 with max_msg_fds 32, max_data_xfer_size 1024 and the twin socket, whose index it
 *   checks; major 0, minor at most its own, text that ends with a zero;
 * - what comes back must be as long as it has room for, or less is an error;
 * - where it asks for no descriptors it has no control buffer, and one that comes all the same is
 *   EFAULT: the first GET_REGION_INFO, with an argsz of 32;
 * - the second GET_REGION_INFO with argsz and payload of what the first said, as much back, and one
 *   descriptor for all areas; no capability but SPARSE_MMAP;
 * - a region 0xdeadbeef must be EINVAL; nine regions; every interrupt index below five answers;
 * - RESET; 64 regions of a page (twice the descriptors agreed on), of one file in /tmp, each with a
 *   descriptor; INTx with an eventfd; DMA_UNMAP of half, one by one, then of all.
 *
 * It then wants dirty page tracking and migration, which no device here has, and the identity and
 * the BAR 1 of its own sample: that part is not here.  It must get an error, and go on living.
 */
#include "foreign.h"

#include <errno.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_FDS 32u
#define XFER    1024u

struct sample {
	int fd, twin;
	uint16_t access_id;
	unsigned max_fds;
};

/* tran_sock_msg_iovec(): 0, or the errno of the answer.  @fds NULL: no control buffer. */
static int message(struct sample *s, unsigned id, unsigned command, const void *payload, size_t n,
		   const int *send_fds, unsigned nsend, void *answer, size_t room, int *fds,
		   unsigned *nfds)
{
	struct wire_header head = {(uint16_t)id, (uint16_t)command, (uint32_t)(sizeof(head) + n), 0,
				   0};
	struct iovec iov[2] = {{&head, sizeof(head)}, {(void *)payload, n}};
	unsigned got;
	int flags;

	foreign_send(s->fd, iov, n ? 2 : 1, send_fds, nsend);
	got = foreign_receive(s->fd, &head, sizeof(head), fds, fds ? MAX_FDS : 0, &flags);
	NEED(!(flags & (MSG_CTRUNC | MSG_TRUNC))); /* EFAULT */
	if (nfds)
		*nfds = got;
	NEED(head.id == (uint16_t)id && (head.flags & WIRE_TYPE) == WIRE_REPLY);
	if (head.flags & WIRE_ERROR) {
		NEED(head.error > 0 && head.size == sizeof(head));
		return (int)head.error;
	}
	foreign_check(&head, (uint16_t)id, command, sizeof(head) + room);
	if (room)
		foreign_read(s->fd, answer, room);
	NEED(foreign_quiet(s->fd));
	return 0;
}

/* The number behind "name": in what the server said; -1: it is not there. */
static long number(const char *json, const char *name)
{
	const char *p = strstr(json, name);

	return p ? strtol(p + strlen(name), NULL, 10) : -1;
}

static void negotiate(struct sample *s)
{
	static const char json[] =
		"{\"capabilities\":{\"max_msg_fds\":32,\"max_data_xfer_size\":1024,"
		"\"twin_socket\":{\"supported\":true}}}";
	struct {
		struct wire_header head;
		uint16_t major, minor;
	} version = {{0xda55, WIRE_VERSION, sizeof(version) + sizeof(json), 0, 0}, 0, 1};
	struct iovec iov[3] = {{&version.head, sizeof(version.head)},
			       {&version.major, 4},
			       {(void *)json, sizeof(json)}};
	int fds[MAX_FDS], flags;
	unsigned nfds;
	char text[XFER];
	struct stat st;
	size_t len;
	long index;

	foreign_send(s->fd, iov, 3, NULL, 0);
	nfds = foreign_receive(s->fd, &version.head, sizeof(version.head), fds, MAX_FDS, &flags);
	NEED(!(flags & (MSG_CTRUNC | MSG_TRUNC)));
	foreign_check(&version.head, 0xda55, WIRE_VERSION, version.head.size);
	NEED(version.head.size > sizeof(version));
	foreign_read(s->fd, &version.major, 4);
	NEED(version.major == 0 && version.minor <= 1);
	len = version.head.size - sizeof(version);
	NEED(len <= sizeof(text));
	foreign_read(s->fd, text, len);
	NEED(text[len - 1] == 0);
	NEED(strstr(text, "\"twin_socket\":{\"supported\":true"));
	index = number(text, "\"fd_index\":");
	NEED(index >= 0 && index < (long)nfds);
	s->twin = fds[index];
	NEED(!fstat(s->twin, &st) && S_ISSOCK(st.st_mode));
	NEED(number(text, "\"max_data_xfer_size\":") <= XFER);
	NEED(number(text, "\"max_msg_fds\":") > 0);
	s->max_fds = (unsigned)number(text, "\"max_msg_fds\":");
}

static int access_region(struct sample *s, uint32_t region, uint64_t offset, void *data, uint32_t n,
			 bool write)
{
	struct {
		struct wire_access access;
		uint8_t data[256];
	} a = {{offset, region, n}, {0}};
	int ret;

	NEED(n <= sizeof(a.data));
	if (write)
		memcpy(a.data, data, n);
	ret = message(s, s->access_id--, write ? WIRE_REGION_WRITE : WIRE_REGION_READ, &a,
		      sizeof(a.access) + (write ? n : 0), NULL, 0, &a,
		      sizeof(a.access) + (write ? 0 : n), NULL, NULL);
	if (ret)
		return ret;
	NEED(a.access.count == n);
	if (!write)
		memcpy(data, a.data, n);
	return 0;
}

static void read_register(void *client, uint32_t offset, void *data, uint32_t n)
{
	NEED(!access_region(client, 0, offset, data, n, false));
}

static void write_register(void *client, uint32_t offset, const void *data, uint32_t n)
{
	NEED(!access_region(client, 0, offset, (void *)data, n, true));
}

/* Returns how many areas it could map. */
static unsigned get_region(struct sample *s, uint32_t index)
{
	union {
		struct wire_region_info info;
		uint8_t bytes[XFER];
	} r = {.info = {.argsz = sizeof(r.info), .index = index}};
	struct vfio_region_info_cap_sparse_mmap sparse;
	struct vfio_region_sparse_mmap_area area;
	int fds[MAX_FDS];
	uint32_t argsz;
	unsigned nfds;

	NEED(!message(s, 0xabcd, WIRE_GET_REGION_INFO, &r, sizeof(r.info), NULL, 0, &r,
		      sizeof(r.info), NULL, NULL));
	argsz = r.info.argsz;
	if (argsz <= sizeof(r.info))
		return 0;
	NEED(argsz <= sizeof(r));
	memset(&r, 0, sizeof(r));
	r.info.argsz = argsz;
	r.info.index = index;
	NEED(!message(s, 0xabcd, WIRE_GET_REGION_INFO, &r, argsz, NULL, 0, &r, argsz, fds, &nfds));
	NEED(r.info.argsz == argsz && nfds == 1);
	memcpy(&sparse, &r.info + 1, sizeof(sparse));
	NEED(sparse.header.id == VFIO_REGION_INFO_CAP_SPARSE_MMAP && !sparse.header.next);
	for (unsigned i = 0; i < sparse.nr_areas; i++) {
		void *at;

		memcpy(&area, r.bytes + sizeof(r.info) + sizeof(sparse) + i * sizeof(area),
		       sizeof(area));
		at = mmap(NULL, area.size, PROT_READ | PROT_WRITE, MAP_SHARED, fds[0],
			  (off_t)(r.info.offset + area.offset));
		NEED(at != MAP_FAILED && !munmap(at, area.size));
	}
	close(fds[0]);
	return sparse.nr_areas;
}

static void unmap(struct sample *s, unsigned id, uint64_t address, uint64_t size, uint32_t flags,
		  uint64_t want)
{
	struct wire_unmap r = {sizeof(r), flags, address, size};

	NEED(!message(s, id, WIRE_DMA_UNMAP, &r, sizeof(r), NULL, 0, &r, sizeof(r), NULL, NULL));
	NEED(r.size == want);
}

static int configure_irqs(struct sample *s)
{
	struct wire_irq_set set = {
		sizeof(set), VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, 0, 0, 1};
	int irq = eventfd(0, 0);

	NEED(irq >= 0);
	for (uint32_t i = 0; i < 5; i++) {
		struct wire_irq_info info = {.argsz = sizeof(info), .index = i};

		NEED(!message(s, 0x1bad, WIRE_GET_IRQ_INFO, &info, sizeof(info), NULL, 0, &info,
			      sizeof(info), NULL, NULL));
	}
	NEED(!message(s, 0x1bae, WIRE_SET_IRQS, &set, sizeof(set), &irq, 1, NULL, 0, NULL, NULL));
	return irq;
}

static void run(const char *path, bool mapped, uint8_t seed)
{
	struct sample s = {.fd = foreign_connect(path), .access_id = 0xf00f};
	struct wire_device_info info = {.argsz = sizeof(info)};
	struct {
		uint32_t argsz, flags;
		uint64_t page_size;
		uint32_t num_ranges, reserved;
		uint64_t ranges;
	} logging = {sizeof(logging), VFIO_DEVICE_FEATURE_SET | 6, FOREIGN_PAGE, 0, 0, 0};
	struct foreign_nvme n = {.client = &s, .read = read_register, .write = write_register};
	struct foreign_memory memory;
	uint8_t config[64], value[4];
	unsigned areas = 0, nr;
	uint16_t command;
	int irq;

	negotiate(&s);
	NEED(access_region(&s, 0xdeadbeef, 0, value, sizeof(value), false) == EINVAL);
	NEED(!message(&s, 0xb10c, WIRE_GET_INFO, &info, sizeof(info), NULL, 0, &info, sizeof(info),
		      NULL, NULL));
	NEED(info.num_regions == 9);
	for (uint32_t i = 0; i < info.num_regions; i++)
		areas += get_region(&s, i);
	NEED(!areas == !mapped);
	NEED(!access_region(&s, FOREIGN_CONFIG, 0, config, sizeof(config), false));
	NEED(!message(&s, 1, WIRE_RESET, NULL, 0, NULL, 0, NULL, 0, NULL, NULL));

	nr = s.max_fds << 1;
	memory = foreign_memory(0, nr * FOREIGN_PAGE, true);
	for (unsigned i = 0; i < nr; i++) {
		struct wire_map map = {sizeof(map), 3, i * FOREIGN_PAGE, i * FOREIGN_PAGE,
				       FOREIGN_PAGE};

		NEED(!message(&s, 0x1234 + i, WIRE_DMA_MAP, &map, sizeof(map), &memory.fd, 1, NULL,
			      0, NULL, NULL));
	}
	irq = configure_irqs(&s);
	NEED(!message(&s, 0, WIRE_FEATURE, &logging, sizeof(logging), NULL, 0, &logging,
		      sizeof(logging), NULL, NULL));

	/* Its device in place of the sample's: one INTx, which it never unmasks, then by looking.
	 */
	NEED(!access_region(&s, FOREIGN_CONFIG, 4, &command, 2, false));
	command |= FOREIGN_MASTER;
	NEED(!access_region(&s, FOREIGN_CONFIG, 4, &command, 2, true));
	n.queues = &memory;
	n.data_iova = (nr - 3) * FOREIGN_PAGE;
	n.data = memory.at + n.data_iova;
	n.admin_irq = irq;
	n.io_irq = -1;
	foreign_nvme_enable(&n);
	foreign_nvme_identify(&n);
	n.admin_irq = -1;
	foreign_nvme_io(&n, seed);
	foreign_nvme_disable(&n);

	for (unsigned i = 0; i < s.max_fds; i++)
		unmap(&s, 7, i * FOREIGN_PAGE, FOREIGN_PAGE, 0, FOREIGN_PAGE);
	unmap(&s, 8, 0, 0, 2, (nr - s.max_fds) * FOREIGN_PAGE);
	NEED(foreign_quiet(s.twin)); /* all memory has a descriptor: nothing to ask */
	close(s.twin);
	close(s.fd);
	close(irq);
	foreign_memory_free(&memory);
}

void foreign_sample(const char *path, bool mapped)
{
	for (uint8_t i = 0; i < 3; i++)
		run(path, mapped, (uint8_t)(150 + i));
}

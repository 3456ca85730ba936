// SPDX-License-Identifier: BSD-3-Clause
/*
 * cloud-hypervisor with a Linux guest that has the NVMe controller.
 *
 * Read for this: the crate vfio-user of rust-vmm/vfio (vfio-user/src/lib.rs, commit 01dd3401, as of
 * crate version 0.1.x) and cloud-hypervisor's pci/src/vfio_user.rs and vfio.rs (as of late 2025 and
 * 2026); for "the first client" cloud-hypervisor's own vfio_user/src/lib.rs, commit 028961ac
 * (2021). What of it counts here:
 *
 * - one request at a time, ids from 0; replies are read as so many bytes as a good one has, and
 *   nothing in them is looked at: one that is shorter blocks the VMM for ever, a longer one puts it
 *   out of step (the tests look at all of it);
 * - VERSION 0.1 with max_msg_fds 1, yet SET_IRQS with up to 16 descriptors each; the answer must
 *   have JSON, and a number that it names must fit in 32 bits;
 * - GET_INFO has an argsz of 32, with the header, in a message of 16 + 16 bytes;
 * - GET_REGION_INFO twice where the answer's argsz is more than 32; the first with an argsz of 32,
 *   the second with what the first said, in a message no longer; room for one descriptor each time;
 *   what is behind the structure must be as long as argsz says;
 * - a region with FLAG_MMAP must come with a descriptor, and every area must be mappable;
 * - `resettable` is what the RESET flag is not: it never sends RESET to a device that has it;
 * - capabilities and BARs are read and sized through the config region, BARs are left at all ones;
 *   only the guest's COMMAND and capabilities reach the device later;
 * - INTx is enabled at once, and unmasked after each access to a BAR while it is in use; it is
 *   disabled before MSI-X is enabled, which is before the guest's write goes to the device;
 * - the client of 2021 knows no areas: it would map all of the BAR, so it is for mmap=off only;
 * - every region of guest memory is mapped, with a descriptor each, from address 0 on;
 * - at the end: MSI-X disabled, shutdown(2) of both directions, nothing unmapped; after the guest's
 *   reboot it connects again at once.
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
#include <unistd.h>

#define REGIONS 16u
#define AREAS   8u
#define VECTORS 2048u
#define BATCH   16u /* fds of one SET_IRQS */
#define LOW     (64ul << 20)
#define HIGH    (16ul << 20)
#define HIGH_AT (4ull << 30)

struct region {
	struct wire_region_info info;
	int fd;
	struct vfio_region_sparse_mmap_area areas[AREAS];
	unsigned nr_areas;
};

struct vmm {
	int fd;
	uint16_t next;
	bool first; /* the client of 2021 */
	struct region regions[REGIONS];
	uint32_t nr_regions, nr_irqs;
	uint32_t msix, express, vectors; /* capabilities in config space; 0: none */
	bool intx_in_use;
	int intx, *fds; /* eventfds; one for each vector */
};

struct sized {
	struct wire_header head;
	struct wire_access access;
};

static struct wire_header header(struct vmm *v, unsigned command, size_t size)
{
	return (struct wire_header){v->next++, (uint16_t)command, (uint32_t)size, 0, 0};
}

/* A request of a structure that follows a header, and a reply of exactly @want bytes. */
static void call(struct vmm *v, unsigned command, void *payload, size_t n, const int *fds,
		 unsigned nfds, void *answer, size_t want)
{
	struct wire_header head = header(v, command, sizeof(head) + n), reply;
	/* The crate sends a structure that begins with the header. */
	uint8_t bytes[128];
	struct iovec iov = {bytes, sizeof(head) + n};

	NEED(sizeof(head) + n <= sizeof(bytes));
	memcpy(bytes, &head, sizeof(head));
	if (n)
		memcpy(bytes + sizeof(head), payload, n);
	foreign_send(v->fd, &iov, 1, fds, nfds);
	foreign_read(v->fd, &reply, sizeof(reply));
	foreign_check(&reply, head.id, command, sizeof(reply) + want);
	if (want)
		foreign_read(v->fd, answer, want);
	NEED(foreign_quiet(v->fd));
}

static void negotiate(struct vmm *v)
{
	/* As serde prints it. */
	const char *const json =
		v->first ? "{\"max_msg_fds\":1,\"max_data_xfer_size\":1048576,"
			   "\"migration\":{\"pgsize\":4096}}"
			 : "{\"capabilities\":{\"max_msg_fds\":1,\"max_data_xfer_size\":1048576,"
			   "\"migration\":{\"pgsize\":4096}}}";
	struct {
		struct wire_header head;
		uint16_t major, minor;
	} version = {header(v, WIRE_VERSION, sizeof(version) + strlen(json) + 1), 0, 1}, reply;
	struct iovec iov[2] = {{&version, sizeof(version)}, {(void *)json, strlen(json) + 1}};
	char text[512];
	size_t len;

	foreign_send(v->fd, iov, 2, NULL, 0);
	foreign_read(v->fd, &reply, sizeof(reply));
	NEED(reply.head.size > sizeof(reply) && reply.head.size <= sizeof(reply) + sizeof(text));
	foreign_check(&reply.head, version.head.id, WIRE_VERSION, reply.head.size);
	NEED(reply.major == 0 && reply.minor <= 1);
	/* It drops the last byte and parses the rest, with "capabilities" required but by the first
	 * client, and pgsize required in "migration". */
	len = reply.head.size - sizeof(reply);
	foreign_read(v->fd, text, len);
	NEED(text[len - 1] == 0 && strlen(text) == len - 1);
	NEED(text[0] == '{' && text[len - 2] == '}');
	NEED(v->first || strstr(text, "\"capabilities\":{"));
	NEED(!strstr(text, "\"migration\"") || strstr(text, "\"pgsize\""));
	NEED(!strstr(text, "\"twin_socket\""));
}

/* recv_with_fd(): what the structure has, with room for one descriptor. */
static int ask_region(struct vmm *v, uint32_t index, uint32_t argsz, struct wire_header *reply,
		      struct wire_region_info *info)
{
	struct {
		struct wire_header head;
		struct wire_region_info info;
	} ask = {header(v, WIRE_GET_REGION_INFO, sizeof(ask)), {.argsz = argsz, .index = index}},
	  got;
	struct iovec iov = {&ask, sizeof(ask)};
	int fd = -1, flags;

	foreign_send(v->fd, &iov, 1, NULL, 0);
	foreign_receive(v->fd, &got, sizeof(got), &fd, 1, &flags);
	NEED(!(flags & MSG_CTRUNC));
	NEED(got.head.size >= sizeof(got));
	foreign_check(&got.head, ask.head.id, WIRE_GET_REGION_INFO, got.head.size);
	NEED(got.info.index == index);
	*reply = got.head;
	*info = got.info;
	return fd;
}

static void parse_areas(struct region *r, const uint8_t *caps, uint32_t size)
{
	for (uint32_t at = r->info.cap_offset; at;) {
		struct vfio_info_cap_header cap;
		struct vfio_region_info_cap_sparse_mmap sparse;
		uint32_t o = at - (uint32_t)sizeof(r->info);

		NEED(at >= sizeof(r->info) && o + sizeof(cap) <= size);
		memcpy(&cap, caps + o, sizeof(cap));
		NEED(!cap.next || cap.next > at);
		at = cap.next;
		if (cap.id != VFIO_REGION_INFO_CAP_SPARSE_MMAP)
			continue;
		NEED(o + sizeof(sparse) <= size);
		memcpy(&sparse, caps + o, sizeof(sparse));
		NEED(sparse.nr_areas <= AREAS);
		NEED(o + sizeof(sparse) + sparse.nr_areas * sizeof(r->areas[0]) <= size);
		memcpy(r->areas, caps + o + sizeof(sparse), sparse.nr_areas * sizeof(r->areas[0]));
		r->nr_areas = sparse.nr_areas;
	}
}

static void get_region(struct vmm *v, uint32_t index)
{
	const uint32_t bare = sizeof(struct wire_region_info);
	struct region *r = &v->regions[index];
	struct wire_header reply;
	uint8_t caps[1024];
	uint32_t size;

	r->fd = ask_region(v, index, v->first ? 1024 : bare, &reply, &r->info);
	size = reply.size - (uint32_t)sizeof(reply) - bare;
	NEED(size <= sizeof(caps));
	if (v->first) { /* reads it, and forgets it */
		foreign_read(v->fd, caps, size);
		NEED(foreign_quiet(v->fd));
		return;
	}
	NEED(!size); /* it would be read as the next reply */
	if (r->info.argsz <= bare)
		return;
	if (r->fd >= 0)
		close(r->fd);
	r->fd = ask_region(v, index, r->info.argsz, &reply, &r->info);
	size = reply.size - (uint32_t)sizeof(reply) - bare;
	NEED(size == r->info.argsz - bare && size <= sizeof(caps));
	foreign_read(v->fd, caps, size);
	NEED(foreign_quiet(v->fd));
	parse_areas(r, caps, size);
}

static void get_regions(struct vmm *v)
{
	struct wire_device_info info = {.argsz = sizeof(struct wire_header) + sizeof(info)};

	call(v, WIRE_GET_INFO, &info, sizeof(info), NULL, 0, &info, sizeof(info));
	NEED(info.flags & VFIO_DEVICE_FLAGS_PCI);
	NEED(info.flags & VFIO_DEVICE_FLAGS_RESET); /* or it would reset */
	v->nr_irqs = info.num_irqs;
	v->nr_regions = info.num_regions;
	NEED(v->nr_regions > FOREIGN_CONFIG && v->nr_regions <= REGIONS);
	for (uint32_t i = 0; i < v->nr_regions; i++)
		get_region(v, i);
}

/* ---- the config region, INTx and MSI-X ---- */

static void region_read(struct vmm *v, uint32_t region, uint64_t offset, void *data, uint32_t n)
{
	struct sized ask = {header(v, WIRE_REGION_READ, sizeof(ask)), {offset, region, n}}, reply;
	struct iovec iov = {&ask, sizeof(ask)};

	foreign_send(v->fd, &iov, 1, NULL, 0);
	foreign_read(v->fd, &reply, sizeof(reply));
	foreign_check(&reply.head, ask.head.id, WIRE_REGION_READ, sizeof(reply) + n);
	foreign_read(v->fd, data, n);
	NEED(reply.access.count == n && foreign_quiet(v->fd));
}

static void region_write(struct vmm *v, uint32_t region, uint64_t offset, const void *data,
			 uint32_t n)
{
	struct sized ask = {header(v, WIRE_REGION_WRITE, sizeof(ask) + n), {offset, region, n}},
		     reply;
	struct iovec iov[2] = {{&ask, sizeof(ask)}, {(void *)data, n}};

	foreign_send(v->fd, iov, 2, NULL, 0);
	foreign_read(v->fd, &reply, sizeof(reply));
	foreign_check(&reply.head, ask.head.id, WIRE_REGION_WRITE, sizeof(reply));
	NEED(reply.access.count == n && foreign_quiet(v->fd));
}

static uint32_t config(struct vmm *v, uint32_t offset, uint32_t n)
{
	uint32_t value = 0;

	region_read(v, FOREIGN_CONFIG, offset, &value, n);
	return value;
}

static void config_write(struct vmm *v, uint32_t offset, uint32_t value, uint32_t n)
{
	region_write(v, FOREIGN_CONFIG, offset, &value, n);
}

static struct wire_irq_info irq_info(struct vmm *v, uint32_t index)
{
	struct wire_irq_info info = {.argsz = sizeof(info), .index = index};

	call(v, WIRE_GET_IRQ_INFO, &info, sizeof(info), NULL, 0, &info, sizeof(info));
	NEED(info.index == index);
	return info;
}

static void set_irqs(struct vmm *v, uint32_t index, uint32_t flags, uint32_t start, uint32_t count,
		     const int *fds, unsigned nfds)
{
	struct wire_irq_set set = {sizeof(set), flags, index, start, count};

	call(v, WIRE_SET_IRQS, &set, sizeof(set), fds, nfds, NULL, 0);
}

static void enable_irq(struct vmm *v, uint32_t index, const int *fds, uint32_t n)
{
	for (uint32_t sent = 0, count; sent < n; sent += count) {
		count = n - sent < BATCH ? n - sent : BATCH;
		set_irqs(v, index, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, sent,
			 count, fds + sent, count);
	}
}

static void disable_irq(struct vmm *v, uint32_t index)
{
	set_irqs(v, index, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, 0, 0, NULL, 0);
}

static void parse_extended(struct vmm *v)
{
	uint32_t at = 0x100;

	for (unsigned n = 0; at; n++) {
		NEED(n < 100);
		at = config(v, at, 4) >> 20;
	}
}

static void parse_capabilities(struct vmm *v)
{
	bool power = false;
	uint32_t at;

	NEED(config(v, 0x06, 2) & 0x10);
	for (at = config(v, 0x34, 1) & 0xfc; at;) {
		uint32_t id = config(v, at, 1), next;

		if (id == 0x05 && irq_info(v, VFIO_PCI_MSI_IRQ_INDEX).count)
			config(v, at + 2, 2);
		if (id == 0x11 && irq_info(v, VFIO_PCI_MSIX_IRQ_INDEX).count) {
			v->msix = at;
			v->vectors = (config(v, at + 2, 2) & 0x7ff) + 1;
			config(v, at + 4, 4);
			config(v, at + 8, 4);
		}
		if (id == 0x10)
			v->express = at;
		power |= id == 0x01;
		next = config(v, at + 1, 1) & 0xfc;
		if (next == at)
			break;
		at = next;
	}
	NEED(v->msix && v->express);
	if (power)
		parse_extended(v);
}

/* BARs are sized as a guest would, and stay so: the guest's own addresses never get here. */
static void size_bars(struct vmm *v)
{
	for (uint32_t bar = 0; bar < FOREIGN_CONFIG; bar++) {
		bool rom = bar == VFIO_PCI_ROM_REGION_INDEX;
		uint32_t at = rom ? 0x30 : 0x10 + 4 * bar, flags = config(v, at, 4), low;
		uint64_t size;

		config_write(v, at, 0xffffffff, 4);
		low = config(v, at, 4);
		if (!rom && flags & 1) {
			size = (uint32_t)(~(low & ~3u) + 1);
		} else if (!rom && flags & 4) {
			config_write(v, at + 4, 0xffffffff, 4);
			size = ~((uint64_t)config(v, at + 4, 4) << 32 | (low & ~0xfu)) + 1;
		} else {
			size = low & ~0xfu ? (uint32_t)(~(low & ~0xfu) + 1) : 0;
		}
		NEED(size == v->regions[bar].info.size);
		if (size && !rom && flags & 4 && !(flags & 1))
			bar++;
	}
}

/* Every area, from the descriptor; what is mapped of BAR 0's doorbells is returned. */
static volatile uint32_t *map_regions(struct vmm *v)
{
	volatile uint32_t *doorbells = NULL;

	for (uint32_t i = 0; i < FOREIGN_CONFIG; i++) {
		struct region *r = &v->regions[i];
		unsigned n = r->nr_areas ? r->nr_areas : 1;
		int prot = 0;

		if (!r->info.size || !(r->info.flags & VFIO_REGION_INFO_FLAG_MMAP))
			continue;
		NEED(r->fd >= 0);
		prot |= r->info.flags & VFIO_REGION_INFO_FLAG_READ ? PROT_READ : 0;
		prot |= r->info.flags & VFIO_REGION_INFO_FLAG_WRITE ? PROT_WRITE : 0;
		for (unsigned a = 0; a < n; a++) {
			uint64_t offset = r->nr_areas ? r->areas[a].offset : 0;
			uint64_t size = r->nr_areas ? r->areas[a].size : r->info.size;
			uint8_t *at = mmap(NULL, size, prot, MAP_SHARED, r->fd,
					   (off_t)(r->info.offset + offset));

			NEED(at != MAP_FAILED);
			if (i == 0 && offset <= 0x1000 && offset + size >= 0x2000)
				doorbells = (volatile uint32_t *)(at + 0x1000 - offset);
		}
	}
	return doorbells;
}

static void dma_map(struct vmm *v, const struct foreign_memory *m)
{
	struct wire_map map = {sizeof(map), 3, 0, m->iova, m->size};

	call(v, WIRE_DMA_MAP, &map, sizeof(map), &m->fd, 1, NULL, 0);
}

static void dma_unmap(struct vmm *v, const struct foreign_memory *m)
{
	struct wire_unmap unmap = {sizeof(unmap), 0, m->iova, m->size};

	/* A reply of 40 bytes, or it hangs. */
	call(v, WIRE_DMA_UNMAP, &unmap, sizeof(unmap), NULL, 0, &unmap, sizeof(unmap));
	NEED(unmap.size == m->size);
}

/* ---- what the guest does ---- */

/* After each access to a BAR that traps. */
static void end_of_intx(struct vmm *v)
{
	if (v->intx_in_use)
		set_irqs(v, VFIO_PCI_INTX_IRQ_INDEX,
			 VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK, 0, 1, NULL, 0);
}

static void guest_read(void *client, uint32_t offset, void *data, uint32_t n)
{
	region_read(client, 0, offset, data, n);
	end_of_intx(client);
}

static void guest_write(void *client, uint32_t offset, const void *data, uint32_t n)
{
	region_write(client, 0, offset, data, n);
	end_of_intx(client);
}

static void guest_enables_msix(struct vmm *v)
{
	uint32_t control = config(v, v->msix + 2, 2);

	disable_irq(v, VFIO_PCI_INTX_IRQ_INDEX);
	v->intx_in_use = false;
	enable_irq(v, VFIO_PCI_MSIX_IRQ_INDEX, v->fds, v->vectors);
	/* Enabled and masked altogether; the table is the VMM's, so nothing of it gets here. */
	config_write(v, v->msix + 2, control | 0xc000, 2);
	config_write(v, v->msix + 2, (control | 0x8000) & ~0x4000u, 2);
}

static void guest_resets_function(struct vmm *v)
{
	uint32_t devctl = config(v, v->express + 8, 2);

	config_write(v, v->express + 8, devctl | 0x8000, 2);
	config_write(v, 0x04, config(v, 0x04, 2) | FOREIGN_MASTER, 2);
}

/* From the VMM's start to the end of the guest. */
static void boot(const char *path, bool first, bool mapped, uint8_t seed)
{
	struct foreign_memory low = foreign_memory(0, LOW, false);
	struct foreign_memory high = foreign_memory(HIGH_AT, HIGH, false);
	struct vmm v = {.fd = foreign_connect(path), .first = first, .intx = eventfd(0, 0)};
	struct foreign_nvme n = {
		.client = &v,
		.read = guest_read,
		.write = guest_write,
		.admin_irq = v.intx,
		.io_irq = v.intx,
		.queues = &low,
		.data_iova = HIGH_AT + (1 << 20),
		.data = high.at + (1 << 20),
	};
	volatile uint32_t *doorbells;

	negotiate(&v);
	get_regions(&v);
	parse_capabilities(&v);
	NEED(v.vectors <= VECTORS);
	v.fds = calloc(v.vectors, sizeof(*v.fds));
	NEED(v.fds);
	for (uint32_t i = 0; i < v.vectors; i++)
		NEED((v.fds[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) >= 0);
	NEED(irq_info(&v, VFIO_PCI_INTX_IRQ_INDEX).count == 1);
	enable_irq(&v, VFIO_PCI_INTX_IRQ_INDEX, &v.intx, 1);
	v.intx_in_use = true;
	dma_map(&v, &low);
	dma_map(&v, &high);
	size_bars(&v);
	doorbells = map_regions(&v);
	NEED(!doorbells == !mapped);

	/* The guest: its firmware with INTx, by messages. */
	config_write(&v, 0x04, config(&v, 0x04, 2) | FOREIGN_MASTER, 2);
	foreign_nvme_enable(&n);
	foreign_nvme_identify(&n);
	foreign_nvme_io(&n, seed);
	foreign_nvme_disable(&n);

	/* Its kernel: function level reset, MSI-X, doorbells where they are mapped. */
	guest_resets_function(&v);
	guest_enables_msix(&v);
	n.doorbells = doorbells;
	n.admin_irq = v.fds[0];
	n.io_irq = v.fds[v.vectors - 1];
	n.vector = v.vectors - 1;
	foreign_nvme_enable(&n);
	foreign_nvme_identify(&n);
	foreign_nvme_io(&n, (uint8_t)(seed + 1));

	/* Memory goes and comes (virtio-mem, a virtual IOMMU), and is used again. */
	dma_unmap(&v, &high);
	dma_map(&v, &high);
	foreign_nvme_identify(&n);
	foreign_nvme_shutdown(&n);

	disable_irq(&v, VFIO_PCI_MSIX_IRQ_INDEX);
	NEED(!shutdown(v.fd, SHUT_RDWR));
	close(v.fd);
	for (uint32_t i = 0; i < v.vectors; i++)
		close(v.fds[i]);
	for (uint32_t i = 0; i < v.nr_regions; i++) {
		if (v.regions[i].fd >= 0)
			close(v.regions[i].fd);
	}
	free(v.fds);
	close(v.intx);
	foreign_memory_free(&low);
	foreign_memory_free(&high);
}

void foreign_cloud_hypervisor(const char *path, bool mapped)
{
	for (uint8_t i = 0; i < 3; i++) /* reboots */
		boot(path, false, mapped, (uint8_t)(10 * i));
}

void foreign_cloud_hypervisor_first(const char *path, bool mapped)
{
	for (uint8_t i = 0; i < 2; i++)
		boot(path, true, mapped, (uint8_t)(100 + 10 * i));
}

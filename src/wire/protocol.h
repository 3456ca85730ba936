/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vfio-user on the wire: message layouts and constants, shared by the server, the driver library
 * and the benchmarks.  No logic but a few inline helpers.
 *
 * A message is a header, a payload that the command defines, and file descriptors beside it
 * (SCM_RIGHTS).  Byte order is the host's.  What the protocol took over from the kernel keeps the
 * structures of linux/vfio.h: struct vfio_device_info (its first 16 bytes), vfio_region_info,
 * vfio_irq_info, vfio_irq_set, vfio_device_feature and their flags.
 *
 * Fields whose name ends in _size or is `count` are in bytes unless said otherwise.
 */
#ifndef UVFIO_WIRE_PROTOCOL_H
#define UVFIO_WIRE_PROTOCOL_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/vfio.h>

/* ---- header ---- */

struct vfio_user_header {
	uint16_t id;      /* the sender's; echoed in the reply */
	uint16_t command; /* enum vfio_user_command */
	uint32_t size;    /* of the whole message */
	uint32_t flags;   /* VFIO_USER_… */
	uint32_t error;   /* errno, in a reply with VFIO_USER_ERROR */
};
static_assert(sizeof(struct vfio_user_header) == 16, "as specified");
static_assert(offsetof(struct vfio_user_header, command) == 2, "as specified");
static_assert(offsetof(struct vfio_user_header, size) == 4, "as specified");
static_assert(offsetof(struct vfio_user_header, flags) == 8, "as specified");
static_assert(offsetof(struct vfio_user_header, error) == 12, "as specified");

#define VFIO_USER_TYPE_MASK    0xFu
#define VFIO_USER_TYPE_COMMAND 0u
#define VFIO_USER_TYPE_REPLY   1u
#define VFIO_USER_NO_REPLY     0x10u
#define VFIO_USER_ERROR        0x20u
#define VFIO_USER_FLAGS_KNOWN  0x3Fu

enum vfio_user_command {
	VFIO_USER_VERSION = 1,
	VFIO_USER_DMA_MAP = 2,
	VFIO_USER_DMA_UNMAP = 3,
	VFIO_USER_DEVICE_GET_INFO = 4,
	VFIO_USER_DEVICE_GET_REGION_INFO = 5,
	VFIO_USER_DEVICE_GET_REGION_IO_FDS = 6,
	VFIO_USER_DEVICE_GET_IRQ_INFO = 7,
	VFIO_USER_DEVICE_SET_IRQS = 8,
	VFIO_USER_REGION_READ = 9,
	VFIO_USER_REGION_WRITE = 10,
	VFIO_USER_DMA_READ = 11,  /* server to client */
	VFIO_USER_DMA_WRITE = 12, /* server to client */
	VFIO_USER_DEVICE_RESET = 13,
	/* 14 was DIRTY_PAGES before migration version 2 */
	VFIO_USER_REGION_WRITE_MULTI = 15,
	VFIO_USER_DEVICE_FEATURE = 16,
	VFIO_USER_MIG_DATA_READ = 17,
	VFIO_USER_MIG_DATA_WRITE = 18,
};
#define VFIO_USER_COMMANDS 19 /* one above the highest */

/* ---- VERSION ---- */

struct vfio_user_version {
	uint16_t major, minor;
	char data[]; /* JSON with its terminating zero; may be missing */
};
static_assert(sizeof(struct vfio_user_version) == 4, "as specified");

/* What we speak, and what a side that says nothing about a capability has. */
#define VFIO_USER_MAJOR              0
#define VFIO_USER_MINOR              1
#define VFIO_USER_DEFAULT_MSG_FDS    1
#define VFIO_USER_DEFAULT_XFER_SIZE  1048576u
#define VFIO_USER_DEFAULT_DMA_MAPS   65535u
#define VFIO_USER_DEFAULT_PGSIZES    4096u
#define VFIO_USER_MIGRATION_PGSIZE   4096u
#define VFIO_USER_DEFAULT_BITMAP_MAX (256u << 20)

/* Names in the JSON. */
#define VFIO_USER_CAP_CAPABILITIES   "capabilities"
#define VFIO_USER_CAP_MAX_MSG_FDS    "max_msg_fds"
#define VFIO_USER_CAP_MAX_XFER_SIZE  "max_data_xfer_size"
#define VFIO_USER_CAP_MAX_DMA_MAPS   "max_dma_maps"
#define VFIO_USER_CAP_PGSIZES        "pgsizes"
#define VFIO_USER_CAP_MIGRATION      "migration"
#define VFIO_USER_CAP_MIG_PGSIZE     "pgsize"
#define VFIO_USER_CAP_MIG_BITMAP     "max_bitmap_size"
#define VFIO_USER_CAP_TWIN_SOCKET    "twin_socket"
#define VFIO_USER_CAP_TWIN_SUPPORTED "supported"
#define VFIO_USER_CAP_TWIN_FD_INDEX  "fd_index"
#define VFIO_USER_CAP_WRITE_MULTIPLE "write_multiple"
/* Ours: the client wants to go on with the device where it was left; the server says that it does.
 */
#define VFIO_USER_CAP_CONTINUE  "continue"
#define VFIO_USER_CAP_CONTINUED "continued"

/* ---- DMA_MAP and DMA_UNMAP ---- */

#define VFIO_USER_DMA_MAP_READ  (1u << 0) /* the device may read */
#define VFIO_USER_DMA_MAP_WRITE (1u << 1)

struct vfio_user_dma_map {
	uint32_t argsz, flags;
	uint64_t offset; /* in the fd that comes with it */
	uint64_t address, size;
};
static_assert(sizeof(struct vfio_user_dma_map) == 32, "as specified");
static_assert(offsetof(struct vfio_user_dma_map, offset) == 8, "as specified");
static_assert(offsetof(struct vfio_user_dma_map, address) == 16, "as specified");

#define VFIO_USER_DMA_UNMAP_GET_DIRTY_BITMAP (1u << 0)
#define VFIO_USER_DMA_UNMAP_ALL              (1u << 1)

struct vfio_user_dma_unmap {
	uint32_t argsz, flags;
	uint64_t address, size;
};
static_assert(sizeof(struct vfio_user_dma_unmap) == 24, "as specified");
static_assert(offsetof(struct vfio_user_dma_unmap, address) == 8, "as specified");

/* Behind DMA_UNMAP with GET_DIRTY_BITMAP; the bitmap follows in the reply. */
struct vfio_user_bitmap {
	uint64_t pgsize, size;
};
static_assert(sizeof(struct vfio_user_bitmap) == 16, "as specified");

/* ---- device, regions, interrupts ---- */

struct vfio_user_device_info {
	uint32_t argsz, flags; /* VFIO_DEVICE_FLAGS_… */
	uint32_t num_regions, num_irqs;
};
static_assert(sizeof(struct vfio_user_device_info) == 16, "as specified");

/* struct vfio_region_info of linux/vfio.h, followed by capabilities in the reply */
static_assert(sizeof(struct vfio_region_info) == 32, "as specified");
static_assert(offsetof(struct vfio_region_info, size) == 16, "as specified");
/* struct vfio_irq_info and struct vfio_irq_set */
static_assert(sizeof(struct vfio_irq_info) == 16, "as specified");
static_assert(sizeof(struct vfio_irq_set) == 20, "as specified");

struct vfio_user_region_io_fds {
	uint32_t argsz, flags, index;
	uint32_t count; /* of sub-regions, in the reply */
};
static_assert(sizeof(struct vfio_user_region_io_fds) == 16, "as specified");

#define VFIO_USER_IO_FD_TYPE_IOEVENTFD     0u
#define VFIO_USER_IO_FD_TYPE_IOREGIONFD    1u
#define VFIO_USER_IOEVENTFD_FLAG_DATAMATCH (1u << 0)
#define VFIO_USER_IOEVENTFD_FLAG_PIO       (1u << 1)

struct vfio_user_sub_region {
	uint64_t offset, size; /* in the region; a size of 0: any */
	uint32_t fd_index;     /* among the fds of the reply */
	uint32_t type;         /* VFIO_USER_IO_FD_TYPE_… */
	uint32_t flags, padding;
	uint64_t datamatch; /* ioregionfd: user_data */
};
static_assert(sizeof(struct vfio_user_sub_region) == 40, "as specified");
static_assert(offsetof(struct vfio_user_sub_region, fd_index) == 16, "as specified");
static_assert(offsetof(struct vfio_user_sub_region, datamatch) == 32, "as specified");

/* ---- REGION_READ, REGION_WRITE, REGION_WRITE_MULTI ---- */

struct vfio_user_region_access {
	uint64_t offset;
	uint32_t region, count;
	uint8_t data[];
};
static_assert(sizeof(struct vfio_user_region_access) == 16, "as specified");

struct vfio_user_write {
	uint64_t offset;
	uint32_t region, count; /* count ≤ 8 */
	uint8_t data[8];
};
static_assert(sizeof(struct vfio_user_write) == 24, "as specified");

struct vfio_user_write_multi {
	uint64_t wr_cnt;
	struct vfio_user_write wrs[]; /* none in the reply */
};
static_assert(sizeof(struct vfio_user_write_multi) == 8, "as specified");

/* ---- DMA_READ and DMA_WRITE, server to client ---- */

/* As specified, and since QEMU 10.2 or so: data at offset 32 of the message. */
struct vfio_user_dma_access {
	uint64_t address, count;
	uint8_t data[];
};
static_assert(sizeof(struct vfio_user_dma_access) == 16, "as specified");

/* QEMU 10.1: data at offset 28.  Its messages without data are still padded to 32 bytes, and its
 * replies to DMA_READ are 32 bytes and the data long. */
struct vfio_user_dma_access32 {
	uint64_t address;
	uint32_t count;
	uint8_t data[];
} __attribute__((packed, aligned(4)));
static_assert(offsetof(struct vfio_user_dma_access32, data) == 12, "as QEMU 10.1 has it");

/* ---- DEVICE_FEATURE, MIG_DATA_READ, MIG_DATA_WRITE ---- */

/* struct vfio_device_feature of linux/vfio.h */
static_assert(sizeof(struct vfio_device_feature) == 8, "as specified");

struct vfio_user_mig_data {
	uint32_t argsz, size;
	uint8_t data[];
};
static_assert(sizeof(struct vfio_user_mig_data) == 8, "as specified");

/* ---- helpers ---- */

/* As many fds the kernel takes in one message (SCM_MAX_FD). */
#define VFIO_USER_MAX_FDS 253

static inline bool vfio_user_is_reply(const struct vfio_user_header *h)
{
	return (h->flags & VFIO_USER_TYPE_MASK) == VFIO_USER_TYPE_REPLY;
}

/* The header that answers @request with @size bytes in all; @error 0: success. */
static inline struct vfio_user_header vfio_user_reply(const struct vfio_user_header *request,
						      uint32_t size, uint32_t error)
{
	struct vfio_user_header reply = {
		.id = request->id,
		.command = request->command,
		.size = size,
		.flags = VFIO_USER_TYPE_REPLY | (error ? VFIO_USER_ERROR : 0),
		.error = error,
	};

	return reply;
}

#endif

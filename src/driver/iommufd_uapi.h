/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The part of the kernel's iommufd interface that the driver side uses (D.3), and the calls of the
 * VFIO character device.  Debian 12's headers are from Linux 6.1, which has neither.
 */
#ifndef UVFIO_DRIVER_IOMMUFD_UAPI_H
#define UVFIO_DRIVER_IOMMUFD_UAPI_H

#include <linux/ioctl.h>
#include <stdint.h>

#define DRV_DESTROY     _IO(';', 0x80)
#define DRV_IOAS_ALLOC  _IO(';', 0x81)
#define DRV_IOVA_RANGES _IO(';', 0x84)
#define DRV_IOAS_MAP    _IO(';', 0x85)
#define DRV_IOAS_UNMAP  _IO(';', 0x86)
#define DRV_IOAS_MAP_FILE _IO(';', 0x8f)
#define DRV_BIND        _IO(';', 100 + 18)
#define DRV_ATTACH      _IO(';', 100 + 19)
#define DRV_DETACH      _IO(';', 100 + 20)

struct drv_destroy {
	uint32_t size, id;
};

struct drv_ioas_alloc {
	uint32_t size, flags, ioas;
};

struct drv_iova_range {
	uint64_t start, last;
};

struct drv_iova_ranges {
	uint32_t size, ioas, nr, reserved;
	uint64_t ranges; /* address of struct drv_iova_range[nr] */
	uint64_t alignment;
};

#define DRV_MAP_FIXED 1u
#define DRV_MAP_WRITE 2u
#define DRV_MAP_READ  4u

struct drv_ioas_map {
	uint32_t size, flags, ioas, reserved;
	uint64_t addr, length, iova;
};

struct drv_ioas_map_file {
	uint32_t size, flags, ioas;
	int32_t fd;
	uint64_t start, length, iova;
};

struct drv_ioas_unmap {
	uint32_t size, ioas;
	uint64_t iova, length;
};

#define DRV_BIND_TOKEN 1u

struct drv_bind {
	uint32_t argsz, flags;
	int32_t iommufd;
	uint32_t devid;
	uint64_t token; /* address of 16 bytes; only with DRV_BIND_TOKEN */
};

struct drv_attach {
	uint32_t argsz, flags, pt;
};

struct drv_detach {
	uint32_t argsz, flags;
};

_Static_assert(sizeof(struct drv_destroy) == 8 && sizeof(struct drv_ioas_alloc) == 12 &&
		       sizeof(struct drv_iova_ranges) == 32 && sizeof(struct drv_ioas_map) == 40 &&
		       sizeof(struct drv_ioas_map_file) == 40 &&
		       sizeof(struct drv_ioas_unmap) == 24 && sizeof(struct drv_bind) == 24 &&
		       sizeof(struct drv_attach) == 12 && sizeof(struct drv_detach) == 8,
	       "the kernel's layouts");

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernel's iommufd interface (D.3) and the calls of a device's character device (C): numbers
 * and layouts.  Debian 12's headers are from Linux 6.1, which has neither.
 */
#ifndef UVFIO_VFIO_IOMMUFD_UAPI_H
#define UVFIO_VFIO_IOMMUFD_UAPI_H

#include <stdint.h>

#define IOMMUFD_FIRST 0x80u /* the low byte of the first command */

enum {
	IOMMUFD_DESTROY = 0x3b80,
	IOMMUFD_IOAS_ALLOC,
	IOMMUFD_ALLOW_IOVAS,
	IOMMUFD_COPY,
	IOMMUFD_IOVA_RANGES,
	IOMMUFD_MAP,
	IOMMUFD_UNMAP,
	IOMMUFD_OPTION,
	IOMMUFD_VFIO_IOAS,
	IOMMUFD_HWPT_ALLOC,
	IOMMUFD_GET_HW_INFO,
	IOMMUFD_SET_DIRTY,
	IOMMUFD_GET_DIRTY,
	IOMMUFD_INVALIDATE,
	IOMMUFD_FAULT_QUEUE,
	IOMMUFD_MAP_FILE,
	IOMMUFD_VIOMMU_ALLOC,
	IOMMUFD_VDEVICE_ALLOC,
	IOMMUFD_CHANGE_PROCESS,
	IOMMUFD_VEVENTQ_ALLOC,
	IOMMUFD_HW_QUEUE_ALLOC,
	IOMMUFD_END,
};

struct iommufd_destroy {
	uint32_t size, id;
};

struct iommufd_ioas_alloc {
	uint32_t size, flags, out_ioas_id;
};

struct iommufd_iova_range {
	uint64_t start, last;
};

struct iommufd_allow_iovas {
	uint32_t size, ioas_id, num_iovas, reserved;
	uint64_t iovas; /* address of struct iommufd_iova_range[] */
};

struct iommufd_iova_ranges {
	uint32_t size, ioas_id, num_iovas, reserved;
	uint64_t iovas, out_alignment;
};

#define IOMMUFD_MAP_FIXED 1u
#define IOMMUFD_MAP_WRITE 2u
#define IOMMUFD_MAP_READ  4u

struct iommufd_map {
	uint32_t size, flags, ioas_id, reserved;
	uint64_t addr, length, iova;
};

struct iommufd_map_file {
	uint32_t size, flags, ioas_id;
	int32_t fd;
	uint64_t start, length, iova;
};

struct iommufd_copy {
	uint32_t size, flags, dst_ioas_id, src_ioas_id;
	uint64_t length, dst_iova, src_iova;
};

struct iommufd_unmap {
	uint32_t size, ioas_id;
	uint64_t iova, length;
};

#define IOMMUFD_OPTION_RLIMIT 0u
#define IOMMUFD_OPTION_HUGE   1u
#define IOMMUFD_OPTION_SET    0u
#define IOMMUFD_OPTION_GET    1u

struct iommufd_option {
	uint32_t size, option_id;
	uint16_t op, reserved;
	uint32_t object_id;
	uint64_t value;
};

#define IOMMUFD_VFIO_IOAS_GET   0u
#define IOMMUFD_VFIO_IOAS_SET   1u
#define IOMMUFD_VFIO_IOAS_CLEAR 2u

struct iommufd_vfio_ioas {
	uint32_t size, ioas_id;
	uint16_t op, reserved;
};

#define IOMMUFD_HWPT_DIRTY 2u

struct iommufd_hwpt_alloc {
	uint32_t size, flags, dev_id, pt_id, out_hwpt_id, reserved, data_type, data_len;
	uint64_t data;
	uint32_t fault_id, reserved2;
};

#define IOMMUFD_HW_INFO_INPUT_TYPE 1u
#define IOMMUFD_HW_CAP_DIRTY       1u /* of ->out_capabilities */

struct iommufd_hw_info {
	uint32_t size, flags, dev_id, data_len;
	uint64_t data;
	uint32_t data_type; /* out, and in with INPUT_TYPE */
	uint8_t out_max_pasid_log2, reserved[3];
	uint64_t out_capabilities;
};

#define IOMMUFD_DIRTY_ENABLE   1u
#define IOMMUFD_DIRTY_NO_CLEAR 1u

struct iommufd_set_dirty {
	uint32_t size, flags, hwpt_id, reserved;
};

struct iommufd_get_dirty {
	uint32_t size, hwpt_id, flags, reserved;
	uint64_t iova, length, page_size, data;
};

struct iommufd_invalidate {
	uint32_t size, hwpt_id;
	uint64_t data;
	uint32_t data_type, entry_len, entry_num, reserved;
};

struct iommufd_fault_queue {
	uint32_t size, flags, out_fault_id, out_fault_fd;
};

struct iommufd_viommu_alloc {
	uint32_t size, flags, type, dev_id, hwpt_id, out_viommu_id, data_len, reserved;
	uint64_t data;
};

struct iommufd_vdevice_alloc {
	uint32_t size, viommu_id, dev_id, out_vdevice_id;
	uint64_t virt_id;
};

struct iommufd_change_process {
	uint32_t size, reserved;
};

struct iommufd_veventq_alloc {
	uint32_t size, flags, viommu_id, type, depth, out_veventq_id, out_veventq_fd, reserved;
};

struct iommufd_hw_queue_alloc {
	uint32_t size, flags, viommu_id, type, index, out_hw_queue_id;
	uint64_t iova, length;
};

/* ---- of a device ---- */

#define VFIO_CDEV_BIND       0x3b76
#define VFIO_CDEV_ATTACH     0x3b77
#define VFIO_CDEV_DETACH     0x3b78

#define VFIO_CDEV_BIND_TOKEN 1u
#define VFIO_CDEV_PASID      1u /* of ATTACH and DETACH */

struct vfio_cdev_bind {
	uint32_t argsz, flags;
	int32_t iommufd;
	uint32_t out_devid;
	uint64_t token; /* address of 16 bytes */
};

struct vfio_cdev_attach {
	uint32_t argsz, flags, pt_id, pasid;
};

struct vfio_cdev_detach {
	uint32_t argsz, flags, pasid;
};

_Static_assert(
	sizeof(struct iommufd_ioas_alloc) == 12 && sizeof(struct iommufd_iova_ranges) == 32 &&
		sizeof(struct iommufd_map) == 40 && sizeof(struct iommufd_map_file) == 40 &&
		sizeof(struct iommufd_copy) == 40 && sizeof(struct iommufd_unmap) == 24 &&
		sizeof(struct iommufd_option) == 24 && sizeof(struct iommufd_vfio_ioas) == 12 &&
		sizeof(struct iommufd_hwpt_alloc) == 48 && sizeof(struct iommufd_hw_info) == 40 &&
		sizeof(struct iommufd_get_dirty) == 48 && sizeof(struct vfio_cdev_bind) == 24,
	"the kernel's layouts");

#endif

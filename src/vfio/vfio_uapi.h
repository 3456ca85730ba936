/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernel's VFIO interface, with what older installed headers lack (Debian 12's linux/vfio.h is
 * from Linux 6.1).
 */
#ifndef UVFIO_VFIO_VFIO_UAPI_H
#define UVFIO_VFIO_VFIO_UAPI_H

#include <stdint.h>
#include <linux/vfio.h>

/* Capability of GET_INFO: PCIe atomic completer widths (Linux 6.6). */
#ifndef VFIO_DEVICE_INFO_CAP_PCI_ATOMIC_COMP
#define VFIO_DEVICE_INFO_CAP_PCI_ATOMIC_COMP 5
#endif

#ifndef VFIO_DEVICE_FEATURE_MIG_DATA_SIZE
#define VFIO_DEVICE_FEATURE_MIG_DATA_SIZE 9
#endif
#ifndef VFIO_DEVICE_FEATURE_BUS_MASTER
#define VFIO_DEVICE_FEATURE_BUS_MASTER 10
#endif
#ifndef VFIO_DEVICE_FEATURE_DMA_BUF
#define VFIO_DEVICE_FEATURE_DMA_BUF 11
#endif
/* What follows its header, under names of our own; then come the ranges. */
struct uvfio_feature_dma_buf {
	uint32_t region_index, open_flags, flags, nr_ranges;
};
struct uvfio_feature_dma_buf_range {
	uint64_t offset, length; /* bytes, in the region */
};
#define UVFIO_DEVICE_FEATURE_MIG_PRECOPY_INFO_V2 12
struct uvfio_feature_mig_data_size {
	uint64_t stop_copy_length; /* bytes */
};
/* What is asked of a file of migration data (Linux 6.2). */
struct uvfio_precopy_info {
	uint32_t argsz, flags;
	uint64_t initial_bytes, dirty_bytes;
};
#define UVFIO_MIG_GET_PRECOPY_INFO _IO(VFIO_TYPE, VFIO_BASE + 21)

/* The migration region (E.1), which newer headers have forgotten. */
#define UVFIO_REGION_TYPE_MIGRATION    3
#define UVFIO_REGION_SUBTYPE_MIGRATION 1
struct uvfio_mig_region {
	uint32_t device_state, reserved;
	uint64_t pending_bytes, data_offset, data_size;
};
#define UVFIO_MIG_REGION_RUNNING  (1u << 0)
#define UVFIO_MIG_REGION_SAVING   (1u << 1)
#define UVFIO_MIG_REGION_RESUMING (1u << 2)
/* Proposed, in no kernel: the bit is there where the region has the capability. */
#define UVFIO_MIG_REGION_NDMA                (1u << 3)
#define UVFIO_REGION_INFO_CAP_MIGRATION_NDMA 6

/* Flags of HOT_RESET_INFO (Linux 6.5), for devices opened by character device. */
#ifndef VFIO_PCI_HOT_RESET_FLAG_DEV_ID
#define VFIO_PCI_HOT_RESET_FLAG_DEV_ID       (1 << 0)
#define VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED (1 << 1)
#endif

#endif

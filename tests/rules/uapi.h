/* SPDX-License-Identifier: BSD-3-Clause */
/* What the oldest supported linux/vfio.h (6.1) does not define yet. */
#ifndef RULES_UAPI_H
#define RULES_UAPI_H

#include <stdint.h>
#include <linux/vfio.h>

#ifndef VFIO_DEVICE_FEATURE_MIG_DATA_SIZE
#define VFIO_DEVICE_FEATURE_MIG_DATA_SIZE 9
#endif
#ifndef VFIO_DEVICE_FEATURE_BUS_MASTER
#define VFIO_DEVICE_FEATURE_BUS_MASTER 10
#endif
#ifndef VFIO_DEVICE_FEATURE_DMA_BUF
#define VFIO_DEVICE_FEATURE_DMA_BUF 11
#endif
/* Its payload (D.4), under names of our own: ranges follow. */
struct export_request {
	uint32_t region_index, open_flags, flags, nr_ranges;
};
struct export_range {
	uint64_t offset, length;
};
#ifndef VFIO_DEVICE_INFO_CAP_PCI_ATOMIC_COMP
#define VFIO_DEVICE_INFO_CAP_PCI_ATOMIC_COMP 5
#endif

/* The number of an ioctl as A.1 counts them. */
#define VFIO_NR(n) _IO(VFIO_TYPE, VFIO_BASE + (n))

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * DMA logging (E.4): which pages a device has written, for a client that copies its memory
 * meanwhile.  The log itself is iommu/dirty.h; here are the rules of START, STOP and REPORT, and
 * when the log of a device begins and ends.  A hardware page table of iommufd has a log of the same
 * kind, of what its devices write (D.3; iommufd_hwpt.c has the rules).
 *
 * A log lives until STOP or until the device is closed; a reset does not end it.  DMA marks under
 * RCU.  A report holds a reference, and no lock, while it writes to the client, so STOP waits for
 * nobody, and no report for another.
 */
#ifndef UVFIO_VFIO_DMA_LOG_H
#define UVFIO_VFIO_DMA_LOG_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct dma_log;
struct vfio_client;

struct dma_logging {
	pthread_mutex_t lock; /* guards who changes @log; not held across a call into the client */
	struct dma_log *log;  /* NULL: off; read under RCU */
};

void dma_logging_init(struct dma_logging *logging);
void dma_logging_fini(struct dma_logging *logging);

/* E.4; the structure of the call is at the client's address @data. */
int dma_logging_start(struct dma_logging *logging, struct vfio_client *client, uint64_t data);
int dma_logging_report(struct dma_logging *logging, struct vfio_client *client, uint64_t data);
/* Also when nothing is logged. */
void dma_logging_stop(struct dma_logging *logging);

/* D.3: log everything, in the smallest pages; what was logged is forgotten.  -ENOMEM and nothing is
 * changed. */
int dma_logging_restart(struct dma_logging *logging);
/* Add what was logged of [@iova, @last] to the client's bitmap at @bitmap, in pages of @page_size
 * bytes (a power of two), and without @keep forget it; nothing when nothing is logged.  0, -EFAULT
 * (iommu/dirty.h). */
int dma_logging_read(struct dma_logging *logging, struct vfio_client *client, uint64_t iova,
		     uint64_t last, uint64_t page_size, uint64_t bitmap, bool keep);

/* [@iova, +@len) has been written.  Any thread, and cheap when nothing is logged. */
void dma_logging_write(struct dma_logging *logging, uint64_t iova, uint64_t len);
static inline void dma_logging_mark(struct dma_logging *logging, uint64_t iova, uint64_t len)
{
	if (__builtin_expect(__atomic_load_n(&logging->log, __ATOMIC_RELAXED) != NULL, 0))
		dma_logging_write(logging, iova, len);
}

#endif

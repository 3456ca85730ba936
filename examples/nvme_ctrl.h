/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A small NVMe driver on uvfio/driver.h: a controller, queue pairs, commands with data of up to 2
 * MiB. It runs over the kernel's VFIO and over vfio-user alike.
 *
 * Threads: a queue pair belongs to one thread at a time, the rest to the thread that opened the
 * controller.  Functions print what went wrong to stderr and return -errno.
 */
#ifndef EXAMPLES_NVME_CTRL_H
#define EXAMPLES_NVME_CTRL_H

#include <stdbool.h>
#include <stdint.h>
#include <uvfio/driver.h>

#define NVME_PAGE       4096u
#define NVME_MAX_QUEUES 64u /* I/O queue pairs */

enum { NVME_FLUSH = 0x00, NVME_WRITE = 0x01, NVME_READ = 0x02 };

struct nvme_sqe {
	uint8_t opcode, flags;
	uint16_t id;
	uint32_t nsid, rsvd[4];
	uint64_t prp1, prp2;
	uint32_t dw[6]; /* command dwords 10 to 15 */
};

struct nvme_cqe {
	uint32_t result, rsvd;
	uint16_t sq_head, sq_id, id, status; /* bit 0 of the status is the phase */
};

struct nvme_ctrl;

struct nvme_queue {
	struct nvme_ctrl *ctrl;
	unsigned id, entries, tail, head;
	uint16_t phase;
	struct nvme_sqe *sqes;
	struct nvme_cqe *cqes;
	struct uvfio_pci_mem mem;  /* submission queue, completion queue, a page of PRPs a slot */
	struct uvfio_pci_mem data; /* ->slots buffers of ->slot_size bytes */
	unsigned slots;
	size_t slot_size;
	int irq; /* eventfd of its vector, -1: polled */
};

struct nvme_ctrl {
	struct uvfio_pci *dev;
	unsigned stride;     /* bytes between doorbells */
	unsigned timeout_ms; /* of becoming ready */
	struct nvme_queue admin;
	struct nvme_queue io[NVME_MAX_QUEUES];
	unsigned nr_queues, slots; /* of each I/O queue */
	bool irqs;
	struct uvfio_dma_space *space; /* where its memory stays when it is closed; NULL: nowhere */
	char model[41], serial[21], firmware[9];
	uint64_t blocks; /* of namespace 1 */
	unsigned block_size;
	size_t max_transfer; /* bytes in one command */
};

struct nvme_config {
	const char *options;    /* of uvfio_pci_open() */
	struct uvfio_dma_space *space; /* NULL: of its own */
	unsigned queues, slots; /* I/O queue pairs, and commands in flight in each */
	size_t slot_size;       /* bytes of data of one command; whole pages */
	bool irqs;              /* MSI-X or MSI instead of polling */
	bool map;               /* map BAR 0 */
};

/* Open @device and bring the controller up. */
int nvme_open(struct nvme_ctrl *c, const char *device, const struct nvme_config *config);
/* Bring it up from any state: after a reset, or when the server was lost and is there again. */
int nvme_start(struct nvme_ctrl *c);
void nvme_close(struct nvme_ctrl *c);
/* Has a vfio-user server gone? */
bool nvme_lost(const struct nvme_ctrl *c);

/* Run an admin command to its end: 0 or -errno. */
int nvme_admin(struct nvme_ctrl *c, struct nvme_sqe sqe, const char *what);

/* The buffer of @slot. */
static inline void *nvme_buffer(const struct nvme_queue *q, unsigned slot)
{
	return (char *)q->data.addr + slot * q->slot_size;
}

/* Put a command for @bytes of @slot's buffer at block @lba into the queue; @slot must be free.  No
 * doorbell: nvme_ring(). */
void nvme_queue_rw(struct nvme_queue *q, uint8_t opcode, unsigned slot, uint64_t lba, size_t bytes);
int nvme_ring(struct nvme_queue *q);
/* Take the next completion if there is one: its slot into *@slot, the status field into *@status.
 */
bool nvme_reap(struct nvme_queue *q, unsigned *slot, unsigned *status);
/* Give the entries that were reaped back to the controller. */
int nvme_reaped(struct nvme_queue *q);
/* Wait until something may have completed: for an interrupt, or not at all when polled.  -ENOTCONN
 * when the server has gone, -ETIMEDOUT after 30 s without an interrupt. */
int nvme_wait(struct nvme_queue *q);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A small polling NVMe driver on plain VFIO, for benchmarks and client tests.  One I/O queue pair,
 * no interrupts, one page a command.  Ends the process with a message on any error: for tests only.
 */
#ifndef TESTS_SUPPORT_NVME_CLIENT_H
#define TESTS_SUPPORT_NVME_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#define NVME_PAGE    4096ul
#define NVME_ENTRIES 256u /* of the I/O queues */
#define NVME_SLOTS   64u  /* commands in flight, each with a data page */

struct nvme_sqe {
	uint32_t cdw0, nsid;
	uint64_t rsvd, mptr, prp1, prp2;
	uint32_t dw[6];
};

struct nvme_cqe {
	uint32_t result, rsvd;
	uint16_t sq_head, sq_id, id, status;
};

struct nvme_client {
	volatile uint8_t *bar;
	uint8_t *mem; /* DMA memory */
	unsigned stride, admin_tail, admin_head, admin_phase;
	unsigned tail, head, phase;
	uint64_t pages; /* 4 KiB pages in namespace 1 */
	unsigned lba_shift;
	int device;
};

/* Open @bdf, enable the controller, make the queues.  @anon: private memory instead of a memfd. */
void nvme_client_open(struct nvme_client *c, const char *bdf, bool anon);
/* Only the first part of that: open the device, map BAR 0's registers and doorbells; the controller is left alone. */
void nvme_client_attach(struct nvme_client *c, const char *bdf, bool anon);
/* Run one admin command to its end; returns its status field. */
unsigned nvme_client_admin(struct nvme_client *c, struct nvme_sqe sqe);
/* The data page of a slot. */
void *nvme_client_data(struct nvme_client *c, unsigned slot);
/* Its address for the controller. */
uint64_t nvme_client_iova(unsigned slot);
/* Put a command for 4 KiB page @page into the queue with @slot as its identifier and data page; no
 * doorbell.  @opcode 0 flush, 1 write, 2 read; @fua for writes. */
void nvme_client_queue(struct nvme_client *c, uint8_t opcode, unsigned slot, uint64_t page,
		       bool fua);
/* Ring the submission doorbell. */
void nvme_client_submit(struct nvme_client *c);
/* Take completions that are there: fills @slots, returns how many, rings the completion doorbell. A
 * failed command ends the process unless @status is given. */
unsigned nvme_client_reap(struct nvme_client *c, uint16_t slots[NVME_SLOTS], uint16_t *status);

#endif

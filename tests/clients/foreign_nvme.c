// SPDX-License-Identifier: BSD-3-Clause
/* The NVMe driver behind each of the other clients: a guest's, or SPDK's own. */
#include "foreign.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "support/nvme_client.h"

#define CAP     0x00
#define CC      0x14
#define CSTS    0x1c
#define AQA     0x24
#define ASQ     0x28
#define ACQ     0x30
#define DOORS   0x1000

#define ENTRIES 16u
#define BLOCKS  8u /* of 512 bytes in a page */

enum { ADMIN, IO };

static bool late(const struct timespec *since)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec - since->tv_sec > WIRE_PATIENCE / 1000;
}

static uint32_t get(struct foreign_nvme *n, uint32_t offset)
{
	uint32_t value = 0;

	n->read(n->client, offset, &value, sizeof(value));
	return value;
}

static void put(struct foreign_nvme *n, uint32_t offset, uint32_t value)
{
	n->write(n->client, offset, &value, sizeof(value));
}

static void put8(struct foreign_nvme *n, uint32_t offset, uint64_t value)
{
	n->write(n->client, offset, &value, sizeof(value));
}

static void await_status(struct foreign_nvme *n, uint32_t mask, uint32_t value)
{
	struct timespec since;

	clock_gettime(CLOCK_MONOTONIC, &since);
	while ((get(n, CSTS) & mask) != value)
		NEED(!late(&since));
}

/* Queue @i has page 2 @i for its commands, and the next for completions. */
static uint8_t *ring(struct foreign_nvme *n, unsigned i, bool completions)
{
	return n->queues->at + (2 * i + completions) * FOREIGN_PAGE;
}

static uint64_t ring_iova(struct foreign_nvme *n, unsigned i, bool completions)
{
	return n->queues->iova + (2 * i + completions) * FOREIGN_PAGE;
}

static void door(struct foreign_nvme *n, unsigned i, bool completions, uint32_t value)
{
	unsigned at = 2 * i + completions;

	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (n->doorbells)
		n->doorbells[at] = value;
	else
		put(n, DOORS + 4 * at, value);
}

static void fresh(struct foreign_nvme *n, unsigned i)
{
	n->tail[i] = n->head[i] = 0;
	n->phase[i] = 1;
	memset(ring(n, i, false), 0, 2 * FOREIGN_PAGE);
}

static void await_irq(int irq)
{
	struct pollfd p = {.fd = irq, .events = POLLIN};
	uint64_t count;

	NEED(poll(&p, 1, WIRE_PATIENCE) == 1);
	NEED(read(irq, &count, sizeof(count)) == sizeof(count));
}

/* One command and its completion: by interrupt where there is one. */
static void command(struct foreign_nvme *n, unsigned i, struct nvme_sqe sqe)
{
	volatile struct nvme_cqe *cqe = (volatile struct nvme_cqe *)ring(n, i, true) + n->head[i];
	int irq = i == ADMIN ? n->admin_irq : n->io_irq;
	struct timespec since;

	sqe.cdw0 |= (0x40u + n->tail[i]) << 16;
	memcpy(ring(n, i, false) + n->tail[i] * sizeof(sqe), &sqe, sizeof(sqe));
	n->tail[i] = (n->tail[i] + 1) % ENTRIES;
	door(n, i, false, n->tail[i]);
	if (irq >= 0)
		await_irq(irq);
	clock_gettime(CLOCK_MONOTONIC, &since);
	while ((__atomic_load_n(&cqe->status, __ATOMIC_ACQUIRE) & 1) != n->phase[i]) {
		NEED(!late(&since));
		if (irq >= 0) {
			/* INTx, a second time for the command before: look, and wait again. */
			get(n, CSTS);
			await_irq(irq);
		} else {
			sched_yield();
		}
	}
	NEED(cqe->status >> 1 == 0);
	NEED(cqe->id == sqe.cdw0 >> 16 && cqe->sq_id == i);
	n->head[i] = (n->head[i] + 1) % ENTRIES;
	n->phase[i] ^= !n->head[i];
	door(n, i, true, n->head[i]);
}

void foreign_nvme_enable(struct foreign_nvme *n)
{
	uint64_t cap = 0;

	n->read(n->client, CAP, &cap, sizeof(cap));
	NEED((cap & 0xffff) + 1 >= ENTRIES); /* MQES */
	NEED(!(cap >> 32 & 0xf));            /* stride */
	NEED(!(get(n, CC) & 1) && !(get(n, CSTS) & 1));
	fresh(n, ADMIN);
	put8(n, ASQ, ring_iova(n, ADMIN, false));
	put8(n, ACQ, ring_iova(n, ADMIN, true));
	put(n, AQA, (ENTRIES - 1) << 16 | (ENTRIES - 1));
	put(n, CC, 4 << 20 | 6 << 16 | 1);
	await_status(n, 1, 1);
}

void foreign_nvme_identify(struct foreign_nvme *n)
{
	memset(n->data, 0, FOREIGN_PAGE);
	command(n, ADMIN, (struct nvme_sqe){.cdw0 = 0x06, .prp1 = n->data_iova, .dw = {1}});
	NEED(n->data[0] || n->data[1]); /* vendor */
}

void foreign_nvme_io(struct foreign_nvme *n, uint8_t seed)
{
	const uint64_t source = n->data_iova, target = source + 2 * FOREIGN_PAGE;
	const uint32_t interrupts = n->io_irq >= 0 ? n->vector << 16 | 2 : 0;

	fresh(n, IO);
	command(n, ADMIN,
		(struct nvme_sqe){.cdw0 = 0x05,
				  .prp1 = ring_iova(n, IO, true),
				  .dw = {(ENTRIES - 1) << 16 | 1, interrupts | 1}});
	command(n, ADMIN,
		(struct nvme_sqe){.cdw0 = 0x01,
				  .prp1 = ring_iova(n, IO, false),
				  .dw = {(ENTRIES - 1) << 16 | 1, 1 << 16 | 1}});
	for (unsigned i = 0; i < 2 * ENTRIES; i++) {
		uint32_t lba = i * BLOCKS;

		for (unsigned b = 0; b < FOREIGN_PAGE; b++)
			n->data[b] = (uint8_t)(seed + i + b * 7);
		memset(n->data + 2 * FOREIGN_PAGE, 0, FOREIGN_PAGE);
		command(n, IO,
			(struct nvme_sqe){.cdw0 = 0x01,
					  .nsid = 1,
					  .prp1 = source,
					  .dw = {lba, 0, BLOCKS - 1}});
		command(n, IO,
			(struct nvme_sqe){.cdw0 = 0x02,
					  .nsid = 1,
					  .prp1 = target,
					  .dw = {lba, 0, BLOCKS - 1}});
		NEED(!memcmp(n->data, n->data + 2 * FOREIGN_PAGE, FOREIGN_PAGE));
	}
}

void foreign_nvme_disable(struct foreign_nvme *n)
{
	put(n, CC, get(n, CC) & ~1u);
	await_status(n, 1, 0);
}

void foreign_nvme_shutdown(struct foreign_nvme *n)
{
	put(n, CC, (get(n, CC) & ~(3u << 14)) | 1u << 14);
	await_status(n, 3 << 2, 2 << 2);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device without a core: everything of uvfio/device.h that the I/OAT engine calls, over plain
 * memory, and a small driver.  Transfers complete at once or when the test lets them.
 *
 * With IOAT_TEST_DMA=late in the environment client memory is like a peer's (iommu/peer.h): nothing
 * can be pinned, and every transfer completes later.  The tests are run so once more.
 */
#ifndef UVFIO_TESTS_IOAT_HARNESS_H
#define UVFIO_TESTS_IOAT_HARNESS_H

#include <stdbool.h>
#include <stdint.h>
#include <uvfio/device.h>

#include "devices/ioat/ioat_spec.h"
#include "model_core.h"
#include "model_stream.h"

#define H_MEM_BASE 0x1000000ull /* IOVA of the first byte of client memory */
#define H_MEM_SIZE (16u << 20)
#define H_RING     64u /* descriptors */

struct harness;

struct uvfio_device {
	struct harness *h;
};

struct harness {
	struct uvfio_device dev;
	void *priv;
	struct uvfio_pci_desc desc;
	struct uvfio_area areas[16];
	unsigned nr_areas;
	struct uvfio_config_area config; /* len 0: none */
	uint32_t config_regs[2];
	uint8_t *mem;
	uint64_t alloc;
	uint64_t regs[IOAT_BAR_SIZE / 8];
	bool kicked, in_ctx, more;

	/* DMA */
	bool bus_master;
	bool late;                 /* transfers complete later, and nothing can be pinned */
	bool hold_dma;             /* not even when the harness runs */
	bool split_pin;            /* pieces of at most a page */
	uint64_t fault, fault_end; /* -EFAULT */
	uint64_t gone, gone_end;   /* -EIO */
	struct model_transfers transfers;
	unsigned nr_pending, nr_dma, nr_pins, nr_pinned;

	/* interrupts */
	bool paused; /* none is raised, and no transfer is started */
	bool message;
	unsigned irqs[8];
	bool intx;

	unsigned quiesced;
	struct model_clock clock;
	struct model_stat stat; /* what h_stat() looks for */

	/* the driver's: a ring for each channel */
	uint64_t ring[4], cmp[4];
	uint16_t head[4];
};

/* A device with the options of @args ("channels=2,delay=10us").  NULL, with h_last_error(), when it
 * cannot be made. */
struct harness *h_new(const char *args);
void h_free(struct harness *h);
const char *h_last_error(void);
bool h_late(void);

uint64_t h_alloc(struct harness *h, size_t size, size_t align);
void *h_ptr(struct harness *h, uint64_t iova);
uint64_t h_stat(struct harness *h, const char *what); /* "errors{channel=0,error=source}" */

/* Registers, as a client reads and writes them. */
void h_write(struct harness *h, uint64_t offset, unsigned size, uint64_t value);
uint64_t h_read(struct harness *h, uint64_t offset, unsigned size);

void h_run(struct harness *h);
bool h_work(struct harness *h);
void h_complete_dma(struct harness *h, unsigned n);
void h_abandon_dma(struct harness *h, int status);
void h_advance(struct harness *h, uint64_t ns); /* time, then run */
void h_quiesce(struct harness *h);
void h_resume(struct harness *h);
void h_reset(struct harness *h, enum uvfio_reset_kind kind);
/* Quiet to be moved; what is with the core is given back as it would be. */
void h_pause(struct harness *h);
void h_continue(struct harness *h);
/* @from, which is paused, goes on as @to, which is new and has the same memory from now on. */
void h_move(struct harness *from, struct harness *to);

/* ---- the driver, on channel @ch ---- */

#define CH(ch, reg) (IOAT_CHANNEL(ch) + (reg))

/* Reset, completions and errors written to memory, a ring, CHAINADDR: armed. */
void h_start(struct harness *h, unsigned ch);
/* The descriptor that comes next in the ring, linked and zero; counted. */
struct ioat_desc *h_desc(struct harness *h, unsigned ch);
void h_copy(struct harness *h, unsigned ch, uint64_t src, uint64_t dst, uint32_t size,
	    uint32_t flags);
void h_ring(struct harness *h, unsigned ch); /* DMACOUNT, and run */
uint64_t h_desc_addr(struct harness *h, unsigned ch, unsigned index);
uint64_t h_completion(struct harness *h, unsigned ch); /* what was written to memory */
enum ioat_state h_state(struct harness *h, unsigned ch);

#endif

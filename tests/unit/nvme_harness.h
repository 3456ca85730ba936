/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device without a core: everything of uvfio/device.h and block/block.h that the NVMe controller
 * calls, over plain memory, and a small driver.  Completions of DMA and of the backend come at once
 * or when the test lets them; both can be made to fail.
 *
 * With NVME_TEST_DMA=late in the environment client memory is like a peer's (iommu/peer.h): nothing
 * can be pinned, and every transfer completes later, in any order.  The tests are run so once more.
 */
#ifndef UVFIO_TESTS_NVME_HARNESS_H
#define UVFIO_TESTS_NVME_HARNESS_H

#include <stdbool.h>
#include <stdint.h>
#include <uvfio/device.h>
#include <uvfio/migration.h>

#include "block/block.h"
#include "devices/nvme/nvme_spec.h"
#include "model_core.h"
#include "model_stream.h"

#define H_MEM_BASE 0x1000000ull /* IOVA of the first byte of client memory */
#define H_MEM_SIZE (32u << 20)
#define H_BAR_SIZE 0x8000
#define H_VECTORS  1024
#define H_QUEUES   520
#define H_FAULTS   8
#define H_BLOCKS   8
#define H_VFS      8

struct harness;

/* The storage behind a namespace, and how it behaves. */
struct block {
	struct harness *h;
	struct block *of; /* whose data it is (block_share()); itself when it is nobody else's */
	struct block_info info;
	uint8_t *data;    /* what a read sees */
	uint8_t *durable; /* what a crash leaves */
	bool direct;      /* block_direct() works */
	/* Fail the (@fail_after + 1)-th request of @fail_op with @fail_errno. */
	bool fail;
	enum block_op fail_op;
	unsigned fail_after;
	int fail_errno;
	void (*resize_fn)(void *arg);
	void *resize_arg;
	char note[BLOCK_NOTE_MAX + 1];
	uint64_t new_size; /* bytes: what BLOCK_GET_SIZE will find; 0: as it is */
	unsigned nr_ops[BLOCK_NR_OPS], nr_fua, nr_may_free;
	uint64_t discarded; /* bytes */
	int max_iov;        /* most pieces seen in a request */
	bool held;          /* its lock is here */
	bool other_has_it;  /* somebody else does: BLOCK_TAKE fails */
};

struct h_queue {
	uint64_t sq, cq;
	uint32_t size, cq_size;
	uint32_t tail, head;
	unsigned cqid;
	bool phase;
};

struct uvfio_ctx {
	struct harness *h;
};

struct uvfio_device {
	struct harness *h;
};

struct harness {
	struct uvfio_device dev;
	struct uvfio_ctx ctx;
	void *priv;
	struct uvfio_pci_desc desc;
	struct uvfio_area areas[8];
	unsigned nr_areas;
	struct uvfio_error err;
	uint8_t *mem;
	uint8_t *bar_memory[6]; /* of the BARs that are memory */
	uint64_t cmb_base;      /* where the driver has put the controller memory buffer */
	bool cmb_on;
	uint64_t alloc;
	uint64_t regs[H_BAR_SIZE / 8];
	bool kicked; /* atomically */
	bool in_ctx; /* the work context runs */
	bool more;

	/* DMA */
	bool bus_master;
	bool delay_dma;   /* complete later, in order */
	bool hold_dma;    /* not even when the harness runs */
	bool dma_shuffle; /* in any order, rather */
	unsigned seed;
	struct {
		uint64_t start, end;
	} faults[H_FAULTS];
	unsigned nr_faults;
	struct model_transfers transfers;
	unsigned nr_dma, nr_dma_pending, nr_dma_faults;
	bool no_pin;    /* -ENOTSUP */
	bool split_pin; /* pieces of at most a page */
	unsigned nr_pins, nr_pinned;

	/* interrupts */
	bool message;
	unsigned irqs[H_VECTORS];
	bool intx;
	unsigned intx_edges;

	unsigned quiesced;
	bool paused; /* uvfio_paused() */
	int moved;   /* what uvfio_migration_done() was called with; 1: nothing yet */
	struct model_clock clock;
	unsigned nr_errors_logged;

	struct model_stat stat; /* what h_stat() looks for */

	/* storage: as the next block_open() makes it, and those that are open */
	bool block_direct, block_async, hold_block;
	bool kick_completes; /* block_kick() completes what is not held, as a fast backend does */
	bool block_no_fua, block_no_discard, block_volatile;
	uint32_t block_align;
	bool block_no_note;
	bool block_taken;       /* by somebody else, when it is opened without its lock */
	const char *block_note; /* what block_note() finds */
	struct block *blocks[H_BLOCKS];
	unsigned nr_blocks;
	uint64_t file_size;  /* of the file that block_open() finds; 0: there is none */
	uint64_t read_ready; /* uvfio_reg_read_ready() */
	uint64_t read_ticket;
	void *io_head, *io_tail;
	unsigned nr_io_pending;

	/* SR-IOV: nvme_vf_harness.c */
	struct harness *pf; /* NULL: this is none of a VF */
	unsigned vf_index, vectors;
	struct harness *vfs[H_VFS];
	unsigned msix_pool, msix_max; /* the PF's, as described */

	/* the driver */
	struct h_queue q[H_QUEUES];
	uint16_t next_cid;
};

/* A device with the options of @args ("memory=1M,queues=4").  NULL, with h_last_error(), when it
 * cannot be made; @setup, if any, runs before. */
struct harness *h_new_with(const char *args, void (*setup)(struct harness *h));
struct harness *h_new(const char *args);
/* VF @index of @pf, with client memory of its own; NULL: the model made none.  h_free() before the
 * PF's. */
struct harness *h_new_vf(struct harness *pf, unsigned index);
/* Run @pf and its VFs until nothing moves. */
void h_run_all(struct harness *pf);
/* A reset of @pf, which resets its VFs while it is quiet. */
void h_reset_all(struct harness *pf, enum uvfio_reset_kind kind);
/* The host gives VF @index @n vectors, as far as there are any. */
void h_give_vectors(struct harness *pf, unsigned index, unsigned n);
/* What h_new_with() does but for the model; and what a PF's description says of VFs. */
struct harness *h_alloc_harness(void);
void h_take_sriov(struct harness *h, const struct uvfio_sriov_desc *sriov);
/* Is client memory like a peer's?  What a test counts in DMAs, pins and order is then otherwise. */
bool h_late(void);
void h_free(struct harness *h);
const char *h_last_error(void);

/* Client memory. */
uint64_t h_alloc(struct harness *h, size_t size, size_t align);
void *h_ptr(struct harness *h, uint64_t iova);
/* The controller memory buffer answers at @base: CMBMSC is set, and h_ptr() knows. */
void h_cmb_at(struct harness *h, uint64_t base);
/* What comes from h_alloc() from now on begins at @iova. */
void h_alloc_from(struct harness *h, uint64_t iova);
/* uvfio_copy() finds that a client has cut the memory off. */
void h_lose_memory(bool lost);
void h_fault(struct harness *h, uint64_t iova, size_t len);
void h_no_faults(struct harness *h);

/* What ->stats() reports: "queue_depth{queue=1}", "doorbells{}"; of a histogram, the count. */
uint64_t h_stat(struct harness *h, const char *what);

/* Registers. */
void h_write(struct harness *h, uint64_t offset, unsigned size, uint64_t value);
void h_write32(struct harness *h, uint64_t offset, uint32_t value);
uint32_t h_read32(struct harness *h, uint64_t offset);
uint64_t h_read64(struct harness *h, uint64_t offset);
/* PMRSTS: ask for it; and its value, when it is known (h->read_ready). */
uint64_t h_pmrsts_ask(struct harness *h);
uint32_t h_pmrsts(struct harness *h);

/* Run the work context until nothing moves. */
void h_run(struct harness *h);
/* One call of ->work(), if it was kicked. */
bool h_work(struct harness *h);
/* Complete all DMAs that are held with @status, or what comes of them, and run: what the core does
 * to a client that does not answer. */
void h_abandon_dma(struct harness *h, int status);
/* Complete @n DMAs, or backend requests, that are held. */
void h_complete_dma(struct harness *h, unsigned n);
void h_complete_io(struct harness *h, unsigned n);
void h_advance(struct harness *h, uint64_t ns);
/* Resets as the core does them: quiesce, wait, reset. */
void h_quiesce(struct harness *h);
/* The same, and until it is quiet. */
void h_quiet(struct harness *h);
void h_resume(struct harness *h);
/* Quiet, as a device that is moved: until it is.  h_resume() ends it. */
void h_pause(struct harness *h);
void h_reset(struct harness *h, enum uvfio_reset_kind kind);

/* nvme_move.c: a device that is paused and moved.  0 or -errno, with a message in h->err.  What is
 * in the stream that is saved into goes. */
int h_leave(struct harness *h);
int h_enter(struct harness *h);
void h_save(struct harness *h, struct model_stream *s);
int h_load(struct harness *h, const struct model_stream *s);
/* What is around the controller, client memory, storage and BAR memory, and the driver's knowledge
 * change places. */
void h_swap_world(struct harness *a, struct harness *b);
/* @from, which is paused, goes to @to with all that is around it, and stays paused. */
void h_move(struct harness *from, struct harness *to, struct model_stream *s);

/* The driver.  Doorbells: */
void h_ring_sq(struct harness *h, unsigned qid);
void h_ring_cq(struct harness *h, unsigned cqid);
/* Enable with admin queues of @entries; true when ready. */
bool h_enable(struct harness *h, unsigned entries);
void h_disable(struct harness *h);
/* Put @cmd into submission queue @qid (with a command identifier, which is returned), no doorbell.
 */
uint16_t h_push(struct harness *h, unsigned qid, const struct nvme_sqe *cmd);
/* Take a completion of completion queue @cqid, no doorbell: false when there is none. */
bool h_pop(struct harness *h, unsigned cqid, struct nvme_cqe *cqe);
/* A command from start to end: its status without phase, and More cleared. */
unsigned h_cmd(struct harness *h, unsigned qid, const struct nvme_sqe *cmd, struct nvme_cqe *cqe);
/* An admin command with a page of data, which *@data is set to; its status. */
unsigned h_admin(struct harness *h, uint8_t opcode, uint32_t nsid, uint32_t cdw10, uint32_t cdw11,
		 void **data, uint32_t *dw0);
/* Get Log Page into two pages filled with 5Ah. */
unsigned h_log(struct harness *h, unsigned id, uint32_t dwords, uint64_t offset, bool rae,
	       void **data);
/* Create I/O queue pair @qid. */
unsigned h_create_cq(struct harness *h, unsigned qid, unsigned entries, bool ien, unsigned vector);
unsigned h_create_sq(struct harness *h, unsigned qid, unsigned entries, unsigned cqid);
void h_create_pair(struct harness *h, unsigned qid, unsigned entries);
/* A new device, enabled, with one I/O queue pair. */
struct harness *h_ready(const char *args, void (*setup)(struct harness *h));

struct nvme_sqe h_rw(uint8_t opcode, uint32_t nsid, uint64_t slba, uint32_t nlb, uint64_t prp1,
		     uint64_t prp2);
#define DNR(status) ((status) | NVME_SC_DNR)

#endif

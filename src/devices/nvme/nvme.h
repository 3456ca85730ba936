/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The NVMe controller: internal structures.
 *
 * Theory of operation.  A client's register and doorbell writes are only recorded (regs.c); the
 * work context does everything else.  One pass of work: changes of CC first, then the doorbells,
 * then the submission queues in round-robin order, then the completions of all of that.
 *
 *   doorbell ─▶ fetch entries by one DMA (queue.c) ─▶ a request each ─▶ admin*.c or io.c
 *       ─▶ data pointer to segments (prp.c, sgl.c) ─▶ data (xfer.c: DMA, backend, or both)
 *       ─▶ nvme_complete() ─▶ entries of a completion queue by one DMA ─▶ one interrupt (irq.c)
 *
 * A request comes from a bounded pool; nothing is allocated for a command.  Everything that may
 * take long (DMA, backend) either is complete at once or calls back; between two such points a
 * request is a state machine.  All helpers that may be asynchronous return one of
 *
 *   NVME_DONE    it is done;
 *   NVME_PENDING it will be done: req->step() runs then, with req->status set on a failure;
 *   NVME_FAILED  it failed, req->status is set; req->step() does not run.
 *
 * Threads: everything belongs to the work context, except struct nvme_shared, which the threads
 * that write registers share with it.  There are no locks.
 */
#ifndef UVFIO_NVME_H
#define UVFIO_NVME_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <uvfio/device.h>

#include "block/block.h"
#include "devices/nvme/nvme_spec.h"

#define NVME_BAR        0

#define NVME_PCI_VENDOR 0x1234
#define NVME_PCI_DEVICE 0x4e56

enum {
	NVME_MAX_QUEUES = 511, /* I/O queue pairs: with the admin queues one page of doorbells */
	NVME_DEFAULT_QUEUES = 64,
	NVME_MAX_NAMESPACES = 256,
	NVME_QUEUE_ENTRIES = 4096, /* CAP.MQES + 1 */
	NVME_MDTS = 9,             /* 2 MiB, in units of 4 KiB pages */
	NVME_MAX_TRANSFER = 4096 << NVME_MDTS,
	NVME_MPSMAX = 4, /* 64 KiB pages */

	NVME_NR_REQS = 1024, /* commands in progress */
	NVME_ALL_REQS = NVME_NR_REQS + 2,
	NVME_CID_BYTES = 65536 / 8, /* a bit for each command identifier */
	NVME_FETCH_MAX = 32,        /* entries fetched by one DMA */
	NVME_POST_MAX = 16,         /* entries posted by one DMA; see queue.c */
	NVME_WORK_BUDGET = 256,     /* commands in one pass of work */
	NVME_SEGS_MAX = 768,        /* pieces of client memory that one command names */
	NVME_SGL_DESCS_MAX = 2048,  /* descriptors that one command may have */
	NVME_PINS_MAX = 32,         /* pieces pinned at a time */
	NVME_IOV_MAX = 64,
	NVME_SCRATCH = 4096,
	NVME_BOUNCE_SIZE = 128 * 1024,
	NVME_NR_BOUNCE = 32,
	NVME_ACWU = 1,              /* blocks that Compare and Write may have */
	NVME_BAD_RANGES_MAX = 4096, /* Write Uncorrectable: ranges remembered for a namespace */
	NVME_AERL = 3,              /* Async Event Request limit, 0's based */
	NVME_ERROR_ENTRIES = 64,
	NVME_ACL = 3,
	NVME_WARNING_TEMP = 343, /* K */
	NVME_CRITICAL_TEMP = 373,
};

enum nvme_async { NVME_DONE = 0, NVME_PENDING = 1, NVME_FAILED = -1 };

struct nvme_ctrl;
struct nvme_req;

STAILQ_HEAD(nvme_req_list, nvme_req);
TAILQ_HEAD(nvme_req_set, nvme_req);

/* A piece of client memory, or of nothing: data that an SGL bit bucket swallows. */
struct nvme_seg {
	uint64_t iova;
	uint32_t len;
	uint32_t bucket;
};

/* What a request needs only beyond the simplest transfers.  Apart, so that it costs no memory until
 * it is touched. */
struct nvme_req_mem {
	struct nvme_seg segs[NVME_SEGS_MAX];
	uint8_t scratch[NVME_SCRATCH] __attribute__((aligned(16))); /* a list being read; data of
								     * admin commands */
	struct uvfio_dma_pin pins[NVME_PINS_MAX];
	struct iovec iov[NVME_IOV_MAX];
};

/* What ->stats() reports; see stats.c. */
enum nvme_op {
	NVME_OP_READ,
	NVME_OP_WRITE,
	NVME_OP_FLUSH,
	NVME_OP_COMPARE,
	NVME_OP_VERIFY,
	NVME_OP_WRITE_ZEROES,
	NVME_OP_DSM,
	NVME_OP_WRITE_UNCORRECTABLE,
	NVME_OP_ADMIN,
	NVME_OP_ASYNC_EVENT, /* held for as long as nothing happens: apart from the others */
	NVME_OP_UNKNOWN,
	NVME_NR_OPS
};

#define NVME_NR_STATUS_TYPES 4

struct nvme_op_stats {
	struct uvfio_histogram latency;
	uint64_t bytes;
	uint64_t errors[NVME_NR_STATUS_TYPES]; /* by status code type; the last: any further */
};

struct nvme_ns_stats {
	uint64_t submitted, completed, flushes, errors;
};

struct nvme_stats {
	struct nvme_op_stats op[NVME_NR_OPS];
	uint64_t doorbells, interrupts, resets, fatals;
};

struct nvme_ns {
	uint32_t id;
	struct nvme_ctrl *ctrl;
	struct block *blk;
	uint64_t size; /* bytes, whole blocks */
	uint8_t shift; /* log2 of the block size */
	bool readonly;
	bool kick;                   /* block_kick() is due */
	bool formatting;             /* Format NVM has begun */
	bool changed;                /* in the changed namespace list */
	uint32_t mem_align;          /* what the backend asks of memory addresses */
	uint32_t align;              /* of the backend, ≤ 4096 */
	unsigned inflight;           /* commands in progress */
	struct nvme_req *format_req; /* Format NVM, waiting for these */
	/* Compare and Write has the namespace to itself; see fused.c. */
	bool fenced;            /* @fused is set or @waiters has some; counted in ctrl->nr_fenced */
	bool fused_running;     /* @fused has begun */
	struct nvme_req *fused; /* its Compare */
	struct nvme_req_list waiters;
	uint16_t tler; /* feature: error recovery, 100 ms */
	uint8_t uuid[16];
	struct nvme_ns_stats stats;
	/* Write Uncorrectable: ranges of blocks, ascending, apart. */
	struct nvme_bad_range {
		uint64_t start, end; /* in blocks; @end is behind it */
	} * bad;
	unsigned nr_bad;
};

enum nvme_req_state {
	NVME_REQ_FREE,
	NVME_REQ_ACTIVE,   /* in progress */
	NVME_REQ_WAITING,  /* for a bounce buffer */
	NVME_REQ_HELD,     /* an Asynchronous Event Request */
	NVME_REQ_FENCED,   /* for its partner, or because of a Compare and Write */
	NVME_REQ_COMPLETE, /* waiting for its completion entry */
	NVME_NR_REQ_STATES
};

struct nvme_req {
	enum nvme_req_state state;
	STAILQ_ENTRY(nvme_req) link; /* free list, completions of a CQ, waiters of either kind */
	TAILQ_ENTRY(nvme_req) sq_link;
	struct nvme_ctrl *ctrl;
	struct nvme_sq *sq;
	struct nvme_ns *ns; /* counted in its ->inflight */
	struct nvme_req_mem *mem;
	uint16_t status;
	uint64_t start_ns;     /* when it was fetched */
	uint64_t bytes;        /* that it names */
	uint16_t err_location; /* for the error log: byte 7:0, bit 10:8 of the command */
	uint32_t dw0;
	bool owns_cid;                /* its identifier is marked in sq->cids */
	struct nvme_req *fused_write; /* of a Compare: what follows it */
	bool ends_fence;              /* of that Write */
	struct nvme_sqe cmd;

	/* The data pointer: what is left of it is segs[seg] from seg_off on. */
	unsigned nr_segs, seg;
	uint32_t seg_off;
	bool has_bucket;

	/* A walk of PRP lists or SGL segments. */
	uint64_t walk_addr;  /* next list entry or descriptor */
	uint32_t walk_left;  /* PRP: bytes of data still without an address; SGL: descriptors of
			      * this segment that have not been read */
	uint32_t walk_batch; /* entries being read into scratch */
	uint32_t walk_total; /* SGL: bytes so far */
	uint32_t walk_descs; /* SGL: descriptors so far */
	bool walk_last;      /* SGL: in the last segment */
	uint32_t map_len;

	/* A copy between memory of ours and the segments. */
	uint8_t *xfer_buf;
	uint32_t xfer_left;
	bool xfer_to_client;

	/* Block commands. */
	unsigned phase;  /* of the step function */
	uint64_t offset; /* bytes into the namespace */
	uint64_t left;   /* bytes to do */
	uint64_t chunk;
	unsigned index, count; /* ranges, namespaces */
	unsigned io_flags;
	uint32_t log_len;
	bool flush_after; /* FUA on a backend that has none */
	bool flushing;
	unsigned nr_pins;
	uint8_t *bounce;

	void (*step)(struct nvme_req *req);
	void (*dma_next)(struct nvme_req *req, int status);
	struct uvfio_dma dma;
	struct block_io io;
	struct nvme_ns *io_ns; /* whose storage has @io */
};

/* A shadow doorbell: a look at it sets the event index, then reads the shadow. */
struct nvme_dbbuf {
	struct nvme_ctrl *ctrl;
	unsigned index; /* of the doorbell */
	enum nvme_dbbuf_state { NVME_DB_IDLE, NVME_DB_EVENT, NVME_DB_READ } state;
	bool again; /* look once more when this look ends */
	bool stale; /* the look that is under way was for a queue that is gone */
	uint32_t value, event;
	struct uvfio_dma op;
};

struct nvme_cq {
	uint16_t id;
	bool used, ien;
	uint16_t vector;
	uint64_t base;
	uint32_t size; /* entries */
	uint32_t head, tail;
	bool phase;
	bool posting; /* @op is in flight */
	bool dirty;   /* in ctrl->dirty_cqs */
	bool pin;     /* counted in ctrl->nr_pin_cqs */
	uint32_t posting_nr;
	uint32_t unsignalled; /* posted, no interrupt yet */
	uint32_t reserved;    /* completions to come, of commands already fetched */
	unsigned nr_sqs;
	struct nvme_req_list pending;
	struct nvme_req *delete_req; /* Delete I/O Completion Queue, waiting for @op */
	TAILQ_ENTRY(nvme_cq) dirty_link;
	struct nvme_ctrl *ctrl;
	struct uvfio_dma op;
	struct nvme_cqe buf[NVME_POST_MAX] __attribute__((aligned(16)));
	struct nvme_dbbuf db;
	bool asked; /* its shadow was looked at for room, and its head has not moved since */
};

enum nvme_sq_state {
	NVME_SQ_UNUSED,
	NVME_SQ_ACTIVE,
	NVME_SQ_DELETING, /* fetches nothing more; waits for its commands */
	NVME_NR_SQ_STATES
};

struct nvme_sq {
	uint16_t id;
	enum nvme_sq_state state;
	struct nvme_cq *cq;
	uint64_t base;
	uint32_t size; /* entries */
	uint32_t head, tail;
	bool fetching; /* @op is in flight */
	bool ready;    /* in ctrl->ready_sqs */
	uint32_t fetch_nr;
	unsigned inflight;
	uint64_t submitted, completed; /* for nvme_stats() */
	struct nvme_req_set reqs;
	TAILQ_ENTRY(nvme_sq) ready_link;
	struct nvme_ctrl *ctrl;
	struct nvme_req *delete_req; /* the Delete I/O Submission Queue command */
	struct nvme_req *fused; /* the first of two fused commands; the second is not here yet */
	uint64_t *cids;         /* a bit for each command identifier in use */
	struct uvfio_dma op;
	struct nvme_sqe buf[NVME_FETCH_MAX] __attribute__((aligned(64)));
	struct nvme_dbbuf db;
};

enum nvme_state {
	NVME_DISABLED, /* CC.EN = 0 */
	NVME_ENABLING, /* checks before CSTS.RDY = 1 */
	NVME_READY,
	NVME_RESETTING,     /* CC.EN has gone to 0; waits for what is in flight */
	NVME_SHUTTING_DOWN, /* finishes commands, flushes */
	NVME_SHUT_DOWN,     /* until the next controller reset */
	NVME_FATAL,         /* CSTS.CFS: until the next controller reset */
	NVME_NR_STATES
};

/* What register writes leave for the work context. */
struct nvme_shared {
	atomic_uint cc;
	atomic_uint aqa;
	_Atomic uint64_t asq, acq;
	atomic_uint intm;   /* interrupt mask of pin-based interrupts */
	atomic_uint resets; /* times that CC.EN went to 0 */
	atomic_uint subsystem_resets;
	atomic_uint nssro_clears;
	atomic_bool irq_check;  /* INTMS or INTMC was written */
	atomic_bool db_strange; /* a doorbell that no queue of this controller can have */
	atomic_uint doorbells[2 * (NVME_MAX_QUEUES + 1)];
	_Atomic uint64_t db_dirty[2 * (NVME_MAX_QUEUES + 1) / 64];
};

struct nvme_vector {
	uint16_t pending; /* completions that were not signalled yet */
	bool no_coalescing;
};

struct nvme_features {
	uint32_t arbitration, power, coalescing, atomicity, async_events;
	uint32_t sw_progress;
	uint16_t temp_over, temp_under; /* K */
	bool write_cache;
	uint16_t nr_sqs, nr_cqs; /* I/O queues allocated to the host */
	uint64_t timestamp;      /* ms as set, or 0 */
	uint64_t timestamp_ns;   /* when it was set */
	bool timestamp_set;
	uint8_t host_id[16];
	bool host_id_128;
};

struct nvme_counters {
	uint64_t bytes_read, bytes_written;
	uint64_t reads, writes;
	uint64_t media_errors, errors;
	uint64_t power_cycles, unsafe_shutdowns;
};

struct nvme_ctrl {
	struct uvfio_device *dev;
	struct nvme_shared shared;
	enum nvme_state state;
	uint32_t csts;
	unsigned resets_done, subsystem_resets_done, nssro_clears_done;
	uint32_t shn;      /* CC.SHN as acted on */
	bool closing_down; /* a shutdown is to follow what is in progress now */

	/* DMA. */
	bool stopped;      /* quiesced: nothing is started until resume or reset */
	bool parked;       /* bus mastering is off: the same until a doorbell or resume */
	bool quiescing;    /* uvfio_quiesced() is owed */
	unsigned external; /* DMA and backend requests in flight */
	bool in_work;
	bool dying; /* ->destroy() runs */

	uint16_t vendor, device; /* PCI */
	unsigned nr_queues;      /* I/O queue pairs */
	unsigned nr_vectors;
	unsigned msi_vectors; /* 0: MSI-X, or INTx only */
	uint32_t msi_held;    /* raised while INTMS masked them */
	bool intx_only;
	uint32_t page_bits;
	/* nr_queues + 1 of each.  A queue is all zero until it is first created, and costs no
	 * memory. */
	struct nvme_sq *sqs;
	struct nvme_cq *cqs;
	uint64_t *cids;
	TAILQ_HEAD(, nvme_sq) ready_sqs;
	TAILQ_HEAD(, nvme_cq) dirty_cqs;

	struct nvme_req *reqs;
	struct nvme_req_mem *req_mem;
	unsigned nr_made;               /* requests that have been used; the others are all zero */
	struct nvme_req_list free_reqs; /* of those */
	unsigned nr_free;

	uint8_t *bounce[NVME_NR_BOUNCE]; /* allocated as needed, then kept */
	unsigned nr_bounce, nr_bounce_free;
	uint8_t *bounce_free[NVME_NR_BOUNCE];
	struct nvme_req_list bounce_waiters;

	struct nvme_ns *ns;
	unsigned nr_ns;
	unsigned nr_fenced;  /* namespaces */
	bool volatile_cache; /* some namespace has one */

	struct nvme_vector *vectors;
	struct uvfio_timer *irq_timer;
	bool irq_timer_armed;
	bool intx_level;
	unsigned nr_pin_cqs; /* completion queues that ask for INTx */
	bool irq_due;        /* a vector is to be raised or INTx to be looked at */

	struct nvme_features feat;
	uint16_t temperature; /* K */
	struct nvme_counters count;
	struct nvme_stats stats;
	uint64_t started_ns;

	struct nvme_req *shutdown_req; /* flushes for a shutdown; not of the pool */
	struct nvme_req *size_req;     /* looks at sizes; likewise */
	struct uvfio_timer *size_timer;
	bool size_timer_armed, size_looking;
	bool resizable; /* some namespace's storage is */
	struct nvme_req *aers[NVME_AERL + 1];
	unsigned nr_aers;
	uint8_t events[NVME_NR_EVENT_TYPES]; /* a bit for each that is to be reported */
	bool event_masked[NVME_NR_EVENT_TYPES];
	struct nvme_error_entry
		errors[NVME_ERROR_ENTRIES]; /* a ring, the latest at error_pos - 1 */
	unsigned error_pos;

	bool dbbuf; /* Doorbell Buffer Config was accepted */
	uint64_t dbbuf_shadow, dbbuf_event;

	char serial[21];
	char subnqn[128];
};

/* ---- ctrl.c: states ---- */
const char *nvme_state_name(enum nvme_state state);
/* Take up changes of CC.  In the work context. */
void nvme_state_run(struct nvme_ctrl *c);
/* CSTS.CFS: nothing more is fetched or posted until a reset. */
void nvme_fatal(struct nvme_ctrl *c, const char *what, uint64_t iova, int err);
/* True while commands may be fetched and completions posted. */
bool nvme_running(const struct nvme_ctrl *c);
/* Something that was in flight is no more: answer quiesce, go on with a reset or a shutdown. */
void nvme_external_done(struct nvme_ctrl *c);
/* Bus mastering may be on again: try. */
void nvme_unpark(struct nvme_ctrl *c);
void nvme_quiesce(void *priv);
void nvme_resume(void *priv);
void nvme_reset(void *priv, enum uvfio_reset_kind kind);
bool nvme_work(void *priv);

/* ---- regs.c ---- */
void nvme_reg_write(void *priv, unsigned bar, uint64_t offset, unsigned size, uint64_t value);
/* Publish the registers as they are after power-on. */
void nvme_regs_reset(struct nvme_ctrl *c);
void nvme_set_csts(struct nvme_ctrl *c, uint32_t clear, uint32_t set);
/* Take the doorbells that were rung; act on them if @c is running, forget them if not. */
void nvme_doorbells_run(struct nvme_ctrl *c);
/* A queue begins: its doorbells read 0 and what was rung before does not count. */
void nvme_doorbell_clear(struct nvme_ctrl *c, unsigned index);

/* ---- queue.c ---- */
const char *nvme_req_state_name(enum nvme_req_state state);
void nvme_queues_init(struct nvme_ctrl *c);
/* Forget all queues and commands.  Nothing is in flight. */
void nvme_queues_reset(struct nvme_ctrl *c);
void nvme_cq_open(struct nvme_ctrl *c, unsigned id, uint64_t base, uint32_t size, bool ien,
		  unsigned vector);
void nvme_sq_open(struct nvme_ctrl *c, unsigned id, uint64_t base, uint32_t size, unsigned cqid);
/* Close when nothing of it is in flight, complete @req. */
void nvme_cq_delete(struct nvme_cq *cq, struct nvme_req *req);
/* Fetch nothing more, wait for the commands in progress, close, complete @req. */
void nvme_sq_delete(struct nvme_sq *sq, struct nvme_req *req);
void nvme_sq_tail(struct nvme_sq *sq, uint32_t tail);
void nvme_cq_head(struct nvme_cq *cq, uint32_t head);
void nvme_sq_set_ready(struct nvme_sq *sq);
/* Fetch and start commands.  True: there are more. */
bool nvme_queues_run(struct nvme_ctrl *c);
void nvme_cqs_post(struct nvme_ctrl *c);
/* The command is over, with req->status and req->dw0.  @req is the queue's from here on. */
void nvme_complete(struct nvme_req *req);
static inline void nvme_complete_status(struct nvme_req *req, unsigned status)
{
	req->status = status;
	nvme_complete(req);
}

/* ---- dbbuf.c: shadow doorbells ---- */
void nvme_dbbuf_init(struct nvme_ctrl *c, struct nvme_dbbuf *d, unsigned index);
/* Ask for the next doorbell and look at the shadow; takes up what it says, now or later. */
void nvme_dbbuf_look(struct nvme_dbbuf *d);
void nvme_admin_dbbuf(struct nvme_req *req);

/* ---- irq.c ---- */
void nvme_irq_completions(struct nvme_cq *cq, unsigned nr);
/* cq->head has moved. */
void nvme_irq_consumed(struct nvme_cq *cq);
/* Raise what is due; set the level of INTx. */
void nvme_irq_run(struct nvme_ctrl *c);
void nvme_irq_reset(struct nvme_ctrl *c);
void nvme_irq_timer(void *arg);

/* ---- req.c: requests and their DMA ---- */
void nvme_req_init(struct nvme_ctrl *c, struct nvme_req *req, struct nvme_req_mem *mem);
/* Every request is free again.  Nothing is in flight. */
void nvme_req_reset_all(struct nvme_ctrl *c);
/* A request that c->nr_free no longer counts. */
struct nvme_req *nvme_req_take(struct nvme_ctrl *c);
void nvme_req_free(struct nvme_req *req);
/* One transfer; @next runs with 0 or -errno unless it is done at once.  0, 1 or -errno. */
int nvme_dma(struct nvme_req *req, uint64_t iova, void *buf, size_t len, bool to_client,
	     void (*next)(struct nvme_req *req, int status));
/* Submit a DMA that is not a request's: 0, 1 or -errno as uvfio_dma_submit(), counted. */
int nvme_dma_raw(struct nvme_ctrl *c, struct uvfio_dma *op);
/* Copy @len bytes between @buf and the next bytes of the data pointer. */
enum nvme_async nvme_copy(struct nvme_req *req, void *buf, uint32_t len, bool to_client);
/* Skip @len bytes of the data pointer. */
void nvme_segs_skip(struct nvme_req *req, uint32_t len);
/* Add a piece to the data pointer; false when it has too many. */
bool nvme_segs_add(struct nvme_req *req, uint64_t iova, uint32_t len, bool bucket);
/* A buffer of NVME_BOUNCE_SIZE in req->bounce: NVME_PENDING until one is free. */
enum nvme_async nvme_bounce_get(struct nvme_req *req);
void nvme_bounce_put(struct nvme_req *req);
/* Serve those who wait for a buffer. */
void nvme_bounce_run(struct nvme_ctrl *c);
/* Take @req out of the queue of waiters, if it is there. */
bool nvme_bounce_cancel(struct nvme_req *req);

/* ---- prp.c, sgl.c: the data pointer ---- */
/* Find the client memory of @len > 0 bytes; all of the pointer is checked before it is done. */
enum nvme_async nvme_map(struct nvme_req *req, uint32_t len);
enum nvme_async nvme_map_prp(struct nvme_req *req, uint32_t len);
enum nvme_async nvme_map_sgl(struct nvme_req *req, uint32_t len);

/* ---- io.c ---- */
void nvme_io(struct nvme_req *req);
struct nvme_ns *nvme_ns_get(struct nvme_ctrl *c, uint32_t nsid);
/* Count @req among the commands of @ns, so that Format NVM waits for it. */
void nvme_ns_enter(struct nvme_req *req, struct nvme_ns *ns);
void nvme_ns_leave(struct nvme_req *req);
/* Check [slba, slba + nlb) of @ns and set req->offset and ->left. */
bool nvme_lba_range(struct nvme_req *req, struct nvme_ns *ns, uint64_t slba, uint64_t nlb);
/* Set req->io_flags and ->flush_after for a write; true when it must be on stable storage. */
bool nvme_fua(struct nvme_req *req, struct nvme_ns *ns);
/* Status of a backend's errno for @op. */
unsigned nvme_block_status(struct nvme_ctrl *c, enum block_op op, int err);
enum nvme_async nvme_block(struct nvme_req *req, struct nvme_ns *ns, enum block_op op,
			   uint64_t offset, uint64_t len, unsigned flags);

/* The status of what is wrong with @req by itself, or 0; then *@out is its namespace, or as it was.
 */
unsigned nvme_io_check(struct nvme_req *req, struct nvme_ns **out);

/* ---- fused.c: Compare and Write ---- */
/* A command of an I/O queue that is fused, or follows one that is.  A @req->status that is set
 * already is why it cannot be executed. */
void nvme_fused(struct nvme_req *req);
/* Nothing follows the first command of @sq->fused: end it with @status. */
void nvme_fused_missing(struct nvme_sq *sq, unsigned status);
/* One half of a Compare and Write has completed. */
void nvme_fused_next(struct nvme_req *req);
/* @req may not run now: it waits for the Compare and Write of @ns. */
void nvme_fused_wait(struct nvme_req *req, struct nvme_ns *ns);
/* Take @req out of those, if it is one. */
bool nvme_fused_cancel(struct nvme_req *req);
/* Go on where a namespace has come to rest. */
void nvme_fused_run(struct nvme_ctrl *c);
/* Forget all of it: every request is free. */
void nvme_fused_reset(struct nvme_ctrl *c);

/* ---- rw.c: Read, Write ---- */
void nvme_rw(struct nvme_req *req, struct nvme_ns *ns, bool write);
void nvme_compare(struct nvme_req *req, struct nvme_ns *ns);
void nvme_verify(struct nvme_req *req, struct nvme_ns *ns);
void nvme_unpin(struct nvme_req *req);

/* ---- ns.c ---- */
/* Open the namespaces that @args name.  0 or -errno with a message. */
int nvme_ns_open_all(struct nvme_ctrl *c, const struct uvfio_args *args, struct uvfio_error *err);
void nvme_ns_close_all(struct nvme_ctrl *c);
/* What is noted with the storage, so that its next user reads it with the same block size. */
#define NVME_NOTE_FORMAT "blocksize=%u"
/* May the namespace be formatted with this block size? */
bool nvme_ns_can_have(const struct nvme_ns *ns, uint8_t shift);
/* Set the block size and what follows from it. */
void nvme_ns_set_shift(struct nvme_ns *ns, uint8_t shift);

/* ---- stats.c ---- */
uint64_t nvme_now_ns(void); /* monotonic */
/* The completion entry of @req is made at @now. */
void nvme_stats_completed(struct nvme_req *req, uint64_t now);
void nvme_stats(void *priv, struct uvfio_stats *out);

/* ---- size.c ---- */
/* Somebody may want to know when a size changes: look from time to time. */
void nvme_size_watch(struct nvme_ctrl *c);
void nvme_size_timer(void *arg);
void nvme_size_reset(struct nvme_ctrl *c);

/* ---- bad.c ---- */
/* Does the list of uncorrectable blocks touch the range?  Bytes. */
bool nvme_bad_hit(const struct nvme_ns *ns, uint64_t offset, uint64_t len);
/* Mark, or clear, a range of blocks: false when there are too many ranges. */
bool nvme_bad_mark(struct nvme_ns *ns, uint64_t start, uint64_t nlb);
bool nvme_bad_clear(struct nvme_ns *ns, uint64_t start, uint64_t nlb);
void nvme_bad_free(struct nvme_ns *ns);

/* ---- admin*.c ---- */
void nvme_admin(struct nvme_req *req);
void nvme_admin_create_cq(struct nvme_req *req);
void nvme_admin_create_sq(struct nvme_req *req);
void nvme_admin_delete_cq(struct nvme_req *req);
void nvme_admin_delete_sq(struct nvme_req *req);
void nvme_admin_identify(struct nvme_req *req);
void nvme_admin_get_features(struct nvme_req *req);
void nvme_admin_set_features(struct nvme_req *req);
void nvme_features_reset(struct nvme_ctrl *c);
void nvme_admin_log_page(struct nvme_req *req);
void nvme_admin_format(struct nvme_req *req);
/* Go on with formats whose namespaces have come to rest. */
void nvme_format_run(struct nvme_ctrl *c);
/* Return the first @len bytes of scratch, which are all there is, and complete. */
void nvme_admin_return(struct nvme_req *req, uint32_t len);
void nvme_ctrl_identity(struct nvme_ctrl *c, const char *serial);

/* ---- aer.c ---- */
void nvme_admin_async_event(struct nvme_req *req);
void nvme_event(struct nvme_ctrl *c, enum nvme_event_type type, unsigned info);
/* The log page of @type was read: report further events. */
void nvme_events_unmask(struct nvme_ctrl *c, enum nvme_event_type type);
void nvme_events_reset(struct nvme_ctrl *c);
unsigned nvme_critical_warning(const struct nvme_ctrl *c);
void nvme_check_temperature(struct nvme_ctrl *c);
bool nvme_abort_aer(struct nvme_req *req);
/* Record a failed command in the error log; returns the status with the More bit. */
unsigned nvme_log_error(struct nvme_req *req, unsigned status);
void nvme_log_doorbell_error(struct nvme_ctrl *c, unsigned sqid);

/* Invalid Field in Command, with the place of it for the error log. */
static inline unsigned nvme_bad_field(struct nvme_req *req, unsigned byte, unsigned bit)
{
	req->err_location = byte | bit << 8;
	return NVME_SC_INVALID_FIELD | NVME_SC_DNR;
}

static inline uint64_t nvme_slba(const struct nvme_sqe *cmd)
{
	return cmd->cdw10 | (uint64_t)cmd->cdw11 << 32;
}

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the controller is made of: its limits, namespaces, requests, queues and its own state.  How
 * they work together is in nvme.h, which declares what is done with them.
 */
#ifndef UVFIO_NVME_CTRL_H
#define UVFIO_NVME_CTRL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <uvfio/device.h>

#include "block/block.h"
#include "devices/nvme/nvme_spec.h"
#include "devices/nvme/subsys.h"

#define NVME_BAR        0
#define NVME_BAR_CMB    2
#define NVME_BAR_PMR    4

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

struct nvme_contents;
struct nvme_ctrl;
struct nvme_req;

STAILQ_HEAD(nvme_req_list, nvme_req);
TAILQ_HEAD(nvme_req_set, nvme_req);

/* Where an address that the host supplies leads to. */
enum nvme_place {
	NVME_AT_HOST,   /* by DMA */
	NVME_AT_CMB,    /* the controller memory buffer */
	NVME_AT_PMR,    /* the persistent memory region */
	NVME_AT_NOTHING /* data that an SGL bit bucket swallows */
};

/* A piece of memory. */
struct nvme_seg {
	uint64_t iova; /* not the host's: offset in it */
	uint32_t len;
	enum nvme_place place;
};

/* Controller memory that the host may supply addresses of; see cmb.c. */
struct nvme_window {
	uint64_t base; /* address of its first byte, while @on */
	uint64_t size; /* bytes, 0: there is none */
	bool on;
	uint8_t *memory; /* the BAR's */
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

/* A namespace as one controller has it: all zero until it is first attached. */
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
	bool attached;               /* commands may name it */
	bool stale;                  /* formatted by another controller; see subsys.c */
	bool moved;                  /* by the job of ctrl->storage that runs */
	struct nvme_disk *disk;      /* what all controllers have of it */
	uint32_t mem_align;          /* what the backend asks of memory addresses */
	unsigned inflight;           /* commands in progress */
	struct nvme_req *format_req; /* Format NVM, waiting for these */
	/* Compare and Write has the namespace to itself; see fused.c. */
	bool fenced;            /* @fused is set or @waiters has some; counted in ctrl->nr_fenced */
	bool fused_running;     /* @fused has begun */
	struct nvme_req *fused; /* its Compare */
	struct nvme_req_list waiters;
	uint16_t tler; /* feature: error recovery, 100 ms */
	struct nvme_ns_stats stats;
};

/* The persistent memory region; see pmr.c.  The work context's, but for the atomics. */
struct nvme_pmr {
	struct nvme_window window;
	struct block *blk; /* NULL: there is none */
	uint8_t *image;    /* what the file holds, once it is loaded */
	bool loaded;
	enum nvme_pmr_op {
		NVME_PMR_IDLE,
		NVME_PMR_READING,  /* the file into the image */
		NVME_PMR_SHOWING,  /* the image into the BAR */
		NVME_PMR_SCANNING, /* the BAR for what is not in the image */
		NVME_PMR_WRITING,  /* such a run of pages, to the file */
		NVME_PMR_FLUSHING,
		NVME_PMR_NR_OPS
	} op;
	bool ready;    /* it is the host's */
	bool written;  /* since the last flush */
	bool all;      /* the next save writes all: the last one has failed */
	bool failed;   /* the save, or the load, that goes on */
	bool save_due; /* for quiesce */
	bool holds;    /* counted in ctrl->external */
	bool moved;    /* its contents have come from elsewhere, and not out of the file */
	unsigned gen;  /* the transition of PMRCTL.EN that is carried out */
	uint64_t at, len;
	uint64_t ticket; /* that the save answers */
	struct block_io io;
	struct iovec iov;
	struct {
		uint64_t saves, written, errors; /* written: bytes */
	} stats;

	/* Shared with the threads that access registers. */
	atomic_uint transitions;          /* of PMRCTL.EN: it is set while this is odd */
	atomic_uint done;                 /* those that are complete */
	_Atomic uint64_t asked, answered; /* tickets of those who read PMRSTS */
	atomic_uint err, health;
	atomic_bool cbai;
};

/* Giving the storage back and taking it; see storage.c.  The work context's. */
struct nvme_storage {
	enum nvme_storage_job {
		NVME_STORAGE_IDLE,
		NVME_STORAGE_AHEAD, /* flush while it runs, so that little is left to be flushed */
		NVME_STORAGE_FLUSH, /* before it is given back */
		NVME_STORAGE_RELEASE, /* and that */
		NVME_STORAGE_TAKE,    /* to go on with what was loaded, or as before */
		NVME_STORAGE_TRY,     /* after a reset, and for an enable: as far as it is free */
		NVME_STORAGE_UNDO,    /* what a release or a take has done that has failed */
		NVME_STORAGE_NR_JOBS
	} job;
	enum nvme_storage_job undone; /* UNDO: which one */
	unsigned at;                  /* namespace; behind them the PMR */
	bool late;                    /* the caller was told that the answer comes later */
	bool pmr_held, pmr_moved;
	int result;
	unsigned failed; /* namespace identifier; behind them the PMR */
	struct block_io io;
	struct uvfio_error *err;      /* of who waits for the answer, until it has that */
	enum nvme_storage_job queued; /* IDLE, or what is asked for while TRY goes on */
	struct uvfio_error *queued_err;
	bool tried; /* since the last reset */
};

enum nvme_req_state {
	NVME_REQ_FREE,
	NVME_REQ_ACTIVE,   /* in progress */
	NVME_REQ_WAITING,  /* for a bounce buffer */
	NVME_REQ_HELD,     /* an Asynchronous Event Request */
	NVME_REQ_FENCED,   /* for its partner, or because of a Compare and Write */
	NVME_REQ_COMPLETE, /* waiting for its completion entry */
	NVME_REQ_KEPT,     /* to be executed from its beginning: pause.c */
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
	bool refused;                 /* it cannot go on before the pause is over: it is kept */
	struct nvme_sqe cmd;

	/* The data pointer: what is left of it is segs[seg] from seg_off on. */
	unsigned nr_segs, seg;
	uint32_t seg_off;
	bool not_pinnable;          /* some of it is not at the host */
	enum nvme_place list_place; /* where its list is, once something of it was read */
	bool list_read;

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
	struct nvme_claim claim;
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
	atomic_uint virt_changes; /* times that it went on- or offline */
	atomic_bool offline;
	_Atomic uint64_t cmbmsc;
	_Atomic uint64_t pmrmsc;
	/* Where the host supplies addresses of them; bit 0: it may. */
	_Atomic uint64_t cmb_base, pmr_base;
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

/* What a controller keeps of a migration. */
struct nvme_migration {
	struct nvme_aside *aside; /* NULL: nothing has come */
	bool saved;               /* all sections but those of bad blocks */
	unsigned ns;              /* the next namespace for these */
	bool begins;              /* a session of saving, of which nothing was asked yet */
	bool leaving;             /* ->leave() waits for the PMR */
	struct uvfio_error *err;  /* its */
	bool again;               /* interrupts are to be raised again, once it runs */
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
	bool stopped;     /* quiesced: nothing is started until resume or reset */
	bool parked;      /* bus mastering is off: the same until a doorbell or resume */
	bool quiescing;   /* uvfio_quiesced() is owed */
	bool paused;      /* quiesced, or about to be, and what is under way is kept: pause.c */
	unsigned nr_kept; /* requests */
	struct nvme_migration migration;
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
	struct nvme_window cmb;
	struct nvme_pmr pmr;
	bool windows_on; /* one of them is */
	struct nvme_storage storage;
	struct nvme_contents *contents; /* NULL until it is needed */
	bool away;  /* it has been given back, for another one to go on; sub->lock */
	bool still; /* @stopped, @paused are storage.c's: the core had no reason to say so */
	/* nr_queues + 1 of each.  A queue is all zero until it is first created, and costs no
	 * memory. */
	struct nvme_sq *sqs;
	struct nvme_cq *cqs;
	unsigned top_queue; /* queues from here on were never created */
	uint64_t *cids;
	TAILQ_HEAD(, nvme_sq) ready_sqs;
	TAILQ_HEAD(, nvme_cq) dirty_cqs;

	struct nvme_req *reqs;
	struct nvme_req_mem *req_mem;
	unsigned nr_made;               /* requests that have been used; the others are all zero */
	struct nvme_req_list free_reqs; /* of those */
	unsigned nr_free;
	/* Used again before another one is: a batch of short commands touches one. */
	uint16_t mem_free[NVME_NR_REQS]; /* in ->req_mem */
	unsigned nr_mem_free, nr_mem_made;

	uint8_t *bounce[NVME_NR_BOUNCE]; /* allocated as needed, then kept */
	unsigned nr_bounce, nr_bounce_free;
	uint8_t *bounce_free[NVME_NR_BOUNCE];
	struct nvme_req_list bounce_waiters;

	struct nvme_subsys *sub;
	uint16_t cntlid;
	bool secondary;    /* a VF */
	uint64_t sub_gen;  /* that was taken over */
	unsigned nr_stale; /* namespaces */
	struct nvme_claim *_Atomic granted;
	unsigned io_queues; /* I/O queue pairs that it has at present, ≤ nr_queues */
	bool online;        /* not a secondary controller that is offline */
	unsigned virt_done; /* shared.virt_changes as acted on */

	struct nvme_ns *ns; /* nr_ns, of all namespaces of the subsystem */
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

#endif

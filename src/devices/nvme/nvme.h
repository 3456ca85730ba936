/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The NVMe controller: how it works, and what its files offer one another.
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

#include <errno.h>

#include <uvfio/migration.h>

#include "devices/nvme/nvme_ctrl.h"

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
/* Queues, commands, events, features: as after a controller reset.  Nothing is in flight. */
void nvme_forget_all(struct nvme_ctrl *c);
void nvme_quiesce(void *priv);
void nvme_resume(void *priv);
void nvme_reset(void *priv, enum uvfio_reset_kind kind);
bool nvme_work(void *priv);

/* ---- migrate.c ---- */
extern const struct uvfio_migration_ops nvme_migration_ops;
/* The PMR has come to rest, which ->leave() waits for. */
void nvme_migrate_leave_on(struct nvme_ctrl *c);
void nvme_migrate_free(struct nvme_ctrl *c);

/* ---- pause.c: quiet for a while, and nothing fails ---- */
/* ->quiesce(), when it is for a pause. */
void nvme_pause(struct nvme_ctrl *c);
/* At the end of a pass of work: is it quiet now? */
void nvme_pause_run(struct nvme_ctrl *c);
/* @req is not over: it begins anew after the pause. */
void nvme_keep(struct nvme_req *req);
/* Execute what was kept.  True: there is more. */
bool nvme_kept_run(struct nvme_ctrl *c);
/* @status of something that @req tried.  It was refused because of the pause: the request is kept
 * when it comes to nvme_complete(). */
static inline int nvme_may_be_refused(struct nvme_req *req, int status)
{
	if (status == -EPERM && req->ctrl->paused)
		req->refused = true;
	return status;
}
/* Begin no further part of @req, which may be executed again from its beginning. */
static inline enum nvme_async nvme_suspend(struct nvme_req *req)
{
	req->refused = true;
	req->status = NVME_SC_DATA_TRANSFER;
	return NVME_FAILED;
}

/* ---- regs.c ---- */
void nvme_reg_write(void *priv, unsigned bar, uint64_t offset, unsigned size, uint64_t value);
/* Publish the registers as they are after power-on. */
void nvme_regs_reset(struct nvme_ctrl *c);
/* As those of a secondary controller that is offline: CSTS.CFS, all else 0. */
void nvme_regs_offline(struct nvme_ctrl *c);
void nvme_set_csts(struct nvme_ctrl *c, uint32_t clear, uint32_t set);
uint64_t nvme_cap(const struct nvme_ctrl *c);
/* What the host has written, of a controller that is loaded. */
void nvme_regs_put(struct nvme_ctrl *c, uint32_t cc, uint32_t aqa, uint64_t asq, uint64_t acq,
		   uint32_t intm);
/* A doorbell was given this value, and that is done: who looks for changes sees the next one. */
void nvme_doorbell_put(struct nvme_ctrl *c, unsigned index, uint32_t value);
/* Take the doorbells that were rung; act on them if @c is running, forget them if not, and leave
 * them for later while it is paused. */
void nvme_doorbells_run(struct nvme_ctrl *c);
/* The same, pause or not. */
void nvme_doorbells_take(struct nvme_ctrl *c);
/* A queue begins: its doorbells read 0 and what was rung before does not count. */
void nvme_doorbell_clear(struct nvme_ctrl *c, unsigned index);

/* ---- cmb.c: memory of the controller's own ---- */
/* Registers: the thread that writes them.  Returns false when @offset is none of these. */
bool nvme_cmb_write(struct nvme_ctrl *c, uint64_t offset, uint32_t value);
/* CMBMSC as a whole. */
void nvme_cmb_write_msc(struct nvme_ctrl *c, uint64_t value);
/* PMRMSCL and PMRMSCU. */
void nvme_pmr_write_msc(struct nvme_ctrl *c, uint64_t value);
/* Back to what they are after power-on, CMBMSC included, or PMRMSCL and PMRMSCU. */
void nvme_cmb_regs_reset(struct nvme_ctrl *c);
void nvme_pmr_msc_reset(struct nvme_ctrl *c);
/* The rest is the work context's.  Take up what the registers say. */
void nvme_cmb_update(struct nvme_ctrl *c);
/* Zeros: what one user has left there is not for the next. */
void nvme_cmb_clear(struct nvme_ctrl *c);
/* Where @addr leads to, and *@at there; *@len is cut to what lies in the same place. */
enum nvme_place nvme_place(const struct nvme_ctrl *c, uint64_t addr, uint64_t *len, uint64_t *at);
/* Does all of it lie in one place? */
bool nvme_one_place(const struct nvme_ctrl *c, uint64_t addr, uint64_t len);
/* Copy between @buf and controller memory: 0 or -EFAULT. */
int nvme_place_copy(struct nvme_ctrl *c, enum nvme_place place, uint64_t at, void *buf, size_t len,
		    bool to_client);
/* The same for @op, which is not at the host or not in one place.  -EFAULT: in several. */
int nvme_place_dma(struct nvme_ctrl *c, const struct uvfio_dma *op);
/* Something of a list of @req's is about to be read: false, with req->status set, when it is partly
 * in one place and partly in another. */
bool nvme_list_place(struct nvme_req *req, uint64_t addr, uint64_t len);

/* ---- pmr.c: the persistent memory region ---- */
/* Open the file that @args name.  0 or -errno with a message. */
int nvme_pmr_open(struct nvme_ctrl *c, const struct uvfio_args *args, struct uvfio_error *err);
/* The BAR is there. */
int nvme_pmr_start(struct nvme_ctrl *c, struct uvfio_error *err);
void nvme_pmr_close(struct nvme_ctrl *c);
/* PMRCTL; the thread that writes it. */
void nvme_pmr_write_ctl(struct nvme_ctrl *c, uint32_t value);
/* PMRSTS; any thread. */
uint32_t nvme_pmr_status(struct nvme_ctrl *c);
void nvme_pmr_read_start(void *priv, unsigned bar, uint64_t offset, unsigned size, uint64_t ticket);
uint64_t nvme_reg_read(void *priv, unsigned bar, uint64_t offset, unsigned size);
/* The work context: go on with what is to be done.  True: there is more. */
bool nvme_pmr_run(struct nvme_ctrl *c);
/* Have all of it in the file; counted in ctrl->external until it is. */
void nvme_pmr_quiesce(struct nvme_ctrl *c);
/* Is anything of it under way, or about to be? */
bool nvme_pmr_busy(const struct nvme_ctrl *c);
/* What a controller that is loaded has of it; its contents are in the BAR.  @phase: of PMRCTL.EN: 0
 * never set, 1 set, 2 clear again; @settled: all is done that comes of that. */
void nvme_pmr_put(struct nvme_ctrl *c, unsigned phase, bool ready, bool settled, unsigned err,
		  unsigned health);
/* A reset of the function, in every way: it is disabled. */
void nvme_pmr_reset(struct nvme_ctrl *c);

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
/* If it is being deleted and nothing of it is in flight any more: close it, complete the command.
 */
void nvme_sq_delete_check(struct nvme_sq *sq);
void nvme_sq_tail(struct nvme_sq *sq, uint32_t tail);
void nvme_sq_set_ready(struct nvme_sq *sq);
/* A value that no doorbell of queue @qid may be given. */
void nvme_bad_doorbell(struct nvme_ctrl *c, unsigned qid);
/* Entries from @head up to @tail. */
static inline uint32_t nvme_ring_used(uint32_t head, uint32_t tail, uint32_t size)
{
	return tail >= head ? tail - head : tail + size - head;
}
/* Execute @req, which has its command, its queue and, if that cannot be executed, its status. */
void nvme_begin(struct nvme_req *req);
/* Fetch and start commands.  True: there are more. */
bool nvme_queues_run(struct nvme_ctrl *c);

/* ---- post.c ---- */
void nvme_cq_head(struct nvme_cq *cq, uint32_t head);
/* Has @cq entries that the host can see and has not taken? */
static inline bool nvme_cq_unconsumed(const struct nvme_cq *cq)
{
	return nvme_ring_used(cq->head, cq->tail, cq->size) > cq->posting_nr;
}
/* Entries that are neither used nor promised. */
uint32_t nvme_cq_room(const struct nvme_cq *cq);
/* With shadow doorbells: ask for the next doorbell of @cq and look where its head is.  Once, until
 * it moves: what was asked for will be rung. */
bool nvme_cq_ask(struct nvme_cq *cq);
/* cq->op has ended. */
void nvme_cq_posted(struct uvfio_dma *op);
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
/* A controller that was loaded runs: interrupts of entries that the host has not consumed may have
 * been lost on the way. */
void nvme_irq_again(struct nvme_ctrl *c);
void nvme_irq_timer(void *arg);

/* ---- req.c: requests and their DMA ---- */
void nvme_req_init(struct nvme_ctrl *c, struct nvme_req *req);
/* Every request is free again.  Nothing is in flight. */
void nvme_req_reset_all(struct nvme_ctrl *c);
/* A request that c->nr_free no longer counts. */
struct nvme_req *nvme_req_take(struct nvme_ctrl *c);
void nvme_req_free(struct nvme_req *req);
/* req->mem is not needed any more: another one may use it before @req is free.  Once or twice. */
void nvme_req_mem_put(struct nvme_req *req);
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
bool nvme_segs_add(struct nvme_req *req, uint64_t iova, uint32_t len);
/* The same with data that goes nowhere. */
bool nvme_segs_add_bucket(struct nvme_req *req, uint32_t len);
/* A buffer of NVME_BOUNCE_SIZE in req->bounce: NVME_PENDING until one is free. */
enum nvme_async nvme_bounce_get(struct nvme_req *req);
void nvme_bounce_put(struct nvme_req *req);
/* All buffers are free: give their memory back. */
void nvme_bounce_free(struct nvme_ctrl *c);
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
/* The namespace, if it is attached to @c, or NULL. */
struct nvme_ns *nvme_ns_get(struct nvme_ctrl *c, uint32_t nsid);
/* The same of one that was when its command began. */
static inline struct nvme_ns *nvme_ns_at(struct nvme_ctrl *c, uint32_t nsid)
{
	return &c->ns[nsid - 1];
}
/* @claim, which waited, is held: go on. */
void nvme_block_granted(struct nvme_claim *claim);
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
/* The same, of blocks that @req's command has claimed already. */
enum nvme_async nvme_block_claimed(struct nvme_req *req, struct nvme_ns *ns, enum block_op op,
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
/* The Write of a Compare and Write has completed. */
void nvme_fused_end(struct nvme_req *req);
/* @req may not run now: it waits for the Compare and Write of @ns. */
void nvme_fused_wait(struct nvme_req *req, struct nvme_ns *ns);
/* Take @req out of those, if it is one. */
bool nvme_fused_cancel(struct nvme_req *req);
/* Go on where a namespace has come to rest. */
void nvme_fused_run(struct nvme_ctrl *c);
/* Forget all of it: every request is free. */
void nvme_fused_reset(struct nvme_ctrl *c);

/* ---- cas.c ---- */
/* Carry out @first, a Compare, and the Write that follows it; complete both. */
void nvme_cas(struct nvme_req *first, struct nvme_ns *ns);

/* ---- rw.c: Read, Write ---- */
/* Checks that Read, Write and Compare share.  Sets req->status, or req->offset and ->left. */
bool nvme_rw_check(struct nvme_req *req, struct nvme_ns *ns);
/* A Write has been done: account for it. */
void nvme_written(struct nvme_req *req);
void nvme_rw(struct nvme_req *req, struct nvme_ns *ns, bool write);
void nvme_compare(struct nvme_req *req, struct nvme_ns *ns);
void nvme_verify(struct nvme_req *req, struct nvme_ns *ns);
void nvme_unpin(struct nvme_req *req);

/* ---- ns.c ---- */
/* Open the namespaces that @args name.  0 or -errno with a message. */
int nvme_ns_open_all(struct nvme_ctrl *c, const struct uvfio_args *args, struct uvfio_error *err);
void nvme_ns_close_all(struct nvme_ctrl *c);
/* A secondary controller has those of its subsystem, as far as they are attached. */
int nvme_ns_take_all(struct nvme_ctrl *c, struct uvfio_error *err);
/* Storage for @ns of a secondary controller @c, which is @d from here on: 0 or -ENOMEM. */
int nvme_ns_share(struct nvme_ctrl *c, struct nvme_ns *ns, struct nvme_disk *d);
/* Something that Identify says of it is not as it was: tell the driver. */
void nvme_ns_changed(struct nvme_ns *ns);
/* What is noted with the storage, so that its next user reads it with the same block size. */
#define NVME_NOTE_FORMAT "blocksize=%u"
/* May the namespace be formatted with this block size? */
bool nvme_ns_can_have(const struct nvme_ns *ns, uint8_t shift);
/* The block size that a driver has formatted the storage with: *@size, left alone when none has.  0
 * or -errno with a message. */
int nvme_ns_formatted(const struct nvme_ns *ns, uint32_t *size, struct uvfio_error *err);
/* Set the block size and what follows from it. */
void nvme_ns_set_shift(struct nvme_ns *ns, uint8_t shift);

/* ---- model.c: the life of a controller ---- */
/* One for @dev, without queues yet; NULL: no memory. */
struct nvme_ctrl *nvme_ctrl_new(struct uvfio_device *dev);
/* What @c->nr_queues and ->nr_vectors need: 0 or -errno with a message. */
int nvme_ctrl_setup(struct nvme_ctrl *c, struct uvfio_error *err);
/* Zeros that cost no memory until they are touched, and back. */
void *nvme_lazy(size_t bytes);
void nvme_lazy_free(void *p, size_t bytes);
void nvme_ctrl_free(struct nvme_ctrl *c);
/* The areas of BAR 0; @pmr: there is a persistent memory region. */
#define NVME_BAR_AREAS 6
void nvme_bar_areas(struct uvfio_area areas[NVME_BAR_AREAS], bool pmr);
/* BAR 0:  0x0000  registers       0x1000  doorbells, one page
 *         0x2000  MSI-X table     0x4000  MSI-X pending bits */
#define NVME_BAR_SIZE       0x8000
#define NVME_BAR_MSIX_TABLE 0x2000
#define NVME_BAR_MSIX_PBA   0x4000

/* ---- vf.c: SR-IOV ---- */
/* What the options say of it; @c->nr_queues is known.  0 or -errno with a message. */
int nvme_vfs_parse(struct nvme_ctrl *c, const struct uvfio_args *args, struct uvfio_error *err);
/* Fill in @sriov, @vf and @areas; returns @sriov, or NULL when there are no VFs. */
const struct uvfio_sriov_desc *nvme_vfs_describe(const struct nvme_ctrl *c,
						 struct uvfio_sriov_desc *sriov,
						 struct uvfio_pci_desc *vf,
						 struct uvfio_area areas[NVME_BAR_AREAS]);
int nvme_vf_create(void *pf, unsigned index, struct uvfio_device *vf, void **priv,
		   struct uvfio_error *err);
int nvme_vf_vectors(void *pf, unsigned index, unsigned n);
void nvme_host_driver(void *priv, bool bound);
/* [work context] A secondary controller is reset: who has the say, the core or the primary
 * controller's driver, in how many vectors it has? */
void nvme_vf_reset(struct nvme_ctrl *c);
/* The MSI-X vectors, or what stands for them, that queues may name. */
unsigned nvme_vectors(const struct nvme_ctrl *c);

/* ---- stats.c ---- */
uint64_t nvme_now_ns(void); /* monotonic */
/* The completion entry of @req is made at @now. */
void nvme_stats_completed(struct nvme_req *req, uint64_t now);
void nvme_stats(void *priv, struct uvfio_stats *out);

/* ---- storage.c ---- */
/* Is it the caller's to read and write?  Any context. */
static inline bool nvme_ns_ready(const struct nvme_ns *ns)
{
	return atomic_load_explicit(&ns->disk->ready, memory_order_acquire);
}
/* [work context] A driver begins with @c: take what is free.  True: that goes on, and ->work() is
 * called when it is over. */
bool nvme_storage_try(struct nvme_ctrl *c);
/* [work context] Flush what is given back later, while the controller runs: 0, -errno, or
 * -EINPROGRESS: uvfio_migration_done() is called then. */
int nvme_storage_flush(struct nvme_ctrl *c);
/* [work context] A reset: the move, if there was one, is over. */
void nvme_storage_reset(struct nvme_ctrl *c);
/* @d was opened: it is here, unless its subsystem is incoming. */
void nvme_storage_opened(struct nvme_disk *d);
/* Its contents are all there, or some are missing. */
void nvme_storage_whole(struct nvme_disk *d, bool whole);

/* ---- contents.c, contents_load.c: what travels with the controller ---- */
/* [work context; as ->save(), ->load() and so on of <uvfio/migration.h>] To be called before
 * anything else is saved, until it returns 0. */
int nvme_contents_save(struct nvme_ctrl *c, struct uvfio_save *out, bool stopped, bool first);
void nvme_contents_left(struct nvme_ctrl *c, uint64_t *initial, uint64_t *dirty);
uint64_t nvme_contents_size(const struct nvme_ctrl *c);
/* A session, of either kind, is over. */
void nvme_contents_end(struct nvme_ctrl *c);
void nvme_contents_free(struct nvme_ctrl *c);
/* -ENOENT: it is no section of theirs. */
int nvme_contents_load(struct nvme_ctrl *c, struct uvfio_load *in, struct uvfio_error *err);
/* Before the commit: has all come?  Then, when it cannot fail any more. */
int nvme_contents_check(struct nvme_ctrl *c, struct uvfio_error *err);
void nvme_contents_commit(struct nvme_ctrl *c);
void nvme_contents_free_marks(struct nvme_disk *d);
void nvme_contents_written(struct nvme_disk *d, uint64_t offset, uint64_t len);
/* @len bytes of @d were written, or may have been: before the host is told so. */
static inline void nvme_written_at(struct nvme_disk *d, uint64_t offset, uint64_t len)
{
	if (__builtin_expect(atomic_load_explicit(&d->tracked, memory_order_acquire), 0))
		nvme_contents_written(d, offset, len);
}

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
void nvme_bad_free(struct nvme_disk *d);

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
/* Can feature @id, which is one 32-bit value, have come to this one? */
bool nvme_feature_valid(uint8_t id, uint32_t value);
void nvme_admin_log_page(struct nvme_req *req);
void nvme_admin_format(struct nvme_req *req);
/* A reset forgets the formats of @c: other controllers may use the namespaces again. */
void nvme_format_reset(struct nvme_ctrl *c);
void nvme_admin_virt(struct nvme_req *req);
void nvme_admin_attach(struct nvme_req *req);
void nvme_admin_ns_management(struct nvme_req *req);
/* Identify, CNS 10h to 15h: what it answers, in scratch; the status. */
unsigned nvme_identify_allocated(struct nvme_req *req, unsigned cns);
unsigned nvme_identify_controllers(struct nvme_req *req, unsigned cns);
unsigned nvme_identify_virt(struct nvme_req *req, unsigned cns);
void nvme_identify_ns(struct nvme_ctrl *c, struct nvme_ns *ns, struct nvme_id_ns *id);
/* Identify's NMIC of @d. */
uint8_t nvme_ns_nmic(const struct nvme_disk *d);
/* May @c manage the others? */
static inline bool nvme_is_manager(const struct nvme_ctrl *c)
{
	return c->sub->shared && !c->secondary;
}
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

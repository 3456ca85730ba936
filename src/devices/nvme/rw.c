/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Read, Write, Compare and Verify.
 *
 * Data takes the shortest way that there is:
 *
 *   - a backend in memory (block_direct): DMA straight between it and the client;
 *   - client memory that can be pinned: the backend reads or writes it itself, in chunks of at most
 *     NVME_PINS_MAX pieces;
 *   - otherwise through a bounce buffer, chunk by chunk.  So goes the controller memory buffer: the
 *     pages behind its address are exchanged now and then, which no request of the backend's must
 *     meet (vfio/view.c).
 *
 * Each command is a small machine of phases; a phase names what is to be done next.
 */
#include <errno.h>
#include <string.h>

#include "devices/nvme/nvme.h"

enum rw_phase {
	RW_START,     /* the data pointer is known */
	RW_CHUNK,     /* start the next chunk, if any */
	RW_CHUNK_END, /* a chunk has been read or written */
	RW_BOUNCE,    /* the next chunk through the bounce buffer, which is there */
	RW_BOUNCE_IN, /* the chunk is in the buffer */
	RW_FLUSH,     /* all is written */
	RW_END,
};

static bool is_write(const struct nvme_req *req)
{
	return req->cmd.opcode == NVME_IO_WRITE;
}

/* ---- pinning ---- */

void nvme_unpin(struct nvme_req *req)
{
	for (unsigned i = 0; i < req->nr_pins; i++)
		uvfio_dma_unpin(req->ctrl->dev, &req->mem->pins[i]);
	req->nr_pins = 0;
}

static bool iov_aligned(const struct nvme_req *req, int nr, uint32_t align)
{
	for (int i = 0; i < nr; i++) {
		const struct iovec *v = &req->mem->iov[i];

		if (((uintptr_t)v->iov_base | v->iov_len) & (align - 1))
			return false;
	}
	return true;
}

/* Cut the pieces in req->mem->iov to @len bytes; returns their number. */
static int iov_trim(struct nvme_req *req, int nr, uint64_t len)
{
	for (int i = 0; i < nr; i++) {
		struct iovec *v = &req->mem->iov[i];

		if (v->iov_len >= len) {
			v->iov_len = len;
			return i + 1;
		}
		len -= v->iov_len;
	}
	return nr;
}

/* Pin the memory of the next chunk and set req->chunk and the pieces.  0, or -errno: -ENOTSUP when
 * a bounce buffer must do. */
static int pin_chunk(struct nvme_req *req)
{
	struct nvme_ns *ns = req->ns;
	struct nvme_req_mem *mem = req->mem;
	unsigned seg = req->seg;
	uint32_t off = req->seg_off;
	uint64_t total = 0;
	int nr = 0;

	if (req->ctrl->stopped || req->ctrl->parked)
		return -EPERM;
	if (req->not_pinnable)
		return -ENOTSUP;
	while (total < req->left && req->nr_pins < NVME_PINS_MAX && nr < NVME_IOV_MAX) {
		uint64_t n = mem->segs[seg].len - off;
		int r;

		if (n > req->left - total)
			n = req->left - total;
		r = uvfio_dma_pin(req->ctrl->dev, mem->segs[seg].iova + off, n, !is_write(req),
				  &mem->iov[nr], NVME_IOV_MAX - nr, &mem->pins[req->nr_pins]);
		if (r == -E2BIG && req->nr_pins)
			break;
		if (r < 0) {
			nvme_unpin(req);
			return r == -E2BIG ? -ENOTSUP : r;
		}
		req->nr_pins++;
		nr += r;
		total += n;
		seg++;
		off = 0;
	}
	total &= ~((1ull << ns->shift) - 1);
	nr = iov_trim(req, nr, total);
	if (!total || !iov_aligned(req, nr, ns->mem_align)) {
		nvme_unpin(req);
		return -ENOTSUP;
	}
	req->chunk = total;
	req->io.iov = mem->iov;
	req->io.nr_iov = nr;
	return 0;
}

/* ---- Read and Write ---- */

static void bounce_iov(struct nvme_req *req, uint8_t *buf, uint64_t len)
{
	req->mem->iov[0] = (struct iovec){.iov_base = buf, .iov_len = len};
	req->io.iov = req->mem->iov;
	req->io.nr_iov = 1;
}

static enum nvme_async rw_block(struct nvme_req *req)
{
	return nvme_block(req, req->ns, is_write(req) ? BLOCK_WRITE : BLOCK_READ, req->offset,
			  req->chunk, is_write(req) ? req->io_flags : 0);
}

static enum nvme_async rw_chunk(struct nvme_req *req)
{
	int r;

	if (!req->left) {
		req->phase = RW_FLUSH;
		return NVME_DONE;
	}
	if (req->ctrl->paused)
		return nvme_suspend(req);
	if (req->bounce) {
		req->phase = RW_BOUNCE;
		return NVME_DONE;
	}
	r = nvme_may_be_refused(req, pin_chunk(req));
	if (r == -ENOTSUP) {
		req->phase = RW_BOUNCE;
		return nvme_bounce_get(req);
	}
	if (r) {
		req->status = NVME_SC_DATA_TRANSFER | NVME_SC_DNR;
		return NVME_FAILED;
	}
	nvme_segs_skip(req, (uint32_t)req->chunk);
	req->phase = RW_CHUNK_END;
	return rw_block(req);
}

static enum nvme_async rw_bounce(struct nvme_req *req)
{
	req->chunk = req->left < NVME_BOUNCE_SIZE ? req->left : NVME_BOUNCE_SIZE;
	req->phase = RW_BOUNCE_IN;
	if (is_write(req))
		return nvme_copy(req, req->bounce, (uint32_t)req->chunk, false);
	bounce_iov(req, req->bounce, req->chunk);
	return rw_block(req);
}

static enum nvme_async rw_bounce_out(struct nvme_req *req)
{
	req->phase = RW_CHUNK_END;
	if (!is_write(req))
		return nvme_copy(req, req->bounce, (uint32_t)req->chunk, true);
	bounce_iov(req, req->bounce, req->chunk);
	return rw_block(req);
}

static enum nvme_async rw_start(struct nvme_req *req)
{
	void *direct = block_direct(req->ns->blk, req->offset, req->left);

	if (!direct) {
		req->phase = RW_CHUNK;
		return NVME_DONE;
	}
	req->phase = RW_FLUSH;
	return nvme_copy(req, direct, (uint32_t)req->left, !is_write(req));
}

void nvme_written(struct nvme_req *req)
{
	uint32_t nlb = NVME_RW_NLB(req->cmd.cdw12);

	req->ctrl->count.writes++;
	req->ctrl->count.bytes_written += (uint64_t)nlb << req->ns->shift;
	if (!nvme_bad_clear(req->ns, nvme_slba(&req->cmd), nlb))
		req->status = NVME_SC_INTERNAL | NVME_SC_DNR;
}

/* What went straight into the storage's memory, or may have. */
static void rw_direct_end(struct nvme_req *req)
{
	struct nvme_ns *ns = req->ns;
	uint64_t offset = nvme_slba(&req->cmd) << ns->shift;
	uint64_t len = (uint64_t)NVME_RW_NLB(req->cmd.cdw12) << ns->shift;

	if (is_write(req) && atomic_load(&ns->disk->tracked) && block_direct(ns->blk, offset, len))
		nvme_written_at(ns->disk, offset, len);
}

static void rw_end(struct nvme_req *req)
{
	rw_direct_end(req);
	if (!req->status && is_write(req)) {
		nvme_written(req);
	} else if (!req->status) {
		req->ctrl->count.reads++;
		req->ctrl->count.bytes_read += (uint64_t)NVME_RW_NLB(req->cmd.cdw12)
					       << req->ns->shift;
	}
	nvme_complete(req);
}

static void rw_step(struct nvme_req *req)
{
	enum nvme_async r = NVME_DONE;

	while (r == NVME_DONE && !req->status && req->phase != RW_END) {
		switch ((enum rw_phase)req->phase) {
		case RW_START:
			r = rw_start(req);
			break;
		case RW_CHUNK_END:
			req->offset += req->chunk;
			req->left -= req->chunk;
			req->phase = RW_CHUNK;
			break;
		case RW_CHUNK:
			r = rw_chunk(req);
			break;
		case RW_BOUNCE:
			r = rw_bounce(req);
			break;
		case RW_BOUNCE_IN:
			r = rw_bounce_out(req);
			break;
		case RW_FLUSH:
			req->phase = RW_END;
			if (req->flush_after)
				r = nvme_block(req, req->ns, BLOCK_FLUSH, 0, 0, 0);
			break;
		case RW_END:
			break;
		}
	}
	if (r != NVME_PENDING)
		rw_end(req);
}

bool nvme_rw_check(struct nvme_req *req, struct nvme_ns *ns)
{
	uint32_t nlb = NVME_RW_NLB(req->cmd.cdw12);

	if ((uint64_t)nlb << ns->shift > NVME_MAX_TRANSFER) {
		req->status = (uint16_t)nvme_bad_field(req, 48, 0);
		return false;
	}
	if (!nvme_lba_range(req, ns, nvme_slba(&req->cmd), nlb))
		return false;
	if (!is_write(req) && nvme_bad_hit(ns, req->offset, req->left)) {
		req->ctrl->count.media_errors++;
		req->status = NVME_SC_UNRECOVERED_READ | NVME_SC_DNR;
		return false;
	}
	return true;
}

void nvme_rw(struct nvme_req *req, struct nvme_ns *ns, bool write)
{
	if (!nvme_rw_check(req, ns)) {
		nvme_complete(req);
		return;
	}
	if (write)
		nvme_fua(req, ns);
	req->phase = RW_START;
	req->step = rw_step;
	if (nvme_map(req, (uint32_t)req->left) != NVME_PENDING)
		rw_step(req);
}

/* ---- Compare and Verify: through one bounce buffer, half for each side ---- */

enum cmp_phase { CMP_MAPPED, CMP_NEXT, CMP_CLIENT, CMP_BOTH, CMP_END };

static enum nvme_async cmp_chunk(struct nvme_req *req)
{
	if (!req->left) {
		req->phase = CMP_END;
		return NVME_DONE;
	}
	if (req->ctrl->paused)
		return nvme_suspend(req);
	req->chunk = req->left < NVME_BOUNCE_SIZE / 2 ? req->left : NVME_BOUNCE_SIZE / 2;
	req->phase = CMP_CLIENT;
	if (req->cmd.opcode == NVME_IO_COMPARE)
		return nvme_copy(req, req->bounce, (uint32_t)req->chunk, false);
	return NVME_DONE;
}

static enum nvme_async cmp_read(struct nvme_req *req)
{
	uint8_t *half = req->bounce + NVME_BOUNCE_SIZE / 2;

	req->phase = CMP_BOTH;
	bounce_iov(req, half, req->chunk);
	return nvme_block(req, req->ns, BLOCK_READ, req->offset, req->chunk, 0);
}

static enum nvme_async cmp_compare(struct nvme_req *req)
{
	uint8_t *half = req->bounce + NVME_BOUNCE_SIZE / 2;

	if (req->cmd.opcode == NVME_IO_COMPARE && memcmp(req->bounce, half, req->chunk) != 0) {
		req->status = NVME_SC_COMPARE_FAILURE | NVME_SC_DNR;
		return NVME_FAILED;
	}
	req->offset += req->chunk;
	req->left -= req->chunk;
	req->phase = CMP_NEXT;
	return NVME_DONE;
}

static void cmp_step(struct nvme_req *req)
{
	enum nvme_async r = NVME_DONE;

	while (r == NVME_DONE && !req->status && req->phase != CMP_END) {
		switch ((enum cmp_phase)req->phase) {
		case CMP_MAPPED:
			req->phase = CMP_NEXT;
			r = nvme_bounce_get(req);
			break;
		case CMP_NEXT:
			r = cmp_chunk(req);
			break;
		case CMP_CLIENT:
			r = cmp_read(req);
			break;
		case CMP_BOTH:
			r = cmp_compare(req);
			break;
		case CMP_END:
			break;
		}
	}
	if (r == NVME_PENDING)
		return;
	if (!req->status && req->cmd.opcode == NVME_IO_COMPARE)
		req->ctrl->count.reads++;
	nvme_complete(req);
}

void nvme_compare(struct nvme_req *req, struct nvme_ns *ns)
{
	if (!nvme_rw_check(req, ns)) {
		nvme_complete(req);
		return;
	}
	req->phase = CMP_MAPPED;
	req->step = cmp_step;
	if (nvme_map(req, (uint32_t)req->left) != NVME_PENDING)
		cmp_step(req);
}

void nvme_verify(struct nvme_req *req, struct nvme_ns *ns)
{
	if (!nvme_lba_range(req, ns, nvme_slba(&req->cmd), NVME_RW_NLB(req->cmd.cdw12))) {
		nvme_complete(req);
		return;
	}
	if (nvme_bad_hit(ns, req->offset, req->left)) {
		req->ctrl->count.media_errors++;
		nvme_complete_status(req, NVME_SC_UNRECOVERED_READ | NVME_SC_DNR);
		return;
	}
	req->phase = CMP_MAPPED;
	req->step = cmp_step;
	cmp_step(req);
}

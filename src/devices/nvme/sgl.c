/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Scatter gather lists.  The descriptor in the command is a data block (then it is all there is),
 * or a segment or last segment; only the last descriptor of a segment may lead to another segment,
 * and none may in a last segment.  A list may be longer than the data; what it says beyond is
 * still checked as far as the segment goes that ended the data, and not read further.
 *
 * Bit buckets swallow data of reads; for writes they have no length, as the standard says.
 *
 * A list that leads back to itself ends at NVME_SGL_DESCS_MAX descriptors.
 */
#include <errno.h>

#include "devices/nvme/nvme.h"

#define DESC_TYPE(id)    ((id) >> 4)
#define DESC_SUBTYPE(id) ((id)&0xf)
#define DESC_SIZE        ((uint32_t)sizeof(struct nvme_sgl_desc))

static void segment_next(struct nvme_req *req, int status);

static enum nvme_async fail(struct nvme_req *req, unsigned status)
{
	req->status = (uint16_t)(status | NVME_SC_DNR);
	return NVME_FAILED;
}

/* Does the command bring data to the client?  Opcode bits 1:0 are the direction. */
static bool to_client(const struct nvme_req *req)
{
	return (req->cmd.opcode & 3) == 2;
}

/* A data block or bit bucket. */
static enum nvme_async take_data(struct nvme_req *req, const struct nvme_sgl_desc *d)
{
	uint32_t len = d->len;
	bool bucket = DESC_TYPE(d->id) == NVME_SGL_BIT_BUCKET;

	if (bucket && !to_client(req))
		return NVME_DONE;
	if (!bucket && len && d->addr + len - 1 < d->addr)
		return fail(req, NVME_SC_DATA_TRANSFER);
	if (len > req->map_len - req->walk_total)
		len = req->map_len - req->walk_total;
	if (!len)
		return NVME_DONE;
	if (bucket ? !nvme_segs_add_bucket(req, len) : !nvme_segs_add(req, d->addr, len))
		return fail(req, NVME_SC_SGL_COUNT);
	req->walk_total += len;
	return NVME_DONE;
}

/* Check a segment descriptor and go there. */
static enum nvme_async enter(struct nvme_req *req, const struct nvme_sgl_desc *d)
{
	if (!d->len || d->len % DESC_SIZE)
		return fail(req, NVME_SC_SGL_SEGMENT);
	req->walk_addr = d->addr;
	req->walk_left = d->len / DESC_SIZE;
	req->walk_last = DESC_TYPE(d->id) == NVME_SGL_LAST_SEGMENT;
	return NVME_DONE;
}

static enum nvme_async segment_take(struct nvme_req *req)
{
	const struct nvme_sgl_desc *descs = (const struct nvme_sgl_desc *)req->mem->scratch;

	for (uint32_t i = 0; i < req->walk_batch; i++) {
		const struct nvme_sgl_desc *d = &descs[i];

		req->walk_left--;
		req->walk_addr += DESC_SIZE;
		if (++req->walk_descs > NVME_SGL_DESCS_MAX)
			return fail(req, NVME_SC_SGL_COUNT);
		if (DESC_SUBTYPE(d->id) != 0)
			return fail(req, NVME_SC_SGL_TYPE);
		switch (DESC_TYPE(d->id)) {
		case NVME_SGL_DATA:
		case NVME_SGL_BIT_BUCKET:
			if (take_data(req, d) != NVME_DONE)
				return NVME_FAILED;
			break;
		case NVME_SGL_SEGMENT:
		case NVME_SGL_LAST_SEGMENT:
			/* The last of its segment, which must not be the last segment. */
			if (req->walk_last || req->walk_left)
				return fail(req, NVME_SC_SGL_SEGMENT);
			return enter(req, d);
		default:
			return fail(req, NVME_SC_SGL_TYPE);
		}
	}
	if (!req->walk_left && !req->walk_last)
		/* A segment that is not the last must lead on, unless the data is complete. */
		return req->walk_total < req->map_len ? fail(req, NVME_SC_SGL_SEGMENT) : NVME_DONE;
	return NVME_DONE;
}

/* 0, 1 or -errno, with req->status set. */
static int segment_read(struct nvme_req *req)
{
	int r;

	req->walk_batch = req->walk_left;
	if (req->walk_batch > NVME_SCRATCH / DESC_SIZE)
		req->walk_batch = NVME_SCRATCH / DESC_SIZE;
	if (!nvme_list_place(req, req->walk_addr, (uint64_t)req->walk_batch * DESC_SIZE))
		return -EFAULT;
	r = nvme_dma(req, req->walk_addr, req->mem->scratch, (size_t)req->walk_batch * DESC_SIZE,
		     false, segment_next);
	if (r < 0)
		fail(req, NVME_SC_DATA_TRANSFER);
	return r;
}

static enum nvme_async segments_run(struct nvme_req *req)
{
	while (req->walk_left && req->walk_total < req->map_len) {
		int r = segment_read(req);

		if (r == 1)
			return NVME_PENDING;
		if (r || segment_take(req) != NVME_DONE)
			return NVME_FAILED;
	}
	if (req->walk_total < req->map_len)
		return fail(req, NVME_SC_SGL_LENGTH);
	return NVME_DONE;
}

static void segment_next(struct nvme_req *req, int status)
{
	if (status)
		fail(req, NVME_SC_DATA_TRANSFER);
	else if (segment_take(req) == NVME_DONE && segments_run(req) == NVME_PENDING)
		return;
	req->step(req);
}

enum nvme_async nvme_map_sgl(struct nvme_req *req, uint32_t len)
{
	const struct nvme_sgl_desc *d = &req->cmd.sgl;

	req->map_len = len;
	req->walk_total = req->walk_descs = 0;
	if (DESC_SUBTYPE(d->id) != 0)
		return fail(req, NVME_SC_SGL_TYPE);
	switch (DESC_TYPE(d->id)) {
	case NVME_SGL_DATA:
		req->walk_left = 0;
		if (take_data(req, d) != NVME_DONE)
			return NVME_FAILED;
		return segments_run(req);
	case NVME_SGL_SEGMENT:
	case NVME_SGL_LAST_SEGMENT:
		if (enter(req, d) != NVME_DONE)
			return NVME_FAILED;
		return segments_run(req);
	default:
		return fail(req, NVME_SC_SGL_TYPE);
	}
}

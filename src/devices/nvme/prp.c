/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * PRP entries: PRP1 with any dword offset, then whole pages; the second page in PRP2, or, when
 * there are more, a list that PRP2 points to.  The last entry of a list page that does not finish
 * the transfer points to the next list page.
 *
 * The list is read, as far as a page of it or scratch goes, by one DMA at a time.
 */
#include <errno.h>

#include "devices/nvme/nvme.h"

static void list_next(struct nvme_req *req, int status);

static enum nvme_async offset_invalid(struct nvme_req *req)
{
	req->status = NVME_SC_PRP_OFFSET | NVME_SC_DNR;
	return NVME_FAILED;
}

/* Read the next batch of list entries: 0, 1 or -errno, with req->status set. */
static int list_read(struct nvme_req *req)
{
	uint32_t page = 1u << req->ctrl->page_bits;
	uint32_t in_page = (page - (uint32_t)(req->walk_addr & (page - 1))) / 8;
	uint32_t need = (req->walk_left + page - 1) / page;
	int r;

	req->walk_batch = need < in_page ? need : in_page;
	if (req->walk_batch > NVME_SCRATCH / 8)
		req->walk_batch = NVME_SCRATCH / 8;
	if (!nvme_list_place(req, req->walk_addr, 8ull * req->walk_batch))
		return -EFAULT;
	r = nvme_dma(req, req->walk_addr, req->mem->scratch, 8ull * req->walk_batch, false,
		     list_next);
	if (r < 0)
		req->status = NVME_SC_DATA_TRANSFER | NVME_SC_DNR;
	return r;
}

/* Take the entries that were read. */
static enum nvme_async list_take(struct nvme_req *req)
{
	const uint64_t *entries = (const uint64_t *)req->mem->scratch;
	uint32_t page = 1u << req->ctrl->page_bits;

	for (uint32_t i = 0; i < req->walk_batch; i++) {
		uint32_t n = req->walk_left < page ? req->walk_left : page;
		bool last_of_page;

		req->walk_addr += 8;
		last_of_page = !(req->walk_addr & (page - 1));
		if (entries[i] & (page - 1))
			return offset_invalid(req);
		if (last_of_page && req->walk_left > page) {
			req->walk_addr = entries[i];
			return NVME_DONE;
		}
		/* Cannot be too many: whole pages of a transfer within MDTS. */
		if (!nvme_segs_add(req, entries[i], n)) {
			req->status = NVME_SC_INTERNAL | NVME_SC_DNR;
			return NVME_FAILED;
		}
		req->walk_left -= n;
	}
	return NVME_DONE;
}

static enum nvme_async list_run(struct nvme_req *req)
{
	while (req->walk_left) {
		int r = list_read(req);

		if (r == 1)
			return NVME_PENDING;
		if (r || list_take(req) != NVME_DONE)
			return NVME_FAILED;
	}
	return NVME_DONE;
}

static void list_next(struct nvme_req *req, int status)
{
	if (status)
		req->status = NVME_SC_DATA_TRANSFER | NVME_SC_DNR;
	else if (list_take(req) == NVME_DONE && list_run(req) == NVME_PENDING)
		return;
	req->step(req);
}

enum nvme_async nvme_map_prp(struct nvme_req *req, uint32_t len)
{
	uint64_t prp1 = req->cmd.prp1, prp2 = req->cmd.prp2;
	uint32_t page = 1u << req->ctrl->page_bits;
	uint32_t first = page - (uint32_t)(prp1 & (page - 1));

	if (prp1 & 3)
		return offset_invalid(req);
	if (first > len)
		first = len;
	nvme_segs_add(req, prp1, first);
	len -= first;
	if (!len)
		return NVME_DONE;
	if (len <= page) {
		if (prp2 & (page - 1))
			return offset_invalid(req);
		nvme_segs_add(req, prp2, len);
		return NVME_DONE;
	}
	if (prp2 & 7)
		return offset_invalid(req);
	req->walk_addr = prp2;
	req->walk_left = len;
	return list_run(req);
}

enum nvme_async nvme_map(struct nvme_req *req, uint32_t len)
{
	req->nr_segs = req->seg = 0;
	req->seg_off = 0;
	req->not_pinnable = false;
	req->list_read = false;
	if (NVME_FLAGS_PSDT(req->cmd.flags) == NVME_PSDT_PRP)
		return nvme_map_prp(req, len);
	return nvme_map_sgl(req, len);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Compare and Write, once the namespace has come to rest for this controller (fused.c).
 *
 * Both parts of the host's data are fetched first.  Then the blocks are claimed, read, compared and
 * written, so that no other controller changes them in between (claim.c), and nothing but the
 * storage is waited for.  Whatever goes wrong is the status of the command that it belongs to: when
 * that is the Compare's, the Write is aborted; when the Write's data cannot be fetched, the Compare
 * is; and when the storage cannot be written, the Compare has succeeded all the same.
 */
#include <string.h>

#include "devices/nvme/nvme.h"

/* Parts of the one buffer that both share. */
#define PART (NVME_BOUNCE_SIZE / 4)

static_assert(NVME_ACWU * 4096 <= PART, "fits its part");

enum cas_phase {
	CAS_MAP,
	CAS_MAP_NEW,
	CAS_BUFFER,
	CAS_OLD,
	CAS_NEW,
	CAS_CLAIM,
	CAS_READ,
	CAS_WRITE,
	CAS_FLUSH,
	CAS_END
};

static void use_part(struct nvme_req *req, uint8_t *buf, uint64_t len)
{
	req->mem->iov[0] = (struct iovec){.iov_base = buf, .iov_len = len};
	req->io.iov = req->mem->iov;
	req->io.nr_iov = 1;
}

static enum nvme_async claim(struct nvme_req *first)
{
	struct nvme_ctrl *c = first->ctrl;

	if (!first->ns->disk->sub->shared ||
	    nvme_claim(c, &first->claim, first->ns->disk, first->offset, first->left, true))
		return NVME_DONE;
	c->external++;
	return NVME_PENDING;
}

static enum nvme_async compare_and_write(struct nvme_req *first, struct nvme_req *second)
{
	uint8_t *buf = first->bounce;

	if (memcmp(buf, buf + 2 * PART, first->left) != 0) {
		first->status = NVME_SC_COMPARE_FAILURE | NVME_SC_DNR;
		return NVME_FAILED;
	}
	use_part(second, buf + PART, second->left);
	/* The claim is the first's, and it is exclusive. */
	return nvme_block_claimed(second, second->ns, BLOCK_WRITE, second->offset, second->left,
				  second->io_flags);
}

static enum nvme_async next(struct nvme_req *first, struct nvme_req *second)
{
	uint8_t *buf = first->bounce;
	uint32_t len = (uint32_t)first->left;

	switch ((enum cas_phase)first->phase++) {
	case CAS_MAP:
		return nvme_map(first, len);
	case CAS_MAP_NEW:
		return nvme_map(second, len);
	case CAS_BUFFER:
		return nvme_bounce_get(first);
	case CAS_OLD:
		return nvme_copy(first, buf, len, false);
	case CAS_NEW:
		return nvme_copy(second, buf + PART, len, false);
	case CAS_CLAIM:
		return claim(first);
	case CAS_READ:
		use_part(first, buf + 2 * PART, len);
		return nvme_block(first, first->ns, BLOCK_READ, first->offset, len, 0);
	case CAS_WRITE:
		return compare_and_write(first, second);
	case CAS_FLUSH:
		if (second->flush_after)
			return nvme_block(second, second->ns, BLOCK_FLUSH, 0, 0, 0);
		return NVME_DONE;
	case CAS_END:
		break;
	}
	return NVME_DONE;
}

static void end(struct nvme_req *first, struct nvme_req *second)
{
	nvme_claim_put(&first->claim);
	/* One is kept: so are both.  Nothing but the host's data has been looked at. */
	if (first->refused || second->refused) {
		first->refused = second->refused = true;
		nvme_complete(first);
		nvme_complete(second);
		return;
	}
	if (first->phase <= CAS_CLAIM && second->status)
		first->status = NVME_SC_FAILED_FUSED | NVME_SC_DNR;
	else if (first->status)
		second->status = NVME_SC_FAILED_FUSED | NVME_SC_DNR;
	if (!first->status)
		first->ctrl->count.reads++;
	if (!second->status)
		nvme_written(second);
	nvme_complete(first);
	nvme_complete(second);
}

static void cas_step(struct nvme_req *first)
{
	struct nvme_req *second = first->fused_write;
	enum nvme_async r = NVME_DONE;

	while (r == NVME_DONE && !first->status && !second->status && first->phase < CAS_END)
		r = next(first, second);
	if (r != NVME_PENDING)
		end(first, second);
}

static void second_step(struct nvme_req *second)
{
	cas_step(second->ns->fused);
}

void nvme_cas(struct nvme_req *first, struct nvme_ns *ns)
{
	struct nvme_req *second = first->fused_write;

	first->phase = CAS_MAP;
	first->step = cas_step;
	second->step = second_step;
	nvme_fua(second, ns);
	if (nvme_rw_check(first, ns) && nvme_rw_check(second, ns))
		cas_step(first);
	else
		end(first, second);
}

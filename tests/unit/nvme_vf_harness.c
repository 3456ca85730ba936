/* SPDX-License-Identifier: BSD-3-Clause */
/* VFs of a device without a core (nvme_harness.h): each is a harness of its own. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/nvme/nvme_model.h"
#include "nvme_harness.h"

/* ---- the core ---- */

void h_take_sriov(struct harness *h, const struct uvfio_sriov_desc *sriov)
{
	assert(sriov->vf->msix_vectors == sriov->msix_max);
	h->msix_pool = sriov->msix_pool;
	h->msix_max = sriov->msix_max;
}

struct uvfio_device *uvfio_vf_pf(struct uvfio_device *dev)
{
	return dev->h->pf ? &dev->h->pf->dev : NULL;
}

unsigned uvfio_vf_index(const struct uvfio_device *vf)
{
	return vf->h->vf_index;
}

unsigned uvfio_vf_vectors(const struct uvfio_device *vf)
{
	return vf->h->vectors;
}

/* May VF @index of @h have @n vectors? */
static int check_vectors(const struct harness *h, unsigned index, unsigned n)
{
	unsigned used = n;

	if (index >= H_VFS || !h->vfs[index])
		return -EINVAL;
	if (n > h->msix_max)
		return -EOVERFLOW;
	for (unsigned i = 0; i < H_VFS; i++)
		used += h->vfs[i] && i != index ? h->vfs[i]->vectors : 0;
	return used > h->msix_pool ? -ENOSPC : 0;
}

int uvfio_vf_set_vectors(struct uvfio_device *pf, unsigned index, unsigned n)
{
	int r = check_vectors(pf->h, index, n);

	if (!r)
		pf->h->vfs[index]->vectors = n;
	return r;
}

void h_give_vectors(struct harness *pf, unsigned index, unsigned n)
{
	if (!check_vectors(pf, index, n) && !nvme_model.vf_vectors(pf->priv, index, n))
		pf->vfs[index]->vectors = n;
}

/* ---- storage ---- */

int block_share(struct block *of, struct uvfio_device *dev, struct uvfio_ctx *ctx,
		struct block **out)
{
	struct harness *h = ctx->h;
	struct block *b;

	assert(h->nr_blocks < H_BLOCKS);
	b = calloc(1, sizeof(*b));
	b->h = h;
	b->of = of->of;
	b->info = of->info;
	h->blocks[h->nr_blocks++] = b;
	*out = b;
	return 0;
}

void block_set_size(struct block *b, uint64_t size)
{
	if (b->info.size == size)
		return;
	b->info.size = size;
	b->resize_fn(b->resize_arg);
}

/* ---- life ---- */

struct harness *h_new_vf(struct harness *pf, unsigned index)
{
	struct harness *h = h_alloc_harness();
	struct uvfio_error err;

	h->pf = pf;
	h->vf_index = index;
	h->block_direct = false;
	h->block_async = pf->block_async;
	/* An equal share, as the core gives it. */
	h->vectors = h->msix_max = pf->msix_max;
	h->desc.msix_vectors = pf->msix_max;
	if (h->vectors > pf->msix_pool / H_VFS)
		h->vectors = pf->msix_pool / H_VFS;
	pf->vfs[index] = h;
	if (nvme_model.vf_create(pf->priv, index, &h->dev, &h->priv, &err))
		abort();
	h->in_ctx = true;
	nvme_model.reset(h->priv, UVFIO_RESET_POWER_ON);
	nvme_model.reset(h->priv, UVFIO_RESET_OPEN);
	h->in_ctx = false;
	h_run(h);
	return h;
}

static bool kicked(const struct harness *h)
{
	return __atomic_load_n(&h->kicked, __ATOMIC_SEQ_CST);
}

void h_run_all(struct harness *pf)
{
	bool again = true;

	while (again) {
		h_run(pf);
		for (unsigned i = 0; i < H_VFS; i++) {
			if (pf->vfs[i])
				h_run(pf->vfs[i]);
		}
		/* One may have kicked another that had run before. */
		again = kicked(pf);
		for (unsigned i = 0; i < H_VFS; i++)
			again |= pf->vfs[i] && kicked(pf->vfs[i]);
	}
}

void h_reset_all(struct harness *pf, enum uvfio_reset_kind kind)
{
	h_quiet(pf);
	for (unsigned i = 0; i < H_VFS; i++) {
		if (pf->vfs[i])
			h_reset(pf->vfs[i], UVFIO_RESET_FUNCTION);
	}
	pf->in_ctx = true;
	nvme_model.reset(pf->priv, kind);
	pf->in_ctx = false;
	h_run_all(pf);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SR-IOV: the controller as a physical function, and its virtual functions.
 *
 * A VF is a secondary controller of the subsystem: the same model, with BAR 0 and MSI-X, without
 * INTx, controller memory buffer and persistent memory region.  It costs little until it is
 * enabled: queues, requests and the state of namespaces are memory that nobody has touched, and
 * storage is shared (block_share()).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/nvme/nvme.h"

/* Of a VF's MSI-X vectors the core decides, and tells; or the driver of the primary controller
 * does, and the core is told. */

unsigned nvme_vectors(const struct nvme_ctrl *c)
{
	return c->secondary ? uvfio_vf_vectors(c->dev) : c->nr_vectors;
}

int nvme_vf_set_vectors(struct nvme_ctrl *pf, unsigned index, unsigned n)
{
	return uvfio_vf_set_vectors(pf->dev, index, n);
}

int nvme_vf_vectors(void *pf, unsigned index, unsigned n)
{
	nvme_virt_vectors(((struct nvme_ctrl *)pf)->sub, index, n);
	return 0;
}

void nvme_vf_reset(struct nvme_ctrl *c)
{
	unsigned index = c->cntlid - 1u, nvi;

	nvme_virt_take_over(c);
	if (nvme_virt_decides(c, &nvi)) {
		if (nvi != uvfio_vf_vectors(c->dev))
			nvme_vf_set_vectors(c->sub->pf, index, nvi);
	} else {
		nvme_virt_vectors(c->sub, index, uvfio_vf_vectors(c->dev));
	}
}

void nvme_host_driver(void *priv, bool bound)
{
	struct nvme_ctrl *c = priv;

	nvme_virt_host(c->sub, bound);
}

/* ---- the options ---- */

/* That there is room for. */
#define VECTORS_MAX ((NVME_BAR_MSIX_PBA - NVME_BAR_MSIX_TABLE) / 16u)

/* Of what one VF may have @most: the pool, @n unless the options say otherwise. */
static int parse_pool(const struct uvfio_args *args, const char *key, unsigned vfs, unsigned most,
		      uint64_t n, unsigned *total, unsigned *max, struct uvfio_error *err)
{
	int r;

	if (!vfs && uvfio_arg(args, key))
		return uvfio_error_set(err, -EINVAL,
				       "%s=%s: there are no VFs: add vfs=N, or leave "
				       "it out",
				       key, uvfio_arg(args, key));
	r = uvfio_arg_uint(args, key, NVME_VF_MIN_QUEUES, (uint64_t)NVME_MAX_VFS * 512, &n, err);
	*total = (unsigned)n;
	*max = n < most ? (unsigned)n : most;
	return r;
}

int nvme_vfs_parse(struct nvme_ctrl *c, const struct uvfio_args *args, struct uvfio_error *err)
{
	/* One VF may have as many queues as the PF. */
	unsigned queues = c->nr_queues + 1;
	unsigned each = queues < NVME_VF_SHARE ? queues : NVME_VF_SHARE;
	unsigned vq, vi, vq_max, vi_max;
	uint64_t vfs = 0;
	int r;

	r = uvfio_arg_uint(args, "vfs", 0, NVME_MAX_VFS, &vfs, err);
	if (!r)
		r = parse_pool(args, "vq_flexible", (unsigned)vfs, queues, vfs * each, &vq, &vq_max,
			       err);
	/* Of the vectors that one may have it gets half at first: one for each queue. */
	if (!r)
		r = parse_pool(args, "vi_flexible", (unsigned)vfs,
			       2 * queues < VECTORS_MAX ? 2 * queues : VECTORS_MAX,
			       (vfs > 1 ? vfs : 2) * each, &vi, &vi_max, err);
	if (r)
		return r;
	c->sub = nvme_subsys_new(c, (unsigned)vfs);
	if (!c->sub)
		return uvfio_error_set(err, -ENOMEM, "nvme: out of memory for %u VFs",
				       (unsigned)vfs);
	if (!vfs)
		return 0;
	c->sub->vq_total = vq;
	c->sub->vi_total = vi;
	c->sub->vq_max = vq_max;
	c->sub->vi_max = vi_max;
	nvme_virt_start(c->sub);
	return 0;
}

/* ---- the functions ---- */

const struct uvfio_sriov_desc *nvme_vfs_describe(const struct nvme_ctrl *c,
						 struct uvfio_sriov_desc *sriov,
						 struct uvfio_pci_desc *vf,
						 struct uvfio_area areas[NVME_BAR_AREAS])
{
	if (!c->sub->total_vfs)
		return NULL;
	nvme_bar_areas(areas, false);
	*vf = (struct uvfio_pci_desc){
		.bars = {[NVME_BAR] = {NVME_BAR_SIZE, UVFIO_BAR_MEM64, areas, NVME_BAR_AREAS}},
		.msix_vectors = c->sub->vi_max,
		.msix_bar = NVME_BAR,
		.msix_table = NVME_BAR_MSIX_TABLE,
		.msix_pba = NVME_BAR_MSIX_PBA,
		.pcie = true,
		.pm = true,
		.flr = true,
	};
	*sriov = (struct uvfio_sriov_desc){
		.total_vfs = c->sub->total_vfs,
		.vf_device = c->device,
		.vf = vf,
		.msix_pool = c->sub->vi_total,
		.msix_min = 0,
		.msix_max = c->sub->vi_max,
	};
	return sriov;
}

int nvme_vf_create(void *pf, unsigned index, struct uvfio_device *vf, void **priv,
		   struct uvfio_error *err)
{
	struct nvme_ctrl *primary = pf, *c = nvme_ctrl_new(vf);
	int r;

	if (!c)
		return uvfio_error_set(err, -ENOMEM, "nvme: out of memory for VF %u", index);
	c->sub = primary->sub;
	c->secondary = true;
	c->cntlid = (uint16_t)(index + 1);
	c->vendor = primary->vendor;
	c->device = primary->device;
	c->nr_queues = c->sub->vq_max - 1;
	c->nr_vectors = c->sub->vi_max;
	memcpy(c->serial, primary->serial, sizeof(c->serial));
	memcpy(c->subnqn, primary->subnqn, sizeof(c->subnqn));
	r = nvme_ctrl_setup(c, err);
	if (!r)
		r = nvme_ns_take_all(c, err);
	if (r) {
		nvme_ctrl_free(c);
		return r;
	}
	nvme_virt_join(c);
	/* Not before it is complete: others may kick it from here on. */
	*priv = c;
	return 0;
}

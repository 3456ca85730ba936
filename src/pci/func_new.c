/* SPDX-License-Identifier: BSD-3-Clause */
/* How a function comes into being and goes, with what it shares with others. */
#include <errno.h>
#include <stdlib.h>

#include "pci/sriov.h"
#include "pci/func_private.h"

/* ---- what is shared ---- */

static void layout_put(struct pci_layout *layout)
{
	if (!layout || atomic_fetch_sub(&layout->refs, 1) != 1)
		return;
	pci_desc_release(&layout->desc);
	free(layout);
}

static int layout_new(const struct uvfio_pci_desc *desc, struct pci_layout **out)
{
	struct pci_layout *layout = calloc(1, sizeof(*layout));
	int ret;

	if (!layout)
		return -ENOMEM;
	atomic_init(&layout->refs, 1);
	ret = pci_desc_copy(&layout->desc, desc);
	if (ret) {
		layout_put(layout);
		return ret;
	}
	*out = layout;
	return 0;
}

static void link_put(struct pci_vf_link *link)
{
	if (link && atomic_fetch_sub(&link->refs, 1) == 1)
		free(link);
}

/* ---- one function ---- */

/* What each has of its own besides config space: 0 or -ENOMEM. */
static int own_parts(struct pci_func *func, const void *vpd)
{
	const struct uvfio_pci_desc *desc = &func->desc;

	if (desc->pm && !desc->no_soft_reset) {
		func->saved = malloc(PCI_EXT_CONFIG_SIZE);
		if (!func->saved)
			return -ENOMEM;
	}
	if (desc->vpd_len) {
		func->vpd_data = malloc(desc->vpd_len);
		if (!func->vpd_data)
			return -ENOMEM;
		memcpy(func->vpd_data, vpd, desc->vpd_len);
	}
	return 0;
}

static int sriov_init(struct pci_func *func)
{
	func->sriov = calloc(1, sizeof(*func->sriov));
	func->link = calloc(1, sizeof(*func->link));
	if (!func->sriov || !func->link)
		return -ENOMEM;
	atomic_init(&func->link->refs, 1);
	return 0;
}

/* A function of @desc, which is checked; of the VFs of @pf unless that is NULL. */
static int make(const struct uvfio_pci_desc *desc, const struct pci_addr *addr,
		const struct pci_func *pf, struct pci_func **out, struct uvfio_error *err)
{
	struct pci_func *func = calloc(1, sizeof(*func));
	int ret;

	if (!func)
		return -ENOMEM;
	func->addr = *addr;
	func->irq_mode = -1;
	pthread_mutex_init(&func->model_lock, NULL);
	func->size = desc->pcie ? PCI_EXT_CONFIG_SIZE : PCI_CONFIG_SIZE;
	func->is_vf = pf;
	func->vf_ari = pf && pci_find_ext_cap(pf, PCI_EXT_CAP_ID_ARI) &&
		       !pci_desc_has_data(desc, PCI_EXT_CAP_ID_ARI);
	ret = layout_new(desc, &func->layout);
	if (!ret) {
		func->desc = func->layout->desc;
		ret = own_parts(func, desc->vpd);
	}
	if (!ret && desc->sriov)
		ret = sriov_init(func);
	if (!ret)
		ret = pci_build(func, err);
	if (!ret && pf)
		pci_vf_strip(func);
	if (ret)
		pci_func_free(func);
	else
		*out = func;
	return ret;
}

/* The VFs, and what the host does when it finds a PF. */
static int make_vfs(struct pci_func *pf, struct uvfio_error *err)
{
	struct pci_sriov *sriov = pf->sriov;
	unsigned total = pci_sriov_total_vfs(pf);
	struct pci_addr last = pci_sriov_vf_addr(pf, total - 1);
	unsigned id = (unsigned)pf->addr.bus << 8 | (unsigned)pf->addr.dev << 3 | pf->addr.fn;
	struct uvfio_pci_desc vf = pci_desc_vf(&pf->desc);
	struct uvfio_error inner = {""};
	int ret;

	if (id + pci_sriov_offset(pf) + (total - 1) * pci_sriov_stride(pf) > UINT16_MAX)
		return uvfio_error_set(err, -EINVAL,
				       "the last of %u VFs, %u functions apart, is behind bus 255: "
				       "use fewer VFs or a lower bus",
				       total, pci_sriov_stride(pf));
	ret = make(&vf, &last, pf, &sriov->vf, &inner);
	if (ret)
		return uvfio_error_set(err, ret, "the VFs: %s",
				       inner.msg[0] ? inner.msg : strerror(-ret));
	((struct uvfio_sriov_desc *)(uintptr_t)pf->desc.sriov)->vf = &sriov->vf->layout->desc;
	for (unsigned i = 0; i < PCI_SRIOV_NUM_BARS; i++)
		sriov->size[i] = vf.bars[i].size;
	sriov->ctrl = pci_find_ext_cap(pf, PCI_EXT_CAP_ID_ARI) ? PCI_SRIOV_CTRL_ARI : 0;
	return 0;
}

int pci_func_new(const struct uvfio_pci_desc *desc, const struct pci_addr *addr,
		 const struct pci_func_ops *ops, void *ops_arg, struct pci_func **out,
		 struct uvfio_error *err)
{
	struct pci_func *func;
	int ret = pci_desc_check(desc, err);

	if (!ret)
		ret = make(desc, addr, NULL, &func, err);
	if (ret)
		return ret;
	if (func->sriov)
		ret = make_vfs(func, err);
	if (ret) {
		pci_func_free(func);
		return ret;
	}
	if (ops)
		func->ops = *ops;
	func->arg = ops_arg;
	pci_config_reset(func, UVFIO_RESET_POWER_ON);
	if (func->sriov) {
		pci_sriov_restore(func);
		pci_publish(func);
	}
	*out = func;
	return 0;
}

struct pci_func *pci_func_like(const struct pci_func *like)
{
	struct pci_func *func = calloc(1, sizeof(*func));

	if (!func)
		return NULL;
	pthread_mutex_init(&func->model_lock, NULL);
	func->desc = like->desc;
	func->layout = like->layout;
	atomic_fetch_add_explicit(&func->layout->refs, 1, memory_order_relaxed);
	func->size = like->size;
	func->irq_mode = -1;
	func->pm = like->pm;
	func->vpd = like->vpd;
	func->msi = like->msi;
	func->msix = like->msix;
	func->msix_link = like->msix_link;
	func->exp = like->exp;
	func->af = like->af;
	func->aer = like->aer;
	func->pcix = like->pcix;
	func->is_vf = like->is_vf;
	if (own_parts(func, like->vpd_data)) {
		pci_func_free(func);
		return NULL;
	}
	return func;
}

void pci_func_free(struct pci_func *func)
{
	if (!func)
		return;
	if (func->sriov)
		pci_func_free(func->sriov->vf);
	free(func->sriov);
	link_put(func->link);
	layout_put(func->layout);
	pthread_mutex_destroy(&func->model_lock);
	free(func->vpd_data);
	free(func->saved);
	free(func);
}

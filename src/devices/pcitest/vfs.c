/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SR-IOV: what a VF is, and what its PF can do to it.
 *
 * A VF is the same device with less: BAR 0 with its registers and MSI-X, and the memory of BAR 2.
 * Each knows the other: the PF by its table of VFs, which its lock guards, a VF by a pointer.
 */
#include <errno.h>
#include <stdlib.h>

#include "devices/pcitest/pcitest.h"

void pcitest_vfs_describe(const struct pcitest_vfs *o, struct uvfio_pci_desc *pf,
			  struct pcitest_vf_room *room)
{
	room->memory = (struct uvfio_area){0, o->memory, UVFIO_AREA_MEMORY, 0};
	room->vf = (struct uvfio_pci_desc){
		.bars[PCITEST_BAR_REGS] = pf->bars[PCITEST_BAR_REGS],
		.bars[PCITEST_BAR_MEMORY] = {o->memory, UVFIO_BAR_MEM64 | UVFIO_BAR_PREFETCH,
					     &room->memory, 1},
		.msix_vectors = (unsigned)o->vectors,
		.msix_bar = PCITEST_BAR_REGS,
		.msix_table = PCITEST_MSIX_TABLE,
		.msix_pba = PCITEST_MSIX_PBA,
		.pcie = true,
		.flr = true,
		.pm = true,
	};
	room->vf.bars[PCITEST_BAR_REGS].flags = UVFIO_BAR_MEM64;
	room->sriov = (struct uvfio_sriov_desc){
		.total_vfs = (unsigned)o->total,
		.vf_device = (uint16_t)(pf->device + 1),
		.vf = &room->vf,
		.msix_pool = (unsigned)o->pool,
		.msix_min = (unsigned)o->min,
	};
	for (uint64_t size = o->memory; size <= o->resize; size *= 2)
		room->sriov.vf_bar_sizes[PCITEST_BAR_MEMORY] |= size >> 20;
	pf->sriov = &room->sriov;
}

static void publish_count(struct pcitest *pf)
{
	pcitest_publish(pf, PCITEST_VF_NUMBER, 4, pf->num_vfs);
}

int pcitest_vf_create(void *priv, unsigned index, struct uvfio_device *dev, void **out,
		      struct uvfio_error *err)
{
	struct pcitest *pf = priv, *vf = pcitest_new(dev);

	if (!vf)
		return uvfio_error_set(err, -ENOMEM, "pcitest: out of memory");
	vf->pf = pf;
	vf->index = index;
	vf->nr_vectors = uvfio_vf_vectors(dev);
	vf->memory = uvfio_bar_memory(dev, PCITEST_BAR_MEMORY, 0);
	vf->memory_size = pf->vf_memory;
	pthread_mutex_lock(&pf->lock);
	pf->vfs[index] = vf;
	pf->num_vfs++;
	publish_count(pf);
	pthread_mutex_unlock(&pf->lock);
	*out = vf;
	return 0;
}

void pcitest_vf_gone(struct pcitest *vf)
{
	struct pcitest *pf = vf->pf;

	pthread_mutex_lock(&pf->lock);
	pf->vfs[vf->index] = NULL;
	pf->num_vfs--;
	publish_count(pf);
	pthread_mutex_unlock(&pf->lock);
}

/* The count has changed, or is about to. */
static void set_vectors(struct pcitest *vf, unsigned n)
{
	pthread_mutex_lock(&vf->lock);
	vf->nr_vectors = n;
	pcitest_publish(vf, PCITEST_NR_VECTORS, 4, n);
	pthread_mutex_unlock(&vf->lock);
}

int pcitest_vf_vectors(void *priv, unsigned index, unsigned n)
{
	struct pcitest *pf = priv, *vf;

	pthread_mutex_lock(&pf->lock);
	vf = index < pf->total_vfs ? pf->vfs[index] : NULL;
	if (vf)
		set_vectors(vf, n);
	pthread_mutex_unlock(&pf->lock);
	return vf ? 0 : -ENODEV;
}

static int get_mail(struct pcitest *pf, struct pcitest *vf)
{
	pthread_mutex_lock(&vf->lock);
	pf->vf_data = vf->mailbox;
	pthread_mutex_unlock(&vf->lock);
	pcitest_publish(pf, PCITEST_VF_DATA, 8, pf->vf_data);
	return 0;
}

static int put_data(struct pcitest *pf, struct pcitest *vf)
{
	pthread_mutex_lock(&vf->lock);
	vf->pf_data = pf->vf_data;
	pcitest_publish(vf, PCITEST_PF_DATA, 8, vf->pf_data);
	pthread_mutex_unlock(&vf->lock);
	return 0;
}

static int give_vectors(struct pcitest *pf, struct pcitest *vf, unsigned n)
{
	int ret = uvfio_vf_set_vectors(pf->dev, vf->index, n);

	if (!ret)
		set_vectors(vf, n);
	return ret;
}

static int carry_out(struct pcitest *pf, struct pcitest *vf, uint32_t command)
{
	switch (command & 0xffff) {
	case PCITEST_VF_RAISE:
		uvfio_irq_raise(vf->dev, command >> 16);
		return 0;
	case PCITEST_VF_GET:
		return get_mail(pf, vf);
	case PCITEST_VF_PUT:
		return put_data(pf, vf);
	case PCITEST_VF_VECTORS:
		return give_vectors(pf, vf, command >> 16);
	default:
		return -EINVAL;
	}
}

void pcitest_vf_command(struct pcitest *pf, uint32_t command)
{
	struct pcitest *vf = pf->vf_select < pf->total_vfs ? pf->vfs[pf->vf_select] : NULL;
	int ret = vf ? carry_out(pf, vf, command) : -ENODEV;

	pf->vf_status = (uint32_t)-ret;
	pcitest_publish(pf, PCITEST_VF_STATUS, 4, pf->vf_status);
}

void pcitest_host_driver(void *priv, bool bound)
{
	struct pcitest *p = priv;

	pthread_mutex_lock(&p->lock);
	p->host = bound;
	pcitest_publish_role(p);
	pthread_mutex_unlock(&p->lock);
}

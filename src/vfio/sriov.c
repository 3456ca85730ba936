/* SPDX-License-Identifier: BSD-3-Clause */
/* SR-IOV, the machine's side: see sriov.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "vfio/sriov_private.h"

int sriov_init(struct vfio_device *dev, const struct uvfio_pci_desc *desc, struct uvfio_error *err)
{
	const struct uvfio_sriov_desc *d = desc->sriov;
	struct sriov *sriov;

	if (!d)
		return 0;
	sriov = calloc(1, sizeof(*sriov));
	if (!sriov)
		return uvfio_error_set(err, -ENOMEM, "out of memory");
	sriov->pf = dev;
	sriov->total = d->total_vfs;
	sriov->msix_pool = d->msix_pool;
	sriov->msix_min = d->msix_min;
	sriov->msix_max = d->msix_max ? d->msix_max : d->vf ? d->vf->msix_vectors : 0;
	atomic_init(&sriov->autoprobe, true);
	pthread_mutex_init(&sriov->lock, NULL);
	dev->sriov = sriov;
	return 0;
}

void sriov_fini(struct vfio_device *dev)
{
	if (!dev->sriov)
		return;
	pthread_mutex_destroy(&dev->sriov->lock);
	free(dev->sriov);
	dev->sriov = NULL;
}

/* ---- what is there ---- */

bool vfio_device_is_pf(const struct vfio_device *dev)
{
	return dev->sriov;
}

struct vfio_device *vfio_device_physfn(const struct vfio_device *dev)
{
	return dev->physfn;
}

unsigned vfio_device_vf_index(const struct vfio_device *vf)
{
	return vf->vf_index;
}

unsigned vfio_device_total_vfs(const struct vfio_device *pf)
{
	return pf->sriov ? pf->sriov->total : 0;
}

unsigned vfio_device_num_vfs(const struct vfio_device *pf)
{
	return pf->sriov ? atomic_load(&pf->sriov->num_vfs) : 0;
}

struct vfio_device *vfio_device_get_vf(struct vfio_device *pf, unsigned index)
{
	struct vfio_device *vf = NULL;

	if (!pf->sriov)
		return NULL;
	pthread_mutex_lock(&pf->machine->lock);
	if (index < atomic_load(&pf->sriov->num_vfs))
		vf = pf->sriov->vfs[index];
	if (vf)
		vf->watchers++;
	pthread_mutex_unlock(&pf->machine->lock);
	return vf;
}

/* ---- what is written ---- */

int vfio_parse_numvfs(const char *text, unsigned *n)
{
	size_t len = strlen(text);
	unsigned long value;
	char *end;

	/* A number and no more: strtoul() alone would take blanks and minus signs. */
	if (*text == '+')
		text++, len--;
	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	value = strtoul(text, &end, 0);
	if (errno || (*end && !(end[0] == '\n' && end + 1 == text + len)) || value > UINT16_MAX)
		return -EINVAL;
	*n = (unsigned)value;
	return 0;
}

int vfio_device_set_numvfs(struct vfio_device *pf, unsigned n, void (*done)(void *arg, int result),
			   void *arg)
{
	if (!pf->sriov)
		return -ENODEV;
	if (n > pf->sriov->total)
		return -ERANGE;
	return -ENOENT;
}

bool vfio_device_drivers_autoprobe(const struct vfio_device *pf)
{
	return pf->sriov && atomic_load(&pf->sriov->autoprobe);
}

void vfio_device_set_drivers_autoprobe(struct vfio_device *pf, bool on)
{
	if (pf->sriov)
		atomic_store(&pf->sriov->autoprobe, on);
}

/* ---- what a model asks ---- */

struct uvfio_device *uvfio_vf_pf(struct uvfio_device *dev)
{
	return (struct uvfio_device *)((struct vfio_device *)dev)->physfn;
}

unsigned uvfio_vf_index(const struct uvfio_device *vf)
{
	return ((const struct vfio_device *)vf)->vf_index;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* MSI-X vectors that VFs share (B): see sriov.h. */
#include <errno.h>
#include "vfio/sriov_private.h"

unsigned vfio_device_vf_total_msix(const struct vfio_device *pf)
{
	return 0;
}

int vfio_parse_msix_count(const char *text, unsigned *n)
{
	return -EINVAL;
}

int vfio_device_set_vf_msix_count(struct vfio_device *vf, unsigned n)
{
	return -EOPNOTSUPP;
}

unsigned uvfio_vf_vectors(const struct uvfio_device *vf)
{
	return pci_msix_count(((const struct vfio_device *)vf)->func);
}

int uvfio_vf_set_vectors(struct uvfio_device *pf, unsigned index, unsigned n)
{
	return -EINVAL;
}

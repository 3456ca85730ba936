/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SR-IOV: sriov_numvfs and its like of a PF, sriov_vf_msix_count of a VF (docs/rules/sriov.md).
 *
 * What is written is taken apart here; who may have what, and the order of errors, is the core's
 * (vfio/sriov.h).  VFs that go wait for their users, so numvfs is a job of the PF's, and so is what
 * changes a VF's vectors one of the VF's.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "sysfs/functions.h"
#include "sysfs/jobs.h"
#include "sysfs/sriov.h"
#include "vfio/sriov.h"

bool sriov_is_pf(struct sysfs *fs, const struct sysfs_node *node)
{
	return node->f->is_pf;
}

bool sriov_is_vf(struct sysfs *fs, const struct sysfs_node *node)
{
	return node->f->pf;
}

bool sriov_is_no_vf(struct sysfs *fs, const struct sysfs_node *node)
{
	return !sriov_is_vf(fs, node);
}

void sriov_fill(struct function *f, struct vfio_device *dev)
{
	struct vfio_device *pf = vfio_device_physfn(dev);

	if (pf) {
		f->pf = vfio_device_serial(pf);
		f->vf = vfio_device_vf_index(dev);
	}
	f->is_pf = vfio_device_is_pf(dev);
}

void sriov_bars(struct sysfs *fs, const struct function *f, struct function_bar bars[6])
{
	struct vfio_device *pf = f->is_pf ? function_device(fs, f) : NULL;

	memset(bars, 0, 6 * sizeof(bars[0]));
	if (!pf)
		return;
	for (unsigned i = 0; i < 6; i++) {
		bars[i].flags = pci_func_desc(vfio_device_func(pf))->sriov->vf->bars[i].flags;
		bars[i].address = vfio_device_vf_bar(pf, i, &bars[i].size);
	}
	vfio_device_put(pf);
}

/* ---- shown ---- */

ssize_t show_sriov(struct sysfs *fs, const struct sysfs_node *node, char *out, size_t size)
{
	struct vfio_device *pf = function_device(fs, node->f);
	const struct uvfio_sriov_desc *desc;
	unsigned n = 0;

	if (!pf)
		return -ENODEV;
	desc = pci_func_desc(vfio_device_func(pf))->sriov;
	switch ((enum sriov_number)node->entry->arg) {
	case SRIOV_TOTAL:
		n = vfio_device_total_vfs(pf);
		break;
	case SRIOV_NUM:
		n = vfio_device_num_vfs(pf);
		break;
	case SRIOV_OFFSET:
		n = desc->first_offset ? desc->first_offset : 1;
		break;
	case SRIOV_STRIDE:
		n = desc->stride ? desc->stride : 1;
		break;
	case SRIOV_VF_DEVICE:
		n = desc->vf_device;
		break;
	case SRIOV_AUTOPROBE:
		n = vfio_device_drivers_autoprobe(pf);
		break;
	case SRIOV_TOTAL_MSIX:
		n = vfio_device_vf_total_msix(pf);
		break;
	}
	vfio_device_put(pf);
	return snprintf(out, size, node->entry->arg == SRIOV_VF_DEVICE ? "%x\n" : "%u\n", n);
}

ssize_t show_physfn(struct sysfs *fs, const struct sysfs_node *node, char *out, size_t size)
{
	const struct function *pf = sysfs_function(fs, node->f->pf);

	return pf ? snprintf(out, size, "../%s", pf->name) : -ENOENT;
}

/* ---- stored ---- */

static ssize_t job_numvfs(struct sysfs *fs, struct job *job, struct vfio_device *dev)
{
	unsigned n;
	int ret = vfio_parse_numvfs(job->data, &n);

	if (!ret)
		ret = sysfs_job_numvfs(fs, job, dev, n);
	return ret ? ret : (ssize_t)job->len;
}

/* What is wrong whatever happens meanwhile is said at once, the rest when it is its turn. */
ssize_t store_numvfs(struct sysfs *fs, const struct sysfs_node *node, struct sysfs_store *s)
{
	unsigned n;

	if (vfio_parse_numvfs(s->text, &n))
		return -EINVAL;
	s->f = node->f;
	s->later = job_numvfs;
	return -EINPROGRESS;
}

/* As the kernel's kstrtobool(): the first letter decides, of "on" and "off" the second. */
static int parse_bool(const char *text, bool *out)
{
	int c = tolower((unsigned char)text[0]);

	if (c == 'o')
		c = tolower((unsigned char)text[1]) == 'n'   ? 'y'
		    : tolower((unsigned char)text[1]) == 'f' ? 'n'
							     : 0;
	*out = c == 'y' || c == 't' || c == '1';
	return *out || c == 'n' || c == 'f' || c == '0' ? 0 : -EINVAL;
}

ssize_t store_vf_autoprobe(struct sysfs *fs, const struct sysfs_node *node, struct sysfs_store *s)
{
	struct vfio_device *pf;
	bool on;

	if (parse_bool(s->text, &on))
		return -EINVAL;
	pf = function_device(fs, node->f);
	if (!pf)
		return -ENODEV;
	vfio_device_set_drivers_autoprobe(pf, on);
	vfio_device_put(pf);
	return (ssize_t)s->len;
}

static ssize_t job_msix_count(struct sysfs *fs, struct job *job, struct vfio_device *dev)
{
	unsigned n;
	int ret = vfio_parse_msix_count(job->data, &n);

	if (!ret)
		ret = vfio_device_set_vf_msix_count(dev, n);
	return ret ? ret : (ssize_t)job->len;
}

ssize_t store_msix_count(struct sysfs *fs, const struct sysfs_node *node, struct sysfs_store *s)
{
	unsigned n;

	if (vfio_parse_msix_count(s->text, &n))
		return -EINVAL;
	s->f = node->f;
	s->later = job_msix_count;
	return -EINPROGRESS;
}

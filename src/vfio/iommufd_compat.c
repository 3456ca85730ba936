/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The VFIO interface of an iommufd (D.3): a container's calls, on the IOAS that is set for it.
 */
#include <errno.h>
#include <string.h>
#include "vfio/iommufd.h"

#define INFO_SIZE 24u

struct iommufd_object *iommufd_compat_ioas(struct vfio_iommufd *fd)
{
	struct iommufd_object *obj;

	pthread_mutex_lock(&fd->lock);
	obj = fd->vfio_ioas;
	if (obj)
		obj->users++;
	pthread_mutex_unlock(&fd->lock);
	return obj;
}

int iommufd_compat_enter(struct vfio_iommufd *fd, bool noiommu)
{
	struct iommufd_object *obj = NULL;
	int ret = 0;

	if (!noiommu) {
		obj = iommufd_new_ioas(fd);
		if (!obj)
			return -ENOMEM;
	}
	pthread_mutex_lock(&fd->lock);
	if (noiommu) {
		if (fd->vfio_ioas)
			ret = -EINVAL;
		else
			fd->no_iommu = true;
	} else if (fd->no_iommu) {
		ret = -EINVAL;
	} else if (!fd->vfio_ioas) {
		fd->vfio_ioas = obj;
		obj->ready = true;
		obj = NULL;
	}
	pthread_mutex_unlock(&fd->lock);
	if (obj)
		iommufd_obj_remove(fd, obj, 0);
	return ret;
}

static int map_dma(struct vfio_iommufd *fd, struct vfio_client *client, uint64_t arg)
{
	struct vfio_iommu_type1_dma_map map;
	struct iommufd_call call = {.fd = fd, .client = client};
	struct iommufd_object *obj;
	struct ioas_slices slices;
	uint64_t iova;
	unsigned prot;
	int ret;

	if (client->ops->copy_from(client, &map, arg, sizeof(map)))
		return -EFAULT;
	prot = map.flags & (VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE);
	if (map.argsz < sizeof(map) || map.flags != prot)
		return -EINVAL;
	obj = iommufd_compat_ioas(fd);
	if (!obj)
		return -ENODEV;
	iova = map.iova;
	ret = ioas_slices_user(fd->ctx, map.vaddr, map.size, prot, client->pid, &slices);
	if (!ret)
		ret = ioas_map(obj->ioas, &slices, true, prot, &iova, &client->ops->memory, client,
			       client->pid);
	iommufd_emit(&call, VFIO_EVENT_DMA_MAP, obj->ioas, map.iova, map.size, prot, ret);
	iommufd_obj_put(fd, obj);
	return ret;
}

/* What version 1 allows: what sticks out on either side stays. */
static int cut(struct ioas *ioas, const struct vfio_iommu_type1_dma_unmap *req)
{
	int ret;

	if (req->flags || ioas_large_pages(ioas))
		return 0;
	ret = ioas_cut(ioas, req->iova + req->size - 1);
	if (!ret && req->iova)
		ret = ioas_cut(ioas, req->iova - 1);
	return ret;
}

static int unmap(struct ioas *ioas, const struct vfio_iommu_type1_dma_unmap *req,
		 uint64_t *unmapped)
{
	if (req->flags & VFIO_DMA_UNMAP_FLAG_ALL)
		return ioas_unmap_all(ioas, unmapped);
	return ioas_unmap(ioas, req->iova, req->size, unmapped);
}

static int unmap_dma(struct vfio_iommufd *fd, struct vfio_client *client, uint64_t arg)
{
	struct vfio_iommu_type1_dma_unmap req;
	struct iommufd_call call = {.fd = fd, .client = client};
	struct iommufd_object *obj;
	uint64_t unmapped = 0;
	bool tried = false;
	int ret;

	if (client->ops->copy_from(client, &req, arg, sizeof(req)))
		return -EFAULT;
	if (req.argsz < sizeof(req) || req.flags & ~VFIO_DMA_UNMAP_FLAG_ALL)
		return -EINVAL;
	obj = iommufd_compat_ioas(fd);
	if (!obj)
		return -ENODEV;
	if (req.flags && (req.iova || req.size)) {
		iommufd_obj_put(fd, obj);
		return -EINVAL;
	}
	ret = cut(obj->ioas, &req);
	if (!ret) {
		ret = unmap(obj->ioas, &req, &unmapped);
		tried = true;
	}
	iommufd_emit(&call, VFIO_EVENT_DMA_UNMAP, obj->ioas, req.iova, unmapped, req.flags, ret);
	iommufd_obj_put(fd, obj);
	if (!tried)
		return ret;
	req.size = unmapped;
	return client->ops->copy_to(client, arg, &req, sizeof(req)) ? -EFAULT : ret;
}

/* Linux: all of the chain that fits whole is written, whatever else does not. */
static int get_info(struct vfio_iommufd *fd, struct vfio_client *client, uint64_t arg)
{
	struct {
		struct vfio_iommu_type1_info info;
		struct vfio_iommu_type1_info_dma_avail avail;
		uint32_t pad;
		struct vfio_info_cap_header iova;
		uint32_t nr_iovas, reserved;
		struct vfio_iova_range range[IOAS_MAX_RANGES];
	} a = {.info = {.flags = VFIO_IOMMU_INFO_PGSIZES | VFIO_IOMMU_INFO_CAPS}};
	const uint32_t avail_at = offsetof(__typeof__(a), avail),
		       iova_at = offsetof(__typeof__(a), iova);
	struct ioas_range ranges[IOAS_MAX_RANGES];
	struct iommufd_object *obj;
	uint32_t argsz, total;
	uint64_t align;

	if (client->ops->copy_from(client, &a.info, arg, 16))
		return -EFAULT;
	argsz = a.info.argsz;
	if (argsz < 16)
		return -EINVAL;
	obj = iommufd_compat_ioas(fd);
	if (!obj)
		return -ENODEV;
	a.nr_iovas = ioas_ranges(obj->ioas, ranges, &align);
	iommufd_obj_put(fd, obj);
	total = iova_at + (uint32_t)(16 + a.nr_iovas * sizeof(a.range[0]));
	a.info.flags = VFIO_IOMMU_INFO_PGSIZES | VFIO_IOMMU_INFO_CAPS;
	a.info.iova_pgsizes =
		align > 1 ? ~(IOMMU_PAGE_SIZE - 1) : UINT64_MAX & ~(IOMMU_PAGE_SIZE - 1);
	a.info.argsz = total;
	a.info.cap_offset = argsz >= total ? INFO_SIZE : 0;
	a.avail.header = (struct vfio_info_cap_header){.id = VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL,
						       .version = 1,
						       .next = argsz >= iova_at ? iova_at : 0};
	a.avail.avail = UINT32_MAX;
	a.iova.id = VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE;
	a.iova.version = 1;
	for (unsigned i = 0; i < a.nr_iovas; i++)
		a.range[i] = (struct vfio_iova_range){ranges[i].start, ranges[i].last};
	if (argsz >= avail_at + sizeof(a.avail) &&
	    client->ops->copy_to(client, arg + avail_at, &a.avail, sizeof(a.avail)))
		return -EFAULT;
	if (argsz >= total && client->ops->copy_to(client, arg + iova_at, &a.iova, total - iova_at))
		return -EFAULT;
	return client->ops->copy_to(client, arg, &a.info, argsz < INFO_SIZE ? argsz : INFO_SIZE)
		       ? -EFAULT
		       : 0;
}

static int check_extension(struct vfio_iommufd *fd, uint64_t extension)
{
	struct iommufd_object *obj;

	switch (extension) {
	case VFIO_TYPE1_IOMMU:
	case VFIO_TYPE1v2_IOMMU:
	case VFIO_UNMAP_ALL:
	case VFIO_NOIOMMU_IOMMU: /* whether it is switched on or not */
		return 1;
	case VFIO_DMA_CC_IOMMU:
		obj = iommufd_compat_ioas(fd);
		if (!obj)
			return -ENODEV;
		iommufd_obj_put(fd, obj);
		return 1;
	}
	return 0;
}

static int set_iommu(struct vfio_iommufd *fd, uint64_t type)
{
	struct iommufd_object *obj;
	bool noiommu;
	int ret = 0;

	pthread_mutex_lock(&fd->lock);
	noiommu = fd->no_iommu;
	pthread_mutex_unlock(&fd->lock);
	if (type == VFIO_NOIOMMU_IOMMU && noiommu)
		return machine_may_rawio(fd->machine) ? 0 : -EPERM;
	if ((type != VFIO_TYPE1_IOMMU && type != VFIO_TYPE1v2_IOMMU) || noiommu)
		return -EINVAL;
	obj = iommufd_compat_ioas(fd);
	if (!obj)
		return -ENODEV;
	if (type == VFIO_TYPE1_IOMMU)
		ret = ioas_set_large_pages(obj->ioas, false);
	iommufd_obj_put(fd, obj);
	return ret;
}

int iommufd_vfio_ioctl(struct vfio_iommufd *fd, struct vfio_client *client, unsigned cmd,
		       uint64_t arg)
{
	switch (cmd) {
	case VFIO_GET_API_VERSION:
		return VFIO_API_VERSION;
	case VFIO_CHECK_EXTENSION:
		return check_extension(fd, arg);
	case VFIO_SET_IOMMU:
		return set_iommu(fd, arg);
	case VFIO_IOMMU_GET_INFO:
		return get_info(fd, client, arg);
	case VFIO_IOMMU_MAP_DMA:
		return map_dma(fd, client, arg);
	case VFIO_IOMMU_UNMAP_DMA:
		return unmap_dma(fd, client, arg);
	default:
		return -ENOTTY;
	}
}

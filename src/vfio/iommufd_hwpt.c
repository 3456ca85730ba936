/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Hardware page tables (D.3): making one by hand, the log of the pages that its devices write, and
 * what can be asked of an IOMMU that has nothing else: no nesting, no information about itself.
 */
#include <errno.h>
#include "vfio/iommufd.h"

#define ZEROS 4096u

/* @cmd names an IOAS: the HWPT is made, and holds it. */
static int make_hwpt(struct iommufd_call *call, struct iommufd_object *ioas)
{
	struct vfio_client *client = call->client;
	struct iommufd_object *hwpt;
	int ret;

	/* There is none that any other could ask for. */
	if (call->cmd.hwpt.flags & ~IOMMUFD_HWPT_DIRTY || call->cmd.hwpt.data_len)
		return -EOPNOTSUPP;
	hwpt = iommufd_obj_new(call->fd, IOMMUFD_OBJ_HWPT);
	if (!hwpt)
		return -ENOMEM;
	ret = call->cmd.hwpt.flags ? iommufd_obj_track(call->fd, hwpt) : 0;
	if (!ret)
		ret = ioas_domain_add(ioas->ioas, &client->ops->memory, client, client->pid);
	if (ret) {
		iommufd_obj_remove(call->fd, hwpt, 0);
		return ret;
	}
	pthread_mutex_lock(&call->fd->lock);
	hwpt->parent = ioas;
	ioas->users++;
	pthread_mutex_unlock(&call->fd->lock);
	call->cmd.hwpt.out_hwpt_id = hwpt->id;
	if (iommufd_respond(call)) {
		iommufd_obj_remove(call->fd, hwpt, 0);
		return -EFAULT;
	}
	iommufd_obj_ready(call->fd, hwpt);
	return 0;
}

int iommufd_hwpt_alloc(struct iommufd_call *call)
{
	const struct iommufd_hwpt_alloc *cmd = &call->cmd.hwpt;
	struct iommufd_object *dev, *pt;
	int ret;

	if (cmd->reserved)
		return -EOPNOTSUPP;
	if (!cmd->data_type != !cmd->data_len)
		return -EINVAL;
	dev = iommufd_obj_use(call->fd, cmd->dev_id, IOMMUFD_OBJ_DEVICE);
	if (!dev)
		return -ENOENT;
	iommufd_obj_put(call->fd, dev);
	pt = iommufd_obj_use(call->fd, cmd->pt_id, IOMMUFD_ANY);
	if (!pt)
		ret = -EINVAL;
	else if (pt->kind == IOMMUFD_OBJ_IOAS)
		ret = make_hwpt(call, pt);
	else if (pt->kind == IOMMUFD_OBJ_HWPT)
		ret = -EOPNOTSUPP; /* nesting */
	else
		ret = -EINVAL;
	if (pt)
		iommufd_obj_put(call->fd, pt);
	return ret;
}

/* There is no data to give: the client's buffer is cleared. */
int iommufd_get_hw_info(struct iommufd_call *call)
{
	static const uint8_t zeros[ZEROS];
	struct iommufd_hw_info *cmd = &call->cmd.hw_info;
	struct iommufd_object *dev;

	if (cmd->flags & ~IOMMUFD_HW_INFO_INPUT_TYPE || cmd->reserved[0] || cmd->reserved[1] ||
	    cmd->reserved[2])
		return -EOPNOTSUPP;
	if (cmd->flags && cmd->data_type)
		return -EOPNOTSUPP;
	dev = iommufd_obj_use(call->fd, cmd->dev_id, IOMMUFD_OBJ_DEVICE);
	if (!dev)
		return -ENOENT;
	iommufd_obj_put(call->fd, dev);
	for (uint32_t at = 0; at < cmd->data_len;) {
		uint32_t len = cmd->data_len - at < ZEROS ? cmd->data_len - at : ZEROS;

		if (call->client->ops->copy_to(call->client, cmd->data + at, zeros, len))
			return -EFAULT;
		at += len;
	}
	cmd->data_len = 0;
	cmd->data_type = 0;
	cmd->out_max_pasid_log2 = 0;
	cmd->out_capabilities = IOMMUFD_HW_CAP_DIRTY;
	return iommufd_respond(call);
}

/* ---- dirty tracking ---- */

int iommufd_set_dirty(struct iommufd_call *call)
{
	const struct iommufd_set_dirty *cmd = &call->cmd.set_dirty;
	struct iommufd_object *hwpt;
	int ret = 0;

	if (cmd->flags & ~IOMMUFD_DIRTY_ENABLE)
		return -EOPNOTSUPP;
	hwpt = iommufd_obj_use(call->fd, cmd->hwpt_id, IOMMUFD_OBJ_HWPT);
	if (!hwpt)
		return -ENOENT;
	if (!hwpt->tracks)
		ret = -EOPNOTSUPP;
	else if (cmd->flags)
		ret = dma_logging_restart(&hwpt->dirty);
	else
		dma_logging_stop(&hwpt->dirty);
	iommufd_obj_put(call->fd, hwpt);
	return ret;
}

/* The range and the pages of the bitmap.  An HWPT aligns to pages. */
static int check_range(const struct iommufd_get_dirty *cmd)
{
	uint64_t end = cmd->iova + cmd->length;

	if (cmd->length - 1 > UINT64_MAX - cmd->iova)
		return -EOVERFLOW;
	if ((cmd->iova | end) & (IOMMU_PAGE_SIZE - 1))
		return -EINVAL;
	if (!cmd->page_size || (cmd->iova | end) & (cmd->page_size - 1))
		return -EINVAL;
	return 0;
}

/* As far as the range is mapped without a gap: what is behind one reads as not written, and that is
 * no error. */
static int read_dirty(struct iommufd_call *call, struct iommufd_object *hwpt)
{
	const struct iommufd_get_dirty *cmd = &call->cmd.get_dirty;
	uint64_t mapped = ioas_mapped(hwpt->parent->ioas, cmd->iova, cmd->iova + cmd->length - 1);

	if (!mapped)
		return 0;
	/* Of a size that is no power of two, the kernel takes the lowest bit. */
	return dma_logging_read(&hwpt->dirty, call->client, cmd->iova, cmd->iova + mapped - 1,
				cmd->page_size & -cmd->page_size, cmd->data,
				cmd->flags & IOMMUFD_DIRTY_NO_CLEAR);
}

int iommufd_get_dirty(struct iommufd_call *call)
{
	const struct iommufd_get_dirty *cmd = &call->cmd.get_dirty;
	struct iommufd_object *hwpt;
	int ret;

	if (cmd->flags & ~IOMMUFD_DIRTY_NO_CLEAR || cmd->reserved)
		return -EOPNOTSUPP;
	hwpt = iommufd_obj_use(call->fd, cmd->hwpt_id, IOMMUFD_OBJ_HWPT);
	if (!hwpt)
		return -ENOENT;
	ret = check_range(cmd);
	if (!ret)
		ret = hwpt->tracks ? read_dirty(call, hwpt) : -EOPNOTSUPP;
	iommufd_obj_put(call->fd, hwpt);
	return ret;
}

/* Of nested page tables, which there are none of. */
int iommufd_invalidate(struct iommufd_call *call)
{
	struct iommufd_invalidate *cmd = &call->cmd.invalidate;
	struct iommufd_object *pt;
	int ret;

	if (cmd->reserved) {
		ret = -EOPNOTSUPP;
	} else if (cmd->entry_num && (!cmd->data || !cmd->entry_len)) {
		ret = -EINVAL;
	} else {
		pt = iommufd_obj_use(call->fd, cmd->hwpt_id, IOMMUFD_ANY);
		ret = pt ? -EINVAL : -ENOENT;
		if (pt)
			iommufd_obj_put(call->fd, pt);
	}
	cmd->entry_num = 0;
	return iommufd_respond(call) ? -EFAULT : ret;
}

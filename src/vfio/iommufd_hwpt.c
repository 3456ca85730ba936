/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Hardware page tables (D.3): making one by hand, and what can be asked of an IOMMU that has
 * nothing special: no nesting, no dirty tracking, no information about itself.
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

	/* There is none that any of them could ask for. */
	if (call->cmd.hwpt.flags || call->cmd.hwpt.data_len)
		return -EOPNOTSUPP;
	hwpt = iommufd_obj_new(call->fd, IOMMUFD_OBJ_HWPT);
	if (!hwpt)
		return -ENOMEM;
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

/* There is nothing to tell: the client's buffer is cleared. */
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
	cmd->out_capabilities = 0;
	return iommufd_respond(call);
}

/* ---- dirty tracking: no HWPT has it ---- */

static int hwpt_without_dirty(struct iommufd_call *call, uint32_t id)
{
	struct iommufd_object *hwpt = iommufd_obj_use(call->fd, id, IOMMUFD_OBJ_HWPT);

	if (!hwpt)
		return -ENOENT;
	iommufd_obj_put(call->fd, hwpt);
	return -EOPNOTSUPP;
}

int iommufd_set_dirty(struct iommufd_call *call)
{
	const struct iommufd_set_dirty *cmd = &call->cmd.set_dirty;

	if (cmd->flags & ~IOMMUFD_DIRTY_ENABLE)
		return -EOPNOTSUPP;
	return hwpt_without_dirty(call, cmd->hwpt_id);
}

int iommufd_get_dirty(struct iommufd_call *call)
{
	const struct iommufd_get_dirty *cmd = &call->cmd.get_dirty;
	uint64_t last = cmd->iova + cmd->length - 1;
	int ret;

	if (cmd->flags & ~IOMMUFD_DIRTY_NO_CLEAR || cmd->reserved)
		return -EOPNOTSUPP;
	ret = hwpt_without_dirty(call, cmd->hwpt_id);
	if (ret == -ENOENT)
		return ret;
	if (cmd->length - 1 > UINT64_MAX - cmd->iova)
		return -EOVERFLOW;
	if ((cmd->iova | (last + 1)) & (IOMMU_PAGE_SIZE - 1))
		return -EINVAL;
	if (!cmd->page_size || (cmd->iova | (last + 1)) & (cmd->page_size - 1))
		return -EINVAL;
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

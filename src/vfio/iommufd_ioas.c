/* SPDX-License-Identifier: BSD-3-Clause */
/* The commands on an IOAS (D.3): what is checked of the request; the rest is iommu/ioas.h. */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fd.h"
#include "vfio/iommufd.h"

#define MAP_FLAGS (IOMMUFD_MAP_FIXED | IOMMUFD_MAP_WRITE | IOMMUFD_MAP_READ)

static struct iommufd_object *use_ioas(struct iommufd_call *call, uint32_t id)
{
	return iommufd_obj_use(call->fd, id, IOMMUFD_OBJ_IOAS);
}

struct iommufd_object *iommufd_new_ioas(struct vfio_iommufd *fd)
{
	struct iommufd_object *obj = iommufd_obj_new(fd, IOMMUFD_OBJ_IOAS);

	if (!obj)
		return NULL;
	obj->ioas = ioas_new(fd->ctx);
	if (!obj->ioas) {
		iommufd_obj_remove(fd, obj, 0);
		return NULL;
	}
	machine_number_space(fd->machine, ioas_space(obj->ioas));
	return obj;
}

int iommufd_ioas_alloc(struct iommufd_call *call)
{
	struct iommufd_object *obj;

	if (call->cmd.alloc.flags)
		return -EOPNOTSUPP;
	obj = iommufd_new_ioas(call->fd);
	if (!obj)
		return -ENOMEM;
	call->cmd.alloc.out_ioas_id = obj->id;
	if (iommufd_respond(call)) {
		iommufd_obj_remove(call->fd, obj, 0);
		return -EFAULT;
	}
	iommufd_obj_ready(call->fd, obj);
	return 0;
}

/* ---- ranges ---- */

static int copy_ranges(struct iommufd_call *call, const struct ioas_range *ranges, unsigned nr)
{
	struct iommufd_iova_ranges *cmd = &call->cmd.ranges;
	uint32_t room = cmd->num_iovas;

	for (unsigned i = 0; i < nr && i < room; i++) {
		const struct iommufd_iova_range range = {ranges[i].start, ranges[i].last};

		if (call->client->ops->copy_to(call->client, cmd->iovas + i * sizeof(range), &range,
					       sizeof(range)))
			return -EFAULT;
	}
	cmd->num_iovas = nr;
	if (iommufd_respond(call))
		return -EFAULT;
	return nr > room ? -EMSGSIZE : 0;
}

int iommufd_iova_ranges(struct iommufd_call *call)
{
	struct ioas_range ranges[IOAS_MAX_RANGES];
	struct iommufd_object *obj;
	unsigned nr;

	if (call->cmd.ranges.reserved)
		return -EOPNOTSUPP;
	obj = use_ioas(call, call->cmd.ranges.ioas_id);
	if (!obj)
		return -ENOENT;
	nr = ioas_ranges(obj->ioas, ranges, &call->cmd.ranges.out_alignment);
	iommufd_obj_put(call->fd, obj);
	return copy_ranges(call, ranges, nr);
}

int iommufd_allow_iovas(struct iommufd_call *call)
{
	const struct iommufd_allow_iovas *cmd = &call->cmd.allow;
	struct ioas_allow allow = {0};
	struct iommufd_object *obj;
	int ret = 0;

	if (cmd->reserved)
		return -EOPNOTSUPP;
	obj = use_ioas(call, cmd->ioas_id);
	if (!obj)
		return -ENOENT;
	for (uint32_t i = 0; i < cmd->num_iovas && !ret; i++) {
		struct iommufd_iova_range range;

		ret = call->client->ops->copy_from(call->client, &range,
						   cmd->iovas + i * sizeof(range), sizeof(range))
			      ? -EFAULT
			      : ioas_allow_add(&allow,
					       &(struct ioas_range){range.start, range.last});
	}
	if (!ret)
		ret = ioas_allow_set(obj->ioas, &allow);
	free(allow.ranges);
	iommufd_obj_put(call->fd, obj);
	return ret;
}

/* ---- mapping ---- */

static unsigned prot_of(uint32_t flags)
{
	return (flags & IOMMUFD_MAP_READ ? IOMMU_READ : 0) |
	       (flags & IOMMUFD_MAP_WRITE ? IOMMU_WRITE : 0);
}

/* What MAP, MAP_FILE and COPY check of their flags and numbers. */
static int check_map(uint32_t flags, uint64_t iova, uint64_t length)
{
	if (flags & ~MAP_FLAGS)
		return -EOPNOTSUPP;
	if (iova == UINT64_MAX || length == UINT64_MAX)
		return -EOVERFLOW;
	return prot_of(flags) ? 0 : -EINVAL;
}

/* How all three end: map @slices, unless @ret says that there are none, and answer; @obj is given
 * back.  0 or -errno. */
static int map_slices(struct iommufd_call *call, struct iommufd_object *obj, int ret,
		      struct ioas_slices *slices, uint32_t flags, uint64_t *iova)
{
	if (!ret) {
		const uint64_t length = slices->length;

		ret = ioas_map(obj->ioas, slices, flags & IOMMUFD_MAP_FIXED, prot_of(flags), iova,
			       &call->client->ops->memory, call->client, call->client->pid);
		iommufd_emit(call, VFIO_EVENT_DMA_MAP, obj->ioas, *iova, length, prot_of(flags),
			     ret);
	}
	if (!ret)
		ret = iommufd_respond(call);
	iommufd_obj_put(call->fd, obj);
	return ret;
}

int iommufd_map(struct iommufd_call *call)
{
	struct iommufd_map *cmd = &call->cmd.map;
	struct iommufd_object *obj;
	struct ioas_slices slices;
	int ret;

	ret = cmd->reserved ? -EOPNOTSUPP : check_map(cmd->flags, cmd->iova, cmd->length);
	if (ret)
		return ret;
	obj = use_ioas(call, cmd->ioas_id);
	if (!obj)
		return -ENOENT;
	ret = ioas_slices_user(call->fd->ctx, cmd->addr, cmd->length, prot_of(cmd->flags),
			       call->client->pid, &slices);
	return map_slices(call, obj, ret, &slices, cmd->flags, &cmd->iova);
}

/* ---- MAP_FILE ---- */

static void release_memory(void *client, struct iommu_mem *mem, unsigned nr)
{
	vfio_device_memory_put(mem);
	free(mem);
}

static const struct type1_memory_ops device_memory_ops = {.release = release_memory};

/* The export that the client's file is: 0, with NULL when it is none; or -EBADF. */
static int find_export(struct iommufd_call *call, int32_t file, struct vfio_device_export **out)
{
	struct vfio_client *client = call->client;
	struct stat st;
	int fd, ret;

	*out = NULL;
	if (!client->ops->get_path || !vfio_exports(call->fd->machine))
		return 0;
	fd = client->ops->get_path(client, file);
	if (fd < 0)
		return fd == -EBADF ? -EBADF : 0;
	ret = uvfio_fstat_unasked(fd, &st);
	close(fd);
	if (!ret)
		*out = vfio_export_find(call->fd->machine, &st);
	return 0;
}

/* What is wrong with the export comes before what is wrong with the place (D.4). */
static int export_slices(struct iommufd_call *call, struct vfio_device_export *export,
			 struct ioas_slices *slices)
{
	const struct iommufd_map_file *cmd = &call->cmd.map_file;
	const uint64_t last = cmd->start + cmd->length - 1;
	uint64_t lo = cmd->start & ~(IOMMU_PAGE_SIZE - 1);
	struct iommu_mem *mem;
	int ret;

	if (vfio_export_size(export) <= last)
		return -EINVAL;
	mem = malloc(sizeof(*mem));
	if (!mem)
		return -ENOMEM;
	ret = vfio_export_memory(export, lo, (last | (IOMMU_PAGE_SIZE - 1)) - lo + 1, mem);
	if (ret) {
		free(mem);
		return ret;
	}
	return ioas_slices_device(call->fd->ctx, cmd->start, cmd->length, prot_of(cmd->flags), mem,
				  &device_memory_ops, slices);
}

static int file_slices(struct iommufd_call *call, struct ioas_slices *slices)
{
	const struct iommufd_map_file *cmd = &call->cmd.map_file;
	struct vfio_client *client = call->client;
	struct vfio_device_export *export;
	int ret;

	if (!cmd->length)
		return -EINVAL;
	if (cmd->length - 1 > UINT64_MAX - cmd->start)
		return -EOVERFLOW;
	ret = find_export(call, cmd->fd, &export);
	if (ret)
		return ret;
	if (!export)
		return ioas_slices_file(call->fd->ctx, cmd->fd, cmd->start, cmd->length,
					prot_of(cmd->flags), &client->ops->memory, client, slices);
	ret = export_slices(call, export, slices);
	vfio_export_put(export);
	return ret;
}

int iommufd_map_file(struct iommufd_call *call)
{
	struct iommufd_map_file *cmd = &call->cmd.map_file;
	struct iommufd_object *obj;
	struct ioas_slices slices;
	int ret;

	ret = check_map(cmd->flags, cmd->iova, cmd->length);
	if (ret)
		return ret;
	obj = use_ioas(call, cmd->ioas_id);
	if (!obj)
		return -ENOENT;
	ret = file_slices(call, &slices);
	return map_slices(call, obj, ret, &slices, cmd->flags, &cmd->iova);
}

int iommufd_copy(struct iommufd_call *call)
{
	struct iommufd_copy *cmd = &call->cmd.copy;
	struct iommufd_object *src, *dst;
	struct ioas_slices slices;
	int ret;

	if (cmd->flags & ~MAP_FLAGS)
		return -EOPNOTSUPP;
	if (cmd->src_iova == UINT64_MAX)
		return -EOVERFLOW;
	ret = check_map(cmd->flags, cmd->dst_iova, cmd->length);
	if (ret)
		return ret;
	src = use_ioas(call, cmd->src_ioas_id);
	if (!src)
		return -ENOENT;
	ret = ioas_slices_of(src->ioas, cmd->src_iova, cmd->length, &slices);
	iommufd_obj_put(call->fd, src);
	if (ret)
		return ret;
	dst = use_ioas(call, cmd->dst_ioas_id);
	if (!dst) {
		ioas_slices_drop(&slices);
		return -ENOENT;
	}
	return map_slices(call, dst, 0, &slices, cmd->flags, &cmd->dst_iova);
}

int iommufd_unmap(struct iommufd_call *call)
{
	struct iommufd_unmap *cmd = &call->cmd.unmap;
	struct iommufd_object *obj = use_ioas(call, cmd->ioas_id);
	uint64_t unmapped = 0;
	int ret;

	if (!obj)
		return -ENOENT;
	if (!cmd->iova && cmd->length == UINT64_MAX)
		ret = ioas_unmap_all(obj->ioas, &unmapped);
	else if (cmd->iova == UINT64_MAX || cmd->length == UINT64_MAX)
		ret = -EOVERFLOW;
	else
		ret = ioas_unmap(obj->ioas, cmd->iova, cmd->length, &unmapped);
	if (!ret && !unmapped && cmd->length != UINT64_MAX)
		ret = -ENOENT;
	iommufd_emit(call, VFIO_EVENT_DMA_UNMAP, obj->ioas, cmd->iova, unmapped, 0, ret);
	if (!ret) {
		cmd->length = unmapped;
		ret = iommufd_respond(call);
	}
	iommufd_obj_put(call->fd, obj);
	return ret;
}

int iommufd_option_huge(struct iommufd_call *call)
{
	struct iommufd_option *cmd = &call->cmd.option;
	struct iommufd_object *obj = use_ioas(call, cmd->object_id);
	int ret = 0;

	if (!obj)
		return -ENOENT;
	if (cmd->op == IOMMUFD_OPTION_GET)
		cmd->value = ioas_large_pages(obj->ioas);
	else if (cmd->op != IOMMUFD_OPTION_SET)
		ret = -EOPNOTSUPP;
	else if (cmd->value > 1)
		ret = -EINVAL;
	else
		ret = ioas_set_large_pages(obj->ioas, cmd->value);
	iommufd_obj_put(call->fd, obj);
	return ret;
}

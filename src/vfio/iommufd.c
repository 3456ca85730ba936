/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * iommufd (D.3): its file, its objects, and how a command is taken apart: the size that the client
 * gives, what it has beyond what is known here, and the answer.  See iommufd.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "vfio/iommufd.h"

/* ---- the file ---- */

int vfio_iommufd_open(struct vfio_machine *machine, struct vfio_iommufd **out)
{
	struct vfio_iommufd *fd = calloc(1, sizeof(*fd));

	if (!fd)
		return -ENOMEM;
	fd->ctx = ioas_ctx_new();
	if (!fd->ctx) {
		free(fd);
		return -ENOMEM;
	}
	fd->machine = machine;
	atomic_init(&fd->refs, 1);
	pthread_mutex_init(&fd->attach_lock, NULL);
	pthread_mutex_init(&fd->lock, NULL);
	ioas_ctx_set_accounts(fd->ctx, iommufd_account, fd);
	*out = fd;
	return 0;
}

void vfio_iommufd_release(struct vfio_iommufd *fd)
{
	iommufd_put(fd);
}

void iommufd_get(struct vfio_iommufd *fd)
{
	atomic_fetch_add(&fd->refs, 1);
}

/* Nobody has it any more: no device is left, so what there is are HWPTs and their IOASs. */
static void destroy(struct vfio_iommufd *fd)
{
	static const enum iommufd_kind order[] = {IOMMUFD_OBJ_HWPT, IOMMUFD_OBJ_IOAS};

	for (unsigned k = 0; k < ARRAY_SIZE(order); k++) {
		for (unsigned i = 0; i < IOMMUFD_MAX_OBJECTS; i++) {
			struct iommufd_object *obj = fd->objects[i];

			if (obj && obj->kind == order[k])
				iommufd_obj_remove(fd, obj, 0);
		}
	}
	ioas_ctx_put(fd->ctx);
	pthread_mutex_destroy(&fd->lock);
	pthread_mutex_destroy(&fd->attach_lock);
	free(fd);
}

void iommufd_put(struct vfio_iommufd *fd)
{
	if (fd && atomic_fetch_sub(&fd->refs, 1) == 1)
		destroy(fd);
}

/* ---- objects ---- */

struct iommufd_object *iommufd_obj_new(struct vfio_iommufd *fd, enum iommufd_kind kind)
{
	struct iommufd_object *obj = calloc(1, sizeof(*obj));
	unsigned i = 0;

	if (!obj)
		return NULL;
	obj->kind = kind;
	pthread_mutex_lock(&fd->lock);
	while (i < IOMMUFD_MAX_OBJECTS && fd->objects[i])
		i++;
	if (i < IOMMUFD_MAX_OBJECTS) {
		obj->id = i + 1;
		fd->objects[i] = obj;
		fd->nr_objects++;
	}
	pthread_mutex_unlock(&fd->lock);
	if (obj->id)
		return obj;
	free(obj);
	return NULL;
}

void iommufd_obj_ready(struct vfio_iommufd *fd, struct iommufd_object *obj)
{
	pthread_mutex_lock(&fd->lock);
	obj->ready = true;
	pthread_mutex_unlock(&fd->lock);
}

int iommufd_obj_track(struct vfio_iommufd *fd, struct iommufd_object *hwpt)
{
	pthread_mutex_lock(&fd->lock);
	if (fd->nr_tracking < IOMMUFD_MAX_TRACKING) {
		fd->nr_tracking++;
		hwpt->tracks = true;
		dma_logging_init(&hwpt->dirty);
	}
	pthread_mutex_unlock(&fd->lock);
	return hwpt->tracks ? 0 : -ENOMEM;
}

struct iommufd_object *iommufd_obj_use(struct vfio_iommufd *fd, uint32_t id, int kind)
{
	struct iommufd_object *obj = NULL;

	pthread_mutex_lock(&fd->lock);
	if (id && id <= IOMMUFD_MAX_OBJECTS)
		obj = fd->objects[id - 1];
	if (obj && (!obj->ready || (kind != IOMMUFD_ANY && (int)obj->kind != kind)))
		obj = NULL;
	if (obj)
		obj->users++;
	pthread_mutex_unlock(&fd->lock);
	return obj;
}

void iommufd_obj_put(struct vfio_iommufd *fd, struct iommufd_object *obj)
{
	bool gone;

	pthread_mutex_lock(&fd->lock);
	gone = !--obj->users && obj->retired;
	pthread_mutex_unlock(&fd->lock);
	if (gone)
		free(obj);
}

/* fd->lock held. */
static void take_out(struct vfio_iommufd *fd, struct iommufd_object *obj)
{
	fd->objects[obj->id - 1] = NULL;
	fd->nr_objects--;
	if (fd->vfio_ioas == obj)
		fd->vfio_ioas = NULL;
}

void iommufd_obj_retire(struct vfio_iommufd *fd, struct iommufd_object *obj)
{
	pthread_mutex_lock(&fd->lock);
	take_out(fd, obj);
	obj->retired = true;
	pthread_mutex_unlock(&fd->lock);
	iommufd_obj_put(fd, obj);
}

bool iommufd_obj_remove(struct vfio_iommufd *fd, struct iommufd_object *obj, unsigned uses)
{
	bool gone;

	pthread_mutex_lock(&fd->lock);
	obj->users -= uses;
	gone = !obj->users;
	if (gone && !obj->retired)
		take_out(fd, obj);
	if (gone && obj->tracks)
		fd->nr_tracking--;
	pthread_mutex_unlock(&fd->lock);
	if (!gone)
		return false;
	if (obj->tracks)
		dma_logging_fini(&obj->dirty);
	if (obj->kind == IOMMUFD_OBJ_HWPT && obj->parent) {
		ioas_domain_del(obj->parent->ioas);
		iommufd_obj_put(fd, obj->parent);
	}
	ioas_put(obj->ioas);
	free(obj);
	return true;
}

/* ---- commands of the file itself ---- */

static int destroy_object(struct iommufd_call *call)
{
	struct iommufd_object *obj = iommufd_obj_use(call->fd, call->cmd.destroy.id, IOMMUFD_ANY);

	if (!obj)
		return -ENOENT;
	return iommufd_obj_remove(call->fd, obj, 1) ? 0 : -EBUSY;
}

static int option_rlimit(struct iommufd_call *call)
{
	struct iommufd_option *cmd = &call->cmd.option;
	struct vfio_iommufd *fd = call->fd;
	int ret = 0;

	if (cmd->object_id)
		return -EOPNOTSUPP;
	if (cmd->op == IOMMUFD_OPTION_GET) {
		pthread_mutex_lock(&fd->lock);
		cmd->value = fd->per_process;
		pthread_mutex_unlock(&fd->lock);
		return 0;
	}
	if (cmd->op != IOMMUFD_OPTION_SET)
		return -EOPNOTSUPP;
	if (!(call->client->caps & VFIO_CAP_SYS_RESOURCE))
		return -EPERM;
	pthread_mutex_lock(&fd->lock);
	if (fd->nr_objects)
		ret = -EBUSY;
	else if (cmd->value > 1)
		ret = -EINVAL;
	else
		fd->per_process = cmd->value;
	pthread_mutex_unlock(&fd->lock);
	return ret;
}

static int option(struct iommufd_call *call)
{
	struct iommufd_option *cmd = &call->cmd.option;
	int ret = -EOPNOTSUPP;

	if (cmd->reserved)
		return ret;
	if (cmd->option_id == IOMMUFD_OPTION_RLIMIT)
		ret = option_rlimit(call);
	else if (cmd->option_id == IOMMUFD_OPTION_HUGE)
		ret = iommufd_option_huge(call);
	if (ret)
		return ret;
	return call->client->ops->copy_to(call->client,
					  call->arg + offsetof(struct iommufd_option, value),
					  &cmd->value, sizeof(cmd->value))
		       ? -EFAULT
		       : 0;
}

static int vfio_ioas(struct iommufd_call *call)
{
	struct iommufd_vfio_ioas *cmd = &call->cmd.vfio_ioas;
	struct vfio_iommufd *fd = call->fd;
	struct iommufd_object *obj;

	if (cmd->reserved)
		return -EOPNOTSUPP;
	switch (cmd->op) {
	case IOMMUFD_VFIO_IOAS_GET:
		obj = iommufd_compat_ioas(fd);
		if (!obj)
			return -ENODEV;
		cmd->ioas_id = obj->id;
		iommufd_obj_put(fd, obj);
		return iommufd_respond(call);
	case IOMMUFD_VFIO_IOAS_SET:
		obj = iommufd_obj_use(fd, cmd->ioas_id, IOMMUFD_OBJ_IOAS);
		if (!obj)
			return -ENOENT;
		pthread_mutex_lock(&fd->lock);
		fd->vfio_ioas = obj;
		obj->users--;
		pthread_mutex_unlock(&fd->lock);
		return 0;
	case IOMMUFD_VFIO_IOAS_CLEAR:
		pthread_mutex_lock(&fd->lock);
		fd->vfio_ioas = NULL;
		pthread_mutex_unlock(&fd->lock);
		return 0;
	}
	return -EOPNOTSUPP;
}

/* What a kernel says whose IOMMU driver has none of it: objects that cannot be made are not found.
 */
static int fault_queue(struct iommufd_call *call)
{
	return -EOPNOTSUPP;
}

static int viommu_alloc(struct iommufd_call *call)
{
	const struct iommufd_viommu_alloc *cmd = &call->cmd.viommu;
	struct iommufd_object *dev;

	if (cmd->flags || !cmd->type || cmd->reserved)
		return -EOPNOTSUPP;
	dev = iommufd_obj_use(call->fd, cmd->dev_id, IOMMUFD_OBJ_DEVICE);
	if (!dev)
		return -ENOENT;
	iommufd_obj_put(call->fd, dev);
	return -EOPNOTSUPP;
}

static int vdevice_alloc(struct iommufd_call *call)
{
	return -ENOENT; /* the vIOMMU */
}

static int veventq_alloc(struct iommufd_call *call)
{
	const struct iommufd_veventq_alloc *cmd = &call->cmd.veventq;

	if (cmd->flags || cmd->reserved || !cmd->type)
		return -EOPNOTSUPP;
	return cmd->depth ? -ENOENT : -EINVAL;
}

static int hw_queue_alloc(struct iommufd_call *call)
{
	const struct iommufd_hw_queue_alloc *cmd = &call->cmd.hw_queue;

	if (cmd->flags || !cmd->type)
		return -EOPNOTSUPP;
	if (!cmd->length)
		return -EINVAL;
	return cmd->length - 1 > UINT64_MAX - cmd->iova ? -EOVERFLOW : -ENOENT;
}

/* ---- taking a command apart ---- */

#define OP(number, fn, type, last)                                                                 \
	[(number)-IOMMUFD_DESTROY] = {fn, sizeof(struct type),                                     \
				      offsetof(struct type, last) +                                \
					      sizeof(((struct type *)0)->last)}

static const struct {
	int (*run)(struct iommufd_call *call);
	uint32_t size, min; /* of the struct: all, and what every caller has */
} ops[IOMMUFD_END - IOMMUFD_DESTROY] = {
	OP(IOMMUFD_DESTROY, destroy_object, iommufd_destroy, id),
	OP(IOMMUFD_IOAS_ALLOC, iommufd_ioas_alloc, iommufd_ioas_alloc, out_ioas_id),
	OP(IOMMUFD_ALLOW_IOVAS, iommufd_allow_iovas, iommufd_allow_iovas, iovas),
	OP(IOMMUFD_COPY, iommufd_copy, iommufd_copy, src_iova),
	OP(IOMMUFD_IOVA_RANGES, iommufd_iova_ranges, iommufd_iova_ranges, out_alignment),
	OP(IOMMUFD_MAP, iommufd_map, iommufd_map, iova),
	OP(IOMMUFD_UNMAP, iommufd_unmap, iommufd_unmap, length),
	OP(IOMMUFD_OPTION, option, iommufd_option, value),
	OP(IOMMUFD_VFIO_IOAS, vfio_ioas, iommufd_vfio_ioas, reserved),
	OP(IOMMUFD_HWPT_ALLOC, iommufd_hwpt_alloc, iommufd_hwpt_alloc, reserved),
	OP(IOMMUFD_GET_HW_INFO, iommufd_get_hw_info, iommufd_hw_info, reserved),
	OP(IOMMUFD_SET_DIRTY, iommufd_set_dirty, iommufd_set_dirty, reserved),
	OP(IOMMUFD_GET_DIRTY, iommufd_get_dirty, iommufd_get_dirty, data),
	OP(IOMMUFD_INVALIDATE, iommufd_invalidate, iommufd_invalidate, reserved),
	OP(IOMMUFD_FAULT_QUEUE, fault_queue, iommufd_fault_queue, out_fault_fd),
	OP(IOMMUFD_MAP_FILE, iommufd_map_file, iommufd_map_file, iova),
	OP(IOMMUFD_VIOMMU_ALLOC, viommu_alloc, iommufd_viommu_alloc, out_viommu_id),
	OP(IOMMUFD_VDEVICE_ALLOC, vdevice_alloc, iommufd_vdevice_alloc, virt_id),
	OP(IOMMUFD_CHANGE_PROCESS, iommufd_change_process, iommufd_change_process, reserved),
	OP(IOMMUFD_VEVENTQ_ALLOC, veventq_alloc, iommufd_veventq_alloc, reserved),
	OP(IOMMUFD_HW_QUEUE_ALLOC, hw_queue_alloc, iommufd_hw_queue_alloc, length),
};

int iommufd_respond(struct iommufd_call *call)
{
	uint32_t len = call->user_size < call->size ? call->user_size : call->size;

	return call->client->ops->copy_to(call->client, call->arg, &call->cmd, len) ? -EFAULT : 0;
}

/* What the client has beyond what we know must be zeros: 0, -E2BIG, -EFAULT. */
static int check_rest(struct iommufd_call *call)
{
	uint8_t piece[512];

	for (uint64_t at = call->size; at < call->user_size; at += sizeof(piece)) {
		uint64_t left = call->user_size - at;
		size_t len = left < sizeof(piece) ? (size_t)left : sizeof(piece);

		if (call->client->ops->copy_from(call->client, piece, call->arg + at, len))
			return -EFAULT;
		for (size_t i = 0; i < len; i++)
			if (piece[i])
				return -E2BIG;
	}
	return 0;
}

static int run(struct vfio_iommufd *fd, struct vfio_client *client, unsigned nr, uint64_t arg)
{
	struct iommufd_call call = {.fd = fd, .client = client, .arg = arg};
	uint32_t len;
	int ret;

	_Static_assert(sizeof(call.cmd) == 64, "no struct is larger");
	if (client->ops->copy_from(client, &call.user_size, arg, sizeof(call.user_size)))
		return -EFAULT;
	if (call.user_size < ops[nr].min)
		return -EINVAL;
	call.size = ops[nr].size;
	ret = check_rest(&call);
	if (ret)
		return ret;
	len = call.user_size < call.size ? call.user_size : call.size;
	if (client->ops->copy_from(client, &call.cmd, arg, len))
		return -EFAULT;
	return ops[nr].run(&call);
}

int vfio_iommufd_ioctl(struct vfio_iommufd *fd, struct vfio_client *client, unsigned cmd,
		       uint64_t arg)
{
	if (cmd < IOMMUFD_DESTROY || cmd >= IOMMUFD_END)
		return iommufd_vfio_ioctl(fd, client, cmd, arg);
	return run(fd, client, cmd - IOMMUFD_DESTROY, arg);
}

void iommufd_emit(struct iommufd_call *call, enum vfio_event_kind kind, const struct ioas *ioas,
		  uint64_t iova, uint64_t length, unsigned flags, int result)
{
	const uint64_t number = iommu_space_number(ioas_space((struct ioas *)(uintptr_t)ioas));
	struct vfio_machine *machine = call->fd->machine;

	if (machine_observed(machine))
		machine_emit(machine, &(struct vfio_event){.kind = kind,
							   .space = ioas,
							   .space_number = number,
							   .a = iova,
							   .b = length,
							   .c = flags,
							   .result = result});
}

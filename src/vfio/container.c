/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Containers: the address space of the groups that are in them (D.1), and the ioctls on their file.
 *
 *     EMPTY ──first group──▶ GROUPS ──SET_IOMMU──▶ BACKEND
 *       ▲                       │                     │
 *       └───last group leaves───┴─────────────────────┘   backend and mappings are dropped
 *
 * A request that reaches the backend holds a reference on it instead of a lock, because mapping
 * memory calls into the client, which may take as long as it likes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "vfio/machine_private.h"

#define INFO_BUF 4096

int vfio_container_open(struct vfio_machine *machine, struct vfio_container **out)
{
	struct vfio_container *container = calloc(1, sizeof(*container));

	if (!container)
		return -ENOMEM;
	container->machine = machine;
	container->refs = 1;
	*out = container;
	return 0;
}

void container_get_locked(struct vfio_container *container)
{
	container->refs++;
}

void backend_put(struct backend *backend)
{
	if (backend && atomic_fetch_sub(&backend->refs, 1) == 1) {
		type1_free(backend->type1);
		free(backend);
	}
}

/* machine->lock held.  True when that was the last one. */
static bool container_put_locked(struct vfio_container *container)
{
	return --container->refs == 0;
}

struct backend *container_leave_locked(struct vfio_container *container)
{
	struct backend *backend = NULL;

	if (--container->nr_groups == 0) {
		backend = container->backend;
		container->backend = NULL;
	}
	if (container_put_locked(container))
		free(container);
	return backend;
}

/* A group that is in it keeps the container: closing its file changes nothing for them (D.1). */
void vfio_container_release(struct vfio_container *container)
{
	struct vfio_machine *machine = container->machine;
	bool last;

	pthread_mutex_lock(&machine->lock);
	last = container_put_locked(container);
	pthread_mutex_unlock(&machine->lock);
	if (last)
		free(container);
}

static struct backend *container_backend(struct vfio_container *container)
{
	struct backend *backend;

	pthread_mutex_lock(&container->machine->lock);
	backend = container->backend;
	if (backend)
		atomic_fetch_add(&backend->refs, 1);
	pthread_mutex_unlock(&container->machine->lock);
	return backend;
}

/* Without a backend: what any backend could do; with one: what it does. */
static int check_extension(struct vfio_container *container, uint64_t extension)
{
	struct backend *backend;

	switch (extension) {
	case VFIO_TYPE1_IOMMU:
	case VFIO_TYPE1v2_IOMMU:
	case VFIO_UNMAP_ALL:
		return 1;
	case VFIO_UPDATE_VADDR:
	case VFIO_DMA_CC_IOMMU:
		/* Nothing stands against either, but there is no domain to ask before SET_IOMMU. */
		backend = container_backend(container);
		if (!backend)
			return 0;
		backend_put(backend);
		return 1;
	default:
		return 0;
	}
}

static int set_iommu(struct vfio_container *container, uint64_t type)
{
	struct vfio_machine *machine = container->machine;
	struct backend *backend = NULL;
	int ret = 0;

	if (type == VFIO_TYPE1_IOMMU || type == VFIO_TYPE1v2_IOMMU) {
		backend = calloc(1, sizeof(*backend));
		if (!backend)
			return -ENOMEM;
		atomic_init(&backend->refs, 1);
		backend->type1 =
			type1_new(type == VFIO_TYPE1v2_IOMMU, machine->policy.dma_entry_limit);
		if (!backend->type1) {
			free(backend);
			return -ENOMEM;
		}
	}
	pthread_mutex_lock(&machine->lock);
	if (!container->nr_groups || container->backend) {
		ret = -EINVAL;
	} else if (!backend) {
		/* What type 1 has as an extension it takes for its own, and refuses to open. */
		ret = type == VFIO_UNMAP_ALL ? -EINVAL : -ENODEV;
	} else {
		container->backend = backend;
		backend = NULL;
	}
	pthread_mutex_unlock(&machine->lock);
	backend_put(backend);
	return ret;
}

static int get_info(struct backend *backend, struct vfio_client *client, uint64_t arg)
{
	uint8_t buf[INFO_BUF] = {0};
	uint32_t argsz;
	int len;

	/* The kernel copies the whole minimum, so a struct that ends early is a fault. */
	if (client->ops->copy_from(client, buf, arg, 16))
		return -EFAULT;
	memcpy(&argsz, buf, sizeof(argsz));
	len = type1_get_info(backend->type1, argsz, buf, sizeof(buf));
	if (len < 0)
		return len;
	return client->ops->copy_to(client, arg, buf, (size_t)len) ? -EFAULT : 0;
}

static int map_dma(struct vfio_container *container, struct backend *backend,
		   struct vfio_client *client, uint64_t arg)
{
	struct vfio_iommu_type1_dma_map req;
	int ret;

	if (client->ops->copy_from(client, &req, arg, sizeof(req)))
		return -EFAULT;
	ret = type1_map(backend->type1, &req, &client->ops->memory, client);
	if (machine_observed(container->machine))
		machine_emit(container->machine, &(struct vfio_event){.kind = VFIO_EVENT_DMA_MAP,
								      .container = container,
								      .a = req.iova,
								      .b = req.size,
								      .c = req.flags,
								      .result = ret});
	return ret;
}

struct vfio_unmap {
	struct vfio_machine *machine;
	struct backend *backend;
	struct vfio_event event;
	struct iommu_detached list;
};

/* @left NULL: wait. */
static int unmap_dma(struct vfio_container *container, struct backend *backend,
		     struct vfio_client *client, uint64_t arg, struct vfio_unmap **left)
{
	struct vfio_machine *machine = container->machine;
	struct vfio_iommu_type1_dma_unmap req;
	struct iommu_detached list;
	struct vfio_event event;
	int ret;

	if (client->ops->copy_from(client, &req, arg, sizeof(req)))
		return -EFAULT;
	event = (struct vfio_event){.kind = VFIO_EVENT_DMA_UNMAP,
				    .container = container,
				    .a = req.iova,
				    .b = req.size,
				    .c = req.flags};
	ret = left ? type1_unmap_begin(backend->type1, &req, &list)
		   : type1_unmap(backend->type1, &req);
	if (ret >= 0)
		event.b = req.size;
	if (ret > 0) {
		ret = client->ops->copy_to(client, arg, &req, sizeof(req)) ? -EFAULT : 0;
		*left = malloc(sizeof(**left));
		if (*left) {
			atomic_fetch_add(&backend->refs, 1);
			**left = (struct vfio_unmap){machine, backend, event, list};
			(*left)->event.result = ret;
			return -EINPROGRESS;
		}
		type1_unmap_finish(backend->type1, &list);
		ret = 0;
	}
	event.result = ret;
	if (machine_observed(machine))
		machine_emit(machine, &event);
	if (ret)
		return ret;
	return client->ops->copy_to(client, arg, &req, sizeof(req)) ? -EFAULT : 0;
}

int vfio_container_unmap(struct vfio_container *container, struct vfio_client *client, uint64_t arg,
			 struct vfio_unmap **left)
{
	struct backend *backend = container_backend(container);
	int ret;

	if (!backend)
		return -EINVAL;
	ret = unmap_dma(container, backend, client, arg, left);
	backend_put(backend);
	return ret;
}

int vfio_unmap_finish(struct vfio_unmap *left)
{
	int ret = left->event.result;

	type1_unmap_finish(left->backend->type1, &left->list);
	left->event.result = 0;
	if (machine_observed(left->machine))
		machine_emit(left->machine, &left->event);
	backend_put(left->backend);
	free(left);
	return ret;
}

int vfio_container_ioctl(struct vfio_container *container, struct vfio_client *client, unsigned cmd,
			 uint64_t arg)
{
	struct backend *backend;
	int ret;

	switch (cmd) {
	case VFIO_GET_API_VERSION:
		return VFIO_API_VERSION;
	case VFIO_CHECK_EXTENSION:
		return check_extension(container, arg);
	case VFIO_SET_IOMMU:
		return set_iommu(container, arg);
	}
	backend = container_backend(container);
	if (!backend)
		return -EINVAL;
	switch (cmd) {
	case VFIO_IOMMU_GET_INFO:
		ret = get_info(backend, client, arg);
		break;
	case VFIO_IOMMU_MAP_DMA:
		ret = map_dma(container, backend, client, arg);
		break;
	case VFIO_IOMMU_UNMAP_DMA:
		ret = unmap_dma(container, backend, client, arg, NULL);
		break;
	default:
		ret = -ENOTTY;
	}
	backend_put(backend);
	return ret;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Containers: the address space of the groups that are in them (D.1), and the ioctls on their file.
 *
 *     EMPTY ──first group──▶ GROUPS ──SET_IOMMU──▶ BACKEND
 *       ▲                       │                     │
 *       └───last group leaves───┴─────────────────────┘   backend and mappings are dropped
 *
 * A container is of one of two kinds, as its groups are (A.9): one with an IOMMU takes type 1, and
 * one without takes no-IOMMU, which is a type that translates nothing and knows no further calls.
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

static void backend_free(struct backend *backend)
{
	type1_free(backend->type1);
	free(backend);
}

struct backend *backend_new_empty(void)
{
	struct backend *backend = calloc(1, sizeof(*backend));

	if (!backend)
		return NULL;
	atomic_init(&backend->refs, 1);
	backend->type1 = type1_new(true, 0);
	if (backend->type1)
		return backend;
	free(backend);
	return NULL;
}

void backend_put(struct backend *backend)
{
	if (backend && atomic_fetch_sub(&backend->refs, 1) == 1)
		backend_free(backend);
}

static void free_item(struct uvfio_trash_item *item)
{
	backend_free((struct backend *)((char *)item - offsetof(struct backend, item)));
}

void backend_put_later(struct vfio_machine *machine, struct backend *backend)
{
	if (backend && atomic_fetch_sub(&backend->refs, 1) == 1) {
		backend->item.fn = free_item;
		uvfio_trash_add(machine->trash, &backend->item);
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

/* ---- extensions and SET_IOMMU ---- */

static int no_iommu_extension(uint64_t extension, bool enabled)
{
	return extension == VFIO_NOIOMMU_IOMMU && enabled;
}

static int type1_extension(uint64_t extension, bool set)
{
	switch (extension) {
	case VFIO_TYPE1_IOMMU:
	case VFIO_TYPE1v2_IOMMU:
	case VFIO_UNMAP_ALL:
		return 1;
	case VFIO_UPDATE_VADDR:
	case VFIO_DMA_CC_IOMMU:
		/* Nothing stands against either, but there is no domain to ask before SET_IOMMU. */
		return set;
	default:
		return 0;
	}
}

/* Without a group: what any type could do; with one: what those can that the group may have. */
static int check_extension(struct vfio_container *container, uint64_t extension)
{
	struct vfio_machine *machine = container->machine;
	bool any, noiommu, set, enabled;

	pthread_mutex_lock(&machine->lock);
	any = !container->nr_groups;
	noiommu = container->noiommu;
	set = container->backend != NULL;
	enabled = machine->knobs.enable_unsafe_noiommu_mode;
	pthread_mutex_unlock(&machine->lock);
	if (any || !noiommu) {
		if (type1_extension(extension, set))
			return 1;
	}
	return any || noiommu ? no_iommu_extension(extension, enabled) : 0;
}

int machine_may_attach_locked(struct vfio_machine *machine, enum attach_remark *remark)
{
	*remark = ATTACH_SILENT;
	if (!machine->policy.no_interrupt_isolation)
		return 0;
	if (!machine->knobs.allow_unsafe_interrupts) {
		*remark = ATTACH_REFUSED;
		return -EPERM;
	}
	if (!(vfio_machine_taint(machine) & 1u << VFIO_TAINT_INTERRUPTS))
		*remark = ATTACH_UNSAFE;
	return 0;
}

int container_may_attach_locked(struct vfio_container *container, enum attach_remark *remark)
{
	*remark = ATTACH_SILENT;
	return container->noiommu ? 0 : machine_may_attach_locked(container->machine, remark);
}

void container_attach_remark(struct vfio_machine *machine, enum attach_remark remark)
{
	unsigned lost;

	switch (remark) {
	case ATTACH_UNSAFE:
		machine_add_taint(machine, VFIO_TAINT_INTERRUPTS);
		uvfio_log(machine->log, UVFIO_LOG_WARN,
			  "a group is attached although interrupts are not isolated: the machine "
			  "is tainted");
		break;
	case ATTACH_REFUSED:
		if (uvfio_ratelimit_ok(&machine->refused_limit, 1, 10000, &lost))
			uvfio_log(machine->log, UVFIO_LOG_WARN,
				  "a group was not attached (EPERM), because this machine does "
				  "not isolate interrupts; to attach anyway: --policy "
				  "allow_unsafe_interrupts=Y");
		break;
	default:
		break;
	}
}

/* machine->lock held: who would be asked, and what would it say?  0: *@noiommu is the answer. */
static int choose_backend_locked(struct vfio_container *container, uint64_t type, bool *noiommu,
				 enum attach_remark *remark)
{
	struct vfio_machine *machine = container->machine;

	if (!container->nr_groups || container->backend)
		return -EINVAL;
	*noiommu = container->noiommu;
	if (container->noiommu) {
		if (!no_iommu_extension(type, machine->knobs.enable_unsafe_noiommu_mode))
			return -ENODEV;
		return machine_may_rawio(machine) ? 0 : -EPERM;
	}
	if (type == VFIO_TYPE1_IOMMU || type == VFIO_TYPE1v2_IOMMU)
		return container_may_attach_locked(container, remark);
	/* What type 1 has as an extension it takes for its own, and refuses to open. */
	return type == VFIO_UNMAP_ALL ? -EINVAL : -ENODEV;
}

/* Memory that can neither be pinned nor recognised: see type1_set_mmio(). */
static void remark_mmio(void *arg, void *client, bool taken)
{
	const int pid = ((const struct vfio_client *)client)->pid;
	struct vfio_machine *machine = arg;
	unsigned lost;

	if (taken && !(vfio_machine_taint(machine) & 1u << VFIO_TAINT_MMIO)) {
		machine_add_taint(machine, VFIO_TAINT_MMIO);
		uvfio_log(
			machine->log, UVFIO_LOG_WARN,
			"process %d maps memory for DMA that can neither be pinned nor is a BAR of "
			"this machine's (strict_mmio_maps=N): the machine is tainted",
			pid);
	} else if (!taken && uvfio_ratelimit_ok(&machine->refused_limit, 1, 10000, &lost)) {
		uvfio_log(
			machine->log, UVFIO_LOG_WARN,
			"memory that process %d maps for DMA can neither be pinned nor is a BAR of "
			"this machine's (another driver's registers?): refused (EFAULT); to allow "
			"it: --policy strict_mmio_maps=N",
			pid);
	}
}

static int set_iommu(struct vfio_container *container, uint64_t type)
{
	struct vfio_machine *machine = container->machine;
	struct backend *backend = calloc(1, sizeof(*backend));
	enum attach_remark remark = ATTACH_SILENT;
	struct vfio_policy policy;
	int ret;

	if (!backend)
		return -ENOMEM;
	vfio_machine_get_policy(machine, &policy);
	atomic_init(&backend->refs, 1);
	backend->type1 = type1_new(type == VFIO_TYPE1v2_IOMMU, policy.dma_entry_limit);
	if (!backend->type1) {
		free(backend);
		return -ENOMEM;
	}
	type1_set_mmio(backend->type1, !policy.strict_mmio_maps, remark_mmio, machine);
	pthread_mutex_lock(&machine->lock);
	ret = choose_backend_locked(container, type, &backend->noiommu, &remark);
	if (!ret) {
		if (!backend->noiommu)
			machine_number_space(machine, type1_space(backend->type1));
		container->backend = backend;
		backend = NULL;
	}
	pthread_mutex_unlock(&machine->lock);
	container_attach_remark(machine, remark);
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

static uint64_t number_of(const struct backend *backend)
{
	return iommu_space_number(type1_space(backend->type1));
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
		machine_emit(container->machine,
			     &(struct vfio_event){.kind = VFIO_EVENT_DMA_MAP,
						  .space = container,
						  .space_number = number_of(backend),
						  .a = req.iova,
						  .b = req.size,
						  .c = req.flags,
						  .result = ret});
	return ret;
}

static int bitmap_read(void *client, void *dst, uint64_t uaddr, size_t len)
{
	return ((struct vfio_client *)client)->ops->copy_from(client, dst, uaddr, len);
}

static int bitmap_write(void *client, uint64_t uaddr, const void *src, size_t len)
{
	return ((struct vfio_client *)client)->ops->copy_to(client, uaddr, src, len);
}

static struct iommu_bitmap_io bitmap_io(struct vfio_client *client)
{
	return (struct iommu_bitmap_io){bitmap_read, bitmap_write, client};
}

/* UNMAP with a bitmap waits for what it removes. */
static int unmap_with_bitmap(struct backend *backend, struct vfio_client *client, uint64_t arg,
			     struct vfio_iommu_type1_dma_unmap *req)
{
	const struct iommu_bitmap_io io = bitmap_io(client);
	struct vfio_bitmap bitmap;

	if (client->ops->copy_from(client, &bitmap, arg + sizeof(*req), sizeof(bitmap)))
		return -EFAULT;
	return type1_unmap_bitmap(backend->type1, req, &bitmap, &io);
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
				    .space = container,
				    .space_number = number_of(backend),
				    .a = req.iova,
				    .b = req.size,
				    .c = req.flags};
	if (type1_unmap_wants_bitmap(&req))
		ret = unmap_with_bitmap(backend, client, arg, &req);
	else if (left)
		ret = type1_unmap_begin(backend->type1, &req, &list);
	else
		ret = type1_unmap(backend->type1, &req);
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
	ret = backend->noiommu ? -ENOTTY : unmap_dma(container, backend, client, arg, left);
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
	const struct iommu_bitmap_io io = bitmap_io(client);
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
	/* There is nothing to map (A.9). */
	switch (backend->noiommu ? 0 : cmd) {
	case VFIO_IOMMU_GET_INFO:
		ret = get_info(backend, client, arg);
		break;
	case VFIO_IOMMU_MAP_DMA:
		ret = map_dma(container, backend, client, arg);
		break;
	case VFIO_IOMMU_UNMAP_DMA:
		ret = unmap_dma(container, backend, client, arg, NULL);
		break;
	case VFIO_IOMMU_DIRTY_PAGES:
		ret = type1_dirty_pages(backend->type1, arg, &io);
		break;
	default:
		ret = -ENOTTY;
	}
	backend_put(backend);
	return ret;
}

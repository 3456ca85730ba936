/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The machine: models, the devices made of them, IOMMU groups, and who watches.
 *
 * Devices may be added at any time; they and their groups are removed by unplug.c, which waits for
 * those who have them open or look at them.  A device file, and who looks (observe.h), keeps the
 * device; a group file and the devices keep the group.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "vfio/sriov_private.h"
#include "vfio/uio_private.h"

#define REQ_INTERVAL_NS 10000000000ull /* A.8 */

struct vfio_machine *vfio_machine_new(const struct vfio_policy *policy, struct uvfio_log *log,
				      struct uvfio_error *err)
{
	struct vfio_machine *machine = calloc(1, sizeof(*machine));
	pthread_rwlockattr_t rwattr;
	pthread_condattr_t attr;

	if (machine)
		machine->trash = uvfio_trash_new();
	if (machine && machine->trash)
		machine->blocked = iommu_space_new(1);
	if (!machine || !machine->blocked) {
		if (machine)
			uvfio_trash_unref(machine->trash);
		free(machine);
		uvfio_error_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	if (policy)
		machine->policy = *policy;
	else
		vfio_policy_default(&machine->policy);
	machine->knobs = machine->policy;
	machine->log = log;
	machine->next_bus = 1;
	machine->next_mem32 = FIRST_MEM32;
	machine->next_mem64 = FIRST_MEM64;
	machine->next_io = FIRST_IO;
	pthread_mutex_init(&machine->add_lock, NULL);
	pthread_mutex_init(&machine->lock, NULL);
	pthread_mutex_init(&machine->memory_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&machine->removal_cond, &attr);
	pthread_condattr_destroy(&attr);
	machine->req_interval_ns = REQ_INTERVAL_NS;
	/* Or a steady stream of events would keep those out who begin and end to observe. */
	pthread_rwlockattr_init(&rwattr);
	pthread_rwlockattr_setkind_np(&rwattr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&machine->observer_lock, &rwattr);
	pthread_rwlockattr_destroy(&rwattr);
	pthread_cond_init(&machine->watch_cond, NULL);
	return machine;
}

void vfio_machine_free(struct vfio_machine *machine)
{
	if (!machine)
		return;
	unplug_stop(machine);
	uvfio_trash_wait(machine->trash, 0, UVFIO_TRASH_EVER);
	uvfio_trash_unref(machine->trash);
	/* VFs before their PF, which was there before them. */
	for (unsigned i = machine->nr_devices; i > 0; i--)
		device_free(machine->devices[i - 1]);
	iommu_space_free(machine->blocked);
	iommufd_accounts_free(machine);
	for (unsigned i = 0; i < machine->nr_loops; i++)
		uvfio_loop_free(machine->loops[i]);
	for (unsigned i = 0; i < machine->nr_groups; i++)
		free(machine->groups[i]);
	free(machine->groups);
	free(machine->devices);
	free(machine->models);
	pthread_cond_destroy(&machine->watch_cond);
	pthread_rwlock_destroy(&machine->observer_lock);
	pthread_cond_destroy(&machine->removal_cond);
	pthread_mutex_destroy(&machine->memory_lock);
	pthread_mutex_destroy(&machine->lock);
	pthread_mutex_destroy(&machine->add_lock);
	free(machine);
}

int vfio_machine_add_model(struct vfio_machine *machine, const struct uvfio_model *model)
{
	const struct uvfio_model **models;
	int ret = 0;

	if (model->abi != UVFIO_DEVICE_ABI || !model->name || !model->create || !model->destroy ||
	    !model->reg_write || !model->work || !model->reset)
		return -EINVAL;
	pthread_mutex_lock(&machine->lock);
	for (unsigned i = 0; i < machine->nr_models; i++) {
		if (!strcmp(machine->models[i]->name, model->name))
			ret = -EEXIST;
	}
	if (!ret) {
		models = realloc(machine->models, (machine->nr_models + 1) * sizeof(*models));
		if (models) {
			machine->models = models;
			models[machine->nr_models++] = model;
		} else {
			ret = -ENOMEM;
		}
	}
	pthread_mutex_unlock(&machine->lock);
	return ret;
}

const struct uvfio_model *vfio_machine_model(struct vfio_machine *machine, unsigned index)
{
	const struct uvfio_model *model = NULL;

	pthread_mutex_lock(&machine->lock);
	if (index < machine->nr_models)
		model = machine->models[index];
	pthread_mutex_unlock(&machine->lock);
	return model;
}

void vfio_machine_set_file_ops(struct vfio_machine *machine, const struct vfio_file_ops *ops)
{
	machine->file_ops = *ops;
}

void vfio_machine_on_change(struct vfio_machine *machine, void (*fn)(void *arg), void *arg)
{
	machine->changed_arg = arg;
	machine->changed = fn;
}

void machine_changed_locked(struct vfio_machine *machine)
{
	atomic_fetch_add(&machine->changes, 1);
	if (machine->changed)
		machine->changed(machine->changed_arg);
}

void vfio_machine_set_loop(struct vfio_machine *machine, struct uvfio_loop *loop)
{
	machine->given_loop = loop;
}

/* ---- groups ---- */

/* Where the group @number is, or would be: they are in the order of their numbers. */
static unsigned find_group_locked(const struct vfio_machine *machine, unsigned number)
{
	unsigned low = 0, high = machine->nr_groups;

	while (low < high) {
		unsigned mid = (low + high) / 2;

		if (machine->groups[mid]->number < number)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* machine->lock held.  NULL when there is none (and @make is false), or for want of memory. */
struct vfio_group *machine_group_locked(struct vfio_machine *machine, unsigned number, bool make)
{
	unsigned at = find_group_locked(machine, number);
	struct vfio_group **groups, *group;

	if (at < machine->nr_groups && machine->groups[at]->number == number)
		return machine->groups[at];
	if (!make)
		return NULL;
	groups = realloc(machine->groups, (machine->nr_groups + 1) * sizeof(*groups));
	if (!groups)
		return NULL;
	machine->groups = groups;
	group = calloc(1, sizeof(*group));
	if (!group)
		return NULL;
	group->machine = machine;
	group->number = number;
	memmove(&groups[at + 1], &groups[at], (machine->nr_groups - at) * sizeof(*groups));
	groups[at] = group;
	machine->nr_groups++;
	return group;
}

void machine_forget_group_locked(struct vfio_machine *machine, struct vfio_group *group)
{
	unsigned i = find_group_locked(machine, group->number);

	machine->nr_groups--;
	memmove(&machine->groups[i], &machine->groups[i + 1],
		(machine->nr_groups - i) * sizeof(machine->groups[0]));
}

void group_put_locked(struct vfio_group *group)
{
	if (!--group->refs)
		free(group);
}

unsigned machine_next_group_locked(const struct vfio_machine *machine)
{
	return machine->nr_groups ? machine->groups[machine->nr_groups - 1]->number + 1 : 1;
}

/* ---- what is in the machine ---- */

int machine_room_locked(struct vfio_machine *machine, unsigned n)
{
	struct vfio_device **devices;

	if (n > MAX_DEVICES - machine->nr_devices)
		return -ENOSPC;
	devices = realloc(machine->devices, (machine->nr_devices + n) * sizeof(*devices));
	if (!devices)
		return -ENOMEM;
	machine->devices = devices;
	return 0;
}

int machine_attach_locked(struct vfio_machine *machine, struct vfio_device *dev, unsigned number,
			  bool noiommu)
{
	struct vfio_group *group = machine_group_locked(machine, number, true);

	if (!group)
		return -ENOMEM;
	if (group->nr_devices && group->noiommu != noiommu)
		return -EINVAL;
	group->noiommu = noiommu;
	dev->group = group;
	group->nr_devices++;
	group->refs++;
	dev->serial = ++machine->last_serial;
	machine->devices[machine->nr_devices++] = dev;
	return 0;
}

void machine_detach_locked(struct vfio_device *dev)
{
	struct vfio_machine *machine = dev->machine;
	unsigned i = machine->nr_devices - 1;

	while (machine->devices[i] != dev)
		i--;
	machine->nr_devices--;
	memmove(&machine->devices[i], &machine->devices[i + 1],
		(machine->nr_devices - i) * sizeof(machine->devices[0]));
	if (!--dev->group->nr_devices)
		machine_forget_group_locked(machine, dev->group);
}

/* ---- what is there ---- */

unsigned vfio_machine_devices(struct vfio_machine *machine, struct vfio_device **out, unsigned max)
{
	unsigned n;

	pthread_mutex_lock(&machine->lock);
	n = machine->nr_devices;
	for (unsigned i = 0; i < n && i < max; i++)
		out[i] = machine->devices[i];
	pthread_mutex_unlock(&machine->lock);
	return n;
}

/* ---- observation ---- */

int vfio_machine_observe(struct vfio_machine *machine,
			 void (*fn)(void *arg, const struct vfio_event *event), void *arg)
{
	unsigned n;

	pthread_rwlock_wrlock(&machine->observer_lock);
	n = machine->nr_observers;
	if (n < VFIO_MAX_OBSERVERS) {
		machine->observers[n] = (struct observer){fn, arg};
		machine->nr_observers = n + 1;
	}
	pthread_rwlock_unlock(&machine->observer_lock);
	return n < VFIO_MAX_OBSERVERS ? 0 : -ENOSPC;
}

void vfio_machine_unobserve(struct vfio_machine *machine,
			    void (*fn)(void *arg, const struct vfio_event *event), void *arg)
{
	pthread_rwlock_wrlock(&machine->observer_lock);
	for (unsigned i = 0; i < machine->nr_observers; i++) {
		if (machine->observers[i].fn != fn || machine->observers[i].arg != arg)
			continue;
		machine->observers[i] = machine->observers[machine->nr_observers - 1];
		machine->nr_observers--;
		break;
	}
	pthread_rwlock_unlock(&machine->observer_lock);
}

void machine_number_space(struct vfio_machine *machine, struct iommu_space *space)
{
	iommu_space_set_number(space, atomic_fetch_add(&machine->last_space, 1) + 1);
}

void machine_emit(struct vfio_machine *machine, const struct vfio_event *event)
{
	pthread_rwlock_rdlock(&machine->observer_lock);
	for (unsigned i = 0; i < machine->nr_observers; i++)
		machine->observers[i].fn(machine->observers[i].arg, event);
	pthread_rwlock_unlock(&machine->observer_lock);
}

void device_emit(struct vfio_device *dev, enum vfio_event_kind kind, uint64_t a, uint64_t b,
		 uint64_t c, int result)
{
	if (!machine_observed(dev->machine))
		return;
	machine_emit(dev->machine, &(struct vfio_event){.kind = kind,
							.device = dev->name,
							.space_number = vfio_device_space(dev),
							.a = a,
							.b = b,
							.c = c,
							.result = result});
}

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

#define MAX_DEVICES     65536u
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

/* ---- adding a device ---- */

static bool same_slot(const struct pci_addr *a, const struct pci_addr *b)
{
	return a->domain == b->domain && a->bus == b->bus && a->dev == b->dev;
}

static struct vfio_device *device_at_locked(struct vfio_machine *machine,
					    const struct pci_addr *addr, bool whole_bus)
{
	for (unsigned i = 0; i < machine->nr_devices; i++) {
		const struct pci_addr *other = &machine->devices[i]->addr;

		if (other->domain == addr->domain && other->bus == addr->bus &&
		    (whole_bus ? !machine->devices[i]->physfn
			       : other->dev == addr->dev && other->fn == addr->fn))
			return machine->devices[i];
	}
	return NULL;
}

void machine_next_bus_locked(struct vfio_machine *machine, struct pci_addr *addr)
{
	do {
		if ((machine->next_bus & 0xff) == 0)
			machine->next_bus++;
		*addr = (struct pci_addr){.domain = (uint16_t)(machine->next_bus >> 8),
					  .bus = (uint8_t)machine->next_bus};
		machine->next_bus++;
	} while (device_at_locked(machine, addr, true) ||
		 sriov_reserves_locked(machine, addr, true));
}

/* The address asked for, or the next free bus: each device behind its own root port. */
static int choose_addr(struct vfio_machine *machine, const char *value, struct pci_addr *addr,
		       struct uvfio_error *err)
{
	if (value) {
		struct vfio_device *pf;
		char name[16] = "";
		bool taken;

		if (pci_addr_parse(value, addr))
			return uvfio_error_set(
				err, -EINVAL,
				"addr=%s: a PCI address looks like 0000:01:00.0 (domain:bus:device.function; devices are 00 to 1f)",
				value);
		pthread_mutex_lock(&machine->lock);
		taken = device_at_locked(machine, addr, false) != NULL;
		pf = sriov_reserves_locked(machine, addr, false);
		if (pf)
			memcpy(name, pf->name, sizeof(name));
		pthread_mutex_unlock(&machine->lock);
		if (*name)
			return uvfio_error_set(err, -EINVAL,
					       "addr=%s: that is for the VFs of %s; choose another "
					       "address, or leave addr= out",
					       value, name);
		if (taken)
			return uvfio_error_set(err, -EINVAL,
					       "addr=%s: another device is there; choose another "
					       "address, or leave addr= out",
					       value);
		if (addr->bus == 0)
			return uvfio_error_set(
				err, -EINVAL,
				"addr=%s: bus 00 belongs to the root ports; choose a "
				"bus from 01 to ff",
				value);
		return 0;
	}
	pthread_mutex_lock(&machine->lock);
	machine_next_bus_locked(machine, addr);
	pthread_mutex_unlock(&machine->lock);
	return 0;
}

/* The loop with the fewest devices, or a new one.  add_lock is held, under which loops are made. */
struct uvfio_loop *machine_choose_loop(struct vfio_machine *machine, struct uvfio_error *err)
{
	struct uvfio_loop *made = NULL;
	unsigned best = 0;
	char name[16];

	if (machine->given_loop)
		return machine->given_loop;
	pthread_mutex_lock(&machine->lock);
	for (unsigned i = 1; i < machine->nr_loops; i++)
		if (machine->loop_users[i] < machine->loop_users[best])
			best = i;
	if (!machine->nr_loops || (machine->loop_users[best] && machine->nr_loops < MAX_LOOPS))
		best = machine->nr_loops;
	else
		machine->loop_users[best]++;
	pthread_mutex_unlock(&machine->lock);
	if (best < machine->nr_loops)
		return machine->loops[best];

	snprintf(name, sizeof(name), "uvfio-dev%u", best);
	made = uvfio_loop_new(name, err);
	if (!made)
		return NULL;
	pthread_mutex_lock(&machine->lock);
	machine->loops[best] = made;
	machine->loop_users[best] = 1;
	machine->nr_loops++;
	pthread_mutex_unlock(&machine->lock);
	return made;
}

void machine_put_loop(struct vfio_machine *machine, struct uvfio_loop *loop)
{
	pthread_mutex_lock(&machine->lock);
	for (unsigned i = 0; i < machine->nr_loops; i++)
		if (machine->loops[i] == loop)
			machine->loop_users[i]--;
	pthread_mutex_unlock(&machine->lock);
}

/* Let @dev into the machine.  Functions of one bus cannot be isolated from one another, so they
 * share a group unless group= says otherwise; what has no IOMMU is in none, and VFIO makes one for
 * each (A.9). */
static int attach_device(struct vfio_machine *machine, struct vfio_device *dev,
			 const struct device_keys *keys, struct uvfio_error *err)
{
	struct vfio_device *neighbour;
	unsigned number = keys->group;
	int ret = 0;

	pthread_mutex_lock(&machine->lock);
	neighbour = device_at_locked(machine, &dev->addr, true);
	if (!keys->has_group) {
		bool shared = neighbour && !neighbour->group->noiommu && !keys->noiommu;

		number = shared ? neighbour->group->number : machine_next_group_locked(machine);
	}
	ret = machine_room_locked(machine, 1);
	if (!ret)
		ret = machine_attach_locked(machine, dev, number, keys->noiommu);
	if (!ret) {
		device_set_state(dev, keys->driver && strcmp(keys->driver, "vfio-pci") != 0
					      ? DEVICE_UNBOUND
					      : DEVICE_PRESENT);
		if (keys->has_token)
			vf_token_give(dev, &keys->token);
		machine_changed_locked(machine);
	}
	pthread_mutex_unlock(&machine->lock);
	if (ret == -EINVAL)
		return uvfio_error_set(err, ret,
				       "group=%u: that is what VFIO made for a device without "
				       "IOMMU; choose another number",
				       number);
	if (ret == -ENOSPC)
		return uvfio_error_set(err, -EINVAL, "more than %u devices", MAX_DEVICES);
	return ret ? uvfio_error_set(err, ret, "out of memory") : 0;
}

/* Functions of one slot say that there are others; that they may have gone is no matter. */
static void tell_slot(struct vfio_machine *machine, const struct pci_addr *addr)
{
	struct vfio_device **devs;
	unsigned n = vfio_machine_get_devices(machine, &devs), members = 0;

	for (unsigned i = 0; i < n; i++)
		members += !devs[i]->physfn && same_slot(&devs[i]->addr, addr);
	for (unsigned i = 0; i < n && members > 1; i++) {
		if (devs[i]->physfn || !same_slot(&devs[i]->addr, addr))
			continue;
		pthread_mutex_lock(&devs[i]->config_lock);
		pci_func_set_multifunction(devs[i]->func);
		pthread_mutex_unlock(&devs[i]->config_lock);
	}
	vfio_devices_put(devs, n);
}

/* A device without IOMMU can be bound to VFIO in one mode only (A.9). */
static int check_noiommu(struct vfio_machine *machine, const struct device_spec *spec,
			 struct uvfio_error *err)
{
	struct vfio_policy policy;

	vfio_machine_get_policy(machine, &policy);
	if (!spec->keys.noiommu || policy.enable_unsafe_noiommu_mode)
		return 0;
	return uvfio_error_set(err, -EINVAL,
			       "device %s: VFIO refuses a device without IOMMU (iommu=off), unless "
			       "no-IOMMU mode is on: --policy enable_unsafe_noiommu_mode=Y",
			       spec->model);
}

/* A device that nothing isolates is about to be given to users. */
static void taint_noiommu(struct vfio_machine *machine, const struct vfio_device *dev)
{
	machine_add_taint(machine, VFIO_TAINT_NOIOMMU);
	uvfio_log(machine->log, UVFIO_LOG_WARN,
		  "%s: in VFIO's no-IOMMU mode, as noiommu-%u: the machine is tainted", dev->name,
		  dev->group->number);
}

static bool for_uio(const struct device_keys *keys)
{
	return keys->driver && !strcmp(keys->driver, VFIO_UIO_DRIVER);
}

/* Can numvfs= and acs= be had of @dev? */
static int check_sriov(struct vfio_machine *machine, struct vfio_device *dev,
		       const struct device_keys *keys, struct uvfio_error *err)
{
	struct vfio_policy policy;

	if ((keys->numvfs || keys->acs_off) && !dev->sriov)
		return uvfio_error_set(err, -EINVAL,
				       "device %s: %s: it has no VFs; a model that can have some "
				       "has a key like vfs=N",
				       dev->model->name, keys->numvfs ? "numvfs=" : "acs=off");
	if (!keys->numvfs)
		return 0;
	if (keys->numvfs > dev->sriov->total)
		return uvfio_error_set(err, -EINVAL, "device %s: numvfs=%u: it can have %u VFs",
				       dev->model->name, keys->numvfs, dev->sriov->total);
	vfio_machine_get_policy(machine, &policy);
	if ((!keys->driver || !strcmp(keys->driver, "vfio-pci")) && !policy.enable_sriov)
		return uvfio_error_set(
			err, -EINVAL,
			"device %s: numvfs=: vfio-pci enables VFs only with --policy "
			"enable_sriov=Y; give that, or another driver=",
			dev->model->name);
	if (for_uio(keys) || (keys->driver && !strcmp(keys->driver, "none")))
		return uvfio_error_set(err, -EINVAL,
				       "device %s: numvfs= and driver=%s: there is no driver that "
				       "enables VFs; choose another",
				       dev->model->name, keys->driver);
	return 0;
}

static int add_device(struct vfio_machine *machine, const char *text, struct uvfio_error *err)
{
	const struct uvfio_model *model = NULL;
	struct vfio_device *dev = NULL;
	struct uvfio_loop *loop;
	struct device_spec spec;
	struct pci_addr addr;
	int ret;

	ret = spec_parse(machine, text, &spec, &model, err);
	if (!ret)
		ret = check_noiommu(machine, &spec, err);
	if (!ret)
		ret = spec_read_token(machine, &spec, model, err);
	if (ret)
		goto out;
	ret = choose_addr(machine, spec.keys.addr, &addr, err);
	if (!ret)
		ret = reset_set_check(machine, &addr, spec.keys.bus_reset, err);
	if (ret)
		goto out;
	loop = machine_choose_loop(machine, err);
	if (!loop) {
		ret = -ENOMEM;
		goto out;
	}
	ret = device_new(machine, model, &addr, &spec, loop, &dev, err);
	if (ret) {
		machine_put_loop(machine, loop);
		goto out;
	}
	ret = check_sriov(machine, dev, &spec.keys, err);
	if (!ret && for_uio(&spec.keys))
		ret = uio_check(dev, err);
	if (!ret && spec.keys.has_token && !vfio_device_is_pf(dev))
		ret = uvfio_error_set(err, -EINVAL,
				      "device %s: a VF token, and it is no PF: what has SR-IOV has "
				      "one (vfs=N, where the model has this key)",
				      model->name);
	if (!ret)
		ret = attach_device(machine, dev, &spec.keys, err);
	if (ret) {
		device_free(dev);
		machine_put_loop(machine, loop);
		goto out;
	}
	tell_slot(machine, &dev->addr);
	if (spec.keys.noiommu)
		taint_noiommu(machine, dev);
	if (spec.keys.driver && vfio_device_driver(dev) == VFIO_DRIVER_NONE)
		vfio_device_bind_to(dev, vfio_device_find_driver(dev, spec.keys.driver));
	if (spec.keys.numvfs) {
		ret = sriov_start(dev, spec.keys.numvfs, err);
		if (ret) /* by now somebody may have it */
			vfio_machine_remove_device(machine, dev->name, 0, NULL, NULL, NULL);
	}
out:
	spec_fini(&spec);
	return ret;
}

int vfio_machine_add_device(struct vfio_machine *machine, const char *text, struct uvfio_error *err)
{
	int ret;

	pthread_mutex_lock(&machine->add_lock);
	ret = add_device(machine, text, err);
	pthread_mutex_unlock(&machine->add_lock);
	return ret;
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

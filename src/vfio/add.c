/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Adding a device: its address, its loop, its group.  VFs are added by sriov_make.c.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "vfio/sriov_private.h"
#include "vfio/uio_private.h"

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

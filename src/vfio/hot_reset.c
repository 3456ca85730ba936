/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Functions that are reset together (A.5): the device sets of A.2, and the reset of a slot or bus.
 *
 * Each root port has one slot, so the functions of one bus are one set.  The key bus-reset= says
 * otherwise: functions that give it the same name are a set, wherever they are, and `off` is for
 * one of the root complex, whose bus cannot be reset.  Only a function that is alone in its set can
 * be reset by resetting its bus.
 *
 * VFs are on their PF's bus, so they are reset with it; those behind its last function are on buses
 * that have no port.  But a VF is a device set of its own: a bus with VFs is not reset for anybody.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "vfio/host.h"
#include "vfio/iommufd.h"
#include "vfio/machine_private.h"

/* ---- sets ---- */

static bool same_bus(const struct pci_addr *a, const struct pci_addr *b)
{
	return a->domain == b->domain && a->bus == b->bus;
}

/* The key bus-reset=; a VF has its PF's if it is on its bus. */
static const char *bus_reset_of(const struct vfio_device *dev)
{
	if (!dev->physfn)
		return dev->bus_reset;
	return same_bus(&dev->addr, &dev->physfn->addr) ? dev->physfn->bus_reset : BUS_RESET_OFF;
}

static bool has_bus_reset(const struct vfio_device *dev)
{
	return strcmp(bus_reset_of(dev), BUS_RESET_OFF) != 0;
}

/* Are both reset when one of them is, by its bus? */
static bool same_bus_reset(const struct vfio_device *a, const struct vfio_device *b)
{
	const char *of_a = bus_reset_of(a), *of_b = bus_reset_of(b);

	if (a == b)
		return true;
	if (!has_bus_reset(a) || !has_bus_reset(b))
		return false;
	if (*of_a || *of_b)
		return !strcmp(of_a, of_b);
	return same_bus(&a->addr, &b->addr);
}

unsigned reset_set(struct vfio_device *dev, struct vfio_device **out, unsigned max)
{
	struct vfio_machine *machine = dev->machine;
	unsigned n = 0;

	pthread_mutex_lock(&machine->lock);
	for (unsigned i = 0; i < machine->nr_devices; i++) {
		struct vfio_device *other = machine->devices[i];

		if (!same_bus_reset(dev, other))
			continue;
		if (n < max) {
			out[n] = other;
			other->watchers++;
		}
		n++;
	}
	pthread_mutex_unlock(&machine->lock);
	return out && n > max ? max : n;
}

void reset_set_put(struct vfio_device **devs, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		vfio_device_put(devs[i]);
}

/* Is a VF among them?  Then the others, its PF at least, are not in its device set, nor is it in
 * theirs (A.2). */
static bool has_vf(struct vfio_device **devs, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (devs[i]->physfn)
			return true;
	}
	return false;
}

bool reset_set_alone(struct vfio_device *dev)
{
	/* Beside a VF there is its PF. */
	return !dev->physfn && has_bus_reset(dev) && reset_set(dev, NULL, 0) <= 1;
}

int reset_set_check(struct vfio_machine *machine, const struct pci_addr *addr, const char *name,
		    struct uvfio_error *err)
{
	char other[sizeof(machine->devices[0]->bus_reset)] = "";
	bool neighbour = false;
	unsigned members = 0;
	char at[16];

	name = name ? name : "";
	pthread_mutex_lock(&machine->lock);
	for (unsigned i = 0; i < machine->nr_devices; i++) {
		const struct vfio_device *dev = machine->devices[i];

		members += *name && !strcmp(dev->bus_reset, name);
		if (!neighbour && same_bus(&dev->addr, addr)) {
			neighbour = true;
			memcpy(other, dev->bus_reset, sizeof(other));
			pci_addr_format(&dev->addr, at);
		}
	}
	pthread_mutex_unlock(&machine->lock);
	if (neighbour && strcmp(other, name) != 0)
		return uvfio_error_set(err, -EINVAL,
				       "bus-reset=%s: %s is on the same bus and has bus-reset=%s; "
				       "give both the same, or none",
				       *name ? name : "(none)", at, *other ? other : "(none)");
	if (members >= MAX_SET && strcmp(name, BUS_RESET_OFF) != 0)
		return uvfio_error_set(err, -EINVAL,
				       "bus-reset=%s: %u devices have that name; no more can", name,
				       MAX_SET);
	return 0;
}

/* ---- hot reset ---- */

static void lock_all(struct vfio_device **devs, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		pthread_mutex_lock(&devs[i]->config_lock);
}

static void unlock_all(struct vfio_device **devs, unsigned n);

/* The same for a user: 0, or -EBUSY when one of them is being reset. */
static int try_lock_all(struct vfio_device **devs, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (!pthread_mutex_trylock(&devs[i]->config_lock))
			continue;
		if (atomic_load(&devs[i]->in_reset)) {
			unlock_all(devs, i);
			return -EBUSY;
		}
		pthread_mutex_lock(&devs[i]->config_lock);
	}
	return 0;
}

static void unlock_all(struct vfio_device **devs, unsigned n)
{
	for (unsigned i = n; i > 0; i--)
		pthread_mutex_unlock(&devs[i - 1]->config_lock);
}

/* The config_lock of all is held. */
static void reset_all(struct vfio_device **devs, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		device_reset_prepare(devs[i]);
	for (unsigned i = 0; i < n; i++)
		device_reset_done(devs[i], UVFIO_RESET_BUS, true);
}

/* VFs are left out, and reset with their PF. */
void reset_set_lose(struct vfio_device **all, unsigned nr_all)
{
	struct vfio_device *devs[MAX_SET];
	unsigned n = 0;

	for (unsigned i = 0; i < nr_all; i++) {
		if (!all[i]->physfn)
			devs[n++] = all[i];
	}
	for (unsigned i = 0; i < n; i++)
		device_access_begin(devs[i]);
	lock_all(devs, n);
	for (unsigned i = 0; i < n; i++)
		device_reset_prepare(devs[i]);
	for (unsigned i = 0; i < n; i++)
		device_reset_done(devs[i], UVFIO_RESET_BUS, !devs[i]->vconfig);
	unlock_all(devs, n);
	for (unsigned i = 0; i < n; i++)
		device_access_end(devs[i]);
}

/* Whose ids say what is owned: NULL, groups' numbers do. */
static struct vfio_iommufd *id_space(const struct vfio_device_file *df)
{
	return df->cdev ? df->dev->iommufd : NULL;
}

/* @ids: whose they are, or NULL.  0 or -EFAULT. */
static int copy_dependents(struct vfio_device **devs, unsigned n, struct vfio_iommufd *ids,
			   struct vfio_client *client, uint64_t to)
{
	for (unsigned i = 0; i < n; i++) {
		const struct pci_addr *addr = &devs[i]->addr;
		struct vfio_pci_dependent_device entry = {
			.group_id = ids ? (uint32_t)iommufd_id_of(ids, devs[i])
					: devs[i]->group->number,
			.segment = addr->domain,
			.bus = addr->bus,
			.devfn = (uint8_t)(addr->dev << 3 | addr->fn),
		};

		if (client->ops->copy_to(client, to + i * sizeof(entry), &entry, sizeof(entry)))
			return -EFAULT;
	}
	return 0;
}

/* Is all of @devs owned by @fd? */
static bool owns_all(struct vfio_iommufd *fd, struct vfio_device **devs, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (iommufd_id_of(fd, devs[i]) < 0)
			return false;
	return true;
}

int device_ioctl_hot_reset_info(struct vfio_device_file *df, struct vfio_client *client,
				uint64_t arg)
{
	struct vfio_iommufd *ids = id_space(df);
	struct vfio_device *dev = df->dev;
	struct vfio_device *devs[MAX_SET];
	struct vfio_pci_hot_reset_info info;
	unsigned n, room;
	int ret;

	if (client->ops->copy_from(client, &info, arg, sizeof(info)))
		return -EFAULT;
	if (info.argsz < sizeof(info))
		return -EINVAL;
	if (!has_bus_reset(dev))
		return -ENODEV;
	room = (info.argsz - (uint32_t)sizeof(info)) / sizeof(struct vfio_pci_dependent_device);
	n = reset_set(dev, devs, MAX_SET);
	ret = copy_dependents(devs, n < room ? n : room, ids, client, arg + sizeof(info));
	info.flags = 0;
	if (ids)
		info.flags = VFIO_PCI_HOT_RESET_FLAG_DEV_ID |
			     (owns_all(ids, devs, n) ? VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED : 0);
	reset_set_put(devs, n);
	if (ret)
		return ret;
	info.count = n;
	if (client->ops->copy_to(client, arg, &info, sizeof(info)))
		return -EFAULT;
	return n > room ? -ENOSPC : 0;
}

static bool is_owned(const struct vfio_device *dev, const int *groups, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++) {
		if (groups[i] == (int)dev->group->number)
			return true;
	}
	return false;
}

/* What VFIO does not have is not its to reset: it is outside of the set (A.2, A.5). */
static bool all_bound(struct vfio_device **devs, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (!vfio_device_bound(devs[i]))
			return false;
	}
	return true;
}

/* The groups that the client proves to own are to cover the set, @devs. */
static int check_groups(struct vfio_device **devs, unsigned n, uint32_t count,
			struct vfio_client *client, uint64_t fds_at)
{
	int groups[MAX_SET];
	int32_t *fds = groups;

	if (client->ops->copy_from(client, fds, fds_at, count * sizeof(*fds)))
		return -EFAULT;
	for (unsigned i = 0; i < count; i++) {
		groups[i] =
			client->ops->get_group ? client->ops->get_group(client, fds[i]) : -EINVAL;
		if (groups[i] < 0)
			return groups[i];
	}
	for (unsigned i = 0; i < n; i++) {
		if (!is_owned(devs[i], groups, count))
			return -EINVAL;
	}
	return 0;
}

static int hot_reset(struct vfio_device_file *df, struct vfio_device **devs, unsigned n,
		     struct vfio_client *client, uint64_t arg)
{
	struct vfio_iommufd *ids = id_space(df);
	struct vfio_pci_hot_reset req;
	int ret;

	if (client->ops->copy_from(client, &req, arg, sizeof(req)))
		return -EFAULT;
	if (req.argsz < sizeof(req) || req.flags || !req.count == !ids)
		return -EINVAL;
	if (!has_bus_reset(df->dev))
		return -ENODEV;
	if (req.count > n)
		return -EINVAL;
	if (ids)
		ret = owns_all(ids, devs, n) ? 0 : -EINVAL;
	else
		ret = check_groups(devs, n, req.count, client, arg + sizeof(req));
	if (ret)
		return ret;
	if (!all_bound(devs, n) || has_vf(devs, n))
		return -EINVAL;
	for (unsigned i = 0; i < n; i++) {
		if (device_is_cut(devs[i]))
			return -ENOTTY;
	}
	for (unsigned i = 0; i < n; i++)
		device_access_begin(devs[i]);
	ret = try_lock_all(devs, n);
	if (!ret) {
		reset_all(devs, n);
		unlock_all(devs, n);
	}
	for (unsigned i = 0; i < n; i++)
		device_access_end(devs[i]);
	return ret;
}

int device_ioctl_hot_reset(struct vfio_device_file *df, struct vfio_client *client, uint64_t arg)
{
	struct vfio_device *devs[MAX_SET];
	unsigned n = reset_set(df->dev, devs, MAX_SET);
	int ret = hot_reset(df, devs, n, client, arg);

	reset_set_put(devs, n);
	return ret;
}

/* A.4, the end of a last close: when nothing of the set is open and something of it could not be
 * reset alone, the set is reset. */
void device_close_set(struct vfio_device *dev)
{
	struct vfio_device *devs[MAX_SET];
	bool open = false, needed = false;
	unsigned n = reset_set(dev, devs, MAX_SET);

	if (has_vf(devs, n)) {
		reset_set_put(devs, n);
		return;
	}
	lock_all(devs, n);
	for (unsigned i = 0; i < n; i++) {
		open |= devs[i]->vconfig != NULL;
		needed |= devs[i]->needs_reset;
	}
	if (!open && needed && has_bus_reset(dev) && all_bound(devs, n))
		reset_all(devs, n);
	unlock_all(devs, n);
	reset_set_put(devs, n);
}

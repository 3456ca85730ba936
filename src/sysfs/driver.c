/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The bus and its drivers: bind, unbind, new_id, remove_id, drivers_probe, rescan; and of the
 * functions enable, reset and remove, which the device lock is over in the kernel.
 *
 * A driver takes a function whose driver_override is its name, or that has none and whose ids are
 * among its dynamic ones.  What `remove` takes away is hidden, unbound and without the state that
 * the host kept for it; the next rescan finds it again.
 */
#include <errno.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include "sysfs/driver.h"
#include "sysfs/functions.h"
#include "sysfs/jobs.h"
#include "vfio/sriov.h"
#include "vfio/uio.h"

int sysfs_number(const struct sysfs_store *s, unsigned long *out)
{
	const char *text = s->text + (s->text[0] == '+');
	char *end;

	/* No spaces and no minus, which strtoul() would take. */
	if (!(text[0] >= '0' && text[0] <= '9'))
		return -EINVAL;
	errno = 0;
	*out = strtoul(text, &end, 0);
	if (errno || (*end && strcmp(end, "\n") != 0))
		return -EINVAL;
	return 0;
}

bool sysfs_is(const struct sysfs_store *s, const char *word)
{
	size_t len = strlen(s->text);

	if (len && s->text[len - 1] == '\n')
		len--;
	return strlen(word) == len && !strncmp(word, s->text, len);
}

/* ---- who takes what ---- */

static bool id_matches(const struct dynamic_id *id, const struct function *f)
{
	const uint32_t any = ~0u;

	return (id->vendor == any || id->vendor == f->ids.vendor) &&
	       (id->device == any || id->device == f->ids.device) &&
	       (id->subvendor == any || id->subvendor == f->ids.subvendor) &&
	       (id->subdevice == any || id->subdevice == f->ids.subdevice) &&
	       !((id->class ^ f->ids.class) & id->mask);
}

/* A VF whose PF has sriov_drivers_autoprobe off gets no driver but its driver_override (C.4.13). */
static bool may_probe(struct sysfs *fs, const struct function *f)
{
	const struct function *pf = f->pf ? sysfs_function(fs, f->pf) : NULL;
	struct vfio_device *dev = pf ? function_device(fs, pf) : NULL;
	bool may = !dev || vfio_device_drivers_autoprobe(dev);

	if (dev)
		vfio_device_put(dev);
	return may;
}

bool driver_matches(struct sysfs *fs, const struct function *f, unsigned driver)
{
	char name[SYSFS_DRIVER_NAME];

	if (driver >= DRIVER_MODEL && f->model != driver - DRIVER_MODEL)
		return false;
	if (f->driver_override)
		return sysfs_driver_name(fs, driver, name) && !strcmp(f->driver_override, name);
	if (!may_probe(fs, f))
		return false;
	if (driver >= DRIVER_MODEL)
		return true;
	for (unsigned i = 0; i < fs->nr_ids; i++)
		if (fs->ids[i].driver == driver && id_matches(&fs->ids[i], f))
			return true;
	return false;
}

static int bind_device(struct vfio_device *dev, unsigned driver)
{
	static const enum vfio_driver drivers[] = {
		[DRIVER_VFIO] = VFIO_DRIVER_VFIO,
		[DRIVER_UIO] = VFIO_DRIVER_UIO,
		[DRIVER_STUB] = VFIO_DRIVER_STUB,
		[DRIVER_MODEL] = VFIO_DRIVER_MODEL,
	};

	return vfio_device_bind_to(dev, drivers[driver < DRIVER_MODEL ? driver : DRIVER_MODEL]);
}

/* Which driver a probe of @f finds: the host's own take by themselves nothing but what they are the
 * driver_override of. */
static unsigned probed_driver(struct sysfs *fs, const struct function *f)
{
	for (unsigned i = 0; i < DRIVER_MODEL; i++)
		if (driver_matches(fs, f, i))
			return i;
	if (f->driver_override && driver_matches(fs, f, DRIVER_MODEL + f->model))
		return DRIVER_MODEL + f->model;
	return SYSFS_NO_DRIVER;
}

/* Have @driver take @f if it does; not one of the host's own, for which one has to wait. */
static void driver_attach(struct sysfs *fs, struct function *f, unsigned driver)
{
	struct vfio_device *dev = driver < DRIVER_MODEL && driver_matches(fs, f, driver)
					  ? function_device(fs, f)
					  : NULL;

	if (!dev)
		return;
	bind_device(dev, driver);
	vfio_device_put(dev);
}

static ssize_t bind_to(struct sysfs *fs, struct job *job, struct vfio_device *dev, unsigned driver)
{
	bool takes;
	int ret;

	pthread_mutex_lock(&fs->lock);
	takes = !job->f->removed && driver_matches(fs, job->f, driver);
	pthread_mutex_unlock(&fs->lock);
	if (!takes)
		return -ENODEV;
	ret = bind_device(dev, driver);
	return ret ? ret : (ssize_t)job->len;
}

/* ---- jobs of the driver queue ---- */

static ssize_t job_bind(struct sysfs *fs, struct job *job, struct vfio_device *dev)
{
	return bind_to(fs, job, dev, (unsigned)job->offset);
}

/* From the driver whose file was written to. */
static ssize_t job_unbind(struct sysfs *fs, struct job *job, struct vfio_device *dev)
{
	unsigned driver;
	int ret;

	pthread_mutex_lock(&fs->lock);
	driver = function_driver(fs, job->f);
	pthread_mutex_unlock(&fs->lock);
	if (driver != job->offset)
		return -ENODEV;
	ret = driver == DRIVER_UIO ? vfio_device_uio_unbind(dev) : sysfs_job_unbind(fs, job, dev);
	return ret ? ret : (ssize_t)job->len;
}

/* Like the kernel, it does not tell whether a driver took it. */
static ssize_t job_probe(struct sysfs *fs, struct job *job, struct vfio_device *dev)
{
	unsigned driver;

	pthread_mutex_lock(&fs->lock);
	driver = job->f->removed ? SYSFS_NO_DRIVER : probed_driver(fs, job->f);
	pthread_mutex_unlock(&fs->lock);
	if (driver != SYSFS_NO_DRIVER)
		bind_device(dev, driver);
	return (ssize_t)job->len;
}

static ssize_t job_remove(struct sysfs *fs, struct job *job, struct vfio_device *dev)
{
	struct function *f = job->f;
	enum vfio_driver driver = vfio_device_driver(dev);
	int ret = 0;

	/* pci-pf-stub would leave them. */
	if (driver == VFIO_DRIVER_STUB && vfio_device_num_vfs(dev))
		ret = sysfs_job_numvfs(fs, job, dev, 0);
	if (!ret && driver == VFIO_DRIVER_UIO)
		vfio_device_uio_unbind(dev);
	else if (!ret && driver != VFIO_DRIVER_NONE)
		ret = sysfs_job_unbind(fs, job, dev);
	if (ret)
		return ret;
	vfio_device_host_revoke(dev);
	vfio_device_allow_reset(dev, true);
	pthread_mutex_lock(&fs->lock);
	f->removed = true;
	free(f->driver_override);
	f->driver_override = NULL;
	f->enabled = 0;
	f->parity = f->no_d3cold = f->no_msi = f->power_on = f->rom_on = false;
	f->nr_methods = 0;
	f->no_methods = false;
	pthread_mutex_unlock(&fs->lock);
	return (ssize_t)job->len;
}

static ssize_t job_reset(struct sysfs *fs, struct job *job, struct vfio_device *dev)
{
	int ret = vfio_device_host_reset(dev);

	return ret ? ret : (ssize_t)job->len;
}

#define COMMAND        4
#define COMMAND_DECODE 3 /* I/O and memory */
#define COMMAND_MASTER 4

static ssize_t job_enable(struct sysfs *fs, struct job *job, struct vfio_device *dev)
{
	const bool on = strtoul(job->data, NULL, 0) != 0;
	uint8_t config[PCI_EXT_CONFIG_SIZE], command;
	struct function *f = job->f;
	unsigned before;

	if (vfio_device_driver(dev) != VFIO_DRIVER_NONE)
		return -EBUSY;
	pthread_mutex_lock(&fs->lock);
	before = f->enabled;
	if (on)
		f->enabled++;
	else if (before)
		f->enabled--;
	pthread_mutex_unlock(&fs->lock);
	if (!on && !before)
		return -EIO;
	if (before != !on) /* already, or still by others */
		return (ssize_t)job->len;
	vfio_device_hw_config(dev, config, true);
	command = config[COMMAND];
	command = on ? command | COMMAND_DECODE : command & (uint8_t)~COMMAND_MASTER;
	vfio_device_host_config_write(dev, COMMAND, &command, 1);
	return (ssize_t)job->len;
}

/* ---- stores ---- */

static ssize_t later(struct sysfs_store *s, struct function *f, sysfs_job_fn fn)
{
	s->f = f;
	s->later = fn;
	return -EINPROGRESS;
}

/* The function that is named, and driver @driver. */
static ssize_t later_named(struct sysfs *fs, struct sysfs_store *s, sysfs_job_fn fn,
			   uint64_t driver)
{
	struct function *f = sysfs_function_named(fs, s->text, strcspn(s->text, "\n"));

	s->arg = driver;
	return f ? later(s, f, fn) : -ENODEV;
}

ssize_t store_enable(struct sysfs *fs, const struct sysfs_node *node, struct sysfs_store *s)
{
	unsigned long n;

	if (!s->admin)
		return -EPERM;
	return sysfs_number(s, &n) ? -EINVAL : later(s, node->f, job_enable);
}

ssize_t store_reset(struct sysfs *fs, const struct sysfs_node *node, struct sysfs_store *s)
{
	unsigned long n;

	return sysfs_number(s, &n) || n != 1 ? -EINVAL : later(s, node->f, job_reset);
}

ssize_t store_remove(struct sysfs *fs, const struct sysfs_node *node, struct sysfs_store *s)
{
	unsigned long n;

	if (sysfs_number(s, &n))
		return -EINVAL;
	return n ? later(s, node->f, job_remove) : (ssize_t)s->len;
}

/* Every rescan is one of everything: there is one bus. */
ssize_t store_rescan(struct sysfs *fs, const struct sysfs_node *node, struct sysfs_store *s)
{
	unsigned long n;

	if (sysfs_number(s, &n))
		return -EINVAL;
	for (struct function *f = n ? fs->functions : NULL; f; f = f->next) {
		if (!f->removed)
			continue;
		f->removed = false;
		for (unsigned i = 0; i < DRIVER_MODEL && fs->autoprobe; i++)
			driver_attach(fs, f, i);
	}
	return (ssize_t)s->len;
}

static ssize_t store_bind(struct sysfs *fs, const struct sysfs_node *node, struct sysfs_store *s)
{
	struct function *f = sysfs_function_named(fs, s->text, strcspn(s->text, "\n"));

	/* Who does not take it says so before the device is asked. */
	if (f && !driver_matches(fs, f, (unsigned)node->object))
		return -ENODEV;
	return later_named(fs, s, job_bind, node->object);
}

static ssize_t store_unbind(struct sysfs *fs, const struct sysfs_node *node, struct sysfs_store *s)
{
	return later_named(fs, s, job_unbind, node->object);
}

static ssize_t store_probe(struct sysfs *fs, const struct sysfs_node *node, struct sysfs_store *s)
{
	return later_named(fs, s, job_probe, 0);
}

static ssize_t show_autoprobe(struct sysfs *fs, const struct sysfs_node *node, char *out,
			      size_t size)
{
	return snprintf(out, size, "%d\n", fs->autoprobe);
}

static ssize_t store_autoprobe(struct sysfs *fs, const struct sysfs_node *node,
			       struct sysfs_store *s)
{
	fs->autoprobe = s->text[0] != '0';
	return (ssize_t)s->len;
}

/* ---- dynamic ids ---- */

/* How many fields there are. */
static int parse_id(const struct sysfs_store *s, struct dynamic_id *id)
{
	unsigned long data;

	*id = (struct dynamic_id){.subvendor = ~0u, .subdevice = ~0u};
	return sscanf(s->text, "%x %x %x %x %x %x %lx", &id->vendor, &id->device, &id->subvendor,
		      &id->subdevice, &id->class, &id->mask, &data);
}

static bool id_known(struct sysfs *fs, const struct dynamic_id *id)
{
	const struct function like = {.ids = {(uint16_t)id->vendor, (uint16_t)id->device,
					      (uint16_t)id->subvendor, (uint16_t)id->subdevice,
					      id->class}};

	for (unsigned i = 0; i < fs->nr_ids; i++)
		if (fs->ids[i].driver == id->driver && id_matches(&fs->ids[i], &like))
			return true;
	/* What a driver of the host's own knows without being told. */
	for (const struct function *f = fs->functions; f && id->driver >= DRIVER_MODEL; f = f->next)
		if (f->model == id->driver - DRIVER_MODEL && id_matches(id, f))
			return true;
	return false;
}

static ssize_t store_new_id(struct sysfs *fs, const struct sysfs_node *node, struct sysfs_store *s)
{
	struct dynamic_id id;
	int n = parse_id(s, &id);

	if (n < 2)
		return -EINVAL;
	if (n == 7) /* driver data, which these drivers have none of */
		return -EINVAL;
	id.driver = (unsigned)node->object;
	sysfs_sync(fs);
	if (id_known(fs, &id))
		return -EEXIST;
	if (fs->nr_ids == MAX_DYNAMIC_IDS)
		return -ENOMEM;
	fs->ids[fs->nr_ids++] = id;
	for (struct function *f = fs->functions; f; f = f->next)
		if (!f->removed)
			driver_attach(fs, f, id.driver);
	return (ssize_t)s->len;
}

static ssize_t store_remove_id(struct sysfs *fs, const struct sysfs_node *node,
			       struct sysfs_store *s)
{
	struct dynamic_id id;

	if (parse_id(s, &id) < 2)
		return -EINVAL;
	for (unsigned i = 0; i < fs->nr_ids; i++) {
		struct dynamic_id *k = &fs->ids[i];

		if (k->driver != node->object || k->vendor != id.vendor || k->device != id.device ||
		    (id.subvendor != ~0u && k->subvendor != id.subvendor) ||
		    (id.subdevice != ~0u && k->subdevice != id.subdevice) ||
		    ((k->class ^ id.class) & id.mask))
			continue;
		*k = fs->ids[--fs->nr_ids];
		return (ssize_t)s->len;
	}
	return -ENODEV;
}

/* Of the bus and the driver, which nobody listens to. */
static ssize_t store_event(struct sysfs *fs, const struct sysfs_node *node, struct sysfs_store *s)
{
	return (ssize_t)s->len;
}

static bool has_module(struct sysfs *fs, const struct sysfs_node *node)
{
	return node->object == DRIVER_VFIO || node->object == DRIVER_UIO;
}

static ssize_t show_module(struct sysfs *fs, const struct sysfs_node *node, char *out, size_t size)
{
	return sysfs_link_to(fs, node, out, size, "module/%s",
			     node->object == DRIVER_UIO ? VFIO_UIO_DRIVER : "vfio_pci");
}

/* ---- the tables ---- */

#define WRITE(name_, store_)                                                                       \
	{                                                                                          \
		.name = name_, .type = SYSFS_TEXT, .mode = 0200, .store = store_                   \
	}

const struct sysfs_entry bus_entries[] = {
	{.name = "devices", .type = SYSFS_DIR, .mode = 0755, .dir = DIR_PCI_DEVICES},
	{.name = "drivers", .type = SYSFS_DIR, .mode = 0755, .dir = DIR_DRIVERS},
	{.name = "slots", .type = SYSFS_DIR, .mode = 0755, .dir = DIR_SLOTS},
	WRITE("drivers_probe", store_probe),
	{.name = "drivers_autoprobe",
	 .type = SYSFS_TEXT,
	 .mode = 0644,
	 .show = show_autoprobe,
	 .store = store_autoprobe},
	WRITE("rescan", store_rescan),
	WRITE("uevent", store_event),
	{0},
};

const struct sysfs_entry driver_entries[] = {
	WRITE("bind", store_bind),
	WRITE("unbind", store_unbind),
	WRITE("new_id", store_new_id),
	WRITE("remove_id", store_remove_id),
	WRITE("uevent", store_event),
	{.name = "module",
	 .type = SYSFS_LINK,
	 .mode = 0777,
	 .show = show_module,
	 .present = has_module},
	{0},
};
